/* rank.c - see rank.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "reward/loss.h"
#include "reward/rank.h"
#include "reward/score.h"

struct ranker {
    size_t n;
    gram_compare_fn *compare;
    void *arg;
    double *p;                  /* [n*n], NAN: not compared; before the judge's temperature, which orders nothing */
    size_t (*pair)[2];          /* [n*n] the round's pairs, and what came back */
    gram_verdict *answer;
    size_t asked;
    gram_ranking *out;          /* its counts grow */
    gram_err *err;
};

/* Adds a pair to the round, unless its preference is known. */
static void ask(struct ranker *r, size_t i, size_t j)
{
    if (!isnan(r->p[i * r->n + j]))
        return;
    r->pair[r->asked][0] = i;
    r->pair[r->asked++][1] = j;
}

static gram_status answer_round(struct ranker *r)
{
    gram_status rc;

    if (r->asked == 0)
        return GRAM_OK;
    rc = r->compare(r->arg, (const size_t (*)[2])r->pair, r->asked, r->answer, r->err);
    if (rc)
        return rc;
    for (size_t k = 0; k < r->asked; k++) {
        const gram_verdict *v = &r->answer[k];
        size_t i = r->pair[k][0], j = r->pair[k][1];
        if (v->dropped)
            return gr_fail(r->err, GRAM_ELIMIT, "responses %zu and %zu do not fit together and were dropped", i, j);
        if (j < r->n) {
            r->p[i * r->n + j] = gr_verdict_at(v, 1);
            r->p[j * r->n + i] = 1 - r->p[i * r->n + j];
            r->out->preference[i * r->n + j] = v->preference;
            r->out->preference[j * r->n + i] = 1 - v->preference;
        } else {
            r->out->score[i] = gr_verdict_at(v, 1);     /* against the reference */
        }
        r->out->truncated |= v->truncated;
        r->out->tokens += v->tokens;
        r->out->passes += isnan(v->p_forward) || isnan(v->p_swapped) ? 1 : 2;
    }
    r->out->comparisons += r->asked;
    r->asked = 0;
    return GRAM_OK;
}

/* Keep the best so far; then the same on the rest. A tie keeps the incumbent. */
static gram_status linear(struct ranker *r, size_t *order)
{
    for (size_t first = 0; first + 1 < r->n; first++) {
        for (size_t k = first + 1; k < r->n; k++) {
            gram_status rc;
            ask(r, order[first], order[k]);
            rc = answer_round(r);
            if (rc)
                return rc;
            if (r->p[order[first] * r->n + order[k]] < 0.5) {   /* the loser waits for its own round */
                size_t best = order[k];
                order[k] = order[first];
                order[first] = best;
            }
        }
    }
    return GRAM_OK;
}

/* A merge of order[lo, mid) and order[mid, hi) that waits for the comparison of its two heads. */
struct merge { size_t lo, mid, hi, a, b, out; };

static gram_status merge_level(struct ranker *r, const size_t *from, size_t *to, struct merge *m, size_t n_merges)
{
    size_t busy;

    do {
        gram_status rc;
        busy = 0;
        for (size_t k = 0; k < n_merges; k++)
            if (m[k].a < m[k].mid && m[k].b < m[k].hi) {
                ask(r, from[m[k].a], from[m[k].b]);
                busy++;
            }
        rc = answer_round(r);
        if (rc)
            return rc;
        for (size_t k = 0; k < n_merges; k++)
            if (m[k].a < m[k].mid && m[k].b < m[k].hi) {
                bool keep = r->p[from[m[k].a] * r->n + from[m[k].b]] >= 0.5;
                to[m[k].out++] = from[keep ? m[k].a++ : m[k].b++];
            }
    } while (busy);
    for (size_t k = 0; k < n_merges; k++) {
        while (m[k].a < m[k].mid)
            to[m[k].out++] = from[m[k].a++];
        while (m[k].b < m[k].hi)
            to[m[k].out++] = from[m[k].b++];
    }
    return GRAM_OK;
}

