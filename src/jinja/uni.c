/* uni.c - characters as Python's str knows them: white space, case, classes. */
#include <utf8proc.h>
#include "jinja/jinja_int.h"

/* Case maps to more than one character: upper() and title() (Unicode's SpecialCasing). */
static const struct { int32_t c, upper[3], title[3]; } special[] = {
    { 0x00df, { 0x0053, 0x0053 }, { 0x0053, 0x0073 } }, { 0x0149, { 0x02bc, 0x004e }, { 0x02bc, 0x004e } },
    { 0x01f0, { 0x004a, 0x030c }, { 0x004a, 0x030c } },
    { 0x0390, { 0x0399, 0x0308, 0x0301 }, { 0x0399, 0x0308, 0x0301 } },
    { 0x03b0, { 0x03a5, 0x0308, 0x0301 }, { 0x03a5, 0x0308, 0x0301 } },
    { 0x0587, { 0x0535, 0x0552 }, { 0x0535, 0x0582 } }, { 0x1e96, { 0x0048, 0x0331 }, { 0x0048, 0x0331 } },
    { 0x1e97, { 0x0054, 0x0308 }, { 0x0054, 0x0308 } }, { 0x1e98, { 0x0057, 0x030a }, { 0x0057, 0x030a } },
    { 0x1e99, { 0x0059, 0x030a }, { 0x0059, 0x030a } }, { 0x1e9a, { 0x0041, 0x02be }, { 0x0041, 0x02be } },
    { 0x1f50, { 0x03a5, 0x0313 }, { 0x03a5, 0x0313 } },
    { 0x1f52, { 0x03a5, 0x0313, 0x0300 }, { 0x03a5, 0x0313, 0x0300 } },
    { 0x1f54, { 0x03a5, 0x0313, 0x0301 }, { 0x03a5, 0x0313, 0x0301 } },
    { 0x1f56, { 0x03a5, 0x0313, 0x0342 }, { 0x03a5, 0x0313, 0x0342 } }, { 0x1f80, { 0x1f08, 0x0399 }, { 0x1f88 } },
    { 0x1f81, { 0x1f09, 0x0399 }, { 0x1f89 } }, { 0x1f82, { 0x1f0a, 0x0399 }, { 0x1f8a } },
    { 0x1f83, { 0x1f0b, 0x0399 }, { 0x1f8b } }, { 0x1f84, { 0x1f0c, 0x0399 }, { 0x1f8c } },
    { 0x1f85, { 0x1f0d, 0x0399 }, { 0x1f8d } }, { 0x1f86, { 0x1f0e, 0x0399 }, { 0x1f8e } },
    { 0x1f87, { 0x1f0f, 0x0399 }, { 0x1f8f } }, { 0x1f88, { 0x1f08, 0x0399 }, { 0x1f88 } },
    { 0x1f89, { 0x1f09, 0x0399 }, { 0x1f89 } }, { 0x1f8a, { 0x1f0a, 0x0399 }, { 0x1f8a } },
    { 0x1f8b, { 0x1f0b, 0x0399 }, { 0x1f8b } }, { 0x1f8c, { 0x1f0c, 0x0399 }, { 0x1f8c } },
    { 0x1f8d, { 0x1f0d, 0x0399 }, { 0x1f8d } }, { 0x1f8e, { 0x1f0e, 0x0399 }, { 0x1f8e } },
    { 0x1f8f, { 0x1f0f, 0x0399 }, { 0x1f8f } }, { 0x1f90, { 0x1f28, 0x0399 }, { 0x1f98 } },
    { 0x1f91, { 0x1f29, 0x0399 }, { 0x1f99 } }, { 0x1f92, { 0x1f2a, 0x0399 }, { 0x1f9a } },
    { 0x1f93, { 0x1f2b, 0x0399 }, { 0x1f9b } }, { 0x1f94, { 0x1f2c, 0x0399 }, { 0x1f9c } },
    { 0x1f95, { 0x1f2d, 0x0399 }, { 0x1f9d } }, { 0x1f96, { 0x1f2e, 0x0399 }, { 0x1f9e } },
    { 0x1f97, { 0x1f2f, 0x0399 }, { 0x1f9f } }, { 0x1f98, { 0x1f28, 0x0399 }, { 0x1f98 } },
    { 0x1f99, { 0x1f29, 0x0399 }, { 0x1f99 } }, { 0x1f9a, { 0x1f2a, 0x0399 }, { 0x1f9a } },
    { 0x1f9b, { 0x1f2b, 0x0399 }, { 0x1f9b } }, { 0x1f9c, { 0x1f2c, 0x0399 }, { 0x1f9c } },
    { 0x1f9d, { 0x1f2d, 0x0399 }, { 0x1f9d } }, { 0x1f9e, { 0x1f2e, 0x0399 }, { 0x1f9e } },
    { 0x1f9f, { 0x1f2f, 0x0399 }, { 0x1f9f } }, { 0x1fa0, { 0x1f68, 0x0399 }, { 0x1fa8 } },
    { 0x1fa1, { 0x1f69, 0x0399 }, { 0x1fa9 } }, { 0x1fa2, { 0x1f6a, 0x0399 }, { 0x1faa } },
    { 0x1fa3, { 0x1f6b, 0x0399 }, { 0x1fab } }, { 0x1fa4, { 0x1f6c, 0x0399 }, { 0x1fac } },
    { 0x1fa5, { 0x1f6d, 0x0399 }, { 0x1fad } }, { 0x1fa6, { 0x1f6e, 0x0399 }, { 0x1fae } },
    { 0x1fa7, { 0x1f6f, 0x0399 }, { 0x1faf } }, { 0x1fa8, { 0x1f68, 0x0399 }, { 0x1fa8 } },
    { 0x1fa9, { 0x1f69, 0x0399 }, { 0x1fa9 } }, { 0x1faa, { 0x1f6a, 0x0399 }, { 0x1faa } },
    { 0x1fab, { 0x1f6b, 0x0399 }, { 0x1fab } }, { 0x1fac, { 0x1f6c, 0x0399 }, { 0x1fac } },
    { 0x1fad, { 0x1f6d, 0x0399 }, { 0x1fad } }, { 0x1fae, { 0x1f6e, 0x0399 }, { 0x1fae } },
    { 0x1faf, { 0x1f6f, 0x0399 }, { 0x1faf } }, { 0x1fb2, { 0x1fba, 0x0399 }, { 0x1fba, 0x0345 } },
    { 0x1fb3, { 0x0391, 0x0399 }, { 0x1fbc } }, { 0x1fb4, { 0x0386, 0x0399 }, { 0x0386, 0x0345 } },
    { 0x1fb6, { 0x0391, 0x0342 }, { 0x0391, 0x0342 } },
    { 0x1fb7, { 0x0391, 0x0342, 0x0399 }, { 0x0391, 0x0342, 0x0345 } }, { 0x1fbc, { 0x0391, 0x0399 }, { 0x1fbc } },
    { 0x1fc2, { 0x1fca, 0x0399 }, { 0x1fca, 0x0345 } }, { 0x1fc3, { 0x0397, 0x0399 }, { 0x1fcc } },
    { 0x1fc4, { 0x0389, 0x0399 }, { 0x0389, 0x0345 } }, { 0x1fc6, { 0x0397, 0x0342 }, { 0x0397, 0x0342 } },
    { 0x1fc7, { 0x0397, 0x0342, 0x0399 }, { 0x0397, 0x0342, 0x0345 } }, { 0x1fcc, { 0x0397, 0x0399 }, { 0x1fcc } },
    { 0x1fd2, { 0x0399, 0x0308, 0x0300 }, { 0x0399, 0x0308, 0x0300 } },
    { 0x1fd3, { 0x0399, 0x0308, 0x0301 }, { 0x0399, 0x0308, 0x0301 } },
    { 0x1fd6, { 0x0399, 0x0342 }, { 0x0399, 0x0342 } },
    { 0x1fd7, { 0x0399, 0x0308, 0x0342 }, { 0x0399, 0x0308, 0x0342 } },
    { 0x1fe2, { 0x03a5, 0x0308, 0x0300 }, { 0x03a5, 0x0308, 0x0300 } },
    { 0x1fe3, { 0x03a5, 0x0308, 0x0301 }, { 0x03a5, 0x0308, 0x0301 } },
    { 0x1fe4, { 0x03a1, 0x0313 }, { 0x03a1, 0x0313 } }, { 0x1fe6, { 0x03a5, 0x0342 }, { 0x03a5, 0x0342 } },
    { 0x1fe7, { 0x03a5, 0x0308, 0x0342 }, { 0x03a5, 0x0308, 0x0342 } },
    { 0x1ff2, { 0x1ffa, 0x0399 }, { 0x1ffa, 0x0345 } }, { 0x1ff3, { 0x03a9, 0x0399 }, { 0x1ffc } },
    { 0x1ff4, { 0x038f, 0x0399 }, { 0x038f, 0x0345 } }, { 0x1ff6, { 0x03a9, 0x0342 }, { 0x03a9, 0x0342 } },
    { 0x1ff7, { 0x03a9, 0x0342, 0x0399 }, { 0x03a9, 0x0342, 0x0345 } }, { 0x1ffc, { 0x03a9, 0x0399 }, { 0x1ffc } },
    { 0xfb00, { 0x0046, 0x0046 }, { 0x0046, 0x0066 } }, { 0xfb01, { 0x0046, 0x0049 }, { 0x0046, 0x0069 } },
    { 0xfb02, { 0x0046, 0x004c }, { 0x0046, 0x006c } },
    { 0xfb03, { 0x0046, 0x0046, 0x0049 }, { 0x0046, 0x0066, 0x0069 } },
    { 0xfb04, { 0x0046, 0x0046, 0x004c }, { 0x0046, 0x0066, 0x006c } },
    { 0xfb05, { 0x0053, 0x0054 }, { 0x0053, 0x0074 } }, { 0xfb06, { 0x0053, 0x0054 }, { 0x0053, 0x0074 } },
    { 0xfb13, { 0x0544, 0x0546 }, { 0x0544, 0x0576 } }, { 0xfb14, { 0x0544, 0x0535 }, { 0x0544, 0x0565 } },
    { 0xfb15, { 0x0544, 0x053b }, { 0x0544, 0x056b } }, { 0xfb16, { 0x054e, 0x0546 }, { 0x054e, 0x0576 } },
    { 0xfb17, { 0x0544, 0x053d }, { 0x0544, 0x056d } },
};

