/* align.c - see align.h. Which prompts a rollout answers follows from the seed and its number; what goes from one
 * rollout to the next is `carried`: the running mean of the rewards, how many they were, beta where it adapts, and how
 * many prompts took the places of others. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"

#define APART 1e-2              /* of two log-probabilities of one token: who wrote is not who is trained */

/* ---- Opening ----------------------------------------------------------------------------------------- */

static gr_policy_rules rules_of(const gram_train_options *o)
{
    const gram_align_options *a = &o->align;
    bool in_loss = a->kl != GRAM_KL_NONE && a->kl_in == GRAM_KL_IN_LOSS;

    return (gr_policy_rules){ .ratio = (gr_ratio)a->ratio, .clips = a->ratio != GRAM_RATIO_NONE, .low = a->clip_low,
                              .high = a->clip_high, .dual = a->dual_clip, .per = (gr_per)a->per,
                              .longest = (double)a->max_new, .kl = in_loss ? (gr_kl)a->kl : GR_KL_NONE,
                              .beta = o->beta };
}

/* Tokens of the longest prompt with an answer. */
static size_t longest(const gr_align_prompts *p, size_t max_new)
{
    size_t n = 0;

    for (size_t i = 0; i < p->n; i++)
        n = gr_max(n, gr_max(p->p[i].ids.n, p->p[i].other.n));
    return n + max_new;
}

static void plan(gr_align *a)
{
    const gram_train_options *o = a->f.opt;
    const gram_align_options *x = &o->align;
    uint64_t rollouts, every;

    a->prompts = gr_min(x->rollout, a->f.train->n);
    a->steps = (a->prompts + o->batch_rows - 1) / o->batch_rows;
    every = a->steps * x->updates;
    rollouts = o->steps ? (o->steps + every - 1) / every
                        : ((uint64_t)a->f.train->n * o->epochs + a->prompts - 1) / a->prompts;
    a->source.every = every;
    a->source.steps = rollouts * every;
    a->source.rows = gr_max(a->f.batch_tokens, longest(a->f.train, x->max_new));
    a->source.bytes = a->f.kv_bytes + a->f.bytes;
    a->source.rests = x->value_warmup;
    a->samples = x->global ? 1 : x->samples;
    a->greedy = x->algorithm == GRAM_ALGORITHM_REMAX ||
                (a->f.reference_judge && x->against == GRAM_AGAINST_GREEDY);
}

/* What is not as it was asked for. */
static void say_plan(const gr_align *a)
{
    const gram_train_options *o = a->f.opt;
    char text[192];

    if (!o->note)
        return;
    if (a->prompts < o->align.rollout) {
        snprintf(text, sizeof text, "rollout-prompts: %zu, and there are %zu: a rollout answers all of them, and is "
                 "learnt in %" PRIu64 " step%s", o->align.rollout, a->prompts, a->source.every,
                 a->source.every == 1 ? "" : "s");
        o->note(o->arg, text);
    }
    if (o->steps && o->steps != a->source.steps) {
        snprintf(text, sizeof text, "steps: %" PRIu64 ", and a rollout is learnt in %" PRIu64 ": the last one is "
                 "ended, at step %" PRIu64, o->steps, a->source.every, a->source.steps);
        o->note(o->arg, text);
    }
}

static gram_status learn(void *arg, gr_grad *g, uint64_t step, double *carried, gr_metrics *m, gr_sum *sum,
                         const gram_number **numbers, size_t *n, gram_err *err);
static gram_status judge_held(void *arg, gr_grad *g, uint64_t step, gr_held *h, bool *stopped, gram_err *err);
static bool settings(const void *arg, gr_buf *b);

