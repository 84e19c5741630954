/* grad_written.c - text that is learnt token by token: the whole vocabulary, a chunk of rows at a time. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "op/op.h"
#include "train/grad_int.h"

enum {
    CHUNK = 384,                /* rows whose logits exist at once, at most; a constant, so that memory is one too */
    TILE = 128,                 /* rows of a product, at most */
    ROUND = 16,                 /* both are multiples of it, so that few shapes occur */
    SLICE = 64                  /* rows of the head in a weight-gradient task */
};

struct gr_head {
    gr_grad *g;
    gr_linear *linear;
    size_t scratch_bytes, workers;
    size_t ldz;
    float *z;                   /* [CHUNK, V], rows ldz apart */
    float *x, *dx;              /* [CHUNK, C] */
    int32_t target[CHUNK];
    float wt[CHUNK];
    double loss[CHUNK];
    unsigned char *scratch;     /* of each worker */
    struct { gram_status rc; gram_err err; } *fail;     /* of each worker */
    size_t rows, tile;          /* of the chunk at hand and of its products; those of the last may be fewer */
    bool backward;
};

uint64_t gr_grad_head_bytes(const gr_config *c, size_t threads)
{
    return (uint64_t)CHUNK * (gr_uncrowded(c->vocabulary) + 2 * c->width) * sizeof(float) +
           threads * gr_dw_scratch(c->width);
}

void gr_grad_head_close(struct gr_head *h)
{
    if (!h)
        return;
    gr_linear_close(h->linear);
    free(h->z);
    free(h->x);
    free(h->dx);
    free(h->scratch);
    free(h->fail);
    free(h);
}

static gram_status head_open(gr_grad *g, gram_err *err)
{
    size_t V = g->cfg->vocabulary, C = g->cfg->width;
    struct gr_head *h = gr_calloc(1, sizeof *h);
    gram_status rc = h ? gr_linear_open(&h->linear, gr_trainee_head_tensor(g->t), NULL, GR_LINEAR_KEEP, err)
                       : gr_nomem(err, "logits");

    if (rc) {
        free(h);
        return rc;
    }
    h->g = g;
    h->workers = gr_pool_size(g->pool);
    h->scratch_bytes = gr_round_up(gr_max(gr_linear_scratch(h->linear, TILE), gr_dw_scratch(C)), GR_ALIGN);
    h->ldz = gr_uncrowded(V);
    h->z = gr_alloc_aligned(CHUNK * h->ldz, sizeof *h->z);
    h->x = gr_alloc_aligned(CHUNK * C, sizeof *h->x);
    h->dx = gr_alloc_aligned(CHUNK * C, sizeof *h->dx);
    h->scratch = gr_alloc_aligned(h->workers, h->scratch_bytes);
    h->fail = gr_calloc(h->workers, sizeof *h->fail);
    if (!h->z || !h->x || !h->dx || !h->scratch || !h->fail) {
        gr_grad_head_close(h);
        return gr_nomem(err, "logits");
    }
    g->head = h;
    return GRAM_OK;
}

/* A tile's logits, its losses, and what they ask of its hidden states. */
static void head_tile(void *arg, size_t task, size_t worker)
{
    struct gr_head *h = arg;
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, r = task * h->tile, n = gr_min(h->tile, h->rows - r);
    float *z = h->z + r * h->ldz;
    void *scratch = h->scratch + worker * h->scratch_bytes;
    gram_err *err = &h->fail[worker].err;
    gram_status rc = gr_linear_fwd(h->linear, z, h->ldz, h->x + r * C, C, n, scratch, err);

    if (!rc) {
        gr_kern.ce(z, h->ldz, h->target + r, h->wt + r, h->loss + r, n, V);
        if (h->backward)
            rc = gr_linear_dx(h->linear, NULL, h->dx + r * C, C, z, h->ldz, n, false, scratch, err);
    }
    if (rc)
        h->fail[worker].rc = rc;
}

static void head_weights(void *arg, size_t task, size_t worker)
{
    struct gr_head *h = arg;
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, o = task * SLICE;
    gram_status rc = gr_linear_dw(gr_trainee_head_grad(h->g->t, 0), h->z, h->ldz, h->x, C, h->rows, C, o,
                                  gr_min(o + SLICE, V), h->scratch + worker * h->scratch_bytes, &h->fail[worker].err);

    if (rc)
        h->fail[worker].rc = rc;
}

