/* chat.c - recognise a checkpoint's chat template and settle what it does.
 *
 * A template is a jinja program. We run none: six families cover the checkpoints we open, and each leaves
 * marks in its program (<|im_start|>, <|start_header_id|>, <start_of_turn>, [INST]) by which it is known. What
 * differs inside a family (a default system turn, spaces around [INST], a date) is read from literals in
 * the same text. A template without any mark is refused: guessing would score without a word of warning. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
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

static gr_chat_kind kind_of_jinja(const char *j)
{
    if (has(j, "<|im_start|>"))
        return has(j, "enable_thinking") ? GR_CHAT_QWEN3 : GR_CHAT_CHATML;
    if (has(j, "<|start_header_id|>"))
        return GR_CHAT_LLAMA3;
    if (has(j, "<start_of_turn>"))
        return GR_CHAT_GEMMA;
    if (has(j, "[INST]"))
        return has(j, "<<SYS>>") ? GR_CHAT_LLAMA2 : GR_CHAT_MISTRAL;
    return GR_CHAT_NONE;
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

/* The text of a jinja string literal from s to its closing quote or to `end`, whichever comes first; *closed says
 * that it was `end`. \n, \t and escaped quotes are undone. Nothing is looked at from `limit` on; NULL: to the end. */
static bool literal(const char *s, const char *limit, char quote, const char *end, gr_buf *out, bool *closed)
{
    *closed = false;
    for (; s != limit && *s && *s != quote; s++) {
        char c = *s;
        if (!strncmp(s, end, strlen(end))) {
            *closed = true;
            return true;
        }
        if (c == '\\' && s[1] && s + 1 != limit) {
            s++;
            c = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s;
        }
        if (!gr_buf_add(out, &c, 1))
            return false;
    }
    return true;
}

/* ChatML templates that add a system turn by themselves hold it whole in one literal:
 * '<|im_start|>system\nYou are ...<|im_end|>\n'. Its newline may be a real one. */
static bool find_default_system(const char *j, char **out)
{
    static const char head[] = "<|im_start|>system";
    const char *next;

    for (const char *p = j ? strstr(j, head) : NULL; p; p = next) {
        const char *text = p + sizeof head - 1;
        gr_buf b = { 0 };
        bool closed, ok;

        next = strstr(text, head);
        if (*text == '\n')
            text++;
        else if (text[0] == '\\' && text[1] == 'n')
            text += 2;
        else
            continue;
        ok = literal(text, next, p > j && (p[-1] == '\'' || p[-1] == '"') ? p[-1] : '{', "<|im_end|>", &b, &closed);
        if (!ok || (closed && b.n)) {
            *out = b.p;
            return ok;
        }
        gr_buf_clear(&b);
    }
    return true;
}

/* Llama 3.1 and later write two dates before the system text. Today's would make a score depend on the day it
 * was computed, so it is the one that the template itself falls back on. */
static bool find_dated(const char *j, char **out)
{
    static const char set[] = "date_string = \"";
    const char *p = strstr(j, set);
    gr_buf date = { 0 }, b = { 0 };
    bool closed, ok = true;

    if (p)
        ok = literal(p + sizeof set - 1, NULL, '"', "%}", &date, &closed);
    ok = ok && gr_buf_printf(&b, "Cutting Knowledge Date: December 2023\nToday Date: %s\n\n",
                             date.n ? date.p : "26 Jul 2024");
    gr_buf_clear(&date);
    if (ok)
        *out = b.p;
    return ok;
}

/* Mistral v7 and later set a default system text at their head. One that holds today's date, as Mistral Small 3's
 * does, is left out: a score would depend on the day it was computed, and the template falls back on no date. */
static bool find_set_system(const char *j, char **out)
{
    static const char set[] = "set default_system_message = ";
    const char *p = strstr(j, set), *end;
    gr_buf b = { 0 };
    bool closed, ok;

    p = p ? p + sizeof set - 1 : "";
    if (*p != '"' && *p != '\'')
        return true;
    for (end = p + 1; *end && *end != *p; end++)
        end += *end == '\\' && end[1];
    end += *end != '\0';
    end += strspn(end, " -");
    if (strncmp(end, "%}", 2))              /* more text is added to it */
        return true;
    ok = literal(p + 1, NULL, *p, "%}", &b, &closed);
    if (ok && b.n)
        *out = b.p;
    else
        gr_buf_clear(&b);
    return ok;
}

static const char *space_if(bool yes) { return yes ? " " : ""; }

static gr_chat_inst inst_of_llama2(const char *j)
{
    return (gr_chat_inst){
        .lead = "", .gap = " ", .close = " ", .answer = " ", .after = " ", .next = "",
        .bos_each = !j || has(j, "bos_token + '[INST]") || has(j, "bos_token + \"[INST]"),
        .sys_marks = true, .trim_answer = true
    };
}

