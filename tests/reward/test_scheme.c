/* test_scheme.c - rewards from comparisons, over judges whose truth is known. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "reward/scheme.h"

/* Margins are differences of strengths, which every scheme must give back up to what it takes as 0. */
struct judge {
    const double *strength;     /* [n + 1]: the last is the reference's */
    size_t n, asked, rounds;
    bool seen[16][17];
    long bad;                   /* a response that cannot be judged; -1: none */
    long nan;                   /* one whose margins are none */
    bool cycle;                 /* 0 beats 1 beats 2 beats 0 */
    bool broken;                /* all fails */
};

static gram_status compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, char **fault, gram_err *err)
{
    struct judge *j = arg;

    j->rounds++;
    if (j->broken) {
        snprintf(err->text, sizeof err->text, "the judge went home");
        return GRAM_EIO;
    }
    for (size_t k = 0; k < n; k++) {
        size_t a = pair[k][0], b = pair[k][1];
        double d = j->strength[a] - j->strength[b];
        if (j->cycle)
            d = (a + 1) % 3 == b ? 1 : -1;
        assert_true(a != b && b <= j->n && a < j->n);
        assert_false(j->seen[a][b] || (b < j->n && j->seen[b][a]));     /* nothing is asked twice */
        assert_null(fault[k]);
        j->asked++;
        if (j->bad == (long)a || j->bad == (long)b) {
            fault[k] = strdup("too long");
            continue;
        }
        j->seen[a][b] = true;
        if (j->nan == (long)a || j->nan == (long)b)
            d = NAN;
        out[k] = (gram_verdict){ .logit_margin = d, .preference = 1 / (1 + exp(-d)), .p_forward = 0.4, .p_swapped = 0.5,
                                 .consistent = a % 2, .tokens = 10, .truncated = b == 1 };
    }
    return GRAM_OK;
}

enum { N = 8 };
static const double strength[] = { 0.3, 2.0, -1.0, 0.9, -2.5, 1.4, 0.0, -0.4, 0.5 };
static const char *const text[] = { "a", "b", "c", "d", "e", "f", "g", "h" };
static const gram_scheme all[] = { GRAM_SCHEME_ALL_PAIRS, GRAM_SCHEME_REFERENCE, GRAM_SCHEME_TOURNAMENT,
                                   GRAM_SCHEME_LINEAR, GRAM_SCHEME_CIRCULAR };

static gram_judged_group run(struct judge *j, gram_scheme scheme, gram_unit unit, const char *const *response, size_t n)
{
    const gr_scheme s = { scheme, unit, compare, j, response, n };
    gram_judged_group r;

    j->n = n;
    CHECK_OK(gr_judged_group_init(&r, n, true, &check_err));
    CHECK_OK(gr_scheme_run(&s, &r, &check_err));
    return r;
}

static struct judge truth(void) { return (struct judge){ .strength = strength, .bad = -1, .nan = -1 }; }

static void every_scheme_gives_the_truth_back(void **state)
{
    static const size_t asks[] = { N * (N - 1) / 2, N, N - 1, N - 1, N };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(all); m++) {
        struct judge j = truth();
        gram_judged_group r = run(&j, all[m], GRAM_UNIT_MARGIN, text, N);
        double mean = 0, zero = 0;
        for (size_t i = 0; i < N; i++)
            mean += strength[i] / N;
        for (size_t i = 0; i < N; i++) {
            double left = strength[(i + N - 1) % N], right = strength[(i + 1) % N];
            double want[] = { (strength[i] - mean) * N / (N - 1), strength[i] - strength[N], strength[i] - 2.0,
                              strength[i] - 2.0, strength[i] - (left + right) / 2 };
            assert_true(fabs(r.reward[i] - want[m]) < 1e-12);   /* sums of a dozen numbers about 1 */
            assert_null(r.error[i]);
            zero += r.reward[i];
        }
        if (all[m] == GRAM_SCHEME_ALL_PAIRS)
            assert_true(fabs(zero) < 1e-12);
        assert_int_equal(j.asked, asks[m]);
        assert_true(r.cost.comparisons == asks[m] && r.cost.passes == 2 * asks[m] && r.cost.tokens == 10 * asks[m]);
        assert_int_equal(r.failed, 0);
        if (all[m] == GRAM_SCHEME_ALL_PAIRS) {
            assert_int_equal(j.rounds, 1);                      /* all at once: they share their prefixes */
            assert_true(r.value[0 * N + 1] == -1.7 && r.value[1 * N + 0] == 1.7 && r.value[0] == 0);
            assert_int_equal(r.cost.flips, 7 + 5 + 3 + 1);      /* of those with an even first response */
            assert_int_equal(r.cost.truncated, 1);
        }
        if (all[m] == GRAM_SCHEME_TOURNAMENT)
            assert_int_equal(j.rounds, 3);
        gram_judged_group_clear(&r);
    }
}

