/**
 * One answer of the provider: asks it for a stream whatever the client wants, reads that within its bounds of time and
 * size, and tells the events as they come. The key goes to the configured address and nowhere else: no redirect is
 * followed.
 */
import { FetchHttpClient, HttpClient, type HttpClientError, HttpClientRequest } from "@effect/platform"
import type { GenerateEvent } from "@weft/engine/Generation"
import { type Chunk, Clock, Duration, Effect, Layer, Option, type Scope, Stream } from "effect"
import type { FallbackConfig } from "./FallbackConfig.ts"
import { FallbackLimits, type FallbackLimitsShape } from "./FallbackLimits.ts"
import { ProviderAnswer, ProviderFailed } from "./ProviderAnswer.ts"

/** Represents what is asked of a provider. */
export interface ProviderRequest {
  /** The address at the entry, `/v1/…`; the provider's is the same behind its base. */
  readonly path: `/v1/${string}`
  /** The client's own body, decoded and found good. */
  readonly body: Readonly<Record<string, unknown>>
  /** The provider's name of the model. */
  readonly model: string
  /** An estimate, for providers that do not count. */
  readonly promptTokens: number
}

/** Reads one answer of the provider to its last event; `told` gets at least one event at a time, never `Failed`. */
export const answer = Effect.fnUntraced(
  function* (config: FallbackConfig, request: ProviderRequest, told: (events: ReadonlyArray<GenerateEvent>) => void) {
    const limits = yield* FallbackLimits
    const reader = new ProviderAnswer(request.promptTokens, limits)
    const begun = open(config, request).pipe(
      Effect.timeoutFail({ duration: limits.firstByte, onTimeout: () => new ProviderFailed({ reason: "late" }) })
    )
    const startedMs = yield* Clock.currentTimeMillis
    const { first, pull } = yield* begun
    yield* Effect.catchIf(
      read(first, pull, reader, limits, startedMs, told),
      // the text is whole: what else goes wrong costs the counts alone
      () => reader.isWhole,
      () => Effect.void
    )
    const last = yield* reader.end()
    told([last])
  },
  Effect.scoped,
  Effect.provide(Layer.merge(FetchHttpClient.layer, Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" })))
)

// internal

type Bytes = Chunk.Chunk<Uint8Array>
type Pull = Effect.Effect<Bytes, Option.Option<HttpClientError.ResponseError>>

/** Asks, and returns what came first; none where the stream is empty. */
const open = (
  config: FallbackConfig,
  { body, model, path }: ProviderRequest
): Effect.Effect<
  { readonly first: Option.Option<Bytes>; readonly pull: Pull },
  ProviderFailed,
  HttpClient.HttpClient | Scope.Scope
> =>
  Effect.gen(function* () {
    const client = HttpClient.withTracerPropagation(yield* HttpClient.HttpClient, false)
    const text = JSON.stringify({ ...body, model, stream: true, stream_options: { include_usage: true } })
    const response = yield* client
      .execute(
        HttpClientRequest.post(`${config.url}${path.slice("/v1".length)}`).pipe(
          HttpClientRequest.bearerToken(config.key),
          HttpClientRequest.setHeaders({ accept: "text/event-stream", "accept-encoding": "identity" }),
          HttpClientRequest.bodyText(text, "application/json")
        )
      )
      .pipe(Effect.mapError(() => new ProviderFailed({ reason: "unreachable" })))
    const { status } = response
    if (status < 200 || status > 299) return yield* new ProviderFailed({ reason: "status", status })
    const pull = yield* Stream.toPull(response.stream)
    return { first: yield* orEnd(pull), pull }
  })

/** Returns what comes next; none at the end. A stream that breaks was cut. */
const orEnd = (pull: Pull): Effect.Effect<Option.Option<Bytes>, ProviderFailed> =>
  Effect.catchAll(Effect.asSome(pull), (end) =>
    Option.isNone(end) ? Effect.succeedNone : new ProviderFailed({ reason: "cut" })
  )

/** Reads until nothing more is to be read. */
const read = Effect.fnUntraced(function* (
  first: Option.Option<Bytes>,
  pull: Pull,
  reader: ProviderAnswer,
  limits: FallbackLimitsShape,
  startedMs: number,
  told: (events: ReadonlyArray<GenerateEvent>) => void
) {
  let lastTextMs = startedMs
  let next = first
  while (Option.isSome(next)) {
    for (const bytes of next.value) {
      const events = yield* reader.feed(bytes)
      if (reader.isDone && events.length === 0) return
      if (events.length === 0) continue
      lastTextMs = yield* Clock.currentTimeMillis
      told(events)
    }
    if (reader.isDone) return
    const idleMs = Duration.toMillis(limits.idle) - ((yield* Clock.currentTimeMillis) - lastTextMs)
    next = yield* Effect.timeoutFail(orEnd(pull), {
      duration: reader.isWhole ? limits.usage : Duration.millis(Math.max(0, idleMs)),
      onTimeout: () => new ProviderFailed({ reason: "silent" })
    })
  }
})
