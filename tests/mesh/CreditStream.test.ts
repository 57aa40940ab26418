/** Our stream against raw streams that cut, refuse and lie. */
import { describe, expect } from "bun:test"
import { CreditStream, windowBytesMax } from "@weft/mesh/CreditStream"
import { RecordKind } from "@weft/mesh/StreamRecords"
import { Effect, Exit, FastCheck, Fiber, Option } from "effect"
import { it } from "../support/effect.ts"

const windowBytes = 1024

/** What a fake layer was told. */
interface Wire {
  readonly sent: Array<Uint8Array>
  readonly violations: Array<string>
  takes: boolean
  ended: boolean
  resetCode: number | undefined
  finished: number
}

/** Makes a stream over a raw one that only notes what it is told. */
const make = (takes = true) => {
  const wire: Wire = { sent: [], violations: [], takes, ended: false, resetCode: undefined, finished: 0 }
  const stream = new CreditStream(
    {
      listen: () => {},
      write: (bytes) => {
        if (wire.takes) wire.sent.push(bytes)
        return wire.takes
      },
      end: () => {
        wire.ended = true
      },
      reset: (code) => {
        wire.resetCode = code
      }
    },
    {
      counters: { bytesSent: 0, bytesReceived: 0 },
      windowBytes,
      finished: () => {
        wire.finished += 1
      },
      violated: (why) => void wire.violations.push(why)
    }
  )
  return { stream, wire }
}

const word = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(Buffer.concat(parts))

