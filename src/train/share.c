/* share.c - see share.h. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "op/op.h"
#include "train/share.h"

/* A run of parameters whose gradients are added up together. */
struct gr_bucket { size_t layer, first, n, cut; };

/* ---- Parts ---------------------------------------------------------------------------------------- */

/* Where the parameters from `first` on are of another layer. */
static size_t bucket_end(const gr_trainee *t, size_t first, size_t n)
{
    size_t i = first;

    while (i < n && gr_trainee_layer_of(t, i) == gr_trainee_layer_of(t, first))
        i++;
    return i;
}

gram_status gr_share_cut(gr_adamw *a, gr_param *param, size_t n, gr_dist *d, gr_trainee *by_layer, bool half,
                         gram_err *err)
{
    gr_adamw_cut cut = { .part = gr_dist_rank(d), .parts = gr_dist_size(d), .gradients = by_layer, .half = half };
    size_t *end = by_layer ? gr_calloc(n, sizeof *end) : NULL;
    gram_status rc;

    if (by_layer && !end)
        return gr_nomem(err, "processes");
    for (size_t i = 0; by_layer && i < n; i = end[cut.buckets++])
        end[cut.buckets] = bucket_end(by_layer, i, n);
    cut.end = end;
    rc = gr_adamw_init_part(a, param, n, &cut, err);
    free(end);
    return rc;
}

static const gr_param *moments(const gr_share *s, size_t part)
{
    return part == 1 ? &s->a->m : &s->a->v;
}

/* Whether the host has a tensor of a part where it can be read: in float32, and moments where it has all. */
static bool is_here(const gr_share *s, size_t part, size_t i)
{
    const gr_param *p = part ? moments(s, part) : &s->a->param[i];

    return gr_device_is_host(s->a->on) && p->w.type == GR_F32 && !(part && s->d);
}

/* Process 0 brings tensors that are not to room for the largest. */
static bool open_room(gr_share *s)
{
    for (size_t i = 0; i < s->a->n_params && gr_dist_rank(s->d) == 0; i++)
        if (!is_here(s, 0, i) || !is_here(s, 1, i))
            s->room_floats = gr_max(s->room_floats, gr_param_count(&s->a->param[i]));
    s->room = s->room_floats ? gr_alloc_aligned(s->room_floats, sizeof *s->room) : NULL;
    return s->room || !s->room_floats;
}

/* The cut of each bucket from its first value on. */
static bool open_buckets(gr_share *s)
{
    const gr_adamw *a = s->a;
    size_t size = gr_dist_size(s->d), i = 0;

    s->bucket = gr_calloc(a->buckets, sizeof *s->bucket);
    s->bucket_cut = gr_calloc(a->buckets * (size + 1), sizeof *s->bucket_cut);
    if (!s->bucket || !s->bucket_cut)
        return false;
    for (size_t b = 0; b < a->buckets; b++) {
        size_t end = bucket_end(s->t, i, a->n_params);
        s->bucket[b] = (struct gr_bucket){ gr_trainee_layer_of(s->t, i), i, end - i, b * (size + 1) };
        for (size_t r = 0; r <= size; r++)
            s->bucket_cut[b * (size + 1) + r] = a->cut[b * size + r] - a->cut[b * size];
        i = end;
    }
    return true;
}

static gram_status begin_pass(void *arg, gram_err *err);
static gram_status add_layer(void *arg, size_t layer, gram_err *err);

gram_status gr_share_open(gr_share *s, gr_dist *d, gr_adamw *a, gr_trainee *by_layer, gram_err *err)
{
    gram_status rc;

    *s = (gr_share){ .d = d, .a = a, .t = by_layer };
    s->at = gr_calloc(a->n_params + 1, sizeof *s->at);
    if (!s->at || !open_room(s) || (by_layer && !open_buckets(s))) {
        gr_share_clear(s);
        return gr_nomem(err, "processes");
    }
    for (size_t i = 0; i < a->n_params; i++)
        s->at[i + 1] = s->at[i] + gr_param_count(&a->param[i]);
    s->w = (gr_vector){ a->param, a->n_params, false, a->cut, a->buckets };
    s->g = (gr_vector){ a->param, a->n_params, true, a->cut, a->buckets };
    if (by_layer)
        gr_trainee_watch(by_layer, &(gr_layer_watch){ begin_pass, add_layer, s });
    rc = gr_dist_link(d, a->on, &s->hosts, err);
    if (rc)
        gr_share_clear(s);
    return rc;
}

void gr_share_clear(gr_share *s)
{
    gr_dist_unlink(s->d);
    free(s->at);
    free(s->room);
    free(s->bucket);
    free(s->bucket_cut);
    *s = (gr_share){ 0 };
}

