/* test_versus.c - the length-controlled win rate against NumPy's, words counted by hand, intervals against a mean's
 * known error, and what shows the numbers. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "check.h"
#include "eval/versus.h"

enum { N = 12 };
static const double won[N] = { 1, 1, 0, 0.5, 1, 0, 1, 0, 0, 1, 1, 0.5 };
static const int longer[N] = { 120, 35, -60, 4, 300, -20, -80, 15, -150, 90, 210, 0 };
static const gr_versus_row nothing = { .win = NAN, .preference = NAN, .flip = NAN, .kl = NAN, .kl_token = NAN,
                                       .reward = { NAN, NAN }, .tokens = { NAN, NAN }, .cut = { NAN, NAN } };

static void add(gr_versus *v, uint64_t prompt, double win, int a, int b)
{
    char text[2][600];
    const char *const both[] = { text[0], text[1] };
    gr_versus_row row = nothing;

    memset(text, 'x', sizeof text);
    text[0][a] = text[1][b] = '\0';
    row.prompt = prompt;
    row.win = win;
    CHECK_OK(gr_versus_add(v, &row, both, &check_err));
}

static bool near(double a, double b, double bound) { return fabs(a - b) < bound; }

/* theta and phi are the minimum that Newton's method in NumPy ends at, d.std(ddof=1) being the sd: printed to 8 digits
 * there. */
static void equal_lengths_are_numpys(void **state)
{
    static const double times[N] = { 2, 0, 1, 1, 3, 0, 1, 1, 0, 2, 0, 1 };
    gr_versus v = { 0 };
    gram_policy_comparison c;
    double y[N], x[N], theta, phi, mean = 0, squares = 0;

    (void)state;
    for (size_t i = 0; i < N; i++) {
        add(&v, i, won[i], 200 + longer[i], 200);
        mean += longer[i] / (double)N;
    }
    for (size_t i = 0; i < N; i++)
        squares += (longer[i] - mean) * (longer[i] - mean);
    for (size_t i = 0; i < N; i++) {
        y[i] = won[i];
        x[i] = tanh(longer[i] / sqrt(squares / (N - 1)));
    }
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(c.rows == N && c.compared == N);
    assert_true(near(c.win.value, 7.0 / 12, 1e-15) && near(c.ties.value, 2.0 / 12, 1e-15));
    assert_true(near(c.win_lc.value, 0.553521093435546, 1e-8) && near(c.length_weight, 1.06430427, 1e-7));
    assert_true(c.win_lc.low < c.win_lc.value && c.win_lc.value < c.win_lc.high);
    gr_length_fit(y, x, times, N, &theta, &phi);
    assert_true(near(theta, 0.78734441, 1e-7) && near(phi, 0.91904051, 1e-7));
    gr_versus_clear(&v);
}

/* A side that always wins is at 1 whatever the lengths are; rewards that differ by length alone leave one half. */
static void the_ends_of_the_fit(void **state)
{
    static const double all[4] = { 1, 1, 1, 1 }, none[4] = { 0 };
    static const double x[4] = { -0.9, 0.9, -0.9, 0.9 }, y[4] = { 0, 1, 0, 1 };
    double theta, phi;

    (void)state;
    gr_length_fit(all, x, NULL, 4, &theta, &phi);
    assert_true(isinf(theta) && theta > 0);
    gr_length_fit(none, x, NULL, 4, &theta, &phi);
    assert_true(isinf(theta) && theta < 0);
    gr_length_fit(y, x, NULL, 4, &theta, &phi);
    assert_true(near(theta, 0, 1e-10) && phi > 1 && isfinite(phi));
}

/* Where all answers are equally long, length explains nothing: the two win rates are the same, and their intervals are
 * but for the way that they are found. */
