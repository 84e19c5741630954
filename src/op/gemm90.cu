/* gemm90.cu - y [M,N] = x [M,K] W [N,K]^T in bfloat16 on a Hopper, by products of four warps (wgmma) of what the copy
 * engine brings. It has not run on one yet, and is chosen only where GRAM_CUDA_WGMMA asks for it (cuda/device.c).
 *
 * Blocks are persistent: each takes tiles of 128 x 256 in turn. Of its three warpgroups the first has the copy engine
 * fill a ring of STAGES pairs of tiles; the others multiply 64 rows each. K is walked in one order for every tile, so
 * that a row's bits follow from that row and W. */
#include "op/gpu90.cuh"
#include "op/gpu_int.h"

enum { BM = 128, BN = 256, BK = 64, STAGES = 4, FOUR = 128, THREADS = 3 * FOUR, X_BYTES = BM * BK * 2,
       W_BYTES = BN * BK * 2, SHARED = STAGES * (X_BYTES + W_BYTES) + 2 * STAGES * 8 };

#if GPU_HOPPER
/* The ring: a stage is full when both of its tiles came, and empty when both warpgroups have multiplied by it. */
struct ring { unsigned char *x, *w; uint64_t *full, *empty; int stage, parity; };

GPU_FN void next_stage(struct ring *r)
{
    if (++r->stage == STAGES) {
        r->stage = 0;
        r->parity ^= 1;
    }
}

/* One thread: the tiles of all steps of a product's tile. */
GPU_FN void bring(struct ring *r, const CUtensorMap *x, const CUtensorMap *w, int row, int col, int steps)
{
    for (int k = 0; k < steps; k++, next_stage(r)) {
        gpu_bar_wait(&r->empty[r->stage], r->parity ^ 1);       /* which has passed before the first round */
        gpu_bar_expect(&r->full[r->stage], X_BYTES + W_BYTES);
        gpu_tma(r->x + r->stage * X_BYTES, x, k * BK, row, &r->full[r->stage]);
        gpu_tma(r->w + r->stage * W_BYTES, w, k * BK, col, &r->full[r->stage]);
    }
}

/* A warpgroup: 64 rows, one step being multiplied while the next begins. */
GPU_FN void multiply(float *d, struct ring *r, int half, bool first, int steps)
{
    int last = 0;

    for (int k = 0; k < steps; k++, next_stage(r)) {
        gpu_bar_wait(&r->full[r->stage], r->parity);
        gpu_wgmma_fence();
#pragma unroll
        for (int i = 0; i < BK; i += 16)
            gpu_wgmma<BN>(d, gpu_tile(r->x + r->stage * X_BYTES + half * 64 * 128, i),
                          gpu_tile(r->w + r->stage * W_BYTES, i), k > 0 || i > 0);
        gpu_wgmma_commit();
        if (k > 0) {
            gpu_wgmma_wait<1>();                                /* the step before is done */
            if (first)
                gpu_bar_arrive(&r->empty[last]);
        }
        last = r->stage;
    }
    gpu_wgmma_wait<0>();
    gpu_wgmma_hold<BN / 2>(d);
    if (first)
        gpu_bar_arrive(&r->empty[last]);
}
#endif

__global__ void __launch_bounds__(THREADS, 1) gemm90(const __grid_constant__ CUtensorMap mx,
                                                     const __grid_constant__ CUtensorMap mw, bf16 *y, size_t ldy, int M,
                                                     int N, int K)
{
#if GPU_HOPPER
    GPU_SHARED(shared);
    const int tid = (int)threadIdx.x, group = tid / FOUR, steps = K / BK;
    const int cols = N / BN, tiles = (M + BM - 1) / BM * cols;
    unsigned char *sw = shared + STAGES * X_BYTES;
    uint64_t *bars = (uint64_t *)(sw + STAGES * W_BYTES);
    struct ring r = { shared, sw, bars, bars + STAGES, 0, 0 };

    if (tid == 0) {
        for (int i = 0; i < STAGES; i++) {
            gpu_bar_init(&r.full[i], 1);
            gpu_bar_init(&r.empty[i], 2);
        }
        gpu_bar_fence();
    }
    __syncthreads();
    if (group == 0) {
        gpu_regs_give<40>();
        for (int t = (int)blockIdx.x; t < tiles && tid == 0; t += (int)gridDim.x)
            bring(&r, &mx, &mw, t / cols * BM, t % cols * BN, steps);
        return;
    }
    gpu_regs_take<232>();
    for (int t = (int)blockIdx.x; t < tiles; t += (int)gridDim.x) {
        float d[BN / 2];
        int row = t / cols * BM + (group - 1) * 64 + tid % FOUR / 32 * 16 + tid % 32 / 4;
        multiply(d, &r, group - 1, tid % FOUR == 0, steps);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            bf16 *out = y + (size_t)(row + 8 * h) * ldy + t % cols * BN + tid % 4 * 2;
            if (row + 8 * h >= M)
                continue;
#pragma unroll
            for (int j = 0; j < BN / 8; j++)
                *(uint32_t *)(out + j * 8) = gpu_pack(d[j * 4 + 2 * h], d[j * 4 + 2 * h + 1]);
        }
    }
#endif
}

#ifdef __CUDACC__
#include <cudaTypedefs.h>
/* Boxes of box_rows x 64. The driver's function is found at run time, so that nothing links libcuda. */
static bool map_rows(CUtensorMap *m, const gr_mat *x, size_t rows, size_t cols, int box_rows)
{
    static PFN_cuTensorMapEncodeTiled_v12000 encode;
    cudaDriverEntryPointQueryResult found;
    cuuint64_t dim[2] = { (cuuint64_t)cols, (cuuint64_t)rows }, stride[1] = { (cuuint64_t)x->ld * 2 };
    cuuint32_t box[2] = { BK, (cuuint32_t)box_rows }, one[2] = { 1, 1 };

    if (!encode && cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", (void **)&encode, 12000,
                                                    cudaEnableDefault, &found))
        return false;
    return encode && !encode(m, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, x->p, dim, stride, box, one,
                             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
#else
static bool map_rows(CUtensorMap *m, const gr_mat *x, size_t rows, size_t cols, int box_rows)
{
    *m = CUtensorMap{ (const uint16_t *)x->p, (int)rows, (int)cols, (int)x->ld, box_rows };
    return true;
}
#endif

static bool fits(const gr_mat *m)
{
    return m->type == GR_BF16 && m->ld % 8 == 0 && (uintptr_t)m->p % 16 == 0;
}

bool gr_gemm90_cuda(gr_lane *lane, gr_mat y, gr_mat x, gr_mat w, size_t M, size_t N, size_t K, unsigned blocks)
{
    CUtensorMap mx, mw;

    if (N % BN || K % BK || !fits(&y) || !fits(&x) || !fits(&w) || lane->rc)
        return false;
    if (!map_rows(&mx, &x, M, K, BM) || !map_rows(&mw, &w, N, K, BN)) {
        gr_cuda_refuse(lane, "GRAM_CUDA_WGMMA: the driver makes no maps for the copy engine");
        return false;
    }
    GPU_SHARED_MOST(gemm90, SHARED, GPU_SHARED_90);
    GPU_RUN(lane, gemm90, dim3(blocks), dim3(THREADS), SHARED, mx, mw, (bf16 *)y.p, y.ld, (int)M, (int)N, (int)K);
    return true;
}
