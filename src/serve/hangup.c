/* hangup.c - notices clients that leave while their request waits, and requests and connections whose time is up.
 *
 * A FIN alone does not say that a client left: it may have closed its sending half and still read. So a client that
 * speaks HTTP/1.1 is sent "100 Continue", which every client skips; one that is gone answers with a reset, and the
 * reset is the sign. HTTP/1.0 knows no interim answers: there a FIN counts as leaving.
 *
 * A request is looked at from the first tick on that finds it waiting: most are answered before, and cost no system
 * call here. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "serve/serve_int.h"

static gr_req *find(const gr_watch *w, uint64_t seq)
{
    gr_req *r = w->first;

    while (r && r->seq != seq)
        r = r->next;
    return r;
}

static bool has_left(gr_req *r, unsigned events)
{
    static const char probe[] = "HTTP/1.1 100 Continue\r\n\r\n";

    if (events & (EPOLLHUP | EPOLLERR) || !r->http11)
        return true;
    if (r->probed)
        return false;
    r->probed = true;
    return send(r->fd, probe, sizeof probe - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof probe - 1;
}

enum { TICK_MS = 200 };

/* Lock held. The list begins with the newest, so after one that is looked at all are. */
static void look_at_new(gr_watch *w)
{
    for (gr_req *r = w->first; r && !r->looked_at; r = r->next) {
        struct epoll_event ev = { .events = EPOLLRDHUP | EPOLLET, .data.u64 = r->seq };
        r->looked_at = true;
        epoll_ctl(w->epoll, EPOLL_CTL_ADD, r->fd, &ev);     /* at worst, a client's leaving goes unnoticed */
    }
}

static void *watch(void *arg)
{
    gr_watch *w = arg;
    struct epoll_event ev[64];
    double next = gr_now() + 1;

    for (;;) {
        int n = epoll_wait(w->epoll, ev, GR_COUNT(ev), TICK_MS);
        for (int i = 0; i < n; i++) {
            gr_req *r;
            if (ev[i].data.u64 == 0)        /* gr_watch_stop() */
                return NULL;
            pthread_mutex_lock(&w->lock);
            r = find(w, ev[i].data.u64);
            if (r && has_left(r, ev[i].events))
                gr_queue_cancel(w->queue, &r->job);
            pthread_mutex_unlock(&w->lock);
        }
        pthread_mutex_lock(&w->lock);
        look_at_new(w);
        pthread_mutex_unlock(&w->lock);
        if (gr_now() >= next) {
            gr_queue_expire(w->queue);
            gr_conns_expire(w->conns);
            next = gr_now() + 1;
        }
    }
}

gram_status gr_watch_start(gr_watch *w, gr_queue *queue, gr_conns *conns, gram_err *err)
{
    struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 0 };
    pthread_mutexattr_t attr;

    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&w->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    w->queue = queue;
    w->conns = conns;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->wake = eventfd(0, EFD_CLOEXEC);
    if (w->epoll < 0 || w->wake < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->wake, &ev))
        return gr_fail(err, GRAM_EIO, "epoll: %s", strerror(errno));
    if (pthread_create(&w->thread, NULL, watch, w))
        return gr_fail(err, GRAM_ENOMEM, "no thread to watch connections");
    w->running = true;
    return GRAM_OK;
}

void gr_watch_stop(gr_watch *w)
{
    uint64_t one = 1;

    if (w->running) {
        while (write(w->wake, &one, sizeof one) < 0 && errno == EINTR)
            ;
        pthread_join(w->thread, NULL);
    }
    w->running = false;
}

void gr_watch_add(gr_watch *w, gr_req *r)
{
    pthread_mutex_lock(&w->lock);
    r->seq = ++w->seq;
    r->prev = NULL;
    r->next = w->first;
    if (w->first)
        w->first->prev = r;
    w->first = r;
    r->watched = true;
    r->looked_at = false;
    pthread_mutex_unlock(&w->lock);
}

void gr_watch_remove(gr_watch *w, gr_req *r)
{
    if (!r->watched)
        return;
    r->watched = false;
    *(r->prev ? &r->prev->next : &w->first) = r->next;
    if (r->next)
        r->next->prev = r->prev;
    if (r->looked_at)
        epoll_ctl(w->epoll, EPOLL_CTL_DEL, r->fd, NULL);
}
