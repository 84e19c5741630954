/* chat.c - POST /v1/chat/completions: the judge as a chat, with the log-probabilities of what it writes. */
#include "serve/endpoints.h"
#include "serve/texts.h"

static json_t *token_json(const char *text, size_t n, double logprob)
{
    json_t *bytes = json_array();

    for (size_t i = 0; i < n; i++)
        gr_push(&bytes, json_integer((unsigned char)text[i]));
    return json_pack("{s:o, s:f, s:o}", "token", gr_lossy_json(text, n), "logprob", logprob, "bytes", bytes);
}

static bool add_logprob(gr_one *c, const gram_written *t)
{
    json_t *one = token_json(t->text, t->bytes, (double)t->logprob), *top = json_array();

    for (size_t i = 0; i < t->n_top; i++)
        gr_push(&top, token_json(t->top[i].text, t->top[i].bytes, (double)t->top[i].logprob));
    if (!c->logprobs)
        c->logprobs = json_array();
    if (!one || !top || json_object_set(one, "top_logprobs", top)) {
        json_decref(one);
        one = NULL;
    }
    json_decref(top);
    gr_push(&c->logprobs, one);
    return c->logprobs != NULL;
}

static json_t *choice(gr_one *c, const char *more, size_t n, bool part)
{
    json_t *said = json_object(), *logprobs = json_null();
    bool ok = said && ((part && !n) || !json_object_set_new(said, "content", gr_lossy_json(more, n))) &&
              ((part && c->begun) || !json_object_set_new(said, "role", json_string("assistant")));

    if (c->logprobs || (c->all->logprobs && !part))
        logprobs = c->logprobs ? json_pack("{s:O}", "content", c->logprobs) : json_pack("{s:[]}", "content");
    if (!ok) {
        json_decref(said);
        said = NULL;
    }
    return json_pack("{s:I, s:o, s:s?, s:o}", "index", (json_int_t)c->index, part ? "delta" : "message", said,
                     "finish_reason", c->finish, "logprobs", logprobs);
}

static const gr_text_shape shape = { "chat.completion", "chat.completion.chunk", add_logprob, choice };

int gr_chat(gr_req *r)
{
    gr_texts *st = gr_req_alloc(r, 1, sizeof *st);
    gram_writing *prompt = gr_req_alloc(r, 1, sizeof *prompt);
    json_t *messages = json_object_get(r->in, "messages");
    int rc;

    if (!st || !prompt)
        return r->status;
    if (!r->engine->writer_open)
        return gr_refuse(r, 501, NULL, "this server cannot write text");
    rc = json_is_array(messages) ? gr_read_prompt(r, messages, "messages", &prompt->prompt)
                                 : gr_refuse(r, 422, "messages", "messages must be a list");
    if (!rc)
        rc = gr_refuse_unread(r, GR_READS_CHAT);
    if (!rc)
        rc = gr_read_writing(r, st);
    if (!rc)
        rc = gr_read_bool(r, "logprobs", false, &st->logprobs);
    if (!rc)
        rc = gr_read_size(r, "top_logprobs", 0, &st->top);
    if (rc)
        return rc;
    if (st->top > GRAM_TOP_MAX || (st->top > 0 && !st->logprobs))
        return gr_refuse(r, 422, "top_logprobs", "top_logprobs must be at most %d, and needs logprobs", GRAM_TOP_MAX);
    st->shape = &shape;
    st->prompt = prompt;
    st->prompts = 1;
    return gr_ask_texts(r, st);
}
