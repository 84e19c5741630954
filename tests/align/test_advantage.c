/* test_advantage.c - advantages against torch, and every estimator of a gradient against the whole of it.
 *
 * The enumeration: a policy over 5 tokens, the last of which ends an answer, that writes two tokens at most: 21
 * answers. Its parameters are the logits of the first token and those of the second behind each first, 25 numbers. What
 * a method gives on average is then no matter of chance: every group of answers is taken with its probability. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align_int.h"
#include "check.h"
#include "train/policy.h"

/* ---- Against torch ------------------------------------------------------------------------------------- */

static json_t *golden;

enum { MOST = 8 };
static size_t take(const json_t *o, const char *key, double out[MOST])
{
    const json_t *list = json_object_get(o, key);

    for (size_t i = 0; i < json_array_size(list); i++)
        out[i] = json_number_value(json_array_get(list, i));
    return json_array_size(list);
}

static void all_close(const double *got, const json_t *o, const char *key)
{
    double want[MOST];
    size_t n = take(o, key, want);

    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        if (!(fabs(got[i] - want[i]) <= 1e-13 * (1 + fabs(want[i]))))      /* sums of a handful of doubles */
            fail_msg("%s: %zu: %.17g, wanted %.17g", key, i, got[i], want[i]);
}

static void groups_are_torchs(void **state)
{
    const json_t *list = json_object_get(json_object_get(golden, "advantages"), "groups"), *g;
    size_t k;

    (void)state;
    json_array_foreach(list, k, g) {
        double r[MOST], known[MOST], A[MOST];
        bool is[MOST];
        size_t n = take(g, "reward", r);
        take(g, "known", known);
        for (size_t i = 0; i < n; i++)
            is[i] = known[i] != 0;
        assert_int_equal(gr_advantage_group(GR_RLOO, r, is, n, 0, 0, A), k < 2);
        all_close(A, g, "rloo");
        gr_advantage_group(GR_GRPO, r, is, n, 0, 0, A);
        all_close(A, g, "grpo");
        gr_advantage_group(GR_DR_GRPO, r, is, n, 0, 0, A);
        all_close(A, g, "dr_grpo");
    }
    assert_int_equal(k, 3);
}

static void gae_is_trls(void **state)
{
    const json_t *g = json_object_get(json_object_get(golden, "advantages"), "gae");
    double r[MOST], v[MOST], A[MOST], ret[MOST];
    size_t n = take(g, "reward", r);

    (void)state;
    take(g, "value", v);
    gr_advantage_gae(r, v, n, json_number_value(json_object_get(g, "gamma")),
                     json_number_value(json_object_get(g, "lam")), A, ret);
    all_close(A, g, "advantage");
    all_close(ret, g, "returns");
    gr_advantage_whiten(A, n);
    all_close(A, g, "white");
    gr_advantage_gae(r, v, n, 1, 1, A, NULL);               /* then it is what comes, less V */
    for (size_t t = 0; t < n; t++) {
        double rest = -v[t];
        for (size_t u = t; u < n; u++)
            rest += r[u];
        assert_true(fabs(A[t] - rest) < 1e-13);
    }
}

/* PPO: of an answer of one token, two or many the judge's reward stands on the last one, the end, and the KL of each
 * token on itself. With gamma 0, whatever lambda is, a token is worth its own reward less its value. */
static void rewards_stand_on_the_last_token(void **state)
{
    static const size_t length[] = { 1, 2, 20 };
    gram_train_options o = { .beta = 0.5, .align = { .kl = GRAM_KL_K1, .kl_in = GRAM_KL_IN_REWARD, .gae_gamma = 0,
                                                   .gae_lambda = 1 } };
    gr_align a = { .f = { .opt = &o }, .beta = 0.5 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(length); i++) {
        double numbers[GR_NUMBERS * 20] = { 0 }, at_ref[20];
        size_t n = length[i];
        gr_answer x = { .n = n, .numbers = numbers, .shaped = 7 };
        x.s = (gr_sampled){ .logp = numbers, .advantage = numbers + GR_AT_ADVANTAGE * n, .ref = at_ref,
                            .before = numbers + GR_AT_BEFORE * n };
        for (size_t t = 0; t < n; t++) {
            at_ref[t] = -0.25 * (double)(t + 1);
            x.shaped -= 0.5 * 0.25 * (double)(t + 1);       /* what align's shape() has taken from 7 */
            numbers[GR_AT_BEFORE * n + t] = 0.25 + (double)t;
        }
        gr_align_gae(&a, &x);
        for (size_t t = 0; t < n; t++)
            assert_true(fabs(x.s.advantage[t] - ((t + 1 == n ? 7 : 0) - 0.125 * (double)(t + 1) - 0.25 - (double)t)) <
                        1e-12);
    }
}

