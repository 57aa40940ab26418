/** Our session against raw sessions that misbehave or wear out, and what it counts. */
import { describe, expect } from "bun:test"
import { ResetCode } from "@weft/mesh/CreditStream"
import * as Session from "@weft/mesh/Session"
import { RecordKind } from "@weft/mesh/StreamRecords"
import { defaults } from "@weft/mesh/TransportLimits"
import { Effect, FastCheck, TestClock } from "effect"
import { register } from "prom-client"
import { it } from "../support/effect.ts"

type RawSession = Parameters<typeof Session.make>[0]
type RawStream = Awaited<ReturnType<RawSession["open"]>>
type SessionEvents = Parameters<RawSession["listen"]>[0]
type StreamEvents = Parameters<RawStream["listen"]>[0]

/** A raw stream in the hands of the test. */
const fakeStream = () => {
  const state: { events: StreamEvents | undefined; resetCode: number | undefined; readonly sent: Array<Uint8Array> } = {
    events: undefined,
    resetCode: undefined,
    sent: []
  }
  const raw: RawStream = {
    listen: (events) => {
      state.events = events
    },
    write: (bytes) => {
      state.sent.push(bytes)
      return true
    },
    end: () => {},
    reset: (code) => {
      state.resetCode = code
    }
  }
  return { raw, state }
}

/** A session whose other side is the test. */
const accepted = Effect.fnUntraced(function* (lifetime?: { readonly bytesMax: number; readonly streamsMax: number }) {
  const state: {
    events: SessionEvents | undefined
    closed: ReadonlyArray<unknown>
    stats: ReturnType<RawSession["stats"]>
  } = { events: undefined, closed: [], stats: {} }
  const raw: RawSession = {
    remoteAddress: "the test",
    serverCertificateSha256: new Uint8Array(32),
    ...(lifetime === undefined ? {} : { lifetime }),
    listen: (events) => {
      state.events = events
    },
    open: () => Promise.resolve(fakeStream().raw),
    close: (...goodbye) => {
      state.closed = goodbye
    },
    stats: () => state.stats,
    datagrams: undefined
  }
  const session = yield* Session.make(raw, { layer: "memory", direction: "accepted", limits: defaults })
  const announce = (...first: ReadonlyArray<Uint8Array>) => {
    const stream = fakeStream()
    state.events?.stream(stream.raw)
    for (const bytes of first) stream.state.events?.data(bytes)
    return stream.state
  }
  return { session, state, announce }
})

const word = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

const control = word(RecordKind.control)

/** Returns the value of a metric with these labels, 0 where it was never set. */
const metric = (name: string, labels: Readonly<Record<string, string>>) =>
  Effect.map(
    Effect.promise(async () => (await register.getSingleMetric(name)?.get())?.values ?? []),
    (values) =>
      values.find(({ labels: own }) => Object.entries(labels).every(([key, value]) => own[key] === value))?.value ?? 0
  )

