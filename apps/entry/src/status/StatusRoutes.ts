/**
 * `/status`, the page; `/api/status`, its figures; `/api/status/history` and `/api/status/stream`. Public, as they hold
 * nothing that is anybody's own; bounded in size, and made at most once a second however many ask.
 */
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect, Schema } from "effect"
import * as Resource from "../http/Resource.ts"
import { internalError, invalidRequest, tooManyWatchers, unknownUrl } from "../OpenAiError.ts"
import * as Assets from "./page/Assets.ts"
import { originPlaceholder, type Theme, toHtml } from "./page/StatusPage.tsx"
import { historyLengths, Status } from "./Status.ts"
import { History } from "./StatusDocument.ts"
import type { Told } from "./StatusFeed.ts"

/** Makes the routes; the page's files and the last pages are kept for as long as they. */
export const make = Effect.gen(function* () {
  const assets = yield* Effect.cached(
    Effect.catchTag(Assets.make, "AssetsBroken", (error) =>
      Effect.zipRight(Effect.logError(error.message, error), internalError())
    )
  )
  return HttpRouter.concatAll(
    Resource.make("/api/status", document),
    Resource.make("/api/status/history", history),
    Resource.make("/api/status/stream", stream),
    Resource.make("/assets/:name", asset(assets)),
    Resource.make("/status", page(assets))
  )
})

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

type MadeAssets = Effect.Effect<Assets.Assets, ReturnType<typeof internalError>>

const asset = (assets: MadeAssets) =>
  Effect.gen(function* () {
    const { headers, method, url } = yield* HttpServerRequest.HttpServerRequest
    const { name = "" } = yield* HttpRouter.params
    const file = (yield* assets).files.get(name)
    if (file === undefined) return yield* unknownUrl(method, url)
    const isGzipped = /\bgzip\b/.test(headers["accept-encoding"] ?? "")
    return HttpServerResponse.uint8Array(isGzipped ? file.gzipped : file.bytes, {
      contentType: file.contentType,
      headers: {
        ...safety,
        // a year, as other content has another name
        "cache-control": "public, max-age=31536000, immutable",
        vary: "accept-encoding",
        ...(isGzipped ? { "content-encoding": "gzip" } : {})
      }
    })
  })

const page = (assets: MadeAssets) => {
  /** The pages of the last document by theme. */
  let kept: { readonly told: Told | undefined; readonly pages: Map<Theme, string> } = {
    told: undefined,
    pages: new Map()
  }
  return Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const files = yield* assets
    const told = yield* (yield* Status).told
    if (kept.told !== told) kept = { told, pages: new Map() }
    const theme = themeOf(headers["cookie"] ?? "")
    const html = kept.pages.get(theme) ?? toHtml({ ...told, theme, assets: files })
    kept.pages.set(theme, html)
    const host = headers["host"] ?? ""
    return HttpServerResponse.text(plainHost.test(host) ? html.replaceAll(originPlaceholder, `http://${host}`) : html, {
      contentType: "text/html; charset=utf-8",
      headers: { ...safety, "cache-control": "no-store" }
    })
  })
}

/** Hosts that need no escaping in a page. */
const plainHost = /^[\w.:[\]-]{1,260}$/

const themeOf = (cookies: string): Theme => {
  const chosen = /(?:^|;\s*)weft-theme=(light|dark)(?:;|$)/.exec(cookies)?.[1]
  return chosen === "light" || chosen === "dark" ? chosen : "system"
}

/** Nothing from elsewhere, nothing inline, in nobody's frame. */
const safety = {
  "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer"
} as const
