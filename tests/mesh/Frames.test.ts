/** Frames against the pieces a network makes of them, and against bytes that no honest side sends. */
import { describe, expect } from "bun:test"
import * as Frames from "@weft/mesh/Frames"
import { Effect, Either, FastCheck, Fiber, Option, Schema, TestClock } from "effect"
import { it } from "../support/effect.ts"

/** Values that may travel: what MessagePack holds without extensions, in the types they come back as. */
const wireValue = FastCheck.letrec((tie) => ({
  value: FastCheck.oneof(
    { maxDepth: 4 },
    FastCheck.constant(null),
    FastCheck.boolean(),
    FastCheck.integer(),
    FastCheck.maxSafeInteger(),
    FastCheck.double({ noNaN: true }).filter((number) => !Object.is(number, -0)),
    FastCheck.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    FastCheck.string({ maxLength: 80, unit: "grapheme" }),
    FastCheck.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    FastCheck.array(tie("value"), { maxLength: 6 }),
    FastCheck.dictionary(
      FastCheck.string({ maxLength: 20 }).filter((key) => key !== "__proto__"),
      tie("value"),
      { maxKeys: 6, noNullPrototype: true }
    )
  )
})).value

/** Cuts bytes at the given places. */
const cut = (bytes: Uint8Array, sizes: ReadonlyArray<number>): Array<Uint8Array> => {
  const pieces: Array<Uint8Array> = []
  let at = 0
  for (let index = 0; at < bytes.length; index++) {
    const size = Math.max(1, sizes[index % sizes.length] ?? 1)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

const sizes = FastCheck.array(FastCheck.integer({ min: 1, max: 500 }), { minLength: 1, maxLength: 20 })

/** A stream that gives these pieces and then ends. */
const streamOf = (pieces: ReadonlyArray<Uint8Array>) => {
  const rest = [...pieces]
  return { read: Effect.sync(() => Option.fromNullable(rest.shift())) }
}

describe("Frames", () => {
  it.prop(
    "values come back the same from any pieces",
    FastCheck.tuple(FastCheck.array(wireValue, { maxLength: 5 }), sizes),
    ([values, pieceSizes]) =>
      Effect.gen(function* () {
        const frames = yield* Effect.forEach(values, (value) => Frames.encode(value))
        const decoder = new Frames.Decoder()
        const decoded: Array<unknown> = []
        for (const piece of cut(new Uint8Array(Buffer.concat(frames)), pieceSizes)) {
          for (const payload of yield* decoder.push(piece)) decoded.push(yield* Frames.decode(payload))
        }
        expect(decoded).toEqual([...values])
        expect(decoder.isPartial).toBe(false)
      })
  )

  it.prop(
    "garbage gives a value or a FrameError, and nothing else",
    FastCheck.uint8Array({ maxLength: 2_000 }),
    (bytes) => Effect.sync(() => expect(outcome(() => Frames.decode(bytes))).toMatch(/^(value|FrameError)$/)),
    { runs: 200 }
  )

  it.prop(
    "a flipped bit in a frame gives frames or a FrameError, and nothing else",
    FastCheck.tuple(wireValue, FastCheck.nat(), FastCheck.nat(7)),
    ([value, at, bit]) =>
      Effect.gen(function* () {
        const frame = yield* Frames.encode(value)
        const index = at % frame.length
        frame[index] = (frame[index] ?? 0) ^ (1 << bit)
        const cutUp = Either.flatMap(new Frames.Decoder().push(frame), (payloads) =>
          Either.all(payloads.map((payload) => Frames.decode(payload)))
        )
        expect(outcome(() => cutUp)).toMatch(/^(value|FrameError)$/)
      }),
    { runs: 200 }
  )

  it.effect("a length beyond the bound is refused by its header alone", () =>
    Effect.gen(function* () {
      const decoder = new Frames.Decoder(1024)
      const error = yield* Effect.flip(decoder.push(Uint8Array.of(0, 0, 4, 1)))
      expect(error.message).toBe("bad frame (TooLong): 1025 bytes where at most 1024 are allowed")
      expect((yield* Effect.flip(Frames.encode("x".repeat(2_000), 1024))).reason).toBe("TooLong")
    })
  )

  it.effect("hostile shapes are refused before anything is built", () =>
    Effect.gen(function* () {
      const hostile: ReadonlyArray<readonly [string, Uint8Array]> = [
        ["nested deeper", new Uint8Array(100_000).fill(0x91)],
        ["length exceeds", Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff)],
        ["length exceeds", Uint8Array.of(0xdf, 0x7f, 0xff, 0xff, 0xff)],
        ["length exceeds", Uint8Array.of(0xdb, 0xff, 0xff, 0xff, 0xff)],
        ["length exceeds", Uint8Array.of(0xdc, 0xff)],
        ["not allowed", Uint8Array.of(0xd4, 0x72, 0x40)],
        ["not allowed", Uint8Array.of(0xc1)],
        ["not a string", Uint8Array.of(0x81, 0x01, 0x01)],
        ["bytes follow", Uint8Array.of(0x01, 0x01)],
        ["cut short", new Uint8Array(0)],
        ["arrays and maps", Uint8Array.from([0xdc, 0x50, 0x00, ...new Uint8Array(0x5000).fill(0x90)])]
      ]
      for (const [what, bytes] of hostile) expect((yield* Effect.flip(Frames.decode(bytes))).what).toContain(what)
    })
  )

  it.effect("a map cannot set a prototype", () =>
    Effect.gen(function* () {
      const key = new TextEncoder().encode("__proto__")
      const payload = Uint8Array.from([0x81, 0xa0 + key.length, ...key, 0x81, 0xa1, 0x61, 0x01])
      const value = yield* Frames.decode(payload)
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
      expect(Reflect.get({}, "a")).toBeUndefined()
    })
  )

  it.effect("what cannot travel fails to encode with a FrameError", () =>
    Effect.gen(function* () {
      expect((yield* Effect.flip(Frames.encode(2n ** 64n))).reason).toBe("Malformed")
    })
  )

  it.effect("a schema-checked frame goes through a stream, and a wrong one names what was wrong", () =>
    Effect.gen(function* () {
      const Job = Schema.Struct({ id: Schema.String, tokens: Schema.Array(Schema.Int), seed: Schema.BigIntFromSelf })
      const written: Array<Uint8Array> = []
      const sink = { write: (bytes: Uint8Array) => Effect.sync(() => void written.push(bytes)) }
      const job = { id: "a", tokens: [1, 2, 3], seed: 2n ** 60n }
      yield* Frames.writeFrame(Job)(sink, job)
      yield* Frames.writeFrame(Schema.Unknown)(sink, { id: "a", tokens: [1, "two"], seed: 1n })
      yield* Frames.writeBytes(sink, Uint8Array.of(1, 2, 3))
      const reader = Frames.makeReader(streamOf(cut(new Uint8Array(Buffer.concat(written)), [3, 1, 50])))
      expect(yield* Frames.readFrame(Job)(reader)).toEqual(Option.some(job))
      const error = yield* Effect.flip(Frames.readFrame(Job)(reader))
      expect(error.message).toContain("Unexpected")
      expect(error.message).toContain("tokens.1")
      expect(yield* reader.next).toEqual(Option.some(Uint8Array.of(1, 2, 3)))
      expect(yield* reader.next).toEqual(Option.none())
    })
  )

  it.effect("a stream that ends inside a frame is truncated, not ended", () =>
    Effect.gen(function* () {
      const reader = Frames.makeReader(streamOf([Uint8Array.of(0, 0, 0, 9, 1)]))
      expect(yield* Effect.flip(reader.next)).toMatchObject({ _tag: "FrameError", reason: "Truncated" })
    })
  )

  it.effect("a frame that stops half way fails at its deadline, silence between frames does not", () =>
    Effect.gen(function* () {
      const pieces = [Uint8Array.of(0, 0, 0, 1, 1, 0, 0)]
      const read = Effect.suspend(() => {
        const piece = pieces.shift()
        return piece === undefined ? Effect.never : Effect.succeedSome(piece)
      })
      const reader = Frames.makeReader({ read }, { partialFrameTimeout: "5 seconds" })
      expect(yield* reader.next).toEqual(Option.some(Uint8Array.of(1)))
      const late = yield* Effect.fork(Effect.flip(reader.next))
      yield* TestClock.adjust("4 seconds")
      expect(late.unsafePoll()).toBeNull()
      yield* TestClock.adjust("1 second")
      expect(yield* Fiber.join(late)).toMatchObject({ _tag: "FrameError", reason: "Timeout" })
      const quiet = yield* Effect.fork(Frames.makeReader({ read: Effect.never }).next)
      yield* TestClock.adjust("1 hour")
      expect(quiet.unsafePoll()).toBeNull()
    })
  )
})

const outcome = (run: () => Either.Either<unknown, Frames.FrameError>): string => {
  const result = run()
  return Either.isRight(result) ? "value" : result.left._tag
}
