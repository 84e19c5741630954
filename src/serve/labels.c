/* labels.c - the probability of label tokens after a prompt: vLLM's /generative_scoring, SGLang's /v1/score.
 *
 *                     score                          apply_softmax
 *     vLLM            share of the first label       true: among the labels; false: of the whole vocabulary
 *     SGLang          a list, one a label            false by default, with the same meaning
 *
 * Both put the BOS token before a text where the checkpoint does, and vLLM's add_special_tokens says whether; token ids
 * are read as they are. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "serve/endpoints.h"

enum { STEP = 32, STEP_BYTES = 1 << 16 };   /* sequences in one turn of the worker, and their length */

/* Text or token ids. */
typedef struct { const char *text; int32_t *id; size_t n; } label_part;

typedef struct {
    label_part query, *item;                /* item[n] */
    bool item_first;
    size_t n, done, tokens;
    int32_t *label;
    size_t n_labels;
    float *logit, *log_sum;                 /* [n*n_labels], [n] */
    bool softmax, sglang, bos;
} labels_state;

/* The ids of a followed by b, malloc'ed. Text is joined before it becomes ids. */
static gram_status join(gr_engine *e, const label_part *a, const label_part *b, bool bos, int32_t **token, size_t *n,
                        gram_err *err)
{
    gr_buf text = { 0 };
    gram_status rc = GRAM_OK;

    *token = NULL;
    *n = a->n + b->n;
    if (!a->text) {
        *token = gr_calloc(*n, sizeof **token);
        if (!*token)
            return gr_nomem(err, "tokens");
        memcpy(*token, a->id, a->n * sizeof *a->id);
        memcpy(*token + a->n, b->id, b->n * sizeof *b->id);
        return GRAM_OK;
    }
    if (!gr_buf_add(&text, a->text, a->n) || !gr_buf_add(&text, b->text, b->n))
        rc = gr_nomem(err, "text");
    else if (bos)
        rc = e->prompt_ids(e, text.p, text.n, token, n, err);
    else
        rc = e->tokenize(e, text.p, text.n, true, token, n, err);
    gr_buf_clear(&text);
    return rc;
}

/* The worker joins, since a long query is joined with each of its items. */
static gram_status step(gr_engine *e, void *arg, bool *again, gram_err *err)
{
    labels_state *st = arg;
    size_t at = st->done, n = 0, bytes = 0, n_tokens[STEP];
    int32_t *token[STEP];
    gram_status rc = GRAM_OK;

    while (!rc && n < STEP && at + n < st->n && bytes < STEP_BYTES) {
        const label_part *item = &st->item[at + n], *first = st->item_first ? item : &st->query;
        rc = join(e, first, first == item ? &st->query : item, st->bos, &token[n], &n_tokens[n], err);
        bytes += st->query.n + item->n;
        st->tokens += n_tokens[n++];
    }
    if (!rc)
        rc = e->label_logits(e, (const int32_t *const *)token, n_tokens, n, st->label, st->n_labels,
                             st->logit + at * st->n_labels, st->log_sum + at, err);
    for (size_t i = 0; i < n; i++)
        free(token[i]);
    st->done += n;
    *again = st->done < st->n;
    return rc;
}

static double probability(const labels_state *st, size_t i, size_t k)
{
    const float *z = st->logit + i * st->n_labels;
    double max = z[0], sum = 0;

    if (!st->softmax)
        return exp((double)z[k] - st->log_sum[i]);
    for (size_t j = 1; j < st->n_labels; j++)
        max = fmax(max, z[j]);
    for (size_t j = 0; j < st->n_labels; j++)
        sum += exp(z[j] - max);
    return exp(z[k] - max) / sum;
}

static json_t *all_labels(const labels_state *st, size_t i)
{
    json_t *list = json_array();

    for (size_t k = 0; k < st->n_labels; k++)
        gr_push(&list, json_real(probability(st, i, k)));
    return list;
}

