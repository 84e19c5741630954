/* numbers.c - see numbers.h.
 *
 * jansson builds the tree. Its *_new functions take NULL for "out of memory" and pass it on, so a failed
 * allocation anywhere leaves a tree that lacks a value: `ok` remembers that, and the result is thrown away. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "eval/numbers.h"
#include "eval/text.h"

typedef struct { bool ok; } builder;

static void set(builder *b, json_t *o, const char *key, json_t *v)
{
    if (json_object_set_new(o, key, v))
        b->ok = false;
}

static void push(builder *b, json_t *a, json_t *v)
{
    if (json_array_append_new(a, v))
        b->ok = false;
}

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

static json_t *text(const char *s)
{
    char *clean = s ? gr_text_clean(s) : NULL;
    json_t *v = clean ? json_string(clean) : NULL;

    free(clean);
    return s ? v : json_null();
}

static json_t *interval(builder *b, gram_interval v)
{
    json_t *o = json_object();

    set(b, o, "value", gr_json_real(v.value));
    set(b, o, "low", gr_json_real(v.low));
    set(b, o, "high", gr_json_real(v.high));
    return o;
}

static void set_stats(builder *b, json_t *o, const gr_eval_stats *s)
{
    set(b, o, "rows", count(s->rows));
    set(b, o, "prompts", count(s->prompts));
    set(b, o, "dropped", count(s->dropped));
    set(b, o, "truncated", count(s->truncated));
    set(b, o, "ties", count(s->ties));
    set(b, o, "tokens", count(s->tokens));
    set(b, o, "accuracy", interval(b, s->accuracy));
    set(b, o, "longer_baseline", interval(b, s->longer));
    set(b, o, "flip_rate", interval(b, s->flip_rate));
    set(b, o, "first_seat_rate", interval(b, s->first_seat));
    set(b, o, "confidence", gr_json_real(s->confidence));
    set(b, o, "ece", gr_json_real(s->ece));
}

static json_t *facts(builder *b, const gr_eval_facts *f)
{
    json_t *o = json_object();

    set(b, o, "model", text(f->model));
    set(b, o, "dtype", text(f->dtype));
    set(b, o, "arithmetic", text(f->arithmetic));
    set(b, o, "cpu", text(f->cpu));
    set(b, o, "chat_template", text(f->chat_template));
    set(b, o, "judge_prompt", text(f->prompt_hash));
    set(b, o, "label_a", text(f->label_a));
    set(b, o, "label_b", text(f->label_b));
    set(b, o, "max_tokens", count(f->max_tokens));
    set(b, o, "truncate", text(f->truncate));
    set(b, o, "single_order", json_boolean(f->single_order));
    if (f->temperature > 0)
        set(b, o, "temperature", gr_json_real(f->temperature));
    if (f->rationale)
        set(b, o, "rationale", text(f->rationale));
    set(b, o, "date", text(f->date));
    return o;
}

static json_t *summary(builder *b, const gr_eval_result *r)
{
    json_t *o = json_object();

    set_stats(b, o, &r->all);
    set(b, o, "macro_accuracy", interval(b, r->macro));
    set(b, o, "macro_accuracy_subsets", interval(b, r->macro_subsets));
    set(b, o, "bad", count(r->bad));
    set(b, o, "label_ties", count(r->label_ties));
    return o;
}

/* In the order of accuracy_by_votes. */
static json_t *seconds_by_votes(builder *b, const gr_eval_result *r)
{
    json_t *a = json_array();

    for (size_t k = 0; k < r->votes.points; k++)
        push(b, a, gr_json_real(gr_eval_vote_seconds(&r->votes, k, r->pairs_per_s)));
    return a;
}

static json_t *speed(builder *b, const gr_eval_result *r)
{
    json_t *o = json_object();

    set(b, o, "resumed_rows", count(r->resumed));
    set(b, o, "seconds", gr_json_real(r->seconds));
    set(b, o, "tokens_per_s", gr_json_real(r->tokens_per_s));
    set(b, o, "pairs_per_s", gr_json_real(r->pairs_per_s));
    if (r->votes.points)
        set(b, o, "seconds_by_votes", seconds_by_votes(b, r));
    return o;
}

static json_t *files(builder *b, const gr_eval_result *r)
{
    json_t *a = json_array();

    for (size_t f = 0; f < r->n_files; f++) {
        const gr_eval_file *file = &r->file[f];
        json_t *o = json_object(), *subsets = json_array();
        set(b, o, "name", text(file->name));
        set(b, o, "path", text(file->path));
        set_stats(b, o, &file->stats);
        set(b, o, "macro_accuracy_subsets", interval(b, file->macro));
        set(b, o, "bad", count(file->bad));
        set(b, o, "label_ties", count(file->label_ties));
        for (size_t s = 0; s < file->n_subsets; s++) {
            json_t *sub = json_object();
            set(b, sub, "name", text(file->subset[s].name));
            set_stats(b, sub, &file->subset[s].stats);
            push(b, subsets, sub);
        }
        set(b, o, "subsets", subsets);
        push(b, a, o);
    }
    return a;
}

static json_t *rules(builder *b, const gr_rule_result *r)
{
    static const char *const level[] = { "headline", "section", "part", "added" };
    json_t *o, *scores, *notes;
    const char *section = NULL;

    if (r->rules == GR_RULES_NONE)
        return json_null();
    o = json_object();
    scores = json_array();
    notes = json_array();
    for (size_t k = 0; k < r->n; k++) {
        json_t *s = json_object();
        if (r->score[k].level == GR_SCORE_SECTION)
            section = r->score[k].name;
        set(b, s, "name", text(r->score[k].name));
        set(b, s, "level", text(level[r->score[k].level]));
        set(b, s, "section", text(r->score[k].level == GR_SCORE_PART ? section : NULL));
        set(b, s, "rows", count(r->score[k].rows));
        set(b, s, "score", interval(b, r->score[k].score));
        push(b, scores, s);
    }
    for (size_t k = 0; k < r->notes; k++)
        push(b, notes, text(r->note[k]));
    set(b, o, "name", text(gr_rules_name(r->rules)));
    set(b, o, "scores", scores);
    set(b, o, "notes", notes);
    return o;
}

