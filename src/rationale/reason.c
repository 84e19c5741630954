/* reason.c - see reason.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "rationale/reason.h"
#include "text/utf8.h"

/* One rationale that is asked for. */
struct asked {
    const gr_reason *r;
    gr_paired *pair;
    size_t index;               /* of the pair */
    gram_rationale *to;
    gr_ids ids;                 /* what is read for the verdict */
};

struct wave { struct asked *asked; size_t n, bad; };

static bool two_orders(const gr_reason *r)
{
    return !r->opt.single_order && r->opt.votes > 1;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

gram_status gr_paired_take(const gr_reason *r, gram_rationale *to, gr_str text, size_t tokens, bool by_tag, int32_t end,
                           gram_err *err)
{
    gr_buf clean = { 0 };
    gr_str body;

    if (!gr_utf8_add(&clean, text.p, text.n))
        return gr_nomem(err, "a rationale");
    body = gr_format_trim((gr_str){ clean.p, clean.n });
    to->text = gr_strndup(body.n ? body.p : "", body.n);
    gr_buf_clear(&clean);
    if (!to->text)
        return gr_nomem(err, "a rationale");
    to->tokens = tokens;
    to->status = by_tag ? GRAM_RATIONALE_CLOSED : GRAM_RATIONALE_FORCED;
    for (size_t i = 0; i < r->words->ends.n; i++)
        if (end == r->words->ends.p[i])
            to->status = GRAM_RATIONALE_CLOSED;
    return GRAM_OK;
}

static gram_status take_text(void *arg, gr_text *t, gram_err *err)
{
    struct wave *w = arg;
    struct asked *a = t->ask.arg;

    if (t->finish == GR_BROKEN) {
        w->bad = a->index;
        return gr_fail(err, t->why.status ? t->why.status : GRAM_EFORMAT, "%s", t->why.text);
    }
    return gr_paired_take(a->r, a->to, (gr_str){ t->text.p, t->text.n }, t->n_answer, t->finish == GR_STOP_STRING,
                          t->finish == GR_STOP ? t->ids.p[t->ids.n - 1] : -1, err);
}

static gram_status write_wave(const gr_reason *r, struct wave *w, gram_err *err)
{
    const gr_sampling sampling = { .temperature = r->opt.temperature, .top_k = r->opt.top_k, .top_p = r->opt.top_p,
                                   .min_p = r->opt.min_p, .repetition = 1 };
    gr_ask *ask = gr_calloc(w->n, sizeof *ask);
    gram_status rc;

    if (!ask)
        return gr_nomem(err, "rationales");
    for (size_t i = 0; i < w->n; i++) {
        const gr_ids *ids = &w->asked[i].pair->ids[w->asked[i].to->swapped];
        ask[i] = (gr_ask){ .prompt = { ids->p, ids->n }, .sampling = &sampling, .stops = &r->stops,
                           .max_new = r->opt.max_tokens, .seed = w->asked[i].to->seed, .arg = &w->asked[i] };
    }
    rc = r->write(r->arg, ask, w->n, take_text, w, err);
    free(ask);
    return rc;
}

/* ---- Reading ------------------------------------------------------------------------------------- */

/* What stands before the label, in no more tokens than the model reads: a text of odd characters may take more tokens
 * read than it did written, and loses its end. */
static gram_status verdict_ids(const gr_reason *r, const gr_reason_text *like, gram_rationale *v, gr_ids *ids,
                               gram_err *err)
{
    gram_status rc;

    do {
        size_t n = strlen(v->text);
        ids->n = 0;
        rc = gr_reason_verdict_ids(r->words, like, (gr_str){ v->text, n }, ids, err);
        if (rc || ids->n <= r->context)
            return rc;
        v->status = GRAM_RATIONALE_FORCED;
        for (n = n / 4 * 3; n > 0 && ((unsigned char)v->text[n] & 0xc0) == 0x80; )
            n--;
        v->text[n] = '\0';
    } while (*v->text);
    return gr_fail(err, GRAM_ELIMIT, "the prompt leaves no room for a verdict in the model's context of %zu tokens",
                   r->context);
}

static gram_status set_verdict(const gr_reason *r, gram_rationale *v, const float logit[2], gram_err *err)
{
    const char *const label[2] = { r->words->label[0], r->words->label[1] };
    double d = (double)logit[0] - logit[1];
    int named = gr_conclusion(label, (gr_str){ v->text, strlen(v->text) });

    if (!isfinite(d))
        return gr_fail(err, GRAM_EFORMAT, "a label's logit is not a finite number: the model's weights are broken");
    memcpy(v->logit, logit, sizeof v->logit);
    v->p = 1 / (1 + exp(v->swapped ? d : -d));
    v->contradicts = (named == 0 && d < 0) || (named == 1 && d > 0);
    return GRAM_OK;
}

static gram_status read_wave(const gr_reason *r, struct wave *w, gram_err *err)
{
    gr_seq *seq = gr_calloc(w->n, sizeof *seq);
    float *logit = gr_calloc(2 * w->n, sizeof *logit);
    gram_status rc = seq && logit ? GRAM_OK : gr_nomem(err, "rationales");

    for (size_t i = 0; i < w->n && !rc; i++) {
        struct asked *a = &w->asked[i];
        rc = verdict_ids(r, &a->pair->prompts.order[a->to->swapped], a->to, &a->ids, err);
        if (rc)
            w->bad = a->index;
        seq[i] = (gr_seq){ a->ids.p, a->ids.n };
    }
    if (!rc)
        rc = r->read(r->arg, seq, w->n, r->words->label_id, logit, err);
    for (size_t i = 0; i < w->n && !rc; i++) {
        rc = set_verdict(r, w->asked[i].to, logit + 2 * i, err);
        if (rc)
            w->bad = w->asked[i].index;
    }
    free(seq);
    free(logit);
    return rc;
}

/* ---- Waves --------------------------------------------------------------------------------------- */

void gr_paired_ask(const gr_reason *r, const gr_paired *p, gram_reasoned *out, size_t from, size_t to)
{
    for (size_t j = from; j < to; j++) {
        size_t number = p->turned && !r->opt.single_order ? j ^ 1 : j;      /* a turned pair: 1, 0, 3, 2, ... */
        gram_rationale *v = &out->rationale[j];
        v->swapped = two_orders(r) ? number % 2 == 1 : p->turned;
        v->seed = gr_random_at(p->seed[v->swapped], number);
    }
    out->n = to;
}

gram_status gr_paired_read(const gr_reason *r, gr_paired *p, gram_reasoned *out, size_t from, gram_err *err)
{
    struct wave w = { .asked = gr_calloc(out->n - from, sizeof *w.asked), .bad = 1 };
    gram_status rc = w.asked ? GRAM_OK : gr_nomem(err, "rationales");

    for (size_t j = from; j < out->n && !rc; j++)
        w.asked[w.n++] = (struct asked){ r, p, 0, &out->rationale[j], { 0 } };
    if (!rc && w.n)
        rc = read_wave(r, &w, err);
    for (size_t i = 0; i < w.n; i++)
        gr_ids_clear(&w.asked[i].ids);
    free(w.asked);
    return rc;
}

/* Rationales from..to of each open pair, those of one order next to each other: they share its prompt. */
static gram_status run_wave(const gr_reason *r, gr_paired *pair, size_t n, gram_reasoned *out, size_t from,
                            size_t to, size_t *bad, gram_err *err)
{
    struct wave w = { .asked = gr_calloc(n * (to - from), sizeof *w.asked), .bad = n };
    gram_status rc = w.asked ? GRAM_OK : gr_nomem(err, "rationales");

    for (size_t i = 0; i < n && !rc; i++) {
        if (!pair[i].open)
            continue;
        gr_paired_ask(r, &pair[i], &out[i], from, to);
        for (size_t k = 0; k < 2; k++)
            for (size_t j = from; j < to; j++)
                if (out[i].rationale[j].swapped == (k == 1))
                    w.asked[w.n++] = (struct asked){ r, &pair[i], i, &out[i].rationale[j], { 0 } };
    }
    if (!rc && w.n)
        rc = write_wave(r, &w, err);
    if (!rc && w.n)
        rc = read_wave(r, &w, err);
    *bad = w.bad;
    for (size_t i = 0; i < w.n; i++)
        gr_ids_clear(&w.asked[i].ids);
    free(w.asked);
    return rc;
}

bool gr_paired_agreed(const gr_reason *r, const gram_reasoned *v)
{
    bool a = true, b = true;

    for (size_t j = 0; j < v->n; j++) {
        a = a && v->rationale[j].p > r->opt.sure;
        b = b && 1 - v->rationale[j].p > r->opt.sure;
    }
    return a || b;
}

gram_status gr_paired_begin(const gr_reason *r, const gram_pair *pair, gr_paired *p, gram_reasoned *out, gram_err *err)
{
    bool both = two_orders(r), turned = pair->turned;
    gram_status rc = gr_reason_prompt(r->words, pair, both || turned, &p->prompts, err);

    p->turned = turned;
    for (int k = 0; k < 2 && !rc && !p->prompts.dropped; k++) {
        if (!both && k != turned)
            continue;
        rc = gr_reason_text_ids(r->words, &p->prompts.order[k], &p->ids[k], err);
        p->seed[k] = gr_random_at(r->opt.seed, gr_digest(GR_DIGEST, p->ids[k].p, p->ids[k].n * sizeof *p->ids[k].p));
    }
    if (rc)
        return rc;
    out->verdict.dropped = p->prompts.dropped;
    out->verdict.truncated = p->prompts.truncated;
    out->verdict.tokens = p->ids[0].n + p->ids[1].n;
    p->open = !p->prompts.dropped && strcmp(pair->a, pair->b) != 0 &&
              !(both && p->ids[0].n == p->ids[1].n && !memcmp(p->ids[0].p, p->ids[1].p, p->ids[0].n * sizeof(int32_t)));
    out->rationale = gr_calloc(r->opt.votes, sizeof *out->rationale);
    return out->rationale ? GRAM_OK : gr_nomem(err, "rationales");
}

/* Those of a turned pair in the order of their numbers. */
static void sort_turned(gram_reasoned *out)
{
    for (size_t j = 0; j + 1 < out->n; j += 2) {
        gram_rationale odd = out->rationale[j];
        out->rationale[j] = out->rationale[j + 1];
        out->rationale[j + 1] = odd;
    }
}

void gr_paired_settle(const gr_reason *r, const gr_paired *p, gram_reasoned *out)
{
    if (out->verdict.dropped)
        return;
    if (p->turned && !r->opt.single_order)
        sort_turned(out);
    gr_reason_vote(out, !two_orders(r));
    out->verdict.tokens += out->written;
    out->early = out->n > 0 && out->n < r->opt.votes;
}

size_t gr_reason_first(const gr_reason *r)
{
    return r->opt.early && r->opt.early < r->opt.votes ? r->opt.early : r->opt.votes;
}

void gr_paired_clear(gr_paired *p)
{
    gr_reason_prompts_clear(&p->prompts);
    gr_ids_clear(&p->ids[0]);
    gr_ids_clear(&p->ids[1]);
}

gram_status gr_reason_pairs(const gr_reason *r, const gram_pair *pair, size_t n, gram_reasoned *out, size_t *bad,
                            gram_err *err)
{
    size_t first = gr_reason_first(r);
    gr_paired *p = gr_calloc(n, sizeof *p);
    gram_status rc = p ? GRAM_OK : gr_nomem(err, "rationales");

    *bad = n;
    if (n)
        memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_paired_begin(r, &pair[i], &p[i], &out[i], err);
        if (rc)
            *bad = i;
    }
    if (!rc)
        rc = run_wave(r, p, n, out, 0, first, bad, err);
    for (size_t i = 0; i < n && !rc && first < r->opt.votes; i++)
        p[i].open = p[i].open && !gr_paired_agreed(r, &out[i]);
    if (!rc && first < r->opt.votes)
        rc = run_wave(r, p, n, out, first, r->opt.votes, bad, err);
    for (size_t i = 0; i < n; i++) {
        if (rc)
            gram_reasoned_clear(&out[i]);
        else
            gr_paired_settle(r, &p[i], &out[i]);
    }
    for (size_t i = 0; p && i < n; i++)
        gr_paired_clear(&p[i]);
    free(p);
    return rc;
}

