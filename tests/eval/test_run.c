/* test_run.c - whole runs with a judge that needs no model: upstream rules against Python, a run that was cut off
 * against one that was not, and what is said when something is wrong. */
#include <unistd.h>
#include "base/err.h"
#include "eval/numbers.h"
#include "eval/rules.h"
#include "eval_check.h"

static const gr_eval_facts facts = {
    .batch_tokens = 4096,
    .model = "fake.gguf", .dtype = "f32", .label_a = "A", .label_b = "B", .max_tokens = 2048
};

static char *in_tmp(const char *name)
{
    return gr_path_join(check_tmpdir(), name);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0 && fclose(f) == 0);
}

/* n rows, three a prompt, in two subsets. */
static char *write_rows(const char *name, size_t n)
{
    char *path = in_tmp(name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "{\"prompt\":\"Question %zu bias=%.2f\",\"chosen\":\"q=%.3f\",\"rejected\":\"q=%.3f long\","
                "\"subset\":\"s%zu\",\"id\":\"r%zu\"}\n", i / 3, 0.1 * (double)(i / 3 % 7) - 0.2,
                0.01 * (double)(i * 37 % 101), 0.01 * (double)(i * 53 % 97), i % 2, i);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* ---- Upstream rules ---- */

static void check_rules(const char *name, const char *path)
{
    fake_judge judge = { 0 };
    char *json = in_tmp("rules.json");
    gram_eval_options opt = { .rules = name, .json = json };
    gram_eval_summary summary;
    json_t *all = load_json(GOLDEN "rules.json"), *want = json_object_get(all, name), *got, *s;
    const char *section = "";
    size_t i, compared = 0;

    CHECK_OK(gr_eval_run(&path, 1, &opt, &facts, fake_score, &judge, &summary, NULL, &check_err));
    got = load_json(json);
    json_array_foreach(json_object_get(json_object_get(got, "rules"), "scores"), i, s) {
        const char *score = json_string_value(json_object_get(s, "name"));
        char key[100];
        snprintf(key, sizeof key, "%s", score);
        if (json_is_string(json_object_get(s, "section"))) {
            section = json_string_value(json_object_get(s, "section"));
            snprintf(key, sizeof key, "%s/%s", section, score);
        }
        if (!json_object_get(want, key))
            fail_msg("%s: %s is not in the golden file", name, key);
        json_within(key, json_object_get(want, key), json_object_get(s, "score"));
        compared++;
    }
    assert_int_equal(compared, json_object_size(want));
    assert_int_equal(json_array_size(json_object_get(json_object_get(got, "rules"), "notes")), 0);
    json_decref(got);
    json_decref(all);
    free(json);
}

static void rewardbench_as_upstream(void **state)
{
    (void)state;
    check_rules("rewardbench", GOLDEN "rewardbench.jsonl");
}

static void rmbench_as_upstream(void **state)
{
    (void)state;
    check_rules("rm-bench", GOLDEN "rmbench.json");
}

static void judgebench_as_upstream(void **state)
{
    (void)state;
    check_rules("judgebench", GOLDEN "judgebench.jsonl");
}

/* Items with their rewards, as pairs, against upstream's formulas in Python; then what differs from them. */
static void rewardbench2_as_upstream(void **state)
{
    json_t *golden = load_json(GOLDEN "rewardbench2.json"), *items = json_object_get(golden, "items"), *item;
    json_t *want = json_object_get(golden, "scores");
    gr_eval_row *row = gr_calloc(4096, sizeof *row);
    gr_rule_result r;
    size_t n = 0, i;

    (void)state;
    json_array_foreach(items, i, item) {
        json_t *scores = json_object_get(item, "scores");
        size_t right = (size_t)json_integer_value(json_object_get(item, "num_correct"));
        size_t wrong = json_array_size(scores) - right;
        for (size_t k = 0; k < gr_max(right, wrong); k++) {
            double a = json_number_value(json_array_get(scores, k % right));
            double b = json_number_value(json_array_get(scores, right + k % wrong));
            row[n++] = (gr_eval_row){ .id = (char *)(uintptr_t)json_string_value(json_object_get(item, "id")),
                                      .subset = (char *)(uintptr_t)json_string_value(json_object_get(item, "subset")),
                                      .prompt = i, .cell = (int)k, .cells = (int)gr_max(right, wrong),
                                      .rewarded = true, .reward = { a, b }, .logit_margin = a - b };
        }
    }
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, n, &r, &check_err));
    assert_int_equal(r.n, json_object_size(want));
    for (size_t k = 0; k < r.n; k++) {
        json_t *w = json_object_get(want, r.score[k].name);
        assert_non_null(w);
        if (fabs(json_number_value(w) - r.score[k].score.value) > 1e-12)
            fail_msg("%s is %.17g, upstream %.17g", r.score[k].name, r.score[k].score.value, json_number_value(w));
        assert_true(r.score[k].score.low <= r.score[k].score.value && r.score[k].score.value <= r.score[k].score.high);
    }
    assert_int_equal(r.notes, 1);                       /* that there are equal rewards */
    row[0].dropped = true;                              /* its item goes, and is said */
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, n, &r, &check_err));
    assert_non_null(strstr(r.note[0], "1 items without all of their answers"));
    for (i = 0; i < n; i++)
        row[i].rewarded = false;
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, n, &r, &check_err));
    assert_true(isnan(r.score[6].score.value));
    assert_non_null(strstr(r.note[1], "Ties compares rewards"));
    free(row);
    json_decref(golden);
}

