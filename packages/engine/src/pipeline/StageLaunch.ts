/** What a stage's host is started with, checked before there is one: that the file is a stage and fits into memory. */
import { Effect } from "effect"
import { needsPairs } from "../BatchLoop.ts"
import type { CalibrationSubject } from "../CalibrationFile.ts"
import { type EngineConfig, threadsMost } from "../EngineConfig.ts"
import { EngineError } from "../EngineError.ts"
import type { Calibration } from "../EngineTuning.ts"
import type { ModelFile } from "../ModelFile.ts"
import { isFirst, isLast, type StageKeys } from "../stage/StageKeys.ts"
import * as Activations from "./Activations.ts"
import * as StageMemory from "./StageMemory.ts"
import type { StageLoad } from "./StageProtocol.ts"
import { rowsMax } from "./StageWindow.ts"

/** Represents what is to be started. */
export interface StageLaunchOptions {
  /** A stage file that `ModelFile.open` has checked. */
  readonly file: ModelFile
  readonly config: EngineConfig
  /** Most bytes that the file and the cells may take. */
  readonly memoryBytesMax: number
  /** How hidden states are stored on their way to the next stage; `f32` where absent. */
  readonly activations?: Activations.ActivationType | undefined
}

/** Represents what was found good. */
export interface StageLaunch {
  readonly keys: StageKeys
  /** Most tokens of a job. */
  readonly contextTokens: number
  /** What a calibration holds for. */
  readonly subject: CalibrationSubject
  /** Returns the host's first command, with what an earlier start learnt. */
  readonly load: (calibration: Calibration | undefined) => StageLoad
}

/**
 * Returns how a stage is started; fails where the file is none, needs more memory than there is, or has hidden states
 * that are not stored as is wished.
 */
export const make = ({
  activations = "f32",
  config,
  file,
  memoryBytesMax
}: StageLaunchOptions): Effect.Effect<StageLaunch, EngineError> =>
  Effect.suspend(() => {
    const { header, path, sha256, sizeBytes } = file
    const keys = header.stage
    if (keys === undefined) return fail("file_rejected", `${path} is no stage file; cut one`)
    const { slots } = config
    const contextTokens = Math.min(config.contextTokens, header.contextTokens)
    const refusal = StageMemory.refusalOf({ header, sizeBytes, slots, contextTokens }, memoryBytesMax)
    if (refusal !== undefined) return fail("model_unloadable", refusal)
    const fault = isLast(keys) ? undefined : Activations.faultOf(activations, header.embeddingLength)
    if (fault !== undefined) return fail("model_unloadable", fault)
    const subject = { sha256, profile: "exact", threadsMax: threadsMost(config), prefillTokens: rowsMax } as const
    const load = (calibration: Calibration | undefined): StageLoad => ({
      _tag: "Load",
      path,
      accelerator: config.accelerator,
      gpuLayers: config.gpuLayers,
      contextTokens,
      slots,
      threads: threadsMost(config),
      isFirst: isFirst(keys),
      isLast: isLast(keys),
      pairRows: needsPairs(header.quantization),
      activations,
      ...(keys.inputScale === undefined ? {} : { inputScale: keys.inputScale }),
      ...(calibration === undefined ? {} : { calibration })
    })
    return Effect.succeed({ keys, contextTokens, subject, load })
  })

// internal

const fail = (reason: "file_rejected" | "model_unloadable", detail: string) =>
  Effect.fail(new EngineError({ reason, detail }))
