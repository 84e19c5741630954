/* report.c - see report.h. */
#include <inttypes.h>
#include <math.h>
#include "base/err.h"
#include "eval/plot.h"
#include "eval/report.h"

/* ---- Top of the page ---- */

static void head(gr_page *p, const gr_eval_result *r)
{
    gr_page_begin(p, "Evaluation of ", r->facts.model ? r->facts.model : "a reward model");
    gr_page_put(p, "<p class=\"sub\">Evaluation of a %sreward model", gr_eval_by_rewards(r) ? "" : "generative ");
    if (r->facts.date) {
        gr_page_raw(p, ", ");
        gr_page_text(p, r->facts.date);
    }
    gr_page_raw(p, "</p>\n");
}

static void lead(gr_page *p, const gr_eval_result *r)
{
    gr_page_raw(p, "<p class=\"lead\">The judge preferred the better answer in <strong>");
    gr_page_percent(p, r->all.accuracy.value);
    gr_page_raw(p, "</strong> of ");
    gr_page_count(p, r->all.rows);
    gr_page_raw(p, " pairs (95&#160;% interval ");
    gr_page_range(p, r->all.accuracy);
    gr_page_raw(p, "). Choosing the longer answer would have been right in ");
    gr_page_percent(p, r->all.longer.value);
    gr_page_raw(p, ", tossing a coin in 50&#160;%.</p>\n");
}

static void cards(gr_page *p, const gr_eval_result *r)
{
    gr_page_raw(p, "<ul class=\"cards\" aria-label=\"Summary\">\n");
    if (r->rules.n)
        gr_page_card(p, gr_rules_name(r->rules.rules), r->rules.score[0].score, "by its own rules");
    gr_page_card(p, "Accuracy, micro", r->all.accuracy, "over rows");
    if (r->n_files > 1)
        gr_page_card(p, "Accuracy, macro", r->macro, "mean of files");
    else
        gr_page_card(p, "Accuracy, macro", r->macro_subsets, "mean of subsets");
    gr_page_card(p, "The longer answer", r->all.longer, "as a judge");
    if (!gr_eval_by_rewards(r)) {
        gr_page_card(p, "Flip rate", r->all.flip_rate, "orders disagree");
        gr_page_card(p, "First seat wins", r->all.first_seat, "50 is fair");
    }
    gr_page_raw(p, "<li><span>Calibration error</span><b>");
    gr_page_percent(p, r->all.ece);
    gr_page_raw(p, "</b><span>mean confidence ");
    gr_page_percent(p, r->all.confidence);
    gr_page_raw(p, "</span></li>\n");
    if (!isnan(r->pairs_per_s)) {
        gr_page_put(p, "<li><span>Speed</span><b>%.2f</b><span>pairs/s, ", r->pairs_per_s);
        gr_page_count(p, (uint64_t)llround(r->tokens_per_s));
        gr_page_raw(p, " tokens/s</span></li>\n");
    }
    gr_page_raw(p, "</ul>\n");
}

static void left_out(gr_page *p, const gr_eval_result *r)
{
    const struct { uint64_t n; const char *what; } item[] = {
        { r->all.truncated, "judged on shortened text" }, { r->all.dropped, "dropped as too long" },
        { r->bad, "bad and skipped" }, { r->label_ties, "called a tie by the data and left out" },
        { r->all.ties, "with a preference of exactly one half, counted as half right" }
    };

    for (size_t k = 0; k < GR_COUNT(item); k++) {
        if (!item[k].n)
            continue;
        gr_page_raw(p, "<p class=\"note\">");
        gr_page_count(p, item[k].n);
        gr_page_put(p, " row%s %s.</p>\n", item[k].n == 1 ? "" : "s", item[k].what);
    }
}

/* ---- Tables ---- */

