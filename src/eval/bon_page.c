/* bon_page.c - the curve of best-of-n for a terminal, as JSON and as a page. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/err.h"
#include "base/json.h"
#include "eval/bon.h"
#include "eval/figure.h"

#define DASH "\xe2\x80\x93"

typedef struct { const char *key, *name, *what; size_t at; } series;
#define AT(field) offsetof(gram_bon_point, field)
enum { PROXY, GOLD, GAIN, RANDOM, LONGEST, ORACLE };
static const series all[] = {
    { "proxy", "reward", "the judge&#8217;s reward of its choice", AT(proxy) },
    { "gold", "gold", "the gold reward of the judge&#8217;s choice", AT(gold) },
    { "gain", "gain", "gold of the judge&#8217;s choice less gold of a random answer to the same prompt", AT(gain) },
    { "random", "random", "gold of a random answer", AT(random) },
    { "longest", "longest", "gold of the longest answer", AT(longest) },
    { "oracle", "oracle", "gold of the best answer by gold itself", AT(oracle) },
};

static gram_interval of(const gram_bon_point *p, size_t s)
{
    return *(const gram_interval *)(const void *)((const char *)p + all[s].at);
}

/* What there is: without gold the judge's reward alone. */
static size_t shown(const gram_bon_curve *c) { return c->gold ? GR_COUNT(all) : 1; }

/* ---- Table ---------------------------------------------------------------------------------------- */

/* No -0.000. */
static double shown_as(double x) { return fabs(x) < 5e-4 ? 0 : x; }

static bool end_line(gr_buf *b)
{
    while (b->p[b->n - 1] == ' ')
        b->p[--b->n] = '\0';
    return gr_buf_puts(b, "\n");
}

static bool cell(gr_buf *b, gram_interval v)
{
    char range[48] = "";

    if (!isnan(v.low))
        snprintf(range, sizeof range, "[%.3f, %.3f]", shown_as(v.low), shown_as(v.high));
    return gr_buf_printf(b, "  %8.3f %-19s", shown_as(v.value), range);
}

/* The columns from..to with their intervals, and those up to `last` without. */
static bool part(gr_buf *b, const gram_bon_curve *c, size_t from, size_t to, size_t last)
{
    bool ok = gr_buf_printf(b, "\n%5s %6s", "n", "KL <=");

    for (size_t s = from; s < to; s++)
        ok = ok && gr_buf_printf(b, "  %8s %-19s", all[s].name, "95 %");
    for (size_t s = to; s < last; s++)
        ok = ok && gr_buf_printf(b, "  %8s", all[s].name);
    ok = ok && end_line(b);
    for (size_t k = 0; k < c->points && ok; k++) {
        ok = gr_buf_printf(b, "%5zu %6.3f", c->point[k].n, c->point[k].kl);
        for (size_t s = from; s < to; s++)
            ok = ok && cell(b, of(&c->point[k], s));
        for (size_t s = to; s < last; s++)
            ok = ok && gr_buf_printf(b, "  %8.3f", shown_as(of(&c->point[k], s).value));
        ok = ok && end_line(b);
    }
    return ok;
}

