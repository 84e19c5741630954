/* worth.c - from a judge's rewards to what each answer, and each of its tokens, is worth. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "base/err.h"

/* ---- Rewards ------------------------------------------------------------------------------------------ */

/* The answers to one prompt, the greedy one behind the others, by itself where the others are compared with it. */
static gram_status judge_group(gr_align *a, const gr_align_prompt *p, gr_answer *first, size_t n, const char **text,
                               double *reward, gram_err *err)
{
    bool against = a->f.reference_judge && gr_align_opt(a)->against == GRAM_AGAINST_GREEDY;
    const char *reference = against ? first[n - 1].text : p->row.reference;
    size_t judged = a->greedy && gr_align_opt(a)->algorithm != GRAM_ALGORITHM_REMAX ? n - 1 : n;
    gram_status rc;

    for (size_t i = 0; i < n; i++)
        text[i] = first[i].text;
    rc = a->f.judge.rewards(a->f.judge.arg, p, text, judged, a->f.reference_judge ? reference : NULL, reward, err);
    for (size_t i = 0; i < n; i++)
        first[i].reward = !rc && i < judged ? reward[i] : NAN;
    return rc;
}

gram_status gr_align_reward(gr_align *a, const gr_align_prompt *const *p, gr_answer *x, size_t n, gram_err *err)
{
    size_t each = a->samples + a->greedy;
    const char **text = gr_calloc(each, sizeof(*text));
    double *reward = gr_calloc(each, sizeof *reward);
    gram_status rc = text && reward ? GRAM_OK : gr_nomem(err, "rewards");

    for (size_t i = 0; i < n && !rc; i += each)
        rc = judge_group(a, p[x[i].place], x + i, each, text, reward, err);
    free(text);
    free(reward);
    return rc;
}

bool gr_align_dead(const gr_align *a, const gr_answer *x)
{
    const gr_answer *first = NULL;

    for (size_t k = 0; k < a->samples; k++) {
        if (isnan(x[k].reward))
            continue;
        if (first && x[k].reward != first->reward)
            return false;
        first = &x[k];
    }
    return true;
}

/* ---- What is taken from them --------------------------------------------------------------------------- */

static void shape(const gr_align *a, gr_answer *x)
{
    const gram_align_options *o = gr_align_opt(a);
    bool cut = x->finish == GR_LENGTH;
    double slope;

    x->kl = 0;
    for (size_t t = 0; x->s.ref && t < x->n; t++)
        x->kl += x->s.logp[t] - x->s.ref[t];
    x->shaped = x->reward - o->length_penalty * (double)x->n / (double)o->max_new -
                (cut && o->cut == GRAM_CUT_PENALTY ? o->cut_penalty : 0);
    for (size_t t = 0; x->s.ref && o->kl && o->kl_in == GRAM_KL_IN_REWARD && t < x->n; t++)
        x->shaped -= a->beta * gr_policy_kl((gr_kl)o->kl, x->s.ref[t] - x->s.logp[t], &slope);
}

/* ---- Advantages ------------------------------------------------------------------------------------------ */

/* What RAFT may learn: an answer that has a reward, was not cut where such ones are masked, and says something. */
static bool may_win(const gr_align *a, const gr_answer *x)
{
    const gr_group *row = &a->prompt[x->place]->row;

    return !isnan(x->reward) && x->k != GR_GREEDY && *x->text &&
           (x->finish != GR_LENGTH || gr_align_opt(a)->cut != GRAM_CUT_MASK) &&
           strcmp(x->text, row->turn[row->n_turns - 1].content);
}

static void win(gr_answer *x)
{
    x->learnt = true;
    x->worth = 1;
}

