/**
 * What the supervisor and its engine host say to each other: commands one way, events the other, each one frame. The
 * supervisor names each answer by a number of its own, as the requests' ids are the clients' business.
 */
import { Schema } from "effect"
import { Accelerator } from "./EngineConfig.ts"
import { EngineErrorReason } from "./EngineError.ts"
import { Calibration, EngineTuning } from "./EngineTuning.ts"
import { GenerateEvent, GenerateRequest, Profile } from "./Generation.ts"

/** Largest frame either way in bytes: a prompt at its bound in UTF-8, with room for the rest. */
export const frameBytesMax = 32 * 1024 * 1024
/** Most events of one turn: a few for each of 64 sequences, and the refusals of a whole queue of 4096. */
const turnEventsMax = 5000

const AnswerKey = Schema.NonNegativeInt

/** Represents a request for an answer. */
export const GenerateCommand = Schema.TaggedStruct("Generate", { key: AnswerKey, request: GenerateRequest })
/** Represents that nobody waits for an answer any more. */
export const CancelCommand = Schema.TaggedStruct("Cancel", { key: AnswerKey })
/** Represents how much of a model is loaded. */
export const ProgressEvent = Schema.TaggedStruct("Progress", { fraction: Schema.Number.pipe(Schema.between(0, 1)) })
/** Represents why a model is not loaded; the host ends behind it. */
export const RefusedEvent = Schema.TaggedStruct("Refused", {
  reason: EngineErrorReason,
  detail: Schema.String.pipe(Schema.maxLength(1024))
})
/** Represents what came of one turn. */
export const TurnEvent = Schema.TaggedStruct("Turn", {
  /** Seconds the decode took; absent where nothing was computed. */
  decodeSeconds: Schema.optional(Schema.Number.pipe(Schema.nonNegative())),
  events: Schema.Array(Schema.Tuple(AnswerKey, GenerateEvent)).pipe(Schema.maxItems(turnEventsMax)),
  /** Answers that were let go before this turn; their slots may be taken again in it. */
  cancelled: Schema.Array(AnswerKey).pipe(Schema.maxItems(turnEventsMax))
})

/** Represents what the supervisor tells the host: `Load` once and first, then any of the others. */
export const HostCommand = Schema.Union(
  Schema.TaggedStruct("Load", {
    path: Schema.String,
    accelerator: Accelerator,
    gpuLayers: Schema.NonNegativeInt,
    contextTokens: Schema.Int.pipe(Schema.positive()),
    slots: Schema.Int.pipe(Schema.positive()),
    threads: Schema.Int.pipe(Schema.positive()),
    prefillTokens: Schema.Int.pipe(Schema.positive()),
    profile: Profile,
    pairRows: Schema.Boolean,
    calibration: Schema.optional(Calibration)
  }),
  GenerateCommand,
  CancelCommand
)
export type HostCommand = typeof HostCommand.Type

/** Represents what the host reports. An answer ends with its `Finished` or `Failed`, or in `cancelled`. */
export const HostEvent = Schema.Union(
  ProgressEvent,
  Schema.TaggedStruct("Ready", {}),
  /** What the host uses from now on; `calibration` is there where it was measured just now. */
  Schema.TaggedStruct("Tuned", { tuning: EngineTuning, calibration: Schema.optional(Calibration) }),
  RefusedEvent,
  TurnEvent
)
export type HostEvent = typeof HostEvent.Type
