/* table.c - see table.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include "base/err.h"
#include "file/arrow.h"
#include "file/duckdb.h"
#include "file/file_int.h"
#include "file/pack.h"
#include "file/table.h"

/* One thread, in the order of the file; and nothing is fetched from anywhere. */
#define SETTINGS "SET threads=1; SET preserve_insertion_order=true; SET autoinstall_known_extensions=false; " \
                 "SET autoload_known_extensions=false; "
/* A row takes at most what a line may. */
#define LONGEST "67108864"
/* What the row as a whole is called in SQL: a column of the same name would be meant in its place. */
#define ROW "\"gram: a row of the file\""

/* What the rows of an Arrow file are called in SQL. */
#define ARROW "\"gram: an Arrow file\""

typedef struct { const gr_duckdb *f; void *db, *connection; } session;
struct gr_table {
    session s;
    gr_table_kind kind;             /* of either form of Arrow's GR_TABLE_ARROW */
    gr_arrow *arrow;                /* NULL: another file */
    char *name, *heading;           /* heading: of CSV the names of its columns as if they were a row, or NULL */
    uint64_t row;                   /* the last that was given, from 1 */
    void *statement, *chunk;
    gr_duckdb_result result;
    bool begun;
    uint64_t at, rows;              /* in the chunk */
    const gr_duckdb_string *text;
};

/* What a name says of its file. packed: rows of this form are read compressed, too. */
typedef struct {
    const char *ending;
    gr_table_kind kind;
    bool packed;
} form;
static const form known[] = {
    { ".jsonl", GR_TABLE_NONE, true }, { ".ndjson", GR_TABLE_NONE, true }, { ".json", GR_TABLE_NONE, true },
    { ".csv", GR_TABLE_CSV, true }, { ".tsv", GR_TABLE_TSV, true }, { ".parquet", GR_TABLE_PARQUET, false },
    { ".arrow", GR_TABLE_ARROW, false }, { ".feather", GR_TABLE_ARROW, false },
    { ".arrows", GR_TABLE_ARROW_STREAM, false },
};

static bool ends_with(const char *s, size_t n, const char *ending)
{
    size_t e = strlen(ending);

    return n > e && !memcmp(s + n - e, ending, e);
}

static bool ends_with_in_any_case(const char *s, size_t n, const char *ending)
{
    size_t e = strlen(ending);

    return n > e && !strncasecmp(s + n - e, ending, e);
}

/* DuckDB's words for each gr_packing. */
static const char *const compression[] = { "none", "gzip", "zstd" };

/* *stem: the length of the path without what it ends with. NULL: not the name of a file of rows. */
static const form *form_of(const char *path, size_t *stem)
{
    size_t whole = strlen(path);
    size_t n = ends_with(path, whole, ".gz") ? whole - 3 : ends_with(path, whole, ".zst") ? whole - 4 : whole;

    for (size_t k = 0; k < GR_COUNT(known); k++)
        if (ends_with(path, n, known[k].ending) && (n == whole || known[k].packed)) {
            *stem = n - strlen(known[k].ending);
            return &known[k];
        }
    return NULL;
}

bool gr_table_foreign(const char *path)
{
    static const char *const other[] = { ".gz", ".zst", ".bz2", ".xz", ".lz4", ".br", ".zip", ".7z", ".tar", ".tgz",
                                         ".xlsx", ".xls", ".ods", ".orc", ".avro", ".npy", ".npz", ".pkl", ".pickle",
                                         ".h5", ".db", ".sqlite", ".duckdb" };
    size_t whole = strlen(path), stem;
    size_t n = ends_with(path, whole, ".gz") ? whole - 3 : ends_with(path, whole, ".zst") ? whole - 4 : whole;
    bool foreign = false;

    if (form_of(path, &stem))
        return false;
    for (size_t k = 0; k < GR_COUNT(other); k++)
        foreign |= ends_with_in_any_case(path, n, other[k]);
    for (size_t k = 0; k < GR_COUNT(known); k++)        /* ".CSV", ".parquet.gz" */
        foreign |= known[k].kind != GR_TABLE_NONE && ends_with_in_any_case(path, n, known[k].ending);
    return foreign;
}

