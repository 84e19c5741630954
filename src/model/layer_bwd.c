/* layer_bwd.c - a layer backward, of the layers that a forward pass kept:
 *
 *     mix_bwd      by rows: down, gated unit, up and gate, norm, residual; then the output projection
 *     weights      by slices of outputs: dW += dy^T x over all rows
 *     attend_bwd   dq by runs of queries, then dk and dv by runs of keys over the queries that see them
 *     project_bwd  by rows: rope, head norms, q k v, norm, residual
 *     weights      again, for q k v
 *
 * In a layer with experts these runs stand in place of mix_bwd, and weights has each expert's too:
 *
 *     h            by rows: norm, and what comes back to the experts
 *     expert_bwd   by the rows of an expert: its gated MLP; from the product with its output its weight's gradient
 *     share_bwd    by rows, of a shared expert: its gated MLP, and its weight
 *     route_bwd    by rows: the experts' sum, router, norm, residual; then the output projection
 *
 * Normed inputs and the gated product are cheap, and are always recomputed.
 *
 * With gr_trainee_recompute() the lowest layers share one place for all but their inputs, and such a layer's forward
 * pass, without the last product, is recomputed before its backward.
 *
 * With LoRA the model's own weights have no gradients. A piece of rows makes its share of those of A and B, the shares
 * are added in the order of the pieces, and the layers below the lowest adapter are left alone. */
#include <string.h>
#include "base/err.h"
#include "model/trainee_int.h"

/* r is the first of the M rows, or an expert's first slot. */
static void linear_dx(gr_lane *lane, const struct pass *p, size_t which, gr_mat dx, gr_mat dy, size_t r, size_t M,
                      bool sum)
{
    const struct lora_pair *a = pair(p->lora, p->layer, which);
    size_t mark = gr_lane_mark(lane), O, K;
    gr_mat dropped, du = gr_pass_kept(p->du, which, r);

    gr_linear_dx(lane, matrix(p->l, which), dx, dy, M, sum);
    if (a && !p->drop)
        gr_lora_dx(lane, a, dx, dy, du, M);
    if (a && p->drop) {
        gr_matrix_shape(&p->m->cfg, which, &O, &K);
        dropped = gr_lane_scratch(lane, M, K);
        if (lane->rc)
            return;
        lane->op->zero(lane, dropped, M, K);
        gr_lora_dx(lane, a, dropped, dy, du, M);
        lane->op->dropout_bwd(lane, dx, dropped, gr_pass_drop_key(p, which), gr_pass_keys_of(p, which, r), M, K,
                              p->lora->spec.dropout);
    }
    gr_lane_give_back(lane, mark);
}

enum { ATTN_NORM, ATTN_POST_NORM, MLP_NORM, MLP_POST_NORM, Q_NORM, K_NORM };

/* A piece's share of a norm's weight gradient: which of the 4 norms of width, or the 2 of q and k. NULL with LoRA,
 * where norms do not learn. */
static float *partial(const gr_trainee *t, size_t piece, size_t which)
{
    size_t C = t->m->cfg.width;

    return t->lora ? NULL : t->partial + piece * PARTIALS(&t->m->cfg) +
           (which < Q_NORM ? which * C : 4 * C + (which == K_NORM ? q_norm_size(&t->m->cfg) : 0));
}

static void zero_partials(gr_lane *lane, const gr_trainee *t)
{
    if (!t->lora)
        lane->op->zero(lane, gr_mat_f32(partial(t, lane->piece, 0), PARTIALS(&t->m->cfg)), 1, PARTIALS(&t->m->cfg));
}

/* The norm before a branch again, or where there is none the rows themselves. */
static void norm(gr_lane *lane, const struct pass *p, gr_mat y, gr_mat x, const float *w, size_t M)
{
    const gr_norm n = norm_of(&p->m->cfg, w, p->m->cfg.width);

    if (w)
        lane->op->rmsnorm_fwd(lane, y, NULL, x, &n, M);
    else
        lane->op->copy(lane, y, x, M, p->m->cfg.width);
}

static void norm_bwd(gr_lane *lane, const gr_trainee *t, gr_mat dx, size_t which, gr_mat dy, gr_mat x, const float *r,
                     const float *w, size_t n, bool sum)
{
    const gr_norm norm = norm_of(&t->m->cfg, w, t->m->cfg.width);

    if (!w)                                 /* of none before a branch: sum is true */
        lane->op->add(lane, dx, dx, dy, n, t->m->cfg.width);
    else
        lane->op->rmsnorm_bwd(lane, dx, partial(t, lane->piece, which), dy, x, r, &norm, n, sum);
}

