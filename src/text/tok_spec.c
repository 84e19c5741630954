/* tok_spec.c - a tokenizer from the lists of a GGUF file.
 *
 * What happens before the merges is named by a word (tok_pre.c). A SentencePiece model has scores instead of merges:
 * any two neighbours whose joined text is a token may merge, the best score first. That is the same as a list of
 * merges, one for each way to cut a token in two, ranked by score; so it is turned into one, and a single loop serves
 * both kinds. A half that is no token can only be a lone character: it becomes a symbol with an id past the
 * vocabulary. */
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

int32_t gr_spec_type(const gr_tok_spec *spec, size_t i)
{
    return spec->type ? spec->type[i] : TYPE_NORMAL;
}

static unsigned flags_of(const gr_tok_spec *spec, size_t i)
{
    return spec->flag ? spec->flag[i] : 0;
}

/* Control, unknown and byte tokens are never made from text, unless the file says that they are words too. */
bool gr_spec_merges(const gr_tok_spec *spec, size_t i)
{
    int32_t type = gr_spec_type(spec, i);

    return type == TYPE_NORMAL || type == TYPE_USER || type == TYPE_UNUSED || flags_of(spec, i) & GR_TOK_WORD;
}

/* ---- tokens ---- */

static gram_status read_tokens(gr_tok *t, const char *name, const gr_tok_spec *spec, size_t extra, gram_err *err)
{
    size_t n = spec->n_tokens;

    if (n == 0 || n > TOK_ID_MAX)
        return gr_fail(err, GRAM_EFORMAT, "%s: a vocabulary of %zu tokens, 1 to %d wanted", name, n, TOK_ID_MAX);
    if (!gr_vocab_init(&t->vocab, n + extra, n + extra, n))
        return gr_nomem(err, name);
    for (size_t i = 0; i < n; i++) {
        size_t bad = gr_utf8_bad(spec->token[i].p, spec->token[i].n);

        if (bad < spec->token[i].n)
            return gr_fail(err, GRAM_EFORMAT, "%s: tokenizer.ggml.tokens: token %zu is not UTF-8 at byte %zu", name, i,
                           bad);
        if (!gr_vocab_set(&t->vocab, (int32_t)i, spec->token[i],                /* of two that are equal, the last */
                          WORD_MODEL | (gr_spec_merges(spec, i) ? WORD_PLAIN : 0)))
            return gr_nomem(err, name);
    }
    t->n_ids = n;
    return GRAM_OK;
}

/* Control tokens are special; user-defined ones are always found in a text. */
static gram_status read_added(gr_tok *t, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    gram_status rc = GRAM_OK;

    t->added = gr_calloc(spec->n_tokens, sizeof *t->added);
    if (!t->added)
        return gr_nomem(err, name);
    for (size_t i = 0; !rc && i < spec->n_tokens; i++) {
        int32_t type = gr_spec_type(spec, i);
        gr_str s = spec->token[i];
        unsigned f = flags_of(spec, i);
        gr_added a = { .n = s.n, .id = (int32_t)i, .special = type != TYPE_USER,
                       .single_word = f & GR_TOK_SINGLE_WORD, .lstrip = f & GR_TOK_LSTRIP,
                       .rstrip = f & GR_TOK_RSTRIP, .normalized = f & GR_TOK_NORMALIZED };
        char *text;

        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN)
            continue;
        text = gr_strndup(s.p, s.n);
        a.text = text;
        rc = text ? gr_tok_add(t, name, &a, err) : gr_nomem(err, name);
        free(text);
    }
    return rc;
}

/* ---- byte-level, by merges ---- */

static gram_status byte_level(gr_tok *t, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    gr_buf scratch = { 0 };
    gram_status rc = read_tokens(t, name, spec, 0, err);

    if (!rc)
        rc = read_added(t, name, spec, err);
    if (!rc && !gr_merges_init(&t->merges, spec->n_merges))
        rc = gr_nomem(err, name);
    for (size_t i = 0; !rc && i < spec->n_merges; i++)
        rc = gr_merges_add_line(t, name, spec->merge[i], i, &scratch, err);
    gr_buf_clear(&scratch);
    return rc;
}

/* ---- SentencePiece, by scores ---- */

/* How many different characters the tokens have: no more can become symbols of their own. */
static bool letters(const gr_tok_spec *spec, size_t *n)
{
    uint8_t *seen = gr_calloc(0x110000 / 8, 1);
    bool ok = seen;

    *n = 0;
    for (size_t i = 0; seen && i < spec->n_tokens; i++) {
        gr_str s = spec->token[i];

        if (gr_utf8_bad(s.p, s.n) < s.n)
            continue;                   /* refused when it is read */
        for (size_t k = 0; k < s.n; k += gr_utf8_len(s.p[k])) {
            int32_t c = gr_utf8_get(s.p + k);
            *n += !(seen[c / 8] & 1 << c % 8);
            seen[c / 8] |= (uint8_t)(1 << c % 8);
        }
    }
    free(seen);
    return ok;
}

static size_t characters(gr_str s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.n; i += gr_utf8_len(s.p[i]))
        n++;
    return n;
}

/* The id of a half: of a token, or of a character that is none and gets one now. -1: it cannot come to be. */
static bool half(gr_tok *t, const gr_tok_spec *spec, const char *s, size_t n, int32_t *id)
{
    *id = gr_vocab_model(&t->vocab, s, n);
    if (*id >= 0 && (size_t)*id < t->n_ids && !gr_spec_merges(spec, (size_t)*id))
        *id = -1;
    else if (*id < 0 && n == gr_utf8_len(*s)) {
        *id = (int32_t)t->vocab.n;
        return gr_vocab_set(&t->vocab, *id, (gr_str){ s, n }, WORD_MODEL);
    }
    return true;
}

