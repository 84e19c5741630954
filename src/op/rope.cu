/* rope.cu - rope.h on a GPU: a thread for each pair, with the operations of the reference one by one and so its
 * bits. */
#include "op/gpu.cuh"
#include "op/gpu_int.h"

/* way is 1 to turn by the angle, -1 to turn back. */
__global__ void __launch_bounds__(GPU_EACH_THREADS) rope_turn(gr_mat x, const int32_t *pos, const float *table,
                                                              size_t N, size_t H, size_t D, size_t R,
                                                              bool interleaved, float way)
{
    size_t half = R / 2, step = interleaved ? 2 : 1, apart = interleaved ? 1 : half;

    GPU_EACH(n, pair, N, H * half) {
        size_t i = pair % half, a = pair / half * D + i * step, b = a + apart;
        float cos = table[(size_t)pos[n] * R + i], sin = way * table[(size_t)pos[n] * R + half + i];
        float xa = gpu_get(x, n, a), xb = gpu_get(x, n, b);
        gpu_set(x, n, a, xa * cos - xb * sin);
        gpu_set(x, n, b, xa * sin + xb * cos);
    }
}

static void turn(gr_lane *lane, gr_mat x, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                 size_t R, bool interleaved, float way)
{
    const int32_t *list = (const int32_t *)gr_cuda_list(lane, pos, N * sizeof *pos);

    GPU_RUN_EACH(lane, rope_turn, N, H * (R / 2), x, list, table, N, H, D, R, interleaved, way);
}

void gr_rope_fwd_cuda(gr_lane *lane, gr_mat x, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                      size_t R, bool interleaved)
{
    turn(lane, x, pos, table, N, H, D, R, interleaved, 1);
}

void gr_rope_bwd_cuda(gr_lane *lane, gr_mat dx, const int32_t *pos, const float *table, size_t N, size_t H, size_t D,
                      size_t R, bool interleaved)
{
    turn(lane, dx, pos, table, N, H, D, R, interleaved, -1);
}
