/* test_bon.c - gram/bon.h over tiny models: lines are what generate and judge say apart, a run that was cut off goes on
 * with the same bytes and curve, rows that cannot be judged say so, and whatever allocation fails is said and given
 * back. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "api/api_int.h"
#include "api/bon_int.h"
#include "check.h"
#include "gram/bon.h"
#include "nomem_json.h"

#define POLICY "tests/golden/train/judge"
#define HEAD "tests/golden/rewards/qwen3"

enum { ROWS = 5, N = 4 };

static gram_model *policy;
static gram_judge *judge, *head;
static char *prompts, *groups;

static int set_up(void **state)
{
    static char rows[4096], grouped[8192];
    size_t at = 0, to = 0;

    (void)state;
    json_set_alloc_funcs(json_take, json_give);
    CHECK_OK(gram_open(&policy, POLICY, NULL, &check_err));
    CHECK_OK(gram_judge_over(&judge, policy, NULL, &check_err));
    CHECK_OK(gram_judge_open(&head, HEAD, NULL, &check_err));
    for (int i = 0; i < ROWS; i++) {
        at += (size_t)sprintf(rows + at, "{\"id\":\"r%d\",\"prompt\":\"Name %d things.\",\"k\":%d}\n", i, i, i);
        to += (size_t)sprintf(grouped + to, "{\"id\":\"g%d\",\"prompt\":\"Name %d things.\",\"responses\":[\"one\","
                              "\"two %d\",\"three\",\"one\"],\"human\":[1,%s,3,1.5]}\n", i, i, i,
                              i == 2 ? "null" : "2");
    }
    prompts = check_write("prompts.jsonl", rows);
    groups = check_write("groups.jsonl", grouped);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    gram_judge_close(head);
    gram_judge_close(judge);
    gram_close(policy);
    free(prompts);
    free(groups);
    return 0;
}

static gram_generation settings(void)
{
    gram_generation g;

    gram_generation_init(&g);
    g.n = N;
    g.max_new_tokens = 10;
    g.seed = 3;
    return g;
}

static char *bytes_of(const char *path)
{
    char *text = NULL;
    size_t n;

    CHECK_OK(gr_read_file(path, 1 << 20, &text, &n, &check_err));
    return text;
}

/* Line k of a file as JSON. */
static json_t *line_of(const char *path, size_t k)
{
    char *all = bytes_of(path), *at = all;
    json_t *o;

    while (k-- > 0)
        at = strchr(at, '\n') + 1;
    o = json_loads(at, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL);      /* plain answers may hold it */
    free(all);
    return o;
}

static double reward_at(const json_t *o, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(o, key), i));
}

static size_t whole(const json_t *o, const char *key) { return (size_t)json_integer_value(json_object_get(o, key)); }

/* Each answer is what a run of its own gives, its reward that of the judge, the winner the largest. */
static void lines_are_answers_and_their_rewards(void **state)
{
    const gram_generation g = settings();
    const gram_bon_options o = { .generation = &g, .gold = head };
    char *out = check_tmppath("lines.jsonl"), *table, *plain = check_tmppath("plain.jsonl");
    size_t flips = 0, cut = 0;
    gram_bon_report r;

    (void)state;
    CHECK_OK(gram_bon_file(policy, judge, prompts, out, &o, &r, &table, &check_err));
    CHECK_OK(gram_generate_file(policy, prompts, plain, &g, false, NULL, NULL, &check_err));
    assert_non_null(strstr(table, "oracle"));
    free(table);
    assert_true(r.file.rows == ROWS && r.answers == ROWS * N && r.failed == 0 && r.unjudged == 0);
    assert_true(r.judge.comparisons == ROWS * N * (N - 1) / 2 && r.gold.passes == ROWS * N);
    assert_true(r.curve.prompts == ROWS && r.curve.points == 3 && r.curve.gold);
    for (size_t i = 0; i < ROWS; i++) {
        json_t *l = line_of(out, i), *p = line_of(plain, i);
        const char *answer[N];
        const gram_message turn = { .role = "user", .content = json_string_value(json_object_get(l, "prompt")) };
        const gram_group group = { .prompt = { &turn, 1, NULL }, .response = answer, .n = N };
        gram_judged_group by, gold;
        const json_t *cost;
        size_t best = 0;
        for (size_t k = 0; k < N; k++)
            answer[k] = json_string_value(json_array_get(json_object_get(l, "responses"), k));
        assert_true(json_equal(json_object_get(l, "seed"), json_object_get(p, "seed")));
        assert_true(json_equal(json_object_get(l, "logprob"), json_object_get(p, "logprob")));
        CHECK_OK(gram_judge_group(judge, &group, &by, &check_err));
        CHECK_OK(gram_judge_group(head, &group, &gold, &check_err));
        for (size_t k = 0; k < N; k++) {
            assert_true(reward_at(l, "rewards", k) == by.reward[k] && reward_at(l, "gold", k) == gold.reward[k]);
            best = by.reward[k] > by.reward[best] ? k : best;
        }
        cost = json_object_get(l, "cost");
        assert_int_equal(whole(cost, "tokens_computed"), by.cost.tokens_computed);
        assert_int_equal(whole(cost, "comparisons"), by.cost.comparisons);
        assert_int_equal(whole(cost, "passes"), by.cost.passes);
        assert_int_equal(whole(cost, "tokens"), by.cost.tokens);
        assert_int_equal(whole(cost, "flips"), by.cost.flips);
        flips += by.cost.flips;
        for (size_t k = 0, written = 0; k < N; k++) {
            const json_t *finish = json_array_get(json_object_get(l, "finish"), k);
            written += (size_t)reward_at(l, "tokens", k);
            cut += !strcmp(json_string_value(finish), "length");
            if (k == N - 1)
                assert_int_equal(whole(cost, "written"), written);
        }
        assert_int_equal(json_integer_value(json_object_get(l, "winner")), best);
        assert_string_equal(json_string_value(json_object_get(l, "completion")), answer[best]);
        gram_judged_group_clear(&by);
        gram_judged_group_clear(&gold);
        json_decref(l);
        json_decref(p);
    }
    assert_true(r.judge.flips == flips && flips > 0);
    assert_true(r.cut == cut && 2 * cut > ROWS * N);
    free(out);
    free(plain);
}

