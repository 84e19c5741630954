/* test_evalpolicy.c - gram/evalpolicy.h over tiny models and a scripted judge: each number is what the library's own
 * calls say apart, a run that was stopped after any line goes on with the same bytes, another run's files are refused,
 * and whatever allocation fails is said and given back. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "check.h"
#include "gram/evalpolicy.h"
#include "nomem_json.h"

#define POLICY "tests/golden/train/judge"
#define SHORTER "exec:python3 -c 'import json, sys\n" \
    "for line in sys.stdin: print(-len(json.loads(line)[\"completion\"]), flush=True)'"

enum { ROWS = 4 };

static gram_model *policy, *other;
static gram_judge *judge, *program;
static char *prompts, *other_path;

static char *bytes_of(const char *path, size_t *n)
{
    char *text = NULL;

    CHECK_OK(gr_read_file(path, 1 << 22, &text, n, &check_err));
    return text;
}

/* POLICY with every second weight a fifth larger. */
static char *make_other(void)
{
    static const char *const name[] = { "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors" };
    char *dir = check_tmppath("other");

    CHECK_OK(gr_make_directory(dir, &check_err));
    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *from = gr_path_join(POLICY, name[i]), *to = gr_path_join(dir, name[i]);
        size_t n, at;
        char *p = bytes_of(from, &n);
        if (i == 3) {
            uint64_t header;
            memcpy(&header, p, sizeof header);
            for (at = 8 + (size_t)header; at + 4 <= n; at += 8) {
                float x;
                memcpy(&x, p + at, sizeof x);
                x *= 1.2F;
                memcpy(p + at, &x, sizeof x);
            }
        }
        CHECK_OK(gr_write_file(to, p, n, &check_err));
        free(p);
        free(from);
        free(to);
    }
    return dir;
}

static int set_up(void **state)
{
    static char rows[1024];
    const gram_options one = { .threads = 1 };
    size_t at = 0;

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    other_path = make_other();
    CHECK_OK(gram_open(&policy, POLICY, &one, &check_err));
    CHECK_OK(gram_open(&other, other_path, &one, &check_err));
    CHECK_OK(gram_judge_over(&judge, policy, NULL, &check_err));
    CHECK_OK(gram_judge_open(&program, SHORTER, NULL, &check_err));
    for (int i = 0; i < ROWS; i++)
        at += (size_t)sprintf(rows + at, "{\"id\":\"r%d\",\"prompt\":\"Name %d things.\",\"said\":\"%.*s\"}\n", i, i,
                              3 * i, "one two three four");
    prompts = check_write("prompts.jsonl", rows);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gram_judge_close(program);
    gram_judge_close(judge);
    gram_close(other);
    gram_close(policy);
    free(prompts);
    free(other_path);
    return 0;
}

static gram_generation settings(void)
{
    gram_generation g;

    gram_generation_init(&g);
    g.max_new_tokens = 6;
    g.seed = 3;
    return g;
}

