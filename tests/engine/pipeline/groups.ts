/** A world of unreliable peers for the decisions of a group's host, with the rules that must hold at every moment. */
import { expect } from "bun:test"
import type { GroupAction, GroupHappening, GroupState, GroupStep, Wiring } from "@weft/engine/pipeline/GroupState"
import * as GroupTurn from "@weft/engine/pipeline/GroupTurn"
import type { Form, PeerPlace, StagePlace } from "@weft/engine/pipeline/PipelineProtocol"
import * as Seeded from "@weft/infra/bench/Seeded"
import { peerId } from "../../mesh/peers.ts"

/** Returns where a peer is reached. */
export const placeOf = (number: number): PeerPlace => ({
  peer: peerId(number),
  address: `quic://10.0.0.${number}:4433`
})

/** Returns the wish for these cuts of `layers`, the peers numbered from 1 on, and as many spares. */
export const form = (layers: number, cuts: ReadonlyArray<number>, spares: number): Form => {
  const edges = [0, ...cuts, layers]
  const stages = edges.slice(1).map((to, index): StagePlace => ({ ...placeOf(index + 1), from: edges[index] ?? 0, to }))
  return {
    _tag: "Form",
    group: "0".repeat(32),
    model: {
      id: "model",
      sha256: "0".repeat(64),
      sizeBytes: 1,
      architecture: "llama",
      quantization: "F16",
      contextTokens: 512,
      slots: 4
    },
    layers,
    stages,
    spares: Array.from({ length: spares }, (_, index) => placeOf(100 + index)),
    permits: []
  }
}

interface Lease {
  readonly place: StagePlace
  wiring: Wiring
  isLoaded: boolean
  /** Says nothing any more and does not end. */
  isStuck: boolean
}

/** How often, of 100 times, each kind of trouble comes. */
export interface Trouble {
  readonly refused: number
  readonly lost: number
  readonly stuck: number
  readonly twice: number
  readonly crooked: number
}

/** Runs groups of one seed to their end. */
export class World {
  state: GroupState
  readonly connected: Array<number> = []
  readonly told: Array<string> = []
  readonly #chance: Seeded.Seeded
  readonly #trouble: Trouble
  readonly #leases = new Map<number, Lease>()
  readonly #readyIn = new Map<number, Set<number>>()
  readonly #coming: Array<{ readonly atMs: number; readonly happening: GroupHappening }> = []
  #nowMs = 1_000_000
  #isConnected = false

  constructor(seed: number, wish: Form, trouble: Trouble) {
    this.#chance = Seeded.make(seed)
    this.#trouble = trouble
    const [state, actions] = GroupTurn.begin(wish, this.#nowMs)
    this.state = state
    this.#follow([state, actions])
  }

  /** Lets `ms` pass, with trouble for the first part of them. */
  run(ms: number, troubleMs: number): void {
    const endMs = this.#nowMs + ms
    const calmMs = this.#nowMs + troubleMs
    for (let lookMs = this.#nowMs; lookMs < endMs && this.state.phase !== "disbanded"; lookMs += 5_000) {
      if (lookMs < calmMs) this.#makeTrouble()
      this.#deliver(lookMs)
      this.#nowMs = lookMs
      this.#take({ _tag: "Looked" })
    }
  }

  /** Says one thing to the group. */
  take(happening: GroupHappening): void {
    this.#take(happening)
  }

  leases(): ReadonlyArray<number> {
    return [...this.#leases.keys()]
  }

  #often(percent: number): boolean {
    return this.#chance.unit() * 100 < percent
  }

  #makeTrouble(): void {
    const [any, ...others] = this.#leases.keys()
    if (any === undefined || !this.#often(5)) return
    const lease = this.#chance.pick([any, ...others])
    const { epoch } = this.state
    const peer = this.#chance.pick([peerId(1), peerId(2), peerId(3), peerId(100), peerId(77)])
    this.#soon(
      this.#chance.pick<GroupHappening>([
        { _tag: "Lost", lease: Math.max(1, lease), reason: "died" },
        { _tag: "Parted", lease, epoch: epoch - this.#chance.below(2), peer, reason: "no way" },
        { _tag: "Faulted", epoch, kind: this.#chance.pick(["tail", "refusal", "silence"]), peer, reason: "halted" },
        { _tag: "Offered", spares: [peerId(200), peerId(201), peer].map((peer) => ({ peer, address: "there:1" })) }
      ])
    )
  }

