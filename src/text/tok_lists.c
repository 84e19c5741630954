/* tok_lists.c - a tokenizer.json as the lists that a GGUF file holds: tok_write.c backwards.
 *
 * GGUF names what happens before the merges with one word, so it must be one that has a name. SentencePiece's merges
 * become scores, the first merge the best; that is the same tokenizer only where all merges that make a token stand
 * together, as they do where they were made from scores. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

typedef struct {
    gr_tok_lists *l;
    const char *name;
    json_t *root, *model;
    size_t ids;
    size_t *own_token, *own_merge;  /* a text of l->text: where it begins there, and 1; 0: it lies in root */
    gram_err *err;
} build;

static gr_str text_of(const json_t *j)
{
    return (gr_str){ json_string_value(j), json_string_length(j) };
}

/* ---- Which one it is ------------------------------------------------------------------------------ */

/* Does a component say what `known` says? */
static bool same(const json_t *known, const json_t *found)
{
    const char *key;
    json_t *v;
    size_t i;

    if (json_is_array(known)) {
        if (json_array_size(known) != json_array_size(found))
            return false;
        json_array_foreach(known, i, v)
            if (!same(v, json_array_get(found, i)))
                return false;
        return json_is_array(found);
    }
    if (!json_is_object(known))
        return json_equal(known, found);
    json_object_foreach((json_t *)(uintptr_t)known, key, v)
        if (!same(v, json_object_get(found, key)))
            return false;
    return json_is_object(found);
}

/* NULL where it is absent or null. */
static const json_t *part(const build *b, const char *key)
{
    const json_t *v = json_object_get(b->root, key);

    return json_is_null(v) ? NULL : v;
}

/* The same component? known is taken over; null is none. */
static bool is_part(const build *b, const char *key, json_t *known)
{
    const json_t *found = part(b, key);
    bool yes = json_is_null(known) ? !found : found && same(known, found);

    json_decref(known);
    return yes;
}

static gram_status unknown(const build *b)
{
    return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: GGUF has no name for this tokenizer: its normalizer, its "
                   "pre_tokenizer and ignore_merges together are none of those that llama.cpp knows", b->name);
}

static gram_status recognise_bytes(build *b)
{
    gr_tok_spec *s = &b->l->spec;

    s->model = (gr_str){ "gpt2", 4 };
    return gr_tok_pre_recognise(part(b, "normalizer"), part(b, "pre_tokenizer"),
                                json_is_true(json_object_get(b->model, "ignore_merges")), &s->pre) ? GRAM_OK
                                                                                                   : unknown(b);
}

/* Spaces are marked by the normalizer, after which Gemma's split at them finds none, or by Metaspace. */
static gram_status recognise_sentence(build *b)
{
    const json_t *pre = part(b, "pre_tokenizer");
    const char *scheme = json_string_value(json_object_get(pre, "prepend_scheme"));
    bool meta = gr_str_is(text_of(json_object_get(pre, "type")), "Metaspace") && !part(b, "normalizer") &&
                gr_str_is(text_of(json_object_get(pre, "replacement")), META) &&
                json_is_false(json_object_get(pre, "split"));
    bool split = is_part(b, "pre_tokenizer", json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
                                                       "String", " ", "behavior", "MergedWithPrevious", "invert", 0));
    gr_tok_spec *s = &b->l->spec;

    s->model = (gr_str){ "llama", 5 };
    s->pre = (gr_str){ "default", 7 };
    if (meta) {
        s->add_space_prefix = !scheme || strcmp(scheme, "never");
        s->scheme = scheme && !strcmp(scheme, "first") ? GR_SCHEME_FIRST : GR_SCHEME_ALWAYS;
        return GRAM_OK;
    }
    for (int prefix = 0; prefix < 2 && (!pre || split); prefix++) {
        gr_tok_parts p;
        gram_status rc = gr_tok_sentence_parts(&p, b->name, prefix, GR_SCHEME_PREPEND, b->err);
        bool yes = !rc && is_part(b, "normalizer", json_incref(p.normalizer));
        gr_tok_parts_clear(&p);
        if (rc)
            return rc;
        if (yes) {
            s->add_space_prefix = prefix;
            return GRAM_OK;
        }
    }
    return unknown(b);
}

