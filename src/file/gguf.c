/* gguf.c - map a GGUF file (version 2 or 3, little-endian) and prove it once, at the door.
 *     | "GGUF" | u32 version | u64 tensors | u64 keys |
 *     | keys:    string name, u32 kind, value                                                    |
 *     | tensors: string name, u32 dims, u64 dim[dims] (fastest first), u32 type, u64 offset      |
 *     | padding to the alignment | tensor bytes, each at a multiple of the alignment ...         |
 * A string is a u64 length and bytes; an array is its elements' kind, a u64 count and the elements. A count is
 * believed only as far as the bytes that are left could hold it, so a lie allocates nothing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/file_int.h"

enum kind { U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64, KINDS };
static const struct { const char *name; size_t bytes; } kind[KINDS] = {     /* bytes 0: not of one size */
    [U8]  = { "u8", 1 },  [I8]  = { "i8", 1 },  [U16] = { "u16", 2 }, [I16] = { "i16", 2 }, [U32] = { "u32", 4 },
    [I32] = { "i32", 4 }, [F32] = { "f32", 4 }, [BOOL] = { "bool", 1 }, [STRING] = { "string", 0 },
    [ARRAY] = { "array", 0 }, [U64] = { "u64", 8 }, [I64] = { "i64", 8 }, [F64] = { "f64", 8 },
};

struct key {
    gr_str name;
    uint32_t kind;
    uint32_t of;                    /* an array's elements; otherwise kind again */
    size_t count;                   /* of an array; otherwise 1 */
    const unsigned char *p;         /* the first element */
};

struct gr_gguf {
    char *path;
    gr_map map;
    size_t at;                      /* while reading: bytes already read */
    struct key *key;                /* sorted by name */
    size_t n_keys;
    gr_names names;
    gr_buf name_text;               /* the tensors' names, each with a NUL */
};

/* ---- Reading forward ------------------------------------------------------------------------------ */

static size_t left(const gr_gguf *g)
{
    return g->map.size - g->at;
}

static gram_status ends_early(const gr_gguf *g, const char *what, gram_err *err)
{
    return gr_fail(err, GRAM_EFORMAT, "%s: the file ends inside %s, at byte %zu", g->path, what, g->map.size);
}

static bool take(gr_gguf *g, void *out, size_t n)
{
    if (n > left(g))
        return false;
    memcpy(out, g->map.data + g->at, n);
    g->at += n;
    return true;
}

static bool take_str(gr_gguf *g, gr_str *out)
{
    uint64_t n;

    if (!take(g, &n, sizeof n) || n > left(g))
        return false;
    *out = (gr_str){ (const char *)g->map.data + g->at, (size_t)n };
    g->at += (size_t)n;
    return true;
}

/* ---- Keys ----------------------------------------------------------------------------------------- */

#define NAME(s) (int)gr_min((s).n, 200), (s).p      /* for "%.*s" */

static gram_status take_value(gr_gguf *g, struct key *k, gram_err *err)
{
    size_t bytes;
    gr_str s;

    if (k->of == STRING) {
        if (k->count > left(g) / 8)
            return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\" is said to hold %zu strings, %zu bytes are left",
                           g->path, NAME(k->name), k->count, left(g));
        for (size_t i = 0; i < k->count; i++)
            if (!take_str(g, &s))
                return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\": string %zu of %zu passes the end of the file",
                               g->path, NAME(k->name), i + 1, k->count);
        return GRAM_OK;
    }
    if (!gr_mul(k->count, kind[k->of].bytes, &bytes) || bytes > left(g))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\" is said to hold %zu of %s, %zu bytes are left", g->path,
                       NAME(k->name), k->count, kind[k->of].name, left(g));
    for (size_t i = 0; k->of == BOOL && i < k->count; i++)
        if (k->p[i] > 1)
            return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\": a bool is 0 or 1, found %u", g->path, NAME(k->name),
                           k->p[i]);
    g->at += bytes;
    return GRAM_OK;
}

