/* digits_vnni.c - digits.inc in vectors of 16, which multiply bytes. */
#define FN(name) name##_vnni
#include "op/vec.inc"
#include "op/digits.inc"
