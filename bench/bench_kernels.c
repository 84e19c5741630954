/* bench_kernels.c - each kernel beside the limit that this machine sets it, one CSV row a measurement.
 *
 *     cpu,kernel,shape,value,unit,limit,share
 *
 * attention's limit is the core's multiply-adds in registers; a linear layer's is oneDNN on the same numbers with
 * weights in the layout that oneDNN asks for; of the rest, bytes moved against memcpy() of as many. One
 * thread; GRAM_CPU=ref|avx2|avx512|vnni caps the CPU. */
#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/cpu.h"
#include "base/mem.h"
#include "op/matmul.h"
#include "op/op.h"

/* Of the one thread, with the kernels of its CPU. */
static gr_device *device;
static gr_lane *lane;

#define MAT(p, ld) gr_mat_f32(p, ld)

typedef void job_fn(void *arg);

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds of one run: the best of five rounds of at least 40 ms. */
static double seconds(job_fn *job, void *arg)
{
    double best = 1e30;
    size_t n = 1;

    job(arg);
    for (int round = 0; round < 5; ) {
        double t = now();
        for (size_t i = 0; i < n; i++)
            job(arg);
        t = now() - t;
        if (t < 0.04) {
            n = t < 0.004 ? n * 10 : n * 2;
            continue;
        }
        best = t / (double)n < best ? t / (double)n : best;
        round++;
    }
    return best;
}

static void row(const char *kernel, const char *shape, double value, const char *unit, double limit)
{
    printf("%s,%s,%s,%.1f,%s,%.1f,%.2f\n", gr_cpu_name(lane->op->cpu), kernel, shape, value, unit, limit,
           value / limit);
    fflush(stdout);
}