/* ---- Tokens --------------------------------------------------------------------------------------- */

static gram_status note_id(build *b, const json_t *v, size_t *n)
{
    json_int_t id = json_integer_value(v);

    if (id < 0 || (size_t)id >= b->ids)     /* gr_tok_from_json() has proved the rest */
        return gr_fail(b->err, GRAM_EFORMAT, "%s: a token has the id %lld, and the model's embedding has %zu rows",
                       b->name, (long long)id, b->ids);
    *n = gr_max(*n, (size_t)id + 1);
    return GRAM_OK;
}

static bool is_byte(gr_str s)
{
    return s.n == 6 && !memcmp(s.p, "<0x", 3) && s.p[5] == '>';
}

/* What an added token is called: a GGUF writes SentencePiece's user-defined spaces as spaces. */
static bool name_added(build *b, size_t id, gr_str s, bool spaces)
{
    size_t at = b->l->text.n;

    b->l->token[id] = s;
    if (!spaces || !memmem(s.p, s.n, META, strlen(META)))
        return true;
    for (size_t i = 0; i < s.n; ) {
        bool space = s.n - i >= strlen(META) && !memcmp(s.p + i, META, strlen(META));
        if (!gr_buf_add(&b->l->text, space ? " " : s.p + i, 1))
            return false;
        i += space ? strlen(META) : 1;
    }
    b->own_token[id] = at + 1;
    b->l->token[id].n = b->l->text.n - at;
    return true;
}

/* What GGUF has no form for, of an added token that is no word of the model. */
uint8_t gr_tok_flags_of(const json_t *v, bool special)
{
    const json_t *normalized = json_object_get(v, "normalized");
    bool n = json_is_boolean(normalized) ? json_is_true(normalized) : !special;

    return (uint8_t)((json_is_true(json_object_get(v, "single_word")) ? GR_TOK_SINGLE_WORD : 0) |
                     (json_is_true(json_object_get(v, "lstrip")) ? GR_TOK_LSTRIP : 0) |
                     (json_is_true(json_object_get(v, "rstrip")) ? GR_TOK_RSTRIP : 0) | (n ? GR_TOK_NORMALIZED : 0));
}

static gram_status read_tokens(build *b, bool sentence)
{
    json_t *vocab = json_object_get(b->model, "vocab"), *added = json_object_get(b->root, "added_tokens"), *v;
    gr_tok_lists *l = b->l;
    gram_status rc = GRAM_OK;
    const char *key;
    size_t n = 0, i;

    l->token = gr_calloc(b->ids, sizeof *l->token);
    l->type = gr_calloc(b->ids, sizeof *l->type);
    l->score = gr_calloc(b->ids, sizeof *l->score);
    l->flag = gr_calloc(b->ids, sizeof *l->flag);
    b->own_token = gr_calloc(b->ids, sizeof *b->own_token);
    if (!l->token || !l->type || !l->score || !l->flag || !b->own_token)
        return gr_nomem(b->err, b->name);
    for (void *it = json_object_iter(vocab); it && !rc; it = json_object_iter_next(vocab, it)) {
        gr_str s = { json_object_iter_key(it), json_object_iter_key_len(it) };
        rc = note_id(b, json_object_iter_value(it), &n);
        if (!rc) {
            i = (size_t)json_integer_value(json_object_iter_value(it));
            l->token[i] = s;
            l->type[i] = sentence && is_byte(s) ? TYPE_BYTE : TYPE_NORMAL;
        }
    }
    json_array_foreach(added, i, v) {
        bool special = json_is_true(json_object_get(v, "special"));
        size_t id = (size_t)json_integer_value(json_object_get(v, "id"));
        if (rc || (rc = note_id(b, json_object_get(v, "id"), &n)))
            break;
        l->type[id] = special ? TYPE_CONTROL : TYPE_USER;
        l->flag[id] = gr_tok_flags_of(v, special);
        if (!name_added(b, id, text_of(json_object_get(v, "content")), sentence && !special))
            rc = gr_nomem(b->err, b->name);
    }
    if (rc)
        return rc;
    key = json_string_value(json_object_get(b->model, "unk_token"));
    v = key ? json_object_get(vocab, key) : NULL;
    if (sentence && v) {
        l->spec.unknown_id = (int32_t)json_integer_value(v);
        l->type[l->spec.unknown_id] = TYPE_UNKNOWN;
    }
    return GRAM_OK;
}

