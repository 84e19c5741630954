/* gpu.cuh - what kernels are written in: CUDA C for nvcc, and for g++ the same source on the CPU (tests/emu/emu.h).
 * Instructions that C has no name for stand here, once in PTX and once as a call of the emulator; a new one is added in
 * both forms, with a mutant that leaves its wait or its fence out (docs/gpu.md).
 *
 * Kernels use templates on integers and lambdas, and nothing else of C++. */
#ifndef GR_OP_GPU_CUH
#define GR_OP_GPU_CUH

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
extern "C" {
#include "op/gpu_kern.h"
}

typedef uint16_t bf16;

/* Of shared memory: what sm_86, 89 and 120 give a block at most, and what sm_90 does. */
enum { GPU_SHARED_ALL = 99 << 10, GPU_SHARED_90 = 227 << 10 };

#ifdef __CUDACC__

#include <cuda_runtime.h>
#define GPU_FN static __device__ __forceinline__
#define GPU_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#define GPU_SHARED_MOST(kernel, bytes, most) \
    cudaFuncSetAttribute((kernel), cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))
#define GPU_LAUNCH(kernel, grid, block, shared, stream, ...) \
    (kernel)<<<(grid), (block), (shared), (stream)>>>(__VA_ARGS__)

GPU_FN float gpu_f32(bf16 h) { return __uint_as_float((uint32_t)h << 16); }
GPU_FN uint32_t gpu_pack(float lo, float hi)            /* two bf16, rounded to nearest, ties to even */
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
GPU_FN float gpu_exp2(float x) { float r; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x)); return r; }
GPU_FN float gpu_fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
GPU_FN float gpu_bits_f32(uint32_t u) { return __uint_as_float(u); }
GPU_FN uint32_t gpu_f32_bits(float x) { return __float_as_uint(x); }
GPU_FN uint32_t gpu_shared_at(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* d [16,8] += a [16,16] b [16,8]^T */
GPU_FN void gpu_mma(float *d, const uint32_t *a, const uint32_t *b)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                 "{%0,%1,%2,%3};" : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
GPU_FN void gpu_ldmatrix(uint32_t *r, const void *row)          /* four 8 x 8; lane l: row l % 8 of matrix l / 8 */
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(gpu_shared_at(row)) : "memory");
}
GPU_FN void gpu_ldmatrix_t(uint32_t *r, const void *row)        /* each transposed */
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(gpu_shared_at(row)) : "memory");
}
GPU_FN void gpu_copy16(void *shared, const void *global, bool there)     /* zeros where it is not there */
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(gpu_shared_at(shared)), "l"(global), "r"(there ? 16 : 0) : "memory");
}
GPU_FN void gpu_copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> GPU_FN void gpu_copy_wait(void) { asm volatile("cp.async.wait_group %0;" :: "n"(N) : "memory"); }

#else

#include "emu/emu.h"
#define __global__
#define __launch_bounds__(...)
#define GPU_FN static inline
#define GPU_SHARED(name) unsigned char *name = emu_shared()
#define GPU_SHARED_MOST(kernel, bytes, most) emu_allow((const void *)(kernel), bytes, most)
#define GPU_LAUNCH emu_launch

GPU_FN float gpu_f32(bf16 h) { return emu_bf(h); }
GPU_FN uint32_t gpu_pack(float lo, float hi) { return emu_to_bf(lo) | (uint32_t)emu_to_bf(hi) << 16; }
GPU_FN float gpu_exp2(float x) { return exp2f(x); }
/* One rounding, but for what lies within 2^-53 of the middle between two numbers; fmaf() would be a call. */
GPU_FN float gpu_fma(float a, float b, float c) { return (float)((double)a * (double)b + (double)c); }
GPU_FN float gpu_bits_f32(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }
GPU_FN uint32_t gpu_f32_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
#define gpu_mma(d_, a_, b_) do { emu_mma_slot s_ = { (d_), (a_), (b_) }; emu_meet(__LINE__, &s_, emu_mma); } while (0)
#define gpu_ldmatrix(r, row) emu_ldmatrix(r, row, emu_ldm)
#define gpu_ldmatrix_t(r, row) emu_ldmatrix(r, row, emu_ldm_t)
#define gpu_copy16(shared, global, there) emu_cp_async(shared, global, (there) ? 16 : 0, __LINE__)
#define gpu_copy_commit emu_cp_commit
template <int N> GPU_FN void gpu_copy_wait(void) { emu_cp_wait(N); }

