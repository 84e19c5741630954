/* scale.h - a judge of one answer that gives it a whole number of a range such as 0-10; the expected one is the reward.
 *
 *     P(k)   = prod_t p(c_k[t] | prompt, c_k[0..t))       c_k: the tokens of k, and the one that ends the turn
 *     reward = sum_k k P(k) / sum_k P(k)
 *
 * P(k) is the probability that k is the judge's whole reply, so the numbers exclude each other though "10" begins as
 * "1" does, and though it takes two tokens of most vocabularies. Nothing is drawn: the model reads the prompt once,
 * then each proper beginning of each c_k behind it (one token more for each), and p is over the whole vocabulary. */
#ifndef GR_REWARD_SCALE_H
#define GR_REWARD_SCALE_H

#include "reward/score.h"

#define GR_SCALE_MOST 101       /* numbers of a range */

/* A token of c_k: it follows beginning `node`. */
struct gr_scale_step { size_t node, k; int32_t token; };
struct gr_scale {
    size_t low, n;              /* low .. low + n - 1 */
    gr_ids *text;               /* [n] c_k */
    struct gr_scale_node { size_t k, len; } *node;      /* distinct proper beginnings, text[k][0..len); the first is
                                                         * empty */
    size_t n_nodes;
    struct gr_scale_step *step; /* of all texts, in the order of their nodes */
    size_t n_steps, longest;    /* longest: tokens of the longest beginning */
};

/* "0-10": the numbers of a range; GRAM_EARG for what is none. */
gram_status gr_scale_parse(const char *range, size_t *low, size_t *n, gram_err *err);
/* For a judge whose prompt and template are known. Fails where a number's tokens do not stand behind those of the
 * prompt, or no token of its own ends a turn. */
gram_status gr_scale_open(gr_scale **out, const gr_judge *j, const char *range, gram_err *err);
void gr_scale_close(gr_scale *c);       /* NULL is fine */

/* out[n, 2]: the expected number after each prompt, and the sum of all P. A prompt's bits depend on it alone. */
gram_status gr_scale_read(gr_scorer *s, const gr_seq *seq, size_t n, float *out, gram_err *err);

#endif
