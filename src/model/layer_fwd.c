/* layer_fwd.c - a layer forward, for everybody: scores, training, adapters, texts being written.
 *
 * It is three runs, the pieces of which write apart from each other:
 *
 *     project   by rows: norm, q k v, the norms of q and k, rope; keys and values to their pages
 *     attend    by runs of queries and key/value heads, over the keys of the text up to them
 *     mix       by rows: output projection, residual, norm, gated MLP, residual
 *
 * or, in a layer with experts, these in place of the last:
 *
 *     route     by rows: output projection, residual, norm, router
 *     expert    by the rows of an expert: its gated MLP
 *     share     by rows, of a shared expert: its gated MLP, times its weight, and the residual
 *     blend     by rows: what the row's experts gave, each times its weight, and the residual
 *
 * so that a piece's activations stay in the cache from one product to the next, and without `keep` only x, q, k, v and
 * o are as long as the batch. Where few rows are asked for, the last layer is passed in two parts: all rows as keys and
 * values, then those rows as queries. */
#include <assert.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/random.h"
#include "model/pass_int.h"

/* ---- Pieces --------------------------------------------------------------------------------------- */

/* Where a piece's rows of something are: in the pass's memory, or in scratch. */
static gr_mat place(gr_lane *lane, gr_mat kept, size_t r, size_t rows, size_t ld, gr_dtype type)
{
    return kept.p ? gr_mat_at(kept, r, 0) : gr_lane_scratch_of(lane, rows, ld, type);
}

static float *from(float *x, size_t r)
{
    return x ? x + r : NULL;
}

/* The router, and the experts' matrices of one kind, are told apart by a word more. */
uint64_t gr_pass_drop_key(const struct pass *p, size_t which)
{
    size_t kind = gr_matrix_kind(which), first = which < GR_MATRICES ? gr_lora_first(p->lora, &p->m->cfg, which) : kind;
    uint64_t key = gr_random_at(p->drop_key, p->layer * GR_MATRICES + first);       /* one A sees one input */

    return which < GR_MATRICES ? key : gr_random_at(key, which - (which > GR_MAT_SHARED));      /* as it was */
}

gr_mat gr_pass_dropped(gr_lane *lane, const struct pass *p, size_t which, gr_mat x, const uint64_t *key, size_t M)
{
    size_t O, K;
    gr_mat y;

    if (!p->drop)
        return x;
    gr_matrix_shape(&p->m->cfg, which, &O, &K);
    y = gr_lane_scratch_of(lane, M, K, x.type);
    if (!lane->rc)
        lane->op->dropout_fwd(lane, y, x, gr_pass_drop_key(p, which), key, M, K, p->lora->spec.dropout);
    return y;
}

/* What the adapters of some matrices of one x add, whose rows are from r on, of experts the slots from r on. */
static void adapters(gr_lane *lane, const struct pass *p, const gr_linear_to *to, const size_t *which, size_t n,
                     gr_mat x, size_t r, size_t M)
{
    for (size_t i = 0; i < n; i++) {
        const struct lora_pair *a = pair(p->lora, p->layer, which[i]);
        gr_mat u = gr_pass_kept(p->s->u, which[i], r);
        size_t mark = gr_lane_mark(lane);
        if (a)
            gr_lora_fwd(lane, a, to[i].y,
                        gr_pass_dropped(lane, p, which[i], x, gr_pass_keys_of(p, which[i], r), M), u, M);
        gr_lane_give_back(lane, mark);
    }
}

/* The marks of the rows that a matrix sees: from row r on, or of an expert's matrix from slot r on. Queries, keys and
 * values have none: every later row would see what is lost there. */
static const uint8_t *marks_of(const struct pass *p, size_t which, size_t r)
{
    if (which >= GR_MAT_EXPERTS)
        return p->routed.one_byte + r;
    return p->one_byte && which > GR_MAT_V ? p->one_byte + r : NULL;
}

static void linears(gr_lane *lane, const struct pass *p, const gr_linear_to *to, const size_t *which, size_t n,
                    gr_mat x, size_t r, size_t M)
{
    gr_linears_fwd(lane, to, n, x, M, marks_of(p, which[0], r));
    if (p->lora)
        adapters(lane, p, to, which, n, x, r, M);
}

