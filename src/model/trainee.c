/* trainee.c - see trainee.h.
 *
 * Forward is forward.c's three passes over all rows with their results kept. Backward goes through the layers from the
 * last to the first:
 *
 *     unmix      by blocks: down, gated unit, up and gate, norm, residual; then the output projection
 *     weights    by slices of outputs: dW += dy^T x over all rows
 *     unattend   dq by runs of queries, then dk and dv by runs of keys over the queries below them
 *     unproject  by blocks: rope, head norms, q k v, norm, residual
 *     weights    again, for q k v
 *
 * What is cheap to make again is made again: normed inputs and the gated product.
 *
 * With gr_trainee_recompute() layers share one place for all but their inputs, and a layer's forward pass, the last
 * product left out, comes again before its backward.
 *
 * Where few rows are asked for, as in stage 2, only they go past the keys and values of the last layer. It is then
 * passed in two parts, both ways: all rows as keys, the wanted rows as queries.
 *
 * With LoRA the model's own weights have no gradients. A block of rows makes its share of those of A and B, the shares
 * are added in the order of the blocks, and the layers below the lowest adapter are left alone. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/lora_int.h"
#include "model/trainee.h"
#include "op/op.h"

enum {
    BLOCK = 128,                /* rows of a task at most */
    SHARES = 4,                 /* blocks come in multiples of it: as many for each of 2 or 4 threads */
    ROUND = 16,                 /* rows of a product are a multiple of it, so that few shapes occur */
    SLICE = 64                  /* outputs of a weight-gradient task */
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
    gr_kv_span *span;
    gr_q_span *query;
    gram_status rc;
    gram_err err;
};

struct run { size_t seg, first, n, row; };      /* consecutive rows of one segment; `row` is where q, o, ... have the first */

struct gr_trainee {
    gr_model *m;
    gr_lora *lora;              /* NULL: all weights are trained */
    gr_pool *pool;
    gr_param *param;
    size_t n_params;
    float *grad;                /* of all parameters, one after the other */
    size_t grad_floats;
    struct grads *g;            /* [layers], into grad */
    float *g_embed, *g_head, *g_final, *g_score;
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
    float *share;               /* LoRA: [blocks, lora_floats]: gradients of a layer's A and B from each block */
    size_t lora_floats;
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
    bool recompute, again;      /* again: a layer's forward pass is made for its backward */
    const struct layer *l;
    struct kept *s;
    enum depth depth;

    /* Of the rows that a pass works on, all or the wanted: */
    size_t n_rows, block;
    float *in, *r_in;           /* the residual before the layer, and its norm's r */
    const int32_t *at;          /* their positions */
    const struct run *q_run;    /* of their queries */
    size_t q_runs;
    bool qo, kv;                /* which parts of the layer are theirs */
    float *xw, *rw;             /* in and r_in of the wanted */
};

/* How many blocks R rows may be cut into, and the rows of one: of R alone, since a product's bits follow from its rows.
 * 512 rows are 4 blocks of 128. */
static size_t most_blocks(size_t R)
{
    return gr_round_up((R + BLOCK - 1) / BLOCK, SHARES);
}

static size_t block_rows(size_t R)
{
    return gr_round_up((R + most_blocks(R) - 1) / most_blocks(R), ROUND);
}

/* ---- Opening ------------------------------------------------------------------------------------- */

static float *grad_of(gr_trainee *t, const void *w)
{
    for (size_t i = 0; w && i < t->n_params; i++)
        if (t->param[i].w == w || t->param[i].half == w)
            return t->param[i].g;
    return NULL;
}

static void bind_grads(gr_trainee *t)
{
    for (size_t i = 0; i < t->m->cfg.layers; i++) {
        const struct layer *l = &t->m->layer[i];
        t->g[i] = (struct grads){
            .attn_norm = grad_of(t, l->attn_norm), .mlp_norm = grad_of(t, l->mlp_norm),
            .attn_post_norm = grad_of(t, l->attn_post_norm), .mlp_post_norm = grad_of(t, l->mlp_post_norm),
            .q_norm = grad_of(t, l->q_norm), .k_norm = grad_of(t, l->k_norm),
            .bias = { grad_of(t, l->bias[0]), grad_of(t, l->bias[1]), grad_of(t, l->bias[2]), grad_of(t, l->bias[3]) },
            .q = grad_of(t, l->w[0]), .k = grad_of(t, l->w[1]), .v = grad_of(t, l->w[2]), .o = grad_of(t, l->w[3]),
            .gate = grad_of(t, l->w[4]), .up = grad_of(t, l->w[5]), .down = grad_of(t, l->w[6]),
        };
        for (size_t k = 0; t->lora && k < GR_MATRICES; k++) {
            t->g[i].lora[k][0] = grad_of(t, t->lora->pair[i][k].a);
            t->g[i].lora[k][1] = grad_of(t, t->lora->pair[i][k].b);
        }
    }
    t->g_embed = grad_of(t, t->m->embed.data);
    t->g_head = grad_of(t, t->m->head.data);
    t->g_final = grad_of(t, t->m->final_norm);
    t->g_score = grad_of(t, gr_trainee_score(t));
}

static const gr_linear *matrix(const struct layer *l, enum gr_matrix which)
{
    const gr_linear *const all[GR_MATRICES] = { l->q, l->k, l->v, l->o, l->gate, l->up, l->down };

    return all[which];
}

/* The adapter of a matrix of the layer at hand, or NULL. */
static const struct lora_pair *pair(const gr_trainee *t, size_t layer, enum gr_matrix which)
{
    return t->lora && t->lora->pair[layer][which].rank ? &t->lora->pair[layer][which] : NULL;
}

