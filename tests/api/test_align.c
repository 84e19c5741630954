/* test_align.c - a policy's run: that what wrote is what is trained, what moves what, and a resume bit for bit. */
#include "gram/generate.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include "file/weights.h"
#include "gram/rationale.h"
#include "policy_run.h"

/* ---- What wrote is what is trained ------------------------------------------------------------------------ */

/* At the first step, whatever the temperature, the ratio is 1 and the distance to the reference 0: to the last bit
 * where both are passes over the same answers in the same micro-batches. Another micro-batch, or the pass that wrote,
 * sums float32 in another order. */
static void at_first_nothing_has_moved(void **state)
{
    static const char *const T[] = { "temperature=0.7", "temperature=1", "temperature=1.3" };

    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (int way = (int)i % 2; way < 4; way += 2) {         /* weights have two of them, adapters the third */
            const char *const set[] = { way / 2 ? "algorithm=ppo" : "algorithm=rloo", T[i], "kl=k3", "kl-in=loss",
                                        "beta=0.3", "updates=2", "cut=keep", way % 2 ? "lora-rank=2" : "lora-rank=0" };
            outcome o = run(set, GR_COUNT(set));
            const json_t *first, *last;
            CHECK_OK(o.rc);
            first = step_of(&o, 1);
            last = step_of(&o, 4);
            assert_true(fabs(of(first, "val/ratio_min") - 1) < 1e-5 && fabs(of(first, "val/ratio_max") - 1) < 1e-5);
            assert_true(of(first, "kl") == 0 && of(first, "kl_k3") == 0);
            assert_true(of(first, "sampling/sampling_logp_difference/max") < 1e-4);
            assert_true(of(last, "val/ratio_min") < 1 && of(last, "val/ratio_max") > 1);    /* the second pass */
            assert_true(of(first, "grad_norm") > 0);
            json_decref(o.lines);
        }
}

/* The cut into micro-batches moves no weight from answer to answer: the same gradient, but for the order of sums. */
static void any_cut_has_the_same_gradient(void **state)
{
    const char *const one[] = { "batch-rows=4", "steps=1", "cut=keep", "kl=none", "batch-tokens=4096" },
               *const many[] = { "batch-rows=4", "steps=1", "cut=keep", "kl=none", "batch-tokens=70" };
    outcome a = run(one, 5), b = run(many, 5);

    (void)state;
    CHECK_OK(a.rc);
    CHECK_OK(b.rc);
    assert_true(a.samples == b.samples);
    if (!(fabs(of(step_of(&a, 1), "grad_norm") / of(step_of(&b, 1), "grad_norm") - 1) < 1e-4))
        fail_msg("%.9g and %.9g", of(step_of(&a, 1), "grad_norm"), of(step_of(&b, 1), "grad_norm"));
    json_decref(a.lines), json_decref(b.lines);
}

/* ---- Rows that fail, and answers that are cut ------------------------------------------------------------------ */

static void what_the_judge_fails_at_leaves_its_group(void **state)
{
    const char *const set[] = { "judge=exec:while read -r l; do case $l in *'\"index\":1'*|*'\"index\": 1'*) echo "
                                "null;; *) l=${l#*completion}; echo $(( ${#l} % 7 ));; esac; done", "cut=keep" };
    outcome o = run(set, 2);
    json_t *s, *line;
    size_t i, failed = 0;
    double sum = 0;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 24);               /* two rollouts of four prompts and three answers */
    json_array_foreach(s, i, line) {
        bool null = json_is_null(json_object_get(line, "reward"));
        failed += null;
        if (null)                               /* the other two are set against each other alone */
            assert_true(of(line, "advantage") == 0 && json_is_false(json_object_get(line, "learnt")));
        sum += of(line, "advantage");
        if (i % 3 == 2) {
            assert_true(fabs(sum) < 1e-6);
            sum = 0;
        }
    }
    assert_int_equal(failed, 8);
    assert_true(fabs(of(step_of(&o, 1), "judge/unparsed") - 1.0 / 3) < 1e-9);
    json_decref(s), json_decref(o.lines);
}

static char heard[8192];

static void hear(void *arg, const char *text)
{
    (void)arg;
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", text);
}

/* Why it fails is said once, and where it fails at everything nothing would be learnt. What is not as it was asked for
 * is said as well. */
