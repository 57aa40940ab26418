/** Sketches of generated numbers: quantiles within their error, and sums that do not know how they were made. */
import { expect } from "bun:test"
import * as Sketch from "@weft/mesh/Sketch"
import { Effect, FastCheck, Schema } from "effect"
import { it } from "../support/effect.ts"

const value = FastCheck.double({ min: 1e-3, max: 1e7, noNaN: true })
const values = FastCheck.array(value, { maxLength: 300 })
const merge = (...sketches: ReadonlyArray<Sketch.Sketch>) => Sketch.mergeAll(sketches)
const sketchOf = (numbers: ReadonlyArray<number>) => numbers.reduce(Sketch.add, Sketch.empty)

it.effect("every quantile is within 2 % of the true one, the error the sketch promises", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(value, { minLength: 1, maxLength: 300 }),
        FastCheck.double({ min: 0, max: 1, noNaN: true }),
        (numbers, share) => {
          const sorted = numbers.toSorted((a, b) => a - b)
          const exact = sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN
          const told = Sketch.quantile(sketchOf(numbers), share) ?? Number.NaN
          expect(Math.abs(told - exact) / exact).toBeLessThanOrEqual(Sketch.relativeError + 1e-9)
        }
      ),
      { numRuns: 500 }
    )
  )
)

it.effect("sketches add up: in any order, in any grouping, and to what all numbers together make", () =>
  Effect.sync(() =>
    FastCheck.assert(
      FastCheck.property(values, values, values, (a, b, c) => {
        const [one, two, three] = [sketchOf(a), sketchOf(b), sketchOf(c)]
        expect(merge(one, two)).toEqual(merge(two, one))
        expect(merge(merge(one, two), three)).toEqual(merge(one, merge(two, three)))
        expect(merge(one, two)).toEqual(sketchOf([...b, ...a]))
        expect(Sketch.count(merge(one, two))).toBe(a.length + b.length)
      }),
      { numRuns: 300 }
    )
  )
)

it.effect("what a sketch became is one that may cross a boundary; bins out of order or twice are refused", () =>
  Effect.sync(() => {
    const isSketch = Schema.is(Sketch.Sketch)
    FastCheck.assert(FastCheck.property(values, (numbers) => isSketch(sketchOf(numbers))))
    expect(
      isSketch([
        [3, 1],
        [2, 1]
      ])
    ).toBe(false)
    expect(
      isSketch([
        [2, 1],
        [2, 1]
      ])
    ).toBe(false)
    expect(isSketch([[2, 0]])).toBe(false)
    expect(isSketch([[2, 1.5]])).toBe(false)
    expect(isSketch([[1e6, 1]])).toBe(false)
  })
)

it.effect("numbers beyond the ends are counted at the ends", () =>
  Effect.sync(() => {
    expect(Sketch.add(Sketch.empty, 1e12)).toEqual(Sketch.add(Sketch.empty, 1e7))
    expect(Sketch.add(Sketch.empty, 0)).toEqual(Sketch.add(Sketch.empty, 1e-3))
  })
)
