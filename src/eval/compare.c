/* compare.c - see compare.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/numeric.h"
#include "eval/compare.h"
#include "eval/metrics.h"
#include "eval/text.h"
#include "file/io.h"

#define NAME 30                     /* columns of the table's first column */
#define SHOWN 10                    /* rows that the table names */

typedef struct { gr_eval_row row; char *file; size_t place; } line;
typedef struct {
    char *path;                     /* of the rows */
    line *line;
    size_t n, cap;
} side;
typedef struct { const line *a, *b; } both;
typedef struct {
    const char *path, *name;        /* as A was given it; its last part where that tells the files apart */
    uint64_t rows, only[2];         /* that one judge alone has right */
    double right[2];                /* shares */
    gram_interval difference;       /* of one prompt infinite */
} part;
typedef struct {
    const char *const *asked;       /* [2] */
    side side[2];
    both *row;                      /* in the order of the first run */
    size_t n;
    uint64_t alone[2], dropped, one_order[2], cut[2];
    part *part, all;                /* a part for each file */
    size_t parts;
    gram_interval macro;
} comparison;

/* ---- Reading ---- */

/* A report's folder and a JSON of numbers have their rows beside them. */
static gram_status find_rows(const char *path, char **out, gram_err *err)
{
    size_t n = strlen(path);
    gr_buf b = { 0 };
    bool ok = true;

    if (n > 5 && !strcmp(path + n - 5, ".json"))
        ok = gr_buf_add(&b, path, n - 5) && gr_buf_puts(&b, ".rows.jsonl");
    else
        ok = gr_buf_puts(&b, path) &&
            (gr_path_regular(path) || !gr_path_exists(path) || gr_buf_puts(&b, "/rows.jsonl"));
    *out = b.p;
    if (!ok)
        return gr_nomem(err, "comparison");
    if (!gr_path_exists(*out))
        return gr_fail(err, GRAM_EIO, "%s: the rows of this run should be in %s, which is not there: name the file "
                       "that they were written to", path, *out);
    return GRAM_OK;
}

static gram_status read_line(side *s, const char *text, size_t n, uint64_t number, gram_err *err)
{
    line *grown = gr_grown(s->line, s->n, &s->cap, 1, sizeof *grown), *l;
    uint64_t mark;
    gram_status rc;

    if (!grown)
        return gr_nomem(err, "comparison");
    s->line = grown;
    l = &s->line[s->n];
    *l = (line){ .place = s->n };
    rc = gr_eval_row_parse(s->path, number, text, n, &l->row, &l->file, &mark, err);
    s->n += !rc;
    return rc;
}

static gram_status read_side(side *s, const char *path, gram_err *err)
{
    gr_lines *lines = NULL;
    const char *text;
    size_t n;
    gram_status rc = find_rows(path, &s->path, err);

    if (!rc)
        rc = gr_lines_open(&lines, s->path, err);
    while (!rc) {
        rc = gr_lines_next(lines, &text, &n, err);
        if (rc || !text)
            break;
        rc = read_line(s, text, n, gr_lines_number(lines), err);
    }
    gr_lines_close(lines);
    if (!rc && !s->n)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no rows", s->path);
    return rc;
}

/* ---- Which row is which ---- */

#define ORDER(x, y) do { if ((x) != (y)) return (x) < (y) ? -1 : 1; } while (0)

/* The same question and answers under the same id of a file of the same name, wherever that lies. Where a side was made
 * by a version of gram that noted no digest of the texts, their lengths stand for it: texts is 0 in all rows then. */
static int same_row(const line *x, const line *y)
{
    int c = strcmp(gr_text_base(x->file), gr_text_base(y->file));

    if (!c)
        c = strcmp(x->row.id, y->row.id);
    if (c)
        return c;
    ORDER(x->row.prompt, y->row.prompt);
    ORDER(x->row.cell, y->row.cell);
    ORDER(x->row.chosen_chars, y->row.chosen_chars);
    ORDER(x->row.rejected_chars, y->row.rejected_chars);
    ORDER(x->row.texts, y->row.texts);
    return 0;
}

static int by_row(const void *a, const void *b)
{
    const line *x = a, *y = b;
    int c = same_row(x, y);

    if (!c)
        ORDER(x->place, y->place);
    return c;
}

static int by_place(const void *a, const void *b)
{
    const both *x = a, *y = b;

    ORDER(x->a->place, y->a->place);
    return 0;
}

/* What one side lacks is not asked of the other. */
static void forget_texts(comparison *c)
{
    bool known = true;

    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < c->side[k].n; i++)
            known = known && c->side[k].line[i].row.texts;
    for (int k = 0; k < 2 && !known; k++)
        for (size_t i = 0; i < c->side[k].n; i++)
            c->side[k].line[i].row.texts = 0;
}

