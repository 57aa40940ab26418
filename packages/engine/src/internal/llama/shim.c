/*
 * What the engine host calls: llama.cpp behind functions whose arguments are numbers and plain arrays. One `engine` is a
 * model, its context and the buffers of one batch; it belongs to one thread. Bounds are checked here, because behind this
 * file a wrong index is memory corruption. `Llama.ts` is the only caller and documents what each function means there;
 * `stage.c` adds what a part of a model needs.
 */
#include "mirror.h"

#define LOG_WARN 3
#define LOG_CONTINUED 5
#define STANDARD_ERROR 2
/* RLIMIT_CORE of Linux and macOS. */
#define RESOURCE_CORE 4
#define PR_SET_DUMPABLE 4
/* enum ggml_backend_dev_type */
#define DEVICE_GPU 1
#define DEVICE_INTEGRATED_GPU 2
/* poll.h of Linux and macOS. */
#define POLL_IN 1
struct pollfd {
  int descriptor;
  short events, returned;
};
extern int poll(struct pollfd *asked, unsigned long count, int wait_ms);
/* enum llama_load_mode */
#define LOAD_WITHOUT_MAPPING 0
/* Tokens the repeat penalty looks back; llama.cpp's own default. */
#define REPEAT_WINDOW 64

struct engine {
  struct llama_model *model;
  struct llama_context *context;
  const struct llama_vocab *vocab;
  int32_t vocabulary, batch_capacity, sequences;
  /* When the running decode is given up, by ggml's clock in microseconds; 0 for never. */
  int64_t deadline;
  /* One row each: the sequence of a row, a pointer to it (llama_batch allows several a row), and how many: one. */
  int32_t *row_sequence, **row_sequences, *row_sequence_count;
  /* What a part of a model has beside it; null for a whole one. */
  struct edges *edges;
};

/* ---- start ---- */

/* A decode is being given up, of which llama.cpp prints eight lines: nothing that anyone has to know. */
static bool giving_up;

/* Warnings and errors go to standard error, where the supervisor keeps the last lines. */
static void log_to_standard_error(int level, const char *text, void *user) {
  static int level_last;
  if (giving_up) return;
  if (level != LOG_CONTINUED) level_last = level;
  if (level_last >= LOG_WARN) write(STANDARD_ERROR, text, strlen(text));
}

const char *library_version(void) { return llama_version(); }

/*
 * Index of the first field whose default is not v0.5.0's, 0 where all are: a moved field shows as a nonsense value.
 * Model fields count from 1, context fields from 101.
 */
int32_t defaults_fault(void) {
  struct llama_model_params m = llama_model_default_params();
  if (m.devices || m.tensor_buft_overrides) return 1;
  if (m.split_mode != 1 || m.main_gpu != 0) return 2;
  if (m.load_mode < -1 || m.load_mode > 8 || m.lazy_mode < -1 || m.lazy_mode > 8) return 3;
  if (m.tensor_split || m.progress_callback || m.progress_callback_user_data || m.kv_overrides) return 4;
  if (m.vocab_only || m.check_tensors || !m.use_extra_bufts || m.no_host || m.no_alloc) return 5;
  struct llama_context_params c = llama_context_default_params();
  if (c.n_ctx != 512 || c.n_batch != 2048 || c.n_ubatch != 512 || c.n_seq_max != 1) return 101;
  if (c.n_threads < 1 || c.n_threads > 4096 || c.n_threads_batch != c.n_threads) return 102;
  if (c.rope_scaling_type != -1 || c.pooling_type != -1 || c.attention_type != -1 || c.flash_attn_type != -1) return 103;
  if (c.rope_freq_base != 0 || c.rope_freq_scale != 0 || c.yarn_orig_ctx != 0) return 104;
  if (c.cb_eval || c.cb_eval_user_data || c.abort_callback || c.abort_callback_data) return 105;
  if (c.type_k != 1 || c.type_v != 1) return 106;
  if (c.embeddings || !c.offload_kqv || !c.no_perf || !c.op_offload || !c.swa_full || c.kv_unified) return 107;
  if (c.samplers || c.n_samplers != 0 || c.ctx_other) return 108;
  return 0;
}

