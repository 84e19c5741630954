/* ce_ref.c - what every other cross-entropy must agree with. */
#include <assert.h>
#include <math.h>
#include "op/ce.h"

static double one_row(float *z, size_t t, float wt, size_t V)
{
    double top = -INFINITY, others = 0, zt = z[t], all;

    for (size_t v = 0; v < V; v++)
        top = fmax(top, z[v]);
    for (size_t v = 0; v < V; v++)
        others += v == t ? 0 : exp(z[v] - top);
    all = others + exp(zt - top);
    for (size_t v = 0; v < V; v++)
        z[v] = (float)(wt * (v == t ? -others / all : exp(z[v] - top) / all));
    return log(all) - (zt - top);
}

void gr_ce_ref(gr_lane *lane, gr_mat z_, const int32_t *t, const float *wt, double *loss, size_t N, size_t V)
{
    float *z = z_.p;

    (void)lane;
    for (size_t n = 0; n < N; n++, z += z_.ld) {
        assert(t[n] >= -1 && t[n] < (int64_t)V);
        loss[n] = t[n] < 0 ? 0 : one_row(z, (size_t)t[n], wt[n], V);
        for (size_t v = 0; t[n] < 0 && v < V; v++)
            z[v] = 0;
    }
}
