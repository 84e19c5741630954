/* chat.c - which chat template is meant, and conversations rendered without a model. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/utf8.h"
#include "data/rows.h"
#include "gram/chat.h"

#define TEMPLATE_MOST ((size_t)16 << 20)

struct gram_template { gr_chat chat; };

/* --template FILE */
static gram_status read_program(char **text, const char *path, gram_err *err)
{
    size_t n = 0;
    gram_status rc;

    *text = NULL;
    if (!gr_path_exists(path))
        return gr_fail(err, GRAM_EARG, "chat template \"%s\": neither one of chatml, llama3, llama2, mistral, qwen3 "
                       "and gemma nor a file", path);
    rc = gr_read_file(path, TEMPLATE_MOST, text, &n, err);
    gr_utf8_unmark(*text, &n);
    return rc;
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
        rc = gr_chat_init(out, name, &facts, c->words.tok, err);
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

/* o goes. */
static gram_status render(const gram_template *t, json_t *o, char **text, size_t *n, gram_err *err)
{
    gr_chat_text out = { 0 };
    gram_status rc = gr_chat_render_json(&t->chat, o, &out, err);

    json_decref(o);
    if (!rc) {
        *text = out.text.p;                 /* the caller's from here on */
        *n = out.text.n;
        out.text = (gr_buf){ 0 };
    }
    gr_chat_text_clear(&out);
    return rc;
}

gram_status gram_template_render(const gram_template *t, const char *json, size_t bytes, char **text, size_t *n,
                                 gram_err *err)
{
    json_error_t e;
    json_t *o = json_loadb(json, bytes, JSON_ALLOW_NUL, &e);

    *text = NULL;
    if (!o)
        return gr_fail(err, json_error_code(&e) == json_error_out_of_memory ? GRAM_ENOMEM : GRAM_EFORMAT,
                       "not JSON: %s", e.text);
    return render(t, o, text, n, err);
}

/* Of a row whose columns were named, what is no part of a conversation; of any, a key without a value: tables have
 * those for what a row has not. */
static void leave_alone(json_t *row, bool named)
{
    static const char *const known[] = { "messages", "tools", "documents", "add_generation_prompt", "arguments" };
    const char *key;
    json_t *v;
    void *next;

    json_object_foreach_safe(row, next, key, v) {
        size_t i = 0;
        while (i < GR_COUNT(known) && strcmp(known[i], key))
            i++;
        if (i < GR_COUNT(known) ? json_is_null(v) : named)
            json_object_del(row, key);
    }
}

static gram_status next_text(const gram_template *t, gr_reader *r, bool named, bool *end, char **text, size_t *n,
                             gram_err *err)
{
    json_t *row;
    gram_status rc = gr_reader_json(r, &row, err);
    const char *odd;
    gr_at at;

    *end = !rc && !row;
    if (rc || !row)
        return rc;
    leave_alone(row, named);
    at = gr_reader_at(r, err);
    odd = gr_json_find_odd(&at, row);
    if (!odd)
        return render(t, row, text, n, err);
    json_decref(row);
    return gr_bad(&at, "the conversation holds %s", odd);
}

gram_status gram_template_render_file(const gram_template *t, const char *path, const char *columns,
                                      gram_rendered_fn *fn, void *arg, gram_err *err)
{
    gr_reader *r;
    gram_status rc = gr_reader_open(&r, path, columns, err);
    bool end = false;

    while (!rc && !end) {
        char *text = NULL;
        size_t n = 0;
        gram_err why = { 0 };
        rc = next_text(t, r, columns != NULL, &end, &text, &n, &why);
        if (rc == GRAM_EIO || rc == GRAM_ENOMEM)
            gr_fail(err, rc, "%s", why.text);
        else if (!end)
            rc = fn(arg, rc ? NULL : text, n, rc ? why.text : NULL) ? gr_fail(err, GRAM_ESTOPPED, "%s: stopped", path)
                                                                    : GRAM_OK;
        free(text);
    }
    gr_reader_close(r);
    return rc;
}

void gram_template_close(gram_template *t)
{
    if (!t)
        return;
    gr_chat_clear(&t->chat);
    free(t);
}
