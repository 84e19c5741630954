/* test_bon.c - the best-of-n estimate against enumeration of every subset, its intervals against a mean's known error,
 * which prompts a curve is made of, and what shows it. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/random.h"
#include "check.h"
#include "eval/bon.h"
#include "eval/bootstrap.h"

/* The value of the best of a set by key, ties shared, over all sets of n of N: by counting bits. */
static double enumerated(const double *key, const double *value, size_t N, size_t n)
{
    double sum = 0, sets = 0;

    for (unsigned set = 0; set < 1u << N; set++) {
        double top = -INFINITY, won = 0, ties = 0;
        if ((size_t)__builtin_popcount(set) != n)
            continue;
        for (size_t i = 0; i < N; i++)
            if (set >> i & 1)
                top = fmax(top, key[i]);
        for (size_t i = 0; i < N; i++)
            if ((set >> i & 1) && key[i] == top) {
                won += value[i];
                ties++;
            }
        sum += won / ties;
        sets++;
    }
    return sum / sets;
}

static void the_estimate_is_the_enumeration(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (size_t N = 1; N <= 9; N++)
        for (int round = 0; round < 8; round++) {
            double key[9], value[9];
            for (size_t i = 0; i < N; i++) {            /* in half of the rounds keys tie */
                key[i] = round % 2 ? (double)gr_random_below(&seed, 3) : gr_random_normal(&seed);
                value[i] = gr_random_normal(&seed);
            }
            for (size_t n = 1; n <= N; n++) {
                double got = gr_best_of(key, value, N, n), want = enumerated(key, value, N, n);
                if (!(fabs(got - want) < 1e-13))        /* sums of at most 126 numbers about 1 */
                    fail_msg("N %zu, n %zu: %.17g, by enumeration %.17g", N, n, got, want);
            }
            assert_true(isnan(gr_best_of(key, value, N, N + 1)) && isnan(gr_best_of(key, value, N, 0)));
        }
    assert_true(isnan(gr_best_of((double[]){ 1, NAN }, (double[]){ 1, 2 }, 2, 1)));
}

/* Where all keys tie nothing is chosen; by its own value the best of all is the largest; 1,024 answers lose no
 * digits. */
static void ends_of_the_range(void **state)
{
    static double key[1024], value[1024];
    double mean = 0, top = -INFINITY;
    uint64_t seed = 5;

    (void)state;
    for (size_t i = 0; i < 1024; i++) {
        value[i] = gr_random_normal(&seed);
        mean += value[i] / 1024;
        top = fmax(top, value[i]);
    }
    for (size_t n = 1; n <= 1024; n *= 2)
        assert_true(fabs(gr_best_of(key, value, 1024, n) - mean) < 1e-12);
    assert_true(fabs(gr_best_of(value, value, 1024, 1024) - top) < 1e-12);
    assert_true(fabs(gr_best_of(value, value, 1024, 1) - mean) < 1e-12);
}

/* The points lie between the draws that they fall between: of 41 draws the 2.5 % point is the second. */
static void points_between_the_draws(void **state)
{
    double draw[41], three[] = { 2, 0, 1 };
    gram_interval v;

    (void)state;
    for (size_t i = 0; i < 41; i++)
        draw[i] = (double)(40 - i);
    v = gr_boot_interval(7, draw, 41);
    assert_true(v.value == 7 && fabs(v.low - 1) < 1e-12 && fabs(v.high - 39) < 1e-12);
    v = gr_boot_interval(7, three, 3);
    assert_true(fabs(v.low - 0.05) < 1e-12 && fabs(v.high - 1.95) < 1e-12);
    v = gr_boot_interval(7, three, 1);
    assert_true(v.low == 0 && v.high == 0);
}

/* 400 prompts whose gold rewards are normal: the interval of the mean is that of theory, within the error of 2,000
 * draws. */
