/* test_align_numbers.c - what a policy's run says of itself follows from the answers that it wrote down: each number of
 * metrics.jsonl, and what each answer of samples.jsonl is worth, is computed anew from samples.jsonl. */
#include "gram/bon.h"
#include "policy_run.h"

/* samples.jsonl has nine digits of a number, and a run sums some hundreds of them. */
#define DIGITS 1e-6
/* The pass that learns a token's log-probability is another than the one that wrote it (test_align.c). */
#define PASSES 1e-4
/* The answers with number 1 have no reward. */
#define FAILS "judge=exec:while read -r l; do case $l in *'\"index\":1'*|*'\"index\": 1'*) echo null;; *again*) " \
    "echo 1;; *) l=${l#*completion}; echo $(( ${#l} % 7 ));; esac; done"

static void near(double got, double want, double off, const char *what, int step)
{
    if (!(fabs(got - want) <= off * (1 + fabs(want))))
        fail_msg("step %d: %s is %.9g, and the samples say %.9g", step, what, got, want);
}

/* The answers of the rollout that `step` began. */
static json_t *rollout(const json_t *samples, int step)
{
    json_t *list = json_array(), *line;
    size_t i;

    json_array_foreach(samples, i, line)
        if ((int)of(line, "step") == step)
            json_array_append(list, line);
    assert_true(json_array_size(list) > 0);
    return list;
}

static bool is(const json_t *line, const char *key) { return json_is_true(json_object_get(line, key)); }

static bool was_cut(const json_t *line)
{
    return !strcmp(json_string_value(json_object_get(line, "finish")), "length");
}

/* Mean, deviation over n - 1 and ends of a list. */
struct spread { double x[4096], mean, deviation, least, most; size_t n; };

static void add(struct spread *s, double x)
{
    if (isnan(x))
        return;
    assert_true(s->n < GR_COUNT(s->x));
    s->x[s->n++] = x;
}

static void settle_spread(struct spread *s)
{
    double squares = 0;

    s->least = INFINITY;
    s->most = -INFINITY;
    for (size_t i = 0; i < s->n; i++) {
        s->mean += s->x[i] / (double)s->n;
        s->least = fmin(s->least, s->x[i]);
        s->most = fmax(s->most, s->x[i]);
    }
    for (size_t i = 0; i < s->n; i++)
        squares += (s->x[i] - s->mean) * (s->x[i] - s->mean);
    s->deviation = sqrt(squares / ((double)s->n - 1));
}

/* ---- metrics.jsonl ---------------------------------------------------------------------------------------- */

enum { GOT, LEARNT, LENGTH, ENDED, ENTROPY, KL, KL3, SPREADS };

static void take(struct spread s[SPREADS], const json_t *answers)
{
    json_t *line, *p;
    size_t i, t;

    memset(s, 0, SPREADS * sizeof *s);
    json_array_foreach(answers, i, line) {
        add(&s[GOT], of(line, "reward"));
        add(&s[LENGTH], of(line, "tokens"));
        if (is(line, "learnt"))
            add(&s[LEARNT], of(line, "reward"));
        if (!was_cut(line))
            add(&s[ENDED], of(line, "tokens"));
        json_array_foreach(json_object_get(line, "logprobs"), t, p) {
            double x = json_number_value(p), d;
            d = json_number_value(json_array_get(json_object_get(line, "ref_logprobs"), t)) - x;
            add(&s[ENTROPY], -x);
            add(&s[KL], -d);
            add(&s[KL3], exp(d) - 1 - d);
        }
    }
    for (size_t k = 0; k < SPREADS; k++)
        settle_spread(&s[k]);
}

/* The correlation of reward and length over the answers that have a reward. */
static double correlation(const json_t *answers)
{
    struct spread r = { 0 }, l = { 0 };
    double both = 0;
    json_t *line;
    size_t i;

    json_array_foreach(answers, i, line)
        if (!isnan(of(line, "reward"))) {
            add(&r, of(line, "reward"));
            add(&l, of(line, "tokens"));
        }
    settle_spread(&r);
    settle_spread(&l);
    for (i = 0; i < r.n; i++)
        both += (r.x[i] - r.mean) * (l.x[i] - l.mean) / ((double)r.n - 1);
    return both / (r.deviation * l.deviation);
}

