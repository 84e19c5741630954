/* training_page.c - see training_page.h. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "eval/figure.h"
#include "eval/plot.h"
#include "eval/policy_page.h"
#include "eval/text.h"
#include "eval/training_page.h"
#include "reward/score.h"
#include "train/metrics_file.h"
#include "train/options.h"

#define POINTS 200                  /* of a curve; more steps than that are averaged in groups */
#define TABLE_ROWS 24               /* of the numbers by step */
#define DASH "\xe2\x80\x93"

struct run {
    const gr_run_facts *f;
    const gram_train_report *report;
    gr_metric *step, *held;         /* [n_steps], [n_held] */
    size_t n_steps, n_held;
    gr_eval_stats before, after;
    uint64_t gained, lost;          /* held-out rows that became right, and wrong */
};

/* ---- Reading -------------------------------------------------------------------------------------- */

static gram_status stats_of(const gr_held *h, const uint64_t *prompt, gr_eval_stats *out, gram_err *err)
{
    gr_eval_row *row = gr_calloc(h->n, sizeof *row);
    size_t *index = gr_calloc(h->n, sizeof *index);
    gram_status rc = row && index ? GRAM_OK : gr_nomem(err, "held-out rows");

    for (size_t i = 0; i < h->n && !rc; i++) {
        const double *p = h->p[i];
        row[i] = (gr_eval_row){ .prompt = prompt[i], .preference = (p[0] + p[1]) / 2, .p_forward = p[0],
                                .p_swapped = p[1], .consistent = gr_orders_agree(p[0] - 0.5, p[1] - 0.5), .cell = -1 };
        index[i] = i;
    }
    if (!rc)
        rc = gr_eval_stats_of(row, index, h->n, out, err);
    free(row);
    free(index);
    return rc;
}

static bool right(const gr_held *h, size_t i)
{
    return h->p[i][0] + h->p[i][1] > 1;
}

/* A set before and after; last: the step whose weights the run ends with, or has reached. Rows of another number are
 * somebody's own file. */
static gram_status read_set(struct run *r, const char *out, size_t k, uint64_t last, gram_err *err)
{
    gr_run_set *set = &r->f->set[k];
    gr_eval_stats other[2], *before = k ? &other[0] : &r->before, *after = k ? &other[1] : &r->after;
    gr_held was = { 0 }, is = { 0 };
    gram_status rc = gr_metrics_judged(out, 0, k, &was, err);

    if (!rc)
        rc = gr_metrics_judged(out, last, k, &is, err);
    was.n = was.n == set->rows ? was.n : 0;
    is.n = is.n == set->rows ? is.n : 0;
    if (!rc)
        rc = stats_of(&was, set->prompt, before, err);
    if (!rc)
        rc = stats_of(&is, set->prompt, after, err);
    if (!rc) {
        set->before = before->accuracy;
        set->after = after->accuracy;
    }
    for (size_t i = 0; i < gr_min(was.n, is.n) && k == 0; i++) {
        r->gained += right(&is, i) && !right(&was, i);
        r->lost += right(&was, i) && !right(&is, i);
    }
    free(was.p);
    free(is.p);
    return rc;
}

static gram_status read_sets(struct run *r, const char *out, uint64_t last, gram_err *err)
{
    gram_status rc = GRAM_OK;

    r->before.accuracy = r->after.accuracy = (gram_interval){ NAN, NAN, NAN };
    for (size_t k = 0; k < r->f->sets && !rc; k++)
        rc = read_set(r, out, k, last, err);
    return rc;
}

/* The loss of the first set behind a step; NAN: it was not judged then. */
static double loss_at(const struct run *r, uint64_t step)
{
    for (size_t i = r->n_held; i-- > 0; )
        if (r->held[i].step == step)
            return r->held[i].loss;
    return NAN;
}

