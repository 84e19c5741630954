/* test_rank.c - sums of what several processes have: the order of the ranks, to the bit, whichever of them adds. */
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/on_gpu.h"
#include "op/op.h"

/* 1e8 + 3 - 1e8 is 0, 4 or 3 in float32, as they are added: every order of the ranks gives another sum. */
static void sums_are_added_in_the_order_of_the_ranks(void **state)
{
    static const size_t count[] = { 1, 511, 512, 513, 1024, 2500 };
    enum { P = 4, LD = 2600 };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(count); k++)
        for (size_t own = 0; own < P; own++) {
            size_t n = count[k];
            float *came = check_fenced(((P - 1) * LD + n) * sizeof *came), *y = check_fenced(n * sizeof *y);
            float *want = check_fenced(n * sizeof *want);
            float *noise = check_randn(P * n, n);
            memset(came, 0xff, ((P - 1) * LD + n) * sizeof *came);
            for (size_t i = 0; i < n; i++) {
                const float x[P] = { 1e8f + noise[i], 3 + noise[n + i], -1e8f + noise[2 * n + i], noise[3 * n + i] };
                for (size_t p = 0; p < P; p++)
                    if (p != own)                       /* in its own place is no number */
                        came[p * LD + i] = x[p];
                want[i] = ((x[0] + x[1]) + x[2]) + x[3];
                noise[i] = x[own];
            }
            EACH_DEVICE {
                memcpy(y, noise, n * sizeof *y);
                check_op->rank_sum(NULL, y, came, LD, own, P, n);
                assert_memory_equal(y, want, n * sizeof *y);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(sums_are_added_in_the_order_of_the_ranks) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
