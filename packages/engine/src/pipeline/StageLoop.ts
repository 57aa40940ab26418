/**
 * The jobs of one stage and the turns that compute them. A turn is one decode: of waiting windows of several answers,
 * or of one window of a prompt; where both wait they take turns. A job holds a slot from its `open` to its `close`.
 * What goes on to the next stage or back to the host comes out of `turn`. All calls are synchronous and belong to one
 * thread.
 */
import type { Decode } from "../BatchLoop.ts"
import { DecodeFault } from "../BatchLoop.ts"
import type { LlamaStage } from "../internal/llama/LlamaStage.ts"
import * as StageDraw from "./StageDraw.ts"
import type { Close, JobName, JobTerms, Open, StageFrame, Window } from "./StageFrame.ts"
import * as StageWindow from "./StageWindow.ts"

/** Represents the bounds of a stage loop; the `rowsMax` of its stage is at least that of `StageWindow`. */
export interface StageLimits {
  /** Cells of each slot. */
  readonly contextTokens: number
  /** Most jobs at once. */
  readonly slots: number
  /** As `pairRows` of a batch loop: the weights are floats, and a single row that is drawn from gets a companion. */
  readonly pairRows: boolean
  /** What hidden states are multiplied by on their way in; none where the architecture does not ask. */
  readonly inputScale: number | undefined
}

/** Represents the jobs of one stage. */
export interface StageLoop {
  /** Nothing waits to be computed or given out. */
  readonly idle: () => boolean
  /** Windows that wait to be computed. */
  readonly waiting: () => number
  /** Takes a frame of the stage before; what is stale is dropped, what is wrong fails its job. */
  readonly submit: (frame: Open | Window | Close) => void
  /**
   * Computes one decode and returns the frames of it, and those that were due before; throws where llama.cpp fails.
   * Hidden states in them lie in native buffers: they hold until the next turn.
   */
  readonly turn: () => ReadonlyArray<StageFrame>
}

/** Returns the loop of an open stage; its decodes are plain ones unless said otherwise. */
export const make = (llama: LlamaStage, limits: StageLimits, decode?: Decode): StageLoop =>
  new Loop(llama, limits, decode ?? ((rows) => llama.decode(rows)))

// internal

interface Job extends JobName {
  readonly terms: JobTerms
  readonly slot: number
  /** The tail's. */
  readonly draw: StageDraw.StageDraw | undefined
  round: number
  /** Cells that the slot holds for it. */
  cells: number
  /** Of the present round, in their order; as many rows as the context has tokens at most. */
  waiting: Array<Window>
  /** It takes no more windows and waits for its `close`. */
  failed: boolean
}

/** A window in the next decode, and how many rows it takes there: its own, and a companion. */
interface Share {
  readonly job: Job
  readonly window: Window
  readonly rows: number
}

class Loop implements StageLoop {
  /** In the order in which their windows of answers are computed. */
  readonly #jobs = new Map<number, Job>()
  readonly #bounds: StageWindow.StageBounds
  #epoch = 0
  #due: Array<StageFrame> = []
  /** The last decode was one of answers. */
  #answered = false

  constructor(
    private readonly llama: LlamaStage,
    private readonly limits: StageLimits,
    private readonly decode: Decode
  ) {
    const { isFirst, vocabularyTokens, width } = llama
    this.#bounds = { isFirst, width, vocabularyTokens, contextTokens: limits.contextTokens }
  }

  idle(): boolean {
    return this.#due.length === 0 && this.waiting() === 0
  }

  waiting(): number {
    let count = 0
    for (const { waiting } of this.#jobs.values()) count += waiting.length
    return count
  }

  submit(frame: Open | Window | Close): void {
    if (frame.epoch < this.#epoch) return
    if (frame.kind === "open") this.#open(frame)
    else if (frame.kind === "window") this.#queue(frame)
    else {
      this.#release(this.#jobOf(frame))
      this.#passOn(frame)
    }
  }

  turn(): ReadonlyArray<StageFrame> {
    const shares = this.#next()
    if (shares.length > 0) this.#compute(shares)
    const due = this.#due
    this.#due = []
    return due
  }

  #open(frame: Open): void {
    if (frame.epoch > this.#epoch) for (const job of [...this.#jobs.values()]) this.#release(job)
    this.#epoch = frame.epoch
    this.#release(this.#jobs.get(frame.job))
    const fault = StageWindow.faultOfTerms(frame.terms, this.#bounds)
    const slot = fault === undefined ? this.#freeSlot() : undefined
    if (slot === undefined) {
      this.#refuse(frame, fault ?? `all ${this.limits.slots} slots are taken`)
      return
    }
    const { epoch, job, terms } = frame
    const draw = this.llama.isLast ? StageDraw.make(this.llama, terms) : undefined
    this.llama.keep(slot, 0)
    this.#jobs.set(job, { epoch, job, terms, slot, draw, round: 0, cells: 0, waiting: [], failed: false })
    this.#passOn(frame)
  }

  #freeSlot(): number | undefined {
    const taken = new Set([...this.#jobs.values()].map(({ slot }) => slot))
    for (let slot = 0; slot < this.limits.slots; slot++) if (!taken.has(slot)) return slot
    return undefined
  }

  #jobOf({ epoch, job }: JobName): Job | undefined {
    const found = this.#jobs.get(job)
    return found?.epoch === epoch ? found : undefined
  }

  #queue(window: Window): void {
    const job = this.#jobOf(window)
    if (job === undefined) {
      this.#refuse(window, "this job is not open here; open it again")
      return
    }
    if (job.failed || window.round < job.round) return
    if (window.round > job.round) job.waiting = []
    job.round = window.round
    const rows = job.waiting.reduce((sum, { tokens }) => sum + tokens.length, window.tokens.length)
    const isMuch = rows > job.terms.contextTokens
    const fault = isMuch
      ? `${rows} rows wait, more than the context holds`
      : StageWindow.faultOf(window, job.terms, this.#bounds)
    if (fault === undefined) job.waiting.push(window)
    else this.#fail(job, fault)
  }

  /** Ends a job: its slot is free. */
  #release(job: Job | undefined): void {
    if (job === undefined) return
    job.draw?.close()
    this.#jobs.delete(job.job)
  }

  #fail(job: Job, reason: string): void {
    job.failed = true
    job.waiting = []
    this.#refuse(job, reason)
  }

  #refuse({ epoch, job }: JobName, reason: string): void {
    this.#due.push({ kind: "failed", epoch, job, reason })
  }

