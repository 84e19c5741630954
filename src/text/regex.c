/* regex.c - the patterns of tokenizer.json, which speak Oniguruma, run by PCRE2.
 *
 * The two agree on nearly everything that tokenizers use. What differs is rewritten (\s, \w, \b and \h stand for
 * other characters, ^ and $ mean lines) or refused by name (nested classes, x{1,2}+, inline options other
 * than i). A file may be hostile: compiling and matching have limits, and running into one is an error. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text/newer.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

enum { PATTERN_MAX = 1 << 16 };

#define SPACE   "\\x09-\\x0d\\x20\\x85\\p{Z}"
#define HEX     "0-9a-fA-F"
/* The superscripts and fractions of Latin-1 are parts of words to Oniguruma, but not in a class. */
#define WORD    CLASS_WORD "\\xb2\\xb3\\xb9\\xbc-\\xbe"
#define CLASS_WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}" \
                "\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}" NEW_L NEW_M NEW_ND

bool gr_spans_add(gr_spans *s, size_t start, size_t end, bool match)
{
    gr_span *p = gr_grown(s->p, s->n, &s->cap, 1, sizeof *p);

    if (!p)
        return false;
    s->p = p;
    s->p[s->n++] = (gr_span){ start, end, match };
    return true;
}

/* A walk over the pattern as Oniguruma reads it. */
struct walk {
    const char *p, *end, *refused;
    bool in_class;
    gr_buf out;
    bool nomem;
};

static void put(struct walk *w, const char *s, size_t n)
{
    if (!gr_buf_add(&w->out, s, n))
        w->nomem = true;
}

static void puts_(struct walk *w, const char *s)
{
    put(w, s, strlen(s));
}

/* \s and its kin: the characters, as a class or inside one. */
static void shorthand(struct walk *w, const char *chars, bool negated)
{
    if (w->in_class && negated)
        w->refused = "a negated shorthand inside a class";
    else if (w->in_class)
        puts_(w, chars);
    else {
        puts_(w, negated ? "[^" : "[");
        puts_(w, chars);
        puts_(w, "]");
    }
}

/* \p{L} and its like, with what is new. */
static bool property(struct walk *w)
{
    static const struct { const char *name, *chars; } known[] = {
        { "{L}", "\\p{L}" NEW_L }, { "{Lu}", "\\p{Lu}" NEW_LU }, { "{Ll}", "\\p{Ll}" NEW_LL },
        { "{Lm}", "\\p{Lm}" NEW_LM }, { "{Lo}", "\\p{Lo}" NEW_LO }, { "{M}", "\\p{M}" NEW_M },
        { "{Mn}", "\\p{Mn}" NEW_MN }, { "{Mc}", "\\p{Mc}" NEW_MC }, { "{N}", "\\p{N}" NEW_N },
        { "{Nd}", "\\p{Nd}" NEW_ND }, { "{No}", "\\p{No}" NEW_NO }, { "{P}", "\\p{P}" NEW_P },
        { "{S}", "\\p{S}" NEW_S }, { "{Han}", "\\p{sc:Han}" NEW_HAN }
    };

    if (w->in_class && w->p[1] == 'P')
        return false;
    for (size_t i = 0; i < GR_COUNT(known); i++) {
        size_t n = strlen(known[i].name);
        if ((size_t)(w->end - w->p) < 2 + n || memcmp(w->p + 2, known[i].name, n))
            continue;
        shorthand(w, known[i].chars, w->p[1] == 'P');
        w->p += 2 + n;
        return true;
    }
    return false;
}

/* Is it the name of a script? To PCRE2 that would mean its extensions too. */
static bool is_script(const char *name, size_t n)
{
    char re[64];
    int code, len = snprintf(re, sizeof re, "\\p{sc:%.*s}", (int)gr_min(n, 40), name);
    size_t at;
    pcre2_code *c = n > 2 && n <= 40 ? pcre2_compile((PCRE2_SPTR)re, (size_t)len, PCRE2_UTF, &code, &at, NULL) : NULL;

    pcre2_code_free(c);
    return c;
}

