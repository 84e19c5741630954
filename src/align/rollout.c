/* rollout.c - see rollout.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/rollout.h"
#include "base/err.h"
#include "base/random.h"
#include "text/utf8.h"

enum {
    LIVE = 96,                  /* texts at once: a tile of the products */
    MANY = 24                   /* from so many answers on rows are multiplied by the tile */
};
#define SEEDS ((uint64_t)1 << 53)       /* those that a double, and so any reader of JSON, holds */

void gr_answers_free(gr_answer *a, size_t n)
{
    for (size_t i = 0; a && i < n; i++) {
        gr_ids_clear(&a[i].s.e.seq[0]);
        free(a[i].drawn);
        free(a[i].numbers);
        free(a[i].text);
    }
    free(a);
}

bool gr_answer_room(gr_answer *a, size_t n)
{
    a->n = n;
    a->numbers = gr_calloc(GR_NUMBERS * n, sizeof *a->numbers);
    a->drawn = gr_calloc(n, sizeof *a->drawn);
    a->s.logp = a->numbers;
    a->s.advantage = a->numbers + n;
    return a->numbers && a->drawn;
}

/* What was written becomes the answer's. */
static gram_status keep(gr_answer *a, const gr_text *t, gram_err *err)
{
    gr_buf text = { 0 };

    a->finish = t->finish;
    a->s.e.asked = t->ask.prompt.n;
    if (!gr_answer_room(a, t->n_answer) || !gr_ids_add(&a->s.e.seq[0], t->ids.p, t->ids.n) || !gr_buf_puts(&text, "") ||
        !gr_utf8_add(&text, t->text.p, t->text.n)) {
        gr_buf_clear(&text);
        return gr_nomem(err, "an answer");
    }
    memcpy(a->drawn, t->tempered, a->n * sizeof *a->drawn);
    a->text = text.p;
    return GRAM_OK;
}

struct writing { gr_write *w; };

static gram_status on_token(void *arg, gr_text *t, gram_err *err)
{
    struct writing *w = arg;
    gram_status rc = GRAM_OK;

    if (t->finish == GR_WRITING)
        return GRAM_OK;
    if (t->finish == GR_BROKEN)
        return gr_fail(err, t->why.status, "an answer of the policy: %s", t->why.text);
    rc = keep(t->ask.arg, t, err);
    gr_write_end(w->w, t);
    return rc;
}

/* Asks for all of them; the engine lets them in as there is room. */
static gram_status ask_all(struct writing *w, const gr_writer *how, const gr_sampling sampling[2],
                           const gr_stops *stops, const gr_align_prompt *const *p, gr_answer *a, size_t n,
                           gram_err *err)
{
    gram_status rc = GRAM_OK;
    gr_text *t;

    for (size_t i = 0; i < n && !rc; i++) {
        const gr_align_prompt *asked = p[a[i].place];
        const gr_ids *ids = asked->other.n && gr_align_order(asked, a[i].k) ? &asked->other : &asked->ids;
        rc = gr_write_add(w->w, &(gr_ask){ .prompt = { ids->p, ids->n }, .stops = stops, .max_new = how->max_new,
                                           .sampling = &sampling[a[i].k == GR_GREEDY], .seed = a[i].seed,
                                           .arg = &a[i] }, &t, err);
    }
    return rc;
}

/* of: answers that all processes write together, by which the products are chosen. */
static gram_status write_all(const gr_writer *how, const gr_align_prompt *const *p, gr_answer *a, size_t n, size_t of,
                             gram_err *err)
{
    gr_sampling sampling[2] = { gr_sampling_neutral, gr_sampling_neutral };
    const gr_stops stops = { how->ends->p, how->ends->n, how->tag ? &how->tag : NULL, how->tag != NULL };
    struct writing w = { NULL };
    gr_work *work = NULL;
    gr_kv_tree *kv = NULL;
    bool more = true;
    gram_status rc = gr_work_open(&work, how->model, how->lora, of < MANY ? GR_ROWS_FEW : GR_ROWS_ALIKE, how->device,
                                  err);

    sampling[0].temperature = how->temperature;
    sampling[0].top_p = how->top_p;
    sampling[1].temperature = 0;
    if (!rc)
        rc = gr_model_kv_open(&kv, how->model, how->device, how->kv_bytes, err);
    if (!rc)
        rc = gr_write_open(&w.w, &(gr_write_setup){ .m = how->model, .work = work, .tok = how->tok, .kv = kv,
                                                    .live = LIVE, .prefill = how->prefill }, err);
    if (!rc)
        rc = ask_all(&w, how, sampling, &stops, p, a, n, err);
    while (!rc && more)
        rc = gr_write_step(w.w, on_token, &w, &more, err);
    gr_write_close(w.w);
    gr_kv_close(kv);
    gr_work_close(work);
    return rc;
}

