/* reader.c - the lines of a file, or of several, as rows; forms.c knows what they mean.
 *
 * Files are JSON Lines. Some benchmarks come as one JSON array over many lines (RM-Bench): such a file is told
 * by its first character, read whole, and its elements are its rows, counted from 1. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "base/utf8.h"
#include "data/paths.h"
#include "data/rows_int.h"

#define LARGEST_ARRAY ((size_t)256 << 20)

struct gr_reader {
    char **path;                /* of the files, which are read one after the other */
    size_t n_paths, at;
    const char *name;           /* of path[at], for ids and errors */
    gr_lines *lines;
    gr_columns *columns;        /* NULL: keys mean what they say */
    const char *spec;           /* of the columns; borrowed */
    bool regular;               /* path[at] can be read twice */
    bool reasons;
    bool begun, coded;          /* coded: the file was looked at for codes that do not agree */
    uint64_t line;              /* of path[at] */
    uint64_t before;            /* lines of the files before it */
    uint64_t from, to;          /* rows stand in lines (from, to] of all files; to 0: in all */
    uint64_t lines_of_all, digest_of_all;   /* once a share was asked for */
    bool none;                  /* the share has no line */
    uint64_t passed;            /* rows before these */
    unsigned odd;               /* see gr_at */
    json_t *array;              /* the whole file, where it is one array */
    size_t next;                /* its element */
    gr_row *row;                /* rows of the last line that were not yet handed out */
    size_t n_rows, given;
};

/* Goes on with path[k]. */
static gram_status open_path(gr_reader *r, size_t k, gram_err *err)
{
    gr_lines_close(r->lines);
    r->lines = NULL;
    json_decref(r->array);
    r->array = NULL;
    r->before += r->line;
    r->at = k;
    r->line = 0;
    r->next = 0;
    r->begun = r->coded = false;
    r->name = gr_name_is_standard(r->path[k]) ? "standard input" : r->path[k];
    r->regular = !gr_name_is_standard(r->path[k]) && gr_path_regular(r->path[k]);
    return gr_lines_open(&r->lines, r->path[k], err);
}

gram_status gr_reader_open(gr_reader **out, const char *path, const char *columns, gram_err *err)
{
    gr_reader *r = gr_calloc(1, sizeof *r);
    gram_status rc;

    *out = NULL;
    if (!r)
        return gr_nomem(err, path);
    r->spec = columns;
    rc = gr_columns_read(&r->columns, columns, err);
    if (!rc)
        rc = gr_paths_list(path, &r->path, &r->n_paths, err);
    if (!rc)
        rc = open_path(r, 0, err);
    if (rc)
        gr_reader_close(r);
    else
        *out = r;
    return rc;
}

void gr_reader_close(gr_reader *r)
{
    if (!r)
        return;
    while (r->given < r->n_rows)
        gr_row_clear(&r->row[r->given++]);
    free(r->row);
    json_decref(r->array);
    gr_lines_close(r->lines);
    gr_columns_close(r->columns);
    gr_paths_free(r->path, r->n_paths);
    free(r);
}

uint64_t gr_reader_line(const gr_reader *r)
{
    return r->line;
}

uint64_t gr_reader_done(const gr_reader *r)
{
    uint64_t line = r->before + r->line;

    return r->none || line <= r->from ? 0 : r->to && line > r->to ? r->to - r->from : line - r->from;
}

static const char *skip_blank(const char *p, size_t *n)
{
    while (*n && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
        --*n;
    }
    return p;
}

/* The next line of the file that holds something, less the byte order mark that it may begin with; NULL at the end. */
static gram_status next_line(gr_reader *r, const char **line, size_t *n, gram_err *err)
{
    size_t mark;

    for (;;) {
        gram_status rc = gr_lines_next(r->lines, line, n, err);
        r->line = gr_lines_number(r->lines);
        if (rc || !*line)
            return rc;
        mark = r->line == 1 ? gr_utf8_mark(*line, *n) : 0;
        *line += mark;
        *n -= mark;
        *line = skip_blank(*line, n);
        if (*n)
            return GRAM_OK;
    }
}

