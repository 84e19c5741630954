/* matmul.h - y = x W^T + b, the only door to oneDNN.
 *
 *   forward   y[m,o]   = sum_k x[m,k] W[o,k] + b[o]
 *   backward  dx[m,k]  = sum_o dy[m,o] W[o,k]            (+ dx[m,k] where asked)
 *             dW[o,k] += sum_m dy[m,o] x[m,k]
 *             db[o]   += sum_m dy[m,o]
 *
 * A gr_linear is a weight made ready once: float32 used where it lies (a mapped file's rows, [O,K]), or
 * expanded from another type, or kept in its type and expanded slice by slice as it is used, or int8. Where the CPU
 * multiplies bfloat16, products can be of that: of both sides rounded, or of float32 as sums of two (split.h).
 *
 * How rows are multiplied follows from the cut of the run that a lane is in, which gr_linear_cut() makes:
 *
 *   GR_ROWS_ALIKE   a row's bits are the same in any company: scores
 *   GR_ROWS_BLOCKS  they follow from the number of rows of the run: training
 *   GR_ROWS_FEW     as ALIKE, but other bits: a handful of rows, each weight read once
 *
 *   shapes    x [M,K]    y [M,O]    dx [M,K]    dy [M,O]    dW [O,K]    M whole units of the cut    bias [O] or NULL */
#ifndef GR_OP_MATMUL_H
#define GR_OP_MATMUL_H

#include "tensor/device.h"

typedef enum { GR_ROWS_ALIKE, GR_ROWS_BLOCKS, GR_ROWS_FEW } gr_rows_way;
/* ALIKE or FEW, whichever is faster for a run that has so many rows at once most of the time. */
gr_rows_way gr_linear_way(const gr_device *d, size_t rows);
/* row_bytes: of the scratch that a piece takes for each of its rows. */
gr_cut gr_linear_cut(const gr_device *d, gr_rows_way way, size_t row_bytes);
/* The cut of a run over `rows` rows that are ALIKE: where they are fewer units than there are threads, all threads work
 * on one piece and share out the outputs of its products, which stay the same products. Other cuts stay as they are.
 * bytes: all products of the run are gr_linear_counts(): the threads share out the rows, then. */
gr_cut gr_linear_spread(const gr_device *d, gr_cut cut, size_t rows, bool bytes);
/* From row to row of a matrix of n columns, so that products need not copy it. */
size_t gr_linear_ld(size_t n);

typedef enum {
    GR_LINEAR_F32,          /* float32: borrowed where the tensor is F32, else expanded into memory of its own */
    GR_LINEAR_BF16,         /* two bytes a weight: borrowed where the tensor is BF16, else rounded; expanded in use */
    GR_LINEAR_KEEP,         /* the tensor's own type, borrowed, whatever it is; expanded in use */
    GR_LINEAR_INT8,         /* 8-bit rows with a float32 scale each, activations of two bytes or one: see quant.h */
    GR_LINEAR_ROUNDED,      /* as BF16, but x is rounded to bfloat16, too, once a call, and the sums are float32 */
    GR_LINEAR_SPLIT         /* as KEEP, and x w is made of bfloat16, hi hi + hi lo + lo hi: off by 2^-15 of it */
} gr_linear_mode;
/* How a product is multiplied: in float32, of both sides rounded to bfloat16, or of float32 as sums of two of it. */
typedef enum { GR_BY_F32, GR_BY_BF16, GR_BY_SPLIT } gr_multiply;
/* What float32 is best multiplied by, and what a float32 weight as: SPLIT where three products of bfloat16 are faster
 * than one of float32. */
gr_multiply gr_linear_best(const gr_device *d);
gr_linear_mode gr_linear_best_f32(const gr_device *d);
/* Whether d multiplies bfloat16; where it does not, ROUNDED is BF16 and SPLIT is KEEP. A handful of rows (FEW) is
 * multiplied in float32 everywhere. */