/* Returns 1 3 5 7 after values 0 3 4 7, those of two answers: the variance of 1 0 1 0 is a twentieth of theirs. What
 * is not learnt says nothing. */
static void values_explain_what_came(void **state)
{
    double returns[] = { 1, 3, 5, 7, 9 }, before[] = { 0, 3, 4, 7, -9 };
    gr_answer x[] = { { .n = 2, .learnt = true, .s = { .returns = returns, .before = before } },
                      { .n = 2, .learnt = true, .s = { .returns = returns + 2, .before = before + 2 } },
                      { .n = 1, .learnt = false, .s = { .returns = returns + 4, .before = before + 4 } } };
    gr_align a = { .answer = x, .n = 3 };

    (void)state;
    assert_true(fabs(gr_align_explained(&a) - 0.95) < 1e-12);
    a.n = 0;
    assert_true(isnan(gr_align_explained(&a)));
}

static void groups_without_a_lesson(void **state)
{
    const double same[] = { 0.25, 0.25, 0.25 }, r[] = { 3, NAN, 5, 5 };
    const bool all[] = { true, true, true }, some[] = { true, false, true, true }, one[] = { false, true, false };
    double A[4];

    (void)state;
    for (gr_advantage m = GR_RLOO; m <= GR_DR_GRPO; m++) {
        assert_false(gr_advantage_group(m, same, all, 3, 0, 0, A));
        assert_true(A[0] == 0 && A[1] == 0 && A[2] == 0);
        assert_false(gr_advantage_group(m, same, one, 3, 0, 0, A));
        assert_true(gr_advantage_group(m, r, some, 4, 0, 0, A));
        assert_true(A[1] == 0 && A[0] < 0 && A[2] > 0 && A[2] == A[3]);     /* one that failed is no 0 among them */
        assert_true(fabs(A[0] + A[2] + A[3]) < 1e-12);
    }
    assert_true(gr_advantage_group(GR_RAFT, r, some, 4, 0, 0, A));
    assert_true(A[0] == 0 && A[1] == 0 && A[2] == 1 && A[3] == 0);          /* of equal ones the first */
    assert_true(gr_advantage_group(GR_GRPO, r, some, 4, 0, 10, A));         /* a floor for what is noise */
    assert_true(fabs(A[2] - (5 - 13.0 / 3) / 10.0001) < 1e-12);
    assert_true(gr_advantage_group(GR_REMAX, r, some, 4, 4, 0, A));
    assert_true(A[0] == -1 && A[1] == 0 && A[2] == 1);
}

static void beta_follows_the_kl(void **state)
{
    (void)state;
    assert_true(fabs(gr_beta_adapted(0.2, 12, 6, 100, 10000) - 0.2 * 1.002) < 1e-15);
    assert_true(fabs(gr_beta_adapted(0.2, 0, 6, 100, 10000) - 0.2 * 0.998) < 1e-15);
    assert_true(gr_beta_adapted(0.2, 6, 6, 100, 10000) == 0.2);
}

/* ---- The enumeration ------------------------------------------------------------------------------------ */

enum { V = 5, END = 4, ALL = 21, P = 5 + 4 * 5 };       /* nothing follows an end */

struct answer { int token[2]; size_t n; };
struct policy { double logp[5][V]; };                   /* row 0: the first token; row 1 + a: behind a */

static struct answer answer_of(size_t k)
{
    return k == ALL - 1 ? (struct answer){ { END, 0 }, 1 } : (struct answer){ { (int)k / V, (int)k % V }, 2 };
}

