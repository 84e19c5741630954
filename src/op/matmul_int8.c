/* matmul_int8.c - products in bytes; see matmul.h, quant.h and dot16.h.
 *
 * Before both sides of a product go to 8 bits they are rotated (rotate.h), which changes no product but
 * shares out the few channels that are far larger than the rest and would leave them fewer bits: the preferences of
 * 120 real pairs by SmolLM2-135M move by 0.004 at most instead of 0.008. */
#include <immintrin.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "op/matmul_int.h"

enum { ROTATED = 512 };         /* channels rotated together, at most */

static void put_panels(gr_linear *l, size_t o, size_t n, const int8_t *q)
{
    int8_t *own = l->own;

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < l->K; k++)
            own[gr_dot16_at(o + i, k, gr_dot16_pairs(l->K))] = q[i * l->K + k];
}

/* Puts the n rows q of the slice at output o into own. */
static gram_status put_rows(gr_linear *l, size_t o, size_t n, const int8_t *q, gram_err *err)
{
    const gr_product *p;
    gr_entered was;
    gram_status rc;

    if (l->wide) {
        put_panels(l, o, n, q);
        return GRAM_OK;
    }
    was = gr_dnnl_enter();
    rc = gr_linear_product(&p, l, l->packed, GR_TILE, n, l->K, 0, err);
    if (!rc)
        rc = gr_product_lay_out(p, (unsigned char *)l->own + o / l->slice * l->slice_bytes, q, err);
    gr_dnnl_leave(&was);
    return rc;
}

/* Tasks are slices. */
static void quantise_slices(void *arg, gr_lane *lane, size_t first, size_t n)
{
    gr_linear *l = arg;
    float *row = gr_lane_bytes(lane, l->K * sizeof *row);
    int8_t *q = gr_lane_bytes(lane, l->slice * l->K);

    for (size_t s = first; s < first + n && !lane->rc; s++) {
        size_t o = s * l->slice;
        for (size_t i = 0; i < outputs(l, o); i++) {
            int32_t sum;
            expand_row(row, &l->w, o + i);
            l->op->rotate_row(row, row, l->K, l->rotated);
            sum = l->op->quant_weight(q + i * l->K, &l->wscale[o + i], row, l->K);
            if (l->colsum)
                l->colsum[o + i] = sum;
        }
        gr_lane_fail(lane, put_rows(l, o, outputs(l, o), q, &lane->err), &lane->err);
    }
}

/* Room for the bytes, and for what goes with them; what dot16.h reads behind the outputs is 0. */
static gram_status make_own(gr_linear *l, gram_err *err)
{
    const gr_product *p;
    gram_status rc = GRAM_OK;

    if (l->wide) {
        l->own = gr_alloc_aligned(gr_dot16_bytes(l->O, l->K), 1);
        if (l->own)
            memset(l->own, 0, gr_dot16_bytes(l->O, l->K));
    } else {
        rc = gr_linear_product(&p, l, l->packed, GR_TILE, l->slice, l->K, 0, err);
        if (rc)
            return rc;
        l->slice_bytes = gr_round_up(p->w_bytes, GR_ALIGN);
        l->panel = p->panel;
        rc = gr_linear_product(&p, l, l->packed, GR_TILE, outputs(l, (slices(l) - 1) * l->slice), l->K, 0, err);
        if (rc)
            return rc;
        l->last_panel = p->panel;
        l->own = gr_alloc_aligned(slices(l), l->slice_bytes);
        l->colsum = gr_alloc_aligned(l->O, sizeof *l->colsum);
    }
    return l->own && (l->wide || l->colsum) ? GRAM_OK : gr_nomem(err, "weights");
}

gram_status gr_int8_open(gr_linear *l, gr_device *d, gram_err *err)
{
    gram_status rc;

    l->rotated = gr_min(ROTATED, l->K & -l->K);
    l->wide = !(l->op->cpu & GR_CPU_VNNI);
    l->packed = true;
    rc = make_own(l, err);
    if (rc)
        return rc;
    l->wscale = gr_alloc_aligned(l->O, sizeof *l->wscale);
    if (!l->wscale)
        return gr_nomem(err, "weights");
    gr_device_run(d, slices(l), GR_CUT_ONE, quantise_slices, l);
    return gr_device_wait(d, err);
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

    l->op->dot16(to.p, to.ld, X, scale, M, (const int8_t *)l->own + gr_dot16_at(o, 0, pairs), l->wscale + o, end - o,
                 pairs);
    if (l->bias)
        add_bias(to.p, to.ld, l->bias + o, M, end - o);
}

gram_status gr_int8_slice(const gr_linear *l, gr_mat y, const uint8_t *q, const float *scale, size_t M, size_t T,
                          size_t slice, int32_t *acc, gr_arena pad, gram_err *err)
{
    size_t o = slice * l->slice, n = outputs(l, o);
    const unsigned char *w = (const unsigned char *)l->own + slice * l->slice_bytes;
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
        l->op->dequant_acc(to.p, to.ld, acc, n, scale + m, l->wscale + o, l->colsum + o, gr_min(T, M - m), n);
        if (l->bias)
            add_bias(to.p, to.ld, l->bias + o, gr_min(T, M - m), n);
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
        rc = gr_int8_slice(l, y, t->q, t->scale, t->M, GR_TILE / 2, first, acc, a, err);
    return rc;
}
