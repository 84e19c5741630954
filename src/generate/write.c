/* write.c - see write.h. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/err.h"
#include "generate/write.h"
#include "op/op.h"

enum {
    TWO_BYTES = 4,              /* tokens of a text, to which all others look most */
    SAME = 3, LEAST = 2,        /* newest tokens that have to stand earlier for a guess, at best and at least */
    PATIENCE = 8                /* texts that end before one more is tried, where there was no room */
};

struct gr_write {
    gr_work *work;
    gr_device *device;
    const gr_tok *tok;
    gr_kv_tree *kv;
    size_t most, prefill, V;
    bool one_byte;
    size_t now;                 /* texts that live at once at most, as far as the tree has had room */
    size_t ended;               /* since it was put down, or up by one */
    size_t guesses, rows;       /* of a text; rows of a step that are worth guessing for */
    gr_text **live;             /* [most] in the order in which they were let in */
    size_t n_live;
    gr_text **turn;             /* [most] those of them that a step goes on with */
    size_t n_turn;
    gr_text *waiting, **last;
    size_t n_waiting;
    gr_seq *seq;                /* [most] */
    gr_kv_at *known;            /* [most] */
    size_t *row, *which;        /* [most (1 + guesses)] the rows whose logits are made; [most] which of them is a text's
                                 * first */
    gr_vocabulary *head;
    const float *z;             /* [rows, V] of the step under way, in head */
    gr_sampler *sampler;        /* [threads] */
    gr_drawn *drawn;            /* [most, 1 + guesses] */
    gr_write_counts count;
};

/* Rows of a step up to which a guess costs next to nothing: the weights have to be read for one, or a tile is there. */
static size_t cheap_rows(const gr_device *d, gr_rows_way way)
{
    gr_cut cut = gr_linear_cut(d, way, 1);

    return cut.whole ? 8 : cut.unit;
}

gram_status gr_write_open(gr_write **out, const gr_write_setup *s, gram_err *err)
{
    size_t live = s->live, rows = live * (1 + s->guesses);
    gr_write *w = gr_calloc(1, sizeof *w);
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!w)
        return gr_nomem(err, "writing");
    assert(s->guesses <= GR_GUESSES_MOST && s->prefill);
    *w = (gr_write){ .work = s->work, .device = gr_work_device(s->work), .tok = s->tok, .kv = s->kv, .most = live,
                     .now = live, .prefill = s->prefill, .guesses = s->guesses, .one_byte = s->one_byte };
    w->V = gr_work_config(s->work)->vocabulary;
    w->rows = cheap_rows(w->device, gr_work_way(s->work));
    w->last = &w->waiting;
    w->live = gr_calloc(live, sizeof *w->live);
    w->turn = gr_calloc(live, sizeof *w->turn);
    w->seq = gr_calloc(live, sizeof *w->seq);
    w->known = gr_calloc(live, sizeof *w->known);
    w->row = gr_calloc(rows, sizeof *w->row);
    w->which = gr_calloc(live, sizeof *w->which);
    w->drawn = gr_calloc(rows, sizeof *w->drawn);
    w->sampler = gr_calloc(gr_device_lanes(w->device), sizeof *w->sampler);
    if (!w->live || !w->turn || !w->seq || !w->known || !w->row || !w->which || !w->drawn || !w->sampler)
        rc = gr_nomem(err, "writing");
    for (size_t i = 0; i < gr_device_lanes(w->device) && !rc; i++)
        rc = gr_sampler_init(&w->sampler[i], gr_kern_of(gr_cpu()), w->V, err);
    if (!rc)
        rc = gr_vocabulary_open(&w->head, s->m, gr_work_way(s->work), s->rounded ? GR_HEAD_ROUNDED : GR_HEAD_EXACT,
                                w->device, err);
    if (!rc && s->lay) {
        gr_work_lay(s->work);
        rc = gr_vocabulary_lay(w->head, err);
    }
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
    for (size_t i = 0; i < w->n_live; i++) {
        gr_kv_unpin(w->live[i]->at.node);
        text_free(w->live[i]);
    }
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
    free(w->known);
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