static void intervals_are_those_of_a_mean(void **state)
{
    gr_bon b = { .gold = true };
    gram_bon_curve c;
    uint64_t seed = 7;
    double sum = 0, square = 0;

    (void)state;
    for (uint64_t p = 0; p < 400; p++) {
        double proxy[4], gold[4], length[4];
        double shift = gr_random_normal(&seed);
        for (size_t i = 0; i < 4; i++) {
            gold[i] = shift;                            /* all answers alike: the mean over prompts is all there is */
            proxy[i] = gr_random_normal(&seed);
            length[i] = (double)i;
        }
        sum += shift;
        square += shift * shift;
        CHECK_OK(gr_bon_add(&b, p * 2654435761u, proxy, gold, length, 4, &check_err));
    }
    CHECK_OK(gr_bon_curve(&b, 0, &c, &check_err));
    assert_true(c.points == 3 && c.prompts == 400 && c.left_out == 0 && c.point[2].n == 4);
    for (size_t k = 0; k < 3; k++) {
        const gram_bon_point *p = &c.point[k];
        double mean = sum / 400, se = sqrt((square / 400 - mean * mean) / 400), n = (double)p->n;
        assert_true(fabs(p->gold.value - mean) < 1e-12 && fabs(p->oracle.value - mean) < 1e-12);
        assert_true(fabs(p->gold.low - (mean - 1.96 * se)) < 0.2 * se);
        assert_true(fabs(p->gold.high - (mean + 1.96 * se)) < 0.2 * se);
        assert_true(fabs(p->gain.value) < 1e-12 && fabs(p->gain.low) < 1e-12 && fabs(p->gain.high) < 1e-12);
        assert_true(fabs(p->kl - (log(n) - (n - 1) / n)) < 1e-15);
    }
    assert_true(c.point[0].proxy.value < c.point[1].proxy.value && c.point[1].proxy.value < c.point[2].proxy.value);
    gr_bon_clear(&b);
    gr_bon_clear(&b);
}

/* Ten rows of one prompt are one observation. */
static void rows_of_a_prompt_go_together(void **state)
{
    gram_bon_curve c[2];

    (void)state;
    for (int together = 0; together < 2; together++) {
        gr_bon b = { 0 };
        uint64_t seed = 11;
        for (uint64_t p = 0; p < 200; p++) {
            double x = p % 10 ? 0 : gr_random_normal(&seed), proxy[2];
            static double shift;
            shift = p % 10 ? shift : x;
            proxy[0] = proxy[1] = shift;
            CHECK_OK(gr_bon_add(&b, together ? p / 10 : p, proxy, NULL, proxy, 2, &check_err));
        }
        CHECK_OK(gr_bon_curve(&b, 0, &c[together], &check_err));
        gr_bon_clear(&b);
    }
    assert_true(c[0].point[0].proxy.value == c[1].point[0].proxy.value || fabs(c[0].point[0].proxy.value -
                c[1].point[0].proxy.value) < 1e-12);
    assert_true(c[1].point[0].proxy.high - c[1].point[0].proxy.low >
                2 * (c[0].point[0].proxy.high - c[0].point[0].proxy.low));      /* sqrt(10) times as wide */
    assert_true(isnan(c[0].point[0].gold.value) && isnan(c[0].point[0].oracle.low));
}

/* Answers without a reward are none; prompts with too few are left out, and counted. */
static void which_prompts_are_in(void **state)
{
    static const double x[] = { 1, 2, 3, 4, 5 }, hole[] = { 1, NAN, 3, 4, 5 }, no[] = { NAN, NAN, NAN, NAN, NAN };
    gr_bon b = { .gold = true };
    gram_bon_curve c;

    (void)state;
    CHECK_OK(gr_bon_curve(&b, 0, &c, &check_err));
    assert_true(c.points == 0 && c.prompts == 0);
    CHECK_OK(gr_bon_add(&b, 1, x, x, x, 5, &check_err));
    CHECK_OK(gr_bon_add(&b, 2, hole, x, x, 5, &check_err));
    CHECK_OK(gr_bon_add(&b, 3, x, hole, x, 5, &check_err));
    CHECK_OK(gr_bon_add(&b, 4, no, x, x, 5, &check_err));
    CHECK_OK(gr_bon_curve(&b, 0, &c, &check_err));
    assert_true(c.prompts == 3 && c.left_out == 1 && c.points == 3 && c.point[2].n == 4);
    CHECK_OK(gr_bon_curve(&b, 5, &c, &check_err));
    assert_true(c.prompts == 1 && c.left_out == 3 && c.points == 4 && c.point[3].n == 5);
    assert_true(isnan(c.point[0].gold.low) && c.point[3].gold.value == 5 && c.point[0].gold.value == 3);
    CHECK_OK(gr_bon_curve(&b, 6, &c, &check_err));
    assert_true(c.prompts == 0 && c.left_out == 4 && c.points == 0);
    CHECK_OK(gr_bon_curve(&b, 1, &c, &check_err));
    assert_true(c.prompts == 3 && c.points == 1);
    gr_bon_clear(&b);
}

/* One prompt's curve, each column the best of n by another key; by hand, of all its answers: proxy takes the last,
 * whose gold is 1, the longest has 3 and the best 4. */
