/* test_kernels_gpu.c - kernels of a GPU in bfloat16 against those of a CPU in float32, on numbers that bfloat16 holds;
 * and what moves rows, bit for bit. In float32 they are among the builds of each op's own test. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device.h"
#include "gpu.h"
#include "op/on_gpu.h"

/* A number is rounded by half of this at most, relatively, when it is stored. */
#define BF16_EPSILON (1.0 / 128)

static const struct gr_kern *gpu, *cpu;

/* Standard normal, and what bfloat16 holds. */
static float *numbers(size_t n, uint64_t seed)
{
    float *x = check_randn(n, seed);

    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        uint32_t u;
        assert_true(gr_quantize(&h, GR_BF16, x + i, 1));
        u = (uint32_t)h << 16;
        memcpy(x + i, &u, sizeof u);
    }
    return x;
}

static float *again(const float *x, size_t n)
{
    float *y = check_fenced(n * sizeof *y);

    memcpy(y, x, n * sizeof *y);
    return y;
}

/* Each number by itself: one rounding of what float32 has, and the float32's own error, far below it. */
static void near_each(const float *got, const float *want, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= BF16_EPSILON * 0.51 * fabs((double)want[i]) + 1e-30))
            fail_msg("at %zu of %zu: %.9g, wanted %.9g", i, n, (double)got[i], (double)want[i]);
}

/* |x - want| / |want| */
static double apart(const float *x, const float *want, size_t n)
{
    double d = 0, all = 1e-30;

    for (size_t i = 0; i < n; i++) {
        d += ((double)x[i] - (double)want[i]) * ((double)x[i] - (double)want[i]);
        all += (double)want[i] * (double)want[i];
    }
    return sqrt(d / all);
}

/* ---- Rows ------------------------------------------------------------------------------------------ */

enum { N = 6, C = 1043, LD = C + 5, ALL = (N - 1) * LD + C };       /* more columns than a warp takes at once */

static void rows_move_bit_for_bit(void **state)
{
    static const size_t row[N] = { 3, 0, 5, 1, 4, 2 };
    const float *x = numbers(ALL, 1), *y = numbers(ALL, 2);
    bool halves[] = { false, true };

    (void)state;
    for (size_t h = 0; h < GR_COUNT(halves); h++) {
        const struct gr_kern *op = halves[h] ? on_gpu_bf16() : on_gpu(), *both[] = { cpu, op };
        float *got[2];
#define SAME(call) do { \
            for (size_t b_ = 0; b_ < 2; b_++) { \
                const struct gr_kern *k = both[b_]; \
                float *to = got[b_] = again(y, ALL); \
                call; \
            } \
            assert_memory_equal(got[0], got[1], ALL * sizeof(float)); } while (0)
        SAME(k->copy(NULL, MAT(to, LD), MAT(x, LD), N, C));
        SAME(k->gather(NULL, MAT(to, LD), MAT(x, LD), row, N, C));
        SAME(k->place(NULL, MAT(to, LD), MAT(x, LD), row, N, C));
        SAME(k->zero(NULL, MAT(to, LD), N, C));
        SAME(k->scale(NULL, MAT(to, LD), 0.5f, N, C));
        SAME(k->copy(NULL, MAT(to, LD), MAT(x, LD), 0, C));
    }
}

/* A row may come again: it is added in the order of the list. */
static void rows_are_added_in_order(void **state)
{
    static const size_t row[N] = { 3, 0, 3, 1, 3, 0 };
    static const int32_t token[N] = { 2, 2, 5, 0, 2, 5 };
    const float *x = check_randn(ALL, 1), *y = check_randn(ALL, 2);

    (void)state;
    gpu = on_gpu();
    {
        const struct gr_kern *both[] = { cpu, gpu };
        float *got[2];
        SAME(k->add(NULL, MAT(to, LD), MAT(to, LD), MAT(x, LD), N, C));
        SAME(k->scatter(NULL, MAT(to, LD), MAT(x, LD), row, N, C));
        SAME(k->unembed(NULL, MAT(to, LD), MAT(x, LD), token, 1.7f, N, C));
        SAME(k->scatter(NULL, MAT(to, LD), MAT(x, LD), row, 0, C));
    }
}

