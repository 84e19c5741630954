/* versus_page.c - a policy beside a baseline for a terminal, as JSON and as a page. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/json.h"
#include "eval/page.h"
#include "eval/versus.h"

#define DASH "\xe2\x80\x93"

/* A line of numbers: of both sides, or of the two together. */
typedef struct { const char *key, *name; size_t at; bool percent; const char *what; } number;
#define OF(field)   offsetof(gram_policy_comparison, field)
#define SIDE(field) offsetof(gram_policy_side, field)
static const number together[] = {
    { "win_rate", "win rate", OF(win), true,
      "how often the policy&#8217;s answer is the better one; a tie counts half" },
    { "win_rate_lc", "length-controlled", OF(win_lc), true,
      "the win rate had the answers been equally long: s(theta) of the fit of the verdicts by "
      "s(theta + phi tanh(d / sd)), d the difference in characters" },
    { "ties", "ties", OF(ties), true, "share of verdicts for neither" },
    { "preference", "preference", OF(preference), true, "mean probability that the policy&#8217;s answer is better" },
    { "flips", "orders disagree", OF(flips), true, "share of pairs whose two orders named different winners" },
    { "gain", "reward difference", OF(gain), false,
      "reward of the policy&#8217;s answer less that of the baseline&#8217;s" },
    { "kl", "KL", OF(kl), false, "nats an answer, on the policy&#8217;s answers" },
    { "kl_token", "KL a token", OF(kl_token), false, "mean over answers of nats a token" },
};
static const number sides[] = {
    { "reward", "reward", SIDE(reward), false, "the judge&#8217;s" },
    { "chars", "characters", SIDE(chars), false, "code points of an answer" },
    { "tokens", "tokens", SIDE(tokens), false, "of an answer, its end too" },
    { "cut", "cut", SIDE(cut), true, "share of answers that ran into their length" },
    { "repetition", "repetition", SIDE(repetition), true,
      "of an answer&#8217;s runs of three words, the share that stood in it before" },
    { "distinct_1", "distinct-1", SIDE(distinct[0]), false, "different words over all words, of all answers together" },
    { "distinct_2", "distinct-2", SIDE(distinct[1]), false, "the same of runs of two words" },
    { "distinct_3", "distinct-3", SIDE(distinct[2]), false, "the same of runs of three words" },
};

static gram_interval at(const void *of, const number *n)
{
    return *(const gram_interval *)(const void *)((const char *)of + n->at);
}

/* ---- Table ---------------------------------------------------------------------------------------- */

/* Three digits, or more of a large number's; no -0.000. */
static void shown(char out[64], gram_interval v, bool percent)
{
    double unit = percent ? 100 : 1, x = unit * v.value;
    int digits = percent ? 1 : fabs(x) >= 100 ? 1 : 3;
    double least = percent ? 0.05 : 5e-4, low, high;
    int n;

    out[0] = '\0';
    if (isnan(v.value))
        return;
    n = snprintf(out, 64, "%.*f%s", digits, fabs(x) < least ? 0 : x, percent ? " %" : "");
    low = unit * v.low;
    high = unit * v.high;
    if (!isnan(v.low))
        snprintf(out + n, 64 - (size_t)n, " [%.*f, %.*f]", digits, fabs(low) < least ? 0 : low, digits,
                 fabs(high) < least ? 0 : high);
}

static bool name_line(gr_buf *b, const char *name, const char *value)
{
    return !value || gr_buf_printf(b, "%-11s%s\n", name, value);
}

static bool counts(gr_buf *b, const gram_policy_comparison *c, const gr_versus_facts *f)
{
    bool ok = f->each > 1 ? gr_buf_printf(b, "%zu answers, %zu to a prompt", c->rows, f->each)
                          : gr_buf_printf(b, "%zu prompt%s", c->rows, c->rows == 1 ? "" : "s");

    if (f->failed)
        ok = ok && gr_buf_printf(b, ", %llu left out without an answer", (unsigned long long)f->failed);
    if (f->unjudged)
        ok = ok && gr_buf_printf(b, ", %llu of them without a verdict", (unsigned long long)f->unjudged);
    return ok && gr_buf_puts(b, "\n");
}

