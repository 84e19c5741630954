/* lenient.c - a line of JSON as people's programs write it.
 *
 * jansson refuses a whole line for what stands in one value: NaN and Infinity (Python writes them), integers beyond 64
 * bits, reals beyond a double, half a surrogate pair, U+0000. Such a line is read a second time with these put aside:
 * a number becomes an object that says what stood there, a character one of two noncharacters. Where nothing reads
 * them they do no harm; where something does, gr_json_odd() and gr_text_odd() tell it, and the row is refused by name.
 * Both passes are linear, and a failure of the second is told by its place in the line as it was. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "base/json.h"
#include "data/rows_int.h"
#include "file/table.h"

#define ODD  GR_TABLE_ODD               /* the one key of a number's object */
#define HALF "\xef\xb7\x90"             /* U+FDD0: half a surrogate pair stood here */
#define NUL  "\xef\xb7\x91"             /* U+FDD1: U+0000 did */

enum { LONGEST_NUMBER = 80 };

/* A line being mended: `from` is read into `to`. `until`: stop once `to` is that long; `at` is then where it was. */
struct mend {
    const char *from;
    size_t n, at, until;
    gr_buf to;
    unsigned odd;
    bool ok;
};

static void copy(struct mend *m, size_t n)
{
    m->ok = m->ok && gr_buf_add(&m->to, m->from + m->at, n);
    m->at += n;
}

/* The value of four hexadecimal digits after "\u" at i, or -1. */
static long unit_at(const struct mend *m, size_t i)
{
    char hex[5] = "", *end;
    long u;

    if (i >= m->n || m->n - i < 6 || m->from[i] != '\\' || m->from[i + 1] != 'u')
        return -1;
    memcpy(hex, m->from + i + 2, 4);
    u = strtol(hex, &end, 16);
    return strspn(hex, "0123456789abcdefABCDEF") == 4 ? u : -1;
}

static void mend_escape(struct mend *m)
{
    long u = unit_at(m, m->at), next = unit_at(m, m->at + 6);

    if (u >= 0xd800 && u < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
        copy(m, 12);
    } else if (u == 0 || (u >= 0xd800 && u < 0xe000)) {
        m->ok = m->ok && gr_buf_puts(&m->to, u ? "\\ufdd0" : "\\ufdd1");
        m->odd |= u ? GR_ODD_HALF : GR_ODD_NUL;
        m->at += 6;
    } else {
        copy(m, gr_min(2, m->n - m->at));
    }
}

static void mend_string(struct mend *m)
{
    copy(m, 1);
    while (m->ok && m->at < m->n && m->to.n < m->until) {
        const char *p = m->from + m->at, *end = p;
        while (end < m->from + m->n && *end != '"' && *end != '\\')
            end++;
        copy(m, (size_t)(end - p));
        if (m->at == m->n)
            break;
        if (m->from[m->at] == '"') {
            copy(m, 1);
            break;
        }
        mend_escape(m);
    }
}

static bool in_number(char c) { return (c >= '0' && c <= '9') || strchr("+-.eE", c); }

/* Whether a number is more than jansson can hold; the text of a number too long to look at is. */
static bool too_big(const char *p, size_t n)
{
    char text[1000];
    bool real = memchr(p, '.', n) || memchr(p, 'e', n) || memchr(p, 'E', n);

    if (n >= sizeof text)
        return !real;                   /* a long fraction is fine, and jansson rounds it */
    memcpy(text, p, n);
    text[n] = '\0';
    errno = 0;
    if (real)
        return isinf(strtod(text, NULL));
    (void)strtoll(text, NULL, 10);
    return errno == ERANGE;
}

static void put_aside(struct mend *m, size_t n)
{
    m->ok = m->ok && gr_buf_printf(&m->to, "{\"\\u001a" "as it stands\":\"%.*s%s\"}", (int)gr_min(n, LONGEST_NUMBER),
                                   m->from + m->at, n > LONGEST_NUMBER ? "..." : "");
    m->odd |= GR_ODD_NUMBER;
    m->at += n;
}

static void mend_value(struct mend *m)
{
    static const char *const word[] = { "NaN", "-NaN", "Infinity", "-Infinity" };
    const char *p = m->from + m->at;
    size_t left = m->n - m->at, n = 0;

    for (size_t i = 0; i < GR_COUNT(word); i++)
        if (strlen(word[i]) <= left && !strncmp(p, word[i], strlen(word[i]))) {
            put_aside(m, strlen(word[i]));
            return;
        }
    while (n < left && p[n] && in_number(p[n]))
        n++;
    if (n && too_big(p, n))
        put_aside(m, n);
    else
        copy(m, gr_max(n, 1));
}

static void mend(struct mend *m)
{
    m->ok = true;
    while (m->ok && m->at < m->n && m->to.n < m->until)
        if (m->from[m->at] == '"')
            mend_string(m);
        else
            mend_value(m);
}

