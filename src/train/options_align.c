/* options_align.c - options of a policy's run that say nothing, or something wrong, beside each other. */
#include <string.h>
#include "base/err.h"
#include "train/options.h"

static gram_status check_kl(const gram_train_options *o, gram_err *err)
{
    const gram_align_options *a = &o->align;

    if (a->algorithm == GRAM_ALGORITHM_ONLINE_DPO)
        return GRAM_OK;
    if (a->kl == GRAM_KL_NONE && (o->beta != 0.05 || o->reference))
        return gr_fail(err, GRAM_EARG, "%s: wanted `kl` with it, without which it says nothing",
                       o->reference ? "reference" : "beta");
    if (a->kl == GRAM_KL_NONE)
        return GRAM_OK;
    if (a->kl == GRAM_KL_K1 && a->kl_in == GRAM_KL_IN_LOSS)
        return gr_fail(err, GRAM_EARG, "kl: the gradient of k1 in the loss is 0 on average, so it would do nothing: "
                       "wanted k1 in the reward, or k2 or k3");
    return GRAM_OK;
}

/* The first setting of a clip, of ratios or of values, that is not the default; NULL: none is. */
static const char *clip_set(const gram_align_options *a)
{
    bool ratio = a->ratio != GRAM_RATIO_NONE;

    return ratio && a->clip_low != 0.2 ? "clip-low" : ratio && a->clip_high != 0.2 ? "clip-high"
         : ratio && a->dual_clip != 0 ? "dual-clip"
         : a->algorithm == GRAM_ALGORITHM_PPO && a->value_clip != 0.2 ? "value-clip" : NULL;
}

static gram_status check_updates(const gram_train_options *o, gram_err *err)
{
    const gram_align_options *a = &o->align;
    bool again = a->updates > 1 || a->rollout > o->batch_rows;
    const char *clips = clip_set(a);

    if (a->algorithm != GRAM_ALGORITHM_RAFT && a->ratio == GRAM_RATIO_NONE && again)
        return gr_fail(err, GRAM_EARG, "ratio: without one, answers may be learnt from by the weights that wrote them "
                       "alone: wanted `updates` 1 and `rollout-prompts` no more than `batch-rows`, %zu", o->batch_rows);
    if (!again && clips)
        return gr_fail(err, GRAM_EARG, "%s: each answer is learnt from once and by the weights that wrote it, so that "
                       "nothing is clipped: wanted `updates` 2 or more, or `rollout-prompts` above `batch-rows`, %zu",
                       clips, o->batch_rows);
    if (a->rollout % (a->rollout < o->batch_rows ? a->rollout : o->batch_rows))
        return gr_fail(err, GRAM_EARG, "rollout-prompts: %zu is no multiple of batch-rows, %zu", a->rollout,
                       o->batch_rows);
    return GRAM_OK;
}

/* A judge that learns to reason: its answers to one prompt read a pair in two orders. */
static gram_status check_self(const gram_align_options *a, gram_err *err)
{
    const struct { bool on; const char *name; } not[] = {
        { a->eval_judge, "eval-judge" }, { a->scheme, "scheme" }, { a->unit, "unit" }, { a->pointwise, "pointwise" },
        { a->votes, "judge-votes" }, { a->eval_votes, "eval-judge-votes" }, { a->lambda != 0, "lambda" },
        { a->global, "global" }, { a->sampler, "sampler" },
        { a->algorithm == GRAM_ALGORITHM_REMAX, "algorithm remax" },
        { a->algorithm == GRAM_ALGORITHM_ONLINE_DPO, "algorithm online-dpo" } };

    for (size_t i = 0; i < sizeof not / sizeof *not; i++)
        if (not[i].on)
            return gr_fail(err, GRAM_EARG, "%s: the judge is the policy itself, whose reasons are about both orders of "
                           "a pair, and has no use for it", not[i].name);
    if (a->samples % 2)
        return gr_fail(err, GRAM_EARG, "samples: half of them read a pair in each order: wanted an even number, found "
                       "%zu", a->samples);
    return GRAM_OK;
}

gram_status gr_options_check_align(const gram_train_options *o, gram_err *err)
{
    const gram_align_options *a = &o->align;
    bool alone = a->algorithm == GRAM_ALGORITHM_REINFORCE || a->algorithm == GRAM_ALGORITHM_REMAX ||
                 a->algorithm == GRAM_ALGORITHM_PPO;
    gram_status rc = check_kl(o, err);

    if (!rc)
        rc = check_updates(o, err);
    if (rc)
        return rc;
    if (!a->judge)
        return gr_fail(err, GRAM_EARG, "judge: wanted a path, an address or exec:COMMAND, found none: nothing says "
                       "what is a good answer");
    if (!strcmp(a->judge, GR_JUDGE_SELF))
        rc = check_self(a, err);
    else if (o->rationale_format && !a->votes)
        rc = gr_fail(err, GRAM_EARG, "rationale-format: wanted `judge` self or `judge-votes` with it, without which it "
                     "says nothing");
    else if (a->votes % 2 || a->eval_votes % 2)
        rc = gr_fail(err, GRAM_EARG, "%sjudge-votes: half of them read a pair in each order: wanted an even number, "
                     "found %zu", a->votes % 2 ? "" : "eval-", a->votes % 2 ? a->votes : a->eval_votes);
    else if (a->votes && a->pointwise)
        rc = gr_fail(err, GRAM_EARG, "judge-votes: reasons are written about two answers, and `pointwise` asks about "
                     "one");
    if (rc)
        return rc;
    if (!a->max_new)
        return gr_fail(err, GRAM_EARG, "max-new-tokens: wanted 1 or more; there is no default, which would cut answers "
                       "without a word");
    if (a->samples < 2 && !alone)
        return gr_fail(err, GRAM_EARG, "samples: %s sets the answers to a prompt against each other: wanted 2 or more",
                       gram_algorithm_name(a->algorithm));
    if (a->cut == GRAM_CUT_PENALTY ? a->cut_penalty == 0 : a->cut_penalty != 0)
        return gr_fail(err, GRAM_EARG, "cut-penalty: wanted a number above 0 with `cut` penalty, and none without; "
                       "found %g", a->cut_penalty);
    if (a->global && a->rollout % a->samples)
        return gr_fail(err, GRAM_EARG, "global: the best of each %zu answers are kept: wanted `rollout-prompts` to be "
                       "a multiple, found %zu", a->samples, a->rollout);
    if (a->global && a->min_gain > 0)
        return gr_fail(err, GRAM_EARG, "min-gain: it sets the best answer to a prompt against their mean, and with "
                       "`global` a prompt has one");
    if (a->sampler && a->kl)
        return gr_fail(err, GRAM_EARG, "sampler: the distance to a reference is measured on the policy's own answers: "
                       "wanted `kl` none");
    if (a->sampler && a->against == GRAM_AGAINST_GREEDY)
        return gr_fail(err, GRAM_EARG, "sampler: the policy writes no answers then, and `against` greedy asks for one");
    if (a->value_lr > 0 && o->lr == 0)
        return gr_fail(err, GRAM_EARG, "value-lr: it rises and falls with `lr`, which is 0");
    if (o->check_gradients)
        return gr_fail(err, GRAM_EARG, "gradients are checked of rows that are there before the run; a policy writes "
                       "its own");
    return GRAM_OK;
}
