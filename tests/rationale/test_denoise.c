/* test_denoise.c - the rules that a voted label must obey, each on a vote that breaks it and nothing else. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "rationale/denoise.h"
#include "rationale/reason.h"

enum { VOTES = 4 };
static const char *const label[] = { "A", "B" };
static gram_denoise_options rules;

/* A vote for a that breaks nothing: even rationales read a first. */
typedef struct { gram_rationale r[VOTES]; gram_reasoned v; } vote;

static void set_up(vote *t, const char *forward, const char *swapped)
{
    memset(t, 0, sizeof *t);
    for (size_t j = 0; j < VOTES; j++)
        t->r[j] = (gram_rationale){ .text = (char *)(uintptr_t)(j % 2 ? swapped : forward), .swapped = j % 2, .p = 0.9,
                                    .tokens = 30 };
    t->v.rationale = t->r;
    t->v.n = VOTES;
}

static gr_denoised ask(vote *t)
{
    gr_denoised d;

    t->v = (gram_reasoned){ .rationale = t->r, .n = t->v.n };
    gr_reason_vote(&t->v, false);
    CHECK_OK(gr_denoise(&t->v, label, &rules, &d, &check_err));
    return d;
}

static const char good[] = "Response A says more than Response B. Response A is better.";
static const char turned[] = "Response B says more than Response A. Response B is better.";

static void sound_votes_break_nothing(void **state)
{
    vote t;
    gr_denoised d;
    (void)state;

    set_up(&t, good, turned);
    d = ask(&t);
    assert_int_equal(d.broke, 0);
    assert_int_equal(d.winner, 0);
    assert_true(d.share == 1 && fabs(d.p[0] - 0.9) < 1e-12 && fabs(d.p[1] - 0.9) < 1e-12);
    assert_int_equal(gr_denoise_first(d.broke), GRAM_RULES);
    set_up(&t, turned, good);                           /* and the same for b */
    for (size_t j = 0; j < VOTES; j++)
        t.r[j].p = 0.1;
    d = ask(&t);
    assert_int_equal(d.broke, 0);
    assert_int_equal(d.winner, 1);
    assert_true(d.share == 1 && fabs(d.p[0] - 0.9) < 1e-12);
}

static void votes_break_one_rule(void **state)
{
    vote t;
    (void)state;

    set_up(&t, good, turned);                           /* three of four: 0.75 stands, 0.7499 would not */
    t.r[0].p = 0.45;
    rules.probability = 0.5;
    assert_int_equal(ask(&t).broke, 0);
    rules.share = 0.76;
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_SHARE);
    rules.share = 0.75;
    rules.probability = 0.75;
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_PROBABILITY);
    set_up(&t, good, turned);
    for (size_t j = 0; j < VOTES; j++)
        t.r[j].p = j % 2 ? 0.99 : 0.74;                 /* one order alone is not enough */
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_PROBABILITY);
    set_up(&t, good, turned);
    for (size_t j = 0; j < VOTES; j++)
        t.r[j].p = 0.5;
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_JUDGED);
    assert_int_equal(ask(&t).winner, -1);
    t.v = (gram_reasoned){ .n = 0 };                    /* both answers are one text, or too long */
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_JUDGED);
}

/* The least and the most that a rule allows are allowed. */
static void limits_are_allowed(void **state)
{
    static const char four[] = "Response A and Response B. one two three four five six seven eight one two three four "
        "five six seven eight one two three four five six seven eight one two three four five six seven eight";
    static const size_t tokens[] = { 20, 512 };
    vote t;
    size_t most;
    (void)state;

    for (size_t i = 0; i < GR_COUNT(tokens); i++) {
        set_up(&t, good, turned);
        for (size_t j = 0; j < VOTES; j++)
            t.r[j].tokens = tokens[i];
        assert_int_equal(ask(&t).broke, 0);
    }
    CHECK_OK(gr_repeats((gr_str){ four, strlen(four) }, &most, &check_err));
    assert_int_equal(most, rules.repeats);
    set_up(&t, four, four);
    assert_int_equal(ask(&t).broke, 0);
}

