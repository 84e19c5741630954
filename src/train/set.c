/* set.c - see set.h. */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/random.h"
#include "data/rows.h"
#include "reward/loss.h"
#include "train/set_int.h"

/* ---- Chance ------------------------------------------------------------------------------------- */

static void shuffle(size_t *a, size_t n, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed;

    state = gr_random(&state) ^ stream;
    for (size_t i = 0; i < n; i++)
        a[i] = i;
    for (size_t i = n; i > 1; i--) {
        size_t k = gr_random_below(&state, i), was = a[i - 1];
        a[i - 1] = a[k];
        a[k] = was;
    }
}

gram_status gr_order_at(gr_order *o, uint64_t p, size_t *index, gram_err *err)
{
    if (!o->order || o->epoch != p / o->n) {
        if (!o->order && !(o->order = gr_calloc(o->n, sizeof *o->order)))
            return gr_nomem(err, "the order of the rows");
        o->epoch = p / o->n;
        shuffle(o->order, o->n, o->seed, o->epoch);
    }
    *index = o->order[p % o->n];
    return GRAM_OK;
}

void gr_order_clear(gr_order *o)
{
    free(o->order);
    o->order = NULL;
}

/* ---- Examples ----------------------------------------------------------------------------------- */

static void example_clear(gr_example *e)
{
    gr_ids_clear(&e->seq[0]);
    gr_ids_clear(&e->seq[1]);
    free(e->ref);
}

size_t gr_example_tokens(const gr_example *e)
{
    return e->seq[0].n + e->seq[1].n;
}

gram_status gr_set_add(gr_set *s, gr_example *e, gram_err *err)
{
    if (s->n == s->cap) {
        size_t cap = gr_max(2 * s->cap, 256);
        gr_example *more = gr_calloc(cap, sizeof *more);
        if (!more)
            return gr_nomem(err, "training rows");
        if (s->n > 0)
            memcpy(more, s->e, s->n * sizeof *more);
        free(s->e);
        s->e = more;
        s->cap = cap;
    }
    s->digest = s->n ? s->digest : GR_DIGEST;
    for (int i = 0; i < 2; i++) {
        uint64_t n = e->seq[i].n;
        s->digest = gr_digest(s->digest, &n, sizeof n);
        s->digest = gr_digest(s->digest, e->seq[i].p, e->seq[i].n * sizeof *e->seq[i].p);
    }
    s->digest = e->asked_other || e->ref ? gr_digest(s->digest, &e->asked, sizeof e->asked) : s->digest;
    s->digest = gr_digest(s->digest, &e->target, sizeof e->target);
    s->digest = gr_digest(s->digest, &e->weight, sizeof e->weight);
    s->digest = gr_digest(s->digest, &e->soft, sizeof e->soft);
    s->digest = gr_digest(s->digest, &e->margin, sizeof e->margin);
    if (e->verdict)
        s->digest = gr_digest(s->digest, &e->verdict, sizeof e->verdict);
    s->e[s->n++] = *e;
    *e = (gr_example){ 0 };
    return GRAM_OK;
}

void gr_set_clear(gr_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        example_clear(&s->e[i]);
    free(s->e);
    *s = (gr_set){ 0 };
}

/* ---- Rows --------------------------------------------------------------------------------------- */

/* The sentence of a row that cannot be used, with its file and line before it. */
static gram_status blame(const gr_reader *r, const char *path, gram_err *err)
{
    gram_err why;

    if (!err)
        return GRAM_EFORMAT;
    why = *err;
    if (why.status == GRAM_EARG || why.status == GRAM_EUNSUPPORTED)     /* what no template can write is a bad row */
        why.status = GRAM_EFORMAT;
    return gr_fail(err, why.status, "%s:%" PRIu64 ": %s", path, gr_reader_line(r), why.text);
}

static uint64_t hash_text(uint64_t h, const char *s)
{
    return gr_digest(h, s, strlen(s) + 1);
}

static uint64_t hash_extra(uint64_t h, const char *extra)
{
    return extra ? hash_text(h, extra) : h;
}

