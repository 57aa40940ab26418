/**
 * Writes whole Llamas with random weights in the quantisations that people use. Their logits are nearly flat, so the
 * smallest change of a computation shows in the tokens: the hardest case for "the same answer".
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, type Scope } from "effect"
import { type Tensor, value, write } from "./gguf.ts"

/** ggml's numbers of the block types, and what a block of each is: its values and its bytes. */
const blocks = {
  f32: { type: 0, values: 1, bytes: 4 },
  f16: { type: 1, values: 1, bytes: 2 },
  q8_0: { type: 8, values: 32, bytes: 34 },
  q4_K: { type: 12, values: 256, bytes: 144 },
  q6_K: { type: 14, values: 256, bytes: 210 }
} as const
type Block = keyof typeof blocks

/** Represents a Llama to write; `Q4_K_M` mixes in Q6_K where llama.cpp's own quantiser does. */
export interface RandomModel {
  readonly quantization: "Q4_K_M" | "Q8_0" | "F16"
  readonly seed: number
  readonly layers: number
  /** A multiple of 256, as are `inner` and the width of the keys. */
  readonly embedding: number
  readonly heads: number
  readonly groups: number
  readonly inner: number
  readonly vocabulary: number
  readonly context: number
}

/** A Llama of about 4 MB that decodes in well under a millisecond. */
export const small: RandomModel = {
  quantization: "Q4_K_M",
  seed: 1,
  layers: 3,
  embedding: 256,
  heads: 4,
  groups: 4,
  inner: 512,
  vocabulary: 1024,
  context: 2048
}

/** The token that ends an answer of these models; the first three are control tokens. */
export const endToken = 2

/** Returns the bytes of a model file. */
export const bytes = (model: RandomModel): Uint8Array => {
  const tensors = shapes(model).map(([name, dims, block]) => ({ name, dims, block, sizeBytes: sizeBytes(dims, block) }))
  const file = write({
    entries: entries(model),
    tensors: tensors.map(
      ({ block, dims, name, sizeBytes }): Tensor => ({
        name,
        dims,
        sizeBytes,
        type: blocks[block].type
      })
    )
  })
  const next = random(model.seed)
  // Sizes of tensors are multiples of the alignment here, so their data lie back to back up to the end.
  let at = file.length - tensors.reduce((sum, tensor) => sum + tensor.sizeBytes, 0)
  for (const { block, dims, sizeBytes } of tensors) {
    fill(file.subarray(at, at + sizeBytes), block, dims[0] ?? 1, dims.length === 1, next)
    at += sizeBytes
  }
  return file
}

/** Writes a model to a folder that goes with the scope; returns its path. */
export const file = (model: RandomModel): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "weft-model-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ).pipe(
    Effect.map((folder) => {
      const path = join(folder, "random.gguf")
      writeFileSync(path, bytes(model))
      return path
    })
  )

const sizeBytes = (dims: ReadonlyArray<number>, block: Block): number =>
  (dims.reduce((product, dim) => product * dim, 1) / blocks[block].values) * blocks[block].bytes

type Shape = readonly [name: string, dims: ReadonlyArray<number>, block: Block]

const shapes = ({ embedding, groups, heads, inner, layers, quantization, vocabulary }: RandomModel) => {
  const main: Block = quantization === "Q4_K_M" ? "q4_K" : quantization === "Q8_0" ? "q8_0" : "f16"
  const finer: Block = quantization === "Q4_K_M" ? "q6_K" : main
  const key = (embedding / heads) * groups
  return [
    ["token_embd.weight", [embedding, vocabulary], main],
    ["output_norm.weight", [embedding], "f32"],
    ["output.weight", [embedding, vocabulary], finer],
    ...Array.from({ length: layers }, (_, layer): ReadonlyArray<Shape> => {
      const part = layer % 2 === 0 ? finer : main
      return [
        [`blk.${layer}.attn_norm.weight`, [embedding], "f32"],
        [`blk.${layer}.attn_q.weight`, [embedding, embedding], main],
        [`blk.${layer}.attn_k.weight`, [embedding, key], main],
        [`blk.${layer}.attn_v.weight`, [embedding, key], part],
        [`blk.${layer}.attn_output.weight`, [embedding, embedding], main],
        [`blk.${layer}.ffn_norm.weight`, [embedding], "f32"],
        [`blk.${layer}.ffn_gate.weight`, [embedding, inner], main],
        [`blk.${layer}.ffn_up.weight`, [embedding, inner], main],
        [`blk.${layer}.ffn_down.weight`, [inner, embedding], part]
      ]
    }).flat()
  ] satisfies ReadonlyArray<Shape>
}

