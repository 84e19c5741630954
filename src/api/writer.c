/* writer.c - write an answer token by token.
 *
 * Every step asks for the logits after all tokens so far; the writer's own tree of keys and values makes that one new
 * row. Draws come from a counter-based generator, so a seed, a prompt and its options always write the same text. */
#include <math.h>
#include <stdlib.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/random.h"

struct gram_writer {
    gram_model *m;
    gram_writer_options opt;
    gr_kv_tree *kv;
    gr_ids ids;
    gr_buf text;                /* of the token last written */
    float *z;                   /* [V] logits, then log-probabilities */
    size_t *by_rank;            /* [V] ids, likeliest first as far as needed */
    uint64_t chance;            /* state of the draws */
};

gram_status gram_writer_open(gram_writer **out, gram_model *m, gram_prompt prompt, const gram_writer_options *opt,
                             size_t *tokens, gram_err *err)
{
    gram_writer *w = gr_calloc(1, sizeof *w);
    gr_chat_text text = { 0 };
    gram_status rc = w ? gr_api_ready(m, err) : gr_nomem(err, "writer");

    *out = NULL;
    if (rc)
        goto out;
    w->m = m;
    w->opt = opt ? *opt : (gram_writer_options){ 0 };
    w->chance = w->opt.seed;
    if (!(w->opt.temperature >= 0) || !(w->opt.top_p >= 0 && w->opt.top_p <= 1) || w->opt.top_logprobs > GRAM_TOP_MAX) {
        rc = gr_fail(err, GRAM_EARG, "writer: wanted temperature >= 0, top_p in 0..1 and top_logprobs in 0..%d, found "
                     "%g, %g and %zu", GRAM_TOP_MAX, w->opt.temperature, w->opt.top_p, w->opt.top_logprobs);
        goto out;
    }
    w->z = gr_calloc(gram_vocabulary(m), sizeof *w->z);
    w->by_rank = gr_calloc(gram_vocabulary(m), sizeof *w->by_rank);
    rc = w->z && w->by_rank ? gr_api_kv_open(&w->kv, m, SIZE_MAX, err) : gr_nomem(err, "writer");
    if (!rc)
        rc = gr_chat_render(&m->judge.chat, prompt.turn, prompt.n, prompt.tools, &text, err);
    if (!rc)
        rc = gr_chat_encode(m->file.tok, &text, &w->ids, err);
    if (rc)
        goto out;
    *tokens = w->ids.n;
    *out = w;
    w = NULL;
out:
    gr_chat_text_clear(&text);
    gram_writer_close(w);
    return rc;
}

void gram_writer_close(gram_writer *w)
{
    if (!w)
        return;
    gr_kv_close(w->kv);
    gr_ids_clear(&w->ids);
    gr_buf_clear(&w->text);
    free(w->z);
    free(w->by_rank);
    free(w);
}

/* w->z: log-probabilities of the next token. */
static gram_status next_logprobs(gram_writer *w, gram_err *err)
{
    size_t V = gram_vocabulary(w->m), context = gr_model_config(w->m->model)->context;
    gr_seq seq = { w->ids.p, w->ids.n };
    gr_forest f = { 0 };
    double log_sum;
    gram_status rc;

    if (seq.n == 0 || seq.n > context)
        return gr_fail(err, GRAM_ELIMIT, "writer: %zu tokens, wanted 1 to the model's context of %zu", seq.n, context);
    rc = gr_forest_init(&f, &seq, 1, w->kv, GR_SAVE_ALL, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&w->m->lock);
    rc = gr_model_logits(w->m->scorer.work, &f, f.leaf_row, 1, w->z, err);
    pthread_mutex_unlock(&w->m->lock);
    gr_forest_clear(&f, !rc);
    if (rc)
        return rc;
    log_sum = gr_api_log_sum_exp(w->z, V);
    if (!isfinite(log_sum))
        return gr_fail(err, GRAM_EFORMAT, "writer: a logit is not a finite number: the model's weights are broken");
    for (size_t i = 0; i < V; i++)
        w->z[i] = (float)(w->z[i] - log_sum);
    return GRAM_OK;
}

