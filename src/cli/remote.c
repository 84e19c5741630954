/* remote.c - `gram score --server URL`: the rows of a file judged elsewhere, into the lines it would write here. */
#include <errno.h>
#include <glob.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/client.h"
#include "base/err.h"
#include "base/json.h"
#include "cli/remote.h"

enum { ROWS = 16 };                         /* in a request: enough for the server to batch, few to lose */

typedef struct {
    const char *url, *key;
    FILE *out;
    json_t *pair[ROWS], *id[ROWS];
    size_t n;
    gr_buf held;                            /* PURM's lines, which get their overlaps when all are there */
    size_t n_held;
    double lambda;                          /* the server's */
} remote;

static json_t *messages(const gram_prompt *p)
{
    json_t *list = json_array();

    for (size_t i = 0; i < p->n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s}", "role", p->turn[i].role, "content", p->turn[i].content));
    if (json_array_size(list) == p->n)
        return list;
    json_decref(list);
    return NULL;
}

static void clear(remote *r)
{
    for (size_t i = 0; i < r->n; i++) {
        json_decref(r->pair[i]);
        json_decref(r->id[i]);
    }
    r->n = 0;
}

static bool add(remote *r, const gram_row *row)
{
    json_t *pair = json_pack("{s:o, s:s, s:s, s:s*}", "prompt", messages(&row->pair.prompt), "a", row->pair.a,
                             "b", row->pair.b, "criteria", row->pair.prompt.criteria);

    r->pair[r->n] = pair;
    r->id[r->n] = json_string(row->id);
    r->n++;                                 /* clear() takes NULLs */
    return pair && r->id[r->n - 1];
}

/* The line as gram_score_file() writes it; malloc'ed. */
static char *line_text(const json_t *line)
{
    return gr_json_text(line, JSON_COMPACT | JSON_REAL_PRECISION(17));
}

static gram_status write_text(FILE *out, const char *text, gram_err *err)
{
    if (!text)
        return gr_nomem(err, "output line");
    return fprintf(out, "%s\n", text) < 0 ? gr_fail(err, GRAM_EIO, "output: %s", strerror(errno)) : GRAM_OK;
}

/* The server's verdict as a line; one that has a sigma is held. */
static gram_status write_line(remote *r, json_t *id, json_t *verdict, gram_err *err)
{
    static const char *const keys[] = { "preference", "p_forward", "p_swapped", "logit_margin", "consistent", "tokens",
                                        "truncated" };
    static const struct { const char *from, *to; } if_there[] = { { "temperature", "temperature" },
                                                                   { "rewards", "reward" }, { "sigma", "sigma" },
                                                                   { "mass", "mass" } };
    json_t *line = json_pack("{s:O}", "id", id);
    char *text;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(keys) && !rc; i++) {
        json_t *v = json_object_get(verdict, keys[i]);
        if (!v)
            rc = gr_fail(err, GRAM_EFORMAT, "the server's verdict holds no %s", keys[i]);
        else if (json_object_set(line, keys[i], v))
            rc = gr_nomem(err, "output line");
    }
    for (size_t i = 0; i < GR_COUNT(if_there) && !rc; i++) {
        json_t *v = json_object_get(verdict, if_there[i].from);
        if (v && json_object_set(line, if_there[i].to, v))
            rc = gr_nomem(err, "output line");
    }
    text = line_text(line);
    if (!rc && !json_object_get(line, "sigma"))
        rc = write_text(r->out, text, err);
    else if (!rc && !(text && gr_buf_add(&r->held, text, strlen(text) + 1)))
        rc = gr_nomem(err, "output lines");
    else if (!rc)
        r->n_held++;
    free(text);
    json_decref(line);
    return rc;
}

/* The numbers of the line's two answers under one name. */
static void read_two(const json_t *line, const char *name, double out[2])
{
    for (size_t k = 0; k < 2; k++)
        out[k] = json_number_value(json_array_get(json_object_get(line, name), k));
}

/* The lines that were held, each with the overlaps of its answers' rewards with those of all others. They are read
 * back as they were written, every bit of them, so that the numbers are those that gram_score_file() writes. */
