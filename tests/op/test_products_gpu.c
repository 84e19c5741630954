/* test_products_gpu.c - products on an emulated GPU, through a cublasLt that picks another algorithm for other numbers
 * of rows: against a product in double, and a row's bits wherever it stands. What a device does with memory, too. */
#include <float.h>
#include <math.h>
#include "device.h"
#include "gpu.h"

enum { UNIT = 128 };
static const struct { size_t O, K; } shape[] = { { 1, 1 }, { 3, 64 }, { 17, 33 }, { 64, 3 }, { 96, 80 }, { 256, 64 } };

static gr_device *gpu;

static int open_gpu(void **state)
{
    (void)state;
    gpu = gpu_open();
    return 0;
}

static int close_gpu(void **state)
{
    (void)state;
    gr_device_close(gpu);
    return 0;
}

/* y = x W^T + b, + y; W is [O,K], or its transpose: rows `row` apart, columns `col`. */
static void product(float *y, const float *x, const float *w, size_t row, size_t col, const float *b, size_t M,
                    size_t O, size_t K, bool add)
{
    for (size_t m = 0; m < M; m++)
        for (size_t o = 0; o < O; o++) {
            double s = (b ? (double)b[o] : 0) + (add ? (double)y[m * O + o] : 0);
            for (size_t k = 0; k < K; k++)
                s += (double)x[m * K + k] * w[o * row + k * col];
            y[m * O + o] = (float)s;
        }
}

/* As in test_matmul.c: roundings of a sum of K add like a random walk. */
static double f32_tol(size_t K)
{
    return (8 + (double)K / 8) * FLT_EPSILON;
}

/* The weights are what bfloat16 holds, and x is rounded by 2^-8 of itself at most, evenly: a product errs by
 * 2^-8 / sqrt(3), K of them by sqrt(K) as much, five times that at the worst of so many; the largest of the outputs is
 * 3 sqrt(K) at least. One product alone errs by 2^-8. */
static double bf16_tol(size_t K)
{
    return 5.0 / 256 / sqrt(3) / 3 + f32_tol(K) + (K < 8 ? 1.0 / 256 : 0);
}

static float *bf16_weights(size_t n)
{
    float *w = check_randn(n, 2);

    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, w + i, sizeof u);
        u &= 0xffff0000;
        memcpy(w + i, &u, sizeof u);
    }
    return w;
}

static gr_linear *open_weight(const float *w, const float *bias, size_t O, size_t K, gr_linear_mode mode)
{
    gr_linear *l;

    CHECK_OK(gr_linear_open(&l, gpu, &(gr_tensor){ GR_F32, w, O, K }, bias, mode, &check_err));
    return l;
}

static void forward_is_the_product(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_KEEP; mode++) {
            size_t O = shape[i].O, K = shape[i].K, M = (1 + i % 3) * UNIT, ld = K + i;
            float *x = check_randn(M * K, 1), *w = bf16_weights(O * K), *b = check_randn(O, 3);
            float *want = check_randn(M * O, 4);
            float *wide = calloc(M * ld, sizeof *wide), *there, *bias = i % 2 ? gpu_put(gpu, b, O) : NULL, *y[2], *got;
            gr_linear *l = open_weight(w, bias, O, K, mode);
            for (size_t m = 0; m < M; m++)
                memcpy(wide + m * ld, x + m * K, K * sizeof *x);
            there = gpu_put(gpu, wide, M * ld);
            y[0] = gpu_put(gpu, want, M * O);
            y[1] = gpu_put(gpu, want, M * O);
            gr_linears_fwd(gr_device_lane(gpu), (gr_linear_to[]){ { l, MAT(y[0], O) }, { l, MAT(y[1], O) } }, 2,
                           MAT(there, ld), M, NULL);
            CHECK_OK(gr_device_wait(gpu, &check_err));
            product(want, x, w, K, 1, bias ? b : NULL, M, O, K, false);
            for (int k = 0; k < 2; k++) {
                got = gpu_get(gpu, y[k], M * O);
                CHECK_CLOSE(got, want, M * O, mode == GR_LINEAR_BF16 ? bf16_tol(K) : f32_tol(K));
                free(got);
                gr_device_free(gpu, y[k]);
            }
            assert_int_equal(gr_linear_bytes(l), O * K * (mode == GR_LINEAR_BF16 ? 2 : 4));
            assert_false(gr_linear_borrows(l));
            gr_linear_close(l);
            gr_device_free(gpu, bias);
            gr_device_free(gpu, there);
            free(wide);
        }
}

