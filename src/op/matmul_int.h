/* matmul_int.h - a weight made ready, as the files that multiply by it see it: matmul.c in float32, matmul_bf16.c in
 * bfloat16, matmul_int8.c in bytes, matmul_few.c for a handful of rows. */
#ifndef GR_OP_MATMUL_INT_H
#define GR_OP_MATMUL_INT_H

#include <stdatomic.h>
#include "op/matmul.h"
#include "op/op.h"
#include "op/packed.h"
#include "op/product_int.h"

/* Of a CPU; another device's begins alike: see matmul.h. */
struct gr_linear {
    const struct gr_kern *op;
    gr_linear_mode mode;            /* how it is kept: neither ROUNDED nor SPLIT */
    gr_multiply by;                 /* int8: F32 */
    size_t O, K, slice;
    size_t ld;                      /* of a packed float32 slice's rows: see choose_slice() */
    const float *bias;
    gr_tensor w;                    /* F32 expanded, borrowed and kept weights; data is `own` or borrowed */
    void *own;
    bool packed;                    /* own holds slices [K,slice]; or the weight is int8 */
    atomic_bool lacks_tiles;        /* packed, and own is not there yet: gr_linear_tiles() makes it */
    bool stays;                     /* w.data outlives the weight, whatever was made of it */
    float *laid;                    /* slices as a packed weight has, beside w: gr_linear_lay() makes them */
    void *panels;                   /* of digits.h, for a handful of rows; NULL: not made */
    bool wide;                      /* int8 for dot16.h */
    const int8_t *bytes;            /* int8: the panels of packed.h, or, wide, of dot16.h; own or borrowed */
    const float *wscale;            /* the same [O] */
    const int32_t *colsum;          /* int8, not wide [O] */
    size_t rotated;                 /* int8: the block of rotate.h, the largest power of two that divides K */
    const void *staged[2];          /* laid out for the products at hand, forward and dx; NULL: not. See matmul.c; of a
                                     * weight that is rounded its rows */
    size_t pad_bytes;               /* of the scratchpad that the products made at open need */
    gr_products products;
};

/* Rows of a product, of the M of a call. */
static inline size_t tile_rows(size_t M)
{
    return M % GR_TILE ? M : GR_TILE;
}

static inline size_t outputs(const gr_linear *l, size_t o)
{
    return gr_min(l->slice, l->O - o);
}

static inline bool float_in_place(const gr_tensor *w)
{
    return w->type == GR_F32 && (uintptr_t)w->data % sizeof(float) == 0;
}

/* K values of row o, whatever its type. Row bytes were proved at open. */
static inline void expand_row(float *y, const gr_tensor *w, size_t o)
{
    size_t bytes = 0;

    gr_dtype_row_bytes(w->type, w->cols, &bytes);
    gr_dequant(y, (const unsigned char *)w->data + o * bytes, w->type, w->cols);
}

static inline size_t slices(const gr_linear *l)
{
    return (l->O + l->slice - 1) / l->slice;
}

static inline void add_bias(float *y, size_t ldy, const float *bias, size_t M, size_t N)
{
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++)
            y[m * ldy + n] += bias[n];
}

/* A row of x for int8 has two bytes for a value, each by itself, or the pairs of dot16.h. */
static inline size_t gr_int8_row_bytes(const gr_linear *l)
{
    return l->wide ? 4 * gr_dot16_pairs(l->K) : 2 * l->K;
}

/* Finds the product of T rows with the n outputs of a slice. */
gram_status gr_linear_product(const gr_product **out, const gr_linear *l, bool columns, size_t T, size_t n, size_t ldx,
                              size_t ldy, gram_err *err);

/* bfloat16 rows of a side, ld apart, and where it is a sum of two what hi leaves over; lo NULL: rounded. */
struct halves { uint16_t *hi, *lo; size_t ld; };

/* The rows that the weights of a call are multiplied by, and what was made of them: int8's bytes with a scale for each
 * row, rows of two bytes a number before those of one; or bfloat16. */
typedef struct {
    const gr_linear_to *to;
    gr_mat x;
    size_t M;
    const uint8_t *one_byte;        /* as of gr_linears_fwd() */
    uint8_t *q;
    float *scale;
    uint32_t *order;                /* [M] which of x's rows they are */
    size_t two;                     /* so many have two bytes */
    struct halves half;
} gr_tiled;

/* ---- matmul_int8.c -------------------------------------------------------------------------------- */

/* l->w quantised, by the threads of d; or what packed.h has, borrowed where the CPU multiplies it as it lies. in: where
 * it is put; NULL: memory of its own. */
gram_status gr_int8_open(gr_linear *l, gr_device *d, const gr_packed *packed, gr_arena *in, gram_err *err);
size_t gr_int8_bytes(const gr_linear *l);
/* x as bytes, two for a number, or as the pairs of dot16.h: q[M] rows, and a scale for each; row [K] is room. */
void gr_int8_quantise(const gr_linear *l, uint8_t *q, float *scale, gr_mat x, size_t M, float *row);
void gr_int8_rows(gr_lane *lane, gr_tiled *t, const gr_linear *l, gr_arena *a);
/* The outputs of the slices [first, end). */
gram_status gr_int8_fwd(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                        gram_err *err);

/* ---- matmul_bf16.c -------------------------------------------------------------------------------- */

/* Whether its rows are bfloat16 where they lie, so that neither scratch nor staging makes them. */
static inline bool gr_bf16_in_place(const gr_tensor *w)
{
    return w->type == GR_BF16 && (uintptr_t)w->data % sizeof(uint16_t) == 0;
}

gram_status gr_bf16_product(const gr_product **out, const gr_linear *l, size_t T, size_t n, size_t ldy, bool add,
                            gram_err *err);
size_t gr_bf16_scratch(const gr_linear *l, size_t M);
/* Rows [o, o + n), in bfloat16, of to, which has so many bytes; row [K] is room. */
size_t gr_bf16_stage_bytes(const gr_linear *l);
void gr_bf16_stage(const gr_linear *l, uint16_t *to, size_t o, size_t n, float *row);
void gr_bf16_rows(gr_lane *lane, gr_tiled *t, const gr_linear *l, gr_arena *a);
gram_status gr_bf16_fwd(const gr_linear *l, gr_mat y, const gr_tiled *t, size_t first, size_t end, gr_arena a,
                        gram_err *err);
gram_status gr_bf16_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add, gr_arena a,
                       gram_err *err);

/* ---- matmul_few.c --------------------------------------------------------------------------------- */

/* Whether a handful of rows is multiplied in whole numbers, by panels. */
bool gr_few_panels(const gr_linear *l);
void gr_few_fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M);
void gr_few_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add);

#endif
