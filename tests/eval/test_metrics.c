/* test_metrics.c - small cases worked out by hand, then 250 rows against scripts/golden_eval.py. */
#include "eval/numbers.h"
#include "eval/purm.h"
#include "eval/votes.h"
#include "reward/score.h"
#include "eval_check.h"

#define NEAR(got, want) CHECK_NEAR(got, want, 5e-7)     /* the hand's numbers have six digits */

static gr_eval_row row(double fwd, double swp, uint64_t prompt)
{
    gr_eval_row r = { .p_forward = fwd, .p_swapped = swp, .preference = (fwd + swp) / 2, .prompt = prompt,
                      .consistent = (fwd > 0.5) == (swp > 0.5), .tokens = 10, .chosen_chars = 5, .rejected_chars = 3,
                      .cell = -1 };
    return r;
}

static void wilson_by_hand(void **state)
{
    gram_interval v = gr_eval_wilson(0.8, 10);          /* the textbook's 8 of 10: 49.0 to 94.3 % */

    (void)state;
    NEAR(v.low, 0.490162);
    NEAR(v.high, 0.943318);
    v = gr_eval_wilson(0, 10);
    assert_true(v.low == 0);
    NEAR(v.high, 0.277533);                             /* z^2 / (n + z^2) */
    v = gr_eval_wilson(1, 10);
    assert_true(v.high == 1);
    NEAR(v.low, 1 - 0.277533);
}

static void student_by_table(void **state)
{
    (void)state;
    NEAR(gr_eval_t975(1), 12.706205);
    NEAR(gr_eval_t975(12), 2.178813);
    NEAR(gr_eval_t975(13), 2.160369);
    CHECK_NEAR(gr_eval_t975(200), gr_eval_t975(201), 2e-4);
    CHECK_NEAR(gr_eval_t975(201), 1.9718365068, 1e-10);
    NEAR(gr_eval_t975(30), 2.042272);
    NEAR(gr_eval_t975(120), 1.979930);
    NEAR(gr_eval_t975(1e9), 1.959964);
}

static void shared_prompts_widen(void **state)
{
    gr_eval_value alone[8], pairs[8], one[8];

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        double x = i < 4;
        alone[i] = (gr_eval_value){ i, x };
        pairs[i] = (gr_eval_value){ i / 2, x };
        one[i] = (gr_eval_value){ 7, 1 };
    }
    NEAR(gr_eval_mean(alone, 8).low, gr_eval_wilson(0.5, 8).low);
    /* G = 4 sums of d: 1 1 -1 -1; V = 4/3 * 4, V0 = 8/7 * 2, so n* = 8 / (7/3) * (t7 / t3)^2 */
    NEAR(gr_eval_mean(pairs, 8).low, gr_eval_wilson(0.5, 24.0 / 7 * pow(2.364624252 / 3.182446305, 2)).low);
    NEAR(gr_eval_mean(one, 8).low, gr_eval_wilson(1, 1).low);
    for (size_t i = 0; i < 6; i++)                      /* all alike, of prompts with four rows, one and one */
        one[i].cluster = i < 4 ? 7 : i;
    one[4].cluster = 8;
    NEAR(gr_eval_mean(one, 6).low, gr_eval_wilson(1, 6 * 6 / 18.0).low);
    assert_true(isnan(gr_eval_mean(one, 0).value));
}

static void combine_by_hand(void **state)
{
    gram_interval part[3] = { { 0.5, 0.4, 0.7 }, { 0.8, 0.5, 0.9 }, { NAN, NAN, NAN } };
    double weight[3] = { 3, 1, 5 };
    gram_interval v = gr_eval_combine(part, weight, 3);

    (void)state;
    NEAR(v.value, 0.575);
    NEAR(v.low, 0.575 - sqrt(0.075 * 0.075 + 0.075 * 0.075));
    NEAR(v.high, 0.575 + sqrt(0.15 * 0.15 + 0.025 * 0.025));
    assert_true(isnan(gr_eval_combine(part + 2, weight, 1).value));
}

static void stats_by_hand(void **state)
{
    gr_eval_row r[] = { row(0.9, 0.7, 1), row(0.8, 0.4, 1), row(0.3, 0.1, 2), row(0.75, 0.25, 3), row(1, 1, 4) };
    size_t index[] = { 0, 1, 2, 3, 4 };
    gr_eval_stats s;

    (void)state;
    r[2].chosen_chars = 1;
    r[3].chosen_chars = 3;
    r[4].dropped = true;
    CHECK_OK(gr_eval_stats_of(r, index, 5, &s, &check_err));
    assert_int_equal(s.rows, 4);
    assert_int_equal(s.dropped, 1);
    assert_int_equal(s.prompts, 3);
    assert_int_equal(s.ties, 1);
    assert_int_equal(s.tokens, 40);
    NEAR(s.accuracy.value, 2.5 / 4);                    /* 0.8 0.6 0.2 and a tie */
    NEAR(s.longer.value, 2.5 / 4);                      /* 5>3 5>3 1<3 3=3 */
    NEAR(s.flip_rate.value, 2.0 / 4);
    NEAR(s.first_seat.value, (0.5 + 1 + 0.5 + 1) / 4);
    NEAR(s.confidence, (0.8 + 0.6 + 0.8 + 0.5) / 4);
    /* bins of 1/30: 0.8 and 0.8 share one (right 1 and 0), 0.6 is right, 0.5 half right */
    NEAR(s.ece, 2.0 / 4 * 0.3 + 1.0 / 4 * 0.4);
    assert_int_equal(s.bin[0].rows, 1);
    assert_int_equal(s.bin[14].rows, 0);
}

