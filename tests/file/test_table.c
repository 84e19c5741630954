/* test_table.c - Parquet, Arrow, CSV and TSV read as lines of JSON and written from them. The Parquet and Arrow files
 * were written by pyarrow. Without DuckDB there is nothing to test but the sentence that says so. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include "check.h"
#include "file/arrow.h"
#include "file/io.h"
#include "file/table.h"

#define GOLDEN "tests/golden/table/"

static bool here(void)
{
    return !gr_table_ready("x.parquet", &check_err);
}

static char *put(const char *name, const char *text)
{
    char *path = check_tmppath(name);

    CHECK_OK(gr_write_file(path, text, strlen(text), &check_err));
    return path;
}

/* All lines of the file, with a newline after each. */
static char *all_lines(const char *path)
{
    gr_buf b = { 0 };
    gr_lines *l;
    const char *line;
    size_t n;

    CHECK_OK(gr_lines_open(&l, path, &check_err));
    for (;;) {
        CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
        if (!line)
            break;
        assert_true(gr_buf_add(&b, line, n) && gr_buf_puts(&b, "\n"));
    }
    gr_lines_close(l);
    assert_true(b.p != NULL || gr_buf_puts(&b, ""));
    return b.p;
}

static void reads(const char *path, const char *want)
{
    char *text = all_lines(path);

    assert_string_equal(text, want);
    free(text);
}

static void parquet_is_read_as_it_stands(void **state)
{
    (void)state;
    if (!here())
        skip();
    /* messages, long and short texts, a null, an integer that a double does not hold; row groups of two rows */
    reads(GOLDEN "rows.parquet",
          "{\"prompt\":[{\"role\":\"user\",\"content\":\"Wie geht's?\"}],\"chosen\":\"gut \xf0\x9f\x98\x80\",\"n\":"
          "4611686018427387905,\"score\":0.1,\"note\":null}\n"
          "{\"prompt\":[{\"role\":\"user\",\"content\":\"a \\\"quoted\\\" word\\nand a line\"}],"
          "\"chosen\":\"0123456789ab\",\"n\":1,\"score\":1.5,\"note\":\"2020-01-01\"}\n"
          "{\"prompt\":[],\"chosen\":\"0123456789abc\",\"n\":2,\"score\":-2e-300,\"note\":\"x\"}\n");
    reads(GOLDEN "named_t.parquet", "{\"t\":1,\"gram\":\"x\"}\n");      /* what SQL could take for the row's name */
    reads(GOLDEN "empty.parquet", "");
    /* binary data are no text, nor what is made of them; a column that nothing reads does no harm */
    reads(GOLDEN "binary.parquet",
          "{\"prompt\":\"q\",\"chosen\":{\"\\u001Aas it stands\":\"binary data\"},\"rejected\":\"x\","
          "\"images\":{\"\\u001Aas it stands\":\"binary data\"}}\n"
          "{\"prompt\":\"r\",\"chosen\":null,\"rejected\":\"y\","
          "\"images\":{\"\\u001Aas it stands\":\"binary data\"}}\n");
}

/* The same rows in both forms of Arrow, packed by LZ4, by zstd and not, with a dictionary, views and long offsets. */
static const char *const arrow_file[] = { GOLDEN "rows.arrow", GOLDEN "rows.arrows", GOLDEN "views.feather" };

static void arrow_is_read_as_parquet_is(void **state)
{
    char *want;

    (void)state;
    if (!here())
        skip();
    want = all_lines(GOLDEN "rows.parquet");
    for (size_t k = 0; k < GR_COUNT(arrow_file); k++)
        reads(arrow_file[k], want);
    free(want);
}