static gram_status match(comparison *c, gram_err *err)
{
    side *a = &c->side[0], *b = &c->side[1];
    size_t i = 0, j = 0;

    c->row = gr_calloc(gr_min(a->n, b->n), sizeof *c->row);
    if (!c->row)
        return gr_nomem(err, "comparison");
    forget_texts(c);
    qsort(a->line, a->n, sizeof *a->line, by_row);
    qsort(b->line, b->n, sizeof *b->line, by_row);
    while (i < a->n && j < b->n) {
        const line *x = &a->line[i], *y = &b->line[j];
        int order = same_row(x, y);
        i += order <= 0;
        j += order >= 0;
        c->alone[0] += order < 0;
        c->alone[1] += order > 0;
        if (!order && (x->row.dropped || y->row.dropped))
            c->dropped++;
        else if (!order)
            c->row[c->n++] = (both){ x, y };
        for (int k = 0; k < 2 && !order; k++) {
            const gr_eval_row *r = k ? &y->row : &x->row;
            if (x->row.dropped || y->row.dropped)
                break;
            c->one_order[k] += !r->rewarded && !gr_eval_both(r);
            c->cut[k] += r->truncated;
        }
    }
    c->alone[0] += a->n - i;
    c->alone[1] += b->n - j;
    if (!c->n)
        return gr_fail(err, GRAM_EFORMAT, "%s and %s have no row in common: rows are the same where file name, id, "
                       "question and answers are", a->path, b->path);
    qsort(c->row, c->n, sizeof *c->row, by_place);
    return GRAM_OK;
}

/* ---- The numbers ---- */

static double step(const both *r)
{
    return gr_eval_right(&r->b->row) - gr_eval_right(&r->a->row);
}

/* Of shares. */
static gram_interval bounded(gram_interval d)
{
    return (gram_interval){ d.value, fmax(-1, d.low), fmin(1, d.high) };
}

/* path NULL: all rows. */
static part part_of(const comparison *c, const char *path, gr_eval_value *scratch)
{
    part p = { .path = path, .name = path };

    for (size_t i = 0; i < c->n; i++) {
        const both *r = &c->row[i];
        if (path && strcmp(path, r->a->file))
            continue;
        scratch[p.rows++] = (gr_eval_value){ r->a->row.prompt, step(r) };
        p.only[0] += step(r) < 0;
        p.only[1] += step(r) > 0;
        p.right[0] += gr_eval_right(&r->a->row);
        p.right[1] += gr_eval_right(&r->b->row);
    }
    p.right[0] /= (double)p.rows;
    p.right[1] /= (double)p.rows;
    p.difference = gr_eval_paired(scratch, p.rows);
    return p;
}

static void name_parts(comparison *c)
{
    for (size_t k = 0; k < c->parts; k++) {
        const char *base = gr_text_base(c->part[k].path);
        bool alike = false;
        for (size_t i = 0; i < c->parts; i++)
            alike = alike || (i != k && !strcmp(base, gr_text_base(c->part[i].path)));
        if (!alike)
            c->part[k].name = base;
    }
}

static gram_status count(comparison *c, gram_err *err)
{
    gr_eval_value *scratch = gr_calloc(c->n, sizeof *scratch);
    double below = 0, above = 0, mean = 0;

    c->part = gr_calloc(c->n, sizeof *c->part);
    if (!scratch || !c->part) {
        free(scratch);
        return gr_nomem(err, "comparison");
    }
    c->all = part_of(c, NULL, scratch);
    for (size_t i = 0; i < c->n; i++) {
        bool seen = false;
        for (size_t k = c->parts; k-- && !seen; )
            seen = !strcmp(c->part[k].path, c->row[i].a->file);
        if (!seen)
            c->part[c->parts++] = part_of(c, c->row[i].a->file, scratch);
    }
    free(scratch);
    name_parts(c);
    for (size_t k = 0; k < c->parts; k++) {
        gram_interval *d = &c->part[k].difference;
        mean += d->value / (double)c->parts;
        below += pow((d->value - d->low) / (double)c->parts, 2);
        above += pow((d->high - d->value) / (double)c->parts, 2);
        *d = bounded(*d);
    }
    c->macro = bounded((gram_interval){ mean, mean - sqrt(below), mean + sqrt(above) });
    c->all.difference = bounded(c->all.difference);
    return GRAM_OK;
}

/* ---- What comes out ---- */

static bool part_line(gr_buf *b, const char *name, const part *p)
{
    return gr_text_cell(b, name, NAME) &&
        gr_buf_printf(b, "%7" PRIu64 "%8.1f%8.1f%+8.1f  %+6.1f - %+5.1f%8" PRIu64 "%8" PRIu64 "\n", p->rows,
                      100 * p->right[0], 100 * p->right[1], 100 * p->difference.value, 100 * p->difference.low,
                      100 * p->difference.high, p->only[0], p->only[1]);
}

