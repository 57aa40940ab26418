/** What became of requests that the gate would give away, on prom-client's global register; sums until a scrape. */
import { Counter, Gauge } from "prom-client"
import type { Breaker } from "../Breaker.ts"
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

/** Notes that the provider's breaker is like this now. */
export const breakerChanged = ({ _tag }: Breaker): void => {
  breaker = _tag
  if (_tag === "Open") opened++
}

// internal

const allResults: ReadonlyArray<FallbackResult> = [
  "served",
  "failed",
  "broken",
  "left",
  "trial",
  "breaker-open",
  "budget-exhausted",
  "fallback-disabled",
  "tier-not-allowed",
  "model-not-mapped",
  "request-not-portable"
]

const results = new Map<FallbackResult, number>()
const failures = new Map<ProviderFailure, number>()
let breaker: Breaker["_tag"] = "Closed"
let opened = 0

const states: Readonly<Record<Breaker["_tag"], string>> = { Closed: "closed", HalfOpen: "half-open", Open: "open" }

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

const breakerState: Gauge<"state"> = new Gauge({
  name: "weft_fallback_breaker_state",
  help: "1 for what the provider's breaker is: closed, open, half-open while one request tries it; 0 for the others.",
  labelNames: ["state"] as const,
  collect: () => {
    for (const [tag, state] of Object.entries(states)) breakerState.set({ state }, tag === breaker ? 1 : 0)
  }
})

new Counter({
  name: "weft_fallback_breaker_opened_total",
  help: "Times the provider was left alone for a while as it had failed, trials that failed included.",
  collect() {
    this.reset()
    this.inc(opened)
  }
})
