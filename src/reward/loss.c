/* loss.c - see loss.h. Neither tail overflows: exp() is only taken of what is not positive. */
#include <math.h>
#include <stddef.h>
#include "base/mem.h"
#include "reward/loss.h"

double gr_loss_target(double soft, double smoothing)
{
    return soft * (1 - smoothing) + (1 - soft) * smoothing;
}

double gr_loss_pair(double d, double target, double *dd)
{
    double e = exp(-fabs(d)), s = d >= 0 ? 1 / (1 + e) : e / (1 + e);

    *dd = s - target;
    return log1p(e) + (d < 0 ? -d : 0) + (1 - target) * d;
}

double gr_loss_orders(const double d[2], double target, double order_weight, double dd[2])
{
    double L = gr_loss_pair(d[0], target, &dd[0]) + gr_loss_pair(d[1], target, &dd[1]), apart = (d[0] - d[1]) / 2;

    dd[0] += 2 * order_weight * apart;
    dd[1] -= 2 * order_weight * apart;
    return L + 2 * order_weight * apart * apart;
}

/* The positive half of the 32 roots of He_32, and their weights under the normal distribution, which sum to a half. */
static const struct { double x, weight; } node[] = {
    { 0.27554641923027579, 0.21170556988047931 },   { 0.82728490377976516, 0.15653899375759844 },
    { 1.3809801992721442, 0.085344808272080755 },   { 1.9380049059257174, 0.034109847726092053 },
    { 2.4998404151873954, 0.0099034617023205911 },  { 3.0681351690131211, 0.0020620510513078847 },
    { 3.644781249880833, 0.00030255702581706247 },  { 4.2320211099954097, 3.0559803060896302e-05 },
    { 4.8326046132444889, 2.0596221039534287e-06 }, { 5.4500332736234283, 8.8812907131058956e-08 },
    { 6.0889643090769869, 2.3125184120742405e-09 }, { 6.7559308305407049, 3.3475012398012072e-11 },
    { 7.4607557541215188, 2.3780648557778086e-13 }, { 8.2197287653822446, 6.7552902236701189e-16 },
    { 9.0643992107024065, 5.2084495919608613e-19 }, { 10.077422674229465, 4.1246074890182694e-23 },
};

double gr_purm_sigma(double h)
{
    return exp(h / 10);
}

/* log P and its slopes. The largest term is taken out of the sum, so that a hopeless pair has a finite loss. */
static double log_preference(double m, double v, double *dm, double *dv)
{
    double term[2 * GR_COUNT(node)], slope[2 * GR_COUNT(node)], top = -INFINITY, sum = 0;

    *dm = *dv = 0;
    for (size_t k = 0; k < GR_COUNT(term); k++) {
        double x = k % 2 ? -node[k / 2].x : node[k / 2].x;
        term[k] = log(node[k / 2].weight) - gr_loss_pair(m + v * x, 1, &slope[k]);
        top = fmax(top, term[k]);
    }
    for (size_t k = 0; k < GR_COUNT(term); k++) {
        double share = exp(term[k] - top), x = k % 2 ? -node[k / 2].x : node[k / 2].x;
        sum += share;
        *dm -= share * slope[k];
        *dv -= share * slope[k] * x;
    }
    *dm /= sum;
    *dv /= sum;
    return top + log(sum);
}

double gr_purm_preference(double m, double v)
{
    double dm, dv;

    return exp(log_preference(m, v, &dm, &dv));
}

double gr_loss_purm(double m, double v, double q, double *dm, double *dv)
{
    double won[2], lost[2], L = -q * log_preference(m, v, &won[0], &won[1]);

    L -= (1 - q) * log_preference(-m, v, &lost[0], &lost[1]);       /* 1 - P: x and -x are as likely */
    *dm = -q * won[0] + (1 - q) * lost[0];
    *dv = -q * won[1] - (1 - q) * lost[1];
    return L;
}
