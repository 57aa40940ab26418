/** Opens the stage that a host's first command names, with the loop that computes it. Owned by the host's process. */
import { Effect, type Scope } from "effect"
import { type EngineError, fromOpening } from "../EngineError.ts"
import type { Calibration } from "../EngineTuning.ts"
import * as HostTuning from "../HostTuning.ts"
import * as LlamaStage from "../internal/llama/LlamaStage.ts"
import * as StageLoop from "./StageLoop.ts"
import type { StageLoad } from "./StageProtocol.ts"
import { rowsMax } from "./StageWindow.ts"

/** Represents a stage in this process. */
export interface OpenStage {
  readonly llama: LlamaStage.LlamaStage
  readonly loop: StageLoop.StageLoop
  readonly calibration: Calibration
}

/** Returns an open stage, measured where nothing is known of it; it is closed with the scope. */
export const open = (
  load: Omit<StageLoad, "_tag">,
  onProgress: (fraction: number) => void
): Effect.Effect<OpenStage, EngineError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.try({ try: () => LlamaStage.open({ ...load, rowsMax, onProgress }), catch: fromOpening }),
      (llama) => Effect.sync(llama.close)
    ),
    (llama) => {
      const tuning = HostTuning.make(llama, tuningOptions(load), () => performance.now())
      const loop = StageLoop.make(llama, { ...load, inputScale: load.inputScale }, tuning.decode)
      return { llama, loop, calibration: tuning.calibration }
    }
  )

// internal

const tuningOptions = ({ calibration, contextTokens, threads }: Omit<StageLoad, "_tag">) => ({
  profile: "exact" as const,
  threadsMax: threads,
  prefillTokens: rowsMax,
  contextTokens,
  calibration
})