/* Of `each` answers to a prompt, those groups in which all rewards that are there are one. */
static double equal_groups(const json_t *answers, size_t each)
{
    double n = 0;

    for (size_t i = 0; i < json_array_size(answers); i += each) {
        struct spread s = { 0 };
        for (size_t k = 0; k < each; k++)
            add(&s, of(json_array_get(answers, i + k), "reward"));
        settle_spread(&s);
        n += !(s.most > s.least);
    }
    return n;
}

/* The mean of their deviations, of those that have one. */
static double deviation_of_groups(const json_t *answers, size_t each)
{
    double sum = 0, n = 0;

    for (size_t i = 0; i < json_array_size(answers); i += each) {
        struct spread s = { 0 };
        for (size_t k = 0; k < each; k++)
            add(&s, of(json_array_get(answers, i + k), "reward"));
        settle_spread(&s);
        if (s.n < 2)
            continue;
        sum += s.deviation;
        n++;
    }
    return sum / n;
}

static void each_number(const json_t *m, const json_t *answers, int step)
{
    static struct spread s[SPREADS];
    double n = (double)json_array_size(answers), equal = equal_groups(answers, 6), again = of(m, "resampled");

    take(s, answers);
    assert_true(s[ENDED].n > 0 && s[ENDED].n < n && s[GOT].n < n && s[LEARNT].n > 1 && s[LEARNT].n < s[GOT].n);
    assert_true(s[LENGTH].least < s[LENGTH].most && fabs(correlation(answers)) > 0.01);
    {
        const struct { const char *key; double want, off; } each[] = {
            { "reward", s[GOT].mean, DIGITS }, { "reward_std", deviation_of_groups(answers, 6), DIGITS },
            { "rewards/judge/mean", s[GOT].mean, DIGITS }, { "rewards/judge/std", s[GOT].deviation, DIGITS },
            { "rewards/learnt/mean", s[LEARNT].mean, DIGITS }, { "learnt", (double)s[LEARNT].n, 0 },
            { "judge/unparsed", 1 - (double)s[GOT].n / n, DIGITS },
            { "corr_reward_length", correlation(answers), DIGITS },
            { "frac_reward_zero_std", equal / (n / 6), DIGITS },
            { "frac_drawn_zero_std", (equal + again) / (n / 6 + again), DIGITS },
            { "completions/mean_length", s[LENGTH].mean, DIGITS },
            { "completions/min_length", s[LENGTH].least, 0 }, { "completions/max_length", s[LENGTH].most, 0 },
            { "completions/mean_terminated_length", s[ENDED].mean, DIGITS },
            { "completions/min_terminated_length", s[ENDED].least, 0 },
            { "completions/max_terminated_length", s[ENDED].most, 0 },
            { "completions/clipped_ratio", 1 - (double)s[ENDED].n / n, DIGITS },
            { "num_tokens", s[LENGTH].mean * n, DIGITS }, { "entropy", s[ENTROPY].mean, DIGITS },
            { "kl", s[KL].mean, PASSES }, { "kl_k3", s[KL3].mean, PASSES }, { "beta", 0.05, 0 },
        };
        for (size_t i = 0; i < GR_COUNT(each); i++)
            near(of(m, each[i].key), each[i].want, each[i].off, each[i].key, step);
    }
}

static void numbers_follow_from_the_samples(void **state)
{
    const char *const set[] = { FAILS, "resample=1", "kl=k3", "kl-in=loss", "batch-rows=4", "samples=6", "steps=3",
                                "lr=0.05", "max-new-tokens=120" };
    outcome o = run(set, GR_COUNT(set));
    json_t *s;
    double again = 0;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    for (int step = 1; step <= 3; step++) {
        json_t *answers = rollout(s, step);
        assert_int_equal(json_array_size(answers), 24);
        each_number(step_of(&o, step), answers, step);
        again += of(step_of(&o, step), "resampled");
        json_decref(answers);
    }
    assert_true(again > 0);
    json_decref(s), json_decref(o.lines);
}