static size_t scratch_bytes(const gr_trainee *t)
{
    const gr_model *m = t->m;
    const gr_config *c = &m->cfg;
    size_t linear = 0, dw = gr_dw_scratch(gr_max(gr_max(c->width, c->hidden), c->heads * c->head_dim));

    for (size_t i = 0; i < c->layers; i++)
        for (enum gr_matrix j = 0; j < GR_MATRICES; j++) {
            size_t O, K;
            gr_matrix_shape(c, j, &O, &K);
            linear = gr_max(linear, gr_linear_scratch(matrix(&m->layer[i], j), BLOCK));
            if (pair(t, i, j))
                linear = gr_max(linear, gr_lora_scratch(pair(t, i, j), O, K, BLOCK));
        }
    return gr_round_up(gr_max(gr_max(linear, dw), gr_attn_scratch(c->head_dim, c->heads / c->kv_heads)), GR_ALIGN);
}

/* The floats of all adapters of a layer: the same in each, or 0 in some. */
static size_t lora_floats(const gr_lora *l, const gr_config *c)
{
    size_t n = 0;

    for (enum gr_matrix i = 0; l && i < GR_MATRICES; i++) {
        size_t O, K;
        gr_matrix_shape(c, i, &O, &K);
        if (l->spec.targets & 1u << i)
            n += l->spec.rank * (O + K);
    }
    return n;
}

/* Room for rows of a frozen head that must be expanded. */
static bool open_head(gr_trainee *t)
{
    for (size_t i = 0; i < HEAD_ROWS; i++)
        t->head_id[i] = -1;
    if (t->m->head.type == GR_F32)
        return true;
    t->head_row = gr_alloc_aligned(HEAD_ROWS * t->m->cfg.width, sizeof *t->head_row);
    return t->head_row != NULL;
}

gram_status gr_trainee_open(gr_trainee **out, gr_model *m, gr_pool *pool, gram_err *err)
{
    return gr_trainee_open_lora(out, m, NULL, pool, err);
}

gram_status gr_trainee_open_lora(gr_trainee **out, gr_model *m, gr_lora *lora, gr_pool *pool, gram_err *err)
{
    gr_trainee *t = gr_calloc(1, sizeof *t);
    const gr_param *p;
    size_t at = 0;

    *out = NULL;
    if (!t)
        return gr_nomem(err, "training");
    p = lora ? gr_lora_params(lora, &t->n_params) : gr_model_params(m, &t->n_params);
    t->m = m;
    t->lora = lora;
    t->lora_floats = lora_floats(lora, &m->cfg);
    t->pool = pool;
    t->ldf = gr_uncrowded(m->cfg.hidden);
    t->scratch_bytes = scratch_bytes(t);
    for (size_t i = 0; i < t->n_params; i++)
        t->grad_floats += p[i].rows * p[i].cols;
    t->param = gr_calloc(t->n_params, sizeof *t->param);
    t->grad = gr_calloc(t->grad_floats, sizeof *t->grad);
    t->g = gr_calloc(m->cfg.layers, sizeof *t->g);
    t->kept = gr_calloc(m->cfg.layers, sizeof *t->kept);
    t->worker = gr_calloc(gr_pool_size(pool), sizeof *t->worker);
    if (!t->param || !t->grad || !t->g || !t->kept || !t->worker || !open_head(t))
        goto nomem;
    for (size_t i = 0; i < gr_pool_size(pool); i++) {
        t->worker[i].scratch = gr_alloc_aligned(t->scratch_bytes, 1);
        t->worker[i].u = gr_alloc_aligned(lora ? 2 * BLOCK * lora->spec.rank : 0, sizeof *t->worker[i].u);
        if (!t->worker[i].scratch || !t->worker[i].u)
            goto nomem;
    }
    for (size_t i = 0; i < t->n_params; i++) {
        t->param[i] = p[i];
        t->param[i].g = t->grad + at;
        at += p[i].rows * p[i].cols;
    }
    bind_grads(t);
    *out = t;
    return GRAM_OK;
nomem:
    gr_trainee_close(t);
    return gr_nomem(err, "training");
}

static void rows_clear(gr_trainee *t)
{
    free(t->memory);
    free(t->pos);
    free(t->run);
    t->memory = NULL;
    t->pos = NULL;
    t->run = NULL;
    t->rows = 0;
}

void gr_trainee_release(gr_trainee *t)
{
    rows_clear(t);
}

void gr_trainee_close(gr_trainee *t)
{
    if (!t)
        return;
    rows_clear(t);
    for (size_t i = 0; t->worker && i < gr_pool_size(t->pool); i++) {
        free(t->worker[i].scratch);
        free(t->worker[i].u);
        free(t->worker[i].span);
        free(t->worker[i].query);
    }
    free(t->worker);
    free(t->table[0]);
    free(t->table[1]);
    free(t->head_row);
    free(t->kept);
    free(t->g);
    free(t->grad);
    free(t->param);
    free(t);
}

gr_param *gr_trainee_params(gr_trainee *t, size_t *n)
{
    *n = t->n_params;
    return t->param;
}

#define ZEROS ((size_t)1 << 20)         /* floats of a task */

static void zero(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;

    (void)worker;
    memset(t->grad + task * ZEROS, 0, gr_min(ZEROS, t->grad_floats - task * ZEROS) * sizeof *t->grad);
}

void gr_trainee_zero(gr_trainee *t)
{
    gr_pool_run(t->pool, zero, t, (t->grad_floats + ZEROS - 1) / ZEROS);
}

void gr_trainee_recompute(gr_trainee *t)
{
    t->recompute = true;
}

static void expand(float *out, const gr_tensor *t, size_t row)
{
    size_t bytes = 0;

    gr_dtype_row_bytes(t->type, t->cols, &bytes);           /* proved when the file was opened */
    gr_dequant(out, (const char *)t->data + row * bytes, t->type, t->cols);
}