/* dy of what a residual branch ends in: the residual's, or back through the branch's last norm; with the rows that fill
 * the unit up. */
static void branch_bwd(gr_lane *lane, const gr_trainee *t, gr_mat to, size_t which, gr_mat x, const float *r,
                       const float *w, size_t first, size_t n)
{
    gr_mat dt = gr_mat_at(to, first, 0);

    lane->op->copy(lane, dt, gr_mat_at(t->dx, first, 0), gr_lane_rows(lane, n), t->m->cfg.width);
    if (t->m->cfg.branch_scale < 1 || t->m->cfg.branch_scale > 1)
        lane->op->scale(lane, dt, t->m->cfg.branch_scale, gr_lane_rows(lane, n), t->m->cfg.width);
    if (w)
        norm_bwd(lane, t, dt, which, dt, gr_mat_at(x, first, 0), r + first, w, n, false);
}

/* From the residual before the MLP, whose gradient through the norm dh is, to the attention. */
static void open_attention(gr_lane *lane, const gr_trainee *t, gr_mat dh, size_t r, size_t n)
{
    const struct pass *p = &t->p;
    const struct layer *l = p->l;
    const struct kept *s = p->s;

    norm_bwd(lane, t, gr_mat_at(t->dx, r, 0), MLP_NORM, dh, gr_mat_at(s->mid, r, 0), s->r2 + r, l->mlp_norm, n, true);
    branch_bwd(lane, t, t->dt1, ATTN_POST_NORM, s->t1, s->rt1, l->attn_post_norm, r, n);
    if (t->depth > TO_O)
        linear_dx(lane, p, GR_MAT_O, gr_mat_at(t->dout, r, 0), gr_mat_at(t->dt1, r, 0), r, gr_lane_rows(lane, n),
                  false);
}

/* What begins the way back of rows: dt2, the gradient behind the MLP or the experts, and h, which they saw. */
static void open_mlp(gr_lane *lane, const gr_trainee *t, size_t r, size_t n)
{
    const struct pass *p = &t->p;
    const struct kept *s = p->s;

    zero_partials(lane, t);
    branch_bwd(lane, t, t->dt2, MLP_POST_NORM, s->t2, s->rt2, p->l->mlp_post_norm, r, n);
    norm(lane, p, gr_mat_at(t->h, r, 0), gr_mat_at(s->mid, r, 0), p->l->mlp_norm, gr_lane_rows(lane, n));
}

static void mix_bwd(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const gr_trainee *t = arg;
    const struct pass *p = &t->p;
    const gr_config *c = &t->m->cfg;
    size_t F = c->hidden, M = gr_lane_rows(lane, n);
    gr_mat dh = gr_mat_at(t->dh, r, 0);
    gr_mat dgate = gr_mat_at(t->dgate, r, 0), dup = gr_mat_at(t->dup, r, 0), act = gr_mat_at(t->act, r, 0);
    gr_mat gate = gr_mat_at(p->s->gate, r, 0), up = gr_mat_at(p->s->up, r, 0);

    open_mlp(lane, t, r, n);
    if (t->depth > TO_DOWN) {
        linear_dx(lane, p, GR_MAT_DOWN, act, gr_mat_at(t->dt2, r, 0), r, M, false);
        (c->geglu ? lane->op->geglu_bwd : lane->op->swiglu_bwd)(lane, dgate, dup, act, gate, up, M, F);
    }
    (c->geglu ? lane->op->geglu_fwd : lane->op->swiglu_fwd)(lane, act, gate, up, M, F);     /* for down's weights */
    if (t->depth <= TO_GATE_UP)
        return;
    linear_dx(lane, p, GR_MAT_GATE, dh, dgate, r, M, false);
    linear_dx(lane, p, GR_MAT_UP, dh, dup, r, M, true);
    open_attention(lane, t, dh, r, n);
}

/* ---- Experts -------------------------------------------------------------------------------------- */

static void before_experts(void *arg, gr_lane *lane, size_t r, size_t n)
{
    open_mlp(lane, arg, r, n);
}

