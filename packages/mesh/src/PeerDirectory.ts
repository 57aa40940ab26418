/**
 * Which peers the entry can reach and what they serve. Pure: every step takes the directory and `now` and returns a new
 * one; `PeerDirectoryActor.ts` owns the current one.
 */
import { Data, Either } from "effect"
import type { ModelDescription } from "./ModelDescription.ts"
import type { PeerId } from "./PeerId.ts"
import type { ModelLoad, PeerInfo, PeerLoad } from "./PeerInfo.ts"

/** Represents one registered peer. */
export interface Peer {
  readonly info: PeerInfo
  /** Number of the link it registered over; what comes over an older link of the same peer counts for nothing. */
  readonly link: number
  readonly load: PeerLoad
  readonly registeredAtMs: number
  readonly lastSeenMs: number
}

/** Represents a model that was served at some time since the entry began. */
export interface KnownModel {
  /** What the first peer said of it. It stands while any peer serves that file; another file is another model. */
  readonly description: ModelDescription
  readonly sinceMs: number
}

/** Represents the directory at one moment. */
export interface PeerDirectory {
  readonly peers: ReadonlyMap<PeerId, Peer>
  /** Also models that no peer serves now, so that a client can be told "no peer" instead of "no such model". */
  readonly models: ReadonlyMap<string, KnownModel>
  /**
   * Who holds the file of each model, in the order of registration. A list stays the same one until somebody registers
   * or leaves who held the model, so that what is made of it can be kept.
   */
  readonly holders: ReadonlyMap<string, ReadonlyArray<PeerId>>
}

/** Represents a registration that was not taken. */
export class RegistrationRefused extends Data.TaggedError("RegistrationRefused")<{
  readonly reason: "DirectoryFull" | "StaleLink"
}> {}

/** A directory without peers. */
export const empty: PeerDirectory = { peers: new Map(), models: new Map(), holders: new Map() }

/** Most peers of one entry: about 10 MB of descriptions, and as many sessions as one UDP socket should carry. */
export const peersMax = 10_000
/** Most models remembered; the oldest that nobody serves are forgotten first. */
export const knownModelsMax = 1_024
/** Most slots a model of one peer counts for, four times what an engine can have: a claim may not draw all requests. */
export const slotsMax = 256

/** Adds a peer, or replaces what it said before over the same or an older link; its slots count up to `slotsMax`. */
export const register = (
  directory: PeerDirectory,
  info: PeerInfo,
  link: number,
  now: number
): Either.Either<PeerDirectory, RegistrationRefused> => {
  const known = directory.peers.get(info.id)
  if (known === undefined && directory.peers.size >= peersMax) {
    return Either.left(new RegistrationRefused({ reason: "DirectoryFull" }))
  }
  if (known !== undefined && known.link > link) return Either.left(new RegistrationRefused({ reason: "StaleLink" }))
  const announced = info.models.map((model) => ({ ...model, slots: Math.min(model.slots, slotsMax) }))
  const others = new Map(directory.peers)
  others.delete(info.id)
  const touched = [...(known?.info.models ?? []), ...announced]
  const settled = settle(directory.models, touched, others, announced, now)
  // Last in the order of registration: where it names a file anew, those who serve one already come first.
  const peers = new Map(others).set(info.id, {
    info: { ...info, models: announced },
    link,
    load: { state: "ready", models: announced.map((model) => idle(model.id)) },
    registeredAtMs: known?.link === link ? known.registeredAtMs : now,
    lastSeenMs: now
  })
  const models = bounded(settled, peers)
  return Either.right({ peers, models, holders: holdersAfter(directory.holders, touched, models, peers) })
}

/** Notes that a peer lives and how busy it is; the same directory when it is not registered over this link. */
export const heartbeat = (
  directory: PeerDirectory,
  id: PeerId,
  link: number,
  load: PeerLoad,
  now: number
): PeerDirectory => {
  const peer = directory.peers.get(id)
  if (peer === undefined || peer.link !== link) return directory
  return { ...directory, peers: new Map(directory.peers).set(id, { ...peer, load, lastSeenMs: now }) }
}

/** Removes a peer that left or whose link was lost; the same directory when it came back over a newer link. */
export const leave = (directory: PeerDirectory, id: PeerId, link: number): PeerDirectory =>
  directory.peers.get(id)?.link === link ? without(directory, [id]) : directory

/** Removes the peers that were silent for longer than `silenceMsMax`. */
export const expire = (directory: PeerDirectory, silenceMsMax: number, now: number): PeerDirectory => {
  const silent = [...directory.peers].filter(([, peer]) => now - peer.lastSeenMs > silenceMsMax).map(([id]) => id)
  return silent.length === 0 ? directory : without(directory, silent)
}

/** Returns whether the peer is registered over this link. */
export const isRegistered = (directory: PeerDirectory, id: PeerId, link: number): boolean =>
  directory.peers.get(id)?.link === link