/* The steps first, the times that the held-out rows were judged behind them. */
static gram_status read_run(struct run *r, const char *out, gram_err *err)
{
    gr_metric *all, *sorted;
    size_t n;
    gram_status rc = gr_metrics_read(out, &all, &n, err);

    if (rc)
        return rc;
    r->step = sorted = gr_calloc(n, sizeof *sorted);
    if (!sorted)
        rc = gr_nomem(err, out);
    for (int held = 0; held < 2 && !rc; held++) {
        r->held = sorted;
        for (size_t i = 0; i < n; i++)
            if (all[i].held == held && !all[i].set)
                *sorted++ = all[i];
        r->n_steps = held ? r->n_steps : (size_t)(sorted - r->step);
    }
    r->n_held = r->step ? (size_t)(sorted - r->held) : 0;
    free(all);
    return rc;
}

static uint64_t last_judged(const struct run *r)
{
    if (!r->f->stopped && r->f->opt->best)
        return r->report->best_step;
    return r->n_held ? r->held[r->n_held - 1].step : 0;
}

/* ---- Curves --------------------------------------------------------------------------------------- */

typedef double value_fn(const gr_metric *m);
static double loss_of(const gr_metric *m) { return m->loss; }
static double accuracy_of(const gr_metric *m) { return m->accuracy; }
static double lr_of(const gr_metric *m) { return m->lr; }
static double norm_of(const gr_metric *m) { return m->grad_norm; }
static double speed_of(const gr_metric *m) { return m->tokens_per_s; }

/* What a figure shows. held: the held-out rows have it too. smooth: single steps jump, so a mean over the steps before
 * is drawn over them. */
struct curve {
    const char *id, *title, *what;
    value_fn *value;
    bool held, smooth, from_zero;
    double unit;                    /* what is drawn is the value times this */
};

/* Steps that a mean is taken over: a twentieth of the run, ten at least. */
static size_t window(const struct run *r)
{
    return gr_max(10, r->n_steps / 20);
}

/* The mean over the steps [from, to). */
static double mean(const struct run *r, value_fn *value, size_t from, size_t to)
{
    double sum = 0;

    for (size_t i = from; i < to; i++)
        sum += value(&r->step[i]);
    return sum / (double)(to - from);
}

/* Point k of `points`: the steps of its group, or with smooth the window that ends with them. */
static double point(const struct run *r, const struct curve *c, size_t k, size_t points, bool smooth, double *step)
{
    size_t from = k * r->n_steps / points, to = (k + 1) * r->n_steps / points;

    *step = (double)r->step[to - 1].step;
    if (smooth)
        from = to > window(r) ? to - window(r) : 0;
    return c->unit * mean(r, c->value, from, to);
}

static void widen(gr_frame *f, double y)
{
    if (isfinite(y)) {
        f->y0 = fmin(f->y0, y);
        f->y1 = fmax(f->y1, y);
    }
}

/* The frame that holds all that is drawn; *ticks parts of its y axis. */
static gr_frame frame_of(const struct run *r, const struct curve *c, int *ticks)
{
    gr_frame f = { 0, (double)r->step[r->n_steps - 1].step, INFINITY, -INFINITY, GR_FIG_LEFT, 8, 196 };
    size_t points = gr_min(POINTS, r->n_steps);
    double step;

    for (size_t k = 0; k < points; k++)
        widen(&f, point(r, c, k, points, false, &step));
    for (size_t i = 0; i < r->n_held && c->held; i++)
        widen(&f, c->unit * c->value(&r->held[i]));
    if (c->from_zero)
        widen(&f, 0);
    gr_fig_round(&f, ticks);
    return f;
}

static void axis_x(gr_page *p, const gr_frame *f)
{
    double every = fmax(1, gr_fig_nice(f->x1, 4));

    for (double x = 0; x <= f->x1; x += every) {
        gr_fig_line(p, "grid", gr_fig_x(f, x), f->top, gr_fig_x(f, x), f->bottom);
        gr_fig_label(p, "m", gr_fig_x(f, x), f->bottom + 16, x, "%.0f");
    }
}

