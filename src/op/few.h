/* few.h - products of a handful of rows, which read each weight once: where there is one row, memory is what they wait
 * for, and where there are some, four share what was read.
 *
 *   rows      y[m,o]  = sum_k x[m,k] w[o,k]              w [O,K]
 *   cols      y[m,o]  = sum_k x[m,k] w[k,o]              w [K,O]       (+ y[m,o] where asked)
 *   blocks    as rows, but w is of a type that files have     w [O,K]
 *   shapes    x [M,K]    y [M,O]
 *
 * A number is made by the same operations in the same order however many rows and outputs a call has: rows adds up K in
 * as many lanes as the build has, cols one after the other. blocks gives the bits that rows gives of the same weights
 * in float32; for many rows it is slower than making them that first. The types that digits.h has are multiplied there
 * instead. */
#ifndef GR_OP_FEW_H
#define GR_OP_FEW_H

#include "tensor/device.h"

typedef void gr_few_rows_fn(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K);
gr_few_rows_fn gr_few_rows_ref, gr_few_rows_avx2, gr_few_rows_avx512;

typedef void gr_few_cols_fn(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K, bool add);
gr_few_cols_fn gr_few_cols_ref, gr_few_cols_avx2, gr_few_cols_avx512;

/* False, and nothing done, for types that it has not, and where K is not a multiple of 32. */
typedef bool gr_few_blocks_fn(gr_mat y, gr_mat x, size_t M, const void *w, gr_dtype type, size_t O, size_t K);
gr_few_blocks_fn gr_few_blocks_ref, gr_few_blocks_avx2, gr_few_blocks_avx512;

#endif