static gram_status take_key(gr_gguf *g, struct key *k, gram_err *err)
{
    uint64_t count = 1;

    if (!take_str(g, &k->name) || !take(g, &k->kind, sizeof k->kind))
        return ends_early(g, "a key", err);
    if (memchr(k->name.p, 0, k->name.n))
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s...\" has a NUL in its name", g->path, NAME(k->name));
    k->of = k->kind;
    if (k->kind == ARRAY && (!take(g, &k->of, sizeof k->of) || !take(g, &count, sizeof count)))
        return ends_early(g, "an array's count", err);
    if (k->kind >= KINDS || k->of >= KINDS)
        return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\": value kind %" PRIu32 " is none of the %d there are",
                       g->path, NAME(k->name), k->kind >= KINDS ? k->kind : k->of, KINDS);
    if (k->of == ARRAY)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: key \"%.*s\": an array of arrays is not supported", g->path,
                       NAME(k->name));
    k->count = (size_t)count;
    k->p = g->map.data + g->at;
    return take_value(g, k, err);
}

static int str_order(gr_str a, gr_str b)
{
    int c = memcmp(a.p, b.p, gr_min(a.n, b.n));

    return c ? c : a.n < b.n ? -1 : a.n > b.n;
}

static int key_order(const void *a, const void *b)
{
    return str_order(((const struct key *)a)->name, ((const struct key *)b)->name);
}

static gram_status take_keys(gr_gguf *g, uint64_t n, gram_err *err)
{
    if (n > left(g) / 13)                   /* the shortest: a length, a kind, a byte */
        return gr_fail(err, GRAM_EFORMAT, "%s: said to hold %" PRIu64 " keys, %zu bytes are left", g->path, n, left(g));
    g->key = gr_calloc((size_t)n, sizeof *g->key);
    if (!g->key)
        return gr_nomem(err, g->path);
    for (; g->n_keys < n; g->n_keys++) {
        gram_status rc = take_key(g, &g->key[g->n_keys], err);
        if (rc)
            return rc;
    }
    qsort(g->key, g->n_keys, sizeof *g->key, key_order);
    for (size_t i = 1; i < g->n_keys; i++)
        if (str_order(g->key[i - 1].name, g->key[i].name) == 0)
            return gr_fail(err, GRAM_EFORMAT, "%s: key \"%.*s\" is there twice", g->path, NAME(g->key[i].name));
    return GRAM_OK;
}

/* ---- Tensors -------------------------------------------------------------------------------------- */

static gram_status type_of(const gr_gguf *g, const char *tensor, uint32_t id, gr_dtype *out, gram_err *err)
{
    static const struct { const char *name; int type; } ggml[] = {      /* type -1: not one of ours */
        [0] = { "F32", GR_F32 },    [1] = { "F16", GR_F16 },    [2] = { "Q4_0", GR_Q4_0 },  [3] = { "Q4_1", GR_Q4_1 },
        [4] = { "Q4_2", -1 },       [5] = { "Q4_3", -1 },       [6] = { "Q5_0", GR_Q5_0 },  [7] = { "Q5_1", GR_Q5_1 },
        [8] = { "Q8_0", GR_Q8_0 },  [9] = { "Q8_1", -1 },       [10] = { "Q2_K", GR_Q2_K }, [11] = { "Q3_K", GR_Q3_K },
        [12] = { "Q4_K", GR_Q4_K }, [13] = { "Q5_K", GR_Q5_K }, [14] = { "Q6_K", GR_Q6_K }, [15] = { "Q8_K", -1 },
        [16] = { "IQ2_XXS", GR_IQ2_XXS }, [17] = { "IQ2_XS", GR_IQ2_XS }, [18] = { "IQ3_XXS", GR_IQ3_XXS },
        [19] = { "IQ1_S", GR_IQ1_S }, [20] = { "IQ4_NL", GR_IQ4_NL }, [21] = { "IQ3_S", GR_IQ3_S },
        [22] = { "IQ2_S", GR_IQ2_S }, [23] = { "IQ4_XS", GR_IQ4_XS },
        [24] = { "I8", -1 },        [25] = { "I16", -1 },       [26] = { "I32", -1 },       [27] = { "I64", -1 },
        [28] = { "F64", GR_F64 },     [29] = { "IQ1_M", GR_IQ1_M }, [30] = { "BF16", GR_BF16 }, [34] = { "TQ1_0", -1 },
        [35] = { "TQ2_0", -1 },     [39] = { "MXFP4", -1 },     [40] = { "NVFP4", -1 },     [41] = { "Q1_0", -1 },
        [42] = { "Q2_0", -1 },
    };

    if (id >= GR_COUNT(ggml) || !ggml[id].name)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is of the unknown type %" PRIu32, g->path, tensor,
                       id);
    if (ggml[id].type < 0)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: tensor \"%s\" is %s; F64, F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, "
                       "Q5_1, Q2_K to Q6_K and IQ1_S to IQ4_XS are supported", g->path, tensor, ggml[id].name);
    *out = (gr_dtype)ggml[id].type;
    return GRAM_OK;
}

