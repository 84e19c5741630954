/* arrow_write.c - see arrow.h. A message is built front to back: what a table points to stands behind it, which is how
 * FlatBuffers may lie (flatbuf.h), and an offset is put in when the place that it leads to is known. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/arrow_int.h"

enum { FIELDS = 7, VERSION_5 = 4 };

struct gr_arrow_writer {
    FILE *file;
    char *name;
    bool stream, nomem;         /* nomem: memory ran out for a message */
    uint64_t at;                /* bytes written */
    const gr_arrow_schema *schema;      /* borrowed until it is finished */
    gr_buf meta, body;
    gr_buf nodes, buffers;      /* of a batch: pairs of int64_t */
    gr_buf blocks;              /* of the footer: i64 where, i32 bytes of metadata, i32, i64 bytes of body */
};

/* ---- FlatBuffers ---------------------------------------------------------------------------------- */

static void put(gr_arrow_writer *w, gr_buf *b, const void *p, size_t n)
{
    w->nomem |= !gr_buf_add(b, p, n);
}

static void put_zeros(gr_arrow_writer *w, gr_buf *b, size_t n)
{
    static const char zeros[64];

    for (; n && !w->nomem; n -= gr_min(n, sizeof zeros))
        put(w, b, zeros, gr_min(n, sizeof zeros));
}

static void set(gr_arrow_writer *w, size_t at, int64_t x, size_t bytes)
{
    if (!w->nomem)
        memcpy(w->meta.p + at, &x, bytes);
}

/* A table, to which the offset at `from` leads. Field i takes size[i] bytes, 0: it has its default. at[i]: where it
 * is. */
static void put_table(gr_arrow_writer *w, size_t from, const unsigned char *size, size_t n, size_t *at)
{
    uint16_t vtable[2 + FIELDS] = { (uint16_t)(4 + 2 * n) };
    size_t used = 4, where = gr_round_up(w->meta.n + vtable[0], 8);

    for (size_t i = 0; i < n; i++) {
        used = size[i] ? gr_round_up(used, size[i]) : used;
        vtable[2 + i] = size[i] ? (uint16_t)used : 0;
        at[i] = where + used;
        used += size[i];
    }
    vtable[1] = (uint16_t)used;
    put_zeros(w, &w->meta, where - vtable[0] - w->meta.n);
    put(w, &w->meta, vtable, vtable[0]);
    put_zeros(w, &w->meta, gr_round_up(used, 8));
    set(w, where, vtable[0], 4);
    set(w, from, (int64_t)(where - from), 4);
}

/* A vector of n elements of `each` bytes; p NULL: zeros. Where its elements are. */
static size_t put_vector(gr_arrow_writer *w, size_t from, const void *p, size_t n, size_t each)
{
    const uint32_t count = (uint32_t)n;
    size_t where;

    put_zeros(w, &w->meta, gr_round_up(w->meta.n + 4, 8) - w->meta.n - 4);
    set(w, from, (int64_t)(w->meta.n - from), 4);
    put(w, &w->meta, &count, sizeof count);
    where = w->meta.n;
    if (p)
        put(w, &w->meta, p, n * each);
    else
        put_zeros(w, &w->meta, n * each);
    return where;
}

static void put_string(gr_arrow_writer *w, size_t from, const char *s)
{
    put_vector(w, from, s, strlen(s), 1);
    put_zeros(w, &w->meta, 1);
}

/* ---- The schema ----------------------------------------------------------------------------------- */

typedef struct { int kind; int64_t a, b; unsigned char size_a, size_b; } type_of;    /* its table's first two fields */

