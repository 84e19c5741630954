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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_runs_once), cmocka_unit_test(many_rounds_lose_nothing),
        cmocka_unit_test(a_run_that_is_stopped_goes_on),
        cmocka_unit_test(default_is_a_thread_for_each_core),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
