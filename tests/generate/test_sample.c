/* test_sample.c - kept tokens against transformers, draws against their distribution, log-probabilities against double.
 * */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "check.h"
#include "generate/sample.h"
#include "op/op.h"

enum { V = 257 };

/* As scripts/golden_sampling.py makes them: eighths, many of them equal. It says what is compared where equal tokens
 * lie on the border of top_p. */
static void logits(float *z, uint64_t row)
{
    for (size_t v = 0; v < V; v++)
        z[v] = (float)((int)((gr_random(&row) >> 40) % 97) - 48) / 8;
}

static void same_tokens_stay_as_in_transformers(void **state)
{
    FILE *f = fopen("tests/golden/sampling.txt", "r");
    gr_sampler r;
    size_t row = 0, compared = 0, want_n;
    gr_sampling s = gr_sampling_neutral;
    unsigned long long want;

    (void)state;
    assert_non_null(f);
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    while (fscanf(f, "%lf %zu %lf %lf %lf %zu %llx", &s.temperature, &s.top_k, &s.top_p, &s.min_p, &s.repetition,
                  &want_n,
                  &want) == 7) {
        float z[V];
        int32_t text[20];
        for (size_t i = 0; i < 20; i++)
            text[i] = (int32_t)((row * 7 + i * 31) % V);
        logits(z, row++);
        EACH_CPU {
            uint64_t h = GR_DIGEST;
            size_t n = 0;
            double sum;
            CHECK_OK(gr_sample_weights(&r, z, &s, (gr_so_far){ text, text + 12, 12, 8 }, NULL, 0, &sum, &check_err));
            float least = INFINITY;
            for (size_t v = 0; v < V; v++)
                if (r.w[v] > 0 && r.y[v] < least)
                    least = r.y[v];
            for (int32_t v = 0; v < V; v++) {
                n += r.w[v] > 0;
                if (r.w[v] > 0 && r.y[v] > least)
                    h = gr_digest(h, &v, sizeof v);
            }
            if (want_n && (n != want_n || h != want))
                fail_msg("row %zu: %zu tokens stay (%016llx), wanted %zu (%016llx)", row - 1, n, (unsigned long long)h,
                         want_n, want);
        }
        compared += want_n > 0;
    }
    fclose(f);
    gr_sampler_clear(&r);
    assert_true(row == 1000 && compared > 900);
}

/* 100,000 draws of one row; the sum of (seen - expected)^2 / expected over the n tokens that may come has the
 * chi-square distribution of n - 1 degrees of freedom, which passes n - 1 + 3.1 sqrt(2 (n - 1)) + 6.6 once in a
 * thousand times (the normal approximation with its first correction). The draws follow from the seed, so this passes
 * always or never. */
static void draws_follow_the_distribution(void **state)
{
    static const gr_sampling each[] = {
        { 1, 0, 1, 0, 1, 0, 0, 0 }, { .7, 0, 1, 0, 1, 0, 0, 0 }, { 1, 9, 1, 0, 1, 0, 0, 0 }, { 1, 0, .8, 0, 1, 0, 0,
                                                                                              0 },
        { 1, 0, 1, .1, 1, 0, 0, 0 }, { 1, 0, 1, 0, 1.5, 0, 0, 0 }, { 1, 0, 1, 0, 1, .5, .25, 0 }, { 1, 0, 1, 0, 1, 0,
                                                                                                   0, 9 },
        { 1.3, 30, .9, .02, 1.2, .3, .1, 9 },
    };
    enum { DRAWS = 100000 };
    static const int32_t text[] = { 3, 7, 7, 11, 200 }, end[] = { 5, 9 };
    gr_sampler r;
    float z[V];

    (void)state;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    logits(z, 77);
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        size_t seen[V] = { 0 }, n = 0;
        float w[V];
        double sum, chi = 0;
        for (size_t at = 0; at < DRAWS; at++) {
            gr_drawn d;
            CHECK_OK(gr_sample(&r, z, &each[i], (gr_so_far){ text, text + 2, 2, 3 }, end, 2, gr_draw_at(i, at), &d,
                               &check_err));
            seen[d.id]++;
        }
        CHECK_OK(gr_sample_weights(&r, z, &each[i], (gr_so_far){ text, text + 2, 2, 3 }, end, 2, &sum, &check_err));
        memcpy(w, r.w, sizeof w);
        for (size_t v = 0; v < V; v++) {
            double expected = DRAWS * (w[v] / sum);
            assert_true(w[v] > 0 || seen[v] == 0);
            n += w[v] > 0;
            chi += w[v] > 0 ? ((double)seen[v] - expected) * ((double)seen[v] - expected) / expected : 0;
        }
        if (chi > (double)n - 1 + 3.1 * sqrt(2 * ((double)n - 1)) + 6.6)
            fail_msg("setting %zu: chi-square %g for %zu tokens", i, chi, n);
    }
    gr_sampler_clear(&r);
}