/* The rest of a file that begins with '['. GRAM_EIO where it is no JSON: there is no row to go on with. */
static gram_status load_array(gr_reader *r, const char *line, size_t n, gram_err *err)
{
    gram_err why;
    gr_at at = { r->name, r->line, &why, false, 0, false };
    gr_buf b = { 0 };
    gram_status rc = GRAM_OK;

    while (line && !rc) {
        if (n > LARGEST_ARRAY - b.n)
            rc = gr_fail(&why, GRAM_ELIMIT, "%s: a JSON array of more than %zu MiB; write one object a line instead",
                         r->name, LARGEST_ARRAY >> 20);
        else if (!gr_buf_add(&b, line, n) || !gr_buf_add(&b, "\n", 1))
            rc = gr_row_nomem(&at);
        else
            rc = next_line(r, &line, &n, &why);
    }
    if (!rc)
        rc = gr_json_lenient(&at, b.p, b.n, &r->array);
    r->odd = at.odd;
    gr_buf_clear(&b);
    return rc ? gr_fail(err, rc == GRAM_EFORMAT ? GRAM_EIO : rc, "%s", why.text) : GRAM_OK;
}

/* The next object as it stands in path[at], NULL at its end; r->odd is set. */
static gram_status next_here(gr_reader *r, json_t **row, gram_err *err)
{
    gr_at at = { r->name, 0, err, false, 0, false };
    const char *line = NULL;
    size_t n = 0;
    gram_status rc;

    *row = NULL;
    if (!r->array) {
        bool first = !r->begun;
        rc = next_line(r, &line, &n, err);
        if (rc || !line)
            return rc;
        at.line = r->line;
        r->begun = true;
        if (!first || *line != '[') {
            rc = gr_json_lenient(&at, line, n, row);
            r->odd = at.odd;
            return rc;
        }
        rc = load_array(r, line, n, err);
        if (rc)
            return rc;
        r->line = 0;
    }
    if (r->next < json_array_size(r->array)) {
        *row = json_incref(json_array_get(r->array, r->next++));
        r->line = r->next;
    }
    return GRAM_OK;
}

static gram_status next_json(gr_reader *r, json_t **row, gram_err *err)
{
    for (;;) {
        gram_status rc = next_here(r, row, err);
        if (rc || *row || r->at + 1 == r->n_paths)
            return rc;
        rc = open_path(r, r->at + 1, err);
        if (rc)
            return rc == GRAM_EFORMAT ? GRAM_EIO : rc;  /* it is no row that is bad */
    }
}

/* Reads the whole file for a value that says that its other rows mean something else. Where there is no second reading,
 * as of a pipe, the row itself will say so when it comes. */
static gram_status check_codes(gr_reader *r, gram_err *err)
{
    gr_reader *again;
    gram_status rc;

    r->coded = true;
    if (!r->regular)
        return GRAM_OK;
    rc = gr_reader_open(&again, r->path[r->at], r->spec, err);
    if (rc)
        return rc;
    again->coded = true;
    for (;;) {
        gr_at at;
        json_t *row;
        rc = gr_reader_json(again, &row, err);
        if (rc == GRAM_EFORMAT)                 /* said when its turn comes */
            continue;
        if (rc || !row)
            break;
        at = gr_reader_at(again, err);
        rc = gr_forms_check_code(&at, row);
        json_decref(row);
        if (rc)
            break;
    }
    gr_reader_close(again);
    return rc;
}

gram_status gr_reader_json(gr_reader *r, json_t **row, gram_err *err)
{
    gr_at at;
    gram_status rc = next_json(r, row, err);

    if (rc || !*row)
        return rc;
    at = gr_reader_at(r, err);
    rc = r->columns ? gr_columns_apply(r->columns, &at, *row) : gr_lists_settle(&at, *row);
    if (!rc && !r->coded && gr_forms_coded(*row))
        rc = check_codes(r, err);
    if (rc) {
        json_decref(*row);
        *row = NULL;
    }
    return rc;
}

gr_at gr_reader_at(const gr_reader *r, gram_err *err)
{
    return (gr_at){ r->name, r->line, err, r->array != NULL, r->odd, r->reasons };
}

void gr_reader_want_reasons(gr_reader *r)
{
    r->reasons = true;
}

/* ---- A share of the rows ------------------------------------------------------------------------- */