gr_table_kind gr_table_kind_of(const char *path)
{
    size_t stem;
    const form *f = form_of(path, &stem);

    return f ? f->kind : GR_TABLE_NONE;
}

bool gr_rows_name(const char *path, size_t *stem)
{
    return form_of(path, stem) != NULL;
}

static void session_close(session *s)
{
    if (s->connection)
        s->f->disconnect(&s->connection);
    if (s->db)
        s->f->close(&s->db);
}

/* DuckDB's words without its advice on options, on one line, and with the file's own name in them. */
static gram_status failed(const char *name, const char *why, gram_err *err)
{
    static const char first[] = "Invalid Input Error: ", sniffing[] = "Error when sniffing", fd[] = "/proc/self/fd/";
    gr_buf b = { 0 };
    const char *end;
    bool ok = true;

    why = why ? why : "";
    why += strncmp(why, first, strlen(first)) ? 0 : strlen(first);
    if (!strncmp(why, sniffing, strlen(sniffing)))
        return gr_fail(err, GRAM_EIO, "%s: no table: wanted a line of column names, and lines of as many cells as "
                       "those are, with double quotes around a cell that has them, a newline or the separator in it",
                       name);
    end = strstr(why, "\nPossible");
    end = end ? end : strstr(why, "\n\n") ? strstr(why, "\n\n") : why + strlen(why);
    while (why < end && ok && b.n < 400) {
        if (!strncmp(why, fd, strlen(fd))) {
            ok = gr_buf_puts(&b, name);
            why += strlen(fd);
            why += strspn(why, "0123456789");
        } else if (*why == '\n') {
            ok = gr_buf_puts(&b, "; ");
            why++;
        } else {
            ok = gr_buf_add(&b, why++, 1);
        }
    }
    gr_fail(err, GRAM_EIO, "%s: %s", name, ok && b.p ? b.p : "DuckDB does not read it");
    gr_buf_clear(&b);
    return GRAM_EIO;
}

static gram_status run(session *s, const char *sql, const char *name, gram_err *err)
{
    gr_duckdb_result r = { 0 };
    gram_status rc = GRAM_OK;

    if (s->f->query(s->connection, sql, &r))
        rc = failed(name, s->f->result_error(&r), err);
    s->f->destroy_result(&r);
    return rc;
}

static gram_status session_open(session *s, const char *name, gram_err *err)
{
    gram_status rc = gr_duckdb_load(&s->f, name, err);

    if (rc)
        return rc;
    if (s->f->open(NULL, &s->db) || s->f->connect(s->db, &s->connection))
        return gr_fail(err, GRAM_EIO, "%s: DuckDB does not start", name);
    return run(s, SETTINGS, name, err);
}

/* ---- Reading ---- */

/* What a CSV file is packed with, by its first bytes. One that is something else is called what it is. */
static gram_status look_at(const char *path, int fd, const char **packing, gram_err *err)
{
    char first[512];
    ssize_t n = pread(fd, first, sizeof first, 0);
    const char *what;

    if (n == 0)
        return gr_fail(err, GRAM_EIO, "%s: an empty file is no table: wanted a line of column names", path);
    *packing = compression[gr_packing_by(first, n < 0 ? 0 : (size_t)n)];
    what = n > 0 && *packing == compression[0] ? gr_sniff(first, (size_t)n) : NULL;
    return what ? gr_fail(err, GRAM_EIO, "%s: this is %s", path, what) : GRAM_OK;
}

/* The file by its descriptor: its own name might hold what DuckDB takes for a pattern. header: of CSV, whether its
 * first line are names. */
static bool rows_of(gr_buf *sql, int fd, gr_table_kind kind, const char *packing, bool header)
{
    if (kind == GR_TABLE_ARROW)
        return gr_buf_puts(sql, ARROW);
    if (kind == GR_TABLE_PARQUET)
        return gr_buf_printf(sql, "read_parquet('/proc/self/fd/%d')", fd);
    return gr_buf_printf(sql, "read_csv('/proc/self/fd/%d', delim='%s', quote='\"', escape='\"', header=%s, "
                         "all_varchar=true, allow_quoted_nulls=false, skip=0, comment='', compression='%s', "
                         "max_line_size=" LONGEST ")", fd, kind == GR_TABLE_TSV ? "\t" : ",",
                         header ? "true" : "false", packing);
}

