/* flatbuf.h - FlatBuffers from strangers, read where they lie: what lies outside is 0, and is remembered.
 *
 *     root     u32: where the table is
 *     table    i32: how far before it its vtable is | fields
 *     vtable   u16 its bytes | u16 the table's | u16 for each field: where it is in the table, 0: it has its default
 *     vector   u32 count | elements;  strings are such, with a zero behind them */
#ifndef GR_FILE_FLATBUF_H
#define GR_FILE_FLATBUF_H

#include <string.h>
#include "base/mem.h"

typedef struct { const unsigned char *p; size_t n; bool bad; } gr_flat;

/* The number of `bytes` bytes at `at`. */
static inline uint64_t gr_flat_get(gr_flat *f, size_t at, size_t bytes)
{
    uint64_t x = 0;

    if (at > f->n || bytes > f->n - at) {
        f->bad = true;
        return 0;
    }
    memcpy(&x, f->p + at, bytes);
    return x;
}

/* Where the offset at `at` leads; 0: outside. Nothing lies at 0 but the root's offset. */
static inline size_t gr_flat_follow(gr_flat *f, size_t at)
{
    uint64_t to = at + gr_flat_get(f, at, 4);

    f->bad |= to >= f->n;
    return f->bad ? 0 : (size_t)to;
}

/* Where field `id` of a table is; 0: it has its default. */
static inline size_t gr_flat_field(gr_flat *f, size_t table, unsigned id)
{
    int64_t vtable = (int64_t)table - (int32_t)gr_flat_get(f, table, 4);
    size_t bytes, at;

    f->bad |= vtable < 0 || !table;
    if (f->bad)
        return 0;
    bytes = gr_flat_get(f, (size_t)vtable, 2);
    at = 4 + 2 * (size_t)id + 2 <= bytes ? gr_flat_get(f, (size_t)vtable + 4 + 2 * (size_t)id, 2) : 0;
    return at ? table + at : 0;
}

static inline int64_t gr_flat_int(gr_flat *f, size_t table, unsigned id, size_t bytes, int64_t otherwise)
{
    size_t at = gr_flat_field(f, table, id);
    uint64_t x = at ? gr_flat_get(f, at, bytes) : 0;

    if (!at)
        return otherwise;
    return bytes == 8 ? (int64_t)x : bytes == 4 ? (int32_t)(uint32_t)x : bytes == 2 ? (int16_t)(uint16_t)x : (int64_t)x;
}

static inline size_t gr_flat_table(gr_flat *f, size_t table, unsigned id)       /* 0: none */
{
    size_t at = gr_flat_field(f, table, id);

    return at ? gr_flat_follow(f, at) : 0;
}

/* *n elements of `each` bytes, from where this says on; NULL: none. */
static inline size_t gr_flat_vector(gr_flat *f, size_t table, unsigned id, size_t each, size_t *n)
{
    size_t at = gr_flat_table(f, table, id), bytes;

    *n = at ? (size_t)gr_flat_get(f, at, 4) : 0;
    if (at && (!gr_mul(*n, each, &bytes) || bytes > f->n - at - 4))
        f->bad = true;
    *n = f->bad ? 0 : *n;
    return f->bad || !at ? 0 : at + 4;
}

#endif