static void embeddings_are_those_of_the_table(void **state)
{
    static const gr_dtype type[] = { GR_F32, GR_F16, GR_BF16 };
    static const int32_t token[N] = { 2, 7, 0, 3, 2, 7 };
    float *values = numbers(8 * C, 3);

    (void)state;
    gpu = on_gpu();
    for (size_t i = 0; i < GR_COUNT(type); i++) {
        gr_tensor table = { type[i], NULL, 8, C };
        size_t bytes;
        void *data;
        assert_true(gr_dtype_row_bytes(type[i], C, &bytes));
        data = check_fenced(8 * bytes);
        values[5] = 3e-6f;                                  /* below what float16 has normal numbers for */
        assert_true(gr_quantize(data, type[i], values, 8 * C));
        table.data = data;
        for (int s = 0; s < 2; s++) {
            float *a = check_fenced(ALL * sizeof *a), *b = check_fenced(ALL * sizeof *b);
            cpu->embed(NULL, MAT(a, LD), &table, token, s ? 3.25f : 1, N);
            gpu->embed(NULL, MAT(b, LD), &table, token, s ? 3.25f : 1, N);
            assert_memory_equal(a, b, ALL * sizeof *a);
        }
    }
}

/* ---- Numbers by themselves ------------------------------------------------------------------------- */

static void norms_in_bfloat16(void **state)
{
    static const size_t width[] = { 64, 1043 };

    (void)state;
    gpu = on_gpu_bf16();
    for (size_t i = 0; i < GR_COUNT(width); i++) {
        size_t W = width[i];
        float *x = numbers(N * W, 1), *w = check_randn(W, 2), *dy = numbers(N * W, 3), r[N], rg[N];
        float *y = check_fenced(N * W * 4), *want = check_fenced(N * W * 4), *dw = check_randn(W, 4),
              *dw2 = again(dw, W);
        const gr_norm norm = { w, 1, 1e-5f, W };
        cpu->rmsnorm_fwd(NULL, MAT(want, W), r, MAT(x, W), &norm, N);
        gpu->rmsnorm_fwd(NULL, MAT(y, W), rg, MAT(x, W), &norm, N);
        CHECK_CLOSE(rg, r, N, (4 + (double)W / 32) * FLT_EPSILON);
        near_each(y, want, N * W);
        cpu->rmsnorm_bwd(NULL, MAT(want, W), dw, MAT(dy, W), MAT(x, W), r, &norm, N, false);
        gpu->rmsnorm_bwd(NULL, MAT(y, W), dw2, MAT(dy, W), MAT(x, W), r, &norm, N, false);
        CHECK_CLOSE(y, want, N * W, BF16_EPSILON / 2 + W * FLT_EPSILON);
        CHECK_CLOSE(dw2, dw, W, (2 + 2 * N) * FLT_EPSILON);
    }
}

/* In one launch the bits of two, of either type; the sum may lie where one of its sides does. */
static void a_sum_and_its_norm(void **state)
{
    static const size_t width[] = { 64, 1043 };

    (void)state;
    for (size_t i = 0; i < 2 * GR_COUNT(width); i++) {
        size_t W = width[i / 2];
        const gr_norm norm = { check_randn(W, 2), 1, 1e-5f, W };
        float *a = numbers(N * W, 1), *b = numbers(N * W, 3), *x[2], *y[2], r[2][N];
        gpu = i % 2 ? on_gpu_bf16() : on_gpu();
        x[0] = check_fenced(N * W * 4);
        x[1] = again(a, N * W);
        for (size_t k = 0; k < 2; k++)
            y[k] = check_fenced(N * W * 4);
        gpu->add(NULL, MAT(x[0], W), MAT(a, W), MAT(b, W), N, W);
        gpu->rmsnorm_fwd(NULL, MAT(y[0], W), r[0], MAT(x[0], W), &norm, N);
        gpu->add_norm(NULL, MAT(y[1], W), r[1], MAT(x[1], W), MAT(x[1], W), MAT(b, W), &norm, N);
        assert_memory_equal(x[0], x[1], N * W * 4);
        assert_memory_equal(y[0], y[1], N * W * 4);
        assert_memory_equal(r[0], r[1], sizeof *r);
    }
}