/* The best of n answers is learnt, where it is so much better than their mean. */
static void raft_group(const gr_align *a, gr_answer *x, size_t n)
{
    gr_answer *best = NULL;
    double mean = 0, known = 0;

    for (size_t i = 0; i < n; i++) {
        if (!isnan(x[i].reward)) {
            mean += x[i].shaped;
            known++;
        }
        if (may_win(a, &x[i]) && (!best || x[i].shaped > best->shaped))
            best = &x[i];
    }
    if (best && (known < 2 ? gr_align_opt(a)->min_gain == 0 : best->shaped - mean / known >= gr_align_opt(a)->min_gain))
        win(best);
}

static int best_first(const void *p, const void *q)
{
    const gr_answer *x = *(gr_answer *const *)p, *y = *(gr_answer *const *)q;

    return x->shaped != y->shaped ? (x->shaped < y->shaped) - (x->shaped > y->shaped)
                                  : (x->place > y->place) - (x->place < y->place);
}

/* Of all prompts' only answers, the best n / samples. */
static gram_status raft_global(const gr_align *a, gram_err *err)
{
    gr_answer **list = gr_calloc(a->n, sizeof *list);
    size_t n = 0, most = a->n / gr_align_opt(a)->samples;

    if (!list)
        return gr_nomem(err, "advantages");
    for (size_t i = 0; i < a->n; i++)
        if (may_win(a, &a->answer[i]))
            list[n++] = &a->answer[i];
    qsort(list, n, sizeof(*list), best_first);
    for (size_t i = 0; i < gr_min(n, most); i++)
        win(list[i]);
    free(list);
    return GRAM_OK;
}

/* Whether an answer stands in the loss and among what it is divided by. */
static bool is_learnt(const gr_align *a, const gr_answer *x)
{
    return x->k != GR_GREEDY && !isnan(x->reward) &&
           (x->finish != GR_LENGTH || gr_align_opt(a)->cut != GRAM_CUT_MASK);
}

/* The best answer against the worst, where they are not the same. */
static void pair_group(const gr_align *a, gr_answer *x, size_t n)
{
    gr_answer *best = NULL, *worst = NULL;

    for (size_t i = 0; i < n; i++) {
        if (!is_learnt(a, &x[i]))
            continue;
        if (!best || x[i].shaped > best->shaped)
            best = &x[i];
        if (!worst || x[i].shaped < worst->shaped)
            worst = &x[i];
    }
    if (!best || best->shaped == worst->shaped)
        return;
    best->worth = 1;
    worst->worth = -1;
    best->learnt = worst->learnt = true;
}

static gr_advantage method_of(gram_algorithm a)
{
    static const gr_advantage of[] = {
        [GRAM_ALGORITHM_REINFORCE_REJ] = GR_REINFORCE, [GRAM_ALGORITHM_RLOO] = GR_RLOO,
        [GRAM_ALGORITHM_GRPO] = GR_GRPO, [GRAM_ALGORITHM_DR_GRPO] = GR_DR_GRPO,
        [GRAM_ALGORITHM_REINFORCE] = GR_REINFORCE, [GRAM_ALGORITHM_REMAX] = GR_REMAX };

    return of[a];
}

/* The n answers to a prompt without the greedy one, which is behind them where there is one. */
static void gradient_group(const gr_align *a, gr_answer *x, size_t n, double running, double *r, bool *known,
                           double *worth)
{
    gram_algorithm how = gr_align_opt(a)->algorithm;
    double baseline = how == GRAM_ALGORITHM_REMAX ? x[n].shaped : how == GRAM_ALGORITHM_REINFORCE ? running : 0;
    bool rejected = how == GRAM_ALGORITHM_REINFORCE_REJ && gr_align_dead(a, x), lost = isnan(baseline);

    for (size_t i = 0; i < n; i++) {
        r[i] = x[i].shaped;
        known[i] = !isnan(x[i].reward) && !lost;
    }
    gr_advantage_group(method_of(how), r, known, n, baseline, gr_align_opt(a)->sd_floor, worth);
    for (size_t i = 0; i < n; i++) {
        x[i].learnt = is_learnt(a, &x[i]) && !lost && !rejected;
        x[i].worth = x[i].learnt ? worth[i] : 0;
    }
}