const float *gr_trainee_head(gr_trainee *t, int32_t v)
{
    size_t C = t->m->cfg.width, i = 0;

    if (!t->head_row)
        return (const float *)t->m->head.data + (size_t)v * C;
    while (i < HEAD_ROWS && t->head_id[i] != v)
        i++;
    if (i == HEAD_ROWS) {
        i = t->head_next++ % HEAD_ROWS;
        expand(t->head_row + i * C, &t->m->head, (size_t)v);
        t->head_id[i] = v;
    }
    return t->head_row + i * C;
}

const gr_tensor *gr_trainee_head_tensor(const gr_trainee *t)
{
    return &t->m->head;
}

float *gr_trainee_head_grad(gr_trainee *t, int32_t v)
{
    return t->g_head ? t->g_head + (size_t)v * t->m->cfg.width : NULL;
}

const float *gr_trainee_score(const gr_trainee *t)
{
    return t->lora ? t->lora->score : t->m->score;
}

float *gr_trainee_score_grad(gr_trainee *t)
{
    return t->g_score;
}

/* ---- Memory -------------------------------------------------------------------------------------- */

/* Hands out n floats of the memory that starts at base; NULL only counts. */
static float *take(float *base, size_t *used, size_t n)
{
    float *p = base ? base + *used : NULL;

    *used += gr_round_up(n, GR_ALIGN / sizeof(float));
    return p;
}

/* All of a layer but its input. */
static struct kept carve_kept(const gr_trainee *t, float *base, size_t *used, size_t R)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct kept k = { 0 };

    k.r1 = take(base, used, R);
    k.q = take(base, used, R * q);
    k.k = take(base, used, R * kv);
    k.v = take(base, used, R * kv);
    k.q0 = c->qk_norm ? take(base, used, R * q) : k.q;
    k.k0 = c->qk_norm ? take(base, used, R * kv) : k.k;
    k.rq = take(base, used, R * c->heads);
    k.rk = take(base, used, R * c->kv_heads);
    k.o = take(base, used, R * q);
    k.lse = take(base, used, R * c->heads);
    k.mid = take(base, used, R * C);
    k.r2 = take(base, used, R);
    k.gate = take(base, used, R * t->ldf);
    k.up = take(base, used, R * t->ldf);
    if (c->sandwich_norms) {
        k.t1 = take(base, used, R * C);
        k.rt1 = take(base, used, R);
        k.t2 = take(base, used, R * C);
        k.rt2 = take(base, used, R);
    }
    return k;
}

static size_t carve(gr_trainee *t, float *base, size_t R)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, used = 0;

    for (size_t i = 0; i < c->layers; i++) {
        t->kept[i] = i && t->recompute ? t->kept[0] : carve_kept(t, base, &used, R);
        t->kept[i].x = take(base, &used, R * C);
    }
    t->x = take(base, &used, R * C);
    t->xw = take(base, &used, R * C);
    t->rw = take(base, &used, R);
    t->xf = take(base, &used, R * C);
    t->rf = take(base, &used, R);
    t->hidden = take(base, &used, R * C);
    t->dx = take(base, &used, R * C);
    t->dh = take(base, &used, R * C);
    t->dt1 = take(base, &used, R * C);
    t->dt2 = take(base, &used, R * C);
    t->h = take(base, &used, R * C);
    t->dgate = take(base, &used, R * t->ldf);
    t->dup = take(base, &used, R * t->ldf);
    t->act = take(base, &used, R * t->ldf);
    t->dq = take(base, &used, R * q);
    t->dk = take(base, &used, R * kv);
    t->dv = take(base, &used, R * kv);
    t->dout = take(base, &used, R * q);
    t->delta = take(base, &used, R * c->heads);
    t->partial = take(base, &used, most_blocks(R) * PARTIALS(c));
    t->share = take(base, &used, most_blocks(R) * t->lora_floats);
    return used;
}

uint64_t gr_trainee_bytes(gr_trainee *t, size_t rows)
{
    size_t R = gr_round_up(rows, ROUND), each = 2 * (sizeof *t->pos + sizeof *t->run);
    uint64_t floats = carve(t, NULL, R);

    if (t->memory)
        carve(t, t->memory, t->rows);       /* counting moved what points into it */
    return floats * sizeof *t->memory + R * (each + gr_pool_size(t->pool) * sizeof *t->worker->query);
}

static gram_status reserve(gr_trainee *t, const gr_forest *f, size_t n_want, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    size_t rows = gr_round_up(gr_max(f->rows, n_want), ROUND), floats, R = gr_max(rows, t->rows);

    if (f->max_len > t->table_pos) {
        t->table_pos = 0;
        for (size_t i = 0; i < 2; i++) {
            free(t->table[i]);
            t->table[i] = c->inv_freq[i] ? gr_alloc_aligned(f->max_len * c->head_dim, sizeof(float)) : NULL;
            if (c->inv_freq[i] && !t->table[i])
                return gr_nomem(err, "rotary tables");
            if (t->table[i])
                gr_rope_table(t->table[i], c->inv_freq[i], 0, f->max_len, c->head_dim, c->rope_scale[i]);
        }
        t->table_pos = f->max_len;
    }
    if (f->max_spans > t->spans || R > t->rows) {
        for (size_t i = 0; i < gr_pool_size(t->pool); i++) {
            free(t->worker[i].span);
            free(t->worker[i].query);
            t->worker[i].span = gr_calloc(f->max_spans, sizeof *t->worker[i].span);
            t->worker[i].query = gr_calloc(R, sizeof *t->worker[i].query);
            if (!t->worker[i].span || !t->worker[i].query) {
                t->spans = 0;
                return gr_nomem(err, "training");
            }
        }
        t->spans = f->max_spans;
    }
    if (rows <= t->rows)
        return GRAM_OK;
    rows_clear(t);
    floats = carve(t, NULL, rows);
    t->memory = gr_alloc_aligned(floats, sizeof *t->memory);
    t->pos = gr_calloc(2 * rows, sizeof *t->pos);
    t->run = gr_calloc(2 * rows, sizeof *t->run);
    if (!t->memory || !t->pos || !t->run) {
        rows_clear(t);
        return gr_fail(err, GRAM_ENOMEM, "training: out of memory for the activations of %zu rows", rows);
    }
    memset(t->memory, 0, floats * sizeof *t->memory);       /* padding rows hold finite numbers */
    carve(t, t->memory, rows);
    t->rows = rows;
    return GRAM_OK;
}