/* In float32 the bits of the norm and the rotation by themselves; in bfloat16 one rounding of the CPU's. */
static void heads_are_normed_and_turned(void **state)
{
    static const struct { size_t H, D, R, C; bool interleaved; } shape[] = {
        { 3, 64, 64, 64, false }, { 2, 128, 96, 128, true }, { 1, 34, 24, 34, false }, { 2, 256, 256, 256, false },
        { 2, 32, 32, 64, false }, { 3, 64, 64, 0, true },
    };
    static const int32_t pos[N] = { 0, 39, 7, 7, 20, 1 };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t D = shape[i].D, R = shape[i].R, W = shape[i].H * D, all = N * W;
        float freq[128], *table = check_fenced(40 * R * 4), *x = numbers(all, i + 1), *y[3];
        float r[2][3 * N] = { { 0 } }, none[3 * N];
        const gr_norm norm = { shape[i].C ? check_randn(W, 2) : NULL, 0, 1e-5f, shape[i].C ? shape[i].C : D };
        gr_heads h = { norm, r[1], table, pos, shape[i].H, D, R, shape[i].interleaved };
        for (size_t k = 0; k < R / 2; k++)
            freq[k] = 1 / (float)(1 + k);
        gr_rope_table(table, freq, 0, 40, R, 1);
        for (size_t k = 0; k < 3; k++)
            y[k] = again(x, all);
        gpu = on_gpu();
        if (shape[i].C)
            gpu->rmsnorm_fwd(NULL, MAT(y[0], h.norm.C), r[0], MAT(x, h.norm.C), &h.norm, N * (W / h.norm.C));
        gpu->rope_fwd(NULL, MAT(y[0], W), pos, table, N, h.H, D, R, h.interleaved);
        gpu->heads_fwd(NULL, MAT(y[1], W), shape[i].C ? MAT(x, W) : MAT(y[1], W), &h, N);
        assert_memory_equal(y[0], y[1], all * 4);
        assert_memory_equal(r[0], r[1], sizeof *r);
        if (shape[i].C != D)                    /* two launches round twice */
            continue;
        gpu = on_gpu_bf16();
        h.r = none;
        gpu->heads_fwd(NULL, MAT(y[2], W), MAT(y[2], W), &h, N);
        near_each(y[2], y[0], all);
    }
}

/* Slices of either type in one launch have the CPU's bits, each by its own rule, and those at their ends as well. */
static void a_step_of_many_slices(void **state)
{
    enum { SLICES = 4, MOST = 3000 };
    static const size_t count[SLICES] = { 1, MOST, 255, 2049 };
    gr_adamw_slice s[2][SLICES];
    const struct gr_kern *op[2] = { cpu, on_gpu() };
    gr_device *d;

    (void)state;
    CHECK_OK(gr_device_open_cpu(&d, 1, cpu, &check_err));
    for (size_t b = 0; b < 2; b++) {
        for (size_t i = 0; i < SLICES; i++) {
            float *v = check_randn(count[i], 3 * i + 1), *x = check_randn(count[i], 3 * i + 2);
            const float *moment[2] = { check_randn(count[i], 3 * i), v };
            gr_dtype kept = i / 2 ? GR_BF16 : GR_F32;
            void *w = check_fenced(count[i] * 4), *in[2];
            for (size_t k = 0; k < count[i]; k++)
                v[k] *= v[k];
            assert_true(gr_quantize(w, i % 2 ? GR_BF16 : GR_F32, x, count[i]));
            for (size_t k = 0; k < 2; k++) {
                in[k] = check_fenced(count[i] * gr_dtype_bytes(kept));
                assert_true(gr_quantize(in[k], kept, moment[k], count[i]));
            }
            s[b][i] = (gr_adamw_slice){ w, in[0], in[1], i % 2 ? GR_BF16 : GR_F32, kept,
                                        check_randn(count[i], 3 * i + 50), count[i],
                                        { 0.5f, 0.1f, 0.999f, 0.001f, 1e-8f, 0.9999f, (float)(i + 1) * 1e-3f, 0.25f },
                                        { (uint32_t)i + 77, 99 }, (uint32_t)i * 65536 };
        }
        op[b]->adamw_slices(gr_device_lane(d), s[b], SLICES);
    }
    for (size_t i = 0; i < SLICES; i++) {
        assert_memory_equal(s[0][i].w, s[1][i].w, count[i] * gr_dtype_bytes(s[0][i].type));
        assert_memory_equal(s[0][i].m, s[1][i].m, count[i] * gr_dtype_bytes(s[0][i].kept));
        assert_memory_equal(s[0][i].v, s[1][i].v, count[i] * gr_dtype_bytes(s[0][i].kept));
    }
    gr_device_close(d);
}

