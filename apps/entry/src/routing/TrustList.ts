/**
 * Who may carry which label of trust, as the operator vouches in `WEFT_TRUST`: what a peer says of itself is a claim
 * that anybody could make. Pure.
 */
import type { Labels } from "@weft/mesh/Labels"
import { Label } from "@weft/mesh/Labels"
import { PeerId } from "@weft/mesh/PeerId"
import { Data, Either, Schema } from "effect"

/** Represents the labels that each peer may carry. */
export type TrustList = ReadonlyMap<PeerId, ReadonlySet<string>>

/** Vouches for nobody. */
export const empty: TrustList = new Map()

/** Most entries of a list: each peer of a full directory with one label. */
const entriesMax = 10_000

/** Represents an entry of `WEFT_TRUST` that is none. */
export class TrustListError extends Data.TaggedError("TrustListError")<{
  /** Place in the list, from 1. */
  readonly place: number
  readonly reason: string
}> {
  override get message(): string {
    return `entry ${this.place}: ${this.reason}. Write label=PEERID, separated by commas; 'peer identity' shows the id`
  }
}

/** Returns the list of `label=PEERID,…`. */
export const parseList = (text: string): Either.Either<TrustList, TrustListError> => {
  const entries = text.split(",").map((entry) => entry.trim())
  if (entries.length > entriesMax) {
    return Either.left(new TrustListError({ place: entriesMax + 1, reason: "too many entries" }))
  }
  const list = new Map<PeerId, Set<string>>()
  for (const [index, entry] of entries.entries()) {
    if (entry === "") continue
    const [label, peer, ...more] = entry.split("=")
    if (!isLabel(label) || more.length > 0) {
      return Either.left(new TrustListError({ place: index + 1, reason: "its label is not 1 to 32 of a-z, 0-9 and -" }))
    }
    if (!isPeerId(peer)) return Either.left(new TrustListError({ place: index + 1, reason: "it names no peer" }))
    list.set(peer, (list.get(peer) ?? new Set()).add(label))
  }
  return Either.right(list)
}

/** Returns the labels of a peer that count: its region as it says, its trust where the list vouches for it. */
export const carried = ({ id, labels }: { readonly id: PeerId; readonly labels?: Labels }, list: TrustList): Labels => {
  if (labels?.trust === undefined) return labels ?? none
  if (list.get(id)?.has(labels.trust)) return labels
  return labels.region === undefined ? none : { region: labels.region }
}

// internal

const none: Labels = {}
const isLabel = Schema.is(Label)
const isPeerId = Schema.is(PeerId)
