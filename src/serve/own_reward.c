/* own_reward.c - POST /v1/reward: a number for each response; with "rationale": true by verdicts behind reasons
 * (rationales.h), and with "criteria" by these.
 *
 *     {"prompt": P, "responses": [..] | "response": R, "reference": R0 | [..], "partial": false}
 * -> {"rewards": [..], "scale": "reference"|"group"|"head",
 *     "data": [{index, reward, scale, probability, margin, comparisons: [..]}]}
 *    partial: a response that cannot be judged has null for its reward, and {index, reward: null, error} for its data.
 *    PURM's head adds mean, sigma and overlap: its reward is mean - lambda overlap. */
#include <time.h>
#include "base/json.h"
#include "serve/endpoints.h"
#include "serve/reward.h"

/* The verdicts that a response was part of, as they came: "a" is the response with the lower index. */
static json_t *comparisons_json(gr_req *r, const gr_rewards *w, size_t i)
{
    json_t *list = json_array();

    for (size_t k = 0; k < r->job.n; k++) {
        json_t *v;
        if ((w->who[k].i != i && w->who[k].j != i) || w->item[i].by_head || r->job.fault[k])
            continue;
        v = w->reasons ? gr_rationales_json(r, w->reasons, k) : gr_verdict_json(&r->job.verdict[k]);
        json_object_set_new(v, "a", json_integer((json_int_t)w->who[k].i));
        json_object_set_new(v, "b", w->who[k].j == w->n ? json_string("reference")
                                                         : json_integer((json_int_t)w->who[k].j));
        gr_push(&list, v);
    }
    return list;
}

static json_t *item_json(gr_req *r, const gr_rewards *w, size_t i)
{
    const gr_item *it = &w->item[i];
    json_t *o;

    if (it->why)
        return json_pack("{s:I, s:n, s:{s:i, s:s, s:s}}", "index", (json_int_t)i, "reward", "error", "code", 422,
                         "message", it->why, "param", gr_item_name(r, w, i));
    o = json_pack("{s:I, s:f, s:s, s:f, s:f, s:b, s:I, s:b, s:o}", "index", (json_int_t)i,
                          "reward", gr_item_trainer(it),
                          "scale", it->by_head ? "head" : it->reference ? "reference" : "group",
                          "probability", it->reward, "margin", it->margin, "flipped", it->flips > 0,
                          "tokens", (json_int_t)it->tokens, "truncated", it->truncated,
                          "comparisons", comparisons_json(r, w, i));

    if (o && it->by_head && r->engine->spread
        && (json_object_set_new(o, "mean", json_real(it->head.mean))
            || json_object_set_new(o, "sigma", json_real(it->head.sigma))
            || json_object_set_new(o, "overlap", gr_json_real(it->overlap)))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

static void clear(gr_req *r)
{
    const gr_rewards *w = r->state;

    gr_rationales_clear(w->reasons);
}

/* NULL: out of memory. */
static json_t *whole(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *data = json_array(), *rewards = json_array();

    for (size_t i = 0; i < w->n; i++) {
        gr_push(&rewards, w->item[i].why ? json_null() : json_real(gr_item_trainer(&w->item[i])));
        gr_push(&data, item_json(r, w, i));
    }
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:o}", "id", r->id, "object", "reward", "created",
                     (json_int_t)time(NULL), "model", gr_model_name(r), "scale", gr_rewards_scale(w), "rewards",
                     rewards, "data", data, "usage", w->reasons ? gr_rationales_usage(w->reasons) : gr_usage_json(r));
}

static int answer(gr_req *r)
{
    return gr_answer(r, whole(r));
}

/* Criteria and reasons are read before the responses: what they say is of all. */
static int read_how(gr_req *r, gr_rewards *w, gram_prompt *prompt)
{
    int rc = gr_refuse_unread(r, GR_READS_REWARD);

    if (!rc)
        rc = gr_read_criteria(r, &prompt->criteria);
    if (!rc)
        rc = gr_rationales_read(r, &w->reasons);
    r->clear = clear;
    if (!rc && w->reasons)
        w->reasons->whole = whole;
    return rc ? rc : gr_read_bool(r, "partial", false, &w->partial);
}

int gr_own_reward(gr_req *r)
{
    json_t *list = gr_field(r, (const char *[]){ "responses", NULL });
    json_t *one = gr_field(r, (const char *[]){ "response", NULL });
    gram_prompt prompt;
    gr_rewards *w;
    size_t n = 1;
    int rc = gr_read_prompt(r, json_object_get(r->in, "prompt"), "prompt", &prompt);

    if (!rc && !one)
        rc = gr_read_list(r, "responses", list, &n);
    if (rc)
        return rc;
    w = gr_rewards_room(r, one ? "response" : "responses", !one, n);
    if (!w)
        return r->status;
    rc = read_how(r, w, &prompt);
    if (!rc)
        rc = gr_check_one_of(r, (const char *[]){ "responses", "response", NULL });
    for (size_t i = 0; i < n && !rc; i++) {
        w->item[i].prompt = prompt;
        rc = gr_item_read(r, &w->item[i], gr_read_answer(r, one ? one : json_array_get(list, i), gr_item_name(r, w, i),
                                                         &w->item[i].response, &w->item[i].extra));
    }
    if (!rc)
        rc = gr_rewards_references(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer);
}
