/* attn_mma.cu - flash attention forward in bfloat16 by mma.sync: an online softmax over tiles of keys, two of which are
 * in shared memory, one being multiplied while the other comes. A warp has 16 rows. */
#include "op/attn_soft.cuh"

enum { WARPS = 4, THREADS = WARPS * 32, BM = WARPS * 16 };

template <int D, int BN> __global__ void __launch_bounds__(THREADS) mma_fwd(struct gpu_attn a)
{
    GPU_SHARED(shared);
    enum { TILE = BN * WIDE(D) * 2 };
    unsigned char *sq = shared, *sk = sq + BM * WIDE(D) * 2, *sv = sk + 2 * TILE;
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), m0 = blockIdx.y * BM;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    float o[D / 8][4], top[2] = { GPU_MINUS_INF, GPU_MINUS_INF }, sum[2] = { 0, 0 }, unit = attn_unit(a);

    if (m0 >= run.n * a.G)
        return;
    const struct attn_range share = attn_walk(a, run, m0, BM);
    const uint32_t first = share.first, last = share.last;
    if (!share.any)
        return;
    const struct attn_row row[2] = { attn_row_of(a, run, m0 + (uint32_t)(warp * 16 + lane / 4)),
                                     attn_row_of(a, run, m0 + (uint32_t)(warp * 16 + lane / 4 + 8)) };
    attn_load_rows<D, BM, THREADS>(sq, a, a.q, run, head, m0);
    attn_load_keys<D, BN, THREADS>(sk, sv, a, run, head, first / BN * BN, first, last);
    gpu_copy_commit();
    attn_clear<D / 8>(o);
    for (uint32_t b = first / BN; b <= last / BN; b++) {
        unsigned char *k = sk + (b - first / BN) % 2 * TILE, *v = sv + (b - first / BN) % 2 * TILE;
        unsigned char *next_k = sk + (b - first / BN + 1) % 2 * TILE, *next_v = sv + (b - first / BN + 1) % 2 * TILE;
        float s[BN / 8][4];
        gpu_copy_wait<0>();
        __syncthreads();                        /* this tile is there, and nobody reads the other any more */
        if (b < last / BN) {
            attn_load_keys<D, BN, THREADS>(next_k, next_v, a, run, head, (b + 1) * BN, first, last);
            gpu_copy_commit();
        }
        attn_clear<BN / 8>(s);
        attn_times_rows<D, BN>(s, sq, warp * 16, k, lane);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float keep = attn_soften<BN>(s, h, &top[h], &sum[h], a, row[h], b * BN, unit, lane);
#pragma unroll
            for (int d = 0; d < D / 8; d++) {
                o[d][2 * h] *= keep;
                o[d][2 * h + 1] *= keep;
            }
        }
        attn_times_cols<D, BN, D>(o, s, v, 0, lane);
    }
    attn_leave<D>(o, top, sum, a, run, head, m0 + (uint32_t)(warp * 16 + lane / 4), lane);
}

template <int D, int BN> static bool launch(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = mma_fwd<D, BN>;
    const size_t shared = (BM + 4 * BN) * WIDE(D) * 2;

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_ALL);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, BM), a.part ? a.spans : 1), dim3(THREADS), shared,
               gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, "attn_mma_fwd");
    return true;
}

bool attn_mma_fwd(const struct attn_launch *l)
{
    if (!attn_fwd_fits(l->a))
        return false;
    switch (l->a->D) {
    case 32:  return launch<32, 64>(l);
    case 64:  return launch<64, 64>(l);
    case 80:  return launch<80, 64>(l);
    case 96:  return launch<96, 64>(l);
    case 128: return launch<128, 64>(l);
    case 256: return launch<256, 32>(l);
    default:  return false;
    }
}
