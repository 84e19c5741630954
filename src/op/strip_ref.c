/* strip_ref.c - what every other strip must agree with, byte for byte: a row after the other. */
#include "base/mem.h"
#include "op/quant.h"
#include "op/rotate.h"
#include "op/strip.h"
#include "tensor/dtype.h"

/* Row i, to q [K]. */
static void quantise(const gr_strip *s, size_t i, int8_t *q, float *x, float *room)
{
    for (size_t k = 0; k < s->K; k += GR_STRIP_COLS) {
        size_t n = gr_min(GR_STRIP_COLS, s->K - k);
        gr_dequant(x + k, s->row(s->arg, s->o + i, k, n, room), s->bf16 ? GR_BF16 : GR_F32, n);
    }
    gr_rotate_row_ref(x, x, s->K, s->B);
    s->sum[i] = gr_quant_weight_ref(q, s->scale + i, x, s->K);
}

void gr_strip_ref(const gr_strip *s, void *room)
{
    float *x = room, *more = x + s->K;
    int8_t *q = (int8_t *)(more + GR_STRIP_COLS);

    for (size_t i = 0; i < GR_STRIP; i++) {
        s->scale[i] = 0;
        s->sum[i] = 0;
        if (i < s->n)
            quantise(s, i, q, x, more);
        for (size_t k = 0; k < s->filled; k++)
            s->to[k / s->group * s->ld + i * s->group + k % s->group] = i < s->n && k < s->K ? q[k] : 0;
    }
}
