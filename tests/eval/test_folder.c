/* test_folder.c - a judge over every benchmark of a folder: which rules a file has, the numbers of one that is judged
 * by itself, a resume, and what is refused. */
#include <stdlib.h>
#include <unistd.h>
#include "eval/folder.h"
#include "eval_check.h"
#include "file/io.h"

static const gr_eval_facts facts = { .batch_tokens = 4096, .model = "fake.gguf" };

static gram_status judge_files(void *judge, const char *const *file, size_t n, const gram_eval_options *opt,
                               gram_eval_summary *out, gram_err *err)
{
    return gr_eval_run(file, n, opt, &facts, fake_score, judge, out, NULL, err);
}

static void run(const char *command, const char *a, const char *b)
{
    char *text;

    assert_true(asprintf(&text, "%s '%s' '%s'", command, a, b) > 0);
    assert_int_equal(system(text), 0);
    free(text);
}

static const json_t *benchmark(const json_t *all, const char *name)
{
    const json_t *b;
    size_t i;

    json_array_foreach(json_object_get(all, "benchmarks"), i, b)
        if (!strcmp(json_string_value(json_object_get(b, "name")), name))
            return b;
    fail_msg("no benchmark %s", name);
    return NULL;
}

static void put(const char *dir, const char *name, const char *text)
{
    char *path = gr_path_join(dir, name);

    CHECK_OK(gr_write_file(path, text, strlen(text), &check_err));
    free(path);
}

static char *make_folder(void)
{
    char *dir = check_tmppath("benchmarks");

    run("rm -rf", dir, dir);
    CHECK_OK(gr_make_directory(dir, &check_err));
    run("cp", GOLDEN "judgebench.jsonl", dir);
    run("cp", GOLDEN "rewardbench.jsonl", dir);
    run("cp", GOLDEN "rmbench.json", dir);
    put(dir, "two.jsonl", "{\"id\":\"1\",\"prompt\":\"p\",\"chosen\":[\"q=0.9\"],\"rejected\":[\"q=0.1\",\"q=0.2\","
        "\"q=0.3\"],\"subset\":\"Math\"}\n");
    put(dir, "mine.jsonl", "{\"prompt\":\"p\",\"chosen\":\"q=0.9\",\"rejected\":\"q=0.1\"}\n");
    put(dir, "README.md", "not rows\n");
    return dir;
}

static void each_by_its_own_rules(void **state)
{
    static const char *const name[] = { "rewardbench", "rm-bench", "judgebench" };
    static const char *const file[] = { GOLDEN "rewardbench.jsonl", GOLDEN "rmbench.json", GOLDEN "judgebench.jsonl" };
    char *dir = make_folder(), *out = check_tmppath("report"), *json = check_tmppath("all.json"), *table, *page;
    gram_eval_options opt = { .json = json, .report_dir = out };
    fake_judge judge = { 0 };
    json_t *all;
    size_t n;

    (void)state;
    CHECK_OK(gr_eval_folder(dir, &opt, &facts, judge_files, &judge, &table, &check_err));
    assert_non_null(strstr(table, "left out: 1 name in the folder that is no file of rows"));
    all = load_json(json);
    assert_int_equal(json_array_size(json_object_get(all, "benchmarks")), 5);
    for (size_t k = 0; k < GR_COUNT(name); k++) {
        gram_eval_options alone = { .rules = name[k] };
        gram_eval_summary want;
        const json_t *b = benchmark(all, name[k]);
        judge = (fake_judge){ 0 };
        CHECK_OK(gr_eval_run(&file[k], 1, &alone, &facts, fake_score, &judge, &want, NULL, &check_err));
        assert_int_equal(json_integer_value(json_object_get(b, "rows")), want.rows);
        assert_true(json_real_value(json_object_get(json_object_get(b, "score"), "value")) == want.rules.value);
    }
    assert_int_equal(json_integer_value(json_object_get(benchmark(all, "rewardbench2"), "rows")), 3);
    assert_int_equal(json_integer_value(json_object_get(benchmark(all, "own"), "rows")), 1);
    json_decref(all);
    free(json);
    json = gr_path_join(out, "index.html");
    CHECK_OK(gr_read_file(json, 1 << 20, &page, &n, &check_err));
    assert_non_null(strstr(page, "<a href=\"rm-bench/index.html\">"));
    free(json), free(page), free(table);
    json = gr_path_join(out, "own/numbers.rows.jsonl");
    assert_true(gr_path_exists(json));
    free(json), free(dir), free(out);
}

