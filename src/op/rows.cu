/* rows.cu - rows.h on a GPU: a number each. What is added up in order (scatter, unembed) is grouped by the row that it
 * goes to, on the host, so that a thread adds what goes to its number one after the other. */
#include <stdlib.h>
#include "op/gpu.cuh"
#include "op/gpu_int.h"

__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_add(gr_mat y, gr_mat a, gr_mat b, size_t N, size_t C)
{
    GPU_EACH(n, c, N, C)
        gpu_set(y, n, c, gpu_get(a, n, c) + gpu_get(b, n, c));
}

void gr_add_cuda(gr_lane *lane, gr_mat y, gr_mat a, gr_mat b, size_t N, size_t C)
{
    GPU_RUN_EACH(lane, rows_add, N, C, y, a, b, N, C);
}

/* y[n] = x[from[n]], or y[to[n]] = x[n]. Where from or to is NULL, n stands for itself. */
__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_move(gr_mat y, const size_t *to, gr_mat x, const size_t *from,
                                                              size_t N, size_t C)
{
    GPU_EACH(n, c, N, C)
        gpu_set(y, to ? to[n] : n, c, gpu_get(x, from ? from[n] : n, c));
}

void gr_copy_cuda(gr_lane *lane, gr_mat y, gr_mat x, size_t N, size_t C)
{
    GPU_RUN_EACH(lane, rows_move, N, C, y, (const size_t *)NULL, x, (const size_t *)NULL, N, C);
}

void gr_gather_cuda(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    const size_t *from = (const size_t *)gr_cuda_list(lane, row, N * sizeof *row);

    GPU_RUN_EACH(lane, rows_move, N, C, y, (const size_t *)NULL, x, from, N, C);
}

void gr_place_cuda(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    const size_t *to = (const size_t *)gr_cuda_list(lane, row, N * sizeof *row);

    GPU_RUN_EACH(lane, rows_move, N, C, y, to, x, (const size_t *)NULL, N, C);
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_zero(gr_mat y, size_t N, size_t C)
{
    GPU_EACH(n, c, N, C)
        gpu_set(y, n, c, 0);
}

void gr_zero_cuda(gr_lane *lane, gr_mat y, size_t N, size_t C)
{
    GPU_RUN_EACH(lane, rows_zero, N, C, y, N, C);
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_scale(gr_mat y, float s, size_t N, size_t C)
{
    GPU_EACH(n, c, N, C)
        gpu_set(y, n, c, gpu_get(y, n, c) * s);
}

void gr_scale_cuda(gr_lane *lane, gr_mat y, float s, size_t N, size_t C)
{
    GPU_RUN_EACH(lane, rows_scale, N, C, y, s, N, C);
}

/* ---- Sums by rows ---------------------------------------------------------------------------------- */

/* The rows of y that something goes to: group g is x's rows order[from[g]] .. order[from[g + 1] - 1], for to[g]. */
struct groups { size_t n; const size_t *to, *from, *order; };

struct target { size_t to, n; };

static int by_target(const void *a, const void *b)
{
    const struct target *x = (const struct target *)a, *y = (const struct target *)b;

    return x->to != y->to ? (x->to < y->to ? -1 : 1) : x->n < y->n ? -1 : x->n > y->n;
}

/* t is sorted here. Lists on the device; n is 0 where there was no memory, which the lane says. */
static struct groups group(gr_lane *lane, struct target *t, size_t N)
{
    size_t *to = (size_t *)calloc(3 * N + 1, sizeof *to), *from = to + N, *order = from + N + 1;
    struct groups g = { 0, NULL, NULL, NULL };

    if (!to) {
        gr_cuda_refuse(lane, "rows: out of memory for a list of rows");
        return g;
    }
    qsort(t, N, sizeof *t, by_target);
    for (size_t i = 0; i < N; i++) {
        if (i == 0 || t[i].to != t[i - 1].to) {
            to[g.n] = t[i].to;
            from[g.n++] = i;
        }
        order[i] = t[i].n;
    }
    from[g.n] = N;
    g.to = (const size_t *)gr_cuda_list(lane, to, (3 * N + 1) * sizeof *to);
    g.from = g.to ? g.to + N : NULL;
    g.order = g.to ? g.from + N + 1 : NULL;
    free(to);
    return g;
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_sum(gr_mat y, gr_mat x, struct groups g, float scale, size_t C)
{
    GPU_EACH(i, c, g.n, C) {
        float sum = gpu_get(y, g.to[i], c);
        for (size_t k = g.from[i]; k < g.from[i + 1]; k++)
            sum += scale * gpu_get(x, g.order[k], c);
        gpu_set(y, g.to[i], c, sum);
    }
}

static void sum_rows(gr_lane *lane, gr_mat y, gr_mat x, struct target *t, float scale, size_t N, size_t C)
{
    struct groups g;

    if (N > 0) {
        g = group(lane, t, N);
        GPU_RUN_EACH(lane, rows_sum, g.n, C, y, x, g, scale, C);
    }
    free(t);
}

static struct target *targets(gr_lane *lane, const size_t *row, const int32_t *token, size_t N)
{
    struct target *t = (struct target *)calloc(N + 1, sizeof *t);

    if (!t)
        gr_cuda_refuse(lane, "rows: out of memory for a list of rows");
    for (size_t n = 0; t && n < N; n++)
        t[n] = (struct target){ row ? row[n] : (size_t)token[n], n };
    return t;
}

void gr_scatter_cuda(gr_lane *lane, gr_mat y, gr_mat x, const size_t *row, size_t N, size_t C)
{
    struct target *t = targets(lane, row, NULL, N);

    if (t)
        sum_rows(lane, y, x, t, 1, N, C);
}

void gr_unembed_cuda(gr_lane *lane, gr_mat table, gr_mat y, const int32_t *token, float scale, size_t N, size_t C)
{
    struct target *t = targets(lane, NULL, token, N);

    if (t)
        sum_rows(lane, table, y, t, scale, N, C);
}

/* ---- Embedding ------------------------------------------------------------------------------------- */

GPU_FN float from_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 0x3ff;

    if (e == 0)                                             /* zero, or m 2^-24 */
        return (sign ? -1.0f : 1.0f) * ((float)m * 0x1p-24f);
    return gpu_bits_f32(sign | (e == 31 ? 255 : e + 112) << 23 | m << 13);
}

GPU_FN float table_at(const void *table, gr_dtype type, size_t at)
{
    switch (type) {
    case GR_F32: return ((const float *)table)[at];
    case GR_F16: return from_f16(((const uint16_t *)table)[at]);
    default:     return gpu_f32(((const bf16 *)table)[at]);
    }
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) rows_embed(gr_mat y, const void *table, gr_dtype type,
                                                               const int32_t *token, float scale, size_t N, size_t C)
{
    GPU_EACH(n, c, N, C)
        gpu_set(y, n, c, scale * table_at(table, type, (size_t)token[n] * C + c));
}

void gr_embed_cuda(gr_lane *lane, gr_mat y, const gr_tensor *table, const int32_t *token, float scale, size_t N)
{
    const int32_t *list = (const int32_t *)gr_cuda_list(lane, token, N * sizeof *token);

    if (table->type != GR_F32 && table->type != GR_F16 && table->type != GR_BF16)
        gr_cuda_refuse(lane, "embeddings on a GPU are F32, F16 or BF16: tables in blocks are expanded first");
    GPU_RUN_EACH(lane, rows_embed, N, table->cols, y, table->data, table->type, list, scale, N, table->cols);
}
