/* random.h - numbers that look like chance and follow from a seed alone: splitmix64, a state of 64 bits. */
#ifndef GR_BASE_RANDOM_H
#define GR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define GR_HERE_AND_THERE static inline __host__ __device__         /* kernels of a GPU draw, too */
#else
#define GR_HERE_AND_THERE static inline
#endif

/* The next draw. */
GR_HERE_AND_THERE uint64_t gr_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A state for each word beneath each state: chance that depends on where one is and not on what was drawn before. */
GR_HERE_AND_THERE uint64_t gr_random_at(uint64_t state, uint64_t word)
{
    state = gr_random(&state) ^ word;
    return gr_random(&state);
}

double gr_random_unit(uint64_t *state);                 /* uniform in [0, 1), a multiple of 2^-53 */
/* 0 .. n-1, each as likely as the others. */
size_t gr_random_below(uint64_t *state, size_t n);
/* The normal distribution of mean 0 and variance 1. */
double gr_random_normal(uint64_t *state);

#endif
