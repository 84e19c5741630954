/* test_matmul.c - each kind of weight against a product in double, and a row's bits wherever it stands. The
 * program runs itself again for each instruction set. */
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include "base/cpu.h"
#include "check.h"
#include "forward.h"
#include "op/packed.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 2, 576 }, { 17, 33 }, { 48, 48 }, { 80, 40 }, { 256, 64 }, { 320, 960 }, { 576, 576 },
    { 192, 1536 }, { 960, 192 }, { 1040, 96 }, { 3072, 64 },
};
#ifdef __SANITIZE_THREAD__
enum { SHAPES = 6 };            /* threads meet in the small ones too, and the product in double takes minutes */
#else
enum { SHAPES = GR_COUNT(shape) };
#endif

static float *product(const float *x, const float *w, const float *bias, size_t M, size_t O, size_t K)
{
    float *y = check_fenced(M * O * sizeof *y);

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            double s = bias ? (double)bias[o] : 0;
            for (size_t k = 0; k < K; k++)
                s += (double)x[m * K + k] * w[o * K + k];
            y[m * O + o] = (float)s;
        }
    return y;
}

/* The same with the weight laid out first. */
static float *forward_staged(gr_linear *l, const float *x, size_t M, size_t O, size_t K)
{
    void *room = check_fenced(gr_stage_bytes(&l, 1));
    float *y;

    gr_linears_stage(check_device(2), &l, 1, GR_STAGE_FWD, SIZE_MAX, room);
    y = forward(l, x, M, O, K);
    gr_linears_unstage(&l, 1);
    return y;
}

/* A sum of K products, each rounded, in any order: error <= K * eps/2 * sum |x w|. For normal x and w the sum of
 * magnitudes is about 0.64 K, the largest of the outputs about 4 sqrt(K), and roundings add like a random
 * walk, sqrt(K) of them: 0.64 K * sqrt(K) * eps/2 / (4 sqrt(K)) < K eps / 8; 8 more for short rows. */
static double f32_tol(size_t K)
{
    return (8 + (double)K / 8) * FLT_EPSILON;
}

static void f32_is_the_product(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        size_t O = shape[i].O, K = shape[i].K, M = i % 3 == 0 ? 40 : i % 3 * GR_TILE;
        float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2), *bias = i % 2 ? check_randn(O, 3) : NULL;
        gr_tensor t = { GR_F32, w, O, K };
        gr_linear *l;
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, bias, GR_LINEAR_F32, &check_err));
        CHECK_CLOSE(forward(l, x, M, O, K), product(x, w, bias, M, O, K), M * O, f32_tol(K));
        CHECK_CLOSE(forward_staged(l, x, M, O, K), product(x, w, bias, M, O, K), M * O, f32_tol(K));
        assert_true(gr_linear_bytes(l) == O * K * sizeof(float));
        gr_linear_close(l);
    }
}

/* Weights rounded so that bf16 holds them: each mode then multiplies the same numbers. */
static float *bf16_weights(size_t n, uint16_t **half)
{
    float *w = check_randn(n, 2);

    *half = check_fenced(n * sizeof **half);
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, w + i, sizeof u);
        (*half)[i] = (uint16_t)(u >> 16);
        u &= 0xffff0000;
        memcpy(w + i, &u, sizeof u);
    }
    return w;
}

static void expanded_types_multiply_the_same_numbers(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++) {
        size_t O = shape[i].O, K = shape[i].K, M = GR_TILE;
        uint16_t *half;
        float *w = bf16_weights(O * K, &half), *x = check_randn(M * K, 1), *want = product(x, w, NULL, M, O, K);
        gr_tensor t[] = { { GR_BF16, half, O, K }, { GR_F32, w, O, K } };
        for (size_t j = 0; j < GR_COUNT(t); j++)
            for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_KEEP; mode++) {
                gr_linear *l;
                CHECK_OK(gr_linear_open(&l, check_device(1), t + j, NULL, mode, &check_err));
                CHECK_CLOSE(forward(l, x, M, O, K), want, M * O, f32_tol(K));
                CHECK_CLOSE(forward_staged(l, x, M, O, K), want, M * O, f32_tol(K));
                gr_linear_close(l);
            }
    }
}

