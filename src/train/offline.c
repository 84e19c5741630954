/* offline.c - see offline.h. */
#include <math.h>
#include "reward/loss.h"
#include "train/offline.h"

/* -log s(d), smoothed, and its slope. */
static double sigmoid_loss(double d, double smoothing, double *slope)
{
    return gr_loss_pair(d, gr_loss_target(1, smoothing), slope);
}

/* x - log(1 - e^x) for x < 0, and its slope 1 / (1 - e^x). An answer that is certain has no odds: the last double below
 * 0 takes its place. */
static double log_odds(double x, double *slope)
{
    x = fmin(x, -1e-300);
    *slope = -1 / expm1(x);
    return x - (x > -0.6931471805599453 ? log(-expm1(x)) : log1p(-exp(x)));
}

static double orpo(double beta, double w, double l, double slope[2])
{
    double dw, dl, dd, L = sigmoid_loss(log_odds(w, &dw) - log_odds(l, &dl), 0, &dd);

    slope[0] = -1 + beta * dd * dw;
    slope[1] = -beta * dd * dl;
    return -w + beta * L;
}

double gr_loss_offline(gram_loss kind, double beta, double gamma, double smoothing, const gr_whole_answer *w,
                       const gr_whole_answer *l, double slope[2])
{
    double nw = (double)w->n, nl = (double)l->n, uw = w->logp - w->ref, ul = l->logp - l->ref, L, d, dd;

    switch (kind) {
    case GRAM_LOSS_IPO:
        d = uw / nw - ul / nl - 1 / (2 * beta);
        slope[0] = 2 * d / nw;
        slope[1] = -2 * d / nl;
        return d * d;
    case GRAM_LOSS_SIMPO:
        L = sigmoid_loss(beta * (w->logp / nw - l->logp / nl) - gamma, 0, &dd);
        slope[0] = beta * dd / nw;
        slope[1] = -beta * dd / nl;
        return L;
    case GRAM_LOSS_ORPO:
        L = orpo(beta, w->logp / nw, l->logp / nl, slope);
        slope[0] /= nw;
        slope[1] /= nl;
        return L;
    default:
        L = sigmoid_loss(beta * (uw - ul), smoothing, &dd);
        slope[0] = beta * dd;
        slope[1] = -beta * dd;
        return L;
    }
}

double gr_loss_kto(double beta, double z, bool good, const gr_whole_answer *a, double *slope)
{
    double x = beta * (a->logp - a->ref - z) * (good ? 1 : -1), s = 1 / (1 + exp(-x));

    *slope = -(good ? 1 : -1) * beta * s * (1 - s);
    return 1 - s;
}
