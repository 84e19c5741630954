/* cache.c - see cache.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/limits.h"
#include "file/io.h"
#include "train/cache.h"
#include "train/cache_int.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file's numbers are read where they lie");

#define DIGEST_OF(p) gr_digest_words(GR_DIGEST, (p), (sizeof *(p) - sizeof (p)->digest) / 4)

struct gr_cache {
    char *path;
    gr_map map;
    struct gr_cache_footer foot;
    size_t vocabulary;
    bool forget;
};

static gram_status damaged(const char *path, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EFORMAT, "%s: a file of rows that is not whole: %s", path, what);
}

static struct gr_cache_entry entry_of(const gr_cache *c, uint64_t i)
{
    struct gr_cache_entry e;

    memcpy(&e, c->map.data + c->foot.index + i * sizeof e, sizeof e);
    return e;
}

/* Where the bytes of row i end. */
static uint64_t end_of(const gr_cache *c, uint64_t i)
{
    return i + 1 < c->foot.rows ? entry_of(c, i + 1).at : c->foot.index;
}

/* ---- Opening -------------------------------------------------------------------------------------- */

/* *first: where rows begin. */
static gram_status check_head(const gr_cache *c, const char *key, uint64_t *first, gram_err *err)
{
    uint32_t version, n;

    if (c->map.size < GR_CACHE_HEAD + sizeof c->foot || memcmp(c->map.data, GR_CACHE_MAGIC, 8))
        return damaged(c->path, "it does not begin as one does, or is too short", err);
    memcpy(&version, c->map.data + 8, sizeof version);
    memcpy(&n, c->map.data + 12, sizeof n);
    if (version != GR_CACHE_VERSION)
        return gr_fail(err, GRAM_EFORMAT, "%s: rows of version %" PRIu32 ", wanted %d", c->path, version,
                       GR_CACHE_VERSION);
    *first = gr_round_up(GR_CACHE_HEAD + (uint64_t)n, 8);
    if (*first > c->map.size - sizeof c->foot)
        return damaged(c->path, "its key is longer than it", err);
    if (n != strlen(key) || memcmp(c->map.data + GR_CACHE_HEAD, key, n))
        return gr_fail(err, GRAM_EFORMAT, "%s: these are rows of other files or options", c->path);
    return GRAM_OK;
}

/* Whether the places of the footer lie in the file, one behind the other. */
static bool places_fit(const struct gr_cache_footer *f, uint64_t first, uint64_t end)
{
    return f->index >= first && f->index <= f->warnings && f->warnings <= end && f->index % 8 == 0 &&
           f->rows <= (f->warnings - f->index) / sizeof(struct gr_cache_entry) &&
           f->warnings - f->index == f->rows * sizeof(struct gr_cache_entry);
}

static uint64_t digest_behind(const gr_cache *c, uint64_t end)
{
    uint64_t h = gr_digest_words(GR_DIGEST, c->map.data + c->foot.index, (c->foot.warnings - c->foot.index) / 4);

    return gr_digest(h, c->map.data + c->foot.warnings, end - c->foot.warnings);
}

static gram_status check_index(const gr_cache *c, uint64_t first, gram_err *err)
{
    const uint64_t least = sizeof(struct gr_cache_record);

    for (uint64_t i = 0; i < c->foot.rows; i++) {
        uint64_t at = entry_of(c, i).at;
        if (at != first || at % 8)
            return damaged(c->path, "its index names another place than the one where a row ends", err);
        first = end_of(c, i);
        if (first < at || first - at < least || first > c->foot.index)
            return damaged(c->path, "a row of its index has no room", err);
    }
    return first == c->foot.index ? GRAM_OK : damaged(c->path, "bytes lie between its rows and its index", err);
}

