/* prove.c - gram_prove_file() over src/rationale: rows of pairs in, rows with rationales out. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/how.h"
#include "api/job.h"
#include "api/shards.h"
#include "api/reason_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "rationale/prove.h"

enum { ROWS = 64, FORCED = 32 };        /* rows proved together; logits of the vocabulary that exist at once */

struct prover {
    gram_reasoner writer;               /* its engine and the model; all else of it is empty */
    gr_reason_words words[2];
    gr_vocabulary *head;
    gr_ids ends;
    gr_prover core;
    gram_prove_report *report;
    double scores;
};

/* NULL: memory ran out. */
static json_t *how_of(const struct prover *p)
{
    const gram_prove_options *o = &p->core.opt;

    return json_pack("{s:s, s:I, s:I, s:f, s:f, s:I, s:f, s:s, s:o}", "command", "prove", "k", (json_int_t)o->k,
                     "max_tokens", (json_int_t)o->max_tokens, "sampling temperature", o->temperature, "top_p", o->top_p,
                     "seed", (json_int_t)o->seed, "least", o->least, "products", gram_products_name(o->products),
                     "format and prompt", json_sprintf("%016" PRIx64, gr_how_words(&p->words[0])));
}

/* ---- The log-probability of given ids ------------------------------------------------------------- */

/* hidden[n] are the states before ids[n]. */
static gram_status add_up(struct prover *p, const float *hidden, const int32_t *id, size_t n, double *ll, gram_err *err)
{
    size_t V = gram_vocabulary(p->writer.m), C = gr_model_config(p->writer.m->model)->width;
    gram_status rc = GRAM_OK;

    for (size_t at = 0; at < n && !rc; at += FORCED) {
        size_t some = gr_min(FORCED, n - at);
        const float *z;
        rc = gr_vocabulary_logits(p->head, hidden + at * C, some, &z, err);
        for (size_t i = 0; i < some && !rc; i++)
            *ll += z[i * V + (size_t)id[at + i]] - gr_api_log_sum_exp(z + i * V, V);
    }
    return rc;
}

static gram_status force(void *arg, const gr_seq *seq, size_t asked, double *ll, gram_err *err)
{
    struct prover *p = arg;
    gram_model *m = p->writer.m;
    size_t n = seq->n - asked, *row = gr_calloc(n, sizeof *row);
    const float *hidden;
    gr_forest f;
    gram_status rc;

    *ll = 0;
    if (!row)
        return gr_nomem(err, "proofs");
    pthread_mutex_lock(&m->lock);
    rc = gr_forest_init(&f, seq, 1, gr_model_config(m->model)->far.after, NULL, GR_SAVE_SHARED, err);
    for (size_t i = 0; i < n && !rc; i++)
        row[i] = gr_forest_row(&f, 0, asked + i - 1);
    if (!rc) {
        rc = gr_model_forward(m->scorer.work, &f, row, n, &hidden, err);
        gr_forest_clear(&f, !rc);
        if (!rc)
            rc = add_up(p, hidden, seq->token + asked, n, ll, err);
    }
    m->scorer.usage.tokens += seq->n;
    pthread_mutex_unlock(&m->lock);
    free(row);
    return rc;
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static gram_status check(const gram_prove_options *o, gram_err *err)
{
    const gr_sampling s = { .temperature = o->temperature, .top_p = o->top_p, .repetition = 1 };

    if (o->k == 0 || o->k > GRAM_VOTES_MOST)
        return gr_fail(err, GRAM_EARG, "k: wanted 1 to %d proofs, found %zu", GRAM_VOTES_MOST, o->k);
    if (o->max_tokens == 0)
        return gr_fail(err, GRAM_EARG, "max_tokens: wanted 1 or more tokens of a proof, found 0");
    if (o->temperature == 0 && o->k > 2)
        return gr_fail(err, GRAM_EARG, "k: with temperature 0 all proofs of an order are the same: wanted at most 2, "
                       "found %zu", o->k);
    if (!(o->least <= 0))
        return gr_fail(err, GRAM_EARG, "least: wanted a score, which is at most 0, found %g", o->least);
    return gr_sampling_check(&s, err);
}

static gram_status prover_open(struct prover *p, gram_model *m, const gram_prove_options *o, gram_err *err)
{
    gr_format f = { 0 };
    int32_t *id = NULL;
    size_t room = 0, n = 0;
    gram_status rc = check(o, err);

    *p = (struct prover){ .writer = { .m = m } };
    if (!rc)
        rc = gr_api_ready(m, err);
    if (!rc && m->judge.pointwise)
        rc = gr_fail(err, GRAM_EARG, "pointwise: a proof is about two answers, not about one");
    if (!rc && m->judge.plain)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a reward model, whose head gives a number: it cannot write proofs",
                     m->name);
    if (!rc)
        rc = gr_format_init(&f, gr_api_format(m, o->format), err);
    if (!rc)
        rc = gr_api_prompt_room(m, o->max_tokens, &f, &room, err);
    gr_format_clear(&f);
    for (int i = 0; i < 2 && !rc; i++)
        rc = gr_api_reason_words(&p->words[i], m, o->format, o->prompt, i, room, err);
    if (!rc)
        rc = gram_end_ids(m, &id, &n, err);
    if (!rc && !gr_ids_add(&p->ends, id, n))
        rc = gr_nomem(err, "token ids");
    free(id);
    if (!rc)
        rc = gr_vocabulary_open(&p->head, m->model, GR_ROWS_ALIKE, gr_api_head(m), m->device, err);
    p->core = (gr_prover){ .words = { &p->words[0], &p->words[1] }, .opt = *o,
                          .stops = { p->ends.p, p->ends.n, NULL, 0 },
                           .write = gr_api_reason_write, .force = force, .arg = p };
    p->writer.reason.opt.products = o->products == GRAM_PRODUCTS_AUTO ? GRAM_PRODUCTS_TILES : o->products;
    return rc ? rc : gr_prove_alone(&p->words[0], &p->core.alone, err);
}

