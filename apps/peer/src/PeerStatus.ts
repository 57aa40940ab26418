/** What `peer status` shows: the running peer's own account of itself, served on loopback by `LocalHttp.ts`. */
import { EngineTuning } from "@weft/engine/EngineTuning"
import { PipelineStats } from "@weft/engine/pipeline/PipelineHostProtocol"
import { Role } from "@weft/mesh/election/ElectionProtocol"
import { ModelDescription } from "@weft/mesh/ModelDescription"
import { PeerId } from "@weft/mesh/PeerId"
import { Schema } from "effect"

/** Represents one model of the peer and how busy it is. */
export const ModelStatus = Schema.Struct({
  ...ModelDescription.fields,
  state: Schema.Literal("loading", "ready", "restarting", "stopped"),
  active: Schema.NonNegativeInt,
  queued: Schema.NonNegativeInt,
  /** Times its engine host was started again. */
  restarts: Schema.NonNegativeInt,
  /** What its host measured to pay on this computer, and why. */
  tuning: Schema.optional(EngineTuning),
  /** Process id of its engine host, while there is one. */
  processId: Schema.optional(Schema.Int)
})
export type ModelStatus = typeof ModelStatus.Type

const Layer = Schema.Int.pipe(Schema.nonNegative())

/** Represents a model of which the peer lends layers, whether anybody wants them or not. */
export const LentModelStatus = Schema.Struct({
  model: Schema.String,
  layers: Layer,
  /** Layers `from` up to, and without, `to`; they may be all. */
  from: Layer,
  to: Layer,
  /** Path of the draft model that guesses where this peer hosts it. */
  draft: Schema.optional(Schema.String)
})
export type LentModelStatus = typeof LentModelStatus.Type

/** Represents a stage that the peer lends. */
export const LeaseStatus = Schema.Struct({
  group: Schema.String,
  model: Schema.String,
  /** The peer that hosts the pipeline. */
  host: PeerId,
  from: Layer,
  to: Layer,
  epoch: Schema.NonNegativeInt,
  state: Schema.Literal("loading", "ready"),
  /** Answers under way. */
  jobs: Schema.NonNegativeInt,
  /** Measured for one row; absent before the first. */
  msPerLayer: Schema.optional(Schema.Number),
  processId: Schema.optional(Schema.Int)
})
export type LeaseStatus = typeof LeaseStatus.Type

/** Represents a pipeline that the peer hosts. */
export const GroupStatus = Schema.Struct({
  group: Schema.String,
  model: Schema.String,
  phase: Schema.Literal("forming", "serving", "healing", "disbanded"),
  epoch: Schema.NonNegativeInt,
  stats: Schema.optional(PipelineStats),
  /** Path of the draft model that guesses; absent where none does. */
  draft: Schema.optional(Schema.String),
  stages: Schema.Array(Schema.Struct({ peer: PeerId, from: Layer, to: Layer, isReady: Schema.Boolean }))
})
export type GroupStatus = typeof GroupStatus.Type

/** Represents what the peer is for each model that it could serve alone, and whose order it follows. */
export const ElectionStatus = Schema.Struct({
  /** False where all its models fit at once: it serves them whatever an entry says, and obeys nobody. */
  isElective: Schema.Boolean,
  /** Absent where no entry ordered anything yet. */
  lease: Schema.optional(
    Schema.Struct({
      entry: PeerId,
      epoch: Schema.NonNegativeInt,
      /** Milliseconds; at 0 any entry may order the peer. */
      leftMs: Schema.NonNegativeInt
    })
  ),
  /** Why the last order was refused; absent where it was not. */
  refused: Schema.optional(Schema.String),
  models: Schema.Array(
    Schema.Struct({
      model: Schema.String,
      role: Role,
      why: Schema.String,
      needBytes: Schema.NonNegativeInt,
      /** It has an engine now; a worker that was just elected has none yet. */
      isLoaded: Schema.Boolean
    })
  )
})
export type ElectionStatus = typeof ElectionStatus.Type

/** Represents a running peer. */
export const PeerStatus = Schema.Struct({
  id: PeerId,
  name: Schema.String,
  version: Schema.String,
  /** `connecting` while the link to the entry is down; it is dialled again by itself. */
  state: Schema.Literal("connecting", "registered", "draining"),
  entry: Schema.Struct({
    url: Schema.String,
    peerId: Schema.optional(PeerId),
    address: Schema.optional(Schema.String),
    rttMs: Schema.optional(Schema.Number)
  }),
  models: Schema.Array(ModelStatus),
  lends: Schema.Array(LentModelStatus),
  leases: Schema.Array(LeaseStatus),
  groups: Schema.Array(GroupStatus),
  /** Absent where the peer has no model that it could serve alone. */
  election: Schema.optional(ElectionStatus),
  answers: Schema.Struct({
    active: Schema.NonNegativeInt,
    finished: Schema.NonNegativeInt,
    failed: Schema.NonNegativeInt,
    cancelled: Schema.NonNegativeInt
  }),
  upSeconds: Schema.Number
})
export type PeerStatus = typeof PeerStatus.Type
