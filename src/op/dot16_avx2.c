/* dot16_avx2.c - dot16.inc in vectors of 8. */
#define FN(name) name##_avx2
#include "op/vec.inc"
#include "op/dot16.inc"
