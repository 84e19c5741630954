/* attn90.cu - flash attention forward in bfloat16 on a Hopper: what attn_mma.cu does, by products of four warps
 * (wgmma). It has not run on one yet, and is chosen only where GRAM_CUDA_WGMMA asks for it (cuda/device.c).
 *
 * A warpgroup has 64 rows, a block one or two warpgroups, by which a row's bits do not differ. Keys and values lie row
 * by row wherever their pages are: all threads bring pieces of 16 bytes (cp.async), a tile while the one before is
 * multiplied. Weights are multiplied from registers. */
#include "op/attn90.cuh"

template <int D, int BN, int GROUPS>
__global__ void __launch_bounds__(GROUPS * FOUR, 1) wgmma_fwd(struct gpu_attn a)
{
#if GPU_HOPPER
    GPU_SHARED(shared);
    enum { THREADS = GROUPS * FOUR, BM = GROUPS * ROWS, TILE = BN * D * 2 };
    unsigned char *sq = shared, *sk = sq + BM * D * 2, *sv = sk + 2 * TILE;
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), m0 = blockIdx.y * BM, own = m0 + threadIdx.x / FOUR * ROWS;
    const int lane = (int)threadIdx.x % 32;
    const uint32_t m = own + threadIdx.x % FOUR / 32 * 16 + (uint32_t)lane / 4;
    float o[D / 8][4], top[2] = { GPU_MINUS_INF, GPU_MINUS_INF }, sum[2] = { 0, 0 }, unit = attn_unit(a);

    if (m0 >= run.n * a.G)
        return;
    const struct attn_range share = attn_walk(a, run, m0, BM);
    const uint32_t first = share.first, last = share.last, end = run.pos0 + (own + ROWS - 1) / a.G;
    if (!share.any)
        return;
    const struct attn_row row[2] = { attn_row_of(a, run, m), attn_row_of(a, run, m + 8) };
    attn_load_rows<D, BM, THREADS, BM>(sq, a, a.q, run, head, m0);
    attn_load_keys<D, BN, THREADS, BN>(sk, sv, a, run, head, first / BN * BN, first, last);
    gpu_copy_commit();
    attn_clear<D / 8>(o);
    for (uint32_t b = first / BN; b <= last / BN; b++) {
        const uint32_t at = (b - first / BN) % 2 * TILE, other = TILE - at;
        float s[BN / 8][4];
        gpu_copy_wait<0>();
        gpu_proxy_fence();
        __syncthreads();                        /* this tile is there, and nobody reads the other any more */
        if (b < last / BN) {
            attn_load_keys<D, BN, THREADS, BN>(sk + other, sv + other, a, run, head, (b + 1) * BN, first, last);
            gpu_copy_commit();
        }
        if (own >= run.n * a.G || b * BN > end)
            continue;                           /* none of the warpgroup's rows sees this tile */
        attn90_rows<D, BM, BN>(s, sq + threadIdx.x / FOUR * ROWS * 128, sk + at);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float keep = attn_soften<BN>(s, h, &top[h], &sum[h], a, row[h], b * BN, unit, lane);
#pragma unroll
            for (int d = 0; d < D / 8; d++) {
                o[d][2 * h] *= keep;
                o[d][2 * h + 1] *= keep;
            }
        }
        attn90_across<D, BN>(o, s, sv + at);
    }
    attn_leave<D>(o, top, sum, a, run, head, m, lane);
#endif
}

template <int D, int BN, int GROUPS> static bool launch(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = wgmma_fwd<D, BN, GROUPS>;
    const size_t shared = (GROUPS * ROWS + 4 * BN) * D * 2;

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_90);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, GROUPS * ROWS), a.part ? a.spans : 1), dim3(GROUPS * FOUR),
               shared, gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, "attn90_fwd");
    return true;
}

template <int D, int BN> static bool by_rows(const struct attn_launch *l)
{
    return l->rows > ROWS ? launch<D, BN, 2>(l) : launch<D, BN, 1>(l);
}

bool attn90_fwd(const struct attn_launch *l)
{
    if (!attn_fwd_fits(l->a))
        return false;
    switch (l->a->D) {
    case 64:  return by_rows<64, 64>(l);
    case 128: return by_rows<128, 128>(l);
    case 256: return by_rows<256, 64>(l);
    default:  return false;
    }
}
