/* ce.h - the cross-entropy of rows of logits, which become their own gradient: a chunk of the vocabulary's logits is
 * made, spent and forgotten, and [T,V] never exists.
 *
 *   p[n,v]   = exp(z[n,v]) / sum_v exp(z[n,v])
 *   loss[n]  = -log p[n,t[n]]
 *   z[n,v]  <- wt[n] (p[n,v] - [v == t[n]])          for v = t as -wt sum_{v != t} p, which does not cancel
 *   shapes     z [N,V]    t wt loss [N]    t in 0 .. V-1, or -1 for a row without a loss: both are 0 */
#ifndef GR_OP_CE_H
#define GR_OP_CE_H

#include "tensor/device.h"

typedef void gr_ce_fn(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, double *loss, size_t N, size_t V);
gr_ce_fn gr_ce_ref, gr_ce_avx2, gr_ce_avx512;

#endif
