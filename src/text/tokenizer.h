/* tokenizer.h - text to token ids and back, equal id for id to the Rust `tokenizers` library.
 *
 * A tokenizer is built from the bytes of a tokenizer.json, or from the lists of a GGUF file; it opens no
 * file itself. It never changes once built, so threads may share one. */
#ifndef GR_TEXT_TOKENIZER_H
#define GR_TEXT_TOKENIZER_H

#include <stdbool.h>
#include "base/mem.h"

typedef struct gr_tok gr_tok;

/* name: what errors call the source (a path). The bytes are borrowed for the call. */
gram_status gr_tok_from_json(gr_tok **out, const char *name, const char *json, size_t n, gram_err *err);

/* What GGUF's tokenizer.ggml.* keys say, borrowed for the call. model "gpt2" with pre (llama-bpe, qwen2 ..., the table
 * of tok_pre.c), or model "llama" (SentencePiece, scores instead of merges). */
typedef enum {
    GR_SCHEME_PREPEND,          /* before each piece of a text between added tokens */
    GR_SCHEME_ALWAYS,           /* the same, but a piece that begins with a space gets no second one */
    GR_SCHEME_FIRST             /* so, and before a text's beginning alone */
} gr_tok_scheme;
typedef struct {
    gr_str model, pre;
    size_t n_tokens;
    const gr_str *token;
    const float *score;         /* [n_tokens] or NULL */
    const int32_t *type;        /* [n_tokens] or NULL: 1 normal 2 unknown 3 control 4 user-defined 5 unused 6 byte */
    size_t n_merges;
    const gr_str *merge;        /* "left right" */
    const uint8_t *flag;        /* [n_tokens] or NULL: GR_TOK_* of added tokens, for which GGUF itself has no form */
    bool add_space_prefix;      /* SentencePiece: as the GGUF key of this name; default true */
    gr_tok_scheme scheme;       /* and when the prefix is put; 0 is what GGUF means */
    int32_t unknown_id;         /* -1: none */
} gr_tok_spec;
/* As a tokenizer.json has them; and a special token that plain text may become, for it is a word too. */
enum { GR_TOK_SINGLE_WORD = 1, GR_TOK_LSTRIP = 2, GR_TOK_RSTRIP = 4, GR_TOK_NORMALIZED = 8, GR_TOK_WORD = 16 };
bool gr_tok_pre_adds_bos(gr_str pre);       /* what llama.cpp takes for add_bos_token where a file leaves it open */
gram_status gr_tok_from_spec(gr_tok **out, const char *name, const gr_tok_spec *spec, gram_err *err);
/* The same tokenizer as the text of a tokenizer.json, appended. before, after: the tokens that the Rust library is to
 * put around a text when its caller asks for special tokens; -1: none. */
gram_status gr_tok_spec_json(const gr_tok_spec *spec, const char *name, int32_t before, int32_t after, gr_buf *out,
                             gram_err *err);
/* And back: the lists of a tokenizer.json, for a model of `ids` tokens (those that the file lacks are called "[PAD7]"
 * and unused). A tokenizer that GGUF has no name for is refused. On failure nothing is left to clear. */
typedef struct {
    gr_tok_spec spec;
    gr_buf formless;            /* added tokens that other programs will find elsewhere: "<sep>" (lstrip), ... */
    gr_str *token, *merge;      /* owned, behind spec, like what follows */
    float *score;
    int32_t *type;
    uint8_t *flag;
    char *pieces;               /* a copy of tokenizer.model */
    gr_buf text;
    struct json_t *root;
} gr_tok_lists;
gram_status gr_tok_lists_read(gr_tok_lists *out, const char *name, const char *json, size_t n, size_t ids,
                              gram_err *err);
/* Of SentencePiece's tokenizer.model and the tokenizer_config.json beside it (NULL: none), borrowed for the call; ids
 * 0: as many tokens as there are. Unigram models and normalizers with rules are refused. */
