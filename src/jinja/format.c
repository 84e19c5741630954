/* format.c - "%s" % x and "{}".format(x), as far as templates go; what is left out is refused by name. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "jinja/jinja_int.h"

enum { WIDTH_MAX = 1 << 20 };

/* ---- % ------------------------------------------------------------------------------------------ */

typedef struct { bool minus, plus, space, zero, alt; int64_t width, precision; char type; } spec;

static int64_t digits(jctx *j, const jstr *s, size_t *i)
{
    int64_t n = 0;

    for (; *i < s->n && s->p[*i] >= '0' && s->p[*i] <= '9'; ++*i)
        if ((n = n * 10 + s->p[*i] - '0') > WIDTH_MAX)
            gr_jfail(j, GRAM_ELIMIT, "the chat template formats a field wider than %d", WIDTH_MAX);
    return n;
}

/* What the letters d, i, u, x, X and o make of a number. */
static int64_t whole(jctx *j, const spec *f, jval v)
{
    if (v.t != J_FLOAT)
        return gr_jindex(j, v);
    if (strchr("xXo", f->type))
        gr_jraise(j, "%%%c format: an integer is required, not float", f->type);
    if (!(fabs(v.f) < 0x1p63))
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats an integer of more than 64 bits");
    return (int64_t)v.f;
}

static const jstr *real_text(jctx *j, const spec *f, jval v)
{
    char fmt[16], *s = gr_jalloc(j, 800);
    double x = v.t == J_FLOAT ? v.f : (double)gr_jindex(j, v);
    int n;

    snprintf(fmt, sizeof fmt, "%%%s%s%s.*%c", f->plus ? "+" : "", f->space ? " " : "", f->alt ? "#" : "", f->type);
    n = snprintf(s, 800, fmt, (int)(f->precision < 0 ? 6 : f->precision), x);
    return gr_jstr(j, s, (size_t)n, false);
}

static const jstr *number_text(jctx *j, const spec *f, jval v)
{
    char *s;
    const char *sign, *mark = "";
    unsigned long long u;
    int64_t i;
    int n, precision = (int)(f->precision < 0 ? 1 : f->precision);

    gr_jneed(j, v);
    if (f->precision > 300)
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats a number with more than 300 digits");
    if (v.t != J_INT && v.t != J_BOOL && v.t != J_FLOAT) {
        if (strchr("eEfFgG", f->type))
            gr_jraise(j, "must be real number, not %s", gr_jtype_name(v));
        gr_jraise(j, "%%%c format: a real number is required, not %s", f->type, gr_jtype_name(v));
    }
    if (strchr("eEfFgG", f->type))
        return real_text(j, f, v);
    i = whole(j, f, v);
    u = i < 0 ? 0 - (unsigned long long)i : (unsigned long long)i;
    sign = i < 0 ? "-" : f->plus ? "+" : f->space ? " " : "";
    if (f->alt)
        mark = f->type == 'o' ? "0o" : f->type == 'x' ? "0x" : f->type == 'X' ? "0X" : "";
    s = gr_jalloc(j, 400);
    if (f->type == 'x')
        n = snprintf(s, 400, "%s%s%.*llx", sign, mark, precision, u);
    else if (f->type == 'X')
        n = snprintf(s, 400, "%s%s%.*llX", sign, mark, precision, u);
    else if (f->type == 'o')
        n = snprintf(s, 400, "%s%s%.*llo", sign, mark, precision, u);
    else
        n = snprintf(s, 400, "%s%.*llu", sign, precision, u);
    return gr_jstr(j, s, (size_t)n, false);
}

