/* few_blocks_avx2.c - few_blocks.inc in vectors of 8. */
#define FN(name) name##_avx2
#include "op/vec.inc"
#include "op/few_blocks.inc"
