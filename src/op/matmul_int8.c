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

enum { LAST_TILE = 16 };            /* rows of bytes in the last tile of a call: a multiple of this */

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

/* One row of x, to q. */
static void put_row(const gr_linear *l, uint8_t *q, float *scale, const float *x, bool one_byte, float *row)
{
    l->op->rotate_row(row, x, l->K, l->rotated);
    if (l->wide) {
        memset(q + gr_int8_row_bytes(l) - 2, 0, 2);             /* behind an odd K */
        l->op->quant16_row((int16_t *)(void *)q, scale, row, l->K);
    } else {
        (one_byte ? l->op->quant_byte_row : l->op->quant_row)(q, scale, row, l->K);
    }
}

void gr_int8_quantise(const gr_linear *l, uint8_t *q, float *scale, gr_mat x, size_t M, float *row)
{
    for (size_t m = 0; m < M; m++)
        put_row(l, q + m * gr_int8_row_bytes(l), scale + m, gr_f32(x) + m * x.ld, false, row);
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

/* The row of t that row b of bytes belongs to. */
static size_t row_at(const gr_tiled *t, size_t b)
{
    return b < 2 * t->two ? b / 2 : b - t->two;
}

/* Rows [i, end) of t, `each` rows of bytes each, whose sums for the n outputs from o on begin at acc. */
static void take_rows(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t i, size_t end, size_t each,
                      const int32_t *acc, size_t o, size_t n)
{
    gr_dequant_acc_fn *dequant = each == 2 ? l->op->dequant_acc : l->op->dequant_byte_acc;

    for (size_t m; i < end; i += m) {               /* m that follow each other in y, too */
        gr_mat to = gr_mat_at(y, t->order[i], o);
        for (m = 1; i + m < end && t->order[i + m] == t->order[i] + m; m++)
            ;
        dequant(to.p, to.ld, acc, n, t->scale + i, l->wscale + o, l->colsum + o, m, n);
        if (l->bias)
            add_bias(to.p, to.ld, l->bias + o, m, n);
        acc += m * each * n;
    }
}

/* The same of rows [at, end) of bytes. */
static void take_sums(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t at, size_t end, const int32_t *acc,
                      size_t o, size_t n)
{
    size_t i = row_at(t, at), last = row_at(t, end), ones = gr_max(at, gr_min(2 * t->two, end)) - at;

    take_rows(l, y, t, i, gr_min(last, t->two), 2, acc, o, n);
    take_rows(l, y, t, gr_max(i, t->two), last, 1, acc + ones * n, o, n);
}

/* The outputs of one slice, which are whole panels, of tiles of rows of bytes. Tiles are even, so that none cuts the
 * two of a row apart; the last may be shorter, which changes no sum. */
static gram_status fwd_slice(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t o, int32_t *acc, gr_arena pad,
                             gram_err *err)
{
    size_t n = outputs(l, o), all = t->M + t->two, now = 0;
    const int8_t *w = l->bytes + o / GR_PACKED_PANEL * gr_few_panel_bytes(GR_PACKED_PANEL, l->K);
    gram_status rc = GRAM_OK;
    gr_run r = { 0 };

    for (size_t at = 0; at < all && !rc; at += now) {
        size_t tile = gr_min(GR_TILE, gr_round_up(all - at, LAST_TILE));
        const gr_product *p;
        if (tile != now) {
            gr_run_end(&r);
            rc = gr_linear_product(&p, l, l->packed, tile, n, l->K, 0, err);
            if (!rc)
                rc = gr_run_begin(&r, p, pad.base + pad.used, pad.size - pad.used, err);
            if (rc)
                return rc;
            now = tile;
        }
        rc = gr_run_tile(&r, acc, t->q + at * l->K, w, err);
        take_sums(l, y, t, at, gr_min(at + tile, all), acc, o, n);
    }
    gr_run_end(&r);
    return rc;
}

/* Appends the rows of one kind, in their order. */
static size_t order_rows(gr_tiled *t, bool one_byte, size_t n)
{
    for (size_t m = 0; m < t->M; m++)
        if (one_byte == (t->one_byte && t->one_byte[m]))
            t->order[n++] = (uint32_t)m;
    return n;
}

struct rows { const gr_tiled *t; const gr_linear *l; };

static void put_rows(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct rows *r = arg;
    const gr_linear *l = r->l;
    const gr_tiled *t = r->t;
    size_t mark = gr_lane_mark(lane);
    float *row = gr_lane_bytes(lane, l->K * sizeof *row);

    for (size_t i = first; i < first + n && row; i++) {
        size_t at = l->wide ? i * gr_int8_row_bytes(l) : (i + gr_min(i, t->two)) * l->K;
        put_row(l, t->q + at, t->scale + i, gr_f32(t->x) + t->order[i] * t->x.ld, i >= t->two, row);
    }
    gr_lane_give_back(lane, mark);
}

void gr_int8_rows(gr_lane *lane, gr_tiled *t, const gr_linear *l, gr_arena *a)
{
    t->q = gr_arena_alloc(a, t->M * gr_int8_row_bytes(l));
    t->scale = gr_arena_alloc(a, t->M * sizeof *t->scale);
    t->order = gr_arena_alloc(a, t->M * sizeof *t->order);
    if (l->wide)
        t->one_byte = NULL;
    t->two = order_rows(t, false, 0);
    order_rows(t, true, t->two);
    gr_linear_share(lane, t->M, put_rows, &(struct rows){ t, l });
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
        rc = fwd_slice(l, y, t, first * l->slice, acc, a, err);
    return rc;
}
