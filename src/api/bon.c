/* bon.c - gram/bon.h: answers from a policy or a file, a judge over them, a line for each row.
 *
 * Answers end in any order while others are written; between two steps of the engine the lines at the front that are
 * whole are judged and written. An answer follows from its prompt and its seed, and a reward from its group, so a run
 * that was cut off goes on and ends with the same bytes. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/bon_int.h"
#include "api/how.h"
#include "api/judge_int.h"
#include "api/shards.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"

double gram_best_of(const double *key, const double *value, size_t N, size_t n)
{
    return gr_best_of(key, value, N, n);
}

struct run {
    gr_job job;
    gram_model *policy;             /* NULL: rows have their responses */
    gram_judge *judge;
    const gram_bon_options *opt;
    gram_generation g;              /* of a policy, and what a share has from the whole file */
    gram_bon_report *report;
    gr_bon_line *first, **last;
    size_t rows;                    /* read, those of the run before too */
    size_t before;                  /* rows of the file before the share's, of a policy */
    gram_prompt prompt;             /* the one that the engine has asked for */
    gr_bon curve;
    gram_err why;                   /* what a callback met */
};

static bool wants_gold(const gram_bon_options *o) { return o->gold || o->gold_column; }

/* ---- Reading ------------------------------------------------------------------------------------- */

static gram_status read_gold_column(struct run *r, gr_bon_line *l, gr_at at)
{
    const char *key = r->opt->gold_column;
    const json_t *list = json_object_get(l->columns, key);
    size_t n = l->row.n;

    if (!key)
        return GRAM_OK;
    if (!json_is_array(list) || json_array_size(list) != n)
        return gr_bad(&at, "key \"%s\" must be a list of %zu numbers, one for each response", key, n);
    l->gold = gr_calloc(n, sizeof *l->gold);
    if (!l->gold)
        return gr_row_nomem(&at);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v) && !json_is_null(v))
            return gr_bad(&at, "key \"%s\": element %zu must be a number or null", key, i + 1);
        l->gold[i] = json_is_null(v) ? NAN : json_number_value(v);
    }
    return GRAM_OK;
}

/* Room for the policy's answers. */
static bool make_room(gr_bon_line *l, size_t n)
{
    l->row.response = gr_calloc(n, sizeof *l->row.response);
    l->answer = gr_calloc(n, sizeof *l->answer);
    l->row.n = l->row.response && l->answer ? n : 0;
    l->left = n;
    return l->row.n == n;
}

/* Of all that is read of the row, which is its columns, too, where a program judges. */
static gram_status take_digest(const struct run *r, gr_bon_line *l, gram_err *err)
{
    const gram_judge *gold = r->opt->gold;
    bool all = r->judge->program || (gold && gold->program);
    json_t *list = r->opt->gold_column ? json_object_get(l->columns, r->opt->gold_column) : NULL;
    char *text = all ? gr_api_columns(l->columns) : list ? gr_json_text(list, JSON_COMPACT) : NULL;

    l->digest = gr_group_digest(&l->row);
    if (text)
        l->digest = gr_digest(l->digest, text, strlen(text));
    free(text);
    return text || !(all || list) ? GRAM_OK : gr_nomem(err, r->job.in);
}

/* The next good row; NULL at the end. A bad one is counted or fails. */
static gram_status next_row(struct run *r, gr_bon_line **out, gram_err *err)
{
    for (;;) {
        gr_bon_line *l = gr_calloc(1, sizeof *l);
        gram_err why = { 0 };
        bool end = false;
        gram_status rc = l ? gr_reader_asked(r->job.reader, !r->policy, &l->row, &l->columns, &end, &why)
                           : gr_nomem(&why, r->job.in);
        *out = NULL;
        if (!rc && !end)
            rc = read_gold_column(r, l, gr_reader_at(r->job.reader, &why));
        if (!rc && !end)
            rc = take_digest(r, l, &why);
        if (!rc && !end && r->policy && !make_room(l, r->opt->generation->n))
            rc = gr_nomem(&why, r->job.in);
        if (!rc && !end) {
            l->index = r->before + r->rows++;
            *out = l;
            return GRAM_OK;
        }
        if (l)
            gr_bon_line_free(l);
        if (!rc)
            return GRAM_OK;
        rc = gr_job_bad_row(&r->job, rc, &why, err);
        if (rc)
            return rc;
    }
}

