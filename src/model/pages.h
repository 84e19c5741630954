/* pages.h - the memory of keys and values: pages of GR_PAGE positions each, for every layer or for one.
 *
 *     page    [layers][keys, values][GR_PAGE][kv_width]
 *
 * Who shares a prefix shares its node in the tree of kv.h, so a page has one holder. */
#ifndef GR_MODEL_PAGES_H
#define GR_MODEL_PAGES_H

#include "op/attn.h"

enum { GR_PAGE = 32 };          /* a text wastes half of it on average, and a walk over keys meets a border so often */

typedef struct gr_pages gr_pages;
/* type: of the numbers in them; bytes: what the pages in use may take together. d is borrowed. */
gram_status gr_pages_open(gr_pages **out, gr_device *d, size_t layers, size_t kv_width, gr_dtype type, size_t bytes,
                          gram_err *err);
void gr_pages_close(gr_pages *p);               /* NULL is fine */
gr_dtype gr_pages_type(const gr_pages *p);
size_t gr_page_bytes(const gr_pages *p);        /* of one */
size_t gr_pages_used(const gr_pages *p);        /* pages that are held */

bool gr_page_take(gr_pages *p, uint32_t *page);     /* false: the budget is spent, or the memory */
void gr_page_drop(gr_pages *p, uint32_t page);

/* Where attention finds a layer's keys and values; until the next page is taken. */
gr_attn_store gr_pages_store(const gr_pages *p, size_t layer);
/* Where the rows of a page lie on the device, from `first` on. */
gr_mat gr_page_keys(const gr_pages *p, size_t layer, uint32_t page, size_t first);
gr_mat gr_page_values(const gr_pages *p, size_t layer, uint32_t page, size_t first);

#endif
