/* rows.c - gram.h's rows over src/data. */
#include <stdlib.h>
#include "api/api_int.h"
#include "base/err.h"
#include "data/rows.h"
#include "file/table.h"

struct gram_rows {
    gr_reader *reader;
    char *columns;
    gr_row row;
    gram_row shown;
};

bool gram_rows_named(const char *path)
{
    return gr_rows_name(path, &(size_t){ 0 });
}

gram_status gram_rows_open_columns(gram_rows **out, const char *path, const char *columns, gram_err *err)
{
    gram_rows *r = gr_calloc(1, sizeof *r);
    gram_status rc = r ? GRAM_OK : gr_nomem(err, path);

    *out = NULL;
    if (rc)
        return rc;
    r->columns = columns ? gr_strdup(columns) : NULL;
    rc = columns && !r->columns ? gr_nomem(err, path) : gr_reader_open(&r->reader, path, r->columns, err);
    if (rc)
        gram_rows_close(r);
    else
        *out = r;
    return rc;
}

gram_status gram_rows_open(gram_rows **out, const char *path, gram_err *err)
{
    return gram_rows_open_columns(out, path, NULL, err);
}

gram_status gram_rows_next(gram_rows *r, const gram_row **row, gram_err *err)
{
    bool end = false;
    gram_status rc;

    *row = NULL;
    gr_row_clear(&r->row);
    r->row = (gr_row){ 0 };
    rc = gr_reader_pair(r->reader, &r->row, &end, err);
    if (rc || end)
        return rc;
    r->shown = (gram_row){ r->row.id, r->row.subset, gr_row_pair(&r->row), r->row.tie };
    *row = &r->shown;
    return GRAM_OK;
}

void gram_rows_close(gram_rows *r)
{
    if (!r)
        return;
    gr_row_clear(&r->row);
    gr_reader_close(r->reader);
    free(r->columns);
    free(r);
}
