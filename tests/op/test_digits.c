/* test_digits.c - products of quantised weights in whole numbers: against double precision, every build against the
 * reference bit for bit, and a row's bits in any company. */
#include <float.h>
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "base/random.h"
#include "check.h"
#include "device.h"

static const struct { size_t O, K; } shape[] = {
    { 1, 32 }, { 15, 64 }, { 16, 96 }, { 33, 256 }, { 50, 1056 }, { 17, 1280 },
};
/* Where the d of a block is, its minimum's if it has one, and whether it has 8 pairs of scales; of Q2_K, 16. */
static const struct { gr_dtype type; size_t d, min; bool pairs; } types[] = {
    { GR_Q4_0, 0, 0, false }, { GR_Q4_1, 0, 2, false }, { GR_Q5_0, 0, 0, false }, { GR_Q5_1, 0, 2, false },
    { GR_Q8_0, 0, 0, false }, { GR_Q4_K, 0, 2, true }, { GR_Q5_K, 0, 2, true }, { GR_Q6_K, 208, 0, false },
    { GR_Q2_K, 80, 82, false }, { GR_Q3_K, 108, 0, false }, { GR_IQ4_NL, 0, 0, false }, { GR_IQ4_XS, 0, 0, false },
};
enum { M = 11 };

/* Random bytes as rows of a type, O K values in all, whose scales and minimums are of both signs and about 0.06 to 0.12
 * large. NULL: it has no rows of K. */
static unsigned char *random_rows(size_t t, size_t O, size_t K)
{
    size_t bytes = gr_dtype_bytes(types[t].type), n;
    unsigned char *w;

    if (!gr_digits_has(types[t].type, K))
        return NULL;
    n = O * K / gr_dtype_block(types[t].type) * bytes;
    w = check_fenced(n);
    for (size_t i = 0; i < n; i++)
        w[i] = (unsigned char)gr_random_at(t, i);
    for (size_t i = 0; i < n; i += bytes) {
        w[i + types[t].d + 1] = 0x2c | (w[i + types[t].d + 1] & 0x83);
        if (types[t].min)
            w[i + types[t].min + 1] = 0x2c | (w[i + types[t].min + 1] & 0x83);
    }
    return w;
}

static void *panels_of(const void *w, gr_dtype type, size_t O, size_t K)
{
    void *p = check_fenced(gr_digits_bytes(type, O, K));

    memset(p, 0xff, gr_digits_bytes(type, O, K));
    gr_digits_pack(p, w, type, O, K);
    return p;
}

static gr_digits *digits_of(const float *x, size_t ldx, size_t rows, size_t K)
{
    gr_digits *d = check_fenced(rows * (K / GR_DIGITS_BLOCK) * sizeof *d);

    for (size_t m = 0; m < rows; m++)
        check_op->digits_row(d + m * (K / GR_DIGITS_BLOCK), x + m * ldx, K);
    return d;
}

/* Rows of which some have an outlier, some blocks of zeros, and some next to nothing. */
static float *rows_of_x(size_t ldx, size_t K)
{
    float *x = check_randn((M - 1) * ldx + K, 1);

    for (size_t m = 0; m < M; m++)
        x[m * ldx + m % K] *= m % 3 ? 1 : 1000;
    memset(x + ldx, 0, 32 * sizeof *x);
    for (size_t k = 0; k < 32; k++)
        x[2 * ldx + k] *= 1e-36f;
    return x;
}

/* The minimum of value k: what it would be if its q were 0. */
static double minimum(size_t t, const unsigned char *row, size_t k)
{
    size_t bytes = gr_dtype_bytes(types[t].type), block = gr_dtype_block(types[t].type), j = k % block / 32;
    const unsigned char *b = row + k / block * bytes, *p = b + 4;
    float m = 0;

    if (types[t].min)
        gr_dequant(&m, b + types[t].min, GR_F16, 1);
    if (types[t].type == GR_Q2_K)
        return -(double)m * (b[k % block / 16] >> 4);
    return types[t].pairs ? -(double)m * (j < 4 ? p[j + 4] & 63 : p[j + 4] >> 4 | p[j] >> 6 << 4) : (double)m;
}

