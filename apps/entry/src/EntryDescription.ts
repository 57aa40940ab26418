/** What the entry tells peers of itself at `GET /.well-known/weft`: all they need to dial it. */
import { Context, Schema } from "effect"

/** Represents an entry as peers read it. */
export const EntryDescriptionSchema = Schema.Struct({
  /** `did:key` form. */
  peerId: Schema.String,
  /** As a transport dials them, e.g. `quic://203.0.113.7:8443`; best first. */
  meshAddresses: Schema.Array(Schema.String),
  protocolVersion: Schema.Int
})
export type EntryDescriptionShape = typeof EntryDescriptionSchema.Type

/** Gives the description of this entry; the mesh side makes it once it listens. */
export class EntryDescription extends Context.Tag("@weft/entry/EntryDescription")<
  EntryDescription,
  EntryDescriptionShape
>() {}