/* Against double: z - top is below 12 and exact in eighths; the sum of exponentials errs by 35 + 2 halves of an ulp
 * (test_ce's count), the temperature's division by half an ulp of 16; and the result, below 16, is rounded once. */
static void log_probabilities_are_those_of_double(void **state)
{
    static const double T[] = { 1, .7, 1.3, 0 };
    gr_sampler r;

    (void)state;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    for (size_t row = 0; row < 100; row++)
        EACH_CPU {
            gr_sampling s = gr_sampling_neutral;
            float z[V];
            double raw = 0, tempered = 0;
            gr_drawn d;
            s.temperature = T[row % GR_COUNT(T)];
            s.repetition = row % 3 ? 1 : 1.7;
            s.top_k = row % 5;
            logits(z, row);
            CHECK_OK(gr_sample(&r, z, &s, (gr_so_far){ NULL, (int32_t[]){ 8, 9 }, 0, 2 }, NULL, 0, gr_draw_at(row, 3),
                               &d,
                               &check_err));
            for (size_t v = 0; v < V; v++) {
                raw += exp((double)z[v]);
                tempered += exp((double)z[v] / (s.temperature ? s.temperature : 1));
            }
            assert_true(fabs(d.raw - (z[d.id] - log(raw))) < 32 * FLT_EPSILON);
            assert_true(fabs(d.tempered - (z[d.id] / (s.temperature ? s.temperature : 1) - log(tempered))) <
                        64 * FLT_EPSILON);
        }
    gr_sampler_clear(&r);
}

/* Repetition is once for an id, however often and wherever it stands; presence once, and frequency each time, of the
 * answer's alone. Of weights exp(y - top) the quotient says what was taken off. */
static void penalties_count_as_they_say(void **state)
{
    static const int32_t prompt[] = { 3, 3, 5, 7 }, answer[] = { 3, 9, 9, 9 };
    gr_sampling s = gr_sampling_neutral;
    float z[V] = { 0 };
    gr_sampler r;
    double sum;

    (void)state;
    z[3] = 2;
    z[5] = -2;
    z[7] = 6;
    z[9] = 4;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    for (size_t i = 0; i < 2; i++) {                    /* 3 and 0, 5 and 0, 7 and 0, 9 and 0 */
        const double want[2][4] = { { 1, -4, 3, 2 }, { 2 - 0.5 - 0.25, -2, 6, 4 - 0.5 - 3 * 0.25 } };
        const int32_t id[] = { 3, 5, 7, 9 };
        s.repetition = i ? 1 : 2;
        s.presence = i ? 0.5 : 0;
        s.frequency = i ? 0.25 : 0;
        for (size_t again = 0; again < 2; again++) {
            CHECK_OK(gr_sample_weights(&r, z, &s, (gr_so_far){ prompt, answer, 4, 4 }, NULL, 0, &sum, &check_err));
            for (size_t k = 0; k < 4; k++)
                assert_true(fabs(log((double)r.w[id[k]] / r.w[0]) - want[i][k]) < 1e-5);
        }
    }
    gr_sampler_clear(&r);
}

