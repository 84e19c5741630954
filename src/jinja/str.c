/* str.c - text that knows, byte by byte, where it came from. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "jinja/jinja_int.h"

/* ---- Reading ------------------------------------------------------------------------------------ */

bool gr_jmark(const jstr *s, size_t i) { return s->mark ? s->mark[i] : s->given; }

size_t gr_jchars(const jstr *s)
{
    if (s->chars == SIZE_MAX) {
        size_t n = 0;
        for (size_t i = 0; i < s->n; i++)
            n += ((unsigned char)s->p[i] & 0xc0) != 0x80;
        ((jstr *)(uintptr_t)s)->chars = n;
    }
    return s->chars;
}

size_t gr_joffset(const jstr *s, size_t chars)
{
    size_t i = 0;

    if (gr_jchars(s) == s->n)
        return gr_min(chars, s->n);
    for (; i < s->n && chars; chars--)
        for (i++; i < s->n && ((unsigned char)s->p[i] & 0xc0) == 0x80; i++)
            ;
    return i;
}

bool gr_jstr_is(const jstr *s, const char *word)
{
    return s->n == strlen(word) && !memcmp(s->p, word, s->n);
}

bool gr_jstr_eq(const jstr *a, const jstr *b)
{
    return a->n == b->n && (!a->n || !memcmp(a->p, b->p, a->n));
}

/* ---- Making ------------------------------------------------------------------------------------- */

const jstr *gr_jstr(jctx *j, const char *p, size_t n, bool given)
{
    jstr *s = gr_jalloc(j, sizeof *s);

    *s = (jstr){ .p = n ? p : "", .n = n, .chars = SIZE_MAX, .given = given };
    return s;
}

const jstr *gr_jlit(jctx *j, const char *s) { return gr_jstr(j, s, strlen(s), false); }

const jstr *gr_jsub(jctx *j, const jstr *s, size_t at, size_t n)
{
    jstr *sub;

    if (at == 0 && n == s->n)
        return s;
    sub = gr_jalloc(j, sizeof *sub);
    *sub = (jstr){ .p = s->p + at, .n = n, .chars = s->chars == s->n ? n : SIZE_MAX,
                   .mark = s->mark ? s->mark + at : NULL, .given = s->given, .safe = s->safe };
    return sub;
}

const char *gr_jcstr(jctx *j, const jstr *s)
{
    char *p = gr_jalloc(j, s->n + 1);

    memcpy(p, s->p, s->n);
    return p;
}

jbuf *gr_jbuf_new(jctx *j)
{
    jbuf *b = gr_jalloc(j, sizeof *b);

    b->j = j;
    return b;
}

static void room(jbuf *b, size_t n)
{
    if (n > JLIMIT_OUTPUT - gr_min(b->n, JLIMIT_OUTPUT))
        gr_jfail(b->j, GRAM_ELIMIT, "the chat template writes more than %zu MiB of text", JLIMIT_OUTPUT >> 20);
    gr_jstep(b->j, 1 + n / 64);
    b->p = gr_jgrow(b->j, b->p, b->n, &b->cap, n, 1);
}

/* Marks are kept only once there are two kinds of them. */
static void mark(jbuf *b, size_t n, const char *marks, bool given)
{
    bool mixed = b->any_given && b->any_own, was = b->any_given;

    b->any_given |= marks || given;
    b->any_own |= marks || !given;
    if (!(b->any_given && b->any_own))
        return;
    b->mark = gr_jgrow(b->j, b->mark, mixed ? b->n : 0, &b->cap_mark, mixed ? n : b->n + n, 1);
    if (!mixed)
        memset(b->mark, was, b->n);
    if (marks)
        memcpy(b->mark + b->n, marks, n);
    else
        memset(b->mark + b->n, given, n);
}

