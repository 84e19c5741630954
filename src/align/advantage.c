/* advantage.c - see advantage.h. */
#include <math.h>
#include "align/advantage.h"

#define GRPO_EPS   1e-4         /* TRL's */
#define WHITEN_EPS 1e-8

/* The mean of the rewards that are known, their sum of squares about it, and whether they are all the same. */
struct group { double mean, squares; size_t n; bool equal; };

static struct group look(const double *r, const bool *known, size_t n)
{
    struct group g = { .equal = true };
    double first = NAN;

    for (size_t i = 0; i < n; i++)
        if (known[i]) {
            g.equal = g.equal && (g.n == 0 || r[i] == first);
            first = g.n++ ? first : r[i];
            g.mean += r[i];
        }
    g.mean /= g.n ? (double)g.n : 1;
    for (size_t i = 0; i < n; i++)
        if (known[i])
            g.squares += (r[i] - g.mean) * (r[i] - g.mean);
    return g;
}

static double of_one(gr_advantage method, const struct group *g, double r, double baseline, double floor)
{
    bool among = g->n >= 2 && !g->equal;
    double sd;

    switch (method) {
    case GR_REINFORCE: case GR_REMAX:
        return r - baseline;
    case GR_RLOO:
        return among ? (double)g->n / ((double)g->n - 1) * (r - g->mean) : 0;
    case GR_GRPO:
        sd = among ? sqrt(g->squares / ((double)g->n - 1)) : 0;
        return among ? (r - g->mean) / (fmax(sd, floor) + GRPO_EPS) : 0;
    case GR_DR_GRPO:
        return among ? r - g->mean : 0;
    default:
        return 0;
    }
}

bool gr_advantage_group(gr_advantage method, const double *reward, const bool *known, size_t n, double baseline,
                        double floor, double *out)
{
    const struct group g = look(reward, known, n);
    size_t best = n;
    bool any = false;

    for (size_t i = 0; i < n; i++) {
        if (known[i] && (best == n || reward[i] > reward[best]))
            best = i;
        out[i] = known[i] ? of_one(method, &g, reward[i], baseline, floor) : 0;
        any = any || out[i] != 0;
    }
    if (method == GR_RAFT && best < n)
        out[best] = 1;
    return any || (method == GR_RAFT && best < n);
}

void gr_advantage_gae(const double *reward, const double *value, size_t n, double gamma, double lambda, double *out,
                      double *returns)
{
    double next = 0, after = 0;         /* A and V of the token behind */

    for (size_t t = n; t-- > 0; ) {
        out[t] = reward[t] + gamma * after - value[t] + gamma * lambda * next;
        next = out[t];
        after = value[t];
        if (returns)
            returns[t] = out[t] + value[t];
    }
}

void gr_advantage_whiten(double *x, size_t n)
{
    double mean = 0, var = 0, scale;

    if (n < 2)
        return;
    for (size_t i = 0; i < n; i++)
        mean += x[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        var += (x[i] - mean) * (x[i] - mean) / ((double)n - 1);
    scale = 1 / sqrt(var + WHITEN_EPS);
    for (size_t i = 0; i < n; i++)
        x[i] = (x[i] - mean) * scale;
}

double gr_beta_adapted(double beta, double kl, double target, double n, double horizon)
{
    return beta * (1 + fmin(fmax(kl / target - 1, -0.2), 0.2) * n / horizon);
}