static void draw_steps(gr_page *p, const struct run *r, const struct curve *c, const gr_frame *f, bool smooth)
{
    size_t points = gr_min(POINTS, r->n_steps);
    double step;

    gr_page_put(p, "<path class=\"%s\" d=\"", smooth || !c->smooth ? "curve" : "faint");
    for (size_t k = 0; k < points; k++) {
        double y = point(r, c, k, points, smooth, &step);
        gr_page_put(p, "%c%.1f %.1f", k ? 'L' : 'M', gr_fig_x(f, step), gr_fig_y(f, y));
    }
    gr_page_raw(p, "\"/>\n");
}

static void draw_held(gr_page *p, const struct run *r, const struct curve *c, const gr_frame *f)
{
    gr_page_raw(p, "<path class=\"held\" d=\"");
    for (size_t i = 0; i < r->n_held; i++)
        gr_page_put(p, "%c%.1f %.1f", i ? 'L' : 'M', gr_fig_x(f, (double)r->held[i].step),
                    gr_fig_y(f, c->unit * c->value(&r->held[i])));
    gr_page_raw(p, "\"/>\n");
    for (size_t i = 0; i < r->n_held; i++)
        gr_page_put(p, "<circle class=\"hdot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n",
                    gr_fig_x(f, (double)r->held[i].step), gr_fig_y(f, c->unit * c->value(&r->held[i])));
}

/* What the colours mean, below the axis. */
static void legend(gr_page *p, const struct run *r, const struct curve *c, double y)
{
    char text[48];

    if (c->smooth) {
        gr_fig_rect(p, "bar", GR_FIG_LEFT, y - 6, 16, 3);
        snprintf(text, sizeof text, "training, mean of %zu steps", gr_min(window(r), r->n_steps));
        gr_fig_word(p, "s", GR_FIG_LEFT + 21, y, text);
    }
    if (c->held && r->n_held) {
        gr_page_put(p, "<circle class=\"hdot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\"/>\n", GR_FIG_MIDDLE + 34, y - 4);
        gr_fig_word(p, "s", GR_FIG_MIDDLE + 43, y, "held-out rows");
    }
    gr_fig_word(p, "e", GR_FIG_RIGHT, y, "step");
}

static void draw(gr_page *p, const struct run *r, const struct curve *c)
{
    int ticks;
    const gr_frame f = frame_of(r, c, &ticks);

    gr_fig_open(p, c->id, c->title);
    gr_fig_svg(p, c->id, 244, c->title, c->what);
    axis_x(p, &f);
    gr_fig_grid_y(p, &f, ticks, "%.6g", 1);
    draw_steps(p, r, c, &f, false);
    if (c->smooth)
        draw_steps(p, r, c, &f, true);
    if (c->held && r->n_held)
        draw_held(p, r, c, &f);
    legend(p, r, c, 238);
    gr_page_raw(p, "</svg>\n</figure>\n");
}

/* The learning rate in units of its peak's power of ten, so that the axis has short numbers. */
static void draw_rate(gr_page *p, const struct run *r)
{
    int ten = r->f->opt->lr > 0 ? (int)floor(log10(r->f->opt->lr)) : 0;
    char title[64];
    const struct curve c = { "lr", title, "The learning rate of each step.", lr_of, false, false, true, pow(10, -ten) };

    snprintf(title, sizeof title, "Learning rate, in units of 1e%d", ten);
    draw(p, r, &c);
}

/* Thousands have short numbers too. */
static void draw_speed(gr_page *p, const struct run *r)
{
    struct curve c = { "speed", "Tokens per second", "The tokens read per second in each step, and the mean over the "
                       "last steps.", speed_of, false, true, true, 1 };

    for (size_t i = 0; i < r->n_steps; i++)
        if (r->step[i].tokens_per_s >= 10000) {
            c.title = "Tokens per second, in thousands";
            c.unit = 1e-3;
        }
    draw(p, r, &c);
}

