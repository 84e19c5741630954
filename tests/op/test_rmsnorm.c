/* test_rmsnorm.c - every build against the reference, the reference against its formula. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 1, 15, 16, 17, 576, 1536, 4097 };      /* both sides of a lane's edge */
enum { N = 3 };

static void ref_is_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i];
        float *x = check_randn(N * C, 1), *w = check_randn(C, 2), *y = check_fenced(N * C * sizeof *y);
        float *want = check_fenced(N * C * sizeof *want), r[N];
        for (size_t n = 0; n < N; n++) {
            long double ss = 0;
            for (size_t c = C; c-- > 0; )
                ss += (long double)x[n * C + c] * x[n * C + c];
            for (size_t c = 0; c < C; c++)
                want[n * C + c] = (float)(x[n * C + c] / sqrtl(ss / C + 1e-5f) * (w[c] + 1.0L));
        }
        gr_rmsnorm_fwd_ref(NULL, MAT(y, C), r, MAT(x, C), &(gr_norm){ w, 1, 1e-5f, C }, N);
        CHECK_CLOSE(y, want, N * C, 2 * FLT_EPSILON);       /* r, x r, w + 1 and their product: four halves */
    }
}

/* Squares never cancel: in float32 each of C/LANES (at least C/16, at most C) additions errs by half an ulp of
 * the sum, its root by half as much; and the reference's four roundings twice. */
static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t C = width[i], ldx = C + 3, ldy = C + 1;
        float *x = check_randn((N - 1) * ldx + C, 1), *w = check_randn(C, 2), rw[N], r[N];
        float *y = check_fenced(((N - 1) * ldy + C) * sizeof *y), *want = check_fenced(N * C * sizeof *want);
        gr_rmsnorm_fwd_ref(NULL, MAT(want, C), rw, MAT(x, ldx), &(gr_norm){ w, 0, 1e-6f, C }, N);
        EACH_DEVICE {
            memset(y, 0, ((N - 1) * ldy + C) * sizeof *y);
            check_op->rmsnorm_fwd(NULL, MAT(y, ldy), r, MAT(x, ldx), &(gr_norm){ w, 0, 1e-6f, C }, N);
            CHECK_CLOSE(r, rw, N, (4 + (double)C / 32) * FLT_EPSILON);
            for (size_t n = 0; n < N; n++) {
                CHECK_CLOSE(y + n * ldy, want + n * C, C, (6 + (double)C / 32) * FLT_EPSILON);
                assert_true(n == N - 1 || y[n * ldy + C] == 0);
            }
        }
    }
}

static void in_place_and_alone_are_the_same_bits(void **state)
{
    enum { C = 77 };
    float *x = check_randn(N * C, 1), *w = check_randn(C, 2), *y = check_fenced(N * C * sizeof *y);
    float *z = check_fenced(N * C * sizeof *z);

    (void)state;
    EACH_DEVICE {
        check_op->rmsnorm_fwd(NULL, MAT(y, C), NULL, MAT(x, C), &(gr_norm){ w, 0, 1e-6f, C }, N);
        memcpy(z, x, N * C * sizeof *x);
        check_op->rmsnorm_fwd(NULL, MAT(z, C), NULL, MAT(z, C), &(gr_norm){ w, 0, 1e-6f, C }, N);
        assert_memory_equal(z, y, N * C * sizeof *y);
        memcpy(z, x, N * C * sizeof *x);
        check_op->rmsnorm_fwd(NULL, MAT(z + 2 * C, C), NULL, MAT(x + 2 * C, C), &(gr_norm){ w, 0, 1e-6f, C }, 1);
        assert_memory_equal(z + 2 * C, y + 2 * C, C * sizeof *y);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(in_place_and_alone_are_the_same_bits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