bool gr_jspace(int32_t u)
{
    return (u >= 9 && u <= 13) || (u >= 0x1c && u <= 0x20) || u == 0x85 || u == 0xa0 || u == 0x1680
        || (u >= 0x2000 && u <= 0x200a) || u == 0x2028 || u == 0x2029 || u == 0x202f || u == 0x205f || u == 0x3000;
}

/* Bytes that are not UTF-8 are characters of their own, which no class holds. */
size_t gr_jget_char(const char *p, size_t n, int32_t *c)
{
    utf8proc_ssize_t len;

    if ((unsigned char)p[0] < 0x80) {
        *c = p[0];
        return 1;
    }
    len = utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)gr_min(n, 4), c);
    if (len > 0)
        return (size_t)len;
    *c = 0xfffd;
    return 1;
}

size_t gr_jput_char(char s[4], int32_t c)
{
    return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)s);
}

static utf8proc_category_t category(int32_t c) { return utf8proc_category(c); }

bool gr_jprintable(int32_t c)
{
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CC: case UTF8PROC_CATEGORY_CF: case UTF8PROC_CATEGORY_CS: case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN: case UTF8PROC_CATEGORY_ZL: case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == ' ';
    default: return true;
    }
}

static bool is_upper(int32_t c) { return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216f); }
static bool is_lower(int32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba || (c >= 0x2170 && c <= 0x217f);
}
static bool is_cased(int32_t c) { return is_upper(c) || is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT; }
static bool is_alpha(int32_t c)
{
    utf8proc_category_t k = category(c);

    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
static bool is_decimal(int32_t c) { return category(c) == UTF8PROC_CATEGORY_ND; }
static bool is_numeric(int32_t c)
{
    utf8proc_category_t k = category(c);

    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

/* Superscripts, circled and other figures that are digits and no decimals. */
static bool is_digit(int32_t c)
{
    static const struct { int32_t from, to; } range[] = {
        { 0xb2, 0xb3 }, { 0xb9, 0xb9 }, { 0x1369, 0x1371 }, { 0x19da, 0x19da }, { 0x2070, 0x2070 }, { 0x2074, 0x2079 },
        { 0x2080, 0x2089 }, { 0x2460, 0x2468 }, { 0x2474, 0x247c }, { 0x2488, 0x2490 }, { 0x24ea, 0x24ea },
        { 0x24f5, 0x24fd }, { 0x24ff, 0x24ff }, { 0x2776, 0x277e }, { 0x2780, 0x2788 }, { 0x278a, 0x2792 },
        { 0x10a40, 0x10a43 }, { 0x10e60, 0x10e68 }, { 0x11052, 0x1105a }, { 0x1f100, 0x1f10a } };

    for (size_t i = 0; i < GR_COUNT(range); i++)
        if (c >= range[i].from && c <= range[i].to)
            return true;
    return is_decimal(c);
}

/* ---- Case --------------------------------------------------------------------------------------- */

static void put_all(jbuf *b, const int32_t c[3], bool given)
{
    for (int i = 0; i < 3 && c[i]; i++)
        gr_jbuf_char(b, c[i], given);
}

static void put_raised(jbuf *b, int32_t c, bool title, bool given)
{
    for (size_t i = 0; c >= 0xdf && i < GR_COUNT(special); i++)
        if (special[i].c == c) {
            put_all(b, title ? special[i].title : special[i].upper, given);
            return;
        }
    gr_jbuf_char(b, title ? utf8proc_totitle(c) : utf8proc_toupper(c), given);
}

/* A sigma ends a word when a cased character stands before it and none after it. */
static bool final_sigma(const jstr *s, size_t at)
{
    size_t len;
    int32_t c = 0;
    size_t i = at;

    for (; i > 0; ) {
        do
            i--;
        while (i > 0 && ((unsigned char)s->p[i] & 0xc0) == 0x80);
        gr_jget_char(s->p + i, s->n - i, &c);
        if (category(c) != UTF8PROC_CATEGORY_MN && c != '\'' && c != '.')
            break;
        c = 0;
    }
    if (!c || !is_cased(c))
        return false;
    for (i = at + 2; i < s->n; i += len) {
        len = gr_jget_char(s->p + i, s->n - i, &c);
        if (category(c) != UTF8PROC_CATEGORY_MN && c != '\'' && c != '.')
            return !is_cased(c);
    }
    return true;
}

static void put_lowered(jbuf *b, const jstr *s, size_t at, int32_t c)
{
    if (c == 0x130)
        put_all(b, (const int32_t[3]){ 'i', 0x307 }, gr_jmark(s, at));
    else if (c == 0x3a3)
        gr_jbuf_char(b, final_sigma(s, at) ? 0x3c2 : 0x3c3, gr_jmark(s, at));
    else
        gr_jbuf_char(b, utf8proc_tolower(c), gr_jmark(s, at));
}

static void put_folded(jbuf *b, int32_t c, bool given)
{
    utf8proc_int32_t out[8];
    int bound = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, out, (utf8proc_ssize_t)GR_COUNT(out), UTF8PROC_CASEFOLD, &bound);

    for (utf8proc_ssize_t i = 0; i < n && i < (utf8proc_ssize_t)GR_COUNT(out); i++)
        gr_jbuf_char(b, out[i], given);
}

const jstr *gr_jcase(jctx *j, const jstr *s, jcase how)
{
    jbuf *b = gr_jbuf_new(j);
    bool begins = true;

    b->safe = s->safe;
    gr_jstep(j, s->n / 4);
    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        bool given = gr_jmark(s, i), raise;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        switch (how) {
        case CASE_UPPER:   raise = true; break;
        case CASE_LOWER:   raise = false; break;
        case CASE_CAPITAL: raise = i == 0; break;
        case CASE_SWAP:    raise = is_lower(c); break;
        default:           raise = begins; break;
        }
        if (how == CASE_FOLD)
            put_folded(b, c, given);
        else if (how == CASE_SWAP && !is_lower(c) && !is_upper(c))
            gr_jbuf_sub(b, s, i, len);
        else if (raise)
            put_raised(b, c, how == CASE_TITLE || how == CASE_CAPITAL, given);
        else
            put_lowered(b, s, i, c);
        begins = how == CASE_TITLE ? !is_cased(c) : gr_jspace(c) || (c < 0x80 && strchr("-({[<", (int)c) && c);
    }
    return gr_jbuf_str(b);
}

