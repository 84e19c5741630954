/* tokenizer_int.h - the parts of a tokenizer, for the files of this folder that build it and run it.
 *
 *   text -> raw added tokens cut out (added.c) -> normalised (norm.c) -> normalised added tokens cut out
 *        -> words (pretok.c, patterns by regex.c) -> merges (bpe.c) -> ids
 *
 * That is the order of the Rust library, whose results this must equal. Everything here is settled when the
 * tokenizer is built; an encode keeps what it changes in its own struct gr_enc. */
#ifndef GR_TEXT_TOKENIZER_INT_H
#define GR_TEXT_TOKENIZER_INT_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "base/err.h"
#include "text/tokenizer.h"

enum {
    TOK_ID_MAX   = 1 << 24,         /* ids below this: 64 times the largest vocabulary in use */
    TOK_STEPS    = 16,              /* normalizers, pre-tokenizers or decoders in a row */
    TOK_WORD_MAX = 4096             /* bytes of one added token, or of one replacement */
};

/* ---- tok_pre.c: what the words of a GGUF file stand for, as components of a tokenizer.json ---- */

struct json_t;
typedef struct { struct json_t *normalizer, *pre_tokenizer, *decoder; bool ignore_merges; } gr_tok_parts;  /* owned */
gram_status gr_tok_parts_of(gr_tok_parts *out, const char *name, const gr_tok_spec *spec, gram_err *err);
gram_status gr_tok_sentence_parts(gr_tok_parts *out, const char *name, bool prefix, gr_tok_scheme scheme,
                                  gram_err *err);
void gr_tok_parts_clear(gr_tok_parts *p);           /* all zeros is fine */
/* The word for these components, NULL or null where there are none; false where there is no word. */
bool gr_tok_pre_recognise(const struct json_t *normalizer, const struct json_t *pre_tokenizer, bool ignore_merges,
                          gr_str *pre);

/* ---- tok_spec.c, tok_write.c: the lists of a GGUF file ---- */

enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER, TYPE_UNUSED, TYPE_BYTE };
int32_t gr_spec_type(const gr_tok_spec *spec, size_t i);
/* GR_TOK_* of an added token as JSON has it. */
uint8_t gr_tok_flags_of(const struct json_t *v, bool special);
/* Names in l->formless the tokens that other programs will find elsewhere; t: the tokenizer of the lists, or NULL. */
gram_status gr_tok_note_formless(gr_tok_lists *l, const gr_tok *t, const char *name, gram_err *err);
bool gr_spec_merges(const gr_tok_spec *spec, size_t i);        /* SentencePiece: text may become token i */

#define META "\xe2\x96\x81"             /* U+2581, a space */

/* ---- vocab.c: ids to texts and back ---- */

enum {
    WORD_USED = 1, WORD_SPECIAL = 2, WORD_ADDED = 4, WORD_MODEL = 8, WORD_RESPELT = 16,
    WORD_PLAIN = 32,                /* plain text may become it, even where it is special: it is a word of the model */
    WORD_MADE = 64                  /* a merge makes it */
};

typedef struct { uint32_t at, n; } gr_word;             /* bytes of the pool */
typedef struct { uint32_t *slot; size_t mask; } gr_dict; /* open addressing; a slot is an id + 1, or 0 */
typedef struct {
    gr_buf pool;
    gr_word *word;                  /* [cap] */
    uint8_t *flag;                  /* [cap] WORD_* */
    size_t cap, n;                  /* n: largest id in use + 1 */
    size_t n_model;                 /* tokens of the model, the added ones not counted */
    gr_dict model, added;
} gr_vocab;

/* cap ids, of which the model has n_model and n_added are added. */
bool gr_vocab_init(gr_vocab *v, size_t cap, size_t n_model, size_t n_added);
void gr_vocab_clear(gr_vocab *v);
bool gr_vocab_set(gr_vocab *v, int32_t id, gr_str text, unsigned flag);     /* false: out of memory */
gr_str gr_vocab_text(const gr_vocab *v, int32_t id);
int32_t gr_vocab_model(const gr_vocab *v, const char *s, size_t n);         /* a token of the model, or -1 */
int32_t gr_vocab_added(const gr_vocab *v, const char *s, size_t n);         /* an added token, or -1 */