gram_status gr_align_open(gr_align **out, const gr_align_facts *f, gram_err *err)
{
    gr_align *a = gr_calloc(1, sizeof *a);
    const gram_align_options *o = &f->opt->align;

    *out = NULL;
    if (!a)
        return gr_nomem(err, "a policy");
    a->f = *f;
    a->source = (gr_source){ .arg = a, .learn = learn, .judge = judge_held, .settings = settings };
    plan(a);
    say_plan(a);
    if (a->source.rests && a->source.rests >= a->source.steps) {
        gr_fail(err, GRAM_EARG, "value-warmup: %" PRIu64 " steps of %" PRIu64 ", so that none is the policy's",
                o->value_warmup, a->source.steps);
        gr_align_close(a);
        return GRAM_EARG;
    }
    a->rules = rules_of(f->opt);
    a->order = (gr_order){ .n = f->train->n, .seed = f->opt->seed };
    a->writer = (gr_writer){ f->model, f->lora, f->device, f->tok, f->ends, f->kv_bytes, f->batch_tokens,
                             o->temperature, o->top_p, o->max_new, f->tag };
    a->reference = (gr_grad){ .t = f->reference, .cfg = gr_model_config(f->model), .device = f->device, .write = true,
                              .temperature = o->temperature };
    a->value = (gr_grad){ .t = f->value, .cfg = f->value_config, .device = f->device, .write = true };
    a->source.also = f->values;
    a->source.n_also = f->n_values;
    a->prompt = gr_calloc(a->prompts, sizeof(*a->prompt));
    a->turn = gr_calloc(a->prompts, sizeof *a->turn);
    if (!a->prompt || !a->turn) {
        gr_align_close(a);
        return gr_nomem(err, "a policy");
    }
    *out = a;
    return GRAM_OK;
}

const gr_source *gr_align_source(const gr_align *a)
{
    return &a->source;
}

void gr_align_close(gr_align *a)
{
    if (!a)
        return;
    gr_answers_free(a->answer, a->n);
    gr_order_clear(&a->order);
    gr_grad_clear(&a->reference);
    gr_grad_clear(&a->value);
    free(a->prompt);
    free(a->turn);
    free(a);
}

static bool settings(const void *arg, gr_buf *b)
{
    const gr_align *a = arg;

    if (a->f.sampler.write && !gr_buf_printf(b, "sampler=%016" PRIx64 "\n", a->f.sampler.weights))
        return false;
    return !a->f.value_base || gr_buf_printf(b, "value model=%016" PRIx64 "\n", a->f.value_base);
}

/* ---- A rollout ------------------------------------------------------------------------------------------ */

static uint64_t digest_weights(gr_trainee *t, uint64_t h)
{
    float x[1024];
    size_t n_params;
    const gr_param *p = gr_trainee_params(t, &n_params);

    for (size_t i = 0; i < n_params; i++)
        for (size_t k = 0, n; k < gr_param_count(&p[i]); k += n) {
            n = gr_min(GR_COUNT(x), gr_param_count(&p[i]) - k);
            gr_param_get(&p[i], k, n, x);
            h = gr_digest_words(h, x, n);
        }
    return h;
}

gram_status gr_align_take(gr_align *a, const gr_align_prompt **p, size_t n, uint64_t first, gram_err *err)
{
    gram_status rc = GRAM_OK;
    size_t index;

    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_order_at(&a->order, first + i, &index, err);
        if (!rc)
            p[i] = &a->f.train->p[index];
    }
    return rc;
}

gram_status gr_align_answer(gr_align *a, const gr_align_prompt *const *p, size_t n, uint64_t seed, gr_answer **out,
                            size_t *n_out, gram_err *err)
{
    gr_part own = gr_align_part(a, n);
    double begin = gr_now();
    gram_status rc = a->f.sampler.write
                         ? gr_rollout_other(&a->f, p, own, a->samples, seed, out, n_out, err)
                         : gr_rollout(&a->writer, p, own, a->samples, a->greedy, seed, out, n_out, err);

    a->took.generate += gr_now() - begin;
    begin = gr_now();
    if (!rc)
        rc = gr_align_reward(a, p, *out, *n_out, err);
    a->took.judge += gr_now() - begin;
    return rc ? rc : gr_align_gather(a, out, n_out, n * (a->samples + a->greedy), err);
}

gram_status gr_align_batches(const gr_align *a, gr_sampled *const *s, size_t n, gr_some_fn *fn, void *arg,
                             gram_err *err)
{
    const gr_example **e = gr_calloc(n, sizeof(*e));
    gram_status rc = e ? GRAM_OK : gr_nomem(err, "samples");

    for (size_t i = 0; i < n && !rc; i++)
        e[i] = &s[i]->e;
    for (size_t i = 0, k; i < n && !rc; i += k) {
        k = gr_grad_fits(e + i, n - i, a->f.batch_tokens);
        rc = fn(arg, s + i, k, err);
    }
    free(e);
    return rc;
}

