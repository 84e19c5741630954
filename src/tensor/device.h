/* device.h - where numbers lie and who computes rows of them: the threads of this machine, or one GPU.
 *
 * What computes sees only what lies on its device. The host sees that through put and get; what a device is asked for
 * is done in order. A piece of work is a function over rows: a CPU cuts the rows into blocks for its threads, so that a
 * block stays in the cache from one operation to the next, and a GPU takes all of them at once. Which thread gets which
 * block is left to chance, so a block writes only what no other block of the same run reads or writes.
 *
 *     static void project(void *arg, gr_lane *lane, size_t first, size_t n);
 *
 *     gr_device_run(d, rows, cut, project, &pass);
 *     gr_device_run(d, runs, cut, attend, &pass);
 *     rc = gr_device_wait(d, err);
 *
 * A failure stays in the lane that met it; runs that follow do nothing, and gr_device_wait() says it.
 *
 * Numbers of rows - activations, weights, moments, gradients, keys and values - lie on the device, and only kernels
 * (op/op.h) and products (op/matmul.h) read and write them. Lists that say which rows - tokens, positions, runs,
 * targets - lie on the host, and so does the one number that a kernel makes of a row or a slice (a loss, a sum of
 * squares): it is there after gr_device_wait(). */
#ifndef GR_TENSOR_DEVICE_H
#define GR_TENSOR_DEVICE_H

#include "base/mem.h"
#include "tensor/dtype.h"
#include "tensor/links.h"

typedef struct gr_device gr_device;
struct gr_kern;                     /* the table of its kernels: op/op.h, where gr_device_open() is too */

/* Rows of numbers that lie on a device, ld of them from a row to the next. */
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

static inline gr_mat gr_mat_of(void *p, size_t ld, gr_dtype type)
{
    return (gr_mat){ p, ld, type };
}

/* Where the float32 numbers of a matrix that lies on the CPU begin. */
static inline float *gr_f32(gr_mat m) { return (float *)m.p; }     /* .cu files are C++ */

/* How a run is cut: pieces begin at multiples of `unit` rows and have `most` at most, and their number is a multiple of
 * `share` where there are enough rows; 0: of the lanes. Where pieces have rows of matrices, these have room for whole
 * units, and what follows the last row is finite. whole: all threads work on one piece, as a GPU does, and then on
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
gr_mat gr_lane_scratch(gr_lane *lane, size_t rows, size_t cols);           /* float32 */
gr_mat gr_lane_scratch_of(gr_lane *lane, size_t rows, size_t cols, gr_dtype type);
static inline size_t gr_lane_mark(const gr_lane *lane) { return lane->scratch.used; }
static inline void gr_lane_give_back(gr_lane *lane, size_t mark) { lane->scratch.used = mark; }
/* Notes a failure, unless there is one. */
void gr_lane_fail(gr_lane *lane, gram_status rc, const gram_err *err);

/* The threads of this machine; 0: one for each core. op is borrowed. */
gram_status gr_device_open_cpu(gr_device **out, size_t threads, const struct gr_kern *op, gram_err *err);

/* A device that has memory of its own, in a table: what the CPU need not do. self is handed to each. */
typedef struct {
    const char *name;
    gr_dtype activations;       /* of rows between products in bfloat16 */
    bool takes_all;             /* a run is one piece */
    gram_status (*alloc)(void *self, void **out, size_t bytes, gram_err *err);
    void (*free)(void *self, void *p);
    void (*put)(void *self, void *to, const void *from, size_t bytes);
    void (*get)(void *self, void *to, const void *from, size_t bytes);
    uint64_t (*free_bytes)(void *self);
    void (*enter)(void *self);  /* before a run, and after it */
    void (*leave)(void *self);
    gram_status (*wait)(void *self, gram_err *err);
    void (*close)(void *self);
    bool own_scratch;           /* what a lane computes in is this memory, too; otherwise the host's */
    void (*zero)(void *self, void *p, size_t bytes);    /* NULL: by put */
    const gr_links_kind *links; /* to other processes' devices; NULL: through the host */
} gr_device_kind;
/* Takes self over, also on failure. kind and op are borrowed. */
gram_status gr_device_open_kind(gr_device **out, const gr_device_kind *kind, void *self, size_t threads,
                                const struct gr_kern *op, gram_err *err);