/* The lines of DIR/name. */
static json_t *lines_of(const char *dir, const char *name)
{
    char *path = gr_path_join(dir, name), *all, *at;
    json_t *list = json_array();
    size_t n;

    all = bytes_of(path, &n);
    for (at = all; *at; at = strchr(at, '\n') + 1)
        json_array_append_new(list, json_loads(at, JSON_DISABLE_EOF_CHECK, NULL));
    free(all);
    free(path);
    return list;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

/* log p(ids behind the prompt), of all logits in double. */
static double logprob_of(gram_model *m, const char *prompt, const json_t *answer)
{
    const gram_message turn = { .role = "user", .content = prompt };
    size_t V = gram_vocabulary(m), before;
    gr_ids ids = { 0 };
    double sum = 0;
    float *z;

    CHECK_OK(gr_api_prompt_ids(m, (gram_prompt){ &turn, 1, NULL }, &ids, &check_err));
    before = ids.n;
    for (size_t k = 0; k < json_array_size(answer); k++)
        assert_true(gr_ids_add(&ids, &(int32_t){ (int32_t)json_integer_value(json_array_get(answer, k)) }, 1));
    z = malloc(ids.n * V * sizeof *z);
    CHECK_OK(gram_logits(m, ids.p, ids.n, z, &check_err));
    for (size_t i = before; i < ids.n; i++) {
        double all = 0;
        for (size_t v = 0; v < V; v++)
            all += exp((double)z[(i - 1) * V + v]);
        sum += (double)z[(i - 1) * V + (size_t)ids.p[i]] - log(all);
    }
    free(z);
    gr_ids_clear(&ids);
    return sum;
}

/* Six tokens' log-probabilities of about -5 are floats: 6 times 5 times 6e-8, and logits that went through exp. */
#define LOGPROBS_CLOSE 1e-4

static bool was_cut(const json_t *row, size_t side)
{
    return json_is_true(json_array_get(json_object_get(row, "cut"), side));
}

static bool ended_by(const json_t *answer, const char *what)
{
    return !strcmp(json_string_value(json_object_get(answer, "finish")), what);
}

static void numbers_are_what_the_calls_say(void **state)
{
    const gram_generation g = settings();
    const gram_evalpolicy_options o = { .generation = &g, .baseline = other };
    char *dir = check_tmppath("both"), *table;
    gram_evalpolicy_report r;
    json_t *a, *b, *rows;
    double kl = 0, won = 0;
    size_t cut = 0;

    (void)state;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, &table, &check_err));
    assert_non_null(strstr(table, "win rate"));
    free(table);
    a = lines_of(dir, "policy.jsonl");
    b = lines_of(dir, "baseline.jsonl");
    rows = lines_of(dir, "rows.jsonl");
    assert_true(json_array_size(a) == ROWS && json_array_size(b) == ROWS && json_array_size(rows) == ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *x = json_array_get(a, i), *y = json_array_get(b, i), *row = json_array_get(rows, i);
        const char *prompt = json_string_value(json_object_get(row, "prompt"));
        const char *answer[] = { json_string_value(json_object_get(x, "completion")),
                                 json_string_value(json_object_get(y, "completion")) };
        const gram_message turn = { .role = "user", .content = prompt };
        const gram_group group = { .prompt = { &turn, 1, NULL }, .response = answer, .n = 2 };
        gram_judged_group by;
        double ratio = logprob_of(policy, prompt, json_object_get(x, "ids")) -
                       logprob_of(other, prompt, json_object_get(x, "ids"));
        CHECK_OK(gram_judge_group(judge, &group, &by, &check_err));
        assert_true(number(row, "preference") == 1 / (1 + exp(-by.reward[0])));
        assert_true(number(row, "win") == (by.reward[0] > 0 ? 1 : by.reward[0] < 0 ? 0 : 0.5));
        assert_true(json_is_true(json_object_get(row, "flip")) == (by.cost.flips > 0));
        assert_true(fabs(number(row, "kl") - ratio) < LOGPROBS_CLOSE);
        assert_true(fabs(number(row, "kl_token") - ratio / (double)json_array_size(json_object_get(x, "ids"))) <
                    LOGPROBS_CLOSE);
        assert_true(json_integer_value(json_object_get(y, "seed")) == (json_int_t)(3 + i));
        assert_true(was_cut(row, 0) == ended_by(x, "length") && was_cut(row, 1) == ended_by(y, "length"));
        cut += was_cut(row, 0);
        kl += number(row, "kl") / ROWS;
        won += number(row, "win") / ROWS;
        gram_judged_group_clear(&by);
    }
    assert_true(fabs(kl) > 0.01 && cut > 0);            /* the two models do differ */
    assert_true(fabs(r.result.kl.value - kl) < 1e-12 && fabs(r.result.win.value - won) < 1e-12);
    assert_true(r.rows == ROWS && !r.failed && !r.unjudged && !r.no_kl && r.judge.comparisons > 0);
    json_decref(a);
    json_decref(b);
    json_decref(rows);
    free(dir);
}

