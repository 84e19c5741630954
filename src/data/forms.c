/* forms.c - the forms of preference rows (docs/formats.md), each to the one kind of row.
 *
 * A form is known by its keys. All are read into a base (conversation, id, margin ...) and texts in pairs; one
 * function makes every row. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

#define MOST_COMPLETIONS 64
#define MOST_BYTES ((size_t)256 << 20)      /* of the rows that one line expands to */

struct form {
    const gr_at *at;
    const json_t *row;
    gr_talk prompt;
    char *tools;
    gr_row *out;
    size_t n, cap, bytes;
};

/* What a pair's data say besides its texts. */
struct label { double margin, weight, soft; bool tie; };

/* ---- Keys --------------------------------------------------------------------------------------- */

/* The first of the keys that is there, or NULL. */
static const json_t *first_of(const json_t *row, const char *const *key, size_t n, const char **name)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *v = gr_json_get(row, key[i]);
        if (v) {
            *name = key[i];
            return v;
        }
    }
    return NULL;
}

static gram_status number(const gr_at *at, const char *key, const json_t *v, double *out)
{
    if (!json_is_number(v))
        return gr_bad(at, "key \"%s\" must be a number, found %s", key, gr_json_kind(v));
    *out = json_number_value(v);
    return GRAM_OK;
}

static gram_status optional_number(const gr_at *at, const json_t *row, const char *const *key, size_t n, double low,
                                   double high, double *out)
{
    const char *name;
    const json_t *v = first_of(row, key, n, &name);
    gram_status rc;

    if (!v)
        return GRAM_OK;
    rc = number(at, name, v, out);
    if (!rc && !(*out >= low && *out <= high))
        rc = gr_bad(at, "key \"%s\" must lie between %g and %g, found %g", name, low, high, *out);
    return rc;
}

static gram_status read_label(const gr_at *at, const json_t *row, struct label *out)
{
    static const char *const margin[] = { "margin" }, *const weight[] = { "weight" };
    static const char *const soft[] = { "soft", "soft_label", "p_chosen" };
    static const char *const chosen[] = { "score_chosen", "chosen_score", "chosen_rating" };
    static const char *const rejected[] = { "score_rejected", "rejected_score", "rejected_rating" };
    const json_t *tie = gr_json_get(row, "tie");
    double up = NAN, down = NAN;
    gram_status rc;

    *out = (struct label){ .margin = NAN, .weight = 1, .soft = 1, .tie = json_is_true(tie) };
    if (tie && !json_is_boolean(tie))
        return gr_bad(at, "key \"tie\" must be true or false, found %s", gr_json_kind(tie));
    rc = optional_number(at, row, weight, 1, 0, 1e30, &out->weight);
    if (!rc)
        rc = optional_number(at, row, soft, GR_COUNT(soft), 0, 1, &out->soft);
    if (!rc)
        rc = optional_number(at, row, chosen, GR_COUNT(chosen), -1e30, 1e30, &up);
    if (!rc)
        rc = optional_number(at, row, rejected, GR_COUNT(rejected), -1e30, 1e30, &down);
    out->margin = up - down;
    if (!rc)
        rc = optional_number(at, row, margin, 1, -1e30, 1e30, &out->margin);
    if (out->soft == 0.5)
        out->tie = true;
    if (out->tie)
        out->soft = 0.5;
    return rc;
}

char *gr_row_id(const gr_at *at, const json_t *row, const char *suffix)
{
    static const char *const key[] = { "id", "pair_id" };
    const char *name;
    const json_t *v = first_of(row, key, GR_COUNT(key), &name);
    gr_buf b = { 0 };
    bool ok;

    if (json_string_length(v))
        ok = gr_buf_printf(&b, "%s%s", json_string_value(v), suffix);
    else if (json_is_integer(v))
        ok = gr_buf_printf(&b, "%" JSON_INTEGER_FORMAT "%s", json_integer_value(v), suffix);
    else
        ok = gr_buf_printf(&b, "%s:%" PRIu64 "%s", at->name, at->line, suffix);
    if (ok)
        return b.p;
    gr_buf_clear(&b);
    return NULL;
}

