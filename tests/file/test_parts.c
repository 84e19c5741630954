/* test_parts.c - a split GGUF opens as the one it was split from, and parts that are missing or not its own are named.
 * scripts/golden_files.py made both with the gguf package. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "check.h"
#include "file/io.h"
#include "file/weights.h"

#define GOLDEN "tests/golden/files/"

static void same_tensors(const gr_weights *a, const gr_weights *b)
{
    assert_int_equal(gr_weights_count(a), gr_weights_count(b));
    for (size_t i = 0; i < gr_weights_count(a); i++) {
        const gr_named *x = gr_weights_at(a, i), *y = gr_weights_find(b, x->name);
        assert_non_null(y);
        assert_true(x->type == y->type && x->n_dims == y->n_dims && x->bytes == y->bytes);
        assert_memory_equal(x->dim, y->dim, x->n_dims * sizeof *x->dim);
        assert_memory_equal(x->data, y->data, x->bytes);
    }
    assert_true(gr_weights_digest(a) == gr_weights_digest(b));
}

static void parts_open_as_one(void **state)
{
    gr_weights *whole, *parts;
    gr_str s;
    uint64_t n;

    (void)state;
    CHECK_OK(gr_weights_open_gguf(&whole, GOLDEN "v3.gguf", &check_err));
    CHECK_OK(gr_weights_open_gguf(&parts, GOLDEN "split-00001-of-00003.gguf", &check_err));
    same_tensors(whole, parts);
    same_tensors(parts, whole);
    assert_true(gr_gguf_str(gr_weights_gguf(parts), "t.string", &s) && gr_str_is(s, "na\xc3\xafve"));
    assert_true(gr_gguf_u64(gr_weights_gguf(parts), "split.tensors.count", &n) && n == gr_weights_count(parts));
    assert_true(gr_weights_file_bytes(parts) > gr_weights_file_bytes(whole));
    gr_weights_release(parts);
    same_tensors(parts, whole);
    gr_weights_close(whole);
    gr_weights_close(parts);
}

/* Copies a part under another name; with `at` not 0 the byte there is changed. */
static void put(const char *as, int from, size_t at, char byte)
{
    char path[512], *p;
    size_t n;

    snprintf(path, sizeof path, GOLDEN "split-%05d-of-00003.gguf", from);
    CHECK_OK(gr_read_file(path, 1 << 20, &p, &n, &check_err));
    assert_true(at < n);
    if (at)
        p[at] = byte;
    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), as);
    CHECK_OK(gr_write_file(path, p, n, &check_err));
    free(p);
}

static void fails(const char *name, gram_status want, const char *const *says)
{
    char path[512];
    gr_weights *w;
    gram_status got;

    snprintf(path, sizeof path, "%s/%s", check_tmpdir(), name);
    got = gr_weights_open_gguf(&w, path, &check_err);
    assert_null(w);
    for (; *says; says++)
        if (got != want || !strstr(check_err.text, *says))
            fail_msg("%s: %d, \"%s\"; wanted %d and \"%s\"", name, got, check_err.text, want, *says);
}
#define FAILS(name, want, ...) fails(name, want, (const char *const[]){ __VA_ARGS__, NULL })

/* Where the value of split.no or the like stands in a part. */
static size_t place_of(int part, const char *key)
{
    char path[512], *p, *hit;
    size_t n, at;

    snprintf(path, sizeof path, GOLDEN "split-%05d-of-00003.gguf", part);
    CHECK_OK(gr_read_file(path, 1 << 20, &p, &n, &check_err));
    hit = memmem(p, n, key, strlen(key));
    assert_non_null(hit);
    at = (size_t)(hit - p) + strlen(key) + 4;           /* behind the kind of the value */
    free(p);
    return at;
}

static void parts_that_do_not_fit_are_named(void **state)
{
#define FIRST "m-00001-of-00003.gguf"
    (void)state;
    put(FIRST, 1, 0, 0);
    FAILS(FIRST, GRAM_EIO, "m-00002-of-00003.gguf: part 2", "is missing", "merge");
    put("m-00002-of-00003.gguf", 2, 0, 0);
    FAILS(FIRST, GRAM_EIO, "m-00003-of-00003.gguf: part 3", "is missing");
    FAILS("m-00002-of-00003.gguf", GRAM_EARG, "part 2", "-00001-of-00003.gguf");
    put("m-00003-of-00003.gguf", 2, 0, 0);
    FAILS(FIRST, GRAM_EFORMAT, "m-00003-of-00003.gguf: keys split.no", "wanted 2 and 3, found 1 and 3");
    put("m-00003-of-00003.gguf", 3, place_of(3, "split.count"), 4);
    FAILS(FIRST, GRAM_EFORMAT, "m-00003-of-00003.gguf: keys split.no", "found 2 and 4");
    put("m-00003-of-00003.gguf", 3, 0, 0);
    put("x.gguf", 1, 0, 0);
    FAILS("x.gguf", GRAM_EARG, "split into 3", "must end in -00001-of-00003.gguf");
    put(FIRST, 1, place_of(1, "split.tensors.count"), 13);
    FAILS(FIRST, GRAM_EFORMAT, "13 tensors", "found 12");
    put(FIRST, 1, place_of(1, "split.count"), 2);       /* the name says 3 */
    FAILS(FIRST, GRAM_EARG, "split into 2", "-00001-of-00002.gguf");
    put(FIRST, 1, 0, 0);
    put("m-00003-of-00003.gguf", 3, 1, 'g');
    FAILS(FIRST, GRAM_EFORMAT, "m-00003-of-00003.gguf: not a GGUF file");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_open_as_one),
        cmocka_unit_test(parts_that_do_not_fit_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
