/** The control plane over a link: calls and typed errors cross the wire, and nothing a stranger sends spreads. */
import { expect } from "bun:test"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import { concat } from "@weft/mesh/FrameBuffer"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { MeshRpcs, NotRegistered, RegisterRefused } from "@weft/mesh/MeshProtocol"
import * as Msgpack from "@weft/mesh/Msgpack"
import type { PeerLoad } from "@weft/mesh/PeerInfo"
import type { MeshStream } from "@weft/mesh/Transport"
import { Cause, Deferred, Effect, Exit, Fiber, Option, Schema } from "effect"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"
import { linked } from "./links.ts"

const announcement = { bytes: Uint8Array.of(1, 2, 3), signature: new Uint8Array(64) }
const loadOf = (active: number): PeerLoad => ({
  state: "ready",
  models: [{ id: "tiny", ready: true, active, queued: 0 }]
})
const activeOf = (load: PeerLoad): number => load.models[0]?.active ?? -1

type Handlers = Parameters<typeof ControlPlane.serve>[1]

const willing: Handlers = MeshRpcs.of({
  Register: () => Effect.succeed({ heartbeatEveryMs: 1_000 }),
  Heartbeat: ({ load }) => Effect.succeed({ nowMs: activeOf(load) }),
  Elect: () => Effect.succeed(null),
  Leave: () => Effect.void
})

const serve = (link: Link.Link, handlers: Partial<Handlers>) =>
  Link.serve(link, (incoming) =>
    incoming.kind === "control"
      ? ControlPlane.serve(incoming, MeshRpcs.of({ ...willing, ...handlers }))
      : Effect.ignore(Effect.zipRight(incoming.stream.write(Uint8Array.of(7)), incoming.stream.end))
  )

/** Runs `body` with the client of `handlers`, which stand at the other end of a link. */
const called = <A, E, R>(
  handlers: Partial<Handlers>,
  body: (
    client: Effect.Effect.Success<ReturnType<typeof ControlPlane.client>>,
    link: { readonly near: Link.Link; readonly far: Link.Link }
  ) => Effect.Effect<A, E, R>
) =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      yield* Effect.fork(serve(far, handlers))
      return yield* body(yield* ControlPlane.client(near), { near, far })
    })
  )

/** Asks on a stream of another kind, which must always work. */
const answersElsewhere = (link: Link.Link) =>
  Effect.gen(function* () {
    const stream = yield* Link.open(link, "generate")
    return [...Option.getOrThrow(yield* stream.read)]
  })

it.effect("registration, heartbeat and leave are carried there, and their answers back", () => {
  const seen: Array<unknown> = []
  return called(
    {
      Register: (payload) => Effect.sync(() => seen.push(payload)).pipe(Effect.as({ heartbeatEveryMs: 250 })),
      Leave: () => Effect.sync(() => void seen.push("left"))
    },
    (client) =>
      Effect.gen(function* () {
        expect(yield* client.Register({ announcement })).toEqual({ heartbeatEveryMs: 250 })
        expect(yield* client.Heartbeat({ load: loadOf(3) })).toEqual({ nowMs: 3 })
        yield* client.Leave()
        expect(seen).toEqual([{ announcement }, "left"])
      })
  )
})

it.effect("refusals cross the wire as the errors they are", () =>
  called(
    {
      Register: () => new RegisterRefused({ reason: "DirectoryFull", detail: "no room" }),
      Heartbeat: () => new NotRegistered()
    },
    (client) =>
      Effect.gen(function* () {
        const refused = yield* Effect.flip(client.Register({ announcement }))
        expect(refused).toBeInstanceOf(RegisterRefused)
        expect(refused).toMatchObject({ reason: "DirectoryFull", detail: "no room" })
        expect(yield* Effect.flip(client.Heartbeat({ load: loadOf(0) }))).toBeInstanceOf(NotRegistered)
      })
  )
)

