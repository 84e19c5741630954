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
 * In bfloat16 both sides are copied, and blocks are larger, as x is rounded, or split (split.h), anew for each. */
#include <assert.h>
#include "op/matmul.h"
#include "op/op.h"
#include "op/product_int.h"

enum {
    DW_ROWS  = 64,
    DW_TILE  = 832,         /* rows of x at most; dW is read and written once a tile */
    DW_COPY  = 192,         /* the same where a side is copied, into a cache */
    DW_HALF  = 384,         /* and where it becomes bfloat16 */
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
                  2 * (half_bytes(GR_DW_HALVES) + half_bytes(gr_piece(K))));
}

/* How the products of a call are made. */
struct way { gr_multiply by; size_t block; const struct gr_kern *op; };

/* One side of a product: n columns of a tile, where they lie, copied to room, or as bfloat16 in it; lo: what that
 * leaves over, NULL: nothing is made of it. */
struct side { const float *x; size_t ld, n; void *room; uint16_t *lo; const struct way *way; };

static struct side make_side(gr_mat x, size_t n, const struct way *way, gr_arena *a)
{
    struct side s = { .x = gr_f32(x), .ld = x.ld, .n = n, .way = way };

    if (way->by || gr_crowded(x.ld))
        s.room = gr_arena_alloc(a, way->by ? half_bytes(n) : gr_copy_bytes(DW_COPY, n));
    if (way->by == GR_BY_SPLIT)
        s.lo = gr_arena_alloc(a, half_bytes(n));
    return s;
}

static const void *tile_of(const struct side *s, size_t m, size_t rows)
{
    const float *x = s->x + m * s->ld;

    if (!s->way->by)
        return s->room ? gr_copy(s->room, x, s->ld, rows, s->n) : x;
    for (size_t r = 0; r < rows; r++)
        s->way->op->split((uint16_t *)s->room + r * s->n, s->lo ? s->lo + r * s->n : NULL, x + r * s->ld, s->n);
    return s->room;
}

static size_t side_ld(const struct side *s)
{
    return s->way->by ? s->n : s->room ? gr_copy_ld(s->n) : s->ld;
}

/* Adds rows [m, M) in tiles of T, or the lone shorter one: dW points at the first number of a piece of a block. */
static gram_status add_tiles(gr_mat dW, const struct side *dy, const struct side *x, size_t m, size_t M, size_t T,
                             gr_arena *a, gram_err *err)
{
    const gr_product_shape s = {
        .M = dy->n, .N = x->n, .K = T, .x_row = 1, .x_col = side_ld(dy), .w_row = side_ld(x), .w_col = 1,
        .ldy = dW.ld, .add = true, .bf16 = dy->way->by != GR_BY_F32,
    };
    const gr_product *p;
    gr_run r;
    gram_status rc = gr_product_get(&p, &products, &s, err);

    if (!rc)
        rc = gr_run_begin(&r, p, a->base + a->used, a->size - a->used, err);
    if (rc)
        return rc;
    for (; m + T <= M && !rc; m += T) {
        const void *left = tile_of(dy, m, T), *right = tile_of(x, m, T);
        if (dy->lo)
            rc = gr_run_tile(&r, dW.p, dy->lo, right, err);
        if (x->lo && !rc)
            rc = gr_run_tile(&r, dW.p, left, x->lo, err);
        if (!rc)
            rc = gr_run_tile(&r, dW.p, left, right, err);
    }
    gr_run_end(&r);
    return rc;
}

/* What all M rows add. */
static gram_status add_piece(gr_mat dW, const struct side *dy, const struct side *x, size_t M, gr_arena *a,
                             gram_err *err)
{
    size_t most = dy->way->by ? DW_HALF : dy->room || x->room ? DW_COPY : DW_TILE, n = (M + most - 1) / most;
    size_t T = gr_min(M, gr_round_up((M + n - 1) / n, DW_ROUND)), rest = M % T;
    gram_status rc = add_tiles(dW, dy, x, 0, M - rest, T, a, err);

    return rc || !rest ? rc : add_tiles(dW, dy, x, M - rest, M, rest, a, err);
}

static void add_pieces(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1,
                       const struct way *way)
{
    size_t cols = gr_piece(K), mark = gr_lane_mark(lane);
    unsigned char *scratch;
    gr_entered was;
    gram_status rc = GRAM_OK;

    assert(o0 % way->block == 0 && M > 0);
    scratch = gr_lane_bytes(lane, gr_dw_scratch(K));
    if (lane->rc)
        return;
    was = gr_dnnl_enter();
    for (size_t o = o0; o < o1 && !rc; o += way->block)
        for (size_t k = 0; k < K && !rc; k += cols) {
            gr_arena a = { scratch, gr_dw_scratch(K), 0 };
            const struct side left = make_side(gr_mat_at(dy, 0, o), gr_min(way->block, o1 - o), way, &a);
            const struct side right = make_side(gr_mat_at(x, 0, k), gr_min(cols, K - k), way, &a);
            rc = add_piece(gr_mat_at(dW, o, k), &left, &right, M, &a, &lane->err);
        }
    gr_dnnl_leave(&was);
    gr_lane_fail(lane, rc, &lane->err);
    gr_lane_give_back(lane, mark);
}

void gr_linear_dw(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1)
{
    if (lane->op->linear)
        lane->op->linear->dw(lane, dW, dy, x, M, K, o0, o1, false);
    else
        add_pieces(lane, dW, dy, x, M, K, o0, o1, &(struct way){ GR_BY_F32, DW_ROWS, lane->op });
}

void gr_linear_dw_halves(gr_lane *lane, gr_multiply by, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0,
                         size_t o1)
{
    assert(by == GR_BY_BF16 || (by == GR_BY_SPLIT && !lane->op->linear));
    if (lane->op->linear)
        lane->op->linear->dw(lane, dW, dy, x, M, K, o0, o1, true);
    else
        add_pieces(lane, dW, dy, x, M, K, o0, o1, &(struct way){ by, GR_DW_HALVES, lane->op });
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
