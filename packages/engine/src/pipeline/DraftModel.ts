/**
 * A small model of the same vocabulary beside the host, which goes on with answers while their windows are under way.
 * It is a stage loop of its own whose one stage is the whole model, so that it draws as the tail does, from the same
 * seed. Owned by the pipeline host; a turn is one short decode, and what came of it is taken with `draft`.
 */
import type { Draft, Drafter } from "./Draft.ts"
import * as LoopTime from "./LoopTime.ts"
import type { JobTerms, Tokens, Window } from "./StageFrame.ts"
import type { StageLoop } from "./StageLoop.ts"

/** Represents what a draft model is made of. */
export interface DraftModelOptions {
  /** Of the whole model, with a slot for each answer at once. */
  readonly loop: StageLoop
  /** Cells of a slot. */
  readonly contextTokens: number
  /** Tokens of the model that it drafts for. */
  readonly vocabularyTokens: number
  /** Time of one token, as it was measured at the start. */
  readonly tokenMs: number
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number
}

/** Represents what drafts for one answer; its drafts are those that are there. */
export interface ModelDrafter extends Drafter {
  /** From the next turn on, `count` tokens are to be there behind `history`; with 0 the model rests. */
  readonly lead: (history: Int32Array, count: number) => void
  /** Returns the tokens to be computed before there is a draft behind `history`; 0 where there is one. */
  readonly behind: (history: Int32Array) => number
  /** Returns whether there can be more drafts behind those that are there. */
  readonly goesOn: () => boolean
  /** Returns the milliseconds of one token. */
  readonly tokenMs: () => number
  /** Frees its slot. */
  readonly close: () => void
}

/** Represents the draft model of a pipeline. */
export interface DraftModel {
  /** Takes a slot for an answer on these terms; the number is that of no other answer that is open. */
  readonly open: (job: number, terms: JobTerms) => ModelDrafter
  /** There is something to compute. */
  readonly wants: () => boolean
  /**
   * Computes one decode, of no more rows than fit into `withinMs` where that is more than one; returns the numbers of
   * the answers that it was for.
   */
  readonly turn: (withinMs: number) => ReadonlyArray<number>
  readonly tokenMs: () => number
}

/** Returns a draft model without answers. */
export const make = (options: DraftModelOptions): DraftModel => new Model(options)

// internal

/**
 * Milliseconds of a decode that catches up with an answer, about: what comes in meanwhile waits for half of it. A
 * single token may take longer.
 */
const turnMs = 10
/** Rows of the first such decode, and of the longest: from 64 on llama.cpp computes otherwise. */
const rowsAtFirst = 4
const rowsMax = 32
/** There is one epoch: the model is never made again. */
const epoch = 1

class Model implements DraftModel {
  readonly #leads = new Map<number, Lead>()
  #time: LoopTime.LoopTime
  #rowsMost = rowsAtFirst

  constructor(private readonly options: DraftModelOptions) {
    this.#time = LoopTime.observe(LoopTime.none, 1, options.tokenMs)
  }

  open(job: number, terms: JobTerms): ModelDrafter {
    const contextTokens = Math.min(terms.contextTokens, this.options.contextTokens)
    const lead = new Lead(contextTokens, terms.promptTokens, this.options.vocabularyTokens, {
      tokenMs: () => this.tokenMs(),
      close: () => this.#close(job)
    })
    this.#leads.set(job, lead)
    // What the loop does not take it says in its next turn.
    this.options.loop.submit({ kind: "open", epoch, job, terms: { ...terms, contextTokens } })
    return lead
  }

  wants(): boolean {
    return this.#leads.values().some((lead) => lead.wants())
  }

  turn(withinMs: number): ReadonlyArray<number> {
    const { loop, now } = this.options
    const rowsMost = this.#rowsWithin(withinMs)
    for (const [job, lead] of this.#leads) {
      const window = lead.next(job, rowsMost)
      if (window !== undefined) loop.submit(window)
    }
    const startedMs = now()
    const frames = loop.turn()
    const tookMs = now() - startedMs
    let rows = 0
    const jobs: Array<number> = []
    for (const frame of frames) {
      const lead = this.#leads.get(frame.job)
      if (frame.kind === "failed") lead?.fail()
      if (frame.kind !== "tokens" || lead === undefined) continue
      rows += lead.take(frame)
      jobs.push(frame.job)
    }
    if (rows > 0) this.#learn(rows, tookMs)
    return jobs
  }