static uint64_t hash_talk(const gr_row *row)
{
    uint64_t h = GR_DIGEST;

    for (size_t i = 0; i < row->n_turns; i++)
        h = hash_extra(hash_text(hash_text(h, row->turn[i].role), row->turn[i].content), row->turn[i].extra);
    return hash_extra(h, row->tools);
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

static bool same_ids(const gr_ids *a, const gr_ids *b)
{
    return a->n == b->n && !memcmp(a->p, b->p, a->n * sizeof *a->p);
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
        if (!rc && ids->order[k].n > j->max_tokens && j->truncate == GRAM_TRUNCATE_DROP)
            ids->dropped = true;
        else if (!rc && ids->order[k].n > j->max_tokens)
            rc = gr_fail(err, GRAM_ELIMIT, "the prompt and an answer take %zu tokens, more than the %zu allowed; "
                         "`truncate drop` leaves such rows out", ids->order[k].n, j->max_tokens);
    }
    if (!rc && !(e->ref = gr_calloc(2, sizeof *e->ref)))
        rc = gr_nomem(err, "training rows");
    return rc;
}

static gram_status add_pair(gr_set *s, const gr_row *row, const gr_set_rules *rules, gram_err *err)
{
    gr_example e = { .target = gr_loss_target(row->soft, rules->loss.smoothing), .weight = row->weight,
                     .soft = row->soft, .margin = margin_of(row, rules), .tie = row->tie,
                     .prompt = hash_talk(row) };
    gr_judged ids = { 0 };
    gram_status rc = GRAM_OK;

    e.text[0] = hash_extra(hash_text(e.prompt, row->chosen), row->chosen_extra);
    e.text[1] = hash_extra(hash_text(e.prompt, row->rejected), row->rejected_extra);
    if (row->tie && rules->ties == GRAM_TIES_DROP) {
        s->ties++;
        return GRAM_OK;
    }
    rc = gram_loss_is_policy(rules->loss.kind) ? reply_pair(row, rules, &e, &ids, err)
                                               : judge_pair(row, rules, &ids, &e.asked, err);
    if (!rc && ids.dropped) {
        s->dropped++;
    } else if (!rc && same_ids(&ids.order[0], &ids.order[1])) {
        s->alike++;
    } else if (!rc) {
        count_row(s, row, &ids);
        e.seq[0] = ids.order[0];
        e.seq[1] = ids.order[1];
        ids.order[0] = ids.order[1] = (gr_ids){ 0 };
        rc = gr_set_add(s, &e, err);
    }
    example_clear(&e);
    gr_judged_clear(&ids);
    return rc;
}

static gram_status add_labelled(gr_set *s, const gr_group *row, const char *answer, bool good,
                                const gr_set_rules *rules, gram_err *err)
{
    const gr_judge *j = rules->judge;
    const gram_prompt prompt = gr_group_prompt(row);
    gr_example e = { .target = good, .good = good, .weight = good ? rules->loss.good_weight : rules->loss.bad_weight,
                     .ref = gr_calloc(2, sizeof *e.ref) };
    gram_status rc = e.ref ? gr_judge_reply(j, prompt, answer, &e.seq[0], &e.asked, err)
                           : gr_nomem(err, "training rows");

    e.text[0] = gr_digest(GR_DIGEST, e.seq[0].p, e.seq[0].n * sizeof *e.seq[0].p);
    if (!rc && e.seq[0].n > j->max_tokens && j->truncate == GRAM_TRUNCATE_DROP)
        s->dropped++;
    else if (!rc && e.seq[0].n > j->max_tokens)
        rc = gr_fail(err, GRAM_ELIMIT, "the prompt and the answer take %zu tokens, more than the %zu allowed; "
                     "`truncate drop` leaves such rows out", e.seq[0].n, j->max_tokens);
    else if (!rc)
        rc = gr_set_add(s, &e, err);
    example_clear(&e);
    return rc;
}