gram_status gr_versus_table(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err)
{
    char a[64], b[64];
    bool ok = name_line(out, "policy", f->policy) && name_line(out, "baseline", f->baseline) &&
              name_line(out, "judge", f->judge) && name_line(out, "answers", f->generation) && counts(out, c, f) &&
              (f->baseline ? gr_buf_printf(out, "\n%-18s  %-30s  %s\n", "", "policy, 95 %", "baseline, 95 %")
                           : gr_buf_printf(out, "\n%-18s  %s\n", "", "policy, 95 %"));

    for (size_t k = 0; k < GR_COUNT(together) && ok; k++) {
        shown(a, at(c, &together[k]), together[k].percent);
        ok = !a[0] || gr_buf_printf(out, "%-18s  %s\n", together[k].name, a);
    }
    for (size_t k = 0; k < GR_COUNT(sides) && ok; k++) {
        shown(a, at(&c->policy, &sides[k]), sides[k].percent);
        shown(b, at(&c->baseline, &sides[k]), sides[k].percent);
        if (a[0] && b[0])
            ok = gr_buf_printf(out, "%-18s  %-30s  %s\n", sides[k].name, a, b);
        else
            ok = !a[0] || gr_buf_printf(out, "%-18s  %s\n", sides[k].name, a);
    }
    if (f->note)
        ok = ok && gr_buf_printf(out, "\n%s\n", f->note);
    return ok ? GRAM_OK : gr_nomem(err, "table");
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static bool put_numbers(json_t *o, const void *of, const number *n, size_t count)
{
    bool ok = o;

    for (size_t k = 0; k < count && ok; k++) {
        gram_interval v = at(of, &n[k]);
        ok = !json_object_set_new(o, n[k].key, json_pack("{s:o, s:o, s:o}", "value", gr_json_real(v.value), "low",
                                                         gr_json_real(v.low), "high", gr_json_real(v.high)));
    }
    return ok;
}

static json_t *side_json(const gram_policy_side *s, const char *name)
{
    json_t *o = json_pack("{s:s?, s:I}", "name", name, "answers", (json_int_t)s->answers);

    if (put_numbers(o, s, sides, GR_COUNT(sides)))
        return o;
    json_decref(o);
    return NULL;
}

gram_status gr_versus_json(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s?}", "gram", GRAM_VERSION, "data", f->data,
                          "judge", f->judge, "generation", f->generation, "n", (json_int_t)f->each, "rows",
                          (json_int_t)c->rows, "compared",
                          (json_int_t)c->compared, "failed", (json_int_t)f->failed, "unjudged", (json_int_t)f->unjudged,
                          "note", f->note);
    bool ok = put_numbers(o, c, together, GR_COUNT(together)) &&
              !json_object_set_new(o, "length_weight", gr_json_real(c->length_weight)) &&
              !json_object_set_new(o, "policy", side_json(&c->policy, f->policy)) &&
              (!f->baseline || !json_object_set_new(o, "baseline", side_json(&c->baseline, f->baseline)));
    char *text = ok ? gr_json_text(o, JSON_INDENT(2) | JSON_REAL_PRECISION(17)) : NULL;

    ok = text && gr_buf_puts(out, text) && gr_buf_puts(out, "\n");
    free(text);
    json_decref(o);
    return ok ? GRAM_OK : gr_nomem(err, "numbers");
}

/* ---- Page ----------------------------------------------------------------------------------------- */

static void lead(gr_page *p, const gram_policy_comparison *c, size_t each)
{
    gr_page_raw(p, "<p class=\"lead\">Over ");
    gr_page_count(p, c->rows);
    gr_page_raw(p, each > 1 ? " answers" : c->rows == 1 ? " prompt" : " prompts");
    if (each > 1)
        gr_page_put(p, ", %zu to a prompt", each);
    if (isnan(c->win.value)) {
        gr_page_put(p, ", the policy&#8217;s answers have a mean reward of <strong>%.4g</strong>.</p>\n",
                    c->policy.reward.value);
        return;
    }
    gr_page_raw(p, ", the policy&#8217;s answer wins <strong>");
    gr_page_percent(p, c->win.value);
    gr_page_raw(p, "</strong> of the comparisons (95&#160;% interval ");
    gr_page_range(p, c->win);
    gr_page_raw(p, "), and <strong>");
    gr_page_percent(p, c->win_lc.value);
    gr_page_raw(p, "</strong> (");
    gr_page_range(p, c->win_lc);
    gr_page_put(p, ") at equal length; its answers have %.4g characters, the baseline&#8217;s %.4g.</p>\n",
                c->policy.chars.value, c->baseline.chars.value);
}

static void cell(gr_page *p, gram_interval v, bool percent)
{
    char text[64];

    shown(text, v, percent);
    gr_page_put(p, "<td>%s</td>", text[0] ? text : DASH);
}

