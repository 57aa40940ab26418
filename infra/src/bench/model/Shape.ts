/**
 * The models that benchmarks run: Llamas in the mix of types that llama.cpp calls Q4_K_M, of sizes that volunteers'
 * machines serve. Pure: what tensors there are and how they are stored.
 */
import { type BlockType, blockTypes } from "./Blocks.ts"

/** Represents the sizes of a Llama; embedding and inner width are multiples of 256, the length of a block's row. */
export interface Shape {
  readonly name: string
  readonly embedding: number
  readonly inner: number
  readonly layers: number
  readonly heads: number
  /** Heads of keys and values. */
  readonly groups: number
  readonly vocabulary: number
  readonly context: number
}

/** 0.29 billion parameters, 177 MB: the class of small chat models that run well on one thread. */
export const medium: Shape = {
  name: "random-0.29b-q4_k_m",
  embedding: 1024,
  inner: 2816,
  layers: 20,
  heads: 16,
  groups: 4,
  vocabulary: 32_000,
  context: 4096
}

/** 0.06 billion parameters, 38 MB: for quick runs. */
export const small: Shape = {
  name: "random-0.06b-q4_k_m",
  embedding: 512,
  inner: 1536,
  layers: 8,
  heads: 8,
  groups: 4,
  vocabulary: 32_000,
  context: 4096
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

/** Spread of the logits: wide enough that the likeliest token leads by more than the noise of the arithmetic. */
const logitDeviation = 3

/** Returns the tensors of a model of this shape, in the order in which files hold them. */
export const tensorsOf = (shape: Shape): ReadonlyArray<PlannedTensor> => {
  const { embedding, groups, heads, inner, layers, vocabulary } = shape
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
  const shared = 1 / Math.sqrt(2 * layers)
  return [
    matrix("token_embd", embedding, vocabulary, blockTypes.q4K, Math.sqrt(embedding)),
    norm("output_norm"),
    matrix("output", embedding, vocabulary, blockTypes.q6K, logitDeviation),
    ...Array.from({ length: layers }, (_, layer) => {
      const block = `blk.${layer}`
      const more = hasMoreBits(layer, layers) ? blockTypes.q6K : blockTypes.q4K
      return [
        norm(`${block}.attn_norm`),
        matrix(`${block}.attn_q`, embedding, embedding, blockTypes.q4K),
        matrix(`${block}.attn_k`, embedding, key, blockTypes.q4K),
        matrix(`${block}.attn_v`, embedding, key, more),
        matrix(`${block}.attn_output`, embedding, embedding, blockTypes.q4K, shared),
        norm(`${block}.ffn_norm`),
        matrix(`${block}.ffn_gate`, embedding, inner, blockTypes.q4K),
        matrix(`${block}.ffn_up`, embedding, inner, blockTypes.q4K),
        matrix(`${block}.ffn_down`, inner, embedding, more, shared)
      ]
    }).flat()
  ]
}

/** Returns the number of parameters. */
export const parametersOf = (shape: Shape): number =>
  tensorsOf(shape).reduce((sum, { dims }) => sum + dims.reduce((product, dim) => product * dim, 1), 0)
