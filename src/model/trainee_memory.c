/* trainee_memory.c - one piece of memory for all that a step keeps of its rows, and where in it what lies. */
#include <stdlib.h>
#include "base/err.h"
#include "model/trainee_int.h"

enum { STAGED = 256 };          /* rows from which on there is room to lay weights out */

/* Hands out n floats of the memory that starts at base; NULL only counts. */
static float *take(float *base, size_t *used, size_t n)
{
    float *p = base ? base + *used : NULL;

    *used += gr_round_up(n, GR_ALIGN / sizeof(float));
    return p;
}

static gr_mat take_rows(float *base, size_t *used, size_t rows, size_t cols)
{
    return gr_mat_f32(take(base, used, rows * cols), cols);
}

/* Rows between products. */
static gr_mat take_acts(const gr_trainee *t, float *base, size_t *used, size_t rows, size_t cols)
{
    size_t bytes = rows * cols * gr_dtype_bytes(t->p.type);

    return gr_mat_of(take(base, used, (bytes + sizeof *base - 1) / sizeof *base), cols, t->p.type);
}

static size_t slots_of(const gr_trainee *t, size_t R)
{
    return gr_routed_slots(R, t->m->cfg.experts, t->m->cfg.chosen, t->p.cut.unit);
}

/* What the gated MLP leaves, or the experts do. */
static void carve_mlp(const gr_trainee *t, struct kept *k, float *base, size_t *used, size_t R, bool sparse)
{
    const gr_config *c = &t->m->cfg;
    size_t rows = sparse ? slots_of(t, R) : R, ld = sparse ? t->p.lde : t->p.ldf;

    k->gate = take_acts(t, base, used, rows, ld);
    k->up = take_acts(t, base, used, rows, ld);
    if (!sparse)
        return;
    if (gr_config_has(c, GR_HAS_SHARED)) {
        k->shared_gate = take_acts(t, base, used, R, t->p.ldf);
        k->shared_up = take_acts(t, base, used, R, t->p.ldf);
        k->share = take_rows(base, used, R, 2);
    }
    k->prob = take_rows(base, used, R, c->experts);
    k->weight = take_rows(base, used, R, c->chosen);
}

/* What the adapters' A give. alone: the layer shares its place with no other. A layer that is recomputed for its
 * backward pass stops before `down`. */
static void carve_adapters(const gr_trainee *t, gr_mat u[GR_MATRICES], float *base, size_t *used, size_t R, bool sparse,
                           bool alone)
{
    bool mlp = !sparse || gr_config_has(&t->m->cfg, GR_HAS_SHARED);
    size_t end = !mlp ? GR_MAT_GATE : alone ? GR_MATRICES : GR_MAT_DOWN;

    for (size_t i = 0; i < end; i++)
        if (t->lora && t->lora->spec.targets >> i & 1)
            u[i] = take_rows(base, used, R, t->lora->spec.rank);
}

/* Lays out all of a layer but its input. */
static struct kept carve_kept(const gr_trainee *t, float *base, size_t *used, size_t R, bool sparse, bool alone)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    struct kept k = { 0 };

    k.r1 = take(base, used, R);
    k.q = take_acts(t, base, used, R, q);
    k.k = take_acts(t, base, used, R, kv);
    k.v = take_acts(t, base, used, R, kv);
    k.q0 = c->qk_norm ? take_acts(t, base, used, R, q) : k.q;
    k.k0 = c->qk_norm ? take_acts(t, base, used, R, kv) : k.k;
    k.rq = take(base, used, R * c->heads);
    k.rk = take(base, used, R * c->kv_heads);
    k.o = take_acts(t, base, used, R, q);
    k.lse = take(base, used, R * c->heads);
    k.mid = take_rows(base, used, R, C);
    k.r2 = take(base, used, R);
    carve_mlp(t, &k, base, used, R, sparse);
    if (c->sandwich_norms) {
        k.t1 = take_acts(t, base, used, R, C);
        k.rt1 = take(base, used, R);
        k.t2 = take_acts(t, base, used, R, C);
        k.rt2 = take(base, used, R);
    }
    carve_adapters(t, k.u, base, used, R, sparse, alone);
    return k;
}

