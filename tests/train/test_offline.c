/* test_offline.c - steps of DPO and its kin, and of PPO's value model, against PyTorch: losses and gradient norms of
 * four steps of AdamW over a tiny model, by any cut into micro-batches. tests/golden/align.json has them;
 * scripts/golden_align.py holds the rule by which the rows are made, which is that of test_train.c. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "device.h"
#include "optim/optim.h"
#include "reward/loss.h"
#include "train/grad.h"

#define MODEL "tests/golden/train/llama_gqa"
enum { ROWS = 6, BATCH = 3, STEPS = 4, ASKED = 20, LIST = 96 };

static int32_t list[LIST];

static void add_row(gr_ids *ids, size_t i, int k, size_t from, size_t to)
{
    for (size_t j = from; j < gr_min(to, 60 + i); j++) {
        int32_t id = (list[(j + 7 * i) % LIST] + (j >= 40 ? 11 * k : 0)) % 256;
        assert_true(gr_ids_add(ids, &id, 1));
    }
}

static gr_set make_set(gram_loss loss)
{
    gr_set s = { 0 };

    for (size_t i = 0; i < ROWS; i++) {
        bool kto = loss == GRAM_LOSS_KTO;
        gr_example e = { .asked = ASKED, .asked_other = ASKED, .soft = 1, .good = i % 2 == 0,
                         .weight = kto && i % 2 ? 1.3 : 1, .ref = gr_calloc(2, sizeof *e.ref),
                         .target = gr_loss_target(1, loss == GRAM_LOSS_CDPO ? 0.1 : 0) };
        add_row(&e.seq[0], i, 0, 0, 99);
        add_row(&e.seq[1], i, !kto, 0, kto ? ASKED : 99);
        if (kto)
            add_row(&e.seq[1], (i + 1) % ROWS, 0, ASKED, 99);
        CHECK_OK(gr_set_add(&s, &e, &check_err));
    }
    return s;
}

struct subject { gr_weights *weights; gr_model *model; gr_device *device; gr_trainee *t; gr_adamw adam; gr_grad grad; };

static struct subject subject_open(gram_loss loss, bool value)
{
    struct subject s = { 0 };
    gr_config cfg;
    gr_param *p;
    size_t n;

    CHECK_OK(gr_weights_open_dir(&s.weights, MODEL, &check_err));
    CHECK_OK(gr_config_read(&cfg, MODEL, &check_err));
    if (value) {
        cfg.reward = GR_REWARD_MEAN;
        cfg.new_head = true;
        cfg.head = gr_head_new(1, 0);
        cfg.words = false;
    }
    CHECK_OK(gr_model_open_writable(&s.model, check_device(1), s.weights, &cfg, &check_err));
    CHECK_OK(gr_device_open(&s.device, NULL, 2, &check_err));
    CHECK_OK(gr_trainee_open(&s.t, s.model, s.device, &check_err));
    p = gr_trainee_params(s.t, &n);
    CHECK_OK(gr_adamw_init(&s.adam, p, n, &check_err));
    s.grad = (gr_grad){ .t = s.t, .cfg = gr_model_config(s.model), .device = s.device,
                        .loss = { .kind = loss, .beta = loss == GRAM_LOSS_SIMPO ? 2 : 0.1, .gamma = 1 } };
    return s;
}

static void subject_close(struct subject *s)
{
    gr_grad_clear(&s->grad);
    gr_adamw_clear(&s->adam);
    gr_trainee_close(s->t);
    gr_device_close(s->device);
    gr_model_close(s->model);
    gr_weights_close(s->weights);
}

static double step(struct subject *x, const gr_set *set, size_t s, size_t micro, double *norm)
{
    const gr_example *e[BATCH];
    gr_sum sum = { 0 }, look = { 0 };

    for (size_t b = 0; b < BATCH; b++)
        e[b] = &set->e[(s * BATCH + b) % ROWS];
    gr_trainee_zero(x->t);
    x->grad.look = x->grad.loss.kind == GRAM_LOSS_KTO;
    for (size_t b = 0; b < BATCH && x->grad.look; b += micro)
        CHECK_OK(gr_grad_add(&x->grad, e + b, gr_min(micro, BATCH - b), BATCH, false, &look, &check_err));
    x->grad.look = false;
    x->grad.chosen = look.chosen;
    for (size_t b = 0; b < BATCH; b += micro)
        CHECK_OK(gr_grad_add(&x->grad, e + b, gr_min(micro, BATCH - b), BATCH, true, &sum, &check_err));
    assert_true(sum.count == BATCH && sum.policy[0] + sum.policy[3] == (x->grad.loss.kind == GRAM_LOSS_KTO ? 3 : 6));
    *norm = gr_grad_norm(&x->adam, x->device);
    gr_adamw_step(&x->adam, 1e-3, 1, x->device);
    return sum.loss;
}

static void check_loss(const json_t *steps, gram_loss loss, size_t micro)
{
    const json_t *want = json_object_get(steps, gram_loss_name(loss));
    struct subject x = subject_open(loss, false);
    gr_set set = make_set(loss);
    const gr_example *e[ROWS];

    for (size_t i = 0; i < ROWS; i++)
        e[i] = &set.e[i];
    CHECK_OK(gr_grad_reference(&x.grad, e, ROWS, &check_err));
    for (size_t s = 0; s < STEPS; s++) {
        double norm, cost = step(&x, &set, s, micro, &norm);
        double wloss = json_number_value(json_array_get(json_object_get(want, "loss"), s));
        double wnorm = json_number_value(json_array_get(json_object_get(want, "norm"), s));
        double tol = s ? 2e-3 : 2e-5;       /* as in test_train.c: the first has its own rounding, then it adds up */
        if (!(fabs(cost - wloss) <= tol * (1 + wloss)) || !(fabs(norm - wnorm) <= 5 * tol * (1 + wnorm)))
            fail_msg("%s in micro-batches of %zu, step %zu: loss %.9g norm %.9g, wanted %.9g and %.9g",
                     gram_loss_name(loss), micro, s, cost, norm, wloss, wnorm);
    }
    gr_set_clear(&set);
    subject_close(&x);
}

