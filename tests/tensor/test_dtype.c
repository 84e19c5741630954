/* test_dtype.c - every type against the gguf package, bit for bit, and the halves all of them. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "check.h"
#include "tensor/dtype.h"

/* A golden file's bytes in fenced memory, so that reading one byte too many faults. */
static void *golden(gr_dtype t, const char *ending, size_t *n)
{
    char path[128];
    FILE *f;
    void *p;

    snprintf(path, sizeof path, "tests/golden/quants/%s.%s", gr_dtype_name(t), ending);
    f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: not found; tests run in the root of the repository", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    p = check_fenced(*n);
    assert_int_equal(fread(p, 1, *n, f), *n);
    fclose(f);
    return p;
}

static void each_type_equals_the_gguf_package(void **state)
{
    (void)state;
    for (gr_dtype t = GR_F16; t < GR_DTYPES && !gr_dtype_is_codes(t); t++) {     /* codes are the last */
        size_t bytes, want_bytes, row;
        const void *x = golden(t, "bin", &bytes);
        const float *want = golden(t, "f32", &want_bytes);
        size_t n = want_bytes / sizeof *want;
        float *y = check_fenced(want_bytes);

        assert_true(gr_dtype_row_bytes(t, n, &row));
        assert_int_equal(row, bytes);
        gr_dequant(y, x, t, n);
        for (size_t i = 0; i < n; i++)
            if (memcmp(y + i, want + i, sizeof *y))
                fail_msg("%s at %zu: %.9g, wanted %.9g", gr_dtype_name(t), i, (double)y[i], (double)want[i]);
        memset(y, 0xff, want_bytes);            /* and a part: nothing past it is written */
        gr_dequant(y, x, t, gr_dtype_block(t));
        assert_memory_equal(y, want, gr_dtype_block(t) * sizeof *y);
        if (n > gr_dtype_block(t))
            assert_memory_equal(y + gr_dtype_block(t), "\xff\xff\xff\xff", 4);
    }
}

static void what_is_no_number_in_8_bits_stays_none(void **state)
{
    const uint8_t none[2] = { 0x7f, 0xff };
    float y[2];

    (void)state;
    gr_dequant(y, none, GR_F8_E4M3, 2);
    assert_true(isnan(y[0]) && isnan(y[1]));
}

/* The rows that the golden blocks were made of, by the package. */
static void quantised_as_the_gguf_package_does(void **state)
{
    size_t bytes, want_bytes, n;
    FILE *f = fopen("tests/golden/quants/rows.f32", "rb");
    float row[16 * 64], bad[32] = { 0 };
    uint8_t out[4 * sizeof row];

    (void)state;
    assert_non_null(f);
    n = fread(row, sizeof *row, GR_COUNT(row), f);
    fclose(f);
    assert_int_equal(n, GR_COUNT(row));
    for (gr_dtype t = GR_F16; t < GR_DTYPES; t++) {
        const void *want;
        if (!gr_quantizes(t))
            continue;
        want = golden(t, "bin", &want_bytes);
        assert_true(gr_dtype_row_bytes(t, n, &bytes) && bytes == want_bytes);
        assert_true(gr_quantize(out, t, row, n));
        if (memcmp(out, want, bytes))
            fail_msg("%s: other bytes than the package's", gr_dtype_name(t));
        bad[7] = t == GR_BF16 ? FLT_MAX : 1e8f;     /* beyond f16 as a value, and /127 as a scale; beyond bf16 */
        assert_false(gr_quantize(out, t, bad, 32));
        bad[7] = NAN;
        assert_false(gr_quantize(out, t, bad, 32));
    }
    assert_true(gr_quantize(out, GR_F32, bad, 32) && !memcmp(out, bad, sizeof bad));
}

/* Each half, and what lies between two of them: to the nearest, ties to the even one. */
static void halves_are_rounded_to_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7c00; h++) {
        uint16_t bits[2] = { (uint16_t)h, (uint16_t)(h + 1) }, got;
        float y[2], x;

        gr_dequant(y, bits, GR_F16, 2);
        assert_true(gr_quantize(&got, GR_F16, y, 1) && got == h);
        x = -y[0];
        assert_true(gr_quantize(&got, GR_F16, &x, 1) && got == (h | 0x8000));
        x = h + 1 < 0x7c00 ? (y[0] + y[1]) / 2 : 65520;
        assert_int_equal(gr_quantize(&got, GR_F16, &x, 1), h + 1 < 0x7c00);
        assert_int_equal(got, h % 2 ? h + 1 : h + (h + 1 == 0x7c00));
        x = nextafterf(x, 0);
        assert_true(gr_quantize(&got, GR_F16, &x, 1) && got == h);
    }
}