/* A bottom-up merge sort whose merges of one level go on side by side, one comparison each a round. */
static gram_status tournament(struct ranker *r, size_t *order)
{
    size_t n = r->n, *to = gr_calloc(n, sizeof *to);
    struct merge *m = gr_calloc(n, sizeof *m);
    gram_status rc = to && m ? GRAM_OK : gr_nomem(r->err, "ranking");

    for (size_t width = 1; width < n && !rc; width *= 2) {
        size_t merges = 0;
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = gr_min(lo + width, n), hi = gr_min(lo + 2 * width, n);
            m[merges++] = (struct merge){ lo, mid, hi, lo, mid, lo };
        }
        rc = merge_level(r, order, to, m, merges);
        memcpy(order, to, n * sizeof *to);
    }
    free(to);
    free(m);
    return rc;
}

/* Solves H d = g for symmetric positive definite H[n,n]; g becomes d, H its Cholesky factor. */
static void solve(double *H, double *g, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double s = H[i * n + j];
            for (size_t k = 0; k < j; k++)
                s -= H[i * n + k] * H[j * n + k];
            H[i * n + j] = i == j ? sqrt(s) : s / H[j * n + j];
        }
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < i; k++)
            g[i] -= H[i * n + k] * g[k];
        g[i] /= H[i * n + i];
    }
    for (size_t i = n; i-- > 0; ) {
        for (size_t k = i + 1; k < n; k++)
            g[i] -= H[k * n + i] * g[k];
        g[i] /= H[i * n + i];
    }
}

/* The objective of rank.h. */
static double likelihood(const double *p, const double *b, size_t n)
{
    double L = 0;

    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n; j++)
            if (i != j && !isnan(p[i * n + j]))         /* log s(d) = -log1p(exp(-d)), from its safe side */
                L -= p[i * n + j] * (b[i] > b[j] ? log1p(exp(b[j] - b[i])) : b[j] - b[i] + log1p(exp(b[i] - b[j])));
        L -= GR_BT_PRIOR / 2 * b[i] * b[i];
    }
    return L;
}

gram_status gr_bradley_terry(const double *p, size_t n, double *b, gram_err *err)
{
    double *H = gr_calloc(n * n, sizeof *H), *g = gr_calloc(n, sizeof *g), *next = gr_calloc(n, sizeof *next);
    gram_status rc = H && g && next ? GRAM_OK : gr_nomem(err, "Bradley-Terry fit");

    memset(b, 0, n * sizeof *b);
    for (int step = 0; step < 100 && !rc; step++) {
        double top = 0, t = 1;
        memset(H, 0, n * n * sizeof *H);
        for (size_t i = 0; i < n; i++) {
            g[i] = -GR_BT_PRIOR * b[i];
            H[i * n + i] += GR_BT_PRIOR;
            for (size_t j = 0; j < n; j++) {
                double s;
                if (i == j || isnan(p[i * n + j]))
                    continue;
                s = 1 / (1 + exp(b[j] - b[i]));
                g[i] += p[i * n + j] - s;
                H[i * n + i] += s * (1 - s);
                H[i * n + j] -= s * (1 - s);
            }
        }
        solve(H, g, n);
        for (; t > 1e-6; t /= 2) {                      /* concave: a short enough Newton step climbs */
            for (size_t i = 0; i < n; i++)
                next[i] = b[i] + t * g[i];
            if (likelihood(p, next, n) >= likelihood(p, b, n))
                break;
        }
        for (size_t i = 0; i < n; i++) {
            top = fmax(top, fabs(t * g[i]));
            b[i] = next[i];
        }
        if (top < 1e-12)
            break;
    }
    free(H);
    free(g);
    free(next);
    return rc;
}

/* i beats j beats k beats i, each strictly, among what was compared. */
static bool has_cycle(const double *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            if (isnan(p[i * n + j]))
                continue;
            for (size_t k = i + 1; k < n; k++)
                if ((p[i * n + j] > 0.5 && p[j * n + k] > 0.5 && p[k * n + i] > 0.5))
                    return true;
        }
    return false;
}

/* Best first; equal scores keep the order of the input. */
static void order_by_score(size_t *order, const double *score, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        size_t x = order[i], j = i;
        for (; j > 0 && score[order[j - 1]] < score[x]; j--)
            order[j] = order[j - 1];
        order[j] = x;
    }
}

