/* policy_page.c - see policy_page.h. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include "base/err.h"
#include "eval/figure.h"
#include "eval/policy_page.h"
#include "file/io.h"

enum { REWARD, LENGTH, ENTROPY, KL, GENERATE, JUDGE, REFERENCE, TRAIN, NUMBERS };
static const char *const key[NUMBERS] = { "reward", "completions/mean_length", "entropy", "kl", "time/generate",
                                          "time/judge", "time/reference", "time/train" };

/* A rollout, or held-out prompts that were judged; NAN where the file does not say. */
struct row { double step, x[NUMBERS]; };
struct rows { struct row *p; size_t n, cap; };
struct run { struct rows rollout, held; };

/* ---- Reading -------------------------------------------------------------------------------------- */

static double number_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    return json_is_number(v) ? json_number_value(v) : NAN;
}

static gram_status add(struct rows *to, const json_t *o, gram_err *err)
{
    struct row *grown = gr_grown(to->p, to->n, &to->cap, 1, sizeof *grown);

    if (!grown)
        return gr_nomem(err, "training report");
    to->p = grown;
    to->p[to->n].step = number_of(o, "step");
    for (size_t k = 0; k < NUMBERS; k++)
        to->p[to->n].x[k] = number_of(o, key[k]);
    to->n++;
    return GRAM_OK;
}

/* A step that begins no rollout takes its time to the one that it learns from. */
static gram_status take(struct run *r, const json_t *o, gram_err *err)
{
    double train = number_of(o, key[TRAIN]);

    if (json_object_get(o, "set") || isnan(number_of(o, "step")))
        return GRAM_OK;
    if (json_object_get(o, "held_loss"))
        return isnan(number_of(o, key[REWARD])) ? GRAM_OK : add(&r->held, o, err);
    if (!isnan(number_of(o, key[REWARD])))
        return add(&r->rollout, o, err);
    if (r->rollout.n && !isnan(train))
        r->rollout.p[r->rollout.n - 1].x[TRAIN] += train;
    return GRAM_OK;
}

typedef gram_status line_fn(void *arg, const json_t *o, gram_err *err);

/* Each line of OUT/name that is whole; no such file: none. */
static gram_status each_line(const char *out, const char *name, line_fn *fn, void *arg, gram_err *err)
{
    char *path = gr_path_join(out, name);
    gr_lines *lines = NULL;
    const char *text;
    size_t n;
    gram_status rc = path ? GRAM_OK : gr_nomem(err, out);

    if (!rc && gr_path_exists(path))
        rc = gr_lines_open(&lines, path, err);
    while (!rc && lines && !(rc = gr_lines_next(lines, &text, &n, err)) && text) {
        json_t *o = json_loadb(text, n, JSON_ALLOW_NUL, NULL);
        if (o)
            rc = fn(arg, o, err);
        json_decref(o);
    }
    gr_lines_close(lines);
    free(path);
    return rc;
}

static gram_status take_line(void *arg, const json_t *o, gram_err *err) { return take(arg, o, err); }

/* ---- Figures -------------------------------------------------------------------------------------- */

/* How far the answers of a row are from the reference: the root of the nats an answer, as Gao et al. draw it. */
static double distance(const struct row *w)
{
    return sqrt(fmax(0, w->x[KL] * w->x[LENGTH]));
}

/* Held-out prompts are judged behind a step: with the weights that the next rollout is written with. */
static double distance_at(const struct run *r, double step)
{
    for (size_t i = 0; i < r->rollout.n; i++)
        if (r->rollout.p[i].step > step)
            return distance(&r->rollout.p[i]);
    return NAN;
}

struct series { const char *name, *class, *dot; const struct rows *of; size_t number; };
struct chart { const char *id, *title, *what, *x; bool by_distance, from_zero; };

static double x_of(const struct run *r, const struct chart *c, const struct series *s, size_t i)
{
    const struct row *w = &s->of->p[i];

    if (!c->by_distance)
        return w->step;
    return s->of == &r->held ? distance_at(r, w->step) : distance(w);
}

static gr_frame frame_of(const struct run *r, const struct chart *c, const struct series *s, size_t n, int *ticks)
{
    gr_frame f = { 0, 0, INFINITY, -INFINITY, GR_FIG_LEFT, 8, 196 };

    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; i < s[k].of->n; i++) {
            double x = x_of(r, c, &s[k], i), y = s[k].of->p[i].x[s[k].number];
            if (!isfinite(x) || !isfinite(y))
                continue;
            f.x1 = fmax(f.x1, x);
            f.y0 = fmin(f.y0, c->from_zero ? fmin(0, y) : y);
            f.y1 = fmax(f.y1, y);
        }
    f.x1 = f.x1 > 0 ? f.x1 : 1;
    gr_fig_round(&f, ticks);
    return f;
}

