/* sample.c - see sample.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/random.h"
#include "generate/sample.h"
#include "generate/stop.h"
#include "op/op.h"

const gr_sampling gr_sampling_neutral = { .temperature = 1, .top_p = 1, .repetition = 1 };

static gram_status wrong(gram_err *err, const char *name, const char *wanted, double found)
{
    return gr_fail(err, GRAM_EARG, "%s: wanted %s, found %g", name, wanted, found);
}

gram_status gr_sampling_check(const gr_sampling *s, gram_err *err)
{
    if (s->temperature != 0 && !(s->temperature >= 1e-6 && s->temperature <= 1e6))      /* z / T stays a float */
        return wrong(err, "temperature", "0 (the likeliest token), or 1e-6 to 1e6", s->temperature);
    if (!(s->top_p > 0 && s->top_p <= 1))
        return wrong(err, "top_p", "more than 0 and at most 1", s->top_p);
    if (!(s->min_p >= 0 && s->min_p <= 1))
        return wrong(err, "min_p", "0 to 1", s->min_p);
    if (!(s->repetition >= 1e-6 && s->repetition <= 1e6))
        return wrong(err, "repetition_penalty", "1e-6 to 1e6 (1 changes nothing)", s->repetition);
    if (!(fabs(s->presence) <= 1e6))
        return wrong(err, "presence_penalty", "a number", s->presence);
    if (!(fabs(s->frequency) <= 1e6))
        return wrong(err, "frequency_penalty", "a number", s->frequency);
    return GRAM_OK;
}

gram_status gr_sampler_init(gr_sampler *s, const struct gr_kern *op, size_t V, gram_err *err)
{
    *s = (gr_sampler){ .op = op, .V = V };
    s->y = gr_alloc_aligned(V, sizeof *s->y);
    s->w = gr_alloc_aligned(V, sizeof *s->w);
    s->seen = gr_calloc(V, sizeof *s->seen);
    if (s->y && s->w && s->seen)
        return GRAM_OK;
    gr_sampler_clear(s);
    return gr_nomem(err, "sampling");
}

void gr_sampler_clear(gr_sampler *s)
{
    free(s->y);
    free(s->w);
    free(s->seen);
    *s = (gr_sampler){ 0 };
}

/* ---- Penalties ---- */

/* Calls for each id are told apart by a number, so that nothing has to be zeroed between them. */
static void next_turn(gr_sampler *r)
{
    if (++r->turn == 0) {
        memset(r->seen, 0, r->V * sizeof *r->seen);
        r->turn = 1;
    }
}

static void repetition(gr_sampler *r, const int32_t *id, size_t n, float penalty)
{
    for (size_t i = 0; i < n; i++) {
        float *y = &r->y[id[i]];
        if (r->seen[id[i]] == r->turn)
            continue;
        r->seen[id[i]] = r->turn;
        *y = *y < 0 ? *y * penalty : *y / penalty;
    }
}

static void presence(gr_sampler *r, const int32_t *id, size_t n, float once, float each)
{
    next_turn(r);
    for (size_t i = 0; i < n; i++) {
        r->y[id[i]] -= each + (r->seen[id[i]] == r->turn ? 0 : once);
        r->seen[id[i]] = r->turn;
    }
}

/* r->y: the logits after penalties, ends and temperature. */
static void process(gr_sampler *r, const float *z, const gr_sampling *s, gr_so_far text, const int32_t *end,
                    size_t n_end)
{
    memcpy(r->y, z, r->V * sizeof *z);
    if (s->repetition != 1) {
        next_turn(r);
        repetition(r, text.prompt, text.n_prompt, (float)s->repetition);
        repetition(r, text.answer, text.n_answer, (float)s->repetition);
    }
    if (s->presence != 0 || s->frequency != 0)
        presence(r, text.answer, text.n_answer, (float)s->presence, (float)s->frequency);
    if (text.n_answer < s->min_new)
        for (size_t i = 0; i < n_end; i++)
            if (end[i] >= 0 && (size_t)end[i] < r->V)
                r->y[end[i]] = -INFINITY;
    if (s->temperature != 0 && s->temperature != 1)
        for (size_t v = 0; v < r->V; v++)
            r->y[v] /= (float)s->temperature;
}

