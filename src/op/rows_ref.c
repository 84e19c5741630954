/* rows_ref.c - see rows.h. Memory is what these wait for, so there is no other build. */
#include <string.h>
#include "op/rows.h"

enum { STEP = 16 };             /* steps of a constant length are what the compiler makes vectors of */

static void add_row(float *y, const float *a, const float *b, size_t C)
{
    size_t c = 0;

    for (; c + STEP <= C; c += STEP) {
        float sum[STEP];                    /* of y, which may be a, the compiler would make no vectors */
        for (size_t i = 0; i < STEP; i++)
            sum[i] = a[c + i] + b[c + i];
        memcpy(y + c, sum, sizeof sum);
    }
    for (; c < C; c++)
        y[c] = a[c] + b[c];
}

void gr_add_ref(gr_lane *lane, gr_mat y, gr_mat a, gr_mat b, size_t N, size_t C)
{
    (void)lane;
    if (y.ld == C && a.ld == C && b.ld == C) {
        C *= N;
        N = N > 0;
    }
    for (size_t n = 0; n < N; n++)
        add_row(gr_f32(gr_mat_at(y, n, 0)), gr_f32(gr_mat_at(a, n, 0)), gr_f32(gr_mat_at(b, n, 0)), C);
}

void gr_gather_ref(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        memcpy(gr_mat_at(y, n, 0).p, gr_mat_at(x, row[n], 0).p, C * sizeof(float));
}

void gr_scatter_ref(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++) {
        float *to = gr_f32(gr_mat_at(y, row[n], 0));
        add_row(to, to, gr_f32(gr_mat_at(x, n, 0)), C);
    }
}

void gr_place_ref(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        memcpy(gr_mat_at(y, row[n], 0).p, gr_mat_at(x, n, 0).p, C * sizeof(float));
}

void gr_embed_ref(gr_lane *lane, gr_mat y, const gr_tensor *table, const int32_t *token, float scale, size_t N)
{
    size_t bytes = 0;

    (void)lane;
    gr_dtype_row_bytes(table->type, table->cols, &bytes);       /* proved when the file was opened */
    for (size_t n = 0; n < N; n++) {
        float *to = gr_f32(gr_mat_at(y, n, 0));
        gr_dequant(to, (const char *)table->data + (size_t)token[n] * bytes, table->type, table->cols);
        for (size_t c = 0; scale != 1 && c < table->cols; c++)
            to[c] *= scale;
    }
}

void gr_unembed_ref(gr_lane *lane, gr_mat table, gr_mat y, const int32_t *token, float scale, size_t N, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++) {
        float *to = gr_f32(gr_mat_at(table, (size_t)token[n], 0));
        const float *from = gr_f32(gr_mat_at(y, n, 0));
        for (size_t c = 0; c < C; c++)
            to[c] += scale * from[c];
    }
}

void gr_copy_ref(gr_lane *lane, gr_mat y, gr_mat x, size_t N, size_t C)
{
    (void)lane;
    if (y.ld == C && x.ld == C) {
        C *= N;
        N = N > 0;
    }
    for (size_t n = 0; n < N; n++)
        memcpy(gr_mat_at(y, n, 0).p, gr_mat_at(x, n, 0).p, C * sizeof(float));
}

void gr_zero_ref(gr_lane *lane, gr_mat y, size_t N, size_t C)
{
    (void)lane;
    if (y.ld == C) {
        C *= N;
        N = N > 0;
    }
    for (size_t n = 0; n < N; n++)
        memset(gr_mat_at(y, n, 0).p, 0, C * sizeof(float));
}

void gr_scale_ref(gr_lane *lane, gr_mat y, float s, size_t N, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++)
            gr_f32(gr_mat_at(y, n, 0))[c] *= s;
}
