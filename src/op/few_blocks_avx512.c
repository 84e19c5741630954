/* few_blocks_avx512.c - few_blocks.inc in vectors of 16. */
#define FN(name) name##_avx512
#include "op/vec.inc"
#include "op/few_blocks.inc"
