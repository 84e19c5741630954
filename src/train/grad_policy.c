/* grad_policy.c - answers that a policy wrote: what each of their tokens weighs, by policy.h, on the way back.
 *
 * What a token weighs follows from its log-probability, and under a ratio of answers from all of the answer's: the head
 * over the vocabulary is gone through twice. */
#include <stdlib.h>
#include "base/err.h"
#include "train/grad_int.h"

gram_status gr_answers_of(gr_answers *a, gr_forest *f, gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum,
                          gram_err *err)
{
    const gr_example **e = gr_calloc(count, sizeof(*e));
    gram_status rc = e ? GRAM_OK : gr_nomem(err, "training rows");

    *a = (gr_answers){ .rows = 0 };
    *f = (gr_forest){ 0 };
    for (size_t i = 0; i < count && !rc; i++)
        e[i] = &s[i]->e;
    if (!rc)
        rc = gr_grad_grow(f, g, (gr_orders){ 0, 1 }, e, count, sum, err);
    if (!rc)
        rc = gr_answers_open(a, g, f, (gr_orders){ 0, 1 }, e, count, err);
    free(e);
    return rc;
}

/* The forest of the samples and a forward pass over it, and the log-probabilities. */
static gram_status read_samples(gr_answers *a, gr_forest *f, gr_grad *g, gr_sampled *const *s, size_t count,
                                gr_sum *sum, gram_err *err)
{
    gram_status rc = gr_answers_of(a, f, g, s, count, sum, err);

    if (!rc)
        rc = gr_answers_learn(a, g, false, err);
    for (size_t i = 0; i < count && !rc; i++)
        for (size_t t = a->at[i]; t < a->at[i + 1]; t++)
            s[i]->logp[t - a->at[i]] = -a->loss[t];
    return rc;
}

gram_status gr_grad_logp(gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum, gram_err *err)
{
    gr_answers a;
    gr_forest f;
    gram_status rc = read_samples(&a, &f, g, s, count, sum, err);

    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}

/* weight: room for the longest answer. */
static void weigh(gr_answers *a, const gr_policy_rules *rules, gr_sampled *const *s, size_t count, gr_policy_counts n,
                  double *weight, gr_policy_sum *policy)
{
    for (size_t i = 0; i < count; i++) {
        const gr_policy_answer one = { s[i]->logp, s[i]->old, s[i]->ref, s[i]->advantage, a->at[i + 1] - a->at[i] };
        gr_policy_add(rules, &one, n, weight, policy);
        for (size_t t = 0; t < one.n; t++)
            a->wt[a->at[i] + t] = (float)weight[t];
    }
}

gram_status gr_grad_policy(gr_grad *g, const gr_policy_rules *rules, gr_sampled *const *s, size_t count,
                           gr_policy_counts n, gr_policy_sum *policy, gr_sum *sum, gram_err *err)
{
    double was = policy->loss, *weight = NULL;
    gr_answers a;
    gr_forest f;
    gram_status rc = read_samples(&a, &f, g, s, count, sum, err);

    if (!rc && !(weight = gr_calloc(a.rows, sizeof *weight)))
        rc = gr_nomem(err, "training rows");
    if (!rc) {
        weigh(&a, rules, s, count, n, weight, policy);
        rc = gr_answers_learn(&a, g, true, err);
    }
    sum->loss += policy->loss - was;
    sum->count += (double)a.rows;
    free(weight);
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}
