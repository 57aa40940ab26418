/**
 * Computes the decodes of one engine host with as many threads as pay (`ThreadGovernor.ts`), and finds out at the
 * first start with a model what pays. Owned by the host; decodes go through it to llama.cpp.
 */
import type { Calibration, EngineTuning } from "./EngineTuning.ts"
import type { Profile } from "./Generation.ts"
import { decodeGivenUp, type LlamaCells } from "./internal/llama/Llama.ts"
import * as ThreadGovernor from "./ThreadGovernor.ts"

/** Longest time of all measurements at a start: an owner waits for it. */
const calibrationMs = 3_000
/**
 * Prompt tokens of one decode that are tried: below 64 rows attention has no tiles; the configured most is the end.
 */
const prefillLeast = 64
/** A larger decode of prompts must gain this much, as it holds the answers up for longer. */
const prefillGain = 1.1
/** Measurements of one row end after this many: trials of 2, 4, … 256 threads take fewer. */
const decodesMax = 200

/** Represents the bounds of a host's tuning. */
export interface HostTuningOptions {
  readonly profile: Profile
  readonly threadsMax: number
  /** Most prompt tokens of one decode. */
  readonly prefillTokens: number
  readonly contextTokens: number
  /** What an earlier start learnt. */
  readonly calibration: Calibration | undefined
}

/** Represents how decodes are computed. */
export interface HostTuning {
  /**
   * Computes the first `rows` rows and returns llama.cpp's code. `undo` frees the cells of a decode that was given
   * up, before it is computed again on one thread; where it cannot, false.
   */
  readonly decode: (rows: number, undo: () => boolean) => number
  readonly prefillTokens: number
  readonly calibration: Calibration
  /** What is used now; another object where it is something else. */
  readonly tuning: () => EngineTuning
}

/** Returns the tuning of a host whose sequences are all empty; measures where nothing is known. */
export const make = (llama: LlamaCells, options: HostTuningOptions, now: () => number): HostTuning => {
  const tuned = new Tuned(llama, options, now)
  tuned.calibrate()
  return tuned
}

// internal

class Tuned implements HostTuning {
  #governor: ThreadGovernor.ThreadGovernor
  #threads: number
  #prefillTokens: number
  #oneRowMs: number
  #told: EngineTuning | undefined

  constructor(
    private readonly llama: LlamaCells,
    private readonly options: HostTuningOptions,
    private readonly now: () => number
  ) {
    const { calibration, prefillTokens, threadsMax } = options
    this.#governor = ThreadGovernor.make(threadsMax, calibration)
    this.#threads = 0
    this.#prefillTokens = Math.min(prefillTokens, calibration?.prefillTokens ?? prefillTokens)
    this.#oneRowMs = calibration?.oneRowMs ?? 0
  }

  get prefillTokens(): number {
    return this.#prefillTokens
  }

  get calibration(): Calibration {
    return { threads: this.#governor.threads, oneRowMs: this.#oneRowMs, prefillTokens: this.#prefillTokens }
  }

  tuning(): EngineTuning {
    const { profile, threadsMax } = this.options
    const { threads, why } = this.#governor
    if (this.#told?.why !== why || this.#told.threads !== threads)
      this.#told = { profile, threads, threadsMax, prefillTokens: this.#prefillTokens, why: why.slice(0, 256) }
    return this.#told
  }

  readonly decode = (rows: number, undo: () => boolean): number => {
    if (this.options.threadsMax === 1) return this.#use(1, rows)
    const order = ThreadGovernor.order(this.#governor, rows, this.now())
    const code = this.#observed(rows, order)
    if (code !== decodeGivenUp) return code
    return undo() ? this.#observed(rows, { threads: 1, deadlineMs: undefined }) : code
  }

  calibrate(): void {
    const { calibration, profile } = this.options
    if (calibration !== undefined) return
    const startedMs = this.now()
    const left = () => calibrationMs - (this.now() - startedMs)
    this.#calibrateThreads(left)
    if (profile === "fast") this.#calibratePrefill(left)
    this.llama.keep(0, 0)
  }

  /** Computes one row again and again until the governor has nothing more to try. */
  #calibrateThreads(left: () => number): void {
    const cellsMax = Math.min(decodesMax, this.options.contextTokens)
    const trims = this.#timed(0) !== undefined && this.#timed(1) !== undefined && this.llama.keep(0, 1)
    // What cannot take a decode back cannot be interrupted either.
    if (!trims) this.#governor = ThreadGovernor.make(1)
    let times: ReadonlyArray<number> = []
    for (let at = this.llama.keep(0, 1) ? 1 : 0; at < cellsMax && left() > 0; at++) {
      const tookMs = this.#timed(at)
      if (tookMs === undefined) break
      if (this.#threads === 1) times = [...times, tookMs]
      if (times.length >= 5 && ThreadGovernor.isSettled(this.#governor, this.now())) break
    }
    this.#oneRowMs = Math.max(1e-3, times.toSorted((a, b) => a - b)[times.length >> 1] ?? 1)
  }

  /** Computes one row at position `at`; returns its time, none where it failed. */
  #timed(at: number): number | undefined {
    const { rows } = this.llama
    rows.token[0] = 0
    rows.position[0] = at
    rows.sequence[0] = 0
    rows.wanted[0] = 1
    const startedMs = this.now()
    const code = this.decode(1, () => this.llama.keep(0, at) || at === 0)
    return code === 0 ? this.now() - startedMs : undefined
  }

  /** Takes the smallest decode of prompts that none clearly beats; what the time does not allow is not tried. */
  #calibratePrefill(left: () => number): void {
    const { contextTokens, prefillTokens } = this.options
    let best = { tokens: Math.min(prefillLeast, prefillTokens), perMs: 0 }
    for (let tokens = best.tokens; tokens <= Math.min(prefillTokens, contextTokens); tokens *= 2) {
      if (tokens * this.#oneRowMs > left()) return
      this.llama.keep(0, 0)
      this.#fill(tokens)
      const startedMs = this.now()
      if (this.decode(tokens, () => this.llama.keep(0, 0)) !== 0) return
      const perMs = tokens / (this.now() - startedMs)
      if (perMs > best.perMs * prefillGain) best = { tokens, perMs }
    }
    if (best.perMs > 0) this.#prefillTokens = best.tokens
  }

  #fill(tokens: number): void {
    const { position, sequence, token, wanted } = this.llama.rows
    token.fill(0, 0, tokens)
    sequence.fill(0, 0, tokens)
    wanted.fill(0, 0, tokens)
    for (let at = 0; at < tokens; at++) position[at] = at
  }

  #observed(rows: number, { deadlineMs, threads }: ThreadGovernor.Order): number {
    const startedMs = this.now()
    const code = this.#use(threads, rows, deadlineMs)
    const nowMs = this.now()
    const givenUp = code === decodeGivenUp
    if (code === 0 || givenUp) {
      const seen = { rows, threads, tookMs: nowMs - startedMs, givenUp }
      this.#governor = ThreadGovernor.observe(this.#governor, seen, nowMs)
    }
    return code
  }

  #use(threads: number, rows: number, deadlineMs?: number): number {
    if (threads !== this.#threads) this.llama.useThreads(threads)
    this.#threads = threads
    return this.llama.decode(rows, deadlineMs)
  }
}
