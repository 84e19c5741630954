/* softmax_ref.c - what every other softmax must agree with. */
#include <math.h>
#include "op/softmax.h"

float gr_row_top_ref(const float *z, size_t V)
{
    float top = -INFINITY;

    for (size_t v = 0; v < V; v++)
        top = fmaxf(top, z[v]);
    return top;
}

double gr_row_exp_ref(float *w, const float *z, float top, size_t V)
{
    double sum = 0;

    for (size_t v = 0; v < V; v++) {
        double e = exp((double)z[v] - top);
        w[v] = (float)e;
        sum += e;
    }
    return sum;
}
