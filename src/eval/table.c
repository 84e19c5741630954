/* table.c - see table.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "base/err.h"
#include "eval/table.h"
#include "eval/text.h"

#define NAME 30                     /* columns of the first column */
#define RULE "────────────────────────────────────────────────────────────────────────────────────────"

static bool range(gr_buf *b, gram_interval v)
{
    return isnan(v.value) ? gr_buf_printf(b, "  %13s", "-")
                          : gr_buf_printf(b, "  %5.1f - %5.1f", 100 * v.low, 100 * v.high);
}

static bool stats_line(gr_buf *b, const char *indent, const char *name, const gr_eval_stats *s)
{
    return gr_buf_puts(b, indent) && gr_text_cell(b, name, NAME - gr_text_width(indent)) &&
        gr_buf_printf(b, "%7" PRIu64, s->rows) && gr_text_percent(b, s->accuracy.value, 7) && range(b, s->accuracy) &&
        gr_text_percent(b, s->longer.value, 7) && gr_text_percent(b, s->flip_rate.value, 8) &&
        gr_text_percent(b, s->first_seat.value, 8) &&
        gr_text_percent(b, s->ece, 6) && gr_buf_puts(b, "\n");
}

static bool files(gr_buf *b, const gr_eval_result *r)
{
    bool ok = gr_buf_printf(b, "%-*s%7s%7s  %13s%7s%8s%8s%6s\n" RULE "\n", NAME, "percent", "rows", "right",
                            "95 % interval", "longer", "flips", "first", "ECE");

    for (size_t f = 0; f < r->n_files && ok; f++) {
        const gr_eval_file *file = &r->file[f];
        ok = stats_line(b, "", file->name, &file->stats);
        if (file->n_subsets > GR_TABLE_SUBSETS)
            ok = ok && gr_buf_printf(b, "  %zu subsets: see the JSON or the report\n", file->n_subsets);
        else
            for (size_t s = 0; s < file->n_subsets && file->n_subsets > 1 && ok; s++)
                ok = stats_line(b, "  ", *file->subset[s].name ? file->subset[s].name : "(none)",
                                &file->subset[s].stats);
    }
    return ok && gr_buf_puts(b, RULE "\n") && stats_line(b, "", "all rows (micro)", &r->all);
}

static bool mean_line(gr_buf *b, const char *name, gram_interval v)
{
    return gr_text_cell(b, name, NAME) && gr_buf_printf(b, "%7s", "") && gr_text_percent(b, v.value, 7) &&
        range(b, v) &&
        gr_buf_puts(b, "\n");
}

static bool rules(gr_buf *b, const gr_rule_result *r)
{
    static const char *const indent[] = { "", "  ", "    ", "" };
    bool ok = r->rules == GR_RULES_NONE || gr_buf_printf(b, "\n%s, scored by its own rules\n" RULE "\n",
                                                         gr_rules_name(r->rules));

    for (size_t k = 0; k < r->n && ok; k++) {
        const gr_rule_score *s = &r->score[k];
        ok = gr_buf_puts(b, indent[s->level]) && gr_text_cell(b, s->name, NAME - gr_text_width(indent[s->level])) &&
            gr_buf_printf(b, "%7" PRIu64, s->rows) && gr_text_percent(b, s->score.value, 7) && range(b, s->score) &&
            gr_buf_puts(b, s->level == GR_SCORE_ADDED ? "   (added here)\n" : "\n");
    }
    for (size_t k = 0; k < r->notes && ok; k++)
        ok = gr_buf_printf(b, "%s\n", r->note[k]);
    return ok;
}

static bool left_out(gr_buf *b, const gr_eval_result *r)
{
    const struct { uint64_t n; const char *what; } line[] = {
        { r->all.truncated, "judged on shortened text" }, { r->all.dropped, "dropped as too long" },
        { r->bad, "bad and skipped" }, { r->label_ties, "called a tie by the data and left out" },
        { r->resumed, "taken over from the run that was cut off" }
    };
    bool ok = true;

    for (size_t k = 0; k < GR_COUNT(line) && ok; k++)
        if (line[k].n)
            ok = gr_buf_printf(b, "%" PRIu64 " row%s %s\n", line[k].n, line[k].n == 1 ? "" : "s", line[k].what);
    return ok;
}

