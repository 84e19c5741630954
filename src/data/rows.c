/* rows.c - a file's lines as rows; forms.c knows what they mean.
 *
 * Files are JSON Lines. Some benchmarks come as one JSON array over many lines (RM-Bench): such a file is told
 * by its first character, read whole, and its elements are its rows, counted from 1. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

#define LARGEST_ARRAY ((size_t)256 << 20)

struct gr_reader {
    char *name;
    gr_lines *lines;
    bool begun;
    uint64_t line;
    json_t *array;              /* the whole file, where it is one array */
    size_t next;                /* its element */
    gr_row *row;                /* rows of the last line that were not yet handed out */
    size_t n_rows, given;
};

void gr_row_clear(gr_row *r)
{
    free(r->id);
    free(r->source);
    free(r->subset);
    free(r->turn);
    free(r->tools);
    free(r->chosen);
    free(r->rejected);
    free(r->chosen_extra);
    free(r->rejected_extra);
    *r = (gr_row){ 0 };
}

gram_pair gr_row_pair(const gr_row *r)
{
    return (gram_pair){ { r->turn, r->n_turns, r->tools }, r->chosen, r->rejected, r->chosen_extra, r->rejected_extra };
}

bool gr_row_same(const gr_row *r)
{
    return !strcmp(r->chosen, r->rejected) && gr_text_same(r->chosen_extra, r->rejected_extra);
}

/* Four bytes a token and some words of the judge's around each text, as English and its markup come out. */
size_t gr_row_tokens(const gr_row *r)
{
    size_t bytes = 2 * (strlen(r->chosen) + strlen(r->rejected));

    for (size_t t = 0; t < r->n_turns; t++)
        bytes += strlen(r->turn[t].content);
    return bytes / 4 + 64;
}

void gr_group_clear(gr_group *g)
{
    for (size_t i = 0; i < g->n && g->response; i++)
        free(g->response[i]);
    free(g->id);
    free(g->turn);
    free(g->tools);
    free(g->response);
    free(g->reference);
    *g = (gr_group){ 0 };
}

/* ---- JSON --------------------------------------------------------------------------------------- */

/* jansson's sentences name what is wrong but for its words on NUL. A failure without words is a failed malloc. */
static gram_status load(const gr_at *at, const char *json, size_t bytes, json_t **out)
{
    json_error_t e = { .text = "" };

    *out = json_loadb(json, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (*out)
        return GRAM_OK;
    if (!*e.text || json_error_code(&e) == json_error_out_of_memory)
        return gr_row_nomem(at);
    if (json_error_code(&e) == json_error_null_character || json_error_code(&e) == json_error_null_byte_in_key)
        return gr_bad(at, "byte %d: a NUL character in a string, which no text may hold", e.position);
    return gr_bad(at, "byte %d: not JSON: %s", e.position, e.text);
}

/* ---- Groups ------------------------------------------------------------------------------------- */

static gram_status read_responses(const gr_at *at, const json_t *row, gr_group *g)
{
    const char *key = json_object_get(row, "responses") ? "responses" : "completions";
    const json_t *list = json_object_get(row, key);
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n < 2)
        return gr_bad(at, "key \"%s\" must be a list of two or more responses, found %s%s",
                      list ? key : "responses", gr_json_kind(list), n == 1 ? " of one" : "");
    g->response = gr_calloc(n, sizeof *g->response);
    if (!g->response)
        return gr_row_nomem(at);
    g->n = n;
    for (size_t i = 0; i < n; i++) {
        gram_status rc = gr_text_read(at, key, json_array_get(list, i), &g->response[i]);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

static gram_status read_group(const gr_at *at, const json_t *row, gr_group *g)
{
    const json_t *reference = json_object_get(row, "reference");
    gr_talk prompt = { 0 };
    gram_status rc;

    *g = (gr_group){ 0 };
    if (!json_is_object(row))
        return gr_bad(at, "a row must be a JSON object, found %s", gr_json_kind(row));
    rc = gr_prompt_read(at, row, &prompt);
    if (!rc)
        rc = gr_prompt_check(at, &prompt);
    if (!rc)
        rc = read_responses(at, row, g);
    if (!rc)
        rc = gr_tools_read(at, row, &g->tools);
    if (!rc && reference && !json_is_null(reference))
        rc = gr_text_read(at, "reference", reference, &g->reference);
    if (!rc) {
        g->id = gr_row_id(at, row, "");
        g->turn = gr_talk_pack(&prompt, prompt.n);
        g->n_turns = prompt.n;
        if (!g->id || !g->turn)
            rc = gr_row_nomem(at);
    }
    gr_talk_clear(&prompt);
    if (rc)
        gr_group_clear(g);
    return rc;
}

/* ---- One line ----------------------------------------------------------------------------------- */

gram_status gr_rows_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_row **out, size_t *n,
                          gram_err *err)
{
    gr_at at = { name, line, err, false };
    json_t *root;
    gram_status rc = load(&at, json, bytes, &root);

    *out = NULL;
    *n = 0;
    if (rc)
        return rc;
    rc = gr_forms_read(&at, root, out, n);
    json_decref(root);
    return rc;
}

gram_status gr_group_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                           gram_err *err)
{
    gr_at at = { name, line, err, false };
    json_t *root;
    gram_status rc = load(&at, json, bytes, &root);

    if (rc) {
        *out = (gr_group){ 0 };
        return rc;
    }
    rc = read_group(&at, root, out);
    json_decref(root);
    return rc;
}

