/* plot.c - see plot.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include "eval/figure.h"
#include "eval/plot.h"

#define MOST_POINTS 1500            /* in the scatter */
#define MOST_BARS 60

/* ---- Accuracy ---- */

static void accuracy_row(gr_page *p, const char *name, const gr_eval_stats *s, double y)
{
    static const gr_frame f = { 0, 1, 0, 1, GR_FIG_EDGE, 0, 1 };
    double low = gr_fig_x(&f, s->accuracy.low), high = gr_fig_x(&f, s->accuracy.high), mid = y + 25;

    gr_page_put(p, "<text class=\"s name\" x=\"%.1f\" y=\"%.1f\">", GR_FIG_EDGE, y + 14);
    gr_page_cut(p, *name ? name : "(none)", 40);
    gr_page_put(p, "</text>\n<text class=\"e strong\" x=\"%.1f\" y=\"%.1f\">", GR_FIG_RIGHT, y + 14);
    gr_page_percent(p, s->accuracy.value);
    gr_page_raw(p, "</text>\n");
    gr_fig_rect(p, "track", GR_FIG_EDGE, y + 19, GR_FIG_RIGHT - GR_FIG_EDGE, 12);
    if (isnan(s->accuracy.value))
        return;
    gr_fig_rect(p, "bar", GR_FIG_EDGE, y + 19, gr_fig_x(&f, s->accuracy.value) - GR_FIG_EDGE, 12);
    gr_fig_line(p, "whisk", low, mid, high, mid);
    gr_fig_line(p, "whisk", low, mid - 3, low, mid + 3);
    gr_fig_line(p, "whisk", high, mid - 3, high, mid + 3);
    gr_fig_line(p, "base", gr_fig_x(&f, s->longer.value), y + 16, gr_fig_x(&f, s->longer.value), y + 34);
}

void gr_plot_accuracy(gr_page *p, const gr_eval_result *r)
{
    const gr_eval_file *only = r->n_files == 1 && r->file[0].n_subsets > 1 ? &r->file[0] : NULL;
    size_t n = only ? only->n_subsets : r->n_files, shown = gr_min(n, MOST_BARS);
    double height = 40.0 * (double)shown + 46;
    gr_frame f = { 0, 1, 0, 1, GR_FIG_EDGE, 4, height - 42 };

    gr_fig_open(p, "acc", only ? "Accuracy by subset" : "Accuracy by file");
    gr_fig_svg(p, "acc", height, only ? "Accuracy by subset" : "Accuracy by file",
        "Horizontal bars of accuracy with 95 percent intervals; a vertical mark shows how often the longer answer is "
        "the better one. The same numbers are in the tables further down.");
    gr_fig_grid_x(p, &f, 4, "%.0f", 100);
    for (size_t k = 0; k < shown; k++)
        accuracy_row(p, only ? only->subset[k].name : r->file[k].name,
                     only ? &only->subset[k].stats : &r->file[k].stats, 40.0 * (double)k);
    gr_fig_line(p, "chance", gr_fig_x(&f, 0.5), f.top, gr_fig_x(&f, 0.5), f.bottom);
    gr_fig_rect(p, "bar", GR_FIG_EDGE, height - 13, 14, 8);
    gr_fig_word(p, "s", GR_FIG_EDGE + 19, height - 5, "accuracy, %");
    gr_fig_line(p, "whisk", GR_FIG_EDGE + 102, height - 9, GR_FIG_EDGE + 120, height - 9);
    gr_fig_word(p, "s", GR_FIG_EDGE + 126, height - 5, "95 % interval");
    gr_fig_line(p, "base", GR_FIG_EDGE + 226, height - 16, GR_FIG_EDGE + 226, height - 2);
    gr_fig_word(p, "s", GR_FIG_EDGE + 233, height - 5, "the longer answer wins");
    gr_page_raw(p, "</svg>\n");
    if (shown < n)
        gr_page_put(p, "<p class=\"note\">The first %zu of %zu; the tables hold all.</p>\n", shown, n);
    gr_page_raw(p, "</figure>\n");
}

/* ---- Calibration ---- */

