/* test_rank.c - rankings over judges whose truth is known. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "reward/rank.h"

/* A judge that prefers by strength, with Bradley-Terry noise-free probabilities; it counts what it is asked. */
struct judge {
    const double *strength;     /* [n + 1]: the last is the reference's */
    size_t asked, rounds;
    size_t fail_after;          /* rounds; 0: never */
    bool cycle;                 /* 0 beats 1 beats 2 beats 0, */
    bool open;                  /* and the last of these is a tie */
    bool dropped;
};

static gram_status judge(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    struct judge *j = arg;

    j->asked += n;
    if (++j->rounds == j->fail_after) {
        err->status = GRAM_EIO;
        strcpy(err->text, "the judge went home");
        return GRAM_EIO;
    }
    for (size_t k = 0; k < n; k++) {
        size_t a = pair[k][0], b = pair[k][1];
        double d = j->strength[a] - j->strength[b];
        if (j->cycle && a < 3 && b < 3)
            d = j->open && a + b == 2 ? 0 : (a + 1) % 3 == b ? 1 : -1;
        assert_true(a != b);
        out[k] = (gram_verdict){ .preference = 1 / (1 + exp(-d)), .tokens = 10, .dropped = j->dropped };
    }
    return GRAM_OK;
}

static const double strength[] = { 0.3, 2.0, -1.0, 0.9, -2.5, 1.4, 0.0, -0.4, 0.5 };
enum { N = 8 };

static const gram_rank_method methods[] = { GRAM_RANK_LINEAR, GRAM_RANK_TOURNAMENT, GRAM_RANK_ALL_PAIRS,
                                            GRAM_RANK_REFERENCE };

static void every_method_finds_the_order(void **state)
{
    static const size_t want[N] = { 1, 5, 3, 0, 6, 7, 2, 4 };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(methods); m++) {
        struct judge j = { .strength = strength };
        gram_ranking r;
        CHECK_OK(gr_rank(judge, &j, N, methods[m], &r, &check_err));
        for (size_t i = 0; i < N; i++)
            assert_int_equal(r.order[i], want[i]);
        assert_int_equal(r.comparisons, j.asked);
        assert_int_equal(r.tokens, 10 * j.asked);
        assert_int_equal(r.passes, 2 * j.asked);
        assert_false(r.intransitive);
        gram_ranking_clear(&r);
    }
}

static void costs_are_what_the_header_says(void **state)
{
    struct judge j = { .strength = strength };
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    assert_int_equal(j.rounds, 1);                  /* all at once, so that they share their prefixes */
    assert_int_equal(r.comparisons, N * (N - 1) / 2);
    gram_ranking_clear(&r);
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_REFERENCE, &r, &check_err));
    assert_int_equal(r.comparisons, N);
    gram_ranking_clear(&r);
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_TOURNAMENT, &r, &check_err));
    assert_true(r.comparisons <= 17);               /* merge sort of 8: at most 4*1 + 2*3 + 7 */
    gram_ranking_clear(&r);
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_LINEAR, &r, &check_err));
    assert_true(r.comparisons <= N * (N - 1) / 2);
    gram_ranking_clear(&r);
}

static void strengths_are_recovered(void **state)
{
    struct judge j = { .strength = strength };
    double mean = 0;
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    for (size_t i = 0; i < N; i++)
        mean += strength[i] / N;
    for (size_t i = 0; i < N; i++)          /* the prior shrinks by about GR_BT_PRIOR * |b| / curvature, below 1e-3 */
        assert_true(fabs(r.score[i] - (strength[i] - mean)) < 1e-3);
    gram_ranking_clear(&r);
}

static void saturated_preferences_stay_finite(void **state)
{
    double p[] = { 0.5, 1, 1, 0, 0.5, 1, 0, 0, 0.5 }, b[3];

    (void)state;
    CHECK_OK(gr_bradley_terry(p, 3, b, &check_err));
    assert_true(isfinite(b[0]) && isfinite(b[2]) && b[0] > b[1] && b[1] > b[2]);
}

