/* dropout.h - leave some inputs out, so that nothing learns to lean on one of them.
 *
 *   forward   y[c] = k[c] x[c]          k[c] = 0 with probability p, otherwise 1 / (1 - p)
 *   backward  dx[c] += k[c] dy[c]
 *   chance    16 bits, the lowest first, of draw c / 4 of the numbers that follow from `key`, against p 2^16
 *
 * A mask is never kept: whoever has the key has the mask, on any thread and in any pass. */
#ifndef GR_OP_DROPOUT_H
#define GR_OP_DROPOUT_H

#include "tensor/device.h"

/* p is from 0 and below 1; y and x do not overlap. */
void gr_dropout_fwd(float *y, const float *x, size_t n, uint64_t key, double p);
void gr_dropout_bwd(float *dx, const float *dy, size_t n, uint64_t key, double p);

/* The same of N rows of C numbers. The key of row n follows from `key`, which is one for all of them, and
 * row_key[n]. */
typedef void gr_dropout_fn(gr_lane *lane, gr_mat y, gr_mat x, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                           double p);
gr_dropout_fn gr_dropout_rows_fwd, gr_dropout_rows_bwd;

#endif
