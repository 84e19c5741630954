/* bench_gemm.c - how fast oneDNN alone multiplies the products of one layer: the limit of every forward pass.
 *
 *     bench_gemm THREADS WIDTH Q KV HIDDEN [f32]      one line of JSON, GFLOP/s (GOP/s) of all threads together
 *
 * Q, K, V, O, gate, up and down are multiplied in turn, activations [M,K] and weights in the layout that oneDNN itself
 * asks for. tile: every thread multiplies 96 rows of its own by one-threaded calls, as gram does. large: all
 * threads share calls of 2,048 rows. No sum of products can be finished faster than the better of the two. */
#include <dnnl.h>
#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define TRY(call) do { if ((call) != dnnl_success) { fprintf(stderr, "bench_gemm: %s\n", #call); exit(1); } } while (0)

enum { TILE = 96, LARGE = 2048, ROUNDS = 5 };

struct product { long M, K, N; };
struct job {
    dnnl_primitive_t prim;
    dnnl_exec_arg_t arg[3];
};

static dnnl_engine_t engine;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static dnnl_memory_t memory(const dnnl_memory_desc_t *md)
{
    size_t n = dnnl_memory_desc_get_size(md);
    unsigned char *p = aligned_alloc(64, (n + 63) / 64 * 64);
    dnnl_memory_t m;

    if (!p)
        exit(1);
    if (md->data_type == dnnl_f32)
        for (size_t i = 0; i < n / sizeof(float); i++)
            ((float *)(void *)p)[i] = (float)(i % 61) / 61 - 0.5f;
    else
        for (size_t i = 0; i < n; i++)
            p[i] = (unsigned char)(i % 61);
    TRY(dnnl_memory_create(&m, md, engine, p));
    return m;
}

static struct job prepare(struct product p, int int8)
{
    dnnl_memory_desc_t x, w, y;
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;
    struct job j;

    TRY(dnnl_memory_desc_init_by_tag(&x, 2, (dnnl_dims_t){ p.M, p.K }, int8 ? dnnl_u8 : dnnl_f32, dnnl_ab));
    TRY(dnnl_memory_desc_init_by_tag(&w, 2, (dnnl_dims_t){ p.K, p.N }, int8 ? dnnl_s8 : dnnl_f32,
                                     dnnl_format_tag_any));
    TRY(dnnl_memory_desc_init_by_tag(&y, 2, (dnnl_dims_t){ p.M, p.N }, int8 ? dnnl_s32 : dnnl_f32, dnnl_ab));
    TRY(dnnl_matmul_desc_init(&desc, &x, &w, NULL, &y));
    TRY(dnnl_primitive_desc_create(&pd, &desc, NULL, engine, NULL));
    TRY(dnnl_primitive_create(&j.prim, pd));
    j.arg[0] = (dnnl_exec_arg_t){ DNNL_ARG_SRC, memory(&x) };
    w = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    j.arg[1] = (dnnl_exec_arg_t){ DNNL_ARG_WEIGHTS, memory(&w) };
    j.arg[2] = (dnnl_exec_arg_t){ DNNL_ARG_DST, memory(&y) };
    dnnl_primitive_desc_destroy(pd);
    return j;
}

struct crew {
    const struct product *p;
    size_t n;
    int int8, inner, loops;     /* inner: threads that one call of oneDNN may use */
    pthread_barrier_t start, stop;
};

/* One copy of the layer, multiplied when all are ready. The process ends soon after, so nothing is freed. */
static void *work(void *arg)
{
    struct crew *c = arg;
    struct job j[16];
    dnnl_stream_t stream;

    omp_set_num_threads(c->inner);
    TRY(dnnl_stream_create(&stream, engine, dnnl_stream_default_flags));
    for (size_t i = 0; i < c->n; i++)
        j[i] = prepare(c->p[i], c->int8);
    for (int r = 0; r < ROUNDS; r++) {
        pthread_barrier_wait(&c->start);
        for (int l = 0; l < c->loops; l++)
            for (size_t i = 0; i < c->n; i++)
                TRY(dnnl_primitive_execute(j[i].prim, stream, 3, j[i].arg));
        TRY(dnnl_stream_wait(stream));
        pthread_barrier_wait(&c->stop);
    }
    return NULL;
}

/* 10^9 operations a second of `copies` of the layer at once, the best of a few rounds. */
static double rate(const struct product *layer, size_t n, long M, int int8, int copies, int inner)
{
    struct product p[16];
    struct crew c = { .p = p, .n = n, .int8 = int8, .inner = inner };
    double best = 0, ops = 0;
    pthread_t t;

    for (size_t i = 0; i < n; i++) {
        p[i] = (struct product){ M, layer[i].K, layer[i].N };
        ops += 2.0 * (double)M * (double)p[i].K * (double)p[i].N;
    }
    c.loops = (int)(2e10 / ops) + 1;
    pthread_barrier_init(&c.start, NULL, (unsigned)copies + 1);
    pthread_barrier_init(&c.stop, NULL, (unsigned)copies + 1);
    for (int i = 0; i < copies; i++)
        if (pthread_create(&t, NULL, work, &c) || pthread_detach(t))
            exit(1);
    for (int r = 0; r < ROUNDS; r++) {
        double t0, speed;
        pthread_barrier_wait(&c.start);
        t0 = now();
        pthread_barrier_wait(&c.stop);
        speed = copies * c.loops * ops / (now() - t0) * 1e-9;
        best = speed > best ? speed : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    int threads = argc == 6 || argc == 7 ? atoi(argv[1]) : 0;
    long C, Q, KV, H;

    if (threads < 1) {
        fprintf(stderr, "bench_gemm THREADS WIDTH Q KV HIDDEN [f32]\n");
        return 2;
    }
    C = atol(argv[2]), Q = atol(argv[3]), KV = atol(argv[4]), H = atol(argv[5]);
    const struct product p[] = { { 0, C, Q }, { 0, C, KV }, { 0, C, KV }, { 0, Q, C }, { 0, C, H }, { 0, C, H },
                                 { 0, H, C } };
    TRY(dnnl_engine_create(&engine, dnnl_cpu, 0));
    printf("{\"f32_tile\": %.1f, ", rate(p, COUNT(p), TILE, 0, threads, 1));
    printf("\"f32_large\": %.1f", rate(p, COUNT(p), LARGE, 0, 1, threads));
    if (argc == 7) {
        puts("}");
        return 0;
    }
    printf(", \"int8_tile\": %.1f, ", rate(p, COUNT(p), TILE, 1, threads, 1));
    printf("\"int8_large\": %.1f}\n", rate(p, COUNT(p), LARGE, 1, 1, threads));
    return 0;
}
