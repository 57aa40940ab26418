/**
 * The answers of one engine host and the turns that make them: each turn computes one decode over all running sequences and
 * a bounded part of the waiting prompts (`BatchPlan.ts`), then draws one token for each sequence that is due. Requests wait
 * in order for a free slot. All calls are synchronous and belong to the host's one thread.
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
export const make = (llama: Llama, limits: BatchLoopLimits): BatchLoop => {
  /** Oldest first, both. */
  const waiting = new Map<number, PreparedRequest>()
  const running = new Map<number, EngineAnswer.EngineAnswer>()
  const freeSlots = Array.from({ length: limits.slots }, (_, index) => limits.slots - 1 - index)

  const release = (key: number, answer: EngineAnswer.EngineAnswer): void => {
    running.delete(key)
    answer.sampler.close()
    llama.forget(answer.slot)
    freeSlots.push(answer.slot)
  }

  const admit = (events: Array<KeyedEvent>): void => {
    for (const [key, { prompt, request, seed }] of waiting) {
      const slot = freeSlots.pop()
      if (slot === undefined) return
      waiting.delete(key)
      running.set(key, EngineAnswer.make(llama, slot, request, prompt, seed, limits.contextTokens))
      events.push([key, { _tag: "Started", promptTokens: prompt.length, seed }])
    }
  }

  const fillRows = (answer: EngineAnswer.EngineAnswer, slice: BatchPlan.Slice, from: number): number => {
    const { position, sequence, token, wanted } = llama.rows
    for (let offset = 0; offset < slice.rows; offset++) {
      const at = answer.computed + offset
      token[from + offset] = answer.tokens[at] ?? 0
      position[from + offset] = at
      sequence[from + offset] = answer.slot
      wanted[from + offset] = slice.draws && offset === slice.rows - 1 ? 1 : 0
    }
    return from + slice.rows
  }

  const decode = (entries: ReadonlyArray<readonly [number, EngineAnswer.EngineAnswer]>, events: Array<KeyedEvent>) => {
    const sequences = entries.map(([, answer]) => ({
      pending: answer.tokens.length - answer.computed,
      answering: answer.computed >= answer.promptTokens
    }))
    const drawn: Array<readonly [row: number, key: number, answer: EngineAnswer.EngineAnswer]> = []
    let rows = 0
    for (const slice of BatchPlan.plan(sequences, limits.prefillTokens)) {
      const entry = entries[slice.index]
      if (entry === undefined) continue
      const [key, answer] = entry
      rows = fillRows(answer, slice, rows)
      answer.computed += slice.rows
      if (slice.draws) drawn.push([rows - 1, key, answer])
    }
    const code = llama.decode(rows)
    if (code !== 0) throw new DecodeFault(code)
    for (const [row, key, answer] of drawn) {
      for (const event of answer.add(answer.sampler.draw(row))) {
        events.push([key, event])
        if (event._tag === "Finished") release(key, answer)
      }
    }
  }

  return {
    idle: () => waiting.size === 0 && running.size === 0,
    submit: (key, prepared) => void waiting.set(key, prepared),
    cancel: (key) => {
      waiting.delete(key)
      const answer = running.get(key)
      if (answer !== undefined) release(key, answer)
    },
    turn: () => {
      const events: Array<KeyedEvent> = []
      admit(events)
      if (running.size > 0) decode([...running], events)
      return events
    }
  }
}
