/* bon_line.c - see bon_int.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "api/bon_int.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "eval/text.h"

void gr_bon_line_free(gr_bon_line *l)
{
    for (size_t k = 0; l->answer && k < l->row.n; k++)
        json_decref(l->answer[k]);
    free(l->answer);
    free(l->gold);
    free(l->error);
    json_decref(l->columns);
    gr_group_clear(&l->row);
    gram_judged_group_clear(&l->judged);
    gram_judged_group_clear(&l->by_gold);
    free(l);
}

size_t gr_bon_winner(const double *reward, size_t n)
{
    size_t best = n;

    for (size_t i = 0; reward && i < n; i++)
        if (!isnan(reward[i]) && (best == n || reward[i] > reward[best]))
            best = i;
    return best;
}

/* ---- Writing ------------------------------------------------------------------------------------- */

/* NULL where memory ran out. */
static json_t *numbers(const double *x, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, gr_json_real(x[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *texts(char *const *text, size_t n)
{
    json_t *a = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(a, json_string(text[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static json_t *errors(const gram_judged_group *g)
{
    json_t *a = json_array();

    for (size_t i = 0; i < g->n; i++)
        if (g->error[i] && json_array_append_new(a, json_pack("{s:I, s:s}", "index", (json_int_t)i, "message",
                                                              g->error[i]))) {
            json_decref(a);
            return NULL;
        }
    return a;
}

static bool set(json_t *o, const char *key, json_t *v)
{
    return !json_object_set_new(o, key, v);
}

static bool put_responses(json_t *o, const gr_bon_line *l)
{
    bool ok = l->answer ? gr_api_put_answers(o, l->answer, l->row.n)
                        : set(o, "responses", texts(l->row.response, l->row.n));

    return ok && (!l->row.reference || set(o, "reference", json_string(l->row.reference)));
}

static bool put_rewards(json_t *o, const gr_bon_line *l, const double *gold)
{
    const gram_judged_group *j = &l->judged;
    bool ok = set(o, "rewards", numbers(j->reward, j->n));

    if (j->failed)
        ok = ok && set(o, "errors", errors(j));
    if (gold)
        ok = ok && set(o, "gold", numbers(gold, j->n));
    if (l->by_gold.failed)
        ok = ok && set(o, "gold_errors", errors(&l->by_gold));
    return ok;
}

static bool put_winner(json_t *o, const gr_bon_line *l)
{
    const gram_judged_group *j = &l->judged;
    size_t best = gr_bon_winner(j->reward, j->n);

    if (best == j->n)
        return set(o, "error", json_sprintf("no response has a reward: %s", j->error[0]));
    return set(o, "winner", json_integer((json_int_t)best)) &&
           set(o, "completion", json_string(l->row.response[best]));
}

static bool put_cost(json_t *o, const gr_bon_line *l, bool seconds)
{
    const gram_judge_cost *c = &l->judged.cost, *g = &l->by_gold.cost;
    json_t *cost = json_pack("{s:I, s:I, s:I, s:I, s:I}", "written", (json_int_t)l->written,
                             "comparisons", (json_int_t)c->comparisons, "passes", (json_int_t)c->passes,
                             "tokens", (json_int_t)c->tokens, "tokens_computed", (json_int_t)c->tokens_computed);
    bool ok = cost;

    if (ok && c->comparisons)
        ok = set(cost, "flips", json_integer((json_int_t)c->flips));
    if (ok && c->truncated)
        ok = set(cost, "truncated", json_integer((json_int_t)c->truncated));
    if (ok && g->passes)
        ok = set(cost, "gold_tokens_computed", json_integer((json_int_t)g->tokens_computed));
    if (ok && seconds)
        ok = set(cost, "seconds", json_real(c->seconds + g->seconds));
    return set(o, "cost", cost) && ok;
}

/* Whether all responses are there: of a policy any of them may have broken off. */
static bool is_whole(const gr_bon_line *l)
{
    for (size_t k = 0; l->answer && k < l->row.n; k++)
        if (!l->answer[k])
            return false;
    return l->row.n > 0;
}

json_t *gr_bon_line_json(const gr_bon_line *l, const double *gold, bool seconds)
{
    const gram_prompt prompt = gr_group_prompt(&l->row);
    json_t *o = gr_api_line_json(l->row.id, &prompt);
    bool ok = o;

    if (ok && is_whole(l))
        ok = put_responses(o, l);
    if (ok && l->error)
        ok = set(o, "error", json_string(l->error));
    else if (ok)
        ok = put_rewards(o, l, gold) && put_winner(o, l) && put_cost(o, l, seconds);
    if (ok)
        return o;
    json_decref(o);
    return NULL;
}

/* ---- Reading back -------------------------------------------------------------------------------- */

static double number_at(const json_t *list, size_t i)
{
    const json_t *v = json_array_get(list, i);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

gram_status gr_bon_take(gr_bon *b, const json_t *line, gram_err *err)
{
    const json_t *reward = json_object_get(line, "rewards"), *gold = json_object_get(line, "gold");
    const json_t *text = json_object_get(line, "responses");
    size_t n = json_array_size(reward), all = 3 * n;
    char *prompt = gr_json_text(json_object_get(line, "prompt"), JSON_COMPACT | JSON_ENCODE_ANY);
    double *x = gr_calloc(all, sizeof *x);
    gram_status rc = x && prompt ? GRAM_OK : gr_nomem(err, "best-of-n");

    for (size_t i = 0; i < n && !rc; i++) {
        const char *s = json_string_value(json_array_get(text, i));
        x[i] = number_at(reward, i);
        x[n + i] = number_at(gold, i);
        x[2 * n + i] = s ? (double)gr_text_points(s) : 0;
    }
    if (!rc)
        rc = gr_bon_add(b, gr_digest(GR_DIGEST, prompt, strlen(prompt)), x, x + n, x + 2 * n, n, err);
    free(prompt);
    free(x);
    return rc;
}

gram_status gr_bon_check(const json_t *line, const gr_bon_expected *e, const char *name, uint64_t number, gram_err *err)
{
    const json_t *seed = json_array_get(json_object_get(line, "seed"), 0);
    size_t n = json_array_size(json_object_get(line, "responses"));
    const char *what = NULL;

    if (!json_is_object(line))
        what = "is no JSON object";
    else if (!json_object_get(line, "prompt"))
        what = "has no prompt";
    else if (e->n && n && n != e->n)
        what = "has another number of answers";
    else if (e->seed && seed && json_integer_value(seed) != (json_int_t)*e->seed)
        what = "was written with another seed";
    else if (!json_object_get(line, "error") && e->gold != !!json_object_get(line, "gold"))
        what = e->gold ? "has no gold rewards" : "has gold rewards";
    return what ? gr_fail(err, GRAM_EARG, "%s:%llu: a line of the run that is to be resumed %s", name,
                          (unsigned long long)number, what) : GRAM_OK;
}