static void linear(gr_lane *lane, const struct pass *p, size_t which, gr_mat y, gr_mat x, size_t r, size_t M)
{
    linears(lane, p, &(gr_linear_to){ matrix(p->l, which), y }, &which, 1, x, r, M);
}

/* What is done to each of M rows as wide as the model, or up of the gated unit: the rows of y are made of those of x,
 * and of t, which are multiplied by s first where that is not 1; h and r take the norm's. */
struct rows { gr_mat y, x, t, h; float *r; gr_norm norm; size_t C; float s; bool geglu; };

static void norm_rows(void *arg, gr_lane *lane, size_t i, size_t n)
{
    const struct rows *a = arg;

    lane->op->rmsnorm_fwd(lane, gr_mat_at(a->y, i, 0), from(a->r, i), gr_mat_at(a->x, i, 0), &a->norm, n);
}

static void add_rows(void *arg, gr_lane *lane, size_t i, size_t n)
{
    const struct rows *a = arg;
    gr_mat y = gr_mat_at(a->y, i, 0), x = gr_mat_at(a->x, i, 0), t = gr_mat_at(a->t, i, 0);

    if (a->s < 1 || a->s > 1)
        lane->op->scale(lane, t, a->s, n, a->C);
    if (a->h.p)
        lane->op->add_norm(lane, gr_mat_at(a->h, i, 0), from(a->r, i), y, x, t, &a->norm, n);
    else
        lane->op->add(lane, y, x, t, n, a->C);
}

static void glu_rows(void *arg, gr_lane *lane, size_t i, size_t n)
{
    const struct rows *a = arg;

    (a->geglu ? lane->op->geglu_fwd : lane->op->swiglu_fwd)(lane, gr_mat_at(a->y, i, 0), gr_mat_at(a->x, i, 0),
                                                            gr_mat_at(a->t, i, 0), n, a->C);
}

static void norm(gr_lane *lane, const struct pass *p, gr_mat y, float *r, gr_mat x, const float *w, size_t M)
{
    struct rows a = { .y = y, .x = x, .r = r, .norm = norm_of(&p->m->cfg, w, p->m->cfg.width) };

    gr_linear_share(lane, M, norm_rows, &a);
}

/* q or k of rows [r, r + n): normed where the family does, by head or all heads as one, from x0 to x, and rotated. */
static void norm_and_rotate(gr_lane *lane, const struct pass *p, gr_mat x, gr_mat x0, float *r_of, const float *w,
                            size_t H, size_t r, size_t n)
{
    const gr_config *c = &p->m->cfg;
    size_t D = c->head_dim, parts = c->qk_norm_wide ? 1 : H;
    const gr_heads heads = { norm_of(c, w, H * D / parts), from(r_of, r * parts), rotates(p) ? table_of(p) : NULL,
                             p->angle + r, H, D, c->rope_dim, c->rope_interleaved };

    lane->op->heads_fwd(lane, gr_mat_at(x, r, 0), gr_mat_at(x0, r, 0), &heads, n);
}

/* Keys and values of rows [r, r + n) to the pages that keep them. */
static void put(gr_lane *lane, const struct pass *p, size_t r, size_t n)
{
    const gr_plan *plan = p->plan;
    size_t lo = 0, hi = plan->puts, C = p->m->cfg.kv_heads * p->m->cfg.head_dim;

    while (lo < hi) {                       /* the first that ends after r */
        size_t mid = (lo + hi) / 2;
        if (plan->put[mid].row + plan->put[mid].n <= r)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < plan->puts && plan->put[lo].row < r + n; lo++) {
        const gr_put *t = &plan->put[lo];
        size_t a = gr_max(t->row, r), rows = gr_min(t->row + t->n, r + n) - a, to = t->first + (a - t->row);
        lane->op->copy(lane, gr_page_keys(plan->pages, p->layer, t->page, to), gr_mat_at(p->s->k, a, 0), rows, C);
        lane->op->copy(lane, gr_page_values(plan->pages, p->layer, t->page, to), gr_mat_at(p->s->v, a, 0), rows, C);
    }
}

struct from_row { const struct pass *p; size_t r; };

