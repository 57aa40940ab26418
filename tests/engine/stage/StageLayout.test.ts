/**
 * What a stage file is made of, as a plan: for every architecture and random cuts, no tensor is lost or doubled, data
 * are aligned, sizes are those said before, and other readers find what the layout says.
 */
import { expect } from "bun:test"
import { join } from "node:path"
import { gguf } from "@huggingface/gguf"
import * as GgufGate from "@weft/engine/GgufGate"
import type { GgufHeader } from "@weft/engine/GgufHeader"
import * as GgufSource from "@weft/engine/GgufSource"
import { layerSizes } from "@weft/engine/stage/LayerSizes"
import * as StageFile from "@weft/engine/stage/StageFile"
import type { StageRange } from "@weft/engine/stage/StageKeys"
import * as StageLayout from "@weft/engine/stage/StageLayout"
import type { StageRules } from "@weft/engine/stage/StageRules"
import { standInRows } from "@weft/engine/stage/StageTensors"
import { Effect, FastCheck } from "effect"
import { it } from "../../support/effect.ts"
import { directory } from "../../support/processes.ts"
import { stageModel, stageModels } from "../../support/stageModels.ts"
import { prepare } from "./cutting.ts"

/** Returns the ranges between some of the allowed cuts, chosen by the bits of `choice`. */
const rangesOf = (rules: StageRules, choice: number): ReadonlyArray<StageRange> => {
  const chosen = rules.allowedCuts.filter((_, index) => ((choice >> (index % 31)) & 1) === 1)
  const bounds = [0, ...chosen, rules.layers]
  return bounds.slice(0, -1).map((from, index) => ({ from, to: bounds[index + 1] ?? 0 }))
}

/** Names of the tensors that belong to none, as they are the layers' that only draft. */
const drafting = (header: GgufHeader, rules: StageRules): ReadonlyArray<string> =>
  header.tensors.map(({ name }) => name).filter((name) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? 0) >= rules.layers)

/** Puts the stage file of a layout together from the model's bytes. */
const assemble = Effect.fnUntraced(function* (source: GgufSource.ByteSource, layout: StageLayout.StageLayout) {
  const parts = yield* Effect.forEach(layout.pieces, (piece) =>
    piece._tag === "Given"
      ? Effect.succeed(piece.bytes)
      : piece._tag === "Zeros"
        ? Effect.succeed(new Uint8Array(piece.sizeBytes))
        : source.read(piece.offset, piece.sizeBytes)
  )
  return new Uint8Array(Buffer.concat(parts))
})

for (const model of stageModels)
  it.live(`${model.name}: any allowed cuts part the tensors among the stages, none lost, none doubled`, () =>
    Effect.gen(function* () {
      const { header, rules, source } = yield* prepare(yield* directory, model)
      const sizes = yield* layerSizes(header)
      const check = Effect.fnUntraced(function* (choice: number) {
        const ranges = rangesOf(rules, choice)
        const layouts = yield* Effect.forEach(ranges, (range) => StageLayout.make(header, range))
        const held = layouts.flatMap(({ tensors }) => tensors.flatMap((tensor) => tensor.source?.name ?? []))
        const shared = ["output_norm.weight", ...(model.shared ?? []).map(({ name }) => name)]
        // A tied embedding is the head too.
        const twice = model.isTied === true && ranges.length > 1 ? ["token_embd.weight"] : []
        const more = [...shared, ...twice].flatMap((name) =>
          Array.from({ length: (shared.includes(name) ? ranges.length : 2) - 1 }, () => name)
        )
        const names = header.tensors.map(({ name }) => name)
        expect([...held, ...drafting(header, rules)].toSorted()).toEqual([...names, ...more].toSorted())
        for (const layout of layouts) yield* checkLayout(layout, source)
        const layerBytes = layouts.reduce((sum, layout) => sum + blockBytesOf(layout), 0)
        expect(layerBytes).toBe(sizes.layerBytes.reduce((sum, bytes) => sum + bytes, 0))
      })
      const choices = FastCheck.sample(FastCheck.nat(2 ** 31 - 1), { numRuns: 8, seed: 7 })
      yield* Effect.forEach([0, 2 ** 31 - 1, ...choices], check)
    })
  )

const blockBytesOf = ({ tensors }: StageLayout.StageLayout): number =>
  tensors.reduce((sum, { name, sizeBytes }) => sum + (name.startsWith("blk.") ? sizeBytes : 0), 0)

const checkLayout = Effect.fnUntraced(function* (layout: StageLayout.StageLayout, source: GgufSource.ByteSource) {
  const { dataOffset, pieces, range, rules, sizeBytes, tensors } = layout
  expect(pieces.reduce((sum, piece) => sum + StageLayout.pieceBytes(piece), 0)).toBe(sizeBytes)
  for (const piece of pieces) {
    expect(StageLayout.pieceBytes(piece)).toBeGreaterThan(0)
    if (piece._tag === "Source") expect(piece.offset + piece.sizeBytes).toBeLessThanOrEqual(layout.sourceBytes)
  }
  const bytes = yield* assemble(source, layout)
  const stage = yield* GgufGate.check(GgufSource.fromBytes(bytes), "stage")
  expect(stage.dataOffset).toBe(dataOffset)
  expect(stage.layers).toBe(range.to - range.from)
  expect(stage.stage).toMatchObject({ ...range, layers: rules.layers })
  expect(stage.tensors).toEqual(
    tensors.map(({ dims, name, offset, sizeBytes, type }) => ({ name, dims, type, offset, sizeBytes }))
  )
  for (const tensor of tensors) {
    expect(tensor.offset % stage.alignmentBytes).toBe(0)
    const here = bytes.subarray(tensor.offset, tensor.offset + tensor.sizeBytes)
    const there =
      tensor.source === undefined
        ? new Uint8Array(tensor.sizeBytes)
        : yield* source.read(tensor.source.offset, tensor.source.sizeBytes)
    expect(Buffer.compare(here, there)).toBe(0)
  }
})

