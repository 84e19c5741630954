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
 * bf16 stores w in two bytes and rounds it up or down by chance, up with the probability that lies nearest: a step
 * far smaller than the last digit still moves w on average, where rounding to the nearest would lose all of them.
 * Chance is a hash of key and the value's place at, at + 1, ... below 2^32, so it is the same at any number of threads.
 *
 *   shapes    w m v g [n]          w finite, and all on the device; the sum of squares goes to the host */
#ifndef GR_OP_ADAMW_H
#define GR_OP_ADAMW_H

#include "tensor/device.h"

typedef struct { float scale, b1, b2, c2, eps, keep, size, root; } gr_adamw_rule;

typedef void gr_adamw_f32_fn(gr_lane *lane, float *w, float *m, float *v, const float *g, size_t n,
                             const gr_adamw_rule *r);
gr_adamw_f32_fn gr_adamw_f32_ref, gr_adamw_f32_avx2, gr_adamw_f32_avx512;

typedef void gr_adamw_bf16_fn(gr_lane *lane, uint16_t *w, float *m, float *v, const float *g, size_t n,
                              const gr_adamw_rule *r, uint32_t key, uint32_t at);
gr_adamw_bf16_fn gr_adamw_bf16_ref, gr_adamw_bf16_avx2, gr_adamw_bf16_avx512;

/* Slices of a step, each by the rule and with the chance of its own; type: of w. */
typedef struct {
    void *w;
    gr_dtype type;
    float *m, *v;
    const float *g;
    size_t n;
    gr_adamw_rule rule;
    uint32_t key, at;
} gr_adamw_slice;
typedef void gr_adamw_slices_fn(gr_lane *lane, const gr_adamw_slice *s, size_t n);
gr_adamw_slices_fn gr_adamw_slices_cpu;

/* The same of sums of squares: out[n]. */
typedef struct { const float *x; size_t n; } gr_squares_slice;
typedef void gr_squares_slices_fn(gr_lane *lane, const gr_squares_slice *s, size_t n, double *out);
gr_squares_slices_fn gr_squares_slices_cpu;

typedef void gr_squares_fn(gr_lane *lane, const float *x, size_t n, double *out);
gr_squares_fn gr_squares_ref, gr_squares_avx2, gr_squares_avx512;

#endif
