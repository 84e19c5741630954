/* prompt.c - the question of a row, under whatever names its parts go.
 *
 * Whatever belongs to the conversation is in it or makes the row a bad one: a passage beside the question, turns
 * before it, a system text, a second question under another name. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

static const char *const question_keys[] = { "prompt", "question", "instruction", "conversation_input", "input",
                                             "conversations", "messages" };

/* A text that is a conversation written in one piece, or the user's message. */
static gram_status read_text(const gr_at *at, const char *key, const json_t *v, gr_talk *out)
{
    const char *s = json_string_value(v);
    json_t *list;
    gram_status rc = gr_literal_messages(at, key, s, &list);

    if (rc)
        return rc;
    if (list) {
        rc = gr_talk_read(at, key, list, out);
        json_decref(list);
        return rc;
    }
    if (!gr_text_is_transcript(s, false)) {
        rc = gr_text_check(at, key, s);
        if (!rc && !strncmp(s + strspn(s, " \t\r\n"), "Human:", 6))
            rc = gr_bad(at, "key \"%s\" begins with Human: as a transcript does, and no Assistant: follows: wanted the "
                        "question alone, or a list of messages", key);
        return rc ? rc : gr_talk_add(at, out, "user", s, json_string_length(v));
    }
    rc = gr_transcript_read(at, key, s, out);
    if (!rc && !strcmp(out->turn[out->n - 1].role, "assistant") && !*out->turn[out->n - 1].text)
        gr_turn_clear(&out->turn[--out->n]);    /* "\n\nAssistant:", behind which the answer is to stand */
    return rc;
}

static gram_status read_question(const gr_at *at, const char *key, const json_t *v, gr_talk *out)
{
    if (json_is_array(v))
        return gr_talk_read(at, key, v, out);
    if (!json_is_string(v))
        return gr_bad(at, "key \"%s\" must be a string or a list of messages, found %s", key, gr_json_kind(v));
    return read_text(at, key, v, out);
}

static gram_status join(const gr_at *at, const char *first, const char *second, char **out)
{
    gr_buf b = { 0 };

    if (!gr_buf_printf(&b, "%s\n\n%s", first, second)) {
        gr_buf_clear(&b);
        return gr_row_nomem(at);
    }
    free(*out);
    *out = b.p;
    return GRAM_OK;
}

