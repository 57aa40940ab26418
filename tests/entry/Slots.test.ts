/** Who gets a free slot and when, over a directory and links in memory: turns, interruptions, peers on and off. */
import { expect } from "bun:test"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import { modelsMax } from "@weft/mesh/PeerInfo"
import { Effect, FastCheck, Fiber, type Scope, TestClock } from "effect"
import { register as metrics } from "prom-client"
import { counted } from "../mesh/links.ts"
import { peerId, peerInfo } from "../mesh/peers.ts"
import { it } from "../support/effect.ts"
import { type Entry, entry, model, nameOf, outcomes, settled, type Wanted } from "./slotting.ts"

/** Answers so fast that nobody who comes later is refused for the time it would wait. */
const quick = (want: Entry["want"]) => Effect.flatMap(Effect.zipLeft(want(), settled), ({ leave }) => leave)

/** How many series of a metric are of this model. */
const seriesOf = (metric: string, model: string) =>
  Effect.promise(async () => {
    const { values = [] } = (await metrics.getSingleMetric(metric)?.get()) ?? {}
    return values.filter(({ labels }) => labels["model"] === model).length
  })

it.effect("a free slot is taken at once, and the next one waits until it is given back", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const [first, second] = [yield* want(), yield* want()]
      expect(yield* outcomes([first, second])).toEqual(["at 1", "waits"])
      expect(yield* counted("weft_requests_queued", { model })).toBe(1)
      yield* first.leave
      expect(yield* outcomes([second])).toEqual(["at 1"])
      expect(inFlight()).toEqual([1])
      yield* second.leave
      expect(inFlight()).toEqual([0])
      expect(yield* counted("weft_requests_queued", { model })).toBe(0)
    })
  )
)

it.effect("callers take turns", () =>
  entry(({ come, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      yield* quick(want)
      let holder = yield* want("greedy")
      const [g1, g2, m1] = [yield* want("greedy"), yield* want("greedy"), yield* want("modest")]
      yield* settled
      const order: Array<Wanted> = []
      for (let turn = 0; turn < 3; turn++) {
        yield* holder.leave
        yield* settled
        const next = [g1, g2, m1].find((wanted) => !order.includes(wanted) && nameOf(wanted) === "at 1")
        if (next === undefined) throw new Error("nobody's turn")
        order.push(next)
        holder = next
      }
      expect(order.map((wanted) => [g1, g2, m1].indexOf(wanted))).toEqual([0, 2, 1])
    })
  )
)

it.effect("who leaves while it waits is passed over", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      yield* quick(want)
      const all = [yield* want(), yield* want(), yield* want(), yield* want()] as const
      yield* settled
      yield* all[1].leave
      yield* all[0].leave
      expect(inFlight()).toEqual([1])
      yield* all[2].leave
      expect(yield* outcomes(all)).toEqual(["at 1", "left", "at 1", "at 1"])
      expect(inFlight()).toEqual([1])
      yield* all[3].leave
      expect(inFlight()).toEqual([0])
    })
  )
)

it.effect("who would wait for too long is refused, and told when by the time that answers held their slots", () =>
  entry(({ come, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const measured = yield* want()
      yield* settled
      yield* TestClock.adjust("2 seconds")
      yield* measured.leave
      // One holds the slot and five wait, for up to 10 s.
      const all = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => want())
      expect(yield* outcomes(all)).toEqual(["at 1", "waits", "waits", "waits", "waits", "waits"])
      const refused = yield* want("b")
      // Six answers of 2 s before it, less the half of the bound.
      expect(refused.refusal()).toMatchObject({ reason: "Overloaded", retryAfterSeconds: 7 })
    })
  )
)

it.effect("an answer that has begun does not wait behind the queue, and counts where it goes", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const all = [yield* want(), yield* want(), yield* want("a", { hasBegun: true })] as const
      expect(yield* outcomes(all)).toEqual(["at 1", "waits", "at 1"])
      expect(inFlight()).toEqual([2])
      // The slot is taken as long as one of them is there.
      yield* all[0].leave
      expect(yield* outcomes(all)).toEqual(["at 1", "waits", "at 1"])
      yield* all[2].leave
      expect(yield* outcomes(all)).toEqual(["at 1", "at 1", "at 1"])
      expect(inFlight()).toEqual([1])
    })
  )
)

