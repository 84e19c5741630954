/* grad_tokens.c - text that is learnt token by token: the whole vocabulary, a chunk of rows at a time. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "op/op.h"
#include "reward/loss.h"
#include "train/grad_int.h"

enum {
    CHUNK = 384,                /* rows whose logits exist at once, at most; a constant, so that memory is one too */
    SLICE = 64                  /* rows of the head in a weight-gradient task */
};

struct gr_head {
    gr_grad *g;
    gr_linear *linear;
    gr_cut cut;
    gr_mat z;                   /* [CHUNK, V] */
    gr_mat capped;              /* the same, of which the cap's slope is made; NULL: there is no cap */
    gr_mat x, dx;               /* [CHUNK, C] */
    int32_t target[CHUNK];
    float wt[CHUNK];
    double loss[CHUNK];
    gr_ce_sum sum[CHUNK];
    size_t rows;                /* of the chunk at hand, whole units */
    float cooler;               /* 1 / temperature */
};

uint64_t gr_grad_head_bytes(const gr_config *c, size_t threads)
{
    uint64_t kept = c->logit_cap > 0 ? 2 : 1;

    return (uint64_t)CHUNK * (kept * gr_linear_ld(c->vocabulary) + 2 * c->width) * sizeof(float) +
           threads * gr_dw_scratch(c->width);
}

void gr_grad_head_close(struct gr_head *h)
{
    if (!h)
        return;
    gr_linear_close(h->linear);
    gr_device_free(h->g->device, h->z.p);
    gr_device_free(h->g->device, h->capped.p);
    gr_device_free(h->g->device, h->x.p);
    gr_device_free(h->g->device, h->dx.p);
    free(h);
}

static gram_status take_rows(gr_mat *out, gr_device *d, size_t ld, gram_err *err)
{
    *out = gr_mat_f32(NULL, ld);
    return gr_device_alloc(d, &out->p, CHUNK * ld * sizeof(float), err);
}

static gram_status head_open(gr_grad *g, gram_err *err)
{
    size_t V = g->cfg->vocabulary, C = g->cfg->width;
    struct gr_head *h = gr_calloc(1, sizeof *h);
    gram_status rc = h ? GRAM_OK : gr_nomem(err, "logits");

    if (rc)
        return rc;
    h->g = g;
    h->cut = gr_linear_cut(g->device, GR_ROWS_BLOCKS, 0);
    h->cut.share = 2;                           /* as many pieces for each of two threads */
    rc = gr_linear_open(&h->linear, g->device, gr_trainee_head_tensor(g->t), NULL, GR_LINEAR_KEEP, err);
    if (!rc)
        rc = take_rows(&h->z, g->device, gr_linear_ld(V), err);
    if (!rc && g->cfg->logit_cap > 0)
        rc = take_rows(&h->capped, g->device, gr_linear_ld(V), err);
    if (!rc)
        rc = take_rows(&h->x, g->device, C, err);
    if (!rc)
        rc = take_rows(&h->dx, g->device, C, err);
    if (rc) {
        gr_grad_head_close(h);
        return rc;
    }
    g->head = h;
    return GRAM_OK;
}

/* The logits of some rows. */
static void logits(struct gr_head *h, gr_lane *lane, size_t r, size_t n)
{
    gr_mat z = gr_mat_at(h->z, r, 0);
    size_t V = h->g->cfg->vocabulary;
    float cap = h->g->cfg->logit_cap, div = h->g->cfg->logit_div;

    gr_linear_fwd(lane, h->linear, z, gr_mat_at(h->x, r, 0), n);
    if (div < 1 || div > 1)
        lane->op->scale(lane, z, 1 / div, n, V);
    if (cap > 0) {
        lane->op->cap_fwd(lane, z, z, cap, n, V);
        lane->op->copy(lane, gr_mat_at(h->capped, r, 0), z, n, V);
    }
    if (h->cooler != 1)
        lane->op->scale(lane, z, h->cooler, n, V);
}

/* From the gradients of the logits, which stand in their place, to what they ask of the hidden states. */
static void logits_bwd(struct gr_head *h, gr_lane *lane, size_t r, size_t n)
{
    gr_mat z = gr_mat_at(h->z, r, 0);
    float div = h->g->cfg->logit_div;

    if (h->capped.p)
        lane->op->cap_bwd(lane, z, gr_mat_at(h->capped, r, 0), h->g->cfg->logit_cap, n, h->g->cfg->vocabulary);
    if (div < 1 || div > 1)
        lane->op->scale(lane, z, 1 / div, n, h->g->cfg->vocabulary);
    gr_linear_dx(lane, h->linear, gr_mat_at(h->dx, r, 0), z, n, false);
}

