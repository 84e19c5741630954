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
                  "\"response2\":\"two\",\"overall_preference\":0,\"known\":%s,\"criteria\":\"of %s\"}\n", id, text,
                  id);
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
    assert_true(has(dir, "labels.jsonl", ",\"right\":true},\"criteria\":\"of other\"}\n"));
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
    gr_buf_puts(&labelled, "{\"id\":\"tie\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"tie\":true}\n");
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

typedef struct { size_t stop_at, calls, begun, skipped, last; const char *until; } watch;     /* until: a stage's end */

static int on_progress(void *arg, const gram_selftrain_progress *p)
{
    watch *w = arg;

    if (!p->stage)
        return 0;
    w->begun += p->begins && !p->skipped;
    w->skipped += p->skipped;
    w->last = p->number;
    assert_true(p->number >= 1 && p->number <= p->stages && p->round <= 3);
    return (w->stop_at && ++w->calls == w->stop_at) || (w->until && p->ended && !strcmp(p->stage, w->until));
}

static gram_status start(const char *out, watch *w, const char *const *set, size_t n, gram_selftrain_report *report)
{
    const char *all[16];
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

/* Over the lines that have a rationale. */
static double mean_score(const char *name)
{
    size_t n;
    char *text = slurp(dir, name, &n);
    double sum = 0, proved = 0;

    for (char *at = text; *at; at = strchr(at, '\n') + 1) {
        json_t *o = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
        if (json_is_string(json_object_get(o, "rationale"))) {
            sum += json_number_value(json_object_get(o, "score"));
            proved++;
        }
        json_decref(o);
    }
    free(text);
    return sum / proved;
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
    assert_true(report.round[0].rows == 9 && report.round[0].proved > 0);      /* a tie has no proof */
    CHECK_NEAR(report.round[0].score, mean_score("whole/01-proofs.jsonl"), 1e-12);
    assert_true(report.round[1].labels.pairs == 4 && report.round[2].labels.pairs == 4);
    assert_true(report.round[1].labels.known == 4 && report.round[2].labels.known == 0);    /* dealt in turn */
    assert_true(report.round[1].eval_rows == 1 && !isnan(report.final.value));
    assert_non_null(strstr(report.judge, "whole/final"));
    gram_selftrain_report_clear(&report);

    w = (watch){ 0 };                                   /* nothing is left to do, by however many threads */
    CHECK_OK(start("whole", &w, (const char *const []){ "threads=1" }, 1, NULL));
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

/* Keys of a training that is left out: a recipe that says both, and what is set over one, are refused; what is set may
 * leave out what a recipe has keys of. */
static void keys_of_no_training_are_refused(void **state)
{
    static const struct { const char *recipe, *set[2], *says; } known[] = {
        { "prover: p\nprover-epochs: 1\n", { NULL, NULL }, "recipe.yaml:2: key \"prover-epochs\": `prover` is given" },
        { "human: h\nfinal: false\nfinal-lr: 1e-3\n", { NULL, NULL },
          "recipe.yaml:3: key \"final-lr\": `final` is false" },
        { "lr: 1e-3\n", { "prover=p", "prover-lr=1e-3" }, "set prover-lr=1e-3: key \"prover-lr\": `prover` is given" },
        { "human: h\n", { "final=false", "final-lr=1e-3" }, "key \"final-lr\": `final` is false" },
        { "prover: p\n", { "final-lr=1e-3", "lr=1e-3" }, "key \"final-lr\": without `human` the last judge" },
        { "human: h\nprover-epochs: 1\nfinal-lr: 1e-3\n", { "prover=p", "final=false" }, NULL },
        { "human: h\nprover-epochs: 1\nfinal-lr: 1e-3\n", { "judge-lr=1e-3", "final-epochs=2" }, NULL },
        { "human: h\nfinal: true\nfinal-lr: 1e-3\n", { "prover-lr=1e-3", "final-epochs=2" }, NULL },
    };
    static const char *const left_out[] = { "final=false", "prover=p" };
    gram_selftrain_recipe *r;
    (void)state;

    for (size_t i = 0; i < GR_COUNT(known); i++) {
        char *path = put("recipe.yaml", known[i].recipe);
        size_t n = known[i].set[0] ? 2 : 0;
        gram_status rc = gram_selftrain_recipe_open(&r, path, known[i].set, n, &check_err);
        if (rc != (known[i].says ? GRAM_EARG : GRAM_OK) || (rc && !strstr(check_err.text, known[i].says)))
            fail_msg("recipe %zu: %d, %s", i, (int)rc, rc ? check_err.text : "taken");
        gram_selftrain_recipe_close(r);
        free(path);
    }
    CHECK_OK(gram_selftrain_recipe_open(&r, "recipes/selftrain.yaml", left_out, 2, &check_err));
    gram_selftrain_recipe_close(r);
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

/* ---- Options -------------------------------------------------------------------------------------- */

/* What one of them is set to, what stands beside it in both runs, and the stage whose file it changes; a run that was
 * begun without it is not gone on with. The prover is that of the run above. */
#define PROOFS  "01-proofs.jsonl"
#define VOTES   "round-1/votes.jsonl"
#define PAIRS   "round-1/pairs.jsonl"
#define NOISY   "temperature=2", "rationale-tokens=24",             /* so that two rationales agree by chance */
static const struct move { const char *set, *with[5], *stage, *file; } move[] = {
    { "proofs=2", { NULL }, PROOFS, PROOFS }, { "proof-tokens=9", { NULL }, PROOFS, PROOFS },
    { "proof-temperature=0.5", { NULL }, PROOFS, PROOFS }, { "proof-loss=0", { NULL }, PROOFS, PROOFS },
    { "seed=5", { NULL }, PROOFS, PROOFS },
    { "seed=5", { "labelled=~" }, "02-judge", "02-judge/model.safetensors" },
    { "seed=5", { "labelled=~", "judge-lr=0" }, VOTES, VOTES },     /* the judge is the model */
    { "votes=4", { NULL }, VOTES, VOTES }, { "rationale-tokens=3", { NULL }, VOTES, VOTES },
    { "temperature=0.5", { NULL }, VOTES, VOTES }, { "top-p=0.5", { NULL }, VOTES, VOTES },
    { "vote-dtype=bf16", { NULL }, VOTES, VOTES }, { "products=few", { NULL }, VOTES, NULL },       /* the same bits */
    { "sure=0.5", { NOISY "votes=4", "early=2" }, VOTES, VOTES },
    { "early=4", { NOISY "votes=4", "early=2", "sure=0.5" }, VOTES, VOTES },
    { "eval-votes=4", { NULL }, "eval/02-judge", "eval/02-judge/rows.jsonl" },
    { "rounds=2", { NULL }, PAIRS, PAIRS }, { "per-round=1", { NULL }, PAIRS, PAIRS },
    { "labelled-columns=prompt=question", { NULL }, PROOFS, "" },               /* which no row has: it fails */
    { "human-columns=prompt=question", { "labelled=~", "rounds=0" }, "02-judge", "" },
    { "unlabelled-columns=prompt=question", { NULL }, PAIRS, "" },
    { "eval-columns=prompt=question", { NULL }, "eval/02-judge", "" },
    { "vote-share=0.6", { NULL }, "round-1/labels.jsonl", NULL },               /* the_keys_are_their_fields */
    { "probability=0.6", { NULL }, "round-1/labels.jsonl", NULL },
    { "sound=0.6", { NULL }, "round-1/labels.jsonl", NULL },
    { "closed=true", { NULL }, "round-1/labels.jsonl", NULL },
    { "least-tokens=2", { NULL }, "round-1/labels.jsonl", NULL },
    { "most-tokens=40", { NULL }, "round-1/labels.jsonl", NULL },
    { "names-label=true", { NULL }, "round-1/labels.jsonl", NULL },
    { "names-both=true", { NULL }, "round-1/labels.jsonl", NULL },
    { "agrees=true", { NULL }, "round-1/labels.jsonl", NULL },
    { "repeats=3", { NULL }, "round-1/labels.jsonl", NULL },
};

/* A run of one round up to the end of that stage, whatever stops it; its outcome. */
static gram_status start_short(const char *out, const struct move *m, bool changed, const char *until)
{
    const char *set[16] = { "rounds=1", "final=false", "judge-steps=1", "proof-tokens=24" };
    char prover[512];
    watch w = { .until = until };
    size_t n = 4;

    snprintf(prover, sizeof prover, "prover=%s/whole/00-prover", dir);
    set[n++] = prover;
    for (size_t i = 0; i < 5 && m->with[i]; i++)
        set[n++] = m->with[i];
    if (changed)
        set[n++] = m->set;
    return start(out, &w, set, n, NULL);
}

/* A run without the option, made once for all that have the same beside it. */
static void make_base(size_t i, char out[32])
{
    for (size_t k = 0; k <= i; k++)
        if (!memcmp(move[k].with, move[i].with, sizeof move[i].with)) {
            snprintf(out, 32, "base-%zu", k);
            if (k == i)
                CHECK_OK(start_short(out, &move[i], false, NULL));
            return;
        }
}

static void every_option_moves_its_stage(void **state)
{
    const gram_option *o;
    bool heeds;

    (void)state;
    for (size_t k = 0; (o = gr_selftrain_option(k, GR_SELF_TRAIN, &heeds)); k++) {
        static const char *const elsewhere[] = { "model", "prover", "prover-model", "out", "human", "labelled",
                                                 "unlabelled", "eval", "final", "skip-bad" };
        bool known = false;
        for (size_t i = 0; i < GR_COUNT(elsewhere); i++)
            known = known || !strcmp(o->name, elsewhere[i]);
        for (size_t i = 0; i < GR_COUNT(move); i++)
            known = known || (!strncmp(o->name, move[i].set, strlen(o->name)) && move[i].set[strlen(o->name)] == '=');
        if (!known)
            fail_msg("%s: no file is looked at for it", o->name);
    }
    for (size_t i = 0; i < GR_COUNT(move); i++) {
        const struct move *m = &move[i];
        const char *said = m->set + (strncmp(m->set, "human-", 6) ? 0 : 6);     /* training calls it columns */
        char base[32], fresh[32], name[64], *folder[2], *text[2];
        size_t n[2];
        gram_status rc;
        make_base(i, base);
        snprintf(name, sizeof name, ": it was begun with %.*s ", (int)strcspn(said, "="), said);
        rc = start_short(base, m, true, NULL);
        if (rc != GRAM_EARG || !strstr(check_err.text, name))
            fail_msg("%s: a run that was begun without it: status %d: %s", m->set, (int)rc, check_err.text);
        if (!m->file)
            continue;
        snprintf(fresh, sizeof fresh, "fresh-%zu", i);
        rc = start_short(fresh, m, true, m->stage);
        if (!*m->file) {
            if (rc != GRAM_EFORMAT)
                fail_msg("%s: status %d, and no row has that column", m->set, (int)rc);
            continue;
        }
        assert_int_equal(rc, GRAM_ESTOPPED);
        folder[0] = gr_path_join(dir, base);
        folder[1] = gr_path_join(dir, fresh);
        for (int k = 0; k < 2; k++)
            text[k] = slurp(folder[k], m->file, &n[k]);
        if (n[0] == n[1] && !memcmp(text[0], text[1], n[0]))
            fail_msg("%s: %s is the same", m->set, m->file);
        for (int k = 0; k < 2; k++) {
            free(folder[k]);
            free(text[k]);
        }
    }
}

/* Rules by their keys. */
static void the_keys_are_their_fields(void **state)
{
    static const char *const set[] = { "vote-share=0.6", "probability=0.7", "sound=0.4", "closed=false",
                                       "least-tokens=3", "most-tokens=33", "names-label=true", "names-both=false",
                                       "agrees=true", "repeats=7" };
    const gram_denoise_options *o;
    gram_selftrain_recipe *r;
    (void)state;

    CHECK_OK(gram_selftrain_recipe_open(&r, "recipes/selftrain.yaml", set, GR_COUNT(set), &check_err));
    o = &gram_selftrain_recipe_options(r)->rules;
    assert_true(o->share == 0.6 && o->probability == 0.7 && o->sound == 0.4 && o->least_tokens == 3);
    assert_true(o->most_tokens == 33 && o->repeats == 7 && !o->closed && o->label && !o->both && o->agrees);
    gram_selftrain_recipe_close(r);
}

/* What a stage makes is used by the next, and what was not asked for is not made. */
static void models_are_those_that_were_named(void **state)
{
    char prover[512], model[512];
    const char *const set[] = { "rounds=0", "final=false", "judge-steps=1", prover },
               *const other[] = { "prover-epochs=1", model };
    watch w = { 0 }, first = { .until = "00-prover" };
    gram_selftrain_report report;
    char *folder[2], *text[2];
    size_t n[2];
    (void)state;

    snprintf(prover, sizeof prover, "prover=%s/whole/00-prover", dir);
    CHECK_OK(start("untuned", &w, set, 4, &report));
    assert_non_null(strstr(report.judge, "untuned/02-judge"));
    assert_true(isnan(report.final.value) && w.begun == 3);         /* proofs, a judge and its evaluation */
    gram_selftrain_report_clear(&report);
    snprintf(model, sizeof model, "prover-model=%s/whole/02-judge", dir);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(start(k ? "own" : "others", &first, other, 2 - k, NULL), GRAM_ESTOPPED);
        folder[k] = gr_path_join(dir, k ? "own" : "others");
        text[k] = slurp(folder[k], "00-prover/model.safetensors", &n[k]);
    }
    assert_true(n[0] == n[1] && memcmp(text[0], text[1], n[0]));
    for (int k = 0; k < 2; k++) {
        free(folder[k]);
        free(text[k]);
    }
}

/* Rounds take the pairs of all files in turn, so many each at most. The answer that a soft label speaks for is the
 * better one, in whatever place; criteria go along. */
static void pairs_are_dealt_in_turn(void **state)
{
    gram_selftrain_options o;
    gr_self_round r = { &o, NULL, 2, dir, { "A", "B" } };
    const char *more[2] = { NULL, NULL };
    gr_buf b = { 0 };
    char *path[2], *text;
    size_t n;
    (void)state;

    for (int i = 0; i < 6; i++)
        gr_buf_printf(&b, "{\"id\":\"%d\",\"prompt\":\"q\",\"chosen\":\"worse\",\"rejected\":\"better\",\"soft\":0.2,"
                      "\"criteria\":\"c%d\"}\n", i, i);
    path[0] = put("first.jsonl", b.p);
    path[1] = put("second.jsonl", "{\"id\":\"6\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n"
                                  "{\"id\":\"7\",\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n");
    gram_selftrain_options_init(&o);
    o.rounds = 2;
    o.unlabelled = path[0];
    more[0] = path[1];
    o.more_unlabelled = more;
    for (o.per_round = 0; o.per_round <= 3; o.per_round += 3) {
        static const char *const id[] = { "1", "3", "5", "7" };
        size_t k = 0;
        CHECK_OK(gr_selftrain_pairs(&r, &check_err));
        text = slurp(dir, "pairs.jsonl", &n);
        for (char *at = text; *at; at = strchr(at, '\n') + 1, k++) {
            json_t *u = json_loads(at, JSON_DISABLE_EOF_CHECK, NULL);
            const char *key = json_integer_value(json_object_get(u, "known")) == 1 ? "response1" : "response2";
            assert_true(k < 4);
            assert_string_equal(json_string_value(json_object_get(u, "id")), id[k]);
            assert_string_equal(json_string_value(json_object_get(u, key)), k < 3 ? "better" : "a");
            assert_int_equal(json_object_get(u, "criteria") != NULL, k < 3);
            json_decref(u);
        }
        assert_int_equal(k, o.per_round ? 3 : 4);
        free(text);
    }
    free(path[0]);
    free(path[1]);
    gr_buf_clear(&b);
    write_inputs();                                     /* pairs.jsonl is this test's no more */
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
        cmocka_unit_test(votes_become_labels), cmocka_unit_test(bad_rows),
        cmocka_unit_test(keys_of_no_training_are_refused),
        cmocka_unit_test(bad_recipes),
        cmocka_unit_test(the_shipped_recipe_opens),
        cmocka_unit_test(a_run_is_whole_and_resumes), cmocka_unit_test(changes_are_refused),
        cmocka_unit_test(every_option_moves_its_stage),
        cmocka_unit_test(the_keys_are_their_fields), cmocka_unit_test(models_are_those_that_were_named),
        cmocka_unit_test(pairs_are_dealt_in_turn), cmocka_unit_test(a_model_in_parts),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
