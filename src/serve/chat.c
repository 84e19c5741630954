/* chat.c - POST /v1/chat/completions: the judge as a chat, with the log-probabilities of what it writes.
 *
 * A token is one step of the job, so a long answer and everybody's pairs take turns. Choices are written one after
 * the other, choice k with seed + k. Streamed text stays back while it may be the beginning of a stop string or is
 * part of a character. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/endpoints.h"
#include "serve/serve_int.h"

enum { STOPS = 16, CHOICES = 16 };

typedef struct { gr_buf text; json_t *logprobs; const char *finish; size_t tokens; } choice;

typedef struct {
    gr_req *r;
    gram_prompt prompt;
    gram_writer_options opt;
    gram_writer *writer;
    gram_written top[GRAM_TOP_MAX];
    const char *stop[STOPS];
    size_t n_stop, longest_stop, max_tokens, n, k, prompt_tokens;
    size_t sent;                    /* bytes of the current choice that were streamed */
    bool logprobs, stream, usage;
    choice out[CHOICES];
} chat_state;

static void clear(gr_req *r)
{
    chat_state *st = r->state;

    if (st->writer)
        r->engine->writer_close(st->writer);
    for (size_t k = 0; k < st->n; k++) {
        gr_buf_clear(&st->out[k].text);
        json_decref(st->out[k].logprobs);
    }
}

/* ---- Text that may not be UTF-8 ---- */

static json_t *text_json(const char *p, size_t n)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_puts(&b, "");
    json_t *s;

    for (size_t i = 0; i < n; ) {
        int len = gr_char_bytes((const unsigned char *)p + i, n - i);
        if (len <= 0 || p[i] == '\0')
            ok = ok && gr_buf_puts(&b, "\xef\xbf\xbd");
        else
            ok = ok && gr_buf_add(&b, p + i, (size_t)len);
        i += len > 0 ? (size_t)len : 1;
    }
    s = ok ? json_stringn(b.p, b.n) : NULL;
    gr_buf_clear(&b);
    return s;
}

/* Bytes of the text that may be shown while more is to come. */
static size_t settled_bytes(const chat_state *st, const gr_buf *text)
{
    size_t hold = st->longest_stop ? st->longest_stop - 1 : 0, n = text->n > hold ? text->n - hold : 0;

    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *p = (const unsigned char *)text->p + n - back;
        if (gr_char_bytes(p, back) == 0)
            return n - back;
    }
    return n;
}

/* ---- Answers ---- */

static json_t *token_json(const gram_written *t)
{
    json_t *bytes = json_array();

    for (size_t i = 0; i < t->bytes; i++)
        gr_push(&bytes, json_integer((unsigned char)t->text[i]));
    return json_pack("{s:o, s:f, s:o}", "token", text_json(t->text, t->bytes), "logprob", (double)t->logprob,
                     "bytes", bytes);
}

static json_t *logprob_json(const chat_state *st, const gram_written *t)
{
    json_t *one = token_json(t), *top = json_array();

    for (size_t i = 0; i < st->opt.top_logprobs; i++)
        gr_push(&top, token_json(&st->top[i]));
    if (one && top && !json_object_set(one, "top_logprobs", top)) {
        json_decref(top);
        return one;
    }
    json_decref(one);
    json_decref(top);
    return NULL;
}

static json_t *usage_json(const chat_state *st)
{
    size_t written = 0;

    for (size_t k = 0; k < st->n; k++)
        written += st->out[k].tokens;
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)st->prompt_tokens, "completion_tokens",
                     (json_int_t)written, "total_tokens", (json_int_t)(st->prompt_tokens + written));
}

static json_t *envelope(gr_req *r, const char *object, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", r->id, "object", object, "created", (json_int_t)time(NULL),
                     "model", gr_model_name(r), "choices", choices);
}

