/* tok_json.c - a tokenizer from tokenizer.json.
 *
 * The file comes from strangers: each component that is not known is refused by its name, each number is
 * checked before it sizes anything. "truncation" and "padding" are left aside: nothing is cut without
 * saying so. Of "post_processor" the token in front of a text is kept for callers that ask for it. */
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include "base/digest.h"
#include "base/json.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

#define RUST_WORD "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}" \
                  "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"

enum { NESTED = 8 };                    /* Sequences inside Sequences */

typedef struct { const char *name; gr_tok *t; gram_err *err; } build;
typedef gram_status component(build *b, const char *what, const char *type, json_t *j);

static gr_str text_of(json_t *j)
{
    return (gr_str){ json_string_value(j), json_string_length(j) };
}

static bool flag(json_t *j, const char *key, bool otherwise)
{
    json_t *v = json_object_get(j, key);

    return json_is_boolean(v) ? json_is_true(v) : otherwise;
}

static gram_status wrong(build *b, const char *what, const char *key, const char *wanted)
{
    return gr_fail(b->err, GRAM_EFORMAT, "%s: %s: \"%s\" is missing or wrong, %s wanted", b->name, what, key, wanted);
}

static gram_status unknown(build *b, const char *what, const char *type)
{
    return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %s \"%s\" is not supported", b->name, what, type);
}

static gram_status too_many(build *b, const char *what)
{
    return gr_fail(b->err, GRAM_ELIMIT, "%s: more than %d of %s in a row", b->name, TOK_STEPS, what);
}

/* A component, or each of a Sequence. */
static gram_status each(build *b, const char *what, const char *list, json_t *j, int depth, component *one)
{
    const char *type = json_string_value(json_object_get(j, "type"));
    gram_status rc = GRAM_OK;
    json_t *item;
    size_t i;

    if (!j || json_is_null(j))
        return GRAM_OK;
    if (!type)
        return wrong(b, what, "type", "a string");
    if (strcmp(type, "Sequence"))
        return one(b, what, type, j);
    if (!json_is_array(json_object_get(j, list)))
        return wrong(b, what, list, "an array");
    if (depth == NESTED)
        return gr_fail(b->err, GRAM_ELIMIT, "%s: %s: Sequences nested more than %d deep", b->name, what, NESTED);
    json_array_foreach(json_object_get(j, list), i, item) {
        rc = json_is_object(item) ? each(b, what, list, item, depth + 1, one)
                                  : wrong(b, what, list, "an array of objects");
        if (rc)
            break;
    }
    return rc;
}

/* {"String": ..} or {"Regex": ..} */
static gram_status pattern(build *b, const char *what, json_t *j, gr_pat *p)
{
    json_t *at = json_object_get(j, "pattern"), *s = json_object_get(at, "String"), *re = json_object_get(at, "Regex");

    if (json_is_string(re))
        return gr_pat_regex(p, b->name, text_of(re), b->err);
    if (!json_is_string(s))
        return wrong(b, what, "pattern", "a String or a Regex");
    return gr_pat_literal(p, text_of(s)) ? GRAM_OK : gr_nomem(b->err, b->name);
}

static gram_status content(build *b, const char *what, const char *key, json_t *j, char **to, size_t *n)
{
    json_t *s = json_object_get(j, key);

    if (!json_is_string(s))
        return wrong(b, what, key, "a string");
    if (json_string_length(s) > TOK_WORD_MAX)
        return gr_fail(b->err, GRAM_ELIMIT, "%s: %s: \"%s\" of %zu bytes, at most %d wanted", b->name, what, key,
                       json_string_length(s), TOK_WORD_MAX);
    *n = json_string_length(s);
    *to = gr_strndup(json_string_value(s), *n);
    return *to ? GRAM_OK : gr_nomem(b->err, b->name);
}

/* One character, as UTF-8 with its NUL. */
static gram_status character(build *b, const char *what, const char *key, json_t *j, char to[5])
{
    json_t *s = json_object_get(j, key);
    size_t n = json_string_length(s);

    if (!json_is_string(s) || n == 0 || n != gr_utf8_len(*json_string_value(s)) || *json_string_value(s) == '\0')
        return wrong(b, what, key, "one character");
    memcpy(to, json_string_value(s), n);
    to[n] = '\0';
    return GRAM_OK;
}