/* The greedy answers, which ReMax alone gives a reward, are none of those that are drawn and learnt. */
static void greedy_answers_are_in_no_number(void **state)
{
    const char *const set[] = { "algorithm=remax", "kl=none", "cut=keep", "batch-rows=4", "steps=1",
                                "max-new-tokens=120" };
    outcome o = run(set, GR_COUNT(set));
    json_t *s, *drawn = json_array(), *line;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    json_array_foreach(s, i, line)
        if (of(line, "sample") >= 0)
            json_array_append(drawn, line);
    assert_true(json_array_size(drawn) < json_array_size(s) && fabs(correlation(drawn) - correlation(s)) > 1e-3);
    near(of(step_of(&o, 1), "corr_reward_length"), correlation(drawn), DIGITS, "corr_reward_length", 1);
    json_decref(drawn), json_decref(s), json_decref(o.lines);
}

/* How many ratios stopped at which end: with one of them where no ratio comes none does. The divergence of a step,
 * r - 1 - log r of its ratios, is no larger than that of its farthest one. */
static void each_end_clips_by_itself(void **state)
{
    static const char *const end[][2] = { { "clip-low=1", "clip-high=1e-5" }, { "clip-low=1e-5", "clip-high=1e6" } };

    (void)state;
    for (int high = 0; high < 2; high++) {
        const char *const set[] = { end[!high][0], end[!high][1], "updates=2", "batch-rows=4", "steps=2", "cut=keep",
                                    "kl=none" };
        outcome o = run(set, GR_COUNT(set));
        const json_t *m;
        double below, above, r[2];
        CHECK_OK(o.rc);
        m = step_of(&o, 2);
        below = of(m, "clip_ratio/low_mean");
        above = of(m, "clip_ratio/high_mean");
        r[0] = of(m, "val/ratio_min");
        r[1] = of(m, "val/ratio_max");
        if (!(high ? below == 0 && above > 0 && above < 1 : above == 0 && below > 0 && below < 1))
            fail_msg("%s, %s: %g of the ratios stop below, %g above", set[0], set[1], below, above);
        near(of(m, "clip_ratio/region_mean"), below + above, 1e-12, "clip_ratio/region_mean", 2);
        assert_true(of(m, "policy/approxkl_avg") > 0);
        assert_true(of(m, "policy/approxkl_avg") < fmax(r[0] - 1 - log(r[0]), r[1] - 1 - log(r[1])));
        json_decref(o.lines);
    }
}

/* The best answer to each prompt against the worst: at first nothing has moved, then the policy parts them. */
static void pairs_of_answers_are_told_of(void **state)
{
    const char *const set[] = { "algorithm=online-dpo", "updates=2", "batch-rows=4", "steps=2", "cut=keep",
                                "beta=0.1" };
    outcome o = run(set, GR_COUNT(set));
    json_t *s, *line;
    struct spread logp[2] = { { .n = 0 }, { .n = 0 } };
    const json_t *m;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    json_array_foreach(s, i, line)
        if (of(line, "advantage") != 0)
            add(&logp[of(line, "advantage") < 0], of(line, "logp"));
    assert_true(logp[0].n > 0 && logp[0].n == logp[1].n);
    for (int k = 0; k < 2; k++)
        settle_spread(&logp[k]);
    m = step_of(&o, 1);
    near(of(m, "logps/chosen"), logp[0].mean, PASSES, "logps/chosen", 1);
    near(of(m, "logps/rejected"), logp[1].mean, PASSES, "logps/rejected", 1);
    m = step_of(&o, 2);
    near(of(m, "rewards/margins"), of(m, "rewards/chosen") - of(m, "rewards/rejected"), 1e-12, "rewards/margins", 2);
    near(of(m, "rewards/chosen"), 0.1 * (of(m, "logps/chosen") - logp[0].mean), PASSES, "rewards/chosen", 2);
    near(of(m, "rewards/rejected"), 0.1 * (of(m, "logps/rejected") - logp[1].mean), PASSES, "rewards/rejected", 2);
    assert_true(of(m, "rewards/margins") > 0 && of(m, "rewards/accuracies") > 0.5);
    json_decref(s), json_decref(o.lines);
}

