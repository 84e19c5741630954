/* grad.c - see grad.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "op/op.h"
#include "reward/loss.h"
#include "train/grad.h"

/* ---- The forest of some examples ----------------------------------------------------------------- */

static gram_status grow(gr_forest *f, const gr_grad *g, const gr_example *const *e, size_t count, size_t *n_seqs,
                        gr_sum *sum, gram_err *err)
{
    size_t each = g->write ? 1 : 2;
    gr_seq *seq = gr_calloc(count * each, sizeof *seq);
    gram_status rc;

    *n_seqs = count * each;
    if (!seq)
        return gr_nomem(err, "training rows");
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < each; k++)
            seq[i * each + k] = (gr_seq){ e[i]->seq[k].p, e[i]->seq[k].n };
        sum->tokens += gr_example_tokens(e[i]);
    }
    rc = gr_forest_init(f, seq, count * each, NULL, GR_SAVE_SHARED, err);
    if (!rc)
        sum->computed += f->rows;
    free(seq);
    return rc;
}

/* ---- Stage 2: two labels -------------------------------------------------------------------------- */

static double dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

/* dL/dd of sequence i reaches its hidden state and the two rows of the head. d is z of the chosen answer's label,
 * which is A in the even sequences. */
static void push_back(gr_grad *g, float *dhidden, const float *hidden, size_t i, double dd)
{
    size_t C = g->cfg->width;
    int32_t chosen = g->label[i % 2], other = g->label[1 - i % 2];
    const float *a = gr_trainee_head(g->t, chosen), *b = gr_trainee_head(g->t, other);
    float *da = gr_trainee_head_grad(g->t, chosen), *db = gr_trainee_head_grad(g->t, other);

    for (size_t c = 0; c < C; c++) {
        dhidden[i * C + c] = (float)(dd * ((double)a[c] - b[c]));
    }
    for (size_t c = 0; c < C && da; c++) {
        da[c] += (float)(dd * hidden[i * C + c]);
        db[c] -= (float)(dd * hidden[i * C + c]);
    }
}

static void logits_of(const gr_grad *g, const float *hidden, size_t n_seqs, double *z)
{
    size_t C = g->cfg->width;

    for (size_t i = 0; i < n_seqs; i++)
        for (size_t k = 0; k < 2; k++)
            z[2 * i + k] = dot(hidden + i * C, gr_trainee_head(g->t, g->label[k]), C);
}

static gram_status judge(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t n_seqs, double n,
                         bool backward, gr_sum *sum, gram_err *err)
{
    size_t C = g->cfg->width;
    double *z = gr_calloc(n_seqs * 2, sizeof *z), prefer = 0;
    float *dhidden = gr_calloc(n_seqs * C, sizeof *dhidden);
    const float *hidden;
    gram_status rc = z && dhidden ? GRAM_OK : gr_nomem(err, "training rows");

    if (!rc)
        rc = gr_trainee_forward(g->t, f, f->leaf_row, n_seqs, &hidden, err);
    if (!rc)
        logits_of(g, hidden, n_seqs, z);
    for (size_t i = 0; i < n_seqs && !rc; i++) {
        const gr_example *row = e[i / 2];
        double d = z[2 * i + i % 2] - z[2 * i + 1 - i % 2], dd;
        sum->loss += row->weight * gr_loss_pair(d, row->target, &dd) / (2 * n);
        if (backward)
            push_back(g, dhidden, hidden, i, row->weight * dd / (2 * n));
        prefer = (i % 2 ? prefer : 0) + 0.5 / (1 + exp(-d));
        if (sum->p)
            sum->p[(size_t)sum->count][i % 2] = 1 / (1 + exp(-d));
        if (i % 2) {
            sum->right += prefer > 0.5 ? 1 : prefer == 0.5 ? 0.5 : 0;
            sum->count++;
        }
    }
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, dhidden, err);
    free(z);
    free(dhidden);
    return rc;
}

