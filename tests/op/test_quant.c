/* test_quant.c - every build against the reference to the byte, and the way there and back. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

static const size_t width[] = { 1, 7, 8, 9, 15, 16, 17, 576, 1536, 4097 };

static void rows_come_back_within_half_a_step(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i];
        float *x = check_randn(C, i + 1), scale, top = 0;
        uint8_t *q = check_fenced(2 * C);
        gr_quant_row_ref(q, &scale, x, C);
        for (size_t c = 0; c < C; c++) {
            int back = 128 * (q[c] - GR_QUANT_ZERO) + q[C + c] - GR_QUANT_ZERO;
            top = fmaxf(top, fabsf(x[c]));
            assert_in_range(q[c], 1, 127);
            assert_in_range(q[C + c], 0, 128);
            /* half a step, and three roundings of numbers up to GR_QUANT_LIMIT steps */
            assert_true(fabs(back * (double)scale - x[c]) <= (0.5 + GR_QUANT_LIMIT * 1.5 * FLT_EPSILON) * scale);
        }
        assert_true(scale == top / GR_QUANT_LIMIT);
        gr_quant_byte_row_ref(q, &scale, x, C);
        for (size_t c = 0; c < C; c++) {
            assert_in_range(q[c], 1, 255);
            assert_true(fabs((q[c] - GR_QUANT_BYTE_ZERO) * (double)scale - x[c]) <=
                        (0.5 + GR_QUANT_BYTE * 1.5 * FLT_EPSILON) * scale);
        }
        assert_true(scale == top / GR_QUANT_BYTE);
    }
}

static void every_build_has_the_bytes_of_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i];
        float *x = check_randn(C, i + 1), scale, s;
        uint8_t *q = check_fenced(2 * C), *want = check_fenced(2 * C);
        int16_t *X = check_fenced(C * sizeof *X);
        for (size_t c = 0; c < C; c += 5)
            x[c] = (float)(int)c * 0.5f;                /* halves: to even */
        gr_quant_row_ref(want, &scale, x, C);
        EACH_CPU {
            memset(q, 0, 2 * C);
            check_op->quant_row(q, &s, x, C);
            assert_true(s == scale);
            assert_memory_equal(q, want, 2 * C);
            memset(X, 0, C * sizeof *X);
            check_op->quant16_row(X, &s, x, C);
            assert_true(s == scale);
            for (size_t c = 0; c < C; c++)
                assert_int_equal(X[c], 128 * (want[c] - GR_QUANT_ZERO) + want[C + c] - GR_QUANT_ZERO);
        }
        gr_quant_byte_row_ref(want, &scale, x, C);
        EACH_CPU {
            memset(q, 0, C);
            check_op->quant_byte_row(q, &s, x, C);
            assert_true(s == scale);
            assert_memory_equal(q, want, C);
        }
    }
}

static void weights_are_the_nearest_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i];
        float *x = check_randn(C, i + 1), scale, s, top = 0;
        int8_t *q = check_fenced(C), *want = check_fenced(C);
        int32_t sum = 0;
        for (size_t c = 0; c < C; c += 5)
            x[c] = (float)(int)(c % 300) * 0.5f;        /* halves: to even */
        assert_int_equal(gr_quant_weight_ref(want, &scale, x, C), gr_quant_weight_ref(q, &s, x, C));
        for (size_t c = 0; c < C; c++) {
            sum += want[c];
            top = fmaxf(top, fabsf(x[c]));
            assert_true(fabs(want[c] * (double)scale - x[c]) <= (0.5 + 127 * 1.5 * FLT_EPSILON) * scale);
        }
        assert_true(scale == top / 127);
        assert_true(s == scale);
        assert_int_equal(gr_quant_weight_ref(q, &s, x, C), sum);
    }
}

