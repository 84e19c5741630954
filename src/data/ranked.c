/* ranked.c - rows of many answers to one question, each with a rank, a score, or the index of the best beside them:
 * every two that differ become a pair. Of PPE's best of K those two do that the row names. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/forms_int.h"

struct item { gr_turn answer; double worth; };      /* more is better */

static const char *const list_keys[] = { "completions", "responses", "answers" };
static const char *const best_keys[] = { "best", "best_index" };

const json_t *gr_ranked_list(const json_t *row, const char **key)
{
    return gr_first_of(row, list_keys, GR_COUNT(list_keys), key);
}

bool gr_ranked_has_best(const json_t *row)
{
    const char *name;

    return gr_first_of(row, best_keys, GR_COUNT(best_keys), &name);
}


/* The index of the best of n, from 0: one that is n says that the file counts from 1. */
gram_status gr_ranked_best(const gr_at *at, const json_t *row, size_t n, size_t *out)
{
    const char *name = "";
    const json_t *v = gr_first_of(row, best_keys, GR_COUNT(best_keys), &name);
    double x;
    bool ok = gr_json_number(v, &x);

    if (ok && x == (double)n && n)
        return gr_bad_code(at, "key \"%s\" must be the index of one of %zu responses, from 0, found %zu", name, n, n);
    if (!ok || x < 0 || x > (double)n || x != floor(x))
        return gr_bad(at, "key \"%s\" must be the index of one of %zu responses, from 0", name, n);
    *out = (size_t)x;
    return GRAM_OK;
}

/* An item's number is a rank (1 is best) or a score (more is better), in the item itself or in a list beside it. */
static gram_status read_worth(gr_form *f, const char *key, const json_t *v, size_t i, double *worth, bool *ranks)
{
    static const char *const rank[] = { "rank", "ranking" };
    static const char *const score[] = { "overall_score", "score", "rating", "reward" };
    static const char *const rank_list[] = { "ranks", "rank", "ranking" };
    static const char *const score_list[] = { "scores", "score", "ratings", "rewards" };
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
        w = gr_first_of(place[k].in, place[k].key, place[k].n, &name);
        if (!w)
            continue;
        if (place[k].list && !json_is_array(w))
            return gr_bad(f->at, "key \"%s\" must be a list of as many numbers as \"%s\" has responses, found %s", name,
                          key, gr_json_kind(w));
        if (place[k].list && json_array_size(w) != json_array_size(json_object_get(f->row, key)))
            return gr_bad(f->at, "key \"%s\" must be a list of as many numbers as \"%s\" has responses, found %zu",
                          name, key, json_array_size(w));
        rc = gr_number_read(f->at, name, place[k].list ? json_array_get(w, i) : w, worth);
        *worth = place[k].ranks ? -*worth : *worth;
        *ranks = place[k].ranks;
        return rc;
    }
    if (gr_ranked_has_best(f->row)) {
        size_t best = 0;
        rc = gr_ranked_best(f->at, f->row, json_array_size(json_object_get(f->row, key)), &best);
        *worth = best == i;
        *ranks = true;
        return rc;
    }
    return gr_bad(f->at, "key \"%s\": response %zu has neither a rank nor a score", key, i + 1);
}

static gram_status add_pairs(gr_form *f, const struct item *item, size_t n)
{
    gr_label l;
    gram_status rc = gr_label_read(f->at, f->row, &l);
    bool best_of = gr_ranked_has_best(f->row);

    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n && !rc; k++) {
            size_t a = item[i].worth >= item[k].worth ? i : k, b = i + k - a;
            bool tie = item[a].worth == item[b].worth;
            gr_label pair = { .margin = item[a].worth - item[b].worth, .weight = l.weight, .soft = tie ? 0.5 : 1,
                                  .tie = tie };
            char suffix[48];

            if (gr_answer_same(&item[a].answer, &item[b].answer) || (best_of && tie))
                continue;                           /* nothing to choose; nothing said */
            snprintf(suffix, sizeof suffix, "#%zu-%zu", a, b);
            rc = gr_form_add(f, &item[a].answer, &item[b].answer, &pair, suffix);
        }
    if (!rc && !f->n)
        rc = gr_bad(f->at, "no two of its responses differ");
    return rc;
}

