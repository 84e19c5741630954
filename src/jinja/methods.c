/* methods.c - the methods of Python's str, list, tuple and dict, and of Jinja's loop, cycler and joiner. */
#include "jinja/jinja_int.h"

#define ARGS(required, ...) \
    static const char *const names_[] = { __VA_ARGS__ }; \
    jval arg[GR_COUNT(names_)]; \
    gr_jbind(j, __func__ + 2, a, required, GR_COUNT(names_), names_, arg)

static void no_args(jctx *j, const char *fn, const jargs *a)
{
    if (a->n || a->n_kw)
        gr_jraise(j, "%s() takes no arguments (%zu given)", fn, a->n + a->n_kw);
}

static const jstr *text(jctx *j, jval v, const char *what)
{
    if (v.t != J_STR)
        gr_jraise(j, "%s must be str, not %s", what, gr_jtype_name(v));
    return v.s;
}

static int64_t number(jctx *j, jval v, int64_t otherwise)
{
    return v.t == J_MISSING ? otherwise : gr_jindex(j, v);
}

/* ---- Searching ---------------------------------------------------------------------------------- */

/* s[from:to], with what str.find() and its like take; *at is where it begins, in bytes. false: beyond the end. */
static bool window(jctx *j, const jstr *s, jval from, jval to, const jstr **out, size_t *at)
{
    int64_t n = (int64_t)gr_jchars(s), a = from.t == J_NONE ? 0 : number(j, from, 0);
    int64_t b = to.t == J_NONE ? n : number(j, to, n);
    size_t end;

    a = a < 0 ? (a + n > 0 ? a + n : 0) : a;
    b = b < 0 ? (b + n > 0 ? b + n : 0) : b > n ? n : b;
    if (a > n || b < a)
        return false;
    *at = gr_joffset(s, (size_t)a);
    end = gr_joffset(s, (size_t)b);
    *out = gr_jsub(j, s, *at, end - *at);
    return true;
}

/* Where x first or last stands in s, from `at` on; SIZE_MAX: nowhere. */
static size_t search(const jstr *s, const jstr *x, size_t at, bool last)
{
    if (!last) {
        const char *p = x->n ? memmem(s->p + at, s->n - at, x->p, x->n) : s->p + at;
        return p ? (size_t)(p - s->p) : SIZE_MAX;
    }
    for (size_t i = s->n + 1; i-- > at; )
        if (s->n - i >= x->n && !memcmp(s->p + i, x->p, x->n))
            return i;
    return SIZE_MAX;
}

static jval find(jctx *j, const jstr *s, const jval arg[3], bool last, bool must)
{
    const jstr *part = NULL, *x = text(j, arg[0], "sub");
    size_t base = 0, at = SIZE_MAX;

    gr_jstep(j, s->n / 16);
    if (window(j, s, arg[1], arg[2], &part, &base))
        at = search(part, x, 0, last);
    if (at == SIZE_MAX && must)
        gr_jraise(j, "substring not found");
    return gr_jint(at == SIZE_MAX ? -1 : (int64_t)gr_jchars(gr_jsub(j, s, 0, base + at)));
}

static jval m_find(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sub", "start", "end");
    return find(j, v.s, arg, false, false);
}
static jval m_rfind(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sub", "start", "end");
    return find(j, v.s, arg, true, false);
}
static jval m_index(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sub", "start", "end");
    return find(j, v.s, arg, false, true);
}
static jval m_rindex(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sub", "start", "end");
    return find(j, v.s, arg, true, true);
}

static jval m_count(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sub", "start", "end");
    const jstr *part, *x = text(j, arg[0], "sub");
    size_t base, at = 0;
    int64_t n = 0;

    gr_jstep(j, v.s->n / 16);
    if (!window(j, v.s, arg[1], arg[2], &part, &base))
        return gr_jint(0);
    if (!x->n)
        return gr_jint((int64_t)gr_jchars(part) + 1);
    for (; (at = search(part, x, at, false)) != SIZE_MAX; at += x->n)
        n++;
    return gr_jint(n);
}

