/** Writes the small models that are cut in tests, with random weights: same model and seed, same bytes. */
import { join } from "node:path"
import { type BlockType, blockTypes } from "@weft/infra/bench/model/Blocks"
import * as Gguf from "@weft/infra/bench/model/Gguf"
import * as Vocabulary from "@weft/infra/bench/model/Vocabulary"
import * as Seeded from "@weft/infra/bench/Seeded"
import { type Value, value } from "./gguf.ts"
import { drafting, type ModelTensor, matrix, norm, type StageModel, sizes } from "./stageModels.ts"

/** Writes the model into `folder` with the tokenizer of the file at `vocabularyPath`; returns its path. */
export const writeStageModel = async (
  folder: string,
  model: StageModel,
  seed: number,
  vocabularyPath: string
): Promise<string> => {
  const vocabulary = await Vocabulary.read(vocabularyPath, sizes.vocabulary)
  const tensors = tensorsOf(model)
  const rows = tensors.map(({ dims, kind, name }) => {
    const type = blockTypeOf(kind)
    const elements = dims.reduce((product, dim) => product * dim, 1)
    return { name, dims, typeNumber: type.number, sizeBytes: (elements / type.blockElements) * type.blockBytes }
  })
  const chance = Seeded.make(seed)
  const data = tensors.flatMap(({ dims, kind }, index) => {
    const bytes = new Uint8Array(rows[index]?.sizeBytes ?? 0)
    fill(bytes, kind, dims[0], chance)
    return [bytes, Gguf.padding(bytes.length)]
  })
  const path = join(folder, `${model.name}-${seed}.gguf`)
  await Bun.write(path, Buffer.concat([Gguf.header([...entriesOf(model), ...vocabulary.entries], rows), ...data]))
  return path
}

// internal

const blockTypeOf = (kind: ModelTensor["kind"]): BlockType => (kind === "matrix" ? blockTypes.q8 : blockTypes.ones)

/** Sums over a row keep a deviation of 1, so that the smallest change of a computation shows in the tokens. */
const fill = (bytes: Uint8Array, kind: ModelTensor["kind"], rowElements: number, chance: Seeded.Seeded): void => {
  if (kind === "matrix") {
    blockTypes.q8.fill(bytes, chance, 1 / Math.sqrt(rowElements), () => false)
    return
  }
  const numbers = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const middle = kind === "norm" ? 1 : 0
  for (let index = 0; index < numbers.length; index++) numbers[index] = middle + (chance.unit() - 0.5) / 4
}

const tensorsOf = (model: StageModel): ReadonlyArray<ModelTensor> => [
  matrix("token_embd", sizes.embedding, sizes.vocabulary),
  norm("output_norm"),
  ...(model.isTied === true ? [] : [matrix("output", sizes.embedding, sizes.vocabulary)]),
  ...(model.shared ?? []),
  ...Array.from({ length: model.layers + (model.drafting ?? 0) }, (_, layer) => {
    const more = layer >= model.layers ? drafting : []
    return [...model.block(layer), ...more].map((one) => ({ ...one, name: `blk.${layer}.${one.name}` }))
  }).flat()
]

/** `Q8_0` among the numbers of `general.file_type`. */
const fileType = 7

const entriesOf = (model: StageModel): ReadonlyArray<Gguf.Entry> => {
  const layers = model.layers + (model.drafting ?? 0)
  const keys: Readonly<Record<string, Value | undefined>> = {
    block_count: value.u32(layers),
    context_length: value.u32(sizes.context),
    embedding_length: value.u32(sizes.embedding),
    feed_forward_length: value.u32(sizes.inner),
    "attention.head_count": value.u32(sizes.heads),
    "attention.head_count_kv": value.u32(sizes.groups),
    "attention.layer_norm_rms_epsilon": value.f32(1e-5),
    "rope.freq_base": value.f32(10_000),
    nextn_predict_layers: model.drafting === undefined ? undefined : value.u32(model.drafting),
    ...model.keys
  }
  return [
    ["general.architecture", Gguf.text(model.architecture)],
    // For some names, such as Phi-3's, llama.cpp looks for tokens that this vocabulary does not have.
    ["general.name", Gguf.text("random weights")],
    ["general.file_type", Gguf.uint32(fileType)],
    ["general.quantization_version", Gguf.uint32(2)],
    ...Object.entries(keys).flatMap(
      ([name, entry]): ReadonlyArray<Gguf.Entry> =>
        entry === undefined ? [] : [[`${model.architecture}.${name}`, encoded(entry)]]
    )
  ]
}

const encoded = ({ bytes, type }: Value): Gguf.Value =>
  new Uint8Array(Buffer.concat([new Uint8Array(Uint32Array.of(type).buffer), bytes]))
