/* evalpolicy.c - gram/evalpolicy.h: answers of two sides, a judge over them, and what follows from the rows.
 *
 * The run is a row of files, each made of those before it and of the settings alone: answers, the baseline's, verdicts.
 * What is in a file is not computed again: a run that was cut off goes on where it was and ends with the same bytes. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "api/evalpolicy_int.h"
#include "api/how.h"
#include "api/judge_int.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "eval/versus.h"
#include "gram/evalpolicy.h"

enum { POLICY, BASELINE, SIDES };
#define SAMPLES 8

struct run {
    gram_model *model[SIDES];       /* BASELINE NULL: none, or a column */
    gram_judge *judge;
    const gram_evalpolicy_options *opt;
    gram_evalpolicy_report *report;
    gram_generation g;
    gr_eval_prompts rows;
    gr_eval_file answer[SIDES], verdict;
    bool kl;                        /* the baseline has the policy's vocabulary */
    gram_err kl_why;                /* or why not */
    uint64_t done;                  /* lines */
};

static bool has_baseline(const struct run *r) { return r->model[BASELINE] || r->opt->baseline_column; }

/* Lines of a file: one for each answer to each prompt; and of which prompt line i is. */
static size_t all_lines(const struct run *r) { return r->rows.n * r->g.n; }

static const gr_eval_prompt *row_at(const struct run *r, size_t i) { return &r->rows.p[i / r->g.n]; }

static gram_prompt prompt_of(const struct run *r, size_t i)
{
    return gr_group_prompt(&row_at(r, i)->row);
}

/* How line i begins, with the number of the answer where there are several. */
static json_t *line_of(const struct run *r, size_t i)
{
    const gram_prompt prompt = prompt_of(r, i);
    json_t *o = gr_api_line_json(row_at(r, i)->row.id, &prompt);

    if (!o || r->g.n == 1 || !json_object_set_new(o, "sample", json_integer((json_int_t)(i % r->g.n))))
        return o;
    json_decref(o);
    return NULL;
}

/* A line is in its file. */
static gram_status step(struct run *r, gram_err *err)
{
    const gram_file_options *o = &r->opt->file;
    uint64_t all = all_lines(r) * (r->model[BASELINE] ? 3 : 2);

    r->done++;
    if (o->progress && o->progress(o->arg, r->done, all))
        return gr_fail(err, GRAM_ESTOPPED, "stopped after line %" PRIu64 " of %" PRIu64, r->done, all);
    return GRAM_OK;
}

/* ---- Answers ------------------------------------------------------------------------------------- */

struct writing {
    struct run *r;
    gr_eval_file *f;
    size_t next;                    /* the line that is asked for next */
    json_t **line;                  /* [all_lines()] those that wait for one before them */
    gram_prompt prompt;
    gram_err why;                   /* what a callback met */
};

static gram_status next_prompt(void *arg, const gram_prompt **out, gram_err *err)
{
    struct writing *w = arg;

    (void)err;
    *out = NULL;
    if (w->next < all_lines(w->r)) {
        w->prompt = prompt_of(w->r, w->next++);
        *out = &w->prompt;
    }
    return GRAM_OK;
}

