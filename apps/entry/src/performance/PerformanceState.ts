/**
 * How fast one peer served a model within the last hour, as answers showed: sketches of steps of five minutes, and of
 * all steps together. Pure, and the same in whatever order samples came; `PerformanceBoard.ts` keeps one for each peer.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import * as Sketch from "@weft/mesh/Sketch"
import type { AnswerSample } from "../http/AnswerSample.ts"

/** Whether one peer served the whole model, or a group of which it is the host. */
export type Mode = "solo" | "split"

/** Represents who served what, and how. */
export interface Served {
  readonly peer: PeerId
  readonly model: string
  readonly mode: Mode
}

/** Represents the middle and the slow end of what was measured; for rates `p95` is the one that 95 % are above. */
export interface Quantiles {
  readonly p50: number
  readonly p95: number
}

/** Represents an hour of answers. */
export interface Figures {
  readonly samples: number
  readonly ttftMs: Quantiles
  /** Absent where no answer was long enough to tell a rate. */
  readonly tokensPerSecond: Quantiles | undefined
}

/** Represents what was measured, without when. */
export interface Distribution {
  readonly ttftMs: Sketch.Sketch
  readonly tokensPerSecond: Sketch.Sketch
}

/** Represents the answers of one step. */
export interface Step extends Distribution {
  /** Steps since 1970. */
  readonly step: number
}

/** Represents what is remembered of one series. */
export interface Hour {
  /** The oldest first, none twice; 15 at most where old ones are forgotten. */
  readonly steps: ReadonlyArray<Step>
  /** All steps together. */
  readonly all: Distribution
}

/** What counts. */
export const hourMs = 3_600_000
/** In such steps it is forgotten; an hour of the clock begins with one. Finer ones take room in proportion. */
export const stepMs = 300_000
/** What is from further ahead was written by another clock, and is left out. */
export const skewMsMax = 600_000

/** Nothing. */
export const nothing: Distribution = { ttftMs: Sketch.empty, tokensPerSecond: Sketch.empty }

/** Nothing was measured. */
export const empty: Hour = { steps: [], all: nothing }

/** Returns the hour of these steps, the oldest first. */
export const fromSteps = (steps: ReadonlyArray<Step>): Hour => ({ steps, all: mergeAll(steps) })

/** Adds what was measured. */
export const mergeAll = (all: ReadonlyArray<Distribution>): Distribution => ({
  ttftMs: Sketch.mergeAll(all.map(({ ttftMs }) => ttftMs)),
  tokensPerSecond: Sketch.mergeAll(all.map(({ tokensPerSecond }) => tokensPerSecond))
})

/** Notes a sample of the step that `nowMs` is in. */
export const record = ({ all, steps }: Hour, sample: AnswerSample, nowMs: number): Hour => {
  const step = Math.floor(nowMs / stepMs)
  let index = steps.length
  while (index > 0 && (steps[index - 1]?.step ?? step) > step) index--
  const before = steps[index - 1]
  return {
    steps:
      before?.step === step
        ? steps.with(index - 1, { step, ...add(before, sample) })
        : steps.toSpliced(index, 0, { step, ...add(nothing, sample) }),
    all: add(all, sample)
  }
}

/** Forgets what is older than an hour, and what is ahead of the clock; the same hour where nothing is. */
export const expire = (hour: Hour, nowMs: number): Hour => {
  const { steps } = hour
  const [first, last] = [steps.at(0), steps.at(-1)]
  if (first === undefined || last === undefined) return hour
  if (isWithin(first, nowMs) && isWithin(last, nowMs)) return hour
  return fromSteps(steps.filter((step) => isWithin(step, nowMs)))
}

/** Returns the part of an hour whose steps began at `fromMs` or later. */
export const since = ({ all, steps }: Hour, fromMs: number | undefined): Distribution =>
  fromMs === undefined ? all : mergeAll(steps.filter(({ step }) => step * stepMs >= fromMs))

/** Returns what people are told; undefined where nothing was measured. */
export const figuresOf = ({ tokensPerSecond, ttftMs }: Distribution): Figures | undefined => {
  const first = quantiles(ttftMs, 0.95)
  return first && { samples: Sketch.count(ttftMs), ttftMs: first, tokensPerSecond: quantiles(tokensPerSecond, 0.05) }
}

// internal

const add = (before: Distribution, { tokensPerSecond, ttftMs }: AnswerSample): Distribution => ({
  ttftMs: Sketch.add(before.ttftMs, ttftMs),
  tokensPerSecond:
    tokensPerSecond === undefined ? before.tokensPerSecond : Sketch.add(before.tokensPerSecond, tokensPerSecond)
})

const isWithin = ({ step }: Step, nowMs: number): boolean =>
  (step + 1) * stepMs > nowMs - hourMs && step * stepMs <= nowMs + skewMsMax

const quantiles = (sketch: Sketch.Sketch, slow: number): Quantiles | undefined => {
  const p50 = Sketch.quantile(sketch, 0.5)
  const p95 = Sketch.quantile(sketch, slow)
  return p50 === undefined || p95 === undefined ? undefined : { p50, p95 }
}
