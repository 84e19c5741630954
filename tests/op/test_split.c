/* test_split.c - every build against the reference to the bit, and the reference against what rounding means. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

static const size_t width[] = { 1, 7, 8, 9, 15, 16, 17, 576, 4097 };

static float value(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static float from_bits(uint32_t u)
{
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

/* A bfloat16 has 8 bits: half of its last is 2^-8 of the power of two below x. What is left is below that power times
 * 2^-8, so half of its last bit is 2^-17 of x at most. */
static void hi_and_lo_are_the_nearest(void **state)
{
    enum { N = 4096 };
    float *x = check_randn(N, 1);
    uint16_t *hi = check_fenced(N * sizeof *hi), *lo = check_fenced(N * sizeof *lo);

    (void)state;
    gr_split_ref(hi, lo, x, N);
    for (size_t i = 0; i < N; i++) {
        double rest = (double)x[i] - value(hi[i]);
        assert_true(fabs(rest) <= ldexp(fabs((double)x[i]), -8));
        assert_true(fabs(rest) <= fabs((double)x[i] - value((uint16_t)(hi[i] + 1))));
        assert_true(fabs(rest) <= fabs((double)x[i] - value((uint16_t)(hi[i] - 1))));
        assert_true(fabs(rest - value(lo[i])) <= ldexp(fabs((double)x[i]), -17));
    }
}

static const struct { uint32_t x; uint16_t hi; } odd[] = {
    { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, { 0x3f808001, 0x3f81 },     /* halves: to even */
    { 0x80000000, 0x8000 }, { 0x7f800000, 0x7f80 }, { 0x00000001, 0x0000 },
    { 0x7fa00001, 0x7fe0 }, { 0xff800001, 0xffc0 },                             /* NaNs stay NaNs */
};

static void halves_go_to_even_and_no_number_stays_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(odd); i++) {
        float x = from_bits(odd[i].x);
        uint16_t hi;
        gr_split_ref(&hi, NULL, &x, 1);
        assert_int_equal(hi, odd[i].hi);
    }
}

static void every_build_has_the_bits_of_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t n = width[i];
        float *x = check_randn(n, i + 1);
        uint16_t *hi = check_fenced(n * sizeof *hi), *lo = check_fenced(n * sizeof *lo);
        uint16_t *want = check_fenced(n * sizeof *want), *rest = check_fenced(n * sizeof *rest);
        for (size_t k = 0; k < n && n > GR_COUNT(odd); k += 3)
            x[k] = from_bits(odd[k % GR_COUNT(odd)].x);
        gr_split_ref(want, rest, x, n);
        EACH_CPU {
            memset(hi, 0, n * sizeof *hi);
            check_op->split(hi, NULL, x, n);
            assert_memory_equal(hi, want, n * sizeof *hi);
            memset(hi, 0, n * sizeof *hi);
            check_op->split(hi, lo, x, n);
            assert_memory_equal(hi, want, n * sizeof *hi);
            for (size_t k = 0; k < n; k++)                  /* of infinity no number is left, of any sign */
                assert_true(lo[k] == rest[k] || (isnan(value(lo[k])) && isnan(value(rest[k]))));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hi_and_lo_are_the_nearest),
        cmocka_unit_test(halves_go_to_even_and_no_number_stays_none),
        cmocka_unit_test(every_build_has_the_bits_of_ref),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
