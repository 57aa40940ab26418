/** Statistics of short series: what a noisy machine leaves of a measurement. Pure. */

/** Returns the `q`-quantile (0…1) by the nearest rank, NaN of nothing. */
export const quantile = (values: ReadonlyArray<number>, q: number): number => {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(q * sorted.length) - 1))] ?? Number.NaN
}

/** Returns the middle value, the mean of both where there are two, NaN of nothing. */
export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const half = sorted.length / 2
  const upper = sorted[Math.floor(half)] ?? Number.NaN
  return Number.isInteger(half) ? ((sorted[half - 1] ?? Number.NaN) + upper) / 2 : upper
}

/** Represents a series by its middle and its edges. */
export interface Spread {
  readonly median: number
  readonly min: number
  readonly max: number
}

/** Returns the middle and the edges, all NaN of nothing. */
export const spread = (values: ReadonlyArray<number>): Spread => ({
  median: median(values),
  min: quantile(values, 0),
  max: quantile(values, 1)
})

/** Represents two measurements taken one right after the other. */
export interface Pair {
  readonly through: number
  readonly direct: number
}

/** Returns the median of the pairs' own ratios: what slows both halves of a pair leaves its ratio alone. */
export const ratio = (pairs: ReadonlyArray<Pair>): number =>
  median(pairs.map(({ direct, through }) => through / direct))

/** Represents a straight line through points, and how sure its slope is. */
export interface Line {
  /** Units of y for one of x. */
  readonly slope: number
  /** Standard error of the slope; NaN under three points. */
  readonly slopeError: number
}

/** Returns the line of least squares through `points`; the slope is NaN where all x are the same. */
export const leastSquares = (points: ReadonlyArray<readonly [x: number, y: number]>): Line => {
  const count = points.length
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count
  const spreadX = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
  const slope = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spreadX
  const rest = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0)
  return { slope, slopeError: count > 2 ? Math.sqrt(rest / (count - 2) / spreadX) : Number.NaN }
}
