/**
 * What an entry ordered of its peers, and how sure it is that they follow. Pure: `look` decides anew from the
 * directory, `ask` answers one peer; `Elections.ts` of the entry owns the current state. It may be lost at any time:
 * peers say whom they follow, and the next order has a higher epoch.
 */
import type { Peer, PeerDirectory } from "../PeerDirectory.ts"
import type { PeerId } from "../PeerId.ts"
import type { Assignment, Order, RefusalReason, Standing } from "./ElectionProtocol.ts"
import * as SoloAssignment from "./SoloAssignment.ts"
import { workersOf } from "./SoloLease.ts"

/** Represents what an entry knows of the election of one peer. */
export interface Elected {
  /** Of the order, or of the next one where the peer has heard a higher one. */
  readonly epoch: number
  readonly assignments: ReadonlyArray<Assignment>
  /** When the workers were changed last; 0 for never. */
  readonly changedAtMs: number
  /** The peer said that it follows this entry, and nobody else can order it up to here. */
  readonly leasedUntilMs: number
  /** Another entry whose lease of the peer lives up to `untilMs`. */
  readonly elsewhere: { readonly entry: PeerId; readonly untilMs: number } | undefined
  /** What the peer itself will not do; tried again after a rest. */
  readonly refused: { readonly reason: RefusalReason; readonly atMs: number } | undefined
}

/** Represents the election of all peers of an entry that take part. */
export type ElectionState = ReadonlyMap<PeerId, Elected>

/** Nobody was elected yet. */
export const empty: ElectionState = new Map()

/** As long as a silent peer stays in the directory: a lease outlives neither much. */
export const leaseMs = 15_000
/** Least time between two changes of one peer for demand alone, and before a refused order is tried again. */
export const restMs = 60_000

/** Returns the state after a look at who is there and what is wanted. */
export const look = (
  state: ElectionState,
  directory: PeerDirectory,
  requests: ReadonlyMap<string, number>,
  now: number
): ElectionState => {
  const elected = new Map<PeerId, Elected>()
  for (const { info } of directory.peers.values()) {
    if (info.solo !== undefined) elected.set(info.id, state.get(info.id) ?? fresh)
  }
  const assigned = SoloAssignment.assign(snapshotOf(elected, directory, requests, now))
  for (const [id, assignments] of assigned) {
    const before = elected.get(id) ?? fresh
    elected.set(id, decided(before, assignments, directory.peers.get(id), now))
  }
  return elected
}

/** Returns the order that a peer is to follow, null where this entry has none for it, and the state after. */
export const ask = (
  state: ElectionState,
  self: PeerId,
  peer: PeerId,
  standing: Standing,
  now: number
): readonly [Order | null, ElectionState] => {
  const known = state.get(peer)
  if (known === undefined) return [null, state]
  const { lease } = standing
  const isElsewhere = lease !== null && lease.entry !== self
  const elsewhere = isElsewhere ? { entry: lease.entry, untilMs: now + lease.leftMs } : undefined
  const isMine = lease?.entry === self
  const isFollowed = isMine && lease.epoch === known.epoch
  const leasedUntilMs = isMine ? Math.max(known.leasedUntilMs, lease.issuedAtMs + leaseMs) : known.leasedUntilMs
  const refusal = standing.refused?.entry === self && standing.refused.epoch === known.epoch ? standing.refused : null
  const isVetoed = refusal?.reason === "Memory" || refusal?.reason === "NotRequested"
  const refused = isVetoed ? { reason: refusal.reason, atMs: now } : known.refused
  const heard: Elected = { ...known, elsewhere, leasedUntilMs, refused }
  // What was vetoed is decided anew after a rest, and never ordered again under its number.
  if (isVetoed) return [null, new Map(state).set(peer, { ...heard, epoch: known.epoch + 1, assignments: [] })]
  if (isElsewhere || known.assignments.length === 0) return [null, new Map(state).set(peer, heard)]
  const isGood = refusal?.reason !== "EpochReused" && (isFollowed || known.epoch > standing.highestEpoch)
  const epoch = isGood ? known.epoch : Math.max(known.epoch, standing.highestEpoch) + 1
  const order: Order = { epoch, issuedAtMs: now, leaseMs, assignments: known.assignments }
  return [order, new Map(state).set(peer, { ...heard, epoch })]
}

