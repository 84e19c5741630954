/* adamw_avx512.c - adamw.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/adamw.inc"
