/* strip.h - GR_STRIP rows of a weight in 8 bits, rotated and quantised together, with their bytes as panels hold them.
 *
 *   q, scale, sum     of a row: gr_quant_weight_ref()'s (quant.h) of what gr_rotate_row_ref() makes of it
 *   at(i, k)        = k / group * ld + i * group + k % group         of row i; group: 4 (packed.h), or 2 (dot16.h)
 *
 * Every build has the bits of those two, which are what it means: the fast ones take a row for a lane, so that sums
 * within a row are sums of vectors and bytes come to lie beside those of other rows without being turned. */
#ifndef GR_OP_STRIP_H
#define GR_OP_STRIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GR_STRIP = 16, GR_STRIP_COLS = 256 };

/* The n values of row o from k on, k a multiple of GR_STRIP_COLS and n that at most: in room, or where they lie. They
 * are float32, or all of the weight's are bfloat16. */
typedef const void *gr_strip_row_fn(void *arg, size_t o, size_t k, size_t n, float *room);

typedef struct {
    gr_strip_row_fn *row;
    void *arg;
    bool bf16;                  /* what row() gives */
    size_t o, n;                /* rows [o, o + n); the others of the strip are zeros */
    size_t K, B, filled;        /* behind K there are zeros up to `filled`, a whole number of groups */
    size_t group, ld;
    int8_t *to;
    float *scale;               /* [GR_STRIP] */
    int32_t *sum;               /* [GR_STRIP] */
} gr_strip;

/* room: gr_strip_room(K) bytes. B divides K, and GR_STRIP_COLS or twice that. */
typedef void gr_strip_fn(const gr_strip *s, void *room);
gr_strip_fn gr_strip_ref, gr_strip_avx2, gr_strip_avx512;
static inline size_t gr_strip_room(size_t K) { return (K + GR_STRIP_COLS) * GR_STRIP * sizeof(float); }

#endif
