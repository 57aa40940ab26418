/**
 * The answers of one engine host and the turns that make them. A turn is one decode: of all running answers, one row
 * each, or of a bounded part of the waiting prompts (`BatchPlan.ts`); where both wait they take turns. One token is
 * then drawn for each sequence that is due. Requests wait in order for a slot (`SlotChoice.ts`). All calls are
 * synchronous and belong to the host's one thread.
 */
import * as BatchPlan from "./BatchPlan.ts"
import * as EngineAnswer from "./EngineAnswer.ts"
import type { GenerateEvent, GenerateRequest, Profile } from "./Generation.ts"
import type { Llama } from "./internal/llama/Llama.ts"
import type { Sampler } from "./internal/llama/LlamaSampler.ts"
import * as SlotChoice from "./SlotChoice.ts"

/** Represents an event and the answer it belongs to. */
export type KeyedEvent = readonly [key: number, event: GenerateEvent]

/** Represents the bounds of a batch loop; the `rowsMax` of its model is at least what `rowsMax` here returns. */
export interface BatchLoopLimits {
  readonly contextTokens: number
  readonly slots: number
  readonly prefillTokens: number
  readonly profile: Profile
  /**
   * The weights are floats, for which llama.cpp has another kernel where there is one row: the exact profile then
   * computes two for each answer, the second for a token that is thrown away. There is room for it: the last token
   * that a context holds is drawn and never computed.
   */
  readonly pairRows: boolean
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

/** Returns the most rows of one decode. */
export const rowsMax = ({
  prefillTokens,
  profile,
  slots
}: Omit<BatchLoopLimits, "contextTokens" | "pairRows">): number =>
  Math.max(2 * slots, profile === "exact" ? BatchPlan.canonicalTokens : prefillTokens)

/** Returns whether a model of this quantisation, as `GgufHeader` names it, needs `pairRows`. */
export const needsPairs = (quantization: string): boolean => /^B?F(16|32)$/.test(quantization)

/**
 * Computes the first `rows` rows of the model and returns llama.cpp's code. Where it gives a decode up, it calls
 * `undo` before it goes on: whatever cells came of it are freed; false where they cannot.
 */
export type Decode = (rows: number, undo: () => boolean) => number

/** Returns the batch loop of a loaded model; its decodes are plain ones unless said otherwise. */
export const make = (llama: Llama, limits: BatchLoopLimits, decode?: Decode): BatchLoop =>
  new Loop(llama, limits, decode ?? ((rows) => llama.decode(rows)))

// internal

/** A slot: cells in native memory, the tokens they were computed from, and the answer that holds it. */
interface Slot {
  readonly index: number
  /** The tokens known of its sequence; those of the cells are the first `computed`. */
  readonly tokens: Int32Array
  known: number
  computed: number
  /** Cells that a request with the same beginning would compute in the same way. */
  cells: number
  usedAt: number
  /** Meaningless while no answer holds it. */
  key: number
  prompt: number
  /** Tokens that its answer may find computed, and those that it found. */
  reusable: number
  kept: number
  answer: EngineAnswer.EngineAnswer | undefined
  /** Has seen the answer's tokens; there with it. */
  sampler: Sampler | undefined
}

/** The share of a slot in the next decode of prompts. */
interface Share {
  readonly slot: Slot
  readonly rows: number
  /** The last row is drawn from. */
  readonly draws: boolean
}

/**
 * A copy moves all cells of a slot: measured 16 ms at 4096 tokens of context, as long as computing some 6 of them
 * (0.3 B, one thread). It must save several times that, as a share of the context.
 */
const copySavesShare = 1 / 256
/** Below this a copy is not worth its turn whatever the context. */
const copySavesLeast = 16

class Loop implements BatchLoop {
  /** Oldest first, both. */
  readonly #waiting = new Map<number, PreparedRequest>()
  readonly #prompts: Array<Slot> = []
  /** In the order of the slots. */
  readonly #answering: Array<Slot> = []
  readonly #slots: ReadonlyArray<Slot>
  readonly #copySavesMin: number
  /** Rows of an answer in one decode; see `pairRows`. */
  readonly #rowsEach: number
  #uses = 0
  /** The last decode was one of answers. */
  #answered = false

  constructor(
    private readonly llama: Llama,
    private readonly limits: BatchLoopLimits,
    private readonly decode: Decode
  ) {
    this.#slots = Array.from({ length: limits.slots }, (_, index) => emptySlot(index, limits.contextTokens))
    this.#rowsEach = limits.pairRows && limits.profile === "exact" ? 2 : 1
    this.#copySavesMin = Math.max(copySavesLeast, Math.ceil(limits.contextTokens * copySavesShare))
  }

  idle(): boolean {
    return this.#waiting.size === 0 && this.#prompts.length === 0 && this.#answering.length === 0
  }

  submit(key: number, prepared: PreparedRequest): void {
    this.#waiting.set(key, prepared)
  }

  cancel(key: number): void {
    this.#waiting.delete(key)
    const slot = this.#slots.find((one) => one.answer !== undefined && one.key === key)
    if (slot !== undefined) this.#release(slot)
  }

