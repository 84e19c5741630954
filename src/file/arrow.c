/* arrow.c - see arrow.h: messages, and the schema. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "base/err.h"
#include "base/utf8.h"
#include "file/arrow_int.h"

enum { MOST_COLUMNS = 1 << 14 };

bool gr_arrow_is(const void *p, size_t n)
{
    return (n >= 8 && !memcmp(p, "ARROW1\0\0", 8)) || (n >= 4 && !memcmp(p, "\xff\xff\xff\xff", 4));
}

gram_status gr_arrow_bad(const gr_arrow *a, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EIO, "%s: an Arrow file that is damaged or cut off: %s", a->name, what);
}

/* ---- Messages ------------------------------------------------------------------------------------- */

/* Of the file form messages end before the footer. */
static gram_status find_end(gr_arrow *a, gram_err *err)
{
    const size_t tail = 10;     /* the footer's length, and ARROW1 */
    uint32_t footer;

    a->end = a->map.size;
    if (a->map.size < 8 || !gr_arrow_is(a->map.data, a->map.size))
        return gr_arrow_bad(a, "it does not begin as one does", err);
    if (memcmp(a->map.data, "ARROW1", 6))
        return GRAM_OK;
    a->at = 8;
    if (a->map.size < 8 + tail || memcmp(a->map.data + a->map.size - 6, "ARROW1", 6))
        return gr_arrow_bad(a, "it does not end as one does", err);
    memcpy(&footer, a->map.data + a->map.size - tail, sizeof footer);
    if (footer > a->map.size - 8 - tail)
        return gr_arrow_bad(a, "its footer is longer than it", err);
    a->end = a->map.size - tail - footer;
    return GRAM_OK;
}

gram_status gr_arrow_message(gr_arrow *a, gr_flat *f, size_t *header, int *kind, gr_body *body, gram_err *err)
{
    const unsigned char *p = a->map.data + a->at;
    size_t left = a->end - a->at, table;
    int64_t bytes;
    uint32_t n = 0;

    *kind = 0;
    if (left == 0)
        return GRAM_OK;
    if (left < 8 || memcmp(p, "\xff\xff\xff\xff", 4))
        return gr_arrow_bad(a, "wanted a message", err);
    memcpy(&n, p + 4, sizeof n);
    if (n == 0) {
        a->at = a->end;
        return GRAM_OK;
    }
    if (n > left - 8 || n % 8)
        return gr_arrow_bad(a, "a message is longer than it", err);
    *f = (gr_flat){ p + 8, n, false };
    table = gr_flat_follow(f, 0);
    *kind = (int)gr_flat_int(f, table, 1, 1, 0);
    *header = gr_flat_table(f, table, 2);
    bytes = gr_flat_int(f, table, 3, 8, 0);
    if (f->bad || !*header || bytes < 0 || (uint64_t)bytes > left - 8 - n || bytes % 8)
        return gr_arrow_bad(a, "a message names what is not there", err);
    *body = (gr_body){ p + 8 + n, (size_t)bytes };
    a->at += 8 + n + (size_t)bytes;
    return GRAM_OK;
}

/* ---- The schema ----------------------------------------------------------------------------------- */

static void set_type(gr_column *c, const char *format, gr_lie lie, size_t width)
{
    snprintf(c->format, sizeof c->format, "%s", format);
    c->lie = lie;
    c->width = width;
}

static bool set_int(gr_column *c, gr_flat *f, size_t type)
{
    static const char name[2][4] = { "CSIL", "csil" };
    int64_t bits = gr_flat_int(f, type, 0, 4, 0);
    bool is_signed = gr_flat_int(f, type, 1, 1, 0);
    int k = bits == 8 ? 0 : bits == 16 ? 1 : bits == 32 ? 2 : bits == 64 ? 3 : -1;
    char format[2] = { k < 0 ? '\0' : name[is_signed][k], '\0' };

    set_type(c, format, GR_LIE_FIXED, (size_t)bits / 8);
    return k >= 0;
}

