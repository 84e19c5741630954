/* fast.h - FAST before a function: the compiler makes vectors of its loops, for AVX2 beside the plain build. */
#ifndef GR_TENSOR_FAST_H
#define GR_TENSOR_FAST_H

/* A sanitizer's run time is not there yet when the loader picks a clone. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__x86_64__) || defined(__clang__)
#define FAST
#else
#define FAST __attribute__((target_clones("avx2", "default"), optimize("O3")))
#endif

#endif
