/**
 * The world of a simulated group: peers that live and die, an entry that asks for one group after another, and clients
 * whose answers go on in the next group where one ends. Scoped to its run, which `playing.ts` puts into virtual time.
 */
import type { GenerateEvent } from "@weft/engine/Generation"
import type { PipelineEngine } from "@weft/engine/pipeline/PipelineEngine"
import { Form, GroupEvent, type PeerPlace, Spares, type StagePlace } from "@weft/engine/pipeline/PipelineProtocol"
import * as Frames from "@weft/mesh/Frames"
import * as Link from "@weft/mesh/Link"
import { MemoryNetwork } from "@weft/mesh/MemoryNetwork"
import { Deferred, Duration, Effect, Exit, Option, Scope } from "effect"
import * as Arithmetic from "./arithmetic.ts"
import * as Hearing from "./hearing.ts"
import * as Scenarios from "./scenarios.ts"
import * as SimulatedPeers from "./simulatedPeers.ts"
import { seeded } from "./tailing.ts"
import * as Tampering from "./tampering.ts"

/** Represents what a client got. */
export interface Got extends Hearing.Heard {
  readonly asked: Scenarios.Asked
  /** How it ended: whole, by its own leaving, with a failure that no other group can mend, or not at all. */
  readonly outcome: "finished" | "left" | "failed" | "never ended"
}

/** Represents what the entry heard of a group, by the number of the peer where one is named. */
export interface Heard {
  readonly atMs: number
  /** The group's, who says it. */
  readonly host: number
  readonly tag: GroupEvent["_tag"]
  readonly peer: number | undefined
  readonly reason: string
  readonly stages: ReadonlyArray<number>
}

/** Represents what is left of a run when all is over; all of it counts what should be none. */
export interface Left {
  /** Peers that held a stage of a group twice while it served last. */
  readonly doubled: number
  readonly leases: number
  readonly groups: number
  readonly stages: number
  readonly children: number
  readonly answers: number
}

/** Represents a run. */
export interface Run {
  readonly scenario: Scenarios.Scenario
  readonly got: ReadonlyArray<Got>
  readonly heard: ReadonlyArray<Heard>
  readonly left: Left
  readonly endedMs: number
}

/** Returns the world of a scenario, in which nothing has begun. */
export const make = (scenario: Scenarios.Scenario) =>
  Effect.map(
    Effect.all({ network: MemoryNetwork, clock: Effect.clock, scope: Effect.scope }),
    ({ clock, network, scope }) => new World(scenario, network, scope, () => clock.unsafeCurrentTimeMillis())
  )

// internal

/** Longer than any answer with all its groups; what takes longer is stuck. */
const patience = Duration.minutes(10)
/** A peer that failed a group gets no part for so long; the entry's own rule begins with the same. */
const strikeMs = 10_000

const encodeForm = Frames.encode(Form)
const encodeSpares = Frames.encode(Spares)

interface Alive {
  readonly peer: SimulatedPeers.Peer
  readonly scope: Scope.CloseableScope
}

class World {
  readonly #unit: () => number
  readonly #alive = new Map<number, Alive>()
  readonly #struckUntilMs = new Map<number, number>()
  readonly #heard: Array<Heard> = []
  readonly #served = Effect.unsafeMakeLatch(false)
  #serving: PipelineEngine | undefined
  #entry: SimulatedPeers.Peer | undefined
  #groups = 0
  #isOver = false

  constructor(
    private readonly scenario: Scenarios.Scenario,
    private readonly network: MemoryNetwork["Type"],
    private readonly scope: Scope.Scope,
    private readonly now: () => number
  ) {
    this.#unit = seeded(scenario.seed + 7)
  }

  /** Starts the peers and the entry; `run` does where they are not. */
  readonly begin = Effect.gen(this, function* () {
    for (let number = 1; number <= this.scenario.peers; number++) yield* this.#revive(number)
    this.#entry = yield* SimulatedPeers.start(0, this.#natureOf(0), { serving: () => {}, ended: () => {} })
    return this.#entry
  })

