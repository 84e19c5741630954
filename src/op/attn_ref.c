/* attn_ref.c - what every other attention must agree with: the textbook softmax in double, two walks over the
 * keys in place of a row of scores. Backward, the formulas of attn.h pair by pair. */
#include <math.h>
#include "op/attn_int.h"
#include "op/cap.h"

static double dot(const float *a, const float *b, size_t D)
{
    double s = 0;

    for (size_t d = 0; d < D; d++)
        s += (double)a[d] * b[d];
    return s;
}

static double score(const float *q, const float *k, const gr_attn_shape *s)
{
    return gr_capped(dot(q, k, s->D) * s->scale, s->cap);
}

/* One query of one head that sees keys first .. last; acc [D]. */
static void one_query(float *o, float *lse, const float *q, const gr_kv_span *span, size_t first, size_t last,
                      const gr_attn_shape *s, double *acc)
{
    size_t D = s->D;
    gr_kv_walk walk = { span, 0 };
    const float *k, *v;
    double top = -INFINITY, sum = 0;

    for (size_t j = 0; j <= last; j++) {
        k = gr_kv_next(&walk, &v);
        if (j >= first)
            top = fmax(top, score(q, k, s));
    }
    for (size_t d = 0; d < D; d++)
        acc[d] = 0;
    walk = (gr_kv_walk){ span, 0 };
    for (size_t j = 0; j <= last; j++) {
        k = gr_kv_next(&walk, &v);
        if (j >= first) {
            double p = exp(score(q, k, s) - top);
            sum += p;
            for (size_t d = 0; d < D; d++)
                acc[d] += p * v[d];
        }
    }
    for (size_t d = 0; d < D; d++)
        o[d] = (float)(acc[d] / sum);
    if (lse)
        *lse = (float)(top + log(sum));
}

void gr_attn_run_fwd_ref(gr_mat o, float *lse, gr_mat q, size_t nq, size_t pos0, const gr_kv_span *span,
                         const gr_attn_shape *s, void *scratch)
{
    size_t D = s->D, G = s->G;

    for (size_t t = 0; t < nq; t++) {
        size_t last = pos0 + t, first = gr_attn_first(last, s->window);
        for (size_t g = 0; g < G; g++)
            one_query(gr_f32(gr_mat_at(o, t, g * D)), lse ? lse + t * G + g : NULL, gr_f32(gr_mat_at(q, t, g * D)),
                      span, first, last, s, scratch);
    }
}

static void dq_of(float *dq, double delta, const float *dout, double lse, const float *q, const gr_kv_span *span,
                  size_t first, size_t last, const gr_attn_shape *s, double *acc)
{
    size_t D = s->D;
    gr_kv_walk walk = { span, 0 };

    for (size_t d = 0; d < D; d++)
        acc[d] = 0;
    for (size_t j = 0; j <= last; j++) {
        const float *v, *k = gr_kv_next(&walk, &v);
        double x, ds;
        if (j < first)
            continue;
        x = score(q, k, s);
        ds = exp(x - lse) * (dot(dout, v, D) - delta) * gr_cap_slope(x, s->cap);
        for (size_t d = 0; d < D; d++)
            acc[d] += ds * k[d];
    }
    for (size_t d = 0; d < D; d++)
        dq[d] = (float)(s->scale * acc[d]);
}

void gr_attn_run_dq_ref(gr_mat dq, float *delta, gr_mat dout, gr_mat o, const float *lse, gr_mat q, size_t nq,
                        size_t pos0, const gr_kv_span *span, const gr_attn_shape *s, void *scratch)
{
    size_t D = s->D, G = s->G;

    for (size_t t = 0; t < nq; t++)
        for (size_t g = 0; g < G; g++) {
            const float *dy = gr_f32(gr_mat_at(dout, t, g * D));
            double sum = dot(dy, gr_f32(gr_mat_at(o, t, g * D)), D);
            delta[t * G + g] = (float)sum;
            dq_of(gr_f32(gr_mat_at(dq, t, g * D)), sum, dy, lse[t * G + g], gr_f32(gr_mat_at(q, t, g * D)), span,
                  gr_attn_first(pos0 + t, s->window), pos0 + t, s, scratch);
        }
}

/* Adds what the queries of a run give the key at position pos. */
static void add_dkv(double *dk, double *dv, const float *k, const float *v, size_t pos, const gr_q_span *run,
                    const gr_attn_shape *s)
{
    size_t D = s->D, G = s->G;

    for (size_t i = 0; i < run->n * G; i++) {
        const float *q = run->q + i / G * run->ldq + i % G * D, *dout = run->dout + i / G * run->ldq + i % G * D;
        size_t at = run->pos0 + i / G;
        double x, p, ds;
        if (pos > at || pos < gr_attn_first(at, s->window))
            continue;
        x = score(q, k, s);
        p = exp(x - run->lse[i]);
        ds = p * (dot(dout, v, D) - run->delta[i]) * gr_cap_slope(x, s->cap);
        for (size_t d = 0; d < D; d++) {
            dk[d] += ds * q[d];
            dv[d] += p * dout[d];
        }
    }
}

void gr_attn_run_dkv_ref(gr_mat dk, gr_mat dv, gr_mat k, gr_mat v, size_t nk, size_t kpos0, const gr_q_span *run,
                         size_t n_runs, const gr_attn_shape *s, void *scratch)
{
    double *acc = scratch;
    size_t D = s->D;

    for (size_t j = 0; j < nk; j++) {
        for (size_t d = 0; d < 2 * D; d++)
            acc[d] = 0;
        for (size_t i = 0; i < n_runs; i++)
            add_dkv(acc, acc + D, gr_f32(gr_mat_at(k, j, 0)), gr_f32(gr_mat_at(v, j, 0)), kpos0 + j, run + i, s);
        for (size_t d = 0; d < D; d++) {
            gr_f32(dk)[j * dk.ld + d] = (float)(s->scale * acc[d]);
            gr_f32(dv)[j * dv.ld + d] = (float)acc[D + d];
        }
    }
}
