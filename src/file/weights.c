/* weights.c - one table of tensors over a GGUF file or its parts, one .safetensors file, or the shards that an index
 * names. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "base/digest.h"
#include "base/err.h"
#include "file/adapter.h"
#include "file/file_int.h"

#define INDEX_LIMIT ((size_t)64 << 20)

struct gr_weights {
    char *path;
    gr_gguf *gguf;                  /* either this, */
    gr_gguf **part;                 /* with the other parts of a split model, */
    size_t n_parts;
    gr_st **st;                     /* or these, in the order of their names */
    size_t n_st;
    gr_names names;                 /* of all shards: those of st[0], then those of st[1] ...; or of all parts */
    gr_scaled *made;                /* [n_made] */
    size_t n_made;
    size_t *first;                  /* [n_st + 1]: where each shard's tensors begin in names.t */
};

static gr_weights *weights_new(const char *path)
{
    gr_weights *w = gr_calloc(1, sizeof *w);

    if (w)
        w->path = gr_strdup(path);
    if (w && w->path)
        return w;
    free(w);
    return NULL;
}

static void append(gr_names *to, const gr_names *from)
{
    for (size_t i = 0; i < from->n; i++)
        to->t[to->n++] = from->t[i];
}

/* One table of the tensors of all parts. */
static gram_status open_parts(gr_weights *w, gram_err *err)
{
    size_t n = gr_gguf_names(w->gguf)->n;
    gram_status rc = gr_gguf_parts(&w->part, &w->n_parts, w->gguf, w->path, err);

    if (rc || w->n_parts == 0)
        return rc;
    for (size_t i = 0; i < w->n_parts; i++)
        n += gr_gguf_names(w->part[i])->n;
    w->names.t = gr_calloc(n, sizeof *w->names.t);
    if (!w->names.t)
        return gr_nomem(err, w->path);
    append(&w->names, gr_gguf_names(w->gguf));
    for (size_t i = 0; i < w->n_parts; i++)
        append(&w->names, gr_gguf_names(w->part[i]));
    return gr_names_index(&w->names, w->path, err);
}

gram_status gr_weights_open_gguf(gr_weights **out, const char *path, gram_err *err)
{
    gr_weights *w = weights_new(path);
    gram_status rc;

    *out = NULL;
    if (!w)
        return gr_nomem(err, path);
    rc = gr_gguf_open(&w->gguf, path, err);
    if (!rc)
        rc = open_parts(w, err);
    if (rc) {
        gr_weights_close(w);
        return rc;
    }
    *out = w;
    return GRAM_OK;
}

/* Opens the n files of the directory and makes one table of them. */
static gram_status open_shards(gr_weights *w, const char *const *name, size_t n, gram_err *err)
{
    w->st = gr_calloc(n, sizeof *w->st);
    w->first = gr_calloc(n + 1, sizeof *w->first);
    if (!w->st || !w->first)
        return gr_nomem(err, w->path);
    for (size_t i = 0; i < n; i++) {
        char *path = gr_path_join(w->path, name[i]);
        gram_status rc = path ? gr_st_open_codes(&w->st[i], path, err) : gr_nomem(err, w->path);
        free(path);
        if (rc)
            return rc;
        w->n_st++;
        w->first[i + 1] = w->first[i] + gr_st_count(w->st[i]);
    }
    w->names.t = gr_calloc(w->first[n], sizeof *w->names.t);
    if (!w->names.t)
        return gr_nomem(err, w->path);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < gr_st_count(w->st[i]); j++)
            w->names.t[w->names.n++] = *gr_st_at(w->st[i], j);
    return gr_names_index(&w->names, w->path, err);
}

/* A name that cannot lead out of the directory. */
static bool is_plain(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") && strcmp(name, "..");
}

static int shard_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of the map in order; borrowed from it, the array is the caller's. */
static gram_status list_shards(const char *path, json_t *map, const char ***out, size_t *n, gram_err *err)
{
    const char **shard = gr_calloc(json_object_size(map) + 1, sizeof *shard), *tensor;     /* and a value head */
    size_t count = 0, kept = 0;
    json_t *v;

    *out = shard;
    *n = 0;
    if (!shard)
        return gr_nomem(err, path);
    json_object_foreach(map, tensor, v) {
        shard[count] = json_string_value(v);
        if (!shard[count] || !is_plain(shard[count]))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\": a plain file name is wanted%s%s%s", path, tensor,
                           shard[count] ? ", found \"" : "", shard[count] ? shard[count] : "",
                           shard[count] ? "\"" : "");
        count++;
    }
    qsort(shard, count, sizeof *shard, shard_order);
    for (size_t i = 0; i < count; i++)
        if (i == 0 || strcmp(shard[i], shard[kept - 1]))
            shard[kept++] = shard[i];
    *n = kept;
    return GRAM_OK;
}

