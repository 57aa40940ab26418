/** What an entry says of itself at `GET /.well-known/weft`. */
import { Schema } from "effect"
import { PeerId } from "./PeerId.ts"

/** Represents an entry as peers find it; they trust the id and prove it in the hello. */
export const EntryDescription = Schema.Struct({
  peerId: PeerId,
  /** Addresses to dial, the preferred first: `quic://HOST:PORT`, `https://HOST:PORT/weft`. */
  meshAddresses: Schema.Array(Schema.String.pipe(Schema.maxLength(256))).pipe(Schema.minItems(1), Schema.maxItems(16)),
  /** Version of the hello and of what follows it. */
  protocolVersion: Schema.Int.pipe(Schema.positive()),
  /** Version of the program. */
  version: Schema.String.pipe(Schema.maxLength(32))
})
export type EntryDescription = typeof EntryDescription.Type
