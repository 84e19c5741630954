/* matmul_int8.c - products in bytes; see matmul.h, quant.h and dot16.h.
 *
 * Before both sides of a product go to 8 bits they are rotated (rotate.h), which changes no product but
 * shares out the few channels that are far larger than the rest and would leave them fewer bits: the preferences of
 * 120 real pairs by SmolLM2-135M move by 0.004 at most instead of 0.008. */
#include <emmintrin.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "op/matmul_int.h"

enum { LAST_TILE = 16 };            /* rows of bytes in the last tile of a call: a multiple of this */

/* ---- Opening ---------------------------------------------------------------------------------------- */

/* The rows of a weight, with the bytes of one and of GR_STRIP_COLS values of it. */
struct rows_of { const gr_tensor *w; size_t row, piece; bool bf16; };

static struct rows_of rows_of(const gr_tensor *w)
{
    struct rows_of r = { .w = w, .bf16 = w->type == GR_BF16 };

    gr_dtype_row_bytes(w->type, w->cols, &r.row);               /* proved when the weight was opened */
    gr_dtype_row_bytes(w->type, GR_STRIP_COLS, &r.piece);
    return r;
}

/* What lies behind the values is asked for, too: it is read next, beside rows a page or more apart, of which the cache
 * foresees nothing. */
static const void *row_of(void *arg, size_t o, size_t k, size_t n, float *room)
{
    const struct rows_of *r = arg;
    const char *from = (const char *)r->w->data + o * r->row + k / GR_STRIP_COLS * r->piece;

    for (size_t i = 0; i < r->piece; i += GR_ALIGN)
        __builtin_prefetch(from + r->piece + i);
    if (r->bf16 || float_in_place(r->w))
        return from;
    gr_dequant(room, from, r->w->type, n);
    return room;
}

static void *take(gr_linear *l, size_t bytes, gr_arena *in)
{
    if (in && gr_round_up(bytes, GR_ALIGN) <= in->size - in->used)
        return gr_arena_alloc(in, bytes);
    return l->own = gr_alloc_aligned(bytes, 1);
}

/* The bytes of dot16.h, behind which scales lie. */
static size_t wide_panels(size_t O, size_t K)
{
    return gr_round_up(gr_dot16_bytes(O, K), GR_ALIGN);
}

/* Memory for them and the scales. */
static gram_status wide_room(gr_linear *l, int8_t **to, float **scale, gr_arena *in, gram_err *err)
{
    size_t bytes = wide_panels(l->O, l->K);

    *to = take(l, bytes + l->O * sizeof **scale, in);
    if (!*to)
        return gr_nomem(err, "weights");
    *scale = (float *)(void *)(*to + bytes);
    l->bytes = *to;
    l->wscale = *scale;
    return GRAM_OK;
}

/* Weights as the pairs of dot16.h; tasks are its panels. */
struct widening { const gr_linear *l; struct rows_of rows; const gr_packed *from; int8_t *to; float *scale; };

_Static_assert((int)GR_DOT16_COLS == (int)GR_STRIP, "a panel is a strip");

static void quantise_panels(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct widening *a = arg;
    const gr_linear *l = a->l;
    size_t pairs = gr_dot16_pairs(l->K);
    float scale[GR_STRIP];
    int32_t sum[GR_STRIP];
    gr_strip s = { .row = row_of, .arg = (void *)(uintptr_t)&a->rows, .bf16 = a->rows.bf16,
                   .K = l->K, .B = l->rotated, .filled = 2 * pairs, .group = 2, .ld = 2 * GR_STRIP, .scale = scale,
                   .sum = sum };
    void *room = gr_lane_bytes(lane, gr_strip_room(l->K));

    for (size_t o = first * GR_STRIP; o < (first + n) * GR_STRIP && room; o += GR_STRIP) {
        s.o = o;
        s.n = gr_min(GR_STRIP, l->O - o);
        s.to = a->to + gr_dot16_at(o, 0, pairs);
        lane->op->strip(&s, room);
        memcpy(a->scale + o, scale, s.n * sizeof *scale);
    }
}