/* ---- regex.c: what a pattern finds ---- */

typedef struct { size_t start, end; bool match; } gr_span;
typedef struct { gr_span *p; size_t n, cap; } gr_spans;
bool gr_spans_add(gr_spans *s, size_t start, size_t end, bool match);

typedef enum { PAT_REGEX, PAT_LITERAL, PAT_CHAR } gr_pat_kind;
typedef struct {
    gr_pat_kind kind;
    pcre2_code *re;
    char *lit;
    size_t n_lit;
    bool (*is)(int32_t c);          /* PAT_CHAR: each such character is a match of its own */
} gr_pat;

gram_status gr_pat_regex(gr_pat *p, const char *name, gr_str onig, gram_err *err);
bool gr_pat_literal(gr_pat *p, gr_str s);               /* false: out of memory */
void gr_pat_clear(gr_pat *p);
/* Covers s[0..n) with matches and what lies between. md is any match data with one pair. */
gram_status gr_pat_find(const gr_pat *p, pcre2_match_data *md, pcre2_match_context *mc, const char *s, size_t n,
                        gr_spans *out, gram_err *err);

/* ---- norm.c ---- */

typedef enum { NORM_NFC, NORM_NFD, NORM_NFKC, NORM_NFKD, NORM_LOWER, NORM_STRIP, NORM_MARKS, NORM_PREPEND,
               NORM_REPLACE } gr_norm_kind;
typedef struct {
    gr_norm_kind kind;
    bool left, right;               /* STRIP */
    gr_pat pat;                     /* REPLACE */
    char *content;                  /* PREPEND, REPLACE */
    size_t n_content;
} gr_norm;

/* ---- pretok.c ---- */

typedef enum { SPLIT_REMOVED, SPLIT_ISOLATED, SPLIT_PREVIOUS, SPLIT_NEXT, SPLIT_CONTIGUOUS } gr_split_kind;
typedef enum { PREFIX_NEVER, PREFIX_FIRST, PREFIX_ALWAYS } gr_prefix;

/* One step for all pre-tokenizers: spaces become `meta`, a prefix is put before a piece that lacks it, and
 * the piece is split. ByteLevel has the prefix " ", Metaspace "\u2581". */
typedef struct {
    bool meta;                      /* ' ' becomes the prefix */
    gr_prefix when;
    char prefix[5];
    bool split;
    gr_pat pat;
    gr_split_kind behaviour;
    bool invert;
} gr_pre;

/* ---- decode.c ---- */

typedef enum { DEC_BYTE_LEVEL, DEC_BYTE_FALLBACK, DEC_FUSE, DEC_STRIP, DEC_REPLACE, DEC_META } gr_dec_kind;
typedef struct {
    gr_dec_kind kind;
    gr_pat pat;                     /* REPLACE */
    char *content;                  /* REPLACE; the character of STRIP and META */
    size_t n_content;
    size_t start, stop;             /* STRIP: at most so many from each end */
    bool drop_first;                /* META: the prefix of the first token */
} gr_dec;

/* ---- bpe.c ---- */

typedef struct { uint64_t pair; uint32_t rank; int32_t id; } gr_merge;
typedef struct { gr_merge *slot; size_t mask; } gr_merges;      /* open addressing; pair UINT64_MAX is empty */
bool gr_merges_init(gr_merges *m, size_t n);            /* room for n pairs */
void gr_merges_put(gr_merges *m, int32_t left, int32_t right, uint32_t rank, int32_t id);   /* the last one wins */
/* The merge of two tokens by their texts. scratch is reused from call to call. */
gram_status gr_merges_add(gr_tok *t, const char *name, gr_str left, gr_str right, size_t rank, gr_buf *scratch,
                          gram_err *err);
bool gr_bpe_cuts(const gr_tok *t);                      /* for t->cut_meta */
/* "left right", cut at its one space. */
gram_status gr_merges_add_line(gr_tok *t, const char *name, gr_str line, size_t rank, gr_buf *scratch, gram_err *err);

/* ---- added.c: a trie of added tokens ---- */