/* false: not a type of a table that was made of JSON. */
static bool find_type(const char *f, type_of *out)
{
    static const struct { const char *format; type_of is; } known[] = {
        { "n", { GR_ARROW_NULL, 0, 0, 0, 0 } }, { "b", { GR_ARROW_BOOL, 0, 0, 0, 0 } },
        { "c", { GR_ARROW_INT, 8, 1, 4, 1 } }, { "C", { GR_ARROW_INT, 8, 0, 4, 1 } },
        { "s", { GR_ARROW_INT, 16, 1, 4, 1 } }, { "S", { GR_ARROW_INT, 16, 0, 4, 1 } },
        { "i", { GR_ARROW_INT, 32, 1, 4, 1 } }, { "I", { GR_ARROW_INT, 32, 0, 4, 1 } },
        { "l", { GR_ARROW_INT, 64, 1, 4, 1 } }, { "L", { GR_ARROW_INT, 64, 0, 4, 1 } },
        { "f", { GR_ARROW_FLOAT, 1, 0, 2, 0 } }, { "g", { GR_ARROW_FLOAT, 2, 0, 2, 0 } },
        { "u", { GR_ARROW_UTF8, 0, 0, 0, 0 } }, { "U", { GR_ARROW_LARGE_UTF8, 0, 0, 0, 0 } },
        { "z", { GR_ARROW_BINARY, 0, 0, 0, 0 } }, { "Z", { GR_ARROW_LARGE_BINARY, 0, 0, 0, 0 } },
        { "tdD", { GR_ARROW_DATE, 0, 0, 2, 0 } }, { "+s", { GR_ARROW_STRUCT, 0, 0, 0, 0 } },
        { "+l", { GR_ARROW_LIST, 0, 0, 0, 0 } }, { "+L", { GR_ARROW_LARGE_LIST, 0, 0, 0, 0 } },
    };
    int digits, scale;
    char more;

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(f, known[i].format))
            return *out = known[i].is, true;
    if (sscanf(f, "d:%d,%d%c", &digits, &scale, &more) != 2)
        return false;
    *out = (type_of){ GR_ARROW_DECIMAL, digits, scale, 4, 4 };
    return true;
}

static gram_status put_field(gr_arrow_writer *w, size_t from, const gr_arrow_schema *s, int depth, gram_err *err)
{
    static const unsigned char size[] = { 4, 1, 1, 4, 0, 4 };   /* name, nullable, kind of type, type, -, children */
    size_t at[FIELDS], in_type[FIELDS], list;
    type_of type;
    gram_status rc = GRAM_OK;

    if (s->dictionary || depth == GR_ARROW_DEEPEST || !find_type(s->format, &type))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: column \"%s\": DuckDB gives it as \"%s\", which is not written "
                       "here", w->name, s->name ? s->name : "", s->format);
    put_table(w, from, size, GR_COUNT(size), at);
    set(w, at[1], s->flags >> 1 & 1, 1);
    set(w, at[2], type.kind, 1);
    put_string(w, at[0], s->name ? s->name : "");
    put_table(w, at[3], (unsigned char[]){ type.size_a, type.size_b }, 2, in_type);
    if (type.size_a)
        set(w, in_type[0], type.a, type.size_a);
    if (type.size_b)
        set(w, in_type[1], type.b, type.size_b);
    list = put_vector(w, at[5], NULL, (size_t)s->n_children, 4);
    for (int64_t i = 0; i < s->n_children && !rc; i++)
        rc = put_field(w, list + 4 * (size_t)i, s->children[i], depth + 1, err);
    return rc;
}

static gram_status put_schema(gr_arrow_writer *w, size_t from, gram_err *err)
{
    static const unsigned char size[] = { 0, 4 };
    size_t at[FIELDS], list;
    gram_status rc = GRAM_OK;

    put_table(w, from, size, GR_COUNT(size), at);
    list = put_vector(w, at[1], NULL, (size_t)w->schema->n_children, 4);
    for (int64_t i = 0; i < w->schema->n_children && !rc; i++)
        rc = put_field(w, list + 4 * (size_t)i, w->schema->children[i], 0, err);
    return rc;
}

/* ---- Messages ------------------------------------------------------------------------------------- */

static gram_status write_bytes(gr_arrow_writer *w, const void *p, size_t n, gram_err *err)
{
    if (w->nomem)
        return gr_nomem(err, w->name);
    if (n && fwrite(p, 1, n, w->file) != n)
        return gr_fail(err, GRAM_EIO, "%s: not written: %s", w->name, strerror(errno));
    w->at += n;
    return GRAM_OK;
}

