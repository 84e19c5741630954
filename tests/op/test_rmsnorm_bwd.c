/* test_rmsnorm_bwd.c - the reference against differences of a forward in double, every build against the reference,
 * and that calls add up to the bits of one. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/grad.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 1, 15, 16, 17, 63, 64, 130, 576, 1536, 4097 };
enum { N = 3 };

/* sum dy y over all of a small case, in double. */
struct small { double x[N * 17], w[17], dy[N * 17], bias; size_t C; };

static double dot_forward(void *arg)
{
    const struct small *s = arg;
    double sum = 0;

    for (size_t n = 0; n < N; n++) {
        double ss = 0;
        for (size_t c = 0; c < s->C; c++)
            ss += s->x[n * s->C + c] * s->x[n * s->C + c];
        for (size_t c = 0; c < s->C; c++)
            sum += s->dy[n * s->C + c] * s->x[n * s->C + c] / sqrt(ss / (double)s->C + 1e-2) * (s->w[c] + s->bias);
    }
    return sum;
}

/* r comes rounded, and enters dx cubed; dw's N sums round to float32. */
static void ref_is_the_derivative(void **state)
{
    (void)state;
    for (size_t C = 1; C <= 17; C++) {
        float *x = check_randn(N * C, 1), *w = check_randn(C, 2), *dy = check_randn(N * C, 3), y[N * 17], r[N];
        float dx[N * 17], dw[17] = { 0 }, want[N * 17];
        struct small s = { .bias = (double)(C % 2), .C = C };
        grad_widen(s.x, x, N * C);
        grad_widen(s.w, w, C);
        grad_widen(s.dy, dy, N * C);
        gr_rmsnorm_fwd_ref(NULL, MAT(y, C), r, MAT(x, C), &(gr_norm){ w, (float)s.bias, 1e-2f, C }, N);
        gr_rmsnorm_bwd_ref(NULL, MAT(dx, C), dw, MAT(dy, C), MAT(x, C), r, &(gr_norm){ w, (float)s.bias, 0, C }, N,
                           false);
        grad_all(want, dot_forward, &s, s.x, N * C);
        CHECK_CLOSE(dx, want, N * C, 4 * FLT_EPSILON);
        grad_all(want, dot_forward, &s, s.w, C);
        CHECK_CLOSE(dw, want, C, (1 + N) * FLT_EPSILON);
    }
}

/* A row is alone: everything else about it is in these arguments. */
static void backward(gr_rmsnorm_bwd_fn *fn, float *dx, float *dw, const float *dy, const float *x, const float *r,
                     const float *w, size_t C, size_t first, size_t n)
{
    fn(NULL, MAT(dx + first * (C + 1), C + 1), dw, MAT(dy + first * (C + 2), C + 2), MAT(x + first * (C + 3), C + 3),
       r + first, &(gr_norm){ w, 1, 0, C }, n, true);
}

/* The mean of g x sums C terms of magnitude |g x|, each lane's share of C/LANES at least C/16 at most C, and errs
 * by C/LANES halves of an ulp of the sum of magnitudes over C, about 1; x k of it with x below 5, k r below 1. The
 * rest are six roundings of numbers not above the largest dx. */
static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i], n = (N - 1) * (C + 1) + C;
        float *dy = check_randn((N - 1) * (C + 2) + C, 1), *x = check_randn((N - 1) * (C + 3) + C, 2);
        float *w = check_randn(C, 3), r[N] = { 1.1f, 0.8f, 1.25f }, *dx0 = check_randn(n, 4), *dw0 = check_randn(C, 5);
        float *want = check_fenced(n * sizeof *want), *dx = check_fenced(n * sizeof *dx);
        float *want_w = check_fenced(C * sizeof *want_w), *dw = check_fenced(C * sizeof *dw);
        memcpy(want, dx0, n * sizeof *want);
        memcpy(want_w, dw0, C * sizeof *want_w);
        backward(gr_rmsnorm_bwd_ref, want, want_w, dy, x, r, w, C, 0, N);
        EACH_DEVICE {
            memcpy(dx, dx0, n * sizeof *dx);
            memcpy(dw, dw0, C * sizeof *dw);
            backward(check_op->rmsnorm_bwd, dx, dw, dy, x, r, w, C, 0, N);
            CHECK_CLOSE(dx, want, n, (8 + (double)C / 16) * FLT_EPSILON);
            CHECK_CLOSE(dw, want_w, C, (2 + 2 * N) * FLT_EPSILON);
            for (size_t m = 0; m + 1 < N; m++)                              /* the gap between rows */
                assert_true(dx[m * (C + 1) + C] == dx0[m * (C + 1) + C]);
            memcpy(want, dx0, n * sizeof *want);
            memcpy(want_w, dw0, C * sizeof *want_w);
            backward(check_op->rmsnorm_bwd, want, want_w, dy, x, r, w, C, 0, 1);
            backward(check_op->rmsnorm_bwd, want, want_w, dy, x, r, w, C, 1, N - 1);
            assert_memory_equal(want, dx, n * sizeof *dx);
            assert_memory_equal(want_w, dw, C * sizeof *dw);
            memcpy(want, dx0, n * sizeof *want);
            backward(check_op->rmsnorm_bwd, want, NULL, dy, x, r, w, C, 0, N);
            assert_memory_equal(want, dx, n * sizeof *dx);
            memcpy(want, dx0, n * sizeof *want);                            /* for the next build */
            memcpy(want_w, dw0, C * sizeof *want_w);
            backward(gr_rmsnorm_bwd_ref, want, want_w, dy, x, r, w, C, 0, N);
        }
    }
}

/* Set instead of added, in a place of its own and in dy's: the bits of a sum with zero, and the same dw. */
static void without_sum_dx_may_be_dy(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i], n = N * C;
        float *dy = check_randn(n, 1), *x = check_randn(n, 2), *w = check_randn(C, 3), r[N] = { 1.1f, 0.8f, 1.25f };
        const gr_norm n1 = { w, 1, 0, C };
        float *want = check_fenced(n * sizeof *want), *dx = check_randn(n, 4);
        float *want_w = check_fenced(C * sizeof *want_w), *dw = check_fenced(C * sizeof *dw);
        EACH_DEVICE {
            float *in_place = check_fenced(n * sizeof *in_place);
            memset(want, 0, n * sizeof *want);
            memset(want_w, 0, C * sizeof *want_w);
            check_op->rmsnorm_bwd(NULL, MAT(want, C), want_w, MAT(dy, C), MAT(x, C), r, &n1, N, true);
            memset(dw, 0, C * sizeof *dw);
            check_op->rmsnorm_bwd(NULL, MAT(dx, C), dw, MAT(dy, C), MAT(x, C), r, &n1, N, false);
            assert_memory_equal(dx, want, n * sizeof *dx);
            assert_memory_equal(dw, want_w, C * sizeof *dw);
            memcpy(in_place, dy, n * sizeof *dy);
            memset(dw, 0, C * sizeof *dw);
            check_op->rmsnorm_bwd(NULL, MAT(in_place, C), dw, MAT(in_place, C), MAT(x, C), r, &n1, N, false);
            assert_memory_equal(in_place, want, n * sizeof *in_place);
            assert_memory_equal(dw, want_w, C * sizeof *dw);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_derivative),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(without_sum_dx_may_be_dy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
