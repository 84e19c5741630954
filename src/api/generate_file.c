/* generate_file.c - prompts of a file in, a line with the answers to each out.
 *
 * Answers end in any order; a line is written when all of its answers and all lines before it are there. Since an
 * answer follows from its prompt and its seed alone, a run that was cut off goes on and ends with the same bytes. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/how.h"
#include "api/job.h"
#include "api/shards.h"
#include "base/err.h"
#include "base/json.h"

/* A prompt whose line was not written yet. */
struct line {
    struct line *next;
    gr_group row;
    size_t index, left;
    json_t **answer;            /* [n] what the line says of each; NULL: not there yet */
    char *error;                /* the row has none: why */
};

struct writing {
    gr_job job;
    const gram_generation *g;
    gram_generate_report *report;
    struct line *first, **last;
    size_t rows;                /* read, those of the run before too */
    size_t before;              /* rows of the file before the share's */
    gram_prompt prompt;
    bool logprobs;
};

static void line_free(struct line *l, size_t n)
{
    for (size_t k = 0; l->answer && k < n; k++)
        json_decref(l->answer[k]);
    free(l->answer);
    free(l->error);
    gr_group_clear(&l->row);
    free(l);
}

/* ---- Reading ------------------------------------------------------------------------------------- */

/* Takes the row over. */
static gram_status take_row(struct writing *w, gr_group *row, gram_err *err)
{
    struct line *l = gr_calloc(1, sizeof *l);

    if (!l) {
        gr_group_clear(row);
        return gr_nomem(err, w->job.in);
    }
    l->row = *row;
    l->index = w->before + w->rows;
    l->left = w->g->n;
    l->answer = gr_calloc(w->g->n, sizeof(json_t *));
    *w->last = l;
    w->last = &l->next;
    return l->answer ? GRAM_OK : gr_nomem(err, w->job.in);
}

/* The next prompt that the run before has not answered. */
static gram_status next_prompt(void *arg, const gram_prompt **out, gram_err *err)
{
    struct writing *w = arg;

    *out = NULL;
    for (;;) {
        gr_group row;
        gram_err why = { 0 };
        bool end, same;
        gram_status rc = gr_reader_prompt(w->job.reader, &row, &end, &why);
        if (rc)
            rc = gr_job_bad_row(&w->job, rc, &why, err);
        else if (end)
            return GRAM_OK;
        else if (w->rows < w->job.report->resumed) {
            rc = gr_job_check_written(&w->job, row.id, gr_group_digest(&row), &same, err);
            w->rows++;
            gr_group_clear(&row);
        } else {
            rc = take_row(w, &row, err);
            w->rows++;
            w->prompt = gr_group_prompt(&row);
            *out = &w->prompt;
            return rc;
        }
        if (rc)
            return rc;
    }
}

/* ---- Lines --------------------------------------------------------------------------------------- */

