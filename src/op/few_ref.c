/* few_ref.c - what every other build must agree with. */
#include "op/few.h"

void gr_few_rows_ref(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K)
{
    size_t bytes = gr_dtype_bytes(w.type);

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            const float *a = gr_f32(x) + m * x.ld;
            double s = 0;
            for (size_t k = 0; k < K; k++) {
                float b;
                gr_dequant(&b, (const char *)w.p + (o * w.ld + k) * bytes, w.type, 1);
                s += (double)a[k] * b;
            }
            gr_f32(y)[m * y.ld + o] = (float)s;
        }
}

void gr_few_cols_ref(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K, bool add)
{
    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            float *to = gr_f32(y) + m * y.ld + o;
            double s = add ? *to : 0;
            for (size_t k = 0; k < K; k++)
                s += (double)gr_f32(x)[m * x.ld + k] * gr_f32(w)[k * w.ld + o];
            *to = (float)s;
        }
}

void gr_few_bytes_ref(int32_t *acc, size_t ldacc, const uint8_t *q, size_t N, const int8_t *w, size_t P, size_t O,
                      size_t K)
{
    for (size_t n = 0; n < N; n++)
        for (size_t o = 0; o < O; o++) {
            const int8_t *panel = w + o / P * gr_few_panel_bytes(P, K);
            acc[n * ldacc + o] = 0;
            for (size_t k = 0; k < K; k++)
                acc[n * ldacc + o] += q[n * K + k] * panel[(k / 4 * P + o % P) * 4 + k % 4];
        }
}
