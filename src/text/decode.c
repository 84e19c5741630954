/* decode.c - ids to text: the texts of the tokens, changed by one decoder after the other, then joined.
 *
 * The result is always well-formed UTF-8, as the Rust library's is: what a lone piece of a character leaves
 * becomes U+FFFD. A token decoded by itself keeps its bytes, which the next token may make whole. */
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

#define REPLACEMENT "\xef\xbf\xbd"

/* Texts one after the other. */
typedef struct { gr_buf text; size_t *end; size_t n, cap; } parts;

static void clear(parts *p)
{
    gr_buf_clear(&p->text);
    free(p->end);
}

/* Ends a part where the text ends now. */
static bool end_part(parts *p)
{
    size_t *q = gr_grown(p->end, p->n, &p->cap, 1, sizeof *q);

    if (!q)
        return false;
    p->end = q;
    p->end[p->n++] = p->text.n;
    return true;
}

static gr_str part(const parts *p, size_t i)
{
    size_t start = i ? p->end[i - 1] : 0;

    if (start == p->end[i])
        return (gr_str){ "", 0 };               /* where all is empty there is no buffer */
    return (gr_str){ p->text.p + start, p->end[i] - start };
}

/* The bytes that a token's characters stand for, or the token itself when one stands for none. */
static bool add_token_bytes(gr_buf *out, gr_str s)
{
    size_t was = out->n;

    for (size_t i = 0; i < s.n; i += gr_utf8_len(s.p[i])) {
        int32_t c = gr_utf8_get(s.p + i);
        int b = c > 32 && c < 256 && gr_byte_char((unsigned char)c) == c ? c : -1;
        char byte;

        if (c >= 256 && c < 256 + 68)
            b = c < 256 + 33 ? c - 256 : c < 256 + 67 ? c - 256 - 33 + 127 : 173;
        if (b < 0) {
            out->n = was;
            return gr_buf_add(out, s.p, s.n);
        }
        byte = (char)b;
        if (!gr_buf_add(out, &byte, 1))
            return false;
    }
    return true;
}

static bool byte_level(const gr_enc *e, const parts *in, parts *out)
{
    gr_buf bytes = { 0 };
    bool ok = true;

    for (size_t i = 0; ok && i < in->n; i++)
        ok = add_token_bytes(&bytes, part(in, i));
    ok = ok && (e->piece ? gr_buf_add(&out->text, bytes.p, bytes.n) : gr_utf8_add(&out->text, bytes.p, bytes.n)) &&
         end_part(out);
    gr_buf_clear(&bytes);
    return ok;
}

/* <0xE2>: 0xe2, else -1. */
static int byte_token(gr_str s)
{
    char hex[3] = "", *end;
    long b;

    if (s.n != 6 || memcmp(s.p, "<0x", 3) || s.p[5] != '>')
        return -1;
    memcpy(hex, s.p + 3, 2);
    if (hex[0] == '-' || hex[0] == ' ' || (hex[0] >= '\t' && hex[0] <= '\r'))
        return -1;
    b = strtol(hex, &end, 16);
    return *end ? -1 : (int)b;
}

/* A run of byte tokens is text when it is well formed as a whole, else each byte is lost on its own. */
static bool flush_bytes(const gr_enc *e, gr_buf *bytes, parts *out)
{
    bool ok = true;

    if (bytes->n == 0)
        return true;
    if (e->piece || gr_utf8_bad(bytes->p, bytes->n) == bytes->n)
        ok = gr_buf_add(&out->text, bytes->p, bytes->n) && end_part(out);
    else
        for (size_t i = 0; ok && i < bytes->n; i++)
            ok = gr_buf_puts(&out->text, REPLACEMENT) && end_part(out);
    bytes->n = 0;
    return ok;
}

static bool byte_fallback(const gr_enc *e, const parts *in, parts *out)
{
    gr_buf bytes = { 0 };
    bool ok = true;

    for (size_t i = 0; ok && i < in->n; i++) {
        gr_str s = part(in, i);
        int b = byte_token(s);
        char c = (char)b;

        ok = b >= 0 ? gr_buf_add(&bytes, &c, 1)
                    : flush_bytes(e, &bytes, out) && gr_buf_add(&out->text, s.p, s.n) && end_part(out);
    }
    ok = ok && flush_bytes(e, &bytes, out);
    gr_buf_clear(&bytes);
    return ok;
}

static gr_str strip(const gr_enc *e, const gr_dec *k, gr_str s)
{
    for (size_t i = 0; !(e->behind && e->fused) && i < k->start && s.n >= k->n_content &&
         !memcmp(s.p, k->content, k->n_content); i++) {
        s.p += k->n_content;
        s.n -= k->n_content;
    }
    for (size_t i = 0; i < k->stop && s.n >= k->n_content &&
                       !memcmp(s.p + s.n - k->n_content, k->content, k->n_content); i++)
        s.n -= k->n_content;
    return s;
}

