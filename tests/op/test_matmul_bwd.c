/* test_matmul_bwd.c - gradients of a linear layer against products in double, and bits that depend neither on a
 * row's place nor on how threads and calls share the work. The program runs itself again for each instruction set. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/op.h"
#include "op/product_int.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 2, 576 }, { 17, 33 }, { 64, 48 }, { 80, 40 }, { 320, 200 }, { 96, 1536 }, { 1040, 96 },
    { 70, 1021 }, { 1022, 40 }, { 70, 1024 },   /* rows of x (ldx = K + 3), dy (lddy = O + 2), w 4 KiB apart */
};

/* A sum of n products, each rounded, in any order, of normal numbers, relative to the largest result: as derived in
 * test_matmul.c. */
static double sum_tol(size_t n)
{
    return (8 + (double)n / 8) * FLT_EPSILON;
}

/* A weight as each mode may hold it, in numbers that bf16 has; half is NULL for float32. */
static gr_tensor weight(size_t O, size_t K, bool half, float **plain)
{
    float *w = *plain = check_randn(O * K, 2);
    uint16_t *h = check_fenced(O * K * sizeof *h);

    for (size_t i = 0; i < O * K; i++) {
        uint32_t u;
        memcpy(&u, w + i, sizeof u);
        u &= 0xffff0000;
        memcpy(w + i, &u, sizeof u);
        h[i] = (uint16_t)(u >> 16);
    }
    return (gr_tensor){ half ? GR_BF16 : GR_F32, half ? (const void *)h : w, O, K };
}

/* Rows lddx = K + 1 and lddy = O + 2 apart; dx is fresh memory that holds `fill`. staged: the weight is laid out
 * first. */
static float *dx_by(gr_linear *l, bool staged, const float *dy, size_t M, size_t O, size_t K, bool add, float fill)
{
    size_t n = (M - 1) * (K + 1) + K;
    float *dx = check_fenced(n * sizeof *dx);

    for (size_t i = 0; i < n; i++)
        dx[i] = fill;
    if (staged)
        gr_linears_stage(check_device(2), &l, 1, GR_STAGE_DX, SIZE_MAX, check_fenced(gr_stage_bytes(&l, 1)));
    gr_linear_dx(check_lane(1), l, MAT(dx, K + 1), MAT(dy, O + 2), M, add);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    gr_linears_unstage(&l, 1);
    return dx;
}

static float *dx_of(gr_linear *l, const float *dy, size_t M, size_t O, size_t K, bool add, float fill)
{
    return dx_by(l, false, dy, M, O, K, add, fill);
}

static void dx_is_the_product(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (int half = 0; half < 2; half++) {
            size_t O = shape[i].O, K = shape[i].K, M = half ? 2 * GR_TILE : 40;
            float *w, *dy = check_randn((M - 1) * (O + 2) + O, 1), *want = check_fenced(M * K * sizeof *want), *dx;
            gr_tensor t = weight(O, K, half, &w);
            for (size_t m = 0; m < M; m++)
                for (size_t k = 0; k < K; k++) {
                    double s = 3;
                    for (size_t o = 0; o < O; o++)
                        s += (double)dy[m * (O + 2) + o] * w[o * K + k];
                    want[m * K + k] = (float)s;
                }
            for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_KEEP; mode++) {
                gr_linear *l;
                CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, mode, &check_err));
                for (int staged = 0; staged < 2; staged++) {
                    dx = dx_by(l, staged, dy, M, O, K, true, 3);
                    for (size_t m = 0; m < M; m++) {
                        CHECK_CLOSE(dx + m * (K + 1), want + m * K, K, sum_tol(O));
                        assert_true(m + 1 == M || dx[m * (K + 1) + K] == 3);
                    }
                }
                dx = dx_of(l, dy, M, O, K, false, NAN);
                for (size_t m = 0; m < M; m++)
                    for (size_t k = 0; k < K; k++)
                        assert_true(fabsf(dx[m * (K + 1) + k] + 3 - want[m * K + k]) <
                                    sum_tol(O) * (4 * sqrt((double)O) + 4));
                gr_linear_close(l);
            }
        }
}

static void row_bits_do_not_depend_on_the_place(void **state)
{
    enum { M = 2 * GR_TILE };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (int half = 0; half < 2; half++) {
            size_t O = shape[i].O, K = shape[i].K, ld = O + 2;
            float *w, *row = check_randn(O, 7), *dy = check_randn((M - 1) * ld + O, 8), *all, *one;
            gr_tensor t = weight(O, K, half, &w);
            gr_linear *l;
            CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, i % 2 ? GR_LINEAR_F32 : GR_LINEAR_KEEP, &check_err));
            for (size_t m = 0; m < M; m++)
                memcpy(dy + m * ld, row, O * sizeof *dy);
            all = dx_of(l, dy, M, O, K, false, 0);
            for (size_t m = 1; m < M; m++)
                assert_memory_equal(all + m * (K + 1), all, K * sizeof *all);
            dy = check_randn((M - 1) * ld + O, 9);
            memcpy(dy + 100 * ld, row, O * sizeof *dy);
            one = dx_of(l, dy, M, O, K, false, 0);
            assert_memory_equal(one + 100 * (K + 1), all, K * sizeof *all);
            gr_linear_close(l);
        }
}

/* The last 7 rows are padding. */
struct dw { size_t M, O, K; float *dy, *x; };