/* ---- normalizers ---- */

static gram_status normalizer(build *b, const char *what, const char *type, json_t *j)
{
    static const struct { const char *type; gr_norm_kind kind; } known[] = {
        { "NFC", NORM_NFC }, { "NFD", NORM_NFD }, { "NFKC", NORM_NFKC }, { "NFKD", NORM_NFKD },
        { "Lowercase", NORM_LOWER }, { "Strip", NORM_STRIP }, { "StripAccents", NORM_MARKS },
        { "Prepend", NORM_PREPEND }, { "Replace", NORM_REPLACE }
    };
    gram_status rc = GRAM_OK;
    size_t i = 0;
    gr_norm *k;

    while (i < GR_COUNT(known) && strcmp(known[i].type, type))
        i++;
    if (i == GR_COUNT(known))
        return unknown(b, what, type);
    if (b->t->n_norm == TOK_STEPS)
        return too_many(b, "normalizers");
    k = &b->t->norm[b->t->n_norm++];
    k->kind = known[i].kind;
    k->left = flag(j, "strip_left", true);
    k->right = flag(j, "strip_right", true);
    if (k->kind == NORM_REPLACE)
        rc = pattern(b, what, j, &k->pat);
    if (!rc && (k->kind == NORM_REPLACE || k->kind == NORM_PREPEND))
        rc = content(b, what, k->kind == NORM_REPLACE ? "content" : "prepend", j, &k->content, &k->n_content);
    return rc;
}

/* ---- pre-tokenizers ---- */

static gram_status behaviour(build *b, const char *what, json_t *j, gr_split_kind *to)
{
    static const char *const known[] = {
        [SPLIT_REMOVED] = "Removed", [SPLIT_ISOLATED] = "Isolated", [SPLIT_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_NEXT] = "MergedWithNext", [SPLIT_CONTIGUOUS] = "Contiguous"
    };
    const char *s = json_string_value(json_object_get(j, "behavior"));

    for (size_t i = 0; s && i < GR_COUNT(known); i++)
        if (!strcmp(s, known[i])) {
            *to = (gr_split_kind)i;
            return GRAM_OK;
        }
    return wrong(b, what, "behavior", "the name of a split behaviour");
}

static gram_status pre_split(build *b, const char *what, json_t *j, gr_pre *k)
{
    gram_status rc = behaviour(b, what, j, &k->behaviour);

    k->split = true;
    k->invert = flag(j, "invert", false);
    return rc ? rc : pattern(b, what, j, &k->pat);
}

static gram_status pre_char(gr_pre *k, bool (*is)(int32_t), gr_split_kind how)
{
    k->split = true;
    k->pat = (gr_pat){ .kind = PAT_CHAR, .is = is };
    k->behaviour = how;
    return GRAM_OK;
}

static gram_status pre_digits(build *b, const char *what, json_t *j, gr_pre *k)
{
    (void)b, (void)what;
    return pre_char(k, gr_char_numeric, flag(j, "individual_digits", false) ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS);
}

static gram_status pre_white_split(build *b, const char *what, json_t *j, gr_pre *k)
{
    (void)b, (void)what, (void)j;
    return pre_char(k, gr_char_space, SPLIT_REMOVED);
}

static gram_status pre_punctuation(build *b, const char *what, json_t *j, gr_pre *k)
{
    gr_split_kind how = SPLIT_ISOLATED;
    gram_status rc = json_object_get(j, "behavior") ? behaviour(b, what, j, &how) : GRAM_OK;

    return rc ? rc : pre_char(k, gr_char_punct, how);
}

