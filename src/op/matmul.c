/* matmul.c - see matmul.h.
 *
 * The outputs of a weight are cut into slices that stay in the cache while all tiles of a call pass by:
 *
 *     for each slice of output rows           expanded into scratch first, where the weight is kept packed
 *         for each tile of GR_TILE rows       one oneDNN product [GR_TILE,K] x [K,slice]
 *
 * float32 that lies in a mapped file is used as [O,K], but see lays_out(). What this file expands or converts for
 * itself it lays out as oneDNN likes it best: float32 slices as [K,slice] (10 % faster than [O,K] on AVX-512, 4 % on
 * AVX2), int8 in the panels of packed.h, or, on a CPU without VNNI, in those of dot16.h.
 *
 * Backward, dx sums over the outputs: slice by slice, in place, each added to what the slices before it gave. Crowded
 * rows of a weight are copied first (75 to 128 GFLOP/s on AVX2 for widths of 1024 and 2048, 225 to 245 on AVX-512). */
#include <assert.h>
#include <immintrin.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "op/matmul_int.h"

enum {
    SLICE      = 512,               /* outputs in a slice at most */
    EXPANDED   = 384 * 1024,        /* weights of a slice that is expanded in use: 1.5 MiB of float32 */
    LAID_OUT   = 512 * 1024,        /* of one that is only laid out anew */
    HALVES     = 512 * 1024,        /* of one that is multiplied in bfloat16: 1 MiB */
    FEW_AVX2   = 48,                /* rows from which on a whole tile is faster than so many rows one by one */
    FEW_AVX512 = 64,
    BYTE_ROWS  = 16,                /* divides half a tile, as twice and three times it do */
    SHARED     = 32,                /* rows of a piece from which on threads share what is done to each of them */
    PACK_ROWS  = 16,                /* rows transposed together: a cache line of each column */
    MAX_K_INT8 = INT32_MAX / (2 * 128 * 127)    /* longer sums, and what is taken off them, could wrap an int32 */
};

/* The list is a cache: a const gr_linear may still grow it. Sums of bytes lie without gaps, [T,n]: for others oneDNN
 * takes a slower way (1020 and 870 GOP/s a core). */
gram_status gr_linear_product(const gr_product **out, const gr_linear *l, bool columns, size_t T, size_t n, size_t ldx,
                              size_t ldy, gram_err *err)
{
    bool int8 = l->mode == GR_LINEAR_INT8;
    const gr_product_shape s = {
        .M = T, .N = n, .K = l->K, .x_row = ldx, .x_col = 1, .ldy = int8 ? n : ldy, .int8 = int8,
        .w_row = int8 ? 0 : columns ? l->ld : 1, .w_col = int8 ? 0 : columns ? 1 : l->K,
    };

    return gr_product_get(out, &((gr_linear *)(uintptr_t)l)->products, &s, err);
}

/* ---- Other devices -------------------------------------------------------------------------------- */

_Static_assert(offsetof(struct gr_linear, op) == offsetof(gr_linear_base, op), "every gr_linear begins alike");

/* How the device of a weight multiplies; NULL: as this file does. */
static const gr_linear_kind *kind_of(const gr_linear *l)
{
    return l->op->linear;
}

/* ---- Cuts ---------------------------------------------------------------------------------------- */

#define BLOCK_BYTES ((size_t)16 << 20)      /* of a lane's scratch: bounds the rows of a piece */

/* ALIKE: four tiles; more gain nothing, as a weight's slice is then well reused. BLOCKS: pieces come in multiples of 4,
 * as many for each of 2 or 4 threads, and have whole units of 16 rows, so that few shapes occur. */
gr_cut gr_linear_cut(const gr_device *d, gr_rows_way way, size_t row_bytes)
{
    const struct gr_kern *op = d ? gr_device_op(d) : NULL;

    if (op && op->linear)
        return op->linear->cut;
    switch (way) {
    case GR_ROWS_BLOCKS:
        return (gr_cut){ 16, 128, 4, false };
    case GR_ROWS_FEW:
        return (gr_cut){ 1, GR_TILE, 1, true };
    default:
        return (gr_cut){ GR_TILE, GR_TILE * gr_max(1, gr_min(BLOCK_BYTES / (row_bytes * GR_TILE), 4)), 0, false };
    }
}

