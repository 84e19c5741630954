/* completions.c - POST /v1/completions: texts and tokens that are gone on with, without a chat template.
 *
 * Choice i n + k is answer k to prompt i. best_of: so many are written, and the n of the highest mean log-probability
 * of a token, the one that ends a text among them, are told, the likeliest first. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/utf8.h"
#include "serve/endpoints.h"
#include "serve/texts.h"

/* ---- Answers ---- */

/* A token's text, or where it is a part of a character its bytes as OpenAI writes them: bytes:\xe2\x9c. */
static bool add_name(gr_buf *b, const char *p, size_t n)
{
    bool ok = true;

    if (gr_utf8_bad(p, n) == n && !memchr(p, '\0', n))
        return gr_buf_add(b, p, n);
    ok = gr_buf_puts(b, "bytes:");
    for (size_t i = 0; i < n && ok; i++)
        ok = gr_buf_printf(b, "\\x%02x", (unsigned char)p[i]);
    return ok;
}

static size_t characters(const char *p, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)p[i] & 0xc0) != 0x80;
    return count;
}

static bool add_rival(json_t *to, gr_buf *b, const char *text, size_t n, double logprob)
{
    b->n = 0;
    return gr_buf_add(b, "", 0) && add_name(b, text, n) && !json_object_setn_new(to, b->p, b->n, json_real(logprob));
}

static const char *const list[] = { "tokens", "token_logprobs", "top_logprobs", "text_offset" };

static json_t *no_logprobs(void)
{
    return json_pack("{s:[], s:[], s:[], s:[]}", list[0], list[1], list[2], list[3]);
}

static bool add_logprob(gr_one *c, const gram_written *t)
{
    json_t *top = json_object(), *value[GR_COUNT(list)];
    gr_buf b = { 0 };
    bool ok = top != NULL, first = isnan(t->logprob);       /* of a text: nothing stands before it */

    for (size_t i = 0; i < t->n_top && ok; i++)
        ok = add_rival(top, &b, t->top[i].text, t->top[i].bytes, (double)t->top[i].logprob);
    ok = ok && add_rival(top, &b, t->text, t->bytes, first ? 0 : (double)t->logprob);      /* it is told in any case */
    value[0] = ok ? json_stringn(b.p, b.n) : NULL;
    value[1] = first ? json_null() : json_real((double)t->logprob);
    value[2] = first ? json_null() : top;
    if (first)
        json_decref(top);
    value[3] = json_integer(c->offset > 0 ? (json_int_t)c->offset : 0);
    if (!c->logprobs)
        c->logprobs = no_logprobs();
    for (size_t i = 0; i < GR_COUNT(list); i++)
        ok = !json_array_append_new(json_object_get(c->logprobs, list[i]), value[i]) && ok;
    c->offset += (ptrdiff_t)characters(t->text, t->bytes);
    gr_buf_clear(&b);
    return ok;
}

static json_t *choice(gr_one *c, const char *more, size_t n, bool part)
{
    const json_t *front = c->all->echo && !(part && c->begun) ? c->all->front[c->index / c->all->told] : NULL;
    gr_buf b = { 0 };
    json_t *text = NULL;

    if (gr_buf_add(&b, json_string_value(front), json_string_length(front)) && gr_buf_add(&b, more, n))
        text = gr_lossy_json(b.p, b.n);
    gr_buf_clear(&b);
    if (c->all->logprobs && !part && !c->logprobs)          /* asked for, and the text has no token */
        c->logprobs = no_logprobs();
    return json_pack("{s:I, s:o, s:s?, s:O?}", "index", (json_int_t)c->index, "text", text, "finish_reason", c->finish,
                     "logprobs", c->logprobs);
}

static const gr_text_shape shape = { "text_completion", "text_completion", add_logprob, choice };

/* ---- Reading ---- */

static int text_ids(gr_req *r, const json_t *v, gram_writing *w)
{
    int32_t *id, *kept;
    gram_err err;
    gram_status rc = r->engine->prompt_ids(r->engine, json_string_value(v), json_string_length(v), &id, &w->n_ids,
                                           &err);

    if (rc)
        return gr_refuse_err(r, &err);
    kept = gr_req_alloc(r, w->n_ids + 1, sizeof *kept);
    if (kept)
        memcpy(kept, id, w->n_ids * sizeof *id);
    free(id);
    w->id = kept;
    return kept ? 0 : r->status;
}

/* The text of tokens that came as such. */
static int ids_text(gr_req *r, const gram_writing *w, json_t **out)
{
    size_t bytes;
    char *text;
    gram_err err;

    if (r->engine->detokenize(r->engine, w->id, w->n_ids, true, &text, &bytes, &err))
        return gr_refuse_err(r, &err);
    *out = gr_lossy_json(text, bytes);
    free(text);
    return *out ? 0 : gr_nomem_req(r);
}

