/* rows.c - one row, one group, and what both have in common. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/err.h"
#include "data/rows_int.h"

void gr_row_clear(gr_row *r)
{
    free(r->id);
    free(r->source);
    free(r->subset);
    free(r->turn);
    free(r->tools);
    free(r->criteria);
    free(r->chosen);
    free(r->rejected);
    free(r->chosen_extra);
    free(r->rejected_extra);
    gr_reasons_free(r->reasons);
    *r = (gr_row){ 0 };
}

gram_prompt gr_row_prompt(const gr_row *r)
{
    return (gram_prompt){ r->turn, r->n_turns, r->tools, r->criteria };
}

gram_prompt gr_group_prompt(const gr_group *g)
{
    return (gram_prompt){ g->turn, g->n_turns, g->tools, g->criteria };
}

gram_pair gr_row_pair(const gr_row *r)
{
    return (gram_pair){ gr_row_prompt(r), r->chosen, r->rejected, r->chosen_extra, r->rejected_extra };
}

/* No text looks like a missing one, nor do two like one. */
static uint64_t add_text(uint64_t h, const char *s)
{
    return s ? gr_digest_text(gr_digest(h, "\001", 1), s) : gr_digest(h, "", 1);
}

uint64_t gr_prompt_digest(gram_prompt p)
{
    uint64_t h = add_text(add_text(GR_DIGEST, p.tools), p.criteria);

    for (size_t i = 0; i < p.n; i++)
        h = add_text(add_text(add_text(h, p.turn[i].role), p.turn[i].content), p.turn[i].extra);
    return gr_digest(h, &p.n, sizeof p.n);
}

uint64_t gr_row_digest(const gr_row *r)
{
    uint64_t h = add_text(add_text(gr_prompt_digest(gr_row_prompt(r)), r->chosen), r->rejected);

    return add_text(add_text(h, r->chosen_extra), r->rejected_extra);
}

uint64_t gr_group_digest(const gr_group *g)
{
    uint64_t h = add_text(gr_prompt_digest(gr_group_prompt(g)), g->reference);

    for (size_t i = 0; i < g->n; i++)
        h = add_text(h, g->response[i]);
    return gr_digest(h, &g->n, sizeof g->n);
}

bool gr_row_same(const gr_row *r)
{
    return !strcmp(r->chosen, r->rejected) && gr_text_same(r->chosen_extra, r->rejected_extra);
}

/* Four bytes a token and some words of the judge's around each text, as English and its markup come out. */
size_t gr_row_tokens(const gr_row *r)
{
    size_t bytes = 2 * (strlen(r->chosen) + strlen(r->rejected));

    for (size_t t = 0; t < r->n_turns; t++)
        bytes += strlen(r->turn[t].content);
    return bytes / 4 + 64;
}

void gr_group_clear(gr_group *g)
{
    for (size_t i = 0; i < g->n && g->response; i++)
        free(g->response[i]);
    free(g->id);
    free(g->turn);
    free(g->tools);
    free(g->criteria);
    free(g->response);
    free(g->reference);
    *g = (gr_group){ 0 };
}

static gram_status check_turns(const gr_at *at, const gram_message *turn, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (gr_text_odd(at, turn[i].content))
            return gr_bad(at, "turn %zu of the prompt holds %s", i + 1, gr_text_odd(at, turn[i].content));
    return GRAM_OK;
}

/* Texts in which something was put aside that no text may hold. */
gram_status gr_row_check(const gr_at *at, const gr_row *r)
{
    const struct { const char *name, *text; } part[] = {
        { "the chosen answer", r->chosen }, { "the rejected answer", r->rejected }, { "the id", r->id },
        { "the source", r->source }, { "the subset", r->subset }, { "\"criteria\"", r->criteria },
    };

    for (size_t i = 0; i < GR_COUNT(part); i++)
        if (gr_text_odd(at, part[i].text))
            return gr_bad(at, "%s holds %s", part[i].name, gr_text_odd(at, part[i].text));
    return check_turns(at, r->turn, r->n_turns);
}

/* ---- Groups ------------------------------------------------------------------------------------- */

static gram_status read_responses(const gr_at *at, const json_t *row, gr_group *g)
{
    const char *key = json_object_get(row, "responses") ? "responses"
                    : json_object_get(row, "completions") ? "completions" : "answers";
    const json_t *list = json_object_get(row, key);
    size_t n = json_array_size(list);

    if (!json_is_array(list) || n < 2)
        return gr_bad(at, "key \"%s\" must be a list of two or more responses, found %s%s",
                      list ? key : "responses", gr_json_kind(list), n == 1 ? " of one" : "");
    g->response = gr_calloc(n, sizeof *g->response);
    if (!g->response)
        return gr_row_nomem(at);
    g->n = n;
    for (size_t i = 0; i < n; i++) {
        gram_status rc = gr_text_read(at, key, json_array_get(list, i), &g->response[i]);
        if (rc)
            return rc;
    }
    return GRAM_OK;
}

