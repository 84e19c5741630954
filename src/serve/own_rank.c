/* own_rank.c - POST /v1/rank: a group, ranked; with "rationale": true by verdicts behind reasons (rationales.h), and
 * with "criteria" by these.
 *
 * The methods are the library's (gram_rank_by), and some of them ask for comparisons one after the other. Nothing
 * waits here, so the method is played again from its start with all verdicts known so far; where it asks for one that
 * is not known it is stopped, the comparisons go through the queue like everybody's, and the play goes on after them.
 * A play costs microseconds, a comparison milliseconds or more. A model with a reward head compares nothing: its
 * rewards are read once and ranked (gram_rank_rewards).
 *
 * With reasons the same play is made by the worker, between two rounds of texts (more): the request is one job, whose
 * pairs grow behind one another.
 *
 * A response that cannot be judged is named in a refusal or, with "partial": true, under "errors", and the others are
 * ranked. The comparisons that are known stay so. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/endpoints.h"
#include "serve/rationales.h"
#include "serve/reward.h"

typedef struct {
    gram_prompt prompt;
    const char **response, **extra, **key;  /* [n], then the reference; key: all that it says, as one text */
    size_t *index;                  /* [n] in the request */
    size_t n, given;                /* ranked; in the request */
    const char **why;               /* [given] at fault, or NULL */
    bool partial;
    gram_rank_method method;
    const char *method_name;
    gram_verdict *known;            /* [n*(n+1)] by i, j; j == n: the reference */
    bool *is_known;
    gram_pair *pair;                /* asked for in this play */
    size_t (*who)[2], asked, max;
    size_t (*seen)[2], n_seen;      /* every comparison, in the order they were made */
    gram_ranking ranking;
    gr_rationales *reasons;         /* NULL: none are written */
    size_t *place;                  /* as known: which pair of reasons it is */
    size_t (*called)[2];            /* [pairs of reasons] who it compares, in the request; SIZE_MAX: the reference */
    bool failed;                    /* too few are left to rank */
} rank_state;

static gram_pair pair_of(const rank_state *st, size_t i, size_t j)
{
    gram_pair pair = { .prompt = st->prompt, .a = st->response[i], .b = st->response[j], .extra_a = st->extra[i],
                       .extra_b = st->extra[j] };

    pair.turned = j < st->n && gram_pair_draw(&pair);       /* as gram_rank() */
    return pair;
}

static gram_status compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    rank_state *st = arg;
    bool missing = false;

    st->asked = 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = pair[k][0], j = pair[k][1], at = i * (st->n + 1) + j;
        if (st->is_known[at]) {
            out[k] = st->known[at];
            continue;
        }
        missing = true;
        if (st->asked < st->max) {
            st->pair[st->asked] = pair_of(st, i, j);
            memcpy(st->who[st->asked++], pair[k], sizeof *pair);
        }
    }
    return missing ? gr_fail(err, GRAM_ESTOPPED, "comparisons are missing") : GRAM_OK;
}

static void clear(gr_req *r)
{
    rank_state *st = r->state;

    gram_ranking_clear(&st->ranking);
    gr_rationales_clear(st->reasons);
}

static json_t *matrix_json(const rank_state *st)
{
    json_t *m = json_array();

    for (size_t i = 0, x = 0; i < st->given; i++) {         /* null for those that are not ranked */
        json_t *row = json_array();
        for (size_t j = 0, y = 0; j < st->given; j++) {
            bool both = !st->why[i] && !st->why[j];
            gr_push(&row, gr_json_real(both ? st->ranking.preference[x * st->n + y] : NAN));
            y += !st->why[j];
        }
        x += !st->why[i];
        gr_push(&m, row);
    }
    return m;
}

static json_t *results_json(const rank_state *st)
{
    const gram_ranking *g = &st->ranking;
    json_t *list = json_array();

    for (size_t k = 0, rank = 1; k < st->n; k++) {
        double score = g->score[g->order[k]];
        if (k > 0 && (score != g->score[g->order[k - 1]] || g->preference[g->order[k - 1] * st->n + g->order[k]] > 0.5))
            rank = k + 1;                   /* those that tie share a rank */
        gr_push(&list, json_pack("{s:I, s:I, s:o}", "index", (json_int_t)st->index[g->order[k]], "rank",
                                 (json_int_t)rank, "score", gr_json_real(score)));
    }
    return list;
}