struct reading { gr_grad *g; gr_sum sum; };

static gram_status read_some(void *arg, gr_sampled *const *s, size_t n, gram_err *err)
{
    struct reading *r = arg;

    return gr_grad_logp(r->g, s, n, &r->sum, err);
}

/* The log-probabilities of all answers, by g, into place `into` of their numbers; each process reads its own. */
static gram_status read_all(gr_align *a, gr_grad *g, size_t into, gr_sum *sum, gram_err *err)
{
    gr_sampled **s = gr_calloc(a->n, sizeof *s);
    struct reading r = { g, { 0 } };
    gr_part own = gr_align_part(a, a->prompts);
    size_t each = a->n / a->prompts;
    gram_status rc = s ? GRAM_OK : gr_nomem(err, "samples");
    size_t n = 0;

    for (size_t i = own.at * each; i < (own.at + own.n) * each && !rc; i++)
        if (a->answer[i].k != GR_GREEDY) {
            a->answer[i].s.logp = a->answer[i].numbers + into * a->answer[i].n;
            s[n++] = &a->answer[i].s;
        }
    if (!rc)
        rc = gr_align_batches(a, s, n, read_some, &r, err);
    if (!rc)
        rc = gr_align_gather_numbers(a, into, err);
    for (size_t i = 0; i < a->n; i++)
        a->answer[i].s.logp = a->answer[i].numbers;
    sum->tokens += r.sum.tokens;
    sum->computed += r.sum.computed;
    free(s);
    return rc;
}

/* What wrote and what is trained are one policy, or something is wrong. */
static gram_status check_apart(const gr_align *a, gram_err *err)
{
    for (size_t i = 0; i < a->n; i++) {
        const gr_answer *x = &a->answer[i];
        for (size_t t = 0; t < x->n && x->k != GR_GREEDY; t++)
            if (!(fabs(x->s.logp[t] - x->drawn[t]) <= APART))
                return gr_fail(err, GRAM_EFORMAT, "token %zu of an answer had the log-probability %g when it was "
                               "drawn, and has %g in the pass that learns it: these are two policies", t,
                               (double)x->drawn[t], x->s.logp[t]);
    }
    return GRAM_OK;
}

/* The memory of a step's activations, for those who write and judge. To take it again costs a step the time in which
 * the system clears it, so where there is plenty beside it, it stays. */
static void give_back(const gr_align *a, gr_trainee *t)
{
    if (gr_dist_size(a->f.opt->dist) > 1 || gr_device_free_bytes(a->f.device) < 2 * gr_trainee_held(t))
        gr_trainee_release(t);
}

/* Log-probabilities of those who wrote, where a later step or a distance asks for them. */
static gram_status read_answers(gr_align *a, gr_grad *g, gr_sum *sum, gram_err *err)
{
    bool later = a->source.every > 1 && a->rules.ratio != GR_RATIO_NONE;
    double begin = gr_now();
    gram_status rc = later || a->f.reference ? read_all(a, g, GR_AT_LOGP, sum, err) : GRAM_OK;

    if (!rc && (later || a->f.reference))
        rc = check_apart(a, err);
    if (!rc && a->f.reference)
        rc = read_all(a, &a->reference, GR_AT_REFERENCE, sum, err);
    for (size_t i = 0; i < a->n && !rc; i++) {
        gr_answer *x = &a->answer[i];
        if (later)
            x->s.old = memcpy(x->numbers + GR_AT_OLD * x->n, x->s.logp, x->n * sizeof *x->s.logp);
        if (a->f.reference && x->k != GR_GREEDY)
            x->s.ref = x->numbers + GR_AT_REFERENCE * x->n;
    }
    give_back(a, g->t);
    if (a->f.reference)
        give_back(a, a->f.reference);
    if (!rc && a->f.value)
        rc = gr_align_read_values(a, g, sum, err);
    a->took.reference = gr_now() - begin;
    return rc;
}

