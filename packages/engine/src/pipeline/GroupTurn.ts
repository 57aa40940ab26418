/**
 * What the host of a pipeline decides: who is reserved, when answers may flow, and who takes over what is lost. Pure:
 * what happens and the time come in, actions come out. Answers flow in an epoch in which every stage is ready; whatever
 * is lost ends the epoch. Nobody can take the host's own stage over.
 */
import type { PeerId } from "@weft/mesh/PeerId"
import type { GroupAction, GroupHappening, GroupState, GroupStep, Member, Suspicion, Wiring } from "./GroupState.ts"
import { type Form, type GroupEvent, type PeerPlace, reasonOf, type StagePlace } from "./PipelineProtocol.ts"

/** Longest time without progress of a stage that loads. */
export const loadingMsMax = 120_000
/** Longest whole load: a disk of 20 MB/s reads and writes 16 GB in less. */
export const loadMsMax = 30 * 60_000
/** Longest time for new edges: two dials and some round trips. */
export const wiringMsMax = 30_000
/** A fraction that grew by less is no progress. */
const fractionStep = 0.01
/** Longest time from the loss of a peer until the host sees it; a session is silent for two seconds before its end. */
const suspicionMs = 3_000
/** Halts of answers that are borne within some minutes; with one more of them the group is of no use. */
const faultsMax = 6
/** Time without a fault after which the earlier ones are forgotten. */
const faultsMs = 5 * 60_000

/** Returns the beginning: everything is reserved at once. */
export const begin = ({ layers, spares, stages }: Form, now: number): GroupStep => {
  const turn = new Turn(
    {
      phase: "forming",
      epoch: 1,
      members: [],
      hot: undefined,
      spares: spares.map((spare) => ({ ...spare, layersMax: layers })),
      nextLease: 0,
      width: undefined,
      suspicion: undefined,
      accusers: new Set(),
      faults: 0,
      wrongTails: 0,
      faultMs: now
    },
    now
  )
  turn.form(stages)
  return turn.done()
}

/** Returns what follows from what happens; nothing does once the group is disbanded. */
export const step = (state: GroupState, happening: GroupHappening, now: number): GroupStep => {
  if (state.phase === "disbanded") return [state, []]
  const turn = new Turn(state, now)
  turn.take(happening)
  return turn.done()
}

// internal

type State = { -readonly [Key in keyof GroupState]: GroupState[Key] }

/** One step: a copy of the state that changes, and the actions so far. */
class Turn {
  readonly #state: State
  readonly #now: number
  readonly #actions: Array<GroupAction> = []

  constructor(state: GroupState, now: number) {
    this.#state = { ...state }
    this.#now = now
  }

  done(): GroupStep {
    return [this.#state, this.#actions]
  }

  form(stages: ReadonlyArray<StagePlace>): void {
    this.#state.members = stages.map((place) => this.#member(place))
    for (const [index, member] of this.#state.members.entries()) this.#reserve(member, this.#wiring(index))
    this.#keepHot()
  }

  take(happening: GroupHappening): void {
    switch (happening._tag) {
      case "Faulted":
        return void this.#faulted(happening)
      case "Offered":
        return void this.#offered(happening.spares)
      case "Looked":
        return void this.#looked()
      case "Dissolved":
        return void this.#disband(happening.reason)
    }
    const member = this.#find(happening.lease)
    if (member === undefined) return
    switch (happening._tag) {
      case "Loading":
        return void this.#loading(member, happening.fraction)
      case "Ready":
        return void this.#ready(member, happening.epoch, happening.width)
      case "Refused":
        return void this.#refused(member, happening.reason)
      case "Parted":
        return void this.#parted(member, happening)
      case "Lost":
        return void this.#lose(member, happening.reason)
    }
  }

  // What stages say

  #loading(member: Member, fraction: number): void {
    if (member.isLoaded || fraction < member.fraction + fractionStep) return
    this.#update({ ...member, fraction, movedMs: this.#now })
    this.#forming(member, "loading", fraction)
  }

  #ready(member: Member, epoch: number, width: number): void {
    const { width: known = width } = this.#state
    if (width !== known) return void this.#lose(member, `its hidden states have ${width} values, not ${known}`)
    if (epoch > this.#state.epoch) return void this.#lose(member, "it is ready in an epoch that is to come")
    this.#state.width = known
    if (!member.isLoaded) this.#forming(member, "ready", 1)
    const readyEpoch = Math.max(member.readyEpoch, epoch)
    this.#update({ ...member, isLoaded: true, fraction: 1, readyEpoch, movedMs: this.#now })
    this.#serveWhenReady()
  }

  #refused(member: Member, reason: string): void {
    // It may have the memory for fewer layers.
    const layersMax = Math.floor((member.place.to - member.place.from) / 2)
    const { address, peer } = member.place
    if (layersMax > 0) this.#state.spares = [...this.#state.spares, { peer, address, layersMax }]
    this.#lose(member, reason)
  }