/* Alpaca's two keys are one question. */
static gram_status read_instruction(const gr_at *at, const json_t *row, gr_talk *out)
{
    const json_t *instruction = gr_json_get(row, "instruction"), *input = gr_json_get(row, "input");
    gram_status rc;

    if (input && !json_is_string(input))
        return gr_bad(at, "key \"input\" beside \"instruction\" must be a string, found %s", gr_json_kind(input));
    if (json_string_length(input) && !json_is_string(instruction))
        return gr_bad(at, "key \"instruction\" beside \"input\" must be a string, found %s",
                      gr_json_kind(instruction));
    rc = read_question(at, "instruction", instruction, out);
    if (rc || !json_string_length(input))
        return rc;
    if (out->n > 1)
        return gr_bad(at, "an \"instruction\" of %zu turns and an \"input\" are there: one of them must go", out->n);
    return join(at, json_string_value(instruction), json_string_value(input), &out->turn[0].text);
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

/* [["question", "answer"], ...] */
static gram_status read_exchanges(const gr_at *at, const json_t *list, gr_talk *out)
{
    static const char *const role[] = { "user", "assistant" };
    gram_status rc = GRAM_OK;
    size_t i;
    json_t *v;

    json_array_foreach(list, i, v)
        for (size_t k = 0; k < 2 && !rc; k++) {
            const json_t *text = json_array_get(v, k);
            rc = json_array_size(v) == 2 && json_is_string(text)
               ? gr_talk_add(at, out, role[k], json_string_value(text), json_string_length(text))
               : gr_bad(at, "key \"history\": part %zu must be a list of a question and its answer", i + 1);
        }
    return rc;
}

/* Turns before the question, as LLaMA-Factory's Alpaca rows have them, or messages; a text alone is SHP's question. */
static gram_status read_history(const gr_at *at, const json_t *row, gr_talk *out)
{
    const json_t *list = json_object_get(row, "history");
    size_t was = out->n;
    gram_status rc;

    if (!gr_json_holds(list))
        return GRAM_OK;
    if (was == 0 && json_is_string(list))
        return read_question(at, "history", list, out);
    if (was == 0)
        return gr_bad(at, "a \"history\" is there and no question behind it: wanted \"prompt\" or \"instruction\"");
    if (was > 1)
        return gr_bad(at, "both a \"history\" and a prompt of %zu turns are there: one of them must go", was);
    if (json_is_object(json_array_get(list, 0)))
        rc = gr_talk_read(at, "history", list, out);
    else if (!json_is_array(list))
        return gr_bad(at, "key \"history\" must be a list of questions and answers, found %s", gr_json_kind(list));
    else
        rc = read_exchanges(at, list, out);
    if (!rc)
        turns_first(out, was);
    return rc;
}

static bool said(const gr_talk *t, const char *text)
{
    for (size_t i = 0; i < t->n; i++)
        if (strstr(t->turn[i].text, text))
            return true;
    return false;
}

/* Whether a value under another of a question's names says nothing that the conversation does not say: its text stands
 * in a turn, or its messages do, with an answer after them perhaps. */
static bool is_copy(const json_t *v, const gr_talk *t)
{
    size_t i;
    json_t *m;

    if (json_is_string(v))
        return said(t, json_string_value(v));
    json_array_foreach(v, i, m) {
        const char *from = json_string_value(json_object_get(m, "from")), *role = from;
        const char *text = json_string_value(json_object_get(m, from ? "value" : "content"));
        if (!from)
            role = json_string_value(json_object_get(m, "role"));
        role = role ? gr_role_named(role) : NULL;
        if (!text || !role || (!said(t, text) && (i + 1 < json_array_size(v) || strcmp(role, "assistant"))))
            return false;
    }
    return json_is_array(v);
}

/* A passage beside the question stands before it. */
static gram_status read_passage(const gr_at *at, const json_t *row, gr_talk *out)
{
    const json_t *v = gr_json_get(row, "context");
    size_t last = out->n - 1;

    if (!json_string_length(v) || said(out, json_string_value(v)))
        return GRAM_OK;
    if (out->n > 1 || strcmp(out->turn[last].role, "user"))
        return gr_bad(at, "both a text in \"context\" and a prompt of %zu turns are there: put it into the turn that "
                      "it belongs to", out->n);
    return join(at, json_string_value(v), out->turn[last].text, &out->turn[last].text);
}

/* Another question than the one that was read would be left out without a word. */
static gram_status check_others(const gr_at *at, const json_t *row, const char *read, const gr_talk *t)
{
    const bool talks = json_is_array(json_object_get(row, "chosen"));   /* beside it, messages are a copy of it */
    const json_t *context = json_object_get(row, "context");

    for (size_t i = 0; i < GR_COUNT(question_keys); i++) {
        const char *key = question_keys[i];
        const json_t *v = json_object_get(row, key);
        bool copy = talks && (!strcmp(key, "messages") || !strcmp(key, "conversations"));

        if (!strcmp(key, read) || copy || (!strcmp(key, "input") && !strcmp(read, "instruction")))
            continue;
        if ((json_is_string(v) || json_is_array(v)) && gr_json_holds(v) && !is_copy(v, t))
            return gr_bad(at, "both \"%s\" and \"%s\" are there, and they differ: say which is the \"prompt\" "
                          "(`columns prompt=%s`)", read, key, read);
    }
    if (strcmp(read, "context") && json_is_array(context) && gr_json_holds(context) && !is_copy(context, t))
        return gr_bad(at, "both \"%s\" and a \"context\" of messages are there, and they differ: say which is the "
                      "\"prompt\" (`columns prompt=context`)", read);
    return GRAM_OK;
}

/* The key that the question is read from; NULL: there is none. */
static const char *question_of(const json_t *row)
{
    /* Where `chosen` is a conversation, the last two beside it are often a copy of it, answer and all. */
    const size_t n = GR_COUNT(question_keys) - (json_is_array(json_object_get(row, "chosen")) ? 2 : 0);

    if (gr_json_get(row, "prompt"))
        return "prompt";
    if (json_is_array(json_object_get(row, "context")))
        return "context";
    for (size_t i = 0; i < n; i++)
        if (gr_json_get(row, question_keys[i]))
            return question_keys[i];
    return gr_json_holds(json_object_get(row, "context")) ? "context" : NULL;
}

gram_status gr_prompt_read(const gr_at *at, const json_t *row, gr_talk *out)
{
    const char *key = question_of(row);
    gram_status rc = GRAM_OK;

    if (key && !strcmp(key, "question") && gr_json_get(row, "instruction"))
        return gr_bad(at, "both \"question\" and \"instruction\" are there: say which is the \"prompt\" (`columns "
                      "prompt=question`)");
    if (key)
        rc = !strcmp(key, "instruction") ? read_instruction(at, row, out)
                                         : read_question(at, key, gr_json_get(row, key), out);
    if (!rc && key && out->n && strcmp(key, "context"))
        rc = read_passage(at, row, out);
    if (!rc && key)
        rc = check_others(at, row, key, out);
    return rc ? rc : read_history(at, row, out);
}

/* ---- What stands beside it ---------------------------------------------------------------------- */

/* A system text that stands beside the question goes before it, where the conversation has none. */
static gram_status read_system(const gr_at *at, const json_t *row, gr_talk *t)
{
    static const char *const key[] = { "system", "system_prompt" };
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < GR_COUNT(key) && !rc; k++) {
        const json_t *v = gr_json_get(row, key[k]);
        const char *s = json_string_value(v);

        if (v && !s)
            return gr_bad(at, "key \"%s\" must be a string, found %s", key[k], gr_json_kind(v));
        if (!s || !*s)
            continue;
        if (t->n && !strcmp(t->turn[0].role, "system")) {
            if (strcmp(t->turn[0].text, s))
                return gr_bad(at, "a text in \"%s\" and another system message are there: one of them must go", key[k]);
            continue;
        }
        rc = gr_talk_add(at, t, "system", s, json_string_length(v));
        if (!rc)
            turns_first(t, t->n - 1);
    }
    return rc;
}