/* How many floats it takes to lay out the weights of any layer. */
static size_t stage_floats(const gr_trainee *t)
{
    size_t bytes = 0;

    for (size_t i = 0; i < t->m->cfg.layers; i++) {
        gr_linear *all[GR_MATRICES];
        size_t n = 0;
        for (size_t k = 0; k < GR_MATRICES; k++)
            if (matrix(&t->m->layer[i], k))
                all[n++] = matrix(&t->m->layer[i], k);
        bytes = gr_max(bytes, gr_stage_bytes(all, n));
        if (!t->m->steps)
            continue;
        gr_pass_by(t->m, &t->m->layer[i], t->m->steps);     /* and some passes are float32's */
        bytes = gr_max(bytes, gr_stage_bytes(all, n));
        gr_pass_by(t->m, &t->m->layer[i], GR_BY_F32);
    }
    return bytes / sizeof(float);
}

/* What the layers that are recomputed share: all of them the attention's, and those of a kind the MLP's. */
struct shared { struct kept kept[2]; bool there[2]; };

static const struct kept *shared_kept(const gr_trainee *t, struct shared *s, float *base, size_t *used, size_t R,
                                      bool sparse)
{
    struct kept *k = &s->kept[sparse];

    if (!s->there[sparse] && s->there[!sparse]) {
        *k = s->kept[!sparse];
        carve_mlp(t, k, base, used, R, sparse);
    } else if (!s->there[sparse]) {
        *k = carve_kept(t, base, used, R, sparse, false);
    }
    s->there[sparse] = true;
    return k;
}

/* What the backward pass of experts needs. */
static void carve_experts(gr_trainee *t, float *base, size_t *used, size_t R)
{
    const gr_config *c = &t->m->cfg;
    size_t slots = slots_of(t, R);

    if (!c->experts)
        return;
    t->p.h = take_acts(t, base, used, R, c->width);
    t->p.y = take_acts(t, base, used, R * c->chosen, c->width);
    t->dz = take_rows(base, used, R, c->experts);
    t->dw_chosen = take_rows(base, used, R, c->chosen);
    t->dshare = take_rows(base, used, R, 2);
    t->dz_share = take_rows(base, used, R, 2);
    t->e.dgate = take_acts(t, base, used, slots, t->p.lde);
    t->e.dup = take_acts(t, base, used, slots, t->p.lde);
    t->e.act = take_acts(t, base, used, slots, t->p.lde);
    t->e.dy = take_acts(t, base, used, slots, c->width);
    t->e.x = take_acts(t, base, used, slots, c->width);
}

static size_t carve(gr_trainee *t, float *base, size_t R)
{
    const gr_config *c = &t->m->cfg;
    size_t C = c->width, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim, ldf = t->p.ldf, used = 0;
    size_t pieces = gr_device_pieces(t->d, R, t->p.cut);
    struct shared shared = { 0 };

    for (size_t i = 0; i < c->layers; i++) {
        bool sparse = gr_config_sparse(c, i);
        t->p.kept[i] = i >= t->recomputed ? carve_kept(t, base, &used, R, sparse, true) :
                       *shared_kept(t, &shared, base, &used, R, sparse);
        t->p.kept[i].chosen = sparse && t->chosen ? t->chosen + i * R * c->chosen : NULL;
        t->p.kept[i].x = take_rows(base, &used, R, C);
    }
    t->p.end = take_rows(base, &used, R, C);
    t->p.wanted.x = take_rows(base, &used, R, C);
    t->p.wanted.r = take(base, &used, R);
    t->xf = take_rows(base, &used, R, C);
    t->rf = take(base, &used, R);
    t->hidden = take_rows(base, &used, R, C);
    t->dx = take_rows(base, &used, R, C);
    t->dh = take_acts(t, base, &used, R, C);
    t->dt1 = take_acts(t, base, &used, R, C);
    t->dt2 = take_acts(t, base, &used, R, C);
    t->h = take_acts(t, base, &used, R, C);
    t->dgate = take_acts(t, base, &used, R, ldf);
    t->dup = take_acts(t, base, &used, R, ldf);
    t->act = take_acts(t, base, &used, R, ldf);
    t->dq = take_acts(t, base, &used, R, q);
    t->dk = take_acts(t, base, &used, R, kv);
    t->dv = take_acts(t, base, &used, R, kv);
    t->dout = take_acts(t, base, &used, R, q);
    t->delta = take(base, &used, R * c->heads);
    carve_adapters(t, t->p.du, base, &used, R, false, true);
    carve_experts(t, base, &used, R);
    t->partial = take(base, &used, t->lora ? 0 : pieces * PARTIALS(c));
    t->share = take(base, &used, pieces * t->lora_floats);
    t->p.room = take(base, &used, R >= STAGED ? stage_floats(t) : 0);
    t->p.attn.lse_rows = R;
    return used;
}

