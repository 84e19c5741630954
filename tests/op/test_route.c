/* test_route.c - the router's choices, weights and slopes against PyTorch's, ties and all. scripts/golden_ops.py made
 * tests/golden/ops/route.json: its weights and slopes are of a softmax in double, printed with 9 digits. */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "check.h"
#include "device.h"
#include "op/op.h"

enum { MOST = 256 };

static size_t read_floats(float *out, const json_t *o, const char *name)
{
    const json_t *list = json_object_get(o, name);
    size_t n = json_array_size(list);

    assert_true(n > 0 && n <= MOST);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)json_number_value(json_array_get(list, i));
    return n;
}

/* p is one float32 rounding of what is in double, w as much again of the quotient; dz is a sum of k differences of
 * numbers up to |dw|, so its error is held to that scale. */
static void check_case(const json_t *o, size_t number)
{
    float z[MOST], w[MOST], dw[MOST], dz[MOST], *got_p, *got_w, *got_dz, most = 0;
    size_t E = read_floats(z, o, "z"), k = read_floats(w, o, "w");
    bool norm = json_integer_value(json_object_get(o, "norm"));
    int32_t *chosen = check_fenced(k * sizeof *chosen);

    got_p = check_fenced(E * sizeof *got_p);
    got_w = check_fenced(k * sizeof *got_w);
    got_dz = check_fenced(E * sizeof *got_dz);
    read_floats(dw, o, "dw");
    read_floats(dz, o, "dz");
    gr_kern_of(0)->route_fwd(NULL, MAT(got_p, E), chosen, MAT(got_w, k), MAT(z, E), 1, E, k, norm);
    for (size_t j = 0; j < k; j++) {
        json_int_t want = json_integer_value(json_array_get(json_object_get(o, "chosen"), j));
        if (chosen[j] != want)
            fail_msg("case %zu, %zu of %zu: choice %zu is %d, wanted %d", number, k, E, j, (int)chosen[j], (int)want);
        most = fmaxf(most, fabsf(dw[j]));
    }
    CHECK_CLOSE(got_w, w, k, 4 * FLT_EPSILON);
    gr_kern_of(0)->route_bwd(NULL, MAT(got_dz, E), MAT(dw, k), MAT(got_p, E), chosen, MAT(got_w, k), 1, E, k, norm);
    for (size_t e = 0; e < E; e++)
        if (!(fabsf(got_dz[e] - dz[e]) <= 8 * FLT_EPSILON * most))
            fail_msg("case %zu, %zu of %zu: slope %zu is %.9g, wanted %.9g", number, k, E, e, (double)got_dz[e],
                     (double)dz[e]);
}

static void choices_are_pytorchs(void **state)
{
    json_t *all = json_load_file("tests/golden/ops/route.json", 0, NULL);

    (void)state;
    assert_true(json_array_size(all) > 50);
    for (size_t i = 0; i < json_array_size(all); i++)
        check_case(json_array_get(all, i), i);
    json_decref(all);
}

/* Numbers that are none choose the first experts, and say so in the weights. */
static void what_is_no_number_comes_out_as_none(void **state)
{
    static const float bad[] = { NAN, INFINITY };

    (void)state;
    for (size_t b = 0; b < GR_COUNT(bad); b++) {
        float z[5] = { 0, 1, 2, bad[b], 4 }, p[5], w[2];
        int32_t chosen[2];
        gr_route_fwd_ref(NULL, MAT(p, 5), chosen, MAT(w, 2), MAT(z, 5), 1, 5, 2, true);
        assert_int_equal(chosen[0], 0);
        assert_int_equal(chosen[1], 1);
        assert_true(isnan(w[0]) && isnan(w[1]));
    }
}

/* k products added to x, one after the other. */
static void blend_adds_what_is_weighed(void **state)
{
    enum { N = 3, K = 4, C = 37 };
    float *x = check_randn(N * C, 1), *v = check_randn(N * K * C, 2), *w = check_randn(N * K, 3);
    float *y = check_fenced(N * C * sizeof *y);

    (void)state;
    gr_blend_ref(NULL, MAT(y, C), MAT(x, C), MAT(v, C), MAT(w, K), N, K, C);
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++) {
            double want = x[n * C + c], size = fabs(want);
            for (size_t j = 0; j < K; j++) {
                double more = (double)w[n * K + j] * (double)v[(n * K + j) * C + c];
                want += more;
                size += fabs(more);
            }
            assert_true(fabs((double)y[n * C + c] - want) <= (K + 1) * FLT_EPSILON * size);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_pytorchs), cmocka_unit_test(what_is_no_number_comes_out_as_none),
        cmocka_unit_test(blend_adds_what_is_weighed),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