static void put_padded(jctx *j, jbuf *out, const jstr *s, const spec *f, bool number)
{
    size_t sign = number && s->n && (s->p[0] == '-' || s->p[0] == '+' || s->p[0] == ' ');

    if (f->minus) {
        gr_jbuf_add(out, gr_jpad(j, s, f->width, gr_jlit(j, " "), -1));
    } else if (f->zero && number) {
        gr_jbuf_sub(out, s, 0, sign);
        gr_jbuf_add(out, gr_jpad(j, gr_jsub(j, s, sign, s->n - sign), f->width - (int64_t)sign, gr_jlit(j, "0"), 1));
    } else {
        gr_jbuf_add(out, gr_jpad(j, s, f->width, gr_jlit(j, " "), 1));
    }
}

static void put_percent(jctx *j, jbuf *out, const spec *f, jval v)
{
    const jstr *s;

    if (out->safe && strchr("cxXo", f->type))       /* Markup wraps what it is given, and these look at it */
        gr_jraise(j, f->type == 'c' ? "%%c requires int or char"
                                    : "%%%c format: an integer is required, not _MarkupEscapeHelper", f->type);
    switch (f->type) {
    case 's':
    case 'r':
    case 'a':
        if (f->type == 'a')
            gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats with %%a, which gram does not know");
        s = f->type == 's' ? gr_jto_str(j, v) : gr_jrepr_str(j, v);
        if (out->safe)
            s = gr_jescape(j, gr_jstrv(s));
        if (f->precision >= 0)
            s = gr_jsub(j, s, 0, gr_joffset(s, (size_t)f->precision));
        put_padded(j, out, s, f, false);
        break;
    case 'c':
        if (v.t == J_STR ? gr_jchars(v.s) != 1 : v.t != J_INT)
            gr_jraise(j, "%%c requires int or char");
        if (v.t == J_INT)
            gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats a number with %%c, which gram does not know");
        put_padded(j, out, v.s, f, false);
        break;
    case 'd': case 'i': case 'u': case 'x': case 'X': case 'o':
    case 'e': case 'E': case 'f': case 'F': case 'g': case 'G':
        put_padded(j, out, number_text(j, f, v), f, true);
        break;
    default:
        gr_jraise(j, "unsupported format character '%c' (0x%x)", f->type, (unsigned char)f->type);
    }
}

typedef struct { jval args; size_t next; bool used; } source;

static jval take(jctx *j, source *from)
{
    if (from->args.t != J_TUPLE) {
        if (from->used)
            gr_jraise(j, "not enough arguments for format string");
        from->used = true;
        return from->args;
    }
    if (from->next >= from->args.l->n)
        gr_jraise(j, "not enough arguments for format string");
    return from->args.l->v[from->next++];
}

static size_t read_flags(const jstr *s, size_t i, spec *f)
{
    for (; i < s->n; i++)
        switch (s->p[i]) {
        case '-': f->minus = true; break;
        case '+': f->plus = true; break;
        case ' ': f->space = true; break;
        case '0': f->zero = true; break;
        case '#': f->alt = true; break;
        default: return i;
        }
    return i;
}

/* From after the '%' to after its letter. */
static size_t one_percent(jctx *j, jbuf *out, const jstr *s, size_t i, source *from)
{
    spec f = { .precision = -1 };
    jval v = J_NOTHING;

    if (i < s->n && s->p[i] == '(') {
        size_t end = i + 1;
        while (end < s->n && s->p[end] != ')')
            end++;
        if (end >= s->n)
            gr_jraise(j, "incomplete format key");
        if (from->args.t != J_DICT)
            gr_jraise(j, "format requires a mapping");
        if (!gr_jget(j, from->args.d, gr_jstrv(gr_jsub(j, s, i + 1, end - i - 1)), &v))
            gr_jraise(j, "'%s'", gr_jcstr(j, gr_jsub(j, s, i + 1, end - i - 1)));
        from->used = true;
        i = end + 1;
    }
    i = read_flags(s, i, &f);
    if (i < s->n && s->p[i] == '*')
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats with *, which gram does not know");
    f.width = digits(j, s, &i);
    if (i < s->n && s->p[i] == '.') {
        i++;
        f.precision = digits(j, s, &i);
    }
    while (i < s->n && (s->p[i] == 'l' || s->p[i] == 'h' || s->p[i] == 'L'))
        i++;
    if (i >= s->n)
        gr_jraise(j, "incomplete format");
    f.type = s->p[i++];
    if (f.type == '%')
        gr_jbuf_puts(out, "%");
    else
        put_percent(j, out, &f, v.t == J_MISSING ? take(j, from) : v);
    return i;
}

