/* test_selftrain.c - self-training: the table of dropped votes on constructed ones, a whole run on a tiny model that is
 * stopped at every stage and ends with the same bytes, what is skipped and what is refused. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "api/selftrain_int.h"
#include "check.h"
#include "file/io.h"
#include "file/weights.h"

static char *dir;

static char *put(const char *name, const char *text)
{
    char *path = gr_path_join(dir, name);

    CHECK_OK(gr_write_file(path, text, strlen(text), &check_err));
    return path;
}

static char *slurp(const char *folder, const char *name, size_t *n)
{
    char *path = gr_path_join(folder, name), *text;

    CHECK_OK(gr_read_file(path, (size_t)1 << 26, &text, n, &check_err));
    free(path);
    return text;
}

static bool has(const char *folder, const char *name, const char *what)
{
    size_t n;
    char *text = slurp(folder, name, &n);
    bool found = strstr(text, what) != NULL;

    free(text);
    return found;
}

/* ---- Labels --------------------------------------------------------------------------------------- */

/* One line of votes: two rationales an order, all with the probability p for response1 and the same words, in which A
 * and B are turned where response2 is read first. */
static void add_vote(gr_buf *pairs, gr_buf *votes, const char *id, int known, double p, const char *words,
                     const char *turned, int tokens, const char *status)
{
    char text[16] = "null";

    if (known)
        snprintf(text, sizeof text, "%d", known);
    gr_buf_printf(pairs, "{\"id\":\"%s\",\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],\"response1\":\"one\","
                  "\"response2\":\"two\",\"overall_preference\":0,\"known\":%s}\n", id, text);
    gr_buf_printf(votes, "{\"id\":\"%s\",\"orders\":[", id);
    for (int k = 0; k < 2; k++)
        gr_buf_printf(votes, "%s{\"first\":\"%c\",\"p\":[%g,%g],\"rationale\":[\"%s\",\"%s\"],\"status\":"
                      "[\"%s\",\"%s\"],\"contradicts\":[false,false],\"tokens\":[%d,%d]}", k ? "," : "", "ab"[k], p, p,
                      k ? turned : words, k ? turned : words, status, status, tokens, tokens);
    gr_buf_puts(votes, "]}\n");
}

static void votes_become_labels(void **state)
{
    static const char a[] = "Response A is better than Response B.", b[] = "Response B is better than Response A.";
    gr_buf pairs = { 0 }, votes = { 0 };
    gram_selftrain_options o;
    gr_self_round r = { &o, NULL, 1, dir, { "A", "B" } };
    gram_voted_labels n, again;
    (void)state;

    gram_selftrain_options_init(&o);
    add_vote(&pairs, &votes, "right", 1, 0.9, a, b, 30, "closed");
    add_vote(&pairs, &votes, "wrong", 2, 0.9, a, b, 30, "closed");
    add_vote(&pairs, &votes, "other", 2, 0.1, b, a, 30, "closed");
    add_vote(&pairs, &votes, "unknown", 0, 0.9, a, b, 30, "closed");
    add_vote(&pairs, &votes, "unsure", 1, 0.6, a, b, 30, "closed");
    add_vote(&pairs, &votes, "unsure-wrong", 2, 0.6, a, b, 30, "forced");
    add_vote(&pairs, &votes, "tie", 1, 0.5, a, b, 30, "closed");
    add_vote(&pairs, &votes, "forced", 1, 0.9, a, b, 30, "forced");
    add_vote(&pairs, &votes, "short", 1, 0.9, a, b, 10, "closed");
    add_vote(&pairs, &votes, "silent", 1, 0.9, "Yes.", "Yes.", 30, "closed");
    gr_buf_puts(&pairs, "{\"id\":\"long\",\"prompt\":[],\"response1\":\"one\",\"response2\":\"two\",\"known\":1}\n");
    gr_buf_puts(&votes, "{\"id\":\"long\",\"preference\":null,\"dropped\":true}\n");
    free(put("pairs.jsonl", pairs.p));
    free(put("votes.jsonl", votes.p));

    CHECK_OK(gr_selftrain_labels(&r, &n, &check_err));
    assert_int_equal(n.pairs, 11);
    assert_int_equal(n.known, 10);
    assert_int_equal(n.kept.n, 4);
    assert_int_equal(n.kept.known, 3);
    assert_int_equal(n.kept.right, 2);
    assert_int_equal(n.lost.n, 7);
    assert_int_equal(n.lost.known, 5);                  /* the tie and the long one have no vote */
    assert_int_equal(n.lost.right, 4);
    assert_int_equal(n.dropped[GRAM_RULE_JUDGED].n, 2);
    assert_int_equal(n.dropped[GRAM_RULE_JUDGED].known, 0);
    assert_int_equal(n.dropped[GRAM_RULE_PROBABILITY].n, 2);
    assert_int_equal(n.dropped[GRAM_RULE_PROBABILITY].right, 1);
    assert_int_equal(n.broke[GRAM_RULE_CLOSED], 2);     /* one of them had broken another rule before */
    assert_int_equal(n.dropped[GRAM_RULE_CLOSED].n, 1);
    assert_int_equal(n.dropped[GRAM_RULE_LENGTH].n, 1);
    assert_int_equal(n.dropped[GRAM_RULE_LABEL].n, 1);
    assert_int_equal(n.broke[GRAM_RULE_BOTH], 1);
    assert_int_equal(n.dropped[GRAM_RULE_BOTH].n, 0);
    assert_int_equal(n.rationales, 40);
    assert_int_equal(n.forced, 8);
    CHECK_OK(gr_selftrain_read_rules(dir, &again, &check_err));
    assert_memory_equal(&n, &again, sizeof n);
    assert_true(has(dir, "labels.jsonl",
                    "{\"id\":\"other\",\"prompt\":[{\"role\":\"user\",\"content\":\"q\"}],"
                    "\"chosen\":\"two\",\"rejected\":\"one\",\"voted\":{\"share\":1.0,\"probability\":[0.9"));
    assert_true(has(dir, "dropped.jsonl", "{\"id\":\"unsure-wrong\",\"broke\":[\"probability\",\"closed\"],\"rule\":"
                    "\"probability\""));

    o.rules.share = 1;
    o.rules.probability = 1;
    assert_int_equal(gr_selftrain_labels(&r, &n, &check_err), GRAM_EARG);
    assert_non_null(strstr(check_err.text, "none of its 11 pairs passed the rules, and 9 fell to `probability`"));
    free(put("votes.jsonl", "{\"id\":\"someone\"}\n"));
    assert_int_equal(gr_selftrain_labels(&r, &n, &check_err), GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "votes.jsonl:1: wanted the vote on pair right, found someone"));
    gr_buf_clear(&pairs);
    gr_buf_clear(&votes);
}

