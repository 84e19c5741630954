/* test_align_faults.c - what other trainers of policies got wrong: a test of each here or where the table says.
 *
 *     the reward stands on a token behind the end         tests/align: rewards_stand_on_the_last_token
 *     pads in means of entropy, KL and ratio              no pads are made; numbers_do_not_see_the_cut
 *     the end is the first pad; pad and end are one id    no pad id is read; tokens_are_the_text_and_its_end
 *     cut answers get an end, or all of their reward      tokens_are_the_text_and_its_end; test_align.c: cut_answers_..
 *     masked answers are in the denominator               masked_answers_are_in_no_denominator
 *     denominators of a micro-batch                       test_align.c: any_cut_has_the_same_gradient
 *     log-probabilities without the temperature           test_align.c: at_first_nothing_has_moved
 *     filters bias the ratio                              test_align.c: what_says_nothing_is_refused (top-p)
 *     log-probabilities, keys and values of old weights   each_rollout_is_of_its_own_weights
 *     k1 in the loss, KL of the wrong sign                tests/align: kl_in_the_loss; refused in test_align.c
 *     the reference lacks the adapter that was begun with the_reference_is_the_start_with_its_adapter
 *     two BOS or EOS, of template and tokenizer           prompts_are_those_of_generate; tests/text/test_chat.c
 *     a loss of 0 is taken for a fault                    test_align.c: equal_rewards_teach_nothing; docs/alignment.md
 *     more updates without effect                         test_align.c: at_first_nothing_has_moved (the last step)
 *     the greedy baseline is drawn, or another prompt's   remax_is_measured_by_the_same_prompts_greedy_answer
 *     a judge that fails gives 0                          test_align.c: what_the_judge_fails_at_leaves_its_group
 *     a resume takes rows again, or loses the draws       test_align.c: killed_and_resumed_it_is_the_same
 *     a reward has to be a module of one's own tokenizer  tests/e2e/align.sh: programs, models; test_judge.c: servers
 *     answers are cut by a default nobody chose           none is (tests/e2e/align.sh); many_cut_answers_are_said */
#include "gram/generate.h"
#include "policy_run.h"

static const json_t *text_of(const json_t *line, const char *key) { return json_object_get(line, key); }

static bool says(const json_t *line, const char *key, const char *what)
{
    return !strcmp(json_string_value(text_of(line, key)), what);
}

/* Each byte is a token here, so an answer of plain characters that ended by itself has one token more than bytes, and
 * one that was cut has as many; a special token that a policy of chance writes has no text, and is seldom. */
static void tokens_are_the_text_and_its_end(void **state)
{
    outcome o = run((const char *const[]){ "rollout-prompts=12", "batch-rows=12", "samples=100", "max-new-tokens=3",
                                           "steps=1" }, 5);
    json_t *s = read_lines(o.dir, "samples.jsonl"), *line;
    size_t i, ended = 0, cut = 0, odd = 0;

    (void)state;
    CHECK_OK(o.rc);
    json_array_foreach(s, i, line) {
        const char *text = json_string_value(text_of(line, "completion"));
        bool stop = says(line, "finish", "stop"), plain = true;
        for (const char *c = text; *c; c++)
            plain = plain && *c > 0;
        if (!plain || strlen(text) != json_string_length(text_of(line, "completion")))
            continue;
        assert_true(of(line, "tokens") >= (double)(strlen(text) + stop));
        *(of(line, "tokens") > (double)(strlen(text) + stop) ? &odd : stop ? &ended : &cut) += 1;
    }
    if (!(ended > 3 && cut > 30 && 4 * odd < ended + cut))
        fail_msg("%zu ended, %zu cut, %zu odd", ended, cut, odd);
    json_decref(s), json_decref(o.lines);
}

/* At the first step every ratio is 1, so that the loss is minus the mean advantage of what is learnt: over its tokens,
 * or over its answers. */
