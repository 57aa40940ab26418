/**
 * How pages are served: their files under `/assets`, each page as HTML in the reader's theme. Owns the files, which are
 * made when the first page is asked for, and the last HTML of each page, so that a page that did not change is not
 * drawn again.
 */
import { HttpRouter, HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Effect } from "effect"
import type { ComponentChildren } from "preact"
import * as Resource from "../http/Resource.ts"
import { type ApiError, internalError, unknownUrl } from "../OpenAiError.ts"
import * as Assets from "./Assets.ts"
import { originPlaceholder, type PageShell, type Theme, toHtml } from "./PageShell.tsx"

/** Represents one page: what it is called, and what it shows now. */
export interface Page<R> extends Pick<PageShell, "name" | "title"> {
  readonly shown: Effect.Effect<PageContent, ApiError, R>
}

/** Represents what a page shows; two with the same `json` look the same. */
export interface PageContent {
  readonly json: string
  readonly draw: () => ComponentChildren
}

/** Makes the files' routes, and what makes the handler of a page. */
export const make = Effect.map(
  Effect.cached(
    Effect.catchTag(Assets.make, "AssetsBroken", (error) =>
      Effect.zipRight(Effect.logError(error.message, error), internalError())
    )
  ),
  (assets) => ({
    routes: Resource.make("/assets/:name", asset(assets)),
    handler: <R>(page: Page<R>) => handler(assets, page)
  })
)

/** Represents what pages are served with. */
export type PageRoutes = Effect.Effect.Success<typeof make>

// internal

type MadeAssets = Effect.Effect<Assets.Assets, ApiError>

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

const handler = <R>(assets: MadeAssets, { name, shown, title }: Page<R>) => {
  /** The HTML of what was shown last, by theme. */
  let kept: { readonly json: string | undefined; readonly pages: Map<Theme, string> } = {
    json: undefined,
    pages: new Map()
  }
  return Effect.gen(function* () {
    const { headers } = yield* HttpServerRequest.HttpServerRequest
    const files = yield* assets
    const { draw, json } = yield* shown
    if (kept.json !== json) kept = { json, pages: new Map() }
    const theme = themeOf(headers["cookie"] ?? "")
    const html = kept.pages.get(theme) ?? toHtml({ name, title, json, theme, assets: files, content: draw() })
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