gram_status gr_ranked_read(gr_form *f, const char *key, const json_t *list)
{
    struct item item[GR_MOST_ANSWERS] = { { { 0 } } };
    size_t n = json_array_size(list);
    bool ranks = false, first = false;
    gram_status rc;

    if (!json_is_array(list))
        return gr_bad(f->at, "key \"%s\" must be a list of 2 to %d responses, found %s", key, GR_MOST_ANSWERS,
                      gr_json_kind(list));
    if (n < 2 || n > GR_MOST_ANSWERS)
        return gr_bad(f->at, "key \"%s\" must be a list of 2 to %d responses, found %zu", key, GR_MOST_ANSWERS, n);
    rc = gr_prompt_read(f->at, f->row, &f->prompt);
    if (!rc)
        rc = gr_prompt_finish(f->at, f->row, &f->prompt);
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

/* ---- PPE's best of K ----------------------------------------------------------------------------- */

const json_t *gr_conflicts(const json_t *row)
{
    static const char *const key[] = { "sampled_conflict_pairs", "conflict_pairs" };
    const char *name;

    return gr_first_of(row, key, GR_COUNT(key), &name);
}

/* The i-th answer, response_1 being number 0, and whether its score says that it is right. */
static gram_status read_scored(gr_form *f, const json_t *index, gr_turn *answer, double *score)
{
    const json_t *list = json_object_get(f->row, "scores"), *s;
    char key[40];

    if (!json_is_integer(index) || json_integer_value(index) < 0 ||
        json_integer_value(index) >= (json_int_t)json_array_size(list))
        return gr_bad(f->at, "a pair of \"sampled_conflict_pairs\" must name two of the %zu \"scores\"",
                      json_array_size(list));
    s = json_array_get(list, (size_t)json_integer_value(index));
    if (!json_is_boolean(s) && !json_is_number(s))
        return gr_bad(f->at, "key \"scores\" must hold numbers, or true and false, found %s", gr_json_kind(s));
    *score = json_is_boolean(s) ? json_is_true(s) : json_number_value(s);
    snprintf(key, sizeof key, "response_%" JSON_INTEGER_FORMAT, json_integer_value(index) + 1);
    return gr_answer_read(f->at, key, json_object_get(f->row, key), answer);
}

static gram_status read_conflict(gr_form *f, const json_t *pair, const gr_label *l)
{
    gr_turn answer[2] = { { 0 } };
    double score[2] = { 0, 0 };
    gram_status rc = json_array_size(pair) == 2 ? GRAM_OK
                   : gr_bad(f->at, "\"sampled_conflict_pairs\" must hold lists of two numbers");

    for (size_t k = 0; k < 2 && !rc; k++)
        rc = read_scored(f, json_array_get(pair, k), &answer[k], &score[k]);
    if (!rc && score[0] == score[1])
        rc = gr_bad(f->at, "a pair of \"sampled_conflict_pairs\" has two equal scores");
    if (!rc) {
        size_t better = score[1] > score[0];
        char suffix[64];
        snprintf(suffix, sizeof suffix, "#%" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_array_get(pair, better)),
                 json_integer_value(json_array_get(pair, 1 - better)));
        rc = gr_form_add(f, &answer[better], &answer[1 - better], l, suffix);
    }
    gr_turn_clear(&answer[0]);
    gr_turn_clear(&answer[1]);
    return rc;
}

gram_status gr_conflicts_read(gr_form *f)
{
    const json_t *pairs = gr_conflicts(f->row);
    gr_label l;
    gram_status rc = gr_prompt_read(f->at, f->row, &f->prompt);

    if (!rc)
        rc = gr_prompt_finish(f->at, f->row, &f->prompt);
    if (!rc)
        rc = gr_label_read(f->at, f->row, &l);
    if (!rc && !json_array_size(pairs))
        rc = gr_bad(f->at, "\"sampled_conflict_pairs\" must be a list of pairs, found %s",
                    json_is_array(pairs) ? "an empty one" : gr_json_kind(pairs));
    for (size_t i = 0; i < json_array_size(pairs) && !rc; i++)
        rc = read_conflict(f, json_array_get(pairs, i), &l);
    return rc;
}