static void value_group(const gr_align *a, gr_answer *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        x[i].learnt = is_learnt(a, &x[i]);
        if (x[i].learnt)
            gr_align_gae(a, &x[i]);
    }
}

static double mean_reward(const gr_align *a, double *known)
{
    double sum = 0;

    *known = 0;
    for (size_t i = 0; i < a->n; i++)
        if (a->answer[i].k != GR_GREEDY && !isnan(a->answer[i].reward)) {
            sum += a->answer[i].shaped;
            ++*known;
        }
    return *known ? sum / *known : 0;
}

static gram_status spread(gr_align *a, gram_err *err)
{
    size_t tokens = 0, at = 0;
    double *all, sum;

    for (size_t i = 0; i < a->n; i++) {
        for (size_t t = 0; t < a->answer[i].n && !a->f.value; t++)
            a->answer[i].s.advantage[t] = a->answer[i].worth;
        tokens += a->answer[i].learnt ? a->answer[i].n : 0;
    }
    if (!gr_align_opt(a)->whiten)
        return GRAM_OK;
    all = gr_calloc(tokens, sizeof *all);
    if (!all)
        return gr_nomem(err, "advantages");
    for (size_t i = 0; i < a->n; i++)
        for (size_t t = 0; a->answer[i].learnt && t < a->answer[i].n; t++)
            all[at++] = a->answer[i].s.advantage[t];
    gr_advantage_whiten(all, tokens);
    at = 0;
    for (size_t i = 0; i < a->n; i++)
        if (a->answer[i].learnt) {
            sum = 0;
            for (size_t t = 0; t < a->answer[i].n; t++)
                sum += a->answer[i].s.advantage[t] = all[at++];
            a->answer[i].worth = sum / (double)a->answer[i].n;
        }
    free(all);
    return GRAM_OK;
}

/* The running mean of all rewards so far, and how many they are; then beta. */
static void carry(gr_align *a, double *carried)
{
    const gram_align_options *o = gr_align_opt(a);
    double known, mean = mean_reward(a, &known), kl = 0, n = 0;

    if (known)
        carried[0] += (mean - carried[0]) * known / (carried[1] + known);
    carried[1] += known;
    for (size_t i = 0; i < a->n; i++)
        if (a->answer[i].k != GR_GREEDY) {
            kl += a->answer[i].kl;
            n++;
        }
    if (o->kl_target > 0)
        carried[2] = gr_beta_adapted(a->beta, kl / n, o->kl_target, n, o->kl_horizon);
}

gram_status gr_align_worth(gr_align *a, double *carried, gram_err *err)
{
    gram_algorithm how = gr_align_opt(a)->algorithm;
    size_t each = a->n / a->prompts, n = a->samples;
    double *numbers = gr_calloc(2 * each, sizeof *numbers), known, running;
    bool *is = gr_calloc(each, sizeof *is);
    gram_status rc = numbers && is ? GRAM_OK : gr_nomem(err, "advantages");

    for (size_t i = 0; i < a->n; i++)
        shape(a, &a->answer[i]);
    running = carried[1] > 0 ? carried[0] : mean_reward(a, &known);
    if (!rc && gr_align_opt(a)->global)
        rc = raft_global(a, err);
    for (size_t i = 0; i < a->n && !gr_align_opt(a)->global && !rc; i += each)
        if (how <= GRAM_ALGORITHM_RAFT_PP)
            raft_group(a, a->answer + i, n);
        else if (how == GRAM_ALGORITHM_ONLINE_DPO)
            pair_group(a, a->answer + i, n);
        else if (how == GRAM_ALGORITHM_PPO)
            value_group(a, a->answer + i, n);
        else
            gradient_group(a, a->answer + i, n, running, numbers, is, numbers + each);
    if (!rc)
        rc = spread(a, err);
    if (!rc)
        carry(a, carried);
    free(numbers);
    free(is);
    return rc;
}