static bool set_timed(gr_column *c, gr_flat *f, size_t type, int kind)
{
    static const char unit[] = "smun";
    int64_t u = gr_flat_int(f, type, 0, 2, kind == GR_ARROW_TIMESTAMP ? 0 : 1);

    if (kind == GR_ARROW_DATE) {
        set_type(c, u == 0 ? "tdD" : "tdm", GR_LIE_FIXED, u == 0 ? 4 : 8);
        return u == 0 || u == 1;
    }
    if (u < 0 || u > 3)
        return false;
    if (kind == GR_ARROW_TIME) {
        set_type(c, "", GR_LIE_FIXED, u < 2 ? 4 : 8);
        snprintf(c->format, sizeof c->format, "tt%c", unit[u]);
        return true;
    }
    set_type(c, "", GR_LIE_FIXED, 8);       /* a time zone is left out: DuckDB would want to know it */
    snprintf(c->format, sizeof c->format, kind == GR_ARROW_DURATION ? "tD%c" : "ts%c:", unit[u]);
    return true;
}

static bool set_sized(gr_column *c, gr_flat *f, size_t type, int kind)
{
    int64_t n = gr_flat_int(f, type, 0, 4, 0), scale;

    if (kind == GR_ARROW_DECIMAL) {
        scale = gr_flat_int(f, type, 1, 4, 0);
        if (n < 1 || n > 38 || scale < 0 || scale > n || gr_flat_int(f, type, 2, 4, 128) != 128)
            return false;
        set_type(c, "", GR_LIE_FIXED, 16);
        snprintf(c->format, sizeof c->format, "d:%d,%d", (int)n, (int)scale);
        return true;
    }
    if (n < 1 || n > 1 << 24)
        return false;
    set_type(c, "", kind == GR_ARROW_FIXED_LIST ? GR_LIE_EACH : GR_LIE_FIXED, (size_t)n);
    snprintf(c->format, sizeof c->format, kind == GR_ARROW_FIXED_LIST ? "+w:%d" : "w:%d", (int)n);
    return true;
}

/* false: a type that is not read. */
static bool set_any(gr_column *c, gr_flat *f, size_t type, int kind)
{
    int64_t digits;

    switch (kind) {
    case GR_ARROW_NULL: set_type(c, "n", GR_LIE_NULL, 0); return true;
    case GR_ARROW_INT: return set_int(c, f, type);
    case GR_ARROW_FLOAT:
        digits = gr_flat_int(f, type, 0, 2, 0);
        set_type(c, digits == 1 ? "f" : "g", GR_LIE_FIXED, digits == 1 ? 4 : 8);
        return digits == 1 || digits == 2;
    case GR_ARROW_BOOL: set_type(c, "b", GR_LIE_BITS, 0); return true;
    case GR_ARROW_BINARY: set_type(c, "z", GR_LIE_TEXT, 4); return true;
    case GR_ARROW_LARGE_BINARY: set_type(c, "Z", GR_LIE_TEXT, 8); return true;
    case GR_ARROW_UTF8: set_type(c, "u", GR_LIE_TEXT, 4); c->utf8 = true; return true;
    case GR_ARROW_LARGE_UTF8: set_type(c, "U", GR_LIE_TEXT, 8); c->utf8 = true; return true;
    case GR_ARROW_UTF8_VIEW: set_type(c, "vu", GR_LIE_VIEW, 16); c->utf8 = true; return true;
    case GR_ARROW_BINARY_VIEW: set_type(c, "vz", GR_LIE_VIEW, 16); return true;
    case GR_ARROW_DATE: case GR_ARROW_TIME: case GR_ARROW_TIMESTAMP: case GR_ARROW_DURATION:
        return set_timed(c, f, type, kind);
    case GR_ARROW_DECIMAL: case GR_ARROW_FIXED_BINARY: case GR_ARROW_FIXED_LIST: return set_sized(c, f, type, kind);
    case GR_ARROW_LIST: set_type(c, "+l", GR_LIE_LIST, 4); return true;
    case GR_ARROW_LARGE_LIST: set_type(c, "+L", GR_LIE_LIST, 8); return true;
    case GR_ARROW_MAP: set_type(c, "+m", GR_LIE_LIST, 4); return true;
    case GR_ARROW_STRUCT: set_type(c, "+s", GR_LIE_STRUCT, 0); return true;
    default: return false;
    }
}