static gram_status prove(gr_cache *c, const char *key, gram_err *err)
{
    uint64_t first = 0, end;
    gram_status rc = check_head(c, key, &first, err);

    if (rc)
        return rc;
    end = c->map.size - sizeof c->foot;
    memcpy(&c->foot, c->map.data + end, sizeof c->foot);
    if (DIGEST_OF(&c->foot) != c->foot.digest || !places_fit(&c->foot, first, end))
        return damaged(c->path, "its end is cut off or changed", err);
    if (digest_behind(c, end) != c->foot.digest_behind || (c->foot.warnings < end && c->map.data[end - 1]))
        return damaged(c->path, "its index was changed", err);
    return check_index(c, first, err);
}

gram_status gr_cache_open(gr_set *out, const char *path, const char *key, size_t vocabulary, gram_err *err)
{
    gr_cache *c = gr_calloc(1, sizeof *c);
    gram_status rc = c && (c->path = gr_strdup(path)) ? gr_map_open(&c->map, path, err) : gr_nomem(err, path);

    *out = (gr_set){ 0 };
    if (!rc) {
        c->vocabulary = vocabulary;
        rc = prove(c, key, err);
    }
    if (rc) {
        gr_cache_close(c);
        return rc;
    }
    if (c->map.size > gr_ram() / 2)         /* what lies beside a row would be read with it and thrown away */
        (void)madvise((void *)(uintptr_t)c->map.data, c->map.size, MADV_RANDOM);
    for (size_t i = 0; i < GR_SET_COUNTS; i++)
        *gr_set_count(out, i) = c->foot.count[i];
    out->digest = c->foot.set;
    out->n = (size_t)c->foot.rows;
    out->longest = (size_t)c->foot.longest;
    out->alone = (size_t)c->foot.alone;
    out->share = c->foot.share;
    out->cache = c;
    return GRAM_OK;
}

void gr_cache_close(gr_cache *c)
{
    if (!c)
        return;
    if (c->forget)
        unlink(c->path);                    /* processes that have it mapped keep it */
    gr_map_close(&c->map);
    free(c->path);
    free(c);
}

const char *gr_cache_path(const gr_cache *c)
{
    return c->path;
}

uint64_t gr_cache_bytes(const gr_cache *c)
{
    return c->map.size;
}

void gr_cache_forget(gr_cache *c)
{
    c->forget = true;
}

const char *gr_cache_warning(const gr_cache *c, size_t *at)
{
    uint64_t end = c->map.size - sizeof c->foot, here = c->foot.warnings + *at;
    const char *text = (const char *)c->map.data + here;

    if (here >= end)
        return NULL;
    *at += strlen(text) + 1;                /* the last byte is a zero */
    return text;
}

/* ---- A row ---------------------------------------------------------------------------------------- */

static gram_status bad_row(const gr_cache *c, size_t i, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "%s: row %zu was changed or is damaged: remove the file, and it is made again",
                   c->path, i + 1);
}

/* Appends n ids of `width` bytes each; false: one is not of the vocabulary. Room was made. */
static bool take_ids(gr_ids *to, const unsigned char *p, size_t n, unsigned width, size_t vocabulary)
{
    for (size_t i = 0; i < n; i++, p += width) {
        uint32_t id = p[0] | (uint32_t)p[1] << 8 | (width == 3 ? (uint32_t)p[2] << 16 : 0);
        if (id >= vocabulary)
            return false;
        to->p[to->n++] = (int32_t)id;
    }
    return true;
}

static bool make_room(gr_ids *ids, size_t n)
{
    int32_t *p = n ? gr_grown(ids->p, 0, &ids->cap, n, sizeof *ids->p) : ids->p;

    ids->p = p ? p : ids->p;
    ids->n = 0;
    return p || !n;
}

static bool fits(const struct gr_cache_record *r, uint64_t bytes)
{
    uint64_t ids = (uint64_t)r->n[0] + r->n[1] - r->shared;

    return (r->width == 2 || r->width == 3) && r->shared <= r->n[0] && r->shared <= r->n[1] && r->n[0] > 0 &&
           bytes == gr_round_up(sizeof *r + ids * r->width, 8) && r->asked <= r->n[0] && r->asked_other <= r->n[1] &&
           r->verdict < r->n[0] && r->right <= 1 && r->tie <= 1 && r->good <= 1 && isfinite(r->weight) &&
           isfinite(r->soft) && isfinite(r->margin);
}

