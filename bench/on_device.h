/* on_device.h - what programs that time kernels of a device share: numbers that lie on it, and the time of a call. */
#ifndef BENCH_ON_DEVICE_H
#define BENCH_ON_DEVICE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/random.h"
#include "op/op.h"

static gr_device *device;
static double limit = 0.2;                      /* seconds of a measurement */

static inline void check(gram_status rc, const gram_err *err)
{
    if (!rc)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static inline double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static inline float *drawn(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);

    if (!x)
        exit(1);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(2 * gr_random_unit(&seed) - 1);
    return x;
}

/* n values as rows have them. */
static inline void *as_rows(gr_dtype type, const float *values, size_t n)
{
    void *p = malloc(n * gr_dtype_bytes(type));

    if (!p || !gr_quantize(p, type, values, n))
        exit(1);
    return p;
}

/* A matrix of the device, of drawn numbers, the same again and again. */
enum { DRAWN = 1 << 20 };
static inline gr_mat matrix(size_t n, size_t c, gr_dtype type)
{
    static float *values;
    size_t all = n * c, each = gr_dtype_bytes(type);
    void *block, *p;
    gram_err err;

    values = values ? values : drawn(DRAWN, 1);
    block = as_rows(type, values, DRAWN);
    check(gr_device_alloc(device, &p, all * each, &err), &err);
    for (size_t at = 0; at < all; at += DRAWN)
        gr_device_put(device, (char *)p + at * each, block, gr_min(DRAWN, all - at) * each);
    free(block);
    return gr_mat_of(p, c, type);
}

static inline void wait(void)
{
    gram_err err;

    check(gr_device_wait(device, &err), &err);
}

/* The best of several, of more and more calls in a row. */
static inline double seconds(void (*call)(const void *arg), const void *arg)
{
    double t, best = 1e30, end;
    size_t n = 1;

    call(arg);
    wait();
    end = now() + limit;
    do {
        t = now();
        for (size_t i = 0; i < n; i++)
            call(arg);
        wait();
        t = (now() - t) / (double)n;
        best = t < best ? t : best;
        n *= 2;
    } while (now() < end);
    return best;
}

#endif