static void expert_piece(gr_lane *lane, const gr_trainee *t, const gr_slots *e)
{
    const struct pass *p = &t->p;
    const size_t *row = p->routed.row + e->at, *place = p->routed.place + e->at;
    size_t C = t->m->cfg.width, F = t->m->cfg.expert_hidden, M = gr_round_up(e->n, p->cut.unit), at = e->at;
    gr_mat dgate = gr_mat_at(t->e.dgate, at, 0), dup = gr_mat_at(t->e.dup, at, 0), act = gr_mat_at(t->e.act, at, 0);
    gr_mat gate = gr_mat_at(p->s->gate, at, 0), up = gr_mat_at(p->s->up, at, 0), dy = gr_mat_at(t->e.dy, at, 0);
    gr_mat d = t->depth > TO_DOWN ? gr_lane_scratch_of(lane, M, p->lde, p->type) : (gr_mat){ 0 }, dx;

    if (lane->rc)
        return;
    lane->op->gather(lane, dy, t->dt2, row, M, C);
    lane->op->gather(lane, gr_mat_at(t->e.x, at, 0), t->h, row, M, C);
    lane->op->swiglu_fwd(lane, act, gate, up, M, F);
    if (d.p)
        linear_dx(lane, p, gr_expert_matrix(e->expert, GR_MAT_DOWN), d, dy, at, M, false);
    lane->op->weigh(lane, d, dy, t->dw_chosen, act, p->s->weight, place, e->n, M, F, C);
    if (d.p)
        lane->op->swiglu_bwd(lane, dgate, dup, d, gate, up, M, F);
    if (t->depth <= TO_GATE_UP)
        return;
    dx = gr_lane_scratch_of(lane, M, C, p->type);
    if (lane->rc)
        return;
    linear_dx(lane, p, gr_expert_matrix(e->expert, GR_MAT_GATE), dx, dgate, at, M, false);
    linear_dx(lane, p, gr_expert_matrix(e->expert, GR_MAT_UP), dx, dup, at, M, true);
    lane->op->place(lane, p->y, dx, place, e->n, C);
}

static void expert_bwd(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;

    for (size_t i = first; i < first + n && !lane->rc; i++)
        expert_piece(lane, t, &t->p.routed.piece[i]);
}

/* What went back to the experts is theirs by now: dt2 becomes that of the shared expert's output. */
static void share_bwd(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const gr_trainee *t = arg;
    const struct pass *p = &t->p;
    size_t F = t->m->cfg.hidden, C = t->m->cfg.width, M = gr_lane_rows(lane, n);
    gr_mat dgate = gr_mat_at(t->dgate, r, 0), dup = gr_mat_at(t->dup, r, 0), act = gr_mat_at(t->act, r, 0);
    gr_mat gate = gr_mat_at(p->s->shared_gate, r, 0), up = gr_mat_at(p->s->shared_up, r, 0);
    gr_mat dy = gr_mat_at(t->dt2, r, 0), share = gr_mat_at(p->s->share, r, 0);
    gr_mat d = t->depth > TO_DOWN ? gr_lane_scratch_of(lane, M, p->ldf, p->type) : (gr_mat){ 0 };

    if (lane->rc)
        return;
    lane->op->swiglu_fwd(lane, act, gate, up, M, F);
    if (d.p)
        linear_dx(lane, p, GR_MAT_DOWN, d, dy, r, M, false);
    lane->op->zero(lane, gr_mat_at(t->dshare, r, 0), M, 2);
    lane->op->zero(lane, gr_mat_at(t->dz_share, r, 0), M, 2);
    lane->op->weigh(lane, d, dy, t->dshare, act, p->s->share, p->routed.first + r, n, M, F, C);
    if (d.p)
        lane->op->swiglu_bwd(lane, dgate, dup, d, gate, up, M, F);
    if (t->depth > TO_GATE_UP)
        lane->op->route_bwd(lane, gr_mat_at(t->dz_share, r, 0), gr_mat_at(t->dshare, r, 0), share,
                            p->routed.both + 2 * r, share, n, 2, 2, false);
}

