/* device.c - the CPU as a device: its memory is the host's, its lanes are the threads of a pool. A device of another
 * kind says in a table what it does where the CPU does nothing. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/limits.h"
#include "base/pool.h"
#include "tensor/device.h"

enum { ZERO_BYTES = 2 << 20 };      /* that a thread takes at a time: a page of fresh memory, which the system clears */

struct gr_lane_more { struct gr_lane_more *next; void *p; size_t bytes; };

struct gr_device {
    const gr_device_kind *kind;     /* NULL: the CPU */
    void *self;
    gr_pool *pool;
    const struct gr_kern *op;
    gr_lane *lane;
    size_t lanes;
    gr_turns turns;             /* due NULL: none */
    bool turn;                  /* one is under way, by all lanes */
    gr_lane beside;             /* of a turn beside a run */
};

/* The lane of a thread that is in a turn beside a run; NULL: it is in none. */
static _Thread_local gr_lane *own;

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

/* The memory that lanes compute in. */
static gr_device *scratch_on(gr_device *d)
{
    return d->kind && d->kind->own_scratch ? d : NULL;
}

/* A block of its own for what the arena has no room for. */
static void *take_more(gr_lane *lane, size_t bytes)
{
    struct gr_lane_more *more = gr_calloc(1, sizeof *more);
    void *p = NULL;

    if (!more || gr_device_alloc(scratch_on(lane->device), &p, bytes, NULL)) {
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

gr_mat gr_lane_scratch_of(gr_lane *lane, size_t rows, size_t cols, gr_dtype type)
{
    return gr_mat_of(gr_lane_bytes(lane, rows * cols * gr_dtype_bytes(type)), cols, type);
}

gr_mat gr_lane_scratch(gr_lane *lane, size_t rows, size_t cols)
{
    return gr_lane_scratch_of(lane, rows, cols, GR_F32);
}

static void drop_more(gr_lane *lane)
{
    while (lane->more) {
        struct gr_lane_more *next = lane->more->next;
        gr_device_free(scratch_on(lane->device), lane->more->p);
        free(lane->more);
        lane->more = next;
    }
}

static void scratch_clear(gr_lane *lane)
{
    gr_device_free(scratch_on(lane->device), lane->scratch.base);
    lane->scratch = (gr_arena){ 0 };
}

/* An arena of so many bytes at least; what was in it is lost. */
static gram_status grow(gr_lane *lane, size_t bytes, gram_err *err)
{
    void *larger;
    gram_status rc;

    if (bytes <= lane->scratch.size)
        return GRAM_OK;
    bytes = gr_round_up(bytes, GR_ALIGN);
    rc = gr_device_alloc(scratch_on(lane->device), &larger, bytes, NULL);
    if (rc)
        return gr_fail(err, rc, "scratch memory: out of memory for %zu bytes", bytes);
    scratch_clear(lane);
    lane->scratch = (gr_arena){ larger, bytes, 0 };
    return GRAM_OK;
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

gram_status gr_device_open_kind(gr_device **out, const gr_device_kind *kind, void *self, size_t threads,
                                const struct gr_kern *op, gram_err *err)
{
    gr_device *d = gr_calloc(1, sizeof *d);
    gram_status rc = d ? GRAM_OK : gr_nomem(err, "device");

    *out = NULL;
    if (rc) {
        if (kind)
            kind->close(self);
        return rc;
    }
    d->kind = kind;
    d->self = self;
    d->op = op;
    d->beside.device = d;                           /* which closing it asks for, whatever fails */
    rc = gr_pool_open(&d->pool, threads, err);
    if (!rc) {
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
    d->beside = d->lane[0];
    *out = d;
    return GRAM_OK;
}

gram_status gr_device_open_cpu(gr_device **out, size_t threads, const struct gr_kern *op, gram_err *err)
{
    return gr_device_open_kind(out, NULL, NULL, threads, op, err);
}

void gr_device_close(gr_device *d)
{
    if (!d)
        return;
    gr_pool_close(d->pool);
    for (size_t i = 0; d->lane && i < d->lanes; i++) {
        drop_more(&d->lane[i]);
        scratch_clear(&d->lane[i]);
    }
    drop_more(&d->beside);
    scratch_clear(&d->beside);
    if (d->kind)
        d->kind->close(d->self);
    free(d->lane);
    free(d);
}

const char *gr_device_name(const gr_device *d)
{
    return d->kind ? d->kind->name : "cpu";
}

void *gr_device_self(const gr_device *d)
{
    return d->self;
}

const gr_links_kind *gr_device_links(const gr_device *d)
{
    return d->kind ? d->kind->links : NULL;
}

gr_dtype gr_device_activations(const gr_device *d)
{
    return d->kind ? d->kind->activations : GR_F32;
}

uint64_t gr_device_free_bytes(const gr_device *d)
{
    uint64_t all = gr_ram(), held = gr_ram_held();

    return d->kind ? d->kind->free_bytes(d->self) : all > held ? all - held : 0;
}

const struct gr_kern *gr_device_op(const gr_device *d)
{
    return d->op;
}

size_t gr_device_lanes(const gr_device *d)
{
    return d->lanes;
}

bool gr_device_is_host(const gr_device *d)
{
    return !d || !d->kind;
}

gram_status gr_device_alloc(gr_device *d, void **out, size_t bytes, gram_err *err)
{
    if (!gr_device_is_host(d))
        return d->kind->alloc(d->self, out, bytes, err);
    *out = gr_alloc_aligned(bytes, 1);
    return *out ? GRAM_OK : gr_fail(err, GRAM_ENOMEM, "out of memory for %zu bytes", bytes);
}

gram_status gr_device_alloc_zeros(gr_device *d, void **out, size_t n, size_t size, gram_err *err)
{
    size_t bytes;
    gram_status rc;

    *out = gr_device_is_host(d) ? gr_calloc(n, size) : NULL;
    if (*out)
        return GRAM_OK;
    if (gr_device_is_host(d) || !gr_mul(n, size, &bytes))
        return gr_fail(err, GRAM_ENOMEM, "out of memory for %zu numbers", n);
    rc = gr_device_alloc(d, out, bytes, err);
    if (!rc)
        gr_device_zero(d, *out, bytes);
    return rc;
}

void gr_device_free(gr_device *d, void *p)
{
    if (!gr_device_is_host(d) && p)
        d->kind->free(d->self, p);
    else
        free(p);
}

void gr_device_put(gr_device *d, void *to, const void *from, size_t bytes)
{
    if (!gr_device_is_host(d))
        d->kind->put(d->self, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

void gr_device_get(gr_device *d, void *to, const void *from, size_t bytes)
{
    if (!gr_device_is_host(d))
        d->kind->get(d->self, to, from, bytes);
    else
        memcpy(to, from, bytes);
}

static void zero_bytes(void *arg, gr_lane *lane, size_t first, size_t n)
{
    (void)lane;
    memset((char *)arg + first, 0, n);
}

void gr_device_zero(gr_device *d, void *p, size_t bytes)
{
    static const char zeros[4096];

    if (gr_device_is_host(d)) {
        if (d && bytes > 2 * ZERO_BYTES)
            gr_device_run(d, bytes, (gr_cut){ ZERO_BYTES, ZERO_BYTES, 1, false }, zero_bytes, p);
        else if (bytes > 0)                     /* of none p may be NULL */
            memset(p, 0, bytes);
        return;
    }
    if (d->kind->zero) {
        d->kind->zero(d->self, p, bytes);
        return;
    }
    for (size_t n; bytes > 0; p = (char *)p + n, bytes -= n) {
        n = gr_min(bytes, sizeof zeros);
        d->kind->put(d->self, p, zeros, n);
    }
}

void *gr_device_map(gr_device *d, void *p, size_t bytes, bool read)
{
    void *mapped;

    if (gr_device_is_host(d))
        return p;
    mapped = gr_alloc_aligned(bytes, 1);
    if (mapped && read)
        d->kind->get(d->self, mapped, p, bytes);
    return mapped;
}

void gr_device_unmap(gr_device *d, void *p, void *mapped, size_t bytes, bool write)
{
    if (gr_device_is_host(d) || !mapped)
        return;
    if (write)
        d->kind->put(d->self, p, mapped, bytes);
    free(mapped);
}

const void *gr_device_view(gr_device *d, const void *p, size_t bytes, void **room)
{
    void *more;

    if (gr_device_is_host(d))
        return p;
    more = realloc(*room, gr_max(bytes, 1));
    if (!more)
        return NULL;
    *room = more;
    d->kind->get(d->self, more, p, bytes);
    return more;
}

gram_status gr_device_hold(gr_device *d, const void **out, const void *p, size_t bytes, gram_err *err)
{
    void *copy;
    gram_status rc;

    *out = p;
    if (gr_device_is_host(d))
        return GRAM_OK;
    *out = NULL;
    rc = d->kind->alloc(d->self, &copy, bytes, err);
    if (rc)
        return rc;
    d->kind->put(d->self, copy, p, bytes);
    *out = copy;
    return GRAM_OK;
}

void gr_device_drop(gr_device *d, const void *held)
{
    if (held && !gr_device_is_host(d))
        d->kind->free(d->self, (void *)(uintptr_t)held);
}

static bool is_own(const gr_device *d)
{
    return own && own->device == d;
}

bool gr_device_is_beside(const gr_device *d)
{
    return is_own(d);
}

/* What a lane has failed by, which it forgets. */
static gram_status take_failure(gr_lane *lane, gram_err *err)
{
    gram_status rc = lane->rc;

    if (rc && err)
        *err = lane->err;
    lane->rc = GRAM_OK;
    return rc;
}

gram_status gr_device_wait(gr_device *d, gram_err *err)
{
    gram_status rc, one;

    if (is_own(d))
        return take_failure(own, err);
    rc = d->kind ? d->kind->wait(d->self, err) : GRAM_OK;
    gr_pool_recall(d->pool);
    for (size_t i = d->lanes; i-- > 0; ) {
        one = take_failure(&d->lane[i], err);
        rc = one ? one : rc;
    }
    return rc;
}

void gr_device_sync(gr_device *d)
{
    gram_err why;
    gram_status rc = d->kind ? d->kind->wait(d->self, &why) : GRAM_OK;

    gr_lane_fail(&d->lane[0], rc, &why);
}

gram_status gr_device_reserve(gr_device *d, size_t bytes, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (is_own(d))
        return grow(own, bytes, err);
    for (size_t i = 0; i < d->lanes && !rc; i++)
        rc = grow(&d->lane[i], bytes, err);
    return rc;
}

/* ---- Runs ----------------------------------------------------------------------------------------- */

size_t gr_device_pieces(const gr_device *d, size_t n, gr_cut cut)
{
    size_t units = (n + cut.unit - 1) / cut.unit, each = gr_max(1, cut.most / cut.unit);

    if (d->kind && d->kind->takes_all)
        return n > 0;
    if (cut.whole)
        return n / cut.most + (n % cut.most > 0);
    return gr_min(units, gr_round_up((units + each - 1) / each, cut.share ? cut.share : d->lanes));
}

/* Pieces differ by a unit at most. The longer come first, so that two threads end together. What a lane shares out
 * leaves its own scratch alone. */
static void piece(const struct run *r, size_t task, gr_lane *lane, bool shares)
{
    size_t each = r->units / r->pieces, more = r->units % r->pieces, mark = gr_lane_mark(lane), unit = lane->unit;
    size_t first = (task * each + gr_min(task, more)) * r->cut.unit, n = (each + (task < more)) * r->cut.unit;

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

static void one_piece(void *arg, size_t task, size_t worker)
{
    const struct run *r = arg;

    piece(r, task, &r->d->lane[worker], r->within && worker == 0);
}

static bool has_failed(const gr_device *d)
{
    for (size_t i = 0; i < d->lanes; i++)
        if (d->lane[i].rc)
            return true;
    return false;
}

/* A turn, by the thread of a lane that has left the run. */
static void turn_beside(void *arg, size_t worker)
{
    gr_device *d = arg;

    own = &d->beside;
    own->index = worker;
    d->turns.turn(d->turns.arg);
    own = NULL;
}

/* Whether all lanes are to stop for a turn. One beside the run is begun here. */
static bool stops(void *arg)
{
    gr_device *d = arg;
    const gr_turns *t = &d->turns;

    if (gr_pool_has_lent(d->pool) || !t->due(t->arg))
        return false;
    if (d->kind || d->lanes < 2 || !t->beside || !t->beside(t->arg))
        return true;
    gr_pool_lend(d->pool, turn_beside, d);
    return false;
}

/* Pieces from `first` on until it is another's turn; the first that is left. */
static size_t run_some(struct run *r, size_t first, bool may_stop)
{
    const gr_turns *t = &r->d->turns;

    if (!r->cut.whole)
        return gr_pool_some(r->d->pool, one_piece, r, first, r->pieces, may_stop ? stops : NULL, r->d);
    while (first < r->pieces && !(may_stop && !gr_pool_has_lent(r->d->pool) && t->due(t->arg)))
        one_piece(r, first++, 0);
    return first;
}

static void run_alone(const struct run *r)
{
    for (size_t i = 0; i < r->pieces && !own->rc; i++)
        piece(r, i, own, r->within);
}

static void run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg, bool within)
{
    bool may_stop = !is_own(d) && d->turns.due && !d->turn && !within;
    struct run r = { .d = d, .n = n, .units = (n + cut.unit - 1) / cut.unit, .fn = fn, .arg = arg, .within = within };

    if (may_stop && !cut.whole && cut.share == 0 && d->turns.soon &&
        (gr_pool_has_lent(d->pool) || d->turns.soon(d->turns.arg)))
        cut.most = cut.unit;
    r.cut = cut;
    r.pieces = gr_device_pieces(d, n, cut);
    if (is_own(d)) {
        run_alone(&r);
        return;
    }
    for (size_t i = 0; i < r.pieces && !has_failed(d); ) {
        i = run_some(&r, i, may_stop);
        if (i < r.pieces && !has_failed(d)) {
            d->turn = true;
            if (d->kind)
                d->kind->leave(d->self);
            d->turns.turn(d->turns.arg);
            if (d->kind)
                d->kind->enter(d->self);
            d->turn = false;
        }
    }
}

void gr_device_set_turns(gr_device *d, const gr_turns *turns)
{
    gr_pool_recall(d->pool);
    d->turns = turns ? *turns : (gr_turns){ 0 };
}

void gr_device_run(gr_device *d, size_t n, gr_cut cut, gr_lane_fn *fn, void *arg)
{
    if (d->kind)
        d->kind->enter(d->self);
    run(d, n, cut, fn, arg, false);
    if (d->kind)
        d->kind->leave(d->self);
}

void gr_device_once(gr_device *d, gr_lane_fn *fn, void *arg, size_t n)
{
    gr_device_run(d, n, (gr_cut){ gr_max(n, 1), gr_max(n, 1), 1, true }, fn, arg);
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
