/**
 * One answer as the host of a pipeline drives it: which windows are to be sent next, and what the tail's frames decide.
 * It begins anew whenever the pipeline is made again, and goes on where it was. Sans I/O; owned by the pipeline host.
 *
 *   tokens   | prompt | decided | assumed |        `assumed` are drafts that went out and are not decided
 *   windows  | computed ......... under way |      what is sent reaches to their end
 */
import * as BatchPlan from "../BatchPlan.ts"
import type { Source } from "./Draft.ts"
import type { JobName, Tokens, Window } from "./StageFrame.ts"
import { answerRowsMax, promptRowsMax } from "./StageWindow.ts"

/**
 * Windows of tokens that are known, prompts above all, under way at once: enough that some stages compute while others
 * send, and few enough that the windows of other jobs need not wait long behind them.
 */
export const knownWindowsMax = 4
/** Most windows of drafts under way at once. */
export const draftWindowsMax = 8

/** Represents what a job is made of. */
export interface JobOptions {
  readonly prompt: ReadonlyArray<number>
  /** Tokens of the answer that were given elsewhere. */
  readonly resumed: ReadonlyArray<number>
  /** Most tokens of the answer, at least one more than `resumed`. */
  readonly tokensMax: number
  /** Tokens that there are. */
  readonly vocabularyTokens: number
}

/** Represents how far an answer is guessed ahead. */
export interface Pace {
  /** Most rows of a window, the last known token among those of the first: 1 is no draft. */
  readonly rows: number
  /** Most windows under way at once. */
  readonly windows: number
  /** Who guesses; nobody where absent. */
  readonly by?: Source
}

/** No drafts. */
export const still: Pace = { rows: 1, windows: 1 }

/**
 * Returns at most so many tokens that may follow `history`, for a window behind others or not; undefined where they are
 * being made and the window is to wait for them.
 */
export type DraftOf = (history: Int32Array, most: number, isBehind: boolean) => ReadonlyArray<number> | undefined

/** Represents a window that the tail answered. */
export interface Answered {
  readonly rows: number
  /** How many of them were drafts. */
  readonly drafts: number
  /** Who guessed when it was sent, whether there were drafts or not. */
  readonly by: Source | undefined
  readonly tookMs: number
  /** Since the answer to the window before, or since the first one was sent. */
  readonly sinceMs: number
  /** Nothing else of the job was under way when it was sent. */
  readonly isAlone: boolean
  /** Nor anything that had just been dropped and still held the stages up. */
  readonly isClear: boolean
}

/** Represents what a frame of the tail came to. */
export interface Received {
  /** The next tokens of the answer. */
  readonly tokens: ReadonlyArray<number>
  /** How many of them were drafts that were under way. */
  readonly accepted: number
  /** None where the frame was stale. */
  readonly answered: Answered | undefined
  /** Windows under way that are in vain, as they followed drafts that were wrong. */
  readonly dropped: number
  /** What no tail that keeps to the rules says. */
  readonly fault: string | undefined
}

/** Represents one answer of a pipeline. */
export interface JobState {
  /** The prompt and the tokens decided so far; valid until the next call. */
  readonly known: () => Int32Array
  /** Those, and the drafts that are under way; valid until the next call. */
  readonly assumed: () => Int32Array
  /** Rows of the longest window under way; 0 where there is none. */
  readonly rowsUnderWay: () => number
  /** When the oldest window under way was sent; none where there is none. */
  readonly sentMs: () => number | undefined
  /** Windows go to this pipeline from now on, the first again from the beginning. */
  readonly begin: (name: JobName) => void
  /** Nothing is sent or taken until it begins again. */
  readonly pause: () => void
  /** Returns the next window that may be sent now; its drafts come from `draft`. */
  readonly next: (nowMs: number, pace: Pace, draft: DraftOf) => Window | undefined
  /** Takes a frame of the tail. */
  readonly received: (frame: Tokens, nowMs: number) => Received
}

/** Returns a job that has not begun. */
export const make = (options: JobOptions): JobState => new State(options)

// internal

