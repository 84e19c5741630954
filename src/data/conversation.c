/* conversation.c - messages and answers as data sets write them. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

gram_status gr_bad(const gr_at *at, const char *fmt, ...)
{
    char text[800];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gr_fail(at->err, GRAM_EFORMAT, "%s:%s%" PRIu64 ": %s", at->name, at->element ? " element " : "", at->line,
                   text);
}

gram_status gr_row_nomem(const gr_at *at)
{
    return gr_fail(at->err, GRAM_ENOMEM, "%s:%" PRIu64 ": out of memory", at->name, at->line);
}

void gr_talk_clear(gr_talk *t)
{
    for (size_t i = 0; i < t->n; i++) {
        free(t->turn[i].text);
        free(t->turn[i].extra);
    }
    free(t->turn);
    *t = (gr_talk){ 0 };
}

gram_status gr_talk_add(const gr_at *at, gr_talk *t, const char *role, const char *p, size_t n)
{
    gr_turn *q = gr_grown(t->turn, t->n, &t->cap, 1, sizeof *q);
    char *text = q ? gr_strndup(p, n) : NULL;

    if (q)
        t->turn = q;
    if (!text)
        return gr_row_nomem(at);
    t->turn[t->n++] = (gr_turn){ role, text, NULL };
    return GRAM_OK;
}

bool gr_text_same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

bool gr_talk_same(const gr_turn *a, const gr_turn *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i].role, b[i].role) || strcmp(a[i].text, b[i].text) || !gr_text_same(a[i].extra, b[i].extra))
            return false;
    return true;
}

/* One block: the messages, then their texts. */
gram_message *gr_talk_pack(const gr_talk *t, size_t n)
{
    size_t bytes = n * sizeof(gram_message);
    gram_message *m;
    char *p;

    for (size_t i = 0; i < n; i++)
        bytes += strlen(t->turn[i].text) + 1 + (t->turn[i].extra ? strlen(t->turn[i].extra) + 1 : 0);
    m = malloc(bytes);
    if (!m)
        return NULL;
    p = (char *)(m + n);
    for (size_t i = 0; i < n; i++) {
        m[i] = (gram_message){ t->turn[i].role, p, NULL };
        p = stpcpy(p, t->turn[i].text) + 1;
        if (t->turn[i].extra) {
            m[i].extra = p;
            p = stpcpy(p, t->turn[i].extra) + 1;
        }
    }
    return m;
}

/* ---- Message lists ------------------------------------------------------------------------------ */

const char *gr_role_named(const char *s)
{
    static const struct { const char *word, *role; } known[] = {
        { "user", "user" }, { "human", "user" }, { "prompter", "user" },
        { "assistant", "assistant" }, { "gpt", "assistant" }, { "bot", "assistant" }, { "model", "assistant" },
        { "system", "system" }, { "developer", "system" },
        { "tool", "tool" }, { "observation", "tool" }, { "ipython", "tool" },
    };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcasecmp(s, known[i].word))
            return known[i].role;
    return NULL;
}

/* A message's content: a string, or OpenAI's list of {"type": "text", "text": ...} parts, put together. */
static gram_status read_content(const gr_at *at, const char *key, size_t i, const json_t *v, gr_buf *out)
{
    size_t k;
    json_t *part;

    if (json_is_string(v))
        return gr_buf_add(out, json_string_value(v), json_string_length(v)) ? GRAM_OK : gr_row_nomem(at);
    if (!json_is_array(v))
        return gr_bad(at, "key \"%s\", message %zu: content must be a string or a list of text parts, found %s", key,
                      i + 1, gr_json_kind(v));
    json_array_foreach(v, k, part) {
        const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
        if (!json_is_string(text) || (type && (!json_is_string(type) || strcmp(json_string_value(type), "text"))))
            return gr_bad(at, "key \"%s\", message %zu: part %zu of its content is not text", key, i + 1, k + 1);
        if (!gr_buf_add(out, json_string_value(text), json_string_length(text)))
            return gr_row_nomem(at);
    }
    return gr_buf_puts(out, "") ? GRAM_OK : gr_row_nomem(at);
}

