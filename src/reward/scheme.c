/* scheme.c - see scheme.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "reward/scheme.h"
#include "reward/score.h"

#define ROUND 4096              /* comparisons asked for at once */

struct run {
    const gr_scheme *s;
    size_t n, *first, *count;   /* [n] the first response of equal text, and how many say it */
    size_t *live, n_live;       /* distinct responses that have not failed, in order */
    double *v;                  /* [n, n+1] what is known, NAN otherwise; column n: the reference */
    size_t (*pair)[2];          /* [ROUND] this and the next: the round */
    gram_verdict *verdict;
    char **fault;
    size_t asked;
    bool again;                 /* a response failed: begin again */
    size_t *parent;             /* [n] who beat it */
    gram_judged_group *out;
    gram_err *err;
};

gram_status gr_judged_group_init(gram_judged_group *out, size_t n, bool compares, gram_err *err)
{
    *out = (gram_judged_group){ .n = n };
    out->reward = gr_calloc(n, sizeof *out->reward);
    out->error = gr_calloc(n, sizeof *out->error);
    out->value = compares ? gr_calloc(n * n, sizeof *out->value) : NULL;
    if (!out->reward || !out->error || (compares && !out->value))
        return gr_nomem(err, "rewards");
    for (size_t i = 0; i < n; i++)
        out->reward[i] = NAN;
    return GRAM_OK;
}

void gram_judged_group_clear(gram_judged_group *r)
{
    for (size_t i = 0; r->error && i < r->n; i++)
        free(r->error[i]);
    free(r->reward);
    free(r->error);
    free(r->value);
    free(r->head);
    free(r->overlap);
    *r = (gram_judged_group){ 0 };
}

bool gr_judged_group_fail(gram_judged_group *out, size_t i, const char *why)
{
    if (out->error[i])
        return true;
    out->error[i] = gr_strdup(why);
    out->failed += out->error[i] != NULL;
    return out->error[i];
}

void gr_first_equal(const char *const *response, size_t n, size_t *first)
{
    for (size_t i = 0; i < n; i++) {
        first[i] = 0;
        while (first[i] < i && (first[first[i]] != first[i] || strcmp(response[first[i]], response[i])))
            first[i]++;
    }
}

/* ---- Rounds -------------------------------------------------------------------------------------- */

static double known(const struct run *r, size_t i, size_t j) { return r->v[i * (r->n + 1) + j]; }

static void know(struct run *r, size_t i, size_t j, double v)
{
    r->v[i * (r->n + 1) + j] = v == 0 ? 0 : v;                  /* no -0 */
    if (j < r->n)
        r->v[j * (r->n + 1) + i] = v == 0 ? 0 : -v;
}

static gram_status fail(struct run *r, size_t i, const char *why)
{
    r->again = true;
    return gr_judged_group_fail(r->out, i, why) ? GRAM_OK : gr_nomem(r->err, "rewards");
}

/* A comparison that cannot be made: the longer response is to blame, against the reference its own. */
static gram_status blame(struct run *r, size_t i, size_t j, const char *why)
{
    const char *const *text = r->s->response;

    if (r->out->error[i] || (j < r->n && r->out->error[j]))
        return GRAM_OK;
    return fail(r, j < r->n && strlen(text[j]) >= strlen(text[i]) ? j : i, why);
}

static gram_status take(struct run *r, size_t i, size_t j, const gram_verdict *d, const char *fault)
{
    double v = r->s->unit == GRAM_UNIT_MARGIN ? d->logit_margin : gr_verdict_at(d, 1) - 0.5;

    if (fault)
        return blame(r, i, j, fault);
    if (d->dropped)
        return blame(r, i, j, "it does not fit and was dropped");
    if (!isfinite(v))
        return blame(r, i, j, "the judge gave a number that is none");
    know(r, i, j, v);
    r->out->cost.comparisons++;
    r->out->cost.passes += isnan(d->p_swapped) ? 1 : 2;
    r->out->cost.flips += !isnan(d->p_swapped) && !d->consistent;
    r->out->cost.tokens += d->tokens;
    r->out->cost.truncated += d->truncated;
    return GRAM_OK;
}

