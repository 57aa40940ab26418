/*
 * The part of llama.h that the shim uses, written out by hand for llama.cpp v0.5.0 (node-llama-cpp 3.22.1): a user's
 * machine has neither that header nor a libc's. Structs travel by value, so a wrong field would be silent memory
 * corruption: `defaults_fault` checks them at start, and a test compares their bytes with what the library writes.
 */
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef __SIZE_TYPE__ size_t;
#define bool _Bool
#define true 1
#define false 0
#define NULL ((void *)0)

struct llama_model;
struct llama_context;
struct llama_vocab;
struct llama_sampler;

typedef bool (*progress_callback)(float fraction, void *user);

struct llama_model_params {
  void *devices;
  const void *tensor_buft_overrides;
  int32_t n_gpu_layers;
  int32_t split_mode;
  int32_t load_mode;
  int32_t lazy_mode;
  int32_t main_gpu;
  const float *tensor_split;
  progress_callback progress_callback;
  void *progress_callback_user_data;
  const void *kv_overrides;
  bool vocab_only;
  bool check_tensors;
  bool use_extra_bufts;
  bool no_host;
  bool no_alloc;
  bool load_mtp;
};

struct llama_context_params {
  uint32_t n_ctx;
  uint32_t n_batch;
  uint32_t n_ubatch;
  uint32_t n_seq_max;
  uint32_t n_rs_seq;
  uint32_t n_outputs_max;
  uint32_t n_outputs_max_per_seq;
  int32_t n_threads;
  int32_t n_threads_batch;
  int32_t ctx_type;
  int32_t rope_scaling_type;
  int32_t pooling_type;
  int32_t attention_type;
  int32_t flash_attn_type;
  float rope_freq_base;
  float rope_freq_scale;
  float yarn_ext_factor;
  float yarn_attn_factor;
  float yarn_beta_fast;
  float yarn_beta_slow;
  uint32_t yarn_orig_ctx;
  float defrag_thold;
  void *cb_eval;
  void *cb_eval_user_data;
  int32_t type_k;
  int32_t type_v;
  void *abort_callback;
  void *abort_callback_data;
  bool embeddings;
  bool offload_kqv;
  bool no_perf;
  bool op_offload;
  bool swa_full;
  bool kv_unified;
  void *samplers;
  size_t n_samplers;
  void *ctx_other;
};

struct llama_batch {
  int32_t n_tokens;
  int32_t *token;
  float *embd;
  int32_t *pos;
  int32_t *n_seq_id;
  int32_t **seq_id;
  int8_t *logits;
};

struct llama_sampler_chain_params {
  bool no_perf;
};

struct llama_token_data {
  int32_t id;
  float logit;
  float p;
};

struct llama_token_data_array {
  struct llama_token_data *data;
  size_t size;
  int64_t selected;
  bool sorted;
};

struct llama_sampler {
  const struct llama_sampler_i *iface;
  void *ctx;
};

/* The functions at the end are for samplers on a graphics processor; null where there is none, and room to spare. */
struct llama_sampler_i {
  const char *(*name)(const struct llama_sampler *sampler);
  void (*accept)(struct llama_sampler *sampler, int32_t token);
  void (*apply)(struct llama_sampler *sampler, struct llama_token_data_array *candidates);
  void (*reset)(struct llama_sampler *sampler);
  struct llama_sampler *(*clone)(const struct llama_sampler *sampler);
  void (*free)(struct llama_sampler *sampler);
  void *backend[6];
};

struct llama_logit_bias {
  int32_t token;
  float bias;
};

struct ggml_tensor;

/* Asked twice about each result: whether it is wanted, and, where it was, whether to go on once it is there. */
typedef bool (*evaluation_callback)(struct ggml_tensor *tensor, bool asks, void *user);

extern const char *ggml_get_name(const struct ggml_tensor *tensor);
extern size_t ggml_nbytes(const struct ggml_tensor *tensor);
extern void ggml_backend_tensor_get(const struct ggml_tensor *tensor, void *out, size_t offset, size_t size);

extern const char *llama_version(void);
extern void llama_log_set(void (*callback)(int level, const char *text, void *user), void *user);
extern void llama_backend_init(void);
extern void ggml_backend_load_all_from_path(const char *directory);
extern void *ggml_backend_dev_by_type(int type);
extern int64_t ggml_time_us(void);