static void intervals_are_those_of_a_mean(void **state)
{
    gr_versus v = { 0 };
    gram_policy_comparison c;
    uint64_t seed = 3;
    double se;

    (void)state;
    for (uint64_t i = 0; i < 400; i++)
        add(&v, i * 2654435761u, gr_random_below(&seed, 10) < 6, 5, 5);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    se = sqrt(c.win.value * (1 - c.win.value) / 400);
    assert_true(near(c.win.low, c.win.value - 1.96 * se, 0.2 * se));
    assert_true(near(c.win.high, c.win.value + 1.96 * se, 0.2 * se));
    assert_true(near(c.win_lc.value, c.win.value, 1e-9));
    assert_true(near(c.win_lc.low, c.win.low, 0.2 * se) && near(c.win_lc.high, c.win.high, 0.2 * se));
    gr_versus_clear(&v);
    for (uint64_t i = 0; i < 400; i++)                  /* ten rows of one prompt are one observation */
        add(&v, i / 10, i % 20 < 10, 5, 5);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    se = sqrt(0.25 / 40);
    assert_true(near(c.win.low, 0.5 - 1.96 * se, 0.3 * se) && near(c.win.high, 0.5 + 1.96 * se, 0.3 * se));
    gr_versus_clear(&v);
    add(&v, 1, 1, 3, 4);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(c.win.value == 1 && near(c.win.low, 1 / (1 + 1.959964 * 1.959964), 1e-6) && c.win_lc.value == 1);
    assert_true(isnan(c.policy.chars.low));
    gr_versus_clear(&v);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(c.rows == 0 && isnan(c.win.value) && isnan(c.policy.distinct[0].value));
    gr_versus_clear(&v);
}

/* Of rows that are all alike every bootstrap sample is the same; what is not known of other prompts is known no better:
 * Wilson's interval of k of k is [k / (k + z^2), 1]. */
static void what_is_always_so_has_an_interval(void **state)
{
    static const double verdict[3] = { 1, 0, 0.5 };
    gr_versus v = { 0 };
    gram_policy_comparison c;
    double low = 5 / (5 + 1.959964 * 1.959964);

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        for (uint64_t i = 0; i < 5; i++)
            add(&v, i, verdict[k], 10 + (int)i, 10);
        CHECK_OK(gr_versus_collect(&v, &c, &check_err));
        assert_true(c.win.value == verdict[k] && c.win_lc.value == verdict[k]);
        assert_true(near(c.win.low, k == 0 ? low : k == 1 ? 0 : 0.1705, 1e-4));
        assert_true(near(c.win.high, k == 0 ? 1 : k == 1 ? 1 - low : 0.8295, 1e-4));
        assert_true(c.win_lc.low == c.win.low && c.win_lc.high == c.win.high);
        assert_true(near(k == 2 ? 1 - c.ties.low : c.ties.high, 1 - low, 1e-6));
        gr_versus_clear(&v);
    }
    for (uint64_t i = 0; i < 20; i++)                   /* four rows of a prompt are one observation here */
        add(&v, i / 4, 1, 10, 10);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(near(c.win.low, low, 1e-6));
    gr_versus_clear(&v);
}

/* Counted by hand. */
static void words_are_counted(void **state)
{
    static const char *const text[][2] = { { " a b  a\nb a b ", NULL }, { "a b c", NULL } };
    gr_versus v = { 0 };
    gram_policy_comparison c;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        gr_versus_row row = nothing;
        row.prompt = i;
        row.reward[0] = (double)i;
        CHECK_OK(gr_versus_add(&v, &row, text[i], &check_err));
    }
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(c.policy.answers == 2 && c.baseline.answers == 0 && isnan(c.baseline.distinct[0].value));
    assert_true(near(c.policy.distinct[0].value, 3.0 / 9, 1e-15));          /* a b c of 6 + 3 */
    assert_true(near(c.policy.distinct[1].value, 3.0 / 7, 1e-15));          /* ab ba bc of 5 + 2 */
    assert_true(near(c.policy.distinct[2].value, 3.0 / 5, 1e-15));          /* aba bab abc of 4 + 1 */
    assert_true(near(c.policy.repetition.value, (0.5 + 0) / 2, 1e-15));     /* aba bab aba bab; abc */
    assert_true(near(c.policy.chars.value, (14 + 5) / 2.0, 1e-15) && isnan(c.baseline.chars.value));
    assert_true(c.policy.reward.value == 0.5 && isnan(c.win.value) && c.compared == 0 && isnan(c.length_weight));
    gr_versus_clear(&v);
}

