/* split_avx2.c - split.inc in vectors of 8. */
#define FN(name) name##_avx2
#include "op/vec.inc"
#include "op/split.inc"
