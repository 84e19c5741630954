/* kern.cu - the kernels of a GPU, put into a device's table. */
#include "op/gpu_int.h"

extern "C" void gr_kern_cuda(struct gr_kern *op)
{
    op->add = gr_add_cuda;
    op->gather = gr_gather_cuda;
    op->scatter = gr_scatter_cuda;
    op->place = gr_place_cuda;
    op->embed = gr_embed_cuda;
    op->unembed = gr_unembed_cuda;
    op->copy = gr_copy_cuda;
    op->zero = gr_zero_cuda;
    op->scale = gr_scale_cuda;
    op->dropout_fwd = gr_dropout_fwd_cuda;
    op->dropout_bwd = gr_dropout_bwd_cuda;
    op->rmsnorm_fwd = gr_rmsnorm_fwd_cuda;
    op->add_norm = gr_add_norm_cuda;
    op->rmsnorm_bwd = gr_rmsnorm_bwd_cuda;
    op->rope_fwd = gr_rope_fwd_cuda;
    op->rope_bwd = gr_rope_bwd_cuda;
    op->heads_fwd = gr_heads_fwd_cuda;
    op->attn_fwd = gr_attn_fwd_cuda;
    op->attn_dq = gr_attn_dq_cuda;
    op->attn_dkv = gr_attn_dkv_cuda;
    op->swiglu_fwd = gr_swiglu_fwd_cuda;
    op->geglu_fwd = gr_geglu_fwd_cuda;
    op->swiglu_bwd = gr_swiglu_bwd_cuda;
    op->geglu_bwd = gr_geglu_bwd_cuda;
    op->cap_fwd = gr_cap_fwd_cuda;
    op->cap_bwd = gr_cap_bwd_cuda;
    op->ce = gr_ce_cuda;
    op->ce_fwd = gr_ce_fwd_cuda;
    op->ce_bwd = gr_ce_bwd_cuda;
    op->route_fwd = gr_route_fwd_cuda;
    op->route_bwd = gr_route_bwd_cuda;
    op->weigh = gr_weigh_cuda;
    op->blend = gr_blend_cuda;
    op->adamw_slices = gr_adamw_slices_cuda;
    op->squares_slices = gr_squares_slices_cuda;
    op->rank_sum = gr_rank_sum_cuda;
}
