/**
 * What peer and entry say of the election of solo workers: the peer which models it could serve alone, and which order
 * it follows; the entry which of them it is to serve. `SoloAssignment.ts` decides, `SoloLease.ts` is the peer's word.
 */
import { Schema } from "effect"
import { ModelDescription } from "../ModelDescription.ts"
import { PeerId } from "../PeerId.ts"

/** Most models of one peer that are elected among: with more on one disk the choice is their owner's. */
export const candidatesMax = 8

/** Represents a model that a peer has on disk and could serve alone, loaded or not; a claim, as all a peer says. */
export const SoloCandidate = Schema.Struct({
  model: ModelDescription.pipe(Schema.omit("stages", "native")),
  /** What it takes when loaded: 1.1 × its file, and the cells of all slots. */
  needBytes: Schema.NonNegativeInt
})
export type SoloCandidate = typeof SoloCandidate.Type

/** Represents what a peer offers for election; those of its candidates that it does not serve are its standbys. */
export const SoloOffer = Schema.Struct({
  /** What all that it loads may take together. */
  usableBytes: Schema.NonNegativeInt,
  candidates: Schema.Array(SoloCandidate).pipe(Schema.maxItems(candidatesMax))
})
export type SoloOffer = typeof SoloOffer.Type

/**
 * What a peer is for a model: `worker` serves it, `standby` keeps it ready on disk, and `dropped` is not counted on
 * for it.
 */
export const Role = Schema.Literal("worker", "standby", "dropped")
export type Role = typeof Role.Type

/** Represents the role of a peer for one of its models, and why. */
export const Assignment = Schema.Struct({
  model: ModelDescription.fields.id,
  role: Role,
  /** A sentence for people. */
  why: Schema.String.pipe(Schema.maxLength(256))
})
export type Assignment = typeof Assignment.Type

/** Rises with each other order for a peer, whichever entry gives it. */
const Epoch = Schema.NonNegativeInt

/** Represents what an entry wants of a peer, for a while. */
export const Order = Schema.Struct({
  epoch: Epoch,
  /** When it was given, on the clock of the entry; comes back in the peer's standing. */
  issuedAtMs: Schema.NonNegativeInt,
  /** How long nobody else may order the peer, from when it hears of this. */
  leaseMs: Schema.Int.pipe(Schema.between(1, 60_000)),
  assignments: Schema.Array(Assignment).pipe(Schema.maxItems(candidatesMax))
})
export type Order = typeof Order.Type

/** Why a peer does not follow an order; `toText` of `SoloLease.ts` says it to people. */
export const RefusalReason = Schema.Literal("StaleEpoch", "EpochReused", "LeasedElsewhere", "NotRequested", "Memory")
export type RefusalReason = typeof RefusalReason.Type

/** Represents whom a peer obeys now, as it says when it asks. */
export const Standing = Schema.Struct({
  /** Null where no order counts now. */
  lease: Schema.NullOr(
    Schema.Struct({
      entry: PeerId,
      epoch: Epoch,
      issuedAtMs: Schema.NonNegativeInt,
      leftMs: Schema.Int.pipe(Schema.between(0, 60_000))
    })
  ),
  /** Largest epoch that it ever followed. */
  highestEpoch: Epoch,
  /** What it refused last, and of whom; null where it followed the last order. */
  refused: Schema.NullOr(Schema.Struct({ entry: PeerId, epoch: Epoch, reason: RefusalReason }))
})
export type Standing = typeof Standing.Type