/* A dump of this process would hold users' text. Linux pipes dumps to a program whatever the limit, unless told not to. */
static void forbid_dumps(void) {
  const size_t none[2] = {0, 0};
  setrlimit(RESOURCE_CORE, none);
#if defined(__linux__)
  prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

void library_start(const char *backend_directory) {
  forbid_dumps();
  llama_log_set(log_to_standard_error, NULL);
  ggml_backend_load_all_from_path(backend_directory);
  llama_backend_init();
}

/* Whether a backend found a graphics processor, of its own memory or of the computer's. */
bool library_has_accelerator(void) {
  return ggml_backend_dev_by_type(DEVICE_GPU) != NULL || ggml_backend_dev_by_type(DEVICE_INTEGRATED_GPU) != NULL;
}

/* Whether nothing is to be read from a descriptor, its end included; does not wait. */
bool descriptor_silent(int32_t descriptor) {
  struct pollfd asked = {descriptor, POLL_IN, 0};
  return poll(&asked, 1, 0) == 0;
}

/* ---- model and context ---- */

/*
 * Without `repack` the weights stay as they are in the file, so that the count of rows does not choose the kernel. They
 * are read, not mapped, where a host's memory comes in huge pages (`HostEnvironment.ts`): a mapped file has small ones.
 */
void *model_open(const char *path, int32_t gpu_layers, bool repack, void *progress) {
  struct llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = gpu_layers;
  params.use_extra_bufts = repack;
#if defined(__linux__)
  params.load_mode = LOAD_WITHOUT_MAPPING;
#endif
  params.progress_callback = (progress_callback)progress;
  return llama_model_load_from_file(path, params);
}

void engine_close(struct engine *e) {
  if (e->context) llama_free(e->context);
  llama_model_free(e->model);
  free(e->row_sequence);
  free(e->row_sequences);
  free(e->row_sequence_count);
  free(e);
}

/* Asked between the operations of a graph; true ends the decode. */
static bool is_overdue(void *user) {
  struct engine *e = user;
  if (e->deadline == 0 || ggml_time_us() <= e->deadline) return false;
  giving_up = true;
  return true;
}

/* As `engine_open`; `watch` is asked about the results of a graph's operations, none where it is null. */
static struct engine *engine_watched(struct llama_model *model, int32_t context_tokens, int32_t sequences,
                                     int32_t batch, int32_t threads, int32_t cell_type, evaluation_callback watch) {
  struct engine *e = calloc(1, sizeof *e);
  e->model = model;
  e->vocab = llama_model_get_vocab(model);
  e->vocabulary = llama_vocab_n_tokens(e->vocab);
  e->batch_capacity = batch;
  e->sequences = sequences;
  e->row_sequence = calloc(batch, sizeof *e->row_sequence);
  e->row_sequences = calloc(batch, sizeof *e->row_sequences);
  e->row_sequence_count = calloc(batch, sizeof *e->row_sequence_count);
  for (int32_t i = 0; i < batch; i++) {
    e->row_sequences[i] = &e->row_sequence[i];
    e->row_sequence_count[i] = 1;
  }
  struct llama_context_params params = llama_context_default_params();
  params.n_ctx = (uint32_t)context_tokens * (uint32_t)sequences;
  params.n_batch = batch;
  params.n_ubatch = batch;
  params.n_seq_max = sequences;
  params.n_threads = threads;
  params.n_threads_batch = threads;
  params.kv_unified = false;
  params.type_k = cell_type;
  params.type_v = cell_type;
  params.abort_callback = is_overdue;
  params.abort_callback_data = e;
  params.cb_eval = (void *)watch;
  params.cb_eval_user_data = watch ? e : NULL;
  e->context = llama_init_from_model(model, params);
  if (e->context && llama_n_ctx_seq(e->context) >= (uint32_t)context_tokens) return e;
  engine_close(e);
  return NULL;
}

/*
 * Takes the model over, also where it fails. Each sequence gets `context_tokens` cells of its own: its rows see no other
 * sequence's, and a cell lies where its position says.
 */
void *engine_open(struct llama_model *model, int32_t context_tokens, int32_t sequences, int32_t batch, int32_t threads,
                  int32_t cell_type) {
  return engine_watched(model, context_tokens, sequences, batch, threads, cell_type, NULL);
}

int32_t engine_vocabulary(struct engine *e) { return e->vocabulary; }

/* ---- text ---- */

/* No special token is added; control tokens are recognised where `control`; minus the count if `capacity` is too small. */
int32_t engine_tokenize(struct engine *e, const char *text, int32_t bytes, int32_t *tokens, int32_t capacity,
                        bool control) {
  return llama_tokenize(e->vocab, text, bytes, tokens, capacity, false, control);
}

/* Bytes of a token's text, none for control tokens; minus the count where `capacity` is too small. */
int32_t engine_piece(struct engine *e, int32_t token, char *out, int32_t capacity) {
  if (token < 0 || token >= e->vocabulary) return 0;
  return llama_token_to_piece(e->vocab, token, out, capacity, 0, false);
}

int32_t token_attributes(struct engine *e, int32_t token) {
  return token < 0 || token >= e->vocabulary ? 0 : llama_vocab_get_attr(e->vocab, token);
}

const char *token_text(struct engine *e, int32_t token) {
  return token < 0 || token >= e->vocabulary ? "" : llama_vocab_get_text(e->vocab, token);
}

bool token_ends(struct engine *e, int32_t token) { return llama_vocab_is_eog(e->vocab, token); }

/* Whether every prompt begins with `token_begin`. */
bool prompt_begins(struct engine *e) { return llama_vocab_get_add_bos(e->vocab); }

/* The tokens around a text, -1 where the model has none. */
int32_t token_begin(struct engine *e) { return llama_vocab_bos(e->vocab); }
int32_t token_end(struct engine *e) { return llama_vocab_eos(e->vocab); }

/* The chat template of the file, null where it brings none. */
const char *chat_template(struct engine *e) { return llama_model_chat_template(e->model, NULL); }

/* ---- decode ---- */

void engine_threads(struct engine *e, int32_t threads) { llama_set_n_threads(e->context, threads, threads); }

/*
 * One llama_decode over rows of any sequences, given up after `deadline_us` unless that is 0; llama.cpp's code (0 is good,
 * 2 given up: some of the rows may be computed), -1000 where an argument is out of bounds. Rows are tokens, or hidden
 * states where `token` is null.
 */
static int32_t decode_rows(struct engine *e, int32_t rows, int32_t *token, float *hidden, int32_t *position,
                           const int32_t *sequence, int8_t *wanted, double deadline_us) {
  if (rows < 1 || rows > e->batch_capacity) return -1000;
  for (int32_t i = 0; i < rows; i++) {
    if (token && (token[i] < 0 || token[i] >= e->vocabulary)) return -1000;
    if (sequence[i] < 0 || sequence[i] >= e->sequences) return -1000;
    e->row_sequence[i] = sequence[i];
  }
  struct llama_batch batch;
  batch.n_tokens = rows;
  batch.token = token;
  batch.embd = hidden;
  batch.pos = position;
  batch.n_seq_id = e->row_sequence_count;
  batch.seq_id = e->row_sequences;
  batch.logits = wanted;
  e->deadline = deadline_us > 0 ? ggml_time_us() + (int64_t)deadline_us : 0;
  int32_t code = llama_decode(e->context, batch);
  e->deadline = 0;
  giving_up = false;
  return code;
}

/* Decodes tokens. */
int32_t engine_decode(struct engine *e, int32_t rows, int32_t *token, int32_t *position, const int32_t *sequence,
                      int8_t *wanted, double deadline_us) {
  return decode_rows(e, rows, token, NULL, position, sequence, wanted, deadline_us);
}

/*
 * Keeps the cells of positions below `count` and frees the others. Where the model cannot take back what it computed (a
 * recurrent state), or has let early cells go (a window), it frees all and returns false.
 */
bool engine_keep(struct engine *e, int32_t sequence, int32_t count) {
  void *memory = llama_get_memory(e->context);
  if (count > 0 && llama_memory_seq_rm(memory, sequence, count, -1) &&
      llama_memory_seq_pos_min(memory, sequence) == 0 && llama_memory_seq_pos_max(memory, sequence) == count - 1)
    return true;
  llama_memory_seq_rm(memory, sequence, -1, -1);
  return count <= 0;
}

/* Gives sequence `to` the cells of `from` in place of its own; the bytes are copied at the start of the next decode. */
void engine_copy(struct engine *e, int32_t from, int32_t to) {
  void *memory = llama_get_memory(e->context);
  llama_memory_seq_rm(memory, to, -1, -1);
  llama_memory_seq_cp(memory, from, to, -1, -1);
}

/* ---- sampling ---- */

/*
 * The draw at the end of a chain. Its random number depends on the seed and on the token's place in the answer alone, so
 * that an answer that goes on elsewhere draws what it would have drawn here.
 */
struct placed_draw {
  uint64_t key;
  uint64_t place;
};

/* The output function of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
static uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

/* The odd number next to 2^64 divided by the golden ratio: splitmix64's step. */
#define MIX_STEP 0x9e3779b97f4a7c15ULL

/* Uniform in [0, 1), 53 bits. */
static double uniform_at(uint64_t key, uint64_t place) {
  return (double)(mixed(key + (place + 1) * MIX_STEP) >> 11) / 9007199254740992.0;
}

static const char *placed_draw_name(const struct llama_sampler *sampler) { return "placed-draw"; }

static void placed_draw_accept(struct llama_sampler *sampler, int32_t token) {
  ((struct placed_draw *)sampler->ctx)->place++;
}

/* Inverts the distribution that llama.cpp's own draw, one step before in the chain, left in the candidates. */
static void placed_draw_apply(struct llama_sampler *sampler, struct llama_token_data_array *candidates) {
  const struct placed_draw *draw = sampler->ctx;
  const double target = uniform_at(draw->key, draw->place);
  double sum = 0;
  int64_t chosen = 0;
  for (size_t i = 0; i < candidates->size; i++) {
    const float p = candidates->data[i].p;
    if (p <= 0) continue;
    chosen = i;
    sum += p;
    if (sum > target) break;
  }
  candidates->selected = chosen;
}

static void placed_draw_free(struct llama_sampler *sampler) { free(sampler->ctx); }

static const struct llama_sampler_i placed_draw_functions = {
    placed_draw_name, placed_draw_accept, placed_draw_apply, NULL, NULL, placed_draw_free, {NULL}};

static struct llama_sampler *placed_draw_open(uint32_t seed) {
  struct placed_draw *draw = calloc(1, sizeof *draw);
  draw->key = mixed(seed + MIX_STEP);
  return llama_sampler_init(&placed_draw_functions, draw);
}

/*
 * Order as in llama.cpp's own server: biases, penalties, top-k, top-p, min-p, temperature, draw. The repeat penalty sees
 * the end of the prompt and the answer, the other two (OpenAI's) the answer alone, so they are two samplers.
 */
void *sampler_open(struct engine *e, double temperature, int32_t top_k, double top_p, double min_p, double repeat,
                   double frequency, double presence, int32_t seed, const struct llama_logit_bias *biases,
                   int32_t bias_count, const int32_t *prompt, int32_t prompt_count, int32_t answer_window) {
  struct llama_sampler_chain_params params;
  params.no_perf = true;
  struct llama_sampler *chain = llama_sampler_chain_init(params);
  if (bias_count > 0) llama_sampler_chain_add(chain, llama_sampler_init_logit_bias(e->vocabulary, bias_count, biases));
  if (repeat != 1) {
    struct llama_sampler *penalty = llama_sampler_init_penalties(e->vocabulary, REPEAT_WINDOW, repeat, 0, 0);
    for (int32_t i = 0; i < prompt_count; i++) llama_sampler_accept(penalty, prompt[i]);
    llama_sampler_chain_add(chain, penalty);
  }
  if (frequency != 0 || presence != 0)
    llama_sampler_chain_add(chain, llama_sampler_init_penalties(e->vocabulary, answer_window, 1, frequency, presence));
  if (temperature <= 0) {
    llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    return chain;
  }
  if (top_k > 0) llama_sampler_chain_add(chain, llama_sampler_init_top_k(top_k));
  if (top_p < 1) llama_sampler_chain_add(chain, llama_sampler_init_top_p(top_p, 1));
  if (min_p > 0) llama_sampler_chain_add(chain, llama_sampler_init_min_p(min_p, 1));
  llama_sampler_chain_add(chain, llama_sampler_init_temp(temperature));
  /* Its own draw is overruled; it is here for the probabilities that it computes. */
  llama_sampler_chain_add(chain, llama_sampler_init_dist(0));
  llama_sampler_chain_add(chain, placed_draw_open((uint32_t)seed));
  return chain;
}

/* Takes a token that was drawn elsewhere as the answer's next. */
void sampler_accept(struct engine *e, struct llama_sampler *chain, int32_t token) {
  if (token >= 0 && token < e->vocabulary) llama_sampler_accept(chain, token);
}

/* Draws from output row `row` of the last decode and remembers the token for the penalties. */
int32_t sampler_draw(struct engine *e, struct llama_sampler *chain, int32_t row) {
  return llama_sampler_sample(chain, e->context, row);
}

void sampler_close(struct llama_sampler *chain) { llama_sampler_free(chain); }
