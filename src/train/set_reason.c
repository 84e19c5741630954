/* set_reason.c - rows with reasons as examples: a judge learns to write them and the verdict, a prover to write them.
 *
 * A reason names the answers by {first} and {second}, so it stands in both orders; one whose words hold in one order
 * alone stands in the row's own. A row whose reason says nothing, or speaks for the other answer, is a bad one. */
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "reward/loss.h"
#include "train/set_int.h"

/* One reason of a row, ready for any order. */
struct reason {
    gr_buf body;                /* with {first} and {second} */
    bool seated;
};

/* The place of the better answer in the row. */
static int place_of_chosen(const gr_row *row)
{
    return row->swapped;
}

static gram_status check_label(const gr_row *row, int said, gram_err *err)
{
    static const char *const name[] = { "first", "second" };
    int chosen = place_of_chosen(row);

    if (said < 0 || said == chosen)
        return GRAM_OK;
    return gr_fail(err, GRAM_EFORMAT, "the reason gives its verdict for the %s answer, and the row prefers the %s",
                   name[said], name[chosen]);
}

/* A whole reply in the format's tags is taken apart; its verdict, like the conclusion of any text, must be the
 * row's. */
static gram_status prepare(const gr_set_rules *rules, const gr_row *row, const char *text, struct reason *out,
                           gram_err *err)
{
    static const char *const label[] = { "A", "B" };
    const gr_reason_words *w = rules->words[0];
    size_t named[2];
    int verdict;
    gr_str body = gr_format_parse(&w->format, label, (gr_str){ text, strlen(text) }, &verdict), all;
    gram_status rc = check_label(row, verdict, err);
    gr_buf seated = { 0 };

    if (!rc && !body.n)
        rc = gr_fail(err, GRAM_EFORMAT, "the reason is empty");
    if (!rc)
        rc = gr_reason_unseat(body, label, &out->body, named, &out->seated, err);
    if (!rc && !named[0] && !named[1])
        rc = gr_fail(err, GRAM_EFORMAT, "the reason names neither answer: wanted {first} and {second}, \"Response A\", "
                     "\"@Response 1\" or the like");
    if (!rc)
        rc = gr_reason_seat((gr_str){ out->body.p, out->body.n }, label, 0, &seated, err);
    all = (gr_str){ seated.p, seated.n };
    if (!rc)
        rc = check_label(row, gr_conclusion(label, all), err);
    gr_buf_clear(&seated);
    return rc;
}

/* The prompt's share of what may be read: all but the reason and its tags, which take no more tokens than bytes. */
static gram_status leave_room(const gr_reason_words *w, gr_str body, size_t max_tokens, size_t *room, gram_err *err)
{
    const char *const tag[] = { w->format.opening, w->format.closing, w->format.cue, w->format.ending };
    gr_ids ids = { 0 };
    gram_status rc = gr_tok_encode_behind(w->judge.tok, body.p ? body.p : "", body.n, false, &ids, err);
    size_t taken = ids.n + 8;

    for (size_t i = 0; i < GR_COUNT(tag); i++)
        taken += strlen(tag[i]);
    gr_ids_clear(&ids);
    *room = taken < max_tokens ? max_tokens - taken : 1;
    return rc;
}

