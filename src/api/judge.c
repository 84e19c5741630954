/* judge.c - gram/judge.h: one object over each kind of judge. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/judge_int.h"
#include "base/clock.h"
#include "base/err.h"
#include "reward/rank.h"

#define TIMEOUT 600             /* seconds for a program's line */

static const char *const schemes[] = { "default", "all-pairs", "reference", "tournament", "linear", "circular" };
static const char *const units[] = { "margin", "preference" };

gram_status gram_scheme_parse(const char *name, gram_scheme *out, gram_err *err)
{
    for (size_t i = 1; i < GR_COUNT(schemes); i++)
        if (!strcmp(name, schemes[i])) {
            *out = (gram_scheme)i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EARG, "scheme \"%s\": wanted all-pairs, reference, tournament, linear or circular", name);
}

gram_status gram_unit_parse(const char *name, gram_unit *out, gram_err *err)
{
    for (size_t i = 0; i < GR_COUNT(units); i++)
        if (!strcmp(name, units[i])) {
            *out = (gram_unit)i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EARG, "unit \"%s\": wanted margin or preference", name);
}

const char *gram_scheme_name(gram_scheme s)
{
    return (size_t)s < GR_COUNT(schemes) ? schemes[s] : "unknown";
}

const char *gram_unit_name(gram_unit u)
{
    return (size_t)u < GR_COUNT(units) ? units[u] : "unknown";
}

/* ---- Opening ------------------------------------------------------------------------------------- */

/* where NULL is the judge that comes with gram. */
static bool begins(const char *where, const char *word) { return where && !strncmp(where, word, strlen(word)); }
static bool is_server(const char *where) { return begins(where, "http://") || begins(where, "https://"); }
static bool is_program(const char *where) { return begins(where, "exec:"); }

static gram_status check_options(const gram_judge_options *o, gram_err *err)
{
    if ((size_t)o->scheme >= GR_COUNT(schemes))
        return gr_fail(err, GRAM_EARG, "scheme: %d is none", (int)o->scheme);
    if ((size_t)o->unit >= GR_COUNT(units))
        return gr_fail(err, GRAM_EARG, "unit: %d is none", (int)o->unit);
    if (!(o->lambda >= 0) || !isfinite(o->lambda))
        return gr_fail(err, GRAM_EARG, "lambda: wanted a number of 0 or more, found %g", o->lambda);
    if (!(o->timeout >= 0) || !isfinite(o->timeout))
        return gr_fail(err, GRAM_EARG, "timeout: wanted seconds, 0 or more, found %g", o->timeout);
    if (o->rationale && o->rationale->single_order)
        return gr_fail(err, GRAM_EARG, "rationales: a judge that gives rewards reads both orders, and single_order is "
                       "set");
    return GRAM_OK;
}

/* What the options ask for that this kind of judge cannot mean, and the sentence about it. */
static gram_status settle(gram_judge *j, const char *name, gram_err *err)
{
    bool numbers = j->program || j->head;
    gr_buf b = { 0 };
    bool ok = true;

    if (j->m && j->m->scorer.single_order)
        return gr_fail(err, GRAM_EARG, "%s: a judge that gives rewards reads both orders, and single_order is set",
                       name);
    if (numbers && j->scheme != GRAM_SCHEME_DEFAULT)
        return gr_fail(err, GRAM_EARG, "%s: gives each answer a number of its own: there is nothing to compare by "
                       "scheme %s", name, gram_scheme_name(j->scheme));
    if (numbers && j->unit != GRAM_UNIT_MARGIN)
        return gr_fail(err, GRAM_EARG, "%s: gives each answer a number of its own, which is no preference", name);
    if (j->lambda != 0 && !j->spread)
        return gr_fail(err, GRAM_EARG, "%s: lambda %g is for a PURM head, and this is none", name, j->lambda);
    if (!numbers && j->scheme == GRAM_SCHEME_DEFAULT)
        j->scheme = GRAM_SCHEME_ALL_PAIRS;
    if (j->m)
        name = j->m->name;
    if (j->program)
        ok = gr_buf_printf(&b, "%s, a program that gives each answer a number", name);
    else if (j->spread)
        ok = gr_buf_printf(&b, "%s, a PURM head: mean - %g u", name, j->lambda);
    else if (j->head)
        ok = gr_buf_printf(&b, "%s, %s%s%s: each answer is read once", name,
                           j->m && j->m->judge.pointwise ? "a judge of one answer" : "a reward head",
                           j->m && j->m->judge.scale ? " on the scale " : "",
                           j->m && j->m->judge.scale ? j->m->judge.label_text[0] : "");
    else
        ok = gr_buf_printf(&b, "%s, which compares two answers, in both orders%s: %s, %s", name,
                           j->reasons ? j->reasons : "", gram_scheme_name(j->scheme),
                           j->unit == GRAM_UNIT_MARGIN ? "logit margins" : "preferences less 1/2");
    j->about = b.p;
    return ok ? GRAM_OK : gr_nomem(err, "judge");
}

