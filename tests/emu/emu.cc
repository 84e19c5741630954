/* emu.cc - see emu.h: launches, the fibers that are a block's threads, and their barriers. */
#include <map>
#include <pthread.h>
#include <sys/mman.h>
#include "emu/emu_int.h"

enum { STACK = 256 << 10 };

emu_thread *emu_me;
dim3 emu_block, emu_block_dim, emu_grid_dim;
emu_options emu_opt = { 0, 1, true };
emu_counts emu_count;
emu_state emu_now;
#define g emu_now

void emu_fail(const char *what, int line)
{
    fprintf(stderr, "emu: %s: %s at line %d, block %u %u %u, thread %u\n", g.name ? g.name : "host", what, line,
            emu_block.x, emu_block.y, emu_block.z, emu_me ? emu_me->at : 0);
    fflush(stderr);
    _Exit(97);
}

bool emu_lazy(void) { return emu_opt.lazy; }
unsigned char *emu_shared(void) { return g.shared; }

/* ---- Fibers ---------------------------------------------------------------------------------------- */

#ifndef __x86_64__
#error "the switch between fibers is written for x86-64"
#endif
extern "C" void emu_switch(void **save, void *to);
asm(".text\n.globl emu_switch\n.type emu_switch,@function\nemu_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n.size emu_switch,.-emu_switch\n");

/* From the fiber `from` (NULL: the scheduler) to `to` (NULL: the scheduler). */
static void go(emu_thread *from, emu_thread *to)
{
    void **save = from ? &from->sp : &g.main_sp;

    emu_count.switches++;
    emu_me = to;
#ifdef EMU_ASAN
    __sanitizer_start_switch_fiber(from ? (from->state == EMU_DONE ? NULL : &from->fake) : &g.main_fake,
                                   to ? to->stack : g.main_stack, to ? (size_t)STACK : g.main_bytes);
#endif
#ifdef EMU_TSAN
    __tsan_switch_to_fiber(to ? to->tsan : g.main_tsan, 1);     /* 1: says nothing of who was first */
#endif
    emu_switch(save, to ? to->sp : g.main_sp);
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(from ? from->fake : g.main_fake, NULL, NULL);
#endif
}

static emu_thread *next_ready(const emu_thread *now)
{
    unsigned n = g.threads, at = now ? now->at : 0;

    if (emu_opt.order == 2) {
        g.random = g.random * 6364136223846793005u + 1442695040888963407u;
        at = (unsigned)(g.random >> 33) % n;
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned k = emu_opt.order == 1 ? (at + n - i) % n : (at + i) % n;
        if (g.t[k].state == EMU_READY)
            return &g.t[k];
    }
    return NULL;
}

static void stuck(void)
{
    for (unsigned i = 0; i < g.threads; i++)
        if (g.t[i].state != EMU_READY && g.t[i].state != EMU_DONE) {
            emu_me = &g.t[i];
            emu_fail(g.t[i].state == EMU_AT_BARRIER ? "threads wait at a barrier that others never reach" :
                     g.t[i].state == EMU_AT_WARP ? "lanes wait for others of their warp that never come" :
                     "a thread waits for a phase of a barrier that never ends", g.t[i].line);
        }
}

void emu_wait_for(int state, int what, int line)
{
    emu_thread *me = emu_me, *to;

    me->state = state;
    me->wait = what;
    me->line = line;
    to = next_ready(me);
    if (!to)
        stuck();
    go(me, to);
}

static void fiber(void)
{
#ifdef EMU_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    after(&g);
    (*g.body)();
    before(&g);
    if (emu_me->first != emu_me->last)
        emu_fail("a thread ends with cp.async that it did not wait for", 0);
    emu_me->state = EMU_DONE;
    g.done++;
    emu_thread *to = next_ready(emu_me);
    if (!to && g.done < g.threads)
        stuck();
    go(emu_me, to);
    abort();
}

static void make(emu_thread *t)
{
    void **sp;

    if (!t->stack) {
        t->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (t->stack == MAP_FAILED)
            abort();
#ifdef EMU_TSAN
        t->tsan = __tsan_create_fiber(0);
#endif
    }
    unpoison(t->stack, STACK);
    sp = (void **)((char *)t->stack + STACK) - 3;   /* as after a call: 8 below a multiple of 16 */
    *sp = NULL;                                     /* what fiber() would return to */
    *--sp = (void *)fiber;
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    t->sp = sp;
    t->state = EMU_READY;
    t->first = t->last = 0;
}

/* ---- Barriers -------------------------------------------------------------------------------------- */

void emu_barrier(int id, unsigned threads, int line)
{
    unsigned of = threads ? threads : g.threads;
    auto *b = &g.barrier[id];

    if (b->come && (b->line != line || b->of != of))
        emu_fail("threads meet at different barriers", line);
    b->line = line;
    b->of = of;
    before(&b->order);
    if (++b->come < of)
        emu_wait_for(EMU_AT_BARRIER, id, line);
    else {
        b->come = 0;
        g.barriers++;
        for (unsigned i = 0; i < g.threads; i++)
            if (g.t[i].state == EMU_AT_BARRIER && g.t[i].wait == id)
                g.t[i].state = EMU_READY;
    }
    after(&b->order);
}

