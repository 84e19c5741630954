/* test_matmul_bf16.c - products in bfloat16 against products in double of the same rounded numbers, those that are
 * split against float32's, and a row's bits wherever it stands. The program runs itself again for each instruction set;
 * where one multiplies no bfloat16, these weights are the bits of those that are only kept so. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "forward.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 17, 33 }, { 80, 40 }, { 576, 576 }, { 192, 1536 }, { 1040, 96 }, { 70, 1021 }, { 70, 1024 },
    { 600, 2048 },
};
#ifdef __SANITIZE_THREAD__
enum { SHAPES = 3 };
#else
enum { SHAPES = GR_COUNT(shape) };
#endif

static bool multiplies(void)
{
    return gr_linear_multiplies_bf16(check_device(1));
}

static float value(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* n numbers rounded, and the same in float32. */
static float *rounded(const float *x, size_t n, uint16_t **half)
{
    float *y = check_fenced(n * sizeof *y);

    *half = check_fenced(n * sizeof **half);
    gr_split_ref(*half, NULL, x, n);
    for (size_t i = 0; i < n; i++)
        y[i] = value((*half)[i]);
    return y;
}

/* y[m,o] = sum_k x[m xr + k xc] w[o wr + k wc] + start */
struct side { const float *p; size_t row, col; };

static float *product(struct side x, struct side w, size_t M, size_t O, size_t K, double start)
{
    float *y = check_fenced(M * O * sizeof *y);

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            double s = start;
            for (size_t k = 0; k < K; k++)
                s += (double)x.p[m * x.row + k * x.col] * w.p[o * w.row + k * w.col];
            y[m * O + o] = (float)s;
        }
    return y;
}

/* A product of two bfloat16 is exact in float32; K roundings of their sum, as derived in test_matmul.c. */
static double sum_tol(size_t K)
{
    return (8 + (double)K / 8) * FLT_EPSILON;
}

/* Of x w, lo lo is left away, 2^-16 of it at most, and each side is off by 2^-17 at most: 2^-15 in all, of random
 * signs. Of K products together that is sqrt(K) times 0.64 of it, where the largest output is about 4 sqrt(K): 1.3
 * 2^-18, and four times as much for the largest of many. */
static double split_tol(size_t K)
{
    return sum_tol(K) + 5 * 0x1p-18;
}

static gr_linear *open_linear(gr_dtype type, const float *w, size_t O, size_t K, const float *bias, gr_linear_mode mode)
{
    uint16_t *half;
    const void *data = type == GR_F32 ? (const void *)w : (rounded(w, O * K, &half), half);
    gr_linear *l;

    CHECK_OK(gr_linear_open(&l, check_device(1), &(gr_tensor){ type, data, O, K }, bias, mode, &check_err));
    return l;
}

static void rounded_sides_are_multiplied(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int kept = 0; kept < 2; kept++) {              /* a weight of two bytes, and a float32 that is rounded */
            size_t O = shape[i].O, K = shape[i].K, M = i % 3 ? GR_TILE : 40;
            float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2), *bias = i % 2 ? check_randn(O, 3) : NULL;
            uint16_t *half;
            const float *xr = rounded(x, M * K, &half), *wr = rounded(w, O * K, &half);
            gr_linear *l = open_linear(kept ? GR_BF16 : GR_F32, w, O, K, bias, GR_LINEAR_ROUNDED);
            float *want = product((struct side){ multiplies() ? xr : x, K, 1 }, (struct side){ wr, K, 1 }, M, O, K, 0);
            for (size_t j = 0; bias && j < M * O; j++)
                want[j] += bias[j % O];
            CHECK_CLOSE(forward(l, x, M, O, K), want, M * O, sum_tol(K));
            assert_int_equal(gr_linear_bytes(l), O * K * sizeof(uint16_t));
            assert_true(gr_linear_borrows(l) == kept);
            gr_linear_close(l);
        }
}

/* Weights that are float32, bfloat16, or blocks of bytes. */
static void split_sides_give_float32(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int kept = 0; kept < 2; kept++) {
            size_t O = shape[i].O, K = shape[i].K, M = GR_TILE;
            float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2);
            uint16_t *half;
            gr_linear *l = open_linear(kept ? GR_BF16 : GR_F32, w, O, K, NULL, GR_LINEAR_SPLIT);
            w = kept ? rounded(w, O * K, &half) : w;
            CHECK_CLOSE(forward(l, x, M, O, K), product((struct side){ x, K, 1 }, (struct side){ w, K, 1 }, M, O, K, 0),
                        M * O, split_tol(K));
            assert_true(gr_linear_borrows(l));
            gr_linear_close(l);
        }
}