/* Parquet and Arrow go on with another way to rows. */
static gram_status with_way(gr_table_kind kind, const char *path, gram_status rc, gram_err *err)
{
    const char *is = kind == GR_TABLE_PARQUET ? "a Parquet file" : "an Arrow file";
    const char *way = kind == GR_TABLE_PARQUET ? "pandas.read_parquet(FILE)" : "datasets.Dataset.from_file(FILE)";
    gram_err why = *err;
    size_t n = strlen(path);

    if ((kind != GR_TABLE_PARQUET && kind != GR_TABLE_ARROW) || rc == GRAM_ENOMEM)
        return rc;
    return gr_fail(err, rc, "%s: %s: %s; or %s.to_json(\"rows.jsonl\", orient=\"records\", lines=True) makes JSON "
                   "Lines of it", path, is,
                   strncmp(why.text, path, n) ? why.text : why.text + n + strspn(why.text + n, ": "), way);
}

/* The rows of the file, under a name. */
static gram_status open_arrow(gr_table *t, const char *path, int fd, gram_err *err)
{
    gram_status rc = gr_arrow_open(&t->arrow, path, fd, err);

    if (!rc && t->s.f->arrow_scan(t->s.connection, "gram: an Arrow file", gr_arrow_rows(t->arrow)))
        rc = gr_fail(err, GRAM_EIO, "%s: DuckDB does not read it", path);
    return rc;
}

/* What DuckDB failed at; where it was the Arrow file itself, in the words of who read it. */
static gram_status failed_at(const gr_table *t, const char *path, const char *why, gram_err *err)
{
    gram_status rc = t->arrow ? gr_arrow_failed(t->arrow, err) : GRAM_OK;

    return rc ? rc : failed(path, why, err);
}

/* The one text that a query gives, malloc'ed; NULL where it gives none. */
static gram_status ask(const gr_table *t, const char *sql, char **text, gram_err *err)
{
    gr_duckdb_result r = { 0 };
    gram_status rc = GRAM_OK;
    void *chunk = NULL;

    *text = NULL;
    if (t->s.f->query(t->s.connection, sql, &r))
        rc = failed_at(t, t->name, t->s.f->result_error(&r), err);
    else
        chunk = t->s.f->fetch_chunk(r);
    if (chunk && t->s.f->chunk_size(chunk)) {
        const gr_duckdb_string *s = t->s.f->vector_data(t->s.f->chunk_vector(chunk, 0));
        *text = gr_strndup(s->in.n <= sizeof s->in.at ? s->in.at : s->out.at, s->in.n);
        rc = *text ? GRAM_OK : gr_nomem(err, t->name);
    }
    if (chunk)
        t->s.f->destroy_chunk(&chunk);
    t->s.f->destroy_result(&r);
    return rc;
}

/* A column whose name another one has had before, be it in other cases: DuckDB would call it NAME_1, and a key that is
 * read would be missed, or read of the wrong one of the two. arrow.c asks by itself. */
static bool names_twice(gr_buf *sql, int fd, gr_table_kind kind, const char *rows, const char *packing)
{
    if (kind == GR_TABLE_PARQUET)
        return gr_buf_printf(sql, "SELECT regexp_replace(column_name, '_[0-9]+$', '') FROM (DESCRIBE SELECT * FROM %s) "
                             "WHERE regexp_matches(column_name, '._[0-9]+$') AND column_name NOT IN "
                             "(SELECT name FROM parquet_schema('/proc/self/fd/%d')) LIMIT 1", rows, fd);
    return gr_buf_puts(sql, "SELECT min(v) FROM (UNPIVOT (SELECT * FROM ") && rows_of(sql, fd, kind, packing, false) &&
        gr_buf_puts(sql, " LIMIT 1) ON COLUMNS(*) INTO NAME n VALUE v) GROUP BY lower(trim(v)) HAVING count(*) > 1 "
                    "LIMIT 1");
}