/* Whether the file opens and all of its rows are given. */
static bool arrow_opens(const char *path)
{
    int fd = open(path, O_RDONLY);
    gr_arrow *a;
    gr_arrow_schema schema;
    gr_arrow_array rows = { .release = NULL };
    gr_arrow_stream *s;
    bool ok = gr_arrow_open(&a, path, fd, &check_err) == GRAM_OK;

    if (ok) {
        s = gr_arrow_rows(a);
        assert_int_equal(s->get_schema(s, &schema), 0);
        while ((ok = s->get_next(s, &rows) == 0) && rows.release)
            rows.release(&rows);
        schema.release(&schema);
        assert_true(ok || strstr(s->get_last_error(s), path));
        gr_arrow_close(a);
    }
    close(fd);
    return ok;
}

/* A sanitizer sees what is read outside. */
static void damaged_arrow_is_read_within_its_bounds(void **state)
{
    char *path = check_tmppath("damaged.arrow"), *bytes;
    size_t n, given = 0;

    (void)state;
    for (size_t k = 0; k < GR_COUNT(arrow_file); k++) {
        CHECK_OK(gr_read_file(arrow_file[k], 1 << 20, &bytes, &n, &check_err));
        CHECK_OK(gr_write_file(path, bytes, n, &check_err));
        assert_true(arrow_opens(path));
        for (size_t i = 0; i < n; i++) {
            int fd = open(path, O_WRONLY);
            char x = (char)(bytes[i] ^ 1 << i % 8);
            assert_true(pwrite(fd, &x, 1, (off_t)i) == 1);
            given += arrow_opens(path);
            assert_true(pwrite(fd, &bytes[i], 1, (off_t)i) == 1);
            close(fd);
        }
        assert_int_equal(truncate(path, (off_t)n / 2), 0);
        assert_false(arrow_opens(path));
        free(bytes);
    }
    assert_true(given > 0);
    free(path);
}

/* Lengths whose product with the width of their values has 65 bits: whoever believed them would read what the file has
 * not. A column of integers is written, and each place where its type and its length may stand is changed. */
static void a_length_of_more_bytes_than_there_are_is_refused(void **state)
{
    enum { ROWS = 77 };
    const int32_t value[ROWS] = { 0 }, bits = 32, width = 1 << 24;
    const int64_t rows = ROWS, many = (int64_t)1 << 40;
    const void *buffer[] = { NULL, value };
    gr_arrow_schema column = { .format = "i", .name = "n" }, *columns = &column;
    gr_arrow_schema schema = { .format = "+s", .name = "", .n_children = 1, .children = &columns };
    gr_arrow_array array = { .length = ROWS, .n_buffers = 2, .buffers = buffer }, *arrays = &array;
    gr_arrow_array all = { .length = ROWS, .n_children = 1, .children = &arrays };
    char *path = check_tmppath("lengths.arrows"), *bytes;
    size_t n, tried = 0;
    gr_arrow_writer *w;

    (void)state;
    CHECK_OK(gr_arrow_create(&w, path, path, true, &schema, &check_err));
    CHECK_OK(gr_arrow_add(w, &all, &check_err));
    CHECK_OK(gr_arrow_finish(w, &check_err));
    gr_arrow_writer_close(w);
    assert_true(arrow_opens(path));
    CHECK_OK(gr_read_file(path, 1 << 20, &bytes, &n, &check_err));
    for (size_t i = 0; i + 8 <= n; i += 8)
        if (!memcmp(bytes + i, &rows, 8))
            memcpy(bytes + i, &many, 8);
    for (size_t at = 0; at + 4 <= n; at += 4)
        for (size_t kind = 0; kind < n && !memcmp(bytes + at, &bits, 4); kind++)
            if (bytes[kind] == 2) {                     /* an integer; 15: bytes of a fixed number */
                bytes[kind] = 15;
                memcpy(bytes + at, &width, 4);
                CHECK_OK(gr_write_file(path, bytes, n, &check_err));
                assert_false(arrow_opens(path));
                tried += strstr(check_err.text, "it does not begin") == NULL;
                bytes[kind] = 2;
                memcpy(bytes + at, &bits, 4);
            }
    assert_true(tried > 0);
    free(bytes), free(path);
}