/* What a product is off by at most, its size beside it. A rounding of X and one of the x / scale before it, each of
 * half a unit at most; what is below FLT_MIN of a unit is lost; then each block's number is rounded 5 times (of the two
 * parts, of their sum, of the scales, as it is added) and with a minimum 3 times more; where its halves have scales of
 * their own it is two numbers, and with minimums of their own four. A weight is itself rounded once, as it is given in
 * float32. */
static double bound(const float *x, const float *w, const unsigned char *row, size_t t, size_t K, double *exact)
{
    const gr_dtype type = types[t].type;
    double off = 0, size = 0, numbers = (double)K / 32 * (type == GR_Q2_K ? 4 : type == GR_Q6_K || type == GR_Q3_K ? 2
                                                                                                            : 1);

    *exact = 0;
    for (size_t b = 0; b < K / 32; b++) {
        double top = 0, sum = 0, low = 0, all = 0;
        for (size_t k = 32 * b; k < 32 * b + 32; k++) {
            double m = minimum(t, row, k);
            top = fmax(top, fabs((double)x[k]));
            sum += fabs((double)w[k] - m) + fabs(m);
            all += (fabs((double)w[k] - m) + fabs(m)) * fabs((double)x[k]);
            low += (double)w[k] * (double)x[k];
        }
        off += sum * fmax(top / (double)GR_DIGITS_LIMIT, top > 0 ? (double)FLT_MIN * (double)GR_DIGITS_LIMIT : 0);
        size += all;
        *exact += low;
    }
    return off + size * (9 + numbers) * (double)FLT_EPSILON / 2;
}

static void products_agree_with_double_precision(void **state)
{
    (void)state;
    for (size_t t = 0; t < GR_COUNT(types); t++)
        for (size_t i = 0; i < GR_COUNT(shape); i++) {
            size_t O = shape[i].O, K = shape[i].K, ldx = K + 3, ldy = O + 2, row;
            gr_dtype type = types[t].type;
            unsigned char *file = random_rows(t, O, K);
            float *x = rows_of_x(ldx, K), *w = check_fenced(O * K * sizeof *w);
            float *y = check_fenced(((M - 1) * ldy + O) * sizeof *y);
            if (!file)
                continue;
            gr_dequant(w, file, type, O * K);
            assert_true(gr_dtype_row_bytes(type, K, &row));
            EACH_CPU {
                gr_digits *d = digits_of(x, ldx, M, K);
                check_op->digits_dot(MAT(y, ldy), d, M, panels_of(file, type, O, K), type, O, K);
                for (size_t m = 0; m < M; m++)
                    for (size_t o = 0; o < O; o++) {
                        double want, most = bound(x + m * ldx, w + o * K, file + o * row, t, K, &want);
                        double off = fabs((double)y[m * ldy + o] - want);
                        if (!(off <= most))
                            fail_msg("%s [%zu,%zu], row %zu, output %zu: %g, wanted %g within %g",
                                     gr_dtype_name(type), O, K, m, o, (double)y[m * ldy + o], want, most);
                    }
            }
        }
}

