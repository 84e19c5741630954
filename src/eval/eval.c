/* eval.c - see eval.h. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/numeric.h"
#include "eval/earlier.h"
#include "eval/eval.h"
#include "eval/numbers.h"
#include "eval/report.h"
#include "eval/shown.h"
#include "eval/source.h"
#include "eval/table.h"
#include "eval/temperature.h"
#include "eval/text.h"
#include "eval/verdicts.h"
#include "file/table.h"

#define BATCH_PAIRS 64

typedef struct {
    gram_eval_options opt;
    gr_rules rules;
    gr_score_fn *score;
    void *arg;
    const char *const *path;            /* as given: what is opened */
    gr_eval_result result;              /* its files count what was not judged, as they are read */
    bool scanned;                       /* bad rows were told of in a first pass */
    uint64_t total;                     /* rows to judge, where scanned */
    uint64_t doubted;                   /* whose chosen answer is the less likely one by their own soft label */
    uint64_t from, to, seen;            /* of a share: which of all rows it judges, and how many were read */

    gr_eval_row *row;                   /* judged, in the order they are read */
    size_t n, cap;
    gr_eval_item item[BATCH_PAIRS];     /* read and not judged yet: the texts of row[n .. n + waiting) */
    size_t waiting, tokens_waiting;     /* about as many tokens as judging them computes */

    char *rows_path;                    /* NULL: rows are not written */
    gr_out *rows;
    gr_earlier earlier;                 /* those of a run that was cut off */
    uint64_t mark;                      /* of the model and the settings */

    double seconds;                     /* spent judging by this run, and what it judged */
    uint64_t tokens, pairs;
} run;

static void tell(const run *r, const char *text)
{
    if (r->opt.file.warn)
        r->opt.file.warn(r->opt.file.arg, text);
}

static void run_clear(run *r)
{
    for (size_t i = 0; i < r->waiting; i++)
        gr_eval_item_clear(&r->item[i]);
    for (size_t i = 0; i < r->n + r->waiting; i++)
        gr_eval_row_clear(&r->row[i]);
    free(r->row);
    gr_eval_result_clear(&r->result);
    gr_earlier_clear(&r->earlier);
    gr_out_close(r->rows);
    free(r->rows_path);
}

static uint64_t mark_of(const gr_eval_facts *f, gr_rules rules)
{
    const char *const part[] = { f->model, f->dtype, f->arithmetic, f->chat_template, f->prompt_hash, f->label_a,
                                f->label_b,
                                 gr_rules_name(rules), f->single_order ? "one, in turn" : "both", f->rationale };
    char tokens[32];
    uint64_t h = GR_DIGEST;

    for (size_t k = 0; k < GR_COUNT(part) - !f->rationale; k++)     /* the last part is the rationale's */
        h = gr_digest_text(h, part[k] ? part[k] : "\001");   /* no part looks like a missing one */
    snprintf(tokens, sizeof tokens, "%zu", f->max_tokens);
    h = gr_digest(gr_digest_text(h, tokens), &f->weights, sizeof f->weights);
    return f->temperature > 0 ? gr_digest(h, &f->temperature, sizeof f->temperature) : h;
}

/* ---- Where rows go, and where those of an earlier run come from ---- */

gram_status gr_eval_rows_path(const gram_eval_options *o, char **out, gram_err *err)
{
    const char *json = o->json && strcmp(o->json, "-") ? o->json : NULL;
    gr_buf b = { 0 };

    *out = NULL;
    if (o->rows) {
        *out = gr_strdup(o->rows);
    } else if (json) {
        size_t n = strlen(json);
        n -= n > 5 && !strcmp(json + n - 5, ".json") ? 5 : 0;
        if (gr_buf_add(&b, json, n) && gr_buf_puts(&b, ".rows.jsonl"))
            *out = b.p;
        else
            gr_buf_clear(&b);
    } else if (o->report_dir) {
        *out = gr_path_join(o->report_dir, "rows.jsonl");
    } else {
        return GRAM_OK;
    }
    return *out ? GRAM_OK : gr_nomem(err, "evaluation");
}