static size_t row_of(const struct answer *a, size_t t) { return t ? 1 + (size_t)a->token[0] : 0; }

static struct policy policy_of(const double theta[P])
{
    struct policy p;

    for (size_t r = 0; r < 5; r++) {
        double sum = 0;
        for (size_t v = 0; v < V; v++)
            sum += exp(theta[V * r + v]);
        for (size_t v = 0; v < V; v++)
            p.logp[r][v] = theta[V * r + v] - log(sum);
    }
    return p;
}

static double logp_at(const struct policy *p, const struct answer *a, size_t t)
{
    return p->logp[row_of(a, t)][a->token[t]];
}

static double logp_of(const struct policy *p, const struct answer *a)
{
    return logp_at(p, a, 0) + (a->n > 1 ? logp_at(p, a, 1) : 0);
}

static double reward_of(size_t k)                       /* anything that no method is made for */
{
    return sin(1.7 * (double)k) + (k == 3) * 2 - 0.5 * (k == ALL - 1);
}

static double theta[P], theta_ref[P];
static struct policy pi, ref;

static void make_policies(void)
{
    for (size_t i = 0; i < P; i++) {
        theta[i] = cos(0.9 * (double)i);
        theta_ref[i] = theta[i] + 0.6 * sin(2.3 * (double)i);
    }
    pi = policy_of(theta);
    ref = policy_of(theta_ref);
}

/* g -= scale * the gradient that `weight` asks op/ce.h for: what a step of descent goes along. */
static void add_gradient(double g[P], const struct answer *a, const double *weight, double scale)
{
    for (size_t t = 0; t < a->n; t++)
        for (size_t v = 0; v < V; v++) {
            double p = exp(pi.logp[row_of(a, t)][v]);
            g[V * row_of(a, t) + v] -= scale * weight[t] * (p - ((int)v == a->token[t]));
        }
}

/* The gradient, by central differences, of a number that all answers make together. */
typedef double whole_fn(const struct policy *p);
static void differences(whole_fn *f, double g[P])
{
    const double h = 1e-5;

    for (size_t i = 0; i < P; i++) {
        double was = theta[i], up;
        struct policy p;
        theta[i] = was + h;
        p = policy_of(theta);
        up = f(&p);
        theta[i] = was - h;
        p = policy_of(theta);
        g[i] = (up - f(&p)) / (2 * h);
        theta[i] = was;
    }
}

static double expected_reward(const struct policy *p)
{
    double J = 0;

    for (size_t k = 0; k < ALL; k++) {
        struct answer a = answer_of(k);
        J += exp(logp_of(p, &a)) * reward_of(k);
    }
    return J;
}

static double kl_of(const struct policy *p)
{
    double sum = 0;

    for (size_t k = 0; k < ALL; k++) {
        struct answer a = answer_of(k);
        sum += exp(logp_of(p, &a)) * (logp_of(p, &a) - logp_of(&ref, &a));
    }
    return sum;
}

/* KL at each token under the answers of today's policy: what a penalty at the token can know of. */
static struct policy today;
static double kl_by_token(const struct policy *p)
{
    double sum = 0;

    for (size_t r = 0; r < 5; r++) {
        double reach = r ? exp(today.logp[0][r - 1]) : 1;
        for (size_t v = 0; v < V; v++)
            sum += reach * exp(p->logp[r][v]) * (p->logp[r][v] - ref.logp[r][v]);
    }
    return sum;
}

/* The other KL there, of the reference against the policy: k3's, but for a factor pi / ref that sampling lacks. */
static double other_kl_by_token(const struct policy *p)
{
    double sum = 0;

    for (size_t r = 0; r < 5; r++) {
        double reach = r ? exp(today.logp[0][r - 1]) : 1;
        for (size_t v = 0; v < V; v++)
            sum += reach * exp(ref.logp[r][v]) * (ref.logp[r][v] - p->logp[r][v]);
    }
    return sum;
}