/* The offset is left in *offset until it is known where the tensor bytes begin. */
static gram_status take_tensor(gr_gguf *g, gr_named *t, uint64_t *offset, gram_err *err)
{
    uint64_t dim[GR_COUNT(t->dim)];
    uint32_t n_dims, type;
    gr_str name;
    gram_status rc;

    if (!take_str(g, &name) || !take(g, &n_dims, sizeof n_dims))
        return ends_early(g, "the list of tensors", err);
    if (memchr(name.p, 0, name.n))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%.*s...\" has a NUL in its name", g->path, NAME(name));
    if (!gr_buf_add(&g->name_text, name.p, name.n) || !gr_buf_add(&g->name_text, "", 1))
        return gr_nomem(err, g->path);
    t->name = g->name_text.p + g->name_text.n - name.n - 1;     /* until the text moves; settled at the end */
    if (n_dims > GR_COUNT(dim))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" has %" PRIu32 " dimensions, at most %zu wanted", g->path,
                       t->name, n_dims, GR_COUNT(dim));
    if (!take(g, dim, n_dims * sizeof *dim) || !take(g, &type, sizeof type) || !take(g, offset, sizeof *offset))
        return ends_early(g, "the list of tensors", err);
    t->n_dims = n_dims;
    for (size_t i = 0; i < n_dims; i++)
        t->dim[n_dims - 1 - i] = (size_t)dim[i];
    rc = type_of(g, t->name, type, &t->type, err);
    if (rc)
        return rc;
    if (n_dims && t->dim[n_dims - 1] % gr_dtype_block(t->type))
        return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": rows of %zu values are not whole blocks of %zu (%s)",
                       g->path, t->name, t->dim[n_dims - 1], gr_dtype_block(t->type), gr_dtype_name(t->type));
    if (!gr_named_bytes(t, &t->bytes))
        return gr_fail(err, GRAM_EFORMAT, n_dims ? "%s: tensor \"%s\": its shape has more values than memory has"
                       : "%s: tensor \"%s\": a single value is not a block", g->path, t->name);
    return GRAM_OK;
}

static gram_status read_alignment(const gr_gguf *g, size_t *out, gram_err *err)
{
    uint64_t a = 32;

    if (gr_gguf_has(g, "general.alignment") && !gr_gguf_u64(g, "general.alignment", &a))
        return gr_fail(err, GRAM_EFORMAT, "%s: general.alignment is not a whole number", g->path);
    if (a < 8 || (a & (a - 1)) || a > SIZE_MAX / 2)
        return gr_fail(err, GRAM_EFORMAT, "%s: general.alignment is a power of two from 8 on, found %" PRIu64, g->path,
                       a);
    *out = (size_t)a;
    return GRAM_OK;
}

/* Turns the offsets into places, once the whole list is read. */
static gram_status place_tensors(gr_gguf *g, const uint64_t *offset, gram_err *err)
{
    const char *name = g->name_text.p;
    size_t align = 0, base, size;
    gram_status rc = read_alignment(g, &align, err);

    if (rc)
        return rc;
    base = g->at + (align - g->at % align) % align;     /* cannot wrap: both are at most SIZE_MAX / 2 */
    size = base < g->map.size ? g->map.size - base : 0; /* no padding is needed where no bytes follow */
    for (size_t i = 0; i < g->names.n; i++, name += strlen(name) + 1) {
        gr_named *t = &g->names.t[i];
        t->name = name;
        if (offset[i] % align)
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" at offset %" PRIu64 ", a multiple of %zu wanted",
                           g->path, name, offset[i], align);
        if (offset[i] > size || t->bytes > size - offset[i])
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": %" PRIu64 " bytes wanted at offset %" PRIu64
                           ", the file has %zu there", g->path, name, t->bytes, offset[i],
                           offset[i] > size ? 0 : size - (size_t)offset[i]);
        t->data = g->map.data + (t->bytes ? base + (size_t)offset[i] : 0);
    }
    return GRAM_OK;
}