/* Stops after some answers, or after some rows where there is no policy. */
static int stop_after(void *arg, uint64_t done, uint64_t total)
{
    int *left = arg;

    (void)done;
    (void)total;
    return --*left < 0;
}

static void a_run_goes_on_with_the_same_bytes(void **state)
{
    const gram_generation g = settings();

    (void)state;
    for (int with = 0; with < 2; with++) {
        char *whole = check_tmppath("whole.jsonl"), *cut = check_tmppath("cut.jsonl");
        char *part = check_tmppath("cut.jsonl.partial");
        gram_bon_options o = { .generation = with ? &g : NULL, .gold = with ? head : NULL,
                               .gold_column = with ? NULL : "human" };
        gram_model *m = with ? policy : NULL;
        gram_judge *j = with ? judge : head;
        char *table[2], *bytes[2];
        int stops = 0;

        gram_bon_report r[2];
        gram_status rc;
        unlink(cut);                                    /* of the round before */
        CHECK_OK(gram_bon_file(m, j, with ? prompts : groups, whole, &o, &r[0], &table[0], &check_err));
        do {
            int left = 2;
            o.file = (gram_file_options){ .resume = stops > 0, .progress = stop_after, .arg = &left };
            rc = gram_bon_file(m, j, with ? prompts : groups, cut, &o, &r[1], &table[1], &check_err);
            if (rc) {
                assert_int_equal(rc, GRAM_ESTOPPED);
                assert_null(table[1]);
                assert_int_equal(access(cut, F_OK), -1);
                if (++stops == 1) {                     /* a kill leaves half a line */
                    FILE *f = fopen(part, "a");
                    fputs("{\"id\":\"r", f);
                    fclose(f);
                }
                if (with && stops > 2) {                /* of a policy the lines come when all answers are there */
                    o.file.progress = NULL;
                    rc = gram_bon_file(m, j, prompts, cut, &o, &r[1], &table[1], &check_err);
                    CHECK_OK(rc);
                }
            }
        } while (rc);
        assert_true(stops > 0);
        bytes[0] = bytes_of(whole);
        bytes[1] = bytes_of(cut);
        assert_string_equal(bytes[0], bytes[1]);
        assert_string_equal(table[0], table[1]);
        assert_true(r[1].file.rows == ROWS && r[1].curve.prompts == r[0].curve.prompts);
        for (int k = 0; k < 2; k++) {
            free(bytes[k]);
            free(table[k]);
        }
        free(whole);
        free(cut);
        free(part);
    }
}

