/* device.c - a GPU as a device: its memory, what goes there and comes back, and what its kernels ask for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "cuda/cuda_int.h"
#include "op/gpu_kern.h"

enum { HALF = 4 << 20, RESULTS = 1 << 20, RESULT_ALIGN = 16 };

bool gr_cuda_ok(struct gr_cuda *g, cudaError_t e, const char *what)
{
    if (e && !g->rc)
        g->rc = gr_fail(&g->err, e == cudaErrorMemoryAllocation ? GRAM_ENOMEM : GRAM_EIO, "device %s: %s: %s", g->name,
                        what, cudaGetErrorString(e));
    return !e;
}

/* ---- Memory --------------------------------------------------------------------------------------- */

static uint64_t free_bytes(void *self)
{
    struct gr_cuda *g = self;
    size_t left = 0, all;

    return gr_cuda_ok(g, cudaSetDevice(g->index), "free memory") &&
           gr_cuda_ok(g, cudaMemGetInfo(&left, &all), "free memory") ? left : 0;
}

static gram_status alloc(void *self, void **out, size_t bytes, gram_err *err)
{
    struct gr_cuda *g = self;
    cudaError_t e = cudaSetDevice(g->index);

    *out = NULL;
    if (!e)
        e = cudaMalloc(out, gr_max(bytes, 1));
    if (!e)
        return GRAM_OK;
    cudaGetLastError();                         /* it is told here, and not by the next launch */
    if (e == cudaErrorMemoryAllocation)
        return gr_fail(err, GRAM_ENOMEM, "device %s: out of memory for %zu bytes: %llu are free", g->name, bytes,
                       (unsigned long long)free_bytes(g));
    return gr_fail(err, GRAM_EIO, "device %s: memory: %s", g->name, cudaGetErrorString(e));
}

static void give_back(void *self, void *p)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    gr_cuda_ok(g, cudaFree(p), "memory that is given back");
}

/* The next half of the pinned memory, once what it held has arrived. */
static void next_half(struct gr_cuda *g)
{
    gr_cuda_ok(g, cudaEventRecord(g->sent[g->half], g->stream), "copy");
    g->half = (g->half + 1) % GR_CUDA_HALVES;
    g->used = 0;
    gr_cuda_ok(g, cudaEventSynchronize(g->sent[g->half]), "copy");
}

static void put(void *self, void *to, const void *from, size_t bytes)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    for (size_t n; bytes > 0; to = (char *)to + n, from = (const char *)from + n, bytes -= n) {
        char *room;
        if (g->used == HALF)
            next_half(g);
        n = gr_min(bytes, HALF - g->used);
        room = g->up + g->half * HALF + g->used;
        memcpy(room, from, n);
        g->used = gr_min(HALF, gr_round_up(g->used + n, GR_ALIGN));
        gr_cuda_ok(g, cudaMemcpyAsync(to, room, n, cudaMemcpyHostToDevice, g->stream), "copy to the device");
    }
}

static void get(void *self, void *to, const void *from, size_t bytes)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    for (size_t n; bytes > 0; to = (char *)to + n, from = (const char *)from + n, bytes -= n) {
        n = gr_min(bytes, HALF);
        gr_cuda_ok(g, cudaMemcpyAsync(g->down, from, n, cudaMemcpyDeviceToHost, g->stream), "copy from the device");
        if (gr_cuda_ok(g, cudaStreamSynchronize(g->stream), "copy from the device"))
            memcpy(to, g->down, n);
        else
            memset(to, 0xff, n);                /* no numbers, whatever is done before the next wait */
    }
}

static void zero(void *self, void *p, size_t bytes)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    if (bytes > 0)
        gr_cuda_ok(g, cudaMemsetAsync(p, 0, bytes, g->stream), "memory of zeros");
}

/* ---- Runs ----------------------------------------------------------------------------------------- */

static void enter(void *self)
{
    cudaSetDevice(((struct gr_cuda *)self)->index);
}

static void leave(void *self)
{
    (void)self;
}

/* What kernels have made for the host so far. */
static void bring_results(struct gr_cuda *g)
{
    for (size_t i = 0; i < g->dues; i++)
        get(g, g->due[i].to, g->result + g->due[i].at, g->due[i].bytes);
    g->dues = g->result_used = 0;
}

static gram_status wait(void *self, gram_err *err)
{
    struct gr_cuda *g = self;
    gram_status rc;

    cudaSetDevice(g->index);
    bring_results(g);
    gr_cuda_ok(g, cudaStreamSynchronize(g->stream), "a kernel");
    rc = g->rc;
    if (rc && err)
        *err = g->err;
    g->rc = GRAM_OK;
    return rc;
}

