/* openrlhf.c - POST /get_reward, OpenRLHF's remote reward model.
 *
 *     {"query": [prompt + answer], "prompts": [prompt], "labels": [reference or anything]}
 *  -> {"rewards": [..], "scores": [..], "extra_logs": {..}}       scores are 0 to 1, whatever the model
 *
 * query is what its tokenizer decoded, special tokens and all. Where that is a chat template's text it is read as
 * one; otherwise the prompt is cut off its front. A label that is a string is the reference answer. */
#include <string.h>
#include "serve/chattext.h"
#include "serve/endpoints.h"
#include "serve/reward.h"

static int read_query(gr_req *r, json_t *query, json_t *prompt, size_t i, gr_item *it)
{
    gram_message *turn = NULL;
    size_t n = 0, cut = json_string_length(prompt);
    const char *q = json_string_value(query);
    char *answer;
    int rc;

    if (!q || (prompt && !json_is_string(prompt)))
        return gr_refuse(r, 422, q ? "prompts" : "query", "%s: element %zu must be a string",
                         q ? "prompts" : "query", i);
    rc = gr_chattext_read(r, q, &turn, &n);
    if (rc)
        return rc;
    if (n >= 2 && !strcmp(turn[n - 1].role, "assistant") && !strcmp(turn[n - 2].role, "user")) {
        it->prompt = (gram_prompt){ turn, n - 1 };
        it->response = turn[n - 1].content;
        return 0;
    }
    if (!prompt || strncmp(q, json_string_value(prompt), cut))
        return gr_refuse(r, 422, "query", "query %zu neither is a chat template's text nor begins with its prompt", i);
    answer = gr_req_strndup(r, q + cut, strlen(q + cut));
    if (!answer)
        return r->status;
    gr_chattext_strip(answer);
    it->response = answer;
    return gr_read_prompt(r, prompt, "prompts", &it->prompt);
}

static int read_labels(gr_req *r, gr_rewards *w)
{
    json_t *labels = json_object_get(r->in, "labels");

    if (labels && !json_is_null(labels) && (!json_is_array(labels) || json_array_size(labels) != w->n))
        return gr_refuse(r, 422, "labels", "labels must be a list of %zu elements, as query is", w->n);
    for (size_t i = 0; i < w->n; i++) {
        const char *s = json_string_value(json_array_get(labels, i));
        w->item[i].reference = s && s[0] ? s : NULL;
    }
    return 0;
}

static int answer(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *rewards = json_array(), *scores = json_array(), *margin = json_array(), *flipped = json_array();

    for (size_t i = 0; i < w->n; i++) {
        gr_push(&rewards, json_real(gr_item_trainer(&w->item[i])));
        gr_push(&scores, json_real(w->item[i].reward));
        gr_push(&margin, json_real(w->item[i].margin));
        gr_push(&flipped, json_real((double)w->item[i].flips / (double)w->item[i].comparisons));
    }
    return gr_answer(r, json_pack("{s:o, s:o, s:{s:o, s:o}}", "rewards", rewards, "scores", scores, "extra_logs",
                                  "margin", margin, "flip_rate", flipped));
}

int gr_openrlhf(gr_req *r)
{
    json_t *query = json_object_get(r->in, "query"), *prompts = json_object_get(r->in, "prompts");
    size_t n;
    gr_rewards *w;
    int rc = gr_read_list(r, "query", query, &n);

    if (rc)
        return rc;
    if (prompts && !json_is_null(prompts) && json_array_size(prompts) != n)
        return gr_refuse(r, 422, "prompts", "prompts must be a list of %zu elements, as query is", n);
    w = gr_rewards_new(r, n);
    if (!w)
        return r->status;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_query(r, json_array_get(query, i), json_array_get(prompts, i), i, &w->item[i]);
    if (!rc)
        rc = read_labels(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer);
}
