/* split.h - float32 rows in bfloat16, for products in it.
 *
 *   hi[i] = x[i] rounded to the nearest bfloat16, ties to even; a NaN stays one
 *   lo[i] = x[i] - hi[i], rounded in the same way
 *
 * hi + lo differs from x by at most 2^-17 of it, which is a bfloat16's 8 bits twice, and the sign of lo. */
#ifndef GR_OP_SPLIT_H
#define GR_OP_SPLIT_H

#include <stddef.h>
#include <stdint.h>

/* lo NULL: it is not asked for. */
typedef void gr_split_fn(uint16_t *hi, uint16_t *lo, const float *x, size_t n);
gr_split_fn gr_split_ref, gr_split_avx2, gr_split_avx512;

#endif