static int by_change(const void *a, const void *b)
{
    const both *x = *(both *const *)a, *y = *(both *const *)b;
    double dx = fabs(x->b->row.preference - x->a->row.preference);
    double dy = fabs(y->b->row.preference - y->a->row.preference);

    ORDER(dy, dx);
    ORDER(x->a->place, y->a->place);
    return 0;
}

/* Those that differ most first. */
static bool differing(gr_buf *b, const comparison *c)
{
    size_t n = 0;
    const both **row = gr_calloc(c->n, sizeof *row);
    bool ok = row;

    for (size_t i = 0; i < c->n && ok; i++)
        if (step(&c->row[i]) != 0)
            row[n++] = &c->row[i];
    if (ok && n) {
        qsort(row, n, sizeof *row, by_change);
        ok = gr_buf_printf(b, "\n%zu row%s judged otherwise%s; preference for the chosen answer by A and by B:\n", n,
                           n == 1 ? " is" : "s are", n > SHOWN ? ", the farthest apart of which are" : "");
    }
    for (size_t i = 0; i < gr_min(n, SHOWN) && ok; i++)
        ok = gr_text_cell(b, gr_text_base(row[i]->a->file), NAME) && gr_buf_puts(b, " ") &&
            gr_text_cell(b, row[i]->a->row.id, NAME) &&
            gr_buf_printf(b, "%8.4f%8.4f\n", row[i]->a->row.preference, row[i]->b->row.preference);
    free(row);
    return ok;
}

static bool verdict(gr_buf *b, const comparison *c)
{
    gram_interval d = c->parts > 1 ? c->macro : c->all.difference;
    const char *over = c->parts > 1 ? "by the mean of the files" : "on these rows";

    if (d.low <= 0 && d.high >= 0)
        return gr_buf_printf(b, "Neither can be said to be better %s.\n", over);
    return gr_buf_printf(b, "%s is better %s.\n", d.value > 0 ? "B" : "A", over);
}

static bool notes(gr_buf *b, const comparison *c)
{
    bool ok = true;

    for (int k = 0; k < 2 && ok; k++)
        if (c->one_order[k])
            ok = gr_buf_printf(b, "%c read %" PRIu64 " row%s in one order alone, so that its seat counts too\n",
                               'A' + k, c->one_order[k], c->one_order[k] == 1 ? "" : "s");
    for (int k = 0; k < 2 && ok; k++)
        if (c->cut[k])
            ok = gr_buf_printf(b, "%c read %" PRIu64 " row%s on shortened text\n", 'A' + k, c->cut[k],
                               c->cut[k] == 1 ? "" : "s");
    for (int k = 0; k < 2 && ok; k++)
        if (c->alone[k])
            ok = gr_buf_printf(b, "%" PRIu64 " row%s of %c alone %s left out\n", c->alone[k],
                               c->alone[k] == 1 ? "" : "s", 'A' + k, c->alone[k] == 1 ? "is" : "are");
    if (ok && c->dropped)
        ok = gr_buf_printf(b, "%" PRIu64 " row%s that one of them dropped as too long %s left out\n", c->dropped,
                           c->dropped == 1 ? "" : "s", c->dropped == 1 ? "is" : "are");
    return ok;
}

static bool table(gr_buf *b, const comparison *c)
{
    bool ok = gr_buf_printf(b, "A: %s\nB: %s\n\n%-*s%7s%8s%8s%8s  %14s%8s%8s\n", c->asked[0], c->asked[1], NAME,
                            "percent", "rows", "A right", "B right", "B - A", "95 % interval", "only A", "only B");

    for (size_t k = 0; k < c->parts && ok && c->parts > 1; k++)
        ok = part_line(b, c->part[k].name, &c->part[k]);
    ok = ok && part_line(b, "all rows (micro)", &c->all);
    if (ok && c->parts > 1)
        ok = gr_text_cell(b, "mean of files (macro)", NAME) &&
            gr_buf_printf(b, "%7s%8s%8s%+8.1f  %+6.1f - %+5.1f\n", "", "", "", 100 * c->macro.value, 100 * c->macro.low,
                          100 * c->macro.high);
    return ok && gr_buf_puts(b, "\n") && verdict(b, c) && notes(b, c) && differing(b, c);
}

static bool json_part(gr_buf *b, const part *p)
{
    return gr_buf_puts(b, "{\"name\":") && gr_text_json(b, p->name) &&
        gr_buf_printf(b, ",\"rows\":%" PRIu64 ",\"right_a\":", p->rows) && gr_text_number(b, p->right[0]) &&
        gr_buf_puts(b, ",\"right_b\":") && gr_text_number(b, p->right[1]) && gr_buf_puts(b, ",\"difference\":") &&
        gr_text_interval(b, p->difference) &&
        gr_buf_printf(b, ",\"only_a\":%" PRIu64 ",\"only_b\":%" PRIu64 "}", p->only[0], p->only[1]);
}