/* Queries, keys and values of rows [r + i, r + i + n), once they are there. */
static void after_products(void *arg, gr_lane *lane, size_t i, size_t n)
{
    const struct from_row *a = arg;
    const struct pass *p = a->p;
    const struct kept *s = p->s;
    size_t r = a->r + i;

    if (p->qo)
        norm_and_rotate(lane, p, s->q, s->q0, s->rq, p->l->q_norm, p->m->cfg.heads, r, n);
    if (p->kv) {
        norm_and_rotate(lane, p, s->k, s->k0, s->rk, p->l->k_norm, p->m->cfg.kv_heads, r, n);
        put(lane, p, r, n);
    }
}

static void project(void *arg, gr_lane *lane, size_t r, size_t n)
{
    static const size_t which[] = { GR_MAT_K, GR_MAT_V, GR_MAT_Q };
    const struct pass *p = arg;
    const gr_config *c = &p->m->cfg;
    const struct layer *l = p->l;
    const struct kept *s = p->s;
    size_t M = gr_lane_rows(lane, n), first = p->kv ? 0 : 2, end = p->qo ? 3 : 2;
    gr_mat x = gr_mat_at(p->x, r, 0), h = l->attn_norm ? gr_lane_scratch_of(lane, M, c->width, p->type) : x;
    const gr_linear_to to[] = { { matrix(l, GR_MAT_K), gr_mat_at(s->k0, r, 0) },
                                { matrix(l, GR_MAT_V), gr_mat_at(s->v, r, 0) },
                                { matrix(l, GR_MAT_Q), gr_mat_at(s->q0, r, 0) } };

    if (lane->rc)
        return;
    if (l->attn_norm)
        norm(lane, p, h, from(p->r_x, r), x, l->attn_norm, M);
    linears(lane, p, to + first, which + first, end - first, h, r, M);
    if (!lane->rc)
        gr_linear_share(lane, n, after_products, &(struct from_row){ p, r });
}

static void attend(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct pass *p = arg;

    lane->op->attn_fwd(lane, &p->attn, first, n);
}

/* Writes output projection and residual of the rows from r on to mid, and then their norm to h. t is room. */
static void close_attention(gr_lane *lane, const struct pass *p, gr_mat mid, gr_mat h, gr_mat t, size_t r, size_t M)
{
    const struct layer *l = p->l;
    const struct kept *s = p->s;
    gr_mat y = l->attn_post_norm && s->t1.p ? gr_mat_at(s->t1, r, 0) : t, x = gr_mat_at(p->x, r, 0);

    linear(lane, p, GR_MAT_O, y, gr_mat_at(s->o, r, 0), r, M);
    if (l->attn_post_norm)
        norm(lane, p, t, from(s->rt1, r), y, l->attn_post_norm, M);
    gr_linear_share(lane, M, add_rows,
                    &(struct rows){ .y = mid, .x = x, .t = t, .h = l->mlp_norm ? h : (gr_mat){ .p = NULL },
                                    .r = from(s->r2, r), .norm = norm_of(&p->m->cfg, l->mlp_norm, p->m->cfg.width),
                                    .C = p->m->cfg.width, .s = p->m->cfg.branch_scale });
}

/* What the attention leaves: kept apart, or in the place of the layer's result. */
static gr_mat mid_of(const struct pass *p, size_t r)
{
    return gr_mat_at(p->s->mid.p ? p->s->mid : p->out, r, 0);
}

/* The gated unit of M rows of x, up to the product that closes it. which: its gate and up; at: where its rows are kept,
 * or scratch. */
static gr_mat gated(gr_lane *lane, const struct pass *p, const size_t which[2], gr_mat x, size_t at, size_t M)
{
    const gr_config *c = &p->m->cfg;
    const struct kept *s = p->s;
    bool expert = which[0] >= GR_MAT_EXPERTS, shared = !expert && gr_config_shares(c, p->layer);
    size_t ld = expert ? p->lde : p->ldf, F = expert ? c->expert_hidden : c->hidden;
    gr_mat gate = place(lane, shared ? s->shared_gate : s->gate, at, M, ld, p->type);
    gr_mat up = place(lane, shared ? s->shared_up : s->up, at, M, ld, p->type);
    gr_mat act = s->gate.p ? gr_lane_scratch_of(lane, M, ld, p->type) : gate;
    const gr_linear_to to[] = { { matrix(p->l, which[0]), gate }, { matrix(p->l, which[1]), up } };

    if (lane->rc)
        return act;
    linears(lane, p, to, which, GR_COUNT(to), x, at, M);
    gr_linear_share(lane, M, glu_rows, &(struct rows){ .y = act, .x = gate, .t = up, .C = F, .geglu = c->geglu });
    return act;
}

