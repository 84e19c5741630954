/* forward.c - scores: packed rows through the layers, which keep nothing.
 *
 * Only x, q, k, v and o are as long as the batch. The number of rows in a piece, the threads and the order of the work
 * change no bit: every kernel's result for a row depends on that row alone. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/pass_int.h"

struct gr_work {
    struct pass p;
    gr_rows_way way;
    struct kept one;            /* what every layer uses in its turn */
    gr_plan plan;
    bool ready;                 /* the weights are, for this way */
    bool lays;                  /* weights are laid out for many passes */
    size_t rows;                /* capacity, whole units */
    void *memory;               /* on the device */
    void *room;                 /* of a view of what is asked for */
};

/* In scratch a piece's row has h and t, gate and up: so many floats. */
static size_t scratch_row(const gr_config *c)
{
    return 2 * c->width + 2 * gr_config_most_hidden(c);
}

static gr_cut cut_of(const gr_device *d, const gr_config *c, gr_rows_way way)
{
    return gr_linear_cut(d, way, scratch_row(c) * sizeof(float));
}

/* Bytes of a row of the batch: x and those asked for, q and o, k and v; of experts what they see, what comes back of
 * each that is chosen, and its weight. */
static size_t batch_row(const gr_config *c, gr_dtype type)
{
    size_t wide = 2 * c->width + (c->experts ? c->chosen : 0);
    size_t rows = 2 * c->heads * c->head_dim + 2 * c->kv_heads * c->head_dim +
                  (c->experts ? c->width + c->chosen * c->width : 0);

    return wide * sizeof(float) + rows * gr_dtype_bytes(type);
}

uint64_t gr_config_work_bytes(const gr_config *c, size_t rows, size_t threads, gr_dtype type)
{
    gr_cut cut = cut_of(NULL, c, GR_ROWS_ALIKE);

    return (uint64_t)gr_round_up(rows, cut.unit) * batch_row(c, type) +
           (uint64_t)threads * cut.most * scratch_row(c) * gr_dtype_bytes(type);
}

gr_dtype gr_model_rows(const gr_model *m)
{
    return gr_linear_rows(m->on, m->mode);
}

gram_status gr_model_kv_open(gr_kv_tree **out, const gr_model *m, gr_device *d, size_t limit, gram_err *err)
{
    const gr_config *c = &m->cfg;

    return gr_kv_open(out, d, c->layers, c->kv_heads * c->head_dim, gr_model_rows(m), limit, err);
}

gram_status gr_work_open(gr_work **out, const gr_model *m, gr_lora *lora, gr_rows_way way, gr_device *d,
                         gram_err *err)
{
    gr_work *w = gr_calloc(1, sizeof *w);
    gram_status rc;

    *out = NULL;
    if (!w)
        return gr_nomem(err, "forward pass");
    w->p = (struct pass){ .m = m, .lora = lora, .d = d, .cut = cut_of(d, &m->cfg, way), .plan = &w->plan,
                         .kept = &w->one, .type = gr_model_rows(m), .narrow = true, .ldf = m->cfg.hidden,
                         .lde = m->cfg.expert_hidden };
    w->way = way;
    rc = gr_device_reserve(d, gr_pass_scratch(&w->p, w->p.cut.most), err);
    if (rc) {
        gr_work_close(w);
        return rc;
    }
    *out = w;
    return GRAM_OK;
}

void gr_work_close(gr_work *w)
{
    if (!w)
        return;
    gr_device_free(w->p.d, w->memory);
    free(w->room);
    free(w->p.marks);
    gr_pass_clear(&w->p);
    free(w->one.chosen);
    gr_routed_clear(&w->p.routed);
    gr_plan_clear(&w->plan);
    free(w);
}

const gr_config *gr_work_config(const gr_work *w)
{
    return &w->p.m->cfg;
}

const gr_model *gr_work_model(const gr_work *w)
{
    return w->p.m;
}

gr_device *gr_work_device(const gr_work *w)
{
    return w->p.d;
}

gr_rows_way gr_work_way(const gr_work *w)
{
    return w->way;
}

static gr_mat take(char **at, size_t rows, size_t cols, gr_dtype type)
{
    gr_mat m = gr_mat_of(*at, cols, type);

    *at += rows * cols * gr_dtype_bytes(type);  /* rows are whole units, so that all are aligned */
    return m;
}

static gram_status reserve_experts(gr_work *w, char **at, size_t rows, gram_err *err)
{
    const gr_config *c = &w->p.m->cfg;

    if (!c->experts)
        return GRAM_OK;
    w->p.h = take(at, rows, c->width, w->p.type);
    w->p.y = take(at, rows, c->chosen * c->width, w->p.type);
    w->p.y.ld = c->width;
    w->one.weight = take(at, rows, c->chosen, GR_F32);
    free(w->one.chosen);
    w->one.chosen = gr_calloc(rows * c->chosen, sizeof *w->one.chosen);     /* experts even where a pass fails */
    if (!w->one.chosen)
        return gr_nomem(err, "rows of experts");
    return gr_routed_reserve(&w->p.routed, rows, c->experts, c->chosen, w->p.cut, err);
}

