/* test_weights.c - files of the official libraries read back, and hostile ones: every prefix and every changed byte
 * of small files, and lies told one at a time. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"

#define GOLDEN "tests/golden/files/"

/* ---- What scripts/golden_files.py wrote ----------------------------------------------------------- */

static float value(const char *name, size_t k)
{
    return (float)((int)((7 * k + strlen(name)) % 65) - 32) / 4;
}

static void check_values(const gr_named *t, const char *name)
{
    gr_tensor m = gr_named_tensor(t);
    size_t n = m.rows * m.cols;
    float *y = check_fenced(n * sizeof *y);

    gr_dequant(y, t->data, t->type, n);
    for (size_t k = 0; k < n; k++)
        if (y[k] < value(name, k) || y[k] > value(name, k))
            fail_msg("%s at %zu: %g, wanted %g", t->name, k, (double)y[k], (double)value(name, k));
}

static const gr_named *need(const gr_weights *w, const char *name, gr_dtype type, size_t n_dims)
{
    const gr_named *t = gr_weights_find(w, name);

    if (!t)
        fail_msg("%s is missing", name);
    assert_string_equal(t->name, name);
    assert_int_equal(t->type, type);
    assert_int_equal(t->n_dims, n_dims);
    return t;
}

static void safetensors_of_every_type(void **state)
{
    gr_weights *w;
    const gr_named *t;

    (void)state;
    CHECK_OK(gr_weights_open_dir(&w, GOLDEN, &check_err));
    assert_int_equal(gr_weights_count(w), 6);
    assert_string_equal(gr_weights_path(w), GOLDEN);
    assert_null(gr_weights_gguf(w));
    assert_int_equal(gr_weights_file_bytes(w), 606);
    t = need(w, "f32", GR_F32, 2);
    assert_true(t->dim[0] == 3 && t->dim[1] == 5 && t->bytes == 60);
    check_values(t, "f32");
    check_values(need(w, "f16", GR_F16, 2), "f16");
    check_values(need(w, "bf16", GR_BF16, 1), "bf16");
    t = need(w, "four", GR_F32, 4);
    assert_int_equal(gr_named_tensor(t).rows, 12);
    check_values(t, "four");
    check_values(need(w, "scalar", GR_F32, 0), "scalar");
    assert_int_equal(need(w, "empty", GR_F32, 2)->bytes, 0);
    assert_null(gr_weights_find(w, "none"));
    assert_null(gr_weights_find(w, ""));
    for (size_t i = 0; i < gr_weights_count(w); i++)
        assert_ptr_equal(gr_weights_find(w, gr_weights_at(w, i)->name), gr_weights_at(w, i));
    gr_weights_close(w);
}

static void shards_make_one_table(void **state)
{
    gr_weights *w;

    (void)state;
    CHECK_OK(gr_weights_open_dir(&w, GOLDEN "sharded", &check_err));
    assert_int_equal(gr_weights_count(w), 3);
    check_values(need(w, "a.weight", GR_F32, 2), "a.weight");
    check_values(need(w, "b.weight", GR_BF16, 2), "b.weight");
    check_values(need(w, "c.weight", GR_F16, 2), "c.weight");
    gr_weights_close(w);
}

static void unaligned_tensors_are_copied(void **state)
{
    gr_st *st;

    (void)state;
    CHECK_OK(gr_st_open(&st, GOLDEN "unaligned.safetensors", &check_err));
    assert_int_equal(gr_st_count(st), 2);
    for (size_t i = 0; i < 2; i++) {
        const gr_named *t = gr_st_at(st, i);
        assert_int_equal((uintptr_t)t->data % gr_dtype_bytes(t->type), 0);
        check_values(t, t->name);
    }
    gr_st_close(st);
}

