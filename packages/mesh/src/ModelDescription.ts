/** What a peer says of a model it holds. */
import { Schema } from "effect"
import { PeerId } from "./PeerId.ts"

/** Most layers of a model, as many as llama.cpp's arrays have. */
export const layersMax = 512
/** A layer's number, or the one behind the last. */
export const Layer = Schema.Int.pipe(Schema.between(0, layersMax))

/** Represents layers `from` up to, and without, `to` at a peer that computes them. */
export const ServedStage = Schema.Struct({ peer: PeerId, from: Layer, to: Layer })
export type ServedStage = typeof ServedStage.Type

/** What a peer measured of its own engine with no mesh in the way; a claim, as all of a description. */
export const NativeFigures = Schema.Struct({
  /** Milliseconds; the bounds are wider than anything people wait for. */
  ttftMs: Schema.Number.pipe(Schema.greaterThan(0), Schema.lessThanOrEqualTo(1e7)),
  tokensPerSecond: Schema.Number.pipe(Schema.greaterThan(0), Schema.lessThanOrEqualTo(1e5)),
  /** Completions the figures are the median of. */
  runs: Schema.Int.pipe(Schema.between(1, 3)),
  /** Milliseconds since 1970. */
  measuredAtMs: Schema.Int
})
export type NativeFigures = typeof NativeFigures.Type

/** Represents one loaded model as the directory and `/v1/models` show it. */
export const ModelDescription = Schema.Struct({
  /** The name clients ask for. */
  id: Schema.String.pipe(Schema.minLength(1), Schema.maxLength(256)),
  /** SHA-256 of the file, lower-case hexadecimal. */
  sha256: Schema.String.pipe(Schema.pattern(/^[0-9a-f]{64}$/)),
  sizeBytes: Schema.NonNegativeInt,
  architecture: Schema.String.pipe(Schema.maxLength(64)),
  /** Name of the file's quantisation, e.g. `F16`, `Q4_K_M`. */
  quantization: Schema.String.pipe(Schema.maxLength(32)),
  /** Most tokens of prompt and answer together in one sequence. */
  contextTokens: Schema.Int.pipe(Schema.positive()),
  /** Sequences that run at once. */
  slots: Schema.Int.pipe(Schema.positive()),
  /** Absent until the peer has measured it. */
  native: Schema.optionalWith(NativeFigures, { exact: true }),
  /**
   * Who computes which layers, in order, where the peer that says this is the first of several; absent where it holds
   * the whole model. With more than 16 the loop alone takes longer than anybody waits for a token.
   */
  stages: Schema.optionalWith(Schema.Array(ServedStage).pipe(Schema.minItems(2), Schema.maxItems(16)), { exact: true })
})
export type ModelDescription = typeof ModelDescription.Type