static void route_bwd(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const gr_trainee *t = arg;
    const struct pass *p = &t->p;
    const gr_config *c = &t->m->cfg;
    const struct kept *s = p->s;
    size_t k = c->chosen, M = gr_lane_rows(lane, n), C = c->width;
    gr_mat dh = gr_mat_at(t->dh, r, 0), dz = gr_mat_at(t->dz, r, 0);

    lane->op->zero(lane, dh, M, C);
    lane->op->zero(lane, gr_mat_at(dz, n, 0), M - n, c->experts);
    for (size_t j = 0; j < k; j++)          /* of a row every k-th is its j-th */
        lane->op->add(lane, dh, dh, gr_mat_of(gr_mat_at(p->y, r * k + j, 0).p, k * C, p->type), n, C);
    lane->op->route_bwd(lane, dz, gr_mat_at(t->dw_chosen, r, 0), gr_mat_at(s->prob, r, 0), s->chosen + r * k,
                        gr_mat_at(s->weight, r, 0), n, c->experts, k, c->norm_chosen);
    linear_dx(lane, p, GR_MAT_ROUTER, dh, dz, r, M, true);
    if (gr_config_shares(c, p->layer)) {
        linear_dx(lane, p, GR_MAT_GATE, dh, gr_mat_at(t->dgate, r, 0), r, M, true);
        linear_dx(lane, p, GR_MAT_UP, dh, gr_mat_at(t->dup, r, 0), r, M, true);
        linear_dx(lane, p, GR_MAT_SHARED, dh, gr_mat_at(t->dz_share, r, 0), r, M, true);
    }
    open_attention(lane, t, dh, r, n);
}

static void experts_bwd(gr_trainee *t)
{
    struct pass *p = &t->p;

    gr_pass_group(p);
    gr_device_run(t->d, p->rows, p->cut, before_experts, t);
    gr_pass_run_experts(p, expert_bwd, t);
    if (gr_config_shares(&t->m->cfg, p->layer))
        gr_device_run(t->d, p->rows, p->cut, share_bwd, t);
    if (t->depth > TO_GATE_UP)
        gr_device_run(t->d, p->rows, p->cut, route_bwd, t);
}

/* ---- Weights -------------------------------------------------------------------------------------- */

struct dw_set { gr_trainee *t; const struct dw *each; size_t n; };

/* How many outputs a task has. */
static size_t slice_of(const gr_trainee *t, size_t which)
{
    return t->p.by && !gr_matrix_weighs(which) ? GR_DW_HALVES : SLICE;
}

static void weight_slices(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct dw_set *set = arg;
    const struct pass *p = &set->t->p;
    const size_t *begin = set->t->dw_first;

    for (size_t task = first, next; task < first + n; task = next) {
        size_t i = 0, end = set->n, O, K, o, to, rows, slice;
        const struct dw *d;
        while (i + 1 < end) {               /* the last that begins at or before it */
            size_t mid = (i + end) / 2;
            if (begin[mid] <= task)
                i = mid;
            else
                end = mid;
        }
        d = &set->each[i];
        next = gr_min(first + n, begin[i + 1]);
        gr_matrix_shape(&p->m->cfg, d->which, &O, &K);
        slice = slice_of(set->t, d->which);
        o = (task - begin[i]) * slice;
        rows = gr_round_up(d->M, p->cut.unit);
        to = gr_min((next - begin[i]) * slice, O);
        if (slice == GR_DW_HALVES)
            gr_linear_dw_halves(lane, p->by, gr_mat_f32(d->g, K), d->dy, d->x, rows, K, o, to);
        else
            gr_linear_dw(lane, gr_mat_f32(d->g, K), d->dy, d->x, rows, K, o, to);
        if (d->bias && o == 0)
            gr_linear_db(lane, d->bias, d->dy, d->M, O);
    }
}

/* Whether dx was made of a matrix's dy, and with it du. */
static bool went_through(const gr_trainee *t, size_t which)
{
    static const enum depth last_without[GR_MATRICES] = { TO_QKV, TO_QKV, TO_QKV, TO_O, TO_GATE_UP, TO_GATE_UP,
                                                          TO_DOWN };

    return which < GR_MATRICES && t->depth > last_without[which];
}

/* With LoRA a piece of rows has its share of dA and dB of each matrix. */
static void adapter_share(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const struct dw_set *set = arg;
    const struct pass *p = &set->t->p;
    float *share = set->t->share + lane->piece * set->t->lora_floats;
    bool shares = gr_config_shares(&set->t->m->cfg, p->layer);
    size_t M = gr_lane_rows(lane, n);

    for (size_t i = 0; i < set->n; i++) {
        const struct dw *d = &set->each[i];
        const struct lora_pair *a = pair(p->lora, p->layer, d->which);
        gr_mat x, u, du;
        size_t O, K, mark = gr_lane_mark(lane);
        if (!a)
            continue;
        x = gr_pass_dropped(lane, p, d->which, gr_mat_at(d->x, r, 0), gr_pass_keys(p, r), M);
        u = gr_pass_kept(p->s->u, d->which, r);
        du = went_through(set->t, d->which) && !(shares && d->which == GR_MAT_DOWN)     /* dy was weighed after it */
                 ? gr_pass_kept(p->du, d->which, r) : (gr_mat){ 0 };
        gr_matrix_shape(&p->m->cfg, d->which, &O, &K);
        lane->op->zero(lane, gr_mat_f32(share, a->rank * (K + O)), 1, a->rank * (K + O));
        gr_lora_dw(lane, a, gr_mat_f32(share, K), gr_mat_f32(share + a->rank * K, O), gr_mat_at(d->dy, r, 0), x,
                   u, du, M);
        share += a->rank * (K + O);
        gr_lane_give_back(lane, mark);
    }
}

