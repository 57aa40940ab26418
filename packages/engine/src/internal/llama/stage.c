/*
 * What a stage's host calls beside `shim.c`: a part of a model, which takes hidden states in (unless it is the first) and
 * gives those behind its last layer out (unless it is the last). `LlamaStage.ts` is the only caller.
 */
#include "shim.c"

/* enum llama_rope_type: positions of four parts, which llama.cpp makes of one for tokens alone. */
#define ROPE_MULTIPLE 8
#define ROPE_MULTIPLE_INTERLEAVED 40
#define POSITION_PARTS 4

struct edges {
  int32_t width;
  bool takes_hidden, gives_hidden;
  /* Name of the result to catch. */
  char last_output[32];
  /* Where the rows of the running decode go, and bytes that are there and that there are to be. */
  char *out;
  size_t caught, wanted;
  /* Room for positions in parts; null where they have one. */
  int32_t *positions;
};

/*
 * Copies the hidden states behind the last layer and ends the graph there. A decode may be of several graphs; what is
 * more than its rows is counted and not copied.
 */
static bool catch_hidden(struct ggml_tensor *tensor, bool asks, void *user) {
  struct edges *edges = ((struct engine *)user)->edges;
  if (edges == NULL || strcmp(ggml_get_name(tensor), edges->last_output) != 0) return !asks;
  if (asks) return true;
  const size_t bytes = ggml_nbytes(tensor);
  if (edges->caught <= edges->wanted && bytes <= edges->wanted - edges->caught)
    ggml_backend_tensor_get(tensor, edges->out + edges->caught, 0, bytes);
  edges->caught += bytes;
  return false;
}

void stage_close(struct engine *e) {
  free(e->edges->positions);
  free(e->edges);
  engine_close(e);
}

/* Whether a row is as wide on its way in as between layers: otherwise it is not what another stage gives out. */
bool stage_fits(struct llama_model *model) {
  return llama_model_n_embd(model) > 0 && llama_model_n_layer(model) > 0 &&
         llama_model_n_embd_inp(model) == llama_model_n_embd(model);
}

void stage_drop(struct llama_model *model) { llama_model_free(model); }

/* Takes the model over, which fits, also where it fails; null then. */
void *stage_open(struct llama_model *model, int32_t context_tokens, int32_t sequences, int32_t batch, int32_t threads,
                 int32_t cell_type, bool takes_hidden, bool gives_hidden) {
  const int rope = llama_model_rope_type(model);
  struct engine *e = engine_watched(model, context_tokens, sequences, batch, threads, cell_type,
                                    gives_hidden ? catch_hidden : NULL);
  if (e == NULL) return NULL;
  struct edges *edges = calloc(1, sizeof *edges);
  edges->width = llama_model_n_embd(model);
  edges->takes_hidden = takes_hidden;
  edges->gives_hidden = gives_hidden;
  snprintf(edges->last_output, sizeof edges->last_output, "l_out-%d", llama_model_n_layer(model) - 1);
  if (takes_hidden && (rope == ROPE_MULTIPLE || rope == ROPE_MULTIPLE_INTERLEAVED))
    edges->positions = calloc((size_t)batch * POSITION_PARTS, sizeof *edges->positions);
  e->edges = edges;
  return e;
}

int32_t stage_width(struct engine *e) { return e->edges->width; }

/* The last part of a text's position is 0. */
static int32_t *in_parts(struct edges *edges, const int32_t *position, int32_t rows) {
  for (int32_t part = 0; part < POSITION_PARTS; part++)
    for (int32_t i = 0; i < rows; i++)
      edges->positions[part * rows + i] = part == POSITION_PARTS - 1 ? 0 : position[i];
  return edges->positions;
}

/*
 * One decode as `engine_decode`. `hidden` and `out` are [batch, width], row by row: the first is read where the stage takes
 * hidden states, the second written where it gives them, in the order in which llama.cpp computes the rows. -1001 where it
 * gave others than `rows` rows.
 */
int32_t stage_decode(struct engine *e, int32_t rows, int32_t *token, float *hidden, int32_t *position,
                     const int32_t *sequence, int8_t *wanted, float *out, double deadline_us) {
  struct edges *edges = e->edges;
  if (rows < 1 || rows > e->batch_capacity) return -1000;
  edges->out = (char *)out;
  edges->caught = 0;
  edges->wanted = (size_t)rows * edges->width * sizeof *out;
  int32_t *positions = edges->positions ? in_parts(edges, position, rows) : position;
  const bool takes = edges->takes_hidden;
  const int32_t code =
      decode_rows(e, rows, takes ? NULL : token, takes ? hidden : NULL, positions, sequence, wanted, deadline_us);
  return code == 0 && edges->gives_hidden && edges->caught != edges->wanted ? -1001 : code;
}