/* ---- Forward ------------------------------------------------------------------------------------- */

static void check(struct worker *me, gram_status rc)
{
    if (!me->rc)
        me->rc = rc;
}

static void linear(gr_trainee *t, struct worker *me, enum gr_matrix which, float *y, size_t ldy, const float *x,
                   size_t ldx, size_t M)
{
    const struct lora_pair *p = pair(t, t->layer, which);

    if (!me->rc)
        check(me, gr_linear_fwd(matrix(t->l, which), y, ldy, x, ldx, M, me->scratch, &me->err));
    if (!me->rc && p)
        check(me, gr_lora_fwd(p, y, ldy, x, ldx, M, me->u, me->scratch, &me->err));
}

static void norm(const gr_trainee *t, float *y, float *r, const float *x, const float *w, size_t M)
{
    size_t C = t->m->cfg.width;

    gr_kern.rmsnorm_fwd(y, C, r, x, C, w, t->m->cfg.norm_bias, M, C, t->m->cfg.rms_eps);
}

static const float *table_of(const gr_trainee *t)
{
    return t->table[t->m->cfg.sliding[t->layer] && t->table[1]];
}

/* q or k of rows [r, r+n): normed by head where the family does, and rotated. */
static void norm_and_rotate(const gr_trainee *t, float *x, const float *x0, float *r_of, const float *w, size_t H,
                            size_t r, size_t n)
{
    const gr_config *c = &t->m->cfg;
    size_t D = c->head_dim, ld = H * D;

    if (w)
        gr_kern.rmsnorm_fwd(x + r * ld, D, r_of + r * H, x0 + r * ld, D, w, c->norm_bias, n * H, D, c->rms_eps);
    gr_kern.rope_fwd(x + r * ld, ld, t->at + r, table_of(t), n, H, D, c->rope_interleaved);
}

static void project(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    struct kept *s = t->s;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, r = task * t->block;
    size_t n = gr_min(t->block, t->n_rows - r), M = gr_round_up(n, ROUND);
    float *h = t->h + r * C;

    norm(t, h, t->r_in + r, t->in + r * C, t->l->attn_norm, M);
    if (t->qo) {
        linear(t, me, GR_MAT_Q, s->q0 + r * q, q, h, C, M);
        norm_and_rotate(t, s->q, s->q0, s->rq, t->l->q_norm, c->heads, r, n);
    }
    if (t->kv) {
        linear(t, me, GR_MAT_K, s->k0 + r * kv, kv, h, C, M);
        linear(t, me, GR_MAT_V, s->v + r * kv, kv, h, C, M);
        norm_and_rotate(t, s->k, s->k0, s->rk, t->l->k_norm, c->kv_heads, r, n);
    }
}

/* The spans of keys that a run sees, in the order of their positions. */
static size_t spans_of(const gr_trainee *t, const struct run *run, size_t col, gr_kv_span *span)
{
    const gr_config *c = &t->m->cfg;
    const gr_segment *seg = t->f->seg;
    size_t kv = c->kv_heads * c->head_dim, n = 0, rows = run->first + run->n;

    for (size_t s = run->seg; s != GR_NO_SEGMENT; s = seg[s].parent) {
        span[n++] = (gr_kv_span){ t->s->k + seg[s].row * kv + col, t->s->v + seg[s].row * kv + col, kv, rows };
        rows = seg[s].parent == GR_NO_SEGMENT ? 0 : seg[seg[s].parent].len;
    }
    for (size_t i = 0, j = n; i + 1 < j--; i++) {
        gr_kv_span swap = span[i];
        span[i] = span[j];
        span[j] = swap;
    }
    return n;
}

/* lse and delta lie by key/value head: [kv_heads][rows, G], so that a run's are [n, G]. */
static float *by_head(const gr_trainee *t, float *x, size_t head, size_t row)
{
    size_t G = t->m->cfg.heads / t->m->cfg.kv_heads;

    return x + (head * t->rows + row) * G;
}

static void attend(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct run *run = &t->q_run[task / c->kv_heads];
    size_t head = task % c->kv_heads, D = c->head_dim, G = c->heads / c->kv_heads, q = c->heads * D;
    size_t at = run->row * q + head * G * D, n = spans_of(t, run, head * D, me->span);

    gr_kern.attn_fwd(t->s->o + at, q, by_head(t, t->s->lse, head, run->row), t->s->q + at, q, run->n,
                     t->f->seg[run->seg].pos + run->first, me->span, n, D, G, c->attn_scale,
                     c->sliding[t->layer] ? c->window : 0, me->scratch);
}