static json_t *comparisons_json(gr_req *r, const rank_state *st)
{
    json_t *list = json_array();

    for (size_t k = 0; k < st->n_seen; k++) {
        size_t i = st->seen[k][0], j = st->seen[k][1];
        size_t at = i * (st->n + 1) + j;
        json_t *v = st->reasons ? gr_rationales_json(r, st->reasons, st->place[at]) : gr_verdict_json(&st->known[at]);
        json_object_set_new(v, "i", json_integer((json_int_t)st->index[i]));
        json_object_set_new(v, "j", j == st->n ? json_string("reference") : json_integer((json_int_t)st->index[j]));
        gr_push(&list, v);
    }
    return list;
}

/* The columns that `gram rank` writes of a reward model or a judge of one answer. scale: it gives numbers of one. */
static bool add_rewards(const rank_state *st, bool scale, json_t *out)
{
    const gram_ranking *g = &st->ranking;
    json_t *mean = json_array(), *mass = json_array(), *sigma = json_array(), *overlap = json_array();
    bool ok;

    for (size_t i = 0, x = 0; i < st->given; i++) {
        bool ranked = !st->why[i];
        gr_push(&mean, gr_json_real(ranked ? g->reward[x].mean : NAN));
        gr_push(&mass, gr_json_real(ranked ? g->reward[x].mass : NAN));
        gr_push(&sigma, gr_json_real(ranked ? g->reward[x].sigma : NAN));
        gr_push(&overlap, gr_json_real(ranked && g->overlap ? g->overlap[x] : NAN));
        x += ranked;
    }
    ok = !json_object_set(out, "rewards", mean) && (!scale || !json_object_set(out, "mass", mass))
      && (!g->overlap || (!json_object_set(out, "sigma", sigma) && !json_object_set(out, "overlap", overlap)));
    json_decref(mean);
    json_decref(mass);
    json_decref(sigma);
    json_decref(overlap);
    return ok;
}

static bool add_errors(gr_req *r, const rank_state *st, json_t *out)
{
    json_t *errors = json_array();

    for (size_t i = 0; i < st->given; i++)
        if (st->why[i])
            gr_push(&errors, json_pack("{s:I, s:s, s:s}", "index", (json_int_t)i, "param", gr_at(r, "responses", i),
                                       "message", st->why[i]));
    return !json_object_set_new(out, "errors", errors);
}

/* NULL: out of memory. */
static json_t *whole(gr_req *r)
{
    const rank_state *st = r->state;
    const gram_ranking *g = &st->ranking;
    size_t flips = 0;
    json_t *out;

    for (size_t k = 0; k < st->n_seen; k++) {
        const gram_verdict *v = &st->known[st->seen[k][0] * (st->n + 1) + st->seen[k][1]];
        flips += v->p_swapped == v->p_swapped && !v->consistent;
    }
    out = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:o, s:o, s:b, s:b, s:f, s:I, s:I, s:I, s:o}",
                    "id", r->id, "object", "rank", "created", (json_int_t)time(NULL),
                    "model", gr_model_name(r), "method", st->method_name,
                    "results", results_json(st), "preference", matrix_json(st),
                    "comparisons", comparisons_json(r, st),
                    "intransitive", g->intransitive, "truncated", g->truncated,
                    "flip_rate", st->n_seen ? (double)flips / (double)st->n_seen : 0,
                    "comparison_count", (json_int_t)g->comparisons, "passes", (json_int_t)g->passes,
                    "tokens", (json_int_t)g->tokens, "usage",
                    st->reasons ? gr_rationales_usage(st->reasons) : gr_usage_json(r));
    if (out && ((g->reward && !add_rewards(st, r->engine->options.scale, out)) ||
                (st->n < st->given && !add_errors(r, st, out)))) {
        json_decref(out);
        out = NULL;
    }
    return out;
}

static int answer(gr_req *r)
{
    return gr_answer(r, whole(r));
}

/* ---- Responses at fault ---- */

/* Response i of the request cannot be judged: the sentence names it. */
static int set_fault(gr_req *r, rank_state *st, size_t i, const char *why)
{
    st->why[i] = gr_req_strndup(r, why, strlen(why));
    return st->why[i] ? 0 : r->status;
}

/* The same of what was refused just now, which it takes back. */
static int take_refusal(gr_req *r, rank_state *st, size_t i)
{
    if (set_fault(r, st, i, r->why))
        return r->status;
    r->status = 0;
    r->why[0] = r->param[0] = '\0';
    return 0;
}