it.effect("calls made one after the other arrive in that order; two hundred at once each get their own answer", () => {
  const arrived: Array<number> = []
  return called(
    {
      Heartbeat: ({ load }) =>
        Effect.sync(() => {
          arrived.push(activeOf(load))
          return { nowMs: activeOf(load) }
        })
    },
    (client) =>
      Effect.gen(function* () {
        const numbers = Array.from({ length: 200 }, (_, index) => index)
        const beat = (index: number) => client.Heartbeat({ load: loadOf(index) })
        yield* Effect.forEach(numbers, beat, { discard: true })
        expect(arrived.splice(0)).toEqual(numbers)
        const answers = yield* Effect.forEach(numbers, beat, { concurrency: "unbounded" })
        expect(answers.map(({ nowMs }) => nowMs)).toEqual(numbers)
        expect(arrived.sort((a, b) => a - b)).toEqual(numbers)
      })
  )
})

it.effect("calls under way and later ones fail at once when the session dies", () =>
  called({ Leave: () => Effect.never }, (client, { far }) =>
    Effect.gen(function* () {
      const waiting = yield* Effect.fork(Effect.flip(client.Leave()))
      expect(yield* client.Heartbeat({ load: loadOf(1) })).toEqual({ nowMs: 1 })
      yield* far.session.close(Link.CloseCode.replaced, "gone")
      expect((yield* Fiber.join(waiting))._tag).toBe("RpcClientError")
      expect((yield* Effect.flip(client.Heartbeat({ load: loadOf(1) })))._tag).toBe("RpcClientError")
    })
  )
)

it.effect("a handler that dies fails its own call, tells nothing of its insides, and the others go on", () =>
  Effect.gen(function* () {
    const open = yield* Deferred.make<void>()
    yield* called(
      {
        Register: () => Effect.dieMessage("secret of the entry"),
        Leave: () => Deferred.await(open)
      },
      (client) =>
        Effect.gen(function* () {
          const waiting = yield* Effect.fork(client.Leave())
          const exit = yield* Effect.exit(client.Register({ announcement }))
          const told = Exit.match(exit, { onFailure: Cause.pretty, onSuccess: () => "success" })
          expect(told).not.toBe("success")
          expect(told).not.toContain("secret")
          yield* Deferred.succeed(open, undefined)
          yield* Fiber.join(waiting)
          expect(yield* client.Heartbeat({ load: loadOf(2) })).toEqual({ nowMs: 2 })
        })
    )
  })
)

it.effect("what is beyond the schema is refused before a handler sees it", () => {
  const seen: Array<unknown> = []
  return called(
    { Register: (payload) => Effect.sync(() => ({ heartbeatEveryMs: seen.push(payload) * 1_000 })) },
    (client) =>
      Effect.gen(function* () {
        const oversized = { bytes: new Uint8Array(230 * 1024), signature: new Uint8Array(64) }
        // Sent past the client's own check, as a stranger would.
        const exit = yield* Effect.exit(client.Register({ announcement: oversized }))
        expect(exit._tag).toBe("Failure")
        expect(seen).toEqual([])
        expect(yield* client.Heartbeat({ load: loadOf(2) })).toEqual({ nowMs: 2 })
      })
  )
})

const request = (id: string, tag: string, payload: unknown) => ({ _tag: "Request", id, tag, payload, headers: [] })
const text = (size: number) => "x".repeat(size)

const encode = (message: unknown) => Frames.encodePayload(Msgpack.encode(message))

/** What a stranger writes on its control stream that is not even a frame within the bounds. */
const badFrames: ReadonlyArray<readonly [name: string, bytes: Uint8Array]> = [
  ["a message of 300 KiB", encode(request("1", "Heartbeat", { load: text(300 * 1024) }))],
  ["a frame that claims 4 GiB", Uint8Array.of(255, 255, 255, 255, 1)],
  ["a text that claims 4 GiB", Frames.encodePayload(Uint8Array.of(0xdb, 255, 255, 255, 255, 1))],
  ["bytes that are no message", Frames.encodePayload(new Uint8Array(100).fill(0xc1))],
  ["an empty message", new Uint8Array(4)],
  ["an extension type", Frames.encodePayload(Uint8Array.of(0xc7, 4, 0x72, 1, 2, 3, 4))],
  ["arrays in arrays", Frames.encodePayload(new Uint8Array(100_000).fill(0x91))],
  ["half a message", encode(request("1", "Leave", {})).subarray(0, 9)]
]

