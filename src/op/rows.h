/* rows.h - what moves rows and adds them up, and no more.
 *
 *   add       y[n]          = a[n] + b[n]                   y may be either
 *   gather    y[n]          = x[row[n]]
 *   scatter   y[row[n]]    += x[n], in order: a row may come again
 *   place     y[row[n]]     = x[n]
 *   embed     y[n]          = scale table[token[n]]         of any type that dtype.h has
 *   unembed   table[t[n]]  += scale y[n], in order: its backward, of columns [c, c + C) where table and y begin there
 *   copy      y[n]          = x[n]
 *   zero      y[n]          = 0
 *   scale     y[n]         *= s
 *   shapes    [N,C] */
#ifndef GR_OP_ROWS_H
#define GR_OP_ROWS_H

#include "tensor/device.h"

typedef void gr_add_fn(gr_lane *lane, gr_mat y, gr_mat a, gr_mat b, size_t N, size_t C);
typedef void gr_gather_fn(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C);
typedef void gr_scatter_fn(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C);
typedef void gr_place_fn(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C);
typedef void gr_embed_fn(gr_lane *lane, gr_mat y, const gr_tensor *table, const int32_t *token, float scale, size_t N);
typedef void gr_unembed_fn(gr_lane *lane, gr_mat table, gr_mat y, const int32_t *token, float scale, size_t N,
                           size_t C);
typedef void gr_copy_fn(gr_lane *lane, gr_mat y, gr_mat x, size_t N, size_t C);
typedef void gr_zero_fn(gr_lane *lane, gr_mat y, size_t N, size_t C);
typedef void gr_scale_fn(gr_lane *lane, gr_mat y, float s, size_t N, size_t C);

gr_add_fn gr_add_ref;
gr_gather_fn gr_gather_ref;
gr_scatter_fn gr_scatter_ref;
gr_place_fn gr_place_ref;
gr_embed_fn gr_embed_ref;
gr_unembed_fn gr_unembed_ref;
gr_copy_fn gr_copy_ref;
gr_zero_fn gr_zero_ref;
gr_scale_fn gr_scale_ref;

#endif
