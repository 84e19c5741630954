/* lex.c - the text of a template as tokens, with transformers' whitespace control.
 *
 *     trim_blocks     the line end after a block or a comment goes with it
 *     lstrip_blocks   so does the white space before it, where nothing else stands on its line
 *     -               takes all white space on its side, + keeps what the two above would take
 *
 * One line end at the end of the text is not part of it. */
#include <stdlib.h>
#include "jinja/jinja_int.h"

typedef struct {
    jctx *j;
    const char *s;                  /* line ends are "\n" alone */
    size_t n, at;
    int line;
    bool line_starts;               /* what was read last ended in a line end */
    jtokens *out;
    char open[JLIMIT_NEST];         /* brackets */
    size_t n_open;
} lexer;

_Noreturn static void fail(lexer *x, const char *what)
{
    gr_jfail(x->j, GRAM_EFORMAT, "%s: line %d: %s", x->j->name, x->line, what);
}

static jtoken *push(lexer *x, jtoken_type t)
{
    jtokens *o = x->out;

    o->v = gr_jgrow(x->j, o->v, o->n, &o->cap, 1, sizeof *o->v);
    o->v[o->n] = (jtoken){ .t = t, .line = x->line };
    return &o->v[o->n++];
}

static void count_lines(lexer *x, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        x->line += x->s[i] == '\n';
}

static bool is(const lexer *x, size_t at, const char *mark)
{
    size_t n = strlen(mark);

    return at + n <= x->n && !memcmp(x->s + at, mark, n);
}

static size_t skip_space(const lexer *x, size_t at)
{
    int32_t c;

    while (at < x->n) {
        size_t len = gr_jget_char(x->s + at, x->n - at, &c);
        if (!gr_jspace(c))
            break;
        at += len;
    }
    return at;
}

static void move_to(lexer *x, size_t at)
{
    count_lines(x, x->at, at);
    x->line_starts = at > x->at && x->s[at - 1] == '\n';
    x->at = at;
}

/* The text up to a tag, without what the tag's sign takes. */
static void put_data(lexer *x, size_t from, size_t to, char sign, bool variable)
{
    const jstr *s = gr_jstr(x->j, x->s + from, to - from, false);

    if (sign == '-') {
        s = gr_jstrip(x->j, s, NULL, false, true);
    } else if (sign != '+' && !variable) {
        size_t line = s->n;
        while (line > 0 && s->p[line - 1] != '\n')
            line--;
        if ((line > 0 || x->line_starts) && line < s->n && skip_space(x, from + line) >= to)
            s = gr_jsub(x->j, s, 0, line);
    }
    if (s->n)
        push(x, T_DATA)->s = s;
}

/* Where a tag that began ends, with what it takes after itself; 0: nowhere from `at` on. */
static size_t end_of_tag(const lexer *x, size_t at, const char *close, bool plus)
{
    if (is(x, at, "-") && is(x, at + 1, close))
        return skip_space(x, at + 3);
    if (plus && is(x, at, "+") && is(x, at + 1, close))
        return at + 3;
    if (!is(x, at, close))
        return 0;
    return at + 2 + (plus && is(x, at + 2, "\n"));
}

static void comment(lexer *x)
{
    for (size_t i = x->at; i < x->n; i++) {
        size_t end = end_of_tag(x, i, "#}", true);
        if (end) {
            move_to(x, end);
            return;
        }
    }
    if (x->at < x->n)                       /* at the very end of the text Jinja says nothing */
        fail(x, "Missing end of comment tag");
}

/* {% raw %}: from `at`, where its own text begins. */
static void raw(lexer *x)
{
    for (size_t i = x->at; i < x->n; i++) {
        size_t in = i + 2, end;
        char sign;
        if (!is(x, i, "{%"))
            continue;
        sign = in < x->n ? x->s[in] : '\0';
        in = skip_space(x, in + (sign == '-' || sign == '+'));
        if (!is(x, in, "endraw") || !(end = end_of_tag(x, skip_space(x, in + 6), "%}", true)))
            continue;
        put_data(x, x->at, i, sign, false);
        move_to(x, end);
        return;
    }
    if (x->at < x->n)
        fail(x, "Missing end of raw directive");
}

/* Whether {% raw %} stands at `at`, and where it ends. */
static bool opens_raw(const lexer *x, size_t at, size_t *end)
{
    size_t in = at + 2;

    if (!is(x, at, "{%"))
        return false;
    in = skip_space(x, in + (is(x, in, "-") || is(x, in, "+")));
    if (!is(x, in, "raw"))
        return false;
    *end = end_of_tag(x, skip_space(x, in + 3), "%}", false);
    return *end != 0;
}

/* ---- Inside of a tag ---------------------------------------------------------------------------- */