gram_status gr_bon_table(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err)
{
    bool ok = gr_buf_printf(out, "judge: %s\n", f->judge);

    if (f->gold)
        ok = ok && gr_buf_printf(out, "gold:  %s\n", f->gold);
    ok = ok && gr_buf_printf(out, "%zu prompt%s", c->prompts, c->prompts == 1 ? "" : "s");
    if (c->left_out)
        ok = ok && gr_buf_printf(out, ", and %zu left out that ha%s fewer answers with a reward than the largest n",
                                 c->left_out, c->left_out == 1 ? "s" : "ve");
    ok = ok && gr_buf_puts(out, "\n");
    if (c->points)
        ok = ok && part(out, c, PROXY, c->gold ? GAIN : GOLD, c->gold ? GAIN : GOLD);
    if (c->points && c->gold)
        ok = ok && part(out, c, GAIN, RANDOM, GR_COUNT(all));
    return ok ? GRAM_OK : gr_nomem(err, "table");
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static json_t *interval_json(gram_interval v)
{
    return json_pack("{s:o, s:o, s:o}", "value", gr_json_real(v.value), "low", gr_json_real(v.low), "high",
                     gr_json_real(v.high));
}

gram_status gr_bon_json(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err)
{
    json_t *list = json_array();
    json_t *o = json_pack("{s:s, s:s, s:s*, s:I, s:I, s:o}", "gram", GRAM_VERSION, "judge", f->judge, "gold", f->gold,
                          "prompts", (json_int_t)c->prompts, "left_out", (json_int_t)c->left_out, "curve", list);
    bool ok = o;
    char *text = NULL;

    for (size_t k = 0; k < c->points && ok; k++) {
        json_t *p = json_pack("{s:I, s:f}", "n", (json_int_t)c->point[k].n, "kl", c->point[k].kl);
        for (size_t s = 0; s < shown(c) && ok; s++)
            ok = p && !json_object_set_new(p, all[s].key, interval_json(of(&c->point[k], s)));
        ok = !json_array_append_new(list, p) && ok;
    }
    if (ok)
        text = gr_json_text(o, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    ok = text && gr_buf_puts(out, text) && gr_buf_puts(out, "\n");
    free(text);
    json_decref(o);
    return ok ? GRAM_OK : gr_nomem(err, "numbers");
}

/* ---- Page ----------------------------------------------------------------------------------------- */

/* Lines over the same x: class, colour of its points, and where its word stands. */
typedef struct { size_t s; const char *class, *dot; } drawn;

static void widen(gr_frame *f, double y)
{
    if (isfinite(y)) {
        f->y0 = fmin(f->y0, y);
        f->y1 = fmax(f->y1, y);
    }
}

static gr_frame frame_of(const gram_bon_curve *c, const drawn *d, size_t n, int *ticks)
{
    gr_frame f = { 0, fmax(c->point[c->points - 1].kl, 0.1), INFINITY, -INFINITY, GR_FIG_LEFT, 8, 216 };

    for (size_t k = 0; k < c->points; k++)
        for (size_t i = 0; i < n; i++) {
            gram_interval v = of(&c->point[k], d[i].s);
            widen(&f, v.value);
            widen(&f, v.low);
            widen(&f, v.high);
        }
    gr_fig_round(&f, ticks);
    return f;
}

static void line(gr_page *p, const gram_bon_curve *c, const gr_frame *f, const drawn *d)
{
    gr_page_put(p, "<path class=\"%s\" d=\"", d->class);
    for (size_t k = 0; k < c->points; k++)
        gr_page_put(p, "%c%.1f %.1f", k ? 'L' : 'M', gr_fig_x(f, c->point[k].kl),
                    gr_fig_y(f, of(&c->point[k], d->s).value));
    gr_page_raw(p, "\"/>\n");
    if (!d->dot)
        return;
    for (size_t k = 0; k < c->points; k++) {
        gram_interval v = of(&c->point[k], d->s);
        double x = gr_fig_x(f, c->point[k].kl);
        if (!isnan(v.low))
            gr_fig_whisker(p, x, f, v.low, v.high);
        gr_page_put(p, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", d->dot, x, gr_fig_y(f, v.value));
    }
}

static void axis_x(gr_page *p, const gram_bon_curve *c, const gr_frame *f)
{
    double last = -100;

    for (size_t k = 0; k < c->points; k++) {
        double x = gr_fig_x(f, c->point[k].kl);
        char text[16];
        gr_fig_line(p, "grid", x, f->top, x, f->bottom);
        if (x - last < 26)
            continue;
        snprintf(text, sizeof text, "%zu", c->point[k].n);
        gr_fig_word(p, "m", x, f->bottom + 16, text);
        last = x;
    }
}

static void legend(gr_page *p, const drawn *d, size_t n, double y)
{
    for (size_t i = 0; i < n; i++) {
        double x = GR_FIG_LEFT + 86 * (double)i;
        gr_page_put(p, "<path class=\"%s\" d=\"M%.1f %.1fh18\"/>\n", d[i].class, x, y - 4);
        gr_fig_word(p, "s", x + 23, y, all[d[i].s].name);
    }
}

static void numbers(gr_page *p, const gram_bon_curve *c, const drawn *d, size_t n)
{
    gr_page_raw(p, "<details><summary>Numbers</summary><div class=\"wide\" tabindex=\"0\"><table><thead><tr>"
                "<th scope=\"col\">n</th><th scope=\"col\">KL</th>");
    for (size_t i = 0; i < n; i++)
        gr_page_put(p, "<th scope=\"col\">%s</th><th scope=\"col\">95&#160;%%</th>", all[d[i].s].name);
    gr_page_raw(p, "</tr></thead><tbody>\n");
    for (size_t k = 0; k < c->points; k++) {
        gr_page_put(p, "<tr><th scope=\"row\">%zu</th><td>%.3f</td>", c->point[k].n, c->point[k].kl);
        for (size_t i = 0; i < n; i++) {
            gram_interval v = of(&c->point[k], d[i].s);
            gr_page_put(p, "<td>%.4f</td><td>", v.value);
            if (isnan(v.low))
                gr_page_raw(p, DASH);
            else
                gr_page_put(p, "%.4f to %.4f", v.low, v.high);
            gr_page_raw(p, "</td>");
        }
        gr_page_raw(p, "</tr>\n");
    }
    gr_fig_close(p);
}

static void figure(gr_page *p, const char *id, const char *title, const char *what, const gram_bon_curve *c,
                   const drawn *d, size_t n)
{
    int ticks;
    const gr_frame f = frame_of(c, d, n, &ticks);

    gr_fig_open(p, id, title);
    gr_fig_svg(p, id, 282, title, what);
    axis_x(p, c, &f);
    gr_fig_grid_y(p, &f, ticks, f.y1 - f.y0 < 0.01 ? "%.0e" : "%.6g", 1);
    for (size_t i = n; i-- > 0; )
        line(p, c, &f, &d[i]);
    gr_fig_word(p, "m", GR_FIG_MIDDLE, 250, "answers n, at KL = log n - (n-1)/n");
    legend(p, d, n, 274);
    gr_page_raw(p, "</svg>\n");
    numbers(p, c, d, n);
}

static void lead(gr_page *p, const gram_bon_curve *c)
{
    const gram_bon_point *last = &c->point[c->points - 1];

    gr_page_raw(p, "<p class=\"lead\">Over ");
    gr_page_count(p, c->prompts);
    gr_page_put(p, " %s, the best of %zu answers", c->prompts == 1 ? "prompt" : "prompts", last->n);
    if (c->gold) {
        gr_page_put(p, " by the judge has a gold reward that is <strong>%.4g</strong> ", fabs(last->gain.value));
        gr_page_raw(p, last->gain.value < 0 ? "below" : "above");
        gr_page_raw(p, " a random one&#8217;s");
        if (!isnan(last->gain.low))
            gr_page_put(p, " (95&#160;%% interval of the difference %.4g to %.4g)", last->gain.low, last->gain.high);
        gr_page_put(p, "; the best there are, %.4g above.</p>\n", last->oracle.value - last->random.value);
    } else
        gr_page_put(p, " has a reward of <strong>%.4g</strong> by the judge, a random one %.4g.</p>\n",
                    last->proxy.value, c->point[0].proxy.value);
}

static void facts(gr_page *p, const gram_bon_curve *c, const gr_bon_facts *f)
{
    char text[32];

    gr_page_raw(p, "<h2>Data and settings</h2>\n<div class=\"box\"><dl>\n");
    gr_page_fact(p, "data", f->name);
    gr_page_fact(p, "judge", f->judge);
    gr_page_fact(p, "gold", f->gold);
    snprintf(text, sizeof text, "%zu", c->prompts);
    gr_page_fact(p, "prompts", text);
    snprintf(text, sizeof text, "%zu", c->left_out);
    gr_page_fact(p, "left out", text);
    gr_page_fact(p, "date", f->date);
    gr_page_raw(p, "<dt>program</dt><dd>gram " GRAM_VERSION "</dd>\n</dl></div>\n"
                "<h2>What the numbers mean</h2>\n<div class=\"box\"><dl>\n");
    for (size_t s = 0; s < shown(c); s++)
        gr_page_put(p, "<dt>%s</dt><dd>%s.</dd>\n", all[s].name, all[s].what);
    gr_page_raw(p, "<dt>best of n</dt><dd>Expected over all sets of n of the answers that were judged: without "
                "bias.</dd>\n<dt>KL</dt><dd>log n - (n-1)/n nats, the most that best-of-n can be away from the "
                "policy.</dd>\n<dt>95&#160;% interval</dt><dd>Bootstrap over the prompts.</dd>\n"
                "<dt>left out</dt><dd>Rows with fewer answers that have a reward than the largest n.</dd>\n"
                "</dl></div>\n");
}

gram_status gr_bon_page(const gram_bon_curve *c, const gr_bon_facts *f, gr_buf *out, gram_err *err)
{
    static const drawn gold[] = { { GOLD, "curve", "dot" }, { ORACLE, "held", NULL }, { LONGEST, "base thin", NULL },
                                  { RANDOM, "chance thin", NULL } };
    static const drawn proxy[] = { { PROXY, "curve", "dot" } }, gain[] = { { GAIN, "curve", "dot" } };
    gr_page p = { out, true };

    gr_page_begin(&p, "Best of n: ", f->name);
    gr_page_raw(&p, "<p class=\"sub\">Best-of-n");
    if (f->date) {
        gr_page_raw(&p, ", ");
        gr_page_text(&p, f->date);
    }
    gr_page_raw(&p, "</p>\n");
    if (c->points) {
        lead(&p, c);
        gr_page_raw(&p, "<h2>More answers</h2>\n<div class=\"plots\">\n");
        if (c->gold) {
            figure(&p, "gold", "Gold reward", "The gold reward of the judge's choice among n answers, with 95 percent "
                   "intervals, beside that of the best, the longest and a random one.", c, gold, GR_COUNT(gold));
            figure(&p, "gain", "Gain over a random answer", "How much more gold reward the judge's choice has than a "
                   "random answer to the same prompt, with 95 percent intervals.", c, gain, 1);
        }
        figure(&p, "proxy", "The judge&#8217;s own reward", "The judge's reward of its choice among n answers, with 95 "
               "percent intervals.", c, proxy, 1);
        gr_page_raw(&p, "</div>\n");
    } else
        gr_page_raw(&p, "<p class=\"lead\">No prompt has answers enough for a curve.</p>\n");
    facts(&p, c, f);
    gr_page_end(&p);
    return p.ok ? GRAM_OK : gr_nomem(err, "report");
}
