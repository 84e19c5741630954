/* few.h - products of a handful of rows, which read each weight once: where there is one row, memory is what they wait
 * for, and where there are some, four share what was read.
 *
 *   rows      y[m,o]  = sum_k x[m,k] w[o,k]              w [O,K]
 *   cols      y[m,o]  = sum_k x[m,k] w[k,o]              w [K,O]       (+ y[m,o] where asked)
 *   bytes     the sums of int8, in whole numbers
 *   shapes    x [M,K]    y [M,O]
 *
 * A number is made by the same operations in the same order however many rows and outputs a call has: rows adds up K in
 * as many lanes as the build has, cols one after the other. Weights of two bytes give rows the bits that they give in
 * float32. Quantised ones are multiplied by digits.h, or, of a type that has no panels there, in float32. */
#ifndef GR_OP_FEW_H
#define GR_OP_FEW_H

#include "tensor/device.h"

/* w is F32, F16 or BF16, and may lie at any address. */
typedef void gr_few_rows_fn(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K);
gr_few_rows_fn gr_few_rows_ref, gr_few_rows_avx2, gr_few_rows_avx512;

typedef void gr_few_cols_fn(gr_mat y, gr_mat x, size_t M, gr_mat w, size_t O, size_t K, bool add);
gr_few_cols_fn gr_few_cols_ref, gr_few_cols_avx2, gr_few_cols_avx512;

/* acc [N,O]: the sums of int8, of rows of K bytes. w: panels of P outputs, a multiple of 16 up to 64, of [K / 4][P][4]
 * signed bytes, K filled up with zeros to a multiple of 64: what oneDNN multiplies. May read 3 bytes behind q. */
static inline size_t gr_few_panel_bytes(size_t P, size_t K) { return P * gr_round_up(K, 64); }
typedef void gr_few_bytes_fn(int32_t *acc, size_t ldacc, const uint8_t *q, size_t N, const int8_t *w, size_t P,
                             size_t O, size_t K);
gr_few_bytes_fn gr_few_bytes_ref, gr_few_bytes_vnni;

#endif
