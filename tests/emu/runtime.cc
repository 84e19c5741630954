/* runtime.cc - see emu_rt.h: memory that the host may not touch, streams that are queues, events. */
#include <map>
#include <sched.h>
#include <vector>
#include "emu/emu_int.h"
#include "emu/emu_rt.h"

/* What a stream has before it: each is called until it says that it is over. */
struct CUstream_st { std::deque<std::function<bool()>> work; };
struct CUevent_st { bool passed, recorded; CUstream_st *in; };
static std::map<void *, size_t> memory;
static std::vector<CUstream_st *> streams;
static CUstream_st null_stream;
static int draining;

static void open_memory(bool open)
{
    for (auto &m : memory)
        if (open) { unpoison(m.first, m.second); } else { poison(m.first, m.second); }
}

/* The next piece of work; false: it is not over. */
static bool go_on(CUstream_st *s)
{
    auto f = std::move(s->work.front());
    s->work.pop_front();
    bool over = f();
    if (!over)
        s->work.push_front(std::move(f));
    return over;
}

/* All of it, or, where `waits` is not set, until something is not over. */
static void drain(CUstream_st *s, bool waits = true)
{
    if (!draining++)
        open_memory(true);
    while (!s->work.empty())
        if (!go_on(s)) {
            if (!waits)
                break;
            sched_yield();
        }
    if (!--draining)
        open_memory(false);
}

static void enqueue(CUstream_st *s, std::function<bool()> f)
{
    if (!s)
        s = &null_stream;
    s->work.push_back(std::move(f));
    if (!emu_opt.lazy && !draining)
        drain(s, false);
}

void emu_enqueue(CUstream_st *s, std::function<void()> f)
{
    enqueue(s, [f = std::move(f)] { f(); return true; });
}

void emu_enqueue_until(cudaStream_t s, int (*fn)(void *), void *arg)
{
    enqueue(s, [=] { return fn(arg) != 0; });
}

void emu_enqueue_c(cudaStream_t s, void (*fn)(void *), const void *arg, size_t bytes)
{
    std::vector<char> copy((const char *)arg, (const char *)arg + bytes);
    emu_enqueue(s, [=]() mutable { fn(copy.data()); });
}

static bool inside(const void *p, size_t n)
{
    auto m = memory.upper_bound((void *)(uintptr_t)p);
    if (m == memory.begin())
        return false;
    --m;
    return (char *)p + n <= (char *)m->first + m->second;
}

int emu_inside(const void *p, size_t n) { return inside(p, n); }

static bool on_device(const void *p)
{
    auto m = memory.upper_bound((void *)(uintptr_t)p);
    return m != memory.begin() && (--m, (char *)p < (char *)m->first + m->second);
}

/* ---- The device ------------------------------------------------------------------------------------ */

static size_t number(const char *name, size_t otherwise)
{
    const char *s = getenv(name);

    return s ? strtoul(s, NULL, 10) : otherwise;
}

/* Of a program that does not know the emulator. */
__attribute__((constructor)) static void take_options(void)
{
    emu_opt.lazy = number("EMU_LAZY", 0) != 0;
    emu_opt.order = (int)number("EMU_ORDER", 0);
    emu_opt.seed = number("EMU_SEED", 0);
}

static size_t all_bytes(void) { return number("EMU_MEGABYTES", 4096) << 20; }
static size_t held;                                             /* of it */

cudaError_t cudaGetDeviceCount(int *n)
{
    *n = (int)number("EMU_DEVICES", 1);
    return *n ? cudaSuccess : cudaErrorNoDevice;
}

cudaError_t cudaSetDevice(int device)
{
    return device >= 0 && (size_t)device < number("EMU_DEVICES", 1) ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int device)
{
    snprintf(p->name, sizeof p->name, "emulated GPU");
    p->major = (int)number("EMU_CAPABILITY", 80) / 10;
    p->minor = (int)number("EMU_CAPABILITY", 80) % 10;
    p->multiProcessorCount = 1;
    memset(&p->uuid, 0, sizeof p->uuid);
    snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "emulated %d", device);
    return cudaSetDevice(device);
}

cudaError_t cudaDriverGetVersion(int *version) { *version = 13000; return cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int *version) { *version = 13000; return cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    *all = all_bytes();
    *left = *all > held ? *all - held : 0;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p)
{
    a->type = on_device(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
    a->device = 0;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **p, size_t n)
{
    *p = malloc(n ? n : 1);
    return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}

cudaError_t cudaFreeHost(void *p)
{
    cudaDeviceSynchronize();
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **p, size_t n)
{
    *p = NULL;
    if (n > all_bytes() || held > all_bytes() - n)
        return cudaErrorMemoryAllocation;
    if (posix_memalign(p, 256, n ? n : 1))
        return cudaErrorMemoryAllocation;
    memset(*p, 0xff, n);
    memory[*p] = n;
    held += n;
    poison(*p, n);
    return cudaSuccess;
}

cudaError_t cudaFree(void *p)
{
    if (!p)
        return cudaSuccess;
    if (!memory.count(p))
        emu_fail("cudaFree of what cudaMalloc did not give", 0);
    cudaDeviceSynchronize();
    unpoison(p, memory[p]);
    held -= memory[p];
    memory.erase(p);
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, cudaMemcpyKind kind, cudaStream_t st)
{
    bool to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    bool from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;

    if (to ? !inside(d, n) : on_device(d))
        emu_fail("a copy whose destination is not where its kind says, or too small", 0);
    if (from ? !inside(s, n) : on_device(s))
        emu_fail("a copy whose source is not where its kind says, or too small", 0);
    emu_enqueue(st, [=] { memcpy(d, s, n); });
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *d, const void *s, size_t n, cudaMemcpyKind kind)
{
    cudaMemcpyAsync(d, s, n, kind, NULL);
    return cudaDeviceSynchronize();
}

cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t st)
{
    if (!inside(d, n))
        emu_fail("cudaMemset outside a buffer", 0);
    emu_enqueue(st, [=] { memset(d, v, n); });
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *s)
{
    CUstream_st *e = new CUstream_st;
    streams.push_back(e);
    *s = e;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return cudaStreamCreate(s); }

cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    drain(s ? s : &null_stream);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t s)
{
    s = s ? s : &null_stream;
    drain(s, false);
    return s->work.empty() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void)
{
    for (auto *s : streams)
        drain(s);
    drain(&null_stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    drain(s);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == s)
            streams.erase(streams.begin() + (long)i--);
    delete s;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *e) { *e = new CUevent_st(); return cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) { return cudaEventCreate(e); }

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s)
{
    e->passed = false;
    e->recorded = true;
    e->in = s ? s : &null_stream;
    emu_enqueue(s, [=] { e->passed = true; });
    return cudaSuccess;
}

/* The stream that waits lets the other run when it comes to that point, and not before. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned)
{
    emu_enqueue(s, [=] {
        while (e->recorded && !e->passed && !e->in->work.empty())
            go_on(e->in);
    });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    if (e->recorded && !e->passed)
        drain(e->in);
    return cudaSuccess;
}

/* One that a stream still has before it goes when the stream has passed it. */
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    cudaEventSynchronize(e);
    delete e;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void) { return cudaSuccess; }
const char *cudaGetErrorString(cudaError_t e) { return e ? "error" : "no error"; }