/* kto: behind each prompt the answer to the next row's, cut where it is too long. */
static gram_status add_mismatched(gr_set *s, size_t most, const char *path, gram_err *err)
{
    if (s->n < 2)
        return gr_fail(err, GRAM_EFORMAT, "%s: %zu row: kto measures a policy's distance by answers to other prompts: "
                       "wanted two rows or more", path, s->n);
    for (size_t i = 0; i < s->n; i++) {
        gr_example *e = &s->e[i];
        const gr_example *next = &s->e[(i + 1) % s->n];
        size_t n = gr_min(next->seq[0].n - next->asked, most > e->asked ? most - e->asked : 1);
        if (!gr_ids_add(&e->seq[1], e->seq[0].p, e->asked) ||
            !gr_ids_add(&e->seq[1], next->seq[0].p + next->asked, n))
            return gr_nomem(err, "training rows");
        e->asked_other = e->asked;
    }
    return GRAM_OK;
}

static gram_status add_written(gr_set *s, const gram_pair *pair, const gr_set_rules *rules, gram_err *err)
{
    const gr_judge *j = rules->judge;
    gr_example e = { .target = 1, .weight = 1 };
    gram_status rc = gr_judge_written(j, pair, &e.seq[0], &e.asked, err);

    if (!rc)
        e.text[0] = gr_digest(GR_DIGEST, e.seq[0].p, e.seq[0].n * sizeof *e.seq[0].p);
    if (!rc && e.seq[0].n > j->max_tokens && j->truncate == GRAM_TRUNCATE_DROP)
        s->dropped++;
    else if (!rc && e.seq[0].n > j->max_tokens)
        rc = gr_fail(err, GRAM_ELIMIT, "a pair takes %zu tokens, more than the %zu allowed; `truncate drop` leaves "
                     "such pairs out", e.seq[0].n, j->max_tokens);
    else if (!rc)
        rc = gr_set_add(s, &e, err);
    example_clear(&e);
    return rc;
}