/* The same past the rows that the run before has written. */
static gram_status next_new(struct run *r, gr_bon_line **out, gram_err *err)
{
    for (;;) {
        bool same;
        gram_status rc = next_row(r, out, err);
        if (rc || !*out || (*out)->index >= r->before + r->job.report->resumed)
            return rc;
        rc = gr_job_check_written(&r->job, (*out)->row.id, (*out)->digest, &same, err);
        gr_bon_line_free(*out);
        *out = NULL;
        if (rc)
            return rc;
    }
}

/* ---- Judging ------------------------------------------------------------------------------------- */

/* A judge's rewards of the line; where the whole group cannot be judged, the line says why. */
static gram_status judge_by(gram_judge *j, gr_bon_line *l, gram_judged_group *out, gram_judge_cost *cost, gram_err *err)
{
    gram_group g = { .prompt = gr_group_prompt(&l->row),
                     .response = (const char *const *)l->row.response, .n = l->row.n, .reference = l->row.reference };
    gram_err why = { 0 };
    char *columns = NULL;
    gram_status rc = GRAM_OK;

    if (j->program && !(columns = gr_api_columns(l->columns)))
        rc = gr_nomem(&why, "columns");
    g.columns = columns;
    if (!rc)
        rc = gram_judge_group(j, &g, out, &why);
    free(columns);
    if (rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED || rc == GRAM_ELIMIT) {
        l->error = gr_strdup(why.text);
        return l->error ? GRAM_OK : gr_nomem(err, "rewards");
    }
    if (rc)
        return gr_fail(err, rc, "row %s: %s", l->row.id, why.text);
    gr_judge_add_cost(cost, &out->cost);
    return GRAM_OK;
}

static void tell_of(struct run *r, const gr_bon_line *l, const char *what)
{
    gr_buf b = { 0 };

    if (r->job.opt->warn && gr_buf_printf(&b, "%s: row %s: %s", r->job.in, l->row.id, what))
        r->job.opt->warn(r->job.opt->arg, b.p);
    gr_buf_clear(&b);
}

/* A line, of this run or of the one before. */
static void count_line(gram_bon_report *r, const json_t *o)
{
    bool failed = json_object_get(o, "error");

    r->failed += failed;
    r->unjudged += failed ? 0 : json_array_size(json_object_get(o, "errors"));
}

/* Judges the line and writes it. */
static gram_status finish_line(struct run *r, gr_bon_line *l, gram_err *err)
{
    const double *gold;
    json_t *o;
    gram_status rc = GRAM_OK;

    if (!l->error)
        rc = judge_by(r->judge, l, &l->judged, &r->report->judge, err);
    if (!rc && !l->error && r->opt->gold)
        rc = judge_by(r->opt->gold, l, &l->by_gold, &r->report->gold, err);
    if (rc)
        return rc;
    gold = r->opt->gold ? l->by_gold.reward : l->gold;
    o = gr_bon_line_json(l, gold, r->opt->seconds);
    if (!o)
        return gr_nomem(err, r->job.in);
    if (json_object_get(o, "error"))
        tell_of(r, l, json_string_value(json_object_get(o, "error")));
    count_line(r->report, o);
    r->report->file.rows++;
    rc = gr_bon_take(&r->curve, o, err);
    if (rc) {
        json_decref(o);
        return rc;
    }
    rc = gr_job_write(&r->job, l->digest, o, err);
    return rc ? rc : gr_job_step(&r->job, err);
}

/* ---- References: the policy's greedy answer ------------------------------------------------------- */

struct references { struct run *r; gr_bon_line **line; gram_err *err; };

