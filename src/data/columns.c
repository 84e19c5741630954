/* columns.c - a file's own names for the keys that are read: "prompt=question.text,chosen=good,rejected=bad".
 *
 * A column is a key of the row, or a path of keys with dots between them. It takes the place of everything that would
 * be read for the same thing: who names the prompt has said that "instruction" is not it. */
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"

enum { MOST = 40, MOST_RIVALS = 10 };

#define NUMBERS "ranks", "rank", "ranking", "scores", "score", "ratings", "rewards"

/* What may be named, and the keys that are another form of it. */
static const struct { const char *name, *rival[MOST_RIVALS]; } known[] = {
    { "prompt", { "context", "question", "instruction", "conversation_input", "input", "conversations", "messages" } },
    { "messages", { "prompt", "question", "instruction", "conversation_input", "input", "conversations" } },
    { "context", { NULL } }, { "input", { NULL } }, { "instruction", { "prompt", "question" } },
    { "system", { "system_prompt" } }, { "history", { NULL } }, { "tools", { NULL } }, { "criteria", { NULL } },
    { "chosen", { "chosen_response" } }, { "rejected", { "rejected_response" } },
    { "response1", { "chosen", "rejected" } }, { "response2", { "chosen", "rejected" } },
    { "response_0", { "chosen", "rejected" } }, { "response_1", { "chosen", "rejected" } },
    { "completions", { "chosen", "rejected", "responses" } }, { "responses", { "chosen", "rejected", "completions" } },
    { "ranks", { NUMBERS, "best", "best_index" } }, { "scores", { NUMBERS, "best", "best_index" } },
    { "best", { NUMBERS, "best_index" } }, { "reference", { NULL } },
    { "overall_preference", { "preference_strength" } },
    { "label", { "overall_preference", "preference_strength", "preference", "winner", "better_response_id",
                 "first_is_better", "labels" } },
    { "winner", { "overall_preference", "preference_strength", "preference", "label", "better_response_id",
                  "first_is_better", "labels" } },
    { "better_response_id", { "overall_preference", "preference_strength", "preference", "label", "winner" } },
    { "first_is_better", { "overall_preference", "preference_strength", "preference", "label", "winner",
                           "better_response_id" } },
    { "id", { "pair_id" } }, { "source", { NULL } }, { "subset", { "domain" } }, { "tie", { NULL } },
    { "weight", { NULL } }, { "margin", { NULL } }, { "soft", { "soft_label", "p_chosen" } },
    { "score_chosen", { "chosen_score", "chosen_rating" } },
    { "score_rejected", { "rejected_score", "rejected_rating" } },
    { "rationale", { "individual_preference" } }, { "rationale_label", { NULL } }, { "completion", { NULL } },
};

static bool is_number(const char *name)
{
    return !strcmp(name, "ranks") || !strcmp(name, "scores") || !strcmp(name, "best");
}

/* The numbers of ranked answers stand in the answers themselves, too. */
static void drop_numbers(json_t *row)
{
    static const char *const list[] = { "completions", "responses", "answers" };
    static const char *const number[] = { "rank", "ranking", "overall_score", "score", "rating", "reward" };
    json_t *answer;
    size_t at;

    for (size_t i = 0; i < GR_COUNT(list); i++)
        json_array_foreach(json_object_get(row, list[i]), at, answer)
            for (size_t k = 0; k < GR_COUNT(number); k++)
                json_object_del(answer, number[k]);
}

struct gr_columns {
    char *text;                 /* the spec, cut into the words below */
    struct { size_t name; const char *column; } map[MOST];
    size_t n;
};

void gr_columns_close(gr_columns *c)
{
    if (c)
        free(c->text);
    free(c);
}