/* ---- A run ---------------------------------------------------------------------------------------- */

static char *recipe;

static void write_inputs(void)
{
    gr_buf human = { 0 }, labelled = { 0 }, pairs = { 0 };

    for (int i = 0; i < 8; i++) {
        gr_buf_printf(&human, "{\"prompt\":\"q%d\",\"chosen\":\"yes\",\"rejected\":\"no\",\"rationale\":\"{first} is "
                      "better.\"}\n", i);
        gr_buf_printf(&labelled, "{\"id\":\"l%d\",\"prompt\":\"q%d\",\"chosen\":\"yes\",\"rejected\":\"no\"}\n", i, i);
        gr_buf_printf(&pairs, "{\"id\":\"u%d\",\"prompt\":\"q%d\",%s}\n", i, i, i % 2 ? "\"responses\":[\"no\",\"yes\"]"
                                                                          : "\"chosen\":\"yes\",\"rejected\":\"no\"");
    }
    free(put("human.jsonl", human.p));
    free(put("labelled.jsonl", labelled.p));
    free(put("pairs.jsonl", pairs.p));
    free(put("eval.jsonl", "{\"prompt\":\"r\",\"chosen\":\"yes\",\"rejected\":\"no\"}\n"));
    free(put("judge.txt", "Q {input}\nA {response_a}\nB {response_b}\nWhy?"));
    free(put("prover.txt", "Q {input}\nA {response_a}\nB {response_b}\nBetter: {label}\nWhy?"));
    gr_buf_clear(&human);
    gr_buf_clear(&labelled);
    gr_buf_clear(&pairs);
}

/* A model that reads bytes, whose rationales are noise, so that the rules on them are off. */
static const char settings[] =
    "human: human.jsonl\nlabelled: labelled.jsonl\nunlabelled: pairs.jsonl\neval: eval.jsonl\njudge-prompt: judge.txt\n"
    "prover-judge-prompt: prover.txt\nrounds: 2\nvotes: 2\nrationale-tokens: 8\nproof-tokens: 32\nbatch-rows: 8\n"
    "lr: 1e-2\nprover-epochs: 24\njudge-steps: 2\nfinal-steps: 1\nthreads: 2\nvote-share: 0.5\nprobability: 0\n"
    "names-label: false\nnames-both: false\nclosed: false\nagrees: false\nrepeats: 0\nleast-tokens: 1\n";

