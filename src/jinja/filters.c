/* filters.c - the filters, which follow |: those of one value. Those that walk over a sequence are in filters_seq.c. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include "jinja/filters.h"

#define ARGS(required, ...) \
    static const char *const names_[] = { __VA_ARGS__ }; \
    jval arg[GR_COUNT(names_)]; \
    gr_jbind(j, __func__ + 3, a, required, GR_COUNT(names_), names_, arg)

static void no_args(jctx *j, const char *fn, const jargs *a) { gr_jbind(j, fn, a, 0, 0, NULL, NULL); }

static bool flag(jctx *j, jval v) { return v.t != J_MISSING && gr_jtrue(j, v); }

/* ---- Text --------------------------------------------------------------------------------------- */

#define CASE(name, how) \
    static jval do_##name(jctx *j, jval v, const jargs *a) \
    { \
        no_args(j, #name, a); \
        return gr_jstrv(gr_jcase(j, gr_jto_str(j, v), how)); \
    }
CASE(upper, CASE_UPPER)
CASE(lower, CASE_LOWER)
CASE(capitalize, CASE_CAPITAL)
CASE(title, CASE_TITLE_FILTER)

static jval do_trim(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "chars");
    if (arg[0].t != J_MISSING && arg[0].t != J_NONE && arg[0].t != J_STR)
        gr_jraise(j, "strip arg must be None or str");
    return gr_jstrv(gr_jstrip(j, gr_jto_str(j, v), arg[0].t == J_STR ? arg[0].s : NULL, true, true));
}

static jval do_string(jctx *j, jval v, const jargs *a)
{
    no_args(j, "string", a);
    return gr_jstrv(gr_jto_str(j, v));
}

static const jstr *plain(jctx *j, const jstr *s)
{
    jstr *out;

    if (!s->safe)
        return s;
    out = gr_jalloc(j, sizeof *out);
    *out = *s;
    out->safe = false;
    return out;
}

static jval do_replace(jctx *j, jval v, const jargs *a)
{
    ARGS(2, "old", "new", "count");
    int64_t max = arg[2].t == J_MISSING || arg[2].t == J_NONE ? -1 : gr_jindex(j, arg[2]);

    return gr_jstrv(gr_jreplace(j, plain(j, gr_jto_str(j, v)), gr_jto_str(j, arg[0]), gr_jto_str(j, arg[1]), max));
}

static jval do_escape(jctx *j, jval v, const jargs *a)
{
    no_args(j, "escape", a);
    return gr_jstrv(gr_jescape(j, v));
}

static jval do_forceescape(jctx *j, jval v, const jargs *a)
{
    no_args(j, "forceescape", a);
    return gr_jstrv(gr_jescape(j, gr_jstrv(plain(j, gr_jto_str(j, v)))));
}

static jval do_safe(jctx *j, jval v, const jargs *a)
{
    jstr *s;

    no_args(j, "safe", a);
    s = gr_jalloc(j, sizeof *s);
    *s = *gr_jto_str(j, v);
    s->safe = true;
    return gr_jstrv(s);
}

static jval do_center(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "width");
    const int64_t width = arg[0].t == J_MISSING ? 80 : gr_jindex(j, arg[0]);

    return gr_jstrv(gr_jpad(j, gr_jto_str(j, v), width, gr_jlit(j, " "), 0));
}

static jval method(jctx *j, jval v, const char *name)
{
    jmethod_fn *fn;
    const char *called;

    gr_jmethod(v, gr_jlit(j, name), &fn, &called);
    return fn(j, v, &(jargs){ 0 });
}

static jval do_indent(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "width", "first", "blank");
    const jstr *by;
    jval lines;
    jbuf *b = gr_jbuf_new(j);

    gr_jneed(j, v);
    if (v.t == J_LIST)
        gr_jraise(j, "'list' object has no attribute 'splitlines'");
    if (v.t != J_STR)
        gr_jraise(j, "unsupported operand type(s) for +=: '%s' and 'str'", gr_jtype_name(v));
    by = arg[0].t == J_STR ? arg[0].s
       : gr_jpad(j, gr_jlit(j, ""), arg[0].t == J_MISSING ? 4 : gr_jindex(j, arg[0]), gr_jlit(j, " "), 1);
    lines = method(j, gr_jstrv(gr_jjoin(j, v.s, gr_jlit(j, "\n"))), "splitlines");
    b->safe = v.s->safe;
    for (size_t i = 0; i < lines.l->n; i++) {
        const jstr *line = lines.l->v[i].s;
        if (i)
            gr_jbuf_puts(b, "\n");
        if (i ? line->n || flag(j, arg[2]) : flag(j, arg[1]))
            gr_jbuf_add(b, by);
        gr_jbuf_add(b, line);
    }
    return gr_jstrv(gr_jbuf_str(b));
}