static gram_judge *judge_new(const gram_judge_options *o)
{
    gram_judge *j = gr_calloc(1, sizeof *j);

    if (!j)
        return NULL;
    pthread_mutex_init(&j->lock, NULL);
    j->scheme = o->scheme;
    j->unit = o->unit;
    j->lambda = o->lambda;
    return j;
}

/* A resume that compares what is said of two judges takes no other rationales for these. */
static gram_status open_reasoner(gram_judge *j, const gram_rationale_options *o, gram_err *err)
{
    const char *format = gr_api_format(j->m, o->format);
    gr_buf b = { 0 };
    bool ok = gr_buf_printf(&b, ", behind %zu rationales of at most %zu tokens (%.200s, seed %" PRIu64, o->votes,
                            o->max_tokens, format ? format : "gram-r2", o->seed) &&
              (o->temperature == 1 || gr_buf_printf(&b, ", temperature %g", o->temperature)) &&
              (o->top_p == 1 || gr_buf_printf(&b, ", top-p %g", o->top_p)) &&
              (!o->top_k || gr_buf_printf(&b, ", top-k %zu", o->top_k)) &&
              (o->min_p == 0 || gr_buf_printf(&b, ", min-p %g", o->min_p)) &&
              (!o->early || gr_buf_printf(&b, ", early %zu at %g", o->early, o->sure)) && gr_buf_puts(&b, ")");

    j->reasons = b.p;
    return ok ? gram_reasoner_open(&j->reasoner, j->m, o, err) : gr_nomem(err, "judge");
}

static gram_status find_head(gram_judge *j, const gram_judge_options *opt, gram_err *err)
{
    gr_reward_kind kind = gr_model_config(j->m->model)->reward;
    gram_status rc = gr_api_ready(j->m, err);

    j->head = kind != GR_REWARD_NONE || j->m->judge.pointwise;
    j->spread = kind == GR_REWARD_PURM;
    return !rc && opt->rationale ? open_reasoner(j, opt->rationale, err) : rc;
}

static gram_status open_model(gram_judge *j, const char *path, const gram_judge_options *opt, gram_err *err)
{
    gram_status rc = gram_open(&j->m, path, opt->model, err);

    j->owned = true;
    return rc ? rc : find_head(j, opt, err);
}

static gram_status open_server(gram_judge *j, const char *url, const char *key, gram_err *err)
{
    j->url = gr_strdup(url);
    j->key = key ? gr_strdup(key) : NULL;
    return j->url && (j->key || !key) ? gr_judge_server_open(j, err) : gr_nomem(err, url);
}

static const gram_judge_options no_options;

static gram_status begin(gram_judge **out, const gram_judge_options *opt, gram_err *err)
{
    gram_status rc = check_options(opt, err);

    *out = NULL;
    if (rc)
        return rc;
    *out = judge_new(opt);
    return *out ? GRAM_OK : gr_nomem(err, "judge");
}

/* The judge, whose kind is known, or after a failure none. */
static gram_status finish(gram_judge **out, gram_status rc, const char *name, gram_err *err)
{
    if (!rc)
        rc = settle(*out, name, err);
    if (rc) {
        gram_judge_close(*out);
        *out = NULL;
    }
    return rc;
}

gram_status gram_judge_open(gram_judge **out, const char *where, const gram_judge_options *opt, gram_err *err)
{
    gram_status rc;

    opt = opt ? opt : &no_options;
    *out = NULL;
    if (is_program(where) && !where[5 + strspn(where + 5, " \t\n")])
        return gr_fail(err, GRAM_EARG, "exec: wanted a command behind it, found none");
    if (opt->model && opt->model->pointwise && (is_program(where) || is_server(where)))
        return gr_fail(err, GRAM_EARG, "pointwise: %s judges in its own way; a model that is opened here can be "
                       "asked so", where);
    if (opt->rationale && (is_program(where) || is_server(where)))
        return gr_fail(err, GRAM_EARG, "rationales: %s judges in its own way; a model that is opened here can write "
                       "its reasons", where);
    rc = begin(out, opt, err);
    if (rc)
        return rc;
    if (is_program(where))
        rc = gr_program_open(&(*out)->program, where + 5, opt->timeout > 0 ? opt->timeout : TIMEOUT, err);
    else if (is_server(where))
        rc = open_server(*out, where, opt->key, err);
    else
        rc = open_model(*out, where, opt, err);
    return finish(out, rc, where ? where : "the judge that comes with gram", err);
}