static void a_judge_that_fails_is_told_of(void **state)
{
    static const char every_other[] = "judge=exec:n=0; while read -r l; do n=$((n + 1)); [ $((n % 2)) = 0 ] && "
                                      "echo null || echo $n; done";
    const char *const some[] = { every_other, "cut=keep", "rollout-prompts=63", "batch-rows=3", "steps=3",
                                 "algorithm=grpo" };
    const char *const all[] = { "judge=exec:while read -r l; do echo '{\"error\":\"out of order\"}'; done",
                                "cut=keep" };
    outcome o;
    const char *at;

    (void)state;
    noted = hear;
    o = run((const char *const[]){ some[5], some[0], some[1], some[2], some[3], some[4] }, 6);
    CHECK_OK(o.rc);
    at = strstr(heard, "an answer has no reward, and nothing is learnt of such: the program gave it no number\n");
    assert_true(at && !strstr(at + 1, "an answer has no reward"));
    assert_non_null(strstr(heard, "rollout-prompts: 63, and there are 12: a rollout answers all of them, and is learnt "
                           "in 4 steps\n"));
    assert_non_null(strstr(heard, "steps: 3, and a rollout is learnt in 4: the last one is ended, at step 4\n"));
    json_decref(o.lines);
    *heard = '\0';
    o = run(all, GR_COUNT(all));
    assert_int_equal(o.rc, GRAM_EFORMAT);
    assert_non_null(strstr(check_err.text, "none of 12 answers a reward"));
    assert_non_null(strstr(heard, "the program says: out of order"));
    json_decref(o.lines);
    noted = NULL;
}

/* A prompt whose answers have one reward, as far as they have any, is rejected. */
static void a_failed_answer_makes_no_difference(void **state)
{
    static const char but_one[] = "judge=exec:while read -r l; do case $l in *'\"index\":1'*|*'\"index\": 1'*) "
                                  "echo null;; *) echo 5;; esac; done";
    const char *const set[] = { but_one, "cut=keep", "kl=none", "algorithm=reinforce-rej" };
    outcome o = run(set, GR_COUNT(set));

    (void)state;
    CHECK_OK(o.rc);
    assert_true(of(step_of(&o, 1), "frac_reward_zero_std") == 1 && of(step_of(&o, 1), "learnt") == 0);
    assert_true(of(step_of(&o, 1), "grad_norm") == 0);
    json_decref(o.lines);
}

static void cut_answers_have_no_end_and_are_masked(void **state)
{
    outcome o = run((const char *const[]){ "algorithm=grpo" }, 1);
    json_t *s, *line;
    size_t i, cut = 0;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    json_array_foreach(s, i, line)
        if (!strcmp(json_string_value(json_object_get(line, "finish")), "length")) {
            cut++;
            assert_true(of(line, "tokens") == 20 && json_is_false(json_object_get(line, "learnt")));
        } else {
            assert_true(of(line, "tokens") <= 20 && json_is_true(json_object_get(line, "learnt")));
        }
    assert_true(cut > 0);
    json_decref(s), json_decref(o.lines);
}

/* Equal rewards teach nothing: the gradient is 0, which is no fault of the run. */
static void equal_rewards_teach_nothing(void **state)
{
    outcome o = run((const char *const[]){ "judge=exec:while read -r l; do echo 1; done", "cut=keep", "kl=none" }, 3);

    (void)state;
    CHECK_OK(o.rc);
    assert_true(of(step_of(&o, 1), "frac_reward_zero_std") == 1 && of(step_of(&o, 1), "grad_norm") == 0);
    json_decref(o.lines);
}

/* Prompts whose answers all have one reward are replaced, and counted: the judge likes answers by their length, but for
 * prompts that say "again" it has one number. Only where it finds no others one stays. */
static void dead_prompts_are_replaced(void **state)
{
    const char *const set[] = { SOME, "cut=keep", "kl=none", "steps=6", "resample=0" };
    outcome plain = run(set, 5), filled_up;
    double dead = 0, left = 0, replaced = 0;
    json_t *s, *line;
    const char *const more[] = { SOME, "cut=keep", "kl=none", "steps=6", "resample=4" };
    size_t i;

    (void)state;
    filled_up = run(more, 5);
    CHECK_OK(plain.rc);
    CHECK_OK(filled_up.rc);
    for (int step = 1; step <= 5; step += 2) {
        dead += of(step_of(&plain, step), "frac_reward_zero_std");
        left += of(step_of(&filled_up, step), "frac_reward_zero_std");
        replaced += of(step_of(&filled_up, step), "resampled");
    }
    assert_true(dead > 0 && left == 0 && replaced >= 1);
    assert_true(isnan(of(step_of(&plain, 1), "resampled")));
    s = read_lines(filled_up.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 36);
    json_array_foreach(s, i, line)
        assert_null(strstr(json_string_value(json_object_get(line, "prompt")), "again"));
    json_decref(s), json_decref(plain.lines), json_decref(filled_up.lines);
}

/* Another model writes what the policy learns: the first rollout's answers are those that it writes for anybody. */
static void another_model_writes(void **state)
{
    outcome o = run((const char *const[]){ "algorithm=raft", "sampler=" OTHER, "cut=keep" }, 3);
    json_t *s, *line;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    assert_true(json_array_size(s) > 0);
    json_array_foreach(s, i, line) {
        assert_true(json_is_null(json_object_get(line, "logp")) && of(line, "tokens") <= 20);
        assert_string_equal(json_string_value(json_object_get(line, "weights")),        /* which never change */
                            json_string_value(json_object_get(json_array_get(s, 0), "weights")));
    }
    assert_true(of(step_of(&o, 1), "grad_norm") > 0);
    json_decref(s), json_decref(o.lines);
}

