/* test_nomem.c - a weight opened and used with the n-th allocation failing, for every n: it says so and gives back
 * all that it took, and the next attempt succeeds. */
#include <stdlib.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "nomem.h"
#include "op/op.h"
#include "op/product_int.h"

enum { O = 600, K = 64, LDY = O + 1 };  /* two slices, and rows apart as no product made at open has them */

static gram_status use(gr_linear_mode mode, const gr_tensor *w, const float *x, float *y, float *dx)
{
    gr_linear *l;
    gr_device *d = check_device(1);
    gr_lane *lane = check_lane(1);
    gram_status rc = gr_linear_open(&l, d, w, NULL, mode, &check_err);

    if (rc)
        return rc;
    gr_linear_fwd(lane, l, MAT(y, LDY), MAT(x, K), GR_TILE);
    if (mode != GR_LINEAR_INT8)
        gr_linear_dx(lane, l, MAT(dx, K), MAT(y, LDY), GR_TILE, false);
    gr_linear_close(l);
    return gr_device_wait(d, &check_err);
}

static void every_allocation_may_fail(void **state)
{
    float *w = check_randn(O * K, 1), *x = check_randn(GR_TILE * K, 2), *y = check_fenced(GR_TILE * LDY * sizeof *y);
    float *dx = check_fenced(GR_TILE * K * sizeof *dx);
    gr_tensor t = { GR_F32, w, O, K };

    (void)state;
    CHECK_OK(gr_device_reserve(check_device(1), 1 << 20, &check_err));      /* scratch is not what is counted */
    for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_INT8; mode++) {
        bool failed = true;
        CHECK_OK(use(mode, &t, x, y, dx));
        for (long n = 0; failed; n++) {
            gram_status rc;
            long live = nomem_live;
            nomem_left = n;
            rc = use(mode, &t, x, y, dx);
            failed = NOMEM_COUNTED && nomem_left < 0;
            nomem_left = -1;
            assert_int_equal(rc, failed ? GRAM_ENOMEM : GRAM_OK);
            assert_true(nomem_live == live);
            assert_true(n < 1000);
        }
    }
}

/* Neither do panels for a handful of rows leave anything half made. */
static void panels_may_find_no_memory(void **state)
{
    static const uint8_t w[O * (K / 32) * 34];
    gr_tensor t = { GR_Q8_0, w, O, K };
    gr_linear *l;
    bool failed = true;

    (void)state;
    CHECK_OK(gr_linear_open(&l, check_device(1), &t, NULL, GR_LINEAR_KEEP, &check_err));
    for (long n = 0; failed; n++) {
        gram_status rc;
        nomem_left = n;
        rc = gr_linear_few(l, &check_err);
        failed = NOMEM_COUNTED && nomem_left < 0;
        nomem_left = -1;
        assert_int_equal(rc, failed ? GRAM_ENOMEM : GRAM_OK);
        assert_true(n < 1000);
    }
    gr_linear_close(l);
}

/* Products of dW live as long as the process: each attempt has a shape of its own. */
static void dw_may_find_no_memory(void **state)
{
    enum { MORE = 100 };
    float *dy = check_randn(GR_TILE * O, 1), *x = check_randn(GR_TILE * (K + MORE), 2);
    float *dW = check_fenced(O * (K + MORE) * sizeof *dW);
    bool failed = true;

    (void)state;
    for (size_t n = 0; failed; n++) {
        gr_lane *lane = check_lane(1);
        long live = nomem_live;
        gram_status rc;
        nomem_left = (long)n;
        gr_linear_dw(lane, MAT(dW, K + n), MAT(dy, O), MAT(x, K + n), GR_TILE, K + n, 0, O);
        rc = gr_device_wait(check_device(1), &check_err);
        failed = NOMEM_COUNTED && nomem_left < 0;
        nomem_left = -1;
        assert_int_equal(rc, failed ? GRAM_ENOMEM : GRAM_OK);
        assert_true(nomem_live >= live && nomem_live <= live + (long)n);
        assert_true(n < MORE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(panels_may_find_no_memory),
        cmocka_unit_test(dw_may_find_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
