/**
 * How long windows take through the whole pipeline, by their rows: measured where there was such a window, estimated
 * from shorter and longer ones elsewhere. Pure; the pipeline host keeps one for each epoch.
 */

/** Represents what is known of a pipeline's times; `samples` are by class, the shortest windows first. */
export interface LoopTime {
  readonly samples: ReadonlyArray<Sample>
  /** Milliseconds of the first stage for a decode of answers, of those about the last eight. */
  readonly ownMs: number
}

/** Represents windows of about as many rows as each other. */
export interface Sample {
  readonly rows: number
  readonly ms: number
}

/** Nothing is known. */
export const none: LoopTime = { samples: [], ownMs: 0 }

/** Weight of a new time: the last eight windows or so count. */
const weight = 1 / 8

/** Takes note of a window that took `tookMs` from its sending to its tokens and was alone on its way. */
export const observe = (known: LoopTime, rows: number, tookMs: number): LoopTime => {
  const before = known.samples.find((sample) => classOf(sample.rows) === classOf(rows))
  const after = before === undefined ? { rows, ms: tookMs } : mix(before, { rows, ms: tookMs })
  const others = known.samples.filter((sample) => sample !== before)
  return { ...known, samples: [...others, after].toSorted((one, other) => one.rows - other.rows) }
}

/** Takes note of the first stage's time for a decode of answers. */
export const observeOwn = (known: LoopTime, tookMs: number): LoopTime => ({
  ...known,
  ownMs: known.ownMs === 0 ? tookMs : known.ownMs + (tookMs - known.ownMs) * weight
})

/** Returns the time of a single row; none where none was measured. */
export const oneRowMs = ({ samples }: LoopTime): number | undefined => samples.find(({ rows }) => rows === 1)?.ms

/**
 * Returns the time of a window of `rows`; none where no window was measured. Between two measured ones it lies on their
 * line, above the longest it grows as the rows do, below the shortest it is the same: mostly too much.
 */
export const expectedMs = ({ samples }: LoopTime, rows: number): number | undefined => {
  const same = samples.find((sample) => classOf(sample.rows) === classOf(rows))
  if (same !== undefined) return same.ms
  const below = samples.findLast((sample) => sample.rows < rows)
  const above = samples.find((sample) => sample.rows > rows)
  if (below === undefined) return above?.ms
  if (above === undefined) return (below.ms * rows) / below.rows
  const share = (rows - below.rows) / (above.rows - below.rows)
  return Math.max(below.ms, below.ms + (above.ms - below.ms) * share)
}

// internal

/** Windows of up to four rows are a class each, longer ones are so by powers of two. */
const classOf = (rows: number): number => (rows <= 4 ? rows : 3 + Math.ceil(Math.log2(rows / 2)))

const mix = (one: Sample, other: Sample): Sample => ({
  rows: one.rows + (other.rows - one.rows) * weight,
  ms: one.ms + (other.ms - one.ms) * weight
})
