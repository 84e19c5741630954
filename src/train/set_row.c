/* set_row.c - a row of a file as examples; set_reason.c has rows with reasons. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "reward/loss.h"
#include "train/set_int.h"

static uint64_t hash_extra(uint64_t h, const char *extra)
{
    return extra ? gr_digest_text(h, extra) : h;
}

static uint64_t hash_talk(const gram_message *turn, size_t n, const char *tools)
{
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; i < n; i++)
        h = hash_extra(gr_digest_text(gr_digest_text(h, turn[i].role), turn[i].content), turn[i].extra);
    return hash_extra(h, tools);
}

static uint64_t hash_prompt(gram_prompt p)
{
    return hash_talk(p.turn, p.n, p.tools);
}

/* A pair's sequences. sft-reg wants to know where the chosen answer begins. */
static gram_status judge_pair(const gr_row *row, const gr_set_rules *rules, gr_judged *ids, size_t *asked,
                              gram_err *err)
{
    const gram_pair pair = gr_row_pair(row);
    gr_judged other;
    gram_status rc;

    if (rules->loss.kind != GRAM_LOSS_SFT_REG)
        return gr_judge_pair(rules->judge, &pair, false, ids, err);
    rc = gr_judge_answer(rules->judge, pair.prompt, pair.a, pair.extra_a, ids, asked, err);
    if (rc)
        return rc;
    rc = gr_judge_answer(rules->judge, pair.prompt, pair.b, pair.extra_b, &other, NULL, err);
    ids->order[1] = other.order[0];
    ids->truncated |= other.truncated;
    ids->dropped |= other.dropped;
    return rc;
}

/* The margin of a row for bt-margin; a tie has none. */
static double margin_of(const gr_row *row, const gr_set_rules *rules)
{
    bool used = rules->loss.kind == GRAM_LOSS_BT_MARGIN && !row->tie && !isnan(row->margin);

    return used ? rules->loss.margin_scale * row->margin : 0;
}

/* Counts of the rows that are trained on, for a notice before the first step. */
static void count_row(gr_set *s, const gr_row *row, const gr_judged *ids)
{
    s->truncated += ids->truncated;
    s->ties += row->tie;
    s->weightless += row->weight == 0;
    s->margins += !row->tie && !isnan(row->margin);
    s->negative += !row->tie && row->margin < 0;
}

/* A row of more tokens than are allowed is dropped where that was asked for, and an error elsewhere. */
static gram_status check_length(const gr_judge *j, size_t n, const char *what, bool *dropped, gram_err *err)
{
    if (n <= j->max_tokens)
        return GRAM_OK;
    if (j->truncate != GRAM_TRUNCATE_DROP)
        return gr_fail(err, GRAM_ELIMIT, "%s %zu tokens, more than the %zu allowed; `truncate drop` leaves such rows "
                       "out", what, n, j->max_tokens);
    *dropped = true;
    return GRAM_OK;
}

/* A policy's: the prompt with each answer, as it would write them. */
static gram_status reply_pair(const gr_row *row, const gr_set_rules *rules, gr_example *e, gr_judged *ids,
                              gram_err *err)
{
    const gr_judge *j = rules->judge;
    const gram_prompt prompt = gr_row_prompt(row);
    const char *answer[] = { row->chosen, row->rejected };
    size_t *asked[] = { &e->asked, &e->asked_other };
    gram_status rc = GRAM_OK;

    if (row->soft != 1 && rules->loss.kind != GRAM_LOSS_DPO && rules->loss.kind != GRAM_LOSS_CDPO)
        return gr_fail(err, GRAM_EFORMAT, "the row says that its chosen answer is the better one with a probability of "
                       "%g, and the loss %s has no use for it", row->soft, gram_loss_name(rules->loss.kind));
    if (row->chosen_extra || row->rejected_extra)
        return gr_fail(err, GRAM_EFORMAT, "an answer calls a tool: a policy learns to write texts");
    for (size_t k = 0; k < 2 && !rc; k++) {
        rc = gr_judge_reply(j, prompt, answer[k], &ids->order[k], asked[k], err);
        if (!rc)
            rc = check_length(j, ids->order[k].n, "the prompt and an answer take", &ids->dropped, err);
    }
    if (!rc && !(e->ref = gr_calloc(2, sizeof *e->ref)))
        rc = gr_nomem(err, "training rows");
    return rc;
}

