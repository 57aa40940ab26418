/** What a peer says of a model it holds. */
import { Schema } from "effect"

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
  slots: Schema.Int.pipe(Schema.positive())
})
export type ModelDescription = typeof ModelDescription.Type