gram_status gr_rollout(const gr_writer *w, const gr_align_prompt *const *p, gr_part part, size_t samples, bool greedy,
                       uint64_t seed, gr_answer **out, size_t *n_out, gram_err *err)
{
    size_t each = samples + greedy, all = part.n * each;
    gr_answer *a = gr_calloc(all, sizeof *a);
    gram_status rc;

    *out = NULL;
    *n_out = 0;
    if (!a)
        return gr_nomem(err, "answers");
    for (size_t i = 0; i < all; i++) {
        a[i].place = part.at + i / each;
        a[i].k = i % each < samples ? i % each : GR_GREEDY;
        a[i].seed = gr_random_at(gr_random_at(seed, a[i].place), a[i].k) % SEEDS;
    }
    rc = all ? write_all(w, p, a, all, part.of * each, err) : GRAM_OK;
    if (rc) {
        gr_answers_free(a, all);
        return rc;
    }
    *out = a;
    *n_out = all;
    return GRAM_OK;
}

/* Another model's text becomes an answer of the policy's tokens, whose end only one has that ended by itself. */
static gram_status retell(const gr_align_facts *f, const gr_align_prompt *p, gr_align_text *t, gr_answer *a,
                          gram_err *err)
{
    size_t most = f->opt->align.max_new;
    gr_ids *ids = &a->s.e.seq[0];
    gram_status rc = gr_judge_reply(f->words, gr_group_prompt(&p->row), t->text, ids,
                                    &a->s.e.asked, err);

    if (rc)
        return rc;
    a->text = t->text;
    t->text = NULL;
    a->seed = t->seed;
    ids->n -= t->cut;
    a->finish = t->cut || ids->n - a->s.e.asked > most ? GR_LENGTH : GR_STOP;
    ids->n = gr_min(ids->n, a->s.e.asked + most);
    if (ids->n == a->s.e.asked)
        return gr_fail(err, GRAM_EFORMAT, "an answer of the sampler to row %s is no token of the policy's", p->row.id);
    if (!gr_answer_room(a, ids->n - a->s.e.asked))
        return gr_nomem(err, "an answer");
    for (size_t i = 0; i < a->n; i++)
        a->drawn[i] = NAN;
    return GRAM_OK;
}

gram_status gr_rollout_other(const gr_align_facts *f, const gr_align_prompt *const *p, gr_part part, size_t samples,
                             uint64_t seed, gr_answer **out, size_t *n_out, gram_err *err)
{
    size_t n = part.n;
    gr_align_text *t = gr_calloc(n * samples, sizeof *t);
    gr_answer *a = gr_calloc(n * samples, sizeof *a);
    gram_status rc = t && a ? f->sampler.write(f->sampler.arg, p + part.at, n, samples, seed % SEEDS, t, err)
                            : gr_nomem(err, "answers");

    for (size_t i = 0; i < n * samples && !rc; i++) {
        a[i].place = part.at + i / samples;
        a[i].k = i % samples;
        rc = retell(f, p[a[i].place], &t[i], &a[i], err);
    }
    for (size_t i = 0; t && i < n * samples; i++)
        free(t[i].text);
    free(t);
    *out = rc ? NULL : a;
    *n_out = rc ? 0 : n * samples;
    if (rc)
        gr_answers_free(a, n * samples);
    return rc;
}