static void check_gguf(const char *path)
{
    static const gr_dtype exact[] = { GR_F32, GR_F16, GR_BF16 }, blocks[] = { GR_Q8_0, GR_Q4_0, GR_Q4_1, GR_Q5_0,
                                                                              GR_Q5_1 };
    gr_weights *w;
    const gr_named *t;
    char name[16];

    CHECK_OK(gr_weights_open_gguf(&w, path, &check_err));
    assert_int_equal(gr_weights_count(w), 12);
    for (size_t i = 0; i < GR_COUNT(exact) + GR_COUNT(blocks); i++) {
        gr_dtype type = i < GR_COUNT(exact) ? exact[i] : blocks[i - GR_COUNT(exact)];
        snprintf(name, sizeof name, "%s", gr_dtype_name(type));
        for (char *p = name; *p; p++)
            *p = (char)(*p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
        t = need(w, name, type, 2);
        assert_true(t->dim[0] == 3 && t->dim[1] == 64);
        if (i < GR_COUNT(exact))
            check_values(t, name);
    }
    t = need(w, "q4_k", GR_Q4_K, 2);
    assert_true(t->dim[0] == 2 && t->dim[1] == 256 && t->bytes == 288);
    for (size_t i = 0; i < t->bytes; i++)
        assert_int_equal(((const unsigned char *)t->data)[i], i % 256);
    t = need(w, "cube", GR_F32, 3);
    assert_true(t->dim[0] == 2 && t->dim[1] == 3 && t->dim[2] == 4);
    check_values(t, "cube");
    gr_weights_close(w);
}

static void gguf_of_every_type(void **state)
{
    (void)state;
    check_gguf(GOLDEN "v3.gguf");
    check_gguf(GOLDEN "v2.gguf");
    check_gguf(GOLDEN "align64.gguf");
}

static void gguf_keys_of_every_kind(void **state)
{
    gr_weights *w;
    const gr_gguf *g;
    uint64_t u;
    double d;
    bool b, bools[3];
    gr_str s, strs[3];
    float f[3];
    int32_t i32[3];

    (void)state;
    CHECK_OK(gr_weights_open_gguf(&w, GOLDEN "v3.gguf", &check_err));
    g = gr_weights_gguf(w);
    assert_true(gr_gguf_u64(g, "t.u8", &u) && u == 200);
    assert_true(gr_gguf_u64(g, "t.u16", &u) && u == 60000);
    assert_true(gr_gguf_u64(g, "t.u32", &u) && u == 4000000000u);
    assert_true(gr_gguf_u64(g, "t.u64", &u) && u == (UINT64_C(1) << 63) + 5);
    assert_false(gr_gguf_u64(g, "t.i8", &u));
    assert_false(gr_gguf_u64(g, "t.f32", &u));
    assert_false(gr_gguf_u64(g, "t.bool", &u));
    assert_true(gr_gguf_f64(g, "t.i8", &d) && d == -3);
    assert_true(gr_gguf_f64(g, "t.i16", &d) && d == -300);
    assert_true(gr_gguf_f64(g, "t.i32", &d) && d == -70000);
    assert_true(gr_gguf_f64(g, "t.i64", &d) && d == -0x1p40);
    assert_true(gr_gguf_f64(g, "t.f32", &d) && d == 0.15625);
    assert_true(gr_gguf_f64(g, "t.f64", &d) && d == 1e-300);
    assert_true(gr_gguf_bool(g, "t.bool", &b) && b);
    assert_false(gr_gguf_bool(g, "t.u8", &b));
    assert_true(gr_gguf_str(g, "t.string", &s) && s.n == 6 && !memcmp(s.p, "na\xc3\xafve", 6));
    assert_false(gr_gguf_str(g, "t.strings", &s));
    assert_false(gr_gguf_f64(g, "t.string", &d));
    assert_false(gr_gguf_has(g, "t"));
    assert_true(gr_gguf_has(g, "t.strings"));
    assert_int_equal(gr_gguf_count(g, "t.strings"), 3);
    assert_int_equal(gr_gguf_count(g, "t.string"), 0);
    assert_true(gr_gguf_strs(g, "t.strings", strs) && strs[0].n == 0 && strs[1].n == 2 && strs[2].n == 40);
    assert_true(gr_gguf_i32s(g, "t.i32s", i32) && i32[0] == 1 && i32[1] == -2 && i32[2] == 3);
    assert_true(gr_gguf_f32s(g, "t.f32s", f) && f[0] == 0.5f && f[1] == -0.25f);
    assert_true(gr_gguf_bools(g, "t.bools", bools) && bools[0] && !bools[1] && bools[2]);
    assert_false(gr_gguf_i32s(g, "t.f32s", i32));
    assert_false(gr_gguf_i32s(g, "t.strings", i32));
    assert_false(gr_gguf_f32s(g, "t.strings", f));
    assert_false(gr_gguf_strs(g, "t.i32s", strs));
    gr_weights_close(w);
}

/* ---- Hostile files -------------------------------------------------------------------------------- */

static char *read_golden(const char *name, size_t *n)
{
    char path[128], *p;

    snprintf(path, sizeof path, GOLDEN "%s", name);
    CHECK_OK(gr_read_file(path, 1 << 20, &p, n, &check_err));
    return p;
}

static const char *write_temp(const void *p, size_t n)
{
    static char path[256];
    FILE *f;

    snprintf(path, sizeof path, "%s/hostile", check_tmpdir());
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    return path;
}

/* Opens the file; where that succeeds, every byte of every tensor must be there to read. */
static gram_status open_file(const char *path, bool gguf)
{
    gr_weights *w = NULL;
    gr_st *st = NULL;
    gram_status rc = gguf ? gr_weights_open_gguf(&w, path, &check_err) : gr_st_open(&st, path, &check_err);
    volatile unsigned sum = 0;

    if (rc) {
        assert_null(w);
        assert_null(st);
        assert_true(strlen(check_err.text) > strlen(path));
        return rc;
    }
    for (size_t i = 0; i < (gguf ? gr_weights_count(w) : gr_st_count(st)); i++) {
        const gr_named *t = gguf ? gr_weights_at(w, i) : gr_st_at(st, i);
        for (uint64_t k = 0; k < t->bytes; k++)
            sum += ((const unsigned char *)t->data)[k];
    }
    (void)sum;
    gr_weights_close(w);
    gr_st_close(st);
    return GRAM_OK;
}

static gram_status open_bytes(const void *p, size_t n, bool gguf)
{
    return open_file(write_temp(p, n), gguf);
}

/* Each byte of the header changed in three ways, then the file cut shorter and shorter. */
static void sweep(const char *name, bool gguf, size_t header)
{
    size_t n;
    char *p = read_golden(name, &n);
    const char *path = write_temp(p, n);
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    for (size_t i = 0; i < header; i++) {
        const char changed[] = { (char)(p[i] ^ 1), (char)(p[i] ^ 0x80), (char)~p[i] };
        for (size_t k = 0; k < 3; k++) {
            assert_int_equal(pwrite(fd, changed + k, 1, (off_t)i), 1);
            open_file(path, gguf);          /* an error or a valid file: no crash, no byte outside */
        }
        assert_int_equal(pwrite(fd, p + i, 1, (off_t)i), 1);
    }
    CHECK_OK(open_file(path, gguf));
    for (size_t k = n; k-- > 0;) {
        assert_int_equal(ftruncate(fd, (off_t)k), 0);
        if (open_file(path, gguf) == GRAM_OK)
            fail_msg("%s opened with %zu of %zu bytes", name, k, n);
    }
    close(fd);
    free(p);
}

static void safetensors_cut_and_changed(void **state)
{
    (void)state;
    sweep("model.safetensors", false, 8 + 400);
    sweep("unaligned.safetensors", false, 8 + 113);
}

static void gguf_cut_and_changed(void **state)
{
    (void)state;
    sweep("v3.gguf", true, 1300);
}

/* A .safetensors of a header and so many bytes. */
static gram_status open_header(const char *header, size_t data)
{
    uint64_t n = strlen(header);
    char *p = calloc(1, 8 + n + data + 1);
    gram_status rc;

    memcpy(p, &n, 8);
    memcpy(p + 8, header, n);
    rc = open_bytes(p, 8 + n + data, false);
    free(p);
    return rc;
}

static void safetensors_lies_are_named(void **state)
{
    static const struct { const char *header; size_t data; gram_status rc; const char *says; } bad[] = {
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, GRAM_EFORMAT,
          "\"a\" is said to be bytes 0 to 8 of 7" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, GRAM_EFORMAT, "9 bytes follow" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, GRAM_EFORMAT,
          "12 bytes wanted for its shape, found 8" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, GRAM_EFORMAT, "bytes 8 to 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, GRAM_EFORMAT, "dimension 0" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}", 0, GRAM_EFORMAT,
          "more values" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, GRAM_EUNSUPPORTED,
          "5 dimensions" },
        { "{\"a\":{\"dtype\":\"F8_E5M2\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, GRAM_EUNSUPPORTED,
          "tensor \"a\" is F8_E5M2" },
        { "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, GRAM_EFORMAT, "no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, GRAM_EFORMAT, "no shape" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, GRAM_EFORMAT, "data_offsets" },
        { "{\"a\":3}", 4, GRAM_EFORMAT, "\"a\" has no dtype" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
          "\"data_offsets\":[4,12]}}",
          12, GRAM_EFORMAT, "share bytes" },
        { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"F32\",\"shape\":[1],"
          "\"data_offsets\":[4,8]}}",
          8, GRAM_EFORMAT, "duplicate" },
        { "[1]", 0, GRAM_EFORMAT, "not a JSON object" },
        { "{", 0, GRAM_EFORMAT, "line 1" },
    };

    (void)state;
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_status rc = open_header(bad[i].header, bad[i].data);
        if (rc != bad[i].rc || !strstr(check_err.text, bad[i].says))
            fail_msg("%s: status %d, \"%s\"", bad[i].header, rc, rc ? check_err.text : "");
    }
    assert_int_equal(open_bytes("\0\0\0\0\0\0\0\0{}", 10, false), GRAM_EFORMAT);
    assert_int_equal(open_bytes("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10, false), GRAM_EFORMAT);
    assert_int_equal(open_bytes("\2\0\0\0\0\0\0\0{}", 10, false), GRAM_OK);
}

static void float64_is_read_in_both_formats(void **state)
{
    gr_weights *w;
    gr_st *st;

    (void)state;
    CHECK_OK(gr_st_open(&st, GOLDEN "f64.safetensors", &check_err));
    assert_int_equal(gr_st_at(st, 0)->type, GR_F64);
    check_values(gr_st_at(st, 0), "f64");
    gr_st_close(st);
    CHECK_OK(gr_weights_open_gguf(&w, GOLDEN "f64.gguf", &check_err));
    check_values(need(w, "f64", GR_F64, 2), "f64");
    gr_weights_close(w);
}

/* Of small tensors each byte is told apart, of large ones the first, the last and those of the pieces between. */
static void weights_are_known_by_more_than_their_beginnings(void **state)
{
    static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[64,256],\"data_offsets\":[0,65536]},"
                                 "\"b\":{\"dtype\":\"F32\",\"shape\":[256,1024],\"data_offsets\":[65536,1114112]}}";
    enum { BYTES = 1114112, A = 65536 };
    const size_t n = sizeof header - 1, step = (BYTES - A - 4096) / 15;
    const size_t at[] = { 5000, 40000, A - 1, A, A + 7 * step + 2000, A + 14 * step + 100, BYTES - 4096, BYTES - 1 };
    const uint64_t length = n;
    char *p = calloc(1, 8 + n + BYTES);
    uint64_t first = 0, h[GR_COUNT(at)];
    (void)state;

    assert_non_null(p);
    memcpy(p, &length, sizeof length);
    memcpy(p + 8, header, n);
    for (size_t i = 0; i <= GR_COUNT(at); i++) {
        char *dir = check_tmppath("sampled"), path[512];
        gr_weights *w;
        if (i)
            p[8 + n + at[i - 1]] ^= 1;
        CHECK_OK(gr_make_directory(dir, &check_err));
        snprintf(path, sizeof path, "%s/model.safetensors", dir);
        CHECK_OK(gr_write_file(path, p, 8 + n + BYTES, &check_err));
        CHECK_OK(gr_weights_open_dir(&w, dir, &check_err));
        *(i ? &h[i - 1] : &first) = gr_weights_sample(w);
        gr_weights_release(w);                  /* another use gives the same */
        assert_true(gr_weights_sample(w) == (i ? h[i - 1] : first));
        gr_weights_close(w);
        if (i)
            p[8 + n + at[i - 1]] ^= 1;
        remove(path);
        rmdir(dir);
        free(dir);
    }
    for (size_t i = 0; i < GR_COUNT(at); i++)
        if (h[i] == first)
            fail_msg("byte %zu of the weights is not seen", at[i]);
    free(p);
}

static void types_are_refused_by_name(void **state)
{
    gr_weights *w;
    gr_st *st;

    (void)state;
    assert_int_equal(gr_st_open(&st, GOLDEN "int64.safetensors", &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "tensor \"ids\" is I64"));
    assert_int_equal(gr_weights_open_gguf(&w, GOLDEN "tq1.gguf", &check_err), GRAM_EUNSUPPORTED);
    assert_non_null(strstr(check_err.text, "tensor \"odd\" is TQ1_0"));
}

/* A GGUF written by hand, little by little. */
static gr_buf made;

static void u32(uint32_t v) { assert_true(gr_buf_add(&made, &v, 4)); }
static void u64(uint64_t v) { assert_true(gr_buf_add(&made, &v, 8)); }
static void str(const char *s) { u64(strlen(s)); assert_true(gr_buf_add(&made, s, strlen(s))); }

static void head(uint32_t version, uint64_t tensors, uint64_t keys)
{
    gr_buf_clear(&made);
    assert_true(gr_buf_puts(&made, "GGUF"));
    u32(version);
    u64(tensors);
    u64(keys);
}

static void tensor(const char *name, uint64_t cols, uint32_t type, uint64_t offset)
{
    str(name);
    u32(1);
    u64(cols);
    u32(type);
    u64(offset);
}

static void pad(size_t more)
{
    char zero[64] = { 0 };

    assert_true(gr_buf_add(&made, zero, (32 - made.n % 32) % 32));
    for (; more > 0; more -= gr_min(more, sizeof zero))
        assert_true(gr_buf_add(&made, zero, gr_min(more, sizeof zero)));
}

static void refused(gram_status rc, const char *says)
{
    assert_int_equal(open_bytes(made.p, made.n, true), rc);
    if (rc && !strstr(check_err.text, says))
        fail_msg("\"%s\", wanted \"%s\"", check_err.text, says);
}

static void gguf_lies_are_named(void **state)
{
    (void)state;
    head(1, 0, 0);
    refused(GRAM_EUNSUPPORTED, "GGUF version 1 is not supported");
    head(0x03000000, 0, 0);
    refused(GRAM_EUNSUPPORTED, "GGUF version 3 big-endian is not supported");
    head(4, 0, 0);
    refused(GRAM_EUNSUPPORTED, "GGUF version 4");
    head(3, UINT64_MAX, 0);
    refused(GRAM_EFORMAT, "18446744073709551615 tensors, 0 bytes are left");
    head(3, 0, UINT64_C(1) << 40);
    refused(GRAM_EFORMAT, "1099511627776 keys");
    head(3, 0, 1), str("k"), u32(9), u32(4), u64(UINT64_MAX / 2);
    refused(GRAM_EFORMAT, "key \"k\" is said to hold");
    head(3, 0, 1), str("k"), u32(9), u32(8), u64(UINT64_MAX);
    refused(GRAM_EFORMAT, "key \"k\" is said to hold");
    head(3, 0, 1), str("k"), u32(9), u32(8), u64(1), u64(5), u32(0);
    refused(GRAM_EFORMAT, "string 1 of 1 passes the end");
    head(3, 0, 1), str("k"), u32(9), u32(9), u64(1), u64(0);
    refused(GRAM_EUNSUPPORTED, "array of arrays");
    head(3, 0, 1), str("k"), u32(13), u64(0);
    refused(GRAM_EFORMAT, "value kind 13");
    head(3, 0, 1), str("k"), u32(7), u64(2);
    refused(GRAM_EFORMAT, "a bool is 0 or 1, found 2");
    head(3, 0, 2), str("k"), u32(4), u32(1), str("k"), u32(4), u32(2);
    refused(GRAM_EFORMAT, "key \"k\" is there twice");
    head(3, 0, 1), str("general.alignment"), u32(4), u32(24), pad(0);
    refused(GRAM_EFORMAT, "general.alignment");
    head(3, 0, 1), str("general.alignment"), u32(8), str("x"), pad(0);
    refused(GRAM_EFORMAT, "general.alignment");
    head(3, 0, 1), str("split.count"), u32(4), u32(3);
    refused(GRAM_EARG, "split into 3");
    head(3, 0, 1), str("split.count"), u32(10), u64(UINT64_MAX);
    refused(GRAM_EFORMAT, "18446744073709551615 parts");

    head(3, 1, 0), tensor("a", 8, 0, 0), pad(32);
    refused(GRAM_OK, "");
    head(3, 1, 0), tensor("a", 8, 0, 0), pad(31);
    refused(GRAM_EFORMAT, "tensor \"a\": 32 bytes wanted at offset 0, the file has 31");
    head(3, 1, 0), tensor("a", 8, 0, 4), pad(64);
    refused(GRAM_EFORMAT, "tensor \"a\" at offset 4, a multiple of 32 wanted");
    head(3, 1, 0), tensor("a", 8, 0, UINT64_MAX - 31), pad(64);
    refused(GRAM_EFORMAT, "tensor \"a\": 32 bytes wanted");
    head(3, 1, 0), tensor("a", UINT64_MAX, 0, 0), pad(64);
    refused(GRAM_EFORMAT, "more values");
    head(3, 1, 0), tensor("a", 33, 8, 0), pad(64);
    refused(GRAM_EFORMAT, "rows of 33 values are not whole blocks of 32 (Q8_0)");
    head(3, 1, 0), tensor("a", 8, 24, 0), pad(64);
    refused(GRAM_EUNSUPPORTED, "tensor \"a\" is I8");
    head(3, 1, 0), tensor("a", 8, 77, 0), pad(64);
    refused(GRAM_EUNSUPPORTED, "unknown type 77");
    head(3, 2, 0), tensor("a", 8, 0, 0), tensor("a", 8, 0, 32), pad(64);
    refused(GRAM_EFORMAT, "tensor \"a\" is there twice");
    head(3, 2, 0), tensor("a", 16, 0, 0), tensor("b", 8, 0, 32), pad(64);
    refused(GRAM_EFORMAT, "tensors \"a\" and \"b\" share bytes");
    head(3, 1, 0), str("a"), u32(5), u64(1), u64(1), u64(1), u64(1), u64(1), u32(0), u64(0), pad(64);
    refused(GRAM_EFORMAT, "5 dimensions");
    gr_buf_clear(&made);
    assert_true(gr_buf_puts(&made, "PK\3\4 a zip"));
    refused(GRAM_EFORMAT, "not a GGUF file");
}

/* A directory with an index and links to the golden shards. */
static gram_status open_index(const char *index)
{
    char dir[256], path[300], *p;
    size_t n;
    gr_weights *w;
    FILE *f;
    gram_status rc;

    snprintf(dir, sizeof dir, "%s", check_tmpdir());
    for (int i = 1; i <= 2; i++) {
        snprintf(path, sizeof path, "sharded/model-0000%d-of-00002.safetensors", i);
        p = read_golden(path, &n);
        snprintf(path, sizeof path, "%s/%d.safetensors", dir, i);
        f = fopen(path, "wb");
        assert_int_equal(fwrite(p, 1, n, f), n);
        fclose(f);
        free(p);
    }
    snprintf(path, sizeof path, "%s/model.safetensors.index.json", dir);
    f = fopen(path, "wb");
    fputs(index, f);
    fclose(f);
    rc = gr_weights_open_dir(&w, dir, &check_err);
    if (!rc)
        gr_weights_close(w);
    return rc;
}

static void index_lies_are_named(void **state)
{
    static const struct { const char *index, *says; } bad[] = {
        { "{}", "no \"weight_map\"" },
        { "{\"weight_map\":{\"a.weight\":\"../1.safetensors\"}}", "a plain file name is wanted, found \"../1" },
        { "{\"weight_map\":{\"a.weight\":\"..\"}}", "a plain file name is wanted" },
        { "{\"weight_map\":{\"a.weight\":\"\"}}", "a plain file name is wanted" },
        { "{\"weight_map\":{\"a.weight\":7}}", "a plain file name is wanted" },
        { "{\"weight_map\":{\"a.weight\":\"3.safetensors\"}}", "3.safetensors: No such file" },
        { "{\"weight_map\":{\"a.weight\":\"1.safetensors\",\"x\":\"2.safetensors\"}}",
          "tensor \"x\" is not in its shard" },
        { "{\"weight_map\":{\"a.weight\":\"2.safetensors\",\"c.weight\":\"1.safetensors\"}}", "is not in its shard" },
    };

    (void)state;
    CHECK_OK(open_index("{\"weight_map\":{\"a.weight\":\"1.safetensors\",\"c.weight\":\"2.safetensors\"}}"));
    for (size_t i = 0; i < GR_COUNT(bad); i++) {
        gram_status rc = open_index(bad[i].index);
        if (!rc || !strstr(check_err.text, bad[i].says))
            fail_msg("%s: status %d, \"%s\"", bad[i].index, rc, rc ? check_err.text : "");
    }
}

static void missing_weights_are_named(void **state)
{
    gr_weights *w;

    (void)state;
    assert_int_equal(gr_weights_open_dir(&w, GOLDEN "none", &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "model.safetensors"));
    assert_int_equal(gr_weights_open_gguf(&w, GOLDEN "none.gguf", &check_err), GRAM_EIO);
    assert_string_equal(check_err.text, GOLDEN "none.gguf: No such file or directory");
    assert_int_equal(gr_weights_open_gguf(&w, GOLDEN, &check_err), GRAM_EIO);
    assert_non_null(strstr(check_err.text, "directory"));
}

int main(void)
{
    const struct CMUnitTest test[] = {
        cmocka_unit_test(safetensors_of_every_type),
        cmocka_unit_test(shards_make_one_table),
        cmocka_unit_test(unaligned_tensors_are_copied),
        cmocka_unit_test(gguf_of_every_type),
        cmocka_unit_test(gguf_keys_of_every_kind),
        cmocka_unit_test(safetensors_cut_and_changed),
        cmocka_unit_test(gguf_cut_and_changed),
        cmocka_unit_test(safetensors_lies_are_named),
        cmocka_unit_test(gguf_lies_are_named),
        cmocka_unit_test(float64_is_read_in_both_formats),
        cmocka_unit_test(weights_are_known_by_more_than_their_beginnings),
        cmocka_unit_test(types_are_refused_by_name),
        cmocka_unit_test(index_lies_are_named),
        cmocka_unit_test(missing_weights_are_named),
    };
    int rc = cmocka_run_group_tests(test, NULL, NULL);

    gr_buf_clear(&made);
    return rc;
}
