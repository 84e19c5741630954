/* test_scale.c - a judge that gives one answer a number from a range: its reward against the definition, each number's
 * tokens forced through the model one by one, and what it does not go together with. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "gram/judge.h"

#define MODEL "tests/golden/train/judge"

static const gram_message question = { "user", "How many?" };
static const gram_prompt ask = { &question, 1, NULL };
static const char *const answer[] = { "Ten.", "About ten, I should say, or 7/10.", "Ten.", "" };
enum { ANSWERS = 4 };

static gram_model *open(const char *range)
{
    gram_model *m;

    CHECK_OK(gram_open(&m, MODEL, &(gram_options){ .pointwise = true, .scale = range }, &check_err));
    return m;
}

/* log p of the tokens behind the first `asked`, from the logits of the whole text, in double. */
static double forced(gram_model *m, const int32_t *id, size_t n, size_t asked)
{
    size_t V = gram_vocabulary(m);
    float *z = malloc(n * V * sizeof *z);
    double logp = 0;

    assert_non_null(z);
    CHECK_OK(gram_logits(m, id, n, z, &check_err));
    for (size_t t = asked; t < n; t++) {
        const float *at = z + (t - 1) * V;
        double top = -INFINITY, sum = 0;
        for (size_t v = 0; v < V; v++)
            top = fmax(top, at[v]);
        for (size_t v = 0; v < V; v++)
            sum += exp(at[v] - top);
        logp += at[id[t]] - top - log(sum);
    }
    free(z);
    return logp;
}

/* P of each number low .. high: the prompt, the number's text, and the token that ends a turn. */
static gram_reward by_hand(gram_model *m, const char *text, int low, int high)
{
    const gram_pair pair = { ask, text, "" };
    gram_reward r = { 0 };
    gram_tokenizer *t;
    int32_t *prompt, *end;
    size_t n, ends;

    CHECK_OK(gram_tokenizer_open(&t, MODEL, &check_err));
    CHECK_OK(gram_show_tokens(m, &pair, false, &prompt, &n, &check_err));
    CHECK_OK(gram_tokenize(t, "<|im_end|>", 10, true, &end, &ends, &check_err));
    assert_int_equal(ends, 1);
    for (int k = low; k <= high; k++) {
        char number[8];
        int32_t id[1024], *of;
        size_t digits;
        double p;
        snprintf(number, sizeof number, "%d", k);
        CHECK_OK(gram_tokenize(t, number, strlen(number), false, &of, &digits, &check_err));
        assert_true(digits == strlen(number) && n + digits < 1024);     /* this vocabulary has no "10" */
        memcpy(id, prompt, n * sizeof *id);
        memcpy(id + n, of, digits * sizeof *id);
        id[n + digits] = *end;
        p = exp(forced(m, id, n + digits + 1, n));
        r.mean += k * p;
        r.mass += p;
        free(of);
    }
    r.mean /= r.mass;
    r.tokens = n;
    free(prompt);
    free(end);
    gram_tokenizer_close(t);
    return r;
}

/* Sums of 32 and 259 float32 products against the same: the logits agree to some roundings of numbers about 1, and so
 * do log-probabilities of three tokens; the mean is of numbers up to 100. */
static void the_expected_number_is_that_of_forced_passes(void **state)
{
    static const struct { const char *range; int low, high; } scale[] = { { "0-10", 0, 10 }, { "1-5", 1, 5 },
                                                                         { "8-12", 8, 12 }, { "98-100", 98, 100 } };

    (void)state;
    for (size_t i = 0; i < sizeof scale / sizeof *scale; i++) {
        gram_model *m = open(scale[i].range);
        gram_reward r[ANSWERS], want, alone;
        CHECK_OK(gram_rewards(m, ask, answer, ANSWERS, r, &check_err));
        for (size_t k = 0; k < ANSWERS; k++) {
            want = by_hand(m, answer[k], scale[i].low, scale[i].high);
            assert_true(fabs(r[k].mean - want.mean) <= 1e-5 * scale[i].high);
            assert_true(fabs(r[k].mass - want.mass) <= 1e-5 * want.mass);
            assert_int_equal(r[k].tokens, want.tokens);
            CHECK_OK(gram_rewards(m, ask, &answer[k], 1, &alone, &check_err));
            assert_true(alone.mean == r[k].mean && alone.mass == r[k].mass);        /* the same bits in any batch */
        }
        assert_true(r[0].mean == r[2].mean && r[0].mean != r[1].mean);
        gram_close(m);
    }
}