static gram_status write_held(remote *r, gram_err *err)
{
    size_t n = 2 * r->n_held;
    double *mean = calloc(n + 1, sizeof *mean), *sigma = calloc(n + 1, sizeof *sigma), *u = calloc(n + 1, sizeof *u);
    json_t *all = json_array();
    const char *at = r->held.p;
    gram_status rc = mean && sigma && u && all ? GRAM_OK : gr_nomem(err, "output lines");

    for (size_t i = 0; i < n && !rc; i += 2, at += strlen(at) + 1) {
        json_t *line = json_loads(at, 0, NULL);
        read_two(line, "reward", mean + i);
        read_two(line, "sigma", sigma + i);
        if (json_array_append_new(all, line))
            rc = gr_nomem(err, "output lines");
    }
    if (!rc)
        gram_overlap(mean, sigma, n, u);
    for (size_t i = 0; i < n && !rc; i += 2) {
        json_t *line = json_array_get(all, i / 2);
        char *text = NULL;
        if (!json_object_set_new(line, "overlap", json_pack("[f,f]", u[i], u[i + 1]))
            && !json_object_set_new(line, "penalised", json_pack("[f,f]", mean[i] - r->lambda * u[i],
                                                                 mean[i + 1] - r->lambda * u[i + 1])))
            text = line_text(line);
        rc = write_text(r->out, text, err);
        free(text);
    }
    free(mean);
    free(sigma);
    free(u);
    json_decref(all);
    return rc;
}

/* Rows from..from+n in one request. */
static gram_status ask(remote *r, size_t from, size_t n, gram_err *err)
{
    json_t *pairs = json_array(), *body, *answer = NULL, *data;
    gr_buf text = { 0 };
    char *request = NULL;
    gram_status rc;

    for (size_t i = from; i < from + n; i++)
        json_array_append(pairs, r->pair[i]);
    body = json_pack("{s:o}", "pairs", pairs);
    if (!body || json_array_size(pairs) != n || !(request = gr_json_text(body, JSON_COMPACT))) {
        rc = gr_nomem(err, "request");
        goto out;
    }
    rc = gr_client_post(r->url, r->key, "/v1/score", request, &text, NULL, err);
    if (rc)
        goto out;
    answer = json_loadb(text.p, text.n, 0, NULL);
    data = json_object_get(answer, "data");
    r->lambda = json_number_value(json_object_get(answer, "lambda"));       /* there where verdicts have a sigma */
    if (json_array_size(data) != n)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: %zu verdicts for %zu rows", r->url, json_array_size(data), n);
    for (size_t i = 0; i < n && !rc; i++) {             /* before any line is written: flush() asks again */
        json_t *error = json_object_get(json_array_get(data, i), "error");
        if (error)
            rc = gr_fail(err, GRAM_EARG, "%s", json_string_value(json_object_get(error, "message")));
    }
    for (size_t i = 0; i < n && !rc; i++)
        rc = write_line(r, r->id[from + i], json_array_get(data, i), err);
out:
    json_decref(answer);
    json_decref(body);
    free(request);
    gr_buf_clear(&text);
    return rc;
}

/* A request that is refused, or has a row that is, goes again row by row, so that the error can name the row. */
static gram_status flush(remote *r, gram_err *err)
{
    gram_err why;
    gram_status rc = r->n ? ask(r, 0, r->n, &why) : GRAM_OK;

    if (rc == GRAM_EARG)
        for (size_t i = 0; i < r->n; i++) {
            rc = ask(r, i, 1, &why);
            if (rc) {
                gr_fail(err, rc, "%s: %s", json_string_value(r->id[i]), why.text);
                break;
            }
        }
    else if (rc)
        *err = why;
    clear(r);
    return rc;
}

/* The server's pairs are texts. */
static gram_status check_texts(const gram_row *row, gram_err *err)
{
    const gram_prompt *p = &row->pair.prompt;
    bool more = p->tools || row->pair.extra_a || row->pair.extra_b;

    for (size_t i = 0; i < p->n; i++)
        more = more || p->turn[i].extra || !strcmp(p->turn[i].role, "tool");
    return more ? gr_fail(err, GRAM_EFORMAT, "%s: its tools, tool calls, thoughts or names cannot be sent to a server: "
                          "score it without --server", row->id) : GRAM_OK;
}

/* The next row; those that are bad are told of and counted where --skip-bad says so. */
static gram_status next_row(gram_rows *rows, const gram_row **row, size_t *bad, gram_err *err)
{
    for (;; ++*bad) {
        gram_status rc = gram_rows_next(rows, row, err);
        if (!rc && *row)
            rc = check_texts(*row, err);
        if (rc != GRAM_EFORMAT || !cli_skip_bad)
            return rc;
        cli_warn_fn(&(cli_progress){ 0 }, err->text);
    }
}

