/* files.c - JSON Lines in, JSON Lines out: read a chunk of rows, judge it, write its lines, go on.
 *
 * A chunk is about two batches of the model, so that a stop or a crash loses little, and what was written before can be
 * continued: line k of the output belongs to good row k of the input. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "api/job.h"
#include "api/shards.h"
#include "base/err.h"
#include "base/json.h"
#include "rationale/json.h"
#include "reward/rank.h"

#define CHUNK_ROWS 256

/* A row that is not the next one written: whether the run before skipped it as well. */
static bool was_skipped(const gr_job *j, const gr_row *r, gram_err *why)
{
    const gram_pair pair = gr_row_pair(r);
    gr_judged ids = { 0 };
    gram_status rc = j->opt->skip_bad ? gr_judge_pair(&j->m->judge, &pair, false, &ids, why) : GRAM_OK;

    gr_judged_clear(&ids);
    return rc && gr_job_refuses(j, rc);
}

/* NULL where memory ran out, like the lists below, so that no line is written that lacks a number. */
static json_t *whole(json_t *list, size_t n)
{
    if (list && json_array_size(list) == n)
        return list;
    json_decref(list);
    return NULL;
}

enum which { MEAN, SIGMA, MASS };

static json_t *rewards_json(const gram_reward *r, size_t n, enum which which)
{
    json_t *a = json_array();

    for (size_t i = 0; a && i < n; i++)
        json_array_append_new(a, gr_json_real(which == MEAN ? r[i].mean : which == SIGMA ? r[i].sigma : r[i].mass));
    return whole(a, n);
}

/* Adds a list; *o is gone where memory ran out. */
static void put(json_t **o, const char *key, json_t *list)
{
    if (json_object_set_new(*o, key, list)) {
        json_decref(*o);
        *o = NULL;
    }
}

/* why: what was written before the verdict; NULL: nothing was. */
static gram_status write_verdict(gr_job *j, const gr_row *row, const gram_verdict *v, const gram_reasoned *why,
                                 gram_err *err)
{
    uint64_t digest = gr_row_digest(row);
    json_t *o;

    j->report->rows++;
    j->report->dropped += v->dropped;
    j->report->truncated += v->truncated;
    if (v->dropped)
        return gr_job_write(j, digest, json_pack("{s:s, s:n, s:b}", "id", row->id, "preference", "dropped", 1), err);
    o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:b, s:I, s:b}", "id", row->id, "preference", gr_json_real(v->preference),
                  "p_forward", gr_json_real(v->p_forward), "p_swapped", gr_json_real(v->p_swapped),
                  "logit_margin", gr_json_real(v->logit_margin), "consistent", v->consistent,
                  "tokens", (json_int_t)v->tokens, "truncated", v->truncated);
    if (v->temperature > 0)
        put(&o, "temperature", json_real(v->temperature));
    if (v->rewarded)
        put(&o, "reward", rewards_json(v->reward, 2, MEAN));
    if (v->spread)
        put(&o, "sigma", rewards_json(v->reward, 2, SIGMA));
    if (j->m->judge.scale)
        put(&o, "mass", rewards_json(v->reward, 2, MASS));
    if (why && o && !gr_reasoned_put(o, why, j->opt->rationale->seed)) {
        json_decref(o);
        o = NULL;
    }
    return gr_job_write(j, digest, o, err);
}

/* ---- gram score --------------------------------------------------------------------------------- */

struct chunk {
    gr_row row[CHUNK_ROWS];
    gr_at at[CHUNK_ROWS];
    gram_pair pair[CHUNK_ROWS];
    gram_verdict verdict[CHUNK_ROWS];
    gram_reasoned why[CHUNK_ROWS];          /* empty without rationales */
    size_t n, tokens;
};

static void chunk_clear(struct chunk *c)
{
    for (size_t i = 0; i < c->n; i++) {
        gr_row_clear(&c->row[i]);
        gram_reasoned_clear(&c->why[i]);
    }
    c->n = c->tokens = 0;
}