static int set_up(void **state)
{
    char here[512], *text;
    gr_buf b = { 0 };
    (void)state;

    dir = check_tmpdir();
    write_inputs();
    assert_non_null(getcwd(here, sizeof here));
    gr_buf_printf(&b, "model: %s/tests/golden/train/judge\n%s", here, settings);
    text = b.p;
    recipe = put("run.yaml", text);
    gr_buf_clear(&b);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    free(recipe);
    return 0;
}

typedef struct { size_t stop_at, calls, begun, skipped, last; } watch;

static int on_progress(void *arg, const gram_selftrain_progress *p)
{
    watch *w = arg;

    if (!p->stage)
        return 0;
    w->begun += p->begins && !p->skipped;
    w->skipped += p->skipped;
    w->last = p->number;
    assert_true(p->number >= 1 && p->number <= p->stages && p->round <= 3);
    return w->stop_at && ++w->calls == w->stop_at;
}

static gram_status start(const char *out, watch *w, const char *const *set, size_t n, gram_selftrain_report *report)
{
    const char *all[8];
    char text[512];
    gram_selftrain_recipe *r;
    const gram_selftrain_calls calls = { on_progress, NULL, NULL, w };
    gram_status rc;

    snprintf(text, sizeof text, "out=%s/%s", dir, out);
    all[0] = text;
    for (size_t i = 0; i < n; i++)
        all[i + 1] = set[i];
    rc = gram_selftrain_recipe_open(&r, recipe, all, n + 1, &check_err);
    if (rc)
        return rc;
    rc = gram_selftrain(gram_selftrain_recipe_options(r), &calls, report, &check_err);
    gram_selftrain_recipe_close(r);
    return rc;
}

static void same_files(const char *a, const char *b)
{
    static const char *const name[] = {
        "00-prover/model.safetensors", "01-proofs.jsonl", "02-judge/model.safetensors", "round-1/pairs.jsonl",
        "round-1/votes.jsonl", "round-1/labels.jsonl", "round-1/dropped.jsonl", "round-1/rules.json",
        "round-1/proofs.jsonl", "round-2/pairs.jsonl", "round-2/votes.jsonl", "round-2/proofs.jsonl",
        "round-2/judge/model.safetensors", "final/model.safetensors", "eval/final/rows.jsonl", "rounds.json",
        "report.html", "stages/final", "stages/eval-round-2",
    };

    for (size_t i = 0; i < GR_COUNT(name); i++) {
        char *folder[2] = { gr_path_join(dir, a), gr_path_join(dir, b) }, *text[2];
        size_t n[2];
        for (int k = 0; k < 2; k++)
            text[k] = slurp(folder[k], name[i], &n[k]);
        if (n[0] != n[1] || memcmp(text[0], text[1], n[0]))
            fail_msg("%s differs", name[i]);
        for (int k = 0; k < 2; k++) {
            free(text[k]);
            free(folder[k]);
        }
    }
}

static void a_run_is_whole_and_resumes(void **state)
{
    watch w = { 0 };
    gram_selftrain_report report;
    size_t calls = 0;
    (void)state;

    CHECK_OK(start("whole", &w, NULL, 0, &report));
    assert_true(w.begun == 18 && w.last == 18);
    assert_int_equal(report.rounds, 2);
    assert_true(report.round[0].rows == 8 && report.round[0].proved > 0 && report.round[0].score > -1);
    assert_true(report.round[1].labels.pairs == 4 && report.round[2].labels.pairs == 4);
    assert_true(report.round[1].labels.known == 4 && report.round[2].labels.known == 0);    /* dealt in turn */
    assert_true(report.round[1].eval_rows == 1 && !isnan(report.final.value));
    assert_non_null(strstr(report.judge, "whole/final"));
    gram_selftrain_report_clear(&report);

    w = (watch){ 0 };                                   /* nothing is left to do */
    CHECK_OK(start("whole", &w, NULL, 0, NULL));
    assert_true(w.begun == 0 && w.skipped == 18);

    for (size_t step = 7;; step = step * 3 / 2 + 1) {   /* stopped ever later, until nobody stops it */
        gram_status rc;
        w = (watch){ .stop_at = step };
        rc = start("cut", &w, NULL, 0, NULL);
        if (!rc)
            break;
        assert_int_equal(rc, GRAM_ESTOPPED);
        calls++;
    }
    assert_true(calls >= 3);
    same_files("whole", "cut");
}

