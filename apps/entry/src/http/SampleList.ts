/** `GET /api/samples`: what this entry measured within the last hour, for other entries alone. */
import { HttpServerRequest, HttpServerResponse } from "@effect/platform"
import { Clock, Effect, Option, Redacted } from "effect"
import { hashOf, isSameHash, presented } from "../ApiKeys.ts"
import { EntryConfig, isLoopback } from "../EntryConfig.ts"
import { EntryDescription } from "../EntryDescription.ts"
import { invalidApiKey, unknownUrl } from "../OpenAiError.ts"
import { Performance } from "../performance/Performance.ts"
import * as SampleReport from "../performance/SampleReport.ts"
import * as Resource from "./Resource.ts"

/** Without a token the address is there on loopback only. */
const list = Effect.gen(function* () {
  const { headers, method, url } = yield* HttpServerRequest.HttpServerRequest
  const { entriesToken, httpHost } = yield* EntryConfig
  if (Option.isSome(entriesToken)) {
    const shown = presented(headers.authorization)
    const isKnown = shown !== undefined && isSameHash(hashOf(shown), hashOf(Redacted.value(entriesToken.value)))
    if (!isKnown) return yield* invalidApiKey("Samples are for other entries: send their WEFT_ENTRIES_TOKEN.")
  } else if (!isLoopback(httpHost)) return yield* unknownUrl(method, url)
  const { peerId } = yield* EntryDescription
  const text = SampleReport.write(peerId, (yield* Performance).own(), yield* Clock.currentTimeMillis)
  return HttpServerResponse.text(text, { contentType: "application/json" })
})

/** Shows what was measured here. */
export const routes = Resource.make("/api/samples", list)
