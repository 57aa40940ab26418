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
  readonly description: ModelDescription
  readonly sinceMs: number
}

/** Represents the directory at one moment. */
export interface PeerDirectory {
  readonly peers: ReadonlyMap<PeerId, Peer>
  /** Also models that no peer serves now, so that a client can be told "no peer" instead of "no such model". */
  readonly models: ReadonlyMap<string, KnownModel>
}

/** Represents a registration that was not taken. */
export class RegistrationRefused extends Data.TaggedError("RegistrationRefused")<{
  readonly reason: "DirectoryFull" | "StaleLink"
}> {}

/** A directory without peers. */
export const empty: PeerDirectory = { peers: new Map(), models: new Map() }

/** Most peers of one entry: about 10 MB of descriptions, and as many sessions as one UDP socket should carry. */
export const peersMax = 10_000
/** Most models remembered; the oldest that nobody serves are forgotten first. */
export const knownModelsMax = 1_024

/** Adds a peer, or replaces what it said before over the same or an older link. */
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
  const peers = new Map(directory.peers).set(info.id, {
    info,
    link,
    load: { state: "ready", models: info.models.map((model) => idle(model.id)) },
    registeredAtMs: known?.link === link ? known.registeredAtMs : now,
    lastSeenMs: now
  })
  return Either.right({ peers, models: remember(directory.models, peers, info.models, now) })
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

/** Returns the peers that take new requests for `model` now. */
export const serving = (directory: PeerDirectory, model: string): ReadonlyArray<Peer> =>
  [...directory.peers.values()].filter(
    (peer) => peer.load.state === "ready" && peer.load.models.some((served) => served.id === model && served.ready)
  )

// internal

const idle = (id: string): ModelLoad => ({ id, ready: true, active: 0, queued: 0 })

const without = (directory: PeerDirectory, ids: ReadonlyArray<PeerId>): PeerDirectory => {
  const peers = new Map(directory.peers)
  for (const id of ids) peers.delete(id)
  return { ...directory, peers }
}

const remember = (
  known: PeerDirectory["models"],
  peers: PeerDirectory["peers"],
  announced: ReadonlyArray<ModelDescription>,
  now: number
): PeerDirectory["models"] => {
  const models = new Map(known)
  for (const description of announced) {
    models.set(description.id, { description, sinceMs: known.get(description.id)?.sinceMs ?? now })
  }
  if (models.size <= knownModelsMax) return models
  const served = new Set([...peers.values()].flatMap((peer) => peer.info.models.map((model) => model.id)))
  for (const id of models.keys()) {
    if (models.size <= knownModelsMax) break
    if (!served.has(id)) models.delete(id)
  }
  return models
}
