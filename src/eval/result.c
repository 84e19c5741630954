/* result.c - see result.h. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "eval/result.h"
#include "eval/shown.h"
#include "eval/text.h"
#include "file/table.h"

void gr_eval_result_clear(gr_eval_result *r)
{
    for (size_t f = 0; f < r->n_files; f++) {
        for (size_t s = 0; s < r->file[f].n_subsets; s++)
            free(r->file[f].subset[s].name);
        free(r->file[f].subset);
        free(r->file[f].path);
        free(r->file[f].name);
    }
    free(r->file);
    for (size_t k = 0; k < r->n_shown; k++) {
        free(r->shown[k].prompt);
        free(r->shown[k].answer[0]);
        free(r->shown[k].answer[1]);
    }
    *r = (gr_eval_result){ 0 };
}

bool gr_eval_by_rewards(const gr_eval_result *r)
{
    for (size_t i = 0; i < r->n_rows; i++)
        if (!r->row[i].dropped)
            return r->row[i].rewarded;
    return false;
}

bool gr_eval_one_order(const gr_eval_result *r)
{
    return r->all.rows && isnan(r->all.flip_rate.value) && !gr_eval_by_rewards(r);
}

static const char *subset_of(const gr_eval_row *r)
{
    return r->subset ? r->subset : "";
}

/* A path without its folders and the ending of its form; malloc'ed. */
static char *short_name(const char *path)
{
    char *name = gr_strdup(gr_text_base(path));
    size_t stem;

    if (name && gr_rows_name(name, &stem))
        name[stem] = '\0';
    return name;
}

/* Short names where they differ, whole paths where two are alike. */
static gram_status name_files(gr_eval_result *r, gram_err *err)
{
    for (size_t f = 0; f < r->n_files; f++) {
        free(r->file[f].name);
        r->file[f].name = short_name(r->file[f].path);
        if (!r->file[f].name)
            return gr_nomem(err, "evaluation results");
    }
    for (size_t f = 0; f < r->n_files; f++) {
        bool alike = false;
        for (size_t g = 0; g < r->n_files; g++) {
            char *other = g == f ? NULL : short_name(r->file[g].path);
            if (g != f && !other)
                return gr_nomem(err, "evaluation results");
            alike = alike || (other && !strcmp(other, r->file[f].name));
            free(other);
        }
        if (alike) {
            free(r->file[f].name);
            r->file[f].name = gr_strdup(r->file[f].path);
            if (!r->file[f].name)
                return gr_nomem(err, "evaluation results");
        }
    }
    return GRAM_OK;
}

/* An index into rows, with what it is sorted by. */
typedef struct { const gr_eval_row *row; size_t i; } key;

static int in_order(const key *a, const key *b)
{
    return a->i < b->i ? -1 : a->i > b->i;
}

static int by_subset(const void *pa, const void *pb)
{
    const key *a = pa, *b = pb;
    int c = a->row->file < b->row->file ? -1 : a->row->file > b->row->file;

    if (!c)
        c = strcmp(subset_of(a->row), subset_of(b->row));
    return c ? c : in_order(a, b);
}

static int by_margin(const void *pa, const void *pb)
{
    const key *a = pa, *b = pb;
    double x = fabs(a->row->logit_margin), y = fabs(b->row->logit_margin);

    return x < y ? -1 : x > y ? 1 : in_order(a, b);
}

