/* dot16_ref.c - what every other build must agree with, bit for bit. */
#include "op/dot16.h"

void gr_dot16_ref(float *y, size_t ldy, const int16_t *X, const float *scale, size_t M, const int8_t *w,
                  const float *wscale, size_t O, size_t pairs)
{
    for (size_t m = 0; m < M; m++, X += 2 * pairs)
        for (size_t o = 0; o < O; o++) {
            float *to = y + m * ldy + o;
            for (size_t k = 0; k < pairs; k += GR_DOT16_MOST) {
                int32_t sum = 0;
                for (size_t i = 2 * k; i < 2 * gr_min(pairs, k + GR_DOT16_MOST); i++)
                    sum += X[i] * w[gr_dot16_at(o, i, pairs)];
                *to = k ? *to + (float)sum : (float)sum;
            }
            *to *= scale[m] * wscale[o];
        }
}
