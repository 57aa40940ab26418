/**
 * `/status`, the page; `/api/status`, its figures; `/api/status/history` and `/api/status/stream`. Public, as they hold
 * nothing that is anybody's own; bounded in size, and made at most once a second however many ask.
 */
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect, Schema } from "effect"
import { h } from "preact"
import * as Resource from "../http/Resource.ts"
import { invalidRequest, tooManyWatchers } from "../OpenAiError.ts"
import type { PageRoutes } from "../page/PageRoutes.ts"
import { originPlaceholder } from "../page/PageShell.tsx"
import { StatusView } from "./page/StatusView.tsx"
import { historyLengths, Status } from "./Status.ts"
import { History } from "./StatusDocument.ts"

/** Returns the routes. */
export const of = (pages: PageRoutes) =>
  HttpRouter.concatAll(
    Resource.make("/api/status", document),
    Resource.make("/api/status/history", history),
    Resource.make("/api/status/stream", stream),
    Resource.make("/status", pages.handler({ name: "status", title: "Weft status", shown }))
  )

// internal

const json = (text: string, maxAgeSeconds: number): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(text, {
    contentType: "application/json",
    headers: { "cache-control": `public, max-age=${maxAgeSeconds}` }
  })

const document = Effect.gen(function* () {
  const told = yield* (yield* Status).told
  return json(told.json, 1)
})

const encodeHistory = Schema.encodeSync(Schema.parseJson(History))

const history = Effect.gen(function* () {
  const { url } = yield* HttpServerRequest.HttpServerRequest
  const asked = new URL(url, "http://entry").searchParams.get("hours") ?? String(historyLengths[0])
  const length = historyLengths.find((hours) => String(hours) === asked)
  if (length === undefined) return yield* invalidRequest(`hours must be one of ${historyLengths.join(", ")}.`, "hours")
  return json(encodeHistory(yield* (yield* Status).history(length)), 5)
})

const stream = Effect.gen(function* () {
  const events = yield* Effect.catchTag((yield* Status).feed.watch, "TooManyWatchers", () => tooManyWatchers())
  return HttpServerResponse.stream(events, {
    contentType: "text/event-stream",
    // nginx would keep events back
    headers: { "cache-control": "no-store", "x-accel-buffering": "no" }
  })
})

/** Drawn again when the document is. */
const shown = Effect.map(
  Effect.flatMap(Status, ({ told }) => told),
  ({ document, json }) => ({
    json,
    draw: () => h(StatusView, { document, origin: originPlaceholder, zone: "utc", link: "none", ageSeconds: 0 })
  })
)