static gram_status fill_chunk(gr_job *j, struct chunk *c, uint64_t *skip, bool *end, gram_err *err)
{
    while (c->n < CHUNK_ROWS && c->tokens < 2 * j->m->scorer.batch_tokens && !*end) {
        gr_row *r = &c->row[c->n];
        gram_err why = { 0 };
        bool same = false;
        gram_status rc = gr_reader_pair(j->reader, r, end, &why);
        if (rc)
            rc = gr_job_bad_row(j, rc, &why, err);
        else if (!*end && *skip > 0) {              /* an earlier run has written this one */
            rc = gr_job_check_written(j, r->id, gr_row_digest(r), &same, err);
            *skip -= same;
            if (rc && !same && was_skipped(j, r, &why))
                rc = gr_job_bad_row(j, GRAM_EFORMAT, &why, err);
            gr_row_clear(r);
        } else if (!*end) {
            c->at[c->n] = gr_reader_at(j->reader, NULL);
            c->pair[c->n++] = gr_row_pair(r);
            c->tokens += gr_row_tokens(r);
        }
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

/* Judges rows [from, from + n) of the chunk. */
static gram_status judge_rows(gr_job *j, struct chunk *c, size_t from, size_t n, size_t *bad, gram_err *err)
{
    gram_status rc;

    if (!j->reasoner)
        return gr_api_score(j->m, c->pair + from, n, c->verdict + from, bad, err);
    rc = gram_reason(j->reasoner, c->pair + from, n, c->why + from, bad, err);
    for (size_t i = from; i < from + n && !rc; i++)
        c->verdict[i] = c->why[i].verdict;
    return rc;
}

static gram_status write_verdicts(gr_job *j, const struct chunk *c, size_t from, size_t to, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = from; i < to && !rc; i++)
        rc = write_verdict(j, &c->row[i], &c->verdict[i], j->reasoner ? &c->why[i] : NULL, err);
    return rc;
}

/* Names the row that failed by its place, and by its id where it has one of its own. */
static void blame(const struct chunk *c, size_t i, gram_status rc, const char *why, gram_err *err)
{
    char place[512];
    bool own;

    snprintf(place, sizeof place, "%s:%llu", c->at[i].name, (unsigned long long)c->at[i].line);
    own = strcmp(place, c->row[i].id) != 0;
    gr_fail(err, rc, "%s%s%s: %s", place, own ? ": row " : "", own ? c->row[i].id : "", why);
}

/* Judges and writes the chunk from row `from` up to the first that fails, whose failure is told: *bad, c->n where no
 * row is to blame, as where a line was not written. */
static gram_status score_up_to(gr_job *j, struct chunk *c, size_t from, size_t *bad, gram_err *err)
{
    gram_err why = { 0 };
    size_t n = c->n - from, first, unread;
    gram_status rc = judge_rows(j, c, from, n, &first, &why), before = GRAM_OK;

    *bad = c->n;
    if (rc && first == n)
        return gr_fail(err, rc, "%s", why.text);
    if (rc && first > 0)
        before = judge_rows(j, c, from, first, &unread, err);
    if (!before)
        before = write_verdicts(j, c, from, from + (rc ? first : n), err);
    if (before || !rc)
        return before;
    *bad = from + first;
    blame(c, *bad, rc, why.text, err);
    return rc;
}

/* Judges and writes the chunk. Where one row fails, the rows before it are kept. */
static gram_status score_chunk(gr_job *j, struct chunk *c, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t from = 0, bad = 0; from < c->n && !rc; from = bad + 1) {
        gram_err why = { 0 };
        rc = score_up_to(j, c, from, &bad, &why);
        if (rc && bad < c->n && gr_job_refuses(j, rc))
            rc = gr_job_bad_row(j, GRAM_EFORMAT, &why, err);
        else if (rc)
            gr_fail(err, rc, "%s", why.text);
        else
            break;
    }
    return rc;
}

/* A call over a share, whose report is added. */
struct shared { gram_model *m; const char *in, *out; gram_rank_method method; gram_file_report sum; };

static gram_status score_share(void *arg, const gram_file_options *o, gram_err *err)
{
    struct shared *s = arg;
    gram_file_report one;
    gram_status rc = gram_score_file(s->m, s->in, s->out, o, &one, err);

    gr_file_report_add(&s->sum, &one);
    return rc;
}

