/* serve_int.h - the server's own parts: what http.c, server.c, hangup.c, prometheus.c and the endpoints share. */
#ifndef GR_SERVE_SERVE_INT_H
#define GR_SERVE_SERVE_INT_H

#include <microhttpd.h>
#include <pthread.h>
#include <time.h>
#include "gram/rationale.h"
#include "serve/req.h"

/* ---- conn.c: connections, each with the time by which it must have said something whole ---- */

typedef struct gr_conn gr_conn;
typedef struct { pthread_mutex_t lock; gr_conn *first; } gr_conns;

enum { GR_HEADER_SECONDS = 60 };    /* from a connection's start or its last answer to the next headers' end */

void gr_conns_open(gr_conns *c);
void gr_conns_close(gr_conns *c);
gr_conn *gr_conn_new(gr_conns *c, int fd, bool crowded, double deadline);   /* NULL: out of memory */
void gr_conn_free(gr_conns *c, gr_conn *k);                                 /* NULL is fine, here and below */
bool gr_conn_is_crowded(const gr_conn *k);                                  /* one more than the server holds */
void gr_conn_until(gr_conns *c, gr_conn *k, double deadline);               /* gr_now() time; 0: for ever */
void gr_conns_expire(gr_conns *c);

/* ---- framing.c ---- */

/* Later releases of libmicrohttpd look for themselves. */
#if MHD_VERSION >= 0x00097701
#define GR_STRICT_HTTP MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1,
#else
#define GR_STRICT_HTTP
#endif

/* Why two servers could read this request differently, or NULL. chunked: its body comes in chunks. */
const char *gr_framing_fault(struct MHD_Connection *conn, const char *version, bool *chunked);

/* ---- hangup.c: requests that wait for the worker ---- */

/* MHD does not look at a suspended connection, so this thread does. */
typedef struct {
    int epoll, wake;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;           /* recursive: gr_queue_cancel() may call done(), which takes it again */
    gr_req *first;
    uint64_t seq;
    gr_queue *queue;
    gr_conns *conns;
} gr_watch;

gram_status gr_watch_start(gr_watch *w, gr_queue *queue, gr_conns *conns, gram_err *err);
void gr_watch_stop(gr_watch *w);
void gr_watch_add(gr_watch *w, gr_req *r);
void gr_watch_remove(gr_watch *w, gr_req *r);       /* with the lock held; fine when it is not there */

/* ---- reader.c: large requests ---- */

typedef struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    gr_req *first, *last;
    bool running, stopped;
    void (*work)(gr_req *r);
} gr_reader;

gram_status gr_reader_start(gr_reader *t, void (*work)(gr_req *r), gram_err *err);
bool gr_reader_add(gr_reader *t, gr_req *r);        /* false: it has stopped, and the caller does the work */
void gr_reader_stop(gr_reader *t);                  /* after what was added is done; again is fine */

/* ---- prometheus.c; MHD's thread alone, but for gr_metrics_reasoned() ---- */

enum { GR_LATENCY_BUCKETS = 15, GR_STATUSES = 18, GR_ROUTES_MAX = 64 };
typedef struct {
    uint64_t answers[GR_ROUTES_MAX + 1][GR_STATUSES];       /* the last row: no such route */
    uint64_t latency[GR_LATENCY_BUCKETS + 1];
    double latency_sum;
    uint64_t latency_n, pairs;
    /* The worker's: what was written before verdicts, and in chats and completions. */
    _Atomic uint64_t rationales, rationale_tokens, forced, contradicting, texts, text_tokens;
} gr_metrics;
void gr_metrics_reasoned(gr_metrics *m, const gram_reasoned *v);
void gr_metrics_count(gr_metrics *m, const gr_req *r, double seconds);
int gr_metrics_answer(gr_req *r);                   /* GET /metrics */

/* ---- the server ---- */

struct gr_serve {
    gr_serve_options opt;           /* defaults filled in */
    gr_engine *engine;
    gr_queue *queue;
    struct MHD_Daemon *daemon;
    int listen_fd;
    unsigned port;
    pthread_t worker;
    bool worker_started, quiesced;
    gr_watch watch;
    gr_conns conns;
    gr_reader reader;
    pthread_mutex_t lock;           /* state, why, in_flight */
    gr_serve_state state;
    gram_err why;
    size_t in_flight;               /* requests whose body has arrived, until their answer has left */
    time_t started;                 /* wall clock */
    uint64_t id_base, id_next;      /* ids that the server gives; MHD's thread */
    size_t body_bytes;              /* held for requests, over all connections; MHD's thread */
    size_t connections;             /* open; MHD's thread */
    gr_metrics metrics;
};

/* server.c: fills in what was left at zero. */
void gr_serve_defaults(gr_serve_options *o, const gr_engine *e);

/* http.c */
enum MHD_Result gr_http_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                const char *version, const char *upload, size_t *upload_size, void **con_cls);
void gr_http_completed(void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode why);
void gr_http_done(gr_job *job);     /* the queue's done() */
void gr_http_read(gr_req *r);       /* the reader's work */

/* log.c: one JSON line on stderr for an answered request. */
void gr_log_request(const gr_req *r, double seconds);
void gr_log_event(const gr_serve *s, const char *event, const char *text);

/* stream.c: an answer sent while it is written, as server-sent events. */
int gr_stream_open(gr_req *r);                                      /* by start(), before the job is asked for */
bool gr_stream_add(gr_req *r, const char *p, size_t n);             /* by a step; false: out of memory */
bool gr_stream_event(gr_req *r, json_t *json);                      /* the same of an event; json is taken over */
void gr_stream_end(gr_req *r);                                      /* the job is done */
bool gr_stream_done(gr_req *r);                                     /* the same of the event behind the last one */
bool gr_stream_begun(gr_req *r);
struct MHD_Response *gr_stream_response(gr_req *r);
void gr_stream_clear(gr_req *r);

/* json.c */
void gr_json_init(void);            /* before the first request; again is fine */
/* *out is NULL, and e says why, where the text is not JSON; false: out of memory. A string that is no text for a model,
 * since it holds U+0000 or half of a surrogate pair, is replaced by *odd, which is no other value of the tree and no
 * value that any field takes, so that whoever reads it there refuses it; *why says what it held. *odd is the caller's
 * to json_decref(); NULL: there is none. */
bool gr_json_load(const char *text, size_t n, json_t **out, json_error_t *e, json_t **odd, const char **why);

/* auth.c */
gram_status gr_key_check(const char *key, gram_err *err);           /* that a client can send it */
bool gr_key_equal(const char *key, const char *given);              /* in a time that depends on neither's bytes */
bool gr_host_is_loopback(const struct sockaddr *a);
bool gr_names_loopback(const char *host);           /* a Host header: localhost, 127.x.x.x or [::1], perhaps a port */

#endif
