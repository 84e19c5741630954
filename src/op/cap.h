/* cap.h - logits held between -cap and cap by a tanh, as Gemma 2 has them. Attention caps its scores itself (attn.h).
 *
 *   forward   y[n,v]  = cap tanh(x[n,v] / cap)
 *   backward  dx[n,v] = dy[n,v] (1 - (y[n,v] / cap)^2)
 *   shapes    x y dx dy [N,V]
 * y may be x; backward is in place on d. */
#ifndef GR_OP_CAP_H
#define GR_OP_CAP_H

#include "tensor/device.h"

typedef void gr_cap_fwd_fn(gr_lane *lane, gr_mat y, gr_mat x, float cap, size_t N, size_t V);
gr_cap_fwd_fn gr_cap_fwd_ref, gr_cap_fwd_avx2, gr_cap_fwd_avx512;

typedef void gr_cap_bwd_fn(gr_lane *lane, gr_mat d, gr_mat y, float cap, size_t N, size_t V);
gr_cap_bwd_fn gr_cap_bwd_ref, gr_cap_bwd_avx2, gr_cap_bwd_avx512;

/* One number, for those who ask for a few; cap 0: as it is. */
double gr_capped(double x, float cap);
double gr_cap_slope(double y, float cap);       /* dy/dx where y came out */

#endif