gram_status gr_cache_get(const gr_cache *c, size_t i, gr_example *room, gram_err *err)
{
    struct gr_cache_entry at = entry_of(c, i);
    const unsigned char *p = c->map.data + at.at;
    uint64_t bytes = end_of(c, i) - at.at;
    struct gr_cache_record r;
    gr_ids seq[2] = { room->seq[0], room->seq[1] };

    memcpy(&r, p, sizeof r);
    if (gr_digest_words(GR_DIGEST, p + sizeof r.digest, (bytes - sizeof r.digest) / 4) != r.digest || !fits(&r, bytes))
        return bad_row(c, i, err);
    for (int k = 0; k < 2; k++) {
        bool ok = make_room(&seq[k], r.n[k]);
        room->seq[k] = seq[k];
        if (!ok)
            return gr_nomem(err, "training rows");
    }
    p += sizeof r;
    if (!take_ids(&seq[0], p, r.n[0], r.width, c->vocabulary))
        return bad_row(c, i, err);
    if (r.shared)
        memcpy(seq[1].p, seq[0].p, r.shared * sizeof *seq[1].p);
    seq[1].n = r.shared;
    if (!take_ids(&seq[1], p + (size_t)r.n[0] * r.width, r.n[1] - r.shared, r.width, c->vocabulary))
        return bad_row(c, i, err);
    *room = (gr_example){ .seq = { seq[0], seq[1] }, .asked = r.asked, .verdict = r.verdict, .right = r.right,
                          .asked_other = r.asked_other, .target = at.target, .weight = r.weight, .prompt = r.prompt,
                          .text = { at.text[0], at.text[1] }, .soft = r.soft, .margin = r.margin, .tie = r.tie,
                          .good = r.good };
    return GRAM_OK;
}

void gr_cache_pair(const gr_cache *c, size_t i, uint64_t text[2], double *target)
{
    struct gr_cache_entry e = entry_of(c, i);

    text[0] = e.text[0];
    text[1] = e.text[1];
    *target = e.target;
}

/* ---- Writing -------------------------------------------------------------------------------------- */

struct gr_cache_writer {
    gr_out *out;
    uint64_t at;
    struct gr_cache_entry *entry;
    size_t n, cap;
    gr_buf warnings, row;
};

gram_status gr_cache_create(gr_cache_writer **out, const char *path, const char *key, gram_err *err)
{
    const uint32_t head[] = { GR_CACHE_VERSION, (uint32_t)strlen(key) };
    const uint64_t zero = 0;
    gr_cache_writer *w = gr_calloc(1, sizeof *w);
    gram_status rc = w ? gr_out_open(&w->out, path, false, err) : gr_nomem(err, path);

    *out = NULL;
    if (!rc)
        rc = gr_out_write(w->out, GR_CACHE_MAGIC, 8, err);
    if (!rc)
        rc = gr_out_write(w->out, head, sizeof head, err);
    if (!rc)
        rc = gr_out_write(w->out, key, head[1], err);
    if (!rc) {
        w->at = gr_round_up(GR_CACHE_HEAD + (uint64_t)head[1], 8);
        rc = gr_out_write(w->out, &zero, w->at - GR_CACHE_HEAD - head[1], err);
    }
    if (rc)
        gr_cache_drop(w);
    else
        *out = w;
    return rc;
}

/* Appends ids, each below 2^24, the largest that a tokenizer has. */
static bool put_ids(gr_buf *b, const gr_ids *ids, size_t from, unsigned width)
{
    size_t n = (ids->n - from) * width;
    char *p = gr_grown(b->p, b->n, &b->cap, n + 1, 1);
    unsigned char *to;

    if (!p)
        return false;
    b->p = p;
    to = (unsigned char *)p + b->n;
    b->n += n;
    for (size_t i = from; i < ids->n; i++, to += width) {
        const uint32_t id = (uint32_t)ids->p[i];
        to[0] = id & 0xff;
        to[1] = id >> 8 & 0xff;
        if (width == 3)
            to[2] = id >> 16 & 0xff;
    }
    return true;
}

