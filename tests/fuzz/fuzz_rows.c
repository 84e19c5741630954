/* fuzz_rows.c - any line of JSON gives rows that hold together, or one sentence. */
#include <stdlib.h>
#include <string.h>
#include "data/rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gram_err err;
    gr_row *row;
    gr_group g;
    size_t n;

    if (!gr_rows_parse("f", 1, (const char *)data, size, &row, &n, &err)) {
        if (n == 0)
            abort();
        for (size_t i = 0; i < n; i++) {
            gr_row *r = &row[i];
            const char *last = r->n_turns ? r->turn[r->n_turns - 1].role : "";
            if (!r->id || (strcmp(last, "user") && strcmp(last, "tool")) || !r->chosen || !r->rejected)
                abort();
            gr_row_clear(r);
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
