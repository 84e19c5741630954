/* server.c - see serve.h: the socket, the threads, the states from loading to drained. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/err.h"
#include "serve/serve_int.h"

static void set_state(gr_serve *s, gr_serve_state state, const gram_err *why)
{
    pthread_mutex_lock(&s->lock);
    if (s->state != GR_SERVE_DRAINING || state == GR_SERVE_FAILED)
        s->state = state;
    if (why)
        s->why = *why;
    pthread_mutex_unlock(&s->lock);
}

gr_serve_state gr_serve_get_state(gr_serve *s, gram_err *err)
{
    gr_serve_state state;

    pthread_mutex_lock(&s->lock);
    state = s->state;
    if (err)
        *err = s->why;
    pthread_mutex_unlock(&s->lock);
    return state;
}

size_t gr_serve_in_flight(gr_serve *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->in_flight;
    pthread_mutex_unlock(&s->lock);
    return n;
}

unsigned gr_serve_port(const gr_serve *s)
{
    return s->port;
}

/* Connections beyond max_connections, so many that are told so; still more wait in the system's queue. */
enum { TOLD = 64, TOLD_SECONDS = 5 };

/* A connection beyond the limit is marked: gr_http_request() turns its requests down, and it may not stay. */
static void connection_changed(void *cls, struct MHD_Connection *conn, void **mark,
                               enum MHD_ConnectionNotificationCode what)
{
    gr_serve *s = cls;
    int fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    bool crowded;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        s->connections--;
        gr_conn_free(&s->conns, *mark);
        return;
    }
    crowded = ++s->connections > s->opt.max_connections;
    *mark = gr_conn_new(&s->conns, fd, crowded, gr_now() + fmin(s->opt.timeout, GR_HEADER_SECONDS));
    if (crowded)
        MHD_set_connection_option(conn, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)TOLD_SECONDS);
}

/* What is served, and in what numbers, which not every CPU gives. */
static void tell_ready(const gr_serve *s)
{
    gr_buf text = { 0 };

    if (s->engine->arithmetic && gr_buf_printf(&text, "%s, in %s", s->opt.name, s->engine->arithmetic))
        gr_log_event(s, "ready", text.p);
    else
        gr_log_event(s, "ready", s->opt.name);
    gr_buf_clear(&text);
}

static void *work(void *arg)
{
    gr_serve *s = arg;
    gram_err err = { 0 };

    if (s->engine->open(s->engine, &err)) {
        gr_log_event(s, "failed", err.text);
        set_state(s, GR_SERVE_FAILED, &err);
        return NULL;
    }
    tell_ready(s);
    set_state(s, GR_SERVE_READY, NULL);
    gr_queue_work(s->queue, s->engine);
    s->engine->close(s->engine);
    return NULL;
}

/* *absent: the system does not have this kind of address, as of IPv6. */
static gram_status listen_on(gr_serve *s, const struct addrinfo *a, const char *host, bool *absent, gram_err *err)
{
    int one = 1;
    struct sockaddr_storage bound;
    socklen_t n = sizeof bound;

    if (!s->opt.key && !gr_host_is_loopback(a->ai_addr))
        return gr_fail(err, GRAM_EARG, "%s: others can reach this address, so the server needs a key (--key-file, or "
                       "GRAM_API_KEY in the environment)", host);
    s->listen_fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->listen_fd >= 0)
        setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (s->listen_fd < 0 || bind(s->listen_fd, a->ai_addr, a->ai_addrlen) || listen(s->listen_fd, 1024)
        || getsockname(s->listen_fd, (struct sockaddr *)&bound, &n)) {
        *absent = errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL;
        return gr_fail(err, GRAM_EIO, "%s port %u: %s", host, s->opt.port, strerror(errno));
    }
    s->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&bound)->sin6_port
                                                : ((struct sockaddr_in *)(void *)&bound)->sin_port);
    return GRAM_OK;
}

static gram_status open_socket(gr_serve *s, gram_err *err)
{
    const char *host = s->opt.host ? s->opt.host : "127.0.0.1";
    const struct addrinfo want = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
    struct addrinfo *found;
    bool absent = true;
    char port[8];
    gram_status rc = GRAM_OK;
    int e;

    snprintf(port, sizeof port, "%u", s->opt.port);
    e = getaddrinfo(host, port, &want, &found);
    if (e)
        return gr_fail(err, GRAM_EARG, "%s: %s", host, gai_strerror(e));
    for (const struct addrinfo *a = found; a && absent; a = a->ai_next) {
        if (s->listen_fd >= 0)
            close(s->listen_fd);
        s->listen_fd = -1;
        absent = false;
        rc = listen_on(s, a, host, &absent, err);
    }
    freeaddrinfo(found);
    return rc;
}