static gram_status answer_round(struct run *r)
{
    size_t n = r->asked;
    gram_status rc = GRAM_OK;

    r->asked = 0;
    if (n)
        rc = r->s->compare(r->s->arg, (const size_t (*)[2])r->pair, n, r->verdict, r->fault, r->err);
    for (size_t k = 0; k < n; k++) {
        if (!rc)
            rc = take(r, r->pair[k][0], r->pair[k][1], &r->verdict[k], r->fault[k]);
        free(r->fault[k]);
        r->fault[k] = NULL;
    }
    return rc;
}

/* Adds a pair to the round unless it is known; a round that is full is answered. */
static gram_status ask(struct run *r, size_t i, size_t j)
{
    if (!isnan(known(r, i, j)))
        return GRAM_OK;
    r->pair[r->asked][0] = i;
    r->pair[r->asked++][1] = j;
    return r->asked == ROUND ? answer_round(r) : GRAM_OK;
}

/* ---- Schemes: each asks, and leaves without a reward where a response failed ---------------------- */

static gram_status all_pairs(struct run *r)
{
    gram_status rc = GRAM_OK;

    for (size_t a = 0; a < r->n_live; a++)
        for (size_t b = a + 1; b < r->n_live && !rc; b++)
            rc = ask(r, r->live[a], r->live[b]);
    if (!rc)
        rc = answer_round(r);
    for (size_t a = 0; a < r->n_live && !rc && !r->again; a++) {
        size_t i = r->live[a], others = r->count[i] - 1;        /* its copies, against which it has 0 */
        double sum = 0;
        for (size_t b = 0; b < r->n_live; b++)
            if (b != a) {
                sum += (double)r->count[r->live[b]] * known(r, i, r->live[b]);
                others += r->count[r->live[b]];
            }
        r->out->reward[i] = sum / (double)others;
    }
    return rc;
}

static gram_status reference(struct run *r)
{
    gram_status rc = GRAM_OK;

    for (size_t a = 0; a < r->n_live && !rc; a++)
        rc = ask(r, r->live[a], r->n);
    if (!rc)
        rc = answer_round(r);
    for (size_t a = 0; a < r->n_live && !rc && !r->again; a++)
        r->out->reward[r->live[a]] = known(r, r->live[a], r->n);
    return rc;
}

static gram_status circular(struct run *r)
{
    size_t n = r->n_live;
    gram_status rc = GRAM_OK;

    for (size_t a = 0; a < n && !rc; a++)
        if (n > 2 || a == 0)                                    /* two stand beside each other twice */
            rc = ask(r, r->live[a], r->live[(a + 1) % n]);
    if (!rc)
        rc = answer_round(r);
    for (size_t a = 0; a < n && !rc && !r->again; a++)
        r->out->reward[r->live[a]] = (known(r, r->live[a], r->live[(a + 1) % n]) +
                                      known(r, r->live[a], r->live[(a + n - 1) % n])) / 2;
    return rc;
}

/* Of two that were compared who goes on; the other hangs below it. */
static size_t winner_of(struct run *r, size_t i, size_t j)
{
    size_t won = known(r, i, j) >= 0 ? i : j;

    r->parent[won == i ? j : i] = won;
    return won;
}

/* The distance to the root, along who beat whom. */
static void hang_below(struct run *r, size_t root)
{
    for (size_t a = 0; a < r->n_live; a++) {
        double sum = 0;
        for (size_t x = r->live[a]; x != root; x = r->parent[x])
            sum += known(r, x, r->parent[x]);
        r->out->reward[r->live[a]] = sum;
    }
}

static gram_status tournament(struct run *r, size_t *still)
{
    size_t n = r->n_live;

    memcpy(still, r->live, n * sizeof *still);
    while (n > 1) {
        size_t on = 0;
        gram_status rc = GRAM_OK;
        for (size_t k = 0; k + 1 < n && !rc; k += 2)
            rc = ask(r, still[k], still[k + 1]);
        if (!rc)
            rc = answer_round(r);
        if (rc || r->again)
            return rc;
        for (size_t k = 0; k < n; k += 2)
            still[on++] = k + 1 < n ? winner_of(r, still[k], still[k + 1]) : still[k];
        n = on;
    }
    hang_below(r, still[0]);
    return GRAM_OK;
}