/* \p{..}, \x{..}: to the closing brace as one. */
static void braced(struct walk *w)
{
    const char *q = w->p + 2, *name = q + 1;

    if (q < w->end && *q == '{')
        while (q < w->end && *q != '}')
            q++;
    name += name < q && *name == '^';
    if (name < q && w->p[1] != 'x' && is_script(name, (size_t)(q - name))) {
        put(w, w->p, (size_t)(name - w->p));
        puts_(w, "sc:");
        w->p = name;
    }
    if (q < w->end && (*q == '}'))
        q++;
    put(w, w->p, (size_t)(q - w->p));
    w->p = q;
}

static void escape(struct walk *w)
{
    char c = w->end - w->p > 1 ? w->p[1] : '\0';
    size_t n = 2;

    switch (c) {
    case 'p': case 'P':
        if (w->end - w->p < 3 || w->p[2] != '{')
            w->refused = "\\p without {";      /* the letter p */
        else if (!property(w))
            braced(w);
        return;
    case 'x':
        braced(w);
        return;
    case 'u':
        if (w->end - w->p < 6) {
            w->refused = "\\u without four digits";
            return;
        }
        puts_(w, "\\x{");
        put(w, w->p + 2, 4);
        puts_(w, "}");
        w->p += 6;
        return;
    case 's': shorthand(w, SPACE, false); break;
    case 'S':
        if (w->in_class)
            puts_(w, "\\S");        /* differs in U+180E alone */
        else
            shorthand(w, SPACE, true);
        break;
    case 'w': shorthand(w, w->in_class ? CLASS_WORD : WORD, false); break;
    case 'W': shorthand(w, WORD, true); break;
    case 'h': shorthand(w, HEX, false); break;
    case 'H': shorthand(w, HEX, true); break;
    case 'b': puts_(w, w->in_class ? "\\b" : "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))"); break;
    case 'B': puts_(w, "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))"); break;
    case 'v': puts_(w, "\\x0b"); break;
    case 'd': shorthand(w, "\\p{Nd}" NEW_ND, false); break;
    case 'D':
        if (w->in_class)
            puts_(w, "\\P{Nd}");      /* differs in new digits alone */
        else
            shorthand(w, "\\p{Nd}" NEW_ND, true);
        break;
    default:
        if (((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) && !strchr("aefnrtAGKRzZ", c))
            w->refused = "an escape that is not known here";
        n = c ? 1 + gr_utf8_len(c) : 1;
        put(w, w->p, n);
    }
    w->p += n;
}

/* [:space:] and its like: those that mean the same, or can be said. */
static void named_class(struct walk *w)
{
    static const struct { const char *name, *chars; } known[] = {
        { "[:space:]", SPACE }, { "[:word:]", CLASS_WORD }, { "[:digit:]", "\\p{Nd}" NEW_ND },
        { "[:punct:]", "\\p{P}\\p{S}" NEW_P NEW_S }, { "[:xdigit:]", HEX }, { "[:ascii:]", "\\x00-\\x7f" }
    };

    for (size_t i = 0; i < GR_COUNT(known); i++) {
        size_t n = strlen(known[i].name);
        if ((size_t)(w->end - w->p) < n || memcmp(w->p, known[i].name, n))
            continue;
        puts_(w, known[i].chars);
        w->p += n;
        return;
    }
    w->refused = "a class by name other than space, word, digit, punct, xdigit and ascii";
}

static void class_char(struct walk *w)
{
    const char *q = w->p;

    if (q[0] == '[' && w->end - q > 1 && q[1] == ':') {
        named_class(w);
        return;
    }
    if (q[0] == '[')
        w->refused = "a class inside a class";
    if (q[0] == '&' && w->end - q > 1 && q[1] == '&')
        w->refused = "an intersection of classes";
    w->in_class = q[0] != ']';
    put(w, w->p++, 1);
}

static void group(struct walk *w)
{
    const char *q = w->p + 1;

    if (q < w->end && *q == '*')
        w->refused = "(*";
    if (w->end - q > 1 && q[0] == '?') {
        q++;
        if (strchr("PR&C|+~(0123456789", *q))
            w->refused = "a group that is not known here";
        for (; q < w->end && *q >= 'a' && *q <= 'z'; q++)
            if (*q != 'i')
                w->refused = "an inline option other than i";
    }
    put(w, w->p++, 1);
}

static void outside_char(struct walk *w)
{
    char c = *w->p;

    if (c == '(') {
        group(w);
        return;
    }
    if (c == '}' && w->end - w->p > 1 && w->p[1] == '+')
        w->refused = "a repeated {n,m}+";
    put(w, w->p++, 1);
    if (c != '[')
        return;
    w->in_class = true;
    if (w->p < w->end && *w->p == '^')
        put(w, w->p++, 1);
    if (w->p < w->end && *w->p == ']') {        /* first in its class it is an ordinary character */
        puts_(w, "\\]");
        w->p++;
    }
}

static gram_status translate(gr_buf *out, const char *name, gr_str onig, gram_err *err)
{
    struct walk w = { .p = onig.p, .end = onig.p + onig.n };

    while (w.p < w.end && !w.refused && !w.nomem) {
        if (*w.p == '\\')
            escape(&w);
        else if (w.in_class)
            class_char(&w);
        else
            outside_char(&w);
    }
    *out = w.out;
    if (w.nomem)
        return gr_nomem(err, name);
    if (w.refused)
        return gr_fail(err, GRAM_EUNSUPPORTED, "%s: the regular expression \"%.*s\" has %s, which is not supported",
                       name, (int)gr_min(onig.n, 300), onig.p, w.refused);
    return GRAM_OK;
}

gram_status gr_pat_regex(gr_pat *p, const char *name, gr_str onig, gram_err *err)
{
    const uint32_t how = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    pcre2_compile_context *cc = NULL;
    gr_buf re = { 0 };
    gram_status rc;
    size_t at = 0;
    int code = 0;

    p->kind = PAT_REGEX;
    if (onig.n > PATTERN_MAX)
        return gr_fail(err, GRAM_EFORMAT, "%s: a regular expression of %zu bytes, at most %d wanted", name, onig.n,
                       PATTERN_MAX);
    rc = translate(&re, name, onig, err);
    if (rc)
        goto out;
    cc = pcre2_compile_context_create(NULL);
    if (!cc) {
        rc = gr_nomem(err, name);
        goto out;
    }
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    p->re = pcre2_compile((PCRE2_SPTR)(re.p ? re.p : ""), re.n, how, &code, &at, cc);
    if (!p->re) {
        PCRE2_UCHAR why[128] = "";
        pcre2_get_error_message(code, why, sizeof why);
        rc = code == PCRE2_ERROR_HEAP_FAILED ? gr_nomem(err, name) :
             gr_fail(err, GRAM_EFORMAT, "%s: the regular expression \"%.*s\" does not compile: %s", name,
                     (int)gr_min(onig.n, 300), onig.p, (char *)why);
        goto out;
    }
    pcre2_jit_compile(p->re, PCRE2_JIT_COMPLETE);       /* where it cannot, the interpreter matches */
out:
    pcre2_compile_context_free(cc);
    gr_buf_clear(&re);
    return rc;
}

bool gr_pat_literal(gr_pat *p, gr_str s)
{
    p->kind = PAT_LITERAL;
    p->lit = gr_strndup(s.p, s.n);
    p->n_lit = s.n;
    return p->lit;
}

void gr_pat_clear(gr_pat *p)
{
    pcre2_code_free(p->re);
    free(p->lit);
}

static int match(const pcre2_code *re, const char *s, size_t n, size_t at, pcre2_match_data *md,
                 pcre2_match_context *mc)
{
    int rc = pcre2_match(re, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK, md, mc);

    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)       /* the interpreter keeps its stack on the heap */
        rc = pcre2_match(re, (PCRE2_SPTR)s, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, md, mc);
    return rc;
}