/* A judge that fails at everything is seldom one that means it, and nothing would be learnt to the end of the run. */
static gram_status check_judged(const gr_align *a, gram_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++)
        n += !isnan(a->answer[i].reward);
    return n ? GRAM_OK : gr_fail(err, GRAM_EFORMAT, "the judge gave none of %zu answers a reward", a->n);
}

static gram_status make_rollout(gr_align *a, gr_grad *g, uint64_t rollout, double *carried, gr_sum *sum, gram_err *err)
{
    uint64_t seed = gr_random_at(gr_random_at(0x726f6c6c, a->f.opt->seed), rollout);
    gram_status rc;

    gr_answers_free(a->answer, a->n);
    a->answer = NULL;
    a->n = 0;
    a->there = false;
    a->took.generate = a->took.judge = 0;
    a->beta = carried[2] > 0 ? carried[2] : a->f.opt->beta;
    a->rules.beta = a->beta;
    a->weights = a->f.sampler.write ? a->f.sampler.weights : digest_weights(g->t, a->f.base);
    gr_trainee_keep(g->t);                          /* nothing is dropped where answers are only read */
    give_back(a, g->t);
    rc = gr_align_take(a, a->prompt, a->prompts, rollout * a->prompts + (uint64_t)carried[3], err);
    if (!rc)
        rc = gr_align_answer(a, a->prompt, a->prompts, seed, &a->answer, &a->n, err);
    if (!rc)
        rc = gr_align_refill(a, rollout, seed, carried, err);
    if (!rc)
        rc = check_judged(a, err);
    if (!rc)
        rc = read_answers(a, g, sum, err);
    if (!rc)
        rc = gr_align_worth(a, carried, err);
    if (rc)
        return rc;
    gr_align_tell_rollout(a);
    a->at = rollout;
    a->there = true;
    a->turn_of = SIZE_MAX;
    return GRAM_OK;
}

/* ---- A step ----------------------------------------------------------------------------------------------- */

/* In which order pass `pass` over the rollout takes its prompts. */
static void shuffle(gr_align *a, size_t pass)
{
    uint64_t state = gr_random_at(gr_random_at(gr_random_at(0x70617373, a->f.opt->seed), a->at), pass);

    for (size_t i = 0; i < a->prompts; i++)
        a->turn[i] = i;
    for (size_t i = a->prompts; i > 1; i--) {
        size_t k = gr_random_below(&state, i), was = a->turn[i - 1];
        a->turn[i - 1] = a->turn[k];
        a->turn[k] = was;
    }
    a->turn_of = pass;
}

/* The answers that step `within` of the rollout learns, and what they count: of those whose weight is 0 whatever their
 * probability, the count alone. */
static size_t pick(gr_align *a, size_t within, gr_sampled **s, gr_policy_counts *counts)
{
    size_t each = a->n / a->prompts, first = within % a->steps * a->f.opt->batch_rows, n = 0;
    size_t end = gr_min(first + a->f.opt->batch_rows, a->prompts);

    if (a->turn_of != within / a->steps)
        shuffle(a, within / a->steps);
    *counts = (gr_policy_counts){ 0, 0 };
    for (size_t i = first; i < end; i++)
        for (size_t k = 0; k < each; k++) {
            gr_answer *x = &a->answer[a->turn[i] * each + k];
            if (!x->learnt)
                continue;
            counts->tokens += (double)x->n;
            counts->answers++;
            if (x->worth != 0 || a->rules.kl != GR_KL_NONE || a->f.value)
                s[n++] = &x->s;
        }
    return n;
}

struct learning { gr_align *a; gr_grad *g; gr_policy_counts counts; gr_policy_sum policy; gr_sum *sum; };

static gram_status learn_some(void *arg, gr_sampled *const *s, size_t n, gram_err *err)
{
    struct learning *l = arg;

    return gr_grad_policy(l->g, &l->a->rules, s, n, l->counts, &l->policy, l->sum, err);
}

/* ---- Pairs: online DPO --------------------------------------------------------------------------------------- */

