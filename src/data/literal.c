/* literal.c - a value written into a string: as JSON, or as Python or NumPy prints it.
 *
 * Tables that went through CSV or a data frame hold lists as text: "[{'role': 'user', 'content': 'Hi'}]", of NumPy
 * "array([{...}, {...}], dtype=object)" or with nothing but white space between two elements. Read here are lists,
 * tuples, dicts, strings with their escapes, numbers, True, False, None; one pass, bounded in depth. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/err.h"
#include "data/rows_int.h"
#include "text/utf8.h"

enum { DEEPEST = 64 };

typedef struct { const char *p; bool nomem; } literal;

static bool keep(literal *l, bool ok)
{
    l->nomem = l->nomem || !ok;
    return ok;
}

static void skip_space(literal *l)
{
    l->p += strspn(l->p, " \t\r\n");
}

static bool take(literal *l, const char *word)
{
    size_t n = strlen(word);

    skip_space(l);
    if (strncmp(l->p, word, n))
        return false;
    l->p += n;
    return true;
}

/* The digits after \x, \u or \U. Half of a surrogate pair and U+0000 are no characters. */
static bool hex_escape(literal *l, size_t digits, gr_buf *out)
{
    char hex[9] = "", utf8[4];
    int32_t u;

    memcpy(hex, l->p, strnlen(l->p, digits));
    if (strspn(hex, "0123456789abcdefABCDEF") != digits)
        return false;
    l->p += digits;
    u = (int32_t)strtol(hex, NULL, 16);
    if (u <= 0 || u > 0x10ffff || (u >= 0xd800 && u < 0xe000))
        return false;
    return keep(l, gr_buf_add(out, utf8, gr_utf8_put(utf8, u)));
}

static bool escape(literal *l, gr_buf *out)
{
    static const char from[] = "nrt\\'\"abfv", to[] = "\n\r\t\\'\"\a\b\f\v";
    const char *known = *l->p ? strchr(from, *l->p) : NULL;

    if (*l->p == 'x' || *l->p == 'u' || *l->p == 'U') {
        size_t digits = *l->p == 'x' ? 2 : *l->p == 'u' ? 4 : 8;
        l->p++;
        return hex_escape(l, digits, out);
    }
    if (!known)
        return false;                   /* Python prints no other */
    l->p++;
    return keep(l, gr_buf_add(out, &to[known - from], 1));
}

static json_t *string(literal *l)
{
    const char quote[] = { *l->p++, '\\', '\0' };
    gr_buf b = { 0 };
    bool ok = keep(l, gr_buf_puts(&b, ""));
    json_t *v;

    while (ok && *l->p && *l->p != *quote) {
        size_t n = strcspn(l->p, quote);
        ok = keep(l, gr_buf_add(&b, l->p, n));
        l->p += n;
        if (ok && *l->p == '\\') {
            l->p++;
            ok = escape(l, &b);
        }
    }
    ok = ok && *l->p++ == *quote;
    v = ok ? json_stringn(b.p, b.n) : NULL;
    gr_buf_clear(&b);
    return v;
}

static json_t *value(literal *l, int depth);

/* "(" or "[" was taken. NumPy puts no comma between two elements. */
static json_t *list(literal *l, const char *close, int depth)
{
    json_t *a = json_array();

    while (a && !take(l, close)) {
        json_t *v = value(l, depth);
        if (!v || json_array_append_new(a, v)) {
            json_decref(a);
            return NULL;
        }
        take(l, ",");
    }
    return a;
}

