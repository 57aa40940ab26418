/**
 * The figures of the status document on prom-client's global register, read when somebody scrapes; models that are gone
 * go from here too.
 */
import { Effect, Runtime, type Scope } from "effect"
import { Gauge } from "prom-client"
import type { StatusDocument } from "./StatusDocument.ts"

/** Shows what `document` tells for the time of the scope; of several entries in one process the last one's. */
export const observe = (document: Effect.Effect<StatusDocument>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.runtime(), (runtime) => {
    const read = () => Runtime.runPromise(runtime)(document)
    return Effect.acquireRelease(
      Effect.sync(() => {
        shown = read
      }),
      () =>
        Effect.sync(() => {
          if (shown === read) shown = undefined
        })
    )
  })

// internal

let shown: (() => Promise<StatusDocument>) | undefined

type Model = StatusDocument["models"][number]
type Mode = NonNullable<Model["mode"]>

/** Empties `gauge` and gives `each` every model that the mesh serves. */
const show = (gauge: Pick<Gauge, "reset">, each: (model: Model, mode: Mode) => void): Promise<void> =>
  (shown?.() ?? Promise.resolve({ models: [] })).then(({ models }) => {
    gauge.reset()
    for (const model of models) if (model.mode !== null) each(model, model.mode)
  })

const ttft: Gauge<"model" | "mode" | "quantile"> = new Gauge({
  name: "weft_model_ttft_seconds",
  help: "Time to the first text of a model's answers through the mesh, of the last hour; absent where none was.",
  labelNames: ["model", "mode", "quantile"] as const,
  collect: () =>
    show(ttft, ({ id: model, through }, mode) => {
      if (through === null) return
      ttft.set({ model, mode, quantile: "0.5" }, through.ttftMs.p50 / 1000)
      ttft.set({ model, mode, quantile: "0.95" }, through.ttftMs.p95 / 1000)
    })
})

const rate: Gauge<"model" | "mode" | "quantile"> = new Gauge({
  name: "weft_model_tokens_per_second",
  help: "Tokens per second of a model's answers through the mesh, of the last hour; 95 % are above quantile 0.95.",
  labelNames: ["model", "mode", "quantile"] as const,
  collect: () =>
    show(rate, ({ id: model, through }, mode) => {
      if (through?.tokensPerSecond == null) return
      rate.set({ model, mode, quantile: "0.5" }, through.tokensPerSecond.p50)
      rate.set({ model, mode, quantile: "0.95" }, through.tokensPerSecond.p95)
    })
})

const samples: Gauge<"model" | "mode"> = new Gauge({
  name: "weft_model_samples",
  help: "Answers of the last hour that the figures of weft_model_ttft_seconds come from; absent where there are none.",
  labelNames: ["model", "mode"] as const,
  collect: () =>
    show(samples, ({ id: model, through }, mode) => {
      if (through !== null) samples.set({ model, mode }, through.samples)
    })
})

const nativeRate: Gauge<"model"> = new Gauge({
  name: "weft_model_native_tokens_per_second",
  help: "Tokens per second that peers measured with no mesh in the way; pair of weft_model_tokens_per_second.",
  labelNames: ["model"] as const,
  collect: () =>
    show(nativeRate, ({ id: model, native }) => {
      if (native !== null) nativeRate.set({ model }, native.tokensPerSecond)
    })
})

const efficiency: Gauge<"model"> = new Gauge({
  name: "weft_model_efficiency_ratio",
  help: "Through-mesh over native tokens per second; absent where one of them is not measured.",
  labelNames: ["model"] as const,
  collect: () =>
    show(efficiency, ({ id: model, efficiency: part }) => {
      if (part.ratio !== null) efficiency.set({ model }, part.ratio)
    })
})
