/* plot.h - the figures of the report: inline SVG that takes its colours from the page's CSS, each followed by its
 * numbers as a table. All are 400 units wide, so that their text stays readable on a phone. */
#ifndef GR_EVAL_PLOT_H
#define GR_EVAL_PLOT_H

#include "eval/page.h"
#include "eval/result.h"

void gr_plot_accuracy(gr_page *p, const gr_eval_result *r);     /* bars with intervals beside the longer baseline */
/* Confidence against accuracy, with counts; the title is the program's own words. */
void gr_plot_reliability(gr_page *p, const char *id, const char *title, const gr_eval_stats *s);
void gr_plot_preference(gr_page *p, const gr_eval_result *r);   /* histogram */
void gr_plot_orders(gr_page *p, const gr_eval_result *r);       /* forward against swapped, flips marked */
void gr_plot_margin(gr_page *p, const gr_eval_result *r);       /* accuracy by |logit margin| */

#endif
