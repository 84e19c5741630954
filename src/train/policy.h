/* policy.h - from log-probabilities and advantages of sampled answers to the weight of each of their tokens.
 *
 *   rho_t  = exp(logp_t - old_t)                        how much likelier a token is than when it was drawn
 *            exp(mean over the answer), exp(sum)        the same of a whole answer: GSPO; RLOO as TRL has it
 *   l_t    = -min(rho A, clip(rho, 1 - low, 1 + high) A), and where A < 0 and dual > 0 at most -dual A
 *            -rho' A logp_t, rho' = min(rho, high) fixed                             CISPO
 *            -A logp_t                                                               no ratio: REINFORCE, RAFT
 *   L      = sum over answers and tokens of a_t (l_t + beta k_t)
 *   a_t    = 1 / tokens of the batch;  1 / (its answers T);  1 / (its answers * longest)
 *
 *   d      = ref_t - logp_t
 *   k1 = -d     k2 = d^2 / 2     k3 = e^d - 1 - d       dk/dlogp = 1,  -d,  1 - e^d
 *
 * The gradient of L in the logits of token t is -dL/dlogp_t (p - onehot), which op/ce.h makes: `weight` is -dL/dlogp_t.
 * Tokens and answers that are counted are those of the whole batch, whatever it is cut into. An answer that is masked
 * is in none of the sums and none of the counts. */
#ifndef GR_TRAIN_POLICY_H
#define GR_TRAIN_POLICY_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { GR_RATIO_NONE, GR_RATIO_TOKEN, GR_RATIO_MEAN, GR_RATIO_SUM } gr_ratio;
typedef enum { GR_PER_TOKEN, GR_PER_ANSWER, GR_PER_LENGTH } gr_per;
typedef enum { GR_KL_NONE, GR_KL_1, GR_KL_2, GR_KL_3 } gr_kl;

typedef struct {
    gr_ratio ratio;
    bool clips, cispo;
    double low, high, dual;     /* dual 0: none. cispo: high is the largest ratio itself, TRL's epsilon_high */
    gr_per per;
    double longest;             /* of GR_PER_LENGTH */
    gr_kl kl;                   /* in the loss */
    double beta;
} gr_policy_rules;

/* [n] each. old NULL: that of logp itself, the first update of a batch. ref NULL: there is none. */
typedef struct { const double *logp, *old, *ref, *advantage; size_t n; } gr_policy_answer;
typedef struct { double tokens, answers; } gr_policy_counts;

/* Sums over tokens (over answers where the ratio is an answer's); extremes start as gr_policy_sum_init() has them. */
typedef struct {
    double loss;                /* L so far */
    double tokens, ratios;      /* ratios: how many there are of the following */
    double ratio, ratio_min, ratio_max;
    double low, high;           /* ratios below, above the border that stop the gradient */
    double old_kl;              /* sum of rho - 1 - log rho: how far the policy has gone since the answers were drawn */
    double k1, k3;              /* against the reference */
} gr_policy_sum;
void gr_policy_sum_init(gr_policy_sum *s);

/* Adds an answer: weight[n] for op/ce.h. */
void gr_policy_add(const gr_policy_rules *r, const gr_policy_answer *a, gr_policy_counts counts, double *weight,
                   gr_policy_sum *sum);

/* Whether a token's weight follows from its own log-probability alone, and the weights of tokens [from, to) where it
 * does: those of gr_policy_add(). */
bool gr_policy_by_token(const gr_policy_rules *r);
void gr_policy_weigh(const gr_policy_rules *r, const gr_policy_answer *a, size_t from, size_t to,
                     gr_policy_counts counts, double *weight);

/* k of one token, and its slope in logp. */
double gr_policy_kl(gr_kl kind, double d, double *slope);

/* PPO's loss of a value V, old when the answer was written, where R came: max((V - R)^2, (V' - R)^2) / 2, V' = V within
 * clip of old; clip 0: V itself. Its slope in V; *clipped: V' is what counts, and nothing is learnt. */
double gr_policy_value(double V, double old, double R, double clip, double *slope, bool *clipped);

#endif
