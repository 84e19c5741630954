/* product_int.h - matrix products by oneDNN, which the files of matmul.h share.
 *
 * y [M,N] = x [M,K] w [K,N], or y += that, of float32, bytes or bfloat16. A oneDNN primitive knows its strides, so each
 * shape seen has one, made at its first use and kept; a model has a handful. oneDNN runs between gr_dnnl_enter() and
 * gr_dnnl_leave(). */
#ifndef GR_OP_PRODUCT_INT_H
#define GR_OP_PRODUCT_INT_H

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include "base/mem.h"
#include "op/dnnl_int.h"

#define GR_PIECE 768

/* oneDNN is called single-threaded, from the lane's thread, and for rows whose bits are to be alike on GR_TILE of them:
 * with one shape, and a tile that is a multiple of 6, each row's bits are the same at every place of a tile (measured
 * on AVX2, where other row counts take other paths through oneDNN's kernels, and on AVX-512; tests/op/test_matmul.c
 * asserts it). */
#define GR_TILE 96

/* Rows a multiple of 2 KiB apart fall into the same few sets of a cache, and a product can take twice its time, or
 * copies them first. A distance for rows of n floats that is none of those. */
static inline bool gr_crowded(size_t ld) { return ld % 512 == 0; }
static inline size_t gr_uncrowded(size_t n) { return gr_crowded(n) ? n + 16 : n; }

/* It has no padding, since it is compared as bytes. */
typedef struct {
    size_t M, N, K, x_row, x_col;       /* x_row: from a row of x to the next, and so on */
    size_t w_row, w_col, ldy;
    size_t add;                         /* y +=, not int8 */
    size_t int8;                        /* x u8, w s8 in the panels of packed.h, y s32 */
    size_t bf16;                        /* x and w bfloat16, y float32 */
} gr_product_shape;

typedef struct gr_product {
    gr_product_shape shape;
    dnnl_primitive_t prim;
    gr_md x, w, y, pad;
    size_t pad_bytes;                   /* of the scratchpad that a call hands to oneDNN */
    struct gr_product *next;
} gr_product;

/* What the list holds does not change until it is cleared; the lock guards its growth. */
typedef struct { pthread_mutex_t lock; gr_product *first; } gr_products;

gram_status gr_dnnl_fail(gram_err *err, dnnl_status_t s, const char *what);
gram_status gr_dnnl_engine(dnnl_engine_t *out, gram_err *err);

/* Between these oneDNN's OpenMP runs in the calling thread alone, and that thread handles no signal: it waits. */
typedef struct { int threads; sigset_t signals; } gr_entered;
gr_entered gr_dnnl_enter(void);
void gr_dnnl_leave(const gr_entered *was);

gram_status gr_product_get(const gr_product **out, gr_products *all, const gr_product_shape *s, gram_err *err);
void gr_products_clear(gr_products *all);

/* Columns in one of the equal pieces that a wide product is cut into, so that both of its sides stay in the cache. */
static inline size_t gr_piece(size_t columns)
{
    size_t n = (columns + GR_PIECE - 1) / GR_PIECE;

    return gr_round_up((columns + n - 1) / n, 16);
}

/* From row to row of a copy of n columns that is not crowded, and what `rows` of them take. */
static inline size_t gr_copy_ld(size_t n) { return gr_round_up(n, 32) + 16; }
static inline size_t gr_copy_bytes(size_t rows, size_t n)
{
    return gr_round_up(rows * gr_copy_ld(n) * sizeof(float), GR_ALIGN);
}

static inline const float *gr_copy(float *room, const float *x, size_t ld, size_t rows, size_t n)
{
    for (size_t r = 0; r < rows; r++)
        memcpy(room + r * gr_copy_ld(n), x + r * ld, n * sizeof *x);
    return room;
}

/* What a product needs while it runs: four views that are moved from tile to tile. */
typedef struct { const gr_product *p; dnnl_stream_t stream; dnnl_memory_t x, w, y, pad; void *pad_own; } gr_run;

/* pad has room for `room` bytes; a product that asks for more than was foreseen gets its own. */
gram_status gr_run_begin(gr_run *r, const gr_product *p, void *pad, size_t room, gram_err *err);
gram_status gr_run_tile(const gr_run *r, void *y, const void *x, const void *w, gram_err *err);
void gr_run_end(gr_run *r);

/* Rows [0,M) of y = x w, or y += that, in tiles of s->M of them. Not int8. `room` is the product's while it runs. */
gram_status gr_product_rows(gr_products *all, const gr_product_shape *s, float *y, const void *x, const void *w,
                            size_t M, gr_arena room, gram_err *err);

#endif
