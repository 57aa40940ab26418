/**
 * Decides which peer serves which of its models alone, as a pure function of a snapshot: every model has a worker where
 * somebody can be one, then as many as its demand asks for; others are kept as standbys. Nothing is taken from a peer
 * for its own sake, and no model loses a worker before another one is ready. Owned by `ElectionState.ts`.
 */
import type { PeerId } from "../PeerId.ts"
import type { Assignment } from "./ElectionProtocol.ts"

/** Represents a model that a peer could serve. */
export interface Candidate {
  readonly model: string
  readonly sha256: string
  readonly needBytes: number
}

/** Represents a peer whose models are elected among. */
export interface Elective {
  readonly id: PeerId
  readonly usableBytes: number
  readonly candidates: ReadonlyArray<Candidate>
  /** What it serves as its last order says, or, before any, by itself. */
  readonly workers: ReadonlySet<string>
  /** Those of them that answer now. */
  readonly ready: ReadonlySet<string>
  /** It was changed long enough ago to be changed for demand alone. */
  readonly isRested: boolean
}

/** Represents how much a model is wanted. */
export interface Demand {
  /** Smoothed count of the requests of the last minutes. */
  readonly requests: number
  /** Answers that run or wait now. */
  readonly busy: number
}

/** Represents what a decision is made of. */
export interface Snapshot {
  readonly peers: ReadonlyArray<Elective>
  /** Peers that serve a model and are not to be ordered, by model. */
  readonly fixed: ReadonlyMap<string, number>
  /** File that goes by a model's name; where a model is absent, the file of the first peer that offers it. */
  readonly files: ReadonlyMap<string, string>
  readonly demand: ReadonlyMap<string, Demand>
  /** Answers that one worker gives at once, by model. */
  readonly slots: ReadonlyMap<string, number>
}

/** Peers that keep a model ready beside its workers: with one more than one loss of a worker is healed as quickly. */
export const standbysMax = 2
/** A model takes the place of others where it is wanted more than this many times as much: less is noise. */
export const wantedFactor = 2

/** Returns the roles of every peer for each of its candidates, in their order. */
export const assign = (snapshot: Snapshot): ReadonlyMap<PeerId, ReadonlyArray<Assignment>> => {
  const plan = new Plan(snapshot)
  const models = plan.byDemand()
  for (const model of models) if (plan.workersOf(model) === 0) plan.cover(model)
  for (const model of models) while (plan.workersOf(model) < plan.targetOf(model) && plan.add(model));
  return plan.roles()
}

/** Returns how many workers a model should have: one, or as many as its running and waiting answers fill. */
export const target = (demand: Demand | undefined, slots: number): number =>
  Math.max(1, Math.ceil((demand?.busy ?? 0) / Math.max(1, slots)))

// internal

/** The workers as they will be, and why each became or stays what it is. */
class Plan {
  readonly #snapshot: Snapshot
  readonly #workers: Map<PeerId, Set<string>>
  /** Candidates that are the file which goes by their name, by peer. */
  readonly #offers: ReadonlyMap<PeerId, ReadonlyMap<string, Candidate>>
  readonly #why = new Map<string, string>()