gr_write_counts gr_write_count(const gr_write *w)
{
    return w->count;
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
    t->ask.top = gr_min(ask->top, w->V);
    t->top = gr_calloc(t->ask.top, sizeof *t->top);
    t->top_logp = gr_calloc(t->ask.top, sizeof *t->top_logp);
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

/* ---- Who lives ----------------------------------------------------------------------------------- */

/* The text's keys and values may go when the tree needs room. */
static void let_go(gr_write *w, gr_text *t)
{
    gr_kv_at at = t->at;

    if (!at.node)
        return;
    gr_kv_unpin(at.node);
    gr_kv_match(w->kv, &at, NULL, 0);               /* but not before what was used longer ago */
    t->at = (gr_kv_at){ NULL, 0 };
}

static void take_out(gr_write *w, gr_text *t)
{
    for (gr_text **at = &w->waiting; *at; at = &(*at)->next)
        if (*at == t) {
            *at = t->next;
            if (w->last == &t->next)
                w->last = at;
            w->n_waiting--;
            t->next = NULL;
            return;
        }
    for (size_t i = 0; i < w->n_live; i++)
        if (w->live[i] == t) {
            w->n_live--;
            memmove(w->live + i, w->live + i + 1, (w->n_live - i) * sizeof *w->live);
            return;
        }
}

void gr_write_end(gr_write *w, gr_text *t)
{
    size_t lived = w->n_live;

    let_go(w, t);
    take_out(w, t);
    text_free(t);
    if (w->n_live == 0 && !w->waiting) {            /* whoever comes next finds all of the room */
        w->now = w->most;
        w->ended = 0;
    } else if (w->n_live < lived && w->now < w->most && ++w->ended == PATIENCE) {
        w->now++;
        w->ended = 0;
    }
}

/* The last `n` that were let in wait again, before all others or behind them. */
static void put_back(gr_write *w, size_t n, bool behind)
{
    for (; n > 0; n--) {
        gr_text *t = w->live[w->n_live - 1];
        let_go(w, t);
        take_out(w, t);
        if (behind) {
            *w->last = t;
            w->last = &t->next;
        } else {
            if (!w->waiting)
                w->last = &t->next;
            t->next = w->waiting;
            w->waiting = t;
        }
        w->n_waiting++;
        w->count.put_back++;
    }
}

static bool goes_on(const gr_text *t)
{
    return !t->paused && t->finish == GR_WRITING;
}

static bool same_ids(const gr_text *a, const gr_text *b)
{
    return a->ids.n == b->ids.n && !memcmp(a->ids.p, b->ids.p, a->ids.n * sizeof *a->ids.p);
}

/* Lets in what waits, in order, as far as there is room. Answers to one prompt cost its tokens once. */
static void admit(gr_write *w)
{
    size_t tokens = 0;
    const gr_text *before = NULL;

    for (gr_text *t = w->waiting, *next; t && w->n_live < w->now; t = next) {
        bool same = before && same_ids(before, t);
        next = t->next;
        if (!goes_on(t))
            continue;
        if (!same && tokens && tokens + t->ids.n > w->prefill)
            return;
        tokens += same ? 0 : t->ids.n;
        take_out(w, t);
        w->live[w->n_live++] = t;
        w->count.let_in++;
        before = t;
    }
}

static size_t take_turns(gr_write *w)
{
    w->n_turn = 0;
    for (size_t i = 0; i < w->n_live; i++)
        if (goes_on(w->live[i]))
            w->turn[w->n_turn++] = w->live[i];
    return w->n_turn;
}

/* The texts of a step. Where all that live are paused, they make room for one that waits. */
static void choose(gr_write *w)
{
    admit(w);
    while (take_turns(w) == 0 && w->n_live > 0) {
        gr_text *t = w->waiting;
        while (t && !goes_on(t))
            t = t->next;
        if (!t)
            return;
        put_back(w, 1, true);
        w->now = gr_max(w->now, w->n_live + 1);
        admit(w);
    }
}

/* ---- A step -------------------------------------------------------------------------------------- */

/* Guesses what a text goes on with: what followed the last time that its newest SAME tokens, or fewer, stood in it.
 * They lie behind its ids. */
static void guess(gr_write *w, gr_text *t)
{
    size_t n = t->ids.n, most = gr_min(w->guesses, t->ask.max_new - t->n_answer - 1);

    most = gr_min(most, gr_work_config(w->work)->context - n - 1);
    if (n <= gr_work_config(w->work)->far.after)    /* what goes beyond has other angles */
        most = gr_min(most, gr_work_config(w->work)->far.after - n);
    t->guesses = 0;
    for (size_t same = SAME; same >= LEAST && most > 0 && !t->guesses; same--)
        for (size_t end = n - 1; end >= same; end--)
            if (!memcmp(t->ids.p + end - same, t->ids.p + n - same, same * sizeof *t->ids.p)) {
                size_t found = gr_min(most, n - end);
                int32_t next[GR_GUESSES_MOST];
                memcpy(next, t->ids.p + end, found * sizeof *next);
                t->guesses = gr_ids_add(&t->ids, next, found) ? found : 0;
                break;
            }
    t->ids.n = n;
    w->count.guessed += t->guesses;
}

static bool is_part(const gr_text *t)
{
    return t->upto < t->ids.n;
}

/* Tokens of the text that no step has read. */
static size_t unread(gr_write *w, const gr_text *t)
{
    gr_kv_at at = { NULL, 0 };

    return t->ids.n - (t->at.node ? gr_kv_pos(t->at) : gr_kv_match(w->kv, &at, t->ids.p, t->ids.n - 1));
}

/* How far each text is read in this step. Of those with one prompt that is read in parts the first does it, all but the
 * last token; then the others find it in the tree. */
static void cut_prompts(gr_write *w)
{
    size_t sum = 0, prompts = 0, n = 0, share;
    const gr_text *before = NULL;

    for (size_t i = 0; i < w->n_turn; i++) {
        gr_text *t = w->turn[i];
        t->upto = unread(w, t);                 /* for now */
        if (t->upto > 1 && !(before && same_ids(before, t))) {
            sum += t->upto;
            prompts++;
            before = t;
        }
    }
    share = sum <= w->prefill ? SIZE_MAX : gr_max(w->prefill / gr_max(prompts, 1), 1);
    before = NULL;
    for (size_t i = 0; i < w->n_turn; i++) {
        gr_text *t = w->turn[i];
        size_t rest = t->upto;
        t->upto = t->ids.n;
        if (before && !t->at.node && same_ids(before, t))
            continue;
        w->turn[n++] = t;
        if (rest > 1 && (rest > share || t->at.node) && !t->unkept) {
            t->upto -= rest - gr_min(rest - 1, share);
            before = t;
        }
    }
    w->n_turn = n;
}

/* Which rows' logits are made: a text's last and those of its guesses; texts that end in one row share it. */
static size_t choose_rows(gr_write *w, const gr_forest *f)
{
    size_t rows = 0;

    w->row[0] = f->leaf_row[0];                 /* of parts alone nothing is asked, but a pass is for some row */
    for (size_t i = 0; i < w->n_turn; i++) {
        size_t k = 0, first = f->leaf_row[i] - w->turn[i]->guesses;
        if (is_part(w->turn[i]))
            continue;
        while (k < rows && w->row[k] != first)
            k++;
        w->which[i] = k;
        if (k == rows)
            while (first <= f->leaf_row[i])
                w->row[rows++] = first++;
    }
    return rows;
}

/* Texts stay where their rows were put; *lost: how many have no place, as there was no room. */
static void keep_places(gr_write *w, const gr_forest *f, size_t *lost)
{
    *lost = 0;
    for (size_t i = 0; i < w->n_turn; i++) {
        const gr_segment *s = &f->seg[gr_forest_segment(f, f->leaf_row[i])];
        gr_text *t = w->turn[i];
        gr_kv_pin(s->save.node);
        let_go(w, t);
        t->unkept = is_part(t) && !s->save.node;
        *lost += !s->save.node;
        if (s->save.node)
            t->at = (gr_kv_at){ s->save.node, s->save.first + s->save.n };
    }
}

/* A step has failed between reading the texts and drawing their tokens: they are to be read again, from some on. */
static void lose_places(gr_write *w, size_t first)
{
    for (size_t i = first; i < w->n_turn; i++)
        let_go(w, w->turn[i]);
}

/* w->z: the logits of w->row. */
static gram_status read_all(gr_write *w, size_t *lost, gram_err *err)
{
    gr_forest f;
    const float *hidden;
    size_t rows = 0;
    gram_status rc;

    cut_prompts(w);
    for (size_t i = 0; i < w->n_turn; i++) {
        gr_text *t = w->turn[i];
        t->guesses = 0;
        if (t->at.node && !is_part(t) && !t->ask.top && w->n_turn * (1 + w->guesses) <= w->rows)
            guess(w, t);
        w->known[i] = t->at;
        w->seq[i] = (gr_seq){ t->ids.p, t->upto + t->guesses };
    }
    rc = gr_forest_go_on(&f, w->seq, w->known, w->n_turn, gr_work_config(w->work)->far.after, w->kv, err);
    if (rc)
        return rc;
    for (size_t r = 0; r < f.rows && w->one_byte; r++)      /* by its place alone, so that the tree need not say it */
        f.one_byte[r] = f.pos[r] >= TWO_BYTES;
    rows = choose_rows(w, &f);
    rc = gr_model_forward(w->work, &f, w->row, gr_max(rows, 1), &hidden, err);
    if (!rc)
        keep_places(w, &f, lost);
    gr_forest_clear(&f, !rc);
    if (rc || rows == 0)
        return rc;
    rc = gr_vocabulary_logits(w->head, hidden, rows, &w->z, err);
    if (rc)
        lose_places(w, 0);
    return rc;
}

/* The tokens of a text, one after the other as long as its guesses are right. */
static void draw_one(gr_write *w, size_t task, size_t lane)
{
    gr_text *t = w->turn[task];
    gr_drawn *d = w->drawn + task * (1 + w->guesses);
    const float *z = w->z + w->which[task] * w->V;
    const gr_stops *s = t->ask.stops;
    bool right = !is_part(t);

    for (size_t g = 0; g <= t->guesses && right; g++, d++, z += w->V) {
        gr_so_far so_far = { t->ids.p, t->ids.p + t->ask.prompt.n, t->ask.prompt.n, t->n_answer + g };
        d->id = -1;
        if (gr_sample(&w->sampler[lane], z, t->ask.sampling, so_far, s->id, s->n_ids,
                      gr_draw_at(t->ask.seed, t->n_answer + g), d, &t->why)) {
            d->id = -1;
            return;
        }
        gr_likeliest(z, w->V, t->top, t->ask.top);
        for (size_t i = 0; i < t->ask.top; i++)                 /* z[v] - log sum, as of the token drawn */
            t->top_logp[i] = z[t->top[i]] - z[d->id] + d->raw;
        right = g < t->guesses && d->id == t->ids.p[t->ids.n + g];
    }
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

/* The drawn token becomes part of the text, which it may end. Where there is no memory the text stays as it is. */
static gram_status add_token(const gr_write *w, gr_text *t, const gr_drawn *d, gram_err *err)
{
    bool end = gr_stops_at(t->ask.stops, d->id);
    size_t was = t->text.n;
    gram_status rc = add_logp(&t->raw, t->n_answer, &t->cap_raw, d->raw, err);

    if (!rc)
        rc = add_logp(&t->tempered, t->n_answer, &t->cap_tempered, d->tempered, err);
    if (!rc && !end && w->tok)
        rc = gr_tok_decode_piece(w->tok, d->id, false, t->n_answer == 0 && !t->ask.goes_on, &t->text, &t->why);
    if (rc == GRAM_EARG) {                  /* an id that pads the vocabulary and has no text */
        t->finish = GR_BROKEN;
        return GRAM_OK;
    }
    if (!rc && !gr_ids_add(&t->ids, &d->id, 1))
        rc = GRAM_ENOMEM;
    if (rc) {
        t->text.n = was;
        return gr_nomem(err, "an answer");
    }
    t->n_answer++;
    if (end)
        t->finish = GR_STOP;
    else if (gr_stops_cut(t->ask.stops, &t->text, t->text.n - was))
        t->finish = GR_STOP_STRING;
    else if (t->n_answer == t->ask.max_new || t->ids.n == gr_work_config(w->work)->context)
        t->finish = GR_LENGTH;
    return GRAM_OK;
}

/* The tokens that were drawn for a text become part of it, which fn is told one by one. What it guessed wrong leaves
 * the tree. */
static gram_status take_tokens(gr_write *w, size_t i, gr_write_fn *fn, void *arg, gram_err *err)
{
    gr_text *t = w->turn[i];
    const gr_drawn *d = w->drawn + i * (1 + w->guesses);
    size_t guesses = t->guesses, taken = 0;
    gram_status rc;

    while (taken < guesses && d[taken].id == t->ids.p[t->ids.n + taken])
        taken++;
    w->count.taken += taken;
    if (t->at.node && taken < guesses) {
        t->at.used -= guesses - taken;
        gr_kv_shorten(w->kv, t->at);
    }
    for (size_t g = 0;; g++) {
        bool more = g < taken;
        if (d[g].id < 0)                        /* why says it */
            t->finish = GR_BROKEN;
        rc = d[g].id < 0 ? GRAM_OK : add_token(w, t, &d[g], err);
        more = more && t->finish == GR_WRITING;
        if (rc || t->finish != GR_WRITING)
            let_go(w, t);
        if (!rc)
            rc = fn(arg, t, err);               /* which may end it, unless there is more */
        if (rc && more)
            let_go(w, t);
        if (rc || !more)
            return rc;
    }
}

gram_status gr_write_step(gr_write *w, gr_write_fn *fn, void *arg, bool *more, gram_err *err)
{
    size_t lost = 0, lived, i = 0;
    gram_status rc = GRAM_OK;

    choose(w);
    if (w->n_turn)
        rc = read_all(w, &lost, err);
    if (rc)
        return rc;
    gr_device_run(w->device, w->n_turn, GR_CUT_ONE, draw, w);
    lived = w->n_live;
    for (; i < w->n_turn && !rc; i++)
        rc = is_part(w->turn[i]) ? GRAM_OK : take_tokens(w, i, fn, arg, err);
    if (rc)
        lose_places(w, i);
    lost -= gr_min(lost, lived - w->n_live);
    lost = gr_min(lost, gr_max(w->n_live, 1) - 1);
    if (lost > 0) {                             /* the others get what room there is */
        put_back(w, lost, false);
        w->now = w->n_live;
        w->ended = 0;
    }
    *more = w->n_live > 0 || w->waiting;
    return rc;
}
