/* vectors.c - long vectors between processes, carried by the hosts: see comm.h. What lies on a device comes from there
 * and goes back a chunk at a time. */
#include <string.h>
#include "base/err.h"
#include "comm/comm_int.h"
#include "op/rank.h"

bool gr_vector_pieces(const gr_vector *v, struct gr_range r, gr_piece_fn *fn, void *arg)
{
    size_t at = 0;

    for (size_t i = 0; i < v->n && at < r.n; i++) {
        size_t count = gr_param_count(&v->param[i]), k = count > r.from ? gr_min(count - r.from, r.n - at) : 0;
        if (k && !fn(arg, &v->param[i], r.from, k, at))
            return false;
        r.from = k ? 0 : r.from - count;
        at += k;
    }
    return true;
}

/* One of the two: where a range goes to, or comes from. */
struct copying { bool gradients; float *out; const float *in; };

static bool copy(void *arg, const gr_param *p, size_t first, size_t n, size_t at)
{
    const struct copying *c = arg;

    if (c->out)
        (c->gradients ? gr_param_get_grad : gr_param_get)(p, first, n, c->out + at);
    else if (c->gradients)
        gr_param_put_grad(p, first, n, c->in + at);
    else
        gr_param_put(p, first, n, c->in + at);
    return true;
}

void gr_vector_get(const gr_vector *v, size_t from, size_t n, float *out)
{
    gr_vector_pieces(v, (struct gr_range){ from, n }, copy, &(struct copying){ v->gradients, out, NULL });
}

void gr_vector_put(const gr_vector *v, size_t from, size_t n, const float *x)
{
    gr_vector_pieces(v, (struct gr_range){ from, n }, copy, &(struct copying){ v->gradients, NULL, x });
}

struct gr_range gr_vector_own(const gr_vector *v, size_t size, size_t bucket, size_t rank)
{
    const size_t *cut = v->cut + bucket * size + rank;

    return (struct gr_range){ cut[0], cut[1] - cut[0] };
}

/* What goes from one process to another: everyone's part to its owner to be added; each owner's part to all; or to
 * process 0; or from it. With `parts` that is what each process has of its own, otherwise what the vector is of. */
enum way { REDUCE, SHARE, GATHER, SCATTER };
struct job {
    enum way way;
    const gr_vector *v;
    size_t bucket, first, end;          /* values of the bucket in [first, end) */
    const gr_parts *parts;
    float *to;                          /* GATHER: all that is gathered, in process 0 */
    const float *from;                  /* SCATTER */
};

/* A rank's own values of what the job moves. */
static struct gr_range own_of(const struct job *j, size_t size, size_t rank)
{
    struct gr_range own = gr_vector_own(j->v, size, j->bucket, rank);
    size_t first = gr_max(own.from, j->first), end = gr_min(own.from + own.n, j->end);

    return (struct gr_range){ first, end > first ? end - first : 0 };
}

/* The k-th chunk of it that goes from one rank to another; n is 0 past the end. */
static struct gr_range range_of(const gr_dist *d, const struct job *j, size_t from, size_t to, size_t k)
{
    struct gr_range own = own_of(j, d->size, j->way == REDUCE || j->way == SCATTER ? to : from);
    bool any = (j->way != GATHER || to == 0) && (j->way != SCATTER || from == 0);
    size_t skip = k * d->chunk;

    return (struct gr_range){ own.from + skip, any && skip < own.n ? gr_min(d->chunk, own.n - skip) : 0 };
}

/* Where among its own this process has value `at`. */
static size_t place_of(const gr_dist *d, const struct job *j, size_t at)
{
    size_t size = gr_dist_size(d), rank = gr_dist_rank(d), before = 0;

    for (size_t b = 0; b < j->bucket; b++)
        before += gr_vector_own(j->v, size, b, rank).n;
    return before + (at - gr_vector_own(j->v, size, j->bucket, rank).from);
}

static void take(const gr_dist *d, const struct job *j, struct gr_range r, float *out)
{
    if (j->way == GATHER)
        gr_param_get(j->parts->mine, place_of(d, j, r.from), r.n, out);
    else if (j->way == SCATTER && j->parts)
        memcpy(out, j->from + (r.from - j->first), r.n * sizeof *out);
    else
        gr_vector_get(j->v, r.from, r.n, out);
}

static void give(const gr_dist *d, const struct job *j, struct gr_range r, const float *in)
{
    if (j->way == GATHER)
        memcpy(j->to + (r.from - j->first), in, r.n * sizeof *in);
    else if (j->way == SCATTER && j->parts)
        gr_param_put(j->parts->mine, place_of(d, j, r.from), r.n, in);
    else
        gr_vector_put(j->v, r.from, r.n, in);
}

