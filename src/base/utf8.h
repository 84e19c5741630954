/* utf8.h - bytes as UTF-8: where they are none, and what stands for them then. */
#ifndef GR_BASE_UTF8_H
#define GR_BASE_UTF8_H

#include <stdint.h>
#include "base/mem.h"

/* The offset of the first byte that is not part of well-formed UTF-8; n when there is none. */
size_t gr_utf8_bad(const char *s, size_t n);
/* Bytes of the character that starts with this byte, in text that gr_utf8_bad() has passed. */
static inline size_t gr_utf8_len(char lead)
{
    unsigned char c = (unsigned char)lead;

    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}
/* Appends s as well-formed UTF-8: what is none becomes U+FFFD, as in the Rust library and in browsers. */
bool gr_utf8_add(gr_buf *out, const char *s, size_t n);
int32_t gr_utf8_get(const char *s);                     /* the character at s, in well-formed text */
size_t gr_utf8_put(char s[4], int32_t c);               /* the bytes it took */

#endif
