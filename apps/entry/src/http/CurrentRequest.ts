/** What belongs to one HTTP request whatever it asks: its id, when it came, and the headers its response gets. */
import { Context } from "effect"
import type { Standing } from "../RateLimit.ts"

/** Represents one request under way. */
export interface RequestInfo {
  /** `req_` and 32 hexadecimal digits; also the id of the answer on the mesh. */
  readonly id: string
  /** The client's own id for its logs, at most 128 printable characters. */
  readonly clientRequestId: string | undefined
  readonly startedMs: number
  /** What the response says of the caller's limits, be it a success or not; filled by who lets the request in. */
  readonly standing: Standing
}

/** Gives the request under way. */
export class CurrentRequest extends Context.Tag("@weft/entry/http/CurrentRequest")<CurrentRequest, RequestInfo>() {}

/** Makes the identity of a request that came just now; `clientRequestId` is the header of that name. */
export const make = (clientRequestId: string | null | undefined, startedMs: number): RequestInfo => ({
  id: `req_${crypto.randomUUID().replaceAll("-", "")}`,
  clientRequestId: printable(clientRequestId),
  startedMs,
  standing: {}
})

// internal

const printable = (value: string | null | undefined): string | undefined =>
  typeof value === "string" && /^[\x21-\x7e]{1,128}$/.test(value) ? value : undefined
