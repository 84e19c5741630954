/* req.c - see req.h: refusals, memory, reading fields, building answers. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
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

int gr_fault_add(gr_req *r, const char *name, size_t i, const char *param, const char *why)
{
    json_t *one = json_pack("{s:I, s:s, s:s}", "index", (json_int_t)i, "param", param, "message", why);

    if (!r->faults)
        r->faults = json_array();
    if (!one || !r->faults || json_array_append_new(r->faults, one))
        return gr_nomem_req(r);
    if (json_array_size(r->faults) == 1)
        return gr_refuse(r, 422, param, "%s", why);
    if (json_array_size(r->faults) <= 9) {  /* the first one's reason, the others' places */
        size_t n = strlen(r->why);
        snprintf(r->why + n, sizeof r->why - n, "; %s[%zu]%s", name, i,
                 json_array_size(r->faults) == 9 ? " and others" : "");
    }
    return r->status;
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
        return gr_refuse_text(r, v, name);
    *out = v ? json_string_value(v) : otherwise;
    return 0;
}

int gr_check_names(gr_req *r, const char *a, const char *b)
{
    json_t *x = named(r, a), *y = named(r, b);

    return !x || !y || json_equal(x, y) ? 0 : gr_refuse(r, 422, b, "%s and %s are one setting, and differ", a, b);
}

int gr_check_all_names(gr_req *r, const char *const *names)
{
    int rc = 0;

    for (; *names && !rc; names++)
        for (const char *const *other = names + 1; *other && !rc; other++)
            rc = gr_check_names(r, *names, *other);
    return rc;
}

int gr_check_one_of(gr_req *r, const char *const *names)
{
    const char *before = NULL;

    for (; *names; names++) {
        if (!named(r, *names))
            continue;
        if (before)
            return gr_refuse(r, 422, *names, "%s and %s are both there; wanted one of them", before, *names);
        before = *names;
    }
    return 0;
}

int gr_read_criteria(gr_req *r, const char **out)
{
    const char *text = "";
    int rc = gr_read_string(r, "criteria", text, &text);

    if (!rc && *text)
        *out = text;
    return rc;
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

bool gr_is_text(const char *p, size_t n)
{
    return gr_utf8_bad(p, n) == n && !memchr(p, '\0', n);
}

/* ---- Answers ---- */

json_t *gr_verdict_json(const gram_verdict *v)
{
    const char *winner = v->preference > 0.5 ? "a" : v->preference < 0.5 ? "b" : "tie";
    bool read[2] = { isfinite(v->p_forward), isfinite(v->p_swapped) };
    json_t *logits = json_array(), *o;

    for (int k = 0; k < 2; k++)
        gr_push(&logits, read[k] ? json_pack("[f,f]", (double)v->logit[k][0], (double)v->logit[k][1]) : json_null());
    o = json_pack("{s:f, s:o, s:o, s:f, s:o, s:s, s:b, s:b, s:I, s:b}",
                     "preference", v->preference,
                     "p_forward", gr_json_real(v->p_forward), "p_swapped", gr_json_real(v->p_swapped),
                     "logit_margin", v->logit_margin,
                     "logits", logits,
                     "winner", winner, "consistent", v->consistent, "flipped", read[0] && read[1] && !v->consistent,
                     "tokens", (json_int_t)v->tokens, "truncated", v->truncated);
    if (o && ((v->temperature > 0 && json_object_set_new(o, "temperature", json_real(v->temperature)))
              || (v->rewarded
               && json_object_set_new(o, "rewards", json_pack("[f,f]", v->reward[0].mean, v->reward[1].mean)))
              || (v->rewarded && v->reward[0].mass > 0
               && json_object_set_new(o, "mass", json_pack("[f,f]", v->reward[0].mass, v->reward[1].mass)))
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

const char *gr_fingerprint(const gr_req *r)
{
    gr_serve_state state = gr_serve_get_state(r->s, NULL);

    return (state == GR_SERVE_READY || state == GR_SERVE_DRAINING) && *r->engine->fingerprint ? r->engine->fingerprint
                                                                                               : NULL;
}

int gr_answer(gr_req *r, json_t *out)
{
    if (!out)
        return gr_nomem_req(r);
    r->out = out;
    return 0;
}

/* ---- Comparisons ---- */

/* What the job reads stays under most bytes, counted no further than that: a short body can say one long text in many
 * pairs. */
static bool text_fits(gr_job *job, size_t most)
{
    job->bytes = 0;
    for (size_t i = 0; i < job->n && job->bytes <= 2 * most; i++)
        job->bytes += gr_pair_bytes(&job->pair[i], job->text ? job->text[i] : NULL);
    return job->bytes <= 2 * most;          /* both orders are counted */
}

void gr_clear_faults(gr_job *job)
{
    for (size_t i = 0; job->fault && i < job->n; i++)
        free(job->fault[i]);
    job->fault = NULL;                      /* the list is the request's */
}

int gr_ask(gr_req *r, gram_pair *pair, const gram_text *const *text, size_t n, gr_req_fn *finish)
{
    if (r->pairs + n > r->opt->max_pairs)
        return gr_refuse(r, 413, NULL, "the request needs %zu comparisons; this server makes %zu for one request",
                         r->pairs + n, r->opt->max_pairs);
    gr_clear_faults(&r->job);
    r->job.pair = pair;
    r->job.text = text;
    r->job.n = n;
    r->job.step = NULL;
    if (!text_fits(&r->job, REPEATED * r->opt->max_body))
        return gr_refuse(r, 413, NULL, "the request's %zu comparisons read more than %zu bytes of text in all, %d "
                         "times what a body may hold", n, REPEATED * r->opt->max_body, REPEATED);
    r->job.verdict = gr_req_alloc(r, n, sizeof *r->job.verdict);
    r->job.fault = gr_req_alloc(r, n, sizeof *r->job.fault);
    if (!r->job.verdict || !r->job.fault)
        return r->status;
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