/* A text or a whole number as text; other values name nothing. */
static char *string_of(const json_t *row, const char *const *key, size_t n, bool *ok)
{
    const char *name;
    const json_t *v = first_of(row, key, n, &name);
    gr_buf b = { 0 };

    if (json_is_string(v) ? gr_buf_puts(&b, json_string_value(v))
                          : json_is_integer(v) && gr_buf_printf(&b, "%" JSON_INTEGER_FORMAT, json_integer_value(v)))
        return b.p;
    gr_buf_clear(&b);
    *ok = *ok && !json_is_string(v) && !json_is_integer(v);
    return NULL;
}

/* ---- The one place where rows are made ---------------------------------------------------------- */

static char *copy_of(const char *s, bool *ok)
{
    char *copy = s ? gr_strdup(s) : NULL;

    *ok = *ok && (copy || !s);
    return copy;
}

/* suffix tells expanded rows apart: "#i-j"; "" for a row alone. */
static gram_status add_row(struct form *f, const gr_turn *chosen, const gr_turn *rejected, const struct label *l,
                           const char *suffix)
{
    static const char *const source[] = { "source" }, *const subset[] = { "subset", "domain" };
    gr_row *r;
    bool ok = true;

    f->bytes += strlen(chosen->text) + strlen(rejected->text);
    for (size_t i = 0; i < f->prompt.n; i++)
        f->bytes += strlen(f->prompt.turn[i].text);
    if (f->n && f->bytes > MOST_BYTES)
        return gr_bad(f->at, "its pairs take more than %zu MiB of memory", MOST_BYTES >> 20);
    r = gr_grown(f->out, f->n, &f->cap, 1, sizeof *r);
    if (!r)
        return gr_row_nomem(f->at);
    f->out = r;
    r = &f->out[f->n++];
    *r = (gr_row){ .margin = l->margin, .weight = l->weight, .soft = l->soft, .tie = l->tie };
    r->id = gr_row_id(f->at, f->row, suffix);
    r->source = string_of(f->row, source, GR_COUNT(source), &ok);
    r->subset = string_of(f->row, subset, GR_COUNT(subset), &ok);
    r->n_turns = f->prompt.n;
    r->turn = gr_talk_pack(&f->prompt, f->prompt.n);
    r->tools = copy_of(f->tools, &ok);
    r->chosen = copy_of(chosen->text, &ok);
    r->rejected = copy_of(rejected->text, &ok);
    r->chosen_extra = copy_of(chosen->extra, &ok);
    r->rejected_extra = copy_of(rejected->extra, &ok);
    ok = ok && r->id && r->turn;
    return ok ? GRAM_OK : gr_row_nomem(f->at);
}

static bool same_answer(const gr_turn *a, const gr_turn *b)
{
    return !strcmp(a->text, b->text) && gr_text_same(a->extra, b->extra);
}

static gram_status add_pair(struct form *f, const gr_turn *chosen, const gr_turn *rejected, const struct label *l)
{
    gram_status rc = gr_prompt_check(f->at, &f->prompt);

    return rc ? rc : add_row(f, chosen, rejected, l, "");
}

/* ---- chosen, rejected --------------------------------------------------------------------------- */

/* A side that is a conversation gives up its last turn as the answer; the turns before it are the prompt, or add
 * to it: one may lack the system turn that the other has. `first`: the prompt is this side's to set. */