static int answer(gr_req *r)
{
    const labels_state *st = r->state;
    json_t *list = json_array();

    r->tokens += st->tokens;
    for (size_t i = 0; i < st->n; i++) {
        for (size_t k = 0; k < st->n_labels; k++)
            if (!isfinite(probability(st, i, k))) {
                json_decref(list);
                return gr_refuse(r, 500, NULL, "the model's answer to item %zu is not a number", i);
            }
        gr_push(&list, st->sglang ? all_labels(st, i)
                                  : json_pack("{s:I, s:s, s:f}", "index", (json_int_t)i, "object", "score",
                                              "score", probability(st, i, 0)));
    }
    if (st->sglang)
        return gr_answer(r, json_pack("{s:o, s:s, s:o, s:s}", "scores", list, "model", gr_model_name(r),
                                      "usage", gr_usage_json(r), "object", "scoring"));
    return gr_answer(r, json_pack("{s:s, s:s, s:I, s:s, s:o, s:o}", "id", r->id, "object", "list",
                                  "created", (json_int_t)time(NULL), "model", gr_model_name(r), "data", list,
                                  "usage", gr_usage_json(r)));
}

static int read_part(gr_req *r, json_t *v, const char *name, label_part *out)
{
    if (json_is_string(v)) {
        *out = (label_part){ .text = json_string_value(v), .n = json_string_length(v) };
        return 0;
    }
    return v && v == r->odd ? gr_refuse_text(r, v, name) : gr_read_ids(r, v, name, &out->id, &out->n);
}

static int read_parts(gr_req *r, labels_state *st, json_t *items)
{
    int rc = read_part(r, json_object_get(r->in, "query"), "query", &st->query);

    for (size_t i = 0; i < st->n && !rc; i++) {
        rc = read_part(r, json_is_string(items) ? items : json_array_get(items, i), "items", &st->item[i]);
        if (!rc && !st->item[i].text != !st->query.text)
            rc = gr_refuse(r, 422, "items", "items: element %zu must be of one kind with query, text or token ids", i);
    }
    return rc;
}

static int start(gr_req *r, bool sglang)
{
    json_t *items = json_object_get(r->in, "items");
    labels_state *st = gr_req_alloc(r, 1, sizeof *st);
    int rc;

    if (!st)
        return r->status;
    if (!r->engine->label_logits)
        return gr_refuse(r, 501, NULL, "this server cannot score labels");
    r->state = st;
    st->sglang = sglang;
    st->n = 1;
    rc = gr_refuse_unread(r, GR_READS_FOREIGN);
    if (!rc)
        rc = gr_read_bool(r, "apply_softmax", !sglang, &st->softmax);
    if (!rc)
        rc = gr_read_bool(r, "item_first", false, &st->item_first);
    if (!rc)
        rc = gr_read_bool(r, "add_special_tokens", true, &st->bos);
    if (!rc)
        rc = gr_read_ids(r, json_object_get(r->in, "label_token_ids"), "label_token_ids", &st->label, &st->n_labels);
    if (!rc && !json_is_string(items))
        rc = gr_read_list(r, "items", items, &st->n);
    if (!rc && st->n_labels > r->opt->max_rows)
        rc = gr_refuse(r, 413, "label_token_ids", "%zu labels; this server takes %zu", st->n_labels, r->opt->max_rows);
    if (rc)
        return rc;
    st->item = gr_req_alloc(r, st->n, sizeof *st->item);
    st->logit = gr_req_alloc(r, st->n * st->n_labels, sizeof *st->logit);
    st->log_sum = gr_req_alloc(r, st->n, sizeof *st->log_sum);
    if (!st->item || !st->logit || !st->log_sum)
        return r->status;
    rc = read_parts(r, st, items);
    return rc ? rc : gr_ask_step(r, step, st, answer);
}

int gr_labels_vllm(gr_req *r)
{
    return start(r, false);
}

int gr_labels_sglang(gr_req *r)
{
    return start(r, true);
}
