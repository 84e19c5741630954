/* test_dropout.c - what is left out: how much of it, by which key, and the same on the way back. */
#include <math.h>
#include <string.h>
#include "base/random.h"
#include "check.h"
#include "op/dropout.h"

enum { N = 1001, KEYS = 2000 };

static float one[N], y[N];

static void make_ones(void)
{
    for (size_t c = 0; c < N; c++)
        one[c] = 1;
}

/* The draws are SplitMix64's, whose first from the state 1234567 are published; a fourth of one decides a column. */
static void the_draws_are_splitmix64s(void **state)
{
    static const uint64_t want[] = { 6457827717110365317u, 3203168211198807973u, 9817491932198370423u };
    uint64_t key = 1234567;

    (void)state;
    make_ones();
    for (size_t i = 0; i < 3; i++)
        assert_true(gr_random(&key) == want[i]);
    gr_dropout_fwd(y, one, 11, 1234567, 0.5);
    for (size_t c = 0; c < 11; c++)
        assert_true(y[c] == (want[c / 4] >> (16 * (c % 4) + 15) & 1 ? 2 : 0));
}

/* Shares of a million draws: 5 deviations sqrt(p (1-p) / n) are passed by one key in a million. Neighbours, in the row
 * and by key, are left out together as often as chance has it. */
static void as_much_is_left_out_as_was_asked(void **state)
{
    static const double p[] = { 0.05, 0.5, 0.9 };
    static float before[N];

    (void)state;
    make_ones();
    for (size_t i = 0; i < 3; i++) {
        double n = (double)N * KEYS, out = 0, with_left = 0, with_above = 0, both = p[i] * p[i];
        for (uint64_t k = 0; k < KEYS; k++) {
            gr_dropout_fwd(y, one, N, gr_random_at(7, k), p[i]);
            for (size_t c = 0; c < N; c++) {
                assert_true(y[c] == 0 || y[c] == (float)(1 / (1 - p[i])));      /* to be kept is to be scaled */
                out += y[c] == 0;
                with_left += c && y[c] == 0 && y[c - 1] == 0;
                with_above += k && y[c] == 0 && before[c] == 0;
            }
            memcpy(before, y, sizeof y);
        }
        assert_true(fabs(out / n - p[i]) < 5 * sqrt(p[i] * (1 - p[i]) / n));
        assert_true(fabs(with_left / (n - KEYS) - both) < 5 * sqrt(both / n));
        assert_true(fabs(with_above / (n - N) - both) < 5 * sqrt(both / n));
    }
}

static void the_way_back_has_the_same_mask(void **state)
{
    float *x = check_randn(N, 1), *dx = check_randn(N, 2), was[N];

    (void)state;
    for (size_t n = N - 1; n <= N; n++) {           /* an even and an odd number of columns */
        memcpy(was, dx, sizeof was);
        gr_dropout_fwd(y, x, n, 5, 0.3);
        gr_dropout_bwd(dx, x, n, 5, 0.3);
        for (size_t c = 0; c < n; c++)
            assert_true(dx[c] == was[c] + y[c]);
    }
    gr_dropout_fwd(y, x, N, 5, 0);
    assert_memory_equal(y, x, sizeof y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_draws_are_splitmix64s),
        cmocka_unit_test(as_much_is_left_out_as_was_asked),
        cmocka_unit_test(the_way_back_has_the_same_mask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