static gram_status take_answer(struct form *f, const char *key, gr_talk *side, bool first, gr_turn *answer)
{
    gr_talk *p = &f->prompt;
    size_t n, common;

    if (!side->n || strcmp(side->turn[side->n - 1].role, "assistant"))
        return gr_bad(f->at, "key \"%s\" must end with a turn of the assistant, found %s", key,
                      side->n ? side->turn[side->n - 1].role : "no turn");
    *answer = side->turn[--side->n];
    n = side->n;
    common = gr_min(n, p->n);
    if (n == 0 || (first && !p->n) || gr_talk_same(side->turn + n - common, p->turn + p->n - common, common)) {
        if (n > p->n) {
            gr_talk old = *p;
            *p = *side;
            *side = old;
        }
        return GRAM_OK;
    }
    for (common = 0; common < gr_min(n, p->n) && gr_talk_same(side->turn + common, p->turn + common, 1); common++)
        ;
    return gr_bad(f->at, "key \"%s\": turn %zu is not the prompt's, and only the last turn may differ", key,
                  common + 1);
}

static gram_status read_side(struct form *f, const char *key, bool first, bool transcript, gr_turn *answer)
{
    const json_t *v = json_object_get(f->row, key);
    gr_talk side = { 0 };
    gram_status rc = GRAM_OK;

    if (json_is_array(v))
        rc = gr_talk_read(f->at, key, v, &side);
    else if (transcript)
        rc = gr_talk_transcript(f->at, json_string_value(v), &side);
    else if (json_is_string(v) || json_is_object(v))
        return gr_answer_read(f->at, key, v, answer);
    else
        return gr_bad(f->at, "key \"%s\" must be a string, a message or a list of messages, found %s", key,
                      gr_json_kind(v));
    if (!rc)
        rc = take_answer(f, key, &side, first, answer);
    gr_talk_clear(&side);
    return rc;
}

/* RM-Bench's lists of plain strings: every chosen one against every rejected one. */
static gram_status cross(struct form *f, const json_t *chosen, const json_t *rejected, const struct label *l)
{
    gram_status rc = gr_prompt_check(f->at, &f->prompt);

    if (json_array_size(chosen) > MOST_COMPLETIONS || json_array_size(rejected) > MOST_COMPLETIONS)
        return gr_bad(f->at, "wanted at most %d responses, found %zu", MOST_COMPLETIONS,
                      gr_max(json_array_size(chosen), json_array_size(rejected)));
    for (size_t i = 0; i < json_array_size(chosen) && !rc; i++)
        for (size_t k = 0; k < json_array_size(rejected) && !rc; k++) {
            const json_t *a = json_array_get(chosen, i), *b = json_array_get(rejected, k);
            char suffix[48];
            snprintf(suffix, sizeof suffix, "#%zu-%zu", i, k);
            if (!json_is_string(a) || !json_is_string(b))
                rc = gr_bad(f->at, "lists in \"chosen\" and \"rejected\" must hold strings alone or messages alone");
            else if (strcmp(json_string_value(a), json_string_value(b)))
                rc = add_row(f, &(gr_turn){ .text = (char *)(uintptr_t)json_string_value(a) },  /* copied there */
                             &(gr_turn){ .text = (char *)(uintptr_t)json_string_value(b) }, l, suffix);
        }
    if (!rc && !f->n)
        rc = gr_bad(f->at, "no response of \"chosen\" differs from one of \"rejected\"");
    return rc;
}

static gram_status chosen_rejected(struct form *f)
{
    const json_t *a = json_object_get(f->row, "chosen"), *b = json_object_get(f->row, "rejected");
    const char *sa = json_string_value(a), *sb = json_string_value(b);
    gr_turn chosen = { 0 }, rejected = { 0 };
    struct label l;
    bool transcript;
    gram_status rc = gr_prompt_read(f->at, f->row, &f->prompt);

    if (!rc)
        rc = read_label(f->at, f->row, &l);
    if (rc)
        return rc;
    if (json_is_string(json_array_get(a, 0)) && json_is_array(b))
        return cross(f, a, b, &l);
    transcript = !f->prompt.n && sa && sb && gr_talk_is_transcript(sa) && gr_talk_is_transcript(sb);
    rc = read_side(f, "chosen", !f->prompt.n, transcript, &chosen);
    if (!rc)
        rc = read_side(f, "rejected", false, transcript, &rejected);
    if (!rc)
        rc = add_pair(f, &chosen, &rejected, &l);
    gr_turn_clear(&chosen);
    gr_turn_clear(&rejected);
    return rc;
}

