/* chat.c - which chat template is meant, and conversations rendered without a model. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "gram/chat.h"

#define TEMPLATE_MOST ((size_t)16 << 20)

struct gram_template { gr_chat chat; };

/* --template FILE */
static gram_status read_program(char **text, const char *path, gram_err *err)
{
    size_t n;

    *text = NULL;
    if (!gr_path_exists(path))
        return gr_fail(err, GRAM_EARG, "chat template \"%s\": neither one of chatml, llama3, llama2, mistral, qwen3 "
                       "and gemma nor a file", path);
    return gr_read_file(path, TEMPLATE_MOST, text, &n, err);
}

gram_status gr_api_chat(gr_chat *out, const struct checkpoint *c, const gram_options *o, bool judge, gram_err *err)
{
    gr_chat_facts facts = c->facts;
    const char *name = o->chat_template ? o->chat_template : c->card.reads.template;
    char *text = NULL;
    gram_status rc = GRAM_OK;

    *out = (gr_chat){ 0 };
    if (name && !gr_chat_parse(name)) {
        rc = read_program(&text, name, err);
        facts.jinja = text;
        facts.jinja_tools = facts.names = NULL;
        facts.source = name;
        name = NULL;
    }
    facts.args = o->chat_args ? o->chat_args : c->card.reads.chat_args;
    facts.no_thinking = judge;
    if (!rc)
        rc = gr_chat_init(out, name, &facts, c->tok, err);
    if (!rc && o->note && gr_chat_dated(out) && !getenv("SOURCE_DATE_EPOCH"))
        o->note(o->note_arg, "the chat template writes today's date (strftime_now), so scores depend on the day; "
                "SOURCE_DATE_EPOCH holds it still");
    free(text);
    return rc;
}

/* ---- Templates alone ---------------------------------------------------------------------------- */

static gram_status new_template(gram_template **out, gr_chat *chat, gram_err *err)
{
    *out = gr_calloc(1, sizeof **out);
    if (!*out) {
        gr_chat_clear(chat);
        return gr_nomem(err, "chat template");
    }
    (*out)->chat = *chat;
    return GRAM_OK;
}

gram_status gram_template_open(gram_template **out, const char *model, const gram_options *opt, gram_err *err)
{
    const gram_options defaults = { 0 };
    struct checkpoint c;
    gr_chat chat;
    gram_status rc;

    *out = NULL;
    opt = opt ? opt : &defaults;
    rc = gr_checkpoint_words(&c, model, opt->base, err);
    if (rc)
        return rc;
    rc = gr_api_chat(&chat, &c, opt, false, err);
    gr_checkpoint_clear(&c);
    return rc ? rc : new_template(out, &chat, err);
}

gram_status gram_template_new(gram_template **out, const char *name, const char *text, const char *tokens,
                              const char *args, gram_err *err)
{
    const gr_chat_facts facts = { .jinja = text, .source = name, .tokens = tokens, .args = args };
    gr_chat chat;
    gram_status rc;

    *out = NULL;
    rc = gr_chat_init(&chat, NULL, &facts, NULL, err);
    return rc ? rc : new_template(out, &chat, err);
}

gram_status gram_template_render(const gram_template *t, const char *json, size_t bytes, char **text, size_t *n,
                                 gram_err *err)
{
    json_error_t e;
    json_t *o = json_loadb(json, bytes, JSON_ALLOW_NUL, &e);
    gr_chat_text out = { 0 };
    gram_status rc;

    *text = NULL;
    if (!o)
        return gr_fail(err, json_error_code(&e) == json_error_out_of_memory ? GRAM_ENOMEM : GRAM_EFORMAT,
                       "not JSON: %s", e.text);
    rc = gr_chat_render_json(&t->chat, o, &out, err);
    json_decref(o);
    if (!rc) {
        *text = out.text.p;                 /* the caller's from here on */
        *n = out.text.n;
        out.text = (gr_buf){ 0 };
    }
    gr_chat_text_clear(&out);
    return rc;
}

void gram_template_close(gram_template *t)
{
    if (!t)
        return;
    gr_chat_clear(&t->chat);
    free(t);
}