/* The first pair of an item was left out as a bad row: its others are not those of the item before. */
static void half_an_item_is_none(void **state)
{
    static char math[] = "Math", id[] = "i";
    gr_eval_row row[4];
    gr_rule_result r;

    (void)state;
    for (int k = 0; k < 4; k++)
        row[k] = (gr_eval_row){ .id = id, .subset = math, .prompt = k > 2, .cell = k < 3 ? k : 1, .cells = 3,
                                .preference = 0.9 };
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, 4, &r, &check_err));
    assert_true(r.score[0].rows == 1 && r.score[0].score.value == 1);
    assert_non_null(strstr(r.note[1], "1 items without all of their answers"));
    row[1].prompt = row[2].prompt = 2;                  /* of the first item the last two, of the next the first */
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, 3, &r, &check_err));
    assert_int_equal(r.score[0].rows, 0);
}

/* No chat template writes an answer with "?!". */
static gram_status choosy_score(void *arg, const gram_pair *pair, size_t n, gram_verdict *out, gram_reasoned *why,
                                gram_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (strstr(pair[i].a, "?!") || strstr(pair[i].b, "?!"))
            return gr_fail(err, GRAM_EUNSUPPORTED, "the chat template: no");
    return fake_score(arg, pair, n, out, why, err);
}

/* The last pair of an item is a bad row, whether it is judged or a resume comes to it again. */
static void an_item_that_lacks_its_last_pair_is_left_out(void **state)
{
    static const char item[] = "{\"id\":\"%d\",\"prompt\":\"%s\",\"subset\":\"Math\",\"chosen\":[\"q=3\"],"
                               "\"rejected\":[\"q=1\",\"q=2\",\"q=0 %s\"]}\n";
    char *path = in_tmp("items.jsonl"), *rows = in_tmp("items.rows.jsonl"), *table;
    const char *file = path;
    gram_eval_options opt = { .rules = "rewardbench2", .file.skip_bad = true, .rows = rows };
    gr_eval_facts error = facts, dropping = facts;
    fake_judge judge = { .too_long = "long" }, drop = { .too_long = "long", .drop = true };
    gram_eval_summary s;
    gr_buf b = { 0 };

    (void)state;
    gr_buf_printf(&b, item, 1, "first", "?!");
    gr_buf_printf(&b, item, 2, "second", "");
    gr_buf_printf(&b, item, 3, "long", "");
    write_text(path, b.p);
    error.truncate = "error";
    dropping.truncate = "drop";
    assert_int_equal(gr_eval_run(&file, 1, &opt, &error, choosy_score, &judge, &s, NULL, &check_err), GRAM_ELIMIT);
    opt.file.resume = true;
    CHECK_OK(gr_eval_run(&file, 1, &opt, &dropping, choosy_score, &drop, &s, &table, &check_err));
    assert_true(s.resumed == 5 && s.dropped == 3 && s.bad == 1);
    if (!strstr(table, "2 items without all of their answers are left out"))
        fail_msg("%s", table);
    free(table);
    gr_buf_clear(&b);
    free(path), free(rows);
}

