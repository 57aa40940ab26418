/**
 * The entry's word that one peer may lend a stage to the host of one group, without which no peer does: signed by the
 * entry, carried to the host in its `Form` and shown to the lender with each `Reserve`. What is signed is made again
 * from what is asked for, so a permit is worth nothing for another group, host, peer or model. Pure.
 */
import * as Identity from "@weft/mesh/Identity"
import type { ModelDescription } from "@weft/mesh/ModelDescription"
import { Layer } from "@weft/mesh/ModelDescription"
import { PeerId } from "@weft/mesh/PeerId"
import { Schema } from "effect"

/** Of an Ed25519 signature. */
const signatureBytes = 64

/** Represents a permit for `peer`, which is good for ranges of at most so many layers. */
export const StagePermit = Schema.Struct({
  peer: PeerId,
  layersMax: Layer,
  /** Milliseconds since 1970; a stage that was lent by then stays so. */
  expiresAtMs: Schema.NonNegativeInt,
  signature: Schema.Uint8ArrayFromSelf.pipe(Schema.filter((bytes) => bytes.length === signatureBytes))
})
export type StagePermit = typeof StagePermit.Type

/** Represents what a permit is for. */
export interface Permitted {
  readonly group: string
  readonly host: PeerId
  readonly model: Pick<ModelDescription, "sha256">
  readonly peer: PeerId
}

/** Represents what a host asks for and what it shows for it. */
export interface Reservation extends Permitted {
  readonly from: number
  readonly to: number
  readonly permit: StagePermit
}

/**
 * How long a permit may be used. Entries renew those of spares well before; a host that lost its entry has no more use
 * for them by then.
 */
export const validityMs = 10 * 60_000
/** Clocks of volunteers' machines differ, as with announcements. */
const skewMsMax = 30_000

/** Signs a permit that is good from `nowMs` on. */
export const sign = (
  entry: typeof Identity.Identity.Service,
  permitted: Permitted,
  layersMax: number,
  nowMs: number
): StagePermit => {
  const terms = { layersMax, expiresAtMs: nowMs + validityMs }
  return { peer: permitted.peer, ...terms, signature: entry.sign(signed(permitted, terms)) }
}

/** Returns why `entry` does not permit a reservation; undefined where it does. */
export const refusalOf = (reservation: Reservation, entry: PeerId | undefined, nowMs: number): string | undefined => {
  const { from, permit, to } = reservation
  if (entry === undefined) return "not permitted: this peer knows no entry yet"
  if (!Identity.verify(entry, signed(reservation, permit), permit.signature))
    return "not permitted: this peer's entry has not signed it"
  if (nowMs > permit.expiresAtMs + skewMsMax)
    return "not permitted any more: the time is over; compare the clocks with: bun run peer doctor"
  return to - from > permit.layersMax ? `not permitted: more than ${permit.layersMax} layers` : undefined
}

// internal

/** Fields have no zero bytes, as their schemas see to, so each is closed by one. */
const signed = (
  { group, host, model, peer }: Permitted,
  { expiresAtMs, layersMax }: Pick<StagePermit, "layersMax" | "expiresAtMs">
): Uint8Array => {
  const fields = ["weft/permit/1", group, host, peer, model.sha256, layersMax, expiresAtMs]
  return new TextEncoder().encode(fields.map((field) => `${field}\0`).join(""))
}
