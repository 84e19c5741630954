/* turns.c - prompts, answers and conversations out of JSON. What a message holds besides its text goes with it, for the
 * model's template; what cannot be read is refused under the name that the client gave it. */
#include <string.h>
#include "base/json.h"
#include "serve/req.h"

const char *gr_at(gr_req *r, const char *name, size_t i)
{
    snprintf(r->at, sizeof r->at, "%.40s[%zu]", name, i);
    return r->at;
}

int gr_refuse_text(gr_req *r, const json_t *v, const char *name)
{
    if (v && v == r->odd)
        return gr_refuse(r, 422, name, "%s holds %s, which no model reads", name, r->odd_why);
    return gr_refuse(r, 422, name, v ? json_is_null(v) ? "%s is null; wanted text" : "%s must be a string"
                                     : "%s is missing", name);
}

/* Thoughts, a refusal and a picture's words are no part of what is said. */
static bool is_text_part(const json_t *part)
{
    static const char *const kinds[] = { "text", "input_text", "output_text" };
    const json_t *type = json_object_get(part, "type");
    bool ok = !type || json_is_null(type);

    for (size_t i = 0; i < GR_COUNT(kinds); i++)
        ok = ok || (json_is_string(type) && !strcmp(json_string_value(type), kinds[i]));
    return ok;
}

static int join_parts(gr_req *r, json_t *parts, const char *name, const char **out)
{
    gr_buf text = { 0 };
    json_t *part;
    size_t i;
    int rc = 0;

    json_array_foreach(parts, i, part) {
        json_t *t = json_object_get(part, "text");
        if (t && t == r->odd)
            rc = gr_refuse_text(r, t, name);
        else if (!json_is_string(t) || !is_text_part(part))
            rc = gr_refuse(r, 422, name, "%s: part %zu is no text; this server reads text alone", name, i);
        else if (!gr_buf_puts(&text, json_string_value(t)))
            rc = gr_nomem_req(r);
        if (rc)
            goto out;
    }
    *out = gr_req_strndup(r, text.p ? text.p : "", text.n);
    if (!*out)
        rc = r->status;
out:
    gr_buf_clear(&text);
    return rc;
}

int gr_read_content(gr_req *r, json_t *v, const char *name, const char **out)
{
    if (json_is_array(v))
        return join_parts(r, v, name, out);
    if (!json_is_string(v))
        return gr_refuse_text(r, v, name);
    *out = json_string_value(v);
    return 0;
}

/* ---- Messages ---- */

static const char *known_role(const char *role)
{
    static const struct { const char *given, *means; } role_of[] = {
        { "user", "user" }, { "assistant", "assistant" }, { "system", "system" }, { "developer", "system" },
        { "model", "assistant" }, { "human", "user" }, { "tool", "tool" },
    };

    for (size_t i = 0; role && i < GR_COUNT(role_of); i++)
        if (!strcmp(role, role_of[i].given))
            return role_of[i].means;
    return NULL;
}

static bool holds(const json_t *v)
{
    return v && !json_is_null(v) && !(json_is_array(v) && !json_array_size(v))
        && !(json_is_string(v) && !json_string_length(v));
}

/* Text of a JSON value that goes with the request; NULL: refused. */
static const char *keep_json(gr_req *r, const json_t *v)
{
    char *text = gr_json_text(v, JSON_COMPACT), *kept = text ? gr_req_strndup(r, text, strlen(text)) : NULL;

    free(text);
    if (!kept)
        gr_nomem_req(r);
    return kept;
}

/* What gram_message calls extra. */
static int read_extra(gr_req *r, json_t *m, bool no_content, const char **out)
{
    static const char *const key[] = { "name", "tool_calls", "tool_call_id", "function_call", "reasoning_content",
                                       "reasoning", "thinking" };
    json_t *o = json_object();
    bool ok = o != NULL;

    *out = NULL;
    for (size_t i = 0; i < GR_COUNT(key) && ok; i++) {
        json_t *v = json_object_get(m, key[i]);
        ok = !holds(v) || !json_object_set(o, key[i], v);
    }
    if (ok && no_content)
        ok = !json_object_set_new(o, "content", json_null());
    if (ok && json_object_size(o))
        *out = keep_json(r, o);
    json_decref(o);
    return ok ? r->status : gr_nomem_req(r);
}

/* What a message may hold that neither its text nor the chat template would show, or that has its text gone on with. */
static int refuse_unread(gr_req *r, json_t *m, const char *name)
{
    static const char *const key[] = { "images", "image", "audio", "audios", "videos", "video", "documents", "refusal",
                                       "prefix", "partial" };

    for (size_t i = 0; i < GR_COUNT(key); i++) {
        json_t *v = json_object_get(m, key[i]);
        if (holds(v) && !json_is_false(v))
            return gr_refuse(r, 422, name, "%s: \"%s\" belongs to a message, and is not read", name, key[i]);
    }
    return 0;
}

/* The content of a message, which only one that calls tools may leave out. */
static int read_message(gr_req *r, json_t *m, const char *name, gram_message *out)
{
    json_t *content = json_object_get(m, "content");
    bool calls = holds(json_object_get(m, "tool_calls")) || holds(json_object_get(m, "function_call"));
    bool none = calls && (!content || json_is_null(content));
    int rc = refuse_unread(r, m, name);

    out->content = "";
    if (rc)
        return rc;
    if (!none && (!content || json_is_null(content)))
        return gr_refuse(r, 422, name, content ? "%s: content is null, and no tool is called"
                                               : "%s: a message without content", name);
    if (!none)
        rc = gr_read_content(r, content, name, &out->content);
    return rc ? rc : read_extra(r, m, none, &out->extra);
}