/* Pairs of the shuffled responses, (0,1), (2,3) and so on: no response stands in two. */
static gram_status add_group(gr_set *s, const gr_group *g, const gr_set_rules *rules, uint64_t line, gram_err *err)
{
    size_t *order = gr_calloc(g->n, sizeof *order);
    gram_status rc = order ? GRAM_OK : gr_nomem(err, "training rows");

    if (!rc)
        shuffle(order, g->n, rules->seed, line);
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

static gram_status one_pair(gr_set *s, gr_reader *r, const char *path, const gr_set_rules *rules, bool *end,
                            gram_err *err)
{
    gr_row row = { 0 };
    gram_status rc = gr_reader_pair(r, &row, end, err);

    if (rc || *end)
        return rc;
    rc = add_pair(s, &row, rules, err);
    gr_row_clear(&row);
    return rc && rc != GRAM_ENOMEM ? blame(r, path, err) : rc;
}

static gram_status one_group(gr_set *s, gr_reader *r, const char *path, const gr_set_rules *rules, bool *end,
                             gram_err *err)
{
    gr_group g = { 0 };
    gram_status rc = gr_reader_group(r, &g, end, err);

    if (rc || *end)
        return rc;
    rc = add_group(s, &g, rules, gr_reader_line(r), err);
    gr_group_clear(&g);
    return rc && rc != GRAM_ENOMEM ? blame(r, path, err) : rc;
}

static gram_status one_reasoned(gr_set *s, gr_reader *r, const char *path, const gr_set_rules *rules, bool *end,
                                gram_err *err)
{
    gr_row row = { 0 };
    gram_status rc;

    gr_reader_want_reasons(r);
    rc = gr_reader_pair(r, &row, end, err);
    if (rc || *end)
        return rc;
    rc = gr_set_add_reasons(s, &row, rules, hash_talk(&row), err);
    gr_row_clear(&row);
    return rc && rc != GRAM_ENOMEM ? blame(r, path, err) : rc;
}

/* {"prompt", "completion", "label"}: a text or the assistant's message, and true or false, 1 or 0. */
static gram_status read_label(const json_t *row, const char **answer, bool *good, gram_err *err)
{
    const json_t *text = json_object_get(row, "completion"), *label = json_object_get(row, "label"), *turn;

    if (json_array_size(text) == 1 && (turn = json_array_get(text, 0)))
        text = json_object_get(turn, "content");
    if (!json_is_string(text))
        return gr_fail(err, GRAM_EFORMAT, "key \"completion\": wanted a text, or a list of one message; kto learns "
                       "from single answers with a \"label\"");
    if (!json_is_boolean(label) && !(json_is_integer(label) && (json_integer_value(label) | 1) == 1))
        return gr_fail(err, GRAM_EFORMAT, "key \"label\": wanted true or false, whether the completion is good");
    *answer = json_string_value(text);
    *good = json_is_true(label) || json_integer_value(label) == 1;
    return GRAM_OK;
}

static gram_status one_labelled(gr_set *s, gr_reader *r, const char *path, const gr_set_rules *rules, bool *end,
                                gram_err *err)
{
    gr_group g = { 0 };
    json_t *row = NULL;
    const char *answer = "";
    bool good = false;
    gram_status rc = gr_reader_asked(r, false, &g, &row, end, err);

    if (rc || *end)
        return rc;
    rc = read_label(row, &answer, &good, err);
    if (!rc)
        rc = add_labelled(s, &g, answer, good, rules, err);
    json_decref(row);
    gr_group_clear(&g);
    return rc && rc != GRAM_ENOMEM ? blame(r, path, err) : rc;
}

typedef gram_status one_fn(gr_set *s, gr_reader *r, const char *path, const gr_set_rules *rules, bool *end,
                           gram_err *err);

static gram_status read_file(gr_set *out, const char *path, one_fn *one, const gr_set_rules *rules, gram_err *err)
{
    gr_reader *r;
    bool end = false;
    gram_err why;
    gram_status rc = gr_reader_open(&r, path, rules->columns, err);

    if (rc)
        return rc;
    while (!end && !rc) {
        rc = one(out, r, path, rules, &end, &why);
        if (rc == GRAM_EFORMAT && rules->skip_bad) {
            out->bad++;
            if (rules->warn)
                rules->warn(rules->arg, why.text);
            rc = GRAM_OK;
        } else if (rc && err) {
            *err = why;
        }
    }
    gr_reader_close(r);
    return rc;
}

static gram_status read_all(gr_set *out, const char *path, const char *const *more, one_fn *one,
                            const gr_set_rules *rules, gram_err *err)
{
    gram_status rc;

    *out = (gr_set){ 0 };
    rc = read_file(out, path, one, rules, err);
    for (; more && *more && !rc; more++)
        rc = read_file(out, *more, one, rules, err);
    if (!rc && out->n == 0)
        rc = gr_fail(err, GRAM_EFORMAT, "%s: no row to learn from: %" PRIu64 " bad, %" PRIu64 " too long, %" PRIu64
                     " ties, %" PRIu64 " with two answers that are one text, %" PRIu64 " without a proof", path,
                     out->bad, out->dropped, out->ties, out->alike, out->unproved);
    if (rc)
        gr_set_clear(out);
    return rc;
}

gram_status gr_set_read_pairs(gr_set *out, const char *path, const char *const *more, const gr_set_rules *rules,
                              gram_err *err)
{
    gram_status rc = read_all(out, path, more, one_pair, rules, err);

    if (!rc && out->weightless == out->n) {
        rc = gr_fail(err, GRAM_EFORMAT, "%s: every row has the weight 0, so nothing would be learnt", path);
        gr_set_clear(out);
        return rc;
    }
    if (rc || rules->loss.kind != GRAM_LOSS_BT_MARGIN || out->margins > 0)
        return rc;
    gr_set_clear(out);
    return gr_fail(err, GRAM_EARG, "%s: the loss bt-margin wants margins, and no row has one: a \"margin\", two "
                   "scores or a graded preference", path);
}

gram_status gr_set_read_reasons(gr_set *out, const char *path, const char *const *more, const gr_set_rules *rules,
                                gram_err *err)
{
    return read_all(out, path, more, one_reasoned, rules, err);
}

gram_status gr_set_read_groups(gr_set *out, const char *path, const char *const *more, const gr_set_rules *rules,
                               gram_err *err)
{
    return read_all(out, path, more, one_group, rules, err);
}

gram_status gr_set_read_labelled(gr_set *out, const char *path, const char *const *more, const gr_set_rules *rules,
                                 gram_err *err)
{
    gram_status rc = read_all(out, path, more, one_labelled, rules, err);

    if (!rc)
        rc = add_mismatched(out, rules->judge->max_tokens, path, err);
    if (rc)
        gr_set_clear(out);
    return rc;
}