static bool borders(const jstr *s, const jstr *x, bool end)
{
    return x->n <= s->n && !memcmp(s->p + (end ? s->n - x->n : 0), x->p, x->n);
}

static jval affix(jctx *j, jval v, const jval arg[3], bool end, const char *fn)
{
    const jstr *part;
    size_t base;

    if (arg[0].t != J_STR && arg[0].t != J_TUPLE)
        gr_jraise(j, "%s first arg must be str or a tuple of str, not %s", fn, gr_jtype_name(arg[0]));
    if (!window(j, v.s, arg[1], arg[2], &part, &base))
        return gr_jbool(false);
    if (arg[0].t == J_STR)
        return gr_jbool(borders(part, arg[0].s, end));
    for (size_t i = 0; i < arg[0].l->n; i++)
        if (borders(part, text(j, arg[0].l->v[i], "tuple for affix"), end))
            return gr_jbool(true);
    return gr_jbool(false);
}

static jval m_startswith(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "prefix", "start", "end");
    return affix(j, v, arg, false, "startswith");
}
static jval m_endswith(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "suffix", "start", "end");
    return affix(j, v, arg, true, "endswith");
}

/* ---- Cutting ------------------------------------------------------------------------------------ */

static jval strip(jctx *j, jval v, jval chars, bool left, bool right, const char *fn)
{
    if (chars.t != J_MISSING && chars.t != J_NONE && chars.t != J_STR)
        gr_jraise(j, "%s arg must be None or str", fn);
    return gr_jstrv(gr_jstrip(j, v.s, chars.t == J_STR ? chars.s : NULL, left, right));
}
static jval m_strip(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "chars");
    return strip(j, v, arg[0], true, true, "strip");
}
static jval m_lstrip(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "chars");
    return strip(j, v, arg[0], true, false, "lstrip");
}
static jval m_rstrip(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "chars");
    return strip(j, v, arg[0], false, true, "rstrip");
}

static void push_sub(jctx *j, jlist *l, const jstr *s, size_t from, size_t to)
{
    gr_jpush(j, l, gr_jstrv(gr_jsub(j, s, from, to - from)));
}

static void reverse(jlist *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        jval v = l->v[i];
        l->v[i] = l->v[l->n - 1 - i];
        l->v[l->n - 1 - i] = v;
    }
}

static void split_at(jctx *j, jlist *l, const jstr *s, const jstr *sep, int64_t max, bool right)
{
    size_t from = 0, to = s->n, at;

    if (!sep->n)
        gr_jraise(j, "empty separator");
    for (; max != 0; max--) {
        at = right ? search(gr_jsub(j, s, 0, to), sep, 0, true) : search(s, sep, from, false);
        if (at == SIZE_MAX)
            break;
        gr_jstep(j, 1 + (right ? (to - at) / 16 : (at - from) / 64));
        if (right) {
            push_sub(j, l, s, at + sep->n, to);
            to = at;
        } else {
            push_sub(j, l, s, from, at);
            from = at + sep->n;
        }
    }
    push_sub(j, l, s, from, to);
    if (right)
        reverse(l);
}

static void split_words(jctx *j, jlist *l, const jstr *s, int64_t max)
{
    size_t i = 0, len;
    int32_t c;

    for (;; max--) {
        size_t from;
        while (i < s->n && (len = gr_jget_char(s->p + i, s->n - i, &c), gr_jspace(c)))
            i += len;
        if (i >= s->n)
            return;
        from = i;
        if (max == 0) {
            gr_jpush(j, l, gr_jstrv(gr_jstrip(j, gr_jsub(j, s, from, s->n - from), NULL, false, true)));
            return;
        }
        while (i < s->n && (len = gr_jget_char(s->p + i, s->n - i, &c), !gr_jspace(c)))
            i += len;
        push_sub(j, l, s, from, i);
    }
}

