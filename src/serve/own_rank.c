/* own_rank.c - POST /v1/rank: a group, ranked.
 *
 * The methods are the library's (gram_rank_by), and some of them ask for comparisons one after the other. Nothing
 * waits here, so the method is played again from its start with all verdicts known so far; where it asks for one that
 * is not known it is stopped, the comparisons go through the queue like everybody's, and the play goes on after them.
 * A play costs microseconds, a comparison milliseconds or more. A model with a reward head compares nothing: its
 * rewards are read once and ranked (gram_rank_rewards). */
#include <math.h>
#include <string.h>
#include <time.h>
#include "base/err.h"
#include "base/json.h"
#include "serve/endpoints.h"
#include "serve/reward.h"

typedef struct {
    gram_prompt prompt;
    const char **response;          /* [n], then the reference */
    size_t n;
    gram_rank_method method;
    const char *method_name;
    gram_verdict *known;            /* [n*(n+1)] by i, j; j == n: the reference */
    bool *is_known;
    gram_pair *pair;                /* asked for in this play */
    size_t (*who)[2], asked, max;
    size_t (*seen)[2], n_seen;      /* every comparison, in the order they were made */
    gram_ranking ranking;
} rank_state;

static gram_status compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    rank_state *st = arg;

    st->asked = 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = pair[k][0], j = pair[k][1], at = i * (st->n + 1) + j;
        if (st->is_known[at])
            out[k] = st->known[at];
        else if (st->asked < st->max) {
            st->pair[st->asked] = (gram_pair){ st->prompt, st->response[i], st->response[j] };
            memcpy(st->who[st->asked++], pair[k], sizeof *pair);
        }
    }
    return st->asked ? gr_fail(err, GRAM_ESTOPPED, "comparisons are missing") : GRAM_OK;
}

static void clear(gr_req *r)
{
    gram_ranking_clear(&((rank_state *)r->state)->ranking);
}

static json_t *matrix_json(const rank_state *st)
{
    json_t *m = json_array();

    for (size_t i = 0; i < st->n; i++) {
        json_t *row = json_array();
        for (size_t j = 0; j < st->n; j++)
            gr_push(&row, gr_json_real(st->ranking.preference[i * st->n + j]));
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
        gr_push(&list, json_pack("{s:I, s:I, s:o}", "index", (json_int_t)g->order[k], "rank", (json_int_t)rank, "score",
                                 gr_json_real(score)));
    }
    return list;
}

static json_t *comparisons_json(const rank_state *st)
{
    json_t *list = json_array();

    for (size_t k = 0; k < st->n_seen; k++) {
        size_t i = st->seen[k][0], j = st->seen[k][1];
        json_t *v = gr_verdict_json(&st->known[i * (st->n + 1) + j]);
        json_object_set_new(v, "i", json_integer((json_int_t)i));
        json_object_set_new(v, "j", j == st->n ? json_string("reference") : json_integer((json_int_t)j));
        gr_push(&list, v);
    }
    return list;
}

/* The columns that `gram rank` writes of a reward model. */
static bool add_rewards(const rank_state *st, json_t *out)
{
    const gram_ranking *g = &st->ranking;
    json_t *mean = json_array(), *sigma = json_array(), *overlap = json_array();
    bool ok;

    for (size_t i = 0; i < st->n; i++) {
        gr_push(&mean, json_real(g->reward[i].mean));
        gr_push(&sigma, json_real(g->reward[i].sigma));
        gr_push(&overlap, gr_json_real(g->overlap ? g->overlap[i] : NAN));
    }
    ok = !json_object_set(out, "rewards", mean)
      && (!g->overlap || (!json_object_set(out, "sigma", sigma) && !json_object_set(out, "overlap", overlap)));
    json_decref(mean);
    json_decref(sigma);
    json_decref(overlap);
    return ok;
}

static int answer(gr_req *r)
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
                    "comparisons", comparisons_json(st),
                    "intransitive", g->intransitive, "truncated", g->truncated,
                    "flip_rate", st->n_seen ? (double)flips / (double)st->n_seen : 0,
                    "comparison_count", (json_int_t)g->comparisons, "passes", (json_int_t)g->passes,
                    "tokens", (json_int_t)g->tokens, "usage", gr_usage_json(r));
    if (out && g->reward && !add_rewards(st, out)) {
        json_decref(out);
        out = NULL;
    }
    return gr_answer(r, out);
}

