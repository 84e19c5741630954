/* dot16.h - products of 14-bit activations with 8-bit weights, for a CPU without VNNI.
 *
 *   y[m,o] = (sum_k X[m,k] wq[o,k]) scale[m] wscale[o]            X of quant.h, |X| <= GR_QUANT_LIMIT; wq -127 .. 127
 *
 * An AVX2 core multiplies pairs of 16-bit numbers and adds them in 32 bits at up to twice its float32 speed; bytes,
 * which oneDNN multiplies, are not faster there, and X would be two of them. The sum of GR_DOT16_MOST pairs fits an
 * int32; longer ones are added in float32, in order. */
#ifndef GR_OP_DOT16_H
#define GR_OP_DOT16_H

#include <stddef.h>
#include <stdint.h>
#include "base/mem.h"

enum {
    GR_DOT16_ROWS = 12,         /* of which M is a multiple where it is fastest */
    GR_DOT16_COLS = 16,         /* outputs in a panel */
    GR_DOT16_MOST = 1024        /* pairs: 2048 * 8064 * 127 < 2^31 */
};

/* The weights: panels [O / 16] of [pairs][16][2] bytes, pairs = K / 2; what is behind O or K is 0. gr_dot16_at():
 * where the weight [o,k] lies. */
static inline size_t gr_dot16_pairs(size_t K) { return (K + 1) / 2; }
static inline size_t gr_dot16_bytes(size_t O, size_t K)
{
    return gr_round_up(O, GR_DOT16_COLS) * 2 * gr_dot16_pairs(K);
}

static inline size_t gr_dot16_at(size_t o, size_t k, size_t pairs)
{
    return ((o / GR_DOT16_COLS * pairs + k / 2) * GR_DOT16_COLS + o % GR_DOT16_COLS) * 2 + k % 2;
}

/* X is [M, 2 pairs]. */
typedef void gr_dot16_fn(float *y, size_t ldy, const int16_t *X, const float *scale, size_t M, const int8_t *w,
                         const float *wscale, size_t O, size_t pairs);
gr_dot16_fn gr_dot16_ref, gr_dot16_avx2, gr_dot16_avx512;

#endif
