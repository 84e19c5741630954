/* req.c - see req.h: refusals, memory, reading fields, building answers. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/chattext.h"
#include "serve/req.h"

enum { REPEATED = 64 };                     /* of max_body: text read by all comparisons of a request */

struct gr_chunk { struct gr_chunk *next; max_align_t data[]; };

/* ---- Refusing ---- */

int gr_refuse(gr_req *r, int status, const char *param, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(r->why, sizeof r->why, fmt, ap);
    va_end(ap);
    snprintf(r->param, sizeof r->param, "%s", param ? param : "");
    r->status = status;
    if (status == 503 && r->retry_after == 0)
        r->retry_after = 1;
    return status;
}

int gr_nomem_req(gr_req *r)
{
    return gr_refuse(r, 503, NULL, "out of memory");
}

int gr_refuse_err(gr_req *r, const gram_err *err)
{
    static const struct { gram_status is; int status; } map[] = {
        { GRAM_ELIMIT, 422 }, { GRAM_EARG, 422 }, { GRAM_EUNSUPPORTED, 501 }, { GRAM_ENOMEM, 503 },
        { GRAM_ESTOPPED, 503 }, { GRAM_EBUSY, 503 },
    };

    for (size_t i = 0; i < GR_COUNT(map); i++)
        if (map[i].is == err->status)
            return gr_refuse(r, map[i].status, NULL, "%s", err->text);
    return gr_refuse(r, r->if_failed ? r->if_failed : 500, NULL, "%s", err->text);
}

/* ---- Memory ---- */

void *gr_req_alloc(gr_req *r, size_t n, size_t size)
{
    size_t bytes;
    struct gr_chunk *c;

    if (!gr_mul(n, size, &bytes) || !gr_add(bytes, sizeof *c, &bytes) || !(c = calloc(1, bytes))) {
        gr_nomem_req(r);
        return NULL;
    }
    c->next = r->chunk;
    r->chunk = c;
    return c->data;
}

char *gr_req_strndup(gr_req *r, const char *s, size_t n)
{
    char *p = gr_req_alloc(r, n + 1, 1);

    if (p)
        memcpy(p, s, n);
    return p;
}

void gr_req_free_all(gr_req *r)
{
    while (r->chunk) {
        struct gr_chunk *next = r->chunk->next;
        free(r->chunk);
        r->chunk = next;
    }
}

/* ---- Fields ---- */

json_t *gr_field(const gr_req *r, const char *const *names)
{
    json_t *v = NULL;

    for (; *names && !v; names++) {
        v = json_object_get(r->in, *names);
        if (json_is_null(v))
            v = NULL;
    }
    return v;
}

static json_t *named(const gr_req *r, const char *name)
{
    return gr_field(r, (const char *[]){ name, NULL });
}

int gr_read_bool(gr_req *r, const char *name, bool otherwise, bool *out)
{
    json_t *v = named(r, name);

    if (v && !json_is_boolean(v))
        return gr_refuse(r, 422, name, "%s must be true or false", name);
    *out = v ? json_is_true(v) : otherwise;
    return 0;
}

int gr_read_size(gr_req *r, const char *name, size_t otherwise, size_t *out)
{
    json_t *v = named(r, name);

    if (v && (!json_is_integer(v) || json_integer_value(v) < 0))
        return gr_refuse(r, 422, name, "%s must be a whole number, 0 or more", name);
    *out = v ? (size_t)json_integer_value(v) : otherwise;
    return 0;
}

int gr_read_number(gr_req *r, const char *name, double otherwise, double *out)
{
    json_t *v = named(r, name);

    if (v && !json_is_number(v))
        return gr_refuse(r, 422, name, "%s must be a number", name);
    *out = v ? json_number_value(v) : otherwise;
    return 0;
}

int gr_read_string(gr_req *r, const char *name, const char *otherwise, const char **out)
{
    json_t *v = named(r, name);

    if (v ? !json_is_string(v) : !otherwise)
        return gr_refuse(r, 422, name, v ? "%s must be a string" : "%s is missing", name);
    *out = v ? json_string_value(v) : otherwise;
    return 0;
}