static gram_status rank_share(void *arg, const gram_file_options *o, gram_err *err)
{
    struct shared *s = arg;
    gram_file_report one;
    gram_status rc = gram_rank_file(s->m, s->in, s->out, s->method, o, &one, err);

    gr_file_report_add(&s->sum, &one);
    return rc;
}

static gram_status share_rows(gr_share_fn *fn, struct shared s, const gram_file_options *opt, gram_file_report *report,
                              gram_err *err)
{
    gram_status rc = gr_shards_work(s.out, opt, fn, &s, err);

    if (report)
        *report = s.sum;
    return rc;
}

gram_status gram_score_file(gram_model *m, const char *in, const char *out, const gram_file_options *opt,
                            gram_file_report *report, gram_err *err)
{
    gram_file_report unwanted;
    gr_job j;
    gr_spread spread = { 0 };
    struct chunk *c;
    uint64_t skip;
    bool end = false, purm;
    gram_status rc;

    if (opt && opt->workers)
        return share_rows(score_share, (struct shared){ .m = m, .in = in, .out = out }, opt, report, err);
    c = gr_calloc(1, sizeof *c);
    if (!c)
        return gr_nomem(err, in);
    purm = gr_model_config(m->model)->reward == GR_REWARD_PURM;
    rc = gr_job_open(&j, m, in, out, opt, json_pack("{s:s, s:b}", "command", "score", "overlap", purm),
                     report ? report : &unwanted, err);
    j.spread = purm && !j.opt->shares ? &spread : NULL;         /* of shares the merge adds it */
    skip = j.report->resumed;
    while (!rc && !end) {
        rc = fill_chunk(&j, c, &skip, &end, err);
        if (!rc && c->n)
            rc = score_chunk(&j, c, err);
        chunk_clear(c);
        if (!rc)
            rc = gr_job_step(&j, err);
    }
    chunk_clear(c);
    free(c);
    rc = gr_job_close(&j, rc, err);
    gr_spread_clear(&spread);
    return rc;
}

/* ---- gram rank ---------------------------------------------------------------------------------- */

static json_t *order_json(const size_t *order, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; a && i < n; i++)
        json_array_append_new(a, json_integer((json_int_t)order[i]));
    return whole(a, n);
}

static json_t *score_json(const double *score, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; a && i < n; i++)
        json_array_append_new(a, gr_json_real(score[i]));
    return whole(a, n);
}

/* What was written for each comparison of a group. */
struct compared { json_t *list; size_t n; uint64_t seed; };

/* NULL in the list's place: memory ran out. */
static int add_compared(void *arg, size_t i, size_t k, const gram_reasoned *v)
{
    struct compared *c = arg;
    json_t *pair = k < c->n ? json_pack("[I,I]", (json_int_t)i, (json_int_t)k)
                            : json_pack("[I,s]", (json_int_t)i, "reference");
    json_t *o = json_pack("{s:o, s:o}", "pair", pair, "preference", gr_json_real(v->verdict.preference));

    if (c->list && (!o || !gr_reasoned_put(o, v, c->seed) || json_array_append(c->list, o))) {
        json_decref(c->list);
        c->list = NULL;
    }
    json_decref(o);
    return 0;
}

