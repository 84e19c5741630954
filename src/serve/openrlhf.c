/* openrlhf.c - POST /get_reward, OpenRLHF's remote reward model.
 *
 *     {"query": [prompt + answer], "prompts": [prompt], "labels": [reference or anything]}
 *  -> {"rewards": [..], "scores": [..], "scale": .., "extra_logs": {..}}      scores are 0 to 1, whatever the model
 *
 * query is what its tokenizer decoded, special tokens and all. Where `prompts` has the front of it, all that follows is
 * the answer, whatever marks the policy wrote in it. A head reads the text as it stands; a judge gets the prompt's
 * turns (by the checkpoint's own template, else by the marks of a known family, else as one question) and the answer.
 *
 * A judge takes labels that are strings as reference answers, of all queries or of none; a head has no use for them.
 * "reference", which OpenRLHF does not send, goes before them, as on every path. */
#include <string.h>
#include "serve/chattext.h"
#include "serve/endpoints.h"
#include "serve/reward.h"

/* Where the answer begins in the query; 0: its prompt is not its front. Decoding puts a token before all that the
 * prompt may lack, such as the BOS. */
static size_t find_answer(const char *query, const char *prompt)
{
    static const char *const before[] = { "", "<|begin_of_text|>", "<s>", "<bos>", "<|endoftext|>" };
    size_t n = strlen(prompt);

    for (size_t i = 0; n > 0 && i < GR_COUNT(before); i++) {
        size_t k = strlen(before[i]);
        if (!strncmp(query, before[i], k) && !strncmp(query + k, prompt, n))
            return k + n;
    }
    return 0;
}

static json_t *reference_of(const gr_req *r)
{
    return gr_field(r, (const char *[]){ "reference", NULL });
}

static int read_split(gr_req *r, gr_rewards *w, size_t i, const char *query, size_t at, json_t *prompt)
{
    gr_item *it = &w->item[i];
    size_t n = strlen(query), end;
    char *answer = gr_req_strndup(r, query + at, n - at);
    int rc;

    if (!answer)
        return r->status;
    gr_chattext_strip(answer);
    end = at + strlen(answer);
    it->response = answer;
    if (r->engine->rewards && !r->engine->options.pointwise && !r->opt->reference && !reference_of(r))
        return gr_item_text(r, w, i, query, n, at, end);
    rc = gr_chattext_prompt(r, query, at, &it->prompt);
    if (!rc && !it->prompt.n)
        rc = gr_read_prompt(r, prompt, "prompts", &it->prompt);
    return rc;
}

static int read_query(gr_req *r, gr_rewards *w, size_t i, json_t *query, json_t *prompt)
{
    size_t at;

    if (!json_is_string(query))
        return gr_item_read(r, &w->item[i], gr_refuse_text(r, query, gr_at(r, "query", i)));
    if (prompt && !json_is_string(prompt))
        return gr_item_read(r, &w->item[i], gr_refuse_text(r, prompt, gr_at(r, "prompts", i)));
    at = prompt ? find_answer(json_string_value(query), json_string_value(prompt)) : 0;
    return at ? read_split(r, w, i, json_string_value(query), at, prompt) : gr_item_conversation(r, w, i, query);
}

static int read_labels(gr_req *r, gr_rewards *w)
{
    json_t *labels = json_object_get(r->in, "labels");
    size_t with = 0;

    if (reference_of(r))                    /* as every path has it, whatever the labels are */
        return gr_rewards_measured_by(r, w, reference_of(r));
    if (labels && !json_is_null(labels) && (!json_is_array(labels) || json_array_size(labels) != w->n))
        return gr_refuse(r, 422, "labels", "labels must be a list of %zu elements, as query is", w->n);
    for (size_t i = 0; i < w->n && !r->engine->rewards; i++) {
        const char *s = json_string_value(json_array_get(labels, i));
        w->item[i].reference = s && s[0] ? s : NULL;
        with += w->item[i].reference != NULL;
    }
    if (with > 0 && with < w->n && !r->opt->reference)
        return gr_refuse(r, 422, "labels", "%zu of %zu labels are reference answers: rewards over a reference are of "
                         "another scale than those without, so give one for each query, or none", with, w->n);
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
    return gr_answer(r, json_pack("{s:o, s:o, s:s, s:{s:o, s:o}}", "rewards", rewards, "scores", scores, "scale",
                                  gr_rewards_scale(w), "extra_logs", "margin", margin, "flip_rate", flipped));
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
    w = gr_rewards_new(r, "query", true, n);
    if (!w)
        return r->status;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_query(r, w, i, json_array_get(query, i), json_array_get(prompts, i));
    if (!rc)
        rc = read_labels(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer);
}
