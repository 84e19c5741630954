/* temperature.c - see temperature.h. */
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/metrics.h"
#include "eval/temperature.h"
#include "reward/loss.h"

#define LOWEST  0.01
#define HIGHEST 100.0

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

/* The logit margin that p was made of. */
static double margin_of(double p, double was)
{
    return was * (log(p) - log1p(-p));
}

double gr_eval_at(const gr_eval_row *r, double was, double t)
{
    double forward, swapped;

    was = was > 0 ? was : 1;
    if (t == was || (r->preference == 0.5 && r->logit_margin == 0))
        return r->preference;
    if (r->rewarded)
        return r->spread ? gr_purm_preference(r->logit_margin / t, hypot(r->sigma[0], r->sigma[1]) / t)
                         : sigmoid(r->logit_margin / t);
    if (!gr_eval_both(r))
        return sigmoid(r->logit_margin / t);
    /* logit_margin is the mean of both orders' margins. The order whose probability is nearer to one half says more
     * exactly what its own was, and the other's follows. */
    if (fabs(r->p_forward - 0.5) <= fabs(r->p_swapped - 0.5)) {
        forward = margin_of(r->p_forward, was);
        swapped = 2 * r->logit_margin - forward;
    } else {
        swapped = margin_of(r->p_swapped, was);
        forward = 2 * r->logit_margin - swapped;
    }
    /* Both are so sure that a double holds no more: of one mind each is about their mean. */
    if (!isfinite(forward) || !isfinite(swapped))
        return r->consistent ? sigmoid(r->logit_margin / t) : r->preference;
    return (sigmoid(forward / t) + sigmoid(swapped / t)) / 2;
}

static bool counts(const gr_eval_row *r)
{
    return !r->dropped && !(r->preference == 0.5 && r->logit_margin == 0);
}

/* The mean of -log p over the rows that count. */
static double nll(const gr_eval_row *row, size_t n, double was, double t)
{
    double sum = 0;
    size_t used = 0;

    for (size_t i = 0; i < n; i++)
        if (counts(&row[i])) {
            sum -= log(fmax(gr_eval_at(&row[i], was, t), 1e-300));
            used++;
        }
    return sum / (double)used;
}

/* The lowest of a grid over log T, then golden section between its neighbours. The likelihood of one reward model has a
 * single peak; that of two averaged orders need not have, and the grid sees to that. */
static double search(const gr_eval_row *row, size_t n, double was)
{
    enum { POINTS = 61 };
    const double step = log(HIGHEST / LOWEST) / (POINTS - 1), golden = (sqrt(5) - 1) / 2;
    double best = INFINITY, low, high, x[2], y[2];
    size_t at = 0;

    for (size_t i = 0; i < POINTS; i++) {
        double L = nll(row, n, was, exp(log(LOWEST) + step * (double)i));
        if (L < best) {
            best = L;
            at = i;
        }
    }
    if (at == 0 || at == POINTS - 1)
        return at ? HIGHEST : LOWEST;
    low = log(LOWEST) + step * (double)(at - 1);
    high = low + 2 * step;
    for (int k = 0; k < 2; k++) {
        x[k] = k ? low + golden * (high - low) : high - golden * (high - low);
        y[k] = nll(row, n, was, exp(x[k]));
    }
    while (high - low > 1e-6) {
        int worse = y[0] < y[1];                        /* the half beyond it goes */
        if (worse) {
            high = x[1];
            x[1] = x[0];
            y[1] = y[0];
            x[0] = high - golden * (high - low);
        } else {
            low = x[0];
            x[0] = x[1];
            y[0] = y[1];
            x[1] = low + golden * (high - low);
        }
        y[!worse] = nll(row, n, was, exp(x[!worse]));
    }
    return exp((low + high) / 2);
}

/* How far from the best T, on one side of it, the log-likelihood is lower by the half of 3.841, which chi-square with
 * one degree of freedom exceeds in 5 of 100 draws: the end of the 95 % interval, or of the search. */
static double end_of(const gr_eval_row *row, size_t n, double was, const gram_temperature_fit *best, double beyond)
{
    const double allowed = best->nll_after + 3.841458820694124 / 2 / (double)best->pairs;
    double in = log(best->temperature), out = log(beyond);

    if (nll(row, n, was, beyond) <= allowed)
        return beyond;
    while (fabs(out - in) > 1e-6) {
        double middle = (in + out) / 2;
        if (nll(row, n, was, exp(middle)) <= allowed)
            in = middle;
        else
            out = middle;
    }
    return exp((in + out) / 2);
}

static gram_status ece_at(const gr_eval_row *row, size_t n, double was, double t, double *ece, gram_err *err)
{
    gr_eval_row *copy = gr_calloc(n, sizeof *copy);
    size_t *index = gr_calloc(n, sizeof *index);
    gr_eval_stats s;
    gram_status rc = copy && index ? GRAM_OK : gr_nomem(err, "temperature");

    for (size_t i = 0; i < n && !rc; i++) {
        copy[i] = row[i];                               /* borrows its texts */
        copy[i].preference = row[i].dropped ? NAN : gr_eval_at(&row[i], was, t);
        index[i] = i;
    }
    if (!rc)
        rc = gr_eval_stats_of(copy, index, n, &s, err);
    if (!rc)
        *ece = s.ece;
    free(copy);
    free(index);
    return rc;
}

gram_status gr_eval_fit_temperature(const gr_eval_row *row, size_t n, double was, gram_temperature_fit *out,
                                    gram_err *err)
{
    gram_status rc;

    *out = (gram_temperature_fit){ 0 };
    was = was > 0 ? was : 1;
    for (size_t i = 0; i < n; i++)
        out->pairs += counts(&row[i]);
    if (out->pairs == 0)
        return gr_fail(err, GRAM_EARG, "no temperature can be fitted: no row has a verdict that is no tie");
    out->temperature = search(row, n, was);
    if (out->temperature == LOWEST)
        return gr_fail(err, GRAM_EARG, "no temperature fits: all %llu pairs are judged right, or too few are not",
                       (unsigned long long)out->pairs);
    if (out->temperature == HIGHEST)
        return gr_fail(err, GRAM_EARG, "no temperature fits: on these %llu pairs the judge is no better than chance",
                       (unsigned long long)out->pairs);
    out->nll_before = nll(row, n, was, was);
    out->nll_after = nll(row, n, was, out->temperature);
    out->low = end_of(row, n, was, out, LOWEST);
    out->high = end_of(row, n, was, out, HIGHEST);
    rc = ece_at(row, n, was, was, &out->ece_before, err);
    return rc ? rc : ece_at(row, n, was, out->temperature, &out->ece_after, err);
}
