/* trainee_int.h - what the files of a model under training share: trainee.c opens it and holds its memory,
 * trainee_fwd.c keeps what a forward pass makes, trainee_bwd.c goes back through it. */
#ifndef GR_MODEL_TRAINEE_INT_H
#define GR_MODEL_TRAINEE_INT_H

#include <string.h>
#include "model/lora_int.h"
#include "model/trainee.h"
#include "op/matmul.h"
#include "op/op.h"

enum {
    BLOCK = 128,                /* rows of a task at most */
    SHARES = 4,                 /* blocks come in multiples of it: as many for each of 2 or 4 threads */
    ROUND = 16,                 /* rows of a product are a multiple of it, so that few shapes occur */
    SLICE = 64,                 /* outputs of a weight-gradient task */
    MANY = 256                  /* rows from which on a layer's weights are laid out before each pass */
};

/* What a layer's forward leaves for its backward; [rows, ...] each. */
struct kept {
    float *x, *r1;              /* the residual before the layer, and its norm's r */
    float *q0, *k0, *rq, *rk;   /* before the head norms, and their r; NULL without */
    float *q, *k, *v, *o, *lse;
    float *t1, *rt1;            /* sandwich: before the norm after attention; NULL without */
    float *mid, *r2;            /* the residual before the MLP */
    float *gate, *up;           /* rows ldf apart, as are dgate, dup and act */
    float *t2, *rt2;            /* sandwich: before the norm after the MLP */
};

/* A layer's gradients, in the order of struct layer's parameters. */
struct grads {
    float *attn_norm, *mlp_norm, *attn_post_norm, *mlp_post_norm, *q_norm, *k_norm;
    float *bias[4];
    float *q, *k, *v, *o, *gate, *up, *down;
    float *lora[GR_MATRICES][2];        /* of A and B */
};

/* How far down a layer the gradient goes: to the inputs of these matrices, or through to the layer below. */
enum depth { TO_DOWN, TO_GATE_UP, TO_O, TO_QKV, THROUGH };

#define PARTIALS(c) (4 * (c)->width + 2 * (c)->head_dim)   /* floats of a block's shares of norm gradients */
#define HEAD_ROWS 8             /* of a frozen head that is not float32: the last rows asked for stay expanded */

struct worker {
    unsigned char *scratch;
    float *u;                   /* LoRA: [2 BLOCK, rank] */
    float *dropped;             /* LoRA with dropout: [BLOCK, the widest input] */
    size_t row;                 /* the first of the task at hand */
    gr_kv_span *span;
    gr_q_span *query;
    gram_status rc;
    gram_err err;
};

/* Consecutive rows of one segment; `row` is where q, o, ... have the first. */
struct run { size_t seg, first, n, row; };

struct gr_trainee {
    gr_model *m;
    gr_lora *lora;              /* NULL: all weights are trained, */
    bool head_only;             /* or the reward head's */
    gr_pool *pool;
    gr_param *param;
    size_t n_params;
    float *grad;                /* of all parameters, one after the other */
    size_t grad_floats;
    struct grads *g;            /* [layers], into grad */
    float *g_embed, *g_head, *g_final;
    gr_head g_score;            /* the reward head's gradients */
    float *head_row;            /* [HEAD_ROWS, width], and which rows; NULL where the head is float32 */
    int32_t head_id[HEAD_ROWS];
    size_t head_next;

    size_t rows;                /* capacity, a multiple of ROUND */
    size_t ldf;                 /* from row to row of what is `hidden` wide */
    float *memory;              /* behind everything below */
    struct kept *kept;          /* [layers] */
    float *x, *xf, *rf;         /* after the last layer; the asked rows, normed in `hidden` */
    float *hidden;
    float *dx, *dh, *dt1, *dt2, *dgate, *dup, *act, *dq, *dk, *dv, *dout, *delta, *h;
    float *partial;             /* [blocks, 4 width + 2 head_dim]: norm gradients of each block */
    float *packed[GR_MATRICES]; /* the layer's weights laid out for the pass at hand, where rows are MANY */
    float *share;               /* LoRA: [blocks, lora_floats]: gradients of a layer's A and B from each block */
    size_t lora_floats;
    bool drop;                  /* adapters see their inputs with dropout, by chance that follows from drop_key */
    uint64_t drop_key;
    uint64_t *key;              /* [rows] of the tokens up to each row's, then of the wanted ones */
    int32_t *pos;               /* [rows] of all rows, then of the wanted ones */
    float *table[2];
    size_t table_pos;
    struct worker *worker;
    size_t scratch_bytes, spans;
    struct run *run;            /* [rows] of all rows, then of the wanted ones */
    size_t runs;

    const gr_forest *f;
    const size_t *want;
    size_t n_want, layer;
    bool few;                   /* rows are wanted: the last layer in two parts */
    size_t made_again;          /* so many of the lowest layers keep their inputs alone */
    bool again;                 /* a layer's forward pass is made for its backward */
    const struct layer *l;
    struct kept *s;
    enum depth depth;