static void mix(void *arg, gr_lane *lane, size_t r, size_t n)
{
    static const size_t which[] = { GR_MAT_GATE, GR_MAT_UP };
    const struct pass *p = arg;
    const struct layer *l = p->l;
    const struct kept *s = p->s;
    size_t C = p->m->cfg.width, M = gr_lane_rows(lane, n);
    gr_mat mid = mid_of(p, r), h = l->mlp_norm ? gr_lane_scratch_of(lane, M, C, p->type) : mid;
    gr_mat t = gr_lane_scratch_of(lane, M, C, p->type), act;
    gr_mat y = l->mlp_post_norm && s->t2.p ? gr_mat_at(s->t2, r, 0) : t;

    if (lane->rc)
        return;
    close_attention(lane, p, mid, h, t, r, M);
    act = gated(lane, p, which, h, r, M);
    if (lane->rc || (p->again && !l->mlp_post_norm))
        return;
    linear(lane, p, GR_MAT_DOWN, y, act, r, M);
    if (l->mlp_post_norm)
        norm(lane, p, t, from(s->rt2, r), y, l->mlp_post_norm, M);
    gr_linear_share(lane, M, add_rows, &(struct rows){ .y = gr_mat_at(p->out, r, 0), .x = mid, .t = t, .C = C,
                                                     .s = p->m->cfg.branch_scale });
}

/* ---- Experts -------------------------------------------------------------------------------------- */

static void route(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const struct pass *p = arg;
    const gr_config *c = &p->m->cfg;
    const struct kept *s = p->s;
    size_t E = c->experts, k = c->chosen, M = gr_lane_rows(lane, n);
    gr_mat t = gr_lane_scratch_of(lane, M, c->width, p->type), z = gr_lane_scratch(lane, M, E);
    gr_mat prob = place(lane, s->prob, r, M, E, GR_F32), h = gr_mat_at(p->h, r, 0);

    if (lane->rc)
        return;
    close_attention(lane, p, mid_of(p, r), h, t, r, M);
    linear(lane, p, GR_MAT_ROUTER, z, h, r, M);
    if (!lane->rc)
        lane->op->route_fwd(lane, prob, s->chosen + r * k, gr_mat_at(s->weight, r, 0), z, n, E, k, c->norm_chosen);
}

static void expert(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct pass *p = arg;
    const gr_routed *routed = &p->routed;
    size_t C = p->m->cfg.width;

    for (size_t i = first; i < first + n && !lane->rc; i++) {
        const gr_slots *e = &routed->piece[i];
        const size_t which[] = { gr_expert_matrix(e->expert, GR_MAT_GATE), gr_expert_matrix(e->expert, GR_MAT_UP) };
        size_t M = gr_round_up(e->n, p->cut.unit);
        gr_mat x = gr_lane_scratch_of(lane, M, C, p->type), act;
        if (lane->rc)
            return;
        lane->op->gather(lane, x, p->h, routed->row + e->at, M, C);
        act = gated(lane, p, which, x, e->at, M);
        if (lane->rc || p->again)
            continue;
        linear(lane, p, gr_expert_matrix(e->expert, GR_MAT_DOWN), x, act, e->at, M);
        lane->op->place(lane, p->y, x, routed->place + e->at, e->n, C);
    }
}

