/* trainee_bwd.c - the backward pass of a model under training, from the last layer to the first:
 *
 *     unmix      by blocks: down, gated unit, up and gate, norm, residual; then the output projection
 *     weights    by slices of outputs: dW += dy^T x over all rows
 *     unattend   dq by runs of queries, then dk and dv by runs of keys over the queries below them
 *     unproject  by blocks: rope, head norms, q k v, norm, residual
 *     weights    again, for q k v
 *
 * What is cheap to make again is made again: normed inputs and the gated product.
 *
 * With gr_trainee_recompute() the lowest layers share one place for all but their inputs, and such a layer's forward
 * pass, the last product left out, comes again before its backward.
 *
 * With LoRA the model's own weights have no gradients. A block of rows makes its share of those of A and B, the shares
 * are added in the order of the blocks, and the layers below the lowest adapter are left alone. */
#include <stdlib.h>
#include "base/err.h"
#include "model/trainee_int.h"

static void linear_dx(gr_trainee *t, struct worker *me, enum gr_matrix which, float *dx, size_t lddx, const float *dy,
                      size_t lddy, size_t M, bool sum)
{
    const struct lora_pair *p = pair(t, t->layer, which);

    if (!me->rc)
        check(me, gr_linear_dx(matrix(t->l, which), packed_of(t, which), dx, lddx, dy, lddy, M, sum, me->scratch,
                               &me->err));
    if (!me->rc && p && !t->drop)
        check(me, gr_lora_dx(p, dx, lddx, dy, lddy, M, me->u, me->scratch, &me->err));
    if (!me->rc && p && t->drop) {
        size_t O, K;
        gr_matrix_shape(&t->m->cfg, which, &O, &K);
        memset(me->dropped, 0, M * K * sizeof *me->dropped);
        check(me, gr_lora_dx(p, me->dropped, K, dy, lddy, M, me->u, me->scratch, &me->err));
        gr_trainee_add_dropped(t, me, which, dx, lddx, K, M);
    }
}

/* This block's share of a norm's weight gradient: which of the 4 norms of width, or the 2 of head_dim. */
static float *partial(const gr_trainee *t, size_t task, size_t which)
{
    size_t C = t->m->cfg.width, D = t->m->cfg.head_dim;

    return t->partial + task * PARTIALS(&t->m->cfg) + (which < 4 ? which * C : 4 * C + (which - 4) * D);
}

enum { ATTN_NORM, ATTN_POST_NORM, MLP_NORM, MLP_POST_NORM, Q_NORM, K_NORM };

static void norm_bwd(const gr_trainee *t, float *dx, float *dw, const float *dy, const float *x, const float *r,
                     const float *w, size_t n, bool sum)
{
    size_t C = t->m->cfg.width;

    gr_kern.rmsnorm_bwd(dx, C, dw, dy, C, x, C, r, w, t->m->cfg.norm_bias, n, C, sum);
}

static void unmix(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct layer *l = t->l;
    struct kept *s = t->s;
    size_t C = c->width, F = c->hidden, ldf = t->ldf, q = c->heads * c->head_dim;
    const struct block b = block_of(t->n_rows, task);
    size_t r = b.r, n = b.n, M = b.M;
    float *dx = t->dx + r * C, *dt1 = t->dt1 + r * C, *dt2 = t->dt2 + r * C, *dh = t->dh + r * C, *h = t->h + r * C;
    float *dgate = t->dgate + r * ldf, *dup = t->dup + r * ldf, *act = t->act + r * ldf;
    float *gate = s->gate + r * ldf, *up = s->up + r * ldf;

    me->row = r;
    memset(partial(t, task, 0), 0, PARTIALS(c) * sizeof *t->partial);
    memcpy(dt2, dx, M * C * sizeof *dx);
    if (l->mlp_post_norm)
        norm_bwd(t, dt2, partial(t, task, MLP_POST_NORM), dt2, s->t2 + r * C, s->rt2 + r, l->mlp_post_norm, n, false);
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
    norm_bwd(t, dx, partial(t, task, MLP_NORM), dh, s->mid + r * C, s->r2 + r, l->mlp_norm, n, true);
    memcpy(dt1, dx, M * C * sizeof *dx);
    if (l->attn_post_norm)
        norm_bwd(t, dt1, partial(t, task, ATTN_POST_NORM), dt1, s->t1 + r * C, s->rt1 + r, l->attn_post_norm, n, false);
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
    const struct block b = block_of(t->n_rows, task);
    size_t r = b.r, M = b.M;

    me->row = r;
    for (size_t i = 0; i < set->n; i++) {
        const struct dw *d = &set->each[i];
        const struct lora_pair *p = pair(t, t->layer, d->which);
        size_t n = p ? p->rank * (d->K + d->O) : 0, ldx = d->ldx;
        const float *x = p ? gr_trainee_dropped(t, me, d->which, d->x + r * d->ldx, &ldx, d->K, M) : NULL;
        memset(share, 0, n * sizeof *share);
        if (p && !me->rc)
            check(me, gr_lora_dw(p, share, share + p->rank * d->K, d->dy + r * d->lddy, d->lddy, x, ldx, d->O, d->K, M,
                                 me->u, me->scratch, &me->err));
        share += n;
    }
}

