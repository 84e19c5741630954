/* names.c - see file_int.h. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "file/file_int.h"

static int name_order(const void *a, const void *b, void *table)
{
    const gr_named *t = table;

    return strcmp(t[*(const size_t *)a].name, t[*(const size_t *)b].name);
}

static int place_order(const void *a, const void *b, void *table)
{
    const gr_named *t = table, *x = t + *(const size_t *)a, *y = t + *(const size_t *)b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;

    if (p != q)
        return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;      /* the empty first */
}

static size_t *sorted(const gr_names *a, int order(const void *, const void *, void *))
{
    size_t *index = gr_calloc(a->n, sizeof *index);

    if (!index)
        return NULL;
    for (size_t i = 0; i < a->n; i++)
        index[i] = i;
    qsort_r(index, a->n, sizeof *index, order, a->t);
    return index;
}

gram_status gr_names_index(gr_names *a, const char *path, gram_err *err)
{
    a->by_name = sorted(a, name_order);
    if (!a->by_name)
        return gr_nomem(err, path);
    for (size_t i = 1; i < a->n; i++)
        if (!strcmp(a->t[a->by_name[i]].name, a->t[a->by_name[i - 1]].name))
            return gr_fail(err, GRAM_EFORMAT, "%s: tensor \"%s\" is there twice", path, a->t[a->by_name[i]].name);
    return GRAM_OK;
}

const gr_named *gr_names_find(const gr_names *a, const char *name)
{
    size_t low = 0, high = a->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = strcmp(name, a->t[a->by_name[mid]].name);
        if (c == 0)
            return &a->t[a->by_name[mid]];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

void gr_names_clear(gr_names *a)
{
    free(a->t);
    free(a->by_name);
    *a = (gr_names){ 0 };
}

gram_status gr_names_apart(const gr_names *a, const char *path, gram_err *err)
{
    size_t *index = sorted(a, place_order);
    gram_status rc = GRAM_OK;

    if (!index)
        return gr_nomem(err, path);
    for (size_t i = 1; i < a->n && !rc; i++) {
        const gr_named *x = a->t + index[i - 1], *y = a->t + index[i];
        if ((uintptr_t)y->data - (uintptr_t)x->data < x->bytes)
            rc = gr_fail(err, GRAM_EFORMAT, "%s: tensors \"%s\" and \"%s\" share bytes", path, x->name, y->name);
    }
    free(index);
    return rc;
}

bool gr_named_bytes(const gr_named *t, uint64_t *bytes)
{
    size_t rows = 1, row;

    for (size_t i = 0; i + 1 < t->n_dims; i++)
        if (!gr_mul(rows, t->dim[i], &rows))
            return false;
    return gr_dtype_row_bytes(t->type, t->n_dims ? t->dim[t->n_dims - 1] : 1, &row) && gr_mul(rows, row, &row) &&
           (*bytes = row, true);
}

gr_tensor gr_named_tensor(const gr_named *t)
{
    gr_tensor out = { t->type, t->data, 1, t->n_dims ? t->dim[t->n_dims - 1] : 1 };

    for (size_t i = 0; i + 1 < t->n_dims; i++)
        out.rows *= t->dim[i];
    return out;
}

float gr_named_value(const gr_named *t, size_t i)
{
    float x;

    gr_dequant(&x, (const char *)t->data + i * gr_dtype_bytes(t->type), t->type, 1);
    return x;
}

/* ---- Digests of packed files ------------------------------------------------------------------------- */

uint64_t gr_digest_tensor(uint64_t h, const gr_named *t)
{
    const char *type = t->packed ? "I8" : gr_dtype_name(t->type);
    uint64_t what[1 + GR_COUNT(t->dim)] = { t->n_dims };

    for (size_t i = 0; i < t->n_dims; i++)
        what[1 + i] = t->dim[i];
    h = gr_digest(h, t->name, strlen(t->name) + 1);
    h = gr_digest(h, type, strlen(type) + 1);
    return gr_digest(h, what, sizeof what);
}

uint64_t gr_digest_piece(uint64_t h, const void *p, size_t n)
{
    h = gr_digest_words(h, p, n / sizeof(uint32_t));
    return gr_digest(h, (const char *)p + n - n % sizeof(uint32_t), n % sizeof(uint32_t));
}

uint64_t gr_digest_values(uint64_t h, const gr_named *t, const void *p)
{
    enum { PIECE = 4096 };
    size_t rows = gr_named_tensor(t).rows, n = t->packed ? gr_min(PIECE, t->bytes) : rows ? t->bytes / rows : 0;

    if (!t->packed && t->n_dims < 2)
        return gr_digest(h, p, t->bytes);
    h = gr_digest_piece(h, p, n);
    return gr_digest_piece(h, (const char *)p + t->bytes - n, n);
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

gram_status gr_json_parse(json_t **out, const char *name, const char *text, size_t n, gram_err *err)
{
    json_error_t e = { 0 };
    size_t mark;

    if (n >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2))) {
        *out = NULL;
        return gr_fail(err, GRAM_EFORMAT, "%s: begins with the byte-order mark of UTF-16; JSON is UTF-8", name);
    }
    mark = gr_utf8_mark(text, n);
    *out = json_loadb(text + mark, n - mark, JSON_REJECT_DUPLICATES, &e);
    if (*out)
        return GRAM_OK;
    if (json_error_code(&e) == json_error_out_of_memory || !*e.text)
        return gr_nomem(err, name);
    return gr_fail(err, GRAM_EFORMAT, "%s: line %d, column %d: %s", name, e.line, e.column, e.text);
}
