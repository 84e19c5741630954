/* dropout.cu - dropout.h on a GPU. Draw c / 4 of a key is reached without those before it, as the state of gr_random()
 * grows by the same number each time; the masks are the CPU's. */
#include "base/random.h"
#include "op/gpu.cuh"
#include "op/gpu_int.h"

struct drop { uint64_t key; uint16_t least; float scale; bool add; };

__global__ void __launch_bounds__(GPU_EACH_THREADS) dropout(gr_mat y, gr_mat x, const uint64_t *row_key, struct drop d,
                                                            size_t N, size_t C)
{
    GPU_EACH(n, c, N, C) {
        uint64_t state = gr_random_at(d.key, row_key[n]) + c / 4 * 0x9e3779b97f4a7c15u;
        uint16_t chance = (uint16_t)(gr_random(&state) >> (16 * (c % 4)));
        float kept = (chance >= d.least ? 1.0f : 0.0f) * (d.scale * gpu_get(x, n, c));
        gpu_set(y, n, c, d.add ? gpu_get(y, n, c) + kept : kept);
    }
}

static void drop(gr_lane *lane, gr_mat y, gr_mat x, uint64_t key, const uint64_t *row_key, size_t N, size_t C, double p,
                 bool add)
{
    struct drop d = { key, (uint16_t)(p * 0x1p16), (float)(1 / (1 - p)), add };
    const uint64_t *list = (const uint64_t *)gr_cuda_list(lane, row_key, N * sizeof *row_key);

    GPU_RUN_EACH(lane, dropout, N, C, y, x, list, d, N, C);
}

void gr_dropout_fwd_cuda(gr_lane *lane, gr_mat y, gr_mat x, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                         double p)
{
    drop(lane, y, x, key, row_key, N, C, p, false);
}

void gr_dropout_bwd_cuda(gr_lane *lane, gr_mat dx, gr_mat dy, uint64_t key, const uint64_t *row_key, size_t N, size_t C,
                         double p)
{
    drop(lane, dx, dy, key, row_key, N, C, p, true);
}
