/* vocabulary.c - see vocabulary.h. */
#include <stdlib.h>
#include "base/err.h"
#include "model/model_int.h"
#include "model/vocabulary.h"
#include "op/op.h"

#define SLICE_ROWS 1536         /* of the head: many more slices than threads, and each a product of its own */

struct slice { gr_linear *l; size_t v0; };

struct gr_vocabulary {
    const gr_model *m;
    gr_device *d;
    struct slice *slice;
    size_t slices, slice_rows;
    float *x, *z;               /* [rows, C] and [rows, V], whole units of the cut, on the device */
    void *view;                 /* of z */
    gr_cut cut;
    size_t rows, units;         /* units: of the pass under way */
};

/* A GPU multiplies by all of the head at once, and as by the other weights. */
static gr_linear_mode mode_of(const gr_model *m, gr_rows_way way, gr_head_as as, const gr_device *d)
{
    bool rounds = m->mode == GR_LINEAR_INT8 || (m->mode == GR_LINEAR_ROUNDED && gr_linear_multiplies_bf16(d));

    if (gr_device_op(d)->linear || (as == GR_HEAD_ROUNDED && way != GR_ROWS_FEW && rounds))
        return m->mode;
    return m->head.type == GR_F32 ? GR_LINEAR_F32 : GR_LINEAR_KEEP;
}

gram_status gr_vocabulary_open(gr_vocabulary **out, const gr_model *m, gr_rows_way way, gr_head_as as, gr_device *d,
                               gram_err *err)
{
    gr_vocabulary *h = gr_calloc(1, sizeof *h);
    size_t V = m->cfg.vocabulary, C = m->cfg.width, row_bytes = 0;
    gr_linear_mode mode = mode_of(m, way, as, d);
    gram_status rc = gr_model_check_words(m, err);

    *out = NULL;
    if (!h)
        return gr_nomem(err, "vocabulary");
    h->m = m;
    h->d = d;
    h->cut = gr_linear_cut(d, way, C * sizeof(float));
    h->slice_rows = way == GR_ROWS_FEW || gr_device_op(d)->linear ? V : SLICE_ROWS;
    h->slices = (V + h->slice_rows - 1) / h->slice_rows;
    h->slice = gr_calloc(h->slices, sizeof *h->slice);
    if (!rc && !h->slice)
        rc = gr_nomem(err, "vocabulary");
    gr_dtype_row_bytes(m->head.type, C, &row_bytes);        /* proved when the file was opened */
    for (size_t i = 0; i < h->slices && !rc; i++) {
        gr_tensor t = m->head;
        h->slice[i].v0 = i * h->slice_rows;
        t.data = (const char *)m->head.data + h->slice[i].v0 * row_bytes;
        t.rows = gr_min(h->slice_rows, V - h->slice[i].v0);
        rc = gr_linear_open(&h->slice[i].l, d, &t, NULL, mode, err);
        if (!rc && way == GR_ROWS_FEW)
            rc = gr_linear_few(h->slice[i].l, err);
    }
    if (way == GR_ROWS_FEW && !m->writable)
        gr_weights_release(m->file);            /* the copy is what is read from now on */
    if (rc)
        gr_vocabulary_close(h);
    else
        *out = h;
    return rc;
}

static void rows_clear(gr_vocabulary *h)
{
    gr_device_free(h->d, h->x);
    gr_device_free(h->d, h->z);
    h->x = h->z = NULL;
    h->rows = 0;
}

void gr_vocabulary_close(gr_vocabulary *h)
{
    if (!h)
        return;
    for (size_t i = 0; h->slice && i < h->slices; i++)
        gr_linear_close(h->slice[i].l);
    free(h->slice);
    rows_clear(h);
    free(h->view);
    free(h);
}

static void lay_slices(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_vocabulary *h = arg;

    for (size_t i = first; i < first + n && !lane->rc; i++)
        gr_lane_fail(lane, gr_linear_lay(h->slice[i].l, &lane->err), &lane->err);
}

