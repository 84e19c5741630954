/* links.c - vectors between the devices of the processes, without the hosts: see comm.h. What comes lies on the device,
 * and a kernel adds it in the order of the ranks (op/rank.h), so that sums have the bits of those that hosts make. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "comm/comm_int.h"
#include "op/op.h"

#define STAGE ((size_t)1 << 24)         /* floats that a device receives at a time, from all the others together */

/* What each says of itself. */
struct offer { unsigned char mark[GR_DEVICE_MARK]; int32_t gpu, can; gram_err why; };

static bool go_on(void *arg)
{
    return !((gr_dist *)arg)->failed;
}

/* A failure of the links, or of a process that they wait for: then that is the better sentence. */
static gram_status ended(gr_dist *d, gram_status rc, const gram_err *why, gram_err *err)
{
    return rc ? gr_dist_broken(d, why, err) : GRAM_OK;
}

/* ---- Opening ---------------------------------------------------------------------------------------- */

static bool is_same_device(const gr_dist *d, const struct offer *o, size_t a, size_t b)
{
    return d->process[a].machine == d->process[b].machine && !memcmp(o[a].mark, o[b].mark, sizeof o->mark);
}

/* Why what all say does not do; "" where some compute on no GPU. */
static bool all_can(const gr_dist *d, const struct offer *o, gram_err *why)
{
    for (size_t p = 0; p < d->size; p++)
        if (!o[p].gpu)
            return false;
    for (size_t p = 0; p < d->size; p++)
        if (!o[p].can)
            return gr_fail(why, o[p].why.status, "%s", o[p].why.text), false;
    for (size_t a = 0; a < d->size; a++)
        for (size_t b = 0; b < a; b++)
            if (is_same_device(d, o, a, b))
                return gr_fail(why, GRAM_EUNSUPPORTED, "processes %zu and %zu compute on the same GPU of %s: `device "
                               "cuda` gives each of a machine its own", b, a, d->process[a].host), false;
    return true;
}

static gram_status open_links(gr_dist *d, gr_device *device, gram_err *err)
{
    const gr_links_kind *links = gr_device_links(device);
    unsigned char id[GR_LINKS_ID] = { 0 };
    struct gr_linked *l = &d->linked;
    gram_err why = { 0 };
    void *came;
    gram_status rc = GRAM_OK;

    l->chunk = gr_max(STAGE / d->size, 1 << 14);
    rc = gr_device_alloc(device, &came, d->size * l->chunk * sizeof *l->came, err);
    if (rc)
        return rc;
    l->came = came;
    l->device = device;
    if (d->rank == 0)
        rc = links->id(gr_device_self(device), id, err);
    if (!rc)
        rc = gr_dist_broadcast(d, id, sizeof id, err);
    if (rc)
        return rc;
    return ended(d, links->open(gr_device_self(device), id, d->rank, d->size, go_on, d, &why), &why, err);
}

gram_status gr_dist_link(gr_dist *d, gr_device *device, gram_err *why, gram_err *err)
{
    const gr_links_kind *links = gr_device_is_host(device) ? NULL : gr_device_links(device);
    struct offer mine = { .gpu = links != NULL }, *all;
    gram_status rc;

    *why = (gram_err){ 0 };
    if (!d)
        return GRAM_OK;
    if (links) {
        links->mark(gr_device_self(device), mine.mark);
        mine.can = !links->find(gr_device_self(device), &mine.why);
    }
    all = gr_calloc(d->size, sizeof *all);
    rc = all ? gr_dist_all(d, &mine, all, sizeof mine, err) : gr_nomem(err, "processes");
    if (!rc && all_can(d, all, why))
        rc = open_links(d, device, err);
    free(all);
    return rc;
}

void gr_dist_unlink(gr_dist *d)
{
    struct gr_linked *l = d ? &d->linked : NULL;

    if (!l || !l->device)
        return;
    gr_device_links(l->device)->close(gr_device_self(l->device));
    gr_device_free(l->device, l->came);
    free(l->parcel);
    *l = (struct gr_linked){ 0 };
}

uint64_t gr_dist_device_bytes(const gr_dist *d)
{
    return d && d->linked.device ? (uint64_t)d->size * d->linked.chunk * sizeof *d->linked.came : 0;
}

/* ---- Exchanges -------------------------------------------------------------------------------------- */