/* y += x of n numbers that are no rows. */
static void add(gr_lane *lane, float *y, const float *x, size_t n)
{
    lane->op->add(lane, gr_mat_f32(y, n), gr_mat_f32(y, n), gr_mat_f32(x, n), 1, n);
}

/* The shares of the pieces, in their order. */
static void add_shares(void *arg, gr_lane *lane, size_t first, size_t pieces)
{
    const struct dw_set *set = arg;
    const gr_trainee *t = set->t;
    const struct pass *p = &t->p;
    size_t at = 0;

    (void)first;
    for (size_t i = 0; i < set->n; i++) {
        const struct dw *d = &set->each[i];
        const struct lora_pair *a = pair(p->lora, p->layer, d->which);
        size_t O, K;
        gr_matrix_shape(&t->m->cfg, d->which, &O, &K);
        for (size_t b = 0; b < pieces && a; b++) {
            float *const *g = t->g[p->layer].lora[d->which];
            const float *share = t->share + b * t->lora_floats + at;
            add(lane, g[0], share, a->rank * K);
            add(lane, g[1], share + a->rank * K, a->rank * O);
        }
        at += a ? a->rank * (K + O) : 0;
    }
}

/* The n gradients at each, of rows that all are the pass's. */
static void weights(gr_trainee *t, const struct dw *each, size_t n)
{
    struct dw_set set = { t, each, n };

    if (t->lora) {
        gr_device_run(t->d, t->p.rows, t->p.cut, adapter_share, &set);
        gr_device_once(t->d, add_shares, &set, gr_device_pieces(t->d, t->p.rows, t->p.cut));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t O, K, slice;
        gr_matrix_shape(&t->m->cfg, each[i].which, &O, &K);
        slice = slice_of(t, each[i].which);
        t->dw_first[i + 1] = t->dw_first[i] + (O + slice - 1) / slice;
    }
    gr_device_run(t->d, t->dw_first[n], GR_CUT_ONE, weight_slices, &set);
}

/* The adapters of an expert see all of its rows at once. Gate and up may have one A: one after the other. */
static void adapters_of_expert(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct dw_set *set = arg;
    const struct pass *p = &set->t->p;
    const gr_mat none = { 0 };              /* what pieces of them gave is not kept */

    for (size_t i = 3 * first; i < 3 * (first + n) && !lane->rc; i++) {
        const struct dw *d = &set->each[i];
        const gr_slots *e = &p->routed.whole[i / 3];
        const struct lora_pair *a = pair(p->lora, p->layer, d->which);
        size_t O, K, M = gr_round_up(d->M, p->cut.unit), mark = gr_lane_mark(lane);
        if (!a)
            continue;
        gr_matrix_shape(&p->m->cfg, d->which, &O, &K);
        gr_lora_dw(lane, a, gr_mat_f32(set->t->g[p->layer].lora[d->which][0], K),
                   gr_mat_f32(set->t->g[p->layer].lora[d->which][1], O), d->dy,
                   gr_pass_dropped(lane, p, d->which, d->x, p->routed.key + e->at, M), none, none, M);
        gr_lane_give_back(lane, mark);
    }
}

