/* loss.h - what a row of labelled answers costs in training, and the slope of that.
 *
 * A pair, by two labels or by two rewards. w is the answer that the data prefer, l the other:
 *
 *   d     = z_w - z_l                    the logits of the labels of w and l in one order      gram, generative
 *   d     = r_w - r_l                    their rewards                                         bt, bt-smooth, ...
 *   d     = r_w - r_l - m                m: the row's margin                                   bt-margin
 *   t     = q (1-e) + (1-q) e            q: how sure the data are of w, 1 unless they say; e: smoothing, or 0
 *   L     = -t log s(d) - (1-t) log s(-d) = -log s(d) + (1-t) d
 *   dL/dd = s(d) - t
 *
 * With q = 1 this is -log s(d) + e d: Bradley-Terry with a linear penalty on the margin. e is the paper's, the mass
 * that goes to the other label; torch's label_smoothing=0.1 is 0.05 here, since torch spreads over both labels.
 * The two orders of a pair, by labels, with a term that keeps its margins alike, whatever they are:
 *
 *   L     = (L(d_A) + L(d_B)) / 2 + c ((d_A - d_B) / 2)^2       d_A, d_B: d with w read first, and second
 *
 * With t = 1 it is -log s(d), which stands for itself in two regularisers:
 *
 *   bt-posreg   L + w (-log s(mean of r_w over the batch))
 *   sft-reg     (1-a) L + a (-log s(b log pi(y_w | x)))
 *
 * PURM, whose rewards are normal, r ~ N(mu, sigma^2), sigma = exp(h/10):
 *
 *   m     = mu_w - mu_l,  v = sqrt(sigma_w^2 + sigma_l^2)
 *   P     = E s(m + v x),  x ~ N(0,1)         the probability that w beats l: 32 nodes x_k of Gauss and Hermite,
 *                                             weights g_k, take the place of the published code's 1000 draws
 *   L     = -q log P - (1-q) log(1-P)         the paper's equation 4. The code has -E log s(m + v x), whose slope in v
 *                                             is never below 0: it could only ever shrink the spread
 *   dlog P/dm = sum g_k s'(m + v x_k) / P        dlog P/dv = sum g_k s'(m + v x_k) x_k / P
 *   dv/dh_i   = sigma_i^2 / (10 v) */
#ifndef GR_REWARD_LOSS_H
#define GR_REWARD_LOSS_H

double gr_loss_target(double soft, double smoothing);       /* t */
double gr_loss_pair(double d, double target, double *dd);   /* L, and dL/dd in *dd */
/* Twice the L of both orders, with c order_weight, and its slopes in both margins in dd. */
double gr_loss_orders(const double d[2], double target, double order_weight, double dd[2]);

double gr_purm_sigma(double h);
double gr_purm_preference(double m, double v);              /* P */
double gr_loss_purm(double m, double v, double q, double *dm, double *dv);

#endif