/* The last words, each after white space; what is left before them is one piece. */
static void rsplit_words(jctx *j, jlist *l, const jstr *s, int64_t max)
{
    jval all = gr_jlist_new(j, J_LIST, 8);
    size_t first;

    split_words(j, all.l, s, -1);
    if (max < 0 || all.l->n <= (size_t)max) {
        *l = *all.l;
        return;
    }
    first = all.l->n - (size_t)max;
    if (first > 0) {
        const jstr *last = all.l->v[first - 1].s;
        const jstr *head = gr_jsub(j, s, 0, (size_t)(last->p - s->p) + last->n);
        gr_jpush(j, l, gr_jstrv(gr_jstrip(j, head, NULL, true, false)));
    }
    for (size_t i = first; i < all.l->n; i++)
        gr_jpush(j, l, all.l->v[i]);
}

static jval split(jctx *j, jval v, const jval arg[2], bool right)
{
    jval out = gr_jlist_new(j, J_LIST, 4);
    int64_t max = number(j, arg[1], -1);

    gr_jstep(j, v.s->n / 16);
    if (arg[0].t == J_MISSING || arg[0].t == J_NONE)
        (right ? rsplit_words : split_words)(j, out.l, v.s, max);
    else
        split_at(j, out.l, v.s, text(j, arg[0], "separator"), max, right);
    return out;
}
static jval m_split(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "sep", "maxsplit");
    return split(j, v, arg, false);
}
static jval m_rsplit(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "sep", "maxsplit");
    return split(j, v, arg, true);
}

static jval partition(jctx *j, jval v, jval sep, bool last)
{
    const jstr *x = text(j, sep, "separator");
    jval out = gr_jlist_new(j, J_TUPLE, 3), none = gr_jstrv(gr_jlit(j, ""));
    size_t at = x->n ? search(v.s, x, 0, last) : 0;

    if (!x->n)
        gr_jraise(j, "empty separator");
    gr_jstep(j, v.s->n / 64);
    if (at == SIZE_MAX) {
        gr_jpush(j, out.l, last ? none : v);
        gr_jpush(j, out.l, none);
        gr_jpush(j, out.l, last ? v : none);
        return out;
    }
    push_sub(j, out.l, v.s, 0, at);
    gr_jpush(j, out.l, sep);
    push_sub(j, out.l, v.s, at + x->n, v.s->n);
    return out;
}
static jval m_partition(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sep");
    return partition(j, v, arg[0], false);
}
static jval m_rpartition(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "sep");
    return partition(j, v, arg[0], true);
}

/* The bytes of a line's end at i; 0: there is none. */
static size_t line_end(const jstr *s, size_t i, size_t *len)
{
    int32_t c;

    *len = gr_jget_char(s->p + i, s->n - i, &c);
    if (c == '\r' && i + 1 < s->n && s->p[i + 1] == '\n')
        return 2;
    return (c >= '\n' && c <= '\r') || (c >= 0x1c && c <= 0x1e) || c == 0x85 || c == 0x2028 || c == 0x2029 ? *len : 0;
}

static jval m_splitlines(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "keepends");
    bool keep = arg[0].t != J_MISSING && gr_jtrue(j, arg[0]);
    jval out = gr_jlist_new(j, J_LIST, 8);
    size_t from = 0, i = 0, len, end;

    gr_jstep(j, v.s->n / 16);
    while (i < v.s->n) {
        end = line_end(v.s, i, &len);
        if (!end) {
            i += len;
            continue;
        }
        push_sub(j, out.l, v.s, from, i + (keep ? end : 0));
        from = i += end;
    }
    if (from < v.s->n)
        push_sub(j, out.l, v.s, from, v.s->n);
    return out;
}

static jval m_removeprefix(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "prefix");
    const jstr *x = text(j, arg[0], "removeprefix() argument");
    return borders(v.s, x, false) ? gr_jstrv(gr_jsub(j, v.s, x->n, v.s->n - x->n)) : v;
}
static jval m_removesuffix(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "suffix");
    const jstr *x = text(j, arg[0], "removesuffix() argument");
    return borders(v.s, x, true) ? gr_jstrv(gr_jsub(j, v.s, 0, v.s->n - x->n)) : v;
}

/* ---- Making ------------------------------------------------------------------------------------- */