/* Lines of a run with other settings are refused. */
#define FOUR "\"prompt\":\"q\",\"responses\":[\"a\",\"b\",\"c\",\"d\"],"
static void another_run_is_not_gone_on_with(void **state)
{
    static const struct { const char *line, *says; } bad[] = {
        { "{\"id\":\"r0\",\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"seed\":[3,4],\"rewards\":[1,2]}\n",
         "number of answers" },
        { "{\"id\":\"r0\"," FOUR "\"seed\":[4,5,6,7],\"rewards\":[1,2,3,4]}\n", "another seed" },
        { "{\"id\":\"r0\"," FOUR "\"seed\":[3,4,5,6],\"rewards\":[1,2,3,4],"
          "\"gold\":[1,2,3,4]}\n", "has gold" },
        { "[]\n", "no JSON object" },
        { "{\"id\":\"r0\"}\n", "no prompt" },
        { "{\"id\":\"r7\"," FOUR "\"seed\":[3,4,5,6],\"rewards\":[1,2,3,4]}\n", "r7" },
    };
    const gram_generation g = settings();
    gram_bon_options o = { .generation = &g };
    char *out = check_tmppath("other.jsonl"), *how = check_tmppath("other.jsonl.how");
    int left = 0;
    FILE *f;

    (void)state;
    o.file = (gram_file_options){ .progress = stop_after, .arg = &left };
    assert_int_equal(gram_bon_file(policy, judge, prompts, out, &o, NULL, NULL, &check_err), GRAM_ESTOPPED);
    f = fopen(how, "a");                            /* as if a line had been written */
    assert_true(f && fprintf(f, "%016d\n", 0) == 17 && !fclose(f));
    o.file = (gram_file_options){ .resume = true };
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        char *part = check_write("other.jsonl.partial", bad[i].line);
        assert_int_equal(gram_bon_file(policy, judge, prompts, out, &o, NULL, NULL, &check_err), GRAM_EARG);
        if (!strstr(check_err.text, bad[i].says))
            fail_msg("\"%s\" does not say \"%s\"", check_err.text, bad[i].says);
        free(part);
    }
    free(out);
    free(how);
}

static void groups_have_their_own_responses(void **state)
{
    const gram_bon_options o = { .gold_column = "human", .most = 3 };
    char *out = check_tmppath("groups.out.jsonl"), *table;
    gram_bon_report r;
    json_t *l;

    (void)state;
    CHECK_OK(gram_bon_file(NULL, head, groups, out, &o, &r, &table, &check_err));
    assert_true(r.file.rows == ROWS && r.answers == 0 && r.judge.passes == 3 * ROWS && r.judge.comparisons == 0);
    assert_true(r.curve.prompts == ROWS && r.curve.point[r.curve.points - 1].n == 3);   /* one has three golds */
    l = line_of(out, 2);
    assert_true(reward_at(l, "rewards", 0) == reward_at(l, "rewards", 3));
    assert_true(json_is_null(json_array_get(json_object_get(l, "gold"), 1)));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(l, "cost"), "written")), 0);
    json_decref(l);
    free(table);
    free(out);
}

/* By reference: the row's own, or the policy's greedy answer, the same whether lines meet or not. */
static void references(void **state)
{
    const gram_judge_options by = { .scheme = GRAM_SCHEME_REFERENCE };
    gram_generation g = settings();
    gram_bon_options o = { .generation = &g };
    char *out = check_tmppath("ref.jsonl"), *one = check_tmppath("one.jsonl");
    char *rows = check_write("refs.jsonl", "{\"id\":\"a\",\"prompt\":\"Say it.\",\"reference\":\"it\"}\n"
                                           "{\"id\":\"b\",\"prompt\":\"Say it.\"}\n"
                                           "{\"id\":\"c\",\"prompt\":\"Say more.\"}\n");
    char *lone = check_write("lone.jsonl", "{\"id\":\"c\",\"prompt\":\"Say more.\"}\n");
    char *group = check_write("no_reference.jsonl",
                              "{\"id\":\"x\",\"prompt\":\"Say it.\",\"responses\":[\"a\",\"b\"]}\n");
    gram_judge *j;
    gram_bon_report r;
    json_t *l, *again;

    (void)state;
    CHECK_OK(gram_judge_over(&j, policy, &by, &check_err));
    CHECK_OK(gram_bon_file(policy, j, rows, out, &o, &r, NULL, &check_err));
    assert_int_equal(r.judge.comparisons, 3 * N);
    l = line_of(out, 0);
    assert_string_equal(json_string_value(json_object_get(l, "reference")), "it");
    json_decref(l);
    l = line_of(out, 2);
    assert_true(json_string_length(json_object_get(l, "reference")) > 0);
    CHECK_OK(gram_bon_file(policy, j, lone, one, &o, &r, NULL, &check_err));
    again = line_of(one, 0);
    assert_true(json_equal(json_object_get(l, "reference"), json_object_get(again, "reference")));
    json_decref(l);
    json_decref(again);
    CHECK_OK(gram_bon_file(NULL, j, group, one, NULL, &r, NULL, &check_err));
    assert_int_equal(r.failed, 1);
    l = line_of(one, 0);
    assert_non_null(strstr(json_string_value(json_object_get(l, "error")), "reference"));
    assert_null(json_object_get(l, "winner"));
    json_decref(l);
    gram_judge_close(j);
    free(out);
    free(one);
    free(rows);
    free(lone);
    free(group);
}

