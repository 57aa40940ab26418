/**
 * Frames on a stream: messages survive any cutting; garbage, false lengths and silence end in a typed error, cheaply.
 * Streams are in memory, bytes generated.
 */
import { expect } from "bun:test"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Msgpack from "@weft/mesh/Msgpack"
import type { MeshStream } from "@weft/mesh/Transport"
import { Effect, FastCheck, Fiber, Option, Schema, TestClock } from "effect"
import { it } from "../support/effect.ts"

/** A stream that gives these pieces, then its end; `never` instead of the end where the other side falls silent. */
const streamOf = (pieces: ReadonlyArray<Uint8Array>, end: "ends" | "silent" = "ends"): MeshStream => {
  let at = 0
  return {
    read: Effect.suspend(() => {
      const piece = pieces[at++]
      if (piece !== undefined) return Effect.succeedSome(piece)
      return end === "ends" ? Effect.succeedNone : Effect.never
    }),
    write: () => Effect.void,
    end: Effect.void,
    reset: () => Effect.void,
    closed: Effect.never,
    unsafeListen: () => {},
    unsafeUnread: () => {},
    unsafeWiden: () => {},
    unsafeWrite: () => 0,
    unsafeEnd: () => {},
    unsafeReset: () => {}
  }
}

/** Cuts bytes into pieces at the given fractions. */
const cut = (bytes: Uint8Array, fractions: ReadonlyArray<number>): ReadonlyArray<Uint8Array> => {
  const at = [
    0,
    ...fractions.map((fraction) => Math.floor(fraction * bytes.length)).sort((a, b) => a - b),
    bytes.length
  ]
  return at
    .slice(1)
    .map((end, i) => bytes.subarray(at[i], end))
    .filter((piece) => piece.length > 0)
}

const Message = Schema.Struct({
  text: Schema.String,
  numbers: Schema.Array(Schema.Int),
  bytes: Schema.Uint8ArrayFromSelf,
  nested: Schema.optional(Schema.Struct({ flag: Schema.Boolean, ratio: Schema.Number.pipe(Schema.finite()) }))
})
const message = FastCheck.record(
  {
    text: FastCheck.fullUnicodeString(),
    numbers: FastCheck.array(FastCheck.maxSafeInteger()),
    bytes: FastCheck.uint8Array({ maxLength: 300 }),
    nested: FastCheck.record({
      flag: FastCheck.boolean(),
      // Zero has no sign on the wire: -0 is packed as the integer 0.
      ratio: FastCheck.double({ noNaN: true, noDefaultInfinity: true }).map((ratio) => ratio + 0)
    })
  },
  { requiredKeys: ["text", "numbers", "bytes"] }
)
const encode = Frames.encode(Message)
const plain = (value: typeof Message.Type) => ({ ...value, bytes: [...value.bytes] })

it.prop(
  "messages survive any cutting of their bytes, in order, and then the end is seen",
  FastCheck.record({
    messages: FastCheck.array(message, { maxLength: 8 }),
    cuts: FastCheck.array(FastCheck.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 })
  }),
  ({ cuts, messages }) =>
    Effect.gen(function* () {
      const reader = Frames.reader(streamOf(cut(concat(messages.map(encode)), cuts)))
      for (const sent of messages) {
        const got = Option.getOrThrow(yield* reader.read(Message))
        expect(plain(got)).toEqual(plain(sent))
      }
      expect(Option.isNone(yield* reader.read(Message))).toBe(true)
    }),
  { runs: 300 }
)

it.prop(
  "garbage is a typed error or a value of the schema, never a throw",
  FastCheck.uint8Array({ maxLength: 200 }),
  (payload) =>
    Effect.gen(function* () {
      const decoded = yield* Effect.either(Frames.decode(Message)(payload))
      if (decoded._tag === "Left") expect(decoded.left._tag).toBe("FrameError")
    }),
  { runs: 3_000 }
)

it.prop(
  "what the scan lets through decodes, and what was encoded passes the scan",
  FastCheck.oneof(
    FastCheck.uint8Array({ maxLength: 60 }),
    FastCheck.jsonValue().map((value) => Msgpack.encode(value)),
    FastCheck.uint8Array({ maxLength: 4 }).map((bytes) => Uint8Array.of(0xc6, 0, 0, 0, ...bytes))
  ),
  (bytes) => Effect.sync(() => expect(Option.isSome(Msgpack.decode(bytes))).toBe(Msgpack.scan(bytes))),
  { runs: 3_000 }
)