static gram_status pre_whitespace(build *b, const char *what, json_t *j, gr_pre *k)
{
    /* \w+|[^\w\s]+ in the words of Rust's regex crate, whose \w has the joiners and no fractions */
    static const char words[] = "[" RUST_WORD "]+|[^" RUST_WORD "\\s]+";

    (void)what, (void)j;
    k->split = k->invert = true;
    k->behaviour = SPLIT_REMOVED;
    return gr_pat_regex(&k->pat, b->name, (gr_str){ words, sizeof words - 1 }, b->err);
}

static gram_status pre_delimiter(build *b, const char *what, json_t *j, gr_pre *k)
{
    char c[5];
    gram_status rc = character(b, what, "delimiter", j, c);

    k->split = true;
    k->behaviour = SPLIT_REMOVED;
    if (!rc && !gr_pat_literal(&k->pat, (gr_str){ c, strlen(c) }))
        rc = gr_nomem(b->err, b->name);
    return rc;
}

static gram_status pre_byte_level(build *b, const char *what, json_t *j, gr_pre *k)
{
    (void)what;
    b->t->byte_level = true;
    k->when = flag(j, "add_prefix_space", true) ? PREFIX_ALWAYS : PREFIX_NEVER;
    k->prefix[0] = ' ';
    k->split = flag(j, "use_regex", true);
    k->behaviour = SPLIT_ISOLATED;
    return k->split ? gr_pat_regex(&k->pat, b->name, (gr_str){ gr_re_gpt2, strlen(gr_re_gpt2) }, b->err) : GRAM_OK;
}

/* "prepend_scheme", or in older files "add_prefix_space". */
static gram_status scheme(build *b, const char *what, json_t *j, gr_prefix *to)
{
    const char *s = json_string_value(json_object_get(j, "prepend_scheme"));

    if (!s)
        *to = flag(j, "add_prefix_space", true) ? PREFIX_ALWAYS : PREFIX_NEVER;
    else if (!strcmp(s, "always"))
        *to = PREFIX_ALWAYS;
    else if (!strcmp(s, "first"))
        *to = PREFIX_FIRST;
    else if (!strcmp(s, "never"))
        *to = PREFIX_NEVER;
    else
        return wrong(b, what, "prepend_scheme", "always, first or never");
    return GRAM_OK;
}

static gram_status pre_metaspace(build *b, const char *what, json_t *j, gr_pre *k)
{
    gram_status rc = scheme(b, what, j, &k->when);

    if (!rc)
        rc = character(b, what, "replacement", j, k->prefix);
    k->meta = true;
    k->split = flag(j, "split", true);
    k->behaviour = SPLIT_NEXT;
    if (!rc && !gr_pat_literal(&k->pat, (gr_str){ k->prefix, strlen(k->prefix) }))
        rc = gr_nomem(b->err, b->name);
    return rc;
}

static gram_status pre_tokenizer(build *b, const char *what, const char *type, json_t *j)
{
    static const struct {
        const char *type;
        gram_status (*read)(build *, const char *, json_t *, gr_pre *);
    } known[] = {
        { "Split", pre_split }, { "Digits", pre_digits }, { "ByteLevel", pre_byte_level },
        { "Metaspace", pre_metaspace }, { "Whitespace", pre_whitespace }, { "WhitespaceSplit", pre_white_split },
        { "Punctuation", pre_punctuation }, { "CharDelimiterSplit", pre_delimiter }
    };

    if (b->t->byte_level)
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %s \"%s\" after ByteLevel is not supported", b->name, what,
                       type);
    if (b->t->n_pre == TOK_STEPS)
        return too_many(b, "pre-tokenizers");
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(known[i].type, type))
            return known[i].read(b, what, j, &b->t->pre[b->t->n_pre++]);
    return unknown(b, what, type);
}

/* ---- decoders ---- */

static gram_status count(build *b, const char *what, const char *key, json_t *j, size_t *to)
{
    json_int_t n = json_integer_value(json_object_get(j, key));

    if (!json_is_integer(json_object_get(j, key)) || n < 0 || n > INT_MAX)
        return wrong(b, what, key, "a count");
    *to = (size_t)n;
    return GRAM_OK;
}