static int join_parts(gr_req *r, json_t *parts, const char *name, const char **out)
{
    gr_buf text = { 0 };
    json_t *part;
    size_t i;
    int rc = 0;

    json_array_foreach(parts, i, part) {
        json_t *t = json_object_get(part, "text");
        if (!json_is_string(t)) {
            rc = gr_refuse(r, 422, name, "%s: part %zu is no text; this server reads text alone", name, i);
            goto out;
        }
        if (!gr_buf_puts(&text, json_string_value(t))) {
            rc = gr_nomem_req(r);
            goto out;
        }
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
        return gr_refuse(r, 422, name, v ? "%s must be a string" : "%s is missing", name);
    *out = json_string_value(v);
    return 0;
}

static const char *known_role(const char *role)
{
    static const struct { const char *given, *means; } role_of[] = {
        { "user", "user" }, { "assistant", "assistant" }, { "system", "system" }, { "developer", "system" },
        { "model", "assistant" }, { "human", "user" },
    };

    for (size_t i = 0; role && i < GR_COUNT(role_of); i++)
        if (!strcmp(role, role_of[i].given))
            return role_of[i].means;
    return NULL;
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
                             "assistant)", name, i);
        rc = gr_read_content(r, json_object_get(m, "content"), name, &turn[i].content);
        if (rc)
            return rc;
    }
    *out = turn;
    return 0;
}

int gr_read_prompt(gr_req *r, json_t *v, const char *name, gram_prompt *out)
{
    gram_message *turn;
    size_t n = 1;
    int rc;

    if (!json_is_string(v) && !json_is_array(v))
        return gr_refuse(r, 422, name, v ? "%s must be a string or a list of messages" : "%s is missing", name);
    if (json_is_array(v)) {
        rc = read_messages(r, v, name, &turn, &n);
        if (rc)
            return rc;
        if (strcmp(turn[n - 1].role, "user"))
            return gr_refuse(r, 422, name, "%s must end with a message of the user", name);
    } else {
        turn = gr_req_alloc(r, 1, sizeof *turn);
        if (!turn)
            return r->status;
        *turn = (gram_message){ "user", json_string_value(v) };
    }
    *out = (gram_prompt){ turn, n };
    return 0;
}

int gr_read_answer(gr_req *r, json_t *v, const char *name, const char **out)
{
    if (json_is_array(v) && json_array_size(v) == 1 && json_object_get(json_array_get(v, 0), "role"))
        v = json_array_get(v, 0);
    if (json_is_object(v)) {
        const char *role = known_role(json_string_value(json_object_get(v, "role")));
        if (!role || strcmp(role, "assistant"))
            return gr_refuse(r, 422, name, "%s must be a message of the assistant", name);
        v = json_object_get(v, "content");
    }
    return gr_read_content(r, v, name, out);
}

static int split_conversation(gr_req *r, const gram_message *turn, size_t n, const char *name, gram_prompt *prompt,
                              const char **answer)
{
    if (n < 2 || strcmp(turn[n - 1].role, "assistant") || strcmp(turn[n - 2].role, "user"))
        return gr_refuse(r, 422, name, "%s must end with a message of the user and the assistant's answer", name);
    *prompt = (gram_prompt){ turn, n - 1 };
    *answer = turn[n - 1].content;
    return 0;
}

int gr_read_conversation_text(gr_req *r, const char *text, const char *name, gram_prompt *prompt, const char **answer)
{
    gram_message *turn = NULL;
    size_t n = 0;
    int rc = gr_chattext_read(r, text, &turn, &n);

    if (rc)
        return rc;
    if (n == 0)
        return gr_refuse(r, 422, name, "%s is not a conversation in a chat template that this server knows (ChatML, "
                         "Llama 2 and 3, Mistral, Gemma, Human/Assistant)", name);
    return split_conversation(r, turn, n, name, prompt, answer);
}

int gr_read_conversation(gr_req *r, json_t *v, const char *name, gram_prompt *prompt, const char **answer)
{
    gram_message *turn;
    size_t n;
    int rc;

    if (json_is_string(v))
        return gr_read_conversation_text(r, json_string_value(v), name, prompt, answer);
    if (!json_is_array(v))
        return gr_refuse(r, 422, name, v ? "%s must be text or a list of messages" : "%s is missing", name);
    rc = read_messages(r, v, name, &turn, &n);
    return rc ? rc : split_conversation(r, turn, n, name, prompt, answer);
}

int gr_read_list(gr_req *r, const char *name, json_t *v, size_t *n)
{
    if (!json_is_array(v))
        return gr_refuse(r, 422, name, v ? "%s must be a list" : "%s is missing", name);
    *n = json_array_size(v);
    if (*n == 0)
        return gr_refuse(r, 422, name, "%s is empty", name);
    if (*n > r->opt->max_rows)
        return gr_refuse(r, 413, name, "%s holds %zu elements; this server takes %zu in a request", name, *n,
                         r->opt->max_rows);
    return 0;
}

