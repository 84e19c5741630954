/* test_overlap.c - the lines that wait for u, which all scores make: each keeps its place and its own numbers. */
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "api/overlap.h"
#include "file/io.h"

static gram_status add(gr_spread *s, const char *line)
{
    return gr_spread_add(s, line, strlen(line), &check_err);
}

/* Rewards far from each other overlap in nothing, so "penalised" repeats them. */
static void each_line_keeps_its_own_numbers(void **state)
{
    char *path = check_tmppath("out.jsonl"), *text;
    gr_spread s = { 0 };
    gr_out *o;
    size_t n;

    (void)state;
    CHECK_OK(add(&s, "{\"id\":\"a\\u0000b\",\"reward\":[1,100],\"sigma\":[0.5,0.5]}"));
    CHECK_OK(add(&s, "{\"id\":\"c\",\"reward\":[7,8]}"));
    CHECK_OK(add(&s, "{\"id\":\"d\",\"error\":\"refused\"}"));
    CHECK_OK(add(&s, "{\"id\":\"e\",\"reward\":[200,300],\"sigma\":[0.5,0.5]}"));
    CHECK_OK(gr_out_open(&o, path, false, &check_err));
    CHECK_OK(gr_spread_write(&s, 1, o, &check_err));
    CHECK_OK(gr_out_commit(o, &check_err));
    gr_out_close(o);
    CHECK_OK(gr_read_file(path, 1 << 20, &text, &n, &check_err));
    assert_non_null(strstr(text, "\"id\":\"a\\u0000b\""));
    assert_non_null(strstr(text, "{\"id\":\"c\",\"reward\":[7,8]}\n{\"id\":\"d\",\"error\":\"refused\"}\n"));
    assert_non_null(strstr(text, "\"reward\":[200,300],\"sigma\":[0.5,0.5],\"overlap\":[0.0,0.0],"
                                 "\"penalised\":[200.0,300.0]}\n"));
    free(text);
    gr_spread_clear(&s);
    free(path);
}

static void a_damaged_line_is_said(void **state)
{
    gr_spread s = { 0 };

    (void)state;
    assert_int_equal(add(&s, "{\"id\":\"a\",\"rew"), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "not JSON"));
    gr_spread_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_keeps_its_own_numbers),
        cmocka_unit_test(a_damaged_line_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
