/* kern.c - read this to know which CPU runs what. GRAM_CPU=ref|avx2|avx512|vnni|bf16|amx caps it (base/cpu.h). */
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "op/dnnl_int.h"
#include "op/gpu.h"
#include "op/op.h"

/* Every op has every build; what multiplies bytes has one for VNNI besides, or, where nobody else asks, alone. What
 * multiplies bfloat16 is oneDNN's alone, and a table says whether it may. */
#define TABLE(isa, bits, bytes, sums) {             \
    .cpu         = bits,                            \
    .add         = gr_add_ref,                      \
    .gather      = gr_gather_ref,                   \
    .scatter     = gr_scatter_ref,                  \
    .place       = gr_place_ref,                    \
    .embed       = gr_embed_ref,                    \
    .unembed     = gr_unembed_ref,                  \
    .copy        = gr_copy_ref,                     \
    .zero        = gr_zero_ref,                     \
    .scale       = gr_scale_ref,                    \
    .dropout_fwd = gr_dropout_rows_fwd,             \
    .dropout_bwd = gr_dropout_rows_bwd,             \
    .rmsnorm_fwd = gr_rmsnorm_fwd_##isa,            \
    .add_norm    = gr_add_norm_cpu,                 \
    .rmsnorm_bwd = gr_rmsnorm_bwd_##isa,            \
    .rope_fwd    = gr_rope_fwd_##isa,               \
    .rope_bwd    = gr_rope_bwd_##isa,               \
    .heads_fwd   = gr_heads_fwd_cpu,                \
    .attn_fwd    = gr_attn_fwd_cpu,                 \
    .attn_dq     = gr_attn_dq_cpu,                  \
    .attn_dkv    = gr_attn_dkv_cpu,                 \
    .swiglu_fwd  = gr_swiglu_fwd_##isa,             \
    .geglu_fwd   = gr_geglu_fwd_##isa,              \
    .swiglu_bwd  = gr_swiglu_bwd_##isa,             \
    .geglu_bwd   = gr_geglu_bwd_##isa,              \
    .cap_fwd     = gr_cap_fwd_##isa,                \
    .cap_bwd     = gr_cap_bwd_##isa,                \
    .ce          = gr_ce_##isa,                     \
    .ce_fwd      = gr_ce_fwd_##isa,                 \
    .ce_bwd      = gr_ce_bwd_##isa,                 \
    .row_top     = gr_row_top_##isa,                \
    .row_exp     = gr_row_exp_##isa,                \
    .route_fwd   = gr_route_fwd_ref,                \
    .route_bwd   = gr_route_bwd_ref,                \
    .weigh       = gr_weigh_ref,                    \
    .blend       = gr_blend_ref,                    \
    .adamw_slices = gr_adamw_slices_cpu,            \
    .squares_slices = gr_squares_slices_cpu,        \
    .adamw       = gr_adamw_##isa,                  \
    .squares     = gr_squares_##isa,                \
    .rank_sum    = gr_rank_sum_ref,                 \
    .attn_run_fwd = gr_attn_run_fwd_##isa,          \
    .attn_run_dq = gr_attn_run_dq_##isa,            \
    .attn_run_dkv = gr_attn_run_dkv_##isa,          \
    .rotate_row  = gr_rotate_row_##isa,             \
    .quant_row   = gr_quant_row_##isa,              \
    .quant_byte_row = gr_quant_byte_row_##isa,      \
    .dequant_acc = gr_dequant_acc_##isa,            \
    .dequant_byte_acc = gr_dequant_byte_acc_##isa,  \
    .quant16_row = gr_quant16_row_##isa,            \
    .strip       = gr_strip_##isa,                  \
    .dot16       = gr_dot16_##isa,                  \
    .few_rows    = gr_few_rows_##isa,               \
    .few_cols    = gr_few_cols_##isa,               \
    .few_bytes   = gr_few_bytes_##sums,             \
    .digits_row  = gr_digits_row_##bytes,           \
    .digits_dot  = gr_digits_dot_##bytes,           \
    .split       = gr_split_##isa,                  \
}

#define VNNI (GR_CPU_AVX2 | GR_CPU_AVX512 | GR_CPU_VNNI)