/* A policy that only gets worse by the judge of the held-out prompts ends as it began. */
static void the_start_may_be_the_best(void **state)
{
    const char *const set[] = { "judge=exec:while read -r l; do l=${l#*completion}; echo ${#l}; done", "cut=keep",
                                "eval-judge=exec:while read -r l; do l=${l#*completion}; echo -${#l}; done", "kl=none",
                                "eval-file=HELD", "best=true", "lr=3e-2", "steps=8" };
    const char *own[GR_COUNT(set)];
    gr_weights *was, *is;
    outcome o;

    (void)state;
    for (size_t i = 0; i < GR_COUNT(set); i++)
        own[i] = filled(set[i]);
    o = run(own, GR_COUNT(set));
    CHECK_OK(o.rc);
    CHECK_OK(gr_weights_open_dir(&was, MODEL, &check_err));
    CHECK_OK(gr_weights_open_dir(&is, o.dir, &check_err));
    for (size_t i = 0; i < gr_weights_count(was); i++) {
        const gr_named *a = gr_weights_at(was, i), *b = gr_weights_find(is, a->name);
        assert_true(b && a->type == GR_F32 && b->bytes == a->bytes && !memcmp(a->data, b->data, a->bytes));
    }
    gr_weights_close(was);
    gr_weights_close(is);
    for (size_t i = 0; i < GR_COUNT(set); i++)
        free((char *)(uintptr_t)own[i]);
    json_decref(o.lines);
}

/* The value model alone learns at first: the policy that writes stays the same, and its own first step is Adam's
 * first. */
static void values_are_learnt_first(void **state)
{
    const char *const set[] = { "algorithm=ppo", "cut=keep", "steps=8", "updates=1", "value-warmup=4" };
    outcome o = run(set, GR_COUNT(set));
    const char *weights[4];
    json_t *s, *line;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");             /* four rollouts of four prompts and three answers */
    assert_int_equal(json_array_size(s), 48);
    json_array_foreach(s, i, line)
        weights[i / 12] = json_string_value(json_object_get(line, "weights"));
    assert_string_equal(weights[0], weights[1]);
    assert_string_equal(weights[0], weights[2]);
    assert_string_not_equal(weights[0], weights[3]);
    for (int k = 1; k <= 8; k++) {
        const json_t *m = step_of(&o, k);
        assert_true((of(m, "grad_norm") > 0) == (k > 4) && isnan(of(m, "loss/policy_avg")) == (k <= 4));
        assert_true(of(m, "val/grad_norm") > 0 && of(m, "loss/value_avg") > 0);
    }
    json_decref(s), json_decref(o.lines);
    o = run((const char *const[]){ "algorithm=ppo", "cut=keep", "value-warmup=8" }, 3);
    assert_int_equal(o.rc, GRAM_EARG);
    assert_non_null(strstr(check_err.text, "value-warmup"));
    json_decref(o.lines);
}

/* The policy's gradients are clipped by their own norm, whatever the values' is. */
static void clipped_each_by_itself(void **state)
{
    const char *const set[] = { "algorithm=ppo", "cut=keep", "kl=none", "steps=2", "updates=1", "clip=0.01",
                                "value-weight=0.1" };
    const char *more[GR_COUNT(set)];
    outcome a = run(set, GR_COUNT(set)), b;

    (void)state;
    memcpy(more, set, sizeof more);
    more[GR_COUNT(set) - 1] = "value-weight=1000";
    b = run(more, GR_COUNT(more));
    CHECK_OK(a.rc);
    CHECK_OK(b.rc);
    assert_true(of(step_of(&b, 1), "val/grad_norm") > 5000 * of(step_of(&a, 1), "val/grad_norm"));
    assert_true(of(step_of(&a, 1), "grad_norm") > 0.01 && a.weights == b.weights);
    json_decref(a.lines), json_decref(b.lines);
}

/* ---- Options --------------------------------------------------------------------------------------------- */