/* Of the values that are learnt a share is clipped. */
static void clipped_values_are_a_share(void **state)
{
    const char *const set[] = { "algorithm=ppo", "updates=2", "batch-rows=4", "steps=2", "cut=keep",
                                "value-clip=1e-3" };
    outcome o = run(set, GR_COUNT(set));

    (void)state;
    CHECK_OK(o.rc);
    assert_true(of(step_of(&o, 1), "val/clipfrac_avg") == 0);
    assert_true(of(step_of(&o, 2), "val/clipfrac_avg") > 0 && of(step_of(&o, 2), "val/clipfrac_avg") <= 1);
    json_decref(o.lines);
}

/* The held-out prompts' greedy answers, which have no room to end; to one of three the judge says nothing. */
static void held_out_answers_are_told_of(void **state)
{
    char *three = check_write("three.jsonl", "{\"prompt\":\"Say it\"}\n{\"prompt\":\"And that\"}\n"
                              "{\"prompt\":\"Say no\"}\n"), *was = held, *file;
    const char *set[] = { NULL, "eval-judge=exec:while read -r l; do case $l in *that*) echo null;; *) echo 3;; "
                                      "esac; done", "max-new-tokens=2", "steps=1", "batch-rows=4", "cut=keep" };
    outcome o;
    const json_t *m;

    (void)state;
    held = three;
    set[0] = file = filled("eval-file=HELD");
    held = was;
    o = run(set, GR_COUNT(set));
    CHECK_OK(o.rc);
    m = json_array_get(o.lines, 0);
    near(of(m, "held_loss"), -3, 0, "held_loss", 0);
    near(of(m, "reward"), 3, 0, "reward", 0);
    near(of(m, "judge/unparsed"), 1.0 / 3, DIGITS, "judge/unparsed", 0);
    near(of(m, "completions/mean_length"), 2, 0, "completions/mean_length", 0);
    near(of(m, "completions/clipped_ratio"), 1, 0, "completions/clipped_ratio", 0);
    free(file), free(three);
    json_decref(o.lines);
}

/* ---- What answers are worth --------------------------------------------------------------------------------- */

static char said[4096];

static void on_note(void *arg, const char *text)
{
    (void)arg;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", text);
}

/* Less what it is long, and less what a cut one loses; dr-grpo takes the mean of the answers to the prompt from that.
 * That more than a fifth of them are cut is said. */
static void penalties_are_those_that_are_asked_for(void **state)
{
    const char *const set[] = { "algorithm=dr-grpo", "cut=penalty", "cut-penalty=4", "length-penalty=3", "kl=none",
                                "samples=6", "steps=1", "batch-rows=4", "max-new-tokens=120" };
    outcome o;
    size_t cut = 0;
    char text[64];
    json_t *s;

    (void)state;
    noted = on_note;
    o = run(set, GR_COUNT(set));
    noted = NULL;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    for (size_t i = 0; i < json_array_size(s); i += 6) {
        double left[6], mean = 0;
        for (size_t k = 0; k < 6; k++) {
            const json_t *line = json_array_get(s, i + k);
            left[k] = of(line, "reward") - 3 * of(line, "tokens") / 120 - 4 * was_cut(line);
            mean += left[k] / 6;
            cut += was_cut(line);
        }
        for (size_t k = 0; k < 6; k++)
            near(of(json_array_get(s, i + k), "advantage"), left[k] - mean, DIGITS, "advantage", 1);
    }
    if (!(cut > 4 && cut < 20))
        fail_msg("%zu of 24 answers are cut", cut);
    snprintf(text, sizeof text, "%zu of 24 answers ran into `max-new-tokens`, 120", cut);
    assert_non_null(strstr(said, text));
    json_decref(s), json_decref(o.lines);
}