static void builds_have_the_bits_of_the_reference(void **state)
{
    (void)state;
    for (size_t t = 0; t < GR_COUNT(types); t++)
        for (size_t i = 0; i < GR_COUNT(shape); i++) {
            size_t O = shape[i].O, K = shape[i].K, ldx = K + 3, ldy = O + 2, n = (M - 1) * ldy + O;
            gr_dtype type = types[t].type;
            unsigned char *file = random_rows(t, O, K);
            void *p = file ? panels_of(file, type, O, K) : NULL;
            float *x = rows_of_x(ldx, K), *want = check_fenced(n * sizeof *want), *y = check_fenced(n * sizeof *y);
            if (!p)
                continue;
            memset(want, 0, n * sizeof *want);
            check_op = gr_kern_of(0);
            check_op->digits_dot(MAT(want, ldy), digits_of(x, ldx, M, K), M, p, type, O, K);
            EACH_CPU {
                gr_digits *d = digits_of(x, ldx, M, K);
                for (size_t some = 1; some <= M; some += 5) {       /* 1, 6 and 11 rows at once */
                    memset(y, 0, n * sizeof *y);
                    for (size_t m = 0; m < M; m += some)
                        check_op->digits_dot(MAT(y + m * ldy, ldy), d + m * (K / GR_DIGITS_BLOCK), gr_min(some, M - m),
                                             p, type, O, K);
                    assert_memory_equal(y, want, n * sizeof *y);
                }
            }
        }
}

/* The largest digits and weights meet without a wrap: x of one size and one sign, weights of the largest and the
 * smallest q, and scales of a block that are all the same. */
static void the_largest_sums_fit(void **state)
{
    enum { O = 16, K = 256 };
    float x[K], y[O];

    (void)state;
    for (size_t t = 0; t < GR_COUNT(types); t++)
        for (int q = 0; q < 256; q += 255) {
            gr_dtype type = types[t].type;
            size_t bytes = gr_dtype_bytes(type), blocks = K / gr_dtype_block(type);
            unsigned char *file = check_fenced(O * blocks * bytes);
            float *w = check_fenced(O * K * sizeof *w);
            memset(file, type == GR_Q8_0 ? q ^ 0x80 : q, O * blocks * bytes);
            for (size_t b = 0; b < O * blocks; b++) {
                memcpy(file + b * bytes + types[t].d, "\0\x3c", 2);
                if (types[t].min)
                    memcpy(file + b * bytes + types[t].min, "\0\x3c", 2);
                if (type == GR_Q6_K)
                    memset(file + b * bytes + 192, q ? 127 : 128, 16);
            }
            gr_dequant(w, file, type, O * K);
            for (int sign = -1; sign <= 1; sign += 2)
                EACH_CPU {
                    double want = 0, size = 0;
                    for (size_t k = 0; k < K; k++) {
                        x[k] = (float)sign * 3;
                        want += (double)x[k] * (double)w[k];
                        size += 3 * (fabs((double)w[k] - minimum(t, file, k)) + fabs(minimum(t, file, k)));
                    }
                    check_op->digits_dot(MAT(y, O), digits_of(x, K, 1, K), 1, panels_of(file, type, O, K), type, O, K);
                    for (size_t o = 0; o < O; o++)
                        assert_true(fabs((double)y[o] - want) <= size * (9 + 16) * (double)FLT_EPSILON / 2);
                }
        }
}

static void what_is_no_number_stays_none(void **state)
{
    enum { O = 3, K = 256 };
    static const float bad[] = { NAN, INFINITY, -INFINITY };

    (void)state;
    for (size_t t = 0; t < GR_COUNT(types); t++) {
        void *p = panels_of(random_rows(t, O, K), types[t].type, O, K);
        for (size_t i = 0; i < GR_COUNT(bad); i++)
            EACH_CPU {
                float *x = check_randn(2 * K, 1), y[2 * O];
                x[17 + 32 * i] = bad[i];
                check_op->digits_dot(MAT(y, O), digits_of(x, K, 2, K), 2, p, types[t].type, O, K);
                for (size_t o = 0; o < O; o++)
                    assert_true(isnan(y[o]) && isfinite(y[O + o]));
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_agree_with_double_precision), cmocka_unit_test(builds_have_the_bits_of_the_reference),
        cmocka_unit_test(the_largest_sums_fit), cmocka_unit_test(what_is_no_number_stays_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