const jstr *gr_jpercent(jctx *j, const jstr *s, jval args)
{
    jbuf *out = gr_jbuf_new(j);
    source from = { .args = args };
    size_t done = 0, i = 0;

    out->safe = s->safe;
    while (i < s->n) {
        if (s->p[i] != '%') {
            i++;
            continue;
        }
        gr_jbuf_sub(out, s, done, i - done);
        i = done = one_percent(j, out, s, i + 1, &from);
    }
    gr_jbuf_sub(out, s, done, s->n - done);
    if (args.t == J_TUPLE ? from.next < args.l->n : !from.used && args.t != J_DICT && args.t != J_LIST &&
                                                    args.t != J_UNDEF && args.t != J_RANGE)
        gr_jraise(j, "not all arguments converted during string formatting");
    return gr_jbuf_str(out);
}

/* ---- str.format() ------------------------------------------------------------------------------- */

static jval field_start(jctx *j, const jstr *name, const jargs *a, int64_t *automatic)
{
    int64_t i;

    if (!name->n || gr_jis(name, IS_DECIMAL)) {
        if (name->n ? *automatic > 0 : *automatic < 0)
            gr_jraise(j, name->n ? "cannot switch from automatic field numbering to manual field specification"
                                 : "cannot switch from manual field specification to automatic field numbering");
        if (name->n) {
            *automatic = -1;
            if (!gr_jparse_int(name, 10, &i))
                gr_jraise(j, "Too many decimal digits in format string");
        } else {
            i = (*automatic)++;
        }
        if ((size_t)i >= a->n)
            gr_jraise(j, "Replacement index %" PRId64 " out of range for positional args tuple", i);
        return a->pos[i];
    }
    for (size_t k = 0; k < a->n_kw; k++)
        if (gr_jstr_eq(a->kw[k].name, name))
            return a->kw[k].v;
    gr_jraise(j, "'%s'", gr_jcstr(j, name));
}

static jval field_value(jctx *j, const jstr *f, const jargs *a, int64_t *automatic)
{
    size_t i = 0, from;
    jval v;

    while (i < f->n && f->p[i] != '.' && f->p[i] != '[')
        i++;
    v = field_start(j, gr_jsub(j, f, 0, i), a, automatic);
    while (i < f->n) {
        const jstr *part;
        int64_t index;
        bool item = f->p[i] == '[';
        from = ++i;
        while (i < f->n && (item ? f->p[i] != ']' : f->p[i] != '.' && f->p[i] != '['))
            i++;
        part = gr_jsub(j, f, from, i - from);
        i += item;
        if (!item)
            v = gr_jgetattr(j, v, part);
        else
            v = gr_jgetitem(j, v, gr_jis(part, IS_DECIMAL) && gr_jparse_int(part, 10, &index) ? gr_jint(index)
                                                                                                : gr_jstrv(part));
    }
    return v;
}