static void same_gradient(const double *got, const double *want, double scale, const char *what)
{
    for (size_t i = 0; i < P; i++)                      /* differences of h = 1e-5 are right to some 1e-10 */
        if (!(fabs(got[i] - scale * want[i]) < 1e-8))
            fail_msg("%s: parameter %zu: %.12g, wanted %.12g", what, i, got[i], scale * want[i]);
}

/* How a method makes one number of an answer: its reward, and what the KL takes from it. */
struct method {
    gr_advantage advantage;
    gr_per per;
    gr_ratio ratio;
    gr_kl in_loss;
    double in_reward, beta;     /* beta of k1 summed into the reward, and of the loss */
    size_t G;
    double longest;
};

static double shaped(const struct method *m, size_t k)
{
    struct answer a = answer_of(k);

    return reward_of(k) - m->in_reward * (logp_of(&pi, &a) - logp_of(&ref, &a));
}

/* One group, chosen with probability prob: its gradient as policy.h makes it. */
static void add_group(const struct method *m, const size_t *k, double prob, double g[P])
{
    const gr_policy_rules rules = { .ratio = m->ratio, .clips = true, .low = 0.2, .high = 0.2, .per = m->per,
                                    .longest = m->longest, .kl = m->in_loss, .beta = m->beta };
    gr_policy_counts counts = { 0, (double)m->G };
    double r[3], A[3];
    bool known[3];
    gr_policy_sum s;

    gr_policy_sum_init(&s);
    for (size_t i = 0; i < m->G; i++) {
        r[i] = shaped(m, k[i]);
        known[i] = true;
        counts.tokens += (double)answer_of(k[i]).n;
    }
    gr_advantage_group(m->advantage, r, known, m->G, 0.37, 0, A);       /* any baseline that no answer moves */
    for (size_t i = 0; i < m->G; i++) {
        struct answer a = answer_of(k[i]);
        double logp[2] = { 0 }, at_ref[2] = { 0 }, each[2] = { A[i], A[i] }, w[2];
        for (size_t t = 0; t < a.n; t++) {
            logp[t] = logp_at(&pi, &a, t);
            at_ref[t] = logp_at(&ref, &a, t);
        }
        gr_policy_add(&rules, &(gr_policy_answer){ logp, NULL, at_ref, each, a.n }, counts, w, &s);
        add_gradient(g, &a, w, prob);
    }
}

/* The mean over every group of G answers. */
static void mean_gradient(const struct method *m, double g[P])
{
    size_t k[3] = { 0 };
    double total = 0;

    memset(g, 0, P * sizeof *g);
    for (;;) {
        double prob = 1;
        size_t i = 0;
        for (size_t j = 0; j < m->G; j++) {
            struct answer a = answer_of(k[j]);
            prob *= exp(logp_of(&pi, &a));
        }
        total += prob;
        add_group(m, k, prob, g);
        while (i < m->G && ++k[i] == ALL)
            k[i++] = 0;
        if (i == m->G)
            break;
    }
    assert_true(fabs(total - 1) < 1e-12);
}

/* add_gradient() goes down the loss, so g is the direction of descent: that of the reward, up. */
static void estimators_are_unbiased(void **state)
{
    const double longest = 2;
    double J[P], KL[P], want[P], got[P];

    (void)state;
    differences(expected_reward, J);
    differences(kl_of, KL);
    for (size_t G = 1; G <= 3; G++)
        for (gr_advantage how = GR_REINFORCE; how <= GR_DR_GRPO; how++) {
            /* whole answers are summed and their sum is divided by what is the same for all of them */
            struct method m = { .advantage = how, .per = GR_PER_LENGTH, .ratio = GR_RATIO_TOKEN, .in_reward = 0.3,
                                .G = G, .longest = longest };
            double scale = how == GR_DR_GRPO ? ((double)G - 1) / (double)G : 1;
            if (how == GR_GRPO || (G == 1 && how > GR_REMAX))
                continue;
            for (size_t i = 0; i < P; i++)
                want[i] = J[i] - 0.3 * KL[i];
            mean_gradient(&m, got);
            same_gradient(got, want, scale / longest, "reward less k1");
            m.ratio = GR_RATIO_SUM;             /* the ratio of an answer: TRL's RLOO, whose sum is over tokens */
            m.per = GR_PER_ANSWER;
            mean_gradient(&m, got);
            same_gradient(got, want, scale, "reward less k1, ratios of answers");
            m.ratio = GR_RATIO_NONE;
            m.per = GR_PER_LENGTH;
            mean_gradient(&m, got);
            same_gradient(got, want, scale / longest, "reward less k1, no ratio");
        }
}

