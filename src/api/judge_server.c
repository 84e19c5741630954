/* judge_server.c - a judge that is a `gram serve` somewhere: pairs go to its /v1/score, and its verdicts come back as
 * they would be made here. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/judge_int.h"
#include "base/client.h"
#include "base/err.h"
#include "base/json.h"

enum { PAIRS = 64, BYTES = 1 << 20 };       /* in a request: the server refuses bodies of 8 MiB */

static json_t *pair_json(const gram_pair *p)
{
    return json_pack("{s:o, s:s, s:s, s:s*}", "prompt", gr_api_messages_json(&p->prompt), "a", p->a, "b", p->b,
                     "criteria", p->prompt.criteria);
}

static char *request_text(const gram_pair *pair, size_t n)
{
    json_t *list = json_array(), *o = NULL;
    const char *tools = pair->prompt.tools;
    char *text = NULL;
    bool ok = list;

    for (size_t k = 0; k < n && ok; k++)
        ok = !json_array_append_new(list, pair_json(&pair[k]));
    if (ok)
        o = json_pack("{s:O}", "pairs", list);
    if (o && (!tools || !json_object_set_new(o, "tools", json_loads(tools, 0, NULL))))
        text = gr_json_text(o, JSON_COMPACT);
    json_decref(o);
    json_decref(list);
    return text;
}

static bool read_number(const json_t *o, const char *key, double *out)
{
    const json_t *v = json_object_get(o, key);

    *out = json_is_null(v) ? NAN : json_number_value(v);
    return json_is_number(v) || json_is_null(v);
}

static bool read_two(const json_t *o, const char *key, double out[2])
{
    const json_t *v = json_object_get(o, key);

    for (size_t k = 0; k < 2; k++) {
        const json_t *x = json_array_get(v, k);
        if (!json_is_number(x))
            return false;
        out[k] = json_number_value(x);
    }
    return true;
}

/* A calibrated judge's: what its preference was before the temperature follows from the logits. */
static bool read_temperature(const json_t *o, gram_verdict *v)
{
    const json_t *t = json_object_get(o, "temperature"), *logits = json_object_get(o, "logits"), *order;
    size_t i;

    if (!t)
        return true;
    v->temperature = json_number_value(t);
    json_array_foreach(logits, i, order)
        for (size_t k = 0; k < 2 && i < 2; k++)
            v->logit[i][k] = (float)json_number_value(json_array_get(order, k));
    return v->temperature > 0 && (v->rewarded || json_array_size(logits) == 2);
}

static gram_status read_verdict(const gram_judge *j, const json_t *o, gram_verdict *v, gram_err *err)
{
    double mean[2], sigma[2] = { 0, 0 };

    *v = (gram_verdict){ .consistent = json_is_true(json_object_get(o, "consistent")),
                         .truncated = json_is_true(json_object_get(o, "truncated")),
                         .tokens = (size_t)json_integer_value(json_object_get(o, "tokens")),
                         .rewarded = json_object_get(o, "rewards"), .spread = json_object_get(o, "sigma") };
    if (!read_number(o, "preference", &v->preference) || !read_number(o, "p_forward", &v->p_forward) ||
        !read_number(o, "p_swapped", &v->p_swapped) || !read_number(o, "logit_margin", &v->logit_margin) ||
        !json_is_boolean(json_object_get(o, "consistent")) || !read_temperature(o, v) ||
        (v->rewarded && !read_two(o, "rewards", mean)) || (v->spread && !read_two(o, "sigma", sigma)))
        return gr_fail(err, GRAM_EFORMAT, "%s: its verdict is none of a `gram serve`: wanted preference, p_forward, "
                       "p_swapped, logit_margin and consistent", j->url);
    for (size_t k = 0; k < 2 && v->rewarded; k++)
        v->reward[k] = (gram_reward){ .mean = mean[k], .sigma = sigma[k] };
    return GRAM_OK;
}

/* data[k] is a verdict, or says why there is none. */
static gram_status read_one(const gram_judge *j, const json_t *o, gram_verdict *v, char **fault, gram_err *err)
{
    const json_t *error = json_object_get(o, "error");
    const char *why = json_string_value(json_object_get(error, "message"));

    if (!error)
        return read_verdict(j, o, v, err);
    *fault = gr_strdup(why ? why : "the server gave no reason");
    return *fault ? GRAM_OK : gr_nomem(err, j->url);
}

/* Which model it was, as the server says it: its name, and the fingerprint that a `gram serve` tells of it. */
static gram_status read_served(char **out, const json_t *o, const char *url, gram_err *err)
{
    const char *name = json_string_value(json_object_get(o, "model"));
    const char *print = json_string_value(json_object_get(o, "system_fingerprint"));
    gr_buf b = { 0 };

    if (!gr_buf_printf(&b, "%s%s%s", name ? name : "", print ? " " : "", print ? print : ""))
        return gr_nomem(err, url);
    *out = b.p;
    return GRAM_OK;
}

/* One judge stands behind the address as long as it is asked: the first answer says which. */
static gram_status same_server(gram_judge *j, const json_t *o, gram_err *err)
{
    char *now = NULL;
    gram_status rc = read_served(&now, o, j->url, err);

    if (!rc && !j->served) {
        j->served = now;
        return GRAM_OK;
    }
    if (!rc && strcmp(now, j->served))
        rc = gr_fail(err, GRAM_EIO, "%s: it has another model than before, or asks it in another way: %s, where it was "
                     "%s", j->url, now, j->served);
    free(now);
    return rc;
}

