/* chat_run.c - conversations handed to a checkpoint's own template, as transformers' apply_chat_template hands them
 * over: keys that are null are left out, thoughts are there under each of the names that templates read, and special
 * tokens are variables of their own. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "text/chat_int.h"

/* ---- Variables ---------------------------------------------------------------------------------- */

/* {"thinking": T, ...message, "reasoning_content": T}, where a message has thoughts under any name. */
static json_t *with_thoughts(json_t *message)
{
    static const char *const name[] = { "reasoning_content", "thinking", "reasoning" };
    json_t *thought = NULL, *out;

    for (size_t i = 0; i < GR_COUNT(name) && !thought; i++)
        thought = json_object_get(message, name[i]);
    if (!thought)
        return json_incref(message);
    out = json_object();
    if (!out || json_object_set(out, "thinking", thought) || json_object_update(out, message)
        || json_object_set(out, "reasoning_content", thought)) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static json_t *without_nulls(const json_t *message)
{
    json_t *out = json_object(), *v, *thoughtful;
    const char *key;

    if (!out)
        return NULL;
    json_object_foreach((json_t *)(uintptr_t)message, key, v)
        if (!json_is_null(v) && json_object_set(out, key, v)) {
            json_decref(out);
            return NULL;
        }
    thoughtful = with_thoughts(out);
    json_decref(out);
    return thoughtful;
}

/* A message of the library as one of JSON. */
static json_t *message_of(const gram_message *m)
{
    json_t *extra = m->extra ? json_loads(m->extra, JSON_ALLOW_NUL, NULL) : NULL, *out = json_object(), *done = NULL;

    if (out && (extra || !m->extra) && !json_object_set_new(out, "role", json_string(m->role))
        && !json_object_set_new(out, "content", json_string(m->content)) && (!extra || !json_object_update(out, extra)))
        done = without_nulls(out);
    json_decref(extra);
    json_decref(out);
    return done;
}

static json_t *messages_of(const gram_message *turn, size_t n)
{
    json_t *out = json_array();

    for (size_t i = 0; i < n && out; i++)
        if (json_array_append_new(out, message_of(&turn[i]))) {
            json_decref(out);
            out = NULL;
        }
    return out;
}

/* ---- Running ------------------------------------------------------------------------------------ */

/* SOURCE_DATE_EPOCH, as reproducible builds know it, or now in local time. */
static void set_clock(gr_jinja_vars *v)
{
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    struct timespec now;
    char *end;

    if (fixed && *fixed) {
        errno = 0;
        v->now = (double)strtoll(fixed, &end, 10);
        v->utc = !*end && !errno;
        if (v->utc)
            return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    v->now = (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool add_pieces(gr_chat_text *out, const gr_jinja_text *t)
{
    for (size_t i = 0, from = 0; i < t->n; from = t->run[i++].end)
        if (!gr_chat_text_add(out, !t->run[i].given, t->text.p + from, t->run[i].end - from))
            return false;
    return true;
}

bool gr_chat_text_add(gr_chat_text *t, bool own, const char *s, size_t n)
{
    return !n || (gr_buf_add(&t->text, s, n) && gr_chat_piece_add(t, own, true, n));
}

/* given: the variables of this conversation, messages among them. */
static gram_status run(const gr_chat *c, const json_t *given, gr_chat_text *out, gram_err *err)
{
    const json_t *tools = json_object_get(given, "tools");
    const gr_jinja *program = c->program_tools && tools && !json_is_null(tools) ? c->program_tools : c->program;
    gr_jinja_vars vars = { .given = given, .own = c->own };
    gr_jinja_text text = { 0 };
    gram_status rc;

    set_clock(&vars);
    rc = gr_jinja_render(program, &vars, &text, err);
    out->program = true;
    if (!rc && (!gr_buf_add(&out->text, "", 0) || !add_pieces(out, &text)))
        rc = gr_nomem(err, "chat text");
    gr_jinja_text_clear(&text);
    return rc;
}

/* The variables of a conversation: those that every program is given, then the caller's. Takes over its JSON. */
static json_t *variables(const gr_chat *c, json_t *messages, json_t *tools, json_t *documents, bool prompt)
{
    json_t *out = json_object();
    bool ok = !json_object_set_new(out, "messages", messages);

    ok = !json_object_set_new(out, "tools", tools ? tools : json_null()) && ok;
    ok = !json_object_set_new(out, "documents", documents ? documents : json_null()) && ok;
    ok = !json_object_set_new(out, "add_generation_prompt", json_boolean(prompt)) && ok;
    if (!ok || json_object_update(out, c->args)) {
        json_decref(out);
        return NULL;
    }
    return out;
}

gram_status gr_chat_run(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, bool answered,
                        gr_chat_text *out, gram_err *err)
{
    json_error_t e;
    json_t *list = tools ? json_loads(tools, JSON_ALLOW_NUL, &e) : NULL, *given;
    gram_err why = { 0 };
    gram_status rc;

    if (tools && !list)
        return gr_fail(err, GRAM_EARG, "\"tools\": %s", e.text);
    if (!n) {
        json_decref(list);
        return gr_fail(err, GRAM_EARG, "a conversation without turns");
    }
    given = variables(c, messages_of(turn, n), list, NULL, !answered);
    if (!given)
        return gr_nomem(err, "conversation");
    rc = run(c, given, out, &why);
    json_decref(given);
    if (rc == GRAM_EARG)
        return gr_fail(err, rc, "the chat template refuses the conversation: %s", why.text);
    return rc ? gr_fail(err, rc, "%s", why.text) : GRAM_OK;
}

/* ---- Conversations as JSON ---------------------------------------------------------------------- */

static gram_status check_conversation(const json_t *o, gram_err *err)
{
    static const struct { const char *key; bool list, object, boolean; } known[] = {
        { "messages", .list = true }, { "tools", .list = true }, { "documents", .list = true },
        { "add_generation_prompt", .boolean = true }, { "arguments", .object = true }
    };
    const char *key;
    json_t *v;

    if (!json_is_object(o))
        return gr_fail(err, GRAM_EARG, "wanted a JSON object with \"messages\"");
    json_object_foreach((json_t *)(uintptr_t)o, key, v) {
        size_t i = 0;
        while (i < GR_COUNT(known) && strcmp(known[i].key, key))
            i++;
        if (i == GR_COUNT(known))
            return gr_fail(err, GRAM_EARG, "\"%s\" is none of messages, tools, documents, add_generation_prompt and "
                           "arguments", key);
        if (!(json_is_null(v) && i) && !(known[i].list ? json_is_array(v) : known[i].object ? json_is_object(v)
                                                                                              : json_is_boolean(v)))
            return gr_fail(err, GRAM_EARG, "\"%s\": wanted %s", key, known[i].list ? "a list" : known[i].object
                           ? "an object" : "true or false");
    }
    if (!json_array_size(json_object_get(o, "messages")))
        return gr_fail(err, GRAM_EARG, "wanted a list \"messages\" with a message at least");
    return GRAM_OK;
}

static gram_status plain_messages(json_t **out, const json_t *messages, gram_err *err)
{
    size_t i;
    json_t *m;

    *out = json_array();
    if (!*out)
        return gr_nomem(err, "conversation");
    json_array_foreach(messages, i, m) {
        gram_status rc = json_is_object(m) ? GRAM_OK : gr_fail(err, GRAM_EARG, "message %zu: wanted an object", i + 1);
        if (!rc && json_array_append_new(*out, without_nulls(m)))
            rc = gr_nomem(err, "conversation");
        if (rc) {
            json_decref(*out);
            *out = NULL;
            return rc;
        }
    }
    return GRAM_OK;
}

gram_status gr_chat_render_json(const gr_chat *c, const json_t *o, gr_chat_text *out, gram_err *err)
{
    json_t *messages, *given, *args;
    gram_status rc = check_conversation(o, err);

    if (!rc && c->kind != GR_CHAT_JINJA)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s is no template in Jinja", gr_chat_name(c->kind));
    if (!rc)
        rc = plain_messages(&messages, json_object_get(o, "messages"), err);
    if (rc)
        return rc;
    args = json_object_get(o, "arguments");
    given = variables(c, messages, json_incref(json_object_get(o, "tools")),
                      json_incref(json_object_get(o, "documents")),
                      json_is_true(json_object_get(o, "add_generation_prompt")));
    if (!given || (json_is_object(args) && json_object_update(given, args)))
        rc = gr_nomem(err, "conversation");
    else
        rc = run(c, given, out, err);
    json_decref(given);
    return rc;
}

/* ---- What stands around an answer --------------------------------------------------------------- */

void gr_chat_around_clear(gr_chat_around *a)
{
    free(a->before);
    free(a->after);
    *a = (gr_chat_around){ 0 };
}

gram_status gr_chat_find_around(const gr_chat *c, gr_chat_around *out, gram_err *err)
{
    static const char answer[] = "gram's answer";
    const gram_message turn[] = { { .role = "user", .content = "q" }, { .role = "assistant", .content = answer } };
    gr_chat_text open = { 0 }, closed = { 0 };
    const char *at = NULL, *end;
    size_t n;
    gram_status rc = gr_chat_render(c, turn, 1, NULL, &open, err);

    *out = (gr_chat_around){ 0 };
    if (!rc)
        rc = gr_chat_render_answered(c, turn, 2, NULL, &closed, err);
    for (const char *p = rc ? NULL : closed.text.p; p && (p = strstr(p, answer)); p++)
        at = p;
    if (!rc && !at)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "the chat template does not write an answer as it is");
    if (!rc) {
        n = open.text.n;
        end = at + sizeof answer - 1;
        out->same = n <= (size_t)(at - closed.text.p) && !memcmp(open.text.p, closed.text.p, n);
        out->before = gr_strndup(out->same ? closed.text.p + n : "", out->same ? (size_t)(at - closed.text.p) - n : 0);
        out->after = gr_strndup(end, closed.text.n - (size_t)(end - closed.text.p));
        if (!out->before || !out->after)
            rc = gr_nomem(err, "chat template");
    }
    if (rc)
        gr_chat_around_clear(out);
    gr_chat_text_clear(&open);
    gr_chat_text_clear(&closed);
    return rc;
}