static void draw(gr_page *p, const struct run *r, const struct chart *c, const gr_frame *f, const struct series *s)
{
    bool begun = false;

    gr_page_put(p, "<path class=\"%s\" d=\"", s->class);
    for (size_t i = 0; i < s->of->n; i++) {
        double x = x_of(r, c, s, i), y = s->of->p[i].x[s->number];
        if (!isfinite(x) || !isfinite(y))
            continue;
        gr_page_put(p, "%c%.1f %.1f", begun ? 'L' : 'M', gr_fig_x(f, x), gr_fig_y(f, y));
        begun = true;
    }
    gr_page_raw(p, begun ? "\"/>\n" : "M0 0\"/>\n");
    for (size_t i = 0; s->dot && i < s->of->n; i++) {
        double x = x_of(r, c, s, i), y = s->of->p[i].x[s->number];
        if (isfinite(x) && isfinite(y))
            gr_page_put(p, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", s->dot, gr_fig_x(f, x),
                        gr_fig_y(f, y));
    }
}

static bool has(const struct series *s)
{
    for (size_t i = 0; i < s->of->n; i++)
        if (isfinite(s->of->p[i].x[s->number]))
            return true;
    return false;
}

static void chart(gr_page *p, const struct run *r, const struct chart *c, const struct series *s, size_t n)
{
    int ticks;
    const gr_frame f = frame_of(r, c, s, n, &ticks);
    double every = gr_fig_nice(f.x1, 4), at = GR_FIG_LEFT;
    size_t drawn = 0;

    for (size_t k = 0; k < n; k++)
        drawn += has(&s[k]);
    if (!drawn)
        return;
    if (!c->by_distance)
        every = fmax(1, every);
    gr_fig_open(p, c->id, c->title);
    gr_fig_svg(p, c->id, 244, c->title, c->what);
    for (double x = 0; x <= f.x1; x += every) {
        gr_fig_line(p, "grid", gr_fig_x(&f, x), f.top, gr_fig_x(&f, x), f.bottom);
        gr_fig_label(p, "m", gr_fig_x(&f, x), f.bottom + 16, x, "%.4g");
    }
    gr_fig_grid_y(p, &f, ticks, "%.6g", 1);
    for (size_t k = 0; k < n; k++)
        if (has(&s[k])) {
            draw(p, r, c, &f, &s[k]);
            gr_page_put(p, "<path class=\"%s\" d=\"M%.1f %.1fh14\"/>\n", s[k].class, at, 234.0);
            gr_fig_word(p, "s", at + 18, 238, s[k].name);
            at += 84;
        }
    gr_fig_word(p, "e", GR_FIG_RIGHT, 238, c->x);
    gr_page_raw(p, "</svg>\n</figure>\n");
}

gram_status gr_policy_figures(gr_page *p, const char *out, gram_err *err)
{
    static const struct chart reward = { "reward", "Reward", "The mean reward of each rollout's answers, and of the "
        "greedy answers to held-out prompts by the judge that is not learnt from.", "step", false, false };
    static const struct chart far = { "distance", "Reward against the distance from the reference", "The same rewards "
        "over the root of the KL of an answer: where one goes on to rise and the other falls, the judge is exploited.",
        "root of nats an answer", true, false };
    static const struct chart length = { "length", "Length", "Mean tokens of an answer.", "step", false, true };
    static const struct chart entropy = { "entropy", "Entropy, nats a token", "Minus the mean log-probability of the "
        "tokens that were drawn.", "step", false, true };
    static const struct chart seconds = { "time", "Seconds by part", "Seconds of each rollout by part.", "step", false,
        true };
    struct run r = { { 0 }, { 0 } };
    gram_status rc = each_line(out, "metrics.jsonl", take_line, &r, err);
    const struct series rewards[] = { { "learnt from", "curve", "dot", &r.rollout, REWARD },
                                      { "held out", "held", "hdot", &r.held, REWARD } };
    const struct series lengths[] = { { "sampled", "curve", NULL, &r.rollout, LENGTH },
                                      { "held out", "held", "hdot", &r.held, LENGTH } };
    const struct series entropies[] = { { "sampled", "curve", NULL, &r.rollout, ENTROPY } };
    const struct series parts[] = { { "write", "curve", NULL, &r.rollout, GENERATE },
                                    { "judge", "held", NULL, &r.rollout, JUDGE },
                                    { "reference", "base thin", NULL, &r.rollout, REFERENCE },
                                    { "train", "chance thin", NULL, &r.rollout, TRAIN } };

    if (!rc && r.rollout.n) {
        gr_page_raw(p, "<h2>Rewards</h2>\n<div class=\"plots\">\n");
        chart(p, &r, &reward, rewards, GR_COUNT(rewards));
        if (has(&(struct series){ .of = &r.rollout, .number = KL }))
            chart(p, &r, &far, rewards, GR_COUNT(rewards));
        chart(p, &r, &length, lengths, GR_COUNT(lengths));
        chart(p, &r, &entropy, entropies, 1);
        chart(p, &r, &seconds, parts, GR_COUNT(parts));
        gr_page_raw(p, "</div>\n");
    }
    free(r.rollout.p);
    free(r.held.p);
    return rc;
}

