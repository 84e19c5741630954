/* attn90_bwd.cu - the gradients of attention in bfloat16 on a Hopper by products of four warps (wgmma), heads of 64 and
 * 128: what attn_mma_bwd.cu does, once by queries and once by keys. They have not run on one yet, and are chosen only
 * where GRAM_CUDA_WGMMA asks for them. dk and dv sum queries in groups of 16 here, too, of tiles of 64. */
#include "op/attn90.cuh"

template <int D, int BN, int GROUPS>
__global__ void __launch_bounds__(GROUPS * FOUR, 1) wgmma_dq(struct gpu_attn a)
{
#if GPU_HOPPER
    GPU_SHARED(shared);
    enum { THREADS = GROUPS * FOUR, BM = GROUPS * ROWS, TILE = BN * D * 2 };
    unsigned char *sq = shared, *sd = sq + BM * D * 2, *sk = sd + BM * D * 2, *sv = sk + 2 * TILE;
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), m0 = blockIdx.y * BM, own = m0 + threadIdx.x / FOUR * ROWS;
    const int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / FOUR * ROWS * 128;
    const uint32_t m = own + threadIdx.x % FOUR / 32 * 16 + (uint32_t)lane / 4;
    float dq[D / 8][4], lse2[2], delta[2], unit = attn_unit(a);
    struct attn_row row[2];

    if (m0 >= run.n * a.G)
        return;
    const struct attn_range all = attn_walk(a, run, m0, BM);
    const uint32_t first = all.first, last = all.last, end = run.pos0 + (own + ROWS - 1) / a.G;
    attn_load_rows<D, BM, THREADS, BM>(sq, a, a.q, run, head, m0);
    attn_load_rows<D, BM, THREADS, BM>(sd, a, a.dout, run, head, m0);
    attn_load_keys<D, BN, THREADS, BN>(sk, sv, a, run, head, first / BN * BN, first, last);
    gpu_copy_commit();
    attn_rows_of(row, lse2, delta, a, run, head, m);
    attn_clear<D / 8>(dq);
    for (uint32_t b = first / BN; b <= last / BN; b++) {
        const uint32_t at = (b - first / BN) % 2 * TILE, other = TILE - at;
        float s[BN / 8][4], dp[BN / 8][4];
        gpu_copy_wait<0>();
        gpu_proxy_fence();
        __syncthreads();                        /* this tile is there, and nobody reads the other any more */
        if (b < last / BN) {
            attn_load_keys<D, BN, THREADS, BN>(sk + other, sv + other, a, run, head, (b + 1) * BN, first, last);
            gpu_copy_commit();
        }
        if (own >= run.n * a.G || b * BN > end)
            continue;                           /* none of the warpgroup's rows sees this tile */
        attn90_rows<D, BM, BN>(s, sq + group, sk + at);
        attn90_rows<D, BM, BN>(dp, sd + group, sv + at);
        attn_weigh_rows<BN>(s, dp, row, lse2, delta, a, unit, b * BN, lane);
        attn90_across<D, BN>(dq, dp, sk + at);
    }
    attn_put_dq<D>(a, run, head, row, dq, lane);
#endif
}

