/* grad_scalar.c - rewards: a row's two answers, each at the end of its conversation, and the head that reads its last
 * token.
 *
 * The losses are those of reward/loss.h. sft-reg also learns the chosen answer's text, whose rows follow those of the
 * last tokens in what is asked of the forward pass. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "reward/loss.h"
#include "train/grad_int.h"

/* The micro-batch on its way. */
struct batch {
    gr_grad *g;
    const gr_example *const *e;
    size_t count, outputs, rows;        /* rows: asked of the forward pass; the first 2 count of them are last tokens */
    double n;
    bool backward;
    size_t *row;                        /* [rows] */
    int32_t *target;                    /* [rows - 2 count] */
    const float *hidden;
    float *dhidden;                     /* [rows, C] */
    double *y, *dy;                     /* [2 count, outputs] */
    float *unit;                        /* [2 count, hidden] of the head; NULL without */
};

static size_t learnt(const struct batch *b, size_t i)
{
    return b->g->loss.kind == GRAM_LOSS_SFT_REG && !b->e[i]->tie ? b->e[i]->seq[0].n - b->e[i]->asked : 0;
}

static gram_status batch_init(struct batch *b, const gr_forest *f, gram_err *err)
{
    size_t C = b->g->cfg->width, at = 2 * b->count;

    b->rows = at;
    for (size_t i = 0; i < b->count; i++)
        b->rows += learnt(b, i);
    b->row = gr_calloc(b->rows, sizeof *b->row);
    b->target = gr_calloc(b->rows, sizeof *b->target);
    b->dhidden = gr_calloc(b->rows * C, sizeof *b->dhidden);
    b->y = gr_calloc(2 * b->count * b->outputs, sizeof *b->y);
    b->dy = gr_calloc(2 * b->count * b->outputs, sizeof *b->dy);
    b->unit = gr_calloc(2 * b->count * b->g->cfg->head.hidden, sizeof *b->unit);
    if (!b->row || !b->target || !b->dhidden || !b->y || !b->dy || !b->unit)
        return gr_nomem(err, "training rows");
    for (size_t i = 0; i < 2 * b->count; i++)
        b->row[i] = f->leaf_row[i];
    for (size_t i = 0; i < b->count; i++)
        if (learnt(b, i))
            at += gr_grad_trace(f, 2 * i, b->e[i], 0, b->row + at, b->target + at - 2 * b->count);
    return GRAM_OK;
}

static void batch_clear(struct batch *b)
{
    free(b->row);
    free(b->target);
    free(b->dhidden);
    free(b->y);
    free(b->dy);
    free(b->unit);
}

static double preference(const struct batch *b, const double *y)
{
    if (b->g->loss.kind == GRAM_LOSS_PURM)
        return gr_purm_preference(y[0] - y[2], hypot(gr_purm_sigma(y[1]), gr_purm_sigma(y[3])));
    return 1 / (1 + exp(y[1] - y[0]));
}

/* The loss of row i by its rewards, and its slopes by what the head gave. */
static double pair_loss(const struct batch *b, size_t i, gr_sum *sum)
{
    const gr_loss_rules *r = &b->g->loss;
    const gr_example *e = b->e[i];
    double *y = b->y + 2 * i * b->outputs, *dy = b->dy + 2 * i * b->outputs, d = y[0] - y[b->outputs], L;

    if (sum->p)                             /* no order is read, so both say the same */
        sum->p[(size_t)sum->count][0] = sum->p[(size_t)sum->count][1] = preference(b, y);
    sum->right += e->tie || d == 0 ? 0.5 : d > 0;
    sum->count++;
    sum->chosen += e->weight * (e->soft * y[0] + (1 - e->soft) * y[b->outputs]) / b->n;
    if (r->kind == GRAM_LOSS_PURM) {
        double s = gr_purm_sigma(y[1]), t = gr_purm_sigma(y[3]), v = hypot(s, t), dv;
        L = gr_loss_purm(d, v, e->target, &dy[0], &dv);
        dy[1] = dv * s * s / (10 * v);
        dy[3] = dv * t * t / (10 * v);
        dy[2] = -dy[0];
        return L;
    }
    L = gr_loss_pair(d - e->margin, e->target, &dy[0]);
    if (r->kind == GRAM_LOSS_SFT_REG) {
        dy[0] *= 1 - r->sft_weight;
        L *= 1 - r->sft_weight;
    }
    dy[b->outputs] = -dy[0];
    return L;
}

