/* score.c - pairs and groups, and what the model sees of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/api_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "data/rows.h"
#include "reward/rank.h"
#include "reward/rendered.h"

void gram_set_turns(gram_model *m, const gram_turns *turns)
{
    m->turns = turns ? *turns : (gram_turns){ 0 };
}

void gr_api_lock(gram_model *m)
{
    if (!gr_device_is_beside(m->device))
        pthread_mutex_lock(&m->lock);
}

void gr_api_unlock(gram_model *m)
{
    if (!gr_device_is_beside(m->device))
        pthread_mutex_unlock(&m->lock);
}

void gr_api_begin_scoring(gram_model *m)
{
    const gram_turns *t = &m->turns;

    pthread_mutex_lock(&m->lock);
    if (t->due)
        gr_device_set_turns(m->device, &(gr_turns){ t->due, t->soon, t->turn, t->arg, t->beside });
}

void gr_api_end_scoring(gram_model *m)
{
    gr_device_set_turns(m->device, NULL);
    pthread_mutex_unlock(&m->lock);
}

gram_status gr_api_score(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    *bad = n;
    if (rc)
        return rc;
    gr_api_begin_scoring(m);
    rc = gr_score_pairs(&m->scorer, pair, n, out, bad, err);
    gr_api_end_scoring(m);
    return rc;
}

gram_status gram_score(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, gram_err *err)
{
    gram_err why = { 0 };
    size_t bad;
    gram_status rc = gr_api_score(m, pair, n, out, &bad, &why);

    return !rc ? GRAM_OK : bad < n ? gr_fail(err, rc, "pair %zu: %s", bad, why.text) : gr_fail(err, rc, "%s", why.text);
}

gram_status gram_score_each(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad,
                            gram_err *err)
{
    return gr_api_score(m, pair, n, out, bad, err);
}

static bool is_reward_model(const gram_model *m)
{
    return gr_model_config(m->model)->reward != GR_REWARD_NONE || m->judge.pointwise;
}

gram_status gram_rewards(gram_model *m, gram_prompt prompt, const char *const *answer, size_t n, gram_reward *out,
                         gram_err *err)
{
    gram_err why = { 0 };
    size_t bad = n;
    gram_status rc = gr_api_ready(m, &why);

    if (!rc && !is_reward_model(m))
        rc = gr_fail(&why, GRAM_EUNSUPPORTED, "%s: a judge, which compares two answers: only a reward model gives one "
                     "a number", m->name);
    gr_api_begin_scoring(m);
    if (!rc)
        rc = gr_score_answers(&m->scorer, prompt, answer, n, out, &bad, &why);
    gr_api_end_scoring(m);
    if (!rc)
        return GRAM_OK;
    return bad < n ? gr_fail(err, rc, "answer %zu: %s", bad, why.text) : gr_fail(err, rc, "%s", why.text);
}

gram_status gram_text_rewards(gram_model *m, const gram_text *text, size_t n, gram_reward *out, size_t *bad,
                              gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    *bad = n;
    if (!rc && m->judge.pointwise)
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a judge of one answer, which reads a question and the answer apart: "
                                             "only "
                     "a reward model reads a text as it stands", m->name);
    if (!rc && !is_reward_model(m))
        rc = gr_fail(err, GRAM_EUNSUPPORTED, "%s: a judge, which compares two answers: only a reward model gives a "
                     "text a number", m->name);
    if (rc)
        return rc;
    gr_api_begin_scoring(m);
    rc = gr_score_texts(&m->scorer, text, n, out, bad, err);
    gr_api_end_scoring(m);
    return rc;
}

gram_status gram_read_chat(const gram_model *m, const char *text, size_t bytes, gram_message **turn, size_t *n,
                           gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);

    return rc ? rc : gr_rendered_turns(&m->judge.chat, (gr_str){ text, bytes }, turn, n, err);
}

void gram_overlap(const double *mean, const double *sigma, size_t n, double *u)
{
    gr_overlap(mean, sigma, n, u);
}

static uint64_t answer_digest(uint64_t h, const char *text, const char *extra)
{
    h = gr_digest_text(h, text);
    return extra ? gr_digest_text(h, extra) : h;
}

bool gram_pair_draw(const gram_pair *pair)
{
    uint64_t question = gr_prompt_digest(pair->prompt), a = answer_digest(question, pair->a, pair->extra_a),
             b = answer_digest(question, pair->b, pair->extra_b), both[2] = { gr_min(a, b), gr_max(a, b) };

    return (a > b) ^ (gr_digest(question, both, sizeof both) >> 32 & 1);
}

gram_status gr_api_responses(const char *const *response, size_t n, gram_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!response[i])
            return gr_fail(err, GRAM_EARG, "response %zu: wanted a text, found NULL", i);
    return GRAM_OK;
}

/* Against the reference each response has the same seat, so none is favoured by it. */
void gr_api_compared(gram_pair *out, gram_prompt prompt, const char *const *response, size_t n, const char *reference,
                     const size_t (*pair)[2], size_t pairs)
{
    for (size_t k = 0; k < pairs; k++) {
        size_t i = pair[k][0], j = pair[k][1];
        out[k] = (gram_pair){ prompt, response[i], j < n ? response[j] : reference };
        out[k].turned = j < n && gram_pair_draw(&out[k]);
    }
}

