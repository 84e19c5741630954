/* test_attn_bwd.c - the reference against differences of a forward in double, every build against the reference, and
 * equal bits however queries, keys, spans and runs are cut. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/grad.h"
#include "op/on_gpu.h"
#include "op/op.h"

struct shape { size_t T, D, G, window; float cap; };

static const struct shape shape[] = {
    { 1, 64, 3, 0 },   { 65, 8, 1, 0 },   { 130, 16, 4, 0 }, { 150, 32, 2, 7 },  { 100, 64, 9, 0 }, { 90, 64, 3, 1 },
    { 200, 64, 3, 64 }, { 129, 80, 5, 0 }, { 97, 96, 7, 65 }, { 90, 128, 4, 0 }, { 70, 256, 1, 40 }, { 64, 20, 6, 0 },
    { 71, 13, 2, 30 }, { 100, 64, 3, 0, 2 }, { 150, 32, 2, 7, 50 }, { 70, 256, 4, 0, 5 }, { 131, 13, 4, 70, 0.5f },
};

/* The sequence, what forward made of it, and the gradients. Rows of q o dq do are ldq apart, of k v dk dv ldk. */
struct data {
    const struct shape *s;
    float *q, *k, *v, *dout, *o, *lse, *delta, *dq, *dk, *dv;
    size_t ldq, ldk, nq, nk;            /* nq nk: floats in all */
    float scale;
    void *scratch;
};

static size_t below(uint64_t *seed, size_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((*seed >> 33) % n);
}

/* Spans that hold the keys 0 .. n-1, cut at random where seed is given. */
static void make_spans(gr_kv_span *span, const struct data *d, size_t n, uint64_t *seed)
{
    size_t count = 0;

    for (size_t at = 0, len; at < n; at += len) {
        len = *seed && count + 1 < 40 ? below(seed, n - at + 1) : n - at;
        span[count++] = (gr_kv_span){ d->k + at * d->ldk, d->v + at * d->ldk, d->ldk, len };
    }
}

static void forward(struct data *d, gr_attn_run_fwd_fn *fn)
{
    const struct shape *s = d->s;
    const gr_attn_shape attn = { s->D, s->G, s->window, d->scale, s->cap };
    gr_kv_span span = { d->k, d->v, d->ldk, s->T };

    for (size_t t = 0; t < s->T; t += GR_ATTN_QUERIES)
        fn(MAT(d->o + t * d->ldq, d->ldq), d->lse + t * s->G, MAT(d->q + t * d->ldq, d->ldq),
           gr_min(GR_ATTN_QUERIES, s->T - t), t, &span, &attn, d->scratch);
}

static struct data make(const struct shape *s, uint64_t seed)
{
    size_t ldq = s->G * s->D + 3, ldk = s->D + 5, nq = (s->T - 1) * ldq + s->G * s->D, nk = (s->T - 1) * ldk + s->D;
    struct data d = { s, .ldq = ldq, .ldk = ldk, .nq = nq, .nk = nk, .scale = 1 / sqrtf((float)s->D) };

    d.q = check_randn(nq, seed);
    d.k = check_randn(nk, seed + 1);
    d.v = check_randn(nk, seed + 2);
    d.dout = check_randn(nq, seed + 3);
    d.o = check_fenced(nq * sizeof(float));
    d.dq = check_fenced(nq * sizeof(float));
    d.dk = check_fenced(nk * sizeof(float));
    d.dv = check_fenced(nk * sizeof(float));
    d.lse = check_fenced(s->T * s->G * sizeof(float));
    d.delta = check_fenced(s->T * s->G * sizeof(float));
    d.scratch = check_fenced(gr_round_up(gr_attn_scratch(s->D, s->G), GR_ALIGN));
    for (size_t i = 0; i < nq / 4; i++)
        d.q[i] *= 3;                    /* some queries are sharp */
    forward(&d, gr_attn_run_fwd_ref);
    return d;
}