static jval do_truncate(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "length", "killwords", "end", "leeway");
    const jstr *end = arg[2].t == J_MISSING ? gr_jlit(j, "...") : gr_jto_str(j, arg[2]), *s, *head;
    int64_t length = arg[0].t == J_MISSING ? 255 : gr_jindex(j, arg[0]), cut, most;
    int64_t leeway = arg[3].t == J_MISSING || arg[3].t == J_NONE ? 5 : gr_jindex(j, arg[3]);

    if (length < 0 || (cut = length - (int64_t)gr_jchars(end)) < 0)
        gr_jraise(j, "expected length >= %zu, got %" PRId64, gr_jchars(end), length);
    if (leeway < 0)
        gr_jraise(j, "expected leeway >= 0, got %" PRId64, leeway);
    if (__builtin_add_overflow(length, leeway, &most) || (int64_t)gr_jlen(j, v) <= most)
        return v;
    if (v.t != J_STR)
        gr_jraise(j, "'%s' object has no attribute 'rsplit'", gr_jtype_name(v));
    s = v.s;
    head = gr_jsub(j, s, 0, gr_joffset(s, (size_t)cut));
    for (size_t i = head->n; !flag(j, arg[1]) && i-- > 0; )
        if (head->p[i] == ' ') {
            head = gr_jsub(j, head, 0, i);
            break;
        }
    return gr_jstrv(gr_jjoin(j, head, end));
}

static jval do_wordcount(jctx *j, jval v, const jargs *a)
{
    const jstr *s = gr_jto_str(j, v);
    int64_t n = 0;
    bool word = false;

    no_args(j, "wordcount", a);
    gr_jstep(j, s->n / 8);
    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        jstr one;
        bool now;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        one = (jstr){ s->p + i, len, 1, NULL, false, false };
        now = c == '_' || gr_jis(&one, IS_ALNUM);
        n += now && !word;
        word = now;
    }
    return gr_jint(n);
}

static jval do_format(jctx *j, jval v, const jargs *a)
{
    jval args;

    if (a->n && a->n_kw)
        gr_jraise(j, "can't handle positional and keyword arguments at the same time");
    if (a->n_kw) {
        args = gr_jdict_new(j);
        for (size_t i = 0; i < a->n_kw; i++)
            gr_jset(j, args.d, gr_jstrv(a->kw[i].name), a->kw[i].v);
    } else {
        args = gr_jlist_new(j, J_TUPLE, a->n);
        for (size_t i = 0; i < a->n; i++)
            gr_jpush(j, args.l, a->pos[i]);
    }
    return gr_jstrv(gr_jpercent(j, gr_jto_str(j, v), args));
}

static jval do_tojson(jctx *j, jval v, const jargs *a) { return gr_jstrv(gr_jtojson(j, v, a)); }

/* ---- Numbers ------------------------------------------------------------------------------------ */

static jval float_to_int(jctx *j, double f, jval otherwise)
{
    if (!isfinite(f))
        return otherwise;
    if (!(fabs(f) < 0x1p63))
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template makes an integer of more than 64 bits");
    return gr_jint((int64_t)f);
}

static jval do_int(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "default", "base");
    jval otherwise = arg[0].t == J_MISSING ? gr_jint(0) : arg[0];
    int64_t base = arg[1].t == J_MISSING ? 10 : gr_jindex(j, arg[1]), i;
    double f;

    gr_jneed(j, v);
    if (v.t == J_INT || v.t == J_BOOL)
        return gr_jint(gr_jindex(j, v));
    if (v.t == J_FLOAT)
        return float_to_int(j, v.f, otherwise);
    if (v.t != J_STR)
        return otherwise;
    if (gr_jparse_int(v.s, base < 0 || base > 36 || base == 1 ? 10 : (int)base, &i))
        return gr_jint(i);
    return gr_jparse_float(v.s, &f) ? float_to_int(j, f, otherwise) : otherwise;
}

