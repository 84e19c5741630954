/* hash.h - FNV-1a: 64 bits that tell data apart, where nobody means harm. */
#ifndef GR_BASE_HASH_H
#define GR_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#define GR_HASH 0xcbf29ce484222325u         /* of nothing */

/* h goes on over n bytes. */
static inline uint64_t gr_hash(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    return h;
}

#endif
