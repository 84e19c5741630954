/* test_policy.c - losses of sampled and of given answers against TRL's own functions.
 *
 * tests/golden/align.json is written by scripts/golden_align.py: log-probabilities of six answers, and for each loss
 * its value and its gradient in each of them, in double. A sum of a few dozen terms of size 1 in another order differs
 * by some 1e-15; what JSON keeps, 17 digits, adds no more. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "train/offline.h"
#include "train/policy.h"

enum { ANSWERS = 6, MOST = 7 };
#define TOL 1e-13

static json_t *golden;

static void close_to(double got, double want, const char *name, size_t i, size_t t)
{
    if (!(fabs(got - want) <= TOL * (1 + fabs(want))))
        fail_msg("%s: answer %zu, token %zu: %.17g, wanted %.17g", name, i, t, got, want);
}

static double number(const json_t *o, const char *key, double otherwise)
{
    const json_t *v = json_object_get(o, key);

    return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* [ANSWERS][n] of a list of lists. */
static size_t take_rows(const json_t *list, size_t i, double out[MOST])
{
    const json_t *row = json_array_get(list, i);

    for (size_t t = 0; t < json_array_size(row); t++)
        out[t] = json_number_value(json_array_get(row, t));
    return json_array_size(row);
}

/* A case's rules, from what TRL was called with. */
static gr_policy_rules rules_of(const json_t *c, double longest)
{
    const json_t *k = json_object_get(c, "rules");
    const char *loss = json_string_value(json_object_get(k, "loss_type"));
    const char *level = json_string_value(json_object_get(k, "importance_sampling_level"));
    gr_policy_rules r = { .ratio = GR_RATIO_TOKEN, .clips = true, .low = number(k, "epsilon_low", 0),
                          .high = number(k, "epsilon_high", 0), .dual = number(k, "delta", 0), .longest = longest,
                          .kl = number(k, "beta", 0) > 0 ? GR_KL_3 : GR_KL_NONE, .beta = number(k, "beta", 0) };

    if (!level)
        r.ratio = GR_RATIO_SUM;
    else if (!strcmp(level, "sequence"))
        r.ratio = GR_RATIO_MEAN;
    r.per = !loss || !strcmp(loss, "grpo") ? GR_PER_ANSWER : !strcmp(loss, "dr_grpo") ? GR_PER_LENGTH : GR_PER_TOKEN;
    r.cispo = loss && !strcmp(loss, "cispo");
    return r;
}

static void check_metrics(const json_t *c, const gr_policy_sum *s)
{
    const json_t *m = json_object_get(c, "metrics");
    const char *name = json_string_value(json_object_get(c, "name"));

    if (!json_object_get(m, "clip_ratio/low_mean"))
        return;
    if (!(fabs(s->low / s->ratios - number(m, "clip_ratio/low_mean", NAN)) < 1e-7) ||       /* float32 there */
        !(fabs(s->high / s->ratios - number(m, "clip_ratio/high_mean", NAN)) < 1e-7))
        fail_msg("%s: %g and %g of %g ratios are clipped", name, s->low, s->high, s->ratios);
}

static void policies_are_trls(void **state)
{
    const json_t *p = json_object_get(golden, "policies"), *c;
    size_t n_cases;

    (void)state;
    json_array_foreach(json_object_get(p, "cases"), n_cases, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        const gr_policy_rules r = rules_of(c, number(p, "max_length", 0));
        gr_policy_counts counts = { 0, ANSWERS };
        double logp[ANSWERS][MOST], old[ANSWERS][MOST], ref[ANSWERS][MOST], A[MOST], want[MOST], got[MOST], w[MOST];
        gr_policy_sum s;
        gr_policy_sum_init(&s);
        for (size_t i = 0; i < ANSWERS; i++)
            counts.tokens += (double)take_rows(json_object_get(p, "logp"), i, logp[i]);
        for (size_t i = 0; i < ANSWERS; i++) {
            size_t n = take_rows(json_object_get(p, strcmp(name, "dual") ? "old" : "old2"), i, old[i]);
            take_rows(json_object_get(p, "ref"), i, ref[i]);
            take_rows(json_object_get(c, "grad"), i, want);
            for (size_t t = 0; t < n; t++)
                A[t] = json_number_value(json_array_get(json_object_get(p, "advantage"), i));
            const gr_policy_answer a = { logp[i], strstr(name, "first") ? NULL : old[i], ref[i], A, n };
            gr_policy_add(&r, &a, counts, got, &s);
            if (gr_policy_by_token(&r)) {           /* the same weights, whatever they are cut into */
                gr_policy_weigh(&r, &a, n / 2, n, counts, w);
                gr_policy_weigh(&r, &a, 0, n / 2, counts, w);
                assert_memory_equal(w, got, n * sizeof *w);
            }
            for (size_t t = 0; t < n; t++)
                close_to(-got[t], want[t], name, i, t);
        }
        close_to(s.loss, number(c, "loss", NAN), name, ANSWERS, 0);
        check_metrics(c, &s);
    }
    assert_int_equal(n_cases, 14);
}

