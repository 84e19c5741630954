/* test_temperature.c - the temperature that is found is the one that the labels were drawn with, and the same one
 * whatever temperature the rows were judged at. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "check.h"
#include "eval/metrics.h"
#include "eval/temperature.h"
#include "reward/loss.h"

#define ROWS 4000
static gr_eval_row row[ROWS];

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

enum kind { JUDGE, ONE_ORDER, REWARDS, PURM };

/* A row of these margins, of which chosen is the one that a coin with the probability at temperature `truth` names;
 * judged at temperature `was`. */
static void draw(gr_eval_row *r, enum kind kind, double truth, double was, uint64_t i)
{
    uint64_t at = i;
    double d = 3 * gr_random_normal(&at), seat = gr_random_normal(&at) * (kind == JUDGE), s = 0.4, p;

    p = kind == PURM ? gr_purm_preference(d / truth, hypot(s, s) / truth)
                     : (sigmoid((d + seat) / truth) + sigmoid((d - seat) / truth)) / 2;
    if (gr_random_unit(&at) >= p)
        d = -d;
    *r = (gr_eval_row){ .prompt = i, .logit_margin = d, .cell = -1, .rewarded = kind >= REWARDS, .spread = kind == PURM,
                        .sigma = { s, s }, .p_forward = sigmoid((d + seat) / was),
                        .p_swapped = kind == JUDGE ? sigmoid((d - seat) / was) : NAN };
    r->preference = kind == PURM ? gr_purm_preference(d / was, hypot(s, s) / was)
                  : kind == JUDGE ? (r->p_forward + r->p_swapped) / 2 : r->p_forward;
}

/* The mean of -log p of n rows at temperature t, judged at `was`. */
static double mean_nll(size_t n, double was, double t)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum -= log(gr_eval_at(&row[i], was, t)) / (double)n;
    return sum;
}

static double ece_as_judged(size_t n)
{
    static size_t index[ROWS];
    gr_eval_stats s;

    for (size_t i = 0; i < n; i++)
        index[i] = i;
    CHECK_OK(gr_eval_stats_of(row, index, n, &s, &check_err));
    return s.ece;
}

static void the_one_that_was_drawn_is_found(void **state)
{
    static const double truth[] = { 0.5, 1, 2.5 };

    (void)state;
    for (enum kind kind = JUDGE; kind <= PURM; kind++)
        for (size_t k = 0; k < GR_COUNT(truth); k++) {
            gram_temperature_fit f, again;
            const size_t n = kind == PURM ? ROWS / 16 : ROWS;       /* PURM's preference is an integral */
            for (size_t i = 0; i < n; i++)
                draw(&row[i], kind, truth[k], 1, i);
            CHECK_OK(gr_eval_fit_temperature(row, n, 0, &f, &check_err));
            /* log T has about the standard error 1 / sqrt(rows * the share that is unsure): a fifth of the rows at
             * T = 0.5, so 0.035 for 4,000 of them; four of these. */
            assert_true(fabs(log(f.temperature / truth[k])) < 0.14 * sqrt((double)ROWS / (double)n));
            assert_int_equal(f.pairs, n);
            assert_true(f.nll_after <= f.nll_before + 1e-12);
            /* noise of 15 bins of some 270 rows, sqrt(1/4 / 270) = 0.03 each */
            assert_true(f.ece_after < 0.03 * sqrt((double)ROWS / (double)n));
            for (size_t i = 0; i < n; i++)
                draw(&row[i], kind, truth[k], 1.7, i);
            CHECK_OK(gr_eval_fit_temperature(row, n, 1.7, &again, &check_err));
            assert_true(fabs(again.temperature / f.temperature - 1) < 1e-5);        /* the search ends at 1e-6 */
            /* before: as they were judged; sums of 4,000 numbers in another order */
            assert_true(fabs(again.nll_before - mean_nll(n, 1.7, 1.7)) < 1e-12);
            assert_true(fabs(again.nll_after - f.nll_after) < 1e-9);
            assert_true(fabs(again.ece_before - ece_as_judged(n)) < 1e-12);
            for (size_t i = 0; i < n; i++)   /* and no winner is another */
                assert_true((gr_eval_at(&row[i], 1.7, f.temperature) > 0.5) == (row[i].preference > 0.5));
        }
}

/* The true one is inside in 95 of 100 draws: all 200 hold it in 4 of 100,000 runs, fewer than 176 of them in 3
 * (binomial). A quarter of the rows makes the interval twice as wide, to a tenth: the likelihood is no parabola in
 * log T. */