static void prover_close(struct prover *p)
{
    gr_api_reason_close_engine(&p->writer);
    gr_vocabulary_close(p->head);
    gr_reason_words_clear(&p->words[0]);
    gr_reason_words_clear(&p->words[1]);
    gr_ids_clear(&p->ends);
    gr_ids_clear(&p->core.alone);
}

/* ---- Lines ---------------------------------------------------------------------------------------- */

static json_t *proofs_json(const gram_proved *v)
{
    json_t *a = json_array();

    for (size_t i = 0; a && i < v->n; i++) {
        const gram_proof *p = &v->proof[i];
        json_t *o = json_pack("{s:s, s:s, s:o, s:o, s:o, s:I, s:s?}", "first", p->swapped ? "rejected" : "chosen",
                              "proof",
                              p->text, "score", gr_json_real(p->score), "ll_given", gr_json_real(p->ll_given),
                              "ll_alone", gr_json_real(p->ll_alone), "tokens", (json_int_t)p->tokens, "flaw", p->flaw);
        if (json_array_append_new(a, o)) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

/* Of all that the row's line is made of. */
static uint64_t digest_of(const gr_row *r)
{
    const char *const text[] = { r->source, r->subset };
    uint64_t h = gr_digest(gr_digest(gr_row_digest(r), &r->tie, sizeof r->tie), &r->weight, sizeof r->weight);

    if (r->soft != 1)
        h = gr_digest(h, &r->soft, sizeof r->soft);
    if (!isnan(r->margin))
        h = gr_digest(h, &r->margin, sizeof r->margin);
    for (size_t i = 0; i < GR_COUNT(text); i++)
        h = gr_digest_text(h, text[i] ? text[i] : "\001");         /* no text looks like a missing one */
    return h;
}

/* What else the row says of its label, which whoever learns from the line heeds. */
static json_t *add_label(json_t *o, const gr_row *row)
{
    bool ok = o && (!row->tie || !json_object_set_new(o, "tie", json_true())) &&
              (row->tie || row->soft == 1 || !json_object_set_new(o, "soft", json_real(row->soft))) &&
              (isnan(row->margin) || !json_object_set_new(o, "margin", json_real(row->margin)));

    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

/* A line, of this run or of the one before. */
static void count(struct prover *p, const json_t *o)
{
    bool proved = json_is_string(json_object_get(o, "rationale"));
    const json_t *proofs = json_object_get(o, "proofs");

    p->report->proved += proved;
    p->report->unproved += !proved;
    p->report->proofs += json_array_size(proofs);
    for (size_t i = 0; i < json_array_size(proofs); i++) {
        const char *flaw = json_string_value(json_object_get(json_array_get(proofs, i), "flaw"));
        p->report->cut += flaw && !strcmp(flaw, "cut");
        p->report->contrary += flaw && !strncmp(flaw, "concludes", 9);
    }
    p->scores += proved ? json_number_value(json_object_get(o, "score")) : 0;
}

static gram_status count_earlier(const gr_job *j, struct prover *p, gram_err *err)
{
    gr_lines *in;
    const char *line;
    size_t n;
    gram_status rc = gr_lines_open(&in, gr_job_earlier(j), err);

    if (rc)
        return rc;
    while (!(rc = gr_lines_next(in, &line, &n, err)) && line) {
        json_t *o = json_loadb(line, n, JSON_ALLOW_NUL, NULL);
        count(p, o);
        json_decref(o);
    }
    gr_lines_close(in);
    return rc;
}

static gram_status write_line(gr_job *j, struct prover *p, const gr_row *row, const gram_proved *v, gram_err *err)
{
    const gram_proof *best = v->best < v->n ? &v->proof[v->best] : NULL;
    const gram_prompt prompt = gr_row_prompt(row);
    json_t *o = json_pack("{s:s, s:o, s:s, s:s, s:s?, s:s, s:s?, s:o, s:o, s:I, s:b, s:s?, s:s?, s:f, s:s*}",
                          "id", row->id, "prompt", gr_api_messages_json(&prompt), "chosen", row->chosen,
                          "rejected", row->rejected, "rationale", v->rationale, "rationale_label", "chosen",
                          "dropped", v->rationale ? NULL : v->dropped, "score", gr_json_real(best ? best->score : NAN),
                          "proofs", proofs_json(v), "best", best ? (json_int_t)v->best : (json_int_t)-1,
                          "truncated", v->truncated, "subset", row->subset, "source", row->source,
                          "weight", row->weight, "criteria", row->criteria);

    o = add_label(o, row);
    j->report->rows++;
    j->report->truncated += v->truncated;
    j->report->dropped += v->dropped && !strcmp(v->dropped, GR_TOO_LONG);
    count(p, o);
    return gr_job_write(j, digest_of(row), o, err);
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

struct chunk { gr_row row[ROWS]; gr_at at[ROWS]; size_t n; };

static gram_status check_row(const gr_row *r, gr_at at)
{
    if (r->tools || r->chosen_extra || r->rejected_extra)
        return gr_bad(&at, "a conversation with tools has no proofs");
    if (r->soft < 0.5)
        return gr_bad(&at, "the chosen answer is said to be the better one with a probability of %g, and a proof would "
                      "speak for it: wanted 0.5 or more", r->soft);
    return GRAM_OK;
}

/* Under skip-bad, whether the model's template or the judge prompt can write its conversation. */
static gram_status check_prompts(const gr_job *j, const struct prover *p, const gr_row *r, gram_err *err)
{
    const gram_pair pair = gr_row_pair(r);
    gram_err why = { 0 };
    gram_status rc = j->opt->skip_bad && !r->tie ? gr_prove_check(&p->core, &pair, &why) : GRAM_OK;
    gr_at at = gr_reader_at(j->reader, err);

    if (gr_job_refuses(j, rc))
        return gr_bad(&at, "row %s: %s", r->id, why.text);
    return rc ? gr_fail(err, rc, "%s", why.text) : GRAM_OK;
}

static gram_status fill(gr_job *j, const struct prover *p, struct chunk *c, uint64_t *skip, bool *end, gram_err *err)
{
    while (c->n < ROWS && !*end) {
        gr_row *r = &c->row[c->n];
        gram_err why = { 0 };
        bool same = false;
        gram_status rc = gr_reader_pair(j->reader, r, end, &why);
        if (!rc && !*end)
            rc = check_row(r, gr_reader_at(j->reader, &why));
        if (!rc && !*end)
            rc = check_prompts(j, p, r, &why);
        if (rc) {
            gr_row_clear(r);
            rc = gr_job_bad_row(j, rc, &why, err);
        } else if (!*end && *skip > 0) {
            rc = gr_job_check_written(j, r->id, digest_of(r), &same, err);
            *skip -= same;
            gr_row_clear(r);
        } else if (!*end) {
            c->at[c->n++] = gr_reader_at(j->reader, NULL);
        }
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

/* Ties prove nothing, and stand in the output as what they are. */
static gram_status prove_chunk(gr_job *j, struct prover *p, const struct chunk *c, gram_err *err)
{
    gram_pair pair[ROWS];
    gram_proved v[ROWS];
    gram_err why = { 0 };
    size_t n = 0, next = 0, bad, of[ROWS];
    gram_status rc;

    for (size_t i = 0; i < c->n; i++)
        if (!c->row[i].tie) {
            of[n] = i;
            pair[n++] = gr_row_pair(&c->row[i]);
        }
    rc = n ? gr_prove_pairs(&p->core, pair, n, v, &bad, &why) : GRAM_OK;
    if (rc)
        return bad < n ? gr_fail(err, rc, "%s:%llu: row %s: %s", c->at[of[bad]].name,
                                 (unsigned long long)c->at[of[bad]].line, c->row[of[bad]].id, why.text)
                       : gr_fail(err, rc, "%s", why.text);
    for (size_t i = 0; i < c->n && !rc; i++) {
        const gram_proved tie = { .dropped = "a tie" };
        rc = write_line(j, p, &c->row[i], c->row[i].tie ? &tie : &v[next], err);
        next += !c->row[i].tie;
    }
    for (size_t i = 0; i < n; i++)
        gram_proved_clear(&v[i]);
    return rc;
}

static void chunk_clear(struct chunk *c)
{
    for (size_t i = 0; i < c->n; i++)
        gr_row_clear(&c->row[i]);
    c->n = 0;
}

static gram_status prove_rows(gr_job *j, struct prover *p, gram_err *err)
{
    struct chunk *c = gr_calloc(1, sizeof *c);
    uint64_t skip = j->report->resumed;
    bool end = false;
    gram_status rc = c ? GRAM_OK : gr_nomem(err, j->in);

    while (!rc && !end) {
        rc = fill(j, p, c, &skip, &end, err);
        if (!rc && c->n)
            rc = prove_chunk(j, p, c, err);
        chunk_clear(c);
        if (!rc)
            rc = gr_job_step(j, err);
    }
    free(c);
    return rc;
}

struct shared { gram_model *m; const char *in, *out; const gram_prove_options *opt; gram_prove_report sum; };

static gram_status prove_share(void *arg, const gram_file_options *o, gram_err *err)
{
    struct shared *s = arg;
    gram_prove_report one;
    gram_status rc = gram_prove_file(s->m, s->in, s->out, s->opt, o, &one, err);

    gr_file_report_add(&s->sum.file, &one.file);
    s->sum.score += one.proved ? one.score * (double)one.proved : 0;
    s->sum.proved += one.proved;
    s->sum.unproved += one.unproved;
    s->sum.proofs += one.proofs;
    s->sum.cut += one.cut;
    s->sum.contrary += one.contrary;
    return rc;
}

static gram_status share_rows(struct shared s, const gram_file_options *file, gram_prove_report *report, gram_err *err)
{
    gram_status rc = gr_shards_work(s.out, file, prove_share, &s, err);

    s.sum.score = s.sum.proved ? s.sum.score / (double)s.sum.proved : NAN;
    if (report)
        *report = s.sum;
    return rc;
}

gram_status gram_prove_file(gram_model *m, const char *in, const char *out, const gram_prove_options *opt,
                            const gram_file_options *file, gram_prove_report *report, gram_err *err)
{
    gram_prove_options defaults;
    gram_prove_report unread;
    struct prover p;
    gr_job j;
    gram_status rc;

    if (file && file->workers)
        return share_rows((struct shared){ .m = m, .in = in, .out = out, .opt = opt, .sum.score = 0 }, file, report,
                          err);
    gram_prove_options_init(&defaults);
    report = report ? report : &unread;
    *report = (gram_prove_report){ .score = NAN };
    rc = prover_open(&p, m, opt ? opt : &defaults, err);
    p.report = report;
    if (!rc) {
        rc = gr_job_open(&j, m, in, out, file, how_of(&p), &report->file, err);
        if (!rc && report->file.resumed)
            rc = count_earlier(&j, &p, err);
        if (!rc)
            rc = prove_rows(&j, &p, err);
        rc = gr_job_close(&j, rc, err);
    }
    if (report->proved)
        report->score = p.scores / (double)report->proved;
    prover_close(&p);
    return rc;
}