static const struct gr_kern table[] = {
    TABLE(avx512, VNNI | GR_CPU_BF16 | GR_CPU_AMX | GR_CPU_SPLIT, vnni, vnni),
    TABLE(avx512, VNNI | GR_CPU_BF16 | GR_CPU_AMX, vnni, vnni),
    TABLE(avx512, VNNI | GR_CPU_BF16 | GR_CPU_SPLIT, vnni, vnni),
    TABLE(avx512, VNNI | GR_CPU_BF16, vnni, vnni),
    TABLE(avx512, VNNI, vnni, vnni),
    TABLE(avx512, GR_CPU_AVX2 | GR_CPU_AVX512, avx512, ref),
    TABLE(avx2, GR_CPU_AVX2, avx2, ref),
    TABLE(ref, 0, ref, ref),
};

const struct gr_kern *gr_kern_of(unsigned cpu)
{
    size_t i = 0;

    while (table[i].cpu & ~cpu)
        i++;
    return &table[i];
}

static dnnl_cpu_isa_t dnnl_cap(unsigned cpu)
{
    return cpu & GR_CPU_AMX ? GR_DNNL_ISA_ALL : cpu & GR_CPU_BF16 ? dnnl_cpu_isa_avx512_core_bf16 :
           cpu & GR_CPU_VNNI ? dnnl_cpu_isa_avx512_core_vnni : cpu & GR_CPU_AVX512 ? dnnl_cpu_isa_avx512_core :
           cpu & GR_CPU_AVX2 ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_sse41;
}

/* Later instruction sets of oneDNN's have the bits of those that they build on. */
static bool dnnl_has(dnnl_cpu_isa_t isa)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) == (unsigned)isa;
}

unsigned gr_kern_cpu(void)
{
    unsigned cpu = gr_cpu();

    (void)dnnl_set_max_cpu_isa(dnnl_cap(cpu));      /* refused once oneDNN has made its choice */
    if ((cpu & GR_CPU_AMX) && !dnnl_has(dnnl_cpu_isa_avx512_core_amx))
        cpu &= ~(unsigned)(GR_CPU_AMX | GR_CPU_SPLIT);
    if ((cpu & GR_CPU_BF16) && !dnnl_has(dnnl_cpu_isa_avx512_core_bf16))
        cpu &= ~(unsigned)(GR_CPU_BF16 | GR_CPU_SPLIT);
    return cpu;
}

/* The number of this process among those of its machine, as launchers say it; 0: it is alone. */
static size_t place_on_machine(void)
{
    static const char *const name[] = { "GRAM_PROCESS", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID",
                                        "MPI_LOCALRANKID" };
    const char *s = NULL;

    for (size_t i = 0; i < GR_COUNT(name) && !s; i++)
        s = getenv(name[i]);
    return s ? strtoul(s, NULL, 10) : 0;
}

bool gr_device_is_gpu(const char *name, size_t *index)
{
    static const char gpu[] = "cuda:";
    const char *digit = name + sizeof gpu - 1;

    if (!strcmp(name, "cuda")) {
        *index = place_on_machine();
        return true;
    }
    if (strncmp(name, gpu, sizeof gpu - 1) || strspn(digit, "0123456789") != strlen(digit) || !*digit ||
        strlen(digit) > 3)
        return false;
    *index = strtoul(digit, NULL, 10);
    return true;
}

gram_status gr_device_open(gr_device **out, const char *name, size_t threads, gram_err *err)
{
    size_t index = 0;
    bool gpu;
    gram_status rc = gr_cpu_check(err);

    *out = NULL;
    if (rc)
        return rc;
    name = name ? name : getenv("GRAM_DEVICE");
    name = name && *name ? name : "cpu";
    gpu = gr_device_is_gpu(name, &index);
    if (!gpu && strcmp(name, "cpu") && strcmp(name, "auto"))
        return gr_fail(err, GRAM_EARG, "device: wanted cpu, cuda, cuda:0 (or another number) or auto, found \"%s\"",
                       name);
    if (!gpu)
        index = place_on_machine();
    if (gpu || (!strcmp(name, "auto") && gr_gpu_list(NULL, 0, NULL) > 0))
        return gr_gpu_open(out, index, err);
    return gr_device_open_cpu(out, threads, gr_kern_of(gr_kern_cpu()), err);
}