/* Indices of the rows in an order; malloc'ed. Dropped ones only on request. */
static size_t *sorted(const gr_eval_row *row, size_t n, bool dropped, int (*order)(const void *, const void *),
                      size_t *count, gram_err *err)
{
    key *k = gr_calloc(n, sizeof *k);
    size_t *index = gr_calloc(n, sizeof *index);

    *count = 0;
    if (!k || !index) {
        gr_nomem(err, "evaluation results");
        free(index);
        index = NULL;
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        if (dropped || !row[i].dropped)
            k[(*count)++] = (key){ &row[i], i };
    qsort(k, *count, sizeof *k, order);
    for (size_t i = 0; i < *count; i++)
        index[i] = k[i].i;
out:
    free(k);
    return index;
}

static gram_status add_subset(gr_eval_file *f, const gr_eval_row *row, const size_t *index, size_t n, gram_err *err)
{
    gr_eval_subset *grown = realloc(f->subset, (f->n_subsets + 1) * sizeof *grown);

    if (!grown)
        return gr_nomem(err, "evaluation results");
    f->subset = grown;
    grown[f->n_subsets].name = gr_strdup(subset_of(&row[index[0]]));
    if (!grown[f->n_subsets].name)
        return gr_nomem(err, "evaluation results");
    f->n_subsets++;                     /* owned from here on */
    return gr_eval_stats_of(row, index, n, &grown[f->n_subsets - 1].stats, err);
}

static gram_status collect_file(gr_eval_file *f, const gr_eval_row *row, const size_t *index, size_t n, gram_err *err)
{
    gram_status rc = gr_eval_stats_of(row, index, n, &f->stats, err);

    for (size_t i = 0, end; i < n && !rc; i = end) {
        for (end = i + 1; end < n && !strcmp(subset_of(&row[index[end]]), subset_of(&row[index[i]]));)
            end++;
        rc = add_subset(f, row, index + i, end - i, err);
    }
    return rc;
}

/* The plain mean of the accuracies of subsets (where file is not NULL: of that file alone). */
static gram_status macro(const gr_eval_result *r, const gr_eval_file *only, bool of_files, gram_interval *out,
                         gram_err *err)
{
    size_t n = 0, cap = r->n_files;
    gram_interval *part;
    double *weight;

    for (size_t f = 0; f < r->n_files; f++)
        cap += r->file[f].n_subsets;
    part = gr_calloc(cap, sizeof *part);
    weight = gr_calloc(cap, sizeof *weight);
    if (!part || !weight) {
        free(part);
        free(weight);
        return gr_nomem(err, "evaluation results");
    }
    for (size_t f = 0; f < r->n_files; f++) {
        const gr_eval_file *file = &r->file[f];
        if (of_files)
            part[n++] = file->stats.accuracy;
        else if (!only || only == file)
            for (size_t s = 0; s < file->n_subsets; s++)
                part[n++] = file->subset[s].stats.accuracy;
    }
    for (size_t k = 0; k < n; k++)
        weight[k] = 1;
    *out = gr_eval_combine(part, weight, n);
    free(part);
    free(weight);
    return GRAM_OK;
}

static gram_status collect_groups(gr_eval_result *r, gram_err *err)
{
    size_t n, *index = sorted(r->row, r->n_rows, true, by_subset, &n, err);
    gram_status rc = index ? gr_eval_stats_of(r->row, index, n, &r->all, err) : GRAM_ENOMEM;

    for (size_t f = 0, i = 0, end; f < r->n_files && !rc; f++, i = end) {
        for (end = i; end < n && r->row[index[end]].file == f;)
            end++;
        rc = collect_file(&r->file[f], r->row, index + i, end - i, err);
    }
    free(index);
    for (size_t f = 0; f < r->n_files && !rc; f++)
        rc = macro(r, &r->file[f], false, &r->file[f].macro, err);
    if (!rc)
        rc = macro(r, NULL, true, &r->macro, err);
    if (!rc)
        rc = macro(r, NULL, false, &r->macro_subsets, err);
    return rc;
}

static gram_status collect_margins(gr_eval_result *r, gram_err *err)
{
    size_t n, *index = sorted(r->row, r->n_rows, false, by_margin, &n, err);
    size_t groups = gr_min(n, GR_EVAL_MARGINS);
    gram_status rc = index ? GRAM_OK : GRAM_ENOMEM;

    for (size_t g = 0; g < groups && !rc; g++) {
        size_t from = g * n / groups, to = (g + 1) * n / groups;
        gr_eval_margin *m = &r->margin[g];
        gr_eval_stats stats;
        rc = gr_eval_stats_of(r->row, index + from, to - from, &stats, err);
        m->rows = to - from;
        m->accuracy = stats.accuracy;
        m->low = fabs(r->row[index[from]].logit_margin);
        m->high = fabs(r->row[index[to - 1]].logit_margin);
        for (size_t i = from; i < to; i++)
            m->margin += fabs(r->row[index[i]].logit_margin) / (double)(to - from);
    }
    r->n_margins = rc ? 0 : groups;
    free(index);
    return rc;
}

/* Keeps the ten rows whose wrong answer was preferred most, the earlier first where equal. */
static void consider_worst(gr_eval_result *r, size_t i)
{
    size_t at = r->n_worst;

    if (r->row[i].preference >= 0.5)
        return;
    while (at > 0 && r->row[r->worst[at - 1]].preference > r->row[i].preference)
        at--;
    if (at == GR_COUNT(r->worst))
        return;
    r->n_worst = gr_min(r->n_worst + 1, GR_COUNT(r->worst));
    memmove(&r->worst[at + 1], &r->worst[at], (r->n_worst - at - 1) * sizeof r->worst[0]);
    r->worst[at] = i;
}

static void collect_rows(gr_eval_result *r)
{
    for (size_t i = 0; i < r->n_rows; i++) {
        const gr_eval_row *row = &r->row[i];
        if (row->dropped)
            continue;
        r->histogram[gr_min(GR_EVAL_HISTOGRAM - 1, (size_t)(row->preference * GR_EVAL_HISTOGRAM))]++;
        if (gr_eval_both(row) && row->p_forward != 0.5 && row->p_swapped != 0.5)
            r->quadrant[row->p_forward > 0.5][row->p_swapped > 0.5]++;
        consider_worst(r, i);
    }
}

gram_status gr_eval_collect(gr_eval_result *r, const gr_eval_row *row, size_t n, gr_rules rules, gram_err *err)
{
    gram_status rc;

    r->row = row;
    r->n_rows = n;
    for (size_t f = 0; f < r->n_files; f++) {
        r->bad += r->file[f].bad;
        r->label_ties += r->file[f].label_ties;
    }
    rc = name_files(r, err);
    if (!rc)
        rc = collect_groups(r, err);
    if (!rc)
        rc = collect_margins(r, err);
    if (!rc)
        rc = gr_rules_apply(rules, row, n, &r->rules, err);
    if (!rc)
        rc = gr_eval_spread_of(row, n, r->facts.lambda, &r->spread, err);
    if (!rc)
        rc = gr_eval_votes_of(row, n, &r->votes, err);
    collect_rows(r);
    gr_eval_shown_choose(r);
    return rc;
}
