/* test_cache.c - examples in a file: what is read is what was written, and a file that was changed anywhere, cut off or
 * made for another key is refused or gives the very same examples. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/random.h"
#include "check.h"
#include "file/io.h"
#include "train/cache.h"
#include "train/cache_int.h"

enum { ROWS = 5, VOCABULARY = 1 << 17 };
#define KEY "rows=of the test\n"

static int32_t draw_id(uint64_t *state, bool wide)
{
    return (int32_t)gr_random_below(state, wide ? VOCABULARY : 1 << 16);
}

/* Both sequences begin alike, and every third example has one alone. */
static gr_example draw(uint64_t i)
{
    uint64_t state = i + 1;
    gr_example e = { .asked = i, .asked_other = i % 3 == 2 ? 0 : i / 2, .verdict = i, .right = i % 2,
                     .target = 0.25 * (double)i, .weight = 1.5, .prompt = ~i,
                     .text = { 7 * i, UINT64_MAX - i }, .soft = 0.75, .margin = -2,
                     .tie = i % 2, .good = i % 3 == 0 };
    size_t shared = i + 1, rest = 3 * i + 1;

    for (size_t k = 0; k < shared; k++) {
        int32_t id = draw_id(&state, i % 2);
        assert_true(gr_ids_add(&e.seq[0], &id, 1));
        assert_true(i % 3 == 2 || gr_ids_add(&e.seq[1], &id, 1));
    }
    for (size_t k = 0; k < rest; k++) {
        int32_t id[2] = { draw_id(&state, i % 2), draw_id(&state, i % 2) };
        assert_true(gr_ids_add(&e.seq[0], &id[0], 1));
        assert_true(i % 3 == 2 || gr_ids_add(&e.seq[1], &id[1], 1));
    }
    return e;
}

static void same_ids(const gr_ids *a, const gr_ids *b)
{
    assert_int_equal(a->n, b->n);
    if (a->n)
        assert_memory_equal(a->p, b->p, a->n * sizeof *a->p);
}

static void same(const gr_example *a, const gr_example *b)
{
    same_ids(&a->seq[0], &b->seq[0]);
    same_ids(&a->seq[1], &b->seq[1]);
    assert_int_equal(a->asked, b->asked);
    assert_int_equal(a->asked_other, b->asked_other);
    assert_int_equal(a->verdict, b->verdict);
    assert_int_equal(a->right, b->right);
    assert_true(a->target == b->target && a->weight == b->weight && a->soft == b->soft && a->margin == b->margin);
    assert_true(a->prompt == b->prompt && a->text[0] == b->text[0] && a->text[1] == b->text[1]);
    assert_true(a->tie == b->tie && a->good == b->good);
}

/* The bytes of a file of ROWS rows and two warnings. */
static char *write_file(const char *path, size_t *n)
{
    gr_set counts = { .bad = 2, .ties = 3, .apart = 4 };
    gr_cache_writer *w;
    char *bytes;

    CHECK_OK(gr_cache_create(&w, path, KEY, &check_err));
    for (uint64_t i = 0; i < ROWS; i++) {
        gr_example e = draw(i);
        gr_set_digest(&counts, &e);
        gr_set_measure(&counts, &e);
        CHECK_OK(gr_cache_add(w, &e, &check_err));
        gr_example_clear(&e);
    }
    CHECK_OK(gr_cache_warn(w, "the first", &check_err));
    CHECK_OK(gr_cache_warn(w, "the second", &check_err));
    assert_false(gr_path_exists(path));
    CHECK_OK(gr_cache_finish(w, &counts, &check_err));
    gr_cache_drop(w);
    CHECK_OK(gr_read_file(path, 1 << 20, &bytes, n, &check_err));
    return bytes;
}

/* Takes all rows; whether each was given, and then right. */
static bool read_rows(const gr_set *s)
{
    gr_example room = { 0 };
    const gr_example *e;
    bool ok = true;

    for (size_t i = 0; i < s->n && ok; i++) {
        gr_example want = draw(i);
        ok = gr_set_get(s, i, &room, &e, &check_err) == GRAM_OK;
        if (ok)
            same(e, &want);
        gr_example_clear(&want);
    }
    gr_room_clear(&room);
    return ok;
}

