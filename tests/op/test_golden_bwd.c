/* test_golden_bwd.c - every build's gradients against those of PyTorch's autograd; see scripts/golden_ops.py. */
#include <float.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "device.h"
#include "op/op.h"
#include "op/matmul.h"

/* Inputs are exact, gradients sums of 23 terms at most, each off by a few halves of an ulp that scatter: 23 of them at
 * worst, beside the rounding of exp's argument, below 16 here. */
#define TOL (16 * FLT_EPSILON)

static json_t *golden;

static size_t par(json_t *c, const char *name)
{
    return (size_t)json_number_value(json_object_get(json_object_get(c, "par"), name));
}

static float real_par(json_t *c, const char *name)
{
    return (float)json_number_value(json_object_get(json_object_get(c, "par"), name));
}

static float *numbers(json_t *c, const char *from, const char *name, size_t n)
{
    json_t *a = json_object_get(json_object_get(c, from), name);
    float *x = check_fenced(n * sizeof *x);

    if (json_array_size(a) != n)
        fail_msg("%s: %zu numbers, wanted %zu", name, json_array_size(a), n);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)json_number_value(json_array_get(a, i));
    return x;
}

static float *zeros(size_t n)
{
    return check_fenced(n * sizeof(float));
}

static void is_golden(json_t *c, const char *name, const float *got, size_t n)
{
    CHECK_CLOSE(got, numbers(c, "want", name, n), n, TOL);
}

static void rmsnorm(json_t *c)
{
    size_t N = par(c, "N"), C = par(c, "C");
    float *dx = zeros(N * C), *dw = zeros(C);

    check_op->rmsnorm_bwd(NULL, MAT(dx, C), dw, MAT(numbers(c, "in", "dy", N * C), C),
                          MAT(numbers(c, "in", "x", N * C), C), numbers(c, "in", "r", N),
                          &(gr_norm){ numbers(c, "in", "w", C), real_par(c, "bias"), 0, C }, N, true);
    is_golden(c, "dx", dx, N * C);
    is_golden(c, "dw", dw, C);
}

static void rope(json_t *c)
{
    size_t N = par(c, "N"), H = par(c, "H"), D = par(c, "D");
    float *dx = numbers(c, "in", "dy", N * H * D);
    int32_t *pos = check_fenced(N * sizeof *pos);

    for (size_t n = 0; n < N; n++)
        pos[n] = (int32_t)n;
    check_op->rope_bwd(NULL, MAT(dx, H * D), pos, numbers(c, "in", "table", N * D), N, H, D, D, par(c, "interleaved"));
    is_golden(c, "dx", dx, N * H * D);
}

static void glu(json_t *c, gr_glu_bwd_fn *fn)
{
    size_t N = par(c, "N"), F = par(c, "F");
    float *dgate = zeros(N * F), *dup = zeros(N * F);

    fn(NULL, MAT(dgate, F), MAT(dup, F), MAT(numbers(c, "in", "dy", N * F), F), MAT(numbers(c, "in", "gate", N * F), F),
       MAT(numbers(c, "in", "up", N * F), F), N, F);
    is_golden(c, "dgate", dgate, N * F);
    is_golden(c, "dup", dup, N * F);
}

static void swiglu(json_t *c)
{
    glu(c, check_op->swiglu_bwd);
}

static void geglu(json_t *c)
{
    glu(c, check_op->geglu_bwd);
}

static void ce(json_t *c)
{
    size_t N = par(c, "N"), V = par(c, "V");
    float *z = numbers(c, "in", "z", N * V), *tf = numbers(c, "in", "t", N), *rounded = zeros(N);
    int32_t *t = check_fenced(N * sizeof *t);
    double *loss = check_fenced(N * sizeof *loss);
    gr_ce_sum *sum = check_fenced(N * sizeof *sum);

    for (size_t n = 0; n < N; n++)
        t[n] = (int32_t)tf[n];
    check_op->ce_fwd(NULL, MAT(z, V), t, loss, sum, N, V);
    check_op->ce_bwd(NULL, MAT(z, V), t, numbers(c, "in", "wt", N), sum, N, V);
    for (size_t n = 0; n < N; n++)
        rounded[n] = (float)loss[n];
    is_golden(c, "dz", z, N * V);
    is_golden(c, "loss", rounded, N);
}