/* Rows of the embedding that no token has. */
static gram_status fill_gaps(build *b)
{
    gr_tok_lists *l = b->l;

    for (size_t i = 0; i < b->ids; i++)
        if (!l->type[i]) {
            size_t at = l->text.n;
            if (!gr_buf_printf(&l->text, "[PAD%zu]", i))
                return gr_nomem(b->err, b->name);
            b->own_token[i] = at + 1;
            l->token[i].n = l->text.n - at;
            l->type[i] = TYPE_UNUSED;
        }
    return GRAM_OK;
}

/* ---- Merges --------------------------------------------------------------------------------------- */

/* The halves of a merge; false for "#version: 0.2", with which old lists begin. */
static bool halves(const json_t *m, gr_str *left, gr_str *right)
{
    gr_str s = text_of(m);
    const char *space = s.p ? memchr(s.p, ' ', s.n) : NULL;

    if (space && !strncmp(s.p, "#version", 8))
        return false;
    *left = space ? (gr_str){ s.p, (size_t)(space - s.p) } : text_of(json_array_get(m, 0));
    *right = space ? (gr_str){ space + 1, s.n - left->n - 1 } : text_of(json_array_get(m, 1));
    return true;
}

static gram_status merge_lines(build *b, const json_t *merges)
{
    gr_tok_lists *l = b->l;
    gr_str left, right;
    size_t i, n = json_array_size(merges);
    json_t *m;

    l->merge = gr_calloc(n, sizeof *l->merge);
    b->own_merge = gr_calloc(n, sizeof *b->own_merge);
    if (!l->merge || !b->own_merge)
        return gr_nomem(b->err, b->name);
    json_array_foreach(merges, i, m) {
        size_t at = l->text.n;
        if (!halves(m, &left, &right))
            continue;
        if (memchr(left.p, ' ', left.n) || memchr(right.p, ' ', right.n))
            return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: merge %zu holds a space, which a GGUF's list of merges "
                           "cannot", b->name, i);
        if (!gr_buf_add(&l->text, left.p, left.n) || !gr_buf_puts(&l->text, " ") ||
            !gr_buf_add(&l->text, right.p, right.n))
            return gr_nomem(b->err, b->name);
        b->own_merge[l->spec.n_merges] = at + 1;
        l->merge[l->spec.n_merges++].n = l->text.n - at;
    }
    return GRAM_OK;
}

/* A token's score falls with the merges that make it; tokens that none makes come last. Those that are cut out of a
 * text before, Gemma's runs of spaces and lines, may be made anywhere: their merges have nothing left to do. */