/* ---- What kernels ask for: op/gpu_kern.h ----------------------------------------------------------- */

static struct gr_cuda *of(const gr_lane *lane)
{
    return gr_device_self(lane->device);
}

struct CUstream_st *gr_cuda_stream(const gr_lane *lane)
{
    return of(lane)->stream;
}

bool gr_cuda_hopper(const gr_lane *lane)
{
    return of(lane)->hopper_blocks > 0;
}

const void *gr_cuda_list(gr_lane *lane, const void *list, size_t bytes)
{
    void *there = gr_lane_bytes(lane, bytes);

    if (there)
        put(of(lane), there, list, bytes);
    return there;
}

/* Results lie in one block, behind each other. One that has no room waits for those before it. */
void *gr_cuda_result(gr_lane *lane, void *to, size_t bytes)
{
    struct gr_cuda *g = of(lane);
    struct gr_cuda_due *due;
    void *larger;
    size_t at;

    if (lane->rc)
        return NULL;
    if (bytes > g->result_size - g->result_used)
        bring_results(g);
    if (bytes > g->result_size) {
        gr_lane_fail(lane, alloc(g, &larger, gr_max(bytes, RESULTS), &lane->err), &lane->err);
        if (lane->rc)
            return NULL;
        if (g->result)
            give_back(g, g->result);
        g->result = larger;
        g->result_size = gr_max(bytes, RESULTS);
    }
    due = gr_grown(g->due, g->dues, &g->cap_due, 1, sizeof *due);
    if (!due) {
        gr_lane_fail(lane, gr_nomem(&lane->err, "results of kernels"), &lane->err);
        return NULL;
    }
    g->due = due;
    at = g->result_used;
    due[g->dues++] = (struct gr_cuda_due){ to, at, bytes };
    g->result_used = gr_min(g->result_size, gr_round_up(at + bytes, RESULT_ALIGN));
    return g->result + at;
}

void gr_cuda_launched(gr_lane *lane, const char *kernel)
{
    cudaError_t e = cudaGetLastError();

    if (e && !lane->rc)
        lane->rc = gr_fail(&lane->err, GRAM_EIO, "device %s: kernel %s: %s", of(lane)->name, kernel,
                           cudaGetErrorString(e));
}

void gr_cuda_refuse(gr_lane *lane, const char *what)
{
    if (!lane->rc)
        lane->rc = gr_fail(&lane->err, GRAM_EUNSUPPORTED, "device %s: %s", of(lane)->name, what);
}

/* ---- Opening -------------------------------------------------------------------------------------- */

static void close_device(void *self)
{
    struct gr_cuda *g = self;

    cudaSetDevice(g->index);
    if (g->stream)
        cudaStreamSynchronize(g->stream);
    gr_links_nccl.close(g);
    gr_cuda_pins_close(g);
    gr_blas_close(&g->blas);
    if (g->ones)
        cudaFree(g->ones);
    if (g->result)
        cudaFree(g->result);
    for (size_t i = 0; i < GR_CUDA_HALVES; i++)
        if (g->sent[i])
            cudaEventDestroy(g->sent[i]);
    if (g->stream)
        cudaStreamDestroy(g->stream);
    if (g->up)
        cudaFreeHost(g->up);
    if (g->down)
        cudaFreeHost(g->down);
    free(g->due);
    free(g);
}

static gram_status take_parts(struct gr_cuda *g, gram_err *err)
{
    void *up = NULL, *down = NULL;
    bool ok = gr_cuda_ok(g, cudaSetDevice(g->index), "opening") &&
              gr_cuda_ok(g, cudaStreamCreateWithFlags(&g->stream, cudaStreamNonBlocking), "stream") &&
              gr_cuda_ok(g, cudaMallocHost(&up, GR_CUDA_HALVES * HALF), "pinned memory");

    g->up = up;
    ok = ok && gr_cuda_ok(g, cudaMallocHost(&down, HALF), "pinned memory");
    g->down = down;
    for (size_t i = 0; i < GR_CUDA_HALVES && ok; i++)
        ok = gr_cuda_ok(g, cudaEventCreateWithFlags(&g->sent[i], cudaEventDisableTiming), "event") &&
             gr_cuda_ok(g, cudaEventRecord(g->sent[i], g->stream), "event");
    if (!ok)
        return gr_fail(err, g->rc, "%s", g->err.text);
    return gr_blas_open(&g->blas, g->name, err);
}