gram_status gr_reason_stored(const gr_reason *r, const gram_pair *pair, bool swapped, const char *text,
                             gram_rationale *out, gram_err *err)
{
    gr_str body;
    gr_reason_prompts p;
    gr_ids ids = { 0 };
    float logit[2];
    gram_status rc;

    *out = (gram_rationale){ .swapped = swapped };
    if (!text)
        return gr_fail(err, GRAM_EARG, "the rationale: wanted a text, found NULL");
    body = gr_format_trim((gr_str){ text, strlen(text) });
    rc = gr_reason_prompt(r->words, pair, swapped || two_orders(r), &p, err);
    if (!rc && p.dropped)
        rc = gr_fail(err, GRAM_ELIMIT, "the pair takes more than %zu tokens", r->words->judge.max_tokens);
    if (!rc && !(out->text = gr_strndup(body.p, body.n)))
        rc = gr_nomem(err, "a rationale");
    if (!rc)
        rc = verdict_ids(r, &p.order[swapped], out, &ids, err);
    if (!rc)
        rc = r->read(r->arg, &(gr_seq){ ids.p, ids.n }, 1, r->words->label_id, logit, err);
    if (!rc)
        rc = set_verdict(r, out, logit, err);
    if (rc)
        gr_rationale_clear(out);
    gr_ids_clear(&ids);
    gr_reason_prompts_clear(&p);
    return rc;
}
