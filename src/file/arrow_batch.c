/* arrow_batch.c - the rows of a message, proved before anybody follows an offset of theirs. */
#include <inttypes.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include "base/err.h"
#include "base/utf8.h"
#include "file/arrow_int.h"

#define LARGEST ((uint64_t)1 << 30)         /* bytes that a buffer may unpack to */
enum { STORED = -1, LZ4, ZSTD };

/* The vectors of a RecordBatch, and where each is read. */
typedef struct {
    gr_arrow *a;
    gr_flat *f;
    gr_body body;
    size_t node, nodes, buffer, buffers, views, n_views;
    int codec;
    gram_err *err;
} reader;

typedef struct { const unsigned char *p; uint64_t n; } bytes;
/* What an array owns: buffers[], and those of them that were unpacked. */
typedef struct { void **unpacked; size_t n; } owned;

static gram_status bad(const reader *r, const char *what)
{
    return gr_arrow_bad(r->a, what, r->err);
}

/* ---- Buffers -------------------------------------------------------------------------------------- */

static bool unpack_lz4(void *to, size_t n, const unsigned char *from, size_t packed)
{
    LZ4F_dctx *d = NULL;
    size_t out = 0, in = 0, left = 1;

    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return false;
    while (left && in < packed) {
        size_t more = n - out, took = packed - in;
        left = LZ4F_decompress(d, (char *)to + out, &more, from + in, &took, NULL);
        if (LZ4F_isError(left) || (!more && !took))
            break;
        out += more;
        in += took;
    }
    LZ4F_freeDecompressionContext(d);
    return left == 0 && out == n;
}

/* A packed buffer begins with its bytes when unpacked, -1 where it was left as it is. */
static gram_status unpack(const reader *r, bytes *b, void **unpacked)
{
    int64_t n;
    bool ok;

    if (b->n < 8)
        return bad(r, "a packed buffer is too short");
    memcpy(&n, b->p, sizeof n);
    b->p += 8;
    b->n -= 8;
    if (n == -1)
        return GRAM_OK;
    if (n < 0 || (uint64_t)n > LARGEST)
        return bad(r, "a buffer would unpack to more than 1 GiB");
    *unpacked = malloc((size_t)n + 1);
    if (!*unpacked)
        return gr_nomem(r->err, r->a->name);
    ok = r->codec == LZ4 ? unpack_lz4(*unpacked, (size_t)n, b->p, b->n)
                         : ZSTD_decompress(*unpacked, (size_t)n, b->p, b->n) == (size_t)n;
    *b = (bytes){ *unpacked, (uint64_t)n };
    return ok ? GRAM_OK : bad(r, "a packed buffer does not unpack");
}

static gram_status next_buffer(reader *r, bytes *b, void **unpacked)
{
    uint64_t at, n;

    *b = (bytes){ NULL, 0 };
    if (r->buffers == 0)
        return bad(r, "rows lack a buffer");
    r->buffers--;
    at = gr_flat_get(r->f, r->buffer, 8);
    n = gr_flat_get(r->f, r->buffer + 8, 8);
    r->buffer += 16;
    if (at > r->body.n || n > r->body.n - at || at % 8)
        return bad(r, "a buffer lies outside of its message");
    if (n == 0)
        return GRAM_OK;
    *b = (bytes){ r->body.body + at, n };
    return r->codec == STORED ? GRAM_OK : unpack(r, b, unpacked);
}

/* ---- Proofs --------------------------------------------------------------------------------------- */

static bool is_null(const unsigned char *valid, int64_t i)
{
    return valid && !(valid[i / 8] >> i % 8 & 1);
}

static int64_t offset_at(const unsigned char *p, size_t width, int64_t i)
{
    int32_t narrow;
    int64_t wide;

    if (width == 8)
        return memcpy(&wide, p + 8 * i, 8), wide;
    return memcpy(&narrow, p + 4 * i, 4), narrow;
}

/* Offsets that rise from 0 on and end within `most`. */
static gram_status check_offsets(const reader *r, bytes b, size_t width, int64_t n, int64_t most)
{
    int64_t last = 0;

    if (b.n / width < (uint64_t)n + 1)
        return bad(r, "rows lack offsets");
    for (int64_t i = 0; i <= n; i++) {
        int64_t at = offset_at(b.p, width, i);
        if (at < last)
            return bad(r, "offsets fall");
        last = at;
    }
    return last > most ? bad(r, "an offset leads beyond its texts") : GRAM_OK;
}

