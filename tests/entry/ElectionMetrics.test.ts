/** What a scrape says of the elections: decisions, moves and refusals once each, roles and leases as they are. */
import { expect } from "bun:test"
import { Demand } from "@weft/entry/election/Demand"
import { Elections } from "@weft/entry/election/Elections"
import type { Standing } from "@weft/mesh/election/ElectionProtocol"
import { Identity } from "@weft/mesh/Identity"
import { PeerDirectoryActor } from "@weft/mesh/PeerDirectoryActor"
import { Effect, Layer, TestClock } from "effect"
import { register } from "prom-client"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"

const layer = Elections.layer.pipe(
  Layer.provideMerge(Layer.mergeAll(Demand.layer, PeerDirectoryActor.layer(), Identity.layerEphemeral))
)

/** Registers the peer that serves these models of `a` and `b`, of which it has room for one. */
const registers = (number: number, ...serving: ReadonlyArray<string>) =>
  Effect.flatMap(PeerDirectoryActor, ({ ref }) => {
    const candidates = peerInfo(peerId(number), ["a", "b"]).models.map((model) => ({ model, needBytes: 6 }))
    const info = { ...peerInfo(peerId(number), serving), solo: { usableBytes: 10, candidates } }
    return ref.Register({ info, link: number })
  })

/** The value of a series as it is scraped. */
const scraped = (series: string) =>
  Effect.map(
    Effect.promise(() => register.metrics()),
    (text) =>
      Number(
        text
          .split("\n")
          .find((line) => line.startsWith(`${series} `))
          ?.slice(series.length)
      )
  )

const roles = Effect.all(["worker", "standby", "dropped"].map((role) => scraped(`weft_election_roles{role="${role}"}`)))
const leases = Effect.all(
  ["here", "elsewhere", "none"].map((lease) => scraped(`weft_election_peers{lease="${lease}"}`))
)
const counts = Effect.all([scraped("weft_elections_total"), scraped("weft_election_moves_total")])

const nothing: Standing = { lease: null, highestEpoch: 0, refused: null }

/** One ask of the first peer. */
const asks = (standing: Partial<Standing>) =>
  Effect.flatMap(Elections, ({ ask }) => ask(peerId(1), { ...nothing, ...standing }))

it.effect("a first decision, a change of worker, and a lease are counted once each, and gauges follow them", () =>
  Effect.gen(function* () {
    const before = yield* counts
    const more = Effect.map(counts, (now) => now.map((value, index) => value - (before[index] ?? 0)))
    yield* registers(1, "a")
    yield* TestClock.adjust("1 second")
    expect([yield* roles, yield* leases, yield* more]).toEqual([
      [1, 1, 0],
      [0, 0, 1],
      [1, 0]
    ])
    const order = yield* asks({})
    const { id } = yield* Identity
    const lease = { entry: id, epoch: order?.epoch ?? 0, issuedAtMs: order?.issuedAtMs ?? 0, leftMs: 15_000 }
    yield* asks({ lease, highestEpoch: lease.epoch })
    expect(yield* leases).toEqual([1, 0, 0])
    yield* TestClock.adjust("1 second")
    expect(yield* more).toEqual([1, 0])
    // Somebody else serves the one model, so this peer has the other.
    const { ref } = yield* PeerDirectoryActor
    const other = peerInfo(peerId(2), ["a"])
    yield* ref.Register({ info: other, link: 2 })
    yield* ref.Heartbeat({
      peer: other.id,
      link: 2,
      load: { state: "ready", models: [{ id: "a", ready: true, active: 0, queued: 0 }] }
    })
    yield* TestClock.adjust("1 second")
    expect([yield* roles, yield* more]).toEqual([
      [1, 1, 0],
      [2, 1]
    ])
    yield* asks({ lease: { ...lease, entry: peerId(9) }, highestEpoch: lease.epoch })
    expect(yield* leases).toEqual([0, 1, 0])
    yield* ref.Leave({ peer: peerId(1), link: 1 })
    yield* TestClock.adjust("1 second")
    expect([yield* roles, yield* leases]).toEqual([
      [0, 0, 0],
      [0, 0, 0]
    ])
  }).pipe(Effect.provide(layer))
)

it.effect("a refusal counts once however often the peer says it, and not at all where it is of another entry", () =>
  Effect.gen(function* () {
    const of = (reason: string) => scraped(`weft_election_refusals_total{reason="${reason}"}`)
    const [memory, leased] = [yield* of("Memory"), yield* of("LeasedElsewhere")]
    yield* registers(1, "a")
    yield* TestClock.adjust("1 second")
    const { id } = yield* Identity
    const { epoch = 0 } = (yield* asks({})) ?? {}
    for (const entry of [id, id, peerId(9)]) yield* asks({ refused: { entry, epoch, reason: "LeasedElsewhere" } })
    expect((yield* of("LeasedElsewhere")) - leased).toBe(1)
    // An order that was never given is no refusal.
    yield* asks({ refused: { entry: id, epoch: epoch + 1_000, reason: "Memory" } })
    expect((yield* of("Memory")) - memory).toBe(0)
    yield* asks({ refused: { entry: id, epoch, reason: "Memory" } })
    yield* asks({ refused: { entry: id, epoch, reason: "Memory" } })
    expect((yield* of("Memory")) - memory).toBe(1)
  }).pipe(Effect.provide(layer))
)