gram_status gr_grad_logits(gr_grad *g, const gr_example *const *e, size_t count, double *out, gram_err *err)
{
    gr_forest f;
    gr_sum sum = { 0 };
    const float *hidden;
    size_t n_seqs;
    gram_status rc = grow(&f, g, e, count, &n_seqs, &sum, err);

    if (rc)
        return rc;
    rc = gr_trainee_forward(g->t, &f, f.leaf_row, n_seqs, &hidden, err);
    if (!rc)
        logits_of(g, hidden, n_seqs, out);
    gr_forest_clear(&f, true);
    return rc;
}

/* ---- Stage 1: the whole vocabulary, a chunk of rows at a time -------------------------------------- */

#define TILES 4                 /* of GR_TILE rows, whose logits exist at once; a constant, so that memory is one too */
#define CHUNK (TILES * GR_TILE)
#define SLICE 64                /* rows of the head in a weight-gradient task */

struct gr_head {
    gr_grad *g;
    gr_linear *linear;
    size_t scratch_bytes, workers;
    float *z;                   /* [CHUNK, V] */
    float *x, *dx;              /* [CHUNK, C] */
    int32_t target[CHUNK];
    float wt[CHUNK];
    double loss[CHUNK];
    unsigned char *scratch;     /* of each worker */
    struct { gram_status rc; gram_err err; } *fail;     /* of each worker */
    size_t tiles;
    bool backward;
};

uint64_t gr_grad_head_bytes(const gr_config *c, size_t threads)
{
    return (uint64_t)CHUNK * (c->vocabulary + 2 * c->width) * sizeof(float) + threads * gr_dw_scratch(c->width);
}

static void head_close(struct gr_head *h)
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
    gram_status rc = h ? gr_linear_open(&h->linear, gr_trainee_head_tensor(g->t), NULL, GR_LINEAR_KEEP, err) : gr_nomem(err, "logits");

    if (rc) {
        free(h);
        return rc;
    }
    h->g = g;
    h->workers = gr_pool_size(g->pool);
    h->scratch_bytes = gr_round_up(gr_max(gr_linear_scratch(h->linear, GR_TILE), gr_dw_scratch(C)), GR_ALIGN);
    h->z = gr_alloc_aligned(CHUNK * V, sizeof *h->z);
    h->x = gr_alloc_aligned(CHUNK * C, sizeof *h->x);
    h->dx = gr_alloc_aligned(CHUNK * C, sizeof *h->dx);
    h->scratch = gr_alloc_aligned(h->workers, h->scratch_bytes);
    h->fail = gr_calloc(h->workers, sizeof *h->fail);
    if (!h->z || !h->x || !h->dx || !h->scratch || !h->fail) {
        head_close(h);
        return gr_nomem(err, "logits");
    }
    g->head = h;
    return GRAM_OK;
}

/* A tile's logits, its losses, and what they ask of its hidden states. */
static void head_tile(void *arg, size_t task, size_t worker)
{
    struct gr_head *h = arg;
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, r = task * GR_TILE;
    void *scratch = h->scratch + worker * h->scratch_bytes;
    gram_err *err = &h->fail[worker].err;
    gram_status rc = gr_linear_fwd(h->linear, h->z + r * V, V, h->x + r * C, C, GR_TILE, scratch, err);

    if (!rc) {
        gr_kern.ce(h->z + r * V, V, h->target + r, h->wt + r, h->loss + r, GR_TILE, V);
        if (h->backward)
            rc = gr_linear_dx(h->linear, h->dx + r * C, C, h->z + r * V, V, GR_TILE, false, scratch, err);
    }
    if (rc)
        h->fail[worker].rc = rc;
}

static void head_weights(void *arg, size_t task, size_t worker)
{
    struct gr_head *h = arg;
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, o = task * SLICE;
    gram_status rc = gr_linear_dw(gr_trainee_head_grad(h->g->t, 0), h->z, V, h->x, C, h->tiles * GR_TILE, C, o,
                                  gr_min(o + SLICE, V), h->scratch + worker * h->scratch_bytes, &h->fail[worker].err);

    if (rc)
        h->fail[worker].rc = rc;
}

