/* rmsnorm_ref.c - what every other rmsnorm must agree with. Short beats fast here. */
#include <math.h>
#include "op/rmsnorm.h"

void gr_rmsnorm_fwd_ref(float *y, size_t ldy, float *r, const float *x, size_t ldx, const float *w,
                        float bias, size_t N, size_t C, float eps)
{
    for (size_t n = 0; n < N; n++, x += ldx, y += ldy) {
        double ss = 0;                      /* double: the judge is the most exact one */
        float rn;
        for (size_t c = 0; c < C; c++)
            ss += (double)x[c] * x[c];
        rn = (float)(1 / sqrt(ss / (double)C + eps));
        if (r)
            r[n] = rn;
        for (size_t c = 0; c < C; c++)
            y[c] = x[c] * rn * (w[c] + bias);
    }
}

void gr_rmsnorm_bwd_ref(float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx,
                        const float *r, const float *w, float bias, size_t N, size_t C, bool sum)
{
    for (size_t n = 0; n < N; n++, dx += lddx, dy += lddy, x += ldx) {
        double rn = r[n], gx = 0;
        for (size_t c = 0; c < C; c++)
            gx += (double)dy[c] * ((double)w[c] + bias) * x[c];
        gx *= rn * rn / (double)C;
        for (size_t c = 0; dw && c < C; c++)
            dw[c] = (float)(dw[c] + dy[c] * (x[c] * rn));
        for (size_t c = 0; c < C; c++)          /* last, for dx may be dy */
            dx[c] = (float)((sum ? dx[c] : 0) + rn * ((double)dy[c] * ((double)w[c] + bias) - x[c] * gx));
    }
}