uint64_t gr_share_bytes(const gr_share *s)
{
    return gr_dist_bytes(s->d) + s->room_floats * sizeof *s->room;
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

struct row { size_t tokens, index, owner; };

static int longest_first(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return x->tokens != y->tokens ? (x->tokens < y->tokens) - (x->tokens > y->tokens)
                                  : (x->index > y->index) - (x->index < y->index);
}

static int as_they_came(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    return (x->index > y->index) - (x->index < y->index);
}

gram_status gr_share_batch(const gr_share *s, const gr_example **e, size_t *count, gram_err *err)
{
    size_t size = gr_dist_size(s->d), mine = 0, *has;
    struct row *row;

    if (size == 1)
        return GRAM_OK;
    has = gr_calloc(size, sizeof *has);
    row = gr_calloc(*count, sizeof *row);
    if (!has || !row) {
        free(has);
        free(row);
        return gr_nomem(err, "training rows");
    }
    for (size_t i = 0; i < *count; i++)
        row[i] = (struct row){ gr_example_tokens(e[i]), i, 0 };
    qsort(row, *count, sizeof *row, longest_first);
    for (size_t i = 0; i < *count; i++) {
        for (size_t p = 1; p < size; p++)
            if (has[p] < has[row[i].owner])
                row[i].owner = p;
        has[row[i].owner] += row[i].tokens;
    }
    qsort(row, *count, sizeof *row, as_they_came);
    for (size_t i = 0; i < *count; i++)
        if (row[i].owner == gr_dist_rank(s->d))
            e[mine++] = e[i];
    *count = mine;
    free(has);
    free(row);
    return GRAM_OK;
}

void gr_share_rows(const gr_share *s, const size_t *tokens, size_t count, size_t *first, size_t *n)
{
    size_t size = gr_dist_size(s->d), rank = gr_dist_rank(s->d), all = 0, seen = 0, end = 0;

    *first = 0;
    for (size_t i = 0; i < count; i++)
        all += tokens[i];
    for (size_t i = 0; i < count; i++) {        /* a row belongs to the part in which it begins */
        *first += seen < all / size * rank;
        end += rank + 1 == size || seen < all / size * (rank + 1);
        seen += tokens[i];
    }
    *n = end - *first;
}

/* ---- A step --------------------------------------------------------------------------------------- */

gram_status gr_share_sum(const gr_share *s, gr_sum *sum, gram_err *err)
{
    double *p = sum->policy;
    double x[] = { sum->loss, sum->right, sum->count, sum->chosen, (double)sum->tokens, (double)sum->computed, p[0],
                   p[1], p[2], p[3], p[4], p[5] };
    gram_status rc = gr_dist_sum(s->d, x, GR_COUNT(x), err);

    memcpy(p, x + 6, sizeof sum->policy);

    sum->loss = x[0];
    sum->right = x[1];
    sum->count = x[2];
    sum->chosen = x[3];
    sum->tokens = (uint64_t)x[4];
    sum->computed = (uint64_t)x[5];
    return rc;
}

/* ---- Gradients layer by layer --------------------------------------------------------------------- */

static gr_vector gradients_of(const gr_share *s, const struct gr_bucket *b)
{
    return (gr_vector){ s->a->param + b->first, b->n, true, s->bucket_cut + b->cut, 1 };
}

struct own { const gr_share *s; const struct gr_bucket *b; };

/* This process's own sums of a bucket are added to those that it holds. */
static void add_own(void *arg, gr_lane *lane, size_t first, size_t n)
{
    const struct own *o = arg;
    const gr_adamw *a = o->s->a;

    for (size_t i = first; i < first + n; i++) {
        const gr_slice *c = &a->slice[a->mine[i]];
        gr_mat to = gr_mat_f32(a->g + c->own, c->n);
        if (c->param >= o->b->first && c->param < o->b->first + o->b->n)
            lane->op->add(lane, to, to, gr_mat_f32(gr_f32(a->param[c->param].g) + c->first, c->n), 1, c->n);
    }
}

static gram_status add_bucket(const gr_share *s, const struct gr_bucket *b, gram_err *err)
{
    gr_vector v = gradients_of(s, b);
    gram_status rc = gr_dist_reduce_scatter(s->d, &v, err);

    if (!rc)
        gr_device_run(gr_trainee_device(s->t), s->a->own_slices, GR_CUT_ONE, add_own, &(struct own){ s, b });
    return rc;
}

/* How many processes go back through their layers: a pass is of all of them, and who has no rows left adds zeros. */
static gram_status count_passes(const gr_share *s, bool mine, bool *any, gram_err *err)
{
    double n = mine;
    gram_status rc = gr_dist_sum(s->d, &n, 1, err);

    *any = n > 0;
    return rc;
}

static gram_status begin_pass(void *arg, gram_err *err)
{
    bool any;

    return count_passes(arg, true, &any, err);
}

static gram_status add_layer(void *arg, size_t layer, gram_err *err)
{
    const gr_share *s = arg;
    gram_status rc = GRAM_OK;

    for (size_t b = 0; b < s->a->buckets && !rc; b++)
        if (s->bucket[b].layer == layer)
            rc = add_bucket(s, &s->bucket[b], err);
    return rc;
}

gram_status gr_share_end_passes(const gr_share *s, gram_err *err)
{
    bool any = false;
    gram_status rc = s->t ? count_passes(s, false, &any, err) : GRAM_OK;

    while (!rc && any) {
        for (size_t i = gr_trainee_layers(s->t); i-- > 0 && !rc; ) {
            rc = add_layer((void *)(uintptr_t)s, i, err);
            gr_trainee_zero_bucket(s->t);
        }
        if (!rc)
            rc = count_passes(s, false, &any, err);
    }
    return rc;
}

void gr_share_begin(const gr_share *s)
{
    if (s->t)
        gr_device_zero(s->a->on, s->a->g, s->a->own_floats * sizeof *s->a->g);
}

gram_status gr_share_gradients(const gr_share *s, gr_device *device, gram_err *err)
{
    gram_status rc = s->t ? add_layer((void *)(uintptr_t)s, gr_trainee_layers(s->t), err)      /* what is of none */
                          : gr_dist_reduce_scatter(s->d, &s->g, err);

    if (rc)
        return rc;
    gr_grad_squares(s->a, device);
    rc = gr_device_wait(device, err);
    if (!rc)
        rc = gr_dist_sum(s->d, s->a->squares, s->a->slices, err);
    return rc;
}

gram_status gr_share_values(const gr_share *s, gram_err *err)
{
    return gr_dist_all_gather(s->d, &s->w, err);
}

/* ---- Checkpoints ------------------------------------------------------------------------------------ */

const float *gr_share_part(const gr_share *s, size_t part, size_t i)
{
    if (!is_here(s, part, i))
        return s->room;
    return part ? gr_f32(moments(s, part)->w) + s->at[i] : gr_f32(s->a->param[i].w);
}

gram_status gr_share_collect(const gr_share *s, size_t part, size_t i, gram_err *err)
{
    const gr_param *p = &s->a->param[i];
    const gr_parts own = { &s->w, moments(s, part) };

    if (is_here(s, part, i))
        return GRAM_OK;
    if (part)
        return gr_dist_gather(s->d, &own, s->at[i], gr_param_count(p), s->room, err);
    if (s->room)
        gr_param_get(p, 0, gr_param_count(p), s->room);
    return GRAM_OK;
}

gram_status gr_share_values_of_first(const gr_share *s, gram_err *err)
{
    return gr_dist_spread(s->d, &s->w, err);
}

gram_status gr_share_spread(const gr_share *s, size_t part, size_t i, const float *from, gram_err *err)
{
    const gr_parts own = { &s->w, moments(s, part) };

    return gr_dist_scatter(s->d, &own, s->at[i], gr_param_count(&s->a->param[i]), from, err);
}

/* A slice of the values, or of one's own moments, where it is or in x. */
static const float *slice_of(const gr_share *s, size_t part, const gr_slice *c, float *x)
{
    const gr_param *p = part ? moments(s, part) : &s->a->param[c->param];
    size_t first = part ? c->own : c->first;

    if (part && p->w.type == GR_F32 && gr_device_is_host(s->a->on))
        return gr_f32(p->w) + first;
    gr_param_get(p, first, c->n, x);
    return x;
}

/* Each slice has its own digest, and those make the whole's: a slice lies in one process. */
gram_status gr_share_digest(const gr_share *s, uint64_t *digest, gram_err *err)
{
    const gr_adamw *a = s->a;
    size_t n = GR_SHARE_PARTS * a->slices, size = gr_dist_size(s->d), longest = 0;
    uint64_t *mine = gr_calloc(n, sizeof *mine), *all = gr_calloc(size * n, sizeof *all);
    gram_status rc = mine && all ? GRAM_OK : gr_nomem(err, "processes");
    float *x;

    for (size_t i = 0; i < a->slices; i++)
        longest = gr_max(longest, a->slice[i].n);
    x = gr_calloc(longest, sizeof *x);
    if (!rc && !x)
        rc = gr_nomem(err, "processes");
    for (size_t k = 0; k < GR_SHARE_PARTS && !rc; k++)
        for (size_t i = 0; i < a->own_slices; i++) {
            const gr_slice *c = &a->slice[a->mine[i]];
            mine[k * a->slices + a->mine[i]] = gr_digest_words(GR_DIGEST, slice_of(s, k, c, x), c->n);
        }
    if (!rc)
        rc = gr_dist_all(s->d, mine, all, n * sizeof *mine, err);
    for (size_t p = 1; p < size && !rc; p++)        /* where one process has a digest, the others have 0 */
        for (size_t i = 0; i < n; i++)
            all[i] |= all[p * n + i];
    if (!rc)
        *digest = gr_digest_words(GR_DIGEST, all, n * sizeof *all / sizeof(uint32_t));
    free(mine);
    free(all);
    free(x);
    return rc;
}
