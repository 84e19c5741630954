/* device.c - the CPU as a device: its memory is the host's, its lanes are the threads of a pool. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/pool.h"
#include "tensor/device.h"

struct gr_lane_more { struct gr_lane_more *next; void *p; size_t bytes; };

struct gr_device {
    gr_pool *pool;
    const struct gr_kern *op;
    gr_lane *lane;
    size_t lanes;
};

/* A run, or what a lane shares out. */
struct run { gr_device *d; size_t n, units, pieces; gr_cut cut; gr_lane_fn *fn; void *arg; bool within; };

/* ---- Lanes ---------------------------------------------------------------------------------------- */

void gr_lane_fail(gr_lane *lane, gram_status rc, const gram_err *err)
{
    if (lane->rc || !rc)
        return;
    lane->rc = rc;
    if (err != &lane->err)
        lane->err = *err;
}

/* A block of its own for what the arena has no room for. */
static void *take_more(gr_lane *lane, size_t bytes)
{
    struct gr_lane_more *more = gr_calloc(1, sizeof *more);
    void *p = more ? gr_alloc_aligned(bytes, 1) : NULL;

    if (!p) {
        free(more);
        lane->rc = lane->rc ? lane->rc : gr_fail(&lane->err, GRAM_ENOMEM, "scratch memory: out of memory for %zu bytes",
                                                 bytes);
        return NULL;
    }
    *more = (struct gr_lane_more){ lane->more, p, bytes };
    lane->more = more;
    return p;
}

void *gr_lane_bytes(gr_lane *lane, size_t bytes)
{
    bytes = gr_round_up(gr_max(bytes, 1), GR_ALIGN);
    if (bytes <= lane->scratch.size - lane->scratch.used)
        return gr_arena_alloc(&lane->scratch, bytes);
    return take_more(lane, bytes);
}

gr_mat gr_lane_scratch(gr_lane *lane, size_t rows, size_t cols)
{
    return gr_mat_f32(gr_lane_bytes(lane, rows * cols * sizeof(float)), cols);
}

static void drop_more(gr_lane *lane)
{
    while (lane->more) {
        struct gr_lane_more *next = lane->more->next;
        free(lane->more->p);
        free(lane->more);
        lane->more = next;
    }
}

/* An arena of so many bytes at least; what was in it is lost. */
static gram_status grow(gr_lane *lane, size_t bytes, gram_err *err)
{
    gr_arena larger;
    gram_status rc = GRAM_OK;

    if (bytes > lane->scratch.size) {
        rc = gr_arena_init(&larger, gr_round_up(bytes, GR_ALIGN), err);
        if (!rc) {
            gr_arena_clear(&lane->scratch);
            lane->scratch = larger;
        }
    }
    return rc;
}

static void lane_begin(gr_lane *lane)
{
    size_t bytes = lane->scratch.size;

    for (const struct gr_lane_more *m = lane->more; m; m = m->next)
        bytes += m->bytes;
    drop_more(lane);
    gr_lane_fail(lane, grow(lane, bytes, &lane->err), &lane->err);
    gr_arena_reset(&lane->scratch);
}

/* ---- The device ----------------------------------------------------------------------------------- */

gram_status gr_device_open_cpu(gr_device **out, size_t threads, const struct gr_kern *op, gram_err *err)
{
    gr_device *d = gr_calloc(1, sizeof *d);
    gram_status rc = d ? gr_pool_open(&d->pool, threads, err) : gr_nomem(err, "device");

    *out = NULL;
    if (!rc) {
        d->op = op;
        d->lanes = gr_pool_size(d->pool);
        d->lane = gr_calloc(d->lanes, sizeof *d->lane);
        rc = d->lane ? GRAM_OK : gr_nomem(err, "device");
    }
    if (rc) {
        gr_device_close(d);
        return rc;
    }
    for (size_t i = 0; i < d->lanes; i++)
        d->lane[i] = (gr_lane){ .device = d, .op = op, .index = i, .unit = 1, .whole = true };
    *out = d;
    return GRAM_OK;
}