static bool name_char(int32_t c, bool first)
{
    char s[4];
    jstr one = { s, gr_jput_char(s, c), 1, NULL, false, false };

    if (c < 0x80)
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
    return gr_jis(&one, first ? IS_IDENTIFIER : IS_ALNUM);
}

static bool digit(char c, int base)
{
    int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : 99;

    return v < base;
}

/* Digits of the base with single underscores between them; `at` where there are none. */
static size_t digits(const lexer *x, size_t at, int base, bool underscore_first)
{
    size_t i = at;

    for (;;) {
        size_t k = i + (i < x->n && x->s[i] == '_' && (i > at || underscore_first));
        if (k >= x->n || !digit(x->s[k], base))
            return i;
        i = k + 1;
    }
}

/* The end of a number with a point or an exponent; 0: it has neither. */
static size_t float_end(const lexer *x)
{
    size_t whole = digits(x, x->at, 10, false), i = whole, e;

    if (x->at > 0 && x->s[x->at - 1] == '.')
        return 0;
    if (is(x, i, ".") && digits(x, i + 1, 10, false) > i + 1)
        i = digits(x, i + 1, 10, false);
    if (is(x, i, "e") || is(x, i, "E")) {
        e = i + 1;
        e += is(x, e, "+") || is(x, e, "-");
        if (digits(x, e, 10, false) > e)
            return digits(x, e, 10, false);
    }
    return i > whole ? i : 0;
}

static size_t int_end(const lexer *x, int *base)
{
    char b = x->at + 1 < x->n ? (char)(x->s[x->at + 1] | 32) : '\0';

    *base = x->s[x->at] != '0' ? 10 : b == 'b' ? 2 : b == 'o' ? 8 : b == 'x' ? 16 : 10;
    if (*base != 10 && digits(x, x->at + 2, *base, true) > x->at + 2)
        return digits(x, x->at + 2, *base, true);
    *base = 10;
    if (x->s[x->at] == '0') {
        size_t i = x->at + 1;
        while (is(x, i, "0") || (is(x, i, "_0")))
            i += is(x, i, "_") ? 2 : 1;
        return i;
    }
    return digits(x, x->at, 10, false);
}

static void number(lexer *x)
{
    size_t end = float_end(x), n = 0;
    bool real = end != 0;
    int base = 10;
    char *text;
    jtoken *t;

    if (!real)
        end = int_end(x, &base);
    text = gr_jalloc(x->j, end - x->at + 1);
    for (size_t i = x->at + (base == 10 ? 0 : 2); i < end; i++)
        if (x->s[i] != '_')
            text[n++] = x->s[i];
    t = push(x, real ? T_FLOAT : T_INT);
    if (real) {
        double f;
        if (!gr_jparse_float(gr_jlit(x->j, text), &f))
            fail(x, "a number that cannot be read");
        t->val = gr_jfloat(f);
    } else {
        int64_t v;
        if (!gr_jparse_int(gr_jlit(x->j, text), base, &v))
            fail(x, "an integer of more than 64 bits, which gram does not know");
        t->val = gr_jint(v);
    }
    move_to(x, end);
}

static size_t escape(lexer *x, size_t i, jbuf *b)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = x->s[i];
    size_t wide = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0, k = i + 1;
    uint32_t v = 0;

    if (c == '\n')
        return i + 1;
    if (c && strchr(from, c)) {
        gr_jbuf_bytes(b, &to[strchr(from, c) - from], 1, false);
        return i + 1;
    }
    if (c >= '0' && c <= '7') {
        for (k = i; k < i + 3 && k < x->n && x->s[k] >= '0' && x->s[k] <= '7'; k++)
            v = v * 8 + (uint32_t)(x->s[k] - '0');
        gr_jbuf_char(b, (int32_t)v, false);
        return k;
    }
    if (c == 'N')
        fail(x, "\\N{...} in a string, which gram does not know");
    if (!wide) {                        /* an escape that is none stands as it is written */
        gr_jbuf_puts(b, "\\");
        return i;
    }
    for (; k < i + 1 + wide; k++) {
        if (k >= x->n || !digit(x->s[k], 16))
            fail(x, wide == 2 ? "truncated \\xXX escape" : wide == 4 ? "truncated \\uXXXX escape"
                                                                     : "truncated \\UXXXXXXXX escape");
        v = v * 16 + (uint32_t)(x->s[k] <= '9' ? x->s[k] - '0' : (x->s[k] | 32) - 'a' + 10);
    }
    if (v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
        fail(x, "illegal Unicode character");
    gr_jbuf_char(b, (int32_t)v, false);
    return k;
}

static bool string(lexer *x)
{
    char quote = x->s[x->at];
    size_t i = x->at + 1, end = i;
    jbuf *b;

    while (end < x->n && x->s[end] != quote)
        end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n)
        return false;
    b = gr_jbuf_new(x->j);
    while (i < end)
        if (x->s[i] == '\\') {
            i = escape(x, i + 1, b);
        } else {
            size_t from = i;
            while (i < end && x->s[i] != '\\')
                i++;
            gr_jbuf_bytes(b, x->s + from, i - from, false);
        }
    push(x, T_STRING)->s = gr_jbuf_str(b);
    move_to(x, end + 1);
    return true;
}