/* ---- Classes ------------------------------------------------------------------------------------ */

static bool in_class(int32_t c, jclass what)
{
    switch (what) {
    case IS_ALPHA:     return is_alpha(c);
    case IS_DIGIT:     return is_digit(c);
    case IS_DECIMAL:   return is_decimal(c);
    case IS_NUMERIC:   return is_numeric(c);
    case IS_ALNUM:     return is_alpha(c) || is_digit(c) || is_numeric(c);
    case IS_SPACE:     return gr_jspace(c);
    case IS_UPPER:     return !is_lower(c) && category(c) != UTF8PROC_CATEGORY_LT;
    case IS_LOWER:     return !is_upper(c) && category(c) != UTF8PROC_CATEGORY_LT;
    case IS_ASCII:     return c < 0x80;
    case IS_PRINTABLE: return gr_jprintable(c);
    default:           return true;
    }
}

static bool is_title(const jstr *s)
{
    bool before = false, any = false;

    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        if ((is_lower(c) && !before) || (is_cased(c) && !is_lower(c) && before))
            return false;
        before = is_cased(c);
        any |= before;
    }
    return any;
}

static bool is_identifier(const jstr *s)
{
    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        utf8proc_category_t k;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        k = category(c);
        if (!(is_alpha(c) || c == '_' || k == UTF8PROC_CATEGORY_NL
              || (i && (is_decimal(c) || k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC
                        || k == UTF8PROC_CATEGORY_PC))))
            return false;
    }
    return s->n > 0;
}

bool gr_jis(const jstr *s, jclass what)
{
    bool cased = false;

    if (what == IS_TITLE)
        return is_title(s);
    if (what == IS_IDENTIFIER)
        return is_identifier(s);
    for (size_t i = 0, len; i < s->n; i += len) {
        int32_t c;
        len = gr_jget_char(s->p + i, s->n - i, &c);
        if (!in_class(c, what))
            return false;
        cased |= is_cased(c);
    }
    if (what == IS_UPPER || what == IS_LOWER)
        return cased;
    return s->n > 0 || what == IS_ASCII || what == IS_PRINTABLE;
}