/* kto's rows have one answer each. */
static bool one_answer(const gr_run_facts *f)
{
    return f->opt->loss == GRAM_LOSS_KTO;
}

/* Whether rows have a verdict that is right or wrong: texts that are learnt alone have none. */
static bool has_verdicts(const gr_run_facts *f)
{
    return f->stage == GRAM_STAGE_FINETUNE && f->opt->loss != GRAM_LOSS_PROOF;
}

static void plots(gr_page *p, const struct run *r)
{
    const struct curve curve[] = {
        { "loss", "Loss", "The loss of each step's batch, its mean over the last steps, and that of the held-out "
          "rows.", loss_of, true, true, false, 1 },
        { "accuracy", "Accuracy, %", one_answer(r->f)
          ? "How often an answer's reward had the sign of its label, in each step's batch before it was learnt from, "
          "in the mean over the last steps, and on the held-out answers."
          : "How often the better answer was preferred, in each step's batch before it was "
          "learnt from, in the mean over the last steps, and on the held-out pairs.", accuracy_of, true, true, false,
          100 },
        { "norm", "Gradient norm, before clipping", "The norm of all gradients of each step.", norm_of, false, true,
          true, 1 },
    };

    gr_page_raw(p, "<h2>The run</h2>\n<div class=\"plots\">\n");
    for (size_t i = 0; i < GR_COUNT(curve); i++) {
        if (i != 1 || has_verdicts(r->f))
            draw(p, r, &curve[i]);
        if (i == 1)
            draw_rate(p, r);
    }
    draw_speed(p, r);
    gr_page_raw(p, "</div>\n");
    if (!r->after.rows)
        return;
    gr_page_raw(p, "<h2>Calibration on the held-out rows: is it as often right as it is sure?</h2>\n"
                "<div class=\"plots\">\n");
    gr_plot_reliability(p, "before", "Before training", &r->before);
    gr_plot_reliability(p, "after", "After", &r->after);
    gr_page_raw(p, "</div>\n");
}

/* ---- Words ---------------------------------------------------------------------------------------- */

static void head(gr_page *p, const gr_run_facts *f)
{
    gr_page_begin(p, "Training of ", f->model);
    gr_page_raw(p, "<p class=\"sub\">");
    gr_page_raw(p, f->stage == GRAM_STAGE_ALIGN ? "A policy learns from a judge&#8217;s rewards"
                : f->stage == GRAM_STAGE_PRETRAIN ? "Training, stage 1: to write pairs of answers"
                : gram_loss_is_policy(f->opt->loss) ? "A policy learns from preferences"
                : gram_loss_is_scalar(f->opt->loss) ? "Training of a reward model"
                : f->opt->loss == GRAM_LOSS_PROOF ? "Training of a prover: to write why an answer is better"
                : f->opt->loss == GRAM_LOSS_RATIONALE ? "Training of a judge that writes its reasons"
                                                    : "Training, stage 2: to give the verdict");
    if (f->date) {
        gr_page_raw(p, ", ");
        gr_page_text(p, f->date);
    }
    gr_page_raw(p, "</p>\n");
}

static void count(gr_page *p, uint64_t n, const char *one, const char *many)
{
    gr_page_count(p, n);
    gr_page_put(p, " %s", n == 1 ? one : many);
}

static void accuracy(gr_page *p, gram_interval v)
{
    gr_page_raw(p, "<strong>");
    gr_page_percent(p, v.value);
    gr_page_raw(p, "</strong> (95&#160;% interval ");
    gr_page_range(p, v);
    gr_page_raw(p, ")");
}

