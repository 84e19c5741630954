/* split_avx512.c - split.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/split.inc"
