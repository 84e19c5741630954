/* gpu_int.h - the launchers of the .cu files, for the table of kern.cu. */
#ifndef GR_OP_GPU_INT_H
#define GR_OP_GPU_INT_H

#ifdef __cplusplus
extern "C" {
#endif
#include "op/op.h"

gr_add_fn gr_add_cuda;
gr_gather_fn gr_gather_cuda;
gr_scatter_fn gr_scatter_cuda;
gr_place_fn gr_place_cuda;
gr_embed_fn gr_embed_cuda;
gr_unembed_fn gr_unembed_cuda;
gr_copy_fn gr_copy_cuda;
gr_zero_fn gr_zero_cuda;
gr_scale_fn gr_scale_cuda;
gr_dropout_fn gr_dropout_fwd_cuda, gr_dropout_bwd_cuda;
gr_rmsnorm_fwd_fn gr_rmsnorm_fwd_cuda;
gr_add_norm_fn gr_add_norm_cuda;
gr_rmsnorm_bwd_fn gr_rmsnorm_bwd_cuda;
gr_rope_fwd_fn gr_rope_fwd_cuda, gr_rope_bwd_cuda;
gr_heads_fn gr_heads_fwd_cuda;
gr_attn_fn gr_attn_fwd_cuda, gr_attn_dq_cuda, gr_attn_dkv_cuda;
gr_glu_fwd_fn gr_swiglu_fwd_cuda, gr_geglu_fwd_cuda;
gr_glu_bwd_fn gr_swiglu_bwd_cuda, gr_geglu_bwd_cuda;
gr_cap_fwd_fn gr_cap_fwd_cuda;
gr_cap_bwd_fn gr_cap_bwd_cuda;
gr_ce_fn gr_ce_cuda;
gr_ce_fwd_fn gr_ce_fwd_cuda;
gr_ce_bwd_fn gr_ce_bwd_cuda;
gr_route_fwd_fn gr_route_fwd_cuda;
gr_route_bwd_fn gr_route_bwd_cuda;
gr_weigh_fn gr_weigh_cuda;
gr_blend_fn gr_blend_cuda;
gr_adamw_slices_fn gr_adamw_slices_cuda;
gr_squares_slices_fn gr_squares_slices_cuda;
gr_rank_sum_fn gr_rank_sum_cuda;

#ifdef __cplusplus
}
#endif
#endif