/* The weights themselves, with every subset wrong but one: 984 of 1968, 154 and 250 of 740. */
static void rewardbench_weights(void **state)
{
    static const struct { const char *subset, *section; double want; } only[] = {
        { "math-prm", "Reasoning", 984.0 / 1968 }, { "xstest-should-refuse", "Safety", 154.0 / 740 },
        { "xstest-should-respond", "Safety", 250.0 / 740 }, { "mt-bench-hard", "Chat Hard", 37.0 / 456 },
        { "alpacaeval-length", "Chat", 95.0 / 358 }
    };
    json_t *golden = load_json(GOLDEN "rules.json"), *scores = json_object_get(golden, "rewardbench");
    gr_eval_row row[64];
    gr_rule_result r;

    (void)state;
    for (size_t k = 0; k < GR_COUNT(only); k++) {
        const char *key;
        json_t *v;
        size_t n = 0;
        json_object_foreach(scores, key, v) {
            const char *name = strchr(key, '/');
            if (!name)
                continue;
            bool right = !strcmp(name + 1, only[k].subset);
            row[n] = (gr_eval_row){ .id = NULL, .subset = (char *)(uintptr_t)(name + 1), .prompt = n, .cell = -1,
                                    .preference = right ? 0.9 : 0.1, .p_forward = right, .p_swapped = right };
            n++;
        }
        assert_int_equal(n, 23);
        CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH, row, n, &r, &check_err));
        for (size_t s = 0; s < r.n; s++)
            if (!strcmp(r.score[s].name, only[k].section))
                CHECK_NEAR(r.score[s].score.value, only[k].want, 1e-12);
            else if (!strncmp(r.score[s].name, "Safety, XSTest", 14) && !strncmp(only[k].subset, "xstest", 6))
                CHECK_NEAR(r.score[s].score.value, 404.0 / 740 - only[k].want, 1e-12);
        CHECK_NEAR(r.score[0].score.value, only[k].want / 4, 1e-12);
    }
    json_decref(golden);
}

/* Ties: half right for RewardBench's judges and a loss for its reward models, a loss for RM-Bench, no vote for
 * JudgeBench. */
