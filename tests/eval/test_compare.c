/* test_compare.c - two judges on the same rows: what is paired, the difference and its interval, by hand. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "eval/compare.h"
#include "eval/metrics.h"
#include "file/io.h"

typedef struct {
    const char *file, *id;
    uint64_t prompt;
    double preference;
    bool dropped;
    uint64_t text;
    bool once, rewarded;                /* in one order; by a reward model, which knows none */
} judged;

static char *rows_file(const char *name, const judged *row, size_t n)
{
    char *path = check_tmppath(name);
    gr_buf b = { 0 };

    for (size_t i = 0; i < n; i++) {
        char id[16];
        gr_eval_row r = { .id = id, .prompt = row[i].prompt, .preference = row[i].preference,
                          .p_forward = row[i].preference, .p_swapped = row[i].once ? NAN : row[i].preference,
                          .consistent = true,
                          .chosen_chars = 3, .rejected_chars = 4, .cell = -1, .dropped = row[i].dropped,
                          .texts = row[i].text, .rewarded = row[i].rewarded };
        snprintf(id, sizeof id, "%s", row[i].id);
        assert_true(gr_eval_row_write(&b, &r, row[i].file, 7));
    }
    CHECK_OK(gr_write_file(path, b.p, b.n, &check_err));
    gr_buf_clear(&b);
    return path;
}

static const judged before[] = {
    { "x/one.jsonl", "a", 1, 0.4, false }, { "x/one.jsonl", "b", 1, 0.4, false }, { "x/one.jsonl", "c", 2, 0.9, false },
    { "x/one.jsonl", "d", 3, 0.5, false }, { "x/two.jsonl", "a", 4, 0.2, false },
    { "x/two.jsonl", "gone", 5, 0.9, false }, { "x/two.jsonl", "long", 6, 0.9, true },
};
static const judged after[] = {             /* another order, another folder */
    { "y/two.jsonl", "a", 4, 0.8, false }, { "y/two.jsonl", "long", 6, 0.9, false },
    { "y/one.jsonl", "d", 3, 0.6, false }, { "y/one.jsonl", "c", 2, 0.8, false },
    { "y/one.jsonl", "b", 1, 0.7, false }, { "y/one.jsonl", "a", 1, 0.6, false },
    { "y/one.jsonl", "new", 9, 0.6, false }, { "y/one.jsonl", "new2", 9, 0.6, false },
};

/* d = 1, 1, 0, 1/2 of prompts 1, 1, 2, 3 in one file, and 1 of prompt 4 in the other. */
static void the_difference_is_paired_and_clustered(void **state)
{
    char *a = rows_file("a.jsonl", before, GR_COUNT(before)), *b = rows_file("b.jsonl", after, GR_COUNT(after)), *table;
    char *json = check_tmppath("d.json"), *rows = check_tmppath("d.jsonl"), *text;
    double x = 3.5 / 5, m = 5.0 / 4, y = 3.5 / (5 + 2 * m), V = 0, half;     /* y: of two prompts more, d = 1 and -1 */
    const double sum[] = { 2 - 2 * y, -y, 0.5 - y, 1 - y };
    gram_eval_comparison c;
    size_t n;

    (void)state;
    for (size_t g = 0; g < 4; g++)
        V += 4.0 / 3 * sum[g] * sum[g];
    V += pow(m * (1 - y), 2) + pow(m * (1 + y), 2);
    half = gr_eval_t975(3) * sqrt(V) / (5 + 2 * m);
    CHECK_OK(gr_eval_compare(a, b, json, rows, &c, &table, &check_err));
    assert_int_equal(c.rows, 5);
    assert_int_equal(c.only_b, 4);
    assert_int_equal(c.only_a, 0);
    assert_int_equal(c.alone_a, 1);
    assert_int_equal(c.alone_b, 2);
    assert_int_equal(c.dropped, 1);
    assert_true(fabs(c.difference.value - x) < 1e-12);
    assert_true(fabs(c.difference.low - fmax(-1, y - half)) < 1e-12 && c.difference.high == fmin(1, y + half));
    assert_true(fabs(c.macro_difference.value - (2.5 / 4 + 1) / 2) < 1e-12);
    assert_non_null(strstr(table, "1 row of A alone is left out"));
    assert_non_null(strstr(table, "2 rows of B alone are left out"));
    assert_non_null(strstr(table, "Neither can be said to be better"));      /* five rows say little */
    assert_non_null(strstr(table, "4 rows are judged otherwise; "));         /* the farthest first */
    assert_true(strstr(table, "  0.2000  0.8000\n") < strstr(table, "  0.4000  0.7000\n"));
    assert_true(strstr(table, "  0.4000  0.7000\n") < strstr(table, "  0.5000  0.6000\n"));
    CHECK_OK(gr_read_file(rows, 1 << 20, &text, &n, &check_err));
    assert_true(text == strstr(text, "{\"file\":\"x/one.jsonl\",\"id\":\"a\""));
    assert_null(strstr(text, "\"id\":\"c\""));
    assert_non_null(strstr(text, "\"preference_a\":0.4,\"preference_b\":0.6}"));
    free(text);
    CHECK_OK(gr_read_file(json, 1 << 20, &text, &n, &check_err));
    assert_non_null(strstr(text, "\"only_in_b\":2"));
    assert_non_null(strstr(text, "\"all\":{\"name\":null,\"rows\":5,\"right_a\":0.3,\"right_b\":1,"));
    assert_non_null(strstr(text, "\"only_a\":0,\"only_b\":4}"));
    free(text), free(table), free(a), free(b), free(json), free(rows);
}