static void the_interval_holds_the_true_one(void **state)
{
    enum { DRAWS = 200, N = 200 };
    double width[2];
    size_t held = 0;

    (void)state;
    for (size_t d = 0; d < DRAWS; d++) {
        gram_temperature_fit f;
        for (size_t i = 0; i < N; i++)
            draw(&row[i], REWARDS, 1.5, 1, 100000 + d * N + i);
        CHECK_OK(gr_eval_fit_temperature(row, N, 0, &f, &check_err));
        assert_true(f.low < f.temperature && f.temperature < f.high);
        /* log T ends within 1e-6, and there the log-likelihood of 200 rows falls by some 10 a unit of it */
        assert_true(fabs(N * (mean_nll(N, 1, f.low) - f.nll_after) - 3.841458820694124 / 2) < 1e-4);
        assert_true(fabs(N * (mean_nll(N, 1, f.high) - f.nll_after) - 3.841458820694124 / 2) < 1e-4);
        held += f.low <= 1.5 && 1.5 <= f.high;
    }
    assert_in_range(held, 176, 199);
    for (size_t k = 0; k < 2; k++) {
        gram_temperature_fit f;
        const size_t n = k ? ROWS : ROWS / 4;
        for (size_t i = 0; i < n; i++)
            draw(&row[i], JUDGE, 1.5, 1, i % (ROWS / 4));       /* the same rows, four times */
        CHECK_OK(gr_eval_fit_temperature(row, n, 0, &f, &check_err));
        width[k] = log(f.high / f.low);
    }
    assert_true(fabs(width[0] / width[1] / 2 - 1) < 0.1);
}

static void ties_and_dropped_rows_do_not_count(void **state)
{
    gram_temperature_fit with, without;

    (void)state;
    for (size_t i = 0; i < 500; i++)
        draw(&row[i], JUDGE, 2, 1, i);
    CHECK_OK(gr_eval_fit_temperature(row, 500, 0, &without, &check_err));
    for (size_t i = 500; i < 600; i++)
        row[i] = i % 2 ? (gr_eval_row){ .prompt = i, .dropped = true, .preference = NAN, .cell = -1 }
                       : (gr_eval_row){ .prompt = i, .preference = 0.5, .p_forward = 0.5, .p_swapped = 0.5,
                                       .cell = -1 };
    CHECK_OK(gr_eval_fit_temperature(row, 600, 0, &with, &check_err));
    assert_int_equal(with.pairs, 500);
    assert_true(with.temperature == without.temperature);
}

static void where_none_fits_it_is_said(void **state)
{
    gram_temperature_fit f;

    (void)state;
    assert_int_equal(gr_eval_fit_temperature(row, 0, 0, &f, &check_err), GRAM_EARG);
    for (size_t i = 0; i < 100; i++) {
        draw(&row[i], REWARDS, 1, 1, i);
        row[i].logit_margin = fabs(row[i].logit_margin);
        row[i].preference = row[i].p_forward = sigmoid(row[i].logit_margin);
    }
    assert_int_equal(gr_eval_fit_temperature(row, 100, 0, &f, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "judged right"));
    for (size_t i = 0; i < 100; i++) {
        row[i].logit_margin = -row[i].logit_margin;
        row[i].preference = row[i].p_forward = 1 - row[i].preference;
    }
    assert_int_equal(gr_eval_fit_temperature(row, 100, 0, &f, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "no better than chance"));
}

/* Where one order's probability has no digits left, the other order's still says its margin. */
static void a_saturated_order_is_read_from_the_other(void **state)
{
    gr_eval_row r = { .logit_margin = 20, .p_forward = sigmoid(60), .p_swapped = sigmoid(-20), .cell = -1 };
    double want = (sigmoid(60 / 10.0) + sigmoid(-20 / 10.0)) / 2;

    (void)state;
    r.preference = (r.p_forward + r.p_swapped) / 2;
    assert_true(fabs(gr_eval_at(&r, 0, 10) - want) < 1e-12);
}

/* Where both have none left and agree, the mean of their margins says how sure they are; where they do not, nothing
 * does. */
static void two_saturated_orders_are_read_from_their_mean(void **state)
{
    gr_eval_row r = { .logit_margin = 50, .preference = 1, .p_forward = sigmoid(60), .p_swapped = sigmoid(40),
                      .consistent = true, .cell = -1 };

    (void)state;
    assert_true(r.p_forward == 1 && r.p_swapped == 1);
    assert_true(fabs(gr_eval_at(&r, 0, 20) - sigmoid(2.5)) < 1e-12);
    r = (gr_eval_row){ .logit_margin = 0, .preference = 0.5, .p_forward = 1, .p_swapped = 0, .cell = -1 };
    assert_true(gr_eval_at(&r, 0, 20) == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_was_drawn_is_found),
        cmocka_unit_test(the_interval_holds_the_true_one),
        cmocka_unit_test(ties_and_dropped_rows_do_not_count),
        cmocka_unit_test(where_none_fits_it_is_said),
        cmocka_unit_test(a_saturated_order_is_read_from_the_other),
        cmocka_unit_test(two_saturated_orders_are_read_from_their_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