static gram_status add_pair(gr_set *s, const gr_row *row, const gr_set_rules *rules, gram_err *err)
{
    gr_example e = { .target = gr_loss_target(row->soft, rules->loss.smoothing), .weight = row->weight,
                     .soft = row->soft, .margin = margin_of(row, rules), .tie = row->tie,
                     .prompt = hash_prompt(gr_row_prompt(row)) };
    gr_judged ids = { 0 };
    uint64_t asked = hash_extra(e.prompt, row->criteria);       /* by other criteria it is another pair */
    gram_status rc = GRAM_OK;

    e.text[0] = hash_extra(gr_digest_text(asked, row->chosen), row->chosen_extra);
    e.text[1] = hash_extra(gr_digest_text(asked, row->rejected), row->rejected_extra);
    if (row->tie && rules->ties == GRAM_TIES_DROP) {
        s->ties++;
        return GRAM_OK;
    }
    rc = gram_loss_is_policy(rules->loss.kind) ? reply_pair(row, rules, &e, &ids, err)
                                               : judge_pair(row, rules, &ids, &e.asked, err);
    if (!rc && ids.dropped) {
        s->dropped++;
    } else if (!rc && gr_ids_same(&ids.order[0], &ids.order[1])) {
        s->alike++;
    } else if (!rc) {
        count_row(s, row, &ids);
        e.seq[0] = ids.order[0];
        e.seq[1] = ids.order[1];
        ids.order[0] = ids.order[1] = (gr_ids){ 0 };
        rc = gr_set_push(s, &e, err);
    }
    gr_example_clear(&e);
    gr_judged_clear(&ids);
    return rc;
}

/* An example of one text, named by what it is; what: of an error, up to its number of tokens. */
static gram_status push_text(gr_set *s, gr_example *e, const gr_judge *j, const char *what, gram_err *err)
{
    bool dropped = false;
    gram_status rc = check_length(j, e->seq[0].n, what, &dropped, err);

    e->text[0] = gr_digest(GR_DIGEST, e->seq[0].p, e->seq[0].n * sizeof *e->seq[0].p);
    s->dropped += dropped;
    return rc || dropped ? rc : gr_set_push(s, e, err);
}

static gram_status add_labelled(gr_set *s, const gr_group *row, const gr_labelled *answer, const gr_set_rules *rules,
                                gram_err *err)
{
    const gr_judge *j = rules->judge;
    const gram_prompt prompt = gr_group_prompt(row);
    bool good = answer->good;
    gr_example e = { .target = good, .good = good, .weight = answer->weight * (good ? rules->loss.good_weight
                                                                                    : rules->loss.bad_weight),
                     .prompt = hash_prompt(prompt), .ref = gr_calloc(2, sizeof *e.ref) };
    gram_status rc = e.ref ? gr_judge_reply(j, prompt, answer->text, &e.seq[0], &e.asked, err)
                           : gr_nomem(err, "training rows");

    if (!rc)
        rc = push_text(s, &e, j, "the prompt and the answer take", err);
    s->weightless += !rc && answer->weight == 0;
    gr_example_clear(&e);
    return rc;
}

static gram_status add_written(gr_set *s, const gram_pair *pair, const gr_set_rules *rules, gram_err *err)
{
    const gr_judge *j = rules->judge;
    gr_example e = { .target = 1, .weight = 1, .prompt = hash_prompt(pair->prompt) };
    gram_status rc = gr_judge_written(j, pair, &e.seq[0], &e.asked, err);

    if (!rc)
        rc = push_text(s, &e, j, "a pair takes", err);
    gr_example_clear(&e);
    return rc;
}