/* Each tensor of the map must be in the shard that the map names. */
static gram_status check_map(const gr_weights *w, const char *path, json_t *map, const char *const *shard,
                             size_t n_shards, gram_err *err)
{
    const char *tensor;
    json_t *v;

    json_object_foreach(map, tensor, v) {
        const char *want = json_string_value(v);
        const gr_named *t = gr_names_find(&w->names, tensor);
        const char *const *s = bsearch(&want, shard, n_shards, sizeof *shard, shard_order);
        size_t i = (size_t)(s - shard), at = t ? (size_t)(t - w->names.t) : 0;
        if (!t || at < w->first[i] || at >= w->first[i + 1])
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" is not in its shard \"%s\"", path, tensor, want);
    }
    return GRAM_OK;
}

/* Without memory that could run out and mean no. */
static bool has_value_head(const gr_weights *w)
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/" GR_VALUE_HEAD, w->path);

    return n > 0 && (size_t)n < sizeof path && gr_path_exists(path);
}

static gram_status open_index(gr_weights *w, const char *path, gram_err *err)
{
    const char **shard = NULL;
    json_t *root = NULL, *map;
    char *text = NULL;
    size_t n, n_shards;
    gram_status rc = gr_read_file(path, INDEX_LIMIT, &text, &n, err);

    if (rc)
        return rc;
    rc = gr_json_parse(&root, path, text, n, err);
    if (rc)
        goto out;
    map = json_object_get(root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0) {
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no \"weight_map\" that names tensors", path);
        goto out;
    }
    rc = list_shards(path, map, &shard, &n_shards, err);
    if (!rc) {
        size_t n_map = n_shards;
        bool listed = false;
        for (size_t i = 0; i < n_map; i++)
            listed = listed || !strcmp(shard[i], GR_VALUE_HEAD);
        if (!listed && has_value_head(w))
            shard[n_shards++] = GR_VALUE_HEAD;
        rc = open_shards(w, shard, n_shards, err);
        if (!rc)
            rc = check_map(w, path, map, shard, n_map, err);
    }
out:
    free(shard);
    json_decref(root);
    free(text);
    return rc;
}

/* A directory that gram convert wrote. */
static gram_status open_packed(gr_weights *w, gram_err *err)
{
    static const char *const name[] = { GR_PACKED_WEIGHTS };
    gram_status rc = open_shards(w, name, 1, err);

    if (!rc && gr_weights_packed_count(w) == 0)
        rc = gr_fail(err, GRAM_EFORMAT, "%s/" GR_PACKED_WEIGHTS ": no weights of 8 bits that gram convert wrote are in "
                     "it", w->path);
    return rc;
}

gram_status gr_weights_check_none(const char *dir, gram_err *err)
{
    static const char *const name[] = { "model.safetensors", "model.safetensors.index.json", GR_PACKED_WEIGHTS,
                                        GR_ADAPTER_WEIGHTS };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(name) && !rc; i++) {
        char *path = gr_path_join(dir, name[i]);
        if (!path)
            rc = gr_nomem(err, dir);
        else if (gr_path_exists(path))
            rc = gr_fail(err, GRAM_EARG, "%s is there already, and is not written over", path);
        free(path);
    }
    return rc;
}

static gram_status open_dir(gr_weights *w, size_t threads, gram_err *err)
{
    static const char *const single[] = { "model.safetensors", GR_VALUE_HEAD };
    char *packed = gr_path_join(w->path, GR_PACKED_WEIGHTS);
    char *one = gr_path_join(w->path, single[0]);
    char *index = gr_path_join(w->path, "model.safetensors.index.json");
    char *pickle = gr_path_join(w->path, "pytorch_model.bin");
    gram_status rc;

    if (!one || !index || !pickle || !packed)
        rc = gr_nomem(err, w->path);
    else if (gr_path_exists(packed) && (gr_path_exists(one) || gr_path_exists(index)))
        rc = gr_fail(err, GRAM_EARG, "%s: both " GR_PACKED_WEIGHTS " and other weights are there: a directory has one "
                     "model", w->path);
    else if (gr_path_exists(packed))
        rc = open_packed(w, err);
    else if (gr_path_exists(one))
        rc = open_shards(w, single, has_value_head(w) ? 2 : 1, err);
    else if (gr_path_exists(index))
        rc = open_index(w, index, err);
    else
        rc = gr_fail(err, GRAM_EIO, "%s: neither model.safetensors nor model.safetensors.index.json is there%s",
                     w->path,
                     gr_path_exists(pickle) ? " (pytorch_model.bin holds Python objects and is not read)" : "");
    free(one);
    free(index);
    free(pickle);
    free(packed);
    return rc ? rc : gr_unpack(&w->names, &w->made, &w->n_made, w->path, threads, err);
}

gram_status gr_weights_open_dir(gr_weights **out, const char *dir, gram_err *err)
{
    return gr_weights_open_dir_by(out, dir, 1, err);
}

