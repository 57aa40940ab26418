/** How fast the memory of a process grows. Pure. */
import * as Figures from "../Figures.ts"

/** Represents the memory of one program over a soak. */
export interface MemoryTrend {
  readonly firstBytes: number
  readonly lastBytes: number
  readonly maxBytes: number
  /** By least squares over the samples after the first third, in which caches and code still grow. */
  readonly bytesPerHour: number
  readonly standardError: number
}

/** Part of a soak that does not count for the slope. */
const settlingPart = 1 / 3

/** Returns the trend of samples `[seconds, bytes]`, oldest first. */
export const trendOf = (samples: ReadonlyArray<readonly [seconds: number, bytes: number]>): MemoryTrend => {
  const settled = samples.slice(Math.floor(samples.length * settlingPart))
  const { slope, slopeError } = Figures.leastSquares(settled)
  return {
    firstBytes: samples[0]?.[1] ?? Number.NaN,
    lastBytes: samples.at(-1)?.[1] ?? Number.NaN,
    maxBytes: Math.max(...samples.map(([, bytes]) => bytes)),
    bytesPerHour: slope * 3600,
    standardError: slopeError * 3600
  }
}
