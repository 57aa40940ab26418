/**
 * Quantiles of many positive numbers in little room, which add up: DDSketch (Masson, Rim, Lee 2019) with bins that grow
 * by a constant factor, so that every quantile is right to `relativeError` of itself. Pure; a sketch is never changed.
 */
import { Schema } from "effect"

/** A quantile is at most so far from the true one, as a part of it. */
export const relativeError = 0.02

/** Numbers outside are counted as the nearest one inside: milliseconds and rates of anything people wait for. */
const smallest = 1e-3
const largest = 1e7

const growth = (1 + relativeError) / (1 - relativeError)
/** The sum leaves no -0, which would be another bin than 0 to who compares. */
const binOf = (value: number): number =>
  Math.ceil(Math.log(Math.min(largest, Math.max(smallest, value))) / Math.log(growth)) + 0
const binLeast = binOf(smallest)
const binMost = binOf(largest)

/** A bin and how many numbers fell into it. */
const Bin = Schema.Tuple(Schema.Int.pipe(Schema.between(binLeast, binMost)), Schema.Int.pipe(Schema.between(1, 1e9)))

/** Represents how many numbers fell into each bin, the smallest bins first and none twice. */
export const Sketch = Schema.Array(Bin).pipe(
  Schema.maxItems(binMost - binLeast + 1),
  Schema.filter((bins) => bins.every(([bin], index) => index === 0 || bin > (bins[index - 1]?.[0] ?? bin)), {
    message: () => "the bins of a sketch are in order"
  })
)
export type Sketch = typeof Sketch.Type

/** No numbers. */
export const empty: Sketch = []

/** Returns the sketch with one more number, which is finite and positive. */
export const add = (sketch: Sketch, value: number): Sketch => {
  const bin = binOf(value)
  let index = sketch.length
  while (index > 0 && (sketch[index - 1]?.[0] ?? bin) > bin) index--
  const before = sketch[index - 1]
  return before?.[0] === bin
    ? sketch.with(index - 1, [bin, before[1] + 1])
    : sketch.toSpliced(index, 0, [bin, 1] as const)
}

/** Returns the numbers of all, in whatever order they stand; takes as long as they have bins together. */
export const mergeAll = (sketches: ReadonlyArray<Sketch>): Sketch => {
  const [only] = sketches
  if (only === undefined || sketches.length === 1) return only ?? empty
  const counts = new Float64Array(binMost - binLeast + 1)
  for (const sketch of sketches) {
    for (const [bin, count] of sketch) counts[bin - binLeast] = (counts[bin - binLeast] ?? 0) + count
  }
  const merged: Array<Sketch[number]> = []
  counts.forEach((count, index) => {
    if (count > 0) merged.push([index + binLeast, count])
  })
  return merged
}

/** Returns how many numbers there are. */
export const count = (sketch: Sketch): number => sketch.reduce((sum, [, count]) => sum + count, 0)

/** Returns the number that `share`, 0 to 1, of all are not above; none where there are none. */
export const quantile = (sketch: Sketch, share: number): number | undefined => {
  const rank = share * (count(sketch) - 1)
  let below = 0
  for (const [bin, count] of sketch) {
    below += count
    if (below > rank) return (2 * growth ** bin) / (growth + 1)
  }
  return undefined
}
