/* matmul_bf16.c - products in bfloat16; see matmul.h and split.h.
 *
 *     x, or dy, is rounded once for all weights of a call
 *         for each slice of output rows          where they lie, staged, or made in scratch, [slice,K]
 *             for each tile of GR_TILE rows      one oneDNN product [GR_TILE,K] x [K,slice], y float32
 *
 * Rows [O,K] as files have them are multiplied at 95 % of the speed of the layout that oneDNN likes best (220 and 232
 * GFLOP/s on Zen 4, where float32 makes 115), so nothing is laid out, and a weight of two bytes takes two bytes. Rows
 * of 2 and 4 KiB are no slower than others.
 *
 * Split: x w = hi hi + hi lo + lo hi, the small ones first. A weight that is bfloat16 has no lo: two products do. */
#include "op/matmul_int.h"

static bool splits(const gr_linear *l)
{
    return l->by == GR_BY_SPLIT;
}

static size_t half_bytes(const gr_linear *l, size_t rows, size_t n)
{
    return (splits(l) ? 2 : 1) * gr_round_up(rows * n * sizeof(uint16_t), GR_ALIGN);
}

static struct halves halves_room(const gr_linear *l, size_t rows, size_t n, gr_arena *a)
{
    struct halves h = { .ld = n };

    h.hi = gr_arena_alloc(a, rows * n * sizeof *h.hi);
    h.lo = splits(l) ? gr_arena_alloc(a, rows * n * sizeof *h.lo) : NULL;
    return h;
}

struct halving { struct halves to; gr_mat x; size_t n; };

static void halve_rows(void *arg, gr_lane *lane, size_t first, size_t rows)
{
    const struct halving *h = arg;
    const struct halves *to = &h->to;

    for (size_t m = first; m < first + rows; m++)
        lane->op->split(to->hi + m * h->n, to->lo ? to->lo + m * h->n : NULL, gr_f32(h->x) + m * h->x.ld, h->n);
}

static struct halves halve(gr_lane *lane, const gr_linear *l, gr_mat x, size_t M, size_t n, gr_arena *a)
{
    struct halving h = { halves_room(l, M, n, a), x, n };

    gr_linear_share(lane, M, halve_rows, &h);
    return h.to;
}

/* Scratch has the rounded rows of x or dy, a slice's, and one of its rows in float32. */
size_t gr_bf16_scratch(const gr_linear *l, size_t M)
{
    return half_bytes(l, M, gr_max(l->O, l->K)) +
           (gr_bf16_in_place(&l->w) ? 0 : half_bytes(l, l->slice, l->K) + gr_round_up(l->K * sizeof(float), GR_ALIGN));
}

static void split_rows(const gr_linear *l, uint16_t *hi, uint16_t *lo, size_t o, size_t n, float *row)
{
    for (size_t i = 0; i < n; i++) {
        const float *from = (const float *)l->w.data + (o + i) * l->K;
        if (!float_in_place(&l->w)) {
            expand_row(row, &l->w, o + i);
            from = row;
        }
        l->op->split(hi + i * l->K, lo ? lo + i * l->K : NULL, from, l->K);
    }
}

/* All rows, and behind them what they leave over, where that is wanted. */
size_t gr_bf16_stage_bytes(const gr_linear *l)
{
    return half_bytes(l, slices(l) * l->slice, l->K);
}

static const uint16_t *staged_lo(const gr_linear *l, const uint16_t *staged)
{
    return splits(l) ? staged + gr_bf16_stage_bytes(l) / 2 / sizeof *staged : NULL;
}

void gr_bf16_stage(const gr_linear *l, uint16_t *to, size_t o, size_t n, float *row)
{
    uint16_t *lo = (uint16_t *)(uintptr_t)staged_lo(l, to);

    split_rows(l, to + o * l->K, lo ? lo + o * l->K : NULL, o, n, row);
}

/* Where the slices of a call are, or are made. */
struct slices { struct halves room; float *row; const uint16_t *rows, *lo; };

static struct slices slices_of(const gr_linear *l, gr_stage stage, gr_arena *a)
{
    const uint16_t *staged = l->staged[stage];
    struct slices s = { .rows = gr_bf16_in_place(&l->w) ? l->w.data : staged };

    if (s.rows && s.rows == staged)
        s.lo = staged_lo(l, staged);
    if (!s.rows) {
        s.room = halves_room(l, l->slice, l->K, a);
        s.row = gr_arena_alloc(a, l->K * sizeof *s.row);
    }
    return s;
}