/* reinforce: less the mean of all rewards of the rollouts before; of the first one its own. */
static void the_running_mean_is_of_all_before(void **state)
{
    const char *const set[] = { "algorithm=reinforce", "kl=none", "cut=keep", FAILS, "batch-rows=4", "steps=4" };
    outcome o = run(set, GR_COUNT(set));
    double sum = 0, n = 0, means[4];
    json_t *s;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    for (int step = 1; step <= 4; step++) {
        json_t *answers = rollout(s, step), *line;
        struct spread now = { .n = 0 };
        double baseline;
        size_t i;
        json_array_foreach(answers, i, line)
            add(&now, of(line, "reward"));
        settle_spread(&now);
        baseline = n > 0 ? sum / n : now.mean;
        json_array_foreach(answers, i, line)
            if (!isnan(of(line, "reward")))
                near(of(line, "advantage"), of(line, "reward") - baseline, DIGITS, "advantage", step);
        means[step - 1] = now.mean;
        sum += now.mean * (double)now.n;
        n += (double)now.n;
        json_decref(answers);
    }
    assert_true(means[0] != means[1] && means[1] != means[2]);
    json_decref(s), json_decref(o.lines);
}

/* raft: the best answer that has a reward and says something, where it is so far above the mean of those that have one.
 */
static void a_gain_is_over_the_mean_of_rewards(void **state)
{
    const double gain = 2;
    const char *const set[] = { "algorithm=raft", FAILS, "min-gain=2", "kl=none", "cut=keep", "updates=1", "steps=6",
                                "batch-rows=4", "samples=3" };
    outcome o = run(set, GR_COUNT(set));
    size_t won = 0, unlike = 0;
    json_t *s;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    for (size_t i = 0; i < json_array_size(s); i += 3) {
        size_t best = 3;
        double sum = 0, n = 0, top = -INFINITY;
        for (size_t k = 0; k < 3; k++) {
            const json_t *line = json_array_get(s, i + k);
            double r = of(line, "reward");
            if (isnan(r))
                continue;
            sum += r;
            n++;
            if (r > top && json_string_length(json_object_get(line, "completion"))) {
                top = r;
                best = k;
            }
        }
        for (size_t k = 0; k < 3; k++)
            if (is(json_array_get(s, i + k), "learnt") != (k == best && top - sum / n >= gain))
                fail_msg("answer %zu: reward %g of a mean %g: learnt %d", i + k, top, sum / n,
                         is(json_array_get(s, i + k), "learnt"));
        won += top - sum / n >= gain;
        unlike += (top - sum / n >= gain) != (top - sum / 3 >= gain);
    }
    if (!(won > 0 && won < json_array_size(s) / 3 && unlike > 0))
        fail_msg("of %zu prompts %zu have a winner, and %zu say something", json_array_size(s) / 3, won, unlike);
    json_decref(s), json_decref(o.lines);
}

/* raft over all prompts, an answer each: of `samples` one is learnt, and those are the best. */
static void of_all_prompts_the_best_are_learnt(void **state)
{
    const char *const set[] = { "algorithm=raft", "global=true", "samples=4", "rollout-prompts=12", "batch-rows=12",
                                "kl=none", "cut=keep", "updates=1", "steps=2" };
    outcome o = run(set, GR_COUNT(set));
    json_t *s;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    for (int step = 1; step <= 2; step++) {
        json_t *answers = rollout(s, step), *line;
        double least = INFINITY, most = -INFINITY;
        size_t i, n = 0;
        json_array_foreach(answers, i, line) {
            n += is(line, "learnt");
            if (is(line, "learnt"))
                least = fmin(least, of(line, "reward"));
            else
                most = fmax(most, of(line, "reward"));
        }
        assert_int_equal(n, 3);
        if (!(least >= most && most > -INFINITY))
            fail_msg("step %d: an answer with reward %g is learnt, and one with %g is not", step, least, most);
        json_decref(answers);
    }
    json_decref(s), json_decref(o.lines);
}

