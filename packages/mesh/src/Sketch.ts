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
const binOf = (value: number): number =>
  Math.ceil(Math.log(Math.min(largest, Math.max(smallest, value))) / Math.log(growth))
const binLeast = binOf(smallest)
const binMost = binOf(largest)

/** Represents how many numbers fell into each bin, the smallest bins first. */
export const Sketch = Schema.Array(
  Schema.Tuple(Schema.Int.pipe(Schema.between(binLeast, binMost)), Schema.Int.pipe(Schema.between(1, 1e9)))
).pipe(Schema.maxItems(binMost - binLeast + 1))
export type Sketch = typeof Sketch.Type

/** No numbers. */
export const empty: Sketch = []

/** Returns the sketch with one more number, which is finite and positive. */
export const add = (sketch: Sketch, value: number): Sketch => merge(sketch, [[binOf(value), 1]])

/** Returns the numbers of both, in any order of the two. */
export const merge = (one: Sketch, other: Sketch): Sketch => {
  const counts = new Map(one)
  for (const [bin, count] of other) counts.set(bin, (counts.get(bin) ?? 0) + count)
  return [...counts].toSorted(([a], [b]) => a - b)
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