/* A warpgroup has 64 keys. */
template <int D, int BQ, int GROUPS>
__global__ void __launch_bounds__(GROUPS * FOUR, 1) wgmma_dkv(struct gpu_attn a)
{
#if GPU_HOPPER
    GPU_SHARED(shared);
    enum { THREADS = GROUPS * FOUR, BM = GROUPS * ROWS };
    unsigned char *sk = shared, *sv = sk + BM * D * 2, *sq = sv + BM * D * 2, *sd = sq + BQ * D * 2;
    float *lse2 = (float *)(sd + BQ * D * 2), *delta = lse2 + BQ;
    const uint32_t i_run = attn_task(a) / a.kv_heads, head = attn_head(a), n0 = blockIdx.y * BM;
    const int lane = (int)threadIdx.x % 32, group = (int)threadIdx.x / FOUR * ROWS * 128;
    const uint32_t own = n0 + threadIdx.x / 32 * 16 + (uint32_t)lane / 4;
    const struct attn_run keys = a.key_run[i_run];
    float dk[D / 8][4], dv[D / 8][4], unit = attn_unit(a);

    if (n0 >= keys.n)
        return;
    attn_load_both<D, BM, THREADS, BM>(sk, a.k, sv, a.v, keys.row, n0, keys.n, attn_col(a, head));
    gpu_copy_commit();
    attn_clear<D / 8>(dk);
    attn_clear<D / 8>(dv);
    for (size_t l = a.seen_from[i_run]; l < a.seen_from[i_run + 1]; l++) {
        const struct attn_run run = a.run[a.seen[l]];
        const uint32_t begin = attn_first_query(run, keys.pos0 + n0) / BQ * BQ, end = attn_end_query(a, run, keys);
        for (uint32_t step = begin * a.G; step < (end + BQ - 1) / BQ * BQ * a.G; step += BQ) {
            uint32_t q0 = step / (BQ * a.G) * BQ, g = step / BQ % a.G;      /* BQ queries of head after head */
            float s[BQ / 8][4], dp[BQ / 8][4];
            __syncthreads();                    /* nobody reads the last tile any more */
            attn_load_both<D, BQ, THREADS, BQ>(sq, a.q, sd, a.dout, run.row, q0, run.n, ((size_t)head * a.G + g) * D);
            gpu_copy_commit();
            attn_load_sums<BQ>(lse2, delta, a, run, head, g, q0);
            gpu_copy_wait<0>();
            gpu_proxy_fence();
            __syncthreads();                    /* the tile is there */
            attn90_rows<D, BM, BQ>(s, sk + group, sq);
            attn90_rows<D, BM, BQ>(dp, sv + group, sd);
#pragma unroll
            for (int n = 0; n < BQ / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t q = (uint32_t)(n * 8 + lane % 4 * 2 + i % 2), key = own + (uint32_t)(8 * (i / 2));
                    bool seen = q0 + q < run.n && key < keys.n && attn_sees(a, run.pos0 + q0 + q, keys.pos0 + key);
                    attn_weigh(&s[n][i], &dp[n][i], a, unit, lse2[q], delta[q], seen);
                }
            attn90_across<D, BQ>(dv, s, sd);
            attn90_across<D, BQ>(dk, dp, sq);
        }
    }
    gpu_copy_wait<0>();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t key = own + (uint32_t)(8 * h);
        if (key >= keys.n)
            continue;
        attn_put_dkv<D>(a, keys.row + key, attn_col(a, head) + (size_t)(lane % 4 * 2), dk, dv, h);
    }
#endif
}

template <int D, int BN, int GROUPS> static bool launch_dq(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = wgmma_dq<D, BN, GROUPS>;
    const size_t shared = (2 * GROUPS * ROWS + 4 * BN) * D * 2;

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_90);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, GROUPS * ROWS)), dim3(GROUPS * FOUR), shared,
               gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, "attn90_dq");
    return true;
}

template <int D, int BQ, int GROUPS> static bool launch_dkv(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = wgmma_dkv<D, BQ, GROUPS>;
    const size_t shared = (2 * GROUPS * ROWS + 2 * BQ) * D * 2 + 2 * BQ * sizeof(float);

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_90);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, GROUPS * ROWS)), dim3(GROUPS * FOUR), shared,
               gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, "attn90_dkv");
    return true;
}

bool attn90_dq(const struct attn_launch *l)
{
    if (!attn_dq_fits(l->a))
        return false;
    switch (l->a->D) {
    case 64:  return launch_dq<64, 64, 2>(l);
    case 128: return launch_dq<128, 64, 2>(l);
    default:  return false;
    }
}

bool attn90_dkv(const struct attn_launch *l)
{
    if (!attn_keys_and_queries_fit(l->a))
        return false;
    switch (l->a->D) {
    case 64:  return launch_dkv<64, 64, 2>(l);
    case 128: return launch_dkv<128, 64, 2>(l);
    default:  return false;
    }
}
