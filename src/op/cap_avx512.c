/* cap_avx512.c - cap.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/cap.inc"
