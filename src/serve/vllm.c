/* vllm.c - the shapes of vLLM's /score, /classify, /pooling and /v1/embeddings, and of SGLang's own /classify.
 *
 * Where vLLM gives the activated score of a reward head, this gives the reward (0..1); where its client asks for the
 * raw score (use_activation or activation false), the margin in logits. SGLang has no activation: there a head's reward
 * is raw unless it is asked for. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "serve/endpoints.h"
#include "serve/reward.h"

/* {id, object: list, created, model, data, usage} */
static int answer_list(gr_req *r, json_t *data)
{
    return gr_answer(r, json_pack("{s:s, s:s, s:I, s:s, s:o, s:o}", "id", r->id, "object", "list", "created",
                                  (json_int_t)time(NULL), "model", gr_model_name(r), "data", data,
                                  "usage", gr_usage_json(r)));
}

/* ---- /score ---- */

static int answer_score(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *data = json_array();

    for (size_t i = 0; i < w->n; i++)
        gr_push(&data, json_pack("{s:I, s:s, s:f}", "index", (json_int_t)i, "object", "score",
                                 "score", gr_item_value(w, i)));
    return answer_list(r, data);
}

static json_t *element(json_t *v, size_t i)
{
    return !json_is_array(v) ? v : json_array_get(v, json_array_size(v) == 1 ? 0 : i);
}

int gr_vllm_score(gr_req *r)
{
    static const char *const left[] = { "queries", "text_1", "data_1", "query", NULL };
    static const char *const right[] = { "documents", "text_2", "data_2", "items", "document", NULL };
    json_t *q = gr_field(r, left), *d = gr_field(r, right);
    size_t nq = 1, nd = 1;
    gr_rewards *w;
    int rc = gr_check_all_names(r, left);

    if (!rc)
        rc = gr_check_all_names(r, right);
    if (rc)
        return rc;
    if (!q || !d)
        return gr_refuse(r, 422, q ? "documents" : "queries", "%s missing; this path takes queries and documents, or "
                         "prompt, a and b", q ? "documents are" : "queries are");
    if (json_is_array(q))
        rc = gr_read_list(r, "queries", q, &nq);
    if (!rc && json_is_array(d))
        rc = gr_read_list(r, "documents", d, &nd);
    if (rc)
        return rc;
    if (nq != 1 && nq != nd)
        return gr_refuse(r, 422, "queries", "%zu queries and %zu documents: wanted one query, or as many as documents",
                         nq, nd);
    w = gr_rewards_new(r, "documents", json_is_array(d), nd);
    if (!w)
        return r->status;
    for (size_t i = 0; i < nd && !rc; i++) {
        json_t *one = element(q, i);
        if (!json_is_string(one))           /* a list here would be read as messages */
            return gr_refuse_text(r, one, gr_at(r, "queries", nq == 1 ? 0 : i));
        rc = gr_read_prompt(r, one, "queries", &w->item[i].prompt);
        if (!rc)
            rc = gr_item_read(r, &w->item[i], gr_read_answer(r, element(d, i), gr_item_name(r, w, i),
                                                             &w->item[i].response, &w->item[i].extra));
    }
    if (!rc)
        rc = gr_rewards_references(r, w);
    if (!rc)
        rc = gr_rewards_raw(r, w);
    return rc ? rc : gr_rewards_ask(r, w, answer_score);
}

/* ---- One text or conversation a response ---- */

/* Text as the chat template made it, the ids of such a text, or messages. */
static int read_text(gr_req *r, gr_rewards *w, size_t i, json_t *v)
{
    int32_t *id;
    size_t n, bytes = 0;
    char *text = NULL, *kept;
    gram_err err;
    int rc;

    if (!json_is_array(v) || !json_is_integer(json_array_get(v, 0)))
        return gr_item_conversation(r, w, i, v);
    rc = gr_read_ids(r, v, gr_item_name(r, w, i), &id, &n);
    if (rc)
        return gr_item_read(r, &w->item[i], rc);
    if (r->engine->detokenize(r->engine, id, n, true, &text, &bytes, &err))
        return gr_item_read(r, &w->item[i], gr_refuse_err(r, &err));
    kept = gr_is_text(text, bytes) ? gr_req_strndup(r, text, bytes) : NULL;
    free(text);
    return r->status ? r->status : gr_item_ids(r, w, i, kept, bytes, id, n);
}

static bool is_batch(json_t *v)
{
    json_t *first = json_array_get(v, 0);

    return json_is_array(v) && !json_is_integer(first) && !json_object_get(first, "role");
}

