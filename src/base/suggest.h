/* suggest.h - how far a name is from another, to say what was meant by one that is not there. */
#ifndef GR_BASE_SUGGEST_H
#define GR_BASE_SUGGEST_H

#include <stddef.h>

/* The name nearest to what was typed: all zeros but `typed` is ready. best is NULL where none is near. */
typedef struct { const char *typed, *best; size_t off; } gr_near;
void gr_near_try(gr_near *n, const char *name);
const char *gr_near_best(const gr_near *n);         /* near enough to be what was meant, or NULL */

#endif
