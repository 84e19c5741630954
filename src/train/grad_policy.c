/* grad_policy.c - answers that a policy wrote: what each of their tokens weighs, by policy.h, on the way back.
 *
 * What a token weighs follows from its log-probability, which is known where its logits are. Under a ratio of answers
 * it follows from all of the answer's, and the head over the vocabulary is gone through twice. */
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

/* Samples on the way back. */
struct learning {
    gr_answers *a;
    const gr_policy_rules *rules;
    gr_sampled *const *s;
    size_t count, next;             /* the answer that the next row belongs to */
    gr_policy_counts n;
    double *weight;                 /* room for the longest answer */
};

static void take_logp(const gr_answers *a, gr_sampled *s, size_t i, size_t from, size_t to)
{
    for (size_t t = from; t < to; t++)
        s->logp[t] = -a->loss[a->at[i] + t];
}

static gr_policy_answer answer_of(const gr_answers *a, const gr_sampled *s, size_t i)
{
    return (gr_policy_answer){ s->logp, s->old, s->ref, s->advantage, a->at[i + 1] - a->at[i] };
}

static void put_weights(struct learning *l, size_t i, size_t from, size_t to)
{
    for (size_t t = from; t < to; t++)
        l->a->wt[l->a->at[i] + t] = (float)l->weight[t];
}

/* gr_weigh_words_fn, where a token's weight is its own. */
static void weigh_rows(void *arg, size_t first, size_t n)
{
    struct learning *l = arg;
    const gr_answers *a = l->a;

    for (size_t end = first + n; first < end; ) {
        size_t i = l->next, from = first - a->at[i], to = gr_min(end, a->at[i + 1]) - a->at[i];
        const gr_policy_answer one = answer_of(a, l->s[i], i);
        take_logp(a, l->s[i], i, from, to);
        gr_policy_weigh(l->rules, &one, from, to, l->n, l->weight);
        put_weights(l, i, from, to);
        first = a->at[i] + to;
        l->next += first == a->at[i + 1];
    }
}

/* Counts all answers, and what their tokens weigh, too. */
static void count_answers(struct learning *l, gr_policy_sum *policy)
{
    for (size_t i = 0; i < l->count; i++) {
        const gr_policy_answer one = answer_of(l->a, l->s[i], i);
        gr_policy_add(l->rules, &one, l->n, l->weight, policy);
        put_weights(l, i, 0, one.n);
    }
}

static gram_status take_losses(gr_answers *a, gr_grad *g, gr_sampled *const *s, size_t count, gram_err *err)
{
    gram_status rc = gr_answers_learn(a, g, false, NULL, NULL, err);

    for (size_t i = 0; i < count && !rc; i++)
        take_logp(a, s[i], i, 0, a->at[i + 1] - a->at[i]);
    return rc;
}

gram_status gr_grad_logp(gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum, gram_err *err)
{
    gr_answers a;
    gr_forest f;
    gram_status rc = gr_answers_of(&a, &f, g, s, count, sum, err);

    if (!rc)
        rc = take_losses(&a, g, s, count, err);
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}

static gram_status learn(struct learning *l, gr_grad *g, gr_policy_sum *policy, gram_err *err)
{
    bool once = gr_policy_by_token(l->rules);
    gram_status rc = once ? gr_answers_learn(l->a, g, true, weigh_rows, l, err)
                          : take_losses(l->a, g, l->s, l->count, err);

    if (!rc)
        count_answers(l, policy);
    return rc || once ? rc : gr_answers_learn(l->a, g, true, NULL, NULL, err);
}

gram_status gr_grad_policy(gr_grad *g, const gr_policy_rules *rules, gr_sampled *const *s, size_t count,
                           gr_policy_counts n, gr_policy_sum *policy, gr_sum *sum, gram_err *err)
{
    double was = policy->loss;
    gr_answers a;
    struct learning l = { .a = &a, .rules = rules, .s = s, .count = count, .n = n };
    gr_forest f;
    gram_status rc = gr_answers_of(&a, &f, g, s, count, sum, err);

    if (!rc && !(l.weight = gr_calloc(a.rows, sizeof *l.weight)))
        rc = gr_nomem(err, "training rows");
    if (!rc)
        rc = learn(&l, g, policy, err);
    sum->loss += policy->loss - was;
    sum->count += (double)a.rows;
    free(l.weight);
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}
