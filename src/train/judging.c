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

/* Rows of a set that are in memory: of one that lies in a file those of the next micro-batch, and of what it is cut
 * from no more than shows where it ends. */
struct window {
    const gr_set *set;
    size_t next, end;           /* which of the set's rows comes in next, and the end of those that do */
    gr_example *room;           /* [cap] */
    const gr_example **e;       /* [n] */
    size_t n, cap, tokens;
};

static gram_status widen(struct window *w, gram_err *err)
{
    gr_example *room = gr_grown(w->room, w->n, &w->cap, 1, sizeof *room);
    const gr_example **e = room ? realloc(w->e, w->cap * sizeof *e) : NULL;

    if (room)
        memset(room + w->n, 0, (w->cap - w->n) * sizeof *room);
    for (size_t i = 0; e && i < w->n && w->set->cache; i++)
        e[i] = &room[i];                    /* the rooms may have moved */
    w->room = room ? room : w->room;
    w->e = e ? e : w->e;
    return e ? GRAM_OK : gr_nomem(err, "held-out rows");
}

/* Rows come in until there are more tokens than `most`. */
static gram_status fill(struct window *w, size_t most, gram_err *err)
{
    gram_status rc = GRAM_OK;

    while (w->next < w->end && w->tokens <= most && !rc) {
        if (w->n == w->cap)
            rc = widen(w, err);
        if (!rc)
            rc = gr_set_get(w->set, w->next, &w->room[w->n], &w->e[w->n], err);
        if (rc)
            break;
        w->tokens += gr_example_tokens(w->e[w->n++]);
        w->next++;
    }
    return rc;
}

/* The first k are done with. */
static void let_go(struct window *w, size_t k)
{
    for (size_t i = 0; i < w->n; i++) {
        gr_example moved = w->room[i];
        if (i < k) {
            w->tokens -= gr_example_tokens(w->e[i]);
            continue;
        }
        if (!w->set->cache)
            w->e[i - k] = w->e[i];
        w->room[i] = w->room[i - k];        /* whose ids have room for those to come */
        w->room[i - k] = moved;
    }
    w->n -= k;
}

static void window_clear(struct window *w)
{
    for (size_t i = 0; i < w->cap && w->room; i++)
        gr_room_clear(&w->room[i]);
    free(w->room);
    free(w->e);
}

/* The tokens of each row, and what all count together. */
static gram_status measure(const struct loop *l, const gr_set *set, size_t *tokens, double *counts, gram_err *err)
{
    gr_example room = { 0 };
    const gr_example *e;
    gram_status rc = GRAM_OK;

    *counts = 0;
    for (size_t i = 0; i < set->n && !rc; i++) {
        rc = gr_set_get(set, i, &room, &e, err);
        tokens[i] = rc ? 0 : gr_example_tokens(e);
        *counts += rc ? 0 : gr_grad_weight(&l->grad, e);
    }
    gr_room_clear(&room);
    return rc;
}

/* Of the n rows those that are this process's. */
static gram_status judge_own(struct loop *l, struct window *w, size_t n, double counts, gr_sum *sum, bool *stopped,
                             gram_err *err)
{
    const gram_train_options *o = l->r->opt;
    size_t own = w->end - w->next, k;
    gram_status rc = l->r->loss.kind == GRAM_LOSS_KTO ? fill(w, SIZE_MAX, err) : GRAM_OK;   /* it looks at all first */

    if (!rc)
        rc = gr_run_look(l, w->e, w->n, counts, err);
    *stopped = o->judging && o->judging(o->arg, 0, n) != 0;
    for (size_t i = 0; i < own && !rc && !*stopped; i += k) {
        rc = fill(w, l->r->batch_tokens, err);
        if (rc)
            break;
        k = gr_grad_fits(w->e, w->n, l->r->batch_tokens);
        rc = gr_grad_add(&l->grad, w->e, k, counts, false, sum, err);
        let_go(w, k);
        *stopped = !rc && o->judging && o->judging(o->arg, (i + k) * n / own, n) != 0;
    }
    return rc;
}

/* Judges them; *stopped where the caller asked for it, and then they are not. */
static gram_status judge_rows(struct loop *l, gr_held *h, const gr_set *set, bool *stopped, gram_err *err)
{
    size_t n = set->n, first = 0, own = 0, *tokens = gr_calloc(n, sizeof *tokens);
    struct window w = { .set = set };
    double counts = 0;
    gr_sum sum;
    gram_status rc = tokens ? measure(l, set, tokens, &counts, err) : gr_nomem(err, "held-out rows");

    if (!rc)
        gr_share_rows(&l->share, tokens, n, &first, &own);
    free(tokens);
    if (rc)
        return rc;
    w.next = first;
    w.end = first + own;
    memset(h->p, 0, n * sizeof *h->p);
    sum = (gr_sum){ .p = gr_grad_has_verdicts(&l->grad) ? h->p + first : NULL };
    rc = judge_own(l, &w, n, counts, &sum, stopped, err);
    window_clear(&w);
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
    for (size_t k = 0; k < l->r->n_held && !rc && !*stopped; k++)
        rc = judge_rows(l, &l->held[k], &l->r->held[k], stopped, err);
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
        rc = gr_share_values_of_first(&l->share, err);
    if (!rc)
        rc = judge_all(l, &stopped, err);
    return !rc && stopped ? gr_run_stop(l, "", err) : rc;
}
