/* norm.c - the normalizers, one after the other between two buffers. Most texts pass NFC untouched: it is
 * applied only where a character could change. */
#include <stdlib.h>
#include <utf8proc.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

/* NFC changes nothing below U+0300, the other forms nothing in ASCII. */
static bool is_plain(gr_norm_kind kind, gr_str s)
{
    unsigned char limit = kind == NORM_NFC ? 0xcc : 0x80;

    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] >= limit)
            return false;
    return true;
}

/* Characters that Unicode gained after version 9, the library's, and that ours would move, change or put together: to
 * the library they are letters like any other. */
static bool is_newer(int32_t c)
{
    static const struct { int32_t first, last; } newer[] = {
        { 0x7fd, 0x7fd }, { 0x898, 0x89f }, { 0x8ca, 0x8d3 }, { 0x9fe, 0x9fe }, { 0xc3c, 0xc3c }, { 0xd3b, 0xd3c },
        { 0xeba, 0xeba }, { 0x1715, 0x1715 }, { 0x1abf, 0x1ace }, { 0x1df6, 0x1dfa }, { 0x32ff, 0x32ff },
        { 0xa7f2, 0xa7f4 }, { 0xa82c, 0xa82c }, { 0xab69, 0xab69 }, { 0x10781, 0x107ba }, { 0x10d24, 0x10d27 },
        { 0x10eab, 0x10eac }, { 0x10efd, 0x10eff }, { 0x10f46, 0x10f50 }, { 0x10f82, 0x10f85 }, { 0x11070, 0x11070 },
        { 0x1133b, 0x1133b }, { 0x1145e, 0x1145e }, { 0x11839, 0x1183a }, { 0x11930, 0x11943 }, { 0x119e0, 0x119e0 },
        { 0x11a34, 0x11a34 }, { 0x11a47, 0x11a47 }, { 0x11a99, 0x11a99 }, { 0x11d42, 0x11d45 }, { 0x11d97, 0x11d97 },
        { 0x11f41, 0x11f42 }, { 0x16ff0, 0x16ff1 }, { 0x1e030, 0x1e06d }, { 0x1e08f, 0x1e08f }, { 0x1e130, 0x1e136 },
        { 0x1e2ae, 0x1e2ae }, { 0x1e2ec, 0x1e2ef }, { 0x1e4ec, 0x1e4ef }, { 0x1f16c, 0x1f16c }, { 0x1fbf0, 0x1fbf9 },
    };
    size_t low = 0, high = GR_COUNT(newer);

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (c > newer[mid].last)
            low = mid + 1;
        else
            high = mid;
    }
    return low < GR_COUNT(newer) && c >= newer[low].first;
}

