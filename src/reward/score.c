/* score.c - see score.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/err.h"
#include "reward/loss.h"
#include "reward/rendered.h"
#include "reward/scale.h"

enum { ONE_ENDS = 16 };         /* docs/design.md says why */

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static int by_tokens(const void *pa, const void *pb)
{
    const gr_seq *const *a = pa, *const *b = pb;
    int order = gr_seq_order(*a, *b);

    return order ? order : *a < *b ? -1 : *a > *b;
}

/* Where the last prompt of a sequence ends: the token that the header of the last answer begins with. */
static gram_status find_prompt_end(const gr_judge *j, const gr_seq *seq, size_t *at, gram_err *err)
{
    size_t n = j->gate_mark.n;

    for (size_t i = seq->n + 1 - gr_min(n, seq->n + 1); n && i-- > 0; )
        if (!memcmp(seq->token + i, j->gate_mark.p, n * sizeof *seq->token)) {
            *at = i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EFORMAT, "the conversation has no \"%s\", and this reward head weighs its outputs by what "
                   "stands there", j->gate_text);
}

/* The rows of f that the sequences' prompts end in; NULL: nothing asks for them. */
static gram_status prompt_ends(const gr_scorer *s, const gr_forest *f, const gr_seq *seq, size_t **out, gram_err *err)
{
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!gr_config_reads_prompt(gr_work_config(s->work)))
        return GRAM_OK;
    *out = gr_calloc(f->n_seqs, sizeof **out);
    if (!*out)
        return gr_nomem(err, "scores");
    for (size_t i = 0; i < f->n_seqs && !rc; i++) {
        rc = find_prompt_end(s->judge, &seq[i], &(*out)[i], err);
        if (!rc)
            (*out)[i] = gr_forest_row(f, i, (*out)[i]);
    }
    return rc;
}

void gr_scorer_count(gr_scorer *s, const gr_seq *const *seq, size_t n, size_t rows, double start)
{
    s->usage.tokens_computed += rows;
    s->usage.sequences += n;
    for (size_t i = 0; i < n; i++)
        s->usage.tokens += seq[i]->n;
    s->usage.seconds += gr_now() - start;
}

/* What is read behind each sequence: some logits, or what a reward head gives. */
struct leaves { const int32_t *label; size_t n_labels; gr_seq *seq; float *logit, *out; };

/* One forward over sorted[0..n), whose logits go to where the sequences stand in `first`. */
static gram_status run_batch(void *arg, gr_scorer *s, const gr_seq *const *sorted, const gr_seq *first, size_t n,
                             gram_err *err)
{
    struct leaves *l = arg;
    gr_forest f;
    gr_kv_tree *cache = gr_config_reads_prompt(gr_work_config(s->work)) ? NULL : s->cache;  /* has no hidden states */
    double start = gr_now();
    size_t *end = NULL;
    gram_status rc;

    for (size_t i = 0; i < n; i++)
        l->seq[i] = *sorted[i];
    rc = gr_forest_init(&f, l->seq, n, gr_work_config(s->work)->far.after, cache, GR_SAVE_SHARED, err);
    if (rc)
        return rc;
    if (!l->label)
        rc = prompt_ends(s, &f, l->seq, &end, err);
    if (!rc)
        rc = l->label ? gr_model_label_logits(s->work, &f, l->label, l->n_labels, l->logit, err)
                      : gr_model_rewards(s->work, &f, end, l->logit, err);
    free(end);
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t j = 0; j < l->n_labels; j++)
            l->out[(size_t)(sorted[i] - first) * l->n_labels + j] = l->logit[i * l->n_labels + j];
    gr_scorer_count(s, sorted, n, f.rows, start);
    gr_forest_clear(&f, !rc);
    return rc;
}

gram_status gr_score_batches(gr_scorer *s, const gr_seq *seq, size_t n, size_t extra, gr_batch_fn *fn, void *arg,
                             gram_err *err)
{
    const gr_seq **sorted = gr_calloc(n, sizeof *sorted);
    gram_status rc = sorted ? GRAM_OK : gr_nomem(err, "scores");

    for (size_t i = 0; i < n && !rc; i++)
        sorted[i] = &seq[i];
    if (!rc)
        qsort(sorted, n, sizeof *sorted, by_tokens);
    for (size_t i = 0, j; i < n && !rc; i = j) {
        size_t rows = sorted[i]->n + extra; /* in sorted order what is new is what follows the common prefix */
        for (j = i + 1; j < n; j++) {
            size_t more = sorted[j]->n + extra - gr_common_prefix(sorted[j - 1], sorted[j]);
            if (rows + more > s->batch_tokens)
                break;
            rows += more;
        }
        rc = fn(arg, s, sorted + i, seq, j - i, err);
    }
    free(sorted);
    return rc;
}

