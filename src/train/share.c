/* share.c - see share.h. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "tensor/dtype.h"
#include "train/share.h"

/* Where a parameter's values travel from and to, as float32: where they are, or, of bfloat16, in the memory of their
 * gradients, which are done with. Messages go between the memories of hosts, so of another device both are in a
 * copy. */
static float *values_of(const gr_share *s, size_t i)
{
    const gr_param *p = &s->a->param[i];

    return s->copy ? s->copy + s->at[i] : gr_f32(p->w.type == GR_F32 ? p->w : p->g);
}

static float *gradients_of(const gr_share *s, size_t i)
{
    return s->copy ? s->copy + s->at[i] : gr_f32(s->a->param[i].g);
}

/* The copy gets all gradients, or its values, or gives them back; where there is none they are where they should be. */
static void get_gradients(const gr_share *s)
{
    for (size_t i = 0; i < s->a->n_params && s->copy; i++)
        gr_param_get_grad(&s->a->param[i], 0, gr_param_count(&s->a->param[i]), gradients_of(s, i));
}

static void put_gradients(const gr_share *s)
{
    for (size_t i = 0; i < s->a->n_params && s->copy; i++)
        gr_param_put_grad(&s->a->param[i], 0, gr_param_count(&s->a->param[i]), gradients_of(s, i));
}

gram_status gr_share_open(gr_share *s, gr_dist *d, gr_adamw *a, gram_err *err)
{
    size_t size = gr_dist_size(d);

    *s = (gr_share){ .d = d, .a = a };
    s->cut = gr_calloc(size + 1, sizeof *s->cut);
    s->piece[0] = gr_calloc(a->n_params, sizeof *s->piece[0]);
    s->piece[1] = gr_calloc(a->n_params, sizeof *s->piece[1]);
    s->at = gr_calloc(a->n_params + 1, sizeof *s->at);
    if (!gr_device_is_host(a->on))
        s->copy = gr_alloc_aligned(a->floats, sizeof *s->copy);
    if (!s->cut || !s->piece[0] || !s->piece[1] || !s->at || (!s->copy && !gr_device_is_host(a->on))) {
        gr_share_clear(s);
        return gr_nomem(err, "processes");
    }
    for (size_t i = 0; i <= size; i++)
        s->cut[i] = gr_adamw_cut(a, i, size);
    for (size_t i = 0; i < a->n_params; i++) {
        const gr_param *p = &a->param[i];
        s->at[i + 1] = s->at[i] + gr_param_count(p);
        s->piece[0][i] = (gr_piece){ values_of(s, i), gr_param_count(p) };
        s->piece[1][i] = (gr_piece){ gradients_of(s, i), gr_param_count(p) };
    }
    s->w = (gr_vector){ s->piece[0], a->n_params, s->cut };
    s->g = (gr_vector){ s->piece[1], a->n_params, s->cut };
    return GRAM_OK;
}