it.prop(
  "bytes alone are encoded as a map of them is, behind whatever room, and come back as they were",
  FastCheck.tuple(FastCheck.uint8Array({ maxLength: 70_000 }), FastCheck.nat(255)),
  ([bytes, room]) =>
    Effect.sync(() => {
      const encoded = Msgpack.encodeBehind(room, bytes).subarray(room)
      expect(Msgpack.encode(bytes)).toEqual(encoded)
      expect(Msgpack.scan(encoded)).toBe(true)
      expect(Msgpack.decode(encoded)).toEqual(Option.some(bytes))
      // Of four formats with a count this is the longest, which every decoder reads.
      const inMap = Uint8Array.from([0x81, 0xa1, 0x62, ...encoded])
      expect(Option.map(Msgpack.decode(inMap), (value) => new Uint8Array(Object(value).b))).toEqual(Option.some(bytes))
    }),
  { runs: 200 }
)

it.effect(
  "a claimed length is not believed: arrays, maps and text of 4 Gi, deep nesting, extensions, trailing bytes",
  () =>
    Effect.sync(() => {
      const claims = [[0xdd], [0xdf], [0xdb], [0xc6]].map((format) => [...format, 255, 255, 255, 255])
      const deep = [...Array.from({ length: Msgpack.depthMax + 1 }, () => 0x91), 0x00]
      for (const bytes of [...claims, deep, [0xd4, 0, 0], [0xc1], [0x00, 0x00], []]) {
        expect(Msgpack.scan(Uint8Array.from(bytes))).toBe(false)
      }
      expect(Msgpack.scan(Uint8Array.from(deep.slice(1)))).toBe(true)
    })
)

it.effect("a frame that is too large, cut off or of another shape is refused with the field at fault", () =>
  Effect.gen(function* () {
    const failure = (stream: MeshStream) => Effect.flip(Frames.reader(stream, { sizeBytesMax: 1_000 }).read(Message))
    const large = Uint8Array.from([0, 0, 3, 233])
    expect((yield* failure(streamOf([large]))).message).toContain("1001 bytes, at most 1000")
    const whole = encode({ text: "a", numbers: [1], bytes: new Uint8Array() })
    expect((yield* failure(streamOf([whole.subarray(0, 9)]))).message).toContain("inside a frame")
    const other = Frames.encode(Schema.Struct({ text: Schema.String, numbers: Schema.Array(Schema.String) }))
    expect((yield* failure(streamOf([other({ text: "a", numbers: ["x"] })]))).message).toContain("numbers.0")
  })
)

it.effect("a frame that began and does not go on is given up; waiting between frames is not", () =>
  Effect.gen(function* () {
    const frame = encode({ text: "a", numbers: [], bytes: new Uint8Array() })
    const stuck = yield* Effect.fork(
      Effect.flip(Frames.reader(streamOf([frame.subarray(0, 6)], "silent")).read(Message))
    )
    const waiting = yield* Effect.fork(Frames.reader(streamOf([], "silent")).read(Message))
    yield* TestClock.adjust("11 seconds")
    expect((yield* Fiber.join(stuck)).message).toContain("Slow")
    expect(yield* Fiber.poll(waiting)).toEqual(Option.none())
  })
)

it.effect("16 MiB in pieces of 1 KiB are taken in linear time", () =>
  Effect.gen(function* () {
    const Blob = Schema.Struct({ bytes: Schema.Uint8ArrayFromSelf })
    const frame = Frames.encode(Blob)({ bytes: new Uint8Array(16 * 1024 * 1024) })
    const pieces = Array.from({ length: Math.ceil(frame.length / 1024) }, (_, i) =>
      frame.subarray(i * 1024, i * 1024 + 1024)
    )
    const blob = Option.getOrThrow(yield* Frames.reader(streamOf(pieces)).read(Blob, 17 * 1024 * 1024))
    expect(blob.bytes.length).toBe(16 * 1024 * 1024)
  })
)