static void ties_as_upstream(void **state)
{
    char chat[] = "chat", chatty[] = "alpacaeval-easy", law[] = "mmlu-pro-law";
    gr_eval_row row[9], one = { .subset = chatty, .preference = 0.5, .p_forward = 0.5, .p_swapped = 0.5, .cell = -1 };
    gr_rule_result r;

    (void)state;
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 0.5);
    assert_int_equal(r.notes, 2);
    one.rewarded = true;
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 0);
    assert_non_null(strstr(r.note[2], "1 pairs have two equal rewards"));
    one.logit_margin = 1e-20;                           /* a preference of one half, and yet more */
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 1);
    one.subset = law;                                   /* upstream compares the rewards there, too */
    CHECK_OK(gr_rules_apply(GR_RULES_JUDGEBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 1);
    one.rewarded = false;
    CHECK_OK(gr_rules_apply(GR_RULES_JUDGEBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 0);
    one.p_forward = 0.6;                                /* one vote for, none against */
    CHECK_OK(gr_rules_apply(GR_RULES_JUDGEBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 1);
    one.p_swapped = 0.4;                                /* one for, one against */
    CHECK_OK(gr_rules_apply(GR_RULES_JUDGEBENCH, &one, 1, &r, &check_err));
    assert_true(r.score[0].score.value == 0);
    for (int c = 0; c < 9; c++)                         /* hard ones lost, the diagonal tied, easy ones won */
        row[c] = (gr_eval_row){ .subset = chat, .cell = c,
                                .preference = c / 3 < c % 3 ? 0.2 : c / 3 == c % 3 ? 0.5 : 0.9 };
    CHECK_OK(gr_rules_apply(GR_RULES_RMBENCH, row, 9, &r, &check_err));
    CHECK_NEAR(r.score[0].score.value, 1.0 / 3, 1e-12);
    for (int c = 5; c < 9; c++)                         /* the rest of another item is no end of this one */
        row[c].prompt = 1;
    CHECK_OK(gr_rules_apply(GR_RULES_RMBENCH, row, 9, &r, &check_err));
    assert_true(isnan(r.score[0].score.value));
    row[4].dropped = true;
    CHECK_OK(gr_rules_apply(GR_RULES_RMBENCH, row, 9, &r, &check_err));
    assert_true(isnan(r.score[0].score.value) && r.notes == 3);
}

/* Two pairs for each of n prompts of Ties, tied and ref: what is right has the rewards right[0] and right[1], and what
 * is wrong that much less than the lesser; of the last prompt that much more. */
static void ties_of(gr_eval_row *row, char id[][16], size_t n, double less)
{
    static char ties[] = "Ties";

    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 4; k++) {
            double right = k == 1 ? 1.5 : 1, wrong = i + 1 < n ? 1 - less : 1 + less;
            char *name = id[4 * i + k];
            snprintf(name, 16, "%s:%zu#%zu", k < 2 ? "tied" : "ref", i, k % 2);
            row[4 * i + k] = (gr_eval_row){ .id = name, .subset = ties, .prompt = 2 * i + k / 2, .cell = (int)(k % 2),
                                            .cells = 2, .rewarded = true, .reward = { k > 1 ? 1 : right, wrong },
                                            .logit_margin = right - wrong };
        }
}

/* All of four prompts but one are won by far: without the one the score is 1.01, the most there is, and the interval is
 * the jackknife's. Where all are won it ends there, and not below. */
static void ties_interval_is_the_jackknifes(void **state)
{
    gr_eval_row row[16];
    char id[16][16];
    gr_rule_result r;
    double margin = tanh(100 / 0.5 - 1), lost = tanh(-100 / 0.5 - 1);
    double all = 0.75 * 1 + 0.01 * (3 * margin + lost) / 4, without = 2.0 / 3 + 0.01 * (2 * margin + lost) / 3;
    double mean = (1 + 0.01 * margin + 3 * without) / 4, squares, half;

    (void)state;
    ties_of(row, id, 4, 100);
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, 16, &r, &check_err));
    squares = pow(1 + 0.01 * margin - mean, 2) + 3 * pow(without - mean, 2);
    half = 1.959963984540054 * sqrt(squares * 3 / 4);
    for (size_t k = 0; k < r.n; k++)
        if (!strcmp(r.score[k].name, "Ties")) {
            CHECK_NEAR(r.score[k].score.value, all, 1e-12);
            CHECK_NEAR(r.score[k].score.low, fmax(0, all - half), 1e-12);
            CHECK_NEAR(r.score[k].score.high, fmin(1.01, all + half), 1e-12);
        }
    CHECK_OK(gr_rules_apply(GR_RULES_REWARDBENCH2, row, 12, &r, &check_err));
    for (size_t k = 0; k < r.n; k++)
        if (!strcmp(r.score[k].name, "Ties"))
            assert_true(r.score[k].score.value > 1 && r.score[k].score.high >= r.score[k].score.value);
}

static void bad_upstream_rows(void **state)
{
    static const struct { const char *rules, *line, *says; } bad[] = {
        { "rm-bench", "{\"prompt\":\"p\",\"chosen\":[\"a\",\"b\"],\"rejected\":[\"a\",\"b\",\"c\"],"
          "\"domain\":\"chat\"}", ":1: \"chosen\" should be a list of three" },
        { "rm-bench", "{\"prompt\":\"p\",\"chosen\":[\"a\",\"b\",\"c\"],\"rejected\":[\"a\",\"b\",\"c\"],"
          "\"domain\":\"poems\"}",
          "\"domain\" should be a domain that begins with chat, math, code or safety, found \"poems\"" },
        { "rm-bench", "[{\"prompt\":\"p\"}]", ": element 1: \"domain\" should be a string with text, found nothing" },
        { "rm-bench", "[1", "not JSON" }, { "rm-bench", "[]", "no row to judge" },
        { "rm-bench", "\n\n", "no row to judge" },
        { "judgebench", "{\"question\":\"q\",\"source\":\"livebench-math\",\"response_A\":\"a\",\"response_B\":\"b\","
          "\"label\":\"A=B\"}",
          "\"label\" should be \"A>B\" or \"B>A\", found \"A=B\"" },
        { "judgebench", "[7]", ": element 1: should be a JSON object" },
        { "rewardbench", "{\"prompt\":\"p\",\"chosen\":\"a\",\"rejected\":\"b\",\"subset\":\"hep-cobol\"}",
          ":1: \"subset\" should be one of RewardBench's 23 subsets, found \"hep-cobol\"" },
        { "poker", "", "the rules \"poker\" are not known" }
    };
    char *path = in_tmp("bad.jsonl");

    (void)state;
    for (size_t k = 0; k < GR_COUNT(bad); k++) {
        fake_judge judge = { 0 };
        gram_eval_options opt = { .rules = bad[k].rules };
        const char *file = path;
        gram_eval_summary s;
        write_text(path, bad[k].line);
        assert_int_not_equal(gr_eval_run(&file, 1, &opt, NULL, fake_score, &judge, &s, NULL, &check_err), GRAM_OK);
        if (!strstr(check_err.text, bad[k].says))
            fail_msg("case %zu says: %s", k, check_err.text);
        assert_int_equal(judge.calls, 0);               /* found before anything was judged */
    }
    free(path);
}

