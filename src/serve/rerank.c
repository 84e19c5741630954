/* rerank.c - a query and documents, best first: vLLM, Cohere, Jina and llama.cpp in one answer, whose fields are the
 * union of theirs; and SGLang's, which is a list, where its field "instruct" is there and not null.
 *
 * To a judge of answers the query is the prompt and each document a response. */
#include <string.h>
#include "serve/endpoints.h"
#include "serve/reward.h"

/* Cohere's documents may be {"text": ...}. */
static int read_document(gr_req *r, json_t *d, const char *name, const char **out)
{
    json_t *text = json_is_object(d) ? json_object_get(d, "text") : d;

    if (!json_is_string(text))
        return !text || text != r->odd ? gr_refuse(r, 422, name, "%s must be a string, or an object with text", name)
                                       : gr_refuse_text(r, text, name);
    *out = json_string_value(text);
    return 0;
}

static size_t top_n(const gr_req *r, const gr_rewards *w)
{
    size_t n = (size_t)json_integer_value(json_object_get(r->in, "top_n"));

    return n ? gr_min(n, w->n) : w->n;
}

static int answer_sglang(gr_req *r)
{
    gr_rewards *w = r->state;
    size_t *order = gr_rewards_order(r, w);
    json_t *list;

    if (!order)
        return r->status;
    list = json_array();
    for (size_t k = 0; k < top_n(r, w); k++) {
        size_t i = order[k];
        json_t *one = json_pack("{s:f, s:I, s:{s:s}}", "score", gr_item_value(w, i), "index", (json_int_t)i,
                                "meta_info", "id", r->id);
        if (one && w->detail)
            json_object_set_new(one, "document", json_string(w->item[i].response));
        gr_push(&list, one);
    }
    return gr_answer(r, list);
}

static int answer(gr_req *r)
{
    gr_rewards *w = r->state;
    size_t *order = gr_rewards_order(r, w);
    json_t *results, *meta;

    if (!order)
        return r->status;
    results = json_array();
    for (size_t k = 0; k < top_n(r, w); k++) {
        size_t i = order[k];
        json_t *one = json_pack("{s:I, s:f}", "index", (json_int_t)i, "relevance_score", gr_item_value(w, i));
        if (one && w->detail)
            json_object_set_new(one, "document", json_pack("{s:s}", "text", w->item[i].response));
        gr_push(&results, one);
    }
    meta = json_pack("{s:{s:s}, s:{s:i}, s:{s:I}}", "api_version", "version", "2", "billed_units", "search_units", 1,
                     "tokens", "input_tokens", (json_int_t)r->tokens);
    return gr_answer(r, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "id", r->id, "object", "list", "model",
                                  gr_model_name(r), "results", results, "usage", gr_usage_json(r), "meta", meta));
}

/* SGLang's "instruct", what to judge by, is the system turn. */
static int read_query(gr_req *r, const char *instruct, gram_prompt *out)
{
    gram_message *turn;
    int rc = gr_read_prompt(r, json_object_get(r->in, "query"), "query", out);

    if (rc || !instruct[0])
        return rc;
    turn = gr_req_alloc(r, out->n + 1, sizeof *turn);
    if (!turn)
        return r->status;
    turn[0] = (gram_message){ .role = "system", .content = instruct };
    memcpy(turn + 1, out->turn, out->n * sizeof *turn);
    out->turn = turn;
    out->n++;
    return 0;
}

int gr_rerank(gr_req *r)
{
    json_t *list = json_object_get(r->in, "documents");
    size_t n, top;
    gram_prompt prompt;
    gr_rewards *w;
    const char *instruct;
    bool sglang;
    int rc = gr_read_string(r, "instruct", "", &instruct);

    if (!rc)
        rc = read_query(r, instruct, &prompt);
    if (!rc)
        rc = gr_read_list(r, "documents", list, &n);
    if (!rc)
        rc = gr_read_size(r, "top_n", 0, &top);
    if (rc)
        return rc;
    w = gr_rewards_new(r, "documents", true, n);
    if (!w)
        return r->status;
    rc = gr_rewards_raw(r, w);
    if (!rc)
        rc = gr_read_bool(r, "return_documents", true, &w->detail);
    for (size_t i = 0; i < n && !rc; i++) {
        w->item[i].prompt = prompt;
        rc = gr_item_read(r, &w->item[i], read_document(r, json_array_get(list, i), gr_item_name(r, w, i),
                                                        &w->item[i].response));
    }
    if (!rc)
        rc = gr_rewards_references(r, w);
    sglang = gr_field(r, (const char *[]){ "instruct", NULL }) != NULL;
    return rc ? rc : gr_rewards_ask(r, w, sglang ? answer_sglang : answer);
}
