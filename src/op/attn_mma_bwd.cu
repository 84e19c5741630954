/* attn_mma_bwd.cu - the gradients of attention in bfloat16 by mma.sync, once by queries and once by keys, so that
 * nothing is added to from two sides and there are no atomics:
 *
 *   dq[i]  a block for 16 rows of queries a warp and their key/value head, as forward
 *   dk[j]  a block for 64 keys and their head, over the runs of queries that see them, one after the other: also those
 *   dv[j]  of other texts below a prefix. Queries are summed in groups of 16 from a run's first on, head by head, so
 *          the bits follow from how the plan cuts texts into runs. */
#include "op/attn_mma.cuh"

template <int D, int BN, int WARPS> __global__ void __launch_bounds__(WARPS * 32) mma_dq(struct gpu_attn a)
{
    GPU_SHARED(shared);
    enum { THREADS = WARPS * 32, BM = WARPS * 16, ROWS = BM * WIDE(D) * 2, TILE = BN * WIDE(D) * 2 };
    unsigned char *sq = shared, *sd = sq + ROWS, *sk = sd + ROWS, *sv = sk + 2 * TILE;
    const struct attn_run run = a.run[attn_task(a) / a.kv_heads];
    const uint32_t head = attn_head(a), m0 = blockIdx.y * BM;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    float dq[D / 8][4], lse2[2], delta[2], unit = attn_unit(a);
    struct attn_row row[2];

    if (m0 >= run.n * a.G)
        return;
    const uint32_t end = (m0 + BM - 1) / a.G, last = run.pos0 + (end < run.n ? end : run.n - 1);
    const uint32_t first = attn_first(a, run.pos0 + m0 / a.G);
    attn_load_rows<D, BM, THREADS>(sq, a, a.q, run, head, m0);
    attn_load_rows<D, BM, THREADS>(sd, a, a.dout, run, head, m0);
    attn_load_keys<D, BN, THREADS>(sk, sv, a, run, head, first / BN * BN, first, last);
    gpu_copy_commit();
    attn_rows_of(row, lse2, delta, a, run, head, m0 + (uint32_t)(warp * 16 + lane / 4));
    attn_clear<D / 8>(dq);
    for (uint32_t b = first / BN; b <= last / BN; b++) {
        unsigned char *k = sk + (b - first / BN) % 2 * TILE, *v = sv + (b - first / BN) % 2 * TILE;
        unsigned char *next_k = sk + (b - first / BN + 1) % 2 * TILE, *next_v = sv + (b - first / BN + 1) % 2 * TILE;
        float s[BN / 8][4], dp[BN / 8][4];
        gpu_copy_wait<0>();
        __syncthreads();                        /* this tile is there, and nobody reads the other any more */
        if (b < last / BN) {
            attn_load_keys<D, BN, THREADS>(next_k, next_v, a, run, head, (b + 1) * BN, first, last);
            gpu_copy_commit();
        }
        attn_clear<BN / 8>(s);
        attn_clear<BN / 8>(dp);
        attn_times_rows<D, BN>(s, sq, warp * 16, k, lane);
        attn_times_rows<D, BN>(dp, sd, warp * 16, v, lane);
        attn_weigh_rows<BN>(s, dp, row, lse2, delta, a, unit, b * BN, lane);
        attn_times_cols<D, BN, D>(dq, dp, k, 0, lane);
    }
    attn_put_dq<D>(a, run, head, row, dq, lane);
}