/* Against itself: no KL to the last bit, and ties. */
static void a_model_is_its_own_equal(void **state)
{
    const gram_generation g = settings();
    const gram_evalpolicy_options o = { .generation = &g, .baseline = policy };
    char *dir = check_tmppath("itself");
    gram_evalpolicy_report r;

    (void)state;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, NULL, &check_err));
    assert_true(r.result.kl.value == 0 && r.result.kl.high == 0 && r.result.kl_token.value == 0);
    assert_true(r.result.win.value == 0.5 && r.result.ties.value == 1 && r.result.win_lc.value == 0.5);
    free(dir);
}

/* By preferences a comparison's value is one less a half. The page shows as many samples as are asked for, and says
 * where the log-ratio is no KL of the policy. */
static void preferences_and_samples(void **state)
{
    static const gram_judge_options by = { .unit = GRAM_UNIT_PREFERENCE };
    gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline = other };
    gram_judge *judged;

    (void)state;
    CHECK_OK(gram_judge_over(&judged, policy, &by, &check_err));
    for (size_t k = 1; k <= 2; k++) {
        char *dir = check_tmppath(k == 1 ? "one-sample" : "two-samples"), *page = gr_path_join(dir, "index.html");
        char *text;
        json_t *rows, *row;
        size_t i, n, shown = 0;
        o.samples = k;
        g.temperature = k == 1 ? 1 : 0.5;
        CHECK_OK(gram_evalpolicy(policy, judged, prompts, dir, &o, NULL, NULL, &check_err));
        rows = lines_of(dir, "rows.jsonl");
        json_array_foreach(rows, i, row) {
            const gram_message turn = { "user", json_string_value(json_object_get(row, "prompt")) };
            const char *answer[] = { json_string_value(json_object_get(row, "policy")),
                                     json_string_value(json_object_get(row, "baseline")) };
            gram_judged_group said;
            CHECK_OK(gram_judge_group(judged, &(gram_group){ .prompt = { &turn, 1, NULL }, .response = answer, .n = 2 },
                                      &said, &check_err));
            assert_true(number(row, "preference") == said.reward[0] + 0.5);
            gram_judged_group_clear(&said);
        }
        text = bytes_of(page, &n);
        for (const char *at = text; (at = strstr(at, "Name ")); at++)
            shown += !strncmp(at + 6, " things.", 8);
        if (shown != k)
            fail_msg("%zu samples are shown, wanted %zu", shown, k);
        assert_int_equal(strstr(text, "they were not drawn at temperature 1") != NULL, k == 2);
        json_decref(rows);
        free(text), free(page), free(dir);
    }
    gram_judge_close(judged);
}

/* A judge that says nothing of the first answer: one row has no verdict, which is counted, also where it was written by
 * the run before. */
static void rows_without_a_verdict_are_counted(void **state)
{
    static const char first[] = "exec:python3 -c 'import json, sys\n"
        "for n, line in enumerate(sys.stdin): print(n or json.dumps({\"error\": \"no\"}), flush=True)'";
    const gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline_column = "said" };
    char *dir = check_tmppath("unjudged");
    gram_evalpolicy_report r;
    gram_judge *judged;

    (void)state;
    CHECK_OK(gram_judge_open(&judged, first, NULL, &check_err));
    for (int again = 0; again < 2; again++) {
        CHECK_OK(gram_evalpolicy(policy, judged, prompts, dir, &o, &r, NULL, &check_err));
        assert_true(r.rows == ROWS && r.unjudged == 1 && r.failed == 0 && r.result.compared == ROWS - 1);
        o.file.resume = true;
    }
    gram_judge_close(judged);
    free(dir);
}

