/** What can go wrong with an engine as a whole; a single answer fails with `GenerateFailure` instead. */
import { Data, Schema } from "effect"

/** Represents which part failed: the settings, this computer, its libraries, the file, or the host process. */
export const EngineErrorReason = Schema.Literal(
  "config_invalid",
  "platform_unsupported",
  "library_missing",
  "library_mismatch",
  "file_rejected",
  "model_unloadable",
  "load_timeout",
  "host_lost",
  "protocol_broken"
)
/** One of the reasons above. */
export type EngineErrorReason = typeof EngineErrorReason.Type

/** Represents why a model could not be brought to answer; `detail` is a sentence that says what to do next. */
export class EngineError extends Data.TaggedError("EngineError")<{
  readonly reason: EngineErrorReason
  readonly detail: string
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.reason}: ${this.detail}`
  }
}

/** Returns what was thrown while a model was opened; what is not of ours comes from the shim's compiler. */
export const fromOpening = (error: unknown): EngineError =>
  error instanceof EngineError
    ? error
    : new EngineError({ reason: "library_mismatch", detail: `the shim cannot be compiled: ${error}` })
