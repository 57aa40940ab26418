/**
 * A small model of each architecture that can be cut: the metadata and the tensors that llama.cpp asks of it, with what
 * the cutting must care for: windows, leading dense layers, layers that draft, tied heads, scales.
 */
import { type Value, value } from "./gguf.ts"

/** Represents a model to write. */
export interface StageModel {
  /** The architecture, and what is special about this model of it. */
  readonly name: string
  readonly architecture: string
  /** Layers that answers run through. */
  readonly layers: number
  /** Layers behind them that only draft. */
  readonly drafting?: number
  /** Whether the head is the embedding again. */
  readonly isTied?: true
  /** Keys of the architecture, without its name, that differ from `sizes`; `undefined` leaves one out. */
  readonly keys?: Readonly<Record<string, Value | undefined>>
  /** Tensors of each layer. */
  readonly block: (layer: number) => ReadonlyArray<ModelTensor>
  /** Tensors beside the layers, the embedding, the last norm and the head. */
  readonly shared?: ReadonlyArray<ModelTensor>
}

/** Represents a tensor; its name in a block is without `blk.N.`. */
export interface ModelTensor {
  readonly name: string
  readonly dims: readonly [number, ...ReadonlyArray<number>]
  /** `matrix` in 8 bits; `vector` around 0 and `norm` around 1 in single precision. */
  readonly kind: "matrix" | "vector" | "norm"
}

/** Sizes of all the models: rows are whole blocks of Q8_0, heads have 32 elements as cells of that type want. */
export const sizes = {
  embedding: 256,
  inner: 256,
  heads: 8,
  groups: 2,
  head: 32,
  experts: 4,
  expert: 64,
  context: 512,
  vocabulary: 1024
} as const

const { embedding, expert, experts, groups, head, heads, inner } = sizes

/** Makes a matrix. */
export const matrix = (name: string, ...dims: [number, ...ReadonlyArray<number>]): ModelTensor => ({
  name: `${name}.weight`,
  dims,
  kind: "matrix"
})
/** Makes the weights of a norm. */
export const norm = (name: string, elements: number = embedding): ModelTensor => ({
  name: `${name}.weight`,
  dims: [elements],
  kind: "norm"
})
const bias = (name: string, ...dims: [number, ...ReadonlyArray<number>]): ModelTensor => ({
  name: `${name}.bias`,
  dims,
  kind: "vector"
})

const queries = [matrix("attn_q", embedding, heads * head), matrix("attn_k", embedding, groups * head)]
const attention = [
  ...queries,
  matrix("attn_v", embedding, groups * head),
  matrix("attn_output", heads * head, embedding)
]
const attentionBiases = [bias("attn_q", heads * head), bias("attn_k", groups * head), bias("attn_v", groups * head)]
const headNorms = [norm("attn_q_norm", head), norm("attn_k_norm", head)]
const dense = [
  matrix("ffn_gate", embedding, inner),
  matrix("ffn_up", embedding, inner),
  matrix("ffn_down", inner, embedding)
]
const mixture = (width: number): ReadonlyArray<ModelTensor> => [
  matrix("ffn_gate_inp", embedding, experts),
  matrix("ffn_gate_exps", embedding, width, experts),
  matrix("ffn_up_exps", embedding, width, experts),
  matrix("ffn_down_exps", width, embedding, experts)
]
const sharedExpert = [
  matrix("ffn_gate_shexp", embedding, expert),
  matrix("ffn_up_shexp", embedding, expert),
  matrix("ffn_down_shexp", expert, embedding)
]
/** What a layer that drafts has more than the others. */
export const drafting = [
  matrix("nextn.eh_proj", 2 * embedding, embedding),
  norm("nextn.enorm"),
  norm("nextn.hnorm"),
  norm("nextn.shared_head_norm")
]
const plain = [norm("attn_norm"), ...attention, norm("ffn_norm"), ...dense]

/** Keys of a mixture of experts. */
const mixed = {
  expert_count: value.u32(experts),
  expert_used_count: value.u32(2),
  expert_feed_forward_length: value.u32(expert)
}
const lengths = { "attention.key_length": value.u32(head), "attention.value_length": value.u32(head) }
const sections = (...numbers: ReadonlyArray<number>) => ({
  "rope.dimension_sections": value.array(numbers.map(value.i32))
})
/** A window that a prompt of some dozen tokens is longer than. */
const window = { "attention.sliding_window": value.u32(16) }

const model = (architecture: string, rest: Partial<StageModel> & Pick<StageModel, "block">): StageModel => ({
  name: architecture,
  architecture,
  layers: 6,
  ...rest
})

