/* folder.c - see folder.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/numeric.h"
#include "data/paths.h"
#include "eval/folder.h"
#include "eval/page.h"
#include "eval/source.h"
#include "eval/text.h"
#include "file/io.h"

enum { KINDS = GR_RULES_REWARDBENCH2 + 1 };
#define NAME 22                     /* columns of the table's first column */

typedef struct {
    const char **path;              /* borrowed from the list */
    size_t n;
    gram_eval_summary sum;
} benchmark;
typedef struct {
    const char *folder;
    gram_eval_options opt;
    const gr_eval_facts *facts;
    char **path;                    /* of all files of rows, in order of their names */
    size_t n, others;
    benchmark of[KINDS];            /* by rules; of[GR_RULES_NONE] are the user's own */
} folder;

static const char *title(size_t k)
{
    return k == GR_RULES_NONE ? "own sets" : gr_rules_name((gr_rules)k);
}

static const char *file_name(size_t k)
{
    return k == GR_RULES_NONE ? "own" : gr_rules_name((gr_rules)k);
}

/* ---- What is there ---- */

/* What is no file of rows is counted, not what is hidden. */
static bool takes(void *arg, const char *name, bool rows)
{
    folder *f = arg;

    f->others += !rows && *name != '.';
    return rows;
}

/* Whether the first object is one of these rules', which have forms of their own. */
static bool has_form(const gr_at *at, const json_t *first, gr_rules rules)
{
    gr_eval_item *item = NULL;
    size_t n = 0;
    bool ok = !gr_rules_rows(rules, at, first, &item, &n);

    for (size_t i = 0; i < n; i++)
        gr_eval_item_clear(&item[i]);
    free(item);
    return ok;
}

/* The row at this line, or the first behind it. *found false: it has no form of its own, or is none at all. */
static gram_status tell_form(const folder *f, const char *path, uint64_t line, gr_rules *rules, bool *found,
                             gram_err *err)
{
    static const gr_rules own[] = { GR_RULES_JUDGEBENCH, GR_RULES_RMBENCH, GR_RULES_REWARDBENCH2 };
    gr_reader *r = NULL;
    json_t *row = NULL;
    gram_err why;
    gram_status rc = gr_reader_open(&r, path, f->opt.file.columns, err), read = rc;
    gr_at at;

    *found = false;
    while (!rc) {
        read = gr_reader_json(r, &row, &why);
        if (gr_reader_line(r) >= line || (read && read != GRAM_EFORMAT) || (!read && !row))
            break;
        json_decref(row);
        row = NULL;
    }
    if (!read && row) {
        at = gr_reader_at(r, &why);
        for (size_t k = 0; k < GR_COUNT(own) && !*found; k++) {
            *rules = own[k];
            *found = has_form(&at, row, own[k]);
        }
    }
    json_decref(row);
    gr_reader_close(r);
    return rc;
}

/* A row of RewardBench is a pair like others, whose subset tells it. *line: of the row that told it, the first that is
 * not bad, where bad ones are skipped. */
static gram_status tell_pair(const folder *f, const char *path, gr_rules *rules, uint64_t *line, gram_err *err)
{
    gr_reader *r = NULL;
    gr_row row = { 0 };
    bool end = false;
    gram_status rc = gr_reader_open(&r, path, f->opt.file.columns, err);

    while (!rc && (rc = gr_reader_pair(r, &row, &end, err)) == GRAM_EFORMAT && f->opt.file.skip_bad)
        rc = GRAM_OK;
    if (!rc && end)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no row to judge", path);
    *rules = !rc && gr_rules_knows(GR_RULES_REWARDBENCH, row.subset) ? GR_RULES_REWARDBENCH : GR_RULES_NONE;
    *line = r ? gr_reader_line(r) : 0;
    gr_row_clear(&row);
    gr_reader_close(r);
    return rc;
}

static gram_status tell(const folder *f, const char *path, gr_rules *rules, gram_err *err)
{
    gr_rules form = GR_RULES_NONE;
    uint64_t line = 1;
    bool found;
    gram_status rc = tell_form(f, path, line, &form, &found, err);

    if (!rc && !found)
        rc = tell_pair(f, path, rules, &line, err);
    if (!rc && !found && line > 1)
        rc = tell_form(f, path, line, &form, &found, err);
    if (!rc && found)
        *rules = form;
    return rc;
}

static gram_status tell_files(folder *f, gram_err *err)
{
    for (size_t i = 0; i < f->n; i++) {
        benchmark *b;
        gr_rules rules = GR_RULES_NONE;
        gram_status rc = tell(f, f->path[i], &rules, err);
        if (rc)
            return rc;
        b = &f->of[rules];
        if (!b->path)
            b->path = gr_calloc(f->n, sizeof *b->path);
        if (!b->path)
            return gr_nomem(err, "evaluation");
        b->path[b->n++] = f->path[i];
    }
    return GRAM_OK;
}

/* ---- What comes out ---- */

