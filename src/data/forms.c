/* forms.c - the forms of preference rows (docs/formats.md), each to the one kind of row.
 *
 * A form is known by its keys. All are read into a base (conversation, id, margin ...) and texts in pairs; one
 * function makes every row. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/forms_int.h"

#define MOST_BYTES ((size_t)256 << 20)      /* of the rows that one line expands to */

static const char *const soft_keys[] = { "soft", "soft_label", "p_chosen" };

/* ---- Keys --------------------------------------------------------------------------------------- */

/* The first of the keys that is there, or NULL. */
const json_t *gr_first_of(const json_t *row, const char *const *key, size_t n, const char **name)
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

gram_status gr_number_read(const gr_at *at, const char *key, const json_t *v, double *out)
{
    return gr_json_number(v, out) ? GRAM_OK : gr_bad(at, "key \"%s\" must be a number, found %s", key, gr_json_kind(v));
}

static gram_status optional_number(const gr_at *at, const json_t *row, const char *const *key, size_t n, double low,
                                   double high, double *out)
{
    const char *name;
    const json_t *v = gr_first_of(row, key, n, &name);
    gram_status rc;

    if (!v)
        return GRAM_OK;
    rc = gr_number_read(at, name, v, out);
    if (!rc && !(*out >= low && *out <= high))
        rc = gr_bad(at, "key \"%s\" must lie between %g and %g, found %g", name, low, high, *out);
    return rc;
}

/* A probability; 2 to 100 look like a percentage, of which 1 would be one hundredth. */
static gram_status read_soft(const gr_at *at, const json_t *row, double *out)
{
    const char *name = "";
    const json_t *v = gr_first_of(row, soft_keys, GR_COUNT(soft_keys), &name);
    double x;

    if (gr_json_number(v, &x) && x > 1 && x <= 100)
        return gr_bad_code(at, "key \"%s\" must lie between 0 and 1, found %g", name, x);
    return optional_number(at, row, soft_keys, GR_COUNT(soft_keys), 0, 1, out);
}