static int read_one(gr_req *r, json_t *v, const char *name, gram_writing *w)
{
    int32_t *id = NULL;
    int rc = 0;

    if (json_is_array(v)) {
        rc = gr_read_ids(r, v, name, &id, &w->n_ids);
        w->id = id;
        return rc;
    }
    return json_is_string(v) ? text_ids(r, v, w) : gr_refuse_text(r, v, name);
}

static int read_prompts(gr_req *r, gr_texts *st)
{
    json_t *v = json_object_get(r->in, "prompt"), *first = json_array_get(v, 0);
    bool many = json_is_array(v) && !json_is_number(first);
    size_t n = 1;
    int rc = many ? gr_read_list(r, "prompt", v, &n) : 0;

    st->prompts = rc ? 0 : n;
    st->prompt = gr_req_alloc(r, n, sizeof *st->prompt);
    if (rc || !st->prompt)
        return r->status;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_one(r, many ? json_array_get(v, i) : v, many ? gr_at(r, "prompt", i) : "prompt",
                      &st->prompt[i]);
    return rc;
}

/* How much longer the text of the prompt's tokens is than what the client sent: a BOS token, and the space that a
 * tokenizer puts before every text. */
static int count_ahead(gr_req *r, const gr_texts *st, size_t i)
{
    size_t sent = characters(json_string_value(st->front[i]), json_string_length(st->front[i])), read, bytes;
    char *text;
    gram_err err;

    if (r->engine->detokenize(r->engine, st->prompt[i].id, st->prompt[i].n_ids, true, &text, &bytes, &err))
        return gr_refuse_err(r, &err);
    read = characters(text, bytes);
    st->ahead[i] = read > sent ? read - sent : 0;
    free(text);
    return 0;
}

static int read_fronts(gr_req *r, gr_texts *st)
{
    json_t *v = json_object_get(r->in, "prompt");
    bool many = json_is_array(v) && !json_is_number(json_array_get(v, 0));
    int rc = 0;

    st->front = gr_req_alloc(r, st->prompts, sizeof *st->front);
    st->ahead = gr_req_alloc(r, st->prompts, sizeof *st->ahead);
    if (!st->front || !st->ahead)
        return r->status;
    for (size_t i = 0; i < st->prompts && st->echo && !rc; i++) {
        json_t *one = many ? json_array_get(v, i) : v;
        if (json_is_string(one))
            st->front[i] = json_incref(one);
        else
            rc = ids_text(r, &st->prompt[i], &st->front[i]);
        if (!rc && json_is_string(one) && st->logprobs)
            rc = count_ahead(r, st, i);
    }
    return rc;
}

/* How many answers are written for those that are told, and whether their tokens are told one by one. */
static int read_rest(gr_req *r, gr_texts *st)
{
    json_t *logprobs = json_object_get(r->in, "logprobs");
    size_t best = st->told;
    int rc = gr_read_size(r, "best_of", st->told, &best);

    if (!rc)
        rc = gr_read_size(r, "logprobs", 0, &st->top);
    if (rc)
        return rc;
    st->logprobs = logprobs && !json_is_null(logprobs);
    if (st->top > GRAM_TOP_MAX)
        return gr_refuse(r, 422, "logprobs", "logprobs must be at most %d", GRAM_TOP_MAX);
    if (best < st->told || best > GR_TEXTS_MOST)
        return gr_refuse(r, 422, "best_of", "best_of must be n, which is %zu, to %d", st->told, GR_TEXTS_MOST);
    if (best > st->told && st->stream)
        return gr_refuse(r, 422, "best_of", "best_of cannot be streamed: which are the best shows when all are "
                                            "written");
    st->how.n = best;
    if (st->prompts * best > r->opt->max_rows)
        return gr_refuse(r, 413, "prompt", "%zu answers to each of %zu prompts are more than the %zu texts that this "
                         "server writes for a request", best, st->prompts, r->opt->max_rows);
    return 0;
}

int gr_completions(gr_req *r)
{
    gr_texts *st = gr_req_alloc(r, 1, sizeof *st);
    int rc;

    if (!st)
        return r->status;
    if (!r->engine->writer_open)
        return gr_refuse(r, 501, NULL, "this server cannot write text");
    st->shape = &shape;
    r->state = st;
    r->clear = gr_texts_clear;
    rc = gr_refuse_unread(r, GR_READS_COMPLETION);
    if (!rc)
        rc = gr_read_bool(r, "echo", false, &st->echo);
    if (!rc)
        rc = gr_read_writing(r, st);
    if (!rc)
        rc = read_prompts(r, st);
    if (!rc)
        rc = read_rest(r, st);
    if (!rc)
        rc = read_fronts(r, st);
    return rc ? rc : gr_ask_texts(r, st);
}