/* Nine rows of one prompt that are as sure and as right are one observation in their bin, too. */
static void a_bin_has_clusters(void **state)
{
    gr_eval_row r[18];
    size_t index[18];
    gr_eval_stats s;

    (void)state;
    for (size_t i = 0; i < 18; i++) {
        r[i] = row(0.99, 0.99, i / 9);
        index[i] = i;
    }
    CHECK_OK(gr_eval_stats_of(r, index, 18, &s, &check_err));
    assert_int_equal(s.bin[14].rows, 18);
    NEAR(s.bin[14].confidence, 0.99);
    NEAR(s.bin[14].accuracy.value, 1);
    NEAR(s.bin[14].accuracy.low, gr_eval_wilson(1, 2).low);
    assert_true(isnan(s.bin[13].accuracy.low) && isnan(s.bin[13].confidence));
}

/* Of a row that was read in one order the first seat is that of the order. */
static void first_seat_of_one_order(void **state)
{
    static const struct { double forward, swapped, first; } one[] = {
        { 0.9, NAN, 1 }, { 0.1, NAN, 0 }, { 0.5, NAN, 0.5 }, { NAN, 0.9, 0 }, { NAN, 0.1, 1 }, { NAN, 0.5, 0.5 },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(one); i++) {
        gr_eval_row r = row(one[i].forward, one[i].swapped, 1);
        gr_eval_stats s;
        r.preference = isnan(one[i].forward) ? one[i].swapped : one[i].forward;
        CHECK_OK(gr_eval_stats_of(&r, (size_t[]){ 0 }, 1, &s, &check_err));
        assert_true(s.first_seat.value == one[i].first && isnan(s.flip_rate.value));
    }
}

static void nothing_is_nan(void **state)
{
    gr_eval_stats s;

    (void)state;
    CHECK_OK(gr_eval_stats_of(NULL, NULL, 0, &s, &check_err));
    assert_true(isnan(s.accuracy.value) && isnan(s.ece) && isnan(s.flip_rate.low) && isnan(s.confidence));
}

static void golden_numbers(void **state)
{
    golden_rows g;
    json_t *want = load_json(GOLDEN "metrics.json"), *got;
    json_error_t e;
    gr_buf b = { 0 };

    (void)state;
    golden_rows_load(&g);
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    CHECK_OK(gr_eval_json(&g.result, &b, &check_err));
    got = json_loadb(b.p, b.n, 0, &e);
    assert_non_null(got);
    json_within("", want, got);
    assert_string_equal(g.result.file[2].name, "b");    /* dir/b.jsonl.gz, short */
    json_decref(got);
    json_decref(want);
    gr_buf_clear(&b);
    golden_rows_clear(&g);
}

static void worst_rows_come_first(void **state)
{
    golden_rows g;

    (void)state;
    golden_rows_load(&g);
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    assert_int_equal(g.result.n_worst, 10);
    for (size_t k = 1; k < 10; k++)
        assert_true(g.row[g.result.worst[k - 1]].preference <= g.row[g.result.worst[k]].preference);
    for (size_t i = 0; i < g.n; i++) {
        bool listed = false;
        for (size_t k = 0; k < 10; k++)
            listed = listed || g.result.worst[k] == i;
        assert_true(listed || !(g.row[i].preference < g.row[g.result.worst[9]].preference));
    }
    golden_rows_clear(&g);
}

/* A judge that prefers whatever it reads first is right half of the time by any number of votes. */
static void a_seat_is_no_opinion(void **state)
{
    enum { ROWS = 40, VOTES = 4 };
    gram_rationale each[VOTES] = { 0 };
    gram_reasoned why = { .rationale = each, .n = VOTES, .first_seat = 1, .error = 0.1 };
    gr_eval_row r[ROWS];
    gr_eval_votes v;
    double turned = 0;

    (void)state;
    for (size_t j = 0; j < VOTES; j++)
        each[j] = (gram_rationale){ .swapped = j % 2, .p = j % 2 ? 0.1 : 0.9, .tokens = 5 };
    for (size_t i = 0; i < ROWS; i++) {
        r[i] = row(0.9, 0.1, i);
        r[i].why = &why;
        turned += gr_eval_turned(&r[i]);
    }
    assert_true(turned >= 12 && turned <= 28);
    CHECK_OK(gr_eval_votes_of(r, ROWS, &v, &check_err));
    assert_int_equal(v.points, 3);                      /* 1, 2 and 4 votes */
    for (size_t k = 0; k < v.points; k++) {
        NEAR(v.point[k].soft.value, k ? 0.5 : 1 - turned / ROWS);       /* by one vote who is read first is right */
        NEAR(v.point[k].hard.value, k ? 0.5 : 1 - turned / ROWS);
    }
}