gr_rows_way gr_linear_way(const gr_device *d, size_t rows)
{
    bool wide = gr_device_op(d)->cpu & GR_CPU_AVX512;

    if (gr_device_op(d)->linear)
        return GR_ROWS_ALIKE;
    return rows < (wide ? FEW_AVX512 : FEW_AVX2) ? GR_ROWS_FEW : GR_ROWS_ALIKE;
}

bool gr_linear_counts(const gr_linear *l)
{
    return !l->op->linear && l->mode == GR_LINEAR_INT8 && !l->wide;
}

gr_cut gr_linear_spread(const gr_device *d, gr_cut cut, size_t rows, bool bytes)
{
    bool alike = !cut.whole && cut.share == 0 && cut.unit == GR_TILE;

    if (alike && bytes && gr_device_lanes(d) > 1) {
        size_t each = gr_round_up((rows + gr_device_lanes(d) - 1) / gr_device_lanes(d), BYTE_ROWS);
        cut.unit = gr_min(each, GR_TILE / 2);
    } else if (alike && rows <= (gr_device_lanes(d) - 1) * GR_TILE)
        cut = (gr_cut){ cut.unit, cut.most, 1, true };
    return cut;
}

void gr_linear_share(gr_lane *lane, size_t M, gr_lane_fn *fn, void *arg)
{
    if (lane->whole && !lane->op->linear && M >= SHARED)
        gr_lane_share(lane, M, (gr_cut){ 4, M, 0, false }, fn, arg);
    else
        fn(arg, lane, 0, M);
}

gr_dtype gr_linear_rows(const gr_device *d, gr_linear_mode mode)
{
    return mode == GR_LINEAR_BF16 || mode == GR_LINEAR_ROUNDED ? gr_device_activations(d) : GR_F32;
}

size_t gr_linear_ld(size_t n)
{
    return gr_uncrowded(n);
}

/* ---- Opening a weight --------------------------------------------------------------------------- */

static void expand_rows(float *y, const gr_tensor *w, size_t o, size_t n)
{
    for (size_t i = 0; i < n; i++)
        expand_row(y + i * w->cols, w, o + i);
}

/* Column k of to, ld apart, is what rows hold at k: n rows, K apart. */
static void transpose(float *to, size_t ld, const float *rows, size_t n, size_t K)
{
    for (size_t j = 0; j + 4 <= n; j += 4) {
        const float *r = rows + j * K;
        size_t k = 0;
        for (; k + 4 <= K; k += 4) {
            __m128 a = _mm_loadu_ps(r + k), b = _mm_loadu_ps(r + K + k);
            __m128 c = _mm_loadu_ps(r + 2 * K + k), d = _mm_loadu_ps(r + 3 * K + k);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(to + k * ld + j, a);
            _mm_storeu_ps(to + (k + 1) * ld + j, b);
            _mm_storeu_ps(to + (k + 2) * ld + j, c);
            _mm_storeu_ps(to + (k + 3) * ld + j, d);
        }
        for (; k < K; k++)
            for (size_t i = 0; i < 4; i++)
                to[k * ld + j + i] = r[i * K + k];
    }
    for (size_t j = n - n % 4; j < n; j++)
        for (size_t k = 0; k < K; k++)
            to[k * ld + j] = rows[j * K + k];
}

/* The slice at output o as [K,ld], made PACK_ROWS outputs at a time; rows is room for them. */
static void pack_slice(const gr_linear *l, float *to, size_t o, float *rows)
{
    for (size_t i = 0, n = outputs(l, o); i < n; i += PACK_ROWS) {
        size_t some = gr_min(PACK_ROWS, n - i);
        const float *from = (const float *)l->w.data + (o + i) * l->K;
        if (!float_in_place(&l->w)) {
            expand_rows(rows, &l->w, o + i, some);
            from = rows;
        }
        transpose(to + i, l->ld, from, some, l->K);
    }
}

/* All slices, one behind the other; NULL where there is no memory. */
static float *slices_packed(const gr_linear *l)
{
    float *all = gr_alloc_aligned(slices(l) * l->K, l->ld * sizeof *all);
    float *rows = gr_alloc_aligned(PACK_ROWS * l->K, sizeof *rows);

    if (!all || !rows) {
        free(all);
        free(rows);
        return NULL;
    }
    for (size_t s = 0; s < slices(l); s++)
        pack_slice(l, all + s * l->K * l->ld, s * l->slice, rows);
    free(rows);
    return all;
}