static void what_is_read_is_what_was_written(void **state)
{
    char *path = check_tmppath("whole.rows"), *bytes;
    size_t n, at = 0;
    gr_set s, counts = { 0 };
    uint64_t text[2];
    double target;

    (void)state;
    bytes = write_file(path, &n);
    CHECK_OK(gr_cache_open(&s, path, KEY, VOCABULARY, &check_err));
    assert_int_equal(s.n, ROWS);
    assert_true(read_rows(&s));
    for (uint64_t i = 0; i < ROWS; i++) {
        gr_example e = draw(i);
        gr_set_pair(&s, i, text, &target);
        assert_true(text[0] == e.text[0] && text[1] == e.text[1] && target == e.target);
        gr_set_digest(&counts, &e);
        gr_set_measure(&counts, &e);
        gr_example_clear(&e);
    }
    assert_true(s.digest == counts.digest && s.share == counts.share);
    assert_true(s.longest == counts.longest && s.alone == counts.alone);
    assert_true(s.bad == 2 && s.ties == 3 && s.apart == 4);
    assert_string_equal(gr_cache_warning(s.cache, &at), "the first");
    assert_string_equal(gr_cache_warning(s.cache, &at), "the second");
    assert_null(gr_cache_warning(s.cache, &at));
    gr_set_clear(&s);
    assert_int_equal(gr_cache_open(&s, path, "rows=of others.. \n", VOCABULARY, &check_err), GRAM_EFORMAT);
    free(bytes), free(path);
}

static void ids_beyond_the_vocabulary_are_refused(void **state)
{
    char *path = check_tmppath("vocabulary.rows"), *bytes;
    size_t n;
    gr_set s;

    (void)state;
    bytes = write_file(path, &n);
    CHECK_OK(gr_cache_open(&s, path, KEY, 1000, &check_err));
    assert_false(read_rows(&s));
    gr_set_clear(&s);
    free(bytes), free(path);
}

/* Opens the bytes and takes all rows: refused somewhere, or right everywhere. */
static bool taken(const char *path, const char *bytes, size_t n)
{
    gr_set s;
    bool ok;

    CHECK_OK(gr_write_file(path, bytes, n, &check_err));
    if (gr_cache_open(&s, path, KEY, VOCABULARY, &check_err))
        return false;
    ok = s.n == ROWS && read_rows(&s);
    gr_set_clear(&s);
    return ok;
}

static void a_file_that_was_changed_is_refused(void **state)
{
    char *path = check_tmppath("changed.rows"), *bytes;
    size_t n, head = gr_round_up(GR_CACHE_HEAD + strlen(KEY), 8);

    (void)state;
    bytes = write_file(path, &n);
    for (size_t i = 0; i < n; i++) {
        bytes[i] ^= 0x40;
        if (taken(path, bytes, n) != (i >= GR_CACHE_HEAD + strlen(KEY) && i < head))    /* zeros behind the key */
            fail_msg("byte %zu of %zu was changed, and the file is %s", i, n, "taken or refused though it should not");
        bytes[i] ^= 0x40;
    }
    assert_true(taken(path, bytes, n));
    for (size_t cut = 0; cut < n; cut += cut < 64 ? 1 : 13)
        assert_false(taken(path, bytes, cut));
    free(bytes), free(path);
}

/* Places that lie outside, in a footer that is right by its own digest. */
static void places_outside_are_refused(void **state)
{
    char *path = check_tmppath("places.rows"), *bytes;
    size_t n;
    struct gr_cache_footer was, f;

    (void)state;
    bytes = write_file(path, &n);
    memcpy(&was, bytes + n - sizeof was, sizeof was);
    for (size_t field = 0; field < 3; field++)
        for (int how = 0; how < 5; how++) {
            uint64_t *x;
            f = was;
            x = field == 0 ? &f.rows : field == 1 ? &f.index : &f.warnings;
            *x = how == 0 ? 0 : how == 1 ? *x + 8 : how == 2 ? *x - 8 : how == 3 ? UINT64_MAX : UINT64_MAX / 32 + 2;
            f.digest = gr_digest_words(GR_DIGEST, &f, (sizeof f - sizeof f.digest) / 4);
            memcpy(bytes + n - sizeof f, &f, sizeof f);
            assert_false(taken(path, bytes, n));
        }
    free(bytes), free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_what_was_written),
        cmocka_unit_test(ids_beyond_the_vocabulary_are_refused),
        cmocka_unit_test(a_file_that_was_changed_is_refused),
        cmocka_unit_test(places_outside_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