void gr_device_close(gr_device *d);             /* NULL is fine */
const char *gr_device_name(const gr_device *d); /* "cpu" */
void *gr_device_self(const gr_device *d);       /* what the calls of its kind are handed; of a CPU NULL */
const gr_links_kind *gr_device_links(const gr_device *d);       /* NULL: it has none */
const struct gr_kern *gr_device_op(const gr_device *d);
size_t gr_device_lanes(const gr_device *d);     /* threads; of a GPU 1 */
gr_dtype gr_device_activations(const gr_device *d);     /* of rows between products in bfloat16 */
uint64_t gr_device_free_bytes(const gr_device *d);      /* of memory that can still be had; 0: not known */

/* Where d is NULL in any of the following, it is memory of the host. It is GR_ALIGN-aligned and not zeroed. */
gram_status gr_device_alloc(gr_device *d, void **out, size_t bytes, gram_err *err);
/* n things, zeroed. Pages of the host's memory are taken as they are written to. */
gram_status gr_device_alloc_zeros(gr_device *d, void **out, size_t n, size_t size, gram_err *err);
void gr_device_free(gr_device *d, void *p);     /* NULL is fine */
void gr_device_put(gr_device *d, void *to, const void *from, size_t bytes);
void gr_device_get(gr_device *d, void *to, const void *from, size_t bytes);
void gr_device_zero(gr_device *d, void *p, size_t bytes);   /* not from within a run */

/* Whether the host may touch the device's memory, as on a CPU. What the two need of each other is then not copied: */
bool gr_device_is_host(const gr_device *d);
/* Device memory for the host to read or fill: where it is, or a copy, whose values are only the device's if `read`. It
 * goes back, or is forgotten, with gr_device_unmap(). NULL where there is no memory. */
void *gr_device_map(gr_device *d, void *p, size_t bytes, bool read);
void gr_device_unmap(gr_device *d, void *p, void *mapped, size_t bytes, bool write);
/* What lies on the device, for the host to read: where it is, or copied to *room, which grows; free() that at the end.
 * NULL where there is no memory. */
const void *gr_device_view(gr_device *d, const void *p, size_t bytes, void **room);
/* What the host has, for the device to read: where it is, or a copy; both end with gr_device_drop(). */
gram_status gr_device_hold(gr_device *d, const void **out, const void *p, size_t bytes, gram_err *err);
void gr_device_drop(gr_device *d, const void *held);
/* All is done that was asked for; the first failure since the last wait. */
gram_status gr_device_wait(gr_device *d, gram_err *err);
/* The same, where a failure stays for gr_device_wait() to say: between two runs of which the second is cut by what the
 * first has told the host. */
void gr_device_sync(gr_device *d);
/* Makes room for so many bytes of scratch in each lane, so that no run has to. */
gram_status gr_device_reserve(gr_device *d, size_t bytes, gram_err *err);

/* fn over [0, n). One run at a time; none from within a run. */
typedef void gr_lane_fn(void *arg, gr_lane *lane, size_t first, size_t n);
void gr_device_run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg);
size_t gr_device_pieces(const gr_device *d, size_t n, gr_cut cut);
/* The same as one piece, which the caller's own lane computes. */
void gr_device_once(gr_device *d, gr_lane_fn *fn, void *arg, size_t n);
/* Lets others compute between two pieces of a run: where due() says so, which the thread of gr_device_run() asks before
 * each of its pieces, all lanes stop and turn() is called by that thread. It may run whatever it likes on this device;
 * those runs are not interrupted in their turn. soon(), which is asked when a run begins, says that a turn may come
 * within it: its pieces are then of one unit, so that none waits long. Not runs of a fixed `share`, whose sums follow
 * from their pieces. What a run computes does not change. turns NULL: never.
 *
 * beside(), where it is there, is asked when a turn is due on a CPU of several lanes: where it says yes a lane leaves
 * the run as soon as it has made its piece, and turn() is called by its thread, while the others go on with this run
 * and those that follow, up to the next gr_device_wait(). What the turn runs on this device is computed by that lane
 * alone, and its gr_device_wait() is about that. */
typedef struct {
    bool (*due)(void *arg), (*soon)(void *arg);
    void (*turn)(void *arg);
    void *arg;
    bool (*beside)(void *arg);
} gr_turns;
void gr_device_set_turns(gr_device *d, const gr_turns *turns);
/* Whether this thread is in a turn beside a run of d. */
bool gr_device_is_beside(const gr_device *d);
/* The lane of the caller between two runs, for tests of one kernel. Its rows are whole. */
gr_lane *gr_device_lane(gr_device *d);
/* From within a whole piece all threads share fn over [0, n). Elsewhere the lane runs fn by itself. */
void gr_lane_share(gr_lane *lane, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg);

#endif
