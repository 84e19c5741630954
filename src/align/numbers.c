/* numbers.c - what a rollout and a step come to, under TRL's names, and each answer as a line of samples.jsonl. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "base/err.h"
#include "base/json.h"

#define MANY_CUT 0.2           /* share of the answers */

void gr_align_number(gr_align *a, const char *name, double value)
{
    if (a->n_numbers < NUMBERS)
        a->number[a->n_numbers++] = (gram_number){ name, value };
}

/* The mean, the standard deviation over n - 1 and the ends of a list that comes one by one. */
struct spread { double n, mean, squares, least, most; };

static void take(struct spread *s, double x)
{
    double d = x - s->mean;

    if (isnan(x))
        return;
    s->least = s->n ? fmin(s->least, x) : x;
    s->most = s->n ? fmax(s->most, x) : x;
    s->mean += d / ++s->n;
    s->squares += d * (x - s->mean);
}

static double mean(const struct spread *s) { return s->n ? s->mean : NAN; }
static double deviation(const struct spread *s) { return s->n > 1 ? sqrt(s->squares / (s->n - 1)) : NAN; }

/* The deviation of the rewards of answers to one prompt, its mean over prompts, as TRL has it; of all where each prompt
 * has one answer. */
static double group_deviation(const gr_align *a, double of_all)
{
    size_t each = a->n / a->prompts;
    struct spread all = { 0 };

    for (size_t i = 0; i < a->n; i += each) {
        struct spread one = { 0 };
        for (size_t k = 0; k < a->samples; k++)
            take(&one, a->answer[i + k].reward);
        take(&all, deviation(&one));
    }
    return a->samples < 2 ? of_all : mean(&all);
}

static bool sampled(const gr_answer *x) { return x->k != GR_GREEDY && !isnan(x->reward); }

/* Of rewards and lengths. */
static double correlation(const gr_align *a)
{
    struct spread r = { 0 }, l = { 0 };
    double both = 0;

    for (size_t i = 0; i < a->n; i++)
        if (sampled(&a->answer[i])) {
            take(&r, a->answer[i].reward);
            take(&l, (double)a->answer[i].n);
        }
    for (size_t i = 0; i < a->n; i++)
        if (sampled(&a->answer[i]))
            both += (a->answer[i].reward - r.mean) * ((double)a->answer[i].n - l.mean);
    return r.squares > 0 && l.squares > 0 ? both / sqrt(r.squares * l.squares) : NAN;
}

/* The share of prompts whose answers all have one reward: they teach nothing. */
static double dead(const gr_align *a)
{
    size_t each = a->n / a->prompts, n = 0;

    for (size_t i = 0; i < a->n; i += each)
        n += gr_align_dead(a, a->answer + i);
    return a->samples < 2 ? NAN : (double)n / (double)a->prompts;
}

static void tell_lengths(gr_align *a, const struct spread *all, const struct spread *ended)
{
    gr_align_number(a, "completions/mean_length", mean(all));
    gr_align_number(a, "completions/min_length", all->least);
    gr_align_number(a, "completions/max_length", all->most);
    gr_align_number(a, "completions/mean_terminated_length", ended->n ? ended->mean : 0);
    gr_align_number(a, "completions/min_terminated_length", ended->least);
    gr_align_number(a, "completions/max_terminated_length", ended->most);
    gr_align_number(a, "completions/clipped_ratio", all->n ? (all->n - ended->n) / all->n : NAN);
    gr_align_number(a, "num_tokens", all->n * mean(all));
}

/* Said once: what is learnt of cut answers is seldom what was meant. */
static void warn_cut(gr_align *a, const struct spread *all, const struct spread *ended)
{
    static const char *const learnt[] = {
        [GRAM_CUT_MASK] = "nothing is learnt of them", [GRAM_CUT_KEEP] = "they are learnt like the others",
        [GRAM_CUT_PENALTY] = "`cut-penalty` is taken from their reward",
    };
    gram_warn_fn *note = a->f.opt->note;
    char text[192];

    if (a->warned || !note || all->n - ended->n <= MANY_CUT * all->n)
        return;
    a->warned = true;
    snprintf(text, sizeof text, "%.0f of %.0f answers ran into `max-new-tokens`, %zu: they have no end, and as "
             "`cut` says %s", all->n - ended->n, all->n, gr_align_opt(a)->max_new, learnt[gr_align_opt(a)->cut]);
    note(a->f.opt->arg, text);
}

/* Of each token: how likely it was, and how far the pass that trains is from the one that wrote. */
static void tell_tokens(gr_align *a)
{
    struct spread entropy = { 0 }, apart = { 0 }, k1 = { 0 }, k3 = { 0 };
    double slope;

    for (size_t i = 0; i < a->n; i++) {
        const gr_answer *x = &a->answer[i];
        for (size_t t = 0; t < x->n && x->k != GR_GREEDY; t++) {
            take(&entropy, -x->drawn[t]);
            if (x->s.logp[t] != 0)
                take(&apart, fabs(x->s.logp[t] - x->drawn[t]));
            if (x->s.ref) {
                take(&k1, x->s.logp[t] - x->s.ref[t]);
                take(&k3, gr_policy_kl(GR_KL_3, x->s.ref[t] - x->s.logp[t], &slope));
            }
        }
    }
    gr_align_number(a, "entropy", mean(&entropy));
    gr_align_number(a, "kl", mean(&k1));
    gr_align_number(a, "kl_k3", mean(&k3));
    if (apart.n) {
        gr_align_number(a, "sampling/sampling_logp_difference/mean", apart.mean);
        gr_align_number(a, "sampling/sampling_logp_difference/max", apart.most);
    }
}