static int read_messages(gr_req *r, json_t *list, const char *name, gram_message **out, size_t *n)
{
    gram_message *turn;
    json_t *m;
    size_t i;
    int rc;

    *n = json_array_size(list);
    if (*n == 0)
        return gr_refuse(r, 422, name, "%s holds no message", name);
    turn = gr_req_alloc(r, *n, sizeof *turn);
    if (!turn)
        return r->status;
    json_array_foreach(list, i, m) {
        turn[i].role = known_role(json_string_value(json_object_get(m, "role")));
        if (!turn[i].role)
            return gr_refuse(r, 422, name, "%s: message %zu has no role that this server knows (system, user, "
                             "assistant, tool)", name, i);
        rc = read_message(r, m, name, &turn[i]);
        if (rc)
            return rc;
    }
    *out = turn;
    return 0;
}

/* As gram score has it. */
static int check_question(gr_req *r, const gram_message *last, const char *name)
{
    return last->content[0] ? 0 : gr_refuse(r, 422, name, "%s: the prompt's last turn is empty", name);
}

/* The request's tools, as text that goes with it. */
static int read_tools(gr_req *r, const char **out)
{
    json_t *tools = json_object_get(r->in, "tools");

    if (holds(tools) && !json_is_array(tools))
        return gr_refuse(r, 422, "tools", "tools must be a list");
    if (holds(tools) && !r->tools)
        r->tools = keep_json(r, tools);
    *out = r->tools;
    return r->status;
}

int gr_read_prompt(gr_req *r, json_t *v, const char *name, gram_prompt *out)
{
    gram_message *turn;
    size_t n = 1;
    int rc;

    if (!json_is_string(v) && !json_is_array(v))
        return !v || v == r->odd ? gr_refuse_text(r, v, name)
                                 : gr_refuse(r, 422, name, "%s must be a string or a list of messages", name);
    if (json_is_array(v)) {
        rc = read_messages(r, v, name, &turn, &n);
        if (rc)
            return rc;
        if (strcmp(turn[n - 1].role, "user") && strcmp(turn[n - 1].role, "tool"))
            return gr_refuse(r, 422, name, "%s must end with a message of the user, or a tool's", name);
    } else {
        turn = gr_req_alloc(r, 1, sizeof *turn);
        if (!turn)
            return r->status;
        *turn = (gram_message){ .role = "user", .content = json_string_value(v) };
    }
    *out = (gram_prompt){ .turn = turn, .n = n };
    rc = check_question(r, &turn[n - 1], name);
    return rc ? rc : read_tools(r, &out->tools);
}

int gr_read_answer(gr_req *r, json_t *v, const char *name, const char **out, const char **extra)
{
    gram_message m = { 0 };
    int rc;

    *extra = NULL;
    if (json_is_array(v) && json_array_size(v) == 1 && json_object_get(json_array_get(v, 0), "role"))
        v = json_array_get(v, 0);
    if (json_is_array(v) && json_object_get(json_array_get(v, 0), "role"))
        return gr_refuse(r, 422, name, "%s is a list of %zu messages; wanted one, of the assistant", name,
                         json_array_size(v));
    if (!json_is_object(v))
        return gr_read_content(r, v, name, out);
    m.role = known_role(json_string_value(json_object_get(v, "role")));
    if (!m.role || strcmp(m.role, "assistant"))
        return gr_refuse(r, 422, name, "%s must be a message of the assistant", name);
    rc = read_message(r, v, name, &m);
    *out = m.content;
    *extra = m.extra;
    return rc;
}

gram_message *gr_keep_turns(gr_req *r, gram_message *turn, size_t n)
{
    gram_message *kept = gr_req_alloc(r, n, sizeof *kept);

    for (size_t i = 0; i < n && kept; i++) {
        kept[i].role = known_role(turn[i].role);
        kept[i].content = gr_req_strndup(r, turn[i].content, strlen(turn[i].content));
        if (!kept[i].content)
            kept = NULL;
    }
    free(turn);
    return kept;
}

int gr_split_turns(gr_req *r, const gram_message *turn, size_t n, const char *name, gr_talk *out)
{
    int rc;

    if (n < 2 || strcmp(turn[n - 1].role, "assistant")
        || (strcmp(turn[n - 2].role, "user") && strcmp(turn[n - 2].role, "tool")))
        return gr_refuse(r, 422, name, "%s must end with a message of the user and the assistant's answer", name);
    out->prompt = (gram_prompt){ .turn = turn, .n = n - 1 };
    out->answer = turn[n - 1].content;
    out->extra = turn[n - 1].extra;
    rc = check_question(r, &turn[n - 2], name);
    return rc ? rc : read_tools(r, &out->prompt.tools);
}

int gr_read_conversation(gr_req *r, json_t *v, const char *name, gr_talk *out)
{
    gram_message *turn;
    size_t n;
    int rc;

    if (!json_is_array(v))
        return !v || v == r->odd ? gr_refuse_text(r, v, name)
                                 : gr_refuse(r, 422, name, "%s must be text or a list of messages", name);
    rc = read_messages(r, v, name, &turn, &n);
    return rc ? rc : gr_split_turns(r, turn, n, name, out);
}
