/* utf8.h - the few words about UTF-8 and characters that the tokenizer needs. */
#ifndef GR_TEXT_UTF8_H
#define GR_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
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

bool gr_char_space(int32_t c);                          /* Unicode White_Space */
bool gr_char_numeric(int32_t c);                        /* Nd, Nl, No */
bool gr_char_mark(int32_t c);                           /* Mn, Mc, Me */
bool gr_char_word(int32_t c);                           /* \w: letters, marks, digits, connectors, joiners */
bool gr_char_punct(int32_t c);                          /* ASCII punctuation and P* */

#endif