static void reliability_bin(gr_page *p, const gr_frame *f, const gr_frame *counts, const gr_eval_bin *b, size_t k)
{
    double from = gr_fig_x(f, 0.5 + 0.5 * (double)k / GR_EVAL_BINS);
    double to = gr_fig_x(f, 0.5 + 0.5 * (double)(k + 1) / GR_EVAL_BINS);
    gram_interval v = b->accuracy;

    if (!b->rows)
        return;
    gr_fig_rect(p, "soft", from + 1, gr_fig_y(f, v.value), to - from - 2, f->bottom - gr_fig_y(f, v.value));
    gr_fig_whisker(p, gr_fig_x(f, b->confidence), f, v.low, v.high);
    gr_page_put(p, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", gr_fig_x(f, b->confidence),
                gr_fig_y(f, v.value));
    gr_fig_rect(p, "muted", from + 1, gr_fig_y(counts, (double)b->rows), to - from - 2,
                counts->bottom - gr_fig_y(counts, (double)b->rows));
}

static void reliability_numbers(gr_page *p, const gr_eval_stats *s)
{
    static const char *const head[] = { "confidence", "rows", "mean confidence", "accuracy", "95 % interval" };

    gr_fig_numbers(p, head, GR_COUNT(head));
    for (size_t k = 0; k < GR_EVAL_BINS; k++) {
        gr_page_put(p, "<tr><th scope=\"row\">%.1f to %.1f %%</th>", 50 + 50 * (double)k / GR_EVAL_BINS,
                    50 + 50 * (double)(k + 1) / GR_EVAL_BINS);
        gr_page_cell_count(p, s->bin[k].rows);
        gr_page_cell_percent(p, s->bin[k].confidence);
        gr_page_cell_percent(p, s->bin[k].accuracy.value);
        gr_page_cell_range(p, s->bin[k].accuracy);
        gr_page_raw(p, "</tr>\n");
    }
    gr_fig_close(p);
}

void gr_plot_reliability(gr_page *p, const char *id, const char *title, const gr_eval_stats *s)
{
    gr_frame f = { 0.5, 1, 0, 1, GR_FIG_LEFT, 8, 238 }, counts = { 0.5, 1, 0, 1, GR_FIG_LEFT, 278, 334 };

    for (size_t k = 0; k < GR_EVAL_BINS; k++)
        counts.y1 = fmax(counts.y1, (double)s->bin[k].rows);
    gr_fig_open(p, id, title);
    gr_fig_svg(p, id, 364, "Reliability diagram", "Accuracy in each of fifteen bins of confidence from 50 to 100 "
               "percent, with 95 percent intervals, against the diagonal of perfect calibration; below, the number of "
               "rows in each.");
    gr_fig_grid_y(p, &f, 4, "%.0f", 100);
    gr_fig_grid_x(p, &f, 5, "%.0f", 100);
    for (size_t k = 0; k < GR_EVAL_BINS; k++)
        reliability_bin(p, &f, &counts, &s->bin[k], k);
    gr_fig_line(p, "chance", gr_fig_x(&f, 0.5), gr_fig_y(&f, 0.5), gr_fig_x(&f, 1), gr_fig_y(&f, 1));
    gr_fig_word(p, "s", GR_FIG_LEFT, 270, "rows");
    gr_fig_line(p, "grid", GR_FIG_LEFT, counts.bottom, GR_FIG_RIGHT, counts.bottom);
    gr_fig_label(p, "e", GR_FIG_LEFT - 6, counts.top + 6, counts.y1, "%.0f");
    gr_fig_word(p, "m", GR_FIG_MIDDLE, 356, "confidence, % (dashes: as sure as right; y: accuracy, %)");
    gr_page_raw(p, "</svg>\n");
    reliability_numbers(p, s);
}

/* ---- Preferences ---- */

