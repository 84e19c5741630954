/* reader.c - the thread that reads large bodies and writes large answers, so that the one that answers everybody does
 * not. One request after the other, in the order they came. */
#include "base/err.h"
#include "serve/serve_int.h"

static gr_req *next(gr_reader *t)
{
    gr_req *r;

    pthread_mutex_lock(&t->lock);
    while (!t->first && !t->stopped)
        pthread_cond_wait(&t->more, &t->lock);
    r = t->first;
    if (r) {
        t->first = r->next_read;
        t->last = t->first ? t->last : NULL;
    }
    pthread_mutex_unlock(&t->lock);
    return r;
}

static void *run(void *arg)
{
    gr_reader *t = arg;
    gr_req *r;

    while ((r = next(t)))
        t->work(r);
    return NULL;
}

gram_status gr_reader_start(gr_reader *t, void (*work)(gr_req *r), gram_err *err)
{
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->more, NULL);
    t->work = work;
    if (pthread_create(&t->thread, NULL, run, t))
        return gr_fail(err, GRAM_ENOMEM, "no thread to read large requests");
    t->running = true;
    return GRAM_OK;
}

bool gr_reader_add(gr_reader *t, gr_req *r)
{
    bool ok;

    pthread_mutex_lock(&t->lock);
    ok = t->running && !t->stopped;
    if (ok) {
        r->next_read = NULL;
        *(t->last ? &t->last->next_read : &t->first) = r;
        t->last = r;
        pthread_cond_signal(&t->more);
    }
    pthread_mutex_unlock(&t->lock);
    return ok;
}

void gr_reader_stop(gr_reader *t)
{
    if (!t->running)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopped = true;
    pthread_cond_signal(&t->more);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
}