  constructor(snapshot: Snapshot) {
    this.#snapshot = snapshot
    this.#offers = offersOf(snapshot)
    this.#workers = new Map(
      snapshot.peers.map(({ id, usableBytes, workers }) => {
        const offered = this.#offers.get(id)
        let freeBytes = usableBytes
        const kept = [...workers].filter((model) => {
          const need = offered?.get(model)?.needBytes ?? Number.POSITIVE_INFINITY
          const fits = need <= freeBytes
          if (fits) freeBytes -= need
          return fits
        })
        return [id, new Set(kept)]
      })
    )
  }

  /** The elective models, the most wanted first. */
  byDemand(): ReadonlyArray<string> {
    const models = new Set([...this.#offers.values()].flatMap((offered) => [...offered.keys()]))
    return [...models].sort((a, b) => this.#requests(b) - this.#requests(a) || (a < b ? -1 : 1))
  }

  workersOf(model: string): number {
    const elected = [...this.#workers.values()].filter((workers) => workers.has(model)).length
    return elected + (this.#snapshot.fixed.get(model) ?? 0)
  }

  targetOf(model: string): number {
    return target(this.#snapshot.demand.get(model), this.#snapshot.slots.get(model) ?? 1)
  }

  /** Finds a worker for a model that has none; others move aside first where they must. */
  cover(model: string): void {
    const isAnswered = (peer: Elective) => (other: string) => this.#isReadyBeside(other, peer.id)
    if (this.#intoFreeRoom(model, "nobody else serves it")) return
    if (this.#inPlaceOf(model, isAnswered, "nobody else serves it")) return
    if (this.#makeWay(model, new Set())) return
    const isLessWanted = (peer: Elective) => (other: string) =>
      peer.isRested && this.#requests(other) * wantedFactor < this.#requests(model)
    this.#inPlaceOf(model, isLessWanted, "it is wanted more than what was served in its place")
  }

  /** Adds a worker to a model that is wanted more than its workers can answer; false where there is no room. */
  add(model: string): boolean {
    const why = "its workers are full"
    const isSurplus = (peer: Elective) => (other: string) =>
      peer.isRested && this.workersOf(other) > this.targetOf(other) && this.#isReadyBeside(other, peer.id)
    return this.#intoFreeRoom(model, why) || this.#inPlaceOf(model, isSurplus, why)
  }

  roles(): ReadonlyMap<PeerId, ReadonlyArray<Assignment>> {
    const standbys = new Map<string, number>()
    return new Map(
      this.#snapshot.peers.map((peer) => [
        peer.id,
        peer.candidates.map(({ model }): Assignment => {
          if (this.#workers.get(peer.id)?.has(model) === true) {
            return { model, role: "worker", why: `serves it: ${this.#why.get(keyOf(peer.id, model)) ?? "as before"}` }
          }
          const dropped = this.#refusal(peer, model, standbys.get(model) ?? 0)
          if (dropped !== undefined) return { model, role: "dropped", why: dropped }
          standbys.set(model, (standbys.get(model) ?? 0) + 1)
          return { model, role: "standby", why: this.#standing(peer, model) }
        })
      ])
    )
  }

  #refusal(peer: Elective, model: string, standbys: number): string | undefined {
    const offered = this.#offers.get(peer.id)?.get(model)
    if (offered === undefined) return "its file is another one than the file that goes by this name"
    if (offered.needBytes > peer.usableBytes) {
      return `it needs ${mebibytes(offered.needBytes)} MiB, and the peer may use ${mebibytes(peer.usableBytes)} MiB`
    }
    return standbys >= standbysMax ? `${standbysMax} other peers keep it ready already` : undefined
  }

  #standing(peer: Elective, model: string): string {
    const workers = this.workersOf(model)
    if (workers > 0)
      return `kept ready for the loss of ${workers === 1 ? "its worker" : `one of its ${workers} workers`}`
    const others = [...(this.#workers.get(peer.id) ?? [])].map((other) => other.slice(0, 64))
    return `no room beside ${others.slice(0, 2).join(", ")}, which nobody else serves and is not wanted less`
  }

  #requests(model: string): number {
    return this.#snapshot.demand.get(model)?.requests ?? 0
  }

  #isReadyBeside(model: string, peer: PeerId): boolean {
    if ((this.#snapshot.fixed.get(model) ?? 0) > 0) return true
    return this.#snapshot.peers.some(
      ({ id, ready }) => id !== peer && ready.has(model) && this.#workers.get(id)?.has(model) === true
    )
  }

  #freeBytes(peer: Elective): number {
    const offered = this.#offers.get(peer.id)
    return [...(this.#workers.get(peer.id) ?? [])].reduce(
      (left, model) => left - (offered?.get(model)?.needBytes ?? 0),
      peer.usableBytes
    )
  }

  /** The peers that could serve a model and do not, those with most room first. */
  #standbysOf(model: string): ReadonlyArray<readonly [peer: Elective, needBytes: number]> {
    return this.#snapshot.peers
      .flatMap((peer): ReadonlyArray<readonly [Elective, number]> => {
        const offered = this.#offers.get(peer.id)?.get(model)
        const fits = offered !== undefined && offered.needBytes <= peer.usableBytes
        return fits && this.#workers.get(peer.id)?.has(model) !== true ? [[peer, offered.needBytes]] : []
      })
      .sort(([a], [b]) => this.#freeBytes(b) - this.#freeBytes(a) || (a.id < b.id ? -1 : 1))
  }

  #intoFreeRoom(model: string, why: string): boolean {
    const found = this.#standbysOf(model).find(([peer, needBytes]) => needBytes <= this.#freeBytes(peer))
    if (found === undefined) return false
    this.#serve(found[0].id, model, why)
    return true
  }

  /** Gives the model the place of others that may go, of as few of the least wanted as it takes. */
  #inPlaceOf(model: string, mayGo: (peer: Elective) => (other: string) => boolean, why: string): boolean {
    for (const [peer, needBytes] of this.#standbysOf(model)) {
      const leaving = this.#leaving(peer, needBytes, mayGo(peer))
      if (leaving === undefined) continue
      for (const other of leaving) this.#workers.get(peer.id)?.delete(other)
      this.#serve(peer.id, model, why)
      return true
    }
    return false
  }

  #leaving(peer: Elective, needBytes: number, mayGo: (other: string) => boolean): ReadonlyArray<string> | undefined {
    const offered = this.#offers.get(peer.id)
    let freeBytes = this.#freeBytes(peer)
    const leaving: Array<string> = []
    const serving = [...(this.#workers.get(peer.id) ?? [])].filter(mayGo)
    for (const other of serving.sort((a, b) => this.#requests(a) - this.#requests(b) || (a < b ? -1 : 1))) {
      if (freeBytes >= needBytes) break
      freeBytes += offered?.get(other)?.needBytes ?? 0
      leaving.push(other)
    }
    return freeBytes >= needBytes ? leaving : undefined
  }

  /**
   * Has what stands in the way served elsewhere first (Kuhn's augmenting path, each peer looked at once); the model
   * itself has its place at a later look, when that is ready. Whether a way was found.
   */
  #makeWay(model: string, seen: Set<PeerId>): boolean {
    for (const [peer, needBytes] of this.#standbysOf(model)) {
      if (seen.has(peer.id)) continue
      seen.add(peer.id)
      const leaving = this.#leaving(peer, needBytes, () => true)
      if (leaving?.every((other) => this.#hasElsewhere(other, peer.id, seen)) === true) return true
    }
    return false
  }

  #hasElsewhere(model: string, peer: PeerId, seen: Set<PeerId>): boolean {
    const elsewhere = [...this.#workers].some(([id, workers]) => id !== peer && workers.has(model))
    const why = "it moves here, so that another model has its old place"
    return (
      elsewhere ||
      (this.#snapshot.fixed.get(model) ?? 0) > 0 ||
      this.#intoFreeRoom(model, why) ||
      this.#makeWay(model, seen)
    )
  }

  #serve(peer: PeerId, model: string, why: string): void {
    this.#workers.get(peer)?.add(model)
    this.#why.set(keyOf(peer, model), why)
  }
}

const offersOf = ({ files, peers }: Snapshot): ReadonlyMap<PeerId, ReadonlyMap<string, Candidate>> => {
  const known = new Map(files)
  for (const { candidates } of peers) {
    for (const { model, sha256 } of candidates) if (!known.has(model)) known.set(model, sha256)
  }
  return new Map(
    peers.map(({ candidates, id }) => [
      id,
      new Map(candidates.flatMap((one) => (known.get(one.model) === one.sha256 ? [[one.model, one]] : [])))
    ])
  )
}

const keyOf = (peer: PeerId, model: string): string => `${peer} ${model}`

const mebibytes = (bytes: number): number => Math.ceil(bytes / 2 ** 20)
