/* test_nomem.c - the n-th allocation fails, for every n: each kind of row is read whole or is "out of memory". */
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include "check.h"
#include "data/rows.h"
#include "nomem_json.h"

static const char *const kind[] = {
    "{\"id\":99999999999999999999,\"a\":NaN,\"b\":\"\\ud83d\",\"prompt\":\"q\",\"system\":\"s\",\"context\":\"c\","
    "\"chosen\":\"x\","
    "\"rejected\":\"y\",\"source\":\"z\",\"subset\":1}",
    "{\"prompt\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"q\"}]},{\"role\":\"assistant\",\"c"
    "ontent\":null,"
    "\"tool_calls\":\"[{'a': 'b\\\\n'}]\"},{\"role\":\"tool\",\"content\":\"7\"}],\"tools\":\"[{}]\",\"chosen\":[{"
    "\"role\":\"assistant\","
    "\"content\":\"x\",\"reasoning_content\":\"h\"}],\"rejected\":\"y\"}",
    "{\"chosen\":\"[{'role': 'user', 'content': 'q\\\\x41'}, {'role': 'assistant', 'content': 'x'}]\",\"rejected\":"
    "\"[{'role': 'user', 'content': 'qA'}, {'role': 'assistant', 'content': 'y'}]\"}",
    "{\"prompt\":\"\\n\\nHuman: q\\n\\nAssistant:\",\"chosen\":\"Human: q\\n\\nAssistant: x\",\"rejected\":\"Human"
    ": q\\n\\nAssistant: y\"}",
    "{\"prompt\":\"q\\n<extra_id_1>Assistant\\na\\n<extra_id_1>User\\nr\",\"response_a\":\"x\",\"response_b\":\"y"
    "\",\"winner\":\"[[B]]\"}",
    "{\"prompt\":\"[\\\"q\\\"]\",\"response_a\":\"[\\\"x\\\"]\",\"response_b\":\"['y']\",\"winner_model_a\":1,\"wi"
    "nner_model_b\":0,"
    "\"winner_tie\":0}",
    "{\"instruction\":\"q\",\"input\":\"i\",\"history\":[[\"a\",\"b\"]],\"completions\":[{\"text\":\"x\",\"score\""
    ":1},{\"text\":\"y\",\"score\":2}]}",
    "{\"prompt\":\"q\",\"response_1\":\"x\",\"response_2\":\"y\",\"scores\":[true,false],\"sampled_conflict_pairs"
    "\":[[0,1]]}",
    "{\"prompt\":\"q\",\"chosen\":[\"x\"],\"rejected\":[\"y\",\"z\"]}",
};

static gram_status read_row(const char *json, size_t *n)
{
    gr_row *row;
    gram_status rc = gr_rows_parse("f", 1, json, strlen(json), &row, n, &check_err);

    for (size_t i = 0; i < *n; i++)
        gr_row_clear(&row[i]);
    free(row);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (size_t k = 0; k < GR_COUNT(kind); k++) {
        size_t rows, n;
        CHECK_OK(read_row(kind[k], &rows));
        for (long left = 0;; left++) {
            long live = nomem_live;
            gram_status rc;
            nomem_left = left;
            rc = read_row(kind[k], &n);
            if (nomem_left >= 0) {                      /* it needed no more than that */
                nomem_left = -1;
                CHECK_OK(rc);
                assert_int_equal(n, rows);
                break;
            }
            nomem_left = -1;
            if (rc != GRAM_ENOMEM)
                fail_msg("%s\n allocation %ld failed, and the status is %d: %s", kind[k], left, rc, check_err.text);
            assert_int_equal(nomem_live, live);
        }
    }
}

static void columns(void **state)
{
    char path[300];
    FILE *f;

    (void)state;
    snprintf(path, sizeof path, "%s/rows.jsonl", check_tmpdir());
    f = fopen(path, "w");
    assert_non_null(f);
    fputs("{\"q\":{\"t\":\"q\"},\"a\":\"x\",\"b\":\"y\"}\n", f);
    fclose(f);
    for (long left = 0;; left++) {
        gr_reader *r;
        gr_row row = { 0 };
        bool end;
        gram_status rc;
        nomem_left = left;
        rc = gr_reader_open(&r, path, "prompt=q.t,chosen=a,rejected=b", &check_err);
        if (!rc)
            rc = gr_reader_pair(r, &row, &end, &check_err);
        if (r)
            gr_reader_close(r);
        gr_row_clear(&row);
        if (nomem_left >= 0) {
            nomem_left = -1;
            CHECK_OK(rc);
            break;
        }
        nomem_left = -1;
        assert_int_equal(rc, GRAM_ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(columns) };

    if (!NOMEM_COUNTED)
        return 77;
    json_set_alloc_funcs(json_take, json_give);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