gram_status gr_weights_open_dir_by(gr_weights **out, const char *dir, size_t threads, gram_err *err)
{
    gr_weights *w = weights_new(dir);
    gram_status rc;

    *out = NULL;
    if (!w)
        return gr_nomem(err, dir);
    rc = open_dir(w, threads, err);
    if (rc) {
        gr_weights_close(w);
        return rc;
    }
    *out = w;
    return GRAM_OK;
}

void gr_weights_release(const gr_weights *w)
{
    if (w->gguf)
        gr_gguf_release(w->gguf);
    for (size_t i = 0; i < w->n_parts; i++)
        gr_gguf_release(w->part[i]);
    for (size_t i = 0; i < w->n_st; i++)
        gr_st_release(w->st[i]);
}

void gr_weights_close(gr_weights *w)
{
    if (!w)
        return;
    gr_gguf_close(w->gguf);
    for (size_t i = 0; i < w->n_parts; i++)
        gr_gguf_close(w->part[i]);
    free(w->part);
    gr_names_clear(&w->names);
    for (size_t i = 0; i < w->n_st; i++)
        gr_st_close(w->st[i]);
    for (size_t i = 0; i < w->n_made; i++)
        free(w->made[i].data);
    free(w->made);
    free(w->st);
    free(w->first);
    free(w->path);
    free(w);
}

static const gr_names *names_of(const gr_weights *w)
{
    return w->gguf && !w->n_parts ? gr_gguf_names(w->gguf) : &w->names;
}

const char *gr_weights_path(const gr_weights *w)
{
    return w->path;
}

const gr_named *gr_weights_find(const gr_weights *w, const char *name)
{
    return gr_names_find(names_of(w), name);
}

size_t gr_weights_count(const gr_weights *w)
{
    return names_of(w)->n;
}

const gr_named *gr_weights_at(const gr_weights *w, size_t i)
{
    return &names_of(w)->t[i];
}

/* A directory has one such file at most. */
static const gr_names *packed_of(const gr_weights *w)
{
    static const gr_names none;

    return w->n_st ? gr_st_packed(w->st[0]) : &none;
}

size_t gr_weights_packed_count(const gr_weights *w)
{
    return packed_of(w)->n;
}

const gr_named *gr_weights_packed_at(const gr_weights *w, size_t i)
{
    return &packed_of(w)->t[i];
}

const gr_named *gr_weights_packed(const gr_weights *w, const char *name)
{
    return gr_names_find(packed_of(w), name);
}

size_t gr_weights_scaled_count(const gr_weights *w)
{
    return w->n_made;
}

const gr_scaled *gr_weights_scaled_at(const gr_weights *w, size_t i)
{
    return &w->made[i];
}

uint64_t gr_weights_file_bytes(const gr_weights *w)
{
    uint64_t bytes = w->gguf ? gr_gguf_file_bytes(w->gguf) : 0;

    for (size_t i = 0; i < w->n_parts; i++)
        bytes += gr_gguf_file_bytes(w->part[i]);
    for (size_t i = 0; i < w->n_st; i++)
        bytes += gr_st_file_bytes(w->st[i]);
    return bytes;
}

uint64_t gr_weights_digest(const gr_weights *w)
{
    enum { FIRST = 4096 };                  /* bytes of each: all of a large checkpoint would take minutes to read */
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; i < gr_weights_count(w); i++) {
        const gr_named *t = gr_weights_at(w, i);
        h = gr_digest(h, t->name, strlen(t->name) + 1);
        h = gr_digest(h, &t->type, sizeof t->type);
        h = gr_digest(h, t->dim, t->n_dims * sizeof t->dim[0]);
        h = gr_digest(h, t->data, t->bytes < FIRST ? t->bytes : FIRST);
    }
    for (size_t i = 0; i < gr_weights_packed_count(w); i++) {
        const gr_named *t = gr_weights_packed_at(w, i);
        h = gr_digest(gr_digest_tensor(h, t), t->data, t->bytes < FIRST ? t->bytes : FIRST);
    }
    return h;
}

/* At most as many bytes of a tensor as of the smallest that is not read whole. */
static uint64_t sample(uint64_t h, const gr_named *t)
{
    enum { PIECE = 4096, PIECES = 16 };
    const char *p = t->data;

    h = gr_digest_tensor(h, t);
    if (t->bytes <= PIECE * PIECES)
        return gr_digest_piece(h, p, t->bytes);
    for (size_t i = 0; i < PIECES; i++)
        h = gr_digest_piece(h, p + (t->bytes - PIECE) / (PIECES - 1) * i + (t->bytes - PIECE) % (PIECES - 1) * i /
                            (PIECES - 1), PIECE);
    return h;
}

uint64_t gr_weights_sample(const gr_weights *w)
{
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; i < gr_weights_count(w); i++)
        h = sample(h, gr_weights_at(w, i));
    for (size_t i = 0; i < gr_weights_packed_count(w); i++)
        h = sample(h, gr_weights_packed_at(w, i));
    return h;
}

const gr_gguf *gr_weights_gguf(const gr_weights *w)
{
    return w->gguf;
}
