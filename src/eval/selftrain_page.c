/* selftrain_page.c - see selftrain_page.h. */
#include <math.h>
#include <stdio.h>
#include "base/err.h"
#include "eval/figure.h"
#include "eval/selftrain_page.h"

static bool judged(const gram_selftrain_report *r) { return !isnan(r->round[0].accuracy.value); }

/* The places on the x axis: rounds 0 to n, and what follows people's reasons. */
static size_t places(const gram_selftrain_report *r) { return r->rounds + 1 + !isnan(r->final.value); }

static gram_interval accuracy_at(const gram_selftrain_report *r, size_t i)
{
    return i <= r->rounds ? r->round[i].accuracy : r->final;
}

static void name_place(const gram_selftrain_report *r, size_t i, char out[24])
{
    if (i <= r->rounds)
        snprintf(out, 24, "%zu", i);
    else
        snprintf(out, 24, "final");
}

static gr_frame frame_of(const gram_selftrain_report *r, int *ticks)
{
    gr_frame f = { -0.5, (double)places(r) - 0.5, INFINITY, -INFINITY, GR_FIG_LEFT, 8, 216 };

    for (size_t i = 0; i < places(r); i++) {
        gram_interval v = accuracy_at(r, i);
        if (isnan(v.value))
            continue;
        f.y0 = fmin(f.y0, isnan(v.low) ? v.value : v.low);
        f.y1 = fmax(f.y1, isnan(v.high) ? v.value : v.high);
    }
    gr_fig_round(&f, ticks);
    return f;
}

