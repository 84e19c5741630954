/* digest.h - FNV-1a, for telling whether two things are the same: not against somebody who wants them to look so. */
#ifndef GR_BASE_DIGEST_H
#define GR_BASE_DIGEST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GR_DIGEST 0xcbf29ce484222325u       /* of nothing */

static inline uint64_t gr_digest(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 0x100000001b3u;
    return h;
}

/* With its end, so that no two texts look like one. */
static inline uint64_t gr_digest_text(uint64_t h, const char *s)
{
    return gr_digest(h, s, strlen(s) + 1);
}

/* Over words of 4 bytes in place of bytes, for gigabytes: a word that changes always changes it. */
static inline uint64_t gr_digest_words(uint64_t h, const void *p, size_t words)
{
    for (size_t i = 0; i < words; i++) {
        uint32_t word;
        memcpy(&word, (const char *)p + i * sizeof word, sizeof word);
        h = (h ^ word) * 0x100000001b3u;
    }
    return h;
}

#endif