static void a_preference_is_bounded(void **state)
{
    struct judge j = truth();
    gram_judged_group r = run(&j, GRAM_SCHEME_REFERENCE, GRAM_UNIT_PREFERENCE, text, N);

    (void)state;
    for (size_t i = 0; i < N; i++)
        assert_true(r.reward[i] == 1 / (1 + exp(strength[N] - strength[i])) - 0.5);
    gram_judged_group_clear(&r);
}

/* Copies are judged once, count as often as they stand there, and have the bits of the first. */
static void equal_texts_are_judged_once(void **state)
{
    static const char *const copies[] = { "x", "y", "x", "z", "y", "x" };
    static const double s[] = { 1, 0, 1, -2, 0, 1, 0.5 };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(all); m++) {
        struct judge j = { .strength = s, .bad = -1, .nan = -1 };
        gram_judged_group r = run(&j, all[m], GRAM_UNIT_MARGIN, copies, 6);
        assert_true(r.reward[0] == r.reward[2] && r.reward[0] == r.reward[5] && r.reward[1] == r.reward[4]);
        assert_true(r.reward[0] > r.reward[1] && r.reward[1] > r.reward[3]);
        assert_true(j.asked <= 3);
        assert_true(r.value[0 * 6 + 2] == 0 && r.value[5 * 6 + 0] == 0);
        if (all[m] == GRAM_SCHEME_ALL_PAIRS) {
            assert_true(fabs(r.reward[0] - (2 * 1 + 3) / 5.0) < 1e-15);
            assert_true(r.value[5 * 6 + 4] == 1 && r.value[4 * 6 + 5] == -1);
        }
        gram_judged_group_clear(&r);
        j = (struct judge){ .strength = s, .bad = -1, .nan = -1 };
        if (all[m] != GRAM_SCHEME_REFERENCE) {                  /* all the same: nothing is asked, all tie */
            r = run(&j, all[m], GRAM_UNIT_MARGIN, (const char *const[]){ "x", "x" }, 2);
            assert_true(r.reward[0] == 0 && r.reward[1] == 0 && j.asked == 0 && !r.failed);
            gram_judged_group_clear(&r);
        }
    }
}

static void ties_tie(void **state)
{
    static const double s[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0 };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(all); m++) {
        struct judge j = { .strength = s, .bad = -1, .nan = -1 };
        gram_judged_group r = run(&j, all[m], GRAM_UNIT_PREFERENCE, text, N);
        for (size_t i = 0; i < N; i++)
            assert_true(r.reward[i] == 0 && !signbit(r.reward[i]));
        gram_judged_group_clear(&r);
    }
}

/* Of two that tie the first goes on, and of two as long texts that cannot be compared the second is to blame. */
static void the_first_of_equals_goes_on(void **state)
{
    static const double s[] = { 1, 1, 0, 0 };
    static const gram_scheme knockout[] = { GRAM_SCHEME_TOURNAMENT, GRAM_SCHEME_LINEAR };

    (void)state;
    for (size_t m = 0; m < GR_COUNT(knockout); m++) {
        struct judge j = { .strength = s, .bad = -1, .nan = -1 };
        gram_judged_group r = run(&j, knockout[m], GRAM_UNIT_MARGIN, text, 3);
        assert_true(j.seen[0][1] && j.seen[0][2] && j.asked == 2);
        assert_true(r.reward[0] == 0 && r.reward[1] == 0 && r.reward[2] == -1);
        gram_judged_group_clear(&r);
    }
    {
        struct judge j = { .strength = s, .bad = 0, .nan = -1 };
        gram_judged_group r = run(&j, GRAM_SCHEME_ALL_PAIRS, GRAM_UNIT_MARGIN, text, 2);
        assert_string_equal(r.error[1], "too long");
        assert_non_null(strstr(r.error[0], "no other response is left"));
        gram_judged_group_clear(&r);
    }
}