/* The weights of the slice at output o; nothing is written to them. */
static struct halves slice_at(const gr_linear *l, const struct slices *s, size_t o, size_t n)
{
    if (s->rows)
        return (struct halves){ (uint16_t *)(uintptr_t)s->rows + o * l->K,
                                s->lo ? (uint16_t *)(uintptr_t)s->lo + o * l->K : NULL, l->K };
    split_rows(l, s->room.hi, s->room.lo, o, n, s->row);
    return s->room;
}

static gram_status multiply(const gr_linear *l, gr_product_shape s, float *y, struct halves x, struct halves w,
                            size_t M, gr_arena a, gram_err *err)
{
    gr_products *all = &((gr_linear *)(uintptr_t)l)->products;
    gram_status rc = GRAM_OK;

    if (x.lo) {
        rc = gr_product_rows(all, &s, y, x.lo, w.hi, M, a, err);
        s.add = true;
    }
    if (!rc && w.lo) {
        rc = gr_product_rows(all, &s, y, x.hi, w.lo, M, a, err);
        s.add = true;
    }
    return rc ? rc : gr_product_rows(all, &s, y, x.hi, w.hi, M, a, err);
}

/* ---- Forward ------------------------------------------------------------------------------------ */

static gr_product_shape shape_fwd(const gr_linear *l, size_t T, size_t n, size_t ldy, bool add)
{
    return (gr_product_shape){ .M = T, .N = n, .K = l->K, .x_row = l->K, .x_col = 1, .w_row = 1, .w_col = l->K,
                               .ldy = ldy, .add = add, .bf16 = true };
}

gram_status gr_bf16_product(const gr_product **out, const gr_linear *l, size_t T, size_t n, size_t ldy, bool add,
                            gram_err *err)
{
    const gr_product_shape s = shape_fwd(l, T, n, ldy, add);

    return gr_product_get(out, &((gr_linear *)(uintptr_t)l)->products, &s, err);
}

void gr_bf16_rows(gr_lane *lane, gr_tiled *t, const gr_linear *l, gr_arena *a)
{
    t->half = halve(lane, l, t->x, t->M, l->K, a);
}

gram_status gr_bf16_fwd(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                        gram_err *err)
{
    const struct slices s = slices_of(l, GR_STAGE_FWD, &a);
    gram_status rc = GRAM_OK;

    for (size_t o = first * l->slice; o < gr_min(end * l->slice, l->O) && !rc; o += l->slice) {
        size_t n = outputs(l, o);
        float *to = gr_f32(y) + o;
        rc = multiply(l, shape_fwd(l, tile_rows(t->M), n, y.ld, false), to, t->half, slice_at(l, &s, o, n), t->M, a,
                      err);
        if (l->bias)
            add_bias(to, y.ld, l->bias + o, t->M, n);
    }
    return rc;
}

/* ---- Backward ----------------------------------------------------------------------------------- */

/* Adds one slice's share, dy [M,n] w [n,K]; the first slice, where nothing is to be added to, sets dx. */
static gram_status slice_dx(const gr_linear *l, gr_mat dx, struct halves dy, struct halves w, size_t M, size_t n,
                            bool add, gr_arena a, gram_err *err)
{
    size_t piece = gr_piece(l->K);
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < l->K && !rc; k += piece) {
        const gr_product_shape s = {
            .M = tile_rows(M), .N = gr_min(piece, l->K - k), .K = n, .x_row = dy.ld, .x_col = 1, .w_row = l->K,
            .w_col = 1, .ldy = dx.ld, .add = add, .bf16 = true,
        };
        rc = multiply(l, s, gr_f32(dx) + k, dy, (struct halves){ w.hi + k, w.lo ? w.lo + k : NULL, w.ld }, M, a, err);
    }
    return rc;
}

gram_status gr_bf16_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add, gr_arena a,
                       gram_err *err)
{
    const struct halves d = halve(lane, l, dy, M, l->O, &a);
    const struct slices s = slices_of(l, GR_STAGE_DX, &a);
    gram_status rc = GRAM_OK;

    for (size_t o = 0; o < l->O && !rc; o += l->slice) {
        size_t n = outputs(l, o);
        rc = slice_dx(l, dx, (struct halves){ d.hi + o, d.lo ? d.lo + o : NULL, d.ld }, slice_at(l, &s, o, n), M, n,
                      add || o > 0, a, err);
    }
    return rc;
}
