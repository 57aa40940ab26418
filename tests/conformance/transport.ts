/**
 * What every `Transport` must do, told once and run over QUIC, WebTransport and memory. A layer brings its transport and
 * a way to make the other side die without a goodbye.
 */
import { describe, expect } from "bun:test"
import { ResetCode } from "@weft/mesh/CreditStream"
import type { SessionError, StreamError } from "@weft/mesh/MeshError"
import { type MeshStream, type Session, Transport } from "@weft/mesh/Transport"
import type { TransportLimits } from "@weft/mesh/TransportLimits"
import { Context, Deferred, Duration, Effect, Layer, Option, type Scope } from "effect"
import { it } from "../support/effect.ts"
import { serve } from "./serve.ts"

/** Represents another process that echoes on every stream and can be killed. */
export interface Victim {
  /** Ends it without a goodbye. */
  readonly kill: Effect.Effect<void>
}

/** Represents one layer under test. */
export interface Subject {
  readonly layer: (limits?: Partial<TransportLimits>) => Layer.Layer<Transport, SessionError>
  /** The same layer at an address that is taken. */
  readonly layerAt: (address: string) => Layer.Layer<Transport, SessionError>
  /** An address of this layer where nobody listens. */
  readonly deadAddress: string
  /** Size of the bulk transfer. */
  readonly bulkBytes: number
  /** A victim that listens at `address`. */
  readonly listening: Effect.Effect<Victim & { readonly address: string }, SessionError | StreamError, Scope.Scope>
  /** A victim that dials us. */
  readonly dialling: (address: string) => Effect.Effect<Victim, SessionError | StreamError, Scope.Scope>
}

/** Default credit window, as both sides of these tests have it. */
const windowBytes = 256 * 1024

/** The contract says 2 s; the machine that runs the tests may be busy. */
const noticedWithin = Duration.seconds(2)

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

const readAll = Effect.fnUntraced(function* (stream: MeshStream) {
  const parts: Array<Uint8Array> = []
  for (;;) {
    const next = yield* stream.read
    if (Option.isNone(next)) return new Uint8Array(Buffer.concat(parts))
    parts.push(next.value)
  }
})

/** Reads exactly `length` bytes, and no more. */
const readExactly = Effect.fnUntraced(function* (stream: MeshStream, length: number) {
  let seen = 0
  while (seen < length) {
    const next = yield* stream.read
    if (Option.isNone(next)) break
    seen += next.value.length
  }
  return seen
})

const roundTrip = Effect.fnUntraced(function* (session: Session, message: Uint8Array) {
  const stream = yield* session.open
  const [received] = yield* Effect.all([readAll(stream), Effect.zipRight(stream.write(message), stream.end)], {
    concurrency: "unbounded"
  })
  yield* stream.closed
  return received
})

/** Builds a transport in the scope of the test. */
const build = (layer: Layer.Layer<Transport, SessionError>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, Transport))

/** Makes a session between two transports: `near` dialled, `far` accepted. */
const connect = Effect.fnUntraced(function* (
  subject: Subject,
  limits: { readonly near?: Partial<TransportLimits>; readonly far?: Partial<TransportLimits> } = {}
) {
  const [dialler, listener] = yield* Effect.all([build(subject.layer(limits.near)), build(subject.layer(limits.far))])
  const [near, far] = yield* Effect.all([dialler.dial(listener.address), listener.accept], { concurrency: 2 })
  return { near, far, dialler, listener }
})

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

const streams = (subject: Subject): void => {
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

const endings = (subject: Subject): void => {
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

const bounds = (subject: Subject): void => {
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

  it.live("a quiet session lives", () =>
    Effect.gen(function* () {
      const { near, far } = yield* connect(subject)
      const closed = yield* Effect.raceFirst(near.closed, far.closed).pipe(Effect.timeoutOption("3 seconds"))
      expect(Option.isNone(closed)).toBe(true)
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

  it.live("a stall of our own process kills no session", () =>
    Effect.gen(function* () {
      const victim = yield* subject.listening
      const dialler = yield* build(subject.layer())
      const session = yield* dialler.dial(victim.address)
      yield* Effect.sleep("400 millis")
      yield* Effect.sync(() => Bun.sleepSync(1_300))
      expect(decode(yield* Effect.timeout(roundTrip(session, encode("awake")), "2 seconds"))).toBe("awake")
    })
  )
}