/* All gradients, by calls of random length over spans and runs of random length; seed 0: as long as can be. */
static void backward(struct data *d, gr_attn_run_dq_fn *dq, gr_attn_run_dkv_fn *dkv, uint64_t seed)
{
    const struct shape *s = d->s;
    const gr_attn_shape attn = { s->D, s->G, s->window, d->scale, s->cap };
    gr_kv_span span[40];
    gr_q_span run[200];
    size_t runs = 0;
    bool cut = seed != 0;

    for (size_t t = 0, n; t < s->T; t += n) {
        size_t at = t * d->ldq;
        n = cut ? 1 + below(&seed, gr_min(GR_ATTN_QUERIES, s->T - t)) : gr_min(GR_ATTN_QUERIES, s->T - t);
        make_spans(span, d, t + n, &seed);
        dq(MAT(d->dq + at, d->ldq), d->delta + t * s->G, MAT(d->dout + at, d->ldq), MAT(d->o + at, d->ldq),
           d->lse + t * s->G, MAT(d->q + at, d->ldq), n, t, span, &attn, d->scratch);
    }
    for (size_t t = 0, n; t < s->T; t += n) {
        size_t at = t * d->ldq;
        n = cut && runs + 1 < GR_COUNT(run) ? below(&seed, s->T - t + 1) : s->T - t;        /* empty runs too */
        run[runs++] = (gr_q_span){ d->q + at, d->dout + at, d->lse + t * s->G, d->delta + t * s->G, d->ldq, n, t };
    }
    for (size_t t = 0, n; t < s->T; t += n) {
        size_t at = t * d->ldk;
        n = cut ? 1 + below(&seed, gr_min(GR_ATTN_QUERIES, s->T - t)) : gr_min(GR_ATTN_QUERIES, s->T - t);
        dkv(MAT(d->dk + at, d->ldk), MAT(d->dv + at, d->ldk), MAT(d->k + at, d->ldk), MAT(d->v + at, d->ldk), n, t, run,
            runs, &attn, d->scratch);
    }
}

/* As CHECK_CLOSE, but of numbers that are sums of terms near 1 and may cancel: a key seen alone has no gradient. */
static void near(const float *a, const float *b, size_t n, double tol)
{
    double top = 1;

    for (size_t i = 0; i < n; i++)
        top = fmax(top, fabs((double)b[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - b[i]) <= tol * top))
            fail_msg("at %zu of %zu: %.9g, wanted %.9g: off by %.3g of %.3g, %.3g allowed", i, n, (double)a[i],
                     (double)b[i], fabs((double)a[i] - b[i]) / top, top, tol);
}

/* ---- Differences -------------------------------------------------------------------------------- */

enum { T = 8, D = 3, G = 2 };

/* A small sequence in double, dense. */
struct small { double q[T * G * D], k[T * D], v[T * D], dout[T * G * D], scale, cap; size_t window; };

/* sum do o. */
static double dot_forward(void *arg)
{
    const struct small *m = arg;
    double total = 0;

    for (size_t i = 0; i < T * G; i++) {
        double sum = 0, acc = 0;
        for (size_t j = 0; j <= i / G; j++) {
            double s = 0, dv = 0;
            if (m->window && i / G - j >= m->window)
                continue;
            for (size_t d = 0; d < D; d++) {
                s += m->q[i * D + d] * m->k[j * D + d];
                dv += m->dout[i * D + d] * m->v[j * D + d];
            }
            s *= m->scale;
            s = m->cap > 0 ? m->cap * tanh(s / m->cap) : s;
            sum += exp(s);
            acc += exp(s) * dv;
        }
        total += acc / sum;
    }
    return total;
}

/* p errs by lse's half an ulp, of |lse| below 8: 4 eps; delta by half an ulp of itself and of o, D of them, each
 * below 4 of numbers of the size of dp: relative to the largest of T terms of either sign, 4 eps more. */
static void ref_is_the_derivative(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        const struct shape s = { T, D, G, i % 5, i < 5 ? 0 : i % 2 ? 2 : 0.5f };
        struct data d = make(&s, i % 5 + 1);
        struct small m = { .scale = d.scale, .cap = s.cap, .window = s.window };
        float want[T * G * D];
        for (size_t t = 0; t < T; t++) {
            grad_widen(m.q + t * G * D, d.q + t * d.ldq, G * D);
            grad_widen(m.dout + t * G * D, d.dout + t * d.ldq, G * D);
            grad_widen(m.k + t * D, d.k + t * d.ldk, D);
            grad_widen(m.v + t * D, d.v + t * d.ldk, D);
        }
        backward(&d, gr_attn_run_dq_ref, gr_attn_run_dkv_ref, 0);
        grad_all(want, dot_forward, &m, m.q, T * G * D);
        for (size_t t = 0; t < T; t++)
            memcpy(d.o + t * G * D, d.dq + t * d.ldq, G * D * sizeof(float));       /* o is spent: dense from here */
        near(d.o, want, T * G * D, 8 * FLT_EPSILON);
        grad_all(want, dot_forward, &m, m.k, T * D);
        for (size_t t = 0; t < T; t++)
            memcpy(d.o + t * D, d.dk + t * d.ldk, D * sizeof(float));
        near(d.o, want, T * D, 8 * FLT_EPSILON);
        grad_all(want, dot_forward, &m, m.v, T * D);
        for (size_t t = 0; t < T; t++)
            memcpy(d.o + t * D, d.dv + t * d.ldk, D * sizeof(float));
        near(d.o, want, T * D, 8 * FLT_EPSILON);
    }
}

