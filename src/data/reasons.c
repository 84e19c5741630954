/* reasons.c - why a row's better answer is better: "rationale", or what HelpSteer3's annotators wrote.
 *
 * HelpSteer3's individual_preference is a list of {score, reasoning, feedback1, feedback2}. Its parts become
 *
 *     Feedback:    {first}: feedback1, {second}: feedback2
 *     Comparision: reasoning                                  GRAM-R2's heading, as its checkpoints spell it
 *     Conclusion:  the side of the score is better
 *
 * A score of 0 concludes nothing, and one against the row's preference contradicts it: both are left out. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

void gr_reasons_free(gr_reasons *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n; i++)
        free(r->text[i]);
    free(r->text);
    free(r);
}

static gram_status add_text(const gr_at *at, gr_reasons *r, const char *text)
{
    const char *odd = gr_text_odd(at, text);

    if (odd)
        return gr_bad(at, "a rationale holds %s", odd);
    r->text[r->n] = gr_strdup(text);
    if (!r->text[r->n])
        return gr_row_nomem(at);
    r->n++;
    return GRAM_OK;
}

/* Which place a rationale_label names. */
static gram_status read_label(const gr_at *at, const json_t *v, int *out)
{
    static const struct { const char *word; int place; } known[] = {
        { "A", 0 }, { "B", 1 }, { "first", 0 }, { "second", 1 }, { "chosen", -1 },
    };
    const char *s = json_string_value(v);
    double x;

    *out = -1;
    if (!v)
        return GRAM_OK;
    if (gr_json_number(v, &x) && (x == 1 || x == 2)) {
        *out = (int)x - 1;
        return GRAM_OK;
    }
    for (size_t i = 0; s && i < GR_COUNT(known); i++)
        if (!strcmp(s, known[i].word)) {
            *out = known[i].place;
            return GRAM_OK;
        }
    return gr_bad(at, "key \"rationale_label\" must be \"A\", \"B\", 1, 2, \"first\", \"second\" or \"chosen\", found "
                      "%s",
                  s ? s : gr_json_kind(v));
}

static gram_status read_rationales(const gr_at *at, const json_t *row, const json_t *v, gr_reasons *r)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    gram_status rc = read_label(at, gr_json_get(row, "rationale_label"), &r->label);

    r->text = gr_calloc(n, sizeof *r->text);
    if (!r->text)
        return gr_row_nomem(at);
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *s = json_is_array(v) ? json_array_get(v, i) : v;
        if (!json_is_string(s))
            rc = gr_bad(at, "key \"rationale\" must be a text or a list of texts, found %s", gr_json_kind(s));
        else
            rc = add_text(at, r, json_string_value(s));
    }
    return rc;
}

/* ---- HelpSteer3 ---------------------------------------------------------------------------------- */

static const char *text_of(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s ? s : "";
}

/* One annotator's words, where their score is on the side of the row's. */
static gram_status add_annotator(const gr_at *at, const json_t *one, double overall, gr_reasons *r)
{
    double side;
    gr_buf b = { 0 };
    gram_status rc;

    if (!gr_json_number(json_object_get(one, "score"), &side) || !*text_of(one, "reasoning")) {
        r->unsaid++;
        return GRAM_OK;
    }
    if (side * overall <= 0) {
        r->contrary++;
        return GRAM_OK;
    }
    if (!gr_buf_printf(&b, "Feedback:\n{first}: %s\n{second}: %s\n\nComparision:\n%s\n\nConclusion:\n%s is better.",
                       text_of(one, "feedback1"), text_of(one, "feedback2"), text_of(one, "reasoning"),
                       side < 0 ? "{first}" : "{second}")) {
        gr_buf_clear(&b);
        return gr_row_nomem(at);
    }
    rc = add_text(at, r, b.p);
    gr_buf_clear(&b);
    return rc;
}

static gram_status read_annotators(const gr_at *at, const json_t *row, const json_t *v, gr_reasons *r)
{
    double overall;
    gram_status rc = GRAM_OK;

    gr_json_number(json_object_get(row, "overall_preference"), &overall);       /* 0 where there is none */
    r->label = -1;
    r->text = gr_calloc(json_array_size(v), sizeof *r->text);
    if (!r->text)
        return gr_row_nomem(at);
    for (size_t i = 0; i < json_array_size(v) && !rc; i++)
        rc = add_annotator(at, json_array_get(v, i), overall, r);
    return rc;
}

gram_status gr_reasons_read(const gr_at *at, const json_t *row, gr_reasons **out)
{
    const json_t *own = gr_json_get(row, "rationale"), *annotators = gr_json_get(row, "individual_preference");
    bool dropped = !own && json_is_string(json_object_get(row, "dropped"));
    gr_reasons *r;
    gram_status rc;

    *out = NULL;
    if (!own && !json_is_array(annotators) && !dropped)
        return GRAM_OK;
    r = gr_calloc(1, sizeof *r);
    if (!r)
        return gr_row_nomem(at);
    r->dropped = dropped;
    r->label = -1;
    rc = dropped ? GRAM_OK : own ? read_rationales(at, row, own, r) : read_annotators(at, row, annotators, r);
    if (rc || !(r->n || dropped)) {
        gr_reasons_free(r);
        return rc;
    }
    *out = r;
    return GRAM_OK;
}
