/* rules_rows.c - the rows of RM-Bench, JudgeBench and RewardBench 2 as pairs.
 *
 *     RM-Bench     {"id", "prompt", "chosen": [3 strings], "rejected": [3 strings], "domain"}      nine pairs
 *     JudgeBench   {"pair_id", "source", "question", "response_A", "response_B", "label": "A>B"}   one pair
 *     RewardBench 2 {"id", "prompt", "chosen": [1, of Ties more], "rejected": [3 or others], "subset"}
 *                   as many as the longer list has: see rules_rb2.c */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "eval/source.h"

enum { MOST = 64 };             /* answers of one kind that an item may have */

void gr_eval_item_clear(gr_eval_item *item)
{
    gr_row_clear(&item->row);
    item->cell = -1;
}

static gram_status get_text(const gr_at *at, const json_t *o, const char *key, const char **out)
{
    const json_t *v = json_object_get(o, key);

    *out = json_string_value(v);
    if (!*out || !**out)
        return gr_bad(at, "\"%s\" should be a string with text, found %s", key,
                      !v ? "nothing" : *out ? "an empty one" : "something else");
    return GRAM_OK;
}

/* One user turn in one block, as gr_row_clear() frees it. */
static gram_message *pack_turn(const char *text)
{
    size_t n = strlen(text) + 1;
    gram_message *turn = gr_calloc(1, sizeof *turn + n);

    if (turn) {
        turn->role = "user";
        turn->content = memcpy(turn + 1, text, n);
    }
    return turn;
}

typedef struct { const char *prompt, *chosen, *rejected, *subset; } texts;

static gram_status fill(const gr_at *at, gr_eval_item *item, char *id, const texts *t, int cell)
{
    gr_row *r = &item->row;

    r->id = id;
    r->subset = gr_strdup(t->subset);
    r->chosen = gr_strdup(t->chosen);
    r->rejected = gr_strdup(t->rejected);
    r->turn = pack_turn(t->prompt);
    r->n_turns = r->turn ? 1 : 0;
    r->margin = NAN;
    r->weight = r->soft = 1;
    item->cell = cell;
    return r->id && r->subset && r->chosen && r->rejected && r->turn ? gr_row_check(at, r) : gr_row_nomem(at);
}

static gram_status get_subset(gr_rules rules, const gr_at *at, const json_t *o, const char *key, const char **out)
{
    gram_status rc = get_text(at, o, key, out);

    if (!rc && !gr_rules_knows(rules, *out))
        rc = gr_bad(at, "\"%s\" should be %s, found \"%s\"", key, gr_rules_wants(rules), *out);
    return rc;
}

static gram_status get_three(const gr_at *at, const json_t *o, const char *key, const char *out[3])
{
    const json_t *v = json_object_get(o, key);

    for (size_t i = 0; i < 3; i++) {
        out[i] = json_string_value(json_array_get(v, i));
        if (!out[i] || !*out[i] || json_array_size(v) != 3)
            return gr_bad(at, "\"%s\" should be a list of three strings with text", key);
    }
    return GRAM_OK;
}

static gram_status rmbench_rows(const gr_at *at, const json_t *o, gr_eval_item *item)
{
    const char *chosen[3], *rejected[3];
    texts t = { 0 };
    gram_status rc = get_text(at, o, "prompt", &t.prompt);

    if (!rc)
        rc = get_subset(GR_RULES_RMBENCH, at, o, "domain", &t.subset);
    if (!rc)
        rc = get_three(at, o, "chosen", chosen);
    if (!rc)
        rc = get_three(at, o, "rejected", rejected);
    for (int c = 0; c < 9 && !rc; c++) {
        const char suffix[] = { '#', (char)('0' + c / 3), '-', (char)('0' + c % 3), '\0' };
        t.chosen = chosen[c / 3];
        t.rejected = rejected[c % 3];
        rc = fill(at, &item[c], gr_row_id(at, o, suffix), &t, c);
    }
    return rc;
}

