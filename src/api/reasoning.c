/* reasoning.c - the rationales of one pair token by token: a writer for each order, and the verdicts read behind what
 * they wrote. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/reason_int.h"
#include "base/err.h"
#include "base/json.h"
#include "rationale/json.h"

struct text { gr_buf bytes; size_t tokens; };

struct gram_reasoning {
    gram_reasoner *r;
    gr_paired pair;
    gram_reasoned out;
    gram_writer *writer[2];         /* of each order; NULL: it has no more to write */
    struct text *text;              /* [votes] what was written so far */
    size_t from, to;                /* the wave */
    bool begun;                     /* its writers were opened */
    int order;                      /* whose writer is asked now */
    gram_reasoning_fn *fn;
    void *arg;
};

char *gram_reasoned_json(const gram_reasoned *v, uint64_t seed)
{
    json_t *o = json_object();
    char *text = o && gr_reasoned_put(o, v, seed) ? gr_json_text(o, JSON_COMPACT) : NULL;

    json_decref(o);
    return text;
}

gram_status gram_reasoning_open(gram_reasoning **out, gram_reasoner *r, const gram_pair *pair, gram_err *err)
{
    gram_reasoning *g = gr_calloc(1, sizeof *g);
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!g)
        return gr_nomem(err, "rationales");
    g->r = r;
    g->to = gr_reason_first(&r->reason);
    if (r->reason.opt.products != GRAM_PRODUCTS_FEW)
        rc = gr_fail(err, GRAM_EARG, "products: token by token they are those of few rows, and tiles were asked for");
    if (!rc)
        rc = gr_paired_begin(&r->reason, pair, &g->pair, &g->out, err);
    if (!rc && !(g->text = gr_calloc(r->reason.opt.votes, sizeof *g->text)))
        rc = gr_nomem(err, "rationales");
    if (rc)
        gram_reasoning_close(g);
    else
        *out = g;
    return rc;
}

void gram_reasoning_close(gram_reasoning *g)
{
    if (!g)
        return;
    gram_writer_close(g->writer[0]);
    gram_writer_close(g->writer[1]);
    for (size_t j = 0; g->text && j < g->r->reason.opt.votes; j++)
        gr_buf_clear(&g->text[j].bytes);
    free(g->text);
    gr_paired_clear(&g->pair);
    gram_reasoned_clear(&g->out);
    free(g);
}

/* ---- Writing -------------------------------------------------------------------------------------- */

/* Rationales of the wave that an order has: `first` is the number of its first one. */
static size_t count(const gram_reasoning *g, int order, size_t *first)
{
    size_t n = 0;

    for (size_t j = g->to; j-- > g->from; )
        if (g->out.rationale[j].swapped == (order == 1)) {
            *first = j;
            n++;
        }
    return n;
}

static size_t stride(const gram_reasoning *g)
{
    return g->to > 1 && g->out.rationale[0].swapped != g->out.rationale[1].swapped ? 2 : 1;
}

static gram_status open_writer(gram_reasoning *g, int order, gram_err *err)
{
    const gram_rationale_options *o = &g->r->reason.opt;
    size_t first = 0, n = count(g, order, &first);
    uint64_t *seed = gr_calloc(n, sizeof *seed);
    gram_generation how;
    gram_writing w = { .id = g->pair.ids[order].p, .n_ids = g->pair.ids[order].n, .how = &how, .seed = seed };
    gram_status rc;

    if (!seed)
        return gr_nomem(err, "rationales");
    for (size_t i = 0; i < n; i++)
        seed[i] = g->out.rationale[first + i * stride(g)].seed;
    gram_generation_init(&how);
    how.n = n;
    how.max_new_tokens = o->max_tokens;
    how.temperature = o->temperature;
    how.top_k = o->top_k;
    how.top_p = o->top_p;
    how.min_p = o->min_p;
    how.stop = g->r->tags;
    how.n_stop = 1;
    how.stop_ids = g->r->words.ends.p;
    how.n_stop_ids = g->r->words.ends.n;
    rc = n ? gram_writer_open(&g->writer[order], g->r->m, &w, err) : GRAM_OK;
    free(seed);
    return rc;
}

static gram_status begin_wave(gram_reasoning *g, gram_err *err)
{
    gram_status rc = GRAM_OK;

    g->begun = true;
    if (!g->pair.open)
        return GRAM_OK;
    gr_paired_ask(&g->r->reason, &g->pair, &g->out, g->from, g->to);
    for (int k = 0; k < 2 && !rc; k++)
        rc = open_writer(g, k, err);
    return rc;
}

static gram_status take(void *arg, const gram_written *t, gram_err *err)
{
    gram_reasoning *g = arg;
    size_t first = 0, j;
    gram_reasoning_part part;
    struct text *text;
    gram_status rc = GRAM_OK;

    count(g, g->order, &first);
    j = first + t->k * stride(g);
    text = &g->text[j];
    if (t->ended && t->finish == GRAM_FINISH_FAILED)
        return gr_fail(err, GRAM_EFORMAT, "%s", t->error);
    text->tokens++;
    if (!gr_buf_add(&text->bytes, t->more, t->more_bytes))
        return gr_nomem(err, "a rationale");
    part = (gram_reasoning_part){ j, g->order == 1, t->ended, t->more, t->more_bytes };
    if (g->fn && (t->more_bytes || t->ended))
        rc = g->fn(g->arg, &part, err);
    if (!rc && t->ended)
        rc = gr_paired_take(&g->r->reason, &g->out.rationale[j], (gr_str){ text->bytes.p, text->bytes.n }, text->tokens,
                            t->finish == GRAM_FINISH_STOP_STRING, t->by_end ? t->id : -1, err);
    return rc;
}

gram_status gram_reasoning_write(gram_reasoning *g, gram_reasoning_fn *fn, void *arg, bool *more, gram_err *err)
{
    gram_status rc = g->begun ? GRAM_OK : begin_wave(g, err);

    g->fn = fn;
    g->arg = arg;
    *more = false;
    for (int k = 0; k < 2 && !rc; k++) {
        bool on = true;
        if (!g->writer[k])
            continue;
        g->order = k;
        rc = gram_writer_next(g->writer[k], take, g, &on, err);
        if (!on) {
            gram_writer_close(g->writer[k]);
            g->writer[k] = NULL;
        }
        *more = *more || on;
    }
    return rc;
}

/* ---- Reading -------------------------------------------------------------------------------------- */

gram_status gram_reasoning_read(gram_reasoning *g, bool *more, gram_err *err)
{
    const gr_reason *r = &g->r->reason;
    gram_status rc = g->pair.open ? gr_paired_read(r, &g->pair, &g->out, g->from, err) : GRAM_OK;

    *more = false;
    if (rc)
        return rc;
    *more = g->pair.open && g->to < r->opt.votes && !gr_paired_agreed(r, &g->out);
    g->from = g->to;
    g->to = r->opt.votes;
    g->begun = false;
    if (!*more)
        gr_paired_settle(r, &g->pair, &g->out);
    return GRAM_OK;
}

const gram_reasoned *gram_reasoning_verdict(const gram_reasoning *g)
{
    return &g->out;
}
