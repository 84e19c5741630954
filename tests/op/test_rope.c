/* test_rope.c - the table against cos and sin, the reference against turning a complex number, every build
 * against the reference to the bit. */
#include <complex.h>
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/on_gpu.h"
#include "op/op.h"

static const size_t width[] = { 2, 8, 16, 30, 32, 34, 64, 80, 96, 128, 256 };
enum { N = 5, H = 3, POSITIONS = 40, FIRST = 1000 };

static float *make_table(size_t D, float *freq, float scale)
{
    float *table = check_fenced(POSITIONS * D * sizeof *table);

    for (size_t i = 0; i < D / 2; i++)
        freq[i] = (float)pow(10000, -2.0 * (double)i / (double)D);
    gr_rope_table(table, freq, FIRST, POSITIONS, D, scale);
    return table;
}

/* Ways 0 and 1 turn a whole head, 2 and 3 the first three quarters. */
static size_t turned(size_t D, int way)
{
    return way < 2 || D < 8 ? D : D * 3 / 8 * 2;
}

static void table_is_cos_and_sin(void **state)
{
    float freq[128], *table = make_table(64, freq, 1.25f);

    (void)state;
    for (size_t p = 0; p < POSITIONS; p++)
        for (size_t i = 0; i < 32; i++) {
            float angle = (float)(FIRST + p) * freq[i];
            assert_true(table[p * 64 + i] == (float)(1.25 * cos((double)angle)));
            assert_true(table[p * 64 + 32 + i] == (float)(1.25 * sin((double)angle)));
        }
}

/* Two products and their sum: three halves of an ulp of numbers not above the row's largest times sqrt(2). */
static void ref_turns_pairs(void **state)
{
    static const int32_t pos[N] = { 0, 39, 7, 7, 20 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++)
        for (int way = 0; way < 4; way++) {
            bool interleaved = way % 2;
            size_t D = width[i], R = turned(D, way), half = R / 2, ld = H * D + 1;
            float freq[128], *table = make_table(R, freq, 1), *x = check_randn((N - 1) * ld + H * D, 1);
            float *want = check_fenced(((N - 1) * ld + H * D) * sizeof *want);
            memcpy(want, x, ((N - 1) * ld + H * D) * sizeof *want);
            for (size_t n = 0; n < N; n++)
                for (size_t h = 0; h < H; h++)
                    for (size_t j = 0; j < half; j++) {
                        size_t at = n * ld + h * D + (interleaved ? 2 * j : j), to = at + (interleaved ? 1 : half);
                        float angle = (float)(FIRST + pos[n]) * freq[j];
                        double complex z = ((double)x[at] + I * (double)x[to]) * cexp(I * (double)angle);
                        want[at] = (float)creal(z);
                        want[to] = (float)cimag(z);
                    }
            gr_rope_fwd_ref(NULL, MAT(x, ld), pos, table, N, H, D, R, interleaved);
            CHECK_CLOSE(x, want, (N - 1) * ld + H * D, 4 * FLT_EPSILON);
        }
}

static void every_build_has_the_bits_of_ref(void **state)
{
    static const int32_t pos[N] = { 0, 39, 7, 7, 20 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(width); i++)
        for (int way = 0; way < 4; way++) {
            bool interleaved = way % 2;
            size_t D = width[i], R = turned(D, way), ld = H * D + 1, n = (N - 1) * ld + H * D;
            float freq[128], *table = make_table(R, freq, 1), *x = check_randn(n, 1);
            float *want = check_fenced(n * sizeof *x), *got = check_fenced(n * sizeof *x);
            memcpy(want, x, n * sizeof *x);
            gr_rope_fwd_ref(NULL, MAT(want, ld), pos, table, N, H, D, R, interleaved);
            EACH_DEVICE {
                memcpy(got, x, n * sizeof *x);
                check_op->rope_fwd(NULL, MAT(got, ld), pos, table, N, H, D, R, interleaved);
                assert_memory_equal(got, want, n * sizeof *x);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_cos_and_sin),
        cmocka_unit_test(ref_turns_pairs),
        cmocka_unit_test(every_build_has_the_bits_of_ref),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