/* ---- Builds ------------------------------------------------------------------------------------- */

/* A score sums D products whose magnitudes add up to at most 3 * 0.8 sqrt(D) * 2 after scaling: it errs, and p with it,
 * by 5 sqrt(D) * D/2 halves of an ulp at most and, as roundings scatter, by about D/2 of them; dp and delta by as
 * much of themselves, and the slope of a cap by 3 eps more. Sums over the T G queries or T keys add a walk of their
 * square root. */
static double tol(const struct shape *s)
{
    return (16 + (double)s->D / 2 + sqrt((double)(s->T * s->G)) + 4 * (double)s->cap) * FLT_EPSILON;
}

static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        struct data want = make(shape + i, i + 1);
        backward(&want, gr_attn_run_dq_ref, gr_attn_run_dkv_ref, 0);
        EACH_DEVICE {
            struct data d = make(shape + i, i + 1);
            forward(&d, check_op->attn_run_fwd);
            CHECK_CLOSE(d.lse, want.lse, shape[i].T * shape[i].G, tol(shape + i));
            backward(&d, check_op->attn_run_dq, check_op->attn_run_dkv, 0);
            near(d.delta, want.delta, shape[i].T * shape[i].G, tol(shape + i));
            near(d.dq, want.dq, d.nq, tol(shape + i));       /* the gaps are 0 in both */
            near(d.dk, want.dk, d.nk, tol(shape + i));
            near(d.dv, want.dv, d.nk, tol(shape + i));
        }
    }
}

static void cuts_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        struct data one = make(shape + i, i + 1), cut = make(shape + i, i + 1);
        EACH_DEVICE {
            backward(&one, check_op->attn_run_dq, check_op->attn_run_dkv, 0);
            for (uint64_t seed = 1; seed <= (check_op == on_gpu() ? 1 : 3); seed++) {
                backward(&cut, check_op->attn_run_dq, check_op->attn_run_dkv, seed);
                assert_memory_equal(cut.delta, one.delta, shape[i].T * shape[i].G * sizeof(float));
                assert_memory_equal(cut.dq, one.dq, one.nq * sizeof(float));
                assert_memory_equal(cut.dk, one.dk, one.nk * sizeof(float));
                assert_memory_equal(cut.dv, one.dv, one.nk * sizeof(float));
            }
        }
    }
}

/* Keys that a query does not see leave no trace in its dq, queries that do not see a key none in its dk and dv, be they
 * as large as can be. */
static void what_is_not_seen_does_not_matter(void **state)
{
    const struct shape s = { 100, 64, 3, 20 };

    (void)state;
    EACH_DEVICE {
        struct data d = make(&s, 5), far = make(&s, 5);
        for (size_t j = 70 * d.ldk; j < d.nk; j++)
            far.k[j] = far.v[j] = 1e18f;
        backward(&d, check_op->attn_run_dq, check_op->attn_run_dkv, 0);
        backward(&far, check_op->attn_run_dq, check_op->attn_run_dkv, 0);
        assert_memory_equal(far.dq, d.dq, 70 * d.ldq * sizeof(float));
        far = make(&s, 5);
        for (size_t i = 70 * d.ldq; i < d.nq; i++)
            far.q[i] = far.dout[i] = 1e18f;
        backward(&far, check_op->attn_run_dq, check_op->attn_run_dkv, 0);
        assert_memory_equal(far.dk, d.dk, 51 * d.ldk * sizeof(float));
        assert_memory_equal(far.dv, d.dv, 51 * d.ldk * sizeof(float));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_derivative),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(cuts_change_no_bit),
        cmocka_unit_test(what_is_not_seen_does_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