static void lead(gr_page *p, const struct run *r)
{
    gr_page_raw(p, r->f->stopped ? "<p class=\"lead\">The run was stopped after " : "<p class=\"lead\">In ");
    count(p, r->report->steps, "step", "steps");
    gr_page_raw(p, r->f->stopped ? ", and <code>--resume</code> goes on; over " : " over ");
    count(p, r->report->rows, "row", "rows");
    if (r->after.rows) {
        gr_page_raw(p, " the share of ");
        if (one_answer(r->f))
            count(p, r->after.rows, "held-out answer", "held-out answers");
        else
            count(p, r->after.rows, "held-out pair", "held-out pairs");
        gr_page_raw(p, one_answer(r->f) ? " whose reward had the sign of their label went from "
                                        : " in which the better answer was preferred went from ");
        accuracy(p, r->before.accuracy);
        gr_page_raw(p, " to ");
        accuracy(p, r->after.accuracy);
        gr_page_raw(p, ": ");
        count(p, r->gained, one_answer(r->f) ? "answer" : "pair", one_answer(r->f) ? "answers" : "pairs");
        gr_page_raw(p, " became right and ");
        gr_page_count(p, r->lost);
        gr_page_raw(p, " wrong");
    } else if (r->n_steps) {
        size_t few = gr_min(window(r), r->n_steps);
        gr_page_put(p, " the loss went from <strong>%.4g</strong> to <strong>%.4g</strong> (means of %zu steps)",
                    mean(r, loss_of, 0, few), mean(r, loss_of, r->n_steps - few, r->n_steps), few);
    }
    gr_page_raw(p, ".</p>\n");
}

static void card(gr_page *p, const char *name, const char *value, const char *what)
{
    gr_page_put(p, "<li><span>%s</span><b>%s</b><span>%s</span></li>\n", name, value, what);
}

static void cards(gr_page *p, const struct run *r)
{
    char value[32], what[64];
    const gram_train_report *t = r->report;

    gr_page_raw(p, "<ul class=\"cards\" aria-label=\"Summary\">\n");
    if (r->after.rows) {
        const char *of = one_answer(r->f) ? "held-out answers" : "held-out pairs";
        gr_page_card(p, "Accuracy before", r->before.accuracy, of);
        gr_page_card(p, "Accuracy after", r->after.accuracy, of);
        if (!gram_loss_is_scalar(r->f->opt->loss) && !gram_loss_is_policy(r->f->opt->loss))
            gr_page_card(p, "Flip rate after", r->after.flip_rate, "orders disagree");
        snprintf(value, sizeof value, "%.1f&#160;%%", 100 * r->after.ece);
        snprintf(what, sizeof what, "before %.1f&#160;%%", 100 * r->before.ece);
        card(p, "Calibration error", value, what);
    }
    if (r->n_steps) {
        size_t few = gr_min(window(r), r->n_steps);
        snprintf(value, sizeof value, "%.4f", mean(r, loss_of, r->n_steps - few, r->n_steps));
        snprintf(what, sizeof what, "mean of the last %zu steps", few);
        card(p, "Loss", value, what);
        gr_page_raw(p, "<li><span>Tokens/s</span><b>");
        gr_page_count(p, (uint64_t)llround(mean(r, speed_of, 0, r->n_steps)));
        gr_page_raw(p, "</b><span>mean of all steps</span></li>\n");
    }
    if (t->best_step && t->best_step < t->steps) {        /* otherwise it is the last, shown above */
        snprintf(value, sizeof value, "%" PRIu64, t->best_step);
        if (isnan(t->best_accuracy))
            snprintf(what, sizeof what, "held-out loss %.4f", t->best_loss);
        else
            snprintf(what, sizeof what, "%.1f&#160;%% of the held-out pairs", 100 * t->best_accuracy);
        card(p, "Best step", value, what);
    }
    gr_page_raw(p, "</ul>\n");
}