static void masked_answers_are_in_no_denominator(void **state)
{
    (void)state;
    for (int per_answer = 0; per_answer < 2; per_answer++) {
        outcome o = run((const char *const[]){ "batch-rows=4", "steps=1", "kl=none", "samples=16", "max-new-tokens=60",
                                               per_answer ? "aggregate=answer" : "aggregate=token" }, 6);
        json_t *s = read_lines(o.dir, "samples.jsonl"), *line;
        double sum = 0, n = 0;
        size_t i, masked = 0;
        CHECK_OK(o.rc);
        json_array_foreach(s, i, line) {
            double tokens = per_answer ? 1 : of(line, "tokens");
            masked += json_is_false(text_of(line, "learnt"));
            sum += json_is_true(text_of(line, "learnt")) ? tokens * of(line, "advantage") : 0;
            n += json_is_true(text_of(line, "learnt")) ? tokens : 0;
        }
        assert_true(masked > 0 && n > 0);
        /* samples.jsonl has nine digits, and a step's sum a few dozen terms */
        if (!(fabs(of(step_of(&o, 1), "loss") + sum / n) < 1e-7 * (1 + fabs(sum / n))))
            fail_msg("the loss is %.9g, wanted %.9g", of(step_of(&o, 1), "loss"), -sum / n);
        json_decref(s), json_decref(o.lines);
    }
}

/* Means over tokens, whatever else is in a micro-batch. */
static void numbers_do_not_see_the_cut(void **state)
{
    static const char *const key[] = { "entropy", "kl", "val/ratio", "reward", "completions/mean_length" };
    const char *const one[] = { "steps=2", "updates=1", "cut=keep", "kl=k3", "kl-in=loss", "batch-tokens=4096" },
               *const many[] = { "steps=2", "updates=1", "cut=keep", "kl=k3", "kl-in=loss", "batch-tokens=70" };
    outcome a = run(one, 6), b = run(many, 6);

    (void)state;
    CHECK_OK(a.rc);
    CHECK_OK(b.rc);
    for (int step = 1; step <= 2; step++)
        for (size_t k = 0; k < GR_COUNT(key); k++) {
            double x = of(step_of(&a, step), key[k]), y = of(step_of(&b, step), key[k]);
            if (!(fabs(x - y) < 1e-5 * (1 + fabs(x))) && !(isnan(x) && isnan(y)))     /* float32, in another order */
                fail_msg("%s: %.9g and %.9g", key[k], x, y);
        }
    json_decref(a.lines), json_decref(b.lines);
}

/* What was drawn is what the weights of that moment give, after steps as before them, and samples say whose it is. */
static void each_rollout_is_of_its_own_weights(void **state)
{
    for (int rank = 0; rank < 2; rank++) {
        outcome o = run((const char *const[]){ "kl=k3", "kl-in=loss", "cut=keep", "lr=0.05",
                                               rank ? "lora-rank=2" : "lora-rank=0" }, 5);
        json_t *s = read_lines(o.dir, "samples.jsonl");
        const json_t *first = json_array_get(s, 0), *line;
        size_t i;
        (void)state;
        CHECK_OK(o.rc);
        assert_int_equal(json_array_size(s), 24);
        json_array_foreach(s, i, line)
            assert_true(says(line, "weights", json_string_value(text_of(first, "weights"))) == (i < 12));
        assert_true(of(step_of(&o, 3), "kl") != 0);
        assert_true(of(step_of(&o, 3), "sampling/sampling_logp_difference/max") < 1e-4);
        json_decref(s), json_decref(o.lines);
    }
}

/* A policy that begins with an adapter is at no distance from itself, trained further by it or whole. */
static void the_reference_is_the_start_with_its_adapter(void **state)
{
    outcome begun = run((const char *const[]){ "lora-rank=2", "cut=keep", "lr=0.1", "kl=none" }, 4);

    (void)state;
    CHECK_OK(begun.rc);
    policy = begun.dir;
    for (int rank = 0; rank < 2; rank++) {
        outcome o = run((const char *const[]){ "kl=k3", "kl-in=loss", "cut=keep",
                                               rank ? "lora-rank=2" : "lora-rank=0" }, 4);
        CHECK_OK(o.rc);
        assert_true(of(step_of(&o, 1), "kl") == 0 && of(step_of(&o, 3), "kl") != 0);
        json_decref(o.lines);
    }
    policy = MODEL;
    json_decref(begun.lines);
}