/* Rows [0, n) of w, n at most CHUNK. */
static gram_status head_chunk(struct gr_head *h, const gr_words *w, gram_err *err)
{
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, n = w->n, M = gr_round_up(n, ROUND);
    size_t tiles = gr_round_up((M + TILE - 1) / TILE, 2);       /* as many for each of two threads */

    h->rows = M;
    h->tile = gr_round_up((M + tiles - 1) / tiles, ROUND);
    memset(h->x + n * C, 0, (M - n) * C * sizeof *h->x);
    memcpy(h->x, w->hidden, n * C * sizeof *h->x);
    for (size_t i = 0; i < M; i++) {
        h->target[i] = i < n ? w->target[i] : -1;
        h->wt[i] = i < n ? w->wt[i] : 0;
    }
    gr_pool_run(h->g->pool, head_tile, h, (M + h->tile - 1) / h->tile);
    if (h->backward && gr_trainee_head_grad(h->g->t, 0))
        gr_pool_run(h->g->pool, head_weights, h, (V + SLICE - 1) / SLICE);
    for (size_t i = 0; i < h->workers; i++)
        if (h->fail[i].rc) {
            if (err)
                *err = h->fail[i].err;
            return h->fail[i].rc;
        }
    memcpy(w->loss, h->loss, n * sizeof *w->loss);
    if (h->backward)
        memcpy(w->dhidden, h->dx, n * C * sizeof *w->dhidden);
    return GRAM_OK;
}

gram_status gr_grad_words(gr_grad *g, const gr_words *w, bool backward, gram_err *err)
{
    size_t C = g->cfg->width, chunks = (w->n + CHUNK - 1) / CHUNK;
    size_t each = chunks ? gr_round_up((w->n + chunks - 1) / chunks, ROUND) : 0;
    gram_status rc = g->head ? GRAM_OK : head_open(g, err);

    if (!rc)
        g->head->backward = backward;
    for (size_t i = 0; i < w->n && !rc; i += each) {
        const gr_words part = { w->hidden + i * C, w->wt + i, w->target + i, w->dhidden + i * C, w->loss + i,
                                gr_min(each, w->n - i) };
        rc = head_chunk(g->head, &part, err);
    }
    return rc;
}

size_t gr_grad_trace(const gr_forest *f, size_t s, const gr_example *e, size_t *row, int32_t *target)
{
    size_t n = e->seq[0].n - e->asked, seg = 0;

    while (f->leaf_row[s] >= f->seg[seg].row + f->seg[seg].len)
        seg++;
    for (size_t i = n; i-- > 0; ) {
        size_t at = e->asked + i - 1;           /* this position writes token at + 1 */
        while (f->seg[seg].pos > at)
            seg = f->seg[seg].parent;
        row[i] = f->seg[seg].row + at - f->seg[seg].pos;
        target[i] = e->seq[0].p[at + 1];
    }
    return n;
}

gram_status gr_grad_written(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                            bool backward, gr_sum *sum, gram_err *err)
{
    size_t C = g->cfg->width, all = 0, rows = 0;
    size_t *row;
    int32_t *target;
    float *dhidden, *wt;
    double *loss;
    const float *hidden;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < count; i++)
        all += e[i]->seq[0].n - e[i]->asked;
    row = gr_calloc(all, sizeof *row);
    target = gr_calloc(all, sizeof *target);
    dhidden = gr_calloc(all * C, sizeof *dhidden);
    wt = gr_calloc(all, sizeof *wt);
    loss = gr_calloc(all, sizeof *loss);
    if (!row || !target || !dhidden || !wt || !loss)
        rc = gr_nomem(err, "training rows");
    for (size_t i = 0; i < count && !rc; i++)
        rows += gr_grad_trace(f, i, e[i], row + rows, target + rows);
    for (size_t i = 0; i < rows; i++)
        wt[i] = (float)(1 / n);
    if (!rc)
        rc = gr_trainee_forward(g->t, f, row, rows, &hidden, err);
    if (!rc)
        rc = gr_grad_words(g, &(gr_words){ hidden, wt, target, dhidden, loss, rows }, backward, err);
    for (size_t i = 0; i < rows && !rc; i++)
        sum->loss += loss[i] / n;
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, dhidden, err);
    sum->count += (double)rows;
    free(row);
    free(target);
    free(dhidden);
    free(wt);
    free(loss);
    return rc;
}