static void balance(lexer *x, char c)
{
    char want = c == '(' ? ')' : c == '[' ? ']' : c == '{' ? '}' : '\0';

    if (want) {
        if (x->n_open == sizeof x->open)
            gr_jfail(x->j, GRAM_ELIMIT, "%s: line %d: more than %d brackets within each other", x->j->name, x->line,
                     JLIMIT_NEST);
        x->open[x->n_open++] = want;
    } else if (c == ')' || c == ']' || c == '}') {
        if (!x->n_open)
            fail(x, gr_jprintf(x->j, "unexpected '%c'", c));
        if (x->open[--x->n_open] != c)
            fail(x, gr_jprintf(x->j, "unexpected '%c', expected '%c'", c, x->open[x->n_open]));
    }
}

static bool operator(lexer *x)
{
    static const char *const two[] = { "//", "**", "==", "!=", ">=", "<=" };
    char c = x->s[x->at];

    for (size_t i = 0; i < GR_COUNT(two); i++)
        if (is(x, x->at, two[i])) {
            push(x, T_OP)->op = JOP2(two[i][0], two[i][1]);
            x->at += 2;
            x->line_starts = false;
            return true;
        }
    if (!c || !strchr("+-/*%~[](){}><=.:|,;", c))
        return false;
    balance(x, c);
    push(x, T_OP)->op = JOP1(c);
    x->at++;
    x->line_starts = false;
    return true;
}

static bool name(lexer *x)
{
    size_t i = x->at, len;
    int32_t c;

    while (i < x->n) {
        len = gr_jget_char(x->s + i, x->n - i, &c);
        if (!name_char(c, i == x->at))
            break;
        i += len;
    }
    if (i == x->at)
        return false;
    push(x, T_NAME)->s = gr_jstr(x->j, x->s + x->at, i - x->at, false);
    move_to(x, i);
    return true;
}

/* From after the mark that opened a tag to after the one that closes it. */
static void inside(lexer *x, bool variable)
{
    while (x->at < x->n) {
        size_t end = x->n_open ? 0 : end_of_tag(x, x->at, variable ? "}}" : "%}", !variable);
        char c = x->s[x->at];
        if (end) {
            push(x, variable ? T_VAR_END : T_BLOCK_END);
            move_to(x, end);
            return;
        }
        end = skip_space(x, x->at);
        if (end > x->at) {
            move_to(x, end);
        } else if (c >= '0' && c <= '9') {
            number(x);
        } else if (!name(x) && !((c == '\'' || c == '"') && string(x)) && !operator(x)) {
            int32_t u;
            int len = (int)gr_jget_char(x->s + x->at, x->n - x->at, &u);
            fail(x, gr_jprintf(x->j, "unexpected char '%.*s' at %zu", len, x->s + x->at, x->at));
        }
    }
}

static void tag(lexer *x)
{
    bool variable = is(x, x->at, "{{"), is_comment = is(x, x->at, "{#");
    size_t in = x->at + 2, end;

    if (opens_raw(x, x->at, &end)) {
        move_to(x, end);
        raw(x);
        return;
    }
    in += is(x, in, "-") || is(x, in, "+");
    move_to(x, in);
    if (is_comment) {
        comment(x);
        return;
    }
    push(x, variable ? T_VAR_BEGIN : T_BLOCK_BEGIN);
    inside(x, variable);
}

static void normalise(lexer *x, const char *text, size_t n)
{
    char *s = gr_jalloc(x->j, n + 1);
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            continue;
        s[k++] = text[i];
        if (text[i] == '\r')
            s[k - 1] = '\n';
    }
    x->s = s;
    x->n = k - (k > 0 && s[k - 1] == '\n');
}

void gr_jlex(jctx *j, const char *text, size_t n, jtokens *out)
{
    lexer x = { .j = j, .line = 1, .line_starts = true, .out = out };

    normalise(&x, text, n);
    while (x.at < x.n) {
        size_t at = x.at;
        char sign;
        while (at < x.n && !is(&x, at, "{{") && !is(&x, at, "{%") && !is(&x, at, "{#"))
            at++;
        sign = at + 2 < x.n ? x.s[at + 2] : '\0';
        if (at >= x.n)
            sign = '+';
        put_data(&x, x.at, at, sign, is(&x, at, "{{"));
        move_to(&x, at);
        if (at < x.n)
            tag(&x);
    }
    push(&x, T_EOF);
    for (size_t i = 0; i < out->n; i++)         /* counted now: what threads share must not change when it is read */
        if (out->v[i].s)
            gr_jchars(out->v[i].s);
}
