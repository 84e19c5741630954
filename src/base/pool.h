/* pool.h - a fixed set of threads that share out numbered tasks.
 *
 * Which thread runs which task is left to chance, so a task may write only what no other task of the
 * same call reads or writes; results then cannot depend on the number of threads. */
#ifndef GR_BASE_POOL_H
#define GR_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include "gram/error.h"

typedef struct gr_pool gr_pool;
typedef void gr_task_fn(void *arg, size_t task, size_t worker);    /* worker < gr_pool_size(): for scratch */

/* threads 0: gr_cores(). The caller is worker 0. */
gram_status gr_pool_open(gr_pool **out, size_t threads, gram_err *err);
void gr_pool_close(gr_pool *p);                                    /* NULL is fine */
size_t gr_pool_size(const gr_pool *p);
/* Runs fn for task 0..n-1 and returns when all are done. One call at a time. */
void gr_pool_run(gr_pool *p, gr_task_fn *fn, void *arg, size_t n);
/* The same from task `first` on, until stop() says so, which the caller's thread asks before each task that it takes;
 * returns the first task that was not run, with all before it done. */
typedef bool gr_stop_fn(void *arg);
size_t gr_pool_some(gr_pool *p, gr_task_fn *fn, void *arg, size_t first, size_t n, gr_stop_fn *stop, void *stop_arg);

/* Lends a worker, which is not the caller's thread: the first that would take a task next runs fn instead, and until it
 * is back this call and those that follow go on without it. For stop() alone to call, where nobody is lent and there
 * are two workers at least. */
typedef void gr_lent_fn(void *arg, size_t worker);
void gr_pool_lend(gr_pool *p, gr_lent_fn *fn, void *arg);
bool gr_pool_has_lent(const gr_pool *p);        /* and the worker is not back */
/* Returns when it is back; between two calls. What no worker has begun is not begun any more. */
void gr_pool_recall(gr_pool *p);

#endif