/* PPO's advantages with gamma = lambda = 1: any V gives the same mean, the k1 of a token in its reward. */
static void ppo_is_unbiased_whatever_v(void **state)
{
    const gr_policy_rules rules = { .ratio = GR_RATIO_TOKEN, .clips = true, .low = 0.2, .high = 0.2,
                                    .per = GR_PER_LENGTH, .longest = 1 };
    double J[P], KL[P], got[P] = { 0 };

    (void)state;
    differences(expected_reward, J);
    differences(kl_of, KL);
    for (size_t k = 0; k < ALL; k++) {
        struct answer a = answer_of(k);
        double logp[2] = { 0 }, R[2] = { 0 }, A[2], w[2];
        const double value[] = { 0.8, -0.2 * a.token[0] };      /* V_t sees the tokens before t alone */
        gr_policy_sum s;
        gr_policy_sum_init(&s);
        for (size_t t = 0; t < a.n; t++) {
            logp[t] = logp_at(&pi, &a, t);
            R[t] = -0.3 * (logp[t] - logp_at(&ref, &a, t)) + (t + 1 == a.n) * reward_of(k);
        }
        gr_advantage_gae(R, value, a.n, 1, 1, A, NULL);
        gr_policy_add(&rules, &(gr_policy_answer){ logp, NULL, NULL, A, a.n }, (gr_policy_counts){ 2, 1 }, w, &s);
        add_gradient(got, &a, w, exp(logp_of(&pi, &a)));
    }
    for (size_t i = 0; i < P; i++)
        J[i] -= 0.3 * KL[i];
    same_gradient(got, J, 1, "PPO");
}

/* A judge that learns to reason: a rationale is an answer to one of two prompts, the orders of a pair, and its reward
 * the probability of the right label behind it. Both orders are one group, and its mean gives neither of them a bias.
 * The prompts are two policies over the same parameters. */
static double order_shift(size_t order, size_t i) { return order ? 0.7 * sin(1.1 * (double)i) : 0; }

static struct policy order_policy(const double *at, size_t order)
{
    double moved[P];

    for (size_t i = 0; i < P; i++)
        moved[i] = at[i] + order_shift(order, i);
    return policy_of(moved);
}

static double right_label(size_t order, size_t k) { return 1 / (1 + exp(-reward_of(order ? ALL - 1 - k : k))); }

static double mean_verdict(const struct policy *unused)
{
    double J = 0;

    (void)unused;                                       /* differences() has moved theta */
    for (size_t order = 0; order < 2; order++) {
        struct policy p = order_policy(theta, order);
        for (size_t k = 0; k < ALL; k++) {
            struct answer a = answer_of(k);
            J += exp(logp_of(&p, &a)) * right_label(order, k) / 2;
        }
    }
    return J;
}

static void a_judges_own_verdict_is_a_reward(void **state)
{
    const gr_policy_rules rules = { .ratio = GR_RATIO_TOKEN, .clips = true, .low = 0.2, .high = 0.2,
                                    .per = GR_PER_LENGTH, .longest = 1 };
    const struct policy was = pi, each[2] = { order_policy(theta, 0), order_policy(theta, 1) };
    double J[P], got[P] = { 0 };

    (void)state;
    differences(mean_verdict, J);
    for (size_t pair = 0; pair < ALL * ALL; pair++) {
        const size_t k[2] = { pair / ALL, pair % ALL };
        const bool known[2] = { true, true };
        double r[2], A[2], prob = 1;
        for (size_t i = 0; i < 2; i++) {
            struct answer a = answer_of(k[i]);
            r[i] = right_label(i, k[i]);
            prob *= exp(logp_of(&each[i], &a));
        }
        gr_advantage_group(GR_RLOO, r, known, 2, 0, 0, A);
        for (size_t i = 0; i < 2; i++) {
            struct answer a = answer_of(k[i]);
            double logp[2] = { 0 }, same[2] = { A[i], A[i] }, w[2];
            gr_policy_sum s;
            gr_policy_sum_init(&s);
            pi = each[i];                               /* whose gradient add_gradient() takes */
            for (size_t t = 0; t < a.n; t++)
                logp[t] = logp_at(&pi, &a, t);
            gr_policy_add(&rules, &(gr_policy_answer){ logp, NULL, NULL, same, a.n }, (gr_policy_counts){ 2, 2 }, w,
                          &s);
            add_gradient(got, &a, w, prob);
        }
    }
    pi = was;
    same_gradient(got, J, 1, "the verdict behind a rationale");
}