static void figure(gr_page *p, const gram_selftrain_report *r)
{
    static const char *const head[] = { "round", "accuracy", "95 % interval" };
    int ticks;
    gr_frame f = frame_of(r, &ticks);

    gr_fig_open(p, "rounds", "Accuracy on held-out pairs");
    gr_fig_svg(p, "rounds", 258, "Accuracy on held-out pairs", "Accuracy of each round's judge with 95 percent "
               "intervals.");
    gr_fig_grid_y(p, &f, ticks, "%.6g", 100);
    for (size_t i = 0; i < places(r); i++) {
        gram_interval v = accuracy_at(r, i);
        double x = gr_fig_x(&f, (double)i);
        char word[24];
        name_place(r, i, word);
        gr_fig_word(p, "m", x, f.bottom + 16, word);
        if (isnan(v.value))
            continue;
        if (!isnan(v.low))
            gr_fig_whisker(p, x, &f, v.low, v.high);
        gr_page_put(p, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", x, gr_fig_y(&f, v.value));
    }
    gr_fig_word(p, "m", GR_FIG_MIDDLE, 250, "round");
    gr_page_raw(p, "</svg>\n");
    gr_fig_numbers(p, head, GR_COUNT(head));
    for (size_t i = 0; i < places(r); i++) {
        char word[24];
        name_place(r, i, word);
        gr_page_put(p, "<tr><th scope=\"row\">%s</th>", word);
        gr_page_cell_percent(p, accuracy_at(r, i).value);
        gr_page_cell_range(p, accuracy_at(r, i));
        gr_page_raw(p, "</tr>\n");
    }
    gr_fig_close(p);
}

static double share(uint64_t n, uint64_t of) { return of ? (double)n / (double)of : NAN; }

static void right_cell(gr_page *p, const gram_rule_count *c)
{
    gr_page_cell_percent(p, share(c->right, c->known));
}

static void rounds_table(gr_page *p, const gram_selftrain_report *r)
{
    gr_page_raw(p, "<h2>Rounds</h2>\n<div class=\"wide\" tabindex=\"0\"><table><thead><tr><th scope=\"col\">round</th>"
                "<th scope=\"col\">pairs</th><th scope=\"col\">labels kept</th><th scope=\"col\">kept are right</th>"
                "<th scope=\"col\">dropped are right</th><th scope=\"col\">proved</th><th scope=\"col\">proof "
                "score</th><th scope=\"col\">forced</th><th scope=\"col\">accuracy</th><th "
                "scope=\"col\">95&#160;%</th></tr></thead><tbody>\n");
    for (size_t i = 0; i <= r->rounds; i++) {
        const gram_selftrain_round *n = &r->round[i];
        const gram_voted_labels *l = &n->labels;
        gr_page_put(p, "<tr><th scope=\"row\">%zu</th>", i);
        gr_page_cell_count(p, i ? l->pairs : n->rows);
        if (i)
            gr_page_cell_count(p, l->kept.n);
        else
            gr_page_raw(p, "<td>given</td>");
        right_cell(p, &l->kept);
        right_cell(p, &l->lost);
        gr_page_cell_count(p, n->proved);
        gr_page_raw(p, "<td>");
        gr_page_share(p, n->score, 3);
        gr_page_raw(p, "</td>");
        gr_page_cell_percent(p, share(l->forced, l->rationales));
        gr_page_cell_percent(p, n->accuracy.value);
        gr_page_cell_range(p, n->accuracy);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div>\n");
}

static void rule_row(gr_page *p, const char *name, const uint64_t *broke, const gram_rule_count *c)
{
    gr_page_put(p, "<tr><th scope=\"row\">%s</th>", name);
    if (broke)
        gr_page_cell_count(p, *broke);
    else
        gr_page_raw(p, "<td></td>");
    gr_page_cell_count(p, c->n);
    right_cell(p, c);
    gr_page_raw(p, "</tr>\n");
}

static void rules_table(gr_page *p, const gram_voted_labels *l, size_t round)
{
    gr_page_put(p, "<h2>Rules of round %zu</h2>\n<div class=\"wide\" tabindex=\"0\"><table><thead><tr>"
                "<th scope=\"col\">rule</th><th scope=\"col\">pairs that break it</th><th scope=\"col\">dropped by it "
                "first</th><th scope=\"col\">of these, voted right</th></tr></thead><tbody>\n", round);
    for (int i = 0; i < GRAM_RULES; i++)
        rule_row(p, gram_rule_name((gram_rule)i), &l->broke[i], &l->dropped[i]);
    rule_row(p, "all dropped", NULL, &l->lost);
    rule_row(p, "kept", NULL, &l->kept);
    gr_page_raw(p, "</tbody></table></div>\n");
}

static void sample(gr_page *p, const gr_self_sample *s)
{
    gr_page_raw(p, "<div class=\"box\"><dl>\n");
    gr_page_put(p, "<dt>round</dt><dd>%zu", s->round);
    if (!isnan(s->share))
        gr_page_put(p, ", label by %.0f&#160;%% of the votes", 100 * s->share);
    gr_page_raw(p, "</dd>\n<dt>asked</dt><dd>");
    gr_page_cut(p, s->prompt, 400);
    gr_page_raw(p, "</dd>\n<dt>better</dt><dd>");
    gr_page_cut(p, s->chosen, 400);
    gr_page_raw(p, "</dd>\n<dt>other</dt><dd>");
    gr_page_cut(p, s->rejected, 400);
    gr_page_raw(p, "</dd>\n<dt>reasons</dt><dd>");
    gr_page_cut(p, s->rationale, 1200);
    gr_page_raw(p, "</dd>\n</dl></div>\n");
}

static void lead(gr_page *p, const gram_selftrain_report *r)
{
    gram_interval first = r->round[0].accuracy, last = r->round[r->rounds].accuracy;

    if (!judged(r)) {
        gr_page_put(p, "<p class=\"lead\">%zu rounds; no held-out pairs were given to judge them by.</p>\n", r->rounds);
        return;
    }
    gr_page_put(p, "<p class=\"lead\">On held-out pairs the first judge is right in <strong>%.1f&#160;%%</strong> of "
                "cases, the one of round %zu in <strong>%.1f&#160;%%</strong>", 100 * first.value, r->rounds,
                100 * last.value);
    if (!isnan(r->final.value))
        gr_page_put(p, ", and after people&#8217;s reasons in <strong>%.1f&#160;%%</strong>", 100 * r->final.value);
    gr_page_raw(p, ".</p>\n");
}

static void settings(gr_page *p, const gr_self_facts *f)
{
    const gram_selftrain_options *o = f->o;
    char text[96];

    gr_page_raw(p, "<h2>Settings</h2>\n<div class=\"box\"><dl>\n");
    gr_page_fact(p, "model", f->name);
    snprintf(text, sizeof text, "%zu, the share of the winner %g or more", o->votes, o->rules.share);
    gr_page_fact(p, "votes", text);
    snprintf(text, sizeof text, "%g or more in both orders", o->rules.probability);
    gr_page_fact(p, "probability", text);
    snprintf(text, sizeof text, "%zu to %zu tokens", o->rules.least_tokens, o->rules.most_tokens);
    gr_page_fact(p, "rationales", text);
    snprintf(text, sizeof text, "%zu a pair, the best scores %g or more", o->proofs, -o->proof_loss);
    gr_page_fact(p, "proofs", text);
    gr_page_raw(p, "<dt>program</dt><dd>gram " GRAM_VERSION "</dd>\n</dl></div>\n<h2>What the numbers mean</h2>\n"
                "<div class=\"box\"><dl>\n<dt>right</dt><dd>Of the voted pairs whose label is known, which no stage "
                "looks at, those voted as it says. Rules are of use where kept votes are right more often than dropped "
                "ones.</dd>\n<dt>dropped by it first</dt><dd>Rules are asked in the order of the table; a pair counts "
                "for the first that it breaks.</dd>\n<dt>proof score</dt><dd>Mean of minus the log-probability of a "
                "proof given the pair over that without it; nearest 0 is best.</dd>\n<dt>forced</dt><dd>Rationales "
                "that the judge did not close itself.</dd>\n<dt>accuracy</dt><dd>On the held-out pairs, by the mean of "
                "the votes.</dd>\n</dl></div>\n");
}

gram_status gr_eval_selftrain(const gram_selftrain_report *r, const gr_self_facts *f, gr_buf *out, gram_err *err)
{
    gr_page p = { out, true };

    gr_page_begin(&p, "Self-training: ", f->name);
    lead(&p, r);
    if (judged(r)) {
        gr_page_raw(&p, "<div class=\"plots\">\n");
        figure(&p, r);
        gr_page_raw(&p, "</div>\n");
    }
    rounds_table(&p, r);
    for (size_t i = 1; i <= r->rounds; i++)
        rules_table(&p, &r->round[i].labels, i);
    if (f->samples)
        gr_page_raw(&p, "<h2>Reasons that were learnt</h2>\n");
    for (size_t i = 0; i < f->samples; i++)
        sample(&p, &f->sample[i]);
    settings(&p, f);
    gr_page_end(&p);
    return p.ok ? GRAM_OK : gr_nomem(err, "report");
}
