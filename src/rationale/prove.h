/* prove.h - proofs of a preference: written by a model that is told which answer is better, rated by how much the pair
 * explains them, and the best one made a rationale (GRAM-R2, section 3).
 *
 *     score = - LL(proof | pair, label) / LL(proof)            in (-inf, 0], nearest 0 is best
 *
 * LL is the sum of log-probabilities over the same ids, the token that ends the turn included. "Alone" the ids stand
 * behind a turn of the user that asks for a comparison and shows none. Above -1 the pair explains the proof. */
#ifndef GR_RATIONALE_PROVE_H
#define GR_RATIONALE_PROVE_H

#include "rationale/reason.h"

/* log p of ids [asked, n) of the sequence, summed. */
typedef gram_status gr_force_fn(void *arg, const gr_seq *seq, size_t asked, double *ll, gram_err *err);

typedef struct {
    const gr_reason_words *words[2];    /* told that the first label is better, and the second */
    gr_ids alone;                       /* what the proofs stand behind without the pair */
    gram_prove_options opt;             /* the numbers */
    gr_stops stops;
    gr_reason_write_fn *write;
    gr_force_fn *force;
    void *arg;
} gr_prover;

#define GR_TOO_LONG "too long"      /* what such a pair was dropped for */

/* The ids of the question that shows no pair. */
gram_status gr_prove_alone(const gr_reason_words *w, gr_ids *out, gram_err *err);
/* Whether the prompts of the pair can be written: no failure where a pair that is too long is dropped. */
gram_status gr_prove_check(const gr_prover *p, const gram_pair *pair, gram_err *err);
/* out[n]; pair[].a is the better answer. *bad as for gr_reason_pairs(). */
gram_status gr_prove_pairs(const gr_prover *p, const gram_pair *pair, size_t n, gram_proved *out, size_t *bad,
                           gram_err *err);

#endif