/* The benchmark's own number; of the user's sets the mean over them. */
static gram_interval headline(const benchmark *b, size_t k)
{
    return k != GR_RULES_NONE ? b->sum.rules : b->n > 1 ? b->sum.macro_accuracy : b->sum.accuracy;
}

static bool table(gr_buf *b, const folder *f)
{
    bool ok = gr_buf_printf(b, "%-*s%7s%8s%8s%16s%8s%8s%8s\n", NAME, "percent", "files", "rows", "score",
                            "95 % interval", "right", "flips", "ECE");

    for (size_t k = 0; k < KINDS && ok; k++) {
        const benchmark *m = &f->of[k];
        gram_interval score;
        if (!m->n)
            continue;
        score = headline(m, k);
        ok = gr_text_cell(b, title(k), NAME) && gr_buf_printf(b, "%7zu%8" PRIu64, m->n, m->sum.rows) &&
            gr_text_percent(b, score.value, 8) &&
            (isnan(score.value) ? gr_buf_printf(b, "%16s", "-")
                                : gr_buf_printf(b, "%8.1f - %5.1f", 100 * score.low, 100 * score.high)) &&
            gr_text_percent(b, m->sum.accuracy.value, 8) && gr_text_percent(b, m->sum.flip_rate.value, 8) &&
            gr_text_percent(b, m->sum.ece, 8) && gr_buf_puts(b, "\n");
    }
    if (ok)
        ok = gr_buf_puts(b, "\nscore: the benchmark's own metric; of own sets the mean of their accuracies. right: of "
                         "all pairs.\n");
    return ok && (!f->others ||
                  gr_buf_printf(b, "left out: %zu name%s in the folder that %s no file%s of rows; folders in it are "
                                "not looked into\n", f->others, f->others == 1 ? "" : "s",
                                f->others == 1 ? "is" : "are", f->others == 1 ? "" : "s"));
}

static void page_row(gr_page *p, const folder *f, size_t k)
{
    const benchmark *m = &f->of[k];
    gram_interval score = headline(m, k);

    gr_page_put(p, "<tr><th scope=\"row\"><a href=\"%s/index.html\">%s</a></th>", file_name(k), title(k));
    gr_page_cell_count(p, m->n);
    gr_page_cell_count(p, m->sum.rows);
    gr_page_cell_percent(p, score.value);
    gr_page_cell_range(p, score);
    gr_page_cell_percent(p, m->sum.accuracy.value);
    gr_page_cell_percent(p, m->sum.longer_baseline);
    gr_page_cell_percent(p, m->sum.flip_rate.value);
    gr_page_cell_percent(p, m->sum.first_seat_rate.value);
    gr_page_cell_percent(p, m->sum.ece);
    gr_page_raw(p, "</tr>\n");
}

static void page(gr_page *p, const folder *f)
{
    gr_page_begin(p, "Benchmarks of ", f->facts && f->facts->model ? f->facts->model : "a reward model");
    gr_page_raw(p, "<p class=\"sub\">Every benchmark of a folder, each by its own rules");
    if (f->facts && f->facts->date) {
        gr_page_raw(p, ", ");
        gr_page_text(p, f->facts->date);
    }
    gr_page_raw(p, "</p>\n<ul class=\"cards\" aria-label=\"Summary\">\n");
    for (size_t k = 0; k < KINDS; k++)
        if (f->of[k].n)
            gr_page_card(p, title(k), headline(&f->of[k], k),
                         k == GR_RULES_NONE ? "mean of files" : "by its own rules");
    gr_page_raw(p, "</ul>\n<h2>Benchmarks</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>"
                "<th scope=\"col\">benchmark</th><th scope=\"col\">files</th><th scope=\"col\">pairs</th>"
                "<th scope=\"col\">score</th><th scope=\"col\">95&#160;% interval</th><th scope=\"col\">accuracy</th>"
                "<th scope=\"col\">longer</th><th scope=\"col\">flips</th><th scope=\"col\">first seat</th>"
                "<th scope=\"col\">ECE</th></tr></thead>\n<tbody>\n");
    for (size_t k = 0; k < KINDS; k++)
        if (f->of[k].n)
            page_row(p, f, k);
    gr_page_raw(p, "</tbody></table></div>\n<p class=\"note\">Score: the benchmark&#8217;s own metric; of own sets the "
                "mean of their accuracies. A benchmark&#8217;s name leads to all its numbers.</p>\n");
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < f->of[k].n; i++) {
            gr_page_put(p, "%s", i ? ", " : "<p class=\"note\">");
            if (!i)
                gr_page_put(p, "%s: ", title(k));
            gr_page_text(p, gr_text_base(f->of[k].path[i]));
        }
        gr_page_raw(p, f->of[k].n ? "</p>\n" : "");
    }
    gr_page_end(p);
}

static bool interval(gr_buf *b, const char *key, gram_interval v)
{
    return gr_buf_printf(b, ",\"%s\":", key) && gr_text_interval(b, v);
}

