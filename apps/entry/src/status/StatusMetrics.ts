/** The figures of the status document on prom-client's global register; models that are gone go from here too. */
import { Gauge } from "prom-client"
import type { StatusDocument } from "./StatusDocument.ts"

const ttft = new Gauge({
  name: "weft_model_ttft_seconds",
  help: "Time to the first text of a model's answers through the mesh, of the last hour; absent where none was.",
  labelNames: ["model", "mode", "quantile"] as const
})

const rate = new Gauge({
  name: "weft_model_tokens_per_second",
  help: "Tokens per second of a model's answers through the mesh, of the last hour; 95 % are above quantile 0.95.",
  labelNames: ["model", "mode", "quantile"] as const
})

const samples = new Gauge({
  name: "weft_model_samples",
  help: "Answers of the last hour that the figures of weft_model_ttft_seconds come from; absent where there are none.",
  labelNames: ["model", "mode"] as const
})

const nativeRate = new Gauge({
  name: "weft_model_native_tokens_per_second",
  help: "Tokens per second that peers measured with no mesh in the way; pair of weft_model_tokens_per_second.",
  labelNames: ["model"] as const
})

const efficiency = new Gauge({
  name: "weft_model_efficiency_ratio",
  help: "Through-mesh over native tokens per second; absent where one of them is not measured.",
  labelNames: ["model"] as const
})

/** Shows the document. */
export const observe = (document: StatusDocument): void => {
  for (const gauge of [ttft, rate, samples, nativeRate, efficiency]) gauge.reset()
  for (const { efficiency: part, id: model, mode, native, through } of document.models) {
    if (mode === null) continue
    if (through !== null) {
      samples.set({ model, mode }, through.samples)
      ttft.set({ model, mode, quantile: "0.5" }, through.ttftMs.p50 / 1000)
      ttft.set({ model, mode, quantile: "0.95" }, through.ttftMs.p95 / 1000)
    }
    if (through?.tokensPerSecond != null) {
      rate.set({ model, mode, quantile: "0.5" }, through.tokensPerSecond.p50)
      rate.set({ model, mode, quantile: "0.95" }, through.tokensPerSecond.p95)
    }
    if (native !== null) nativeRate.set({ model }, native.tokensPerSecond)
    if (part.ratio !== null) efficiency.set({ model }, part.ratio)
  }
}
