/** What became of requests that the gate would give away, on prom-client's global register; sums until a scrape. */
import { Counter } from "prom-client"
import type { FallbackStatus } from "./Decision.ts"
import { type ProviderFailure, providerFailures } from "./ProviderAnswer.ts"

/** How a request for which the gate missed ended: who kept it here, or what the provider made of it. */
export type FallbackResult = Exclude<FallbackStatus, "not-needed"> | "broken" | "left"

/** Counts the result of one request, once. */
export const ended = (result: FallbackResult): void => {
  results.set(result, (results.get(result) ?? 0) + 1)
}

/** Counts what a provider did wrong, before or after its first text. */
export const failed = (reason: ProviderFailure): void => {
  failures.set(reason, (failures.get(reason) ?? 0) + 1)
}

// internal

const allResults: ReadonlyArray<FallbackResult> = [
  "served",
  "failed",
  "broken",
  "left",
  "trial",
  "budget-exhausted",
  "fallback-disabled",
  "tier-not-allowed",
  "model-not-mapped",
  "request-not-portable"
]

const results = new Map<FallbackResult, number>()
const failures = new Map<ProviderFailure, number>()

new Counter({
  name: "weft_fallback_total",
  help:
    "Requests for which the gate missed. served: the provider answered; broken: it failed within its answer; left: " +
    "the client did; all others were asked of the mesh, and say why.",
  labelNames: ["result"] as const,
  collect() {
    this.reset()
    for (const result of allResults) this.inc({ result }, results.get(result) ?? 0)
  }
})

new Counter({
  name: "weft_fallback_failures_total",
  help: "Answers of the provider that failed, by what it did wrong; failed and broken of weft_fallback_total.",
  labelNames: ["reason"] as const,
  collect() {
    this.reset()
    for (const reason of providerFailures) this.inc({ reason }, failures.get(reason) ?? 0)
  }
})