/* The weight is the sigmoid of z: what softmax gives z beside a 0. */
static void share(void *arg, gr_lane *lane, size_t r, size_t n)
{
    static const size_t which[] = { GR_MAT_GATE, GR_MAT_UP };
    const struct pass *p = arg;
    size_t C = p->m->cfg.width, M = gr_lane_rows(lane, n);
    gr_mat t = gr_lane_scratch_of(lane, M, C, p->type), z = gr_lane_scratch(lane, M, 2);
    gr_mat prob = gr_lane_scratch(lane, M, 2), weight = place(lane, p->s->share, r, M, 2, GR_F32);
    gr_mat h = gr_mat_at(p->h, r, 0), act;

    if (lane->rc)
        return;
    lane->op->zero(lane, z, M, 2);
    linear(lane, p, GR_MAT_SHARED, z, h, r, M);
    if (!lane->rc)
        lane->op->route_fwd(lane, prob, p->routed.both + 2 * r, weight, z, n, 2, 2, false);
    act = gated(lane, p, which, h, r, M);
    if (lane->rc || p->again)
        return;
    linear(lane, p, GR_MAT_DOWN, t, act, r, M);
    lane->op->blend(lane, gr_mat_at(p->out, r, 0), mid_of(p, r), t, weight, n, 1, C);
}

static void blend(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const struct pass *p = arg;
    size_t k = p->m->cfg.chosen;
    gr_mat out = gr_mat_at(p->out, r, 0), x = gr_config_shares(&p->m->cfg, p->layer) ? out : mid_of(p, r);

    lane->op->blend(lane, out, x, gr_mat_at(p->y, r * k, 0),
                    gr_mat_at(p->s->weight, r, 0), n, k, p->m->cfg.width);
}

/* Whether all products that a run by rows has are of bytes. */
static bool of_bytes(const struct pass *p, gr_lane_fn *fn)
{
    static const size_t mixes[] = { GR_MAT_O, GR_MAT_GATE, GR_MAT_UP, GR_MAT_DOWN };
    bool all = !p->lora && !p->keep && (fn == project || fn == mix);

    if (all && fn == project)
        return (!p->kv || (gr_linear_counts(matrix(p->l, GR_MAT_K)) && gr_linear_counts(matrix(p->l, GR_MAT_V)))) &&
               (!p->qo || gr_linear_counts(matrix(p->l, GR_MAT_Q)));
    for (size_t i = 0; i < GR_COUNT(mixes) && all; i++)
        all = gr_linear_counts(matrix(p->l, mixes[i]));
    return all;
}

static void by_rows(struct pass *p, gr_lane_fn *fn)
{
    gr_device_run(p->d, p->rows, gr_linear_spread(p->d, p->cut, p->rows, of_bytes(p, fn)), fn, p);
}

void gr_pass_run_experts(struct pass *p, gr_lane_fn *fn, void *arg)
{
    gr_device_run(p->d, p->routed.pieces, (gr_cut){ 1, 1, 1, p->cut.whole }, fn, arg);
}

void gr_pass_group(struct pass *p)
{
    const gr_config *c = &p->m->cfg;

    gr_device_sync(p->d);
    gr_routed_group(&p->routed, p->s->chosen, gr_pass_keys(p, 0), p->one_byte, p->rows, c->experts, c->chosen, p->cut);
}

static void mix_experts(struct pass *p)
{
    by_rows(p, route);
    if (gr_config_shares(&p->m->cfg, p->layer))
        by_rows(p, share);
    gr_pass_group(p);
    gr_pass_run_experts(p, expert, p);
    if (!p->again)
        by_rows(p, blend);
}

/* Where steps multiply otherwise, both what they take and what rows that are judged take. */
static size_t linear_scratch(const struct pass *p, const struct layer *l, size_t which, size_t rows)
{
    size_t bytes = gr_linear_scratch(matrix(l, which), rows);

    if (!p->keep || !p->m->steps || gr_matrix_weighs(which))
        return bytes;
    gr_linear_by(matrix(l, which), p->m->steps);
    bytes = gr_max(bytes, gr_linear_scratch(matrix(l, which), rows));
    gr_linear_by(matrix(l, which), GR_BY_F32);
    return bytes;
}