  readonly run = Effect.gen(this, function* () {
    const { asked, mishaps } = this.scenario
    const entry = this.#entry ?? (yield* this.begin)
    const over = yield* Deferred.make<void>()
    const groups = yield* Effect.fork(this.#groupsOf(entry, over))
    const befalling = yield* Effect.fork(Effect.forEach(mishaps, (mishap) => this.#befall(mishap), { discard: true }))
    const got = yield* Effect.forEach(asked, (one) => this.#ask(one), { concurrency: "unbounded" })
    const endedMs = this.now()
    // What was cancelled is let go on the other side a way later.
    yield* Effect.sleep("300 millis")
    const load = yield* this.#serving?.load ?? Effect.succeed({ active: 0, queued: 0 })
    const doubled = this.#doubled()
    this.#isOver = true
    yield* Deferred.succeed(over, undefined)
    yield* Effect.all([groups.await, befalling.await])
    yield* Effect.sleep("500 millis")
    return {
      scenario: this.scenario,
      got,
      heard: this.#heard,
      left: { ...this.#left(), answers: load.active + load.queued, doubled },
      endedMs
    } satisfies Run
  })

  // Peers

  #natureOf(number: number): SimulatedPeers.PeerNature {
    const { bad, fileMs, pairRows, seed, speculates, times, trouble, turnDeadlineMs } = this.scenario
    const unit = seeded(seed * 31 + number)
    const isBad = bad.has(number)
    const tamper = isBad && trouble === "lies" ? Tampering.make(unit, 0.1) : undefined
    const refuses = (): boolean => isBad && trouble === "refusals" && unit() < 0.4
    return {
      child: () => ({ times, tamper, refuses: refuses() }),
      refusal: () => (refuses() ? "it was told to refuse" : undefined),
      isLiar: isBad && trouble === "refusals" && number % 2 === 0,
      fileMs,
      pairRows,
      speculates,
      turnDeadline: Duration.millis(turnDeadlineMs)
    }
  }

  #revive(number: number) {
    return Effect.gen(this, function* () {
      const scope = yield* Scope.fork(this.scope, { _tag: "Sequential" })
      const pipelines = {
        serving: (engine: PipelineEngine) => {
          this.#serving = engine
          this.#served.unsafeOpen()
        },
        ended: (engine: PipelineEngine) => {
          if (this.#serving !== engine) return
          this.#serving = undefined
          this.#served.unsafeClose()
        }
      }
      const peer = yield* Scope.extend(SimulatedPeers.start(number, this.#natureOf(number), pipelines), scope)
      this.#alive.set(number, { peer, scope })
    }).pipe(Effect.orDie)
  }

  /** A peer dies, and comes back after a while. */
  #vanish({ forMs, manner, peer }: Scenarios.Mishap) {
    return Effect.gen(this, function* () {
      const alive = this.#alive.get(peer)
      if (alive === undefined) return
      this.#alive.delete(peer)
      const others = Array.from({ length: this.scenario.peers + 1 }, (_, number) => number)
      const each = (what: (left: string, right: string) => Effect.Effect<void>) =>
        Effect.forEach(others, (other) => what(SimulatedPeers.nameOf(peer), SimulatedPeers.nameOf(other)))
      // The entry's link is the first that a peer which leaves ends, so that none of its groups speaks of others' ends.
      if (manner === "goodbye") yield* this.network.cutSessions(SimulatedPeers.nameOf(0), SimulatedPeers.nameOf(peer))
      if (manner === "cut") yield* each(this.network.cutSessions)
      if (manner === "silence") yield* each(this.network.partition)
      yield* Scope.close(alive.scope, Exit.void)
      yield* Effect.sleep(forMs)
      if (manner === "silence") yield* each(this.network.heal)
      yield* this.#revive(peer)
    })
  }

  #befall(mishap: Scenarios.Mishap) {
    const { forMs, kind, other, peer, waitMs } = mishap
    const names = [SimulatedPeers.nameOf(peer), SimulatedPeers.nameOf(other)] as const
    const children = () => this.#alive.get(peer)?.peer.children.alive() ?? []
    const happens = Effect.gen(this, function* () {
      switch (kind) {
        case "vanish":
          return yield* this.#vanish(mishap)
        case "kill":
          return children().at(0)?.kill()
        case "freeze":
          return children().at(0)?.freeze()
        case "cutSession":
          return yield* this.network.cutSessions(...names)
        case "partition":
          yield* this.network.partition(...names)
          yield* Effect.sleep(forMs)
          return yield* this.network.heal(...names)
      }
    })
    return Effect.zipRight(Effect.sleep(waitMs), happens)
  }

  // The entry

  /** One group after another until all is over; returns when the last is disbanded. */
  #groupsOf(entry: SimulatedPeers.Peer, over: Deferred.Deferred<void>) {
    return Effect.gen(this, function* () {
      while (!this.#isOver) {
        const able = this.#able([])
        if (able.length >= 2) yield* Effect.ignore(Effect.scoped(this.#groupOf(entry, able, over)))
        if (!this.#isOver) yield* Effect.sleep(500)
      }
    })
  }

  #groupOf(entry: SimulatedPeers.Peer, able: ReadonlyArray<number>, over: Deferred.Deferred<void>) {
    return Effect.gen(this, function* () {
      const form = this.#formOf(able)
      const [first] = form.stages
      if (first === undefined) return
      const link = yield* entry.links.get(first)
      const stream = yield* Link.open(link, "split")
      yield* stream.write(encodeForm(form))
      const frames = Frames.reader(stream)
      let stages: ReadonlyArray<StagePlace> = form.stages
      let offered = form.spares
      const hear = Effect.gen(this, function* () {
        while (true) {
          const event = yield* frames.read(GroupEvent)
          if (Option.isNone(event)) return
          this.#hear(this.#numberOf(first.peer) ?? 0, event.value)
          if (event.value._tag === "Serving") stages = event.value.stages
        }
      })
      const offer = Effect.gen(this, function* () {
        const spares = this.#able(stages.map(({ peer }) => peer)).map(SimulatedPeers.placeOf)
        if (spares.map(({ peer }) => peer).join() === offered.map(({ peer }) => peer).join()) return
        offered = spares
        const permits = SimulatedPeers.permitsOf(
          { group: form.group, host: first.peer, model: form.model },
          spares,
          this.now()
        )
        yield* stream.write(encodeSpares({ _tag: "Spares", spares, permits }))
      })
      const offering = Effect.forever(Effect.delay(offer, "1 second"))
      // Nothing is offered on a stream that has ended.
      const end = Effect.zipRight(Effect.raceFirst(offering, Deferred.await(over)), stream.end)
      yield* Effect.raceFirst(hear, Effect.zipRight(end, Effect.never))
    })
  }

  #formOf(able: ReadonlyArray<number>): Form {
    const { slots, stages } = this.scenario
    const below = (count: number): number => Math.floor(this.#unit() * count)
    const mixed = able.map((number) => [this.#unit(), number] as const).sort(([one], [other]) => one - other)
    const peers = mixed.map(([, number]) => SimulatedPeers.placeOf(number))
    const count = Math.min(this.#groups === 0 ? stages : 2 + below(stages - 1), peers.length)
    const cuts = new Set<number>()
    while (cuts.size < count - 1) cuts.add(1 + below(Arithmetic.layers - 1))
    const bounds = [0, ...[...cuts].sort((one, other) => one - other), Arithmetic.layers]
    const placed = peers.slice(0, count).map(
      (place: PeerPlace, index): StagePlace => ({
        ...place,
        from: bounds[index] ?? 0,
        to: bounds[index + 1] ?? 0
      })
    )
    const group = (++this.#groups).toString(16).padStart(32, "0")
    const model = SimulatedPeers.describe(slots)
    const [host, ...others] = peers
    const permits = host && SimulatedPeers.permitsOf({ group, host: host.peer, model }, others, this.now())
    const spares = peers.slice(count)
    return { _tag: "Form", group, model, layers: Arithmetic.layers, stages: placed, spares, permits: permits ?? [] }
  }

  #hear(host: number, event: GroupEvent): void {
    if (event._tag === "Forming") return
    const peer = event._tag === "Serving" ? undefined : this.#numberOf(event.peer)
    const stages = event._tag === "Serving" ? event.stages.map((place) => this.#numberOf(place.peer) ?? -1) : []
    const reason = event._tag === "Serving" ? "" : event.reason
    this.#heard.push({ atMs: this.now(), host, tag: event._tag, peer, reason, stages })
    if (peer !== undefined) this.#struckUntilMs.set(peer, this.now() + strikeMs)
  }

  #numberOf(peer: string | undefined): number | undefined {
    const numbers = Array.from({ length: this.scenario.peers }, (_, index) => index + 1)
    return numbers.find((number) => SimulatedPeers.placeOf(number).peer === peer)
  }

  /** Peers that may get a part. */
  #able(busy: ReadonlyArray<string>): ReadonlyArray<number> {
    return [...this.#alive.keys()]
      .filter((number) => (this.#struckUntilMs.get(number) ?? 0) <= this.now())
      .filter((number) => !busy.includes(SimulatedPeers.placeOf(number).peer))
      .sort((one, other) => one - other)
  }

  // Clients

  #ask(asked: Scenarios.Asked): Effect.Effect<Got> {
    return Effect.gen(this, function* () {
      yield* Effect.sleep(asked.afterMs)
      const hearing = new Hearing.Hearing(this.now)
      const leaves = asked.leavesMs === undefined ? patience : Duration.millis(asked.leavesMs)
      const ended = yield* Effect.timeoutOption(this.#attempts(asked, hearing), leaves)
      const outcome = Option.getOrElse(ended, () => (asked.leavesMs === undefined ? "never ended" : "left"))
      return { asked, outcome, ...hearing.got() } satisfies Got
    })
  }

  /** Asks one group after another, each with what came so far. */
  #attempts(asked: Scenarios.Asked, hearing: Hearing.Hearing) {
    return Effect.gen(this, function* () {
      while (true) {
        yield* this.#served.await
        const engine = this.#serving
        if (engine === undefined) continue
        const request = { ...Scenarios.requestOf(asked), ...hearing.resume() }
        const last = yield* Effect.async<GenerateEvent>((resume) => {
          hearing.begin()
          const cancel = engine.generate(request, (events) => {
            const last = hearing.take(events)
            if (last !== undefined) resume(Effect.succeed(last))
          })
          return Effect.sync(cancel)
        })
        if (last._tag === "Finished") return "finished" as const
        if (last._tag === "Failed" && !mended.has(last.failure.code)) return "failed" as const
        yield* Effect.sleep(100)
      }
    })
  }

  // The end

  #doubled(): number {
    const groups = [...this.#alive.values()].map(({ peer }) => peer.lender.status().map(({ group }) => group))
    return groups.filter((held) => new Set(held).size < held.length).length
  }

  #left(): Omit<Left, "answers" | "doubled"> {
    const all = [...this.#alive.values()].map(({ peer }) => peer)
    const sum = (of: (peer: SimulatedPeers.Peer) => number) => all.reduce((total, peer) => total + of(peer), 0)
    return {
      leases: sum(({ lender }) => lender.status().length),
      groups: sum(({ host }) => host.status().length),
      stages: sum(({ taken }) => taken()),
      children: sum(({ children }) => children.alive().length)
    }
  }
}

/** Failures with which another group may do better. */
const mended: ReadonlySet<string> = new Set(["engine_lost", "shutting_down", "overloaded"])
