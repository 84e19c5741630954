/* test_optim.c - AdamW, clipping and the cosine against 20 steps of PyTorch (scripts/golden_optim.py), and the bits at
 * any number of threads. */
#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/op.h"
#include "optim/optim.h"

static void numbers(const json_t *list, float *out, size_t n)
{
    assert_int_equal(json_array_size(list), n);
    for (size_t i = 0; i < n; i++)
        out[i] = (float)json_number_value(json_array_get(list, i));
}

static gr_param param(const char *name, float *w, float *g, size_t rows, size_t cols, bool decay)
{
    return (gr_param){ .name = name, .rows = rows, .cols = cols, .decay = decay, .w = gr_mat_f32(w, cols),
                       .g = gr_mat_f32(g, cols) };
}

static void twenty_steps_are_pytorchs(void **state)
{
    static const size_t count[] = { 35, 9 };
    float w[2][35], g0[2][35], g[2][35], end[2][35], v[2][35];
    gr_param p[2] = { param("matrix", w[0], g[0], 5, 7, true), param("norm", w[1], g[1], 1, 9, false) };
    json_t *want = json_load_file("tests/golden/optim.json", 0, NULL);
    uint64_t steps = (uint64_t)json_integer_value(json_object_get(want, "steps"));
    uint64_t warmup = (uint64_t)json_integer_value(json_object_get(want, "warmup"));
    double peak = json_number_value(json_object_get(want, "peak"));
    double clip = json_number_value(json_object_get(want, "clip"));
    gr_device *device;
    gr_adamw a;

    (void)state;
    assert_non_null(want);
    CHECK_OK(gr_device_open(&device, NULL, 2, &check_err));
    CHECK_OK(gr_adamw_init(&a, p, 2, &check_err));
    a.decay = json_number_value(json_object_get(want, "decay"));
    for (size_t i = 0; i < 2; i++) {
        numbers(json_array_get(json_object_get(want, "start"), i), w[i], count[i]);
        numbers(json_array_get(json_object_get(want, "grad"), i), g0[i], count[i]);
        numbers(json_array_get(json_object_get(want, "end"), i), end[i], count[i]);
        numbers(json_array_get(json_object_get(want, "v"), i), v[i], count[i]);
    }
    for (uint64_t s = 0; s < steps; s++) {
        double lr = gr_learning_rate(GR_SCHEDULE_COSINE, peak, s, warmup, steps), norm;
        for (size_t i = 0; i < 2; i++)
            for (size_t k = 0; k < count[i]; k++)
                g[i][k] = g0[i][k] * ((float)(s % 5) - 2);
        norm = gr_grad_norm(&a, device);
        CHECK_NEAR(lr, json_number_value(json_array_get(json_object_get(want, "rate"), s)), 1e-15);
        CHECK_NEAR(norm, json_number_value(json_array_get(json_object_get(want, "norm"), s)), 1e-5);
        gr_adamw_step(&a, lr, norm > clip ? clip / norm : 1, device);
    }
    for (size_t i = 0; i < 2; i++)          /* a few roundings a step, of weights of size 1 */
        CHECK_CLOSE(w[i], end[i], count[i], 20 * 4 * FLT_EPSILON);
    for (size_t i = 0, at = 0; i < 2; i++)  /* 1 - b2 taken in float32 would make v 4.7e-5 of itself larger */
        for (size_t k = 0; k < count[i]; k++, at++)
            assert_true(fabsf(gr_f32(a.v.w)[at] - v[i][k]) <= 20 * 4 * FLT_EPSILON * v[i][k]);
    gr_adamw_clear(&a);
    gr_device_close(device);
    json_decref(want);
}

/* half: moments are kept in bfloat16. */
static void any_threads_have_the_same_bits(bool half)
{
    enum { N = 300000 };                    /* more than one slice */
    float *first = NULL;
    double norm = 0;

    for (size_t threads = 1; threads <= 3; threads++) {
        float *w = check_randn(N, 1), *g = check_randn(N, 2);
        gr_param p = param("w", w, g, 3, N / 3, true);
        gr_device *device;
        gr_adamw a;
        CHECK_OK(gr_device_open(&device, NULL, threads, &check_err));
        CHECK_OK(gr_adamw_init_part(&a, &p, 1, &(gr_adamw_cut){ .parts = 1, .half = half }, &check_err));
        for (int s = 0; s < 3; s++) {
            double now = gr_grad_norm(&a, device);
            if (first)
                assert_true(now == norm);
            norm = now;
            gr_adamw_step(&a, 1e-3, 0.5, device);
        }
        if (first)
            assert_memory_equal(w, first, N * sizeof *w);
        first = w;
        gr_adamw_clear(&a);
        gr_device_close(device);
    }
}

static void threads_change_no_bit(void **state)
{
    (void)state;
    any_threads_have_the_same_bits(false);
    any_threads_have_the_same_bits(true);
}

