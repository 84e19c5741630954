/* glu_ref.c - what every other gated unit must agree with. */
#include <math.h>
#include "op/glu.h"

static const double ROOT = 1.59576912160573071176;      /* 2 sqrt(2 / pi) */

static float *at(gr_mat m, size_t row, size_t col)
{
    return gr_f32(m) + row * m.ld + col;
}

void gr_swiglu_fwd_ref(gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t f = 0; f < F; f++) {
            double g = *at(gate, n, f);
            *at(y, n, f) = (float)(g / (1 + exp(-g)) * *at(up, n, f));
        }
}

void gr_geglu_fwd_ref(gr_lane *lane, gr_mat y, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t f = 0; f < F; f++) {
            double g = *at(gate, n, f);
            double h = ROOT * (g + 0.044715 * g * g * g);       /* (1 + tanh u) / 2 = s(2u), and s never cancels */
            *at(y, n, f) = (float)(g / (1 + exp(-h)) * *at(up, n, f));
        }
}

/* One gate: slope is h'. */
static void one_bwd(float *dgate, float *dup, float dy, double gate, double up, double h, double slope)
{
    double s = 1 / (1 + exp(-h));

    *dgate = (float)(dy * up * (s * (1 + gate * slope * (1 - s))));
    *dup = (float)(dy * (gate * s));
}

void gr_swiglu_bwd_ref(gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t f = 0; f < F; f++)
            one_bwd(at(dgate, n, f), at(dup, n, f), *at(dy, n, f), *at(gate, n, f), *at(up, n, f), *at(gate, n, f), 1);
}

void gr_geglu_bwd_ref(gr_lane *lane, gr_mat dgate, gr_mat dup, gr_mat dy, gr_mat gate, gr_mat up, size_t N, size_t F)
{
    (void)lane;
    for (size_t n = 0; n < N; n++)
        for (size_t f = 0; f < F; f++) {
            double g = *at(gate, n, f);
            one_bwd(at(dgate, n, f), at(dup, n, f), *at(dy, n, f), g, *at(up, n, f),
                    ROOT * (g + 0.044715 * g * g * g), ROOT * (1 + 3 * 0.044715 * g * g));
        }
}