static gram_status names(const char *what, gram_err *err)
{
    gr_buf b = { 0 };
    gram_status rc;

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!gr_buf_printf(&b, "%s%s", i ? ", " : "", known[i].name)) {
            gr_buf_clear(&b);
            return gr_nomem(err, "columns");
        }
    rc = gr_fail(err, GRAM_EARG, "columns: %s; wanted NAME=COLUMN,..., each NAME one of %s", what, b.p);
    gr_buf_clear(&b);
    return rc;
}

/* One NAME=COLUMN. */
static gram_status read_one(gr_columns *c, char *part, gram_err *err)
{
    char *equals = strchr(part, '='), what[160];
    size_t k = 0;

    if (!equals || equals == part || !equals[1]) {
        snprintf(what, sizeof what, "\"%.60s\" is no NAME=COLUMN", part);
        return names(what, err);
    }
    *equals = '\0';
    while (k < GR_COUNT(known) && strcmp(known[k].name, part))
        k++;
    for (size_t i = 0; i < c->n; i++)
        if (k < GR_COUNT(known) && c->map[i].name == k)
            return gr_fail(err, GRAM_EARG, "columns: \"%s\" is there twice", part);
    if (k == GR_COUNT(known)) {
        snprintf(what, sizeof what, "\"%.60s\" is no key that is read", part);
        return names(what, err);
    }
    if (c->n == MOST)
        return gr_fail(err, GRAM_EARG, "columns: more than %d of them", MOST);
    c->map[c->n].name = k;
    c->map[c->n++].column = equals + 1;
    return GRAM_OK;
}

gram_status gr_columns_read(gr_columns **out, const char *spec, gram_err *err)
{
    gr_columns *c;
    char *next, *part;
    gram_status rc = GRAM_OK;

    *out = NULL;
    if (!spec)
        return GRAM_OK;
    c = gr_calloc(1, sizeof *c);
    if (c)
        c->text = gr_strdup(spec);
    if (!c || !c->text) {
        gr_columns_close(c);
        return gr_nomem(err, "columns");
    }
    for (next = c->text; !rc && (part = strsep(&next, ",")); )
        rc = read_one(c, part, err);
    if (rc)
        gr_columns_close(c);
    else
        *out = c;
    return rc;
}

/* The value of a column; `top` is set where it is a key of the row itself. */
static json_t *find(const json_t *row, const char *column, bool *top)
{
    json_t *v = json_object_get(row, column);

    *top = v != NULL;
    while (!v && json_is_object(row)) {
        const char *dot = strchr(column, '.');
        if (!dot)
            return json_object_get(row, column);
        row = json_object_getn(row, column, (size_t)(dot - column));
        column = dot + 1;
    }
    return v;
}

gram_status gr_columns_apply(const gr_columns *c, const gr_at *at, json_t *row)
{
    json_t *v[MOST] = { NULL };
    bool top[MOST] = { false };
    gram_status rc = GRAM_OK;

    if (!json_is_object(row))
        return GRAM_OK;                 /* said by who reads it */
    for (size_t i = 0; i < c->n && !rc; i++) {
        v[i] = json_incref(find(row, c->map[i].column, &top[i]));
        if (!v[i])
            rc = gr_bad(at, "no column \"%s\", which `columns` names as \"%s\"", c->map[i].column,
                        known[c->map[i].name].name);
    }
    for (size_t i = 0; i < c->n && !rc; i++) {
        if (top[i])
            json_object_del(row, c->map[i].column);
        for (size_t k = 0; k < MOST_RIVALS && known[c->map[i].name].rival[k]; k++)
            json_object_del(row, known[c->map[i].name].rival[k]);
    }
    for (size_t i = 0; i < c->n && !rc; i++)
        if (json_object_set(row, known[c->map[i].name].name, v[i]))
            rc = gr_row_nomem(at);
    if (!rc)
        rc = gr_lists_settle(at, row);
    for (size_t i = 0; i < c->n && !rc; i++)
        if (is_number(known[c->map[i].name].name))
            drop_numbers(row);
    for (size_t i = 0; i < c->n; i++)
        json_decref(v[i]);
    return rc;
}
