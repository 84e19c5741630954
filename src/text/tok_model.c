/* tok_model.c - a tokenizer from SentencePiece's own file, tokenizer.model, as the lists that a GGUF holds.
 *
 * The file is a protocol buffer: fields of a number and a wire type, nested in one another. Of ModelProto only this is
 * read, the rest is stepped over:
 *
 *     1 pieces           1 piece (text)    2 score (float)    3 type: those of tokenizer_int.h, TYPE_NORMAL ...
 *     2 trainer_spec     3 model_type: 1 unigram, 2 BPE    24 treat_whitespace_as_suffix    40 unk_id
 *     3 normalizer_spec  2 precompiled_charsmap    3 add_dummy_prefix    4 remove_extra_whitespaces
 *                        5 escape_whitespaces    6 normalization_rule_tsv
 *
 * Beside it tokenizer_config.json may name added tokens, by id, and whose class reads the file. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include "text/tokenizer_int.h"
#include "text/utf8.h"

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };       /* wire types */
enum { UNIGRAM = 1, BPE = 2 };

#define HOW "; transformers writes a tokenizer.json: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"

typedef struct { const unsigned char *p, *end; } reader;
typedef struct { uint64_t number, type, value; gr_str bytes; } field;   /* value of VARINT and FIXED32 */

