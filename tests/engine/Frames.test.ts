/** The frames between supervisor and host, cut anywhere. */
import { expect, test } from "bun:test"
import { Effect, FastCheck } from "effect"
import * as Frames from "../../packages/engine/src/internal/Frames.ts"
import { it } from "../support/effect.ts"

const frameBytesMax = 4096
/** msgpackr renames `__proto__`, as it should. */
const value = FastCheck.json({ maxDepth: 3 })
  .filter((json) => !json.includes("__proto__"))
  .map((json): unknown => JSON.parse(json))
const stream = FastCheck.record({
  values: FastCheck.array(value, { maxLength: 8 }),
  cuts: FastCheck.array(FastCheck.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })
})

it.prop("values come out as they went in, however their bytes are cut", stream, ({ cuts, values }) =>
  Effect.sync(() => {
    const bytes = Buffer.concat(values.map(Frames.encode))
    const decoder = Frames.makeDecoder(frameBytesMax)
    const found: Array<unknown> = []
    for (let at = 0, piece = 0; at < bytes.length; piece++) {
      const length = cuts[piece % cuts.length] ?? 1
      found.push(...decoder.push(bytes.subarray(at, at + length)))
      at += length
    }
    expect(found).toEqual(values)
  })
)

test("a frame over the bound is refused by its header alone", () => {
  const header = new Uint8Array(4)
  new DataView(header.buffer).setUint32(0, frameBytesMax + 1)
  expect(() => Frames.makeDecoder(frameBytesMax).push(header)).toThrow(/frame of 4097 bytes/)
})

test("a frame that ends in the middle of a value is refused", () => {
  expect(() => Frames.makeDecoder(frameBytesMax).push(new Uint8Array([0, 0, 0, 1, 0x92]))).toThrow()
})
