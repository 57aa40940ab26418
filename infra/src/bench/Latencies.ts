/** Latencies in a histogram of high dynamic range: no value is dropped, and a quantile is off by 0.1 % at most. */
import { createHistogram } from "node:perf_hooks"

/** Values are kept in microseconds: a tenth of what one system call costs. */
const perMs = 1000
/** Longest value kept, in milliseconds: no answer may take longer. */
const longestMs = 30 * 60_000

/** Represents what a histogram says, in milliseconds; all are NaN of nothing but the count. */
export interface Quantiles {
  readonly count: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly max: number
}

/** Represents a histogram that grows. */
export interface Latencies {
  /** Takes one value; below a microsecond counts as one. */
  readonly add: (ms: number) => void
  readonly quantiles: () => Quantiles
}

/** Returns an empty histogram. */
export const make = (): Latencies => {
  const histogram = createHistogram({ lowest: 1, highest: longestMs * perMs, figures: 3 })
  const at = (percent: number): number => (histogram.count === 0 ? Number.NaN : histogram.percentile(percent) / perMs)
  return {
    add: (ms) => histogram.record(Math.min(longestMs * perMs, Math.max(1, Math.round(ms * perMs)))),
    quantiles: () => ({ count: histogram.count, p50: at(50), p90: at(90), p99: at(99), max: at(100) })
  }
}
