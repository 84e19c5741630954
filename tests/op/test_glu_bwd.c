/* test_glu_bwd.c - the reference against differences of the forward in double, every build against the reference. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/grad.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 1, 15, 16, 17, 576, 1536, 4097 };
enum { N = 3 };

static double swiglu(void *arg)
{
    const double *x = arg;

    return x[2] * x[0] / (1 + exp(-x[0])) * x[1];
}

static double geglu(void *arg)
{
    const double *x = arg;

    return x[2] * 0.5 * x[0] * (1 + tanh(sqrt(2 / acos(-1)) * (x[0] + 0.044715 * x[0] * x[0] * x[0]))) * x[1];
}

static const struct {
    gr_glu_bwd_fn *ref;
    size_t kernel;                      /* its place in the table */
    double (*dot_forward)(void *);      /* dy y of (gate, up, dy) */
} unit[] = {
    { gr_swiglu_bwd_ref, offsetof(struct gr_kern, swiglu_bwd), swiglu },
    { gr_geglu_bwd_ref, offsetof(struct gr_kern, geglu_bwd), geglu },
};

static gr_glu_bwd_fn *kernel(size_t i)
{
    gr_glu_bwd_fn *fn;

    memcpy(&fn, (const char *)check_op + unit[i].kernel, sizeof fn);
    return fn;
}

/* One rounding at the end of a formula in double; the differences err by 1e-12 of numbers near 1. */
static void ref_is_the_derivative(void **state)
{
    enum { F = 2000 };
    float *gate = check_randn(F, 1), *up = check_randn(F, 2), *dy = check_randn(F, 3), dgate[F], dup[F], want[2][F];

    (void)state;
    for (size_t i = 0; i < GR_COUNT(unit); i++) {
        unit[i].ref(NULL, MAT(dgate, F), MAT(dup, F), MAT(dy, F), MAT(gate, F), MAT(up, F), 1, F);
        for (size_t f = 0; f < F; f++) {
            double x[3] = { gate[f], up[f], dy[f] };
            want[0][f] = (float)grad_at(unit[i].dot_forward, x, x);
            want[1][f] = (float)grad_at(unit[i].dot_forward, x, x + 1);
        }
        CHECK_CLOSE(dgate, want[0], F, FLT_EPSILON);
        CHECK_CLOSE(dup, want[1], F, FLT_EPSILON);
    }
}

/* Each number by itself, up and dy of magnitude 1 here: dup as the forward in test_glu.c. In act' = s (1 + b (1 - s))
 * with b = gate h', s errs by exp's share e of itself, which b (1 - s) below 20 takes up to 1 - s as an absolute
 * error of e s (and of an ulp of 1) while s is not yet 1. */
static double tol(float gate)
{
    double e = 6 + 2 * 1.6 * fabs((double)gate) * (1 + 0.045 * gate * gate);

    return (e + fmin(20, fabs((double)gate) * (2 + gate * gate)) * (2 + e * exp(-fmax(0, gate)))) * FLT_EPSILON;
}

static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(unit); i++)
        for (size_t j = 0; j < GR_COUNT(width); j++) {
            size_t F = width[j], ld = F + 2, n = (N - 1) * ld + F;
            float *gate = check_randn(n, 1), *up = check_randn(n, 2), *dy = check_randn(n, 3);
            float *dgate = check_fenced(n * sizeof *dgate), *dup = check_fenced(n * sizeof *dup);
            float *want_g = check_fenced(n * sizeof *want_g), *want_u = check_fenced(n * sizeof *want_u);
            for (size_t k = 0; k < n; k++) {
                gate[k] *= 4;
                up[k] = dy[k] = up[k] < 0 ? -1 : 1;
            }
            unit[i].ref(NULL, MAT(want_g, ld), MAT(want_u, ld), MAT(dy, ld), MAT(gate, ld), MAT(up, ld), N, F);
            EACH_DEVICE {
                float *g = check_fenced(n * sizeof *g), *u = check_fenced(n * sizeof *u);
                memset(dgate, 0, n * sizeof *dgate);
                memset(dup, 0, n * sizeof *dup);
                kernel(i)(NULL, MAT(dgate, ld), MAT(dup, ld), MAT(dy, ld), MAT(gate, ld), MAT(up, ld), N, F);
                for (size_t k = 0; k < n; k++)
                    if (k % ld < F) {
                        assert_true(fabsf(dgate[k] - want_g[k]) <= tol(gate[k]));
                        CHECK_CLOSE(dup + k, want_u + k, 1, tol(gate[k]));
                    }
                memcpy(g, gate, n * sizeof *g);
                memcpy(u, up, n * sizeof *u);
                /* In place. */
                kernel(i)(NULL, MAT(g, ld), MAT(u, ld), MAT(dy, ld), MAT(g, ld), MAT(u, ld), N, F);
                for (size_t m = 0; m < N; m++) {
                    assert_memory_equal(g + m * ld, dgate + m * ld, F * sizeof *g);
                    assert_memory_equal(u + m * ld, dup + m * ld, F * sizeof *u);
                    assert_true(m + 1 == N || (dgate[m * ld + F] == 0 && dup[m * ld + F] == 0));
                }
            }
        }
}

/* Where exp, or a cube, over- or underflows: the slope is that of 0 or of gate. A NaN stays one. */
static void far_gates_are_closed_or_open(void **state)
{
    static const float gate[] = { -1e30f, -1e15f, -1000, -100, -95, NAN, 95, 100, 1000, 1e15f, 1e30f };
    enum { F = GR_COUNT(gate) };
    float up[F], dy[F], dgate[F], dup[F];

    (void)state;
    for (size_t f = 0; f < F; f++)
        up[f] = dy[f] = 1;
    for (size_t i = 0; i < GR_COUNT(unit); i++)
        EACH_DEVICE {
            kernel(i)(NULL, MAT(dgate, F), MAT(dup, F), MAT(dy, F), MAT(gate, F), MAT(up, F), 1, F);
            for (size_t f = 0; f < F; f++)
                if (isnan(gate[f]))
                    assert_true(isnan(dgate[f]) && isnan(dup[f]));
                else
                    assert_true(gate[f] > 0 ? dgate[f] == 1 && dup[f] == gate[f]
                                            : fabsf(dgate[f]) < 1e-35f && fabsf(dup[f]) < 1e-35f);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_derivative),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(far_gates_are_closed_or_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