enum { WEIGHTS, SAMPLES, RC, LINES };
static const struct { const char *set, *with[5]; int what; } move[] = {
    { "algorithm=grpo", { "kl=none", "cut=keep" }, WEIGHTS },
    { "algorithm=dr-grpo", { "kl=none", "cut=keep" }, WEIGHTS },
    { "algorithm=reinforce", { "kl=none", "cut=keep" }, WEIGHTS }, { "algorithm=remax", { "cut=keep" }, WEIGHTS },
    { "algorithm=raft", { "kl=none", "cut=keep" }, WEIGHTS },
    { "algorithm=raft++", { "kl=none", "cut=keep" }, WEIGHTS },
    { "algorithm=reinforce-rej", { "kl=none", "cut=keep" }, WEIGHTS },
    { "algorithm=online-dpo", { "kl=none", "cut=keep", "beta=0.05" }, WEIGHTS },
    { "judge=exec:while read -r l; do l=${l#*completion}; echo $(( ${#l} % 5 )); done", { "cut=keep" }, WEIGHTS },
    { "eval-judge=exec:while read -r l; do echo 3; done", { "eval-file=HELD" }, LINES },
    { "samples=4", { NULL }, SAMPLES }, { "rollout-prompts=2", { NULL }, SAMPLES },
    { "updates=2", { "cut=keep" }, SAMPLES },
    { "max-new-tokens=5", { NULL }, SAMPLES }, { "temperature=0.5", { NULL }, SAMPLES },
    { "top-p=0.5", { "algorithm=raft" }, SAMPLES }, { "kl=k2", { "cut=keep" }, WEIGHTS },
    { "kl-in=loss", { "kl=k2", "cut=keep" }, WEIGHTS }, { "beta=0.5", { "cut=keep" }, WEIGHTS },
    { "kl-target=1e-3", { "cut=keep", "beta=0.5" }, WEIGHTS },
    { "kl-horizon=20", { "cut=keep", "beta=0.5", "kl-target=1e-3" }, WEIGHTS },
    { "reference=" MODEL "/../qwen2_bias", { NULL }, RC },              /* which has no tokenizer */
    { "ratio=answer-sum", { "cut=keep", "updates=2" }, WEIGHTS },
    { "clip-low=0.01", { "cut=keep", "updates=2" }, WEIGHTS },
    { "clip-high=0.01", { "cut=keep", "updates=2" }, WEIGHTS },
    { "dual-clip=1.01", { "cut=keep", "updates=2", "lr=0.1" }, WEIGHTS },
    { "aggregate=answer", { "cut=keep" }, WEIGHTS }, { "cut=keep", { NULL }, WEIGHTS },
    { "cut-penalty=4", { "cut=penalty", "cut-penalty=1" }, WEIGHTS }, { "length-penalty=9", { "cut=keep" }, WEIGHTS },
    { "sd-floor=9", { "algorithm=grpo", "cut=keep" }, WEIGHTS }, { "whiten=yes", { "cut=keep" }, WEIGHTS },
    { "global=true", { "algorithm=raft", "samples=2", "cut=keep" }, SAMPLES },
    { "min-gain=3", { "algorithm=raft", "cut=keep" }, WEIGHTS },
    { "pointwise=true", { NULL }, RC }, { "scale=0-10", { "judge=" MODEL, "pointwise=true" }, RC },   /* no "Yes" */
    { "pointwise-prompt=no such file", { "judge=" MODEL, "pointwise=true", "scale=0-10" }, RC },
    { "scheme=circular", { NULL }, RC }, { "against=greedy", { NULL }, RC }, { "unit=preference", { NULL }, RC },
    { "algorithm=ppo", { "kl=none", "cut=keep" }, WEIGHTS },
    { "gae-gamma=0.5", { "algorithm=ppo", "cut=keep" }, WEIGHTS },
    { "gae-lambda=0.3", { "algorithm=ppo", "cut=keep" }, WEIGHTS },
    { "value-clip=0", { "algorithm=ppo", "cut=keep", "updates=2", "steps=8" }, WEIGHTS },
    { "value-weight=2", { "algorithm=ppo", "cut=keep", "updates=1" }, WEIGHTS },
    { "value-lr=0.3", { "algorithm=ppo", "cut=keep", "updates=1" }, WEIGHTS },
    { "value-warmup=2", { "algorithm=ppo", "cut=keep" }, WEIGHTS },
    { "value=" REWARD, { "algorithm=ppo", "cut=keep" }, WEIGHTS },
    { "whiten=no", { "algorithm=ppo", "cut=keep" }, WEIGHTS },
    { "kl=none", { "algorithm=ppo", "cut=keep", "updates=1" }, WEIGHTS },
    { "kl-in=loss", { "algorithm=ppo", "kl=k3", "cut=keep" }, WEIGHTS },
    { "resample=2", { SOME, "cut=keep" }, SAMPLES }, { "sampler=" OTHER, { "algorithm=raft", "cut=keep" }, SAMPLES },
    { "judge-votes=2", { NULL }, RC }, { "eval-judge-votes=2", { "eval-file=HELD" }, RC },
    { "eval-judge-tokens=3", { "eval-file=HELD", "eval-judge=" MODEL, "eval-judge-votes=2", "eval-judge-tokens=9" },
      LINES },
    { "eval-judge-format=rm-r1", { "eval-file=HELD", "eval-judge=" MODEL, "eval-judge-votes=2", "eval-judge-tokens=9" },
      LINES },
    { "no-logprobs=true", { NULL }, SAMPLES },
    { "judge-tokens=3", { ("judge=" MODEL), "judge-votes=2", "cut=keep" }, WEIGHTS },
    { "lambda=1", { NULL }, RC },           /* a program gives numbers: these five are for models, and refused */
};

/* What an option is compared with: a run of its company, made once for all that have the same. */
static outcome without(const char *const *set, size_t n)
{
    static struct { char *of; outcome was; } known[GR_COUNT(move)];
    static size_t n_known;
    gr_buf of = { 0 };
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        assert_true(gr_buf_puts(&of, set[i]) && gr_buf_puts(&of, "\n"));
    assert_true(gr_buf_add(&of, "", 0));
    while (k < n_known && strcmp(known[k].of, of.p))
        k++;
    if (k < n_known) {
        gr_buf_clear(&of);
        return known[k].was;
    }
    known[k].of = of.p;
    known[k].was = run(set, n);
    n_known++;
    return known[k].was;
}

