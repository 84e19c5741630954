/* utf8.c - see utf8.h. */
#include <string.h>
#include <utf8proc.h>
#include "text/utf8.h"

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

bool gr_char_space(int32_t c)
{
    return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool gr_char_numeric(int32_t c)
{
    if (c < 0x80)
        return c >= '0' && c <= '9';
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return false;
    }
}

bool gr_char_mark(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);

    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_ME;
}

bool gr_char_word(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default:        /* letters in circles and squares, and the two joiners */
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
               (c >= 0x1f170 && c <= 0x1f189) || c == 0x200c || c == 0x200d;
    }
}

bool gr_char_punct(int32_t c)
{
    if (c < 0x80)
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126);
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_PC: case UTF8PROC_CATEGORY_PD: case UTF8PROC_CATEGORY_PS: case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI: case UTF8PROC_CATEGORY_PF: case UTF8PROC_CATEGORY_PO:
        return true;
    default:
        return false;
    }
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
