/* quant_ref.c - what every other quantiser must agree with, byte for byte. */
#include <math.h>
#include <stdbool.h>
#include "op/quant.h"

/* The largest magnitude of a row; a NaN where one is not finite. */
static float top_of(const float *x, size_t C)
{
    float top = 0;
    bool finite = true;

    for (size_t c = 0; c < C; c++) {
        top = fmaxf(top, fabsf(x[c]));
        finite = finite && isfinite(x[c]);
    }
    return finite ? top : NAN;
}

/* *scale of a row, and what its values are multiplied by. */
static float row_scale(float *scale, const float *x, size_t C, float limit)
{
    *scale = gr_quant_scale(top_of(x, C), limit);
    return *scale > 0 ? 1 / *scale : 0;
}

static float whole(float x, float inverse, float limit)
{
    return fminf(fmaxf(rintf(x * inverse), -limit), limit);
}

void gr_quant16_row_ref(int16_t *X, float *scale, const float *x, size_t C)
{
    float inverse = row_scale(scale, x, C, GR_QUANT_LIMIT);

    for (size_t c = 0; c < C; c++)
        X[c] = (int16_t)whole(x[c], inverse, GR_QUANT_LIMIT);
}

void gr_quant_byte_row_ref(uint8_t *q, float *scale, const float *x, size_t C)
{
    float inverse = row_scale(scale, x, C, GR_QUANT_BYTE);

    for (size_t c = 0; c < C; c++)
        q[c] = (uint8_t)((int)whole(x[c], inverse, GR_QUANT_BYTE) + GR_QUANT_BYTE_ZERO);
}

void gr_quant_row_ref(uint8_t *q, float *scale, const float *x, size_t C)
{
    float inverse = row_scale(scale, x, C, GR_QUANT_LIMIT);

    for (size_t c = 0; c < C; c++) {
        float v = whole(x[c], inverse, GR_QUANT_LIMIT), high = rintf(v / 128);
        q[c] = (uint8_t)((int)high + GR_QUANT_ZERO);
        q[C + c] = (uint8_t)((int)(v - 128 * high) + GR_QUANT_ZERO);
    }
}

int32_t gr_quant_weight_ref(int8_t *q, float *scale, const float *x, size_t C)
{
    float top = top_of(x, C), inverse;
    int32_t sum = 0;

    *scale = gr_quant_scale(top, GR_QUANT_WEIGHT);
    inverse = *scale > 0 ? GR_QUANT_WEIGHT / top : 0;
    for (size_t c = 0; c < C; c++)
        sum += q[c] = inverse > 0 ? (int8_t)rintf(x[c] * inverse) : 0;      /* never beyond 127 */
    return sum;
}

void gr_dequant_acc_ref(float *y, size_t ldy, const int32_t *acc, size_t ldacc, const float *scale,
                        const float *wscale, const int32_t *colsum, size_t N, size_t O)
{
    for (size_t n = 0; n < N; n++)
        for (size_t o = 0; o < O; o++) {
            int32_t zero = GR_QUANT_ZERO * colsum[o];
            float high = (float)(acc[2 * n * ldacc + o] - zero), low = (float)(acc[(2 * n + 1) * ldacc + o] - zero);
            y[n * ldy + o] = (128 * high + low) * (scale[n] * wscale[o]);
        }
}

void gr_dequant_byte_acc_ref(float *y, size_t ldy, const int32_t *acc, size_t ldacc, const float *scale,
                             const float *wscale, const int32_t *colsum, size_t N, size_t O)
{
    for (size_t n = 0; n < N; n++)
        for (size_t o = 0; o < O; o++)
            y[n * ldy + o] = (float)(acc[n * ldacc + o] - GR_QUANT_BYTE_ZERO * colsum[o]) * (scale[n] * wscale[o]);
}