static void a_resume_judges_nothing_twice(void **state)
{
    char *dir = make_folder(), *out = check_tmppath("again"), *first, *second;
    gram_eval_options opt = { .report_dir = out };
    fake_judge judge = { 0 }, none = { 0 };

    (void)state;
    CHECK_OK(gr_eval_folder(dir, &opt, &facts, judge_files, &judge, &first, &check_err));
    opt.file.resume = true;
    CHECK_OK(gr_eval_folder(dir, &opt, &facts, judge_files, &none, &second, &check_err));
    assert_string_equal(first, second);
    assert_true(judge.pairs > 0 && none.pairs == 0);
    free(first), free(second), free(dir), free(out);
}

static void refused(const char *dir, const gram_eval_options *opt, gram_status want, const char *why)
{
    fake_judge judge = { 0 };
    gram_status rc = gr_eval_folder(dir, opt, &facts, judge_files, &judge, NULL, &check_err);

    if (rc != want || !strstr(check_err.text, why))
        fail_msg("status %d, \"%s\"; wanted \"%s\"", (int)rc, rc ? check_err.text : "", why);
}

static void what_is_no_benchmark_is_named(void **state)
{
    char *dir = make_folder(), *empty = check_tmppath("empty"), *gone;

    (void)state;
    refused(dir, &(gram_eval_options){ .rules = "rewardbench" }, GRAM_EARG, "own rules");
    refused(dir, &(gram_eval_options){ .file = { .resume = true } }, GRAM_EARG, "resumes");
    put(dir, "odd.jsonl", "{\"text\":\"no pair\"}\n");
    refused(dir, NULL, GRAM_EFORMAT, "odd.jsonl:1");
    gone = gr_path_join(dir, "gone.jsonl");
    assert_int_equal(symlink("nowhere", gone), 0);
    refused(dir, NULL, GRAM_EIO, "gone.jsonl: it leads to no file");
    free(gone);
    CHECK_OK(gr_make_directory(empty, &check_err));
    refused(empty, NULL, GRAM_EFORMAT, "no file of rows");
    refused("/nonexistent", NULL, GRAM_EIO, "/nonexistent");
    free(dir), free(empty);
}

/* A file is told by its first row that is not bad, where these are skipped, and not by what stands before it. */
static void bad_rows_before_the_first_are_skipped(void **state)
{
    char *dir = check_tmppath("bad-first"), *json = check_tmppath("skipped.json"), *table;
    gram_eval_options opt = { .json = json };
    fake_judge judge = { 0 };
    json_t *all;

    (void)state;
    CHECK_OK(gr_make_directory(dir, &check_err));
    put(dir, "two.jsonl", "no\n{\"prompt\":\"alone\"}\n{\"id\":\"1\",\"prompt\":\"p\",\"chosen\":[\"q=0.9\"],"
        "\"rejected\":[\"q=0.1\",\"q=0.2\",\"q=0.3\"],\"subset\":\"Math\"}\n");
    refused(dir, &opt, GRAM_EFORMAT, "two.jsonl:1");
    opt.file.skip_bad = true;
    CHECK_OK(gr_eval_folder(dir, &opt, &facts, judge_files, &judge, &table, &check_err));
    all = load_json(json);
    assert_int_equal(json_integer_value(json_object_get(benchmark(all, "rewardbench2"), "rows")), 3);
    json_decref(all);
    free(table), free(json), free(dir);
}

/* Ties compares rewards, and a judge gives none. */
static void no_score_has_no_interval(void **state)
{
    char *dir = check_tmppath("ties"), *table;
    fake_judge judge = { 0 };

    (void)state;
    CHECK_OK(gr_make_directory(dir, &check_err));
    put(dir, "ties.jsonl", "{\"id\":\"tied:1\",\"prompt\":\"p\",\"chosen\":[\"q=0.9\",\"q=0.8\"],"
        "\"rejected\":[\"q=0.1\"],\"subset\":\"Ties\"}\n");
    CHECK_OK(gr_eval_folder(dir, NULL, &facts, judge_files, &judge, &table, &check_err));
    assert_non_null(strstr(table, "rewardbench2"));
    assert_null(strstr(table, "nan"));
    free(table), free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_by_its_own_rules),
        cmocka_unit_test(a_resume_judges_nothing_twice),
        cmocka_unit_test(what_is_no_benchmark_is_named),
        cmocka_unit_test(bad_rows_before_the_first_are_skipped),
        cmocka_unit_test(no_score_has_no_interval),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