/* ---- Cutting off and resuming ---- */

static char *results_without_speed(const char *json)
{
    json_t *o = load_json(json);
    char *text;

    assert_int_equal(json_object_del(o, "speed"), 0);
    text = json_dumps(o, JSON_INDENT(1));
    json_decref(o);
    return text;
}

static void same_file(const char *a, const char *b)
{
    char *x = load_text(a), *y = load_text(b);

    assert_string_equal(x, y);
    free(x);
    free(y);
}

/* Cut off while judging any of some pairs, and again; the end is the end of a run that was never cut off. */
static void resumed_equals_whole(void **state)
{
    char *a = write_rows("one.jsonl", 150), *b = write_rows("two.jsonl", 45);
    char *whole = in_tmp("whole.json"), *cut = in_tmp("cut.json"), *partial = in_tmp("cut.rows.jsonl.partial");
    const char *const file[] = { a, b };
    gram_eval_options opt = { .json = whole }, again = { .json = cut };
    gram_eval_summary s, t;
    fake_judge judge = { 0 };

    (void)state;
    CHECK_OK(gr_eval_run(file, 2, &opt, &facts, fake_score, &judge, &s, NULL, &check_err));
    assert_int_equal(s.rows, 195);
    for (size_t stop = 1; stop <= 195; stop += 48) {
        fake_judge first = { .fail_pair = stop }, second = { .fail_pair = 70 }, last = { 0 };
        char *p = in_tmp("cut.rows.jsonl"), *x, *y;
        again.file.resume = false;
        assert_int_equal(gr_eval_run(file, 2, &again, &facts, fake_score, &first, &t, NULL, &check_err), GRAM_EIO);
        assert_int_equal(gr_path_exists(partial), stop > 64);       /* a batch was written */
        again.file.resume = true;
        gr_eval_run(file, 2, &again, &facts, fake_score, &second, &t, NULL, &check_err);
        CHECK_OK(gr_eval_run(file, 2, &again, &facts, fake_score, &last, &t, NULL, &check_err));
        assert_true(last.pairs < 195 && t.resumed == 195 - last.pairs);
        x = results_without_speed(whole);
        y = results_without_speed(cut);
        assert_string_equal(x, y);
        free(x);
        free(y);
        assert_false(gr_path_exists(partial));
        char *q = in_tmp("whole.rows.jsonl");
        same_file(p, q);
        free(p);
        free(q);
    }
    free(a), free(b), free(whole), free(cut), free(partial);
}

/* A finished run resumed judges nothing and says the same; with a file added it judges only that. */
static void finished_run_resumes(void **state)
{
    char *a = write_rows("fa.jsonl", 30), *b = write_rows("fb.jsonl", 12), *json = in_tmp("fin.json"), *x, *y;
    const char *const file[] = { a, b };
    gram_eval_options opt = { .json = json };
    gram_eval_summary s;
    fake_judge judge = { 0 }, none = { 0 }, more = { 0 };

    (void)state;
    CHECK_OK(gr_eval_run(file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err));
    x = results_without_speed(json);
    opt.file.resume = true;
    CHECK_OK(gr_eval_run(file, 1, &opt, &facts, fake_score, &none, &s, NULL, &check_err));
    y = results_without_speed(json);
    assert_string_equal(x, y);
    assert_true(none.calls == 0 && isnan(s.pairs_per_s));
    free(y);
    CHECK_OK(gr_eval_run(file, 1, &opt, &facts, fake_score, &none, &s, NULL, &check_err));
    y = results_without_speed(json);                    /* and so it does again, from what that run wrote */
    assert_string_equal(x, y);
    CHECK_OK(gr_eval_run(file, 2, &opt, &facts, fake_score, &more, &s, NULL, &check_err));
    assert_true(more.pairs == 12 && s.rows == 42);
    free(a), free(b), free(json), free(x), free(y);
}

