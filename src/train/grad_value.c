/* grad_value.c - what the rest of an answer will bring, by a reward head that reads the token before each of its
 * tokens.
 *
 * The first of an answer's values is read at the last token of the prompt, as the first token is written from there. */
#include <stdlib.h>
#include "base/err.h"
#include "train/grad_int.h"

/* The forward pass, and the values. unit [rows, hidden] of the head; NULL without. */
static gram_status read_values(gr_answers *a, gr_forest *f, gr_grad *g, gr_sampled *const *s, size_t count,
                               float **unit, gr_sum *sum, gram_err *err)
{
    const gr_head *h = gr_trainee_score(g->t);
    gram_status rc = gr_answers_of(a, f, g, s, count, sum, err);

    *unit = NULL;
    if (!rc && h->hidden && !(*unit = gr_calloc(a->rows * h->hidden, sizeof **unit)))
        rc = gr_nomem(err, "values");
    for (size_t i = 0; i < count && !rc; i++)
        for (size_t r = a->at[i]; r < a->at[i + 1]; r++)
            gr_head_fwd(h, *unit ? *unit + r * h->hidden : NULL, NULL, a->hidden + r * h->width,
                        &s[i]->value[r - a->at[i]]);
    return rc;
}

gram_status gr_grad_values(gr_grad *g, gr_sampled *const *s, size_t count, gr_sum *sum, gram_err *err)
{
    gr_answers a;
    gr_forest f;
    float *unit;
    gram_status rc = read_values(&a, &f, g, s, count, &unit, sum, err);

    free(unit);
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}

/* The slopes reach the hidden states and the head. */
static void push_back(gr_answers *a, gr_grad *g, const gr_value_rules *rules, gr_sampled *const *s, size_t count,
                      const float *unit, double n, gr_value_sum *sum)
{
    const gr_head *h = gr_trainee_score(g->t), *grad = gr_trainee_score_grad(g->t);
    double dy;
    bool clipped;

    for (size_t i = 0; i < count; i++)
        for (size_t r = a->at[i], t = 0; r < a->at[i + 1]; r++, t++) {
            sum->loss += gr_policy_value(s[i]->value[t], s[i]->before[t], s[i]->returns[t], rules->clip, &dy,
                                         &clipped) / n;
            sum->clipped += clipped;
            sum->tokens++;
            dy *= rules->weight / n;
            gr_head_bwd(h, grad, a->dhidden + r * h->width, unit ? unit + r * h->hidden : NULL,
                        a->hidden + r * h->width, &dy);
        }
}

gram_status gr_grad_value(gr_grad *g, const gr_value_rules *rules, gr_sampled *const *s, size_t count, double n,
                          gr_value_sum *value, gr_sum *sum, gram_err *err)
{
    gr_answers a;
    gr_forest f;
    float *unit;
    gram_status rc = read_values(&a, &f, g, s, count, &unit, sum, err);

    if (!rc) {
        push_back(&a, g, rules, s, count, unit, n, value);
        rc = gr_trainee_backward(g->t, a.dhidden, err);
    }
    free(unit);
    gr_answers_clear(&a);
    gr_forest_clear(&f, true);
    return rc;
}
