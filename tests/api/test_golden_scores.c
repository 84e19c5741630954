/* test_golden_scores.c - preferences of real pairs by the real model against transformers', each order read alone.
 *
 * scripts/golden_scores.py made the file with our default judge prompt. Logits agree to 1e-4 (test_golden_smollm2.c),
 * and a preference moves by a quarter of a logit's change at most; 1e-4 is what the project promises. The model is
 * named by GRAM_MODEL; without it the tests are skipped. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "gram/gram.h"

#define TOLERANCE 1e-4

static double get(json_t *row, const char *key) { return json_number_value(json_object_get(row, key)); }

/* Rows may be fewer than the golden ones, from the first on. 8-bit weights and activations: the mean |difference| that
 * the project promises. */
static void agrees(const char *rows, const char *golden, gram_dtype dtype, double each, double mean)
{
    const char *path = getenv("GRAM_MODEL");
    gram_options o = { .dtype = dtype };
    char out[256], got[4096], line[4096];
    gram_file_report report;
    gram_model *m;
    double sum = 0;
    size_t n = 0;
    FILE *a, *b;

    if (!path || access(path, R_OK))
        skip();
    snprintf(out, sizeof out, "%s/scores.jsonl", check_tmpdir());
    CHECK_OK(gram_open(&m, path, &o, &check_err));
    CHECK_OK(gram_score_file(m, rows, out, NULL, &report, &check_err));
    gram_close(m);
    a = fopen(out, "r");
    b = fopen(golden, "r");
    assert_true(a && b);
    while (n < report.rows && fgets(line, sizeof line, b)) {
        json_t *want = json_loads(line, 0, NULL), *is;
        assert_non_null(fgets(got, sizeof got, a));
        is = json_loads(got, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(is, "id")),
                            json_string_value(json_object_get(want, "id")));
        assert_true(get(is, "tokens") == get(want, "tokens"));
        assert_true(fabs(get(is, "p_forward") - get(want, "p_forward")) <= each);
        assert_true(fabs(get(is, "p_swapped") - get(want, "p_swapped")) <= each);
        assert_true(fabs(get(is, "preference") - get(want, "preference")) <= each);
        sum += fabs(get(is, "preference") - get(want, "preference"));
        n++;
        json_decref(want);
        json_decref(is);
    }
    assert_int_equal(n, report.rows);
    assert_true(sum <= mean * (double)n);
    fclose(a);
    fclose(b);
}

/* So many rows are for a GPU, which is an emulated one as a rule; 0: a CPU computes. */
static size_t rows_on_gpu(void)
{
    return !getenv("GRAM_DEVICE") ? 0 : getenv("GRAM_TEST_ALL") ? 6 : 1;
}

static void first_rows(const char *path, size_t n, char *copy, size_t size)
{
    char line[4096];
    FILE *a = fopen(path, "r"), *b;

    snprintf(copy, size, "%s/first.jsonl", check_tmpdir());
    b = fopen(copy, "w");
    assert_true(a && b);
    for (size_t i = 0; i < n && fgets(line, sizeof line, a); i++)
        fputs(line, b);
    fclose(a);
    fclose(b);
}

/* In bfloat16 rows are rounded between products: about ten roundings of 2^-9 / sqrt(3) in a branch add to 0.35 % of
 * it, and so of what all branches add up to. A logit, the product of such a state and a row of the head, moves by as
 * much of its spread, about 4; a difference of two by 0.02, and a preference by a quarter of that. The bound is ten
 * times that. */
static void pairs_on_a_gpu(void **state)
{
    char rows[256];

    (void)state;
    if (!rows_on_gpu())
        skip();
    first_rows("data/demo.jsonl", rows_on_gpu(), rows, sizeof rows);
    agrees(rows, "tests/golden/scores/demo_default.jsonl", GRAM_F32, TOLERANCE, TOLERANCE);
    agrees(rows, "tests/golden/scores/demo_default.jsonl", GRAM_BF16, 0.05, 0.05);
}

static void demo_f32(void **state)
{
    (void)state;
    if (rows_on_gpu())
        skip();
    agrees("data/demo.jsonl", "tests/golden/scores/demo_default.jsonl", GRAM_F32, TOLERANCE, TOLERANCE);
}

/* float32 as sums of two bfloat16, as it is done where there is AMX, keeps the promise of float32. What rounding both
 * sides moves a preference by, 0.001 on real pairs, may be ten times as much. */
static void demo_in_bfloat16(void **state)
{
    gram_info info;
    char rows[256];

    (void)state;
    if (rows_on_gpu())
        skip();
    setenv("GRAM_CPU", "bf16x3", 1);
    if (getenv("GRAM_MODEL") && !gram_inspect(getenv("GRAM_MODEL"), NULL, &info, &check_err) &&
        strstr(info.arithmetic, "bfloat16")) {
        first_rows("data/demo.jsonl", 6, rows, sizeof rows);
        agrees(rows, "tests/golden/scores/demo_default.jsonl", GRAM_F32, TOLERANCE, TOLERANCE);
        setenv("GRAM_CPU", "bf16", 1);
        agrees(rows, "tests/golden/scores/demo_default.jsonl", GRAM_BF16, 0.05, 0.01);
    }
    unsetenv("GRAM_CPU");
}

static void demo_int8(void **state)
{
    (void)state;
    if (rows_on_gpu())
        skip();
    agrees("data/demo.jsonl", "tests/golden/scores/demo_default.jsonl", GRAM_INT8, 1, 0.02);
}

/* In one byte activations are rounded as coarsely as weights are, to 1/254 of a row's largest number, so both err alike
 * and together sqrt(2) times as much as int8 does: its bound is wide enough for both. */
static void demo_int8_fast(void **state)
{
    char rows[256];

    (void)state;
    if (rows_on_gpu())
        skip();
    first_rows("data/demo.jsonl", 12, rows, sizeof rows);
    agrees(rows, "tests/golden/scores/demo_default.jsonl", GRAM_INT8_FAST, 1, 0.02);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(demo_f32), cmocka_unit_test(demo_in_bfloat16),
                                        cmocka_unit_test(demo_int8), cmocka_unit_test(demo_int8_fast),
                                        cmocka_unit_test(pairs_on_a_gpu) };

    return cmocka_run_group_tests_name("golden scores", tests, NULL, NULL);
}