static void each_loss_is_pytorchs(void **state)
{
    json_t *all = json_load_file("tests/golden/align.json", 0, NULL);
    json_t *tokens = json_load_file(MODEL "/tokens.json", 0, NULL);

    (void)state;
    for (size_t i = 0; i < LIST; i++)
        list[i] = (int32_t)json_integer_value(json_array_get(tokens, i));
    for (gram_loss loss = GRAM_LOSS_DPO; loss <= GRAM_LOSS_KTO; loss++)
        for (size_t micro = 1; micro <= 3; micro++)
            check_loss(json_object_get(all, "steps"), loss, micro);
    json_decref(all), json_decref(tokens);
}

/* ---- PPO's value model ----------------------------------------------------------------------------------- */

struct valued { gr_sampled s; double value[LIST], before[LIST], returns[LIST]; };

static void make_samples(struct valued v[ROWS], const gr_set *set)
{
    for (size_t i = 0; i < ROWS; i++) {
        v[i].s = (gr_sampled){ .e = set->e[i], .value = v[i].value, .before = v[i].before, .returns = v[i].returns };
        for (size_t t = 0; t < 40 + i; t++) {
            v[i].before[t] = 0.5 * cos((double)(t + i));
            v[i].returns[t] = sin(0.3 * (double)t + (double)i);
        }
    }
}

static void check_values(const json_t *want, size_t micro)
{
    struct subject x = subject_open(GRAM_LOSS_BT, true);
    gr_set set = make_set(GRAM_LOSS_DPO);
    size_t n_params;
    static struct valued v[ROWS];
    gr_param *p = gr_trainee_params(x.t, &n_params);

    make_samples(v, &set);
    while (strcmp(p->name, "score.weight"))
        p++;
    for (size_t c = 0; c < x.grad.cfg->width; c++)
        gr_param_put(p, c, 1, &(float){ (float)(0.1 * sin((double)c + 1)) });
    for (size_t s = 0; s < STEPS; s++) {
        gr_sampled *batch[BATCH];
        gr_value_sum value = { 0 };
        gr_sum sum = { 0 };
        double norm, n = 0, tol = s ? 2e-3 : 2e-5;
        double wloss = json_number_value(json_array_get(json_object_get(want, "loss"), s));
        double wnorm = json_number_value(json_array_get(json_object_get(want, "norm"), s));
        for (size_t b = 0; b < BATCH; b++) {
            batch[b] = &v[(s * BATCH + b) % ROWS].s;
            n += (double)(40 + (s * BATCH + b) % ROWS);
        }
        gr_trainee_zero(x.t);
        for (size_t b = 0; b < BATCH; b += micro)
            CHECK_OK(gr_grad_value(&x.grad, &(gr_value_rules){ 0.2, 1 }, batch + b, gr_min(micro, BATCH - b), n, &value,
                                   &sum, &check_err));
        norm = gr_grad_norm(&x.adam, x.device);
        gr_adamw_step(&x.adam, 1e-3, 1, x.device);
        if (!(fabs(value.loss - wloss) <= tol * (1 + wloss)) || !(fabs(norm - wnorm) <= 5 * tol * (1 + wnorm)))
            fail_msg("micro-batches of %zu, step %zu: loss %.9g norm %.9g, wanted %.9g and %.9g", micro, s, value.loss,
                     norm, wloss, wnorm);
        assert_true(value.tokens == n && value.clipped > 0);
    }
    gr_set_clear(&set);
    subject_close(&x);
}