static int by_logprob(const void *pa, const void *pb, void *logprob)
{
    const float *z = logprob;
    size_t a = *(const size_t *)pa, b = *(const size_t *)pb;

    return z[a] != z[b] ? (z[a] > z[b] ? -1 : 1) : a < b ? -1 : a > b;
}

static void rank_tokens(gram_writer *w)
{
    size_t V = gram_vocabulary(w->m);

    for (size_t i = 0; i < V; i++)
        w->by_rank[i] = i;
    qsort_r(w->by_rank, V, sizeof *w->by_rank, by_logprob, w->z);
}

/* Draws from softmax(log p / temperature), cut to the likeliest tokens that hold top_p of it. */
static size_t draw(gram_writer *w)
{
    size_t V = gram_vocabulary(w->m), n = 0;
    double keep = w->opt.top_p > 0 ? w->opt.top_p : 1, sum = 0, kept = 0, u;

    if (w->opt.temperature == 0)
        return w->by_rank[0];
    for (size_t i = 0; i < V; i++)
        sum += exp((w->z[i] - w->z[w->by_rank[0]]) / w->opt.temperature);
    while (n < V && kept < keep * sum)
        kept += exp((w->z[w->by_rank[n++]] - w->z[w->by_rank[0]]) / w->opt.temperature);
    u = gr_random_unit(&w->chance) * kept;
    for (size_t i = 0; i < n; i++) {
        u -= exp((w->z[w->by_rank[i]] - w->z[w->by_rank[0]]) / w->opt.temperature);
        if (u < 0)
            return w->by_rank[i];
    }
    return w->by_rank[n - 1];
}

/* The model's turn is over: its end of sequence, or the token that ends a turn of its template. */
static bool ends_turn(const gram_model *m, int32_t id)
{
    static const char *const names[] = { "<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|endoftext|>", "</s>",
                                         "<|end_of_text|>", "<eos>" };

    if (id == gr_model_config(m->model)->eos)
        return true;
    for (size_t i = 0; i < GR_COUNT(names); i++)
        if (id == gr_tok_find(m->file.tok, names[i]) && gr_tok_is_special(m->file.tok, id))
            return true;
    return false;
}

gram_status gram_writer_next(gram_writer *w, gram_written *out, gram_written *top, bool *end, gram_err *err)
{
    size_t at[GRAM_TOP_MAX + 2], n = w->opt.top_logprobs;
    gram_status rc = next_logprobs(w, err);
    int32_t id;

    *end = false;
    if (rc)
        return rc;
    rank_tokens(w);
    id = (int32_t)draw(w);
    w->text.n = 0;
    for (size_t i = 0; i <= n && !rc; i++) {        /* the token's bytes, then its rivals', one after the other */
        int32_t one = i ? (int32_t)w->by_rank[i - 1] : id;
        at[i] = w->text.n;
        rc = gr_tok_decode(w->m->file.tok, &one, 1, i > 0, &w->text, err);
    }
    at[n + 1] = w->text.n;
    if (!rc && !gr_buf_add(&w->text, "", 0))
        rc = gr_nomem(err, "writer");
    if (!rc && !gr_ids_add(&w->ids, &id, 1))
        rc = gr_nomem(err, "writer");
    if (rc)
        return rc;
    *out = (gram_written){ id, w->text.p, at[1], w->z[id] };
    for (size_t i = 0; i < n; i++)
        top[i] = (gram_written){ (int32_t)w->by_rank[i], w->text.p + at[i + 1], at[i + 2] - at[i + 1],
                                 w->z[w->by_rank[i]] };
    *end = ends_turn(w->m, id);
    return GRAM_OK;
}