/* The text in an order, within what may be read. */
static gram_status add_order(gr_set *s, const gr_row *row, const gr_set_rules *rules, const struct reason *r, int order,
                             gr_example *e, gram_err *err)
{
    const gram_pair pair = gr_row_pair(row);
    bool proof = rules->loss.kind == GRAM_LOSS_PROOF;
    gr_reason_words words = *rules->words[proof ? order : 0], *w = &words;      /* cut to measure; it owns nothing */
    const char *const label[2] = { w->label[0], w->label[1] };
    int first_seat = row->swapped ? 1 - order : order;
    gr_reason_written ids = { 0 };
    gr_reason_prompts p = { .dropped = false };
    gr_buf body = { 0 };
    gram_status rc = gr_reason_seat((gr_str){ r->body.p, r->body.n }, label, first_seat, &body, err);

    if (!rc && w->judge.truncate == GRAM_TRUNCATE_BALANCED)
        rc = leave_room(w, (gr_str){ body.p, body.n }, rules->max_tokens, &words.judge.max_tokens, err);
    if (!rc)
        rc = gr_reason_prompt(w, &pair, true, &p, err);
    if (!rc && !p.dropped)
        rc = gr_reason_write_out(w, &p, order, (gr_str){ body.p, body.n }, proof ? -1 : order, rules->turn_end, &ids,
                                 err);
    if (!rc && !p.dropped && ids.ids.n > rules->max_tokens && w->judge.truncate != GRAM_TRUNCATE_DROP)
        rc = gr_fail(err, GRAM_EFORMAT, "the row takes %zu tokens with its reason, and at most %zu may be read; "
                     "`truncate drop` leaves such rows out", ids.ids.n, rules->max_tokens);
    if (!rc && (p.dropped || ids.ids.n > rules->max_tokens)) {
        s->dropped++;
    } else if (!rc) {
        s->truncated += p.truncated;
        e->seq[0] = ids.ids;
        e->asked = ids.asked;
        e->verdict = ids.verdict;
        e->right = order;
        e->text[0] = gr_digest(GR_DIGEST, ids.ids.p, ids.ids.n * sizeof *ids.ids.p);
        ids.ids = (gr_ids){ 0 };
        rc = gr_set_push(s, e, err);
    }
    gr_ids_clear(&ids.ids);
    gr_buf_clear(&body);
    gr_reason_prompts_clear(&p);
    return rc;
}

static gram_status add_reason(gr_set *s, const gr_row *row, const gr_set_rules *rules, uint64_t prompt,
                              const char *text, gram_err *err)
{
    struct reason r = { 0 };
    gram_status rc = prepare(rules, row, text, &r, err);

    s->seated += !rc && r.seated;
    for (int order = 0; order < 2 && !rc; order++) {
        gr_example e = { .target = gr_loss_target(row->soft, rules->loss.smoothing), .weight = row->weight,
                         .soft = row->soft, .prompt = prompt };
        if (r.seated && order != (int)row->swapped)     /* the order in which the row's first answer is read first */
            continue;
        rc = add_order(s, row, rules, &r, order, &e, err);
        gr_ids_clear(&e.seq[0]);
    }
    gr_buf_clear(&r.body);
    return rc;
}

gram_status gr_set_add_reasons(gr_set *s, const gr_row *row, const gr_set_rules *rules, uint64_t prompt, gram_err *err)
{
    const gr_reasons *why = row->reasons;
    gram_status rc;

    if (row->tie) {                             /* no verdict to give reasons for */
        s->ties++;
        return GRAM_OK;
    }
    if (why && why->dropped) {
        s->unproved++;
        return GRAM_OK;
    }
    if (!why)
        return gr_fail(err, GRAM_EFORMAT, "wanted a \"rationale\", or HelpSteer3's \"individual_preference\" with "
                       "reasoning for the better answer, found none");
    rc = check_label(row, why->label, err);
    if (!rc && row->soft < 0.5)
        rc = gr_fail(err, GRAM_EFORMAT, "the chosen answer is said to be the better one with a probability of %g, and "
                     "its reasons speak for it: wanted 0.5 or more", row->soft);
    s->contrary += rc ? 0 : why->contrary;
    s->unsaid += rc ? 0 : why->unsaid;
    s->weightless += !rc && row->weight == 0;
    s->reasoned += !rc;
    s->reasons += rc ? 0 : why->n;
    for (size_t i = 0; i < why->n && !rc; i++)
        rc = add_reason(s, row, rules, prompt, why->text[i], err);
    return rc;
}