/* Each rule on the text: broken by three of four it drops the pair, by two it does not, and not asked it never does. */
static void texts_break_one_rule(void **state)
{
    static const struct { gram_rule rule; const char *forward, *swapped; size_t tokens; bool forced, contradicts;
                          bool *asked; } row[] = {
        { GRAM_RULE_CLOSED, good, turned, 30, true, false, &rules.closed },
        { GRAM_RULE_LENGTH, good, turned, 19, false, false, NULL },
        { GRAM_RULE_LENGTH, good, turned, 513, false, false, NULL },
        { GRAM_RULE_AGREES, good, turned, 30, false, true, &rules.agrees },
        { GRAM_RULE_BOTH, "Response A is the better one.", "Response B is the better one.", 30, false, false,
          &rules.both },
        { GRAM_RULE_REPEATS, "Response A and Response B. one two three four five six seven eight one two three four "
          "five six seven eight one two three four five six seven eight one two three four five six seven eight one "
          "two three four five six seven eight", "Response B and Response A. one two three four five six seven eight "
          "one two three four five six seven eight one two three four five six seven eight one two three four five six "
          "seven eight one two three four five six seven eight", 30, false, false, NULL },
    };
    (void)state;

    for (size_t i = 0; i < GR_COUNT(row); i++)
        for (size_t broken = 2; broken <= 3; broken++) {
            vote t;
            set_up(&t, good, turned);
            for (size_t j = 0; j < broken; j++) {
                t.r[j].text = (char *)(uintptr_t)(j % 2 ? row[i].swapped : row[i].forward);
                t.r[j].tokens = row[i].tokens;
                t.r[j].status = row[i].forced ? GRAM_RATIONALE_FORCED : GRAM_RATIONALE_CLOSED;
                t.r[j].contradicts = row[i].contradicts;
            }
            assert_int_equal(ask(&t).broke, broken == 3 ? 1u << row[i].rule : 0);
            if (row[i].asked) {
                *row[i].asked = false;
                assert_int_equal(ask(&t).broke, 0);
                *row[i].asked = true;
            }
        }
}

/* The winner sits in the second seat where b is read first. */
static void the_winner_is_named(void **state)
{
    vote t;
    (void)state;

    set_up(&t, "Response B is worse.", "Response A is worse.");
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_LABEL | 1u << GRAM_RULE_BOTH);
    rules.both = false;
    assert_int_equal(ask(&t).broke, 1u << GRAM_RULE_LABEL);
    set_up(&t, "Response A is better.", "Response B is better.");
    assert_int_equal(ask(&t).broke, 0);
    rules.both = true;
}

static void check_repeats(const char *text, size_t want)
{
    size_t most;

    CHECK_OK(gr_repeats((gr_str){ text, strlen(text) }, &most, &check_err));
    assert_int_equal(most, want);
}

static void repeats_are_counted(void **state)
{
    (void)state;
    check_repeats("", 0);
    check_repeats("one two three four five six seven", 0);
    check_repeats("one two three four five six seven eight", 1);
    check_repeats("a b c d e f g h  a b\nc d e f g\th", 2);
    check_repeats("a a a a a a a a a a a", 4);
    check_repeats("\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd\xe5\xa5\xbd"
                  "\xe5\xa5\xbd", 2);                   /* nine characters without white space are nine words */
    check_repeats("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0);
}

static int set_rules(void **state)
{
    (void)state;
    gram_denoise_options_init(&rules);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sound_votes_break_nothing, set_rules),
        cmocka_unit_test_setup(votes_break_one_rule, set_rules),
        cmocka_unit_test_setup(limits_are_allowed, set_rules),
        cmocka_unit_test_setup(texts_break_one_rule, set_rules),
        cmocka_unit_test_setup(the_winner_is_named, set_rules), cmocka_unit_test(repeats_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