/* jansson's sentence, with where it was in the line as it came. */
static gram_status refuse(const gr_at *at, const char *json, size_t bytes, const json_error_t *e, bool mended)
{
    const char *first = json;
    size_t n = bytes, where = e->position > 0 ? (size_t)e->position : 0;

    if (mended) {
        struct mend m = { .from = json, .n = bytes, .until = where };
        mend(&m);
        gr_buf_clear(&m.to);
        if (!m.ok)
            return gr_row_nomem(at);
        where = m.at;
    }
    while (n && strchr(" \t\r\n", *first)) {
        first++;
        n--;
    }
    if (n > 1 && *first == '{' && first[1] == '\'')
        return gr_bad(at, "not JSON but a dict as Python prints it: write each row with json.dumps()");
    if (at->line == 1 && !at->element && n && !strchr("{[", *first))
        return gr_bad(at, "byte %zu: not JSON: %s; wanted JSON Lines, one object a line", where, e->text);
    return gr_bad(at, "byte %zu: not JSON: %s", where, e->text);
}

gram_status gr_json_lenient(gr_at *at, const char *json, size_t bytes, json_t **out)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    struct mend m = { .from = json, .n = bytes, .until = SIZE_MAX };
    json_error_t e = { .text = "" };
    gram_status rc;

    at->odd = 0;
    *out = json_loadb(json, bytes, flags, &e);
    if (*out)
        return GRAM_OK;
    if (!*e.text || json_error_code(&e) == json_error_out_of_memory)    /* a failed malloc has no words */
        return gr_row_nomem(at);
    mend(&m);
    if (!m.ok || !m.odd) {
        gr_buf_clear(&m.to);
        return m.ok ? refuse(at, json, bytes, &e, false) : gr_row_nomem(at);
    }
    e = (json_error_t){ .text = "" };
    *out = json_loadb(m.to.p, m.to.n, flags, &e);
    gr_buf_clear(&m.to);
    at->odd = m.odd;
    if (*out)
        return GRAM_OK;
    rc = !*e.text || json_error_code(&e) == json_error_out_of_memory ? gr_row_nomem(at)
                                                                     : refuse(at, json, bytes, &e, true);
    return rc;
}

const char *gr_json_odd(const json_t *v)
{
    return json_object_size(v) == 1 ? json_string_value(json_object_get(v, ODD)) : NULL;
}

/* Inside a list or an object; jansson's own limit bounds the depth. */
const char *gr_json_find_odd(const gr_at *at, const json_t *v)
{
    const char *found = NULL, *key;
    json_t *each;
    size_t i;

    if (!at->odd || gr_json_odd(v))
        return gr_json_odd(v);
    if (json_is_string(v))
        return gr_text_odd(at, json_string_value(v));
    json_array_foreach(v, i, each)
        if (!found)
            found = gr_json_find_odd(at, each);
    json_object_foreach((json_t *)(uintptr_t)v, key, each)          /* the iterator takes no const; nothing changes */
        if (!found)
            found = gr_json_find_odd(at, each);
    return found;
}

const char *gr_text_odd(const gr_at *at, const char *text)
{
    if (!text)
        return NULL;
    if (at->odd & GR_ODD_HALF && strstr(text, HALF))
        return "a lone surrogate (half of a pair such as \\ud83d\\ude00), which is no character";
    return at->odd & GR_ODD_NUL && strstr(text, NUL) ? "a NUL character, which no text may hold" : NULL;
}

const char *gr_json_kind(const json_t *v)
{
    static const char *const kind[] = { "an object", "a list", "a string", "a number", "a number", "true", "false",
                                        "null" };

    if (gr_json_odd(v))
        return gr_json_odd(v);
    return v ? kind[json_typeof(v)] : "nothing";
}

json_t *gr_json_get(const json_t *o, const char *key)
{
    json_t *v = json_object_get(o, key);

    return json_is_null(v) ? NULL : v;
}

bool gr_json_number(const json_t *v, double *out)
{
    const char *s = json_string_value(v);
    char *end;

    *out = s ? 0 : json_number_value(v);
    if (!s)
        return json_is_number(v);
    if (!s[strspn(s, "+-.eE")] || strspn(s, "+-.eE0123456789") != strlen(s))
        return false;
    *out = strtod(s, &end);
    return !*end && isfinite(*out);
}

bool gr_json_flag(const json_t *v, bool *out)
{
    const char *s = json_string_value(v);

    *out = json_is_true(v) || (s && !strcasecmp(s, "true"));
    return json_is_boolean(v) || *out || (s && !strcasecmp(s, "false"));
}

bool gr_json_holds(const json_t *v)
{
    return v && !json_is_null(v) && !(json_is_string(v) && !json_string_length(v))
        && !(json_is_array(v) && !json_array_size(v)) && !(json_is_object(v) && !json_object_size(v));
}

char *gr_json_compact(const json_t *v)
{
    return gr_json_text(v, JSON_COMPACT | JSON_ENCODE_ANY);
}
