/* serve.h - the HTTP server: start it, let it drain, stop it.
 *
 *     thread     does
 *     MHD's      reads requests, parses them, writes answers; 1,000 idle connections cost it nothing
 *     reader     parses large requests and writes large answers, so that /health does not wait for them
 *     worker     loads the model, then judges batches (queue.h)
 *     watch      notices clients that left and requests whose time is up
 *
 * A connection whose request waits for the worker is suspended, so no thread waits with it. */
#ifndef GR_SERVE_SERVE_H
#define GR_SERVE_SERVE_H

#include "serve/engine.h"

/* All zeros asks for every default. Strings are borrowed for as long as the server runs. */
typedef struct {
    const char *host;           /* NULL: 127.0.0.1; a name or an address */
    unsigned short port;        /* 0: any that is free */
    const char *name;           /* of the model, in answers; NULL: the last part of its path */
    const char *key;            /* bearer key; NULL: none, which only a loopback address may have */
    const char *reference;      /* the answer that single responses are measured against; NULL: none */
    size_t max_body;            /* bytes of a request; 0: 8 MiB */
    size_t max_rows;            /* pairs or responses in a request; 0: 1024 */
    size_t max_pairs;           /* comparisons that a request may lead to; 0: 8192 */
    size_t max_queue;           /* comparisons waiting, over all requests; 0: 16384 */
    size_t max_connections;     /* 0: 4096 */
    size_t max_new_tokens;      /* of a chat completion; 0: 1024 */
    size_t batch_tokens;        /* that the model computes in a round; 0: 4096 */
    double chat_share;          /* of the time, for texts that are written while others are scored; 0: 0.38 */
    double timeout;             /* seconds from a request's arrival to its answer; 0: 300 */
    bool strict_text;           /* refuse a conversation that comes as one text, whose answer cannot be told apart */
    bool log_text;              /* put request bodies into the log */
    bool quiet;                 /* no log */
} gr_serve_options;

typedef enum { GR_SERVE_LOADING, GR_SERVE_READY, GR_SERVE_DRAINING, GR_SERVE_FAILED } gr_serve_state;

typedef struct gr_serve gr_serve;
/* Listens at once and answers 503 until the engine is open. The engine is the caller's and must outlive the server. */
gram_status gr_serve_start(gr_serve **out, const gr_serve_options *opt, gr_engine *engine, gram_err *err);
unsigned gr_serve_port(const gr_serve *s);
/* err, where not NULL, says why a state of GR_SERVE_FAILED came about. */
gr_serve_state gr_serve_get_state(gr_serve *s, gram_err *err);
/* No new connections, no new requests (503); what was accepted is finished. */
void gr_serve_drain(gr_serve *s);
size_t gr_serve_in_flight(gr_serve *s);         /* requests accepted and not yet answered */
void gr_serve_stop(gr_serve *s);                /* drops what is in flight; NULL is fine */

/* One POST without a socket or a thread, for fuzzing and tests: what the server would answer, as *answer (malloc'ed;
 * NULL when out of memory), and its status. The engine is open. */
int gr_serve_try(const gr_serve_options *opt, gr_engine *engine, const char *path, const char *body, size_t n,
                 char **answer);

/* ---- gram watch ----------------------------------------------------------------------------------- */

/* A page over the runs of a folder, for this machine alone: the curves of their metrics.jsonl, which grow while they
 * train, and what they last wrote into samples.jsonl. It reads files and changes none. */
typedef struct gr_dashboard gr_dashboard;
/* Listens on 127.0.0.1. dir is copied; port 0: any that is free. GRAM_EIO: no such folder, or the port is taken. */
gram_status gr_dashboard_start(gr_dashboard **out, const char *dir, unsigned short port, gram_err *err);
unsigned gr_dashboard_port(const gr_dashboard *w);
void gr_dashboard_stop(gr_dashboard *w);    /* NULL is fine */

#endif
