/* matmul_int8.c - products in bytes; see matmul.h, quant.h and dot16.h.
 *
 * Before both sides of a product go to 8 bits they are rotated (rotate.h), which changes no product but
 * shares out the few channels that are far larger than the rest and would leave them fewer bits: the preferences of
 * 120 real pairs by SmolLM2-135M move by 0.004 at most instead of 0.008. */
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "op/matmul_int.h"

/* ---- Opening ---------------------------------------------------------------------------------------- */

static void row_of(void *arg, size_t o, float *row)
{
    expand_row(row, &((const gr_linear *)arg)->w, o);
}

/* The quads of packed.h as the pairs of dot16.h, an output after the other; tasks are panels of the latter. */
struct widening { const gr_packed *from; int8_t *to; };

static void widen_panels(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct widening *a = arg;
    const gr_packed *w = a->from;
    size_t pairs = gr_dot16_pairs(w->K), Kp = gr_round_up(w->K, GR_PACKED_PANEL);

    (void)lane;
    for (size_t o = first * GR_DOT16_COLS; o < (first + n) * GR_DOT16_COLS; o++) {
        const int8_t *from = w->panels + o / GR_PACKED_PANEL * GR_PACKED_PANEL * Kp + o % GR_PACKED_PANEL * 4;
        for (size_t k = 0; k < 2 * pairs; k += 2)
            memcpy(a->to + gr_dot16_at(o, k, pairs), from + k / 4 * 4 * GR_PACKED_PANEL + k % 4, 2);
    }
}

static gram_status widen(gr_linear *l, gr_device *d, const gr_packed *w, gram_err *err)
{
    size_t bytes = gr_round_up(gr_dot16_bytes(l->O, l->K), GR_ALIGN);
    struct widening a = { w, gr_alloc_aligned(bytes + l->O * sizeof *w->scale, 1) };

    l->own = a.to;
    if (!l->own)
        return gr_nomem(err, "weights");
    memcpy(a.to + bytes, w->scale, l->O * sizeof *w->scale);
    l->wscale = (const float *)(const void *)(a.to + bytes);
    l->bytes = a.to;
    gr_device_run(d, gr_round_up(l->O, GR_DOT16_COLS) / GR_DOT16_COLS, GR_CUT_ONE, widen_panels, &a);
    return gr_device_wait(d, err);
}

/* Quantises l->w into memory of its own. */
static gram_status pack(void **p, gr_packed *w, gr_linear *l, gr_device *d, gram_err *err)
{
    uint64_t bytes = gr_packed_bytes(l->O, l->K);
    gram_status rc;

    *p = bytes ? gr_alloc_aligned(bytes, 1) : NULL;
    if (!*p)
        return gr_nomem(err, "weights");
    rc = gr_packed_make(*p, d, l->O, l->K, row_of, l, err);
    *w = gr_packed_at(*p, l->O, l->K);
    return rc;
}

gram_status gr_int8_open(gr_linear *l, gr_device *d, const gr_packed *packed, gram_err *err)
{
    void *made = NULL;
    gr_packed w;
    gram_status rc = GRAM_OK;

    l->rotated = gr_packed_rotated(l->K);
    l->wide = !(l->op->cpu & GR_CPU_VNNI);
    l->packed = true;
    if (packed)
        w = *packed;
    else
        rc = pack(&made, &w, l, d, err);
    if (!rc && l->wide) {
        rc = widen(l, d, &w, err);
    } else if (!rc) {
        l->own = made;
        made = NULL;
        l->bytes = w.panels;
        l->wscale = w.scale;
        l->colsum = w.sum;
    }
    free(made);
    return rc;
}

size_t gr_int8_bytes(const gr_linear *l)
{
    return l->wide ? gr_dot16_bytes(l->O, l->K) + l->O * sizeof *l->wscale : (size_t)gr_packed_bytes(l->O, l->K);
}

/* ---- Use ---------------------------------------------------------------------------------------- */

void gr_int8_quantise(const gr_linear *l, uint8_t *q, float *scale, gr_mat x, size_t M, float *row)
{
    for (size_t m = 0; m < M; m++) {
        unsigned char *to = q + m * gr_int8_row_bytes(l);
        l->op->rotate_row(row, gr_f32(x) + m * x.ld, l->K, l->rotated);
        if (l->wide) {
            memset(to + gr_int8_row_bytes(l) - 2, 0, 2);        /* behind an odd K */
            l->op->quant16_row((int16_t *)(void *)to, scale + m, row, l->K);
        } else {
            l->op->quant_row(to, scale + m, row, l->K);
        }
    }
}

/* Outputs [o, end). */
static void fwd_wide(const gr_linear *l, gr_mat y, const int16_t *X, const float *scale, size_t M, size_t o, size_t end)
{
    size_t pairs = gr_dot16_pairs(l->K);
    gr_mat to = gr_mat_at(y, 0, o);

    l->op->dot16(to.p, to.ld, X, scale, M, l->bytes + gr_dot16_at(o, 0, pairs), l->wscale + o, end - o, pairs);
    if (l->bias)
        add_bias(to.p, to.ld, l->bias + o, M, end - o);
}

/* The outputs of one slice, which are whole panels, of tiles of half as many rows. */
static gram_status fwd_slice(const gr_linear *l, gr_mat y, const uint8_t *q, const float *scale, size_t M, size_t o,
                             int32_t *acc, gr_arena pad, gram_err *err)
{
    enum { T = GR_TILE / 2 };
    size_t n = outputs(l, o);
    const int8_t *w = l->bytes + o / GR_PACKED_PANEL * gr_few_panel_bytes(GR_PACKED_PANEL, l->K);
    const gr_product *p;
    gr_run r;
    gram_status rc = gr_linear_product(&p, l, l->packed, 2 * T, n, l->K, 0, err);

    if (!rc)
        rc = gr_run_begin(&r, p, pad.base + pad.used, pad.size - pad.used, err);
    if (rc)
        return rc;
    for (size_t m = 0; m < M && !rc; m += T) {
        gr_mat to = gr_mat_at(y, m, o);
        rc = gr_run_tile(&r, acc, q + 2 * m * l->K, w, err);
        l->op->dequant_acc(to.p, to.ld, acc, n, scale + m, l->wscale + o, l->colsum + o, T, n);
        if (l->bias)
            add_bias(to.p, to.ld, l->bias + o, T, n);
    }
    gr_run_end(&r);
    return rc;
}

void gr_int8_rows(gr_tiled *t, const gr_linear *l, gr_arena *a)
{
    float *row = gr_arena_alloc(a, l->K * sizeof *row);

    t->q = gr_arena_alloc(a, t->M * gr_int8_row_bytes(l));
    t->scale = gr_arena_alloc(a, t->M * sizeof *t->scale);
    gr_int8_quantise(l, t->q, t->scale, t->x, t->M, row);
}

gram_status gr_int8_fwd(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                        gram_err *err)
{
    int32_t *acc;
    gram_status rc = GRAM_OK;

    if (l->wide) {
        fwd_wide(l, y, (const int16_t *)(const void *)t->q, t->scale, t->M, first * l->slice,
                 gr_min(end * l->slice, l->O));
        return GRAM_OK;
    }
    acc = gr_arena_alloc(&a, GR_TILE * l->slice * sizeof *acc);
    for (; first < end && !rc; first++)
        rc = fwd_slice(l, y, t->q, t->scale, t->M, first * l->slice, acc, a, err);
    return rc;
}