static int answer(gr_req *r)
{
    const chat_state *st = r->state;
    json_t *choices = json_array(), *out;

    for (size_t k = 0; k < st->n; k++) {
        const choice *c = &st->out[k];
        gr_push(&choices, json_pack("{s:I, s:{s:s, s:o}, s:s, s:o}", "index", (json_int_t)k, "message", "role",
                                    "assistant", "content", text_json(c->text.p ? c->text.p : "", c->text.n),
                                    "finish_reason", c->finish, "logprobs",
                                    c->logprobs ? json_pack("{s:O}", "content", c->logprobs) : json_null()));
    }
    out = envelope(r, "chat.completion", choices);
    if (out)
        json_object_set_new(out, "usage", usage_json(st));
    return gr_answer(r, out);
}

/* One event; json becomes the stream's. */
static bool send_event(gr_req *r, json_t *json)
{
    char *text = gr_json_text(json, JSON_COMPACT);
    gr_buf b = { 0 };
    bool ok = text && gr_buf_printf(&b, "data: %s\n\n", text) && gr_stream_add(r, b.p, b.n);

    free(text);
    json_decref(json);
    gr_buf_clear(&b);
    return ok;
}

/* Streams what is settled of the current choice. logprobs: of the newest token, taken over; NULL: none. */
static bool send_delta(chat_state *st, json_t *logprobs)
{
    choice *c = &st->out[st->k];
    size_t upto = c->finish ? c->text.n : settled_bytes(st, &c->text);
    json_t *delta = json_object();
    bool ok = true;

    if (upto > st->sent)
        ok = json_object_set_new(delta, "content", text_json(c->text.p + st->sent, upto - st->sent)) == 0;
    if (c->tokens == 1 && ok)
        ok = json_object_set_new(delta, "role", json_string("assistant")) == 0;
    st->sent = gr_max(st->sent, upto);
    if (!ok) {
        json_decref(delta);
        json_decref(logprobs);
        return false;
    }
    return send_event(st->r, envelope(st->r, "chat.completion.chunk",
                      json_pack("[{s:I, s:o, s:s?, s:o}]", "index", (json_int_t)st->k, "delta", delta,
                                "finish_reason", c->finish, "logprobs",
                                logprobs ? json_pack("{s:[o]}", "content", logprobs) : json_null())));
}

static bool send_end(chat_state *st)
{
    static const char done[] = "data: [DONE]\n\n";

    if (st->usage) {
        json_t *last = envelope(st->r, "chat.completion.chunk", json_array());
        if (!last || json_object_set_new(last, "usage", usage_json(st)) || !send_event(st->r, last))
            return false;
    }
    return gr_stream_add(st->r, done, sizeof done - 1);
}

/* ---- Writing ---- */

/* Cuts the text at the first stop string, which may reach back into earlier tokens. */
static bool cut_at_stop(const chat_state *st, gr_buf *text, size_t newest)
{
    size_t reach = newest + st->longest_stop, from = text->n > reach ? text->n - reach : 0;
    char *first = NULL;

    for (size_t i = 0; i < st->n_stop; i++) {
        char *p = memmem(text->p + from, text->n - from, st->stop[i], strlen(st->stop[i]));
        if (p && (!first || p < first))
            first = p;
    }
    if (first) {
        text->n = (size_t)(first - text->p);
        *first = '\0';
    }
    return first != NULL;
}

static gram_status add_token(chat_state *st, const gram_written *t, gram_err *err)
{
    choice *c = &st->out[st->k];
    json_t *lp = NULL;

    c->tokens++;
    if (!gr_buf_add(&c->text, t->text, t->bytes))
        return gr_nomem(err, "chat");
    if (cut_at_stop(st, &c->text, t->bytes))
        c->finish = "stop";
    else if (c->tokens >= st->max_tokens)
        c->finish = "length";
    if (st->logprobs) {
        lp = logprob_json(st, t);
        if (!lp)
            return gr_nomem(err, "chat");
    }
    if (st->stream)
        return send_delta(st, lp) ? GRAM_OK : gr_nomem(err, "chat");
    if (lp && json_array_append_new(c->logprobs, lp))
        return gr_nomem(err, "chat");
    return GRAM_OK;
}

