/* vocabulary.c - see vocabulary.h. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "model/model_int.h"
#include "model/vocabulary.h"

#define SLICE_ROWS 1536         /* of the head: many more slices than threads, and each a product of its own */

struct slice { gr_linear *l; size_t v0; };

struct gr_vocabulary {
    const gr_model *m;
    gr_pool *pool;
    struct slice *slice;
    size_t slices, scratch_bytes;
    void **scratch;             /* [threads] */
    float *x, *z;               /* [rows, C] and [rows, V], rows a multiple of GR_TILE */
    size_t rows;
    gram_err *why;              /* [threads] of the pass under way; status 0: none */
    size_t tiles;
};

gram_status gr_vocabulary_open(gr_vocabulary **out, const gr_model *m, gr_pool *pool, gram_err *err)
{
    gr_vocabulary *h = gr_calloc(1, sizeof *h);
    size_t V = m->cfg.vocabulary, C = m->cfg.width, threads = gr_pool_size(pool), row_bytes = 0;
    gr_linear_mode mode = m->head.type == GR_F32 ? GR_LINEAR_F32 : GR_LINEAR_KEEP;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!h)
        return gr_nomem(err, "vocabulary");
    h->m = m;
    h->pool = pool;
    h->slices = (V + SLICE_ROWS - 1) / SLICE_ROWS;
    h->slice = gr_calloc(h->slices, sizeof *h->slice);
    h->scratch = gr_calloc(threads, sizeof *h->scratch);
    h->why = gr_calloc(threads, sizeof *h->why);
    if (!h->slice || !h->scratch || !h->why)
        rc = gr_nomem(err, "vocabulary");
    gr_dtype_row_bytes(m->head.type, C, &row_bytes);        /* proved when the file was opened */
    for (size_t i = 0; i < h->slices && !rc; i++) {
        gr_tensor t = m->head;
        h->slice[i].v0 = i * SLICE_ROWS;
        t.data = (const char *)m->head.data + h->slice[i].v0 * row_bytes;
        t.rows = gr_min(SLICE_ROWS, V - h->slice[i].v0);
        rc = gr_linear_open(&h->slice[i].l, &t, NULL, mode, err);
        if (!rc)
            h->scratch_bytes = gr_max(h->scratch_bytes, gr_linear_scratch(h->slice[i].l, GR_TILE));
    }
    for (size_t i = 0; i < threads && !rc; i++)
        if (!(h->scratch[i] = gr_alloc_aligned(gr_max(h->scratch_bytes, 1), 1)))
            rc = gr_nomem(err, "vocabulary");
    if (rc)
        gr_vocabulary_close(h);
    else
        *out = h;
    return rc;
}

void gr_vocabulary_close(gr_vocabulary *h)
{
    if (!h)
        return;
    for (size_t i = 0; h->slice && i < h->slices; i++)
        gr_linear_close(h->slice[i].l);
    for (size_t i = 0; h->scratch && i < gr_pool_size(h->pool); i++)
        free(h->scratch[i]);
    free(h->slice);
    free(h->scratch);
    free(h->why);
    free(h->x);
    free(h->z);
    free(h);
}

uint64_t gr_vocabulary_bytes(const gr_vocabulary *h)
{
    uint64_t bytes = h->rows * (h->m->cfg.vocabulary + h->m->cfg.width) * sizeof *h->z;

    for (size_t i = 0; i < h->slices; i++)
        bytes += gr_linear_borrows(h->slice[i].l) ? 0 : gr_linear_bytes(h->slice[i].l);
    return bytes + gr_pool_size(h->pool) * h->scratch_bytes;
}

/* A tile of rows times a slice of the head. */
static void one_product(void *arg, size_t task, size_t worker)
{
    gr_vocabulary *h = arg;
    const struct slice *s = &h->slice[task / h->tiles];
    size_t V = h->m->cfg.vocabulary, C = h->m->cfg.width, r = task % h->tiles * GR_TILE;

    if (!h->why[worker].status)
        gr_linear_fwd(s->l, h->z + r * V + s->v0, V, h->x + r * C, C, GR_TILE, h->scratch[worker], &h->why[worker]);
}

static gram_status reserve(gr_vocabulary *h, size_t rows, gram_err *err)
{
    if (rows <= h->rows)
        return GRAM_OK;
    free(h->x);
    free(h->z);
    h->rows = 0;
    h->x = gr_alloc_aligned(rows * h->m->cfg.width, sizeof *h->x);
    h->z = gr_alloc_aligned(rows * h->m->cfg.vocabulary, sizeof *h->z);
    if (!h->x || !h->z)
        return gr_nomem(err, "logits");
    h->rows = rows;
    return GRAM_OK;
}

gram_status gr_vocabulary_logits(gr_vocabulary *h, const float *hidden, size_t n, const float **z, gram_err *err)
{
    size_t C = h->m->cfg.width, rows = gr_round_up(n, GR_TILE);
    gram_status rc = reserve(h, rows, err);

    if (rc)
        return rc;
    memcpy(h->x, hidden, n * C * sizeof *h->x);
    memset(h->x + n * C, 0, (rows - n) * C * sizeof *h->x);
    h->tiles = rows / GR_TILE;
    gr_pool_run(h->pool, one_product, h, h->slices * h->tiles);
    for (size_t i = 0; i < gr_pool_size(h->pool); i++)
        if (h->why[i].status) {
            rc = gr_fail(err, h->why[i].status, "%s", h->why[i].text);
            h->why[i].status = GRAM_OK;
        }
    *z = h->z;
    return rc;
}
