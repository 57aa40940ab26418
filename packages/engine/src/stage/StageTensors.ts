/** Which tensors of a model a stage holds, under which names, and which stand in for those that llama.cpp asks for. */
import type { GgufHeader, GgufTensor } from "../GgufHeader.ts"
import { shown } from "../GgufRejected.ts"
import { type GgufTensorType, tensorType } from "../GgufTypes.ts"
import { isFirst, isLast, type StageRange } from "./StageKeys.ts"
import { refuseStage } from "./StageRefused.ts"
import type { StageRules } from "./StageRules.ts"

/** Rows of the embedding of a stage that neither takes nor draws tokens: llama.cpp wants one, and never reads it. */
export const standInRows = 32

/** Represents a tensor of a stage file. */
export interface StageTensor {
  readonly name: string
  readonly dims: ReadonlyArray<number>
  readonly type: GgufTensorType
  readonly sizeBytes: number
  /** The tensor of the model that it is; absent: zeros that are never read. */
  readonly source: GgufTensor | undefined
}

/** Represents where a tensor of a model goes. */
export type Place =
  | { readonly _tag: "Layer"; readonly layer: number; readonly rest: string }
  /** What turns tokens into hidden states. */
  | { readonly _tag: "Embedding" }
  /** What turns hidden states into logits. */
  | { readonly _tag: "Head" }
  /** Small, and needed by every stage. */
  | { readonly _tag: "Shared" }

/** Returns where the tensor goes; throws `StageRefused` where nobody knows. */
export const placeOf = ({ name }: GgufTensor): Place => {
  const block = /^blk\.(\d{1,9})\.(.*)$/s.exec(name)
  if (block?.[1] !== undefined && block[2] !== undefined)
    return { _tag: "Layer", layer: Number(block[1]), rest: block[2] }
  return globals.get(name) ?? refuseStage("UnknownPart", `It is not known which stages need the tensor ${shown(name)}`)
}

/** Returns the tensors of the stage, those of the model in its order; throws `StageRefused`. */
export const tensorsOf = (header: GgufHeader, rules: StageRules, range: StageRange): ReadonlyArray<StageTensor> => {
  const { layers, needsHead } = rules
  const first = isFirst(range)
  const last = isLast({ ...range, layers })
  const names = new Set(header.tensors.map(({ name }) => name))
  for (const name of ["token_embd.weight", "output_norm.weight", ...(needsHead ? ["output.weight"] : [])])
    if (!names.has(name)) refuseStage("BadModel", `The tensor ${name} is missing`)
  // A head that llama.cpp does not ask for may stand where it looks for one: under the embedding's name.
  const renamesHead = last && !first && !needsHead && names.has("output.weight")
  const keepsEmbedding = first || (last && !needsHead && !names.has("output.weight"))
  const kept = header.tensors.flatMap((source): ReadonlyArray<StageTensor> => {
    const name = nameIn(source, range, { keepsEmbedding, keepsHead: last, renamesHead })
    return name === undefined ? [] : [{ ...source, name, source }]
  })
  const standIns = [
    ...(keepsEmbedding || renamesHead ? [] : ["token_embd.weight"]),
    ...(needsHead && !last ? ["output.weight"] : [])
  ]
  const rows = first || last ? header.vocabularySize : standInRows
  return [...standIns.map((name) => standIn(name, header.embeddingLength, rows)), ...kept]
}

// internal

const globals: ReadonlyMap<string, Place> = new Map<string, Place>([
  ["token_embd.weight", { _tag: "Embedding" }],
  ["output.weight", { _tag: "Head" }],
  ["output.bias", { _tag: "Head" }],
  ["output_norm.weight", { _tag: "Shared" }],
  ["rope_freqs.weight", { _tag: "Shared" }],
  ["rope_factors_long.weight", { _tag: "Shared" }],
  ["rope_factors_short.weight", { _tag: "Shared" }]
])

interface Keeps {
  readonly keepsEmbedding: boolean
  readonly keepsHead: boolean
  readonly renamesHead: boolean
}

/** Returns the name the tensor has in the stage; `undefined` where the stage does not hold it. */
const nameIn = (tensor: GgufTensor, range: StageRange, keeps: Keeps): string | undefined => {
  const place = placeOf(tensor)
  switch (place._tag) {
    case "Layer":
      return place.layer >= range.from && place.layer < range.to
        ? `blk.${place.layer - range.from}.${place.rest}`
        : undefined
    case "Embedding":
      return keeps.keepsEmbedding ? tensor.name : undefined
    case "Head":
      if (!keeps.keepsHead) return undefined
      return keeps.renamesHead && tensor.name === "output.weight" ? "token_embd.weight" : tensor.name
    case "Shared":
      return tensor.name
  }
}

/** Numbers of the types whose blocks are smallest, among those that every backend knows: Q2_K, Q4_0 and F16. */
const standInTypes = [10, 2, 1]

const standIn = (name: string, rowElements: number, rows: number): StageTensor => {
  const type = standInTypes.map(tensorType).find((one) => one !== undefined && rowElements % one.blockElements === 0)
  if (type === undefined) return refuseStage("BadModel", `No tensor has rows of ${rowElements} elements`)
  const sizeBytes = (rowElements / type.blockElements) * type.blockBytes * rows
  return { name, dims: [rowElements, rows], type, sizeBytes, source: undefined }
}