static gram_status pack_f32(gr_linear *l, gram_err *err)
{
    l->own = slices_packed(l);
    return l->own ? GRAM_OK : gr_nomem(err, "weights");
}

/* The lock of the list of products will do: both grow what a const weight has. */
gram_status gr_linear_tiles(const gr_linear *l, gram_err *err)
{
    gr_linear *grown = (gr_linear *)(uintptr_t)l;
    gram_status rc = GRAM_OK;

    if (l->op->linear || !l->lacks_tiles)
        return GRAM_OK;
    pthread_mutex_lock(&grown->products.lock);
    if (l->lacks_tiles)
        rc = pack_f32(grown, err);
    if (!rc)
        grown->lacks_tiles = false;
    pthread_mutex_unlock(&grown->products.lock);
    return rc;
}

size_t gr_linear_lay_bytes(const gr_linear *l)
{
    bool helps = !l->op->linear && !l->by && !l->packed && l->mode != GR_LINEAR_INT8;

    if (!helps || (float_in_place(&l->w) && !(l->op->cpu & GR_CPU_AVX512)))
        return 0;
    return slices(l) * l->K * l->ld * sizeof(float);
}

gram_status gr_linear_lay(const gr_linear *l, gram_err *err)
{
    gr_linear *grown = (gr_linear *)(uintptr_t)l;

    if (gr_linear_lay_bytes(l) == 0 || l->laid)
        return GRAM_OK;
    grown->laid = slices_packed(l);
    return grown->laid ? GRAM_OK : gr_nomem(err, "weights");
}

/* Tasks are slices, which the threads of the device share out: each reads its own part of the file. */
static void round_slices(void *arg, gr_lane *lane, size_t first, size_t n)
{
    gr_linear *l = arg;
    float *row = gr_lane_bytes(lane, l->K * sizeof *row);

    for (size_t o = first * l->slice; o < gr_min((first + n) * l->slice, l->O) && row; o++) {
        expand_row(row, &l->w, o);
        l->op->split((uint16_t *)l->own + o * l->K, NULL, row, l->K);
    }
}

static gram_status round_bf16(gr_linear *l, gr_device *d, gram_err *err)
{
    gram_status rc;

    l->own = gr_alloc_aligned(l->O * l->K, sizeof(uint16_t));
    if (!l->own)
        return gr_nomem(err, "weights");
    gr_device_run(d, slices(l), GR_CUT_ONE, round_slices, l);
    rc = gr_device_wait(d, err);
    l->w = (gr_tensor){ GR_BF16, l->own, l->O, l->K };
    return rc;
}

/* On AVX-512 a core makes 207, 180, 169 and 87 GFLOP/s of rows of 1536, 1024, 2048 and 4096 numbers, and 240 to 250 of
 * the same as [K,slice]: such slices are laid out for each call, at the cost of 12 % of the time of four tiles. On AVX2
 * it would be 119 and 126. */
static bool lays_out(const gr_linear *l)
{
    bool never_packed = l->mode != GR_LINEAR_INT8 && (l->mode != GR_LINEAR_F32 || float_in_place(&l->w)) && !l->by;

    return never_packed && gr_crowded(l->K) && l->op->cpu & GR_CPU_AVX512;
}

/* Forward products that get nothing else see [K,slice]. */
static bool columns_of(const gr_linear *l)
{
    return l->packed || lays_out(l);
}

/* Equal slices, as few as SLICE (or what is expanded at once) allows. Rows a multiple of 4 KiB apart fall into the
 * same few sets of a cache (76 of 131 GFLOP/s on AVX2), so slices end a little off any power of two. */
static void choose_slice(gr_linear *l)
{
    size_t most = SLICE, n;

    if (l->by)
        most = gr_min(SLICE, gr_max(64, HALVES / l->K));
    else if (l->mode == GR_LINEAR_BF16 || (l->mode == GR_LINEAR_KEEP && !float_in_place(&l->w)))
        most = gr_min(SLICE, gr_max(64, EXPANDED / l->K));
    else if (lays_out(l))
        most = gr_min(SLICE, gr_max(64, LAID_OUT / l->K));
    n = (l->O + most - 1) / most;
    l->slice = gr_min(l->O, gr_round_up((l->O + n - 1) / n, l->mode == GR_LINEAR_INT8 ? GR_PACKED_PANEL : 16));
    l->ld = gr_round_up(l->slice, 16);
    l->ld += l->ld % 128 == 0 ? 16 : 0;
}

