/* votes.c - see votes.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "eval/votes.h"

/* The i-th rationale of a run with k votes: the first k, and of a row that is turned and an odd k the last is the next
 * with b first (gr_reason_pairs). */
static const gram_rationale *vote(const gr_eval_row *r, size_t k, size_t i)
{
    const gram_reasoned *v = r->why;
    bool two = v->n > 1 && v->rationale[0].swapped != v->rationale[1].swapped;

    return &v->rationale[i + (two && k % 2 && k < v->n && i == k - 1 && gr_eval_turned(r))];
}

/* The preference by k rationales: their mean, or their majority. */
static double preference_at(const gr_eval_row *r, size_t k, bool hard)
{
    size_t n = gr_min(k, r->why->n);
    double sum = 0;
    long ahead = 0;

    for (size_t i = 0; i < n; i++) {
        double p = vote(r, k, i)->p;
        sum += p;
        ahead += (p > 0.5) - (p < 0.5);
    }
    if (!n)
        return 0.5;
    return hard && ahead ? ahead > 0 : sum / (double)n;
}

static double tokens_at(const gr_eval_row *r, size_t k)
{
    double sum = 0;

    for (size_t i = 0; i < gr_min(k, r->why->n); i++)
        sum += (double)vote(r, k, i)->tokens;
    return sum;
}

/* copy[n] are the rows with rationales, to be judged by k of them. */
static gram_status measure(gr_eval_row *copy, const size_t *index, size_t n, gr_eval_vote_point *out, gram_err *err)
{
    gr_eval_stats stats;
    gram_status rc = GRAM_OK;

    for (int hard = 0; hard < 2 && !rc; hard++) {
        for (size_t i = 0; i < n; i++)
            copy[i].preference = preference_at(&copy[i], out->k, hard);
        rc = gr_eval_stats_of(copy, index, n, &stats, err);
        *(hard ? &out->hard : &out->soft) = stats.accuracy;
    }
    for (size_t i = 0; i < n; i++)
        out->tokens += tokens_at(&copy[i], out->k) / (double)n;
    return rc;
}

static void count(const gr_eval_row *row, size_t n, gr_eval_votes *out, size_t *most)
{
    double first = 0, error = 0;
    uint64_t spread = 0;

    for (size_t i = 0; i < n; i++) {
        const gram_reasoned *v = row[i].why;
        out->rationales += v->n;
        out->forced += v->forced;
        out->contradicts += v->contradicts;
        out->early += v->early;
        out->tokens += v->written;
        first += v->first_seat * (double)v->n;
        error += v->n > 1 ? v->error : 0;
        spread += v->n > 1;
        *most = gr_max(*most, v->n);
    }
    out->first_seat = out->rationales ? first / (double)out->rationales : NAN;
    out->error = spread ? error / (double)spread : NAN;
}

gram_status gr_eval_votes_of(const gr_eval_row *row, size_t n, gr_eval_votes *out, gram_err *err)
{
    gr_eval_row *copy = gr_calloc(n, sizeof *copy);
    size_t *index = gr_calloc(n, sizeof *index), m = 0, most = 0;
    gram_status rc = copy && index ? GRAM_OK : gr_nomem(err, "evaluation results");

    *out = (gr_eval_votes){ 0 };
    for (size_t i = 0; i < n && !rc; i++)
        if (row[i].why && !row[i].dropped) {
            index[m] = m;
            copy[m++] = row[i];
        }
    if (!rc)
        count(copy, m, out, &most);
    out->rows = m;
    for (size_t k = 1; !rc && most && out->points < GR_EVAL_VOTE_POINTS; k = gr_min(2 * k, most)) {
        out->point[out->points].k = k;
        rc = measure(copy, index, m, &out->point[out->points++], err);
        if (k == most)
            break;
    }
    free(copy);
    free(index);
    return rc;
}

double gr_eval_vote_seconds(const gr_eval_votes *v, size_t k, double pairs_per_s)
{
    double all = v->point[v->points - 1].tokens;

    return (all > 0 ? v->point[k].tokens / all : 1) / pairs_per_s;
}
