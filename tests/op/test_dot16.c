/* test_dot16.c - every build against the reference to the bit, and the reference against sums in 64 bits. */
#include <math.h>
#include <string.h>
#include "base/cpu.h"
#include "check.h"
#include "op/op.h"

enum { M = 5 * GR_DOT16_ROWS + 7 };   /* more than the rows that dot16.inc takes together, and 4, 2 and 1 are left */
static const struct { size_t O, K; } shape[] = {
    { 1, 1 }, { 7, 3 }, { 8, 16 }, { 16, 17 }, { 19, 576 }, { 33, 1537 }, { 40, 2 * GR_DOT16_MOST },
    { 24, 2 * GR_DOT16_MOST + 1 }, { 17, 6000 },
};

struct product { size_t O, K, pairs; int16_t *X; int8_t *w; float *scale, *wscale; };

/* extreme: every sum is as large as one can be. */
static struct product product(size_t O, size_t K, bool extreme)
{
    struct product p = { O, K, gr_dot16_pairs(K), NULL, NULL, check_randn(M, 1), check_randn(O, 2) };
    float *x = check_randn(M * K, 3), *v = check_randn(O * K, 4);

    p.X = check_fenced(M * 2 * p.pairs * sizeof *p.X);
    p.w = check_fenced(gr_dot16_bytes(O, K));
    memset(p.X, 0, M * 2 * p.pairs * sizeof *p.X);
    memset(p.w, 0, gr_dot16_bytes(O, K));
    for (size_t m = 0; m < M; m++)
        for (size_t k = 0; k < K; k++)
            p.X[2 * m * p.pairs + k] = (int16_t)(extreme ? (m % 2 ? -GR_QUANT_LIMIT : GR_QUANT_LIMIT) :
                                                 fminf(fmaxf(x[m * K + k] * 2500, -GR_QUANT_LIMIT), GR_QUANT_LIMIT));
    for (size_t o = 0; o < O; o++)
        for (size_t k = 0; k < K; k++)
            p.w[gr_dot16_at(o, k, p.pairs)] = (int8_t)(extreme ? 127 : fminf(fmaxf(v[o * K + k] * 40, -127), 127));
    return p;
}

static void run(const struct product *p, gr_dot16_fn *fn, float *y, size_t ldy)
{
    memset(y, 0, ((M - 1) * ldy + p->O) * sizeof *y);
    fn(y, ldy, p->X, p->scale, M, p->w, p->wscale, p->O, p->pairs);
}

static double sum(const struct product *p, size_t m, size_t o)
{
    int64_t s = 0;

    for (size_t k = 0; k < p->K; k++)
        s += (int64_t)p->X[2 * m * p->pairs + k] * p->w[gr_dot16_at(o, k, p->pairs)];
    return (double)s;
}

/* A whole number becomes a float32 and is added with one rounding each per part of GR_DOT16_MOST pairs, then two
 * factors make three; all of the sum of the parts' sizes, which is at most that of all terms. */
static void check_sums(const struct product *p, const float *y, size_t ldy)
{
    double parts = (double)((p->pairs + GR_DOT16_MOST - 1) / GR_DOT16_MOST);

    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < p->O; o++) {
            double factor = (double)p->scale[m] * p->wscale[o], size = 0;
            for (size_t k = 0; k < p->K; k++)
                size += fabs((double)p->X[2 * m * p->pairs + k] * p->w[gr_dot16_at(o, k, p->pairs)]);
            size *= (2 * parts + 3) * FLT_EPSILON / 2;
            if (!(fabs(y[m * ldy + o] - sum(p, m, o) * factor) <= size * fabs(factor)))
                fail_msg("[%zu,%zu] of K %zu is %.9g, not %.9g", m, o, p->K, y[m * ldy + o], sum(p, m, o) * factor);
        }
}

static void every_build_has_the_bits_of_ref(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * GR_COUNT(shape); i++) {
        struct product p = product(shape[i / 2].O, shape[i / 2].K, i % 2);
        size_t ldy = p.O + 3, bytes = ((M - 1) * ldy + p.O) * sizeof(float);
        float *y = check_fenced(bytes), *want = check_fenced(bytes);
        run(&p, gr_dot16_ref, want, ldy);
        check_sums(&p, want, ldy);
        EACH_CPU {
            run(&p, check_op->dot16, y, ldy);
            assert_memory_equal(y, want, bytes);        /* what lies between the rows too */
        }
    }
}

static void a_row_does_not_depend_on_its_place(void **state)
{
    struct product p = product(40, 576, false);
    float y[M * 40], z[M * 40];

    (void)state;
    EACH_CPU {
        run(&p, check_op->dot16, y, 40);
        for (size_t m = 1; m < M; m++) {
            memcpy(p.X, p.X + 2 * m * p.pairs, 2 * p.pairs * sizeof *p.X);
            p.scale[0] = p.scale[m];
            run(&p, check_op->dot16, z, 40);
            assert_memory_equal(z, y + m * 40, 40 * sizeof *z);
        }
        p = product(40, 576, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_build_has_the_bits_of_ref),
        cmocka_unit_test(a_row_does_not_depend_on_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
