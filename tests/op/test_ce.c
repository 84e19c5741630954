/* test_ce.c - the reference against its formula and differences of it, every build against the reference. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/grad.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 1, 2, 15, 16, 17, 61, 64, 1023, 1024, 1025, 4097, 49152 };
enum { N = 3 };

struct small { double z[61]; size_t V, t; };

static double loss_of(void *arg)
{
    const struct small *s = arg;
    double sum = 0;

    for (size_t v = 0; v < s->V; v++)
        sum += exp(s->z[v]);
    return log(sum) - s->z[s->t];
}

/* Both ways, by one build. */
static void ce(gr_ce_fwd_fn *fwd, gr_ce_bwd_fn *bwd, gr_mat z, const int32_t *t, const float *wt, double *loss,
               size_t n, size_t V)
{
    gr_ce_sum sum[N];

    fwd(NULL, z, t, loss, sum, n, V);
    bwd(NULL, z, t, wt, sum, n, V);
}

static void both_at_once_are_one_after_the_other(void **state)
{
    enum { V = 1025 };
    float *z = check_randn(N * V, 3), wt[N] = { 1, -0.5f, 2 };
    int32_t t[N] = { 5, -1, V - 1 };

    (void)state;
    EACH_DEVICE {
        float *a = check_fenced(N * V * sizeof *a), *b = check_fenced(N * V * sizeof *b);
        double la[N], lb[N];
        gr_ce_sum sum[N];
        memcpy(a, z, N * V * sizeof *a);
        memcpy(b, z, N * V * sizeof *b);
        ce(check_op->ce_fwd, check_op->ce_bwd, MAT(a, V), t, wt, la, N, V);
        check_op->ce(NULL, MAT(b, V), t, wt, lb, sum, N, V);
        assert_memory_equal(a, b, N * V * sizeof *a);
        assert_memory_equal(la, lb, sizeof la);
    }
}

static void ref_is_the_derivative(void **state)
{
    (void)state;
    for (size_t V = 2; V <= 61; V++) {
        struct small s = { .V = V, .t = V / 2 };
        float *z = check_randn(V, V), want[61], wt = 1;
        int32_t t = (int32_t)s.t;
        double loss;
        grad_widen(s.z, z, V);
        ce(gr_ce_fwd_ref, gr_ce_bwd_ref, MAT(z, V), &t, &wt, &loss, 1, V);
        assert_true(fabs(loss - loss_of(&s)) < 1e-13);
        grad_all(want, loss_of, &s, s.z, V);
        CHECK_CLOSE(z, want, V, FLT_EPSILON);
    }
}

/* z - top is below 40 and errs by half an ulp of it, an exp by as much and 1.5 ulp; a sum of positive numbers by 70
 * halves of an ulp at most; the division, the weight and the product by an ulp each. */
enum { TOL = 40 / 2 + 2 + 35 + 2 };

static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t V = width[i], ld = V + 3, n = (N - 1) * ld + V;
        float *z = check_randn(n, 1), wt[N] = { 1, 0.25f, -3 };
        float *want = check_fenced(n * sizeof *want), *got = check_fenced(n * sizeof *got);
        int32_t t[N] = { (int32_t)(V - 1), -1, 0 };
        double loss_ref[N], loss[N];
        for (size_t k = 0; k < n; k++)
            z[k] *= 4;
        memcpy(want, z, n * sizeof *z);
        ce(gr_ce_fwd_ref, gr_ce_bwd_ref, MAT(want, ld), t, wt, loss_ref, N, V);
        EACH_DEVICE {
            memcpy(got, z, n * sizeof *z);
            ce(check_op->ce_fwd, check_op->ce_bwd, MAT(got, ld), t, wt, loss, N, V);
            for (size_t m = 0; m < N; m++) {
                CHECK_CLOSE(got + m * ld, want + m * ld, V, TOL * FLT_EPSILON);
                assert_true(fabs(loss[m] - loss_ref[m]) <= TOL * FLT_EPSILON);      /* d log = relative error */
                assert_true(m + 1 == N || got[m * ld + V] == z[m * ld + V]);
            }
            assert_true(loss[1] == 0 && got[ld] == 0);
            memcpy(want, z, n * sizeof *z);
            for (size_t m = N; m-- > 0; ) {                                         /* alone: the same bits */
                double one;
                ce(check_op->ce_fwd, check_op->ce_bwd, MAT(want + m * ld, 1), t + m, wt + m, &one, 1, V);
                assert_memory_equal(want + m * ld, got + m * ld, V * sizeof *got);
                assert_true(one == loss[m]);
            }
            memcpy(want, z, n * sizeof *z);
            ce(gr_ce_fwd_ref, gr_ce_bwd_ref, MAT(want, ld), t, wt, loss_ref, N, V);
        }
    }
}

/* A target all but certain: what is left of its gradient is the others' share, and not a difference of two ones. */
static void a_sure_target_keeps_its_digits(void **state)
{
    (void)state;
    EACH_DEVICE {
        float z[20], want[20], wt = 1;
        int32_t t = 7;
        double loss, rest = 19 * exp(-30);
        for (size_t v = 0; v < 20; v++) {
            z[v] = v == 7 ? 30 : 0;
            want[v] = (float)(v == 7 ? -rest : rest / 19);
        }
        ce(check_op->ce_fwd, check_op->ce_bwd, MAT(z, 20), &t, &wt, &loss, 1, 20);
        CHECK_CLOSE(z, want, 20, 8 * FLT_EPSILON);
        assert_true(fabs(loss / rest - 1) < 1e-2);      /* 1 + 2e-12 in double */
    }
}

/* Logits that were masked out, and logits that went wrong. */
static void infinite_and_nan_logits(void **state)
{
    (void)state;
    EACH_DEVICE {
        float z[40], wt = 1, sum = 0;
        int32_t t = 3;
        double loss;
        for (size_t v = 0; v < 40; v++)
            z[v] = v % 2 ? 1e4f : -INFINITY;
        ce(check_op->ce_fwd, check_op->ce_bwd, MAT(z, 40), &t, &wt, &loss, 1, 40);
        assert_true(fabs(loss - log(20)) < 1e-6);
        for (size_t v = 0; v < 40; v++) {
            assert_true(v % 2 || z[v] == 0);
            sum += z[v];
        }
        assert_true(fabsf(sum) < 20 * FLT_EPSILON);
        z[30] = NAN;
        ce(check_op->ce_fwd, check_op->ce_bwd, MAT(z, 40), &t, &wt, &loss, 1, 40);
        assert_true(isnan(loss) && isnan(z[0]) && isnan(z[3]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_derivative),
        cmocka_unit_test(both_at_once_are_one_after_the_other),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(a_sure_target_keeps_its_digits),
        cmocka_unit_test(infinite_and_nan_logits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
