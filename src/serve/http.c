/* http.c - one request: admitted, read, judged, answered.
 *
 * MHD calls gr_http_request() once with the headers, once for each piece of the body, once when the body is whole,
 * again where that call neither answered nor suspended the connection, and each time the connection is woken. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/assets.h"
#include "serve/serve_int.h"

enum { READING, READ, PARSING, PARSED, WAITING, SETTLING, SETTLED, ANSWERED };  /* gr_req.phase */
enum { LARGE_BODY = 1 << 16, LARGE_JOB = 256 };         /* bytes, comparisons: more is the reader's to read and write */
enum { DISCARD_BODIES = 8 };            /* of max_body: read of a refused body, and held of all bodies together */

/* ---- The request's life ---- */

static gr_req *req_new(gr_serve *s, const char *method, const char *path)
{
    gr_req *r = calloc(1, sizeof *r);

    if (!r)
        return NULL;
    r->s = s;
    r->opt = &s->opt;
    r->engine = s->engine;
    r->method = method;
    r->path = path;
    r->begun = gr_now();
    r->job.owner = r;
    r->job.deadline = r->begun + s->opt.timeout;
    for (size_t i = 0; i < gr_n_routes; i++)
        if (!strcmp(path, gr_routes[i].path)) {
            if (!strcmp(method, gr_routes[i].method) || (!strcmp(method, "HEAD") && gr_routes[i].method[0] == 'G'))
                r->route = &gr_routes[i];
            else
                r->allow = gr_routes[i].method;
        }
    return r;
}

static void req_free(gr_req *r)
{
    if (r->clear)
        r->clear(r);
    gr_clear_faults(&r->job);
    free(r->text);
    json_decref(r->in);
    json_decref(r->out);
    json_decref(r->odd);
    json_decref(r->faults);
    gr_buf_clear(&r->body);
    gr_stream_clear(r);
    gr_req_free_all(r);
    free(r);
}

static const char *error_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 413: return "too_large_error";
    case 422: return "validation_error";
    case 429: return "overloaded_error";
    case 500: return "server_error";
    case 501: return "not_supported_error";
    case 503: return "unavailable_error";
    default:  return "invalid_request_error";
    }
}

static char *error_text(const gr_req *r)
{
    json_t *e = json_pack("{s:{s:i, s:s, s:s, s:s?, s:O*}, s:s}", "error", "code", r->status, "message", r->why,
                          "type", error_type(r->status), "param", r->param[0] ? r->param : NULL,
                          "items", r->status == 422 ? r->faults : NULL, "id", r->id);
    char *text = gr_json_text(e, JSON_COMPACT);

    json_decref(e);
    return text;
}

/* The finished answer's text, malloc'ed; a failure to write it becomes the error's text, or at last NULL. */
static char *answer_text(gr_req *r)
{
    char *text = NULL;

    if (r->status == 0) {
        text = gr_json_text(r->out, JSON_COMPACT);
        if (text)
            r->status = 200;
        else
            gr_nomem_req(r);
    }
    return text ? text : error_text(r);
}

/* ---- Judging ---- */

/* The job is done: its failure, or what finish() makes of it. */
static void settle(gr_req *r)
{
    if (r->job.cancelled) {
        gr_refuse(r, 503, NULL, "the server stopped before the request was finished");
    } else if (r->job.late) {
        gr_refuse(r, 503, NULL, "%s (%g s)", r->job.err.text, r->opt->timeout);
        r->retry_after = 10;
    } else if (r->job.status) {
        gr_refuse_err(r, &r->job.err);
    } else {
        if (!r->job.step) {
            r->pairs += r->job.n;
            for (size_t i = 0; i < r->job.n; i++)
                r->tokens += r->job.verdict[i].tokens;
        }
        gr_req_fn *read = r->read;
        r->read = NULL;
        if (!read || !read(r))
            r->finish(r);
    }
}

static bool is_answered(const gr_req *r)
{
    return r->status || r->out || r->asset;
}

/* jansson's sentence quotes the body after " near ". */
static void refuse_json(gr_req *r, json_error_t *e)
{
    char *quote = strstr(e->text, " near ");

    if (quote)
        *quote = '\0';
    if (strstr(e->text, "NUL byte"))
        snprintf(e->text, sizeof e->text, "a key holds U+0000 or half of a surrogate pair");
    gr_refuse(r, 400, NULL, "the body is not JSON: line %d, column %d: %s", e->line, e->column, e->text);
}

