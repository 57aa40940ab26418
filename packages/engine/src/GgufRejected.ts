/** Why a model file is refused: one closed list, so that callers and tests can tell the cases apart. */
import { Data } from "effect"

/** Represents what is wrong with a GGUF file. */
export type GgufReason =
  /** It does not begin with `GGUF`. */
  | "NotGguf"
  /** Version other than 2 and 3, or big-endian. */
  | "UnsupportedVersion"
  /** The file ends before its header or its tensors do. */
  | "Truncated"
  /** The file goes on after its last tensor. */
  | "OverLong"
  /** More keys, tensors or array elements than a model can need. */
  | "TooManyEntries"
  /** A string, or the whole header, is longer than a model can need. */
  | "TooLarge"
  /** A key or value is not what the format allows. */
  | "BadMetadata"
  | "BadAlignment"
  | "NoTensors"
  /** One of several files that make a model only together. */
  | "SplitFile"
  /** Some layers of a model where the whole was asked for, or the other way round; or a stage that cannot be one. */
  | "StageFile"
  /** A tensor's name or dimensions are impossible. */
  | "BadTensor"
  /** A tensor's type is unknown, was removed from ggml, or cannot be computed with (F64 ends llama.cpp's process). */
  | "UnsupportedType"
  /** A tensor's data is not where the one before ends. */
  | "BadLayout"
  | "NoArchitecture"
  /** The architecture is unknown to the pinned llama.cpp, or not one that answers with text. */
  | "UnsupportedArchitecture"
  /** Tensors do not fit the sizes that the metadata state, or are missing. */
  | "BadShape"
  | "NoTokenizer"
  | "BadTokenizer"
  | "TemplateTooLarge"
  /** The bytes could not be read. */
  | "Unreadable"

/** Represents a GGUF file that must not reach native code. */
export class GgufRejected extends Data.TaggedError("GgufRejected")<{
  readonly reason: GgufReason
  /** The fact that was found, with its place; names in it come from the file and are cut to 64 characters. */
  readonly detail: string
}> {
  override get message(): string {
    return `${this.detail} (${this.reason})`
  }
}

/** Returns a name from a file so that it can be shown: at most 64 characters, none of them a control character. */
export const shown = (name: string): string => JSON.stringify(name.slice(0, 64))

/** Ends a check: throws the rejection, which `GgufReader.read` and `GgufGate.check` turn into a typed failure. */
export const refuse = (reason: GgufReason, detail: string): never => {
  throw new GgufRejected({ reason, detail })
}