static void each_column_has_its_key(void **state)
{
    static const double proxy[] = { 1, 2, 3, 4 }, gold[] = { 4, 3, 2, 1 }, length[] = { 2, 4, 1, 3 };
    gr_bon b = { .gold = true };
    gram_bon_curve c;

    (void)state;
    CHECK_OK(gr_bon_add(&b, 1, proxy, gold, length, 4, &check_err));
    CHECK_OK(gr_bon_curve(&b, 0, &c, &check_err));
    assert_int_equal(c.points, 3);
    for (size_t k = 0; k < 3; k++) {
        const gram_bon_point *p = &c.point[k];
        assert_true(fabs(p->proxy.value - gr_best_of(proxy, proxy, 4, p->n)) < 1e-13);
        assert_true(fabs(p->gold.value - gr_best_of(proxy, gold, 4, p->n)) < 1e-13);
        assert_true(fabs(p->gain.value - (p->gold.value - 2.5)) < 1e-13 && fabs(p->random.value - 2.5) < 1e-13);
        assert_true(fabs(p->longest.value - gr_best_of(length, gold, 4, p->n)) < 1e-13);
        assert_true(fabs(p->oracle.value - gr_best_of(gold, gold, 4, p->n)) < 1e-13);
    }
    assert_true(c.point[2].gold.value == 1 && c.point[2].longest.value == 3 && c.point[2].oracle.value == 4);
    gr_bon_clear(&b);
}

/* The three ways of showing it hold its numbers, with and without gold, and with nothing to show. */
static void it_is_shown(void **state)
{
    static const double x[] = { 1, 2, 3, 4 }, y[] = { 4, 3, 1, 2 }, length[] = { 1, 3, 2, 0 };

    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        const gr_bon_facts f = { "a <b>.jsonl", "the judge", kind == 1 ? "a & b" : NULL, "2026-01-01" };
        gr_bon b = { .gold = kind == 1 };
        gr_buf table = { 0 }, json = { 0 }, page = { 0 };
        gram_bon_curve c;
        json_t *o;
        for (uint64_t p = 0; p < 3 && kind < 2; p++)
            CHECK_OK(gr_bon_add(&b, p, x, y, length, 4, &check_err));
        CHECK_OK(gr_bon_curve(&b, 0, &c, &check_err));
        CHECK_OK(gr_bon_table(&c, &f, &table, &check_err));
        CHECK_OK(gr_bon_json(&c, &f, &json, &check_err));
        CHECK_OK(gr_bon_page(&c, &f, &page, &check_err));
        assert_non_null(strstr(table.p, "judge: the judge"));
        assert_true(!strstr(table.p, "oracle") == (kind != 1));
        assert_non_null(strstr(page.p, "a &lt;b&gt;.jsonl"));
        assert_null(strstr(page.p, "nan"));
        o = json_loadb(json.p, json.n, 0, NULL);
        assert_non_null(o);
        assert_int_equal(json_array_size(json_object_get(o, "curve")), kind == 2 ? 0 : 3);
        assert_true(!json_object_get(json_array_get(json_object_get(o, "curve"), 0), "oracle") == (kind != 1));
        if (kind == 1) {                        /* of all four answers, each number under its name */
            const gram_bon_point *p = &c.point[2];
            const struct { const char *key; double is; } each[] = {
                { "proxy", p->proxy.value }, { "gold", p->gold.value }, { "gain", p->gain.value },
                { "random", p->random.value }, { "longest", p->longest.value }, { "oracle", p->oracle.value },
            };
            const json_t *last = json_array_get(json_object_get(o, "curve"), 2);
            for (size_t i = 0; i < GR_COUNT(each); i++) {
                const json_t *v = json_object_get(json_object_get(last, each[i].key), "value");
                if (!(json_is_number(v) && json_number_value(v) == each[i].is))
                    fail_msg("%s is %g, wanted %g", each[i].key, json_number_value(v), each[i].is);
            }
        }
        json_decref(o);
        gr_buf_clear(&table);
        gr_buf_clear(&json);
        gr_buf_clear(&page);
        gr_bon_clear(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_estimate_is_the_enumeration), cmocka_unit_test(ends_of_the_range),
        cmocka_unit_test(intervals_are_those_of_a_mean),
        cmocka_unit_test(points_between_the_draws), cmocka_unit_test(rows_of_a_prompt_go_together),
        cmocka_unit_test(which_prompts_are_in), cmocka_unit_test(each_column_has_its_key),
        cmocka_unit_test(it_is_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