static int take_reference(void *arg, const gram_answer *a)
{
    struct references *f = arg;
    gr_bon_line *l = f->line[a->prompt];
    bool failed = a->finish == GRAM_FINISH_FAILED;
    char **to = failed ? &l->error : &l->row.reference;

    *to = failed ? gr_strdup(a->error) : gr_api_answer_text(a);
    l->written += a->tokens;
    f->r->report->tokens += a->tokens;
    if (!*to)
        gr_nomem(&f->r->why, "a reference");
    return !*to;
}

/* Of the first n lines those that have none. How they are written must not depend on how many of them meet here. */
static gram_status write_references(struct run *r, size_t n, gram_err *err)
{
    gram_generation g = *r->opt->generation;
    struct references f = { r, gr_calloc(n, sizeof *f.line), err };
    gram_prompt *prompt = gr_calloc(n, sizeof *prompt);
    size_t asked = 0;
    gram_status rc = f.line && prompt ? GRAM_OK : gr_nomem(err, "references");

    g.temperature = 0;
    g.n = 1;
    if (g.products == GRAM_PRODUCTS_AUTO)
        g.products = GRAM_PRODUCTS_FEW;
    for (gr_bon_line *l = r->first; n-- > 0 && !rc; l = l->next)
        if (!l->error && !l->row.reference) {
            f.line[asked] = l;
            prompt[asked++] = gr_group_prompt(&l->row);
        }
    if (!rc && asked)
        rc = gram_generate(r->policy, prompt, asked, &g, take_reference, &f, err);
    free(f.line);
    free(prompt);
    return rc;
}

/* Judges and writes the lines at the front that are whole. */
static gram_status finish_lines(struct run *r, gram_err *err)
{
    gram_status rc = GRAM_OK;
    size_t n = 0;

    for (gr_bon_line *l = r->first; l && l->left == 0; l = l->next)
        n++;
    if (n && r->policy && gram_judge_needs_reference(r->judge))
        rc = write_references(r, n, err);
    for (; n > 0 && !rc; n--) {
        gr_bon_line *l = r->first;
        rc = finish_line(r, l, err);
        r->first = l->next;
        if (!r->first)
            r->last = &r->first;
        gr_bon_line_free(l);
    }
    return rc;
}

/* ---- Answers of a policy -------------------------------------------------------------------------- */

static gram_status next_prompt(void *arg, const gram_prompt **out, gram_err *err)
{
    struct run *r = arg;
    gr_bon_line *l;
    gram_status rc = next_new(r, &l, err);

    *out = NULL;
    if (rc || !l)
        return rc;
    *r->last = l;
    r->last = &l->next;
    r->prompt = gr_group_prompt(&l->row);
    *out = &r->prompt;
    return GRAM_OK;
}

static int take_answer(void *arg, const gram_answer *a)
{
    struct run *r = arg;
    gr_bon_line *l = r->first;
    gram_answer shown = *a;

    while (l->index != a->prompt)
        l = l->next;
    l->left--;
    if (a->finish == GRAM_FINISH_FAILED) {
        if (!l->error && !(l->error = gr_strdup(a->error)))
            return gr_nomem(&r->why, r->job.in), 1;
        return 0;
    }
    shown.text = l->row.response[a->k] = gr_api_answer_text(a);
    shown.bytes = shown.text ? strlen(shown.text) : 0;
    l->answer[a->k] = shown.text ? gr_api_answer_json(&shown, false) : NULL;
    if (!l->answer[a->k])
        return gr_nomem(&r->why, r->job.in), 1;
    l->written += a->tokens;
    r->report->answers++;
    r->report->tokens += a->tokens;
    r->report->cut += a->finish == GRAM_FINISH_LENGTH;
    if (gr_job_stopped(&r->job))
        return gr_job_stop(&r->job, &r->why), 1;
    return 0;
}

static gram_status between_steps(void *arg, gram_err *err)
{
    return finish_lines(arg, err);
}

