/* test_cap.c - the reference against its formula in long double and against differences, every build against the
 * reference. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/grad.h"
#include "op/on_gpu.h"
#include "op/op.h"

enum { N = 3 };
static const float cap[] = { 0.5f, 30, 50 };

/* From far below the cap to far above it. */
static float *numbers(size_t n, uint64_t seed)
{
    float *x = check_randn(n, seed);

    for (size_t i = 0; i < n; i++)
        x[i] *= i % 3 ? powf(10, (float)(i % 7) - 3) : 20;
    return x;
}

/* One rounding at the end of a formula in double. */
static void ref_is_the_formula(void **state)
{
    enum { V = 4097 };
    float *x = numbers(V, 1), *y = check_fenced(V * sizeof *y);

    (void)state;
    for (size_t c = 0; c < GR_COUNT(cap); c++) {
        gr_cap_fwd_ref(NULL, MAT(y, V), MAT(x, V), cap[c], 1, V);
        for (size_t v = 0; v < V; v++) {
            float want = (float)(cap[c] * tanhl((long double)x[v] / cap[c]));
            CHECK_CLOSE(y + v, &want, 1, FLT_EPSILON);
        }
    }
}

struct one { double x, cap, dy; };

static double capped(void *arg)
{
    const struct one *m = arg;

    return m->dy * m->cap * tanh(m->x / m->cap);
}

/* The slope is made of a y that was rounded: 1 - t^2 errs by an ulp of t^2, which is below 1. */
static void ref_is_the_derivative(void **state)
{
    enum { V = 500 };
    float *x = numbers(V, 2), *d = check_randn(V, 3), *y = check_fenced(V * sizeof *y);

    (void)state;
    for (size_t c = 0; c < GR_COUNT(cap); c++) {
        float *got = check_fenced(V * sizeof *got);
        memcpy(got, d, V * sizeof *got);
        gr_cap_fwd_ref(NULL, MAT(y, V), MAT(x, V), cap[c], 1, V);
        gr_cap_bwd_ref(NULL, MAT(got, V), MAT(y, V), cap[c], 1, V);
        for (size_t v = 0; v < V; v++) {
            struct one m = { x[v], cap[c], d[v] };
            float want;
            grad_all(&want, capped, &m, &m.x, 1);
            assert_true(fabs((double)got[v] - want) <= 4 * FLT_EPSILON * fmax(fabs((double)d[v]), 1e-3));
        }
    }
}

/* tanh errs by 3 eps, 1 / cap and two products by half of one each; where x / cap is large the tanh does not move. The
 * slope, 1 - t^2, errs by as much of 1. */
static void every_build_agrees_with_ref(void **state)
{
    static const size_t width[] = { 1, 15, 16, 17, 4097 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width) * GR_COUNT(cap); i++) {
        size_t V = width[i % GR_COUNT(width)], ld = V + 2, n = (N - 1) * ld + V;
        float c = cap[i / GR_COUNT(width)], *x = numbers(n, 4), *dy = check_randn(n, 5);
        float *want = check_fenced(n * sizeof *want), *dwant = check_fenced(n * sizeof *dwant);
        gr_cap_fwd_ref(NULL, MAT(want, ld), MAT(x, ld), c, N, V);
        memcpy(dwant, dy, n * sizeof *dwant);
        gr_cap_bwd_ref(NULL, MAT(dwant, ld), MAT(want, ld), c, N, V);
        EACH_DEVICE {
            float *y = check_fenced(n * sizeof *y), *d = check_fenced(n * sizeof *d);
            memcpy(y, x, n * sizeof *y);
            memcpy(d, dy, n * sizeof *d);
            check_op->cap_fwd(NULL, MAT(y, ld), MAT(y, ld), c, N, V);           /* in place */
            check_op->cap_bwd(NULL, MAT(d, ld), MAT(want, ld), c, N, V);
            for (size_t k = 0; k < n; k++)
                if (k % ld < V) {
                    CHECK_CLOSE(y + k, want + k, 1, 5 * FLT_EPSILON);
                    assert_true(fabs((double)d[k] - dwant[k]) <= 4 * FLT_EPSILON * fabs((double)dy[k]));
                } else {
                    assert_true(y[k] == x[k] && d[k] == dy[k]);
                }
        }
    }
}

static void far_numbers_reach_the_cap_and_nans_stay(void **state)
{
    static const float far[] = { -INFINITY, -1e30f, -1000, -0.0f, 0, 1000, 1e30f, INFINITY, NAN };
    enum { V = GR_COUNT(far) };
    float y[V];

    (void)state;
    EACH_DEVICE {
        check_op->cap_fwd(NULL, MAT(y, V), MAT((float *)(uintptr_t)far, V), 30, 1, V);
        for (size_t v = 0; v + 1 < V; v++)
            assert_true(y[v] >= -30 && y[v] <= 30 && y[v] == (fabsf(far[v]) > 0 ? copysignf(30, far[v]) : 0));
        assert_true(isnan(y[V - 1]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(ref_is_the_derivative),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(far_numbers_reach_the_cap_and_nans_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