/* bt-posreg: the slope that keeps the mean of the chosen answers' rewards, the whole batch's, above 0. */
static void lift(struct batch *b)
{
    const gr_loss_rules *r = &b->g->loss;
    double slope;

    gr_loss_pair(b->g->chosen, 1, &slope);
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < 2; k++)
            b->dy[2 * i + k] += r->posreg * slope * (k ? 1 - b->e[i]->soft : b->e[i]->soft);
}

/* sft-reg: a (-log s(b log pi(chosen | x))), the logarithms summed over the answer's tokens. How much a token weighs is
 * known once all of its answer are, so the head is gone through twice. */
static gram_status learn(struct batch *b, gr_sum *sum, gram_err *err)
{
    const gr_loss_rules *r = &b->g->loss;
    size_t C = b->g->cfg->width, last = 2 * b->count, n = b->rows - last, at = 0;
    double *loss = gr_calloc(n, sizeof *loss);
    float *wt = gr_calloc(n, sizeof *wt);
    const gr_words w = { b->hidden + last * C, wt, b->target, b->dhidden + last * C, loss, n, NULL, NULL };
    gram_status rc = loss && wt ? gr_grad_words(b->g, &w, false, err) : gr_nomem(err, "training rows");

    for (size_t i = 0; i < b->count && !rc; i++) {
        double log_p = 0, slope, scale = r->sft_weight * b->e[i]->weight / b->n;
        if (!learnt(b, i))                  /* a tie: no text, so no term; -log s(0) would stand for one */
            continue;
        for (size_t k = 0; k < learnt(b, i); k++)
            log_p -= loss[at + k];
        sum->loss += scale * gr_loss_pair(r->sft_beta * log_p, 1, &slope);
        for (size_t k = 0; k < learnt(b, i); k++)
            wt[at + k] = (float)(-scale * slope * r->sft_beta);
        at += learnt(b, i);
    }
    if (!rc && b->backward)
        rc = gr_grad_words(b->g, &w, true, err);
    free(loss);
    free(wt);
    return rc;
}

static void rewards(struct batch *b)
{
    const gr_head *h = gr_trainee_score(b->g->t);
    size_t n = 2 * b->count * h->hidden;
    bool *on = b->g->on.unit ? b->g->on.unit + b->g->on.at : NULL;

    for (size_t i = 0; i < 2 * b->count; i++)
        gr_head_fwd(h, b->unit + i * h->hidden, b->g->on.known ? on + i * h->hidden : NULL, b->hidden + i * h->width,
                    b->y + i * h->outputs);
    for (size_t i = 0; i < n && on && !b->g->on.known; i++)
        on[i] = b->unit[i] > 0;
    b->g->on.at += on ? n : 0;
}

/* The slopes reach the last hidden states and the head. */
static void push_back(struct batch *b)
{
    const gr_head *h = gr_trainee_score(b->g->t), *g = gr_trainee_score_grad(b->g->t);

    for (size_t i = 0; i < 2 * b->count; i++) {
        double *dy = b->dy + i * h->outputs;
        for (size_t k = 0; k < h->outputs; k++)
            dy[k] = b->e[i / 2]->weight * dy[k] / b->n;
        gr_head_bwd(h, g, b->dhidden + i * h->width, b->unit + i * h->hidden, b->hidden + i * h->width, dy);
    }
}

gram_status gr_grad_scalar(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                           bool backward, gr_sum *sum, gram_err *err)
{
    struct batch b = { .g = g, .e = e, .count = count, .outputs = gr_grad_width(g), .n = n, .backward = backward };
    gr_sum part = { .p = sum->p ? sum->p + (size_t)sum->count : NULL };
    gram_status rc = batch_init(&b, f, err);

    if (!rc)
        rc = gr_trainee_forward(g->t, f, b.row, b.rows, &b.hidden, err);
    if (!rc)
        rewards(&b);
    for (size_t i = 0; i < count && !rc; i++)
        part.loss += e[i]->weight * pair_loss(&b, i, &part) / n;
    if (!rc && backward && g->loss.kind == GRAM_LOSS_BT_POSREG)
        lift(&b);
    if (!rc && b.rows > 2 * count)
        rc = learn(&b, &part, err);
    if (!rc && backward) {
        push_back(&b);
        rc = gr_trainee_backward(g->t, b.dhidden, err);
    }
    sum->loss += part.loss;
    sum->right += part.right;
    sum->count += part.count;
    sum->chosen += part.chosen;
    batch_clear(&b);
    return rc;
}
