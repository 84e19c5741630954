/* test_tfevents.c - event files, byte for byte as TensorBoard writes them; scripts/golden_tfevents.py wrote these. */
#include <math.h>
#include <stdlib.h>
#include "check.h"
#include "file/io.h"
#include "train/tfevents.h"

static void the_bytes_are_tensorboards(void **state)
{
    const gr_scalar held[] = { { "loss/held_out", 0.75 }, { "accuracy/held_out", NAN } };
    const gr_scalar train[] = { { "loss/train", 0.5 }, { "accuracy/train", 1 }, { "optimizer/learning_rate", 2e-5 } };
    const gr_scalar last = { "loss/train", -1e-3 };
    gr_buf b = { 0 };
    char *want;
    size_t n;

    (void)state;
    CHECK_OK(gr_read_file("tests/golden/tfevents.bin", 4096, &want, &n, &check_err));
    assert_true(gr_tfevents_begin(&b, 1700000000.25));
    assert_true(gr_tfevents_add(&b, 1700000000.25, 0, held, GR_COUNT(held)));
    assert_true(gr_tfevents_add(&b, 1700000001.5, 1, train, GR_COUNT(train)));
    assert_true(gr_tfevents_add(&b, 1700000002.125, 300000, &last, 1));
    assert_int_equal(b.n, n);
    assert_memory_equal(b.p, want, n);
    assert_true(gr_tfevents_add(&b, 0, 1, &held[1], 1) && b.n == n);        /* no number, no record */
    gr_buf_clear(&b);
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(the_bytes_are_tensorboards) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