static gram_status check_text(const reader *r, const unsigned char *p, int64_t n)
{
    return gr_utf8_bad((const char *)p, (size_t)n) == (size_t)n ? GRAM_OK
         : gr_fail(r->err, GRAM_EIO, "%s: a text that is no UTF-8", r->a->name);
}

static gram_status check_texts(const reader *r, const gr_column *c, const unsigned char *valid, bytes offsets,
                               bytes text, int64_t n)
{
    gram_status rc = check_offsets(r, offsets, c->width, n, (int64_t)text.n);

    for (int64_t i = 0; i < n && !rc && c->utf8; i++) {
        int64_t from = offset_at(offsets.p, c->width, i), to = offset_at(offsets.p, c->width, i + 1);
        if (to > from && !is_null(valid, i))
            rc = check_text(r, text.p + from, to - from);
    }
    return rc;
}

/* A view: i32 bytes, and up to 12 of them, or 4, i32 which buffer, i32 where in it. */
static gram_status check_views(const reader *r, const gr_column *c, const unsigned char *valid, bytes views,
                               const void *const *buffer, const int64_t *size, size_t buffers, int64_t n)
{
    gram_status rc = views.n / 16 < (uint64_t)n ? bad(r, "rows lack views") : GRAM_OK;

    for (int64_t i = 0; i < n && !rc; i++) {
        const unsigned char *v = views.p + 16 * i;
        int32_t length, which, at;
        if (is_null(valid, i))
            continue;
        memcpy(&length, v, 4);
        memcpy(&which, v + 8, 4);
        memcpy(&at, v + 12, 4);
        if (length < 0 || (length > 12 && (which < 0 || (size_t)which >= buffers || at < 0 ||
                                           length > size[which] - at)))
            rc = bad(r, "a view leads outside of its buffers");
        else if (c->utf8)
            rc = check_text(r, length > 12 ? (const unsigned char *)buffer[which] + at : v + 4, length);
    }
    return rc;
}

static gram_status check_indices(const reader *r, const gr_column *c, const unsigned char *valid, bytes index,
                                 int64_t n, int64_t words)
{
    const bool is_signed = strchr("csil", *c->format);

    for (int64_t i = 0; i < n; i++) {
        uint64_t k = 0;
        memcpy(&k, index.p + (size_t)i * c->width, c->width);
        if (is_signed && c->width < 8 && k >> (8 * c->width - 1))
            k = UINT64_MAX;
        if (k >= (uint64_t)words && !is_null(valid, i))
            return bad(r, "an index leads outside of its dictionary");
    }
    return GRAM_OK;
}

/* ---- Arrays --------------------------------------------------------------------------------------- */

static const int64_t no_offsets[2];         /* of no rows, whose buffers may be left out */

static void release_array(gr_arrow_array *a)
{
    owned *o = a->private_data;

    for (int64_t i = 0; i < a->n_children; i++) {
        if (a->children[i] && a->children[i]->release)
            a->children[i]->release(a->children[i]);
        free(a->children[i]);
    }
    if (a->dictionary && a->dictionary->release)
        a->dictionary->release(a->dictionary);
    free(a->dictionary);
    free(a->children);
    free((void *)(uintptr_t)a->buffers);
    for (size_t i = 0; o && i < o->n; i++)
        free(o->unpacked[i]);
    if (o)
        free(o->unpacked);
    free(o);
    a->release = NULL;
}

/* Room for so many buffers and children. The array can be released from here on, whatever comes. */
static gram_status begin_array(const reader *r, gr_arrow_array *out, size_t buffers, size_t children)
{
    owned *o = gr_calloc(1, sizeof *o);
    bool ok = o;

    *out = (gr_arrow_array){ .n_buffers = (int64_t)buffers, .buffers = gr_calloc(buffers, sizeof(*out->buffers)),
                             .children = gr_calloc(children, sizeof(*out->children)), .release = release_array,
                             .private_data = o };
    if (o && (o->unpacked = gr_calloc(buffers, sizeof *o->unpacked)))
        o->n = buffers;
    ok = ok && o->unpacked && out->buffers && out->children;
    for (size_t i = 0; i < children && ok; i++) {
        out->children[i] = gr_calloc(1, sizeof **out->children);
        ok = out->children[i];
        out->n_children += ok;
    }
    return ok ? GRAM_OK : gr_nomem(r->err, r->a->name);
}