/* Weights are 1, 1, 1, 1 and nothing: sums of them are exact, so is every border. */
static void what_lies_on_a_border_stays(void **state)
{
    static const struct { size_t top_k; double top_p, min_p; bool stays[6]; } each[] = {
        { 0, 0.5, 0, { 1, 0, 1 } }, { 0, 0.51, 0, { 1, 0, 1, 0, 1 } }, { 0, 1e-9, 0, { 1 } },
        { 0, 1, 1, { 1, 0, 1, 0, 1, 1 } }, { 1, 1, 0, { 1, 0, 1, 0, 1, 1 } }, { 5, 1, 0, { 1, 1, 1, 0, 1, 1 } },
        { 1, 0.75, 1, { 1, 0, 1, 0, 1 } },
    };
    float z[] = { 3, 2, 3, 1, 3, 3 };
    double sum;

    (void)state;
    EACH_CPU {
        gr_sampler r;
        CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), 6, &check_err));
        for (size_t i = 0; i < GR_COUNT(each); i++) {
            gr_sampling s = gr_sampling_neutral;
            s.top_k = each[i].top_k;
            s.top_p = each[i].top_p;
            s.min_p = each[i].min_p;
            z[1] = z[3] = s.top_p < 1 ? -1000 : 2;
            z[3] -= 1;
            CHECK_OK(gr_sample_weights(&r, z, &s, (gr_so_far){ 0 }, NULL, 0, &sum, &check_err));
            for (size_t v = 0; v < 6; v++)
                if ((r.w[v] > 0) != each[i].stays[v])
                    fail_msg("case %zu: token %zu has the weight %g", i, v, r.w[v]);
        }
        for (size_t k = 0; k < 4; k++) {                /* a draw is for the token at which the sum exceeds it */
            static const float equal[] = { 0, -1000, 0, 0, -1000, 0 };
            static const int32_t drawn[] = { 0, 2, 3, 5 };
            gr_drawn d;
            CHECK_OK(gr_sample(&r, equal, &gr_sampling_neutral, (gr_so_far){ 0 }, NULL, 0, (double)k / 4, &d,
                               &check_err));
            assert_int_equal(d.id, drawn[k]);
        }
        gr_sampler_clear(&r);
    }
}

static void greedy_takes_the_lowest_of_equals_and_no_end_too_early(void **state)
{
    gr_sampling s = gr_sampling_neutral;
    float z[V] = { 0 };
    const int32_t end = 40;
    gr_sampler r;
    gr_drawn d;

    (void)state;
    s.temperature = 0;
    s.min_new = 1;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    EACH_CPU {
        for (size_t v = 0; v < V; v++)
            z[v] = v == 40 ? 3 : v == 41 || v == 256 ? 2 : -1;
        CHECK_OK(gr_sample(&r, z, &s, (gr_so_far){ 0 }, &end, 1, 0, &d, &check_err));
        assert_int_equal(d.id, 41);
        CHECK_OK(gr_sample(&r, z, &s, (gr_so_far){ NULL, &end, 0, 1 }, &end, 1, 0, &d, &check_err));
        assert_int_equal(d.id, 40);
        z[13] = NAN;
        assert_int_equal(gr_sample(&r, z, &s, (gr_so_far){ 0 }, NULL, 0, 0, &d, &check_err), GRAM_EFORMAT);
        z[13] = INFINITY;
        assert_int_equal(gr_sample(&r, z, &s, (gr_so_far){ 0 }, NULL, 0, 0, &d, &check_err), GRAM_EFORMAT);
    }
    gr_sampler_clear(&r);
}

/* By chance or by the largest, with penalties or without. */
static void where_no_token_may_come_none_does(void **state)
{
    float z[V] = { 0 };
    int32_t end[V];
    gr_sampler r;
    gr_drawn d;

    (void)state;
    for (size_t v = 0; v < V; v++)
        end[v] = (int32_t)v;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), V, &check_err));
    for (size_t i = 0; i < 4; i++) {
        gr_sampling s = gr_sampling_neutral;
        s.temperature = i % 2;
        s.presence = i / 2;
        s.min_new = 2;
        check_err = (gram_err){ 0 };
        assert_int_equal(gr_sample(&r, z, &s, (gr_so_far){ NULL, end, 0, 1 }, end, V, 0, &d, &check_err), GRAM_EARG);
        assert_non_null(strstr(check_err.text, "min_new_tokens"));
        CHECK_OK(gr_sample(&r, z, &s, (gr_so_far){ NULL, end, 0, 1 }, end, V - 1, 0, &d, &check_err));
        assert_int_equal(d.id, V - 1);
    }
    gr_sampler_clear(&r);
}