static void add(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void mix(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct layer *l = t->l;
    struct kept *s = t->s;
    size_t C = c->width, F = c->hidden, ldf = t->ldf, q = c->heads * c->head_dim, r = task * t->block;
    size_t M = gr_round_up(gr_min(t->block, t->n_rows - r), ROUND);
    float *h = t->h + r * C, *mid = s->mid + r * C, *out = (s + 1 < t->kept + c->layers ? s[1].x : t->x) + r * C;
    float *y = l->attn_post_norm ? s->t1 + r * C : mid;

    linear(t, me, GR_MAT_O, y, C, s->o + r * q, q, M);
    if (l->attn_post_norm)
        norm(t, mid, s->rt1 + r, y, l->attn_post_norm, M);
    add(mid, t->in + r * C, M * C);
    norm(t, h, s->r2 + r, mid, l->mlp_norm, M);
    linear(t, me, GR_MAT_GATE, s->gate + r * ldf, ldf, h, C, M);
    linear(t, me, GR_MAT_UP, s->up + r * ldf, ldf, h, C, M);
    (c->geglu ? gr_kern.geglu_fwd : gr_kern.swiglu_fwd)(t->act + r * ldf, s->gate + r * ldf, s->up + r * ldf, ldf, M, F);
    if (t->again && !l->mlp_post_norm)
        return;
    y = l->mlp_post_norm ? s->t2 + r * C : out;
    linear(t, me, GR_MAT_DOWN, y, C, t->act + r * ldf, ldf, M);
    if (l->mlp_post_norm)
        norm(t, out, s->rt2 + r, y, l->mlp_post_norm, M);
    add(out, mid, M * C);
}

static void blocks(gr_trainee *t, gr_task_fn *fn)
{
    gr_pool_run(t->pool, fn, t, (t->n_rows + t->block - 1) / t->block);
}

/* Of all rows, and of each wanted row. */
static void make_runs(gr_trainee *t)
{
    const gr_segment *seg = t->f->seg;

    t->runs = 0;
    for (size_t s = 0; s < t->f->n_segs; s++)
        for (size_t i = 0; i < seg[s].len; i += GR_ATTN_QUERIES)
            t->run[t->runs++] = (struct run){ s, i, gr_min(GR_ATTN_QUERIES, seg[s].len - i), seg[s].row + i };
    for (size_t i = 0; i < t->n_want; i++) {
        size_t s = gr_forest_segment(t->f, t->want[i]);
        t->run[t->rows + i] = (struct run){ s, t->want[i] - seg[s].row, 1, i };
    }
}

static void zero_from(float *x, size_t rows, size_t all, size_t width)
{
    memset(x + rows * width, 0, (all - rows) * width * sizeof *x);
}

static void embed(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    size_t first = task * t->block, end = gr_min(first + t->block, t->n_rows);

    (void)worker;
    for (size_t r = first; r < end; r++) {
        float *x = t->kept[0].x + r * c->width;
        expand(x, &t->m->embed, (size_t)t->f->token[r]);
        for (size_t i = 0; i < c->width; i++)
            x[i] *= c->embed_scale;
    }
}

static gram_status collect(gr_trainee *t, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < gr_pool_size(t->pool); i++)
        if (t->worker[i].rc) {
            if (err)
                *err = t->worker[i].err;
            rc = t->worker[i].rc;
            t->worker[i].rc = GRAM_OK;
        }
    return rc;
}

static void take_all(gr_trainee *t)
{
    t->n_rows = t->f->rows;
    t->in = t->s->x;
    t->r_in = t->s->r1;
    t->at = t->pos;
    t->q_run = t->run;
    t->q_runs = t->runs;
    t->block = block_rows(t->n_rows);
}

static void take_wanted(gr_trainee *t)
{
    t->n_rows = t->n_want;
    t->in = t->xw;
    t->r_in = t->rw;
    t->at = t->pos + t->rows;
    t->q_run = t->run + t->rows;
    t->q_runs = t->n_want;
    t->block = block_rows(t->n_rows);
}

/* With all rows, or in the last layer with the wanted: past keys and values only they are of use. */
static void enter_layer(gr_trainee *t, size_t layer)
{
    bool last = t->few && layer + 1 == t->m->cfg.layers;

    t->layer = layer;
    t->l = &t->m->layer[layer];
    t->s = &t->kept[layer];
    t->qo = true;
    t->kv = !last;
    (last ? take_wanted : take_all)(t);
}

/* The other part of the last layer: all rows, as keys and values. */
static void enter_keys(gr_trainee *t)
{
    take_all(t);
    t->qo = false;
    t->kv = true;
}

/* Copies the wanted rows out of all. */
static void gather(const gr_trainee *t, float *to, const float *from)
{
    size_t C = t->m->cfg.width;

    for (size_t i = 0; i < t->n_want; i++)
        memcpy(to + i * C, from + t->want[i] * C, C * sizeof *to);
}

static void layer_forward(gr_trainee *t, size_t layer)
{
    enter_layer(t, layer);
    if (!t->kv) {
        enter_keys(t);
        blocks(t, project);
        gather(t, t->xw, t->s->x);
        zero_from(t->xw, t->n_want, gr_round_up(t->n_want, ROUND), t->m->cfg.width);
        for (size_t i = 0; i < t->n_want; i++)
            t->pos[t->rows + i] = t->pos[t->want[i]];
        enter_layer(t, layer);
    }
    blocks(t, project);
    gr_pool_run(t->pool, attend, t, t->q_runs * t->m->cfg.kv_heads);
    blocks(t, mix);
}

gram_status gr_trainee_forward(gr_trainee *t, const gr_forest *f, const size_t *want, size_t n,
                               const float **hidden, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width;
    gram_status rc = reserve(t, f, n, err);

    for (size_t r = 0; r < f->rows && !rc; r++)
        if (f->token[r] < 0 || (size_t)f->token[r] >= c->vocabulary)
            rc = gr_fail(err, GRAM_EARG, "token %d is not in the model's vocabulary of %zu", (int)f->token[r],
                         c->vocabulary);
    if (rc)
        return rc;
    t->f = f;
    t->want = want;
    t->n_want = n;
    t->few = 2 * n <= f->rows;
    for (size_t i = 0; i < HEAD_ROWS; i++)          /* a step may have changed them */
        t->head_id[i] = -1;
    memcpy(t->pos, f->pos, f->rows * sizeof *t->pos);
    make_runs(t);
    t->s = t->kept;
    take_all(t);
    zero_from(t->kept[0].x, t->n_rows, t->rows, C);         /* padding rows hold finite numbers */
    blocks(t, embed);
    for (size_t i = 0; i < c->layers; i++)
        layer_forward(t, i);
    if (t->few)
        memcpy(t->xf, t->x, n * C * sizeof *t->x);
    else
        gather(t, t->xf, t->x);
    norm(t, t->hidden, t->rf, t->xf, t->m->final_norm, n);
    *hidden = t->hidden;
    return collect(t, err);
}