static gram_status judgebench_row(const gr_at *at, const json_t *o, gr_eval_item *item)
{
    const char *a, *b, *label;
    texts t = { 0 };
    gram_status rc = get_text(at, o, "question", &t.prompt);

    if (!rc)
        rc = get_subset(GR_RULES_JUDGEBENCH, at, o, "source", &t.subset);
    if (!rc)
        rc = get_text(at, o, "response_A", &a);
    if (!rc)
        rc = get_text(at, o, "response_B", &b);
    if (!rc)
        rc = get_text(at, o, "label", &label);
    if (rc)
        return rc;
    if (strcmp(label, "A>B") && strcmp(label, "B>A"))
        return gr_bad(at, "\"label\" should be \"A>B\" or \"B>A\", found \"%s\"", label);
    t.chosen = *label == 'A' ? a : b;
    t.rejected = *label == 'A' ? b : a;
    return fill(at, item, gr_row_id(at, o, ""), &t, -1);
}

/* The texts of a list of 1 to MOST. */
static gram_status get_list(const gr_at *at, const json_t *o, const char *key, const char *out[MOST], size_t *n)
{
    const json_t *v = json_object_get(o, key);

    *n = json_array_size(v);
    for (size_t i = 0; i < *n && *n <= MOST; i++) {
        out[i] = json_string_value(json_array_get(v, i));
        if (!out[i])
            *n = 0;
    }
    if (*n == 0 || *n > MOST)
        return gr_bad(at, "\"%s\" should be a list of 1 to %d strings", key, MOST);
    return GRAM_OK;
}

static gram_status rewardbench2_rows(const gr_at *at, const json_t *o, gr_eval_item *item, size_t *rows)
{
    const char *chosen[MOST], *rejected[MOST];
    size_t n, m = 0;
    texts t = { 0 };
    gram_status rc = get_text(at, o, "prompt", &t.prompt);

    *rows = 0;
    if (!rc)
        rc = get_subset(GR_RULES_REWARDBENCH2, at, o, "subset", &t.subset);
    if (!rc)
        rc = get_list(at, o, "chosen", chosen, &n);
    if (!rc)
        rc = get_list(at, o, "rejected", rejected, &m);
    if (!rc && n != 1 && strcasecmp(t.subset, "Ties"))
        rc = gr_bad(at, "\"chosen\" should be a list of one string outside of Ties, found %zu", n);
    for (size_t k = 0; !rc && k < gr_max(n, m); k++) {
        char suffix[24];
        snprintf(suffix, sizeof suffix, "#%zu", k);
        t.chosen = chosen[k % n];
        t.rejected = rejected[k % m];
        rc = fill(at, &item[k], gr_row_id(at, o, suffix), &t, (int)k);
        *rows = k + 1;
    }
    return rc;
}

gram_status gr_rules_rows(gr_rules rules, const gr_at *at, const json_t *o, gr_eval_item **out, size_t *n)
{
    size_t most = rules == GR_RULES_RMBENCH ? 9 : rules == GR_RULES_JUDGEBENCH ? 1 : MOST, rows = most;
    gr_eval_item *item;
    gram_status rc;

    *out = NULL;
    *n = 0;
    if (!json_is_object(o))
        return gr_bad(at, "should be a JSON object");
    item = gr_calloc(most, sizeof *item);
    if (!item)
        return gr_row_nomem(at);
    rc = rules == GR_RULES_RMBENCH ? rmbench_rows(at, o, item)
       : rules == GR_RULES_JUDGEBENCH ? judgebench_row(at, o, item) : rewardbench2_rows(at, o, item, &rows);
    for (size_t i = 0; i < rows && !rc; i++)
        item[i].cells = (int)rows;
    if (!rc) {
        *out = item;
        *n = rows;
        return GRAM_OK;
    }
    for (size_t i = 0; i < most; i++)
        gr_eval_item_clear(&item[i]);
    free(item);
    return rc;
}