/* More rows than a slice of dw has: as the sum of all in double, by roundings that scatter. */
static void dw_of_many_rows(void **state)
{
    enum { M = 600, W = 40 };
    float *x = check_randn(M * W, 1), *dy = check_randn(M * W, 2), *w = check_randn(W, 3), *r = check_fenced(M * 4);
    float *dx = check_fenced(M * W * 4), *dw = check_fenced(W * 4), *want = check_fenced(W * 4);

    (void)state;
    gpu = on_gpu();
    for (size_t m = 0; m < M; m++)
        r[m] = 1 + (float)(m % 7) / 8;
    for (size_t c = 0; c < W; c++) {
        double sum = 0;
        for (size_t m = 0; m < M; m++)
            sum += (double)dy[m * W + c] * (double)x[m * W + c] * (double)r[m];
        want[c] = (float)sum;
    }
    gpu->rmsnorm_bwd(NULL, MAT(dx, W), dw, MAT(dy, W), MAT(x, W), r, &(gr_norm){ w, 0, 0, W }, M, false);
    CHECK_CLOSE(dw, want, W, sqrt((double)M) * FLT_EPSILON);
}

static void units_caps_and_dropout_in_bfloat16(void **state)
{
    static const uint64_t key[N] = { 1, 5, 2, 77, 3, 9 };
    float *gate = numbers(ALL, 1), *up = numbers(ALL, 2), *a = check_fenced(ALL * 4), *b = check_fenced(ALL * 4);

    (void)state;
    gpu = on_gpu_bf16();
    cpu->swiglu_fwd(NULL, MAT(a, LD), MAT(gate, LD), MAT(up, LD), N, C);
    gpu->swiglu_fwd(NULL, MAT(b, LD), MAT(gate, LD), MAT(up, LD), N, C);
    near_each(b, a, ALL);
    cpu->geglu_fwd(NULL, MAT(a, LD), MAT(gate, LD), MAT(up, LD), N, C);
    gpu->geglu_fwd(NULL, MAT(b, LD), MAT(gate, LD), MAT(up, LD), N, C);
    near_each(b, a, ALL);
    cpu->cap_fwd(NULL, MAT(a, LD), MAT(gate, LD), 2, N, C);
    gpu->cap_fwd(NULL, MAT(b, LD), MAT(gate, LD), 2, N, C);
    near_each(b, a, ALL);
    cpu->dropout_fwd(NULL, MAT(a, LD), MAT(gate, LD), 42, key, N, C, 0.25);
    gpu->dropout_fwd(NULL, MAT(b, LD), MAT(gate, LD), 42, key, N, C, 0.25);
    near_each(b, a, ALL);
}

/* In float32 the masks and what they keep are the CPU's to the bit. */
static void dropout_has_the_cpus_masks(void **state)
{
    static const uint64_t key[N] = { 1, 5, 2, 77, 3, 9 };
    const float *x = check_randn(ALL, 1), *y = check_randn(ALL, 2);
    float *got[2];

    (void)state;
    gpu = on_gpu();
    {
        const struct gr_kern *both[] = { cpu, gpu };
        SAME(k->dropout_fwd(NULL, MAT(to, LD), MAT(x, LD), 42, key, N, C, 0.3));
        SAME(k->dropout_bwd(NULL, MAT(to, LD), MAT(x, LD), 42, key, N, C, 0.3));
        SAME(k->dropout_fwd(NULL, MAT(to, LD), MAT(x, LD), 42, key, N, C, 0));
    }
}