/* The pair of the n answers to a prompt as a row of dpo: their ids stay where they are. false: there is none. */
static bool pair_of(const gr_answer *x, size_t n, gr_example *e, double ref[2])
{
    size_t found = 0;

    *e = (gr_example){ .target = 1, .weight = 1, .soft = 1, .ref = ref };
    ref[0] = ref[1] = 0;
    for (size_t i = 0; i < n; i++) {
        int k = x[i].worth < 0;
        if (x[i].worth == 0)
            continue;
        e->seq[k] = x[i].s.e.seq[0];
        *(k ? &e->asked_other : &e->asked) = x[i].s.e.asked;
        for (size_t t = 0; t < x[i].n; t++)
            ref[k] += x[i].s.ref[t];
        found++;
    }
    return found == 2;
}

static gram_status tell_pairs(gr_align *a, const gr_sum *sum, gram_err *err)
{
    double p[8];
    gram_status rc;

    memcpy(p, sum->policy, sizeof sum->policy);
    p[6] = sum->right;
    p[7] = sum->count;
    rc = gr_dist_sum(a->f.opt->dist, p, GR_COUNT(p), err);
    if (rc)
        return rc;
    gr_align_number(a, "rewards/chosen", p[1] / p[0]);
    gr_align_number(a, "rewards/rejected", p[4] / p[3]);
    gr_align_number(a, "rewards/margins", p[1] / p[0] - p[4] / p[3]);
    gr_align_number(a, "rewards/accuracies", p[6] / p[7]);
    gr_align_number(a, "logps/chosen", p[2] / p[0]);
    gr_align_number(a, "logps/rejected", p[5] / p[3]);
    return GRAM_OK;
}

/* The prompts of step `within`, in micro-batches. */
static gram_status learn_pairs(gr_align *a, gr_grad *g, size_t within, gr_sum *sum, gram_err *err)
{
    size_t each = a->n / a->prompts, first = within % a->steps * a->f.opt->batch_rows, n = 0;
    size_t end = gr_min(first + a->f.opt->batch_rows, a->prompts);
    gr_example *e = gr_calloc(end - first, sizeof *e);
    const gr_example **list = gr_calloc(end - first, sizeof(*list));
    double (*ref)[2] = gr_calloc(end - first, sizeof *ref);
    gr_part own;
    gram_status rc = e && list && ref ? GRAM_OK : gr_nomem(err, "pairs");

    if (a->turn_of != within / a->steps)
        shuffle(a, within / a->steps);
    for (size_t i = first; i < end && !rc; i++)
        if (pair_of(a->answer + a->turn[i] * each, each, &e[n], ref[n])) {
            list[n] = &e[n];
            n++;
        }
    g->write = false;
    g->loss = (gr_loss_rules){ .kind = GRAM_LOSS_DPO, .beta = a->f.opt->beta };
    own = gr_align_part(a, n);
    for (size_t i = own.at, k; i < own.at + own.n && !rc; i += k) {
        k = gr_grad_fits(list + i, own.at + own.n - i, a->f.batch_tokens);
        rc = gr_grad_add(g, list + i, k, (double)n, true, sum, err);
    }
    g->write = true;
    if (!rc)
        rc = tell_pairs(a, sum, err);
    free(e);
    free(list);
    free(ref);
    return rc;
}

/* s: room for all answers. */
static gram_status learn_answers(struct learning *l, gr_sampled **s, size_t within, uint64_t step, gram_err *err)
{
    gr_align *a = l->a;
    size_t n = pick(a, within, s, &l->counts);
    gr_part own = gr_align_part(a, n);
    bool rests = step < a->source.rests;            /* the policy, and values alone are learnt */
    gram_status rc = rests ? GRAM_OK : gr_align_batches(a, s + own.at, own.n, learn_some, l, err);

    l->sum->loss = l->policy.loss;                  /* this process's; the loop adds them up */
    if (!rc && !rests)
        rc = gr_align_sum_policy(a, &l->policy, err);
    if (rc || !a->f.value)
        return rc;
    gr_trainee_release(l->g->t);
    if (!rests)
        gr_align_number(a, "loss/policy_avg", l->policy.loss);
    return gr_align_learn_values(a, s + own.at, own.n, l->counts, step, l->sum, err);
}

