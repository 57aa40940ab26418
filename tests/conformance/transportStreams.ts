/** What the streams of every session must do: carry, hold back, end and stay within their bounds. */
import { expect } from "bun:test"
import { ResetCode } from "@weft/mesh/CreditStream"
import { Duration, Effect, Either, Option, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { serve } from "./serve.ts"
import {
  build,
  connect,
  decode,
  encode,
  readAll,
  readExactly,
  roundTrip,
  type Subject,
  windowBytes
} from "./transportSubject.ts"

/** Registers the tests of streams. */
export const streams = (subject: Subject): void => {
  it.live("a stream carries bytes both ways and closes when both directions ended", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* Effect.forkScoped(serve(far))
      expect(decode(yield* roundTrip(near, encode("hello")))).toBe("hello")
      yield* Effect.forkScoped(serve(near))
      expect(decode(yield* roundTrip(far, encode("and back")))).toBe("and back")
    })
  )

  it.live(
    "bulk data arrives whole and in order, in both directions at once",
    () =>
      Effect.gen(function* () {
        const { near, far } = yield* connect(subject)
        yield* Effect.forkScoped(serve(far))
        const stream = yield* near.open
        const block = Uint8Array.from({ length: 100_003 }, (_, index) => (index * 7) % 251)
        const blocks = Math.ceil(subject.bulkBytes / block.length)
        const send = Effect.zipRight(Effect.repeatN(stream.write(block), blocks - 1), stream.end)
        const sent = new Bun.CryptoHasher("sha256")
        for (let index = 0; index < blocks; index++) sent.update(block)
        const received = new Bun.CryptoHasher("sha256")
        const receive = stream.read.pipe(
          Effect.map(Option.match({ onNone: () => false, onSome: (bytes) => Boolean(received.update(bytes)) })),
          Effect.repeat({ while: (more) => more })
        )
        yield* Effect.all([send, receive], { concurrency: 2 })
        expect(received.digest("hex")).toBe(sent.digest("hex"))
      }),
    60_000
  )

  it.live("a reader that sleeps holds its writer at the credit window and nothing else", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      const block = new Uint8Array(64 * 1024)
      let written = 0
      const writer = yield* stream.write(block).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            written += block.length
          })
        ),
        Effect.forever,
        Effect.forkScoped
      )
      const sleeping = yield* far.accept
      // Other streams go on while the first is held: ten round trips prove that, and give the writer time to overrun.
      const serving = yield* Effect.forkScoped(serve(far))
      for (let trip = 0; trip < 10; trip++) yield* roundTrip(near, encode("meanwhile"))
      yield* Effect.sleep("200 millis")
      expect(written).toBe(windowBytes)
      expect(yield* readExactly(sleeping, windowBytes)).toBe(windowBytes)
      yield* Effect.sleep("200 millis")
      expect(written).toBeGreaterThan(windowBytes)
      expect(written).toBeLessThanOrEqual(3 * windowBytes)
      expect([writer.unsafePoll(), serving.unsafePoll()]).toEqual([null, null])
    })
  )

  it.live(
    "a thousand streams run one after another",
    () =>
      Effect.gen(function* () {
        const { near, far } = yield* connect(subject)
        yield* Effect.forkScoped(serve(far))
        for (let index = 0; index < 1000; index++) {
          expect(decode(yield* roundTrip(near, encode(`stream ${index}`)))).toBe(`stream ${index}`)
        }
      }),
    60_000
  )

  it.live("a hundred streams run at once, each with its own bytes", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* Effect.forkScoped(serve(far))
      const messages = Array.from({ length: 100 }, (_, index) => new Uint8Array(20_000).fill(index))
      const replies = yield* Effect.forEach(messages, (message) => roundTrip(near, message), {
        concurrency: "unbounded"
      })
      expect(replies).toEqual(messages)
    })
  )
}

/** Registers the tests of how streams end. */
export const endings = (subject: Subject): void => {
  it.live("after one side ended, the other still writes and both see a clean end", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      yield* stream.write(encode("question"))
      yield* stream.end
      yield* stream.end
      const theirs = yield* far.accept
      expect(decode(yield* readAll(theirs))).toBe("question")
      for (const word of ["late ", "but ", "whole"]) yield* theirs.write(encode(word))
      yield* theirs.end
      expect(decode(yield* readAll(stream))).toBe("late but whole")
      yield* Effect.all([stream.closed, theirs.closed])
      expect((yield* Effect.flip(stream.write(encode("no")))).reason).toBe("Ended")
      expect(yield* stream.read).toEqual(Option.none())
    })
  )

  it.live("a reset reaches the other side with its code, even when that side only writes", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      yield* stream.write(encode("x"))
      const theirs = yield* far.accept
      const writing = yield* Effect.forkScoped(Effect.flip(Effect.forever(theirs.write(new Uint8Array(50_000)))))
      yield* stream.reset(4321)
      yield* stream.reset(1)
      expect((yield* Effect.flip(stream.read)).code).toBe(4321)
      const closed = yield* Effect.flip(Effect.timeout(theirs.closed, "2 seconds"))
      expect(closed).toMatchObject({ _tag: "StreamError", reason: "Reset", code: 4321 })
      const failed = yield* writing
      expect(failed).toMatchObject({ reason: "Reset", code: 4321 })
      yield* Effect.forkScoped(serve(far))
      expect(decode(yield* roundTrip(near, encode("the session lives")))).toBe("the session lives")
    })
  )

  it.live("the accepting side resets a stream whose opener has ended its direction", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      yield* stream.write(encode("job"))
      yield* stream.end
      const theirs = yield* far.accept
      expect(decode(yield* readAll(theirs))).toBe("job")
      yield* theirs.reset(99)
      expect(yield* Effect.flip(Effect.timeout(stream.read, "2 seconds"))).toMatchObject({ reason: "Reset", code: 99 })
    })
  )

  it.live("a writer that waits for credit fails when the stream is reset", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      const writing = yield* Effect.forkScoped(Effect.flip(stream.write(new Uint8Array(windowBytes + 1))))
      const theirs = yield* far.accept
      yield* theirs.reset(5)
      expect(yield* Effect.timeout(writing, "2 seconds")).toMatchObject({ reason: "Reset", code: 5 })
    })
  )

  it.live("a write that is interrupted half way resets the stream instead of leaving a torn message", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      yield* Effect.timeoutOption(stream.write(new Uint8Array(windowBytes + 1)), "50 millis")
      const theirs = yield* far.accept
      expect(yield* Effect.flip(theirs.closed)).toMatchObject({ reason: "Reset", code: ResetCode.interrupted })
    })
  )
}

