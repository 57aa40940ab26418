/**
 * What a stage's supervisor and its host say to each other beside stage frames, which go both ways as bytes: one
 * command before all of them, and events. The host's are checked like a stranger's, as it runs a stranger's file.
 */
import { Schema } from "effect"
import { Accelerator } from "../EngineConfig.ts"
import { ProgressEvent, RefusedEvent } from "../EngineProtocol.ts"
import { Calibration } from "../EngineTuning.ts"
import { ActivationType } from "./Activations.ts"
import { widthMax } from "./StageFrame.ts"

/** Represents the first and only command of a supervisor. */
export const StageLoad = Schema.TaggedStruct("Load", {
  path: Schema.String,
  accelerator: Accelerator,
  gpuLayers: Schema.NonNegativeInt,
  contextTokens: Schema.Int.pipe(Schema.positive()),
  slots: Schema.Int.pipe(Schema.positive()),
  threads: Schema.Int.pipe(Schema.positive()),
  isFirst: Schema.Boolean,
  isLast: Schema.Boolean,
  pairRows: Schema.Boolean,
  inputScale: Schema.optional(Schema.Number.pipe(Schema.finite())),
  /** How it stores the hidden states that it gives out. */
  activations: ActivationType,
  /** What an earlier start learnt; measured where absent. */
  calibration: Schema.optional(Calibration)
})
export type StageLoad = typeof StageLoad.Type

/** Represents that frames are taken from now on; hidden states have `width` values. */
export const ReadyEvent = Schema.TaggedStruct("Ready", {
  width: Schema.Int.pipe(Schema.between(1, widthMax)),
  calibration: Calibration
})

/** Represents what a stage's host reports. */
export const StageEvent = Schema.Union(
  ProgressEvent,
  ReadyEvent,
  RefusedEvent,
  /** Comes behind the frames of each turn. */
  Schema.TaggedStruct("Turn", {
    /** Frames taken since the start. */
    taken: Schema.NonNegativeInt,
    /** Windows that wait to be computed. */
    waiting: Schema.NonNegativeInt,
    /** Seconds the turn took; absent where nothing waited. */
    decodeSeconds: Schema.optional(Schema.Number.pipe(Schema.nonNegative()))
  })
)
export type StageEvent = typeof StageEvent.Type
