/* op.h - the kernels of a device, in the one table through which they are called.
 *
 * Each op has its own header with its math, shapes and a plain _ref.c beside the fast files; a CPU's table
 * holds the best that it grants. Every kernel's result for one row (token, query) depends on that
 * row alone, never on its neighbours, its place in the batch or the number of threads. */
#ifndef GR_OP_OP_H
#define GR_OP_OP_H

#include "op/rows.h"
#include "op/rmsnorm.h"
#include "op/rope.h"
#include "op/attn.h"
#include "op/glu.h"
#include "op/cap.h"
#include "op/dropout.h"
#include "op/ce.h"
#include "op/softmax.h"
#include "op/route.h"
#include "op/adamw.h"
#include "op/rank.h"
#include "op/quant.h"
#include "op/dot16.h"
#include "op/few.h"
#include "op/digits.h"
#include "op/rotate.h"
#include "op/split.h"
#include "op/strip.h"
#include "op/matmul.h"

struct gr_kern {
    unsigned           cpu;             /* the bits that this table was made for */
    gr_add_fn         *add;
    gr_gather_fn      *gather;
    gr_scatter_fn     *scatter;
    gr_place_fn       *place;
    gr_embed_fn       *embed;
    gr_unembed_fn     *unembed;
    gr_copy_fn        *copy;
    gr_zero_fn        *zero;
    gr_scale_fn       *scale;
    gr_dropout_fn     *dropout_fwd, *dropout_bwd;
    gr_rmsnorm_fwd_fn *rmsnorm_fwd;
    gr_add_norm_fn    *add_norm;
    gr_rmsnorm_bwd_fn *rmsnorm_bwd;
    gr_rope_fwd_fn    *rope_fwd, *rope_bwd;
    gr_heads_fn       *heads_fwd;
    gr_attn_fn        *attn_fwd, *attn_dq, *attn_dkv;
    gr_glu_fwd_fn     *swiglu_fwd, *geglu_fwd;
    gr_glu_bwd_fn     *swiglu_bwd, *geglu_bwd;
    gr_cap_fwd_fn     *cap_fwd;
    gr_cap_bwd_fn     *cap_bwd;
    gr_ce_fn          *ce;
    gr_ce_fwd_fn      *ce_fwd;
    gr_ce_bwd_fn      *ce_bwd;
    gr_row_top_fn     *row_top;
    gr_row_exp_fn     *row_exp;
    gr_route_fwd_fn   *route_fwd;
    gr_route_bwd_fn   *route_bwd;
    gr_weigh_fn       *weigh;
    gr_blend_fn       *blend;
    gr_adamw_slices_fn *adamw_slices;
    gr_squares_slices_fn *squares_slices;
    gr_rank_sum_fn    *rank_sum;
    /* Which only the files of op/ call, on a CPU: */
    gr_adamw_fn       *adamw;
    gr_squares_fn     *squares;
    gr_attn_run_fwd_fn *attn_run_fwd;
    gr_attn_run_dq_fn *attn_run_dq;
    gr_attn_run_dkv_fn *attn_run_dkv;
    gr_rotate_row_fn  *rotate_row;
    gr_quant_row_fn   *quant_row, *quant_byte_row;
    gr_dequant_acc_fn *dequant_acc, *dequant_byte_acc;
    gr_quant16_row_fn *quant16_row;
    gr_strip_fn       *strip;
    gr_dot16_fn       *dot16;
    gr_few_rows_fn    *few_rows;
    gr_few_cols_fn    *few_cols;
    gr_few_bytes_fn   *few_bytes;
    gr_digits_row_fn  *digits_row;
    gr_digits_dot_fn  *digits_dot;
    gr_split_fn       *split;
    const gr_linear_kind *linear;       /* how another device multiplies; NULL: as matmul.c does, on a CPU */
};
const struct gr_kern *gr_kern_of(unsigned cpu);         /* bits of base/cpu.h */
/* The bits of the kernels that a CPU's device has: gr_cpu()'s, without what oneDNN may not use (ONEDNN_MAX_CPU_ISA, or
 * a system that grants no tiles). Caps oneDNN at what GRAM_CPU grants, which obeys the first call of a process only. */
unsigned gr_kern_cpu(void);

/* Opens a device with its kernels: the "cpu", with so many threads; 0: one for each core. "cuda:0" is the first GPU,
 * "cuda" the one of this process's number on its machine, and "auto" that where there is one, otherwise the CPU. NULL:
 * what GRAM_DEVICE in the environment says, or the CPU. */
gram_status gr_device_open(gr_device **out, const char *name, size_t threads, gram_err *err);
/* "cuda:" and a number, which is *index; or "cuda", where launchers say what number this process is on its machine. */
bool gr_device_is_gpu(const char *name, size_t *index);

#endif
