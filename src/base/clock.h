/* clock.h - the clock that only goes on. */
#ifndef GR_BASE_CLOCK_H
#define GR_BASE_CLOCK_H

#include <time.h>

/* Seconds since some moment that stays the same. */
static inline double gr_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