  turn(): ReadonlyArray<KeyedEvent> {
    const events: Array<KeyedEvent> = []
    if (this.#waiting.size > 0) this.#admit(events)
    const answers = this.#answering.length > 0 && !(this.#answered && this.#prompts.length > 0)
    this.#answered = answers
    if (answers) this.#decodeAnswers(events)
    else if (this.#prompts.length > 0) this.#decodePrompts(events)
    return events
  }

  #admit(events: Array<KeyedEvent>): void {
    for (const [key, prepared] of this.#waiting) {
      const slot = this.#take(key, prepared)
      if (slot === undefined) return
      this.#waiting.delete(key)
      const begun = slot.answer?.begin() ?? []
      const last = begun.at(-1)?._tag
      if (last !== "Failed") {
        events.push([key, { _tag: "Started", promptTokens: prepared.prompt.length, seed: prepared.seed }])
      }
      for (const event of begun) events.push([key, event])
      if (last === "Failed" || last === "Finished") this.#release(slot)
      else this.#begin(slot, prepared)
    }
  }

  #begin(slot: Slot, { prompt, request, seed }: PreparedRequest): void {
    const sampler = this.llama.openSampler(request.sampling, seed, prompt)
    for (const token of request.resume?.tokens ?? []) sampler.accept(token)
    slot.sampler = sampler
    this.#prompts.push(slot)
  }

  /** Gives a request its slot with the cells that are of use to it; none where all are taken. */
  #take(key: number, { prompt, request }: PreparedRequest): Slot | undefined {
    const { contextTokens, profile } = this.limits
    const resumed = request.resume?.tokens ?? []
    const tokens = Int32Array.from([...prompt, ...resumed]).subarray(0, contextTokens)
    const reusable = reusableMost(profile, request, prompt.length, tokens.length)
    const choice = SlotChoice.choose(this.#wanted(tokens, reusable), this.#slots.map(slotCells))
    const slot = choice && this.#slots[choice.slot]
    if (choice === undefined || slot === undefined) return undefined
    slot.tokens.set(tokens)
    slot.known = tokens.length
    slot.prompt = prompt.length
    slot.reusable = reusable
    this.#keep(slot, choice)
    slot.usedAt = ++this.#uses
    slot.key = key
    const promptTokens = prompt.length
    const cachedTokens = () => Math.min(slot.kept, promptTokens)
    slot.answer = EngineAnswer.make(this.llama, { request, promptTokens, contextTokens, cachedTokens })
    return slot
  }

  /** Takes over the cells of a beginning, from another slot where it says so; what else the slot had is gone. */
  #keep(slot: Slot, { copiedFrom, kept }: Omit<SlotChoice.SlotChoice, "slot">): void {
    if (copiedFrom !== undefined) this.llama.copy(copiedFrom, slot.index)
    slot.kept = this.llama.keep(slot.index, kept) ? kept : 0
    slot.computed = slot.kept
    slot.cells = slot.kept
  }

  #wanted(tokens: Int32Array, reusable: number): SlotChoice.SlotRequest {
    const grain = this.limits.profile === "exact" ? BatchPlan.canonicalTokens : 1
    return { tokens, reusable, grain, copySavesMin: this.#copySavesMin }
  }

  /** Returns the prompts that the next decode may be of, with what others computed since they got their slots. */
  #due(): ReadonlyArray<Slot> {
    const { prefillTokens } = this.limits
    const due: Array<Slot> = []
    let rows = 0
    for (const slot of this.#prompts) {
      if (rows >= prefillTokens) break
      const [first] = due
      const prompt = {
        ...this.#wanted(slot.tokens, slot.reusable),
        slot: slot.index,
        computed: slot.computed,
        ahead: first?.tokens.subarray(0, first.known),
        waitSavesMin: prefillTokens
      }
      const step = SlotChoice.next(prompt, this.#slots.map(slotCells))
      if (step._tag === "Copies") this.#keep(slot, step)
      if (step._tag === "Waits") continue
      due.push(slot)
      rows += slot.known - slot.computed
    }
    return due
  }

