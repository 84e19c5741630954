/* set.c - see set.h. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "model/forest.h"
#include "train/cache.h"
#include "train/set_int.h"

/* ---- Chance ------------------------------------------------------------------------------------- */

void gr_shuffle(size_t *a, size_t n, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;

    state = gr_random(&state) ^ stream;
    for (size_t i = 0; i < n; i++)
        a[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t k = gr_random_below(&state, i), was = a[i - 1];
        a[i - 1] = a[k];
        a[k] = was;
    }
}

gram_status gr_order_at(gr_order *o, uint64_t p, size_t *index, gram_err *err)
{
    if (!o->order || o->epoch != p / o->n) {
        if (!o->order && !(o->order = gr_calloc(o->n, sizeof *o->order)))
            return gr_nomem(err, "the order of the rows");
        o->epoch = p / o->n;
        gr_shuffle(o->order, o->n, o->seed, o->epoch);
    }
    *index = o->order[p % o->n];
    return GRAM_OK;
}

void gr_order_clear(gr_order *o)
{
    free(o->order);
    o->order = NULL;
}

/* ---- Examples ----------------------------------------------------------------------------------- */

void gr_example_clear(gr_example *e)
{
    gr_ids_clear(&e->seq[0]);
    gr_ids_clear(&e->seq[1]);
    free(e->ref);
    e->ref = NULL;
}

void gr_room_clear(gr_example *room)
{
    room->ref = NULL;                       /* the set's */
    gr_example_clear(room);
}

size_t gr_example_tokens(const gr_example *e)
{
    return e->seq[0].n + e->seq[1].n;
}

size_t gr_example_shared(const gr_example *e)
{
    const gr_seq a = { e->seq[0].p, e->seq[0].n }, b = { e->seq[1].p, e->seq[1].n };

    return gr_common_prefix(&a, &b);
}

uint64_t *gr_set_count(gr_set *s, size_t i)
{
    static const size_t at[GR_SET_COUNTS] = {
        offsetof(gr_set, bad), offsetof(gr_set, dropped), offsetof(gr_set, truncated), offsetof(gr_set, ties),
        offsetof(gr_set, alike), offsetof(gr_set, margins), offsetof(gr_set, negative), offsetof(gr_set, weightless),
        offsetof(gr_set, contrary), offsetof(gr_set, unsaid), offsetof(gr_set, unproved), offsetof(gr_set, seated),
        offsetof(gr_set, apart), offsetof(gr_set, reasoned), offsetof(gr_set, reasons),
    };

    return (uint64_t *)(void *)((char *)s + at[i]);
}

void gr_set_digest(gr_set *s, const gr_example *e)
{
    s->digest = s->digest ? s->digest : GR_DIGEST;
    for (int i = 0; i < 2; i++) {
        uint64_t n = e->seq[i].n;
        s->digest = gr_digest(s->digest, &n, sizeof n);
        s->digest = gr_digest(s->digest, e->seq[i].p, e->seq[i].n * sizeof *e->seq[i].p);
    }
    s->digest = e->asked_other || e->ref ? gr_digest(s->digest, &e->asked, sizeof e->asked) : s->digest;
    s->digest = gr_digest(s->digest, &e->target, sizeof e->target);
    s->digest = gr_digest(s->digest, &e->weight, sizeof e->weight);
    s->digest = gr_digest(s->digest, &e->soft, sizeof e->soft);
    s->digest = gr_digest(s->digest, &e->margin, sizeof e->margin);
    if (e->verdict)
        s->digest = gr_digest(s->digest, &e->verdict, sizeof e->verdict);
}

void gr_set_measure(gr_set *s, const gr_example *e)
{
    size_t all = gr_example_tokens(e), own = all - gr_example_shared(e);

    if ((double)own / (double)all > s->share)
        s->share = (double)own / (double)all;
    s->longest = gr_max(s->longest, all);
    s->alone = gr_max(s->alone, own);
}

gram_status gr_set_push(gr_set *s, gr_example *e, gram_err *err)
{
    gr_example *more = gr_grown(s->e, s->n, &s->cap, 1, sizeof *more);

    if (!more)
        return gr_nomem(err, "training rows");
    s->e = more;
    s->e[s->n++] = *e;
    *e = (gr_example){ 0 };
    return GRAM_OK;
}

gram_status gr_set_add(gr_set *s, gr_example *e, gram_err *err)
{
    gr_set before = *s;
    gram_status rc;

    gr_set_digest(s, e);
    gr_set_measure(s, e);
    rc = gr_set_push(s, e, err);
    if (rc)
        *s = before;
    return rc;
}

void gr_set_clear(gr_set *s)
{
    for (size_t i = 0; i < s->n && s->e; i++)
        gr_example_clear(&s->e[i]);
    free(s->e);
    free(s->ref);
    gr_cache_close(s->cache);
    *s = (gr_set){ 0 };
}

gram_status gr_set_get(const gr_set *s, size_t i, gr_example *room, const gr_example **out, gram_err *err)
{
    gram_status rc;

    *out = s->cache ? room : &s->e[i];
    if (!s->cache)
        return GRAM_OK;
    rc = gr_cache_get(s->cache, i, room, err);
    room->ref = s->ref ? s->ref + 2 * i : NULL;
    return rc;
}

void gr_set_pair(const gr_set *s, size_t i, uint64_t text[2], double *target)
{
    if (s->cache) {
        gr_cache_pair(s->cache, i, text, target);
        return;
    }
    memcpy(text, s->e[i].text, sizeof s->e[i].text);
    *target = s->e[i].target;
}

double *gr_set_ref(const gr_set *s, size_t i)
{
    return s->cache ? s->ref + 2 * i : s->e[i].ref;
}