gram_status gr_judge_server_read(const gram_judge *j, const json_t *o, size_t n, gram_verdict *out, char **fault,
                                 gram_err *err)
{
    const json_t *data = json_object_get(o, "data");
    gram_status rc = GRAM_OK;

    if (json_array_size(data) != n)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: %zu verdicts for %zu pairs", j->url, json_array_size(data), n);
    for (size_t k = 0; k < n && !rc; k++)
        rc = read_one(j, json_array_get(data, k), &out[k], &fault[k], err);
    return rc;
}

/* One request. *refused: these pairs are at fault, all of them or one alone. */
static gram_status request(gram_judge *j, const gram_pair *pair, size_t n, gram_verdict *out, char **fault,
                           bool *refused, gram_err *err)
{
    char *text = request_text(pair, n);
    gr_buf answer = { 0 };
    int status;
    gram_status rc = text ? gr_client_post(j->url, j->key, "/v1/score", text, &answer, &status, err)
                          : gr_nomem(err, j->url);
    json_t *o = rc ? NULL : json_loadb(answer.p, answer.n, 0, NULL);

    *refused = text && rc && (status == 422 || status == 400 || status == 413);
    if (!rc)
        rc = gr_judge_server_read(j, o, n, out, fault, err);
    if (!rc)
        rc = same_server(j, o, err);
    json_decref(o);
    free(text);
    gr_buf_clear(&answer);
    return rc;
}

/* Pairs that are refused together go again one by one, so that each is told its own reason. */
static gram_status ask_some(gram_judge *j, const gram_pair *pair, size_t n, gram_verdict *out, char **fault,
                            gram_err *err)
{
    gram_err why = { 0 };
    bool refused;
    gram_status rc = request(j, pair, n, out, fault, &refused, &why);

    if (!rc || !refused)                    /* no answer of this group is to blame for a wrong key or path */
        return rc ? gr_fail(err, rc == GRAM_EARG ? GRAM_EIO : rc, "%s", why.text) : GRAM_OK;
    if (n == 1) {
        fault[0] = gr_strdup(why.text);
        return fault[0] ? GRAM_OK : gr_nomem(err, j->url);
    }
    rc = GRAM_OK;
    for (size_t k = 0; k < n && !rc; k++)
        rc = ask_some(j, pair + k, 1, out + k, fault + k, err);
    return rc;
}

static size_t bytes_of(const gram_pair *p)
{
    size_t n = strlen(p->a) + strlen(p->b);

    n += p->prompt.criteria ? strlen(p->prompt.criteria) : 0;
    for (size_t i = 0; i < p->prompt.n; i++)
        n += strlen(p->prompt.turn[i].content);
    return n;
}

static gram_status ask(gram_judge *j, const gram_pair *pair, size_t n, gram_verdict *out, char **fault, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t from = 0, to = 0; from < n && !rc; from = to) {
        size_t bytes = 0;
        while (to < n && to < from + PAIRS && (to == from || bytes < BYTES))
            bytes += bytes_of(&pair[to++]);
        rc = ask_some(j, pair + from, to - from, out + from, fault + from, err);
    }
    return rc;
}

gram_status gr_judge_server_compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, char **fault,
                                    gram_err *err)
{
    const struct judging *w = arg;
    const gram_group *g = w->g;
    gram_pair *p = gr_calloc(n, sizeof *p);
    gram_status rc = p ? GRAM_OK : gr_nomem(err, w->j->url);

    for (size_t k = 0; k < n && !rc; k++)
        p[k] = (gram_pair){ g->prompt, g->response[pair[k][0]],
                            pair[k][1] < g->n ? g->response[pair[k][1]] : g->reference };
    if (!rc)
        rc = ask(w->j, p, n, out, fault, err);
    for (size_t k = 0; k < n && !rc; k++)
        if (!fault[k] && out[k].rewarded != w->j->head)
            rc = gr_fail(err, GRAM_EFORMAT, "%s: it has another model than before", w->j->url);
    free(p);
    return rc;
}

/* An answer beside itself: the server reads it once, and it fails alone. */
gram_status gr_judge_server_rewards(gram_judge *j, const gram_group *g, const size_t *index, size_t n, gram_reward *out,
                                    char **fault, gram_err *err)
{
    struct judging w = { j, g };
    size_t (*pair)[2] = gr_calloc(n, sizeof *pair);
    gram_verdict *v = gr_calloc(n, sizeof *v);
    gram_status rc = pair && v ? GRAM_OK : gr_nomem(err, j->url);

    for (size_t k = 0; k < n && !rc; k++)
        pair[k][0] = pair[k][1] = index[k];
    if (!rc)
        rc = gr_judge_server_compare(&w, (const size_t (*)[2])pair, n, v, fault, err);
    for (size_t k = 0; k < n && !rc; k++) {
        out[k] = v[k].reward[0];
        out[k].tokens = v[k].tokens / 2;
        out[k].truncated = v[k].truncated;
    }
    free(pair);
    free(v);
    return rc;
}

gram_status gr_judge_server_open(gram_judge *j, gram_err *err)
{
    const gram_message q = { .role = "user", .content = "Is water wet?" };
    const gram_pair pair = { .prompt = { &q, 1, NULL }, .a = "Yes.", .b = "No." };
    gram_verdict v;
    char *fault = NULL;
    bool refused;
    gram_status rc = request(j, &pair, 1, &v, &fault, &refused, err);

    if (!rc && fault)
        rc = gr_fail(err, GRAM_EIO, "%s: %s", j->url, fault);
    if (!rc && !v.rewarded && isnan(v.p_swapped))
        rc = gr_fail(err, GRAM_EARG, "%s: the server was started with --single-order, and a judge that gives rewards "
                     "reads both orders", j->url);
    j->head = !rc && v.rewarded;
    j->spread = !rc && v.spread;
    free(fault);
    return rc;
}