static void column_clear(gr_column *c)
{
    for (size_t i = 0; i < c->n; i++)
        column_clear(&c->child[i]);
    if (c->values)
        column_clear(c->values);
    free(c->child);
    free(c->values);
    free(c->name);
}

static gram_status read_name(gr_arrow *a, gr_column *c, gr_flat *f, size_t field, gram_err *err)
{
    size_t n, at = gr_flat_vector(f, field, 0, 1, &n);
    const char *s = (const char *)f->p + at;

    if (f->bad || (at && (memchr(s, '\0', n) || gr_utf8_bad(s, n) < n)))
        return gr_arrow_bad(a, "the name of a column is no text", err);
    c->name = gr_strndup(at ? s : "", n);
    return c->name ? GRAM_OK : gr_nomem(err, a->name);
}

typedef struct { gr_arrow *a; gr_flat *f; size_t left; } builder;
static gram_status read_field(builder *b, gr_column *c, size_t field, int depth, gram_err *err);

/* DuckDB tells upper from lower case no more than SQL does: it would call the second of two columns NAME_1. */
static gram_status check_names(const builder *b, const gr_column *c, gram_err *err)
{
    for (size_t i = 1; i < c->n; i++)
        for (size_t k = 0; k < i; k++)
            if (!strcasecmp(c->child[i].name, c->child[k].name))
                return gr_fail(err, GRAM_EIO, "%s: two columns are called \"%s\", be it in upper or lower case, and "
                               "which of them is meant is not told", b->a->name, c->child[k].name);
    return GRAM_OK;
}

static gram_status read_children(builder *b, gr_column *c, size_t at, size_t n, int depth, gram_err *err)
{
    gram_status rc = GRAM_OK;

    if (n > b->left || depth == GR_ARROW_DEEPEST)
        return gr_fail(err, GRAM_EFORMAT, "%s: more than %d columns, or in one another deeper than %d", b->a->name,
                       MOST_COLUMNS, GR_ARROW_DEEPEST);
    b->left -= n;
    c->child = gr_calloc(n, sizeof *c->child);
    if (!c->child)
        return gr_nomem(err, b->a->name);
    c->n = n;
    for (size_t i = 0; i < n && !rc; i++)
        rc = read_field(b, &c->child[i], gr_flat_follow(b->f, at + 4 * i), depth + 1, err);
    return rc ? rc : check_names(b, c, err);
}

/* A column of a dictionary has the dictionary's type; what lies in its place in a batch are indices. */
static gram_status read_dictionary(builder *b, gr_column *c, size_t dictionary, gram_err *err)
{
    gr_column *values = gr_calloc(1, sizeof *values);
    size_t index = gr_flat_table(b->f, dictionary, 1);

    if (!values || !(values->name = gr_strdup("")))
        return free(values), gr_nomem(err, b->a->name);
    memcpy(values->format, c->format, sizeof values->format);
    values->lie = c->lie;
    values->width = c->width;
    values->utf8 = c->utf8;
    values->nullable = true;
    values->child = c->child;
    values->n = c->n;
    c->child = NULL;
    c->n = 0;
    c->utf8 = false;
    c->values = values;
    c->id = gr_flat_int(b->f, dictionary, 0, 8, 0);
    if (index ? set_int(c, b->f, index) : (set_type(c, "i", GR_LIE_FIXED, 4), true))
        return GRAM_OK;
    return gr_arrow_bad(b->a, "the index of a dictionary is no integer", err);
}

