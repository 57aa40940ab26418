/**
 * The tensor types of ggml. Block sizes are those that `ggml_blck_size` and `ggml_type_size` of the pinned llama.cpp
 * give; names are those of `@huggingface/gguf`.
 */
import { GGMLFileQuantizationType, GGMLQuantizationType } from "@huggingface/gguf"

/** Represents how a tensor's elements are stored. */
export interface GgufTensorType {
  readonly name: string
  /** Its number in the format. */
  readonly number: number
  /** Elements in one block; rows hold whole blocks. */
  readonly blockElements: number
  /** Bytes of one block. */
  readonly blockBytes: number
}

/**
 * Types a model's weights may have on a CPU. Left out: F64 and the integers (no kernel: they end the process), Q8_1
 * and Q8_K (made while computing, never stored), and the numbers that ggml removed.
 */
const blocks: ReadonlyArray<readonly [type: GGMLQuantizationType, blockElements: number, blockBytes: number]> = [
  [GGMLQuantizationType.F32, 1, 4],
  [GGMLQuantizationType.F16, 1, 2],
  [GGMLQuantizationType.BF16, 1, 2],
  [GGMLQuantizationType.Q4_0, 32, 18],
  [GGMLQuantizationType.Q4_1, 32, 20],
  [GGMLQuantizationType.Q5_0, 32, 22],
  [GGMLQuantizationType.Q5_1, 32, 24],
  [GGMLQuantizationType.Q8_0, 32, 34],
  [GGMLQuantizationType.Q2_K, 256, 84],
  [GGMLQuantizationType.Q3_K, 256, 110],
  [GGMLQuantizationType.Q4_K, 256, 144],
  [GGMLQuantizationType.Q5_K, 256, 176],
  [GGMLQuantizationType.Q6_K, 256, 210],
  [GGMLQuantizationType.IQ2_XXS, 256, 66],
  [GGMLQuantizationType.IQ2_XS, 256, 74],
  [GGMLQuantizationType.IQ3_XXS, 256, 98],
  [GGMLQuantizationType.IQ1_S, 256, 50],
  [GGMLQuantizationType.IQ4_NL, 32, 18],
  [GGMLQuantizationType.IQ3_S, 256, 110],
  [GGMLQuantizationType.IQ2_S, 256, 82],
  [GGMLQuantizationType.IQ4_XS, 256, 136],
  [GGMLQuantizationType.IQ1_M, 256, 56],
  [GGMLQuantizationType.TQ1_0, 256, 54],
  [GGMLQuantizationType.TQ2_0, 256, 66],
  [GGMLQuantizationType.MXFP4, 32, 17],
  [GGMLQuantizationType.NVFP4, 64, 36],
  [GGMLQuantizationType.Q1_0, 128, 18],
  [GGMLQuantizationType.Q2_0, 64, 18]
]

const byNumber: ReadonlyMap<number, GgufTensorType> = new Map(
  blocks.map(([type, blockElements, blockBytes]) => [
    type,
    { name: GGMLQuantizationType[type], number: type, blockElements, blockBytes }
  ])
)

/** Returns the tensor type of that number in the format; `undefined` where weights may not have it. */
export const tensorType = (number: number): GgufTensorType | undefined => byNumber.get(number)

/** Returns the name of a refused type's number, for a message. */
export const typeName = (number: number): string => GGMLQuantizationType[number] ?? `number ${number}`

/** Returns the name of `general.file_type`, such as `Q4_K_M`; `undefined` where the number has none. */
export const fileTypeName = (number: number): string | undefined => GGMLFileQuantizationType[number]