static gram_status take_tensors(gr_gguf *g, uint64_t n, gram_err *err)
{
    uint64_t *offset = NULL;
    gram_status rc = GRAM_OK;

    if (n > left(g) / 24)                   /* the shortest: a length, a count, a type, an offset */
        return gr_fail(err, GRAM_EFORMAT, "%s: said to hold %" PRIu64 " tensors, %zu bytes are left", g->path, n,
                       left(g));
    g->names.t = gr_calloc((size_t)n, sizeof *g->names.t);
    offset = gr_calloc((size_t)n, sizeof *offset);
    if (!g->names.t || !offset)
        rc = gr_nomem(err, g->path);
    for (; !rc && g->names.n < n; g->names.n++)
        rc = take_tensor(g, &g->names.t[g->names.n], &offset[g->names.n], err);
    if (!rc)
        rc = place_tensors(g, offset, err);
    if (!rc)
        rc = gr_names_index(&g->names, g->path, err);
    if (!rc)
        rc = gr_names_apart(&g->names, g->path, err);
    free(offset);
    return rc;
}

/* ---- The file ------------------------------------------------------------------------------------- */

static gram_status read_all(gr_gguf *g, gram_err *err)
{
    uint64_t n_tensors, n_keys;
    uint32_t version;
    char magic[4];
    gram_status rc;

    if (!take(g, magic, 4) || memcmp(magic, "GGUF", 4))
        return gr_fail(err, GRAM_EFORMAT, "%s: not a GGUF file: its first bytes are not \"GGUF\"", g->path);
    if (!take(g, &version, sizeof version))
        return ends_early(g, "the header", err);
    if (version != 2 && version != 3) {
        uint32_t swapped = __builtin_bswap32(version);
        return gr_fail(err, GRAM_EUNSUPPORTED,
                       "%s: GGUF version %" PRIu32 "%s is not supported; 2 and 3, little-endian, "
                       "are", g->path, swapped < version ? swapped : version, swapped < version ? " big-endian" : "");
    }
    if (!take(g, &n_tensors, sizeof n_tensors) || !take(g, &n_keys, sizeof n_keys))
        return ends_early(g, "the header", err);
    rc = take_keys(g, n_keys, err);
    return rc ? rc : take_tensors(g, n_tensors, err);
}

gram_status gr_gguf_open(gr_gguf **out, const char *path, gram_err *err)
{
    gr_gguf *g = gr_calloc(1, sizeof *g);
    gram_status rc;

    *out = NULL;
    if (!g)
        return gr_nomem(err, path);
    g->path = gr_strdup(path);
    rc = g->path ? gr_map_open(&g->map, path, err) : gr_nomem(err, path);
    if (!rc)
        rc = read_all(g, err);
    if (rc) {
        gr_gguf_close(g);
        return rc;
    }
    *out = g;
    return GRAM_OK;
}

void gr_gguf_release(const gr_gguf *g)
{
    gr_map_release(&g->map);
}

void gr_gguf_close(gr_gguf *g)
{
    if (!g)
        return;
    free(g->key);
    gr_names_clear(&g->names);
    gr_buf_clear(&g->name_text);
    gr_map_close(&g->map);
    free(g->path);
    free(g);
}

const gr_names *gr_gguf_names(const gr_gguf *g)
{
    return &g->names;
}

uint64_t gr_gguf_file_bytes(const gr_gguf *g)
{
    return g->map.size;
}

/* ---- Asking for keys ------------------------------------------------------------------------------ */

static const struct key *find(const gr_gguf *g, const char *name)
{
    struct key wanted = { .name = { name, strlen(name) } };

    return g->n_keys ? bsearch(&wanted, g->key, g->n_keys, sizeof *g->key, key_order) : NULL;
}

static const struct key *find_one(const gr_gguf *g, const char *name)
{
    const struct key *k = find(g, name);

    return k && k->kind != ARRAY ? k : NULL;
}

