/** The entry's mesh side over a memory network: who enters the directory, over which link, and how they leave it. */
import { expect } from "bun:test"
import { calledPerSecond } from "@weft/entry/ControlRate"
import { EntryConfig } from "@weft/entry/EntryConfig"
import { Demand } from "@weft/entry/election/Demand"
import { Elections } from "@weft/entry/election/Elections"
import type { NoAnswer } from "@weft/entry/Inference"
import { Links } from "@weft/entry/Links"
import * as MeshListener from "@weft/entry/MeshListener"
import { Performance } from "@weft/entry/performance/Performance"
import { Slots } from "@weft/entry/Slots"
import * as Announcement from "@weft/mesh/Announcement"
import * as ControlPlane from "@weft/mesh/ControlPlane"
import { Identity } from "@weft/mesh/Identity"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import type { Announcement as Said } from "@weft/mesh/MeshProtocol"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import type { PeerId } from "@weft/mesh/PeerId"
import { Transport } from "@weft/mesh/Transport"
import { Clock, Context, Duration, Effect, Fiber, Layer, Option, Schedule, type Scope } from "effect"
import { as, type Endpoint, endpoint } from "../mesh/links.ts"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { virtualTime } from "../support/virtualTime.ts"

/** Runs `body` on virtual time with an entry that listens. */
const listening = <A, E>(
  body: (entry: Endpoint) => Effect.Effect<A, E, MemoryNetwork | PeerDirectoryActor | Links | Slots | Scope.Scope>,
  directory: Layer.Layer<PeerDirectoryActor> = PeerDirectoryActor.layer()
) =>
  virtualTime(
    Effect.gen(function* () {
      const entry = yield* endpoint("entry")
      const layer = MeshListener.layer.pipe(
        Layer.provide(Layer.provide(Elections.layer, Demand.layer)),
        Layer.provideMerge(Slots.layer),
        Layer.provideMerge(Links.layer),
        Layer.provide(Performance.layer),
        Layer.provide(EntryConfig.layer({})),
        Layer.provideMerge(directory),
        Layer.provide(Layer.succeed(Transport, entry.transport)),
        Layer.provide(Layer.succeed(Identity, entry.identity))
      )
      return yield* Effect.provide(body(entry), layer)
    }).pipe(Effect.scoped, Effect.provide(MemoryNetwork.layer({ delayMs: 5 })))
  )

/** Links `peer` with the entry and opens its control stream. */
const dial = Effect.fnUntraced(function* (peer: Endpoint, entry: Endpoint) {
  const link = yield* as(peer, Link.dial(entry.transport.address, { role: "peer", expected: entry.identity.id }))
  return { link, control: yield* ControlPlane.client(link) }
})

const announce = (peer: Endpoint, entry: Endpoint, changes: Partial<Said> = {}) =>
  Effect.map(Clock.currentTimeMillis, (now) =>
    Announcement.sign(peer.identity, {
      info: peerInfo(peer.identity.id, ["tiny"]),
      audience: entry.identity.id,
      sequence: 1,
      issuedAtMs: now,
      expiresAtMs: now + Announcement.validityMs,
      ...changes
    })
  )

const load = { state: "ready", models: [] } as const
const there = Effect.map(
  Effect.map(PeerDirectoryActor, ({ unsafeSnapshot }) => unsafeSnapshot()),
  ({ peers }) => [...peers.keys()]
)
const attached = Effect.map(Links, (links) => [...links.attachments().keys()])

it.live("a peer that registers is in the directory until it leaves, and stays linked", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const peer = yield* endpoint("peer")
      const { control } = yield* dial(peer, entry)
      expect((yield* Effect.flip(control.Heartbeat({ load })))._tag).toBe("NotRegistered")
      expect(yield* there).toEqual([])
      const { heartbeatEveryMs } = yield* control.Register({ announcement: yield* announce(peer, entry) })
      expect(heartbeatEveryMs).toBe(1_000)
      expect(yield* there).toEqual([peer.identity.id])
      expect((yield* control.Heartbeat({ load })).nowMs).toBeGreaterThanOrEqual(0)
      yield* control.Leave()
      expect(yield* there).toEqual([])
      expect(yield* attached).toEqual([peer.identity.id])
    })
  )
)

it.live(
  "an announcement of another peer, for another entry, out of its time or repeated is refused by its reason",
  () =>
    listening((entry) =>
      Effect.gen(function* () {
        const peer = yield* endpoint("peer")
        const other = yield* endpoint("other")
        const { control } = yield* dial(peer, entry)
        const refusal = (announcement: Effect.Effect.Success<ReturnType<typeof announce>>) =>
          Effect.map(Effect.flip(control.Register({ announcement })), (error) => error.message)
        expect(yield* refusal(yield* announce(other, entry))).toContain("signature")
        expect(yield* refusal(yield* announce(peer, entry, { info: peerInfo(peerId(9), []) }))).toContain(
          "another peer"
        )
        expect(yield* refusal(yield* announce(peer, other))).toContain("another entry")
        const late = { issuedAtMs: 0, expiresAtMs: 1 }
        yield* Effect.sleep("2 minutes")
        expect(yield* refusal(yield* announce(peer, entry, late))).toContain("clocks")
        expect(yield* there).toEqual([])
        const taken = yield* announce(peer, entry)
        yield* control.Register({ announcement: taken })
        expect(yield* refusal(taken)).toContain("number")
        yield* control.Register({ announcement: yield* announce(peer, entry, { sequence: 2 }) })
      })
    )
)