gram_status gr_score_sequences(gr_scorer *s, const gr_seq *seq, size_t n, const int32_t *label, size_t n_labels,
                               float *out, gram_err *err)
{
    struct leaves l = { label, n_labels, gr_calloc(n, sizeof *l.seq), gr_calloc(n * n_labels, sizeof *l.logit), out };
    gram_status rc = l.seq && l.logit ? gr_score_batches(s, seq, n, 0, run_batch, &l, err) : gr_nomem(err, "scores");

    free(l.seq);
    free(l.logit);
    return rc;
}

static gram_verdict verdict_of(const gr_judged *j, const float *z, bool single_order, double temperature)
{
    gram_verdict v = { .truncated = j->truncated, .tokens = j->order[0].n + j->order[1].n, .temperature = temperature };
    double forward = (double)z[0] - z[1], swapped, by = temperature > 0 ? temperature : 1;

    v.logit[0][0] = z[0];
    v.logit[0][1] = z[1];
    v.p_forward = sigmoid(forward / by);
    if (single_order) {
        v.p_swapped = NAN;
        v.preference = v.p_forward;
        v.logit_margin = forward;
        v.consistent = true;
        return v;
    }
    v.logit[1][0] = z[2];
    v.logit[1][1] = z[3];
    swapped = (double)z[3] - z[2];          /* b stands first: the label of a is B */
    v.p_swapped = sigmoid(swapped / by);
    v.preference = (v.p_forward + v.p_swapped) / 2;
    v.logit_margin = (forward + swapped) / 2;
    v.consistent = gr_orders_agree(forward, swapped);
    return v;
}

static double of_rewards(const gram_reward r[2], bool spread, double temperature)
{
    double d = (r[0].mean - r[1].mean) / temperature;

    return spread ? gr_purm_preference(d, hypot(r[0].sigma, r[1].sigma) / temperature) : sigmoid(d);
}

double gr_verdict_at(const gram_verdict *v, double temperature)
{
    double was = v->temperature > 0 ? v->temperature : 1, forward, swapped;

    if (temperature == was || (v->preference == 0.5 && v->logit_margin == 0))       /* a tie is one at any */
        return v->preference;
    if (v->rewarded)
        return of_rewards(v->reward, v->spread, temperature);
    forward = (double)v->logit[0][0] - v->logit[0][1];
    swapped = (double)v->logit[1][1] - v->logit[1][0];
    if (isnan(v->p_forward))
        return sigmoid(swapped / temperature);
    return isnan(v->p_swapped) ? sigmoid(forward / temperature)
                               : (sigmoid(forward / temperature) + sigmoid(swapped / temperature)) / 2;
}

/* What is read behind each sequence, n numbers: the outputs of a reward head; or of a judge the logits of two labels,
 * whose margin is the reward where it reads one answer; or the expected number of a scale and how likely one is. */
typedef struct { enum { HEAD, LABELS, MARGIN, SCALE } kind; size_t n; } read_out;

static read_out read_of(const gr_scorer *s)
{
    size_t outputs = gr_reward_outputs(gr_work_config(s->work)->reward);

    if (outputs)
        return (read_out){ HEAD, outputs };
    return (read_out){ s->judge->scale ? SCALE : s->judge->pointwise ? MARGIN : LABELS, 2 };
}

/* The tokens of a scale's numbers, and the end of the prompt that a head may ask for, are read before the end. */
static gr_seq seq_of(const gr_scorer *s, read_out read, gr_ids ids)
{
    bool at_end = read.kind != SCALE && !gr_config_reads_prompt(gr_work_config(s->work));

    return (gr_seq){ ids.p, ids.n, s->one_from, at_end && s->one_ends ? ids.n - gr_min(ids.n, s->one_ends) : 0 };
}

/* What the judge reads of a pair that is a word everywhere. */
static gram_status judge_word(const gr_judge *j, const char *word, gr_judged *out)
{
    const gram_message ask = { .role = "user", .content = word };
    gram_pair pair = { .prompt = { .turn = &ask, .n = 1 }, .a = word, .b = word };
    gram_status rc = gr_judge_pair(j, &pair, true, out, NULL);

    if (!rc || rc == GRAM_ENOMEM)
        return rc;
    pair.prompt.criteria = word;                    /* some judge prompts want them */
    return gr_judge_pair(j, &pair, true, out, NULL);
}