/* The policy that runs begin with, for answers of the length that run() lets them have. */
static gram_model *open_to_write(gram_generation *how, double temperature)
{
    gram_model *m;

    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .threads = 1 }, &check_err));
    gram_generation_init(how);
    how->temperature = temperature;
    how->max_new_tokens = 20;
    return m;
}

struct greedy { const json_t *samples; const char *id; size_t found; };

static int on_greedy(void *arg, const gram_answer *a)
{
    struct greedy *g = arg;
    const json_t *line;
    size_t i;

    json_array_foreach(g->samples, i, line)
        if (of(line, "sample") == -1 && says(line, "prompt_id", g->id) && of(line, "step") == 1) {
            assert_string_equal(json_string_value(text_of(line, "completion")), a->text);
            assert_true(of(line, "tokens") == (double)a->tokens);
            g->found++;
        }
    return 0;
}

/* Answers -1 are greedy, and each answer's advantage is its reward less that of its prompt's. */
static void remax_is_measured_by_the_same_prompts_greedy_answer(void **state)
{
    outcome o = run((const char *const[]){ "algorithm=remax", "cut=keep", "kl=none" }, 3);
    json_t *s = read_lines(o.dir, "samples.jsonl"), *line;
    struct greedy g = { s, NULL, 0 };
    gram_generation how;
    gram_model *m;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    m = open_to_write(&how, 0);
    how.products = GRAM_PRODUCTS_TILES;
    assert_int_equal(json_array_size(s), 32);               /* two rollouts of four prompts */
    json_array_foreach(s, i, line) {
        const json_t *greedy = json_array_get(s, i / 4 * 4 + 3);
        gram_message turn = { "user", json_string_value(text_of(line, "prompt")) };
        assert_true(of(greedy, "sample") == -1);
        assert_true(says(line, "prompt_id", json_string_value(text_of(greedy, "prompt_id"))));
        if (line != greedy)
            assert_true(of(line, "advantage") == of(line, "reward") - of(greedy, "reward"));
        g.id = json_string_value(text_of(line, "prompt_id"));
        if (line == greedy && i < 16)
            CHECK_OK(gram_generate(m, &(gram_prompt){ .turn = &turn, .n = 1 }, 1, &how, on_greedy, &g, &check_err));
    }
    assert_int_equal(g.found, 4);
    gram_close(m);
    json_decref(s), json_decref(o.lines);
}

/* A prompt of `gram generate` and of a policy's run is one text: the draws of an answer that generate makes with its
 * seed have the same log-probability. */
static int on_drawn(void *arg, const gram_answer *a)
{
    const json_t *line = arg;
    const json_t *each = text_of(line, "logprobs");
    double sum = 0;

    assert_int_equal(json_array_size(each), a->tokens);
    for (size_t t = 0; t < a->tokens; t++) {
        sum += a->tempered[t];
        assert_true(fabs(a->tempered[t] - json_number_value(json_array_get(each, t))) < 1e-5);
    }
    assert_string_equal(json_string_value(text_of(line, "completion")), a->text);
    assert_true(fabs(sum - of(line, "logp")) < 1e-4);
    return 0;
}

static void prompts_are_those_of_generate(void **state)
{
    outcome o = run((const char *const[]){ "temperature=0.8", "steps=1" }, 2);
    json_t *s = read_lines(o.dir, "samples.jsonl"), *line;
    gram_generation how;
    gram_model *m;
    size_t i;

    (void)state;
    CHECK_OK(o.rc);
    m = open_to_write(&how, 0.8);
    json_array_foreach(s, i, line) {
        gram_message turn = { "user", json_string_value(text_of(line, "prompt")) };
        how.seed = (uint64_t)json_integer_value(text_of(line, "seed"));
        CHECK_OK(gram_generate(m, &(gram_prompt){ .turn = &turn, .n = 1 }, 1, &how, on_drawn, line, &check_err));
    }
    gram_close(m);
    json_decref(s), json_decref(o.lines);
}