static void experts_are_weighed_and_blended(void **state)
{
    enum { K = 2, M = 4, F = 200, W = 70 };
    static const size_t at[3] = { 4, 0, 7 };
    float *d = check_randn(M * F, 1), *dy = check_randn(M * W, 2), *act = check_randn(M * F, 3),
          *w = check_randn(12, 4);
    float *d2 = again(d, M * F), *dy2 = again(dy, M * W), dw[12] = { 0 }, dw2[12] = { 0 };
    float *x = check_randn(N * W, 5), *v = check_randn(N * K * W, 6), *y = check_fenced(N * W * 4),
          *y2 = again(y, N * W);

    (void)state;
    gpu = on_gpu();
    cpu->weigh(NULL, MAT(d, F), MAT(dy, W), MAT(dw, K), MAT(act, F), MAT(w, K), at, 3, M, F, W);
    gpu->weigh(NULL, MAT(d2, F), MAT(dy2, W), MAT(dw2, K), MAT(act, F), MAT(w, K), at, 3, M, F, W);
    assert_memory_equal(d, d2, M * F * sizeof *d);
    assert_memory_equal(dy, dy2, M * W * sizeof *dy);
    CHECK_CLOSE(dw2, dw, 12, 2 * FLT_EPSILON);
    cpu->blend(NULL, MAT(y, W), MAT(x, W), MAT(v, W), MAT(w, K), N, K, W);
    gpu->blend(NULL, MAT(y2, W), MAT(x, W), MAT(v, W), MAT(w, K), N, K, W);
    assert_memory_equal(y, y2, N * W * sizeof *y);
}

/* ---- Attention ------------------------------------------------------------------------------------- */

static const struct shape { size_t T, D, G, window; float cap; } shape[] = {
    { 69, 64, 3, 0, 0 }, { 130, 64, 1, 0, 0 }, { 70, 128, 2, 0, 0 }, { 90, 32, 4, 7, 0 }, { 50, 80, 1, 0, 5 },
    { 50, 96, 2, 33, 0 }, { 40, 256, 2, 0, 0 }, { 70, 256, 1, 10, 3 }, { 33, 20, 2, 0, 0 },
};

struct attn { const struct shape *s; gr_attn_shape at; size_t ldq, ldk, nq, nk; float *q, *k, *v, *dout, *o, *lse; };

static struct attn make(const struct shape *s, uint64_t seed)
{
    struct attn a = { s, { s->D, s->G, s->window, 1 / sqrtf((float)s->D), s->cap }, s->G * s->D + 8, s->D + 8 };
    gr_kv_span span;
    void *scratch = gr_alloc_aligned(gr_attn_scratch(s->D, s->G), 1);

    assert_non_null(scratch);
    a.nq = (s->T - 1) * a.ldq + s->G * s->D;
    a.nk = (s->T - 1) * a.ldk + s->D;
    a.q = numbers(a.nq, seed);
    a.k = numbers(a.nk, seed + 1);
    a.v = numbers(a.nk, seed + 2);
    a.dout = numbers(a.nq, seed + 3);
    a.o = check_fenced(a.nq * 4);
    a.lse = check_fenced(s->T * s->G * 4);
    span = (gr_kv_span){ a.k, a.v, a.ldk, s->T };
    for (size_t t = 0; t < s->T; t += GR_ATTN_QUERIES)
        gr_attn_run_fwd_ref(MAT(a.o + t * a.ldq, a.ldq), a.lse + t * s->G, MAT(a.q + t * a.ldq, a.ldq),
                            gr_min(GR_ATTN_QUERIES, s->T - t), t, &span, &a.at, scratch);
    free(scratch);
    return a;
}

/* Queries by runs of `each`, keys by spans of 30. */
static float *attend(const struct attn *a, float *lse, size_t each)
{
    float *o = check_fenced(a->nq * 4);
    gr_kv_span span[16];
    size_t spans = 0;

    for (size_t t = 0; t < a->s->T; t += 30, spans++)
        span[spans] = (gr_kv_span){ a->k + t * a->ldk, a->v + t * a->ldk, a->ldk, gr_min(30, a->s->T - t) };
    for (size_t t = 0; t < a->s->T; t += each)
        gpu->attn_run_fwd(MAT(o + t * a->ldq, a->ldq), lse + t * a->s->G, MAT(a->q + t * a->ldq, a->ldq),
                          gr_min(each, a->s->T - t), t, span, &a->at, NULL);
    return o;
}