static void backward_is_the_product(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (int kind = 0; kind < 4; kind++) {
            gr_linear_mode mode = kind % 2 ? GR_LINEAR_BF16 : GR_LINEAR_F32;
            bool add = kind / 2;
            size_t O = shape[i].O, K = shape[i].K, M = (1 + i % 3) * UNIT;
            float *dy = check_randn(M * O, 1), *w = bf16_weights(O * K), *want = check_randn(M * K, 3);
            float *from = gpu_put(gpu, dy, M * O), *to = gpu_put(gpu, want, M * K), *got;
            gr_linear *l = open_weight(w, NULL, O, K, mode);
            gr_linear_dx(gr_device_lane(gpu), l, MAT(to, K), MAT(from, O), M, add);
            CHECK_OK(gr_device_wait(gpu, &check_err));
            product(want, dy, w, 1, K, NULL, M, K, O, add);
            got = gpu_get(gpu, to, M * K);
            CHECK_CLOSE(got, want, M * K, mode == GR_LINEAR_BF16 ? bf16_tol(O) : f32_tol(O));
            free(got);
            gr_linear_close(l);
            gr_device_free(gpu, from);
            gr_device_free(gpu, to);
        }
}

/* n numbers as bfloat16 on the device, of which x then holds what they are. */
static gr_mat put_rows(float *x, size_t n, size_t ld)
{
    uint16_t *half = calloc(n, sizeof *half);
    void *p;

    assert_true(half && gr_quantize(half, GR_BF16, x, n));
    gr_dequant(x, half, GR_BF16, n);
    CHECK_OK(gr_device_alloc(gpu, &p, n * sizeof *half, &check_err));
    gr_device_put(gpu, p, half, n * sizeof *half);
    free(half);
    return gr_mat_of(p, ld, GR_BF16);
}

static float *get_rows(gr_mat m, size_t n)
{
    uint16_t *half = calloc(n, sizeof *half);
    float *x = calloc(n, sizeof *x);

    assert_true(half && x);
    gr_device_get(gpu, half, m.p, n * sizeof *half);
    gr_dequant(x, half, GR_BF16, n);
    free(half);
    gr_device_free(gpu, m.p);
    return x;
}

/* Rows of bfloat16 on both sides, by weights of either type. A result is rounded by 2^-9 of it, and so is the bias
 * where the product is of bfloat16. */
static void rows_may_be_bfloat16(void **state)
{
    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++)
        for (gr_linear_mode mode = GR_LINEAR_F32; mode <= GR_LINEAR_BF16; mode++) {
            size_t O = shape[i].O, K = shape[i].K, M = 2 * UNIT;
            float *x = check_randn(M * K, 1), *w = bf16_weights(O * K), *b = check_randn(O, 3), *got;
            float *want = check_randn(M * O, 4), *back = check_randn(M * K, 5), *dW = check_randn(O * K, 6);
            float *bias = i % 2 ? gpu_put(gpu, b, O) : NULL;
            float *t = calloc(O * M, sizeof *t), *xt = calloc(K * M, sizeof *xt);
            gr_mat on = put_rows(x, M * K, K), y = put_rows(want, M * O, O), dx = put_rows(back, M * K, K);
            float *to = gpu_put(gpu, dW, O * K), *dy;
            gr_linear *l = open_weight(w, bias, O, K, mode);
            assert_int_equal(gr_linear_rows(gpu, mode), mode == GR_LINEAR_BF16 ? GR_BF16 : GR_F32);
            gr_linear_fwd(gr_device_lane(gpu), l, y, on, M);
            gr_linear_dx(gr_device_lane(gpu), l, dx, y, M, true);
            gr_linear_dw(gr_device_lane(gpu), MAT(to, K), y, on, M, K, 0, O);
            CHECK_OK(gr_device_wait(gpu, &check_err));
            dy = get_rows(y, M * O);
            product(want, x, w, K, 1, bias ? b : NULL, M, O, K, false);
            CHECK_CLOSE(dy, want, M * O, 1.0 / 256 + f32_tol(K));
            product(back, dy, w, 1, K, NULL, M, K, O, true);
            got = get_rows(dx, M * K);
            CHECK_CLOSE(got, back, M * K, 1.0 / 256 + f32_tol(O));
            free(got);
            for (size_t m = 0; m < M; m++) {
                for (size_t o = 0; o < O; o++)
                    t[o * M + m] = dy[m * O + o];
                for (size_t k = 0; k < K; k++)
                    xt[k * M + m] = x[m * K + k];
            }
            product(dW, t, xt, M, 1, NULL, O, K, M, true);
            got = gpu_get(gpu, to, O * K);
            CHECK_CLOSE(got, dW, O * K, f32_tol(M));        /* a product of bfloat16 is exact in float32 */
            free(got);
            free(dy);
            free(t);
            free(xt);
            gr_device_free(gpu, to);
            gr_device_free(gpu, on.p);
            gr_device_free(gpu, bias);
            gr_linear_close(l);
        }
}

