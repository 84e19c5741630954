/* writer.c - write answers token by token.
 *
 * All writers of a model share one engine: a step of it gives every text a token whose owner has taken the one before.
 * So chats that are written side by side cost little more than one. */
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/err.h"
#include "base/utf8.h"
#include "model/pages.h"

enum { PREFILL = 32 };          /* prompt tokens that a step reads, for which others' next tokens wait */

struct answer {
    gr_text *t;                 /* NULL: it has ended and been told */
    size_t told;                /* tokens handed out */
    size_t shown;               /* bytes of the text handed out */
};

struct gram_writer {
    gram_model *m;
    gr_sampling sampling;
    gr_stops stops;
    gr_ids prompt, ends;
    char **stop;                /* [n_stop] owned */
    size_t n_stop;
    struct answer *answer;      /* [n] */
    size_t n, left;
    uint64_t step;              /* of the engine, after which it last asked */
    bool counted;               /* in m->writers */
    gr_buf text, more;          /* of the token last handed out, then its rivals' */
};

/* There is room for the keys and values of the prompt and of all answers at their longest, if nobody else writes. What
 * others take meanwhile the engine settles, by letting some wait. */
static gram_status check_room(const gram_writer *w, size_t max_tokens, gram_err *err)
{
    const gram_model *m = w->m;
    const gr_config *c = gr_model_config(m->model);
    size_t each = c->layers * 2 * c->kv_heads * c->head_dim * gr_dtype_bytes(gr_model_rows(m->model));
    size_t room = m->text_bytes / each;
    size_t answer = gr_min(max_tokens, c->context - gr_min(c->context, w->prompt.n)), tokens;

    if (!gr_mul(w->n, w->n > 1 ? gr_round_up(answer, GR_PAGE) : answer, &tokens) ||
        !gr_add(tokens, w->prompt.n, &tokens) || tokens > room)
        return gr_fail(err, GRAM_ELIMIT, "%zu answers of up to %zu tokens to a prompt of %zu need more than the %zu "
                                         "MiB "
                       "of keys and values that texts may take", w->n, answer, w->prompt.n, m->text_bytes >> 20);
    return GRAM_OK;
}

static gram_status copy_stops(gram_writer *w, const gram_generation *g, gram_err *err)
{
    gram_status rc = gr_api_ends(w->m, g, &w->ends, err);

    if (rc)
        return rc;
    w->stop = gr_calloc(g->n_stop, sizeof *w->stop);
    if (!w->stop)
        return gr_nomem(err, "writer");
    for (w->n_stop = 0; w->n_stop < g->n_stop; w->n_stop++)
        if (!(w->stop[w->n_stop] = gr_strdup(g->stop[w->n_stop])))
            return gr_nomem(err, "writer");
    w->stops = (gr_stops){ w->ends.p, w->ends.n, (const char *const *)w->stop, w->n_stop };
    return GRAM_OK;
}

/* Tokens that came as such are a text that is gone on with, unless none of them shows. */
static bool is_text(const gram_model *m, const int32_t *id, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!gr_tok_is_special(m->file.words.tok, id[i]))
            return true;
    return false;
}

/* With the model's lock held. */
static gram_status add(gram_writer *w, const gram_writing *o, gram_err *err)
{
    gram_model *m = w->m;
    const gram_generation *g = o->how;
    gr_ask ask = { .prompt = { w->prompt.p, w->prompt.n }, .sampling = &w->sampling, .stops = &w->stops,
                   .max_new = g->max_new_tokens, .top = o->top, .arg = w };
    const gr_api_engine e = { GRAM_PRODUCTS_FEW, 0, PREFILL };
    gram_status rc = m->chats ? GRAM_OK : gr_api_write_engine(m, &e, &m->chats, &m->chats_kv, err);

    ask.goes_on = o->id && is_text(m, o->id, o->n_ids);
    if (!rc)
        rc = copy_stops(w, g, err);
    if (!rc)
        rc = check_room(w, g->max_new_tokens, err);
    if (!rc) {
        w->counted = true;
        m->writers++;
    }
    for (size_t k = 0; k < w->n && !rc; k++) {
        ask.seed = o->seed ? o->seed[k] : g->seed + k;
        rc = gr_write_add(m->chats, &ask, &w->answer[k].t, err);
    }
    w->left = w->n;
    w->step = m->chat_steps;
    return rc;
}

/* What can fail before the engine is asked. */
static gram_status prepare(gram_writer *w, gram_model *m, const gram_writing *o, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    if (!rc)
        rc = gram_generation_check(o->how, err);
    if (!rc && o->how->products == GRAM_PRODUCTS_TILES)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "products: a writer makes those of few rows, and tiles were asked for");
    if (!rc && o->top > GRAM_TOP_MAX)
        rc = gr_fail(err, GRAM_EARG, "top: wanted 0 to %d, found %zu", GRAM_TOP_MAX, o->top);
    if (rc)
        return rc;
    w->sampling = gr_api_sampling(o->how);
    w->n = o->how->n;
    w->answer = gr_calloc(w->n, sizeof *w->answer);
    if (!w->answer)
        return gr_nomem(err, "writer");
    if (!o->id)
        return gr_api_prompt_ids(m, o->prompt, &w->prompt, err);
    return gr_ids_add(&w->prompt, o->id, o->n_ids) ? GRAM_OK : gr_nomem(err, "token ids");
}

gram_status gram_writer_open(gram_writer **out, gram_model *m, const gram_writing *o, gram_err *err)
{
    gram_writer *w = gr_calloc(1, sizeof *w);
    gram_status rc;

    *out = NULL;
    if (!w)
        return gr_nomem(err, "writer");
    w->m = m;
    rc = prepare(w, m, o, err);
    if (!rc) {
        gr_api_lock(m);
        rc = add(w, o, err);
        gr_api_unlock(m);
    }
    if (rc)
        gram_writer_close(w);
    else
        *out = w;
    return rc;
}

