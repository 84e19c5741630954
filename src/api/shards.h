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

#endif