static gram_status read_field(builder *b, gr_column *c, size_t field, int depth, gram_err *err)
{
    gr_flat *f = b->f;
    size_t n, at, type = gr_flat_table(f, field, 3), dictionary = gr_flat_table(f, field, 4);
    int kind = (int)gr_flat_int(f, field, 2, 1, 0);
    bool known = type && set_any(c, f, type, kind);
    gram_status rc = read_name(b->a, c, f, field, err);

    if (rc)
        return rc;
    c->nullable = gr_flat_int(f, field, 1, 1, 0);
    at = gr_flat_vector(f, field, 5, 4, &n);
    if (f->bad)
        return gr_arrow_bad(b->a, "its schema names what is not there", err);
    if (!known)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: column \"%s\": a type of Arrow that is not read (number %d): "
                       "wanted texts, numbers, lists, structures or dictionaries of them", b->a->name, c->name, kind);
    if ((c->lie == GR_LIE_LIST || c->lie == GR_LIE_EACH) != (n == 1) && c->lie != GR_LIE_STRUCT)
        return gr_arrow_bad(b->a, "a list has one column in it, and what is none has none", err);
    rc = read_children(b, c, at, n, depth, err);
    if (!rc && !strcmp(c->format, "+m") && (c->child[0].lie != GR_LIE_STRUCT || c->child[0].n != 2))
        rc = gr_arrow_bad(b->a, "a map has keys and values in it", err);
    return rc || !dictionary ? rc : read_dictionary(b, c, dictionary, err);
}