static json_t *spread(builder *b, const gr_eval_spread *s)
{
    json_t *o = s->rows ? json_object() : json_null();

    if (!s->rows)
        return o;
    set(b, o, "rows", count(s->rows));
    set(b, o, "sigma", gr_json_real(s->sigma));
    set(b, o, "overlap", gr_json_real(s->overlap));
    set(b, o, "overlap_right", gr_json_real(s->right));
    set(b, o, "overlap_wrong", gr_json_real(s->wrong));
    set(b, o, "lambda", gr_json_real(s->lambda));
    set(b, o, "penalised_accuracy", interval(b, s->penalised));
    return o;
}

static json_t *votes(builder *b, const gr_eval_votes *v)
{
    json_t *o = v->rationales ? json_object() : json_null(), *points;

    if (!v->rationales)
        return o;
    set(b, o, "rows", count(v->rows));
    set(b, o, "rationales", count(v->rationales));
    set(b, o, "forced", count(v->forced));
    set(b, o, "contradicts", count(v->contradicts));
    set(b, o, "unparsed", count(0));
    set(b, o, "early", count(v->early));
    set(b, o, "written_tokens", count(v->tokens));
    set(b, o, "first_seat_rate", gr_json_real(v->first_seat));
    set(b, o, "standard_error", gr_json_real(v->error));
    points = json_array();
    for (size_t k = 0; k < v->points; k++) {
        json_t *p = json_object();
        set(b, p, "votes", count(v->point[k].k));
        set(b, p, "accuracy", interval(b, v->point[k].soft));
        set(b, p, "majority_accuracy", interval(b, v->point[k].hard));
        set(b, p, "written_tokens_a_row", gr_json_real(v->point[k].tokens));
        push(b, points, p);
    }
    set(b, o, "accuracy_by_votes", points);
    return o;
}

static json_t *reliability(builder *b, const gr_eval_stats *s)
{
    json_t *a = json_array();

    for (size_t k = 0; k < GR_EVAL_BINS; k++) {
        json_t *o = json_object();
        set(b, o, "from", gr_json_real(0.5 + 0.5 * (double)k / GR_EVAL_BINS));
        set(b, o, "to", gr_json_real(0.5 + 0.5 * (double)(k + 1) / GR_EVAL_BINS));
        set(b, o, "rows", count(s->bin[k].rows));
        set(b, o, "confidence", gr_json_real(s->bin[k].confidence));
        set(b, o, "accuracy", gr_json_real(s->bin[k].accuracy.value));
        push(b, a, o);
    }
    return a;
}

static json_t *margins(builder *b, const gr_eval_result *r)
{
    json_t *a = json_array();

    for (size_t g = 0; g < r->n_margins; g++) {
        json_t *o = json_object();
        set(b, o, "from", gr_json_real(r->margin[g].low));
        set(b, o, "to", gr_json_real(r->margin[g].high));
        set(b, o, "rows", count(r->margin[g].rows));
        set(b, o, "mean", gr_json_real(r->margin[g].margin));
        set(b, o, "accuracy", interval(b, r->margin[g].accuracy));
        push(b, a, o);
    }
    return a;
}

static json_t *histogram(builder *b, const gr_eval_result *r)
{
    json_t *a = json_array();

    for (size_t k = 0; k < GR_EVAL_HISTOGRAM; k++)
        push(b, a, count(r->histogram[k]));
    return a;
}

static json_t *fit(builder *b, const gram_temperature_fit *f)
{
    json_t *o = json_object();

    set(b, o, "pairs", count(f->pairs));
    set(b, o, "temperature", gr_json_real(f->temperature));
    set(b, o, "low", gr_json_real(f->low));
    set(b, o, "high", gr_json_real(f->high));
    set(b, o, "nll_before", gr_json_real(f->nll_before));
    set(b, o, "nll_after", gr_json_real(f->nll_after));
    set(b, o, "ece_before", gr_json_real(f->ece_before));
    set(b, o, "ece_after", gr_json_real(f->ece_after));
    return o;
}

gram_status gr_eval_json(const gr_eval_result *r, gr_buf *out, gram_err *err)
{
    builder b = { true };
    json_t *o = json_object();
    char *all;

    set(&b, o, "gram_eval", json_integer(1));
    set(&b, o, "facts", facts(&b, &r->facts));
    set(&b, o, "summary", summary(&b, r));
    set(&b, o, "rules", rules(&b, &r->rules));
    set(&b, o, "files", files(&b, r));
    set(&b, o, "reliability", reliability(&b, &r->all));
    set(&b, o, "preference_histogram", histogram(&b, r));
    set(&b, o, "accuracy_by_margin", margins(&b, r));
    set(&b, o, "purm", spread(&b, &r->spread));
    if (r->fit.pairs)
        set(&b, o, "temperature_fit", fit(&b, &r->fit));
    if (r->facts.rationale)
        set(&b, o, "rationales", votes(&b, &r->votes));
    set(&b, o, "speed", speed(&b, r));
    all = b.ok ? gr_json_text(o, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    b.ok = all && gr_buf_puts(out, all) && gr_buf_puts(out, "\n");
    free(all);
    json_decref(o);
    return b.ok ? GRAM_OK : gr_nomem(err, "evaluation results");
}