static void a_better_judge_is_called_so(void **state)
{
    judged worse[40], better[40];
    char id[40][8], *a, *b, *table;

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        snprintf(id[i], sizeof id[i], "%zu", i);
        worse[i] = (judged){ "f.jsonl", id[i], i, i % 2 ? 0.9 : 0.1, false };
        better[i] = (judged){ "f.jsonl", id[i], i, i % 4 ? 0.9 : 0.1, false };
    }
    a = rows_file("worse.jsonl", worse, 40);
    b = rows_file("better.jsonl", better, 40);
    CHECK_OK(gr_eval_compare(a, b, NULL, NULL, NULL, &table, &check_err));
    assert_non_null(strstr(table, "B is better on these rows"));
    free(table);
    CHECK_OK(gr_eval_compare(b, a, NULL, NULL, NULL, &table, &check_err));
    assert_non_null(strstr(table, "A is better on these rows"));
    free(table), free(a), free(b);
}

/* Files count alike, however many rows they have, and the interval of their mean is that of independent means. Of the
 * rows that are judged otherwise ten are named. A reads three in one order. */
static void files_count_alike(void **state)
{
    judged first[40], second[40];
    gr_eval_value value[2][40];
    char id[40][8], *a, *b, *table;
    size_t n[2] = { 0, 0 }, named = 0;
    gram_interval d[2];
    gram_eval_comparison c;

    (void)state;
    for (size_t i = 0; i < 40; i++) {
        int k = i >= 30;
        snprintf(id[i], sizeof id[i], "%zu", i);
        first[i] = (judged){ k ? "g.jsonl" : "f.jsonl", id[i], i, i % 3 ? 0.9 : 0.1, false, 1 + i, i < 3 };
        second[i] = (judged){ k ? "g.jsonl" : "f.jsonl", id[i], i, i % (k ? 2 : 5) ? 0.8 : 0.2, false, 1 + i, false };
        value[k][n[k]++] = (gr_eval_value){ i, (second[i].preference > 0.5) - (first[i].preference > 0.5) };
    }
    for (int k = 0; k < 2; k++)
        d[k] = gr_eval_paired(value[k], n[k]);
    a = rows_file("first-of-two.jsonl", first, 40);
    b = rows_file("second-of-two.jsonl", second, 40);
    CHECK_OK(gr_eval_compare(a, b, NULL, NULL, &c, &table, &check_err));
    assert_true(d[0].value != d[1].value && d[0].value != c.difference.value);
    assert_true(fabs(c.macro_difference.value - (d[0].value + d[1].value) / 2) < 1e-12);
    assert_true(fabs(c.macro_difference.low - (c.macro_difference.value -
                                               hypot(d[0].value - d[0].low, d[1].value - d[1].low) / 2)) < 1e-12);
    assert_true(fabs(c.macro_difference.high - (c.macro_difference.value +
                                                hypot(d[0].high - d[0].value, d[1].high - d[1].value) / 2)) < 1e-12);
    assert_non_null(strstr(table, "A read 3 rows in one order alone, so that its seat counts too\n"));
    assert_null(strstr(table, "B read"));
    for (const char *at = strstr(table, ", the farthest apart of which are"); at && (at = strchr(at + 1, '\n')); )
        named += at[1] != '\0';
    assert_int_equal(named, 10);
    free(table), free(a), free(b);
}

/* What is said of one order is of rows that are compared, and of judges that read orders. */
static void one_order_is_of_what_is_compared(void **state)
{
    const judged once[] = { { "x.jsonl", "a", 1, 0.9, .once = true }, { "x.jsonl", "b", 2, 0.9, .once = true } };
    const judged other[] = { { "x.jsonl", "a", 1, 0.4, .once = true, .rewarded = true },
                             { "x.jsonl", "b", 2, 0.4, .once = true, .dropped = true } };
    char *a = rows_file("once.jsonl", once, 2), *b = rows_file("other.jsonl", other, 2), *table;

    (void)state;
    CHECK_OK(gr_eval_compare(a, b, NULL, NULL, NULL, &table, &check_err));
    assert_non_null(strstr(table, "A read 1 row in one order alone"));
    assert_null(strstr(table, "B read"));
    free(table), free(a), free(b);
}

/* B alone right on n rows, A alone on none: of five rows that is a chance of 1 in 16, of six of 1 in 32; and what is
 * alike on ten is not known to be alike on all. */