/* Of a row with two votes and one with four, which they divide: what was counted of them, and what one, two and all of
 * them say. Of three that prefer b by little and one that is sure of a the mean is for a. */
static void votes_are_counted(void **state)
{
    gram_rationale two[2] = { 0 }, four[4] = { 0 };
    static const double p[] = { 0.45, 0.45, 0.45, 0.99 };
    gram_reasoned why[2] = {
        { .rationale = two, .n = 2, .first_seat = 0.5, .error = 0.2, .forced = 1, .contradicts = 0, .written = 40,
          .early = true },
        { .rationale = four, .n = 4, .first_seat = 0.75, .error = 0.1, .forced = 2, .contradicts = 4, .written = 70 },
    };
    gr_eval_row r[2] = { row(0.9, 0.9, 1), row(0.9, 0.9, 2) };
    gr_eval_votes v;

    (void)state;
    for (size_t j = 0; j < 4; j++) {
        four[j] = (gram_rationale){ .swapped = j % 2, .p = p[j], .tokens = 10 + 5 * j };
        if (j < 2)
            two[j] = (gram_rationale){ .swapped = j % 2, .p = 0.9, .tokens = 20 };
    }
    r[0].why = &why[0];
    r[1].why = &why[1];
    CHECK_OK(gr_eval_votes_of(r, 2, &v, &check_err));
    assert_true(v.rows == 2 && v.rationales == 6 && v.forced == 3 && v.contradicts == 4 && v.early == 1);
    assert_int_equal(v.tokens, 110);
    NEAR(v.first_seat, (2 * 0.5 + 4 * 0.75) / 6);
    NEAR(v.error, 0.15);
    assert_true(v.points == 3 && v.point[0].k == 1 && v.point[1].k == 2 && v.point[2].k == 4);
    NEAR(v.point[1].soft.value, 0.5);
    NEAR(v.point[2].soft.value, 1);                     /* (3 * 0.45 + 0.99) / 4 = 0.585 */
    NEAR(v.point[2].hard.value, 0.5);                   /* three of four */
    NEAR(v.point[1].tokens, (40 + 25) / 2.0);
    NEAR(v.point[2].tokens, (40 + 70) / 2.0);
    NEAR(gr_eval_vote_seconds(&v, 1, 10), 0.1 * 65 / 110);
}

/* PURM's rows: one judged right, one wrong, and two that are none of them. u is reward/score.h's own. */
static void spreads_overlap(void **state)
{
    static const double mean[] = { 2, 1.5, 0, 0.25 }, sigma[] = { 0.25, 1, 0.25, 0.5 };
    gr_eval_row r[] = { row(0.8, NAN, 1), row(0.3, NAN, 2), row(0.9, NAN, 3), row(0.9, NAN, 4) };
    gr_eval_spread s;
    double u[4], both[2];

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        r[i].rewarded = r[i].spread = true;
        r[i].preference = r[i].p_forward;
    }
    r[2].dropped = true;
    r[3].spread = false;
    for (size_t i = 0; i < 4; i++) {
        r[i / 2].reward[i % 2] = mean[i];
        r[i / 2].sigma[i % 2] = sigma[i];
    }
    gr_overlap(mean, sigma, 4, u);
    for (size_t i = 0; i < 2; i++)
        both[i] = (u[2 * i] + u[2 * i + 1]) / 2;
    for (size_t k = 0; k < 3; k++) {                    /* rows that are right by mean - lambda u: k of two */
        static const double lambda[] = { -4, 0.5, 4 };
        double won = 0;
        for (size_t i = 0; i < 2; i++)
            won += mean[2 * i] - lambda[k] * u[2 * i] > mean[2 * i + 1] - lambda[k] * u[2 * i + 1];
        assert_int_equal(won, k);
        CHECK_OK(gr_eval_spread_of(r, 4, lambda[k], &s, &check_err));
        assert_int_equal(s.rows, 2);
        NEAR(s.sigma, (0.25 + 1 + 0.25 + 0.5) / 4);
        NEAR(s.overlap, (both[0] + both[1]) / 2);
        NEAR(s.right, both[0]);
        NEAR(s.wrong, both[1]);
        NEAR(s.penalised.value, won / 2);
    }
    CHECK_OK(gr_eval_spread_of(r + 2, 2, 1, &s, &check_err));
    assert_true(s.rows == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wilson_by_hand), cmocka_unit_test(student_by_table), cmocka_unit_test(shared_prompts_widen),
        cmocka_unit_test(combine_by_hand), cmocka_unit_test(stats_by_hand),
        cmocka_unit_test(a_bin_has_clusters),
        cmocka_unit_test(first_seat_of_one_order), cmocka_unit_test(nothing_is_nan),
        cmocka_unit_test(golden_numbers), cmocka_unit_test(worst_rows_come_first),
        cmocka_unit_test(a_seat_is_no_opinion), cmocka_unit_test(votes_are_counted), cmocka_unit_test(spreads_overlap)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