/* Each side has its own numbers. */
static void sides_are_told_apart(void **state)
{
    static const char *const text[] = { "a b c d", "a b a b a" };
    gr_versus v = { 0 };
    gram_policy_comparison c;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const gr_versus_row row = { .prompt = i, .win = 1, .preference = 0.9, .flip = i == 0, .kl = 2, .kl_token = 0.5,
                                    .reward = { 3, 1 }, .tokens = { 7, 11 }, .cut = { 0, 1 } };
        CHECK_OK(gr_versus_add(&v, &row, text, &check_err));
    }
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    assert_true(c.policy.reward.value == 3 && c.baseline.reward.value == 1 && c.gain.value == 2);
    assert_true(c.policy.tokens.value == 7 && c.baseline.tokens.value == 11);
    assert_true(c.policy.cut.value == 0 && c.baseline.cut.value == 1);
    assert_true(c.policy.chars.value == 7 && c.baseline.chars.value == 9);
    assert_true(c.policy.repetition.value == 0 && near(c.baseline.repetition.value, 1.0 / 3, 1e-15));
    assert_true(c.policy.distinct[0].value == 0.5 && near(c.baseline.distinct[0].value, 0.2, 1e-15));
    assert_true(c.preference.value == 0.9 && c.flips.value == 0.5 && c.kl.value == 2 && c.kl_token.value == 0.5);
    gr_versus_clear(&v);
}

/* Texts of files are escaped; the JSON has every number, null where there is none. */
static void what_shows_them(void **state)
{
    const gr_versus_sample sample = { "<q>", { "<b>", "&" }, 1, { 0.5, NAN } };
    const gr_versus_facts f = { "d", "p", "b<", "j", "greedy", "today", "A note.", 1, 2, 1, &sample, 1 };
    gr_versus v = { 0 };
    gram_policy_comparison c;
    gr_buf table = { 0 }, json = { 0 }, page = { 0 };
    json_t *o;

    (void)state;
    for (size_t i = 0; i < N; i++)
        add(&v, i, won[i], 200 + longer[i], 200);
    CHECK_OK(gr_versus_collect(&v, &c, &check_err));
    CHECK_OK(gr_versus_table(&c, &f, &table, &check_err));
    CHECK_OK(gr_versus_json(&c, &f, &json, &check_err));
    CHECK_OK(gr_versus_page(&c, &f, &page, &check_err));
    assert_non_null(strstr(table.p, "length-controlled   55.4 % ["));
    assert_non_null(strstr(table.p, "2 left out without an answer, 1 of them without a verdict"));
    assert_null(strstr(table.p, "KL"));
    assert_non_null(strstr(page.p, "&lt;q&gt;"));
    assert_null(strstr(page.p, "<q>"));
    assert_non_null(strstr(page.p, "reward 0.5"));
    o = json_loadb(json.p, json.n, 0, NULL);
    assert_true(json_number_value(json_object_get(json_object_get(o, "win_rate"), "value")) == c.win.value);
    assert_true(json_is_null(json_object_get(json_object_get(o, "kl"), "value")));
    assert_true(json_number_value(json_object_get(json_object_get(json_object_get(o, "baseline"), "chars"), "value")) ==
                200);
    json_decref(o);
    gr_buf_clear(&table);
    gr_buf_clear(&json);
    gr_buf_clear(&page);
    gr_versus_clear(&v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_lengths_are_numpys), cmocka_unit_test(the_ends_of_the_fit),
        cmocka_unit_test(intervals_are_those_of_a_mean), cmocka_unit_test(what_is_always_so_has_an_interval),
        cmocka_unit_test(words_are_counted),
        cmocka_unit_test(sides_are_told_apart),
        cmocka_unit_test(what_shows_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
