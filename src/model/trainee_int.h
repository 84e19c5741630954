/* trainee_int.h - what the files of a model under training share: trainee.c opens it, trainee_memory.c holds what it
 * keeps of its rows, layer_bwd.c goes back through what a forward pass kept. */
#ifndef GR_MODEL_TRAINEE_INT_H
#define GR_MODEL_TRAINEE_INT_H

#include "model/pass_int.h"
#include "model/trainee.h"

enum { SLICE = 64 };            /* outputs of a weight-gradient task */

/* A layer's gradients, in the order of struct layer's parameters. */
struct grads {
    float *attn_norm, *mlp_norm, *attn_post_norm, *mlp_post_norm, *q_norm, *k_norm;
    float *bias[4];
    float **mat;                        /* [gr_matrices()] */
    float *(*lora)[2];                  /* [gr_matrices()], of A and B; NULL without LoRA */
};

/* A weight's gradient, from M rows: cut by outputs among the lanes. */
struct dw { float *g, *bias; gr_mat dy, x; size_t which, M; };

/* How far down a layer the gradient goes: to the inputs of these matrices, or through to the layer below. */
enum depth { TO_DOWN, TO_GATE_UP, TO_O, TO_QKV, THROUGH };

static inline size_t q_norm_size(const gr_config *c) { return (c->qk_norm_wide ? c->heads : 1) * c->head_dim; }
static inline size_t k_norm_size(const gr_config *c) { return (c->qk_norm_wide ? c->kv_heads : 1) * c->head_dim; }
/* Floats of a piece's shares of norm gradients. */
#define PARTIALS(c) (4 * (c)->width + q_norm_size(c) + k_norm_size(c))
#define HEAD_ROWS 8             /* of a frozen head that is not float32: the last rows asked for stay expanded */

struct gr_trainee {
    struct pass p;
    gr_model *m;
    gr_lora *lora;              /* NULL: all weights are trained, */
    bool head_only;             /* or the reward head's */
    gr_device *d;
    gr_param *param;
    size_t n_params;
    float *grad;                /* of all parameters, one after the other; or of those of no layer, and behind them, */
    size_t grad_floats;
    size_t *layer_of;           /* [n_params], where layers share one place, `bucket`; NULL: they do not */
    float *bucket;
    size_t bucket_floats;
    gr_layer_watch watch;
    struct grads *g;            /* [layers], into grad */
    float **g_mat, *(*g_lora)[2];       /* of all layers */
    struct dw *dw;              /* of those that are made together, */
    size_t *dw_first;           /* and where each one's tasks begin */
    float *g_embed, *g_head, *g_final;
    gr_head score, g_score;     /* the reward head and its gradients, as the host sees them */
    gr_param *score_param[GR_HEAD_PARTS];       /* of its parts; NULL: it has none, or it does not learn */
    float *head_row;            /* [HEAD_ROWS, width], and which rows; NULL where the head is the host's in float32 */
    int32_t head_id[HEAD_ROWS];
    size_t head_next;
    void *view;                 /* of the hidden states that a forward pass gives */

    size_t rows;                /* capacity, whole units */
    float *memory;              /* [floats], which holds everything below */
    size_t floats;
    gr_mat xf, hidden;          /* the residual of the asked rows, and its norm */
    float *rf;
    gr_mat dx, dh, dt1, dt2, dgate, dup, act, dq, dk, dv, dout, h;
    gr_mat dz;                  /* [rows, experts]: of the router, */
    gr_mat dshare, dz_share;    /* [rows, 2]: of what a shared expert's weight is made of */
    gr_mat dw_chosen;           /* [rows, chosen]: of the weights of what the experts give */
    int32_t *chosen;            /* [layers, rows, chosen] on the host: the experts of each row */
    struct { gr_mat dgate, dup, act, dy, x; } e;        /* of experts: [slots, ...] */
    const float *dhidden;       /* of the backward pass under way */
    float *delta;
    float *partial;             /* [pieces, PARTIALS]: norm gradients of each piece */
    float *share;               /* LoRA: [pieces, lora_floats]: gradients of a layer's A and B from each piece */
    size_t lora_floats;
    size_t recomputed;          /* so many of the lowest layers keep their inputs alone */
    gr_plan plan;
    gr_seen seen, want_seen;    /* which queries see which keys: all rows', and those asked for */
    uint64_t *key;              /* [rows] of the tokens up to each row's, then of the wanted ones */
    enum depth depth;           /* of the backward pass in the layer at hand */
};

/* These take memory for so many rows, and give all of it back; they stand in trainee_memory.c. */
gram_status gr_trainee_reserve(gr_trainee *t, size_t need, gram_err *err);
void gr_trainee_clear_rows(gr_trainee *t);
/* The gradients that the host made of the reward head go to the device. */
void gr_trainee_put_score(gr_trainee *t);

#endif