static unsigned class_of(int32_t c)
{
    return utf8proc_get_property(c)->combining_class;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Puts a run of marks in the order of their classes, those of one class as they came. */
static bool order_run(int32_t *c, size_t n)
{
    bool ordered = true;
    uint64_t *key;

    for (size_t i = 1; i < n && ordered; i++)
        ordered = class_of(c[i - 1]) <= class_of(c[i]);
    if (ordered)
        return true;
    key = gr_calloc(n, sizeof *key);
    for (size_t i = 0; key && i < n; i++)
        key[i] = (uint64_t)class_of(c[i]) << 53 | (uint64_t)i << 21 | (uint32_t)c[i];
    if (key)
        qsort(key, n, sizeof *key, by_key);
    for (size_t i = 0; key && i < n; i++)
        c[i] = (int32_t)(key[i] & 0x1fffff);
    free(key);
    return key;
}

/* The form of a text without newer characters. Not utf8proc_map(), which orders a run of n marks in n * n steps. */
static bool form_of(gr_str s, utf8proc_option_t how, gr_ids *c, gr_buf *out)
{
    int32_t part[32];                   /* the longest decomposition has 18 */
    int bound = 0;
    bool ok = true;

    c->n = 0;
    for (size_t i = 0; ok && i < s.n; i += gr_utf8_len(s.p[i])) {
        utf8proc_ssize_t n = utf8proc_decompose_char(gr_utf8_get(s.p + i), part, GR_COUNT(part), how, &bound);
        ok = n >= 0 && (size_t)n <= GR_COUNT(part) && gr_ids_add(c, part, (size_t)n);
    }
    for (size_t i = 0, n; ok && i < c->n; i += n + 1) {
        for (n = 0; i + n < c->n && class_of(c->p[i + n]) > 0; n++)
            ;
        ok = order_run(c->p + i, n);
    }
    if (ok && how & UTF8PROC_COMPOSE)
        c->n = (size_t)utf8proc_normalize_utf32(c->p, (utf8proc_ssize_t)c->n, how);
    for (size_t i = 0; ok && i < c->n; i++) {
        char b[4];
        ok = gr_buf_add(out, b, gr_utf8_put(b, c->p[i]));
    }
    return ok;
}

static bool unicode_form(gr_norm_kind kind, gr_str s, gr_buf *out)
{
    static const utf8proc_option_t how[] = {
        [NORM_NFC]  = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [NORM_NFD]  = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [NORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [NORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    gr_ids c = { 0 };
    bool ok = true;

    while (ok && s.n) {
        size_t n = 0, len = 0;
        while (n < s.n && !is_newer(gr_utf8_get(s.p + n)))
            n += gr_utf8_len(s.p[n]);
        if (n < s.n)
            len = gr_utf8_len(s.p[n]);
        ok = (n == 0 || form_of((gr_str){ s.p, n }, how[kind], &c, out)) && gr_buf_add(out, s.p + n, len);
        s.p += n + len;
        s.n -= n + len;
    }
    gr_ids_clear(&c);
    return ok;
}

static bool lower(gr_str s, gr_buf *out)
{
    for (size_t i = 0, len; i < s.n; i += len) {
        int32_t c = gr_utf8_get(s.p + i);
        char b[4];

        len = gr_utf8_len(s.p[i]);
        if (!(c == 0x130 ? gr_buf_puts(out, "i\xcc\x87") :      /* the one whose lower case is two characters */
              gr_buf_add(out, b, gr_utf8_put(b, utf8proc_tolower(c)))))
            return false;
    }
    return true;
}

static bool drop_marks(gr_str s, gr_buf *out)
{
    for (size_t i = 0, len; i < s.n; i += len) {
        len = gr_utf8_len(s.p[i]);
        if (!gr_char_mark(gr_utf8_get(s.p + i)) && !gr_buf_add(out, s.p + i, len))
            return false;
    }
    return true;
}

static gr_str strip(const gr_norm *k, gr_str s)
{
    while (k->left && s.n && gr_char_space(gr_utf8_get(s.p))) {
        size_t len = gr_utf8_len(*s.p);
        s.p += len;
        s.n -= len;
    }
    while (k->right && s.n) {
        size_t at = s.n - 1;
        while (at > 0 && ((unsigned char)s.p[at] & 0xc0) == 0x80)
            at--;
        if (!gr_char_space(gr_utf8_get(s.p + at)))
            break;
        s.n = at;
    }
    return s;
}

/* Leaves *s where it is, or writes what it becomes to out. */
static gram_status step(gr_enc *e, const gr_norm *k, gr_str *s, gr_buf *out)
{
    gram_status rc = GRAM_OK;
    bool ok = true;

    out->n = 0;
    switch (k->kind) {
    case NORM_NFC: case NORM_NFD: case NORM_NFKC: case NORM_NFKD:
        if (is_plain(k->kind, *s))
            return GRAM_OK;
        ok = unicode_form(k->kind, *s, out);
        break;
    case NORM_STRIP:
        *s = strip(k, *s);
        return GRAM_OK;
    case NORM_LOWER:
        ok = lower(*s, out);
        break;
    case NORM_MARKS:
        ok = drop_marks(*s, out);
        break;
    case NORM_PREPEND:
        if (s->n == 0)
            return GRAM_OK;
        ok = gr_buf_add(out, k->content, k->n_content) && gr_buf_add(out, s->p, s->n);
        break;
    case NORM_REPLACE:
        rc = gr_pat_replace(e, &k->pat, *s, (gr_str){ k->content, k->n_content }, out);
        break;
    }
    if (!ok)
        rc = gr_nomem(e->err, "a normalised text");
    *s = (gr_str){ out->p ? out->p : "", out->n };
    return rc;
}

/* Does this step take the first character away? As the library's alignments tell: what replaces several
 * characters counts as the last of them. */
static bool drops_first(const gr_enc *e, const gr_norm *k, gr_str s)
{
    const gr_span *m = e->scratch.p;

    if (s.n == 0)
        return false;
    switch (k->kind) {
    case NORM_STRIP:   return k->left && gr_char_space(gr_utf8_get(s.p));
    case NORM_MARKS:   return gr_char_mark(gr_utf8_get(s.p));
    case NORM_REPLACE: return e->scratch.n && m->match && (m->end > gr_utf8_len(*s.p) || k->n_content == 0);
    default:           return false;
    }
}

gram_status gr_norm_run(gr_enc *e, gr_str *s, bool *first)
{
    size_t to = 0;                          /* the buffer that *s does not lie in */

    for (size_t i = 0; i < e->t->n_norm; i++) {
        const gr_norm *k = &e->t->norm[i];
        gr_str was = *s;
        gram_status rc = step(e, k, s, &e->norm[to]);
        if (rc)
            return rc;
        *first = *first && !drops_first(e, k, was);
        if (s->p == e->norm[to].p)
            to = !to;
    }
    return GRAM_OK;
}