static void split_blocks_give_float32(void **state)
{
    enum { O = 70, K = 1024, M = GR_TILE };
    float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2);
    void *blocks = check_fenced(O * K / 32 * gr_dtype_bytes(GR_Q8_0));
    gr_linear *l;

    (void)state;
    assert_true(gr_quantize(blocks, GR_Q8_0, w, O * K));
    gr_dequant(w, blocks, GR_Q8_0, O * K);
    CHECK_OK(gr_linear_open(&l, check_device(1), &(gr_tensor){ GR_Q8_0, blocks, O, K }, NULL, GR_LINEAR_SPLIT,
                            &check_err));
    CHECK_CLOSE(forward(l, x, M, O, K), product((struct side){ x, K, 1 }, (struct side){ w, K, 1 }, M, O, K, 0), M * O,
                split_tol(K));
    gr_linear_close(l);
}

/* One row alone among zeros, at every place of two tiles, among other rows: always the same bits. */
static void row_bits_do_not_depend_on_the_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * SHAPES; i++) {
        size_t O = shape[i / 2].O, K = shape[i / 2].K;
        float *w = check_randn(O * K, 6);
        gr_linear *l = open_linear(i % 4 < 2 ? GR_F32 : GR_BF16, w, O, K, NULL,
                                   i % 2 ? GR_LINEAR_ROUNDED : GR_LINEAR_SPLIT);
        check_rows_alike(l, O, K);
        gr_linear_close(l);
    }
}

/* ---- Gradients ---------------------------------------------------------------------------------- */

static float *dx_of(gr_linear *l, bool staged, const float *dy, size_t M, size_t O, size_t K, bool add)
{
    size_t ld = K + 1, n = (M - 1) * ld + K;
    float *dx = check_fenced(n * sizeof *dx);

    for (size_t i = 0; i < n; i++)
        dx[i] = add ? 3 : NAN;
    if (staged)
        gr_linears_stage(check_device(2), &l, 1, GR_STAGE_DX, SIZE_MAX, check_fenced(gr_stage_bytes(&l, 1)));
    gr_linear_dx(check_lane(1), l, MAT(dx, ld), MAT(dy, O + 2), M, add);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    gr_linears_unstage(&l, 1);
    return dx;
}

/* The weight of a training run, of whatever type, rounded or split as it is used. */
static void dx_is_the_product(gr_multiply by, size_t O, size_t K, bool kept)
{
    size_t M = kept ? 2 * GR_TILE : 48, ld = O + 2;
    double tol = by == GR_BY_SPLIT ? split_tol(O) : sum_tol(O), tol_y = by == GR_BY_SPLIT ? split_tol(K) : sum_tol(K);
    float *dy = check_randn((M - 1) * ld + O, 1), *w = check_randn(O * K, 2), *x = check_randn(M * K, 3);
    uint16_t *half;
    const float *dyr = by == GR_BY_SPLIT ? dy : rounded(dy, (M - 1) * ld + O, &half);
    const float *wr = by == GR_BY_SPLIT && !kept ? w : rounded(w, O * K, &half);
    const float *xr = by == GR_BY_SPLIT ? x : rounded(x, M * K, &half);
    float *want = product((struct side){ dyr, ld, 1 }, (struct side){ wr, 1, K }, M, K, O, 3), *dx, *y, *again;
    gr_linear *l = open_linear(kept ? GR_BF16 : GR_F32, w, O, K, NULL, kept ? GR_LINEAR_KEEP : GR_LINEAR_F32);

    gr_linear_by(l, by);
    for (int staged = 0; staged < 2; staged++) {
        dx = dx_of(l, staged, dy, M, O, K, true);
        for (size_t m = 0; m < M; m++) {
            CHECK_CLOSE(dx + m * (K + 1), want + m * K, K, tol);
            assert_true(m + 1 == M || dx[m * (K + 1) + K] == 3);
        }
    }
    dx = dx_of(l, false, dy, M, O, K, false);
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < K; k++)
            assert_true(fabsf(dx[m * (K + 1) + k] + 3 - want[m * K + k]) < tol * (4 * sqrt((double)O) + 4));
    y = forward(l, x, M, O, K);
    CHECK_CLOSE(y, product((struct side){ xr, K, 1 }, (struct side){ wr, K, 1 }, M, O, K, 0), M * O, tol_y);
    gr_linears_stage(check_device(2), &l, 1, GR_STAGE_FWD, SIZE_MAX, check_fenced(gr_stage_bytes(&l, 1)));
    again = forward(l, x, M, O, K);
    gr_linears_unstage(&l, 1);
    assert_memory_equal(again, y, M * O * sizeof *y);
    gr_linear_close(l);
}

