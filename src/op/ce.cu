/* ce.cu - ce.h on a GPU: a block for each row of logits. Exponents are in float32; what they add up to, and the loss,
 * in double, each in one order. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

GPU_FN float block_top(float x, float *part)
{
    for (int m = 16; m; m /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, m));
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = x;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        x = fmaxf(x, part[i]);
    return x;
}

__global__ void __launch_bounds__(THREADS) ce_exp(gr_mat z, const int32_t *t, double *loss, gr_ce_sum *sum, size_t V)
{
    GPU_SHARED(shared);
    double *part = (double *)shared;
    size_t n = blockIdx.x;
    int64_t target = t[n];
    float top = GPU_MINUS_INF, zt;
    double others = 0;

    if (target < 0) {
        if (threadIdx.x == 0) {
            loss[n] = 0;
            sum[n] = gr_ce_sum{ 0, 0 };
        }
        return;
    }
    zt = gpu_get(z, n, (size_t)target);
    for (size_t v = threadIdx.x; v < V; v += THREADS)
        top = fmaxf(top, gpu_get(z, n, v));
    top = block_top(top, (float *)(part + WARPS));          /* behind its barrier z[t] may be overwritten */
    for (size_t v = threadIdx.x; v < V; v += THREADS) {
        float e = (int64_t)v == target ? 0 : expf(gpu_get(z, n, v) - top);
        others += (double)e;
        gpu_set(z, n, v, e);
    }
    others = gpu_block_sum(others, part);
    if (threadIdx.x == 0) {
        double all = others + exp((double)zt - (double)top);
        loss[n] = log(all) - ((double)zt - (double)top);
        sum[n] = gr_ce_sum{ others, all };
    }
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) ce_slope(gr_mat z, const int32_t *t, const float *wt,
                                                             const gr_ce_sum *sum, size_t N, size_t V)
{
    GPU_EACH(n, v, N, V)
        if (t[n] < 0)
            gpu_set(z, n, v, 0);
        else if ((int64_t)v == t[n])
            gpu_set(z, n, v, (float)((double)wt[n] * (-sum[n].others / sum[n].all)));
        else
            gpu_set(z, n, v, (float)((double)wt[n] / sum[n].all) * gpu_get(z, n, v));
}

/* sum on the device. */
static void fwd(gr_lane *lane, gr_mat z, const int32_t *t, double *loss, gr_ce_sum *sum, size_t N, size_t V)
{
    if (N > 0)
        GPU_RUN(lane, ce_exp, dim3((unsigned)N), dim3(THREADS), WARPS * (sizeof(double) + sizeof(float)), z, t, loss,
                sum, V);
}

static const int32_t *targets(gr_lane *lane, const int32_t *t, size_t N)
{
    return (const int32_t *)gr_cuda_list(lane, t, N * sizeof *t);
}

void gr_ce_fwd_cuda(gr_lane *lane, gr_mat z, const int32_t *t, double *loss, gr_ce_sum *sum, size_t N, size_t V)
{
    double *l = (double *)gr_cuda_result(lane, loss, N * sizeof *l);
    gr_ce_sum *s = (gr_ce_sum *)gr_cuda_result(lane, sum, N * sizeof *s);

    fwd(lane, z, targets(lane, t, N), l, s, N, V);
}

void gr_ce_bwd_cuda(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, const gr_ce_sum *sum, size_t N,
                    size_t V)
{
    const int32_t *to = targets(lane, t, N);
    const float *w = (const float *)gr_cuda_list(lane, wt, N * sizeof *wt);
    const gr_ce_sum *s = (const gr_ce_sum *)gr_cuda_list(lane, sum, N * sizeof *sum);

    GPU_RUN_EACH(lane, ce_slope, N, V, z, to, w, s, N, V);
}

void gr_ce_cuda(gr_lane *lane, gr_mat z, const int32_t *t, const float *wt, double *loss, gr_ce_sum *sum, size_t N,
                size_t V)
{
    double *l = (double *)gr_cuda_result(lane, loss, N * sizeof *l);
    gr_ce_sum *s = (gr_ce_sum *)gr_cuda_result(lane, sum, N * sizeof *s);
    const int32_t *to = targets(lane, t, N);
    const float *w = (const float *)gr_cuda_list(lane, wt, N * sizeof *wt);

    fwd(lane, z, to, l, s, N, V);
    GPU_RUN_EACH(lane, ce_slope, N, V, z, to, w, (const gr_ce_sum *)s, N, V);
}