/* A group under judgement: gram_compare_fn over gram_score(). */
struct group {
    gram_model *m;
    gram_prompt prompt;
    const char *const *response;
    size_t n;
    const char *reference;
};

static gram_status compare(void *arg, const size_t (*pair)[2], size_t n, gram_verdict *out, gram_err *err)
{
    const struct group *g = arg;
    gram_pair *p = gr_calloc(n, sizeof *p);
    gram_err why = { 0 };
    size_t bad = n;
    gram_status rc;

    if (!p)
        return gr_nomem(err, "ranking");
    gr_api_compared(p, g->prompt, g->response, g->n, g->reference, pair, n);
    rc = gr_api_score(g->m, p, n, out, &bad, &why);
    if (rc && bad < n && pair[bad][1] < g->n)
        rc = gr_fail(err, rc, "responses %zu and %zu: %s", pair[bad][0], pair[bad][1], why.text);
    else if (rc)
        rc = gr_fail(err, rc, "%s", why.text);
    free(p);
    return rc;
}

/* A group by a reward model: one sequence for each response, and no comparison. */
static gram_status rank_rewards(const struct group *g, bool by_reference, gram_ranking *out, gram_err *err)
{
    gram_model *m = g->m;
    size_t n = g->n, all = n + by_reference;
    uint64_t before = gram_get_usage(m).tokens_computed;
    const char **answer = gr_calloc(all, sizeof *answer);
    gram_reward *reward = gr_calloc(all, sizeof *reward);
    gram_status rc = answer && reward ? GRAM_OK : gr_nomem(err, "ranking");

    for (size_t i = 0; i < all && !rc; i++)
        answer[i] = i < n ? g->response[i] : g->reference;
    if (!rc)
        rc = gram_rewards(m, g->prompt, answer, all, reward, err);
    if (!rc)
        rc = gr_rank_rewards(reward, n, by_reference ? &reward[n] : NULL, m->lambda,
                             gr_model_config(m->model)->reward == GR_REWARD_PURM, m->temperature, out, err);
    if (!rc)
        out->tokens_computed = (size_t)(gram_get_usage(m).tokens_computed - before);
    free(answer);
    free(reward);
    return rc;
}

gram_status gram_rank(gram_model *m, gram_prompt prompt, const char *const *response, size_t n,
                      gram_rank_method method, const char *reference, gram_ranking *out, gram_err *err)
{
    struct group g = { m, prompt, response, n, reference };
    uint64_t before = gram_get_usage(m).tokens_computed;
    gram_status rc;

    *out = (gram_ranking){ 0 };
    if (method == GRAM_RANK_REFERENCE && !reference)
        return gr_fail(err, GRAM_EARG, "ranking by reference: wanted a reference answer, found none");
    rc = gr_api_responses(response, n, err);
    if (rc)
        return rc;
    if (is_reward_model(m))
        return rank_rewards(&g, method == GRAM_RANK_REFERENCE, out, err);
    rc = gr_rank(compare, &g, n, method, out, err);
    if (!rc)
        gram_ranking_join(out, response, n);
    if (!rc)
        out->tokens_computed = (size_t)(gram_get_usage(m).tokens_computed - before);
    return rc;
}