static void refuse(const char *out, const char *set, const char *says)
{
    watch w = { 0 };

    if (start(out, &w, &set, set != NULL, NULL) != GRAM_EARG || !strstr(check_err.text, says))
        fail_msg("wanted \"%s\", found \"%s\"", says, check_err.text);
    assert_null(strchr(check_err.text, '\n'));
}

/* The run of the test before stands there. */
static void changes_are_refused(void **state)
{
    char *folder = gr_path_join(dir, "whole"), *kept, *path = gr_path_join(folder, "round-1/proofs.jsonl"), *other;
    size_t n;
    (void)state;

    refuse("whole", "prover-lr=1e-3", "whole/00-prover: it was begun with lr 0.01, and now that is 0.001");
    refuse("whole", "votes=4", "whole/eval/02-judge/rows.jsonl: it was begun with votes 2, and now that is 4");
    refuse("whole", "proofs=2", "whole/01-proofs.jsonl: it was begun with proofs 4, and now that is 2");
    refuse("whole", "vote-share=0.6", "whole/round-1/labels.jsonl: it was begun with vote-share 0.5");
    refuse("whole", "final-steps=2", "whole/final: it was begun with steps 1");
    refuse("whole", "rounds=3", "whole/round-1/pairs.jsonl: it was begun with rounds 2");
    refuse("whole", "judge-lora-rank=2", "whole/02-judge: it was begun with lora-rank 0");
    other = gr_path_join(dir, "labelled.jsonl");
    {
        char set[512];
        snprintf(set, sizeof set, "human=%s", other);
        refuse("whole", set, "whole/00-prover: it was begun with other contents of human");
        snprintf(set, sizeof set, "eval=%s", other);
        refuse("whole", set, "whole/eval/02-judge/rows.jsonl: it was begun with other contents of eval");
    }
    kept = slurp(folder, "round-1/proofs.jsonl", &n);
    CHECK_OK(gr_write_file(path, kept, n / 2, &check_err));
    refuse("whole", NULL, "round-1/proofs.jsonl: it has changed since it was made");
    CHECK_OK(gr_write_file(path, kept, n, &check_err));
    free(kept);
    free(other);
    other = gr_path_join(dir, "taken");
    CHECK_OK(gr_make_directory(other, &check_err));
    kept = gr_path_join(other, "01-proofs.jsonl");
    CHECK_OK(gr_write_file(kept, "{}\n", 3, &check_err));
    {
        char set[512];
        snprintf(set, sizeof set, "prover=%s/00-prover", folder);
        refuse("taken", set, "taken/01-proofs.jsonl: it is there and was not made by this run");
    }
    free(kept);
    free(other);
    free(path);
    free(folder);
}

static void bad_recipes(void **state)
{
    char set[512];
    (void)state;

    refuse("x", "votes=3", "votes: wanted an even number");
    refuse("x", "early=1", "early: wanted an even number");
    refuse("x", "early=4", "early: 4 is more than votes, 2");
    refuse("x", "top-p=0", "top_p: wanted more than 0");
    refuse("x", "rationale-tokens=2048", "rationale-tokens: wanted fewer than the 2048 tokens");
    refuse("x", "proof-tokens=5000", "proof-tokens: wanted fewer than the 2048 tokens");
    refuse("x", "vote-share=2", "key \"vote-share\": wanted a number from 0 to 1, found \"2\"");
    refuse("x", "rounds=-1", "key \"rounds\": wanted a whole number from 0 to 100");
    refuse("x", "least-tokens=600", "least-tokens: wanted at most most-tokens, 512, found 600");
    refuse("x", "unlabelled=~", "unlabelled: it is missing");
    refuse("x", "human=~", "human: it is missing");
    refuse("x", "model=~", "model: it is missing");
    refuse("x", "vote=4", "there is no key \"vote\"; did you mean \"votes\"?");
    refuse("x", "prover-smoothing=0.1", "key \"prover-smoothing\": it is an option of the losses");
    refuse("x", "sure=0.8", "key \"sure\": wanted `early` with it, without which it says nothing");
    refuse("x", "closed=maybe", "key \"closed\": wanted true or false");
    snprintf(set, sizeof set, "prover-model=%s", dir);
    {
        char prover[512];
        const char *const both[] = { set, prover };
        watch w = { 0 };
        snprintf(prover, sizeof prover, "prover=%s", dir);
        assert_int_equal(start("x", &w, both, 2, NULL), GRAM_EARG);
        assert_non_null(strstr(check_err.text, "prover-model: `prover` is given"));
        assert_int_equal(start("x", &w, (const char *const []){ "eval=~", "eval-columns=id=q" }, 2, NULL),
                         GRAM_EARG);
        assert_non_null(strstr(check_err.text, "key \"eval-columns\": wanted `eval` with it"));
    }
}

