/** A real entry among strangers: diallers that lie, and peers that registered honestly and answer with anything. */
import { expect } from "bun:test"
import { GenerateEvent } from "@weft/engine/Generation"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Hello from "@weft/mesh/Hello"
import * as Link from "@weft/mesh/Link"
import type { MeshStream, Session } from "@weft/mesh/Transport"
import { Effect, Option, Schedule } from "effect"
import { as, type Endpoint } from "../mesh/links.ts"
import { it } from "../support/effect.ts"
import { startEntry, startPeer } from "../support/processes.ts"
import { ask, type Entry, endpoint, entryId, figure, metrics, register } from "./strangers.ts"

const refused = (entry: Entry, reason: string) =>
  Effect.map(metrics(entry), (text) =>
    figure(text, new RegExp(`weft_sessions_refused_total\\{reason="${reason}"\\} (\\d+)`))
  )
const residentBytes = (entry: Entry) =>
  Effect.map(metrics(entry), (text) => figure(text, /^process_resident_memory_bytes ([\d.e+]+)/m))

const offerOf = (self: Endpoint, changes: Partial<Hello.Offer> = {}): Hello.Offer => ({
  _tag: "Offer",
  version: Hello.protocolVersion,
  id: self.identity.id,
  role: "peer",
  nonce: new Uint8Array(32).fill(9),
  ...changes
})
const writes = (session: Session, bytes: Uint8Array) => Effect.tap(session.open, (stream) => stream.write(bytes))

it.live("diallers that lie are refused, counted by reason and told why, and a peer serves all the while", () =>
  Effect.gen(function* () {
    const entry = yield* startEntry()
    const peer = yield* startPeer(entry.url)
    const self = yield* endpoint
    const encode = Frames.encode(Hello.Offer)
    const lies: ReadonlyArray<readonly [reason: string, lie: (session: Session) => Effect.Effect<unknown, unknown>]> = [
      ["malformed", (session) => writes(session, new Uint8Array(700).fill(0xc1))],
      ["protocol_version", (session) => writes(session, encode(offerOf(self, { version: 0 })))],
      ["identity", (session) => writes(session, encode(offerOf(self, { role: "entry" })))],
      ["identity", (session) => writes(session, encode(offerOf(self, { id: entryId(entry) })))],
      [
        "identity",
        (session) =>
          Effect.gen(function* () {
            const stream = yield* writes(session, encode(offerOf(self)))
            yield* Frames.reader(stream).read(Hello.Accept)
            yield* stream.write(Frames.encode(Hello.Proof)({ _tag: "Proof", signature: new Uint8Array(64) }))
          })
      ]
    ]
    for (const [reason, lie] of lies) {
      const before = yield* refused(entry, reason)
      const session = yield* self.transport.dial(entry.mesh)
      yield* lie(session)
      const { goodbye } = yield* Effect.timeout(session.closed, "3 seconds")
      expect([goodbye?.by, goodbye?.code]).toEqual(["them", Link.CloseCode.helloRefused])
      expect(yield* refused(entry, reason)).toBe(before + 1)
    }
    const { status, text } = yield* ask(entry, "tiny-small-f16")
    expect([status, text.includes("7 plus 5 is 12.")]).toEqual([200, true])
    expect(peer.id).not.toBe(self.identity.id)
  })
)

const encode = Frames.encode(GenerateEvent)
const started = encode({ _tag: "Started", promptTokens: 1, seed: 1 })
const delta = (text: string, tokens: ReadonlyArray<number>) => encode({ _tag: "Delta", text, tokens })
const flood = (bytes: Uint8Array) => (stream: MeshStream) =>
  Effect.zipRight(stream.write(started), Effect.forever(stream.write(bytes)))

/** On a machine whose processors are lent to others a flood of text takes seconds until it is too much. */
const patience = "30 seconds"

