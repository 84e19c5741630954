/* ce.h - the cross-entropy of rows of logits, which become their own gradient: a chunk of the vocabulary's logits is
 * made, spent and forgotten, and [T,V] never exists.
 *
 *   p[n,v]   = exp(z[n,v]) / sum_v exp(z[n,v])
 *   forward    loss[n] = -log p[n,t[n]]              z is overwritten by what backward needs, with sum[n]
 *   backward   z[n,v] <- wt[n] (p[n,v] - [v == t[n]])        for v = t as -wt sum_{v != t} p, which does not cancel
 *   shapes     z [N,V]    t wt loss sum [N]    t in 0 .. V-1, or -1 for a row without a loss: both are 0
 *
 * Weights come with backward alone: they may follow from the losses. Where they are known, gr_ce does both while a row
 * is in the cache: the same bits. */
#ifndef GR_OP_CE_H
#define GR_OP_CE_H

#include "tensor/device.h"

typedef struct { double others, all; } gr_ce_sum;       /* of exp(z - their largest): all but t's, and all */
typedef void gr_ce_fwd_fn(gr_lane *lane, gr_mat z, const int32_t *t, double *loss, gr_ce_sum *sum, size_t N, size_t V);
typedef void gr_ce_bwd_fn(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, const gr_ce_sum *sum, size_t N,
                          size_t V);
typedef void gr_ce_fn(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, double *loss, gr_ce_sum *sum,
                      size_t N, size_t V);
gr_ce_fwd_fn gr_ce_fwd_ref, gr_ce_fwd_avx2, gr_ce_fwd_avx512;
gr_ce_bwd_fn gr_ce_bwd_ref, gr_ce_bwd_avx2, gr_ce_bwd_avx512;
gr_ce_fn gr_ce_ref, gr_ce_avx2, gr_ce_avx512;

#endif