static bool differs(const outcome *a, const outcome *b, int what)
{
    switch (what) {
    case WEIGHTS: return !a->rc && !b->rc && a->weights != b->weights;
    case SAMPLES: return !a->rc && !b->rc && a->samples != b->samples;
    case LINES: return !a->rc && !b->rc && !json_equal(json_array_get(a->lines, 0), json_array_get(b->lines, 0)) &&
                       of(json_array_get(a->lines, 0), "held_loss") != of(json_array_get(b->lines, 0), "held_loss");
    default: return a->rc != b->rc;
    }
}

static void every_option_moves_something(void **state)
{
    const gram_option *o;

    (void)state;
    for (size_t k = 0; (o = gram_train_option(k)); k++) {
        bool known = o->stages != 1u << GRAM_STAGE_ALIGN;
        for (size_t i = 0; i < GR_COUNT(move); i++)
            known = known || (!strncmp(move[i].set, o->name, strlen(o->name)) && move[i].set[strlen(o->name)] == '=');
        if (!known)
            fail_msg("%s: nothing is looked at for it here", o->name);
    }
    for (size_t i = 0; i < GR_COUNT(move); i++) {
        const char *set[6];
        size_t n = 0;
        outcome a, b;
        for (; n < 5 && move[i].with[n]; n++)
            set[n] = filled(move[i].with[n]);
        set[n] = filled(move[i].set);
        a = without(set, n);
        b = run(set, n + 1);
        if (!differs(&a, &b, move[i].what))
            fail_msg("%s: nothing that is looked at moves: status %d and %d: %s", move[i].set, (int)a.rc, (int)b.rc,
                     check_err.text);
        json_decref(b.lines);
        for (size_t k = 0; k <= n; k++)
            free((char *)(uintptr_t)set[k]);
    }
}

