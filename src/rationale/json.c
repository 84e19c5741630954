/* json.c - see json.h. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "base/mem.h"
#include "rationale/json.h"
#include "rationale/reason.h"

/* One order's lists; NULL where memory ran out. */
static json_t *order_json(const gram_reasoned *v, bool swapped)
{
    json_t *p = json_array(), *text = json_array(), *status = json_array(), *contradicts = json_array(),
           *tokens = json_array();
    bool ok = p && text && status && contradicts && tokens;
    json_t *o;

    for (size_t i = 0; i < v->n && ok; i++) {
        const gram_rationale *r = &v->rationale[i];
        ok = r->swapped != swapped ||
             (!json_array_append_new(p, gr_json_real(r->p)) && !json_array_append_new(text, json_string(r->text)) &&
              !json_array_append_new(status, json_string(gram_rationale_status_name(r->status))) &&
              !json_array_append_new(contradicts, json_boolean(r->contradicts)) &&
              !json_array_append_new(tokens, json_integer((json_int_t)r->tokens)));
    }
    o = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "first", swapped ? "b" : "a", "p", p, "rationale", text,
                  "status", status, "contradicts", contradicts, "tokens", tokens);
    if (!ok) {
        json_decref(o);
        return NULL;
    }
    return o;
}

/* One that has no rationale is left out; the first stays where nothing was written. */
static bool has_order(const gram_reasoned *v, bool swapped)
{
    for (size_t i = 0; i < v->n; i++)
        if (v->rationale[i].swapped == swapped)
            return true;
    return v->n == 0 && !swapped;
}

bool gr_reasoned_put(json_t *o, const gram_reasoned *v, uint64_t seed)
{
    json_t *orders = json_array(), *more;

    for (int swapped = 0; swapped < 2; swapped++)
        if (has_order(v, swapped))
            if (json_array_append_new(orders, order_json(v, swapped))) {
                json_decref(orders);
                return false;
            }
    more = json_pack("{s:[o,o], s:[I,I], s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:b, s:I, s:I, s:o}",
                     "reward", gr_json_real(v->verdict.preference), gr_json_real(1 - v->verdict.preference),
                     "votes", (json_int_t)v->votes[0], (json_int_t)v->votes[1], "hard", gr_json_real(v->hard),
                     "error", gr_json_real(v->error), "first_seat", gr_json_real(v->first_seat),
                     "flip", !v->verdict.consistent, "forced", (json_int_t)v->forced,
                     "contradicts", (json_int_t)v->contradicts, "written", (json_int_t)v->written,
                     "early", v->early, "unparsed", (json_int_t)0, "seed", (json_int_t)seed, "orders", orders);
    if (!more || json_object_update(o, more)) {
        json_decref(more);
        return false;
    }
    json_decref(more);
    return true;
}

/* ---- And back ------------------------------------------------------------------------------------- */

/* Whether all lists of an order are as long as each other. */
static bool lists_match(const json_t *order, size_t *n)
{
    static const char *const keys[] = { "p", "rationale", "status", "contradicts", "tokens" };

    *n = json_array_size(json_object_get(order, "p"));
    for (size_t k = 0; k < GR_COUNT(keys); k++) {
        const json_t *list = json_object_get(order, keys[k]);
        if (!json_is_array(list) || json_array_size(list) != *n)
            return false;
    }
    return true;
}

static gram_status get_one(const json_t *order, size_t i, bool swapped, gram_rationale *out)
{
    const json_t *p = json_array_get(json_object_get(order, "p"), i);
    const char *text = json_string_value(json_array_get(json_object_get(order, "rationale"), i));
    const char *status = json_string_value(json_array_get(json_object_get(order, "status"), i));
    const json_t *tokens = json_array_get(json_object_get(order, "tokens"), i);

    if (!json_is_number(p) || !(json_number_value(p) >= 0 && json_number_value(p) <= 1) || !text || !status ||
        !json_is_integer(tokens) || json_integer_value(tokens) < 0)
        return GRAM_EFORMAT;
    *out = (gram_rationale){ .text = gr_strdup(text), .swapped = swapped, .p = json_number_value(p),
                             .status = strcmp(status, "closed") ? GRAM_RATIONALE_FORCED : GRAM_RATIONALE_CLOSED,
                             .contradicts = json_is_true(json_array_get(json_object_get(order, "contradicts"), i)),
                             .tokens = (size_t)json_integer_value(tokens) };
    return out->text ? GRAM_OK : GRAM_ENOMEM;
}

static bool only_second(const json_t *orders)
{
    const char *first = json_string_value(json_object_get(json_array_get(orders, 0), "first"));

    return first && !strcmp(first, "b");
}

gram_status gr_reasoned_get(const json_t *o, gram_reasoned *out, const char **why)
{
    const json_t *orders = json_object_get(o, "orders");
    size_t n[2] = { 0 }, both = json_array_size(orders) == 2;
    gram_status rc = GRAM_OK;

    *out = (gram_reasoned){ 0 };
    *why = "\"orders\": wanted the rationales of one order or of two, in lists of one length";
    if (json_array_size(orders) < 1 || json_array_size(orders) > 2)
        return GRAM_EFORMAT;
    for (size_t k = 0; k < 1 + both; k++)
        if (!lists_match(json_array_get(orders, k), &n[k]))
            return GRAM_EFORMAT;
    if (both && n[0] != n[1] && n[0] != n[1] + 1 && n[1] != n[0] + 1)
        return GRAM_EFORMAT;
    out->rationale = gr_calloc(n[0] + n[1], sizeof *out->rationale);
    if (!out->rationale)
        return GRAM_ENOMEM;
    for (size_t j = 0; j < n[0] + n[1] && !rc; j++) {
        size_t k = both ? j % 2 : 0, i = j / (1 + both);
        if (i == n[k] && both) {                        /* of an odd number, one more has b first */
            k = 1;
            i = n[0];
        }
        rc = get_one(json_array_get(orders, k), i, both ? k == 1 : only_second(orders), &out->rationale[j]);
        out->n += !rc;
    }
    if (rc) {
        gram_reasoned_clear(out);
        return rc;
    }
    gr_reason_vote(out, !both);
    out->early = json_is_true(json_object_get(o, "early"));
    return GRAM_OK;
}