/* What cannot be written or judged has an error, and the others go on. */
static void rows_that_fail_say_so(void **state)
{
    gram_options small = { .max_tokens = 300 };
    const gram_judge_options limited = { .model = &small };
    const gram_generation g = settings();
    const gram_bon_options o = { .generation = &g };
    gr_buf rows = { 0 };
    char *out = check_tmppath("failing.jsonl"), *in;
    gram_judge *j;
    gram_bon_report r;
    json_t *l;

    (void)state;
    gr_buf_puts(&rows, "{\"id\":\"long\",\"prompt\":\"");
    for (int i = 0; i < 3000; i++)
        gr_buf_puts(&rows, "abc ");
    gr_buf_puts(&rows, "\"}\n{\"id\":\"fits\",\"prompt\":\"Hm?\"}\n{\"id\":\"judge's\",\"prompt\":\"");
    for (int i = 0; i < 100; i++)
        gr_buf_puts(&rows, "abc ");
    gr_buf_puts(&rows, "\"}\n");
    in = check_write("failing.in.jsonl", rows.p);
    CHECK_OK(gram_judge_open(&j, HEAD, &limited, &check_err));
    CHECK_OK(gram_bon_file(policy, j, in, out, &o, &r, NULL, &check_err));
    assert_int_equal(r.failed, 2);
    for (size_t i = 0; i < 3; i++) {
        l = line_of(out, i);
        assert_true(!json_object_get(l, "error") == (i == 1) && !json_object_get(l, "winner") == (i != 1));
        if (i == 2)
            assert_true(json_array_size(json_object_get(l, "errors")) == N &&
                        json_is_null(json_array_get(json_object_get(l, "rewards"), 0)));
        json_decref(l);
    }
    assert_true(r.curve.prompts == 1 && r.curve.left_out == 2);
    gram_judge_close(j);
    gr_buf_clear(&rows);
    free(in);
    free(out);
}

/* Rows without a winner and responses without a reward are told of all rows, those of the run before too. */
static void a_resume_tells_of_all_rows(void **state)
{
    gram_options small = { .max_tokens = 300 };
    const gram_judge_options limited = { .model = &small };
    gr_buf rows = { 0 };
    char *out = check_tmppath("told.jsonl"), *in;
    gram_bon_options o = { 0 };
    gram_bon_report r;
    gram_judge *j;
    int left = 2;

    (void)state;
    for (int i = 0; i < 6; i++)             /* of three the first cannot be judged, and one answer of the second */
        gr_buf_printf(&rows, "{\"id\":\"%d\",\"prompt\":\"%0*d\",\"responses\":[\"a\",\"%0*d\"]}\n", i,
                      i % 3 ? 1 : 400, i, i % 3 == 1 ? 400 : 1, i);
    in = check_write("told.in.jsonl", rows.p);
    CHECK_OK(gram_judge_open(&j, HEAD, &limited, &check_err));
    o.file = (gram_file_options){ .progress = stop_after, .arg = &left };
    assert_int_equal(gram_bon_file(NULL, j, in, out, &o, &r, NULL, &check_err), GRAM_ESTOPPED);
    o.file = (gram_file_options){ .resume = true };
    CHECK_OK(gram_bon_file(NULL, j, in, out, &o, &r, NULL, &check_err));
    assert_true(r.file.resumed == 3 && r.file.rows == 6);
    if (r.failed != 2 || r.unjudged != 2)
        fail_msg("%d rows without a winner and %d responses without a reward: wanted 2 and 2", (int)r.failed,
                 (int)r.unjudged);
    gram_judge_close(j);
    gr_buf_clear(&rows);
    free(in);
    free(out);
}

