/* meta.c - what the server says about itself: health, models, the page; and the tokenizer. */
#include <stdlib.h>
#include <string.h>
#include "serve/assets.h"
#include "serve/endpoints.h"
#include "serve/serve_int.h"

int gr_health(gr_req *r)
{
    switch (gr_serve_get_state(r->s, NULL)) {
    case GR_SERVE_READY:    return gr_answer(r, json_pack("{s:s, s:s}", "status", "ok", "model", gr_model_name(r)));
    case GR_SERVE_LOADING:  return gr_refuse(r, 503, NULL, "Loading model");
    case GR_SERVE_DRAINING: return gr_refuse(r, 503, NULL, "the server is shutting down");
    case GR_SERVE_FAILED:   break;
    }
    return gr_refuse(r, 503, NULL, "the model could not be loaded");
}

int gr_models(gr_req *r)
{
    return gr_answer(r, json_pack("{s:s, s:[{s:s, s:s, s:I, s:s, s:s*}]}", "object", "list", "data", "id",
                                  gr_model_name(r), "object", "model", "created", (json_int_t)r->s->started, "owned_by",
                                  "gram", "system_fingerprint", gr_fingerprint(r)));
}

int gr_page(gr_req *r)
{
    for (size_t i = 0; i < gr_n_assets; i++)
        if (!strcmp(gr_assets[i].path, r->route->path)) {
            r->asset = gr_assets[i].begin;
            r->asset_n = (size_t)(gr_assets[i].end - gr_assets[i].begin);
            r->type = gr_assets[i].type;
            return 0;
        }
    return gr_refuse(r, 404, NULL, "no such file");
}

/* ---- The tokenizer ---- */

enum { AT_ONCE = 1 << 16 };                 /* bytes of text: more takes so long that it waits for the worker */

typedef struct { json_t *text; bool special, bos; int32_t *id; size_t n; } tokenize_state;

static void tokenize_clear(gr_req *r)
{
    free(((tokenize_state *)r->state)->id);
}

static gram_status tokenize(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    tokenize_state *st = arg;

    *again = false;
    if (st->bos)
        return e->prompt_ids(e, json_string_value(st->text), json_string_length(st->text), &st->id, &st->n, err);
    return e->tokenize(e, json_string_value(st->text), json_string_length(st->text), st->special, &st->id, &st->n, err);
}

static int tokenize_answer(gr_req *r)
{
    const tokenize_state *st = r->state;
    json_t *out = json_array();

    for (size_t i = 0; i < st->n; i++)
        gr_push(&out, json_integer(st->id[i]));
    return gr_answer(r, json_pack("{s:o, s:I}", "tokens", out, "count", (json_int_t)st->n));
}

int gr_tokenize(gr_req *r)
{
    static const char *const names[] = { "content", "prompt", "text", NULL };
    tokenize_state *st = gr_req_alloc(r, 1, sizeof *st);
    bool again, bos[2] = { false, false };
    gram_err err;
    int rc;

    if (!st)
        return r->status;
    r->state = st;
    r->clear = tokenize_clear;
    st->text = gr_field(r, names);
    rc = gr_refuse_unread(r, GR_READS_TEXT);
    if (!rc)
        rc = gr_check_all_names(r, names);
    if (!rc)
        rc = gr_check_names(r, "add_special", "add_special_tokens");
    if (!rc)
        rc = gr_read_bool(r, "add_special", false, &bos[0]);
    if (!rc)
        rc = gr_read_bool(r, "add_special_tokens", false, &bos[1]);
    if (!rc)
        rc = gr_read_bool(r, "parse_special", true, &st->special);
    st->bos = bos[0] || bos[1];
    if (!rc && st->bos && !st->special)
        rc = gr_refuse(r, 422, "parse_special", "parse_special false: where add_special puts a BOS token, special "
                       "tokens in the text count as such");
    if (rc)
        return rc;
    if (!json_is_string(st->text))
        return gr_refuse(r, 422, "content", "content must be a string");
    if (json_string_length(st->text) > AT_ONCE)
        return gr_ask_step(r, tokenize, st, tokenize_answer);
    return tokenize(r->engine, st, &again, &err) ? gr_refuse_err(r, &err) : tokenize_answer(r);
}

int gr_detokenize(gr_req *r)
{
    int32_t *id;
    size_t n, bytes = 0;
    char *text = NULL;
    gram_err err;
    int rc = gr_refuse_unread(r, GR_READS_TOKENS);

    if (!rc)
        rc = gr_read_ids(r, json_object_get(r->in, "tokens"), "tokens", &id, &n);
    if (rc)
        return rc;
    if (r->engine->detokenize(r->engine, id, n, true, &text, &bytes, &err))
        return gr_refuse_err(r, &err);
    rc = gr_is_text(text, bytes) ? gr_answer(r, json_pack("{s:s}", "content", text))
                                 : gr_refuse(r, 422, "tokens", "these tokens are not whole characters");
    free(text);
    return rc;
}

/* llama.cpp's: {"messages": [..]} -> {"prompt": the text that the model would read}. */
int gr_apply_template(gr_req *r)
{
    json_t *messages = json_object_get(r->in, "messages");
    gram_prompt prompt;
    char *text;
    gram_err err;
    int rc = gr_refuse_unread(r, GR_READS_TEMPLATE);

    if (!rc)
        rc = json_is_array(messages) ? gr_read_prompt(r, messages, "messages", &prompt)
                                     : gr_refuse(r, 422, "messages", "messages must be a list");
    if (rc)
        return rc;
    if (r->engine->show_chat(r->engine, prompt, &text, &err))
        return gr_refuse_err(r, &err);
    rc = gr_answer(r, json_pack("{s:s}", "prompt", text));
    free(text);
    return rc;
}