static void what_says_nothing_is_refused(void **state)
{
    static const struct { const char *set[4]; const char *why; } bad[] = {
        { { "kl=k1", "kl-in=loss" }, "would do nothing" },         { { "kl=none", "beta=0.2" }, "wanted `kl`" },
        { { "updates=2", "ratio=none" }, "without one" },
        { { "top-p=0.9" }, "rloo has no use" }, { { "samples=1" }, "2 or more" },
        { { "cut-penalty=1" }, "`cut` penalty" }, { { "algorithm=raft", "global=true", "samples=3" }, "multiple" },
        { { "judge=nowhere" }, "nowhere" }, { { "rollout-prompts=3" }, "multiple" },
        { { "algorithm=raft", "ratio=token" }, "raft has no use" }, { { "truncate=balanced" }, "whole prompts" },
        { { "max-new-tokens=60000" }, "no room" },         { { "value=" REWARD }, "rloo has no use" },
        { { "algorithm=ppo", "value=" REWARD "/../purm" }, "gives 2 numbers" },
        { { "sampler=" OTHER }, "rloo has no use" }, { { "algorithm=raft", "sampler=" OTHER, "kl=k1" }, "own answers" },
        { { "algorithm=raft", "resample=2" }, "raft has no use" },
        { { "rationale-format=rm-r1" }, "wanted `judge` self" }, { { "eval-judge-votes=2" }, "eval-file" },
        { { "algorithm=ppo", "lr=0", "value-lr=1e-3" }, "rises and falls" },
        { { "algorithm=raft", "global=true", "rollout-prompts=6", "min-gain=1" }, "min-gain" },
        { { "algorithm=raft++", "dual-clip=3" }, "raft++ has no use" },
        { { "algorithm=raft++", "clip-low=0.1" }, "raft++ has no use" },
        { { "batch-rows=4", "clip-high=0.28" }, "nothing is clipped" },
        { { "algorithm=ppo", "batch-rows=4", "updates=1", "value-clip=1" }, "value-clip: each" },
        { { "algorithm=ppo", "samples=1", "judge=" MODEL }, "one prompt" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        size_t n = 0;
        outcome o;
        while (n < 4 && bad[i].set[n])
            n++;
        o = run(bad[i].set, n);
        if (o.rc == GRAM_OK || !strstr(check_err.text, bad[i].why))
            fail_msg("%s: status %d: %s", bad[i].set[0], (int)o.rc, check_err.text);
        json_decref(o.lines);
    }
}

/* ---- Resume ------------------------------------------------------------------------------------------------ */

static int kill_at(void *arg, const gram_train_step *s)
{
    return s->step == *(const uint64_t *)arg ? raise(SIGKILL) : 0;
}

/* The same lines but for the time. */
static void same_lines(json_t *a, json_t *b)
{
    static const char *const key[] = { "step", "loss", "held_loss", "reward", "kl", "beta", "grad_norm", "val/ratio" };
    size_t i;
    json_t *line;

    assert_int_equal(json_array_size(a), json_array_size(b));
    json_array_foreach(a, i, line)
        for (size_t k = 0; k < GR_COUNT(key); k++)
            if (!json_equal(json_object_get(line, key[k]), json_object_get(json_array_get(b, i), key[k])))
                if (json_object_get(line, key[k]) || json_object_get(json_array_get(b, i), key[k]))
                    fail_msg("line %zu: %s is another", i, key[k]);
}

static void kill_and_resume(const char *how, const char *more, const char *judge)
{
    const char *const set[] = { how, "kl=k1", "beta=0.1", "kl-target=0.01", "steps=12", "updates=2",
                                "save-every=4", "eval-file=HELD", "eval-every=4", "cut=keep", more, judge };
    const char *own[GR_COUNT(set)];
    outcome whole;
    char dir[512];

    for (size_t i = 0; i < GR_COUNT(set); i++)
        own[i] = filled(set[i]);
    whole = run(own, GR_COUNT(set));
    CHECK_OK(whole.rc);
    snprintf(dir, sizeof dir, "%s/killed%d", check_tmpdir(), runs);
    for (uint64_t at = 3; at <= 11; at += 4) {              /* in the middle of a rollout's steps, each time later */
        pid_t pid = fork();
        int status;
        if (pid == 0) {
            gram_train_options o;
            settle(&o, own, GR_COUNT(set));
            o.resume = true;
            o.progress = kill_at;
            o.arg = &at;
            gram_align(MODEL, prompts, dir, &o, NULL, &check_err);
            fprintf(stderr, "it was not killed: %s\n", check_err.text);
            _exit(1);
        }
        assert_true(pid > 0 && waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    }
    {
        gram_train_options o;
        json_t *lines;
        settle(&o, own, GR_COUNT(set));
        o.resume = true;
        CHECK_OK(gram_align(MODEL, prompts, dir, &o, NULL, &check_err));
        assert_true(digest_file(dir, o.lora_rank ? "adapter_model.safetensors" : "model.safetensors") == whole.weights);
        assert_true(digest_file(dir, "samples.jsonl") == whole.samples);
        lines = read_lines(dir, "metrics.jsonl");
        same_lines(whole.lines, lines);
        json_decref(lines);
    }
    json_decref(whole.lines);
    for (size_t i = 0; i < GR_COUNT(set); i++)
        free((char *)(uintptr_t)own[i]);
}

/* Of PPO the value model goes on too, and of replaced prompts the place in their order. */
static void killed_and_resumed_it_is_the_same(void **state)
{
    (void)state;
    kill_and_resume("algorithm=reinforce", "lora-rank=2", "judge=" JUDGE);
    kill_and_resume("algorithm=ppo", "lora-rank=0", "judge=" JUDGE);
    kill_and_resume("algorithm=ppo", "lora-rank=2", "judge=" JUDGE);
    kill_and_resume("algorithm=grpo", "resample=2", SOME);
}

/* ---- A judge that learns to reason ---------------------------------------------------------------------- */

static void use_pairs(void)
{
    prompts = check_write("pairs.jsonl",
        "{\"id\":\"1\",\"prompt\":\"Say 1\",\"chosen\":\"yes\",\"rejected\":\"no no\"}\n"
        "{\"id\":\"2\",\"prompt\":\"Say 2\",\"response1\":\"a\",\"response2\":\"bc\",\"overall_preference\":2}\n"
        "{\"id\":\"3\",\"prompt\":\"Say 3\",\"chosen\":\"d\",\"rejected\":\"e f\"}\n"
        "{\"id\":\"4\",\"prompt\":\"Say 4\",\"chosen\":\"gh\",\"rejected\":\"i\"}\n");
    held = prompts;
}

static const struct { const char *id, *a, *b; } labelled[] = { { "1", "yes", "no no" }, { "2", "bc", "a" },
                                                               { "3", "d", "e f" }, { "4", "gh", "i" } };

/* The reward of a rationale is what scoring says of it: the probability of the right label, in the order in which the
 * pair was read. */
static void check_rewards(const char *dir)
{
    json_t *s = read_lines(dir, "samples.jsonl"), *line;
    gram_reasoner *r;
    gram_model *m;
    size_t i;

    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .threads = 1 }, &check_err));
    CHECK_OK(gram_reasoner_open(&r, m, NULL, &check_err));
    assert_int_equal(json_array_size(s), 16);
    json_array_foreach(s, i, line) {
        const char *id = json_string_value(json_object_get(line, "prompt_id"));
        gram_message turn = { "user", json_string_value(json_object_get(line, "prompt")) };
        gram_pair pair = { .prompt = { &turn, 1, NULL } };
        gram_rationale said;
        for (size_t k = 0; k < GR_COUNT(labelled); k++)
            if (!strcmp(labelled[k].id, id)) {
                pair.a = labelled[k].a;
                pair.b = labelled[k].b;
            }
        assert_true(pair.a && of(line, "order") == of(line, "sample") - 2 * floor(of(line, "sample") / 2));
        CHECK_OK(gram_rationale_read(r, &pair, of(line, "order") == 1,
                                     json_string_value(json_object_get(line, "completion")), &said, &check_err));
        if (!(fabs(said.p - of(line, "reward")) < 1e-5))        /* other company in its forest: roundings of float32 */
            fail_msg("line %zu: reward %.9g, and scoring says %.9g", i, of(line, "reward"), said.p);
        free(said.text);
    }
    gram_reasoner_close(r);
    gram_close(m);
    json_decref(s);
}