/* By hand, of ratios e^0.25 and e^-0.5: their mean and ends, and KL(old, new) as r - 1 - log r says it. */
static void ratios_are_counted(void **state)
{
    const double logp[] = { -1, -2 }, old[] = { -1.25, -1.5 }, A[] = { 1, -1 }, r[] = { exp(0.25), exp(-0.5) };
    const gr_policy_rules rules = { .ratio = GR_RATIO_TOKEN };
    gr_policy_sum s;
    double w[2];

    (void)state;
    gr_policy_sum_init(&s);
    gr_policy_add(&rules, &(gr_policy_answer){ logp, old, NULL, A, 2 }, (gr_policy_counts){ 2, 1 }, w, &s);
    close_to(s.ratio / s.ratios, (r[0] + r[1]) / 2, "ratio", 0, 0);
    close_to(s.ratio_min, r[1], "the least ratio", 0, 0);
    close_to(s.ratio_max, r[0], "the largest ratio", 0, 0);
    close_to(s.old_kl, r[0] - 1 - 0.25 + r[1] - 1 + 0.5, "KL to the old policy", 0, 0);
}

/* What TRL has no function for: each slope against a difference quotient of the loss, away from the borders. */
static double loss_at(const gr_policy_rules *r, const double *logp, const double *old, const double *ref,
                      const double *A, double *weight)
{
    gr_policy_sum s;

    gr_policy_sum_init(&s);
    gr_policy_add(r, &(gr_policy_answer){ logp, old, ref, A, 4 }, (gr_policy_counts){ 9, 3 }, weight, &s);
    return s.loss;
}

static void slopes_are_differences(void **state)
{
    double logp[] = { -0.4, -1.1, -2.2, -0.3 }, ref[] = { -0.9, -0.7, -2.5, -0.35 }, w[4], no[4];
    const double old[] = { -0.45, -1.5, -1.2, -0.31 }, A[] = { 0.7, 1.3, -0.8, -1.1 }, h = 1e-6;

    (void)state;
    for (int ratio = GR_RATIO_NONE; ratio <= GR_RATIO_SUM; ratio++)
        for (int per = GR_PER_TOKEN; per <= GR_PER_LENGTH; per++)
            for (int kl = GR_KL_NONE; kl <= GR_KL_3; kl++) {
                const gr_policy_rules r = { .ratio = (gr_ratio)ratio, .clips = true, .low = 0.2, .high = 0.3,
                                            .dual = 3, .per = (gr_per)per, .longest = 12, .kl = (gr_kl)kl,
                                            .beta = 0.4 };
                loss_at(&r, logp, old, ref, A, w);
                for (size_t t = 0; t < 4; t++) {
                    double was = logp[t], up, down;
                    logp[t] = was + h;
                    up = loss_at(&r, logp, old, ref, A, no);
                    logp[t] = was - h;
                    down = loss_at(&r, logp, old, ref, A, no);
                    logp[t] = was;
                    if (fabs(-w[t] - (up - down) / (2 * h)) > 1e-8)     /* rounding of L over h, 1e-16 / 1e-6 */
                        fail_msg("ratio %d, per %d, k%d, token %zu: slope %g, difference %g", ratio, per, kl, t, -w[t],
                                 (up - down) / (2 * h));
                }
            }
}

/* A policy that has run away from the one that wrote: nothing is infinite, and nothing moves. */
static void far_ratios_stand_still(void **state)
{
    const double logp[] = { -0.1, -800 }, old[] = { -700, -0.1 }, ref[] = { -900, -0.1 }, A[] = { -1, -1 };
    const gr_policy_rules r = { .ratio = GR_RATIO_TOKEN, .kl = GR_KL_3, .beta = 1 };
    gr_policy_sum s;
    double w[2];

    (void)state;
    gr_policy_sum_init(&s);
    gr_policy_add(&r, &(gr_policy_answer){ logp, old, ref, A, 2 }, (gr_policy_counts){ 2, 1 }, w, &s);
    assert_true(isfinite(s.loss) && isfinite(w[0]) && isfinite(w[1]));
    assert_true(w[0] == 0);
}

/* ---- Answers that somebody else wrote ------------------------------------------------------------------ */