static void lora_weights(gr_trainee *t, struct dw_set *set)
{
    size_t blocks = blocks_of(t->n_rows), at = 0;

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
    size_t at = run->row * q + head * G * D, n = gr_trainee_spans(t, run, head * D, me->span);

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
    if (w)
        gr_kern.rmsnorm_bwd(dx + r * ld, D, dw, dx + r * ld, D, x0 + r * ld, D, r_of + r * H, w, c->norm_bias, n * H, D,
                            false);
}

static void unproject(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    struct kept *s = t->s;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const struct block b = block_of(t->n_rows, task);
    size_t r = b.r, n = b.n, M = b.M;
    float *dh = t->dh + r * C;

    me->row = r;
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
    norm_bwd(t, t->dx + r * C, partial(t, task, ATTN_NORM), dh, t->in + r * C, t->r_in + r, t->l->attn_norm, n,
             true);
}

/* The blocks' shares of the norms' gradients, in the order of the blocks. */
static void add_partials(gr_trainee *t, struct grads *g)
{
    float *to[] = { g->attn_norm, g->attn_post_norm, g->mlp_norm, g->mlp_post_norm, g->q_norm, g->k_norm };

    for (size_t b = 0; b < blocks_of(t->n_rows); b++)
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

    if (layer + 1 < t->made_again) {                /* what the last of them left is still there */
        t->again = true;
        gr_trainee_layer(t, layer);
        t->again = false;
    }
    gr_trainee_enter(t, layer);
    t->depth = depth_of(t, layer);
    gr_trainee_pack(t, GR_PACK_DX);
    gr_trainee_blocks(t, unmix);
    weights(t, (const struct dw[]){ { g->gate, NULL, t->dgate, t->h, F, C, t->ldf, C, GR_MAT_GATE },
                                    { g->up, NULL, t->dup, t->h, F, C, t->ldf, C, GR_MAT_UP },
                                    { g->down, NULL, t->dt2, t->act, C, F, C, t->ldf, GR_MAT_DOWN },
                                    { g->o, g->bias[3], t->dt1, s->o, C, q, C, q, GR_MAT_O } }, 4);
    if (t->depth < TO_QKV)
        return;
    gr_pool_run(t->pool, unattend_q, t, t->q_runs * c->kv_heads);
    gr_pool_run(t->pool, unattend_kv, t, t->runs * c->kv_heads);
    gr_trainee_blocks(t, unproject);
    if (t->kv)
        weights(t, qkv, 3);
    else {
        weights(t, qkv, 1);
        add_partials(t, g);
        scatter(t);
        gr_trainee_enter_keys(t);
        gr_trainee_pack(t, GR_PACK_DX);
        gr_trainee_blocks(t, unproject);
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

    if (t->head_only)
        return GRAM_OK;
    memset(t->dx, 0, t->rows * C * sizeof *t->dx);          /* padding rows have no gradient, and keep none */
    zero_from(t->dq, t->few ? t->n_want : t->f->rows, t->rows, q);
    zero_from(t->dk, t->f->rows, t->rows, kv);
    zero_from(t->dv, t->f->rows, t->rows, kv);
    for (size_t i = 0; i < t->n_want; i++)                  /* rows may be asked for more than once: one at a time */
        gr_kern.rmsnorm_bwd(t->dx + (t->few ? i : t->want[i]) * C, C, t->g_final, dhidden + i * C, C, t->xf + i * C, C,
                            t->rf + i, t->m->final_norm, c->norm_bias, 1, C, true);
    for (size_t i = c->layers; i-- > 0; )
        layer_backward(t, i);
    if (t->g_embed)
        gr_pool_run(t->pool, unembed, t, (C + SLICE - 1) / SLICE);
    return gr_trainee_collect(t, err);
}
