/* test_loss.c - the losses against their definitions and their slopes against finite differences; PURM's 32 nodes
 * against an integral done by brute force. */
#include <math.h>
#include "check.h"
#include "reward/loss.h"

static void slope_is_the_difference_quotient(void **state)
{
    static const double soft[] = { 1, 0.5, 0.8, 0 };
    static const double smoothing[] = { 0, 0.05, 0.5 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(soft); i++)
        for (size_t k = 0; k < GR_COUNT(smoothing); k++)
            for (double d = -30; d <= 30; d += 1.7) {
                const double h = 1e-5;      /* the error is below h^2, and rounding over h */
                double t = gr_loss_target(soft[i], smoothing[k]), dd, ignored;
                double loss = gr_loss_pair(d, t, &dd);
                double quotient = (gr_loss_pair(d + h, t, &ignored) - gr_loss_pair(d - h, t, &ignored)) / (2 * h);
                double want = t * log1p(exp(-d)) + (1 - t) * log1p(exp(d));
                assert_true(fabs(loss - want) < 1e-12 * (1 + fabs(want)));
                assert_true(fabs(dd - quotient) < 1e-8);
            }
}

/* Of w read first and second. Both margins' slopes, and that the term alone sees the difference and not the mean. */
static void orders_are_drawn_together(void **state)
{
    const double h = 1e-5, c = 1.5, t = gr_loss_target(1, 0.05);

    (void)state;
    for (double a = -4; a <= 4; a += 0.9)
        for (double b = -4; b <= 4; b += 1.1) {
            double d[2] = { a, b }, dd[2], one, other, ignored[2];
            double loss = gr_loss_orders(d, t, c, dd), plain = gr_loss_pair(a, t, &one) + gr_loss_pair(b, t, &other);
            assert_true(fabs(loss - plain - c * (a - b) * (a - b) / 2) < 1e-12);
            assert_true(fabs(dd[0] + dd[1] - one - other) < 1e-12);
            for (int k = 0; k < 2; k++) {
                double up[2] = { a, b }, down[2] = { a, b };
                up[k] += h;
                down[k] -= h;
                double quotient = (gr_loss_orders(up, t, c, ignored) - gr_loss_orders(down, t, c, ignored)) / (2 * h);
                assert_true(fabs(dd[k] - quotient) < 1e-8);
            }
            gr_loss_orders(d, t, 0, dd);
            assert_true(dd[0] == one && dd[1] == other);
        }
}

static void papers_identity_and_minimum(void **state)
{
    double dd;

    (void)state;
    for (double d = -5; d < 5; d += 0.5)
        assert_true(fabs(gr_loss_pair(d, gr_loss_target(1, 0.05), &dd) - (log1p(exp(-d)) + 0.05 * d)) < 1e-14);
    gr_loss_pair(log(0.95 / 0.05), gr_loss_target(1, 0.05), &dd);
    assert_true(fabs(dd) < 1e-15);
}

static void tails_are_finite(void **state)
{
    double dd;

    (void)state;
    assert_true(gr_loss_pair(-1e6, 1, &dd) == 1e6 && dd == -1);
    assert_true(gr_loss_pair(1e6, 1, &dd) == 0 && dd == 0);
}

static double quotient(double m, double v, double q, bool by_v)
{
    const double h = 1e-5;
    double a, b, up = gr_loss_purm(m + (by_v ? 0 : h), v + (by_v ? h : 0), q, &a, &b);

    return (up - gr_loss_purm(m - (by_v ? 0 : h), v - (by_v ? h : 0), q, &a, &b)) / (2 * h);
}

static void purm_slopes_are_the_difference_quotients(void **state)
{
    (void)state;
    for (double m = -12; m <= 12; m += 1.3)
        for (double v = 0.05; v < 6; v *= 1.9)
            for (double q = 0; q <= 1; q += 0.25) {
                double dm, dv;
                gr_loss_purm(m, v, q, &dm, &dv);
                assert_true(fabs(dm - quotient(m, v, q, false)) < 1e-8);
                assert_true(fabs(dv - quotient(m, v, q, true)) < 1e-8);
            }
}

/* The trapezoid rule over ten deviations errs by exp(-2 pi^2/(h v)) for a function whose poles lie pi/v off the line:
 * by nothing here. The nodes' own error grows with the spread, and is what this test states. */
static void purm_preference_is_the_integral(void **state)
{
    static const struct { double v, error; } spread[] = { { 0, 1e-14 }, { 0.5, 1e-13 }, { 1.5, 1e-6 }, { 3, 1e-3 } };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(spread); i++)
        for (double m = -6; m <= 6; m += 0.5) {
            const double h = 1e-3;
            double sum = 0;
            for (double x = -10; x <= 10; x += h)
                sum += h * exp(-x * x / 2) / sqrt(2 * M_PI) / (1 + exp(-m - spread[i].v * x));
            assert_true(fabs(gr_purm_preference(m, spread[i].v) - sum) < spread[i].error + 1e-11);
            assert_true(fabs(gr_purm_preference(m, spread[i].v) + gr_purm_preference(-m, spread[i].v) - 1) < 1e-13);
        }
}

/* Equation 4 lets the spread grow where a pair is in the wrong order; the published code's bound never does. */
static void purm_widens_wrong_pairs_and_narrows_right_ones(void **state)
{
    double dm, dv;

    (void)state;
    gr_loss_purm(-4, 1, 1, &dm, &dv);
    assert_true(dv < 0 && dm < 0);
    gr_loss_purm(4, 1, 1, &dm, &dv);
    assert_true(dv > 0 && dm < 0);
    assert_true(fabs(gr_loss_purm(0.7, 1e-9, 1, &dm, &dv) - log1p(exp(-0.7))) < 1e-12);  /* no spread: Bradley-Terry */
    assert_true(isfinite(gr_loss_purm(-5000, 2, 1, &dm, &dv)) && isfinite(dm) && isfinite(dv));
    assert_true(gr_purm_sigma(0) == 1 && fabs(gr_purm_sigma(10) - exp(1)) < 1e-14);
}

/* Smoothing mixes a label with its opposite, and a soft label too: 0.8 x 0.9 + 0.2 x 0.1. */
static void smoothing_pulls_from_both_sides(void **state)
{
    (void)state;
    assert_true(fabs(gr_loss_target(0.8, 0.1) - 0.74) < 1e-15);
    assert_true(gr_loss_target(0, 0.25) == 0.25 && gr_loss_target(1, 0.25) == 0.75);
    assert_true(gr_loss_target(0.5, 0.3) == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slope_is_the_difference_quotient),
        cmocka_unit_test(orders_are_drawn_together),
        cmocka_unit_test(papers_identity_and_minimum),
        cmocka_unit_test(tails_are_finite),
        cmocka_unit_test(smoothing_pulls_from_both_sides),
        cmocka_unit_test(purm_slopes_are_the_difference_quotients),
        cmocka_unit_test(purm_preference_is_the_integral),
        cmocka_unit_test(purm_widens_wrong_pairs_and_narrows_right_ones),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