/* The same of many at once, which are rounded as vectors: all halves, ties and what is beside them, both signs, what is
 * too small, too large and no number. One at a time they are rounded as the test above says. */
static void many_halves_are_rounded_as_one(void **state)
{
    enum { EACH = 3, EDGES = 15, N = 0x8000 * EACH * 2 + EDGES };
    float *x = check_fenced(N * sizeof *x);
    uint16_t *got = check_fenced(N * sizeof *got), want;
    static const uint32_t edge[EDGES] = { 0, 1, 0x7fffff, 0x800000, 0x33000000, 0x33000001, 0x387fffff, 0x38800000,
                                     0x477fefff, 0x477ff000, 0x47800000, 0x7f7fffff, 0x7f800000, 0x7f800001,
                                     0x7fffffff };
    size_t n = 0;

    (void)state;
    for (uint32_t h = 0; h < 0x8000; h++) {
        float half = ((float)h + 0.5f) * 0x1p-24f;      /* between h and h + 1 */
        uint32_t tie = (h << 13) + 0x38001000;
        if (h < 0x400)
            memcpy(&tie, &half, sizeof tie);
        for (uint32_t k = 0; k < 2 * EACH; k++)
            memcpy(&x[n++], &(uint32_t){ (tie + k / 2 - 1) | k % 2 << 31 }, sizeof *x);
    }
    for (size_t k = 0; n < N; k++)
        memcpy(&x[n++], &edge[k], sizeof *x);
    assert_false(gr_quantize(got, GR_F16, x, N));
    for (size_t i = 0; i < N; i++) {
        bool fits = gr_quantize(&want, GR_F16, &x[i], 1);
        assert_int_equal(got[i], want);
        assert_int_equal(fits, (want & 0x7c00) != 0x7c00);
        if (isnan(x[i]))
            assert_int_equal(want & 0x7fff, 0x7e00);
        else if (!fits)
            assert_true(fabsf(x[i]) >= 65520 && (want & 0x7fff) == 0x7c00);
    }
}

static void every_half_is_exact(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        uint16_t bits = (uint16_t)h;
        uint32_t m = h & 0x3ff, e = h >> 10 & 31, got;
        double want = e ? (double)(1024 + m) * 0x1p-10 : (double)m * 0x1p-24;
        float y;

        for (uint32_t i = 15; e > i; i++)
            want *= 2;
        for (uint32_t i = e; e && i < 15; i++)
            want /= 2;
        gr_dequant(&y, &bits, GR_F16, 1);
        memcpy(&got, &y, sizeof got);
        assert_int_equal(got >> 31, h >> 15);
        if (e == 31)
            assert_int_equal(got & 0x7fffffff, 0x7f800000 | m << 13);
        else
            assert_true((double)y == (h >> 15 ? -want : want));
    }
}

static void f32_at_any_alignment(void **state)
{
    unsigned char raw[9] = { 0 };
    float x[2] = { 1.5f, -3 }, y[2];

    (void)state;
    memcpy(raw + 1, x, sizeof x);
    gr_dequant(y, raw + 1, GR_F32, 2);
    assert_memory_equal(x, y, sizeof x);
    gr_dequant(y, NULL, GR_F32, 0);
}

static void rows_are_whole_blocks(void **state)
{
    size_t bytes;

    (void)state;
    assert_true(gr_dtype_row_bytes(GR_Q4_K, 512, &bytes));
    assert_int_equal(bytes, 288);
    assert_false(gr_dtype_row_bytes(GR_Q4_K, 128, &bytes));
    assert_false(gr_dtype_row_bytes(GR_Q8_0, 33, &bytes));
    assert_true(gr_dtype_row_bytes(GR_F32, 0, &bytes));
    assert_int_equal(bytes, 0);
    assert_false(gr_dtype_row_bytes(GR_F32, SIZE_MAX / 2, &bytes));
    assert_false(gr_dtype_row_bytes(GR_Q8_0, SIZE_MAX / 32 * 32, &bytes));
}

int main(void)
{
    const struct CMUnitTest test[] = {
        cmocka_unit_test(each_type_equals_the_gguf_package),
        cmocka_unit_test(what_is_no_number_in_8_bits_stays_none),
        cmocka_unit_test(every_half_is_exact),
        cmocka_unit_test(f32_at_any_alignment),
        cmocka_unit_test(quantised_as_the_gguf_package_does),
        cmocka_unit_test(halves_are_rounded_to_even),
        cmocka_unit_test(many_halves_are_rounded_as_one),
        cmocka_unit_test(rows_are_whole_blocks),
    };
    return cmocka_run_group_tests(test, NULL, NULL);
}
