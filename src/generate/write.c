/* write.c - see write.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "generate/write.h"

struct gr_write {
    gr_work *work;
    gr_device *device;
    const gr_tok *tok;
    gr_kv_tree *kv;
    size_t most, prefill, V;
    gr_text **live;             /* [most] in the order in which they were let in */
    size_t n_live;
    gr_text **turn;             /* [most] those of them that a step goes on with */
    size_t n_turn;
    gr_text *waiting, **last;
    size_t n_waiting;
    gr_seq *seq;                /* [most] */
    size_t *row, *which;        /* [most] the rows whose logits are made, and which of them each text takes */
    gr_vocabulary *head;
    const float *z;             /* [rows, V] of the step under way, in head */
    gr_sampler *sampler;        /* [threads] */
    gr_drawn *drawn;            /* [most] */
};

gram_status gr_write_open(gr_write **out, const gr_model *m, gr_work *work, const gr_tok *tok, gr_kv_tree *kv,
                          size_t live, size_t prefill, gram_err *err)
{
    gr_write *w = gr_calloc(1, sizeof *w);
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!w)
        return gr_nomem(err, "writing");
    *w = (gr_write){ .work = work, .device = gr_work_device(work), .tok = tok, .kv = kv, .most = live,
                     .prefill = prefill };
    w->V = gr_work_config(work)->vocabulary;
    w->last = &w->waiting;
    w->live = gr_calloc(live, sizeof *w->live);
    w->turn = gr_calloc(live, sizeof *w->turn);
    w->seq = gr_calloc(live, sizeof *w->seq);
    w->row = gr_calloc(live, sizeof *w->row);
    w->which = gr_calloc(live, sizeof *w->which);
    w->drawn = gr_calloc(live, sizeof *w->drawn);
    w->sampler = gr_calloc(gr_device_lanes(w->device), sizeof *w->sampler);
    if (!w->live || !w->turn || !w->seq || !w->row || !w->which || !w->drawn || !w->sampler)
        rc = gr_nomem(err, "writing");
    for (size_t i = 0; i < gr_device_lanes(w->device) && !rc; i++)
        rc = gr_sampler_init(&w->sampler[i], gr_device_op(w->device), w->V, err);
    if (!rc)
        rc = gr_vocabulary_open(&w->head, m, gr_work_way(work), w->device, err);
    if (rc)
        gr_write_close(w);
    else
        *out = w;
    return rc;
}

static void text_free(gr_text *t)
{
    if (!t)
        return;
    gr_ids_clear(&t->ids);
    gr_buf_clear(&t->text);
    free(t->raw);
    free(t->tempered);
    free(t->top);
    free(t->top_logp);
    free(t);
}

void gr_write_close(gr_write *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n_live; i++)
        text_free(w->live[i]);
    while (w->waiting) {
        gr_text *next = w->waiting->next;
        text_free(w->waiting);
        w->waiting = next;
    }
    for (size_t i = 0; w->sampler && i < gr_device_lanes(w->device); i++)
        gr_sampler_clear(&w->sampler[i]);
    free(w->sampler);
    free(w->live);
    free(w->turn);
    free(w->seq);
    free(w->row);
    free(w->which);
    free(w->drawn);
    gr_vocabulary_close(w->head);
    free(w);
}

size_t gr_write_live(const gr_write *w)
{
    return w->n_live;
}

size_t gr_write_waiting(const gr_write *w)
{
    return w->n_waiting;
}

static gram_status check_ask(const gr_write *w, const gr_ask *ask, gram_err *err)
{
    size_t context = gr_work_config(w->work)->context;
    gram_status rc = gr_sampling_check(ask->sampling, err);

    if (!rc)
        rc = gr_stops_check(ask->stops, err);
    if (rc)
        return rc;
    if (ask->max_new == 0)
        return gr_fail(err, GRAM_EARG, "max_new_tokens: wanted 1 or more, found 0");
    if (ask->prompt.n == 0)
        return gr_fail(err, GRAM_EARG, "the prompt has no tokens");
    if (ask->prompt.n >= context)
        return gr_fail(err, GRAM_ELIMIT, "the prompt has %zu tokens and leaves no room for an answer in the model's "
                       "context of %zu", ask->prompt.n, context);
    for (size_t i = 0; i < ask->prompt.n; i++)
        if (ask->prompt.token[i] < 0 || (size_t)ask->prompt.token[i] >= w->V)
            return gr_fail(err, GRAM_EARG, "token %zu of the prompt is %d, which is not in the vocabulary of %zu", i,
                           (int)ask->prompt.token[i], w->V);
    return GRAM_OK;
}

gram_status gr_write_add(gr_write *w, const gr_ask *ask, gr_text **out, gram_err *err)
{
    gr_text *t;
    gram_status rc = check_ask(w, ask, err);

    *out = NULL;
    if (rc)
        return rc;
    t = gr_calloc(1, sizeof *t);
    if (!t)
        return gr_nomem(err, "an answer");
    t->ask = *ask;
    t->top = gr_calloc(ask->top, sizeof *t->top);
    t->top_logp = gr_calloc(ask->top, sizeof *t->top_logp);
    if (!t->top || !t->top_logp || !gr_ids_add(&t->ids, ask->prompt.token, ask->prompt.n) ||
        !gr_buf_puts(&t->text, "")) {
        text_free(t);
        return gr_nomem(err, "an answer");
    }
    *w->last = t;
    w->last = &t->next;
    w->n_waiting++;
    *out = t;
    return GRAM_OK;
}

void gr_write_end(gr_write *w, gr_text *t)
{
    for (gr_text **at = &w->waiting; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            if (w->last == &t->next)
                w->last = at;
            w->n_waiting--;
            break;
        }
    for (size_t i = 0; i < w->n_live; i++)
        if (w->live[i] == t) {
            w->n_live--;
            memmove(w->live + i, w->live + i + 1, (w->n_live - i) * sizeof *w->live);
            break;
        }
    text_free(t);
}

