/** Opens the draft model that a pipeline host's first command names, beside its stage. Owned by the host's process. */
import { Effect, type Scope } from "effect"
import { type EngineError, fromOpening } from "../EngineError.ts"
import * as HostTuning from "../HostTuning.ts"
import * as LlamaStage from "../internal/llama/LlamaStage.ts"
import * as DraftModel from "./DraftModel.ts"
import type { DraftLoad, PipelineLoad } from "./PipelineHostProtocol.ts"
import * as StageLoop from "./StageLoop.ts"
import { answerRowsMax } from "./StageWindow.ts"

/**
 * Returns the draft model for answers of a model with so many tokens, once it is loaded and measured; it is closed with
 * the scope. It computes in the exact profile, whose memory was counted.
 */
export const open = (
  { accelerator, gpuLayers, slots, threads }: PipelineLoad,
  { contextTokens, path }: DraftLoad,
  vocabularyTokens: number
): Effect.Effect<DraftModel.DraftModel, EngineError, Scope.Scope> => {
  const now = () => performance.now()
  const sizes = { path, accelerator, gpuLayers, contextTokens, slots, threads, rowsMax: answerRowsMax }
  const llama = Effect.try({
    try: () => LlamaStage.open({ ...sizes, isFirst: true, isLast: true, onProgress: () => {} }),
    catch: fromOpening
  })
  return Effect.map(
    Effect.acquireRelease(llama, ({ close }) => Effect.sync(close)),
    (llama) => {
      const limits = { profile: "exact", threadsMax: threads, prefillTokens: answerRowsMax, contextTokens } as const
      const tuning = HostTuning.make(llama, { ...limits, calibration: undefined }, now)
      const loop = StageLoop.make(
        llama,
        { contextTokens, slots, pairRows: false, inputScale: undefined },
        tuning.decode
      )
      const { oneRowMs } = tuning.calibration
      return DraftModel.make({ loop, contextTokens, vocabularyTokens, tokenMs: oneRowMs, now })
    }
  )
}
