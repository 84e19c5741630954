/* test_record.c - a line of rows.jsonl holds its row exactly, and a damaged one is refused with a sentence. */
#include "eval/text.h"
#include "eval_check.h"

static void round_trip(void **state)
{
    gr_eval_row r = { .id = gr_strdup("r\xc3\xa9/\"1\"\n\x01"), .subset = gr_strdup("\xf0\x9f\x98\x80 \\"),
                      .prompt = 0xfedcba9876543210u, .preference = 0.1 + 0.2, .p_forward = 1.0 / 3, .p_swapped = 5e-324,
                      .logit_margin = -1e300 / 7,
                      .tokens = 1234567890123, .chosen_chars = 7, .rejected_chars = 0, .cell = 8, .truncated = true };
    gr_eval_row back;
    gr_buf b = { 0 }, again = { 0 };
    uint64_t run;
    char *file;

    (void)state;
    assert_true(gr_eval_row_write(&b, &r, "a/b.jsonl", 42));
    CHECK_OK(gr_eval_row_parse("x", 1, b.p, b.n, &back, &file, &run, &check_err));
    assert_string_equal(back.id, r.id);
    assert_string_equal(back.subset, r.subset);
    assert_string_equal(file, "a/b.jsonl");
    assert_true(run == 42 && back.prompt == r.prompt && back.preference == r.preference && back.cell == 8);
    assert_true(back.p_forward == r.p_forward && back.p_swapped == r.p_swapped && back.logit_margin == r.logit_margin);
    assert_true(back.tokens == r.tokens && back.chosen_chars == 7 && back.truncated &&
                !back.dropped && !back.consistent);
    assert_true(gr_eval_row_write(&again, &back, file, run));
    assert_string_equal(again.p, b.p);
    free(file);
    gr_buf_clear(&b);
    gr_buf_clear(&again);
    gr_eval_row_clear(&r);
    gr_eval_row_clear(&back);
}

static void bad_lines(void **state)
{
    static const struct { const char *from, *to, *says; } damage[] = {
        { "\"id\":\"i\"", "\"id\":3", "x:9: \"id\" should be a string" },
        { "\"preference\":0.5", "\"preference\":1.5", "\"preference\" should be a number from 0 to 1" },
        { "\"preference\":0.5", "\"preference\":null", "\"preference\" should be a number from 0 to 1" },
        { "\"cell\":null", "\"cell\":64", "\"cell\" should be null or 0 to 63" },
        { "\"chars\":[1,2]", "\"chars\":[1]", "\"chars\" should be a count" },
        { "\"tokens\":4", "\"tokens\":-4", "\"tokens\" should be a count" },
        { "\"run\":\"000000000000002a\"", "\"run\":\"2a\"", "\"run\" should be 16 hexadecimal digits" },
        { "\"consistent\":true", "\"consistent\":1", "\"consistent\" should be true or false" },
        { "}", "", "should be a JSON object" }, { "{", "[", "should be a JSON object" }
    };
    const char *good = "{\"file\":\"f\",\"id\":\"i\",\"subset\":null,\"preference\":0.5,\"p_forward\":0.25,"
        "\"p_swapped\":null,\"logit_margin\":0,\"consistent\":true,\"tokens\":4,\"truncated\":false,\"dropped\":false,"
        "\"prompt\":\"0000000000000001\",\"chars\":[1,2],\"cell\":null,\"run\":\"000000000000002a\"}";
    gr_eval_row r;
    uint64_t run;
    char *file;

    (void)state;
    CHECK_OK(gr_eval_row_parse("x", 9, good, strlen(good), &r, &file, &run, &check_err));
    assert_true(isnan(r.p_swapped) && !r.subset);
    free(file);
    gr_eval_row_clear(&r);
    for (size_t k = 0; k < GR_COUNT(damage); k++) {
        char line[512];
        const char *at = strstr(good, damage[k].from);
        assert_non_null(at);
        snprintf(line, sizeof line, "%.*s%s%s", (int)(at - good), good, damage[k].to, at + strlen(damage[k].from));
        assert_int_equal(gr_eval_row_parse("x", 9, line, strlen(line), &r, &file, &run, &check_err), GRAM_EFORMAT);
        if (!strstr(check_err.text, damage[k].says))
            fail_msg("case %zu says: %s", k, check_err.text);
        assert_null(file);
    }
}

static void text_helpers(void **state)
{
    char *clean = gr_text_clean("a\xff\xc3(\xe2\x82\xac");
    gr_buf b = { 0 };

    (void)state;
    assert_string_equal(clean, "a\xef\xbf\xbd\xef\xbf\xbd(\xe2\x82\xac");
    assert_int_equal(gr_text_points("a\xe2\x82\xac\xf0\x9f\x98\x80"), 3);
    assert_int_equal(gr_text_width("\xe6\x97\xa5\xe6\x9c\xac"), 4);         /* two wide characters */
    assert_true(gr_text_cell(&b, "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e", 4));
    assert_string_equal(b.p, "\xe6\x97\xa5\xe2\x80\xa6 ");                  /* one of them, an ellipsis, a space */
    gr_buf_clear(&b);
    assert_true(gr_text_cell(&b, "ab", 4) && gr_text_cell(&b, "abcdef", 4) && gr_text_cell(&b, "abcd", 4));
    assert_string_equal(b.p, "ab  abc\xe2\x80\xa6" "abcd");
    gr_buf_clear(&b);
    assert_true(gr_text_html(&b, "<a href='x'>\"&\x01\r\n\t\r"));
    assert_string_equal(b.p, "&lt;a href=&#39;x&#39;&gt;&quot;&amp;\xef\xbf\xbd\n\t\n");
    gr_buf_clear(&b);
    assert_true(gr_text_number(&b, 0.1) && gr_text_number(&b, NAN) && gr_text_number(&b, -0.0));
    assert_string_equal(b.p, "0.1null0");
    gr_buf_clear(&b);
    free(clean);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip), cmocka_unit_test(bad_lines), cmocka_unit_test(text_helpers)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