/* dW and db are added to; the rows of dW are made in one call or in two. */
static void gradients_are_the_product(void **state)
{
    enum { M = 3 * UNIT, O = 96, K = 40 };
    float *dy = check_randn(M * O, 1), *x = check_randn(M * K, 2), *dW = check_randn(O * K, 3), *db = check_randn(O, 4);
    float *d_dy = gpu_put(gpu, dy, M * O), *d_x = gpu_put(gpu, x, M * K), *d_db = gpu_put(gpu, db, O);
    float *t = check_randn(O * M, 0), *xt = check_randn(K * M, 0), *got;

    (void)state;
    for (size_t m = 0; m < M; m++) {
        for (size_t o = 0; o < O; o++)
            t[o * M + m] = dy[m * O + o];
        for (size_t k = 0; k < K; k++)
            xt[k * M + m] = x[m * K + k];
    }
    for (size_t cut = 64; cut <= O; cut += O - 64) {
        float *want = check_randn(O * K, 3), *to = gpu_put(gpu, dW, O * K);
        gr_linear_dw(gr_device_lane(gpu), MAT(to, K), MAT(d_dy, O), MAT(d_x, K), M, K, 0, cut);
        if (cut < O)
            gr_linear_dw(gr_device_lane(gpu), MAT(to, K), MAT(d_dy, O), MAT(d_x, K), M, K, cut, O);
        CHECK_OK(gr_device_wait(gpu, &check_err));
        product(want, t, xt, M, 1, NULL, O, K, M, true);
        got = gpu_get(gpu, to, O * K);
        CHECK_CLOSE(got, want, O * K, f32_tol(M));
        free(got);
        gr_device_free(gpu, to);
    }
    for (int rounded = 0; rounded < 2; rounded++) {
        float *want = check_randn(O * K, 3), *to = gpu_put(gpu, dW, O * K);
        if (rounded)
            gr_linear_dw_halves(gr_device_lane(gpu), GR_BY_BF16, MAT(to, K), MAT(d_dy, O), MAT(d_x, K), M, K, 0, O);
        else
            gr_linear_dw(gr_device_lane(gpu), MAT(to, K), MAT(d_dy, O), MAT(d_x, K), M, K, 0, O);
        CHECK_OK(gr_device_wait(gpu, &check_err));
        product(want, t, xt, M, 1, NULL, O, K, M, true);
        got = gpu_get(gpu, to, O * K);
        CHECK_CLOSE(got, want, O * K, rounded ? 2 * bf16_tol(M) : f32_tol(M));      /* both sides are rounded */
        free(got);
        gr_device_free(gpu, to);
    }
    gr_linear_db(gr_device_lane(gpu), d_db, MAT(d_dy, O), M - 7, O);        /* any number of rows */
    CHECK_OK(gr_device_wait(gpu, &check_err));
    for (size_t o = 0; o < O; o++) {
        double s = (double)db[o];
        for (size_t m = 0; m < M - 7; m++)
            s += (double)dy[m * O + o];
        db[o] = (float)s;
    }
    got = gpu_get(gpu, d_db, O);
    CHECK_CLOSE(got, db, O, f32_tol(M));
    free(got);
    gr_device_free(gpu, d_db);
    gr_device_free(gpu, d_dy);
    gr_device_free(gpu, d_x);
}