static void table_open(gr_page *p, const char *first)
{
    gr_page_raw(p, "<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">");
    gr_page_raw(p, first);
    gr_page_raw(p, "</th><th scope=\"col\">rows</th><th scope=\"col\">prompts</th><th scope=\"col\">accuracy</th>"
                "<th scope=\"col\">95&#160;% interval</th><th scope=\"col\">longer</th><th scope=\"col\">flips</th>"
                "<th scope=\"col\">first seat</th><th scope=\"col\">confidence</th><th scope=\"col\">ECE</th>"
                "</tr></thead>"
                "\n<tbody>\n");
}

static void stats_row(gr_page *p, const char *class, const char *name, const gr_eval_stats *s)
{
    gr_page_put(p, "<tr class=\"%s\"><th scope=\"row\">", class);
    gr_page_text(p, *name ? name : "(none)");
    gr_page_raw(p, "</th>");
    gr_page_cell_count(p, s->rows);
    gr_page_cell_count(p, s->prompts);
    gr_page_cell_percent(p, s->accuracy.value);
    gr_page_cell_range(p, s->accuracy);
    gr_page_cell_percent(p, s->longer.value);
    gr_page_cell_percent(p, s->flip_rate.value);
    gr_page_cell_percent(p, s->first_seat.value);
    gr_page_cell_percent(p, s->confidence);
    gr_page_cell_percent(p, s->ece);
    gr_page_raw(p, "</tr>\n");
}

static void mean_row(gr_page *p, const char *name, gram_interval v)
{
    gr_page_put(p, "<tr class=\"sum\"><th scope=\"row\">%s</th><td></td><td></td>", name);
    gr_page_cell_percent(p, v.value);
    gr_page_cell_range(p, v);
    gr_page_raw(p, "<td></td><td></td><td></td><td></td><td></td></tr>\n");
}

static void files(gr_page *p, const gr_eval_result *r)
{
    gr_page_raw(p, "<h2>Files</h2>\n");
    table_open(p, "file");
    for (size_t f = 0; f < r->n_files; f++)
        stats_row(p, "row", r->file[f].name, &r->file[f].stats);
    stats_row(p, "sum", "all rows (micro)", &r->all);
    if (r->n_files > 1)
        mean_row(p, "mean of files (macro)", r->macro);
    mean_row(p, "mean of all subsets", r->macro_subsets);
    gr_page_raw(p, "</tbody></table></div>\n");
}

static void subsets(gr_page *p, const gr_eval_result *r)
{
    bool any = false;

    for (size_t f = 0; f < r->n_files; f++) {
        const gr_eval_file *file = &r->file[f];
        if (file->n_subsets < 2)
            continue;
        if (!any)
            gr_page_raw(p, "<h2>Subsets</h2>\n");
        any = true;
        gr_page_put(p, "<details%s><summary>", r->n_files == 1 ? " open=\"open\"" : "");
        gr_page_text(p, file->name);
        gr_page_put(p, ": %zu subsets</summary>\n", file->n_subsets);
        table_open(p, "subset");
        for (size_t s = 0; s < file->n_subsets; s++)
            stats_row(p, "row", file->subset[s].name, &file->subset[s].stats);
        mean_row(p, "mean of subsets", file->macro);
        gr_page_raw(p, "</tbody></table></div></details>\n");
    }
}

static void rules(gr_page *p, const gr_rule_result *r)
{
    static const char *const class[] = { "", " class=\"in1\"", " class=\"in2\"", "" };

    if (r->rules == GR_RULES_NONE)
        return;
    gr_page_put(p, "<h2>%s, by its own rules</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>"
                "<th scope=\"col\">part</th><th scope=\"col\">%s</th><th scope=\"col\">score</th>"
                "<th scope=\"col\">95&#160;%% interval</th></tr></thead>\n<tbody>\n", gr_rules_name(r->rules),
                r->rules == GR_RULES_REWARDBENCH2 ? "items" : "pairs");
    for (size_t k = 0; k < r->n; k++) {
        const gr_rule_score *s = &r->score[k];
        gr_page_put(p, "<tr%s><th scope=\"row\"%s>%s%s</th>", s->level <= GR_SCORE_SECTION ? " class=\"sum\"" : "",
                    class[s->level], s->name, s->level == GR_SCORE_ADDED ? " (added here)" : "");
        gr_page_cell_count(p, s->rows);
        gr_page_cell_percent(p, s->score.value);
        gr_page_cell_range(p, s->score);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div>\n");
    for (size_t k = 0; k < r->notes; k++) {
        gr_page_raw(p, "<p class=\"note\">");
        gr_page_text(p, r->note[k]);
        gr_page_raw(p, "</p>\n");
    }
}

static void box(gr_page *p, const char *text)
{
    gr_page_raw(p, "<div class=\"box\"><pre style=\"white-space:pre-wrap;margin:0\">");
    gr_page_text(p, text);
    gr_page_raw(p, "</pre></div>\n");
}

/* A row's texts, where they were read, and the reasons that were written before its verdicts. */
static void one_row(gr_page *p, const gr_eval_result *r, const gr_eval_shown *s)
{
    static const char *const name[] = { "The better answer", "The worse answer" };
    const gr_eval_row *row = &r->row[s->row];

    gr_page_raw(p, "<details><summary>");
    gr_page_text(p, row->id);
    gr_page_put(p, ": %s, %.3f</summary>\n", row->preference > 0.5 ? "right" : row->preference < 0.5 ? "wrong" : "tie",
                row->preference);
    if (s->prompt) {
        gr_page_raw(p, "<p class=\"note\">Prompt</p>\n");
        box(p, s->prompt);
    }
    for (int k = 0; k < 2 && s->answer[k]; k++) {
        gr_page_put(p, "<p class=\"note\">%s</p>\n", name[k]);
        box(p, s->answer[k]);
    }
    for (size_t j = 0; row->why && j < row->why->n; j++) {
        const gram_rationale *v = &row->why->rationale[j];
        gr_page_put(p, "<p class=\"note\">Rationale, %s first: %.3f for the better one, %zu tokens, %s%s</p>\n",
                    v->swapped ? "worse answer" : "better answer", v->p, v->tokens,
                    gram_rationale_status_name(v->status), v->contradicts ? ", contradicts its verdict" : "");
        box(p, v->text);
    }
    gr_page_raw(p, "</details>\n");
}

static void worst(gr_page *p, const gr_eval_result *r)
{
    bool rewards = gr_eval_by_rewards(r);

    if (!r->n_worst)
        return;
    gr_page_put(p, "<h2>Most surely wrong</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr>"
                "<th scope=\"col\">row</th><th scope=\"col\" class=\"t\">file</th><th scope=\"col\">preference</th>"
                "<th scope=\"col\">%s</th><th scope=\"col\">%s</th></tr></thead>\n<tbody>\n",
                rewards ? "reward of the better" : "better first", rewards ? "of the worse" : "better second");
    for (size_t k = 0; k < r->n_worst; k++) {
        const gr_eval_row *row = &r->row[r->worst[k]];
        gr_page_raw(p, "<tr><th scope=\"row\">");
        gr_page_text(p, row->id);
        gr_page_raw(p, "</th><td class=\"t\">");
        gr_page_text(p, r->file[row->file].name);
        gr_page_put(p, "</td><td>%.3f</td><td>", row->preference);
        gr_page_share(p, rewards ? row->reward[0] : row->p_forward, 3);
        gr_page_raw(p, "</td><td>");
        gr_page_share(p, rewards ? row->reward[1] : row->p_swapped, 3);
        gr_page_raw(p, "</td></tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div>\n");
    for (size_t k = 0; k < r->n_shown && !r->votes.rationales; k++)     /* else they stand with their rationales */
        if (r->shown[k].prompt)
            one_row(p, r, &r->shown[k]);
}

/* ---- Rationales ---- */

static void votes(gr_page *p, const gr_eval_result *r)
{
    const gr_eval_votes *v = &r->votes;

    gr_page_raw(p, "<h2>Votes</h2>\n<div class=\"wide\" tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">votes a "
                "pair</th><th scope=\"col\">accuracy, mean</th><th scope=\"col\">95&#160;% interval</th>"
                "<th scope=\"col\">accuracy, majority</th><th scope=\"col\">95&#160;% interval</th>"
                "<th scope=\"col\">tokens written a pair</th><th scope=\"col\">seconds a pair</th></tr></thead>\n"
                "<tbody>\n");
    for (size_t k = 0; k < v->points; k++) {
        gr_page_put(p, "<tr><th scope=\"row\">%zu</th>", v->point[k].k);
        gr_page_cell_percent(p, v->point[k].soft.value);
        gr_page_cell_range(p, v->point[k].soft);
        gr_page_cell_percent(p, v->point[k].hard.value);
        gr_page_cell_range(p, v->point[k].hard);
        gr_page_cell_count(p, (uint64_t)llround(v->point[k].tokens));
        if (isnan(r->pairs_per_s))
            gr_page_raw(p, "<td>-</td></tr>\n");
        else
            gr_page_put(p, "<td>%.2f</td></tr>\n", gr_eval_vote_seconds(v, k, r->pairs_per_s));
    }
    gr_page_raw(p, "</tbody></table></div>\n<p class=\"note\">");
    gr_page_count(p, v->rationales);
    gr_page_raw(p, " rationales, ");
    gr_page_percent(p, (double)v->forced / (double)v->rationales);
    gr_page_raw(p, " closed by force, ");
    gr_page_percent(p, (double)v->contradicts / (double)v->rationales);
    gr_page_raw(p, " whose conclusion names the answer that the verdict does not, ");
    gr_page_percent(p, v->first_seat);
    gr_page_raw(p, " for the answer read first, none unparsed.</p>\n");
}

static void reasons(gr_page *p, const gr_eval_result *r)
{
    if (!r->votes.rationales)
        return;
    votes(p, r);
    gr_page_raw(p, "<h2>Rationales</h2>\n");
    for (size_t k = 0; k < r->n_shown; k++)
        if (r->row[r->shown[k].row].why)
            one_row(p, r, &r->shown[k]);
}

/* ---- Foot ---- */

static void facts(gr_page *p, const gr_eval_result *r)
{
    const gr_eval_facts *f = &r->facts;

    gr_page_raw(p, "<h2>The run</h2>\n<div class=\"box\"><dl>\n");
    gr_page_fact(p, "model", f->model);
    gr_page_fact(p, "dtype", f->dtype);
    gr_page_fact(p, "arithmetic", f->arithmetic);
    if (f->temperature > 0)
        gr_page_put(p, "<dt>temperature</dt><dd>%.4g</dd>\n", f->temperature);
    gr_page_fact(p, "processor", f->cpu);
    gr_page_fact(p, "chat template", f->chat_template);
    gr_page_fact(p, "judge prompt", f->prompt_hash);
    if (f->label_a && f->label_b) {
        gr_page_raw(p, "<dt>labels</dt><dd>");
        gr_page_text(p, f->label_a);
        gr_page_raw(p, ", ");
        gr_page_text(p, f->label_b);
        gr_page_raw(p, "</dd>\n");
    }
    if (f->max_tokens) {
        gr_page_raw(p, "<dt>most tokens of a prompt</dt><dd>");
        gr_page_count(p, f->max_tokens);
        gr_page_raw(p, "</dd>\n");
    }
    gr_page_fact(p, "longer pairs", f->truncate);
    gr_page_fact(p, "rationales", f->rationale);
    gr_page_put(p, "<dt>orders read</dt><dd>%s</dd>\n<dt>tokens read</dt><dd>",
                gr_eval_by_rewards(r) ? "none: each answer by itself"
                : gr_eval_one_order(r) ? "one, of half of the rows the better answer first" : "both, averaged");
    gr_page_count(p, r->all.tokens);
    gr_page_put(p, " (each %s whole)</dd>\n", gr_eval_by_rewards(r) ? "answer and its question" : "order");
    gr_page_fact(p, "date", f->date);
    gr_page_raw(p, "<dt>program</dt><dd>gram " GRAM_VERSION "</dd>\n</dl></div>\n");
}

static void definitions(gr_page *p, const gr_eval_result *r)
{
    gr_page_put(p,
        "<h2>What the numbers mean</h2>\n"
        "<div class=\"box\"><dl>\n"
        "<dt>preference</dt><dd>The probability that the answer labelled better beats the other, %s.</dd>\n",
        gr_eval_by_rewards(r) ? "by how far their rewards are apart"
        : gr_eval_one_order(r) ? "in the one order that was read" : "the two reading orders averaged");
    gr_page_raw(p,
        "<dt>accuracy</dt><dd>Share of rows with a preference above one half; exactly one half counts half. Micro: "
        "over all rows. Macro: mean of files, or of subsets.</dd>\n"
        "<dt>95&#160;% interval</dt><dd>Wilson&#8217;s, at a number of rows that is reduced where rows share a "
        "prompt and agree more than chance; means of means combine theirs (MOVER).</dd>\n"
        "<dt>longer</dt><dd>Accuracy of a judge that takes the answer with more characters; equal lengths count "
        "half.</dd>\n"
        "<dt>flips</dt><dd>Share of rows where the two orders prefer different answers.</dd>\n"
        "<dt>first seat</dt><dd>How often the answer that is read first wins, over the orders that are read; 50&#160;% "
        "has no preference for a seat.</dd>\n"
        "<dt>confidence, ECE</dt><dd>Confidence is the larger of preference and its complement. The expected "
        "calibration error is the mean distance between confidence and accuracy over fifteen bins of equal width, "
        "weighted by rows.</dd>\n"
        "</dl></div>\n");
}

gram_status gr_eval_report(const gr_eval_result *r, gr_buf *out, gram_err *err)
{
    gr_page p = { out, true };

    head(&p, r);
    lead(&p, r);
    cards(&p, r);
    left_out(&p, r);
    rules(&p, &r->rules);
    gr_page_raw(&p, "<h2>Plots</h2>\n<div class=\"plots\">\n");
    gr_plot_accuracy(&p, r);
    gr_plot_reliability(&p, "rel", "Calibration: is it as often right as it is sure?", &r->all);
    gr_plot_preference(&p, r);
    gr_plot_orders(&p, r);
    gr_plot_margin(&p, r);
    gr_page_raw(&p, "</div>\n");
    files(&p, r);
    subsets(&p, r);
    worst(&p, r);
    reasons(&p, r);
    facts(&p, r);
    definitions(&p, r);
    gr_page_end(&p);
    return p.ok ? GRAM_OK : gr_nomem(err, "evaluation report");
}