/* Gate, up and down of each expert that has rows; then the router and the output projection. */
static void weights_of_experts(gr_trainee *t)
{
    const struct pass *p = &t->p;
    const struct grads *g = &t->g[p->layer];
    size_t n = 3 * p->routed.wholes;

    for (size_t i = 0; i < p->routed.wholes; i++) {
        const gr_slots *e = &p->routed.whole[i];
        const gr_mat x = gr_mat_at(t->e.x, e->at, 0);
        size_t gate = gr_expert_matrix(e->expert, GR_MAT_GATE);
        struct dw *d = &t->dw[3 * i];
        d[0] = (struct dw){ g->mat[gate], NULL, gr_mat_at(t->e.dgate, e->at, 0), x, gate, e->n };
        d[1] = (struct dw){ g->mat[gate + 1], NULL, gr_mat_at(t->e.dup, e->at, 0), x, gate + 1, e->n };
        d[2] = (struct dw){ g->mat[gate + 2], NULL, gr_mat_at(t->e.dy, e->at, 0), gr_mat_at(t->e.act, e->at, 0),
                            gate + 2, e->n };
    }
    if (t->lora) {
        gr_device_run(t->d, p->routed.wholes, GR_CUT_ONE, adapters_of_expert, &(struct dw_set){ t, t->dw, n });
        n = 0;
    }
    t->dw[n++] = (struct dw){ g->mat[GR_MAT_ROUTER], NULL, t->dz, t->h, GR_MAT_ROUTER, p->rows };
    t->dw[n++] = (struct dw){ g->mat[GR_MAT_O], g->bias[3], t->dt1, p->s->o, GR_MAT_O, p->rows };
    if (gr_config_shares(&t->m->cfg, p->layer)) {
        t->dw[n++] = (struct dw){ g->mat[GR_MAT_GATE], NULL, t->dgate, t->h, GR_MAT_GATE, p->rows };
        t->dw[n++] = (struct dw){ g->mat[GR_MAT_UP], NULL, t->dup, t->h, GR_MAT_UP, p->rows };
        t->dw[n++] = (struct dw){ g->mat[GR_MAT_DOWN], NULL, t->dt2, t->act, GR_MAT_DOWN, p->rows };
        t->dw[n++] = (struct dw){ g->mat[GR_MAT_SHARED], NULL, t->dz_share, t->h, GR_MAT_SHARED, p->rows };
    }
    weights(t, t->dw, n);
}

static void attend_dq(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;

    lane->op->attn_dq(lane, &t->p.attn, first, n);
}

static void attend_dkv(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;

    lane->op->attn_dkv(lane, &t->p.attn, first, n);
}

static void attend_bwd(gr_trainee *t)
{
    gr_attn_pass *a = &t->p.attn;
    const gr_seen *seen = t->p.kv ? &t->seen : &t->want_seen;

    a->dq = t->dq;
    a->dk = t->dk;
    a->dv = t->dv;
    a->dout = t->dout;
    a->delta = t->delta;
    a->key_run = t->plan.run;
    a->key_runs = t->plan.runs;
    a->seen_from = seen->from;
    a->seen = seen->run;
    gr_device_run(t->d, a->runs * a->kv_heads, GR_CUT_ONE, attend_dq, t);
    gr_device_run(t->d, a->key_runs * a->kv_heads, GR_CUT_ONE, attend_dkv, t);
}

/* Back through rope and the head norm, in place on dx; the norm's share goes to `which` of the partials. */
static void norm_and_rotate_bwd(gr_lane *lane, const gr_trainee *t, gr_mat dx, gr_mat x0, const float *r_of,
                                const float *w, size_t which, size_t H, size_t r, size_t n)
{
    const gr_config *c = &t->m->cfg;
    size_t D = c->head_dim;
    size_t parts = c->qk_norm_wide ? 1 : H, wide = H * D / parts;
    const gr_norm norm = norm_of(c, w, wide);
    gr_mat d = gr_mat_at(dx, r, 0), x = gr_mat_at(x0, r, 0), heads = gr_mat_of(d.p, wide, d.type);

    if (rotates(&t->p))
        lane->op->rope_bwd(lane, d, t->p.angle + r, table_of(&t->p), n, H, D, c->rope_dim, c->rope_interleaved);
    if (w)
        lane->op->rmsnorm_bwd(lane, heads, partial(t, lane->piece, which), heads, gr_mat_of(x.p, wide, x.type),
                              r_of + r * parts, &norm, n * parts, false);
}