static void notes(gr_page *p, const struct run *r)
{
    const gram_train_report *t = r->report;
    const struct { uint64_t n; const char *what; } item[] = {
        { t->contradicting, "of the training data contradict another: the same pair with the opposite label" },
        { t->repeated, "of the training data repeat another" },
        { t->ties, gr_options_leave_ties(r->f->opt) ? "ties, and left out" : "of the training data are ties" },
        { t->truncated, "learnt from shortened text" },
        { t->alike, "left out, since both answers were the same text, as given or as cut" },
        { t->dropped, "left out as too long" },
        { t->bad, "bad and skipped" },
        { t->eval_seen, "held out and trained on as well: the accuracy on them says little" },
    };

    for (size_t i = 0; i < GR_COUNT(item); i++)
        if (item[i].n) {
            gr_page_raw(p, "<p class=\"note\">");
            count(p, item[i].n, "row", "rows");
            gr_page_put(p, " %s.</p>\n", item[i].what);
        }
    if (r->f->opt->best && r->after.rows && !r->f->stopped)
        gr_page_raw(p, "<p class=\"note\">The weights are those that judged these held-out rows best, so the "
                    "accuracy on them flatters.</p>\n");
}

/* ---- Tables --------------------------------------------------------------------------------------- */

static void cell(gr_page *p, const char *fmt, double x)
{
    char text[32];

    snprintf(text, sizeof text, fmt, x);
    gr_page_put(p, "<td>%s</td>", isnan(x) ? DASH : text);
}

static void table_open(gr_page *p, const char *summary, const char *const *name, size_t n)
{
    gr_page_put(p, "<details><summary>%s</summary><div class=\"wide\" tabindex=\"0\"><table><thead><tr>", summary);
    for (size_t i = 0; i < n; i++)
        gr_page_put(p, "<th scope=\"col\">%s</th>", name[i]);
    gr_page_raw(p, "</tr></thead><tbody>\n");
}