/* A judge that writes its reasons: of two answers the one is worth the margin of the votes, and the other its
 * opposite. */
static void votes_are_rewards(void **state)
{
    static const char *const set[] = { ("judge=" MODEL), "judge-votes=2", "judge-tokens=5", "samples=2", "batch-rows=4",
                                       "steps=1", "cut=keep", "kl=none", "seed=3" };
    gram_rationale_options how;
    outcome o = run(set, GR_COUNT(set));
    gram_reasoner *r;
    gram_model *m;
    json_t *s, *line;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    gram_rationale_options_init(&how);
    how.max_tokens = 5;
    how.seed = 3;
    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .threads = 1 }, &check_err));
    CHECK_OK(gram_reasoner_open(&r, m, &how, &check_err));
    s = read_lines(o.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 8);
    json_array_foreach(s, i, line) {
        const json_t *next = json_array_get(s, i + 1);
        gram_message turn = { "user", json_string_value(json_object_get(line, "prompt")) };
        gram_pair pair = { .prompt = { &turn, 1, NULL } };
        gram_reasoned v;
        size_t bad;
        if (i % 2)
            continue;
        pair.a = json_string_value(json_object_get(line, "completion"));
        pair.b = json_string_value(json_object_get(next, "completion"));
        CHECK_OK(gram_reason(r, &pair, 1, &v, &bad, &check_err));
        if (!(fabs(of(line, "reward") - v.verdict.logit_margin) < 1e-4 && of(next, "reward") == -of(line, "reward")))
            fail_msg("line %zu: reward %.9g, and the votes say %.9g", i, of(line, "reward"), v.verdict.logit_margin);
        gram_reasoned_clear(&v);
    }
    gram_reasoner_close(r);
    gram_close(m);
    json_decref(s), json_decref(o.lines);
}

struct votes { gram_reasoner *r; double margin; };

static int judge_held(void *arg, const gram_answer *a)
{
    struct votes *h = arg;
    gram_message turn = { "user", a->prompt ? "And that" : "Say it" };
    gram_pair pair = { .prompt = { &turn, 1, NULL }, .a = a->text, .b = a->prompt ? "yes it is" : "no" };
    gram_reasoned v;
    size_t bad;

    CHECK_OK(gram_reason(h->r, &pair, 1, &v, &bad, &check_err));
    h->margin += v.verdict.logit_margin / 2;
    gram_reasoned_clear(&v);
    return 0;
}

/* Held-out prompts are judged behind reasons, by another judge than the program that is learnt from: each greedy
 * answer against the row's. */
static void held_out_votes(void **state)
{
    const char *const set[] = { filled("eval-file=HELD"), "eval-judge=" MODEL, "eval-judge-votes=2",
                                "eval-judge-tokens=5", "seed=3", "steps=1", "batch-rows=4", "kl=none" };
    const gram_message turn[] = { { "user", "Say it" }, { "user", "And that" } };
    const gram_prompt prompt[] = { { .turn = &turn[0], .n = 1 }, { .turn = &turn[1], .n = 1 } };
    outcome o = run(set, GR_COUNT(set));
    gram_rationale_options how;
    gram_generation g;
    struct votes h = { NULL, 0 };
    gram_model *m;

    (void)state;
    CHECK_OK(o.rc);
    gram_rationale_options_init(&how);
    how.max_tokens = 5;
    how.seed = 3;
    gram_generation_init(&g);
    g.temperature = 0;
    g.max_new_tokens = 20;
    g.products = GRAM_PRODUCTS_TILES;
    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .threads = 1 }, &check_err));
    CHECK_OK(gram_reasoner_open(&h.r, m, &how, &check_err));
    CHECK_OK(gram_generate(m, prompt, 2, &g, judge_held, &h, &check_err));
    if (!(fabs(of(json_array_get(o.lines, 0), "held_loss") + h.margin) < 1e-4))     /* float32 in other company */
        fail_msg("held_loss is %.9g, and the votes say %.9g", of(json_array_get(o.lines, 0), "held_loss"), -h.margin);
    gram_reasoner_close(h.r);
    gram_close(m);
    free((char *)(uintptr_t)set[0]);
    json_decref(o.lines);
}