void gr_serve_defaults(gr_serve_options *o, const gr_engine *e)
{
    const char *slash = e->path ? strrchr(e->path, '/') : NULL;

    if (!o->name)
        o->name = slash && slash[1] ? slash + 1 : e->path ? e->path : "gram";
    o->max_body        = o->max_body ? o->max_body : 8u << 20;
    o->max_rows        = o->max_rows ? o->max_rows : 1024;
    o->max_pairs       = o->max_pairs ? o->max_pairs : 8192;
    o->max_queue       = o->max_queue ? o->max_queue : 16384;
    o->max_connections = o->max_connections ? o->max_connections : 4096;
    o->max_new_tokens  = o->max_new_tokens ? o->max_new_tokens : 1024;
    o->batch_tokens    = o->batch_tokens ? o->batch_tokens : 4096;
    o->chat_share      = o->chat_share > 0 ? o->chat_share : 0.38;
    o->timeout         = o->timeout > 0 ? o->timeout : 300;
}

/* A connection is a descriptor: as many as the system lets us have, up to what was asked for. */
static void raise_descriptors(size_t connections)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= connections + 64)
        return;
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);           /* where that fails, accept() is what says so */
}

gram_status gr_serve_start(gr_serve **out, const gr_serve_options *opt, gr_engine *engine, gram_err *err)
{
    gr_queue_options q = { .done = gr_http_done };
    gram_status rc;
    gr_serve *s = calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return gr_nomem(err, "server");
    gr_json_init();
    pthread_mutex_init(&s->lock, NULL);
    gr_conns_open(&s->conns);
    s->opt = *opt;
    s->engine = engine;
    s->listen_fd = s->watch.epoll = s->watch.wake = -1;
    s->started = time(NULL);
    gr_serve_defaults(&s->opt, engine);
    if (getrandom(&s->id_base, sizeof s->id_base, 0) != sizeof s->id_base)
        s->id_base = (uint64_t)s->started;
    rc = s->opt.key ? gr_key_check(s->opt.key, err) : GRAM_OK;
    if (!rc)
        rc = open_socket(s, err);
    if (rc)
        goto out;
    q.max_pairs = s->opt.max_queue;
    q.batch_tokens = s->opt.batch_tokens;
    q.text_share = s->opt.chat_share;
    rc = gr_queue_open(&s->queue, &q, err);
    if (!rc)
        rc = gr_reader_start(&s->reader, gr_http_read, err);
    if (!rc)
        rc = gr_watch_start(&s->watch, s->queue, &s->conns, err);
    if (rc)
        goto out;
    raise_descriptors(s->opt.max_connections + TOLD);
    s->daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                                 gr_http_request, s, MHD_OPTION_LISTEN_SOCKET, s->listen_fd,
                                 MHD_OPTION_NOTIFY_COMPLETED, gr_http_completed, s,
                                 MHD_OPTION_NOTIFY_CONNECTION, connection_changed, s,
                                 MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)gr_min(s->opt.max_connections, UINT_MAX - TOLD) + TOLD,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)GR_HEADER_SECONDS,
                                 GR_STRICT_HTTP MHD_OPTION_END);
    if (!s->daemon) {
        rc = gr_fail(err, GRAM_EIO, "port %u: the HTTP library did not start", s->port);
        goto out;
    }
    if (pthread_create(&s->worker, NULL, work, s)) {
        rc = gr_fail(err, GRAM_ENOMEM, "no thread to do the work");
        goto out;
    }
    s->worker_started = true;
    *out = s;
    s = NULL;
out:
    gr_serve_stop(s);
    return rc;
}

void gr_serve_drain(gr_serve *s)
{
    set_state(s, GR_SERVE_DRAINING, NULL);
    if (!s->quiesced)
        MHD_quiesce_daemon(s->daemon);
    s->quiesced = true;
}

void gr_serve_stop(gr_serve *s)
{
    if (!s)
        return;
    if (s->daemon)
        gr_serve_drain(s);
    if (s->queue)
        gr_queue_stop(s->queue);
    if (s->worker_started)
        pthread_join(s->worker, NULL);      /* done() was called for every job: no connection is asleep any more */
    gr_reader_stop(&s->reader);
    gr_watch_stop(&s->watch);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    gr_queue_close(s->queue);
    if (s->watch.epoll >= 0)
        close(s->watch.epoll);
    if (s->watch.wake >= 0)
        close(s->watch.wake);
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    gr_conns_close(&s->conns);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
