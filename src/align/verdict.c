/* verdict.c - a judge that learns to reason (gram rl --judge self): its prompts are labelled pairs, read in both
 * orders, and the reward of a rationale is the probability that the judge itself gives the right label behind it.
 *
 * Answer k to a pair reads it in order k mod 2, and all of them are one group. The verdict is read from the logits of
 * the two labels, as everywhere: by the weights of the rollout, from the text, which is tokenised anew. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "align/align.h"
#include "base/digest.h"
#include "base/err.h"

/* ---- Pairs as prompts ------------------------------------------------------------------------------------ */

/* The row's texts become the prompt's. */
static gram_status take_row(gr_align_prompt *p, gr_row *row, gram_err *err)
{
    if (row->chosen_extra || row->rejected_extra)
        return gr_fail(err, GRAM_EFORMAT, "an answer that calls a tool has no text to reason about");
    if (gr_row_same(row))
        return gr_fail(err, GRAM_EFORMAT, "both answers are the same text");
    p->row = (gr_group){ .id = row->id, .turn = row->turn, .n_turns = row->n_turns, .tools = row->tools,
                         .criteria = row->criteria, .n = 2, .response = gr_calloc(2, sizeof *p->row.response) };
    if (!p->row.response) {
        p->row = (gr_group){ 0 };
        return gr_nomem(err, "pairs");
    }
    p->row.response[0] = row->chosen;
    p->row.response[1] = row->rejected;
    row->id = row->tools = row->criteria = row->chosen = row->rejected = NULL;
    row->turn = NULL;
    row->n_turns = 0;
    return GRAM_OK;
}

static gram_pair pair_of(const gr_align_prompt *p)
{
    return (gram_pair){ gr_group_prompt(&p->row), p->row.response[0], p->row.response[1] };
}

static gram_status add_prompt(gr_align_prompts *s, gr_align_prompt *p, gram_err *err)
{
    gr_align_prompt *grown = gr_grown(s->p, s->n, &s->cap, 1, sizeof *grown);

    if (!grown)
        return gr_nomem(err, "pairs");
    s->p = grown;
    s->digest = gr_digest(s->n ? s->digest : GR_DIGEST, p->ids.p, p->ids.n * sizeof *p->ids.p);
    s->digest = gr_digest(s->digest, p->other.p ? p->other.p : p->ids.p, p->other.n * sizeof *p->ids.p);
    s->p[s->n++] = *p;
    *p = (gr_align_prompt){ .swapped = false };
    return GRAM_OK;
}

/* One prompt with both orders of the row, or with `apart` the order that is asked for. */
static gram_status add_orders(gr_align_prompts *s, gr_row *row, const gr_reason_words *w, bool apart, int order,
                              gram_err *err)
{
    gr_align_prompt p = { .swapped = apart && order };
    gr_reason_prompts text = { .dropped = false };
    gram_status rc = take_row(&p, row, err);
    gram_pair pair;

    if (!rc) {
        pair = pair_of(&p);
        rc = gr_reason_prompt(w, &pair, true, &text, err);
    }
    if (!rc && text.dropped)
        s->dropped++;
    else if (!rc)
        rc = gr_reason_text_ids(w, &text.order[order], &p.ids, err);
    if (!rc && !text.dropped && !apart)
        rc = gr_reason_text_ids(w, &text.order[1], &p.other, err);
    if (!rc && !text.dropped)
        rc = add_prompt(s, &p, err);
    gr_reason_prompts_clear(&text);
    gr_align_prompt_clear(&p);
    return rc;
}

static gram_status read_pairs(gr_align_prompts *out, const char *path, const gr_align_rules *r, int order,
                              gram_err *err)
{
    gr_reader *reader;
    bool end = false;
    gram_status rc = gr_reader_open(&reader, path, r->columns, err);

    if (rc)
        return rc;
    while (!rc && !end) {
        gr_row row = { 0 };
        gram_err why;
        rc = gr_reader_pair(reader, &row, &end, &why);
        if (!rc && !end && (row.tie || row.soft != 1))
            out->ties++;
        else if (!rc && !end && (rc = add_orders(out, &row, r->words, r->apart, order, &why)) == GRAM_EFORMAT) {
            gram_err said = why;
            gr_fail(&why, rc, "%s:%" PRIu64 ": %s", path, gr_reader_line(reader), said.text);
        }
        gr_row_clear(&row);
        if (rc)
            rc = gr_align_bad_row(out, r, rc, &why, err);
    }
    gr_reader_close(reader);
    return rc;
}

