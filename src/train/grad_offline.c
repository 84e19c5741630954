/* grad_offline.c - DPO and its kin: both answers of a row, as the policy would write them. How much a token weighs is
 * known once both of its row are, so the head over the vocabulary is gone through twice. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "train/grad_int.h"
#include "train/offline.h"

/* Sequence i of the answers, whose reference is at `ref`. */
static gr_whole_answer whole(const gr_answers *a, size_t i, double ref)
{
    gr_whole_answer w = { .ref = ref, .n = a->at[i + 1] - a->at[i] };

    for (size_t t = a->at[i]; t < a->at[i + 1]; t++)
        w.logp -= a->loss[t];
    return w;
}

static void weigh(gr_answers *a, size_t i, double slope)
{
    for (size_t t = a->at[i]; t < a->at[i + 1]; t++)
        a->wt[t] = (float)-slope;
}

/* Whether a loss measures against a reference. */
static bool is_referred(gram_loss kind)
{
    return kind != GRAM_LOSS_SIMPO && kind != GRAM_LOSS_ORPO;
}

/* What TRL calls the reward of an answer: beta u, or beta log pi, a mean over tokens, where there is no reference. */
static double reward(const gr_loss_rules *r, const gr_whole_answer *w)
{
    return r->beta * (is_referred(r->kind) ? w->logp - w->ref : w->logp / (double)w->n);
}

static void note(const gr_loss_rules *r, const gr_whole_answer *w, bool good, gr_sum *sum)
{
    double *p = sum->policy + (good ? 0 : 3);

    p[0]++;
    p[1] += reward(r, w);
    p[2] += w->logp;
}

static void pair(gr_grad *g, gr_answers *a, const gr_example *e, size_t i, double n, gr_sum *sum)
{
    const gr_loss_rules *r = &g->loss;
    const gr_whole_answer w = whole(a, 2 * i, e->ref[0]), l = whole(a, 2 * i + 1, e->ref[1]);
    double slope[2], d = reward(r, &w) - reward(r, &l), scale = e->weight / n;

    sum->loss += scale * gr_loss_offline(r->kind, r->beta, r->gamma, 1 - e->target, &w, &l, slope);
    weigh(a, 2 * i, scale * slope[0]);
    weigh(a, 2 * i + 1, scale * slope[1]);
    note(r, &w, true, sum);
    note(r, &l, false, sum);
    if (sum->p)
        sum->p[(size_t)sum->count][0] = sum->p[(size_t)sum->count][1] = 1 / (1 + exp(-d));
    sum->right += e->tie || d == 0 ? 0.5 : d > 0;
    sum->count++;
}

static void single(gr_grad *g, gr_answers *a, const gr_example *e, size_t i, double n, gr_sum *sum)
{
    const gr_loss_rules *r = &g->loss;
    const gr_whole_answer w = whole(a, i, e->ref[g->look]);
    double z = fmax(g->chosen, 0), scale = e->weight / n, slope, d = r->beta * (w.logp - w.ref - z);

    if (g->look) {
        sum->chosen += (w.logp - w.ref) / n;
        return;
    }
    sum->loss += scale * gr_loss_kto(r->beta, z, e->good, &w, &slope);
    weigh(a, i, scale * slope);
    note(r, &w, e->good, sum);
    if (sum->p)
        sum->p[(size_t)sum->count][0] = sum->p[(size_t)sum->count][1] = 1 / (1 + exp(e->good ? -d : d));
    sum->right += d == 0 ? 0.5 : (d > 0) == e->good;
    sum->count++;
}

gram_status gr_grad_offline(gr_grad *g, const gr_forest *f, const gr_example *const *e, size_t count, double n,
                            bool backward, gr_sum *sum, gram_err *err)
{
    const gr_orders which = { g->look, g->loss.kind == GRAM_LOSS_KTO ? 1 : 2 };
    gr_answers a;
    gram_status rc = gr_answers_open(&a, g, f, which, e, count, err);

    if (!rc)
        rc = gr_answers_learn(&a, g, false, NULL, NULL, err);
    for (size_t i = 0; i < count && !rc; i++)
        (which.each == 1 ? single : pair)(g, &a, e[i], i, n, sum);
    if (!rc && backward)
        rc = gr_answers_learn(&a, g, true, NULL, NULL, err);
    gr_answers_clear(&a);
    return rc;
}

gram_status gr_grad_reference(gr_grad *g, const gr_example *const *e, size_t count, gram_err *err)
{
    const gr_orders both = { 0, 2 };
    gr_sum unread = { 0 };
    gr_answers a = { .rows = 0 };
    gr_forest f;
    gram_status rc = gr_grad_grow(&f, g, both, e, count, &unread, err);

    if (rc)
        return rc;
    rc = gr_answers_open(&a, g, &f, both, e, count, err);
    if (!rc)
        rc = gr_answers_learn(&a, g, false, NULL, NULL, err);
    for (size_t i = 0; i < 2 * count && !rc; i++)
        e[i / 2]->ref[i % 2] = whole(&a, i, 0).logp;
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}
