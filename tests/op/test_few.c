/* test_few.c - every build of the products of few rows against the reference, and a row's bits in any company. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "base/random.h"
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

/* Of weights of two bytes the bits that they have in float32, alone and among other rows. */
static void halves_have_the_bits_of_their_float32(void **state)
{
    (void)state;
    for (gr_dtype type = GR_F16; type <= GR_BF16; type++)
        for (size_t i = 0; i < GR_COUNT(shape); i++) {
            size_t O = shape[i].O, K = shape[i].K, ldx = K + 3;
            uint16_t *half = check_fenced(O * K * sizeof *half);
            gr_mat w = { half, K, type };
            float *x = check_randn((M - 1) * ldx + K, 1), *all = check_fenced(O * K * sizeof *all);
            float *want = check_fenced(M * O * sizeof *want), *got = check_fenced(M * O * sizeof *got);
            for (size_t k = 0; k < O * K; k++)      /* finite, and of both signs */
                half[k] = (uint16_t)((gr_random_at(2, k) & 0x83ff) | (type == GR_F16 ? 0x2c00 : 0x3c00));
            gr_dequant(all, half, type, O * K);
            EACH_CPU {
                check_op->few_rows(MAT(want, O), MAT(x, ldx), M, MAT(all, K), O, K);
                for (size_t m = 0, n; m < M; m += n) {
                    n = gr_min(1 + m % 6, M - m);
                    check_op->few_rows(MAT(got + m * O, O), MAT(x + m * ldx, ldx), n, w, O, K);
                }
                if (memcmp(got, want, M * O * sizeof *got))
                    fail_msg("%s, K %zu: %g, wanted %g", gr_dtype_name(type), K, (double)got[0], (double)want[0]);
            }
        }
}

/* Panels of every width, any number of rows and outputs. */
static void bytes_add_up_to_those_of_ref(void **state)
{
    static const struct { size_t O, K; } of[] = { { 1, 1 }, { 16, 64 }, { 37, 100 }, { 130, 67 }, { 64, 1536 } };
    enum { N = 2 * M + 1 };

    (void)state;
    for (size_t P = 16; P <= 64; P += 16)
        for (size_t i = 0; i < GR_COUNT(of); i++) {
            size_t O = of[i].O, K = of[i].K, panels = gr_round_up(O, P) / P, ld = O + 3;
            int8_t *w = check_fenced(panels * gr_few_panel_bytes(P, K));
            uint8_t *q = check_fenced(N * K + 3);
            int32_t *acc = check_fenced(N * ld * sizeof *acc), *want = check_fenced(N * ld * sizeof *want);
            for (size_t k = 0; k < N * K; k++)
                q[k] = (uint8_t)(gr_random_at(1, k) % 129);
            for (size_t o = 0; o < O; o++)
                for (size_t k = 0; k < K; k++)
                    w[o / P * gr_few_panel_bytes(P, K) + (k / 4 * P + o % P) * 4 + k % 4] =
                        (int8_t)gr_random_at(2, o * K + k);
            memset(want, 1, N * ld * sizeof *want);
            gr_few_bytes_ref(want, ld, q, N, w, P, O, K);
            EACH_CPU {
                memset(acc, 1, N * ld * sizeof *acc);
                for (size_t n = 0, some; n < N; n += some) {
                    some = gr_min(1 + n % 7, N - n);
                    check_op->few_bytes(acc + n * ld, ld, q + n * K, some, w, P, O, K);
                }
                assert_memory_equal(acc, want, N * ld * sizeof *acc);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_agree_with_ref), cmocka_unit_test(cols_agree_with_ref),
                                         cmocka_unit_test(halves_have_the_bits_of_their_float32),
                                         cmocka_unit_test(bytes_add_up_to_those_of_ref) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