void gr_plot_preference(gr_page *p, const gr_eval_result *r)
{
    static const char *const head[] = { "preference", "rows" };
    gr_frame f = { 0, 1, 0, 1, GR_FIG_LEFT, 12, 210 };

    for (size_t k = 0; k < GR_EVAL_HISTOGRAM; k++)
        f.y1 = fmax(f.y1, (double)r->histogram[k]);
    gr_fig_open(p, "his", "Preference for the better answer");
    gr_fig_svg(p, "his", 244, "Histogram of preference", "How many rows have which preference for the better answer, "
               "in twenty bins from 0 to 1; those below one half are judged wrong.");
    gr_fig_grid_x(p, &f, 4, "%.2f", 1);
    gr_fig_line(p, "grid", GR_FIG_LEFT, f.bottom, GR_FIG_RIGHT, f.bottom);
    gr_fig_label(p, "e", GR_FIG_LEFT - 6, f.top + 8, f.y1, "%.0f");
    for (size_t k = 0; k < GR_EVAL_HISTOGRAM; k++) {
        double from = gr_fig_x(&f, (double)k / GR_EVAL_HISTOGRAM);
        double to = gr_fig_x(&f, (double)(k + 1) / GR_EVAL_HISTOGRAM);
        double y = gr_fig_y(&f, (double)r->histogram[k]);
        gr_fig_rect(p, k < GR_EVAL_HISTOGRAM / 2 ? "wrong" : "bar", from + 1, y, to - from - 2, f.bottom - y);
    }
    gr_fig_line(p, "chance", gr_fig_x(&f, 0.5), f.top, gr_fig_x(&f, 0.5), f.bottom);
    gr_fig_word(p, "s", GR_FIG_LEFT + 4, 240, "prefers the worse");
    gr_fig_word(p, "e", GR_FIG_RIGHT, 240, "prefers the better");
    gr_page_raw(p, "</svg>\n");
    gr_fig_numbers(p, head, GR_COUNT(head));
    for (size_t k = 0; k < GR_EVAL_HISTOGRAM; k++) {
        gr_page_put(p, "<tr><th scope=\"row\">%.2f to %.2f</th>", (double)k / GR_EVAL_HISTOGRAM,
                    (double)(k + 1) / GR_EVAL_HISTOGRAM);
        gr_page_cell_count(p, r->histogram[k]);
        gr_page_raw(p, "</tr>\n");
    }
    gr_fig_close(p);
}

/* ---- The two orders ---- */

static size_t scatter(gr_page *p, const gr_eval_result *r, const gr_frame *f)
{
    size_t step = (r->n_rows + MOST_POINTS - 1) / MOST_POINTS;

    for (size_t i = 0; i < r->n_rows; i += step ? step : 1) {
        const gr_eval_row *row = &r->row[i];
        if (!row->dropped && gr_eval_both(row))
            gr_page_put(p, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"2.4\"/>\n",
                        row->consistent ? "point" : "flip", gr_fig_x(f, row->p_forward), gr_fig_y(f, row->p_swapped));
    }
    return step;
}

/* A quarter of the plot, with its corner at x, y below. */
static void flip_zone(gr_page *p, const gr_frame *f, double x, double y)
{
    gr_fig_rect(p, "flipzone", gr_fig_x(f, x), gr_fig_y(f, y + 0.5), gr_fig_x(f, x + 0.5) - gr_fig_x(f, x),
                gr_fig_y(f, y) - gr_fig_y(f, y + 0.5));
}

