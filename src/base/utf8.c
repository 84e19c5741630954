/* utf8.c - see utf8.h. */
#include <string.h>
#include "base/utf8.h"

size_t gr_utf8_bad(const char *s, size_t n)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t i = 0;

    while (i < n) {
        unsigned c = p[i], low = 0x80, high = 0xbf;     /* what the second byte may be */
        size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

        if (c == 0xe0)
            low = 0xa0;                                 /* overlong */
        else if (c == 0xed)
            high = 0x9f;                                /* surrogates */
        else if (c == 0xf0)
            low = 0x90;
        else if (c == 0xf4)
            high = 0x8f;                                /* past U+10FFFF */
        if (len == 0 || len > n - i || (len > 1 && (p[i + 1] < low || p[i + 1] > high)))
            return i;
        for (size_t k = 2; k < len; k++)
            if ((p[i + k] & 0xc0) != 0x80)
                return i;
        i += len;
    }
    return n;
}

void gr_utf8_unmark(char *s, size_t *n)
{
    size_t mark = s ? gr_utf8_mark(s, *n) : 0;

    if (mark)
        memmove(s, s + mark, *n - mark + 1);
    *n -= mark;
}

int32_t gr_utf8_get(const char *s)
{
    const unsigned char *p = (const unsigned char *)s;

    switch (gr_utf8_len(*s)) {
    case 1:  return p[0];
    case 2:  return (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    case 3:  return (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    default: return (p[0] & 0x07) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    }
}

size_t gr_utf8_put(char s[4], int32_t c)
{
    if (c < 0x80) {
        s[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        s[0] = (char)(0xc0 | c >> 6);
        s[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        s[0] = (char)(0xe0 | c >> 12);
        s[1] = (char)(0x80 | (c >> 6 & 0x3f));
        s[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    s[0] = (char)(0xf0 | c >> 18);
    s[1] = (char)(0x80 | (c >> 12 & 0x3f));
    s[2] = (char)(0x80 | (c >> 6 & 0x3f));
    s[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* How many bytes one U+FFFD stands for: the longest start of a character there, or one byte. */
static size_t broken(const char *s, size_t n)
{
    size_t len = 1;

    while (len < n && len < 4 && ((unsigned char)s[len] & 0xc0) == 0x80) {
        char whole[4];
        size_t lead = (unsigned char)s[0] >= 0xc2 && (unsigned char)s[0] < 0xf5 ? gr_utf8_len(s[0]) : 0;
        bool fits = false;

        if (len + 1 >= lead)
            break;
        memcpy(whole, s, len + 1);
        for (int c = 0x80; c <= 0xbf && !fits; c++) {       /* does any next byte keep it well formed? */
            memset(whole + len + 1, 0x80, 4 - len - 1);
            whole[len + 1] = (char)c;
            fits = gr_utf8_bad(whole, lead) == lead;
        }
        if (!fits)
            break;
        len++;
    }
    return len;
}

bool gr_utf8_add(gr_buf *out, const char *s, size_t n)
{
    if (!gr_buf_add(out, "", 0))
        return false;
    while (n) {
        size_t good = gr_utf8_bad(s, n);
        if (!gr_buf_add(out, s, good))
            return false;
        s += good;
        n -= good;
        if (n) {
            size_t skip = broken(s, n);
            if (!gr_buf_puts(out, "\xef\xbf\xbd"))
                return false;
            s += skip;
            n -= skip;
        }
    }
    return true;
}