gram_status gr_label_read(const gr_at *at, const json_t *row, gr_label *out)
{
    static const char *const margin[] = { "margin" }, *const weight[] = { "weight" };
    static const char *const chosen[] = { "score_chosen", "chosen_score", "chosen_rating", "rating_chosen",
                                          "chosen-rating", "chosen_avg_rating" };
    static const char *const rejected[] = { "score_rejected", "rejected_score", "rejected_rating", "rating_rejected",
                                            "rejected-rating", "rejected_avg_rating" };
    const json_t *tie = gr_json_get(row, "tie");
    double up = NAN, down = NAN;
    gram_status rc;

    *out = (gr_label){ .margin = NAN, .weight = 1, .soft = 1 };
    if (tie && !gr_json_flag(tie, &out->tie))
        return gr_bad(at, "key \"tie\" must be true or false, found %s", gr_json_kind(tie));
    rc = optional_number(at, row, weight, 1, 0, 1e30, &out->weight);
    if (!rc)
        rc = read_soft(at, row, &out->soft);
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
    const json_t *v = gr_first_of(row, key, GR_COUNT(key), &name);
    gr_buf b = { 0 };
    bool ok;

    if (json_string_length(v))
        ok = gr_buf_printf(&b, "%s%s", json_string_value(v), suffix);
    else if (json_is_integer(v))
        ok = gr_buf_printf(&b, "%" JSON_INTEGER_FORMAT "%s", json_integer_value(v), suffix);
    else if (gr_json_odd(v))                    /* more than 64 bits, as it stands */
        ok = gr_buf_printf(&b, "%s%s", gr_json_odd(v), suffix);
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
    const json_t *v = gr_first_of(row, key, n, &name);
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

static size_t bytes_of(const char *s) { return s ? strlen(s) : 0; }
static size_t bytes_of_turn(const gr_turn *t) { return strlen(t->text) + bytes_of(t->extra); }

/* suffix tells expanded rows apart: "#i-j"; "" for a row alone. */
gram_status gr_form_add(gr_form *f, const gr_turn *chosen, const gr_turn *rejected, const gr_label *l,
                           const char *suffix)
{
    static const char *const source[] = { "source" }, *const subset[] = { "subset", "domain" };
    gr_row *r;
    bool ok = true;

    f->bytes += bytes_of_turn(chosen) + bytes_of_turn(rejected) + bytes_of(f->tools) + bytes_of(f->criteria);
    for (size_t i = 0; i < f->prompt.n; i++)
        f->bytes += bytes_of_turn(&f->prompt.turn[i]);
    if (f->n && f->bytes > MOST_BYTES)
        return gr_bad(f->at, "its pairs take more than %zu MiB of memory", MOST_BYTES >> 20);
    r = gr_grown(f->out, f->n, &f->cap, 1, sizeof *r);
    if (!r)
        return gr_row_nomem(f->at);
    f->out = r;
    r = &f->out[f->n++];
    *r = (gr_row){ .margin = l->margin, .weight = l->weight, .soft = l->soft, .tie = l->tie,
                   .swapped = f->swapped };
    r->id = gr_row_id(f->at, f->row, suffix);
    r->source = string_of(f->row, source, GR_COUNT(source), &ok);
    r->subset = string_of(f->row, subset, GR_COUNT(subset), &ok);
    r->n_turns = f->prompt.n;
    r->turn = gr_talk_pack(&f->prompt, f->prompt.n);
    r->tools = copy_of(f->tools, &ok);
    r->criteria = copy_of(f->criteria, &ok);
    r->chosen = copy_of(chosen->text, &ok);
    r->rejected = copy_of(rejected->text, &ok);
    r->chosen_extra = copy_of(chosen->extra, &ok);
    r->rejected_extra = copy_of(rejected->extra, &ok);
    ok = ok && r->id && r->turn;
    return ok ? gr_row_check(f->at, r) : gr_row_nomem(f->at);
}

bool gr_answer_same(const gr_turn *a, const gr_turn *b)
{
    return !strcmp(a->text, b->text) && gr_text_same(a->extra, b->extra);
}

static gram_status add_pair(gr_form *f, const gr_turn *chosen, const gr_turn *rejected, const gr_label *l)
{
    gram_status rc = gr_prompt_finish(f->at, f->row, &f->prompt);

    return rc ? rc : gr_form_add(f, chosen, rejected, l, "");
}

/* ---- chosen, rejected --------------------------------------------------------------------------- */

/* A side that is a conversation gives up its last turn as the answer; the turns before it are the prompt, or add
 * to it: one may lack the system turn that the other has. */
static gram_status take_answer(gr_form *f, const char *key, gr_talk *side, gr_turn *answer)
{
    gr_talk *p = &f->prompt;
    size_t n, common;

    if (!side->n || strcmp(side->turn[side->n - 1].role, "assistant"))
        return gr_bad(f->at, "key \"%s\" must end with a turn of the assistant, found %s", key,
                      side->n ? side->turn[side->n - 1].role : "no turn");
    *answer = side->turn[--side->n];
    n = side->n;
    common = gr_min(n, p->n);
    if (!common || gr_talk_same(side->turn + n - common, p->turn + p->n - common, common)) {
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

/* An answer's value: a conversation that ends with it, or the answer alone. */
struct side {
    const char *key;
    const json_t *v;
    json_t *parsed;             /* of a list of messages in a string */
    bool transcript;
};

static gram_status look_at_side(gr_form *f, const char *key, struct side *s)
{
    const char *text;
    gram_status rc;

    *s = (struct side){ .key = key, .v = json_object_get(f->row, key) };
    text = json_string_value(s->v);
    if (!text)
        return GRAM_OK;
    rc = gr_literal_messages(f->at, key, text, &s->parsed);
    s->transcript = !rc && !s->parsed && gr_text_is_transcript(text, f->prompt.n > 0);
    return rc || s->parsed || s->transcript ? rc : gr_text_check(f->at, key, text);
}

static gram_status read_side(gr_form *f, const struct side *s, gr_turn *answer)
{
    const json_t *v = s->parsed ? s->parsed : s->v;
    gr_talk side = { 0 };
    gram_status rc;

    if (json_is_array(v) || s->parsed)
        rc = gr_talk_read(f->at, s->key, v, &side);
    else if (s->transcript)
        rc = gr_transcript_read(f->at, s->key, json_string_value(v), &side);
    else if (json_is_string(v) || (json_is_object(v) && !gr_json_odd(v)))
        return gr_answer_read(f->at, s->key, v, answer);
    else
        return gr_bad(f->at, "key \"%s\" must be a string, a message or a list of messages, found %s", s->key,
                      gr_json_kind(v));
    if (!rc)
        rc = take_answer(f, s->key, &side, answer);
    gr_talk_clear(&side);
    return rc;
}

/* Both answers; what they share of a conversation goes to the prompt. One text that is a conversation beside another
 * that is none would be scored as two different things. */
static gram_status read_sides(gr_form *f, const char *const key[2], gr_turn answer[2])
{
    struct side side[2] = { { 0 } };
    gram_status rc = look_at_side(f, key[0], &side[0]);

    if (!rc)
        rc = look_at_side(f, key[1], &side[1]);
    for (int i = 0; i < 2 && !rc; i++) {
        const struct side *a = &side[i], *b = &side[1 - i];
        if ((a->transcript || a->parsed) && json_is_string(b->v) && !b->transcript && !b->parsed)
            rc = gr_bad(f->at, "key \"%s\" is a conversation in a string, and \"%s\" is a text alone", a->key, b->key);
    }
    if (!rc)
        rc = read_side(f, &side[0], &answer[0]);
    if (!rc)
        rc = read_side(f, &side[1], &answer[1]);
    json_decref(side[0].parsed);
    json_decref(side[1].parsed);
    return rc;
}

/* A list of texts, the first of which is no message. */
static gram_status is_texts(const gr_at *at, const char *key, const json_t *v, bool *out)
{
    const char *first = json_string_value(json_array_get(v, 0));
    json_t *message = NULL;
    gram_status rc = first ? gr_literal_messages(at, key, first, &message) : GRAM_OK;

    *out = first && !message;
    json_decref(message);
    return rc;
}

/* RM-Bench's lists of plain strings: every chosen one against every rejected one. */
static gram_status cross(gr_form *f, const json_t *chosen, const json_t *rejected, const gr_label *l)
{
    gram_status rc = gr_prompt_finish(f->at, f->row, &f->prompt);

    if (json_array_size(chosen) > GR_MOST_ANSWERS || json_array_size(rejected) > GR_MOST_ANSWERS)
        return gr_bad(f->at, "wanted at most %d responses, found %zu", GR_MOST_ANSWERS,
                      gr_max(json_array_size(chosen), json_array_size(rejected)));
    for (size_t i = 0; i < json_array_size(chosen) && !rc; i++)
        for (size_t k = 0; k < json_array_size(rejected) && !rc; k++) {
            const json_t *v[] = { json_array_get(chosen, i), json_array_get(rejected, k) };
            gr_turn a = { 0 }, b = { 0 };
            char suffix[48];
            snprintf(suffix, sizeof suffix, "#%zu-%zu", i, k);
            if (!json_is_string(v[0]) || !json_is_string(v[1]))
                rc = gr_bad(f->at, "lists in \"chosen\" and \"rejected\" must hold strings alone or messages alone");
            if (!rc)
                rc = gr_answer_read(f->at, "chosen", v[0], &a);
            if (!rc)
                rc = gr_answer_read(f->at, "rejected", v[1], &b);
            if (!rc && !gr_answer_same(&a, &b))
                rc = gr_form_add(f, &a, &b, l, suffix);
            gr_turn_clear(&a);
            gr_turn_clear(&b);
        }
    if (!rc && !f->n)
        rc = gr_bad(f->at, "no response of \"chosen\" differs from one of \"rejected\"");
    return rc;
}

static const char *const chosen_keys[][2] = {
    { "chosen", "rejected" }, { "chosen_response", "rejected_response" },
};

static gram_status chosen_rejected(gr_form *f, const char *const key[2])
{
    const json_t *a = json_object_get(f->row, key[0]), *b = json_object_get(f->row, key[1]);
    gr_turn answer[2] = { { 0 } };
    gr_label l;
    bool texts = false;
    gram_status rc = gr_prompt_read(f->at, f->row, &f->prompt);

    if (!rc)
        rc = gr_label_read(f->at, f->row, &l);
    if (!rc)
        rc = is_texts(f->at, key[0], a, &texts);
    if (rc)
        return rc;
    if (texts && json_is_array(b))
        return cross(f, a, b, &l);
    rc = read_sides(f, key, answer);
    if (!rc)
        rc = add_pair(f, &answer[0], &answer[1], &l);
    gr_turn_clear(&answer[0]);
    gr_turn_clear(&answer[1]);
    return rc;
}

/* ---- Two responses and a verdict ---------------------------------------------------------------- */

static const char *const two_keys[][2] = {
    { "response1", "response2" }, { "response_0", "response_1" }, { "response_1", "response_2" },
    { "response_a", "response_b" }, { "response_A", "response_B" }, { "output_1", "output_2" },
    { "answer_0", "answer_1" }, { "answer_a", "answer_b" }, { "human_ref_A", "human_ref_B" },
    { "conversation_a", "conversation_b" }, { "conv_A", "conv_B" },
};

/* The pair of keys that the row has; NULL: none. */
static const char *const *two_of(const json_t *row)
{
    for (size_t i = 0; i < GR_COUNT(two_keys); i++)
        if (json_object_get(row, two_keys[i][0]) && json_object_get(row, two_keys[i][1]))
            return two_keys[i];
    return NULL;
}

/* Chatbot Arena's table of 55,000 rows holds lists of texts in strings: the user's turns in `prompt`, and what each
 * model said to them. */
static gram_status read_arena(gr_form *f, const char *const key[2], gr_turn answer[2])
{
    const char *const name[] = { "prompt", key[0], key[1] };
    json_t *v[3] = { NULL, NULL, NULL };
    gram_status rc = GRAM_OK;

    for (int i = 0; i < 3 && !rc; i++) {
        const char *s = json_string_value(json_object_get(f->row, name[i]));
        rc = s ? gr_literal_read(f->at, s, &v[i]) : GRAM_OK;
        if (rc)
            break;
        if (json_array_size(v[i]) != 1 || !json_is_string(json_array_get(v[i], 0)))
            rc = gr_bad(f->at, "key \"%s\": wanted the text of a list of one text, as in a conversation of one "
                        "question, found %zu: two conversations that differ before their last answers are no pair",
                        name[i],
                        json_array_size(v[i]));
    }
    if (!rc) {
        const json_t *q = json_array_get(v[0], 0);
        rc = gr_talk_add(f->at, &f->prompt, "user", json_string_value(q), json_string_length(q));
    }
    for (int i = 0; i < 2 && !rc; i++)
        rc = gr_answer_read(f->at, key[i], json_array_get(v[i + 1], 0), &answer[i]);
    for (int i = 0; i < 3; i++)
        json_decref(v[i]);
    return rc;
}

static gram_status two_responses(gr_form *f, const char *const key[2])
{
    const char *prompt = json_string_value(json_object_get(f->row, "prompt"));
    bool arena = json_object_get(f->row, "winner_model_a") && prompt && *prompt == '[';
    gr_turn answer[2] = { { 0 } };
    gr_verdict verdict = { 0 };
    gr_label l;
    gram_status rc = arena ? GRAM_OK : gr_prompt_read(f->at, f->row, &f->prompt);

    if (!rc)
        rc = gr_label_read(f->at, f->row, &l);
    if (!rc)
        rc = gr_verdict_read(f->at, f->row, key, &verdict);
    if (!rc)
        rc = arena ? read_arena(f, key, answer) : read_sides(f, key, answer);
    if (!rc) {
        if (verdict.graded)
            l.margin = fabs(verdict.side);
        if (verdict.side == 0) {
            l.tie = true;
            l.soft = 0.5;
        }
        f->swapped = verdict.side > 0;
        rc = add_pair(f, &answer[verdict.side > 0], &answer[verdict.side <= 0], &l);
    }
    gr_turn_clear(&answer[0]);
    gr_turn_clear(&answer[1]);
    return rc;
}

/* ---- Which form --------------------------------------------------------------------------------- */

/* What is no pair, told by a key of its own. */
static const char *told_by_key(const json_t *row)
{
    static const struct { const char *key, *what; } known[] = {
        { "completion", "a row with one answer (unpaired data) has nothing to compare it with" },
        { "message_tree_id", "these are messages of a tree, as OpenAssistant ships it: make pairs of siblings first" },
        { "summaries", "two summaries with a \"choice\": write \"response_0\", \"response_1\" and "
          "\"better_response_id\"" },
        { "row", "rows of a preview: write what stands in \"row\" as the row" },
        { "rows", "a preview with many rows: write each as a line" },
    };

    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (json_object_get(row, known[i].key))
            return known[i].what;
    return "`columns chosen=...,rejected=...` takes them from other keys";
}

static gram_status unknown_form(gr_form *f)
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
                "ranks or scores, found %s; %s", keys.n ? keys.p : "no key", told_by_key(f->row));
    gr_buf_clear(&keys);
    return rc;
}

static gram_status read_form(gr_form *f)
{
    const char *key, *const *two = two_of(f->row);
    const json_t *list;

    for (size_t i = 0; i < GR_COUNT(chosen_keys); i++)
        if (json_object_get(f->row, chosen_keys[i][0]) || json_object_get(f->row, chosen_keys[i][1]))
            return chosen_rejected(f, chosen_keys[i]);
    if (gr_conflicts(f->row))
        return gr_conflicts_read(f);
    if (two)
        return two_responses(f, two);
    list = gr_ranked_list(f->row, &key);
    return list ? gr_ranked_read(f, key, list) : unknown_form(f);
}

/* "[...]" in a string is read as what it is. */
static bool is_list(const json_t *v)
{
    const char *s = json_string_value(v);

    return json_is_array(v) || (s && s[strspn(s, " \t\r\n")] == '[');
}

bool gr_forms_talk(const json_t *row)
{
    const char *const *two = two_of(row);

    for (size_t i = 0; i < GR_COUNT(chosen_keys); i++)
        if (is_list(json_object_get(row, chosen_keys[i][0])) && is_list(json_object_get(row, chosen_keys[i][1])))
            return true;
    return two && is_list(json_object_get(row, two[0])) && is_list(json_object_get(row, two[1]));
}

/* ---- What the whole file must agree on ----------------------------------------------------------- */

bool gr_forms_coded(const json_t *row)
{
    static const char *const key[] = { "preference", "label", "labels", "winner", "overall_preference",
                                       "preference_strength", "better_response_id", "first_is_better" };
    const char *name;

    return gr_first_of(row, key, GR_COUNT(key), &name) || gr_first_of(row, soft_keys, GR_COUNT(soft_keys), &name)
        || gr_ranked_has_best(row);
}

gram_status gr_forms_check_code(const gr_at *at, const json_t *row)
{
    const char *const *two = two_of(row), *name;
    const json_t *list = gr_ranked_list(row, &name);
    bool pair = json_object_get(row, "chosen") || json_object_get(row, "rejected");
    gr_verdict verdict;
    double soft;
    size_t best;
    gram_status rc = read_soft(at, row, &soft);

    if (rc != GRAM_EIO && two && !pair && !gr_conflicts(row))
        rc = gr_verdict_read(at, row, two, &verdict);
    if (rc != GRAM_EIO && list && !two && !pair && gr_ranked_has_best(row))
        rc = gr_ranked_best(at, row, json_array_size(list), &best);
    return rc == GRAM_EIO ? rc : GRAM_OK;
}

gram_status gr_forms_read(const gr_at *at, const json_t *row, gr_row **out, size_t *n)
{
    gr_form f = { .at = at, .row = row };
    gram_status rc = GRAM_OK;

    *out = NULL;
    *n = 0;
    if (!json_is_object(row))
        rc = gr_bad(at, "a row must be a JSON object, found %s", gr_json_kind(row));
    if (!rc)
        rc = gr_tools_read(at, row, &f.tools);
    if (!rc)
        rc = gr_criteria_read(at, row, &f.criteria);
    if (!rc)
        rc = read_form(&f);
    if (!rc && at->reasons && f.n == 1)         /* rows that one line expands to have no reasons of their own */
        rc = gr_reasons_read(at, row, &f.out[0].reasons);
    gr_talk_clear(&f.prompt);
    free(f.tools);
    free(f.criteria);
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