void gr_share_clear(gr_share *s)
{
    free(s->cut);
    free(s->piece[0]);
    free(s->piece[1]);
    free(s->at);
    free(s->copy);
    *s = (gr_share){ 0 };
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

gram_status gr_share_gradients(const gr_share *s, gr_device *device, gram_err *err)
{
    gram_status rc;

    if (s->d)
        get_gradients(s);
    rc = gr_dist_reduce_scatter(s->d, &s->g, err);
    if (rc)
        return rc;
    if (s->d)
        put_gradients(s);
    gr_grad_squares(s->a, device);
    rc = gr_device_wait(device, err);
    if (!rc)
        rc = gr_dist_sum(s->d, s->a->squares, s->a->slices, err);
    return rc;
}

/* Values that are not where they travel from, as float32, and back. */
static void get_values(const gr_share *s)
{
    for (size_t i = 0; i < s->a->n_params; i++) {
        const gr_param *p = &s->a->param[i];
        if (s->copy || p->w.type != GR_F32)
            gr_param_get(p, 0, gr_param_count(p), values_of(s, i));
    }
}

static void put_values(const gr_share *s)
{
    for (size_t i = 0; i < s->a->n_params; i++) {
        const gr_param *p = &s->a->param[i];
        if (s->copy || p->w.type != GR_F32)
            gr_param_put(p, 0, gr_param_count(p), values_of(s, i));
    }
}

gram_status gr_share_values(const gr_share *s, gram_err *err)
{
    gram_status rc;

    if (!s->d)
        return GRAM_OK;
    get_values(s);
    rc = gr_dist_all_gather(s->d, &s->w, err);
    put_values(s);
    return rc;
}

/* ---- Checkpoints ------------------------------------------------------------------------------------ */

static float *moments(const gr_share *s, size_t part)
{
    return part == 1 ? s->a->m : s->a->v;
}

float *gr_share_part(const gr_share *s, size_t part, size_t i, size_t at)
{
    if (part == 0)
        return values_of(s, i);
    return s->d || s->copy ? gradients_of(s, i) : moments(s, part) + at;
}

/* The moments of one's own values, in their places among all, and back. */
static void get_moments(const gr_share *s, size_t part)
{
    const gr_adamw *a = s->a;

    if (s->copy)
        gr_device_get(a->on, s->copy + a->own, moments(s, part), a->own_floats * sizeof *s->copy);
    else if (s->d)
        gr_vector_put(&s->g, a->own, a->own_floats, moments(s, part));
}

static void put_moments(const gr_share *s, size_t part)
{
    const gr_adamw *a = s->a;

    if (s->copy)
        gr_device_put(a->on, moments(s, part), s->copy + a->own, a->own_floats * sizeof *s->copy);
    else if (s->d)
        gr_vector_get(&s->g, a->own, a->own_floats, moments(s, part));
}

/* Between two steps nobody needs the gradients, so a checkpoint takes no memory. */
gram_status gr_share_collect(const gr_share *s, size_t part, gram_err *err)
{
    if (part == 0) {
        get_values(s);
        return GRAM_OK;
    }
    get_moments(s, part);
    return gr_dist_gather(s->d, &s->g, err);
}

gram_status gr_share_spread(const gr_share *s, size_t part, gram_err *err)
{
    gram_status rc = gr_dist_scatter(s->d, part ? &s->g : &s->w, err);

    if (!rc && part == 0)
        rc = gr_dist_all_gather(s->d, &s->w, err);
    if (!rc && part == 0)
        put_values(s);
    if (!rc && part > 0)
        put_moments(s, part);
    return rc;
}

/* A slice of the values or moments, where it is or as the memory of gradients gets it. */
static const float *slice_of(const gr_share *s, size_t part, const gr_slice *c)
{
    const gr_param *p = &s->a->param[c->param];
    float *x = part ? moments(s, part) + c->at - s->a->own : values_of(s, c->param) + c->first;

    if (part == 0 && (s->copy || p->w.type != GR_F32))
        gr_param_get(p, c->first, c->n, x);
    if (part == 0 || !s->copy)
        return x;
    gr_device_get(s->a->on, s->copy + c->at, x, c->n * sizeof *x);
    return s->copy + c->at;
}

/* Each slice has its own digest, and those make the whole's: a slice lies in one process. */
gram_status gr_share_digest(const gr_share *s, uint64_t *digest, gram_err *err)
{
    const gr_adamw *a = s->a;
    size_t n = GR_SHARE_PARTS * a->slices, size = gr_dist_size(s->d);
    uint64_t *mine = gr_calloc(n, sizeof *mine), *all = gr_calloc(size * n, sizeof *all);
    gram_status rc = mine && all ? GRAM_OK : gr_nomem(err, "processes");

    for (size_t k = 0; k < GR_SHARE_PARTS && !rc; k++)
        for (size_t i = a->own_slice; i < a->own_slice + a->own_slices; i++) {
            const gr_slice *c = &a->slice[i];
            mine[k * a->slices + i] = gr_digest_words(GR_DIGEST, slice_of(s, k, c), c->n);
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
    return rc;
}
