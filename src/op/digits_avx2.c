/* digits_avx2.c - digits.inc in vectors of 8. */
#define FN(name) name##_avx2
#include "op/vec.inc"
#include "op/digits.inc"
