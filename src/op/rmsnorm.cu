/* rmsnorm.cu - rmsnorm.h on a GPU. A row's sum is made in one order, which follows from its width alone: narrow rows,
 * as heads are, by a warp, wide ones by a block. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

enum { WIDE = 1024, THREADS = 256, WARPS = THREADS / 32 };

/* Where a row is: which, and what of it is the thread's. ROW_WARPS warps have a row. */
template <int ROW_WARPS> GPU_FN size_t row_of(void)
{
    return ROW_WARPS == 1 ? (size_t)blockIdx.x * WARPS + threadIdx.x / 32 : blockIdx.x;
}

template <int ROW_WARPS> GPU_FN float row_sum(float x, float *part)
{
    return ROW_WARPS == 1 ? gpu_warp_sum(x) : gpu_block_sum(x, part);
}

/* ADD: x is a + b first, each number by the thread that reads it afterwards. */
template <int ROW_WARPS, bool ADD>
__global__ void __launch_bounds__(THREADS) norm_fwd(gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b, gr_norm norm,
                                                    size_t N)
{
    GPU_SHARED(shared);
    size_t n = row_of<ROW_WARPS>(), first = threadIdx.x % (32 * ROW_WARPS);
    float sum = 0;

    for (size_t c = first; n < N && c < norm.C; c += 32 * ROW_WARPS) {
        if (ADD)
            gpu_set(x, n, c, gpu_get(a, n, c) + gpu_get(b, n, c));
        float v = gpu_get(x, n, c);
        sum += v * v;
    }
    sum = row_sum<ROW_WARPS>(sum, (float *)shared);
    float rn = 1 / sqrtf(sum / (float)norm.C + norm.eps);
    if (r && n < N && first == 0)
        r[n] = rn;
    for (size_t c = first; n < N && c < norm.C; c += 32 * ROW_WARPS)
        gpu_set(y, n, c, gpu_get(x, n, c) * rn * (norm.w[c] + norm.bias));
}

/* y may be x: a thread reads its numbers, and has been through the sum, before it writes them. */
template <int ROW_WARPS>
__global__ void __launch_bounds__(THREADS) norm_dx(gr_mat dx, gr_mat dy, gr_mat x, const float *r, gr_norm norm,
                                                   size_t N, bool sum)
{
    GPU_SHARED(shared);
    size_t n = row_of<ROW_WARPS>(), first = threadIdx.x % (32 * ROW_WARPS);
    float gx = 0;

    for (size_t c = first; n < N && c < norm.C; c += 32 * ROW_WARPS)
        gx += gpu_get(dy, n, c) * (norm.w[c] + norm.bias) * gpu_get(x, n, c);
    gx = row_sum<ROW_WARPS>(gx, (float *)shared);
    if (n >= N)
        return;
    float rn = r[n];
    gx = gx / (float)norm.C * rn * rn;
    for (size_t c = first; c < norm.C; c += 32 * ROW_WARPS) {
        float d = rn * (gpu_get(dy, n, c) * (norm.w[c] + norm.bias) - gpu_get(x, n, c) * gx);
        gpu_set(dx, n, c, sum ? gpu_get(dx, n, c) + d : d);
    }
}

/* dw: a thread for each channel and slice of SLICE rows. The first slice adds to dw itself, row by row, the others make
 * sums of their own, which are added in their order. */
enum { SLICE = 256 };

__global__ void __launch_bounds__(THREADS) norm_dw(float *dw, float *part, gr_mat dy, gr_mat x, const float *r,
                                                   size_t N, size_t C)
{
    size_t c = (size_t)blockIdx.x * THREADS + threadIdx.x, slice = blockIdx.y;
    size_t first = slice * SLICE, end = gpu_least(N, first + SLICE);

    if (c >= C)
        return;
    float sum = slice ? 0 : dw[c];
    for (size_t n = first; n < end; n++)
        sum += gpu_get(dy, n, c) * (gpu_get(x, n, c) * r[n]);
    if (slice)
        part[(slice - 1) * C + c] = sum;
    else
        dw[c] = sum;
}

__global__ void __launch_bounds__(THREADS) norm_dw_sum(float *dw, const float *part, size_t slices, size_t C)
{
    size_t c = (size_t)blockIdx.x * THREADS + threadIdx.x;

    for (size_t s = 0; c < C && s + 1 < slices; s++)
        dw[c] += part[s * C + c];
}

template <bool ADD> static void run_fwd(gr_lane *lane, gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b,
                                        const gr_norm *norm, size_t N)
{
    auto narrow = norm_fwd<1, ADD>, wide = norm_fwd<WARPS, ADD>;
    gr_norm args = *norm;

    if (N > 0 && norm->C < WIDE)
        GPU_RUN(lane, narrow, dim3(gpu_blocks(N, WARPS)), dim3(THREADS), 0, y, r, x, a, b, args, N);
    else if (N > 0)
        GPU_RUN(lane, wide, dim3((unsigned)N), dim3(THREADS), WARPS * sizeof(float), y, r, x, a, b, args, N);
}

void gr_rmsnorm_fwd_cuda(gr_lane *lane, gr_mat y, float *r, gr_mat x, const gr_norm *norm, size_t N)
{
    run_fwd<false>(lane, y, r, x, x, x, norm, N);
}

void gr_add_norm_cuda(gr_lane *lane, gr_mat y, float *r, gr_mat x, gr_mat a, gr_mat b, const gr_norm *norm, size_t N)
{
    run_fwd<true>(lane, y, r, x, a, b, norm, N);
}

static void add_dw(gr_lane *lane, float *dw, gr_mat dy, gr_mat x, const float *r, size_t N, size_t C)
{
    size_t slices = (N + SLICE - 1) / SLICE, mark = gr_lane_mark(lane);
    float *part = slices > 1 ? (float *)gr_lane_bytes(lane, (slices - 1) * C * sizeof *part) : NULL;

    GPU_RUN(lane, norm_dw, dim3(gpu_blocks(C, THREADS), (unsigned)slices), dim3(THREADS), 0, dw, part, dy, x, r, N, C);
    if (slices > 1)
        GPU_RUN(lane, norm_dw_sum, dim3(gpu_blocks(C, THREADS)), dim3(THREADS), 0, dw, (const float *)part, slices, C);
    gr_lane_give_back(lane, mark);
}

/* dw first, for dx may be dy. */
void gr_rmsnorm_bwd_cuda(gr_lane *lane, gr_mat dx, float *dw, gr_mat dy, gr_mat x, const float *r, const gr_norm *norm,
                         size_t N, bool sum)
{
    gr_norm args = *norm;

    if (N == 0)
        return;
    if (dw)
        add_dw(lane, dw, dy, x, r, N, norm->C);
    if (norm->C < WIDE)
        GPU_RUN(lane, norm_dx<1>, dim3(gpu_blocks(N, WARPS)), dim3(THREADS), 0, dx, dy, x, r, args, N, sum);
    else
        GPU_RUN(lane, norm_dx<WARPS>, dim3((unsigned)N), dim3(THREADS), WARPS * sizeof(float), dx, dy, x, r, args, N,
                sum);
}