/* The prefix character is a space; before the first token it was added and goes. */
static bool meta(const gr_dec *k, gr_str s, bool first, gr_buf *out)
{
    for (size_t i = 0, len; i < s.n; i += len) {
        bool is = s.n - i >= k->n_content && !memcmp(s.p + i, k->content, k->n_content);

        len = is ? k->n_content : gr_utf8_len(s.p[i]);
        if (is ? !(first && k->drop_first) && !gr_buf_puts(out, " ") : !gr_buf_add(out, s.p + i, len))
            return false;
    }
    return true;
}

static gram_status each_part(gr_enc *e, const gr_dec *k, const parts *in, parts *out)
{
    gram_status rc = GRAM_OK;

    for (size_t i = 0; !rc && i < in->n; i++) {
        gr_str s = part(in, i);
        bool ok = true;

        if (k->kind == DEC_REPLACE)
            rc = gr_pat_replace(e, &k->pat, s, (gr_str){ k->content, k->n_content }, &out->text);
        else if (k->kind == DEC_META)
            ok = meta(k, s, i == 0 && !e->behind, &out->text);
        else {
            s = k->kind == DEC_STRIP ? strip(e, k, s) : s;
            ok = gr_buf_add(&out->text, s.p, s.n);
        }
        if (!rc && (!ok || (k->kind != DEC_FUSE && !end_part(out))))
            rc = gr_nomem(e->err, "a decoded text");
    }
    if (!rc && k->kind == DEC_FUSE && !end_part(out))
        rc = gr_nomem(e->err, "a decoded text");
    return rc;
}

static gram_status step(gr_enc *e, const gr_dec *k, const parts *in, parts *out)
{
    bool ok;

    switch (k->kind) {
    case DEC_BYTE_LEVEL:    ok = byte_level(e, in, out); break;
    case DEC_BYTE_FALLBACK: ok = byte_fallback(e, in, out); break;
    default:                return each_part(e, k, in, out);
    }
    return ok ? GRAM_OK : gr_nomem(e->err, "a decoded text");
}

/* A token's text; of an added token that is normalised, its normalised text. */
static gr_str text_of(const gr_tok *t, int32_t id)
{
    gr_str s = gr_tok_text(t, id);

    for (size_t i = 0; s.p && t->vocab.flag[id] & WORD_RESPELT && i < t->n_added; i++)
        if (t->added[i].id == id && t->added[i].spelt)
            return (gr_str){ t->added[i].spelt, t->added[i].n_spelt };
    return s;
}

static gram_status gather(const gr_enc *e, const int32_t *id, size_t n, parts *to)
{
    const gr_tok *t = e->t;

    for (size_t i = 0; i < n; i++) {
        gr_str s = text_of(t, id[i]);

        if (!s.p)
            return gr_fail(e->err, GRAM_EARG, "token %zu is %d, which is no id of this vocabulary of %zu", i, id[i],
                           t->n_ids);
        if (!e->special && gr_tok_is_special(t, id[i]))
            continue;
        if (!t->has_dec && to->n && !gr_buf_puts(&to->text, " "))
            return gr_nomem(e->err, "a decoded text");
        if (!gr_buf_add(&to->text, s.p, s.n) || !end_part(to))
            return gr_nomem(e->err, "a decoded text");
    }
    return GRAM_OK;
}

static gram_status decode(gr_enc *e, const int32_t *id, size_t n, gr_buf *out)
{
    const gr_tok *t = e->t;
    parts a = { 0 }, b = { 0 };
    gram_status rc = gather(e, id, n, &a);

    if (rc)
        goto out;
    e->md = pcre2_match_data_create(1, NULL);
    if (!e->md) {
        rc = gr_nomem(e->err, "a decoded text");
        goto out;
    }
    e->limit = 64 * a.text.n + 65536;
    for (size_t i = 0; i < t->n_dec; i++) {
        parts old = a;
        b.text.n = b.n = 0;
        rc = step(e, &t->dec[i], &a, &b);
        if (rc)
            goto out;
        e->fused = e->fused || t->dec[i].kind == DEC_FUSE || t->dec[i].kind == DEC_BYTE_LEVEL;
        a = b;
        b = old;
    }
    if (!gr_buf_add(out, a.text.p, a.text.n))
        rc = gr_nomem(e->err, "a decoded text");
out:
    pcre2_match_data_free(e->md);
    free(e->scratch.p);
    clear(&a);
    clear(&b);
    return rc;
}

gram_status gr_tok_decode(const gr_tok *t, const int32_t *id, size_t n, bool special, gr_buf *out, gram_err *err)
{
    gr_enc e = { .t = t, .special = special, .err = err };

    return decode(&e, id, n, out);
}

gram_status gr_tok_decode_piece(const gr_tok *t, int32_t id, bool special, bool first, gr_buf *out, gram_err *err)
{
    gr_enc e = { .t = t, .special = special, .piece = true, .behind = !first, .err = err };

    if (!t->has_dec && !first && !gr_buf_puts(out, " "))
        return gr_nomem(err, "a decoded text");
    return decode(&e, &id, 1, out);
}
