/* page.h - words for writing HTML: a buffer that remembers its first failure, so that a page reads as a page. */
#ifndef GR_EVAL_PAGE_H
#define GR_EVAL_PAGE_H

#include "base/mem.h"
#include "gram/gram.h"

typedef struct { gr_buf *b; bool ok; } gr_page;

void gr_page_raw(gr_page *p, const char *html);
/* Numbers and the program's own words only: what came from a file goes through gr_page_text(). At most 2 KiB. */
void gr_page_put(gr_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gr_page_text(gr_page *p, const char *s);           /* escaped */
void gr_page_cut(gr_page *p, const char *s, size_t columns);    /* escaped, cut with an ellipsis */
void gr_page_count(gr_page *p, uint64_t n);             /* 12,345 */
void gr_page_percent(gr_page *p, double x);             /* 54.8 %; a dash for NAN */
void gr_page_range(gr_page *p, gram_interval v);        /* 48.7 to 60.8 %; a dash for NAN */
void gr_page_share(gr_page *p, double x, int decimals); /* 0.123; a dash for NAN */

void gr_page_cell_count(gr_page *p, uint64_t n);        /* the same in a <td> */
void gr_page_cell_percent(gr_page *p, double x);
void gr_page_cell_range(gr_page *p, gram_interval v);
/* A number of the summary: its name, the value, its range and what it is, in the program's own words. */
void gr_page_card(gr_page *p, const char *name, gram_interval v, const char *what);
void gr_page_fact(gr_page *p, const char *name, const char *value);     /* <dt> and <dd>; NULL: left out */

/* From the doctype to the headline, which is `name`; `what` stands before it in the title. */
void gr_page_begin(gr_page *p, const char *what, const char *name);
void gr_page_end(gr_page *p);

#endif