/* The held-out sets behind the first, before and after. */
static void further_sets(gr_page *p, const struct run *r)
{
    static const char *const name[] = { "set", "rows", "before", "after" };

    table_open(p, "Further held-out sets", name, GR_COUNT(name));
    for (size_t k = 1; k < r->f->sets; k++) {
        const gr_run_set *set = &r->f->set[k];
        gr_page_raw(p, "<tr><th scope=\"row\">");
        gr_page_text(p, set->name);
        gr_page_put(p, "</th><td>%zu</td>", set->rows);
        cell(p, "%.1f&#160;%%", 100 * set->before.value);
        cell(p, "%.1f&#160;%%", 100 * set->after.value);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div></details>\n");
}

static void numbers(gr_page *p, const struct run *r)
{
    static const char *const step[] = { "step", "loss", "accuracy", "learning rate", "gradient norm", "tokens/s" };
    static const char *const held[] = { "step", "loss", "accuracy" };
    size_t rows = gr_min(TABLE_ROWS, r->n_steps), judged = gr_min(TABLE_ROWS, r->n_held);

    gr_page_raw(p, "<h2>Numbers</h2>\n");
    table_open(p, rows < r->n_steps ? "Some of the steps; metrics.jsonl has all" : "Steps", step, GR_COUNT(step));
    for (size_t k = 1; k <= rows; k++) {
        const gr_metric *m = &r->step[k * r->n_steps / rows - 1];
        gr_page_put(p, "<tr><th scope=\"row\">%" PRIu64 "</th>", m->step);
        cell(p, "%.4f", m->loss);
        cell(p, "%.1f&#160;%%", 100 * m->accuracy);
        cell(p, "%.3g", m->lr);
        cell(p, "%.3g", m->grad_norm);
        cell(p, "%.0f", m->tokens_per_s);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div></details>\n");
    if (!judged)
        return;
    table_open(p, "Held-out rows", held, GR_COUNT(held));
    for (size_t k = 1; k <= judged; k++) {
        const gr_metric *m = &r->held[k * r->n_held / judged - 1];
        gr_page_put(p, "<tr><th scope=\"row\">%" PRIu64 "</th>", m->step);
        cell(p, "%.4f", m->loss);
        cell(p, "%.1f&#160;%%", 100 * m->accuracy);
        gr_page_raw(p, "</tr>\n");
    }
    gr_page_raw(p, "</tbody></table></div></details>\n");
}

static void number(gr_page *p, const char *name, double x)
{
    char text[32];

    snprintf(text, sizeof text, "%.6g", x);
    gr_page_fact(p, name, text);
}

/* The options that say something of this run, by their names. */
static void options(gr_page *p, const gr_run_facts *f)
{
    const gram_option *k;
    gr_buf b = { 0 };

    for (size_t i = 0; (k = gram_train_option(i)); i++) {
        if (!gr_option_tells(k, f->stage, f->opt))
            continue;
        b.n = 0;
        p->ok = p->ok && gr_option_print(&b, k, f->opt);
        gr_page_fact(p, k->name, b.p);
    }
    gr_buf_clear(&b);
}

static void settings(gr_page *p, const struct run *r)
{
    const gr_run_facts *f = r->f;

    gr_page_raw(p, "<h2>Data and settings</h2>\n<div class=\"box\"><dl>\n");
    gr_page_fact(p, "model", f->model);
    gr_page_fact(p, "training data", f->data);
    number(p, "rows", (double)r->report->rows);
    for (size_t k = 0; k < f->sets; k++) {
        gr_page_fact(p, k ? "further held-out data" : "held-out data", f->set[k].name);
        number(p, "held-out rows", (double)f->set[k].rows);
    }
    number(p, "steps taken", (double)r->report->steps);
    gr_page_fact(p, "trained", f->opt->lora_rank ? "adapters" : f->opt->freeze ? "the reward head alone"
                                                                              : "every weight");
    options(p, f);
    gr_page_fact(p, "processor", f->cpu);
    gr_page_put(p, "<dt>memory, estimated</dt><dd>%.2f GiB</dd>\n",
                (double)r->report->memory_bytes / (1024.0 * 1024 * 1024));
    gr_page_put(p, "<dt>%s</dt><dd>%.0f&#160;min %02.0f&#160;s</dd>\n",
                r->report->resumed ? "time since the resume" : "time", floor(r->report->seconds / 60),
                floor(fmod(r->report->seconds, 60)));
    gr_page_fact(p, "date", f->date);
    gr_page_raw(p, "<dt>program</dt><dd>gram " GRAM_VERSION "</dd>\n</dl></div>\n");
}

/* Whether a policy's loss is measured against a reference. */
static bool referred(const gr_run_facts *f)
{
    return f->opt->loss != GRAM_LOSS_SIMPO && f->opt->loss != GRAM_LOSS_ORPO;
}

static const char *accuracy_means(const gr_run_facts *f)
{
    if (one_answer(f))
        return "Share of answers whose reward, beta times their log-probability over the reference\u2019s less the "
               "mean distance, is above 0 where they are good and below where they are not; 0 counts half.";
    if (gram_loss_is_policy(f->opt->loss))
        return referred(f) ? "Share of pairs whose better answer has the larger log-probability over the "
                             "reference\u2019s; equal ones count half. Before the first step all are equal, but for "
                             "the last digits."
                           : "Share of pairs whose better answer has the larger mean log-probability of a token; equal "
                             "ones count half.";
    if (gram_loss_is_scalar(f->opt->loss))
        return "Share of pairs whose better answer has the larger reward; equal ones count half.";
    return "Share of pairs whose better answer has a preference above one half, reading orders averaged; exactly one "
           "half counts half.";
}

static void definitions(gr_page *p, const gr_run_facts *f)
{
    gr_page_raw(p, "<h2>What the numbers mean</h2>\n<div class=\"box\"><dl>\n");
    if (f->stage == GRAM_STAGE_PRETRAIN)
        gr_page_raw(p, "<dt>loss</dt><dd>-log of the probability of a token of the two answers, the mean over those "
                    "of a batch.</dd>\n");
    else if (f->stage == GRAM_STAGE_ALIGN)
        gr_page_raw(p, "<dt>loss</dt><dd>What a step of the policy makes smaller; its size says little. Of held-out "
                    "prompts: the mean reward of the greedy answers, with its sign turned.</dd>\n");
    else if (gram_loss_is_policy(f->opt->loss))
        gr_page_put(p, "<dt>loss</dt><dd>Of the %s%s, the mean over the rows of a batch.</dd>\n",
                    one_answer(f) ? "answer\u2019s log-probability" : "two answers\u2019 log-probabilities",
                    referred(f) ? " against the reference\u2019s" : "");
    else if (gram_loss_writes(f->opt->loss))
        gr_page_put(p, "<dt>loss</dt><dd>-log of the probability of a token of the reasons%s, the mean over the tokens "
                    "of a batch.</dd>\n", f->opt->loss == GRAM_LOSS_PROOF ? ""
                    : "; a verdict adds the cross-entropy of the two labels, times <code>verdict-weight</code>");
    else
        gr_page_raw(p, gram_loss_is_scalar(f->opt->loss)
                    ? "<dt>loss</dt><dd>Of the two answers&#8217; rewards, the mean over the rows of a batch.</dd>\n"
                    : "<dt>loss</dt><dd>Cross-entropy of the two labels against the target, the mean over both reading "
                      "orders and the rows of a batch.</dd>\n");
    if (has_verdicts(f))
        gr_page_put(p, "<dt>accuracy</dt><dd>%s In a batch, before it is learnt from.</dd>\n"
                    "<dt>95&#160;%% interval</dt><dd>Wilson&#8217;s, at a number of rows that is reduced where rows "
                    "share a prompt and agree more than chance.</dd>\n"
                    "<dt>calibration error</dt><dd>Mean distance between confidence and accuracy over fifteen bins of "
                    "confidence.</dd>\n", accuracy_means(f));
    gr_page_raw(p, "<dt>gradient norm</dt><dd>Of all gradients of a step together.</dd>\n"
                "<dt>tokens/s</dt><dd>Tokens read, each sequence whole although what sequences share is computed "
                "once.</dd>\n</dl></div>\n");
}

static gram_status write_page(const struct run *r, const char *dir, gr_buf *out, gram_err *err)
{
    bool policy = r->f->stage == GRAM_STAGE_ALIGN;
    gr_page p = { out, true };
    gram_status rc = GRAM_OK;

    head(&p, r->f);
    lead(&p, r);
    cards(&p, r);
    notes(&p, r);
    if (policy)
        rc = gr_policy_figures(&p, dir, err);
    if (r->n_steps)
        plots(&p, r);
    if (!rc && policy)
        rc = gr_policy_samples(&p, dir, err);
    if (r->n_steps)
        numbers(&p, r);
    if (r->f->sets > 1 && r->f->stage == GRAM_STAGE_FINETUNE)
        further_sets(&p, r);
    settings(&p, r);
    definitions(&p, r->f);
    gr_page_end(&p);
    return rc || p.ok ? rc : gr_nomem(err, "training report");
}

gram_status gr_eval_training(const char *out, const gr_run_facts *f, gram_train_report *report, gr_buf *page,
                             gram_err *err)
{
    struct run r = { .f = f, .report = report };
    gram_status rc = read_run(&r, out, err);

    if (!rc)
        rc = read_sets(&r, out, last_judged(&r), err);
    if (!rc) {
        report->loss_before = loss_at(&r, 0);
        report->loss_after = loss_at(&r, last_judged(&r));
        report->before = r.before.accuracy;
        report->after = r.after.accuracy;
    }
    if (!rc && page)
        rc = write_page(&r, out, page, err);
    free(r.step);
    return rc;
}
