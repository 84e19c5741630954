/* digits.h - products of a handful of rows with quantised weights, in whole numbers, which read each weight once.
 *
 *   a block of 32 of x   scale    = max_k |x[k]| / GR_DIGITS_LIMIT                     NaN where an x is not finite
 *                        X[k]     = round(x[k] / scale) = 65536 h + 256 m + l          three signed bytes
 *   a block of 32 of w   w[o,k]   = d[o] (q[o,k] - zero) + m[o]                        Q4_0, Q4_1, Q5_0, Q5_1, Q8_0
 *   product              y[o]    += (sum_k (q[o,k] - zero) X[k]) (d[o] scale) + m[o] (scale sum_k X[k])
 *                                                                                                       and IQ4_NL
 *   8 blocks             d[o] and m[o] are one number for all of them times one of few bits for each     Q4_K, Q5_K
 *                        the same, without m                                                             IQ4_XS
 *                        the same, and each half of a block has its d[o]                                 Q6_K, Q3_K
 *                        the same with m, of which each half of a block has its own, too                 Q2_K
 *   shapes               x [M,K]    w [O,K]    y [M,O]    K a multiple of 32
 *
 * 23 bits of magnitude are what a float32 has beside its sign and its last bit, and the sums of a block are whole
 * numbers: y errs as sums of float32 products do. Blocks are added up in order, so a number has the same bits in any
 * company, and every build gives those of the reference. The product of a d or m and its few bits is exact.
 *
 * Weights lie in panels of 16 outputs, so that each output has a lane of its own and no sum crosses lanes: of each
 * block of a panel the 16 d, of some types the 16 m, and then, for 4 k at a time, the 4 bytes of each output
 * (digits_int.h). A panel is read from its first byte to its last one: with its d elsewhere, as a second stream, it
 * came from memory at half the speed. */
#ifndef GR_OP_DIGITS_H
#define GR_OP_DIGITS_H

#include "tensor/device.h"

#define GR_DIGITS_LIMIT 8355584.0f  /* 127.5 * 65536: a rounding more, and the digits are still bytes */

enum { GR_DIGITS_BLOCK = 32, GR_DIGITS_PART = 16, GR_DIGITS_PANEL = 16 };

typedef struct {
    float scale, sum;                   /* sum: scale times that of X */
    int32_t upper_sum[3], low_sum[3];   /* of 256 h + m, and of l: of each half of the block, and of both */
    int8_t digit[3][GR_DIGITS_BLOCK];   /* h, m and l; the reference does without */
    int16_t half[2][GR_DIGITS_BLOCK];   /* 256 h + m, and l; VNNI does without */
} gr_digits;

bool gr_digits_has(gr_dtype type, size_t K);
size_t gr_digits_panel_bytes(gr_dtype type, size_t K);
size_t gr_digits_bytes(gr_dtype type, size_t O, size_t K);
/* The O rows of a file as panels, GR_ALIGN-aligned; outputs behind O are zeros. */
void gr_digits_pack(void *panels, const void *rows, gr_dtype type, size_t O, size_t K);

/* Makes a row of x into to[K / 32]. */
typedef void gr_digits_row_fn(gr_digits *to, const float *x, size_t K);
gr_digits_row_fn gr_digits_row_ref, gr_digits_row_avx2, gr_digits_row_avx512, gr_digits_row_vnni;

/* x holds M rows that the same build made, one behind the other; the O outputs begin with a panel. */
typedef void gr_digits_dot_fn(gr_mat y, const gr_digits *x, size_t M, const void *panels, gr_dtype type, size_t O,
                              size_t K);
gr_digits_dot_fn gr_digits_dot_ref, gr_digits_dot_avx2, gr_digits_dot_avx512, gr_digits_dot_vnni;

#endif