static gram_status check_names(gr_table *t, int fd, gr_table_kind kind, const char *rows, const char *packing,
                               gram_err *err)
{
    bool csv = kind == GR_TABLE_CSV || kind == GR_TABLE_TSV;
    gr_buf twice = { 0 }, heading = { 0 };
    char *name = NULL;
    bool ok = names_twice(&twice, fd, kind, rows, packing) &&
        (!csv || gr_buf_printf(&heading, "SELECT '{' || string_agg(to_json(column_name)::VARCHAR || ':' || "
                               "to_json(column_name)::VARCHAR, ',') || '}' FROM (DESCRIBE SELECT * FROM %s) "
                               "HAVING count(*) > 1", rows));
    gram_status rc = ok ? ask(t, twice.p, &name, err) : gr_nomem(err, t->name);

    if (!rc && name)
        rc = gr_fail(err, GRAM_EIO, "%s: two columns are called \"%s\", be it in upper or lower case, and which of "
                     "them is meant is not told", t->name, name);
    if (!rc && csv)
        rc = ask(t, heading.p, &t->heading, err);
    free(name);
    gr_buf_clear(&twice);
    gr_buf_clear(&heading);
    return rc;
}

/* What to read in place of columns of binary data, which to_json() would write as texts of escapes: objects, which no
 * key that is read may be. */
static gram_status find_binary(const gr_table *t, const char *rows, char **replace, gram_err *err)
{
    gr_buf sql = { 0 };
    bool ok = gr_buf_printf(&sql, "SELECT list FROM (SELECT string_agg('CASE WHEN ' || q || ' IS NOT NULL THEN "
                            "{''" GR_TABLE_ODD "'': ''binary data''} END AS ' || q, ', ') AS list FROM (SELECT '\"' || "
                            "replace(column_name, '\"', '\"\"') || '\"' AS q FROM (DESCRIBE SELECT * FROM %s) WHERE "
                            "regexp_matches(column_type, '(^|[ (])BLOB($|[[,)])'))) WHERE list IS NOT NULL", rows);
    gram_status rc = ok ? ask(t, sql.p, replace, err) : gr_nomem(err, t->name);

    gr_buf_clear(&sql);
    return rc;
}

static gram_status select_rows(gr_table *t, int fd, gr_table_kind kind, gr_buf *sql, gram_err *err)
{
    bool csv = kind == GR_TABLE_CSV || kind == GR_TABLE_TSV;
    const char *packing = NULL;
    char *binary = NULL;
    gr_buf rows = { 0 };
    gram_status rc = csv ? look_at(t->name, fd, &packing, err) : GRAM_OK;

    if (!rc && !rows_of(&rows, fd, kind, packing, true))
        rc = gr_nomem(err, t->name);
    if (!rc && kind != GR_TABLE_ARROW)
        rc = check_names(t, fd, kind, rows.p, packing, err);
    if (!rc && !csv)
        rc = find_binary(t, rows.p, &binary, err);
    if (!rc && !(gr_buf_puts(sql, "SELECT to_json(" ROW ")::VARCHAR FROM ") &&
                 (binary ? gr_buf_printf(sql, "(SELECT * REPLACE (%s) FROM %s) " ROW, binary, rows.p)
                         : gr_buf_printf(sql, "%s " ROW, rows.p))))
        rc = gr_nomem(err, t->name);
    free(binary);
    gr_buf_clear(&rows);
    return rc;
}

static gram_status open_rows(gr_table *t, const char *path, int fd, gr_table_kind kind, gram_err *err)
{
    gr_buf sql = { 0 };
    gram_status rc = t->name ? session_open(&t->s, path, err) : gr_nomem(err, path);

    t->kind = kind;
    if (!rc && kind == GR_TABLE_ARROW)
        rc = open_arrow(t, path, fd, err);
    if (!rc)
        rc = select_rows(t, fd, kind, &sql, err);
    if (!rc && t->s.f->prepare(t->s.connection, sql.p, &t->statement))
        rc = failed_at(t, path, t->s.f->prepare_error(t->statement), err);
    if (!rc && t->s.f->execute_streaming(t->statement, &t->result))
        rc = failed_at(t, path, t->s.f->result_error(&t->result), err);
    gr_buf_clear(&sql);
    return rc ? with_way(kind, path, rc, err) : GRAM_OK;
}

