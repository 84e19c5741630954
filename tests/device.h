/* device.h - what tests compute on: devices that are opened once, and a lane that multiplies as a run of scores
 * does. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "op/matmul.h"
#include "op/op.h"
#include "tensor/param.h"

/* The CPU with so many threads, 8 at most. */
static inline gr_device *check_device(size_t threads)
{
    static gr_device *open[9];

    if (!open[threads])
        CHECK_OK(gr_device_open(&open[threads], NULL, threads, &check_err));
    return open[threads];
}

/* The caller's lane of that device, as in a run of rows. */
static inline gr_lane *check_lane(size_t threads)
{
    gr_lane *lane = gr_device_lane(check_device(threads));

    lane->whole = false;
    return lane;
}

/* How many of n cases to take where GRAM_DEVICE names a GPU, which is an emulated one as a rule and has no time for
 * all: the first `few`, or with GRAM_TEST_ALL=1 all of them. */
static inline size_t check_some(size_t n, size_t few)
{
    return gr_device_is_host(check_device(1)) || getenv("GRAM_TEST_ALL") || n < few ? n : few;
}

/* Whether the device that computes has this golden model: heads of more than 256 numbers are not for a GPU yet. */
static inline bool check_has(const char *model)
{
    return gr_device_is_host(check_device(1)) || (!strstr(model, "head320") && !strstr(model, "head512"));
}

/* A parameter's values, or its gradient, for the host to read or to write: where they are, or a copy of them. */
static inline float *check_map(const gr_param *p, bool grad)
{
    float *x = gr_device_map(p->on, grad ? p->g.p : p->w.p, gr_param_count(p) * sizeof *x, true);

    assert_non_null(x);
    return x;
}

static inline void check_unmap(const gr_param *p, bool grad, float *x, bool written)
{
    gr_device_unmap(p->on, grad ? p->g.p : p->w.p, x, gr_param_count(p) * sizeof *x, written);
}

static inline bool check_equal(const gr_param *p, const gr_param *q, bool grad)
{
    float *a = check_map(p, grad), *b = check_map(q, grad);
    bool equal = !memcmp(a, b, gr_param_count(p) * sizeof *a);

    check_unmap(p, grad, a, false);
    check_unmap(q, grad, b, false);
    return equal;
}

#define MAT(p, ld) gr_mat_f32(p, ld)

#endif
