/* bench_gpu.c - products on a GPU: a row's bits in any number of rows, and TFLOP/s, one JSON object.
 *
 *     bench_gpu [DEVICE [SECONDS [TYPE]]]         cuda:0, 0.2 s a measurement, and both f32 and bf16
 *
 * The shapes are the weights of Qwen3-0.6B, 1.7B and 8B. Bits: forward and dx of rows that stand at the beginning, in
 * the middle and at the end of 128 to 16,384 rows, against the same row in 128. TFLOP/s: of 2 M N K operations.
 * Rows are of the type that a model's have between such products. */
#include "on_device.h"
#include "op/matmul.h"

enum { UNIT = 128, MOST = 16384 };
static const struct { const char *of; size_t N, K; } shape[] = {
    { "Qwen3-0.6B q", 2048, 1024 }, { "Qwen3-0.6B k", 1024, 1024 }, { "Qwen3-0.6B down", 1024, 3072 },
    { "Qwen3-1.7B gate", 6144, 2048 }, { "Qwen3-1.7B down", 2048, 6144 }, { "Qwen3-8B q", 4096, 4096 },
    { "Qwen3-8B gate", 12288, 4096 }, { "Qwen3-8B down", 4096, 12288 },
};
static const size_t rows[] = { 128, 256, 384, 1024, 2048, 4096, 8192, MOST };
static const struct { const char *name; gr_linear_mode mode; } kind[] = { { "f32", GR_LINEAR_F32 },
                                                                         { "bf16", GR_LINEAR_ROUNDED } };
struct job { const gr_linear *l; void *x, *y; gr_dtype type; size_t N, K, M; bool back; };

static void multiply(const void *arg)
{
    const struct job *j = arg;
    gr_lane *lane = gr_device_lane(device);
    gr_mat x = gr_mat_of(j->x, j->K, j->type), y = gr_mat_of(j->y, j->N, j->type);

    if (j->back)
        gr_linear_dx(lane, j->l, x, y, j->M, false);
    else
        gr_linear_fwd(lane, j->l, y, x, j->M);
}

/* Whether the row of `from` has the bits of `want` at three places of M rows. */
static bool same(struct job *j, const void *row, const void *want)
{
    size_t each = gr_dtype_bytes(j->type), in = (j->back ? j->N : j->K) * each, out = (j->back ? j->K : j->N) * each;
    char *from = j->back ? j->y : j->x, *to = j->back ? j->x : j->y, *got = malloc(out);
    bool ok = got;

    for (size_t k = 0; k < 3 && got; k++)
        gr_device_put(device, from + k * (j->M - 1) / 2 * in, row, in);
    multiply(j);
    wait();
    for (size_t k = 0; k < 3 && got; k++) {
        gr_device_get(device, got, to + k * (j->M - 1) / 2 * out, out);
        ok = ok && !memcmp(got, want, out);
    }
    free(got);
    return ok;
}

/* Numbers of rows in which a row has other bits than in 128, and of how many. */
static size_t other_bits(struct job j, const float *values)
{
    size_t in = j.back ? j.N : j.K, out = (j.back ? j.K : j.N) * gr_dtype_bytes(j.type), other = 0;
    void *want = malloc(out), *row = as_rows(j.type, values, in);

    if (!want)
        exit(1);
    j.M = UNIT;
    gr_device_put(device, j.back ? j.y : j.x, row, in * gr_dtype_bytes(j.type));
    multiply(&j);
    wait();
    gr_device_get(device, want, j.back ? j.x : j.y, out);
    for (size_t i = 0; i < GR_COUNT(rows); i++) {
        j.M = rows[i];
        other += !same(&j, row, want);
    }
    free(want);
    free(row);
    return other;
}

static double tflops(const struct job *j)
{
    return 2e-12 * (double)j->M * (double)j->N * (double)j->K / seconds(multiply, j);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "cuda:0";
    size_t behind = 0;
    gram_err err;

    limit = argc > 2 ? atof(argv[2]) : limit;
    check(gr_device_open(&device, name, 0, &err), &err);
    printf("{\"device\": \"%s\", \"products\": [", name);
    for (size_t s = 0; s < GR_COUNT(shape); s++)
        for (size_t k = 0; k < GR_COUNT(kind); k++) {
            size_t N = shape[s].N, K = shape[s].K;
            if (argc > 3 && strcmp(argv[3], kind[k].name))
                continue;
            float *w = drawn(N * K, 1), *row = drawn(gr_max(N, K), 2);
            gr_dtype rows_of = gr_linear_rows(device, kind[k].mode);
            struct job j = { .x = matrix(MOST, K, rows_of).p, .y = matrix(MOST, N, rows_of).p, .type = rows_of, .N = N,
                             .K = K };
            gr_linear *l;
            check(gr_linear_open(&l, device, &(gr_tensor){ GR_F32, w, N, K }, NULL, kind[k].mode, &err), &err);
            j.l = l;
            printf("%s\n  {\"of\": \"%s\", \"N\": %zu, \"K\": %zu, \"dtype\": \"%s\"", behind++ ? "," : "",
                   shape[s].of, N, K, kind[k].name);
            for (j.back = false; ; j.back = true) {
                printf(", \"%s\": {\"other_bits\": %zu, \"of\": %zu", j.back ? "dx" : "forward", other_bits(j, row),
                       GR_COUNT(rows));
                for (j.M = 2048; j.M <= MOST; j.M *= 8)
                    printf(", \"tflops_%zu\": %.1f", j.M, tflops(&j));
                printf("}");
                if (j.back)
                    break;
            }
            printf("}");
            fflush(stdout);
            gr_linear_close(l);
            gr_device_free(device, j.x);
            gr_device_free(device, j.y);
            free(w);
            free(row);
        }
    printf("\n]}\n");
    gr_device_close(device);
    return 0;
}
