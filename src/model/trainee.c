/* trainee.c - see trainee.h. Opening, memory, and the rows of the head. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "model/trainee_int.h"
#include "op/dropout.h"

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
    for (size_t i = 0; i < GR_HEAD_PARTS; i++)
        t->g_score.part[i] = grad_of(t, gr_trainee_score(t)->part[i]);
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

/* The widest input of an adapter that may be dropped from. */
static size_t widest_input(const gr_lora *l, const gr_config *c)
{
    size_t n = 0;

    for (enum gr_matrix i = 0; l && l->spec.dropout > 0 && i < GR_MATRICES; i++) {
        size_t O, K;
        gr_matrix_shape(c, i, &O, &K);
        if (l->spec.targets & 1u << i)
            n = gr_max(n, K);
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

static bool is_of_head(const gr_model *m, const gr_param *p)
{
    for (size_t i = 0; i < GR_HEAD_PARTS; i++)
        if (p->w && p->w == m->score.part[i])
            return true;
    return false;
}

static gram_status open_trainee(gr_trainee **out, gr_model *m, gr_lora *lora, bool head_only, gr_pool *pool,
                                gram_err *err)
{
    gr_trainee *t = gr_calloc(1, sizeof *t);
    const gr_param *p;
    size_t at = 0, all, n = 0;

    *out = NULL;
    if (!t)
        return gr_nomem(err, "training");
    p = lora ? gr_lora_params(lora, &all) : gr_model_params(m, &all);
    t->m = m;
    t->lora = lora;
    t->head_only = head_only;
    t->made_again = head_only ? m->cfg.layers : 0;          /* but never is: they share their memory */
    t->lora_floats = lora_floats(lora, &m->cfg);
    t->pool = pool;
    t->ldf = gr_uncrowded(m->cfg.hidden);
    t->scratch_bytes = scratch_bytes(t);
    for (size_t i = 0; i < all; i++)
        if (!head_only || is_of_head(m, &p[i])) {
            t->n_params++;
            t->grad_floats += p[i].rows * p[i].cols;
        }
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
        t->worker[i].dropped = gr_alloc_aligned(BLOCK * widest_input(lora, &m->cfg), sizeof *t->worker[i].dropped);
        if (!t->worker[i].scratch || !t->worker[i].u || !t->worker[i].dropped)
            goto nomem;
    }
    for (size_t i = 0; i < all; i++)
        if (!head_only || is_of_head(m, &p[i])) {
            t->param[n] = p[i];
            t->param[n++].g = t->grad + at;
            at += p[i].rows * p[i].cols;
        }
    bind_grads(t);
    *out = t;
    return GRAM_OK;
nomem:
    gr_trainee_close(t);
    return gr_nomem(err, "training");
}

gram_status gr_trainee_open(gr_trainee **out, gr_model *m, gr_pool *pool, gram_err *err)
{
    return open_trainee(out, m, NULL, false, pool, err);
}

gram_status gr_trainee_open_lora(gr_trainee **out, gr_model *m, gr_lora *lora, gr_pool *pool, gram_err *err)
{
    return open_trainee(out, m, lora, false, pool, err);
}

gram_status gr_trainee_open_head(gr_trainee **out, gr_model *m, gr_pool *pool, gram_err *err)
{
    return open_trainee(out, m, NULL, true, pool, err);
}

static void rows_clear(gr_trainee *t)
{
    free(t->memory);
    free(t->pos);
    free(t->run);
    free(t->key);
    t->memory = NULL;
    t->pos = NULL;
    t->key = NULL;
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
        free(t->worker[i].dropped);
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

void gr_trainee_recompute(gr_trainee *t, size_t layers)
{
    t->made_again = t->head_only ? t->m->cfg.layers : gr_min(layers, t->m->cfg.layers);
}

void gr_trainee_drop(gr_trainee *t, uint64_t seed, uint64_t step)
{
    t->drop = t->lora && t->lora->spec.dropout > 0;
    t->drop_key = gr_random_at(gr_random_at(0, seed), step);
}

void gr_trainee_keep(gr_trainee *t)
{
    t->drop = false;
}

static uint64_t key_of(const gr_trainee *t, enum gr_matrix which)
{
    return gr_random_at(t->drop_key, t->layer * GR_MATRICES + which);
}

const float *gr_trainee_dropped(const gr_trainee *t, struct worker *me, enum gr_matrix which, const float *x,
                                size_t *ldx, size_t K, size_t M)
{
    uint64_t key = key_of(t, which);

    if (!t->drop)
        return x;
    for (size_t i = 0; i < M; i++)
        gr_dropout_fwd(me->dropped + i * K, x + i * *ldx, K, gr_random_at(key, t->at_key[me->row + i]),
                       t->lora->spec.dropout);
    *ldx = K;
    return me->dropped;
}

void gr_trainee_add_dropped(const gr_trainee *t, const struct worker *me, enum gr_matrix which, float *dx, size_t lddx,
                            size_t K, size_t M)
{
    uint64_t key = key_of(t, which);

    for (size_t i = 0; i < M; i++)
        gr_dropout_bwd(dx + i * lddx, me->dropped + i * K, K, gr_random_at(key, t->at_key[me->row + i]),
                       t->lora->spec.dropout);
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

const gr_head *gr_trainee_score(const gr_trainee *t)
{
    return t->lora ? &t->lora->score : &t->m->score;
}

const gr_head *gr_trainee_score_grad(const gr_trainee *t)
{
    return &t->g_score;
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
        t->kept[i] = i && i < t->made_again ? t->kept[0] : carve_kept(t, base, &used, R);
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
    t->partial = take(base, &used, blocks_of(R) * PARTIALS(c));
    t->share = take(base, &used, blocks_of(R) * t->lora_floats);
    for (enum gr_matrix i = 0; i < GR_MATRICES && R >= MANY; i++) {
        size_t n = 0;
        for (size_t j = 0; j < c->layers; j++)
            for (gr_pack k = GR_PACK_FWD; k <= GR_PACK_DX; k++)
                n = gr_max(n, gr_linear_pack_floats(matrix(&t->m->layer[j], i), k));
        t->packed[i] = take(base, &used, n);
    }
    return used;
}

uint64_t gr_trainee_bytes(gr_trainee *t, size_t rows)
{
    size_t R = gr_round_up(rows, ROUND), each = 2 * (sizeof *t->pos + sizeof *t->run + sizeof *t->key);
    uint64_t floats = carve(t, NULL, R);

    if (t->memory)
        carve(t, t->memory, t->rows);       /* counting moved what points into it */
    return floats * sizeof *t->memory + R * (each + gr_pool_size(t->pool) * sizeof *t->worker->query);
}

gram_status gr_trainee_reserve(gr_trainee *t, const gr_forest *f, size_t n_want, gram_err *err)
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
    t->key = gr_calloc(2 * rows, sizeof *t->key);
    if (!t->memory || !t->pos || !t->run || !t->key) {
        rows_clear(t);
        return gr_fail(err, GRAM_ENOMEM, "training: out of memory for the activations of %zu rows", rows);
    }
    memset(t->memory, 0, floats * sizeof *t->memory);       /* padding rows hold finite numbers */
    carve(t, t->memory, rows);
    t->rows = rows;
    return GRAM_OK;
}
