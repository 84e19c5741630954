/* tei.c - Text Embeddings Inference: /predict and /rerank with texts. */
#include "serve/endpoints.h"
#include "serve/reward.h"

static json_t *prediction(const gr_rewards *w, size_t i)
{
    return json_pack("[{s:f, s:s}]", "score", gr_item_value(w, i),
                     "label", w->item[i].reward >= 0.5 ? "preferred" : "rejected");
}

static int answer_predict(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *list = json_array();

    if (!w->detail) {                       /* one input: its predictions alone */
        json_decref(list);
        return gr_answer(r, prediction(w, 0));
    }
    for (size_t i = 0; i < w->n; i++)
        gr_push(&list, prediction(w, i));
    return gr_answer(r, list);
}

/* "text", ["text"] or ["prompt", "response"]. */
static int read_input(gr_req *r, json_t *v, gr_rewards *w, size_t i)
{
    gr_item *it = &w->item[i];
    int rc;

    if (json_is_array(v) && json_array_size(v) == 1)
        v = json_array_get(v, 0);
    if (json_is_string(v))
        return gr_item_conversation(r, w, i, v);
    if (json_array_size(v) != 2)
        return gr_item_read(r, it, gr_refuse(r, 422, gr_item_name(r, w, i), "%s must be a text, a pair [prompt, "
                                             "response], or a list of these", gr_item_name(r, w, i)));
    rc = json_is_string(json_array_get(v, 0))
       ? gr_item_read(r, it, gr_read_prompt(r, json_array_get(v, 0), gr_item_name(r, w, i), &it->prompt))
       : gr_item_read(r, it, gr_refuse_text(r, json_array_get(v, 0), gr_item_name(r, w, i)));
    if (rc || it->why)
        return rc;
    return gr_item_read(r, it, gr_read_answer(r, json_array_get(v, 1), gr_item_name(r, w, i), &it->response,
                                              &it->extra));
}

int gr_tei_predict(gr_req *r)
{
    json_t *v = json_object_get(r->in, "inputs");
    bool batch = json_is_array(v) && json_is_array(json_array_get(v, 0));
    size_t n = 1;
    gr_rewards *w;
    int rc = batch || !v ? gr_read_list(r, "inputs", v, &n) : 0;

    if (rc)
        return rc;
    w = gr_rewards_new(r, "inputs", batch, n);
    if (!w)
        return r->status;
    w->detail = batch;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_input(r, batch ? json_array_get(v, i) : v, w, i);
    if (!rc)
        rc = gr_rewards_references(r, w);
    if (!rc)
        rc = gr_rewards_raw(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer_predict);
}

static int answer_rerank(gr_req *r)
{
    gr_rewards *w = r->state;
    size_t *order = gr_rewards_order(r, w);
    json_t *list;

    if (!order)
        return r->status;
    list = json_array();
    for (size_t k = 0; k < w->n; k++) {
        json_t *one = json_pack("{s:I, s:f}", "index", (json_int_t)order[k], "score", gr_item_value(w, order[k]));
        if (one && w->detail)
            json_object_set_new(one, "text", json_string(w->item[order[k]].response));
        gr_push(&list, one);
    }
    return gr_answer(r, list);
}

int gr_tei_rerank(gr_req *r)
{
    json_t *list = json_object_get(r->in, "texts");
    size_t n;
    gram_prompt prompt;
    gr_rewards *w;
    int rc = gr_read_prompt(r, json_object_get(r->in, "query"), "query", &prompt);

    if (!rc)
        rc = gr_read_list(r, "texts", list, &n);
    if (rc)
        return rc;
    w = gr_rewards_new(r, "texts", true, n);
    if (!w)
        return r->status;
    rc = gr_read_bool(r, "return_text", false, &w->detail);
    if (!rc)
        rc = gr_rewards_raw(r, w);
    for (size_t i = 0; i < n && !rc; i++) {
        w->item[i].prompt = prompt;
        rc = gr_item_read(r, &w->item[i], gr_read_content(r, json_array_get(list, i), gr_item_name(r, w, i),
                                                          &w->item[i].response));
    }
    if (!rc)
        rc = gr_rewards_references(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer_rerank);
}