static void win_rates(const double *p, size_t n, double *score)
{
    for (size_t i = 0; i < n; i++) {
        double won = 0, made = 0;
        for (size_t j = 0; j < n; j++)
            if (j != i && !isnan(p[i * n + j])) {
                won += p[i * n + j] > 0.5 ? 1 : p[i * n + j] < 0.5 ? 0 : 0.5;
                made++;
            }
        score[i] = made > 0 ? won / made : 0.5;
    }
}

static gram_status all_pairs(struct ranker *r, gram_ranking *out)
{
    gram_status rc;

    for (size_t i = 0; i < r->n; i++)
        for (size_t j = i + 1; j < r->n; j++)
            ask(r, i, j);
    rc = answer_round(r);
    if (!rc)
        rc = gr_bradley_terry(r->p, r->n, out->score, r->err);
    if (!rc)
        order_by_score(out->order, out->score, r->n);
    return rc;
}

static gram_status reference(struct ranker *r, gram_ranking *out)
{
    gram_status rc;

    for (size_t i = 0; i < r->n; i++) {
        r->pair[i][0] = i;
        r->pair[i][1] = r->n;
    }
    r->asked = r->n;
    rc = answer_round(r);
    if (!rc)
        order_by_score(out->order, out->score, r->n);
    return rc;
}

gram_status gr_rank(gram_compare_fn *compare, void *arg, size_t n, gram_rank_method method,
                    gram_ranking *out, gram_err *err)
{
    struct ranker r = { .n = n, .compare = compare, .arg = arg, .out = out, .err = err };
    size_t cells = n * n;
    gram_status rc = GRAM_OK;

    *out = (gram_ranking){ 0 };
    if (n == 0 || n > GR_RANK_MOST)
        return gr_fail(err, GRAM_EARG, "ranking: wanted 1 to %d responses, found %zu", GR_RANK_MOST, n);
    out->order = gr_calloc(n, sizeof *out->order);
    out->score = gr_calloc(n, sizeof *out->score);
    out->preference = gr_calloc(cells, sizeof *out->preference);
    r.p = gr_calloc(cells, sizeof *r.p);
    r.pair = gr_calloc(cells, sizeof *r.pair);
    r.answer = gr_calloc(cells, sizeof *r.answer);
    if (!out->order || !out->score || !out->preference || !r.p || !r.pair || !r.answer) {
        rc = gr_nomem(err, "ranking");
        goto out;
    }
    for (size_t k = 0; k < cells; k++)
        r.p[k] = out->preference[k] = k % (n + 1) ? NAN : 0.5;          /* the diagonal */
    for (size_t i = 0; i < n; i++)
        out->order[i] = i;
    switch (method) {
    case GRAM_RANK_LINEAR:      rc = linear(&r, out->order); break;
    case GRAM_RANK_TOURNAMENT:  rc = tournament(&r, out->order); break;
    case GRAM_RANK_ALL_PAIRS:   rc = all_pairs(&r, out); break;
    case GRAM_RANK_REFERENCE:   rc = reference(&r, out); break;
    default:                    rc = gr_fail(err, GRAM_EARG, "ranking: %d is not a method", (int)method); break;
    }
    if (rc)
        goto out;
    if (method == GRAM_RANK_LINEAR || method == GRAM_RANK_TOURNAMENT)
        win_rates(r.p, n, out->score);
    out->intransitive = has_cycle(r.p, n);
    out->tokens_computed = out->tokens;
out:
    free(r.p);
    free(r.pair);
    free(r.answer);
    if (rc)
        gram_ranking_clear(out);
    return rc;
}

void gram_ranking_join(gram_ranking *r, const char *const *response, size_t n)
{
    for (size_t k = 0, same; k < n; k += same) {    /* order[k, k + same) gets all that say the same as its first */
        const char *text = response[r->order[k]];
        double sum = 0;
        same = 0;
        for (size_t i = k; i < n; i++) {
            size_t x = r->order[i], at = k + same;
            if (strcmp(response[x], text))
                continue;
            memmove(&r->order[at + 1], &r->order[at], (i - at) * sizeof *r->order);
            for (; at > k && r->order[at - 1] > x; at--)
                r->order[at] = r->order[at - 1];
            r->order[at] = x;
            sum += r->score[x];
            same++;
        }
        for (size_t i = k; same > 1 && i < k + same; i++)
            r->score[r->order[i]] = sum / (double)same;
    }
}