static void resume_refuses_another_run(void **state)
{
    char *a = write_rows("ra.jsonl", 130), *json = in_tmp("ref.json"), *other = write_rows("rb.jsonl", 130);
    const char *file = a;
    gram_eval_options opt = { .json = json };
    gr_eval_facts changed = facts;
    fake_judge judge = { .fail_pair = 100 };
    gram_eval_summary s;

    (void)state;
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EIO);
    opt.file.resume = true;
    changed.dtype = "int8";
    assert_int_equal(gr_eval_run(&file, 1, &opt, &changed, fake_score, &judge, &s, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "another model or other settings"));
    file = other;
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "cannot be resumed"));
    free(write_rows("ra.jsonl", 20));
    file = a;
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "more rows than the input"));
    opt = (gram_eval_options){ .file.resume = true };
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EARG);
    free(a), free(json), free(other);
}

static int stop_at_second(void *arg, uint64_t done, uint64_t total)
{
    size_t *calls = arg;

    assert_true(done <= total);
    return ++*calls == 2;
}

static void progress_stops(void **state)
{
    char *a = write_rows("pa.jsonl", 200), *json = in_tmp("stop.json");
    const char *file = a;
    size_t calls = 0;
    gram_eval_options opt = { .json = json, .file = { .progress = stop_at_second, .arg = &calls } };
    fake_judge judge = { 0 };
    gram_eval_summary s;

    (void)state;
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_ESTOPPED);
    assert_false(gr_path_exists(json));
    opt.file.resume = true;
    CHECK_OK(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err));
    assert_true(s.resumed == 128 && s.rows == 200);
    free(a), free(json);
}

/* Long rows are judged a few at a time, so that Ctrl-C is heard and a crash loses little. */
static void few_tokens_between_stops(void **state)
{
    char *a = write_rows("few.jsonl", 200), *json = in_tmp("few.json");
    const char *file = a;
    size_t calls = 0;
    gram_eval_options opt = { .json = json, .file = { .progress = stop_at_second, .arg = &calls } };
    gr_eval_facts small = facts;
    fake_judge judge = { 0 };
    gram_eval_summary s;

    (void)state;
    small.batch_tokens = 320;               /* a row counts for 64 to 100 tokens, and two batches are taken at once */
    assert_int_equal(gr_eval_run(&file, 1, &opt, &small, fake_score, &judge, &s, NULL, &check_err), GRAM_ESTOPPED);
    opt.file.resume = true;
    CHECK_OK(gr_eval_run(&file, 1, &opt, &small, fake_score, &judge, &s, NULL, &check_err));
    assert_true(s.resumed >= 2 * 640 / 100 && s.resumed <= 2 * (640 / 64 + 1) && s.rows == 200);
    free(a), free(json);
}

/* ---- Bad rows, long rows ---- */

static void keep_warning(void *arg, const char *text)
{
    gr_buf *b = arg;

    assert_true(gr_buf_puts(b, text) && gr_buf_puts(b, "\n"));
}