static gram_status read_schema(gr_arrow *a, gram_err *err)
{
    gr_flat f;
    gr_body body;
    size_t schema, n, at;
    int kind;
    builder b = { a, &f, MOST_COLUMNS };
    gram_status rc = gr_arrow_message(a, &f, &schema, &kind, &body, err);

    if (rc)
        return rc;
    if (kind != GR_MESSAGE_SCHEMA)
        return gr_arrow_bad(a, "it does not begin with a schema", err);
    if (gr_flat_int(&f, schema, 0, 2, 0) != 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: an Arrow file of a big-endian machine", a->name);
    at = gr_flat_vector(&f, schema, 1, 4, &n);
    if (f.bad || n == 0)
        return gr_arrow_bad(a, "it has no column", err);
    set_type(&a->root, "+s", GR_LIE_STRUCT, 0);
    a->root.name = gr_strdup("");
    if (!a->root.name)
        return gr_nomem(err, a->name);
    return read_children(&b, &a->root, at, n, 0, err);
}

/* ---- The stream ----------------------------------------------------------------------------------- */

/* DuckDB does not release each schema that it takes, so all are one, which the file owns. */
static void release_nothing(gr_arrow_schema *s)
{
    (void)s;
}

static void release_copy(gr_arrow_schema *s)
{
    s->release = NULL;
}

static void schema_clear(gr_arrow_schema *s)
{
    for (int64_t i = 0; i < s->n_children; i++) {
        schema_clear(s->children[i]);
        free(s->children[i]);
    }
    if (s->dictionary)
        schema_clear(s->dictionary);
    free(s->dictionary);
    free(s->children);
}

/* Borrows the column's texts. */
static bool make_schema(const gr_column *c, gr_arrow_schema *out)
{
    bool ok;

    *out = (gr_arrow_schema){ .format = c->format, .name = c->name, .flags = c->nullable ? 2 : 0,
                              .children = gr_calloc(c->n, sizeof(*out->children)), .release = release_nothing };
    ok = out->children;
    for (size_t i = 0; i < c->n && ok; i++) {
        out->children[i] = gr_calloc(1, sizeof **out->children);
        out->n_children += out->children[i] != NULL;
        ok = out->children[i] && make_schema(&c->child[i], out->children[i]);
    }
    if (ok && c->values)
        ok = (out->dictionary = gr_calloc(1, sizeof *out->dictionary)) && make_schema(c->values, out->dictionary);
    return ok;
}

static int get_schema(gr_arrow_stream *s, gr_arrow_schema *out)
{
    const gr_arrow *a = s->private_data;

    *out = a->schema;
    out->release = release_copy;
    return 0;
}

/* Notes where the dictionary is, for all columns that have it. */
static bool note_dictionary(gr_column *c, int64_t id, size_t at, bool *again)
{
    bool found = false;

    if (c->values && c->id == id) {
        *again |= c->dictionary != 0;
        c->dictionary = at;
        found = true;
    }
    for (size_t i = 0; i < c->n; i++)
        found |= note_dictionary(&c->child[i], id, at, again);
    return c->values ? note_dictionary(c->values, id, at, again) | found : found;
}

static gram_status next_batch(gr_arrow *a, gr_arrow_array *out, gram_err *err)
{
    for (;;) {
        gr_flat f;
        gr_body body;
        size_t header, at = a->at;
        bool again = false;
        int kind;
        gram_status rc = gr_arrow_message(a, &f, &header, &kind, &body, err);
        if (rc || !kind)
            return rc;
        if (kind == GR_MESSAGE_BATCH)
            return gr_arrow_batch(a, a->root.child, a->root.n, &f, header, body, out, err);
        if (kind != GR_MESSAGE_DICTIONARY)
            return gr_arrow_bad(a, "wanted rows", err);
        if (!note_dictionary(&a->root, gr_flat_int(&f, header, 0, 8, 0), at, &again))
            return gr_arrow_bad(a, "a dictionary that no column has", err);
        if (again || gr_flat_int(&f, header, 2, 1, 0))
            return gr_fail(err, GRAM_EUNSUPPORTED, "%s: a dictionary that grows or changes between rows: write the "
                           "column as plain texts", a->name);
    }
}

static int get_next(gr_arrow_stream *s, gr_arrow_array *out)
{
    gr_arrow *a = s->private_data;
    gram_status rc;

    *out = (gr_arrow_array){ .release = NULL };
    if (a->failed)
        return EIO;
    rc = next_batch(a, out, &a->err);
    a->failed = rc != GRAM_OK;
    return rc == GRAM_ENOMEM ? ENOMEM : rc ? EIO : 0;
}

static const char *get_last_error(gr_arrow_stream *s)
{
    const gr_arrow *a = s->private_data;

    return a->failed ? a->err.text : NULL;
}

static void release_stream(gr_arrow_stream *s)
{
    s->release = NULL;                      /* the file is its owner's to close */
}

gr_arrow_stream *gr_arrow_rows(gr_arrow *a)
{
    return &a->stream;
}

gram_status gr_arrow_failed(const gr_arrow *a, gram_err *err)
{
    if (a->failed && err)
        *err = a->err;
    return a->failed ? a->err.status : GRAM_OK;
}

gram_status gr_arrow_open(gr_arrow **out, const char *path, int fd, gram_err *err)
{
    gr_arrow *a = gr_calloc(1, sizeof *a);
    char name[40];
    gram_status rc;

    *out = NULL;
    if (!a || !(a->name = gr_strdup(path)))
        return free(a), gr_nomem(err, path);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    a->stream = (gr_arrow_stream){ get_schema, get_next, get_last_error, release_stream, a };
    rc = gr_map_open(&a->map, name, err);
    if (!rc)
        rc = find_end(a, err);
    if (!rc)
        rc = read_schema(a, err);
    if (!rc && !make_schema(&a->root, &a->schema))
        rc = gr_nomem(err, path);
    if (rc)
        gr_arrow_close(a);
    else
        *out = a;
    return rc;
}

void gr_arrow_close(gr_arrow *a)
{
    if (!a)
        return;
    schema_clear(&a->schema);
    column_clear(&a->root);
    gr_map_close(&a->map);
    free(a->name);
    free(a);
}
