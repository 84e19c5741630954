/* matmul.h - y = x W^T + b, the only door to oneDNN.
 *
 *   forward   y[m,o]   = sum_k x[m,k] W[o,k] + b[o]
 *   backward  dx[m,k]  = sum_o dy[m,o] W[o,k]            (+ dx[m,k] where asked)
 *             dW[o,k] += sum_m dy[m,o] x[m,k]
 *             db[o]   += sum_m dy[m,o]
 *
 * A gr_linear is a weight made ready once: float32 used where it lies (a mapped file's rows, [O,K]), or
 * expanded from another type, or kept in its type and expanded slice by slice as it is used, or int8. oneDNN
 * is always called single-threaded, from the caller's thread, on GR_TILE rows: with one shape, and a tile that
 * is a multiple of 6, each row's bits are the same at every place of a tile (measured on AVX2, where other
 * row counts take other paths through oneDNN's kernels, and on AVX-512; tests/op/test_matmul.c asserts it).
 *
 *   shapes    x [M,K] rows ldx apart    y [M,O] rows ldy apart    M a multiple of GR_TILE: pad with rows
 *             that hold any finite numbers    bias [O] or NULL
 *
 * Any other M is one product of M rows, whose bits hold for this M and this place alone; but not for int8. Training
 * cuts its rows into blocks by their number, and multiplies block by block. */
#ifndef GR_OP_MATMUL_H
#define GR_OP_MATMUL_H

#include "base/mem.h"
#include "tensor/dtype.h"

#define GR_TILE 96

/* Rows a multiple of 2 KiB apart fall into the same few cache lines, and a product can take twice its time, or copies
 * them first. A distance for rows of n floats that is none of those. */
static inline bool gr_crowded(size_t ld) { return ld % 512 == 0; }
static inline size_t gr_uncrowded(size_t n) { return gr_crowded(n) ? n + 16 : n; }

typedef enum {
    GR_LINEAR_F32,          /* float32: borrowed where the tensor is F32, else expanded into memory of its own */
    GR_LINEAR_BF16,         /* two bytes a weight: borrowed where the tensor is BF16, else rounded; expanded in use */
    GR_LINEAR_KEEP,         /* the tensor's own type, borrowed, whatever it is; expanded in use */
    GR_LINEAR_INT8          /* 8-bit rows with a float32 scale each, activations of two bytes: see quant.h */
} gr_linear_mode;

typedef struct gr_linear gr_linear;
/* w stays borrowed where the mode says so. bias is borrowed, [O], or NULL. */
gram_status gr_linear_open(gr_linear **out, const gr_tensor *w, const float *bias, gr_linear_mode mode, gram_err *err);
void gr_linear_close(gr_linear *l);
/* Scratch bytes that one call with M rows needs; each thread brings its own, GR_ALIGN-aligned. */
size_t gr_linear_scratch(const gr_linear *l, size_t M);
size_t gr_linear_bytes(const gr_linear *l);     /* of memory that the weight keeps, borrowed bytes included */
bool gr_linear_borrows(const gr_linear *l);     /* w must outlive it */
/* Many threads may use one gr_linear at once. Fails only where oneDNN does. */
gram_status gr_linear_fwd(const gr_linear *l, float *y, size_t ldy, const float *x, size_t ldx, size_t M,
                          void *scratch, gram_err *err);
/* The same for n weights of one mode and one K, all of the same x, whose bytes for int8 are made once. packed: what
 * gr_linear_pack() made of the weight, or NULL. */
typedef struct { const gr_linear *l; float *y; size_t ldy; const float *packed; } gr_linear_to;
gram_status gr_linears_fwd(const gr_linear_to *to, size_t n, const float *x, size_t ldx, size_t M, void *scratch,
                           gram_err *err);

/* A weight that changes, or is not float32, cannot be laid out for good as oneDNN likes it best. For many rows it pays
 * to do so before each pass: slice by slice, which threads may share among them, in room of gr_linear_pack_floats().
 * Both counts are 0 where the weight is as good where it lies, and then what is handed over as packed is not looked
 * at. Not for INT8. Scratch: gr_linear_scratch(). */
typedef enum { GR_PACK_FWD, GR_PACK_DX } gr_pack;
size_t gr_linear_pack_floats(const gr_linear *l, gr_pack pass);
size_t gr_linear_pack_slices(const gr_linear *l, gr_pack pass);
void gr_linear_pack(const gr_linear *l, gr_pack pass, float *room, size_t slice, void *scratch);

/* dx [M,K] = dy W, + dx where `add`. packed: for this pass, or NULL. Not for INT8. Scratch: gr_linear_scratch(). */
gram_status gr_linear_dx(const gr_linear *l, const float *packed, float *dx, size_t lddx, const float *dy, size_t lddy,
                         size_t M, bool add, void *scratch, gram_err *err);

/* Rows [o0,o1) of dW [O,K] += their share of dy^T x. The cut of O into calls changes no bit; o0 is a multiple of 64,
 * o1 too or O. dW, dy and x point at the first number of the whole. Scratch: gr_dw_scratch(K). */
gram_status gr_linear_dw(float *dW, const float *dy, size_t lddy, const float *x, size_t ldx, size_t M, size_t K,
                         size_t o0, size_t o1, void *scratch, gram_err *err);
size_t gr_dw_scratch(size_t K);
/* db [O] += the rows of dy, in order; any M. */
void gr_linear_db(float *db, const float *dy, size_t lddy, size_t M, size_t O);

#endif