static gram_status linear(struct run *r)
{
    size_t best = r->live[0];

    for (size_t a = 1; a < r->n_live; a++) {
        gram_status rc = ask(r, best, r->live[a]);
        if (!rc)
            rc = answer_round(r);
        if (rc || r->again)
            return rc;
        best = winner_of(r, best, r->live[a]);
    }
    hang_below(r, best);
    return GRAM_OK;
}

/* ---- All of it ------------------------------------------------------------------------------------ */

static void find_live(struct run *r)
{
    r->n_live = 0;
    for (size_t i = 0; i < r->n; i++)
        if (r->first[i] == i && !r->out->error[i])
            r->live[r->n_live++] = i;
}

static gram_status once(struct run *r)
{
    bool one = r->n_live == 1 && r->s->scheme != GRAM_SCHEME_REFERENCE;

    r->again = false;
    if (r->n_live == 0)
        return GRAM_OK;
    if (one && r->count[r->live[0]] > 1) {                      /* all say the same */
        r->out->reward[r->live[0]] = 0;
        return GRAM_OK;
    }
    if (one)
        return fail(r, r->live[0], "no other response is left to compare it with");
    switch (r->s->scheme) {
    case GRAM_SCHEME_ALL_PAIRS:     return all_pairs(r);
    case GRAM_SCHEME_REFERENCE:     return reference(r);
    case GRAM_SCHEME_TOURNAMENT: {
        size_t *still = gr_calloc(r->n_live, sizeof *still);
        gram_status rc = still ? tournament(r, still) : gr_nomem(r->err, "rewards");
        free(still);
        return rc;
    }
    case GRAM_SCHEME_LINEAR:        return linear(r);
    case GRAM_SCHEME_CIRCULAR:      return circular(r);
    default:                        return gr_fail(r->err, GRAM_EARG, "scheme: %d is none", (int)r->s->scheme);
    }
}

/* What the first of equal ones has, all have; v as the caller gets it. */
static gram_status hand_out(struct run *r)
{
    gram_judged_group *out = r->out;

    for (size_t i = 0; i < r->n; i++) {
        size_t f = r->first[i];
        out->reward[i] = out->error[f] ? NAN : out->reward[f];
        if (out->error[f] && !gr_judged_group_fail(out, i, out->error[f]))
            return gr_nomem(r->err, "rewards");
        for (size_t j = 0; j < r->n; j++) {
            bool lost = out->error[f] || out->error[r->first[j]];
            out->value[i * r->n + j] = lost ? NAN : f == r->first[j] ? 0 : known(r, f, r->first[j]);
        }
    }
    return GRAM_OK;
}

static bool run_init(struct run *r)
{
    size_t n = r->n;

    r->first = gr_calloc(n, sizeof *r->first);
    r->count = gr_calloc(n, sizeof *r->count);
    r->live = gr_calloc(n, sizeof *r->live);
    r->parent = gr_calloc(n, sizeof *r->parent);
    r->v = gr_calloc(n * (n + 1), sizeof *r->v);
    r->pair = gr_calloc(ROUND, sizeof *r->pair);
    r->verdict = gr_calloc(ROUND, sizeof *r->verdict);
    r->fault = gr_calloc(ROUND, sizeof *r->fault);
    if (!r->first || !r->count || !r->live || !r->parent || !r->v || !r->pair || !r->verdict || !r->fault)
        return false;
    gr_first_equal(r->s->response, n, r->first);
    for (size_t i = 0; i < n; i++)
        r->count[r->first[i]]++;
    for (size_t k = 0; k < n * (n + 1); k++)
        r->v[k] = NAN;
    return true;
}

gram_status gr_scheme_run(const gr_scheme *s, gram_judged_group *out, gram_err *err)
{
    struct run r = { .s = s, .n = s->n, .out = out, .err = err };
    gram_status rc = run_init(&r) ? GRAM_OK : gr_nomem(err, "rewards");

    do {
        if (rc)
            break;
        find_live(&r);
        rc = once(&r);
    } while (r.again);
    if (!rc)
        rc = hand_out(&r);
    free(r.first);
    free(r.count);
    free(r.live);
    free(r.parent);
    free(r.v);
    free(r.pair);
    free(r.verdict);
    free(r.fault);
    return rc;
}