int gr_read_ids(gr_req *r, json_t *v, const char *name, int32_t **out, size_t *n)
{
    int32_t *id;
    json_t *e;
    size_t i;

    if (!json_is_array(v) || json_array_size(v) == 0)
        return gr_refuse(r, 422, name, v ? "%s must be a list of token ids" : "%s is missing", name);
    *n = json_array_size(v);
    id = gr_req_alloc(r, *n, sizeof *id);
    if (!id)
        return r->status;
    json_array_foreach(v, i, e) {
        json_int_t x = json_integer_value(e);
        if (!json_is_integer(e) || x < 0 || x > INT32_MAX)
            return gr_refuse(r, 422, name, "%s: element %zu is not a token id", name, i);
        id[i] = (int32_t)x;
    }
    *out = id;
    return 0;
}

int gr_char_bytes(const unsigned char *p, size_t n)
{
    int want = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
             : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : -1;

    for (int i = 1; i < want; i++) {
        if ((size_t)i >= n)
            return 0;
        if ((p[i] & 0xc0) != 0x80)
            return -1;
    }
    if (want == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0)))
        return -1;
    if (want == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90)))
        return -1;
    return want;
}

bool gr_is_text(const char *p, size_t n)
{
    for (size_t i = 0; i < n; ) {
        int len = gr_char_bytes((const unsigned char *)p + i, n - i);
        if (len <= 0 || p[i] == '\0')
            return false;
        i += (size_t)len;
    }
    return true;
}

/* ---- Answers ---- */

json_t *gr_verdict_json(const gram_verdict *v)
{
    const char *winner = v->preference > 0.5 ? "a" : v->preference < 0.5 ? "b" : "tie";
    bool both = isfinite(v->p_swapped);
    json_t *o;

    o = json_pack("{s:f, s:o, s:o, s:f, s:[[f,f],o], s:s, s:b, s:b, s:I, s:b}",
                     "preference", v->preference,
                     "p_forward", gr_json_real(v->p_forward), "p_swapped", gr_json_real(v->p_swapped),
                     "logit_margin", v->logit_margin,
                     "logits", (double)v->logit[0][0], (double)v->logit[0][1],
                     both ? json_pack("[f,f]", (double)v->logit[1][0], (double)v->logit[1][1]) : json_null(),
                     "winner", winner, "consistent", v->consistent, "flipped", both && !v->consistent,
                     "tokens", (json_int_t)v->tokens, "truncated", v->truncated);
    if (o && ((v->rewarded
               && json_object_set_new(o, "rewards", json_pack("[f,f]", v->reward[0].mean, v->reward[1].mean)))
              || (v->spread
                  && json_object_set_new(o, "sigma", json_pack("[f,f]", v->reward[0].sigma, v->reward[1].sigma))))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

json_t *gr_usage_json(const gr_req *r)
{
    return json_pack("{s:I, s:I, s:i}", "prompt_tokens", (json_int_t)r->tokens,
                     "total_tokens", (json_int_t)r->tokens, "completion_tokens", 0);
}

void gr_push(json_t **list, json_t *v)
{
    if (!*list)
        json_decref(v);
    else if (json_array_append_new(*list, v)) {
        json_decref(*list);
        *list = NULL;
    }
}

const char *gr_model_name(const gr_req *r)
{
    return r->opt->name;
}

int gr_answer(gr_req *r, json_t *out)
{
    if (!out)
        return gr_nomem_req(r);
    r->out = out;
    return 0;
}

/* ---- Comparisons ---- */

/* What n pairs read stays under most bytes, counted no further than that: a short body can say one long text in many
 * pairs. */
static bool text_fits(const gram_pair *pair, size_t n, size_t most)
{
    for (size_t i = 0; i < n; i++) {
        size_t bytes = strlen(pair[i].a) + strlen(pair[i].b);
        for (size_t k = 0; k < pair[i].prompt.n; k++)
            bytes += strlen(pair[i].prompt.turn[k].content);
        if (bytes > most)
            return false;
        most -= bytes;
    }
    return true;
}

int gr_ask(gr_req *r, gram_pair *pair, size_t n, gr_req_fn *finish)
{
    if (r->pairs + n > r->opt->max_pairs)
        return gr_refuse(r, 413, NULL, "the request needs %zu comparisons; this server makes %zu for one request",
                         r->pairs + n, r->opt->max_pairs);
    if (!text_fits(pair, n, REPEATED * r->opt->max_body))
        return gr_refuse(r, 413, NULL, "the request's %zu comparisons read more than %zu bytes of text in all, %d "
                         "times what a body may hold", n, REPEATED * r->opt->max_body, REPEATED);
    r->job.verdict = gr_req_alloc(r, n, sizeof *r->job.verdict);
    if (!r->job.verdict)
        return r->status;
    r->job.pair = pair;
    r->job.n = n;
    r->job.step = NULL;
    r->finish = finish;
    return 0;
}

int gr_ask_step(gr_req *r, gr_step_fn *step, void *arg, gr_req_fn *finish)
{
    r->job.step = step;
    r->job.arg = arg;
    r->finish = finish;
    return 0;
}
