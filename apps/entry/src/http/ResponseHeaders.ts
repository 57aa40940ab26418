/** The headers that every response carries whatever it says. */
import * as RateLimit from "../RateLimit.ts"
import * as VerdictHeaders from "../sla/VerdictHeaders.ts"
import type { RequestInfo } from "./CurrentRequest.ts"

/** Returns the headers of a response that is sent now, those of what it says aside. */
export const of = ({ id, standing, startedMs }: RequestInfo, nowMs: number): Record<string, string> => {
  const headers: Record<string, string> = {
    ...headersOfAll,
    "x-request-id": id,
    "openai-processing-ms": String(Math.max(0, nowMs - startedMs))
  }
  const { requests, tokens } = standing
  if (requests !== undefined) {
    headers["x-ratelimit-limit-requests"] = String(requests.bucket.perMinute)
    headers["x-ratelimit-remaining-requests"] = String(requests.remaining)
    headers["x-ratelimit-reset-requests"] = RateLimit.goDuration(requests.resetMs)
  }
  if (tokens !== undefined) {
    headers["x-ratelimit-limit-tokens"] = String(tokens.bucket.perMinute)
    headers["x-ratelimit-remaining-tokens"] = String(tokens.remaining)
    headers["x-ratelimit-reset-tokens"] = RateLimit.goDuration(tokens.resetMs)
  }
  return headers
}

/** What browsers may send: the headers of OpenAI's own clients; a response to `OPTIONS` says it. */
export const preflight: Readonly<Record<string, string>> = {
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
    "X-Weft-Region",
    "X-Weft-Trust",
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
    ...VerdictHeaders.names
  ].join(", ")
}
