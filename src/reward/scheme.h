/* scheme.h - rewards for n responses from comparisons of two, as gram/judge.h lays the schemes down.
 *
 * Comparisons are asked for in rounds, as many at once as a scheme can, and each is remembered both ways. Where one
 * cannot be made, a response is to blame; it is left out, and the scheme begins again over the others with all that is
 * known. */
#ifndef GR_REWARD_SCHEME_H
#define GR_REWARD_SCHEME_H

#include "gram/judge.h"

/* Judges n pairs (i, j); j == the number of responses is the reference. fault[k], all NULL when it is called, gets a
 * malloc'ed sentence where pair k cannot be judged; out[k] means nothing then. */
typedef gram_status gr_scheme_compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, char **fault,
                                      gram_err *err);

typedef struct {
    gram_scheme scheme;         /* not GRAM_SCHEME_DEFAULT */
    gram_unit unit;
    gr_scheme_compare *compare;
    void *arg;
    const char *const *response;
    size_t n;
} gr_scheme;

/* Fills reward, error, failed, value and the counts of cost but tokens_computed and seconds. *out has its arrays
 * already, as gr_judged_group_init() makes them, with value. */
gram_status gr_scheme_run(const gr_scheme *s, gram_judged_group *out, gram_err *err);

/* The arrays for n responses: rewards NAN, errors NULL, value where `compares`. Clear it after a failure, too. */
gram_status gr_judged_group_init(gram_judged_group *out, size_t n, bool compares, gram_err *err);
/* Response i has no reward; the first reason stays. false: out of memory. */
bool gr_judged_group_fail(gram_judged_group *out, size_t i, const char *why);

/* first[i]: the first response that says what i says. */
void gr_first_equal(const char *const *response, size_t n, size_t *first);

#endif
