/* judging.c - held-out rows while a run is on its way: how well they are judged, and which weights did it best.
 *
 * The first set decides what is best and when patience ends; the others are judged beside it. Stage 1 has no verdict,
 * so its rows have a loss alone. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "train/output.h"
#include "train/loop_int.h"

/* What each process has of them becomes that of all. */
static gram_status put_together(struct loop *l, gr_held *h, size_t n, gr_sum *sum, bool *stopped, gram_err *err)
{
    gram_status rc = gr_dist_broadcast(l->share.d, stopped, sizeof *stopped, err);

    if (!rc && !*stopped)
        rc = gr_share_sum(&l->share, sum, err);
    if (!rc && !*stopped)
        rc = gr_dist_sum(l->share.d, h->p[0], 2 * n, err);
    return rc;
}

/* Judges them; *stopped where the caller asked for it, and then they are not. */
static gram_status judge_rows(struct loop *l, gr_held *h, const gr_example *const *e, size_t n, bool *stopped,
                              gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    double counts = 0;
    size_t first, own, k;
    gr_sum sum;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n; i++)
        counts += gr_grad_weight(&l->grad, e[i]);
    gr_share_rows(&l->share, e, n, &first, &own);
    memset(h->p, 0, n * sizeof *h->p);
    sum = (gr_sum){ .p = gr_grad_has_verdicts(&l->grad) ? h->p + first : NULL };
    rc = gr_run_look(l, e + first, own, counts, err);
    *stopped = o->judging && o->judging(o->arg, 0, n) != 0;
    for (size_t i = 0; i < own && !rc && !*stopped; i += k) {
        k = gr_grad_fits(e + first + i, own - i, l->r->batch_tokens);
        rc = gr_grad_add(&l->grad, e + first + i, k, counts, false, &sum, err);
        *stopped = !rc && o->judging && o->judging(o->arg, (i + k) * n / own, n) != 0;
    }
    if (!rc)
        rc = put_together(l, h, n, &sum, stopped, err);
    gr_grad_whole(&l->grad, &sum);
    if (!rc && !*stopped && !isfinite(sum.loss))
        rc = gr_fail(err, GRAM_EFORMAT, "after step %" PRIu64 ": the loss of the held-out rows is %g: the run has "
                     "diverged; a smaller `lr` may help", l->state.step, sum.loss);
    h->n = rc || *stopped ? 0 : n;
    h->loss = sum.loss;
    h->accuracy = gr_grad_accuracy(&l->grad, &sum);
    return rc;
}

static gram_status judge_all(struct loop *l, bool *stopped, gram_err *err)
{
    gram_status rc = GRAM_OK;

    *stopped = false;
    if (l->r->source)
        return l->r->source->judge(l->r->source->arg, &l->grad, l->state.step, l->held, stopped, err);
    for (size_t k = 0; k < l->r->n_held && !rc && !*stopped; k++) {
        const gr_set *held = &l->r->held[k];
        const gr_example **e = gr_calloc(held->n, sizeof *e);
        if (!e)
            return gr_nomem(err, "held-out rows");
        for (size_t i = 0; i < held->n; i++)
            e[i] = &held->e[i];
        rc = judge_rows(l, &l->held[k], e, held->n, stopped, err);
        free(e);
    }
    return rc;
}

bool gr_judging_due(const struct loop *l)
{
    uint64_t step = l->state.step, every = l->r->opt->eval_every;

    return l->r->held->n > 0 && l->state.judged != step &&
           (step == 0 || step == l->steps || gr_run_is_time(l, every));
}

/* Where two are as often right, or nothing can be, the smaller loss is better; where that is equal too, the earlier. */
static bool is_best(const struct loop *l)
{
    const gr_state *s = &l->state;
    const gr_held *h = l->held;

    return s->best == GR_NEVER || h->accuracy > s->best_accuracy ||
           ((h->accuracy == s->best_accuracy || isnan(h->accuracy)) && h->loss < s->best_loss);
}

/* What was judged, on the disk and for whoever listens. */
static gram_status tell(const struct loop *l, bool best, gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < l->r->n_held && !rc && gr_run_is_first(l); k++) {
        const gr_held *h = &l->held[k];
        rc = gr_metrics_held(l->metrics, l->state.step, k, l->r->held_name[k], h, err);
        if (!rc && o->held)
            o->held(o->arg, &(gram_train_held){ l->state.step, h->n, l->r->held_name[k], h->loss, h->accuracy,
                                                best && k == 0 });
    }
    return rc;
}

/* Whether the weights that a run begins with may be its best: a policy may have nothing to gain, or lose what it had. A
 * judge that begins with half of its verdicts right is never what somebody trains for. */
static bool may_start_best(const struct loop *l)
{
    return l->r->source && (l->r->opt->best || l->r->opt->eval_every);
}

gram_status gr_judging(struct loop *l, gram_err *err)
{
    gr_state *s = &l->state;
    bool stopped, best;
    gram_status rc = judge_all(l, &stopped, err);

    if (!rc && stopped)
        return gr_run_stop(l, "", err);
    best = (s->step > 0 || may_start_best(l)) && is_best(l);
    if (!rc)
        rc = tell(l, best, err);
    if (rc)
        return rc;
    s->judged = s->step;
    s->waited = best || s->step == 0 ? 0 : s->waited + 1;
    if (!best)
        return GRAM_OK;
    if (s->step < l->steps && gr_run_is_first(l))
        rc = gr_output_best(l->r, s->step, l->steps, err);
    s->best = s->step;
    s->best_accuracy = l->held->accuracy;
    s->best_loss = l->held->loss;
    return rc;
}

gram_status gr_judging_take_best(struct loop *l, gram_err *err)
{
    bool stopped = false;
    gram_status rc = GRAM_OK;

    if (gr_run_is_first(l))
        rc = gr_output_take_best(l->r, l->state.best, err);
    if (!rc)
        rc = gr_share_collect(&l->share, 0, err);
    if (!rc)
        rc = gr_share_spread(&l->share, 0, err);
    if (!rc)
        rc = judge_all(l, &stopped, err);
    return !rc && stopped ? gr_run_stop(l, "", err) : rc;
}