/* Pairs of the shuffled responses, (0,1), (2,3) and so on: no response stands in two. */
static gram_status add_group(gr_set *s, const gr_group *g, const gr_set_rules *rules, uint64_t place, gram_err *err)
{
    size_t *order = gr_calloc(g->n, sizeof *order);
    gram_status rc = order ? GRAM_OK : gr_nomem(err, "training rows");

    if (!rc)
        gr_shuffle(order, g->n, rules->seed, place);
    for (size_t i = 0; i < rules->pairs && 2 * i + 1 < g->n && !rc; i++) {
        const gram_pair pair = { gr_group_prompt(g), g->response[order[2 * i]],
                                 g->response[order[2 * i + 1]] };
        if (!strcmp(pair.a, pair.b))
            s->alike++;
        else
            rc = add_written(s, &pair, rules, err);
    }
    free(order);
    return rc;
}

/* ---- From the file to examples -------------------------------------------------------------------- */

gram_status gr_set_next(gr_set_item *item, gr_set_form form, gr_reader *r, bool *end, gram_err *err)
{
    gram_status rc;

    *item = (gr_set_item){ .unread = true };
    if (form == GR_FORM_REASONS)
        gr_reader_want_reasons(r);
    switch (form) {
    case GR_FORM_GROUPS:
        rc = gr_reader_group(r, &item->group, end, err);
        break;
    case GR_FORM_LABELLED:
        rc = gr_reader_labelled(r, &item->group, &item->answer, end, err);
        break;
    default:
        rc = gr_reader_pair(r, &item->row, end, err);
    }
    item->at = gr_reader_at(r, NULL);
    item->place = gr_reader_done(r);
    item->unread = rc != GRAM_OK;
    return rc;
}

void gr_set_item_clear(gr_set_item *item)
{
    gr_row_clear(&item->row);
    gr_group_clear(&item->group);
    free(item->answer.text);
    item->answer.text = NULL;
    gr_set_clear(&item->part);
}

/* Whether prompts of this hash are held out. The hash is of the text alone, so the same prompts are in every run. */
static bool is_held(uint64_t hash, double share)
{
    return (double)(gr_random(&hash) >> 11) * 0x1p-53 < share;
}

/* The sentence of a row that cannot be used, with its file and line before it. */
static void blame(gr_set_item *item)
{
    gram_err why = item->why;

    if (why.status == GRAM_EARG || why.status == GRAM_EUNSUPPORTED)     /* what no template can write is a bad row */
        why.status = GRAM_EFORMAT;
    item->rc = gr_fail(&item->why, why.status, "%s:%" PRIu64 ": %s", item->at.name, item->at.line, why.text);
}

static gram_status make(gr_set_item *item, gr_set_form form, uint64_t prompt, const gr_set_rules *rules, gram_err *err)
{
    switch (form) {
    case GR_FORM_REASONS:
        return gr_set_add_reasons(&item->part, &item->row, rules, prompt, err);
    case GR_FORM_GROUPS:
        return add_group(&item->part, &item->group, rules, item->place, err);
    case GR_FORM_LABELLED:
        return add_labelled(&item->part, &item->group, &item->answer, rules, err);
    default:
        return add_pair(&item->part, &item->row, rules, err);
    }
}

void gr_set_make(gr_set_item *item, gr_set_form form, const gr_set_rules *rules)
{
    bool group = form == GR_FORM_GROUPS || form == GR_FORM_LABELLED;
    uint64_t prompt = hash_prompt(group ? gr_group_prompt(&item->group) : gr_row_prompt(&item->row));

    if (rules->split > 0 && is_held(prompt, rules->split) != rules->held) {
        item->part.apart = 1;
        return;
    }
    item->rc = make(item, form, prompt, rules, &item->why);
    if (item->rc && item->rc != GRAM_ENOMEM)
        blame(item);
    if (item->rc)
        gr_set_clear(&item->part);          /* a row that is left out leaves nothing */
}
