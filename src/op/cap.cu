/* cap.cu - cap.h on a GPU: each thread has a number. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

__global__ void __launch_bounds__(GPU_EACH_THREADS) logits_cap(gr_mat y, gr_mat x, float cap, size_t N, size_t V)
{
    GPU_EACH(n, v, N, V)
        gpu_set(y, n, v, cap * tanhf(gpu_get(x, n, v) / cap));
}

__global__ void __launch_bounds__(GPU_EACH_THREADS) logits_cap_bwd(gr_mat d, gr_mat y, float cap, size_t N, size_t V)
{
    GPU_EACH(n, v, N, V) {
        float t = gpu_get(y, n, v) / cap;
        gpu_set(d, n, v, gpu_get(d, n, v) * (1 - t * t));
    }
}

void gr_cap_fwd_cuda(gr_lane *lane, gr_mat y, gr_mat x, float cap, size_t N, size_t V)
{
    GPU_RUN_EACH(lane, logits_cap, N, V, y, x, cap, N, V);
}

void gr_cap_bwd_cuda(gr_lane *lane, gr_mat d, gr_mat y, float cap, size_t N, size_t V)
{
    GPU_RUN_EACH(lane, logits_cap_bwd, N, V, d, y, cap, N, V);
}
