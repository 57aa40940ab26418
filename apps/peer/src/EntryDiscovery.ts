/** Where an entry's mesh side is: `GET /.well-known/weft` is all that a peer needs to know of an entry. */
import { HttpClient, HttpClientResponse } from "@effect/platform"
import { EntryDescription } from "@weft/mesh/EntryDescription"
import { Clock, Data, Effect, Schema, Stream } from "effect"

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
/** Most bytes of a description: 16 addresses of 256 characters and an id are under 5 KiB. */
const descriptionBytesMax = 64 * 1024

/** Asks the entry at `url` who it is; also returns by how many milliseconds our clock is ahead of its (±1 s). */
export const discover = Effect.fn("EntryDiscovery.discover")(function* (url: string) {
  const { description, response } = yield* HttpClient.get(`${url.replace(/\/+$/, "")}/.well-known/weft`).pipe(
    Effect.flatMap(HttpClientResponse.filterStatusOk),
    Effect.flatMap((response) => Effect.map(readDescription(response), (description) => ({ description, response }))),
    Effect.timeout(deadline),
    Effect.mapError((cause) => new EntryUnreachable({ url, cause }))
  )
  const dateMs = Date.parse(response.headers["date"] ?? "")
  const clockSkewMs = Number.isNaN(dateMs) ? undefined : (yield* Clock.currentTimeMillis) - dateMs
  return { description, clockSkewMs }
})

/**
 * Returns the address to dial: an entry that listens on every interface names no host, so the one by which we reached
 * it over HTTP stands in. What is no address stays as it is, for the transport to refuse.
 */
export const dialable = (address: string, url: string): string => {
  const host = URL.canParse(address) ? new URL(address).hostname : ""
  return ["0.0.0.0", "[::]"].includes(host) ? address.replace(host, new URL(url).hostname) : address
}

// internal

const decode = Schema.decodeUnknown(Schema.parseJson(EntryDescription))

const nothingRead: { readonly parts: ReadonlyArray<Uint8Array>; readonly bytes: number } = { parts: [], bytes: 0 }

/** Reads no more than a description has, as anything may answer at an address that was typed in. */
const readDescription = (response: HttpClientResponse.HttpClientResponse) =>
  response.stream.pipe(
    Stream.runFoldEffect(nothingRead, ({ bytes, parts }, part) =>
      bytes + part.length > descriptionBytesMax
        ? Effect.fail(new Error(`more than ${descriptionBytesMax} bytes`))
        : Effect.succeed({ parts: [...parts, part], bytes: bytes + part.length })
    ),
    Effect.flatMap(({ parts }) => decode(Buffer.concat(parts).toString()))
  )
