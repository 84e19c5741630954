/* matmul_dw.c - the gradients of weights and biases; see matmul.h.
 *
 *     for each block of DW_ROWS rows of dW        at multiples of DW_ROWS, so that threads may take any of them
 *         for each piece of its columns           stays in the cache while the rows of x pass by
 *             for each tile of rows of x          dW += dy^T x, one oneDNN product [DW_ROWS,tile] x [tile,piece]
 *
 * Sides whose rows are crowded are copied first: 55 becomes 78 GFLOP/s on AVX2 for a width of 1536, 61 becomes 115 on
 * two cores for 1024 to 3072, and nothing is lost on AVX-512.
 *
 * Tiles are equal and follow from M and from what is copied; blocks lie at fixed places. So the cut of O changes no
 * bit.
 *
 * Rounded to bfloat16 both sides are copied, and blocks are larger, as x is rounded anew for each. */
#include <assert.h>
#include "op/op.h"
#include "op/product_int.h"

enum {
    DW_ROWS  = 64,
    DW_TILE  = 832,         /* rows of x at most; dW is read and written once a tile */
    DW_COPY  = 192,         /* the same where a side is copied, into a cache */
    DW_HALF  = 384,         /* and where it is rounded to two bytes */
    DW_ROUND = 16
};

/* Products of every weight's gradient, kept until the process ends. */
static gr_products products = { PTHREAD_MUTEX_INITIALIZER, NULL };

static size_t half_bytes(size_t n)
{
    return gr_round_up(DW_HALF * n * sizeof(uint16_t), GR_ALIGN);
}

/* Copies of both sides by us and by oneDNN; what else it needs it takes for itself. */
size_t gr_dw_scratch(size_t K)
{
    return gr_max(2 * (gr_copy_bytes(DW_COPY, DW_ROWS) + gr_copy_bytes(DW_COPY, gr_piece(K))),
                  half_bytes(GR_DW_ROUNDED) + half_bytes(gr_piece(K)));
}

/* One side of a product: n columns of a tile, where they lie or in room. */
struct side { const float *x; size_t ld, n; float *room; };

static const float *tile_of(const struct side *s, size_t m, size_t rows)
{
    const float *x = s->x + m * s->ld;

    return s->room ? gr_copy(s->room, x, s->ld, rows, s->n) : x;
}

static struct side make_side(const float *x, size_t ld, size_t n, gr_arena *a)
{
    return (struct side){ x, ld, n, gr_crowded(ld) ? gr_arena_alloc(a, gr_copy_bytes(DW_COPY, n)) : NULL };
}

static size_t side_ld(const struct side *s)
{
    return s->room ? gr_copy_ld(s->n) : s->ld;
}

/* Rows [m, M) in tiles of T, or the lone shorter one: dW points at the first number of a piece of a block. */
static gram_status add_tiles(float *dW, size_t lddw, const struct side *dy, const struct side *x, size_t m, size_t M,
                             size_t T, gr_arena *a, gram_err *err)
{
    const gr_product_shape s = {
        .M = dy->n, .N = x->n, .K = T, .x_row = 1, .x_col = side_ld(dy), .w_row = side_ld(x), .w_col = 1,
        .ldy = lddw, .add = true,
    };
    const gr_product *p;
    gr_run r;
    gram_status rc = gr_product_get(&p, &products, &s, err);

    if (!rc)
        rc = gr_run_begin(&r, p, a->base + a->used, a->size - a->used, err);
    if (rc)
        return rc;
    for (; m + T <= M && !rc; m += T)
        rc = gr_run_tile(&r, dW, tile_of(dy, m, T), tile_of(x, m, T), err);
    gr_run_end(&r);
    return rc;
}

static gram_status add_piece(float *dW, size_t lddw, struct side dy, struct side x, size_t M, gr_arena *a,
                             gram_err *err)
{
    size_t most = dy.room || x.room ? DW_COPY : DW_TILE, n = (M + most - 1) / most;
    size_t T = gr_min(M, gr_round_up((M + n - 1) / n, DW_ROUND)), rest = M % T;
    gram_status rc = add_tiles(dW, lddw, &dy, &x, 0, M - rest, T, a, err);

    return rc || !rest ? rc : add_tiles(dW, lddw, &dy, &x, M - rest, M, rest, a, err);
}

/* What rows [0, rows) of dy^T, of M rows, times columns [0, cols) of x add to dW. */
typedef gram_status dw_piece_fn(gr_lane *lane, gr_mat dW, gr_mat dy, size_t rows, gr_mat x, size_t cols, size_t M,
                                gr_arena *a);

