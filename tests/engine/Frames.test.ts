import { expect, test } from "bun:test"
import { Effect, FastCheck } from "effect"
import * as Frames from "../../packages/engine/src/internal/Frames.ts"
import { it } from "../support/effect.ts"

const frameBytesMax = 4096
const value = FastCheck.jsonValue({ maxDepth: 3 }).map((json) => JSON.parse(JSON.stringify(json)))
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