/* ---- Backward ------------------------------------------------------------------------------------ */

static void linear_dx(gr_trainee *t, struct worker *me, enum gr_matrix which, float *dx, size_t lddx, const float *dy,
                      size_t lddy, size_t M, bool sum)
{
    const struct lora_pair *p = pair(t, t->layer, which);

    if (!me->rc)
        check(me, gr_linear_dx(matrix(t->l, which), dx, lddx, dy, lddy, M, sum, me->scratch, &me->err));
    if (!me->rc && p)
        check(me, gr_lora_dx(p, dx, lddx, dy, lddy, M, me->u, me->scratch, &me->err));
}

/* This block's share of a norm's weight gradient: which of the 4 norms of width, or the 2 of head_dim. */
static float *partial(const gr_trainee *t, size_t task, size_t which)
{
    size_t C = t->m->cfg.width, D = t->m->cfg.head_dim;

    return t->partial + task * PARTIALS(&t->m->cfg) + (which < 4 ? which * C : 4 * C + (which - 4) * D);
}

enum { ATTN_NORM, ATTN_POST_NORM, MLP_NORM, MLP_POST_NORM, Q_NORM, K_NORM };

static void norm_bwd(const gr_trainee *t, float *dx, float *dw, const float *dy, const float *x, const float *r,
                     const float *w, size_t n)
{
    size_t C = t->m->cfg.width;

    gr_kern.rmsnorm_bwd(dx, C, dw, dy, C, x, C, r, w, t->m->cfg.norm_bias, n, C);
}

static void unmix(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct layer *l = t->l;
    struct kept *s = t->s;
    size_t C = c->width, F = c->hidden, ldf = t->ldf, q = c->heads * c->head_dim, r = task * t->block;
    size_t n = gr_min(t->block, t->n_rows - r), M = gr_round_up(n, ROUND);
    float *dx = t->dx + r * C, *dt1 = t->dt1 + r * C, *dt2 = t->dt2 + r * C, *dh = t->dh + r * C, *h = t->h + r * C;
    float *dgate = t->dgate + r * ldf, *dup = t->dup + r * ldf, *act = t->act + r * ldf;
    float *gate = s->gate + r * ldf, *up = s->up + r * ldf;

    memset(partial(t, task, 0), 0, PARTIALS(c) * sizeof *t->partial);
    memcpy(dt2, dx, M * C * sizeof *dx);
    if (l->mlp_post_norm) {
        memset(dt2, 0, M * C * sizeof *dx);
        norm_bwd(t, dt2, partial(t, task, MLP_POST_NORM), dx, s->t2 + r * C, s->rt2 + r, l->mlp_post_norm, n);
    }
    if (t->depth > TO_DOWN) {
        linear_dx(t, me, GR_MAT_DOWN, act, ldf, dt2, C, M, false);
        (c->geglu ? gr_kern.geglu_bwd : gr_kern.swiglu_bwd)(dgate, dup, act, gate, up, ldf, M, F);
    }
    (c->geglu ? gr_kern.geglu_fwd : gr_kern.swiglu_fwd)(act, gate, up, ldf, M, F);  /* again, for down's weights */
    norm(t, h, NULL, s->mid + r * C, l->mlp_norm, M);
    if (t->depth <= TO_GATE_UP)
        return;
    linear_dx(t, me, GR_MAT_GATE, dh, C, dgate, ldf, M, false);
    linear_dx(t, me, GR_MAT_UP, dh, C, dup, ldf, M, true);
    norm_bwd(t, dx, partial(t, task, MLP_NORM), dh, s->mid + r * C, s->r2 + r, l->mlp_norm, n);
    memcpy(dt1, dx, M * C * sizeof *dx);
    if (l->attn_post_norm) {
        memset(dt1, 0, M * C * sizeof *dx);
        norm_bwd(t, dt1, partial(t, task, ATTN_POST_NORM), dx, s->t1 + r * C, s->rt1 + r, l->attn_post_norm, n);
    }
    if (t->depth > TO_O)
        linear_dx(t, me, GR_MAT_O, t->dout + r * q, q, dt1, C, M, false);
}

/* A weight's gradient, cut by outputs among the threads. */
struct dw { float *g, *bias; const float *dy, *x; size_t O, K, lddy, ldx; enum gr_matrix which; };
struct dw_set { gr_trainee *t; struct dw each[4]; size_t first[5], n; };

static void weight_task(void *arg, size_t task, size_t worker)
{
    const struct dw_set *set = arg;
    struct worker *me = &set->t->worker[worker];
    size_t i = 0, M = gr_round_up(set->t->n_rows, ROUND), o;
    const struct dw *d;

    while (task >= set->first[i + 1])
        i++;
    d = &set->each[i];
    o = (task - set->first[i]) * SLICE;
    if (!me->rc)
        check(me, gr_linear_dw(d->g, d->dy, d->lddy, d->x, d->ldx, M, d->K, o, gr_min(o + SLICE, d->O), me->scratch,
                               &me->err));
    if (d->bias && o == 0)
        gr_linear_db(d->bias, d->dy, d->lddy, set->t->n_rows, d->O);
}