/* Half a step of the weight's 254, for values whose largest is about 4 and whose steps' errors are spread evenly; the
 * activation's step is 64 times finer. One product errs by about sqrt(1/12) 4/127 = 0.009 of 1, K of them by
 * 0.009 sqrt(K) at one sigma; the largest of all outputs is about 4 sqrt(K), errors too. */
static void int8_is_near_the_product(void **state)
{
    (void)state;
    for (size_t i = 1; i < SHAPES; i++) {
        size_t O = shape[i].O, K = shape[i].K, M = GR_TILE;
        float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2), *bias = check_randn(O, 3);
        gr_tensor t = { GR_F32, w, O, K };
        gr_linear *l;
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, bias, GR_LINEAR_INT8, &check_err));
        CHECK_CLOSE(forward(l, x, M, O, K), product(x, w, bias, M, O, K), M * O, 0.015);
        gr_linear_close(l);
    }
}

/* The same where rows with a mark have one byte. */
static float *forward_marked(const gr_linear *l, const float *x, size_t M, size_t O, size_t K, const uint8_t *mark)
{
    float *y = check_fenced(M * O * sizeof *y);

    gr_linears_fwd(check_lane(1), &(gr_linear_to){ l, MAT(y, O) }, 1, MAT(x, K), M, mark);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    return y;
}

/* Every weight and activation at the end of its range, signs that agree: 16-bit sums of u8 x s8 pairs would
 * saturate, and the product would miss its value by a third. A lone channel rotates to a row of equals. */
static void int8_does_not_saturate(void **state)
{
    size_t O = 64, K = 512, M = GR_TILE;
    float *x = check_fenced(M * K * sizeof *x), *w = check_fenced(O * K * sizeof *w);
    uint8_t *mark = check_fenced(M);
    gr_tensor t = { GR_F32, w, O, K };
    gr_linear *l;

    (void)state;
    memset(mark, 1, M);
    for (size_t m = 0; m < M; m++)
        x[m * K] = m % 2 ? -3.0f : 3.0f;
    for (size_t o = 0; o < O; o++)
        w[o * K] = o % 2 ? -0.5f : 0.5f;
    CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, GR_LINEAR_INT8, &check_err));
    CHECK_CLOSE(forward(l, x, M, O, K), product(x, w, NULL, M, O, K), M * O, 4 * FLT_EPSILON);
    CHECK_CLOSE(forward_marked(l, x, M, O, K, mark), product(x, w, NULL, M, O, K), M * O, 4 * FLT_EPSILON);
    gr_linear_close(l);
}

/* One output of a row in one byte: the whole numbers of both sides multiplied exactly, and what that may be off by. The
 * sum, the scales' product and the product of both are rounded once each, and with a bias that sum. */
static double by_bytes(const uint8_t *q, float scale, const int8_t *w, float wscale, const float *bias, size_t K,
                       double *off)
{
    double by = (double)scale * (double)wscale, b = bias ? (double)*bias : 0, sum = 0;

    for (size_t k = 0; k < K; k++)
        sum += (q[k] - GR_QUANT_BYTE_ZERO) * w[k];
    *off = (4 * fabs(sum) * by + fabs(b)) * FLT_EPSILON / 2;
    return sum * by + b;
}

/* The weight's rows as bytes, and x's, as packed.h and quant.h say. */
static void check_bytes(const float *y, const float *x, const float *w, const float *bias, size_t M, size_t O, size_t K)
{
    float *row = check_fenced(K * sizeof *row), *scale = check_fenced(M * sizeof *scale), wscale;
    uint8_t *q = check_fenced(M * K);
    int8_t *wq = check_fenced(K);

    for (size_t m = 0; m < M; m++) {
        gr_rotate_row_ref(row, x + m * K, K, gr_packed_rotated(K));
        gr_quant_byte_row_ref(q + m * K, scale + m, row, K);
    }
    for (size_t o = 0; o < O; o += 1 + o / 3) {
        gr_rotate_row_ref(row, w + o * K, K, gr_packed_rotated(K));
        gr_quant_weight_ref(wq, &wscale, row, K);
        for (size_t m = 0; m < M; m++) {
            double off, want = by_bytes(q + m * K, scale[m], wq, wscale, bias ? bias + o : NULL, K, &off);
            if (!(fabs((double)y[m * O + o] - want) <= off))
                fail_msg("[%zu,%zu], row %zu, output %zu: %.9g, wanted %.9g within %g", O, K, m, o,
                         (double)y[m * O + o], want, off);
        }
    }
}