/** What is a frame, but no message of the protocol. */
const badMessages: ReadonlyArray<readonly [name: string, bytes: Uint8Array]> = [
  ["nothing as a message", encode(null)],
  ["a number as a message", encode(7)],
  ["an unknown kind of message", encode({ _tag: "Whatever" })],
  ["a request without an id", encode({ _tag: "Request", tag: "Leave" })],
  ["a call of an unknown name", encode(request("1", "Reboot", {}))]
]

/** Reads until the call with this id is answered; fails when the stream ends before. */
const untilAnswer = (stream: MeshStream, id: string) =>
  Frames.reader(stream)
    .read(Schema.Struct({ requestId: Schema.optional(Schema.Unknown) }))
    .pipe(Effect.map(Option.getOrThrow), Effect.repeat({ until: ({ requestId }) => requestId === id }))

it.effect("a call that comes with the stream's first packet is answered", () =>
  Effect.gen(function* () {
    const answer = yield* strange(encode(request("1", "Leave", null)), "1")
    expect(answer._tag).toBe("Right")
  })
)

/** Writes `bytes` and a good call on a control stream of its own; returns how that stream went on. */
const strange = (bytes: Uint8Array, id = "2") =>
  virtualTime(
    linked(({ near, far }) =>
      Effect.gen(function* () {
        yield* Effect.fork(serve(far, {}))
        const client = yield* ControlPlane.client(near)
        const stream = yield* near.session.open
        const header = Frames.encode(Link.StreamHeader)({ kind: "control", version: 1 })
        yield* Effect.fork(Effect.ignore(stream.write(concat([header, bytes]))))
        yield* Effect.fork(Effect.ignore(stream.write(encode(request("2", "Leave", null)))))
        const answered = yield* Effect.fork(Effect.either(untilAnswer(stream, id)))
        yield* Effect.sleep("30 seconds")
        // It is answered or ended, never left open and deaf; and nothing else notices.
        expect(answered.unsafePoll()).not.toBeNull()
        expect(yield* client.Heartbeat({ load: loadOf(2) })).toEqual({ nowMs: 2 })
        expect(yield* answersElsewhere(near)).toEqual([7])
        return yield* Fiber.join(answered)
      })
    )
  )
for (const [name, bytes] of badFrames) {
  it.effect(`${name} resets its control stream as malformed, and touches nothing else`, () =>
    Effect.gen(function* () {
      expect(yield* Effect.flip(yield* strange(bytes))).toMatchObject({
        reason: "Reset",
        code: Link.ResetCode.malformed
      })
    })
  )
}
for (const [name, bytes] of badMessages) {
  it.effect(`${name} ends its control stream at most, and touches nothing else`, () => strange(bytes))
}

it.effect("a stranger that asks and never reads is cut off: what waits for it is bounded", () =>
  linked(({ near, far }) =>
    Effect.gen(function* () {
      yield* Effect.fork(serve(far, {}))
      const client = yield* ControlPlane.client(near)
      const stream = yield* Link.open(near, "control")
      const asking = Effect.forEach(
        Array.from({ length: 100_000 }, (_, index) => encode(request(String(index), "Heartbeat", { load: loadOf(1) }))),
        stream.write,
        { discard: true }
      )
      const error = yield* Effect.flip(asking)
      expect([error.reason, error.code]).toEqual(["Reset", Link.ResetCode.overrun])
      expect(yield* client.Heartbeat({ load: loadOf(2) })).toEqual({ nowMs: 2 })
    })
  )
)
