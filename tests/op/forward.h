/* forward.h - products forward, of many rows and of a handful, and that a row of them has the same bits in any
 * company. */
#ifndef TEST_OP_FORWARD_H
#define TEST_OP_FORWARD_H

#include <string.h>
#include "check.h"
#include "device.h"
#include "op/op.h"
#include "op/product_int.h"

static inline float *forward(const gr_linear *l, const float *x, size_t M, size_t O, size_t K)
{
    float *y = check_fenced(M * O * sizeof *y);

    gr_linear_fwd(check_lane(1), l, MAT(y, O), MAT(x, K), M);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    return y;
}

/* fn over rows of so few tiles that four threads share the outputs of its products. */
static inline void spread_run(size_t rows, gr_lane_fn *fn, void *arg)
{
    gr_cut cut = gr_linear_spread(check_device(4), gr_linear_cut(check_device(4), GR_ROWS_ALIKE, 4), rows, false);

    assert_true(cut.whole && cut.unit == GR_TILE);
    gr_device_run(check_device(4), rows, cut, fn, arg);
    CHECK_OK(gr_device_wait(check_device(4), &check_err));
}

/* M rows as a handful, each weight read once, by all threads of a device. */
struct handful { const gr_linear *l; gr_mat y, x; };

static inline void multiply_few(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct handful *h = arg;

    assert_int_equal(first, 0);
    gr_linear_fwd(lane, h->l, h->y, h->x, n);
}

static inline float *forward_few(size_t threads, const gr_linear *l, const float *x, size_t M, size_t O, size_t K)
{
    struct handful h = { l, MAT(check_fenced(M * O * sizeof(float)), O), MAT(x, K) };

    gr_device_run(check_device(threads), M, gr_linear_cut(NULL, GR_ROWS_FEW, 0), multiply_few, &h);
    CHECK_OK(gr_device_wait(check_device(threads), &check_err));
    return gr_f32(h.y);
}

/* One row alone among zeros, at every place of two tiles, among other rows: always the same bits. */
static inline void check_rows_alike(const gr_linear *l, size_t O, size_t K)
{
    size_t M = 2 * GR_TILE;
    float *row = check_randn(K, 7), *x = check_randn(M * K, 8), *one, *all;

    for (size_t m = 0; m < M; m++)
        memcpy(x + m * K, row, K * sizeof *x);
    all = forward(l, x, M, O, K);
    for (size_t m = 1; m < M; m++)
        assert_memory_equal(all + m * O, all, O * sizeof *all);
    memset(x, 0, M * K * sizeof *x);
    memcpy(x + 5 * K, row, K * sizeof *x);
    one = forward(l, x, GR_TILE, O, K);
    assert_memory_equal(one + 5 * O, all, O * sizeof *all);
    x = check_randn(M * K, 9);
    memcpy(x + 100 * K, row, K * sizeof *x);
    one = forward(l, x, M, O, K);
    assert_memory_equal(one + 100 * O, all, O * sizeof *all);
}

#endif