/* Rows of one byte and of two among each other: the former are the product of bytes, the latter have the bits that they
 * have where all are like them; without VNNI all are. How many there are of a kind changes no bit of the others, nor
 * which tile of rows of bytes is the last. */
static void rows_of_one_byte_are_the_product_of_bytes(void **state)
{
    enum { M = 2 * GR_TILE };
    bool has = gr_linear_has_one_byte(check_device(1));

    (void)state;
    for (size_t i = 0; i < (has ? SHAPES : 6); i++) {       /* the plain kernels are slow */
        size_t O = shape[i].O, K = shape[i].K;
        float *x = check_randn(M * K, 1), *w = check_randn(O * K, 2), *bias = i % 2 ? check_randn(O, 3) : NULL;
        float *two, *one, *y;
        uint8_t *all = check_fenced(M), *mark = check_fenced(M);
        gr_tensor t = { GR_F32, w, O, K };
        gr_linear *l;
        memset(all, 1, M);
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, bias, GR_LINEAR_INT8, &check_err));
        two = forward(l, x, M, O, K);
        one = forward_marked(l, x, M, O, K, all);
        if (has)
            check_bytes(one, x, w, bias, M, O, K);
        for (size_t each = 2; each < 100; each = 3 * each + 1) {
            for (size_t m = 0; m < M; m++)
                mark[m] = m % each != 0 && m != 3;
            y = forward_marked(l, x, M, O, K, mark);
            for (size_t m = 0; m < M; m++)
                assert_memory_equal(y + m * O, (has && mark[m] ? one : two) + m * O, O * sizeof *y);
        }
        gr_linear_close(l);
    }
}

/* One row alone among zeros, at every place of two tiles, among other rows: always the same bits. */
static void row_bits_do_not_depend_on_the_place(void **state)
{
    static const gr_linear_mode mode[] = { GR_LINEAR_F32, GR_LINEAR_KEEP, GR_LINEAR_INT8 };

    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (size_t j = 0; j < GR_COUNT(mode); j++) {
            size_t O = shape[i].O, K = shape[i].K;
            uint16_t *half;
            float *w = bf16_weights(O * K, &half);
            gr_tensor f32 = { GR_F32, w, O, K }, bf16 = { GR_BF16, half, O, K };
            gr_linear *l;
            CHECK_OK(gr_linear_open(&l, check_device(1), i % 2 ? &bf16 : &f32, NULL, mode[j], &check_err));
            check_rows_alike(l, O, K);
            gr_linear_close(l);
        }
}

/* Rows further apart than they are wide, as when two products share a buffer: same numbers, the gap untouched. */
static void strided_rows(void **state)
{
    enum { O = 80, K = 40, LDX = 64, LDY = 200, M = GR_TILE };
    float *x = check_randn((M - 1) * LDX + K, 1), *dense = check_fenced(M * K * sizeof *dense), *want;
    float *y = check_fenced(((M - 1) * LDY + O) * sizeof *y), *w = check_randn(O * K, 2);
    gr_tensor t = { GR_F32, w, O, K };

    (void)state;
    for (size_t m = 0; m < M; m++)
        memcpy(dense + m * K, x + m * LDX, K * sizeof *x);
    for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_INT8; mode++) {
        gr_linear *l;
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, mode, &check_err));
        want = forward(l, dense, M, O, K);
        for (size_t i = 0; i < (M - 1) * LDY + O; i++)
            y[i] = 42;
        gr_linear_fwd(check_lane(1), l, MAT(y, LDY), MAT(x, LDX), M);
        for (size_t m = 0; m < M; m++) {
            CHECK_CLOSE(y + m * LDY, want + m * O, O, f32_tol(K));
            for (size_t o = O; o < LDY && m * LDY + o < (M - 1) * LDY + O; o++)
                assert_true(y[m * LDY + o] == 42);
        }
        gr_linear_close(l);
    }
}

/* Four threads, one weight, strides that nobody has used before: the bits of one thread. */
struct shared { const gr_linear *l; const float *x; float *y; size_t ldy; };

