/* emu.h - CUDA C kernels on the CPU, for tests: the threads of a block are fibers, one block runs at a time, and warps
 * meet where the hardware makes them meet. op/gpu.cuh includes it where nvcc does not compile.
 *
 * It is made to find mistakes, not to be fast:
 *   - shared memory is malloc'd for each block and device memory for each buffer, so ASan sees an access beside it; it
 *     is filled with 0xff (a NaN) first, and the host may not touch device memory but through the runtime
 *   - cp.async, streams and events do nothing until somebody waits for them, or all at once, as emu_opt.lazy says
 *   - the order of threads is ascending, descending or random by seed: a race shows as bits that move
 *   - under TSan a thread is a TSan fiber, and only barriers order them: a missing __syncthreads() is reported
 *   - lanes that meet at different instructions, barriers that a thread left out, and deadlocks end the run with their
 *     line, and so does a launch that one of the GPUs would refuse
 *
 * Not modelled: speed, occupancy, the rounding of tensor cores (sums of 16 products are made in float32 here), blocks
 * that run beside each other; of fences between the generic and the asynchronous proxy, those of what is stored by
 * itself or loaded again by the copy engine: what cp.async wrote and wgmma reads must have one. */
#ifndef TESTS_EMU_EMU_H
#define TESTS_EMU_EMU_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <functional>

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

enum { EMU_LANES = 32, EMU_ASYNC = 512 };
struct emu_copy { void *dst; const void *src; unsigned char bytes; bool commit; };
struct emu_thread {
    dim3 tid;
    unsigned at, lane;                  /* in the block, in the warp */
    int state, line, wait;
    const void *on;                     /* a barrier in shared memory */
    void *sp, *stack, *fake, *tsan;
    emu_copy copy[EMU_ASYNC];           /* cp.async under way, a ring */
    unsigned first, last;
};
extern emu_thread *emu_me;
extern dim3 emu_block, emu_block_dim, emu_grid_dim;
extern struct emu_counts { uint64_t launches, blocks, switches, mma, wgmma, ldmatrix, conflicts; } emu_count;

#define threadIdx (emu_me->tid)
#define blockIdx emu_block
#define blockDim emu_block_dim
#define gridDim emu_grid_dim
#define __syncthreads() emu_barrier(0, 0, __LINE__)
#define __syncwarp(...) emu_syncwarp(__LINE__)

void emu_fail(const char *what, int line) __attribute__((noreturn));
bool emu_lazy(void);
unsigned char *emu_shared(void);
void emu_barrier(int id, unsigned threads, int line);       /* threads 0: all of the block */
void emu_syncwarp(int line);
/* The last of a warp's lanes to come makes fn of all lanes' slots; then all go on. */
void emu_meet(int line, void *slot, void (*fn)(void *const *slot));
void emu_run(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
             const std::function<void()> &body);
/* cudaFuncSetAttribute(): more than 48 KB of shared memory. most: what the smallest of the GPUs has that it is for. */
void emu_allow(const void *kernel, size_t shared, size_t most);
void emu_enqueue(struct CUstream_st *s, std::function<void()> f);

/* As in CUDA, all that is handed over is what it was at the launch. */
template <class... P, class... A> static void emu_start(const char *name, void (*kernel)(P...), dim3 grid, dim3 block,
                                                        size_t shared, struct CUstream_st *s, A... args)
{
    emu_enqueue(s, [=] { emu_run(name, (const void *)kernel, grid, block, shared, [=] { kernel(args...); }); });
}
#define emu_launch(kernel, grid, block, shared, stream, ...) \
    emu_start(#kernel, (kernel), (grid), (block), (shared), (stream), __VA_ARGS__)

/* ---- What lanes do together: warp.cc --------------------------------------------------------------- */

/* The exchanges themselves are in a file that no sanitizer looks at: hardware makes them, not the lanes. */
struct emu_shfl { uint64_t in, out; int arg; };
void emu_shfl_xor(void *const *slot), emu_shfl_idx(void *const *slot), emu_mma(void *const *slot);
void emu_ldm(void *const *slot), emu_ldm_t(void *const *slot);
template <class T> static T emu_shuffle(T x, int arg, void (*fn)(void *const *), int line)
{
    emu_shfl s = { 0, 0, arg };
    static_assert(sizeof x <= sizeof s.in, "eight bytes at most");
    memcpy(&s.in, &x, sizeof x);
    emu_meet(line, &s, fn);
    memcpy(&x, &s.out, sizeof x);
    return x;
}
#define __shfl_xor_sync(mask, x, m) emu_shuffle((x), (m), emu_shfl_xor, __LINE__)
#define __shfl_sync(mask, x, l) emu_shuffle((x), (l), emu_shfl_idx, __LINE__)

static inline float emu_bf(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;

    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint16_t emu_to_bf(float f)
{
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

struct emu_mma_slot { float *d; const uint32_t *a, *b; };
struct emu_ldm_slot { uint16_t row[8]; uintptr_t at; uint32_t r[4]; };

static inline void emu_aligned(const void *p, int line)
{
    if ((uintptr_t)p % 16)
        emu_fail("an address is not a multiple of 16", line);
}

/* Each lane reads its own row, so that a sanitizer sees who read it. */
#define emu_ldmatrix(r_, p_, fn) do { \
        emu_ldm_slot s_; \
        emu_aligned(p_, __LINE__); \
        s_.at = (uintptr_t)(p_); \
        for (int i_ = 0; i_ < 8; i_++) s_.row[i_] = ((const uint16_t *)(p_))[i_]; \
        emu_meet(__LINE__, &s_, fn); \
        for (int i_ = 0; i_ < 4; i_++) (r_)[i_] = s_.r[i_]; \
    } while (0)

/* ---- cp.async -------------------------------------------------------------------------------------- */

void emu_wrote(const void *dst);                            /* to shared memory, as no proxy but the generic one sees */
static inline void emu_do_copy(const emu_copy *c)
{
    emu_wrote(c->dst);
    for (int i = 0; i < 16; i++)
        ((volatile unsigned char *)c->dst)[i] = i < c->bytes ? ((const volatile unsigned char *)c->src)[i] : 0;
}

static inline void emu_cp_async(void *dst, const void *src, unsigned bytes, int line)
{
    emu_thread *t = emu_me;
    emu_copy c = { dst, src, (unsigned char)bytes, false };

    emu_aligned(dst, line);
    if (bytes)
        emu_aligned(src, line);
    if (!emu_lazy()) {
        emu_do_copy(&c);
        return;
    }
    (void)*(volatile unsigned char *)dst;                   /* for ASan: here and not at the wait */
    (void)((volatile unsigned char *)dst)[15];
    if (bytes)
        (void)((const volatile unsigned char *)src)[bytes - 1];
    if (t->last - t->first == EMU_ASYNC)
        emu_fail("too many cp.async under way for the emulator", line);
    t->copy[t->last++ % EMU_ASYNC] = c;
}

static inline void emu_cp_commit(void)
{
    emu_thread *t = emu_me;
    emu_copy c = { NULL, NULL, 0, true };

    if (emu_lazy())
        t->copy[t->last++ % EMU_ASYNC] = c;
}

static inline void emu_cp_wait(int may_run)
{
    emu_thread *t = emu_me;
    int groups = 0;

    for (unsigned i = t->first; i != t->last; i++)
        groups += t->copy[i % EMU_ASYNC].commit;
    for (; groups > may_run; t->first++) {
        const emu_copy *c = &t->copy[t->first % EMU_ASYNC];
        if (c->commit)
            groups--;
        else
            emu_do_copy(c);
    }
}

#endif