static gram_status dec_strip(build *b, const char *what, json_t *j, gr_dec *k)
{
    gram_status rc = content(b, what, "content", j, &k->content, &k->n_content);

    if (!rc && (k->n_content == 0 || k->n_content != gr_utf8_len(*k->content)))
        rc = wrong(b, what, "content", "one character");
    if (!rc)
        rc = count(b, what, "start", j, &k->start);
    return rc ? rc : count(b, what, "stop", j, &k->stop);
}

static gram_status dec_replace(build *b, const char *what, json_t *j, gr_dec *k)
{
    gram_status rc = pattern(b, what, j, &k->pat);

    return rc ? rc : content(b, what, "content", j, &k->content, &k->n_content);
}

static gram_status dec_meta(build *b, const char *what, json_t *j, gr_dec *k)
{
    gr_prefix when;
    gram_status rc = scheme(b, what, j, &when);

    if (rc)
        return rc;
    k->drop_first = when != PREFIX_NEVER;
    rc = content(b, what, "replacement", j, &k->content, &k->n_content);
    if (!rc && k->n_content == 0)
        rc = wrong(b, what, "replacement", "one character");
    return rc;
}

static gram_status decoder(build *b, const char *what, const char *type, json_t *j)
{
    static const struct {
        const char *type;
        gr_dec_kind kind;
        gram_status (*read)(build *, const char *, json_t *, gr_dec *);
    } known[] = {
        { "ByteLevel", DEC_BYTE_LEVEL, NULL }, { "ByteFallback", DEC_BYTE_FALLBACK, NULL }, { "Fuse", DEC_FUSE, NULL },
        { "Strip", DEC_STRIP, dec_strip }, { "Replace", DEC_REPLACE, dec_replace }, { "Metaspace", DEC_META, dec_meta }
    };
    gr_dec *k;

    b->t->has_dec = true;
    if (b->t->n_dec == TOK_STEPS)
        return too_many(b, "decoders");
    k = &b->t->dec[b->t->n_dec];
    for (size_t i = 0; i < GR_COUNT(known); i++)
        if (!strcmp(known[i].type, type)) {
            b->t->n_dec++;
            k->kind = known[i].kind;
            return known[i].read ? known[i].read(b, what, j, k) : GRAM_OK;
        }
    return unknown(b, what, type);
}

/* ---- the model ---- */

/* Ids may have gaps, but no few entries may ask for a large table. */
static gram_status id_of(build *b, json_t *v, const char *text, size_t entries, int32_t *id)
{
    size_t limit = gr_min(16 * entries + 4096, TOK_ID_MAX);
    json_int_t n = json_integer_value(v);

    if (!json_is_integer(v) || n < 0 || (uint64_t)n >= limit)
        return gr_fail(b->err, GRAM_EFORMAT, "%s: token \"%.200s\" has the id %lld, one below %zu wanted for %zu "
                       "tokens", b->name, text, json_is_integer(v) ? (long long)n : -1, limit, entries);
    *id = (int32_t)n;
    return GRAM_OK;
}

/* The size of the id table: the largest id there is, and one. */
static gram_status id_count(build *b, json_t *vocab, json_t *added, size_t *n)
{
    size_t entries = json_object_size(vocab) + json_array_size(added), i;
    gram_status rc = GRAM_OK;
    const char *key;
    json_t *v;
    int32_t id = 0;

    *n = 0;
    json_object_foreach(vocab, key, v) {
        rc = id_of(b, v, key, entries, &id);
        if (rc)
            return rc;
        *n = gr_max(*n, (size_t)id + 1);
    }
    json_array_foreach(added, i, v) {
        if (!json_is_string(json_object_get(v, "content")))
            return wrong(b, "added_tokens", "content", "a string");
        rc = id_of(b, json_object_get(v, "id"), json_string_value(json_object_get(v, "content")), entries, &id);
        if (rc)
            return rc;
        *n = gr_max(*n, (size_t)id + 1);
    }
    return rc;
}

