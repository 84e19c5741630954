/* gpu90.cuh - what a Hopper has besides gpu.cuh: barriers in shared memory, the tensor copy engine, products of four
 * warps.
 *
 * A tile in shared memory is rows of 64 bf16, 128 bytes, whose 16-byte pieces are swizzled by the row modulo 8, as both
 * the copy engine and wgmma do it; it begins at a multiple of 1024. What has more columns lies as several, slabs of 64
 * columns one behind the other. */
#ifndef GR_OP_GPU90_CUH
#define GR_OP_GPU90_CUH

#include "op/gpu.cuh"

/* What is compiled for a Hopper, for the emulator or for the host's half, and not for another GPU. */
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define GPU_HOPPER 1
#else
#define GPU_HOPPER 0
#endif

#ifdef __CUDACC__

#include <cuda.h>

GPU_FN void gpu_bar_init(uint64_t *b, int n)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(gpu_shared_at(b)), "r"(n) : "memory");
}
GPU_FN void gpu_bar_fence(void) { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
GPU_FN void gpu_bar_expect(uint64_t *b, int bytes)          /* arrives, and says what the copy engine will bring */
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
                 :: "r"(gpu_shared_at(b)), "r"(bytes) : "memory");
}
GPU_FN void gpu_bar_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(gpu_shared_at(b)) : "memory");
}
GPU_FN void gpu_bar_wait(uint64_t *b, int parity)
{
    uint32_t ok;
    do
        asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n}" : "=r"(ok) : "r"(gpu_shared_at(b)), "r"(parity) : "memory");
    while (!ok);
}
GPU_FN void gpu_tma(void *shared, const CUtensorMap *map, int x, int y, uint64_t *b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];"
                 :: "r"(gpu_shared_at(shared)), "l"(map), "r"(gpu_shared_at(b)), "r"(x), "r"(y) : "memory");
}
/* What this thread has written to shared memory, and its cp.async that it has waited for, becomes what wgmma sees; for
 * what other threads have, a barrier follows. */
GPU_FN void gpu_proxy_fence(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
/* Before the first product that reads or adds to registers which the threads have written or read. */
GPU_FN void gpu_wgmma_fence(void) { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GPU_FN void gpu_wgmma_commit(void) { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> GPU_FN void gpu_wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(N) : "memory");
}
/* Keeps the compiler from moving what is done with these registers past a fence or a wait, which do not name them. */
template <int N> GPU_FN void gpu_wgmma_hold(float *d)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i]) :: "memory");
}
template <int N> GPU_FN void gpu_wgmma_hold(uint32_t *a)
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(a[i]) :: "memory");
}
template <int N> GPU_FN void gpu_regs_give(void) { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" :: "n"(N)); }
template <int N> GPU_FN void gpu_regs_take(void) { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" :: "n"(N)); }
#include "op/wgmma.inc"

#else

#include "emu/emu90.h"
#define __grid_constant__
#define gpu_bar_init(b, n) emu_bar_init(b, n)
#define gpu_bar_fence() ((void)0)
#define gpu_bar_expect(b, bytes) emu_bar_arrive(b, bytes, __LINE__)
#define gpu_bar_arrive(b) emu_bar_arrive(b, 0, __LINE__)
#define gpu_bar_wait(b, parity) emu_bar_wait(b, parity, __LINE__)
#define gpu_tma(shared, map, x, y, b) emu_tma(shared, map, x, y, b, __LINE__)
#define gpu_wgmma_fence() emu_wgmma_fence(__LINE__)
#define gpu_wgmma_commit() emu_wgmma(0, NULL, NULL, 0, 0, 0, __LINE__)
#define gpu_proxy_fence() emu_proxy_fence()
template <int N> GPU_FN void gpu_wgmma(float *d, uint64_t a, uint64_t b, int add, int line = __builtin_LINE())
{
    emu_wgmma(N, d, NULL, a, b, add, line);
}
template <int N> GPU_FN void gpu_wgmma_across(float *d, const uint32_t *a, uint64_t b, int add,
                                              int line = __builtin_LINE())
{
    emu_wgmma(N, d, a, 0, b, add, line);
}
template <int N> GPU_FN void gpu_wgmma_hold(float *) {}
template <int N> GPU_FN void gpu_wgmma_hold(uint32_t *) {}
template <int N> GPU_FN void gpu_wgmma_wait(void) { emu_wgmma_wait(N, __LINE__); }
template <int N> GPU_FN void gpu_regs_give(void) {}
template <int N> GPU_FN void gpu_regs_take(void) {}
GPU_FN uint32_t gpu_shared_at(const void *p) { return (uint32_t)((const unsigned char *)p - emu_shared()); }

#endif

/* Describes such a tile of which K are the columns, from its row 0 and column k on. */
GPU_FN uint64_t gpu_tile(const void *shared, int k)
{
    return (uint64_t)((gpu_shared_at(shared) + (uint32_t)k * 2) >> 4 & 0x3fff) | 1ull << 16 |
           (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

/* And slabs of `rows` rows of which K are the rows, from row k on, a multiple of 8. */
GPU_FN uint64_t gpu_tile_across(const void *shared, int k, int rows)
{
    return (uint64_t)((gpu_shared_at(shared) + (uint32_t)k * 128) >> 4 & 0x3fff) |
           (uint64_t)((uint32_t)rows * 128 >> 4) << 16 | (uint64_t)(1024 >> 4) << 32 | 1ull << 62;
}

#endif
