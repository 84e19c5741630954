/* test_few.c - every build of the products of few rows against the reference, and a row's bits in any company. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 3, 15 }, { 16, 16 }, { 37, 100 }, { 130, 33 }, { 5, 1031 },
};
enum { M = 11 };

/* As derived in test_matmul.c. */
static double sum_tol(size_t n)
{
    return (8 + (double)n / 8) * FLT_EPSILON;
}

static void rows_agree_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t O = shape[i].O, K = shape[i].K, ldx = K + 3, ldy = O + 2, ldw = K + 1;
        float *x = check_randn((M - 1) * ldx + K, 1), *w = check_randn((O - 1) * ldw + K, 2);
        float *y = check_fenced(((M - 1) * ldy + O) * sizeof *y), *want = check_fenced(((M - 1) * ldy + O) * sizeof *y);
        float *one = check_fenced(O * sizeof *one);
        gr_few_rows_ref(MAT(want, ldy), MAT(x, ldx), M, MAT(w, ldw), O, K);
        EACH_CPU {
            memset(y, 0, ((M - 1) * ldy + O) * sizeof *y);
            check_op->few_rows(MAT(y, ldy), MAT(x, ldx), M, MAT(w, ldw), O, K);
            CHECK_CLOSE(y, want, (M - 1) * ldy + O, sum_tol(K));
            for (size_t m = 0; m < M; m++) {
                check_op->few_rows(MAT(one, O), MAT(x + m * ldx, ldx), 1, MAT(w, ldw), O, K);
                assert_memory_equal(one, y + m * ldy, O * sizeof *one);
                check_op->few_rows(MAT(one, O), MAT(x + m * ldx, ldx), 1, MAT(w, ldw), 1, K);
                assert_memory_equal(one, y + m * ldy, sizeof *one);
                assert_true(m + 1 == M || y[m * ldy + O] == 0);
            }
        }
    }
}

static void cols_agree_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (int add = 0; add < 2; add++) {
            size_t O = shape[i].O, K = shape[i].K, ldx = K + 3, ldy = O + 2, ldw = O + 1;
            float *x = check_randn((M - 1) * ldx + K, 1), *w = check_randn((K - 1) * ldw + O, 2);
            size_t n = (M - 1) * ldy + O;
            float *y0 = check_randn(n, 3), *y = check_fenced(n * sizeof *y), *want = check_fenced(n * sizeof *want);
            memcpy(want, y0, n * sizeof *want);
            gr_few_cols_ref(MAT(want, ldy), MAT(x, ldx), M, MAT(w, ldw), O, K, add);
            EACH_CPU {
                memcpy(y, y0, n * sizeof *y);
                check_op->few_cols(MAT(y, ldy), MAT(x, ldx), M, MAT(w, ldw), O, K, add);
                CHECK_CLOSE(y, want, n, sum_tol(K));
                for (size_t m = 0; m < M; m++) {
                    float *one = check_fenced(O * sizeof *one);
                    memcpy(one, y0 + m * ldy, O * sizeof *one);
                    check_op->few_cols(MAT(one, O), MAT(x + m * ldx, ldx), 1, MAT(w, ldw), O, K, add);
                    assert_memory_equal(one, y + m * ldy, O * sizeof *one);
                    memcpy(one, y0 + m * ldy, O * sizeof *one);
                    check_op->few_cols(MAT(one + O - 1, O), MAT(x + m * ldx, ldx), 1, MAT(w + O - 1, ldw), 1, K, add);
                    assert_memory_equal(one + O - 1, y + m * ldy + O - 1, sizeof *one);
                    assert_true(m + 1 == M || y[m * ldy + O] == y0[m * ldy + O]);
                }
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_agree_with_ref), cmocka_unit_test(cols_agree_with_ref) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