/* The first step comes of moments that are made in float32, so it is float32's. The next ones differ by what rounding
 * does, 2^-7 of m and of v at most, and by what is left of earlier roundings, less than that again: m / sqrt(v) is off
 * by 2 (2^-7 + 2^-8) at most, and w in each step by the rate times that. Another seed rounds others. */
static void moments_in_two_bytes_step_nearly_the_same(void **state)
{
    enum { N = 5000, STEPS = 4 };
    float *w[3] = { check_randn(N, 1), check_randn(N, 1), check_randn(N, 1) }, *g = check_randn(N, 2);
    gr_adamw a[3];
    gr_param p[3];

    (void)state;
    for (size_t k = 0; k < 3; k++) {
        p[k] = param("w", w[k], g, 5, N / 5, false);
        CHECK_OK(gr_adamw_init_part(&a[k], &p[k], 1, &(gr_adamw_cut){ .parts = 1, .half = k > 0 }, &check_err));
        a[k].seed = k;
    }
    for (int s = 0; s < STEPS; s++) {
        for (size_t k = 0; k < 3; k++)
            gr_adamw_step(&a[k], 1e-3, 1, check_device(1));
        if (s == 0)
            assert_memory_equal(w[0], w[1], N * sizeof *w[0]);
    }
    for (size_t i = 0; i < N; i++)
        assert_true(fabsf(w[0][i] - w[1][i]) <= (STEPS - 1) * 1e-3f * 2 * (0x1p-7f + 0x1p-8f));
    assert_memory_not_equal(w[1], w[2], N * sizeof *w[0]);
    for (size_t k = 0; k < 3; k++)
        gr_adamw_clear(&a[k]);
}

/* ZeRO-1: four parts, each with a quarter of the moments, end with the bits of one that steps all. */
static void parts_step(bool half)
{
    enum { N = 1000000, PARTS = 4 };
    float *w[2] = { check_randn(N, 1), check_randn(N, 1) }, *g = check_randn(N, 2);
    gr_param p[2][3];
    gr_adamw whole, part[PARTS];
    gr_device *device;
    size_t held = 0;

    for (int k = 0; k < 2; k++) {
        p[k][0] = param("a", w[k], g, 10, 70000, true);
        p[k][1] = param("b", w[k] + 700000, g + 700000, 1, 5, false);
        p[k][2] = param("c", w[k] + 700005, g + 700005, 5, 59999, true);
    }
    CHECK_OK(gr_device_open(&device, NULL, 2, &check_err));
    CHECK_OK(gr_adamw_init_part(&whole, p[0], 3, &(gr_adamw_cut){ .parts = 1, .half = half }, &check_err));
    for (size_t i = 0; i < PARTS; i++) {
        CHECK_OK(gr_adamw_init_part(&part[i], p[1], 3, &(gr_adamw_cut){ .part = i, .parts = PARTS, .half = half },
                                    &check_err));
        assert_int_equal(part[0].cut[i], held);
        assert_true(part[i].own_floats <= whole.floats / PARTS + (1 << 16));
        held += part[i].own_floats;
    }
    assert_int_equal(held, 1000000);
    for (int s = 0; s < 3; s++) {
        double norm = gr_grad_norm(&whole, device);
        for (size_t i = 0; i < PARTS; i++) {
            gr_grad_squares(&part[i], device);
            for (size_t k = 0; k < part[i].slices && i > 0; k++)
                part[0].squares[k] += part[i].squares[k];
        }
        assert_true(gr_squares_norm(&part[0], 0, 3) == norm);
        gr_adamw_step(&whole, 1e-3, 0.5, device);
        for (size_t i = 0; i < PARTS; i++)
            gr_adamw_step(&part[i], 1e-3, 0.5, device);
        assert_memory_equal(w[0], w[1], N * sizeof *w[0]);
    }
    gr_adamw_clear(&whole);
    for (size_t i = 0; i < PARTS; i++)
        gr_adamw_clear(&part[i]);
    gr_device_close(device);
}

static void parts_step_as_the_whole(void **state)
{
    (void)state;
    parts_step(false);
    parts_step(true);
}

static void rates_rise_and_fall(void **state)
{
    (void)state;
    assert_true(gr_learning_rate(GR_SCHEDULE_LINEAR, 1, 0, 2, 10) == 0.5);
    assert_true(gr_learning_rate(GR_SCHEDULE_LINEAR, 1, 1, 2, 10) == 1);
    assert_true(gr_learning_rate(GR_SCHEDULE_LINEAR, 1, 6, 2, 10) == 0.5);
    assert_true(gr_learning_rate(GR_SCHEDULE_CONSTANT, 1, 9, 2, 10) == 1);
    assert_true(gr_learning_rate(GR_SCHEDULE_COSINE, 1, 0, 0, 1) == 1);
    assert_true(gr_learning_rate(GR_SCHEDULE_COSINE, 1, 3, 3, 3) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twenty_steps_are_pytorchs),
        cmocka_unit_test(threads_change_no_bit),
        cmocka_unit_test(moments_in_two_bytes_step_nearly_the_same),
        cmocka_unit_test(parts_step_as_the_whole),
        cmocka_unit_test(rates_rise_and_fall),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