static gram_status prepare(gr_linear *l, gr_device *d, const gr_packed *packed, gr_arena *in, gram_err *err)
{
    switch (l->mode) {
    case GR_LINEAR_F32:
        l->packed = !float_in_place(&l->w);
        l->lacks_tiles = l->packed;
        return GRAM_OK;
    case GR_LINEAR_BF16:
        return l->w.type == GR_BF16 ? GRAM_OK : round_bf16(l, d, err);
    case GR_LINEAR_INT8:
        return gr_int8_open(l, d, packed, in, err);
    case GR_LINEAR_KEEP:
    case GR_LINEAR_ROUNDED:
    case GR_LINEAR_SPLIT:
        break;
    }
    return GRAM_OK;
}

/* The products that dense rows need, so that most calls make none. */
static gram_status dense_products(gr_linear *l, gram_err *err)
{
    gram_status rc = GRAM_OK;
    const gr_product *p;

    for (size_t o = 0; o < l->O && !rc && !l->wide; o += l->slice) {
        rc = l->by ? gr_bf16_product(&p, l, GR_TILE, outputs(l, o), l->O, l->by == GR_BY_SPLIT, err)
                   : gr_linear_product(&p, l, columns_of(l), GR_TILE, outputs(l, o), l->K, l->O, err);
        if (!rc)
            l->pad_bytes = gr_max(l->pad_bytes, gr_round_up(p->pad_bytes, GR_ALIGN));
    }
    return rc;
}

bool gr_linear_multiplies_bf16(const gr_device *d)
{
    return gr_device_op(d)->linear || gr_device_op(d)->cpu & GR_CPU_BF16;
}

bool gr_linear_has_one_byte(const gr_device *d)
{
    return gr_device_op(d)->cpu & GR_CPU_VNNI && !gr_device_op(d)->linear;
}

gr_multiply gr_linear_best(const gr_device *d)
{
    return gr_device_op(d)->cpu & GR_CPU_SPLIT && !gr_device_op(d)->linear ? GR_BY_SPLIT : GR_BY_F32;
}

gr_linear_mode gr_linear_best_f32(const gr_device *d)
{
    return gr_linear_best(d) == GR_BY_SPLIT ? GR_LINEAR_SPLIT : GR_LINEAR_F32;
}

static bool may_be_multiplied(const gr_tensor *w, gr_linear_mode mode)
{
    size_t bytes;

    return w->rows > 0 && w->cols > 0 && gr_dtype_row_bytes(w->type, w->cols, &bytes) &&
           gr_mul(w->rows, w->cols, &bytes) && bytes <= SIZE_MAX / 4 - GR_ALIGN &&
           (mode != GR_LINEAR_INT8 || w->cols <= MAX_K_INT8);
}

static gr_linear_mode kept_as(gr_linear_mode mode)
{
    return mode == GR_LINEAR_ROUNDED ? GR_LINEAR_BF16 : mode == GR_LINEAR_SPLIT ? GR_LINEAR_KEEP : mode;
}

/* w: of a packed weight its shape alone. in: for INT8, or NULL. */
static gram_status open_on_cpu(gr_linear **out, const gr_device *d, const gr_tensor *w, const gr_packed *packed,
                               const float *bias, gr_linear_mode mode, gr_arena *in, gram_err *err)
{
    gram_status rc = GRAM_OK;
    gr_entered was = gr_dnnl_enter();
    gr_linear *l = gr_calloc(1, sizeof *l);

    if (!l) {
        rc = gr_nomem(err, "weights");
        goto out;
    }
    pthread_mutex_init(&l->products.lock, NULL);
    l->op = gr_device_op(d);
    l->mode = kept_as(mode);
    if (gr_linear_multiplies_bf16(d))
        l->by = mode == GR_LINEAR_ROUNDED ? GR_BY_BF16 : mode == GR_LINEAR_SPLIT ? GR_BY_SPLIT : GR_BY_F32;
    l->O = w->rows;
    l->K = w->cols;
    l->w = *w;
    l->bias = bias;
    choose_slice(l);
    rc = prepare(l, (gr_device *)(uintptr_t)d, packed, in, err);
    if (!rc)
        rc = dense_products(l, err);
    if (rc)
        goto out;
    *out = l;
    l = NULL;
out:
    gr_linear_close(l);
    gr_dnnl_leave(&was);
    return rc;
}

