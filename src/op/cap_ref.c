/* cap_ref.c - what every other cap must agree with. */
#include <math.h>
#include "op/cap.h"

double gr_capped(double x, float cap)
{
    return cap > 0 ? cap * tanh(x / cap) : x;
}

double gr_cap_slope(double y, float cap)
{
    return cap > 0 ? 1 - y / cap * (y / cap) : 1;
}

void gr_cap_fwd_ref(gr_lane *lane, gr_mat y, gr_mat x, float cap, size_t N, size_t V)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t v = 0; v < V; v++)
            gr_f32(y)[n * y.ld + v] = (float)gr_capped(gr_f32(x)[n * x.ld + v], cap);
}

void gr_cap_bwd_ref(gr_lane *lane, gr_mat d, gr_mat y, float cap, size_t N, size_t V)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t v = 0; v < V; v++)
            gr_f32(d)[n * d.ld + v] *= (float)gr_cap_slope(gr_f32(y)[n * y.ld + v], cap);
}