/* Lets in what waits, in order, as far as there is room. Answers to one prompt cost its tokens once. */
static void admit(gr_write *w)
{
    size_t tokens = 0;
    const gr_text *before = NULL;

    while (w->waiting && w->n_live < w->most) {
        gr_text *t = w->waiting;
        bool same = before && before->ids.n == t->ids.n &&
                    !memcmp(before->ids.p, t->ids.p, t->ids.n * sizeof *t->ids.p);
        if (!same && tokens && tokens + t->ids.n > w->prefill)
            return;
        tokens += same ? 0 : t->ids.n;
        w->waiting = t->next;
        if (!w->waiting)
            w->last = &w->waiting;
        t->next = NULL;
        w->n_waiting--;
        w->live[w->n_live++] = t;
        before = t;
    }
}

/* w->z: the logits of w->row, which hold each text's last token once; w->which says where a text finds its own. */
static gram_status read_all(gr_write *w, gram_err *err)
{
    gr_forest f;
    const float *hidden;
    size_t rows = 0;
    gram_status rc;

    for (size_t i = 0; i < w->n_turn; i++)
        w->seq[i] = (gr_seq){ w->turn[i]->ids.p, w->turn[i]->ids.n };
    rc = gr_forest_init(&f, w->seq, w->n_turn, w->kv, GR_SAVE_ALL, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < w->n_turn; i++) {
        size_t k = 0;
        while (k < rows && w->row[k] != f.leaf_row[i])
            k++;
        w->which[i] = k;
        if (k == rows)
            w->row[rows++] = f.leaf_row[i];
    }
    rc = gr_model_forward(w->work, &f, w->row, rows, &hidden, err);
    gr_forest_clear(&f, !rc);
    return rc ? rc : gr_vocabulary_logits(w->head, hidden, rows, &w->z, err);
}

static void draw_one(gr_write *w, size_t task, size_t lane)
{
    gr_text *t = w->turn[task];
    const float *z = w->z + w->which[task] * w->V;
    gr_so_far so_far = { t->ids.p, t->ids.p + t->ask.prompt.n, t->ask.prompt.n, t->n_answer };
    const gr_stops *s = t->ask.stops;

    if (gr_sample(&w->sampler[lane], z, t->ask.sampling, so_far, s->id, s->n_ids,
                  gr_draw_at(t->ask.seed, t->n_answer),
                  &w->drawn[task], &t->why)) {
        t->finish = GR_BROKEN;
        return;
    }
    gr_likeliest(z, w->V, t->top, t->ask.top);
    for (size_t i = 0; i < t->ask.top; i++)                     /* z[v] - log sum, as of the token drawn */
        t->top_logp[i] = z[t->top[i]] - z[w->drawn[task].id] + w->drawn[task].raw;
}

static void draw(void *arg, gr_lane *lane, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        draw_one(arg, i, lane->index);
}

static gram_status add_logp(float **list, size_t n, size_t *cap, float logp, gram_err *err)
{
    float *p = gr_grown(*list, n, cap, 1, sizeof *p);

    if (!p)
        return gr_nomem(err, "an answer");
    *list = p;
    p[n] = logp;
    return GRAM_OK;
}

/* The drawn token becomes part of the text, which it may end. */
static gram_status add_token(const gr_write *w, gr_text *t, const gr_drawn *d, gram_err *err)
{
    bool end = gr_stops_at(t->ask.stops, d->id);
    size_t was = t->text.n;
    gram_status rc = gr_ids_add(&t->ids, &d->id, 1) ? GRAM_OK : gr_nomem(err, "an answer");

    if (!rc)
        rc = add_logp(&t->raw, t->n_answer, &t->cap_raw, d->raw, err);
    if (!rc)
        rc = add_logp(&t->tempered, t->n_answer, &t->cap_tempered, d->tempered, err);
    if (!rc && !end && w->tok)
        rc = gr_tok_decode_piece(w->tok, d->id, false, t->n_answer == 0, &t->text, &t->why);
    if (rc == GRAM_EARG) {                  /* an id that pads the vocabulary and has no text */
        t->finish = GR_BROKEN;
        return GRAM_OK;
    }
    if (rc)
        return gr_nomem(err, "an answer");
    t->n_answer++;
    if (end)
        t->finish = GR_STOP;
    else if (gr_stops_cut(t->ask.stops, &t->text, t->text.n - was))
        t->finish = GR_STOP_STRING;
    else if (t->n_answer == t->ask.max_new || t->ids.n == gr_work_config(w->work)->context)
        t->finish = GR_LENGTH;
    return GRAM_OK;
}

gram_status gr_write_step(gr_write *w, gr_write_fn *fn, void *arg, bool *more, gram_err *err)
{
    gram_status rc = GRAM_OK;

    admit(w);
    w->n_turn = 0;
    for (size_t i = 0; i < w->n_live; i++)
        if (!w->live[i]->paused && w->live[i]->finish == GR_WRITING)
            w->turn[w->n_turn++] = w->live[i];
    if (w->n_turn)
        rc = read_all(w, err);
    if (rc)
        return rc;
    gr_device_run(w->device, w->n_turn, GR_CUT_ONE, draw, w);
    for (size_t i = 0; i < w->n_turn && !rc; i++) {
        gr_text *t = w->turn[i];
        if (t->finish == GR_WRITING)
            rc = add_token(w, t, &w->drawn[i], err);
        if (!rc)
            rc = fn(arg, t, err);
    }
    *more = w->n_live > 0 || w->waiting;
    return rc;
}
