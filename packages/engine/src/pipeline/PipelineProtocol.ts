/**
 * What makes a pipeline out of peers. The entry sends the host a `Form` on a `split` stream, whose life is the group's;
 * the host takes a lease of each stage with a `Reserve` on a `stage` stream; hidden states and tokens go over `edge`
 * streams, which begin with an `Edge` and then carry frames of `StageFrame.ts`. Everything is checked by its reader.
 */
import { Layer, ModelDescription } from "@weft/mesh/ModelDescription"
import { PeerId } from "@weft/mesh/PeerId"
import { Schema } from "effect"
import { ActivationType } from "./Activations.ts"
import { widthMax } from "./StageFrame.ts"
import { StagePermit } from "./StagePermit.ts"

/** Most stages of a pipeline: with more of them the loop alone takes longer than anybody waits for a token. */
export const stagesMax = 16
/** Most peers that wait to take a stage over. */
export const sparesMax = 8

/** Most characters of a reason; `reasonOf` cuts longer ones. */
const reasonCharactersMax = 512

/** Number of a pipeline; raised each time it is made again. */
const Epoch = Schema.Int.pipe(Schema.between(1, 0xffff_ffff))
/** 128 random bits; names a pipeline in all its epochs. */
const Group = Schema.String.pipe(Schema.pattern(/^[0-9a-f]{32}$/))
const Fraction = Schema.Number.pipe(Schema.between(0, 1))
const Reason = Schema.String.pipe(Schema.maxLength(reasonCharactersMax))
const Sha256 = ModelDescription.fields.sha256
const ContextTokens = Schema.Int.pipe(Schema.between(2, 2 ** 26))
/** How the hidden states lie in frames from stage to stage; `f32`, and so exact, where absent. */
const EdgeActivations = Schema.optionalWith(ActivationType, { exact: true })
const SlotCount = Schema.Int.pipe(Schema.between(1, 256))

/** Returns a text as a reason. */
export const reasonOf = (text: string): string => text.slice(0, reasonCharactersMax)

/** Represents a peer and where others reach it, `HOST:PORT`. */
export const PeerPlace = Schema.Struct({ peer: PeerId, address: Schema.String.pipe(Schema.maxLength(128)) })
export type PeerPlace = typeof PeerPlace.Type

/** Represents a stage of a plan: layers `from` up to, and without, `to`. */
export const StagePlace = Schema.Struct({ ...PeerPlace.fields, from: Layer, to: Layer })
export type StagePlace = typeof StagePlace.Type

/** Represents the entry's wish: the host is the peer of the first stage, which reads it. */
export const Form = Schema.TaggedStruct("Form", {
  group: Group,
  /** The whole model; `contextTokens` and `slots` are those of each stage. */
  model: ModelDescription,
  layers: Layer,
  /** In order, covering all layers once. */
  stages: Schema.Array(StagePlace).pipe(Schema.minItems(2), Schema.maxItems(stagesMax)),
  /** In the order in which they take over. */
  spares: Schema.Array(PeerPlace).pipe(Schema.maxItems(sparesMax)),
  /** For each stage but the host's own, and for each spare. */
  permits: Schema.Array(StagePermit).pipe(Schema.maxItems(stagesMax + sparesMax)),
  activations: EdgeActivations
})
export type Form = typeof Form.Type

/**
 * Represents what the entry says later: who may take a stage over now, in that order, those before left out. Comes also
 * where only the permits are new, before the last ones expire.
 */
export const Spares = Schema.TaggedStruct("Spares", {
  spares: Form.fields.spares,
  permits: Schema.Array(StagePermit).pipe(Schema.maxItems(sparesMax))
})
export type Spares = typeof Spares.Type

/** Represents what the host tells the entry of its group. */
export const GroupEvent = Schema.Union(
  Schema.TaggedStruct("Forming", {
    peer: PeerId,
    state: Schema.Literal("reserving", "loading", "ready"),
    fraction: Fraction
  }),
  /** Answers flow through these stages. */
  Schema.TaggedStruct("Serving", { epoch: Epoch, stages: Schema.Array(StagePlace).pipe(Schema.maxItems(stagesMax)) }),
  /** A stage is lost; answers wait while the host heals the pipeline. */
  Schema.TaggedStruct("Broken", { peer: Schema.optionalWith(PeerId, { exact: true }), reason: Reason }),
  /** The last word. */
  Schema.TaggedStruct("Disbanded", { peer: Schema.optionalWith(PeerId, { exact: true }), reason: Reason })
)
export type GroupEvent = typeof GroupEvent.Type

/** Represents what a host asks of a stage. */
export const StageRequest = Schema.Union(
  /** Comes first and once: load these layers and keep them while the stream lives. */
  Schema.TaggedStruct("Reserve", {
    group: Group,
    epoch: Epoch,
    model: Schema.Struct({ id: ModelDescription.fields.id, sha256: Sha256 }),
    layers: Layer,
    from: Layer,
    to: Layer,
    contextTokens: ContextTokens,
    slots: SlotCount,
    activations: EdgeActivations,
    host: PeerId,
    /** The entry's, for this peer. */
    permit: StagePermit,
    /** The only peer that frames are taken from; none while it is a spare. */
    previous: Schema.NullOr(PeerId),
    /** Where its frames go; none at the tail and while it is a spare. */
    next: Schema.NullOr(PeerPlace)
  }),
  /** From now on its neighbours are these; frames of older epochs are stale. */
  Schema.TaggedStruct("Rewire", { epoch: Epoch, previous: PeerId, next: Schema.NullOr(PeerPlace) })
)
export type StageRequest = typeof StageRequest.Type

/** Represents what a stage tells its host. */
export const StageReply = Schema.Union(
  Schema.TaggedStruct("Loading", { fraction: Fraction }),
  /** The layers are loaded, and the edges of this epoch to its neighbour and to the host are open. */
  Schema.TaggedStruct("Ready", {
    epoch: Epoch,
    /** Of the stage file it runs. */
    stageSha256: Sha256,
    /** Values of a hidden state. */
    width: Schema.Int.pipe(Schema.between(1, widthMax)),
    /** Measured for one row; none where nothing was computed yet. */
    msPerLayer: Schema.NullOr(Schema.Number.pipe(Schema.between(0, 1e6)))
  }),
  /** Frames of this epoch come in or are computed; about twice a second, for as long as it is so. */
  Schema.TaggedStruct("Working", { epoch: Epoch }),
  /** It does not lend the layers; the last word. */
  Schema.TaggedStruct("Refused", { reason: Reason }),
  /** Frames do not pass between it and `peer` in this epoch; its layers stay loaded and wait for a `Rewire`. */
  Schema.TaggedStruct("Parted", { epoch: Epoch, peer: PeerId, reason: Reason }),
  /** The lease is over. */
  Schema.TaggedStruct("Lost", { reason: Reason })
)
export type StageReply = typeof StageReply.Type

/** Represents the first frame of an edge: what its sender belongs to, and in which direction the frames go. */
export const Edge = Schema.TaggedStruct("Edge", {
  group: Group,
  epoch: Epoch,
  to: Schema.Literal("next", "host")
})
export type Edge = typeof Edge.Type