/* One token of the current choice. */
static gram_status step(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    chat_state *st = arg;
    choice *c = &st->out[st->k];
    gram_writer_options opt = st->opt;
    gram_written token;
    bool end;
    gram_status rc = GRAM_OK;

    *again = true;
    if (!st->writer) {
        opt.seed += st->k;
        st->sent = 0;
        return e->writer_open(e, &st->writer, st->prompt, &opt, &st->prompt_tokens, err);
    }
    rc = e->writer_next(st->writer, &token, st->top, &end, err);
    if (rc == GRAM_ELIMIT && c->tokens > 0) {           /* the context is full: the answer ends as one cut off */
        c->finish = "length";
        rc = GRAM_OK;
        end = true;
    } else if (!rc && end)
        c->finish = "stop";
    if (rc)
        return rc;
    if (!end)
        rc = add_token(st, &token, err);
    else if (st->stream && !send_delta(st, NULL))
        rc = gr_nomem(err, "chat");
    if (rc || !c->finish)
        return rc;
    e->writer_close(st->writer);
    st->writer = NULL;
    *again = ++st->k < st->n;
    if (!*again && st->stream && !send_end(st))
        rc = gr_nomem(err, "chat");
    return rc;
}

/* ---- Reading ---- */

static int read_stops(gr_req *r, chat_state *st)
{
    json_t *v = json_object_get(r->in, "stop");
    size_t n = json_is_array(v) ? json_array_size(v) : v && !json_is_null(v);

    if (n > STOPS)
        return gr_refuse(r, 422, "stop", "stop holds %zu strings; this server takes %d", n, STOPS);
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_is_array(v) ? json_array_get(v, i) : v);
        if (!s || !s[0])
            return gr_refuse(r, 422, "stop", "stop must be a string or a list of strings, none of them empty");
        st->stop[st->n_stop++] = s;
        st->longest_stop = gr_max(st->longest_stop, strlen(s));
    }
    return 0;
}

/* Below zero: another one each time, as llama.cpp and vLLM take -1. */
static int read_seed(gr_req *r, uint64_t *out)
{
    json_t *v = json_object_get(r->in, "seed");

    if (v && !json_is_null(v) && !json_is_integer(v))
        return gr_refuse(r, 422, "seed", "seed must be a whole number; below 0 it is drawn");
    *out = (uint64_t)json_integer_value(v);
    if (json_integer_value(v) < 0 && getrandom(out, sizeof *out, 0) != sizeof *out)
        return gr_refuse(r, 503, "seed", "no seed could be drawn; give one");
    return 0;
}

static int check(gr_req *r, const char *name, double v, double low, double high, const char *wanted)
{
    return v >= low && v <= high ? 0 : gr_refuse(r, 422, name, "%s must be %s", name, wanted);
}

/* How a token is drawn. What 0 leaves alone in the library is 1 for a penalty that multiplies, and -1 for top_k too. */
static int read_sampling(gr_req *r, gram_writer_options *o)
{
    static const char *const repetition[] = { "repetition_penalty", "repeat_penalty", NULL };
    json_t *k = json_object_get(r->in, "top_k"), *v = gr_field(r, repetition);
    int rc = gr_read_number(r, "temperature", 1, &o->temperature);

    if (!rc)
        rc = gr_read_number(r, "top_p", 1, &o->top_p);
    if (!rc && !(json_is_integer(k) && json_integer_value(k) == -1))
        rc = gr_read_size(r, "top_k", 0, &o->top_k);
    if (!rc)
        rc = gr_read_number(r, "min_p", 0, &o->min_p);
    if (!rc)
        rc = gr_read_number(r, "presence_penalty", 0, &o->presence_penalty);
    if (!rc)
        rc = gr_read_number(r, "frequency_penalty", 0, &o->frequency_penalty);
    if (!rc && v && !json_is_number(v))
        rc = gr_refuse(r, 422, "repetition_penalty", "repetition_penalty must be a number");
    o->repetition_penalty = v ? json_number_value(v) : 1;
    if (!rc)
        rc = check(r, "temperature", o->temperature, 0, 100, "0 to 100");
    if (!rc)
        rc = check(r, "top_p", o->top_p, 1e-9, 1, "above 0 and at most 1");
    if (!rc)
        rc = check(r, "min_p", o->min_p, 0, 1, "0 to 1");
    if (!rc)
        rc = check(r, "presence_penalty", o->presence_penalty, -100, 100, "-100 to 100");
    if (!rc)
        rc = check(r, "frequency_penalty", o->frequency_penalty, -100, 100, "-100 to 100");
    return rc ? rc : check(r, "repetition_penalty", o->repetition_penalty, 0.01, 100, "0.01 to 100");
}