const gemma = [...plain, norm("post_attention_norm"), norm("post_ffw_norm")]
const olmo2 = [
  ...attention,
  norm("attn_q_norm", heads * head),
  norm("attn_k_norm", groups * head),
  norm("post_attention_norm"),
  ...dense,
  norm("post_ffw_norm")
]
const gptOss = [
  norm("attn_norm"),
  norm("post_attention_norm"),
  ...attention,
  ...attentionBiases,
  bias("attn_output", embedding),
  { name: "attn_sinks.weight", dims: [heads], kind: "vector" } as const,
  ...mixture(expert),
  bias("ffn_gate_inp", experts),
  bias("ffn_gate_exps", expert, experts),
  bias("ffn_up_exps", expert, experts),
  bias("ffn_down_exps", embedding, experts)
]

/** Lengths of DeepSeek's compressed keys and queries, and of the part of a head that is turned by its place. */
const latent = { keys: 64, queries: 96, turned: 32, key: 64, value: 32 } as const
const deepseekKeys = {
  ...mixed,
  "attention.head_count_kv": value.u32(1),
  "attention.kv_lora_rank": value.u32(latent.keys),
  "attention.key_length": value.u32(latent.keys + latent.turned),
  "attention.value_length": value.u32(latent.keys),
  "attention.key_length_mla": value.u32(latent.key),
  "attention.value_length_mla": value.u32(latent.value),
  "rope.dimension_count": value.u32(latent.turned),
  expert_shared_count: value.u32(1),
  expert_weights_scale: value.f32(1.5)
}
const deepseek = (layer: number, leading: number, isCompressed: boolean): ReadonlyArray<ModelTensor> => [
  norm("attn_norm"),
  ...(isCompressed
    ? [
        matrix("attn_q_a", embedding, latent.queries),
        norm("attn_q_a_norm", latent.queries),
        matrix("attn_q_b", latent.queries, heads * latent.key)
      ]
    : [matrix("attn_q", embedding, heads * latent.key)]),
  matrix("attn_kv_a_mqa", embedding, latent.keys + latent.turned),
  norm("attn_kv_a_norm", latent.keys),
  matrix("attn_k_b", latent.key - latent.turned, latent.keys, heads),
  matrix("attn_v_b", latent.keys, latent.value, heads),
  matrix("attn_output", heads * latent.value, embedding),
  norm("ffn_norm"),
  ...(layer < leading ? dense : [...mixture(expert), bias("exp_probs_b", experts), ...sharedExpert])
]
const glm4moe = (layer: number, leading: number): ReadonlyArray<ModelTensor> => [
  norm("attn_norm"),
  ...attention,
  ...attentionBiases,
  ...headNorms,
  norm("post_attention_norm"),
  ...(layer < leading ? dense : [...mixture(expert), bias("exp_probs_b", experts), ...sharedExpert])
]

