/* own_score.c - POST /v1/score: pairs, judged.
 *
 *     {"prompt": P, "a": A, "b": B}      one verdict            (also chosen/rejected, response_a/response_b)
 *     {"pairs": [{...}, ...]}            {"data": [verdict, ...]} in their order; {index, error} for a pair that cannot
 *                                        be judged
 *     "explain": true                    adds what the model read, as "read": [first order, second order], or of a
 *                                        reward head [a, b]
 *     "criteria": C                      beside a prompt, or of all pairs: what they are judged by
 *     "rationale": true                  reasons are written before the verdict: rationales.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "serve/endpoints.h"
#include "serve/rationales.h"

typedef struct {
    bool list, explain;
    size_t n, asked;
    struct one {
        const char *why;            /* at fault: it was not judged */
        size_t at;                  /* of its comparison */
        char *read[2];              /* malloc'ed; NULL: not asked for */
    } *one;                         /* [n] */
    size_t shown;                   /* pairs whose prompts have been rendered */
    const gram_pair *pair;          /* [asked] */
    size_t *place;                  /* [asked] of each in the request */
    const gram_verdict *verdict;
    gr_rationales *reasons;            /* NULL: none are written */
} score_state;

static void clear(gr_req *r)
{
    score_state *st = r->state;

    for (size_t i = 0; st->one && i < st->n; i++) {
        free(st->one[i].read[0]);
        free(st->one[i].read[1]);
    }
    gr_rationales_clear(st->reasons);
}

static json_t *one_json(gr_req *r, const score_state *st, size_t i)
{
    const struct one *one = &st->one[i];
    json_t *v;

    if (one->why || r->job.fault[one->at])
        return json_pack("{s:{s:i, s:s, s:s}}", "error", "code", 422, "message",
                         one->why ? one->why : r->job.fault[one->at], "param", gr_at(r, "pairs", i));
    if (st->reasons)
        return gr_rationales_json(r, st->reasons, one->at);
    v = gr_verdict_json(&st->verdict[one->at]);
    if (v && st->explain)
        json_object_set_new(v, "read", one->read[1] ? json_pack("[s,s]", one->read[0], one->read[1])
                                                    : json_pack("[s]", one->read[0]));
    return v;
}

/* NULL: out of memory. */
static json_t *whole(gr_req *r)
{
    const score_state *st = r->state;
    json_t *out = json_pack("{s:s, s:s, s:I, s:s, s:s*}", "id", r->id, "object", st->list ? "list" : "score",
                            "created", (json_int_t)time(NULL), "model", gr_model_name(r),
                            "system_fingerprint", gr_fingerprint(r));
    json_t *data = json_array();

    for (size_t i = 0; i < st->n; i++) {
        json_t *v = one_json(r, st, i);
        if (v && st->list)
            json_object_set_new(v, "index", json_integer((json_int_t)i));
        if (!v || json_array_append_new(data, v)) {
            json_decref(data);
            json_decref(out);
            return NULL;
        }
    }
    if (st->list)
        json_object_set(out, "data", data);
    else
        json_object_update(out, json_array_get(data, 0));
    json_decref(data);
    if (json_object_set_new(out, "usage", st->reasons ? gr_rationales_usage(st->reasons) : gr_usage_json(r))) {
        json_decref(out);
        return NULL;
    }
    /* For `gram score --server`, whose overlaps span many requests. */
    if (r->engine->spread && json_object_set_new(out, "lambda", json_real(r->engine->options.lambda))) {
        json_decref(out);
        return NULL;
    }
    return out;
}

static int answer(gr_req *r)
{
    return gr_answer(r, whole(r));
}

static gram_status show(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    score_state *st = arg;
    struct one *one;
    gram_status rc;

    while (st->shown < st->n && st->one[st->shown].why)
        st->shown++;
    *again = st->shown < st->n;
    if (!*again)
        return GRAM_OK;
    one = &st->one[st->shown++];
    rc = e->show(e, &st->pair[one->at], false, &one->read[0], err);
    if (!rc && (st->verdict[one->at].rewarded || st->verdict[one->at].p_swapped == st->verdict[one->at].p_swapped))
        rc = e->show(e, &st->pair[one->at], true, &one->read[1], err);
    return rc;
}

/* Pair i is at fault alone: the sentence names it. */
static int set_fault(gr_req *r, score_state *st, size_t i, const char *why)
{
    st->one[i].why = gr_req_strndup(r, why, strlen(why));
    if (!st->one[i].why)
        return r->status;
    r->status = 0;
    r->why[0] = r->param[0] = '\0';
    return 0;
}

/* Where none is left that could be judged, or there was one alone. */
static int refuse_faults(gr_req *r, const score_state *st)
{
    size_t n = 0;

    for (size_t i = 0; i < st->n; i++)
        n += st->one[i].why != NULL;
    for (size_t i = 0; n == st->n && i < n; i++)
        gr_fault_add(r, "pairs", i, st->list ? gr_at(r, "pairs", i) : "pairs", st->one[i].why);
    return r->status;
}

static int judged(gr_req *r)
{
    score_state *st = r->state;
    int rc = 0;

    st->verdict = r->job.verdict;
    for (size_t i = 0; i < st->n && !rc; i++) {
        char why[sizeof r->why];
        const char *fault = st->one[i].why ? NULL : r->job.fault[st->one[i].at];
        if (!fault)
            continue;
        snprintf(why, sizeof why, "%s%s%s", st->list ? gr_at(r, "pairs", i) : "", st->list ? ": " : "", fault);
        rc = set_fault(r, st, i, why);
    }
    if (!rc)
        rc = refuse_faults(r, st);
    if (rc || !st->explain || st->reasons)
        return rc ? rc : answer(r);
    return gr_ask_step(r, show, st, answer);
}

