/* bon.c - see bon.h: the estimate and its intervals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "eval/bon.h"
#include "eval/bootstrap.h"

/* ---- One prompt ----------------------------------------------------------------------------------- */

typedef struct { double key, value; } keyed;

static int by_key(const void *pa, const void *pb)
{
    const keyed *a = pa, *b = pb;

    return (a->key > b->key) - (a->key < b->key);
}

/* C(x, n) / C(N, n): the share of the sets of n that lie within the first x. */
static double share(size_t x, size_t N, size_t n)
{
    double p = x < n ? 0 : 1;

    for (size_t k = 0; k < n && p > 0; k++)
        p *= (double)(x - k) / (double)(N - k);
    return p;
}

/* v[N] in the order of their keys. */
static double expected(const keyed *v, size_t N, size_t n)
{
    double sum = 0, below = 0;

    for (size_t a = 0, b; a < N; a = b) {
        double mean = 0, upto;
        for (b = a; b < N && v[b].key == v[a].key; b++)
            mean += v[b].value;
        upto = share(b, N, n);
        sum += (upto - below) * (mean / (double)(b - a));
        below = upto;
    }
    return sum;
}

static keyed *sorted(const double *key, const double *value, size_t N)
{
    keyed *v = gr_calloc(N, sizeof *v);

    for (size_t i = 0; v && i < N; i++)
        v[i] = (keyed){ key[i], value[i] };
    if (v)
        qsort(v, N, sizeof *v, by_key);
    return v;
}

double gr_best_of(const double *key, const double *value, size_t N, size_t n)
{
    keyed *v;
    double e;

    for (size_t i = 0; i < N; i++)
        if (isnan(key[i]))
            return NAN;
    if (n == 0 || n > N)
        return NAN;
    v = sorted(key, value, N);
    e = v ? expected(v, N, n) : NAN;
    free(v);
    return e;
}

/* ---- All prompts ---------------------------------------------------------------------------------- */

gram_status gr_bon_add(gr_bon *b, uint64_t prompt, const double *proxy, const double *gold, const double *length,
                       size_t n, gram_err *err)
{
    gr_bon_group *grown = gr_grown(b->group, b->n, &b->cap, 1, sizeof *grown), *g;
    size_t all = 3 * n;

    if (!grown)
        return gr_nomem(err, "best-of-n");
    b->group = grown;
    g = &b->group[b->n];
    *g = (gr_bon_group){ .prompt = prompt, .proxy = gr_calloc(all, sizeof(double)) };
    if (!g->proxy)
        return gr_nomem(err, "best-of-n");
    g->gold = g->proxy + n;
    g->length = g->gold + n;
    for (size_t i = 0; i < n; i++)
        if (isfinite(proxy[i]) && (!b->gold || isfinite(gold[i]))) {
            g->proxy[g->n] = proxy[i];
            g->gold[g->n] = b->gold ? gold[i] : NAN;
            g->length[g->n++] = length[i];
        }
    b->n++;
    return GRAM_OK;
}

void gr_bon_clear(gr_bon *b)
{
    for (size_t i = 0; i < b->n; i++)
        free(b->group[i].proxy);
    free(b->group);
    *b = (gr_bon){ 0 };
}

enum { PROXY, GOLD, GAIN, RANDOM, LONGEST, ORACLE, CURVES };

struct curves {
    const gr_bon *b;
    const gr_bon_group **in;    /* [n] that have enough answers, in the order of their prompts */
    size_t n, points;
    size_t at[GRAM_BON_POINTS];
    double *value;              /* [CURVES, points, n] */
    double *sum, *weight;       /* [CURVES, points, clusters] of the rows of a prompt; how many they are */
    size_t clusters;
    double *draw;               /* [CURVES, points, GR_BOOT_DRAWS] */
};

static int by_prompt(const void *pa, const void *pb)
{
    const gr_bon_group *const *a = pa, *const *b = pb;

    if ((*a)->prompt != (*b)->prompt)
        return (*a)->prompt < (*b)->prompt ? -1 : 1;
    return *a < *b ? -1 : *a > *b;
}

static void put(struct curves *c, int curve, size_t point, size_t i, double x)
{
    c->value[((size_t)curve * c->points + point) * c->n + i] = x;
}

/* The values of one prompt at every point. */
static gram_status values_of(struct curves *c, size_t i, gram_err *err)
{
    const gr_bon_group *g = c->in[i];
    const double *key[] = { g->proxy, g->proxy, g->length, g->gold };
    const double *value[] = { g->proxy, g->gold, g->gold, g->gold };
    static const int curve[] = { PROXY, GOLD, LONGEST, ORACLE };
    double random = NAN;

    for (size_t k = 0; k < GR_COUNT(curve); k++) {
        keyed *v = c->b->gold || k == 0 ? sorted(key[k], value[k], g->n) : NULL;
        if (!v && (c->b->gold || k == 0))
            return gr_nomem(err, "best-of-n");
        if (k == 1 && v)
            random = expected(v, g->n, 1);
        for (size_t p = 0; p < c->points; p++) {
            double x = v ? expected(v, g->n, c->at[p]) : NAN;
            put(c, curve[k], p, i, x);
            if (k == 1) {
                put(c, RANDOM, p, i, random);
                put(c, GAIN, p, i, x - random);
            }
        }
        free(v);
    }
    return GRAM_OK;
}