static void rows_of_nothing(void **state)
{
    static const float x[][3] = { { 0, 0, -0.0f }, { 1e-40f, -1e-40f, 0 }, { FLT_MIN, 0, FLT_MIN } };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(x); i++)
        EACH_CPU {
            uint8_t q[6] = { 0 };
            int16_t X[3] = { 1, 1, 1 };
            float scale = 1;
            check_op->quant_row(q, &scale, x[i], 3);
            assert_true(scale == 0);
            for (size_t c = 0; c < GR_COUNT(q); c++)
                assert_true(q[c] == GR_QUANT_ZERO);
            check_op->quant16_row(X, &scale, x[i], 3);
            assert_true(scale == 0 && !X[0] && !X[1] && !X[2]);
            scale = 1;
            check_op->quant_byte_row(q, &scale, x[i], 3);
            assert_true(scale == 0);
            for (size_t c = 0; c < 3; c++)
                assert_true(q[c] == GR_QUANT_BYTE_ZERO);
        }
}

static void sums_come_back_exactly(void **state)
{
    enum { N = 3 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t O = width[i], lda = O + 5, ldy = O + 2;
        int32_t *acc = check_fenced(((2 * N - 1) * lda + O) * sizeof *acc), *colsum = check_fenced(O * sizeof *colsum);
        float *scale = check_randn(N, 1), *wscale = check_randn(O, 2);
        float *y = check_fenced(((N - 1) * ldy + O) * sizeof *y);
        for (size_t n = 0; n < 2 * N; n++)
            for (size_t o = 0; o < O; o++)
                acc[n * lda + o] = (int32_t)(n * 2654435761u + o * 40503u * 65537u) / 2;
        for (size_t o = 0; o < O; o++)
            colsum[o] = (int32_t)(o * 977) - 300000;
        EACH_CPU {
            memset(y, 0, ((N - 1) * ldy + O) * sizeof *y);
            check_op->dequant_acc(y, ldy, acc, lda, scale, wscale, colsum, N, O);
            for (size_t n = 0; n < N; n++)
                for (size_t o = 0; o < O; o++) {
                    int32_t zero = GR_QUANT_ZERO * colsum[o], high = acc[2 * n * lda + o],
                            low = acc[(2 * n + 1) * lda + o];
                    assert_true(y[n * ldy + o] ==
                                (128 * (float)(high - zero) + (float)(low - zero)) * (scale[n] * wscale[o]));
                }
            assert_true(y[O] == 0);
            check_op->dequant_byte_acc(y, ldy, acc, lda, scale, wscale, colsum, N, O);
            for (size_t n = 0; n < N; n++)
                for (size_t o = 0; o < O; o++)
                    assert_true(y[n * ldy + o] == (float)(acc[n * lda + o] - GR_QUANT_BYTE_ZERO * colsum[o]) *
                                                  (scale[n] * wscale[o]));
            assert_true(y[O] == 0);
        }
    }
}

/* A row of activations or of weights with such a value: what is made of it is none either. */
static void what_is_no_number_stays_none(void **state)
{
    static const float bad[] = { NAN, -NAN, INFINITY, -INFINITY };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width) * GR_COUNT(bad); i++) {
        size_t C = width[i / GR_COUNT(bad)];
        float *x = check_randn(C, i), scale, s;
        uint8_t *q = check_fenced(2 * C), *want = check_fenced(2 * C);
        int16_t *X = check_fenced(C * sizeof *X);
        int8_t *w = check_fenced(C);
        x[C / 3] = bad[i % GR_COUNT(bad)];
        gr_quant_row_ref(want, &scale, x, C);
        assert_true(isnan(scale));
        EACH_CPU {
            check_op->quant_row(q, &s, x, C);
            assert_true(isnan(s));
            assert_memory_equal(q, want, 2 * C);
            s = 0;
            check_op->quant16_row(X, &s, x, C);
            assert_true(isnan(s));
            s = 0;
            check_op->quant_byte_row(q, &s, x, C);
            assert_true(isnan(s));
        }
        assert_int_equal(gr_quant_weight_ref(w, &s, x, C), 0);
        assert_true(isnan(s));
        for (size_t c = 0; c < C; c++)
            assert_int_equal(w[c], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back_within_half_a_step),
        cmocka_unit_test(every_build_has_the_bytes_of_ref),
        cmocka_unit_test(weights_are_the_nearest_bytes),
        cmocka_unit_test(rows_of_nothing),
        cmocka_unit_test(sums_come_back_exactly),
        cmocka_unit_test(what_is_no_number_stays_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
