/* model.h - a decoder-only transformer: weights bound to an architecture, and its forward pass.
 *
 *   x = embed[token] * embed_scale
 *   each layer   h = [norm](x)            q k v = h W^T + b;  q k normed where the family does
 *                o = attn(rope(q), rope(k), v)         scores capped in Gemma 2
 *                x += [norm](o Wo^T)      norms in brackets are in some: Gemma has all, OLMo 2 the last
 *                h = [norm](x)
 *                x += [norm]((act(h Wg^T) * (h Wu^T)) Wd^T)
 *                or, of a mixture, the sum of such MLPs of the experts that a router chooses, each times its weight
 *   logits = norm(x) head^T          capped in Gemma 2
 *   reward = head(norm(x))           of the last token, where the model has such a head
 *
 * The forward runs over a prefix forest, so a prefix that sequences share is computed once, and keeps the keys and
 * values of one layer only. In the last layer only the rows that are asked for go past K and V. */
#ifndef GR_MODEL_MODEL_H
#define GR_MODEL_MODEL_H

#include "file/adapter.h"
#include "file/config.h"
#include "file/tensors.h"
#include "file/weights.h"
#include "model/forest.h"
#include "model/head.h"
#include "op/cap.h"
#include "op/matmul.h"
#include "tensor/param.h"

typedef struct gr_model gr_model;
#define GR_PACKED_PART "int8"

/* Binds the tensors of w to the architecture that *cfg says, for use on d; takes *cfg over (also on failure) and
 * borrows w and d, which must live longer. A file whose weights gram packed in 8 bits is for GR_LINEAR_INT8 alone, as
 * it is; its matrices are called GR_PACKED_PART in place of "weight". A tensor that is missing, of a wrong shape, or
 * that the architecture does not know fails by name. */
gram_status gr_model_open(gr_model **out, gr_device *d, const gr_weights *w, gr_config *cfg, gr_linear_mode mode,
                          gram_err *err);
/* The same with every tensor copied into float32 memory that may be written, in the form of a Hugging Face checkpoint
 * whatever the file's: for training. The parameters are the model's; g is NULL in them. */
gram_status gr_model_open_writable(gr_model **out, gr_device *d, const gr_weights *w, gr_config *cfg, gram_err *err);
/* Either of them with an adapter's matrices added to those that it belongs to; a NULL is none. A tensor of the adapter
 * that the model has no place for fails by name. EXACT: as a base in this mode with the adapter beside it computes: the
 * sums are float32, and bfloat16 rounds the base alone. */
typedef enum { GR_MODEL_FIXED, GR_MODEL_WRITABLE, GR_MODEL_EXACT } gr_model_use;
gram_status gr_model_open_folded(gr_model **out, gr_device *d, const gr_weights *w, const gr_adapter *a,
                                 gr_config *cfg, gr_linear_mode mode, gr_model_use use, gram_err *err);
const gr_param *gr_model_params(const gr_model *m, size_t *n);
/* A writable model whose configuration has a reward head that the file lacks gets one of zeros. This draws its values,
 * the deviation being initializer_range. */
gram_status gr_model_draw_score(gr_model *m, uint64_t seed, gram_err *err);
/* Trainees of m, to be opened, multiply so by the matrices of the layers, forward, backward and for their gradients;
 * where nothing is said, in float32. GR_BY_BF16 is for their steps (gr_trainee_drop()): both sides are rounded, sums
 * are float32. GR_BY_SPLIT is for all of their passes. What is stored stays as it is, and routers, adapters and heads
 * stay in float32. For a device that multiplies bfloat16, and a model that is writable or whose types are kept. */
void gr_model_train_by(gr_model *m, gr_multiply by);
void gr_model_close(gr_model *m);

