/** Links in memory on the test clock: who gets in, who is refused and counted, what one stream can do to others. */
import { expect } from "bun:test"
import { Certificate } from "@weft/mesh/Certificate"
import { ResetCode } from "@weft/mesh/CreditStream"
import * as Frames from "@weft/mesh/Frames"
import * as Hello from "@weft/mesh/Hello"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import * as QuicTransport from "@weft/mesh/QuicTransport"
import { type MeshStream, type Session, type StreamListener, Transport } from "@weft/mesh/Transport"
import { Context, Deferred, Effect, Fiber, Layer, Logger, Option, Ref, type Scope, TestClock } from "effect"
import { it } from "../support/effect.ts"
import { as, counted, type Endpoint, endpoint, linked, rise, welcome } from "./links.ts"

const encodeOffer = Frames.encode(Hello.Offer)
const encodeProof = Frames.encode(Hello.Proof)
const refusedTotal = "weft_sessions_refused_total"

const offerOf = (self: Endpoint, changes: Partial<Hello.Offer> = {}): Hello.Offer => ({
  _tag: "Offer",
  version: Hello.protocolVersion,
  id: self.identity.id,
  role: "peer",
  nonce: new Uint8Array(32).fill(9),
  ...changes
})

/** What a dialler does on a session instead of an honest hello. */
type Misdeed = (session: Session, self: Endpoint, entry: Endpoint) => Effect.Effect<unknown, unknown, Scope.Scope>

/** Has an entry welcome a dialler that does `misdeed`; returns the refusal, how the dialler saw it, and the count. */
const refusalOf = (misdeed: Misdeed, countedAs: string) =>
  Effect.gen(function* () {
    const [peer, entry] = [yield* endpoint("peer"), yield* endpoint("entry")]
    const before = yield* counted(refusedTotal, { reason: countedAs })
    const welcoming = yield* Effect.fork(Effect.flip(welcome(entry)))
    const session = yield* peer.transport.dial(entry.transport.address)
    yield* Effect.fork(misdeed(session, peer, entry))
    yield* TestClock.adjust("4900 millis")
    const early = welcoming.unsafePoll()
    yield* TestClock.adjust("200 millis")
    const refused = yield* Fiber.join(welcoming)
    const seen = yield* session.closed
    return {
      reason: refused._tag === "HelloRefused" ? refused.reason : refused._tag,
      atOnce: early !== null,
      code: seen.goodbye?.code,
      told: seen.goodbye?.reason ?? "",
      rose: (yield* counted(refusedTotal, { reason: countedAs })) - before
    }
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer()))

const says =
  (offer: (self: Endpoint, entry: Endpoint) => Hello.Offer): Misdeed =>
  (session, self, entry) =>
    Effect.flatMap(session.open, (stream) => stream.write(encodeOffer(offer(self, entry))))
const writes =
  (bytes: Uint8Array): Misdeed =>
  (session) =>
    Effect.flatMap(session.open, (stream) => stream.write(bytes))

/** Says an offer and answers what comes with this signature. */
const proves =
  (
    signature: (self: Endpoint, offer: Hello.Offer, accept: Hello.Accept, certificate: Uint8Array) => Uint8Array
  ): Misdeed =>
  (session, self) =>
    Effect.gen(function* () {
      const stream = yield* session.open
      const offer = offerOf(self)
      yield* stream.write(encodeOffer(offer))
      const accept = Option.getOrThrow(yield* Frames.reader(stream).read(Hello.Accept))
      yield* stream.write(
        encodeProof({ _tag: "Proof", signature: signature(self, offer, accept, session.serverCertificateSha256) })
      )
    })

it.effect("an honest hello links both sides: each knows the other's id and role", () =>
  linked(({ near, far, peer, entry }) =>
    Effect.sync(() => {
      expect([near.peer, near.role]).toEqual([entry.identity.id, "entry"])
      expect([far.peer, far.role]).toEqual([peer.identity.id, "peer"])
      expect(far.number).not.toBe(near.number)
    })
  )
)

