/* conn.c - connections, and how long each may take to say something whole.
 *
 * libmicrohttpd's own limit is for silence and begins anew with every byte, so that a byte a second holds a place for
 * ever. Here the time counts to when the headers must be here, and from them to when the body must be. */
#include <stdlib.h>
#include <sys/socket.h>
#include "serve/serve_int.h"

struct gr_conn {
    int fd;
    bool crowded;
    double deadline;                /* 0: it waits for us */
    gr_conn *prev, *next;
};

void gr_conns_open(gr_conns *c)
{
    pthread_mutex_init(&c->lock, NULL);
}

void gr_conns_close(gr_conns *c)
{
    pthread_mutex_destroy(&c->lock);
}

gr_conn *gr_conn_new(gr_conns *c, int fd, bool crowded, double deadline)
{
    gr_conn *k = calloc(1, sizeof *k);

    if (!k)
        return NULL;
    *k = (gr_conn){ .fd = fd, .crowded = crowded, .deadline = deadline };
    pthread_mutex_lock(&c->lock);
    k->next = c->first;
    if (c->first)
        c->first->prev = k;
    c->first = k;
    pthread_mutex_unlock(&c->lock);
    return k;
}

void gr_conn_free(gr_conns *c, gr_conn *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&c->lock);
    *(k->prev ? &k->prev->next : &c->first) = k->next;
    if (k->next)
        k->next->prev = k->prev;
    pthread_mutex_unlock(&c->lock);
    free(k);
}

bool gr_conn_is_crowded(const gr_conn *k)
{
    return !k || k->crowded;                /* where there was no memory for it, it is one too many */
}

void gr_conn_until(gr_conns *c, gr_conn *k, double deadline)
{
    if (!k)
        return;
    pthread_mutex_lock(&c->lock);
    k->deadline = deadline;
    pthread_mutex_unlock(&c->lock);
}

void gr_conns_expire(gr_conns *c)
{
    double now = gr_now();

    pthread_mutex_lock(&c->lock);
    for (gr_conn *k = c->first; k; k = k->next)
        if (k->deadline > 0 && k->deadline < now) {
            k->deadline = 0;
            shutdown(k->fd, SHUT_RDWR);     /* open as long as it is listed; libmicrohttpd then closes it */
        }
    pthread_mutex_unlock(&c->lock);
}