/* A tensor of a checkpoint, and what becomes of it in the other format. */
typedef struct {
    char name[128], gguf[128];          /* what a Hugging Face directory calls it, and what a GGUF does; those of one
                                         * name are together a tensor of that file, in their order */
    char matrix[128], own[128];         /* as a Llama's, and as a directory of its architecture has it */
    gr_fused own_in;                    /* where in the latter; take 0: alone */
    gr_tensor t;                        /* in the file; the bias of q or k has rows of one value */
    bool flat;                          /* a vector, whose shape is one number */
    size_t head_dim;                    /* rows of heads, which GGUF's "llama" orders its own way; 0: as they are */
    gr_fused in;                        /* take > 0: t begins a tensor that holds others too */
    size_t experts;                     /* of a layer, whose matrices have one name in a GGUF and follow here; or 0 */
    bool permuted;                      /* the file is such a GGUF */
    bool int8;                          /* a matrix that a model opened in int8 has in 8 bits */
    bool gemma_norm, plus_one;          /* a norm, of which a Hugging Face Gemma holds w - 1; this file holds w */
} gr_stored;
/* The tensors that gr_model_open() would bind, checked as it checks them; *out is free()d. Takes *cfg over. */
gram_status gr_model_stored(gr_stored **out, size_t *n, const gr_weights *w, gr_config *cfg, gram_err *err);
/* t[0 .. returned) are together one tensor, of *rows rows, of a GGUF or a Hugging Face file; n > 0. */
size_t gr_stored_together(const gr_stored *t, size_t n, bool gguf, size_t *rows);
/* Row r as a GGUF, or else a Hugging Face file, is to hold it: out[s->t.cols]. */
void gr_stored_row(const gr_stored *s, bool gguf, size_t r, float *out);
/* Its n values from k on, which begin and end blocks of the type. */
void gr_stored_part(const gr_stored *s, bool gguf, size_t r, size_t k, size_t n, float *out);
const gr_config *gr_model_config(const gr_model *m);
uint64_t gr_model_bytes(const gr_model *m);             /* memory that the weights take, mapped pages included */
/* The same of runs of one way, and of what others have had made so far. */
uint64_t gr_model_way_bytes(const gr_model *m, gr_rows_way way);
/* Activations of a forward over `rows` rows with `threads` threads, the products' own scratch left out. type: as
 * gr_linear_rows() says. */
uint64_t gr_config_work_bytes(const gr_config *c, size_t rows, size_t threads, gr_dtype type);
/* What rows of scores have between products, and so keys and values in pages. */
gr_dtype gr_model_rows(const gr_model *m);
/* An empty cache of keys and values for passes of this model; d: the device of these passes. */
gram_status gr_model_kv_open(gr_kv_tree **out, const gr_model *m, gr_device *d, size_t limit, gram_err *err);

/* The memory of forward passes; grows to the largest batch it met. One forward at a time in each. lora: adapters that
 * are seen as they are at the time, as those in training; NULL: none. way: GR_ROWS_ALIKE, or for passes of a handful of
 * rows GR_ROWS_FEW; a row has the same bits in any pass of the same way. */
typedef struct gr_work gr_work;
typedef struct gr_lora gr_lora;
gram_status gr_work_open(gr_work **out, const gr_model *m, gr_lora *lora, gr_rows_way way, gr_device *d,
                         gram_err *err);
void gr_work_close(gr_work *w);
const gr_config *gr_work_config(const gr_work *w);
gr_device *gr_work_device(const gr_work *w);
gr_rows_way gr_work_way(const gr_work *w);
/* Many passes will come: the next one lays the weights out for them (op/matmul.h: gr_linear_lay()), which takes
 * gr_model_lay_bytes() of memory, unless they are trained. Changes no bit. */
void gr_work_lay(gr_work *w);
uint64_t gr_model_lay_bytes(const gr_model *m);

/* Final hidden states, after the last norm. want[n] are rows of the forest; *hidden is [n, width], in w
 * until its next use. */
gram_status gr_model_forward(gr_work *w, const gr_forest *f, const size_t *want, size_t n,
                             const float **hidden, gram_err *err);

/* out[n, n_labels]: hidden state times the head's rows of the labels; no other logits are computed. */
gram_status gr_model_label_logits(gr_work *w, const gr_forest *f, const int32_t *label, size_t n_labels,
                                  float *out, gram_err *err);
/* out[n, gr_reward_outputs()]: what the reward head makes of the last hidden states, in a model that has one.
 * prompt_end: [n] rows where each sequence's last prompt ends, for a gate that reads there; otherwise NULL. */
gram_status gr_model_rewards(gr_work *w, const gr_forest *f, const size_t *prompt_end, float *out, gram_err *err);
/* Whether the head over the vocabulary has the same row for both tokens, which it then cannot tell apart. */
bool gr_model_same_rows(const gr_model *m, int32_t a, int32_t b);
/* All next-token logits of the rows want[n] of the forest: out[n, vocabulary]. */
gram_status gr_model_logits(gr_work *w, const gr_forest *f, const size_t *want, size_t n, float *out, gram_err *err);

/* The logit over words where the head gives x: divided, then capped; and dlogit/dx where y came out. */
static inline double gr_model_logit(const gr_config *c, double x)
{
    return gr_capped(x / (double)c->logit_div, c->logit_cap);
}
static inline double gr_model_logit_slope(const gr_config *c, double y)
{
    return gr_cap_slope(y, c->logit_cap) / (double)c->logit_div;
}

#endif
