/* text.c - see text.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include "eval/text.h"

/* The code point at s and its bytes; a byte that starts none is U+FFFD, one byte long. */
static utf8proc_int32_t next_point(const char *s, size_t *bytes)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)strnlen(s, 4), &c);

    *bytes = n > 0 ? (size_t)n : 1;
    return n > 0 ? c : 0xfffd;
}

char *gr_text_clean(const char *s)
{
    gr_buf b = { 0 };
    bool ok = gr_buf_add(&b, "", 0);
    size_t n;

    for (; ok && *s; s += n)
        ok = next_point(s, &n) == 0xfffd ? gr_buf_puts(&b, "\xef\xbf\xbd") : gr_buf_add(&b, s, n);
    if (!ok)
        gr_buf_clear(&b);
    return b.p;
}

size_t gr_text_points(const char *s)
{
    size_t points = 0, n;

    for (; *s; s += n, points++)
        next_point(s, &n);
    return points;
}

static size_t point_width(utf8proc_int32_t c)
{
    int w = utf8proc_charwidth(c);

    return w > 0 ? (size_t)w : 0;
}

size_t gr_text_width(const char *s)
{
    size_t width = 0, n;

    for (; *s; s += n)
        width += point_width(next_point(s, &n));
    return width;
}

bool gr_text_cell(gr_buf *b, const char *s, size_t width)
{
    size_t all = gr_text_width(s), used = 0, n, w;
    bool ok = true;

    for (; ok && *s; s += n, used += w) {
        utf8proc_int32_t c = next_point(s, &n);
        w = point_width(c);
        if (all > width && used + w > width - 1)        /* room is kept for the ellipsis */
            break;
        if (w || c >= 0x300)                            /* control characters have no place in a table */
            ok = gr_buf_add(b, s, n);
    }
    if (*s && ok) {
        ok = gr_buf_puts(b, "\xe2\x80\xa6");
        used++;
    }
    for (; ok && used < width; used++)
        ok = gr_buf_add(b, " ", 1);
    return ok;
}

bool gr_text_json(gr_buf *b, const char *s)
{
    bool ok = s ? gr_buf_add(b, "\"", 1) : gr_buf_puts(b, "null");
    size_t n;

    if (!s)
        return ok;
    for (; ok && *s; s += n) {
        utf8proc_int32_t c = next_point(s, &n);
        if (c == '"' || c == '\\')
            ok = gr_buf_printf(b, "\\%c", (int)c);
        else if (c == '\n' || c == '\t' || c == '\r')
            ok = gr_buf_puts(b, c == '\n' ? "\\n" : c == '\t' ? "\\t" : "\\r");
        else if (c < 0x20 || c == 0x7f || c == 0xfffd)
            ok = gr_buf_printf(b, "\\u%04x", (unsigned)c);
        else
            ok = gr_buf_add(b, s, n);
    }
    return ok && gr_buf_add(b, "\"", 1);
}

bool gr_text_number(gr_buf *b, double x)
{
    char text[40];

    if (!isfinite(x))
        return gr_buf_puts(b, "null");
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x + 0.0);      /* "-0" would be read as the integer 0 */
        if (strtod(text, NULL) == x)
            break;
    }
    return gr_buf_puts(b, text);
}

bool gr_text_interval(gr_buf *b, gram_interval v)
{
    return gr_buf_puts(b, "{\"value\":") && gr_text_number(b, v.value) && gr_buf_puts(b, ",\"low\":") &&
        gr_text_number(b, v.low) && gr_buf_puts(b, ",\"high\":") && gr_text_number(b, v.high) && gr_buf_puts(b, "}");
}

bool gr_text_percent(gr_buf *b, double x, int width)
{
    return isnan(x) ? gr_buf_printf(b, "%*s", width, "-") : gr_buf_printf(b, "%*.1f", width, 100 * x);
}

bool gr_text_html(gr_buf *b, const char *s)
{
    bool ok = true;
    size_t n;

    for (; ok && *s; s += n) {
        utf8proc_int32_t c = next_point(s, &n);
        switch (c) {
        case '&':  ok = gr_buf_puts(b, "&amp;"); break;
        case '<':  ok = gr_buf_puts(b, "&lt;"); break;
        case '>':  ok = gr_buf_puts(b, "&gt;"); break;
        case '"':  ok = gr_buf_puts(b, "&quot;"); break;
        case '\'': ok = gr_buf_puts(b, "&#39;"); break;
        case '\r': ok = s[n] == '\n' || gr_buf_add(b, "\n", 1); break;
        case '\t': case '\n': ok = gr_buf_add(b, s, n); break;       /* <pre> shows them; elsewhere they are a space */
        default:                                        /* XML has no place for the other control characters */
            ok = c < 0x20 || c == 0xfffd || c == 0xfffe || c == 0xffff ? gr_buf_puts(b, "\xef\xbf\xbd")
                                                                       : gr_buf_add(b, s, n);
        }
    }
    return ok;
}

const char *gr_text_base(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}