/* Four equal tokens have weights of 1, and the others of 0: the borders that they lie on are exact. */
static void borders_are_exact(void **state)
{
    enum { FEW = 8 };
    static const float z[FEW] = { 0, -INFINITY, 0, -200, 0, -INFINITY, 0, -200 };
    static const struct { double top_p, min_p; size_t kept; } each[] = {
        { 0.25, 0, 1 }, { 0.2500001, 0, 2 }, { 0.5, 0, 2 }, { 0.75, 0, 3 }, { 1, 1, 4 }, { 0.5, 1, 2 },
    };
    static const struct { double u; int32_t id; } drawn[] = { { 0, 0 }, { 0.2499, 0 }, { 0.25, 2 }, { 0.5, 4 },
                                                              { 0.75, 6 }, { 0.999999, 6 } };
    gr_sampler r;
    gr_drawn d;
    double sum;

    (void)state;
    CHECK_OK(gr_sampler_init(&r, gr_kern_of(gr_cpu()), FEW, &check_err));
    for (size_t i = 0; i < GR_COUNT(each); i++) {
        gr_sampling s = gr_sampling_neutral;
        size_t kept = 0;
        s.top_p = each[i].top_p;
        s.min_p = each[i].min_p;
        CHECK_OK(gr_sample_weights(&r, z, &s, (gr_so_far){ 0 }, NULL, 0, &sum, &check_err));
        for (size_t v = 0; v < FEW; v++) {
            assert_true(r.w[v] == 0 || v / 2 == kept);      /* 0, 2, 4 and 6, the lowest first */
            kept += r.w[v] > 0;
        }
        if (kept != each[i].kept || sum != (double)kept)
            fail_msg("top_p %g, min_p %g: %zu tokens stay of %zu", each[i].top_p, each[i].min_p, kept, each[i].kept);
    }
    for (size_t i = 0; i < GR_COUNT(drawn); i++) {
        CHECK_OK(gr_sample(&r, z, &gr_sampling_neutral, (gr_so_far){ 0 }, NULL, 0, drawn[i].u, &d, &check_err));
        assert_int_equal(d.id, drawn[i].id);
    }
    gr_sampler_clear(&r);
}

static void bad_settings_are_named(void **state)
{
    static const struct { gr_sampling s; const char *name; } bad[] = {
        { { 1e-7, 0, 1, 0, 1, 0, 0, 0 }, "temperature" }, { { 1, 0, 1, 0, 1e-7, 0, 0, 0 }, "repetition_penalty" },
        { { -1, 0, 1, 0, 1, 0, 0, 0 }, "temperature" }, { { NAN, 0, 1, 0, 1, 0, 0, 0 }, "temperature" },
        { { 1, 0, 0, 0, 1, 0, 0, 0 }, "top_p" }, { { 1, 0, 1.1, 0, 1, 0, 0, 0 }, "top_p" },
        { { 1, 0, 1, -.1, 1, 0, 0, 0 }, "min_p" }, { { 1, 0, 1, 0, 0, 0, 0, 0 }, "repetition_penalty" },
        { { 1, 0, 1, 0, 1, NAN, 0, 0 }, "presence_penalty" }, { { 1, 0, 1, 0, 1, 0, INFINITY, 0 },
                                                               "frequency_penalty" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        assert_int_equal(gr_sampling_check(&bad[i].s, &check_err), GRAM_EARG);
        assert_non_null(strstr(check_err.text, bad[i].name));
    }
    CHECK_OK(gr_sampling_check(&gr_sampling_neutral, &check_err));
}

static void the_likeliest_come_in_order(void **state)
{
    static const int32_t want[] = { 7, 2, 5, 0 };
    float z[] = { 1, 0, 3, -1, 0, 3, 0, 4 };
    int32_t id[4];

    (void)state;
    gr_likeliest(z, GR_COUNT(z), id, 4);
    assert_memory_equal(id, want, sizeof want);
    gr_likeliest(z, 1, id, 1);
    assert_int_equal(id[0], 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_tokens_stay_as_in_transformers),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(log_probabilities_are_those_of_double),
        cmocka_unit_test(penalties_count_as_they_say),
        cmocka_unit_test(what_lies_on_a_border_stays),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals_and_no_end_too_early),
        cmocka_unit_test(where_no_token_may_come_none_does),
        cmocka_unit_test(borders_are_exact),
        cmocka_unit_test(bad_settings_are_named),
        cmocka_unit_test(the_likeliest_come_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