extern struct llama_model_params llama_model_default_params(void);
extern struct llama_model *llama_model_load_from_file(const char *path, struct llama_model_params params);
extern void llama_model_free(struct llama_model *model);
extern const struct llama_vocab *llama_model_get_vocab(const struct llama_model *model);
extern int32_t llama_model_n_embd(const struct llama_model *model);
extern int32_t llama_model_n_embd_inp(const struct llama_model *model);
extern int32_t llama_model_n_layer(const struct llama_model *model);
extern int llama_model_rope_type(const struct llama_model *model);
extern const char *llama_model_chat_template(const struct llama_model *model, const char *name);

extern struct llama_context_params llama_context_default_params(void);
extern struct llama_context *llama_init_from_model(struct llama_model *model, struct llama_context_params params);
extern void llama_free(struct llama_context *context);
extern uint32_t llama_n_ctx_seq(const struct llama_context *context);
extern void *llama_get_memory(const struct llama_context *context);
extern void llama_memory_seq_cp(void *memory, int32_t from, int32_t to, int32_t begin, int32_t end);
extern int32_t llama_memory_seq_pos_min(void *memory, int32_t sequence);
extern int32_t llama_memory_seq_pos_max(void *memory, int32_t sequence);
extern void llama_set_n_threads(struct llama_context *context, int32_t threads, int32_t threads_batch);
extern bool llama_memory_seq_rm(void *memory, int32_t sequence, int32_t from, int32_t to);
extern int32_t llama_decode(struct llama_context *context, struct llama_batch batch);

extern int32_t llama_vocab_n_tokens(const struct llama_vocab *vocab);
extern int32_t llama_vocab_bos(const struct llama_vocab *vocab);
extern int32_t llama_vocab_eos(const struct llama_vocab *vocab);
extern bool llama_vocab_get_add_bos(const struct llama_vocab *vocab);
extern bool llama_vocab_is_eog(const struct llama_vocab *vocab, int32_t token);
extern int32_t llama_vocab_get_attr(const struct llama_vocab *vocab, int32_t token);
extern const char *llama_vocab_get_text(const struct llama_vocab *vocab, int32_t token);
extern int32_t llama_tokenize(const struct llama_vocab *vocab, const char *text, int32_t bytes, int32_t *tokens,
                              int32_t capacity, bool add_special, bool parse_special);
extern int32_t llama_token_to_piece(const struct llama_vocab *vocab, int32_t token, char *out, int32_t capacity,
                                    int32_t lstrip, bool special);

extern struct llama_sampler *llama_sampler_init(const struct llama_sampler_i *iface, void *ctx);
extern struct llama_sampler *llama_sampler_chain_init(struct llama_sampler_chain_params params);
extern void llama_sampler_chain_add(struct llama_sampler *chain, struct llama_sampler *sampler);
extern struct llama_sampler *llama_sampler_init_greedy(void);
extern struct llama_sampler *llama_sampler_init_dist(uint32_t seed);
extern struct llama_sampler *llama_sampler_init_top_k(int32_t k);
extern struct llama_sampler *llama_sampler_init_top_p(float p, size_t min_keep);
extern struct llama_sampler *llama_sampler_init_min_p(float p, size_t min_keep);
extern struct llama_sampler *llama_sampler_init_temp(float temperature);
extern struct llama_sampler *llama_sampler_init_penalties(int32_t vocabulary, int32_t window, float repeat,
                                                          float frequency, float presence);
extern struct llama_sampler *llama_sampler_init_logit_bias(int32_t vocabulary, int32_t count,
                                                           const struct llama_logit_bias *biases);
extern void llama_sampler_accept(struct llama_sampler *sampler, int32_t token);
extern int32_t llama_sampler_sample(struct llama_sampler *sampler, struct llama_context *context, int32_t row);
extern void llama_sampler_free(struct llama_sampler *sampler);

/* libc */
extern void *calloc(size_t count, size_t size);
extern void *malloc(size_t size);
extern void free(void *memory);
extern size_t strlen(const char *text);
extern int strcmp(const char *one, const char *other);
extern int snprintf(char *out, size_t capacity, const char *format, ...);
extern long write(int descriptor, const void *bytes, size_t count);
extern int setrlimit(int resource, const size_t *soft_and_hard);
#if defined(__linux__)
extern int prctl(int option, size_t value, size_t unused, size_t unused_too, size_t last_unused);
#endif
