/* vote.c - what k rationales say together. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "rationale/reason.h"
#include "reward/score.h"

void gram_rationale_options_init(gram_rationale_options *o)
{
    *o = (gram_rationale_options){ .votes = 2, .max_tokens = 512, .temperature = 1, .top_p = 1, .sure = 0.9 };
}

const char *gram_rationale_status_name(gram_rationale_status s)
{
    return s == GRAM_RATIONALE_CLOSED ? "closed" : "forced";
}

void gr_rationale_clear(gram_rationale *v)
{
    free(v->text);
    *v = (gram_rationale){ 0 };
}

void gram_reasoned_clear(gram_reasoned *v)
{
    for (size_t i = 0; i < v->n; i++)
        gr_rationale_clear(&v->rationale[i]);
    free(v->rationale);
    *v = (gram_reasoned){ 0 };
}

double gr_reason_soft(const gram_rationale *v, size_t k)
{
    double sum = 0;

    for (size_t i = 0; i < k; i++)
        sum += v[i].p;
    return sum / (double)k;
}

/* sd(p) / sqrt(k), with k - 1 in the variance. */
static double standard_error(const gram_rationale *v, size_t k)
{
    double mean = gr_reason_soft(v, k), squares = 0;

    for (size_t i = 0; i < k; i++)
        squares += (v[i].p - mean) * (v[i].p - mean);
    return k > 1 ? sqrt(squares / (double)(k - 1) / (double)k) : NAN;
}

/* The mean of one order; NAN where it has no rationale. */
static double order_mean(const gram_rationale *v, size_t k, bool swapped)
{
    double sum = 0;
    size_t n = 0;

    for (size_t i = 0; i < k; i++)
        if (v[i].swapped == swapped) {
            sum += v[i].p;
            n++;
        }
    return n ? sum / (double)n : NAN;
}

/* Answers that are the same: nothing was written. */
static void set_tie(gram_reasoned *out, bool single_order)
{
    out->verdict.preference = out->verdict.p_forward = 0.5;
    out->verdict.p_swapped = single_order ? NAN : 0.5;
    out->verdict.consistent = true;
    out->hard = out->first_seat = 0.5;
    out->error = 0;
}

void gr_reason_vote(gram_reasoned *out, bool single_order)
{
    const gram_rationale *v = out->rationale;
    gram_verdict *g = &out->verdict;
    double margin = 0, first = 0;

    if (!out->n) {
        set_tie(out, single_order);
        return;
    }
    for (size_t i = 0; i < out->n; i++) {
        double d = (double)v[i].logit[0] - v[i].logit[1];
        margin += v[i].swapped ? -d : d;
        first += v[i].p == 0.5 ? 0.5 : (v[i].p > 0.5) != v[i].swapped;
        out->votes[0] += v[i].p > 0.5;
        out->votes[1] += v[i].p < 0.5;
        out->forced += v[i].status == GRAM_RATIONALE_FORCED;
        out->contradicts += v[i].contradicts;
        out->written += v[i].tokens;
    }
    g->preference = gr_reason_soft(v, out->n);
    g->p_forward = order_mean(v, out->n, false);
    g->p_swapped = order_mean(v, out->n, true);
    g->logit_margin = margin / (double)out->n;
    g->consistent = gr_orders_agree(g->p_forward - 0.5, g->p_swapped - 0.5);     /* NAN agrees */
    for (size_t i = gr_min(out->n, 2); i-- > 0; )           /* where both are of one order the first stays */
        memcpy(g->logit[v[i].swapped], v[i].logit, sizeof v[i].logit);
    out->error = standard_error(v, out->n);
    out->hard = ((double)out->votes[0] + 0.5 * (double)(out->n - out->votes[0] - out->votes[1])) / (double)out->n;
    out->first_seat = first / (double)out->n;
}