static void a_judge_learns_to_reason(void **state)
{
    const char *const small[] = { "judge=self", "samples=4", "batch-rows=4", "steps=1", "cut=keep", "kl=none" };
    const char *const other[] = { "judge=self", "samples=4", "batch-rows=4", "steps=1", "cut=keep", "kl=none",
                                  "rationale-format=rm-r1" };
    const char *const raft[] = { "algorithm=raft", "judge=self", "samples=4", "eval-file=HELD", "cut=keep" };
    const struct { const char *set[3], *why; } bad[] = {
        { { "samples=3" }, "even" }, { { "samples=4", "algorithm=remax" }, "remax" },
        { { "samples=4", "scheme=circular" }, "scheme" },
        { { "samples=4", "eval-judge=self", "eval-file=HELD" }, "eval-judge" },
        { { "samples=4", "eval-judge-votes=2", "eval-file=HELD" }, "eval-judge-votes" },
    };
    char *was[] = { prompts, held };
    const char *own[GR_COUNT(raft)];
    outcome o, p;

    (void)state;
    use_pairs();
    o = run(small, GR_COUNT(small));
    CHECK_OK(o.rc);
    check_rewards(o.dir);
    assert_true(of(step_of(&o, 1), "grad_norm") > 0);
    p = run(other, GR_COUNT(other));
    CHECK_OK(p.rc);
    assert_true(o.samples != p.samples);
    json_decref(o.lines), json_decref(p.lines);
    for (size_t i = 0; i < GR_COUNT(raft); i++)
        own[i] = filled(raft[i]);
    o = run(own, GR_COUNT(raft));
    CHECK_OK(o.rc);
    assert_true(of(json_array_get(o.lines, 0), "reward") > 0 && of(json_array_get(o.lines, 0), "reward") < 1);
    json_decref(o.lines);
    for (size_t i = 0; i < GR_COUNT(raft); i++)
        free((char *)(uintptr_t)own[i]);
    kill_and_resume("algorithm=rloo", "samples=4", "judge=self");
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        const char *set[4] = { "judge=self" };
        size_t n = 1;
        for (; n < 4 && bad[i].set[n - 1]; n++)
            set[n] = filled(bad[i].set[n - 1]);
        o = run(set, n);
        if (o.rc != GRAM_EARG || !strstr(check_err.text, bad[i].why))
            fail_msg("%s: status %d: %s", bad[i].why, (int)o.rc, check_err.text);
        json_decref(o.lines);
        while (--n > 0)
            free((char *)(uintptr_t)set[n]);
    }
    free(prompts);
    prompts = was[0];
    held = was[1];
}

/* ---- Learning ------------------------------------------------------------------------------------------------ */

/* A reward that a tiny policy can find: short answers. Every method raises it. */
static void every_method_climbs(void **state)
{
    static const char *const how[] = { "algorithm=raft", "algorithm=raft++", "algorithm=reinforce-rej",
                                       "algorithm=rloo", "algorithm=grpo", "algorithm=dr-grpo", "algorithm=reinforce",
                                       "algorithm=remax", "algorithm=ppo", "algorithm=online-dpo" };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(how); i++) {
        const char *const set[] = { how[i], "judge=exec:while read -r l; do l=${l#*completion}; echo -${#l}; done",
                                    "samples=8", "rollout-prompts=4", "batch-rows=4",
                                    CHECK_ADDRESSES ? "steps=4" : "steps=20", "cut=keep", "lr=1e-2",
                                    "max-new-tokens=12", "kl=none" };
        outcome o = run(set, GR_COUNT(set) - (i == GR_COUNT(how) - 1));     /* online DPO has no kl */
        double first, last;
        CHECK_OK(o.rc);
        if (CHECK_ADDRESSES) {
            json_decref(o.lines);
            continue;
        }
        first = of(step_of(&o, 1), "reward");
        /* the last rollout's first step tells it: raft has two steps, ppo four */
        last = of(step_of(&o, i == 0 ? 19 : strstr(how[i], "ppo") ? 17 : 20), "reward");
        if (!(last > first))
            fail_msg("%s: the reward was %g, and is %g", how[i], first, last);
        json_decref(o.lines);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(at_first_nothing_has_moved), cmocka_unit_test(any_cut_has_the_same_gradient),
        cmocka_unit_test(what_the_judge_fails_at_leaves_its_group),
        cmocka_unit_test(a_failed_answer_makes_no_difference), cmocka_unit_test(a_judge_that_fails_is_told_of),
        cmocka_unit_test(cut_answers_have_no_end_and_are_masked), cmocka_unit_test(equal_rewards_teach_nothing),
        cmocka_unit_test(dead_prompts_are_replaced), cmocka_unit_test(another_model_writes),
        cmocka_unit_test(values_are_learnt_first),
        cmocka_unit_test(clipped_each_by_itself), cmocka_unit_test(the_start_may_be_the_best),
        cmocka_unit_test(what_says_nothing_is_refused), cmocka_unit_test(killed_and_resumed_it_is_the_same),
        cmocka_unit_test(a_judge_learns_to_reason), cmocka_unit_test(votes_are_rewards),
        cmocka_unit_test(held_out_votes),
        cmocka_unit_test(every_method_climbs),
        cmocka_unit_test(every_option_moves_something)
    };

    return cmocka_run_group_tests(tests, write_prompts, free_prompts);
}