gram_status gr_linear_open(gr_linear **out, const gr_device *d, const gr_tensor *w, const float *bias,
                           gr_linear_mode mode, gram_err *err)
{
    const gr_linear_kind *kind = gr_device_op(d)->linear;

    *out = NULL;
    if (!may_be_multiplied(w, mode))
        return gr_fail(err, GRAM_EUNSUPPORTED, "a %s weight of [%zu,%zu] cannot be multiplied by",
                       gr_dtype_name(w->type), w->rows, w->cols);
    return kind ? kind->open(out, (gr_device *)(uintptr_t)d, w, bias, kept_as(mode), err) :
                  open_on_cpu(out, d, w, NULL, bias, mode, NULL, err);
}

gram_status gr_linear_open_int8(gr_linear **out, const gr_device *d, const gr_tensor *w, const gr_packed *packed,
                                const float *bias, gr_arena *in, gram_err *err)
{
    *out = NULL;
    if (!packed && gr_device_op(d)->linear)
        return gr_linear_open(out, d, w, bias, GR_LINEAR_INT8, err);
    if (gr_device_op(d)->linear || !may_be_multiplied(w, GR_LINEAR_INT8))
        return gr_fail(err, GRAM_EUNSUPPORTED, "8-bit weights of [%zu,%zu] cannot be multiplied by on the device %s",
                       w->rows, w->cols, gr_device_name(d));
    return open_on_cpu(out, d, w, packed, bias, GR_LINEAR_INT8, in, err);
}

void gr_linear_close(gr_linear *l)
{
    if (!l)
        return;
    if (kind_of(l)) {
        kind_of(l)->close(l);
        return;
    }
    gr_products_clear(&l->products);
    pthread_mutex_destroy(&l->products.lock);
    free(l->own);
    free(l->laid);
    free(l->panels);
    free(l);
}

/* ---- Use ---------------------------------------------------------------------------------------- */

/* True where a slice is made float32 in scratch before it is used. */
static bool expands(const gr_linear *l)
{
    return (l->mode == GR_LINEAR_BF16 || l->mode == GR_LINEAR_KEEP) && !float_in_place(&l->w);
}

/* True where a slice is copied before dx is made of it. */
static bool copies(const gr_linear *l)
{
    return !l->packed && gr_crowded(l->K);
}

/* Floats of a slice that is made in scratch, and of the rows that are expanded before they are laid out. */
static size_t room_floats(const gr_linear *l)
{
    return lays_out(l) ? (l->ld + PACK_ROWS) * l->K : expands(l) ? l->slice * l->K : 0;
}

size_t gr_linear_scratch(const gr_linear *l, size_t M)
{
    size_t n;

    if (kind_of(l))                             /* it takes some as it needs them */
        return 0;
    if (l->by)
        return l->pad_bytes + gr_bf16_scratch(l, M);
    n = l->pad_bytes + gr_round_up(room_floats(l) * sizeof(float), GR_ALIGN);
    if (copies(l))
        n += gr_copy_bytes(l->slice, gr_piece(l->K));
    if (l->mode == GR_LINEAR_INT8)
        n += gr_round_up(l->K * sizeof(float), GR_ALIGN) + gr_round_up(M * gr_int8_row_bytes(l), GR_ALIGN) +
             gr_round_up(M * sizeof(float), GR_ALIGN) + gr_round_up(M * sizeof(uint32_t), GR_ALIGN) +
             (l->wide ? 0 : gr_round_up(GR_TILE * l->slice * sizeof(int32_t), GR_ALIGN));
    return n;
}

size_t gr_linear_bytes(const gr_linear *l)
{
    size_t row = 0;

    if (kind_of(l))
        return kind_of(l)->bytes(l);
    if (l->mode == GR_LINEAR_INT8)
        return gr_int8_bytes(l);
    if (l->packed)
        return slices(l) * l->K * l->ld * sizeof(float);
    gr_dtype_row_bytes(l->w.type, l->K, &row);
    return l->O * row;
}

bool gr_linear_borrows(const gr_linear *l)
{
    return kind_of(l) ? kind_of(l)->borrows(l) : !l->own && !l->lacks_tiles;
}

void gr_linear_stays(gr_linear *l)
{
    if (!kind_of(l))
        l->stays = true;
}

