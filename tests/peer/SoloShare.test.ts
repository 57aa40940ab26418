/** How a peer divides its memory: a margin stays free, models in their order, then standbys, then layers. */
import { expect, test } from "bun:test"
import * as SoloShare from "@weft/peer/election/SoloShare"
import { FastCheck } from "effect"

const gib = 2 ** 30

test("one GiB stays free on small computers and two on large ones, whatever the owner lends", () => {
  expect(SoloShare.usable(8 * gib, 15 * gib, undefined)).toBe(7 * gib)
  expect(SoloShare.usable(8 * gib, 16 * gib, undefined)).toBe(6 * gib)
  expect(SoloShare.usable(8 * gib, 16 * gib, 2 * gib)).toBe(2 * gib)
  expect(SoloShare.usable(8 * gib, 16 * gib, 7 * gib)).toBe(6 * gib)
  expect(SoloShare.usable(gib / 2, gib, undefined)).toBe(0)
})

const divide = (memoryBytes: number, ...needs: ReadonlyArray<number | "lent">) =>
  SoloShare.divide(
    needs.map((need) => (need === "lent" ? { needBytes: 1, isLent: true } : { needBytes: need, isLent: false })),
    memoryBytes
  )

test("what fits is served, what would fit in its place stands by, and layers are lent of what never fits", () => {
  expect(divide(10, 6)).toEqual({ parts: ["worker"], usableBytes: 10, lentBytes: 0 })
  expect(divide(10, 6, 4, 5)).toEqual({ parts: ["worker", "worker", "standby"], usableBytes: 10, lentBytes: 0 })
  expect(divide(10, 11)).toEqual({ parts: ["lent"], usableBytes: 0, lentBytes: 10 })
  expect(divide(10, 6, 11, 5, 7)).toEqual({
    parts: ["worker", "lent", "standby", "lent"],
    usableBytes: 6,
    lentBytes: 4
  })
  expect(divide(10, "lent", 6)).toEqual({ parts: ["lent", "worker"], usableBytes: 6, lentBytes: 4 })
})

test("whatever is given, what is served fits, every standby fits alone, and stages have memory of their own", () => {
  const given = FastCheck.array(FastCheck.record({ needBytes: FastCheck.nat(20), isLent: FastCheck.boolean() }))
  FastCheck.assert(
    FastCheck.property(given, FastCheck.nat(30), (files, memoryBytes) => {
      const { lentBytes, parts, usableBytes } = SoloShare.divide(files, memoryBytes)
      const served = files.reduce((sum, { needBytes }, index) => sum + (parts[index] === "worker" ? needBytes : 0), 0)
      expect(served).toBeLessThanOrEqual(usableBytes)
      expect(usableBytes + lentBytes).toBeLessThanOrEqual(memoryBytes)
      for (const [index, { isLent, needBytes }] of files.entries()) {
        if (isLent) expect(parts[index]).toBe("lent")
        if (parts[index] === "standby") expect(needBytes).toBeLessThanOrEqual(usableBytes)
      }
    }),
    { numRuns: 1_000 }
  )
})