static gram_status match_failed(int code, gram_err *err)
{
    PCRE2_UCHAR why[128] = "";

    if (code == PCRE2_ERROR_NOMEMORY)
        return gr_nomem(err, "the pre-tokenizer's regular expression");
    pcre2_get_error_message(code, why, sizeof why);
    return gr_fail(err, GRAM_ELIMIT, "the pre-tokenizer's regular expression gave up: %s", (char *)why);
}

/* An empty match right where the last one ended is none, as in the onig crate. */
static gram_status find_regex(const gr_pat *p, pcre2_match_data *md, pcre2_match_context *mc, const char *s, size_t n,
                              gr_spans *out, gram_err *err)
{
    const size_t *o = pcre2_get_ovector_pointer(md);
    size_t at = 0, done = 0;
    bool any = false;

    while (at <= n) {
        int rc = match(p->re, s, n, at, md, mc);

        if (rc == PCRE2_ERROR_NOMATCH)
            break;
        if (rc < 0)
            return match_failed(rc, err);
        if (o[0] < done || o[1] < o[0])
            return gr_fail(err, GRAM_EUNSUPPORTED, "a regular expression whose match starts after its end");
        if (o[1] == o[0] && any && o[1] == done) {
            at += at < n ? gr_utf8_len(s[at]) : 1;
            continue;
        }
        if ((done < o[0] && !gr_spans_add(out, done, o[0], false)) || !gr_spans_add(out, o[0], o[1], true))
            return gr_nomem(err, "words");
        at = done = o[1];
        any = true;
    }
    if (done < n && !gr_spans_add(out, done, n, false))
        return gr_nomem(err, "words");
    return GRAM_OK;
}