static gram_status find_rows_path(run *r, gram_err *err)
{
    gram_status rc = gr_eval_rows_path(&r->opt, &r->rows_path, err);
    char *real;

    if (rc || !r->rows_path)
        return rc;
    real = realpath(r->rows_path, NULL);                /* the partial file stands beside what a link leads to */
    if (real) {
        free(r->rows_path);
        r->rows_path = real;
    }
    return GRAM_OK;
}

/* They are read again, by a resume and by a comparison, and CSV says neither what is a number nor what is missing. */
static gram_status check_form(const run *r, gram_err *err)
{
    gr_table_kind kind = r->rows_path ? gr_table_kind_of(r->rows_path) : GR_TABLE_NONE;

    if (kind != GR_TABLE_CSV && kind != GR_TABLE_TSV)
        return GRAM_OK;
    return gr_fail(err, GRAM_EARG, "%s: the rows of an evaluation are read again, and CSV has no types: wanted JSON "
                   "Lines, Parquet or Arrow", r->rows_path);
}

/* What is written is none of the files that are read. */
static gram_status check_spared(const run *r, gram_err *err)
{
    const char *const out[] = { r->rows_path, r->opt.json };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(out); i++)
        for (size_t f = 0; out[i] && f < r->result.n_files && !rc; f++)
            rc = gr_path_spares(out[i], r->path[f], err);
    return rc;
}

static gram_status open_rows(run *r, gram_err *err)
{
    gram_status rc = r->opt.report_dir ? gr_make_directory(r->opt.report_dir, err) : GRAM_OK;

    if (!rc)
        rc = find_rows_path(r, err);
    if (!rc)
        rc = check_spared(r, err);
    if (!rc)
        rc = check_form(r, err);
    if (rc || (!r->rows_path && !r->opt.file.resume))
        return rc;
    rc = r->opt.file.resume ? gr_earlier_open(&r->earlier, &r->rows, r->rows_path, err)
                            : gr_out_open(&r->rows, r->rows_path, true, err);
    return rc ? rc : gr_out_rows(r->rows, err);
}

static gram_status write_row(run *r, const gr_eval_row *row, gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = GRAM_OK;

    if (!r->rows)
        return GRAM_OK;
    if (!gr_eval_row_write(&b, row, r->result.file[row->file].path, r->mark))
        rc = gr_nomem(err, r->rows_path);
    else
        rc = gr_out_write(r->rows, b.p, b.n, err);
    gr_buf_clear(&b);
    return rc;
}

/* Takes the numbers of a row from the run before. */
static gram_status take_earlier(run *r, gr_eval_row *now, gr_earlier_has *what, gram_err *err)
{
    gram_status rc = gr_earlier_look(&r->earlier, now, r->result.file[now->file].path, r->mark,
                                     r->result.facts.truncate, what, err);

    if (rc || *what != GR_EARLIER_THIS)
        return rc;
    gr_earlier_take(&r->earlier, now);
    r->result.resumed++;
    return r->earlier.copy ? write_row(r, now, err) : GRAM_OK;
}

/* ---- Reading ---- */

/* Whether to go on behind a bad row, which is counted; told of once, of shares by the first. */
static bool skip_bad(run *r, size_t file, gram_status rc, bool scanning, const gram_err *err)
{
    if (rc != GRAM_EFORMAT || !r->opt.file.skip_bad)
        return false;
    if ((scanning || !r->scanned) && r->opt.file.share == 0) {
        r->result.file[file].bad++;
        tell(r, err->text);
    }
    return true;
}

/* The rows of the share, where the run is one of some. */
static void take_share(run *r)
{
    size_t i = r->opt.file.share, n = r->opt.file.shares;

    if (!n)
        return;
    r->from = r->total / n * i + r->total % n * i / n;
    r->to = r->total / n * (i + 1) + r->total % n * (i + 1) / n;
    r->total = r->to - r->from;
}

/* Whether the next row is of another share. */
static bool pass(run *r)
{
    uint64_t at = r->seen++;

    return r->opt.file.shares && (at < r->from || at >= r->to);
}

