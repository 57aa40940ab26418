/**
 * The HTTP door: every route, and around them what each response carries whatever it says. Owns the streams under way;
 * when it stops it refuses new answers, lets those under way finish for a while, and cuts the rest with an error event.
 */
import { HttpMiddleware, HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Cause, Clock, Effect, Layer } from "effect"
import { Admission, type OpenDoorError } from "./Admission.ts"
import type { ApiKeyStore, ApiKeyStoreError } from "./ApiKeyStore.ts"
import type { EntryConfig } from "./EntryConfig.ts"
import type { EntryDescription } from "./EntryDescription.ts"
import { AnswerStream } from "./http/AnswerStream.ts"
import * as ChatCompletions from "./http/ChatCompletions.ts"
import * as Completions from "./http/Completions.ts"
import { CurrentRequest } from "./http/CurrentRequest.ts"
import { Draining } from "./http/Draining.ts"
import * as Health from "./http/Health.ts"
import { HttpLimits } from "./http/HttpLimits.ts"
import * as Metrics from "./http/Metrics.ts"
import * as Models from "./http/Models.ts"
import * as WellKnown from "./http/WellKnown.ts"
import type { Inference } from "./Inference.ts"
import { internalError, toResponse, unknownUrl } from "./OpenAiError.ts"

const routes = HttpRouter.concatAll(
  ChatCompletions.routes,
  Completions.routes,
  Models.routes,
  Health.routes,
  Metrics.routes,
  WellKnown.routes
)

/** Makes every outcome a response: an unknown address a 404, a defect a 500 whose cause only the log has. */
const answered = Effect.catchAllCause(routes, (cause) => {
  if (cause._tag === "Fail") {
    const { request } = cause.error
    return Effect.succeed(toResponse(unknownUrl(request.method, request.url)))
  }
  return Cause.isInterrupted(cause)
    ? Effect.failCause(cause)
    : Effect.as(Effect.logError("a request broke", cause), toResponse(internalError()))
})

/** The whole application: gives the request its identity, and its response the headers that all have. */
const app = Effect.gen(function* () {
  const request = yield* HttpServerRequest.HttpServerRequest
  const startedMs = yield* Clock.currentTimeMillis
  const responseHeaders: Record<string, string> = {}
  const id = `req_${crypto.randomUUID().replaceAll("-", "")}`
  const clientRequestId = printable(request.headers["x-client-request-id"])
  const response = yield* Effect.provideService(answered, CurrentRequest, {
    id,
    clientRequestId,
    startedMs,
    responseHeaders
  })
  return HttpServerResponse.setHeaders(response, {
    ...headersOfAll,
    ...(request.method === "OPTIONS" ? preflightHeaders : {}),
    ...responseHeaders,
    "x-request-id": id,
    "openai-processing-ms": String(Math.max(0, (yield* Clock.currentTimeMillis) - startedMs))
  })
})

/** Serves on the `HttpServer` in context. */
export const layer: Layer.Layer<
  never,
  OpenDoorError | ApiKeyStoreError,
  ApiKeyStore | EntryConfig | EntryDescription | HttpServer.HttpServer | Inference
> = Layer.scopedDiscard(
  Effect.gen(function* () {
    yield* HttpServer.serveEffect(app)
    const { drain } = yield* HttpLimits
    const draining = yield* Draining
    yield* Effect.addFinalizer(() => Effect.timeoutOption(Effect.interruptible(draining.drain), drain))
  })
).pipe(
  // no exporter takes spans, and one per request would cost more than the rest of the door
  HttpMiddleware.withTracerDisabledWhen(() => true),
  Layer.provide([Admission.layer, AnswerStream.layer, Draining.layer])
)

// internal

/** Headers of every response. Browsers of any origin may ask, as the key is in a header and there are no cookies. */
const headersOfAll = {
  // the version OpenAI's API names, which clients log
  "openai-version": "2020-10-01",
  "access-control-allow-origin": "*",
  "access-control-expose-headers": [
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    ...["limit", "remaining", "reset"].flatMap((kind) => [
      `x-ratelimit-${kind}-requests`,
      `x-ratelimit-${kind}-tokens`
    ]),
    "x-weft-served-by"
  ].join(", ")
}

/** What browsers may send: the headers of OpenAI's own clients. */
const preflightHeaders = {
  "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
  "access-control-allow-headers": [
    "Authorization",
    "Content-Type",
    "OpenAI-Organization",
    "OpenAI-Project",
    "OpenAI-Beta",
    "Idempotency-Key",
    "X-Client-Request-Id",
    "X-Weft-Profile",
    ...[
      "Arch",
      "Async",
      "Custom-Poll-Interval",
      "Helper-Method",
      "Lang",
      "OS",
      "Package-Version",
      "Poll-Helper",
      "Raw-Response",
      "Read-Timeout",
      "Retry-Count",
      "Runtime",
      "Runtime-Version",
      "Stream-Helper",
      "Timeout"
    ].map((name) => `X-Stainless-${name}`)
  ].join(", "),
  // two hours, the most Chromium keeps
  "access-control-max-age": "7200"
}

const printable = (value: string | undefined): string | undefined =>
  value === undefined || !/^[\x21-\x7e]{1,128}$/.test(value) ? undefined : value
