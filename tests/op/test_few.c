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

/* Random bytes as O rows of K values of a type; the scales of a block are halves of about 0.06 to 0.12. */
static unsigned char *random_blocks(gr_dtype type, size_t O, size_t K)
{
    static const struct { gr_dtype type; size_t at[2]; } scale[] = {
        { GR_Q5_0, { 0, 0 } }, { GR_Q5_1, { 0, 2 } }, { GR_Q4_K, { 0, 2 } }, { GR_Q5_K, { 0, 2 } },
        { GR_Q6_K, { 208, 208 } },
    };
    size_t row, bytes = gr_dtype_bytes(type);
    unsigned char *w;

    assert_true(gr_dtype_row_bytes(type, K, &row));
    w = check_fenced(O * row);
    for (size_t i = 0; i < O * row; i++)
        w[i] = (unsigned char)gr_random_at(type, i);
    for (size_t i = 0; i < O * row; i += 2)
        if (type == GR_F16 || type == GR_BF16)
            w[i + 1] = (unsigned char)((w[i + 1] & 0x83) | (type == GR_F16 ? 0x2c : 0x3c));
    for (size_t s = 0; s < GR_COUNT(scale); s++)
        for (size_t i = 0; i < O * row && scale[s].type == type; i += bytes)
            for (size_t k = 0; k < 2; k++)
                w[i + scale[s].at[k] + 1] = 0x2c | (w[i + scale[s].at[k] + 1] & 3);
    return w;
}

/* Of each type the bits that the same weights have in float32, alone and among other rows. */
static void blocks_have_the_bits_of_their_float32(void **state)
{
    static const size_t width[] = { 256, 768, 1536 };
    enum { O = 11 };

    (void)state;
    for (gr_dtype type = GR_F16; type < GR_DTYPES; type++)
        for (size_t i = 0; i < GR_COUNT(width); i++) {
            size_t K = width[i], row, ldx = K + 3;
            unsigned char *w = random_blocks(type, O, K);
            float *x = check_randn((M - 1) * ldx + K, 1), *all = check_fenced(O * K * sizeof *all);
            float *want = check_fenced(M * O * sizeof *want), *got = check_fenced(M * O * sizeof *got);
            if (gr_digits_has(type, K))                     /* which digits.h multiplies instead */
                continue;
            assert_true(gr_dtype_row_bytes(type, K, &row));
            gr_dequant(all, w, type, O * K);
            EACH_CPU {
                if (!check_op->cpu)                         /* the reference has no blocks */
                    continue;
                check_op->few_rows(MAT(want, O), MAT(x, ldx), M, MAT(all, K), O, K);
                for (size_t m = 0, n; m < M; m += n) {
                    n = gr_min(1 + m % 6, M - m);
                    assert_true(check_op->few_blocks(MAT(got + m * O, O), MAT(x + m * ldx, ldx), n, w, type, O, K));
                }
                if (memcmp(got, want, M * O * sizeof *got))
                    fail_msg("%s, K %zu: %g, wanted %g", gr_dtype_name(type), K, (double)got[0], (double)want[0]);
                assert_false(check_op->few_blocks(MAT(got, O), MAT(x, ldx), 1, w, type, O, 31));
                assert_false(check_op->few_blocks(MAT(got, O), MAT(x, ldx), 1, w, GR_F32, O, K));
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(rows_agree_with_ref), cmocka_unit_test(cols_agree_with_ref),
                                         cmocka_unit_test(blocks_have_the_bits_of_their_float32) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
