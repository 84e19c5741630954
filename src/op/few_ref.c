/* few_ref.c - what every other build must agree with. */
#include "op/few.h"

void gr_few_rows_ref(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K)
{
    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            const float *a = gr_f32(x) + m * x.ld, *b = gr_f32(w) + o * w.ld;
            double s = 0;
            for (size_t k = 0; k < K; k++)
                s += (double)a[k] * b[k];
            gr_f32(y)[m * y.ld + o] = (float)s;
        }
}

bool gr_few_blocks_ref(gr_mat y, gr_mat x, size_t M, const void *w, gr_dtype type, size_t O, size_t K)
{
    (void)y, (void)x, (void)M, (void)w, (void)type, (void)O, (void)K;
    return false;                   /* who asks makes the weights float32 first: that is what others agree with */
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
