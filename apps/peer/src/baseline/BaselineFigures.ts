/** What completions without a mesh tell of a model's speed: the sample of each, and the median of some. Pure. */
import { type GenerateEvent, type GenerateRequest, greedy } from "@weft/engine/Generation"
import { NativeFigures } from "@weft/mesh/ModelDescription"
import { Schema } from "effect"

/** Represents what one completion told. */
export interface BaselineSample {
  readonly ttftMs: number
  readonly tokensPerSecond: number
}

/** Completions of one measurement: three have a middle, and are over in seconds. */
export const runsMax = 3
/** Tokens of each: enough for a rate on anything, over within minutes on the slowest. */
const tokensMax = 128
/** Shortest time between first and last text that tells a rate; the same as of answers at the entry. */
const windowMsMin = 50

/**
 * Returns the request of a completion. Its prompt begins with `number`, which no earlier one had: cells of an equal
 * prompt would be used again, and its first text come sooner than anybody's.
 */
export const request = (model: string, contextTokens: number, number: number): GenerateRequest => ({
  requestId: "baseline",
  model,
  prompt: { _tag: "Text", text: `${number} times this story was told: once upon a time, in a small town by the sea,` },
  sampling: { ...greedy, seed: 42 },
  maxTokens: Math.min(tokensMax, Math.floor(contextTokens / 2)),
  stop: [],
  ignoresEnd: true
})

/** Follows one completion from `startedMs` on; times are milliseconds of one clock. */
export class Completion {
  readonly #startedMs: number
  #firstMs: number | undefined
  #lastMs = 0
  #tokensAfterFirst = 0
  #isWhole = false

  constructor(startedMs: number) {
    this.#startedMs = startedMs
  }

  /** Notes events that came at once. */
  note(events: ReadonlyArray<GenerateEvent>, nowMs: number): void {
    let tokens = 0
    let hasText = false
    for (const event of events) {
      if (event._tag === "Finished") this.#isWhole = true
      if (event._tag !== "Delta") continue
      tokens += event.tokens.length
      hasText ||= event.text !== ""
    }
    if (this.#firstMs !== undefined) this.#tokensAfterFirst += tokens
    else if (hasText) this.#firstMs = nowMs
    if (tokens > 0) this.#lastMs = nowMs
  }

  /** What it told; undefined where it failed, or was too short to tell a rate. */
  get sample(): BaselineSample | undefined {
    if (!this.#isWhole || this.#firstMs === undefined) return undefined
    const windowMs = this.#lastMs - this.#firstMs
    if (windowMs < windowMsMin || this.#tokensAfterFirst === 0) return undefined
    return { ttftMs: this.#firstMs - this.#startedMs, tokensPerSecond: (this.#tokensAfterFirst * 1000) / windowMs }
  }
}

/** Returns the middle of each axis by itself; undefined without a sample, or where what came is not of this world. */
export const figuresOf = (samples: ReadonlyArray<BaselineSample>, measuredAtMs: number): NativeFigures | undefined => {
  const figures = {
    ttftMs: median(samples.map(({ ttftMs }) => ttftMs)),
    tokensPerSecond: median(samples.map(({ tokensPerSecond }) => tokensPerSecond)),
    runs: samples.length,
    measuredAtMs
  }
  return isFigures(figures) ? figures : undefined
}

// internal

const isFigures = Schema.is(NativeFigures)

const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length / 2
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2
}