/* Whether those that can be judged may be ranked. */
static bool may_go_on(const rank_state *st)
{
    size_t left = 0;

    for (size_t i = 0; i < st->given; i++)
        left += !st->why[i];
    return left == st->given || (st->partial && left >= 2);
}

static int refuse_faults(gr_req *r, rank_state *st)
{
    if (may_go_on(st))
        return 0;
    for (size_t i = 0; i < st->given; i++)
        if (st->why[i])
            gr_fault_add(r, "responses", i, gr_at(r, "responses", i), st->why[i]);
    return r->status;
}

/* Room for what is known of the comparisons of those that are ranked. */
static bool make_known(gr_req *r, rank_state *st)
{
    size_t all = st->n * (st->n + 1);

    st->known = gr_req_alloc(r, all, sizeof *st->known);
    st->is_known = gr_req_alloc(r, all, sizeof *st->is_known);
    st->place = gr_req_alloc(r, all, sizeof *st->place);
    return st->known && st->is_known && st->place;
}

/* Takes those at fault out of the ranked ones, and keeps what is known of the others. */
static int leave_out(gr_req *r, rank_state *st)
{
    size_t n = 0, m = st->n, *to = gr_req_alloc(r, m + 1, sizeof *to), seen = 0;
    gram_verdict *known = st->known;
    bool *is_known = st->is_known;
    size_t *place = st->place;

    if (!to)
        return r->status;
    for (size_t i = 0; i <= m; i++) {
        to[i] = i == m || !st->why[st->index[i]] ? n : SIZE_MAX;
        if (to[i] == SIZE_MAX)
            continue;
        st->response[n] = st->response[i];
        st->extra[n] = st->extra[i];
        st->key[n] = st->key[i];
        st->index[n] = i < m ? st->index[i] : 0;
        n++;
    }
    st->n = --n;                            /* the reference is no response */
    if (!known)
        return 0;
    if (!make_known(r, st))
        return r->status;
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j <= m; j++)
            if (to[i] != SIZE_MAX && to[j] != SIZE_MAX) {
                st->known[to[i] * (n + 1) + to[j]] = known[i * (m + 1) + j];
                st->is_known[to[i] * (n + 1) + to[j]] = is_known[i * (m + 1) + j];
                st->place[to[i] * (n + 1) + to[j]] = place[i * (m + 1) + j];
            }
    for (size_t k = 0; k < st->n_seen; k++) {
        size_t i = to[st->seen[k][0]], j = to[st->seen[k][1]];
        if (i == SIZE_MAX || j == SIZE_MAX)
            continue;
        st->seen[seen][0] = i;
        st->seen[seen++][1] = j;
    }
    st->n_seen = seen;
    return 0;
}

/* The longer response of a comparison that failed is to blame, unless one is out already. */
static int read_fault(gr_req *r, rank_state *st, size_t i, size_t j, const char *why)
{
    size_t x = j < st->n && strlen(st->key[j]) >= strlen(st->key[i]) ? j : i;
    char text[sizeof r->why];

    if (st->why[st->index[i]] || (j < st->n && st->why[st->index[j]]))
        return 0;
    snprintf(text, sizeof text, "%s: %s", gr_at(r, "responses", st->index[x]), why);
    return set_fault(r, st, st->index[x], text);
}

/* ---- Comparing ---- */

/* The verdicts that the last play stopped for, which are the job's from `first` on. *good: all of them are. */
static int take_verdicts(gr_req *r, rank_state *st, size_t first, bool *good)
{
    int e = 0;

    *good = true;
    for (size_t k = 0; k < st->asked && !e; k++) {
        size_t i = st->who[k][0], j = st->who[k][1], at = i * (st->n + 1) + j;
        if (r->job.fault[first + k]) {
            e = read_fault(r, st, i, j, r->job.fault[first + k]);
            *good = false;
            continue;
        }
        st->known[at] = r->job.verdict[first + k];
        st->is_known[at] = true;
        st->place[at] = first + k;
        memcpy(st->seen[st->n_seen++], st->who[k], sizeof *st->who);
    }
    return e;
}

static int play(gr_req *r)
{
    rank_state *st = r->state;
    bool good;
    gram_err err;
    gram_status rc;
    int e = take_verdicts(r, st, 0, &good);

    if (!e && !good)
        e = refuse_faults(r, st);
    if (!e && !good)
        e = leave_out(r, st);
    if (e)
        return e;
    rc = r->engine->rank(compare, st, st->n, st->method, &st->ranking, &err);
    if (rc == GRAM_ESTOPPED && st->asked > 0)
        return gr_ask(r, st->pair, NULL, st->asked, play);
    if (rc)
        return gr_refuse_err(r, &err);
    gram_ranking_join(&st->ranking, st->key, st->n);
    return answer(r);
}