static gram_status all_rows(remote *r, const char *path, gram_err *err)
{
    gram_rows *rows;
    const gram_row *row;
    size_t bad = 0;
    gram_status rc = gram_rows_open_columns(&rows, path, cli_columns, err);

    if (rc)
        return rc;
    for (;;) {
        rc = next_row(rows, &row, &bad, err);
        if (rc || !row)
            break;
        rc = add(r, row) ? GRAM_OK : gr_nomem(err, "row");
        if (!rc && r->n == ROWS)
            rc = flush(r, err);
        if (rc)
            break;
    }
    if (!rc)
        rc = flush(r, err);
    if (!rc)
        rc = write_held(r, err);
    if (bad && !cli_quiet)
        fprintf(stderr, "%zu bad row%s skipped\n", bad, bad == 1 ? "" : "s");
    clear(r);
    gr_buf_clear(&r->held);
    gram_rows_close(rows);
    return rc;
}

/* ---- The output ----------------------------------------------------------------------------------- */

/* A file gets its name when it is whole; what is no regular file, as a pipe, is written in place. */
typedef struct {
    FILE *f;
    char *path, *partial;                   /* links followed, and what is written until then; NULL: in place */
} output;

static bool is_file(const struct stat *is, const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_dev == is->st_dev && st.st_ino == is->st_ino;
}

/* Whether rows of `in`, a file, a directory of files or a pattern for them, may be lost by writing `out`. */
static bool overwrites(const char *out, const char *in)
{
    struct stat to, from;
    glob_t found = { 0 };
    bool is = false;

    if (gr_name_is_standard(in) || stat(out, &to) || !S_ISREG(to.st_mode))
        return false;
    if (stat(in, &from) == 0 && S_ISDIR(from.st_mode)) {
        char *real = realpath(out, NULL);
        is = !real || is_file(&from, dirname(real));
        free(real);
        return is;
    }
    if (is_file(&to, in))
        return true;
    if (glob(in, GLOB_NOSORT, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++)
            is = is || is_file(&to, found.gl_pathv[i]);
    globfree(&found);
    return is;
}

/* Whether the name promises a form or a packing that is not plain lines. */
static bool promises_other(const char *name)
{
    static const char *const end[] = { ".gz", ".zst", ".bz2", ".xz", ".lz4", ".zip", ".parquet", ".arrow", ".arrows",
                                       ".feather", ".csv", ".tsv", ".xlsx", ".xls", ".ods" };
    const char *dot = strrchr(name, '.');
    bool is = false;

    for (size_t i = 0; dot && i < GR_COUNT(end); i++)
        is |= !strcasecmp(dot, end[i]);
    return is;
}

static int open_output(output *o, const char *out, const char *in)
{
    struct stat st;
    gr_buf partial = { 0 };

    *o = (output){ .f = stdout };
    if (!out || gr_name_is_standard(out))
        return CLI_DONE;
    if (stat(out, &st) == 0 && !S_ISREG(st.st_mode)) {
        o->f = fopen(out, "we");
        return o->f ? CLI_DONE : cli_fail("%s: %s", out, strerror(errno));
    }
    if (overwrites(out, in))
        return cli_fail("out: %s is what is read, and would be written over", out);
    o->path = realpath(out, NULL);
    if (!o->path)
        o->path = gr_strdup(out);
    if (!o->path || !gr_buf_printf(&partial, "%s.partial", o->path)) {
        gr_buf_clear(&partial);
        return cli_fail("out of memory");
    }
    o->partial = partial.p;
    o->f = fopen(o->partial, "we");
    return o->f ? CLI_DONE : cli_fail("%s: %s", o->partial, strerror(errno));
}

/* rc: how the run went. A file that is not whole keeps the name that it was written under, and an empty one goes. */
static int close_output(output *o, int rc)
{
    bool ok = true;

    if (o->f && o->f != stdout) {
        if (rc && o->partial && ftell(o->f) == 0)
            unlink(o->partial);
        ok = fflush(o->f) == 0 && (!o->partial || fsync(fileno(o->f)) == 0);
        ok = fclose(o->f) == 0 && ok;
    }
    if (ok && !rc && o->partial)
        ok = rename(o->partial, o->path) == 0;
    if (!ok && !rc)
        rc = cli_fail("%s: %s", o->path ? o->path : "output", strerror(errno));
    free(o->path);
    free(o->partial);
    return rc;
}

int cli_score_remote(const char *url, const char *in, const char *out)
{
    remote r = { .url = url, .key = getenv("GRAM_API_KEY") };
    output o;
    gram_err err;
    int rc;

    if (out && promises_other(out))
        return cli_usage("--out %s: what a server says is written as plain JSON Lines alone", out);
    rc = open_output(&o, out, in);
    r.out = o.f;
    if (!rc && all_rows(&r, in, &err))
        rc = cli_fail_err(&err);
    return close_output(&o, rc);
}
