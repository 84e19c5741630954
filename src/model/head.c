/* head.c - see head.h. */
#include <math.h>
#include <stdlib.h>
#include "base/random.h"
#include "model/head.h"

enum { IN = GR_HEAD_IN, IN_BIAS = GR_HEAD_IN_BIAS, OUT = GR_HEAD_OUT, OUT_BIAS = GR_HEAD_OUT_BIAS };

gr_head gr_head_of(const gr_config *c)
{
    return (gr_head){ c->head.rows, c->width, c->head.hidden, c->head.tanh, { NULL } };
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
    const float *b1 = h->part[IN_BIAS], *b2 = h->part[OUT_BIAS];

    for (size_t k = 0; k < n; k++)
        y[k] = (b2 ? b2[k] : 0) + (H ? 0 : gr_dot(h->part[OUT] + k * C, x, C));
    for (size_t k = 0; k < n && !H && h->tanh; k++)
        y[k] = tanh(y[k]);
    for (size_t j = 0; j < H; j++) {
        double z = gr_dot(h->part[IN] + j * C, x, C) + (b1 ? b1[j] : 0);
        float unit = h->tanh ? (float)tanh(z) : (on ? on[j] : z > 0) ? (float)z : 0;
        if (a)
            a[j] = unit;
        for (size_t k = 0; k < n; k++)
            y[k] += (double)h->part[OUT][k * H + j] * unit;
    }
}

/* ---- A gate ---------------------------------------------------------------------------------------- */

static size_t widest(const gr_gate_form *f)
{
    size_t n = 0;

    for (size_t l = 1; l <= f->layers; l++)
        n = gr_max(n, f->size[l]);
    return n;
}

size_t gr_gate_scratch(const gr_gate *g)
{
    return 2 * widest(&g->form);
}

/* torch's constants of SELU. */
static double selu(double z)
{
    return 1.0507009873554804934193349852946 * (z > 0 ? z : 1.6732632423543772848170429916717 * expm1(z));
}

static void softmax(double *z, size_t n, double temperature)
{
    double most = z[0], sum = 0;

    for (size_t i = 1; i < n; i++)
        most = fmax(most, z[i]);
    for (size_t i = 0; i < n; i++)
        sum += z[i] = exp((z[i] - most) / temperature);
    for (size_t i = 0; i < n; i++)
        z[i] /= sum;
}

/* The weights; they lie in one half of the scratch. */
static double *weights(const gr_gate *g, const float *x, double *scratch)
{
    const gr_gate_form *f = &g->form;
    double *in = scratch, *out = scratch + widest(f), *swap;

    for (size_t l = 0; l < f->layers; l++, swap = in, in = out, out = swap)
        for (size_t j = 0; j < f->size[l + 1]; j++) {
            const float *w = g->w[l] + j * f->size[l];
            double z = g->b[l] ? g->b[l][j] : 0;
            if (l == 0)
                z += gr_dot(w, x, f->size[0]);
            for (size_t i = 0; l > 0 && i < f->size[l]; i++)
                z += w[i] * in[i];
            out[j] = l + 1 == f->layers ? z : f->kind == GR_GATE_ANSWER ? selu(z) : fmax(z, 0);
        }
    if (f->kind == GR_GATE_PROMPT)
        softmax(in, f->size[f->layers], f->temperature);
    return in;
}

double gr_gate_reward(const gr_gate *g, const float *x, const double *y, double *scratch)
{
    size_t n = g->form.size[g->form.layers];
    const double *weight = weights(g, x, scratch);
    double reward = 0;

    for (size_t k = 0; k < n; k++) {
        double r = g->form.kind == GR_GATE_ANSWER ? y[2 * k] : g->matrix ? 0 : y[k];
        for (size_t j = 0; g->matrix && j < n; j++)
            r += y[j] * g->matrix[j * n + k];
        reward += weight[k] * (g->scale ? (double)*g->scale : 1) * r;
    }
    return reward;
}

void gr_gate_clear(gr_gate *g)
{
    for (size_t l = 0; l < GR_GATE_LAYERS; l++) {
        free(g->w[l]);
        free(g->b[l]);
    }
    free(g->scale);
    free(g->matrix);
    *g = (gr_gate){ 0 };
}

/* ---- Training -------------------------------------------------------------------------------------- */

static void add_times(float *y, double s, const float *x, size_t n)
{
    for (size_t i = 0; y && i < n; i++)
        y[i] += (float)(s * x[i]);
}

void gr_head_bwd(const gr_head *h, const gr_head *g, float *dx, const float *a, const float *x, const double *dy)
{
    size_t C = h->width, H = h->hidden;

    for (size_t k = 0; k < h->outputs; k++) {
        add_times(g->part[OUT_BIAS] ? g->part[OUT_BIAS] + k : NULL, dy[k], &(float){ 1 }, 1);
        if (H) {
            add_times(g->part[OUT] ? g->part[OUT] + k * H : NULL, dy[k], a, H);
        } else {
            add_times(dx, dy[k], h->part[OUT] + k * C, C);
            add_times(g->part[OUT] ? g->part[OUT] + k * C : NULL, dy[k], x, C);
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
    size_t C = h->width, H = h->hidden, n = h->outputs;
    const size_t many[GR_HEAD_PARTS] = { [IN] = H * C, [IN_BIAS] = H, [OUT] = n * H, [OUT_BIAS] = n };

    for (size_t i = 0; !H && i < n * C; i++)
        h->part[OUT][i] = (float)(std * gr_random_normal(&seed));
    for (size_t k = 0; H && k < GR_HEAD_PARTS; k++)
        for (size_t i = 0; i < many[k]; i++)
            h->part[k][i] = (float)((2 * gr_random_unit(&seed) - 1) / sqrt((double)(k < OUT ? C : H)));
}