gram_status gram_rank_by(gram_compare_fn *fn, void *arg, size_t n, gram_rank_method method,
                         gram_ranking *out, gram_err *err)
{
    return gr_rank(fn, arg, n, method, out, err);
}

gram_status gram_rank_rewards(const gram_reward *reward, size_t n, const gram_reward *reference, double lambda,
                              bool spread, double temperature, gram_ranking *out, gram_err *err)
{
    return gr_rank_rewards(reward, n, reference, lambda, spread, temperature, out, err);
}

gram_status gram_reward_scores(const gram_reward *reward, size_t n, double lambda, bool spread, double *score,
                               double *u, gram_err *err)
{
    return gr_reward_scores(reward, n, lambda, spread, score, u, err);
}

gram_status gram_rank_method_parse(const char *name, gram_rank_method *out, gram_err *err)
{
    static const char *const names[] = {
        [GRAM_RANK_LINEAR] = "linear", [GRAM_RANK_TOURNAMENT] = "tournament",
        [GRAM_RANK_ALL_PAIRS] = "all-pairs", [GRAM_RANK_REFERENCE] = "reference"
    };

    for (size_t i = 0; i < GR_COUNT(names); i++)
        if (!strcmp(name, names[i])) {
            *out = (gram_rank_method)i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EARG, "method \"%s\": wanted linear, tournament, all-pairs or reference", name);
}

gram_status gram_show_prompt(gram_model *m, const gram_pair *pair, bool swapped, char **out, gram_err *err)
{
    gr_buf text = { 0 };
    gram_status rc = gr_api_ready(m, err);

    *out = NULL;
    if (!rc)
        rc = gr_judge_show(&m->judge, pair, swapped, &text, err);
    if (!rc && !text.p && !gr_buf_add(&text, "", 0))
        rc = gr_nomem(err, "prompt");
    if (rc)
        gr_buf_clear(&text);
    *out = text.p;
    return rc;
}

gram_status gram_show_chat(gram_model *m, gram_prompt prompt, char **out, gram_err *err)
{
    gr_chat_text text = { 0 };
    gram_status rc = gr_api_ready(m, err);

    *out = NULL;
    if (!rc)
        rc = gr_chat_render(&m->judge.chat, prompt.turn, prompt.n, prompt.tools, &text, err);
    if (!rc) {
        *out = text.text.p;                 /* the caller's from here on */
        text.text = (gr_buf){ 0 };
    }
    gr_chat_text_clear(&text);
    return rc;
}

gram_status gram_show_tokens(gram_model *m, const gram_pair *pair, bool swapped,
                             int32_t **out, size_t *n, gram_err *err)
{
    gr_judged j = { 0 };
    gram_status rc = gr_api_ready(m, err);

    *out = NULL;
    *n = 0;
    if (!rc)
        rc = gr_judge_pair(&m->judge, pair, false, &j, err);
    if (!rc && j.dropped)
        rc = gr_fail(err, GRAM_ELIMIT, "the pair takes more than %zu tokens", m->judge.max_tokens);
    if (!rc) {
        gr_ids *ids = &j.order[swapped];
        *out = ids->p;                      /* the caller's from here on */
        *n = ids->n;
        *ids = (gr_ids){ 0 };
    }
    gr_judged_clear(&j);
    return rc;
}

/* One sequence of T tokens as a forest, its length checked against the context. */
static gram_status forest_of(const gram_model *m, const gr_seq *seq, gr_forest *f, gram_err *err)
{
    const gr_config *c = gr_model_config(m->model);

    if (seq->n == 0 || seq->n > c->context)
        return gr_fail(err, GRAM_ELIMIT, "tokens: wanted 1 to %zu, which is the model's context, found %zu", c->context,
                       seq->n);
    return gr_forest_init(f, seq, 1, c->far.after, NULL, GR_SAVE_SHARED, err);
}

