/* softmax_avx512.c - softmax.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/softmax.inc"