static gram_status rank_and_write(gr_job *j, const gr_group *g, gram_rank_method method, struct compared *compared,
                                  gram_err *err)
{
    static const char *const names[] = { "linear", "tournament", "all-pairs", "reference" };
    gram_prompt prompt = gr_group_prompt(g);
    uint64_t digest = gr_group_digest(g);
    gram_err why = { 0 };
    gram_ranking r;
    json_t *o;
    gram_status rc;

    /* What a group costs is told beside its ranking, and must not depend on the groups before it or on a resume:
     * the judge's words, some hundredths of the tokens, are computed anew for each. */
    pthread_mutex_lock(&j->m->lock);
    gr_kv_forget(j->m->scorer.cache);
    pthread_mutex_unlock(&j->m->lock);
    rc = j->reasoner ? gram_reason_rank(j->reasoner, prompt, (const char *const *)g->response, g->n, method,
                                        g->reference, add_compared, compared, &r, &why)
                     : gram_rank(j->m, prompt, (const char *const *)g->response, g->n, method, g->reference, &r, &why);

    if (rc == GRAM_ELIMIT && j->m->judge.truncate == GRAM_TRUNCATE_DROP) {
        j->report->rows++;
        j->report->dropped++;
        return gr_job_write(j, digest, json_pack("{s:s, s:n, s:b}", "id", g->id, "ranking", "dropped", 1), err);
    }
    if (rc) {
        gram_err told = { 0 };
        gr_fail(&told, rc, "%s:%llu: group %s: %s", gr_reader_at(j->reader, NULL).name,
                (unsigned long long)gr_reader_line(j->reader), g->id, why.text);
        return gr_job_bad_row(j, gr_job_refuses(j, rc) ? GRAM_EFORMAT : rc, &told, err);
    }
    j->report->rows++;
    j->report->truncated += r.truncated;
    o = json_pack("{s:s, s:o, s:o, s:s, s:I, s:I, s:I, s:I, s:b, s:b}", "id", g->id,
                  "ranking", order_json(r.order, g->n), "scores", score_json(r.score, g->n), "method", names[method],
                  "comparisons", (json_int_t)r.comparisons,
                  "passes", (json_int_t)r.passes, "tokens", (json_int_t)r.tokens,
                  "tokens_computed", (json_int_t)r.tokens_computed, "intransitive", r.intransitive,
                  "truncated", r.truncated);
    if (r.reward)
        put(&o, "rewards", rewards_json(r.reward, g->n, MEAN));
    if (r.reward && j->m->judge.scale)
        put(&o, "mass", rewards_json(r.reward, g->n, MASS));
    if (r.overlap) {
        put(&o, "sigma", rewards_json(r.reward, g->n, SIGMA));
        put(&o, "overlap", score_json(r.overlap, g->n));
    }
    if (j->reasoner)
        put(&o, "judged", json_incref(compared->list));
    gram_ranking_clear(&r);
    return gr_job_write(j, digest, o, err);
}

static gram_status rank_group(gr_job *j, const gr_group *g, gram_rank_method method, gram_err *err)
{
    struct compared compared = { json_array(), g->n, j->opt->rationale ? j->opt->rationale->seed : 0 };
    gram_status rc = rank_and_write(j, g, method, &compared, err);

    json_decref(compared.list);
    return rc;
}

/* What makes a group bad that the method cannot rank. */
static gram_status check_group(const gr_group *g, gram_rank_method method, gr_at at)
{
    if (g->n > GR_RANK_MOST)
        return gr_bad(&at, "wanted at most %d responses, found %zu", GR_RANK_MOST, g->n);
    if (method == GRAM_RANK_REFERENCE && !g->reference)
        return gr_bad(&at, "wanted a key \"reference\" with the answer to compare with, found none");
    return GRAM_OK;
}

gram_status gram_rank_file(gram_model *m, const char *in, const char *out, gram_rank_method method,
                           const gram_file_options *opt, gram_file_report *report, gram_err *err)
{
    gram_file_report unwanted;
    gr_job j;
    uint64_t skip;
    gram_status rc;

    if (opt && opt->workers)
        return share_rows(rank_share, (struct shared){ .m = m, .in = in, .out = out, .method = method }, opt, report,
                          err);
    rc = gr_job_open(&j, m, in, out, opt, json_pack("{s:s, s:i}", "command", "rank", "method", (int)method),
                     report ? report : &unwanted, err);
    skip = j.report->resumed;
    while (!rc) {
        gr_group g = { 0 };
        gram_err why = { 0 };
        bool end = false;
        rc = gr_reader_group(j.reader, &g, &end, &why);
        if (!rc && !end)
            rc = check_group(&g, method, gr_reader_at(j.reader, &why));
        if (rc)
            rc = gr_job_bad_row(&j, rc, &why, err);
        else if (!end && skip > 0) {
            bool same;
            rc = gr_job_check_written(&j, g.id, gr_group_digest(&g), &same, err);
            skip -= same;
        }
        else if (!end)
            rc = rank_group(&j, &g, method, err);
        gr_group_clear(&g);
        if (!rc)
            rc = gr_job_step(&j, err);
        if (end)
            break;
    }
    return gr_job_close(&j, rc, err);
}