/* Everything of a row but its verdict. */
static gram_status describe(const gr_eval_item *item, size_t file, gr_eval_row *row, gram_err *err)
{
    const gr_row *in = &item->row;

    *row = (gr_eval_row){ .file = file, .cell = item->cell, .cells = item->cells, .prompt = GR_DIGEST,
                          .texts = gr_row_digest(in),
                          .chosen_chars = gr_text_points(in->chosen), .rejected_chars = gr_text_points(in->rejected) };
    for (size_t t = 0; t < in->n_turns; t++)
        row->prompt = gr_digest_text(gr_digest_text(row->prompt, in->turn[t].role), in->turn[t].content);
    row->id = gr_text_clean(in->id);
    row->subset = in->subset ? gr_text_clean(in->subset) : NULL;
    if (row->id && (!in->subset || row->subset))
        return GRAM_OK;
    gr_eval_row_clear(row);
    return gr_nomem(err, "evaluation");
}

static gram_status room_for_row(run *r, gram_err *err)
{
    gr_eval_row *grown = gr_grown(r->row, r->n + r->waiting, &r->cap, 1, sizeof *grown);

    if (!grown)
        return gr_nomem(err, "evaluation");
    r->row = grown;
    return GRAM_OK;
}

/* ---- Judging ---- */

/* Takes *why over. */
static gram_status keep_reasons(gr_eval_row *row, gram_reasoned *why, gram_err *err)
{
    if (!why->rationale)
        return GRAM_OK;
    row->why = gr_calloc(1, sizeof *row->why);
    if (!row->why)
        return gr_nomem(err, "evaluation");
    *row->why = *why;
    *why = (gram_reasoned){ 0 };
    return GRAM_OK;
}

static gram_status keep_verdict(run *r, gr_eval_row *row, const gram_verdict *v, gram_err *err)
{
    double read = isnan(v->p_forward) ? v->p_swapped : v->p_forward;

    row->dropped = v->dropped;
    row->truncated = v->truncated;
    row->tokens = v->tokens;
    row->consistent = v->consistent;
    row->preference = v->dropped ? NAN : v->preference;
    row->rewarded = v->rewarded;
    row->spread = v->spread;
    for (int s = 0; s < 2; s++) {
        row->reward[s] = v->reward[s].mean;
        row->sigma[s] = v->reward[s].sigma;
    }
    row->p_forward = v->dropped ? NAN : v->p_forward;
    row->p_swapped = v->dropped ? NAN : v->p_swapped;
    row->logit_margin = v->dropped ? NAN : v->logit_margin;
    if (!v->dropped && (!(v->preference >= 0 && v->preference <= 1) || !isfinite(v->logit_margin) ||
                        !(read >= 0 && read <= 1)))
        return gr_fail(err, GRAM_EFORMAT, "%s: row %s: the model gave a preference that is no probability",
                       r->result.file[row->file].path, row->id);
    return write_row(r, row, err);
}

/* Judges the first m of the waiting rows and moves them among the judged. */
static gram_status judge(run *r, size_t m, gram_err *err)
{
    gram_pair pair[BATCH_PAIRS];
    gram_verdict verdict[BATCH_PAIRS];
    gram_reasoned why[BATCH_PAIRS] = { { .n = 0 } };
    double start;
    gram_status rc;

    for (size_t i = 0; i < m; i++) {
        pair[i] = gr_row_pair(&r->item[i].row);
        pair[i].turned = gr_eval_turned(&r->row[r->n + i]);
    }
    start = gr_now();
    rc = r->score(r->arg, pair, m, verdict, why, err);
    if (rc)
        return rc;
    r->seconds += gr_now() - start;
    for (size_t i = 0; i < m; i++) {
        rc = keep_reasons(&r->row[r->n], &why[i], err);
        if (!rc)
            rc = keep_verdict(r, &r->row[r->n], &verdict[i], err);
        if (rc)
            break;
        r->pairs += !verdict[i].dropped;
        r->tokens += verdict[i].dropped ? 0 : verdict[i].tokens;
        r->n++;
        gr_eval_item_clear(&r->item[0]);
        memmove(&r->item[0], &r->item[1], --r->waiting * sizeof r->item[0]);
    }
    for (size_t i = 0; i < m; i++)
        gram_reasoned_clear(&why[i]);
    if (rc)
        return rc;
    return r->rows ? gr_out_flush(r->rows, err) : GRAM_OK;
}

/* A failure that is the row's own: too long, or a conversation that the template or the judge prompt cannot write. */
static bool blames_row(gram_status rc)
{
    return rc == GRAM_ELIMIT || rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED;
}