const jstr *gr_jreplace(jctx *j, const jstr *s, const jstr *from, const jstr *to, int64_t max)
{
    jbuf *b = gr_jbuf_new(j);
    size_t done = 0, at = 0;

    b->safe = s->safe;
    gr_jstep(j, s->n / 64);
    for (; max != 0 && at <= s->n && (at = search(s, from, at, false)) != SIZE_MAX; max--) {
        int32_t c;
        gr_jstep(j, 1);
        gr_jbuf_sub(b, s, done, at - done);
        gr_jbuf_add(b, to);
        done = at + from->n;
        at = done;
        if (!from->n)                           /* between all characters */
            at += at < s->n ? gr_jget_char(s->p + at, s->n - at, &c) : 1;
    }
    gr_jbuf_sub(b, s, done, s->n - done);
    return gr_jbuf_str(b);
}

static jval m_replace(jctx *j, jval v, const jargs *a)
{
    ARGS(2, "old", "new", "count");
    return gr_jstrv(gr_jreplace(j, v.s, text(j, arg[0], "replace() argument 1"),
                                text(j, arg[1], "replace() argument 2"), number(j, arg[2], -1)));
}

static jval m_join(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "iterable");
    jbuf *b = gr_jbuf_new(j);
    jval it, item;

    if (!gr_jiterable(arg[0]))
        gr_jraise(j, "can only join an iterable");
    it = gr_jiter(j, arg[0]);
    b->safe = v.s->safe;
    for (size_t i = 0; gr_jnext(j, it.iter, &item); i++) {
        if (item.t != J_STR)
            gr_jraise(j, "sequence item %zu: expected str instance, %s found", i, gr_jtype_name(item));
        if (i)
            gr_jbuf_add(b, v.s);
        gr_jbuf_add(b, v.s->safe ? gr_jescape(j, item) : item.s);
    }
    return gr_jstrv(gr_jbuf_str(b));
}

static jval m_format(jctx *j, jval v, const jargs *a) { return gr_jstrv(gr_jformat(j, v.s, a)); }

/* where: -1 the text stands left, 0 in the middle, 1 right */
const jstr *gr_jpad(jctx *j, const jstr *s, int64_t width, const jstr *with, int where)
{
    int64_t chars = (int64_t)gr_jchars(s), n, left;
    jbuf *b = gr_jbuf_new(j);

    if (width <= chars)
        return s;
    n = width - chars;
    left = where < 0 ? 0 : where > 0 ? n : n / 2 + (n & width & 1);
    b->safe = s->safe;
    for (int64_t i = 0; i < n; i++) {
        if (i == left)
            gr_jbuf_add(b, s);
        gr_jbuf_add(b, with);
        gr_jstep(j, 1);
    }
    if (left == n)
        gr_jbuf_add(b, s);
    return gr_jbuf_str(b);
}

static jval pad(jctx *j, jval v, const jval arg[2], int where)
{
    const jstr *with = arg[1].t == J_MISSING ? gr_jlit(j, " ") : text(j, arg[1], "The fill character");

    if (gr_jchars(with) != 1)
        gr_jraise(j, "The fill character must be exactly one character long");
    return gr_jstrv(gr_jpad(j, v.s, gr_jindex(j, arg[0]), with, where));
}
static jval m_ljust(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "width", "fillchar");
    return pad(j, v, arg, -1);
}
static jval m_center(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "width", "fillchar");
    return pad(j, v, arg, 0);
}
static jval m_rjust(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "width", "fillchar");
    return pad(j, v, arg, 1);
}
static jval m_zfill(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "width");
    bool sign = v.s->n && (v.s->p[0] == '+' || v.s->p[0] == '-');
    const jstr *rest = gr_jsub(j, v.s, sign, v.s->n - sign);

    rest = gr_jpad(j, rest, gr_jindex(j, arg[0]) - sign, gr_jlit(j, "0"), 1);
    return gr_jstrv(sign ? gr_jjoin(j, gr_jsub(j, v.s, 0, 1), rest) : rest);
}