/* Rows of one prompt stand or fall together. */
static bool find_clusters(struct curves *c)
{
    size_t series = CURVES * c->points;

    for (size_t i = 0; i < c->n; i++)
        c->clusters += i == 0 || c->in[i]->prompt != c->in[i - 1]->prompt;
    c->sum = gr_calloc(series * c->clusters, sizeof *c->sum);
    c->weight = gr_calloc(c->clusters, sizeof *c->weight);
    c->draw = gr_calloc(series * GR_BOOT_DRAWS, sizeof *c->draw);
    if (!c->sum || !c->weight || !c->draw)
        return false;
    for (size_t i = 0, k = 0; i < c->n; i++) {
        k += i > 0 && c->in[i]->prompt != c->in[i - 1]->prompt;
        c->weight[k]++;
        for (size_t s = 0; s < series; s++)
            c->sum[s * c->clusters + k] += c->value[s * c->n + i];
    }
    return true;
}

static void bootstrap(struct curves *c, size_t *pick)
{
    uint64_t state = 1;

    for (size_t r = 0; r < GR_BOOT_DRAWS; r++) {
        double weight = 0;
        for (size_t k = 0; k < c->clusters; k++) {
            pick[k] = gr_random_below(&state, c->clusters);
            weight += c->weight[pick[k]];
        }
        for (size_t s = 0; s < CURVES * c->points; s++) {
            double sum = 0;
            for (size_t k = 0; k < c->clusters; k++)
                sum += c->sum[s * c->clusters + pick[k]];
            c->draw[s * GR_BOOT_DRAWS + r] = sum / weight;
        }
    }
}

static gram_interval interval_of(struct curves *c, int curve, size_t point)
{
    size_t s = (size_t)curve * c->points + point;
    double *draw = c->draw + s * GR_BOOT_DRAWS, sum = 0;
    gram_interval v = { NAN, NAN, NAN };

    if (!c->b->gold && curve != PROXY)
        return v;
    for (size_t i = 0; i < c->n; i++)
        sum += c->value[s * c->n + i];
    v.value = sum / (double)c->n;
    if (c->clusters < 2)
        return v;
    return gr_boot_interval(v.value, draw, GR_BOOT_DRAWS);
}

static void find_points(struct curves *c, size_t most)
{
    for (size_t n = 1; n < most; n *= 2)
        c->at[c->points++] = n;
    c->at[c->points++] = most;
}

static size_t smallest(const gr_bon *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->n; i++)
        if (b->group[i].n && (!n || b->group[i].n < n))
            n = b->group[i].n;
    return n;
}

gram_status gr_bon_curve(const gr_bon *b, size_t most, gram_bon_curve *out, gram_err *err)
{
    struct curves c = { .b = b, .in = gr_calloc(b->n, sizeof *c.in) };
    size_t *pick = NULL;
    gram_status rc = c.in ? GRAM_OK : gr_nomem(err, "best-of-n");

    *out = (gram_bon_curve){ .gold = b->gold };
    most = most ? most : smallest(b);
    for (size_t i = 0; i < b->n && !rc; i++)
        if (most && b->group[i].n >= most)
            c.in[c.n++] = &b->group[i];
    out->prompts = c.n;
    out->left_out = b->n - c.n;
    if (rc || c.n == 0)
        goto out;
    qsort(c.in, c.n, sizeof *c.in, by_prompt);
    find_points(&c, most);
    c.value = gr_calloc(CURVES * c.points * c.n, sizeof *c.value);
    pick = gr_calloc(c.n, sizeof *pick);
    if (!c.value || !pick)
        rc = gr_nomem(err, "best-of-n");
    for (size_t i = 0; i < c.n && !rc; i++)
        rc = values_of(&c, i, err);
    if (!rc && !find_clusters(&c))
        rc = gr_nomem(err, "best-of-n");
    if (rc)
        goto out;
    bootstrap(&c, pick);
    out->points = c.points;
    for (size_t p = 0; p < c.points; p++) {
        double n = (double)c.at[p];
        out->point[p] = (gram_bon_point){ c.at[p], log(n) - (n - 1) / n, interval_of(&c, PROXY, p),
                                          interval_of(&c, GOLD, p), interval_of(&c, GAIN, p),
                                          interval_of(&c, RANDOM, p), interval_of(&c, LONGEST, p),
                                          interval_of(&c, ORACLE, p) };
    }
out:
    free(c.in);
    free(c.value);
    free(c.sum);
    free(c.weight);
    free(c.draw);
    free(pick);
    return rc;
}
