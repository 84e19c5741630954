/* rmsnorm.h - bring each row to unit RMS, then weigh its channels.
 *
 *   forward   r[n]   = 1 / sqrt(mean_c x[n,c]^2 + eps)
 *             y[n,c] = x[n,c] * r[n] * (w[c] + bias)          bias: 0, or 1 for Gemma's stored w - 1
 *   backward  g[n,c]   = dy[n,c] * (w[c] + bias)
 *             dx[n,c]  = r[n] * (g[n,c] - x[n,c] * r[n]^2 * mean_c(g[n,c] * x[n,c]))     sum: added instead
 *             dw[c]   += sum_n dy[n,c] * x[n,c] * r[n]         row by row, so that a cut into calls changes no bit
 *   shapes    x y dx dy [N,C] with rows ldx, ldy, lddx, lddy apart    w dw [C]    r [N] or NULL, kept for backward
 * y may be x, and without sum dx may be dy. dw may be NULL; it is always added to, for micro-batches. */
#ifndef GR_OP_RMSNORM_H
#define GR_OP_RMSNORM_H

#include <stdbool.h>
#include <stddef.h>

typedef void gr_rmsnorm_fwd_fn(float *y, size_t ldy, float *r, const float *x, size_t ldx, const float *w,
                               float bias, size_t N, size_t C, float eps);
gr_rmsnorm_fwd_fn gr_rmsnorm_fwd_ref, gr_rmsnorm_fwd_avx2, gr_rmsnorm_fwd_avx512;

typedef void gr_rmsnorm_bwd_fn(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x,
                               size_t ldx, const float *r, const float *w, float bias, size_t N, size_t C, bool sum);
gr_rmsnorm_bwd_fn gr_rmsnorm_bwd_ref, gr_rmsnorm_bwd_avx2, gr_rmsnorm_bwd_avx512;

#endif
