/* gguf_write.c - a GGUF file, version 3 (its layout is drawn in gguf.c), written atomically and row by row. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "file/gguf_write.h"
#include "file/io.h"

enum kind { U32 = 4, I32 = 5, F32 = 6, BOOL = 7, STRING = 8, ARRAY = 9 };
enum { ALIGN = 32 };

/* ---- Keys ----------------------------------------------------------------------------------------- */

static void add(gr_keys *k, const void *p, size_t n)
{
    k->failed = k->failed || !gr_buf_add(&k->bytes, p, n);
}

static void add_u32(gr_keys *k, uint32_t v)
{
    add(k, &v, sizeof v);
}

static void add_str(gr_keys *k, gr_str s)
{
    uint64_t n = s.n;

    add(k, &n, sizeof n);
    add(k, s.p, s.n);
}

static void begin(gr_keys *k, const char *key, enum kind kind)
{
    add_str(k, (gr_str){ key, strlen(key) });
    add_u32(k, kind);
    k->n++;
}

static void begin_array(gr_keys *k, const char *key, enum kind of, uint64_t n)
{
    begin(k, key, ARRAY);
    add_u32(k, of);
    add(k, &n, sizeof n);
}

void gr_keys_str(gr_keys *k, const char *key, gr_str v)
{
    begin(k, key, STRING);
    add_str(k, v);
}

void gr_keys_u32(gr_keys *k, const char *key, uint32_t v)
{
    begin(k, key, U32);
    add_u32(k, v);
}

void gr_keys_f32(gr_keys *k, const char *key, float v)
{
    begin(k, key, F32);
    add(k, &v, sizeof v);
}

void gr_keys_bool(gr_keys *k, const char *key, bool v)
{
    begin(k, key, BOOL);
    add(k, &(uint8_t){ v }, 1);
}

void gr_keys_strs(gr_keys *k, const char *key, const gr_str *v, size_t n)
{
    begin_array(k, key, STRING, n);
    for (size_t i = 0; i < n; i++)
        add_str(k, v[i]);
}

void gr_keys_f32s(gr_keys *k, const char *key, const float *v, size_t n)
{
    begin_array(k, key, F32, n);
    add(k, v, n * sizeof *v);
}

void gr_keys_i32s(gr_keys *k, const char *key, const int32_t *v, size_t n)
{
    begin_array(k, key, I32, n);
    add(k, v, n * sizeof *v);
}

void gr_keys_bools(gr_keys *k, const char *key, const bool *v, size_t n)
{
    begin_array(k, key, BOOL, n);
    for (size_t i = 0; i < n; i++)
        add(k, &(uint8_t){ v[i] }, 1);
}

void gr_keys_clear(gr_keys *k)
{
    gr_buf_clear(&k->bytes);
    *k = (gr_keys){ 0 };
}

/* ---- The file ------------------------------------------------------------------------------------- */

static uint32_t ggml_type(gr_dtype t)
{
    static const uint8_t id[GR_DTYPES] = {
        [GR_F32] = 0, [GR_F16] = 1, [GR_Q4_0] = 2, [GR_Q4_1] = 3, [GR_Q5_0] = 6, [GR_Q5_1] = 7, [GR_Q8_0] = 8,
        [GR_Q2_K] = 10, [GR_Q3_K] = 11, [GR_Q4_K] = 12, [GR_Q5_K] = 13, [GR_Q6_K] = 14, [GR_IQ2_XXS] = 16,
        [GR_IQ2_XS] = 17, [GR_IQ3_XXS] = 18, [GR_IQ1_S] = 19, [GR_IQ4_NL] = 20, [GR_IQ3_S] = 21, [GR_IQ2_S] = 22,
        [GR_IQ4_XS] = 23, [GR_IQ1_M] = 29, [GR_BF16] = 30, [GR_F64] = 28,
    };

    return id[t];
}

/* All that stands before the tensors' bytes. */
static bool add_head(gr_keys *h, const gr_keys *k, const gr_planned *t, size_t n)
{
    uint64_t at = 0, count = n;

    add(h, "GGUF", 4);
    add_u32(h, 3);
    add(h, &count, sizeof count);
    add(h, &k->n, sizeof k->n);
    add(h, k->bytes.p, k->bytes.n);
    for (size_t i = 0; i < n; i++) {
        uint64_t deep = t[i].deep, rows = deep ? t[i].rows / deep : t[i].rows;
        uint64_t dim[3] = { t[i].flat ? t[i].rows * t[i].cols : t[i].cols, rows, deep };
        uint32_t dims = t[i].flat ? 1 : deep ? 3 : 2;
        add_str(h, (gr_str){ t[i].name, strlen(t[i].name) });
        add_u32(h, dims);
        add(h, dim, dims * sizeof *dim);
        add_u32(h, ggml_type(t[i].type));
        add(h, &at, sizeof at);
        at = gr_round_up(at + gr_planned_bytes(&t[i]), ALIGN);
    }
    return !h->failed && !k->failed;
}

static gram_status pad(gr_out *o, size_t bytes, gram_err *err)
{
    static const char zero[ALIGN];

    return gr_out_write(o, zero, gr_round_up(bytes, ALIGN) - bytes, err);
}

gram_status gr_gguf_write(const char *path, const gr_keys *k, const gr_planned *t, size_t n, gr_row_fn *row, void *arg,
                          gram_err *err)
{
    gr_keys head = { 0 };
    gr_out *o = NULL;
    gram_status rc = add_head(&head, k, t, n) ? GRAM_OK : gr_nomem(err, path);

    if (!rc)
        rc = gr_out_open(&o, path, false, err);
    if (!rc)
        rc = gr_out_write(o, head.bytes.p, head.bytes.n, err);
    if (!rc)
        rc = pad(o, head.bytes.n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = gr_rows_write(o, path, t, i, row, arg, NULL, err);
        if (!rc)
            rc = pad(o, gr_planned_bytes(&t[i]), err);
    }
    if (!rc)
        rc = gr_out_commit(o, err);
    gr_out_close(o);
    gr_keys_clear(&head);
    return rc;
}
