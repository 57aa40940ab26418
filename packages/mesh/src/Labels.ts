/** Labels by which requests choose among peers: where a peer is, and who it belongs to. Pure. */
import { Schema } from "effect"

/** One label as owners and clients write it: short, and fit for a header, a list and a shell. */
export const Label = Schema.String.pipe(
  Schema.pattern(/^[a-z0-9-]{1,32}$/, { message: () => "write 1 to 32 of a-z, 0-9 and -, for example eu-west" })
)

/** Represents the labels that a peer carries or a request asks for. A peer's are claims until an entry vouches. */
export const Labels = Schema.Struct({
  region: Schema.optionalWith(Label, { exact: true }),
  trust: Schema.optionalWith(Label, { exact: true })
})
export type Labels = typeof Labels.Type

/** Asks for nothing, or says nothing. */
export const none: Labels = {}

/** Returns the first label that is asked for and not carried, as people read it; undefined where all are there. */
export const missing = (asked: Labels, carried: Labels): string | undefined => {
  if (asked.region !== undefined && asked.region !== carried.region) return `region '${asked.region}'`
  if (asked.trust !== undefined && asked.trust !== carried.trust) return `trust '${asked.trust}'`
  return undefined
}
