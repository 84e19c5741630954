/* rank.h - an order of n responses from comparisons of two.
 *
 * The methods ask for comparisons in rounds, as many at once as they can, so that those of a round share their
 * prefixes. A pair is asked for once; its preference is remembered both ways. */
#ifndef GR_REWARD_RANK_H
#define GR_REWARD_RANK_H

#include "gram/gram.h"

/* gram_rank_by() of gram.h. Clear *out with gram_ranking_clear(). 1 <= n <= GR_RANK_MOST: the preferences are a
 * matrix. A pair that was dropped for its length fails with GRAM_ELIMIT. */
#define GR_RANK_MOST 1024
gram_status gr_rank(gram_compare_fn *compare, void *arg, size_t n, gram_rank_method method,
                    gram_ranking *out, gram_err *err);

/* gram_rank_rewards() and gram_reward_scores() of gram.h. */
gram_status gr_rank_rewards(const gram_reward *reward, size_t n, const gram_reward *reference, double lambda,
                            bool spread, double temperature, gram_ranking *out, gram_err *err);
gram_status gr_reward_scores(const gram_reward *reward, size_t n, double lambda, bool spread, double *score,
                             double *u, gram_err *err);

/* Bradley-Terry strengths b[n], mean 0, by Newton's method: the maximum of
 *     sum_{i<j compared} p_ij log s(b_i - b_j) + (1 - p_ij) log s(b_j - b_i)  -  GR_BT_PRIOR/2 sum_i b_i^2
 * The weak prior keeps strengths finite where one response wins with probability 1 against all. p[n*n], NAN where not
 * compared. */
#define GR_BT_PRIOR 1e-4
gram_status gr_bradley_terry(const double *p, size_t n, double *b, gram_err *err);

#endif
