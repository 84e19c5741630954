/* attn90.cuh - what the kernels of attention by products of four warps share. A warpgroup has 64 rows; tiles lie as
 * slabs of 64 columns, which all threads fill by pieces of 16 bytes (cp.async), and a fence makes what threads have
 * written what wgmma sees. */
#ifndef GR_OP_ATTN90_CUH
#define GR_OP_ATTN90_CUH

#include "op/attn_soft.cuh"
#include "op/gpu90.cuh"

enum { FOUR = 128, ROWS = 64 };

#if GPU_HOPPER
/* s [64,BN] = 64 rows of a tile of BM, q, times the rows of a tile of BN, k. */
template <int D, int BM, int BN> GPU_FN void attn90_rows(float (*s)[4], const unsigned char *q, const unsigned char *k)
{
    gpu_wgmma_hold<BN / 2>(&s[0][0]);
    gpu_wgmma_fence();                          /* of scores that have been read */
#pragma unroll
    for (int d = 0; d < D; d += 16)
        gpu_wgmma<BN>(&s[0][0], gpu_tile(q + d / 64 * BM * 128, d % 64), gpu_tile(k + d / 64 * BN * 128, d % 64),
                      d > 0);
    gpu_wgmma_commit();
    gpu_wgmma_wait<0>();                        /* scores are there */
    gpu_wgmma_hold<BN / 2>(&s[0][0]);
}

/* o [64,D] += what of s [64,BN] bfloat16 holds, times a tile of BN rows, v. */
template <int D, int BN> GPU_FN void attn90_across(float (*o)[4], const float (*s)[4], const unsigned char *v)
{
    uint32_t p[BN / 16][4];

#pragma unroll
    for (int n = 0; n < BN / 16; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            p[n][i] = gpu_pack(s[2 * n + i / 2][i % 2 * 2], s[2 * n + i / 2][i % 2 * 2 + 1]);
    gpu_wgmma_hold<D / 2>(&o[0][0]);
    gpu_wgmma_hold<BN / 4>(&p[0][0]);
    gpu_wgmma_fence();                          /* of sums that have been scaled, and of weights */
#pragma unroll
    for (int n = 0; n < BN / 16; n++)
        gpu_wgmma_across<D>(&o[0][0], p[n], gpu_tile_across(v, n * 16, BN), 1);
    gpu_wgmma_commit();
    gpu_wgmma_wait<0>();                        /* sums are there, and nobody of the four reads the tile any more */
    gpu_wgmma_hold<D / 2>(&o[0][0]);
    gpu_wgmma_hold<BN / 4>(&p[0][0]);
}
#endif

#endif