size_t gram_writer_prompt_tokens(const gram_writer *w)
{
    return w->prompt.n;
}

void gram_writer_close(gram_writer *w)
{
    if (!w)
        return;
    gr_api_lock(w->m);
    for (size_t k = 0; w->answer && k < w->n; k++)
        if (w->answer[k].t)
            gr_write_end(w->m->chats, w->answer[k].t);
    w->m->writers -= w->counted;
    if (w->counted && w->m->writers == 0)           /* nobody writes: the memory is given back */
        gr_kv_forget(w->m->chats_kv);
    gr_api_unlock(w->m);
    for (size_t i = 0; i < w->n_stop; i++)
        free(w->stop[i]);
    free(w->stop);
    free(w->answer);
    gr_ids_clear(&w->prompt);
    gr_ids_clear(&w->ends);
    gr_buf_clear(&w->text);
    gr_buf_clear(&w->more);
    free(w);
}

/* ---- Handing out ---------------------------------------------------------------------------------- */

static bool is_untold(const struct answer *a)
{
    return a->t && (a->told < a->t->n_answer || a->t->finish == GR_BROKEN);
}

/* A text that is ahead of its writer waits until that has caught up. */
static gram_status pause_text(void *arg, gr_text *t, gram_err *err)
{
    (void)arg;
    (void)err;
    t->paused = true;
    return GRAM_OK;
}

/* The bytes of the token at the answer's place and of its rivals, one after the other in w->text. */
static gram_status spell(gram_writer *w, const struct answer *a, gram_written *out, gram_rival *top, gram_err *err)
{
    const gr_text *t = a->t;
    size_t at[GRAM_TOP_MAX + 2] = { 0 }, n = t->ask.top;
    gram_status rc = GRAM_OK;

    w->text.n = 0;
    for (size_t i = 0; i <= n && !rc; i++) {
        int32_t id = i ? t->top[i - 1] : out->id;
        if (i > 0 || !out->by_end)
            rc = gr_tok_decode_piece(w->m->file.words.tok, id, i > 0, a->told == 0 && !t->ask.goes_on, &w->text, err);
        at[i + 1] = w->text.n;
    }
    if (!rc && !gr_buf_add(&w->text, "", 0))
        rc = gr_nomem(err, "writer");
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        top[i] = (gram_rival){ t->top[i], w->text.p + at[i + 1], at[i + 2] - at[i + 1], t->top_logp[i] };
    out->text = w->text.p;
    out->bytes = at[1];
    out->top = top;
    out->n_top = n;
    return GRAM_OK;
}

/* What of the text has become certain. */
static gram_status show(gram_writer *w, struct answer *a, gram_written *out, gram_err *err)
{
    const gr_text *t = a->t;
    size_t upto = out->ended ? t->text.n : gr_stops_settled(&w->stops, &t->text);

    w->more.n = 0;
    if (!gr_utf8_add(&w->more, upto > a->shown ? t->text.p + a->shown : "", gr_max(upto, a->shown) - a->shown))
        return gr_nomem(err, "writer");
    a->shown = gr_max(a->shown, upto);
    out->more = w->more.p;
    out->more_bytes = w->more.n;
    return GRAM_OK;
}

/* The next token of answer k, or its failure. */
static gram_status hand_out(gram_writer *w, size_t k, gram_written_fn *fn, void *arg, gram_err *err)
{
    struct answer *a = &w->answer[k];
    gr_text *t = a->t;
    gram_rival top[GRAM_TOP_MAX];
    gram_written out = { .k = k, .text = "", .more = "" };
    gram_status rc = GRAM_OK;

    if (t->finish == GR_BROKEN) {
        out.ended = true;
        out.finish = GRAM_FINISH_FAILED;
        out.error = t->why.text;
    } else {
        out.id = t->ids.p[w->prompt.n + a->told];
        out.logprob = t->raw[a->told];
        out.ended = t->finish != GR_WRITING && a->told + 1 == t->n_answer;
        out.by_end = out.ended && t->finish == GR_STOP;
        out.finish = gr_api_finish(t->finish);
        rc = spell(w, a, &out, top, err);
        if (!rc)
            rc = show(w, a, &out, err);
    }
    if (rc)                                     /* it is handed out by the next call */
        return rc;
    rc = fn(arg, &out, err);
    a->told++;
    t->paused = false;
    if (out.ended) {                            /* others have its room */
        gr_write_end(w->m->chats, t);
        a->t = NULL;
        w->left--;
    }
    return rc;
}

static gram_status next(gram_writer *w, gram_written_fn *fn, void *arg, gram_err *err)
{
    gram_model *m = w->m;
    bool untold = false, more;
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < w->n; k++)
        untold = untold || is_untold(&w->answer[k]);
    if (!untold && w->step == m->chat_steps) {  /* otherwise there was a step that had nothing for it */
        m->chat_steps++;
        rc = gr_write_step(m->chats, pause_text, NULL, &more, err);
    }
    w->step = m->chat_steps;
    for (size_t k = 0; k < w->n && !rc; k++)
        if (is_untold(&w->answer[k]))
            rc = hand_out(w, k, fn, arg, err);
    return rc;
}

gram_status gram_writer_next(gram_writer *w, gram_written_fn *fn, void *arg, bool *more, gram_err *err)
{
    gram_status rc = GRAM_OK;

    gr_api_lock(w->m);
    if (w->left > 0)
        rc = next(w, fn, arg, err);
    *more = w->left > 0;
    gr_api_unlock(w->m);
    return rc;
}
