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
/* Bytes of the byte-order mark that a text begins with, as editors of Windows write it: 3 or 0. It is no part of what
 * was written there, in files of rows, JSON, judge prompts, templates and recipes alike. */
static inline size_t gr_utf8_mark(const char *s, size_t n)
{
    return n >= 3 && s[0] == '\xef' && s[1] == '\xbb' && s[2] == '\xbf' ? 3 : 0;
}
void gr_utf8_unmark(char *s, size_t *n);                /* takes it off a text that ends with a NUL */
/* Appends s as well-formed UTF-8: what is none becomes U+FFFD, as in the Rust library and in browsers. */
bool gr_utf8_add(gr_buf *out, const char *s, size_t n);
int32_t gr_utf8_get(const char *s);                     /* the character at s, in well-formed text */
size_t gr_utf8_put(char s[4], int32_t c);               /* the bytes it took */

#endif
