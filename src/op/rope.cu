/* rope.cu - rope.h on a GPU: a thread for each pair, with the operations of the reference one by one and so its bits;
 * and with the norm of each head before it, whose bits are those of rmsnorm.cu's. */
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

enum { HEADS_THREADS = 256, HEADS_WARPS = HEADS_THREADS / 32 };

/* A warp has a head, whose numbers meet their other halves in shared memory. */
__global__ void __launch_bounds__(HEADS_THREADS) norm_and_turn(gr_mat y, gr_mat x, gr_heads h, size_t N)
{
    GPU_SHARED(shared);
    size_t task = (size_t)blockIdx.x * HEADS_WARPS + threadIdx.x / 32, n = task / h.H, head = task % h.H;
    size_t half = h.R / 2, lane = threadIdx.x % 32;
    float *at = (float *)shared + threadIdx.x / 32 * h.D, sum = 0;
    bool there = n < N;

    for (size_t d = lane; there && d < h.D; d += 32) {
        at[d] = gpu_get(x, n, head * h.D + d);
        sum += at[d] * at[d];
    }
    sum = gpu_warp_sum(sum);
    float rn = 1 / sqrtf(sum / (float)h.D + h.norm.eps);
    if (h.r && there && lane == 0)
        h.r[task] = rn;
    for (size_t d = lane; there && d < h.D; d += 32)
        at[d] = at[d] * rn * (h.norm.w[d] + h.norm.bias);
    __syncwarp();
    for (size_t d = lane; there && d < h.D; d += 32) {
        if (d >= h.R) {
            gpu_set(y, n, head * h.D + d, at[d]);
            continue;
        }
        size_t i = h.interleaved ? d / 2 : d % half, a = h.interleaved ? 2 * i : i;
        size_t b = h.interleaved ? a + 1 : i + half;
        float cos = h.table[(size_t)h.pos[n] * h.R + i], sin = h.table[(size_t)h.pos[n] * h.R + half + i];
        gpu_set(y, n, head * h.D + d, d == a ? at[a] * cos - at[b] * sin : at[a] * sin + at[b] * cos);
    }
}

void gr_heads_fwd_cuda(gr_lane *lane, gr_mat y, gr_mat x, const gr_heads *h, size_t N)
{
    gr_heads on = *h;
    size_t C = h->norm.C;

    if (N > 0 && h->norm.w && h->table && C == h->D && C <= 256) {
        on.pos = (const int32_t *)gr_cuda_list(lane, h->pos, N * sizeof *h->pos);
        GPU_RUN(lane, norm_and_turn, dim3(gpu_blocks(N * h->H, HEADS_WARPS)), dim3(HEADS_THREADS),
                HEADS_WARPS * C * sizeof(float), y, x, on, N);
        return;
    }
    if (h->norm.w)
        gr_rmsnorm_fwd_cuda(lane, gr_mat{ y.p, C, y.type }, h->r, gr_mat{ x.p, C, x.type }, &h->norm,
                            N * (h->H * h->D / C));
    if (h->table)
        gr_rope_fwd_cuda(lane, y, h->pos, h->table, N, h->H, h->D, h->R, h->interleaved);
}
