/* emu_int.h - what the files of the emulator share: the block that runs, and words to the sanitizers, by which they are
 * not compiled. */
#ifndef TESTS_EMU_EMU_INT_H
#define TESTS_EMU_EMU_INT_H

#include <deque>
#include <vector>
#include "emu/emu.h"
#include "emu/emu90.h"
#include "emu/emu_opt.h"

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define poison(p, n) __asan_poison_memory_region(p, n)
#define unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define poison(p, n) ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

#ifdef EMU_TSAN
#include <sanitizer/tsan_interface.h>
#define before(p) __tsan_release(p)
#define after(p) __tsan_acquire(p)
/* What stands between these is the hardware's own doing. */
extern "C" void AnnotateIgnoreReadsBegin(const char *, int), AnnotateIgnoreReadsEnd(const char *, int);
extern "C" void AnnotateIgnoreWritesBegin(const char *, int), AnnotateIgnoreWritesEnd(const char *, int);
static inline void hide(void) { AnnotateIgnoreReadsBegin("", 0); AnnotateIgnoreWritesBegin("", 0); }
static inline void show(void) { AnnotateIgnoreWritesEnd("", 0); AnnotateIgnoreReadsEnd("", 0); }
#else
#define before(p) ((void)(p))
#define after(p) ((void)(p))
static inline void hide(void) {}
static inline void show(void) {}
#endif

enum { EMU_MAX_THREADS = 1024, EMU_BARRIERS = 16, EMU_FOUR = 128 };
enum { EMU_READY, EMU_AT_BARRIER, EMU_AT_WARP, EMU_AT_BAR, EMU_DONE };

struct emu_product { float *d[EMU_FOUR]; const uint32_t *in[EMU_FOUR]; uint64_t a, b; int n, add, line; bool commit; };
/* Of 16 bytes of shared memory: the thread, from 1 on, whose cp.async wrote them last, and its fences before that. */
struct emu_written { unsigned by, fences; };
struct emu_box { unsigned char *to; CUtensorMap map; int x, y; uint64_t *bar; };

/* The block that runs. */
struct emu_state {
    const char *name;
    unsigned threads, done;
    emu_thread *t;                              /* [EMU_MAX_THREADS], kept from launch to launch */
    const std::function<void()> *body;
    unsigned char *shared;
    size_t shared_bytes;
    std::vector<emu_written> written;
    unsigned barriers;                          /* that the block has passed */
    struct { unsigned n, at; } fences[EMU_MAX_THREADS];     /* of the proxy: how many, the last after which barrier */
    void *main_sp, *main_stack, *main_fake, *main_tsan;
    size_t main_bytes;
    uint64_t random;
    struct { unsigned come, of; int line; char order; } barrier[EMU_BARRIERS];
    struct { unsigned come; int line; void *slot[EMU_LANES]; char order; } warp[EMU_MAX_THREADS / EMU_LANES];
    struct { unsigned come; int line; void *slot[EMU_FOUR]; bool fenced; } four[EMU_MAX_THREADS / EMU_FOUR];
    std::deque<emu_product> product[EMU_MAX_THREADS / EMU_FOUR];    /* wgmma under way, of each warpgroup */
    std::deque<emu_box> box;                                        /* the copy engine's */
};
extern emu_state emu_now;

/* The thread that runs waits in this state until another says that it is ready. */
void emu_wait_for(int state, int what, int line);

#endif