/* Ten is neither left out nor a part of one: without it, and with it counted as one, the mean is another. */
static void ten_counts_as_ten(void **state)
{
    gram_model *m = open("0-10"), *nine = open("0-9");
    gram_reward r, without, ten;

    (void)state;
    CHECK_OK(gram_rewards(m, ask, answer, 1, &r, &check_err));
    CHECK_OK(gram_rewards(nine, ask, answer, 1, &without, &check_err));
    ten = by_hand(m, answer[0], 10, 10);
    assert_true(ten.mass > 0 && r.mean > 0 && r.mean < 10 && r.mass < 1);
    without = by_hand(m, answer[0], 0, 9);
    assert_true(fabs(r.mass - (without.mass + ten.mass)) <= 1e-5 * r.mass);
    assert_true(fabs(r.mean - (without.mean * without.mass + 10 * ten.mass) / (without.mass + ten.mass)) <= 1e-4);
    gram_close(m);
    gram_close(nine);
}

/* Pairs, groups and whatever else asks for rewards get these. */
static void it_is_a_judge_of_one_answer(void **state)
{
    gram_model *m = open("0-10");
    const gram_pair pair = { ask, answer[1], answer[0] };
    const gram_group g = { .prompt = ask, .response = answer, .n = ANSWERS };
    gram_reward r[ANSWERS];
    gram_verdict v;
    gram_ranking rank;
    gram_judge *j;
    gram_judged_group out;

    (void)state;
    CHECK_OK(gram_rewards(m, ask, answer, ANSWERS, r, &check_err));
    CHECK_OK(gram_score(m, &pair, 1, &v, &check_err));
    assert_true(v.rewarded && isnan(v.p_swapped) && v.reward[0].mean == r[1].mean && v.reward[1].mean == r[0].mean);
    assert_true(v.reward[0].mass == r[1].mass && fabs(v.preference - 1 / (1 + exp(r[0].mean - r[1].mean))) < 1e-12);
    CHECK_OK(gram_rank(m, ask, answer, ANSWERS, GRAM_RANK_TOURNAMENT, NULL, &rank, &check_err));
    assert_true(rank.passes == ANSWERS && rank.comparisons == 0 && rank.score[1] == r[1].mean);
    gram_ranking_clear(&rank);
    CHECK_OK(gram_judge_open(&j, MODEL, &(gram_judge_options){ .model = &(gram_options){ .pointwise = true,
                                                                                        .scale = "0-10" } },
                             &check_err));
    assert_true(gram_judge_across_prompts(j) && strstr(gram_judge_about(j), "a judge of one answer on the scale 0-10"));
    CHECK_OK(gram_judge_group(j, &g, &out, &check_err));
    assert_true(out.cost.passes == 3);                              /* of four answers, two of which are one text */
    for (size_t k = 0; k < ANSWERS; k++)
        assert_true(out.reward[k] == r[k].mean);
    gram_judged_group_clear(&out);
    gram_judge_close(j);
    gram_close(m);
}

static void what_is_no_scale_is_said(void **state)
{
    static const struct { gram_options o; const char *word; } wrong[] = {
        { { .pointwise = true, .scale = "10-0" }, "smaller one first" },
        { { .pointwise = true, .scale = "0-101" }, "0 to 100" },
        { { .pointwise = true, .scale = "3-3" }, "smaller one first" },
        { { .pointwise = true, .scale = "-1-3" }, "two whole numbers" },
        { { .pointwise = true, .scale = "1-3 " }, "two whole numbers" },
        { { .pointwise = true, .scale = "" }, "two whole numbers" },
        { { .scale = "0-10" }, "pointwise is not asked for" },
        { { .pointwise = true, .scale = "0-10", .label_a = "Yes", .label_b = "No" }, "others are given" },
        { { .pointwise = true, .scale = "0-10", .judge_prompt = "{input}" }, "no {response}" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gram_model *m;
        gram_status rc = gram_open(&m, MODEL, &wrong[i].o, &check_err);
        if (rc != GRAM_EARG || !strstr(check_err.text, wrong[i].word))
            fail_msg("%zu: %d, %s", i, rc, rc ? check_err.text : "opened");
    }
}

/* A prompt as long as the context leaves no room for a number behind it. */
static void the_number_needs_room(void **state)
{
    gram_model *m = open("0-10");
    const char *long_answer[1];
    char *text = malloc(4096);
    gram_reward r;
    size_t n;

    (void)state;
    assert_non_null(text);
    memset(text, 'x', 4095);
    text[0] = '\0';
    long_answer[0] = text;
    CHECK_OK(gram_rewards(m, ask, long_answer, 1, &r, &check_err));
    n = 2048 - 2 - r.tokens;                            /* "10" takes two tokens before the one that ends the turn */
    memset(text, 'x', n);
    text[n] = '\0';
    CHECK_OK(gram_rewards(m, ask, long_answer, 1, &r, &check_err));
    assert_int_equal(r.tokens, 2046);
    text[n] = 'x';
    text[n + 1] = '\0';
    assert_int_equal(gram_rewards(m, ask, long_answer, 1, &r, &check_err), GRAM_ELIMIT);
    free(text);
    gram_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_expected_number_is_that_of_forced_passes),
        cmocka_unit_test(ten_counts_as_ten),
        cmocka_unit_test(it_is_a_judge_of_one_answer),
        cmocka_unit_test(what_is_no_scale_is_said),
        cmocka_unit_test(the_number_needs_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
