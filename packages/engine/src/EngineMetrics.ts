/**
 * Counters of engines, in prom-client's global register, by model. Set where the state changes:
 * `EngineSupervisor.ts`.
 */
import { ModelHistogram } from "@weft/mesh/ModelHistogram"
import { Effect, type Scope } from "effect"
import { Counter, Gauge } from "prom-client"

/** Counts hosts that were started again after a death; a host that never came up is not counted. */
export const restarts = new Counter({
  name: "weft_engine_restarts_total",
  help: "Engine hosts started again after they died",
  labelNames: ["model"] as const
})

/** Shows sequences that run now; compare with the model's slots. */
export const activeSequences = new Gauge({
  name: "weft_engine_active_sequences",
  help: "Answers that hold a slot",
  labelNames: ["model"] as const
})

/** Shows requests without a slot, those that wait for a host that starts included. */
export const queuedRequests = new Gauge({
  name: "weft_engine_queued_requests",
  help: "Requests that wait for a slot",
  labelNames: ["model"] as const
})

/** By model; looking labels up in prom-client once a token would cost more than the count. */
const tokens = new Map<string, { prompt: number; completion: number }>()

/**
 * Counts tokens: `prompt` when an answer starts, `completion` when one is drawn; the token that ends an answer is
 * not.
 */
export const countTokens = (model: string, kind: "prompt" | "completion", count: number): void => {
  const sums = tokens.get(model) ?? { prompt: 0, completion: 0 }
  sums[kind] += count
  tokens.set(model, sums)
}

new Counter({
  name: "weft_engine_tokens_total",
  help: "Tokens of prompts that were started and of answers that were drawn",
  labelNames: ["model", "kind"] as const,
  collect() {
    this.reset()
    for (const [model, { completion, prompt }] of tokens) {
      this.inc({ model, kind: "prompt" }, prompt)
      this.inc({ model, kind: "completion" }, completion)
    }
  }
})

/** Observes each turn of the batch loop: one decode and the draws after it. */
export const decodeSeconds = new ModelHistogram({
  name: "weft_engine_decode_seconds",
  help: "Time of one turn over all running sequences",
  // From one token of a tiny model to a full batch of a large one on an old processor.
  buckets: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10]
})

/** Represents an engine as scrapes see it. */
export interface ObservedEngine {
  readonly model: string
  /** Answers it gives at once. */
  readonly slots: number
  /** Whether its host is up; loading, starting again and given up are not. */
  readonly isReady: () => boolean
}

const engines = new Set<ObservedEngine>()

/** Shows an engine until the scope closes. */
export const observeEngine = (engine: ObservedEngine): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => void engines.add(engine)),
    () => Effect.sync(() => void engines.delete(engine))
  )

new Gauge({
  name: "weft_engine_slots",
  help: "Answers that a model gives at once",
  labelNames: ["model"] as const,
  collect() {
    this.reset()
    for (const { model, slots } of engines) this.inc({ model }, slots)
  }
})

new Gauge({
  name: "weft_engine_ready",
  help: "1 while the engine host of a model is up",
  labelNames: ["model"] as const,
  collect() {
    this.reset()
    for (const { isReady, model } of engines) this.set({ model }, isReady() ? 1 : 0)
  }
})