static void project_bwd(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const gr_trainee *t = arg;
    const struct pass *p = &t->p;
    const gr_config *c = &t->m->cfg;
    const struct kept *s = p->s;
    size_t M = gr_lane_rows(lane, n);
    gr_mat dh = gr_mat_at(t->dh, r, 0), x = gr_mat_at(p->x, r, 0);

    if (!p->qo)                                     /* otherwise mix_bwd() did */
        zero_partials(lane, t);
    if (p->qo)
        norm_and_rotate_bwd(lane, t, t->dq, s->q0, s->rq, p->l->q_norm, Q_NORM, c->heads, r, n);
    if (p->kv)
        norm_and_rotate_bwd(lane, t, t->dk, s->k0, s->rk, p->l->k_norm, K_NORM, c->kv_heads, r, n);
    norm(lane, p, gr_mat_at(t->h, r, 0), x, p->l->attn_norm, M);
    if (t->depth < THROUGH)
        return;
    if (p->qo)
        linear_dx(lane, p, GR_MAT_Q, dh, gr_mat_at(t->dq, r, 0), r, M, false);
    if (p->kv) {
        linear_dx(lane, p, GR_MAT_K, dh, gr_mat_at(t->dk, r, 0), r, M, p->qo);
        linear_dx(lane, p, GR_MAT_V, dh, gr_mat_at(t->dv, r, 0), r, M, true);
    }
    norm_bwd(lane, t, gr_mat_at(t->dx, r, 0), ATTN_NORM, dh, x, p->r_x + r, p->l->attn_norm, n, true);
}

/* The pieces' shares of the norms' gradients, in the order of the pieces. */
static void add_partials(void *arg, gr_lane *lane, size_t first, size_t pieces)
{
    const gr_trainee *t = arg;
    const struct grads *g = &t->g[t->p.layer];
    float *to[] = { g->attn_norm, g->attn_post_norm, g->mlp_norm, g->mlp_post_norm, g->q_norm, g->k_norm };
    const gr_config *c = &t->m->cfg;
    const size_t size[] = { c->width, c->width, c->width, c->width, q_norm_size(c), k_norm_size(c) };

    (void)first;
    for (size_t b = 0; b < pieces; b++)
        for (size_t i = 0; i < GR_COUNT(to); i++)
            if (to[i])
                add(lane, to[i], partial(t, b, i), size[i]);
}

static void norm_gradients(gr_trainee *t)
{
    if (!t->lora)
        gr_device_once(t->d, add_partials, t, gr_device_pieces(t->d, t->p.rows, t->p.cut));
}

/* Moves dx of the wanted rows to their places among all, by way of the residual after the last layer: it was used. */
static void scatter(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;
    size_t C = t->m->cfg.width;

    (void)first;
    lane->op->copy(lane, t->p.end, t->dx, n, C);
    lane->op->zero(lane, t->dx, t->rows, C);
    lane->op->scatter(lane, t->dx, t->p.end, t->plan.want, n, C);
}

/* Below the lowest adapter there is nothing to learn. Every layer has the same adapters. */
static enum depth depth_of(const gr_trainee *t, size_t layer)
{
    unsigned targets = t->lora ? t->lora->spec.targets : 0;

    if (!t->lora || layer > 0)
        return THROUGH;
    if (targets & (1u << GR_MAT_Q | 1u << GR_MAT_K | 1u << GR_MAT_V))
        return TO_QKV;
    if (targets & (1u << GR_MAT_O | 1u << GR_MAT_ROUTER | 1u << GR_MAT_SHARED))
        return TO_O;
    return targets & (1u << GR_MAT_GATE | 1u << GR_MAT_UP) ? TO_GATE_UP : TO_DOWN;
}

static void mlp_backward(gr_trainee *t)
{
    struct pass *p = &t->p;
    const struct grads *g = &t->g[p->layer];

    if (gr_config_sparse(&t->m->cfg, p->layer)) {
        experts_bwd(t);
        weights_of_experts(t);
        return;
    }
    gr_device_run(t->d, p->rows, p->cut, mix_bwd, t);
    weights(t, (const struct dw[]){ { g->mat[GR_MAT_GATE], NULL, t->dgate, t->h, GR_MAT_GATE, p->rows },
                                    { g->mat[GR_MAT_UP], NULL, t->dup, t->h, GR_MAT_UP, p->rows },
                                    { g->mat[GR_MAT_DOWN], NULL, t->dt2, t->act, GR_MAT_DOWN, p->rows },
                                    { g->mat[GR_MAT_O], g->bias[3], t->dt1, p->s->o, GR_MAT_O, p->rows } }, 4);
}

/* Of q, k and v the n from `first` on get their gradients. */
static void weights_of_qkv(gr_trainee *t, size_t first, size_t n)
{
    const struct grads *g = &t->g[t->p.layer];
    const struct dw qkv[] = { { g->mat[GR_MAT_Q], g->bias[0], t->dq, t->h, GR_MAT_Q, t->p.rows },
                              { g->mat[GR_MAT_K], g->bias[1], t->dk, t->h, GR_MAT_K, t->p.rows },
                              { g->mat[GR_MAT_V], g->bias[2], t->dv, t->h, GR_MAT_V, t->p.rows } };

    weights(t, qkv + first, n);
}