/* With LoRA a task is a block of rows instead: its share of dA and dB of each matrix. */
static void lora_task(void *arg, size_t task, size_t worker)
{
    const struct dw_set *set = arg;
    gr_trainee *t = set->t;
    struct worker *me = &t->worker[worker];
    float *share = t->share + task * t->lora_floats;
    size_t r = task * t->block, M = gr_round_up(gr_min(t->block, t->n_rows - r), ROUND);

    for (size_t i = 0; i < set->n; i++) {
        const struct dw *d = &set->each[i];
        const struct lora_pair *p = pair(t, t->layer, d->which);
        size_t n = p ? p->rank * (d->K + d->O) : 0;
        memset(share, 0, n * sizeof *share);
        if (p && !me->rc)
            check(me, gr_lora_dw(p, share, share + p->rank * d->K, d->dy + r * d->lddy, d->lddy, d->x + r * d->ldx,
                                 d->ldx, d->O, d->K, M, me->u, me->scratch, &me->err));
        share += n;
    }
}

static void lora_weights(gr_trainee *t, struct dw_set *set)
{
    size_t blocks = (t->n_rows + t->block - 1) / t->block, at = 0;

    gr_pool_run(t->pool, lora_task, set, blocks);
    for (size_t i = 0; i < set->n; i++) {
        const struct dw *d = &set->each[i];
        const struct lora_pair *p = pair(t, t->layer, d->which);
        float *const *g = t->g[t->layer].lora[d->which];
        for (size_t b = 0; b < blocks && p; b++) {
            const float *share = t->share + b * t->lora_floats + at;
            add(g[0], share, p->rank * d->K);
            add(g[1], share + p->rank * d->K, p->rank * d->O);
        }
        at += p ? p->rank * (d->K + d->O) : 0;
    }
}

static void weights(gr_trainee *t, const struct dw *each, size_t n)
{
    struct dw_set set = { .t = t, .n = n };

    if (t->lora) {
        memcpy(set.each, each, n * sizeof *each);
        lora_weights(t, &set);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        set.each[i] = each[i];
        set.first[i + 1] = set.first[i] + (each[i].O + SLICE - 1) / SLICE;
    }
    gr_pool_run(t->pool, weight_task, &set, set.first[n]);
}

static void unattend_q(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct run *run = &t->q_run[task / c->kv_heads];
    size_t head = task % c->kv_heads, D = c->head_dim, G = c->heads / c->kv_heads, q = c->heads * D;
    size_t at = run->row * q + head * G * D, n = spans_of(t, run, head * D, me->span);

    gr_kern.attn_dq(t->dq + at, q, by_head(t, t->delta, head, run->row), t->dout + at, q, t->s->o + at, q,
                    by_head(t, t->s->lse, head, run->row), t->s->q + at, q, run->n,
                    t->f->seg[run->seg].pos + run->first, me->span, n, D, G, c->attn_scale,
                    c->sliding[t->layer] ? c->window : 0, me->scratch);
}

/* Segments are in pre-order, so those below a segment follow it, and so do their runs. */
static bool is_below(const gr_forest *f, size_t s, size_t top)
{
    while (s != GR_NO_SEGMENT && s > top)
        s = f->seg[s].parent;
    return s == top;
}

static void unattend_kv(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    size_t first = task / c->kv_heads, head = task % c->kv_heads, D = c->head_dim, G = c->heads / c->kv_heads, n = 0;
    const struct run *keys = &t->run[first];
    size_t q = c->heads * D, kv = c->kv_heads * D, at = keys->row * kv + head * D;

    for (size_t i = t->kv ? first : 0; i < t->q_runs; i++) {    /* of all rows, those before cannot be below */
        const struct run *run = &t->q_run[i];
        size_t q_at = run->row * q + head * G * D;
        if (!is_below(t->f, run->seg, keys->seg))
            continue;
        me->query[n++] = (gr_q_span){ t->s->q + q_at, t->dout + q_at, by_head(t, t->s->lse, head, run->row),
                                      by_head(t, t->delta, head, run->row), q, run->n,
                                      t->f->seg[run->seg].pos + run->first };
    }
    gr_kern.attn_dkv(t->dk + at, t->dv + at, kv, t->s->k + at, t->s->v + at, kv, keys->n,
                     t->f->seg[keys->seg].pos + keys->first, me->query, n, D, G, c->attn_scale,
                     c->sliding[t->layer] ? c->window : 0, me->scratch);
}

/* Back through rope and the head norm, in place on dx; dw gets the norm's share. */
static void unrotate(const gr_trainee *t, float *dx, const float *x0, const float *r_of, const float *w, float *dw,
                     size_t H, size_t r, size_t n)
{
    const gr_config *c = &t->m->cfg;
    size_t D = c->head_dim, ld = H * D;

    gr_kern.rope_bwd(dx + r * ld, ld, t->at + r, table_of(t), n, H, D, c->rope_interleaved);
    for (size_t i = r * H; w && i < (r + n) * H; i++) {
        float dy[256];                          /* the op adds to dx, and here dx is also dy */
        memcpy(dy, dx + i * D, D * sizeof *dy);
        memset(dx + i * D, 0, D * sizeof *dy);
        gr_kern.rmsnorm_bwd(dx + i * D, D, dw, dy, D, x0 + i * D, D, r_of + i, w, c->norm_bias, 1, D);
    }
}