static float *randoms(size_t n)
{
    float *x = gr_alloc_aligned(n, sizeof *x);
    uint32_t s = 1;

    if (!x) {
        fputs("bench_kernels: out of memory\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525 + 1013904223;
        x[i] = (float)(s >> 8) * 0x1p-23f - 1;
    }
    return x;
}

/* ---- Limits ------------------------------------------------------------------------------------- */

/* Twelve independent chains of multiply-adds on vectors of as many floats as the kernels use: GFLOP/s. */
#define CHAINS 12
#ifdef __clang__                /* each compiler has a way of its own to fuse a product with a sum */
#define FUSES
#define FUSE _Pragma("clang fp contract(fast)")
#else
#define FUSES , optimize("fp-contract=fast")
#define FUSE
#endif
#define FMA_JOB(name, isa, lanes)                                                       \
    typedef float name##_vec __attribute__((vector_size(4 * (lanes))));                 \
    static __attribute__((target(isa) FUSES)) void name(void *arg)                      \
    {                                                                                   \
        FUSE                                                                            \
        float *out = arg;                                                               \
        name##_vec x = { 0 }, y = { 0 }, acc[CHAINS];                                   \
        x += out[0];                                                                    \
        y += out[1];                                                                    \
        for (int j = 0; j < CHAINS; j++)            /* all different, or gcc merges them */ \
            acc[j] = y + (float)j;                                                      \
        for (int i = 0; i < 100000; i++)                                                \
            _Pragma("GCC unroll 12") for (int j = 0; j < CHAINS; j++)                   \
                acc[j] = acc[j] * x + y;                                                \
        for (int j = 0; j < CHAINS; j++)                                                \
            for (int k = 0; k < (lanes); k++)                                           \
                out[2 + k] += acc[j][k];                                                \
    }
FMA_JOB(fma_sse, "sse2", 4)
FMA_JOB(fma_avx2, "avx2,fma", 8)
FMA_JOB(fma_avx512, "avx512f", 16)

static double fma_peak(void)
{
    float out[18] = { 0.5f, 0.25f };
    unsigned cpu = lane->op->cpu;
    size_t lanes = cpu & GR_CPU_AVX512 ? 16 : cpu & GR_CPU_AVX2 ? 8 : 4;
    job_fn *job = lanes == 16 ? fma_avx512 : lanes == 8 ? fma_avx2 : fma_sse;

    return 2e-9 * 100000 * CHAINS * (double)lanes / seconds(job, out);
}

struct copy { void *to; const void *from; size_t bytes; };

static void copy_job(void *arg)
{
    const struct copy *c = arg;

    memcpy(c->to, c->from, c->bytes);
}

/* GB/s read and written by a memcpy() that moves `bytes` in all. */
static double copy_speed(size_t bytes)
{
    struct copy c = { randoms(bytes / 8), randoms(bytes / 8), bytes / 2 };
    double s = seconds(copy_job, &c);

    free(c.to);
    free((void *)(uintptr_t)c.from);
    return 1e-9 * (double)bytes / s;
}

/* ---- Attention ---------------------------------------------------------------------------------- */

/* dq dk dv are where backward leaves its results; lse and delta are [T, G]. */
struct attention {
    size_t T, D, G;
    gr_attn_shape shape;
    float *o, *q, *k, *v, *dout, *dq, *dk, *dv, *lse, *delta;
    void *scratch;
};

static void attention_job(void *arg)
{
    const struct attention *a = arg;
    size_t ld = a->D * a->G;
    gr_kv_span span = { a->k, a->v, a->D, a->T };

    for (size_t t = 0; t < a->T; t += GR_ATTN_QUERIES)
        lane->op->attn_run_fwd(MAT(a->o + t * ld, ld), NULL, MAT(a->q + t * ld, ld),
                               gr_min(GR_ATTN_QUERIES, a->T - t), t, &span, &a->shape, a->scratch);
}

static void dq_job(void *arg)
{
    const struct attention *a = arg;
    size_t ld = a->D * a->G;
    gr_kv_span span = { a->k, a->v, a->D, a->T };

    for (size_t t = 0; t < a->T; t += GR_ATTN_QUERIES)
        lane->op->attn_run_dq(MAT(a->dq + t * ld, ld), a->delta + t * a->G, MAT(a->dout + t * ld, ld),
                              MAT(a->o + t * ld, ld), a->lse + t * a->G, MAT(a->q + t * ld, ld),
                              gr_min(GR_ATTN_QUERIES, a->T - t), t, &span, &a->shape, a->scratch);
}

static void dkv_job(void *arg)
{
    const struct attention *a = arg;
    size_t ld = a->D * a->G, n = (a->T + GR_ATTN_QUERIES - 1) / GR_ATTN_QUERIES;
    gr_q_span run[64];

    for (size_t i = 0; i < n; i++) {
        size_t t = i * GR_ATTN_QUERIES;
        run[i] = (gr_q_span){ a->q + t * ld, a->dout + t * ld, a->lse + t * a->G, a->delta + t * a->G, ld,
                              gr_min(GR_ATTN_QUERIES, a->T - t), t };
    }
    for (size_t t = 0; t < a->T; t += GR_ATTN_QUERIES)
        lane->op->attn_run_dkv(MAT(a->dk + t * a->D, a->D), MAT(a->dv + t * a->D, a->D), MAT(a->k + t * a->D, a->D),
                               MAT(a->v + t * a->D, a->D), gr_min(GR_ATTN_QUERIES, a->T - t), t, run, n, &a->shape,
                               a->scratch);
}

/* Of the products that forward needs two are made, of backward's by queries three and by keys four. */
static void attention(size_t T, size_t D, size_t G, size_t window, double peak)
{
    struct attention a = { T, D, G, { D, G, window, 0.125f }, randoms(T * D * G), randoms(T * D * G), randoms(T * D),
                           randoms(T * D), randoms(T * D * G), randoms(T * D * G), randoms(T * D), randoms(T * D),
                           randoms(T * G), randoms(T * G), gr_alloc_aligned(gr_attn_scratch(D, G), 1) };
    double seen = 0;
    char shape[64];

    for (size_t t = 0; t < T; t++)
        seen += (double)(window ? gr_min(t + 1, window) : t + 1);
    snprintf(shape, sizeof shape, "T=%zu D=%zu G=%zu window=%zu", T, D, G, window);
    row("attn_fwd", shape, 4e-9 * seen * (double)(D * G) / seconds(attention_job, &a), "GFLOP/s", peak);
    row("attn_dq", shape, 6e-9 * seen * (double)(D * G) / seconds(dq_job, &a), "GFLOP/s", peak);
    row("attn_dkv", shape, 8e-9 * seen * (double)(D * G) / seconds(dkv_job, &a), "GFLOP/s", peak);
    float *all[] = { a.o, a.q, a.k, a.v, a.dout, a.dq, a.dk, a.dv, a.lse, a.delta };
    for (size_t i = 0; i < GR_COUNT(all); i++)
        free(all[i]);
    free(a.scratch);
}

/* ---- Linear layers ------------------------------------------------------------------------------ */

enum { M = 21 * 96 };           /* whole units of a run of scores */

struct linear { const gr_linear *l; size_t O, K; float *x, *y; };

static void linear_job(void *arg)
{
    const struct linear *j = arg;

    gr_linear_fwd(lane, j->l, MAT(j->y, j->O), MAT(j->x, j->K), M);
    if (gr_device_wait(device, NULL))
        abort();
}

struct product { dnnl_primitive_t prim; dnnl_stream_t stream; dnnl_memory_t x, w, y; };

static void product_job(void *arg)
{
    const struct product *p = arg;
    const dnnl_exec_arg_t a[] = { { DNNL_ARG_SRC, p->x }, { DNNL_ARG_WEIGHTS, p->w }, { DNNL_ARG_DST, p->y } };

    if (dnnl_primitive_execute(p->prim, p->stream, 3, a))
        abort();
}

static void must(dnnl_status_t s)
{
    if (s)
        abort();
}

/* Seconds of one product of all M rows by oneDNN as it likes it best. What it needs is left to exit. */
static double dnnl_best(size_t O, size_t K, bool int8)
{
    const dnnl_dims_t xd = { M, (dnnl_dim_t)K }, wd = { (dnnl_dim_t)K, (dnnl_dim_t)O }, yd = { M, (dnnl_dim_t)O };
    dnnl_memory_desc_t xm, wm, ym;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;
    dnnl_engine_t engine;
    struct product p;

    must(dnnl_engine_create(&engine, dnnl_cpu, 0));
    must(dnnl_stream_create(&p.stream, engine, dnnl_stream_default_flags));
    must(dnnl_memory_desc_init_by_tag(&xm, 2, xd, int8 ? dnnl_u8 : dnnl_f32, dnnl_ab));
    must(dnnl_memory_desc_init_by_tag(&wm, 2, wd, int8 ? dnnl_s8 : dnnl_f32, dnnl_format_tag_any));
    must(dnnl_memory_desc_init_by_tag(&ym, 2, yd, int8 ? dnnl_s32 : dnnl_f32, dnnl_ab));
    must(dnnl_matmul_desc_init(&desc, &xm, &wm, NULL, &ym));
    must(dnnl_primitive_desc_create(&pd, &desc, NULL, engine, NULL));
    must(dnnl_primitive_create(&p.prim, pd));
    must(dnnl_memory_create(&p.x, &xm, engine, randoms(M * K)));
    must(dnnl_memory_create(&p.w, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), engine,
                            randoms(O * K + 65536)));
    must(dnnl_memory_create(&p.y, &ym, engine, randoms(M * O)));
    return seconds(product_job, &p);
}

