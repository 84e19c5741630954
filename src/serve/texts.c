/* texts.c - see texts.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "serve/serve_int.h"
#include "serve/texts.h"

void gr_texts_clear(gr_req *r)
{
    gr_texts *st = r->state;

    for (size_t i = 0; st->front && i < st->prompts; i++)
        json_decref(st->front[i]);
    for (size_t i = 0; st->one && i < st->prompts * st->how.n; i++) {
        gr_buf_clear(&st->one[i].text);
        free(st->one[i].error);
        json_decref(st->one[i].logprobs);
    }
}

json_t *gr_lossy_json(const char *p, size_t n)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_puts(&b, "");
    json_t *s;

    for (const char *end = p + n; ok && p < end; ) {
        const char *zero = memchr(p, '\0', (size_t)(end - p));
        size_t part = (size_t)((zero ? zero : end) - p);
        ok = gr_utf8_add(&b, p, part) && (!zero || gr_buf_puts(&b, "\xef\xbf\xbd"));
        p += part + (zero != NULL);
    }
    s = ok ? json_stringn(b.p, b.n) : NULL;
    gr_buf_clear(&b);
    return s;
}

/* ---- Answers ---- */

json_t *gr_written_json(size_t read, size_t written)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)read, "completion_tokens", (json_int_t)written,
                     "total_tokens", (json_int_t)(read + written));
}

static size_t written(const gr_texts *st)
{
    size_t n = 0;

    for (size_t i = 0; i < st->prompts * st->how.n; i++)
        n += st->one[i].tokens;
    return n;
}

static json_t *usage_json(const gr_texts *st)
{
    return gr_written_json(st->prompt_tokens, written(st));
}

static json_t *envelope(const gr_texts *st, bool part, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:I, s:o}", "id", st->r->id, "object",
                     part ? st->shape->chunk : st->shape->object, "created", (json_int_t)st->created,
                     "model", gr_model_name(st->r), "seed", (json_int_t)st->how.seed, "choices", choices);
}

/* What the path makes of a text, and beside it its seed and why it broke. */
static json_t *choice_json(gr_one *c, const char *more, size_t n, bool part)
{
    json_t *out = c->all->shape->choice(c, more, n, part);
    bool ok = out && !json_object_set_new(out, "seed", json_integer((json_int_t)c->seed));

    if (ok && c->error)
        ok = !json_object_set_new(out, "error", json_pack("{s:i, s:s}", "code", 500, "message", c->error));
    if (ok)
        return out;
    json_decref(out);
    return NULL;
}

/* One that broke is told only where there are no others. */
static double mean_logprob(const gr_one *c)
{
    if (c->error)
        return -INFINITY;
    return c->logprob / (double)gr_max(c->tokens, 1);
}

/* The likeliest come first, of equal ones the earlier; without best_of all are told as they are. */
static void sort_answers(const gr_texts *st, gr_one *one)
{
    for (size_t i = 1; i < st->how.n && st->told < st->how.n; i++) {
        gr_one c = one[i];
        size_t at = i;
        for (; at > 0 && mean_logprob(&one[at - 1]) < mean_logprob(&c); at--)
            one[at] = one[at - 1];
        one[at] = c;
    }
}

static int answer(gr_req *r)
{
    gr_texts *st = r->state;
    json_t *choices = json_array(), *out;

    for (size_t i = 0; i < st->prompts; i++) {
        gr_one *one = st->one + i * st->how.n;
        sort_answers(st, one);
        for (size_t k = 0; k < st->told; k++) {
            one[k].index = i * st->told + k;
            gr_push(&choices, choice_json(&one[k], one[k].text.p ? one[k].text.p : "", one[k].text.n, false));
        }
    }
    out = envelope(st, false, choices);
    if (out && json_object_set_new(out, "usage", usage_json(st))) {
        json_decref(out);
        out = NULL;
    }
    return gr_answer(r, out);
}

static bool send_part(gr_one *c, const char *more, size_t n)
{
    json_t *choices = json_array();
    bool ok;

    gr_push(&choices, choice_json(c, more, n, true));
    ok = gr_stream_event(c->all->r, envelope(c->all, true, choices));
    json_decref(c->logprobs);
    c->logprobs = NULL;
    return ok;
}

static bool send_end(gr_texts *st)
{
    if (st->usage) {
        json_t *last = envelope(st, true, json_array());
        if (!last || json_object_set_new(last, "usage", usage_json(st)) || !gr_stream_event(st->r, last))
            return false;
    }
    return gr_stream_done(st->r);
}

/* ---- Writing ---- */

/* The text ends, and the others go on. Where none is left, and the client has heard of none, the request fails. */
static gram_status break_text(gr_one *c, const char *why, gram_err *err)
{
    gr_texts *st = c->all;

    c->error = gr_strdup(why);
    c->finish = "error";
    if (!c->error)
        return gr_nomem(err, "a text");
    if (++st->broken == st->prompts * st->how.n && !(st->stream && gr_stream_begun(st->r)))
        return gr_fail(err, GRAM_EFORMAT, "%s", c->error);
    return !st->stream || send_part(c, "", 0) ? GRAM_OK : gr_nomem(err, "a text");
}

static gram_status add_token(void *arg, const gram_written *t, gram_err *err)
{
    gr_one *c = (gr_one *)arg + t->k;
    gr_texts *st = c->all;

    if (t->ended && t->finish == GRAM_FINISH_FAILED)
        return break_text(c, t->error, err);
    st->r->s->metrics.text_tokens++;
    st->r->s->metrics.texts += t->ended;
    c->tokens++;                            /* the token that ends the text counts, though it has none */
    c->logprob += (double)t->logprob;
    if (!t->by_end && st->logprobs && !st->shape->add_logprob(c, t))
        return gr_nomem(err, "a text");
    if (t->ended)
        c->finish = t->finish == GRAM_FINISH_LENGTH ? "length" : "stop";
    if (st->stream && (t->more_bytes || t->ended || c->logprobs || !c->begun) && !send_part(c, t->more, t->more_bytes))
        return gr_nomem(err, "a text");
    c->begun = true;
    return st->stream || gr_buf_add(&c->text, t->more, t->more_bytes) ? GRAM_OK : gr_nomem(err, "a text");
}