static gram_status find_literal(const gr_pat *p, const char *s, size_t n, gr_spans *out, gram_err *err)
{
    size_t done = 0;
    const char *hit;

    while (p->n_lit && done < n && (hit = memmem(s + done, n - done, p->lit, p->n_lit))) {
        size_t at = (size_t)(hit - s);
        if ((done < at && !gr_spans_add(out, done, at, false)) || !gr_spans_add(out, at, at + p->n_lit, true))
            return gr_nomem(err, "words");
        done = at + p->n_lit;
    }
    if (done < n && !gr_spans_add(out, done, n, false))
        return gr_nomem(err, "words");
    return GRAM_OK;
}

static gram_status find_char(const gr_pat *p, const char *s, size_t n, gr_spans *out, gram_err *err)
{
    size_t done = 0;

    for (size_t i = 0, len; i < n; i += len) {
        len = gr_utf8_len(s[i]);
        if (!p->is(gr_utf8_get(s + i)))
            continue;
        if ((done < i && !gr_spans_add(out, done, i, false)) || !gr_spans_add(out, i, i + len, true))
            return gr_nomem(err, "words");
        done = i + len;
    }
    if (done < n && !gr_spans_add(out, done, n, false))
        return gr_nomem(err, "words");
    return GRAM_OK;
}

gram_status gr_pat_find(const gr_pat *p, pcre2_match_data *md, pcre2_match_context *mc, const char *s, size_t n,
                        gr_spans *out, gram_err *err)
{
    out->n = 0;
    switch (p->kind) {
    case PAT_REGEX:   return n ? find_regex(p, md, mc, s, n, out, err) : GRAM_OK;
    case PAT_LITERAL: return find_literal(p, s, n, out, err);
    case PAT_CHAR:    return find_char(p, s, n, out, err);
    }
    return GRAM_OK;
}

gram_status gr_pat_replace(gr_enc *e, const gr_pat *p, gr_str s, gr_str content, gr_buf *out)
{
    gram_status rc = gr_pat_find(p, e->md, e->t->limits, s.p, s.n, &e->scratch, e->err);

    for (size_t i = 0; !rc && i < e->scratch.n; i++) {
        const gr_span *m = &e->scratch.p[i];
        gr_str add = m->match ? content : (gr_str){ s.p + m->start, m->end - m->start };

        if (!gr_buf_add(out, add.p, add.n))
            rc = gr_nomem(e->err, "a replaced text");
        else if (out->n > e->limit)
            rc = gr_fail(e->err, GRAM_ELIMIT, "replacements make more than %zu bytes of a text", e->limit);
    }
    return rc;
}