/* A weight is rounded to bfloat16 and so is a sum of values, by half a BF16_EPSILON of it at most: of the largest value
 * at most, which the first query has. lse is float32: scores of D products near 1 each, times their scale. */
static void attention_is_right(const struct shape *s, size_t shapes)
{
    for (size_t i = 0; i < shapes; i++) {
        struct attn a = make(s + i, i + 1);
        size_t rows = s[i].T * s[i].G;
        float *lse = check_fenced(rows * 4), *lse2 = check_fenced(rows * 4), *o = attend(&a, lse, GR_ATTN_QUERIES);
        float *cut = attend(&a, lse2, 9);
        CHECK_CLOSE(o, a.o, a.nq, BF16_EPSILON * 1.05);
        CHECK_CLOSE(lse, a.lse, rows, (16 + (double)s[i].D) * FLT_EPSILON);
        assert_true(apart(o, a.o, a.nq) < 3e-3);            /* roundings by 2^-9 / sqrt(3), of weights and of o */
        assert_memory_equal(cut, o, a.nq * 4);
        assert_memory_equal(lse2, lse, rows * 4);           /* of float32: what o's rounding hides is here */
    }
}

static void attention_in_bfloat16(void **state)
{
    (void)state;
    gpu = on_gpu_bf16();
    attention_is_right(shape, GR_COUNT(shape));
}

struct run { size_t pos0, nq, D, G, window; float cap; bool half; };

/* The last queries of some lengths, of some before and behind the end of a span of keys: against the reference, in
 * float32 as its every build, and alone or as a run the same bits, though alone those before the end take another
 * way. */
static void spans_are_right(const struct run *run, size_t runs, const struct gr_kern *halves(void))
{
    for (size_t i = 0; i < runs; i++) {
        size_t T = run[i].pos0 + run[i].nq, wide = run[i].G * run[i].D, D = run[i].D, G = run[i].G, nq = run[i].nq;
        const gr_attn_shape at = { D, G, run[i].window, 1 / sqrtf((float)D), run[i].cap };
        float *k = numbers(T * D, 1), *v = numbers(T * D, 2), *q = numbers(nq * wide, 3), *lse[2], *o[3];
        const gr_kv_span span = { k, v, D, T };
        void *scratch = gr_alloc_aligned(gr_attn_scratch(D, G), 1);
        for (size_t b = 0; b < 3; b++)
            o[b] = check_fenced(nq * wide * 4);
        for (size_t b = 0; b < 2; b++)
            lse[b] = check_fenced(nq * G * 4);
        gpu = run[i].half ? halves() : on_gpu();
        gr_attn_run_fwd_ref(MAT(o[0], wide), lse[0], MAT(q, wide), nq, run[i].pos0, &span, &at, scratch);
        gpu->attn_run_fwd(MAT(o[1], wide), lse[1], MAT(q, wide), nq, run[i].pos0, &span, &at, NULL);
        for (size_t t = 0; t < nq; t++)
            gpu->attn_run_fwd(MAT(o[2] + t * wide, wide), NULL, MAT(q + t * wide, wide), 1, run[i].pos0 + t, &span, &at,
                              NULL);
        assert_memory_equal(o[1], o[2], nq * wide * 4);
        CHECK_CLOSE(lse[1], lse[0], nq * G, (16 + (double)D) * FLT_EPSILON);
        if (run[i].half)                        /* weights and o rounded by 2^-9 / sqrt(3), of values that cancel */
            assert_true(apart(o[1], o[0], nq * wide) < 4e-3);
        else
            CHECK_CLOSE(o[1], o[0], nq * wide, (20 + (double)D + sqrt((double)T)) * FLT_EPSILON);
        free(scratch);
    }
}

static void keys_shared_among_blocks(void **state)
{
    static const struct run run[] = {
        { 1100, 3, 64, 2, 0, 0, true }, { 509, 6, 64, 1, 0, 4, true }, { 1100, 2, 128, 1, 600, 0, true },
        { 1100, 2, 20, 3, 0, 0, false }, { 509, 6, 16, 1, 300, 0, false }, { 3, 2, 16, 1, 0, 2, false },
    };

    (void)state;
    spans_are_right(run, GR_COUNT(run), on_gpu_bf16);
}

