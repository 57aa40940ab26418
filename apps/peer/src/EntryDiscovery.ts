/** Where an entry's mesh side is: `GET /.well-known/weft` is all that a peer needs to know of an entry. */
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { EntryDescription } from "@weft/mesh/EntryDescription"
import { Clock, Data, Effect } from "effect"

/** Represents an entry that could not be asked; the message says what to do. */
export class EntryUnreachable extends Data.TaggedError("EntryUnreachable")<{
  readonly url: string
  readonly cause: unknown
}> {
  override get message(): string {
    return `No Weft entry answers at '${this.url}'. Check the address given with --entry and that the entry runs.`
  }
}

/** Longest wait for an entry's description: a slow handshake over a satellite link, twice. */
const deadline = "10 seconds"

/** Asks the entry at `url` who it is; also returns by how many milliseconds our clock is ahead of its (±1 s). */
export const discover = Effect.fn("EntryDiscovery.discover")(function* (url: string) {
  const unreachable = (cause: unknown) => new EntryUnreachable({ url, cause })
  const response = yield* HttpClient.get(`${url.replace(/\/+$/, "")}/.well-known/weft`).pipe(
    Effect.flatMap(HttpClientResponse.filterStatusOk),
    Effect.timeout(deadline),
    Effect.mapError(unreachable)
  )
  const description = yield* HttpClientResponse.schemaBodyJson(EntryDescription)(response).pipe(
    Effect.timeout(deadline),
    Effect.mapError(unreachable)
  )
  const dateMs = Date.parse(response.headers["date"] ?? "")
  const clockSkewMs = Number.isNaN(dateMs) ? undefined : (yield* Clock.currentTimeMillis) - dateMs
  return { description, clockSkewMs }
})

/**
 * Returns the address to dial: an entry that listens on every interface names no host, so the one by which we reached
 * it over HTTP stands in.
 */
export const dialable = (address: string, url: string): string => {
  const mesh = new URL(address)
  if (!["0.0.0.0", "[::]"].includes(mesh.hostname)) return address
  return address.replace(mesh.hostname, new URL(url).hostname)
}