/* Rewards of a judge that compares, each answer with its prompt's greedy one. */
static void answers_are_compared_with_the_greedy_one(void **state)
{
    const char *const set[] = { ("judge=" MODEL), "scheme=reference", "against=greedy", "cut=keep", "kl=none",
                                "steps=1", "batch-rows=4" };
    const gram_judge_options by = { .scheme = GRAM_SCHEME_REFERENCE };
    outcome o = run(set, GR_COUNT(set));
    gram_judge *judge;
    gram_model *m;
    json_t *s;

    (void)state;
    CHECK_OK(o.rc);
    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .threads = 1 }, &check_err));
    CHECK_OK(gram_judge_over(&judge, m, &by, &check_err));
    s = read_lines(o.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 16);
    for (size_t i = 0; i < 16; i += 4) {
        const char *text[4];
        gram_message turn = { "user", json_string_value(json_object_get(json_array_get(s, i), "prompt")) };
        gram_group g = { .prompt = { &turn, 1, NULL }, .response = text, .n = 3 };
        gram_judged_group out;
        for (size_t k = 0; k < 4; k++)
            text[k] = json_string_value(json_object_get(json_array_get(s, i + k), "completion"));
        g.reference = text[3];
        assert_true(of(json_array_get(s, i + 3), "sample") == -1);
        CHECK_OK(gram_judge_group(judge, &g, &out, &check_err));
        for (size_t k = 0; k < 3; k++)              /* float32 in other company */
            near(of(json_array_get(s, i + k), "reward"), out.reward[k], PASSES, "reward", 1);
        gram_judged_group_clear(&out);
    }
    gram_judge_close(judge);
    gram_close(m);
    json_decref(s), json_decref(o.lines);
}

static double mean_kl(const outcome *o, int step)
{
    json_t *s = read_lines(o->dir, "samples.jsonl"), *answers = rollout(s, step), *line;
    double sum = 0;
    size_t i;

    json_array_foreach(answers, i, line)
        sum += of(line, "kl") / (double)json_array_size(answers);
    json_decref(answers), json_decref(s);
    return sum;
}

/* beta moves by what a mean answer is too far, a fifth at most, times answers over the horizon. Until the third rollout
 * the target decides nothing: at first there is no distance, and the change is a whole fifth down. */
static void beta_follows_the_mean_answers_distance(void **state)
{
    char target[40];
    const char *set[] = { "kl=k1", "beta=0.2", "kl-horizon=24", "cut=keep", "batch-rows=4", "steps=3", "lr=0.05",
                          "kl-target=1" };
    outcome o = run(set, GR_COUNT(set));
    double kl, beta;

    (void)state;
    CHECK_OK(o.rc);
    kl = mean_kl(&o, 2);
    assert_true(kl > 0);
    snprintf(target, sizeof target, "kl-target=%.9g", kl / 1.1);
    json_decref(o.lines);
    set[GR_COUNT(set) - 1] = target;
    o = run(set, GR_COUNT(set));
    CHECK_OK(o.rc);
    assert_true(of(step_of(&o, 1), "beta") == 0.2);
    beta = 0.2 * (1 - 0.2 * 12 / 24);
    near(of(step_of(&o, 2), "beta"), beta, DIGITS, "beta", 2);
    near(of(step_of(&o, 3), "beta"), beta * (1 + 0.1 * 12 / 24), DIGITS, "beta", 3);
    json_decref(o.lines);
}

/* ---- Which prompts, and in which order ------------------------------------------------------------------------ */

/* The prompts come in their order, those that took the places of others too: none is drawn again before all were. */
static void no_prompt_comes_again_before_all_have(void **state)
{
    const char *const set[] = { SOME, "resample=3", "cut=keep", "kl=none", "batch-rows=4", "steps=6",
                                "max-new-tokens=30" };
    outcome o = run(set, GR_COUNT(set));
    double drawn = 0, seen[12] = { 0 };
    json_t *s, *line;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    json_array_foreach(s, i, line)
        if (i % 3 == 0)
            seen[atoi(json_string_value(json_object_get(line, "prompt")) + strlen("Say "))]++;
    for (int step = 1; step <= 6; step++)
        drawn += 4 + of(step_of(&o, step), "resampled");
    for (int k = 0; k < 12; k++)                    /* every third says "again", and is replaced */
        if (k % 3 && !(seen[k] == floor(drawn / 12) || seen[k] == ceil(drawn / 12)))
            fail_msg("of %g prompts that were drawn, \"Say %d\" is %g", drawn, k, seen[k]);
    assert_true(drawn > 24);
    json_decref(s), json_decref(o.lines);
}