/* p, ds and what comes out are rounded by 2^-9 / sqrt(3) on average, o, whose product with do is taken from dp, as
 * well: 2.3e-3 where these add as they scatter, and up to four times that where dp - delta cancels. */
static void slopes_are_right(const struct shape *of, size_t shapes)
{
    for (size_t i = 0; i < shapes; i++) {
        const struct shape *s = of + i;
        struct attn a = make(s, i + 1);
        gr_kv_span span = { a.k, a.v, a.ldk, s->T };
        float *dq[2], *dk[2], *dv[2], *delta[2];
        void *scratch = gr_alloc_aligned(gr_attn_scratch(s->D, s->G), 1);
        const struct gr_kern *op[2] = { gr_kern_of(0), gpu };
        for (size_t b = 0; b < 2; b++) {
            gr_q_span run[2];
            size_t runs = 0;
            dq[b] = check_fenced(a.nq * 4);
            dk[b] = check_fenced(a.nk * 4);
            dv[b] = check_fenced(a.nk * 4);
            delta[b] = check_fenced(s->T * s->G * 4);
            for (size_t t = 0; t < s->T; t += GR_ATTN_QUERIES, runs++) {
                size_t n = gr_min(GR_ATTN_QUERIES, s->T - t), at = t * a.ldq;
                op[b]->attn_run_dq(MAT(dq[b] + at, a.ldq), delta[b] + t * s->G, MAT(a.dout + at, a.ldq),
                                   MAT(a.o + at, a.ldq), a.lse + t * s->G, MAT(a.q + at, a.ldq), n, t, &span, &a.at,
                                   scratch);
                run[runs] = (gr_q_span){ a.q + at, a.dout + at, a.lse + t * s->G, delta[0] + t * s->G, a.ldq, n, t };
            }
            for (size_t t = 0; t < s->T; t += GR_ATTN_QUERIES) {
                size_t n = gr_min(GR_ATTN_QUERIES, s->T - t), at = t * a.ldk;
                op[b]->attn_run_dkv(MAT(dk[b] + at, a.ldk), MAT(dv[b] + at, a.ldk), MAT(a.k + at, a.ldk),
                                    MAT(a.v + at, a.ldk), n, t, run, runs, &a.at, scratch);
            }
        }
        assert_true(apart(dq[1], dq[0], a.nq) < 1e-2);
        assert_true(apart(dk[1], dk[0], a.nk) < 1e-2);
        assert_true(apart(dv[1], dv[0], a.nk) < 1e-2);
        free(scratch);
    }
}

static void its_slopes_in_bfloat16(void **state)
{
    (void)state;
    gpu = on_gpu_bf16();
    slopes_are_right(shape, GR_COUNT(shape));
}

/* ---- A Hopper's own -------------------------------------------------------------------------------- */

/* By products of four warps, in blocks of one warpgroup and of two. On hardware it is a Hopper's, or elsewhere what the
 * other tests have. */
static void attention_of_a_hopper(void **state)
{
    static const struct shape of[] = {
        { 69, 64, 3, 0, 0 }, { 90, 64, 4, 7, 0 }, { 130, 64, 1, 0, 5 }, { 140, 128, 2, 0, 0 }, { 70, 256, 1, 10, 3 },
        { 40, 256, 2, 0, 0 },
    };
    static const struct run run[] = {
        { 1100, 3, 64, 2, 0, 0, true }, { 509, 6, 64, 1, 0, 4, true }, { 1100, 2, 128, 1, 600, 0, true },
        { 509, 5, 256, 1, 0, 0, true },
    };

    (void)state;
    gpu = on_hopper_bf16();
    attention_is_right(of, GR_COUNT(of));
    spans_are_right(run, GR_COUNT(run), on_hopper_bf16);
}

static void slopes_of_a_hopper(void **state)
{
    static const struct shape of[] = { { 69, 64, 3, 0, 0 }, { 90, 64, 2, 7, 0 }, { 140, 128, 2, 0, 0 },
                                       { 75, 128, 1, 50, 5 } };

    (void)state;
    gpu = on_hopper_bf16();
    slopes_are_right(of, GR_COUNT(of));
}