static void share(void *arg, gr_lane *lane, size_t m, size_t n)
{
    struct shared *s = arg;
    size_t K = 96;

    gr_linear_fwd(lane, s->l, MAT(s->y + m * s->ldy, s->ldy), MAT(s->x + m * K, K), n);
}

static void threads_share_a_weight(void **state)
{
    enum { O = 1040, K = 96, TASKS = 12, LDY = O + 7 };
    float *x = check_randn(TASKS * GR_TILE * K, 1), *w = check_randn(O * K, 2), *want;
    gr_tensor t = { GR_F32, w, O, K };

    (void)state;
    for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_INT8; mode++) {
        struct shared s = { .x = x, .y = check_fenced(TASKS * GR_TILE * LDY * sizeof(float)), .ldy = LDY };
        gr_linear *l;
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, mode, &check_err));
        s.l = l;
        want = forward(l, x, TASKS * GR_TILE, O, K);
        gr_device_run(check_device(4), TASKS * GR_TILE, (gr_cut){ GR_TILE, GR_TILE, 1, false }, share, &s);
        CHECK_OK(gr_device_wait(check_device(4), &check_err));
        for (size_t m = 0; m < TASKS * GR_TILE; m++)
            assert_memory_equal(s.y + m * LDY, want + m * O, O * sizeof *want);
        for (size_t rows = 1; rows <= 5 * GR_TILE && gr_linear_counts(l); rows += 67) {     /* of bytes the rows */
            gr_cut alike = gr_linear_cut(check_device(4), GR_ROWS_ALIKE, 4);
            gr_cut cut = gr_linear_spread(check_device(4), alike, rows, true);
            assert_true(!cut.whole && GR_TILE % cut.unit == 0 && cut.unit <= GR_TILE / 2);
            memset(s.y, 0, rows * LDY * sizeof *s.y);
            gr_device_run(check_device(4), rows, cut, share, &s);
            CHECK_OK(gr_device_wait(check_device(4), &check_err));
            for (size_t m = 0; m < rows; m++)
                assert_memory_equal(s.y + m * LDY, want + m * O, O * sizeof *want);
        }
        for (size_t tiles = 1; tiles <= 2; tiles++) {   /* fewer than threads: these share the outputs */
            memset(s.y, 0, tiles * GR_TILE * LDY * sizeof *s.y);
            spread_run(tiles * GR_TILE, share, &s);
            for (size_t m = 0; m < tiles * GR_TILE; m++)
                assert_memory_equal(s.y + m * LDY, want + m * O, O * sizeof *want);
        }
        gr_linear_close(l);
    }
}

/* A weight that is laid out for many calls gives the bits that it gave before, of whatever is multiplied as float32. */
static void weights_that_are_laid_out_change_no_bit(void **state)
{
    static const struct { size_t O, K; } each[] = { { 1536, 576 }, { 576, 1536 }, { 100, 1024 }, { 17, 33 } };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        size_t O = each[i].O, K = each[i].K, M = 2 * GR_TILE;
        uint16_t *half;
        float *w = bf16_weights(O * K, &half), *x = check_randn(M * K, 1), *want;
        gr_tensor t[] = { { GR_F32, check_randn(O * K, 3), O, K }, { GR_BF16, half, O, K }, { GR_F32, w, O, K } };
        for (size_t j = 0; j < GR_COUNT(t); j++) {
            gr_linear *l;
            CHECK_OK(gr_linear_open(&l, check_device(1), t + j, NULL, j ? GR_LINEAR_KEEP : GR_LINEAR_F32, &check_err));
            want = forward(l, x, M, O, K);
            CHECK_OK(gr_linear_lay(l, &check_err));
            assert_memory_equal(forward(l, x, M, O, K), want, M * O * sizeof *want);
            assert_true(gr_linear_lay_bytes(l) == 0 || gr_linear_lay_bytes(l) >= O * K * sizeof *w);
            gr_linear_close(l);
        }
    }
}

/* Any type and mode, with and without a bias: the product; a row's bits alone, among others and at 1 to 3 threads. Of
 * int8, which adds up whole numbers, the bits of many rows too. */
