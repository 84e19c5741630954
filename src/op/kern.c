/* kern.c - read this to know which CPU runs what. GRAM_CPU=ref|avx2|avx512|vnni caps it (base/cpu.h). */
#include "base/cpu.h"
#include "op/dnnl_int.h"
#include "op/op.h"

struct gr_kern gr_kern;

/* Every op has every build. */
#define TABLE(isa) (struct gr_kern){                \
    .cpu         = cpu,                             \
    .rmsnorm_fwd = gr_rmsnorm_fwd_##isa,            \
    .rmsnorm_bwd = gr_rmsnorm_bwd_##isa,            \
    .rope_fwd    = gr_rope_fwd_##isa,               \
    .rope_bwd    = gr_rope_bwd_##isa,               \
    .attn_fwd    = gr_attn_fwd_##isa,               \
    .attn_dq     = gr_attn_dq_##isa,                \
    .attn_dkv    = gr_attn_dkv_##isa,               \
    .swiglu_fwd  = gr_swiglu_fwd_##isa,             \
    .geglu_fwd   = gr_geglu_fwd_##isa,              \
    .swiglu_bwd  = gr_swiglu_bwd_##isa,             \
    .geglu_bwd   = gr_geglu_bwd_##isa,              \
    .ce          = gr_ce_##isa,                     \
    .row_top     = gr_row_top_##isa,                \
    .row_exp     = gr_row_exp_##isa,                \
    .adamw_f32   = gr_adamw_f32_##isa,              \
    .adamw_bf16  = gr_adamw_bf16_##isa,             \
    .squares     = gr_squares_##isa,                \
    .rotate_row  = gr_rotate_row_##isa,             \
    .quant_row   = gr_quant_row_##isa,              \
    .dequant_acc = gr_dequant_acc_##isa,            \
    .quant16_row = gr_quant16_row_##isa,            \
    .dot16       = gr_dot16_##isa,                  \
}

static dnnl_cpu_isa_t dnnl_cap(unsigned cpu)
{
    return cpu & GR_CPU_VNNI ? GR_DNNL_ISA_ALL : cpu & GR_CPU_AVX512 ? dnnl_cpu_isa_avx512_core :
           cpu & GR_CPU_AVX2 ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_sse41;
}

void gr_kern_init(unsigned cpu)
{
    gr_kern = TABLE(ref);
    if (cpu & GR_CPU_AVX2)
        gr_kern = TABLE(avx2);
    if (cpu & GR_CPU_AVX512)
        gr_kern = TABLE(avx512);
    (void)dnnl_set_max_cpu_isa(dnnl_cap(cpu));      /* refused once oneDNN has made its choice */
}