/* A KL in the loss: k1 does nothing, k2 is KL(policy, reference) at the token, k3 KL(reference, policy). */
static void kl_in_the_loss(void **state)
{
    double want[P], got[P], none[P] = { 0 };
    struct method m = { .advantage = GR_RLOO, .per = GR_PER_LENGTH, .ratio = GR_RATIO_TOKEN, .beta = 0.5, .G = 1,
                        .longest = 1 };          /* a group of one: no reward moves anything */

    (void)state;
    today = pi;
    m.in_loss = GR_KL_1;
    mean_gradient(&m, got);
    same_gradient(got, none, 1, "k1 in the loss");
    m.in_loss = GR_KL_2;
    differences(kl_by_token, want);
    mean_gradient(&m, got);
    same_gradient(got, want, -0.5, "k2 in the loss");
    m.in_loss = GR_KL_3;
    differences(other_kl_by_token, want);
    mean_gradient(&m, got);
    same_gradient(got, want, -0.5, "k3 in the loss");
}

/* GRPO has no such whole; what it divides by is a number of the group. */
static void grpo_is_scaled_dr_grpo(void **state)
{
    const size_t group[] = { 3, 17, 9 };
    struct method m = { .advantage = GR_GRPO, .per = GR_PER_ANSWER, .ratio = GR_RATIO_TOKEN, .G = 3, .longest = 1 };
    double a[P] = { 0 }, b[P] = { 0 }, mean = 0, squares = 0;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        mean += reward_of(group[i]) / 3;
    for (size_t i = 0; i < 3; i++)
        squares += (reward_of(group[i]) - mean) * (reward_of(group[i]) - mean);
    add_group(&m, group, 1, a);
    m.advantage = GR_DR_GRPO;
    add_group(&m, group, 1, b);
    for (size_t i = 0; i < P; i++)
        assert_true(fabs(a[i] * (sqrt(squares / 2) + 1e-4) - b[i]) < 1e-14);
}

/* RAFT: the mean reward of the winner of K, which the direction of the gradient must raise. */
static void raft_climbs(void **state)
{
    double J[P], got[P], along = 0;
    struct method m = { .advantage = GR_RAFT, .per = GR_PER_TOKEN, .ratio = GR_RATIO_NONE, .G = 3 };

    (void)state;
    differences(expected_reward, J);
    mean_gradient(&m, got);
    for (size_t i = 0; i < P; i++)
        along += J[i] * got[i];
    assert_true(along > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_are_torchs), cmocka_unit_test(gae_is_trls),
        cmocka_unit_test(rewards_stand_on_the_last_token), cmocka_unit_test(values_explain_what_came),
        cmocka_unit_test(groups_without_a_lesson),
        cmocka_unit_test(beta_follows_the_kl),
        cmocka_unit_test(estimators_are_unbiased), cmocka_unit_test(ppo_is_unbiased_whatever_v),
        cmocka_unit_test(a_judges_own_verdict_is_a_reward),
        cmocka_unit_test(kl_in_the_loss), cmocka_unit_test(grpo_is_scaled_dr_grpo), cmocka_unit_test(raft_climbs)
    };
    int failed;

    make_policies();
    golden = json_load_file("tests/golden/align.json", 0, NULL);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
