/* test_attn.c - the reference against its formula written another way, every build against the reference, and
 * equal bits however a segment is cut into calls and its keys into spans. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/on_gpu.h"
#include "op/op.h"

struct shape { size_t T, D, G, window; float cap; };

static const struct shape shape[] = {
    { 1, 64, 3, 0 },   { 65, 8, 1, 0 },    { 130, 16, 4, 0 },  { 200, 32, 2, 7 },   { 150, 64, 9, 0 },
    { 150, 64, 3, 1 }, { 320, 64, 3, 64 }, { 129, 80, 5, 0 },  { 97, 96, 7, 65 },   { 140, 128, 4, 0 },
    { 90, 256, 1, 40 }, { 70, 256, 8, 0 }, { 64, 20, 6, 0 },   { 71, 13, 2, 30 },
    { 150, 64, 3, 0, 2 }, { 200, 32, 2, 7, 50 }, { 70, 256, 8, 0, 5 }, { 131, 13, 4, 70, 0.5f },
};

struct data { float *q, *k, *v; size_t ldq, ldk; float scale; };

static struct data make(const struct shape *s, uint64_t seed)
{
    struct data d = { .ldq = s->G * s->D + 3, .ldk = s->D + 5, .scale = 1 / sqrtf((float)s->D) };

    d.q = check_randn((s->T - 1) * d.ldq + s->G * s->D, seed);
    d.k = check_randn((s->T - 1) * d.ldk + s->D, seed + 1);
    d.v = check_randn((s->T - 1) * d.ldk + s->D, seed + 2);
    for (size_t i = 0; i < s->T * s->D / 2; i++)
        d.q[i] *= 6;                        /* some queries are sharp: tops move, weights vanish */
    return d;
}

static size_t below(uint64_t *seed, size_t n)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (size_t)((*seed >> 33) % n);
}

/* All T queries by calls of random length over spans of random length; seed 0: calls and spans as long as can be. */
static float *attend(gr_attn_run_fwd_fn *fn, const struct shape *s, const struct data *d, uint64_t seed)
{
    size_t ldo = s->G * s->D;
    float *o = check_fenced(s->T * ldo * sizeof *o);
    const gr_attn_shape attn = { s->D, s->G, s->window, d->scale, s->cap };
    gr_kv_span *span = calloc(s->T, sizeof *span);
    void *scratch = gr_alloc_aligned(gr_attn_scratch(s->D, s->G), 1);
    bool cut = seed != 0;

    assert_true(span && scratch);
    for (size_t t = 0, nq; t < s->T; t += nq) {
        size_t n = 0;
        nq = gr_min(GR_ATTN_QUERIES, s->T - t);
        if (cut)
            nq = 1 + below(&seed, nq);
        for (size_t at = 0, len; at < t + nq; at += len) {
            len = cut ? below(&seed, t + nq - at + 1) : t + nq;     /* empty spans too */
            if (n + 1 == s->T)
                len = t + nq - at;
            span[n++] = (gr_kv_span){ d->k + at * d->ldk, d->v + at * d->ldk, d->ldk, len };
        }
        fn(MAT(o + t * ldo, ldo), NULL, MAT(d->q + t * d->ldq, d->ldq), nq, t, span, &attn, scratch);
    }
    free(span);
    free(scratch);
    return o;
}

/* Scores kept in a row, softmax without a top: exp of these scores (under 80) stays inside double. */
static float *naive(const struct shape *s, const struct data *d)
{
    size_t ldo = s->G * s->D;
    float *o = check_fenced(s->T * ldo * sizeof *o);

    for (size_t t = 0; t < s->T; t++)
        for (size_t h = 0; h < s->G; h++) {
            double sum = 0, acc[256] = { 0 };
            for (size_t j = 0; j <= t; j++) {
                double dot = 0, w;
                if (s->window && t - j >= s->window)
                    continue;
                for (size_t c = 0; c < s->D; c++)
                    dot += (double)d->q[t * d->ldq + h * s->D + c] * d->k[j * d->ldk + c];
                w = exp(s->cap > 0 ? s->cap * tanh(dot * d->scale / s->cap) : dot * d->scale);
                sum += w;
                for (size_t c = 0; c < s->D; c++)
                    acc[c] += w * d->v[j * d->ldk + c];
            }
            for (size_t c = 0; c < s->D; c++)
                o[t * ldo + h * s->D + c] = (float)(acc[c] / sum);
        }
    return o;
}

