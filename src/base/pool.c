/* pool.c - see pool.h. */
#include <immintrin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/pool.h"

/* Calls often follow each other within microseconds, and to sleep and be woken takes as long: a pass of one row of a
 * small model is hundreds of them. So who waits looks so often, 20 to 40 microseconds, before it sleeps. */
enum { LOOKS = 1000 };

struct gr_pool {
    size_t size;                    /* workers, the caller included */
    pthread_t *thread;              /* size - 1 of them, of which `started` run */
    size_t started;
    pthread_mutex_t lock;
    pthread_cond_t work, done, back;
    gr_task_fn *fn;
    void *arg;
    size_t n;                       /* tasks in all */
    atomic_size_t next;             /* to hand out; n or more: none */
    gr_stop_fn *stop;               /* asked by worker 0; where it says so n becomes what has been handed out */
    void *stop_arg;
    atomic_size_t running;          /* workers still inside; grows with the lock held */
    bool called;                    /* a call is going on; changes with the lock held, as the next three do */
    atomic_bool asleep;             /* the caller, until running is 0 */
    gr_lent_fn *lent;               /* waits for a worker that runs it; NULL: none does */
    void *lent_arg;
    bool away;                      /* a worker is */
    atomic_bool out;                /* either of the two, for who does not hold the lock */
    atomic_ulong round;             /* counts calls, so that a sleeper knows a new one */
    atomic_bool quit;
};

struct start { gr_pool *pool; size_t worker; };

/* A worker is no longer inside. The lock is not held: the caller, which looks for it, wants it at once. */
static void leave(gr_pool *p)
{
    if (atomic_fetch_sub(&p->running, 1) > 1 || !p->asleep)
        return;
    pthread_mutex_lock(&p->lock);
    pthread_cond_signal(&p->done);
    pthread_mutex_unlock(&p->lock);
}

/* The worker leaves the call that it is in, and joins the one that goes on when it is back, of round *seen; false where
 * none does. */
static bool go_away(gr_pool *p, size_t worker, unsigned long *seen)
{
    gr_lent_fn *fn = p->lent;

    p->lent = NULL;
    p->away = true;
    pthread_mutex_unlock(&p->lock);
    leave(p);
    fn(p->lent_arg, worker);
    pthread_mutex_lock(&p->lock);
    p->away = false;
    p->out = false;
    pthread_cond_signal(&p->back);
    p->running += p->called;
    *seen = p->round;
    return p->called;
}

/* Takes tasks until none is left; called and left with the lock held. Where nothing can come between two tasks they are
 * taken without it: a pass of one row has hundreds of calls whose tasks take a microsecond or two. Returns whether the
 * worker is inside. */
static bool drain(gr_pool *p, size_t worker, unsigned long *seen)
{
    for (;;) {
        size_t task;
        if (worker > 0 && p->lent && !go_away(p, worker, seen))
            return false;
        if (!p->stop && !p->lent) {
            const size_t n = p->n;
            pthread_mutex_unlock(&p->lock);
            while ((task = atomic_fetch_add(&p->next, 1)) < n)
                p->fn(p->arg, task, worker);
            pthread_mutex_lock(&p->lock);
            return true;
        }
        if (p->next >= p->n)
            return true;
        if (worker == 0 && p->stop && p->stop(p->stop_arg)) {
            p->n = p->next;
            return true;
        }
        task = p->next++;
        pthread_mutex_unlock(&p->lock);
        p->fn(p->arg, task, worker);
        pthread_mutex_lock(&p->lock);
    }
}

/* A call, or the end, has come. */
static void await_round(gr_pool *p, unsigned long seen)
{
    for (int i = 0; i < LOOKS && !p->quit && p->round == seen; i++)
        _mm_pause();
}

static void await_workers(gr_pool *p)
{
    for (int i = 0; i < LOOKS && p->running > 0; i++)
        _mm_pause();
}