static json_t *ids_json(const gram_answer *a)
{
    json_t *list = json_array();

    for (size_t i = 0; i < a->tokens; i++)
        if (json_array_append_new(list, json_integer(a->id[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *answer_line(const struct run *r, const gram_answer *a)
{
    gram_answer shown = *a;
    json_t *o = line_of(r, a->prompt), *said;
    char *text;
    bool ok;

    if (a->finish == GRAM_FINISH_FAILED) {
        ok = o && !json_object_set_new(o, "error", json_string(a->error));
    } else {
        text = gr_api_answer_text(a);
        shown.text = text;
        shown.bytes = text ? strlen(text) : 0;
        said = text ? gr_api_answer_json(&shown, false) : NULL;
        ok = o && said && !json_object_update(o, said) && !json_object_set_new(o, "ids", ids_json(a));
        json_decref(said);
        free(text);
    }
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

static int take_answer(void *arg, const gram_answer *a)
{
    struct writing *w = arg;
    size_t *next = &(size_t){ json_array_size(w->f->line) };
    gram_status rc = GRAM_OK;

    w->line[a->prompt] = answer_line(w->r, a);
    if (!w->line[a->prompt])
        rc = gr_nomem(&w->why, w->f->path);
    for (; !rc && *next < all_lines(w->r) && w->line[*next]; ++*next) {
        json_t *line = w->line[*next];
        w->line[*next] = NULL;
        rc = gr_eval_file_add(w->f, line, &w->why);
        if (!rc)
            rc = step(w->r, &w->why);
    }
    return rc != GRAM_OK;
}

/* Each answer is asked for by itself, with the seed that it would have beside the others of its prompt: a resume goes
 * on in the midst of them. */
static gram_status write_answers(struct run *r, int side, gram_err *err)
{
    gr_eval_file *f = &r->answer[side];
    size_t done = json_array_size(f->line), all = all_lines(r);
    struct writing w = { .r = r, .f = f, .next = done, .line = gr_calloc(all, sizeof *w.line) };
    gram_generation one = r->g;
    gram_status rc = w.line ? GRAM_OK : gr_nomem(err, f->path);

    one.n = 1;
    if (!rc && done < all)
        rc = gr_api_generate(r->model[side], next_prompt, &w, done, &one, take_answer, NULL, &w, err);
    if (w.why.status) {
        rc = w.why.status;
        if (err)
            *err = w.why;
    }
    for (size_t i = 0; w.line && i < all; i++)
        json_decref(w.line[i]);
    free(w.line);
    return rc ? rc : gr_eval_file_commit(f, err);
}

/* ---- KL ------------------------------------------------------------------------------------------ */

struct summing { size_t skip; double sum; };

static gram_status add_logprob(void *arg, const gram_written *t, gram_err *err)
{
    struct summing *s = arg;

    (void)err;
    if (s->skip)
        s->skip--;
    else
        s->sum += t->logprob;
    return GRAM_OK;
}

/* log p - log p0 of the policy's answer to row i, over its tokens; NAN where the baseline has no room for it. */
static gram_status read_kl(struct run *r, size_t i, const json_t *answer, double *kl, gram_err *err)
{
    const json_t *list = json_object_get(answer, "ids");
    struct summing s = { 0 };
    gr_ids ids = { 0 };
    gram_status rc = gr_api_prompt_ids(r->model[BASELINE], prompt_of(r, i), &ids, err);

    *kl = NAN;
    s.skip = ids.n;
    for (size_t k = 0; k < json_array_size(list) && !rc; k++)
        if (!gr_ids_add(&ids, &(int32_t){ (int32_t)json_integer_value(json_array_get(list, k)) }, 1))
            rc = gr_nomem(err, "log-probabilities");
    if (!rc)
        rc = gram_text_logprobs(r->model[BASELINE], ids.p, ids.n, 0, add_logprob, &s, err);
    if (!rc)
        *kl = json_number_value(json_object_get(answer, "logprob")) - s.sum;
    gr_ids_clear(&ids);
    return rc == GRAM_ELIMIT ? GRAM_OK : rc;
}

/* ---- Verdicts ------------------------------------------------------------------------------------ */

/* A row on its way: NAN where there is no number. */
struct verdict {
    const char *text[SIDES];
    const json_t *answer[SIDES];
    double reward[SIDES], win, preference, flip, kl, kl_token;
    char *why;                      /* the judge has none */
};

static void take_compared(const struct run *r, const gram_judged_group *g, struct verdict *v)
{
    double x = g->value[1];                             /* v(0,1): by how much the policy's beats the other */

    v->preference = r->judge->unit == GRAM_UNIT_PREFERENCE ? x + 0.5 : 1 / (1 + exp(-x));
    v->win = x > 0 ? 1 : x < 0 ? 0 : 0.5;
    v->flip = g->cost.comparisons ? g->cost.flips > 0 : 0;      /* equal texts are not compared */
}

static void take_numbers(const gram_judged_group *g, struct verdict *v)
{
    for (size_t s = 0; s < g->n; s++)
        v->reward[s] = g->reward[s];
    if (g->n == SIDES)
        v->win = g->reward[0] > g->reward[1] ? 1 : g->reward[0] < g->reward[1] ? 0 : 0.5;
}

/* What concerns this row alone becomes its `why`. */
static gram_status judge_row(struct run *r, size_t i, struct verdict *v, gram_err *err)
{
    const gram_group g = { .prompt = prompt_of(r, i), .response = v->text, .n = has_baseline(r) ? 2 : 1,
                           .columns = r->judge->program ? gr_api_columns(row_at(r, i)->json) : NULL };
    gram_judged_group out = { 0 };
    gram_err why = { 0 };
    gram_status rc = g.columns || !r->judge->program ? GRAM_OK : gr_nomem(&why, "columns");

    if (!rc)
        rc = gram_judge_group(r->judge, &g, &out, &why);
    free((char *)(uintptr_t)g.columns);
    if (rc == GRAM_EARG || rc == GRAM_EUNSUPPORTED || rc == GRAM_ELIMIT) {
        v->why = gr_strdup(why.text);
        return v->why ? GRAM_OK : gr_nomem(err, "a verdict");
    }
    if (rc)
        return gr_fail(err, rc, "row %s: %s", row_at(r, i)->row.id, why.text);
    gr_judge_add_cost(&r->report->judge, &out.cost);
    for (size_t s = 0; s < out.n && !v->why && !rc; s++)
        if (out.error[s] && !(v->why = gr_strdup(out.error[s])))
            rc = gr_nomem(err, "a verdict");
    if (!rc && !v->why && out.value)
        take_compared(r, &out, v);
    else if (!rc && !v->why)
        take_numbers(&out, v);
    gram_judged_group_clear(&out);
    return rc;
}

static bool put_pair(json_t *o, const char *key, json_t *a, json_t *b)
{
    json_t *list = json_array();
    bool ok = !json_array_append_new(list, a);

    ok = !json_array_append_new(list, b) && ok;
    return !json_object_set_new(o, key, list) && ok;
}

/* Of an answer that a model wrote. */
static json_t *tokens_of(const json_t *answer)
{
    return answer ? json_incref(json_object_get(answer, "tokens")) : json_null();
}

static json_t *cut_of(const json_t *answer)
{
    const char *finish = json_string_value(json_object_get(answer, "finish"));

    return answer ? json_boolean(!strcmp(finish ? finish : "", "length")) : json_null();
}

static json_t *text_or_null(const char *s) { return s ? json_string(s) : json_null(); }

static bool put_verdict(json_t *o, const struct verdict *v)
{
    bool ok = !json_object_set_new(o, "policy", json_string(v->text[POLICY])) &&
              !json_object_set_new(o, "baseline", text_or_null(v->text[BASELINE])) &&
              !json_object_set_new(o, "win", gr_json_real(v->win)) &&
              !json_object_set_new(o, "preference", gr_json_real(v->preference)) &&
              !json_object_set_new(o, "flip", isnan(v->flip) ? json_null() : json_boolean(v->flip > 0)) &&
              put_pair(o, "rewards", gr_json_real(v->reward[0]), gr_json_real(v->reward[1])) &&
              !json_object_set_new(o, "kl", gr_json_real(v->kl)) &&
              !json_object_set_new(o, "kl_token", gr_json_real(v->kl_token)) &&
              put_pair(o, "tokens", tokens_of(v->answer[0]), tokens_of(v->answer[1])) &&
              put_pair(o, "cut", cut_of(v->answer[0]), cut_of(v->answer[1]));

    return ok && (!v->why || !json_object_set_new(o, "judge_error", json_string(v->why)));
}

/* The sides' answers to row i; an error's sentence where one has none. */
static const char *find_answers(const struct run *r, size_t i, struct verdict *v)
{
    for (int s = 0; s < SIDES; s++) {
        const json_t *line = s == BASELINE && !r->model[s] ? NULL : json_array_get(r->answer[s].line, i);
        v->answer[s] = line;
        v->text[s] = json_string_value(json_object_get(line, "completion"));
        if (line && !v->text[s]) {
            const char *error = json_string_value(json_object_get(line, "error"));
            return error ? error : "a line without a completion";
        }
    }
    if (r->opt->baseline_column)
        v->text[BASELINE] = row_at(r, i)->given;
    return NULL;
}

static void tell(const struct run *r, size_t i, const char *what)
{
    gr_buf b = { 0 };

    if (r->opt->file.warn && gr_buf_printf(&b, "row %s: %s", row_at(r, i)->row.id, what))
        r->opt->file.warn(r->opt->file.arg, b.p);
    gr_buf_clear(&b);
}

static gram_status judge_line(struct run *r, size_t i, gram_err *err)
{
    struct verdict v = { .reward = { NAN, NAN }, .win = NAN, .preference = NAN, .flip = NAN, .kl = NAN,
                         .kl_token = NAN };
    const char *error = find_answers(r, i, &v);
    json_t *o = line_of(r, i);
    gram_status rc = error ? GRAM_OK : judge_row(r, i, &v, err);
    bool ok = o;

    if (!rc && !error && r->kl)
        rc = read_kl(r, i, v.answer[POLICY], &v.kl, err);
    if (!error) {
        json_int_t tokens = json_integer_value(json_object_get(v.answer[POLICY], "tokens"));
        v.kl_token = tokens ? v.kl / (double)tokens : NAN;
    }
    if (!rc && (error || v.why))
        tell(r, i, error ? error : v.why);
    if (ok)
        ok = error ? !json_object_set_new(o, "error", json_string(error)) : put_verdict(o, &v);
    free(v.why);
    if (!rc && ok)
        return (rc = gr_eval_file_add(&r->verdict, o, err)) ? rc : step(r, err);
    json_decref(o);
    return rc ? rc : gr_nomem(err, "a verdict");
}

static gram_status judge_all(struct run *r, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = json_array_size(r->verdict.line); i < all_lines(r) && !rc; i++)
        rc = judge_line(r, i, err);
    return rc ? rc : gr_eval_file_commit(&r->verdict, err);
}

/* ---- What follows -------------------------------------------------------------------------------- */

static double number_of(const json_t *v) { return json_is_number(v) ? json_number_value(v) : NAN; }

static double truth_of(const json_t *v) { return json_is_boolean(v) ? json_is_true(v) : NAN; }

/* The line as numbers. */
static gr_versus_row row_of(const json_t *o)
{
    gr_versus_row row = { .win = number_of(json_object_get(o, "win")), .kl = number_of(json_object_get(o, "kl")),
                          .preference = number_of(json_object_get(o, "preference")),
                          .flip = truth_of(json_object_get(o, "flip")),
                          .kl_token = number_of(json_object_get(o, "kl_token")) };

    for (size_t s = 0; s < SIDES; s++) {
        row.reward[s] = number_of(json_array_get(json_object_get(o, "rewards"), s));
        row.tokens[s] = number_of(json_array_get(json_object_get(o, "tokens"), s));
        row.cut[s] = truth_of(json_array_get(json_object_get(o, "cut"), s));
    }
    return row;
}

static gram_status collect(struct run *r, gr_versus *v, gram_err *err)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < all_lines(r) && !rc; i++) {
        const json_t *o = json_array_get(r->verdict.line, i);
        const char *const text[] = { json_string_value(json_object_get(o, "policy")),
                                     json_string_value(json_object_get(o, "baseline")) };
        gr_versus_row row = row_of(o);
        char *prompt;
        if (!text[0]) {
            r->report->failed++;
            continue;
        }
        r->report->unjudged += json_object_get(o, "judge_error") != NULL;
        r->report->no_kl += r->kl && isnan(row.kl);
        prompt = gr_json_text(json_object_get(o, "prompt"), JSON_COMPACT | JSON_ENCODE_ANY);
        row.prompt = prompt ? gr_digest(GR_DIGEST, prompt, strlen(prompt)) : 0;
        rc = prompt ? gr_versus_add(v, &row, text, err) : gr_nomem(err, "an evaluation");
        free(prompt);
    }
    return rc ? rc : gr_versus_collect(v, &r->report->result, err);
}

/* At equal distances among the rows that have answers; *n of them, which borrow. */
static gr_versus_sample *find_samples(const struct run *r, size_t *n)
{
    size_t lines = all_lines(r), most = gr_min(r->opt->samples ? r->opt->samples : SAMPLES, lines);
    gr_versus_sample *all = gr_calloc(most, sizeof *all);

    *n = 0;
    for (size_t k = 0; all && k < most; k++) {
        size_t i = k * lines / most;
        const json_t *o = json_array_get(r->verdict.line, i);
        const gr_versus_row row = row_of(o);
        const gr_group *g = &row_at(r, i)->row;
        if (json_object_get(o, "policy"))
            all[(*n)++] = (gr_versus_sample){ g->turn[g->n_turns - 1].content,
                                              { json_string_value(json_object_get(o, "policy")),
                                                json_string_value(json_object_get(o, "baseline")) },
                                              row.win, { row.reward[0], row.reward[1] } };
    }
    return all;
}

static bool drawn_plainly(const gram_generation *g)
{
    return g->temperature == 1 && g->top_k == 0 && g->top_p == 1 && g->min_p == 0 && g->repetition_penalty == 1 &&
           g->presence_penalty == 0 && g->frequency_penalty == 0 && g->min_new_tokens == 0 && !g->n_stop &&
           !g->n_stop_ids;
}

static bool write_note(const struct run *r, gr_buf *b)
{
    bool ok = true;

    if (r->model[BASELINE] && !r->kl)
        return gr_buf_printf(b, "KL is left out: %s", r->kl_why.text);
    if (r->kl && !drawn_plainly(&r->g))
        ok = gr_buf_puts(b, "KL is the mean log-ratio of the answers that were written: they were not drawn at "
                         "temperature 1 from all tokens.");
    if (r->report->no_kl)
        ok = ok && gr_buf_printf(b, "%s%" PRIu64 " answers have no KL: they are too long for the baseline.",
                                 b->n ? " " : "", r->report->no_kl);
    return ok;
}

static bool describe(const gram_generation *g, gr_buf *b)
{
    return (g->temperature == 0 ? gr_buf_puts(b, "greedy") : gr_buf_printf(b, "temperature %g", g->temperature)) &&
           (!g->top_k || gr_buf_printf(b, ", top-k %zu", g->top_k)) &&
           (g->top_p == 1 || gr_buf_printf(b, ", top-p %g", g->top_p)) &&
           (g->min_p == 0 || gr_buf_printf(b, ", min-p %g", g->min_p)) &&
           gr_buf_printf(b, ", at most %zu tokens, seed %" PRIu64, g->max_new_tokens, g->seed);
}

typedef gram_status write_fn(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err);

static gram_status write_as(write_fn *write, const struct run *r, const gr_versus_facts *f, const char *dir,
                            const char *name, gram_err *err)
{
    gr_buf b = { 0 };
    char *path = gr_path_join(dir, name);
    gram_status rc = path ? write(&r->report->result, f, &b, err) : gr_nomem(err, dir);

    if (!rc)
        rc = gr_write_file(path, b.p, b.n, err);
    gr_buf_clear(&b);
    free(path);
    return rc;
}

static gram_status publish(struct run *r, const char *in, const char *dir, char **table, gram_err *err)
{
    char date[32], *name = gr_api_base_name(in);
    gr_buf note = { 0 }, column = { 0 }, how = { 0 }, text = { 0 };
    gr_versus_facts f = { .data = name, .policy = r->model[POLICY]->name, .judge = gram_judge_about(r->judge),
                         .date = gr_api_date(date), .each = r->g.n, .failed = r->report->failed,
                         .unjudged = r->report->unjudged };
    gr_versus_sample *sample = find_samples(r, &f.samples);
    gram_status rc = name && sample && write_note(r, &note) && describe(&r->g, &how) ? GRAM_OK : gr_nomem(err, dir);

    if (!rc && r->opt->baseline_column && !gr_buf_printf(&column, "the rows' %s", r->opt->baseline_column))
        rc = gr_nomem(err, dir);
    f.baseline = r->model[BASELINE] ? r->model[BASELINE]->name : column.p;
    f.note = note.p;
    f.generation = how.p;
    f.sample = sample;
    if (!rc)
        rc = write_as(gr_versus_json, r, &f, dir, "numbers.json", err);
    if (!rc)
        rc = write_as(gr_versus_page, r, &f, dir, "index.html", err);
    if (!rc && table)
        rc = gr_versus_table(&r->report->result, &f, &text, err);
    if (!rc && table)
        *table = text.p;
    else
        gr_buf_clear(&text);
    gr_buf_clear(&note);
    gr_buf_clear(&column);
    gr_buf_clear(&how);
    free(sample);
    free(name);
    return rc;
}

/* ---- The run ------------------------------------------------------------------------------------- */

static gram_status check(const struct run *r, const char *in, gram_err *err)
{
    const gram_evalpolicy_options *o = r->opt;

    if (!o->generation)
        return gr_fail(err, GRAM_EARG, "evaluation of a policy: wanted the settings of its answers");
    if (o->baseline && o->baseline_column)
        return gr_fail(err, GRAM_EARG, "baseline: both a model and the column \"%s\"", o->baseline_column);
    if (gram_judge_needs_reference(r->judge))
        return gr_fail(err, GRAM_EARG, "scheme reference: the answers are compared with the baseline's here");
    if (!gram_judge_across_prompts(r->judge) && !has_baseline(r))
        return gr_fail(err, GRAM_EARG, "%s: it compares two answers: wanted a baseline", gram_judge_about(r->judge));
    if (o->file.shares || o->file.rationale)
        return gr_fail(err, GRAM_EARG, "evaluation of a policy: neither in shares nor by rationales");
    if (gr_name_is_standard(in))
        return gr_fail(err, GRAM_EARG, "-: prompts have to be a file, of which a resume reads the same rows");
    return gram_generation_check(o->generation, err);
}

/* What a resume has to have in common with the run before. */
static json_t *settings(const struct run *r)
{
    return json_pack("{s:s, s:I, s:o, s:o, s:s?, s:o, s:o}", "gram", GRAM_VERSION, "n", (json_int_t)r->g.n,
                     "policy", gr_how_model(r->model[POLICY]),
                     "baseline", gr_how_model(r->model[BASELINE]), "baseline_column", r->opt->baseline_column,
                     "judge", gr_how_judged(r->judge),
                     "prompts_and_generation",
                     json_pack("{s:o, s:o}", "prompts", json_sprintf("%016" PRIx64, r->rows.digest), "generation",
                               gr_how_generation(&r->g)));
}

/* A program judges by what else the rows say. */
static gram_status add_columns(struct run *r, gram_err *err)
{
    for (size_t i = 0; r->judge->program && i < r->rows.n; i++) {
        char *text = gr_api_columns(r->rows.p[i].json);
        if (!text)
            return gr_nomem(err, "columns");
        r->rows.digest = gr_digest_text(r->rows.digest, text);
        free(text);
    }
    return GRAM_OK;
}

static gram_status open_files(struct run *r, const char *dir, gram_err *err)
{
    bool resume = r->opt->file.resume;
    gram_status rc = gr_eval_settings(dir, settings(r), resume, err);

    if (!rc)
        rc = gr_eval_file_open(&r->answer[POLICY], dir, "policy.jsonl", resume, &r->rows, r->g.n, err);
    if (!rc && r->model[BASELINE])
        rc = gr_eval_file_open(&r->answer[BASELINE], dir, "baseline.jsonl", resume, &r->rows, r->g.n, err);
    if (!rc)
        rc = gr_eval_file_open(&r->verdict, dir, "rows.jsonl", resume, &r->rows, r->g.n, err);
    r->done = r->report->resumed = r->answer[POLICY].resumed + r->answer[BASELINE].resumed + r->verdict.resumed;
    return rc;
}

static gram_status run_all(struct run *r, const char *in, const char *dir, char **table, gram_err *err)
{
    gr_versus v = { 0 };
    gram_status rc = gr_eval_prompts_read(&r->rows, in, r->opt->baseline_column, &r->opt->file, &r->report->bad, err);

    r->report->rows = r->rows.n;
    r->kl = r->model[BASELINE] &&
            !gr_api_same_words(r->model[POLICY], r->model[BASELINE], "a baseline whose KL is wanted", &r->kl_why);
    if (!rc)
        rc = add_columns(r, err);
    if (!rc)
        rc = open_files(r, dir, err);
    for (int s = 0; s < SIDES && !rc; s++)
        if (r->model[s])
            rc = write_answers(r, s, err);
    if (!rc)
        rc = judge_all(r, err);
    if (!rc)
        rc = collect(r, &v, err);
    if (!rc)
        rc = publish(r, in, dir, table, err);
    gr_versus_clear(&v);
    return rc;
}

gram_status gram_evalpolicy(gram_model *policy, gram_judge *judge, const char *prompts, const char *dir,
                            const gram_evalpolicy_options *opt, gram_evalpolicy_report *report, char **table,
                            gram_err *err)
{
    gram_evalpolicy_report unwanted;
    struct run r = { .model = { policy, opt->baseline }, .judge = judge, .opt = opt,
                    .report = report ? report : &unwanted };
    double start = gr_now();
    gram_status rc = check(&r, prompts, err);

    *r.report = (gram_evalpolicy_report){ 0 };
    if (table)
        *table = NULL;
    if (rc)
        return rc;
    r.g = *opt->generation;
    if (r.g.products == GRAM_PRODUCTS_AUTO)
        r.g.products = GRAM_PRODUCTS_TILES;
    rc = gr_api_ready(policy, err);
    if (!rc && opt->baseline)
        rc = gr_api_ready(opt->baseline, err);
    if (!rc)
        rc = run_all(&r, prompts, dir, table, err);
    for (int s = 0; s < SIDES; s++)
        gr_eval_file_close(&r.answer[s]);
    gr_eval_file_close(&r.verdict);
    gr_eval_prompts_clear(&r.rows);
    r.report->seconds = gr_now() - start;
    return rc;
}