it.live("a peer whose session ends is out of the directory at once", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const peer = yield* endpoint("peer")
      const { control, link } = yield* dial(peer, entry)
      yield* control.Register({ announcement: yield* announce(peer, entry) })
      yield* link.session.close(Link.CloseCode.leaving, "bye")
      yield* Effect.sleep("50 millis")
      expect([yield* there, yield* attached]).toEqual([[], []])
    })
  )
)

it.live("who waits for a slot is told at once when the last peer leaves, is lost or falls silent", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const slots = yield* Slots
      const want = Effect.async<void, NoAnswer>((resume) => {
        const prompt = slots.readPrompt("tiny", "a", { _tag: "Text", text: "hello" })
        const request = { model: "tiny", caller: "a", labels: {}, prompt, excluded: new Set<PeerId>(), hasBegun: false }
        const giveUp = slots.take(request, (seat) => resume(Effect.asVoid(seat)))
        return Effect.sync(() => giveUp?.())
      })
      const peer = yield* endpoint("peer")
      let sequence = 0
      const waitingFor = Effect.fnUntraced(function* (
        end: (there: Effect.Effect.Success<ReturnType<typeof dial>>) => Effect.Effect<unknown, unknown>,
        withinMs: number
      ) {
        const there = yield* dial(peer, entry)
        const info = peerInfo(peer.identity.id, ["tiny"], 1)
        yield* there.control.Register({ announcement: yield* announce(peer, entry, { info, sequence: ++sequence }) })
        yield* want
        const waiting = yield* Effect.fork(Effect.timed(Effect.flip(want)))
        yield* Effect.sleep("20 millis")
        yield* end(there)
        const [took, error] = yield* Fiber.join(waiting)
        expect(error).toMatchObject({ reason: "NoPeer" })
        expect(Duration.toMillis(took)).toBeLessThan(withinMs)
      }, Effect.scoped)
      yield* waitingFor(({ control }) => control.Leave(), 100)
      yield* waitingFor(({ link }) => link.session.close(Link.CloseCode.leaving, "bye"), 100)
      yield* waitingFor(() => Effect.void, 21_000)
    })
  )
)

it.live("a peer that is linked but silent is taken out after fifteen seconds, and may register again", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const peer = yield* endpoint("peer")
      const { control } = yield* dial(peer, entry)
      yield* control.Register({ announcement: yield* announce(peer, entry) })
      yield* Effect.sleep("14900 millis")
      expect(yield* there).toEqual([peer.identity.id])
      yield* Effect.sleep("5200 millis")
      expect(yield* there).toEqual([])
      yield* control.Register({ announcement: yield* announce(peer, entry, { sequence: 2 }) })
      yield* Effect.repeat(
        control.Heartbeat({ load }),
        Schedule.intersect(Schedule.spaced("5 seconds"), Schedule.recurs(6))
      )
      expect(yield* there).toEqual([peer.identity.id])
    })
  )
)

/** Listens with a directory that counts what it is asked. */
const counting = (asked: { Register: number; Heartbeat: number; Leave: number }) =>
  Layer.map(PeerDirectoryActor.layer(), (context) => {
    const directory = Context.get(context, PeerDirectoryActor)
    const { Heartbeat, Leave, Register } = directory.ref
    const count = (kind: keyof typeof asked) => Effect.sync(() => asked[kind]++)
    const counted: typeof directory.ref = {
      ...directory.ref,
      Register: (...given) => Effect.zipRight(count("Register"), Register(...given)),
      Heartbeat: (...given) => Effect.zipRight(count("Heartbeat"), Heartbeat(...given)),
      Leave: (...given) => Effect.zipRight(count("Leave"), Leave(...given))
    }
    return Context.add(context, PeerDirectoryActor, { ...directory, ref: counted })
  })