static void *worker_main(void *arg)
{
    struct start s = *(struct start *)arg;
    unsigned long seen = 0;
    bool inside;

    free(arg);
    pthread_mutex_lock(&s.pool->lock);
    for (;;) {
        while (!s.pool->quit && s.pool->round == seen)
            pthread_cond_wait(&s.pool->work, &s.pool->lock);
        if (s.pool->quit)
            break;
        seen = s.pool->round;
        inside = drain(s.pool, s.worker, &seen);
        pthread_mutex_unlock(&s.pool->lock);
        if (inside)
            leave(s.pool);
        await_round(s.pool, seen);
        pthread_mutex_lock(&s.pool->lock);
    }
    pthread_mutex_unlock(&s.pool->lock);
    return NULL;
}

/* It is held for some nanoseconds, so who finds it taken looks again before it sleeps. */
static void open_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t kind;

    pthread_mutexattr_init(&kind);
    pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
    pthread_mutex_init(lock, &kind);
    pthread_mutexattr_destroy(&kind);
}

gram_status gr_pool_open(gr_pool **out, size_t threads, gram_err *err)
{
    gr_pool *p = gr_calloc(1, sizeof *p);

    *out = NULL;
    if (!p)
        return gr_nomem(err, "thread pool");
    if (threads == 0)
        threads = gr_cores();
    p->size = threads;
    open_lock(&p->lock);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    pthread_cond_init(&p->back, NULL);
    p->thread = gr_calloc(threads, sizeof *p->thread);
    if (!p->thread) {
        gr_pool_close(p);
        return gr_nomem(err, "thread pool");
    }
    for (size_t i = 1; i < threads; i++) {
        struct start *s = malloc(sizeof *s);
        if (!s) {
            gr_pool_close(p);
            return gr_nomem(err, "thread pool");
        }
        *s = (struct start){ p, i };
        if (pthread_create(&p->thread[i - 1], NULL, worker_main, s)) {
            free(s);
            gr_pool_close(p);
            return gr_fail(err, GRAM_ENOMEM, "thread pool: thread %zu of %zu did not start", i + 1, threads);
        }
        p->started++;
    }
    *out = p;
    return GRAM_OK;
}

void gr_pool_close(gr_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->quit = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < p->started; i++)
        pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pthread_cond_destroy(&p->back);
    pthread_mutex_destroy(&p->lock);
    free(p->thread);
    free(p);
}

size_t gr_pool_size(const gr_pool *p)
{
    return p->size;
}

void gr_pool_run(gr_pool *p, gr_task_fn *fn, void *arg, size_t n)
{
    gr_pool_some(p, fn, arg, 0, n, NULL, NULL);
}

size_t gr_pool_some(gr_pool *p, gr_task_fn *fn, void *arg, size_t first, size_t n, gr_stop_fn *stop, void *stop_arg)
{
    if (first >= n)
        return n;
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->stop = stop;
    p->stop_arg = stop_arg;
    p->n = n;
    p->next = first;
    p->running = p->started - p->away;
    p->called = true;
    p->round++;
    if (p->started)
        pthread_cond_broadcast(&p->work);
    drain(p, 0, NULL);
    pthread_mutex_unlock(&p->lock);
    await_workers(p);
    pthread_mutex_lock(&p->lock);
    p->asleep = true;
    while (p->running > 0)
        pthread_cond_wait(&p->done, &p->lock);
    p->asleep = false;
    p->called = false;
    n = p->n;
    pthread_mutex_unlock(&p->lock);
    return n;
}

void gr_pool_lend(gr_pool *p, gr_lent_fn *fn, void *arg)
{
    p->lent = fn;                   /* stop() is asked with the lock held */
    p->lent_arg = arg;
    p->out = true;
}

bool gr_pool_has_lent(const gr_pool *p)
{
    return p->out;
}

void gr_pool_recall(gr_pool *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->lent) {
        p->lent = NULL;
        p->out = false;
    }
    while (p->away)
        pthread_cond_wait(&p->back, &p->lock);
    pthread_mutex_unlock(&p->lock);
}
