/* attn_soft.cuh - the online softmax of attention forward, by mma.sync and by wgmma, whose registers hold tiles alike:
 * a warp has 16 rows, and a thread of it two, lane / 4 + 8 h. */
#ifndef GR_OP_ATTN_SOFT_CUH
#define GR_OP_ATTN_SOFT_CUH

#include "op/attn_mma.cuh"

/* A tile of BN keys of which a thread has, in each of its two rows h, s[n][2 h], s[n][2 h + 1] at columns 8 n + 2 (lane
 * % 4): weights in their place, and what remains of the sums before them: exactly 1 where no key of the tile is larger,
 * so that a tile that a row sees nothing of leaves its bits. (The same product must be rounded both times.) */
template <int BN> GPU_FN float attn_soften(float (*s)[4], int h, float *top, float *sum, const struct gpu_attn &a,
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
    float shift = t == GPU_MINUS_INF ? 0 : t * unit, keep = gpu_exp2(*top * unit - shift);
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

/* What a thread has of rows m and m + 8 of the run, as results or as a part of them. */
template <int D> GPU_FN void attn_leave(float (*o)[4], const float *top, const float *sum, const struct gpu_attn &a,
                                        const struct attn_run &run, uint32_t head, uint32_t m, int lane)
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        const struct attn_row row = attn_row_of(a, run, m + (uint32_t)(8 * h));
        float l = sum[h];
        l += __shfl_xor_sync(0xffffffffu, l, 1);
        l += __shfl_xor_sync(0xffffffffu, l, 2);
        if (!row.there)
            continue;
        if (a.part) {
            float *part = attn_part(a, m + (uint32_t)(8 * h));
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
        size_t at = run.row + row.query, col = ((size_t)head * a.G + row.g) * D + (size_t)(lane % 4 * 2);
#pragma unroll
        for (int d = 0; d < D / 8; d++)
            attn_put2(a.o, at, col + (size_t)d * 8, o[d][2 * h] / l, o[d][2 * h + 1] / l);
        if (a.lse && lane % 4 == 0)
            a.lse[attn_at(a, head, (uint32_t)at, row.g)] = top[h] * (a.cap > 0 ? 1 : a.scale) + logf(l);
    }
}

#endif
