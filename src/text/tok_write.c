/* tok_write.c - the lists of a GGUF file as the tokenizer.json that the Rust library reads to the same ids.
 *
 * What happens before the merges is written out (tok_pre.c). SentencePiece's scores become merges as
 * transformers' own converter makes them: each way to cut a token into two others, the best score first. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "base/json.h"
#include "text/tokenizer_int.h"
#include "text/utf8.h"

static json_t *text(gr_str s)
{
    return json_stringn(s.p, s.n);
}

/* ---- around a text -------------------------------------------------------------------------------- */

/* Tokens before and after each text, where the caller of the library asks for special tokens. */
static json_t *post_processor(const gr_tok_spec *spec, int32_t before, int32_t after)
{
    json_t *single = json_array(), *pair = json_array(), *special = json_object();
    bool ok = single && pair && special;

    if (before < 0 && after < 0) {
        json_decref(single), json_decref(pair), json_decref(special);
        return json_null();
    }
    for (int seq = 0; seq < 2 && ok; seq++)
        for (int part = 0; part < 3 && ok; part++) {
            int32_t id = part == 0 ? before : part == 2 ? after : -1;
            json_t *v;
            if (part != 1 && id < 0)
                continue;
            v = part == 1 ? json_pack("{s:{s:s, s:i}}", "Sequence", "id", seq ? "B" : "A", "type_id", seq)
                          : json_pack("{s:{s:o, s:i}}", "SpecialToken", "id", text(spec->token[id]), "type_id", seq);
            ok = (seq || !json_array_append(single, v)) && !json_array_append(pair, v);
            if (ok && part != 1)
                ok = !json_object_setn_new(special, spec->token[id].p, spec->token[id].n,
                                           json_pack("{s:o, s:[i], s:[o]}", "id", text(spec->token[id]), "ids", id,
                                                     "tokens", text(spec->token[id])));
            json_decref(v);
        }
    if (!ok) {
        json_decref(single), json_decref(pair), json_decref(special);
        return NULL;
    }
    return json_pack("{s:s, s:o, s:o, s:o}", "type", "TemplateProcessing", "single", single, "pair", pair,
                     "special_tokens", special);
}

/* ---- tokens --------------------------------------------------------------------------------------- */

/* A converter fills the vocabulary up to the rows of the embedding with "[PAD7]"; such rows have no token. */
static size_t without_padding(const gr_tok_spec *spec)
{
    size_t n = spec->n_tokens;

    while (n > 0 && gr_spec_type(spec, n - 1) == TYPE_UNUSED && spec->token[n - 1].n > 4 &&
           !memcmp(spec->token[n - 1].p, "[PAD", 4))
        n--;
    return n;
}

static json_t *vocabulary(const gr_tok_spec *spec, size_t n)
{
    json_t *o = json_object();

    for (size_t i = 0; o && i < n; i++)         /* of two that are equal, the last */
        if (json_object_setn_new(o, spec->token[i].p, spec->token[i].n, json_integer((json_int_t)i)))
            return json_decref(o), NULL;
    return o;
}

static json_t *added(const gr_tok_spec *spec)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < spec->n_tokens; i++) {
        int32_t type = gr_spec_type(spec, i);
        unsigned f = spec->flag ? spec->flag[i] : 0;
        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN)
            continue;
        if (json_array_append_new(list, json_pack("{s:I, s:o, s:b, s:b, s:b, s:b, s:b}", "id", (json_int_t)i, "content",
                                                  text(spec->token[i]), "single_word", !!(f & GR_TOK_SINGLE_WORD),
                                                  "lstrip", !!(f & GR_TOK_LSTRIP), "rstrip", !!(f & GR_TOK_RSTRIP),
                                                  "normalized", !!(f & GR_TOK_NORMALIZED), "special",
                                                  type != TYPE_USER)))
            return json_decref(list), NULL;
    }
    return list;
}

/* ---- merges --------------------------------------------------------------------------------------- */

static bool add_merge(json_t *list, gr_str left, gr_str right)
{
    return !json_array_append_new(list, json_pack("[o, o]", text(left), text(right)));
}

/* "left right"; tok_spec.c found one space in each. */
static json_t *merges_of_lines(const gr_tok_spec *spec)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < spec->n_merges; i++) {
        gr_str s = spec->merge[i];
        size_t left = (size_t)((const char *)memchr(s.p, ' ', s.n) - s.p);
        if (!add_merge(list, (gr_str){ s.p, left }, (gr_str){ s.p + left + 1, s.n - left - 1 }))
            return json_decref(list), NULL;
    }
    return list;
}

typedef struct { float score; uint32_t token, bytes, left, right; } cut;   /* bytes of the left half, lengths of both */

