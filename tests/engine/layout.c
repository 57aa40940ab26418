/* Shows which bytes of its default parameters llama.cpp writes, and where the mirrored structs have their fields. */
#include "../../packages/engine/src/internal/llama/mirror.h"

#define FIELD(structure, name) mark(covered, (size_t)&((struct structure *)0)->name, sizeof ((struct structure *)0)->name)

/* A struct returned by value is written to where a hidden first argument points (System V ABI for x86-64). */
void model_defaults_into(void *out) { ((void (*)(void *))llama_model_default_params)(out); }
void context_defaults_into(void *out) { ((void (*)(void *))llama_context_default_params)(out); }

int32_t model_bytes(void) { return sizeof(struct llama_model_params); }
int32_t context_bytes(void) { return sizeof(struct llama_context_params); }

static void mark(uint8_t *covered, size_t offset, size_t size) {
  for (size_t i = 0; i < size; i++) covered[offset + i] = 1;
}

void model_covered(uint8_t *covered) {
  FIELD(llama_model_params, devices);
  FIELD(llama_model_params, tensor_buft_overrides);
  FIELD(llama_model_params, n_gpu_layers);
  FIELD(llama_model_params, split_mode);
  FIELD(llama_model_params, load_mode);
  FIELD(llama_model_params, lazy_mode);
  FIELD(llama_model_params, main_gpu);
  FIELD(llama_model_params, tensor_split);
  FIELD(llama_model_params, progress_callback);
  FIELD(llama_model_params, progress_callback_user_data);
  FIELD(llama_model_params, kv_overrides);
  FIELD(llama_model_params, vocab_only);
  FIELD(llama_model_params, check_tensors);
  FIELD(llama_model_params, use_extra_bufts);
  FIELD(llama_model_params, no_host);
  FIELD(llama_model_params, no_alloc);
  FIELD(llama_model_params, load_mtp);
}

void context_covered(uint8_t *covered) {
  FIELD(llama_context_params, n_ctx);
  FIELD(llama_context_params, n_batch);
  FIELD(llama_context_params, n_ubatch);
  FIELD(llama_context_params, n_seq_max);
  FIELD(llama_context_params, n_rs_seq);
  FIELD(llama_context_params, n_outputs_max);
  FIELD(llama_context_params, n_outputs_max_per_seq);
  FIELD(llama_context_params, n_threads);
  FIELD(llama_context_params, n_threads_batch);
  FIELD(llama_context_params, ctx_type);
  FIELD(llama_context_params, rope_scaling_type);
  FIELD(llama_context_params, pooling_type);
  FIELD(llama_context_params, attention_type);
  FIELD(llama_context_params, flash_attn_type);
  FIELD(llama_context_params, rope_freq_base);
  FIELD(llama_context_params, rope_freq_scale);
  FIELD(llama_context_params, yarn_ext_factor);
  FIELD(llama_context_params, yarn_attn_factor);
  FIELD(llama_context_params, yarn_beta_fast);
  FIELD(llama_context_params, yarn_beta_slow);
  FIELD(llama_context_params, yarn_orig_ctx);
  FIELD(llama_context_params, defrag_thold);
  FIELD(llama_context_params, cb_eval);
  FIELD(llama_context_params, cb_eval_user_data);
  FIELD(llama_context_params, type_k);
  FIELD(llama_context_params, type_v);
  FIELD(llama_context_params, abort_callback);
  FIELD(llama_context_params, abort_callback_data);
  FIELD(llama_context_params, embeddings);
  FIELD(llama_context_params, offload_kqv);
  FIELD(llama_context_params, no_perf);
  FIELD(llama_context_params, op_offload);
  FIELD(llama_context_params, swa_full);
  FIELD(llama_context_params, kv_unified);
  FIELD(llama_context_params, samplers);
  FIELD(llama_context_params, n_samplers);
  FIELD(llama_context_params, ctx_other);
}