/* ---- Two responses and a verdict ---------------------------------------------------------------- */

static const char *const two_keys[][2] = {
    { "response1", "response2" }, { "response_0", "response_1" }, { "response_1", "response_2" },
    { "response_a", "response_b" }, { "response_A", "response_B" }, { "output_1", "output_2" },
};

/* -1: the first is better, 1: the second, 0: a tie. A word may be the very key of one of the two. */
static bool side_named(const char *word, const char *const key[2], double *out)
{
    static const struct { const char *word; int side; } known[] = {
        { "A>B", -1 }, { "A>>B", -1 }, { "B>A", 1 }, { "B>>A", 1 }, { "A=B", 0 }, { "tie", 0 },
        { "A", -1 }, { "B", 1 }, { "model_a", -1 }, { "model_b", 1 }, { "response_a", -1 }, { "response_b", 1 },
    };

    for (size_t i = 0; i < 2; i++)
        if (!strcasecmp(word, key[i])) {
            *out = i ? 1 : -1;
            return true;
        }
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcasecmp(word, known[i].word)) {
            *out = known[i].side;
            return true;
        }
    return false;
}

/* Numbers name the two as their keys do: 1 and 2, or 0 and 1 of response_0 and response_1. */
static gram_status read_verdict(const gr_at *at, const json_t *row, const char *const two[2], double *verdict,
                                bool *graded)
{
    static const char *const grade[] = { "overall_preference", "preference_strength" };
    static const char *const word[] = { "preference", "label", "winner" };
    static const char *const index[] = { "better_response_id" };
    int first = strcmp(two[0], "response_0") ? 1 : 0;
    const char *key;
    const json_t *v = first_of(row, grade, GR_COUNT(grade), &key);
    gram_status rc;

    *graded = v != NULL;
    if (v) {
        rc = number(at, key, v, verdict);
        return rc || fabs(*verdict) <= 3 ? rc : gr_bad(at, "key \"%s\" must lie between -3 and 3, found %g", key,
                                                       *verdict);
    }
    v = first_of(row, index, 1, &key);
    if (json_is_integer(v) && (json_integer_value(v) == 0 || json_integer_value(v) == 1)) {
        *verdict = json_integer_value(v) ? 1 : -1;
        return GRAM_OK;
    }
    if (v)
        return gr_bad(at, "key \"%s\" must be 0 or 1, found %s", key, gr_json_kind(v));
    v = first_of(row, word, GR_COUNT(word), &key);
    if (json_is_string(v) && side_named(json_string_value(v), two, verdict))
        return GRAM_OK;
    if (json_is_number(v) && (json_number_value(v) == first || json_number_value(v) == first + 1)) {
        *verdict = json_number_value(v) == first ? -1 : 1;
        return GRAM_OK;
    }
    if (!v)
        return gr_bad(at, "which response is better is not said: wanted \"overall_preference\", \"preference\", "
                      "\"label\" or \"winner\"");
    return gr_bad(at, "key \"%s\" must be %d, %d, \"A>B\", \"B>A\", \"model_a\", \"model_b\" or \"tie\", found %s", key,
                  first, first + 1, json_is_string(v) ? json_string_value(v) : gr_json_kind(v));
}

static gram_status two_responses(struct form *f, const char *const key[2])
{
    gr_turn answer[2] = { { 0 } };
    double verdict = 0;
    bool graded = false;
    struct label l;
    gram_status rc = gr_prompt_read(f->at, f->row, &f->prompt);

    if (!rc)
        rc = read_label(f->at, f->row, &l);
    if (!rc)
        rc = read_verdict(f->at, f->row, key, &verdict, &graded);
    for (int i = 0; i < 2 && !rc; i++)
        rc = gr_answer_read(f->at, key[i], json_object_get(f->row, key[i]), &answer[i]);
    if (!rc) {
        if (graded)
            l.margin = fabs(verdict);
        if (verdict == 0) {
            l.tie = true;
            l.soft = 0.5;
        }
        rc = add_pair(f, &answer[verdict > 0], &answer[verdict <= 0], &l);
    }
    gr_turn_clear(&answer[0]);
    gr_turn_clear(&answer[1]);
    return rc;
}