size_t gr_pass_scratch(const struct pass *p, size_t rows)
{
    const gr_config *c = &p->m->cfg;
    size_t floats = 2 * rows * c->width + rows * gr_max((p->keep ? 1 : 2) * gr_max(p->ldf, p->lde), 2 * c->experts);
    size_t shares = gr_config_has(c, GR_HAS_SHARED) ? 3 * (rows * 2 + GR_ALIGN / sizeof(float)) : 0;
    size_t linear = 0, dropped = 0, adapter = 0, widest = gr_max(gr_config_most_hidden(c), c->heads * c->head_dim);

    for (size_t i = 0; i < c->layers; i++)
        for (size_t j = 0; j < gr_matrices(c); j++) {
            size_t O, K;
            if (!matrix(&p->m->layer[i], j))
                continue;
            gr_matrix_shape(c, j, &O, &K);
            linear = gr_max(linear, linear_scratch(p, &p->m->layer[i], j, rows));
            if (!pair(p->lora, i, j))
                continue;
            adapter = gr_max(adapter, gr_lora_scratch(pair(p->lora, i, j), O, K, rows));
            dropped = p->lora->spec.dropout > 0 ? gr_max(dropped, rows * K) : dropped;
        }
    if (p->keep)                            /* and goes back */
        adapter = gr_max(adapter, gr_dw_scratch(gr_max(c->width, widest)));
    return gr_max((floats + shares + dropped) * sizeof(float) + gr_max(linear, adapter) + 8 * GR_ALIGN,
                  gr_attn_scratch(c->head_dim, c->heads / c->kv_heads) + 4096);
}

/* ---- A layer -------------------------------------------------------------------------------------- */

void gr_pass_clear(struct pass *p)
{
    for (size_t i = 0; i < 2; i++) {
        gr_device_free(p->d, p->table[i]);
        p->table[i] = NULL;
    }
}

static gram_status make_table(struct pass *p, size_t i, size_t n, gram_err *err)
{
    const gr_config *c = &p->m->cfg;
    size_t R = c->rope_dim, bytes = n * R * sizeof(float), near = c->far.after ? gr_min(n, c->far.after) : n;
    float *host = gr_alloc_aligned(n * R, sizeof *host);
    void *table;
    gram_status rc = host ? GRAM_OK : gr_nomem(err, "rotary tables");

    if (!rc)
        rc = gr_device_alloc(p->d, &table, bytes, err);
    if (!rc) {
        gr_rope_table(host, c->inv_freq[i], 0, near, R, c->rope_scale[i]);
        if (n > near)
            gr_rope_table(host + near * R, c->far.freq, 0, n - near, R, c->rope_scale[i]);
        gr_device_put(p->d, table, host, bytes);
        p->table[i] = table;
    }
    free(host);
    return rc;
}

gram_status gr_pass_tables(struct pass *p, gram_err *err)
{
    const gr_config *c = &p->m->cfg;
    size_t n = p->plan->angles;
    gram_status rc = GRAM_OK;

    if (n <= p->table_rows)
        return GRAM_OK;
    n = gr_max(n, gr_min(2 * p->table_rows, c->context + c->far.after));
    p->table_rows = 0;
    gr_pass_clear(p);
    for (size_t i = 0; i < 2 && !rc; i++)
        if (c->inv_freq[i])
            rc = make_table(p, i, n, err);
    p->table_rows = rc ? 0 : n;
    return rc;
}

static void take_all(struct pass *p)
{
    const gr_plan *plan = p->plan;
    bool last = p->layer + 1 == p->m->cfg.layers;

    p->rows = plan->rows;
    p->x = p->s->x;
    p->out = !p->keep ? p->x : last ? p->end : p->s[1].x;
    p->r_x = p->s->r1;
    p->angle = plan->angle;
    p->one_byte = p->marks;
    p->at_key = p->key;
    p->attn.run = plan->run;
    p->attn.runs = plan->runs;
}

static void take_wanted(struct pass *p)
{
    const gr_plan *plan = p->plan;

    p->rows = plan->n_want;
    p->x = p->wanted.x;
    p->out = p->keep ? p->end : p->x;
    p->r_x = p->wanted.r;
    p->angle = plan->want_angle;
    p->one_byte = NULL;
    p->at_key = p->want_key;
    p->attn.run = plan->want_run;
    p->attn.runs = plan->want_runs;
}

