/* table.h - rows of Parquet, Arrow, CSV and TSV, by DuckDB found at run time (docs/decisions/0014-duckdb.md says why).
 *
 * A row is given as the JSON object that a line of JSON Lines would hold, its columns being the keys, so all that reads
 * lines reads tables. CSV has no types: its cells are texts, and one that is empty without quotes is null. */
#ifndef GR_FILE_TABLE_H
#define GR_FILE_TABLE_H

#include "base/mem.h"

typedef enum { GR_TABLE_NONE, GR_TABLE_PARQUET, GR_TABLE_CSV, GR_TABLE_TSV, GR_TABLE_ARROW, GR_TABLE_ARROW_STREAM }
    gr_table_kind;
/* By the name's ending (".csv", ".tsv" and these with ".gz" or ".zst", ".parquet", ".arrow" and ".feather", and
 * ".arrows" for Arrow's stream form). */
gr_table_kind gr_table_kind_of(const char *path);
/* Whether the name promises a form or a packing in which rows are not written (".xlsx", ".bz2", ".parquet.gz", ".CSV"):
 * lines of JSON under it would be taken for something else. */
bool gr_table_foreign(const char *path);
/* Whether a file of this name is read as rows: one of tables, or of JSON (".jsonl", ".ndjson", ".json", and these with
 * ".gz" or ".zst"). *stem: the length of the path without that ending; unset where it has none. */
bool gr_rows_name(const char *path, size_t *stem);

/* The one key of an object that stands for a value which is none of JSON's, such as a column of binary data; its value
 * says what is there. No program writes that (data/lenient.c). */
#define GR_TABLE_ODD "\x1a" "as it stands"

typedef struct gr_table gr_table;
/* fd: an open regular file, which stays the caller's; path: for errors. GRAM_EUNSUPPORTED: DuckDB is not here; says how
 * to get it. */
gram_status gr_table_open(gr_table **out, const char *path, int fd, gr_table_kind kind, gram_err *err);
void gr_table_close(gr_table *t);                           /* NULL is fine */
/* *json NULL at the end. The bytes live until the next call. GRAM_EFORMAT: this row is none, *json is what it is, and
 * the next call goes on behind it. */
gram_status gr_table_next(gr_table *t, const char **json, size_t *n, gram_err *err);

/* Fails where DuckDB, which gr_table_write() needs, is not here. */
gram_status gr_table_ready(const char *path, gram_err *err);
/* Makes a table of the objects of a file of JSON Lines: `to` gets it, which should not be there. Columns are the keys
 * of all lines; a text stays a text, whatever it looks like. name: of what is written, for errors. */
gram_status gr_table_write(const char *lines, const char *to, const char *name, gr_table_kind kind, gram_err *err);

#endif
