/* test_pace.c - how often texts have their tokens beside scoring, and by how many threads; on a clock that is made
 * up. */
#include <math.h>
#include "check.h"
#include "serve/pace.h"

struct made { double period; size_t beside, all; };

/* So many rounds, one as soon as the one before allows it, where all threads take `all` seconds and one takes `one`. */
static struct made make(gr_pace *p, size_t rounds, double all, double one)
{
    struct made m = { 0 };
    double now = p->due, first = now;

    for (size_t i = 0; i < rounds; i++) {
        double begin;
        bool beside;
        while (!gr_pace_is_due(p, now))
            now += 1e-4;
        begin = now;
        beside = gr_pace_choose(p);
        gr_pace_begin(p, now);
        now += beside ? one : all;
        gr_pace_end(p, begin, now);
        m.beside += beside;
        m.all += !beside;
    }
    m.period = (p->due - first) / (double)rounds;
    return m;
}

static void a_token_takes_as_long_as_was_said(void **state)
{
    gr_pace p = { .share = 0.4 };
    struct made m;

    (void)state;
    make(&p, 2, 0.100, 0.120);                  /* a prompt */
    m = make(&p, 300, 0.020, 0.022);            /* memory alone: one thread does nearly as well */
    assert_true(m.beside > 260 && m.all >= 5);
    assert_true(fabs(m.period - 0.050) < 0.007);
    m = make(&p, 300, 0.060, 0.066);            /* more texts */
    assert_true(m.beside > 260);
    assert_true(fabs(m.period - 0.150) < 0.021);
    m = make(&p, 600, 0.020, 0.040);            /* arithmetic: two threads, and still soon enough */
    assert_true(m.beside > 500);
    m = make(&p, 300, 0.020, 0.040);
    assert_true(fabs(m.period - 0.050) < 0.007);
    m = make(&p, 600, 0.020, 0.080);            /* of four: too late by one of them */
    assert_true(m.all > 400 && m.beside >= 6);
    assert_true(fabs(m.period - 0.050) < 0.014);
}

/* Where nobody asks, as with one thread, all make every round. */
static void one_thread_has_no_choice(void **state)
{
    gr_pace p = { .share = 0.5 };

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        double begin = p.due;
        assert_true(gr_pace_is_due(&p, begin));
        gr_pace_end(&p, begin, begin + 1);
        assert_true(fabs(p.due - begin - 2) < 1e-9);
    }
    assert_int_equal(p.compared, 0);
}

/* Rounds of 20 ms with 20 ms between them, each begun so long after it was due. */
static void come_late(gr_pace *p, double late)
{
    for (size_t i = 0; i < 200; i++) {
        double now = p->due + late;
        gr_pace_begin(p, now);
        gr_pace_end(p, now, now + 0.020);
    }
}

/* The pieces of a batch are not cut, so that a round begins later than it was due: it is asked for sooner, but not at
 * once; and no longer, where that was too soon. */
static void what_comes_late_is_asked_for_sooner(void **state)
{
    gr_pace p = { .share = 0.5 };

    (void)state;
    come_late(&p, 0.010);
    assert_true(gr_pace_is_due(&p, p.due - 0.015) && !gr_pace_is_due(&p, p.due - 0.017));
    come_late(&p, -0.015);
    assert_true(gr_pace_is_due(&p, p.due) && !gr_pace_is_due(&p, p.due - 0.001));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_takes_as_long_as_was_said),
        cmocka_unit_test(one_thread_has_no_choice),
        cmocka_unit_test(what_comes_late_is_asked_for_sooner),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
