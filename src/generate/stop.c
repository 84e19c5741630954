/* stop.c - see stop.h. */
#include <string.h>
#include "base/err.h"
#include "base/utf8.h"
#include "generate/stop.h"

gram_status gr_stops_check(const gr_stops *s, gram_err *err)
{
    for (size_t i = 0; i < s->n_texts; i++) {
        size_t n = s->text[i] ? strlen(s->text[i]) : 0;
        if (!s->text[i])
            return gr_fail(err, GRAM_EARG, "stop: string %zu: wanted a text, found NULL", i);
        if (n == 0)
            return gr_fail(err, GRAM_EARG, "stop: string %zu is empty, which would stop every answer before it begins",
                           i);
        if (gr_utf8_bad(s->text[i], n) != n)
            return gr_fail(err, GRAM_EARG, "stop: string %zu is not UTF-8, so no text can have it", i);
    }
    return GRAM_OK;
}

bool gr_stops_at(const gr_stops *s, int32_t id)
{
    for (size_t i = 0; i < s->n_ids; i++)
        if (s->id[i] == id)
            return true;
    return false;
}

static size_t longest(const gr_stops *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_texts; i++)
        n = gr_max(n, strlen(s->text[i]));
    return n;
}

bool gr_stops_cut(const gr_stops *s, gr_buf *text, size_t newest)
{
    size_t reach = newest + longest(s), from = text->n > reach ? text->n - reach : 0;
    char *first = NULL;

    for (size_t i = 0; i < s->n_texts && text->n; i++) {
        char *p = memmem(text->p + from, text->n - from, s->text[i], strlen(s->text[i]));
        if (p && (!first || p < first))
            first = p;
    }
    if (first) {
        text->n = (size_t)(first - text->p);
        *first = '\0';
    }
    return first != NULL;
}

/* The longest end of the text that begins a stop string. */
static size_t pending(const gr_stops *s, const gr_buf *text)
{
    size_t most = 0;

    for (size_t i = 0; i < s->n_texts; i++)
        for (size_t n = gr_min(strlen(s->text[i]) - 1, text->n); n > most; n--)
            if (!memcmp(text->p + text->n - n, s->text[i], n)) {
                most = n;
                break;
            }
    return most;
}

size_t gr_stops_settled(const gr_stops *s, const gr_buf *text)
{
    size_t n = text->n - pending(s, text);

    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = (unsigned char)text->p[n - back];
        if ((c & 0xc0) == 0x80)
            continue;
        return c >= 0xc0 && gr_utf8_len((char)c) > back ? n - back : n;     /* a character that is not whole yet */
    }
    return n;
}
