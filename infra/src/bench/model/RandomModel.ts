/**
 * Writes models with random weights, so that benchmarks and tests need no download: the work of a real model of that
 * shape, and text without sense. Same shape and seed, same bytes; a file that is there already is used again.
 */
import { closeSync, existsSync, mkdirSync, openSync, renameSync, writeSync } from "node:fs"
import { dirname, join } from "node:path"
import * as Seeded from "../Seeded.ts"
import type { BlockType, IsSilent } from "./Blocks.ts"
import * as Gguf from "./Gguf.ts"
import { type PlannedTensor, type Shape, tensorsOf } from "./Shape.ts"
import * as Vocabulary from "./Vocabulary.ts"

/** Changes whenever the same shape and seed give other bytes. */
const writerVersion = 1

/** Bytes drawn and written in one step, about. */
const stepBytes = 4 * 1024 * 1024

/** The quantisations among the numbers of `general.file_type`. */
const fileTypes = { F16: 1, Q8_0: 7, Q4_K_M: 15 } as const

/**
 * Returns the path of the model in `directory`, written now if it is not there yet (about a second for 100 MB).
 * `vocabularyPath` is a GGUF file whose tokenizer and chat template are taken over.
 */
export const make = async (directory: string, shape: Shape, seed: number, vocabularyPath: string): Promise<string> => {
  const vocabulary = await Vocabulary.read(vocabularyPath, shape.vocabulary)
  const recipe = JSON.stringify({ writerVersion, shape, seed, vocabulary: vocabulary.sha256 })
  const hash = new Bun.CryptoHasher("sha256").update(recipe).digest("hex")
  const path = join(directory, `${shape.name}-${hash.slice(0, 12)}.gguf`)
  if (existsSync(path)) return path
  mkdirSync(dirname(path), { recursive: true })
  // Written aside: whoever is interrupted leaves no half model behind, and two writers do not meet.
  const draft = `${path}.${process.pid}`
  const file = openSync(draft, "w")
  try {
    write((bytes) => writeSync(file, bytes), shape, vocabulary, seed)
  } finally {
    closeSync(file)
  }
  renameSync(draft, path)
  return path
}

// internal

const write = (
  put: (bytes: Uint8Array) => void,
  shape: Shape,
  vocabulary: Vocabulary.Vocabulary,
  seed: number
): void => {
  const tensors = tensorsOf(shape)
  put(
    Gguf.header(
      [...entriesOf(shape), ...vocabulary.entries],
      tensors.map((tensor) => ({ ...tensor, typeNumber: tensor.type.number, sizeBytes: sizeOf(tensor) }))
    )
  )
  const chance = Seeded.make(seed)
  for (const tensor of tensors) {
    const isSpoken = shape.temper === "plain" && tensor.name === "output.weight"
    writeTensor(put, tensor, chance, isSpoken ? vocabulary.isSilent : () => false)
    put(Gguf.padding(sizeOf(tensor)))
  }
}

const sizeOf = ({ dims, type }: PlannedTensor): number =>
  (dims.reduce((product, dim) => product * dim, 1) / type.blockElements) * type.blockBytes

/** Draws whole rows at a time; `isSilentRow` says which rows are zeros. */
const writeTensor = (
  put: (bytes: Uint8Array) => void,
  tensor: PlannedTensor,
  chance: Seeded.Seeded,
  isSilentRow: (row: number) => boolean
): void => {
  const { deviation, dims, type } = tensor
  const blocksOfRow = dims[0] / type.blockElements
  const rows = dims.slice(1).reduce((product, dim) => product * dim, 1)
  const rowsOfStep = Math.max(1, Math.floor(stepBytes / (blocksOfRow * type.blockBytes)))
  for (let row = 0; row < rows; row += rowsOfStep) {
    const blocks = Math.min(rowsOfStep, rows - row) * blocksOfRow
    const isSilent: IsSilent = (block) => isSilentRow(row + Math.floor(block / blocksOfRow))
    put(filled(type, blocks, chance, deviation, isSilent))
  }
}

const filled = (
  type: BlockType,
  blocks: number,
  chance: Seeded.Seeded,
  deviation: number,
  isSilent: IsSilent
): Uint8Array => {
  const bytes = new Uint8Array(blocks * type.blockBytes)
  type.fill(bytes, chance, deviation, isSilent)
  return bytes
}

const entriesOf = (shape: Shape): ReadonlyArray<Gguf.Entry> => [
  ["general.architecture", Gguf.text("llama")],
  ["general.name", Gguf.text(shape.name)],
  ["general.file_type", Gguf.uint32(fileTypes[shape.quantization])],
  ["general.quantization_version", Gguf.uint32(2)],
  ["llama.block_count", Gguf.uint32(shape.layers)],
  ["llama.context_length", Gguf.uint32(shape.context)],
  ["llama.embedding_length", Gguf.uint32(shape.embedding)],
  ["llama.feed_forward_length", Gguf.uint32(shape.inner)],
  ["llama.attention.head_count", Gguf.uint32(shape.heads)],
  ["llama.attention.head_count_kv", Gguf.uint32(shape.groups)],
  ["llama.attention.layer_norm_rms_epsilon", Gguf.float32(1e-5)],
  ["llama.rope.dimension_count", Gguf.uint32(shape.embedding / shape.heads)],
  ["llama.rope.freq_base", Gguf.float32(10_000)],
  ["llama.vocab_size", Gguf.uint32(shape.vocabulary)]
]
