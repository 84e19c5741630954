/* softmax.h - one row of logits made into the weights of a softmax.
 *
 *   w[v] = exp(z[v] - top)        returns sum_v w[v]
 *   top                           max_v z[v], which gr_row_top gives; a NaN in z makes the sum a NaN
 *   shapes    z w [V], which may be the same memory
 *
 * A row's sum is added up in one order whatever stands beside the row. */
#ifndef GR_OP_SOFTMAX_H
#define GR_OP_SOFTMAX_H

#include <stddef.h>

typedef float gr_row_top_fn(const float *z, size_t V);
typedef double gr_row_exp_fn(float *w, const float *z, float top, size_t V);
gr_row_top_fn gr_row_top_ref, gr_row_top_avx2, gr_row_top_avx512;
gr_row_exp_fn gr_row_exp_ref, gr_row_exp_avx2, gr_row_exp_avx512;

#endif