/* ---- Borders ---- */

/* Larger for larger floats. */
static uint32_t key_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* The largest key such that the weights of this key and larger ones come to `enough` at least; all weights if they
 * never do. weight NULL: each is 1. *above: the weights of larger keys. Keys are read in digits of 11, 11 and 10
 * bits. */
static uint32_t border(const float *y, const float *weight, size_t V, double enough, double *above)
{
    static const unsigned shift[] = { 21, 10, 0 }, bits[] = { 11, 11, 10 };
    static const uint32_t done[] = { 0, 0xffe00000u, 0xfffffc00u };
    double bin[2048];
    uint32_t key = 0;

    *above = 0;
    for (size_t digit = 0; digit < GR_COUNT(shift); digit++) {
        uint32_t mask = (1u << bits[digit]) - 1, b = mask, least = mask;

        memset(bin, 0, sizeof bin);
        for (size_t v = 0; v < V; v++) {
            uint32_t k = key_of(y[v]), d = k >> shift[digit] & mask;
            if ((k & done[digit]) != key)
                continue;
            bin[d] += weight ? weight[v] : 1;
            least = d < least ? d : least;
        }
        for (; b > least && *above + bin[b] < enough; b--)
            *above += bin[b];
        key |= b << shift[digit];
    }
    return key;
}

static void keep_top_k(gr_sampler *r, const float *y, size_t k)
{
    double above;
    uint32_t least;

    if (k == 0 || k >= r->V)
        return;
    least = border(y, NULL, r->V, (double)k, &above);
    for (size_t v = 0; v < r->V; v++)
        if (key_of(y[v]) < least)
            r->w[v] = 0;
}

static double sum_of(const gr_sampler *r)
{
    double sum = 0;

    for (size_t v = 0; v < r->V; v++)
        sum += r->w[v];
    return sum;
}

static void keep_top_p(gr_sampler *r, const float *y, double p)
{
    double above, enough = p * sum_of(r);
    uint32_t least = border(y, r->w, r->V, enough, &above);
    bool one = above > 0;                   /* the likeliest always stays */

    for (size_t v = 0; v < r->V; v++) {
        uint32_t k = key_of(y[v]);
        if (k < least || (k == least && one && above >= enough))
            r->w[v] = 0;
        else if (k == least && r->w[v] > 0) {
            above += r->w[v];
            one = true;
        }
    }
}

/* r->w holds exp(y - top): the tokens that the filters leave out get 0. Returns the sum of the others. */
static double filter(gr_sampler *r, const float *y, const gr_sampling *s)
{
    keep_top_k(r, y, s->top_k);
    if (s->top_p < 1)
        keep_top_p(r, y, s->top_p);
    for (size_t v = 0; s->min_p > 0 && v < r->V; v++)
        if (r->w[v] < (float)s->min_p)      /* the likeliest has 1 */
            r->w[v] = 0;
    return sum_of(r);
}

/* Whether process() would leave the order of the logits as it is, but for the ends. */
static bool keeps_order(const gr_sampling *s)
{
    return s->repetition == 1 && s->presence == 0 && s->frequency == 0;
}

/* Whether process() would leave the logits as they are. */
static bool is_raw(const gr_sampling *s, gr_so_far text)
{
    return s->temperature == 1 && keeps_order(s) && text.n_answer >= s->min_new;
}

/* The largest of what process() has left. */
static gram_status find_top(const gr_sampler *r, float *top, gram_err *err)
{
    *top = r->op->row_top(r->y, r->V);
    if (*top != -INFINITY)
        return GRAM_OK;
    return gr_fail(err, GRAM_EARG, "sampling: no token is left to draw from: min_new_tokens forbids all that the model "
                   "gives any probability");
}

