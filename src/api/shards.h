/* shards.h - the outputs of runs over a share of the rows each: how they are called, and begun. */
#ifndef GR_API_SHARDS_H
#define GR_API_SHARDS_H

#include "api/api_int.h"

/* The options ask for one share of some, and the output is a file. */
gram_status gr_shard_check(const gram_file_options *o, const char *out, gram_err *err);
/* "OUT.shard-I-of-N", malloc'ed. */
gram_status gr_shard_name(const char *out, size_t share, size_t shares, char **name, gram_err *err);
/* What to do with a share that is there already: with resume it becomes a partial one again, otherwise it goes. */
gram_status gr_shard_again(const char *name, bool resume, gram_err *err);

/* Where `out` has no partial file, the lines of its shares become one, as if a run had been cut off behind its last
 * row; *there: so it was. GRAM_EIO: some of the shares are missing, or are of two runs; spare: then none is taken.
 * only > 0: shares of so many, whatever else is there. */
gram_status gr_shards_gather(const char *out, size_t only, bool spare, bool *there, gram_err *err);
/* Whether a share is there, whole or begun. */
gram_status gr_shards_any(const char *out, bool *any, gram_err *err);
gram_status gr_shards_remove(const char *out, gram_err *err);

/* The call over one share. It adds to its report, which is of all the shares of this process. */
typedef gram_status gr_share_fn(void *arg, const gram_file_options *o, gram_err *err);
/* Of o->workers: takes shares until none is left. *last: all processes have ended, and this one is to make the whole of
 * *shares, and to remove them. fn NULL: there is nothing to take. */
gram_status gr_shards_take(const char *out, const gram_file_options *o, gr_share_fn *fn, void *arg, size_t *shares,
                           bool *last, gram_err *err);
/* *one: the run goes on with an output that is whole, and there are no shares: one process does what is left, nothing
 * or the rows that were added. */
gram_status gr_shards_one(const char *out, const gram_file_options *o, bool *one, gram_err *err);
/* Makes a process's options those of a run by one process; whether this is the one, the first. */
bool gr_shards_alone(gram_file_options *o);
/* The same, and merges them where it ends the last. */
gram_status gr_shards_work(const char *out, const gram_file_options *o, gr_share_fn *fn, void *arg, gram_err *err);
/* The options of the run that makes the whole of it: it goes on with all rows, which are there, and says nothing of
 * them again. */
void gr_shards_whole(gram_file_options *o);
void gr_file_report_add(gram_file_report *to, const gram_file_report *r);

#endif