/* transformers sorts by score, then by the lengths of the halves, the longest first. */
static int best_first(const void *a, const void *b)
{
    const cut *x = a, *y = b;

    if (x->score < y->score || x->score > y->score)
        return x->score < y->score ? 1 : -1;
    if (x->left != y->left)
        return x->left < y->left ? 1 : -1;
    if (x->right != y->right)
        return x->right < y->right ? 1 : -1;
    return (x->token > y->token) - (x->token < y->token);
}

/* Is a text a token that may take part in merges? */
static bool mergeable(const gr_tok_spec *spec, const gr_tok *t, const char *s, size_t n)
{
    int32_t id = gr_vocab_model(&t->vocab, s, n);

    return id >= 0 && (size_t)id < spec->n_tokens && gr_spec_merges(spec, (size_t)id);
}

static size_t characters(const char *s, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i += gr_utf8_len(s[i]))
        count++;
    return count;
}

/* Every way to cut a token in two; list NULL only counts them. */
static size_t cuts(const gr_tok_spec *spec, const gr_tok *t, cut *list)
{
    size_t n = 0;

    for (size_t i = 0; i < spec->n_tokens; i++) {
        gr_str s = spec->token[i];
        size_t chars = characters(s.p, s.n), left = 1;

        if (!mergeable(spec, t, s.p, s.n) || gr_vocab_model(&t->vocab, s.p, s.n) != (int32_t)i)
            continue;
        for (size_t k = s.n ? gr_utf8_len(*s.p) : 0; k < s.n; k += gr_utf8_len(s.p[k]), left++) {
            if (!mergeable(spec, t, s.p, k) || !mergeable(spec, t, s.p + k, s.n - k))
                continue;
            if (list)
                list[n] = (cut){ spec->score[i], (uint32_t)i, (uint32_t)k, (uint32_t)left, (uint32_t)(chars - left) };
            n++;
        }
    }
    return n;
}

static json_t *merges_of_scores(const gr_tok_spec *spec, const gr_tok *t)
{
    size_t n = cuts(spec, t, NULL);
    cut *list = gr_calloc(n, sizeof *list);
    json_t *out = list ? json_array() : NULL;

    if (list)
        cuts(spec, t, list);
    if (n)
        qsort(list, list ? n : 0, sizeof *list, best_first);
    for (size_t i = 0; out && i < n; i++) {
        gr_str s = spec->token[list[i].token];
        if (!add_merge(out, (gr_str){ s.p, list[i].bytes }, (gr_str){ s.p + list[i].bytes, s.n - list[i].bytes })) {
            json_decref(out);
            out = NULL;
        }
    }
    free(list);
    return out;
}

/* ---- the whole ------------------------------------------------------------------------------------ */

static json_t *model(const gr_tok_spec *spec, const gr_tok *t, bool sentence, bool ignore_merges)
{
    json_t *unknown = sentence && spec->unknown_id >= 0 ? text(spec->token[spec->unknown_id]) : json_null();

    return json_pack("{s:s, s:n, s:o, s:n, s:n, s:b, s:b, s:b, s:o, s:o}", "type", "BPE", "dropout", "unk_token",
                     unknown, "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", sentence, "byte_fallback",
                     sentence, "ignore_merges", ignore_merges, "vocab",
                     vocabulary(spec, without_padding(spec)), "merges",
                     sentence ? merges_of_scores(spec, t) : merges_of_lines(spec));
}

gram_status gr_tok_spec_json(const gr_tok_spec *spec, const char *name, int32_t before, int32_t after, gr_buf *out,
                             gram_err *err)
{
    bool sentence = gr_str_is(spec->model, "llama");
    gr_tok_parts parts = { 0 };
    gr_tok *t = NULL;
    gram_status rc = gr_tok_from_spec(&t, name, spec, err);    /* which proves the lists */
    char *whole = NULL;
    json_t *root;

    if (!rc)
        rc = gr_tok_parts_of(&parts, name, spec, err);
    if (rc) {
        gr_tok_close(t);
        return rc;
    }
    root = json_pack("{s:s, s:n, s:n, s:o, s:O, s:O, s:o, s:O, s:o}", "version", "1.0", "truncation", "padding",
                     "added_tokens", added(spec), "normalizer", parts.normalizer, "pre_tokenizer", parts.pre_tokenizer,
                     "post_processor", post_processor(spec, before, after), "decoder", parts.decoder, "model",
                     model(spec, t, sentence, parts.ignore_merges));
    whole = gr_json_text(root, JSON_COMPACT);
    if (!whole || !gr_buf_puts(out, whole) || !gr_buf_puts(out, "\n"))
        rc = gr_nomem(err, name);
    free(whole);
    json_decref(root);
    gr_tok_parts_clear(&parts);
    gr_tok_close(t);
    return rc;
}
