/**
 * What a pipeline's engine and its host, the process of the first stage, say to each other beside stage frames,
 * which go as bytes: those for the next stage out of the host, those of later stages into it. The host's events are
 * checked like a stranger's, as it runs a stranger's file.
 */
import { Schema } from "effect"
import { CancelCommand, GenerateCommand, ProgressEvent, RefusedEvent, TurnEvent } from "../EngineProtocol.ts"
import { ReadyEvent, StageLoad } from "./StageProtocol.ts"

const Epoch = Schema.Int.pipe(Schema.between(1, 0xffff_ffff))
const Milliseconds = Schema.Number.pipe(Schema.nonNegative())

/** Represents the first command. */
export const PipelineLoad = Schema.Struct({
  ...StageLoad.fields,
  /** Tokens are guessed ahead where that pays. */
  speculates: Schema.Boolean,
  /** Time without a word of any stage, after which they are said to be stuck. */
  stallMs: Schema.Number.pipe(Schema.positive())
})
export type PipelineLoad = typeof PipelineLoad.Type

/** Represents what the engine tells the host: `Load` once and first, then any of the others. */
export const PipelineCommand = Schema.Union(
  PipelineLoad,
  GenerateCommand,
  CancelCommand,
  /** The stages behind the first are up under this number. */
  Schema.TaggedStruct("Connect", { epoch: Epoch }),
  Schema.TaggedStruct("Disconnect", {}),
  /** Is answered by `Seen`, behind the faults of windows that nothing was heard of. */
  Schema.TaggedStruct("Look", {
    /** A later stage said since the last look that it works. */
    isWorking: Schema.Boolean
  })
)
export type PipelineCommand = typeof PipelineCommand.Type

/** Represents what a pipeline's answers took and gave so far. */
export const PipelineStats = Schema.Struct({
  /** Time of one row through all stages and back; absent until one was measured since the pipeline was made. */
  loopMs: Schema.optional(Milliseconds),
  /** Part of it that the first stage computes. */
  ownMs: Milliseconds,
  /** The first stage's time for one row that was alone; absent before one was. */
  rowMs: Schema.optional(Milliseconds),
  /** Tokens that were guessed and sent, and those that turned out right. */
  drafted: Schema.NonNegativeInt,
  accepted: Schema.NonNegativeInt
})
export type PipelineStats = typeof PipelineStats.Type

/** Represents that a later stage refuses a job, says what cannot be, or keeps silent. */
export const PipelineFault = Schema.Struct({
  /** The pipeline that it happened in. */
  epoch: Epoch,
  /** `tail`: its tokens do not fit; `refusal`: some stage does not go on; `silence`: nobody knows. */
  kind: Schema.Literal("tail", "refusal", "silence"),
  reason: Schema.String.pipe(Schema.maxLength(1024))
})
export type PipelineFault = typeof PipelineFault.Type

/** Represents what the host reports. */
export const PipelineEvent = Schema.Union(
  ProgressEvent,
  ReadyEvent,
  RefusedEvent,
  TurnEvent,
  Schema.TaggedStruct("Fault", PipelineFault.fields),
  Schema.TaggedStruct("Seen", { stats: PipelineStats })
)
export type PipelineEvent = typeof PipelineEvent.Type
