/* test_glu.c - the reference against its formula in long double, every build against the reference. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 1, 15, 16, 17, 576, 1536, 4097 };
enum { N = 3 };

static long double swiglu(long double g, long double u)
{
    return g / (1 + expl(-g)) * u;
}

static long double geglu(long double g, long double u)
{
    return 0.5L * g * (1 + tanhl(sqrtl(2 / acosl(-1)) * (g + 0.044715L * g * g * g))) * u;
}

static const struct {
    gr_glu_fwd_fn *ref;
    size_t kernel;                      /* its place in the table */
    long double (*formula)(long double, long double);
} unit[] = {
    { gr_swiglu_fwd_ref, offsetof(struct gr_kern, swiglu_fwd), swiglu },
    { gr_geglu_fwd_ref, offsetof(struct gr_kern, geglu_fwd), geglu },
};

static gr_glu_fwd_fn *kernel(size_t i)
{
    gr_glu_fwd_fn *fn;

    memcpy(&fn, (const char *)check_op + unit[i].kernel, sizeof fn);
    return fn;
}

/* One rounding at the end of a formula in double. */
static void ref_is_the_formula(void **state)
{
    enum { F = 4097 };
    float *gate = check_randn(F, 1), *up = check_randn(F, 2), *y = check_fenced(F * sizeof *y);

    (void)state;
    for (size_t i = 0; i < GR_COUNT(unit); i++) {
        unit[i].ref(NULL, MAT(y, F), MAT(gate, F), MAT(up, F), 1, F);
        for (size_t f = 0; f < F; f++) {
            float want = (float)unit[i].formula(gate[f], up[f]);
            CHECK_CLOSE(y + f, &want, 1, FLT_EPSILON);
        }
    }
}

/* exp errs by 1.5 ulp, 1 + e, 1 / that, two products by half an ulp each: 4, and an ulp is at most FLT_EPSILON of
 * the number. GeGLU's h errs by 2 and so exp by 2 |h| more. Each number by itself, however small. */
static double tol(float gate)
{
    return (6 + 2 * 1.6 * fabs((double)gate) * (1 + 0.045 * gate * gate)) * FLT_EPSILON;
}

static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(unit); i++)
        for (size_t j = 0; j < GR_COUNT(width); j++) {
            size_t F = width[j], ld = F + 2, n = (N - 1) * ld + F;
            float *gate = check_randn(n, 1), *up = check_randn(n, 2), *y = check_fenced(n * sizeof *y);
            float *want = check_fenced(n * sizeof *want);
            for (size_t k = 0; k < n; k++)
                gate[k] *= 4;
            unit[i].ref(NULL, MAT(want, ld), MAT(gate, ld), MAT(up, ld), N, F);
            EACH_DEVICE {
                memset(y, 0, n * sizeof *y);
                kernel(i)(NULL, MAT(y, ld), MAT(gate, ld), MAT(up, ld), N, F);
                for (size_t k = 0; k < n; k++)
                    if (k % ld < F)
                        CHECK_CLOSE(y + k, want + k, 1, tol(gate[k]));
                memcpy(want, gate, n * sizeof *want);
                kernel(i)(NULL, MAT(want, ld), MAT(want, ld), MAT(up, ld), N, F);            /* in place */
                for (size_t m = 0; m < N; m++)
                    assert_memory_equal(want + m * ld, y + m * ld, F * sizeof *y);
                unit[i].ref(NULL, MAT(want, ld), MAT(gate, ld), MAT(up, ld), N, F);
            }
        }
}

/* Where exp under- and overflows. */
static void far_gates_are_closed_or_open(void **state)
{
    static const float gate[] = { -1e30f, -1000, -100, -90, -88.5f, -0.0f, 0, 88.5f, 90, 100, 1000, 1e30f };
    enum { F = GR_COUNT(gate) };
    float up[F], y[F];

    (void)state;
    for (size_t f = 0; f < F; f++)
        up[f] = 1;
    for (size_t i = 0; i < GR_COUNT(unit); i++)
        EACH_DEVICE {
            kernel(i)(NULL, MAT(y, F), MAT(gate, F), MAT(up, F), 1, F);
            for (size_t f = 0; f < F; f++)
                assert_true(gate[f] > 0 ? y[f] == gate[f] : fabsf(y[f]) < 1e-35f);
        }
}

static void a_nan_stays_one(void **state)
{
    float gate[20], up[20], y[20];

    (void)state;
    for (size_t f = 0; f < 20; f++)
        gate[f] = up[f] = f == 7 ? NAN : 1;
    for (size_t i = 0; i < GR_COUNT(unit); i++)
        EACH_DEVICE {
            kernel(i)(NULL, MAT(y, 20), MAT(gate, 20), MAT(up, 20), 1, 20);
            for (size_t f = 0; f < 20; f++)
                assert_true(isnan(y[f]) == (f == 7));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(far_gates_are_closed_or_open),
        cmocka_unit_test(a_nan_stays_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
