/**
 * How fast peers served their models within the last hour, as answers showed: a sketch per minute, peer, model and mode.
 * Pure; `Performance.ts` owns the one of an entry.
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

/** Represents what an entry remembers. */
export interface PerformanceState {
  readonly series: ReadonlyMap<string, Series>
}

/** What counts, and in how many steps it is forgotten. */
const hourMs = 3_600_000
const minuteMs = 60_000

/** Peers × models × modes at once; with as many, new ones wait until old ones are an hour old. */
export const seriesMax = 4_096

/** Nothing was measured. */
export const empty: PerformanceState = { series: new Map() }

/** Notes the sample of an answer. */
export const record = (
  state: PerformanceState,
  served: Served,
  sample: AnswerSample,
  nowMs: number
): PerformanceState => {
  const key = keyOf(served)
  const known = state.series.get(key)
  if (known === undefined && state.series.size >= seriesMax) return state
  const minute = Math.floor(nowMs / minuteMs)
  const minutes = (known?.minutes ?? []).filter(({ minute: at }) => isWithin(at, nowMs))
  const last = minutes.at(-1)
  const before = last?.minute === minute ? last : { minute, ttftMs: Sketch.empty, tokensPerSecond: Sketch.empty }
  const { tokensPerSecond, ttftMs } = sample
  const after = {
    minute,
    ttftMs: Sketch.add(before.ttftMs, ttftMs),
    tokensPerSecond:
      tokensPerSecond === undefined ? before.tokensPerSecond : Sketch.add(before.tokensPerSecond, tokensPerSecond)
  }
  const kept = last?.minute === minute ? minutes.slice(0, -1) : minutes
  return { series: new Map(state.series).set(key, { served, minutes: [...kept, after] }) }
}

/** Forgets what is older than an hour. */
export const expire = (state: PerformanceState, nowMs: number): PerformanceState => ({
  series: new Map([...state.series].filter(([, { minutes }]) => minutes.some(({ minute }) => isWithin(minute, nowMs))))
})

/**
 * Returns the last hour of those that `matches`, all together, or of it the minutes from `fromMs` on; undefined where
 * nothing was measured.
 */
export const figuresOf = (
  state: PerformanceState,
  matches: (served: Served) => boolean,
  nowMs: number,
  fromMs = 0
): Figures | undefined => {
  let ttftMs = Sketch.empty
  let rates = Sketch.empty
  for (const { minutes, served } of state.series.values()) {
    if (!matches(served)) continue
    for (const { minute, tokensPerSecond, ttftMs: some } of minutes) {
      if (!isWithin(minute, nowMs) || minute * minuteMs < fromMs) continue
      ttftMs = Sketch.merge(ttftMs, some)
      rates = Sketch.merge(rates, tokensPerSecond)
    }
  }
  const first = quantiles(ttftMs, 0.95)
  return first && { samples: Sketch.count(ttftMs), ttftMs: first, tokensPerSecond: quantiles(rates, 0.05) }
}

// internal

interface Minute {
  /** Minutes since 1970. */
  readonly minute: number
  readonly ttftMs: Sketch.Sketch
  readonly tokensPerSecond: Sketch.Sketch
}

interface Series {
  readonly served: Served
  /** The oldest first; at most 61. */
  readonly minutes: ReadonlyArray<Minute>
}

const keyOf = ({ mode, model, peer }: Served): string => `${peer} ${mode} ${model}`

const isWithin = (minute: number, nowMs: number): boolean => minute * minuteMs > nowMs - hourMs - minuteMs

const quantiles = (sketch: Sketch.Sketch, slow: number): Quantiles | undefined => {
  const p50 = Sketch.quantile(sketch, 0.5)
  const p95 = Sketch.quantile(sketch, slow)
  return p50 === undefined || p95 === undefined ? undefined : { p50, p95 }
}