static gram_loss kind_of(const char *name)
{
    static const struct { const char *name; gram_loss kind; } all[] = {
        { "dpo", GRAM_LOSS_DPO }, { "cdpo", GRAM_LOSS_CDPO }, { "ipo", GRAM_LOSS_IPO }, { "simpo", GRAM_LOSS_SIMPO },
        { "orpo", GRAM_LOSS_ORPO }, { "kto", GRAM_LOSS_KTO }
    };

    for (size_t i = 0; i < GR_COUNT(all); i++)
        if (!strcmp(all[i].name, name))
            return all[i].kind;
    fail_msg("%s: no loss", name);
    return GRAM_LOSS_DPO;
}

static double total(const double *x, size_t n)
{
    double s = 0;

    for (size_t t = 0; t < n; t++)
        s += x[t];
    return s;
}

static double kto_z(const json_t *c)
{
    double z = 0;

    for (size_t i = 0; i < ANSWERS; i++)
        z += (json_number_value(json_array_get(json_object_get(c, "kl"), i)) -
              json_number_value(json_array_get(json_object_get(c, "kl_ref"), i))) / ANSWERS;
    return fmax(z, 0);
}

static double kto_answer(const json_t *c, size_t i, const gr_whole_answer *a, double *slope)
{
    bool good = json_is_true(json_array_get(json_object_get(c, "labels"), i));
    double weight = number(c, good ? "good" : "bad", 1);
    double L = weight * gr_loss_kto(number(c, "beta", 0), kto_z(c), good, a, slope) / ANSWERS;

    *slope *= weight / ANSWERS;
    return L;
}

static void offline_losses_are_trls(void **state)
{
    const json_t *p = json_object_get(golden, "offline"), *c;
    size_t n_cases;

    (void)state;
    json_array_foreach(json_object_get(p, "cases"), n_cases, c) {
        const char *name = json_string_value(json_object_get(c, "name"));
        gr_whole_answer a[ANSWERS];
        double x[MOST], slope[ANSWERS], L = 0;
        for (size_t i = 0; i < ANSWERS; i++) {
            size_t n = take_rows(json_object_get(p, "logp"), i, x);
            a[i] = (gr_whole_answer){ .logp = total(x, n), .n = n };
            take_rows(json_object_get(p, "ref"), i, x);
            a[i].ref = total(x, n);
        }
        for (size_t i = 0; i < ANSWERS; i++) {
            double two[2];
            if (kind_of(name) == GRAM_LOSS_KTO) {
                L += kto_answer(c, i, &a[i], &slope[i]);
            } else if (i < 3) {
                L += gr_loss_offline(kind_of(name), number(c, "beta", 0), number(c, "gamma", 0),
                                     number(c, "smoothing", 0), &a[i], &a[i + 3], two) / 3;
                slope[i] = two[0] / 3;
                slope[i + 3] = two[1] / 3;
            }
        }
        close_to(L, number(c, "loss", NAN), name, ANSWERS, 0);
        for (size_t i = 0; i < ANSWERS; i++)
            for (size_t t = 0; t < take_rows(json_object_get(c, "grad"), i, x); t++)
                close_to(slope[i], x[t], name, i, t);
    }
    assert_int_equal(n_cases, 12);
}

/* PPO's loss of a value, clipped to the neighbourhood of the old one. */
static void values_are_trls(void **state)
{
    const json_t *o = json_object_get(golden, "value");
    double clip = number(o, "clip", 0), loss = 0, slope, want[12], got[3][12];
    static const char *const key[] = { "v", "old", "returns", "grad" };
    size_t stopped = 0, n = json_array_size(json_object_get(o, "v"));
    bool clipped;

    (void)state;
    assert_int_equal(n, 12);
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < n; i++)
            (k < 3 ? got[k] : want)[i] = json_number_value(json_array_get(json_object_get(o, key[k]), i));
    for (size_t i = 0; i < n; i++) {
        loss += gr_policy_value(got[0][i], got[1][i], got[2][i], clip, &slope, &clipped) / (double)n;
        close_to(slope, want[i], "value", i, 0);
        stopped += clipped;
    }
    close_to(loss, number(o, "loss", 0), "value", 0, 0);
    assert_true(stopped > 0 && stopped < n);
    gr_policy_value(3, 0, 9, 0, &slope, &clipped);          /* 0: not clipped */
    assert_true(slope == -6 && !clipped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policies_are_trls), cmocka_unit_test(ratios_are_counted),
        cmocka_unit_test(slopes_are_differences),
        cmocka_unit_test(far_ratios_stand_still), cmocka_unit_test(offline_losses_are_trls),
        cmocka_unit_test(values_are_trls)
    };
    int failed;

    golden = json_load_file("tests/golden/align.json", 0, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
