/* tokenizer.c - what all tokenizers share: making one, freeing it, looking up a token, encoding a text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

/* A pattern of a file may be hostile: these stop it within a fraction of a second and 64 MiB. */
enum { MATCH_STEPS = 5000000, MATCH_KIB = 64 << 10 };

gr_tok *gr_tok_new(void)
{
    gr_tok *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    t->unk = -1;
    t->limits = pcre2_match_context_create(NULL);
    if (!t->limits) {
        free(t);
        return NULL;
    }
    pcre2_set_match_limit(t->limits, MATCH_STEPS);
    pcre2_set_heap_limit(t->limits, MATCH_KIB);
    return t;
}

void gr_tok_close(gr_tok *t)
{
    if (!t)
        return;
    gr_vocab_clear(&t->vocab);
    free(t->merges.slot);
    for (size_t i = 0; i < TOK_STEPS; i++) {
        gr_pat_clear(&t->norm[i].pat);
        gr_pat_clear(&t->pre[i].pat);
        gr_pat_clear(&t->dec[i].pat);
        free(t->norm[i].content);
        free(t->dec[i].content);
    }
    for (size_t i = 0; i < t->n_added; i++) {
        free(t->added[i].text);
        free(t->added[i].spelt);
    }
    free(t->added);
    free(t->raw.node);
    free(t->normalized.node);
    pcre2_match_context_free(t->limits);
    free(t);
}

gram_status gr_tok_add(gr_tok *t, const char *name, const gr_added *a, gram_err *err)
{
    gr_str s = { a->text, a->n }, there = gr_vocab_text(&t->vocab, a->id);
    int32_t id = gr_vocab_model(&t->vocab, s.p, s.n);
    gr_added *to = &t->added[t->n_added];

    if (s.n == 0)
        return GRAM_OK;
    if (s.n > TOK_WORD_MAX)
        return gr_fail(err, GRAM_EFORMAT, "%s: an added token of %zu bytes, at most %d wanted", name, s.n,
                       TOK_WORD_MAX);
    if (a->id < 0 || (size_t)a->id >= t->vocab.cap)
        return gr_fail(err, GRAM_EFORMAT, "%s: added token \"%s\" has id %d, below %zu wanted", name, a->text, a->id,
                       t->vocab.cap);
    if (id >= 0 && id != a->id)
        return gr_fail(err, GRAM_EFORMAT, "%s: added token \"%s\" has id %d, and the vocabulary has that text as %d",
                       name, a->text, a->id, id);
    if (there.p && (there.n != s.n || memcmp(there.p, s.p, s.n)))
        return gr_fail(err, GRAM_EFORMAT, "%s: added token \"%s\" has id %d, which is \"%.*s\" in the vocabulary", name,
                       a->text, a->id, (int)gr_min(there.n, 200), there.p);
    *to = *a;
    to->text = gr_strndup(s.p, s.n);
    if (!to->text || !gr_vocab_set(&t->vocab, a->id, s, WORD_ADDED | (a->special ? WORD_SPECIAL : 0))) {
        free(to->text);
        return gr_nomem(err, name);
    }
    t->n_added++;
    return GRAM_OK;
}

/* ---- the tables made from what was read ---- */

static void find_bytes(gr_tok *t)
{
    for (int b = 0; b < 256; b++) {
        char s[8], hex[8];
        size_t n = gr_utf8_put(s, t->byte_level ? gr_byte_char((unsigned char)b) : b);

        t->byte_id[b] = t->byte_level || b < 0x80 ? gr_vocab_model(&t->vocab, s, n) : -1;
        snprintf(hex, sizeof hex, "<0x%02X>", (unsigned)b);
        t->fallback[b] = gr_vocab_model(&t->vocab, hex, 6);
    }
}

static gram_status find_added(gr_tok *t, gr_enc *e, const char *name, gram_err *err)
{
    for (size_t i = 0; i < t->n_added; i++) {
        gr_added *a = &t->added[i];
        gr_str s = { a->text, a->n };
        gram_status rc = a->normalized ? gr_norm_run(e, &s, &(bool){ true }) : GRAM_OK;

        if (rc)
            return rc;
        if (s.n && !gr_trie_put(a->normalized ? &t->normalized : &t->raw, s.p, s.n, (uint32_t)i))
            return gr_nomem(err, name);
        if (s.n == a->n && !memcmp(s.p, a->text, s.n))
            continue;
        a->spelt = gr_strndup(s.p, s.n);
        a->n_spelt = s.n;
        if (!a->spelt)
            return gr_nomem(err, name);
        t->vocab.flag[a->id] |= WORD_RESPELT;
    }
    return GRAM_OK;
}

static void enc_clear(gr_enc *e)
{
    pcre2_match_data_free(e->md);
    for (size_t i = 0; i < GR_COUNT(e->norm); i++)
        gr_buf_clear(&e->norm[i]);
    for (size_t i = 0; i < TOK_STEPS; i++) {
        gr_buf_clear(&e->pre[i]);
        free(e->span[i].p);
    }
    gr_buf_clear(&e->word);
    free(e->scratch.p);
    free(e->sym);
    free(e->heap);
}

gram_status gr_tok_finish(gr_tok *t, const char *name, gram_err *err)
{
    gr_enc e = { .t = t, .limit = 64 * TOK_WORD_MAX, .err = err,
                 .md = pcre2_match_data_create(1, NULL) };
    gram_status rc = e.md ? GRAM_OK : gr_nomem(err, name);

    if (!rc) {
        find_bytes(t);
        t->cut_meta = gr_bpe_cuts(t);
        rc = find_added(t, &e, name, err);
    }
    enc_clear(&e);
    return rc;
}