gram_status gr_tok_model_read(gr_tok_lists *out, const char *name, const char *bytes, size_t n, const char *config,
                              size_t n_config, size_t ids, gram_err *err);
void gr_tok_lists_clear(gr_tok_lists *l);
void gr_tok_close(gr_tok *t);

/* Appends the ids of text[0..n). Adds no BOS. Added tokens that are not special (Qwen's <think>, Gemma's
 * runs of newlines) are always found; special ones (<|im_end|>) only with `special`, otherwise they are
 * text like any other. Bytes that are not UTF-8 fail with GRAM_EFORMAT and the byte's offset. */
gram_status gr_tok_encode(const gr_tok *t, const char *text, size_t n, bool special, gr_ids *out, gram_err *err);
/* The same for a text of which only some parts may hold special tokens: run[i] goes up to byte `end`, from where
 * run[i-1] ended, and the last one to n. A special token counts as such where all of its bytes lie in runs that may
 * hold them; everything else, merges that reach from one run into another too, is as if the text had none.
 * GRAM_EUNSUPPORTED where the tokenizer looks for special tokens behind its normalizer and such a token stands both in
 * a run that may hold it and in one that may not, so that the two cannot be told apart. */
typedef struct { size_t end; bool special, marks; } gr_tok_run;      /* marks: of gr_tok_encode_marked() */
gram_status gr_tok_encode_runs(const gr_tok *t, const char *text, size_t n, const gr_tok_run *run, size_t n_runs,
                               gr_ids *out, gram_err *err);
/* The same, and the added tokens of `mark` that are not special (a <think> that begins a thought) are found in runs
 * with `special` or `marks` alone. */
gram_status gr_tok_encode_marked(const gr_tok *t, const char *text, size_t n, const gr_tok_run *run, size_t n_runs,
                                 const gr_ids *mark, gr_ids *out, gram_err *err);
/* The same for a text that other tokens stand before: what a tokenizer adds to the very beginning alone (Metaspace with
 * prepend_scheme "first") is not added. */
gram_status gr_tok_encode_behind(const gr_tok *t, const char *text, size_t n, bool special, gr_ids *out, gram_err *err);
/* Appends the bytes of the ids; special tokens are left out unless `special`. */
gram_status gr_tok_decode(const gr_tok *t, const int32_t *id, size_t n, bool special, gr_buf *out, gram_err *err);
/* Appends the bytes of one token of a text, which may be a piece of a character: the bytes of all tokens of a text, one
 * after the other, are its decoded text. first: no token stands before it, so that a space which a tokenizer puts
 * before every text goes. */
gram_status gr_tok_decode_piece(const gr_tok *t, int32_t id, bool special, bool first, gr_buf *out, gram_err *err);

/* Of a tokenizer.json whose post_processor says it: the token that is put in front of a text, as the file has it, which
 * may be none of the vocabulary; -1: none is. false: nothing is said, and *id stays. */
bool gr_tok_front(const gr_tok *t, int64_t *id);
uint64_t gr_tok_digest(const gr_tok *t);                /* of all that it was made from */
size_t gr_tok_vocabulary(const gr_tok *t);              /* largest id + 1 */
int32_t gr_tok_find(const gr_tok *t, const char *token);/* the id of a token as the vocabulary writes it; -1: none */
bool gr_tok_is_special(const gr_tok *t, int32_t id);
/* found in a text before it is cut into words; special ones too */
bool gr_tok_is_added(const gr_tok *t, int32_t id);
gr_str gr_tok_text(const gr_tok *t, int32_t id);        /* as the vocabulary writes it; lives as long as t */
int gr_tok_spaced(const gr_tok *t);                     /* ByteLevel puts a space in front: 1, 0; -1: other kinds */
const char *gr_tok_kind(const gr_tok *t);               /* "byte-level BPE" or "SentencePiece BPE" */

#endif
