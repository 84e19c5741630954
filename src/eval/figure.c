/* figure.c - see figure.h. */
#include <math.h>
#include <stdio.h>
#include "eval/figure.h"

double gr_fig_nice(double range, double n)
{
    double raw = range / n, ten = pow(10, floor(log10(raw)));

    return raw <= ten ? ten : raw <= 2 * ten ? 2 * ten : raw <= 5 * ten ? 5 * ten : 10 * ten;
}

void gr_fig_round(gr_frame *f, int *ticks)
{
    double step;

    if (!(f->y1 > f->y0)) {                 /* nothing, or always the same */
        f->y0 = isfinite(f->y0) && f->y0 != 0 ? f->y0 - 0.5 : 0;
        f->y1 = f->y0 + 1;
    }
    step = gr_fig_nice(f->y1 - f->y0, 4);
    f->y0 = floor(f->y0 / step + 1e-9) * step;
    f->y1 = ceil(f->y1 / step - 1e-9) * step;
    *ticks = (int)fmin(12, fmax(1, round((f->y1 - f->y0) / step)));     /* 12: values that no run has */
}

double gr_fig_x(const gr_frame *f, double x)
{
    return f->left + (GR_FIG_RIGHT - f->left) * (x - f->x0) / (f->x1 - f->x0);
}

double gr_fig_y(const gr_frame *f, double y)
{
    return f->bottom - (f->bottom - f->top) * (y - f->y0) / (f->y1 - f->y0);
}

void gr_fig_open(gr_page *p, const char *id, const char *title)
{
    gr_page_put(p, "<figure aria-labelledby=\"%s-h\">\n<figcaption id=\"%s-h\">%s</figcaption>\n", id, id, title);
}

void gr_fig_svg(gr_page *p, const char *id, double height, const char *title, const char *description)
{
    gr_page_put(p, "<svg viewBox=\"0 0 400 %.0f\" role=\"img\" aria-labelledby=\"%s-t %s-d\">\n"
                "<title id=\"%s-t\">%s</title><desc id=\"%s-d\">%s</desc>\n", height, id, id, id, title, id,
                description);
}

void gr_fig_line(gr_page *p, const char *class, double x1, double y1, double x2, double y2)
{
    gr_page_put(p, "<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", class, x1, y1, x2, y2);
}

void gr_fig_rect(gr_page *p, const char *class, double x, double y, double w, double h)
{
    gr_page_put(p, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>\n", class, x, y,
                fmax(0, w), fmax(0, h));
}

void gr_fig_word(gr_page *p, const char *anchor, double x, double y, const char *text)
{
    gr_page_put(p, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", anchor, x, y, text);
}

void gr_fig_label(gr_page *p, const char *anchor, double x, double y, double value, const char *fmt)
{
    char text[32];

    snprintf(text, sizeof text, fmt, value);
    gr_fig_word(p, anchor, x, y, text);
}

void gr_fig_grid_y(gr_page *p, const gr_frame *f, int steps, const char *fmt, double unit)
{
    for (int k = 0; k <= steps; k++) {
        double y = f->y0 + (f->y1 - f->y0) * k / steps;
        gr_fig_line(p, "grid", GR_FIG_LEFT, gr_fig_y(f, y), GR_FIG_RIGHT, gr_fig_y(f, y));
        gr_fig_label(p, "e", GR_FIG_LEFT - 6, gr_fig_y(f, y) + 4, y * unit, fmt);
    }
}

void gr_fig_grid_x(gr_page *p, const gr_frame *f, int steps, const char *fmt, double unit)
{
    for (int k = 0; k <= steps; k++) {
        double x = f->x0 + (f->x1 - f->x0) * k / steps;
        gr_fig_line(p, "grid", gr_fig_x(f, x), f->top, gr_fig_x(f, x), f->bottom);
        gr_fig_label(p, k == steps ? "e" : "m", gr_fig_x(f, x) + (k == steps ? 10 : 0), f->bottom + 16, x * unit, fmt);
    }
}

void gr_fig_whisker(gr_page *p, double x, const gr_frame *f, double low, double high)
{
    gr_fig_line(p, "whisk", x, gr_fig_y(f, low), x, gr_fig_y(f, high));
    gr_fig_line(p, "whisk", x - 3, gr_fig_y(f, low), x + 3, gr_fig_y(f, low));
    gr_fig_line(p, "whisk", x - 3, gr_fig_y(f, high), x + 3, gr_fig_y(f, high));
}

void gr_fig_numbers(gr_page *p, const char *const *head, size_t n)
{
    gr_page_raw(p, "<details><summary>Numbers</summary><div class=\"wide\" tabindex=\"0\"><table><thead><tr>");
    for (size_t k = 0; k < n; k++)
        gr_page_put(p, "<th scope=\"col\">%s</th>", head[k]);
    gr_page_raw(p, "</tr></thead><tbody>\n");
}

void gr_fig_close(gr_page *p)
{
    gr_page_raw(p, "</tbody></table></div></details>\n</figure>\n");
}