static void csv_has_texts_alone(void **state)
{
    char *path;

    (void)state;
    if (!here())
        skip();
    path = put("a.csv", "prompt,chosen,rejected\n\"a \"\"q\"\"\nline\",007,\"x, y\"\n,\"\",2020-01-01\n");
    reads(path, "{\"prompt\":\"a \\\"q\\\"\\nline\",\"chosen\":\"007\",\"rejected\":\"x, y\"}\n"
                "{\"prompt\":null,\"chosen\":\"\",\"rejected\":\"2020-01-01\"}\n");
    free(path);
    path = put("a.tsv", "# prompt\tchosen\n# a, b\t\"c\td\"\n");
    reads(path, "{\"# prompt\":\"# a, b\",\"chosen\":\"c\\td\"}\n");
    free(path);
    path = put("strange [1]*?.csv", "a,b\n1,2\n");
    reads(path, "{\"a\":\"1\",\"b\":\"2\"}\n");
    free(path);
}

static void refused(const char *path, const char *why)
{
    gr_lines *l;
    const char *line = "";
    size_t n;
    gram_status rc = gr_lines_open(&l, path, &check_err);

    while (!rc && line)
        rc = gr_lines_next(l, &line, &n, &check_err);
    if (rc != GRAM_EIO || !strstr(check_err.text, why) || !strstr(check_err.text, path))
        fail_msg("%s: status %d, \"%s\"; wanted \"%s\"", path, (int)rc, rc ? check_err.text : "", why);
    gr_lines_close(l);
}