static json_t *numbers(const float *x, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, gr_json_real(x[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static double sum(const float *x, size_t n)
{
    double s = 0;

    for (size_t i = 0; i < n; i++)
        s += x[i];
    return s;
}

char *gr_api_answer_text(const gram_answer *a)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_add(&b, "", 0);

    for (size_t at = 0, n; at < a->bytes && ok; at += n + 1) {
        n = strnlen(a->text + at, a->bytes - at);
        ok = gr_buf_add(&b, a->text + at, n) && (at + n == a->bytes || gr_buf_puts(&b, "\xef\xbf\xbd"));
    }
    if (!ok)
        gr_buf_clear(&b);
    return b.p;
}

json_t *gr_api_answer_json(const gram_answer *a, bool logprobs)
{
    json_t *o = json_pack("{s:s%, s:s, s:I, s:f, s:f, s:I, s:s}", "completion", a->text, a->bytes,
                          "finish", gram_finish_name(a->finish), "tokens", (json_int_t)a->tokens,
                          "logprob", sum(a->logprob, a->tokens), "logprob_tempered", sum(a->tempered, a->tokens),
                          "seed", (json_int_t)a->seed, "products", gram_products_name(a->products));

    if (o && logprobs && json_object_set_new(o, "logprobs", numbers(a->logprob, a->tokens))) {
        json_decref(o);
        return NULL;
    }
    return o;
}

bool gr_api_put_answers(json_t *o, json_t *const *answer, size_t n)
{
    const char *key;
    json_t *v;
    bool ok = true;

    json_object_foreach(answer[0], key, v) {
        json_t *list;
        if (!strcmp(key, "products")) {                 /* a run's, not an answer's */
            ok = !json_object_set(o, key, v) && ok;
            continue;
        }
        list = json_array();
        for (size_t k = 0; k < n; k++)
            ok = ok && !json_array_append(list, json_object_get(answer[k], key));
        ok = !json_object_set_new(o, strcmp(key, "completion") ? key : "responses", list) && ok;
    }
    return ok;
}

static json_t *line_json(const struct writing *w, const struct line *l)
{
    const gram_prompt prompt = gr_group_prompt(&l->row);
    json_t *o = gr_api_line_json(l->row.id, &prompt);
    bool ok = o;

    if (ok && l->error)
        ok = !json_object_set_new(o, "error", json_string(l->error));
    else if (ok && w->g->n == 1)
        ok = !json_object_update(o, l->answer[0]);
    else if (ok)
        ok = gr_api_put_answers(o, l->answer, w->g->n);
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

/* Writes the lines that are whole, in order. */
static gram_status write_lines(struct writing *w, gram_err *err)
{
    gram_status rc = GRAM_OK;
    bool any = false;

    while (w->first && w->first->left == 0 && !rc) {
        struct line *l = w->first;
        w->first = l->next;
        if (!w->first)
            w->last = &w->first;
        w->report->file.rows++;
        w->report->failed += l->error != NULL;
        if (l->error && w->job.opt->warn) {
            gr_buf b = { 0 };
            if (gr_buf_printf(&b, "%s: row %s: %s", w->job.in, l->row.id, l->error))
                w->job.opt->warn(w->job.opt->arg, b.p);
            gr_buf_clear(&b);
        }
        rc = gr_job_write(&w->job, gr_group_digest(&l->row), line_json(w, l), err);
        line_free(l, w->g->n);
        any = true;
    }
    return rc || !any ? rc : gr_job_step(&w->job, err);
}

static int take_answer(void *arg, const gram_answer *a)
{
    struct writing *w = arg;
    struct line *l = w->first;

    while (l->index != a->prompt)
        l = l->next;
    l->left--;
    if (a->finish == GRAM_FINISH_FAILED) {
        if (!l->error && !(l->error = gr_strdup(a->error)))
            return gr_nomem(&w->report->why, w->job.in), 1;
    } else if (!(l->answer[a->k] = gr_api_answer_json(a, w->logprobs)))
        return gr_nomem(&w->report->why, w->job.in), 1;
    w->report->answers++;
    w->report->tokens += a->tokens;
    w->report->cut += a->finish == GRAM_FINISH_LENGTH;
    w->report->products = a->products;
    return l == w->first && write_lines(w, &w->report->why) != GRAM_OK;
}

/* Reads prompts of the whole file, up to `most`, or of the share: its first, before which the others are counted. */
static gram_status count_prompts(const gr_job *j, gr_prompt_fn *next, bool share, size_t most, size_t *n, gram_err *err)
{
    gr_reader *again;
    bool end = false;
    gram_status rc = gr_reader_open(&again, j->in, j->opt->columns, err);

    *n = 0;
    if (!rc && share)
        gr_reader_share_of(again, j->reader);
    while (!rc && !end && *n < most) {
        gr_group row;
        rc = next(again, &row, &end, err);
        if (rc == GRAM_EFORMAT)                 /* it is told of when its turn comes */
            rc = GRAM_OK;
        else if (!rc && !end) {
            ++*n;
            gr_group_clear(&row);
        }
    }
    if (!rc && share)
        *n = gr_reader_passed(again);
    gr_reader_close(again);
    return rc;
}

gram_status gr_job_place(const gr_job *j, gr_prompt_fn *next, gram_generation *g, size_t *before, gram_err *err)
{
    size_t all;
    gram_status rc = count_prompts(j, next, true, 1, before, err);

    if (rc || g->products != GRAM_PRODUCTS_AUTO)
        return rc;
    rc = count_prompts(j, next, false, GR_API_LIVE / g->n + 1, &all, err);
    if (!rc)
        g->products = gr_api_products(j->m, all * g->n);
    return rc;
}

struct shared {
    gram_model *m;
    const char *in, *out;
    const gram_generation *g;
    bool logprobs;
    gram_generate_report sum;
};

static gram_status generate_share(void *arg, const gram_file_options *o, gram_err *err)
{
    struct shared *s = arg;
    gram_generate_report one;
    gram_status rc = gram_generate_file(s->m, s->in, s->out, s->g, s->logprobs, o, &one, err);

    gr_file_report_add(&s->sum.file, &one.file);
    s->sum.answers += one.answers;
    s->sum.tokens += one.tokens;
    s->sum.cut += one.cut;
    s->sum.failed += one.failed;
    s->sum.products = one.products ? one.products : s->sum.products;
    s->sum.why = one.why;
    return rc;
}

gram_status gram_generate_file(gram_model *m, const char *in, const char *out, const gram_generation *g, bool logprobs,
                               const gram_file_options *opt, gram_generate_report *report, gram_err *err)
{
    gram_generate_report unwanted;
    gram_generation whole = *g;         /* g, and what a share has from the whole file */
    struct writing w = { .g = &whole, .report = report ? report : &unwanted, .logprobs = logprobs };
    gram_status rc = gram_generation_check(g, err);

    *w.report = (gram_generate_report){ 0 };
    if (rc)
        return rc;
    if (opt && opt->workers) {
        struct shared s = { .m = m, .in = in, .out = out, .g = g, .logprobs = logprobs };
        rc = gr_shards_work(out, opt, generate_share, &s, err);
        *w.report = s.sum;
        return rc;
    }
    w.last = &w.first;
    rc = gr_job_open(&w.job, m, in, out, opt, json_pack("{s:s, s:o, s:I, s:b}", "command", "generate", "generation",
                     gr_how_generation(g), "n", (json_int_t)g->n, "logprobs", logprobs), &w.report->file, err);
    if (!rc && w.job.opt->shares)
        rc = gr_job_place(&w.job, gr_reader_prompt, &whole, &w.before, err);
    if (!rc)
        rc = gr_api_generate(m, next_prompt, &w, w.before + w.job.report->resumed, &whole, take_answer, NULL, &w, err);
    w.report->failed += w.job.failed;
    if (w.report->why.status) {                 /* what a callback met */
        rc = w.report->why.status;
        if (err)
            *err = w.report->why;
    }
    while (w.first) {
        struct line *l = w.first;
        w.first = l->next;
        line_free(l, g->n);
    }
    return gr_job_close(&w.job, rc, err);
}