describe("Session", () => {
  it.effect("pings on the control stream are answered, in any pieces", () =>
    Effect.gen(function* () {
      const { announce } = yield* accepted()
      const stream = announce(control.subarray(0, 3), control.subarray(3), Uint8Array.of(1, 0, 0), Uint8Array.of(0, 9))
      expect(stream.sent.at(-1)).toEqual(Uint8Array.of(2, 0, 0, 0, 9))
    })
  )

  it.effect("garbage on the control stream and a second control stream end the session", () =>
    Effect.gen(function* () {
      const garbage = yield* accepted()
      garbage.announce(control, Uint8Array.of(7, 7, 7, 7, 7))
      expect((yield* garbage.session.closed).goodbye).toMatchObject({ by: "us", code: Session.CloseCode.violation })
      const second = yield* accepted()
      second.announce(control)
      second.announce(control)
      expect((yield* second.session.closed).goodbye).toMatchObject({ by: "us", code: Session.CloseCode.violation })
    })
  )

  it.prop(
    "no first bytes of a stream can throw",
    FastCheck.array(FastCheck.uint8Array({ maxLength: 20 }), { maxLength: 5 }),
    (pieces) =>
      Effect.gen(function* () {
        const { announce, session } = yield* accepted()
        announce(...pieces)
        expect((yield* session.stats).bytesReceived).toBeLessThanOrEqual(100)
      })
  )

  it.effect("streams that never say what they are hold no more places than the bound", () =>
    Effect.gen(function* () {
      const { announce } = yield* accepted()
      const states = Array.from({ length: 1_000 }, () => announce(Uint8Array.of(0)))
      const refused = states.filter(({ resetCode }) => resetCode === ResetCode.refused)
      expect(refused.length).toBe(1_000 - defaults.streamsMax - 64)
      for (const state of states.slice(0, 10)) state.events?.cut()
      expect(announce(Uint8Array.of(0)).resetCode).toBeUndefined()
    })
  )

  it.effect("a session whose layer wears out says so and ends before it does", () =>
    Effect.gen(function* () {
      const byStreams = yield* accepted({ bytesMax: 1e9, streamsMax: 2 })
      yield* Effect.replicateEffect(byStreams.session.open, 3)
      const byBytes = yield* accepted({ bytesMax: 10, streamsMax: 100 })
      byBytes.announce(word(100), new Uint8Array(100))
      const fresh = yield* accepted({ bytesMax: 10, streamsMax: 2 })
      fresh.announce(control)
      yield* TestClock.adjust("350 millis")
      for (const { session, state } of [byStreams, byBytes]) {
        expect((yield* session.closed).goodbye).toMatchObject({ by: "us", code: Session.CloseCode.worn })
        expect(state.closed[0]).toBe(Session.CloseCode.worn)
      }
      expect(fresh.state.closed).toEqual([])
    })
  )

  it.effect("live sessions and their ends are counted", () =>
    Effect.gen(function* () {
      const labels = { layer: "memory", direction: "accepted" }
      const live = yield* metric("weft_quic_sessions", labels)
      const ended = yield* metric("weft_sessions_closed_total", { layer: "memory", reason: "lost" })
      const { state } = yield* accepted()
      expect(yield* metric("weft_quic_sessions", labels)).toBe(live + 1)
      state.events?.closed({ kind: "lost", cause: "test" })
      expect(yield* metric("weft_quic_sessions", labels)).toBe(live)
      expect(yield* metric("weft_sessions_closed_total", { layer: "memory", reason: "lost" })).toBe(ended + 1)
    })
  )

  it.effect("what a layer counts is handed on as differences, and streams' bytes where it counts none", () =>
    Effect.gen(function* () {
      const names = ["session_bytes_sent", "session_bytes_received", "packets_sent", "packets_received", "packets_lost"]
      const totals = Effect.forEach(names, (name) => metric(`weft_${name}_total`, { layer: "memory" }))
      const before = yield* totals
      const since = Effect.map(totals, (all) => all.map((value, index) => value - (before[index] ?? 0)))
      const { state } = yield* accepted()
      const first = { bytesSent: 9_000, bytesReceived: 5_000, packetsSent: 9, packetsReceived: 6, packetsLost: 0 }
      state.stats = first
      yield* TestClock.adjust("350 millis")
      expect(yield* since).toEqual([9_000, 5_000, 9, 6, 0])
      state.stats = { ...first, bytesSent: 9_500, packetsSent: 10, packetsLost: 1 }
      yield* TestClock.adjust("300 millis")
      expect(yield* since).toEqual([9_500, 5_000, 10, 6, 1])
      state.events?.closed({ kind: "lost", cause: "test" })
      const { announce } = yield* accepted()
      announce(word(100), new Uint8Array(96))
      yield* TestClock.adjust("350 millis")
      expect((yield* since)[1]).toBe(5_100)
    })
  )
})
