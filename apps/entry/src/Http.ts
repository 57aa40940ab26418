/**
 * The HTTP door: answers go their own plain way (`http/Answering.ts`), every other address through the router. Owns the
 * server and the answers under way; when it stops it refuses new answers, lets those under way finish for a while, and
 * cuts the rest with an error.
 */
import { HttpApp, HttpMiddleware, HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Cause, Clock, Duration, Effect, Layer, type Scope } from "effect"
import { Admission, type OpenDoorError } from "./Admission.ts"
import type { ApiKeyStore, ApiKeyStoreError } from "./ApiKeyStore.ts"
import * as ChatRoutes from "./chat/ChatRoutes.ts"
import { EntryConfig } from "./EntryConfig.ts"
import type { EntryDescription } from "./EntryDescription.ts"
import type { Elections } from "./election/Elections.ts"
import type { Fallback } from "./fallback/Fallback.ts"
import * as AnswerDoor from "./http/AnswerDoor.ts"
import * as Answering from "./http/Answering.ts"
import * as ChatCompletions from "./http/ChatCompletions.ts"
import * as Completions from "./http/Completions.ts"
import * as CurrentRequest from "./http/CurrentRequest.ts"
import * as DefaultModel from "./http/DefaultModel.ts"
import * as ElectionList from "./http/ElectionList.ts"
import * as Health from "./http/Health.ts"
import { HttpAddress } from "./http/HttpAddress.ts"
import * as Metrics from "./http/Metrics.ts"
import * as Models from "./http/Models.ts"
import { canonical, pathOf } from "./http/PostedPath.ts"
import * as Resource from "./http/Resource.ts"
import * as ResponseHeaders from "./http/ResponseHeaders.ts"
import * as SampleList from "./http/SampleList.ts"
import * as SplitList from "./http/SplitList.ts"
import * as WellKnown from "./http/WellKnown.ts"
import type { Inference } from "./Inference.ts"
import { internalError, toResponse, unknownUrl } from "./OpenAiError.ts"
import * as PageRoutes from "./page/PageRoutes.ts"
import type { Performance } from "./performance/Performance.ts"
import type { Share } from "./share/Share.ts"
import type { Sla } from "./sla/Sla.ts"
import type { Splits } from "./split/Splits.ts"
import { Status } from "./status/Status.ts"
import * as StatusRoutes from "./status/StatusRoutes.ts"

const answering = [ChatCompletions.address, Completions.address]

const makeRoutes = Effect.map(PageRoutes.make, (pages) =>
  HttpRouter.concatAll(
    ...answering.map(({ path }) => Resource.makePosted(path)),
    Models.routes,
    DefaultModel.routes,
    ElectionList.routes,
    Health.routes,
    Metrics.routes,
    SampleList.routes,
    SplitList.routes,
    WellKnown.routes,
    pages.routes,
    StatusRoutes.of(pages),
    ChatRoutes.of(pages)
  )
)

/** Makes every outcome a response: an unknown address a 404, a defect a 500 whose cause only the log has. */
const answered = (routes: Effect.Effect.Success<typeof makeRoutes>) =>
  Effect.catchAllCause(routes, (cause) => {
    if (cause._tag === "Fail") {
      const { request } = cause.error
      return Effect.succeed(toResponse(unknownUrl(request.method, request.url)))
    }
    return Cause.isInterrupted(cause)
      ? Effect.failCause(cause)
      : Effect.as(Effect.logError("a request broke", cause), toResponse(internalError()))
  })

/** All but the answers: gives the request its identity, and its response the headers that all have. */
const makeApp = Effect.map(Effect.map(makeRoutes, answered), (answer) =>
  Effect.gen(function* () {
    const request = yield* HttpServerRequest.HttpServerRequest
    const info = CurrentRequest.make(request.headers["x-client-request-id"], yield* Clock.currentTimeMillis)
    const response = yield* Effect.provideService(answer, CurrentRequest.CurrentRequest, info)
    return HttpServerResponse.setHeaders(response, {
      ...(request.method === "OPTIONS" ? ResponseHeaders.preflight : {}),
      ...ResponseHeaders.of(info, yield* Clock.currentTimeMillis)
    })
  })
)

/** Serves on the configured host and port. */
export const layer: Layer.Layer<HttpAddress, OpenDoorError | ApiKeyStoreError, ApiKeyStore | Behind> = Layer.scoped(
  HttpAddress,
  Effect.suspend(() => make)
).pipe(
  // no exporter takes spans, and one per request would cost more than the rest of the door
  HttpMiddleware.withTracerDisabledWhen(() => true),
  Layer.provide(Admission.layer)
)

// internal

/** What the addresses are about. */
type Behind =
  | Elections
  | EntryConfig
  | EntryDescription
  | Fallback
  | Inference
  | Performance
  | Share
  | Sla
  | Splits
  | Status

const make: Effect.Effect<typeof HttpAddress.Service, never, Admission | Behind | Scope.Scope> = Effect.gen(
  function* () {
    const { httpHost, httpPort } = yield* EntryConfig
    const door = yield* AnswerDoor.make
    const runtime = yield* Effect.runtime<Admission | Behind>()
    const route = HttpApp.toWebHandlerRuntime(runtime)(yield* makeApp)
    const { feed } = yield* Status
    const addresses = new Map<string, Answering.AnswerAddress>(answering.map((address) => [address.path, address]))
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Bun.serve({
          hostname: httpHost,
          port: httpPort,
          idleTimeout: Duration.toSeconds(door.limits.idle),
          // The door keeps its own bound: Bun's refusal has neither body nor request id.
          maxRequestBodySize: Number.MAX_SAFE_INTEGER,
          fetch: (request, server) => {
            if (request.method !== "POST") return route(request)
            const path = pathOf(request.url)
            const address = addresses.get(path) ?? addresses.get(canonical(path))
            return address === undefined
              ? route(request)
              : Answering.answer(door, address, request, () => server.requestIP(request)?.address)
          }
        })
      ),
      (server) => Effect.sync(() => void server.stop())
    )
    yield* Effect.addFinalizer(() =>
      Effect.all([
        feed.close,
        Effect.timeoutOption(Effect.interruptible(door.draining.drain), door.limits.drain),
        door.ticking.cutAll
      ])
    )
    const port = server.port ?? httpPort
    return { url: `http://${server.hostname}:${port}`, port }
  }
)