/* Tables that went through a data frame hold lists as their text. */
static gram_status set_extra(const gr_at *at, json_t *o, const char *key, json_t *v)
{
    bool list = !strcmp(key, "tool_calls");
    json_t *parsed = NULL;
    gram_status rc = GRAM_OK;

    if (list && json_is_string(v))
        rc = gr_literal_read(at, json_string_value(v), &parsed);
    else
        parsed = json_incref(v);
    if (rc)
        return rc;
    if (gr_json_find_odd(at, v))
        rc = gr_bad(at, "\"%s\" of a message holds %s", key, gr_json_find_odd(at, v));
    else if (list && !json_is_array(parsed))
        rc = gr_bad(at, "\"tool_calls\" of a message must be a list, found %s", gr_json_kind(v));
    else if (json_array_size(parsed) || !list)
        rc = json_object_set(o, key, parsed) ? gr_row_nomem(at) : GRAM_OK;
    json_decref(parsed);
    return rc;
}

/* What a message may hold that neither its text nor the chat template would show. */
static gram_status refuse_unread(const gr_at *at, const char *key, size_t i, const json_t *m)
{
    static const char *const name[] = { "images", "image", "audio", "audios", "videos", "video", "documents",
                                        "refusal" };

    for (size_t k = 0; k < GR_COUNT(name); k++)
        if (gr_json_holds(json_object_get(m, name[k])))
            return gr_bad(at, "key \"%s\", message %zu: \"%s\" belongs to it, and is not read", key, i + 1, name[k]);
    return GRAM_OK;
}

/* What a message holds besides its text, for the chat template: see gram_message. *out NULL: nothing. */
static gram_status read_extra(const gr_at *at, const json_t *m, bool no_content, char **out)
{
    static const char *const key[] = { "name", "tool_calls", "tool_call_id", "function_call", "reasoning_content",
                                       "reasoning", "thinking" };
    json_t *o = json_object();
    gram_status rc = o ? GRAM_OK : gr_row_nomem(at);

    *out = NULL;
    for (size_t i = 0; i < GR_COUNT(key) && !rc; i++) {
        json_t *v = json_object_get(m, key[i]);
        if (gr_json_holds(v))
            rc = set_extra(at, o, key[i], v);
    }
    if (!rc && no_content && json_object_set_new(o, "content", json_null()))
        rc = gr_row_nomem(at);
    if (!rc && json_object_size(o) && !(*out = gr_json_compact(o)))
        rc = gr_row_nomem(at);
    json_decref(o);
    return rc;
}

static bool calls_tools(const json_t *m)
{
    return gr_json_holds(json_object_get(m, "tool_calls")) || gr_json_holds(json_object_get(m, "function_call"));
}

static gram_status read_message(const gr_at *at, const char *key, size_t i, const json_t *m, gr_talk *out)
{
    const json_t *name = json_object_get(m, "role"), *content = json_object_get(m, "content");
    const char *role;
    bool no_content;
    gr_buf b = { 0 };
    gram_status rc;

    if (!name) {
        name = json_object_get(m, "from");
        content = json_object_get(m, "value");
    }
    if (!json_is_string(name))
        return gr_bad(at, "key \"%s\", message %zu: wanted {\"role\", \"content\"}, found %s", key, i + 1,
                      json_is_object(m) ? "an object without a role" : gr_json_kind(m));
    role = gr_role_named(json_string_value(name));
    if (!role)
        return gr_bad(at, "key \"%s\", message %zu: role \"%s\" is not system, user, assistant or tool", key,
                      i + 1, json_string_value(name));
    no_content = calls_tools(m) && (!content || json_is_null(content));
    rc = refuse_unread(at, key, i, m);
    if (!rc && !no_content)
        rc = read_content(at, key, i, content, &b);
    if (!rc)
        rc = gr_talk_add(at, out, role, b.p ? b.p : "", b.n);
    if (!rc)
        rc = read_extra(at, m, no_content, &out->turn[out->n - 1].extra);
    gr_buf_clear(&b);
    return rc;
}

gram_status gr_talk_read(const gr_at *at, const char *key, const json_t *list, gr_talk *out)
{
    gram_status rc = GRAM_OK;

    if (json_is_object(list))
        return read_message(at, key, 0, list, out);
    for (size_t i = 0; i < json_array_size(list) && !rc; i++) {
        json_t *m = json_incref(json_array_get(list, i)), *parsed = NULL;
        if (json_is_string(m))
            rc = gr_literal_messages(at, key, json_string_value(m), &parsed);
        if (!rc)
            rc = json_is_object(parsed) ? read_message(at, key, i, parsed, out) : read_message(at, key, i, m, out);
        json_decref(parsed);
        json_decref(m);
    }
    return rc;
}