gram_status gram_judge_over(gram_judge **out, gram_model *m, const gram_judge_options *opt, gram_err *err)
{
    gram_status rc;

    opt = opt ? opt : &no_options;
    rc = begin(out, opt, err);
    if (rc)
        return rc;
    (*out)->m = m;
    return finish(out, find_head(*out, opt, err), m->name, err);
}

void gram_judge_close(gram_judge *j)
{
    if (!j)
        return;
    gram_reasoner_close(j->reasoner);
    if (j->owned)
        gram_close(j->m);
    gr_program_close(j->program);
    pthread_mutex_destroy(&j->lock);
    free(j->url);
    free(j->key);
    free(j->served);
    free(j->about);
    free(j->reasons);
    free(j);
}

void gr_judge_add_cost(gram_judge_cost *to, const gram_judge_cost *c)
{
    to->comparisons += c->comparisons;
    to->flips += c->flips;
    to->passes += c->passes;
    to->tokens += c->tokens;
    to->tokens_computed += c->tokens_computed;
    to->truncated += c->truncated;
    to->seconds += c->seconds;
}

bool gram_judge_across_prompts(const gram_judge *j)
{
    return j->head || j->program;
}

bool gram_judge_needs_reference(const gram_judge *j)
{
    return j->scheme == GRAM_SCHEME_REFERENCE;
}

const char *gram_judge_about(const gram_judge *j)
{
    return j->about;
}

gram_model *gram_judge_model(gram_judge *j)
{
    return j->m;
}

/* ---- A model here -------------------------------------------------------------------------------- */

/* Whether a failure with an index is that of the text alone. */
static bool own_fault(gram_status rc)
{
    return rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED || rc == GRAM_ELIMIT || rc == GRAM_EFORMAT;
}

/* Calls `judge` for [from, n) until none is left: one that is at fault is named in *bad, and asked for no more. */
typedef gram_status judge_fn(void *arg, size_t from, size_t n, size_t *bad, gram_err *err);

static gram_status each(judge_fn *judge, void *arg, size_t n, char **fault, gram_err *err)
{
    size_t from = 0;

    while (from < n) {
        gram_err why = { 0 };
        size_t bad, all;
        gram_status rc = judge(arg, from, n, &bad, &why);
        if (!rc)
            return GRAM_OK;
        if (bad >= n || !own_fault(rc))
            return gr_fail(err, rc, "%s", why.text);
        fault[bad] = gr_strdup(why.text);
        if (!fault[bad])
            return gr_nomem(err, "rewards");
        rc = bad > from ? judge(arg, from, bad, &all, err) : GRAM_OK;
        if (rc)
            return rc;
        from = bad + 1;
    }
    return GRAM_OK;
}

struct pairs { gram_model *m; gram_reasoner *r; gram_pair *pair; gram_verdict *out; };

/* The votes of each pair as its verdict. */
static gram_status reason_pairs(void *arg, size_t from, size_t n, size_t *bad, gram_err *err)
{
    struct pairs *p = arg;
    gram_reasoned *v = gr_calloc(n, sizeof *v);
    gram_status rc = v ? gram_reason(p->r, p->pair + from, n, v, bad, err) : gr_nomem(err, "rewards");

    if (!v)
        *bad = n;
    for (size_t i = 0; i < n && !rc; i++) {
        p->out[from + i] = v[i].verdict;
        gram_reasoned_clear(&v[i]);
    }
    free(v);
    *bad += from;
    return rc;
}

static gram_status judge_pairs(void *arg, size_t from, size_t n, size_t *bad, gram_err *err)
{
    struct pairs *p = arg;
    gram_status rc = gr_api_score(p->m, p->pair + from, n - from, p->out + from, bad, err);

    *bad += from;
    return rc;
}