static uint64_t add_line(uint64_t h, const char *line, size_t n)
{
    return gr_digest(gr_digest_words(gr_digest(h, &n, sizeof n), line, n / 4), line + n / 4 * 4, n % 4);
}

static gram_status add_array(uint64_t *digest, const json_t *array, const char *name, gram_err *err)
{
    char *text = gr_json_text(array, JSON_COMPACT);

    if (!text)
        return gr_nomem(err, name);
    *digest = add_line(*digest, text, strlen(text));
    free(text);
    return GRAM_OK;
}

/* How many lines, or elements, all files have, and their digest where it is wanted. */
static gram_status count_all(const gr_reader *r, uint64_t *n, uint64_t *digest, gram_err *err)
{
    *n = 0;
    for (size_t k = 0; k < r->n_paths; k++) {
        gr_reader *again;
        const char *line;
        size_t bytes;
        gram_status rc = gr_reader_open(&again, r->path[k], NULL, err);
        if (rc)
            return rc;
        for (bool first = true; !rc || rc == GRAM_EFORMAT; first = false) {     /* a bad line is one, too */
            rc = next_line(again, &line, &bytes, err);
            if (!rc && !line)
                break;
            if (!rc && first && *line == '[') {
                rc = load_array(again, line, bytes, err);
                again->line = json_array_size(again->array);
                if (!rc && digest)
                    rc = add_array(digest, again->array, r->path[k], err);
                break;
            }
            if (!rc && digest)
                *digest = add_line(*digest, line, bytes);
        }
        *n += again->line;
        gr_reader_close(again);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

static bool twice(const gr_reader *r)
{
    for (size_t k = 0; k < r->n_paths; k++)
        if (gr_name_is_standard(r->path[k]) || !gr_path_regular(r->path[k]))
            return false;
    return true;
}

uint64_t gr_reader_total(const gr_reader *r)
{
    uint64_t n;

    if (r->to || r->none)
        return r->to - r->from;
    return twice(r) && !count_all(r, &n, NULL, NULL) ? n : 0;
}

gram_status gr_reader_spares(const gr_reader *r, const char *out, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t k = 0; k < r->n_paths && !rc; k++)
        rc = gr_path_spares(out, r->path[k], err);
    return rc;
}

uint64_t gr_reader_lines(const gr_reader *r)
{
    return r->lines_of_all;
}

uint64_t gr_reader_digest(const gr_reader *r)
{
    return r->digest_of_all;
}

gram_status gr_reader_share(gr_reader *r, size_t share, size_t shares, gram_err *err)
{
    uint64_t n, digest = GR_DIGEST;
    gram_status rc = twice(r) ? count_all(r, &n, &digest, err)
                   : gr_fail(err, GRAM_EARG, "%s: a share of the rows needs files that can be read twice", r->name);

    if (rc)
        return rc;
    r->lines_of_all = n;
    r->digest_of_all = digest;
    r->from = n / shares * share + n % shares * share / shares;
    r->to = n / shares * (share + 1) + n % shares * (share + 1) / shares;
    r->none = r->from == r->to;
    return GRAM_OK;
}

void gr_reader_share_of(gr_reader *r, const gr_reader *other)
{
    r->from = other->from;
    r->to = other->to;
    r->none = other->none;
}

uint64_t gr_reader_passed(const gr_reader *r)
{
    return r->passed;
}

typedef enum { BEFORE, WITHIN, AFTER } place;

static place place_of(const gr_reader *r)
{
    uint64_t line = r->before + r->line;

    if (r->none)
        return AFTER;
    return line <= r->from ? BEFORE : r->to && line > r->to ? AFTER : WITHIN;
}

/* Whether the row just read, or refused, belongs to another share, and is passed over; *end after the last. */
static bool pass(gr_reader *r, gram_status *rc, bool *end)
{
    if (*end || (*rc && *rc != GRAM_EFORMAT))
        return false;
    switch (place_of(r)) {
    case WITHIN:
        return false;
    case BEFORE:
        r->passed += !*rc;
        break;
    case AFTER:
        *end = true;
        break;
    }
    *rc = GRAM_OK;
    return true;
}

/* ---- Rows ----------------------------------------------------------------------------------------- */

/* The rows of a line, which are then handed out one by one. */
static gram_status take_rows(gr_reader *r, const json_t *row, gram_err *err)
{
    gr_at at = gr_reader_at(r, err);

    free(r->row);
    r->row = NULL;
    r->n_rows = r->given = 0;
    return gr_forms_read(&at, row, &r->row, &r->n_rows);
}

static gram_status next_pair(gr_reader *r, gr_row *out, bool *end, gram_err *err)
{
    *end = false;
    *out = (gr_row){ 0 };
    if (r->given == r->n_rows) {
        json_t *row;
        gram_status rc = gr_reader_json(r, &row, err);
        *end = !rc && !row;
        if (rc || !row)
            return rc;
        rc = take_rows(r, row, err);
        json_decref(row);
        if (rc)
            return rc;
    }
    *out = r->row[r->given++];
    return GRAM_OK;
}

gram_status gr_reader_pair(gr_reader *r, gr_row *out, bool *end, gram_err *err)
{
    for (;;) {
        gram_status rc = next_pair(r, out, end, err);
        if (!pass(r, &rc, end))
            return rc;
        gr_row_clear(out);
        if (*end)
            return rc;
    }
}

gram_status gr_reader_any(gr_reader *r, gr_group *group, gr_row *pair, bool *end, gram_err *err)
{
    json_t *row;
    gram_status rc;

    *group = (gr_group){ 0 };
    *pair = (gr_row){ 0 };
    *end = false;
    if (r->given < r->n_rows)
        return next_pair(r, pair, end, err);
    rc = gr_reader_json(r, &row, err);
    *end = !rc && !row;
    if (rc || !row)
        return rc;
    if (json_object_get(row, "responses")) {
        gr_at at = gr_reader_at(r, err);
        rc = gr_group_read(&at, row, group);
    } else {
        rc = take_rows(r, row, err);
        if (!rc)
            *pair = r->row[r->given++];
    }
    json_decref(row);
    return rc;
}

static gram_status read_group(gr_reader *r, gr_group_fn *read, gr_group *out, json_t **row, bool *end, gram_err *err)
{
    gram_status rc = gr_reader_json(r, row, err);
    gr_at at = gr_reader_at(r, err);

    *end = !rc && !*row;
    *out = (gr_group){ 0 };
    if (rc || !*row)
        return rc;
    rc = read(&at, *row, out);
    if (rc) {
        json_decref(*row);
        *row = NULL;
    }
    return rc;
}

static gram_status next_group(gr_reader *r, gr_group_fn *read, gr_group *out, json_t **row, bool *end, gram_err *err)
{
    for (;;) {
        gram_status rc = read_group(r, read, out, row, end, err);
        if (!pass(r, &rc, end))
            return rc;
        gr_group_clear(out);
        json_decref(*row);
        *row = NULL;
        if (*end)
            return rc;
    }
}

static gram_status group_alone(gr_reader *r, gr_group_fn *read, gr_group *out, bool *end, gram_err *err)
{
    json_t *row;
    gram_status rc = next_group(r, read, out, &row, end, err);

    json_decref(row);
    return rc;
}

gram_status gr_reader_group(gr_reader *r, gr_group *out, bool *end, gram_err *err)
{
    return group_alone(r, gr_group_read, out, end, err);
}

gram_status gr_reader_prompt(gr_reader *r, gr_group *out, bool *end, gram_err *err)
{
    return group_alone(r, gr_lone_prompt_read, out, end, err);
}

gram_status gr_reader_asked(gr_reader *r, bool group, gr_group *out, json_t **row, bool *end, gram_err *err)
{
    return next_group(r, group ? gr_group_read : gr_asked_read, out, row, end, err);
}

gram_status gr_reader_labelled(gr_reader *r, gr_group *out, gr_labelled *answer, bool *end, gram_err *err)
{
    json_t *row;
    gram_status rc = next_group(r, gr_lone_prompt_read, out, &row, end, err);
    gr_at at = gr_reader_at(r, err);

    *answer = (gr_labelled){ .weight = 1 };
    if (!rc && !*end)
        rc = gr_labelled_read(&at, row, answer);
    if (rc)
        gr_group_clear(out);
    json_decref(row);
    return rc;
}
