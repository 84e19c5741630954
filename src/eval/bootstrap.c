/* bootstrap.c - see bootstrap.h. */
#include <stdlib.h>
#include "base/mem.h"
#include "eval/bootstrap.h"

static int by_size(const void *pa, const void *pb)
{
    const double *a = pa, *b = pb;

    return (*a > *b) - (*a < *b);
}

static double quantile(const double *x, size_t n, double q)
{
    double at = q * (double)(n - 1);
    size_t k = (size_t)at;

    return x[k] + (at - (double)k) * (x[gr_min(k + 1, n - 1)] - x[k]);
}

gram_interval gr_boot_interval(double value, double *draw, size_t n)
{
    qsort(draw, n, sizeof *draw, by_size);
    return (gram_interval){ value, quantile(draw, n, 0.025), quantile(draw, n, 0.975) };
}
