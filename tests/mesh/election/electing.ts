/**
 * A mesh of two entries that both know every peer, on a virtual clock: what is said is late, lost or comes twice, and
 * peers die and come back. The same seed gives the same run. Used by the simulation of the election.
 */
import type { Order, SoloOffer, Standing } from "@weft/mesh/election/ElectionProtocol"
import * as ElectionState from "@weft/mesh/election/ElectionState"
import * as SoloLease from "@weft/mesh/election/SoloLease"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import * as PeerDirectory from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import { Either } from "effect"
import { peerId, peerInfo } from "../peers.ts"

const describe = (id: string): ModelDescription => {
  const [model] = peerInfo(peerId(1), [id]).models
  if (model === undefined) throw new Error("one model was asked for")
  return model
}

/** A peer, dead or alive. */
export class SimulatedPeer {
  readonly id: PeerId
  readonly offer: SoloOffer
  readonly needBytes: ReadonlyMap<string, number>
  /** Rises with each life; what was said to an earlier one is not heard. */
  life = 0
  isAlive = false
  lease = SoloLease.free
  refused: Standing["refused"] = null
  /** What takes memory, and whether it answers. */
  readonly loaded = new Map<string, boolean>()
  /** Times its workers were changed by an order. */
  changes = 0

  constructor(number: number, offer: SoloOffer) {
    this.id = peerId(number)
    this.offer = offer
    this.needBytes = new Map(offer.candidates.map(({ model, needBytes }) => [model.id, needBytes]))
  }

  get takenBytes(): number {
    let bytes = 0
    for (const model of this.loaded.keys()) bytes += this.needBytes.get(model) ?? 0
    return bytes
  }
}

/** An entry with its own view of who is there. */
export class SimulatedEntry {
  readonly id: PeerId
  directory = PeerDirectory.empty
  state = ElectionState.empty

  constructor(number: number) {
    this.id = peerId(number)
  }
}

/** What is checked after every step. */
export type Check = (world: World) => void

/** Time at which everything that disturbs has ended, in milliseconds. */
export const calmMs = 150_000
/** By then all that followed from it has happened too: leases ended, peers rested, models loaded. */
export const endMs = calmMs + 150_000

/** The mesh and its clock. */
export class World {
  readonly entries = [new SimulatedEntry(101), new SimulatedEntry(102)] as const
  readonly peers: ReadonlyArray<SimulatedPeer>
  now = 0
  readonly #events: Array<{ readonly atMs: number; readonly act: () => void }> = []
  #seed: number

