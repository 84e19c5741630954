/* adamw.h - one step of AdamW over a run of values, and the sum of squares that clipping needs.
 *
 *   x   = scale g
 *   m  += (x - m) b1                        b1: one minus the usual beta
 *   v   = v b2 + (c2 x) x                   c2: one minus b2, taken in double; from b2 in float32 it would be 5e-5 off
 *   w   = w keep - size m / (sqrt(v) / root + eps)
 *
 * In float32, operation for operation as torch.optim.AdamW does it on a CPU. Every build has the bits of the
 * reference: each operation is rounded by itself, sums of squares are made in double in one order.
 *
 * What is stored in two bytes, bfloat16, is rounded up or down by chance, up with the probability that lies nearest: a
 * step far smaller than the last digit of w still moves it on average, and a v that falls by a thousandth of itself
 * falls, where rounding to the nearest would lose all of them. A step uses m and v as they are before they are rounded.
 * Chance is a hash of a key and the value's place at, at + 1, ... below 2^32, so it is the same at any number of
 * threads.
 *
 *   shapes    w m v g [n]          w finite, and all on the device; the sum of squares goes to the host */
#ifndef GR_OP_ADAMW_H
#define GR_OP_ADAMW_H

#include "tensor/device.h"

typedef struct { float scale, b1, b2, c2, eps, keep, size, root; } gr_adamw_rule;

/* Slices of a step, each by the rule and with the chance of its own. w is of `type`, m and v are of `kept`: float32 or
 * bfloat16 each. key: of w, and of m and v, which share a hash's halves, for those that are bfloat16. */
typedef struct {
    void *w, *m, *v;
    gr_dtype type, kept;
    const float *g;
    size_t n;
    gr_adamw_rule rule;
    uint32_t key[2], at;
} gr_adamw_slice;
typedef void gr_adamw_fn(const gr_adamw_slice *s);
gr_adamw_fn gr_adamw_ref, gr_adamw_avx2, gr_adamw_avx512;
typedef void gr_adamw_slices_fn(gr_lane *lane, const gr_adamw_slice *s, size_t n);
gr_adamw_slices_fn gr_adamw_slices_cpu;

/* The same of sums of squares: out[n]. */
typedef struct { const float *x; size_t n; } gr_squares_slice;
typedef void gr_squares_slices_fn(gr_lane *lane, const gr_squares_slice *s, size_t n, double *out);
gr_squares_slices_fn gr_squares_slices_cpu;

typedef void gr_squares_fn(gr_lane *lane, const float *x, size_t n, double *out);
gr_squares_fn gr_squares_ref, gr_squares_avx2, gr_squares_avx512;

#endif