/* ---- Samples -------------------------------------------------------------------------------------- */

enum { EACH = 8, MOST = 4096 };     /* samples of a step, and of a page */

/* Rollouts in their order: the step that learns of each first, and its lines. */
struct rollout { double step; size_t lines; };
struct counting { struct rollout *p; size_t n, cap; };

static gram_status count_line(void *arg, const json_t *o, gram_err *err)
{
    struct counting *c = arg;
    double step = number_of(o, "step");

    if (!c->n || c->p[c->n - 1].step != step) {
        struct rollout *grown = gr_grown(c->p, c->n, &c->cap, 1, sizeof *grown);
        if (!grown)
            return gr_nomem(err, "samples");
        c->p = grown;
        c->p[c->n++] = (struct rollout){ step, 0 };
    }
    c->p[c->n - 1].lines++;
    return GRAM_OK;
}

/* rollout, line: where the reading is, counted from 1; most: rollouts that are shown. */
struct showing { gr_page *p; const struct counting *c; size_t rollout, line, most; bool open; };

static double steps_of(const struct counting *c, size_t i)
{
    return i + 1 < c->n ? c->p[i + 1].step - c->p[i].step : i ? c->p[i].step - c->p[i - 1].step : 1;
}

/* Samples of a rollout: eight for each step that learns of it. */
static size_t share(const struct counting *c, size_t i)
{
    return gr_min(c->p[i].lines, (size_t)(EACH * fmin(fmax(1, steps_of(c, i)), MOST)));
}

static void close_step(struct showing *s)
{
    if (s->open)
        gr_page_raw(s->p, "</tbody></table></div></details>\n");
    s->open = false;
}

static void open_step(struct showing *s)
{
    const struct counting *c = s->c;
    size_t i = s->rollout - 1;
    double first = c->p[i].step, steps = steps_of(c, i);

    gr_page_put(s->p, "<details%s><summary>step%s %.0f", s->rollout == c->n ? " open=\"\"" : "", steps > 1 ? "s" : "",
                first);
    if (steps > 1)
        gr_page_put(s->p, " to %.0f", first + steps - 1);
    gr_page_raw(s->p, "</summary><div class=\"wide\" tabindex=\"0\"><table><thead><tr>"
                "<th scope=\"col\" class=\"t\">prompt</th><th scope=\"col\" class=\"t\">answer</th>"
                "<th scope=\"col\">reward</th></tr></thead><tbody>\n");
    s->open = true;
}

/* Whether the k-th of n, from 1, is one of `most` at equal distances, the first and the last among them. */
static bool chosen(size_t k, size_t n, size_t most)
{
    return n <= most || k == 1 || (k - 1) * (most - 1) / (n - 1) != (k - 2) * (most - 1) / (n - 1);
}

static void said(gr_page *p, const json_t *o, const char *name)
{
    const char *text = json_string_value(json_object_get(o, name));

    gr_page_raw(p, "<td class=\"t\" style=\"white-space:pre-wrap;vertical-align:top\">");
    gr_page_cut(p, text ? text : "(a conversation)", 600);
    gr_page_raw(p, "</td>");
}

static gram_status show_line(void *arg, const json_t *o, gram_err *err)
{
    struct showing *s = arg;
    const struct counting *c = s->c;

    (void)err;
    if (!s->rollout || s->line == c->p[s->rollout - 1].lines) {
        if (s->rollout == c->n)
            return GRAM_OK;                         /* lines that came since they were counted */
        close_step(s);
        s->rollout++;
        s->line = 0;
        if (chosen(s->rollout, c->n, s->most))
            open_step(s);
    }
    s->line++;
    if (!s->open || !chosen(s->line, c->p[s->rollout - 1].lines, share(c, s->rollout - 1)))
        return GRAM_OK;
    gr_page_raw(s->p, "<tr>");
    said(s->p, o, "prompt");
    said(s->p, o, "completion");
    gr_page_raw(s->p, "<td>");
    gr_page_share(s->p, number_of(o, "reward"), 3);
    gr_page_raw(s->p, "</td></tr>\n");
    return GRAM_OK;
}

gram_status gr_policy_samples(gr_page *p, const char *out, gram_err *err)
{
    struct counting c = { NULL, 0, 0 };
    struct showing s = { .p = p, .c = &c };
    gram_status rc = each_line(out, "samples.jsonl", count_line, &c, err);
    size_t all = 0;

    for (size_t i = 0; i < c.n; i++)
        all += share(&c, i);
    s.most = all <= MOST ? c.n : gr_max(2, c.n * MOST / all);
    if (!rc && c.n) {
        gr_page_raw(p, "<h2>Samples</h2>\n<p class=\"note\">Eight answers for each step, at equal distances among "
                    "those of the rollout that it learns of");
        gr_page_raw(p, s.most < c.n ? "; of rollouts at equal distances, since there are many.</p>\n" : ".</p>\n");
        rc = each_line(out, "samples.jsonl", show_line, &s, err);
        close_step(&s);
    }
    free(c.p);
    return rc;
}