/* How far the first of two lists of a line's is above the second, summed; 0 of a list that is not there. */
static double above(const json_t *line, const char *key, const char *less)
{
    double sum = 0, n = of(line, "tokens");

    for (size_t t = 0; t < (size_t)n; t++)
        sum += json_number_value(json_array_get(text_of(line, key), t)) -
               json_number_value(json_array_get(text_of(line, less), t));
    assert_int_equal(json_array_size(text_of(line, key)), n);
    return sum;
}

/* The log-probabilities of a line's tokens sum up to what it says of the answer, as its weights and as the reference
 * have them; where there is no reference they are null, and left out where they were not wanted. */
static void samples_have_each_tokens_logprobs(void **state)
{
    outcome o = run((const char *const[]){ "kl=k3", "kl-in=loss", "cut=keep", "lr=0.05", "temperature=0.7" }, 5);
    json_t *s = read_lines(o.dir, "samples.jsonl"), *line;
    size_t i, apart = 0;

    (void)state;
    CHECK_OK(o.rc);
    json_array_foreach(s, i, line) {                        /* nine digits, of passes in two companies */
        double far = above(line, "logprobs", "ref_logprobs");
        assert_true(fabs(above(line, "logprobs", "") - of(line, "logp")) < 1e-6 * (1 + fabs(of(line, "logp"))));
        assert_int_equal(json_array_size(text_of(line, "ref_logprobs")), of(line, "tokens"));
        if (!(fabs(far - of(line, "kl")) < 1e-4))
            fail_msg("answer %zu: %.9g, and kl is %.9g", i, far, of(line, "kl"));
        assert_true(of(line, "step") > 1 || fabs(far) < 1e-4);
        apart += fabs(far) > 1e-2;
    }
    assert_true(apart > 0);
    json_decref(s), json_decref(o.lines);
    o = run((const char *const[]){ "algorithm=remax", "kl=none" }, 2);
    s = read_lines(o.dir, "samples.jsonl");
    json_array_foreach(s, i, line)
        assert_true(json_is_null(text_of(line, "ref_logprobs")) && json_is_array(text_of(line, "logprobs")));
    json_decref(s), json_decref(o.lines);
    o = run((const char *const[]){ "no-logprobs=true", "steps=1" }, 2);
    s = read_lines(o.dir, "samples.jsonl");
    assert_true(json_array_size(s) && !text_of(json_array_get(s, 0), "logprobs"));
    json_decref(s), json_decref(o.lines);
}

static size_t cut_said;

static void on_note(void *arg, const char *text)
{
    (void)arg;
    cut_said += strstr(text, "ran into `max-new-tokens`, 2:") != NULL;
}

static void many_cut_answers_are_said(void **state)
{
    outcome o;

    (void)state;
    noted = on_note;
    o = run((const char *const[]){ "max-new-tokens=2", "cut=keep" }, 2);
    noted = NULL;
    CHECK_OK(o.rc);
    assert_int_equal(cut_said, 1);                          /* once, in two rollouts */
    json_decref(o.lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_the_text_and_its_end), cmocka_unit_test(masked_answers_are_in_no_denominator),
        cmocka_unit_test(numbers_do_not_see_the_cut), cmocka_unit_test(each_rollout_is_of_its_own_weights),
        cmocka_unit_test(the_reference_is_the_start_with_its_adapter),
        cmocka_unit_test(remax_is_measured_by_the_same_prompts_greedy_answer),
        cmocka_unit_test(prompts_are_those_of_generate), cmocka_unit_test(many_cut_answers_are_said),
        cmocka_unit_test(samples_have_each_tokens_logprobs)
    };

    return cmocka_run_group_tests(tests, write_prompts, free_prompts);
}
