/* versus.c - see versus.h: the numbers and their intervals. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "eval/bootstrap.h"
#include "eval/metrics.h"
#include "eval/text.h"
#include "eval/versus.h"

/* ---- Words ---------------------------------------------------------------------------------------- */

static const char space[] = " \t\n\v\f\r";

static bool add_run(gr_word_runs *r, uint64_t digest)
{
    uint64_t *grown = gr_grown(r->p, r->n, &r->cap, 1, sizeof *grown);

    if (!grown)
        return false;
    r->p = grown;
    r->p[r->n++] = digest;
    return true;
}

static int by_digest(const void *pa, const void *pb)
{
    const uint64_t *a = pa, *b = pb;

    return (*a > *b) - (*a < *b);
}

/* The different ones over all of them; NAN of none. p is sorted on return. */
static double share_distinct(uint64_t *p, size_t n)
{
    size_t different = 0;

    if (n == 0)
        return NAN;
    qsort(p, n, sizeof *p, by_digest);
    for (size_t i = 0; i < n; i++)
        different += i == 0 || p[i] != p[i - 1];
    return (double)different / (double)n;
}

/* The answer's runs of 1, 2 and 3 words, behind those there are. */
static bool add_words(gr_word_runs run[3], const char *text)
{
    uint64_t last[2] = { 0 };           /* the digests of the two words before */
    size_t words = 0;

    for (text += strspn(text, space); *text; text += strspn(text, space), words++) {
        size_t n = strcspn(text, space);
        uint64_t word = gr_digest(GR_DIGEST, text, n), two[] = { last[1], word }, three[] = { last[0], last[1], word };
        if (!add_run(&run[0], word) || (words > 0 && !add_run(&run[1], gr_digest(GR_DIGEST, two, sizeof two))) ||
            (words > 1 && !add_run(&run[2], gr_digest(GR_DIGEST, three, sizeof three))))
            return false;
        last[0] = last[1];
        last[1] = word;
        text += n;
    }
    return true;
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

gram_status gr_versus_add(gr_versus *v, const gr_versus_row *row, const char *const text[2], gram_err *err)
{
    gr_versus_row *grown = gr_grown(v->row, v->n, &v->cap, 1, sizeof *grown), *r;

    if (!grown)
        return gr_nomem(err, "an evaluation");
    v->row = grown;
    r = &v->row[v->n++];
    *r = *row;
    r->tie = isnan(r->win) ? NAN : r->win == 0.5;
    r->gain = r->reward[0] - r->reward[1];
    for (size_t s = 0; s < 2; s++) {
        size_t before = v->run[s][2].n;
        r->chars[s] = r->repetition[s] = NAN;
        if (!text[s])
            continue;
        r->chars[s] = (double)gr_text_points(text[s]);
        if (!add_words(v->run[s], text[s]))
            return gr_nomem(err, "an evaluation");
        if (v->run[s][2].n > before)        /* sorts the answer's own runs, whose order nothing asks for */
            r->repetition[s] = 1 - share_distinct(v->run[s][2].p + before, v->run[s][2].n - before);
        v->answers[s]++;
    }
    return GRAM_OK;
}

void gr_versus_clear(gr_versus *v)
{
    for (size_t s = 0; s < 2; s++)
        for (size_t k = 0; k < 3; k++)
            free(v->run[s][k].p);
    free(v->row);
    *v = (gr_versus){ 0 };
}

/* ---- Equal length --------------------------------------------------------------------------------- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* log(1 + exp(q)) without overflow. */
static double softplus(double q) { return q > 0 ? q + log1p(exp(-q)) : log1p(exp(q)); }

static double length_loss(const double *y, const double *x, const double *times, size_t n, double theta, double phi)
{
    double f = phi * phi / 2;

    for (size_t i = 0; i < n; i++) {
        double q = theta + phi * x[i];
        f += (times ? times[i] : 1) * (softplus(q) - y[i] * q);
    }
    return f;
}

/* Newton's step; the loss is convex. */
static void length_step(const double *y, const double *x, const double *times, size_t n, double theta, double phi,
                        double step[2])
{
    double g = 0, h = phi, a = 1e-12, b = 0, c = 1;     /* a: the curvature is never 0 where all is far from 1/2 */

    for (size_t i = 0; i < n; i++) {
        double w = times ? times[i] : 1, p = sigmoid(theta + phi * x[i]), v = w * p * (1 - p);
        g += w * (p - y[i]);
        h += w * (p - y[i]) * x[i];
        a += v;
        b += v * x[i];
        c += v * x[i] * x[i];
    }
    step[0] = (c * g - b * h) / (a * c - b * b);
    step[1] = (a * h - b * g) / (a * c - b * b);
}

void gr_length_fit(const double *y, const double *x, const double *times, size_t n, double *theta, double *phi)
{
    double won = 0, all = 0, f;

    for (size_t i = 0; i < n; i++) {
        all += times ? times[i] : 1;
        won += (times ? times[i] : 1) * y[i];
    }
    *phi = 0;
    *theta = log(won / all) - log(1 - won / all);
    if (won <= 0 || won >= all)
        return;
    f = length_loss(y, x, times, n, *theta, *phi);
    for (int round = 0; round < 100; round++) {
        double step[2], scale = 1, g;
        length_step(y, x, times, n, *theta, *phi, step);
        while ((g = length_loss(y, x, times, n, *theta - scale * step[0], *phi - scale * step[1])) > f && scale > 1e-9)
            scale /= 2;
        if (g > f)
            return;
        *theta -= scale * step[0];
        *phi -= scale * step[1];
        f = g;
        if (fabs(step[0]) + fabs(step[1]) < 1e-12)
            return;
    }
}

/* ---- Means and intervals --------------------------------------------------------------------------- */

#define ROW(field)  offsetof(gr_versus_row, field)
#define OUT(field)  offsetof(gram_policy_comparison, field)
/* counted: of rows that are 0, 1/2 or 1, whose bootstrap samples are all alike where the rows are. */
static const struct { size_t from, to; bool counted; } mean[] = {
    { ROW(win), OUT(win), true }, { ROW(tie), OUT(ties), true }, { ROW(flip), OUT(flips), true },
    { ROW(preference), OUT(preference), false }, { ROW(gain), OUT(gain), false }, { ROW(kl), OUT(kl), false },
    { ROW(kl_token), OUT(kl_token), false },
    { ROW(reward[0]), OUT(policy.reward), false }, { ROW(reward[1]), OUT(baseline.reward), false },
    { ROW(chars[0]), OUT(policy.chars), false }, { ROW(chars[1]), OUT(baseline.chars), false },
    { ROW(tokens[0]), OUT(policy.tokens), false }, { ROW(tokens[1]), OUT(baseline.tokens), false },
    { ROW(cut[0]), OUT(policy.cut), true }, { ROW(cut[1]), OUT(baseline.cut), true },
    { ROW(repetition[0]), OUT(policy.repetition), false }, { ROW(repetition[1]), OUT(baseline.repetition), false },
};
enum { MEANS = GR_COUNT(mean) };

struct drawing {
    const gr_versus *v;
    size_t clusters;
    size_t *cluster;            /* [n] of each row */
    double *sum, *weight;       /* [MEANS, clusters] */
    double *draw;               /* [MEANS + 1, GR_BOOT_DRAWS]; the last are length-controlled win rates */
    double *times;              /* [clusters] how often a sample has it */
    double *y, *x, *w;          /* [compared] */
    size_t *of;                 /* [compared] their clusters */
    size_t compared;
    gr_eval_value *value;       /* [n] */
};

static double value_of(const gr_versus_row *r, size_t k)
{
    double x;

    memcpy(&x, (const char *)r + mean[k].from, sizeof x);
    return x;
}

struct keyed { uint64_t prompt; size_t row; };

static int by_prompt(const void *pa, const void *pb)
{
    const struct keyed *a = pa, *b = pb;

    if (a->prompt != b->prompt)
        return a->prompt < b->prompt ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static bool find_clusters(struct drawing *d)
{
    size_t n = d->v->n;
    struct keyed *k = gr_calloc(n, sizeof *k);

    d->cluster = gr_calloc(n, sizeof *d->cluster);
    for (size_t i = 0; k && i < n; i++)
        k[i] = (struct keyed){ d->v->row[i].prompt, i };
    if (k && d->cluster) {
        qsort(k, n, sizeof *k, by_prompt);
        for (size_t i = 0; i < n; i++) {
            d->clusters += i == 0 || k[i].prompt != k[i - 1].prompt;
            d->cluster[k[i].row] = d->clusters - 1;
        }
    }
    free(k);
    return k && d->cluster;
}

static bool make_room(struct drawing *d)
{
    size_t n = d->v->n, per = GR_BOOT_DRAWS;

    d->sum = gr_calloc(MEANS * d->clusters, sizeof *d->sum);
    d->weight = gr_calloc(MEANS * d->clusters, sizeof *d->weight);
    d->draw = gr_calloc((MEANS + 1) * per, sizeof *d->draw);
    d->times = gr_calloc(d->clusters, sizeof *d->times);
    d->y = gr_calloc(n, sizeof *d->y);
    d->x = gr_calloc(n, sizeof *d->x);
    d->w = gr_calloc(n, sizeof *d->w);
    d->of = gr_calloc(n, sizeof *d->of);
    d->value = gr_calloc(n, sizeof *d->value);
    return d->sum && d->weight && d->draw && d->times && d->y && d->x && d->w && d->of && d->value;
}

static void add_up(struct drawing *d)
{
    for (size_t i = 0; i < d->v->n; i++)
        for (size_t k = 0; k < MEANS; k++) {
            double x = value_of(&d->v->row[i], k);
            if (isnan(x))
                continue;
            d->sum[k * d->clusters + d->cluster[i]] += x;
            d->weight[k * d->clusters + d->cluster[i]]++;
        }
}

/* y and x of the rows with a verdict. */
static void find_lengths(struct drawing *d)
{
    double sum = 0, squares = 0, sd;

    for (size_t i = 0; i < d->v->n; i++) {
        const gr_versus_row *r = &d->v->row[i];
        if (isnan(r->win))
            continue;
        d->of[d->compared] = d->cluster[i];
        d->y[d->compared] = r->win;
        d->x[d->compared++] = r->chars[0] - r->chars[1];
    }
    for (size_t i = 0; i < d->compared; i++)
        sum += d->x[i] / (double)d->compared;
    for (size_t i = 0; i < d->compared; i++)
        squares += (d->x[i] - sum) * (d->x[i] - sum);
    sd = d->compared > 1 ? sqrt(squares / (double)(d->compared - 1)) : 0;
    for (size_t i = 0; i < d->compared; i++)
        d->x[i] = sd > 0 ? tanh(d->x[i] / sd) : 0;
}

/* NAN where nothing of the mean is in the sample. */
static double drawn_mean(const struct drawing *d, size_t k)
{
    double sum = 0, weight = 0;

    for (size_t c = 0; c < d->clusters; c++) {
        sum += d->times[c] * d->sum[k * d->clusters + c];
        weight += d->times[c] * d->weight[k * d->clusters + c];
    }
    return weight > 0 ? sum / weight : NAN;
}

static double drawn_win(struct drawing *d)
{
    double theta, phi, all = 0;

    for (size_t i = 0; i < d->compared; i++)
        all += d->w[i] = d->times[d->of[i]];
    if (!(all > 0))
        return NAN;
    gr_length_fit(d->y, d->x, d->w, d->compared, &theta, &phi);
    return sigmoid(theta);
}

static void bootstrap(struct drawing *d)
{
    uint64_t state = 1;

    for (size_t r = 0; r < GR_BOOT_DRAWS; r++) {
        memset(d->times, 0, d->clusters * sizeof *d->times);
        for (size_t c = 0; c < d->clusters; c++)
            d->times[gr_random_below(&state, d->clusters)]++;
        for (size_t k = 0; k < MEANS; k++)
            d->draw[k * GR_BOOT_DRAWS + r] = drawn_mean(d, k);
        d->draw[MEANS * GR_BOOT_DRAWS + r] = drawn_win(d);
    }
}

static gram_interval interval_of(struct drawing *d, size_t k, double value)
{
    double *draw = d->draw + k * GR_BOOT_DRAWS;
    size_t n = 0;

    for (size_t r = 0; r < GR_BOOT_DRAWS; r++)          /* those samples that have it */
        if (!isnan(draw[r]))
            draw[n++] = draw[r];
    return n && d->clusters > 1 ? gr_boot_interval(value, draw, n) : (gram_interval){ value, NAN, NAN };
}

/* Wilson's, prompts being clusters (metrics.h): it has a width where all rows are alike, too. */
static gram_interval share_of(struct drawing *d, size_t k)
{
    size_t n = 0;

    for (size_t i = 0; i < d->v->n; i++) {
        double x = value_of(&d->v->row[i], k);
        if (!isnan(x))
            d->value[n++] = (gr_eval_value){ d->cluster[i], x };
    }
    return gr_eval_mean(d->value, n);
}

/* Whether all verdicts are the same: of those every sample has the same fit, too. */
static bool alike(const struct drawing *d)
{
    size_t i = 1;

    while (i < d->compared && d->y[i] == d->y[0])
        i++;
    return i >= d->compared;
}

static void put_intervals(struct drawing *d, gram_policy_comparison *out)
{
    double theta, phi;

    for (size_t c = 0; c < d->clusters; c++)
        d->times[c] = 1;
    for (size_t k = 0; k < MEANS; k++) {
        gram_interval v = mean[k].counted ? share_of(d, k) : interval_of(d, k, drawn_mean(d, k));
        memcpy((char *)out + mean[k].to, &v, sizeof v);
    }
    out->win_lc = (gram_interval){ NAN, NAN, NAN };
    out->length_weight = NAN;
    out->compared = d->compared;
    if (!d->compared)
        return;
    gr_length_fit(d->y, d->x, NULL, d->compared, &theta, &phi);
    out->length_weight = phi;
    out->win_lc = alike(d) ? out->win : interval_of(d, MEANS, sigmoid(theta));
}

gram_status gr_versus_collect(gr_versus *v, gram_policy_comparison *out, gram_err *err)
{
    struct drawing d = { .v = v };
    gram_status rc = find_clusters(&d) && make_room(&d) ? GRAM_OK : gr_nomem(err, "an evaluation");

    *out = (gram_policy_comparison){ .rows = v->n };
    if (!rc) {
        add_up(&d);
        find_lengths(&d);
        if (d.clusters > 1)
            bootstrap(&d);
        put_intervals(&d, out);
    }
    out->policy.answers = v->answers[0];
    out->baseline.answers = v->answers[1];
    for (size_t k = 0; k < 3; k++) {
        out->policy.distinct[k] = (gram_interval){ share_distinct(v->run[0][k].p, v->run[0][k].n), NAN, NAN };
        out->baseline.distinct[k] = (gram_interval){ share_distinct(v->run[1][k].p, v->run[1][k].n), NAN, NAN };
    }
    free(d.cluster);
    free(d.sum);
    free(d.weight);
    free(d.draw);
    free(d.times);
    free(d.y);
    free(d.x);
    free(d.w);
    free(d.of);
    free(d.value);
    return rc;
}
