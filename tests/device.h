/* device.h - what tests compute on: devices that are opened once, and a lane that multiplies as a run of scores
 * does. */
#ifndef TESTS_DEVICE_H
#define TESTS_DEVICE_H

#include "check.h"
#include "op/matmul.h"
#include "op/op.h"

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


#define MAT(p, ld) gr_mat_f32(p, ld)

#endif