/* The golden rows fill the first of a unit, zeros the rest. */
static float *unit(json_t *c, const char *name, size_t M, size_t n)
{
    float *x = zeros(gr_linear_cut(NULL, GR_ROWS_ALIKE, 1).unit * n);

    memcpy(x, numbers(c, "in", name, M * n), M * n * sizeof *x);
    return x;
}

static void linear(json_t *c)
{
    size_t M = par(c, "M"), O = par(c, "O"), K = par(c, "K"), all = gr_linear_cut(NULL, GR_ROWS_ALIKE, 1).unit;
    float *dx = zeros(all * K), *dW = zeros(O * K), *db = zeros(O), *dy = unit(c, "dy", M, O);
    gr_tensor w = { GR_F32, numbers(c, "in", "w", O * K), O, K };
    gr_lane *lane = check_lane(1);
    gr_linear *l;

    CHECK_OK(gr_linear_open(&l, check_device(1), &w, NULL, GR_LINEAR_F32, &check_err));
    gr_linear_dx(lane, l, MAT(dx, K), MAT(dy, O), all, false);
    gr_linear_dw(lane, MAT(dW, K), MAT(dy, O), MAT(unit(c, "x", M, K), K), all, K, 0, O);
    gr_linear_db(lane, db, MAT(dy, O), M, O);
    CHECK_OK(gr_device_wait(check_device(1), &check_err));
    gr_linear_close(l);
    is_golden(c, "dx", dx, M * K);
    is_golden(c, "dw", dW, O * K);
    is_golden(c, "db", db, O);
}

static void attn(json_t *c)
{
    size_t T = par(c, "T"), D = par(c, "D"), G = par(c, "G"), window = par(c, "window"), ld = G * D;
    float *q = numbers(c, "in", "q", T * ld), *k = numbers(c, "in", "k", T * D), *v = numbers(c, "in", "v", T * D);
    float *dy = numbers(c, "in", "dy", T * ld), *o = zeros(T * ld), *lse = zeros(T * G), *delta = zeros(T * G);
    float *dq = zeros(T * ld), *dk = zeros(T * D), *dv = zeros(T * D), scale = real_par(c, "scale");
    const gr_attn_shape shape = { D, G, window, scale };
    gr_kv_span span = { k, v, D, T };
    gr_q_span run = { q, dy, lse, delta, ld, T, 0 };
    void *scratch = gr_alloc_aligned(gr_attn_scratch(D, G), 1);

    assert_non_null(scratch);
    check_op->attn_run_fwd(MAT(o, ld), lse, MAT(q, ld), T, 0, &span, &shape, scratch);
    check_op->attn_run_dq(MAT(dq, ld), delta, MAT(dy, ld), MAT(o, ld), lse, MAT(q, ld), T, 0, &span, &shape, scratch);
    check_op->attn_run_dkv(MAT(dk, D), MAT(dv, D), MAT(k, D), MAT(v, D), T, 0, &run, 1, &shape, scratch);
    free(scratch);
    is_golden(c, "dq", dq, T * ld);
    is_golden(c, "dk", dk, T * D);
    is_golden(c, "dv", dv, T * D);
}

static void gradients_are_those_of_autograd(void **state)
{
    static const struct { const char *name; void (*check)(json_t *); } op[] = {
        { "rmsnorm", rmsnorm }, { "rope", rope }, { "swiglu", swiglu }, { "geglu", geglu }, { "ce", ce },
        { "linear", linear }, { "attn", attn },
    };
    size_t seen = 0, i;
    json_t *c;

    (void)state;
    EACH_CPU {
        seen = 0;
        json_array_foreach(json_object_get(golden, "cases"), i, c)
            for (size_t j = 0; j < GR_COUNT(op); j++)
                if (!strcmp(json_string_value(json_object_get(c, "op")), op[j].name)) {
                    op[j].check(c);
                    seen++;
                }
        assert_int_equal(seen, json_array_size(json_object_get(golden, "cases")));
        assert_true(seen >= GR_COUNT(op));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(gradients_are_those_of_autograd) };
    json_error_t e;
    int failed;

    golden = json_load_file("tests/golden/ops/backward.json", 0, &e);
    if (!golden) {
        print_error("tests/golden/ops/backward.json:%d: %s\n", e.line, e.text);
        return 1;
    }
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(golden);
    return failed;
}