static gram_status add_front(void *arg, const gram_written *t, gram_err *err)
{
    gr_one *c = arg;

    return c->all->shape->add_logprob(c, t) ? GRAM_OK : gr_nomem(err, "a text");
}

/* The texts of a prompt whose own tokens have no log-probabilities. */
static gram_status break_all(gr_one *one, gram_err *err)
{
    const gram_err why = *err;
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < one->all->how.n && !rc; k++)
        rc = break_text(&one[k], why.text, err);
    one->all->left--;
    return rc;
}

/* The tokens of the next prompt itself: one in a step, so that others need not wait for all of them. */
static gram_status read_front(gr_engine *e, gr_texts *st, gram_err *err)
{
    const gram_writing *p = &st->prompt[st->read];
    gr_one *one = st->one + st->read++ * st->how.n;
    gram_status rc = e->text_logprobs(e, p->id, p->n_ids, st->top, add_front, one, err);

    if (rc == GRAM_EFORMAT)
        return break_all(one, err);
    for (size_t k = 1; k < st->how.n && !rc; k++) {
        one[k].offset = one->offset;
        one[k].logprobs = json_deep_copy(one->logprobs);
        rc = one[k].logprobs ? GRAM_OK : gr_nomem(err, "a text");
    }
    return rc;
}

/* Nothing is written: the prompts are all there is to tell. */
static gram_status end_all(gr_texts *st, gram_err *err)
{
    for (size_t i = 0; i < st->prompts * st->how.n; i++) {
        if (st->one[i].error)
            continue;
        st->one[i].finish = "length";
        if (st->stream && !send_part(&st->one[i], "", 0))
            return gr_nomem(err, "a text");
    }
    for (size_t i = 0; i < st->prompts; i++)
        st->prompt_tokens += st->prompt[i].n_ids;
    st->left = 0;
    return GRAM_OK;
}

static gram_status open_all(gr_engine *e, gr_texts *st, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < st->prompts && !rc; i++) {
        size_t tokens = 0;
        if (st->one[i * st->how.n].error) {
            st->prompt_tokens += st->prompt[i].n_ids;
            continue;
        }
        st->prompt[i].how = &st->how;
        st->prompt[i].seed = st->seed + i * st->how.n;
        st->prompt[i].top = st->top;
        rc = e->writer_open(e, &st->writer[i], &st->prompt[i], &tokens, err);
        if (rc && st->prompts > 1) {
            const gram_err why = *err;
            gr_fail(err, rc, "prompt %zu: %s", i, why.text);
        }
        st->prompt_tokens += tokens;
    }
    st->opened = true;
    return rc;
}

/* First what stands before the texts is read, which others' texts need not wait for; then they have a token each. */
static gram_status step(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    gr_texts *st = arg;
    gram_status rc = GRAM_OK;

    if (!st->r->job.in_turns) {
        *again = true;
        rc = read_front(e, st, err);
        st->r->job.in_turns = st->read == st->prompts;
        return rc;
    }
    if (!st->opened)
        rc = st->how.max_new_tokens ? open_all(e, st, err) : end_all(st, err);

    for (size_t i = 0; i < st->prompts && !rc; i++) {
        bool more = true;
        if (!st->writer[i])
            continue;
        rc = e->writer_next(st->writer[i], add_token, st->one + i * st->how.n, &more, err);
        if (!rc && !more) {
            e->writer_close(st->writer[i]);
            st->writer[i] = NULL;
            st->left--;
        }
    }
    *again = st->left > 0;
    if (!*again)
        st->r->tokens = st->prompt_tokens + written(st);            /* for the log */
    if (!rc && !*again && st->stream && !send_end(st))
        rc = gr_nomem(err, "a text");
    return rc;
}

/* Only the worker touches the engine's writers: nobody else waits for what it computes. */
static void end(gr_engine *e, void *arg)
{
    gr_texts *st = arg;

    for (size_t i = 0; i < st->prompts; i++)
        if (st->writer[i])
            e->writer_close(st->writer[i]);
}

int gr_ask_texts(gr_req *r, gr_texts *st)
{
    st->r = r;
    st->left = st->prompts;
    st->created = time(NULL);
    st->writer = gr_req_alloc(r, st->prompts, sizeof *st->writer);
    st->one = gr_req_alloc(r, st->prompts * st->how.n, sizeof *st->one);
    st->seed = gr_req_alloc(r, st->prompts * st->how.n, sizeof *st->seed);
    if (!st->writer || !st->one || !st->seed)
        return r->status;
    for (size_t i = 0; i < st->prompts * st->how.n; i++) {
        st->seed[i] = (st->how.seed + (st->drawn ? i : i % st->how.n)) & INT64_MAX;
        st->one[i].seed = st->seed[i];
        st->one[i].all = st;
        st->one[i].index = i;
        st->one[i].offset = st->ahead ? -(ptrdiff_t)st->ahead[i / st->how.n] : 0;
    }
    r->state = st;
    r->clear = gr_texts_clear;
    if (st->stream) {
        int rc = gr_stream_open(r);
        if (rc)
            return rc;
    }
    r->job.end = end;
    r->job.in_turns = !(st->echo && st->logprobs);
    return gr_ask_step(r, step, st, answer);
}