/* Row r of M alike rows but those around it: the bits that it has. */
static float *row_of(const gr_linear *l, const float *row, size_t r, size_t M, size_t O, size_t K, bool back)
{
    size_t in = back ? O : K, out = back ? K : O;
    float *x = check_randn(M * in, M + r), *from, *to, *y;
    void *p;

    memcpy(x + r * in, row, in * sizeof *x);
    from = gpu_put(gpu, x, M * in);
    CHECK_OK(gr_device_alloc(gpu, &p, M * out * sizeof *x, &check_err));
    to = p;
    if (back)
        gr_linear_dx(gr_device_lane(gpu), l, MAT(to, out), MAT(from, in), M, false);
    else
        gr_linear_fwd(gr_device_lane(gpu), l, MAT(to, out), MAT(from, in), M);
    CHECK_OK(gr_device_wait(gpu, &check_err));
    y = gpu_get(gpu, to + r * out, out);
    gr_device_free(gpu, from);
    gr_device_free(gpu, to);
    return y;
}

static void a_rows_bits_do_not_depend_on_the_others(void **state)
{
    enum { O = 48, K = 200 };
    static const size_t rows[] = { UNIT, 2 * UNIT, 5 * UNIT, 9 * UNIT };
    const float *w = bf16_weights(O * K), *row = check_randn(K, 9);

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        bool back = kind / 2;
        gr_linear *l = open_weight(w, NULL, O, K, kind % 2 ? GR_LINEAR_BF16 : GR_LINEAR_F32);
        float *want = row_of(l, row, 0, UNIT, O, K, back);
        for (size_t i = 0; i < GR_COUNT(rows); i++)
            for (size_t r = 0; r < rows[i]; r += rows[i] / 2 - 1) {
                float *got = row_of(l, row, r, rows[i], O, K, back);
                if (memcmp(got, want, (back ? K : O) * sizeof *got))
                    fail_msg("kind %d: row %zu of %zu has other bits", kind, r, rows[i]);
                free(got);
            }
        free(want);
        gr_linear_close(l);
    }
}

/* Nor on how many there were when the weight was used first. */
static void a_rows_bits_do_not_depend_on_the_first_call(void **state)
{
    enum { O = 48, K = 200 };
    const float *w = bf16_weights(O * K), *row = check_randn(K, 9);
    float *y[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        gr_device *all = gpu;
        gr_linear *l;
        gpu = gpu_open();                           /* which knows no product yet */
        l = open_weight(w, NULL, O, K, GR_LINEAR_F32);
        if (i)
            free(row_of(l, row, 0, 9 * UNIT, O, K, false));
        y[i] = row_of(l, row, 0, UNIT, O, K, false);
        gr_linear_close(l);
        gr_device_close(gpu);
        gpu = all;
    }
    assert_memory_equal(y[0], y[1], O * sizeof *row);
    free(y[0]);
    free(y[1]);
}

/* As --compute bf16 asks for, step by step: what is multiplied has the bits of a weight that is held in bfloat16. */
static void a_weight_may_round_for_a_while(void **state)
{
    enum { O = 24, K = 40 };
    const float *w = bf16_weights(O * K), *row = check_randn(K, 9);
    gr_linear *l[] = { open_weight(w, NULL, O, K, GR_LINEAR_F32), open_weight(w, NULL, O, K, GR_LINEAR_ROUNDED) };

    (void)state;
    assert_true(gr_linear_multiplies_bf16(gpu));
    for (int back = 0; back < 2; back++)
        for (int on = 1; on >= 0; on--) {
            float *y[2];
            gr_linear_by(l[0], on ? GR_BY_BF16 : GR_BY_F32);
            for (int i = 0; i < 2; i++)
                y[i] = row_of(l[i], row, 3, UNIT, O, K, back);
            assert_int_equal(memcmp(y[0], y[1], (back ? K : O) * sizeof *row) == 0, on);
            free(y[0]);
            free(y[1]);
        }
    gr_linear_close(l[0]);
    gr_linear_close(l[1]);
}

