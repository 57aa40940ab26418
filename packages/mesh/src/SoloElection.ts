/** Picks the one peer that answers a request: with the whole model, or as the host of a split one. Pure. */
import { Data, Either } from "effect"
import type { ModelDescription } from "./ModelDescription.ts"
import { type Peer, type PeerDirectory, serving } from "./PeerDirectory.ts"
import type { PeerId } from "./PeerId.ts"

/** Represents what the entry itself knows of a peer. */
export interface Attachment {
  /** Answers of this entry that the peer gives now. */
  readonly inFlight: number
  /** Smoothed round trip to it in milliseconds; absent while not measured. */
  readonly rttMs: number | undefined
  /** When it was last given a request, milliseconds since 1970; 0 for never. */
  readonly lastElectedMs: number
}

/** Represents why nobody was elected. */
export class NobodyElected extends Data.TaggedError("NobodyElected")<{
  readonly reason: "UnknownModel" | "NoPeer" | "NoneSuits" | "AllBusy"
}> {}

/** Tells whether a peer that serves a model in this way is wanted. */
export type Suits = (served: ModelDescription) => boolean

/** Round trips within one step are the same: tokens stream, nobody can tell, and a busy machine's noise is as large. */
const rttStepMs = 25

/**
 * Returns a peer that has the whole model before one that hosts a split: of those the one with the smallest share of
 * its slots in use, among equals the nearest one, among those the one that waited longest for work. Those without an
 * attachment (no live link) are left out, and those whose way to serve the model does not suit.
 */
export const elect = (
  directory: PeerDirectory,
  model: string,
  attachments: ReadonlyMap<PeerId, Attachment>,
  options: {
    /** Peers that failed this request already. */
    readonly excluded: ReadonlySet<PeerId>
    /** Answers per slot at which a peer counts as busy: 1 where nobody may wait at a peer. */
    readonly perSlotMax: number
    /** Tells whether what a peer says of the model is as it is wanted; whatever it says, where absent. */
    readonly suits?: Suits | undefined
  }
): Either.Either<PeerId, NobodyElected> => {
  if (!directory.models.has(model)) return Either.left(new NobodyElected({ reason: "UnknownModel" }))
  const { excluded, suits } = options
  let isUnsuited = false
  const candidates = serving(directory, model).flatMap((peer) => {
    const attachment = attachments.get(peer.info.id)
    if (attachment === undefined || excluded.has(peer.info.id)) return []
    const served = peer.info.models.find(({ id }) => id === model)
    if (suits !== undefined && served !== undefined && !suits(served)) {
      isUnsuited = true
      return []
    }
    const use = attachment.inFlight / (served?.slots ?? 0)
    return [{ id: peer.info.id, use, attachment, isSplit: served?.stages !== undefined }]
  })
  if (candidates.length === 0) return Either.left(new NobodyElected({ reason: isUnsuited ? "NoneSuits" : "NoPeer" }))
  const isAllSplit = candidates.every(({ isSplit }) => isSplit)
  const best = candidates
    .filter(({ isSplit }) => isSplit === isAllSplit)
    .filter(({ use }) => use < options.perSlotMax)
    .reduce<(typeof candidates)[number] | undefined>(
      (chosen, next) => (chosen === undefined || compare(next, chosen) < 0 ? next : chosen),
      undefined
    )
  return best === undefined ? Either.left(new NobodyElected({ reason: "AllBusy" })) : Either.right(best.id)
}

/** Returns how many answers for `model` its ready peers give at once. */
export const slotsServing = (directory: PeerDirectory, model: string): number =>
  serving(directory, model).reduce((sum, peer) => sum + slotsOf(peer, model), 0)

// internal

const slotsOf = (peer: Peer, model: string): number =>
  peer.info.models.find((served) => served.id === model)?.slots ?? 0

interface Candidate {
  readonly id: PeerId
  readonly use: number
  readonly attachment: Attachment
}

const rttStep = ({ attachment }: Candidate): number =>
  attachment.rttMs === undefined ? Number.MAX_SAFE_INTEGER : Math.floor(attachment.rttMs / rttStepMs)

const compare = (a: Candidate, b: Candidate): number =>
  a.use - b.use ||
  rttStep(a) - rttStep(b) ||
  a.attachment.lastElectedMs - b.attachment.lastElectedMs ||
  (a.id < b.id ? -1 : 1)
