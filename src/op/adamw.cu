/* adamw.cu - adamw.h on a GPU: the reference operation for operation. It is compiled without contraction to fused
 * products, and division and sqrtf() round as IEEE has it, so the bits are the CPU's. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

enum { THREADS = 256, SUMS = 16, TILE = 4096 };

GPU_FN float step(float w, float *m, float *v, float g, const gr_adamw_rule &r)
{
    float x = g * r.scale;

    *m += (x - *m) * r.b1;
    *v = *v * r.b2 + r.c2 * x * x;
    return w * r.keep - r.size * *m / (sqrtf(*v) / r.root + r.eps);
}

__global__ void __launch_bounds__(THREADS) step_f32(float *w, float *m, float *v, const float *g, size_t n,
                                                    gr_adamw_rule r)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n)
        w[i] = step(w[i], m + i, v + i, g[i], r);
}

/* 16 bits that differ in about half their places between neighbours. */
GPU_FN uint32_t chance(uint32_t key, uint32_t at)
{
    uint32_t x = at ^ key;

    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x >> 16;
}

__global__ void __launch_bounds__(THREADS) step_bf16(bf16 *w, float *m, float *v, const float *g, size_t n,
                                                     gr_adamw_rule r, uint32_t key, uint32_t at)
{
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;

    if (i < n) {
        float x = step(gpu_f32(w[i]), m + i, v + i, g[i], r);
        w[i] = (bf16)((gpu_f32_bits(x) + chance(key, at + (uint32_t)i)) >> 16);
    }
}

/* 16 sums, value i in sum i % 16, which are then added in order: all threads bring a tile, of which 16 add. */
__global__ void __launch_bounds__(THREADS) sum_squares(double *out, const float *x, size_t n)
{
    GPU_SHARED(shared);
    float *tile = (float *)shared;
    double sum = 0, *part = (double *)(tile + TILE);

    for (size_t at = 0; at < n; at += TILE) {
        size_t some = gpu_least(n - at, TILE);
        __syncthreads();                                    /* the tile before has been added */
        for (size_t i = threadIdx.x; i < some; i += THREADS)
            tile[i] = x[at + i];
        __syncthreads();
        for (size_t i = threadIdx.x; threadIdx.x < SUMS && i < some; i += SUMS)
            sum += (double)tile[i] * (double)tile[i];
    }
    if (threadIdx.x < SUMS)
        part[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        double all = 0;
        for (int i = 0; i < SUMS; i++)
            all += part[i];
        *out = all;
    }
}

void gr_adamw_f32_cuda(gr_lane *lane, float *w, float *m, float *v, const float *g, size_t n, const gr_adamw_rule *r)
{
    gr_adamw_rule rule = *r;

    if (n > 0)
        GPU_RUN(lane, step_f32, dim3(gpu_blocks(n, THREADS)), dim3(THREADS), 0, w, m, v, g, n, rule);
}

void gr_adamw_bf16_cuda(gr_lane *lane, uint16_t *w, float *m, float *v, const float *g, size_t n,
                        const gr_adamw_rule *r,
                        uint32_t key, uint32_t at)
{
    gr_adamw_rule rule = *r;

    if (n > 0)
        GPU_RUN(lane, step_bf16, dim3(gpu_blocks(n, THREADS)), dim3(THREADS), 0, w, m, v, g, n, rule, key, at);
}

void gr_squares_cuda(gr_lane *lane, const float *x, size_t n, double *out)
{
    double *sum = (double *)gr_cuda_result(lane, out, sizeof *sum);

    GPU_RUN(lane, sum_squares, dim3(1), dim3(THREADS), TILE * sizeof(float) + SUMS * sizeof(double), sum, x, n);
}