/* The i-th element as a number: whole ones exactly in *i64 (or, above INT64_MAX, as *big), all in the result. */
static bool number(const struct key *k, size_t i, double *d, int64_t *i64, uint64_t *u64)
{
    const unsigned char *p = k->p + i * kind[k->of].bytes;
    union { uint8_t u8; int8_t i8; uint16_t u16; int16_t i16; uint32_t u32; int32_t i32; float f32; uint64_t u64;
            int64_t i64; double f64; } v;

    if (k->of == STRING || k->of == BOOL)
        return false;
    memcpy(&v, p, kind[k->of].bytes);
    *i64 = -1;
    *u64 = 0;
    switch ((enum kind)k->of) {
    case F32: *d = (double)v.f32; return true;
    case F64: *d = v.f64;         return true;
    case I8:  *i64 = v.i8;  break;
    case I16: *i64 = v.i16; break;
    case I32: *i64 = v.i32; break;
    case I64: *i64 = v.i64; break;
    case U8:  *u64 = v.u8;  break;
    case U16: *u64 = v.u16; break;
    case U32: *u64 = v.u32; break;
    case U64: *u64 = v.u64; break;
    case BOOL: case STRING: case ARRAY: case KINDS: return false;
    }
    if (k->of == U8 || k->of == U16 || k->of == U32 || k->of == U64)
        *i64 = *u64 <= INT64_MAX ? (int64_t)*u64 : INT64_MAX;
    else
        *u64 = *i64 < 0 ? 0 : (uint64_t)*i64;
    *d = *i64 < 0 ? (double)*i64 : (double)*u64;
    return true;
}

static bool is_whole(const struct key *k)
{
    return k->of != F32 && k->of != F64;
}

bool gr_gguf_has(const gr_gguf *g, const char *key)
{
    return find(g, key) != NULL;
}

bool gr_gguf_key(const gr_gguf *g, size_t i, gr_str *out)
{
    if (i < g->n_keys)
        *out = g->key[i].name;
    return i < g->n_keys;
}

bool gr_gguf_str(const gr_gguf *g, const char *key, gr_str *out)
{
    const struct key *k = find_one(g, key);
    uint64_t n;

    if (!k || k->of != STRING)
        return false;
    memcpy(&n, k->p, sizeof n);
    *out = (gr_str){ (const char *)k->p + 8, (size_t)n };
    return true;
}

bool gr_gguf_u64(const gr_gguf *g, const char *key, uint64_t *out)
{
    const struct key *k = find_one(g, key);
    double d;
    int64_t i;
    uint64_t u;

    if (!k || !is_whole(k) || !number(k, 0, &d, &i, &u) || i < 0)
        return false;
    *out = u;
    return true;
}

bool gr_gguf_f64(const gr_gguf *g, const char *key, double *out)
{
    const struct key *k = find_one(g, key);
    int64_t i;
    uint64_t u;

    return k && number(k, 0, out, &i, &u);
}

bool gr_gguf_bool(const gr_gguf *g, const char *key, bool *out)
{
    const struct key *k = find_one(g, key);

    if (!k || k->of != BOOL)
        return false;
    *out = k->p[0] != 0;
    return true;
}

size_t gr_gguf_count(const gr_gguf *g, const char *key)
{
    const struct key *k = find(g, key);

    return k && k->kind == ARRAY ? k->count : 0;
}

static const struct key *find_array(const gr_gguf *g, const char *name)
{
    const struct key *k = find(g, name);

    return k && k->kind == ARRAY ? k : NULL;
}

bool gr_gguf_strs(const gr_gguf *g, const char *key, gr_str *out)
{
    const struct key *k = find_array(g, key);
    const unsigned char *p;

    if (!k || k->of != STRING)
        return false;
    p = k->p;
    for (size_t i = 0; i < k->count; i++) {
        uint64_t n;
        memcpy(&n, p, sizeof n);
        out[i] = (gr_str){ (const char *)p + 8, (size_t)n };
        p += 8 + n;
    }
    return true;
}

bool gr_gguf_f32s(const gr_gguf *g, const char *key, float *out)
{
    const struct key *k = find_array(g, key);

    if (!k)
        return false;
    for (size_t i = 0; i < k->count; i++) {
        double d;
        int64_t whole;
        uint64_t u;
        if (!number(k, i, &d, &whole, &u))
            return false;
        out[i] = (float)d;
    }
    return true;
}

bool gr_gguf_i32s(const gr_gguf *g, const char *key, int32_t *out)
{
    const struct key *k = find_array(g, key);

    if (!k || !is_whole(k))
        return false;
    for (size_t i = 0; i < k->count; i++) {
        double d;
        int64_t whole;
        uint64_t u;
        if (!number(k, i, &d, &whole, &u) || whole < INT32_MIN || whole > INT32_MAX)
            return false;
        out[i] = (int32_t)whole;
    }
    return true;
}

bool gr_gguf_bools(const gr_gguf *g, const char *key, bool *out)
{
    const struct key *k = find_array(g, key);

    if (!k || k->of != BOOL)
        return false;
    for (size_t i = 0; i < k->count; i++)
        out[i] = k->p[i] != 0;
    return true;
}