/* Releases of Mistral's template differ in their spaces alone, so each is looked up where it is written. */
static gr_chat_inst inst_of_mistral(const char *j, const gr_tok *tok)
{
    bool tokens = knows(tok, "[INST]") && gr_tok_is_special(tok, gr_tok_find(tok, "[INST]"));
    bool v3 = j ? has(j, "[AVAILABLE_TOOLS]") : tokens;
    bool v7 = j ? has(j, "[SYSTEM_PROMPT]") : knows(tok, "[SYSTEM_PROMPT]");
    bool tekken = tokens && !strcmp(gr_tok_kind(tok), "byte-level BPE");

    if (!j)
        return (gr_chat_inst){
            .lead = "", .gap = space_if(!tekken), .close = space_if(!v3), .answer = space_if(v3 && !tekken),
            .after = "", .next = "", .system_gap = space_if(!tekken), .system_turn = v7, .system_last = v3 && !v7,
            .trim_answer = v3 && !v7, .tokens = tokens
        };
    return (gr_chat_inst){
        .lead = space_if(has(j, "' [INST]") || has(j, "\" [INST]")),
        .gap = space_if(has(j, "[INST] ")),
        .close = space_if(has(j, " [/INST]")),
        .answer = space_if(has(j, "' ' + ") || has(j, "\" \" + ")),
        .after = "",
        .next = space_if(has(j, "eos_token + ' '") || has(j, "eos_token + \" \"")),
        .system_gap = space_if(has(j, "[SYSTEM_PROMPT] ")),
        .system_turn = v7,
        .system_last = has(j, "loop.last and system_message"),
        .trim_answer = has(j, "|trim + eos_token") || has(j, "| trim + eos_token"),
        .tokens = tokens
    };
}

static gram_status check_vocabulary(gr_chat_kind kind, const gr_tok *tok, gram_err *err)
{
    for (size_t i = 0; i < GR_COUNT(family); i++)
        for (size_t k = 0; family[i].kind == kind && k < GR_COUNT(family[i].token) && family[i].token[k]; k++)
            if (!knows(tok, family[i].token[k]))
                return gr_fail(err, GRAM_EUNSUPPORTED, "chat template %s: its token %s is not in the tokenizer's "
                               "vocabulary; name another with --template (" NAMES ")", family[i].name,
                               family[i].token[k]);
    return GRAM_OK;
}

/* With a template it decides whether BOS is written; without one the family does. */
static gram_status settle_bos(gr_chat *c, const gr_chat_facts *facts, const char *jinja, const gr_tok *tok,
                              gram_err *err)
{
    const char *own = NULL, *bos;

    for (size_t i = 0; i < GR_COUNT(family); i++)
        if (family[i].kind == c->kind)
            own = family[i].bos;
    if (jinja ? !has(jinja, "bos_token") && !(own && has(jinja, own)) : !own)
        return GRAM_OK;
    bos = facts->bos ? facts->bos : own;
    if (!bos || (tok && !knows(tok, bos)))
        return GRAM_OK;
    c->bos = gr_strdup(bos);
    return c->bos ? GRAM_OK : gr_nomem(err, "chat template");
}

/* Whether contents lose the white space around them; without a template, what the family is known to do. */
static bool strips(gr_chat_kind kind, const char *j)
{
    static const char *const mark[] = { "content'] | trim", "content']|trim", "content\"] | trim", "content\"]|trim",
                                        "content | trim", "content|trim", "content.strip()" };

    if (kind == GR_CHAT_QWEN3 || kind == GR_CHAT_MISTRAL)
        return false;                           /* what they trim, they trim of the answers alone */
    if (!j)
        return kind != GR_CHAT_CHATML;
    for (size_t i = 0; i < GR_COUNT(mark); i++)
        if (has(j, mark[i]))
            return true;
    return false;
}

static gram_status settle(gr_chat *c, const gr_chat_facts *facts, const char *jinja, const gr_tok *tok, gram_err *err)
{
    bool ok = true;

    c->inst = c->kind == GR_CHAT_MISTRAL ? inst_of_mistral(jinja, tok) : inst_of_llama2(jinja);
    c->trim = strips(c->kind, jinja);
    c->empty_think = c->kind == GR_CHAT_QWEN3;
    c->drop_think = c->kind == GR_CHAT_QWEN3 || has(jinja, "split('</think>')");
    if (facts->default_system)
        ok = (c->default_system = gr_strdup(facts->default_system)) != NULL;
    else if (c->kind == GR_CHAT_CHATML)
        ok = find_default_system(jinja, &c->default_system);
    else if (c->kind == GR_CHAT_MISTRAL && jinja)
        ok = find_set_system(jinja, &c->default_system);
    if (ok && c->kind == GR_CHAT_LLAMA3 && has(jinja, "Cutting Knowledge Date"))
        ok = find_dated(jinja, &c->dated);
    return ok ? settle_bos(c, facts, jinja, tok, err) : gr_nomem(err, "chat template");
}

gram_status gr_chat_init(gr_chat *c, const char *name, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err)
{
    const char *jinja = facts->jinja;
    gram_status rc;

    *c = (gr_chat){ 0 };
    if (name) {
        c->kind = gr_chat_parse(name);
        if (!c->kind)
            return gr_fail(err, GRAM_EARG, "chat template \"%s\" is not one of " NAMES, name);
        if (jinja && kind_of_jinja(jinja) != c->kind)
            jinja = NULL;                       /* its details are another family's */
    } else {
        c->kind = jinja ? kind_of_jinja(jinja) : kind_of_vocabulary(tok, facts->architecture);
        if (!c->kind)
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s; name one with --template (" NAMES ")",
                           jinja ? "the model's chat template is of no family we know"
                                 : "the model has no chat template, and its vocabulary hints at none");
    }
    rc = tok ? check_vocabulary(c->kind, tok, err) : GRAM_OK;
    if (!rc)
        rc = settle(c, facts, jinja, tok, err);
    if (rc)
        gr_chat_clear(c);
    return rc;
}

void gr_chat_clear(gr_chat *c)
{
    free(c->bos);
    free(c->default_system);
    free(c->dated);
    *c = (gr_chat){ 0 };
}