void gr_linear_by(gr_linear *l, gr_multiply by)
{
    if (kind_of(l)) {
        assert(by != GR_BY_SPLIT);
        kind_of(l)->rounds(l, by == GR_BY_BF16);
        return;
    }
    assert(l->mode != GR_LINEAR_INT8 && !l->packed && !l->staged[0] && !l->staged[1]);
    l->by = by;
    choose_slice(l);
}

/* The weights of the slice at output o as float32: where they lie, or in room. */
static const float *slice_f32(const gr_linear *l, size_t o, size_t n, float *room)
{
    if (l->packed)
        return (const float *)l->own + o / l->slice * l->K * l->ld;
    if (!expands(l))
        return (const float *)l->w.data + o * l->K;
    expand_rows(room, &l->w, o, n);
    return room;
}

/* Slices [K,slice] of a weight that is none itself: staged, or laid out for good. */
static const float *slices_beside(const gr_linear *l)
{
    return l->staged[GR_STAGE_FWD] ? l->staged[GR_STAGE_FWD] : l->laid;
}

/* The same as forward products see it: [K,slice] where columns_of(), or beside it. */
static const float *slice_fwd(const gr_linear *l, size_t o, size_t n, float *room)
{
    if (slices_beside(l))
        return slices_beside(l) + o / l->slice * l->K * l->ld;
    if (!lays_out(l))
        return slice_f32(l, o, n, room);
    pack_slice(l, room, o, room + l->ld * l->K);
    return room;
}

static gram_status fwd_f32(const gr_linear *l, gr_mat to, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                           gram_err *err)
{
    bool beside = slices_beside(l) != NULL;
    float *room = beside ? NULL : gr_arena_alloc(&a, room_floats(l) * sizeof *room), *y = to.p;
    const float *x = t->x.p;
    size_t M = t->M, T = tile_rows(M), ldx = t->x.ld, ldy = to.ld;
    gram_status rc = GRAM_OK;

    for (size_t o = first * l->slice; o < gr_min(end * l->slice, l->O) && !rc; o += l->slice) {
        size_t n = outputs(l, o);
        const float *w = slice_fwd(l, o, n, room);
        const gr_product *p;
        gr_run r;
        rc = gr_linear_product(&p, l, beside || columns_of(l), T, n, ldx, ldy, err);
        if (!rc)
            rc = gr_run_begin(&r, p, a.base + a.used, a.size - a.used, err);
        if (rc)
            break;
        for (size_t m = 0; m < M && !rc; m += T) {
            rc = gr_run_tile(&r, y + m * ldy + o, x + m * ldx, w, err);
            if (l->bias)
                add_bias(y + m * ldy + o, ldy, l->bias + o, T, n);
        }
        gr_run_end(&r);
    }
    return rc;
}

/* ---- Staging ------------------------------------------------------------------------------------ */

enum { MANY = 256 };                /* rows from which on it pays */

static size_t stage_slices(const gr_linear *l, gr_stage stage)
{
    bool asks = l->by ? !gr_bf16_in_place(&l->w) : stage == GR_STAGE_FWD ? !l->packed : expands(l) || copies(l);

    return asks && l->mode != GR_LINEAR_INT8 ? slices(l) : 0;
}

static size_t stage_floats(const gr_linear *l, gr_stage stage)
{
    size_t n = stage_slices(l, stage), slice = stage == GR_STAGE_FWD ? l->K * l->ld : l->slice * gr_uncrowded(l->K);

    if (l->by)
        return n ? gr_bf16_stage_bytes(l) / sizeof(float) : 0;
    return gr_round_up(n * slice, GR_ALIGN / sizeof(float));
}

size_t gr_stage_bytes(gr_linear *const *l, size_t n)
{
    size_t floats[2] = { 0 };

    if (n > 0 && kind_of(l[0]))
        return 0;
    for (gr_stage stage = GR_STAGE_FWD; stage <= GR_STAGE_DX; stage++)
        for (size_t i = 0; i < n; i++)
            floats[stage] += stage_floats(l[i], stage);
    return gr_max(floats[0], floats[1]) * sizeof(float);
}

void gr_linears_unstage(gr_linear *const *l, size_t n)
{
    for (size_t i = 0; i < n && !kind_of(l[i]); i++)
        l[i]->staged[GR_STAGE_FWD] = l[i]->staged[GR_STAGE_DX] = NULL;
}

struct staging { gr_linear *const *l; gr_stage stage; };