/* ---- Files -------------------------------------------------------------------------------------- */

gram_status gr_reader_open(gr_reader **out, const char *path, gram_err *err)
{
    gr_reader *r = gr_calloc(1, sizeof *r);
    gram_status rc;

    *out = NULL;
    if (!r)
        return gr_nomem(err, path);
    r->name = gr_strdup(strcmp(path, "-") ? path : "standard input");
    rc = r->name ? gr_lines_open(&r->lines, path, err) : gr_nomem(err, path);
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
    free(r->name);
    free(r);
}

uint64_t gr_reader_line(const gr_reader *r)
{
    return r->line;
}

static const char *skip_blank(const char *p, size_t *n)
{
    while (*n && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
        --*n;
    }
    return p;
}

/* The next line that holds something, less the byte order mark that a file may begin with; NULL at the end. */
static gram_status next_line(gr_reader *r, const char **line, size_t *n, gram_err *err)
{
    static const char mark[] = "\xef\xbb\xbf";

    for (;;) {
        gram_status rc = gr_lines_next(r->lines, line, n, err);
        if (rc || !*line)
            return rc;
        r->line = gr_lines_number(r->lines);
        if (r->line == 1 && *n >= 3 && !memcmp(*line, mark, 3)) {
            *line += 3;
            *n -= 3;
        }
        *line = skip_blank(*line, n);
        if (*n)
            return GRAM_OK;
    }
}

/* The rest of a file that begins with '['. GRAM_EIO where it is no JSON: there is no row to go on with. */
static gram_status load_array(gr_reader *r, const char *line, size_t n, gram_err *err)
{
    gram_err why;
    gr_at at = { r->name, r->line, &why, false };
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
        rc = load(&at, b.p, b.n, &r->array);
    gr_buf_clear(&b);
    return rc ? gr_fail(err, rc == GRAM_EFORMAT ? GRAM_EIO : rc, "%s", why.text) : GRAM_OK;
}

gram_status gr_reader_json(gr_reader *r, json_t **row, gram_err *err)
{
    gr_at at = { r->name, 0, err, false };
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
        if (!first || *line != '[')
            return load(&at, line, n, row);
        rc = load_array(r, line, n, err);
        if (rc)
            return rc;
    }
    if (r->next < json_array_size(r->array)) {
        *row = json_incref(json_array_get(r->array, r->next++));
        r->line = r->next;
    }
    return GRAM_OK;
}

gr_at gr_reader_at(const gr_reader *r, gram_err *err)
{
    return (gr_at){ r->name, r->line, err, r->array != NULL };
}

gram_status gr_reader_pair(gr_reader *r, gr_row *out, bool *end, gram_err *err)
{
    *end = false;
    *out = (gr_row){ 0 };
    if (r->given == r->n_rows) {
        json_t *row;
        gr_at at;
        gram_status rc;

        free(r->row);
        r->row = NULL;
        r->n_rows = r->given = 0;
        rc = gr_reader_json(r, &row, err);
        *end = !rc && !row;
        if (rc || !row)
            return rc;
        at = gr_reader_at(r, err);
        rc = gr_forms_read(&at, row, &r->row, &r->n_rows);
        json_decref(row);
        if (rc)
            return rc;
    }
    *out = r->row[r->given++];
    return GRAM_OK;
}

gram_status gr_reader_group(gr_reader *r, gr_group *out, bool *end, gram_err *err)
{
    json_t *row;
    gram_status rc = gr_reader_json(r, &row, err);
    gr_at at = gr_reader_at(r, err);

    *end = !rc && !row;
    *out = (gr_group){ 0 };
    if (rc || !row)
        return rc;
    rc = read_group(&at, row, out);
    json_decref(row);
    return rc;
}