static void dx_is_the_product_of_halves(void **state)
{
    (void)state;
    if (!multiplies())
        skip();
    for (size_t i = 0; i < SHAPES; i++)
        for (int kept = 0; kept < 2; kept++) {
            dx_is_the_product(GR_BY_BF16, shape[i].O, shape[i].K, kept);
            dx_is_the_product(GR_BY_SPLIT, shape[i].O, shape[i].K, kept);
        }
}

struct dw { size_t M, O, K; float *dy, *x; };

static struct dw make_dw(size_t M, size_t O, size_t K)
{
    return (struct dw){ M, O, K, check_randn((M - 1) * (O + 2) + O, 1), check_randn((M - 1) * (K + 3) + K, 2) };
}

static void add_dw(gr_lane *lane, gr_multiply by, float *dW, const struct dw *d, size_t o0, size_t o1)
{
    gr_linear_dw_halves(lane, by, MAT(dW, d->K), MAT(d->dy, d->O + 2), MAT(d->x, d->K + 3), d->M, d->K, o0, o1);
}

static void dw_is_the_sum(gr_multiply by, size_t M, size_t O, size_t K)
{
    struct dw d = make_dw(M, O, K);
    float *dW = check_fenced(O * K * sizeof *dW), *cut = check_fenced(O * K * sizeof *cut);
    uint16_t *half;
    const struct side dy = { by == GR_BY_SPLIT ? d.dy : rounded(d.dy, (M - 1) * (O + 2) + O, &half), 1, O + 2 };
    const struct side x = { by == GR_BY_SPLIT ? d.x : rounded(d.x, (M - 1) * (K + 3) + K, &half), 1, K + 3 };

    for (size_t j = 0; j < O * K; j++)
        dW[j] = cut[j] = 2;
    add_dw(check_lane(1), by, dW, &d, 0, O);
    for (size_t o = 0; o < O; o += GR_DW_HALVES)
        add_dw(check_lane(2), by, cut, &d, o, gr_min(O, o + GR_DW_HALVES));
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    CHECK_OK(gr_device_wait(check_device(2), &check_err));
    assert_memory_equal(cut, dW, O * K * sizeof *dW);
    CHECK_CLOSE(dW, product(dy, x, O, K, M, 2), O * K, by == GR_BY_SPLIT ? split_tol(M) : sum_tol(M));
}

/* One tile; equal tiles; and a rest. Blocks of outputs by calls of their own, by threads: the bits of one call. */
static void dw_is_the_sum_of_halves(void **state)
{
    (void)state;
    if (!multiplies())
        skip();
    for (size_t i = 0; i < SHAPES; i++) {
        size_t M = i % 3 ? 400 * (i % 3) : 48;
        dw_is_the_sum(GR_BY_BF16, M, shape[i].O, gr_min(shape[i].K, 1024));
        dw_is_the_sum(GR_BY_SPLIT, M, shape[i].O, gr_min(shape[i].K, 1024));
    }
}

/* ---- Threads ------------------------------------------------------------------------------------ */

struct shared { const gr_linear *l; const float *x; float *y; size_t O, K; };

static void share(void *arg, gr_lane *lane, size_t m, size_t n)
{
    const struct shared *s = arg;

    gr_linear_fwd(lane, s->l, MAT(s->y + m * s->O, s->O), MAT(s->x + m * s->K, s->K), n);
}

static void threads_share_a_weight(void **state)
{
    enum { O = 1040, K = 96, M = 8 * GR_TILE };
    float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2), *y = check_fenced(M * O * sizeof *y);

    (void)state;
    for (gr_linear_mode mode = GR_LINEAR_ROUNDED; mode <= GR_LINEAR_SPLIT; mode++) {
        gr_linear *l = open_linear(GR_F32, w, O, K, NULL, mode);
        struct shared s = { l, x, y, O, K };
        gr_device_run(check_device(4), M, (gr_cut){ GR_TILE, GR_TILE, 1, false }, share, &s);
        CHECK_OK(gr_device_wait(check_device(4), &check_err));
        assert_memory_equal(y, forward(l, x, M, O, K), M * O * sizeof *y);
        memset(y, 0, 3 * GR_TILE * O * sizeof *y);
        spread_run(3 * GR_TILE, share, &s);
        assert_memory_equal(y, forward(l, x, M, O, K), M * O * sizeof *y);
        gr_linear_close(l);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounded_sides_are_multiplied),
        cmocka_unit_test(split_sides_give_float32),
        cmocka_unit_test(split_blocks_give_float32),
        cmocka_unit_test(row_bits_do_not_depend_on_the_place),
        cmocka_unit_test(dx_is_the_product_of_halves),
        cmocka_unit_test(dw_is_the_sum_of_halves),
        cmocka_unit_test(threads_share_a_weight),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + CHECK_CAPPED(argc, argv) != 0;
}