  /** Who is lost is mostly seen by the host too, so a complaint waits for that. */
  #parted(accuser: Member, { epoch, peer, reason }: Extract<GroupHappening, { readonly _tag: "Parted" }>): void {
    if (epoch !== this.#state.epoch || accuser.lease === this.#state.hot?.lease) return
    const accused = this.#state.members.find(({ place }) => place.peer === peer)
    if (accused === undefined || accused.lease === accuser.lease) return void this.#lose(accuser, reason)
    this.#state.suspicion ??= { accuser: accuser.lease, accused: accused.lease, reason, sinceMs: this.#now }
  }

  /** Either of the two may be at fault: the one who is accused goes, but who accuses twice goes himself. */
  #judge({ accused, accuser, reason }: Suspicion): void {
    this.#state.suspicion = undefined
    const [by, about] = [this.#find(accuser), this.#find(accused)]
    if (by === undefined || about === undefined) return
    const isOwn = by.lease === 0
    if (!isOwn && (about.lease === 0 || this.#state.accusers.has(by.place.peer))) return void this.#lose(by, reason)
    if (!isOwn) this.#state.accusers = new Set([...this.#state.accusers, by.place.peer])
    this.#lose(about, reason)
  }

  // What the entry and the host see

  /** Those who have a part keep it; what was learnt of a spare holds. */
  #offered(spares: ReadonlyArray<PeerPlace>): void {
    const { epoch, hot, members, spares: before } = this.#state
    const busy = new Set([...members, ...(hot === undefined ? [] : [hot])].map(({ place }) => place.peer))
    const layersOf = (peer: PeerId) => before.find((spare) => spare.peer === peer)?.layersMax ?? Number.MAX_SAFE_INTEGER
    this.#state.spares = spares
      .filter(({ peer }) => !busy.has(peer))
      .map(({ address, peer }) => ({ peer, address, layersMax: layersOf(peer) }))
    if (members.every(({ readyEpoch }) => readyEpoch === epoch)) this.#keepHot()
  }

  /**
   * The last stage is to blame for tokens that cannot be; but it repeats what it is told of a window, so where the next
   * tail's cannot be either the one before it goes, and so on. Who refuses, or that nobody is heard of, may be a matter
   * of a moment, so the first time all stay; then whoever sent the refusing stage what it refuses goes, or that stage
   * itself where it complains again, and of silent ones the last, the one before it the next time, and so on.
   */
  #faulted({ epoch, kind, peer, reason }: Extract<GroupHappening, { readonly _tag: "Faulted" }>): void {
    const { phase, suspicion } = this.#state
    if (phase !== "serving" || epoch !== this.#state.epoch) return
    // Whoever complained knows more of it than that nobody is heard of.
    if (kind === "silence" && suspicion !== undefined) return void this.#judge(suspicion)
    const isLate = this.#now - this.#state.faultMs > faultsMs
    const faults = isLate ? 1 : this.#state.faults + 1
    this.#state.faults = faults
    this.#state.faultMs = this.#now
    const wrongTails = (isLate ? 0 : this.#state.wrongTails) + (kind === "tail" ? 1 : 0)
    this.#state.wrongTails = wrongTails
    if (faults > faultsMax) return void this.#disband(`answers came to a halt too often: ${reason}`)
    const { members } = this.#state
    const others = members.length - 1
    const refusing = members.findIndex(({ place }) => place.peer === peer)
    if (kind === "tail") this.#blame(members[others - ((wrongTails - 1) % others)], reason)
    else if (faults > 1 && refusing > 0) this.#blameBefore(refusing, reason)
    else if (faults > 1 && kind === "silence") this.#blame(members[others - ((faults - 2) % others)], reason)
    else {
      this.#broken(reason)
      this.#rewire()
    }
  }

  #blame(member: Member | undefined, reason: string): void {
    if (member !== undefined) this.#lose(member, reason)
  }

  #blameBefore(refusing: number, reason: string): void {
    const [accuser, accused] = [this.#state.members[refusing], this.#state.members[refusing - 1]]
    if (accuser === undefined || accused === undefined) return
    this.#judge({ accuser: accuser.lease, accused: accused.lease, reason, sinceMs: this.#now })
  }

  #looked(): void {
    const { hot, members, suspicion } = this.#state
    if (suspicion !== undefined && this.#now - suspicion.sinceMs > suspicionMs) this.#judge(suspicion)
    for (const { lease } of hot === undefined ? members : [...members, hot]) {
      // The loss of one may have changed what holds for the others.
      const member = this.#find(lease)
      const why = member && this.#lateness(member)
      if (member !== undefined && why !== undefined) this.#lose(member, why)
    }
  }

  #lateness({ begunMs, isLoaded, lease, movedMs, readyEpoch }: Member): string | undefined {
    const stillMs = this.#now - movedMs
    if (!isLoaded) {
      if (stillMs > loadingMsMax) return "it came no further with its layers for two minutes"
      return this.#now - begunMs > loadMsMax ? "its layers were not loaded within half an hour" : undefined
    }
    const isWaitedFor = lease !== this.#state.hot?.lease && readyEpoch < this.#state.epoch
    return isWaitedFor && stillMs > wiringMsMax ? "its edges were not open in time" : undefined
  }

