/**
 * What every `Transport` must do, told once and run over QUIC, WebTransport and memory. A layer brings its transport
 * and a way to make the other side die without a goodbye.
 */
import { describe, expect } from "bun:test"
import { Deferred, Duration, Effect, Option, Schedule } from "effect"
import { it } from "../support/effect.ts"
import { serve } from "./serve.ts"
import { bounds, endings, streams } from "./transportStreams.ts"
import { build, connect, decode, encode, noticedWithin, roundTrip, type Subject } from "./transportSubject.ts"

/** Runs the suite over one layer. */
export const transportSuite = (name: string, subject: Subject): void =>
  describe(`Transport over ${name}`, () => {
    sessions(subject)
    streams(subject)
    endings(subject)
    bounds(subject)
    deaths(subject)
  })

const sessions = (subject: Subject): void => {
  it.live("a session names its directions and both sides know the listener's certificate", () =>
    Effect.gen(function* () {
      const { near, far, listener } = yield* connect(subject)
      expect([near.direction, far.direction]).toEqual(["dialled", "accepted"])
      expect(near.serverCertificateSha256.length).toBe(32)
      expect(near.serverCertificateSha256).toEqual(far.serverCertificateSha256)
      expect(listener.address.startsWith(`${listener.scheme}://`)).toBe(true)
    })
  )

  it.live("a round-trip time and bytes are measured within a second", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* Effect.forkScoped(serve(far))
      yield* roundTrip(near, encode("hello"))
      for (const session of [near, far]) {
        const stats = yield* session.stats.pipe(
          Effect.delay("20 millis"),
          Effect.repeat({ until: (stats) => stats.rttMs !== undefined }),
          Effect.timeout("1 second")
        )
        expect(stats.rttMs).toBeGreaterThanOrEqual(0)
        expect(stats.bytesSent).toBeGreaterThan(5)
        expect(stats.bytesReceived).toBeGreaterThan(5)
      }
    })
  )

  it.live("a side that leaves is seen at once, with its code and reason, and its streams fail", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const stream = yield* near.open
      yield* stream.write(encode("x"))
      const theirs = yield* far.accept
      yield* near.close(7, "going home")
      yield* near.close(8, "twice is once")
      const seen = yield* far.closed.pipe(Effect.timeout("1 second"))
      expect(seen.reason).toBe("Closed")
      expect(seen.goodbye).toEqual({ by: "them", code: 7, reason: "going home" })
      const own = yield* near.closed
      expect(own.goodbye).toEqual({ by: "us", code: 7, reason: "going home" })
      expect((yield* Effect.flip(theirs.closed)).reason).toBe("SessionClosed")
      expect((yield* Effect.flip(stream.read)).reason).toBe("SessionClosed")
      expect((yield* Effect.flip(near.open)).reason).toBe("Closed")
      expect((yield* Effect.flip(far.accept)).reason).toBe("Closed")
    })
  )

  it.live("code 0 without a reason is a goodbye too", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* far.close(0, "")
      const seen = yield* near.closed.pipe(Effect.timeout("1 second"))
      expect(seen.goodbye).toEqual({ by: "them", code: 0, reason: "" })
    })
  )

  it.live("the layer closes its sessions when it is released", () =>
    Effect.gen(function* () {
      const listener = yield* build(subject.layer())
      const released = yield* Deferred.make<void>()
      yield* Effect.forkScoped(
        Effect.scoped(
          Effect.gen(function* () {
            const dialler = yield* build(subject.layer())
            yield* dialler.dial(listener.address)
            yield* Deferred.await(released)
          })
        )
      )
      const far = yield* listener.accept
      yield* Deferred.succeed(released, undefined)
      const seen = yield* far.closed.pipe(Effect.timeout("1 second"))
      expect(seen.goodbye?.by).toBe("them")
    })
  )

  it.live("both sides may dial each other at once, from the addresses they listen on", () =>
    Effect.gen(function* () {
      const [left, right] = yield* Effect.all([build(subject.layer()), build(subject.layer())])
      const [ab, ba, atRight, atLeft] = yield* Effect.all(
        [left.dial(right.address), right.dial(left.address), right.accept, left.accept],
        { concurrency: "unbounded" }
      )
      yield* Effect.forkScoped(serve(atRight))
      yield* Effect.forkScoped(serve(atLeft))
      expect(decode(yield* roundTrip(ab, encode("to the right")))).toBe("to the right")
      expect(decode(yield* roundTrip(ba, encode("to the left")))).toBe("to the left")
    })
  )

  it.live("datagrams pass both ways where the layer offers them", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      expect(Option.isSome(near.datagrams)).toBe(Option.isSome(far.datagrams))
      if (Option.isNone(near.datagrams) || Option.isNone(far.datagrams)) return
      const { sizeBytesMax, send, receive } = near.datagrams.value
      const theirs = far.datagrams.value
      yield* Effect.forkScoped(Effect.forever(Effect.flatMap(theirs.receive, theirs.send)))
      const message = new Uint8Array(sizeBytesMax).fill(3)
      yield* Effect.forkScoped(Effect.forever(Effect.zipRight(send(message), Effect.sleep("50 millis"))))
      expect(yield* Effect.timeout(receive, "2 seconds")).toEqual(message)
    })
  )
}