static bool take_varint(reader *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; r->p < r->end && shift < 64; shift += 7) {
        unsigned char c = *r->p++;
        *out |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

/* False at the end, and where what follows is no field; the end is then not reached. */
static bool take_field(reader *r, field *f)
{
    uint64_t tag, n;

    if (r->p == r->end || !take_varint(r, &tag))
        return false;
    *f = (field){ .number = tag >> 3, .type = tag & 7 };
    if (f->type == VARINT)
        return take_varint(r, &f->value);
    n = f->type == FIXED64 ? 8 : 4;
    if (f->type == BYTES ? !take_varint(r, &n) : f->type != FIXED64 && f->type != FIXED32)
        return false;
    if (n > (size_t)(r->end - r->p))
        return false;
    f->bytes = (gr_str){ (const char *)r->p, (size_t)n };
    for (size_t i = 0; f->type == FIXED32 && i < 4; i++)
        f->value |= (uint64_t)r->p[i] << 8 * i;
    r->p += n;
    return true;
}

static reader inside(gr_str s)
{
    return (reader){ (const unsigned char *)s.p, (const unsigned char *)s.p + s.n };
}

typedef struct {
    gr_tok_lists *l;
    const char *name;
    size_t n, cap;                  /* pieces, and those that there is room for */
    size_t *own;                    /* where a text of ours begins in l->text, and 1 */
    uint64_t model;
    bool prefix, extra, escape, suffix, charsmap;
    gram_err *err;
} build;

static gram_status broken(const build *b)
{
    return gr_fail(b->err, GRAM_EFORMAT, "%s: not a SentencePiece model: a protocol buffer is wanted%s", b->name, HOW);
}

/* ---- The file ------------------------------------------------------------------------------------- */

static gram_status read_piece(build *b, gr_str message, size_t i)
{
    reader r = inside(message);
    uint32_t bits = 0;
    field f;
    size_t bad;

    b->l->type[i] = TYPE_NORMAL;
    while (take_field(&r, &f))
        if (f.number == 1 && f.type == BYTES)
            b->l->token[i] = f.bytes;
        else if (f.number == 2 && f.type == FIXED32)
            bits = (uint32_t)f.value;
        else if (f.number == 3 && f.type == VARINT)
            b->l->type[i] = f.value <= TYPE_BYTE ? (int32_t)f.value : 0;
    memcpy(&b->l->score[i], &bits, sizeof bits);
    bad = gr_utf8_bad(b->l->token[i].p ? b->l->token[i].p : "", b->l->token[i].n);
    if (r.p != r.end || bad < b->l->token[i].n || !b->l->type[i])
        return gr_fail(b->err, GRAM_EFORMAT, "%s: piece %zu: wanted a text in UTF-8, a score and a type from 1 to 6",
                       b->name, i);
    if (!b->l->token[i].p)
        b->l->token[i].p = "";
    return GRAM_OK;
}

static void read_trainer(build *b, gr_str message)
{
    reader r = inside(message);
    field f;

    while (take_field(&r, &f))
        if (f.type == VARINT && f.number == 3)
            b->model = f.value;
        else if (f.type == VARINT && f.number == 24)
            b->suffix = f.value != 0;
        else if (f.type == VARINT && f.number == 40)
            b->l->spec.unknown_id = f.value < TOK_ID_MAX ? (int32_t)f.value : -1;
}

static void read_normalizer(build *b, gr_str message)
{
    reader r = inside(message);
    field f;

    while (take_field(&r, &f))
        switch (f.number) {
        case 2: case 6: b->charsmap = b->charsmap || f.bytes.n; break;
        case 3: b->prefix = f.value != 0; break;
        case 4: b->extra = f.value != 0; break;
        case 5: b->escape = f.value != 0; break;
        default: break;
        }
}

/* What SentencePiece can do and is not done here. */
static gram_status refuse(const build *b)
{
    const char *what = b->model == UNIGRAM ? "a unigram model" : b->model != BPE ? "a model of words or characters" :
                       b->charsmap ? "a normalizer with rules" : b->extra ? "remove_extra_whitespaces" :
                       !b->escape ? "no escape_whitespaces" : b->suffix ? "treat_whitespace_as_suffix" : NULL;

    return what ? gr_fail(b->err, GRAM_EUNSUPPORTED, "%s: %s, where BPE with plain spaces is wanted%s", b->name, what,
                          HOW) : GRAM_OK;
}

static size_t count_pieces(const char *bytes, size_t n, bool *whole)
{
    reader r = inside((gr_str){ bytes, n });
    size_t pieces = 0;
    field f;

    while (take_field(&r, &f))
        pieces += f.number == 1 && f.type == BYTES;
    *whole = r.p == r.end;
    return pieces;
}

static gram_status read_model(build *b, const char *bytes, size_t n)
{
    reader r = inside((gr_str){ bytes, n });
    gram_status rc = GRAM_OK;
    field f;

    while (!rc && take_field(&r, &f)) {
        if (f.type != BYTES)
            continue;
        if (f.number == 1)
            rc = read_piece(b, f.bytes, b->n++);
        else if (f.number == 2)
            read_trainer(b, f.bytes);
        else if (f.number == 3)
            read_normalizer(b, f.bytes);
    }
    return rc ? rc : refuse(b);
}

/* ---- tokenizer_config.json ------------------------------------------------------------------------ */

/* Its text with U+2581 as spaces, as a GGUF has those that are always found. */
static bool put_text(build *b, size_t id, gr_str s, bool spaces)
{
    size_t at = b->l->text.n;

    for (size_t i = 0; i < s.n; ) {
        bool mark = spaces && s.n - i >= strlen(META) && !memcmp(s.p + i, META, strlen(META));
        if (!gr_buf_add(&b->l->text, mark ? " " : s.p + i, 1))
            return false;
        i += mark ? strlen(META) : 1;
    }
    b->own[id] = at + 1;
    b->l->token[id] = (gr_str){ NULL, b->l->text.n - at };
    return true;
}

static gram_status add_token(build *b, const char *key, const json_t *v)
{
    const json_t *s = json_object_get(v, "content");
    gr_str text = { json_string_value(s), json_string_length(s) };
    bool special = json_is_true(json_object_get(v, "special"));
    char *end;
    unsigned long id = strtoul(key, &end, 10);
    gr_tok_lists *l = b->l;
    bool same;

    if (*end || end == key || !text.p || !text.n || id >= b->cap)
        return gr_fail(b->err, GRAM_EFORMAT, "%s: tokenizer_config.json beside it: added_tokens_decoder: \"%s\": "
                       "wanted an id below %zu and a text", b->name, key, b->cap);
    same = id < b->n && l->token[id].n == text.n && l->token[id].p && !memcmp(l->token[id].p, text.p, text.n);
    l->flag[id] = gr_tok_flags_of(v, special);
    if (same && l->type[id] == TYPE_NORMAL && special)
        l->flag[id] |= GR_TOK_WORD;
    l->type[id] = special ? TYPE_CONTROL : TYPE_USER;
    b->n = gr_max(b->n, id + 1);
    return put_text(b, id, text, !special) ? GRAM_OK : gr_nomem(b->err, b->name);
}

/* transformers' Llama class puts a space before a text's beginning alone, or, where it is `legacy`, before each piece;
 * SentencePiece itself puts one before any, a second one too. */
static gram_status read_config(build *b, json_t *root)
{
    const char *class = json_string_value(json_object_get(root, "tokenizer_class")), *key;
    const json_t *added = json_object_get(root, "added_tokens_decoder");
    bool llama = class && !strncmp(class, "LlamaTokenizer", 14);
    gram_status rc = GRAM_OK;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)added, key, v) {
        rc = add_token(b, key, v);
        if (rc)
            return rc;
    }
    if (llama)
        b->l->spec.scheme = json_is_true(json_object_get(root, "legacy")) ? GR_SCHEME_ALWAYS : GR_SCHEME_FIRST;
    if (llama && json_is_false(json_object_get(root, "add_prefix_space")))
        b->prefix = false;
    return rc;
}