static gram_status read_vocab(build *b, json_t *vocab)
{
    gr_vocab *v = &b->t->vocab;

    for (void *it = json_object_iter(vocab); it; it = json_object_iter_next(vocab, it)) {
        gr_str s = { json_object_iter_key(it), json_object_iter_key_len(it) };
        int32_t id = (int32_t)json_integer_value(json_object_iter_value(it));
        gr_str there = gr_vocab_text(v, id);

        if (there.p)
            return gr_fail(b->err, GRAM_EFORMAT, "%s: tokens \"%.200s\" and \"%.*s\" have the same id %d", b->name, s.p,
                           (int)gr_min(there.n, 200), there.p, id);
        if (!gr_vocab_set(v, id, s, WORD_MODEL | WORD_PLAIN))
            return gr_nomem(b->err, b->name);
    }
    return GRAM_OK;
}

static gram_status read_added(build *b, json_t *list)
{
    gram_status rc = GRAM_OK;
    json_t *j;
    size_t i;

    b->t->added = gr_calloc(json_array_size(list), sizeof *b->t->added);
    if (!b->t->added)
        return gr_nomem(b->err, b->name);
    json_array_foreach(list, i, j) {
        json_t *s = json_object_get(j, "content");
        gr_added a = { .n = json_string_length(s), .id = (int32_t)json_integer_value(json_object_get(j, "id")) };
        char *text = gr_strndup(json_string_value(s), a.n);

        a.text = text;
        a.special = flag(j, "special", false);
        a.normalized = flag(j, "normalized", !a.special);
        a.single_word = flag(j, "single_word", false);
        a.lstrip = flag(j, "lstrip", false);
        a.rstrip = flag(j, "rstrip", false);
        rc = text ? gr_tok_add(b->t, b->name, &a, b->err) : gr_nomem(b->err, b->name);
        free(text);
        if (rc)
            break;
    }
    return rc;
}

static gram_status read_merge(build *b, json_t *j, size_t rank, gr_buf *scratch)
{
    json_t *left = json_array_get(j, 0), *right = json_array_get(j, 1);

    if (json_is_string(j))
        return gr_merges_add_line(b->t, b->name, text_of(j), rank, scratch, b->err);
    if (json_array_size(j) != 2 || !json_is_string(left) || !json_is_string(right))
        return gr_fail(b->err, GRAM_EFORMAT, "%s: merge %zu is neither \"left right\" nor [left, right]", b->name,
                       rank);
    return gr_merges_add(b->t, b->name, text_of(left), text_of(right), rank, scratch, b->err);
}

static gram_status read_merges(build *b, json_t *list)
{
    gram_status rc = GRAM_OK;
    gr_buf scratch = { 0 };
    size_t i, rank = 0;
    json_t *j;

    if (!json_is_array(list))
        return wrong(b, "model", "merges", "an array");
    if (!gr_merges_init(&b->t->merges, json_array_size(list)))
        return gr_nomem(b->err, b->name);
    json_array_foreach(list, i, j) {
        if (json_is_string(j) && !strncmp(json_string_value(j), "#version", 8))
            continue;
        rc = read_merge(b, j, rank++, &scratch);
        if (rc)
            break;
    }
    gr_buf_clear(&scratch);
    return rc;
}