/* Whether it is left out for that: one that is too long has an option of its own. */
static bool skips(const run *r, gram_status rc)
{
    return r->opt.file.skip_bad && blames_row(rc) && rc != GRAM_ELIMIT;
}

/* The first of the waiting rows goes, as a bad one. */
static void drop_waiting(run *r)
{
    r->result.file[r->row[r->n].file].bad++;
    gr_eval_row_clear(&r->row[r->n]);
    gr_eval_item_clear(&r->item[0]);
    r->waiting--;
    memmove(&r->row[r->n], &r->row[r->n + 1], r->waiting * sizeof r->row[0]);
    memmove(&r->item[0], &r->item[1], r->waiting * sizeof r->item[0]);
}

/* One at a time, so that the row that fails has a name and those before it are kept. */
static gram_status judge_singly(run *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    while (r->waiting && !rc) {
        gram_err why = { 0 };
        rc = judge(r, 1, &why);
        if (!rc)
            continue;
        if (!blames_row(rc))
            return gr_fail(err, rc, "%s", why.text);
        gr_fail(err, rc, "%s: row %s: %s", r->result.file[r->row[r->n].file].path, r->row[r->n].id, why.text);
        if (!skips(r, rc))
            break;
        tell(r, err->text);
        drop_waiting(r);
        rc = GRAM_OK;
    }
    return rc;
}

static gram_status judge_waiting(run *r, gram_err *err)
{
    gram_status rc = r->waiting ? judge(r, r->waiting, err) : GRAM_OK;

    r->tokens_waiting = 0;
    if (rc && blames_row(rc))
        rc = judge_singly(r, err);
    if (!rc && r->opt.file.progress && r->opt.file.progress(r->opt.file.arg, r->n, r->total))
        rc = gr_fail(err, GRAM_ESTOPPED, "stopped after %zu rows%s%s", r->n,
                     r->rows ? "; resume goes on behind those in " : "", r->rows ? r->rows_path : "");
    return rc;
}

/* A row that the earlier run has no line of, though it has of a later one: whether it was skipped there, since it
 * cannot be judged, and is again. */
static gram_status skip_again(run *r, const gr_eval_item *item, const gr_eval_row *row, gram_err *err)
{
    gram_pair pair = gr_row_pair(&item->row);
    gram_verdict verdict;
    gram_reasoned reasons = { .n = 0 };
    gram_err why = { 0 };
    gram_status rc = GRAM_OK;

    pair.turned = gr_eval_turned(row);
    if (r->opt.file.skip_bad)
        rc = r->score(r->arg, &pair, 1, &verdict, &reasons, &why);
    gram_reasoned_clear(&reasons);
    if (!skips(r, rc))
        return rc && !blames_row(rc) ? gr_fail(err, rc, "%s", why.text)
             : gr_earlier_other(&r->earlier, row, r->result.file[row->file].path, err);
    r->result.file[row->file].bad++;
    gr_fail(err, rc, "%s: row %s: %s", r->result.file[row->file].path, row->id, why.text);
    tell(r, err->text);
    return GRAM_OK;
}

/* Takes over a row that was read: from the earlier run, or into the batch. */
static gram_status accept(run *r, gr_eval_item *item, size_t file, gram_err *err)
{
    gr_eval_row row;
    gr_earlier_has what = GR_EARLIER_NONE;
    gram_status rc = room_for_row(r, err);

    if (!rc)
        rc = describe(item, file, &row, err);
    if (rc)
        return rc;
    rc = take_earlier(r, &row, &what, err);
    if (!rc && what == GR_EARLIER_LATER)
        rc = skip_again(r, item, &row, err);
    if (rc || what == GR_EARLIER_LATER) {
        gr_eval_row_clear(&row);
        return rc;
    }
    r->row[r->n + r->waiting] = row;
    if (what == GR_EARLIER_THIS) {          /* the earlier run's rows all come before the first to judge */
        r->n++;
        return GRAM_OK;
    }
    r->tokens_waiting += gr_row_tokens(&item->row);
    r->item[r->waiting++] = *item;
    *item = (gr_eval_item){ .cell = -1 };   /* the batch's from here on */
    if (r->waiting < BATCH_PAIRS && r->tokens_waiting < 2 * r->result.facts.batch_tokens)
        return GRAM_OK;
    return judge_waiting(r, err);
}