/** What registered peers send instead of an answer. */
const answers: ReadonlyArray<readonly [name: string, act: (stream: MeshStream) => Effect.Effect<unknown, unknown>]> = [
  ["garbage", (stream) => stream.write(new Uint8Array(4_096).fill(0xc1))],
  ["garbage after a start", (stream) => stream.write(concat([started, new Uint8Array(4_096).fill(0xc1)]))],
  ["frames of 1 MiB", flood(Frames.encodePayload(new Uint8Array(1024 * 1024)))],
  ["too many tokens", (stream) => stream.write(concat([started, delta("a", Array<number>(21).fill(1))]))],
  ["text without end", flood(delta("x".repeat(200_000), []))],
  ["an end at once", (stream) => stream.end],
  ["a reset", (stream) => stream.reset(77)],
  [
    "a failure with a long text",
    (stream) =>
      stream.write(encode({ _tag: "Failed", failure: { code: "internal", message: "\u001b[31m".repeat(200) } }))
  ]
]

it.live(
  "peers that answer with anything cost their clients an error, and nobody else anything",
  () =>
    Effect.gen(function* () {
      const entry = yield* startEntry()
      yield* startPeer(entry.url)
      for (const [index, [, act]] of answers.entries()) yield* register(entry, `bad-${index}`, act)
      // Every bad peer once, so that what the entry allocates for good is allocated.
      const round = Effect.forEach(
        answers,
        ([name], index) =>
          Effect.gen(function* () {
            const whole = yield* Effect.timeout(ask(entry, `bad-${index}`), patience)
            expect({ name, status: whole.status }).toEqual({ name, status: 502 })
            expect(JSON.parse(whole.text)).toMatchObject({
              error: { type: "server_error", message: expect.any(String) }
            })
            expect(whole.text).not.toContain("\\u001b")
            const streamed = yield* Effect.timeout(ask(entry, `bad-${index}`, { stream: true }), patience)
            expect({ name, error: streamed.text.includes('"error":{') }).toEqual({ name, error: true })
            expect(streamed.text).not.toContain("[DONE]")
          }),
        { discard: true }
      )
      yield* round
      const before = yield* residentBytes(entry)
      yield* Effect.repeatN(round, 4)
      const good = yield* ask(entry, "tiny-small-f16")
      expect([good.status, good.text.includes("7 plus 5 is 12.")]).toEqual([200, true])
      expect((yield* residentBytes(entry)) - before).toBeLessThan(150 * 2 ** 20)
      const text = yield* metrics(entry)
      expect(figure(text, /weft_quic_sessions\{layer="quic",direction="accepted"\} (\d+)/)).toBe(answers.length + 1)
    }),
  90_000
)

it.live("a peer that never answers holds its own clients alone, and one that leaves frees its place", () =>
  Effect.gen(function* () {
    const entry = yield* startEntry()
    yield* startPeer(entry.url)
    let streams = 0
    let cancelled = 0
    yield* register(entry, "silent", (stream) =>
      Effect.zipRight(
        Effect.sync(() => streams++),
        Effect.ensuring(
          stream.closed,
          Effect.sync(() => cancelled++)
        )
      )
    )
    const abort = new AbortController()
    const waiting = yield* Effect.fork(Effect.exit(ask(entry, "silent", {}, abort.signal)))
    const until = (holds: () => boolean) =>
      Effect.sync(holds).pipe(
        Effect.repeat({ until: (held) => held, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("5 seconds")
      )
    yield* until(() => streams === 1)
    const good = yield* ask(entry, "tiny-small-f16")
    expect(good.text).toContain("7 plus 5 is 12.")
    abort.abort()
    yield* until(() => cancelled === 1)
    yield* waiting.await
  })
)

it.live("a peer that floods its control stream is cut off there, and others register meanwhile", () =>
  Effect.gen(function* () {
    const entry = yield* startEntry()
    const self = yield* endpoint
    const link = yield* as(self, Link.dial(entry.mesh, { role: "peer", expected: entryId(entry) }))
    const nested = Frames.encodePayload(new Uint8Array(100_000).fill(0x91))
    for (const bytes of [nested, Uint8Array.of(255, 255, 255, 255), Frames.encodePayload(new Uint8Array(300 * 1024))]) {
      const stream = yield* Link.open(link, "control")
      const error = yield* Effect.flip(Effect.zipRight(stream.write(bytes), Effect.forever(stream.read)))
      expect([error.reason, error.code]).toEqual(["Reset", Link.ResetCode.malformed])
    }
    yield* startPeer(entry.url)
    const { text } = yield* ask(entry, "tiny-small-f16")
    expect(text).toContain("7 plus 5 is 12.")
    expect(Option.isNone(yield* Effect.timeoutOption(link.session.closed, "50 millis"))).toBe(true)
  })
)