/* ---- Ranked completions ------------------------------------------------------------------------- */

struct item { gr_turn answer; double worth; };      /* more is better */

static const char *const list_keys[] = { "completions", "responses" };

/* An item's number is a rank (1 is best) or a score (more is better), in the item itself or in a list beside it. */
static gram_status read_worth(struct form *f, const char *key, const json_t *v, size_t i, double *worth, bool *ranks)
{
    static const char *const rank[] = { "rank", "ranking" };
    static const char *const score[] = { "overall_score", "score", "rating", "reward" };
    static const char *const rank_list[] = { "ranks", "rank", "ranking" };
    static const char *const score_list[] = { "scores", "score", "ratings", "rewards" };
    static const char *const best[] = { "best", "best_index" };
    const struct { const json_t *in; const char *const *key; size_t n; bool ranks, list; } place[] = {
        { v, rank, GR_COUNT(rank), true, false },
        { v, score, GR_COUNT(score), false, false },
        { f->row, rank_list, GR_COUNT(rank_list), true, true },
        { f->row, score_list, GR_COUNT(score_list), false, true },
    };
    const json_t *w;
    const char *name;
    gram_status rc;

    for (size_t k = 0; k < GR_COUNT(place); k++) {
        w = first_of(place[k].in, place[k].key, place[k].n, &name);
        if (!w)
            continue;
        if (place[k].list && !json_is_array(w))
            return gr_bad(f->at, "key \"%s\" must be a list of as many numbers as \"%s\" has responses, found %s", name,
                          key, gr_json_kind(w));
        if (place[k].list && json_array_size(w) != json_array_size(json_object_get(f->row, key)))
            return gr_bad(f->at, "key \"%s\" must be a list of as many numbers as \"%s\" has responses, found %zu",
                          name, key, json_array_size(w));
        rc = number(f->at, name, place[k].list ? json_array_get(w, i) : w, worth);
        *worth = place[k].ranks ? -*worth : *worth;
        *ranks = place[k].ranks;
        return rc;
    }
    w = first_of(f->row, best, GR_COUNT(best), &name);
    if (w) {
        json_int_t n = (json_int_t)json_array_size(json_object_get(f->row, key));
        if (!json_is_integer(w) || json_integer_value(w) < 0 || json_integer_value(w) >= n)
            return gr_bad(f->at, "key \"%s\" must be the index of one of %" JSON_INTEGER_FORMAT " responses, from 0",
                          name, n);
        *worth = json_integer_value(w) == (json_int_t)i;
        *ranks = true;
        return GRAM_OK;
    }
    return gr_bad(f->at, "key \"%s\": response %zu has neither a rank nor a score", key, i + 1);
}

static gram_status add_pairs(struct form *f, const struct item *item, size_t n)
{
    struct label l;
    gram_status rc = read_label(f->at, f->row, &l);
    bool best_of = json_is_integer(json_object_get(f->row, "best"))
                || json_is_integer(json_object_get(f->row, "best_index"));

    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n && !rc; k++) {
            size_t a = item[i].worth >= item[k].worth ? i : k, b = i + k - a;
            bool tie = item[a].worth == item[b].worth;
            struct label pair = { .margin = item[a].worth - item[b].worth, .weight = l.weight, .soft = tie ? 0.5 : 1,
                                  .tie = tie };
            char suffix[48];

            if (same_answer(&item[a].answer, &item[b].answer) || (best_of && tie))    /* nothing to choose; nothing said */
                continue;
            snprintf(suffix, sizeof suffix, "#%zu-%zu", a, b);
            rc = add_row(f, &item[a].answer, &item[b].answer, &pair, suffix);
        }
    if (!rc && !f->n)
        rc = gr_bad(f->at, "no two of its responses differ");
    return rc;
}

