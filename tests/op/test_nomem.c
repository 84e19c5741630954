/* test_nomem.c - a weight opened and used with the n-th allocation failing, for every n: it says so and gives back
 * all that it took, and the next attempt succeeds. */
#include <stdlib.h>
#include "base/cpu.h"
#include "check.h"
#include "nomem.h"
#include "op/matmul.h"
#include "op/op.h"

enum { O = 600, K = 64, LDY = O + 1 };  /* two slices, and rows apart as no product made at open has them */

static gram_status use(gr_linear_mode mode, const gr_tensor *w, const float *x, float *y, float *dx)
{
    gr_linear *l;
    void *scratch = NULL;
    gram_status rc = gr_linear_open(&l, w, NULL, mode, &check_err);

    if (rc)
        return rc;
    scratch = gr_alloc_aligned(gr_linear_scratch(l, GR_TILE), 1);
    rc = scratch ? gr_linear_fwd(l, y, LDY, x, K, GR_TILE, scratch, &check_err) : GRAM_ENOMEM;
    if (!rc && mode != GR_LINEAR_INT8)
        rc = gr_linear_dx(l, NULL, dx, K, y, LDY, GR_TILE, false, scratch, &check_err);
    free(scratch);
    gr_linear_close(l);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    float *w = check_randn(O * K, 1), *x = check_randn(GR_TILE * K, 2), *y = check_fenced(GR_TILE * LDY * sizeof *y);
    float *dx = check_fenced(GR_TILE * K * sizeof *dx);
    gr_tensor t = { GR_F32, w, O, K };

    (void)state;
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

/* Products of dW live as long as the process: each attempt has a shape of its own. */
static void dw_may_find_no_memory(void **state)
{
    enum { MORE = 100 };
    float *dy = check_randn(GR_TILE * O, 1), *x = check_randn(GR_TILE * (K + MORE), 2);
    float *dW = check_fenced(O * (K + MORE) * sizeof *dW);
    bool failed = true;

    (void)state;
    for (size_t n = 0; failed; n++) {
        void *scratch = gr_alloc_aligned(gr_dw_scratch(K + n), 1);
        long live = nomem_live;
        gram_status rc;
        nomem_left = (long)n;
        rc = gr_linear_dw(dW, dy, O, x, K + n, GR_TILE, K + n, 0, O, scratch, &check_err);
        failed = NOMEM_COUNTED && nomem_left < 0;
        nomem_left = -1;
        assert_int_equal(rc, failed ? GRAM_ENOMEM : GRAM_OK);
        assert_true(nomem_live >= live && nomem_live <= live + (long)n);
        assert_true(n < MORE);
        free(scratch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(dw_may_find_no_memory),
    };

    gr_kern_init(gr_cpu());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