static void head_rows(void *arg, gr_lane *lane, size_t r, size_t n)
{
    struct gr_head *h = arg;

    logits(h, lane, r, n);
    lane->op->ce(lane, gr_mat_at(h->z, r, 0), h->target + r, h->wt + r, h->loss + r, h->sum + r, n,
                 h->g->cfg->vocabulary);
    logits_bwd(h, lane, r, n);
}

static void head_losses(void *arg, gr_lane *lane, size_t r, size_t n)
{
    struct gr_head *h = arg;

    logits(h, lane, r, n);
    lane->op->ce_fwd(lane, gr_mat_at(h->z, r, 0), h->target + r, h->loss + r, h->sum + r, n, h->g->cfg->vocabulary);
}

/* The same bits as head_rows(), after head_losses(). */
static void head_rows_bwd(void *arg, gr_lane *lane, size_t r, size_t n)
{
    struct gr_head *h = arg;

    lane->op->ce_bwd(lane, gr_mat_at(h->z, r, 0), h->target + r, h->wt + r, h->sum + r, n, h->g->cfg->vocabulary);
    logits_bwd(h, lane, r, n);
}

static void head_weights(void *arg, gr_lane *lane, size_t o, size_t n)
{
    struct gr_head *h = arg;
    size_t C = h->g->cfg->width;

    gr_linear_dw(lane, gr_mat_f32(gr_trainee_head_grad(h->g->t), C), h->z, h->x, h->rows, C, o, o + n);
}

/* The end of a run that has made the losses. */
static gram_status take_losses(const struct gr_head *h, const gr_words *w, gram_err *err)
{
    gram_status rc = gr_device_wait(h->g->device, err);

    if (!rc)
        memcpy(w->loss, h->loss, w->n * sizeof *w->loss);
    return rc;
}

/* The rows of w, CHUNK at most, which are those from `first` on of all. */
static gram_status head_chunk(struct gr_head *h, const gr_words *w, size_t first, bool backward, gram_err *err)
{
    gr_device *d = h->g->device;
    size_t V = h->g->cfg->vocabulary, C = h->g->cfg->width, n = w->n, M = gr_round_up(n, h->cut.unit);
    bool apart = !backward || w->weigh;         /* losses by themselves, before there is a way back */
    gram_status rc;

    h->rows = M;
    h->cooler = h->g->temperature > 0 ? (float)(1 / h->g->temperature) : 1;
    gr_device_zero(d, gr_mat_at(h->x, n, 0).p, (M - n) * C * sizeof(float));
    gr_device_put(d, h->x.p, w->hidden, n * C * sizeof(float));
    for (size_t i = 0; i < M; i++)
        h->target[i] = i < n ? w->target[i] : -1;
    if (apart) {
        gr_device_run(d, M, h->cut, head_losses, h);
        rc = take_losses(h, w, err);
        if (rc || !backward)
            return rc;
        w->weigh(w->arg, first, n);
    }
    for (size_t i = 0; i < M; i++)
        h->wt[i] = i < n ? w->wt[i] * h->cooler : 0;
    gr_device_run(d, M, h->cut, apart ? head_rows_bwd : head_rows, h);
    if (gr_trainee_head_grad(h->g->t))
        gr_device_run(d, V, (gr_cut){ SLICE, SLICE, 1, false }, head_weights, h);
    rc = take_losses(h, w, err);
    if (!rc)
        gr_device_get(d, w->dhidden, h->dx.p, n * C * sizeof(float));
    return rc;
}

gram_status gr_grad_words(gr_grad *g, const gr_words *w, bool backward, gram_err *err)
{
    size_t C = g->cfg->width, chunks = (w->n + CHUNK - 1) / CHUNK;
    size_t each = chunks ? gr_round_up((w->n + chunks - 1) / chunks,
                                       gr_linear_cut(g->device, GR_ROWS_BLOCKS, 0).unit) : 0;
    gram_status rc = g->head ? GRAM_OK : head_open(g, err);

    for (size_t i = 0; i < w->n && !rc; i += each) {
        const gr_words part = { w->hidden + i * C, w->wt + i, w->target + i, w->dhidden + i * C, w->loss + i,
                                gr_min(each, w->n - i), w->weigh, w->arg };
        rc = head_chunk(g->head, &part, i, backward, err);
    }
    return rc;
}

size_t gr_grad_trace(const gr_forest *f, size_t s, const gr_example *e, int k, size_t *row, int32_t *target)
{
    size_t asked = gr_asked(e, k), n = e->seq[k].n - asked, seg = 0;

    while (f->leaf_row[s] >= f->seg[seg].row + f->seg[seg].len)
        seg++;
    for (size_t i = n; i-- > 0; ) {
        size_t at = asked + i - 1;           /* this position writes token at + 1 */
        while (f->seg[seg].pos > at)
            seg = f->seg[seg].parent;
        row[i] = f->seg[seg].row + at - f->seg[seg].pos;
        target[i] = e->seq[k].p[at + 1];
    }
    return n;
}