gram_status gr_sample_weights(gr_sampler *r, const float *z, const gr_sampling *s, gr_so_far text, const int32_t *end,
                              size_t n_end, double *sum, gram_err *err)
{
    float top;
    gram_status rc;

    process(r, z, s, text, end, n_end);
    rc = find_top(r, &top, err);
    if (rc)
        return rc;
    *sum = r->op->row_exp(r->w, r->y, top, r->V);
    if (!isfinite(*sum))
        return gr_fail(err, GRAM_EFORMAT, "sampling: a logit is not a finite number");
    *sum = filter(r, r->y, s);
    return GRAM_OK;
}

static size_t draw(const gr_sampler *r, double target)
{
    double sum = 0;
    size_t last = 0;

    for (size_t v = 0; v < r->V; v++) {
        if (r->w[v] == 0)
            continue;
        last = v;
        sum += r->w[v];
        if (sum > target)
            break;
    }
    return last;
}

/* The first that has the largest value, which is top. */
static size_t first_of(const float *y, float top, size_t V)
{
    size_t v = 0;

    while (v + 1 < V && y[v] != top)
        v++;
    return v;
}

/* The likeliest token; top: the largest of z. */
static gram_status likeliest(gr_sampler *r, const float *z, float top, const gr_sampling *s, gr_so_far text,
                             const int32_t *end, size_t n_end, size_t *v, gram_err *err)
{
    gram_status rc;

    *v = keeps_order(s) ? first_of(z, top, r->V) : r->V;
    if (*v < r->V && (text.n_answer >= s->min_new ||
                      !gr_stops_at(&(gr_stops){ .id = end, .n_ids = n_end }, (int32_t)*v)))
        return GRAM_OK;
    process(r, z, s, text, end, n_end);
    rc = find_top(r, &top, err);
    if (!rc)
        *v = first_of(r->y, top, r->V);
    return rc;
}

gram_status gr_sample(gr_sampler *r, const float *z, const gr_sampling *s, gr_so_far text, const int32_t *end,
                      size_t n_end, double u, gr_drawn *out, gram_err *err)
{
    float top = r->op->row_top(z, r->V);
    double all = r->op->row_exp(r->w, z, top, r->V), sum;
    size_t v;
    gram_status rc = GRAM_OK;

    if (!isfinite(all))
        return gr_fail(err, GRAM_EFORMAT, "sampling: a logit is not a finite number: the model's weights are broken");
    if (s->temperature == 0) {
        rc = likeliest(r, z, top, s, text, end, n_end, &v, err);
    } else if (is_raw(s, text)) {               /* the weights are there */
        sum = filter(r, z, s);
        v = draw(r, u * sum);
    } else {
        rc = gr_sample_weights(r, z, s, text, end, n_end, &sum, err);
        v = rc ? 0 : draw(r, u * sum);
    }
    if (rc)
        return rc;
    *out = (gr_drawn){ .id = (int32_t)v, .raw = (float)((double)z[v] - top - log(all)) };
    out->tempered = out->raw;
    if (s->temperature != 0 && s->temperature != 1) {
        float T = (float)s->temperature;
        for (size_t i = 0; i < r->V; i++)
            r->y[i] = z[i] / T;
        all = r->op->row_exp(r->w, r->y, top / T, r->V);
        out->tempered = (float)((double)r->y[v] - top / T - log(all));
    }
    return GRAM_OK;
}

void gr_likeliest(const float *z, size_t V, int32_t *id, size_t n)
{
    size_t have = 0;

    for (size_t v = 0; v < V && n > 0; v++) {               /* n is small: a sorted list of the best so far */
        size_t at = have;
        while (at > 0 && z[id[at - 1]] < z[v])
            at--;
        if (at >= n)
            continue;
        have += have < n;
        memmove(id + at + 1, id + at, (have - at - 1) * sizeof *id);
        id[at] = (int32_t)v;
    }
}

double gr_draw_at(uint64_t seed, size_t at)
{
    uint64_t state = gr_random_at(seed, at);

    return gr_random_unit(&state);
}
