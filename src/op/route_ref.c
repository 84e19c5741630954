/* route_ref.c - see route.h. A row has some hundred numbers here, and its experts have millions, so there is no other
 * build. */
#include <assert.h>
#include <math.h>
#include <string.h>
#include "op/route.h"

#define ROUTE_FN static
#include "op/route.inc"

void gr_route_fwd_ref(gr_lane *lane, gr_mat p, int32_t *chosen, gr_mat w, gr_mat z, size_t N, size_t E, size_t k,
                      bool norm)
{
    (void)lane;
    assert(E <= GR_ROUTE_MOST && k <= E);
    for (size_t n = 0; n < N; n++)
        route(gr_f32(gr_mat_at(p, n, 0)), chosen + n * k, gr_f32(gr_mat_at(w, n, 0)), gr_f32(gr_mat_at(z, n, 0)), E, k,
              norm);
}

void gr_route_bwd_ref(gr_lane *lane, gr_mat dz, gr_mat dw, gr_mat p, const int32_t *chosen, gr_mat w, size_t N,
                      size_t E, size_t k, bool norm)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        unroute(gr_f32(gr_mat_at(dz, n, 0)), gr_f32(gr_mat_at(dw, n, 0)), gr_f32(gr_mat_at(p, n, 0)), chosen + n * k,
                gr_f32(gr_mat_at(w, n, 0)), E, k, norm);
}

static float dot(const float *a, const float *b, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

static void times(float *x, float s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= s;
}

void gr_weigh_ref(gr_lane *lane, gr_mat d, gr_mat dy, gr_mat dw, gr_mat act, gr_mat w, const size_t *at, size_t n,
                  size_t M, size_t F, size_t C)
{
    (void)lane;
    for (size_t i = 0; i < M; i++) {
        float by = i < n ? gr_f32(w)[at[i]] : 0, *row = gr_f32(gr_mat_at(d, i, 0));
        if (row && i < n)
            gr_f32(dw)[at[i]] = dot(row, gr_f32(gr_mat_at(act, i, 0)), F);
        if (row)
            times(row, by, F);
        times(gr_f32(gr_mat_at(dy, i, 0)), by, C);
    }
}

void gr_blend_ref(gr_lane *lane, gr_mat y, gr_mat x, gr_mat v, gr_mat w, size_t N, size_t k, size_t C)
{
    (void)lane;
    for (size_t n = 0; n < N; n++) {
        float *to = gr_f32(gr_mat_at(y, n, 0));
        memmove(to, gr_f32(gr_mat_at(x, n, 0)), C * sizeof *to);
        for (size_t j = 0; j < k; j++) {
            const float *from = gr_f32(gr_mat_at(v, n * k + j, 0));
            float by = gr_f32(gr_mat_at(w, n, 0))[j];
            for (size_t c = 0; c < C; c++)
                to[c] += by * from[c];
        }
    }
}
