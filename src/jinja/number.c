/* number.c - arithmetic and the text of numbers, as Python has them. Integers have 64 bits: what does not fit fails. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "jinja/jinja_int.h"

/* ---- Text --------------------------------------------------------------------------------------- */

/* The shortest digits that read back as f, and the exponent of the first of them. */
static int shortest(double f, char digits[32], int *exponent)
{
    char s[40];
    int n = 0;

    for (int precision = 0; precision < 17; precision++) {
        snprintf(s, sizeof s, "%.*e", precision, f);
        if (strtod(s, NULL) == f)
            break;
    }
    for (const char *p = s; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    while (n > 1 && digits[n - 1] == '0')
        n--;
    *exponent = atoi(strchr(s, 'e') + 1);
    return n;
}

void gr_jfloat_text(double f, char out[32])
{
    char digits[32], *o = out;
    int exp, n;

    if (!isfinite(f)) {
        strcpy(out, isnan(f) ? "nan" : f > 0 ? "inf" : "-inf");
        return;
    }
    if (signbit(f))
        *o++ = '-';
    n = shortest(fabs(f), digits, &exp);
    if (exp < -4 || exp >= 16) {
        *o++ = digits[0];
        if (n > 1)
            *o++ = '.';
        memcpy(o, digits + 1, (size_t)n - 1);
        sprintf(o + n - 1, "e%c%02d", exp < 0 ? '-' : '+', abs(exp));
        return;
    }
    if (exp < 0) {
        *o++ = '0';
        *o++ = '.';
        for (int i = -1; i > exp; i--)
            *o++ = '0';
    }
    for (int i = 0; i < n || i <= exp; i++) {
        *o++ = i < n ? digits[i] : '0';
        if (i == exp)
            *o++ = '.';
    }
    if (exp >= 0 && o[-1] == '.')
        *o++ = '0';
    *o = '\0';
}

static int value_of(int32_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10 : 99;
}

bool gr_jparse_int(const jstr *s, int base, int64_t *out)
{
    size_t i = 0, n = s->n;
    bool minus = false, any = false, line = false;
    uint64_t v = 0;

    while (i < n && gr_jspace((unsigned char)s->p[i]))
        i++;
    while (n > i && gr_jspace((unsigned char)s->p[n - 1]))
        n--;
    if (i < n && (s->p[i] == '+' || s->p[i] == '-'))
        minus = s->p[i++] == '-';
    if (i + 1 < n && s->p[i] == '0') {
        char mark = (char)(s->p[i + 1] | 32);
        int named = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
        if (named && (base == named || base == 0)) {
            base = named;
            i += 2;
        }
    }
    base = base ? base : 10;
    for (; i < n; i++) {
        int d = value_of((unsigned char)s->p[i]);
        if (s->p[i] == '_' && any && !line) {
            line = true;
            continue;
        }
        if (d >= base || v > (UINT64_MAX - (uint64_t)d) / (uint64_t)base)
            return false;
        v = v * (uint64_t)base + (uint64_t)d;
        any = true;
        line = false;
    }
    if (!any || line || v > (uint64_t)INT64_MAX + minus)
        return false;
    *out = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool gr_jparse_float(const jstr *s, double *out)
{
    char text[400], *end;
    size_t n = 0, i = 0, stop = s->n;

    while (i < stop && gr_jspace((unsigned char)s->p[i]))
        i++;
    while (stop > i && gr_jspace((unsigned char)s->p[stop - 1]))
        stop--;
    if (i == stop || stop - i >= sizeof text)
        return false;
    for (; i < stop; i++) {
        bool between = i > 0 && i + 1 < stop && value_of(s->p[i - 1]) < 10 && value_of(s->p[i + 1]) < 10;
        if (s->p[i] == '_' && between)
            continue;
        if (s->p[i] == '_' || s->p[i] == '(' || (s->p[i] | 32) == 'x' || (s->p[i] | 32) == 'p')
            return false;                           /* what strtod() reads and Python does not */
        text[n++] = s->p[i];
    }
    text[n] = '\0';
    *out = strtod(text, &end);
    return n && *end == '\0' && !gr_jspace(text[0]);
}

/* ---- Arithmetic --------------------------------------------------------------------------------- */

static bool whole(jval v) { return v.t == J_INT || v.t == J_BOOL; }
static int64_t int_of(jval v) { return v.t == J_BOOL ? v.b : v.i; }
static double real_of(jval v) { return v.t == J_FLOAT ? v.f : (double)int_of(v); }

int64_t gr_jindex(jctx *j, jval v)
{
    gr_jneed(j, v);
    if (!whole(v))
        gr_jraise(j, "'%s' object cannot be interpreted as an integer", gr_jtype_name(v));
    return int_of(v);
}

_Noreturn static void too_big(jctx *j)
{
    gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template computes an integer of more than 64 bits");
}

static int64_t floor_div(jctx *j, int64_t a, int64_t b)
{
    int64_t q;

    if (b == 0)
        gr_jraise(j, "integer division or modulo by zero");
    if (b == -1 && a == INT64_MIN)
        too_big(j);
    q = a / b;
    return q - ((a % b != 0) && ((a < 0) != (b < 0)));
}

static jval power(jctx *j, int64_t a, int64_t b)
{
    int64_t r = 1;

    if (b < 0) {
        if (a == 0)
            gr_jraise(j, "0.0 cannot be raised to a negative power");
        return gr_jfloat(pow((double)a, (double)b));
    }
    if (a == 0 || a == 1 || b == 0)
        return gr_jint(b == 0 ? 1 : a);
    if (a == -1)
        return gr_jint(b % 2 ? -1 : 1);
    for (; b > 0; b--)
        if (__builtin_mul_overflow(r, a, &r))
            too_big(j);
    return gr_jint(r);
}

static jval ints(jctx *j, int op, int64_t a, int64_t b)
{
    int64_t r = 0;
    bool over = false;

    switch (op) {
    case OP_ADD: over = __builtin_add_overflow(a, b, &r); break;
    case OP_SUB: over = __builtin_sub_overflow(a, b, &r); break;
    case OP_MUL: over = __builtin_mul_overflow(a, b, &r); break;
    case OP_FLOORDIV: r = floor_div(j, a, b); break;
    case OP_MOD:
        if (b == 0)
            gr_jraise(j, "integer modulo by zero");
        r = b == -1 ? 0 : a - floor_div(j, a, b) * b;
        break;
    case OP_POW: return power(j, a, b);
    default:
        if (b == 0)
            gr_jraise(j, "division by zero");
        return gr_jfloat((double)a / (double)b);
    }
    if (over)
        too_big(j);
    return gr_jint(r);
}

static double mod(double a, double b)
{
    double m = fmod(a, b);

    if (m != 0 && (b < 0) != (m < 0))
        m += b;
    return m != 0 ? m : copysign(0, b);
}

static double floor_quotient(double a, double b)
{
    double div = (a - mod(a, b)) / b, floored;

    if (div == 0)
        return copysign(0, a / b);
    floored = floor(div);
    return div - floored > 0.5 ? floored + 1 : floored;
}

static jval reals(jctx *j, int op, double a, double b)
{
    double r;

    if (b == 0 && (op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD))
        gr_jraise(j, op == OP_DIV ? "float division by zero" : op == OP_MOD ? "float modulo"
                                                                             : "float floor division by zero");
    switch (op) {
    case OP_ADD: return gr_jfloat(a + b);
    case OP_SUB: return gr_jfloat(a - b);
    case OP_MUL: return gr_jfloat(a * b);
    case OP_DIV: return gr_jfloat(a / b);
    case OP_MOD: return gr_jfloat(mod(a, b));
    case OP_FLOORDIV: return gr_jfloat(floor_quotient(a, b));
    default:
        if (a == 0 && b < 0)
            gr_jraise(j, "0.0 cannot be raised to a negative power");
        if (a < 0 && b != floor(b))
            gr_jfail(j, GRAM_EUNSUPPORTED, "the chat template computes a complex number");
        r = pow(a, b);
        if (isinf(r) && isfinite(a) && isfinite(b))
            gr_jraise(j, "(34, 'Numerical result out of range')");
        return gr_jfloat(r);
    }
}

static const char *symbol(int op)
{
    static const char *const name[] = { [OP_ADD] = "+", [OP_SUB] = "-", [OP_MUL] = "*", [OP_DIV] = "/",
                                        [OP_FLOORDIV] = "//", [OP_MOD] = "%", [OP_POW] = "** or pow()" };

    return name[op];
}

static bool seq(jval v) { return v.t == J_LIST || v.t == J_TUPLE; }

static jval repeat(jctx *j, jval v, int64_t n)
{
    jbuf *b;
    jval out;

    if (v.t == J_STR) {
        b = gr_jbuf_new(j);
        b->safe = v.s->safe;
        for (int64_t i = 0; i < n && v.s->n; i++) {
            gr_jstep(j, 1);
            gr_jbuf_add(b, v.s);
        }
        return gr_jstrv(gr_jbuf_str(b));
    }
    out = gr_jlist_new(j, v.t, 0);
    for (int64_t i = 0; i < n && v.l->n; i++)
        for (size_t k = 0; k < v.l->n; k++)
            gr_jpush(j, out.l, v.l->v[k]);
    return out;
}

static jval add(jctx *j, jval a, jval b)
{
    if (a.t == J_STR && b.t == J_STR) {
        if (a.s->safe == b.s->safe)
            return gr_jstrv(gr_jjoin(j, a.s, b.s));
        const jstr *both = gr_jjoin(j, gr_jescape(j, a), gr_jescape(j, b));
        ((jstr *)(uintptr_t)both)->safe = true;
        return gr_jstrv(both);
    }
    if (seq(a) && a.t == b.t) {
        jval out = gr_jlist_new(j, a.t, a.l->n + b.l->n);
        for (size_t i = 0; i < a.l->n + b.l->n; i++)
            gr_jpush(j, out.l, i < a.l->n ? a.l->v[i] : b.l->v[i - a.l->n]);
        return out;
    }
    if (a.t == J_STR || seq(a))
        gr_jraise(j, "can only concatenate %s (not \"%s\") to %s", gr_jtype_name(a), gr_jtype_name(b),
                  gr_jtype_name(a));
    gr_jraise(j, "unsupported operand type(s) for +: '%s' and '%s'", gr_jtype_name(a), gr_jtype_name(b));
}

jval gr_jbinary(jctx *j, int op, jval a, jval b)
{
    gr_jneed(j, a);
    if (op == OP_MOD && a.t == J_STR)
        return gr_jstrv(gr_jpercent(j, a.s, b));
    gr_jneed(j, b);
    if (whole(a) && whole(b))
        return ints(j, op, int_of(a), int_of(b));
    if ((whole(a) || a.t == J_FLOAT) && (whole(b) || b.t == J_FLOAT))
        return reals(j, op, real_of(a), real_of(b));
    if (op == OP_ADD)
        return add(j, a, b);
    if (op == OP_MUL && (a.t == J_STR || seq(a)) && whole(b))
        return repeat(j, a, int_of(b));
    if (op == OP_MUL && (b.t == J_STR || seq(b)) && whole(a))
        return repeat(j, b, int_of(a));
    if (op == OP_MUL && (a.t == J_STR || seq(a) || b.t == J_STR || seq(b)))
        gr_jraise(j, "can't multiply sequence by non-int of type '%s'",
                  gr_jtype_name(a.t == J_STR || seq(a) ? b : a));
    gr_jraise(j, "unsupported operand type(s) for %s: '%s' and '%s'", symbol(op), gr_jtype_name(a), gr_jtype_name(b));
}

jval gr_jnegate(jctx *j, jval v, bool plus)
{
    gr_jneed(j, v);
    if (v.t == J_FLOAT)
        return plus ? v : gr_jfloat(-v.f);
    if (!whole(v))
        gr_jraise(j, "bad operand type for unary %c: '%s'", plus ? '+' : '-', gr_jtype_name(v));
    if (!plus && int_of(v) == INT64_MIN)
        too_big(j);
    return gr_jint(plus ? int_of(v) : -int_of(v));
}

/* x to a multiple of 10^zeros, half to even. */
static int64_t round_int(jctx *j, int64_t x, uint64_t zeros)
{
    __int128 by = 1, down, rest;

    if (zeros > 19)                             /* half of 10^20 is beyond 64 bits */
        return 0;
    while (zeros-- > 0)
        by *= 10;
    rest = (x % by + by) % by;
    down = x - rest;
    if (2 * rest > by || (2 * rest == by && down / by % 2))
        down += by;
    if (down > INT64_MAX || down < INT64_MIN)
        too_big(j);
    return (int64_t)down;
}

/* Half to even, in decimal digits: printf() rounds the exact value of the double, as Python does. */
jval gr_jround(jctx *j, jval v, int64_t digits)
{
    char s[400];
    double f;

    gr_jneed(j, v);
    if (whole(v))
        return gr_jint(digits >= 0 ? int_of(v) : round_int(j, int_of(v), 0 - (uint64_t)digits));
    if (v.t != J_FLOAT)
        gr_jraise(j, "type %s doesn't define __round__ method", gr_jtype_name(v));
    if (!isfinite(v.f) || digits > 300 || (digits >= 0 && fabs(v.f) > 1e18))
        return v;
    if (digits < -308)
        return gr_jfloat(copysign(0, v.f));
    if (digits < 0) {
        f = pow(10, (double)-digits);
        return gr_jfloat(nearbyint(v.f / f) * f);
    }
    snprintf(s, sizeof s, "%.*f", (int)digits, v.f);
    return gr_jfloat(strtod(s, NULL));
}
