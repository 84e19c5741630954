/* refill.c - dynamic sampling, as DAPO has it: prompts whose answers all have one reward teach nothing, and others take
 * their places, which the same weights answer. */
#include <stdlib.h>
#include "align/align_int.h"
#include "base/err.h"
#include "base/random.h"

/* The places of dead prompts, in order; how many. */
static size_t find_dead(const gr_align *a, size_t *place)
{
    size_t n = 0;

    for (size_t i = 0; i < a->prompts; i++)
        if (gr_align_dead(a, a->answer + i * (a->n / a->prompts)))
            place[n++] = i;
    return n;
}

/* The next n prompts behind those that were taken, in the places of others. */
static gram_status replace(gr_align *a, const size_t *place, size_t n, uint64_t next, uint64_t seed, gram_err *err)
{
    const gr_align_prompt **p = gr_calloc(n, sizeof(*p));
    size_t each = a->n / a->prompts, written = 0;
    gr_answer *x = NULL;
    gram_status rc = p ? gr_align_take(a, p, n, next, err) : gr_nomem(err, "prompts");

    if (!rc)
        rc = gr_align_answer(a, p, n, seed, &x, &written, err);
    for (size_t i = 0; i < n && !rc; i++) {
        gr_answer *old = a->answer + place[i] * each;
        a->prompt[place[i]] = p[i];
        for (size_t k = 0; k < each; k++) {
            gr_answer was = old[k];
            old[k] = x[i * each + k];
            old[k].place = place[i];
            x[i * each + k] = was;
        }
    }
    gr_answers_free(x, written);
    free(p);
    return rc;
}

gram_status gr_align_refill(gr_align *a, uint64_t rollout, uint64_t seed, double *carried, gram_err *err)
{
    size_t *place = gr_calloc(a->prompts, sizeof *place), n;
    gram_status rc = place ? GRAM_OK : gr_nomem(err, "prompts");

    a->replaced = 0;
    for (size_t round = 1; round <= gr_align_opt(a)->resample && !rc && (n = find_dead(a, place)) > 0; round++) {
        rc = replace(a, place, n, (rollout + 1) * a->prompts + (uint64_t)carried[3], gr_random_at(seed, ~round), err);
        carried[3] += (double)n;
        a->replaced += n;
    }
    free(place);
    return rc;
}
