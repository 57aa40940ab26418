/** The models that peers offer stages of, out of the directory and the links. Pure. */
import type { Candidate, PlannedModel, RoundTrips } from "@weft/engine/pipeline/PipelineCost"
import { type Peer, type PeerDirectory, serving } from "@weft/mesh/PeerDirectory"
import type { PeerId } from "@weft/mesh/PeerId"
import type { StageOffer } from "@weft/mesh/StageOffer"
import type { PeerReach } from "../Links.ts"
import type { SplitModel } from "./SplitState.ts"

/**
 * Returns the models that at least one peer offers stages of, by id. Where a name stands for several files it is the
 * one that peers serve already, else the one most of them offer.
 */
export const splitModels = (
  directory: PeerDirectory,
  reaches: ReadonlyMap<PeerId, PeerReach>
): ReadonlyArray<SplitModel> => {
  const byModel = new Map<string, Array<Offered>>()
  for (const peer of directory.peers.values()) {
    const reach = reaches.get(peer.info.id)
    if (reach === undefined || peer.load.state !== "ready") continue
    for (const offer of peer.info.stages ?? []) {
      const known = byModel.get(offer.model.id) ?? []
      byModel.set(offer.model.id, [...known, { peer, offer, reach }])
    }
  }
  return [...byModel].map(([id, offered]) => splitModel(directory, id, offered))
}

// internal

interface Offered {
  readonly peer: Peer
  readonly offer: StageOffer
  readonly reach: PeerReach
}

const splitModel = (directory: PeerDirectory, id: string, all: ReadonlyArray<Offered>): SplitModel => {
  const sha256 = directory.models.get(id)?.description.sha256 ?? mostOffered(all)
  const sameFile = all.filter(({ offer }) => offer.model.sha256 === sha256)
  const offered = sameFile.length > 0 ? sameFile : all.filter(({ offer }) => offer.model.sha256 === mostOffered(all))
  const least = offered.reduce((least, next) => (next.offer.model.id < least.offer.model.id ? next : least))
  // What all of them can hold, so that any of them may take any stage.
  const contextTokens = Math.min(...offered.map(({ offer }) => offer.model.contextTokens))
  const slots = Math.min(...offered.map(({ offer }) => offer.model.slots))
  const model = { ...least.offer.model, contextTokens, slots }
  const candidates = offered.map(candidateOf)
  return {
    model,
    planned: plannedOf(least.offer, contextTokens, slots),
    candidates,
    addresses: new Map(offered.map((one) => [one.peer.info.id, addressOf(one)])),
    roundTrips: roundTripsOf(offered),
    isServedWhole: serving(directory, id).some((peer) =>
      peer.info.models.some((served) => served.id === id && served.stages === undefined)
    ),
    fingerprint: JSON.stringify([model, candidates, offered.map((one) => [addressOf(one), rttStep(one.reach.rttMs)])])
  }
}

/** An owner knows what their router forwards; all others are where their session comes from. */
const addressOf = ({ peer, reach }: Offered): string => peer.info.address ?? reach.address

const mostOffered = (all: ReadonlyArray<Offered>): string => {
  const counts = new Map<string, number>()
  for (const { offer } of all) counts.set(offer.model.sha256, (counts.get(offer.model.sha256) ?? 0) + 1)
  const [[sha256] = [""]] = [...counts].sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  return sha256
}

const candidateOf = ({ offer, peer }: Offered): Candidate => ({
  id: peer.info.id,
  usableBytes: offer.memoryBytes,
  layerMs: offer.layerMs,
  held: offer.held,
  only: offer.only,
  struckOff: undefined,
  isReachable: true
})

const plannedOf = (offer: StageOffer, contextTokens: number, slots: number): PlannedModel => {
  const cuts = new Set(offer.cuts)
  const layersBytes = offer.layerBytes.reduce((sum, bytes) => sum + bytes, 0)
  return {
    layerBytes: offer.layerBytes,
    embeddingBytes: offer.embeddingBytes,
    headBytes: offer.headBytes,
    sizeBytes: offer.model.sizeBytes,
    cellBytesPerTokenLayer: offer.cellBytesPerTokenLayer,
    contextTokens,
    slots,
    // A token reads each weight once, so the head takes as many layers' time as it has layers' bytes.
    headLayers: layersBytes === 0 ? 0 : offer.headBytes / (layersBytes / offer.layerBytes.length),
    allowedCuts: (layer) => cuts.has(layer)
  }
}

/** Steps of round trips that matter to a plan: what a busy line adds is less. */
const rttStepMs = 10

const rttStep = (rttMs: number | undefined): number | undefined =>
  rttMs === undefined ? undefined : Math.round(rttMs / rttStepMs)

/** Two peers are at most as far apart as the way through the entry is long, which is what is known of them. */
const roundTripsOf = (offered: ReadonlyArray<Offered>): RoundTrips =>
  new Map(
    offered.map(({ peer, reach }) => [
      peer.info.id,
      new Map(
        offered.flatMap((other) =>
          other.peer === peer || reach.rttMs === undefined || other.reach.rttMs === undefined
            ? []
            : [[other.peer.info.id, reach.rttMs + other.reach.rttMs] as const]
        )
      )
    ])
  )