/* Thread `at` of a group of `of` threads comes with a slot; the last one makes fn of all. */
template <class M> static void meet(M *m, unsigned of, const char *what, int line, void *slot,
                                    void (*fn)(void *const *slot))
{
    unsigned first = emu_me->at / of * of;

    if (m->come && m->line != line)
        emu_fail(what, line);
    m->line = line;
    m->slot[emu_me->at % of] = slot;
    if (++m->come < of) {
        emu_wait_for(EMU_AT_WARP, (int)(emu_me->at / of), line);
        return;
    }
    m->come = 0;
    if (fn)
        fn(m->slot);
    for (unsigned i = first; i < first + of; i++)
        if (g.t[i].state == EMU_AT_WARP)
            g.t[i].state = EMU_READY;
}

void emu_meet(int line, void *slot, void (*fn)(void *const *slot))
{
    meet(&g.warp[emu_me->at / EMU_LANES], EMU_LANES, "lanes of a warp meet at different instructions", line, slot, fn);
}

void emu_meet4(int line, void *slot, void (*fn)(void *const *slot))
{
    meet(&g.four[emu_me->at / EMU_FOUR], EMU_FOUR, "threads of a warpgroup meet at different instructions", line, slot,
         fn);
}

void emu_syncwarp(int line)
{
    auto *m = &g.warp[emu_me->at / EMU_LANES];

    before(&m->order);
    emu_meet(line, NULL, NULL);
    after(&m->order);
}

/* ---- Launches -------------------------------------------------------------------------------------- */

static std::map<const void *, size_t> allowed;
static pthread_mutex_t one_launch = PTHREAD_MUTEX_INITIALIZER;

void emu_allow(const void *kernel, size_t shared, size_t most)
{
    pthread_mutex_lock(&one_launch);
    if (shared > most)
        emu_fail("more shared memory than one of the GPUs has", 0);
    allowed[kernel] = shared;
    pthread_mutex_unlock(&one_launch);
}

static void refuse_what_a_gpu_would(const void *kernel, dim3 grid, dim3 block, size_t shared)
{
    unsigned n = block.x * block.y * block.z;

    if (!n || n > EMU_MAX_THREADS || n % EMU_LANES || !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffffu ||
        grid.y > 65535 || grid.z > 65535)
        emu_fail("a launch of a shape that a GPU refuses", 0);
    if (shared > 48 << 10 && (!allowed.count(kernel) || allowed[kernel] < shared))
        emu_fail("more than 48 KB of shared memory, which the kernel was not allowed", 0);
}

/* The stack of the thread that launches, which a sanitizer must know to come back to it. Its two words lie in the room
 * that the loader has for such: LeakSanitizer guesses at what a library that is opened later gets for each thread, and
 * fell over it where the memory before that block had the wrong bytes. */
static void know_main(void)
{
    static thread_local void *stack __attribute__((tls_model("initial-exec")));
    static thread_local size_t bytes __attribute__((tls_model("initial-exec")));
    pthread_attr_t at;

    if (!stack && !pthread_getattr_np(pthread_self(), &at)) {
        pthread_attr_getstack(&at, &stack, &bytes);
        pthread_attr_destroy(&at);
    }
    g.main_stack = stack;
    g.main_bytes = bytes;
#ifdef EMU_TSAN
    g.main_tsan = __tsan_get_current_fiber();
#endif
}

static void run_block(dim3 block, unsigned n, size_t shared)
{
    void *room = NULL;

    emu_count.blocks++;
    memset(g.barrier, 0, sizeof g.barrier);
    memset(g.warp, 0, sizeof g.warp);
    memset(g.four, 0, sizeof g.four);
    if (shared && posix_memalign(&room, 1024, shared))
        abort();
    if (room)
        memset(room, 0xff, shared);
    g.shared = (unsigned char *)room;
    g.shared_bytes = shared;
    g.written.assign(shared / 16 + 1, emu_written{ 0, 0 });
    memset(g.fences, 0, sizeof g.fences);
    g.barriers = 0;
    g.done = 0;
    for (unsigned i = 0; i < n; i++) {
        emu_thread *t = &g.t[i];
        t->at = i;
        t->lane = i % EMU_LANES;
        t->tid = dim3(i % block.x, i / block.x % block.y, i / block.x / block.y);
        make(t);
    }
    before(&g);
    go(NULL, next_ready(emu_opt.order == 1 ? &g.t[n - 1] : NULL));
    after(&g);
    if (!g.box.empty())
        emu_fail("a copy that nobody waited for", 0);
    for (auto &p : g.product)
        if (!p.empty())
            emu_fail("a product that nobody waited for", 0);
    free(room);
}

void emu_run(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
             const std::function<void()> &body)
{
    unsigned n = block.x * block.y * block.z;

    pthread_mutex_lock(&one_launch);
    g.name = name;
    g.threads = n;
    g.body = &body;
    refuse_what_a_gpu_would(kernel, grid, block, shared);
    if (!g.t && !(g.t = (emu_thread *)calloc(EMU_MAX_THREADS, sizeof *g.t)))
        abort();
    know_main();
    emu_count.launches++;
    emu_block_dim = block;
    emu_grid_dim = grid;
    g.random = emu_opt.seed * 2 + 1;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                emu_block = dim3(x, y, z);
                run_block(block, n, shared);
            }
    emu_me = NULL;
    g.name = NULL;
    pthread_mutex_unlock(&one_launch);
}
