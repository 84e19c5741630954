/* cache_int.h - the file of cache.h, for its reader, its writer and the test that damages one. */
#ifndef GR_TRAIN_CACHE_INT_H
#define GR_TRAIN_CACHE_INT_H

#include <stddef.h>
#include <stdint.h>
#include "train/set_int.h"

#define GR_CACHE_MAGIC "GRAMROWS"
enum { GR_CACHE_VERSION = 3, GR_CACHE_HEAD = 16 };

/* Of a row; its text[] and target lie in the index. */
struct gr_cache_record {
    uint64_t digest;            /* of what follows, ids too */
    uint32_t n[2], shared;      /* ids of each sequence, and those that both begin with */
    uint32_t asked, asked_other, verdict;
    uint8_t right, tie, good, width;
    uint32_t zero;
    double weight, soft, margin;
    uint64_t prompt;
};
struct gr_cache_entry { uint64_t at, text[2]; double target; };
struct gr_cache_footer {
    uint64_t rows, index, warnings;         /* how many, and where these begin */
    uint64_t set, count[GR_SET_COUNTS];     /* gr_set's digest, and its counts in the order of gr_set_count[] */
    uint64_t longest, alone;
    double share;
    uint64_t digest_behind;                 /* of the bytes from the index to here */
    uint64_t digest;                        /* of this up to here */
};
_Static_assert(sizeof(struct gr_cache_record) == 72 && sizeof(struct gr_cache_entry) == 32 &&
               sizeof(struct gr_cache_footer) == 8 * (9 + GR_SET_COUNTS), "a file has no holes");

#endif
