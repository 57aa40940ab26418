/** The metadata of a stage file: the model's, with what speaks of its layers changed, and ours. Pure. */
import type { GgufArray, GgufEntry, GgufHeader } from "../GgufHeader.ts"
import { shown } from "../GgufRejected.ts"
import * as GgufBytes from "./GgufBytes.ts"
import { numberOf } from "./StageArchitecture.ts"
import { isFirst, isLast, type StageRange, stageKey, stagePrefix } from "./StageKeys.ts"
import { refuseStage } from "./StageRefused.ts"
import type { StageRules } from "./StageRules.ts"
import { standInRows } from "./StageTensors.ts"

/** Represents bytes of a stage file's header: given, or to be read from the model's file. */
export type MetadataPiece =
  | { readonly _tag: "Given"; readonly bytes: Uint8Array }
  | { readonly _tag: "Source"; readonly offset: number; readonly sizeBytes: number }

/** Represents one entry of the metadata. */
export type MetadataEntry = ReadonlyArray<MetadataPiece>

/** Returns the entries of the stage; throws `StageRefused`. `source` is the SHA-256 of the model's file. */
export const metadataOf = (
  header: GgufHeader,
  rules: StageRules,
  range: StageRange,
  source: string | undefined
): ReadonlyArray<MetadataEntry> => {
  const changes = changesOf(header, rules, range)
  const kept = [...header.metadata.values()].flatMap((entry): ReadonlyArray<MetadataEntry> => {
    if (changes.has(entry.key)) return []
    const sliced = slicedEntry(header, rules, range, entry)
    return [sliced ?? [{ _tag: "Source", offset: entry.offset, sizeBytes: entry.sizeBytes }]]
  })
  const added = [...changes.values()].flatMap((bytes) => (bytes === undefined ? [] : [given(bytes)]))
  return [...kept, ...added, ...stageEntries(rules, range, source)]
}

// internal

/** Arrays of the architecture with one element for each layer. */
const perLayer: ReadonlySet<string> = new Set([
  "attention.head_count",
  "attention.head_count_kv",
  "attention.sliding_window_pattern",
  "expert_feed_forward_length",
  "expert_used_count",
  "feed_forward_length"
])
/** Arrays that may have as many elements as there are layers, by chance. */
const notPerLayer: ReadonlySet<string> = new Set(["rope.dimension_sections"])

const given = (bytes: Uint8Array): MetadataEntry => [{ _tag: "Given", bytes }]

/** Returns the keys that the stage states otherwise, or not at all. */
const changesOf = (
  header: GgufHeader,
  rules: StageRules,
  range: StageRange
): ReadonlyMap<string, Uint8Array | undefined> => {
  const { architecture, metadata } = header
  const changes = new Map<string, Uint8Array | undefined>()
  const drop = (key: string): void => void changes.set(key, undefined)
  const state = (name: string, value: number): void => {
    const key = `${architecture}.${name}`
    changes.set(key, GgufBytes.uint32Entry(key, value))
  }
  const length = range.to - range.from
  state("block_count", length)
  for (const key of metadata.keys()) if (key.startsWith("split.") || key.startsWith(stagePrefix)) drop(key)
  drop(`${architecture}.nextn_predict_layers`)
  // Images are not served: the places where theirs would be added would be other layers'.
  drop(`${architecture}.n_deepstack_layers`)
  if (!isFirst(range)) drop(`${architecture}.embedding_scale`)
  const dense = numberOf(header, "leading_dense_block_count")
  if (dense !== undefined) state("leading_dense_block_count", Math.min(Math.max(0, dense - range.from), length))
  if (rules.windows !== undefined) {
    const key = `${architecture}.attention.sliding_window_pattern`
    changes.set(key, GgufBytes.boolsEntry(key, rules.windows.slice(range.from, range.to)))
  }
  for (const [name, value] of rules.stated) {
    const key = `${architecture}.${name}`
    if (typeof value === "number") state(name, value)
    else changes.set(key, GgufBytes.int32sEntry(key, value))
  }
  if (isFirst(range) || isLast({ ...range, layers: rules.layers })) return changes
  for (const key of metadata.keys()) if (key.startsWith("tokenizer.")) drop(key)
  changes.set("tokenizer.ggml.model", GgufBytes.textEntry("tokenizer.ggml.model", "no_vocab"))
  state("vocab_size", standInRows)
  return changes
}

/** Returns the entry with the elements of the stage's layers; `undefined` where it does not speak of layers. */
const slicedEntry = (
  header: GgufHeader,
  rules: StageRules,
  range: StageRange,
  entry: GgufEntry
): MetadataEntry | undefined => {
  const prefix = `${header.architecture}.`
  if (entry.type !== "array" || !entry.key.startsWith(prefix)) return undefined
  const name = entry.key.slice(prefix.length)
  if (notPerLayer.has(name)) return undefined
  const { length } = entry.value
  const isForLayers = length === rules.layers || length === header.layers
  if (!perLayer.has(name)) {
    if (!isForLayers) return undefined
    return refuseStage("UnknownPart", `It is not known whether ${shown(entry.key)} has an element for each layer`)
  }
  if (!isForLayers || entry.value.elementType === "string")
    return refuseStage("BadModel", `${shown(entry.key)} does not have one number for each of ${rules.layers} layers`)
  if (name === "attention.head_count") checkHeads(header, entry.value)
  const elementBytes = entry.value.sizeBytes / length
  return [
    { _tag: "Given", bytes: GgufBytes.arrayHead(entry.key, entry.value.elementType, range.to - range.from) },
    {
      _tag: "Source",
      offset: entry.value.offset + range.from * elementBytes,
      sizeBytes: (range.to - range.from) * elementBytes
    }
  ]
}

/** llama.cpp takes the length of keys from the first layer's heads where the file does not state it. */
const checkHeads = (header: GgufHeader, heads: GgufArray): void => {
  const isStated = header.metadata.has(`${header.architecture}.attention.key_length`)
  if (!isStated && new Set(heads.values).size !== 1)
    refuseStage("UnsupportedModel", "The layers have different heads, and the length of their keys is not stated")
}

const stageEntries = (
  rules: StageRules,
  range: StageRange,
  source: string | undefined
): ReadonlyArray<MetadataEntry> => [
  given(GgufBytes.uint32Entry(stageKey.from, range.from)),
  given(GgufBytes.uint32Entry(stageKey.to, range.to)),
  given(GgufBytes.uint32Entry(stageKey.layers, rules.layers)),
  ...(source === undefined ? [] : [given(GgufBytes.textEntry(stageKey.source, source))]),
  ...(rules.inputScale === undefined || isFirst(range)
    ? []
    : [given(GgufBytes.float32Entry(stageKey.inputScale, rules.inputScale))])
]