/* ---- The whole ------------------------------------------------------------------------------------ */

/* User-defined pieces are found as spaces; ids without a token, up to the model's, are unused. */
static gram_status fill(build *b, size_t ids)
{
    gr_tok_lists *l = b->l;

    for (size_t i = 0; i < b->n; i++)
        if (l->type[i] == TYPE_USER && !b->own[i] && !put_text(b, i, l->token[i], true))
            return gr_nomem(b->err, b->name);
    if (ids && b->n > ids)
        return gr_fail(b->err, GRAM_EFORMAT, "%s: %zu tokens, and the model's embedding has %zu rows", b->name, b->n,
                       ids);
    for (size_t i = 0; i < gr_max(b->n, ids); i++)
        if (!l->type[i]) {
            size_t at = l->text.n;
            if (!gr_buf_printf(&l->text, "[PAD%zu]", i))
                return gr_nomem(b->err, b->name);
            b->own[i] = at + 1;
            l->token[i].n = l->text.n - at;
            l->type[i] = TYPE_UNUSED;
            l->score[i] = -1000;
        }
    b->n = gr_max(b->n, ids);
    for (size_t i = 0; i < b->n; i++)
        if (b->own[i])
            l->token[i].p = l->text.p ? l->text.p + (b->own[i] - 1) : "";
    return GRAM_OK;
}

static gram_status read_all(build *b, const char *bytes, size_t n, const char *config, size_t n_config, size_t ids)
{
    gr_tok_lists *l = b->l;
    json_t *root = NULL;
    json_error_t why;
    bool whole;
    size_t pieces = count_pieces(bytes, n, &whole);
    gram_status rc;

    if (!whole || pieces == 0 || pieces > TOK_ID_MAX / 2)
        return broken(b);
    b->cap = gr_max(pieces + 4096, ids);
    l->token = gr_calloc(b->cap, sizeof *l->token);
    l->type = gr_calloc(b->cap, sizeof *l->type);
    l->score = gr_calloc(b->cap, sizeof *l->score);
    l->flag = gr_calloc(b->cap, sizeof *l->flag);
    b->own = gr_calloc(b->cap, sizeof *b->own);
    if (!l->token || !l->type || !l->score || !l->flag || !b->own)
        return gr_nomem(b->err, b->name);
    rc = read_model(b, bytes, n);
    if (!rc && config && !(root = json_loadb(config, n_config, JSON_DECODE_INT_AS_REAL, &why)))
        rc = json_error_code(&why) == json_error_out_of_memory ? gr_nomem(b->err, b->name) :
             gr_fail(b->err, GRAM_EFORMAT, "%s: tokenizer_config.json beside it is not JSON: %s", b->name, why.text);
    if (!rc && root)
        rc = read_config(b, root);
    json_decref(root);
    return rc ? rc : fill(b, ids);
}

gram_status gr_tok_model_read(gr_tok_lists *out, const char *name, const char *bytes, size_t n, const char *config,
                              size_t n_config, size_t ids, gram_err *err)
{
    build b = { .l = out, .name = name, .model = UNIGRAM, .prefix = true, .extra = true, .escape = true, .err = err };
    gram_status rc;

    *out = (gr_tok_lists){ .spec = { .model = { "llama", 5 }, .pre = { "default", 7 } } };
    out->pieces = gr_strndup(bytes, n);
    rc = out->pieces ? read_all(&b, out->pieces, n, config, n_config, ids) : gr_nomem(err, name);
    out->spec.n_tokens = b.n;
    out->spec.token = out->token;
    out->spec.type = out->type;
    out->spec.score = out->score;
    out->spec.flag = out->flag;
    out->spec.add_space_prefix = b.prefix;
    free(b.own);
    if (!rc && out->spec.unknown_id >= 0 && (size_t)out->spec.unknown_id >= b.n)
        out->spec.unknown_id = -1;
    if (!rc)
        rc = gr_tok_note_formless(out, NULL, name, err);
    if (rc)
        gr_tok_lists_clear(out);
    return rc;
}