static json_t *dict(literal *l, int depth)
{
    json_t *o = json_object();

    while (o && !take(l, "}")) {
        json_t *key, *v = NULL;
        skip_space(l);
        key = *l->p == '\'' || *l->p == '"' ? string(l) : NULL;
        if (key && take(l, ":"))
            v = value(l, depth);
        if (!v || json_object_set_new(o, json_string_value(key), v)) {
            json_decref(key);
            json_decref(o);
            return NULL;
        }
        json_decref(key);
        if (!take(l, ",") && *l->p != '}') {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

static json_t *numpy_array(literal *l, int depth)
{
    json_t *a = take(l, "[") ? list(l, "]", depth) : NULL;

    if (a && take(l, ","))
        (void)take(l, "dtype=object");
    if (a && take(l, ")"))
        return a;
    json_decref(a);
    return NULL;
}

static json_t *number(literal *l)
{
    size_t n = strspn(l->p, "+-0123456789.eE");
    char *end;
    json_t *v;

    if (!n || n > 40)
        return NULL;
    if (strcspn(l->p, ".eE") >= n) {
        errno = 0;
        v = json_integer(strtoll(l->p, &end, 10));
        if (errno == ERANGE)                /* JSON as it is read here has no such integer either */
            end = NULL;
    } else {
        v = json_real(strtod(l->p, &end));
    }
    if (v && end != l->p + n) {
        json_decref(v);
        return NULL;
    }
    l->p += n;
    return v;
}

static json_t *value(literal *l, int depth)
{
    if (depth == DEEPEST)
        return NULL;
    skip_space(l);
    if (*l->p == '\'' || *l->p == '"')
        return string(l);
    if (take(l, "["))
        return list(l, "]", depth + 1);
    if (take(l, "("))
        return list(l, ")", depth + 1);
    if (take(l, "{"))
        return dict(l, depth + 1);
    if (take(l, "array("))
        return numpy_array(l, depth + 1);
    if (take(l, "True"))
        return json_true();
    if (take(l, "False"))
        return json_false();
    return take(l, "None") ? json_null() : number(l);
}

gram_status gr_literal_read(const gr_at *at, const char *s, json_t **out)
{
    json_error_t e = { .text = "" };
    literal l = { s, false };
    json_t *v;

    *out = json_loads(s, JSON_REJECT_DUPLICATES, &e);
    if (*out)
        return GRAM_OK;
    if (json_error_code(&e) == json_error_out_of_memory)
        return gr_row_nomem(at);
    v = value(&l, 0);
    skip_space(&l);
    if (v && !*l.p)
        *out = v;
    else
        json_decref(v);
    return l.nomem ? gr_row_nomem(at) : GRAM_OK;
}

/* ---- Messages in a string ------------------------------------------------------------------------ */

static bool is_message(const json_t *v)
{
    return (json_is_string(json_object_get(v, "role")) && (json_object_get(v, "content") ||
                                                            json_object_get(v, "tool_calls")))
        || (json_is_string(json_object_get(v, "from")) && json_object_get(v, "value"));
}

static bool are_messages(const json_t *v)
{
    size_t i;
    json_t *each;

    if (!json_is_array(v))
        return is_message(v);
    json_array_foreach(v, i, each)
        if (!is_message(each))
            return false;
    return json_array_size(v) > 0;
}

/* Whether a message could begin at s: a list or a dict whose first key is one of a message's. */
static bool begins_a_message(const char *s)
{
    static const char *const key[] = { "role", "content", "from", "value", "name", "tool_calls", "tool_call_id",
                                       "reasoning_content" };
    char quote;

    s += strspn(s, " \t\r\n");
    if (!strncmp(s, "array(", 6))
        s += 6;
    if (*s == '[')
        s += 1 + strspn(s + 1, " \t\r\n");
    if (*s != '{')
        return false;
    s += 1 + strspn(s + 1, " \t\r\n");
    quote = *s++;
    for (size_t i = 0; i < GR_COUNT(key) && (quote == '\'' || quote == '"'); i++) {
        size_t n = strlen(key[i]);
        if (!strncmp(s, key[i], n) && s[n] == quote)
            return true;
    }
    return false;
}

static bool has_key(const char *s, const char *key)
{
    char quoted[2][20];

    snprintf(quoted[0], sizeof quoted[0], "'%s'", key);
    snprintf(quoted[1], sizeof quoted[1], "\"%s\"", key);
    return strstr(s, quoted[0]) || strstr(s, quoted[1]);
}

gram_status gr_literal_messages(const gr_at *at, const char *key, const char *s, json_t **out)
{
    json_t *v = NULL;
    gram_status rc = begins_a_message(s) ? gr_literal_read(at, s, &v) : GRAM_OK;

    *out = NULL;
    if (rc)
        return rc;
    if (are_messages(v)) {
        *out = v;
        return GRAM_OK;
    }
    if (!v && begins_a_message(s) && ((has_key(s, "role") && has_key(s, "content")) ||
                                      (has_key(s, "from") && has_key(s, "value"))))
        return gr_bad(at, "key \"%s\": a list of messages in a string that is neither JSON nor what Python prints of "
                      "one: write the list itself", key);
    json_decref(v);
    return GRAM_OK;
}