/* As many rollouts as it takes for every prompt to be answered in each epoch. */
static void epochs_are_rounded_up_to_rollouts(void **state)
{
    const char *const set[] = { "epochs=3", "steps=0", "rollout-prompts=8", "batch-rows=4", "max-new-tokens=2",
                                "cut=keep", "kl=none" };
    outcome o = run(set, GR_COUNT(set));
    json_t *s;

    (void)state;
    CHECK_OK(o.rc);
    s = read_lines(o.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 5 * 8 * 3);        /* 36 prompts in rollouts of 8, 3 answers each */
    step_of(&o, 10);
    json_decref(s), json_decref(o.lines);
}

/* Minus the loss of a first step, in which every ratio is 1, is the mean advantage over the tokens of its prompts. */
static double mean_advantage(const json_t *answers, size_t a, size_t b)
{
    double sum = 0, tokens = 0;

    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 3; k++) {
            const json_t *line = json_array_get(answers, 3 * (i ? b : a) + k);
            sum += of(line, "advantage") * of(line, "tokens");
            tokens += of(line, "tokens");
        }
    return sum / tokens;
}

/* Which two places of four a rollout's first step may have learnt, a bit for each pair of them; two answers cut at the
 * same length may leave more than one. */
static unsigned first_two(const outcome *o, const json_t *samples, int step)
{
    json_t *answers = rollout(samples, step);
    double loss = of(step_of(o, step), "loss");
    unsigned found = 0, bit = 1;

    for (size_t a = 0; a < 4; a++)
        for (size_t b = a + 1; b < 4; b++, bit <<= 1)
            if (fabs(loss + mean_advantage(answers, a, b)) < DIGITS * (1 + fabs(loss)))
                found |= bit;
    json_decref(answers);
    if (!found)
        fail_msg("step %d: the loss %.9g is that of no two prompts", step, loss);
    return found;
}

/* Draws and orders follow from the seed, and are others in each rollout. */
static void seed_and_rollout_decide_the_draws(void **state)
{
    const char *const set[] = { "algorithm=dr-grpo", "aggregate=token", "kl=none", "cut=keep", "steps=12", "lr=0",
                                "max-new-tokens=60", "seed=0" };
    const char *other[GR_COUNT(set)];
    outcome o = run(set, GR_COUNT(set)), p;
    json_t *s, *t;
    unsigned always = ~0u;

    (void)state;
    memcpy(other, set, sizeof other);
    other[GR_COUNT(set) - 1] = "seed=1";
    p = run(other, GR_COUNT(set));
    CHECK_OK(o.rc);
    CHECK_OK(p.rc);
    s = read_lines(o.dir, "samples.jsonl");
    t = read_lines(p.dir, "samples.jsonl");
    assert_int_equal(json_array_size(s), 6 * 12);
    for (int step = 1; step <= 11; step += 2)
        always &= first_two(&o, s, step);
    if (always)
        fail_msg("all rollouts are learnt in the order of the first");
    for (size_t i = 0; i < 12; i++) {               /* an answer of the same place and number */
        double seed = of(json_array_get(s, i), "seed");
        assert_true(seed != of(json_array_get(t, i), "seed") && seed != of(json_array_get(s, 12 + i), "seed"));
    }
    json_decref(s), json_decref(t), json_decref(o.lines), json_decref(p.lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_follow_from_the_samples),
        cmocka_unit_test(greedy_answers_are_in_no_number), cmocka_unit_test(each_end_clips_by_itself),
        cmocka_unit_test(pairs_of_answers_are_told_of), cmocka_unit_test(clipped_values_are_a_share),
        cmocka_unit_test(held_out_answers_are_told_of), cmocka_unit_test(penalties_are_those_that_are_asked_for),
        cmocka_unit_test(the_running_mean_is_of_all_before), cmocka_unit_test(a_gain_is_over_the_mean_of_rewards),
        cmocka_unit_test(of_all_prompts_the_best_are_learnt),
        cmocka_unit_test(answers_are_compared_with_the_greedy_one),
        cmocka_unit_test(beta_follows_the_mean_answers_distance),
        cmocka_unit_test(no_prompt_comes_again_before_all_have), cmocka_unit_test(epochs_are_rounded_up_to_rollouts),
        cmocka_unit_test(seed_and_rollout_decide_the_draws),
    };

    return cmocka_run_group_tests(tests, write_prompts, free_prompts);
}
