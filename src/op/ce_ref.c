/* ce_ref.c - what every other cross-entropy must agree with. */
#include <assert.h>
#include <math.h>
#include "op/ce.h"

static double one_row(float *z, size_t t, gr_ce_sum *sum, size_t V)
{
    double top = -INFINITY, zt = z[t];

    *sum = (gr_ce_sum){ 0 };
    for (size_t v = 0; v < V; v++)
        top = fmax(top, z[v]);
    for (size_t v = 0; v < V; v++) {
        double e = v == t ? 0 : exp(z[v] - top);
        sum->others += e;
        z[v] = (float)e;
    }
    sum->all = sum->others + exp(zt - top);
    return log(sum->all) - (zt - top);
}

void gr_ce_fwd_ref(gr_lane *lane, gr_mat z_, const int32_t *t, double *loss, gr_ce_sum *sum, size_t N, size_t V)
{
    float *z = z_.p;

    (void)lane;
    for (size_t n = 0; n < N; n++, z += z_.ld) {
        assert(t[n] >= -1 && t[n] < (int64_t)V);
        loss[n] = t[n] < 0 ? 0 : one_row(z, (size_t)t[n], &sum[n], V);
    }
}

void gr_ce_bwd_ref(gr_lane *lane, gr_mat z_, const int32_t *t, const float *wt, const gr_ce_sum *sum, size_t N,
                   size_t V)
{
    float *z = z_.p;

    (void)lane;
    for (size_t n = 0; n < N; n++, z += z_.ld)
        for (size_t v = 0; v < V; v++)
            z[v] = t[n] < 0 ? 0 : (float)(wt[n] * ((int64_t)v == t[n] ? -sum[n].others / sum[n].all
                                                                      : z[v] / sum[n].all));
}

void gr_ce_ref(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, double *loss, gr_ce_sum *sum, size_t N,
               size_t V)
{
    for (size_t n = 0; n < N; n++) {
        gr_ce_fwd_ref(lane, gr_mat_at(z, n, 0), t + n, loss + n, sum + n, 1, V);
        gr_ce_bwd_ref(lane, gr_mat_at(z, n, 0), t + n, wt + n, sum + n, 1, V);
    }
}