/** Whether no other entry can order the peer now. */
export const isLeased = ({ leasedUntilMs }: Elected, now: number): boolean => now < leasedUntilMs

// internal

const fresh: Elected = {
  epoch: 1,
  assignments: [],
  changedAtMs: 0,
  leasedUntilMs: 0,
  elsewhere: undefined,
  refused: undefined
}

/** Whether a peer that refused is still left alone. */
const isResting = ({ refused }: Elected, now: number): boolean => refused !== undefined && now - refused.atMs < restMs

/** Whether this entry may decide for the peer now. */
const isOurs = (elected: Elected, now: number): boolean =>
  !isResting(elected, now) && (elected.elsewhere === undefined || now >= elected.elsewhere.untilMs)

const announced = ({ info }: Peer): ReadonlySet<string> =>
  new Set(info.models.flatMap(({ id, stages }) => (stages === undefined ? [id] : [])))

const readyAt = (peer: Peer): ReadonlySet<string> => {
  const ready = new Set(peer.load.models.flatMap(({ id, ready }) => (ready ? [id] : [])))
  return announced(peer).intersection(ready)
}

/** The same roles stay as they were explained; a change of standbys alone waits until the peer has rested. */
const decided = (
  before: Elected,
  assignments: ReadonlyArray<Assignment>,
  peer: Peer | undefined,
  now: number
): Elected => {
  const isFirst = before.assignments.length === 0
  const was = isFirst && peer !== undefined ? announced(peer) : workersOf(before.assignments)
  const workers = workersOf(assignments)
  const isMoved = workers.size !== was.size || workers.difference(was).size > 0
  const isSameOrder =
    assignments.length === before.assignments.length &&
    assignments.every(({ model, role }, index) => {
      const known = before.assignments[index]
      return known?.model === model && known.role === role
    })
  const isWaiting = !isMoved && now - before.changedAtMs < restMs && isSameModels(before.assignments, assignments)
  if (isSameOrder || (!isFirst && isWaiting)) return before
  return {
    ...before,
    assignments,
    epoch: isFirst ? before.epoch : before.epoch + 1,
    changedAtMs: isMoved ? now : before.changedAtMs,
    refused: undefined
  }
}

const isSameModels = (one: ReadonlyArray<Assignment>, other: ReadonlyArray<Assignment>): boolean =>
  one.length === other.length && one.every(({ model }, index) => other[index]?.model === model)

const snapshotOf = (
  elected: ElectionState,
  directory: PeerDirectory,
  requests: ReadonlyMap<string, number>,
  now: number
): SoloAssignment.Snapshot => {
  const peers: Array<SoloAssignment.Elective> = []
  const fixed = new Map<string, number>()
  const busy = new Map<string, number>()
  const slots = new Map<string, number>()
  for (const peer of directory.peers.values()) {
    if (peer.load.state !== "ready") continue
    for (const { active, id, queued } of peer.load.models) busy.set(id, (busy.get(id) ?? 0) + active + queued)
    const known = elected.get(peer.info.id)
    const { solo } = peer.info
    if (solo !== undefined && known !== undefined && isOurs(known, now)) {
      for (const { model } of solo.candidates) slots.set(model.id, model.slots)
      peers.push({
        id: peer.info.id,
        usableBytes: solo.usableBytes,
        candidates: solo.candidates.map(({ model: { id, sha256 }, needBytes }) => ({ model: id, sha256, needBytes })),
        workers: known.assignments.length === 0 ? announced(peer) : workersOf(known.assignments),
        ready: readyAt(peer),
        isRested: now - known.changedAtMs >= restMs
      })
    } else
      for (const model of readyAt(peer))
        if (isItsFile(directory, peer, model)) fixed.set(model, (fixed.get(model) ?? 0) + 1)
  }
  const demand = new Map(
    [...slots.keys()].map((model) => [model, { requests: requests.get(model) ?? 0, busy: busy.get(model) ?? 0 }])
  )
  const files = new Map([...directory.models].map(([model, { description }]) => [model, description.sha256]))
  return { peers, fixed, files, demand, slots }
}

const isItsFile = ({ models }: PeerDirectory, { info }: Peer, model: string): boolean => {
  const known = models.get(model)?.description.sha256
  return info.models.some(({ id, sha256 }) => id === model && sha256 === known)
}