static void bad_rows_are_counted(void **state)
{
    char *path = in_tmp("mixed.jsonl");
    const char *file = path;
    gr_buf warnings = { 0 };
    gram_eval_options opt = { .file = { .warn = keep_warning, .arg = &warnings } };
    fake_judge judge = { 0 };
    gram_eval_summary s;
    char *table;

    (void)state;
    write_text(path, "{\"prompt\":\"p\",\"chosen\":\"q=1\",\"rejected\":\"q=0\"}\n{\"prompt\":1}\nnot json\n"
               "{\"prompt\":\"p\",\"chosen\":\"q=0\",\"rejected\":\"q=1\"}\n");
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "mixed.jsonl:2"));
    opt.file.skip_bad = true;
    CHECK_OK(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, &table, &check_err));
    assert_true(s.rows == 2 && s.bad == 2 && s.accuracy.value == 0.5);
    assert_non_null(strstr(warnings.p, "mixed.jsonl:3"));
    assert_null(strstr(strstr(warnings.p, "mixed.jsonl:3") + 1, "mixed.jsonl:3"));      /* told once */
    assert_non_null(strstr(table, "2 rows bad and skipped"));
    free(table);
    gr_buf_clear(&warnings);
    /* a line of two pairs is bad twice, and what comes behind it is still read */
    opt.rules = "rewardbench";
    write_text(path, "{\"prompt\":\"p\",\"subset\":\"none\",\"completions\":[\"a\",\"b\",\"q=0\"],\"ranks\":[1,2,3]}\n"
               "{\"prompt\":\"p\",\"subset\":\"hep-go\",\"chosen\":\"q=1\",\"rejected\":\"q=0\"}\n");
    CHECK_OK(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err));
    assert_true(s.rows == 1 && s.bad == 3);
    gr_buf_clear(&warnings);
    free(path);
}

static void long_row_is_named(void **state)
{
    char *a = write_rows("long.jsonl", 20), *json = in_tmp("long.json");
    const char *file = a;
    gram_eval_options opt = { .json = json };
    gr_eval_facts error = facts, dropping = facts;
    fake_judge judge = { .too_long = "Question 4 " }, drop = { .too_long = "Question 4 ", .drop = true };
    gram_eval_summary s;

    (void)state;
    error.truncate = "error";
    dropping.truncate = "drop";
    assert_int_equal(gr_eval_run(&file, 1, &opt, &error, fake_score, &judge, &s, NULL, &check_err), GRAM_ELIMIT);
    assert_non_null(strstr(check_err.text, "long.jsonl: row r12: pair 0: 3000 tokens"));
    opt.file.resume = true;                             /* the twelve before it were kept */
    CHECK_OK(gr_eval_run(&file, 1, &opt, &dropping, fake_score, &drop, &s, NULL, &check_err));
    assert_true(s.resumed == 12 && s.dropped == 3 && s.rows == 17);
    assert_int_equal(gr_eval_run(&file, 1, &opt, &error, fake_score, &drop, &s, NULL, &check_err), GRAM_EARG);
    free(a), free(json);
}

static gram_status broken_score(void *arg, const gram_pair *pair, size_t n, gram_verdict *out,
                                gram_reasoned *why, gram_err *err)
{
    (void)arg, (void)pair, (void)why, (void)err;
    for (size_t i = 0; i < n; i++)
        out[i] = (gram_verdict){ .preference = NAN, .p_forward = NAN, .p_swapped = NAN };
    return GRAM_OK;
}

static void not_a_number_is_refused(void **state)
{
    char *a = write_rows("nan.jsonl", 3);
    const char *file = a;
    gram_eval_summary s;

    (void)state;
    assert_int_equal(gr_eval_run(&file, 1, NULL, &facts, broken_score, NULL, &s, NULL, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "row r0: the model gave a preference that is no probability"));
    assert_int_equal(gr_eval_run(&file, 0, NULL, &facts, broken_score, NULL, &s, NULL, &check_err), GRAM_EARG);
    free(a);
}

static void missing_places(void **state)
{
    char *a = write_rows("ok.jsonl", 3), *report = in_tmp("none/deeper");
    const char *file = a, *gone = "/nonexistent/rows.jsonl";
    gram_eval_options opt = { .report_dir = report };
    fake_judge judge = { 0 };
    gram_eval_summary s;

    (void)state;
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EIO);
    opt = (gram_eval_options){ .rows = gone };
    assert_int_equal(gr_eval_run(&file, 1, &opt, &facts, fake_score, &judge, &s, NULL, &check_err), GRAM_EIO);
    assert_int_equal(gr_eval_run(&gone, 1, NULL, &facts, fake_score, &judge, &s, NULL, NULL), GRAM_EIO);
    assert_int_equal(judge.calls, 0);
    free(a), free(report);
}

/* ---- The page's rows ---- */

static const char *replaced;            /* the file that changes while its rows are judged */

