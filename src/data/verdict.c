/* verdict.c - which of two answers a row calls the better one.
 *
 * Words name a side ("A>B", "model_b", "[[A]]", "tie (bothbad)"), numbers code one. What a number means is a matter of
 * the whole file: where 1 and 2 are read, a 0 says that its 1 may be the second answer, in this row and in all others.
 * Such a value is GRAM_EIO, which --skip-bad does not pass over; rows.c looks for one before the first row is used. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

gram_status gr_bad_code(const gr_at *at, const char *fmt, ...)
{
    char text[700];
    va_list ap;
    gram_status rc;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    rc = gr_bad(at, "%s. That tells how the whole file is coded, so none of its rows is read", text);
    if (at->err)
        at->err->status = GRAM_EIO;
    return rc == GRAM_EFORMAT ? GRAM_EIO : rc;
}

/* -1: the first is better, 1: the second, 0: a tie. A word may be the very key of one of the two, or the name that the
 * row gives one of the models. */
static bool side_named(const json_t *row, const char *said, const char *const key[2], double *out)
{
    static const char *const model[] = { "model_a", "model_b" };
    static const struct { const char *word; int side; } known[] = {
        { "A>B", -1 }, { "A>>B", -1 }, { "B>A", 1 }, { "B>>A", 1 }, { "A<B", 1 }, { "A<<B", 1 }, { "B<A", -1 },
        { "B<<A", -1 }, { "A=B", 0 }, { "B=A", 0 }, { "A", -1 }, { "B", 1 }, { "C", 0 },
        { "model_a", -1 }, { "model_b", 1 }, { "model_1", -1 }, { "model_2", 1 },
        { "response_a", -1 }, { "response_b", 1 }, { "response a", -1 }, { "response b", 1 },
        { "answer_a", -1 }, { "answer_b", 1 }, { "answer a", -1 }, { "answer b", 1 },
        { "assistant_a", -1 }, { "assistant_b", 1 }, { "assistant a", -1 }, { "assistant b", 1 },
        { "response 1", -1 }, { "response 2", 1 }, { "answer 1", -1 }, { "answer 2", 1 },
        { "first", -1 }, { "second", 1 },
        { "tie", 0 }, { "tie (bothbad)", 0 }, { "tie (both bad)", 0 }, { "tie_bothbad", 0 }, { "tie_both_bad", 0 },
        { "both_bad", 0 }, { "bothbad", 0 }, { "both bad", 0 }, { "both_good", 0 }, { "draw", 0 },
    };
    const char *name[2] = { json_string_value(json_object_get(row, model[0])),
                            json_string_value(json_object_get(row, model[1])) };
    char word[40] = "";
    size_t n = strlen(said);

    if (name[0] && name[1] && strcmp(name[0], name[1]))
        for (int i = 0; i < 2; i++)
            if (!strcmp(said, name[i])) {
                *out = i ? 1 : -1;
                return true;
            }
    if (n > 4 && n < sizeof word && !strncmp(said, "[[", 2) && !strcmp(said + n - 2, "]]"))
        memcpy(word, said + 2, n - 4);          /* as judges are told to print it */
    else
        memcpy(word, said, gr_min(n, sizeof word - 1));
    for (int i = 0; i < 2; i++)
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

/* overall_preference, from -3 to 3. */
static gram_status read_grade(const gr_at *at, const char *key, const json_t *v, gr_verdict *out)
{
    out->graded = true;
    if (!gr_json_number(v, &out->side))
        return gr_bad(at, "key \"%s\" must be a number, found %s", key, gr_json_kind(v));
    if (fabs(out->side) <= 3)
        return GRAM_OK;
    if (fabs(out->side) > 100)
        return gr_bad(at, "key \"%s\" must lie between -3 and 3, found %g", key, out->side);
    return gr_bad_code(at, "key \"%s\" must lie between -3 and 3, negative where the first is better, found %g", key,
                       out->side);
}

/* 0 and 1 alone, the one that stands for the first being said by the key. */
static gram_status read_index(const gr_at *at, const char *key, const json_t *v, int first, gr_verdict *out)
{
    double x;
    bool yes;

    if (gr_json_flag(v, &yes))
        x = yes;
    else if (!gr_json_number(v, &x))
        return gr_bad(at, "key \"%s\" must be 0 or 1, found %s", key, gr_json_kind(v));
    if (x == 0 || x == 1) {
        out->side = x == first ? -1 : 1;
        return GRAM_OK;
    }
    if (x < -1 || x > 2)
        return gr_bad(at, "key \"%s\" must be 0 or 1, found %g", key, x);
    return gr_bad_code(at, "key \"%s\" must be 0 or 1, found %g", key, x);
}

/* Numbers name the two as their keys do: 1 and 2, or 0 and 1 of response_0 and response_1. */
static gram_status read_word(const gr_at *at, const json_t *row, const char *key, const json_t *v,
                             const char *const two[2], gr_verdict *out)
{
    int first = strcmp(two[0], "response_0") && strcmp(two[0], "answer_0") ? 1 : 0;
    double x;

    if (json_is_string(v) && side_named(row, json_string_value(v), two, &out->side))
        return GRAM_OK;
    if (gr_json_number(v, &x) && (x == first || x == first + 1)) {
        out->side = x == first ? -1 : 1;
        return GRAM_OK;
    }
    if (gr_json_number(v, &x) && x >= -1 && x <= 2)
        return gr_bad_code(at, "key \"%s\" is %g, and %d and %d are read of it, %d where the first is better; 0 and 1 "
                           "are in use both ways, so say which: `columns better_response_id=%s` (0: the first is "
                           "better) or `columns first_is_better=%s` (1: the first)", key, x, first, first + 1, first,
                           key, key);
    return gr_bad(at, "key \"%s\" must be %d, %d, \"A>B\", \"B>A\", \"model_a\", \"model_b\" or \"tie\", found %s", key,
                  first, first + 1, json_is_string(v) ? json_string_value(v) : gr_json_kind(v));
}

/* A rating of each of the two: KEY_rating, KEY_score. */
static gram_status read_ratings(const gr_at *at, const json_t *row, const char *const two[2], gr_verdict *out,
                                bool *found)
{
    static const char *const webgpt[] = { "score_0", "score_1" };
    const json_t *v[2] = { NULL, NULL };
    double x[2] = { 0, 0 };
    char name[2][64] = { "", "" };

    for (size_t k = 0; k < 2 && !(v[0] && v[1]); k++)
        for (int i = 0; i < 2; i++) {
            snprintf(name[i], sizeof name[i], k ? "%s_score" : "%s_rating", two[i]);
            v[i] = gr_json_get(row, name[i]);
        }
    for (int i = 0; i < 2 && !strcmp(two[0], "answer_0"); i++) {
        snprintf(name[i], sizeof name[i], "%s", webgpt[i]);
        v[i] = gr_json_get(row, name[i]);
    }
    *found = v[0] && v[1];
    for (int i = 0; i < 2 && *found; i++)
        if (!gr_json_number(v[i], &x[i]))
            return gr_bad(at, "key \"%s\" must be a number, found %s", name[i], gr_json_kind(v[i]));
    if (*found)
        out->side = x[1] - x[0];
    out->graded = *found;
    return GRAM_OK;
}

/* One of winner_model_a, winner_model_b and winner_tie is 1. */
static gram_status read_flags(const gr_at *at, const json_t *row, gr_verdict *out)
{
    static const char *const key[] = { "winner_model_a", "winner_tie", "winner_model_b" };
    int won = 0;

    for (int i = 0; i < 3; i++) {
        const json_t *v = json_object_get(row, key[i]);
        double x;
        bool yes, flag = gr_json_flag(v, &yes);
        if (!flag && gr_json_number(v, &x) && (x == 0 || x == 1)) {
            flag = true;
            yes = x == 1;
        }
        if (!flag)
            return gr_bad(at, "key \"%s\" must be 0 or 1, found %s", key[i], gr_json_kind(v));
        if (yes) {
            won++;
            out->side = i - 1;
        }
    }
    return won == 1 ? GRAM_OK : gr_bad(at, "of \"winner_model_a\", \"winner_tie\" and \"winner_model_b\" one must be "
                                       "1, found %d", won);
}

gram_status gr_verdict_read(const gr_at *at, const json_t *row, const char *const two[2], gr_verdict *out)
{
    static const char *const grade[] = { "overall_preference", "preference_strength" };
    static const char *const word[] = { "preference", "label", "winner" };
    const json_t *v;
    bool found;
    gram_status rc;

    *out = (gr_verdict){ 0 };
    for (size_t i = 0; i < GR_COUNT(grade); i++)
        if ((v = gr_json_get(row, grade[i])))
            return read_grade(at, grade[i], v, out);
    if ((v = gr_json_get(row, "better_response_id")))
        return read_index(at, "better_response_id", v, 0, out);
    if ((v = gr_json_get(row, "first_is_better")))
        return read_index(at, "first_is_better", v, 1, out);
    if (!strcmp(two[0], "human_ref_A") && (v = gr_json_get(row, "labels")))
        return read_index(at, "labels", v, 1, out);             /* SHP: 1 where A is preferred */
    for (size_t i = 0; i < GR_COUNT(word); i++)
        if ((v = gr_json_get(row, word[i])))
            return read_word(at, row, word[i], v, two, out);
    if (gr_json_get(row, "winner_model_a"))
        return read_flags(at, row, out);
    rc = read_ratings(at, row, two, out, &found);
    if (rc || found)
        return rc;
    return gr_bad(at, "which response is better is not said: wanted \"overall_preference\", \"preference\", \"label\" "
                  "or \"winner\"");
}
