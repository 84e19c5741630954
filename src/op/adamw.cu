/* adamw.cu - adamw.h on a GPU: the reference operation for operation. It is compiled without contraction to fused
 * products, as all files are, and division and sqrtf() round as IEEE has it, so the bits are the CPU's. */
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

/* 32 bits that differ in about half their places between neighbours, the upper ones most surely. */
GPU_FN uint32_t chance(uint32_t key, uint32_t at)
{
    uint32_t x = at ^ key;

    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x;
}

GPU_FN float load_as(gr_dtype type, const void *p, size_t i)
{
    return type == GR_F32 ? ((const float *)p)[i] : gpu_f32(((const bf16 *)p)[i]);
}

/* r: below 2^16, of the chance by which a bfloat16 is rounded. */
GPU_FN void store_as(gr_dtype type, void *p, size_t i, float x, uint32_t r)
{
    if (type == GR_F32)
        ((float *)p)[i] = x;
    else
        ((bf16 *)p)[i] = (bf16)((gpu_f32_bits(x) + r) >> 16);
}

/* A slice has blocks of its own, which go through it by turns. */
__global__ void __launch_bounds__(THREADS) step_slices(const gr_adamw_slice *all)
{
    const gr_adamw_slice s = all[blockIdx.x];

    for (size_t i = (size_t)blockIdx.y * THREADS + threadIdx.x; i < s.n; i += (size_t)gridDim.y * THREADS) {
        float m = load_as(s.kept, s.m, i), v = load_as(s.kept, s.v, i);
        float w = step(load_as(s.type, s.w, i), &m, &v, s.g[i], s.rule);
        uint32_t of_w = chance(s.key[0], s.at + (uint32_t)i), of_moments = chance(s.key[1], s.at + (uint32_t)i);
        store_as(s.type, s.w, i, w, of_w >> 16);
        store_as(s.kept, s.m, i, m, of_moments >> 16);
        store_as(s.kept, s.v, i, v, (of_moments + (of_moments >> 16)) & 0xffff);
    }
}

/* A block for each slice. 16 sums, value i in sum i % 16, which are then added in order: all threads bring a tile, of
 * which 16 add. */
__global__ void __launch_bounds__(THREADS) sum_squares(double *out, const gr_squares_slice *all)
{
    GPU_SHARED(shared);
    const float *x = all[blockIdx.x].x;
    size_t n = all[blockIdx.x].n;
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
        double sums = 0;
        for (int i = 0; i < SUMS; i++)
            sums += part[i];
        out[blockIdx.x] = sums;
    }
}

enum { STEP_BLOCKS = 8 };                                   /* of a slice, at most */

void gr_adamw_slices_cuda(gr_lane *lane, const gr_adamw_slice *s, size_t n)
{
    const gr_adamw_slice *list = n ? (const gr_adamw_slice *)gr_cuda_list(lane, s, n * sizeof *s) : NULL;
    size_t most = 1;

    for (size_t i = 0; i < n; i++)
        most = s[i].n > most ? s[i].n : most;
    if (n > 0)
        GPU_RUN(lane, step_slices, dim3((unsigned)n, (unsigned)gr_min(gpu_blocks(most, THREADS), STEP_BLOCKS)),
                dim3(THREADS), 0, list);
}

void gr_squares_slices_cuda(gr_lane *lane, const gr_squares_slice *s, size_t n, double *out)
{
    double *sums = n ? (double *)gr_cuda_result(lane, out, n * sizeof *out) : NULL;
    const gr_squares_slice *list = n ? (const gr_squares_slice *)gr_cuda_list(lane, s, n * sizeof *s) : NULL;

    if (n > 0)
        GPU_RUN(lane, sum_squares, dim3((unsigned)n), dim3(THREADS), TILE * sizeof(float) + SUMS * sizeof(double), sums,
                list);
}