static int ask_texts(gr_req *r, json_t *v, const char *name, bool raw, gr_req_fn *finish)
{
    size_t n = 1;
    gr_rewards *w;
    int rc = is_batch(v) ? gr_read_list(r, name, v, &n) : 0;

    if (rc)
        return rc;
    w = gr_rewards_new(r, name, is_batch(v), n);
    if (!w)
        return r->status;
    w->raw = raw;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_text(r, w, i, is_batch(v) ? json_array_get(v, i) : v);
    if (!rc)
        rc = gr_rewards_references(r, w);
    if (!rc)
        rc = gr_rewards_raw(r, w);
    return rc ? rc : gr_rewards_ask(r, w, finish);
}

static int ask_input(gr_req *r, bool raw, gr_req_fn *finish)
{
    json_t *messages = gr_field(r, (const char *[]){ "messages", NULL });

    if (gr_check_one_of(r, (const char *[]){ "input", "messages", NULL }))
        return r->status;
    return ask_texts(r, messages ? messages : json_object_get(r->in, "input"), messages ? "messages" : "input", raw,
                     finish);
}

/* As vLLM answers of a model with one label: its clients read probs[0] or, as verl, probs[-1]. */
static int answer_classify(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *data = json_array();

    for (size_t i = 0; i < w->n; i++) {
        double v = gr_item_value(w, i);
        gr_push(&data, json_pack("{s:I, s:s, s:o, s:i}", "index", (json_int_t)i,
                                 "label", w->item[i].reward >= 0.5 ? "preferred" : "rejected",
                                 "probs", json_pack("[f]", v), "num_classes", 1));
    }
    return answer_list(r, data);
}

int gr_vllm_classify(gr_req *r)
{
    return ask_input(r, false, answer_classify);
}

/* Base64 of one little-endian float32, as the openai package asks for unless it is told otherwise. */
static json_t *base64_json(double value)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    float f = (float)value;
    uint32_t bits;
    char text[] = "......==";
    unsigned char b[6] = { 0 };

    memcpy(&bits, &f, sizeof bits);
    for (int i = 0; i < 4; i++)
        b[i] = (unsigned char)(bits >> 8 * i);
    for (int i = 0; i < 6; i++) {
        int at = 6 * i / 8, shift = 10 - 6 * i % 8;
        text[i] = digit[((b[at] << 8 | b[at + 1]) >> shift) & 63];
    }
    return json_string(text);
}

/* [value], or its base64 where w->detail is set. */
static json_t *vector_json(const gr_rewards *w, size_t i)
{
    return w->detail ? base64_json(gr_item_value(w, i)) : json_pack("[f]", gr_item_value(w, i));
}

static int answer_pooling(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *data = json_array();

    for (size_t i = 0; i < w->n; i++)
        gr_push(&data, json_pack("{s:I, s:s, s:o}", "index", (json_int_t)i, "object", "pooling", "data",
                                 vector_json(w, i)));
    return answer_list(r, data);
}

/* verl reads data[-1].embedding[-1] of a reward model on SGLang. */
static int answer_embeddings(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *data = json_array();

    for (size_t i = 0; i < w->n; i++)
        gr_push(&data, json_pack("{s:I, s:s, s:o}", "index", (json_int_t)i, "object", "embedding", "embedding",
                                 vector_json(w, i)));
    return answer_list(r, data);
}

static int ask_vectors(gr_req *r, bool raw, gr_req_fn *finish)
{
    const char *encoding;
    int rc = gr_read_string(r, "encoding_format", "float", &encoding);

    if (!rc && strcmp(encoding, "float") && strcmp(encoding, "base64"))
        rc = gr_refuse(r, 422, "encoding_format", "encoding_format must be float or base64");
    if (!rc)
        rc = ask_input(r, raw, finish);
    if (!rc)
        ((gr_rewards *)r->state)->detail = encoding[0] == 'b';
    return rc;
}

int gr_vllm_pooling(gr_req *r)
{
    return ask_vectors(r, false, answer_pooling);
}

int gr_vllm_embeddings(gr_req *r)
{
    return ask_vectors(r, r->engine->rewards, answer_embeddings);
}

static int answer_sglang(gr_req *r)
{
    const gr_rewards *w = r->state;
    json_t *list = json_array();

    for (size_t i = 0; i < w->n; i++)
        gr_push(&list, json_pack("{s:[f], s:{s:s, s:I}}", "embedding", gr_item_value(w, i), "meta_info", "id", r->id,
                                 "prompt_tokens", (json_int_t)w->item[i].tokens));
    return gr_answer(r, list);
}

int gr_sglang_classify(gr_req *r)
{
    json_t *conv = gr_field(r, (const char *[]){ "conv", NULL });

    return ask_texts(r, conv ? conv : json_object_get(r->in, "text"), conv ? "conv" : "text", r->engine->rewards,
                     answer_sglang);
}