static int play(gr_req *r)
{
    rank_state *st = r->state;
    gram_err err;
    gram_status rc;

    for (size_t k = 0; k < st->asked; k++) {            /* the verdicts that the last play stopped for */
        size_t at = st->who[k][0] * (st->n + 1) + st->who[k][1];
        st->known[at] = r->job.verdict[k];
        st->is_known[at] = true;
        memcpy(st->seen[st->n_seen++], st->who[k], sizeof *st->who);
    }
    rc = r->engine->rank(compare, st, st->n, st->method, &st->ranking, &err);
    if (rc == GRAM_ESTOPPED && st->asked > 0)
        return gr_ask(r, st->pair, st->asked, play);
    if (rc)
        return gr_refuse_err(r, &err);
    gram_ranking_join(&st->ranking, st->response, st->n);
    r->clear = clear;
    return answer(r);
}

static int rank_rewards(gr_req *r)
{
    rank_state *st = r->state;
    gram_reward *reward = gr_req_alloc(r, r->job.n, sizeof *reward);
    gram_err err;

    if (!reward)
        return r->status;
    for (size_t i = 0; i < r->job.n; i++)
        reward[i] = gr_head_read(r, &r->job.verdict[i]);
    if (gram_rank_rewards(reward, st->n, r->job.n > st->n ? &reward[st->n] : NULL, r->engine->options.lambda,
                          r->engine->spread, &st->ranking, &err))
        return gr_refuse_err(r, &err);
    r->clear = clear;
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
        pair[i] = (gram_pair){ st->prompt, st->response[i], st->response[i] };
    return gr_ask(r, pair, n, rank_rewards);
}

static int read_responses(gr_req *r, rank_state *st)
{
    json_t *list = json_object_get(r->in, "responses");
    const char *reference;
    int rc = gr_read_list(r, "responses", list, &st->n);

    if (!rc)
        rc = gr_read_string(r, "reference", r->opt->reference ? r->opt->reference : "", &reference);
    if (rc)
        return rc;
    if (st->n < 2)
        return gr_refuse(r, 422, "responses", "a ranking needs two or more responses");
    if (st->method == GRAM_RANK_REFERENCE && !reference[0])
        return gr_refuse(r, 422, "reference", "method reference needs a reference answer");
    st->response = gr_req_alloc(r, st->n + 1, sizeof *st->response);
    if (!st->response)
        return r->status;
    st->response[st->n] = reference;
    for (size_t i = 0; i < st->n && !rc; i++)
        rc = gr_read_answer(r, json_array_get(list, i), "responses", &st->response[i]);
    return rc;
}

int gr_own_rank(gr_req *r)
{
    rank_state *st = gr_req_alloc(r, 1, sizeof *st);
    gram_err err;
    int rc;

    if (!st)
        return r->status;
    r->state = st;
    rc = gr_read_string(r, "method", "all-pairs", &st->method_name);
    if (rc)
        return rc;
    if (gram_rank_method_parse(st->method_name, &st->method, &err))
        return gr_refuse(r, 422, "method", "method must be linear, tournament, all-pairs or reference");
    rc = gr_read_prompt(r, json_object_get(r->in, "prompt"), "prompt", &st->prompt);
    if (!rc)
        rc = read_responses(r, st);
    if (rc)
        return rc;
    st->max = st->method == GRAM_RANK_REFERENCE && !r->engine->rewards ? st->n : st->n * (st->n - 1) / 2;
    if (st->max > r->opt->max_pairs)        /* a head compares nothing, but the answer holds every pair's preference */
        return gr_refuse(r, 413, "responses", "%zu responses can need %zu comparisons; this server makes %zu for one "
                         "request", st->n, st->max, r->opt->max_pairs);
    if (r->engine->rewards)
        return ask_heads(r, st);
    st->known = gr_req_alloc(r, st->n * (st->n + 1), sizeof *st->known);
    st->is_known = gr_req_alloc(r, st->n * (st->n + 1), sizeof *st->is_known);
    st->pair = gr_req_alloc(r, st->max, sizeof *st->pair);
    st->who = gr_req_alloc(r, st->max, sizeof *st->who);
    st->seen = gr_req_alloc(r, st->max, sizeof *st->seen);
    if (!st->known || !st->is_known || !st->pair || !st->who || !st->seen)
        return r->status;
    return play(r);
}
