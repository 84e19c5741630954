/* test_rope_bwd.c - the backward pass is the transpose of the forward, and every build has the bits of the
 * reference. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 2, 8, 16, 30, 32, 34, 64, 80, 96, 128, 256 };
static const int32_t pos[] = { 0, 39, 7, 7, 20 };
enum { N = GR_COUNT(pos), H = 3, POSITIONS = 40 };

static float *make_table(size_t D)
{
    float *table = check_fenced(POSITIONS * D * sizeof *table), freq[128];

    for (size_t i = 0; i < D / 2; i++)
        freq[i] = (float)pow(10000, -2.0 * (double)i / (double)D);
    gr_rope_table(table, freq, 1000, POSITIONS, D, 1.25f);
    return table;
}

/* Forward is linear in x, so its Jacobian's rows are forward of the unit vectors; two products and their sum round. */
static void ref_is_the_transpose(void **state)
{
    enum { D = 8 };
    float *table = make_table(D), *dy = check_randn(D, 1), dx[D], want[D];

    (void)state;
    for (size_t n = 0; n < N; n++)
        for (int interleaved = 0; interleaved < 2; interleaved++) {
            for (size_t i = 0; i < D; i++) {
                float unit[D] = { 0 };
                double sum = 0;
                unit[i] = 1;
                gr_rope_fwd_ref(NULL, MAT(unit, D), pos + n, table, 1, 1, D, D, interleaved);
                for (size_t j = 0; j < D; j++)
                    sum += (double)unit[j] * dy[j];
                want[i] = (float)sum;
            }
            memcpy(dx, dy, sizeof dx);
            gr_rope_bwd_ref(NULL, MAT(dx, D), pos + n, table, 1, 1, D, D, interleaved);
            CHECK_CLOSE(dx, want, D, 2 * FLT_EPSILON);
        }
}

static void every_build_has_the_bits_of_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++)
        for (int way = 0; way < 4; way++) {
            bool interleaved = way % 2;
            size_t D = width[i], R = way < 2 || D < 8 ? D : D * 3 / 8 * 2, ld = H * D + 1, n = (N - 1) * ld + H * D;
            float *table = make_table(R), *dx = check_randn(n, 1);
            float *want = check_fenced(n * sizeof *dx), *got = check_fenced(n * sizeof *dx);
            memcpy(want, dx, n * sizeof *dx);
            gr_rope_bwd_ref(NULL, MAT(want, ld), pos, table, N, H, D, R, interleaved);
            EACH_DEVICE {
                memcpy(got, dx, n * sizeof *dx);
                check_op->rope_bwd(NULL, MAT(got, ld), pos, table, N, H, D, R, interleaved);
                assert_memory_equal(got, want, n * sizeof *dx);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_transpose),
        cmocka_unit_test(every_build_has_the_bits_of_ref),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