static gram_status compare_here(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, char **fault,
                                gram_err *err)
{
    const struct judging *w = arg;
    const gram_group *g = w->g;
    struct pairs p = { w->j->m, w->j->reasoner, gr_calloc(n, sizeof *p.pair), out };
    gram_status rc = p.pair ? GRAM_OK : gr_nomem(err, "rewards");

    for (size_t k = 0; k < n && !rc; k++)
        p.pair[k] = (gram_pair){ g->prompt, g->response[pair[k][0]],
                                 pair[k][1] < g->n ? g->response[pair[k][1]] : g->reference };
    if (!rc)
        rc = each(p.r ? reason_pairs : judge_pairs, &p, n, fault, err);
    free(p.pair);
    return rc;
}

struct reads { gram_model *m; const gram_group *g; const char **answer; gram_reward *out; };

static gram_status read_answers(void *arg, size_t from, size_t n, size_t *bad, gram_err *err)
{
    struct reads *r = arg;
    gram_status rc;

    pthread_mutex_lock(&r->m->lock);
    rc = gr_score_answers(&r->m->scorer, r->g->prompt, r->answer + from, n - from, r->out + from, bad, err);
    pthread_mutex_unlock(&r->m->lock);
    *bad += from;
    return rc;
}

static gram_status rewards_here(gram_judge *j, const gram_group *g, const size_t *index, size_t n, gram_reward *out,
                                char **fault, gram_err *err)
{
    struct reads r = { j->m, g, gr_calloc(n, sizeof *r.answer), out };
    gram_status rc = r.answer ? GRAM_OK : gr_nomem(err, "rewards");

    for (size_t k = 0; k < n && !rc; k++)
        r.answer[k] = g->response[index[k]];
    if (!rc)
        rc = each(read_answers, &r, n, fault, err);
    free(r.answer);
    return rc;
}

/* ---- By a reward head ---------------------------------------------------------------------------- */

static bool take_read(gram_judged_group *out, size_t i, const gram_reward *r, const char *fault)
{
    if (fault)
        return gr_judged_group_fail(out, i, fault);
    if (r->dropped)
        return gr_judged_group_fail(out, i, "it does not fit and was dropped");
    if (!isfinite(r->mean) || !isfinite(r->sigma))
        return gr_judged_group_fail(out, i, "the judge gave a number that is none");
    out->head[i] = *r;
    out->cost.passes++;
    out->cost.tokens += r->tokens;
    out->cost.truncated += r->truncated;
    return true;
}

/* mean - lambda u over those that have not failed; copies are among them, as in gram_rank(). */
static gram_status penalise(const gram_judge *j, gram_judged_group *out, const size_t *first, gram_err *err)
{
    size_t n = 0, *at = gr_calloc(out->n, sizeof *at);
    gram_reward *live = gr_calloc(out->n, sizeof *live);
    double *score = gr_calloc(out->n, sizeof *score), *u = gr_calloc(out->n, sizeof *u);
    gram_status rc = at && live && score && u ? GRAM_OK : gr_nomem(err, "rewards");

    for (size_t i = 0; i < out->n && !rc; i++)
        if (!out->error[i]) {
            at[n] = i;
            live[n++] = out->head[i];
        }
    if (!rc)
        rc = gr_reward_scores(live, n, j->lambda, j->spread, score, u, err);
    for (size_t k = 0; k < n && !rc; k++) {
        bool copy = first[at[k]] != at[k];              /* sums in another order: equal texts have equal bits */
        out->reward[at[k]] = copy ? out->reward[first[at[k]]] : score[k];
        if (out->overlap)
            out->overlap[at[k]] = copy ? out->overlap[first[at[k]]] : u[k];
    }
    free(at);
    free(live);
    free(score);
    free(u);
    return rc;
}

static gram_status by_head(gram_judge *j, const gram_group *g, const size_t *first, const size_t *index, size_t n,
                           gram_judged_group *out, gram_err *err)
{
    gram_reward *read = gr_calloc(n, sizeof *read);
    char **fault = gr_calloc(n, sizeof *fault);
    gram_status rc = GRAM_OK;

    out->head = gr_calloc(g->n, sizeof *out->head);
    out->overlap = j->spread ? gr_calloc(g->n, sizeof *out->overlap) : NULL;
    if (!read || !fault || !out->head || (j->spread && !out->overlap))
        rc = gr_nomem(err, "rewards");
    if (!rc)
        rc = j->url ? gr_judge_server_rewards(j, g, index, n, read, fault, err)
                    : rewards_here(j, g, index, n, read, fault, err);
    for (size_t k = 0; k < n && !rc; k++)
        if (!take_read(out, index[k], &read[k], fault[k]))
            rc = gr_nomem(err, "rewards");
    for (size_t i = 0; i < g->n && !rc; i++) {
        size_t f = first[i];
        if (out->error[f] && !gr_judged_group_fail(out, i, out->error[f]))
            rc = gr_nomem(err, "rewards");
        out->head[i] = out->head[f];
    }
    if (!rc)
        rc = penalise(j, out, first, err);
    for (size_t k = 0; fault && k < n; k++)
        free(fault[k]);
    free(fault);
    free(read);
    return rc;
}