/* Sends and receives chunk k; *any: there was one. */
static gram_status exchange(gr_dist *d, const struct job *j, size_t k, bool *any, gram_err *err)
{
    gram_status rc = GRAM_OK;
    size_t n = 0;

    for (size_t p = 0; p < d->size && !rc; p++) {
        struct gr_range r = range_of(d, j, p, d->rank, k);
        if (p != d->rank && r.n)
            rc = gr_dist_post(d, n++, false, p, d->in + p * d->chunk, r.n * sizeof *d->in, err);
    }
    for (size_t p = 0; p < d->size && !rc; p++) {
        struct gr_range r = range_of(d, j, d->rank, p, k);
        if (p == d->rank || !r.n)
            continue;
        take(d, j, r, d->out + p * d->chunk);
        rc = gr_dist_post(d, n++, true, p, d->out + p * d->chunk, r.n * sizeof *d->out, err);
    }
    *any = n > 0;
    return rc ? rc : gr_dist_settle(d, n, err);
}

static void add_in_order(gr_dist *d, const struct job *j, struct gr_range r)
{
    float *own = d->in + d->rank * d->chunk;

    gr_vector_get(j->v, r.from, r.n, own);
    gr_rank_sum_ref(NULL, own, d->in, d->chunk, d->rank, d->size, r.n);
    gr_vector_put(j->v, r.from, r.n, own);
}

static gram_status move(gr_dist *d, const struct job *j, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool any = d != NULL;

    for (size_t k = 0; any && !rc; k++) {
        rc = exchange(d, j, k, &any, err);
        if (rc || !any)
            break;
        if (j->way == REDUCE) {
            add_in_order(d, j, range_of(d, j, d->rank, d->rank, k));
            continue;
        }
        for (size_t p = 0; p < d->size; p++) {
            struct gr_range r = range_of(d, j, p, d->rank, k);
            if (p != d->rank && r.n)
                give(d, j, r, d->in + p * d->chunk);
        }
    }
    return rc;
}

static gram_status move_all(gr_dist *d, const gr_vector *v, enum way way, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t b = 0; b < v->buckets && !rc && d; b++)
        rc = move(d, &(struct job){ .way = way, .v = v, .bucket = b, .end = SIZE_MAX }, err);
    return rc;
}

/* Whether the links between the devices carry it. */
static bool is_linked(const gr_dist *d, const gr_vector *v)
{
    return d && d->linked.device && v->n > 0 && v->param->on == d->linked.device;
}

gram_status gr_dist_reduce_scatter(gr_dist *d, const gr_vector *v, gram_err *err)
{
    return is_linked(d, v) ? gr_links_reduce(d, v, err) : move_all(d, v, REDUCE, err);
}

gram_status gr_dist_all_gather(gr_dist *d, const gr_vector *v, gram_err *err)
{
    return is_linked(d, v) ? gr_links_share(d, v, err) : move_all(d, v, SHARE, err);
}

gram_status gr_dist_spread(gr_dist *d, const gr_vector *v, gram_err *err)
{
    gram_status rc = move_all(d, v, SCATTER, err);

    return rc ? rc : gr_dist_all_gather(d, v, err);
}

static struct job job_of(const gr_dist *d, enum way way, const gr_parts *p, size_t first, size_t n)
{
    size_t size = gr_dist_size(d), b = 0;

    while (b + 1 < p->cut->buckets && p->cut->cut[(b + 1) * size] <= first)
        b++;
    return (struct job){ .way = way, .v = p->cut, .bucket = b, .first = first, .end = first + n, .parts = p };
}

gram_status gr_dist_gather(gr_dist *d, const gr_parts *p, size_t first, size_t n, float *all, gram_err *err)
{
    struct job j = job_of(d, GATHER, p, first, n);
    struct gr_range own = own_of(&j, gr_dist_size(d), 0);

    j.to = all;
    if (gr_dist_rank(d) == 0 && own.n)
        gr_param_get(p->mine, place_of(d, &j, own.from), own.n, all + (own.from - first));
    return move(d, &j, err);
}

gram_status gr_dist_scatter(gr_dist *d, const gr_parts *p, size_t first, size_t n, const float *all, gram_err *err)
{
    struct job j = job_of(d, SCATTER, p, first, n);
    struct gr_range own = own_of(&j, gr_dist_size(d), 0);

    j.from = all;
    if (gr_dist_rank(d) == 0 && own.n)
        gr_param_put(p->mine, place_of(d, &j, own.from), own.n, all + (own.from - first));
    return move(d, &j, err);
}