/* The message whose header's table the caller puts at *header. */
static void begin_message(gr_arrow_writer *w, int kind, size_t body, size_t *header)
{
    static const unsigned char size[] = { 2, 1, 4, 8 };
    size_t at[FIELDS];

    w->meta.n = 0;
    put_zeros(w, &w->meta, 4);
    put_table(w, 0, size, GR_COUNT(size), at);
    set(w, at[0], VERSION_5, 2);
    set(w, at[1], kind, 1);
    set(w, at[3], (int64_t)body, 8);
    *header = at[2];
}

static gram_status write_message(gr_arrow_writer *w, gram_err *err)
{
    const uint32_t none = UINT32_MAX;
    uint32_t n;
    gram_status rc;

    put_zeros(w, &w->meta, gr_round_up(w->meta.n, 8) - w->meta.n);
    n = (uint32_t)w->meta.n;
    rc = write_bytes(w, &none, sizeof none, err);
    if (!rc)
        rc = write_bytes(w, &n, sizeof n, err);
    if (!rc)
        rc = write_bytes(w, w->meta.p, w->meta.n, err);
    return rc ? rc : write_bytes(w, w->body.p, w->body.n, err);
}

gram_status gr_arrow_create(gr_arrow_writer **out, const char *path, const char *name, bool stream,
                            const gr_arrow_schema *schema, gram_err *err)
{
    gr_arrow_writer *w = gr_calloc(1, sizeof *w);
    size_t header;
    gram_status rc;

    *out = NULL;
    if (!w || !(w->name = gr_strdup(name)))
        return free(w), gr_nomem(err, name);
    w->stream = stream;
    w->schema = schema;
    w->file = fopen(path, "wbe");
    rc = w->file ? GRAM_OK : gr_fail(err, GRAM_EIO, "%s: not created: %s", name, strerror(errno));
    if (!rc && !stream)
        rc = write_bytes(w, "ARROW1\0\0", 8, err);
    if (!rc) {
        begin_message(w, GR_MESSAGE_SCHEMA, 0, &header);
        rc = put_schema(w, header, err);
    }
    if (!rc)
        rc = write_message(w, err);
    if (rc)
        gr_arrow_writer_close(w);
    else
        *out = w;
    return rc;
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

static void add_buffer(gr_arrow_writer *w, const void *p, size_t n)
{
    const int64_t place[2] = { (int64_t)w->body.n, (int64_t)n };

    put(w, &w->buffers, place, sizeof place);
    put(w, &w->body, p, n);
    put_zeros(w, &w->body, gr_round_up(w->body.n, 8) - w->body.n);
}

static int64_t last_offset(const gr_arrow_array *a, bool wide)
{
    return wide ? ((const int64_t *)a->buffers[1])[a->length] : ((const int32_t *)a->buffers[1])[a->length];
}

static size_t width_of(const char *f)
{
    static const char *const of[] = { "cC", "sS", "iIf", "lLg" };

    for (size_t k = 0; k < GR_COUNT(of); k++)
        if (!f[1] && strchr(of[k], *f))
            return (size_t)1 << k;
    return *f == 'd' ? 16 : 4;              /* tdD */
}

static gram_status add_array(gr_arrow_writer *w, const gr_arrow_schema *s, const gr_arrow_array *a, gram_err *err)
{
    const char *f = s->format;
    const int64_t node[2] = { a->length, *f == 'n' ? a->length : a->null_count };
    size_t n = (size_t)a->length, bits = (n + 7) / 8;
    bool wide = strchr("UZ", *f) || f[1] == 'L';
    gram_status rc = GRAM_OK;

    if (a->offset || a->null_count < 0 || a->n_children != s->n_children)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: column \"%s\": DuckDB gives its rows in a way that is not written "
                       "here", w->name, s->name ? s->name : "");
    put(w, &w->nodes, node, sizeof node);
    if (*f == 'n')
        return GRAM_OK;
    add_buffer(w, a->buffers[0], a->null_count && a->buffers[0] ? bits : 0);
    if (strchr("uUzZ", *f) || !strcmp(f, "+l") || !strcmp(f, "+L"))
        add_buffer(w, a->buffers[1], (n + 1) * (wide ? 8 : 4));
    else if (*f != '+')
        add_buffer(w, a->buffers[1], *f == 'b' ? bits : n * width_of(f));
    if (strchr("uUzZ", *f))
        add_buffer(w, a->buffers[2], (size_t)last_offset(a, wide));
    for (int64_t i = 0; i < a->n_children && !rc; i++)
        rc = add_array(w, s->children[i], a->children[i], err);
    return rc;
}

