/* cache.h - the examples of a set in a file that is mapped, so that the processes of a machine share one copy of them
 * and read what a step takes.
 *
 *     | "GRAMROWS" | u32 version | u32 n, bytes of the key | key | rows ... | index | warnings | footer |
 *
 *     row      struct record, then the ids of the first sequence and those of the second behind what both begin with,
 *              2 bytes each where all of the row fit, 3 otherwise
 *     index    struct entry for each row: where it lies, and what is asked of all rows
 *     footer   struct footer: counts and places, a digest of the index and warnings, and one of itself
 *
 * Numbers are little-endian; key, rows and what follows begin at multiples of 8. The key says all that the examples
 * depend on, as text: a file of another key is another set's. Opening proves header, index and footer, so that each
 * row lies within the file; a row proves itself, by its sizes, its digest and the vocabulary, each time that it is
 * taken. */
#ifndef GR_TRAIN_CACHE_H
#define GR_TRAIN_CACHE_H

#include "train/set.h"

/* *out gets the counts and the digest of its set, and the file as out->cache. GRAM_EFORMAT: it is no such file, or one
 * of another key. vocabulary: ids are below it. */
gram_status gr_cache_open(gr_set *out, const char *path, const char *key, size_t vocabulary, gram_err *err);
void gr_cache_close(gr_cache *c);               /* NULL is fine */
const char *gr_cache_path(const gr_cache *c);
uint64_t gr_cache_bytes(const gr_cache *c);
void gr_cache_forget(gr_cache *c);              /* its name goes when it is closed */
/* Row i into *room, all but ref. */
gram_status gr_cache_get(const gr_cache *c, size_t i, gr_example *room, gram_err *err);
void gr_cache_pair(const gr_cache *c, size_t i, uint64_t text[2], double *target);
/* Sentences about rows that were left out; at: 0 at first. NULL: no more. */
const char *gr_cache_warning(const gr_cache *c, size_t *at);

/* A file that takes its name when it is whole. */
typedef struct gr_cache_writer gr_cache_writer;
gram_status gr_cache_create(gr_cache_writer **out, const char *path, const char *key, gram_err *err);
gram_status gr_cache_add(gr_cache_writer *w, const gr_example *e, gram_err *err);
gram_status gr_cache_warn(gr_cache_writer *w, const char *text, gram_err *err);
uint64_t gr_cache_written(const gr_cache_writer *w);        /* bytes that the file would have now */
gram_status gr_cache_finish(gr_cache_writer *w, gr_set *counts, gram_err *err);
void gr_cache_drop(gr_cache_writer *w);         /* closes it; without gr_cache_finish() nothing stays. NULL is fine */

#endif