/* Rows [0, n) of hidden with their targets; dhidden gets theirs. */
static gram_status head_chunk(struct gr_head *h, const float *hidden, const int32_t *target, size_t n, double count,
                              float *dhidden, gr_sum *sum, gram_err *err)
{
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, M = gr_round_up(n, GR_TILE);

    h->tiles = M / GR_TILE;
    memset(h->x + n * C, 0, (M - n) * C * sizeof *h->x);
    memcpy(h->x, hidden, n * C * sizeof *h->x);
    for (size_t i = 0; i < M; i++) {
        h->target[i] = i < n ? target[i] : -1;
        h->wt[i] = (float)(1 / count);
    }
    gr_pool_run(h->g->pool, head_tile, h, h->tiles);
    if (h->backward && gr_trainee_head_grad(h->g->t, 0))
        gr_pool_run(h->g->pool, head_weights, h, (V + SLICE - 1) / SLICE);
    for (size_t i = 0; i < h->workers; i++)
        if (h->fail[i].rc) {
            if (err)
                *err = h->fail[i].err;
            return h->fail[i].rc;
        }
    for (size_t i = 0; i < n; i++)
        sum->loss += h->loss[i] / count;
    if (h->backward)
        memcpy(dhidden, h->dx, n * C * sizeof *dhidden);
    return GRAM_OK;
}

/* The rows of sequence s from position `from` to the last but one, and the tokens that follow them. */
static size_t trace(const gr_forest *f, size_t s, const gr_example *e, size_t *row, int32_t *target)
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

static gram_status written(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t n_seqs, double count,
                           bool backward, gr_sum *sum, gram_err *err)
{
    size_t C = g->cfg->width, all = 0, n = 0;
    size_t *row;
    int32_t *target;
    float *dhidden;
    const float *hidden;
    gram_status rc = g->head ? GRAM_OK : head_open(g, err);

    for (size_t i = 0; i < n_seqs; i++)
        all += e[i]->seq[0].n - e[i]->asked;
    row = gr_calloc(all, sizeof *row);
    target = gr_calloc(all, sizeof *target);
    dhidden = gr_calloc(all * C, sizeof *dhidden);
    if (!rc && (!row || !target || !dhidden))
        rc = gr_nomem(err, "training rows");
    for (size_t i = 0; i < n_seqs && !rc; i++)
        n += trace(f, i, e[i], row + n, target + n);
    if (!rc)
        rc = gr_trainee_forward(g->t, f, row, n, &hidden, err);
    if (!rc)
        g->head->backward = backward;
    for (size_t i = 0; i < n && !rc; i += CHUNK)
        rc = head_chunk(g->head, hidden + i * C, target + i, gr_min(CHUNK, n - i), count, dhidden + i * C, sum, err);
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, dhidden, err);
    sum->count += (double)n;
    free(row);
    free(target);
    free(dhidden);
    return rc;
}

/* ------------------------------------------------------------------------------------------------- */

double gr_grad_weight(const gr_grad *g, const gr_example *e)
{
    return g->write ? (double)(e->seq[0].n - e->asked) : 1;
}

gram_status gr_grad_add(gr_grad *g, const gr_example *const *e, size_t count, double n, bool backward, gr_sum *sum,
                        gram_err *err)
{
    gr_forest f;
    size_t n_seqs;
    gram_status rc = grow(&f, g, e, count, &n_seqs, sum, err);

    if (rc)
        return rc;
    rc = (g->write ? written : judge)(g, &f, e, n_seqs, n, backward, sum, err);
    gr_forest_clear(&f, true);
    return rc;
}

void gr_grad_clear(gr_grad *g)
{
    head_close(g->head);
    g->head = NULL;
}