static gram_status learn(void *arg, gr_grad *g, uint64_t step, double *carried, gr_metrics *m, gr_sum *sum,
                         const gram_number **numbers, size_t *n, gram_err *err)
{
    gr_align *a = arg;
    bool pairs = gr_align_opt(a)->algorithm == GRAM_ALGORITHM_ONLINE_DPO;
    uint64_t rollout = step / a->source.every, within = step % a->source.every;
    struct learning l = { .a = a, .g = g, .sum = sum };
    gr_sampled **s;
    double begin;
    gram_status rc = GRAM_OK;

    gr_policy_sum_init(&l.policy);
    a->n_numbers = 0;
    if (!a->there || a->at != rollout) {
        rc = make_rollout(a, g, rollout, carried, sum, err);
        if (!rc && m)                               /* process 0 alone has the files */
            rc = gr_align_write_samples(a, step + 1, m, err);
        gr_trainee_drop(g->t, a->f.opt->seed, step);
    }
    s = gr_calloc(a->n, sizeof *s);
    if (!rc && !s)
        rc = gr_nomem(err, "samples");
    begin = gr_now();
    if (!rc && pairs)
        rc = learn_pairs(a, g, within, sum, err);
    else if (!rc)
        rc = learn_answers(&l, s, within, step, err);
    free(s);
    gr_align_tell_step(a, &l.policy, gr_now() - begin);
    *numbers = a->number;
    *n = a->n_numbers;
    return rc;
}

/* ---- Held-out prompts ------------------------------------------------------------------------------------- */

/* The reward of each greedy answer by the judge of held-out prompts. */
static gram_status judge_each(gr_align *a, const gr_align_prompt *const *p, const gr_answer *x, size_t n, gr_held *h,
                              gram_err *err)
{
    double sum = 0, known = 0, tokens = 0, cut = 0, reward;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < n && !rc; i++) {
        const char *text = x[i].text;
        rc = a->f.eval_judge.rewards(a->f.eval_judge.arg, p[i], &text, 1, p[i]->row.reference, &reward, err);
        if (rc)
            return rc;
        if (!isnan(reward)) {
            sum += reward;
            known++;
        }
        tokens += (double)x[i].n;
        cut += x[i].finish == GR_LENGTH;
    }
    if (known == 0)
        return gr_fail(err, GRAM_EFORMAT, "the judge of the held-out prompts gave none of %zu answers a reward", n);
    h->loss = -sum / known;
    a->n_numbers = 0;
    gr_align_number(a, "reward", sum / known);
    gr_align_number(a, "completions/mean_length", tokens / (double)n);
    gr_align_number(a, "completions/clipped_ratio", cut / (double)n);
    gr_align_number(a, "judge/unparsed", 1 - known / (double)n);
    h->more = a->number;
    h->n_more = a->n_numbers;
    return GRAM_OK;
}

static gram_status judge_held(void *arg, gr_grad *g, uint64_t step, gr_held *h, bool *stopped, gram_err *err)
{
    gr_align *a = arg;
    const gr_align_prompts *held = a->f.held;
    const gr_align_prompt **p = gr_calloc(held->n, sizeof(*p));
    gr_answer *x = NULL;
    size_t n = 0;
    bool first = gr_dist_rank(a->f.opt->dist) == 0;
    gram_status rc = p ? GRAM_OK : gr_nomem(err, "held-out prompts");

    (void)step;
    *stopped = false;
    give_back(a, g->t);
    for (size_t i = 0; i < held->n && !rc; i++)
        p[i] = &held->p[i];
    if (!rc && first)
        rc = gr_rollout(&a->writer, p, (gr_part){ 0, held->n, held->n }, 0, true, 0, &x, &n, err);
    if (!rc && first)
        rc = judge_each(a, p, x, n, h, err);
    if (!rc)                                        /* what is best is so for all */
        rc = gr_dist_broadcast(a->f.opt->dist, &h->loss, sizeof h->loss, err);
    h->n = rc ? 0 : held->n;
    h->accuracy = NAN;
    gr_answers_free(x, n);
    free(p);
    return rc;
}
