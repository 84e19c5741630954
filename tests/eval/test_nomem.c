/* test_nomem.c - a whole run with its n-th allocation failing, for every n: it says so, gives back what it took, and
 * a resume then ends as if nothing had happened. */
#include <unistd.h>
#include "eval_check.h"
#include "nomem_json.h"

static char *json, *rows, *partial, *page, *report;

static void prepare(void)
{
    report = gr_path_join(check_tmpdir(), "report");
    json = gr_path_join(check_tmpdir(), "out.json");
    rows = gr_path_join(check_tmpdir(), "out.rows.jsonl");
    partial = gr_path_join(check_tmpdir(), "out.rows.jsonl.partial");
    page = gr_path_join(report, "index.html");
}

static gram_status once(const char *file, const char *rules, bool resume)
{
    fake_judge judge = { 0 };
    gr_eval_facts facts = { .model = "m", .max_tokens = 2048 };
    gram_eval_options opt = { .rules = rules, .json = json, .report_dir = report, .file.resume = resume };
    gram_eval_summary s;
    char *table;
    gram_status rc = gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, &table, &check_err);

    free(table);
    return rc;
}

static void every_allocation_may_fail(const char *file, const char *rules)
{
    long n;
    bool done = false;

    for (n = 0; !done; n++) {
        long before = nomem_live;
        gram_status rc;
        nomem_left = n;
        rc = once(file, rules, false);
        done = NOMEM_COUNTED ? nomem_left >= 0 : true;      /* it got through without coming to the n-th */
        nomem_left = -1;
        if (done) {
            assert_int_equal(rc, GRAM_OK);
        } else {
            if (rc != GRAM_ENOMEM || !strstr(check_err.text, "out of memory"))
                fail_msg("allocation %ld: %s: %s", n, gram_status_name(rc), rc ? check_err.text : "");
            if (nomem_live != before)
                fail_msg("allocation %ld: %ld blocks not given back", n, nomem_live - before);
            CHECK_OK(n % 37 && !gr_path_exists(rows) ? GRAM_OK : once(file, rules, true));
        }
        unlink(json), unlink(rows), unlink(partial), unlink(page);
    }
    assert_true(!NOMEM_COUNTED || n > 100);
}

static void rules_run(const char *rules, const char *line)
{
    char *file = gr_path_join(check_tmpdir(), "upstream.jsonl");
    FILE *f = fopen(file, "w");

    prepare();
    assert_non_null(f);
    fprintf(f, "%s\n", line);
    assert_int_equal(fclose(f), 0);
    every_allocation_may_fail(file, rules);
    free(file), free(json), free(rows), free(partial), free(page), free(report);
}

static void upstream_run(void **state)
{
    (void)state;
    rules_run("rm-bench", "{\"id\":1,\"prompt\":\"p\",\"chosen\":[\"q=1\",\"q=2\",\"q=3\"],"
              "\"rejected\":[\"q=3\",\"q=2\",\"q=1\"],\"domain\":\"chat\"}");
    rules_run("rewardbench2", "{\"id\":\"1\",\"prompt\":\"p\",\"chosen\":[\"q=1\"],"
              "\"rejected\":[\"q=3\",\"q=2\",\"q=1\"],\"subset\":\"Math\"}");
}

static void plain_run(void **state)
{
    char *file = gr_path_join(check_tmpdir(), "plain.jsonl");
    FILE *f = fopen(file, "w");

    (void)state;
    prepare();
    assert_non_null(f);
    fputs("{\"prompt\":\"p\",\"chosen\":\"q=1\",\"rejected\":\"q=0\",\"subset\":\"s\"}\n"
          "{\"prompt\":\"p\",\"chosen\":\"q=0\",\"rejected\":\"q=1\",\"subset\":\"t\"}\n", f);
    assert_int_equal(fclose(f), 0);
    every_allocation_may_fail(file, NULL);
    free(file), free(json), free(rows), free(partial), free(page), free(report);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(upstream_run), cmocka_unit_test(plain_run) };

    json_set_alloc_funcs(json_take, json_give);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