static gram_status with_policy(struct run *r, gram_err *err)
{
    gram_status rc = gr_api_generate(r->policy, next_prompt, r, r->before + r->job.report->resumed, &r->g, take_answer,
                                     between_steps, r, err);

    if (!rc)
        rc = finish_lines(r, err);
    if (r->why.status && err)
        *err = r->why;
    return r->why.status ? r->why.status : rc;
}

static gram_status without_policy(struct run *r, gram_err *err)
{
    for (;;) {
        gr_bon_line *l;
        gram_status rc = next_new(r, &l, err);
        if (rc || !l)
            return rc;
        rc = finish_line(r, l, err);
        gr_bon_line_free(l);
        if (rc)
            return rc;
    }
}

/* ---- The run ------------------------------------------------------------------------------------- */

static gram_status check_options(const gram_model *policy, const gram_bon_options *o, gram_err *err)
{
    if (policy && !o->generation)
        return gr_fail(err, GRAM_EARG, "best-of-n with a policy: wanted the settings of its answers");
    if (policy && o->most)
        return gr_fail(err, GRAM_EARG, "best-of-n with a policy: the largest n is how many answers it writes");
    if (policy && o->gold_column)
        return gr_fail(err, GRAM_EARG, "gold column \"%s\": the answers are only written now, so the rows can have no "
                       "gold for them; wanted a judge", o->gold_column);
    if (o->gold && o->gold_column)
        return gr_fail(err, GRAM_EARG, "gold: both a judge and a column");
    if (o->gold && gram_judge_needs_reference(o->gold))
        return gr_fail(err, GRAM_EARG, "gold: by reference it would measure against what the policy wrote");
    return policy ? gram_generation_check(o->generation, err) : GRAM_OK;
}

/* The lines that the run before has written, into the curve and what is told at the end. */
static gram_status take_earlier(struct run *r, gram_err *err)
{
    uint64_t seed, n = r->job.report->resumed;
    gr_bon_expected e = { r->policy ? r->opt->generation->n : 0, r->policy ? &seed : NULL, wants_gold(r->opt) };
    const char *path = gr_job_earlier(&r->job);
    gr_lines *lines = NULL;
    gram_status rc = n ? gr_lines_open(&lines, path, err) : GRAM_OK;

    for (uint64_t i = 0; i < n && !rc; i++) {
        const char *line;
        size_t bytes;
        json_t *o = NULL;
        rc = gr_lines_next(lines, &line, &bytes, err);
        if (rc || !line)
            break;
        seed = r->policy ? r->g.seed + (r->before + i) * r->g.n : 0;
        o = json_loadb(line, bytes, JSON_ALLOW_NUL, NULL);
        rc = gr_bon_check(o, &e, path, i + 1, err);
        if (!rc)
            rc = gr_bon_take(&r->curve, o, err);
        count_line(r->report, o);
        json_decref(o);
    }
    gr_lines_close(lines);
    return rc;
}

typedef gram_status write_fn(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err);

static gram_status write_as(write_fn *write, const struct run *r, const gr_bon_facts *f, const char *path,
                            gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = write(&r->report->curve, f, &b, err);

    if (!rc)
        rc = gr_write_file(path, b.p, b.n, err);
    gr_buf_clear(&b);
    return rc;
}

/* The curve and what shows it; the rows are committed after it, so that a resume can make it again. */
static gram_status publish(struct run *r, char **table, gram_err *err)
{
    const gram_bon_options *o = r->opt;
    char date[32], *name = gr_api_base_name(r->job.in), *page = NULL;
    gr_bon_facts f = { name, gram_judge_about(r->judge), o->gold ? gram_judge_about(o->gold) : NULL,
                      gr_api_date(date) };
    gr_buf column = { 0 }, text = { 0 };
    gram_status rc = name ? GRAM_OK : gr_nomem(err, r->job.in);

    r->curve.gold = wants_gold(o);
    if (o->gold_column && !gr_buf_printf(&column, "the rows' column %s", o->gold_column))
        rc = gr_nomem(err, r->job.in);
    f.gold = o->gold_column ? column.p : f.gold;
    if (!rc)
        rc = gr_bon_curve(&r->curve, r->policy ? o->generation->n : o->most, &r->report->curve, err);
    if (!rc && o->json)
        rc = write_as(gr_bon_json, r, &f, o->json, err);
    if (!rc && o->report_dir) {
        page = gr_path_join(o->report_dir, "index.html");
        rc = page ? write_as(gr_bon_page, r, &f, page, err) : gr_nomem(err, o->report_dir);
    }
    if (!rc && table)
        rc = gr_bon_table(&r->report->curve, &f, &text, err);
    if (rc)
        gr_buf_clear(&text);
    else if (table)
        *table = text.p;
    gr_buf_clear(&column);
    free(page);
    free(name);
    return rc;
}

