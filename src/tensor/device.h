/* device.h - where numbers lie and who computes rows of them: the threads of this machine, or one GPU.
 *
 * What computes sees only what lies on its device. The host sees that through put and get; what a device is asked for
 * is done in order. A piece of work is a function over rows: a CPU cuts the rows into blocks for its threads, so that a
 * block stays in the cache from one operation to the next, and a GPU takes all of them at once. Which thread gets which
 * block is left to chance, so a block writes only what no other block of the same run reads or writes.
 *
 *     gr_device_run(d, rows, cut, layer_norm, &pass);      void layer_norm(void *arg, gr_lane *lane, size_t first,
 * size_t n)
 *     gr_device_run(d, rows, cut, project, &pass);
 *     rc = gr_device_wait(d, err);
 *
 * A failure stays in the lane that met it; runs that follow do nothing, and gr_device_wait() says it. */
#ifndef GR_TENSOR_DEVICE_H
#define GR_TENSOR_DEVICE_H

#include "base/mem.h"
#include "tensor/dtype.h"

typedef struct gr_device gr_device;
struct gr_kern;                     /* the table of its kernels: op/op.h, where gr_device_open() is too */

/* Rows of numbers on a device, ld of them from a row to the next. */
typedef struct { void *p; size_t ld; gr_dtype type; } gr_mat;

static inline gr_mat gr_mat_f32(const float *p, size_t ld)
{
    return (gr_mat){ (void *)(uintptr_t)p, ld, GR_F32 };
}

/* The matrix whose first number stands at this row and column of m. NULL stays NULL. */
static inline gr_mat gr_mat_at(gr_mat m, size_t row, size_t col)
{
    size_t bytes = m.type == GR_F32 ? 4 : 2;

    return (gr_mat){ m.p ? (char *)m.p + (row * m.ld + col) * bytes : NULL, m.ld, m.type };
}

/* Where the float32 numbers of a matrix that lies on the CPU begin. */
static inline float *gr_f32(gr_mat m) { return m.p; }

/* How a run is cut: pieces begin at multiples of `unit` rows and have `most` at most, and their number is a multiple of
 * `share` where there are enough rows; 0: of the lanes. Where pieces have rows of matrices, these have room for whole
 * units, and what lies behind the last row is finite. whole: all threads work on one piece, as a GPU does, and then on
 * the next: what is worth it shares itself out by gr_lane_share(). */
typedef struct { size_t unit, most, share; bool whole; } gr_cut;
#define GR_CUT_ONE ((gr_cut){ 1, 1, 1, false })     /* each by itself: tasks that are no rows */

/* Who computes a piece: a thread, or a GPU's stream. */
typedef struct gr_lane {
    gr_device *device;
    const struct gr_kern *op;       /* the kernels of this device */
    size_t index;                   /* below gr_device_lanes() */
    size_t piece;                   /* which of the run's, below gr_device_pieces() */
    size_t unit;                    /* of the run's cut */
    bool whole;
    gr_arena scratch;               /* on the device; empty when a piece begins */
    struct gr_lane_more *more;      /* what did not fit: the arena is as large when the next piece begins */
    gram_status rc;                 /* the first failure; what is called after it does nothing */
    gram_err err;
} gr_lane;

/* The rows that a piece of n has with those that fill its last unit up. */
static inline size_t gr_lane_rows(const gr_lane *lane, size_t n) { return gr_round_up(n, lane->unit); }
/* Scratch until the piece ends or it is given back. NULL, and lane->rc set, where there is no memory. */
void *gr_lane_bytes(gr_lane *lane, size_t bytes);
gr_mat gr_lane_scratch(gr_lane *lane, size_t rows, size_t cols);
static inline size_t gr_lane_mark(const gr_lane *lane) { return lane->scratch.used; }
static inline void gr_lane_give_back(gr_lane *lane, size_t mark) { lane->scratch.used = mark; }
/* Notes a failure, unless there is one. */
void gr_lane_fail(gr_lane *lane, gram_status rc, const gram_err *err);

/* The threads of this machine; 0: one for each core. op is borrowed. */
gram_status gr_device_open_cpu(gr_device **out, size_t threads, const struct gr_kern *op, gram_err *err);
void gr_device_close(gr_device *d);             /* NULL is fine */
const struct gr_kern *gr_device_op(const gr_device *d);
size_t gr_device_lanes(const gr_device *d);     /* threads; of a GPU 1 */

/* GR_ALIGN-aligned, not zeroed. */
gram_status gr_device_alloc(gr_device *d, void **out, size_t bytes, gram_err *err);
void gr_device_free(gr_device *d, void *p);
void gr_device_put(gr_device *d, void *to, const void *from, size_t bytes);
void gr_device_get(gr_device *d, void *to, const void *from, size_t bytes);
/* All is done that was asked for; the first failure since the last wait. */
gram_status gr_device_wait(gr_device *d, gram_err *err);
/* Makes room for so many bytes of scratch in each lane, so that no run has to. */
gram_status gr_device_reserve(gr_device *d, size_t bytes, gram_err *err);

/* fn over [0, n). One run at a time; none from within a run. */
typedef void gr_lane_fn(void *arg, gr_lane *lane, size_t first, size_t n);
void gr_device_run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg);
size_t gr_device_pieces(const gr_device *d, size_t n, gr_cut cut);
/* The lane of the caller between two runs, for what is not worth one. Its rows are whole. */
gr_lane *gr_device_lane(gr_device *d);
/* From within a whole piece: fn over [0, n) among all threads. Otherwise fn by the lane itself. */
void gr_lane_share(gr_lane *lane, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg);

#endif