  #decodeAnswers(events: Array<KeyedEvent>): void {
    const slots = this.#answering
    const count = slots.length
    const each = this.#rowsEach
    for (let at = 0; at < count; at++) {
      const slot = slots[at]
      if (slot !== undefined) this.#fillAnswer(slot, at * each)
    }
    this.#compute(count * each)
    // From the last to the first: an answer that ends leaves the list.
    for (let at = count - 1; at >= 0; at--) {
      const slot = slots[at]
      if (slot === undefined) break
      this.#advance(slot, 1)
      this.#draw(at * each, slot, events)
    }
  }

  /** Puts the row of an answer's last token at `row`, and behind it the companion that some weights need. */
  #fillAnswer(slot: Slot, row: number): void {
    const { position, sequence, token, wanted } = this.llama.rows
    for (let offset = 0; offset < this.#rowsEach; offset++) {
      token[row + offset] = slot.tokens[slot.computed] ?? 0
      position[row + offset] = slot.computed + offset
      sequence[row + offset] = slot.index
      wanted[row + offset] = 1
    }
  }

  #decodePrompts(events: Array<KeyedEvent>): void {
    const { prefillTokens, profile } = this.limits
    const due = this.#due()
    const slices = BatchPlan.plan(due, profile, prefillTokens)
    const planned: ReadonlyArray<Share> = slices.flatMap(({ draws, index, rows }) => {
      const slot = due[index]
      return slot === undefined ? [] : [{ slot, rows, draws }]
    })
    let filled = 0
    for (const { draws, rows, slot } of planned) filled = this.#fill(slot, rows, draws, filled)
    this.#compute(this.#rowsEach > 1 ? this.#paired(planned[0], filled) : filled)
    let end = 0
    for (const { draws, rows, slot } of planned) {
      end += rows
      this.#advance(slot, rows)
      if (!draws) continue
      this.#prompts.splice(this.#prompts.indexOf(slot), 1)
      this.#insert(slot)
      this.#draw(end - 1, slot, events)
    }
  }

  /** Sees to it that a decode of one prompt has no single row, nor a single one that is drawn from. */
  #paired(share: Share | undefined, rows: number): number {
    if (share === undefined || !share.draws) return rows
    if (rows === 1) this.#fillAnswer(share.slot, 0)
    else this.llama.rows.wanted[rows - 2] = 1
    return Math.max(rows, this.#rowsEach)
  }

  /** Takes note of cells that were computed, and frees those of companions. */
  #advance(slot: Slot, rows: number): void {
    slot.computed += rows
    slot.cells = reusableCells(slot, this.limits.profile)
    if (this.#rowsEach > 1) this.llama.keep(slot.index, slot.computed)
  }

  /** Adds a slot to the answers, which llama.cpp wants in the order of their sequences to compute them in one go. */
  #insert(slot: Slot): void {
    const at = this.#answering.findIndex(({ index }) => index > slot.index)
    this.#answering.splice(at === -1 ? this.#answering.length : at, 0, slot)
  }

  /** Puts the next rows of a sequence at `from`; returns where the next sequence's go. */
  #fill(slot: Slot, rows: number, draws: boolean, from: number): number {
    const { position, sequence, token, wanted } = this.llama.rows
    const end = from + rows
    token.set(slot.tokens.subarray(slot.computed, slot.computed + rows), from)
    sequence.fill(slot.index, from, end)
    wanted.fill(0, from, end)
    if (draws) wanted[end - 1] = 1
    for (let offset = 0; offset < rows; offset++) position[from + offset] = slot.computed + offset
    return end
  }

  #compute(rows: number): void {
    const code = this.decode(rows, this.#undo)
    if (code !== 0) throw new DecodeFault(code)
  }

  readonly #undo = (): boolean =>
    this.#slots.every(
      ({ answer, computed, index }) => answer === undefined || this.llama.keep(index, computed) || computed === 0
    )

  #draw(row: number, slot: Slot, events: Array<KeyedEvent>): void {
    if (slot.answer === undefined || slot.sampler === undefined) return
    const token = slot.sampler.draw(row)
    const drawn = slot.answer.add(token)
    for (const event of drawn) events.push([slot.key, event])
    if (drawn.at(-1)?._tag === "Finished") this.#release(slot)
    else slot.tokens[slot.known++] = token
  }

  /** Ends the answer of a slot; its cells stay. */
  #release(slot: Slot): void {
    slot.sampler?.close()
    slot.sampler = undefined
    slot.answer = undefined
    for (const list of [this.#prompts, this.#answering]) {
      const at = list.indexOf(slot)
      if (at !== -1) list.splice(at, 1)
    }
  }
}

const emptySlot = (index: number, contextTokens: number): Slot => ({
  index,
  tokens: new Int32Array(contextTokens),
  known: 0,
  computed: 0,
  cells: 0,
  usedAt: 0,
  key: 0,
  prompt: 0,
  reusable: 0,
  kept: 0,
  answer: undefined,
  sampler: undefined
})

/**
 * Returns how many tokens' cells may be used again. In the exact profile only those of a prompt are what this request
 * would compute itself (and of those whole chunks). In the fast one cells of another batch differ in their last bits: a
 * client that names a seed wants the same answer again, so its prompt is computed anew.
 */
const reusableMost = (profile: Profile, request: GenerateRequest, promptTokens: number, tokens: number): number => {
  if (profile === "exact") return Math.min(promptTokens, tokens - 1)
  return request.sampling.seed !== undefined && request.resume === undefined ? 0 : tokens - 1
}

const slotCells = ({ answer, cells, tokens, usedAt }: Slot): SlotChoice.SlotCells => ({
  tokens,
  cells,
  idle: answer === undefined,
  usedAt
})

/** Returns the cells that a later request may find: in the exact profile those of whole chunks of the prompt. */
const reusableCells = ({ computed, prompt }: Slot, profile: Profile): number => {
  if (profile === "fast") return computed
  const inPrompt = Math.min(computed, prompt)
  return inPrompt - (inPrompt % BatchPlan.canonicalTokens)
}