const refusals: ReadonlyArray<readonly [name: string, reason: string, counted: string, misdeed: Misdeed]> = [
  ["an old version", "ProtocolVersion", "protocol_version", says((self) => offerOf(self, { version: 0 }))],
  ["a version to come", "ProtocolVersion", "protocol_version", says((self) => offerOf(self, { version: 2 }))],
  ["the role of an entry", "Role", "identity", says((self) => offerOf(self, { role: "entry" }))],
  ["the entry's own id", "Identity", "identity", says((self, entry) => offerOf(self, { id: entry.identity.id }))],
  ["garbage", "Malformed", "malformed", writes(new Uint8Array(600).fill(0xc1))],
  ["an HTTP request", "Malformed", "malformed", writes(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"))],
  ["a frame of 4 GiB", "Malformed", "malformed", writes(Uint8Array.of(255, 255, 255, 255, 0))],
  [
    "a message that is no offer",
    "Malformed",
    "malformed",
    writes(Frames.encode(Link.StreamHeader)({ kind: "control", version: 1 }))
  ],
  [
    "half an offer and the end",
    "Malformed",
    "malformed",
    (session, self) =>
      Effect.flatMap(session.open, (stream) =>
        Effect.zipRight(stream.write(encodeOffer(offerOf(self)).subarray(0, 40)), stream.end)
      )
  ],
  [
    "an offer and the end",
    "Lost",
    "timeout",
    (session, self) =>
      Effect.flatMap(session.open, (stream) => Effect.zipRight(stream.write(encodeOffer(offerOf(self))), stream.end))
  ],
  ["a signature over something else", "Signature", "identity", proves((self) => self.identity.sign(new Uint8Array(8)))],
  ["the entry's signature sent back", "Signature", "identity", proves((_, __, accept) => accept.signature)],
  [
    "a proof made for another certificate",
    "Signature",
    "identity",
    proves((self, offer, accept) => self.identity.sign(Hello.transcript("dialler", offer, accept, new Uint8Array(32))))
  ],
  [
    "the proof of an earlier session",
    "Signature",
    "identity",
    proves((self, offer, accept, certificate) =>
      self.identity.sign(
        Hello.transcript("dialler", offer, { ...accept, nonce: new Uint8Array(32).fill(4) }, certificate)
      )
    )
  ]
]
for (const [name, reason, countedAs, misdeed] of refusals) {
  it.effect(`a dialler that says ${name} is refused at once as ${reason}, told so, and counted`, () =>
    Effect.gen(function* () {
      const refusal = yield* refusalOf(misdeed, countedAs)
      expect(refusal).toMatchObject({ reason, atOnce: true, code: Link.CloseCode.helloRefused, rose: 1 })
      expect(refusal.told).toContain(reason)
    })
  )
}

const slow: ReadonlyArray<readonly [name: string, misdeed: Misdeed]> = [
  ["says nothing", () => Effect.void],
  ["opens a stream and says nothing", (session) => session.open],
  [
    "stops in the middle of its offer",
    (session, self) =>
      Effect.flatMap(session.open, (stream) => stream.write(encodeOffer(offerOf(self)).subarray(0, 40)))
  ],
  ["never proves its offer", says((self) => offerOf(self))]
]
for (const [name, misdeed] of slow) {
  it.effect(`a dialler that ${name} is refused after five seconds`, () =>
    Effect.gen(function* () {
      const refusal = yield* refusalOf(misdeed, "timeout")
      expect(refusal).toMatchObject({ reason: "Timeout", atOnce: false, code: Link.CloseCode.helloRefused, rose: 1 })
    })
  )
}

it.effect("the hello of one session, said again in another, is refused", () =>
  Effect.gen(function* () {
    const [peer, entry, thief] = [yield* endpoint("peer"), yield* endpoint("entry"), yield* endpoint("thief")]
    // The thief stands between: it hands the peer's offer to the entry and the entry's answer to the peer.
    const between = Effect.gen(function* () {
      const theirs = yield* (yield* thief.transport.accept).accept
      const outside = yield* thief.transport.dial(entry.transport.address)
      const ours = yield* outside.open
      const forward = (from: MeshStream, to: MeshStream): Effect.Effect<void, unknown> =>
        Effect.flatMap(from.read, Option.match({ onNone: () => to.end, onSome: (bytes) => to.write(bytes) })).pipe(
          Effect.forever
        )
      yield* Effect.all([forward(theirs, ours), forward(ours, theirs)], { concurrency: 2 })
    })
    yield* Effect.fork(Effect.scoped(Effect.ignore(between)))
    const welcoming = yield* Effect.fork(Effect.flip(welcome(entry)))
    const options = { role: "peer", expected: entry.identity.id } as const
    const refused = yield* Effect.flip(as(peer, Link.dial(thief.transport.address, options)))
    // The entry's signature names the entry's certificate, the peer sees the thief's.
    expect(refused._tag === "HelloRefused" && refused.reason).toBe("Signature")
    yield* TestClock.adjust("6 seconds")
    yield* Fiber.join(welcoming)
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer()))
)

it.effect("a dialler that meets another id than it meant refuses, counts it and closes", () =>
  Effect.gen(function* () {
    const [peer, entry] = [yield* endpoint("peer"), yield* endpoint("entry")]
    const welcoming = yield* Effect.fork(Effect.either(welcome(entry)))
    const dial = as(peer, Link.dial(entry.transport.address, { role: "peer", expected: peer.identity.id }))
    const rose = yield* rise(refusedTotal, { reason: "identity" }, Effect.flip(dial))
    expect(rose).toBe(1)
    expect((yield* Fiber.join(welcoming))._tag).toBe("Left")
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer()))
)

it.effect("what a dialler opens is not served while its hello is not through", () =>
  Effect.gen(function* () {
    const [peer, entry] = [yield* endpoint("peer"), yield* endpoint("entry")]
    const served = yield* Ref.make(0)
    yield* Effect.fork(
      Effect.flatMap(welcome(entry), (link) => Link.serve(link, () => Ref.update(served, (count) => count + 1)))
    )
    const session = yield* peer.transport.dial(entry.transport.address)
    const hello = yield* session.open
    yield* hello.write(encodeOffer(offerOf(peer)))
    const eager = yield* session.open
    yield* eager.write(Frames.encode(Link.StreamHeader)({ kind: "control", version: 1 }))
    yield* TestClock.adjust("6 seconds")
    expect((yield* session.closed).goodbye?.code).toBe(Link.CloseCode.helloRefused)
    expect(yield* served).toBe(0)
  }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer()))
)

/** Serves `far`; "control" streams die in their handler, "generate" streams echo one message per message. */
const echoOrDie = (far: Link.Link) =>
  Link.serve(far, ({ kind, stream }) =>
    kind === "control"
      ? Effect.dieMessage("a handler with a fault")
      : stream.read.pipe(
          Effect.tap(Option.match({ onNone: () => stream.end, onSome: (bytes) => stream.write(bytes) })),
          Effect.repeat({ while: Option.isSome }),
          Effect.ignore
        )
  )
const echoes = Effect.fnUntraced(function* (stream: MeshStream) {
  yield* stream.write(Uint8Array.of(7))
  return [...Option.getOrThrow(yield* stream.read)]
})

it.effect("a stream of a kind that nobody knows is reset, and the link lives", () =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      yield* Effect.fork(echoOrDie(far))
      const stream = yield* near.session.open
      yield* stream.write(new Uint8Array(Buffer.concat([Uint8Array.of(0, 0, 0, 4), Buffer.from("\xa3abc", "latin1")])))
      const error = yield* Effect.flip(stream.read)
      expect([error.reason, error.code]).toEqual(["Reset", Link.ResetCode.unknownKind])
      expect(yield* echoes(yield* Link.open(near, "generate"))).toEqual([7])
    })
  )
)