static gram_status take_buffer(reader *r, gr_arrow_array *out, size_t k, bytes *b)
{
    owned *o = out->private_data;
    gram_status rc = next_buffer(r, b, &o->unpacked[k]);

    out->buffers[k] = b->p;
    return rc;
}

/* Which rows are there. A buffer that says that all are is left out. */
static gram_status take_validity(reader *r, gr_arrow_array *out)
{
    bytes b;
    gram_status rc = take_buffer(r, out, 0, &b);

    if (!rc && out->null_count == 0)
        out->buffers[0] = NULL;
    else if (!rc && b.n < ((uint64_t)out->length + 7) / 8)
        rc = bad(r, "rows lack what says which are null");
    return rc;
}

static gram_status take_views(reader *r, const gr_column *c, gr_arrow_array *out, size_t buffers)
{
    int64_t *size = malloc((buffers + 1) * sizeof *size);
    owned *o = out->private_data;
    gram_status rc = size ? GRAM_OK : gr_nomem(r->err, r->a->name);
    bytes views, b;

    if (!rc)
        rc = take_buffer(r, out, 1, &views);
    for (size_t i = 0; i < buffers && !rc; i++) {
        rc = take_buffer(r, out, 2 + i, &b);
        size[i] = (int64_t)b.n;
    }
    if (!rc)
        rc = check_views(r, c, out->buffers[0], views, out->buffers + 2, size, buffers, out->length);
    if (rc) {
        free(size);
        return rc;
    }
    o->unpacked[2 + buffers] = size;        /* the interface wants the sizes behind the buffers */
    out->buffers[2 + buffers] = size;
    return GRAM_OK;
}

static gram_status take_array(reader *r, const gr_column *c, gr_arrow_array *out);

static gram_status take_children(reader *r, const gr_column *c, gr_arrow_array *out)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < c->n && !rc; i++)
        rc = take_array(r, &c->child[i], out->children[i]);
    return rc;
}

static gram_status take_list(reader *r, const gr_column *c, gr_arrow_array *out)
{
    bytes b;
    gram_status rc = take_buffer(r, out, 1, &b);

    if (!rc && out->length == 0 && !b.n)
        out->buffers[1] = (b = (bytes){ (const unsigned char *)no_offsets, sizeof no_offsets }).p;
    if (!rc)
        rc = take_children(r, c, out);
    return rc ? rc : check_offsets(r, b, c->width, out->length, out->children[0]->length);
}

static gram_status take_texts(reader *r, const gr_column *c, gr_arrow_array *out)
{
    bytes offsets, text;
    gram_status rc = take_buffer(r, out, 1, &offsets);

    if (!rc && out->length == 0 && !offsets.n)
        out->buffers[1] = (offsets = (bytes){ (const unsigned char *)no_offsets, sizeof no_offsets }).p;
    if (!rc)
        rc = take_buffer(r, out, 2, &text);
    if (!rc && !text.p)
        out->buffers[2] = no_offsets;
    return rc ? rc : check_texts(r, c, out->buffers[0], offsets, text, out->length);
}

static gram_status take_dictionary(reader *r, const gr_column *c, gr_arrow_array *out)
{
    gr_arrow there = *r->a;                 /* reads at another place of the same file */
    gr_flat f;
    gr_body body;
    gr_arrow_array all;
    size_t header;
    int kind;
    gram_status rc;

    if (!c->dictionary)
        return bad(r, "rows come before their dictionary");
    there.at = c->dictionary;
    rc = gr_arrow_message(&there, &f, &header, &kind, &body, r->err);
    if (!rc)
        rc = gr_arrow_batch(r->a, c->values, 1, &f, gr_flat_table(&f, header, 1), body, &all, r->err);
    if (rc)
        return rc;
    out->dictionary = all.children[0];
    all.children[0] = NULL;
    all.release(&all);
    return GRAM_OK;
}

static gram_status take_fixed(reader *r, const gr_column *c, gr_arrow_array *out)
{
    uint64_t has;                           /* room for so many: length times width may not fit */
    bytes b;
    gram_status rc = take_buffer(r, out, 1, &b);

    has = c->lie == GR_LIE_BITS ? 8 * b.n : b.n / c->width;
    if (!rc && has < (uint64_t)out->length)
        return bad(r, "rows lack values");
    if (rc || !c->values)
        return rc;
    rc = take_dictionary(r, c, out);
    return rc ? rc : check_indices(r, c, out->buffers[0], b, out->length, out->dictionary->length);
}