const entries = (model: RandomModel) => {
  const names = vocabulary(model.vocabulary)
  return [
    ["general.architecture", value.string("llama")],
    ["general.name", value.string("random llama")],
    ["general.file_type", value.u32({ Q4_K_M: 15, Q8_0: 7, F16: 1 }[model.quantization])],
    ["llama.block_count", value.u32(model.layers)],
    ["llama.context_length", value.u32(model.context)],
    ["llama.embedding_length", value.u32(model.embedding)],
    ["llama.feed_forward_length", value.u32(model.inner)],
    ["llama.attention.head_count", value.u32(model.heads)],
    ["llama.attention.head_count_kv", value.u32(model.groups)],
    ["llama.attention.layer_norm_rms_epsilon", value.f32(1e-5)],
    ["tokenizer.ggml.model", value.string("gpt2")],
    ["tokenizer.ggml.tokens", value.array(names.map(value.string))],
    ["tokenizer.ggml.token_type", value.array(names.map((_, token) => value.i32(token === 0 ? 2 : token < 3 ? 3 : 1)))],
    ["tokenizer.ggml.merges", value.array([value.string("a b")])],
    ["tokenizer.ggml.bos_token_id", value.u32(1)],
    ["tokenizer.ggml.eos_token_id", value.u32(endToken)],
    ["tokenizer.ggml.add_bos_token", value.bool(1)]
  ] as const
}

/** Control tokens, one token a byte (GPT-2's names for them), and words: text comes in pieces of characters. */
const vocabulary = (count: number): ReadonlyArray<string> => {
  let other = 256
  const named = (byte: number): boolean => (byte > 32 && byte < 127) || (byte > 160 && byte !== 173)
  const single = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(named(byte) ? byte : other++))
  const words = Array.from({ length: count - 260 }, (_, index) => `Ġw${index.toString(36)}`)
  return ["<unk>", "<s>", "</s>", ...single, "ab", ...words]
}

/** xorshift32 (Marsaglia 2003): fast, and the same everywhere. */
const random = (seed: number) => {
  let state = seed >>> 0 || 1
  return (): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
}

/** Fills a tensor with values around 0 whose sums over `width` inputs keep the size of the inputs. */
const fill = (out: Uint8Array, block: Block, width: number, ones: boolean, next: () => number): void => {
  const data = new DataView(out.buffer, out.byteOffset, out.byteLength)
  if (ones) {
    for (let at = 0; at < out.length; at += 4) data.setFloat32(at, 1, true)
    return
  }
  for (let at = 0; at + 4 <= out.length; at += 4) data.setUint32(at, next(), true)
  const deviation = 1 / Math.sqrt(width)
  const size = blocks[block].bytes
  for (let at = 0; at < out.length; at += size) scale(data, at, block, deviation)
}

/**
 * Sets the scales of one block so that its random quants have the wanted deviation; see ggml-quants.c for the
 * layouts.
 */
const scale = (data: DataView, at: number, block: Block, deviation: number): void => {
  // Uniform quants of ±128 have a deviation of 74.
  if (block === "q8_0") data.setFloat16(at, deviation / 74, true)
  if (block === "q4_K") {
    // scale × quant, both uniform: mean 236, deviation 217; the minimum, 7.5 × 31.5 on average, takes the mean away.
    data.setFloat16(at, deviation / 260, true)
    data.setFloat16(at + 2, (7.5 * deviation) / 260, true)
  }
  // scale uniform in ±128, quant uniform in ±32: a deviation of 74 × 18.
  if (block === "q6_K") data.setFloat16(at + 208, deviation / 1370, true)
  if (block === "f16") data.setFloat16(at, ((data.getUint16(at, true) / 65536) * 2 - 1) * deviation * 1.7, true)
}