static void put_batch(gr_arrow_writer *w, int64_t rows)
{
    static const unsigned char size[] = { 8, 4, 4 };
    size_t header, at[FIELDS];

    begin_message(w, GR_MESSAGE_BATCH, w->body.n, &header);
    put_table(w, header, size, GR_COUNT(size), at);
    set(w, at[0], rows, 8);
    put_vector(w, at[1], w->nodes.p, w->nodes.n / 16, 16);
    put_vector(w, at[2], w->buffers.p, w->buffers.n / 16, 16);
}

gram_status gr_arrow_add(gr_arrow_writer *w, const gr_arrow_array *rows, gram_err *err)
{
    int64_t place[3] = { (int64_t)w->at, 0, 0 };
    gram_status rc = rows->n_children == w->schema->n_children ? GRAM_OK
                   : gr_fail(err, GRAM_EUNSUPPORTED, "%s: DuckDB gives rows of other columns", w->name);

    w->body.n = w->nodes.n = w->buffers.n = 0;
    for (int64_t i = 0; i < rows->n_children && !rc; i++)
        rc = add_array(w, w->schema->children[i], rows->children[i], err);
    if (rc)
        return rc;
    put_batch(w, rows->length);
    rc = write_message(w, err);
    place[2] = (int64_t)w->body.n;
    place[1] = (int64_t)w->at - place[0] - place[2];        /* below 2^31, so its upper half is the padding */
    put(w, &w->blocks, place, sizeof place);
    return rc;
}

static gram_status put_footer(gr_arrow_writer *w, gram_err *err)
{
    static const unsigned char size[] = { 2, 4, 4, 4 };     /* version, schema, dictionaries, batches */
    size_t at[FIELDS];
    gram_status rc;

    w->meta.n = 0;
    put_zeros(w, &w->meta, 4);
    put_table(w, 0, size, GR_COUNT(size), at);
    set(w, at[0], VERSION_5, 2);
    rc = put_schema(w, at[1], err);
    put_vector(w, at[2], NULL, 0, 24);
    put_vector(w, at[3], w->blocks.p, w->blocks.n / 24, 24);
    return rc;
}

gram_status gr_arrow_finish(gr_arrow_writer *w, gram_err *err)
{
    const uint32_t end[2] = { UINT32_MAX, 0 };
    gram_status rc = write_bytes(w, end, sizeof end, err);
    uint32_t n;

    if (!rc && !w->stream) {
        rc = put_footer(w, err);
        n = (uint32_t)w->meta.n;
        if (!rc)
            rc = write_bytes(w, w->meta.p, w->meta.n, err);
        if (!rc)
            rc = write_bytes(w, &n, sizeof n, err);
        if (!rc)
            rc = write_bytes(w, "ARROW1", 6, err);
    }
    if (!rc && fflush(w->file))
        rc = gr_fail(err, GRAM_EIO, "%s: not written: %s", w->name, strerror(errno));
    return rc;
}

void gr_arrow_writer_close(gr_arrow_writer *w)
{
    if (!w)
        return;
    if (w->file)
        fclose(w->file);
    gr_buf_clear(&w->meta);
    gr_buf_clear(&w->body);
    gr_buf_clear(&w->nodes);
    gr_buf_clear(&w->buffers);
    gr_buf_clear(&w->blocks);
    free(w->name);
    free(w);
}
