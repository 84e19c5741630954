/* test_pool.c - every task runs once, on a worker that exists, whatever the threads and the number of rounds. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "base/pool.h"
#include "check.h"

enum { TASKS = 97 };

struct tally { atomic_int ran[TASKS]; atomic_int bad_worker; size_t workers; };

static void count(void *arg, size_t task, size_t worker)
{
    struct tally *t = arg;

    atomic_fetch_add(&t->ran[task], 1);
    if (worker >= t->workers)
        atomic_fetch_add(&t->bad_worker, 1);
}

static void each_task_runs_once(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 5; threads++) {
        gr_pool *p;
        CHECK_OK(gr_pool_open(&p, threads, &check_err));
        assert_int_equal(gr_pool_size(p), threads);
        for (size_t n = 0; n <= TASKS; n += n < 8 ? 1 : 89) {
            struct tally t = { .workers = threads };
            gr_pool_run(p, count, &t, n);
            for (size_t i = 0; i < TASKS; i++)
                assert_int_equal(t.ran[i], i < n);
            assert_int_equal(t.bad_worker, 0);
        }
        gr_pool_close(p);
    }
}

static void add_one(void *arg, size_t task, size_t worker)
{
    (void)worker;
    ((uint32_t *)arg)[task]++;          /* no lock: the end of one round comes before the next */
}

/* A worker that sleeps through a round, or wakes late into the next, would lose or repeat a task. */
static void many_rounds_lose_nothing(void **state)
{
    uint32_t sum[7] = { 0 };
    gr_pool *p;

    (void)state;
    CHECK_OK(gr_pool_open(&p, 4, &check_err));
    for (uint32_t round = 1; round <= 5000; round++) {
        gr_pool_run(p, add_one, sum, 7);
        for (size_t i = 0; i < 7; i++)
            assert_int_equal(sum[i], round);
    }
    gr_pool_close(p);
}

static void default_is_a_thread_for_each_core(void **state)
{
    gr_pool *p;

    (void)state;
    CHECK_OK(gr_pool_open(&p, 0, &check_err));
    assert_true(gr_pool_size(p) >= 1);
    gr_pool_close(p);
    gr_pool_close(NULL);
}

struct stopper { size_t asked, every; };

static bool stop_now(void *arg)
{
    struct stopper *s = arg;

    return ++s->asked % s->every == 0;
}

/* However often it is stopped, every task runs once, and those before the place where it stopped have run. */
static void a_run_that_is_stopped_goes_on(void **state)
{
    (void)state;
    for (size_t threads = 1; threads <= 4; threads++) {
        gr_pool *p;
        CHECK_OK(gr_pool_open(&p, threads, &check_err));
        for (size_t every = 2; every <= 30; every += 7) {
            struct tally t = { .workers = threads };
            struct stopper s = { 0, every };
            size_t stops = 0, next = 0;
            while (next < TASKS) {
                size_t from = next;
                next = gr_pool_some(p, count, &t, from, TASKS, stop_now, &s);
                assert_true(next >= from && next <= TASKS);
                for (size_t i = 0; i < TASKS; i++)
                    assert_int_equal(t.ran[i], i < next);
                stops += next < TASKS;
            }
            assert_true(threads > 1 || stops > 2);          /* others may do it all before worker 0 is asked */
            assert_int_equal(t.bad_worker, 0);
        }
        gr_pool_close(p);
    }
}

struct lender { gr_pool *p; size_t asked, every, lent; atomic_int began, ended, worker; };

static void away(void *arg, size_t worker)
{
    struct lender *l = arg;

    atomic_fetch_add(&l->began, 1);
    atomic_store(&l->worker, (int)worker);
    for (volatile int i = 0; i < 20000; i++)        /* as long as a round or two of the others */
        ;
    atomic_fetch_add(&l->ended, 1);
}

static bool lend_some(void *arg)
{
    struct lender *l = arg;

    if (!gr_pool_has_lent(l->p) && ++l->asked % l->every == 0) {
        assert_int_equal(l->began, l->ended);
        gr_pool_lend(l->p, away, l);
        l->lent++;
    }
    return false;
}

/* While a worker is away the others do all of a call, and of those that follow; when it is back it takes tasks
 * again. */
static void a_worker_is_lent(void **state)
{
    (void)state;
    for (size_t threads = 2; threads <= 4; threads++) {
        struct lender l = { .every = 3 };
        int began;
        CHECK_OK(gr_pool_open(&l.p, threads, &check_err));
        for (size_t round = 0; round < 200; round++) {
            struct tally t = { .workers = threads };
            assert_int_equal(gr_pool_some(l.p, count, &t, 0, TASKS, lend_some, &l), TASKS);
            for (size_t i = 0; i < TASKS; i++)
                assert_int_equal(t.ran[i], 1);
            assert_int_equal(t.bad_worker, 0);
            if (round % 5 == 0) {
                gr_pool_recall(l.p);
                assert_false(gr_pool_has_lent(l.p));
                began = l.began;
                assert_int_equal(l.ended, began);
                gr_pool_run(l.p, count, &t, TASKS);
                assert_int_equal(l.began, began);               /* what was not begun is not begun any more */
            }
        }
        gr_pool_recall(l.p);
        assert_true(l.began > 0 && l.began == l.ended && (size_t)l.began <= l.lent);
        assert_true(l.worker > 0 && (size_t)l.worker < threads);
        gr_pool_close(l.p);
    }
}

static void be_away(void *arg, size_t worker)
{
    struct lender *l = arg;
    volatile size_t spins = (size_t)atomic_fetch_add(&l->began, 1) * 37 % 1000;

    (void)worker;
    while (spins > 0)
        spins--;
    atomic_fetch_add(&l->ended, 1);
}

static bool lend_always(void *arg)
{
    struct lender *l = arg;

    if (!gr_pool_has_lent(l->p))
        gr_pool_lend(l->p, be_away, l);
    return false;
}

/* It may be back within the call that lent it, within one whose tasks are taken without the lock, or between two. */
static void a_worker_comes_back_at_any_time(void **state)
{
    (void)state;
    for (size_t threads = 2; threads <= 4; threads++) {
        uint32_t some[5] = { 0 }, sum[7] = { 0 };
        struct lender l = { 0 };
        CHECK_OK(gr_pool_open(&l.p, threads, &check_err));
        for (uint32_t round = 1; round <= 4000; round++) {
            assert_int_equal(gr_pool_some(l.p, add_one, some, 0, 5, lend_always, &l), 5);
            for (volatile uint32_t i = 0; i < 20000 && round % 3 == 0 && gr_pool_has_lent(l.p); i++)
                ;
            for (size_t i = 0; i < 5; i++)
                assert_int_equal(some[i], round);
            gr_pool_run(l.p, add_one, sum, 7);
            for (size_t i = 0; i < 7; i++)
                assert_int_equal(sum[i], round);
        }
        gr_pool_recall(l.p);
        assert_true(l.began > 0 && l.began == l.ended);
        gr_pool_close(l.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once), cmocka_unit_test(many_rounds_lose_nothing),
        cmocka_unit_test(a_run_that_is_stopped_goes_on),
        cmocka_unit_test(a_worker_is_lent), cmocka_unit_test(a_worker_comes_back_at_any_time),
        cmocka_unit_test(default_is_a_thread_for_each_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