const deaths = (subject: Subject): void => {
  it.live("a dial to an address where nobody listens fails within its deadline", () =>
    Effect.gen(function* () {
      const dialler = yield* build(subject.layer({ dialTimeout: Duration.millis(800) }))
      const [took, error] = yield* Effect.timed(Effect.flip(dialler.dial(subject.deadAddress)))
      expect(error.reason).toMatch(/Dial/)
      expect(Duration.toMillis(took)).toBeLessThan(2_000)
    })
  )

  it.live("an address of another layer or of none is refused", () =>
    Effect.gen(function* () {
      const dialler = yield* build(subject.layer())
      for (const address of ["", "gopher://127.0.0.1:70", "127.0.0.1:4433", "quic://", "https://"]) {
        expect((yield* Effect.flip(dialler.dial(address))).reason).toBe("DialFailed")
      }
    })
  )

  it.live("a session lives, quiet or busy, beyond every deadline that a connection without one has", () =>
    Effect.gen(function* () {
      const [quiet, busy] = yield* Effect.all([connect(subject), connect(subject)])
      yield* Effect.forkScoped(serve(busy.far))
      const used = Effect.repeat(roundTrip(busy.near, encode("x")), Schedule.spaced("50 millis"))
      const ends = [quiet.near.closed, quiet.far.closed, busy.near.closed, busy.far.closed, used]
      const ended = yield* Effect.raceAll(ends).pipe(Effect.timeoutOption("12 seconds"))
      expect(Option.isNone(ended)).toBe(true)
    })
  )

  it.live("a killed listener is noticed by the dialler, and its streams fail", () =>
    Effect.gen(function* () {
      const victim = yield* subject.listening
      const dialler = yield* build(subject.layer())
      const session = yield* dialler.dial(victim.address)
      const stream = yield* session.open
      yield* stream.write(encode("x"))
      yield* stream.read
      yield* victim.kill
      const error = yield* Effect.timeout(session.closed, noticedWithin)
      expect(error.reason).toBe("Lost")
      expect((yield* Effect.flip(stream.read)).reason).toBe("SessionClosed")
    })
  )

  it.live("a killed dialler is noticed by the listener", () =>
    Effect.gen(function* () {
      const listener = yield* build(subject.layer())
      const victim = yield* subject.dialling(listener.address)
      const session = yield* listener.accept
      const stream = yield* session.accept
      yield* stream.read
      yield* victim.kill
      const error = yield* Effect.timeout(session.closed, noticedWithin)
      expect(error.reason).toBe("Lost")
      expect((yield* Effect.flip(stream.closed)).reason).toBe("SessionClosed")
    })
  )

  it.live("a stall of our own process kills no session, though both sides were silent beyond the deadline", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      yield* Effect.forkScoped(serve(far))
      yield* Effect.sleep("400 millis")
      yield* Effect.sync(() => Bun.sleepSync(3_000))
      yield* Effect.sleep("700 millis")
      expect(decode(yield* Effect.timeout(roundTrip(near, encode("awake")), "2 seconds"))).toBe("awake")
    })
  )
}