static bool json(gr_buf *b, const comparison *c)
{
    bool ok = gr_buf_puts(b, "{\"gram_eval_comparison\":1,\"a\":") && gr_text_json(b, c->asked[0]) &&
        gr_buf_puts(b, ",\"b\":") && gr_text_json(b, c->asked[1]) &&
        gr_buf_puts(b, ",\"all\":") && json_part(b, &c->all) &&
        gr_buf_puts(b, ",\"macro\":") && gr_text_interval(b, c->macro) &&
        gr_buf_printf(b, ",\"only_in_a\":%" PRIu64 ",\"only_in_b\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"files\":[",
                      c->alone[0], c->alone[1], c->dropped);

    for (size_t k = 0; k < c->parts && ok; k++)
        ok = (k == 0 || gr_buf_puts(b, ",")) && json_part(b, &c->part[k]);
    return ok && gr_buf_puts(b, "]}\n");
}

static bool rows(gr_buf *b, const comparison *c)
{
    bool ok = true;

    for (size_t i = 0; i < c->n && ok; i++) {
        const both *r = &c->row[i];
        if (step(r) == 0)
            continue;
        ok = gr_buf_puts(b, "{\"file\":") && gr_text_json(b, r->a->file) && gr_buf_puts(b, ",\"id\":") &&
            gr_text_json(b, r->a->row.id) && gr_buf_puts(b, ",\"subset\":") && gr_text_json(b, r->a->row.subset) &&
            gr_buf_puts(b, ",\"preference_a\":") && gr_text_number(b, r->a->row.preference) &&
            gr_buf_puts(b, ",\"preference_b\":") && gr_text_number(b, r->b->row.preference) && gr_buf_puts(b, "}\n");
    }
    return ok;
}

static gram_status write_out(const comparison *c, bool (*fill)(gr_buf *, const comparison *), const char *path,
                             gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = fill(&b, c) ? GRAM_OK : gr_nomem(err, "comparison");

    if (!rc)
        rc = gr_write_file(path, b.p ? b.p : "", b.n, err);
    gr_buf_clear(&b);
    return rc;
}

static void clear(comparison *c)
{
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < c->side[k].n; i++) {
            gr_eval_row_clear(&c->side[k].line[i].row);
            free(c->side[k].line[i].file);
        }
        free(c->side[k].line);
        free(c->side[k].path);
    }
    free(c->row);
    free(c->part);
}

static gram_status publish(const comparison *c, const char *json_path, const char *rows_path, gram_eval_comparison *out,
                           char **table_out, gram_err *err)
{
    gr_buf text = { 0 };
    gram_status rc = !table_out || table(&text, c) ? GRAM_OK : gr_nomem(err, "comparison");

    if (!rc && json_path)
        rc = write_out(c, json, json_path, err);
    if (!rc && rows_path)
        rc = write_out(c, rows, rows_path, err);
    if (rc) {
        gr_buf_clear(&text);
        return rc;
    }
    if (out)
        *out = (gram_eval_comparison){ .rows = c->all.rows, .only_a = c->all.only[0], .only_b = c->all.only[1],
                                       .alone_a = c->alone[0], .alone_b = c->alone[1], .dropped = c->dropped,
                                       .difference = c->all.difference, .macro_difference = c->macro };
    if (table_out)
        *table_out = text.p;
    return GRAM_OK;
}

/* What is written is no run that is read. */
static gram_status check_spared(const comparison *c, const char *out, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (int k = 0; out && k < 2 && !rc; k++) {
        rc = gr_path_spares(out, c->asked[k], err);
        if (!rc)
            rc = gr_path_spares(out, c->side[k].path, err);
    }
    return rc;
}

gram_status gr_eval_compare(const char *a, const char *b, const char *json_path, const char *rows_path,
                            gram_eval_comparison *out, char **table_out, gram_err *err)
{
    const char *const asked[] = { a, b };
    comparison c = { .asked = asked };
    gr_numeric numeric;
    gram_status rc = GRAM_OK;

    if (table_out)
        *table_out = NULL;
    if (!gr_numeric_enter(&numeric))
        return gr_nomem(err, "comparison");
    for (int k = 0; k < 2 && !rc; k++)
        rc = read_side(&c.side[k], asked[k], err);
    if (!rc)
        rc = check_spared(&c, json_path, err);
    if (!rc)
        rc = check_spared(&c, rows_path, err);
    if (!rc)
        rc = match(&c, err);
    if (!rc)
        rc = count(&c, err);
    if (!rc)
        rc = publish(&c, json_path, rows_path, out, table_out, err);
    clear(&c);
    gr_numeric_leave(&numeric);
    return rc;
}