gram_status gr_align_read_pairs(gr_align_prompts *out, const char *path, const gr_align_rules *r, gram_err *err)
{
    gr_align_rules again = *r;
    gram_status rc = read_pairs(out, path, r, 0, err);
    uint64_t bad = out->bad, ties = out->ties;

    if (rc || !r->apart)
        return rc;
    again.warn = NULL;                      /* what no row is was said and counted in the first order */
    rc = read_pairs(out, path, &again, 1, err);
    out->bad = bad;
    out->ties = ties;
    return rc;
}

/* ---- Rewards --------------------------------------------------------------------------------------------- */

/* The logits of the labels behind n rationales, in forests of no more tokens than a micro-batch has. */
static gram_status read_logits(const gr_align_own *o, const gr_ids *ids, size_t n, float *logit, gram_err *err)
{
    gr_seq *seq = gr_calloc(n, sizeof *seq);
    gr_work *work = NULL;
    gram_status rc = seq ? gr_work_open(&work, o->model, o->lora, GR_ROWS_ALIKE, o->device, err)
                         : gr_nomem(err, "verdicts");

    for (size_t i = 0, k; i < n && !rc; i += k) {
        size_t tokens = 0;
        gr_forest f;
        for (k = 0; i + k < n && (k == 0 || tokens + ids[i + k].n <= o->batch_tokens); k++) {
            seq[k] = (gr_seq){ ids[i + k].p, ids[i + k].n };
            tokens += ids[i + k].n;
        }
        rc = gr_forest_init(&f, seq, k, gr_model_config(o->model)->far.after, NULL, GR_SAVE_SHARED, err);
        if (rc)
            break;
        rc = gr_model_label_logits(work, &f, o->words->label_id, 2, logit + 2 * i, err);
        gr_forest_clear(&f, true);
    }
    gr_work_close(work);
    free(seq);
    return rc;
}

gram_status gr_align_own_rewards(void *arg, const gr_align_prompt *p, const char *const *answer, size_t n,
                                 const char *reference, double *reward, gram_err *err)
{
    const gr_align_own *o = arg;
    const gram_pair pair = pair_of(p);
    gr_ids *ids = gr_calloc(n, sizeof *ids);
    float *logit = gr_calloc(2 * n, sizeof *logit);
    gr_reason_prompts text = { .dropped = false };
    gram_status rc = ids && logit ? gr_reason_prompt(o->words, &pair, true, &text, err) : gr_nomem(err, "verdicts");
    size_t read = 0;

    (void)reference;
    for (size_t i = 0; i < n && !rc; i++) {
        gr_str body = gr_format_trim((gr_str){ answer[i], strlen(answer[i]) });
        rc = gr_reason_verdict_ids(o->words, &text.order[gr_align_order(p, i)], body, &ids[read], err);
        reward[i] = rc || ids[read].n > o->context ? NAN : 0;       /* more tokens read than were written: it fails */
        read += !isnan(reward[i]);
        if (isnan(reward[i]))
            gr_ids_clear(&ids[read]);
    }
    if (!rc)
        rc = read_logits(o, ids, read, logit, err);
    for (size_t i = 0, at = 0; i < n && !rc; i++) {
        int right = gr_align_order(p, i);           /* the chosen answer's seat */
        if (!isnan(reward[i])) {
            reward[i] = 1 / (1 + exp((double)logit[at + 1 - right] - logit[at + right]));
            at += 2;
        }
    }
    for (size_t i = 0; ids && i < n; i++)
        gr_ids_clear(&ids[i]);
    gr_reason_prompts_clear(&text);
    free(ids);
    free(logit);
    return rc;
}
