/* stream.c - an answer sent while it is written.
 *
 * The worker adds events; MHD's thread takes them. While there is nothing to take the connection is suspended, and
 * the next event wakes it. One lock a stream; the two threads never wait for each other for long. */
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "serve/serve_int.h"

struct gr_stream {
    pthread_mutex_t lock;
    gr_buf text;
    size_t sent;
    bool asleep, begun, ended;
};

int gr_stream_open(gr_req *r)
{
    r->stream = calloc(1, sizeof *r->stream);
    if (!r->stream)
        return gr_nomem_req(r);
    pthread_mutex_init(&r->stream->lock, NULL);
    r->stream->asleep = true;               /* the request waits for its first event like any other for its answer */
    return 0;
}

static void wake(gr_req *r)
{
    if (r->stream->asleep && r->conn) {
        r->stream->asleep = false;
        MHD_resume_connection(r->conn);
    }
}

bool gr_stream_add(gr_req *r, const char *p, size_t n)
{
    struct gr_stream *t = r->stream;
    bool ok, first;

    pthread_mutex_lock(&t->lock);
    first = !t->begun;
    pthread_mutex_unlock(&t->lock);
    if (first && r->conn) {                 /* from now on a failing write tells that the client left */
        pthread_mutex_lock(&r->s->watch.lock);
        gr_watch_remove(&r->s->watch, r);
        pthread_mutex_unlock(&r->s->watch.lock);
    }
    pthread_mutex_lock(&t->lock);
    ok = gr_buf_add(&t->text, p, n);
    t->begun = t->begun || ok;
    if (ok)
        wake(r);
    pthread_mutex_unlock(&t->lock);
    return ok;
}

bool gr_stream_event(gr_req *r, json_t *json)
{
    char *text = gr_json_text(json, JSON_COMPACT);
    gr_buf b = { 0 };
    bool ok = text && gr_buf_printf(&b, "data: %s\n\n", text) && gr_stream_add(r, b.p, b.n);

    free(text);
    json_decref(json);
    gr_buf_clear(&b);
    return ok;
}

void gr_stream_end(gr_req *r)
{
    pthread_mutex_lock(&r->stream->lock);
    r->stream->ended = true;
    wake(r);
    pthread_mutex_unlock(&r->stream->lock);
}

bool gr_stream_done(gr_req *r)
{
    static const char done[] = "data: [DONE]\n\n";

    return gr_stream_add(r, done, sizeof done - 1);
}

bool gr_stream_begun(gr_req *r)
{
    bool begun;

    pthread_mutex_lock(&r->stream->lock);
    begun = r->stream->begun;
    pthread_mutex_unlock(&r->stream->lock);
    return begun;
}

static ssize_t read_some(void *cls, uint64_t pos, char *out, size_t max)
{
    gr_req *r = cls;
    struct gr_stream *t = r->stream;
    ssize_t n;

    (void)pos;
    pthread_mutex_lock(&t->lock);
    n = (ssize_t)gr_min(max, t->text.n - t->sent);
    if (n > 0) {
        memcpy(out, t->text.p + t->sent, (size_t)n);
        t->sent += (size_t)n;
    } else if (t->ended)
        n = r->job.status ? MHD_CONTENT_READER_END_WITH_ERROR : MHD_CONTENT_READER_END_OF_STREAM;
    else {
        t->asleep = true;
        MHD_suspend_connection(r->conn);
    }
    pthread_mutex_unlock(&t->lock);
    return n;
}

struct MHD_Response *gr_stream_response(gr_req *r)
{
    return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_some, r, NULL);
}

void gr_stream_clear(gr_req *r)
{
    if (!r->stream)
        return;
    pthread_mutex_destroy(&r->stream->lock);
    gr_buf_clear(&r->stream->text);
    free(r->stream);
    r->stream = NULL;
}
