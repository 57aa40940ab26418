/**
 * Asks the other entries what they measured. Owns one fiber for each; what one tells takes the place of what it told
 * before, so that nothing counts twice, and what cannot be had again is forgotten as it grows old.
 */
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "@effect/platform"
import type { PeerId } from "@weft/mesh/PeerId"
import { Clock, Effect, Either, Layer, Option, Schedule, Stream } from "effect"
import { EntryConfig } from "../EntryConfig.ts"
import { EntryDescription } from "../EntryDescription.ts"
import * as GossipMetrics from "./GossipMetrics.ts"
import { Performance } from "./Performance.ts"
import * as SampleReport from "./SampleReport.ts"

/** With jitter and deadline, what one entry measures is known to all within 41 s. */
const askEvery = "30 seconds"
/** A report is made from memory; who takes longer is asked again later. */
const deadline = "5 seconds"

/** Asks for as long as the layer lives. */
export const layer: Layer.Layer<never, never, EntryConfig | EntryDescription | Performance> = Layer.scopedDiscard(
  Effect.gen(function* () {
    const { entries } = yield* EntryConfig
    const told: Told = new Map()
    yield* Effect.forEach(entries, (url) => Effect.forkScoped(keepAsking(url, told)), { discard: true })
  })
).pipe(
  // a redirect would show the token to somebody else
  Layer.provide(Layer.merge(FetchHttpClient.layer, Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" })))
)

// internal

/** Who answered last, by URL. */
type Told = Map<string, PeerId>

const keepAsking = (url: string, told: Told) => {
  let lastWhy: string | undefined
  const once = Effect.gen(function* () {
    const answered = yield* Effect.either(Effect.timeout(ask(url), deadline))
    const now = yield* Clock.currentTimeMillis
    const { peerId } = yield* EntryDescription
    const report = Either.flatMap(
      Either.mapLeft(answered, ({ message }) => message),
      (text) => SampleReport.read(text, peerId, now)
    )
    const why = Either.isLeft(report) ? report.left : undefined
    GossipMetrics.reports.inc({ result: why === undefined ? "taken" : "refused" })
    if (Either.isRight(report)) yield* take(url, told, report.right)
    // for hours the same, it is worth one line
    if (why !== undefined && why !== lastWhy) yield* Effect.logWarning(`${url} tells nothing: ${why}`)
    lastWhy = why
  })
  return once.pipe(
    Effect.repeat(Schedule.jittered(Schedule.spaced(askEvery))),
    Effect.annotateLogs({ module: "Gossip" })
  )
}

/** Where another entry answers at the same URL, the one before is gone. */
const take = Effect.fnUntraced(function* (
  url: string,
  told: Told,
  { entry, measured }: Either.Either.Right<ReturnType<typeof SampleReport.read>>
) {
  const performance = yield* Performance
  const before = told.get(url)
  told.set(url, entry)
  if (before !== undefined && ![...told.values()].includes(before)) performance.replace(before, [])
  performance.replace(entry, measured)
})

const ask = Effect.fnUntraced(function* (url: string) {
  const { entriesToken } = yield* EntryConfig
  const client = yield* HttpClient.HttpClient
  const request = HttpClientRequest.get(`${url}/api/samples`)
  const response = yield* client
    .execute(
      Option.match(entriesToken, {
        onNone: () => request,
        onSome: (token) => HttpClientRequest.bearerToken(request, token)
      })
    )
    .pipe(Effect.flatMap(HttpClientResponse.filterStatusOk))
  let bytes = 0
  return yield* response.stream.pipe(
    Stream.tap((piece) => {
      bytes += piece.length
      return bytes > SampleReport.bytesMax ? Effect.fail(tooLarge) : Effect.void
    }),
    Stream.decodeText(),
    Stream.mkString
  )
}, Effect.scoped)

const tooLarge = { message: `a report of more than ${SampleReport.bytesMax} bytes` }
