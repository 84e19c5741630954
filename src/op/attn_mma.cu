/* attn_mma.cu - flash attention forward in bfloat16 by mma.sync: an online softmax over tiles of keys, two of which are
 * in shared memory, one being multiplied while the other comes. A warp has 16 rows. */
#include "op/attn_mma.cuh"

enum { WARPS = 4, THREADS = WARPS * 32, BM = WARPS * 16 };

/* A tile of BN keys of which a thread has, in each of its two rows h, s[n][2 h], s[n][2 h + 1] at columns 8 n + 2 (lane
 * % 4): weights in their place, and what remains of the sums before them. */
template <int D, int BN> GPU_FN float soften(float (*s)[4], int h, float *top, float *sum, const struct gpu_attn &a,
                                             const struct attn_row &r, uint32_t at, float unit, int lane)
{
    float t = *top, part = 0;

#pragma unroll
    for (int n = 0; n < BN / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float *x = &s[n][2 * h + i];
            bool seen = r.there && attn_sees(a, r.pos, at + (uint32_t)(n * 8 + lane % 4 * 2 + i));
            *x = seen ? attn_kept(a, *x) : GPU_MINUS_INF;
            t = fmaxf(t, *x);
        }
    t = fmaxf(t, __shfl_xor_sync(0xffffffffu, t, 1));
    t = fmaxf(t, __shfl_xor_sync(0xffffffffu, t, 2));
    float shift = t == GPU_MINUS_INF ? 0 : t * unit, keep = gpu_exp2(gpu_fma(*top, unit, -shift));
    *top = t;
#pragma unroll
    for (int n = 0; n < BN / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            s[n][2 * h + i] = gpu_exp2(gpu_fma(s[n][2 * h + i], unit, -shift));
            part += s[n][2 * h + i];
        }
    *sum = gpu_fma(*sum, keep, part);
    return keep;
}

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
    const uint32_t end = (m0 + BM - 1) / a.G;
    const struct attn_range share = attn_share(a, attn_first(a, run.pos0 + m0 / a.G),
                                               run.pos0 + (end < run.n ? end : run.n - 1));
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
            float keep = soften<D, BN>(s, h, &top[h], &sum[h], a, row[h], b * BN, unit, lane);
#pragma unroll
            for (int d = 0; d < D / 8; d++) {
                o[d][2 * h] *= keep;
                o[d][2 * h + 1] *= keep;
            }
        }
        attn_times_cols<D, BN, D>(o, s, v, 0, lane);
    }
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float l = sum[h];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        if (!row[h].there)
            continue;
        if (a.part) {
            float *part = attn_part(a, m0 + (uint32_t)(warp * 16 + lane / 4 + 8 * h));
#pragma unroll
            for (int d = 0; d < D / 8; d++) {
                part[2 + d * 8 + lane % 4 * 2] = o[d][2 * h];
                part[3 + d * 8 + lane % 4 * 2] = o[d][2 * h + 1];
            }
            if (lane % 4 == 0) {
                part[0] = top[h] * (a.cap > 0 ? 1 : a.scale);
                part[1] = l;
            }
            continue;
        }
        size_t at = run.row + row[h].query, col = ((size_t)head * a.G + row[h].g) * D + (size_t)(lane % 4 * 2);
#pragma unroll
        for (int d = 0; d < D / 8; d++)
            attn_put2(a.o, at, col + (size_t)d * 8, o[d][2 * h] / l, o[d][2 * h + 1] / l);
        if (a.lse && lane % 4 == 0)
            a.lse[attn_at(a, head, (uint32_t)at, row[h].g)] = top[h] * (a.cap > 0 ? 1 : a.scale) + logf(l);
    }
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
    if (!l->a->keys_fit || !attn_fits(l->a->q) || !attn_fits(l->a->o))
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
