/* forward.c - scores: packed rows through the layers, which keep nothing.
 *
 * Only x, q, k, v and o are as long as the batch. The number of rows in a piece, the threads and the order of the work
 * change no bit: every kernel's result for a row depends on that row alone. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/pass_int.h"

struct gr_work {
    struct pass p;
    gr_rows_way way;
    struct kept one;            /* what every layer uses in its turn */
    gr_plan plan;
    size_t rows;                /* capacity, whole units */
    float *memory;
};

/* Floats of a piece's row in scratch: h and t, gate and up. */
static size_t scratch_row(const gr_config *c)
{
    return 2 * c->width + 2 * c->hidden;
}

static gr_cut cut_of(const gr_config *c, gr_rows_way way)
{
    return gr_linear_cut(way, scratch_row(c) * sizeof(float));
}

/* Floats of a row of the batch: x and those asked for, q and o, k and v. */
static size_t batch_row(const gr_config *c)
{
    return 2 * c->width + 2 * c->heads * c->head_dim + 2 * c->kv_heads * c->head_dim;
}

uint64_t gr_config_work_bytes(const gr_config *c, size_t rows, size_t threads)
{
    gr_cut cut = cut_of(c, GR_ROWS_ALIKE);

    return ((uint64_t)gr_round_up(rows, cut.unit) * batch_row(c) + (uint64_t)threads * cut.most * scratch_row(c)) *
           sizeof(float);
}

gram_status gr_work_open(gr_work **out, const gr_model *m, gr_lora *lora, gr_rows_way way, gr_device *d,
                         gram_err *err)
{
    gr_work *w = gr_calloc(1, sizeof *w);
    gram_status rc;

    *out = NULL;
    if (!w)
        return gr_nomem(err, "forward pass");
    w->p = (struct pass){ .m = m, .lora = lora, .d = d, .cut = cut_of(&m->cfg, way), .plan = &w->plan, .kept = &w->one,
                          .narrow = true, .ldf = m->cfg.hidden };
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
    free(w->memory);
    free(w->p.table[0]);
    free(w->p.table[1]);
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

static gr_mat take(float **at, size_t rows, size_t cols)
{
    gr_mat m = gr_mat_f32(*at, cols);

    *at += rows * cols;                         /* rows are whole units, so that all are aligned */
    return m;
}

static gram_status reserve(gr_work *w, size_t need, gram_err *err)
{
    const gr_config *c = &w->p.m->cfg;
    size_t rows = gr_round_up(need, gr_max(w->p.cut.unit, GR_ALIGN / sizeof(float)));
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    float *at;

    if (rows <= w->rows)
        return GRAM_OK;
    free(w->memory);
    w->rows = 0;
    at = w->memory = gr_alloc_aligned(rows * batch_row(c), sizeof *at);
    if (!at)
        return gr_fail(err, GRAM_ENOMEM, "forward pass: out of memory for %zu rows", rows);
    w->one.x = take(&at, rows, c->width);
    w->p.wanted.x = take(&at, rows, c->width);
    w->one.q = w->one.q0 = take(&at, rows, q);
    w->one.o = take(&at, rows, q);
    w->one.k = w->one.k0 = take(&at, rows, kv);
    w->one.v = take(&at, rows, kv);
    w->rows = rows;
    return GRAM_OK;
}

/* Rows that fill the last unit up: any finite numbers will do. */
static void fill_up(const gr_work *w, gr_mat x, size_t rows)
{
    memset(gr_mat_at(x, rows, 0).p, 0, (gr_round_up(rows, w->p.cut.unit) - rows) * x.ld * sizeof(float));
}

gram_status gr_model_forward(gr_work *w, const gr_forest *f, const size_t *want, size_t n,
                             const float **hidden, gram_err *err)
{
    const gr_model *m = w->p.m;
    const gr_norm norm = norm_of(&m->cfg, m->final_norm, m->cfg.width);
    gram_status rc = gr_forest_check(f, m->cfg.vocabulary, err);
    gr_lane *lane;

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
    gr_pass_forward(&w->p);
    lane = gr_device_lane(w->p.d);
    lane->op->rmsnorm_fwd(lane, w->p.out, NULL, w->p.out, &norm, n);
    *hidden = gr_f32(w->p.out);
    return gr_device_wait(w->p.d, err);
}