/* One that cannot be judged fails alone, whatever its place, and the others have what they have without it. */
static void one_fails_and_the_others_go_on(void **state)
{
    (void)state;
    for (size_t m = 0; m < GR_COUNT(all); m++)
        for (long bad = 0; bad < N; bad++) {
            const char *others[N], *long_one[N];
            double s[N], left[N + 1];
            size_t k = 0;
            struct judge j = truth(), without = truth();
            gram_judged_group r, w;
            for (size_t i = 0; i < N; i++) {
                long_one[i] = (long)i == bad ? "a response that is longer than the others" : text[i];
                if ((long)i != bad) {
                    left[k] = strength[i];
                    others[k++] = text[i];
                }
            }
            left[k] = strength[N];
            j.bad = bad % 2 ? bad : -1;
            j.nan = bad % 2 ? -1 : bad;
            without.strength = left;
            r = run(&j, all[m], GRAM_UNIT_MARGIN, long_one, N);
            w = run(&without, all[m], GRAM_UNIT_MARGIN, others, N - 1);
            assert_int_equal(r.failed, 1);
            k = 0;
            for (size_t i = 0; i < N; i++) {
                s[i] = r.reward[i];
                if ((long)i != bad)
                    assert_true(s[i] == w.reward[k++] && !r.error[i]);
                else {
                    assert_true(isnan(s[i]) && isnan(r.value[i * N + i]));
                    assert_string_equal(r.error[i], bad % 2 ? "too long" : "the judge gave a number that is none");
                }
            }
            gram_judged_group_clear(&r);
            gram_judged_group_clear(&w);
        }
}

static void nothing_is_left_to_compare_with(void **state)
{
    struct judge j = truth();
    gram_judged_group r;

    (void)state;
    j.bad = 1;
    r = run(&j, GRAM_SCHEME_ALL_PAIRS, GRAM_UNIT_MARGIN, (const char *const[]){ "a", "bb" }, 2);
    assert_int_equal(r.failed, 2);
    assert_string_equal(r.error[1], "too long");
    assert_non_null(strstr(r.error[0], "no other response"));
    assert_true(isnan(r.reward[0]) && isnan(r.reward[1]));
    gram_judged_group_clear(&r);
}

static void a_cycle_has_a_winner_of_the_knockout(void **state)
{
    struct judge j = truth();
    gram_judged_group r;

    (void)state;
    j.cycle = true;
    r = run(&j, GRAM_SCHEME_ALL_PAIRS, GRAM_UNIT_MARGIN, text, 3);
    assert_true(r.reward[0] == 0 && r.reward[1] == 0 && r.reward[2] == 0);
    gram_judged_group_clear(&r);
    j = truth();
    j.cycle = true;
    r = run(&j, GRAM_SCHEME_LINEAR, GRAM_UNIT_MARGIN, text, 3);     /* 0 beats 1, 2 beats 0 */
    assert_true(r.reward[2] == 0 && r.reward[0] == -1 && r.reward[1] == -2);
    assert_true(isnan(r.value[1 * 3 + 2]));
    gram_judged_group_clear(&r);
}

static void a_judge_that_fails_fails_all(void **state)
{
    struct judge j = truth();
    const gr_scheme s = { GRAM_SCHEME_ALL_PAIRS, GRAM_UNIT_MARGIN, compare, &j, text, N };
    gram_judged_group r;

    (void)state;
    j.n = N;
    j.broken = true;
    CHECK_OK(gr_judged_group_init(&r, N, true, &check_err));
    assert_int_equal(gr_scheme_run(&s, &r, &check_err), GRAM_EIO);
    assert_string_equal(check_err.text, "the judge went home");
    gram_judged_group_clear(&r);
    gram_judged_group_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scheme_gives_the_truth_back), cmocka_unit_test(a_preference_is_bounded),
        cmocka_unit_test(equal_texts_are_judged_once), cmocka_unit_test(ties_tie),
        cmocka_unit_test(the_first_of_equals_goes_on),
        cmocka_unit_test(one_fails_and_the_others_go_on), cmocka_unit_test(nothing_is_left_to_compare_with),
        cmocka_unit_test(a_cycle_has_a_winner_of_the_knockout), cmocka_unit_test(a_judge_that_fails_fails_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
