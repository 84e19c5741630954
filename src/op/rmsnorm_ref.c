/* rmsnorm_ref.c - what every other rmsnorm must agree with. Short beats fast here. */
#include <math.h>
#include "op/rmsnorm.h"

void gr_rmsnorm_fwd_ref(gr_lane *lane, gr_mat y_, float *r, gr_mat x_, const gr_norm *norm, size_t N)
{
    size_t C = norm->C;

    (void)lane;
    for (size_t n = 0; n < N; n++) {
        const float *x = gr_f32(x_) + n * x_.ld;
        float *y = gr_f32(y_) + n * y_.ld, rn;
        double ss = 0;                      /* double: the judge is the most exact one */
        for (size_t c = 0; c < C; c++)
            ss += (double)x[c] * x[c];
        rn = (float)(1 / sqrt(ss / (double)C + norm->eps));
        if (r)
            r[n] = rn;
        for (size_t c = 0; c < C; c++)
            y[c] = x[c] * rn * (norm->w[c] + norm->bias);
    }
}

void gr_rmsnorm_bwd_ref(gr_lane *lane, gr_mat dx_, float *dw, gr_mat dy_, gr_mat x_, const float *r,
                        const gr_norm *norm, size_t N, bool sum)
{
    size_t C = norm->C;

    (void)lane;
    for (size_t n = 0; n < N; n++) {
        const float *x = gr_f32(x_) + n * x_.ld, *dy = gr_f32(dy_) + n * dy_.ld;
        float *dx = gr_f32(dx_) + n * dx_.ld;
        double rn = r[n], gx = 0;
        for (size_t c = 0; c < C; c++)
            gx += (double)dy[c] * ((double)norm->w[c] + norm->bias) * x[c];
        gx *= rn * rn / (double)C;
        for (size_t c = 0; dw && c < C; c++)
            dw[c] = (float)(dw[c] + dy[c] * (x[c] * rn));
        for (size_t c = 0; c < C; c++)          /* last, for dx may be dy */
            dx[c] = (float)((sum ? dx[c] : 0) + rn * ((double)dy[c] * ((double)norm->w[c] + norm->bias) - x[c] * gx));
    }
}