void gr_plot_orders(gr_page *p, const gr_eval_result *r)
{
    static const char *const head[] = { "", "rows" };
    static const char *const name[2][2] = {
        { "both orders prefer the worse", "flip: only the second prefers the better" },
        { "flip: only the first prefers the better", "both orders prefer the better" }
    };
    gr_frame f = { 0, 1, 0, 1, GR_FIG_LEFT, 8, 330 };
    size_t step;

    if (isnan(r->all.flip_rate.value))
        return;                                     /* one order was read */
    gr_fig_open(p, "ord", "The two orders against each other");
    gr_fig_svg(p, "ord", 366, "Preference in both orders", "Each row as a point: preference for the better answer when "
               "it is read first, across, and when it is read second, upwards. Points in the upper left and lower "
               "right are flips.");
    flip_zone(p, &f, 0, 0.5);
    flip_zone(p, &f, 0.5, 0);
    gr_fig_grid_x(p, &f, 4, "%.2f", 1);
    gr_fig_grid_y(p, &f, 4, "%.2f", 1);
    step = scatter(p, r, &f);
    gr_fig_word(p, "s", gr_fig_x(&f, 0.03), gr_fig_y(&f, 0.95), "flip: second seat wins");
    gr_fig_word(p, "e", gr_fig_x(&f, 0.97), gr_fig_y(&f, 0.95), "both right");
    gr_fig_word(p, "s", gr_fig_x(&f, 0.03), gr_fig_y(&f, 0.45), "both wrong");
    gr_fig_word(p, "e", gr_fig_x(&f, 0.97), gr_fig_y(&f, 0.45), "flip: first seat wins");
    gr_fig_word(p, "m", GR_FIG_MIDDLE, 361, "better answer first (across), second (upwards)");
    gr_page_raw(p, "</svg>\n");
    if (step > 1)
        gr_page_put(p, "<p class=\"note\">One row in %zu is drawn; the numbers count all.</p>\n", step);
    gr_fig_numbers(p, head, GR_COUNT(head));
    for (size_t a = 0; a < 2; a++) {
        for (size_t b = 0; b < 2; b++) {
            gr_page_put(p, "<tr><th scope=\"row\">%s</th>", name[a][b]);
            gr_page_cell_count(p, r->quadrant[a][b]);
            gr_page_raw(p, "</tr>\n");
        }
    }
    gr_fig_close(p);
}

/* ---- Margin ---- */

static void margin_numbers(gr_page *p, const gr_eval_result *r)
{
    const char *const head[] = { gr_eval_by_rewards(r) ? "|difference of rewards|" : "|logit margin|", "rows", "mean",
                                 "accuracy", "95 % interval" };

    gr_fig_numbers(p, head, GR_COUNT(head));
    for (size_t k = 0; k < r->n_margins; k++) {
        const gr_eval_margin *m = &r->margin[k];
        gr_page_put(p, "<tr><th scope=\"row\">%.3g to %.3g</th>", m->low, m->high);
        gr_page_cell_count(p, m->rows);
        gr_page_put(p, "<td>%.3g</td>", m->margin);
        gr_page_cell_percent(p, m->accuracy.value);
        gr_page_raw(p, "<td>");
        gr_page_range(p, m->accuracy);
        gr_page_raw(p, "</td></tr>\n");
    }
    gr_fig_close(p);
}

void gr_plot_margin(gr_page *p, const gr_eval_result *r)
{
    gr_frame f = { 0, GR_EVAL_MARGINS, 0, 1, GR_FIG_LEFT, 8, 206 };
    bool rewards = gr_eval_by_rewards(r);

    gr_fig_open(p, "mar", "Accuracy by margin");
    gr_fig_svg(p, "mar", 244, "Accuracy by margin", rewards
               ? "Accuracy with 95 percent intervals of up to ten groups of equally many rows, from the smallest to "
                 "the largest absolute difference of the two rewards."
               : "Accuracy with 95 percent intervals of up to ten groups of equally many rows, from the smallest to "
                 "the largest absolute difference of the two label logits.");
    gr_fig_grid_y(p, &f, 4, "%.0f", 100);
    gr_fig_line(p, "chance", GR_FIG_LEFT, gr_fig_y(&f, 0.5), GR_FIG_RIGHT, gr_fig_y(&f, 0.5));
    for (size_t k = 0; k < r->n_margins; k++) {
        double x = gr_fig_x(&f, GR_EVAL_MARGINS * ((double)k + 0.5) / (double)r->n_margins);
        const gr_eval_margin *m = &r->margin[k];
        gr_fig_whisker(p, x, &f, m->accuracy.low, m->accuracy.high);
        gr_page_put(p, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n", x, gr_fig_y(&f, m->accuracy.value));
        gr_fig_label(p, "m small", x, f.bottom + 15, m->margin,
                     m->margin < 0.0995 ? "%.3f" : m->margin < 10 ? "%.2f" : "%.0f");
    }
    gr_fig_word(p, "m", GR_FIG_MIDDLE, 239, rewards ? "mean |difference of rewards| of a group of rows (y: accuracy, %)"
                                                     : "mean |logit margin| of a group of rows (y: accuracy, %)");
    gr_page_raw(p, "</svg>\n");
    margin_numbers(p, r);
}