static bool spread(gr_buf *b, const gr_eval_spread *s)
{
    if (!s->rows)
        return true;
    return gr_buf_printf(b, "PURM: mean sigma %.3f; mean overlap u %.3f", s->sigma, s->overlap) &&
        (isnan(s->right) || gr_buf_printf(b, ", of rows judged right %.3f", s->right)) &&
        (isnan(s->wrong) || gr_buf_printf(b, ", judged wrong %.3f", s->wrong)) && gr_buf_puts(b, "\n") &&
        (s->lambda <= 0 || (gr_buf_printf(b, "right by mean - %g u:", s->lambda) &&
                            gr_text_percent(b, s->penalised.value, 7) &&
                            range(b, s->penalised) && gr_buf_puts(b, "\n")));
}

/* What a pair costs: nothing is known of the time where this run judged none. */
static bool cost(gr_buf *b, const gr_eval_votes *v, size_t k, double pairs_per_s)
{
    double seconds = gr_eval_vote_seconds(v, k, pairs_per_s);

    return gr_buf_printf(b, "%10.0f", v->point[k].tokens) &&
        (isnan(seconds) ? gr_buf_printf(b, "%9s\n", "-") : gr_buf_printf(b, "%9.2f\n", seconds));
}

static bool votes(gr_buf *b, const gr_eval_votes *v, double pairs_per_s)
{
    bool ok = true;

    if (!v->rationales)
        return true;
    ok = gr_buf_printf(b, "\n%-*s%7s%7s  %13s%10s%9s\n" RULE "\n", NAME, "by rationales", "votes", "right",
                       "95 % interval", "tokens", "seconds");
    for (size_t k = 0; k < v->points && ok; k++)
        for (int hard = 0; hard < 2 && ok; hard++) {
            gram_interval right = hard ? v->point[k].hard : v->point[k].soft;
            ok = gr_buf_printf(b, "%-*s%7zu", NAME, hard ? "  majority" : "mean of the verdicts", v->point[k].k) &&
                gr_text_percent(b, right.value, 7) && range(b, right) && cost(b, v, k, pairs_per_s);
        }
    ok = ok && gr_buf_printf(b, RULE "\n%" PRIu64 " rationales of %.0f tokens: closed by force", v->rationales,
                             (double)v->tokens / (double)v->rationales) &&
        gr_text_percent(b, (double)v->forced / (double)v->rationales, 6) &&
        gr_buf_puts(b, " %, contradicting their verdict") &&
        gr_text_percent(b, (double)v->contradicts / (double)v->rationales, 6) &&
        gr_buf_puts(b, " %, for the first seat") &&
        gr_text_percent(b, v->first_seat, 6) && gr_buf_puts(b, " %, unparsed 0\n");
    if (ok && !isnan(v->error))
        ok = gr_buf_printf(b, "standard error of a row's preference: %.3f in the mean\n", v->error);
    return ok && (!v->early || gr_buf_printf(b, "%" PRIu64 " rows whose first rationales agreed\n", v->early));
}

static bool temperature(gr_buf *b, const gr_eval_result *r)
{
    const gram_temperature_fit *f = &r->fit;

    if (r->facts.temperature > 0 && !gr_buf_printf(b, "probabilities at temperature %.4g\n", r->facts.temperature))
        return false;
    return !f->pairs ||
        gr_buf_printf(b, "temperature %.4g (95 %%: %.3g - %.3g) fits %" PRIu64 " pairs best: "
                         "ECE %.1f %% -> %.1f %%, mean -log p %.4f -> %.4f\n",
                      f->temperature, f->low, f->high, f->pairs, 100 * f->ece_before, 100 * f->ece_after,
                      f->nll_before, f->nll_after);
}

static bool footer(gr_buf *b, const gr_eval_result *r)
{
    bool ok = (r->n_files < 2 || mean_line(b, "mean of files (macro)", r->macro)) &&
        mean_line(b, "mean of subsets", r->macro_subsets) && rules(b, &r->rules) &&
        gr_buf_puts(b, "\n") && spread(b, &r->spread) && votes(b, &r->votes, r->pairs_per_s) && temperature(b, r) &&
        left_out(b, r);

    if (ok && !isnan(r->tokens_per_s))
        ok = gr_buf_printf(b, "%.1f s of judging: %.1f tokens/s, %.2f pairs/s\n", r->seconds, r->tokens_per_s,
                           r->pairs_per_s);
    return ok;
}

gram_status gr_eval_table(const gr_eval_result *r, gr_buf *out, gram_err *err)
{
    return files(out, r) && footer(out, r) ? GRAM_OK : gr_nomem(err, "evaluation table");
}
