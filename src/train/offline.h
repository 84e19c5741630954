/* offline.h - losses over answers that somebody else wrote, in their log-probabilities: DPO and its kin.
 *
 * Of the answer w that is preferred and the other, l: p the sum of log pi over the T tokens of an answer, its end token
 * among them, f the same of the reference, u = p - f.
 *
 *   dpo     -log s(beta (u_w - u_l))
 *   cdpo    -(1-e) log s(beta (u_w - u_l)) - e log s(-beta (u_w - u_l))
 *   ipo     (u_w / T_w - u_l / T_l - 1 / (2 beta))^2                       means over tokens, as TRL has it
 *   simpo   -log s(beta (p_w / T_w - p_l / T_l) - gamma)                   no reference
 *   orpo    -p_w / T_w - beta log s(o(p_w / T_w) - o(p_l / T_l))           o(x) = x - log(1 - e^x); no reference
 *   kto     1 - s(beta (u - z)) of an answer that is good, 1 - s(beta (z - u)) of one that is not, times its weight;
 *           z = max(0, mean of u over answers to other prompts), whose gradient is not taken */
#ifndef GR_TRAIN_OFFLINE_H
#define GR_TRAIN_OFFLINE_H

#include "gram/train.h"

typedef struct { double logp, ref; size_t n; } gr_whole_answer;

/* L of a pair, and its slopes in the sums p_w and p_l. kind: one of dpo, cdpo, ipo, simpo and orpo. smoothing: e, of
 * the first two. */
double gr_loss_offline(gram_loss kind, double beta, double gamma, double smoothing, const gr_whole_answer *w,
                       const gr_whole_answer *l, double slope[2]);
/* L of one answer without its weight, and its slope in p. */
double gr_loss_kto(double beta, double z, bool good, const gr_whole_answer *a, double *slope);

#endif