/* One rounding to float32 at the end of sums in double. */
static void ref_is_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        struct data d = make(shape + i, i + 1);
        CHECK_CLOSE(attend(gr_attn_run_fwd_ref, shape + i, &d, 0), naive(shape + i, &d),
                    shape[i].T * shape[i].G * shape[i].D, FLT_EPSILON);
    }
}

/* A score is a sum of D products, of magnitudes that add up to |s| <= 6 * 0.8 sqrt(D) * 2: it errs by at most
 * (D + 2) eps/2 of that and, as roundings scatter, by about sqrt(D) eps/2; a weight errs by as much, relatively,
 * and by 2 eps of 2^x. o is a mean of values: it errs by the weights' error, and by a walk of sqrt(T)
 * roundings. A cap's tanh errs by 3 eps, its two products by half an ulp each. */
static double tol(const struct shape *s)
{
    return (10 * sqrt((double)s->D) * sqrt((double)s->D) / 2 + 4 + sqrt((double)s->T) + 4 * (double)s->cap) *
           FLT_EPSILON;
}

static void every_build_agrees_with_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        struct data d = make(shape + i, i + 1);
        float *want = attend(gr_attn_run_fwd_ref, shape + i, &d, 0);
        EACH_DEVICE
            CHECK_CLOSE(attend(check_op->attn_run_fwd, shape + i, &d, 0), want, shape[i].T * shape[i].G * shape[i].D,
                        tol(shape + i));
    }
}

static void cuts_change_no_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        struct data d = make(shape + i, i + 1);
        EACH_DEVICE {
            float *want = attend(check_op->attn_run_fwd, shape + i, &d, 0);
            for (uint64_t seed = 1; seed <= (check_op == on_gpu() ? 1 : 4); seed++)
                assert_memory_equal(attend(check_op->attn_run_fwd, shape + i, &d, seed), want,
                                    shape[i].T * shape[i].G * shape[i].D * sizeof *want);
        }
    }
}

/* Key and value of a masked position must not matter, be they as large as can be. */
static void masked_keys_do_not_matter(void **state)
{
    const struct shape s = { 100, 64, 3, 20 };
    struct data d = make(&s, 5);
    size_t row = s.G * s.D;

    (void)state;
    EACH_DEVICE {
        float *want = attend(check_op->attn_run_fwd, &s, &d, 0), *k = d.k, *v = d.v, *got;
        d.k = check_randn(s.T * d.ldk, 9);
        d.v = check_randn(s.T * d.ldk, 10);
        memcpy(d.k + 40 * d.ldk, k + 40 * d.ldk, 30 * d.ldk * sizeof *k);
        memcpy(d.v + 40 * d.ldk, v + 40 * d.ldk, 30 * d.ldk * sizeof *v);
        for (size_t j = 70 * d.ldk; j < 100 * d.ldk; j++)
            d.k[j] = d.v[j] = 1e18f;
        got = attend(check_op->attn_run_fwd, &s, &d, 0);
        assert_memory_equal(got + 60 * row, want + 60 * row, 10 * row * sizeof *got);
        d.k = k;
        d.v = v;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ref_is_the_formula),
        cmocka_unit_test(every_build_agrees_with_ref),
        cmocka_unit_test(cuts_change_no_bit),
        cmocka_unit_test(masked_keys_do_not_matter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
