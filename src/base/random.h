/* random.h - numbers that look like chance and follow from a seed alone: splitmix64, a state of 64 bits. */
#ifndef GR_BASE_RANDOM_H
#define GR_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

uint64_t gr_random(uint64_t *state);
double gr_random_unit(uint64_t *state);                 /* uniform in [0, 1), a multiple of 2^-53 */
/* 0 .. n-1, each as likely as the others. */
size_t gr_random_below(uint64_t *state, size_t n);
/* The normal distribution of mean 0 and variance 1. */
double gr_random_normal(uint64_t *state);

#endif