/* How long the answer may get, and what ends it. */
static int read_length(gr_req *r, chat_state *st)
{
    static const char *const max_names[] = { "max_completion_tokens", "max_tokens", NULL };
    json_t *max = gr_field(r, max_names), *ids = json_object_get(r->in, "stop_token_ids");
    int32_t *id = NULL;
    int rc = gr_read_size(r, "min_tokens", 0, &st->opt.min_tokens);

    if (rc)
        return rc;
    if (max && (!json_is_integer(max) || json_integer_value(max) < 1))
        return gr_refuse(r, 422, "max_tokens", "max_tokens must be a whole number, 1 or more");
    st->max_tokens = gr_min(max ? (size_t)json_integer_value(max) : r->opt->max_new_tokens, r->opt->max_new_tokens);
    st->opt.max_tokens = st->max_tokens;    /* for so many the memory is kept */
    if (st->opt.min_tokens > st->max_tokens)
        return gr_refuse(r, 422, "min_tokens", "min_tokens must be at most the %zu tokens that are written",
                         st->max_tokens);
    if (ids && !json_is_null(ids) && !(json_is_array(ids) && !json_array_size(ids)))
        rc = gr_read_ids(r, ids, "stop_token_ids", &id, &st->opt.n_stop_ids);
    st->opt.stop_ids = id;
    return rc ? rc : read_stops(r, st);
}

static int read_options(gr_req *r, chat_state *st)
{
    json_t *format = json_object_get(r->in, "response_format");
    const char *kind = json_string_value(json_object_get(format, "type"));
    size_t top = 0, n = 1;
    int rc = gr_refuse_unread_chat(r);

    if (!rc)
        rc = read_sampling(r, &st->opt);
    if (!rc)
        rc = read_seed(r, &st->opt.seed);
    if (!rc)
        rc = gr_read_size(r, "n", 1, &n);
    if (!rc)
        rc = gr_read_bool(r, "logprobs", false, &st->logprobs);
    if (!rc)
        rc = gr_read_size(r, "top_logprobs", 0, &top);
    if (!rc)
        rc = gr_read_bool(r, "stream", false, &st->stream);
    if (rc)
        return rc;
    if (n < 1 || n > CHOICES)
        return gr_refuse(r, 422, "n", "n must be 1 to %d", CHOICES);
    if (top > GRAM_TOP_MAX || (top > 0 && !st->logprobs))
        return gr_refuse(r, 422, "top_logprobs", "top_logprobs must be at most %d, and needs logprobs", GRAM_TOP_MAX);
    if (kind && strcmp(kind, "text"))
        return gr_refuse(r, 422, "response_format", "response_format must be of type text");
    st->opt.top_logprobs = top;
    st->n = n;
    st->usage = json_is_true(json_object_get(json_object_get(r->in, "stream_options"), "include_usage"));
    return read_length(r, st);
}

int gr_chat(gr_req *r)
{
    chat_state *st = gr_req_alloc(r, 1, sizeof *st);
    json_t *messages = json_object_get(r->in, "messages");
    int rc;

    if (!st)
        return r->status;
    if (!r->engine->writer_open)
        return gr_refuse(r, 501, NULL, "this server cannot write text");
    st->r = r;
    rc = json_is_array(messages) ? gr_read_prompt(r, messages, "messages", &st->prompt)
                                 : gr_refuse(r, 422, "messages", "messages must be a list");
    if (!rc)
        rc = read_options(r, st);
    if (rc)
        return rc;
    r->state = st;
    r->clear = clear;
    for (size_t k = 0; k < st->n && st->logprobs && !st->stream; k++)
        if (!(st->out[k].logprobs = json_array()))
            return gr_nomem_req(r);
    if (st->stream) {
        rc = gr_stream_open(r);
        if (rc)
            return rc;
    }
    return gr_ask_step(r, step, st, answer);
}
