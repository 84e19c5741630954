/* fused.c - what a GPU does in one launch, as a CPU does it: by the kernels that it is made of, whose rows stay in the
 * cache from one to the next. */
#include "op/op.h"

void gr_add_norm_cpu(gr_lane *lane, gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b, const gr_norm *norm, size_t N)
{
    lane->op->add(lane, x, a, b, N, norm->C);
    lane->op->rmsnorm_fwd(lane, y, r, x, norm, N);
}

void gr_heads_fwd_cpu(gr_lane *lane, gr_mat y, gr_mat x, const gr_heads *h, size_t N)
{
    size_t C = h->norm.C;

    if (h->norm.w)
        lane->op->rmsnorm_fwd(lane, gr_mat_of(y.p, C, y.type), h->r, gr_mat_of(x.p, C, x.type), &h->norm,
                              N * (h->H * h->D / C));
    if (h->table)
        lane->op->rope_fwd(lane, y, h->pos, h->table, N, h->H, h->D, h->R, h->interleaved);
}

void gr_adamw_slices_cpu(gr_lane *lane, const gr_adamw_slice *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        lane->op->adamw(s + i);
}

void gr_squares_slices_cpu(gr_lane *lane, const gr_squares_slice *s, size_t n, double *out)
{
    for (size_t i = 0; i < n; i++)
        lane->op->squares(lane, s[i].x, s[i].n, out + i);
}
