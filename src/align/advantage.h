/* advantage.h - from the rewards of answers to what each of them, or each token, is worth against the others.
 *
 * Over the G answers of a prompt whose reward is known; an answer that the judge failed at is no member of its group.
 *
 *   reinforce    r - baseline                     the running mean of the rewards before this batch
 *   remax        r - r(greedy answer)
 *   rloo         r_i - mean of the others         = G/(G-1) (r_i - mean)
 *   grpo         (r_i - mean) / (sd + 1e-4)       sd over G - 1; floor: at least so large, for judges that are noisy
 *   dr-grpo      r_i - mean
 *   raft         1 for the best, 0 otherwise
 *   ppo          d_t = R_t + gamma V_t+1 - V_t,   A_t = d_t + gamma lambda A_t+1,   V_T+1 = 0,   returns = A + V
 *
 * A group of fewer than two, where others are what it is measured by, and one whose rewards are all the same teach
 * nothing: their advantages are 0. */
#ifndef GR_ALIGN_ADVANTAGE_H
#define GR_ALIGN_ADVANTAGE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum { GR_REINFORCE, GR_REMAX, GR_RLOO, GR_GRPO, GR_DR_GRPO, GR_RAFT, GR_PPO } gr_advantage;

/* reward[n], known[n] -> out[n], 0 where not known; true: some of them are not 0. baseline: of reinforce and remax.
 * raft: the best by reward, of equal ones the first. */
bool gr_advantage_group(gr_advantage method, const double *reward, const bool *known, size_t n, double baseline,
                        double floor, double *out);

/* reward[n] and value[n] of the answer's tokens; returns may be NULL. */
void gr_advantage_gae(const double *reward, const double *value, size_t n, double gamma, double lambda, double *out,
                      double *returns);

/* (x - mean) / sqrt(var + 1e-8) over all n, var over n - 1 as torch's; as TRL's masked_whiten of what is valid. Of
 * fewer than two nothing can be said, and they stay. */
void gr_advantage_whiten(double *x, size_t n);

/* beta *= 1 + clip(kl / target - 1, -0.2, 0.2) n / horizon */
double gr_beta_adapted(double beta, double kl, double target, double n, double horizon);

#endif
