/* lora_int.h - adapters as the passes of src/model use them. */
#ifndef GR_MODEL_LORA_INT_H
#define GR_MODEL_LORA_INT_H

#include "model/lora.h"
#include "model/model_int.h"

/* The adapter of one matrix; rank 0: it has none. */
struct lora_pair {
    size_t rank;
    float scale;
    float *a, *b;               /* [rank,K], the same of those that lie in one tensor; B transposed: [rank,O]; on the
                                 * device */
    gr_linear *la, *lb;         /* over them */
};

struct gr_lora {
    gr_lora_spec spec;
    size_t layers, matrices;    /* gr_matrices() of each */
    struct lora_pair *pair;     /* [layers, matrices] */
    gr_head score;              /* trained whole, if the model has one */
    gr_param *param;            /* names owned, values those of the pairs */
    size_t n_params, n_head;    /* the last n_head are the head's */
    bool own;                   /* named as the architecture's directory names its matrices, several in one tensor */
};

static inline struct lora_pair *lora_pair(const gr_lora *l, size_t layer, size_t which)
{
    return &l->pair[layer * l->matrices + which];
}

/* y += s (x A^T) B^T for M rows; u [M,rank], or NULL, gets s x A^T. */
void gr_lora_fwd(gr_lane *lane, const struct lora_pair *p, gr_mat y, gr_mat x, gr_mat u, size_t M);
/* dx += s (dy B) A; what is in dx stays under it. du [M,rank], or NULL, gets s dy B. */
void gr_lora_dx(gr_lane *lane, const struct lora_pair *p, gr_mat dx, gr_mat dy, gr_mat du, size_t M);
/* da [rank,K] and db [rank,O] += what M rows give. Padding rows: dy 0, x finite. u and du are what the other two gave
 * for the same rows, which is then not computed again; NULL: they are computed here. */
void gr_lora_dw(gr_lane *lane, const struct lora_pair *p, gr_mat da, gr_mat db, gr_mat dy, gr_mat x, gr_mat u,
                gr_mat du, size_t M);
/* How many bytes of scratch any of these takes. */
size_t gr_lora_scratch(const struct lora_pair *p, size_t O, size_t K, size_t M);

/* What an adapter has for a matrix: A and B, of which some rows are its own; in.take 0: all. NULLs: nothing. DoRA has
 * the lengths of the rows of W + s B A besides. */
struct lora_found {
    const gr_named *t[2], *magnitude;
    gr_fused in;
    size_t stack, expert;       /* both are of so many experts together, of which this is one; 0: of none */
    double alpha;
};
/* A matrix [O,K] by what a directory of the architecture calls it, where it may lie in a tensor with others, and as a
 * Llama's. experts: how many its layer has if it is one's, otherwise 0. */
struct lora_matrix { const char *name, *own; gr_fused in; size_t experts, O, K; };
gram_status gr_lora_find(struct lora_found *out, const gr_adapter *a, const struct lora_matrix *m, gram_err *err);
gram_status gr_lora_find_pair(struct lora_found *out, const gr_model *m, const gr_adapter *a, size_t which,
                              size_t layer, gram_err *err);
/* How many tensors were found, and not before by another matrix in the same tensor. */
size_t gr_lora_tensors(const struct lora_found *f);
/* The bias that an adapter brings along for a matrix, "model.layers.0.self_attn.q_proj.weight" or ".bias", of O values
 * in the order of a Hugging Face file; NULL: the base's stays. */
gram_status gr_lora_find_bias(const gr_named **out, const gr_adapter *a, const char *matrix, size_t O, gram_err *err);
/* Rank and scale of what was found, its A [rank,K], a row [rank] of its B, and that row's place in the file's B. */
size_t gr_lora_rank(const struct lora_found *f);
float gr_lora_found_scale(const struct lora_found *f, const gr_adapter *a);
void gr_lora_a(const struct lora_found *f, float *to);
void gr_lora_b(const struct lora_found *f, size_t row, float *to);
size_t gr_lora_row(const struct lora_found *f, size_t row);
/* Gives row `row` of W + s B A, w [K], the length that DoRA has for it, if this is DoRA. */
gram_status gr_lora_lengthen(float *w, size_t K, const struct lora_found *f, size_t row, const gr_adapter *a,
                             gram_err *err);
/* to [rank,O]: B's columns, times scale; in_pairs: in the order that a GGUF has the rows of q and k in. */
gram_status gr_lora_b_columns(float *to, const struct lora_found *f, const gr_model *m, const gr_adapter *a,
                              size_t which, float scale, bool in_pairs, gram_err *err);
/* The adapter of one matrix, if it has one, added to w [O,K]: rows as a Hugging Face file has them, or, in_pairs,
 * as a GGUF. *found: it had; *tensors: gr_lora_tensors(). */
gram_status gr_lora_fold(float *w, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                         bool in_pairs, size_t *tensors, bool *found, gram_err *err);
/* The bias of one matrix put in the place of the base's, w [O], alike. *tensors: 1 where the adapter has one. */
gram_status gr_lora_put_bias(float *w, const gr_model *m, const gr_adapter *a, size_t which, size_t layer,
                             bool in_pairs, size_t *tensors, gram_err *err);
float gr_lora_scale(double alpha, size_t rank, bool root);
/* PEFT's names of the A or B of a matrix, own: as the architecture's directory calls it; and of a part of a head. */
#define GR_LORA_NAME 192
void gr_lora_name(char out[GR_LORA_NAME], const gr_model *m, size_t which, size_t layer, char part, bool own);
void gr_lora_head_name(char out[GR_LORA_NAME], const gr_head_part *p);
/* The matrix whose A is that of `which`: itself, or the first of those in one tensor. */
size_t gr_lora_first(const gr_lora *l, const gr_config *c, size_t which);
/* A tensor of the adapter's reward head, whose shape must be this. */
gram_status gr_lora_head_part(float *out, const gr_adapter *a, size_t width, const gr_head_part *p, gram_err *err);
/* Fails by the name of a tensor that is left over where so many were folded. */
gram_status gr_lora_check_all(const gr_model *m, const gr_adapter *a, size_t tensors, gram_err *err);

#endif