it.effect("a stream without a header is reset after five seconds, and the link lives", () =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      yield* Effect.fork(echoOrDie(far))
      const stream = yield* near.session.open
      yield* stream.write(Uint8Array.of(0))
      const reading = yield* Effect.fork(Effect.flip(stream.read))
      yield* Effect.repeatN(TestClock.adjust("500 millis"), 8)
      expect(reading.unsafePoll()).toBeNull()
      // Looked at with each of the session's ticks.
      yield* Effect.repeatN(TestClock.adjust("400 millis"), 3)
      expect((yield* Fiber.join(reading)).code).toBe(Link.ResetCode.unknownKind)
      expect(yield* echoes(yield* Link.open(near, "generate"))).toEqual([7])
    })
  )
)

it.effect("the death of a handler resets its stream and touches no other, before or after", () =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      yield* Effect.fork(echoOrDie(far))
      const before = yield* Link.open(near, "generate")
      expect(yield* echoes(before)).toEqual([7])
      expect((yield* Effect.flip((yield* Link.open(near, "control")).read)).reason).toBe("Reset")
      expect(yield* echoes(before)).toEqual([7])
      expect(yield* echoes(yield* Link.open(near, "generate"))).toEqual([7])
    })
  )
)

it.effect("a listener that throws costs its stream, is logged, and touches no other stream", () => {
  const lines: Array<string> = []
  const kept = Logger.replace(
    Logger.defaultLogger,
    Logger.map(Logger.logfmtLogger, (line) => void lines.push(line))
  )
  const throwing = (at: "data" | "ended" | "failed" | "tick" | "nowhere"): StreamListener => {
    const step = (name: string) => () => {
      if (name === at) throw new Error(`thrown in ${at}`)
    }
    return { data: step("data"), ended: step("ended"), closed: () => {}, failed: step("failed"), tick: step("tick") }
  }
  return linked(({ near, far }) =>
    Effect.gen(function* () {
      const places = ["data", "ended", "failed", "tick"] as const
      let served = 0
      yield* Effect.fork(Link.serve(far, ({ stream }) => stream.unsafeListen(throwing(places[served++] ?? "nowhere"))))
      for (const place of places) {
        const stream = yield* Link.open(near, "generate")
        yield* stream.write(Uint8Array.of(1))
        if (place === "ended") yield* stream.end
        if (place === "failed") yield* stream.reset(1)
        yield* TestClock.adjust("400 millis")
        if (place !== "failed") expect((yield* Effect.flip(stream.closed)).code).toBe(ResetCode.broken)
      }
      const last = yield* Link.open(near, "generate")
      yield* TestClock.adjust("2 seconds")
      expect(yield* Effect.timeoutOption(last.closed, 0)).toEqual(Option.none())
      for (const place of places) expect(lines.filter((line) => line.includes(`thrown in ${place}`)).length).toBe(1)
    })
  ).pipe(Effect.provide(kept))
})

