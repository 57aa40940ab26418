/** What an engine host chose for the computer it runs on, and what it learnt there for its next start. */
import { Schema } from "effect"

/** Represents what a host learnt at its first start with a model; times are milliseconds. */
export const Calibration = Schema.Struct({
  threads: Schema.Int.pipe(Schema.between(1, 256)),
  /** One row on one thread with an empty context. */
  oneRowMs: Schema.Number.pipe(Schema.positive(), Schema.finite()),
  /** Prompt tokens of one decode. */
  prefillTokens: Schema.Int.pipe(Schema.between(1, 4096))
})
export type Calibration = typeof Calibration.Type

/** Represents what a host uses now, and why, for its owner. */
export const EngineTuning = Schema.Struct({
  profile: Schema.Literal("fast", "exact"),
  threads: Schema.Int.pipe(Schema.positive()),
  threadsMax: Schema.Int.pipe(Schema.positive()),
  prefillTokens: Schema.Int.pipe(Schema.positive()),
  why: Schema.String.pipe(Schema.maxLength(256))
})
export type EngineTuning = typeof EngineTuning.Type