/* Reads a file to its end; scanning only counts. */
static gram_status read_file(run *r, size_t file, bool scanning, gram_err *err)
{
    gr_eval_source *s;
    gr_eval_item item;
    bool end = false;
    gram_status rc = gr_eval_source_open(&s, r->path[file], r->rules, r->opt.file.columns, err);

    while (!rc) {
        rc = gr_eval_source_next(s, &item, &end, err);
        if (skip_bad(r, file, rc, scanning, err)) {
            rc = GRAM_OK;
            continue;
        }
        if (rc || end)
            break;
        r->doubted += !item.row.tie && item.row.soft < 0.5 && (scanning || !r->scanned);
        if (item.row.tie)
            r->result.file[file].label_ties += scanning || !r->scanned;
        else if (scanning)
            r->total++;
        else if (!pass(r))
            rc = accept(r, &item, file, err);
        gr_eval_item_clear(&item);
    }
    gr_eval_source_close(s);
    return rc;
}

static gram_status read_files(run *r, gram_err *err)
{
    bool can_scan = true;
    gram_status rc = GRAM_OK;

    for (size_t f = 0; f < r->result.n_files; f++)      /* what comes through a pipe comes once */
        can_scan = can_scan && gr_path_regular(r->path[f]);
    for (size_t f = 0; f < r->result.n_files && can_scan && !rc; f++)
        rc = read_file(r, f, true, err);
    r->scanned = can_scan;
    if (!rc && r->opt.file.shares && !can_scan)
        rc = gr_fail(err, GRAM_EARG, "%s: a share of the rows needs files that can be read twice",
                     r->result.file[0].path);
    take_share(r);
    for (size_t f = 0; f < r->result.n_files && !rc; f++)
        rc = read_file(r, f, false, err);
    if (!rc)
        rc = judge_waiting(r, err);
    if (!rc && r->n == 0 && !r->opt.file.shares)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no row to judge", r->result.file[0].path);
    return rc ? rc : gr_earlier_end(&r->earlier, err);
}

/* Accuracy is of the answers that rows call chosen. */
static gram_status tell_doubted(const run *r, gram_err *err)
{
    gr_buf b = { 0 };
    bool ok = !r->doubted || r->opt.file.share ||
        gr_buf_printf(&b, "%" PRIu64 " row%s a soft label below 0.5, and the chosen answer counts as the better one "
                      "all the same", r->doubted, r->doubted == 1 ? " has" : "s have");

    if (ok && b.p)
        tell(r, b.p);
    gr_buf_clear(&b);
    return ok ? GRAM_OK : gr_nomem(err, "evaluation");
}

/* ---- What comes out ---- */

static gram_status write_json(const run *r, gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc = gr_eval_json(&r->result, &b, err);

    if (!rc)
        rc = gr_write_file(r->opt.json, b.p, b.n, err);
    gr_buf_clear(&b);
    return rc;
}

static gram_status write_report(run *r, gram_err *err)
{
    gr_buf b = { 0 };
    char *path = gr_path_join(r->opt.report_dir, "index.html");
    gram_status rc = path ? gr_eval_shown_read(&r->result, r->path, r->rules, r->opt.file.columns, err)
                          : gr_nomem(err, r->opt.report_dir);

    if (!rc)
        rc = gr_eval_report(&r->result, &b, err);
    if (!rc)
        rc = gr_write_file(path, b.p, b.n, err);
    gr_buf_clear(&b);
    free(path);
    return rc;
}

static void summarise(const run *r, gram_eval_summary *out)
{
    const gr_eval_result *s = &r->result;

    *out = (gram_eval_summary){
        .rows = s->all.rows, .bad = s->bad, .dropped = s->all.dropped, .truncated = s->all.truncated,
        .resumed = s->resumed, .label_ties = s->label_ties,
        .accuracy = s->all.accuracy, .macro_accuracy = s->macro,
        .rules = s->rules.n ? s->rules.score[0].score : (gram_interval){ NAN, NAN, NAN },
        .flip_rate = s->all.flip_rate, .first_seat_rate = s->all.first_seat,
        .ece = s->all.ece, .longer_baseline = s->all.longer.value,
        .seconds = s->seconds, .tokens_per_s = s->tokens_per_s, .pairs_per_s = s->pairs_per_s, .fit = s->fit
    };
}