/* The one of the names that is there, and null only where no other is. */
static int either(gr_req *r, const json_t *o, const char *const *name, const char *front, json_t **out)
{
    const char *before = NULL;

    *out = NULL;
    for (; *name; name++) {
        json_t *v = json_object_get(o, *name);
        if (!v || (*out && json_is_null(v)))
            continue;
        if (*out && !json_is_null(*out))
            return gr_refuse(r, 422, *name, "%s%s%s and %s are two names of one answer, of which one must be there",
                             front, front[0] ? ": " : "", before, *name);
        *out = v;
        before = *name;
    }
    return 0;
}

/* What the pair is judged by; of a list of pairs the request may say it for all. */
static int read_criteria(gr_req *r, const json_t *o, const char *front, const char **out)
{
    const json_t *v = json_object_get(o, "criteria");
    char name[64];

    v = v && !json_is_null(v) ? v : json_object_get(r->in, "criteria");
    snprintf(name, sizeof name, "%s%scriteria", front, front[0] ? "." : "");
    if (!v || json_is_null(v))
        return 0;
    *out = json_string_value(v);
    return *out ? 0 : gr_refuse_text(r, v, name);
}

/* Reads a pair from o, which is the request or element i of its list. */
static int read_pair(gr_req *r, json_t *o, const char *front, gram_pair *out)
{
    static const char *const a[] = { "a", "chosen", "response_a", NULL };
    static const char *const b[] = { "b", "rejected", "response_b", NULL };
    json_t *answer;
    char name[2][64];
    int rc = 0;

    if (!json_is_object(o))
        return gr_refuse(r, 422, front, "%s must be an object", front);
    snprintf(name[0], sizeof name[0], "%s%sprompt", front, front[0] ? "." : "");
    if (o != r->in)
        rc = gr_refuse_unread_pair(r, o);
    if (!rc)
        rc = gr_read_prompt(r, json_object_get(o, "prompt"), name[0], &out->prompt);
    if (!rc)
        rc = read_criteria(r, o, front, &out->prompt.criteria);
    snprintf(name[0], sizeof name[0], "%s%sa", front, front[0] ? "." : "");
    snprintf(name[1], sizeof name[1], "%s%sb", front, front[0] ? "." : "");
    if (!rc)
        rc = either(r, o, a, front, &answer);
    if (!rc)
        rc = gr_read_answer(r, answer, name[0], &out->a, &out->extra_a);
    if (!rc)
        rc = either(r, o, b, front, &answer);
    if (!rc)
        rc = gr_read_answer(r, answer, name[1], &out->b, &out->extra_b);
    return rc;
}

static int read_pairs(gr_req *r, score_state *st, json_t *pairs, gram_pair *pair)
{
    for (size_t i = 0; i < st->n; i++) {
        char front[32] = "";
        int rc;
        if (pairs)
            snprintf(front, sizeof front, "pairs[%zu]", i);
        rc = read_pair(r, pairs ? json_array_get(pairs, i) : r->in, front, &pair[st->asked]);
        if (rc == 422 && pairs)
            rc = set_fault(r, st, i, r->why);
        if (rc)
            return rc;
        if (!st->one[i].why) {
            st->place[st->asked] = i;
            st->one[i].at = st->asked++;
        }
    }
    return refuse_faults(r, st);
}

/* A pair of the request's own would be left out where there is a list of them. */
static int check_beside(gr_req *r)
{
    static const char *const one[] = { "prompt", "a", "b", "chosen", "rejected", "response_a", "response_b" };

    for (size_t i = 0; i < GR_COUNT(one); i++)
        if (gr_field(r, (const char *[]){ one[i], NULL }))
            return gr_refuse(r, 422, one[i], "%s stands beside \"pairs\", and each pair has its own", one[i]);
    return 0;
}

int gr_own_score(gr_req *r)
{
    json_t *pairs = gr_field(r, (const char *[]){ "pairs", NULL });
    score_state *st = gr_req_alloc(r, 1, sizeof *st);
    gram_pair *pair;
    int rc;

    if (!st)
        return r->status;
    r->state = st;
    st->list = pairs != NULL;
    st->n = 1;
    rc = gr_refuse_unread(r, GR_READS_SCORE);
    if (!rc)
        rc = gr_rationales_read(r, &st->reasons);
    r->clear = clear;
    if (!rc)
        rc = gr_read_bool(r, "explain", false, &st->explain);
    if (!rc && pairs)
        rc = check_beside(r);
    if (!rc && pairs)
        rc = gr_read_list(r, "pairs", pairs, &st->n);
    if (rc)
        return rc;
    pair = gr_req_alloc(r, st->n, sizeof *pair);
    st->one = gr_req_alloc(r, st->n, sizeof *st->one);
    st->place = gr_req_alloc(r, st->n, sizeof *st->place);
    if (!pair || !st->one || !st->place)
        return r->status;
    st->pair = pair;
    rc = read_pairs(r, st, pairs, pair);
    if (rc || !st->reasons)
        return rc ? rc : gr_ask(r, pair, NULL, st->asked, judged);
    st->reasons->pair = pair;
    st->reasons->place = st->place;
    st->reasons->n = st->asked;
    st->reasons->explain = st->explain;
    st->reasons->whole = whole;
    return gr_rationales_ask(r, st->reasons, judged);
}