static gram_status merge_scores(build *b, const gr_tok *t, const json_t *merges)
{
    gr_tok_lists *l = b->l;
    gr_buf both = { 0 };
    gr_str left, right;
    int32_t last = -1;
    float rank = 0;
    size_t i;
    json_t *m;
    gram_status rc = GRAM_OK;

    for (i = 0; i < b->ids; i++)
        l->score[i] = 1;                    /* not made yet: scores are not above 0 */
    json_array_foreach(merges, i, m) {
        int32_t id;
        both.n = 0;
        if (!halves(m, &left, &right))
            continue;
        if (!gr_buf_add(&both, left.p, left.n) || !gr_buf_add(&both, right.p, right.n)) {
            rc = gr_nomem(b->err, b->name);
            break;
        }
        id = gr_vocab_model(&t->vocab, both.p, both.n);     /* there: gr_tok_from_json() has asked */
        if (l->type[id] == TYPE_USER && l->score[id] <= 0)
            continue;
        if (id != last && l->score[id] <= 0) {
            rc = gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: merge %zu makes token %d again, after others: these merges "
                         "do not follow from scores, which is what a GGUF holds", b->name, i, id);
            break;
        }
        if (id != last)
            l->score[id] = -(rank++);
        last = id;
    }
    for (i = 0; i < b->ids; i++)
        if (l->score[i] > 0)
            l->score[i] = -rank - 1000;
    gr_buf_clear(&both);
    return rc;
}

/* ---- What GGUF has no form for --------------------------------------------------------------------- */

/* A special token that is a word: merges make it, as a GGUF's list of them shows but its scores do not; or it is one
 * that needs none. */
static void note_words(build *b, const gr_tok *t, bool sentence)
{
    const gr_tok_lists *l = b->l;

    for (size_t i = 0; i < b->ids; i++)
        if (l->type[i] == TYPE_CONTROL && i < t->vocab.n && t->vocab.flag[i] & WORD_MODEL &&
            (sentence ? t->vocab.flag[i] & WORD_MADE : t->ignore_merges))
            l->flag[i] |= GR_TOK_WORD;
}

/* Every way to cut a token in two must be a merge, as where merges were made from scores: a GGUF has no other. */
static gram_status check_cuts(const build *b, const gr_tok *t)
{
    const gr_tok_spec *s = &b->l->spec;
    size_t cuts = 0, merges = 0;

    for (size_t i = 0; i < b->ids && i < t->vocab.n; i++) {
        gr_str w = gr_vocab_text(&t->vocab, (int32_t)i);
        if (!w.n || !(t->vocab.flag[i] & WORD_MODEL) || !gr_spec_merges(s, i))
            continue;
        for (size_t k = gr_utf8_len(*w.p); k < w.n; k += gr_utf8_len(w.p[k])) {
            int32_t left = gr_vocab_model(&t->vocab, w.p, k), right = gr_vocab_model(&t->vocab, w.p + k, w.n - k);
            cuts += left >= 0 && right >= 0 && gr_spec_merges(s, (size_t)left) && gr_spec_merges(s, (size_t)right);
        }
    }
    for (size_t i = 0; i <= t->merges.mask; i++)
        merges += t->merges.slot[i].pair != UINT64_MAX;
    if (cuts == merges)
        return GRAM_OK;
    return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %zu merges, and its tokens can be cut in two in %zu ways: these "
                                              "merges "
                   "do not follow from scores, which is what a GGUF holds", b->name, merges, cuts);
}

/* A normal form that changes nothing moves no token. */
static bool is_respelt(const gr_tok_lists *l, const gr_tok *t, size_t i)
{
    return t ? i < t->vocab.n && t->vocab.flag[i] & WORD_RESPELT
             : l->spec.add_space_prefix && l->spec.scheme == GR_SCHEME_PREPEND;
}