    /* Of the rows that a pass works on, all or the wanted: */
    size_t n_rows;
    float *in, *r_in;           /* the residual before the layer, and its norm's r */
    const int32_t *at;          /* their positions */
    const uint64_t *at_key;     /* and keys, where drop is set */
    const struct run *q_run;    /* of their queries */
    size_t q_runs;
    bool qo, kv;                /* which parts of the layer are theirs */
    float *xw, *rw;             /* in and r_in of the wanted */
};

/* How many blocks R rows are cut into: by R alone, since a product's bits follow from its rows. */
static inline size_t blocks_of(size_t R)
{
    return gr_min((R + ROUND - 1) / ROUND, gr_round_up((R + BLOCK - 1) / BLOCK, SHARES));
}

/* Rows r .. r + n - 1 of a pass, of which M are multiplied: padding makes them a multiple of ROUND. */
struct block { size_t r, n, M; };

/* Blocks differ by ROUND rows at most. The longer come first, so that two threads end together. */
static inline struct block block_of(size_t rows, size_t task)
{
    size_t units = (rows + ROUND - 1) / ROUND, each = units / blocks_of(rows), more = units % blocks_of(rows);
    size_t r = (task * each + gr_min(task, more)) * ROUND, M = (each + (task < more)) * ROUND;

    return (struct block){ r, gr_min(M, rows - r), M };
}

static inline const gr_linear *matrix(const struct layer *l, enum gr_matrix which)
{
    const gr_linear *const all[GR_MATRICES] = { l->q, l->k, l->v, l->o, l->gate, l->up, l->down };

    return all[which];
}

/* The adapter of a matrix of the layer at hand, or NULL. */
static inline const struct lora_pair *pair(const gr_trainee *t, size_t layer, enum gr_matrix which)
{
    return t->lora && t->lora->pair[layer][which].rank ? &t->lora->pair[layer][which] : NULL;
}

static inline void expand(float *out, const gr_tensor *t, size_t row)
{
    size_t bytes = 0;

    gr_dtype_row_bytes(t->type, t->cols, &bytes);           /* proved when the file was opened */
    gr_dequant(out, (const char *)t->data + row * bytes, t->type, t->cols);
}

static inline void check(struct worker *me, gram_status rc)
{
    if (!me->rc)
        me->rc = rc;
}

static inline void norm(const gr_trainee *t, float *y, float *r, const float *x, const float *w, size_t M)
{
    size_t C = t->m->cfg.width;

    gr_kern.rmsnorm_fwd(y, C, r, x, C, w, t->m->cfg.norm_bias, M, C, t->m->cfg.rms_eps);
}

/* lse and delta lie by key/value head: [kv_heads][rows, G], so that a run's are [n, G]. */
static inline float *by_head(const gr_trainee *t, float *x, size_t head, size_t row)
{
    size_t G = t->m->cfg.heads / t->m->cfg.kv_heads;

    return x + (head * t->rows + row) * G;
}

static inline void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static inline void zero_from(float *x, size_t rows, size_t all, size_t width)
{
    memset(x + rows * width, 0, (all - rows) * width * sizeof *x);
}

static inline const float *table_of(const gr_trainee *t)
{
    return t->table[t->m->cfg.sliding[t->layer] && t->table[1]];
}

/* ---- trainee.c, trainee_fwd.c ---------------------------------------------------------------------- */

/* Memory for the rows of f. */
gram_status gr_trainee_reserve(gr_trainee *t, const gr_forest *f, size_t n_want, gram_err *err);

/* With all rows, or in the last layer with the wanted: past keys and values only they are of use. */
void gr_trainee_enter(gr_trainee *t, size_t layer);

/* The other part of the last layer: all rows, as keys and values. */
void gr_trainee_enter_keys(gr_trainee *t);

void gr_trainee_layer(gr_trainee *t, size_t layer);

void gr_trainee_blocks(gr_trainee *t, gr_task_fn *fn);

/* Lays out those of the layer's weights that a pass uses, and where it then finds one; NULL: where the model has it. */
void gr_trainee_pack(gr_trainee *t, gr_pack pass);
static inline const float *packed_of(const gr_trainee *t, enum gr_matrix which)
{
    return t->n_rows >= MANY ? t->packed[which] : NULL;
}

/* The spans of keys that a run sees, in the order of their positions. */
size_t gr_trainee_spans(const gr_trainee *t, const struct run *run, size_t col, gr_kv_span *span);

gram_status gr_trainee_collect(gr_trainee *t, gram_err *err);

/* x, or what dropout leaves of it in me->dropped, for a matrix [.., K] of the layer at hand and M rows from me->row. */
const float *gr_trainee_dropped(const gr_trainee *t, struct worker *me, enum gr_matrix which, const float *x,
                                size_t *ldx, size_t K, size_t M);
/* dx += what dropout leaves of me->dropped, [M, K]. */
void gr_trainee_add_dropped(const gr_trainee *t, const struct worker *me, enum gr_matrix which, float *dx, size_t lddx,
                            size_t K, size_t M);

#endif
