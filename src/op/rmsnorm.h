/* rmsnorm.h - bring each row to unit RMS, then weigh its channels.
 *
 *   forward   r[n]   = 1 / sqrt(mean_c x[n,c]^2 + eps)
 *             y[n,c] = x[n,c] * r[n] * (w[c] + bias)          bias: 0, or 1 for Gemma's stored w - 1
 *   backward  g[n,c]   = dy[n,c] * (w[c] + bias)
 *             dx[n,c]  = r[n] * (g[n,c] - x[n,c] * r[n]^2 * mean_c(g[n,c] * x[n,c]))     sum: added instead
 *             dw[c]   += sum_n dy[n,c] * x[n,c] * r[n]         row by row, so that a cut into calls changes no bit
 *   with a residual     x[n] = a[n] + b[n], then y and r of that
 *   shapes    x y a b dx dy [N,C]    w dw [C]    r [N] or NULL, kept for backward
 * y may be x, x may be a or b, and without sum dx may be dy. dw may be NULL; it is always added to, for
 * micro-batches. */
#ifndef GR_OP_RMSNORM_H
#define GR_OP_RMSNORM_H

#include "tensor/device.h"

typedef struct { const float *w; float bias, eps; size_t C; } gr_norm;

typedef void gr_rmsnorm_fwd_fn(gr_lane *lane, gr_mat y, float *r, gr_mat x, const gr_norm *norm, size_t N);
gr_rmsnorm_fwd_fn gr_rmsnorm_fwd_ref, gr_rmsnorm_fwd_avx2, gr_rmsnorm_fwd_avx512;

typedef void gr_add_norm_fn(gr_lane *lane, gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b, const gr_norm *norm,
                            size_t N);
gr_add_norm_fn gr_add_norm_cpu;

typedef void gr_rmsnorm_bwd_fn(gr_lane *lane, gr_mat dx, float *dw, gr_mat dy, gr_mat x, const float *r,
                               const gr_norm *norm, size_t N, bool sum);
gr_rmsnorm_bwd_fn gr_rmsnorm_bwd_ref, gr_rmsnorm_bwd_avx2, gr_rmsnorm_bwd_avx512;

#endif