it.live("of many heartbeats a few a second reach the directory, and all are answered", () => {
  const asked = { Register: 0, Heartbeat: 0, Leave: 0 }
  return listening(
    (entry) =>
      Effect.gen(function* () {
        const peer = yield* endpoint("peer")
        const { control, link } = yield* dial(peer, entry)
        yield* control.Register({ announcement: yield* announce(peer, entry) })
        const beats = yield* Effect.forEach(
          Array.from({ length: 200 }),
          () => Effect.zipLeft(control.Heartbeat({ load }), Effect.sleep("50 millis")),
          { concurrency: 1 }
        )
        const nowMs = yield* Clock.currentTimeMillis
        expect(nowMs).toBeGreaterThan(10_000)
        expect(beats.every((beat, index) => index === 0 || beat.nowMs > (beats[index - 1]?.nowMs ?? nowMs))).toBe(true)
        expect(asked.Heartbeat).toBeLessThan(5 * (nowMs / 1_000))
        expect(asked.Heartbeat).toBeGreaterThan(30)
        expect(yield* there).toEqual([peer.identity.id])
        expect(yield* Effect.timeoutOption(link.session.closed, "1 second")).toEqual(Option.none())
      }),
    counting(asked)
  )
})

for (const kind of ["Heartbeat", "Register", "Leave"] as const) {
  it.live(`a peer that floods the entry with ${kind} loses its session, and the others notice nothing`, () => {
    const asked = { Register: 0, Heartbeat: 0, Leave: 0 }
    return listening(
      (entry) =>
        Effect.gen(function* () {
          const [peer, other] = [yield* endpoint("peer"), yield* endpoint("other")]
          const bad = yield* dial(peer, entry)
          const good = yield* dial(other, entry)
          yield* good.control.Register({ announcement: yield* announce(other, entry) })
          const now = yield* Clock.currentTimeMillis
          const calls = {
            Heartbeat: () => bad.control.Heartbeat({ load }),
            Register: (sequence: number) =>
              Effect.flatMap(announce(peer, entry, { sequence }), (announcement) =>
                bad.control.Register({ announcement })
              ),
            Leave: () => bad.control.Leave()
          }
          const flood = Effect.forEach(
            Array.from({ length: 500 }),
            (_, index) => Effect.exit<unknown, unknown, never>(calls[kind](index + 1)),
            { concurrency: "unbounded", discard: true }
          )
          yield* Effect.forkScoped(flood)
          const { goodbye } = yield* bad.link.session.closed
          expect(goodbye).toMatchObject({ by: "them", code: Link.CloseCode.flooded })
          expect(goodbye?.reason).toContain(`more than ${calledPerSecond} calls a second`)
          expect((yield* Clock.currentTimeMillis) - now).toBeLessThan(2_000)
          expect(asked[kind]).toBeLessThan(110)
          expect((yield* good.control.Heartbeat({ load })).nowMs).toBeGreaterThan(0)
          expect(yield* there).toEqual([other.identity.id])
        }),
      counting(asked)
    )
  })
}

it.live("a peer that dials again replaces its older link, whose late words change nothing", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const peer = yield* endpoint("peer")
      const first = yield* dial(peer, entry)
      yield* first.control.Register({ announcement: yield* announce(peer, entry) })
      const second = yield* dial(peer, entry)
      yield* second.control.Register({ announcement: yield* announce(peer, entry, { sequence: 2 }) })
      const { goodbye } = yield* first.link.session.closed
      expect([goodbye?.by, goodbye?.code]).toEqual(["them", Link.CloseCode.replaced])
      yield* Effect.sleep("100 millis")
      expect(yield* there).toEqual([peer.identity.id])
      expect((yield* Links).enter(peer.identity.id, 0)?.link.session.remoteAddress).toBe("memory://peer")
      expect((yield* second.control.Heartbeat({ load })).nowMs).toBeGreaterThan(0)
    })
  )
)

it.live("a peer that asks the entry to generate is reset, and both links and other peers live on", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const [peer, other] = [yield* endpoint("peer"), yield* endpoint("other")]
      const bad = yield* dial(peer, entry)
      const good = yield* dial(other, entry)
      const stream = yield* Link.open(bad.link, "generate")
      expect((yield* Effect.flip(stream.read)).code).toBe(Link.ResetCode.unknownKind)
      for (const [self, { control }] of [
        [peer, bad],
        [other, good]
      ] as const) {
        yield* control.Register({ announcement: yield* announce(self, entry) })
      }
      expect((yield* there).length).toBe(2)
    })
  )
)

it.live("hundreds that dial and say nothing are let go after five seconds, and honest ones enter meanwhile", () =>
  listening((entry) =>
    Effect.gen(function* () {
      const stranger = yield* endpoint("stranger")
      const sessions = yield* Effect.forEach(Array.from({ length: 200 }), () =>
        stranger.transport.dial(entry.transport.address)
      )
      const peer = yield* endpoint("peer")
      const { control } = yield* dial(peer, entry)
      yield* control.Register({ announcement: yield* announce(peer, entry) })
      expect(yield* there).toEqual([peer.identity.id])
      const ends = yield* Effect.forEach(sessions, (session) => session.closed, { concurrency: "unbounded" })
      expect(new Set(ends.map(({ goodbye }) => goodbye?.code))).toEqual(new Set([Link.CloseCode.helloRefused]))
      expect(yield* Clock.currentTimeMillis).toBeLessThan(8_000)
    })
  )
)