static void a_handful_of_rows_is_the_product(void **state)
{
    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (int k = 0; k < 8; k++) {
            enum { M = 29 };
            size_t O = shape[i].O, K = shape[i].K;
            gr_linear_mode mode = (gr_linear_mode)(k / 2);
            uint16_t *half;
            float *w = bf16_weights(O * K, &half), *x = check_randn(GR_TILE * K, 1);
            float *bias = i % 2 ? check_randn(O, 3) : NULL;
            gr_tensor t = { k % 2 ? GR_BF16 : GR_F32, k % 2 ? (const void *)half : w, O, K };
            float *want = product(x, w, bias, M, O, K), *all, *got;
            gr_linear *l;
            CHECK_OK(gr_linear_open(&l, check_device(1), &t, bias, mode, &check_err));
            all = forward_few(1, l, x, M, O, K);
            if (mode == GR_LINEAR_INT8)
                assert_memory_equal(all, forward(l, x, GR_TILE, O, K), M * O * sizeof *all);
            else
                CHECK_CLOSE(all, want, M * O, f32_tol(K));
            for (size_t m = 0, n; m < M; m += n) {
                n = gr_min(1 + m % 7, M - m);
                got = forward_few(1 + m % 3, l, x + m * K, n, O, K);
                assert_memory_equal(got, all + m * O, n * O * sizeof *got);
            }
            gr_linear_close(l);
        }
}

/* Of the types that are multiplied in whole numbers: the same, expanded to float32 beside the file's or kept. */
static void a_handful_of_rows_is_the_product_of_quantised_weights(void **state)
{
    enum { M = 13 };
    static const gr_dtype types[] = { GR_Q4_0, GR_Q4_1, GR_Q5_0, GR_Q5_1, GR_Q8_0 };

    (void)state;
    for (size_t i = 0; i < SHAPES; i++)
        for (size_t k = 0; k < 2 * GR_COUNT(types) && shape[i].K % 32 == 0; k++) {
            size_t O = shape[i].O, K = shape[i].K, row;
            gr_dtype type = types[k / 2];
            float *w = check_randn(O * K, 2), *x = check_randn(M * K, 1), *bias = i % 2 ? check_randn(O, 3) : NULL;
            float *all;
            void *file = gr_dtype_row_bytes(type, K, &row) ? check_fenced(O * row) : NULL;
            gr_tensor t = { type, file, O, K };
            gr_linear *l;
            assert_true(gr_quantize(file, type, w, O * K));
            gr_dequant(w, file, type, O * K);
            CHECK_OK(gr_linear_open(&l, check_device(1), &t, bias, k % 2 ? GR_LINEAR_F32 : GR_LINEAR_KEEP, &check_err));
            gr_linear_stays(l);
            assert_true(gr_linear_few_bytes(l) >= O * row);
            CHECK_OK(gr_linear_few(l, &check_err));
            CHECK_OK(gr_linear_few(l, &check_err));         /* once */
            all = forward_few(1, l, x, M, O, K);
            CHECK_CLOSE(all, product(x, w, bias, M, O, K), M * O, f32_tol(K));
            for (size_t m = 0, n; m < M; m += n) {
                float *got = forward_few(1 + m % 3, l, x + m * K, n = gr_min(1 + m % 7, M - m), O, K);
                assert_memory_equal(got, all + m * O, n * O * sizeof *got);
            }
            gr_linear_close(l);
        }
}