typedef struct { float score; int32_t id; } scored;

static int best_first(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    return (x->score < y->score) - (x->score > y->score);
}

/* Each way to cut token `id` in two. */
static bool cut(gr_tok *t, const gr_tok_spec *spec, int32_t id, uint32_t rank)
{
    gr_str s = spec->token[id];

    for (size_t i = gr_utf8_len(*s.p); i < s.n; i += gr_utf8_len(s.p[i])) {
        int32_t left, right;

        if (!half(t, spec, s.p, i, &left) || !half(t, spec, s.p + i, s.n - i, &right))
            return false;
        if (left >= 0 && right >= 0)
            gr_merges_put(&t->merges, left, right, rank, id);
    }
    return true;
}

static gram_status merges_of_scores(gr_tok *t, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    scored *list = gr_calloc(spec->n_tokens, sizeof *list);
    size_t n = 0, cuts = 0;
    uint32_t rank = 0;
    gram_status rc = GRAM_OK;

    for (size_t i = 0; list && i < spec->n_tokens; i++) {
        size_t chars = characters(spec->token[i]);

        if (!gr_spec_merges(spec, i) || chars < 2 ||
            gr_vocab_model(&t->vocab, spec->token[i].p, spec->token[i].n) != (int32_t)i)        /* its equal counts */
            continue;
        if (spec->token[i].n > TOK_WORD_MAX || spec->score[i] != spec->score[i]) {
            rc = gr_fail(err, GRAM_EFORMAT, "%s: token %zu has %zu bytes and the score %g; at most %d and a number "
                         "wanted", name, i, spec->token[i].n, (double)spec->score[i], TOK_WORD_MAX);
            goto out;
        }
        list[n++] = (scored){ spec->score[i], (int32_t)i };
        cuts += chars - 1;
    }
    if (!list || !gr_merges_init(&t->merges, cuts)) {
        rc = gr_nomem(err, name);
        goto out;
    }
    qsort(list, n, sizeof *list, best_first);
    for (size_t i = 0; i < n; i++) {
        rank += i > 0 && list[i].score < list[i - 1].score;     /* equal scores: the leftmost pair merges first */
        if (!cut(t, spec, list[i].id, rank)) {
            rc = gr_nomem(err, name);
            goto out;
        }
    }
out:
    free(list);
    return rc;
}

static gram_status sentence_piece(gr_tok *t, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    gram_status rc;
    size_t extra;

    if (!spec->score)
        return gr_fail(err, GRAM_EFORMAT, "%s: a SentencePiece vocabulary without tokenizer.ggml.scores", name);
    if (spec->unknown_id >= 0 && (size_t)spec->unknown_id >= spec->n_tokens)
        return gr_fail(err, GRAM_EFORMAT, "%s: the unknown token has id %d in a vocabulary of %zu", name,
                       spec->unknown_id, spec->n_tokens);
    t->byte_fallback = t->fuse_unk = t->unk_wanted = true;
    t->unk = spec->unknown_id < 0 ? -1 : spec->unknown_id;
    if (!letters(spec, &extra))
        return gr_nomem(err, name);
    rc = read_tokens(t, name, spec, extra, err);
    if (!rc)
        rc = read_added(t, name, spec, err);
    return rc ? rc : merges_of_scores(t, name, spec, err);
}

static uint64_t digest_strings(uint64_t h, const gr_str *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = gr_digest(gr_digest(h, &s[i].n, sizeof s[i].n), s[i].p, s[i].n);
    return h;
}

static uint64_t digest_spec(const gr_tok_spec *s)
{
    const int32_t rest[] = { s->add_space_prefix, (int32_t)s->scheme, s->unknown_id, s->score != NULL, s->type != NULL,
                             s->flag != NULL };
    uint64_t h = digest_strings(digest_strings(GR_DIGEST, &s->model, 1), &s->pre, 1);

    h = digest_strings(digest_strings(h, s->token, s->n_tokens), s->merge, s->n_merges);
    h = gr_digest(h, rest, sizeof rest);
    h = s->score ? gr_digest_words(h, s->score, s->n_tokens) : h;
    h = s->type ? gr_digest_words(h, s->type, s->n_tokens) : h;
    return s->flag ? gr_digest(h, s->flag, s->n_tokens) : h;
}

gram_status gr_tok_from_spec(gr_tok **out, const char *name, const gr_tok_spec *spec, gram_err *err)
{
    gr_tok_parts parts = { 0 };
    gr_tok *t = gr_tok_new();
    gram_status rc = t ? gr_tok_parts_of(&parts, name, spec, err) : gr_nomem(err, name);

    *out = NULL;
    if (!rc)
        rc = gr_tok_read_parts(t, name, &parts, err);
    gr_tok_parts_clear(&parts);
    if (!rc)
        rc = gr_str_is(spec->model, "gpt2") ? byte_level(t, name, spec, err) : sentence_piece(t, name, spec, err);
    if (!rc)
        rc = gr_tok_finish(t, name, err);
    if (!rc) {
        t->digest = digest_spec(spec);
        *out = t;
        t = NULL;
    }
    gr_tok_close(t);
    return rc;
}
