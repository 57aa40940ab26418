/** What the HTTP door counts, on prom-client's global register. A model that nobody serves counts as `other`. */
import { ModelHistogram } from "@weft/mesh/ModelHistogram"
import { Counter, Gauge, Histogram } from "prom-client"

/** Counts requests for an answer at their end, by the status the client saw; one that its client left is a 499. */
export const requests = new Counter({
  name: "weft_requests_total",
  help: "Requests for an answer, by model and HTTP status at their end; 499: the client left.",
  labelNames: ["model", "code"] as const
})

/** Measures from a request's arrival to the first text of its answer; answers without text are not in it. */
export const timeToFirstToken = new Histogram({
  name: "weft_ttft_seconds",
  help: "Time from the arrival of a request to the first text of its answer.",
  labelNames: ["model"] as const,
  // OpenTelemetry, gen_ai.server.time_to_first_token
  buckets: [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
})

/** Measures the time between tokens after the first; tokens that came together share their time. */
export const interTokenLatency = new ModelHistogram({
  name: "weft_inter_token_latency_seconds",
  help: "Time per token between two arrivals of text of one answer.",
  // OpenTelemetry, gen_ai.server.time_per_output_token
  buckets: [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5]
})

/** Measures the tokens per second of one answer between its first and its last text. */
export const tokensPerSecond = new Histogram({
  name: "weft_answer_tokens_per_second",
  help: "Tokens per second of an answer between its first and its last text.",
  labelNames: ["model"] as const,
  // from what nobody waits for to what the fastest accelerators give one stream
  buckets: [0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
})

/** Counts answers by whether they tell how fast their model is served, and why not. */
export const samples = new Counter({
  name: "weft_samples_total",
  help: "Answers whose time to first token and rate were recorded, or why they were not.",
  labelNames: ["model", "result"] as const
})

/** Measures from a request's arrival to the end of its answer, however it ended. */
export const requestDuration = new Histogram({
  name: "weft_request_duration_seconds",
  help: "Time from the arrival of a request to the end of its answer.",
  labelNames: ["model"] as const,
  // OpenTelemetry, gen_ai.server.request.duration
  buckets: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
})

/** Counts tokens of answers at their end, as they are charged: of a cut answer those that came. */
export const tokens = new Counter({
  name: "weft_tokens_total",
  help: "Tokens of prompts and answers.",
  labelNames: ["model", "kind"] as const
})

/** Answers under way. */
export const requestsInFlight = new Gauge({
  name: "weft_requests_in_flight",
  help: "Requests whose answer is under way.",
  labelNames: ["model"] as const
})

/** Counts peers that failed an answer which then went to another: `retry` before it had begun, `failover` after. */
export const rerouted = new Counter({
  name: "weft_route_failovers_total",
  help: "Answers given to a further peer after one failed, before (retry) or after (failover) they had begun.",
  labelNames: ["kind"] as const
})
for (const kind of ["retry", "failover"]) rerouted.inc({ kind }, 0)

/** Requests that wait at the entry for a slot of a peer; those at a peer's engine are in the peer's own metrics. */
export const queued = new Gauge({
  name: "weft_requests_queued",
  help: "Requests that wait at the entry for a free slot.",
  labelNames: ["model"] as const
})