void gr_device_close(gr_device *d)
{
    if (!d)
        return;
    gr_pool_close(d->pool);
    for (size_t i = 0; d->lane && i < d->lanes; i++) {
        drop_more(&d->lane[i]);
        gr_arena_clear(&d->lane[i].scratch);
    }
    free(d->lane);
    free(d);
}

const struct gr_kern *gr_device_op(const gr_device *d)
{
    return d->op;
}

size_t gr_device_lanes(const gr_device *d)
{
    return d->lanes;
}

gram_status gr_device_alloc(gr_device *d, void **out, size_t bytes, gram_err *err)
{
    (void)d;
    *out = gr_alloc_aligned(bytes, 1);
    return *out ? GRAM_OK : gr_fail(err, GRAM_ENOMEM, "out of memory for %zu bytes", bytes);
}

void gr_device_free(gr_device *d, void *p)
{
    (void)d;
    free(p);
}

void gr_device_put(gr_device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
}

void gr_device_get(gr_device *d, void *to, const void *from, size_t bytes)
{
    (void)d;
    memcpy(to, from, bytes);
}

gram_status gr_device_wait(gr_device *d, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = d->lanes; i-- > 0; )
        if (d->lane[i].rc) {
            rc = d->lane[i].rc;
            if (err)
                *err = d->lane[i].err;
            d->lane[i].rc = GRAM_OK;
        }
    return rc;
}

gram_status gr_device_reserve(gr_device *d, size_t bytes, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < d->lanes && !rc; i++)
        rc = grow(&d->lane[i], bytes, err);
    return rc;
}

/* ---- Runs ----------------------------------------------------------------------------------------- */

size_t gr_device_pieces(const gr_device *d, size_t n, gr_cut cut)
{
    size_t units = (n + cut.unit - 1) / cut.unit, each = gr_max(1, cut.most / cut.unit);

    if (cut.whole)
        return n / cut.most + (n % cut.most > 0);
    return gr_min(units, gr_round_up((units + each - 1) / each, cut.share ? cut.share : d->lanes));
}

/* Pieces differ by a unit at most. The longer come first, so that two threads end together. What lane 0 shares out
 * leaves the lane's own scratch alone. */
static void one_piece(void *arg, size_t task, size_t worker)
{
    const struct run *r = arg;
    gr_lane *lane = &r->d->lane[worker];
    size_t each = r->units / r->pieces, more = r->units % r->pieces, mark = gr_lane_mark(lane), unit = lane->unit;
    size_t first = (task * each + gr_min(task, more)) * r->cut.unit, n = (each + (task < more)) * r->cut.unit;
    bool shares = r->within && worker == 0;

    if (!shares)
        lane_begin(lane);
    lane->piece = task;
    lane->unit = r->cut.unit;
    lane->whole = r->cut.whole;
    if (!lane->rc)
        r->fn(r->arg, lane, first, gr_min(n, r->n - first));
    if (shares) {
        lane->piece = 0;
        lane->unit = unit;
        lane->whole = true;
        gr_lane_give_back(lane, mark);
    }
}

static void run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg, bool within)
{
    struct run r = { d, n, (n + cut.unit - 1) / cut.unit, gr_device_pieces(d, n, cut), cut, fn, arg, within };

    for (size_t i = 0; i < d->lanes; i++)
        if (d->lane[i].rc)
            return;
    if (!cut.whole)
        gr_pool_run(d->pool, one_piece, &r, r.pieces);
    for (size_t i = 0; i < r.pieces && cut.whole; i++)
        one_piece(&r, i, 0);
}

void gr_device_run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg)
{
    run(d, n, cut, fn, arg, false);
}

void gr_lane_share(gr_lane *lane, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg)
{
    if (lane->whole)
        run(lane->device, n, cut, fn, arg, true);
    else if (n > 0 && !lane->rc)
        fn(arg, lane, 0, n);
}

gr_lane *gr_device_lane(gr_device *d)
{
    lane_begin(&d->lane[0]);
    d->lane[0].unit = 1;
    d->lane[0].whole = true;
    return &d->lane[0];
}
