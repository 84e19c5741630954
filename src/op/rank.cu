/* rank.cu - rank.h on a GPU: a thread adds what goes to its number, one rank after the other. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

__global__ void __launch_bounds__(GPU_EACH_THREADS) rank_sum(float *y, const float *came, size_t ld, size_t own,
                                                             size_t P, size_t N, size_t C, size_t n)
{
    GPU_EACH(row, col, N, C) {
        size_t i = row * C + col;
        if (i < n) {
            float sum = own ? came[i] : y[i];
            for (size_t p = 1; p < P; p++)
                sum += p == own ? y[i] : came[p * ld + i];
            y[i] = sum;
        }
    }
}

void gr_rank_sum_cuda(gr_lane *lane, float *y, const float *came, size_t ld, size_t own, size_t P, size_t n)
{
    size_t C = GPU_EACH_COLS, N = (n + C - 1) / C;

    GPU_RUN_EACH(lane, rank_sum, N, C, y, came, ld, own, P, N, C, n);
}
