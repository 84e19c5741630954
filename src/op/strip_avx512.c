/* strip_avx512.c - strip.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/strip.inc"
