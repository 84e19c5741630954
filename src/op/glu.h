/* glu.h - gated linear units.
 *
 *   SwiGLU    y = gate * s(gate) * up                                   s: the sigmoid
 *   GeGLU     y = 0.5 gate (1 + tanh(sqrt(2/pi) (gate + 0.044715 gate^3))) * up
 *   backward  with act the unit without up, y = act(gate) up:
 *             dgate = dy up act'(gate)    dup = dy act(gate)          both overwritten
 *             where act = gate s(h):  act' = s(h) (1 + gate h' (1 - s(h)))
 *             SwiGLU  h = gate        GeGLU  h = 2 sqrt(2/pi) (gate + 0.044715 gate^3), as (1 + tanh u) / 2 = s(2u)
 *   shapes    gate up y dgate dup dy [N,F]
 * y may be gate; dgate may be gate, dup may be up. */
#ifndef GR_OP_GLU_H
#define GR_OP_GLU_H

#include "tensor/device.h"

typedef void gr_glu_fwd_fn(gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F);
gr_glu_fwd_fn gr_swiglu_fwd_ref, gr_swiglu_fwd_avx2, gr_swiglu_fwd_avx512;
gr_glu_fwd_fn gr_geglu_fwd_ref, gr_geglu_fwd_avx2, gr_geglu_fwd_avx512;

typedef void gr_glu_bwd_fn(gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N,
                           size_t F);
gr_glu_bwd_fn gr_swiglu_bwd_ref, gr_swiglu_bwd_avx2, gr_swiglu_bwd_avx512;
gr_glu_bwd_fn gr_geglu_bwd_ref, gr_geglu_bwd_avx2, gr_geglu_bwd_avx512;

#endif
