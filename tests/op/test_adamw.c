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

/* w, m and v in float32, and in bfloat16 the same cut off; g. */
struct values { float *w, *m, *v, *g; uint16_t *half[3]; };

static struct values make(size_t n)
{
    struct values x = { check_randn(n, 1), check_randn(n, 2), check_randn(n, 3), check_randn(n, 4), { 0 } };
    const float *from[] = { x.w, x.m, x.v };

    for (size_t i = 0; i < n; i++)
        x.v[i] *= x.v[i];
    for (size_t k = 0; k < GR_COUNT(x.half); k++) {
        x.half[k] = check_fenced(n * sizeof *x.half[k]);
        for (size_t i = 0; i < n; i++) {
            uint32_t u;
            memcpy(&u, from[k] + i, sizeof u);
            x.half[k][i] = (uint16_t)(u >> 16);
        }
    }
    return x;
}

/* type: of w; kept: of m and v. */
static gr_adamw_slice slice(const struct values *x, size_t n, gr_dtype type, gr_dtype kept)
{
    bool half = kept == GR_BF16;

    return (gr_adamw_slice){ .w = type == GR_BF16 ? (void *)x->half[0] : x->w, .m = half ? (void *)x->half[1] : x->m,
                             .v = half ? (void *)x->half[2] : x->v, .type = type, .kept = kept, .g = x->g, .n = n,
                             .rule = rule, .key = { 0x12345678, 0x9abcdef0 }, .at = 0xfffffff0 };
}

/* Four roundings of m and of v, of terms no larger than 1 and 4 standard deviations; w moves by 3e-3 m / (4 sqrt(v)),
 * which is up to a few ulp of w off where v is small, and within one where it is not. */
static void ref_is_the_formula(void **state)
{
    enum { N = 1000 };
    struct values x = make(N), y = make(N);
    gr_adamw_slice f32 = slice(&x, N, GR_F32, GR_F32);

    (void)state;
    gr_adamw_ref(&f32);
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
            for (size_t t = 0; t < 4; t++) {
                gr_dtype type = t % 2 ? GR_BF16 : GR_F32, kept = t / 2 ? GR_BF16 : GR_F32;
                gr_adamw_slice one = slice(&a, n, type, kept), other = slice(&b, n, type, kept);
                gr_adamw_ref(&one);
                check_op->adamw(&other);
                assert_memory_equal(one.w, other.w, n * gr_dtype_bytes(type));
                assert_memory_equal(one.m, other.m, n * gr_dtype_bytes(kept));
                assert_memory_equal(one.v, other.v, n * gr_dtype_bytes(kept));
            }
        }
    }
}

/* What is stored moves the step as it is, and is rounded behind it: the w of the first step is float32's, and each
 * moment one of the two neighbours of float32's. */
static void moments_are_rounded_behind_the_step(void **state)
{
    enum { N = 1000 };

    (void)state;
    EACH_DEVICE {
        struct values x = make(N), y = make(N);
        gr_adamw_slice half = slice(&x, N, GR_F32, GR_BF16), whole = slice(&y, N, GR_F32, GR_F32);
        for (size_t i = 0; i < N; i++) {            /* which both can hold */
            uint32_t m = (uint32_t)y.half[1][i] << 16, v = (uint32_t)y.half[2][i] << 16;
            memcpy(y.m + i, &m, sizeof m);
            memcpy(y.v + i, &v, sizeof v);
        }
        check_op->adamw(&half);
        check_op->adamw(&whole);
        assert_memory_equal(x.w, y.w, N * sizeof *x.w);
        for (size_t k = 0; k < 2; k++) {
            long up = 0, down = 0;
            for (size_t i = 0; i < N; i++) {
                uint32_t u;
                memcpy(&u, (k ? y.v : y.m) + i, sizeof u);
                up += x.half[1 + k][i] == (uint16_t)((u >> 16) + 1);
                down += x.half[1 + k][i] == (uint16_t)(u >> 16);
            }
            assert_int_equal(up + down, N);
            assert_true(up > N / 20 && down > N / 20);      /* v fell by an eighth of its last digit or more */
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
        check_op->adamw(&(gr_adamw_slice){ w, m, v, GR_BF16, GR_F32, g, N, r, { 99 }, 0 });
        check_op->adamw(&(gr_adamw_slice){ other, m, v, GR_BF16, GR_F32, g, N, r, { 100 }, 0 });
        for (size_t i = 0; i < N; i++) {
            assert_true(w[i] == 0x3f80 || w[i] == 0x3f81);
            up += w[i] == 0x3f81;
            same += w[i] == other[i];
        }
        assert_true(labs(up - N / 10) < 5 * 77);
        assert_true(labs(same - N * 82 / 100) < 5 * 98);
    }
}

/* Without gradients v falls by 0.001 of itself in a step, a quarter of a bfloat16's last digit or less, which rounding
 * to the nearest would never do. Rounded by chance it stays what it is on average: over 0.999^s it is a martingale, and
 * as a step rounds to one of two neighbours, 2^-7 of v apart at most, its square grows by 1 + 2^-14 / 4 a step at most.
 * After 2,000 steps its variance is below e^(2000 / 65536) - 1 = 0.031, its deviation 0.176, and that of the mean of
 * 2^12 values a 64th of it. */
static void what_is_kept_in_two_bytes_falls_on_average(void **state)
{
    enum { N = 1 << 12, STEPS = 2000 };
    static uint16_t m[N], v[N];
    static float w[N], g[N];
    double mean = 0, want = pow(0.999, STEPS);
    const struct gr_kern *op = gr_kern_of(gr_kern_cpu());

    (void)state;
    for (size_t i = 0; i < N; i++)
        v[i] = 0x3f80;
    for (uint32_t s = 0; s < STEPS; s++)
        op->adamw(&(gr_adamw_slice){ w, m, v, GR_F32, GR_BF16, g, N, rule, { 0, s * 0x9e3779b9u }, 0 });
    for (size_t i = 0; i < N; i++) {
        uint32_t u = (uint32_t)v[i] << 16;
        float x;
        memcpy(&x, &u, sizeof x);
        mean += (double)x / N;
    }
    assert_true(fabs(mean - want) < 5 * 0.176 / 64 * want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(every_build_has_the_same_bits),
        cmocka_unit_test(squares_are_summed_in_double),
        cmocka_unit_test(a_small_step_is_taken_on_average),
        cmocka_unit_test(moments_are_rounded_behind_the_step),
        cmocka_unit_test(what_is_kept_in_two_bytes_falls_on_average),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