typedef struct {
    char *text;                     /* of the token, not normalised */
    size_t n;
    char *spelt;                    /* WORD_RESPELT: normalised, as the library decodes it; else NULL */
    size_t n_spelt;
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} gr_added;
typedef struct { uint32_t child, sibling, token; unsigned char byte; } gr_node;     /* token: index + 1 */
typedef struct { gr_node *node; size_t n, cap; uint32_t root[256]; } gr_trie;
bool gr_trie_put(gr_trie *t, const char *s, size_t n, uint32_t token);

struct gr_tok {
    uint64_t digest;                /* of what it was made from */
    gr_vocab vocab;
    size_t n_ids;                   /* vocab.n without the characters that only merge (tok_spec.c) */
    bool byte_level;                /* bytes are symbols, each written as one visible character */
    bool ignore_merges, fuse_unk, byte_fallback;
    bool unk_wanted;                /* a character without a token is unk, not nothing */
    int32_t unk;                    /* -1: none */
    int32_t byte_id[256];           /* byte_level: of each byte; else of each ASCII character; -1: none */
    int32_t fallback[256];          /* <0x00> to <0xFF>; -1: none */
    bool cut_meta;                  /* no merge reaches across the start of a run of U+2581 */
    gr_merges merges;
    gr_norm norm[TOK_STEPS];
    gr_pre pre[TOK_STEPS];
    gr_dec dec[TOK_STEPS];
    size_t n_norm, n_pre, n_dec;
    bool has_dec;                   /* else the tokens are joined by spaces */
    gr_added *added;
    size_t n_added;
    gr_trie raw, normalized;
    pcre2_match_context *limits;
    bool front_said;                /* gr_tok_front() */
    int64_t front;
};

/* What one encode or decode changes. */
typedef struct { size_t at, n; } gr_piece;
typedef struct { int32_t id; uint32_t prev, next, rank; int32_t merged; } gr_sym;
typedef struct {
    const gr_tok *t;
    bool special;                   /* of a piece behind the normalizer, where there are runs */
    const gr_tok_run *run;          /* of text; NULL: `special` says it of all */
    size_t n_runs, at_run;
    const gr_ids *mark;             /* added tokens that are found like special ones; NULL: none */
    const char *text;
    bool piece, behind, fused;      /* decode: bytes as they are; other tokens stand before; the parts are one by now */
    size_t limit;                   /* bytes that a hostile file's replacements may make of the text */
    gr_ids *out;
    gram_err *err;
    pcre2_match_data *md;
    gr_buf norm[2];
    gr_buf pre[TOK_STEPS];
    gr_buf word;                    /* as the vocabulary writes it */
    gr_spans span[TOK_STEPS], scratch;
    gr_sym *sym;
    size_t n_sym, cap_sym;
    uint64_t *heap;                 /* rank << 32 | position */
    size_t n_heap, cap_heap;
} gr_enc;

gr_tok *gr_tok_new(void);                               /* NULL: out of memory */
/* An added token, which may be one of the model's too. t->added has room for it. */
gram_status gr_tok_add(gr_tok *t, const char *name, const gr_added *a, gram_err *err);
/* Once vocabulary, steps, merges and added tokens are there: the tables made from them. */
gram_status gr_tok_finish(gr_tok *t, const char *name, gram_err *err);
int32_t gr_byte_char(unsigned char b);                  /* the visible character of a byte (GPT-2) */
extern const char gr_re_gpt2[];
/* Takes the components over into t (tok_json.c). */
gram_status gr_tok_read_parts(gr_tok *t, const char *name, const gr_tok_parts *p, gram_err *err);

/* The matches in s are replaced. */
gram_status gr_pat_replace(gr_enc *e, const gr_pat *p, gr_str s, gr_str content, gr_buf *out);
/* The normalised text is *s, which may still be the text given or lie in e->norm. *first says that it starts
 * where the whole text does; it becomes false when the first character goes. */
gram_status gr_norm_run(gr_enc *e, gr_str *s, bool *first);
gram_status gr_pre_run(gr_enc *e, size_t step, gr_str s, bool first);
gram_status gr_bpe_word(gr_enc *e, const char *s, size_t n);
/* Whether the token stands only where a run may hold special ones. */
bool gr_added_placed(const gr_enc *e, const gr_added *a);
gram_status gr_added_split(gr_enc *e, const gr_trie *trie, gr_str s, bool first,
                           gram_status (*text)(gr_enc *e, gr_str s, bool first));

#endif
