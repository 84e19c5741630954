/* test_report.c - the page is well formed and harmless whatever the rows say; the table keeps its width. */
#include "eval/report.h"
#include "eval/table.h"
#include "eval/text.h"
#include "eval_check.h"

static char *page_of(gr_eval_result *r)
{
    gr_buf b = { 0 };

    CHECK_OK(gr_eval_report(r, &b, &check_err));
    return b.p;
}

static void page_is_whole(void **state)
{
    static const char *const says[] = {
        "<title>Evaluation of m.gguf", "prefers-color-scheme:dark", "Reliability diagram", "role=\"img\"",
        "First seat wins", "width=device-width", "both orders prefer the better", "Most surely wrong",
        "mean of files (macro)", "1,234"
    };
    golden_rows g;
    char *page, ece[80];

    (void)state;
    golden_rows_load(&g);
    g.result.facts = (gr_eval_facts){ .model = "m.gguf", .max_tokens = 1234, .date = "2026-01-02" };
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    page = page_of(&g.result);
    well_formed(page);
    for (size_t k = 0; k < GR_COUNT(says); k++)
        if (!strstr(page, says[k]))
            fail_msg("the page does not say %s", says[k]);
    snprintf(ece, sizeof ece, "<span>Calibration error</span><b>%.1f&#160;%%</b>", 100 * g.result.all.ece);
    assert_non_null(strstr(page, ece));                     /* percent, as in the terminal's table */
    assert_null(strstr(page, "src="));                      /* nothing is fetched */
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "href="));
    free(page);
    golden_rows_clear(&g);
}

/* Of a model that gives each answer a number the page speaks of no order. */
static void rewards_have_no_orders(void **state)
{
    static const char *const never[] = { "generative", "both, averaged", "Flip rate", "First seat wins",
                                         "better second", "orders averaged", "logit" };
    golden_rows g;
    char *page;

    (void)state;
    golden_rows_load(&g);
    for (size_t i = 0; i < g.n; i++) {
        g.row[i].rewarded = true;
        g.row[i].reward[0] = -12.25;
        g.row[i].p_swapped = NAN;
    }
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    page = page_of(&g.result);
    well_formed(page);
    for (size_t k = 0; k < GR_COUNT(never); k++)
        if (strstr(page, never[k]))
            fail_msg("the page of a reward model says %s", never[k]);
    assert_non_null(strstr(page, "none: each answer by itself"));
    assert_non_null(strstr(page, "<td>-12.250</td>"));
    assert_non_null(strstr(page, ">|difference of rewards|</th>"));
    free(page);
    golden_rows_clear(&g);
}

/* Rows that were read in one order each are not said to be averaged over two. */
static void one_order_is_not_said_to_be_two(void **state)
{
    static const char *const never[] = { "both, averaged", "orders averaged", "over both orders" };
    golden_rows g;
    char *page;

    (void)state;
    golden_rows_load(&g);
    for (size_t i = 0; i < g.n; i++)
        *(i % 2 ? &g.row[i].p_swapped : &g.row[i].p_forward) = NAN;
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    page = page_of(&g.result);
    well_formed(page);
    for (size_t k = 0; k < GR_COUNT(never); k++)
        if (strstr(page, never[k]))
            fail_msg("the page of rows that were read in one order says %s", never[k]);
    assert_non_null(strstr(page, "one, of half of the rows the better answer first"));
    assert_non_null(strstr(page, "beats the other, in the one order that was read."));
    free(page);
    golden_rows_clear(&g);
}

/* Rows made of what would break a page; also one whose order was read once, and one that was dropped. */
static void text_is_escaped(void **state)
{
    char evil[] = EVIL;
    gr_eval_row row[3] = {
        { .id = evil, .subset = evil, .preference = 0.2, .p_forward = 0.2, .p_swapped = NAN, .cell = -1,
          .consistent = true },
        { .id = evil, .subset = NULL, .preference = 1, .p_forward = 1, .p_swapped = 1, .cell = -1, .consistent = true },
        { .id = evil, .subset = evil, .dropped = true, .cell = -1 }
    };
    gr_eval_result r = { .facts = { .model = EVIL, .dtype = EVIL, .cpu = EVIL, .chat_template = EVIL, .truncate = EVIL,
                                    .date = EVIL, .prompt_hash = EVIL, .label_a = EVIL, .label_b = EVIL } };
    gr_buf table = { 0 };
    char *page;

    (void)state;
    r.n_files = 1;
    r.file = gr_calloc(1, sizeof *r.file);
    r.file->path = gr_strdup(EVIL "/" EVIL);
    CHECK_OK(gr_eval_collect(&r, row, 3, GR_RULES_NONE, &check_err));
    page = page_of(&r);
    well_formed(page);
    assert_null(strstr(page, "<script"));
    assert_non_null(strstr(page, "&lt;script&gt;alert(&quot;x&quot;)"));
    CHECK_OK(gr_eval_table(&r, &table, &check_err));
    assert_null(strchr(table.p, '\x01'));
    free(page);
    gr_buf_clear(&table);
    gr_eval_result_clear(&r);
}

/* No rows at all, and none that has a score: dashes, no NaN. */
static void emptiness_shows(void **state)
{
    gr_eval_row dropped = { .id = (char[]){ "x" }, .dropped = true, .cell = -1 };

    (void)state;
    for (size_t n = 0; n < 2; n++) {
        gr_eval_result r = { .n_files = 1, .file = gr_calloc(1, sizeof *r.file), .pairs_per_s = NAN,
                             .tokens_per_s = NAN };
        gr_buf table = { 0 };
        char *page;
        r.file->path = gr_strdup("f.jsonl");
        CHECK_OK(gr_eval_collect(&r, &dropped, n, GR_RULES_RMBENCH, &check_err));
        CHECK_OK(gr_eval_table(&r, &table, &check_err));
        page = page_of(&r);
        well_formed(page);
        assert_null(strstr(page, "nan"));
        assert_null(strstr(table.p, "nan"));
        free(page);
        gr_buf_clear(&table);
        gr_eval_result_clear(&r);
    }
}

static void table_is_narrow(void **state)
{
    golden_rows g;
    gr_buf b = { 0 };
    size_t lines = 0;

    (void)state;
    golden_rows_load(&g);
    CHECK_OK(gr_eval_collect(&g.result, g.row, g.n, GR_RULES_NONE, &check_err));
    CHECK_OK(gr_eval_table(&g.result, &b, &check_err));
    for (char *line = strtok(b.p, "\n"); line; line = strtok(NULL, "\n"), lines++)
        if (gr_text_width(line) > 88)
            fail_msg("%zu columns: %s", gr_text_width(line), line);
    assert_true(lines > 12);
    gr_buf_clear(&b);
    golden_rows_clear(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_is_whole), cmocka_unit_test(rewards_have_no_orders),
        cmocka_unit_test(one_order_is_not_said_to_be_two),
        cmocka_unit_test(text_is_escaped), cmocka_unit_test(emptiness_shows),
        cmocka_unit_test(table_is_narrow)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