/* What only tiles need is made when there first are some, and by whoever asks: before, or in the product. */
static void weights_are_expanded_when_tiles_need_them(void **state)
{
    enum { O = 600, K = 64 };
    static uint8_t file[O * K / 32 * 34];
    float *w = check_randn(O * K, 2), *x = check_randn(GR_TILE * K, 1), *few;
    float *y[2] = { check_fenced(GR_TILE * O * sizeof(float)), check_fenced(GR_TILE * O * sizeof(float)) };
    gr_tensor t = { GR_Q8_0, file, O, K };

    (void)state;
    assert_true(gr_quantize(file, GR_Q8_0, w, O * K));
    gr_dequant(w, file, GR_Q8_0, O * K);
    for (int before = 0; before < 2; before++) {
        gr_linear *l;
        CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, GR_LINEAR_F32, &check_err));
        gr_linear_stays(l);
        assert_true(gr_linear_lacks(l, GR_ROWS_FEW) && gr_linear_lacks(l, GR_ROWS_ALIKE));
        CHECK_OK(gr_linear_few(l, &check_err));
        few = forward_few(1, l, x, 5, O, K);
        assert_true(!gr_linear_lacks(l, GR_ROWS_FEW) && gr_linear_lacks(l, GR_ROWS_ALIKE));
        if (before)
            CHECK_OK(gr_linear_tiles(l, &check_err));
        gr_linear_fwd(check_lane(1), l, MAT(y[before], O), MAT(x, K), GR_TILE);
        CHECK_OK(gr_device_wait(check_device(1), &check_err));
        assert_false(gr_linear_lacks(l, GR_ROWS_ALIKE));
        CHECK_CLOSE(few, y[before], 5 * O, f32_tol(K));
        gr_linear_close(l);
    }
    assert_memory_equal(y[0], y[1], GR_TILE * O * sizeof(float));
    CHECK_CLOSE(y[0], product(x, w, NULL, GR_TILE, O, K), GR_TILE * O, f32_tol(K));
}

static void bad_weights_are_refused(void **state)
{
    static const float w[1];
    gr_tensor t[] = { { GR_F32, w, 0, 1 }, { GR_F32, w, 1, 0 }, { GR_Q8_0, w, 1, 33 },
                      { GR_F32, w, SIZE_MAX / 2, SIZE_MAX / 2 } };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(t); i++) {
        gr_linear *l = (gr_linear *)&l;
        assert_int_equal(gr_linear_open(&l, check_device(1), t + i, NULL, GR_LINEAR_F32, &check_err),
                         GRAM_EUNSUPPORTED);
        assert_null(l);
    }
    gr_linear_close(NULL);
}

static _Atomic int alarms;            /* any thread may get the signal */

static void on_alarm(int sig)
{
    (void)sig;
    alarms++;
}

/* A handler that runs within a oneDNN kernel may find the heap where its stack should be (product.c). With this shape,
 * where signals are not held back, the heap is found broken within a second. */
static void a_signal_breaks_nothing(void **state)
{
    enum { M = 112, O = 576, K = 288 };
    float *dy = check_randn(M * O, 41), *w = check_randn(O * K, 42);
    float *dx = gr_alloc_aligned(M * K, sizeof *dx), *want = gr_alloc_aligned(M * K, sizeof *want);
    const gr_tensor t = { GR_F32, w, O, K };
    const struct itimerval often = { { 0, 100 }, { 0, 100 } }, never = { { 0, 0 }, { 0, 0 } };
    struct sigaction act = { .sa_handler = on_alarm, .sa_flags = SA_RESTART }, had;
    gr_linear *l;

    (void)state;
    CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, GR_LINEAR_F32, &check_err));
    gr_linear_dx(check_lane(1), l, MAT(want, K), MAT(dy, O), M, false);
    alarms = 0;
    sigaction(SIGALRM, &act, &had);
    setitimer(ITIMER_REAL, &often, NULL);
    while (alarms < 4000) {
        gr_linear_dx(check_lane(1), l, MAT(dx, K), MAT(dy, O), M, false);
        assert_memory_equal(dx, want, M * K * sizeof *dx);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &had, NULL);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    free(dx), free(want);
    gr_linear_close(l);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_is_the_product),
        cmocka_unit_test(expanded_types_multiply_the_same_numbers),
        cmocka_unit_test(int8_is_near_the_product),
        cmocka_unit_test(int8_does_not_saturate),
        cmocka_unit_test(rows_of_one_byte_are_the_product_of_bytes),
        cmocka_unit_test(row_bits_do_not_depend_on_the_place),
        cmocka_unit_test(strided_rows),
        cmocka_unit_test(threads_share_a_weight),
        cmocka_unit_test(weights_that_are_laid_out_change_no_bit),
        cmocka_unit_test(a_handful_of_rows_is_the_product),
        cmocka_unit_test(a_handful_of_rows_is_the_product_of_quantised_weights),
        cmocka_unit_test(weights_are_expanded_when_tiles_need_them),
        cmocka_unit_test(bad_weights_are_refused),
        cmocka_unit_test(a_signal_breaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + check_capped(argc, argv) != 0;
}