static void what_is_no_table_is_said(void **state)
{
    char *path;

    (void)state;
    if (!here())
        skip();
    path = put("ragged.csv", "a,b,c\n1,2\n");
    refused(path, "no table");
    free(path);
    path = put("utf.csv", "a,b\n1,\xff\n");
    refused(path, "utf-8");
    free(path);
    /* which of the two is meant would be a guess, and so would be what DuckDB makes of the second */
    path = put("two.csv", "prompt,Weight,weight\nq,1,2\n");
    refused(path, "two columns are called \"Weight\"");
    free(path);
    refused(GOLDEN "two_names.parquet", "two columns are called \"system\"");
    refused(GOLDEN "two_names.arrows", "two columns are called \"System\"");
    path = put("empty.csv", "");
    refused(path, "an empty file is no table");
    free(path);
    path = put("empty.parquet", "");
    refused(path, "an empty file is no table");
    free(path);
    path = put("page.csv", "<!DOCTYPE html>\n<html>Log in, please</html>\n");
    refused(path, "a page of HTML");
    free(path);
    path = put("pointer.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    refused(path, "Git LFS pointer");
    free(path);
    path = put("excel.csv", "\xff\xfe" "a");
    refused(path, "UTF-16");
    free(path);
    path = put("cut.parquet", "PAR1 and no more");
    refused(path, "No magic bytes");
    free(path);
    path = check_tmppath("cut.arrow");
    CHECK_OK(gr_write_file(path, "ARROW1\0\0 and no more", 20, &check_err));
    refused(path, "damaged or cut off");
    free(path);
    path = put("pointer.feather", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    refused(path, "Git LFS pointer");
    free(path);
    path = put("old.feather", "FEA1 and more\n");
    refused(path, "Feather file of version 1");
    free(path);
    path = put("pointer.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    refused(path, "Git LFS pointer");
    free(path);
}

/* What stands in a cell is the text itself, or JSON of what is none, whatever the other rows have there. */
static void cells_are_texts_or_json(void **state)
{
    char *path = check_tmppath("mixed.csv"), *empty = check_tmppath("nothing.parquet");
    char *arrow = check_tmppath("mixed.arrow");
    char *lines = put("mixed.jsonl", "{\"prompt\":\"a \\\"q\\\"\",\"n\":[0.1]}\n{\"prompt\":[{\"role\":\"user\","
                                     "\"content\":\"it's\"}]}\n");
    char *none = put("none.jsonl", "");

    (void)state;
    if (!here())
        skip();
    CHECK_OK(gr_table_write(lines, path, path, GR_TABLE_CSV, &check_err));
    reads(path, "{\"prompt\":\"a \\\"q\\\"\",\"n\":\"[0.1]\"}\n"
                "{\"prompt\":\"[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"it's\\\"}]\",\"n\":null}\n");
    CHECK_OK(gr_table_write(lines, arrow, arrow, GR_TABLE_ARROW, &check_err));
    reads(arrow, "{\"prompt\":\"a \\\"q\\\"\",\"n\":[0.1]}\n"
                 "{\"prompt\":\"[{\\\"role\\\":\\\"user\\\",\\\"content\\\":\\\"it's\\\"}]\",\"n\":null}\n");
    CHECK_OK(gr_table_write(none, empty, empty, GR_TABLE_PARQUET, &check_err));
    reads(empty, "");
    free(path), free(empty), free(arrow), free(lines), free(none);
}

/* A line of names that is not the first is no row: of files that were joined, or behind empty lines. */
static void names_are_no_row(void **state)
{
    static const struct { const char *text, *want; uint64_t bad; } file[] = {
        { "prompt,chosen\na,b\nprompt,chosen\nc,d\n", "{\"prompt\":\"c\",\"chosen\":\"d\"}", 2 },
        { "\n\nprompt,chosen\nc,d\n", "{\"prompt\":\"c\",\"chosen\":\"d\"}", 1 },
    };
    (void)state;
    if (!here())
        skip();
    for (size_t i = 0; i < 2; i++) {
        char *path = put("joined.csv", file[i].text), where[64];
        const char *line;
        gr_lines *l;
        size_t n;
        CHECK_OK(gr_lines_open(&l, path, &check_err));
        for (uint64_t k = 1; k < file[i].bad; k++)
            CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
        assert_int_equal(gr_lines_next(l, &line, &n, &check_err), GRAM_EFORMAT);
        snprintf(where, sizeof where, "joined.csv:%d: the names of the columns", (int)file[i].bad);
        assert_non_null(strstr(check_err.text, where));
        assert_int_equal(gr_lines_number(l), file[i].bad);
        CHECK_OK(gr_lines_next(l, &line, &n, &check_err));
        assert_true(n == strlen(file[i].want) && !memcmp(line, file[i].want, n));
        gr_lines_close(l);
        free(path);
    }
}

/* Keys of all lines, in any order; a text that looks like a date or a number stays one. */
static void rows_become_a_table(void **state)
{
    static const char *const name[] = { "o.parquet", "o.arrow", "o.arrows", "o.csv", "o.tsv.gz" };
    static const char lines[] = "{\"id\":\"2020-01-01\",\"p\":0.12345678901234568,\"l\":[1,2],\"none\":null}\n"
                                "{\"id\":\"007\",\"p\":1,\"ok\":true,\"none\":null}\n";
    static const char *const want[] = {
        "{\"id\":\"2020-01-01\",\"p\":0.12345678901234568,\"l\":[1,2],\"none\":null,\"ok\":null}\n"
        "{\"id\":\"007\",\"p\":1.0,\"l\":null,\"none\":null,\"ok\":true}\n",
        "{\"id\":\"2020-01-01\",\"p\":\"0.12345678901234568\",\"l\":\"[1,2]\",\"none\":null,\"ok\":null}\n"
        "{\"id\":\"007\",\"p\":\"1\",\"l\":null,\"none\":null,\"ok\":\"true\"}\n",
    };

    (void)state;
    if (!here())
        skip();
    for (size_t k = 0; k < GR_COUNT(name); k++) {
        char *path = check_tmppath(name[k]), *partial;
        gr_out *o;
        uint64_t n;
        struct stat st;
        CHECK_OK(gr_out_open(&o, path, true, &check_err));
        CHECK_OK(gr_out_rows(o, &check_err));
        CHECK_OK(gr_out_write(o, lines, strcspn(lines, "\n") + 1, &check_err));
        gr_out_close(o);                                    /* as a run that was cut off leaves it */
        CHECK_OK(gr_out_resume(&o, path, &n, &check_err));
        assert_int_equal(n, 1);
        CHECK_OK(gr_out_rows(o, &check_err));
        CHECK_OK(gr_out_write(o, strchr(lines, '\n') + 1, strlen(strchr(lines, '\n') + 1), &check_err));
        CHECK_OK(gr_out_commit(o, &check_err));
        gr_out_close(o);
        assert_true(asprintf(&partial, "%s.partial", path) > 0);
        assert_true(stat(partial, &st));
        reads(path, want[k > 2]);
        free(path), free(partial);
    }
}

static void a_pipe_takes_no_table(void **state)
{
    gr_out *o;

    (void)state;
    CHECK_OK(gr_out_open(&o, "-", true, &check_err));
    CHECK_OK(gr_out_rows(o, &check_err));               /* a name without an ending: lines */
    gr_out_close(o);
}

/* zstd: several frames, one cut off, and more text than a block in one. */
static void zstd_is_read_and_its_end_is_seen(void **state)
{
    char *text = all_lines(GOLDEN "frames.jsonl.zst"), *path = check_tmppath("cut.jsonl.zst");
    char *bytes;
    size_t n, lines = 0;

    (void)state;
    for (char *p = text; (p = strchr(p, '\n')); p++)
        lines++;
    assert_int_equal(lines, 5001);
    assert_non_null(strstr(text, "{\"i\":4999}\n{\"last\":true}\n"));
    CHECK_OK(gr_read_file(GOLDEN "frames.jsonl.zst", 1 << 24, &bytes, &n, &check_err));
    CHECK_OK(gr_write_file(path, bytes, n - 3, &check_err));
    refused(path, "ends early");
    bytes[n / 2] ^= 0x55;
    CHECK_OK(gr_write_file(path, bytes, n, &check_err));
    refused(path, "damaged");
    free(text), free(path), free(bytes);
}

static void names_say_the_form(void **state)
{
    static const struct { const char *name, *stem; gr_table_kind kind; } c[] = {
        { "d/a.jsonl", "d/a", GR_TABLE_NONE }, { "a.ndjson.zst", "a", GR_TABLE_NONE },
        { "a.b.json.gz", "a.b", GR_TABLE_NONE },
        { "a.csv.zst", "a", GR_TABLE_CSV }, { "a.tsv", "a", GR_TABLE_TSV }, { "a.parquet", "a", GR_TABLE_PARQUET },
        { "a.arrow", "a", GR_TABLE_ARROW }, { "a.feather", "a", GR_TABLE_ARROW },
        { "a.arrows", "a", GR_TABLE_ARROW_STREAM }, { "a.arrow.gz", NULL, GR_TABLE_NONE },
        { "a.parquet.gz", NULL, GR_TABLE_NONE }, { "a.gz", NULL, GR_TABLE_NONE }, { ".jsonl", NULL, GR_TABLE_NONE },
        { "README.md", NULL, GR_TABLE_NONE }, { "jsonl", NULL, GR_TABLE_NONE }, { "", NULL, GR_TABLE_NONE },
    };

    (void)state;
    for (size_t k = 0; k < GR_COUNT(c); k++) {
        size_t stem = 0;
        assert_int_equal(gr_rows_name(c[k].name, &stem), c[k].stem != NULL);
        if (c[k].stem)
            assert_int_equal(stem, strlen(c[k].stem));
        assert_int_equal(gr_table_kind_of(c[k].name), c[k].kind);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_the_form),
        cmocka_unit_test(parquet_is_read_as_it_stands),
        cmocka_unit_test(arrow_is_read_as_parquet_is),
        cmocka_unit_test(damaged_arrow_is_read_within_its_bounds),
        cmocka_unit_test(a_length_of_more_bytes_than_there_are_is_refused),
        cmocka_unit_test(csv_has_texts_alone),
        cmocka_unit_test(names_are_no_row),
        cmocka_unit_test(cells_are_texts_or_json),
        cmocka_unit_test(what_is_no_table_is_said),
        cmocka_unit_test(rows_become_a_table),
        cmocka_unit_test(a_pipe_takes_no_table),
        cmocka_unit_test(zstd_is_read_and_its_end_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
