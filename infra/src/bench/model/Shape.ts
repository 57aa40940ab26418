/**
 * The models that benchmarks and tests run: Llamas of sizes that volunteers' machines serve, in the quantisations that
 * people use, and tiny ones. Pure: what tensors there are and how they are stored.
 */
import { type BlockType, blockTypes } from "./Blocks.ts"

/** Represents a Llama; embedding and inner width are multiples of 256, the length of a block's row. */
export interface Shape {
  readonly name: string
  /** `Q4_K_M` mixes in Q6_K where llama.cpp's own quantiser does. */
  readonly quantization: "Q4_K_M" | "Q8_0" | "F16"
  readonly embedding: number
  readonly inner: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values. */
  readonly groups: number
  readonly vocabulary: number
  readonly context: number
  /**
   * `plain`: answers are words alone, and the likeliest token leads by more than the noise of the arithmetic. `touchy`:
   * control tokens and single bytes, which may be half a character, are drawn too, and the smallest change of a
   * computation shows in the tokens: the hardest case for "the same answer".
   */
  readonly temper: "plain" | "touchy"
}

/** 0.29 billion parameters, 177 MB: the class of small chat models that run well on one thread. */
export const medium: Shape = {
  name: "random-0.29b-q4_k_m",
  quantization: "Q4_K_M",
  embedding: 1024,
  inner: 2816,
  layers: 20,
  heads: 16,
  groups: 4,
  vocabulary: 32_000,
  context: 4096,
  temper: "plain"
}

/** 0.06 billion parameters, 38 MB: for quick runs. */
export const small: Shape = {
  name: "random-0.06b-q4_k_m",
  quantization: "Q4_K_M",
  embedding: 512,
  inner: 1536,
  layers: 8,
  heads: 8,
  groups: 4,
  vocabulary: 32_000,
  context: 4096,
  temper: "plain"
}

/** 2.5 million parameters, 2 MB, decoded in well under a millisecond: for tests of exactness. */
export const touchy: Shape = {
  name: "random-touchy",
  quantization: "Q4_K_M",
  embedding: 256,
  inner: 512,
  layers: 3,
  heads: 4,
  groups: 4,
  vocabulary: 1024,
  context: 2048,
  temper: "touchy"
}

/** Represents one tensor to be written. */
export interface PlannedTensor {
  readonly name: string
  /** The row's length first. */
  readonly dims: readonly [number, ...ReadonlyArray<number>]
  readonly type: BlockType
  readonly deviation: number
}

/** Layers whose value and down projections get 6 bits: the first and last eighth, and each third between. */
const hasMoreBits = (layer: number, layers: number): boolean =>
  layer < Math.floor(layers / 8) || layer >= Math.floor((7 * layers) / 8) || (layer - Math.floor(layers / 8)) % 3 === 2

/** Spread of the logits at which the likeliest token leads by more than the noise of the arithmetic. */
const plainLogits = 3

/** The type of most tensors, and that of those which suffer most from a coarse one. */
const typesOf = {
  Q4_K_M: { main: blockTypes.q4K, finer: blockTypes.q6K },
  Q8_0: { main: blockTypes.q8, finer: blockTypes.q8 },
  F16: { main: blockTypes.f16, finer: blockTypes.f16 }
} as const

/** Returns the tensors of a model of this shape, in the order in which files hold them. */
export const tensorsOf = (shape: Shape): ReadonlyArray<PlannedTensor> => {
  const { embedding, groups, heads, inner, layers, temper, vocabulary } = shape
  const { finer, main } = typesOf[shape.quantization]
  const key = (embedding / heads) * groups
  // Sums over a row keep a deviation of 1; what is added to the residual shares it among all layers.
  const matrix = (name: string, from: number, to: number, type: BlockType, gain = 1): PlannedTensor => ({
    name: `${name}.weight`,
    dims: [from, to],
    type,
    deviation: gain / Math.sqrt(from)
  })
  const norm = (name: string): PlannedTensor => ({
    name: `${name}.weight`,
    dims: [embedding],
    type: blockTypes.ones,
    deviation: 0
  })
  const isPlain = temper === "plain"
  // Where noise is to grow on its way, each layer adds as much as what it was given.
  const shared = isPlain ? 1 / Math.sqrt(2 * layers) : 1
  return [
    matrix("token_embd", embedding, vocabulary, main, Math.sqrt(embedding)),
    norm("output_norm"),
    matrix("output", embedding, vocabulary, finer, isPlain ? plainLogits : 1),
    ...Array.from({ length: layers }, (_, layer) => {
      const block = `blk.${layer}`
      const more = hasMoreBits(layer, layers) ? finer : main
      return [
        norm(`${block}.attn_norm`),
        matrix(`${block}.attn_q`, embedding, embedding, main),
        matrix(`${block}.attn_k`, embedding, key, main),
        matrix(`${block}.attn_v`, embedding, key, more),
        matrix(`${block}.attn_output`, embedding, embedding, main, shared),
        norm(`${block}.ffn_norm`),
        matrix(`${block}.ffn_gate`, embedding, inner, main),
        matrix(`${block}.ffn_up`, embedding, inner, main),
        matrix(`${block}.ffn_down`, inner, embedding, more, shared)
      ]
    }).flat()
  ]
}

/** Returns the number of parameters. */
export const parametersOf = (shape: Shape): number =>
  tensorsOf(shape).reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0)