bool gr_linear_multiplies_bf16(const gr_device *d);
/* Whether activations of one byte are faster there with INT8; where they are not, all have two. */
bool gr_linear_has_one_byte(const gr_device *d);
/* fn over the M rows of a piece, which the threads share out where they share out its products and rows are many. */
void gr_linear_share(gr_lane *lane, size_t M, gr_lane_fn *fn, void *arg);
/* The type that rows have between products of such weights: bfloat16 on a GPU that multiplies in it, otherwise
 * float32. Both sides of a product may be of either type. */
gr_dtype gr_linear_rows(const gr_device *d, gr_linear_mode mode);

typedef struct gr_linear gr_linear;
/* For lanes of d, or of another device with its kernels. w stays borrowed where the mode says so. bias is borrowed,
 * [O], or NULL. */
gram_status gr_linear_open(gr_linear **out, const gr_device *d, const gr_tensor *w, const float *bias,
                           gr_linear_mode mode, gram_err *err);
/* The same with INT8. packed: what w becomes, where a file has it already, with the bits of INT8 opened of what it was
 * made of; *packed is copied, its bytes are borrowed where the CPU multiplies them as they lie, and w's data are not
 * asked for. NULL: there is no such. in: what is made is put there while it has room, and must outlive the weight:
 * small weights one behind the other lie in large pages. NULL: in memory of its own. */
struct gr_packed;
gram_status gr_linear_open_int8(gr_linear **out, const gr_device *d, const gr_tensor *w, const struct gr_packed *packed,
                                const float *bias, gr_arena *in, gram_err *err);
/* Of what is made of an [O,K]; 0: nothing is, as what is packed is borrowed, or d is no CPU. */
size_t gr_linear_int8_bytes(const gr_device *d, size_t O, size_t K, bool packed);
void gr_linear_close(gr_linear *l);
size_t gr_linear_bytes(const gr_linear *l);     /* of memory that the weight keeps, borrowed bytes included */
/* Whether its sums are whole numbers, the same ones in tiles of any size. */
bool gr_linear_counts(const gr_linear *l);
bool gr_linear_borrows(const gr_linear *l);     /* w must outlive it; if not, then until gr_linear_tiles() at most */
/* w does outlive it: a handful of rows then reads w's bytes, and not what was made of them. Before the first use. */
void gr_linear_stays(gr_linear *l);
/* Until it is told otherwise, products are multiplied so, whatever type w has; dx too, and what is staged. Not for
 * INT8, nor what was expanded into memory of its own; nor, on another device than a CPU, by SPLIT. */
void gr_linear_by(gr_linear *l, gr_multiply by);
/* Makes it ready for runs of GR_ROWS_FEW, once, before the first of them: quantised types are laid out as digits.h
 * multiplies them, and w's bytes are no longer read by those runs. Any thread. */
gram_status gr_linear_few(const gr_linear *l, gram_err *err);
size_t gr_linear_few_bytes(const gr_linear *l);     /* of memory that this takes, or will */
/* Makes it ready for runs of the other ways, once: what is expanded into float32 is, and w's bytes are no longer read
 * by those runs. Any thread. Who does not want the first product to wait for it calls it before. */
gram_status gr_linear_tiles(const gr_linear *l, gram_err *err);
/* Lays out anew, beside w, what tiles would lay out or expand in every call: for so many calls that it pays. Changes no
 * bit. Not while others multiply by it in tiles, nor of weights that change. */
gram_status gr_linear_lay(const gr_linear *l, gram_err *err);
size_t gr_linear_lay_bytes(const gr_linear *l);     /* of memory that this takes, or took; 0: it would not help */
/* Whether something has still to be made for runs of that way: gr_linear_few_bytes(), or gr_linear_bytes() of float32.
 * Not while another thread makes it. */