/* The judge prefers what is shorter, and the column's texts have 0, 3, 6, 9 characters. */
static void a_column_and_a_program(void **state)
{
    const gram_generation g = settings();
    const gram_evalpolicy_options o = { .generation = &g, .baseline_column = "said" };
    char *dir = check_tmppath("column");
    gram_evalpolicy_report r;
    json_t *rows;
    double gain = 0, won = 0;

    (void)state;
    CHECK_OK(gram_evalpolicy(policy, program, prompts, dir, &o, &r, NULL, &check_err));
    rows = lines_of(dir, "rows.jsonl");
    for (size_t i = 0; i < ROWS; i++) {
        const json_t *row = json_array_get(rows, i), *both = json_object_get(row, "rewards");
        double a = json_number_value(json_array_get(both, 0)), b = json_number_value(json_array_get(both, 1));
        assert_true(b == -3 * (double)i && a <= 0 && json_is_null(json_object_get(row, "kl")));
        gain += (a - b) / ROWS;
        won += (a > b ? 1 : a < b ? 0 : 0.5) / ROWS;
    }
    json_decref(rows);
    assert_true(fabs(r.result.gain.value - gain) < 1e-12 && fabs(r.result.win.value - won) < 1e-12);
    assert_true(isnan(r.result.kl.value) && isnan(r.result.preference.value) && isnan(r.result.baseline.tokens.value));
    assert_true(r.result.baseline.reward.value == -4.5 && r.result.baseline.chars.value == 4.5);
    free(dir);
}

struct stopping { uint64_t after; };
static uint64_t lines = 3 * ROWS;

static int stop_after(void *arg, uint64_t done, uint64_t total)
{
    assert_int_equal(total, lines);
    return done == ((struct stopping *)arg)->after;
}

static void same_bytes(const char *a, const char *b, const char *name)
{
    char *x = gr_path_join(a, name), *y = gr_path_join(b, name);
    size_t n, m;
    char *p = bytes_of(x, &n), *q = bytes_of(y, &m);

    assert_int_equal(n, m);
    assert_memory_equal(p, q, n);
    free(p);
    free(q);
    free(x);
    free(y);
}

static void stopped_after_any_line(void **state)
{
    static const char *const name[] = { "run.json", "policy.jsonl", "baseline.jsonl", "rows.jsonl", "numbers.json" };
    const gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline = other };
    char *whole = check_tmppath("whole"), *dir = check_tmppath("cut");
    gram_evalpolicy_report r;

    (void)state;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, whole, &o, NULL, NULL, &check_err));
    for (uint64_t after = 1; after <= 3 * ROWS; after++) {
        struct stopping s = { after };
        o.file = (gram_file_options){ .progress = stop_after, .arg = &s };
        assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, NULL, &check_err), GRAM_ESTOPPED);
        o.file = (gram_file_options){ .resume = true };
        CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, NULL, &check_err));
        assert_true(r.resumed >= after);
        for (size_t i = 0; i < GR_COUNT(name); i++)
            same_bytes(whole, dir, name[i]);
    }
    free(whole);
    free(dir);
}

/* Answer k to a prompt is that of `gram generate`, and meets the baseline's answer k. */
static int take_text(void *arg, const gram_answer *a)
{
    char **text = arg;

    return !(text[2 * a->prompt + a->k] = gr_strndup(a->text, a->bytes));
}