/* ---- Comparing by reasons ---- */

/* Plays on, with the pairs behind those that have been judged. */
static gram_status ask_reasons(rank_state *st, gram_err *err)
{
    gr_rationales *w = st->reasons;
    gram_pair *all = st->pair;
    gram_status rc;

    st->max = w->room - w->n;
    st->pair = all + w->n;
    rc = w->r->engine->rank(compare, st, st->n, st->method, &st->ranking, err);
    st->pair = all;
    for (size_t k = 0; k < st->asked; k++)
        for (int side = 0; side < 2; side++) {
            size_t i = st->who[k][side];
            st->called[w->n + k][side] = i < st->n ? st->index[i] : SIZE_MAX;
        }
    if (rc == GRAM_ESTOPPED && st->asked > 0) {
        w->n += st->asked;
        return GRAM_OK;
    }
    if (rc)
        return rc;
    gram_ranking_join(&st->ranking, st->key, st->n);
    st->ranking.passes = w->rationales;
    return GRAM_OK;
}

static gram_status more(gr_req *r, gram_err *err)
{
    rank_state *st = r->state;
    bool good;
    int e = take_verdicts(r, st, st->reasons->n - st->asked, &good);

    st->failed = !e && !good && !may_go_on(st);
    if (!e && !good && !st->failed)
        e = leave_out(r, st);
    if (e)
        return gr_nomem(err, "a ranking");
    if (!st->failed)
        return ask_reasons(st, err);
    for (size_t i = 0; i < st->given && st->reasons->stream; i++)
        if (st->why[i])
            return gr_fail(err, GRAM_EARG, "%s", st->why[i]);
    return GRAM_OK;                         /* and it is refused where the other requests are */
}

static int reasoned(gr_req *r)
{
    rank_state *st = r->state;

    return st->failed ? refuse_faults(r, st) : answer(r);
}

/* All pairs that may be asked for stand in their places first, as what the job may have to read. */
static int play_reasons(gr_req *r, rank_state *st)
{
    gr_rationales *w = st->reasons;
    gram_err err;
    size_t k = 0;

    st->called = gr_req_alloc(r, st->max, sizeof *st->called);
    if (!st->called)
        return r->status;
    for (size_t i = 0; i < st->n && k < st->max; i++)
        for (size_t j = st->method == GRAM_RANK_REFERENCE ? st->n : i + 1; j <= st->n && k < st->max; j++)
            st->pair[k++] = pair_of(st, i, j);
    w->room = st->max;
    w->pair = st->pair;
    w->called = (const size_t (*)[2])st->called;
    w->whole = whole;
    w->more = more;
    if (ask_reasons(st, &err))
        return gr_refuse_err(r, &err);
    return gr_rationales_ask(r, w, reasoned);
}

static int rank_rewards(gr_req *r)
{
    rank_state *st = r->state;
    gram_reward *reward = gr_req_alloc(r, r->job.n, sizeof *reward);
    gram_err err;
    size_t n = 0, all = st->n;
    int rc = 0;

    if (!reward)
        return r->status;
    for (size_t i = 0; i < r->job.n && !rc; i++)
        if (!r->job.fault[i])
            reward[n++] = gr_head_read(r, &r->job.verdict[i]);
        else
            rc = i < all ? read_fault(r, st, i, all, r->job.fault[i])
                         : gr_refuse(r, 422, "reference", "reference: %s", r->job.fault[i]);
    if (!rc)
        rc = refuse_faults(r, st);
    if (!rc)
        rc = leave_out(r, st);
    if (rc)
        return rc;
    if (gram_rank_rewards(reward, st->n, n > st->n ? &reward[st->n] : NULL, r->engine->options.lambda,
                          r->engine->spread, r->engine->temperature, &st->ranking, &err))
        return gr_refuse_err(r, &err);
    return answer(r);
}

/* Every response once, and the reference where each is to be measured against it. */
static int ask_heads(gr_req *r, rank_state *st)
{
    size_t n = st->n + (st->method == GRAM_RANK_REFERENCE);
    gram_pair *pair = gr_req_alloc(r, n, sizeof *pair);

    if (!pair)
        return r->status;
    for (size_t i = 0; i < n; i++)
        pair[i] = pair_of(st, i, i);
    return gr_ask(r, pair, NULL, n, rank_rewards);
}

