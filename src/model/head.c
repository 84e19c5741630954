/* head.c - see head.h. */
#include <math.h>
#include "base/random.h"
#include "model/head.h"

enum { IN, IN_BIAS, OUT, OUT_BIAS };            /* parts with a hidden layer */

gr_head gr_head_of(const gr_config *c)
{
    return (gr_head){ gr_reward_outputs(c->reward), c->width, c->head_width, { NULL } };
}

double gr_dot(const float *a, const float *b, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += (double)a[i] * b[i];
    return s;
}

void gr_head_fwd(const gr_head *h, float *a, const bool *on, const float *x, double *y)
{
    size_t C = h->width, H = h->hidden, n = h->outputs;

    for (size_t k = 0; k < n; k++)
        y[k] = H ? h->part[OUT_BIAS][k] : gr_dot(h->part[0] + k * C, x, C);
    for (size_t j = 0; j < H; j++) {
        double z = gr_dot(h->part[IN] + j * C, x, C) + h->part[IN_BIAS][j];
        float unit = (on ? on[j] : z > 0) ? (float)z : 0;
        if (a)
            a[j] = unit;
        for (size_t k = 0; k < n; k++)
            y[k] += (double)h->part[OUT][k * H + j] * unit;
    }
}

static void add_times(float *y, double s, const float *x, size_t n)
{
    for (size_t i = 0; y && i < n; i++)
        y[i] += (float)(s * x[i]);
}

void gr_head_bwd(const gr_head *h, const gr_head *g, float *dx, const float *a, const float *x, const double *dy)
{
    size_t C = h->width, H = h->hidden;

    for (size_t k = 0; k < h->outputs; k++) {
        if (H) {
            add_times(g->part[OUT] ? g->part[OUT] + k * H : NULL, dy[k], a, H);
            add_times(g->part[OUT_BIAS] ? g->part[OUT_BIAS] + k : NULL, dy[k], &(float){ 1 }, 1);
        } else {
            add_times(dx, dy[k], h->part[0] + k * C, C);
            add_times(g->part[0] ? g->part[0] + k * C : NULL, dy[k], x, C);
        }
    }
    for (size_t j = 0; j < H; j++) {
        double da = 0;
        if (!(a[j] > 0))
            continue;
        for (size_t k = 0; k < h->outputs; k++)
            da += dy[k] * h->part[OUT][k * H + j];
        add_times(dx, da, h->part[IN] + j * C, C);
        add_times(g->part[IN] ? g->part[IN] + j * C : NULL, da, x, C);
        add_times(g->part[IN_BIAS] ? g->part[IN_BIAS] + j : NULL, da, &(float){ 1 }, 1);
    }
}

void gr_head_draw(gr_head *h, double std, uint64_t seed)
{
    size_t C = h->width, H = h->hidden, n = h->outputs, many[] = { H * C, H, n * H, n };

    for (size_t i = 0; !H && i < n * C; i++)
        h->part[0][i] = (float)(std * gr_random_normal(&seed));
    for (size_t k = 0; H && k < GR_REWARD_PARTS; k++)
        for (size_t i = 0; i < many[k]; i++)
            h->part[k][i] = (float)((2 * gr_random_unit(&seed) - 1) / sqrt((double)(k < OUT ? C : H)));
}