#endif

#define GPU_LOG2E 1.4426950408889634f
#define GPU_MINUS_INF (-__builtin_inff())

/* ---- Numbers of matrices, which are float32 or bfloat16 -------------------------------------------- */

GPU_FN float gpu_get(const gr_mat &m, size_t row, size_t col)
{
    size_t at = row * m.ld + col;

    return m.type == GR_F32 ? ((const float *)m.p)[at] : gpu_f32(((const bf16 *)m.p)[at]);
}

GPU_FN void gpu_set(const gr_mat &m, size_t row, size_t col, float x)
{
    size_t at = row * m.ld + col;

    if (m.type == GR_F32)
        ((float *)m.p)[at] = x;
    else
        ((bf16 *)m.p)[at] = (bf16)gpu_pack(x, 0);
}

/* ---- Each number by itself --------------------------------------------------------------------------
 *
 *     __global__ void __launch_bounds__(GPU_EACH_THREADS) twice(gr_mat y, size_t N, size_t C)
 *     {
 *         GPU_EACH(row, col, N, C)
 *             gpu_set(y, row, col, 2 * gpu_get(y, row, col));
 *     }
 *     GPU_RUN_EACH(lane, twice, N, C, y, N, C);
 *
 * A warp takes GPU_EACH_COLS columns of a row. */

enum { GPU_EACH_COLS = 1024, GPU_EACH_WARPS = 8, GPU_EACH_THREADS = 32 * GPU_EACH_WARPS };

GPU_FN size_t gpu_each_chunk(void) { return (size_t)blockIdx.x * GPU_EACH_WARPS + threadIdx.x / 32; }
GPU_FN size_t gpu_least(size_t a, size_t b) { return a < b ? a : b; }

#define GPU_EACH(row, col, N, C) \
    const size_t chunks_ = ((C) + GPU_EACH_COLS - 1) / GPU_EACH_COLS, \
                 row = gpu_each_chunk() / (chunks_ ? chunks_ : 1), \
                 from_ = gpu_each_chunk() % (chunks_ ? chunks_ : 1) * GPU_EACH_COLS, \
                 to_ = row < (N) ? gpu_least(C, from_ + GPU_EACH_COLS) : 0; \
    for (size_t col = from_ + threadIdx.x % 32; col < to_; col += 32)

/* ---- Sums of a warp and of a block, each in one order ----------------------------------------------
 *
 * All threads of the warp or block call, and all get the sum. part: a number for each warp of the block; it is free
 * again at the block's next barrier after all have read it. */

template <class T> GPU_FN T gpu_warp_sum(T x)
{
    for (int m = 16; m; m /= 2)
        x += __shfl_xor_sync(0xffffffffu, x, m);
    return x;
}

template <class T> GPU_FN T gpu_block_sum(T x, T *part)
{
    int warps = (int)blockDim.x / 32;

    x = gpu_warp_sum(x);
    if (threadIdx.x % 32 == 0)
        part[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < warps; i++)
        x += part[i];
    return x;
}

/* ---- Launches -------------------------------------------------------------------------------------- */

/* Nothing is launched for no rows, nor after a failure. */
#define GPU_RUN(lane, kernel, grid, block, shared, ...) do { \
        if (!(lane)->rc) { \
            GPU_LAUNCH(kernel, grid, block, shared, gr_cuda_stream(lane), __VA_ARGS__); \
            gr_cuda_launched(lane, #kernel); \
        } } while (0)

static inline unsigned gpu_blocks(size_t n, size_t each) { return (unsigned)((n + each - 1) / each); }

#define GPU_RUN_EACH(lane, kernel, N, C, ...) do { \
        size_t chunks_ = (N) * (((C) + GPU_EACH_COLS - 1) / GPU_EACH_COLS); \
        if (chunks_ > 0) \
            GPU_RUN(lane, kernel, dim3(gpu_blocks(chunks_, GPU_EACH_WARPS)), dim3(GPU_EACH_THREADS), 0, __VA_ARGS__); \
    } while (0)

#endif