static gram_status reserve(gr_work *w, size_t need, gram_err *err)
{
    const gr_config *c = &w->p.m->cfg;
    size_t rows = gr_round_up(need, gr_max(w->p.cut.unit, GR_ALIGN / sizeof(float)));
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    size_t bytes;
    char *at;
    gram_status rc;

    if (rows <= w->rows)
        return GRAM_OK;
    gr_device_free(w->p.d, w->memory);
    w->memory = NULL;
    w->rows = 0;
    if (!gr_mul(rows, batch_row(c, w->p.type), &bytes) || gr_device_alloc(w->p.d, &w->memory, bytes, NULL)) {
        w->memory = NULL;
        return gr_fail(err, GRAM_ENOMEM, "forward pass: out of memory for %zu rows", rows);
    }
    at = w->memory;
    w->one.x = take(&at, rows, c->width, GR_F32);
    w->p.wanted.x = take(&at, rows, c->width, GR_F32);
    w->one.q = w->one.q0 = take(&at, rows, q, w->p.type);
    w->one.o = take(&at, rows, q, w->p.type);
    w->one.k = w->one.k0 = take(&at, rows, kv, w->p.type);
    w->one.v = take(&at, rows, kv, w->p.type);
    rc = reserve_experts(w, &at, rows, err);
    free(w->p.marks);
    w->p.marks = gr_calloc(rows, sizeof *w->p.marks);
    if (!rc && !w->p.marks)
        rc = gr_nomem(err, "forward pass");
    w->rows = rc ? 0 : rows;
    return rc;
}

/* The file's pages of what was laid out are not needed beside the copy, which is what is read from then on. */
static void lay_out(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_work *w = arg;

    for (size_t i = first; i < first + n && !lane->rc; i++) {
        const gr_linear *l = w->p.m->mat[i].l;
        if (l && w->lays)
            gr_lane_fail(lane, gr_linear_lay(l, &lane->err), &lane->err);
        if (!l || !gr_linear_lacks(l, w->way))
            continue;
        gr_lane_fail(lane, (w->way == GR_ROWS_FEW ? gr_linear_few : gr_linear_tiles)(l, &lane->err), &lane->err);
        gr_weights_release(w->p.m->file);
    }
}

/* What a handful of rows reads, or tiles do, is laid out when there first are such. */
static gram_status make_ready(gr_work *w, gram_err *err)
{
    const gr_model *m = w->p.m;
    gram_status rc = GRAM_OK;

    if (!w->ready) {
        gr_device_run(w->p.d, m->cfg.layers * gr_matrices(&m->cfg), GR_CUT_ONE, lay_out, w);
        rc = gr_device_wait(w->p.d, err);
    }
    w->ready = !rc;
    return rc;
}

void gr_work_lay(gr_work *w)
{
    bool lays = w->way != GR_ROWS_FEW && !w->p.m->writable;

    w->ready = w->ready && w->lays == lays;
    w->lays = lays;
}

/* Rows that fill the last unit up: any finite numbers will do. */
static void fill_up(const gr_work *w, gr_mat x, size_t rows)
{
    size_t more = gr_round_up(rows, w->p.cut.unit) - rows;

    gr_device_zero(w->p.d, gr_mat_at(x, rows, 0).p, more * x.ld * gr_dtype_bytes(x.type));
}

/* Rows that fill the last unit up are of one byte: that costs less. */
static void mark_rows(gr_work *w, const gr_forest *f)
{
    size_t all = gr_round_up(f->rows, w->p.cut.unit);

    memcpy(w->p.marks, f->one_byte, f->rows * sizeof *w->p.marks);
    memset(w->p.marks + f->rows, 1, (all - f->rows) * sizeof *w->p.marks);
}

/* The last norm, of the rows that are asked for. */
static void last_norm(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct pass *p = arg;
    const gr_norm norm = norm_of(&p->m->cfg, p->m->final_norm, p->m->cfg.width);

    (void)first;
    lane->op->rmsnorm_fwd(lane, p->out, NULL, p->out, &norm, n);
}

gram_status gr_model_forward(gr_work *w, const gr_forest *f, const size_t *want, size_t n,
                             const float **hidden, gram_err *err)
{
    const gr_model *m = w->p.m;
    gram_status rc = gr_forest_check(f, m->cfg.vocabulary, err);

    assert(f->far == m->cfg.far.after);
    if (!rc)
        rc = make_ready(w, err);
    if (!rc)
        rc = reserve(w, gr_max(f->rows, n), err);
    if (!rc)
        rc = gr_plan_forest(&w->plan, f, want, n, true, err);
    if (!rc)
        rc = gr_pass_tables(&w->p, err);
    if (rc)
        return rc;
    fill_up(w, w->one.x, f->rows);
    fill_up(w, w->one.o, f->rows);
    mark_rows(w, f);
    gr_pass_forward(&w->p);
    gr_device_once(w->p.d, last_norm, &w->p, n);
    rc = gr_device_wait(w->p.d, err);
    if (rc)
        return rc;
    *hidden = gr_device_view(w->p.d, w->p.out.p, n * m->cfg.width * sizeof **hidden, &w->room);
    return *hidden ? GRAM_OK : gr_nomem(err, "forward pass");
}