  constructor(seed: number) {
    this.#seed = seed
    const models = ["a", "b", "c"].map((id) => ({ id, needBytes: this.#below(6) + 3 }))
    this.peers = Array.from({ length: 2 + this.#below(4) }, (_, index) => {
      const candidates = models.filter(() => this.#below(4) > 0)
      const offer = candidates.map(({ id, needBytes }) => ({ model: describe(id), needBytes }))
      return new SimulatedPeer(index + 1, { usableBytes: 6 + this.#below(6), candidates: offer })
    })
    for (const peer of this.peers) {
      this.#later(this.#below(3_000), () => this.#start(peer))
      const deaths = this.#below(3)
      for (let death = 0; death < deaths; death++) {
        this.#later(5_000 + this.#below(calmMs - 40_000), () => this.#kill(peer))
      }
    }
    for (const entry of this.entries) {
      this.#every(1_000, () => this.#look(entry))
      // Its actor crashes, and begins empty.
      if (this.#below(3) === 0) {
        this.#later(this.#below(calmMs), () => {
          entry.state = ElectionState.empty
        })
      }
    }
  }

  /** Runs to the end, with `check` after every step. */
  run(check: Check): void {
    for (;;) {
      const event = this.#events.pop()
      if (event === undefined || event.atMs > endMs) return
      this.now = event.atMs
      event.act()
      check(this)
    }
  }

  // Inside

  /** Returns a whole number from 0 up to, and without, `bound` (mulberry32). */
  #below(bound: number): number {
    this.#seed = (this.#seed + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#seed ^ (this.#seed >>> 15), 1 | this.#seed)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound
  }

  /** Keeps the soonest last; of those at one time, the one that was planned first. */
  #later(delayMs: number, act: () => void): void {
    const atMs = this.now + delayMs
    let [low, high] = [0, this.#events.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#events[middle]?.atMs ?? 0) > atMs) low = middle + 1
      else high = middle
    }
    this.#events.splice(low, 0, { atMs, act })
  }

  #every(everyMs: number, act: () => void): void {
    this.#later(everyMs, () => {
      act()
      this.#every(everyMs, act)
    })
  }

  /** Says something to who may have died since: late, and while there are disturbances lost or twice too. */
  #say(peer: SimulatedPeer, act: () => void): void {
    const { life } = peer
    const isDisturbed = this.now < calmMs
    const times = isDisturbed ? [0, 1, 1, 1, 1, 1, 2][this.#below(7)] : 1
    for (let time = 0; time < (times ?? 1); time++) {
      const delayMs = this.#below(isDisturbed && this.#below(8) === 0 ? 20_000 : 300)
      this.#later(delayMs, () => {
        if (peer.life === life && peer.isAlive) act()
      })
    }
  }

  #start(peer: SimulatedPeer): void {
    if (peer.isAlive) return
    peer.isAlive = true
    peer.life++
    peer.lease = SoloLease.free
    peer.refused = null
    for (const { model, needBytes } of peer.offer.candidates) {
      if (peer.takenBytes + needBytes <= peer.offer.usableBytes) peer.loaded.set(model.id, true)
    }
    this.#register(peer)
    const { life } = peer
    const ask = (): void => {
      if (peer.life !== life || !peer.isAlive) return
      for (const entry of this.entries) this.#ask(peer, entry)
      this.#later(1_000, ask)
    }
    ask()
  }

  #kill(peer: SimulatedPeer): void {
    if (!peer.isAlive) return
    peer.isAlive = false
    peer.loaded.clear()
    for (const entry of this.entries) {
      this.#later(this.#below(2_000), () => {
        entry.directory = PeerDirectory.leave(entry.directory, peer.id, 1)
        entry.state = ElectionState.look(entry.state, entry.directory, new Map(), this.now)
      })
    }
    if (this.#below(3) > 0) this.#later(3_000 + this.#below(20_000), () => this.#start(peer))
  }

  /** A registration is heard whole and in order, as it is on a link; it says what holds when it arrives. */
  #register(peer: SimulatedPeer): void {
    const { life } = peer
    for (const entry of this.entries) {
      this.#later(this.#below(300), () => {
        if (peer.life !== life || !peer.isAlive) return
        const ready = [...peer.loaded].flatMap(([model, isReady]) => (isReady ? [model] : []))
        const info = { ...peerInfo(peer.id, ready), solo: peer.offer }
        entry.directory = Either.getOrThrow(PeerDirectory.register(entry.directory, info, 1, this.now))
      })
    }
  }

  #look(entry: SimulatedEntry): void {
    entry.state = ElectionState.look(entry.state, entry.directory, new Map(), this.now)
  }

  #ask(peer: SimulatedPeer, entry: SimulatedEntry): void {
    const standing = SoloLease.standing(peer.lease, peer.refused, this.now)
    this.#say(peer, () => {
      const [order, state] = ElectionState.ask(entry.state, entry.id, peer.id, standing, this.now)
      entry.state = state
      if (order !== null) this.#say(peer, () => this.#receive(peer, entry, order))
    })
  }

  #receive(peer: SimulatedPeer, entry: SimulatedEntry, order: Order): void {
    const limits = { usableBytes: peer.offer.usableBytes, needBytes: peer.needBytes }
    const next = SoloLease.receive(peer.lease, entry.id, order, limits, this.now)
    peer.refused = Either.isLeft(next) ? { entry: entry.id, epoch: order.epoch, reason: next.left } : null
    if (Either.isLeft(next)) return
    peer.lease = next.right
    const wanted = SoloLease.workersOf(order.assignments)
    const leaving = [...peer.loaded.keys()].filter((model) => !wanted.has(model))
    const coming = [...wanted].filter((model) => !peer.loaded.has(model))
    if (leaving.length + coming.length === 0) return
    peer.changes++
    for (const model of leaving) peer.loaded.delete(model)
    for (const model of coming) {
      const { life } = peer
      peer.loaded.set(model, false)
      this.#later(500 + this.#below(5_000), () => {
        if (peer.life !== life || !peer.loaded.has(model)) return
        peer.loaded.set(model, true)
        this.#register(peer)
      })
    }
    this.#register(peer)
  }
}