/** A model of every architecture that can be cut, and of every kind of it that is cut otherwise. */
export const stageModels: ReadonlyArray<StageModel> = [
  model("llama", { keys: { "rope.dimension_count": value.u32(head) }, block: () => plain }),
  model("llama", {
    name: "llama-tied",
    isTied: true,
    keys: {
      "rope.dimension_count": value.u32(head),
      "attention.head_count": value.array(Array.from({ length: 6 }, () => value.u32(heads))),
      feed_forward_length: value.array(Array.from({ length: 6 }, () => value.u32(inner)))
    },
    block: () => plain,
    shared: [{ name: "rope_freqs.weight", dims: [head / 2], kind: "norm" }]
  }),
  model("llama", {
    name: "llama-mixture",
    keys: { ...mixed, expert_feed_forward_length: undefined, "rope.dimension_count": value.u32(head) },
    block: () => [norm("attn_norm"), ...attention, norm("ffn_norm"), ...mixture(inner)]
  }),
  model("mistral3", {
    keys: {
      "attention.temperature_scale": value.f32(0.1),
      "rope.scaling.original_context_length": value.u32(16)
    },
    block: () => plain
  }),
  model("qwen2", { block: () => [...plain, ...attentionBiases] }),
  model("qwen3", { keys: lengths, block: () => [...plain, ...headNorms] }),
  model("qwen3", { name: "qwen3-tied", isTied: true, keys: lengths, block: () => [...plain, ...headNorms] }),
  model("qwen3moe", {
    keys: { ...lengths, ...mixed },
    block: () => [norm("attn_norm"), ...attention, ...headNorms, norm("ffn_norm"), ...mixture(expert)]
  }),
  model("phi3", {
    keys: { "rope.dimension_count": value.u32(head) },
    block: () => [
      norm("attn_norm"),
      matrix("attn_qkv", embedding, (heads + 2 * groups) * head),
      matrix("attn_output", embedding, embedding),
      norm("ffn_norm"),
      matrix("ffn_up", embedding, 2 * inner),
      matrix("ffn_down", inner, embedding)
    ],
    shared: [
      { name: "rope_factors_long.weight", dims: [head / 2], kind: "norm" },
      { name: "rope_factors_short.weight", dims: [head / 2], kind: "norm" }
    ]
  }),
  model("gemma2", {
    isTied: true,
    keys: {
      ...lengths,
      ...window,
      attn_logit_softcapping: value.f32(50),
      final_logit_softcapping: value.f32(30)
    },
    block: () => gemma
  }),
  model("gemma3", {
    layers: 8,
    isTied: true,
    keys: { ...lengths, ...window, "rope.freq_base_swa": value.f32(5000) },
    block: () => [...gemma, ...headNorms]
  }),
  model("gemma3", {
    name: "gemma3-unwindowed",
    isTied: true,
    keys: {
      ...lengths,
      "attention.sliding_window_pattern": value.array([1, 0, 1, 0, 1, 0].map(value.bool))
    },
    block: () => [...gemma, ...headNorms]
  }),
  model("gpt-oss", {
    keys: { ...lengths, ...mixed, ...window, "rope.dimension_count": value.u32(head) },
    block: () => gptOss
  }),
  model("olmo2", { keys: window, block: () => olmo2 }),
  model("olmo2", { name: "olmo2-unwindowed", block: () => olmo2 }),
  model("cohere2", {
    isTied: true,
    keys: {
      ...window,
      logit_scale: value.f32(0.25),
      "attention.layer_norm_epsilon": value.f32(1e-5),
      "attention.sliding_window_pattern": value.u32(3)
    },
    block: () => [norm("attn_norm"), ...attention, ...dense]
  }),
  model("exaone4", {
    block: () => [...attention, ...headNorms, norm("post_attention_norm"), ...dense, norm("post_ffw_norm")]
  }),
  model("deepseek2", {
    drafting: 1,
    keys: {
      ...deepseekKeys,
      "attention.q_lora_rank": value.u32(latent.queries),
      leading_dense_block_count: value.u32(3)
    },
    block: (layer) => deepseek(layer, 3, true)
  }),
  model("deepseek2", {
    name: "deepseek2-small",
    layers: 27,
    keys: { ...deepseekKeys, leading_dense_block_count: value.u32(1) },
    block: (layer) => deepseek(layer, 1, false)
  }),
  ...[{ name: "glm4moe" }, { name: "glm4moe-sections", keys: sections(4, 6, 6, 0) }].map(({ keys, name }) =>
    model("glm4moe", {
      name,
      drafting: 1,
      keys: {
        ...lengths,
        ...mixed,
        ...keys,
        expert_shared_count: value.u32(1),
        leading_dense_block_count: value.u32(1)
      },
      block: (layer) => glm4moe(layer, 1)
    })
  ),
  model("granite", {
    keys: {
      "rope.dimension_count": value.u32(head),
      logit_scale: value.f32(4),
      residual_scale: value.f32(0.5),
      embedding_scale: value.f32(12),
      "attention.scale": value.f32(0.125)
    },
    block: () => plain
  }),
  model("granitemoe", {
    keys: {
      ...mixed,
      "rope.dimension_count": value.u32(head),
      logit_scale: value.f32(4),
      residual_scale: value.f32(0.5),
      embedding_scale: value.f32(12),
      "attention.scale": value.f32(0.125)
    },
    block: () => [norm("attn_norm"), ...attention, norm("ffn_norm"), ...mixture(inner)]
  }),
  model("qwen2vl", { keys: sections(4, 6, 6, 0), block: () => [...plain, ...attentionBiases] }),
  model("qwen3vl", {
    keys: { ...lengths, ...sections(6, 5, 5, 0), n_deepstack_layers: value.u32(3) },
    block: () => [...plain, ...headNorms]
  }),
  model("glm4", {
    keys: { ...lengths, ...sections(4, 6, 6, 0) },
    block: () => [
      norm("attn_norm"),
      ...attention,
      norm("post_attention_norm"),
      norm("ffn_norm"),
      matrix("ffn_up", embedding, 2 * inner),
      matrix("ffn_down", inner, embedding),
      norm("post_ffw_norm")
    ]
  })
]

/** Returns the model of that name; throws where there is none. */
export const stageModel = (name: string): StageModel => {
  const found = stageModels.find((one) => one.name === name)
  if (found === undefined) throw new Error(`there is no model ${name}`)
  return found
}