describe("CreditStream", () => {
  it.prop(
    "what is written comes out the same, in any pieces, with a layer that refuses now and then",
    FastCheck.tuple(
      FastCheck.array(FastCheck.uint8Array({ maxLength: 3_000 }), { maxLength: 10 }),
      FastCheck.array(FastCheck.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 10 }),
      FastCheck.array(FastCheck.boolean(), { minLength: 1, maxLength: 10 })
    ),
    ([messages, sizes, moods]) =>
      Effect.gen(function* () {
        const [left, right] = [make(), make()]
        const writing = yield* Effect.fork(
          Effect.zipRight(Effect.forEach(messages, left.stream.write, { discard: true }), left.stream.end)
        )
        const received: Array<Uint8Array> = []
        const reading = yield* Effect.fork(
          right.stream.read.pipe(
            Effect.tap((next) => Effect.sync(() => Option.isSome(next) && received.push(next.value))),
            Effect.repeat({ while: Option.isSome })
          )
        )
        for (let turn = 0; reading.unsafePoll() === null; turn++) {
          yield* Effect.yieldNow()
          const bytes = concat(...left.wire.sent.splice(0))
          for (let at = 0, index = turn; at < bytes.length; index++) {
            const size = sizes[index % sizes.length] ?? 1
            right.stream.unsafeReceive(bytes.subarray(at, at + size))
            at += size
          }
          for (const grant of right.wire.sent.splice(0)) left.stream.unsafeReceive(grant)
          left.wire.takes = moods[turn % moods.length] === true || turn % 7 === 0
          if (left.wire.takes) left.stream.unsafeFlush()
        }
        yield* Fiber.join(writing)
        expect(concat(...received)).toEqual(concat(...messages))
        expect([left.wire.violations, right.wire.violations]).toEqual([[], []])
      })
  )

  it.prop(
    "garbage from the other side never throws: it is data, a grant, an end, a reset or a violation",
    FastCheck.array(FastCheck.uint8Array({ maxLength: 200 }), { maxLength: 10 }),
    (pieces) =>
      Effect.sync(() => {
        const { stream } = make()
        for (const piece of pieces) stream.unsafeReceive(piece)
      }),
    { runs: 300 }
  )

  it.effect("each breach of the protocol is a violation that names it", () =>
    Effect.sync(() => {
      const breaches: ReadonlyArray<readonly [string, Uint8Array]> = [
        ["more than its credit", concat(word(1_000), new Uint8Array(1_000), word(100))],
        ["longer than the bound", word(16 * 1024 + 1)],
        ["more credit than any window", word(0x80000001 + windowBytesMax - windowBytes)],
        ["more credit than any window", word(0x80000000)],
        ["after the end", concat(word(0), word(1))],
        ["more credit than any window", word(RecordKind.control)]
      ]
      for (const [what, bytes] of breaches) {
        const { stream, wire } = make()
        stream.unsafeReceive(bytes)
        expect(wire.violations[0]).toContain(what)
      }
    })
  )

  it.effect("a window that its reader widens takes as much more, and no more than the widest", () =>
    Effect.sync(() => {
      const [reading, writing] = [make(), make()]
      reading.stream.unsafeWiden(3 * windowBytes)
      reading.stream.unsafeWiden(2 * windowBytes)
      expect(reading.wire.sent).toEqual([word(0x80000000 + 2 * windowBytes)])
      expect(writing.stream.unsafeWrite(new Uint8Array(4 * windowBytes))).toBe(3 * windowBytes)
      for (const grant of reading.wire.sent) writing.stream.unsafeReceive(grant)
      expect(writing.stream.unsafeWrite(new Uint8Array(0))).toBe(windowBytes)
      for (const bytes of writing.wire.sent) reading.stream.unsafeReceive(bytes)
      expect(reading.wire.violations).toEqual([])
      reading.stream.unsafeReceive(word(1))
      expect(reading.wire.violations[0]).toContain("more than its credit")
      const wide = make()
      wide.stream.unsafeWiden(2 * windowBytesMax)
      expect(wide.wire.sent).toEqual([word(0x80000000 + windowBytesMax - windowBytes)])
    })
  )

  it.effect("one-byte records do not cost an object each while nobody reads", () =>
    Effect.gen(function* () {
      const { stream } = make()
      for (let index = 0; index < windowBytes; index++) stream.unsafeReceive(concat(word(1), Uint8Array.of(index)))
      stream.unsafeReceive(word(0))
      let chunks = 0
      const bytes: Array<number> = []
      for (let next = yield* stream.read; Option.isSome(next); next = yield* stream.read) {
        chunks += 1
        bytes.push(...next.value)
      }
      expect(chunks).toBeLessThan(5)
      expect(bytes).toEqual(Array.from({ length: windowBytes }, (_, index) => index % 256))
    })
  )

  it.effect("a reset record carries its code for layers that cannot", () =>
    Effect.gen(function* () {
      const { stream, wire } = make()
      stream.unsafeReceive(concat(word(RecordKind.reset), word(77)))
      expect(yield* Effect.flip(stream.closed)).toMatchObject({ reason: "Reset", code: 77 })
      expect(wire.finished).toBe(1)
    })
  )

  it.effect("a cut before the explicit end is an error; what came before a clean end stays readable", () =>
    Effect.gen(function* () {
      const cut = make()
      cut.stream.unsafeReceive(concat(word(2), Uint8Array.of(1, 2)))
      cut.stream.unsafeCut()
      expect(yield* Effect.flip(cut.stream.read)).toMatchObject({ reason: "SessionClosed" })
      const ended = make()
      ended.stream.unsafeReceive(concat(word(2), Uint8Array.of(1, 2), word(0)))
      ended.stream.unsafeCut()
      expect(yield* ended.stream.read).toEqual(Option.some(Uint8Array.of(1, 2)))
      expect(yield* ended.stream.read).toEqual(Option.none())
      expect((yield* Effect.flip(ended.stream.closed)).reason).toBe("SessionClosed")
    })
  )

  it.effect("an interrupted read loses nothing", () =>
    Effect.gen(function* () {
      const { stream } = make()
      const reading = yield* Effect.fork(stream.read)
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(reading)
      stream.unsafeReceive(concat(word(1), Uint8Array.of(9)))
      expect(yield* stream.read).toEqual(Option.some(Uint8Array.of(9)))
    })
  )

  it.effect("an interrupted write that sent nothing leaves the stream whole", () =>
    Effect.gen(function* () {
      const { stream, wire } = make()
      yield* stream.write(new Uint8Array(windowBytes))
      const waiting = yield* Effect.fork(stream.write(Uint8Array.of(1)))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(waiting)
      stream.unsafeReceive(word(0x80000000 + windowBytes))
      yield* stream.write(Uint8Array.of(2))
      expect(wire.resetCode).toBeUndefined()
      expect(wire.sent.at(-1)).toEqual(concat(word(1), Uint8Array.of(2)))
    })
  )

  it.effect("the place of a stream is freed once, when both ends are through", () =>
    Effect.gen(function* () {
      const { stream, wire } = make()
      yield* stream.end
      expect(wire.ended).toBe(false)
      stream.unsafeReceive(word(0))
      expect([wire.ended, wire.finished]).toEqual([true, 1])
      yield* stream.reset(1)
      expect(wire.resetCode).toBeUndefined()
      expect(Exit.isSuccess(yield* Effect.exit(stream.closed))).toBe(true)
    })
  )
})
