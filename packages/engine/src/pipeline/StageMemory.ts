/** Whether a stage fits into the memory that may be used, as a pure decision before anything is loaded. */
import type { GgufHeader } from "../GgufHeader.ts"

/** What a loaded file takes beside its own size: the buffers of a decode. The same as for a peer that serves solo. */
const fileFactor = 1.1
/** `block_q8_0` of ggml, the type of the exact profile's cells: 32 values in 34 bytes. */
const cellBytesOfValue = 34 / 32

/** Represents what is to be loaded. */
export interface StageLoading {
  readonly header: GgufHeader
  readonly sizeBytes: number
  readonly slots: number
  readonly contextTokens: number
}

/** Returns the bytes a stage takes: its file with the buffers of a decode, and the cells of all slots. */
export const bytesNeeded = ({ contextTokens, header, sizeBytes, slots }: StageLoading): number =>
  Math.ceil(sizeBytes * fileFactor + cellValues(header) * cellBytesOfValue * slots * contextTokens)

/** Returns why a stage is not loaded where `memoryBytesMax` may be used; none where it fits. */
export const refusalOf = (loading: StageLoading, memoryBytesMax: number): string | undefined => {
  const needed = bytesNeeded(loading)
  if (needed <= memoryBytesMax) return undefined
  const { contextTokens, slots } = loading
  const asked = `${mebibytes(needed)} MiB with ${slots} slots of ${contextTokens} tokens`
  return `the stage needs ${asked}, and may use ${mebibytes(memoryBytesMax)}; take fewer layers, slots or tokens`
}

// internal

const mebibytes = (bytes: number): number => Math.ceil(bytes / 1024 / 1024)

/** Returns the values of keys and of values that one token has in all layers of the file. */
const cellValues = (header: GgufHeader): number => {
  const heads = layerNumbers(header, "attention.head_count")
  const groups = layerNumbers(header, "attention.head_count_kv")
  const key = layerNumbers(header, "attention.key_length")(0)
  const value = layerNumbers(header, "attention.value_length")(0)
  let sum = 0
  for (let layer = 0; layer < header.layers; layer++) {
    const each = header.embeddingLength / Math.max(1, heads(layer) ?? 1)
    // What the file does not say is taken for the most it can be.
    sum += (groups(layer) ?? heads(layer) ?? 1) * ((key ?? each) + (value ?? each))
  }
  return sum
}

/** Returns the numbers that a key of the architecture has for each layer; none where it is missing. */
const layerNumbers = ({ architecture, metadata }: GgufHeader, name: string) => {
  const entry = metadata.get(`${architecture}.${name}`)
  return (layer: number): number | undefined => {
    const value = entry?.type === "array" ? entry.value.values?.[layer] : entry?.value
    return typeof value === "number" && value >= 0 ? value : undefined
  }
}