static void the_value_model_is_pytorchs(void **state)
{
    json_t *all = json_load_file("tests/golden/align.json", 0, NULL);

    (void)state;
    for (size_t micro = 1; micro <= 3; micro++)
        check_values(json_object_get(json_object_get(all, "value"), "steps"), micro);
    json_decref(all);
}

/* ---- A policy ---------------------------------------------------------------------------------------------- */

/* More answers than the vocabulary's head takes at once. */
enum { MANY = 12, ROOM = 64 };

static gram_status learn_ratios(struct subject *x, gr_sampled **s, double n, gr_sum *sum)
{
    const gr_policy_rules rules = { .ratio = GR_RATIO_TOKEN, .per = GR_PER_TOKEN };
    gr_policy_sum policy;

    gr_policy_sum_init(&policy);
    return gr_grad_policy(&x->grad, &rules, s, MANY, (gr_policy_counts){ n, MANY }, &policy, sum, &check_err);
}

static float *all_gradients(struct subject *x, size_t *n)
{
    size_t params;
    const gr_param *p = gr_trainee_params(x->t, &params);
    float *g = NULL;

    *n = 0;
    for (size_t i = 0; i < params; i++) {
        g = realloc(g, (*n + gr_param_count(&p[i])) * sizeof *g);
        assert_non_null(g);
        memcpy(g + *n, gr_f32(p[i].g), gr_param_count(&p[i]) * sizeof *g);
        *n += gr_param_count(&p[i]);
    }
    return g;
}

/* The weights of a policy's tokens follow from their log-probabilities, a piece of the rows at a time. Where the old
 * ones are such that the ratios are numbers that are known, it is text that is learnt with these weights. Both sum the
 * same products in the same order: what differs is how a weight is rounded, by 2 units in the last place. */
static void a_policy_is_weighted_text(void **state)
{
    struct subject x = subject_open(GRAM_LOSS_GRAM, false);
    static double logp[MANY][ROOM], old[MANY][ROOM], A[MANY][ROOM];
    gr_sampled s[MANY], *each[MANY];
    const gr_example *e[MANY];
    double tokens = 0, most = 0;
    gr_sum sum = { 0 };
    float *want, *got;
    size_t n;

    (void)state;
    x.grad.write = true;
    for (size_t i = 0; i < MANY; i++) {
        s[i] = (gr_sampled){ .e = { .asked = ASKED, .weight = 0.5 + 0.25 * (double)i }, .logp = logp[i],
                             .advantage = A[i] };
        add_row(&s[i].e.seq[0], i, 0, 0, 99);
        each[i] = &s[i];
        e[i] = &s[i].e;
        tokens += (double)(s[i].e.seq[0].n - ASKED);
    }
    CHECK_OK(gr_grad_logp(&x.grad, each, MANY, &sum, &check_err));
    for (size_t i = 0; i < MANY; i++) {
        for (size_t t = 0; t < s[i].e.seq[0].n - ASKED; t++) {
            old[i][t] = logp[i][t] - log(s[i].e.weight);
            logp[i][t] = NAN;
            A[i][t] = 1;
        }
        s[i].old = old[i];
    }
    gr_trainee_zero(x.t);
    CHECK_OK(learn_ratios(&x, each, tokens, &sum));
    got = all_gradients(&x, &n);
    gr_trainee_zero(x.t);
    CHECK_OK(gr_grad_add(&x.grad, e, MANY, tokens, true, &sum, &check_err));
    want = all_gradients(&x, &n);
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(want[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-6 * most))
            fail_msg("gradient %zu of %zu: %.9g, wanted %.9g", i, n, (double)got[i], (double)want[i]);
    assert_true(most > 0);
    free(got), free(want);
    for (size_t i = 0; i < MANY; i++)
        gr_ids_clear(&s[i].e.seq[0]);
    subject_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_loss_is_pytorchs),
                                        cmocka_unit_test(the_value_model_is_pytorchs),
                                        cmocka_unit_test(a_policy_is_weighted_text) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