static gram_status completions(struct form *f, const char *key, const json_t *list)
{
    struct item item[MOST_COMPLETIONS] = { { { 0 } } };
    size_t n = json_array_size(list);
    bool ranks = false, first = false;
    gram_status rc;

    if (!json_is_array(list))
        return gr_bad(f->at, "key \"%s\" must be a list of 2 to %d responses, found %s", key, MOST_COMPLETIONS,
                      gr_json_kind(list));
    if (n < 2 || n > MOST_COMPLETIONS)
        return gr_bad(f->at, "key \"%s\" must be a list of 2 to %d responses, found %zu", key, MOST_COMPLETIONS, n);
    rc = gr_prompt_read(f->at, f->row, &f->prompt);
    if (!rc)
        rc = gr_prompt_check(f->at, &f->prompt);
    for (size_t i = 0; i < n && !rc; i++) {
        const json_t *v = json_array_get(list, i);
        rc = gr_answer_read(f->at, key, v, &item[i].answer);
        if (!rc)
            rc = read_worth(f, key, v, i, &item[i].worth, &ranks);
        if (i == 0)
            first = ranks;
        else if (!rc && ranks != first)
            rc = gr_bad(f->at, "key \"%s\": some responses have a rank, others a score", key);
    }
    if (!rc)
        rc = add_pairs(f, item, n);
    for (size_t i = 0; i < n; i++)
        gr_turn_clear(&item[i].answer);
    return rc;
}

/* ---- Which form --------------------------------------------------------------------------------- */

static gram_status unknown_form(struct form *f)
{
    gr_buf keys = { 0 };
    const char *key;
    json_t *v;
    gram_status rc;

    json_object_foreach((json_t *)(uintptr_t)f->row, key, v) {      /* the iterator takes no const; nothing changes */
        if (keys.n < 200 && !gr_buf_printf(&keys, "%s\"%.40s\"", keys.n ? ", " : "", key)) {
            gr_buf_clear(&keys);
            return gr_row_nomem(f->at);
        }
    }
    rc = gr_bad(f->at, "wanted \"chosen\" and \"rejected\", \"response1\" and \"response2\", or \"completions\" with "
                "ranks or scores, found %s", keys.n ? keys.p : "no key");
    gr_buf_clear(&keys);
    return rc;
}

static gram_status read_form(struct form *f)
{
    const char *key;
    const json_t *list;

    if (json_object_get(f->row, "chosen") || json_object_get(f->row, "rejected"))
        return chosen_rejected(f);
    for (size_t i = 0; i < GR_COUNT(two_keys); i++)
        if (json_object_get(f->row, two_keys[i][0]) && json_object_get(f->row, two_keys[i][1]))
            return two_responses(f, two_keys[i]);
    list = first_of(f->row, list_keys, GR_COUNT(list_keys), &key);
    return list ? completions(f, key, list) : unknown_form(f);
}

gram_status gr_forms_read(const gr_at *at, const json_t *row, gr_row **out, size_t *n)
{
    struct form f = { .at = at, .row = row };
    gram_status rc = GRAM_OK;

    *out = NULL;
    *n = 0;
    if (!json_is_object(row))
        rc = gr_bad(at, "a row must be a JSON object, found %s", gr_json_kind(row));
    if (!rc)
        rc = gr_tools_read(at, row, &f.tools);
    if (!rc)
        rc = read_form(&f);
    gr_talk_clear(&f.prompt);
    free(f.tools);
    if (rc) {
        for (size_t i = 0; i < f.n; i++)
            gr_row_clear(&f.out[i]);
        free(f.out);
        return rc;
    }
    *out = f.out;
    *n = f.n;
    return GRAM_OK;
}