static gram_status replacing_score(void *arg, const gram_pair *pair, size_t n, gram_verdict *out, gram_reasoned *why,
                                   gram_err *err)
{
    if (replaced)
        write_text(replaced, "{\"id\":\"two\",\"prompt\":\"another\",\"chosen\":\"q=0\",\"rejected\":\"q=9\"}\n");
    return fake_score(arg, pair, n, out, why, err);
}

/* The rows judged worst stand on the page in full: of two with one id each its own texts, escaped, a long one cut
 * between characters. Of a file that is another by then there are none. */
static void page_shows_rows(void **state)
{
    char *a = in_tmp("shown.jsonl"), *report = in_tmp("shown"), *index = gr_path_join(report, "index.html"), *page;
    const char *file = a, *at;
    gram_eval_options opt = { .report_dir = report, .file.skip_bad = true };
    fake_judge judge = { 0 };
    gram_eval_summary s;
    gr_buf rows = { 0 };
    size_t n;

    (void)state;
    gr_buf_puts(&rows, "{\"id\":\"one\",\"prompt\":\"first <q>\",\"chosen\":\"q=1\",\"rejected\":\"q=3 <b>loud\"}\n"
                       "{\"id\":\"bad\"}\n"
                       "{\"id\":\"one\",\"prompt\":[{\"role\":\"user\",\"content\":\"hm\"},{\"role\":\"assistant\","
                       "\"content\":\"yes?\"},{\"role\":\"user\",\"content\":\"second\"}],"
                       "\"chosen\":\"q=0 calm\",\"rejected\":\"q=5 x");
    for (size_t i = 0; i < 3500; i++)
        gr_buf_puts(&rows, "\xc3\xa4");     /* 5 + 7,000 bytes: the 6,000th is the second of its character */
    gr_buf_puts(&rows, "\"}\n{\"id\":\"right\",\"prompt\":\"3rd\",\"chosen\":\"q=2 good\",\"rejected\":\"q\"}\n");
    for (int k = 0; k < 2; k++) {
        write_text(a, rows.p);
        replaced = k ? a : NULL;
        CHECK_OK(gr_eval_run(&file, 1, &opt, &facts, replacing_score, &judge, &s, NULL, &check_err));
        assert_true(s.rows == 3 && s.bad == 1);
        CHECK_OK(gr_read_file(index, 1 << 20, &page, &n, &check_err));
        well_formed(page);
        assert_non_null(strstr(page, "Most surely wrong"));
        assert_int_equal(strstr(page, "first &lt;q&gt;") != NULL, !k);
        assert_int_equal(strstr(page, "q=3 &lt;b&gt;loud") != NULL, !k);
        assert_int_equal(strstr(page, "assistant:\nyes?\n\nuser:\nsecond<") != NULL, !k);
        at = strstr(page, "\xc3\xa4 [... and 503 characters]<");      /* 2,997 of them fit into 6,000 bytes */
        assert_int_equal(at != NULL, !k);
        assert_null(strstr(page, "q=2 good"));          /* judged right */
        assert_null(strstr(page, "another"));
        free(page);
    }
    gr_buf_clear(&rows);
    free(a), free(report), free(index);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewardbench_as_upstream), cmocka_unit_test(rmbench_as_upstream),
        cmocka_unit_test(ties_interval_is_the_jackknifes),
        cmocka_unit_test(judgebench_as_upstream), cmocka_unit_test(rewardbench2_as_upstream),
        cmocka_unit_test(an_item_that_lacks_its_last_pair_is_left_out),
        cmocka_unit_test(half_an_item_is_none),
        cmocka_unit_test(rewardbench_weights),
        cmocka_unit_test(ties_as_upstream), cmocka_unit_test(bad_upstream_rows), cmocka_unit_test(resumed_equals_whole),
        cmocka_unit_test(finished_run_resumes), cmocka_unit_test(resume_refuses_another_run),
        cmocka_unit_test(progress_stops), cmocka_unit_test(few_tokens_between_stops),
        cmocka_unit_test(bad_rows_are_counted), cmocka_unit_test(long_row_is_named),
        cmocka_unit_test(not_a_number_is_refused), cmocka_unit_test(missing_places), cmocka_unit_test(page_shows_rows)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