interface Sent {
  readonly window: Window
  readonly drafts: number
  readonly by: Source | undefined
  readonly sentMs: number
  readonly isAlone: boolean
  readonly isClear: boolean
}

class State implements JobState {
  readonly #tokens: Int32Array
  readonly #promptTokens: number
  readonly #vocabularyTokens: number
  /** Where the answer ends at the latest. */
  readonly #end: number
  #known: number
  /** End of the drafts behind what is known. */
  #assumed: number
  /** Position of the first row that was not sent. */
  #sent = 0
  #name: JobName | undefined
  #round = 0
  #windowNext = 0
  #underWay: ReadonlyArray<Sent> = []
  /** When the last window was answered, or else the first one sent. */
  #answeredMs: number | undefined
  /** Dropped windows may still be in the stages. */
  #isStirred = false

  constructor({ prompt, resumed, tokensMax, vocabularyTokens }: JobOptions) {
    this.#vocabularyTokens = vocabularyTokens
    this.#promptTokens = prompt.length
    this.#end = prompt.length + tokensMax
    this.#tokens = new Int32Array(this.#end)
    this.#tokens.set(prompt)
    this.#tokens.set(resumed, prompt.length)
    this.#known = prompt.length + resumed.length
    this.#assumed = this.#known
  }

  known(): Int32Array {
    return this.#tokens.subarray(0, this.#known)
  }

  assumed(): Int32Array {
    return this.#tokens.subarray(0, this.#assumed)
  }

  rowsUnderWay(): number {
    return this.#underWay.reduce((most, { window }) => Math.max(most, window.tokens.length), 0)
  }

  sentMs(): number | undefined {
    return this.#underWay[0]?.sentMs
  }

  begin(name: JobName): void {
    this.#name = name
    this.#round = 0
    this.#answeredMs = undefined
    this.#isStirred = false
    this.#rewind(0)
  }

  pause(): void {
    this.#name = undefined
    this.#rewind(0)
  }