/* NVIDIA's driver says only that it is "insufficient" where there is none. */
static gram_status no_device(cudaError_t e, gram_err *err)
{
    int driver = 0, built = 0;

    cudaGetLastError();
    if (e == cudaErrorNoDevice)
        return gr_fail(err, GRAM_EUNSUPPORTED, "NVIDIA's driver is there, but no GPU that it knows (nvidia-smi -L "
                       "lists them; CUDA_VISIBLE_DEVICES hides them)");
    if (cudaDriverGetVersion(&driver) || driver == 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "NVIDIA's driver is missing: libcuda.so.1 is not where the loader looks "
                       "for libraries");
    cudaRuntimeGetVersion(&built);
    if (driver < built)
        return gr_fail(err, GRAM_EUNSUPPORTED, "NVIDIA's driver is for CUDA %d.%d, and " GR_GPU_LIBRARY " was built "
                       "for %d.%d: a newer driver is needed", driver / 1000, driver % 1000 / 10, built / 1000,
                       built % 1000 / 10);
    return gr_fail(err, GRAM_EIO, "NVIDIA's driver: %s", cudaGetErrorString(e));
}

static size_t list(gr_gpu_info *out, size_t n, gram_err *err)
{
    struct cudaDeviceProp p;
    int found = 0;
    cudaError_t e = cudaGetDeviceCount(&found);

    if (e || found == 0) {
        no_device(e ? e : cudaErrorNoDevice, err);
        return 0;
    }
    for (int i = 0; i < found && (size_t)i < n; i++) {
        size_t left = 0, all = 0;
        out[i] = (gr_gpu_info){ .name = "?" };
        if (!cudaGetDeviceProperties(&p, i)) {
            snprintf(out[i].name, sizeof out[i].name, "%s", p.name);
            out[i].major = p.major;
            out[i].minor = p.minor;
            out[i].processors = p.multiProcessorCount;
        }
        if (!cudaSetDevice(i) && !cudaMemGetInfo(&left, &all)) {
            out[i].bytes = all;
            out[i].free_bytes = left;
        }
    }
    return (size_t)found;
}

/* A Hopper's own products have not been seen to be right on one: they are only where they are asked for. */
static unsigned hopper_blocks(int index)
{
    const char *asked = getenv("GRAM_CUDA_WGMMA");
    struct cudaDeviceProp p;

    if (!asked || strcmp(asked, "1") || cudaGetDeviceProperties(&p, index) || p.major != 9 || p.minor != 0)
        return 0;
    return (unsigned)p.multiProcessorCount;
}

static gram_status open_device(const gr_device_kind **kind, void **self, const struct gr_kern **op, size_t index,
                               const struct gr_kern *cpu, gram_err *err)
{
    struct gr_cuda *g;
    gr_gpu_info none;
    size_t there = list(&none, 0, err);
    gram_status rc;

    if (there == 0)
        return err ? err->status : GRAM_EUNSUPPORTED;
    if (index >= there)
        return gr_fail(err, GRAM_EUNSUPPORTED, "device cuda:%zu: there %s %zu, from cuda:0 on", index,
                       there == 1 ? "is" : "are", there);
    g = gr_calloc(1, sizeof *g);
    if (!g)
        return gr_nomem(err, "device");
    g->index = (int)index;
    snprintf(g->name, sizeof g->name, "cuda:%zu", index);
    g->kind = (gr_device_kind){ g->name, GR_BF16, true, alloc, give_back, put, get, free_bytes, enter, leave, wait,
                                close_device, true, zero, &gr_links_nccl };
    g->op = *cpu;
    gr_kern_cuda(&g->op);
    g->op.linear = &gr_linear_cuda;
    g->hopper_blocks = hopper_blocks(g->index);
    rc = take_parts(g, err);
    if (rc) {
        close_device(g);
        return rc;
    }
    *kind = &g->kind;
    *self = g;
    *op = &g->op;
    return GRAM_OK;
}

static bool is_build(const gr_gpu_build *b)
{
    const gr_gpu_build own = GR_GPU_BUILD;

    return !strcmp(b->version, own.version) && b->kern == own.kern && b->lane == own.lane && b->kind == own.kind &&
           b->linear == own.linear && b->attn == own.attn;
}

#pragma GCC visibility push(default)
gr_gpu_entry_fn gr_gpu_entry;
#pragma GCC visibility pop

const gr_gpu *gr_gpu_entry(const gr_gpu_build *build)
{
    static const gr_gpu entry = { list, open_device };

    return is_build(build) ? &entry : NULL;
}