bool gr_linear_lacks(const gr_linear *l, gr_rows_way way);
/* Bytes of a lane's scratch that one call with M rows takes, forward or dx; and dW, of K columns, rounded or not. */
size_t gr_linear_scratch(const gr_linear *l, size_t M);
size_t gr_dw_scratch(size_t K);

/* Many lanes may use one gr_linear at once. These fail, in the lane, only where oneDNN does. */
void gr_linear_fwd(gr_lane *lane, const gr_linear *l, gr_mat y, gr_mat x, size_t M);
/* The same for n weights of one mode and one K, all of the same x, whose bytes for int8 are made once. one_byte: [M],
 * not 0 for rows of x whose numbers take one byte with INT8, and not two; NULL: none do. A handful of rows (FEW) takes
 * two. A row's bits do not depend on how the others are taken. */
typedef struct { const gr_linear *l; gr_mat y; } gr_linear_to;
void gr_linears_fwd(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M, const uint8_t *one_byte);
/* dx = dy W, + dx where `add`. Not for INT8. */
void gr_linear_dx(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add);
/* Rows [o0,o1) of dW += their share of dy^T x, of M rows and K columns. The cut of O into calls changes no bit; o0 is a
 * multiple of 64, o1 too or O. dW, dy and x begin where the whole does. */
void gr_linear_dw(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1);
/* The same of dy and x in bfloat16, by BF16 or SPLIT, added up in float32; o0 is a multiple of GR_DW_HALVES, o1 too or
 * O. */
enum { GR_DW_HALVES = 256 };
void gr_linear_dw_halves(gr_lane *lane, gr_multiply by, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0,
                         size_t o1);
/* db [O] += the rows of dy, in order; any M. */
void gr_linear_db(gr_lane *lane, float *db, gr_mat dy, size_t M, size_t O);

/* Weights that change, or are not float32, cannot lie for good as products like them best. Staged, the n of them are
 * laid out anew in `room` for products of `rows` rows, forward or dx, where that pays, until they are unstaged. Not for
 * INT8. room: gr_stage_bytes() of the same weights. */
typedef enum { GR_STAGE_FWD, GR_STAGE_DX } gr_stage;
size_t gr_stage_bytes(gr_linear *const *l, size_t n);
void gr_linears_stage(gr_device *d, gr_linear *const *l, size_t n, gr_stage stage, size_t rows, void *room);
void gr_linears_unstage(gr_linear *const *l, size_t n);

/* ---- Another device than a CPU ----------------------------------------------------------------------
 *
 * It multiplies by functions of its own, of which its table of kernels (op/op.h) has these. They do what those above do
 * that are named alike, for weights that it opened; these begin with a gr_linear_base. Its rows are alike in every way:
 * there is one cut, weights are not staged, and nothing is laid out for a handful of rows. */
typedef struct { const struct gr_kern *op; } gr_linear_base;
typedef struct gr_linear_kind {
    gr_cut cut;
    /* w's data lie in the host's memory and are copied, or on the device and are borrowed. */
    gram_status (*open)(gr_linear **out, gr_device *d, const gr_tensor *w, const float *bias, gr_linear_mode mode,
                        gram_err *err);
    void (*close)(gr_linear *l);
    size_t (*bytes)(const gr_linear *l);
    bool (*borrows)(const gr_linear *l);
    void (*rounds)(gr_linear *l, bool on);
    void (*fwd)(gr_lane *lane, const gr_linear_to *to, size_t n, gr_mat x, size_t M);
    void (*dx)(gr_lane *lane, const gr_linear *l, gr_mat dx, gr_mat dy, size_t M, bool add);
    void (*dw)(gr_lane *lane, gr_mat dW, gr_mat dy, gr_mat x, size_t M, size_t K, size_t o0, size_t o1, bool rounded);
    void (*db)(gr_lane *lane, float *db, gr_mat dy, size_t M, size_t O);
} gr_linear_kind;

#endif