/* The rows are committed last: until then a resume can make the rest again without judging. */
static gram_status publish(run *r, gram_eval_summary *out, char **table_out, gram_err *err)
{
    gr_buf table = { 0 };
    gram_status rc;

    r->result.seconds = r->seconds;
    r->result.tokens_per_s = r->seconds > 0 ? (double)r->tokens / r->seconds : NAN;
    r->result.pairs_per_s = r->seconds > 0 ? (double)r->pairs / r->seconds : NAN;
    rc = gr_eval_collect(&r->result, r->row, r->n, r->rules, err);
    if (!rc && r->opt.fit_temperature)
        rc = gr_eval_fit_temperature(r->row, r->n, r->result.facts.temperature, &r->result.fit, err);
    if (!rc && table_out && r->opt.verdicts)
        rc = gr_eval_verdicts(r->row, r->n, r->path, r->result.n_files, r->rules, r->opt.file.columns, &table, err);
    if (!rc && table_out)
        rc = gr_eval_table(&r->result, &table, err);
    if (!rc && r->opt.json)
        rc = write_json(r, err);
    if (!rc && r->opt.report_dir)
        rc = write_report(r, err);
    if (!rc && r->rows)
        rc = gr_out_commit(r->rows, err);
    if (rc) {
        gr_buf_clear(&table);
        return rc;
    }
    if (out)
        summarise(r, out);
    if (table_out)
        *table_out = table.p;
    return GRAM_OK;
}

/* The lines of a share: the numbers are of all rows, and come when all are there. */
static gram_status publish_share(run *r, gram_eval_summary *out, gram_err *err)
{
    if (out)
        *out = (gram_eval_summary){ .rows = r->n, .resumed = r->result.resumed, .seconds = r->seconds };
    for (size_t f = 0; out && f < r->result.n_files; f++)
        out->bad += r->result.file[f].bad;
    return gr_out_commit(r->rows, err);
}

static gram_status start(run *r, const char *const *file, size_t n, const gr_eval_facts *facts, gram_err *err)
{
    gram_status rc = gr_rules_parse(r->opt.rules, &r->rules, err);

    if (rc)
        return rc;
    if (n == 0)
        return gr_fail(err, GRAM_EARG, "no file to evaluate on");
    r->path = file;
    r->result.facts = facts ? *facts : (gr_eval_facts){ 0 };
    r->mark = mark_of(&r->result.facts, r->rules);
    r->result.file = gr_calloc(n, sizeof *r->result.file);
    if (!r->result.file)
        return gr_nomem(err, "evaluation");
    r->result.n_files = n;
    for (size_t f = 0; f < n; f++) {
        if (r->opt.verdicts && !gr_path_regular(file[f]))
            return gr_fail(err, GRAM_EARG, "%s: `verdicts` reads the rows again, and this can be read once", file[f]);
        r->result.file[f].path = gr_text_clean(file[f]);
        if (!r->result.file[f].path)
            return gr_nomem(err, "evaluation");
    }
    return open_rows(r, err);
}

gram_status gr_eval_run(const char *const *file, size_t n, const gram_eval_options *opt, const gr_eval_facts *facts,
                        gr_score_fn *score, void *arg, gram_eval_summary *out, char **table_out, gram_err *err)
{
    gr_numeric numeric;
    gram_err own;
    run *r = gr_calloc(1, sizeof *r);
    gram_status rc;

    if (table_out)
        *table_out = NULL;
    if (!err)
        err = &own;                     /* warnings are made from it */
    if (!r || !gr_numeric_enter(&numeric)) {
        free(r);
        return gr_nomem(err, "evaluation");
    }
    r->opt = opt ? *opt : (gram_eval_options){ 0 };
    r->score = score;
    r->arg = arg;
    rc = start(r, file, n, facts, err);
    if (!rc)
        rc = read_files(r, err);
    if (!rc)
        rc = tell_doubted(r, err);
    if (!rc)
        rc = r->opt.file.shares ? publish_share(r, out, err) : publish(r, out, table_out, err);
    run_clear(r);
    free(r);
    gr_numeric_leave(&numeric);
    return rc;
}
