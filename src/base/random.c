/* random.c - see random.h. */
#include <math.h>
#include "base/random.h"

double gr_random_unit(uint64_t *state)
{
    return (double)(gr_random(state) >> 11) * 0x1p-53;
}

/* Draws that would favour some are drawn again. */
size_t gr_random_below(uint64_t *state, size_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, x;

    do
        x = gr_random(state);
    while (x >= limit);
    return (size_t)(x % n);
}

/* Box and Muller's; 1 - u is never 0. */
double gr_random_normal(uint64_t *state)
{
    double u = gr_random_unit(state), v = gr_random_unit(state);

    return sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v);
}