static unsigned width_of(const gr_example *e)
{
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < e->seq[k].n; i++)
            if (e->seq[k].p[i] > 0xffff)
                return 3;
    return 2;
}

gram_status gr_cache_add(gr_cache_writer *w, const gr_example *e, gram_err *err)
{
    struct gr_cache_record r = { .n = { (uint32_t)e->seq[0].n, (uint32_t)e->seq[1].n },
                                 .shared = (uint32_t)gr_example_shared(e), .asked = (uint32_t)e->asked,
                                 .asked_other = (uint32_t)e->asked_other, .verdict = (uint32_t)e->verdict,
                                 .right = (uint8_t)e->right, .tie = e->tie, .good = e->good,
                                 .width = (uint8_t)width_of(e), .weight = e->weight, .soft = e->soft,
                                 .margin = e->margin, .prompt = e->prompt };
    struct gr_cache_entry *grown = gr_grown(w->entry, w->n, &w->cap, 1, sizeof *grown);
    const uint64_t zero = 0;
    gram_status rc;

    if (!grown)
        return gr_nomem(err, "training rows");
    w->entry = grown;
    w->row.n = 0;
    if (!gr_buf_add(&w->row, &r, sizeof r) || !put_ids(&w->row, &e->seq[0], 0, r.width) ||
        !put_ids(&w->row, &e->seq[1], r.shared, r.width) ||
        !gr_buf_add(&w->row, &zero, gr_round_up(w->row.n, 8) - w->row.n))
        return gr_nomem(err, "training rows");
    r.digest = gr_digest_words(GR_DIGEST, w->row.p + sizeof r.digest, (w->row.n - sizeof r.digest) / 4);
    memcpy(w->row.p, &r.digest, sizeof r.digest);
    rc = gr_out_write(w->out, w->row.p, w->row.n, err);
    if (rc)
        return rc;
    w->entry[w->n++] = (struct gr_cache_entry){ w->at, { e->text[0], e->text[1] }, e->target };
    w->at += w->row.n;
    return GRAM_OK;
}

gram_status gr_cache_warn(gr_cache_writer *w, const char *text, gram_err *err)
{
    return gr_buf_add(&w->warnings, text, strlen(text) + 1) ? GRAM_OK : gr_nomem(err, "training rows");
}

uint64_t gr_cache_written(const gr_cache_writer *w)
{
    return w->at + w->n * sizeof *w->entry + w->warnings.n + sizeof(struct gr_cache_footer);
}

gram_status gr_cache_finish(gr_cache_writer *w, gr_set *counts, gram_err *err)
{
    const size_t index = w->n * sizeof *w->entry;
    struct gr_cache_footer f = { .rows = w->n, .index = w->at, .warnings = w->at + index, .set = counts->digest,
                                 .longest = counts->longest, .alone = counts->alone, .share = counts->share };
    gram_status rc;

    for (size_t i = 0; i < GR_SET_COUNTS; i++)
        f.count[i] = *gr_set_count(counts, i);
    f.digest_behind = gr_digest(gr_digest_words(GR_DIGEST, w->entry, index / 4), w->warnings.p, w->warnings.n);
    f.digest = DIGEST_OF(&f);
    rc = gr_out_write(w->out, w->entry, index, err);
    if (!rc)
        rc = gr_out_write(w->out, w->warnings.p, w->warnings.n, err);
    if (!rc)
        rc = gr_out_write(w->out, &f, sizeof f, err);
    return rc ? rc : gr_out_commit(w->out, err);
}

void gr_cache_drop(gr_cache_writer *w)
{
    if (!w)
        return;
    gr_out_drop(w->out);
    free(w->entry);
    gr_buf_clear(&w->warnings);
    gr_buf_clear(&w->row);
    free(w);
}