  tokenMs(): number {
    return LoopTime.oneRowMs(this.#time) ?? this.options.tokenMs
  }

  #rowsWithin(withinMs: number): number {
    let rows = this.#rowsMost
    while (rows > 1 && (LoopTime.expectedMs(this.#time, rows) ?? 0) > withinMs) rows >>= 1
    return rows
  }

  #learn(rows: number, tookMs: number): void {
    this.#time = LoopTime.observe(this.#time, rows, tookMs)
    const mostMs = Math.max(turnMs, 1.5 * this.tokenMs())
    if (rows >= this.#rowsMost && tookMs <= mostMs) this.#rowsMost = Math.min(rowsMax, this.#rowsMost * 2)
    else if (tookMs > 2 * mostMs) this.#rowsMost = Math.max(1, this.#rowsMost >> 1)
  }

  #close(job: number): void {
    if (this.#leads.delete(job)) this.options.loop.submit({ kind: "close", epoch, job })
  }
}

/**
 * The model's side of one answer.
 *
 *   tokens | answer so far | drafts |
 *   cells  | computed .......... |       the last token is computed with the next draft
 */
class Lead implements ModelDrafter {
  readonly tokenMs: () => number
  readonly close: () => void
  readonly #tokens: Int32Array
  #end = 0
  #cells = 0
  /** Where drafts are to reach. */
  #wanted = 0
  /** The last draft is none that the other model knows, so nothing is behind it. */
  #isStuck = false
  #isFailed = false
  /** The window that the loop has, and the rounds of those that were taken back. */
  #window: Window | undefined
  #round = 0

  constructor(
    contextTokens: number,
    private readonly promptTokens: number,
    private readonly vocabularyTokens: number,
    model: Pick<ModelDrafter, "close" | "tokenMs">
  ) {
    this.#tokens = new Int32Array(contextTokens)
    this.tokenMs = model.tokenMs
    this.close = model.close
  }

  lead(history: Int32Array, count: number): void {
    if (count > 0) this.#follow(history)
    this.#wanted = count > 0 ? Math.min(history.length + count, this.#tokens.length) : 0
  }

  draft(history: Int32Array, most: number): Draft | undefined {
    if (most <= 0 || this.#end <= history.length || this.#common(history) < history.length) return undefined
    const tokens = this.#tokens.subarray(history.length, Math.min(this.#end, history.length + most))
    return { tokens: [...tokens], evidence: 0 }
  }

  behind(history: Int32Array): number {
    const common = this.#common(history)
    if (common === history.length && this.#end > common) return 0
    return history.length - Math.min(common, this.#cells, history.length - 1)
  }

  goesOn(): boolean {
    return !this.#isFailed && !this.#isStuck && this.#end < this.#tokens.length
  }

  wants(): boolean {
    return this.#end < this.#wanted && this.goesOn()
  }

  /** Returns the next window; none where the loop has one still, or nothing is wanted. */
  next(job: number, rowsMost: number): Window | undefined {
    if (this.#window !== undefined || !this.wants()) return undefined
    const position = this.#cells
    const room = position < this.promptTokens ? this.promptTokens - position : rowsMost
    const rows = Math.min(rowsMost, room, this.#end - position)
    const drawn = position + rows === this.#end ? 1 : 0
    const tokens = this.#tokens.slice(position, position + rows)
    const window = { epoch, job, round: this.#round, window: 0, position, drawn, tokens, hidden: undefined }
    this.#window = { kind: "window", ...window }
    return this.#window
  }

  /** Takes what the loop drew; returns the rows that it computed. */
  take({ tokens }: Tokens): number {
    const window = this.#window
    if (window === undefined) return 0
    this.#window = undefined
    this.#cells = window.position + window.tokens.length
    const [token] = tokens
    if (token === undefined) return window.tokens.length
    this.#isStuck = token >= this.vocabularyTokens
    if (!this.#isStuck) this.#tokens[this.#end++] = token
    return window.tokens.length
  }

  fail(): void {
    this.#isFailed = true
    this.#end = 0
  }

  /** Returns how many of the first tokens of `history` are those that the model has. */
  #common(history: Int32Array): number {
    const most = Math.min(history.length, this.#end)
    for (let at = 0; at < most; at++) if (history[at] !== this.#tokens[at]) return at
    return most
  }

  /** Goes on behind `history`; what the model has that is otherwise is given up. */
  #follow(history: Int32Array): void {
    if (history.length >= this.#tokens.length) this.fail()
    if (this.#isFailed) return
    const common = this.#common(history)
    if (common === history.length) return
    if (this.#window !== undefined) this.#round++
    this.#window = undefined
    this.#tokens.set(history)
    this.#end = history.length
    this.#isStuck = false
    // The next draft is drawn from the last token, which is computed again where it was.
    this.#cells = Math.min(this.#cells, common, this.#end - 1)
  }
}