void gr_jbuf_bytes(jbuf *b, const char *p, size_t n, bool given)
{
    if (!n)
        return;
    room(b, n);
    mark(b, n, NULL, given);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

void gr_jbuf_puts(jbuf *b, const char *s) { gr_jbuf_bytes(b, s, strlen(s), false); }

void gr_jbuf_sub(jbuf *b, const jstr *s, size_t at, size_t n)
{
    if (!n)
        return;
    if (!s->mark) {
        gr_jbuf_bytes(b, s->p + at, n, s->given);
        return;
    }
    room(b, n);
    mark(b, n, s->mark + at, false);
    memcpy(b->p + b->n, s->p + at, n);
    b->n += n;
}

void gr_jbuf_add(jbuf *b, const jstr *s) { gr_jbuf_sub(b, s, 0, s->n); }

void gr_jbuf_char(jbuf *b, int32_t c, bool given)
{
    char s[4];

    gr_jbuf_bytes(b, s, gr_jput_char(s, c), given);
}

const jstr *gr_jbuf_str(jbuf *b)
{
    jstr *s = gr_jalloc(b->j, sizeof *s);

    *s = (jstr){ .p = b->n ? b->p : "", .n = b->n, .chars = SIZE_MAX, .given = b->any_given, .safe = b->safe,
                 .mark = b->any_given && b->any_own ? b->mark : NULL };
    return s;
}

const jstr *gr_jjoin(jctx *j, const jstr *a, const jstr *b)
{
    jbuf *out = gr_jbuf_new(j);

    gr_jbuf_add(out, a);
    gr_jbuf_add(out, b);
    return gr_jbuf_str(out);
}

/* ---- str() and repr() --------------------------------------------------------------------------- */

static void repr_str(jbuf *b, const jstr *s)
{
    bool single = memchr(s->p, '\'', s->n), dbl = memchr(s->p, '"', s->n);
    char quote = single && !dbl ? '"' : '\'', esc[16];

    if (s->safe)
        gr_jbuf_puts(b, "Markup(");
    gr_jbuf_bytes(b, &quote, 1, false);
    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        const char *e = NULL;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        if (c == quote || c == '\\')
            e = c == '\\' ? "\\\\" : quote == '"' ? "\\\"" : "\\'";
        else if (c == '\n' || c == '\r' || c == '\t')
            e = c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t";
        else if (!gr_jprintable(c)) {
            snprintf(esc, sizeof esc, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
            e = esc;
        }
        if (e)
            gr_jbuf_bytes(b, e, strlen(e), gr_jmark(s, i));
        else
            gr_jbuf_sub(b, s, i, len);
    }
    gr_jbuf_bytes(b, &quote, 1, false);
    if (s->safe)
        gr_jbuf_puts(b, ")");
}

static void repr_seq(jbuf *b, const jlist *l, const char *open, const char *close)
{
    gr_jbuf_puts(b, open);
    for (size_t i = 0; i < l->n; i++) {
        gr_jbuf_puts(b, i ? ", " : "");
        gr_jbuf_repr(b, l->v[i]);
    }
    gr_jbuf_puts(b, close);
}

static void repr_dict(jbuf *b, const jdict *d)
{
    gr_jbuf_puts(b, "{");
    for (size_t i = 0; i < d->n; i++) {
        gr_jbuf_puts(b, i ? ", " : "");
        gr_jbuf_repr(b, d->key[i]);
        gr_jbuf_puts(b, ": ");
        gr_jbuf_repr(b, d->val[i]);
    }
    gr_jbuf_puts(b, "}");
}

static void repr_range(jbuf *b, const jrange *r)
{
    gr_jbuf_puts(b, r->step == 1
                 ? gr_jprintf(b->j, "range(%" PRId64 ", %" PRId64 ")", r->start, r->stop)
                 : gr_jprintf(b->j, "range(%" PRId64 ", %" PRId64 ", %" PRId64 ")", r->start, r->stop, r->step));
}

/* Python shows an address in these, so no template can mean to write them. */
_Noreturn static void no_text(jbuf *b, jval v)
{
    gr_jfail(b->j, GRAM_EUNSUPPORTED, "the chat template writes a %s as text, which Python shows as an address",
             gr_jtype_name(v));
}

static void repr_other(jbuf *b, jval v)
{
    char num[32];

    switch (v.t) {
    case J_MISSING:
    case J_UNDEF: gr_jbuf_puts(b, "Undefined"); break;
    case J_NONE:  gr_jbuf_puts(b, "None"); break;
    case J_BOOL:  gr_jbuf_puts(b, v.b ? "True" : "False"); break;
    case J_INT:   gr_jbuf_puts(b, gr_jprintf(b->j, "%" PRId64, v.i)); break;
    case J_FLOAT:
        gr_jfloat_text(v.f, num);
        gr_jbuf_puts(b, num);
        break;
    case J_RANGE: repr_range(b, v.range); break;
    case J_MACRO:
        gr_jbuf_puts(b, "<Macro ");
        if (v.macro->name)
            repr_str(b, v.macro->name);
        else
            gr_jbuf_puts(b, "anonymous");
        gr_jbuf_puts(b, ">");
        break;
    case J_LOOP:
        gr_jbuf_puts(b, gr_jprintf(b->j, "<LoopContext %" PRId64 "/%zu>", v.loop->index0 + 1, gr_jlen(b->j, v)));
        break;
    default: no_text(b, v);
    }
}

void gr_jbuf_repr(jbuf *b, jval v)
{
    gr_jdeeper(b->j);
    switch (v.t) {
    case J_STR:   repr_str(b, v.s); break;
    case J_LIST:  repr_seq(b, v.l, "[", "]"); break;
    case J_TUPLE: repr_seq(b, v.l, "(", v.l->n == 1 ? ",)" : ")"); break;
    case J_DICT:  repr_dict(b, v.d); break;
    case J_VIEW: {
        static const char *const name[] = { "dict_keys([", "dict_values([", "dict_items([" };
        repr_seq(b, gr_jto_list(b->j, v).l, name[v.view->what], "])");
        break;
    }
    case J_NS:
        gr_jbuf_puts(b, "<Namespace ");
        repr_dict(b, v.d);
        gr_jbuf_puts(b, ">");
        break;
    default: repr_other(b, v);
    }
    gr_jshallower(b->j);
}

void gr_jbuf_val(jbuf *b, jval v)
{
    if (v.t == J_STR)
        gr_jbuf_add(b, v.s);
    else if (v.t != J_UNDEF && v.t != J_MISSING)
        gr_jbuf_repr(b, v);
}

const jstr *gr_jto_str(jctx *j, jval v)
{
    jbuf *b;

    if (v.t == J_STR)
        return v.s;
    b = gr_jbuf_new(j);
    gr_jbuf_val(b, v);
    return gr_jbuf_str(b);
}

const jstr *gr_jrepr_str(jctx *j, jval v)
{
    jbuf *b = gr_jbuf_new(j);

    gr_jbuf_repr(b, v);
    return gr_jbuf_str(b);
}

const char *gr_jrepr(jctx *j, jval v) { return gr_jcstr(j, gr_jrepr_str(j, v)); }

/* ---- What many need ----------------------------------------------------------------------------- */

static bool strips(const jstr *chars, const char *p, size_t len, int32_t c)
{
    if (!chars)
        return gr_jspace(c);
    for (size_t i = 0, n; i < chars->n; i += n) {
        int32_t other;
        n = gr_jget_char(chars->p + i, chars->n - i, &other);
        if (n == len && !memcmp(chars->p + i, p, n))
            return true;
    }
    return false;
}

const jstr *gr_jstrip(jctx *j, const jstr *s, const jstr *chars, bool left, bool right)
{
    size_t from = 0, to = s->n, len;
    int32_t c;

    while (left && from < to) {
        if (from % 16 == 0)
            gr_jstep(j, 1);
        len = gr_jget_char(s->p + from, to - from, &c);
        if (!strips(chars, s->p + from, len, c))
            break;
        from += len;
    }
    while (right && from < to) {
        size_t at = to - 1;
        if (to % 16 == 0)
            gr_jstep(j, 1);
        while (at > from && ((unsigned char)s->p[at] & 0xc0) == 0x80)
            at--;
        len = gr_jget_char(s->p + at, to - at, &c);
        if (!strips(chars, s->p + at, len, c))
            break;
        to = at;
    }
    return gr_jsub(j, s, from, to - from);
}

const jstr *gr_jescape(jctx *j, jval v)
{
    const jstr *s = gr_jto_str(j, v);
    jbuf *b = gr_jbuf_new(j);
    size_t done = 0;

    b->safe = true;
    for (size_t i = 0; i < s->n && !s->safe; i++) {
        const char *e = s->p[i] == '&' ? "&amp;" : s->p[i] == '<' ? "&lt;" : s->p[i] == '>' ? "&gt;"
                      : s->p[i] == '"' ? "&#34;" : s->p[i] == '\'' ? "&#39;" : NULL;
        if (!e)
            continue;
        gr_jbuf_sub(b, s, done, i - done);
        gr_jbuf_bytes(b, e, strlen(e), gr_jmark(s, i));
        done = i + 1;
    }
    gr_jbuf_sub(b, s, done, s->n - done);
    return gr_jbuf_str(b);
}
