/** The codec of hidden states: how far what arrives is from what was sent, and what a type does not hold. */
import { describe, expect, test } from "bun:test"
import * as Activations from "@weft/engine/pipeline/Activations"
import { FastCheck } from "effect"

/** Magnitudes as hidden states have them, with zeros, great leaps between neighbours and numbers next to nothing. */
const value = FastCheck.tuple(
  FastCheck.float({ min: -1, max: 1, noNaN: true }),
  FastCheck.integer({ min: -130, max: 15 })
).map(([part, exponent]) => Math.fround(part * 2 ** exponent))

const rows = FastCheck.integer({ min: 1, max: 5 }).chain((blocks) =>
  FastCheck.array(value, { minLength: blocks * 32, maxLength: blocks * 32 }).map((all) => Float32Array.from(all))
)

/** Returns what arrives, read at an odd place. */
const arrived = (values: Float32Array, type: Activations.ActivationType): Float32Array => {
  const { bytes, type: stored } = Activations.store(values, values.length, type)
  expect(stored).toBe(type)
  expect(bytes.length).toBe(Activations.rowBytes(type, values.length))
  const room = Buffer.alloc(bytes.length + 1)
  room.set(bytes, 1)
  return Activations.load(room.subarray(1), type)
}

const peakOf = (values: Float32Array) => Math.max(...values.map(Math.abs))

/** Half a step of `q8`, and what single precision takes from the scale and from what arrives: 2^-24 of each. */
const q8ErrorMax = (peak: number): number => {
  const halfStep = (peak / 254) * (1 + 2 ** -24)
  return halfStep + (peak + halfStep) * 2 ** -24 + 2 ** -100
}

/** Arrives further off than half a step of its peak: what lies between two steps is rounded once more. */
const betweenSteps = new Float32Array(32).with(0, -0.03124994784593582).with(1, -0.01562497392296791)

describe("hidden states", () => {
  test("as f32 arrive bit for bit", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.float32Array({ minLength: 1, maxLength: 64 }), (values) => {
        const got = arrived(values, "f32")
        expect(Activations.bytesOf(got)).toEqual(Activations.bytesOf(values))
      })
    )
  })

  test("as f16 arrive with eleven bits, or as near as the least step of that type", () => {
    FastCheck.assert(
      FastCheck.property(rows, (values) => {
        for (const [at, got] of arrived(values, "f16").entries()) {
          const sent = values[at] ?? 0
          expect(Math.abs(got - sent)).toBeLessThanOrEqual(Math.max(Math.abs(sent) * 2 ** -11, 2 ** -25))
        }
      })
    )
  })

  test("as q8 arrive within half a step of the greatest of their block", () => {
    FastCheck.assert(
      FastCheck.property(rows, (values) => {
        const got = arrived(values, "q8")
        for (let from = 0; from < values.length; from += 32) {
          const block = values.subarray(from, from + 32)
          const most = q8ErrorMax(peakOf(block))
          for (const [at, sent] of block.entries())
            expect(Math.abs((got[from + at] ?? Number.NaN) - sent)).toBeLessThanOrEqual(most)
        }
      }),
      { examples: [[betweenSteps]] }
    )
  })

  test("that a type does not hold are f32 as they are", () => {
    const type = (values: Float32Array, wanted: Activations.ActivationType, width = values.length) => {
      const stored = Activations.store(values, width, wanted)
      const got = Activations.load(stored.bytes, stored.type)
      if (stored.type === "f32") expect(Activations.bytesOf(got)).toEqual(Activations.bytesOf(values))
      expect(Activations.isFinite(got)).toBe(Activations.isFinite(values))
      return stored.type
    }
    const having = (one: number) => new Float32Array(64).fill(0.5).with(40, one)
    for (const one of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(type(having(one), "f16")).toBe("f32")
      expect(type(having(one), "q8")).toBe("f32")
    }
    expect(type(having(65_504), "f16")).toBe("f16")
    expect(type(having(-65_519), "f16")).toBe("f16")
    expect(type(having(65_520), "f16")).toBe("f32")
    expect(type(having(-1e30), "f16")).toBe("f32")
    expect(type(having(1e30), "q8")).toBe("q8")
    expect(type(having(2 ** 127), "q8")).toBe("q8")
    expect(type(having(-3.4e38), "q8")).toBe("f32")
    expect(type(new Float32Array(96), "q8", 48)).toBe("f32")
  })

  test("whose rows are no whole blocks are refused for q8 with the reason, and for no other type", () => {
    expect(Activations.faultOf("q8", 2880)).toBeUndefined()
    expect(Activations.faultOf("q8", 2881)).toBe(
      "rows of 2881 values are no whole blocks of 32, as q8 has them; take f16 or f32"
    )
    expect(Activations.faultOf("f16", 2881)).toBeUndefined()
    expect(Activations.faultOf("f32", 1)).toBeUndefined()
  })

  test("of a stranger are as many values as there are bytes for, whatever these are", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom("f32" as const, "f16" as const, "q8" as const),
        FastCheck.integer({ min: 1, max: 4 }).chain((blocks) =>
          FastCheck.uint8Array({ minLength: blocks * 144, maxLength: blocks * 144 })
        ),
        FastCheck.nat(3),
        (type, bytes, by) => {
          const room = Buffer.alloc(bytes.length + by)
          room.set(bytes, by)
          const got = Activations.load(room.subarray(by), type)
          expect(Activations.rowBytes(type, got.length)).toBe(bytes.length)
        }
      )
    )
    // A scale that is no number is no number in every value: a stage refuses the window.
    const bytes = new Uint8Array(36).fill(0xff)
    expect(Activations.isFinite(Activations.load(bytes, "q8"))).toBe(false)
  })
})
