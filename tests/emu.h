/* emu.h - a device whose memory the host cannot touch, for tests: what a GPU would not forgive faults at the line.
 *
 * Its memory lies in pages that are closed but while a run, put or get is on its way; threads compute, with the CPU's
 * kernels. So its numbers are the CPU's, bit for bit. takes_all: a run is one piece, as on a GPU. */
#ifndef TESTS_EMU_H
#define TESTS_EMU_H

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/cpu.h"
#include "base/err.h"
#include "check.h"
#include "op/op.h"

enum { EMU_PAGE = 4096 };
#define EMU_BYTES ((size_t)1 << 32)     /* of addresses; memory is taken as it is touched */

struct emu { char *base; size_t used, live; bool inside; };

static void emu_open_pages(struct emu *e, bool yes)
{
    assert_true(e->inside != yes);
    e->inside = yes;
    if (e->used > 0)
        assert_int_equal(mprotect(e->base, e->used, yes ? PROT_READ | PROT_WRITE : PROT_NONE), 0);
}

static void emu_enter(void *self) { emu_open_pages(self, true); }
static void emu_leave(void *self) { emu_open_pages(self, false); }

static bool emu_owns(const struct emu *e, const void *p)
{
    return (const char *)p >= e->base && (const char *)p < e->base + e->used;
}

/* What is taken starts with bytes that are no finite numbers; what is given back stays closed for good. */
static gram_status emu_alloc(void *self, void **out, size_t bytes, gram_err *err)
{
    struct emu *e = self;

    *out = NULL;
    if (bytes > EMU_BYTES - e->used - EMU_PAGE)
        return gr_fail(err, GRAM_ENOMEM, "device emu: out of memory for %zu bytes", bytes);
    *out = e->base + e->used;
    e->used += gr_round_up(gr_max(bytes, 1), EMU_PAGE);
    e->live++;
    emu_enter(e);
    memset(*out, 0xff, bytes);
    emu_leave(e);
    return GRAM_OK;
}

static void emu_free(void *self, void *p)
{
    struct emu *e = self;

    assert_true(emu_owns(e, p) && e->live > 0);
    e->live--;
}

static void emu_move(struct emu *e, void *to, const void *from, size_t bytes)
{
    emu_enter(e);
    memcpy(to, from, bytes);
    emu_leave(e);
}

static void emu_put(void *self, void *to, const void *from, size_t bytes)
{
    assert_true(bytes == 0 || (emu_owns(self, to) && !emu_owns(self, from)));
    emu_move(self, to, from, bytes);
}

static void emu_get(void *self, void *to, const void *from, size_t bytes)
{
    assert_true(bytes == 0 || (!emu_owns(self, to) && emu_owns(self, from)));
    emu_move(self, to, from, bytes);
}

static uint64_t emu_free_bytes(void *self)
{
    return EMU_BYTES - ((struct emu *)self)->used;
}

static gram_status emu_wait(void *self, gram_err *err)
{
    (void)self, (void)err;
    return GRAM_OK;
}

/* All must have been given back. */
static void emu_close(void *self)
{
    struct emu *e = self;

    assert_int_equal(e->live, 0);
    munmap(e->base, EMU_BYTES);
    free(e);
}

static inline gr_device *emu_open(size_t threads, bool takes_all)
{
    static const gr_device_kind kinds[] = {
        { "emu", GR_F32, false, emu_alloc, emu_free, emu_put, emu_get, emu_free_bytes, emu_enter, emu_leave, emu_wait,
          emu_close, false, NULL, NULL },
        { "emu", GR_F32, true, emu_alloc, emu_free, emu_put, emu_get, emu_free_bytes, emu_enter, emu_leave, emu_wait,
          emu_close, false, NULL, NULL },
    };
    struct emu *e = calloc(1, sizeof *e);
    gr_device *d;

    assert_non_null(e);
    e->base = mmap(NULL, EMU_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(e->base != MAP_FAILED);
    CHECK_OK(gr_device_open_kind(&d, &kinds[takes_all], e, threads, gr_kern_of(gr_cpu()), &check_err));
    return d;
}

#endif