/* Columns that a trainer would hand to the chat template, or the model beside its text. */
static gram_status refuse_what_is_not_read(const gr_at *at, const json_t *row)
{
    static const struct { const char *key, *why; } not_read[] = {
        { "images", "only text is read" }, { "image", "only text is read" }, { "videos", "only text is read" },
        { "audios", "only text is read" }, { "documents", "they are not handed to the chat template" },
        { "functions", "wanted \"tools\"" }, { "chat_template_kwargs", "wanted `chat-arg` for the whole file" },
    };

    for (size_t i = 0; i < GR_COUNT(not_read); i++)
        if (gr_json_holds(json_object_get(row, not_read[i].key)))
            return gr_bad(at, "key \"%s\" belongs to the conversation: %s", not_read[i].key, not_read[i].why);
    return GRAM_OK;
}

const char *gr_prompt_empty(const json_t *row)
{
    static const char *const key[] = { "prompt", "messages", "conversations", "question", "context" };

    for (size_t i = 0; i < GR_COUNT(key); i++)
        if (json_is_array(json_object_get(row, key[i])) && !json_array_size(json_object_get(row, key[i])))
            return key[i];
    return NULL;
}

gram_status gr_prompt_finish(const gr_at *at, const json_t *row, gr_talk *t)
{
    gram_status rc = refuse_what_is_not_read(at, row);

    if (!rc && t->n)
        rc = read_system(at, row, t);
    if (rc)
        return rc;
    if (!t->n && gr_prompt_empty(row))
        return gr_bad(at, "key \"%s\" is an empty list: wanted a text, or messages of which the last is the user's or "
                      "a tool's", gr_prompt_empty(row));
    if (!t->n)
        return gr_bad(at, "no prompt: wanted \"prompt\", \"question\", \"instruction\", \"messages\" or \"context\", "
                      "or turns before the answers");
    if (strcmp(t->turn[t->n - 1].role, "user") && strcmp(t->turn[t->n - 1].role, "tool"))
        return gr_bad(at, "the prompt must end with a turn of the user or of a tool, found %s",
                      t->turn[t->n - 1].role);
    if (!*t->turn[t->n - 1].text)
        return gr_bad(at, "the prompt's last turn is empty");
    return GRAM_OK;
}