gram_status gr_lists_settle(const gr_at *at, json_t *row)
{
    static const char *const key[] = { "responses", "completions", "answers", "ranks", "rank", "ranking", "scores",
                                       "score", "ratings", "rewards", "rationale", "individual_preference" };
    gram_status rc = GRAM_OK;

    for (size_t i = 0; i < GR_COUNT(key) && !rc; i++) {
        const char *s = json_string_value(json_object_get(row, key[i]));
        json_t *list = NULL;
        if (s && (s[strspn(s, " \t\r\n")] == '[' || !strncmp(s, "array(", 6)))
            rc = gr_literal_read(at, s, &list);
        if (json_is_array(list) && json_object_set(row, key[i], list))
            rc = gr_row_nomem(at);
        json_decref(list);
    }
    return rc;
}

gram_status gr_criteria_read(const gr_at *at, const json_t *row, char **out)
{
    const json_t *v = json_object_get(row, "criteria");

    *out = NULL;
    if (!gr_json_holds(v))
        return GRAM_OK;
    if (!json_is_string(v))
        return gr_bad(at, "key \"criteria\" must be a text, found %s", gr_json_kind(v));
    *out = gr_strdup(json_string_value(v));
    return *out ? GRAM_OK : gr_row_nomem(at);
}

static gram_status read_reference(const gr_at *at, const json_t *row, gr_group *g)
{
    const json_t *reference = gr_json_get(row, "reference");

    return reference ? gr_text_read(at, "reference", reference, &g->reference) : GRAM_OK;
}

static gram_status check_group(const gr_at *at, const gr_group *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (gr_text_odd(at, g->response[i]))
            return gr_bad(at, "response %zu holds %s", i + 1, gr_text_odd(at, g->response[i]));
    if (gr_text_odd(at, g->criteria))
        return gr_bad(at, "\"criteria\" holds %s", gr_text_odd(at, g->criteria));
    if (gr_text_odd(at, g->reference) || gr_text_odd(at, g->id))
        return gr_bad(at, "the %s holds %s", gr_text_odd(at, g->id) ? "id" : "reference",
                      gr_text_odd(at, gr_text_odd(at, g->id) ? g->id : g->reference));
    return check_turns(at, g->turn, g->n_turns);
}

gram_status gr_group_read(const gr_at *at, const json_t *row, gr_group *g)
{
    gr_talk prompt = { 0 };
    gram_status rc;

    *g = (gr_group){ 0 };
    if (!json_is_object(row))
        return gr_bad(at, "a row must be a JSON object, found %s", gr_json_kind(row));
    rc = gr_prompt_read(at, row, &prompt);
    if (!rc)
        rc = gr_prompt_finish(at, row, &prompt);
    if (!rc)
        rc = read_responses(at, row, g);
    if (!rc)
        rc = gr_tools_read(at, row, &g->tools);
    if (!rc)
        rc = gr_criteria_read(at, row, &g->criteria);
    if (!rc)
        rc = read_reference(at, row, g);
    if (!rc) {
        g->id = gr_row_id(at, row, "");
        g->turn = gr_talk_pack(&prompt, prompt.n);
        g->n_turns = prompt.n;
        rc = g->id && g->turn ? check_group(at, g) : gr_row_nomem(at);
    }
    gr_talk_clear(&prompt);
    if (rc)
        gr_group_clear(g);
    return rc;
}

/* ---- Prompts ------------------------------------------------------------------------------------- */

/* The prompt of a pair, where it does not give it apart or its answers tell turns as well. */
static gram_status prompt_of_pair(const gr_at *at, const json_t *row, gr_group *g)
{
    gr_row *pair;
    size_t n;
    gram_status rc = gr_forms_read(at, row, &pair, &n);

    if (rc)
        return rc;
    if (n == 0)
        rc = gr_bad(at, "the row has no prompt");
    for (size_t i = 0; i < n; i++) {
        if (i == 0) {
            g->turn = pair[0].turn;
            g->n_turns = pair[0].n_turns;
            g->tools = pair[0].tools;
            g->criteria = pair[0].criteria;
            pair[0].turn = NULL;
            pair[0].tools = pair[0].criteria = NULL;
            pair[0].n_turns = 0;
        }
        gr_row_clear(&pair[i]);
    }
    free(pair);
    return rc;
}

