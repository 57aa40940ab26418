/** What the router counts, handed over at a scrape, as a decision must stay cheap; on prom-client's global register. */
import { Counter, Gauge } from "prom-client"
import type { Router } from "./Router.ts"

/** Counts answers sent to peers, tries and failovers each; `weft_requests_total` counts what became of requests. */
export const sent: Counter = new Counter({
  name: "weft_routes_total",
  help: "Times a peer was chosen for an answer, retries and failovers included.",
  collect: () => give(sent, ({ counts }) => counts.sent)
})

/** Counts conversations that went on at another peer than the one that answered before. */
export const moves: Counter = new Counter({
  name: "weft_route_moves_total",
  help: "Times a conversation went on at another peer than before.",
  collect: () => give(moves, ({ counts }) => counts.moves)
})

/** Counts prompt tokens that were sent to peers, estimated from the bytes of prompts. */
export const promptTokens: Counter = new Counter({
  name: "weft_route_prompt_tokens_total",
  help: "Prompt tokens sent to peers, estimated; weft_route_cached_tokens_total are a part of them.",
  collect: () => give(promptTokens, ({ counts }) => counts.promptTokens)
})

/** Counts those of them that the chosen peer was expected not to compute again. */
export const cachedTokens: Counter = new Counter({
  name: "weft_route_cached_tokens_total",
  help: "Prompt tokens that the chosen peer had been sent before, estimated; part of weft_route_prompt_tokens_total.",
  collect: () => give(cachedTokens, ({ counts }) => counts.cachedTokens)
})

/** Peers whose breaker is open. */
export const openBreakers: Gauge = new Gauge({
  name: "weft_route_breakers_open",
  help: "Peers that get no requests for a while, as they failed several.",
  collect: () => void openBreakers.set(observed?.openBreakers() ?? 0)
})

/** Hands the counts of this router over at each scrape; of several in one process those of the last. */
export const observe = (router: Router, nowMs: () => number): void => {
  observed = { counts: router.counts, openBreakers: () => router.openBreakers(nowMs()) }
}

// internal

interface Observed {
  readonly counts: Router["counts"]
  readonly openBreakers: () => number
}

let observed: Observed | undefined

const give = (counter: Counter, of: (observed: Observed) => number): void => {
  counter.reset()
  counter.inc(observed === undefined ? 0 : of(observed))
}
