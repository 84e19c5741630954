/* test_rotate.c - the reference against the Hadamard matrix written out, every build against the reference to the
 * bit, and that products survive. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

static const struct { size_t C, B; } shape[] = {
    { 1, 1 }, { 33, 1 }, { 6, 2 }, { 12, 4 }, { 40, 8 }, { 48, 16 }, { 96, 32 }, { 576, 64 }, { 640, 128 },
    { 1536, 512 }, { 512, 512 }, { 1024, 1024 },
};

/* The sign of entry (i, j) is the parity of the bits that i and j share. log2(B) sums, each rounded, and the unit:
 * below 12 halves of an ulp of a row's largest. */
static void ref_is_the_hadamard_matrix(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t C = shape[i].C, B = shape[i].B;
        float *x = check_randn(C, 1), *y = check_fenced(C * sizeof *y), *want = check_fenced(C * sizeof *want);
        for (size_t c = 0; c < C; c++) {
            double s = 0;
            for (size_t k = 0; k < B; k++)
                s += (__builtin_parityl(k & (c % B)) ? -1.0 : 1.0) * x[c / B * B + k];
            want[c] = (float)(s / sqrt((double)B));
        }
        gr_rotate_row_ref(y, x, C, B);
        CHECK_CLOSE(y, want, C, 6 * FLT_EPSILON);
    }
}

static void every_build_has_the_bits_of_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t C = shape[i].C, B = shape[i].B;
        float *x = check_randn(C, 1), *y = check_fenced(C * sizeof *y), *want = check_fenced(C * sizeof *want);
        gr_rotate_row_ref(want, x, C, B);
        EACH_CPU {
            memset(y, 0, C * sizeof *y);
            check_op->rotate_row(y, x, C, B);
            assert_memory_equal(y, want, C * sizeof *y);
            memcpy(y, x, C * sizeof *y);
            check_op->rotate_row(y, y, C, B);             /* in place */
            assert_memory_equal(y, want, C * sizeof *y);
        }
    }
}

/* What it is for: one large channel of 64 becomes 64 of an eighth. */
static void an_outlier_is_shared_out(void **state)
{
    float x[64] = { [17] = 80 }, y[64];

    (void)state;
    gr_rotate_row_ref(y, x, 64, 64);
    for (size_t c = 0; c < 64; c++)
        assert_true(fabsf(y[c]) == 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_hadamard_matrix),
        cmocka_unit_test(every_build_has_the_bits_of_ref),
        cmocka_unit_test(an_outlier_is_shared_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