/* Tasks are the slices of the weights, one weight after the other. */
static void stage_slice(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct staging *s = arg;

    for (size_t task = first; task < first + n && !lane->rc; task++) {
        size_t i = 0, slice = task, mark = gr_lane_mark(lane), o, end, ld;
        const gr_linear *l;
        float *rows, *room;
        while (slice >= stage_slices(s->l[i], s->stage))
            slice -= stage_slices(s->l[i++], s->stage);
        l = s->l[i];
        o = slice * l->slice;
        end = o + outputs(l, o);
        ld = gr_uncrowded(l->K);
        room = (float *)(uintptr_t)l->staged[s->stage];
        rows = gr_lane_bytes(lane, PACK_ROWS * l->K * sizeof *rows);
        if (rows && l->by)
            gr_bf16_stage(l, (uint16_t *)(void *)room, o, end - o, rows);
        else if (rows && s->stage == GR_STAGE_FWD)
            pack_slice(l, room + slice * l->K * l->ld, o, rows);
        for (; !l->by && s->stage == GR_STAGE_DX && o < end; o++)
            expand_row(room + o * ld, &l->w, o);
        gr_lane_give_back(lane, mark);
    }
}

void gr_linears_stage(gr_device *d, gr_linear *const *l, size_t n, gr_stage stage, size_t rows, void *room)
{
    struct staging s = { l, stage };
    size_t tasks = 0, used = 0;

    if (n > 0 && kind_of(l[0]))
        return;
    gr_linears_unstage(l, n);
    for (size_t i = 0; i < n && rows >= MANY; i++) {
        l[i]->staged[stage] = stage_slices(l[i], stage) ? (const float *)room + used : NULL;
        used += stage_floats(l[i], stage);
        tasks += stage_slices(l[i], stage);
    }
    gr_device_run(d, tasks, GR_CUT_ONE, stage_slice, &s);
}

/* ---- Forward ------------------------------------------------------------------------------------ */

/* Whether all threads work on a handful of rows; otherwise they do on whole tiles, see gr_linear_spread(). */
static bool few(const gr_lane *lane)
{
    return lane->whole && lane->unit != GR_TILE;
}

/* The scratch of a call, which gives it back to the lane. */
static gr_arena scratch_of(gr_lane *lane, size_t bytes)
{
    return (gr_arena){ gr_lane_bytes(lane, bytes), bytes, 0 };
}

/* What all weights of a call are multiplied by is made of x once. */
static void make_rows(gr_lane *lane, gr_tiled *t, const gr_linear *l, gr_arena *a)
{
    if (l->mode == GR_LINEAR_INT8)
        gr_int8_rows(lane, t, l, a);
    else if (l->by)
        gr_bf16_rows(lane, t, l, a);
}

/* The outputs of the slices [first, end) of a weight. */
static gram_status some_slices(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                               gram_err *err)
{
    return (l->mode == GR_LINEAR_INT8 ? gr_int8_fwd : l->by ? gr_bf16_fwd : fwd_f32)(l, y, t, first, end, a, err);
}

/* Slices of all weights of a call, one weight after the other, each slice by one thread. */
static void share_slices(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const gr_tiled *t = arg;
    size_t mark = gr_lane_mark(lane);

    for (size_t task = first; task < first + n && !lane->rc; task++) {
        const gr_linear_to *to = t->to;
        size_t slice = task;
        gr_entered was;
        gr_arena a;
        for (; slice >= slices(to->l); to++)
            slice -= slices(to->l);
        a = scratch_of(lane, gr_linear_scratch(to->l, t->M));
        if (lane->rc)
            return;
        was = gr_dnnl_enter();
        gr_lane_fail(lane, some_slices(to->l, to->y, t, slice, slice + 1, a, &lane->err), &lane->err);
        gr_dnnl_leave(&was);
        gr_lane_give_back(lane, mark);
    }
}

static void own_slices(gr_lane *lane, const gr_tiled *t, size_t n, gr_arena a)
{
    gr_entered was = gr_dnnl_enter();
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n && !rc; i++)
        rc = some_slices(t->to[i].l, t->to[i].y, t, 0, slices(t->to[i].l), a, &lane->err);
    gr_dnnl_leave(&was);
    gr_lane_fail(lane, rc, &lane->err);
}

