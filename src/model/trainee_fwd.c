/* trainee_fwd.c - the forward pass of a model under training: forward.c's three passes over all rows, their results
 * kept.
 *
 * Where few rows are asked for, as in stage 2, only they go past the keys and values of the last layer. It is then
 * passed in two parts, both ways: all rows as keys, the wanted rows as queries. */
#include "base/err.h"
#include "base/random.h"
#include "model/trainee_int.h"

static void linear(gr_trainee *t, struct worker *me, enum gr_matrix which, float *y, size_t ldy, const float *x,
                   size_t ldx, size_t M)
{
    const struct lora_pair *p = pair(t, t->layer, which);
    const gr_linear_to to = { matrix(t->l, which), y, ldy, packed_of(t, which) };

    if (!me->rc)
        check(me, gr_linears_fwd(&to, 1, x, ldx, M, me->scratch, &me->err));
    if (!me->rc && p) {
        size_t O, K;
        gr_matrix_shape(&t->m->cfg, which, &O, &K);
        x = gr_trainee_dropped(t, me, which, x, &ldx, K, M);
        check(me, gr_lora_fwd(p, y, ldy, x, ldx, M, me->u, me->scratch, &me->err));
    }
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
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    const struct block b = block_of(t->n_rows, task);
    size_t r = b.r, n = b.n, M = b.M;
    float *h = t->h + r * C;

    me->row = r;
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

size_t gr_trainee_spans(const gr_trainee *t, const struct run *run, size_t col, gr_kv_span *span)
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

static void attend(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct run *run = &t->q_run[task / c->kv_heads];
    size_t head = task % c->kv_heads, D = c->head_dim, G = c->heads / c->kv_heads, q = c->heads * D;
    size_t at = run->row * q + head * G * D, n = gr_trainee_spans(t, run, head * D, me->span);

    gr_kern.attn_fwd(t->s->o + at, q, by_head(t, t->s->lse, head, run->row), t->s->q + at, q, run->n,
                     t->f->seg[run->seg].pos + run->first, me->span, n, D, G, c->attn_scale,
                     c->sliding[t->layer] ? c->window : 0, me->scratch);
}

static void mix(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    struct worker *me = &t->worker[worker];
    const struct layer *l = t->l;
    struct kept *s = t->s;
    size_t C = c->width, F = c->hidden, ldf = t->ldf, q = c->heads * c->head_dim;
    const struct block b = block_of(t->n_rows, task);
    size_t r = b.r, M = b.M;
    float *h = t->h + r * C, *mid = s->mid + r * C, *out = (s + 1 < t->kept + c->layers ? s[1].x : t->x) + r * C;
    float *y = l->attn_post_norm ? s->t1 + r * C : mid;

    me->row = r;
    linear(t, me, GR_MAT_O, y, C, s->o + r * q, q, M);
    if (l->attn_post_norm)
        norm(t, mid, s->rt1 + r, y, l->attn_post_norm, M);
    add(mid, t->in + r * C, M * C);
    norm(t, h, s->r2 + r, mid, l->mlp_norm, M);
    linear(t, me, GR_MAT_GATE, s->gate + r * ldf, ldf, h, C, M);
    linear(t, me, GR_MAT_UP, s->up + r * ldf, ldf, h, C, M);
    (c->geglu ? gr_kern.geglu_fwd : gr_kern.swiglu_fwd)(t->act + r * ldf, s->gate + r * ldf, s->up + r * ldf, ldf, M,
                                                        F);
    if (t->again && !l->mlp_post_norm)
        return;
    y = l->mlp_post_norm ? s->t2 + r * C : out;
    linear(t, me, GR_MAT_DOWN, y, C, t->act + r * ldf, ldf, M);
    if (l->mlp_post_norm)
        norm(t, out, s->rt2 + r, y, l->mlp_post_norm, M);
    add(out, mid, M * C);
}

/* The slices of some of a layer's weights. */
struct pack { gr_trainee *t; gr_pack pass; enum gr_matrix which[GR_MATRICES]; size_t first[GR_MATRICES + 1], n; };

static void pack(void *arg, size_t task, size_t worker)
{
    const struct pack *p = arg;
    gr_trainee *t = p->t;
    size_t i = 0;

    while (task >= p->first[i + 1])
        i++;
    gr_linear_pack(matrix(t->l, p->which[i]), p->pass, t->packed[p->which[i]], task - p->first[i],
                   t->worker[worker].scratch);
}

void gr_trainee_pack(gr_trainee *t, gr_pack pass)
{
    struct pack p = { .t = t, .pass = pass };

    for (enum gr_matrix i = 0; i < GR_MATRICES && t->n_rows >= MANY; i++)
        if (i == GR_MAT_K || i == GR_MAT_V ? t->kv : t->qo) {
            p.which[p.n] = i;
            p.first[p.n + 1] = p.first[p.n] + gr_linear_pack_slices(matrix(t->l, i), pass);
            p.n++;
        }
    gr_pool_run(t->pool, pack, &p, p.first[p.n]);
}

void gr_trainee_blocks(gr_trainee *t, gr_task_fn *fn)
{
    gr_pool_run(t->pool, fn, t, blocks_of(t->n_rows));
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

/* A row's key follows from its token and the key of the row before it in the text. */
static void make_keys(gr_trainee *t)
{
    const gr_segment *seg = t->f->seg;

    for (size_t s = 0; s < t->f->n_segs; s++) {
        const gr_segment *up = seg[s].parent == GR_NO_SEGMENT ? NULL : &seg[seg[s].parent];
        uint64_t key = up ? t->key[up->row + up->len - 1] : 0;
        for (size_t i = seg[s].row; i < seg[s].row + seg[s].len; i++)
            t->key[i] = key = gr_random_at(key, (uint64_t)t->f->token[i]);
    }
    for (size_t i = 0; i < t->n_want; i++)
        t->key[t->rows + i] = t->key[t->want[i]];
}

static void embed(void *arg, size_t task, size_t worker)
{
    gr_trainee *t = arg;
    const gr_config *c = &t->m->cfg;
    const struct block b = block_of(t->n_rows, task);

    (void)worker;
    for (size_t r = b.r; r < b.r + b.n; r++) {
        float *x = t->kept[0].x + r * c->width;
        expand(x, &t->m->embed, (size_t)t->f->token[r]);
        for (size_t i = 0; i < c->width; i++)
            x[i] *= c->embed_scale;
    }
}

gram_status gr_trainee_collect(gr_trainee *t, gram_err *err)
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
    t->at_key = t->key;
    t->q_run = t->run;
    t->q_runs = t->runs;
}

static void take_wanted(gr_trainee *t)
{
    t->n_rows = t->n_want;
    t->in = t->xw;
    t->r_in = t->rw;
    t->at = t->pos + t->rows;
    t->at_key = t->key + t->rows;
    t->q_run = t->run + t->rows;
    t->q_runs = t->n_want;
}

void gr_trainee_enter(gr_trainee *t, size_t layer)
{
    bool last = t->few && layer + 1 == t->m->cfg.layers;

    t->layer = layer;
    t->l = &t->m->layer[layer];
    t->s = &t->kept[layer];
    t->qo = true;
    t->kv = !last;
    (last ? take_wanted : take_all)(t);
}

void gr_trainee_enter_keys(gr_trainee *t)
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

void gr_trainee_layer(gr_trainee *t, size_t layer)
{
    gr_trainee_enter(t, layer);
    if (!t->kv) {
        gr_trainee_enter_keys(t);
        gr_trainee_pack(t, GR_PACK_FWD);
        gr_trainee_blocks(t, project);
        gather(t, t->xw, t->s->x);
        zero_from(t->xw, t->n_want, gr_round_up(t->n_want, ROUND), t->m->cfg.width);
        for (size_t i = 0; i < t->n_want; i++)
            t->pos[t->rows + i] = t->pos[t->want[i]];
        gr_trainee_enter(t, layer);
    }
    gr_trainee_pack(t, GR_PACK_FWD);
    gr_trainee_blocks(t, project);
    gr_pool_run(t->pool, attend, t, t->q_runs * t->m->cfg.kv_heads);
    gr_trainee_blocks(t, mix);
}

gram_status gr_trainee_forward(gr_trainee *t, const gr_forest *f, const size_t *want, size_t n,
                               const float **hidden, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width;
    gram_status rc = gr_trainee_reserve(t, f, n, err);

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
    if (t->drop)
        make_keys(t);
    t->s = t->kept;
    take_all(t);
    zero_from(t->kept[0].x, t->n_rows, t->rows, C);         /* padding rows hold finite numbers */
    gr_trainee_blocks(t, embed);
    for (size_t i = 0; i < c->layers; i++)
        gr_trainee_layer(t, i);
    if (t->few)
        memcpy(t->xf, t->x, n * C * sizeof *t->x);
    else
        gather(t, t->xf, t->x);
    norm(t, t->hidden, t->rf, t->xf, t->m->final_norm, n);
    *hidden = t->hidden;
    return gr_trainee_collect(t, err);
}