  // What follows

  #lose(member: Member, reason: string): void {
    this.#do({ _tag: "Release", lease: member.lease })
    if (member.lease === this.#state.hot?.lease) {
      this.#state.hot = undefined
      return void this.#keepHot()
    }
    const index = this.#state.members.findIndex(({ lease }) => lease === member.lease)
    // Released already.
    this.#state.members = this.#state.members.with(index, { ...member, lease: released })
    if (index === 0) return void this.#disband(reason, member.place.peer)
    const hot = this.#hotFor(member.place)
    const replacement = hot ?? this.#coldFor(member.place)
    if (replacement === undefined) return void this.#disband(`nobody can take over: ${reason}`, member.place.peer)
    this.#broken(reason, member.place.peer)
    this.#state.members = this.#state.members.with(index, replacement)
    this.#rewire(hot === undefined ? replacement : undefined)
  }

  /** Takes the hot spare where it has these layers. */
  #hotFor({ from, to }: StagePlace): Member | undefined {
    const { hot } = this.#state
    if (hot?.place.from !== from || hot.place.to !== to) return undefined
    this.#state.hot = undefined
    return hot
  }

  /** Takes a cold spare; the hot one with other layers where there is none. */
  #coldFor({ from, to }: StagePlace): Member | undefined {
    const cold = this.#takeSpare(to - from)
    if (cold !== undefined) return this.#member({ ...cold, from, to })
    const { hot } = this.#state
    if (hot === undefined) return undefined
    this.#do({ _tag: "Release", lease: hot.lease })
    this.#state.hot = undefined
    return this.#member({ ...hot.place, from, to })
  }

  /** Begins a new epoch, in which `fresh` is to be reserved. */
  #rewire(fresh?: Member): void {
    this.#state.epoch++
    this.#state.suspicion = undefined
    this.#state.members = this.#state.members.map((member) => ({ ...member, movedMs: this.#now }))
    for (const [index, member] of this.#state.members.entries()) {
      const wiring = this.#wiring(index)
      if (member.lease === fresh?.lease) this.#reserve(member, wiring)
      else this.#do({ _tag: "Rewire", lease: member.lease, wiring })
    }
  }

  #serveWhenReady(): void {
    const { epoch, members, phase } = this.#state
    if (phase === "serving" || members.some(({ readyEpoch }) => readyEpoch < epoch)) return
    this.#state.phase = "serving"
    this.#do({ _tag: "Connect", epoch })
    this.#tell({ _tag: "Serving", epoch, stages: members.map(({ place }) => place) })
    this.#keepHot()
  }

  #broken(reason: string, peer?: PeerId): void {
    if (this.#state.phase === "serving") {
      this.#do({ _tag: "Disconnect" })
      this.#state.phase = "healing"
    }
    this.#tell({ _tag: "Broken", reason: reasonOf(reason), ...(peer === undefined ? {} : { peer }) })
  }

  #disband(reason: string, peer?: PeerId): void {
    const { hot, members, phase } = this.#state
    if (phase === "serving") this.#do({ _tag: "Disconnect" })
    for (const { lease } of hot === undefined ? members : [...members, hot])
      if (lease !== released) this.#do({ _tag: "Release", lease })
    Object.assign(this.#state, { phase: "disbanded", members: [], hot: undefined, spares: [], suspicion: undefined })
    this.#tell({ _tag: "Disbanded", reason: reasonOf(reason), ...(peer === undefined ? {} : { peer }) })
  }

  /** Has the stage that would take longest to replace loaded once more, where a spare can hold it. */
  #keepHot(): void {
    if (this.#state.hot !== undefined) return
    const [, ...others] = this.#state.members
    const size = ({ place }: Member) => place.to - place.from
    const largest = others.toSorted((one, other) => size(other) - size(one))
    for (const member of largest) {
      const spare = this.#takeSpare(size(member))
      if (spare === undefined) continue
      const { from, to } = member.place
      const hot = this.#member({ ...spare, from, to })
      this.#state.hot = hot
      this.#reserve(hot, { epoch: this.#state.epoch, previous: null, next: null })
      return
    }
  }

  // Parts of the state

  #takeSpare(layers: number): PeerPlace | undefined {
    const spare = this.#state.spares.find(({ layersMax }) => layersMax >= layers)
    if (spare === undefined) return undefined
    this.#state.spares = this.#state.spares.filter((one) => one !== spare)
    return { peer: spare.peer, address: spare.address }
  }

  #member(place: StagePlace): Member {
    const lease = this.#state.nextLease++
    const now = this.#now
    return { lease, place, isLoaded: false, readyEpoch: 0, fraction: 0, movedMs: now, begunMs: now }
  }

  #wiring(index: number): Wiring {
    const { epoch, members } = this.#state
    const next = members[index + 1]?.place
    return {
      epoch,
      previous: members[index - 1]?.place.peer ?? null,
      next: next === undefined ? null : { peer: next.peer, address: next.address }
    }
  }

  #reserve(member: Member, wiring: Wiring): void {
    this.#do({ _tag: "Reserve", lease: member.lease, place: member.place, wiring })
    this.#forming(member, "reserving", 0)
  }

  #find(lease: number): Member | undefined {
    const { hot, members } = this.#state
    return hot?.lease === lease ? hot : members.find((member) => member.lease === lease)
  }

  #update(member: Member): void {
    if (this.#state.hot?.lease === member.lease) this.#state.hot = member
    else this.#state.members = this.#state.members.map((one) => (one.lease === member.lease ? member : one))
  }

  #forming({ place }: Member, state: "reserving" | "loading" | "ready", fraction: number): void {
    this.#tell({ _tag: "Forming", peer: place.peer, state, fraction })
  }

  #tell(event: GroupEvent): void {
    this.#do({ _tag: "Tell", event })
  }

  #do(action: GroupAction): void {
    this.#actions.push(action)
  }
}

/** Stands for the lease of a stage that is lost and has no other yet. */
const released = -1
