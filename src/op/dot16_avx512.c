/* dot16_avx512.c - dot16.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/dot16.inc"
