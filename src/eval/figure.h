/* figure.h - words for drawing: inline SVG of 400 units' width in a frame with a grid, and the numbers behind it as a
 * table that opens on demand. Colours come from the page's CSS; text is the program's own. */
#ifndef GR_EVAL_FIGURE_H
#define GR_EVAL_FIGURE_H

#include "eval/page.h"

#define GR_FIG_LEFT 44.0            /* of a plot's frame, where numbers stand beside it, in units */
#define GR_FIG_EDGE 10.0            /* where none do */
#define GR_FIG_RIGHT 388.0
#define GR_FIG_MIDDLE ((GR_FIG_LEFT + GR_FIG_RIGHT) / 2)

/* A frame in which x and y run from lo to hi. */
typedef struct { double x0, x1, y0, y1, left, top, bottom; } gr_frame;
/* A step of 1, 2 or 5 times a power of ten that cuts `range` into about n parts. */
double gr_fig_nice(double range, double n);
/* Widens y0 to y1, which hold all that is drawn (y0 INFINITY: nothing is), to such steps; *ticks of them. */
void gr_fig_round(gr_frame *f, int *ticks);
double gr_fig_x(const gr_frame *f, double x);
double gr_fig_y(const gr_frame *f, double y);

/* <figure>, and the <svg> in it, which the caller closes with its own "</svg>". */
void gr_fig_open(gr_page *p, const char *id, const char *title);
void gr_fig_svg(gr_page *p, const char *id, double height, const char *title, const char *description);
void gr_fig_line(gr_page *p, const char *class, double x1, double y1, double x2, double y2);
void gr_fig_rect(gr_page *p, const char *class, double x, double y, double w, double h);
void gr_fig_word(gr_page *p, const char *anchor, double x, double y, const char *text);
void gr_fig_label(gr_page *p, const char *anchor, double x, double y, double value, const char *fmt);
/* Grid lines and their labels, values times `unit`; the y axis at the left, x at the bottom. */
void gr_fig_grid_y(gr_page *p, const gr_frame *f, int steps, const char *fmt, double unit);
void gr_fig_grid_x(gr_page *p, const gr_frame *f, int steps, const char *fmt, double unit);
void gr_fig_whisker(gr_page *p, double x, const gr_frame *f, double low, double high);
/* The table, whose rows the caller writes, and the end of the figure. */
void gr_fig_numbers(gr_page *p, const char *const *head, size_t n);
void gr_fig_close(gr_page *p);

#endif
