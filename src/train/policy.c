/* policy.c - see policy.h. */
#include <math.h>
#include "train/policy.h"

#define FARTHEST 20.0           /* of two log-probabilities: beyond it a ratio, and its gradient, stand still */

void gr_policy_sum_init(gr_policy_sum *s)
{
    *s = (gr_policy_sum){ .ratio_min = INFINITY, .ratio_max = -INFINITY };
}

double gr_policy_kl(gr_kl kind, double d, double *slope)
{
    double e;

    switch (kind) {
    case GR_KL_1:
        *slope = 1;
        return -d;
    case GR_KL_2:
        *slope = -d;
        return d * d / 2;
    case GR_KL_3:
        e = fmin(fmax(d, -FARTHEST), FARTHEST);
        *slope = e == d ? -expm1(d) : 0;
        return expm1(e) - e;
    default:
        *slope = 0;
        return 0;
    }
}

double gr_policy_value(double V, double old, double R, double clip, double *slope, bool *clipped)
{
    double near = clip > 0 ? fmin(fmax(V, old - clip), old + clip) : V;

    *clipped = (near - R) * (near - R) > (V - R) * (V - R);
    *slope = *clipped ? 0 : V - R;
    return *clipped ? (near - R) * (near - R) / 2 : (V - R) * (V - R) / 2;
}

static double log_ratio(const gr_policy_answer *a, size_t t)
{
    return a->old ? a->logp[t] - a->old[t] : 0;
}

/* l of one ratio, and its slope in the logarithm of the ratio. */
static double surrogate(const gr_policy_rules *r, double log_rho, double A, double *slope, gr_policy_sum *s)
{
    double x = fmin(fmax(log_rho, -FARTHEST), FARTHEST), rho = exp(x), l = -rho * A;
    bool below = r->clips && rho < 1 - r->low && A < 0, above = r->clips && rho > 1 + r->high && A > 0;

    *slope = x == log_rho ? l : 0;
    if (below || above) {
        l = -(below ? 1 - r->low : 1 + r->high) * A;
        *slope = 0;
    }
    if (r->dual > 0 && A < 0 && l > -r->dual * A) {
        l = -r->dual * A;
        *slope = 0;
    }
    s->low += below;
    s->high += above;
    return l;
}

static void note_ratio(gr_policy_sum *s, double log_rho)
{
    double rho = exp(fmin(fmax(log_rho, -FARTHEST), FARTHEST));

    s->ratios++;
    s->ratio += rho;
    s->ratio_min = fmin(s->ratio_min, rho);
    s->ratio_max = fmax(s->ratio_max, rho);
    s->old_kl += rho - 1 - log_rho;
}

/* l of token t by itself, and its slope in logp_t. */
static double of_token(const gr_policy_rules *r, const gr_policy_answer *a, size_t t, double *slope, gr_policy_sum *s)
{
    double A = a->advantage[t], log_rho = log_ratio(a, t), rho;

    if (r->ratio == GR_RATIO_NONE) {
        *slope = -A;
        return -A * a->logp[t];
    }
    note_ratio(s, log_rho);
    if (!r->cispo)
        return surrogate(r, log_rho, A, slope, s);
    rho = exp(fmin(log_rho, FARTHEST));
    s->high += rho > r->high;
    *slope = -fmin(rho, r->high) * A;
    return *slope * a->logp[t];
}

/* What each token of the answer counts in L. */
static double share_of(const gr_policy_rules *r, const gr_policy_answer *a, gr_policy_counts n)
{
    switch (r->per) {
    case GR_PER_ANSWER:
        return 1 / (n.answers * (double)a->n);
    case GR_PER_LENGTH:
        return 1 / (n.answers * r->longest);
    default:
        return 1 / n.tokens;
    }
}

/* One ratio for the answer: each token's l is the same, and each logp moves it. */
static void add_whole(const gr_policy_rules *r, const gr_policy_answer *a, double share, double *weight,
                      gr_policy_sum *sum)
{
    double log_rho = 0, slope, T = (double)a->n, A = 0;

    for (size_t t = 0; t < a->n; t++) {
        log_rho += log_ratio(a, t);
        A += a->advantage[t] / T;
    }
    if (r->ratio == GR_RATIO_MEAN)
        log_rho /= T;
    note_ratio(sum, log_rho);
    sum->loss += share * T * surrogate(r, log_rho, A, &slope, sum);
    for (size_t t = 0; t < a->n; t++)
        weight[t] = -share * T * slope / (r->ratio == GR_RATIO_MEAN ? T : 1);
}

static void add_kl(const gr_policy_rules *r, const gr_policy_answer *a, size_t from, size_t to, double share,
                   double *weight, gr_policy_sum *sum)
{
    double slope;

    for (size_t t = from; a->ref && t < to; t++) {
        double d = a->ref[t] - a->logp[t];
        sum->k1 += gr_policy_kl(GR_KL_1, d, &slope);
        sum->k3 += gr_policy_kl(GR_KL_3, d, &slope);
        sum->loss += share * r->beta * gr_policy_kl(r->kl, d, &slope);
        weight[t] -= share * r->beta * slope;
    }
}

static void add_tokens(const gr_policy_rules *r, const gr_policy_answer *a, size_t from, size_t to, double share,
                       double *weight, gr_policy_sum *sum)
{
    double slope;

    for (size_t t = from; t < to; t++) {
        sum->loss += share * of_token(r, a, t, &slope, sum);
        weight[t] = -share * slope;
    }
}

bool gr_policy_by_token(const gr_policy_rules *r)
{
    return r->ratio != GR_RATIO_MEAN && r->ratio != GR_RATIO_SUM;
}

void gr_policy_weigh(const gr_policy_rules *r, const gr_policy_answer *a, size_t from, size_t to,
                     gr_policy_counts counts, double *weight)
{
    double share = share_of(r, a, counts);
    gr_policy_sum unread;

    gr_policy_sum_init(&unread);
    add_tokens(r, a, from, to, share, weight, &unread);
    add_kl(r, a, from, to, share, weight, &unread);
}

void gr_policy_add(const gr_policy_rules *r, const gr_policy_answer *a, gr_policy_counts counts, double *weight,
                   gr_policy_sum *sum)
{
    double share = share_of(r, a, counts);

    sum->tokens += (double)a->n;
    if (gr_policy_by_token(r))
        add_tokens(r, a, 0, a->n, share, weight, sum);
    else
        add_whole(r, a, share, weight, sum);
    add_kl(r, a, 0, a->n, share, weight, sum);
}
