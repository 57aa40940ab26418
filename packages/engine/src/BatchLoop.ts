/**
 * The answers of one engine host and the turns that make them: each turn computes one decode over all running
 * sequences and a bounded part of the waiting prompts (`BatchPlan.ts`), then draws one token for each sequence that
 * is due. Requests wait in order for a free slot. All calls are synchronous and belong to the host's one thread.
 */
import * as BatchPlan from "./BatchPlan.ts"
import * as EngineAnswer from "./EngineAnswer.ts"
import type { GenerateEvent, GenerateRequest } from "./Generation.ts"
import type { Llama } from "./internal/llama/Llama.ts"

/** Represents an event and the answer it belongs to. */
export type KeyedEvent = readonly [key: number, event: GenerateEvent]

/** Represents the bounds of a batch loop; `rowsMax` of its model is at least their sum without `contextTokens`. */
export interface BatchLoopLimits {
  readonly contextTokens: number
  readonly slots: number
  readonly prefillTokens: number
}

/** Represents a request whose prompt is tokenised. */
export interface PreparedRequest {
  readonly request: GenerateRequest
  readonly prompt: ReadonlyArray<number>
  readonly seed: number
}

/** Represents the answers of one host. */
export interface BatchLoop {
  /** Nothing runs and nothing waits. */
  readonly idle: () => boolean
  /** Puts a request at the end of the queue; its prompt is shorter than the context. */
  readonly submit: (key: number, prepared: PreparedRequest) => void
  /** Drops an answer and frees its slot at once; nothing happens where it has ended. */
  readonly cancel: (key: number) => void
  /** Gives free slots away, computes one decode, and returns what came of it; throws where llama.cpp fails. */
  readonly turn: () => ReadonlyArray<KeyedEvent>
}

/** Represents a decode that llama.cpp could not do; the state of all sequences is unknown after it. */
export class DecodeFault extends Error {
  constructor(readonly code: number) {
    super(`llama_decode returned ${code}`)
  }
}

/** Returns the batch loop of a loaded model. */
export const make = (llama: Llama, limits: BatchLoopLimits): BatchLoop => new Loop(llama, limits)

// internal

type Running = readonly [key: number, answer: EngineAnswer.EngineAnswer]

class Loop implements BatchLoop {
  /** Oldest first, both. */
  readonly #waiting = new Map<number, PreparedRequest>()
  readonly #running = new Map<number, EngineAnswer.EngineAnswer>()
  readonly #freeSlots: Array<number>

  constructor(
    private readonly llama: Llama,
    private readonly limits: BatchLoopLimits
  ) {
    this.#freeSlots = Array.from({ length: limits.slots }, (_, index) => limits.slots - 1 - index)
  }

  idle(): boolean {
    return this.#waiting.size === 0 && this.#running.size === 0
  }

  submit(key: number, prepared: PreparedRequest): void {
    this.#waiting.set(key, prepared)
  }

  cancel(key: number): void {
    this.#waiting.delete(key)
    const answer = this.#running.get(key)
    if (answer !== undefined) this.#release(key, answer)
  }

  turn(): ReadonlyArray<KeyedEvent> {
    const started = this.#admit()
    if (this.#running.size === 0) return started
    const due = this.#decode([...this.#running])
    return [...started, ...due.flatMap(([row, key, answer]) => this.#draw(row, key, answer))]
  }

  #admit(): ReadonlyArray<KeyedEvent> {
    const events: Array<KeyedEvent> = []
    for (const [key, { prompt, request, seed }] of this.#waiting) {
      const slot = this.#freeSlots.pop()
      if (slot === undefined) break
      this.#waiting.delete(key)
      const answer = EngineAnswer.make(this.llama, slot, request, prompt, seed, this.limits.contextTokens)
      this.#running.set(key, answer)
      events.push([key, { _tag: "Started", promptTokens: prompt.length, seed }])
    }
    return events
  }

  /** Computes one decode; returns the answers that are due a token, each with the row to draw it from. */
  #decode(entries: ReadonlyArray<Running>): ReadonlyArray<readonly [row: number, ...Running]> {
    const sequences = entries.map(([, answer]) => ({
      pending: answer.tokens.length - answer.computed,
      answering: answer.computed >= answer.promptTokens
    }))
    const due: Array<readonly [row: number, ...Running]> = []
    let rows = 0
    for (const slice of BatchPlan.plan(sequences, this.limits.prefillTokens)) {
      const entry = entries[slice.index]
      if (entry === undefined) continue
      this.#fillRows(entry[1], slice, rows)
      rows += slice.rows
      if (slice.draws) due.push([rows - 1, ...entry])
    }
    const code = this.llama.decode(rows)
    if (code !== 0) throw new DecodeFault(code)
    return due
  }

  #fillRows(answer: EngineAnswer.EngineAnswer, slice: BatchPlan.Slice, from: number): void {
    const { position, sequence, token, wanted } = this.llama.rows
    for (let offset = 0; offset < slice.rows; offset++) {
      const at = answer.computed + offset
      token[from + offset] = answer.tokens[at] ?? 0
      position[from + offset] = at
      sequence[from + offset] = answer.slot
      wanted[from + offset] = slice.draws && offset === slice.rows - 1 ? 1 : 0
    }
    answer.computed += slice.rows
  }

  #draw(row: number, key: number, answer: EngineAnswer.EngineAnswer): ReadonlyArray<KeyedEvent> {
    const events = answer.add(answer.sampler.draw(row))
    if (events.at(-1)?._tag === "Finished") this.#release(key, answer)
    return events.map((event) => [key, event])
  }

  #release(key: number, answer: EngineAnswer.EngineAnswer): void {
    this.#running.delete(key)
    answer.sampler.close()
    this.llama.forget(answer.slot)
    this.#freeSlots.push(answer.slot)
  }
}
