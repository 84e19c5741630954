/* own_score.c - POST /v1/score: pairs, judged.
 *
 *     {"prompt": P, "a": A, "b": B}      one verdict            (also chosen/rejected, response_a/response_b)
 *     {"pairs": [{...}, ...]}            {"data": [verdict, ...]} in their order
 *     "explain": true                    adds what the model read, as "read": [first order, second order], or of a
 *                                        reward head [a, b] */
#include <stdlib.h>
#include <time.h>
#include "serve/endpoints.h"

typedef struct {
    bool list, explain;
    size_t shown;                   /* pairs whose prompts have been rendered */
    char *(*read)[2];               /* [n] malloc'ed; NULL: not asked for */
    size_t n;
    const gram_pair *pair;
    const gram_verdict *verdict;
} score_state;

static void clear(gr_req *r)
{
    score_state *st = r->state;

    for (size_t i = 0; st->read && i < st->n; i++) {
        free(st->read[i][0]);
        free(st->read[i][1]);
    }
}

static json_t *one_json(const score_state *st, size_t i)
{
    json_t *v = gr_verdict_json(&st->verdict[i]);

    if (v && st->explain)
        json_object_set_new(v, "read", st->read[i][1] ? json_pack("[s,s]", st->read[i][0], st->read[i][1])
                                                      : json_pack("[s]", st->read[i][0]));
    return v;
}

static int answer(gr_req *r)
{
    const score_state *st = r->state;
    json_t *out = json_pack("{s:s, s:s, s:I, s:s}", "id", r->id, "object", st->list ? "list" : "score",
                            "created", (json_int_t)time(NULL), "model", gr_model_name(r));
    json_t *data = json_array();

    for (size_t i = 0; i < st->n; i++) {
        json_t *v = one_json(st, i);
        if (v && st->list)
            json_object_set_new(v, "index", json_integer((json_int_t)i));
        if (!v || json_array_append_new(data, v)) {
            json_decref(data);
            json_decref(out);
            return gr_nomem_req(r);
        }
    }
    if (st->list)
        json_object_set(out, "data", data);
    else
        json_object_update(out, json_array_get(data, 0));
    json_decref(data);
    json_object_set_new(out, "usage", gr_usage_json(r));
    /* For `gram score --server`, whose overlaps span many requests. */
    if (r->engine->spread && json_object_set_new(out, "lambda", json_real(r->engine->options.lambda))) {
        json_decref(out);
        return gr_nomem_req(r);
    }
    return gr_answer(r, out);
}

static gram_status show(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    score_state *st = arg;
    size_t i = st->shown;
    bool both = st->verdict[i].rewarded || st->verdict[i].p_swapped == st->verdict[i].p_swapped;
    gram_status rc = e->show(e, &st->pair[i], false, &st->read[i][0], err);

    if (!rc && both)
        rc = e->show(e, &st->pair[i], true, &st->read[i][1], err);
    *again = ++st->shown < st->n;
    return rc;
}

static int judged(gr_req *r)
{
    score_state *st = r->state;

    st->verdict = r->job.verdict;
    if (!st->explain)
        return answer(r);
    st->read = gr_req_alloc(r, st->n, sizeof *st->read);
    if (!st->read)
        return r->status;
    r->clear = clear;
    return gr_ask_step(r, show, st, answer);
}

/* Reads a pair from o, which is the request or an element of its list. */
static int read_pair(gr_req *r, json_t *o, gram_pair *out)
{
    static const char *const a[] = { "a", "chosen", "response_a", NULL };
    static const char *const b[] = { "b", "rejected", "response_b", NULL };
    gr_req view = { .in = o };
    int rc = gr_read_prompt(r, json_object_get(o, "prompt"), "prompt", &out->prompt);

    if (!rc)
        rc = gr_read_answer(r, gr_field(&view, a), "a", &out->a);
    if (!rc)
        rc = gr_read_answer(r, gr_field(&view, b), "b", &out->b);
    return rc;
}

int gr_own_score(gr_req *r)
{
    json_t *pairs = json_object_get(r->in, "pairs");
    score_state *st = gr_req_alloc(r, 1, sizeof *st);
    gram_pair *pair;
    int rc;

    if (!st)
        return r->status;
    r->state = st;
    st->list = pairs != NULL;
    st->n = 1;
    rc = gr_read_bool(r, "explain", false, &st->explain);
    if (!rc && pairs)
        rc = gr_read_list(r, "pairs", pairs, &st->n);
    if (rc)
        return rc;
    pair = gr_req_alloc(r, st->n, sizeof *pair);
    if (!pair)
        return r->status;
    st->pair = pair;
    for (size_t i = 0; i < st->n; i++) {
        json_t *o = pairs ? json_array_get(pairs, i) : r->in;
        if (!json_is_object(o))
            return gr_refuse(r, 422, "pairs", "pairs: element %zu must be an object", i);
        rc = read_pair(r, o, &pair[i]);
        if (rc)
            return rc;
    }
    return gr_ask(r, pair, st->n, judged);
}
