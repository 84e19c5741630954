/* mem.c - see mem.h. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/err.h"
#include "base/mem.h"

/* Asks for pages of 2 MiB inside of memory that is not touched yet: passing over gigabytes once a step otherwise costs
 * a page-table walk and, the first time, a fault for every 4 KiB. Not granted, nothing is lost. */
static void *huge(void *p, size_t bytes)
{
    const size_t page = (size_t)2 << 20;
    size_t skip = gr_round_up((uintptr_t)p, page) - (uintptr_t)p;

    if (p && bytes >= skip + page)
        (void)madvise((char *)p + skip, (bytes - skip) / page * page, MADV_HUGEPAGE);
    return p;
}

void *gr_calloc(size_t n, size_t size)
{
    size_t bytes;
    void *p = calloc(n ? n : 1, size ? size : 1);

    return gr_mul(n, size, &bytes) ? huge(p, bytes) : p;
}

void *gr_alloc_aligned(size_t n, size_t size)
{
    size_t bytes;

    if (!gr_mul(n ? n : 1, size ? size : 1, &bytes) || bytes > SIZE_MAX - GR_ALIGN)
        return NULL;
    bytes = gr_round_up(bytes, GR_ALIGN);
    return huge(aligned_alloc(GR_ALIGN, bytes), bytes);
}

char *gr_strndup(const char *s, size_t n)
{
    char *p = n == SIZE_MAX ? NULL : malloc(n + 1);

    if (p) {
        if (n)
            memcpy(p, s, n);
        p[n] = '\0';
    }
    return p;
}

bool gr_str_is(gr_str s, const char *word)
{
    return s.n == strlen(word) && (s.n == 0 || !memcmp(s.p, word, s.n));
}

char *gr_strdup(const char *s)
{
    return gr_strndup(s, strlen(s));
}

void *gr_grown(void *p, size_t n, size_t *cap, size_t more, size_t size)
{
    size_t want, bytes;
    void *q;

    if (!gr_add(n, more, &want))
        return NULL;
    if (want <= *cap)
        return p;
    if (want < *cap * 2)
        want = *cap * 2;
    if (want < 64)
        want = 64;
    if (!gr_mul(want, size, &bytes))
        return NULL;
    q = realloc(p, bytes);
    if (q)
        *cap = want;
    return q;
}

bool gr_buf_add(gr_buf *b, const void *p, size_t n)
{
    char *q = n == SIZE_MAX ? NULL : gr_grown(b->p, b->n, &b->cap, n + 1, 1);

    if (!q)
        return false;
    b->p = q;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
    return true;
}

bool gr_buf_puts(gr_buf *b, const char *s)
{
    return gr_buf_add(b, s, strlen(s));
}

bool gr_buf_printf(gr_buf *b, const char *fmt, ...)
{
    va_list ap;
    char *q;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    q = n < 0 ? NULL : gr_grown(b->p, b->n, &b->cap, (size_t)n + 1, 1);
    if (!q)
        return false;
    b->p = q;
    va_start(ap, fmt);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
    return true;
}

bool gr_buf_read(gr_buf *b, FILE *f)
{
    char block[65536];
    size_t n;

    while ((n = fread(block, 1, sizeof block, f)) > 0)
        if (!gr_buf_add(b, block, n)) {
            errno = ENOMEM;
            return false;
        }
    return !ferror(f);
}

void gr_buf_clear(gr_buf *b)
{
    free(b->p);
    *b = (gr_buf){ 0 };
}

bool gr_ids_add(gr_ids *ids, const int32_t *p, size_t n)
{
    int32_t *q = n ? gr_grown(ids->p, ids->n, &ids->cap, n, sizeof *q) : NULL;

    if (!q)
        return n == 0;
    ids->p = q;
    memcpy(ids->p + ids->n, p, n * sizeof *p);
    ids->n += n;
    return true;
}

bool gr_ids_same(const gr_ids *a, const gr_ids *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->p, b->p, a->n * sizeof *a->p));
}

void gr_ids_clear(gr_ids *ids)
{
    free(ids->p);
    *ids = (gr_ids){ 0 };
}

void *gr_arena_alloc(gr_arena *a, size_t n)
{
    void *p = a->base + a->used;

    n = gr_round_up(n, GR_ALIGN);
    assert(n <= a->size - a->used);
    a->used += n;
    return p;
}