/* y of M rows, of which row r of x is `row`: the whole of it, and what x and w are. */
static uint16_t *multiplied(gr_device *d, const gr_linear *l, const float *row, size_t r, float *x, size_t M, size_t O,
                            size_t K)
{
    uint16_t *half = calloc(M * gr_max(O, K), sizeof *half);
    void *px, *py;

    memcpy(x + r * K, row, K * sizeof *x);
    assert_true(half && gr_quantize(half, GR_BF16, x, M * K));
    CHECK_OK(gr_device_alloc(d, &px, M * K * 2, &check_err));
    CHECK_OK(gr_device_alloc(d, &py, M * O * 2, &check_err));
    gr_device_put(d, px, half, M * K * 2);
    gr_linear_fwd(gr_device_lane(d), l, gr_mat_of(py, O, GR_BF16), gr_mat_of(px, K, GR_BF16), M);
    CHECK_OK(gr_device_wait(d, &check_err));
    gr_device_get(d, half, py, M * O * 2);
    gr_device_free(d, px);
    gr_device_free(d, py);
    return half;
}

/* More steps than the ring has stages, more tiles than one in each direction. One rounding of the sums in double, and a
 * row's bits wherever it stands. On hardware it is a Hopper's or, elsewhere, cublasLt's. */
static void products_of_a_hopper(void **state)
{
    enum { O = 512, K = 384, ROWS = 256 };
    float *w = numbers(O * K, 1), *row = numbers(K, 3), *x = numbers(ROWS * K, 2), *got = check_fenced(ROWS * O * 4);
    float *want = check_fenced(ROWS * O * 4);
    uint16_t *all, *some;
    gr_device *d;
    gr_linear *l;

    (void)state;
    d = gpu_open_hopper();
    CHECK_OK(gr_linear_open(&l, d, &(gr_tensor){ GR_F32, w, O, K }, NULL, GR_LINEAR_BF16, &check_err));
    all = multiplied(d, l, row, ROWS - 1, x, ROWS, O, K);
    some = multiplied(d, l, row, 0, numbers(ROWS * K, 7), ROWS / 2, O, K);
    assert_memory_equal(all + (ROWS - 1) * O, some, O * 2);
    gr_dequant(got, all, GR_BF16, ROWS * O);
    for (size_t m = 0; m < ROWS; m++)
        for (size_t o = 0; o < O; o++) {
            double sum = 0;
            for (size_t k = 0; k < K; k++)
                sum += (double)x[m * K + k] * (double)w[o * K + k];
            want[m * O + o] = (float)sum;
        }
    CHECK_CLOSE(got, want, ROWS * O, BF16_EPSILON / 2 + K * FLT_EPSILON / 8);
    free(all);
    free(some);
    gr_linear_close(l);
    gr_device_close(d);
}

/* With an argument: the tests of that name alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_move_bit_for_bit),
        cmocka_unit_test(rows_are_added_in_order),
        cmocka_unit_test(embeddings_are_those_of_the_table),
        cmocka_unit_test(norms_in_bfloat16),
        cmocka_unit_test(a_sum_and_its_norm),
        cmocka_unit_test(heads_are_normed_and_turned),
        cmocka_unit_test(a_step_of_many_slices),
        cmocka_unit_test(dw_of_many_rows),
        cmocka_unit_test(units_caps_and_dropout_in_bfloat16),
        cmocka_unit_test(dropout_has_the_cpus_masks),
        cmocka_unit_test(experts_are_weighed_and_blended),
        cmocka_unit_test(attention_in_bfloat16),
        cmocka_unit_test(keys_shared_among_blocks),
        cmocka_unit_test(its_slopes_in_bfloat16),
        cmocka_unit_test(attention_of_a_hopper),
        cmocka_unit_test(slopes_of_a_hopper),
        cmocka_unit_test(products_of_a_hopper),
    };

    cpu = gr_kern_of(gr_cpu());
    if (!on_gpu()) {
        puts("no emulated GPU: there is no C++ compiler here");
        return 77;
    }
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
