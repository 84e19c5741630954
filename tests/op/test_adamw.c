/* test_adamw.c - AdamW's reference against its formula in long double, every build against the reference to the bit,
 * and what rounding by chance does on average. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t count[] = { 1, 7, 8, 15, 16, 17, 33, 1000 };
static double squares(gr_squares_fn *fn, const float *x, size_t n)
{
    double sum;

    fn(NULL, x, n, &sum);
    return sum;
}

static const gr_adamw_rule rule = { .scale = 0.5f, .b1 = 0.1f, .b2 = 0.999f, .c2 = 0.001f, .eps = 1e-8f,
                                    .keep = 0.9999f, .size = 3e-3f, .root = 0.25f };

struct values { float *w, *m, *v, *g; uint16_t *half; };

static struct values make(size_t n)
{
    struct values x = { check_randn(n, 1), check_randn(n, 2), check_randn(n, 3), check_randn(n, 4),
                        check_fenced(n * sizeof *x.half) };

    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        x.v[i] *= x.v[i];
        memcpy(&u, x.w + i, sizeof u);
        x.half[i] = (uint16_t)(u >> 16);
    }
    return x;
}

/* Four roundings of m and of v, of terms no larger than 1 and 4 standard deviations; w moves by 3e-3 m / (4 sqrt(v)),
 * which is up to a few ulp of w off where v is small, and within one where it is not. */
static void ref_is_the_formula(void **state)
{
    enum { N = 1000 };
    struct values x = make(N), y = make(N);

    (void)state;
    gr_adamw_f32_ref(NULL, x.w, x.m, x.v, x.g, N, &rule);
    for (size_t i = 0; i < N; i++) {
        long double g = (long double)rule.scale * y.g[i], m = y.m[i] + (g - y.m[i]) * rule.b1;
        long double v = (long double)y.v[i] * rule.b2 + g * g * rule.c2;
        long double step = rule.size * m / (sqrtl(v) / rule.root + rule.eps);
        long double w = y.w[i] * (long double)rule.keep - step;
        assert_true(fabsl(x.m[i] - m) <= 4 * 4 * FLT_EPSILON);
        assert_true(fabsl(x.v[i] - v) <= 4 * FLT_EPSILON * v);
        assert_true(fabsl(x.w[i] - w) <= 8 * FLT_EPSILON * (fabsl(w) + fabsl(step)));
    }
}

static void every_build_has_the_same_bits(void **state)
{
    (void)state;
    for (size_t k = 0; k < GR_COUNT(count); k++) {
        size_t n = count[k];
        EACH_DEVICE {
            struct values a = make(n), b = make(n);
            assert_true(squares(check_op->squares, a.g, n) == squares(gr_squares_ref, a.g, n));
            gr_adamw_f32_ref(NULL, a.w, a.m, a.v, a.g, n, &rule);
            check_op->adamw_f32(NULL, b.w, b.m, b.v, b.g, n, &rule);
            assert_memory_equal(a.w, b.w, n * sizeof *a.w);
            gr_adamw_bf16_ref(NULL, a.half, a.m, a.v, a.g, n, &rule, 0x12345678, 0xfffffff0);
            check_op->adamw_bf16(NULL, b.half, b.m, b.v, b.g, n, &rule, 0x12345678, 0xfffffff0);
            assert_memory_equal(a.half, b.half, n * sizeof *a.half);
            assert_memory_equal(a.m, b.m, n * sizeof *a.m);
            assert_memory_equal(a.v, b.v, n * sizeof *a.v);
        }
    }
}

static void squares_are_summed_in_double(void **state)
{
    enum { N = 100003 };
    const float *x = check_randn(N, 5);
    long double want = 0;

    (void)state;
    for (size_t i = 0; i < N; i++)
        want += (long double)x[i] * x[i];
    EACH_DEVICE
        assert_true(fabsl(squares(check_op->squares, x, N) - want) <= 1e-12L * want);
}

/* One value, 2^16 places: a step of a tenth of its last digit moves it up in a tenth of them. The count of those has a
 * standard deviation of sqrt(2^16 0.1 0.9) = 77. Another key chooses others: agreement in 0.82 of the places, with a
 * deviation of 98. */
static void a_small_step_is_taken_on_average(void **state)
{
    enum { N = 1 << 16 };
    static uint16_t w[N], other[N];
    static float m[N], v[N], g[N];
    const gr_adamw_rule r = { .scale = 1, .b1 = 1, .b2 = 0, .c2 = 1, .eps = 0, .keep = 1, .size = -0.1f / 128,
                              .root = 1 };

    (void)state;
    EACH_DEVICE {
        long up = 0, same = 0;
        for (size_t i = 0; i < N; i++) {
            w[i] = other[i] = 0x3f80;           /* 1; its last digit is 1/128 */
            g[i] = 1;                           /* m / sqrt(v) is 1 */
            m[i] = v[i] = 0;
        }
        check_op->adamw_bf16(NULL, w, m, v, g, N, &r, 99, 0);
        check_op->adamw_bf16(NULL, other, m, v, g, N, &r, 100, 0);
        for (size_t i = 0; i < N; i++) {
            assert_true(w[i] == 0x3f80 || w[i] == 0x3f81);
            up += w[i] == 0x3f81;
            same += w[i] == other[i];
        }
        assert_true(labs(up - N / 10) < 5 * 77);
        assert_true(labs(same - N * 82 / 100) < 5 * 98);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(every_build_has_the_same_bits),
        cmocka_unit_test(squares_are_summed_in_double),
        cmocka_unit_test(a_small_step_is_taken_on_average),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
