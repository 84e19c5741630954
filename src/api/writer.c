/* writer.c - write answers token by token.
 *
 * All writers of a model share one engine: when one of them is asked for its next token, every other that has none left
 * over gets one in the same forward pass. So chats that are written side by side cost little more than one. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"

struct gram_writer {
    gram_model *m;
    gr_text *t;
    gr_sampling sampling;
    gr_stops stops;
    gr_ids prompt, ends;
    size_t tokens;              /* of the answer that were handed out */
    size_t reserved;            /* tokens that it may come to, counted in m->chat_tokens */
    gr_buf text;                /* of the token last handed out, then its rivals' */
};

static gr_sampling sampling_of(const gram_writer_options *o)
{
    gr_sampling s = gr_sampling_neutral;

    s.temperature = o->temperature;
    s.top_p = o->top_p > 0 ? o->top_p : 1;
    s.top_k = o->top_k;
    s.min_p = o->min_p;
    s.repetition = o->repetition_penalty > 0 ? o->repetition_penalty : 1;
    s.presence = o->presence_penalty;
    s.frequency = o->frequency_penalty;
    s.min_new = o->min_tokens;
    return s;
}

/* Room for the keys and values of one text more, at its longest. */
static gram_status reserve(gram_writer *w, size_t max_tokens, gram_err *err)
{
    gram_model *m = w->m;
    const gr_config *c = gr_model_config(m->model);
    size_t each = c->layers * 2 * c->kv_heads * c->head_dim * sizeof(float);
    size_t tokens = gr_min(w->prompt.n + max_tokens, c->context), room = m->text_bytes / each;

    if (tokens > room)
        return gr_fail(err, GRAM_ELIMIT, "a text of %zu tokens needs more than the %zu MiB that texts may take", tokens,
                       m->text_bytes >> 20);
    if (tokens > room - gr_min(room, m->chat_tokens))
        return gr_fail(err, GRAM_EBUSY, "the texts that are being written take all of the %zu MiB that they may take "
                       "together", m->text_bytes >> 20);
    m->chat_tokens += tokens;
    w->reserved = tokens;
    return GRAM_OK;
}

/* With the model's lock held. */
static gram_status add(gram_writer *w, const gram_writer_options *o, gram_err *err)
{
    gram_model *m = w->m;
    size_t most = o->max_tokens ? o->max_tokens : gr_model_config(m->model)->context;
    gr_ask ask = { { w->prompt.p, w->prompt.n }, &w->sampling, &w->stops, most, o->top_logprobs, o->seed, w };
    const gr_api_engine e = { GRAM_PRODUCTS_FEW, 0 };
    gram_status rc = m->chats ? GRAM_OK : gr_api_write_engine(m, &e, &m->chats, &m->chats_kv, err);

    if (rc)
        return rc;
    rc = reserve(w, most, err);
    if (!rc && (!gr_ids_add(&w->ends, m->ends.p, m->ends.n) || !gr_ids_add(&w->ends, o->stop_ids, o->n_stop_ids)))
        rc = gr_nomem(err, "token ids");
    w->stops = (gr_stops){ w->ends.p, w->ends.n, NULL, 0 };
    return rc ? rc : gr_write_add(m->chats, &ask, &w->t, err);
}

gram_status gram_writer_open(gram_writer **out, gram_model *m, gram_prompt prompt, const gram_writer_options *opt,
                             size_t *tokens, gram_err *err)
{
    const gram_writer_options greedy = { 0 };
    gram_writer *w = gr_calloc(1, sizeof *w);
    gram_status rc = w ? gr_api_ready(m, err) : gr_nomem(err, "writer");

    *out = NULL;
    opt = opt ? opt : &greedy;
    if (!rc && opt->top_logprobs > GRAM_TOP_MAX)
        rc = gr_fail(err, GRAM_EARG, "top_logprobs: wanted 0 to %d, found %zu", GRAM_TOP_MAX, opt->top_logprobs);
    if (!rc) {
        w->m = m;
        w->sampling = sampling_of(opt);
        rc = gr_api_prompt_ids(m, prompt, &w->prompt, err);
    }
    if (!rc) {
        *tokens = w->prompt.n;
        pthread_mutex_lock(&m->lock);
        rc = add(w, opt, err);
        pthread_mutex_unlock(&m->lock);
    }
    if (rc)
        gram_writer_close(w);
    else
        *out = w;
    return rc;
}

void gram_writer_close(gram_writer *w)
{
    if (!w)
        return;
    if (w->m) {
        pthread_mutex_lock(&w->m->lock);
        if (w->t)
            gr_write_end(w->m->chats, w->t);
        w->m->chat_tokens -= w->reserved;
        if (w->m->chat_tokens == 0)             /* nobody writes: the memory is given back */
            gr_kv_forget(w->m->chats_kv);
        pthread_mutex_unlock(&w->m->lock);
    }
    gr_ids_clear(&w->prompt);
    gr_ids_clear(&w->ends);
    gr_buf_clear(&w->text);
    free(w);
}

/* A text that is ahead of its writer waits until that has caught up. */
static gram_status pause_text(void *arg, gr_text *t, gram_err *err)
{
    (void)arg;
    (void)err;
    t->paused = true;
    return GRAM_OK;
}

/* The token at the writer's place, and its rivals, as bytes one after the other. */
static gram_status hand_out(gram_writer *w, gram_written *out, gram_written *top, gram_err *err)
{
    const gr_text *t = w->t;
    size_t at[GRAM_TOP_MAX + 2], n = t->ask.top;
    int32_t id = t->ids.p[w->prompt.n + w->tokens];
    gram_status rc = GRAM_OK;

    w->text.n = 0;
    for (size_t i = 0; i <= n && !rc; i++) {
        at[i] = w->text.n;
        rc = gr_tok_decode_piece(w->m->file.tok, i ? t->top[i - 1] : id, i > 0, w->tokens == 0, &w->text, err);
    }
    at[n + 1] = w->text.n;
    if (!rc && !gr_buf_add(&w->text, "", 0))
        rc = gr_nomem(err, "writer");
    if (rc)
        return rc;
    *out = (gram_written){ id, w->text.p, at[1], t->raw[w->tokens] };
    for (size_t i = 0; i < n; i++)
        top[i] = (gram_written){ t->top[i], w->text.p + at[i + 1], at[i + 2] - at[i + 1], t->top_logp[i] };
    w->tokens++;
    return GRAM_OK;
}

static gram_status next(gram_writer *w, gram_written *out, gram_written *top, bool *end, gram_err *err)
{
    gr_text *t = w->t;
    bool more;

    while (w->tokens == t->n_answer && t->finish == GR_WRITING) {       /* it may first have to wait for its turn */
        gram_status rc;
        t->paused = false;
        rc = gr_write_step(w->m->chats, pause_text, NULL, &more, err);
        if (rc)
            return rc;
    }
    if (t->finish == GR_BROKEN)
        return gr_fail(err, t->why.status, "%s", t->why.text);
    if (w->tokens == t->n_answer)
        return gr_fail(err, GRAM_ELIMIT, "writer: the answer has ended");
    *end = t->finish == GR_STOP && w->tokens + 1 == t->n_answer;
    return hand_out(w, out, top, err);
}

gram_status gram_writer_next(gram_writer *w, gram_written *out, gram_written *top, bool *end, gram_err *err)
{
    gram_status rc;

    *end = false;
    pthread_mutex_lock(&w->m->lock);
    rc = next(w, out, top, end, err);
    pthread_mutex_unlock(&w->m->lock);
    return rc;
}