static jval do_float(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "default");
    double f;

    gr_jneed(j, v);
    if (v.t == J_INT || v.t == J_BOOL)
        return gr_jfloat((double)gr_jindex(j, v));
    if (v.t == J_FLOAT)
        return v;
    if (v.t == J_STR && gr_jparse_float(v.s, &f))
        return gr_jfloat(f);
    return arg[0].t == J_MISSING ? gr_jfloat(0) : arg[0];
}

static jval do_round(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "precision", "method");
    int64_t digits = arg[0].t == J_MISSING ? 0 : gr_jindex(j, arg[0]);
    bool ceiling = arg[1].t == J_STR && gr_jstr_is(arg[1].s, "ceil");
    double f;

    if (arg[1].t == J_MISSING || (arg[1].t == J_STR && gr_jstr_is(arg[1].s, "common")))
        return gr_jround(j, v, digits);
    if (!ceiling && !(arg[1].t == J_STR && gr_jstr_is(arg[1].s, "floor")))
        gr_jraise(j, "method must be common, ceil or floor");
    gr_jneed(j, v);
    if (v.t != J_INT && v.t != J_BOOL && v.t != J_FLOAT)
        gr_jraise(j, "must be real number, not %s", gr_jtype_name(v));
    f = (v.t == J_FLOAT ? v.f : (double)gr_jindex(j, v)) * pow(10, (double)digits);
    f = ceiling ? ceil(f) : floor(f);               /* to Python a whole number, which has no minus zero */
    return gr_jfloat((f == 0 ? 0 : f) / pow(10, (double)digits));
}

static jval do_abs(jctx *j, jval v, const jargs *a)
{
    no_args(j, "abs", a);
    if (v.t == J_FLOAT)
        return gr_jfloat(fabs(v.f));
    if (v.t != J_INT && v.t != J_BOOL)
        gr_jraise(j, "bad operand type for abs(): '%s'", gr_jtype_name(v));
    return gr_jindex(j, v) < 0 ? gr_jnegate(j, v, false) : gr_jnegate(j, v, true);
}

/* ---- Any value ---------------------------------------------------------------------------------- */

static jval do_default(jctx *j, jval v, const jargs *a)
{
    ARGS(0, "default_value", "boolean");
    if (v.t == J_UNDEF || (flag(j, arg[1]) && !gr_jtrue(j, v)))
        return arg[0].t == J_MISSING ? gr_jstrv(gr_jlit(j, "")) : arg[0];
    return v;
}

static jval do_length(jctx *j, jval v, const jargs *a)
{
    no_args(j, "len", a);
    return gr_jint((int64_t)gr_jlen(j, v));
}

static jval do_attr(jctx *j, jval v, const jargs *a)
{
    ARGS(1, "name");
    if (arg[0].t != J_STR)
        gr_jraise(j, "attribute name must be string, not '%s'", gr_jtype_name(arg[0]));
    if (v.t == J_DICT) {                    /* attributes alone: the keys of a dict are none */
        jval empty = gr_jdict_new(j);
        return gr_jgetattr(j, empty, arg[0].s);
    }
    return gr_jgetattr(j, v, arg[0].s);
}

static const struct { const char *name; jfilter_fn *fn; } known[] = {
    { "abs", do_abs }, { "attr", do_attr }, { "capitalize", do_capitalize }, { "center", do_center },
    { "count", do_length }, { "d", do_default }, { "default", do_default }, { "e", do_escape }, { "escape", do_escape },
    { "float", do_float }, { "forceescape", do_forceescape }, { "format", do_format }, { "indent", do_indent },
    { "int", do_int }, { "length", do_length }, { "lower", do_lower }, { "replace", do_replace }, { "round", do_round },
    { "safe", do_safe }, { "string", do_string }, { "title", do_title }, { "tojson", do_tojson }, { "trim", do_trim },
    { "truncate", do_truncate }, { "upper", do_upper }, { "wordcount", do_wordcount }
};

jfilter_fn *gr_jfilter(const jstr *name)
{
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (gr_jstr_is(name, known[i].name))
            return known[i].fn;
    return gr_jfilter_seq(name);
}

jval gr_jfilter_apply(jctx *j, const jstr *name, jval v, const jargs *a)
{
    jfilter_fn *fn = gr_jfilter(name);
    jval out;

    if (!fn)
        gr_jraise(j, "No filter named '%s' found.", gr_jcstr(j, name));
    gr_jdeeper(j);
    out = fn(j, v, a);
    gr_jshallower(j);
    return out;
}