static void table(gr_page *p, const gram_policy_comparison *c, bool baseline)
{
    gr_page_raw(p, "<h2>Numbers</h2>\n<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th scope=\"col\"></th>"
                "<th scope=\"col\">policy, 95&#160;%</th>");
    gr_page_raw(p, baseline ? "<th scope=\"col\">baseline, 95&#160;%</th></tr></thead><tbody>\n"
                            : "</tr></thead><tbody>\n");
    for (size_t k = 0; k < GR_COUNT(together); k++) {
        if (isnan(at(c, &together[k]).value))
            continue;
        gr_page_put(p, "<tr><th scope=\"row\">%s</th>", together[k].name);
        cell(p, at(c, &together[k]), together[k].percent);
        gr_page_raw(p, baseline ? "<td></td></tr>\n" : "</tr>\n");
    }
    for (size_t k = 0; k < GR_COUNT(sides); k++) {
        if (isnan(at(&c->policy, &sides[k]).value) && isnan(at(&c->baseline, &sides[k]).value))
            continue;
        gr_page_put(p, "<tr><th scope=\"row\">%s</th>", sides[k].name);
        cell(p, at(&c->policy, &sides[k]), sides[k].percent);
        if (baseline)
            cell(p, at(&c->baseline, &sides[k]), sides[k].percent);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div>\n");
}

static void said(gr_page *p, const char *text, double reward)
{
    gr_page_raw(p, "<td class=\"t\" style=\"white-space:pre-wrap;vertical-align:top\">");
    gr_page_cut(p, text, 1500);
    if (!isnan(reward))
        gr_page_put(p, "\n<span class=\"note\">reward %.4g</span>", reward);
    gr_page_raw(p, "</td>");
}

static void samples(gr_page *p, const gr_versus_facts *f)
{
    if (!f->samples)
        return;
    gr_page_raw(p, "<h2>Side by side</h2>\n<p class=\"note\">Rows at equal distances in the data, none of them chosen."
                "</p>\n<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th scope=\"col\" class=\"t\">prompt</th>"
                "<th scope=\"col\" class=\"t\">policy</th>");
    gr_page_raw(p, f->baseline ? "<th scope=\"col\" class=\"t\">baseline</th><th scope=\"col\">better</th></tr></thead>"
                                 "<tbody>\n" : "</tr></thead><tbody>\n");
    for (size_t i = 0; i < f->samples; i++) {
        const gr_versus_sample *s = &f->sample[i];
        gr_page_raw(p, "<tr>");
        said(p, s->prompt, NAN);
        said(p, s->text[0], s->reward[0]);
        if (f->baseline) {
            said(p, s->text[1], s->reward[1]);
            gr_page_put(p, "<td>%s</td>", isnan(s->win) ? DASH : s->win > 0.5 ? "policy" : s->win < 0.5 ? "baseline"
                                                                                                        : "tie");
        }
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div>\n");
}

static void meanings(gr_page *p, const gram_policy_comparison *c)
{
    gr_page_raw(p, "<h2>What the numbers mean</h2>\n<div class=\"box\"><dl>\n");
    for (size_t k = 0; k < GR_COUNT(together); k++)
        if (!isnan(at(c, &together[k]).value))
            gr_page_put(p, "<dt>%s</dt><dd>%s.</dd>\n", together[k].name, together[k].what);
    for (size_t k = 0; k < GR_COUNT(sides); k++)
        if (!isnan(at(&c->policy, &sides[k]).value))
            gr_page_put(p, "<dt>%s</dt><dd>%s.</dd>\n", sides[k].name, sides[k].what);
    gr_page_raw(p, "<dt>95&#160;% interval</dt><dd>Of the win rate, ties, orders that disagree and cut answers "
                "Wilson&#8217;s, at a number of rows that is reduced where rows share a prompt and agree more than "
                "chance; of all else bootstrap over the prompts.</dd>\n</dl></div>\n");
}

static void facts(gr_page *p, const gram_policy_comparison *c, const gr_versus_facts *f)
{
    char text[32];

    gr_page_raw(p, "<h2>Data and settings</h2>\n<div class=\"box\"><dl>\n");
    gr_page_fact(p, "data", f->data);
    gr_page_fact(p, "policy", f->policy);
    gr_page_fact(p, "baseline", f->baseline);
    gr_page_fact(p, "judge", f->judge);
    gr_page_fact(p, "answers", f->generation);
    snprintf(text, sizeof text, "%zu", c->rows);
    gr_page_fact(p, f->each > 1 ? "rows" : "prompts", text);
    snprintf(text, sizeof text, "%zu", f->each);
    gr_page_fact(p, "answers to each prompt", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)f->failed);
    gr_page_fact(p, "without an answer", text);
    snprintf(text, sizeof text, "%llu", (unsigned long long)f->unjudged);
    gr_page_fact(p, "without a verdict", text);
    gr_page_fact(p, "date", f->date);
    gr_page_raw(p, "<dt>program</dt><dd>gram " GRAM_VERSION "</dd>\n</dl></div>\n");
}

gram_status gr_versus_page(const gram_policy_comparison *c, const gr_versus_facts *f, gr_buf *out, gram_err *err)
{
    gr_page p = { out, true };

    gr_page_begin(&p, "Policy: ", f->policy);
    gr_page_raw(&p, "<p class=\"sub\">Evaluation of a policy");
    if (f->date) {
        gr_page_raw(&p, ", ");
        gr_page_text(&p, f->date);
    }
    gr_page_raw(&p, "</p>\n");
    if (c->rows)
        lead(&p, c, f->each);
    table(&p, c, f->baseline);
    if (f->note) {
        gr_page_raw(&p, "<p class=\"note\">");
        gr_page_text(&p, f->note);
        gr_page_raw(&p, "</p>\n");
    }
    samples(&p, f);
    facts(&p, c, f);
    meanings(&p, c);
    gr_page_end(&p);
    return p.ok ? GRAM_OK : gr_nomem(err, "report");
}