static void dw_pieces(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1,
                      size_t rows, dw_piece_fn *add)
{
    size_t cols = gr_piece(K), mark = gr_lane_mark(lane);
    unsigned char *scratch;
    gr_entered was;
    gram_status rc = GRAM_OK;

    assert(o0 % rows == 0 && M > 0);
    scratch = gr_lane_bytes(lane, gr_dw_scratch(K));
    if (lane->rc)
        return;
    was = gr_dnnl_enter();
    for (size_t o = o0; o < o1 && !rc; o += rows)
        for (size_t k = 0; k < K && !rc; k += cols) {
            gr_arena a = { scratch, gr_dw_scratch(K), 0 };
            rc = add(lane, gr_mat_at(dW, o, k), gr_mat_at(dy, 0, o), gr_min(rows, o1 - o), gr_mat_at(x, 0, k),
                     gr_min(cols, K - k), M, &a);
        }
    gr_dnnl_leave(&was);
    gr_lane_fail(lane, rc, &lane->err);
    gr_lane_give_back(lane, mark);
}

static gram_status add_f32(gr_lane *lane, gr_mat dW, gr_mat dy, size_t rows, gr_mat x, size_t cols, size_t M,
                           gr_arena *a)
{
    struct side left = make_side(gr_f32(dy), dy.ld, rows, a), right = make_side(gr_f32(x), x.ld, cols, a);

    return add_piece(gr_f32(dW), dW.ld, left, right, M, a, &lane->err);
}

void gr_linear_dw(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1)
{
    if (lane->op->linear)
        lane->op->linear->dw(lane, dW, dy, x, M, K, o0, o1, false);
    else
        dw_pieces(lane, dW, dy, x, M, K, o0, o1, DW_ROWS, add_f32);
}

/* ---- In bfloat16 -------------------------------------------------------------------------------- */

/* n columns of a tile, rounded into room, n apart. */
struct rounded { const float *x; size_t ld, n; uint16_t *room; };

static const uint16_t *round_tile(const struct gr_kern *op, const struct rounded *s, size_t m, size_t rows)
{
    for (size_t r = 0; r < rows; r++)
        op->split(s->room + r * s->n, NULL, s->x + (m + r) * s->ld, s->n);
    return s->room;
}

static gram_status add_rounded_tiles(const struct gr_kern *op, float *dW, size_t lddw, const struct rounded *dy,
                                     const struct rounded *x, size_t m, size_t M, size_t T, gr_arena *a, gram_err *err)
{
    const gr_product_shape s = {
        .M = dy->n, .N = x->n, .K = T, .x_row = 1, .x_col = dy->n, .w_row = x->n, .w_col = 1, .ldy = lddw, .add = true,
        .bf16 = true,
    };
    const gr_product *p;
    gr_run r;
    gram_status rc = gr_product_get(&p, &products, &s, err);

    if (!rc)
        rc = gr_run_begin(&r, p, a->base + a->used, a->size - a->used, err);
    if (rc)
        return rc;
    for (; m + T <= M && !rc; m += T)
        rc = gr_run_tile(&r, dW, round_tile(op, dy, m, T), round_tile(op, x, m, T), err);
    gr_run_end(&r);
    return rc;
}

static gram_status add_rounded(const struct gr_kern *op, float *dW, size_t lddw, const struct rounded *dy,
                               const struct rounded *x, size_t M, gr_arena *a, gram_err *err)
{
    size_t n = (M + DW_HALF - 1) / DW_HALF, T = gr_min(M, gr_round_up((M + n - 1) / n, DW_ROUND)), rest = M % T;
    gram_status rc = add_rounded_tiles(op, dW, lddw, dy, x, 0, M - rest, T, a, err);

    return rc || !rest ? rc : add_rounded_tiles(op, dW, lddw, dy, x, M - rest, M, rest, a, err);
}

static gram_status add_bf16(gr_lane *lane, gr_mat dW, gr_mat dy, size_t rows, gr_mat x, size_t cols, size_t M,
                            gr_arena *a)
{
    struct rounded left = { gr_f32(dy), dy.ld, rows, gr_arena_alloc(a, half_bytes(GR_DW_ROUNDED)) };
    struct rounded right = { gr_f32(x), x.ld, cols, gr_arena_alloc(a, half_bytes(cols)) };

    return add_rounded(lane->op, gr_f32(dW), dW.ld, &left, &right, M, a, &lane->err);
}

void gr_linear_dw_rounded(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1)
{
    if (lane->op->linear)
        lane->op->linear->dw(lane, dW, dy, x, M, K, o0, o1, true);
    else
        dw_pieces(lane, dW, dy, x, M, K, o0, o1, GR_DW_ROUNDED, add_bf16);
}

void gr_linear_db(gr_lane *lane, float *db, gr_mat dy, size_t M, size_t O)
{
    if (lane->op->linear) {
        lane->op->linear->db(lane, db, dy, M, O);
        return;
    }
    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++)
            db[o] += gr_f32(dy)[m * dy.ld + o];
}