/* Where only steps round, rows that are judged, in float32, take more. */
uint64_t gr_trainee_bytes(gr_trainee *t, size_t rows)
{
    size_t R = gr_round_up(rows, t->p.cut.unit);
    gr_dtype now = t->p.type;
    uint64_t floats;

    t->p.type = gr_model_rows(t->m);
    floats = carve(t, NULL, R);
    t->p.type = now;
    if (t->memory)
        carve(t, t->memory, t->rows);       /* counting moved what points into it */
    return floats * sizeof *t->memory + t->m->cfg.layers * R * t->m->cfg.chosen * sizeof *t->chosen +
           2 * R * (sizeof *t->key + sizeof *t->plan.run);     /* a run a row at most */
}

/* What steps and what rows that are judged have between products: the former round where the model's steps do. */
static gr_dtype type_of(const gr_trainee *t)
{
    return t->p.by == GR_BY_BF16 ? gr_linear_rows(t->d, GR_LINEAR_ROUNDED) : gr_model_rows(t->m);
}

static gram_status take_memory(gr_trainee *t, size_t rows, size_t floats, gram_err *err)
{
    const gr_config *c = &t->m->cfg;
    void *memory = NULL;
    gram_status rc;

    gr_trainee_clear_rows(t);
    rc = c->experts ? gr_routed_reserve(&t->p.routed, rows, c->experts, c->chosen, t->p.cut, err) : GRAM_OK;
    if (rc)
        return rc;
    if (floats <= SIZE_MAX / sizeof *t->memory)
        gr_device_alloc(t->d, &memory, floats * sizeof *t->memory, NULL);
    t->memory = memory;
    t->key = gr_calloc(2 * rows, sizeof *t->key);
    t->chosen = c->experts ? gr_calloc(c->layers * rows * c->chosen, sizeof *t->chosen) : NULL;
    if (!t->memory || !t->key || (c->experts && !t->chosen)) {
        gr_trainee_clear_rows(t);
        return gr_fail(err, GRAM_ENOMEM, "training: out of memory for the activations of %zu rows", rows);
    }
    t->rows = rows;
    t->floats = floats;
    return GRAM_OK;
}

gram_status gr_trainee_reserve(gr_trainee *t, size_t need, gram_err *err)
{
    size_t rows = gr_round_up(need, t->p.cut.unit), floats;
    gram_status rc;

    if (rows <= t->rows && t->p.type == type_of(t))
        return GRAM_OK;
    rows = gr_max(rows, t->rows);
    t->p.type = type_of(t);
    floats = carve(t, NULL, rows);
    rc = rows > t->rows || floats > t->floats ? take_memory(t, rows, floats, err) : GRAM_OK;
    if (rc)
        return rc;
    gr_device_zero(t->d, t->memory, floats * sizeof *t->memory);    /* padding rows hold finite numbers */
    carve(t, t->memory, rows);
    return GRAM_OK;
}

void gr_trainee_clear_rows(gr_trainee *t)
{
    gr_device_free(t->d, t->memory);
    free(t->key);
    free(t->chosen);
    gr_routed_clear(&t->p.routed);
    t->memory = NULL;
    t->key = NULL;
    t->chosen = NULL;
    t->rows = t->floats = 0;
}
