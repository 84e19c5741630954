/* chat.c - settle how a checkpoint's conversations are rendered.
 *
 * A checkpoint that brings a template has it run. One that brings none is of one of six families, known by the tokens
 * of its vocabulary. Where neither fits it is refused: guessing would score without a word of warning. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "text/chat.h"

#define NAMES "chatml, llama3, llama2, mistral, qwen3, gemma"

static const struct {
    gr_chat_kind kind;
    const char *name;
    const char *bos;            /* NULL: the family writes none unless its template does */
    const char *token[3];       /* that its rendering names; the vocabulary must hold them */
} family[] = {
    { GR_CHAT_CHATML,  "chatml",  NULL,                 { "<|im_start|>", "<|im_end|>" } },
    { GR_CHAT_LLAMA3,  "llama3",  "<|begin_of_text|>",  { "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>" } },
    { GR_CHAT_LLAMA2,  "llama2",  "<s>",                { "</s>" } },
    { GR_CHAT_MISTRAL, "mistral", "<s>",                { "</s>" } },
    { GR_CHAT_QWEN3,   "qwen3",   NULL,                 { "<|im_start|>", "<|im_end|>" } },
    { GR_CHAT_GEMMA,   "gemma",   "<bos>",              { "<start_of_turn>", "<end_of_turn>" } },
};

const char *gr_chat_name(gr_chat_kind kind)
{
    if (kind == GR_CHAT_JINJA)
        return "jinja";
    for (size_t i = 0; i < GR_COUNT(family); i++)
        if (family[i].kind == kind)
            return family[i].name;
    return NULL;
}

gr_chat_kind gr_chat_parse(const char *name)
{
    for (size_t i = 0; i < GR_COUNT(family); i++)
        if (!strcmp(family[i].name, name))
            return family[i].kind;
    return GR_CHAT_NONE;
}

static bool has(const char *s, const char *mark)
{
    return s && strstr(s, mark);
}

static bool knows(const gr_tok *tok, const char *token)
{
    return tok && gr_tok_find(tok, token) >= 0;
}

static gr_chat_kind kind_of_vocabulary(const gr_tok *tok, const char *architecture)
{
    if (knows(tok, "<|im_start|>"))
        return has(architecture, "qwen3") ? GR_CHAT_QWEN3 : GR_CHAT_CHATML;
    if (knows(tok, "<|start_header_id|>"))
        return GR_CHAT_LLAMA3;
    if (knows(tok, "<start_of_turn>"))
        return GR_CHAT_GEMMA;
    if (knows(tok, "[INST]"))
        return GR_CHAT_MISTRAL;
    return GR_CHAT_NONE;        /* Llama 2 and Mistral v1 write [INST] as text: their vocabularies look alike */
}

static const char *space_if(bool yes) { return yes ? " " : ""; }

/* ---- Families ----------------------------------------------------------------------------------- */

static gr_chat_inst inst_of_llama2(void)
{
    return (gr_chat_inst){ .lead = "", .gap = " ", .close = " ", .answer = " ", .after = " ", .next = "",
                           .bos_each = true, .sys_marks = true, .trim_answer = true };
}

/* Releases of Mistral's template differ in their spaces alone; which one it is shows in the vocabulary. */
static gr_chat_inst inst_of_mistral(const gr_tok *tok)
{
    bool v3 = knows(tok, "[INST]") && gr_tok_is_special(tok, gr_tok_find(tok, "[INST]"));
    bool v7 = knows(tok, "[SYSTEM_PROMPT]"), tekken = v3 && !strcmp(gr_tok_kind(tok), "byte-level BPE");

    return (gr_chat_inst){
        .lead = "", .gap = space_if(!tekken), .close = space_if(!v3), .answer = space_if(v3 && !tekken),
        .after = "", .next = "", .system_gap = space_if(!tekken), .system_turn = v7, .system_last = v3 && !v7,
        .trim_answer = v3 && !v7, .tokens = v3
    };
}

static gram_status check_vocabulary(gr_chat_kind kind, const gr_tok *tok, gram_err *err)
{
    for (size_t i = 0; i < GR_COUNT(family); i++)
        for (size_t k = 0; family[i].kind == kind && k < GR_COUNT(family[i].token) && family[i].token[k]; k++)
            if (!knows(tok, family[i].token[k]))
                return gr_fail(err, GRAM_EUNSUPPORTED, "chat template %s: its token %s is not in the tokenizer's "
                               "vocabulary; name another with `template` (" NAMES ")", family[i].name,
                               family[i].token[k]);
    return GRAM_OK;
}

static gram_status settle_bos(gr_chat *c, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err)
{
    const char *own = NULL, *bos;

    for (size_t i = 0; i < GR_COUNT(family); i++)
        if (family[i].kind == c->kind)
            own = family[i].bos;
    bos = facts->bos ? facts->bos : own;
    if (!own || (tok && !knows(tok, bos)))
        return GRAM_OK;
    c->bos = gr_strdup(bos);
    return c->bos ? GRAM_OK : gr_nomem(err, "chat template");
}

static gram_status init_family(gr_chat *c, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err)
{
    gram_status rc = tok ? check_vocabulary(c->kind, tok, err) : GRAM_OK;

    if (rc)
        return rc;
    if (facts->args)
        return gr_fail(err, GRAM_EARG, "the chat template %s has no variables: only a template in Jinja, such as a "
                       "checkpoint's own, can be given some", gr_chat_name(c->kind));
    c->inst = c->kind == GR_CHAT_MISTRAL ? inst_of_mistral(tok) : inst_of_llama2();
    c->trim = c->kind != GR_CHAT_CHATML && c->kind != GR_CHAT_QWEN3 && c->kind != GR_CHAT_MISTRAL;
    c->empty_think = c->drop_think = c->kind == GR_CHAT_QWEN3;
    return settle_bos(c, facts, tok, err);
}