/* ---- Reading ---- */

/* Text and calls as one text, so that two responses are equal where all of both is. */
static const char *key_of(gr_req *r, const char *response, const char *extra)
{
    gr_buf b = { 0 };
    char *key = NULL;

    if (!extra)
        return response;
    if (gr_buf_printf(&b, "%s\x1f%s", response, extra))
        key = gr_req_strndup(r, b.p, b.n);
    else
        gr_nomem_req(r);
    gr_buf_clear(&b);
    return key;
}

static int read_responses(gr_req *r, rank_state *st)
{
    json_t *list = json_object_get(r->in, "responses");
    const char *reference;
    int rc = gr_read_list(r, "responses", list, &st->given);
    size_t most = rc ? 0 : st->given + 1;

    if (!rc)
        rc = gr_read_string(r, "reference", r->opt->reference ? r->opt->reference : "", &reference);
    if (!rc)
        rc = gr_read_bool(r, "partial", false, &st->partial);
    if (rc)
        return rc;
    if (st->given < 2)
        return gr_refuse(r, 422, "responses", "a ranking needs two or more responses");
    if (st->method == GRAM_RANK_REFERENCE && !reference[0])
        return gr_refuse(r, 422, "reference", "method reference needs a reference answer");
    st->response = gr_req_alloc(r, most, sizeof *st->response);
    st->extra = gr_req_alloc(r, most, sizeof *st->extra);
    st->key = gr_req_alloc(r, most, sizeof *st->key);
    st->index = gr_req_alloc(r, most, sizeof *st->index);
    st->why = gr_req_alloc(r, most, sizeof *st->why);
    if (!st->response || !st->extra || !st->key || !st->index || !st->why)
        return r->status;
    for (size_t i = 0; i < st->given; i++) {
        size_t n = st->n;
        rc = gr_read_answer(r, json_array_get(list, i), gr_at(r, "responses", i), &st->response[n], &st->extra[n]);
        if (rc && (rc != 422 || take_refusal(r, st, i)))
            return r->status;
        if (rc)
            continue;
        st->key[n] = key_of(r, st->response[n], st->extra[n]);
        if (!st->key[n])
            return r->status;
        st->index[n] = i;
        st->n++;
    }
    st->response[st->n] = st->key[st->n] = reference;
    st->extra[st->n] = NULL;
    return refuse_faults(r, st);
}

int gr_own_rank(gr_req *r)
{
    rank_state *st = gr_req_alloc(r, 1, sizeof *st);
    json_t *reference = gr_field(r, (const char *[]){ "reference", NULL });
    gram_err err;
    int rc;

    if (!st)
        return r->status;
    r->state = st;
    rc = gr_refuse_unread(r, GR_READS_RANK);
    if (!rc)
        rc = gr_rationales_read(r, &st->reasons);
    r->clear = clear;
    if (!rc)
        rc = gr_read_string(r, "method", reference ? "reference" : "all-pairs", &st->method_name);
    if (rc)
        return rc;
    if (gram_rank_method_parse(st->method_name, &st->method, &err))
        return gr_refuse(r, 422, "method", "method must be linear, tournament, all-pairs or reference");
    rc = gr_read_prompt(r, json_object_get(r->in, "prompt"), "prompt", &st->prompt);
    if (!rc)
        rc = gr_read_criteria(r, &st->prompt.criteria);
    if (!rc)
        rc = read_responses(r, st);
    if (rc)
        return rc;
    st->max = st->method == GRAM_RANK_REFERENCE && !r->engine->rewards ? st->n : st->n * (st->n - 1) / 2;
    if (st->max > r->opt->max_pairs)        /* a head compares nothing, but the answer holds every pair's preference */
        return gr_refuse(r, 413, "responses", "%zu responses can need %zu comparisons; this server makes %zu for one "
                         "request", st->n, st->max, r->opt->max_pairs);
    if (r->engine->rewards && !st->reasons)
        return ask_heads(r, st);
    st->pair = gr_req_alloc(r, st->max, sizeof *st->pair);
    st->who = gr_req_alloc(r, st->max, sizeof *st->who);
    st->seen = gr_req_alloc(r, st->max, sizeof *st->seen);
    if (!make_known(r, st) || !st->pair || !st->who || !st->seen)
        return r->status;
    return st->reasons ? play_reasons(r, st) : play(r);
}