/* What a BPE may ask for and this one does not do. */
static gram_status refuse(build *b, json_t *model)
{
    static const char *const affix[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    const char *type = json_string_value(json_object_get(model, "type"));

    if (type ? strcmp(type, "BPE") : !json_object_get(model, "merges"))
        return unknown(b, "model", type ? type : "without a type");
    for (size_t i = 0; i < GR_COUNT(affix); i++)
        if (json_string_length(json_object_get(model, affix[i])))
            return unknown(b, affix[i], json_string_value(json_object_get(model, affix[i])));
    if (json_number_value(json_object_get(model, "dropout")) > 0)
        return gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: a model with dropout, which makes its tokens random", b->name);
    return GRAM_OK;
}

static gram_status read_model(build *b, json_t *root)
{
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    json_t *added = json_object_get(root, "added_tokens"), *unk = json_object_get(model, "unk_token");
    gr_tok *t = b->t;
    gram_status rc;
    size_t n;

    if (!json_is_object(model))
        return wrong(b, "tokenizer", "model", "an object");
    rc = refuse(b, model);
    if (rc)
        return rc;
    if (!json_is_object(vocab))
        return wrong(b, "model", "vocab", "an object");
    rc = id_count(b, vocab, added, &n);
    if (rc)
        return rc;
    if (!gr_vocab_init(&t->vocab, n, json_object_size(vocab), json_array_size(added)))
        return gr_nomem(b->err, b->name);
    t->fuse_unk = flag(model, "fuse_unk", false);
    t->byte_fallback = flag(model, "byte_fallback", false);
    t->ignore_merges = flag(model, "ignore_merges", false);
    rc = read_vocab(b, vocab);
    if (!rc)
        rc = read_added(b, added);
    if (!rc)
        rc = read_merges(b, json_object_get(model, "merges"));
    t->unk_wanted = json_is_string(unk);
    if (!rc && t->unk_wanted)
        t->unk = gr_vocab_model(&t->vocab, json_string_value(unk), json_string_length(unk));
    t->n_ids = t->vocab.n;
    return rc;
}

static gram_status read_parts(build *b, json_t *norm, json_t *pre, json_t *dec)
{
    gram_status rc = each(b, "normalizer", "normalizers", norm, 0, normalizer);

    if (!rc)
        rc = each(b, "pre_tokenizer", "pretokenizers", pre, 0, pre_tokenizer);
    return rc ? rc : each(b, "decoder", "decoders", dec, 0, decoder);
}

gram_status gr_tok_read_parts(gr_tok *t, const char *name, const gr_tok_parts *p, gram_err *err)
{
    build b = { name, t, err };

    t->ignore_merges = p->ignore_merges;
    return read_parts(&b, p->normalizer, p->pre_tokenizer, p->decoder);
}

/* The token that a TemplateProcessing puts in front of a text. */
static void read_front(gr_tok *t, const json_t *post)
{
    const char *type = json_string_value(json_object_get(post, "type")), *name;
    const json_t *first = json_array_get(json_object_get(post, "single"), 0), *v, *id;
    size_t i;

    json_array_foreach(json_object_get(post, "processors"), i, v)
        read_front(t, v);
    if (!type || strcmp(type, "TemplateProcessing"))
        return;
    t->front_said = true;
    name = json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    v = name ? json_object_get(json_object_get(post, "special_tokens"), name) : NULL;
    id = json_array_get(json_object_get(v, "ids"), 0);
    t->front = id ? json_integer_value(id) : -1;
}

static gram_status read_all(build *b, json_t *root)
{
    gram_status rc;

    if (!json_is_object(root))
        return gr_fail(b->err, GRAM_EFORMAT, "%s: the top is not an object", b->name);
    rc = read_parts(b, json_object_get(root, "normalizer"), json_object_get(root, "pre_tokenizer"),
                    json_object_get(root, "decoder"));
    if (!rc)
        rc = read_model(b, root);
    read_front(b->t, json_object_get(root, "post_processor"));
    return rc ? rc : gr_tok_finish(b->t, b->name, b->err);
}

gram_status gr_tok_from_json(gr_tok **out, const char *name, const char *json, size_t n, gram_err *err)
{
    build b = { .name = name, .t = gr_tok_new(), .err = err };
    json_t *root = NULL;
    json_error_t why;
    gram_status rc;

    *out = NULL;
    if (!b.t) {
        rc = gr_nomem(err, name);
        goto out;
    }
    root = gr_json_loadb(json, n, JSON_ALLOW_NUL, &why);
    if (!root) {
        rc = json_error_code(&why) == json_error_out_of_memory ? gr_nomem(err, name) :
             gr_fail(err, GRAM_EFORMAT, "%s:%d: not JSON: %s", name, why.line, why.text);
        goto out;
    }
    rc = read_all(&b, root);
    if (rc)
        goto out;
    b.t->digest = gr_digest(gr_digest_words(GR_DIGEST, json, n / 4), json + n / 4 * 4, n % 4);
    *out = b.t;
    b.t = NULL;
out:
    json_decref(root);
    gr_tok_close(b.t);
    return rc;
}
