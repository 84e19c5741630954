/* gguf_tok.h - what a GGUF file says of its tokenizer: the lists of tokenizer.ggml.*, and the tokens it names. */
#ifndef GR_FILE_GGUF_TOK_H
#define GR_FILE_GGUF_TOK_H

#include "file/weights.h"
#include "text/tokenizer.h"

typedef struct {
    gr_tok_spec spec;               /* strings borrowed from the file */
    int32_t bos, eos, pad;          /* -1: none */
    bool add_bos, add_eos;          /* around a text whose caller asks for special tokens */
    gr_str chat_template;           /* p NULL: none */
    gr_str *token, *merge;          /* owned, behind spec */
    float *score;
    int32_t *type;
} gr_gguf_tok;
/* w is of gr_weights_open_gguf(). On failure nothing is left to clear. */
gram_status gr_gguf_tok_read(gr_gguf_tok *out, const gr_weights *w, gram_err *err);
void gr_gguf_tok_clear(gr_gguf_tok *t);     /* all zeros is fine */

#endif