/* ---- Programs ----------------------------------------------------------------------------------- */

static gram_status parse_object(json_t **out, const char *text, const char *what, gram_err *err)
{
    json_error_t e;

    *out = text ? json_loads(text, JSON_ALLOW_NUL, &e) : json_object();
    if (!*out && (!text || json_error_code(&e) == json_error_out_of_memory))
        return gr_nomem(err, what);
    if (!json_is_object(*out))
        return gr_fail(err, GRAM_EARG, "%s: wanted a JSON object: %s", what, *out ? "found another value" : e.text);
    return GRAM_OK;
}

static gram_status compile(gr_jinja **out, const char *text, const char *source, gram_err *err)
{
    gram_err why = { 0 };
    gram_status rc = gr_jinja_compile(out, source ? source : "the chat template", text, strlen(text), &why);

    if (rc == GRAM_ENOMEM)
        return gr_fail(err, rc, "%s", why.text);
    if (rc)             /* a model whose template cannot be run may still be described */
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s; name another template with `template` (" NAMES ", or a file)",
                       why.text);
    return GRAM_OK;
}

static bool reads(const gr_chat *c, const char *variable)
{
    return gr_jinja_reads(c->program, variable) || (c->program_tools && gr_jinja_reads(c->program_tools, variable));
}

/* A variable that is misspelt would change nothing without a word, and the conversation is not the caller's to set. */
static gram_status check_args(const gr_chat *c, const char *source, gram_err *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(c->args, name, value) {
        if (!strcmp(name, "messages") || !strcmp(name, "tools") || !strcmp(name, "add_generation_prompt"))
            return gr_fail(err, GRAM_EARG, "the chat template's variable \"%s\" is set by each conversation", name);
        if (!reads(c, name))
            return gr_fail(err, GRAM_EARG, "%s reads no variable \"%s\", which it is given",
                           source ? source : "the chat template", name);
    }
    return GRAM_OK;
}

static gram_status set_digest(gr_chat *c, gram_err *err)
{
    char *args = gr_json_text(c->args, JSON_COMPACT | JSON_SORT_KEYS);

    if (!args)
        return gr_nomem(err, "chat template");
    c->digest = gr_digest(gr_digest(GR_DIGEST, c->text, strlen(c->text)), args, strlen(args));
    free(args);
    return GRAM_OK;
}

static gram_status init_program(gr_chat *c, const gr_chat_facts *facts, gram_err *err)
{
    const char *tools = facts->jinja_tools;
    gr_buf text = { 0 };
    gram_status rc = compile(&c->program, facts->jinja, facts->source, err);

    if (!rc && tools)
        rc = compile(&c->program_tools, tools, facts->source, err);
    if (!rc && !(gr_buf_puts(&text, facts->jinja) && gr_buf_puts(&text, tools ? tools : "")))
        rc = gr_nomem(err, "chat template");
    c->text = text.p;
    if (!rc && facts->bos && !(c->bos = gr_strdup(facts->bos)))
        rc = gr_nomem(err, "chat template");
    if (!rc)
        rc = parse_object(&c->own, facts->tokens, "the special tokens", err);
    if (!rc)
        rc = parse_object(&c->args, facts->args, "the chat template's variables", err);
    if (!rc)
        rc = check_args(c, facts->source, err);
    if (!rc && facts->no_thinking && !json_object_get(c->args, "enable_thinking") && reads(c, "enable_thinking")
        && json_object_set_new(c->args, "enable_thinking", json_false()))
        rc = gr_nomem(err, "chat template");
    return rc ? rc : set_digest(c, err);
}

bool gr_chat_dated(const gr_chat *c)
{
    return c->program && gr_jinja_calls(c->program, "strftime_now");
}

/* ---- The door ----------------------------------------------------------------------------------- */

static gram_status find_kind(gr_chat *c, const char *name, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err)
{
    c->kind = name ? gr_chat_parse(name) : facts->jinja ? GR_CHAT_JINJA : GR_CHAT_NONE;
    if (c->kind)
        return GRAM_OK;
    if (name)
        return gr_fail(err, GRAM_EARG, "chat template \"%s\" is not one of " NAMES, name);
    if (facts->names)
        return gr_fail(err, GRAM_EUNSUPPORTED, "the model has chat templates named %s, and none is called default; "
                       "name one with `template` (" NAMES ", or a file)", facts->names);
    c->kind = kind_of_vocabulary(tok, facts->architecture);
    if (c->kind)
        return GRAM_OK;
    return gr_fail(err, GRAM_EUNSUPPORTED, "the model has no chat template, and its vocabulary hints at none; name one "
                   "with `template` (" NAMES ", or a file)");
}

gram_status gr_chat_init(gr_chat *c, const char *name, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err)
{
    gram_status rc;

    *c = (gr_chat){ 0 };
    rc = find_kind(c, name, facts, tok, err);
    if (!rc)
        rc = c->kind == GR_CHAT_JINJA ? init_program(c, facts, err) : init_family(c, facts, tok, err);
    if (rc)
        gr_chat_clear(c);
    return rc;
}

void gr_chat_clear(gr_chat *c)
{
    gr_jinja_close(c->program);
    gr_jinja_close(c->program_tools);
    free(c->text);
    json_decref(c->own);
    json_decref(c->args);
    free(c->bos);
    *c = (gr_chat){ 0 };
}