static void unproject(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    struct kept *s = t->s;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, r = task * t->block;
    size_t n = gr_min(t->block, t->n_rows - r), M = gr_round_up(n, ROUND);
    float *dh = t->dh + r * C;

    if (t->qo)
        unrotate(t, t->dq, s->q0, s->rq, t->l->q_norm, partial(t, task, Q_NORM), c->heads, r, n);
    else
        memset(partial(t, task, 0), 0, PARTIALS(c) * sizeof *t->partial);       /* otherwise unmix() did */
    if (t->kv)
        unrotate(t, t->dk, s->k0, s->rk, t->l->k_norm, partial(t, task, K_NORM), c->kv_heads, r, n);
    norm(t, t->h + r * C, NULL, t->in + r * C, t->l->attn_norm, M);
    if (t->depth < THROUGH)
        return;
    if (t->qo)
        linear_dx(t, me, GR_MAT_Q, dh, C, t->dq + r * q, q, M, false);
    if (t->kv) {
        linear_dx(t, me, GR_MAT_K, dh, C, t->dk + r * kv, kv, M, t->qo);
        linear_dx(t, me, GR_MAT_V, dh, C, t->dv + r * kv, kv, M, true);
    }
    norm_bwd(t, t->dx + r * C, partial(t, task, ATTN_NORM), dh, t->in + r * C, t->r_in + r, t->l->attn_norm, n);
}

/* The blocks' shares of the norms' gradients, in the order of the blocks. */
static void add_partials(gr_trainee *t, struct grads *g)
{
    float *to[] = { g->attn_norm, g->attn_post_norm, g->mlp_norm, g->mlp_post_norm, g->q_norm, g->k_norm };

    for (size_t b = 0; b < (t->n_rows + t->block - 1) / t->block; b++)
        for (size_t i = 0; i < GR_COUNT(to); i++)
            if (to[i])
                add(to[i], partial(t, b, i), i < 4 ? t->m->cfg.width : t->m->cfg.head_dim);
}

/* dx of the wanted rows to their places among all. */
static void scatter(gr_trainee *t)
{
    size_t C = t->m->cfg.width;

    memcpy(t->dt2, t->dx, t->n_want * C * sizeof *t->dx);
    memset(t->dx, 0, t->rows * C * sizeof *t->dx);
    for (size_t i = 0; i < t->n_want; i++)
        add(t->dx + t->want[i] * C, t->dt2 + i * C, C);
}

/* Below the lowest adapter there is nothing to learn. */
static enum depth depth_of(const gr_trainee *t, size_t layer)
{
    if (!t->lora || layer > 0)
        return THROUGH;
    if (pair(t, layer, GR_MAT_Q) || pair(t, layer, GR_MAT_K) || pair(t, layer, GR_MAT_V))
        return TO_QKV;
    if (pair(t, layer, GR_MAT_O))
        return TO_O;
    return pair(t, layer, GR_MAT_GATE) || pair(t, layer, GR_MAT_UP) ? TO_GATE_UP : TO_DOWN;
}

static void layer_backward(gr_trainee *t, size_t layer)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, F = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct grads *g = &t->g[layer];
    struct kept *s = &t->kept[layer];
    const struct dw qkv[] = { { g->q, g->bias[0], t->dq, t->h, q, C, q, C, GR_MAT_Q },
                              { g->k, g->bias[1], t->dk, t->h, kv, C, kv, C, GR_MAT_K },
                              { g->v, g->bias[2], t->dv, t->h, kv, C, kv, C, GR_MAT_V } };

    if (t->recompute && layer + 1 < c->layers) {            /* what the last one left is still there */
        t->again = true;
        layer_forward(t, layer);
        t->again = false;
    }
    enter_layer(t, layer);
    t->depth = depth_of(t, layer);
    blocks(t, unmix);
    weights(t, (const struct dw[]){ { g->gate, NULL, t->dgate, t->h, F, C, t->ldf, C, GR_MAT_GATE },
                                    { g->up, NULL, t->dup, t->h, F, C, t->ldf, C, GR_MAT_UP },
                                    { g->down, NULL, t->dt2, t->act, C, F, C, t->ldf, GR_MAT_DOWN },
                                    { g->o, g->bias[3], t->dt1, s->o, C, q, C, q, GR_MAT_O } }, 4);
    if (t->depth < TO_QKV)
        return;
    gr_pool_run(t->pool, unattend_q, t, t->q_runs * c->kv_heads);
    gr_pool_run(t->pool, unattend_kv, t, t->runs * c->kv_heads);
    blocks(t, unproject);
    if (t->kv)
        weights(t, qkv, 3);
    else {
        weights(t, qkv, 1);
        add_partials(t, g);
        scatter(t);
        enter_keys(t);
        blocks(t, unproject);
        weights(t, qkv + 1, 2);
    }
    add_partials(t, g);
}

/* Columns of the embeddings' gradient: tokens come again, so rows go in order. */
static void unembed(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    size_t C = t->m->cfg.width, first = task * SLICE, end = gr_min(first + SLICE, C);

    (void)worker;
    for (size_t r = 0; r < t->n_rows; r++)
        for (size_t i = first; i < end; i++)
            t->g_embed[(size_t)t->f->token[r] * C + i] += t->m->cfg.embed_scale * t->dx[r * C + i];
}

gram_status gr_trainee_backward(gr_trainee *t, const float *dhidden, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;

    memset(t->dx, 0, t->rows * C * sizeof *t->dx);          /* padding rows have no gradient, and keep none */
    zero_from(t->dq, t->few ? t->n_want : t->f->rows, t->rows, q);
    zero_from(t->dk, t->f->rows, t->rows, kv);
    zero_from(t->dv, t->f->rows, t->rows, kv);
    for (size_t i = 0; i < t->n_want; i++)                  /* rows may be asked for more than once: one at a time */
        gr_kern.rmsnorm_bwd(t->dx + (t->few ? i : t->want[i]) * C, C, t->g_final, dhidden + i * C, C, t->xf + i * C, C, t->rf + i,
                            t->m->final_norm, c->norm_bias, 1, C);
    for (size_t i = c->layers; i-- > 0; )
        layer_backward(t, i);
    if (t->g_embed)
        gr_pool_run(t->pool, unembed, t, (C + SLICE - 1) / SLICE);
    return collect(t, err);
}
