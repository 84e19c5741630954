/* quant.h - activations of two bytes or of one, for products with 8-bit weights, and what turns the sums back into
 * float32.
 *
 *   two bytes scale[n] = max_c |x[n,c]| / GR_QUANT_LIMIT
 *             X[n,c]   = round(x[n,c] / scale[n]) = 128 high + low             high -63 .. 63, low -64 .. 64
 *             q[2n,c]  = high + GR_QUANT_ZERO,  q[2n+1,c] = low + GR_QUANT_ZERO        bytes of 0 .. 128
 *   product   acc[n',o] = sum_c q[n',c] wq[o,c]                                wq signed; colsum[o] = sum_c wq[o,c]
 *   back      y[n,o]   = (128 (acc[2n,o] - zero colsum[o]) + acc[2n+1,o] - zero colsum[o]) scale[n] wscale[o]
 *
 *   one byte  scale[n] = max_c |x[n,c]| / GR_QUANT_BYTE
 *             q[n,c]   = round(x[n,c] / scale[n]) + GR_QUANT_BYTE_ZERO         bytes of 1 .. 255
 *   back      y[n,o]   = (acc[n,o] - byte zero colsum[o]) scale[n] wscale[o]
 *
 * Where an x of a row, or of a weight's, is not finite, its scale is a NaN, and so is all that is made of it.
 *
 * A CPU without VNNI multiplies X as it is: dot16.h. There one byte would not be faster than two. */
#ifndef GR_OP_QUANT_H
#define GR_OP_QUANT_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GR_QUANT_LIMIT = 63 * 128, GR_QUANT_ZERO = 64,
    GR_QUANT_BYTE = 127, GR_QUANT_BYTE_ZERO = 128,
    GR_QUANT_WEIGHT = 127
};

/* The step of a row whose largest magnitude is top and becomes `limit`; 0 where a division by it could overflow. */
static inline float gr_quant_scale(float top, float limit)
{
    float step = top / limit;
    return step < FLT_MIN ? 0 : step;
}

/* One row, q[2,C]; halves round to even. A row of zeros (or of next to nothing) gives scale 0 and q = GR_QUANT_ZERO. */
typedef void gr_quant_row_fn(uint8_t *q, float *scale, const float *x, size_t C);
gr_quant_row_fn gr_quant_row_ref, gr_quant_row_avx2, gr_quant_row_avx512;
/* The same of one byte: q[C], and GR_QUANT_BYTE_ZERO. */
gr_quant_row_fn gr_quant_byte_row_ref, gr_quant_byte_row_avx2, gr_quant_byte_row_avx512;

/* A weight's row: scale = max |x| / 127, q = round(x / scale), halves to even; gives the sum of q. Where the scale is 0
 * or a NaN, q is 0. strip.h is fast. */
int32_t gr_quant_weight_ref(int8_t *q, float *scale, const float *x, size_t C);

/* The same X itself, X[C]: what dot16.h multiplies. */
typedef void gr_quant16_row_fn(int16_t *X, float *scale, const float *x, size_t C);
gr_quant16_row_fn gr_quant16_row_ref, gr_quant16_row_avx2, gr_quant16_row_avx512;

/* Makes y[N,O] of acc[2N,O]. */
typedef void gr_dequant_acc_fn(float *y, size_t ldy, const int32_t *acc, size_t ldacc, const float *scale,
                               const float *wscale, const int32_t *colsum, size_t N, size_t O);
gr_dequant_acc_fn gr_dequant_acc_ref, gr_dequant_acc_avx2, gr_dequant_acc_avx512;
/* y[N,O] of acc[N,O], of one byte. */
gr_dequant_acc_fn gr_dequant_byte_acc_ref, gr_dequant_byte_acc_avx2, gr_dequant_byte_acc_avx512;

#endif
