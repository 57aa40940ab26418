/** What a peer says of a model of which it lends layers: enough for a plan of stages, before anything is cut. */
import { Schema } from "effect"
import { Layer, layersMax, ModelDescription } from "./ModelDescription.ts"

/** Most ranges of one model that a peer says it has cut already: more files than it keeps. */
const heldMax = 64

const Bytes = Schema.NonNegativeInt

/** Represents layers `from` up to, and without, `to`. */
export const LayerRange = Schema.Struct({ from: Layer, to: Layer })
export type LayerRange = typeof LayerRange.Type

/** Represents a model that a peer has as a file and of which it lends layers; a claim, as all a peer says. */
export const StageOffer = Schema.Struct({
  /** The whole model, with the context and the slots that each stage of it would have. */
  model: ModelDescription,
  layers: Layer,
  /** What it lends for all its stages together. */
  memoryBytes: Bytes,
  /** Bytes of each layer's tensors, in order. */
  layerBytes: Schema.Array(Bytes).pipe(Schema.maxItems(layersMax)),
  /** Bytes of what the first stage holds beside its layers; what is in each stage is little, and counts here alone. */
  embeddingBytes: Bytes,
  /** Bytes of what the last stage holds beside its layers. */
  headBytes: Bytes,
  /** Bytes of the cells of one token in one layer. */
  cellBytesPerTokenLayer: Bytes,
  /** Layers that a stage other than the first may begin with, rising. */
  cuts: Schema.Array(Layer).pipe(Schema.maxItems(layersMax)),
  /** Ranges that lie cut on its disk. */
  held: Schema.Array(LayerRange).pipe(Schema.maxItems(heldMax)),
  /** Milliseconds that one of its layers takes for one token, as measured; absent before it computed any. */
  layerMs: Schema.optionalWith(Schema.Number.pipe(Schema.between(0, 1e6)), { exact: true }),
  /** Lends layers of this range only; of all where absent. */
  only: Schema.optionalWith(LayerRange, { exact: true })
})
export type StageOffer = typeof StageOffer.Type