  #passOn(frame: Open | Close): void {
    if (!this.llama.isLast) this.#due.push(frame)
  }

  /** Returns the windows of the next decode, in the order of their slots; they are not waiting any more. */
  #next(): ReadonlyArray<Share> {
    const jobs = [...this.#jobs.values()].flatMap((job) => this.#first(job) ?? [])
    const prompt = jobs.find(({ job, window }) => StageWindow.isPrompt(window, job.terms))
    const answers = jobs.filter(({ job, window }) => !StageWindow.isPrompt(window, job.terms))
    const takesAnswers = answers.length > 0 && !(this.#answered && prompt !== undefined)
    this.#answered = takesAnswers
    const together = takesAnswers ? abreast(answers) : prompt === undefined ? [] : [prompt]
    const shares = together.filter((share) => this.#begins(share))
    // Whose turn it was is last next time.
    if (takesAnswers)
      for (const { job } of together) {
        this.#jobs.delete(job.job)
        this.#jobs.set(job.job, job)
      }
    return shares.toSorted((one, other) => one.job.slot - other.job.slot)
  }

  #first(job: Job): Share | undefined {
    const window = job.waiting[0]
    if (window === undefined) return undefined
    const rows = window.tokens.length
    return { job, window, rows: rows === 1 && this.#isPaired(window) ? 2 : rows }
  }

  #isPaired({ drawn }: Window): boolean {
    return this.limits.pairRows && drawn > 0
  }

  /** Takes a window off its queue and frees the cells that it replaces; false where it does not follow them. */
  #begins({ job, window }: Share): boolean {
    job.waiting.shift()
    const { position } = window
    if (position > job.cells) {
      this.#fail(job, `position: ${position} leaves a gap behind ${job.cells}`)
      return false
    }
    if (position < job.cells && !this.llama.keep(job.slot, position)) {
      this.#fail(job, "position: this model cannot take back what it computed")
      return false
    }
    job.cells = position
    return true
  }

  #compute(shares: ReadonlyArray<Share>): void {
    let rows = 0
    for (const share of shares) {
      this.#fill(share, rows)
      rows += share.rows
    }
    const undo = () => shares.every(({ job }) => this.llama.keep(job.slot, job.cells) || job.cells === 0)
    const code = this.decode(rows, undo)
    if (code !== 0) throw new DecodeFault(code)
    let from = 0
    for (const share of shares) {
      this.#give(share, from)
      from += share.rows
    }
  }

  /** Puts the rows of a window, and the companion behind them, at row `from` of the decode. */
  #fill({ job, rows, window }: Share, from: number): void {
    const { position, sequence, token, wanted } = this.llama.rows
    const own = window.tokens.length
    // Two rows are wanted where one is drawn from, if the number chooses the kernel.
    const drawn = this.#isPaired(window) ? Math.max(2, window.drawn) : window.drawn
    for (let row = 0; row < rows; row++) {
      token[from + row] = window.tokens[Math.min(row, own - 1)] ?? 0
      position[from + row] = window.position + row
      sequence[from + row] = job.slot
      wanted[from + row] = row >= rows - drawn ? 1 : 0
    }
    if (window.hidden === undefined) return
    const { hidden, width } = this.llama
    const begin = from * width
    hidden.set(window.hidden, begin)
    if (rows > own) hidden.set(window.hidden, begin + width)
    const { inputScale } = this.limits
    if (inputScale === undefined) return
    for (let at = begin; at < begin + rows * width; at++) hidden[at] = (hidden[at] ?? 0) * inputScale
  }

  /** Takes note of a window that was computed, and gives its hidden states or tokens out. */
  #give({ job, rows, window }: Share, from: number): void {
    const own = window.tokens.length
    job.cells = window.position + own
    if (rows > own && !this.llama.keep(job.slot, job.cells)) job.cells = 0
    if (job.draw === undefined) {
      const { output, width } = this.llama
      this.#due.push({ ...window, hidden: output.subarray(from * width, (from + own) * width) })
      return
    }
    job.draw.take(window)
    const { drawn, epoch, position, round } = window
    const tokens = job.draw.verify(window, from)
    this.#due.push({ kind: "tokens", epoch, job: job.job, round, window: window.window, position, drawn, tokens })
  }
}

/**
 * Returns the first of the windows and others as long: llama.cpp computes sequences side by side only as far as they
 * are as long as each other, and gives the rows of unequal ones out of their order.
 */
const abreast = (shares: ReadonlyArray<Share>): ReadonlyArray<Share> => {
  const each = shares[0]?.rows ?? 1
  return shares.filter(({ rows }) => rows === each).slice(0, Math.max(1, Math.floor(StageWindow.answerRowsMax / each)))
}