it.effect("a peer that comes later serves those who wait", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const all = yield* Effect.forEach([1, 2, 3], () => want())
      expect(yield* outcomes(all)).toEqual(["at 1", "waits", "waits"])
      yield* come(2, 2)
      expect(yield* outcomes(all)).toEqual(["at 1", "at 2", "at 2"])
      expect(inFlight()).toEqual([1, 2])
    })
  )
)

it.effect("when the last peer is lost, those who wait are told that there is none", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      const gone = yield* come(1)
      const [holder, ...waiting] = [yield* want(), yield* want(), yield* want()]
      yield* settled
      yield* gone
      yield* settled
      expect(waiting.map(({ refusal }) => refusal())).toMatchObject(
        Array(2).fill({ reason: "NoPeer", retryAfterSeconds: 5 })
      )
      expect(yield* counted("weft_requests_queued", { model })).toBe(0)
      yield* holder.leave
      expect(inFlight()).toEqual([])
    })
  )
)

it.effect("a seat counts on the link it was taken on, not on the one that replaced it", () =>
  entry(({ come, inFlight, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      const old = yield* want()
      yield* settled
      yield* come(1)
      expect(inFlight()).toEqual([0])
      const fresh = yield* want()
      expect(yield* outcomes([fresh])).toEqual(["at 1"])
      expect(inFlight()).toEqual([1])
      yield* old.leave
      expect(inFlight()).toEqual([1])
      yield* fresh.leave
      expect(inFlight()).toEqual([0])
    })
  )
)

it.effect("one that waits for a peer which did not fail it does not hold up those who may go anywhere", () =>
  entry(({ come, want }) =>
    Effect.gen(function* () {
      yield* come(1)
      yield* come(2)
      const holders = [yield* want(), yield* want()] as const
      const held = yield* outcomes(holders)
      const choosy = yield* want("a", { excluded: new Set([peerId(1)]) })
      const other = yield* want("b")
      expect(yield* outcomes([choosy, other])).toEqual(["waits", "waits"])
      yield* holders[held.indexOf("at 1")]?.leave ?? Effect.void
      expect(yield* outcomes([choosy, other])).toEqual(["waits", "at 1"])
      yield* other.leave
      const newcomer = yield* want("b")
      expect(yield* outcomes([choosy, newcomer])).toEqual(["waits", "at 1"])
      yield* holders[held.indexOf("at 2")]?.leave ?? Effect.void
      expect(yield* outcomes([choosy])).toEqual(["at 2"])
    })
  )
)

it.effect("the line of a model that the directory has forgotten is forgotten too", () =>
  entry(({ come, register, slots, want }) =>
    Effect.gen(function* () {
      const gone = yield* come(1)
      const holder = yield* want()
      const waiting = yield* want()
      yield* settled
      yield* gone
      yield* holder.leave
      yield* waiting.leave
      expect(yield* seriesOf("weft_requests_queued", model)).toBe(1)
      // Models are remembered by the thousand, the oldest go first.
      const ids = Array.from({ length: PeerDirectory.knownModelsMax / modelsMax }, (_, nth) =>
        Array.from({ length: modelsMax }, (_, index) => `other-${nth}-${index}`)
      )
      yield* Effect.forEach(ids, (ids, nth) => register(peerInfo(peerId(100 + nth), ids), 1_000 + nth))
      yield* slots.serveQueues
      expect(yield* seriesOf("weft_requests_queued", model)).toBe(0)
    })
  )
)

const peers = [1, 2, 3] as const
const slotsOf = (peer: number) => 1 + (peer % 2)
const step = FastCheck.oneof(
  {
    weight: 4,
    arbitrary: FastCheck.record({
      kind: FastCheck.constant("want" as const),
      caller: FastCheck.constantFrom("a", "b", "c"),
      excluded: FastCheck.oneof(
        { weight: 3, arbitrary: FastCheck.constant([]) },
        { weight: 1, arbitrary: FastCheck.subarray([...peers], { maxLength: 2 }) }
      ),
      hasBegun: FastCheck.integer({ min: 0, max: 5 }).map((drawn) => drawn === 0)
    })
  },
  { weight: 3, arbitrary: FastCheck.record({ kind: FastCheck.constant("leave" as const), nth: FastCheck.nat(20) }) },
  {
    weight: 1,
    arbitrary: FastCheck.record({ kind: FastCheck.constant("come" as const), peer: FastCheck.constantFrom(...peers) })
  },
  {
    weight: 1,
    arbitrary: FastCheck.record({ kind: FastCheck.constant("go" as const), peer: FastCheck.constantFrom(...peers) })
  },
  { weight: 2, arbitrary: FastCheck.record({ kind: FastCheck.constant("pause" as const), turns: FastCheck.nat(12) }) }
)