static void layer_backward(gr_trainee *t, size_t layer)
{
    struct pass *p = &t->p;

    if (layer + 1 < t->recomputed) {                /* what the last of them left is still there */
        p->again = true;
        gr_pass_layer(p, layer);
        p->again = false;
    }
    gr_pass_enter(p, layer);
    t->depth = depth_of(t, layer);
    gr_pass_stage(p, GR_STAGE_DX);
    mlp_backward(t);
    if (t->depth < TO_QKV)
        return;
    attend_bwd(t);
    gr_device_run(t->d, p->rows, p->cut, project_bwd, t);
    if (p->kv)
        weights_of_qkv(t, 0, 3);
    else {
        weights_of_qkv(t, 0, 1);
        norm_gradients(t);
        gr_device_once(t->d, scatter, t, t->plan.n_want);
        gr_pass_enter_keys(p);
        gr_pass_stage(p, GR_STAGE_DX);
        gr_device_run(t->d, p->rows, p->cut, project_bwd, t);
        weights_of_qkv(t, 1, 2);
    }
    norm_gradients(t);
}

/* Some columns of the embeddings' gradient. A token may occur in many rows, so rows are added in order. */
static void embed_bwd(void *arg, gr_lane *lane, size_t task, size_t n)
{
    gr_trainee *t = arg;
    size_t C = t->m->cfg.width, first = task * SLICE, end = gr_min((task + n) * SLICE, C);

    lane->op->unembed(lane, gr_mat_at(gr_mat_f32(t->g_embed, C), 0, first), gr_mat_at(t->dx, 0, first), t->plan.token,
                      t->m->cfg.embed_scale, t->plan.rows, end - first);
}

static void zero_from(gr_lane *lane, gr_mat x, size_t rows, size_t all)
{
    lane->op->zero(lane, gr_mat_at(x, rows, 0), all - rows, x.ld);
}

/* Padding rows have no gradient, and keep none. Rows may be asked for more than once: one at a time. */
static void final_norm_bwd(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_trainee *t = arg;
    size_t C = t->m->cfg.width, rows = t->plan.rows;
    const gr_norm norm = norm_of(&t->m->cfg, t->m->final_norm, C);

    (void)first;
    lane->op->zero(lane, t->dx, t->rows, C);
    zero_from(lane, t->dq, t->p.narrow ? n : rows, t->rows);
    zero_from(lane, t->dk, rows, t->rows);
    zero_from(lane, t->dv, rows, t->rows);
    for (size_t i = 0; i < n; i++)
        lane->op->rmsnorm_bwd(lane, gr_mat_at(t->dx, t->p.narrow ? i : t->plan.want[i], 0), t->g_final,
                              gr_mat_f32(t->dhidden + i * C, C), gr_mat_at(t->xf, i, 0), t->rf + i, &norm, 1, true);
}

void gr_trainee_zero_bucket(gr_trainee *t)
{
    gr_device_zero(t->d, t->bucket, t->bucket_floats * sizeof *t->bucket);
}

gram_status gr_trainee_backward(gr_trainee *t, const float *dhidden, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, n = t->plan.n_want;
    const void *held;
    gram_status rc, waited;

    gr_trainee_put_score(t);
    if (t->head_only)
        return GRAM_OK;
    rc = t->watch.begin ? t->watch.begin(t->watch.arg, err) : GRAM_OK;
    if (!rc)
        rc = gr_device_hold(t->d, &held, dhidden, n * C * sizeof *dhidden, err);
    if (rc)
        return rc;
    t->dhidden = held;
    gr_device_once(t->d, final_norm_bwd, t, n);
    for (size_t i = c->layers; i-- > 0 && !rc; ) {
        layer_backward(t, i);
        if (!t->watch.layer)
            continue;
        rc = t->watch.layer(t->watch.arg, i, err);
        gr_trainee_zero_bucket(t);
    }
    gr_pass_unstage(&t->p);
    if (t->g_embed)
        gr_device_run(t->d, (C + SLICE - 1) / SLICE, GR_CUT_ONE, embed_bwd, t);
    waited = gr_device_wait(t->d, rc ? NULL : err);
    gr_device_drop(t->d, held);
    return rc ? rc : waited;
}