for (const model of stageModels)
  it.live(`${model.name}: Hugging Face's reader finds in the stages what the layout says`, () =>
    Effect.gen(function* () {
      const folder = yield* directory
      const { header, rules, source } = yield* prepare(folder, model)
      for (const range of rangesOf(rules, 0b10_0100)) {
        const path = join(folder, "stage.gguf")
        const layout = yield* StageLayout.make(header, range)
        yield* StageFile.write(source, layout, path)
        const read = yield* Effect.promise(() => gguf(path, { allowLocalFile: true }))
        expect(Number(read.tensorDataOffset)).toBe(layout.dataOffset)
        expect(
          read.tensorInfos.map(({ dtype, name, offset, shape }) => [name, shape.map(Number), dtype, offset])
        ).toEqual(
          layout.tensors.map(({ dims, name, offset, type }) => [
            name,
            [...dims],
            type.number,
            BigInt(offset - layout.dataOffset)
          ])
        )
        expect(read.metadata).toMatchObject({
          [`${header.architecture}.block_count`]: range.to - range.from,
          "weft.stage.from": range.from,
          "weft.stage.to": range.to,
          "weft.stage.layers": rules.layers
        })
      }
    })
  )

const only = (name: string) => Effect.flatMap(directory, (folder) => prepare(folder, stageModel(name)))

it.live("the parts of a model have the sizes that its stages have", () =>
  Effect.gen(function* () {
    const { header, rules } = yield* only("llama")
    const { embeddingBytes, headBytes, layerBytes, sharedBytes } = yield* layerSizes(header)
    expect(layerBytes.length).toBe(6)
    const dataBytes = (range: StageRange) =>
      Effect.map(StageLayout.make(header, range), ({ dataOffset, sizeBytes }) => sizeBytes - dataOffset)
    const [layer = 0] = layerBytes
    const standIn = (standInRows * header.embeddingLength * 84) / 256
    expect(yield* dataBytes({ from: 0, to: 2 })).toBe(embeddingBytes + 2 * layer + sharedBytes)
    expect(yield* dataBytes({ from: 2, to: 4 })).toBe(standIn + 2 * layer + sharedBytes)
    expect(yield* dataBytes({ from: 4, to: 6 })).toBe(headBytes + 2 * layer + sharedBytes)
    expect(rules.layers).toBe(6)
    const tied = yield* layerSizes((yield* only("llama-tied")).header)
    expect(tied.headBytes).toBe(tied.embeddingBytes)
    const drafts = yield* layerSizes((yield* only("deepseek2")).header)
    expect(drafts.layerBytes.length).toBe(6)
  })
)

it.live("what speaks of layers is the stage's own: windows, dense layers, heads, scales, layers that draft", () =>
  Effect.gen(function* () {
    const metadata = Effect.fnUntraced(function* (name: string, range: StageRange) {
      const { header, source } = yield* only(name)
      const layout = yield* StageLayout.make(header, range)
      const stage = yield* GgufGate.check(GgufSource.fromBytes(yield* assemble(source, layout)), "stage")
      return (key: string): unknown => {
        const value = stage.metadata.get(key)?.value
        return typeof value === "object" ? value.values : value
      }
    })
    const gemma3 = yield* metadata("gemma3", { from: 4, to: 8 })
    expect(gemma3("gemma3.attention.sliding_window_pattern")).toEqual([true, false, true, true])
    const cohere2 = yield* metadata("cohere2", { from: 1, to: 4 })
    expect(cohere2("cohere2.attention.sliding_window_pattern")).toEqual([true, false, true])
    const dense = yield* metadata("deepseek2", { from: 2, to: 5 })
    expect(dense("deepseek2.leading_dense_block_count")).toBe(1)
    expect(dense("deepseek2.nextn_predict_layers")).toBeUndefined()
    expect(dense("deepseek2.expert_gating_func")).toBe(1)
    const small = yield* metadata("deepseek2-small", { from: 1, to: 27 })
    expect(small("deepseek2.attention.q_lora_rank")).toBe(0)
    const heads = yield* metadata("llama-tied", { from: 2, to: 4 })
    expect(heads("llama.attention.head_count")).toEqual([8, 8])
    expect(heads("llama.feed_forward_length")).toEqual([256, 256])
    expect(heads("tokenizer.ggml.tokens")).toBeUndefined()
    expect(heads("tokenizer.ggml.model")).toBe("no_vocab")
    expect((yield* metadata("granite", { from: 0, to: 2 }))("granite.embedding_scale")).toBe(12)
    expect((yield* metadata("granite", { from: 2, to: 6 }))("granite.embedding_scale")).toBeUndefined()
    const gemma2 = yield* metadata("gemma2", { from: 2, to: 4 })
    expect(gemma2("weft.stage.input_scale")).toBe(1 / 16)
    const glm = yield* metadata("glm4moe", { from: 2, to: 4 })
    expect(glm("glm4moe.rope.dimension_sections")).toEqual([8, 8, 0, 0])
    const qwen = yield* metadata("qwen3vl", { from: 0, to: 4 })
    expect(qwen("qwen3vl.rope.dimension_sections")).toEqual([6, 5, 5, 0])
    expect(qwen("qwen3vl.n_deepstack_layers")).toBeUndefined()
  })
)