/* The same numbers as bfloat16, in place: bytes as they come would hold numbers under 2^-126, which make some
 * processors five times slower. */
static float *halve(float *x, size_t n)
{
    unsigned char *bytes = (unsigned char *)x;

    for (size_t i = 0; i < n; i++)
        memcpy(bytes + 2 * i, bytes + 4 * i + 2, 2);
    return x;
}

static void linear(const char *name, size_t O, size_t K, gr_dtype type, gr_linear_mode mode)
{
    float *numbers = randoms(O * K);
    gr_tensor w = { type, type == GR_BF16 ? halve(numbers, O * K) : numbers, O, K };
    struct linear j = { NULL, O, K, randoms(M * K), randoms(M * O) };
    double flop = 2e-9 * M * (double)O * (double)K;
    gr_linear *l;
    char shape[64];

    if (gr_linear_open(&l, device, &w, NULL, mode, NULL))
        abort();
    j.l = l;
    snprintf(shape, sizeof shape, "M=%d O=%zu K=%zu", M, O, K);
    row(name, shape, flop / seconds(linear_job, &j), "GFLOP/s", flop / dnnl_best(O, K, mode == GR_LINEAR_INT8));
    gr_linear_close(l);
    free(j.x);
    free(j.y);
    free(numbers);
}

/* ---- What moves bytes --------------------------------------------------------------------------- */

/* Two arrays [M,C], one in, one out; w [C] and pos [M] beside them. */
struct rows { size_t C; float *x, *y, *w, *table; int32_t *pos; uint8_t *q; /* [2M,C] */ };

static void rmsnorm_job(void *arg)
{
    const struct rows *r = arg;
    const gr_norm norm = { r->w, 0, 1e-5f, r->C };

    lane->op->rmsnorm_fwd(lane, MAT(r->y, r->C), NULL, MAT(r->x, r->C), &norm, M);
}