static void a_cycle_is_seen(void **state)
{
    struct judge j = { .strength = strength, .cycle = true };
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank(judge, &j, N, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    assert_true(r.intransitive);
    gram_ranking_clear(&r);
    CHECK_OK(gr_rank(judge, &j, 3, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    assert_true(r.intransitive);
    gram_ranking_clear(&r);
    j.open = true;
    CHECK_OK(gr_rank(judge, &j, 3, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    assert_false(r.intransitive);
    gram_ranking_clear(&r);
}

/* A merge sort of 0.3, 2, -1 and 0.9 compares 0 with 1, 2 with 3, 1 with 3, 0 with 3 and 0 with 2. */
static void scores_are_shares_of_what_was_compared(void **state)
{
    static const double want[] = { 1.0 / 3, 1, 0, 2.0 / 3 };
    struct judge j = { .strength = strength };
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank(judge, &j, 4, GRAM_RANK_TOURNAMENT, &r, &check_err));
    assert_int_equal(r.comparisons, 5);
    for (size_t i = 0; i < 4; i++)
        assert_true(r.score[i] == want[i]);
    gram_ranking_clear(&r);
}

static void ties_keep_the_order_of_the_input(void **state)
{
    static const double same[N + 1] = { 0 };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(methods); m++) {
        struct judge j = { .strength = same };
        gram_ranking r;
        CHECK_OK(gr_rank(judge, &j, N, methods[m], &r, &check_err));
        for (size_t i = 0; i < N; i++)
            assert_int_equal(r.order[i], i);
        gram_ranking_clear(&r);
    }
}

static void failures_are_handed_back(void **state)
{
    gram_ranking r;
    gram_err err;

    (void)state;
    for (size_t m = 0; m < GR_COUNT(methods); m++) {
        struct judge j = { .strength = strength, .fail_after = 1 }, short_one = { .strength = strength,
                                                                                 .dropped = true };
        assert_int_equal(gr_rank(judge, &j, N, methods[m], &r, &err), GRAM_EIO);
        assert_string_equal(err.text, "the judge went home");
        assert_null(r.order);
        assert_int_equal(gr_rank(judge, &short_one, N, methods[m], &r, &err), GRAM_ELIMIT);
        assert_int_equal(gr_rank(judge, &j, 0, methods[m], &r, &err), GRAM_EARG);
        assert_int_equal(gr_rank(judge, &j, GR_RANK_MOST + 1, methods[m], &r, &err), GRAM_EARG);
    }
}

static void one_response_needs_no_judge(void **state)
{
    struct judge j = { .strength = strength };
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank(judge, &j, 1, GRAM_RANK_ALL_PAIRS, &r, &check_err));
    assert_int_equal(r.order[0], 0);
    assert_int_equal(r.comparisons, 0);
    gram_ranking_clear(&r);
}

/* Responses 0, 3 and 6 say the same, and a judge that likes what it reads first more finds them unequal. */
static void equal_responses_stand_together(void **state)
{
    static const char *const text[] = { "same", "best", "worst", "same", "good", "other", "same", "Same" };
    static const double near[] = { 0.3, 2.0, -1.0, 0.3 + 1e-13, 0.9, -2.5, 0.3 - 1e-13, 0.31 };

    (void)state;
    for (size_t m = 0; m < 3; m++) {
        struct judge j = { .strength = near };
        gram_ranking r;
        size_t k = 0;
        CHECK_OK(gr_rank(judge, &j, N, methods[m], &r, &check_err));
        gram_ranking_join(&r, text, N);
        assert_int_equal(r.order[0], 1);
        while (r.order[k] != 0)
            k++;
        assert_int_equal(r.order[k + 1], 3);
        assert_int_equal(r.order[k + 2], 6);
        assert_true(r.score[0] == r.score[3] && r.score[3] == r.score[6] && r.score[0] != r.score[1]);
        for (size_t i = 0, seen = 0; i < N; i++) {          /* still a permutation */
            assert_false(seen >> r.order[i] & 1);
            seen |= 1u << r.order[i];
        }
        gram_ranking_clear(&r);
    }
}

/* Two orders that lean to the first seat, at some temperature, as a model's verdict is. */
static double temperature;
static gram_status leaning(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    const double by = temperature > 0 ? temperature : 1;

    (void)arg, (void)err;
    for (size_t k = 0; k < n; k++) {
        float d = (float)(2 * (strength[pair[k][0]] - strength[pair[k][1]])), seat = 1.5f + (float)(pair[k][0] % 3);
        gram_verdict v = { .logit = { { d + seat, 0 }, { seat - d, 0 } }, .logit_margin = d,
                          .temperature = temperature };
        v.p_forward = 1 / (1 + exp(-(double)v.logit[0][0] / by));
        v.p_swapped = 1 / (1 + exp((double)v.logit[1][0] / by));
        v.preference = (v.p_forward + v.p_swapped) / 2;
        out[k] = v;
    }
    return GRAM_OK;
}

static void a_temperature_changes_probabilities_and_no_order(void **state)
{
    (void)state;
    for (size_t m = 0; m < GR_COUNT(methods); m++) {
        gram_ranking plain, at;
        size_t differ = 0;
        temperature = 0;
        CHECK_OK(gr_rank(leaning, NULL, N, methods[m], &plain, &check_err));
        temperature = 5;
        CHECK_OK(gr_rank(leaning, NULL, N, methods[m], &at, &check_err));
        assert_memory_equal(at.order, plain.order, N * sizeof *at.order);
        assert_memory_equal(at.score, plain.score, N * sizeof *at.score);
        for (size_t k = 0; k < (size_t)N * N; k++) {
            double a = at.preference[k], p = plain.preference[k];
            assert_int_equal(isnan(a), isnan(p));
            differ += fabs(a - p) > 0.01;
            assert_false(p > 0.5 && a < 0.5);
        }
        assert_true(methods[m] == GRAM_RANK_REFERENCE || differ > 0);
        gram_ranking_clear(&plain);
        gram_ranking_clear(&at);
    }
}

static void a_temperature_is_in_the_preferences_of_rewards(void **state)
{
    const gram_reward reward[3] = { { .mean = 1 }, { .mean = 3 }, { .mean = -2 } };
    gram_ranking r;

    (void)state;
    CHECK_OK(gr_rank_rewards(reward, 3, NULL, 0, false, 2, &r, &check_err));
    assert_int_equal(r.order[0], 1);
    assert_true(r.score[1] == 3);
    assert_true(fabs(r.preference[1] - 1 / (1 + exp(1.0))) < 1e-15);
    gram_ranking_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_method_finds_the_order),
        cmocka_unit_test(costs_are_what_the_header_says),
        cmocka_unit_test(strengths_are_recovered),
        cmocka_unit_test(saturated_preferences_stay_finite),
        cmocka_unit_test(a_cycle_is_seen),
        cmocka_unit_test(scores_are_shares_of_what_was_compared),
        cmocka_unit_test(ties_keep_the_order_of_the_input),
        cmocka_unit_test(equal_responses_stand_together),
        cmocka_unit_test(failures_are_handed_back),
        cmocka_unit_test(a_temperature_changes_probabilities_and_no_order),
        cmocka_unit_test(a_temperature_is_in_the_preferences_of_rewards),
        cmocka_unit_test(one_response_needs_no_judge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
