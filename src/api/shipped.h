/* shipped.h - where the shipped judge and a judge's base are. */
#ifndef GR_API_SHIPPED_H
#define GR_API_SHIPPED_H

#include "file/adapter.h"
#include "file/card.h"

/* The directory for what can be made or fetched again: GRAM_CACHE, or else gram in XDG_CACHE_HOME, or in ~/.cache. */
gram_status gr_shipped_cache(gr_buf *dir, gram_err *err);
/* The base of an adapter, malloc'ed: `given`, or what its card or its configuration name. */
gram_status gr_shipped_base(char **out, const gr_adapter *a, const gr_card *card, const char *given, gram_err *err);

#endif