#define CASE(name, how) \
    static jval m_##name(jctx *j, jval v, const jargs *a) \
    { \
        no_args(j, #name, a); \
        return gr_jstrv(gr_jcase(j, v.s, how)); \
    }
CASE(upper, CASE_UPPER)
CASE(lower, CASE_LOWER)
CASE(title, CASE_TITLE)
CASE(capitalize, CASE_CAPITAL)
CASE(swapcase, CASE_SWAP)
CASE(casefold, CASE_FOLD)

#define CLASS(name, what) \
    static jval m_##name(jctx *j, jval v, const jargs *a) \
    { \
        no_args(j, #name, a); \
        gr_jstep(j, v.s->n / 2); \
        return gr_jbool(gr_jis(v.s, what)); \
    }
CLASS(isalpha, IS_ALPHA)
CLASS(isdigit, IS_DIGIT)
CLASS(isdecimal, IS_DECIMAL)
CLASS(isnumeric, IS_NUMERIC)
CLASS(isalnum, IS_ALNUM)
CLASS(isspace, IS_SPACE)
CLASS(isupper, IS_UPPER)
CLASS(islower, IS_LOWER)
CLASS(istitle, IS_TITLE)
CLASS(isascii, IS_ASCII)
CLASS(isprintable, IS_PRINTABLE)
CLASS(isidentifier, IS_IDENTIFIER)

/* ---- dict, list, tuple, and Jinja's own --------------------------------------------------------- */

static jval m_get(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "key", "default");
    jval out;

    if (gr_jget(j, v.d, arg[0], &out))
        return out;
    return arg[1].t == J_MISSING ? J_NULL : arg[1];
}

static jval view(jctx *j, jval v, const jargs *a, int what, const char *fn)
{
    jview *w = gr_jalloc(j, sizeof *w);

    no_args(j, fn, a);
    *w = (jview){ v.d, what };
    return (jval){ .t = J_VIEW, .view = w };
}
static jval m_keys(jctx *j, jval v, const jargs *a) { return view(j, v, a, 0, "keys"); }
static jval m_values(jctx *j, jval v, const jargs *a) { return view(j, v, a, 1, "values"); }
static jval m_items(jctx *j, jval v, const jargs *a) { return view(j, v, a, 2, "items"); }

static jval m_copy(jctx *j, jval v, const jargs *a)
{
    jval out;

    no_args(j, "copy", a);
    if (v.t == J_LIST)
        return gr_jto_list(j, v);
    out = gr_jdict_new(j);
    for (size_t i = 0; i < v.d->n; i++)
        gr_jset(j, out.d, v.d->key[i], v.d->val[i]);
    return out;
}

static jval m_list_index(jctx *j, jval v, const jargs *a)
{
    static const char *const names[] = { "value", "start", "stop" };
    jval arg[3], list = gr_jto_list(j, v);
    int64_t n = (int64_t)list.l->n, from, to;

    gr_jbind(j, "index", a, 1, 3, names, arg);
    from = number(j, arg[1], 0);
    to = number(j, arg[2], n);
    from = from < 0 ? (from + n > 0 ? from + n : 0) : from;
    to = to < 0 ? to + n : to > n ? n : to;
    for (int64_t i = from; i < to; i++)
        if (gr_jequal(j, list.l->v[i], arg[0]))
            return gr_jint(i);
    gr_jraise(j, "%s is not in list", gr_jrepr(j, arg[0]));
}

static jval m_list_count(jctx *j, jval v, const jargs *a)
{
    static const char *const names[] = { "value" };
    jval arg[1], list = gr_jto_list(j, v);
    int64_t n = 0;

    gr_jbind(j, "count", a, 1, 1, names, arg);
    for (size_t i = 0; i < list.l->n; i++)
        n += gr_jequal(j, list.l->v[i], arg[0]);
    return gr_jint(n);
}

static jval m_cycle(jctx *j, jval v, const jargs *a)
{
    if (!a->n || a->n_kw)
        gr_jraise(j, "no items for cycling given");
    return a->pos[(size_t)v.loop->index0 % a->n];
}

static jval m_changed(jctx *j, jval v, const jargs *a)
{
    jval now = gr_jlist_new(j, J_TUPLE, a->n);

    for (size_t i = 0; i < a->n; i++)
        gr_jpush(j, now.l, a->pos[i]);
    if (v.loop->changed.t != J_MISSING && gr_jequal(j, v.loop->changed, now))
        return gr_jbool(false);
    v.loop->changed = now;
    return gr_jbool(true);
}

static jval m_next(jctx *j, jval v, const jargs *a)
{
    jval out = v.cycler->v[v.cycler->at];

    no_args(j, "next", a);
    v.cycler->at = (v.cycler->at + 1) % v.cycler->n;
    return out;
}

static jval m_reset(jctx *j, jval v, const jargs *a)
{
    no_args(j, "reset", a);
    v.cycler->at = 0;
    return J_NULL;
}

#define M(name) { #name, m_##name }
typedef struct { const char *name; jmethod_fn *fn; } entry;
static const entry of_str[] = {
    M(capitalize), M(casefold), M(center), M(count), M(endswith), M(find), M(format), M(index), M(isalnum), M(isalpha),
    M(isascii), M(isdecimal), M(isdigit), M(isidentifier), M(islower), M(isnumeric), M(isprintable), M(isspace),
    M(istitle), M(isupper), M(join), M(ljust), M(lower), M(lstrip), M(partition), M(removeprefix), M(removesuffix),
    M(replace), M(rfind), M(rindex), M(rjust), M(rpartition), M(rsplit), M(rstrip), M(split), M(splitlines),
    M(startswith), M(strip), M(swapcase), M(title), M(upper), M(zfill), { NULL, NULL } };
static const entry of_list[] = { { "index", m_list_index }, { "count", m_list_count }, M(copy), { NULL, NULL } };
static const entry of_tuple[] = { { "index", m_list_index }, { "count", m_list_count }, { NULL, NULL } };
static const entry of_dict[] = { M(get), M(items), M(keys), M(values), M(copy), { NULL, NULL } };
static const entry of_loop[] = { M(cycle), M(changed), { NULL, NULL } };
static const entry of_cycler[] = { M(next), M(reset), { NULL, NULL } };

static const struct { const entry *here; const char *lacking, *unsafe; } of[] = {
    [J_STR] = { of_str, " encode expandtabs format_map maketrans translate ", "" },
    [J_LIST] = { of_list, "", " append clear extend insert pop remove reverse sort " },
    [J_TUPLE] = { of_tuple, "", "" },
    [J_RANGE] = { of_tuple, "", "" },
    [J_DICT] = { of_dict, " fromkeys ", " clear pop popitem setdefault update " },
    [J_LOOP] = { of_loop, "", "" },
    [J_CYCLER] = { of_cycler, " items pos ", "" },
    [J_JOINER] = { NULL, " sep used ", "" },
    [J_BOOL] = { NULL, " real imag numerator denominator conjugate bit_length bit_count to_bytes from_bytes ", "" },
    [J_INT] = { NULL, " real imag numerator denominator conjugate bit_length bit_count to_bytes from_bytes "
                      "as_integer_ratio ", "" },
    [J_FLOAT] = { NULL, " real imag conjugate is_integer hex fromhex as_integer_ratio ", "" },
    [J_VIEW] = { NULL, " isdisjoint mapping ", "" },
};

static bool listed(const char *words, const jstr *name)
{
    for (const char *w = words; w && *w == ' ' && w[1]; w += 1 + strcspn(w + 1, " "))
        if (strcspn(w + 1, " ") == name->n && !memcmp(w + 1, name->p, name->n))
            return true;
    return false;
}

jmethod_kind gr_jmethod(jval v, const jstr *name, jmethod_fn **fn, const char **called)
{
    if (v.t >= GR_COUNT(of))
        return METHOD_NONE;
    for (const entry *e = of[v.t].here; e && e->name; e++)
        if (gr_jstr_is(name, e->name)) {
            *fn = e->fn;
            *called = e->name;
            return METHOD_HERE;
        }
    return listed(of[v.t].unsafe, name) ? METHOD_UNSAFE : listed(of[v.t].lacking, name) ? METHOD_LACKING : METHOD_NONE;
}