static gram_status take_values(reader *r, const gr_column *c, gr_arrow_array *out, size_t views)
{
    gram_status rc;

    switch (c->lie) {
    case GR_LIE_BITS: case GR_LIE_FIXED: return take_fixed(r, c, out);
    case GR_LIE_TEXT: return take_texts(r, c, out);
    case GR_LIE_VIEW: return take_views(r, c, out, views);
    case GR_LIE_LIST: return take_list(r, c, out);
    case GR_LIE_EACH:
        rc = take_children(r, c, out);
        return rc || out->children[0]->length / (int64_t)c->width >= out->length ? rc : bad(r, "rows lack values");
    case GR_LIE_STRUCT:
        rc = take_children(r, c, out);
        for (size_t i = 0; i < c->n && !rc; i++)
            if (out->children[i]->length < out->length)
                rc = bad(r, "rows lack values");
        return rc;
    default: return GRAM_OK;
    }
}

/* How many buffers the next views have. */
static gram_status count_views(reader *r, size_t *n)
{
    uint64_t k = r->n_views ? gr_flat_get(r->f, r->views, 8) : UINT64_MAX;

    if (k > r->buffers)
        return bad(r, "views lack their buffers");
    r->n_views--;
    r->views += 8;
    *n = (size_t)k;
    return GRAM_OK;
}

static gram_status take_array(reader *r, const gr_column *c, gr_arrow_array *out)
{
    static const size_t buffers[] = { [GR_LIE_NULL] = 0, [GR_LIE_BITS] = 2, [GR_LIE_FIXED] = 2, [GR_LIE_TEXT] = 3,
                                      [GR_LIE_VIEW] = 3, [GR_LIE_LIST] = 2, [GR_LIE_EACH] = 1, [GR_LIE_STRUCT] = 1 };
    size_t views = 0;
    uint64_t length, nulls;
    gram_status rc = c->lie == GR_LIE_VIEW ? count_views(r, &views) : GRAM_OK;

    *out = (gr_arrow_array){ .release = NULL };
    if (rc || r->nodes == 0)
        return rc ? rc : bad(r, "a column is not there");
    r->nodes--;
    length = gr_flat_get(r->f, r->node, 8);
    nulls = gr_flat_get(r->f, r->node + 8, 8);
    r->node += 16;
    if (length > (uint64_t)1 << 40 || nulls > length)
        return bad(r, "a column of an impossible length");
    rc = begin_array(r, out, buffers[c->lie] + views, c->n);
    if (rc)
        return rc;
    out->length = (int64_t)length;
    out->null_count = c->lie == GR_LIE_NULL ? (int64_t)length : (int64_t)nulls;
    if (c->lie != GR_LIE_NULL)
        rc = take_validity(r, out);
    return rc ? rc : take_values(r, c, out, views);
}

gram_status gr_arrow_batch(gr_arrow *a, const gr_column *columns, size_t n, gr_flat *f, size_t batch, gr_body body,
                           gr_arrow_array *out, gram_err *err)
{
    reader r = { .a = a, .f = f, .body = body, .codec = STORED, .err = err };
    int64_t rows = gr_flat_int(f, batch, 0, 8, 0);
    size_t packed = gr_flat_table(f, batch, 3);
    gram_status rc;

    *out = (gr_arrow_array){ .release = NULL };
    r.node = gr_flat_vector(f, batch, 1, 16, &r.nodes);
    r.buffer = gr_flat_vector(f, batch, 2, 16, &r.buffers);
    r.views = gr_flat_vector(f, batch, 4, 8, &r.n_views);
    if (packed)
        r.codec = (int)gr_flat_int(f, packed, 0, 1, 0);
    if (f->bad || !batch || rows < 0)
        return gr_arrow_bad(a, "rows name what is not there", err);
    if (r.codec > ZSTD)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: packed in a way that is not known (%d)", a->name, r.codec);
    rc = begin_array(&r, out, 1, n);
    out->length = rows;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = take_array(&r, &columns[i], out->children[i]);
        if (!rc && out->children[i]->length != rows)
            rc = gr_arrow_bad(a, "a column is shorter or longer than the others", err);
    }
    if (rc)
        out->release(out);
    return rc;
}