gram_status gr_answers_open(gr_answers *a, gr_grad *g, const gr_forest *f, gr_orders which,
                            const gr_example *const *e, size_t count, gram_err *err)
{
    size_t C = g->cfg->width, all = 0, n = count * which.each;

    *a = (gr_answers){ .rows = 0 };
    for (size_t i = 0; i < n; i++) {
        int k = (int)(which.first + i % which.each);
        all += e[i / which.each]->seq[k].n - gr_asked(e[i / which.each], k);
    }
    a->row = gr_calloc(all, sizeof *a->row);
    a->at = gr_calloc(n + 1, sizeof *a->at);
    a->target = gr_calloc(all, sizeof *a->target);
    a->dhidden = gr_calloc(all * C, sizeof *a->dhidden);
    a->wt = gr_calloc(all, sizeof *a->wt);
    a->loss = gr_calloc(all, sizeof *a->loss);
    if (!a->row || !a->at || !a->target || !a->dhidden || !a->wt || !a->loss)
        return gr_nomem(err, "training rows");
    for (size_t i = 0; i < n; i++) {
        int k = (int)(which.first + i % which.each);
        a->rows += gr_grad_trace(f, i, e[i / which.each], k, a->row + a->rows, a->target + a->rows);
        a->at[i + 1] = a->rows;
    }
    return gr_trainee_forward(g->t, f, a->row, a->rows, &a->hidden, err);
}

void gr_answers_clear(gr_answers *a)
{
    free(a->row);
    free(a->at);
    free(a->target);
    free(a->wt);
    free(a->dhidden);
    free(a->loss);
}

gram_status gr_answers_learn(gr_answers *a, gr_grad *g, bool backward, gr_weigh_words_fn *weigh, void *arg,
                             gram_err *err)
{
    const gr_words w = { a->hidden, a->wt, a->target, a->dhidden, a->loss, a->rows, weigh, arg };
    gram_status rc = gr_grad_words(g, &w, backward, err);

    return rc || !backward ? rc : gr_trainee_backward(g->t, a->dhidden, err);
}

/* The verdict of example i: its label is learnt over the two labels, not over the vocabulary. */
static gram_status learn_verdict(gr_grad *g, const gr_answers *a, const gr_example *const *e, size_t i, double n,
                                 bool backward, gr_sum *sum, gram_err *err)
{
    const gr_example *row = e[i];
    size_t C = g->cfg->width, at = a->at[i] + row->verdict - row->asked;
    double z[2], dd, w = row->weight * g->loss.verdict_weight / n;

    gr_grad_outputs(g, a->hidden + at * C, 1, z);
    sum->loss += w * gr_loss_pair(z[row->right] - z[1 - row->right], row->target, &dd);
    if (backward && !gr_grad_push_verdict(g, a->dhidden + at * C, a->hidden + at * C, z, row->right, w * dd))
        return gr_nomem(err, "training rows");
    sum->right += z[0] == z[1] ? 0.5 : z[row->right] > z[1 - row->right];
    if (sum->p) {
        double *p = sum->p[(size_t)sum->count];
        p[0] = p[1] = 1 / (1 + exp(z[1 - row->right] - z[row->right]));
    }
    sum->count++;
    return GRAM_OK;
}

/* A verdict's row has the weight 0, and so no part in the vocabulary's gradients. */
static void set_weights(const gr_answers *a, const gr_example *const *e, size_t count, double n)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = a->at[i]; k < a->at[i + 1]; k++)
            a->wt[k] = (float)(e[i]->weight / n);
        if (e[i]->verdict)
            a->wt[a->at[i] + e[i]->verdict - e[i]->asked] = 0;
    }
}

gram_status gr_grad_written(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                            bool backward, gr_sum *sum, gram_err *err)
{
    gr_answers a;
    gram_status rc = gr_answers_open(&a, g, f, (gr_orders){ 0, 1 }, e, count, err);

    if (!rc) {
        set_weights(&a, e, count, n);
        rc = gr_grad_words(g, &(gr_words){ a.hidden, a.wt, a.target, a.dhidden, a.loss, a.rows, NULL, NULL }, backward,
                           err);
    }
    for (size_t i = 0; i < count && !rc; i++) {
        for (size_t k = a.at[i]; k < a.at[i + 1]; k++)
            if (!e[i]->verdict || k != a.at[i] + e[i]->verdict - e[i]->asked)
                sum->loss += e[i]->weight * a.loss[k] / n;
        if (e[i]->verdict)
            rc = learn_verdict(g, &a, e, i, n, backward, sum, err);
        else
            sum->count += (double)(a.at[i + 1] - a.at[i]);
    }
    if (!rc && backward)
        rc = gr_trainee_backward(g->t, a.dhidden, err);
    gr_answers_clear(&a);
    return rc;
}