/* A prompt as next_row() reads it of a policy's rows. */
static gram_status asked(gr_reader *reader, gr_group *out, bool *end, gram_err *err)
{
    json_t *row = NULL;
    gram_status rc = gr_reader_asked(reader, false, out, &row, end, err);

    json_decref(row);
    return rc;
}

/* NULL: memory ran out. */
static json_t *how_of(const struct run *r)
{
    const gram_bon_options *o = r->opt;

    return json_pack("{s:s, s:o, s:o, s:s?, s:o, s:I, s:I}", "command", "bon", "judge", gr_how_judged(r->judge),
                     "gold", gr_how_judged(o->gold), "gold_column", o->gold_column, "generation",
                     r->policy ? gr_how_generation(&r->g) : json_null(), "n", (json_int_t)(r->policy ? r->g.n : 0),
                     "most", (json_int_t)o->most);
}

/* The run over all rows, or over those of a share. */
static gram_status run_rows(struct run *r, const char *in, const char *out, char **table, gram_err *err)
{
    const gram_bon_options *o = r->opt;
    gram_status rc = gr_job_open(&r->job, r->policy, in, out, &o->file, how_of(r), &r->report->file, err);

    if (!rc && o->json)
        rc = gr_reader_spares(r->job.reader, o->json, err);
    if (!rc && o->file.shares && r->policy)
        rc = gr_job_place(&r->job, asked, &r->g, &r->before, err);
    if (!rc)
        rc = take_earlier(r, err);
    if (!rc)
        rc = r->policy ? with_policy(r, err) : without_policy(r, err);
    if (!rc && !o->file.shares)             /* the curve is of all rows */
        rc = publish(r, table, err);
    while (r->first) {
        gr_bon_line *l = r->first;
        r->first = l->next;
        gr_bon_line_free(l);
    }
    gr_bon_clear(&r->curve);
    rc = gr_job_close(&r->job, rc, err);
    if (rc && table) {
        free(*table);
        *table = NULL;
    }
    return rc;
}

gram_status gram_bon_file(gram_model *policy, gram_judge *judge, const char *in, const char *out,
                          const gram_bon_options *opt, gram_bon_report *report, char **table, gram_err *err)
{
    static const gram_bon_options none;
    gram_bon_report unwanted;
    struct run r = { .policy = policy, .judge = judge, .opt = opt ? opt : &none,
                    .report = report ? report : &unwanted };
    bool gathered;
    gram_status rc = check_options(policy, r.opt, err);

    *r.report = (gram_bon_report){ 0 };
    if (table)
        *table = NULL;
    if (rc)
        return rc;
    if (r.opt->file.workers)
        return gr_bon_shares(policy, judge, in, out, r.opt, r.report, table, err);
    r.last = &r.first;
    r.curve.gold = wants_gold(r.opt);
    if (policy)
        r.g = *r.opt->generation;
    if (r.opt->report_dir)
        rc = gr_make_directory(r.opt->report_dir, err);
    if (!rc && r.opt->file.resume && !r.opt->file.shares)
        rc = gr_shards_gather(out, 0, false, &gathered, err);
    if (!rc)
        rc = run_rows(&r, in, out, table, err);
    if (!rc && !r.opt->file.shares && !gr_name_is_standard(out))
        gr_shards_remove(out, NULL);        /* what is whole is not to be made of them again */
    return rc;
}
