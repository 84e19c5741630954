/* bon.h - what best-of-n gives at each n, from N judged answers to each prompt.
 *
 * Of N answers each set of n is as likely to be the n that a run would have drawn, and the one that it picks is the
 * likeliest by its key (the proxy's reward). With the answers in the order of their keys, k the number of answers below
 * or at the i-th,
 *
 *     E[value of the pick] = sum over i of C(i-1, n-1) / C(N, n) value_(i)
 *
 * has no bias. Answers whose keys tie are picked alike: a block of them, places a+1 to b, is picked from with
 * probability (C(b, n) - C(a, n)) / C(N, n), and its value is the block's mean. KL(best of n || policy) <= log n -
 * (n-1)/n.
 *
 * Intervals are the 2.5 and 97.5 % points of the mean over 2,000 bootstrap samples of the prompts; rows that
 * share a prompt are drawn together. NAN with fewer than two prompts. */
#ifndef GR_EVAL_BON_H
#define GR_EVAL_BON_H

#include "base/mem.h"
#include "gram/bon.h"

/* gram_best_of() of gram/bon.h. */
double gr_best_of(const double *key, const double *value, size_t N, size_t n);

typedef struct { uint64_t prompt; size_t n; double *proxy, *gold, *length; } gr_bon_group;
typedef struct {
    gr_bon_group *group;        /* [n] owned */
    size_t n, cap;
    bool gold;
} gr_bon;
/* Takes a copy of the answers that have all they need: a finite proxy and, with gold, a finite gold (otherwise gold is
 * ignored and may be NULL). prompt says which prompt it is. */
gram_status gr_bon_add(gr_bon *b, uint64_t prompt, const double *proxy, const double *gold, const double *length,
                       size_t n, gram_err *err);
void gr_bon_clear(gr_bon *b);

/* The curve at n = 1, 2, 4, ... and most, over the prompts that have `most` answers; 0: as many as each has that has
 * one. */
gram_status gr_bon_curve(const gr_bon *b, size_t most, gram_bon_curve *out, gram_err *err);

/* What stands beside the numbers; borrowed. */
typedef struct { const char *name, *judge, *gold, *date; } gr_bon_facts;
gram_status gr_bon_table(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err);
gram_status gr_bon_json(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err);
gram_status gr_bon_page(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err);

#endif
