/* safetensors.c - map a .safetensors file and prove it once, at the door.
 *     | u64 n | JSON header, n bytes | tensor bytes ... |
 * The file comes from strangers. Once gr_st_open() succeeds, each tensor lies inside the file, no two share a
 * byte, none is left over, and shape times type is the byte range, so no kernel checks again. Bytes stay in the
 * page cache: a 16 GB checkpoint opens in milliseconds.
 *
 * The format lets tensors lie at any byte. Those that do not suit their type are copied here, so that whoever
 * takes a float * need not ask. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/file_int.h"

#define HEADER_LIMIT 100000000      /* the official library's */

struct gr_st {
    char *path;
    gr_map map;
    json_t *header;                 /* its keys are the tensors' names */
    gr_names names;
    bool codes;                     /* tensors of whole numbers are let in */
    bool ours;                      /* __metadata__ say that gram packed it: weights.h */
    gr_names packed;
    void **copy;                    /* [names.n]: NULL, or the tensor where the file's place did not suit it */
};

static bool dtype_of(const char *s, bool codes, gr_dtype *out)
{
    static const gr_dtype known[] = { GR_F32, GR_F16, GR_BF16, GR_F64, GR_F8_E4M3, GR_U8, GR_I8, GR_I32,
                                      GR_I64 };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(s, gr_dtype_name(known[i])) && (codes || !gr_dtype_is_codes(known[i]))) {
            *out = known[i];
            return true;
        }
    return false;
}

/* A count or an offset: a JSON integer that is not negative. */
static bool read_size(const json_t *v, size_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (size_t)json_integer_value(v);
    return true;
}

static gram_status read_shape(gr_named *t, const gr_st *st, const json_t *shape, gram_err *err)
{
    if (!json_is_array(shape))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" has no shape", st->path, t->name);
    t->n_dims = json_array_size(shape);
    if (t->n_dims > GR_COUNT(t->dim))
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" has %zu dimensions, at most %zu wanted", st->path,
                       t->name, t->n_dims, GR_COUNT(t->dim));
    for (size_t i = 0; i < t->n_dims; i++)
        if (!read_size(json_array_get(shape, i), &t->dim[i]))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": dimension %zu is not a count", st->path, t->name, i);
    return GRAM_OK;
}

/* Bytes that are packed have one dimension, and lie where products can read them. */
static gram_status take_packed(gr_named *t, const gr_st *st, gram_err *err)
{
    t->bytes = t->dim[0];
    if (t->n_dims != 1)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" of I8 has %zu dimensions, 1 wanted", st->path, t->name,
                       t->n_dims);
    return GRAM_OK;
}

/* One entry of the header; data and its size are what follows the header. */
static gram_status read_tensor(gr_named *t, const gr_st *st, const char *name, json_t *v, const unsigned char *data,
                               size_t size, gram_err *err)
{
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    json_t *range = json_object_get(v, "data_offsets");
    size_t begin, end;
    gram_status rc;

    t->name = name;
    if (!dtype)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" has no dtype", st->path, name);
    t->packed = st->ours && !strcmp(dtype, "I8");
    if (!t->packed && !dtype_of(dtype, st->codes, &t->type))
        return gr_unsupported_type(st->path, name, dtype, err);
    rc = read_shape(t, st, json_object_get(v, "shape"), err);
    if (rc)
        return rc;
    if (t->packed)
        rc = take_packed(t, st, err);
    else if (!gr_named_bytes(t, &t->bytes))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": its shape has more values than memory has", st->path,
                       name);
    if (rc)
        return rc;
    if (json_array_size(range) != 2 || !read_size(json_array_get(range, 0), &begin) ||
        !read_size(json_array_get(range, 1), &end))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": data_offsets are not two offsets", st->path, name);
    if (begin > end || end > size)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" is said to be bytes %zu to %zu of %zu", st->path, name,
                       begin, end, size);
    if (end - begin != t->bytes)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": %" PRIu64 " bytes wanted for its shape, found %zu",
                       st->path, name, t->bytes, end - begin);
    t->data = data + begin;
    if (t->packed && strcmp(name, GR_PACKED_DIGEST) && (uintptr_t)t->data % GR_ALIGN)
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" does not begin at a multiple of %d bytes", st->path, name,
                       GR_ALIGN);
    return GRAM_OK;
}

/* The last tensor is the digest of all before it. */
static gram_status check_digest(const gr_st *st, gram_err *err)
{
    const gr_named *last = st->names.n ? &st->names.t[st->names.n - 1] : NULL;
    uint64_t h = GR_DIGEST, want;

    if (!last || strcmp(last->name, GR_PACKED_DIGEST) || last->bytes != sizeof want)
        return gr_fail(err, GRAM_EFORMAT, "%s: its last tensor is not " GR_PACKED_DIGEST ", of %zu bytes", st->path,
                       sizeof want);
    for (const gr_named *t = st->names.t; t < last; t++)
        h = gr_digest_values(gr_digest_tensor(h, t), t, t->data);
    memcpy(&want, last->data, sizeof want);
    if (h != want)
        return gr_fail(err, GRAM_EFORMAT, "%s: its weights are not those that gram convert wrote: their digest is "
                       "%016" PRIx64 ", wanted %016" PRIx64, st->path, h, want);
    return GRAM_OK;
}

/* What is packed gets a list of its own. */
static gram_status take_apart(gr_st *st, gram_err *err)
{
    size_t kept = 0;

    st->packed.t = gr_calloc(st->names.n, sizeof *st->packed.t);
    if (!st->packed.t)
        return gr_nomem(err, st->path);
    for (size_t i = 0; i + 1 < st->names.n; i++)
        if (st->names.t[i].packed)
            st->packed.t[st->packed.n++] = st->names.t[i];
        else
            st->names.t[kept++] = st->names.t[i];
    st->names.n = kept;
    free(st->names.by_name);
    st->names.by_name = NULL;
    return gr_names_index(&st->names, st->path, err);
}