gram_status gr_tok_note_formless(gr_tok_lists *l, const gr_tok *t, const char *name, gram_err *err)
{
    static const struct { unsigned bit; const char *name; } flag[] = {
        { GR_TOK_SINGLE_WORD, "single_word" }, { GR_TOK_LSTRIP, "lstrip" }, { GR_TOK_RSTRIP, "rstrip" },
        { GR_TOK_NORMALIZED, "normalized" }, { GR_TOK_WORD, "a word too" }
    };
    enum { SHOWN = 8 };
    size_t many = 0;
    bool ok = true;

    for (size_t i = 0; i < l->spec.n_tokens && ok; i++) {
        unsigned f = l->flag[i] & (is_respelt(l, t, i) ? ~0u : ~(unsigned)GR_TOK_NORMALIZED);
        const char *before = " (";
        if (!f || ++many > SHOWN)
            continue;
        ok = gr_buf_printf(&l->formless, "%s\"%.*s\"", many > 1 ? ", " : "", (int)gr_min(l->token[i].n, 60),
                           l->token[i].p);
        for (size_t k = 0; k < GR_COUNT(flag) && ok; k++)
            if (f & flag[k].bit) {
                ok = gr_buf_printf(&l->formless, "%s%s", before, flag[k].name);
                before = ", ";
            }
        ok = ok && gr_buf_puts(&l->formless, ")");
    }
    if (ok && many > SHOWN)
        ok = gr_buf_printf(&l->formless, " and %zu more", many - SHOWN);
    return ok ? GRAM_OK : gr_nomem(err, name);
}

/* ---- The whole ------------------------------------------------------------------------------------ */

/* Texts of our own have their places, now that the buffer moves no more. */
static void settle(build *b)
{
    gr_tok_lists *l = b->l;

    for (size_t i = 0; i < b->ids; i++)
        if (b->own_token[i])
            l->token[i].p = l->text.p + b->own_token[i] - 1;
    for (size_t i = 0; i < l->spec.n_merges; i++)
        l->merge[i].p = l->text.p + b->own_merge[i] - 1;
}

static gram_status read_all(build *b, const gr_tok *t)
{
    bool sentence = json_is_true(json_object_get(b->model, "byte_fallback"));
    const json_t *merges = json_object_get(b->model, "merges");
    gr_tok_lists *l = b->l;
    gram_status rc = sentence ? recognise_sentence(b) : recognise_bytes(b);

    if (!rc)
        rc = read_tokens(b, sentence);
    if (!rc)
        rc = fill_gaps(b);
    if (!rc)
        rc = sentence ? merge_scores(b, t, merges) : merge_lines(b, merges);
    if (rc)
        return rc;
    note_words(b, t, sentence);
    settle(b);
    l->spec.n_tokens = b->ids;
    l->spec.token = l->token;
    l->spec.type = l->type;
    l->spec.flag = l->flag;
    if (sentence && (rc = check_cuts(b, t)))
        return rc;
    l->spec.score = sentence ? l->score : NULL;
    l->spec.merge = l->merge;
    return gr_tok_note_formless(l, t, b->name, b->err);
}

gram_status gr_tok_lists_read(gr_tok_lists *out, const char *name, const char *json, size_t n, size_t ids,
                              gram_err *err)
{
    build b = { .l = out, .name = name, .ids = ids, .err = err };
    gr_tok *t;
    gram_status rc = gr_tok_from_json(&t, name, json, n, err);     /* which proves the file */

    *out = (gr_tok_lists){ .spec = { .unknown_id = -1, .add_space_prefix = true } };
    if (rc)
        return rc;
    out->root = b.root = gr_json_loadb(json, n, JSON_ALLOW_NUL, NULL);
    b.model = json_object_get(b.root, "model");
    rc = b.root ? read_all(&b, t) : gr_nomem(err, name);
    gr_tok_close(t);
    free(b.own_token);
    free(b.own_merge);
    if (rc)
        gr_tok_lists_clear(out);
    return rc;
}

void gr_tok_lists_clear(gr_tok_lists *l)
{
    free(l->token);
    free(l->merge);
    free(l->score);
    free(l->type);
    free(l->flag);
    free(l->pieces);
    gr_buf_clear(&l->formless);
    gr_buf_clear(&l->text);
    json_decref(l->root);
    *l = (gr_tok_lists){ 0 };
}