/* The quads of packed.h, 16 outputs of them, as two pairs. */
static void part_quads(int8_t *to, const int8_t *from)
{
    for (size_t i = 0; i < GR_STRIP; i += 8, from += 32, to += 16) {
        __m128i a = _mm_loadu_si128((const void *)from), b = _mm_loadu_si128((const void *)(from + 16));
        a = _mm_shuffle_epi32(_mm_shufflehi_epi16(_mm_shufflelo_epi16(a, 0xd8), 0xd8), 0xd8);
        b = _mm_shuffle_epi32(_mm_shufflehi_epi16(_mm_shufflelo_epi16(b, 0xd8), 0xd8), 0xd8);
        _mm_storeu_si128((void *)to, _mm_unpacklo_epi64(a, b));
        _mm_storeu_si128((void *)(to + 2 * GR_STRIP), _mm_unpackhi_epi64(a, b));
    }
}

static void widen_panels(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct widening *a = arg;
    const gr_packed *w = a->from;
    size_t pairs = gr_dot16_pairs(w->K), Kp = gr_round_up(w->K, GR_PACKED_PANEL), even = pairs / 2 * 2;

    (void)lane;
    for (size_t o = first * GR_STRIP; o < (first + n) * GR_STRIP; o += GR_STRIP) {
        const int8_t *from = w->panels + o / GR_PACKED_PANEL * GR_PACKED_PANEL * Kp + o % GR_PACKED_PANEL * 4;
        int8_t *to = a->to + gr_dot16_at(o, 0, pairs), last[4 * GR_STRIP];
        for (size_t p = 0; p < even; p += 2)
            part_quads(to + p * 2 * GR_STRIP, from + p * 2 * GR_PACKED_PANEL);
        if (even < pairs) {
            part_quads(last, from + even * 2 * GR_PACKED_PANEL);
            memcpy(to + even * 2 * GR_STRIP, last, 2 * GR_STRIP);
        }
    }
}

/* For a CPU without VNNI: l->w quantised, or what packed.h has. */
static gram_status open_wide(gr_linear *l, gr_device *d, const gr_packed *packed, gr_arena *in, gram_err *err)
{
    struct widening a = { .l = l, .rows = rows_of(&l->w), .from = packed };
    gram_status rc = wide_room(l, &a.to, &a.scale, in, err);

    if (rc)
        return rc;
    if (packed)
        memcpy(a.scale, packed->scale, l->O * sizeof *a.scale);
    gr_device_run(d, gr_round_up(l->O, GR_STRIP) / GR_STRIP, GR_CUT_ONE, packed ? widen_panels : quantise_panels, &a);
    return gr_device_wait(d, err);
}

/* For one with VNNI, the same: what packed.h has is borrowed. */
static gram_status open_packed(gr_linear *l, gr_device *d, const gr_packed *packed, gr_arena *in, gram_err *err)
{
    struct rows_of rows = rows_of(&l->w);
    gram_status rc = GRAM_OK;
    gr_packed w;

    if (packed) {
        w = *packed;
    } else {
        uint64_t bytes = gr_packed_bytes(l->O, l->K);
        void *p = bytes ? take(l, bytes, in) : NULL;
        if (!p)
            return gr_nomem(err, "weights");
        rc = gr_packed_make(p, d, l->O, l->K, row_of, &rows, rows.bf16, err);
        w = gr_packed_at(p, l->O, l->K);
    }
    l->bytes = w.panels;
    l->wscale = w.scale;
    l->colsum = w.sum;
    return rc;
}

gram_status gr_int8_open(gr_linear *l, gr_device *d, const gr_packed *packed, gr_arena *in, gram_err *err)
{
    l->rotated = gr_packed_rotated(l->K);
    l->wide = !(l->op->cpu & GR_CPU_VNNI);
    l->packed = true;
    return l->wide ? open_wide(l, d, packed, in, err) : open_packed(l, d, packed, in, err);
}

size_t gr_linear_int8_bytes(const gr_device *d, size_t O, size_t K, bool packed)
{
    const struct gr_kern *op = gr_device_op(d);

    if (op->linear)
        return 0;
    if (op->cpu & GR_CPU_VNNI)
        return packed ? 0 : (size_t)gr_packed_bytes(O, K);
    return wide_panels(O, K) + O * sizeof(float);
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