/** Returns the registered peers that hold the file of `model`; who calls another file by its name is left out. */
export const holding = ({ holders, peers }: PeerDirectory, model: string): ReadonlyArray<Peer> =>
  (holders.get(model) ?? []).flatMap((id) => peers.get(id) ?? [])

/** Returns the peers that take new requests for `model` now. */
export const serving = (directory: PeerDirectory, model: string): ReadonlyArray<Peer> =>
  holding(directory, model).filter((peer) => loadServing(peer, model) !== undefined)

/** Returns how busy `model` is at a peer that takes new requests for it now; undefined where it takes none. */
export const loadServing = ({ load }: Peer, model: string): ModelLoad | undefined => {
  if (load.state !== "ready") return undefined
  for (const served of load.models) if (served.id === model) return served.ready ? served : undefined
  return undefined
}

/** Returns how many answers for `model` its ready peers give at once. */
export const slotsServing = (directory: PeerDirectory, model: string): number =>
  serving(directory, model).reduce((sum, { info }) => sum + (descriptionOf(info, model)?.slots ?? 0), 0)

/** Returns what a peer says of `model`; undefined where it does not have it. */
export const descriptionOf = ({ models }: PeerInfo, model: string): ModelDescription | undefined =>
  models.find(({ id }) => id === model)

/**
 * Returns the stages that serve `model` now; undefined where a peer serves it whole, or nobody does: a split is shown
 * only while it really serves.
 */
export const stagesServing = (directory: PeerDirectory, model: string): ModelDescription["stages"] => {
  const served = serving(directory, model).flatMap(({ info }) => info.models.filter(({ id }) => id === model))
  return served.every(({ stages }) => stages !== undefined) ? served[0]?.stages : undefined
}

// internal

const idle = (id: string): ModelLoad => ({ id, ready: true, active: 0, queued: 0 })

const holds = (peer: Peer, { id, sha256 }: ModelDescription): boolean =>
  peer.info.models.some((model) => model.id === id && model.sha256 === sha256)

const without = ({ holders, models, peers }: PeerDirectory, ids: ReadonlyArray<PeerId>): PeerDirectory => {
  const left = new Map(peers)
  for (const id of ids) left.delete(id)
  const touched = ids.flatMap((id) => peers.get(id)?.info.models ?? [])
  // What a registered peer serves is known already, so nothing begins here and its time is of no account.
  const settled = settle(models, touched, left, [], 0)
  return { peers: left, models: settled, holders: holdersAfter(holders, touched, settled, left) }
}

/** Lists anew who holds the models that `touched` names. */
const holdersAfter = (
  before: PeerDirectory["holders"],
  touched: ReadonlyArray<ModelDescription>,
  models: PeerDirectory["models"],
  peers: PeerDirectory["peers"]
): PeerDirectory["holders"] => {
  const holders = new Map(before)
  for (const id of new Set(touched.map((model) => model.id))) {
    const description = models.get(id)?.description
    const ids = description === undefined ? [] : [...peers.values()].filter((peer) => holds(peer, description))
    if (ids.length === 0) holders.delete(id)
    else
      holders.set(
        id,
        ids.map(({ info }) => info.id)
      )
  }
  return holders
}

/**
 * Says anew what the models are that `touched` names, where `others` serve and one more peer may announce. A file that
 * the others serve stays as described; one that this peer alone goes on with is what it says now; else the model is
 * the file of the peer that registered first.
 */
const settle = (
  known: PeerDirectory["models"],
  touched: ReadonlyArray<ModelDescription>,
  others: PeerDirectory["peers"],
  announced: ReadonlyArray<ModelDescription>,
  now: number
): PeerDirectory["models"] => {
  const models = new Map(known)
  for (const id of new Set(touched.map((model) => model.id))) {
    const before = known.get(id)
    if (before !== undefined && [...others.values()].some((peer) => holds(peer, before.description))) continue
    const own = announced.find((model) => model.id === id)
    const goesOn = own !== undefined && own.sha256 === before?.description.sha256
    const description = goesOn ? own : (firstDescription(others, id) ?? own)
    if (description !== undefined) models.set(id, { description, sinceMs: before?.sinceMs ?? now })
  }
  return models
}

const firstDescription = (peers: PeerDirectory["peers"], id: string): ModelDescription | undefined => {
  for (const { info } of peers.values()) {
    const found = info.models.find((model) => model.id === id)
    if (found !== undefined) return found
  }
  return undefined
}

/** Forgets the oldest models that nobody serves, as far as there are too many. */
const bounded = (known: PeerDirectory["models"], peers: PeerDirectory["peers"]): PeerDirectory["models"] => {
  if (known.size <= knownModelsMax) return known
  const models = new Map(known)
  const served = new Set([...peers.values()].flatMap((peer) => peer.info.models.map((model) => model.id)))
  for (const id of models.keys()) {
    if (models.size <= knownModelsMax) break
    if (!served.has(id)) models.delete(id)
  }
  return models
}