static double preference_of(const gram_reward *a, const gram_reward *b, bool spread, double temperature)
{
    double by = temperature > 0 ? temperature : 1, d = (a->mean - b->mean) / by;

    return spread ? gr_purm_preference(d, hypot(a->sigma, b->sigma) / by) : 1 / (1 + exp(-d));
}

gram_status gr_reward_scores(const gram_reward *reward, size_t n, double lambda, bool spread, double *score,
                             double *u, gram_err *err)
{
    double *mean, *sigma;
    bool ok;

    for (size_t i = 0; i < n; i++)
        score[i] = reward[i].mean;
    if (!spread)
        return GRAM_OK;
    mean = gr_calloc(n, sizeof *mean);
    sigma = gr_calloc(n, sizeof *sigma);
    ok = mean && sigma;
    for (size_t i = 0; ok && i < n; i++) {
        mean[i] = reward[i].mean;
        sigma[i] = reward[i].sigma;
    }
    if (ok)
        gr_overlap(mean, sigma, n, u);
    for (size_t i = 0; ok && i < n; i++)
        score[i] -= isnan(u[i]) ? 0 : lambda * u[i];
    free(mean);
    free(sigma);
    return ok ? GRAM_OK : gr_nomem(err, "ranking");
}

/* What reading one answer cost. */
static gram_status count_read(const gram_reward *r, size_t i, gram_ranking *out, gram_err *err)
{
    if (r->dropped)
        return gr_fail(err, GRAM_ELIMIT, "response %zu does not fit and was dropped", i);
    out->truncated |= r->truncated;
    out->tokens += r->tokens;
    out->passes++;
    return GRAM_OK;
}

gram_status gr_rank_rewards(const gram_reward *reward, size_t n, const gram_reward *reference, double lambda,
                            bool spread, double temperature, gram_ranking *out, gram_err *err)
{
    gram_status rc = GRAM_OK;

    *out = (gram_ranking){ 0 };
    if (n == 0 || n > GR_RANK_MOST)
        return gr_fail(err, GRAM_EARG, "ranking: wanted 1 to %d responses, found %zu", GR_RANK_MOST, n);
    for (size_t i = 0; i < n && !rc; i++)
        rc = count_read(&reward[i], i, out, err);
    if (!rc && reference)
        rc = count_read(reference, n, out, err);
    if (rc)
        return rc;
    out->tokens_computed = out->tokens;
    out->order = gr_calloc(n, sizeof *out->order);
    out->score = gr_calloc(n, sizeof *out->score);
    out->reward = gr_calloc(n, sizeof *out->reward);
    out->overlap = spread ? gr_calloc(n, sizeof *out->overlap) : NULL;
    out->preference = gr_calloc(n * n, sizeof *out->preference);
    if (!out->order || !out->score || !out->reward || !out->preference || (spread && !out->overlap))
        rc = gr_nomem(err, "ranking");
    for (size_t i = 0; i < n && !rc; i++) {
        out->order[i] = i;
        out->reward[i] = reward[i];
        for (size_t j = 0; j < n; j++)
            out->preference[i * n + j] = i == j ? 0.5 : preference_of(&reward[i], &reward[j], spread, temperature);
    }
    if (!rc)
        rc = gr_reward_scores(reward, n, lambda, spread, out->score, out->overlap, err);
    if (rc) {
        gram_ranking_clear(out);
        return rc;
    }
    order_by_score(out->order, out->score, n);
    for (size_t i = 0; i < n && reference; i++)
        out->score[i] = preference_of(&reward[i], reference, spread, temperature);
    return GRAM_OK;
}

void gram_ranking_clear(gram_ranking *r)
{
    free(r->order);
    free(r->score);
    free(r->preference);
    free(r->reward);
    free(r->overlap);
    *r = (gram_ranking){ 0 };
}