gram_status gr_table_open(gr_table **out, const char *path, int fd, gr_table_kind kind, gram_err *err)
{
    gr_table *t = gr_calloc(1, sizeof *t);
    gram_err own;
    gram_status rc;

    *out = NULL;
    if (!t)
        return gr_nomem(err, path);
    t->name = gr_strdup(path);
    rc = open_rows(t, path, fd, kind, err ? err : &own);
    if (rc)
        gr_table_close(t);
    else
        *out = t;
    return rc;
}

void gr_table_close(gr_table *t)
{
    if (!t)
        return;
    if (t->chunk)
        t->s.f->destroy_chunk(&t->chunk);
    if (t->s.f)
        t->s.f->destroy_result(&t->result);
    if (t->statement)
        t->s.f->destroy_prepare(&t->statement);
    session_close(&t->s);
    gr_arrow_close(t->arrow);               /* behind all that may hold rows of it */
    free(t->name);
    free(t->heading);
    free(t);
}

/* *end: no more rows. */
static gram_status next_chunk(gr_table *t, bool *end, gram_err *err)
{
    const char *why;

    do {
        if (t->chunk)
            t->s.f->destroy_chunk(&t->chunk);
        t->chunk = t->s.f->fetch_chunk(t->result);
        t->at = 0;
        t->rows = t->chunk ? t->s.f->chunk_size(t->chunk) : 0;
    } while (t->chunk && !t->rows);
    *end = !t->chunk;
    why = *end ? t->s.f->result_error(&t->result) : NULL;
    if (why && *why)
        return t->kind == GR_TABLE_PARQUET ? gr_fail(err, GRAM_EIO, "%s: a Parquet file that is damaged: %.300s",
                                                     t->name, why) : failed_at(t, t->name, why, err);
    if (t->chunk)
        t->text = t->s.f->vector_data(t->s.f->chunk_vector(t->chunk, 0));
    return GRAM_OK;
}

gram_status gr_table_next(gr_table *t, const char **json, size_t *n, gram_err *err)
{
    const gr_duckdb_string *s;
    bool end = false;
    gram_status rc = t->at == t->rows ? next_chunk(t, &end, err) : GRAM_OK;

    *json = NULL;
    *n = 0;
    if (rc || end)
        return rc;
    s = &t->text[t->at++];
    *json = s->in.n <= sizeof s->in.at ? s->in.at : s->out.at;
    *n = s->in.n;
    t->row++;
    if (t->heading && *n == strlen(t->heading) && !memcmp(*json, t->heading, *n))
        return gr_fail(err, GRAM_EFORMAT, "%s:%" PRIu64 ": the names of the columns, where a row was wanted: empty "
                       "lines stand before them, or files were joined", t->name, t->row);
    return GRAM_OK;
}

/* ---- Writing ---- */

static bool quoted(gr_buf *b, const char *s)
{
    bool ok = gr_buf_puts(b, "'");

    for (; *s && ok; s++)
        ok = gr_buf_printf(b, "%s%c", *s == '\'' ? "'" : "", *s);
    return ok && gr_buf_puts(b, "'");
}

gram_status gr_table_ready(const char *path, gram_err *err)
{
    const gr_duckdb *f;

    return gr_duckdb_load(&f, path, err);
}

static bool objects(gr_buf *sql, const char *lines)
{
    return gr_buf_puts(sql, "read_json_objects(") && quoted(sql, lines) &&
        gr_buf_puts(sql, ", format='newline_delimited', maximum_object_size=" LONGEST ")");
}

/* The objects' types are told from all of them and by their JSON alone, since DuckDB would make dates of texts. A key
 * that is null in all lines is a text. Without any line there is an empty column of ids, which any line would have. */
static bool find_form(gr_buf *sql, const char *lines, gr_table_kind kind)
{
    if (kind == GR_TABLE_CSV || kind == GR_TABLE_TSV)       /* texts as they are, of all else its JSON */
        return gr_buf_puts(sql, "SET VARIABLE form = (SELECT coalesce('{' || string_agg(to_json(k)::VARCHAR || "
                           "':\"VARCHAR\"', ',') || '}', '{\"id\":\"VARCHAR\"}') FROM (SELECT "
                           "unnest(json_keys(json_group_structure(json))) AS k FROM ") && objects(sql, lines) &&
            gr_buf_puts(sql, ")); ");
    /* What is a text in some lines and none in others: Parquet has a type for it, in Arrow it is as in CSV. */
    return gr_buf_printf(sql, "SET VARIABLE form = (SELECT coalesce(replace(replace("
                         "json_group_structure(json)::VARCHAR, '\"NULL\"', '\"VARCHAR\"'), '\"JSON\"', '\"%s\"'), "
                         "'{\"id\":\"VARCHAR\"}') FROM ", kind == GR_TABLE_PARQUET ? "JSON" : "VARCHAR") &&
        objects(sql, lines) && gr_buf_puts(sql, "); ");
}

