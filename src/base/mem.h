/* mem.h - sizes that cannot wrap, an arena over a step's scratch, and a byte buffer that grows. */
#ifndef GR_BASE_MEM_H
#define GR_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "gram/error.h"

#define GR_COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define GR_ALIGN 64                         /* a cache line, and a 512-bit lane */

static inline size_t gr_min(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t gr_max(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t gr_round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* True and *out = a*b (a+b), or false where that does not fit. */
static inline bool gr_mul(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool gr_add(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }

void *gr_calloc(size_t n, size_t size);     /* zeroed; NULL when out of memory or n*size wraps; n may be 0 */
void *gr_alloc_aligned(size_t n, size_t size);  /* GR_ALIGN-aligned, not zeroed; free() it */
char *gr_strdup(const char *s);
char *gr_strndup(const char *s, size_t n);  /* a NUL is added */

/* Borrowed bytes that need no NUL. */
typedef struct { const char *p; size_t n; } gr_str;
bool gr_str_is(gr_str s, const char *word);

/* Whether a name means standard input or output: "-", or in the form that an ending names, "-.arrows". */
static inline bool gr_name_is_standard(const char *path) { return path[0] == '-' && (!path[1] || path[1] == '.'); }

/* A buffer that grows by doubling. All zeros is empty and ready; p is always NUL-terminated once
 * anything was added. A failed call leaves what was there. */
typedef struct { char *p; size_t n, cap; } gr_buf;
bool gr_buf_add(gr_buf *b, const void *p, size_t n);
bool gr_buf_puts(gr_buf *b, const char *s);
bool gr_buf_printf(gr_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool gr_buf_read(gr_buf *b, FILE *f);       /* adds what is left of f; false: errno says why */
void gr_buf_clear(gr_buf *b);               /* frees; ready again */

/* p with room for `more` elements of `size` bytes, one at least, behind the n there are; what it gives takes the place
 * of p. NULL: out of memory, and p is as it was. */
void *gr_grown(void *p, size_t n, size_t *cap, size_t more, size_t size);

/* Token ids that grow the same way. */
typedef struct { int32_t *p; size_t n, cap; } gr_ids;
bool gr_ids_add(gr_ids *ids, const int32_t *p, size_t n);
bool gr_ids_same(const gr_ids *a, const gr_ids *b);
void gr_ids_clear(gr_ids *ids);

/* An arena: a block that is somebody's, sized before the loop and handed out front to back. */
typedef struct { unsigned char *base; size_t size, used; } gr_arena;
void *gr_arena_alloc(gr_arena *a, size_t n);        /* GR_ALIGN-aligned; asserts that it fits */
static inline void gr_arena_reset(gr_arena *a) { a->used = 0; }

#endif