static void what_cannot_be_meant_is_refused(void **state)
{
    static const struct { const char *row, *says; } bad[] = {
        { "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"human\":[1]}\n", "list of 2 numbers" },
        { "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"human\":[1,\"2\"]}\n", "element 2" },
        { "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"human\":[1,NaN]}\n", "element 2" },
        { "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"]}\n", "human" },
        { "{\"prompt\":\"q\",\"responses\":[\"a\"],\"human\":[1]}\n", "two or more" },
        { "{\"prompt\":\"q\"}\n", "responses" },
        { "{\"responses\":[\"a\",\"b\"]}\n", "prompt" },
        { "[1]\n", "object" },
    };
    const gram_generation g = settings();
    gram_bon_options o = { .gold_column = "human" };
    const gram_bon_options policys[] = {
        { 0 }, { .generation = &g, .most = 2 }, { .generation = &g, .gold_column = "x" },
    };
    char *out = check_tmppath("bad.jsonl");

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        char *in = check_write("bad.in.jsonl", bad[i].row);
        gram_bon_report r;
        gram_status rc = gram_bon_file(NULL, head, in, out, &o, &r, NULL, &check_err);
        assert_true(rc == GRAM_EFORMAT || rc == GRAM_EIO);
        if (!strstr(check_err.text, bad[i].says) || !strstr(check_err.text, "bad.in.jsonl"))
            fail_msg("\"%s\" does not say \"%s\"", check_err.text, bad[i].says);
        assert_int_equal(access(out, F_OK), -1);
        free(in);
    }
    for (size_t i = 0; i < GR_COUNT(policys); i++)
        assert_int_equal(gram_bon_file(policy, head, prompts, out, &policys[i], NULL, NULL, &check_err), GRAM_EARG);
    o = (gram_bon_options){ .generation = &g };
    assert_int_equal(gram_bon_file(policy, head, groups, out, &o, NULL, NULL, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "\"responses\""));
    free(out);
}

static gram_status nomem_once(bool with, gram_err *err)
{
    static const char *const two = "{\"id\":\"r\",\"prompt\":\"Is it?\"}\n";
    static char *in, *out, *json, *page;
    gram_generation g = settings();
    gram_bon_options o = { .generation = with ? &g : NULL, .gold = with ? head : NULL,
                           .gold_column = with ? NULL : "human" };
    char *table = NULL;
    gram_status rc;

    if (!in) {                                          /* once: these stay */
        in = check_write("nomem.jsonl", two);
        out = check_tmppath("nomem.out.jsonl");
        json = check_tmppath("nomem.json");
        page = check_tmppath("nomem.page");
    }
    g.max_new_tokens = 3;
    g.n = 2;
    o.json = json;
    o.report_dir = page;
    unlink(out);
    rc = gram_bon_file(with ? policy : NULL, with ? judge : head, with ? in : groups, out, &o, NULL, &table, err);
    assert_true(!rc == !!table && !rc == !access(out, F_OK));
    free(table);
    gr_kv_forget(policy->scorer.cache);                 /* what is kept for the next call is not lost */
    gr_kv_forget(gram_judge_model(head)->scorer.cache);
    return rc;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int with = 0; with < 2; with++)
        nomem_each(nomem_once, with);
}

/* One of several answers may break off, as where the model's numbers overflow in it: whichever it is, the line says so,
 * and holds none of the others. */
static void one_answer_that_breaks_off_is_said(void **state)
{
    gram_message turn = { "user", "q", NULL };
    char *response[3] = { NULL }, text[] = "an answer", error[] = "no number";

    (void)state;
    for (int broken = 0; broken < 3; broken++) {
        json_t *answer[3] = { NULL }, *o;
        const gr_bon_line l = { .row = { .id = text, .turn = &turn, .n_turns = 1, .response = response, .n = 3 },
                                .answer = answer, .error = error };
        for (int k = 0; k < 3; k++)
            answer[k] = k == broken ? NULL : json_pack("{s:s}", "completion", text);
        o = gr_bon_line_json(&l, NULL, false);
        assert_non_null(o);
        assert_string_equal(json_string_value(json_object_get(o, "error")), error);
        assert_null(json_object_get(o, "responses"));
        json_decref(o);
        for (int k = 0; k < 3; k++)
            json_decref(answer[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_answers_and_their_rewards), cmocka_unit_test(a_run_goes_on_with_the_same_bytes),
        cmocka_unit_test(another_run_is_not_gone_on_with), cmocka_unit_test(groups_have_their_own_responses),
        cmocka_unit_test(references), cmocka_unit_test(one_answer_that_breaks_off_is_said),
        cmocka_unit_test(rows_that_fail_say_so),
        cmocka_unit_test(a_resume_tells_of_all_rows),
        cmocka_unit_test(what_cannot_be_meant_is_refused), cmocka_unit_test(every_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