struct packing { const gr_vector *v; struct gr_linked *l; size_t peer; bool sends; float *to; };

static gr_mat moved_of(const gr_vector *v, const gr_param *p)
{
    return v->gradients ? p->g : p->w;
}

/* A piece that is sent, or received: where it belongs, or, to be added, in the place of what came. */
static bool pack(void *arg, const gr_param *p, size_t first, size_t n, size_t at)
{
    const struct packing *k = arg;
    gr_mat m = moved_of(k->v, p);
    size_t bytes = gr_dtype_bytes(m.type);
    gr_parcel *more = gr_grown(k->l->parcel, k->l->n, &k->l->cap, 1, sizeof *more);

    if (!more)
        return false;
    k->l->parcel = more;
    more[k->l->n++] = (gr_parcel){ k->to ? (char *)(k->to + at) : (char *)m.p + first * bytes, n * bytes, k->peer,
                                   k->sends };
    return true;
}

static struct gr_range chunk_of(const gr_dist *d, const gr_vector *v, size_t bucket, size_t owner, size_t k)
{
    struct gr_range own = gr_vector_own(v, d->size, bucket, owner);
    size_t skip = k * d->linked.chunk;

    return (struct gr_range){ own.from + skip, skip < own.n ? gr_min(d->linked.chunk, own.n - skip) : 0 };
}

/* Chunk k of each owner's part: from all to the owner, or from the owner to all. *any: there was one. */
static gram_status exchange(gr_dist *d, const gr_vector *v, size_t bucket, size_t k, bool reduce, bool *any,
                            gram_err *err)
{
    struct gr_linked *l = &d->linked;
    gram_err why = { 0 };
    bool ok = true;

    l->n = 0;
    for (size_t p = 0; p < d->size && ok; p++) {
        struct packing out = { v, l, p, true, NULL };
        struct packing in = { v, l, p, false, reduce ? l->came + p * l->chunk : NULL };
        if (p == d->rank)
            continue;
        ok = gr_vector_pieces(v, chunk_of(d, v, bucket, reduce ? p : d->rank, k), pack, &out) &&
             gr_vector_pieces(v, chunk_of(d, v, bucket, reduce ? d->rank : p, k), pack, &in);
    }
    *any = l->n > 0;
    if (!ok)
        return gr_nomem(err, "processes");
    if (!*any)
        return GRAM_OK;
    return ended(d, gr_device_links(l->device)->exchange(gr_device_self(l->device), l->parcel, l->n, go_on, d, &why),
                 &why, err);
}

struct sum { gr_dist *d; const gr_vector *v; struct gr_range r; gr_lane *lane; };

static bool sum_piece(void *arg, const gr_param *p, size_t first, size_t n, size_t at)
{
    const struct sum *s = arg;
    const struct gr_linked *l = &s->d->linked;

    s->lane->op->rank_sum(s->lane, gr_f32(moved_of(s->v, p)) + first, l->came + at, l->chunk, s->d->rank,
                          s->d->size, n);
    return true;
}

static void sum_pieces(void *arg, gr_lane *lane, size_t first, size_t n)
{
    struct sum *s = arg;

    (void)first, (void)n;
    s->lane = lane;
    gr_vector_pieces(s->v, s->r, sum_piece, s);
}

static gram_status move(gr_dist *d, const gr_vector *v, bool reduce, gram_err *err)
{
    struct gr_linked *l = &d->linked;
    gram_err why = { 0 };
    gram_status rc = gr_dist_check(d, err);

    for (size_t b = 0; b < v->buckets && !rc; b++) {
        bool any = true;
        for (size_t k = 0; any && !rc; k++) {
            struct sum s = { .d = d, .v = v, .r = chunk_of(d, v, b, d->rank, k) };
            rc = exchange(d, v, b, k, reduce, &any, err);
            if (!rc && reduce && s.r.n)
                gr_device_once(l->device, sum_pieces, &s, 1);
        }
    }
    if (rc)
        return rc;
    return ended(d, gr_device_links(l->device)->settle(gr_device_self(l->device), go_on, d, &why), &why, err);
}

gram_status gr_links_reduce(gr_dist *d, const gr_vector *v, gram_err *err)
{
    return move(d, v, true, err);
}

gram_status gr_links_share(gr_dist *d, const gr_vector *v, gram_err *err)
{
    return move(d, v, false, err);
}
