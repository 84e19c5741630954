/* text.h - text that came from a file, made fit for a table, a JSON string or an HTML page.
 *
 * Numbers are written as the C locale writes them; gr_eval_run() and gr_eval_compare() see to it that their thread has
 * that locale. */
#ifndef GR_EVAL_TEXT_H
#define GR_EVAL_TEXT_H

#include "base/mem.h"
#include "gram/gram.h"

/* A malloc'ed copy in which every byte that is not UTF-8 became U+FFFD, so that what is written can be read
 * back; NULL: out of memory. */
char *gr_text_clean(const char *s);
size_t gr_text_points(const char *s);                   /* code points; a stray byte counts as one */
size_t gr_text_width(const char *s);                    /* columns of a terminal */
bool gr_text_json(gr_buf *b, const char *s);            /* quoted and escaped; NULL gives null */
bool gr_text_number(gr_buf *b, double x);               /* the fewest digits that read back as x; null if not finite */
bool gr_text_interval(gr_buf *b, gram_interval v);      /* {"value":...,"low":...,"high":...} */
bool gr_text_percent(gr_buf *b, double x, int width);   /* 12.3, right-aligned; a dash where there is none */
bool gr_text_html(gr_buf *b, const char *s);            /* fit for text and for quoted attributes */
/* Padded with spaces to `width` columns, or cut to it with an ellipsis. */
bool gr_text_cell(gr_buf *b, const char *s, size_t width);
const char *gr_text_base(const char *path);             /* what follows the last slash */

#endif