/* ---- looking up ---- */

uint64_t gr_tok_digest(const gr_tok *t)
{
    return t->digest;
}

bool gr_tok_front(const gr_tok *t, int64_t *id)
{
    if (t->front_said)
        *id = t->front;
    return t->front_said;
}

size_t gr_tok_vocabulary(const gr_tok *t)
{
    return t->n_ids;
}

int32_t gr_tok_find(const gr_tok *t, const char *token)
{
    size_t n = strlen(token);
    int32_t id = gr_vocab_added(&t->vocab, token, n);

    if (id < 0)
        id = gr_vocab_model(&t->vocab, token, n);
    return (size_t)id < t->n_ids ? id : -1;
}

bool gr_tok_is_special(const gr_tok *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_ids && t->vocab.flag[id] & WORD_SPECIAL;
}

bool gr_tok_is_added(const gr_tok *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->n_ids && t->vocab.flag[id] & WORD_ADDED;
}

gr_str gr_tok_text(const gr_tok *t, int32_t id)
{
    return gr_vocab_text(&t->vocab, id >= 0 && (size_t)id < t->n_ids ? id : -1);
}

int gr_tok_spaced(const gr_tok *t)
{
    return !t->byte_level ? -1 : t->n_pre && t->pre[t->n_pre - 1].when == PREFIX_ALWAYS;
}

const char *gr_tok_kind(const gr_tok *t)
{
    return t->byte_level ? "byte-level BPE" : "SentencePiece BPE";
}

/* ---- encoding ---- */

static gram_status words(gr_enc *e, gr_str s, bool first)
{
    return gr_pre_run(e, 0, s, first);
}

/* Where a token stands in a piece of the text: wholly in runs that may hold special ones, or elsewhere. */
static void find_token(const gr_enc *e, gr_str s, const gr_added *a, bool *own, bool *other)
{
    const char *p = s.p;
    size_t k = 0;

    while ((p = memmem(p, s.n - (size_t)(p - s.p), a->text, a->n)) != NULL) {
        size_t at = (size_t)(p - e->text), i;
        while (k + 1 < e->n_runs && e->run[k].end <= at)
            k++;
        for (i = k; i + 1 < e->n_runs && e->run[i].special && e->run[i].end < at + a->n; )
            i++;
        *(e->run[i].special ? own : other) = true;
        p++;
    }
}

/* Behind the normalizer a byte no longer says which run it is of, so a piece is settled as a whole. */
static gram_status settle_piece(gr_enc *e, gr_str s)
{
    bool own = false, other = false;

    for (size_t i = 0; i < e->t->n_added; i++) {
        const gr_added *a = &e->t->added[i];
        bool here = false, there = false;
        if (!gr_added_placed(e, a) || !a->normalized || !a->n)
            continue;
        find_token(e, s, a, &here, &there);
        own |= here;
        other |= there;
        if (own && other)
            return gr_fail(e->err, GRAM_EUNSUPPORTED, "the conversation holds %s, which this tokenizer cannot tell "
                           "from the chat template's own", a->text);
    }
    e->special = !other;
    return GRAM_OK;
}

static gram_status normalise(gr_enc *e, gr_str s, bool first)
{
    gram_status rc = e->run ? settle_piece(e, s) : GRAM_OK;

    if (!rc)
        rc = gr_norm_run(e, &s, &first);

    return rc ? rc : gr_added_split(e, &e->t->normalized, s, first, words);
}

/* e: what to encode by; all else is set here. */
static gram_status encode(gr_enc e, size_t n, bool first, gr_ids *out, gram_err *err)
{
    const char *text = e.text;
    size_t was = out->n, bad = gr_utf8_bad(text, n);
    gram_status rc;

    e.limit = 64 * n + 65536;
    e.out = out;
    e.err = err;
    if (bad < n)
        return gr_fail(err, GRAM_EFORMAT, "the text is not UTF-8: byte 0x%02x at offset %zu", (unsigned char)text[bad],
                       bad);
    if (n > INT32_MAX / 8)              /* positions are 32 bits wide, and a normalizer may lengthen the text */
        return gr_fail(err, GRAM_ELIMIT, "a text of %zu bytes, at most %d wanted", n, INT32_MAX / 8);
    e.md = pcre2_match_data_create(1, NULL);
    rc = e.md ? gr_added_split(&e, &e.t->raw, (gr_str){ text, n }, first, normalise) : gr_nomem(err, "tokens");
    if (rc)
        out->n = was;
    enc_clear(&e);
    return rc;
}

gram_status gr_tok_encode(const gr_tok *t, const char *text, size_t n, bool special, gr_ids *out, gram_err *err)
{
    return encode((gr_enc){ .t = t, .text = text, .special = special }, n, true, out, err);
}

gram_status gr_tok_encode_behind(const gr_tok *t, const char *text, size_t n, bool special, gr_ids *out, gram_err *err)
{
    return encode((gr_enc){ .t = t, .text = text, .special = special }, n, false, out, err);
}

gram_status gr_tok_encode_marked(const gr_tok *t, const char *text, size_t n, const gr_tok_run *run, size_t n_runs,
                                 const gr_ids *mark, gr_ids *out, gram_err *err)
{
    return encode((gr_enc){ .t = t, .text = text, .run = n_runs ? run : NULL, .n_runs = n_runs, .mark = mark }, n,
                  true, out, err);
}

gram_status gr_tok_encode_runs(const gr_tok *t, const char *text, size_t n, const gr_tok_run *run, size_t n_runs,
                               gr_ids *out, gram_err *err)
{
    return gr_tok_encode_marked(t, text, n, run, n_runs, NULL, out, err);
}