/* ---- Questions and answers ---------------------------------------------------------------------- */

/* An answer that is one message, as LLaMA-Factory writes it, or a list of one. */
static gram_status read_answer(const gr_at *at, const char *key, const json_t *v, gr_turn *out)
{
    gr_talk one = { 0 };
    gram_status rc = gr_talk_read(at, key, v, &one);

    if (!rc && one.n != 1)
        rc = gr_bad(at, "key \"%s\": an answer must be one message of the assistant, found %zu", key, one.n);
    if (!rc && strcmp(one.turn->role, "assistant"))
        rc = gr_bad(at, "key \"%s\": an answer must be the assistant's, found a message of the %s", key,
                    one.turn->role);
    if (!rc) {
        *out = *one.turn;
        *one.turn = (gr_turn){ 0 };
    }
    gr_talk_clear(&one);
    return rc;
}

void gr_turn_clear(gr_turn *t)
{
    free(t->text);
    free(t->extra);
    *t = (gr_turn){ 0 };
}

/* s is a text that stands alone, or in v. */
static gram_status read_answer_text(const gr_at *at, const char *key, const json_t *v, const json_t *s, gr_turn *out)
{
    const char *text = json_string_value(s);
    gram_status rc;

    if (gr_text_is_transcript(text, true))
        return gr_bad(at, "key \"%s\": wanted an answer alone, found a transcript", key);
    rc = gr_text_check(at, key, text);
    if (rc)
        return rc;
    out->text = gr_strndup(text, json_string_length(s));
    return out->text ? read_extra(at, v, false, &out->extra) : gr_row_nomem(at);
}

gram_status gr_answer_read(const gr_at *at, const char *key, const json_t *v, gr_turn *out)
{
    static const char *const name[] = { "text", "content", "response", "completion", "output", "answer",
                                        "generated_text" };
    const json_t *s = v;
    json_t *list;
    gram_status rc;

    *out = (gr_turn){ .role = "assistant" };
    if ((json_object_get(v, "role") && (json_object_get(v, "content") || calls_tools(v))) ||
        (json_object_get(v, "from") && json_object_get(v, "value")))
        return read_answer(at, key, v, out);
    for (size_t i = 0; json_is_object(v) && i < GR_COUNT(name); i++) {
        s = json_object_get(v, name[i]);
        if (s)
            break;
    }
    if (json_is_array(s) && json_is_object(json_array_get(s, 0)))
        return read_answer(at, key, s, out);
    if (!json_is_string(s))
        return gr_bad(at, "key \"%s\": wanted the text of a response, found %s", key,
                      json_is_object(v) && !s && !gr_json_odd(v) ? "an object without \"text\" or \"response\""
                                                                 : gr_json_kind(s));
    rc = gr_literal_messages(at, key, json_string_value(s), &list);
    if (!rc && list)
        rc = read_answer(at, key, list, out);
    else if (!rc)
        rc = read_answer_text(at, key, v, s, out);
    json_decref(list);
    return rc;
}

gram_status gr_text_read(const gr_at *at, const char *key, const json_t *v, char **out)
{
    gr_turn t;
    gram_status rc = gr_answer_read(at, key, v, &t);

    if (!rc && t.extra)
        rc = gr_bad(at, "key \"%s\": an answer with more than its text, which is not read here: %.200s", key, t.extra);
    *out = rc ? NULL : t.text;
    if (!rc)
        t.text = NULL;
    gr_turn_clear(&t);
    return rc;
}

/* The tools column, a list or the text of one. */
gram_status gr_tools_read(const gr_at *at, const json_t *row, char **out)
{
    const json_t *v = json_object_get(row, "tools");
    json_t *parsed = NULL;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!gr_json_holds(v))
        return GRAM_OK;
    if (gr_json_find_odd(at, v))
        return gr_bad(at, "key \"tools\" holds %s", gr_json_find_odd(at, v));
    if (json_is_string(v)) {
        rc = gr_literal_read(at, json_string_value(v), &parsed);
        v = parsed;
    }
    if (!rc && !json_is_array(v))
        rc = gr_bad(at, "key \"tools\" must be a list of tools or the text of one, found %s",
                    gr_json_kind(json_object_get(row, "tools")));
    else if (!rc && json_array_size(v) && !(*out = gr_json_compact(v)))
        rc = gr_row_nomem(at);
    json_decref(parsed);
    return rc;
}