void gr_align_tell_rollout(gr_align *a)
{
    struct spread reward = { 0 }, learnt = { 0 }, length = { 0 }, ended = { 0 };
    size_t failed = 0, of = 0;

    a->n_numbers = 0;
    for (size_t i = 0; i < a->n; i++) {
        const gr_answer *x = &a->answer[i];
        if (x->k == GR_GREEDY)
            continue;
        of++;
        failed += isnan(x->reward);
        take(&reward, x->reward);
        take(&length, (double)x->n);
        if (x->finish != GR_LENGTH)
            take(&ended, (double)x->n);
        if (x->learnt)
            take(&learnt, x->reward);
    }
    gr_align_number(a, "reward", mean(&reward));
    gr_align_number(a, "reward_std", group_deviation(a, deviation(&reward)));
    gr_align_number(a, "rewards/judge/mean", mean(&reward));
    gr_align_number(a, "rewards/judge/std", deviation(&reward));
    gr_align_number(a, "rewards/learnt/mean", mean(&learnt));
    gr_align_number(a, "learnt", learnt.n);
    gr_align_number(a, "frac_reward_zero_std", dead(a));
    if (gr_align_opt(a)->resample) {
        double left = dead(a) * (double)a->prompts, drawn = (double)(a->prompts + a->replaced);
        gr_align_number(a, "resampled", (double)a->replaced);
        gr_align_number(a, "frac_drawn_zero_std", (left + (double)a->replaced) / drawn);
    }
    gr_align_number(a, "corr_reward_length", correlation(a));
    gr_align_number(a, "judge/unparsed", (double)failed / (double)of);
    tell_lengths(a, &length, &ended);
    warn_cut(a, &length, &ended);
    tell_tokens(a);
    if (a->f.value)
        gr_align_number(a, "val/explained_variance", gr_align_explained(a));
    gr_align_number(a, "beta", a->f.reference ? a->beta : NAN);
    gr_align_number(a, "time/generate", a->took.generate);
    gr_align_number(a, "time/judge", a->took.judge);
    gr_align_number(a, "time/reference", a->took.reference);
}

void gr_align_tell_step(gr_align *a, const gr_policy_sum *s, double seconds)
{
    if (s->ratios > 0) {
        gr_align_number(a, "clip_ratio/low_mean", s->low / s->ratios);
        gr_align_number(a, "clip_ratio/high_mean", s->high / s->ratios);
        gr_align_number(a, "clip_ratio/region_mean", (s->low + s->high) / s->ratios);
        gr_align_number(a, "val/ratio", s->ratio / s->ratios);
        gr_align_number(a, "val/ratio_min", s->ratio_min);
        gr_align_number(a, "val/ratio_max", s->ratio_max);
        gr_align_number(a, "policy/approxkl_avg", s->old_kl / s->ratios);
    }
    gr_align_number(a, "time/train", seconds);
}

/* ---- Samples --------------------------------------------------------------------------------------------- */

static const char *finish_name(gr_finish f)
{
    return f == GR_LENGTH ? "length" : f == GR_STOP ? "stop" : "stop_string";
}

/* One for each token; null where nobody knows them. */
static json_t *logprobs_json(const gr_answer *x, bool reference)
{
    json_t *list = json_array();

    if (reference ? !x->s.ref : isnan(x->drawn[0])) {
        json_decref(list);
        return json_null();
    }
    for (size_t t = 0; t < x->n && list; t++)
        if (json_array_append_new(list, gr_json_real(reference ? x->s.ref[t] : (double)x->drawn[t]))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *told_json(const gr_align *a, const gr_answer *x, uint64_t step)
{
    const gr_align_prompt *p = a->prompt[x->place];
    const gr_group *row = &p->row;
    char weights[24];
    double logp = 0;

    for (size_t t = 0; t < x->n; t++)
        logp += x->drawn[t];
    snprintf(weights, sizeof weights, "%016" PRIx64, a->weights);
    return json_pack("{s:I, s:s, s:o*, s:i, s:s, s:s, s:s, s:I, s:o, s:f, s:b, s:o, s:o, s:I, s:s}", "step",
                     (json_int_t)step, "prompt_id", row->id, "order",
                     row->n ? json_integer(gr_align_order(p, x->k)) : NULL, "sample",
                     x->k == GR_GREEDY ? -1 : (int)x->k, "prompt", row->turn[row->n_turns - 1].content,
                     "completion", x->text, "finish", finish_name(x->finish), "tokens",
                     (json_int_t)x->n, "reward", gr_json_real(x->reward), "advantage", x->worth, "learnt",
                     x->learnt, "kl", x->s.ref ? json_real(x->kl) : json_null(), "logp", gr_json_real(logp), "seed",
                     (json_int_t)x->seed, "weights", weights);
}

static json_t *sample_json(const gr_align *a, const gr_answer *x, uint64_t step)
{
    json_t *o = told_json(a, x, step);

    if (!o || gr_align_opt(a)->no_logprobs)
        return o;
    if (json_object_set_new(o, "logprobs", logprobs_json(x, false)) ||
        json_object_set_new(o, "ref_logprobs", logprobs_json(x, true))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

gram_status gr_align_write_samples(const gr_align *a, uint64_t step, gr_metrics *m, gram_err *err)
{
    gr_buf line = { 0 };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < a->n && !rc; i++) {
        json_t *o = sample_json(a, &a->answer[i], step);
        char *text = gr_json_text(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
        if (!text || !gr_buf_printf(&line, "%s\n", text))
            rc = gr_nomem(err, "samples");
        json_decref(o);
        free(text);
    }
    if (!rc)
        rc = gr_metrics_sample(m, &line, err);
    gr_buf_clear(&line);
    return rc;
}
