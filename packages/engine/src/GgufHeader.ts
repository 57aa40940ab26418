/** What the header of a GGUF file says, once `GgufGate` has checked it against the file. */
import type { TemplateTokens } from "./ChatTemplate.ts"
import type { GgufTensorType } from "./GgufTypes.ts"
import type { StageKeys } from "./stage/StageKeys.ts"

/** The types of metadata values; the index of each is its number in the format. */
export const valueTypes = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "float32",
  "bool",
  "string",
  "array",
  "uint64",
  "int64",
  "float64"
] as const
/** Represents the name of a metadata value's type. */
export type GgufValueType = (typeof valueTypes)[number]

/** Represents one value; 64-bit integers are numbers where a number holds them exactly. */
export type GgufScalar = number | bigint | boolean | string

/** Represents an array of values of one type, never of arrays. */
export interface GgufArray {
  readonly elementType: GgufValueType
  readonly length: number
  /** The elements, where they are not strings and at most `arrayValuesMax`; long ones stay in the file. */
  readonly values: ReadonlyArray<GgufScalar> | undefined
  /** Where the first element begins in the file. */
  readonly offset: number
  /** Bytes of all elements together. */
  readonly sizeBytes: number
}

/** Most elements of an array that are kept in memory: one for each of the most layers a model may have. */
export const arrayValuesMax = 512

/** Represents one key of the metadata; `offset` and `sizeBytes` span key, type and value in the file. */
export type GgufEntry = {
  readonly key: string
  readonly offset: number
  readonly sizeBytes: number
} & (
  | { readonly type: "array"; readonly value: GgufArray }
  | { readonly type: Exclude<GgufValueType, "array">; readonly value: GgufScalar }
)

/** Represents one tensor of the file. */
export interface GgufTensor {
  readonly name: string
  /** One to four sizes, the row's length first. */
  readonly dims: ReadonlyArray<number>
  readonly type: GgufTensorType
  /** Where its data begins, counted from the beginning of the file. */
  readonly offset: number
  /** Bytes of its data, without the padding behind it. */
  readonly sizeBytes: number
}

/** Represents what the template and the tokenizer of a model need to know of its special tokens. */
export interface GgufTokens extends TemplateTokens {
  /** Whether a text begins with the BOS token; a template that writes it itself must not get a second one. */
  readonly addBos: boolean
}

/** Represents a checked header. */
export interface GgufHeader {
  readonly version: number
  readonly architecture: string
  /** `general.name`, cut to 256 characters. */
  readonly name: string | undefined
  /** Tokens of context the model was trained for. */
  readonly contextTokens: number
  /** Those that the file holds, of which the last may only draft. */
  readonly layers: number
  readonly embeddingLength: number
  readonly vocabularySize: number
  /** Name of `general.file_type`, else of the type that most bytes have. */
  readonly quantization: string
  /** Jinja source; `undefined` where the model brings none. */
  readonly chatTemplate: string | undefined
  readonly tokens: GgufTokens
  /** Which layers of which model they are; `undefined` in the file of a whole model. */
  readonly stage: StageKeys | undefined
  readonly alignmentBytes: number
  /** Where the tensors' data begins in the file. */
  readonly dataOffset: number
  /** In the file's order. */
  readonly metadata: ReadonlyMap<string, GgufEntry>
  /** In the file's order, which is the order of their data. */
  readonly tensors: ReadonlyArray<GgufTensor>
}