/* [[fill]align][sign][#][0][width][,][.precision][type] */
static void put_spec(jctx *j, jbuf *out, jval v, const jstr *s)
{
    spec f = { .precision = -1 };
    const jstr *fill = gr_jlit(j, " "), *body;
    size_t i = 0, first = s->n ? 1 : 0;
    char align = '\0';
    bool number = v.t == J_INT || v.t == J_FLOAT;
    int32_t c;

    if (s->n)
        first = gr_jget_char(s->p, s->n, &c);
    if (s->n > first && strchr("<>^=", s->p[first]) && s->p[first]) {
        fill = gr_jsub(j, s, 0, first);
        align = s->p[first];
        i = first + 1;
    } else if (s->n && strchr("<>^=", s->p[0]) && s->p[0]) {
        align = s->p[0];
        i = 1;
    }
    i = read_flags(s, i, &f);
    f.width = digits(j, s, &i);
    if (i < s->n && s->p[i] == '.') {
        i++;
        f.precision = digits(j, s, &i);
    }
    f.type = i < s->n ? s->p[i++] : number && v.t == J_INT ? 'd' : 's';
    if (i < s->n || f.minus || align == '=' || !strchr("sdxXofFeEgG", f.type) || (number && f.type == 's' && s->n)
        || (!number && f.type != 's') || v.t == J_BOOL)
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats a %s with \"%s\", which gram does not know",
                 gr_jtype_name(v), gr_jcstr(j, s));
    body = f.type == 's' ? gr_jto_str(j, v) : number_text(j, &f, v);
    if (f.type == 's' && f.precision >= 0)
        body = gr_jsub(j, body, 0, gr_joffset(body, (size_t)f.precision));
    if (f.zero && number && !align)
        put_padded(j, out, body, &f, true);
    else
        gr_jbuf_add(out, gr_jpad(j, body, f.width, fill,
                                 align == '^' ? 0 : align == '>' || (!align && number) ? 1 : -1));
}

/* From after '{' to after its '}'. */
static size_t one_field(jctx *j, jbuf *out, const jstr *s, size_t i, const jargs *a, int64_t *automatic)
{
    size_t from = i, colon = SIZE_MAX, bang = SIZE_MAX;
    int depth = 1;
    const jstr *spec_text;
    jval v;

    for (; i < s->n; i++) {
        if (s->p[i] == '{')
            depth++;
        else if (s->p[i] == '}' && --depth == 0)
            break;
        else if (s->p[i] == ':' && colon == SIZE_MAX)
            colon = i;
        else if (s->p[i] == '!' && colon == SIZE_MAX && bang == SIZE_MAX)
            bang = i;
    }
    if (i >= s->n)
        gr_jraise(j, from == s->n ? "Single '{' encountered in format string" : "expected '}' before end of string");
    v = field_value(j, gr_jsub(j, s, from, gr_min(gr_min(colon, bang), i) - from), a, automatic);
    if (bang != SIZE_MAX && (bang + 1 >= i || (s->p[bang + 1] != 's' && s->p[bang + 1] != 'r')))
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats with another conversion than !s and !r");
    if (bang != SIZE_MAX)
        v = gr_jstrv(s->p[bang + 1] == 's' ? gr_jto_str(j, v) : gr_jrepr_str(j, v));
    spec_text = colon == SIZE_MAX ? gr_jlit(j, "") : gr_jsub(j, s, colon + 1, i - colon - 1);
    if (memchr(spec_text->p, '{', spec_text->n))
        gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template formats with a field within a field");
    if (spec_text->n)
        put_spec(j, out, v, spec_text);
    else if (out->safe)
        gr_jbuf_add(out, gr_jescape(j, v));
    else
        gr_jbuf_val(out, v);
    return i + 1;
}

const jstr *gr_jformat(jctx *j, const jstr *s, const jargs *a)
{
    jbuf *out = gr_jbuf_new(j);
    int64_t automatic = 0;
    size_t i = 0;

    out->safe = s->safe;
    while (i < s->n) {
        char c = s->p[i];
        if (c != '{' && c != '}') {
            size_t from = i;
            while (i < s->n && s->p[i] != '{' && s->p[i] != '}')
                i++;
            gr_jbuf_sub(out, s, from, i - from);
        } else if (i + 1 < s->n && s->p[i + 1] == c) {
            gr_jbuf_sub(out, s, i, 1);
            i += 2;
        } else if (c == '}') {
            gr_jraise(j, "Single '}' encountered in format string");
        } else {
            i = one_field(j, out, s, i + 1, a, &automatic);
        }
    }
    return gr_jbuf_str(out);
}