/* PART of the D columns of dk and dv are the block's: registers hold no more. */
template <int D, int PART> __global__ void __launch_bounds__(128) mma_dkv(struct gpu_attn a)
{
    GPU_SHARED(shared);
    enum { THREADS = 128, BN = 64, BQ = 32, KEYS = BN * WIDE(D) * 2, ROWS = BQ * WIDE(D) * 2 };
    unsigned char *sk = shared, *sv = sk + KEYS, *sq = sv + KEYS, *sd = sq + ROWS;
    float *lse2 = (float *)(sd + ROWS), *delta = lse2 + BQ;
    const uint32_t i_run = attn_task(a) / a.kv_heads, head = attn_head(a), n0 = blockIdx.y * BN;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32, from = (int)blockIdx.z * PART;
    const struct attn_run keys = a.key_run[i_run];
    float dk[PART / 8][4], dv[PART / 8][4], unit = attn_unit(a);

    if (n0 >= keys.n)
        return;
    attn_load_both<D, BN, THREADS>(sk, a.k, sv, a.v, keys.row, n0, keys.n, attn_col(a, head));
    gpu_copy_commit();
    attn_clear<PART / 8>(dk);
    attn_clear<PART / 8>(dv);
    for (size_t l = a.seen_from[i_run]; l < a.seen_from[i_run + 1]; l++) {
        const struct attn_run run = a.run[a.seen[l]];
        const uint32_t begin = attn_first_query(run, keys.pos0 + n0) / BQ * BQ, end = attn_end_query(a, run, keys);
        for (uint32_t step = begin * a.G; step < (end + BQ - 1) / BQ * BQ * a.G; step += BQ) {
            uint32_t q0 = step / (BQ * a.G) * BQ, g = step / BQ % a.G;      /* BQ queries of head after head */
            float s[BQ / 8][4], dp[BQ / 8][4];
            __syncthreads();                    /* nobody reads the last tile any more */
            attn_load_both<D, BQ, THREADS>(sq, a.q, sd, a.dout, run.row, q0, run.n, ((size_t)head * a.G + g) * D);
            gpu_copy_commit();
            attn_load_sums<BQ>(lse2, delta, a, run, head, g, q0);
            gpu_copy_wait<0>();
            __syncthreads();
            attn_clear<BQ / 8>(s);
            attn_clear<BQ / 8>(dp);
            attn_times_rows<D, BQ>(s, sk, warp * 16, sq, lane);
            attn_times_rows<D, BQ>(dp, sv, warp * 16, sd, lane);
#pragma unroll
            for (int n = 0; n < BQ / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    uint32_t q = (uint32_t)(n * 8 + lane % 4 * 2 + i % 2);
                    uint32_t key = n0 + (uint32_t)(warp * 16 + lane / 4 + 8 * (i / 2));
                    bool seen = q0 + q < run.n && key < keys.n && attn_sees(a, run.pos0 + q0 + q, keys.pos0 + key);
                    attn_weigh(&s[n][i], &dp[n][i], a, unit, lse2[q], delta[q], seen);
                }
            attn_times_cols<D, BQ, PART>(dv, s, sd, from, lane);
            attn_times_cols<D, BQ, PART>(dk, dp, sq, from, lane);
        }
    }
    gpu_copy_wait<0>();
#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t key = n0 + (uint32_t)(warp * 16 + lane / 4 + 8 * h);
        if (key >= keys.n)
            continue;
        attn_put_dkv<PART>(a, keys.row + key, attn_col(a, head) + (size_t)(from + lane % 4 * 2), dk, dv, h);
    }
}

template <int D, int BN, int WARPS> static bool launch_dq(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = mma_dq<D, BN, WARPS>;
    const size_t shared = (2 * WARPS * 16 + 4 * BN) * WIDE(D) * 2;

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_ALL);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, WARPS * 16)), dim3(WARPS * 32), shared,
               gr_cuda_stream(l->lane), a);
    gr_cuda_launched(l->lane, "attn_mma_dq");
    return true;
}

template <int D, int PART> static bool launch_dkv(const struct attn_launch *l)
{
    struct gpu_attn a = *l->a;
    auto kernel = mma_dkv<D, PART>;
    const size_t shared = (2 * 64 + 2 * 32) * WIDE(D) * 2 + 2 * 32 * sizeof(float);

    GPU_SHARED_MOST(kernel, shared, GPU_SHARED_ALL);
    GPU_LAUNCH(kernel, dim3(l->tasks, gpu_blocks(l->rows, 64), D / PART), dim3(128), shared, gr_cuda_stream(l->lane),
               a);
    gr_cuda_launched(l->lane, "attn_mma_dkv");
    return true;
}

bool attn_mma_dq(const struct attn_launch *l)
{
    if (!attn_dq_fits(l->a))
        return false;
    switch (l->a->D) {
    case 32:  return launch_dq<32, 64, 4>(l);
    case 64:  return launch_dq<64, 64, 4>(l);
    case 80:  return launch_dq<80, 64, 4>(l);
    case 96:  return launch_dq<96, 64, 4>(l);
    case 128: return launch_dq<128, 64, 4>(l);
    case 256: return launch_dq<256, 32, 2>(l);
    default:  return false;
    }
}

bool attn_mma_dkv(const struct attn_launch *l)
{
    if (!attn_keys_and_queries_fit(l->a))
        return false;
    switch (l->a->D) {
    case 32:  return launch_dkv<32, 32>(l);
    case 64:  return launch_dkv<64, 64>(l);
    case 80:  return launch_dkv<80, 80>(l);
    case 96:  return launch_dkv<96, 96>(l);
    case 128: return launch_dkv<128, 128>(l);
    case 256: return launch_dkv<256, 128>(l);
    default:  return false;
    }
}