gram_status gr_vocabulary_lay(gr_vocabulary *h, gram_err *err)
{
    if (h->cut.whole || h->m->writable)
        return GRAM_OK;
    gr_device_run(h->d, h->slices, GR_CUT_ONE, lay_slices, h);
    return gr_device_wait(h->d, err);
}

/* Divides and caps what the head gives, as gr_model_logit() does. */
static void close_rows(gr_lane *lane, const gr_config *c, gr_mat z, size_t n, size_t V)
{
    if (c->logit_div < 1 || c->logit_div > 1)
        lane->op->scale(lane, z, 1 / c->logit_div, n, V);
    if (c->logit_cap > 0)
        lane->op->cap_fwd(lane, z, z, c->logit_cap, n, V);
}

/* Multiplies some rows by a slice of the head; each unit of rows and each slice is a task. */
static void products(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_vocabulary *h = arg;
    size_t V = h->m->cfg.vocabulary, C = h->m->cfg.width;

    for (size_t task = first; task < first + n; task++) {
        const struct slice *s = &h->slice[task / h->units];
        size_t r = task % h->units * h->cut.unit;
        gr_mat z = gr_mat_f32(h->z + r * V + s->v0, V);
        gr_linear_fwd(lane, s->l, z, gr_mat_f32(h->x + r * C, C), h->cut.unit);
        close_rows(lane, &h->m->cfg, z, h->cut.unit, gr_min(h->slice_rows, V - s->v0));
    }
}

struct closed { const gr_vocabulary *h; size_t r; };

static void closing_rows(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct closed *c = arg;
    size_t V = c->h->m->cfg.vocabulary;

    close_rows(lane, &c->h->m->cfg, gr_mat_f32(c->h->z + (c->r + first) * V, V), n, V);
}

static void whole(void *arg, gr_lane *lane, size_t r, size_t n)
{
    const gr_vocabulary *h = arg;
    size_t V = h->m->cfg.vocabulary, C = h->m->cfg.width;

    gr_linear_fwd(lane, h->slice->l, gr_mat_f32(h->z + r * V, V), gr_mat_f32(h->x + r * C, C), n);
    if (h->m->cfg.logit_cap > 0 || h->m->cfg.logit_div < 1 || h->m->cfg.logit_div > 1)
        gr_lane_share(lane, n, GR_CUT_ONE, closing_rows, &(struct closed){ h, r });
}

static gram_status reserve(gr_vocabulary *h, size_t rows, gram_err *err)
{
    void *x, *z = NULL;

    if (rows <= h->rows)
        return GRAM_OK;
    rows_clear(h);
    if (gr_device_alloc(h->d, &x, rows * h->m->cfg.width * sizeof *h->x, NULL))
        return gr_nomem(err, "logits");
    h->x = x;
    if (gr_device_alloc(h->d, &z, rows * h->m->cfg.vocabulary * sizeof *h->z, NULL))
        return gr_nomem(err, "logits");
    h->z = z;
    h->rows = rows;
    return GRAM_OK;
}

gram_status gr_vocabulary_logits(gr_vocabulary *h, const float *hidden, size_t n, const float **z, gram_err *err)
{
    size_t C = h->m->cfg.width, rows = gr_round_up(n, h->cut.unit);
    gram_status rc = reserve(h, rows, err);

    if (rc)
        return rc;
    gr_device_put(h->d, h->x, hidden, n * C * sizeof *h->x);
    gr_device_zero(h->d, h->x + n * C, (rows - n) * C * sizeof *h->x);
    h->units = rows / h->cut.unit;
    if (h->cut.whole)
        gr_device_run(h->d, n, h->cut, whole, h);
    else
        gr_device_run(h->d, h->slices * h->units, GR_CUT_ONE, products, h);
    rc = gr_device_wait(h->d, err);
    if (rc)
        return rc;
    *z = gr_device_view(h->d, h->z, n * h->m->cfg.vocabulary * sizeof **z, &h->view);
    return *z ? GRAM_OK : gr_nomem(err, "logits");
}
