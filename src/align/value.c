/* value.c - PPO: what a value model says of each token, and what came of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "base/err.h"

struct reading { gr_grad *g; gr_sum *sum; };

static gram_status read_some(void *arg, gr_sampled *const *s, size_t n, gram_err *err)
{
    struct reading *r = arg;

    return gr_grad_values(r->g, s, n, r->sum, err);
}

/* It goes the way of the policy: as many of its layers are recomputed. */
static void get_ready(gr_align *a, const gr_grad *g)
{
    if (!a->value_ready)
        gr_trainee_recompute(a->value.t, gr_trainee_recomputed(g->t));
    a->value_ready = true;
}

gram_status gr_align_read_values(gr_align *a, const gr_grad *g, gr_sum *sum, gram_err *err)
{
    gr_sampled **s = gr_calloc(a->n, sizeof *s);
    struct reading r = { &a->value, sum };
    gr_part own = gr_align_part(a, a->prompts);
    size_t n = 0;
    gram_status rc = s ? GRAM_OK : gr_nomem(err, "samples");

    get_ready(a, g);
    gr_trainee_keep(a->value.t);
    for (size_t i = 0; i < a->n && !rc; i++) {
        gr_answer *x = &a->answer[i];
        if (x->k == GR_GREEDY)
            continue;
        x->s.value = x->numbers + GR_AT_VALUE * x->n;
        if (x->place >= own.at && x->place < own.at + own.n)
            s[n++] = &x->s;
    }
    if (!rc)
        rc = gr_align_batches(a, s, n, read_some, &r, err);
    if (!rc)
        rc = gr_align_gather_numbers(a, GR_AT_VALUE, err);
    for (size_t i = 0; i < a->n && !rc; i++) {
        gr_answer *x = &a->answer[i];
        if (x->s.value)
            x->s.before = memcpy(x->numbers + GR_AT_BEFORE * x->n, x->s.value, x->n * sizeof *x->s.value);
    }
    gr_trainee_release(a->value.t);
    free(s);
    return rc;
}

/* The reward of each token: what the KL takes there, and at the last one what the judge gave and the penalties left. */
static void token_rewards(const gr_align *a, const gr_answer *x, double *r)
{
    const gram_align_options *o = gr_align_opt(a);
    double taken = 0, slope;

    for (size_t t = 0; t < x->n; t++) {
        r[t] = 0;
        if (x->s.ref && o->kl && o->kl_in == GRAM_KL_IN_REWARD)
            r[t] = -a->beta * gr_policy_kl((gr_kl)o->kl, x->s.ref[t] - x->s.logp[t], &slope);
        taken += r[t];
    }
    r[x->n - 1] += x->shaped - taken;
}

void gr_align_gae(const gr_align *a, gr_answer *x)
{
    double *r = x->numbers + GR_AT_RETURN * x->n, sum = 0;

    token_rewards(a, x, r);
    gr_advantage_gae(r, x->s.before, x->n, gr_align_opt(a)->gae_gamma, gr_align_opt(a)->gae_lambda, x->s.advantage, r);
    x->s.returns = r;
    for (size_t t = 0; t < x->n; t++)
        sum += x->s.advantage[t];
    x->worth = sum / (double)x->n;
}

struct learning { gr_align *a; gr_policy_counts counts; gr_value_sum value; gr_sum *sum; };

static gram_status learn_some(void *arg, gr_sampled *const *s, size_t n, gram_err *err)
{
    struct learning *l = arg;
    const gram_align_options *o = gr_align_opt(l->a);
    const gr_value_rules rules = { o->value_clip, o->value_weight };

    return gr_grad_value(&l->a->value, &rules, s, n, l->counts.tokens, &l->value, l->sum, err);
}

gram_status gr_align_learn_values(gr_align *a, gr_sampled *const *s, size_t n, gr_policy_counts counts, uint64_t step,
                                  gr_sum *sum, gram_err *err)
{
    struct learning l = { .a = a, .counts = counts, .sum = sum };
    double all[3];
    gram_status rc;

    gr_trainee_zero(a->value.t);
    gr_trainee_drop(a->value.t, ~a->f.opt->seed, step);
    rc = gr_align_batches(a, s, n, learn_some, &l, err);
    gr_trainee_release(a->value.t);
    sum->loss += gr_align_opt(a)->value_weight * l.value.loss;
    all[0] = l.value.loss;
    all[1] = l.value.clipped;
    all[2] = l.value.tokens;
    if (!rc)
        rc = gr_dist_sum(a->f.opt->dist, all, GR_COUNT(all), err);
    gr_align_number(a, "loss/value_avg", all[0]);
    gr_align_number(a, "val/clipfrac_avg", all[1] / all[2]);
    return rc;
}

/* How much of what came the values had said: 1 - var(R - V) / var(R). */
double gr_align_explained(const gr_align *a)
{
    double n = 0, mean[2] = { 0 }, squares[2] = { 0 };

    for (size_t i = 0; i < a->n; i++)
        for (size_t t = 0; a->answer[i].learnt && t < a->answer[i].n; t++) {
            const gr_sampled *s = &a->answer[i].s;
            const double x[2] = { s->returns[t], s->returns[t] - s->before[t] };
            n++;
            for (int k = 0; k < 2; k++) {
                double d = x[k] - mean[k];
                mean[k] += d / n;
                squares[k] += d * (x[k] - mean[k]);
            }
        }
    return squares[0] > 0 ? 1 - squares[1] / squares[0] : NAN;
}
