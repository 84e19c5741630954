/* route.h - which experts a row goes to, and what comes back from them.
 *
 *   forward   p[e]     = exp(z[e] - max z) / sum_e exp(z[e] - max z)
 *             chosen   the k largest p; w[j] = p[chosen[j]], divided by their sum where `norm`
 *   backward  dp[e]    = of a chosen one dw[j], or where `norm` (dw[j] - sum_j dw[j] w[j]) / sum_j p[chosen[j]];
 *                        of the others 0
 *             dz[e]    = p[e] (dp[e] - sum_e p[e] dp[e])
 *   weigh     dw[i]    = sum_f d[f] act[f];        d[f] *= w[i];        dy[c] *= w[i]
 *             of a row that goes to an expert, whose output is W act: with d = W^T dy this is dy . (W act), the slope
 *             of the weight w[i] of that output
 *   blend     y[c]     = x[c] + sum_j w[j] v[j,c]        in the order of j
 *   shapes    z p dz [N,E]    w dw chosen [N,k]    v [N,k,C]    x y [N,C], y may be x    d act [M,F]    dy [M,C]
 *
 * The chosen stand in the order of their numbers. Where p are equal, those are chosen that torch.topk() chooses on a
 * CPU. This assumes PyTorch's aten/src/ATen/native/TopKImpl.h over GNU's C++ library: std::partial_sort() where
 * 64 k <= E, otherwise std::nth_element(). Softmax is in double here and the p are rounded to float32, so that equal z
 * give equal p; z that differ in their last bits may be equal in one program and not in the other. */
#ifndef GR_OP_ROUTE_H
#define GR_OP_ROUTE_H

#include "tensor/device.h"

enum { GR_ROUTE_MOST = 4096 };          /* experts */

/* chosen lies on the host. Where a row of z holds a NaN or an infinity, its chosen are 0 .. k-1 and its w are NaN. */
typedef void gr_route_fwd_fn(gr_lane *lane, gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N, size_t E, size_t k,
                             bool norm);
gr_route_fwd_fn gr_route_fwd_ref;
typedef void gr_route_bwd_fn(gr_lane *lane, gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen, gr_mat w, size_t N,
                             size_t E, size_t k, bool norm);
gr_route_bwd_fn gr_route_bwd_ref;
/* Of an expert's rows; at[i] counts the w [N,k] of all rows as one list. d NULL: there is none. Rows [n,M) become 0. */
typedef void gr_weigh_fn(gr_lane *lane, gr_mat d, gr_mat dy, gr_mat dw, gr_mat act, gr_mat w, const size_t *at,
                         size_t n, size_t M, size_t F, size_t C);
gr_weigh_fn gr_weigh_ref;
typedef void gr_blend_fn(gr_lane *lane, gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N, size_t k, size_t C);
gr_blend_fn gr_blend_ref;

#endif