  next(nowMs: number, pace: Pace, draft: DraftOf): Window | undefined {
    if (this.#name === undefined || this.#known >= this.#end) return undefined
    const before = this.#assumed
    const window = this.#sent < this.#known ? this.#nextKnown(this.#name, pace, draft) : this.#nextAssumed(pace, draft)
    if (window === undefined) return undefined
    const drafts = this.#assumed - before
    this.#sent = window.position + window.tokens.length
    this.#windowNext++
    this.#answeredMs ??= nowMs
    const isAlone = this.#underWay.length === 0
    const isClear = isAlone && !this.#isStirred
    this.#underWay = [...this.#underWay, { window, drafts, by: pace.by, sentMs: nowMs, isAlone, isClear }]
    return window
  }

  received(frame: Tokens, nowMs: number): Received {
    const { epoch, job, round } = frame
    if (this.#name?.epoch !== epoch || this.#name.job !== job || round < this.#round) return stale
    const [first, ...rest] = this.#underWay
    if (round === this.#round && frame.window < (first?.window.window ?? this.#windowNext)) return stale
    const fault = first === undefined ? "tokens of a window that was not sent" : this.#faultOf(frame, first.window)
    if (fault !== undefined || first === undefined) return { ...stale, fault }
    this.#underWay = rest
    const assumed = this.#assumed - this.#known
    const matching = this.#decide(frame.tokens)
    const isWrong = matching < Math.min(frame.tokens.length, assumed)
    if (isWrong) {
      this.#round++
      this.#rewind(this.#known - 1)
    }
    const { sentMs, window, ...about } = first
    const sinceMs = nowMs - (this.#answeredMs ?? sentMs)
    const answered = { ...about, rows: window.tokens.length, tookMs: nowMs - sentMs, sinceMs }
    const dropped = isWrong ? rest.length : 0
    this.#answeredMs = nowMs
    this.#isStirred = dropped > 0
    return { tokens: [...frame.tokens], accepted: matching, answered, dropped, fault: undefined }
  }

  #faultOf(frame: Tokens, window: Window): string | undefined {
    const stranger = frame.tokens.find((token) => token < 0 || token >= this.#vocabularyTokens)
    return stranger === undefined ? faultOf(frame, window) : `token ${stranger}, which there is not`
  }

  /** Forgets what is under way and goes on from `position`, all before it being computed. */
  #rewind(position: number): void {
    this.#underWay = []
    this.#windowNext = 0
    this.#assumed = this.#known
    this.#sent = position
  }

  /** Returns a window of tokens that are known; the last of them is followed by drafts. */
  #nextKnown(name: JobName, pace: Pace, draft: DraftOf): Window | undefined {
    if (this.#underWay.length >= knownWindowsMax) return undefined
    const from = this.#sent
    const isPrompt = from < this.#promptTokens
    const rows = isPrompt
      ? Math.min(promptRowsMax - (from % promptRowsMax), this.#promptTokens - from)
      : Math.min(BatchPlan.replayedTokens, this.#known - from)
    if (from + rows < this.#known) return this.#window(name, from + rows, 0)
    const drafts = isPrompt ? 0 : this.#assume(Math.min(pace.rows - 1, answerRowsMax - rows), draft, false)
    return drafts === undefined ? undefined : this.#window(name, from + rows + drafts, drafts + 1)
  }

  /** Returns a window of drafts alone, which holds if all that is under way does and ends in its first. */
  #nextAssumed(pace: Pace, draft: DraftOf): Window | undefined {
    const under = this.#underWay.length
    if (this.#name === undefined || under === 0 || under >= Math.min(pace.windows, draftWindowsMax)) return undefined
    const drafts = this.#assume(Math.min(pace.rows, answerRowsMax), draft, true) ?? 0
    return drafts === 0 ? undefined : this.#window(this.#name, this.#assumed, drafts)
  }

  /**
   * Puts drafts behind what is assumed; returns how many, undefined where the window waits for them. The last token
   * that the answer may have is never one.
   */
  #assume(most: number, draft: DraftOf, isBehind: boolean): number | undefined {
    const room = Math.min(most, this.#end - 1 - this.#assumed)
    if (room <= 0) return 0
    const tokens = draft(this.assumed(), room, isBehind)?.slice(0, room)
    if (tokens === undefined) return undefined
    this.#tokens.set(tokens, this.#assumed)
    this.#assumed += tokens.length
    return tokens.length
  }

  #window({ epoch, job }: JobName, end: number, drawn: number): Window {
    const position = this.#sent
    const tokens = this.#tokens.slice(position, end)
    const place = { epoch, job, round: this.#round, window: this.#windowNext, position }
    return { kind: "window", ...place, drawn, tokens, hidden: undefined }
  }

  /** Adds tokens to the answer; returns how many were what was assumed. */
  #decide(tokens: Int32Array): number {
    let matching = 0
    for (const token of tokens) {
      if (this.#known < this.#assumed && this.#tokens[this.#known] === token) matching++
      this.#tokens[this.#known++] = token
    }
    this.#assumed = Math.max(this.#assumed, this.#known)
    return matching
  }
}

const stale: Received = { tokens: [], accepted: 0, answered: undefined, dropped: 0, fault: undefined }

/** Returns what is wrong with the tail's answer to the oldest window under way. */
const faultOf = (frame: Tokens, window: Window): string | undefined => {
  if (frame.round !== window.round) return `tokens of round ${frame.round}, which has not begun`
  if (frame.window !== window.window) return `tokens of window ${frame.window} before those of ${window.window}`
  if (frame.position !== window.position) return `tokens at ${frame.position}, not at ${window.position}`
  const { drawn, tokens } = window
  if (frame.drawn !== drawn) return `${frame.drawn} rows drawn from, not ${drawn}`
  const count = frame.tokens.length
  if (count > drawn || count < Math.min(drawn, 1)) return `${count} tokens of ${drawn} rows`
  const drafts = tokens.subarray(tokens.length - drawn + 1)
  for (const [index, token] of frame.tokens.entries()) {
    const isLast = index === count - 1
    if (!isLast && token !== drafts[index]) return "tokens behind a draft that is wrong"
    if (isLast && count < drawn && token === drafts[index]) return "no token behind a draft that is right"
  }
  return undefined
}