gram_status gr_scorer_take_one_byte(gr_scorer *s, gram_err *err)
{
    gr_judged a = { .dropped = false }, b = { .dropped = false };
    gram_status rc = judge_word(s->judge, "0", &a);

    if (rc != GRAM_ENOMEM)
        rc = judge_word(s->judge, "a", &b);
    s->one_from = gr_common_prefix(&(gr_seq){ a.order[0].p, a.order[0].n }, &(gr_seq){ b.order[0].p, b.order[0].n });
    s->one_ends = ONE_ENDS;
    gr_judged_clear(&a);
    gr_judged_clear(&b);
    return rc == GRAM_ENOMEM ? gr_nomem(err, "judge prompt") : GRAM_OK;
}

static gram_status read_all(gr_scorer *s, read_out read, const gr_seq *seq, size_t n, float *z, gram_err *err)
{
    return read.kind == SCALE ? gr_scale_read(s, seq, n, z, err)
                              : gr_score_sequences(s, seq, n, read.kind == HEAD ? NULL : s->judge->label, read.n, z,
                                                   err);
}

static gram_reward reward_of(read_out read, const float *z)
{
    if (read.kind == HEAD)
        return (gram_reward){ .mean = z[0], .sigma = read.n > 1 ? gr_purm_sigma(z[1]) : 0 };
    return read.kind == SCALE ? (gram_reward){ .mean = z[0], .mass = z[1] } : (gram_reward){ .mean = z[0] - z[1] };
}

static gram_verdict verdict_of_rewards(const gr_judged *j, read_out read, const float *z, double temperature)
{
    gram_verdict v = { .truncated = j->truncated, .tokens = j->order[0].n + j->order[1].n, .p_swapped = NAN,
                       .consistent = true, .rewarded = true, .spread = read.kind == HEAD && read.n > 1,
                       .temperature = temperature };

    for (size_t k = 0; k < 2; k++)
        v.reward[k] = reward_of(read, z + k * read.n);
    v.logit_margin = v.reward[0].mean - v.reward[1].mean;
    v.preference = of_rewards(v.reward, v.spread, temperature > 0 ? temperature : 1);
    v.p_forward = v.preference;
    return v;
}

/* Answers that are the same, or became the same when they were shortened. */
static bool same_answers(const gram_pair *p, const gr_judged *j)
{
    const gr_ids *a = &j->order[0], *b = &j->order[1];
    bool same_extra = p->extra_a && p->extra_b ? !strcmp(p->extra_a, p->extra_b) : p->extra_a == p->extra_b;

    return (!strcmp(p->a, p->b) && same_extra) || (a->n == b->n && a->n && !memcmp(a->p, b->p, a->n * sizeof *a->p));
}

/* No answer is better than itself: what the judge's seats say of it, or a last bit, is no preference. */
static void set_tie(gram_verdict *v)
{
    v->preference = v->p_forward = 0.5;
    v->p_swapped = isnan(v->p_swapped) ? NAN : 0.5;
    v->logit_margin = 0;
    v->consistent = true;
}

/* A NaN that a broken checkpoint makes must not pass for a score. */
static gram_status check_finite(const float *z, size_t n, gram_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(z[i]))
            return gr_fail(err, GRAM_EFORMAT, "a label's logit or a reward is %g, wanted a finite number: the model's "
                           "weights are broken", (double)z[i]);
    return GRAM_OK;
}

/* The pair of b and a, */
static gram_pair turn(const gram_pair *p)
{
    return (gram_pair){ p->prompt, p->b, p->a, p->extra_b, p->extra_a, false };
}

/* and what its one order says of a. */
static gram_verdict turn_back(gram_verdict v)
{
    v.preference = 1 - v.preference;
    v.p_swapped = 1 - v.p_forward;
    v.p_forward = NAN;
    v.logit_margin = -v.logit_margin;
    memcpy(v.logit[1], v.logit[0], sizeof v.logit[0]);
    memset(v.logit[0], 0, sizeof v.logit[0]);
    return v;
}