/** What holds whenever everything that can run has run. */
const judge = Effect.fnUntraced(function* ({ links, newest, unsafeSnapshot }: Entry, wanted: ReadonlySet<Wanted>) {
  yield* settled
  const directory = unsafeSnapshot()
  for (const { outcome, request } of wanted) {
    if (outcome() !== "waits") continue
    const there = PeerDirectory.serving(directory, model).flatMap(({ info }) => {
      const held = links.attachments().get(info.id)
      return held === undefined || request.excluded.has(info.id) ? [] : [{ info, held }]
    })
    expect(there.length).toBeGreaterThan(0)
    for (const { held, info } of there) expect(held.inFlight).toBeGreaterThanOrEqual(info.models[0]?.slots ?? 0)
  }
  for (const [peer, { inFlight }] of links.attachments()) {
    const holders = [...wanted].filter(({ outcome }) => outcome() === newest.get(peer))
    expect(holders.length).toBe(inFlight)
    const unbegun = holders.filter(({ request }) => !request.hasBegun).length
    expect(unbegun).toBeLessThanOrEqual(slotsOf(peers.find((number) => peerId(number) === peer) ?? 0))
  }
})

it.prop(
  "whatever comes, goes, waits and leaves: no slot is given twice or lost, and nobody waits while one is free",
  FastCheck.record({
    steps: FastCheck.array(step, { minLength: 10, maxLength: 80 }),
    /** Fibers give way after this many operations, so that others come between any two; fewer than 10 get nowhere. */
    operations: FastCheck.constantFrom(10, 11, 13, 17, 2_048)
  }),
  ({ operations, steps }) =>
    entry((entry) =>
      Effect.gen(function* () {
        const going = new Map<number, Effect.Effect<unknown, unknown>>()
        const wanted = new Set<Wanted>()
        const underWay: Array<Fiber.Fiber<unknown, unknown>> = []
        const begin = (effect: Effect.Effect<unknown, unknown, Scope.Scope>) =>
          Effect.map(Effect.forkScoped(effect), (fiber) => underWay.push(fiber))
        const rest = Effect.suspend(() => Effect.zipRight(Fiber.joinAll(underWay.splice(0)), judge(entry, wanted)))
        yield* Effect.forEach(peers.slice(0, 2), (peer) =>
          Effect.map(entry.come(peer, slotsOf(peer)), (go) => going.set(peer, go))
        )
        for (const next of steps) {
          if (next.kind === "want") {
            const { caller, excluded, hasBegun } = next
            wanted.add(yield* entry.want(caller, { excluded: new Set(excluded.map(peerId)), hasBegun }))
          } else if (next.kind === "leave") {
            const leaver = [...wanted][next.nth % Math.max(1, wanted.size)]
            if (leaver !== undefined && wanted.delete(leaver)) yield* begin(leaver.leave)
          } else if (next.kind === "pause") {
            yield* Effect.repeatN(Effect.yieldNow(), next.turns)
            if (next.turns > 10) yield* rest
          } else {
            const go = going.get(next.peer)
            if (go === undefined && next.kind === "come") {
              going.set(next.peer, yield* entry.come(next.peer, slotsOf(next.peer)))
            } else if (go !== undefined && next.kind === "go" && going.delete(next.peer)) yield* begin(go)
          }
        }
        yield* rest
        for (const { leave } of wanted) yield* begin(leave)
        wanted.clear()
        yield* rest
        expect(entry.inFlight()).toEqual(entry.inFlight().map(() => 0))
        expect(yield* counted("weft_requests_queued", { model })).toBe(0)
      }).pipe(Effect.withMaxOpsBeforeYield(operations))
    ),
  { runs: 400, timeoutMs: 60_000 }
)