/* A weight that lies on the device is used where it is. */
static void a_weight_of_the_device_is_borrowed(void **state)
{
    enum { O = 24, K = 16 };
    float *w = bf16_weights(O * K), *there = gpu_put(gpu, w, O * K), *x = check_randn(UNIT * K, 1), *want, *got;
    gr_linear *l = open_weight(there, NULL, O, K, GR_LINEAR_BF16);

    (void)state;
    assert_true(gr_linear_borrows(l));
    want = check_randn(UNIT * O, 0);
    for (int k = 0; k < 2; k++) {                   /* and follows what is written there */
        product(want, x, w, K, 1, NULL, UNIT, O, K, false);
        got = row_of(l, x, 0, UNIT, O, K, false);
        CHECK_CLOSE(got, want, O, f32_tol(K));
        free(got);
        w[0] += 1;
        gr_device_put(gpu, there, w, O * K * sizeof *w);
    }
    gr_linear_close(l);
    gr_device_free(gpu, there);
}

static void what_it_does_not_do_is_said(void **state)
{
    const float *w = bf16_weights(64);
    gr_linear *l;
    gr_device *none;
    void *p;

    (void)state;
    assert_int_equal(gr_linear_open(&l, gpu, &(gr_tensor){ GR_F32, w, 8, 8 }, NULL, GR_LINEAR_INT8, &check_err),
                     GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, " multiplies in f32 and bf16, not in int8"));
    assert_non_null(strstr(check_err.text, gr_device_name(gpu)));
    assert_int_equal(gr_device_alloc(gpu, &p, (size_t)1 << 50, &check_err), GRAM_ENOMEM);
    assert_non_null(strstr(check_err.text, ": out of memory for 1125899906842624 bytes: "));
    assert_int_equal(gr_device_open(&none, "cuda:999", 0, &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "no GPU can be used: device cuda:999: there "));
    assert_int_equal(gr_device_open(&none, "cuda:", 0, &check_err), GRAM_EARG);
    assert_int_equal(gr_device_open(&none, "gpu", 0, &check_err), GRAM_EARG);
    assert_string_equal(check_err.text, "device: wanted cpu, cuda, cuda:0 (or another number) or auto, found \"gpu\"");
}

/* What is handed over is taken at once, however much it is; what is asked for is what was handed over. */
static void memory_goes_there_and_back(void **state)
{
    size_t n = (size_t)5 << 20;
    float *x = check_randn(n, 1), *there, *got;

    (void)state;
    there = gpu_put(gpu, x, n);
    gr_device_put(gpu, there + 1, x, 3 * sizeof *x);
    memmove(x + 1, x, 3 * sizeof *x);
    got = gpu_get(gpu, there, n);
    assert_memory_equal(got, x, n * sizeof *x);
    free(got);
    gr_device_zero(gpu, there + 7, (n - 8) * sizeof *x);
    memset(x + 7, 0, (n - 8) * sizeof *x);
    got = gpu_get(gpu, there, n);
    assert_memory_equal(got, x, n * sizeof *x);
    free(got);
    gr_device_free(gpu, there);
    CHECK_OK(gr_device_wait(gpu, &check_err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_is_the_product),
        cmocka_unit_test(backward_is_the_product),
        cmocka_unit_test(rows_may_be_bfloat16),
        cmocka_unit_test(gradients_are_the_product),
        cmocka_unit_test(a_rows_bits_do_not_depend_on_the_others),
        cmocka_unit_test(a_rows_bits_do_not_depend_on_the_first_call),
        cmocka_unit_test(a_weight_may_round_for_a_while),
        cmocka_unit_test(a_weight_of_the_device_is_borrowed),
        cmocka_unit_test(what_it_does_not_do_is_said),
        cmocka_unit_test(memory_goes_there_and_back),
    };

    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