static void two_answers_to_each_prompt(void **state)
{
    gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline = other };
    const char *asked = "Name 1 things.";
    const gram_message turn = { "user", asked };
    const gram_prompt prompt = { .turn = &turn, .n = 1 };
    char *whole = check_tmppath("two"), *dir = check_tmppath("two-cut"), *text[2] = { NULL }, *table = NULL;
    gram_evalpolicy_report r;
    struct stopping s = { 3 };
    json_t *rows;

    (void)state;
    g.n = 2;
    g.products = GRAM_PRODUCTS_TILES;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, whole, &o, &r, &table, &check_err));
    assert_true(r.rows == ROWS && r.result.rows == 2 * ROWS && r.result.policy.answers == 2 * ROWS);
    assert_non_null(strstr(table, "8 answers, 2 to a prompt"));
    free(table);
    rows = lines_of(whole, "rows.jsonl");
    assert_int_equal(json_array_size(rows), 2 * ROWS);
    g.seed += 2;                                        /* as answers 0 and 1 to prompt 1 */
    CHECK_OK(gram_generate(policy, &prompt, 1, &g, take_text, text, &check_err));
    g.seed -= 2;
    for (size_t k = 0; k < 2; k++) {
        const json_t *line = json_array_get(rows, 2 + k);
        assert_string_equal(json_string_value(json_object_get(line, "policy")), text[k]);
        assert_true(number(line, "sample") == (double)k);
        free(text[k]);
    }
    json_decref(rows);
    lines = 3 * 2 * ROWS;
    o.file = (gram_file_options){ .progress = stop_after, .arg = &s };      /* in the midst of a prompt's answers */
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, NULL, &check_err), GRAM_ESTOPPED);
    o.file = (gram_file_options){ .resume = true };
    g.n = 1;
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    g.n = 2;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, &r, NULL, &check_err));
    same_bytes(whole, dir, "rows.jsonl");
    same_bytes(whole, dir, "numbers.json");
    lines = 3 * ROWS;
    free(whole);
    free(dir);
}

/* Another run's files are no part of this one. */
static void another_run_is_refused(void **state)
{
    gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline = other };
    char *dir = check_tmppath("another");

    (void)state;
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err));
    o.file.resume = true;
    g.seed = 4;
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "run.json"));
    assert_non_null(strstr(check_err.text, "has seed "));
    g.seed = 3;
    assert_int_equal(gram_evalpolicy(other, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "policy"));
    CHECK_OK(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err));
    free(dir);
}

static void what_cannot_be_meant(void **state)
{
    gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g };
    gram_judge_options by = { .scheme = GRAM_SCHEME_REFERENCE };
    gram_judge *reference;
    char *dir = check_tmppath("none");

    (void)state;
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "wanted a baseline"));
    o.baseline_column = "nowhere";
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "prompts.jsonl:1: key \"nowhere\" must be a text"));
    o.baseline = other;
    assert_int_equal(gram_evalpolicy(policy, judge, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    o.baseline = NULL;
    CHECK_OK(gram_judge_over(&reference, policy, &by, &check_err));
    assert_int_equal(gram_evalpolicy(policy, reference, prompts, dir, &o, NULL, NULL, &check_err), GRAM_EARG);
    gram_judge_close(reference);
    free(dir);
}

static gram_status nomem_once(bool column, gram_err *err)
{
    static char *in, *dir;
    gram_generation g = settings();
    gram_evalpolicy_options o = { .generation = &g, .baseline = column ? NULL : other,
                                  .baseline_column = column ? "said" : NULL };
    char *table = NULL;
    gram_status rc;

    if (!in) {                                          /* once: these stay */
        in = check_write("nomem.jsonl", "{\"id\":\"r\",\"prompt\":\"Is it?\",\"said\":\"No.\"}\n");
        dir = check_tmppath("nomem");
    }
    g.max_new_tokens = 2;
    rc = gram_evalpolicy(policy, judge, in, dir, &o, NULL, &table, err);
    assert_true(!rc == !!table);
    free(table);
    gr_kv_forget(policy->scorer.cache);                 /* what is kept for the next call is not lost */
    gr_kv_forget(other->scorer.cache);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int column = 0; column < 2; column++)
        nomem_each(nomem_once, column);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_what_the_calls_say), cmocka_unit_test(a_model_is_its_own_equal),
        cmocka_unit_test(preferences_and_samples), cmocka_unit_test(rows_without_a_verdict_are_counted),
        cmocka_unit_test(a_column_and_a_program), cmocka_unit_test(stopped_after_any_line),
        cmocka_unit_test(two_answers_to_each_prompt), cmocka_unit_test(another_run_is_refused),
        cmocka_unit_test(what_cannot_be_meant),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
