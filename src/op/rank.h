/* rank.h - the sum of what several processes have, in the order of their ranks.
 *
 *   rank_sum  y[i] = x[0][i] + x[1][i] + ... + x[P - 1][i], from the left
 *
 * x[p] is what came from rank p, at `came` + p ld; of this process's own rank it is y itself, whose place among what
 * came is not looked at. A sum so has the same bits whoever makes it, whatever carried the numbers. */
#ifndef GR_OP_RANK_H
#define GR_OP_RANK_H

#include "tensor/device.h"

typedef void gr_rank_sum_fn(gr_lane *lane, float *y, const float *came, size_t ld, size_t own, size_t P, size_t n);
gr_rank_sum_fn gr_rank_sum_ref;

#endif