gram_status gram_logits(gram_model *m, const int32_t *token, size_t T, float *out, gram_err *err)
{
    gr_seq seq = { token, T };
    size_t *want = gr_calloc(T, sizeof *want);
    gr_forest f = { 0 };
    gram_status rc = want ? forest_of(m, &seq, &f, err) : gr_nomem(err, "logits");

    for (size_t i = 0; i < T && !rc; i++)
        want[i] = i;
    gr_api_begin_scoring(m);
    if (!rc)
        rc = gr_model_logits(m->scorer.work, &f, want, T, out, err);
    gr_api_end_scoring(m);
    gr_forest_clear(&f, !rc);
    free(want);
    return rc;
}

gram_status gram_logits_file(gram_model *m, const int32_t *token, size_t T, const char *path, gram_err *err)
{
    size_t V = gram_vocabulary(m), n;
    float *z = gr_mul(T, V, &n) ? gr_alloc_aligned(n, sizeof *z) : NULL;
    gram_status rc = z ? gram_logits(m, token, T, z, err) : gr_nomem(err, "logits");

    if (!rc)
        rc = gr_npy_write_f32(path, z, T, V, err);
    free(z);
    return rc;
}

double gr_api_log_sum_exp(const float *z, size_t n)
{
    double top = z[0], sum = 0;

    for (size_t i = 1; i < n; i++)
        top = fmax(top, z[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp(z[i] - top);
    return top + log(sum);
}

/* The whole vocabulary after one sequence. */
static gram_status one_full(gram_model *m, const gr_seq *seq, const int32_t *label, size_t n_labels,
                            float *z, float *out, float *log_sum, gram_err *err)
{
    gr_forest f = { 0 };
    gram_status rc = forest_of(m, seq, &f, err);

    if (!rc)
        rc = gr_model_logits(m->scorer.work, &f, f.leaf_row, 1, z, err);
    if (!rc) {
        *log_sum = (float)gr_api_log_sum_exp(z, gram_vocabulary(m));
        for (size_t j = 0; j < n_labels; j++)
            out[j] = z[label[j]];
    }
    gr_forest_clear(&f, !rc);
    return rc;
}

gram_status gram_label_logits(gram_model *m, const int32_t *const *token, const size_t *n_tokens, size_t n,
                              const int32_t *label, size_t n_labels, float *out, float *log_sum, gram_err *err)
{
    size_t V = gram_vocabulary(m), context = gr_model_config(m->model)->context;
    gr_seq *seq = gr_calloc(n, sizeof *seq);
    float *z = log_sum ? gr_alloc_aligned(V, sizeof *z) : NULL;
    gram_status rc = seq && (z || !log_sum) ? GRAM_OK : gr_nomem(err, "logits");

    for (size_t i = 0; i < n && !rc; i++) {
        seq[i] = (gr_seq){ token[i], n_tokens[i] };
        if (n_tokens[i] == 0 || n_tokens[i] > context)
            rc = gr_fail(err, GRAM_ELIMIT, "sequence %zu: wanted 1 to %zu tokens, found %zu", i, context, n_tokens[i]);
    }
    for (size_t j = 0; j < n_labels && !rc; j++)
        if (label[j] < 0 || (size_t)label[j] >= V)
            rc = gr_fail(err, GRAM_EARG, "label token %d is not in the model's vocabulary of %zu", (int)label[j], V);
    gr_api_begin_scoring(m);
    if (!rc && !log_sum)
        rc = gr_score_sequences(&m->scorer, seq, n, label, n_labels, out, err);
    for (size_t i = 0; i < n && !rc && log_sum; i++)
        rc = one_full(m, &seq[i], label, n_labels, z, out + i * n_labels, &log_sum[i], err);
    gr_api_end_scoring(m);
    free(seq);
    free(z);
    return rc;
}