gram_status gr_lone_prompt_read(const gr_at *at, const json_t *row, gr_group *g)
{
    gr_talk prompt = { 0 };
    gram_status rc;

    *g = (gr_group){ 0 };
    if (!json_is_object(row))
        return gr_bad(at, "a row must be a JSON object, found %s", gr_json_kind(row));
    rc = gr_forms_talk(row) ? GRAM_OK : gr_prompt_read(at, row, &prompt);
    if (!rc && prompt.n) {
        rc = gr_prompt_finish(at, row, &prompt);
        if (!rc)
            rc = gr_tools_read(at, row, &g->tools);
        if (!rc)
            rc = gr_criteria_read(at, row, &g->criteria);
        g->turn = rc ? NULL : gr_talk_pack(&prompt, prompt.n);
        g->n_turns = prompt.n;
        if (!rc && !g->turn)
            rc = gr_row_nomem(at);
    } else if (!rc) {
        rc = prompt_of_pair(at, row, g);
        if (rc == GRAM_EFORMAT && gr_prompt_empty(row))
            rc = gr_prompt_finish(at, row, &prompt);
    }
    if (!rc) {
        g->id = gr_row_id(at, row, "");
        rc = g->id ? check_group(at, g) : gr_row_nomem(at);
    }
    gr_talk_clear(&prompt);
    if (rc)
        gr_group_clear(g);
    return rc;
}

gram_status gr_asked_read(const gr_at *at, const json_t *row, gr_group *g)
{
    gram_status rc = gr_lone_prompt_read(at, row, g);

    if (!rc && gr_json_get(row, "responses"))
        rc = gr_bad(at, "the row has \"responses\" of its own, and a policy is to write some: without a policy these "
                        "are "
                    "judged");
    if (!rc)
        rc = read_reference(at, row, g);
    if (!rc)
        rc = check_group(at, g);
    if (rc)
        gr_group_clear(g);
    return rc;
}

/* ---- Labelled answers ---------------------------------------------------------------------------- */

gram_status gr_labelled_read(const gr_at *at, const json_t *row, gr_labelled *out)
{
    const json_t *text = gr_json_get(row, "completion"), *label = gr_json_get(row, "label"),
                 *weight = gr_json_get(row, "weight");
    double x;

    *out = (gr_labelled){ .weight = 1 };
    if (!text)
        return gr_bad(at, "key \"completion\": wanted a text, or a list of one message; kto learns from single answers "
                      "with a \"label\"");
    if (!gr_json_flag(label, &out->good)) {
        if (!gr_json_number(label, &x) || (x != 0 && x != 1))
            return gr_bad(at, "key \"label\": wanted true or false, whether the completion is good, found %s",
                          json_is_string(label) ? json_string_value(label) : gr_json_kind(label));
        out->good = x == 1;
    }
    if (weight && (!gr_json_number(weight, &out->weight) || !(out->weight >= 0 && out->weight <= 1e30)))
        return gr_bad(at, "key \"weight\" must be a number between 0 and 1e+30, found %s",
                      json_is_string(weight) ? json_string_value(weight) : gr_json_kind(weight));
    return gr_text_read(at, "completion", text, &out->text);
}

/* ---- One line ----------------------------------------------------------------------------------- */

gram_status gr_rows_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_row **out, size_t *n,
                          gram_err *err)
{
    gr_at at = { name, line, err, false, 0, true };
    json_t *root;
    gram_status rc = gr_json_lenient(&at, json, bytes, &root);

    *out = NULL;
    *n = 0;
    if (rc)
        return rc;
    rc = gr_forms_read(&at, root, out, n);
    json_decref(root);
    return rc;
}

typedef gram_status read_fn(const gr_at *at, const json_t *row, gr_group *out);

static gram_status parse(read_fn *read, const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                         gram_err *err)
{
    gr_at at = { name, line, err, false };
    json_t *root;
    gram_status rc = gr_json_lenient(&at, json, bytes, &root);

    if (rc) {
        *out = (gr_group){ 0 };
        return rc;
    }
    rc = read(&at, root, out);
    json_decref(root);
    return rc;
}

gram_status gr_group_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                           gram_err *err)
{
    return parse(gr_group_read, name, line, json, bytes, out, err);
}

gram_status gr_prompt_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                            gram_err *err)
{
    return parse(gr_lone_prompt_read, name, line, json, bytes, out, err);
}