/** Registers the tests of bounds. */
export const bounds = (subject: Subject): void => {
  it.live("a peer that overruns its credit loses its session", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject, { near: { windowBytes: 4 * windowBytes } })
      const stream = yield* near.open
      yield* Effect.forkScoped(Effect.ignore(stream.write(new Uint8Array(2 * windowBytes))))
      const theirs = yield* far.accept
      expect(yield* Effect.flip(Effect.timeout(theirs.closed, "2 seconds"))).toMatchObject({ reason: "Overrun" })
      expect((yield* far.closed).goodbye?.by).toBe("us")
      expect((yield* Effect.timeout(near.closed, "2 seconds")).goodbye?.reason).toContain("credit")
    })
  )

  it.live("opening more streams than the bound is refused, and a place is free again after an end", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject, { near: { streamsMax: 3 } })
      yield* Effect.forkScoped(serve(far))
      const opened = yield* Effect.replicateEffect(near.open, 3)
      expect((yield* Effect.flip(near.open)).reason).toBe("TooManyStreams")
      for (const stream of opened) yield* stream.reset(0)
      expect(decode(yield* roundTrip(near, encode("again")))).toBe("again")
    })
  )

  it.live("streams that nobody accepts are reset beyond the bound", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject, { far: { streamsWaitingMax: 4 } })
      const opened = yield* Effect.replicateEffect(near.open, 6)
      for (const stream of opened) yield* stream.write(encode("x"))
      const refused = yield* Effect.forEach(opened.slice(4), (stream) =>
        Effect.flip(Effect.timeout(stream.closed, "2 seconds"))
      )
      for (const error of refused) expect(error).toMatchObject({ reason: "Reset", code: ResetCode.refused })
      expect(yield* Effect.replicateEffect(far.accept, 4)).toHaveLength(4)
    })
  )

  it.live("a peer that opens more live streams than the bound has the rest reset", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject, { near: { streamsMax: 200 }, far: { streamsMax: 8 } })
      yield* Effect.forkScoped(serve(far))
      const opened = yield* Effect.replicateEffect(near.open, 100)
      for (const stream of opened) yield* stream.write(encode("x"))
      const outcome = yield* Effect.forEach(
        opened,
        (stream) => Effect.either(Effect.timeout(stream.read, "2 seconds")),
        {
          concurrency: "unbounded"
        }
      )
      const refused = outcome.filter((result) => result._tag === "Left")
      expect(refused.length).toBe(100 - 8 - 64)
    })
  )

  it.live("the listening side may open as many streams as it is let, and a session outlives the rest", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* Effect.forkScoped(serve(near))
      for (const fate of ["stays", "is reset"]) {
        const opened = yield* Effect.replicateEffect(
          Effect.either(
            Effect.tap(far.open, (stream) =>
              Effect.zipRight(stream.write(encode("x")), fate === "stays" ? Effect.void : stream.reset(0))
            )
          ),
          200
        )
        const refused = opened.flatMap((result) => (Either.isLeft(result) ? [result.left.reason] : []))
        expect(new Set(refused)).toEqual(new Set(refused.length === 0 ? [] : ["TooManyStreams"]))
        expect(opened.length - refused.length).toBeGreaterThanOrEqual(fate === "stays" ? 64 : 1)
        yield* Effect.sleep("200 millis")
        for (const result of opened) if (Either.isRight(result)) yield* result.right.reset(0)
        const again = Effect.retry(roundTrip(far, encode("again")), Schedule.spaced("100 millis"))
        expect(decode(yield* Effect.timeout(again, "5 seconds"))).toBe("again")
      }
    })
  )

  it.live("sessions beyond the bound are told so", () =>
    Effect.gen(function* () {
      const listener = yield* build(subject.layer({ sessionsMax: 1 }))
      const dialler = yield* build(subject.layer({ dialTimeout: Duration.seconds(1) }))
      yield* dialler.dial(listener.address)
      const second = yield* Effect.either(dialler.dial(listener.address))
      if (second._tag === "Left") return expect(second.left.reason).toMatch(/Dial/)
      const closed = yield* Effect.timeout(second.right.closed, "2 seconds")
      expect(closed.goodbye?.by).toBe("them")
    })
  )

  it.live("an address in use is a clear ListenFailed", () =>
    Effect.gen(function* () {
      const listener = yield* build(subject.layer())
      const error = yield* Effect.flip(build(subject.layerAt(listener.address)))
      expect(error.reason).toBe("ListenFailed")
    })
  )
}
