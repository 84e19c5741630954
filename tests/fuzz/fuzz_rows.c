/* fuzz_rows.c - any line of JSON gives rows that hold together, or one sentence. What begins with "columns=" names its
 * columns on that line, and is then read as a file. */
#include <stdlib.h>
#include <string.h>
#include "data/rows.h"
#include "fuzz_file.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *s)
{
    if (!s)
        return;
    fuzz_touch(s, strlen(s) + 1);
    if (gr_utf8_bad(s, strlen(s)) != strlen(s))
        abort();
}

static void check_row(const gr_row *r)
{
    const char *last = r->n_turns ? r->turn[r->n_turns - 1].role : "";

    if (!r->id || (strcmp(last, "user") && strcmp(last, "tool")) || !r->chosen || !r->rejected)
        abort();
    check_text(r->id);
    check_text(r->chosen);
    check_text(r->rejected);
    check_text(r->tools);
    check_text(r->chosen_extra);
    for (size_t i = 0; i < r->n_turns; i++) {
        check_text(r->turn[i].content);
        check_text(r->turn[i].extra);
    }
}

static void read_file(const uint8_t *data, size_t size)
{
    static const char mark[] = "columns=";
    const uint8_t *end = memchr(data, '\n', size);
    char columns[200] = "";
    gram_err err;
    gr_reader *r;
    size_t n = end ? (size_t)(end - data) : size;

    memcpy(columns, data + sizeof mark - 1, gr_min(n - (sizeof mark - 1), sizeof columns - 1));
    if (gr_reader_open(&r, fuzz_file(data + n, size - n), columns, &err))
        return;
    for (bool stop = false; !stop; ) {
        gr_row row;
        gram_status rc = gr_reader_pair(r, &row, &stop, &err);
        if (!rc && !stop)
            check_row(&row);
        stop = stop || (rc && rc != GRAM_EFORMAT);
        gr_row_clear(&row);
    }
    gr_reader_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gram_err err;
    gr_row *row;
    gr_group g;
    size_t n;

    if (size > 8 && !memcmp(data, "columns=", 8)) {
        read_file(data, size);
        return 0;
    }
    if (!gr_rows_parse("f", 1, (const char *)data, size, &row, &n, &err)) {
        if (n == 0)
            abort();
        for (size_t i = 0; i < n; i++) {
            check_row(&row[i]);
            gr_row_clear(&row[i]);
        }
        free(row);
    }
    if (!gr_group_parse("f", 1, (const char *)data, size, &g, &err)) {
        if (g.n < 2 || !g.n_turns)
            abort();
        gr_group_clear(&g);
    }
    return 0;
}