static void parse(gr_req *r)
{
    json_error_t e;

    if (r->body.n == 0) {
        gr_refuse(r, 400, NULL, "the body is empty; a JSON object was wanted");
        return;
    }
    if (!gr_json_load(r->body.p, r->body.n, &r->in, &e, &r->odd, &r->odd_why))
        gr_nomem_req(r);
    else if (!r->in)
        refuse_json(r, &e);
    else if (!json_is_object(r->in))
        gr_refuse(r, 400, NULL, "the body must be a JSON object");
}

/* An id fit for a header and a log; anything else is replaced. */
static void choose_id(gr_req *r, const char *given)
{
    size_t n = given ? strspn(given, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-") : 0;

    if (n > 0 && n < sizeof r->id && given[n] == '\0')
        memcpy(r->id, given, n + 1);
    else if (!r->id[0])
        snprintf(r->id, sizeof r->id, "gram-%08llx%08llx", (unsigned long long)(r->s->id_base & 0xffffffffu),
                 (unsigned long long)(r->s->id_next++ & 0xffffffffu));
}

static void start(gr_req *r)
{
    if (!strcmp(r->route->method, "POST")) {
        parse(r);
        if (!r->status)
            choose_id(r, json_string_value(json_object_get(r->in, "request_id")));
    }
    if (!r->status)
        r->route->start(r);
}

/* ---- HTTP ---- */

static const char *header(gr_req *r, const char *name)
{
    return MHD_lookup_connection_value(r->conn, MHD_HEADER_KIND, name);
}

/* streams: the worker still has the request, whose status is its own. */
static struct MHD_Response *make_response(gr_req *r, bool streams)
{
    char *text;

    if (streams) {
        r->type = "text/event-stream";
        return gr_stream_response(r);
    }
    if (r->status == 0 && r->asset) {
        r->status = 200;
        return MHD_create_response_from_buffer(r->asset_n, (void *)(uintptr_t)r->asset, MHD_RESPMEM_PERSISTENT);
    }
    r->type = NULL;
    text = r->text ? r->text : answer_text(r);
    r->text = NULL;
    if (!text)
        return NULL;
    return MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
}

static gr_serve_state state_of(gr_serve *s)
{
    return gr_serve_get_state(s, NULL);
}

static enum MHD_Result respond(gr_req *r)
{
    bool streams = r->stream && gr_stream_begun(r);
    struct MHD_Response *a = make_response(r, streams);
    enum MHD_Result rc;
    char seconds[32];

    if (!a)
        return MHD_NO;
    r->sent = streams ? 200 : r->status;
    MHD_add_response_header(a, "Content-Type", r->type ? r->type : "application/json");
    MHD_add_response_header(a, "X-Request-Id", r->id);
    MHD_add_response_header(a, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(a, "Cache-Control", "no-store");
    if (r->route && r->route->open)
        MHD_add_response_header(a, "Content-Security-Policy", gr_page_policy);
    if (r->sent == 401)
        MHD_add_response_header(a, "WWW-Authenticate", "Bearer");
    if (r->sent == 405)
        MHD_add_response_header(a, "Allow", r->allow);
    if (r->sent != 200 && r->retry_after > 0) {
        snprintf(seconds, sizeof seconds, "%.0f", r->retry_after);
        MHD_add_response_header(a, "Retry-After", seconds);
    }
    if (r->last || state_of(r->s) == GR_SERVE_DRAINING)
        MHD_add_response_header(a, "Connection", "close");
    r->phase = ANSWERED;
    rc = MHD_queue_response(r->conn, (unsigned)r->sent, a);
    MHD_destroy_response(a);
    return rc;
}

static void check_key(gr_req *r)
{
    const char *given = header(r, "Authorization");

    if (!r->opt->key || r->route->open)
        return;
    if (!given || strncasecmp(given, "Bearer ", 7))
        gr_refuse(r, 401, NULL, "this server needs its key: Authorization: Bearer KEY");
    else if (!gr_key_equal(r->opt->key, given + 7 + strspn(given + 7, " ")))
        gr_refuse(r, 401, NULL, "the key is wrong: it is not this server's");
}

/* Where no key stands between, a site's owner could make its name lead here, and its pages then read all that this
 * server says (DNS rebinding): such a request has that name as its Host. */
static void check_host(gr_req *r)
{
    const char *host = header(r, "Host"), *own = r->opt->host;
    size_t n = own ? strlen(own) : 0;

    if (r->opt->key || !host || gr_names_loopback(host)
        || (n && !strncasecmp(host, own, n) && (host[n] == ':' || !host[n])))
        return;
    gr_refuse(r, 403, NULL, "this server has no key, and answers under its own names alone: localhost, 127.0.0.1");
}

/* A page of another site may not use the visitor's own server. */
static void check_origin(gr_req *r)
{
    const char *origin = header(r, "Origin"), *host = header(r, "Host"), *name = origin ? strstr(origin, "://") : NULL;

    if (origin && (!name || !host || strcasecmp(name + 3, host)))
        gr_refuse(r, 403, NULL, "requests from pages of other sites are refused");
}

static void check_kind(gr_req *r)
{
    const char *type = header(r, "Content-Type"), *coding = header(r, "Content-Encoding");

    if (strcmp(r->route->method, "POST"))
        return;
    if (type && strncasecmp(type, "application/json", 16))
        gr_refuse(r, 415, NULL, "the body must be application/json");
    else if (coding && strcasecmp(coding, "identity"))
        gr_refuse(r, 415, NULL, "the body must not be compressed");
}

static void check_state(gr_req *r)
{
    gr_serve_state state = state_of(r->s);

    if (r->route->open || r->route->light)
        return;
    if (state == GR_SERVE_LOADING)
        gr_refuse(r, 503, NULL, "Loading model");
    else if (state == GR_SERVE_DRAINING)
        gr_refuse(r, 503, NULL, "the server is shutting down");
    else if (state == GR_SERVE_FAILED)
        gr_refuse(r, 503, NULL, "the model could not be loaded");
}

/* One connection more than the server holds. Who asks how it is still hears that. */
static void check_place(gr_req *r)
{
    if (gr_conn_is_crowded(r->place) && !r->route->light)
        gr_refuse(r, 503, NULL, "too many connections; this server holds %zu", r->opt->max_connections);
}

static void too_many_bytes(gr_req *r)
{
    gr_refuse(r, 429, NULL, "too many bytes of requests are on their way");
    r->retry_after = 1;
}

/* The headers are here. A refusal waits for the body where that is short, so that the connection can go on. */
static enum MHD_Result admit(gr_req *r, const char *version)
{
    const char *length = header(r, "Content-Length"), *fault = gr_framing_fault(r->conn, version, &r->last);
    unsigned long long bytes = length ? strtoull(length, NULL, 10) : 0;

    r->last = r->last || fault || gr_conn_is_crowded(r->place);
    choose_id(r, header(r, "X-Request-Id"));
    if (fault) {
        gr_refuse(r, 400, NULL, "%s: two servers could read this request differently", fault);
        return respond(r);
    }
    if (!r->route && r->allow)
        gr_refuse(r, 405, NULL, "this path takes %s", r->allow);
    else if (!r->route)
        gr_refuse(r, 404, NULL, "no such path; see /openapi.json");
    else
        check_place(r);
    if (!r->status)
        check_host(r);
    if (!r->status)
        check_key(r);
    if (!r->status)
        check_origin(r);
    if (!r->status)
        check_kind(r);
    if (!r->status && bytes > r->opt->max_body)
        gr_refuse(r, 413, NULL, "the body has %llu bytes; this server takes %zu", bytes, r->opt->max_body);
    if (!r->status)
        check_state(r);
    if (!r->status && bytes > 0 && r->s->body_bytes + bytes > DISCARD_BODIES * r->opt->max_body)
        too_many_bytes(r);
    r->discard = r->status != 0;
    return r->discard && bytes > DISCARD_BODIES * r->opt->max_body ? respond(r) : MHD_YES;
}

static enum MHD_Result take_body(gr_req *r, const char *p, size_t *n)
{
    gr_serve *s = r->s;
    size_t bytes = *n;

    *n = 0;
    if (!r->discard && r->body.n + bytes > s->opt.max_body) {       /* it came in chunks, without its length */
        gr_refuse(r, 413, NULL, "the body is longer than the %zu bytes that this server takes", s->opt.max_body);
        r->discard = true;
    }
    if (!r->discard && s->body_bytes + bytes > DISCARD_BODIES * s->opt.max_body) {  /* admitted together, each fit */
        too_many_bytes(r);
        r->discard = true;
    }
    if (!r->discard && !gr_buf_add(&r->body, p, bytes)) {
        gr_nomem_req(r);
        r->discard = true;
    }
    if (!r->discard) {
        s->body_bytes += bytes;
        return MHD_YES;
    }
    r->discarded += bytes;
    return r->discarded > DISCARD_BODIES * s->opt.max_body ? MHD_NO : MHD_YES;
}

/* Answers, or gives the job to the worker and lets the connection sleep.
 *
 * MHD reads from a connection that wakes, if it still was to be read from when it fell asleep. Of a client that has
 * closed its sending half it then reads the end, and hangs up on the answer. MHD stops reading once this was called
 * with the whole request and said nothing to it, so only the next call lets the connection sleep. */
static enum MHD_Result go_on(gr_req *r)
{
    if (is_answered(r))
        return respond(r);
    if (r->phase == READING) {
        r->phase = READ;
        return MHD_YES;
    }
    r->phase = WAITING;
    MHD_suspend_connection(r->conn);        /* before the worker can wake it */
    gr_watch_add(&r->s->watch, r);
    r->running = true;
    if (gr_queue_submit(r->s->queue, &r->job, &r->retry_after))
        return MHD_YES;
    r->running = false;
    gr_refuse(r, state_of(r->s) == GR_SERVE_READY ? 429 : 503, NULL, "the queue is full; try again later");
    pthread_mutex_lock(&r->s->watch.lock);
    gr_watch_remove(&r->s->watch, r);
    pthread_mutex_unlock(&r->s->watch.lock);
    MHD_resume_connection(r->conn);
    return MHD_YES;
}

/* Off this thread, which only comes back to answer. As in go_on(), the connection sleeps. */
static enum MHD_Result hand_over(gr_req *r, int phase)
{
    r->phase = phase;
    MHD_suspend_connection(r->conn);
    if (!gr_reader_add(&r->s->reader, r))
        gr_http_read(r);
    return MHD_YES;
}

void gr_http_read(gr_req *r)
{
    if (r->phase == PARSING)
        start(r);
    else
        settle(r);
    r->phase = r->phase == PARSING ? PARSED : SETTLED;
    if (is_answered(r) && !r->asset && !r->stream)
        r->text = answer_text(r);
    MHD_resume_connection(r->conn);
}

static void count_in_flight(gr_serve *s, int by)
{
    pthread_mutex_lock(&s->lock);
    s->in_flight += (size_t)by;
    pthread_mutex_unlock(&s->lock);
}

static enum MHD_Result body_is_here(gr_req *r)
{
    gr_conn_until(&r->s->conns, r->place, 0);
    if (!r->status)
        check_state(r);                     /* the server may have begun to drain since the headers */
    if (r->status)
        return respond(r);
    r->counted = true;
    count_in_flight(r->s, 1);
    if (r->body.n > LARGE_BODY) {
        r->phase = READ;                    /* asleep from the next call on, as go_on() explains */
        return MHD_YES;
    }
    start(r);
    return go_on(r);
}

static enum MHD_Result body_was_here(gr_req *r)
{
    return r->in || is_answered(r) || r->body.n <= LARGE_BODY ? go_on(r) : hand_over(r, PARSING);
}

static enum MHD_Result woken(gr_req *r)
{
    if (r->stream && gr_stream_begun(r))
        return respond(r);
    if (r->status)                          /* it never reached the queue */
        return respond(r);
    if (r->job.cancelled && state_of(r->s) != GR_SERVE_DRAINING)
        return MHD_NO;                      /* 499 */
    if (r->body.n > LARGE_BODY || r->job.n > LARGE_JOB)
        return hand_over(r, SETTLING);
    settle(r);
    return go_on(r);
}

enum MHD_Result gr_http_request(void *cls, struct MHD_Connection *conn, const char *url, const char *method,
                                const char *version, const char *upload, size_t *upload_size, void **con_cls)
{
    gr_req *r = *con_cls;

    (void)upload;
    if (!r) {
        r = req_new(cls, method, url);
        if (!r)
            return MHD_NO;
        *con_cls = r;
        r->conn = conn;
        r->fd = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        r->place = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
        r->http11 = !strcmp(version, MHD_HTTP_VERSION_1_1);
        gr_conn_until(&r->s->conns, r->place, r->begun + r->opt->timeout);
        return admit(r, version);
    }
    if (*upload_size > 0)
        return take_body(r, upload, upload_size);
    switch (r->phase) {
    case READING:                return body_is_here(r);
    case READ:                   return body_was_here(r);
    case PARSED: case SETTLED:   return go_on(r);
    default:                     return woken(r);
    }
}

void gr_http_done(gr_job *job)
{
    gr_req *r = job->owner;
    gr_watch *w = &r->s->watch;
    bool orphan;

    pthread_mutex_lock(&w->lock);
    gr_watch_remove(w, r);
    r->running = false;
    orphan = r->orphan;
    if (!orphan && r->stream)
        gr_stream_end(r);
    else if (!orphan)
        MHD_resume_connection(r->conn);
    pthread_mutex_unlock(&w->lock);
    if (orphan)
        req_free(r);
}

void gr_http_completed(void *cls, struct MHD_Connection *conn, void **con_cls, enum MHD_RequestTerminationCode why)
{
    gr_serve *s = cls;
    gr_req *r = *con_cls;
    double seconds;

    (void)conn;
    if (!r)
        return;
    *con_cls = NULL;
    if (r->sent == 0 || (why != MHD_REQUEST_TERMINATED_COMPLETED_OK && why != MHD_REQUEST_TERMINATED_DAEMON_SHUTDOWN))
        r->sent = 499;
    seconds = gr_now() - r->begun;
    gr_metrics_count(&s->metrics, r, seconds);
    gr_log_request(r, seconds);
    gr_conn_until(&s->conns, r->place, gr_now() + GR_HEADER_SECONDS);
    s->body_bytes -= r->body.n;
    if (r->counted)
        count_in_flight(s, -1);
    pthread_mutex_lock(&s->watch.lock);     /* a stream whose client left: the worker may still be writing it */
    r->orphan = r->running;
    if (r->orphan)
        gr_queue_cancel(s->queue, &r->job);
    else
        req_free(r);
    pthread_mutex_unlock(&s->watch.lock);
}

/* ---- Without HTTP ---- */

static void nothing(gr_job *job)
{
    (void)job;
}

/* All that the request asks for, on a queue of its own. */
static void run(gr_req *r, gr_queue *q)
{
    while (!is_answered(r)) {
        if (!gr_queue_submit(q, &r->job, &r->retry_after))
            gr_refuse(r, 429, NULL, "the queue is full; try again later");
        while (r->job.state == GR_JOB_WAITING && !r->status)
            gr_queue_round(q, r->engine);
        if (!r->status)
            settle(r);
    }
}

int gr_serve_try(const gr_serve_options *opt, gr_engine *engine, const char *path, const char *body, size_t n,
                 char **answer)
{
    gr_serve s = { .opt = *opt, .engine = engine };
    const gr_queue_options q = { .max_pairs = SIZE_MAX, .batch_tokens = SIZE_MAX, .text_share = 1, .done = nothing };
    gram_err err;
    gr_req *r;
    int status;

    gr_serve_defaults(&s.opt, engine);
    r = req_new(&s, "POST", path);
    gr_json_init();
    *answer = NULL;
    if (!r)
        return 503;
    r->job.deadline = 0;
    choose_id(r, "try");
    if (!r->route)
        gr_refuse(r, r->allow ? 405 : 404, NULL, "no such path");
    else if (gr_queue_open(&s.queue, &q, &err) || !gr_buf_add(&r->body, body, n))
        gr_nomem_req(r);
    else
        start(r);
    if (s.queue)
        run(r, s.queue);
    *answer = r->asset && !r->status ? gr_strndup(r->asset, r->asset_n) : answer_text(r);
    status = r->status ? r->status : 200;
    gr_queue_close(s.queue);
    req_free(r);
    return status;
}