gram_status gr_score_pairs(gr_scorer *s, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad, gram_err *err)
{
    const read_out read = read_of(s);
    bool rewards = read.kind != LABELS;
    size_t orders = s->single_order && !rewards ? 1 : 2, n_seqs = 0;
    gr_judged *judged = gr_calloc(n, sizeof *judged);
    gr_seq *seq = gr_calloc(n * orders, sizeof *seq);
    float *z = gr_calloc(n * orders * read.n, sizeof *z), *next = z;
    gram_status rc = GRAM_OK;

    *bad = n;
    if (!judged || !seq || !z) {
        rc = gr_nomem(err, "scores");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const gram_pair turned = turn(&pair[i]);
        rc = gr_judge_pair(s->judge, orders == 1 && pair[i].turned ? &turned : &pair[i], orders == 1, &judged[i], err);
        if (rc) {
            *bad = i;
            goto out;
        }
        for (size_t k = 0; k < orders && !judged[i].dropped; k++)
            seq[n_seqs++] = seq_of(s, read, judged[i].order[k]);
    }
    rc = read_all(s, read, seq, n_seqs, z, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (judged[i].dropped) {
            out[i] = (gram_verdict){ .dropped = true };
            continue;
        }
        rc = check_finite(next, read.n * orders, err);
        if (rc)
            *bad = i;
        out[i] = rewards ? verdict_of_rewards(&judged[i], read, next, s->temperature)
                         : verdict_of(&judged[i], next, orders == 1, s->temperature);
        if (same_answers(&pair[i], &judged[i]))
            set_tie(&out[i]);
        if (orders == 1 && pair[i].turned)
            out[i] = turn_back(out[i]);
        next += read.n * orders;
    }
out:
    for (size_t i = 0; judged && i < n; i++)
        gr_judged_clear(&judged[i]);
    free(judged);
    free(seq);
    free(z);
    return rc;
}

/* The rewards of judged[n], which it clears. */
static gram_status score_judged(gr_scorer *s, gr_judged *judged, size_t n, gram_reward *out, size_t *bad, gram_err *err)
{
    const read_out read = read_of(s);
    size_t n_seqs = 0;
    gr_seq *seq = gr_calloc(n, sizeof *seq);
    float *y = gr_calloc(n * read.n, sizeof *y), *next = y;
    gram_status rc = seq && y ? GRAM_OK : gr_nomem(err, "scores");

    for (size_t i = 0; i < n && !rc; i++)
        if (!judged[i].dropped)
            seq[n_seqs++] = seq_of(s, read, judged[i].order[0]);
    if (!rc)
        rc = read_all(s, read, seq, n_seqs, y, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (judged[i].dropped) {
            out[i] = (gram_reward){ .mean = NAN, .dropped = true };
            continue;
        }
        rc = check_finite(next, read.n, err);
        if (rc)
            *bad = i;
        out[i] = reward_of(read, next);
        out[i].tokens = judged[i].order[0].n;
        out[i].truncated = judged[i].truncated;
        next += read.n;
    }
    free(seq);
    free(y);
    return rc;
}

static void free_judged(gr_judged *judged, size_t n)
{
    for (size_t i = 0; judged && i < n; i++)
        gr_judged_clear(&judged[i]);
    free(judged);
}

gram_status gr_score_answers(gr_scorer *s, gram_prompt prompt, const char *const *answer, size_t n, gram_reward *out,
                             size_t *bad, gram_err *err)
{
    gr_judged *judged = gr_calloc(n, sizeof *judged);
    gram_status rc = judged ? GRAM_OK : gr_nomem(err, "scores");

    *bad = n;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_judge_answer(s->judge, prompt, answer[i], NULL, &judged[i], NULL, err);
        if (rc)
            *bad = i;
    }
    if (!rc)
        rc = score_judged(s, judged, n, out, bad, err);
    free_judged(judged, n);
    return rc;
}

gram_status gr_score_texts(gr_scorer *s, const gram_text *text, size_t n, gram_reward *out, size_t *bad, gram_err *err)
{
    gr_judged *judged = gr_calloc(n, sizeof *judged);
    gram_status rc = judged ? GRAM_OK : gr_nomem(err, "scores");

    *bad = n;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_rendered_ids(s->judge, &text[i], &judged[i], err);
        if (rc)
            *bad = i;
    }
    if (!rc)
        rc = score_judged(s, judged, n, out, bad, err);
    free_judged(judged, n);
    return rc;
}

static double overlap(double m, double s, double n, double t)
{
    double v = s * s + t * t;

    return v > 0 ? sqrt(2 * s * t / v) * exp(-(m - n) * (m - n) / (4 * v)) : m == n;
}

void gr_overlap(const double *mean, const double *sigma, size_t n, double *u)
{
    size_t most = gr_min(n, GR_OVERLAP_MOST + 1);

    for (size_t i = 0; i < n; i++) {
        size_t others = 0;
        double sum = 0;
        for (size_t k = 0; k < most; k++) {
            size_t j = (size_t)((double)k * (double)n / (double)most);
            if (j == i || others == GR_OVERLAP_MOST)
                continue;
            sum += overlap(mean[i], sigma[i], mean[j], sigma[j]);
            others++;
        }
        u[i] = others ? sum / (double)others : NAN;
    }
}