static gram_status read_header(gr_st *st, size_t n, gram_err *err)
{
    const char *text = (const char *)st->map.data + 8, *name;
    size_t size = st->map.size - 8 - n;
    uint64_t sum = 0;
    json_t *v;
    gram_status rc;

    if (text[0] != '{')
        return gr_fail(err, GRAM_EFORMAT, "%s: the header is not a JSON object", st->path);
    rc = gr_json_parse(&st->header, st->path, text, n, err);
    if (rc)
        return rc;
    name = json_string_value(json_object_get(json_object_get(st->header, "__metadata__"), "format"));
    st->ours = name && !strcmp(name, GR_PACKED_FORMAT);
    st->names.t = gr_calloc(json_object_size(st->header), sizeof *st->names.t);
    if (!st->names.t)
        return gr_nomem(err, st->path);
    json_object_foreach(st->header, name, v) {
        if (!strcmp(name, "__metadata__"))
            continue;
        rc = read_tensor(&st->names.t[st->names.n], st, name, v, st->map.data + 8 + n, size, err);
        if (rc)
            return rc;
        sum += st->names.t[st->names.n++].bytes;    /* each is at most the file, and they are fewer than its bytes */
    }
    rc = gr_names_index(&st->names, st->path, err);
    if (!rc)
        rc = gr_names_apart(&st->names, st->path, err);
    if (!rc && sum != size)                 /* apart, inside and as long as the whole: nothing is hidden */
        rc = gr_fail(err, GRAM_EFORMAT, "%s: %zu bytes follow the header, its tensors are %" PRIu64, st->path, size,
                     sum);
    if (!rc && st->ours)
        rc = check_digest(st, err);
    if (!rc && st->ours)
        rc = take_apart(st, err);
    return !rc && st->ours ? gr_names_index(&st->packed, st->path, err) : rc;
}

static gram_status copy_unaligned(gr_st *st, gram_err *err)
{
    st->copy = gr_calloc(st->names.n, sizeof *st->copy);
    if (!st->copy)
        return gr_nomem(err, st->path);
    for (size_t i = 0; i < st->names.n; i++) {
        gr_named *t = &st->names.t[i];
        if (t->bytes == 0 || (uintptr_t)t->data % gr_dtype_bytes(t->type) == 0)
            continue;
        st->copy[i] = gr_alloc_aligned(t->bytes, 1);
        if (!st->copy[i])
            return gr_fail(err, GRAM_ENOMEM, "%s: out of memory for tensor \"%s\" of %" PRIu64 " bytes", st->path,
                           t->name, t->bytes);
        memcpy(st->copy[i], t->data, t->bytes);
        t->data = st->copy[i];
    }
    return GRAM_OK;
}

gram_status gr_unsupported_type(const char *path, const char *tensor, const char *type, gram_err *err)
{
    return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is %s; F64, F32, F16, BF16 and F8_E4M3 are supported",
                   path, tensor, type);
}

static gram_status open_st(gr_st **out, const char *path, bool codes, gram_err *err)
{
    gr_st *st = gr_calloc(1, sizeof *st);
    uint64_t n = 0;
    gram_status rc;

    *out = NULL;
    if (!st)
        return gr_nomem(err, path);
    st->codes = codes;
    st->path = gr_strdup(path);
    if (!st->path) {
        rc = gr_nomem(err, path);
        goto out;
    }
    rc = gr_map_open(&st->map, path, err);
    if (rc)
        goto out;
    if (st->map.size >= 8)
        memcpy(&n, st->map.data, sizeof n);
    if (n == 0 || n > st->map.size - 8) {   /* n == 0 comes first: it guards the subtraction */
        rc = gr_fail(err, GRAM_EFORMAT, "%s: a header of %" PRIu64 " bytes in a file of %zu", path, n, st->map.size);
        goto out;
    }
    if (n > HEADER_LIMIT) {
        rc = gr_fail(err, GRAM_EFORMAT, "%s: a header of %" PRIu64 " bytes, at most %d wanted", path, n, HEADER_LIMIT);
        goto out;
    }
    rc = read_header(st, (size_t)n, err);
    if (!rc)
        rc = copy_unaligned(st, err);
    if (rc)
        goto out;
    *out = st;
    st = NULL;
out:
    gr_st_close(st);
    return rc;
}

gram_status gr_st_open(gr_st **out, const char *path, gram_err *err)
{
    return open_st(out, path, false, err);
}

gram_status gr_st_open_codes(gr_st **out, const char *path, gram_err *err)
{
    return open_st(out, path, true, err);
}

void gr_st_release(const gr_st *st)
{
    gr_map_release(&st->map);
}

void gr_st_close(gr_st *st)
{
    if (!st)
        return;
    for (size_t i = 0; st->copy && i < st->names.n; i++)
        free(st->copy[i]);
    free(st->copy);
    gr_names_clear(&st->names);
    gr_names_clear(&st->packed);
    json_decref(st->header);
    gr_map_close(&st->map);
    free(st->path);
    free(st);
}

size_t gr_st_count(const gr_st *st)
{
    return st->names.n;
}

const gr_named *gr_st_at(const gr_st *st, size_t i)
{
    return &st->names.t[i];
}

const gr_named *gr_st_find(const gr_st *st, const char *name)
{
    return gr_names_find(&st->names, name);
}

const gr_names *gr_st_packed(const gr_st *st)
{
    return &st->packed;
}

const char *gr_st_path(const gr_st *st)
{
    return st->path;
}

uint64_t gr_st_file_bytes(const gr_st *st)
{
    return st->map.size;
}