static gram_status by_program(gram_judge *j, const gram_group *g, const size_t *first, const size_t *index, size_t n,
                              gram_judged_group *out, gram_err *err)
{
    gram_status rc = gr_judge_program_rewards(j, g, index, n, out, err);

    for (size_t i = 0; i < g->n && !rc; i++) {
        out->reward[i] = out->reward[first[i]];
        if (out->error[first[i]] && !gr_judged_group_fail(out, i, out->error[first[i]]))
            rc = gr_nomem(err, "rewards");
    }
    return rc;
}

/* ---- A group ------------------------------------------------------------------------------------- */

static gram_status check_group(const gram_judge *j, const gram_group *g, gram_err *err)
{
    if (g->n == 0 || g->n > GR_RANK_MOST)
        return gr_fail(err, GRAM_EARG, "a group of %zu responses: wanted 1 to %d", g->n, GR_RANK_MOST);
    if (g->prompt.n == 0)
        return gr_fail(err, GRAM_EARG, "a group's prompt has no turns");
    if (gram_judge_needs_reference(j) && !g->reference)
        return gr_fail(err, GRAM_EARG, "scheme reference: wanted a reference answer, found none");
    if (g->n < 2 && !gram_judge_across_prompts(j) && !gram_judge_needs_reference(j))
        return gr_fail(err, GRAM_EARG, "one response, and a judge that compares: there is nothing to compare it with; "
                       "wanted two, or a reference");
    return gr_api_responses(g->response, g->n, err);
}

static gram_status judge_numbers(gram_judge *j, const gram_group *g, gram_judged_group *out, gram_err *err)
{
    size_t *first = gr_calloc(g->n, sizeof *first), *index = gr_calloc(g->n, sizeof *index), n = 0;
    gram_status rc = first && index ? GRAM_OK : gr_nomem(err, "rewards");

    if (!rc)
        gr_first_equal(g->response, g->n, first);
    for (size_t i = 0; i < g->n && !rc; i++)
        if (first[i] == i)
            index[n++] = i;
    if (!rc)
        rc = j->program ? by_program(j, g, first, index, n, out, err) : by_head(j, g, first, index, n, out, err);
    free(first);
    free(index);
    return rc;
}

static gram_status judge_compared(gram_judge *j, const gram_group *g, gram_judged_group *out, gram_err *err)
{
    struct judging w = { j, g };
    const gr_scheme s = { j->scheme, j->unit, j->url ? gr_judge_server_compare : compare_here, &w, g->response, g->n };

    return gr_scheme_run(&s, out, err);
}

gram_status gram_judge_group(gram_judge *j, const gram_group *g, gram_judged_group *out, gram_err *err)
{
    double start = gr_now();
    uint64_t before;
    gram_status rc;

    *out = (gram_judged_group){ 0 };
    rc = check_group(j, g, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&j->lock);
    if (j->m) {                             /* what a group costs does not depend on the groups before it */
        pthread_mutex_lock(&j->m->lock);
        gr_kv_forget(j->m->scorer.cache);
        pthread_mutex_unlock(&j->m->lock);
    }
    before = j->m ? gram_get_usage(j->m).tokens_computed : 0;
    rc = gr_judged_group_init(out, g->n, !gram_judge_across_prompts(j), err);
    if (!rc)
        rc = gram_judge_across_prompts(j) ? judge_numbers(j, g, out, err) : judge_compared(j, g, out, err);
    if (!rc) {
        out->cost.tokens_computed = j->m ? (size_t)(gram_get_usage(j->m).tokens_computed - before) : out->cost.tokens;
        out->cost.seconds = gr_now() - start;
    } else
        gram_judged_group_clear(out);
    pthread_mutex_unlock(&j->lock);
    return rc;
}