/* The one that is shipped says what it says; only files are left to whoever runs it. */
static void the_shipped_recipe_opens(void **state)
{
    const gram_selftrain_options *o;
    gram_selftrain_recipe *r;
    (void)state;

    CHECK_OK(gram_selftrain_recipe_open(&r, "recipes/selftrain.yaml", NULL, 0, &check_err));
    o = gram_selftrain_recipe_options(r);
    assert_true(o->rounds == 3 && o->votes == 8 && o->rules.share == 0.75 && o->rules.repeats == 4 && !o->model);
    for (int i = 0; i < 3; i++)
        assert_true(o->train[i].lr == 2e-5 && o->train[i].batch_rows == 128 &&
                    o->train[i].model.truncate == GRAM_TRUNCATE_DROP);
    assert_true(o->train[GRAM_SELF_JUDGE].epochs == 2 && o->train[GRAM_SELF_FINAL].epochs == 1);
    assert_true(o->train[GRAM_SELF_PROVER].loss == GRAM_LOSS_PROOF);
    gram_selftrain_recipe_close(r);
}

/* A round's rows by their lines. */
static void bad_rows(void **state)
{
    static const char *const row[][2] = {
        { "{\"prompt\":\"q\",\"responses\":[\"one\"]}", "2: key \"responses\" must be a list of two or more" },
        { "{\"prompt\":\"q\",\"chosen\":\"one\"}", "2: " },
        { "{\"prompt\":\"q\"", "2: " },
        { "{\"prompt\":\"q\",\"responses\":[\"a\",\"b\"],\"tools\":[{\"type\":\"function\",\"function\":"
          "{\"name\":\"f\"}}]}",
          "2: a conversation with tools has no proofs" },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(row); i++) {
        gram_selftrain_options o;
        gr_self_round r = { &o, NULL, 1, dir, { "A", "B" } };
        gr_buf b = { 0 };
        char *path;
        size_t n;
        gram_selftrain_options_init(&o);
        o.rounds = 1;
        gr_buf_printf(&b, "{\"id\":\"four\",\"prompt\":\"q\",\"responses\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}\n%s\n",
                      row[i][0]);
        path = put("bad.jsonl", b.p);
        o.unlabelled = path;
        assert_int_equal(gr_selftrain_pairs(&r, &check_err), GRAM_EFORMAT);
        if (!strstr(check_err.text, "bad.jsonl:") || !strstr(check_err.text, row[i][1]))
            fail_msg("wanted \"%s\", found \"%s\"", row[i][1], check_err.text);
        o.skip_bad = true;
        CHECK_OK(gr_selftrain_pairs(&r, &check_err));
        free(slurp(dir, "pairs.jsonl", &n));
        assert_true(has(dir, "pairs.jsonl", "{\"id\":\"four#0-1\","));
        assert_true(has(dir, "pairs.jsonl", "{\"id\":\"four#2-3\",") && !has(dir, "pairs.jsonl", "\"5\""));
        free(path);
        gr_buf_clear(&b);
    }
    write_inputs();                                     /* pairs.jsonl is this test's no more */
}

/* All parts of a split GGUF are its contents, and of files that only look like one the first alone. */
static void a_model_in_parts(void **state)
{
    static const char *const name[] = { "m-00001-of-00002.gguf", "m-00001-of-2.gguf", "m.gguf" };
    char *path[3];
    (void)state;

    for (int i = 0; i < 3; i++)
        path[i] = check_write(name[i], "abcdefgh");
    for (int i = 0; i < 3; i++) {
        uint64_t h[2];
        for (int k = 0; k < 2; k++) {
            gr_digests d = { 0 };
            free(check_write("m-00002-of-00002.gguf", k ? "12345679" : "12345678"));
            CHECK_OK(gr_run_stage_digest(&d, path[i], &h[k], &check_err));
            gr_digests_clear(&d);
        }
        assert_int_equal(h[0] != h[1], i == 0);
        free(path[i]);
    }
    assert_int_equal(gr_gguf_part_count("00001-of-00002.gguf"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(votes_become_labels), cmocka_unit_test(bad_rows), cmocka_unit_test(bad_recipes),
        cmocka_unit_test(the_shipped_recipe_opens),
        cmocka_unit_test(a_run_is_whole_and_resumes), cmocka_unit_test(changes_are_refused),
        cmocka_unit_test(a_model_in_parts),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
