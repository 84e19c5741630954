/* quant.h - 8-bit activations and what turns an int32 product back into float32.
 *
 *   per row   scale[n] = max_c |x[n,c]| / limit
 *             q[n,c]   = round(x[n,c] / scale[n]) + zero             unsigned, 1 .. 2*limit + 1
 *   product   acc[n,o] = sum_c q[n,c] * wq[o,c]                      wq signed; colsum[o] = sum_c wq[o,c]
 *   back      y[n,o]   = (acc[n,o] - zero * colsum[o]) * scale[n] * wscale[o]
 *
 * limit and zero are matmul.c's choice, and so is the range of wq: a CPU without VNNI adds pairs of products in 16
 * bits. */
#ifndef GR_OP_QUANT_H
#define GR_OP_QUANT_H

#include <float.h>
#include <stddef.h>
#include <stdint.h>

/* The step of a row whose largest magnitude is top; 0 where a division by it could overflow. */
static inline float gr_quant_scale(float top, int limit)
{
    float step = top / (float)limit;
    return step >= FLT_MIN ? step : 0;
}

/* One row, q[C]; halves round to even. A row of zeros (or of next to nothing) gives scale 0 and q = zero. */
typedef void gr_quant_row_fn(uint8_t *q, float *scale, const float *x, size_t C, int limit, int zero);
gr_quant_row_fn gr_quant_row_ref, gr_quant_row_avx2, gr_quant_row_avx512;

typedef void gr_dequant_acc_fn(float *y, size_t ldy, const int32_t *acc, size_t ldacc, const float *scale,
                               const float *wscale, const int32_t *colsum, int zero, size_t N, size_t O);
gr_dequant_acc_fn gr_dequant_acc_ref, gr_dequant_acc_avx2, gr_dequant_acc_avx512;

#endif