void gr_linears_fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M, const uint8_t *one_byte)
{
    size_t mark = gr_lane_mark(lane), bytes = 0, tasks = 0;
    gr_tiled t = { .to = to, .x = x, .M = M, .one_byte = one_byte };
    gr_arena a;

    if (lane->op->linear) {
        lane->op->linear->fwd(lane, to, n, x, M);
        return;
    }
    if (few(lane)) {
        gr_few_fwd(lane, to, n, x, M);
        return;
    }
    for (size_t i = 0; i < n && !lane->rc; i++) {
        assert(to[i].l->mode == to->l->mode && to[i].l->by == to->l->by && to[i].l->K == to->l->K);
        gr_lane_fail(lane, gr_linear_tiles(to[i].l, &lane->err), &lane->err);
        bytes = gr_max(bytes, gr_linear_scratch(to[i].l, M));
        tasks += slices(to[i].l);
    }
    a = scratch_of(lane, bytes);
    if (lane->rc || n == 0)
        return;
    make_rows(lane, &t, to->l, &a);
    if (lane->whole)
        gr_lane_share(lane, tasks, GR_CUT_ONE, share_slices, &t);
    else
        own_slices(lane, &t, n, a);
    gr_lane_give_back(lane, mark);
}

void gr_linear_fwd(gr_lane *lane, const gr_linear *l, gr_mat y, gr_mat x, size_t M)
{
    gr_linears_fwd(lane, &(gr_linear_to){ l, y }, 1, x, M, NULL);
}

/* ---- Backward ----------------------------------------------------------------------------------- */

/* The weights of a slice as dx uses them. */
struct dx_side { const float *w; size_t row, col; bool copied; };

/* Adds one slice's share, dy [M,n] w [n,K]; the first slice, where nothing is to be added to, sets dx. */
static gram_status slice_dx(const gr_linear *l, float *dx, size_t lddx, const float *dy, size_t lddy, size_t M,
                            size_t n, const struct dx_side *side, bool add, gr_arena a, gram_err *err)
{
    size_t piece = gr_piece(l->K);
    float *room = side->copied ? gr_arena_alloc(&a, gr_copy_bytes(n, piece)) : NULL;
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < l->K && !rc; k += piece) {
        size_t cols = gr_min(piece, l->K - k);
        const float *w = side->w + k * side->col, *part = room ? gr_copy(room, w, side->row, n, cols) : w;
        const gr_product_shape s = {
            .M = tile_rows(M), .N = cols, .K = n, .x_row = lddy, .x_col = 1,
            .w_row = room ? gr_copy_ld(cols) : side->row, .w_col = side->col, .ldy = lddx, .add = add,
        };
        rc = gr_product_rows(&((gr_linear *)(uintptr_t)l)->products, &s, dx + k, dy, part, M, a, err);
    }
    return rc;
}

static gram_status dx_f32(const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add, gr_arena a, gram_err *err)
{
    const float *staged = l->staged[GR_STAGE_DX];
    float *room = expands(l) && !staged ? gr_arena_alloc(&a, l->slice * l->K * sizeof *room) : NULL;
    gram_status rc = GRAM_OK;

    for (size_t o = 0; o < l->O && !rc; o += l->slice) {
        size_t n = outputs(l, o), ld = gr_uncrowded(l->K);
        const float *w = staged ? staged + o * ld : slice_f32(l, o, n, room);
        const struct dx_side side = { w, l->packed ? 1 : staged ? ld : l->K, l->packed ? l->ld : 1,
                                      !staged && copies(l) };
        rc = slice_dx(l, dx.p, dx.ld, gr_f32(dy) + o, dy.ld, M, n, &side, add || o > 0, a, err);
    }
    return rc;
}

void gr_linear_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add)
{
    size_t mark = gr_lane_mark(lane);
    gr_arena a;
    gr_entered was;

    if (kind_of(l)) {
        kind_of(l)->dx(lane, l, dx, dy, M, add);
        return;
    }
    assert(l->mode != GR_LINEAR_INT8);
    if (few(lane)) {
        gr_few_dx(lane, l, dx, dy, M, add);
        return;
    }
    gr_lane_fail(lane, gr_linear_tiles(l, &lane->err), &lane->err);
    a = scratch_of(lane, gr_linear_scratch(l, M));
    if (lane->rc)
        return;
    was = gr_dnnl_enter();
    gr_lane_fail(lane, l->by ? gr_bf16_dx(lane, l, dx, dy, M, add, a, &lane->err)
                             : dx_f32(l, dx, dy, M, add, a, &lane->err), &lane->err);
    gr_dnnl_leave(&was);
    gr_lane_give_back(lane, mark);
}