  #soon(happening: GroupHappening, withinMs = 3_000): void {
    const times = this.#often(this.#trouble.twice) ? 2 : 1
    for (let time = 0; time < times; time++)
      this.#coming.push({ atMs: this.#nowMs + this.#chance.below(withinMs * (time * 9 + 1)), happening })
  }

  #deliver(untilMs: number): void {
    while (true) {
      this.#coming.sort((one, other) => one.atMs - other.atMs)
      const [next] = this.#coming
      if (next === undefined || next.atMs > untilMs) return
      this.#coming.shift()
      this.#nowMs = Math.max(this.#nowMs, next.atMs)
      this.#hear(next.happening)
    }
  }

  #hear(happening: GroupHappening): void {
    if (happening._tag === "Loading" && happening.fraction === 1) return void this.#loaded(happening.lease)
    if (happening._tag === "Ready")
      this.#readyIn.set(happening.lease, (this.#readyIn.get(happening.lease) ?? new Set()).add(happening.epoch))
    this.#take(happening)
  }

  /** A stage is ready in the epoch that it knows of by now. */
  #loaded(lease: number): void {
    const one = this.#leases.get(lease)
    if (one === undefined || one.isLoaded || one.isStuck) return
    one.isLoaded = true
    this.#sayReady(lease, one)
  }

  #sayReady(lease: number, { wiring: { epoch } }: Lease): void {
    const isCrooked = this.#often(this.#trouble.crooked)
    this.#soon({ _tag: "Ready", lease, epoch, width: isCrooked ? 7 : 256 })
    if (this.#often(this.#trouble.crooked)) this.#soon({ _tag: "Ready", lease, epoch: epoch + 1, width: 256 })
  }

  #take(happening: GroupHappening): void {
    this.#follow(GroupTurn.step(this.state, happening, this.#nowMs))
  }

  #follow([state, actions]: GroupStep): void {
    const wasDisbanded = this.told.at(-1) === "Disbanded"
    if (wasDisbanded) expect(actions).toEqual([])
    this.state = state
    for (const action of actions) this.#act(action)
    this.#check()
  }

  #act(action: GroupAction): void {
    switch (action._tag) {
      case "Reserve": {
        expect(this.#leases.has(action.lease)).toBe(false)
        const isStuck = action.lease > 0 && this.#often(this.#trouble.stuck)
        this.#leases.set(action.lease, { place: action.place, wiring: action.wiring, isLoaded: false, isStuck })
        return void this.#load(action.lease)
      }
      case "Rewire": {
        const lease = this.#leases.get(action.lease)
        if (lease === undefined) throw new Error(`lease ${action.lease} is rewired and not reserved`)
        expect(action.wiring.epoch).toBeGreaterThan(lease.wiring.epoch)
        lease.wiring = action.wiring
        if (lease.isLoaded && !lease.isStuck) this.#sayReady(action.lease, lease)
        return
      }
      case "Release":
        expect(this.#leases.delete(action.lease)).toBe(true)
        return
      case "Connect":
        return void this.#connect(action.epoch)
      case "Disconnect":
        expect(this.#isConnected).toBe(true)
        this.#isConnected = false
        return
      case "Tell":
        this.told.push(action.event._tag)
        return
    }
  }

  #load(lease: number): void {
    const atMs = this.#chance.below(90_000)
    if (lease > 0 && this.#often(this.#trouble.refused))
      return void this.#soon({ _tag: "Refused", lease, reason: "full" })
    if (lease > 0 && this.#often(this.#trouble.lost))
      return void this.#soon({ _tag: "Lost", lease, reason: "gone" }, atMs)
    for (const fraction of [0.2, 0.5, 0.5, 1])
      this.#coming.push({ atMs: this.#nowMs + atMs * fraction, happening: { _tag: "Loading", lease, fraction } })
  }

  #connect(epoch: number): void {
    expect(this.#isConnected).toBe(false)
    expect(epoch).toBeGreaterThan(this.connected.at(-1) ?? 0)
    this.#isConnected = true
    this.connected.push(epoch)
    // Every stage of the state is one that is reserved, knows this epoch and its neighbours, and said that it is ready.
    const { members } = this.state
    for (const [index, { lease, place }] of members.entries()) {
      expect(this.#readyIn.get(lease)?.has(epoch)).toBe(true)
      const known = this.#leases.get(lease)
      expect(known?.place).toEqual(place)
      expect(known?.wiring).toEqual({
        epoch,
        previous: members[index - 1]?.place.peer ?? null,
        next: nextOf(members[index + 1]?.place)
      })
    }
    expect(members.map(({ place }) => place.from)).toEqual([0, ...members.slice(0, -1).map(({ place }) => place.to)])
  }

  #check(): void {
    const { hot, members, phase } = this.state
    const held = [...members, ...(hot === undefined ? [] : [hot])].map(({ lease }) => lease)
    expect([...this.#leases.keys()].toSorted((one, other) => one - other)).toEqual(
      held.toSorted((one, other) => one - other)
    )
    expect(this.#isConnected).toBe(phase === "serving")
    if (phase === "disbanded") expect(held).toEqual([])
    const peers = [...this.#leases.values()].map(({ place }) => place.peer)
    expect(new Set(peers).size).toBe(peers.length)
  }
}

const nextOf = (place: StagePlace | undefined): PeerPlace | null =>
  place === undefined ? null : { peer: place.peer, address: place.address }
