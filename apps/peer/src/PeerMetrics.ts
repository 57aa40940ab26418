/** The peer's own figures beside those of mesh, engine and actors; one registry, served by `LocalHttp.ts`. */
import { Counter, Gauge, Histogram } from "prom-client"

/** Counts answers when they end; `finished` + `failed` + `cancelled` are all that began but those still active. */
export const answers = new Counter({
  name: "weft_peer_answers_total",
  help: "Answers that ended, by outcome",
  labelNames: ["outcome"] as const
})

/** Shows the answers under way as `count` says them; the engine's active sequences leave those out that wait. */
export const observeActive = (count: () => number): void => {
  active.count = count
}
const active = { count: () => 0 }
new Gauge({
  name: "weft_peer_active_answers",
  help: "Answers under way",
  collect() {
    this.set(active.count())
  }
})

/** Observes an answer's whole time on this peer when it ends, however it ends. The buckets are OpenTelemetry's. */
export const answerDuration = new Histogram({
  name: "weft_peer_answer_duration_seconds",
  help: "Time from a request's arrival to the end of its answer",
  buckets: [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
})

/** Counts each try to reach the entry by how it ended; `registered` is the good one. */
export const links = new Counter({
  name: "weft_peer_links_total",
  help: "Tries to link with the entry, by result",
  labelNames: ["result"] as const
})

/** Shows what a model gave with no mesh in the way, when that was last measured; pair of the entry's figures. */
export const nativeTokensPerSecond = new Gauge({
  name: "weft_native_tokens_per_second",
  help: "Tokens per second of a model with no mesh in the way; absent until it was measured.",
  labelNames: ["model"] as const
})

/** Shows the same measurement's time to the first text. */
export const nativeTtft = new Gauge({
  name: "weft_native_ttft_seconds",
  help: "Time to the first text of a model with no mesh in the way; absent until it was measured.",
  labelNames: ["model"] as const
})

/** Is 1 while the peer is registered at its entry. */
export const registered = new Gauge({ name: "weft_peer_registered", help: "1 while registered at the entry" })