it.effect("a stream's handler is interrupted when the link ends, and serve says why it ended", () =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      const [begun, interrupted] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      const handler = Effect.onInterrupt(Effect.zipRight(Deferred.succeed(begun, undefined), Effect.never), () =>
        Deferred.succeed(interrupted, undefined)
      )
      const serving = yield* Effect.fork(Link.serve(far, () => handler))
      yield* Link.open(near, "generate")
      yield* Deferred.await(begun)
      yield* near.session.close(Link.CloseCode.leaving, "enough")
      expect((yield* Fiber.join(serving)).goodbye).toEqual({
        by: "them",
        code: Link.CloseCode.leaving,
        reason: "enough"
      })
      yield* Deferred.await(interrupted)
    })
  )
)

it.live("over QUIC an honest hello links, an old version is refused, told why and counted", () =>
  Effect.gen(function* () {
    const quic = Effect.map(
      Layer.build(
        Layer.merge(
          Layer.provide(QuicTransport.layer({ host: "127.0.0.1", port: 0 }), Certificate.layer),
          Identity.layerEphemeral
        )
      ),
      (context): Endpoint => ({ transport: Context.get(context, Transport), identity: Context.get(context, Identity) })
    )
    const [peer, entry] = [yield* quic, yield* quic]
    const options = { role: "peer", expected: entry.identity.id } as const
    const welcoming = yield* Effect.fork(welcome(entry))
    const near = yield* as(peer, Link.dial(entry.transport.address, options))
    expect((yield* Fiber.join(welcoming)).peer).toBe(peer.identity.id)
    expect(near.peer).toBe(entry.identity.id)

    const refusing = yield* Effect.fork(Effect.flip(welcome(entry)))
    const session = yield* peer.transport.dial(entry.transport.address)
    const old = Effect.flatMap(session.open, (stream) => stream.write(encodeOffer(offerOf(peer, { version: 0 }))))
    const rose = yield* rise(refusedTotal, { reason: "protocol_version" }, Effect.zipRight(old, Fiber.join(refusing)))
    expect(rose).toBe(1)
    const { goodbye } = yield* Effect.timeout(session.closed, "2 seconds")
    expect(goodbye?.code).toBe(Link.CloseCode.helloRefused)
    expect(goodbye?.reason).toContain("update the older program")
  })
)
