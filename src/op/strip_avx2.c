/* strip_avx2.c - strip.inc in vectors of 8. */
#define FN(name) name##_avx2
#include "op/vec.inc"
#include "op/strip.inc"
