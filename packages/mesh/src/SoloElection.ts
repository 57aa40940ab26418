/** Picks the one peer that answers a request with the whole model. Pure: a function of a snapshot. */
import { Data, Either } from "effect"
import { type PeerDirectory, serving } from "./PeerDirectory.ts"
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
  readonly reason: "UnknownModel" | "NoPeer" | "AllBusy"
}> {}

/**
 * Answers that may wait at a peer per slot before it counts as busy: with the median answer a few seconds long, a fifth
 * request in line would wait longer than most clients are ready to.
 */
export const waitingPerSlotMax = 4

/** Round trips within one step are the same: tokens stream, nobody can tell, and a busy machine's noise is as large. */
const rttStepMs = 25

/**
 * Returns the peer with the smallest share of its slots in use, among equals the nearest one, among those the one that
 * waited longest for work. Peers in `excluded` (already tried for this request) and those without an attachment (no
 * live link) are left out.
 */
export const elect = (
  directory: PeerDirectory,
  model: string,
  attachments: ReadonlyMap<PeerId, Attachment>,
  excluded: ReadonlySet<PeerId>
): Either.Either<PeerId, NobodyElected> => {
  if (!directory.models.has(model)) return Either.left(new NobodyElected({ reason: "UnknownModel" }))
  const candidates = serving(directory, model).flatMap((peer) => {
    const attachment = attachments.get(peer.info.id)
    const slots = peer.info.models.find((served) => served.id === model)?.slots
    if (attachment === undefined || slots === undefined || excluded.has(peer.info.id)) return []
    return [{ id: peer.info.id, use: attachment.inFlight / slots, attachment }]
  })
  if (candidates.length === 0) return Either.left(new NobodyElected({ reason: "NoPeer" }))
  const best = candidates
    .filter(({ use }) => use < 1 + waitingPerSlotMax)
    .reduce<(typeof candidates)[number] | undefined>(
      (chosen, next) => (chosen === undefined || compare(next, chosen) < 0 ? next : chosen),
      undefined
    )
  return best === undefined ? Either.left(new NobodyElected({ reason: "AllBusy" })) : Either.right(best.id)
}

// internal

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