static bool json(gr_buf *b, const folder *f)
{
    bool ok = gr_buf_puts(b, "{\"gram_eval_folder\":1,\"model\":") &&
        gr_text_json(b, f->facts ? f->facts->model : NULL) && gr_buf_puts(b, ",\"benchmarks\":["), first = true;

    for (size_t k = 0; k < KINDS && ok; k++) {
        const benchmark *m = &f->of[k];
        if (!m->n)
            continue;
        ok = gr_buf_printf(b, "%s{\"name\":\"%s\",\"files\":[", first ? "" : ",", file_name(k));
        first = false;
        for (size_t i = 0; i < m->n && ok; i++)
            ok = (!i || gr_buf_puts(b, ",")) && gr_text_json(b, gr_text_base(m->path[i]));
        ok = ok && gr_buf_printf(b, "],\"rows\":%" PRIu64, m->sum.rows) && interval(b, "score", headline(m, k)) &&
            interval(b, "accuracy", m->sum.accuracy) && interval(b, "macro_accuracy", m->sum.macro_accuracy) &&
            interval(b, "flip_rate", m->sum.flip_rate) && interval(b, "first_seat_rate", m->sum.first_seat_rate) &&
            gr_buf_puts(b, ",\"ece\":") && gr_text_number(b, m->sum.ece) && gr_buf_puts(b, "}");
    }
    return ok && gr_buf_puts(b, "]}\n");
}

static gram_status write_page(const folder *f, gram_err *err)
{
    gr_buf b = { 0 };
    gr_page p = { &b, true };
    char *path = gr_path_join(f->opt.report_dir, "index.html");
    gram_status rc;

    page(&p, f);
    rc = path && p.ok ? gr_write_file(path, b.p, b.n, err) : gr_nomem(err, "evaluation report");
    gr_buf_clear(&b);
    free(path);
    return rc;
}

static gram_status write_json(const folder *f, gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = json(&b, f) ? gr_write_file(f->opt.json, b.p, b.n, err) : gr_nomem(err, "evaluation");

    gr_buf_clear(&b);
    return rc;
}

/* ---- The runs ---- */

/* A benchmark's page, numbers and rows stand in a folder of its name. */
static gram_status judge(folder *f, size_t k, gr_eval_files_fn *judge_files, void *arg, gram_err *err)
{
    benchmark *m = &f->of[k];
    gram_eval_options opt = f->opt;
    char *dir = NULL, *numbers = NULL;
    gram_status rc = GRAM_OK;

    opt.rules = gr_rules_name((gr_rules)k);
    opt.json = opt.rows = NULL;
    if (f->opt.report_dir) {
        dir = gr_path_join(f->opt.report_dir, file_name(k));
        numbers = dir ? gr_path_join(dir, "numbers.json") : NULL;
        rc = numbers ? gr_make_directory(f->opt.report_dir, err) : gr_nomem(err, "evaluation");
        opt.report_dir = dir;
        opt.json = numbers;
    }
    if (!rc)
        rc = judge_files(arg, m->path, m->n, &opt, &m->sum, err);
    free(dir);
    free(numbers);
    return rc;
}

static gram_status run(folder *f, gr_eval_files_fn *judge_files, void *arg, char **table_out, gram_err *err)
{
    bool whole = !f->opt.file.shares && !f->opt.file.workers;
    gr_buf text = { 0 };
    gram_status rc = gr_paths_in(f->folder, takes, f, &f->path, &f->n, err);

    if (!rc)
        rc = tell_files(f, err);
    for (size_t k = 0; k < KINDS && !rc; k++)
        if (f->of[k].n)
            rc = judge(f, k, judge_files, arg, err);
    if (!rc && whole && table_out && !table(&text, f))
        rc = gr_nomem(err, "evaluation table");
    if (!rc && whole && f->opt.report_dir)
        rc = write_page(f, err);
    if (!rc && whole && f->opt.json)
        rc = write_json(f, err);
    if (rc)
        gr_buf_clear(&text);
    if (table_out)
        *table_out = text.p;
    return rc;
}

gram_status gr_eval_folder(const char *path, const gram_eval_options *opt, const gr_eval_facts *facts,
                           gr_eval_files_fn *judge_files, void *arg, char **table_out, gram_err *err)
{
    folder f = { .folder = path, .facts = facts };
    gr_numeric numeric;
    gram_status rc;

    if (table_out)
        *table_out = NULL;
    if (opt)
        f.opt = *opt;
    if (f.opt.rules || f.opt.rows)
        return gr_fail(err, GRAM_EARG, "a folder's files have their own rules, and rows of their own in the report's "
                       "folder");
    if (f.opt.file.resume && !f.opt.report_dir)
        return gr_fail(err, GRAM_EARG, "a run over a folder resumes from its report's folder, which is not named");
    if (!gr_numeric_enter(&numeric))
        return gr_nomem(err, "evaluation");
    rc = run(&f, judge_files, arg, table_out, err);
    gr_paths_free(f.path, f.n);
    for (size_t k = 0; k < KINDS; k++)
        free(f.of[k].path);
    gr_numeric_leave(&numeric);
    return rc;
}