static struct dw make_dw(size_t M, size_t O, size_t K)
{
    size_t dy = (M - 1) * (O + 2) + O, x = (M - 1) * (K + 3) + K;
    struct dw d = { M, O, K, check_randn(dy, 1), check_randn(x, 2) };

    for (size_t m = M - 7; m < M; m++)
        memset(d.dy + m * (O + 2), 0, O * sizeof *d.dy);
    return d;
}

static void add_dw(float *dW, const struct dw *d, size_t o0, size_t o1)
{
    gr_linear_dw(check_lane(1), MAT(dW, d->K), MAT(d->dy, d->O + 2), MAT(d->x, d->K + 3), d->M, d->K, o0, o1);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
}

static void dw_and_db_are_the_sums(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t M = i % 3 ? 250 * (i % 3) : 48, O = shape[i].O, K = shape[i].K;     /* one tile; equal ones and a rest */
        struct dw d = make_dw(M, O, K);
        float *dW = check_randn(O * K, 3), *want = check_fenced(O * K * sizeof *want), *db = check_randn(O, 4);
        float *want_b = check_fenced(O * sizeof *want_b);
        for (size_t o = 0; o < O; o++) {
            double b = db[o];
            for (size_t m = 0; m < M; m++)
                b += d.dy[m * (O + 2) + o];
            want_b[o] = (float)b;
            for (size_t k = 0; k < K; k++) {
                double s = dW[o * K + k];
                for (size_t m = 0; m < M; m++)
                    s += (double)d.dy[m * (O + 2) + o] * d.x[m * (K + 3) + k];
                want[o * K + k] = (float)s;
            }
        }
        add_dw(dW, &d, 0, O);
        CHECK_CLOSE(dW, want, O * K, sum_tol(M));
        gr_linear_db(check_lane(1), db, MAT(d.dy, O + 2), M, O);
        CHECK_CLOSE(db, want_b, O, sum_tol(M));
    }
}

/* Blocks of outputs by calls of their own, or a bias by runs of rows: the bits of one call. */
static void cuts_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t M = 3 * GR_TILE, O = shape[i].O, K = shape[i].K;
        struct dw d = make_dw(M, O, K);
        float *one = check_fenced(O * K * sizeof *one), *cut = check_fenced(O * K * sizeof *cut);
        float *db = check_fenced(O * sizeof *db), *db_cut = check_fenced(O * sizeof *db_cut);
        add_dw(one, &d, 0, O);
        for (size_t o = 0; o < O; o += 64)
            add_dw(cut, &d, o, gr_min(O, o + 64));
        assert_memory_equal(cut, one, O * K * sizeof *one);
        gr_linear_db(check_lane(1), db, MAT(d.dy, O + 2), M, O);
        gr_linear_db(check_lane(1), db_cut, MAT(d.dy, O + 2), 50, O);
        gr_linear_db(check_lane(1), db_cut, MAT(d.dy + 50 * (O + 2), O + 2), M - 50, O);
        assert_memory_equal(db, db_cut, O * sizeof *db);
    }
}

/* Four threads over dx of one weight and over blocks of one dW, strides that nobody has used before. */
enum { T_O = 1040, T_K = 96, T_TASKS = 17 };

struct shared { const gr_linear *l; struct dw d; float *dx, *dW; };

static void share(void *arg, gr_lane *lane, size_t task, size_t n)
{
    struct shared *s = arg;
    size_t m = task % 3 * GR_TILE;

    assert_int_equal(n, 1);
    gr_linear_dw(lane, MAT(s->dW, T_K), MAT(s->d.dy, T_O + 2), MAT(s->d.x, T_K + 3), s->d.M, T_K, task * 64,
                 gr_min(T_O, task * 64 + 64));
    if (task < 3)
        gr_linear_dx(lane, s->l, MAT(s->dx + m * (T_K + 1), T_K + 1), MAT(s->d.dy + m * (T_O + 2), T_O + 2), GR_TILE,
                     false);
}

static void threads_give_the_bits_of_one(void **state)
{
    struct shared s = { .d = make_dw(3 * GR_TILE, T_O, T_K) };
    float *w, *want = check_fenced(T_O * T_K * sizeof *want), *dx;
    gr_tensor t = weight(T_O, T_K, true, &w);
    gr_linear *l;

    (void)state;
    CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, GR_LINEAR_KEEP, &check_err));
    s.l = l;
    s.dW = check_fenced(T_O * T_K * sizeof *s.dW);
    s.dx = check_fenced(((s.d.M - 1) * (T_K + 1) + T_K) * sizeof *s.dx);
    gr_device_run(check_device(4), T_TASKS, GR_CUT_ONE, share, &s);
    CHECK_OK(gr_device_wait(check_device(4), &check_err));
    add_dw(want, &s.d, 0, T_O);
    assert_memory_equal(s.dW, want, T_O * T_K * sizeof *want);
    dx = dx_of(l, s.d.dy, s.d.M, T_O, T_K, false, 0);
    assert_memory_equal(s.dx, dx, ((s.d.M - 1) * (T_K + 1) + T_K) * sizeof *dx);
    gr_linear_close(l);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dx_is_the_product),
        cmocka_unit_test(row_bits_do_not_depend_on_the_place),
        cmocka_unit_test(dw_and_db_are_the_sums),
        cmocka_unit_test(cuts_change_no_bit),
        cmocka_unit_test(threads_give_the_bits_of_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL) + check_capped(argc, argv) != 0;
}