static void few_rows_decide_nothing(void **state)
{
    static const struct { size_t n; double a; const char *says; } each[] = {
        { 2, 0.1, "Neither can be said" }, { 5, 0.1, "Neither can be said" }, { 6, 0.1, "B is better" },
        { 10, 0.9, "Neither can be said" },
    };
    judged worse[10], better[10];
    char id[10][24], *a, *b, *table;
    gram_eval_comparison c;

    (void)state;
    for (size_t k = 0; k < GR_COUNT(each); k++) {
        for (size_t i = 0; i < each[k].n; i++) {
            snprintf(id[i], sizeof id[i], "%zu", i);
            worse[i] = (judged){ "f.jsonl", id[i], i, each[k].a, false, 1 + i };
            better[i] = (judged){ "f.jsonl", id[i], i, 0.9, false, 1 + i };
        }
        a = rows_file("few-worse.jsonl", worse, each[k].n);
        b = rows_file("few-better.jsonl", better, each[k].n);
        CHECK_OK(gr_eval_compare(a, b, NULL, NULL, &c, &table, &check_err));
        assert_non_null(strstr(table, each[k].says));
        assert_true(c.difference.low < c.difference.value || c.difference.value == -1);
        free(table), free(a), free(b);
    }
    assert_true(c.difference.low < -0.2 && c.difference.high > 0.2);
}

/* One id, one question, one length: what tells two rows apart is their texts, in any order. */
static void other_texts_are_other_rows(void **state)
{
    static const judged first[] = { { "f.jsonl", "a", 1, 0.9, false, 11 }, { "f.jsonl", "a", 1, 0.1, false, 12 } };
    static const judged second[] = { { "f.jsonl", "a", 1, 0.1, false, 12 }, { "f.jsonl", "a", 1, 0.9, false, 13 } };
    static const judged older[] = { { "f.jsonl", "a", 1, 0.1, false, 0 }, { "f.jsonl", "a", 1, 0.9, false, 0 } };
    char *a = rows_file("first.jsonl", first, 2), *b = rows_file("second.jsonl", second, 2);
    char *old = rows_file("older.jsonl", older, 2);
    gram_eval_comparison c;

    (void)state;
    CHECK_OK(gr_eval_compare(a, b, NULL, NULL, &c, NULL, &check_err));
    assert_true(c.rows == 1 && c.alone_a == 1 && c.alone_b == 1 && c.only_a == 0 && c.only_b == 0);
    CHECK_OK(gr_eval_compare(a, old, NULL, NULL, &c, NULL, &check_err));    /* lengths are all that it has */
    assert_int_equal(c.rows, 2);
    free(a), free(b), free(old);
}

static void refused(const char *a, const char *b, gram_status want, const char *why)
{
    gram_status rc = gr_eval_compare(a, b, NULL, NULL, NULL, NULL, &check_err);

    if (rc != want || !strstr(check_err.text, why))
        fail_msg("status %d, \"%s\"; wanted \"%s\"", (int)rc, rc ? check_err.text : "", why);
}

static void what_cannot_be_compared_is_said(void **state)
{
    static const judged other = { "z.jsonl", "q", 1, 0.4, false };
    char *a = rows_file("a.jsonl", before, GR_COUNT(before)), *b = rows_file("other.jsonl", &other, 1), *gone;

    (void)state;
    refused(a, b, GRAM_EFORMAT, "no row in common");
    gone = check_tmppath("gone.json");
    refused(gone, b, GRAM_EIO, "gone.rows.jsonl");
    free(gone);
    gone = check_tmppath("bad.jsonl");
    CHECK_OK(gr_write_file(gone, "{}\n", 3, &check_err));
    refused(a, gone, GRAM_EFORMAT, "bad.jsonl:1");
    free(a), free(b), free(gone);
}

static void what_is_read_is_not_written_over(void **state)
{
    char *a = rows_file("kept.rows.jsonl", before, GR_COUNT(before)), *b = rows_file("b.jsonl", after, GR_COUNT(after));
    char *json = check_tmppath("kept.json"), *text;
    size_t n;

    (void)state;
    CHECK_OK(gr_write_file(json, "{}", 2, &check_err));         /* its rows are beside it */
    assert_int_equal(gr_eval_compare(json, b, json, NULL, NULL, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "kept.json is what is read"));
    assert_int_equal(gr_eval_compare(json, b, NULL, a, NULL, NULL, &check_err), GRAM_EARG);
    assert_int_equal(gr_eval_compare(json, b, NULL, b, NULL, NULL, &check_err), GRAM_EARG);
    CHECK_OK(gr_read_file(json, 64, &text, &n, &check_err));
    assert_string_equal(text, "{}");
    free(text), free(a), free(b), free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_difference_is_paired_and_clustered),
        cmocka_unit_test(a_better_judge_is_called_so),
        cmocka_unit_test(files_count_alike), cmocka_unit_test(one_order_is_of_what_is_compared),
        cmocka_unit_test(few_rows_decide_nothing),
        cmocka_unit_test(other_texts_are_other_rows),
        cmocka_unit_test(what_cannot_be_compared_is_said),
        cmocka_unit_test(what_is_read_is_not_written_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
