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

/** Represents the draft model beside the first stage. */
export const DraftLoad = Schema.Struct({
  /** A whole model's file, which was checked. */
  path: Schema.String,
  /** Cells of each slot; there are as many slots as the stage has. */
  contextTokens: Schema.Int.pipe(Schema.positive())
})
export type DraftLoad = typeof DraftLoad.Type

/** Represents the first command. */
export const PipelineLoad = Schema.Struct({
  ...StageLoad.fields,
  /** Tokens are guessed ahead where that pays. */
  speculates: Schema.Boolean,
  /** Guesses too; only the lookup does where absent. */
  draft: Schema.optional(DraftLoad),
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

/** Represents the first event: frames are taken from now on. */
export const PipelineReady = Schema.TaggedStruct("Ready", {
  ...ReadyEvent.fields,
  /** Why there is no draft model where one was wished; the pipeline goes without. */
  draftFault: Schema.optional(Schema.String.pipe(Schema.maxLength(1024)))
})

/** Represents guesses that were sent, and those of them that turned out right. */
export const DraftCount = Schema.Struct({ drafted: Schema.NonNegativeInt, accepted: Schema.NonNegativeInt })
export type DraftCount = typeof DraftCount.Type

/** Represents what a pipeline's answers took and gave so far. */
export const PipelineStats = Schema.Struct({
  /** Time of one row through all stages and back; absent until one was measured since the pipeline was made. */
  loopMs: Schema.optional(Milliseconds),
  /** Part of it that the first stage computes. */
  ownMs: Milliseconds,
  /** The first stage's time for one row that was alone; absent before one was. */
  rowMs: Schema.optional(Milliseconds),
  /** Guesses from what stood there before. */
  lookup: DraftCount,
  /** Those of the draft model, where there is one, and its time for each. */
  model: Schema.optional(Schema.Struct({ ...DraftCount.fields, tokenMs: Milliseconds }))
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
  PipelineReady,
  RefusedEvent,
  TurnEvent,
  Schema.TaggedStruct("Fault", PipelineFault.fields),
  Schema.TaggedStruct("Seen", { stats: PipelineStats })
)
export type PipelineEvent = typeof PipelineEvent.Type