static void rope_job(void *arg)
{
    const struct rows *r = arg;

    lane->op->rope_fwd(lane, MAT(r->x, r->C), r->pos, r->table, M, r->C / 64, 64, 64, false);
}

static void rope_pairs_job(void *arg)
{
    const struct rows *r = arg;

    lane->op->rope_fwd(lane, MAT(r->x, r->C), r->pos, r->table, M, r->C / 64, 64, 64, true);
}

static void swiglu_job(void *arg)
{
    const struct rows *r = arg;

    lane->op->swiglu_fwd(lane, MAT(r->y, r->C), MAT(r->x, r->C), MAT(r->x, r->C), M, r->C);
}

static void geglu_job(void *arg)
{
    const struct rows *r = arg;

    lane->op->geglu_fwd(lane, MAT(r->y, r->C), MAT(r->x, r->C), MAT(r->x, r->C), M, r->C);
}

static void quant_job(void *arg)
{
    const struct rows *r = arg;
    float scale;

    for (size_t m = 0; m < M; m++)
        lane->op->quant_row(r->q + 2 * m * r->C, &scale, r->x + m * r->C, r->C);
}

static void quant16_job(void *arg)
{
    const struct rows *r = arg;
    float scale;

    for (size_t m = 0; m < M; m++)
        lane->op->quant16_row((int16_t *)(void *)(r->q + 2 * m * r->C), &scale, r->x + m * r->C, r->C);
}

static void dequant_job(void *arg)
{
    const struct rows *r = arg;

    lane->op->dequant_acc(r->y, r->C, (const int32_t *)r->x, r->C, r->table, r->w, (const int32_t *)r->w, M / 2,
                          r->C);
}

/* `bytes` are those that the kernel reads and writes for a number; a memcpy() of as many is the limit. */
static void moved(const char *name, job_fn *job, size_t C, size_t bytes)
{
    struct rows r = { C, randoms(M * C), randoms(M * C), randoms(C), randoms(M * 64), gr_calloc(M, sizeof *r.pos),
                      gr_calloc(2 * M, C) };
    double n = (double)(M * C * bytes);
    char shape[64];

    if (!r.pos || !r.q)
        abort();
    for (size_t m = 0; m < M; m++)
        r.pos[m] = (int32_t)m;
    snprintf(shape, sizeof shape, "N=%d C=%zu", M, C);
    row(name, shape, 1e-9 * n / seconds(job, &r), "GB/s", copy_speed(M * C * bytes));
    free(r.x);
    free(r.y);
    free(r.w);
    free(r.table);
    free(r.pos);
    free(r.q);
}

int main(void)
{
    static const struct { size_t O, K; } shape[] = { { 960, 576 }, { 576, 576 }, { 3072, 576 }, { 576, 1536 } };
    double peak;

    omp_set_num_threads(1);
    if (gr_device_open(&device, NULL, 1, NULL))
        return 1;
    lane = gr_device_lane(device);
    lane->whole = false;
    puts("cpu,kernel,shape,value,unit,limit,share");
    peak = fma_peak();
    attention(2048, 64, 3, 0, peak);
    attention(512, 64, 3, 0, peak);
    attention(2048, 128, 4, 0, peak);
    attention(2048, 80, 1, 0, peak);
    attention(2048, 256, 4, 512, peak);
    for (size_t i = 0; i < GR_COUNT(shape); i++) {
        size_t O = shape[i].O, K = shape[i].K;
        linear("linear_f32", O, K, GR_F32, GR_LINEAR_F32);
        linear("linear_f32_expanded", O, K, GR_BF16, GR_LINEAR_F32);
        linear("linear_bf16", O, K, GR_BF16, GR_LINEAR_BF16);
        linear("linear_q4_1", O, K, GR_Q4_1, GR_LINEAR_KEEP);
        linear("linear_int8", O, K, GR_F32, GR_LINEAR_INT8);
    }
    moved("rmsnorm_fwd", rmsnorm_job, 576, 8);
    moved("rope_fwd", rope_job, 576, 8);
    moved("rope_fwd interleaved", rope_pairs_job, 576, 8);
    moved("swiglu_fwd", swiglu_job, 1536, 8);
    moved("geglu_fwd", geglu_job, 1536, 8);
    moved("quant_row", quant_job, 576, 6);
    moved("quant16_row", quant16_job, 576, 6);
    moved("dequant_acc", dequant_job, 960, 6);
    return 0;
}