/* Attention of the layer at hand; of the runs, take_all() and take_wanted(). */
static void set_attention(struct pass *p)
{
    const gr_config *c = &p->m->cfg;
    const struct kept *s = p->s;
    gr_attn_pass *a = &p->attn;

    a->shape = (gr_attn_shape){ c->head_dim, c->heads / c->kv_heads, c->sliding[p->layer] ? c->window : 0,
                                c->attn_scale, c->attn_cap };
    a->kv_heads = c->kv_heads;
    a->span = p->plan->span;
    a->store[GR_STORE_PASS] = (gr_attn_store){
        &p->s->k.p, 0, (size_t)((const char *)s->v.p - (const char *)s->k.p) / gr_dtype_bytes(p->type), s->k.ld };
    assert(!p->plan->pages || gr_pages_type(p->plan->pages) == p->type);
    if (p->plan->pages)
        a->store[GR_STORE_PAGES] = gr_pages_store(p->plan->pages, p->layer);
    a->q = s->q;
    a->o = s->o;
    a->k = s->k;
    a->v = s->v;
    a->lse = s->lse;
}

void gr_pass_enter(struct pass *p, size_t layer)
{
    bool last = p->narrow && layer + 1 == p->m->cfg.layers;

    p->layer = layer;
    p->l = &p->m->layer[layer];
    p->s = &p->kept[p->keep ? layer : 0];
    p->qo = true;
    p->kv = !last;
    set_attention(p);
    (last ? take_wanted : take_all)(p);
}

void gr_pass_enter_keys(struct pass *p)
{
    take_all(p);
    p->qo = false;
    p->kv = true;
}

void gr_pass_by(const gr_model *m, const struct layer *l, gr_multiply by)
{
    for (size_t i = 0; i < gr_matrices(&m->cfg); i++)
        if (matrix(l, i) && !gr_matrix_weighs(i))
            gr_linear_by(matrix(l, i), by);
}

void gr_pass_unstage(struct pass *p)
{
    gr_linears_unstage(p->staged, p->n_staged);
    p->n_staged = 0;
    if (p->turned)
        gr_pass_by(p->m, p->turned, GR_BY_F32);
    p->turned = NULL;
}

void gr_pass_stage(struct pass *p, gr_stage stage)
{
    gr_pass_unstage(p);
    if (p->by) {
        p->turned = p->l;
        gr_pass_by(p->m, p->l, p->by);
    }
    for (size_t i = 0; i < GR_MATRICES && p->room; i++)
        if (matrix(p->l, i) && (i == GR_MAT_K || i == GR_MAT_V ? p->kv : p->qo))
            p->staged[p->n_staged++] = matrix(p->l, i);
    gr_linears_stage(p->d, p->staged, p->n_staged, stage, p->rows, p->room);
}

/* The residual of the rows that are asked for, and of rows that fill their last unit up. */
static void gather(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct pass *p = arg;
    size_t C = p->m->cfg.width, all = gr_round_up(n, p->cut.unit);

    (void)first;
    lane->op->gather(lane, p->wanted.x, p->s->x, p->plan->want, n, C);
    lane->op->zero(lane, gr_mat_at(p->wanted.x, n, 0), all - n, C);
}

void gr_pass_layer(struct pass *p, size_t layer)
{
    gr_pass_enter(p, layer);
    if (!p->kv) {
        gr_pass_enter_keys(p);
        gr_pass_stage(p, GR_STAGE_FWD);
        by_rows(p, project);
        gr_device_once(p->d, gather, p, p->plan->n_want);
        gr_pass_enter(p, layer);
    }
    gr_pass_stage(p, GR_STAGE_FWD);
    by_rows(p, project);
    gr_device_run(p->d, p->attn.runs * p->attn.kv_heads, GR_CUT_ONE, attend, p);
    if (gr_config_sparse(&p->m->cfg, layer))
        mix_experts(p);
    else
        by_rows(p, mix);
}

static void embed(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const struct pass *p = arg;

    lane->op->embed(lane, gr_mat_at(p->kept->x, r, 0), &p->m->table, p->plan->token + r, p->m->cfg.embed_scale, n);
}

void gr_pass_forward(struct pass *p)
{
    gr_device_run(p->d, p->plan->rows, p->cut, embed, p);
    for (size_t i = 0; i < p->m->cfg.layers; i++)
        gr_pass_layer(p, i);
    gr_pass_unstage(p);
}
