/* talk.c - conversations as data sets write them: message lists, HH transcripts, bare strings. */
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

const char *gr_json_kind(const json_t *v)
{
    static const char *const kind[] = { "an object", "a list", "a string", "a number", "a number", "true", "false",
                                        "null" };

    return v ? kind[json_typeof(v)] : "nothing";
}

json_t *gr_json_get(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
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
        if (a[i].role != b[i].role || strcmp(a[i].text, b[i].text) || !gr_text_same(a[i].extra, b[i].extra))
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

static const char *role_named(const char *s)
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

/* Whether there is something: null, "" and [] are how tables say that there is nothing. */
static bool holds(const json_t *v)
{
    return v && !json_is_null(v) && !(json_is_string(v) && !json_string_length(v))
        && !(json_is_array(v) && !json_array_size(v)) && !(json_is_object(v) && !json_object_size(v));
}

char *gr_json_compact(const json_t *v)
{
    return json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* What a message holds besides its text, for the chat template: see gram_message. *out NULL: nothing. */
static gram_status read_extra(const gr_at *at, const json_t *m, bool no_content, char **out)
{
    static const char *const key[] = { "name", "tool_calls", "tool_call_id", "function_call", "reasoning_content",
                                       "reasoning", "thinking" };
    json_t *o = json_object();
    bool ok = o != NULL;

    for (size_t i = 0; i < GR_COUNT(key) && ok; i++) {
        json_t *v = json_object_get(m, key[i]);
        ok = !holds(v) || !json_object_set(o, key[i], v);
    }
    if (ok && no_content)
        ok = !json_object_set_new(o, "content", json_null());
    *out = ok && json_object_size(o) ? gr_json_compact(o) : NULL;
    ok = ok && (*out || !json_object_size(o));
    json_decref(o);
    return ok ? GRAM_OK : gr_row_nomem(at);
}

static bool calls_tools(const json_t *m)
{
    return holds(json_object_get(m, "tool_calls")) || holds(json_object_get(m, "function_call"));
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
    role = role_named(json_string_value(name));
    if (!role)
        return gr_bad(at, "key \"%s\", message %zu: role \"%s\" is not system, user, assistant or tool", key,
                      i + 1, json_string_value(name));
    no_content = calls_tools(m) && (!content || json_is_null(content));
    rc = no_content ? GRAM_OK : read_content(at, key, i, content, &b);
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

    for (size_t i = 0; i < json_array_size(list) && !rc; i++)
        rc = read_message(at, key, i, json_array_get(list, i), out);
    return rc;
}

/* ---- HH transcripts ----------------------------------------------------------------------------- */

/* The bytes of the mark at s with which a turn begins; 0 where there is none. */
static size_t mark_at(const char *s, const char **role)
{
    static const struct { const char *mark, *role; } known[] = { { "\n\nHuman:", "user" },
                                                                 { "\n\nAssistant:", "assistant" } };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strncmp(s, known[i].mark, strlen(known[i].mark))) {
            *role = known[i].role;
            return strlen(known[i].mark);
        }
    return 0;
}

bool gr_talk_is_transcript(const char *s)
{
    const char *role;

    return mark_at(s, &role) && !strcmp(role, "user");
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

/* The next mark from s on, or the end. */
static const char *next_mark(const char *s)
{
    const char *p, *role;

    while ((p = strstr(s, "\n\n")) && !mark_at(p, &role))
        s = p + 1;
    return p ? p : s + strlen(s);
}

gram_status gr_talk_transcript(const gr_at *at, const char *s, gr_talk *out)
{
    const char *role, *next;
    gram_status rc = GRAM_OK;

    for (size_t n; !rc && (n = mark_at(s, &role)) > 0; s = next) {
        const char *p = s + n, *end = next = next_mark(p);
        while (p < end && is_blank(*p))
            p++;
        while (end > p && is_blank(end[-1]))
            end--;
        rc = gr_talk_add(at, out, role, p, (size_t)(end - p));
    }
    return rc;
}

/* ---- Questions and answers ---------------------------------------------------------------------- */

/* An answer that is one message, as LLaMA-Factory writes it; its text is the turn's. */
static gram_status read_answer(const gr_at *at, const char *key, const json_t *v, gr_turn *out)
{
    gr_talk one = { 0 };
    gram_status rc = read_message(at, key, 0, v, &one);

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

gram_status gr_answer_read(const gr_at *at, const char *key, const json_t *v, gr_turn *out)
{
    static const char *const name[] = { "text", "content", "response", "completion", "output", "answer",
                                        "generated_text" };
    const json_t *s = v;

    *out = (gr_turn){ .role = "assistant" };
    if ((json_object_get(v, "role") && (json_object_get(v, "content") || calls_tools(v))) ||
        (json_object_get(v, "from") && json_object_get(v, "value")))
        return read_answer(at, key, v, out);
    for (size_t i = 0; json_is_object(v) && i < GR_COUNT(name); i++) {
        s = json_object_get(v, name[i]);
        if (s)
            break;
    }
    if (!json_is_string(s))
        return gr_bad(at, "key \"%s\": wanted the text of a response, found %s", key,
                      json_is_object(v) && !s ? "an object without \"text\" or \"response\"" : gr_json_kind(s));
    out->text = gr_strndup(json_string_value(s), json_string_length(s));
    return out->text ? read_extra(at, v, false, &out->extra) : gr_row_nomem(at);
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

    *out = NULL;
    if (!holds(v))
        return GRAM_OK;
    if (json_is_string(v))
        v = parsed = json_loadb(json_string_value(v), json_string_length(v), 0, NULL);
    if (!json_is_array(v)) {
        json_decref(parsed);
        return gr_bad(at, "key \"tools\" must be a list of tools or the text of one, found %s",
                      gr_json_kind(json_object_get(row, "tools")));
    }
    if (json_array_size(v))
        *out = gr_json_compact(v);
    if (json_array_size(v) && !*out) {
        json_decref(parsed);
        return gr_row_nomem(at);
    }
    json_decref(parsed);
    return GRAM_OK;
}

static gram_status read_string_or_list(const gr_at *at, const char *key, const json_t *v, gr_talk *out)
{
    const char *s = json_string_value(v);
    gram_status rc;

    if (json_is_array(v))
        return gr_talk_read(at, key, v, out);
    if (!s)
        return gr_bad(at, "key \"%s\" must be a string or a list of messages, found %s", key, gr_json_kind(v));
    if (!gr_talk_is_transcript(s))
        return gr_talk_add(at, out, "user", s, json_string_length(v));
    rc = gr_talk_transcript(at, s, out);
    if (!rc && !strcmp(out->turn[out->n - 1].role, "assistant") && !*out->turn[out->n - 1].text)
        free(out->turn[--out->n].text);         /* "\n\nAssistant:", behind which the answer is to stand */
    return rc;
}

/* Alpaca's two keys are one question. */
static gram_status read_instruction(const gr_at *at, const json_t *row, gr_talk *out)
{
    const json_t *instruction = gr_json_get(row, "instruction"), *input = gr_json_get(row, "input");
    gr_buf b = { 0 };
    gram_status rc;

    if (input && !json_is_string(input))
        return gr_bad(at, "key \"input\" beside \"instruction\" must be a string, found %s", gr_json_kind(input));
    if (!json_string_length(input))
        return read_string_or_list(at, "instruction", instruction, out);
    if (!json_is_string(instruction))
        return gr_bad(at, "key \"instruction\" beside \"input\" must be a string, found %s",
                      gr_json_kind(instruction));
    if (gr_buf_printf(&b, "%s\n\n%s", json_string_value(instruction), json_string_value(input)))
        rc = gr_talk_add(at, out, "user", b.p, b.n);
    else
        rc = gr_row_nomem(at);
    gr_buf_clear(&b);
    return rc;
}

/* Puts the turns from the `from`th on before the others. */
static void turns_first(gr_talk *t, size_t from)
{
    for (size_t i = 0; from < t->n; i++, from++) {
        gr_turn moved = t->turn[from];
        memmove(t->turn + i + 1, t->turn + i, (from - i) * sizeof *t->turn);
        t->turn[i] = moved;
    }
}

/* Turns before the question, as LLaMA-Factory's Alpaca rows have them: [["question", "answer"], ...]; or messages. */
static gram_status read_history(const gr_at *at, const json_t *row, gr_talk *out)
{
    static const char *const role[] = { "user", "assistant" };
    const json_t *list = gr_json_get(row, "history");
    size_t was = out->n, i;
    json_t *v;
    gram_status rc = GRAM_OK;

    if (!list || (json_is_array(list) && !json_array_size(list)) || (json_is_string(list) && !json_string_length(list)))
        return GRAM_OK;
    if (was == 0)
        return gr_bad(at, "a \"history\" is there and no question behind it: wanted \"prompt\" or \"instruction\"");
    if (was > 1)
        return gr_bad(at, "both a \"history\" and a prompt of %zu turns are there: one of them must go", was);
    if (json_is_object(json_array_get(list, 0)))
        rc = gr_talk_read(at, "history", list, out);
    else if (!json_is_array(list))
        return gr_bad(at, "key \"history\" must be a list of questions and answers, found %s", gr_json_kind(list));
    else
        json_array_foreach(list, i, v)
            for (size_t k = 0; k < 2 && !rc; k++) {
                const json_t *text = json_array_get(v, k);
                rc = json_array_size(v) == 2 && json_is_string(text)
                   ? gr_talk_add(at, out, role[k], json_string_value(text), json_string_length(text))
                   : gr_bad(at, "key \"history\": part %zu must be a list of a question and its answer", i + 1);
            }
    if (!rc)
        turns_first(out, was);
    return rc;
}

/* A system text that stands beside the question goes before it. */
static gram_status read_system(const gr_at *at, const json_t *row, gr_talk *out)
{
    static const char *const key[] = { "system", "system_prompt" };
    const json_t *v = NULL;
    size_t k = 0;
    gram_status rc;

    while (k < GR_COUNT(key) && !(v = gr_json_get(row, key[k])))
        k++;
    if (v && !json_is_string(v))
        return gr_bad(at, "key \"%s\" must be a string, found %s", key[k], gr_json_kind(v));
    if (!json_string_length(v) || (out->n && !strcmp(out->turn[0].role, "system")))
        return GRAM_OK;
    rc = gr_talk_add(at, out, "system", json_string_value(v), json_string_length(v));
    if (!rc)
        turns_first(out, out->n - 1);
    return rc;
}

gram_status gr_prompt_read(const gr_at *at, const json_t *row, gr_talk *out)
{
    static const char *const key[] = { "prompt", "context", "question", "instruction", "conversation_input", "input",
                                        "conversations", "messages" };
    /* Where `chosen` is a conversation, the last two beside it are often a copy of it, answer and all. */
    const size_t n = GR_COUNT(key) - (json_is_array(json_object_get(row, "chosen")) ? 2 : 0);
    gram_status rc;

    for (size_t i = 0; i < n; i++) {
        const json_t *v = gr_json_get(row, key[i]);
        bool instruction = !strcmp(key[i], "instruction");

        if (!v || (!strcmp(key[i], "context") && !json_is_array(v)))    /* a text beside a question, not a dialogue */
            continue;
        if (!strcmp(key[i], "question") && gr_json_get(row, "instruction"))
            return gr_bad(at, "both \"question\" and \"instruction\" are there: say which is the \"prompt\"");
        rc = instruction ? read_instruction(at, row, out) : read_string_or_list(at, key[i], v, out);
        if (!rc)
            rc = read_history(at, row, out);
        return rc ? rc : read_system(at, row, out);
    }
    return read_history(at, row, out);
}

gram_status gr_prompt_check(const gr_at *at, const gr_talk *t)
{
    if (!t->n)
        return gr_bad(at, "no prompt: wanted \"prompt\", \"question\", \"instruction\", \"messages\" or \"context\" (a "
                      "list), or turns before the answers");
    if (strcmp(t->turn[t->n - 1].role, "user") && strcmp(t->turn[t->n - 1].role, "tool"))
        return gr_bad(at, "the prompt must end with a turn of the user or of a tool, found %s",
                      t->turn[t->n - 1].role);
    if (!*t->turn[t->n - 1].text)
        return gr_bad(at, "the prompt's last turn is empty");
    return GRAM_OK;
}