static bool all_rows(gr_buf *sql, const char *lines)
{
    return gr_buf_puts(sql, "SELECT unnest(from_json(json, getvariable('form'))) FROM ") && objects(sql, lines);
}

/* No file beside `to`: it is one already, or has no name. */
static bool copy_rows(gr_buf *sql, const char *lines, const char *to, const char *name, gr_table_kind kind)
{
    bool ok = gr_buf_puts(sql, "COPY (") && all_rows(sql, lines) && gr_buf_puts(sql, ") TO ") && quoted(sql, to);

    if (ok && kind == GR_TABLE_PARQUET)
        return gr_buf_puts(sql, " (FORMAT parquet, COMPRESSION zstd, USE_TMP_FILE false)");
    return ok && gr_buf_printf(sql, " (FORMAT csv, HEADER true, DELIMITER '%s', COMPRESSION %s, USE_TMP_FILE false)",
                               kind == GR_TABLE_TSV ? "\t" : ",", compression[gr_packing_of(name)]);
}

/* Its batches, one after the other. */
static gram_status write_batches(session *s, void *result, gr_arrow_writer *w, gram_err *err)
{
    for (;;) {
        gr_arrow_array rows = { .release = NULL }, *to = &rows;
        gram_status rc = GRAM_OK;
        if (s->f->arrow_array(result, (void **)&to))
            return gr_fail(err, GRAM_EIO, "DuckDB gives no rows: %s", s->f->arrow_error(result));
        if (!rows.release)
            return GRAM_OK;
        if (rows.length > 0)
            rc = gr_arrow_add(w, &rows, err);
        rows.release(&rows);
        if (rc)
            return rc;
    }
}

static gram_status write_arrow(session *s, const char *sql, const char *to, const char *name, bool stream,
                               gram_err *err)
{
    gr_arrow_schema schema = { .release = NULL }, *at = &schema;
    gr_arrow_writer *w = NULL;
    void *result = NULL;
    gram_status rc = GRAM_OK;

    if (s->f->query_arrow(s->connection, sql, &result))
        rc = failed(name, result ? s->f->arrow_error(result) : NULL, err);
    else if (s->f->arrow_schema(result, (void **)&at) || !schema.release)
        rc = gr_fail(err, GRAM_EIO, "%s: DuckDB gives no columns", name);
    if (!rc)
        rc = gr_arrow_create(&w, to, name, stream, &schema, err);
    if (!rc)
        rc = write_batches(s, result, w, err);
    if (!rc)
        rc = gr_arrow_finish(w, err);
    gr_arrow_writer_close(w);
    if (schema.release)
        schema.release(&schema);
    if (result)
        s->f->destroy_arrow(&result);
    return rc;
}

gram_status gr_table_write(const char *lines, const char *to, const char *name, gr_table_kind kind, gram_err *err)
{
    bool arrow = kind == GR_TABLE_ARROW || kind == GR_TABLE_ARROW_STREAM;
    session s = { 0 };
    gr_buf types = { 0 }, sql = { 0 };
    bool ok = find_form(&types, lines, kind) &&
        (arrow ? all_rows(&sql, lines) : copy_rows(&sql, lines, to, name, kind));
    gram_status rc = ok ? session_open(&s, name, err) : gr_nomem(err, name);

    if (!rc)
        rc = run(&s, types.p, name, err);
    if (!rc)
        rc = arrow ? write_arrow(&s, sql.p, to, name, kind == GR_TABLE_ARROW_STREAM, err)
                   : run(&s, sql.p, name, err);
    gr_buf_clear(&types);
    session_close(&s);
    gr_buf_clear(&sql);
    return rc;
}
