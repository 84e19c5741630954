/* gguf_tok.h - a checkpoint's tokenizer in the words of GGUF: the lists of tokenizer.ggml.* and the tokens it names. */
#ifndef GR_FILE_GGUF_TOK_H
#define GR_FILE_GGUF_TOK_H

#include "file/config.h"
#include "file/gguf_write.h"
#include "file/tok_facts.h"
#include "file/weights.h"
#include "text/tokenizer.h"

typedef struct {
    gr_tok_lists lists;             /* lists.spec: strings borrowed from the file, or of the lists */
    int32_t bos, eos, pad;          /* -1: none */
    bool add_bos, add_eos;          /* around a text whose caller asks for special tokens */
    gr_tok_facts facts;             /* of a directory; of a GGUF its chat templates alone */
} gr_gguf_tok;
/* w is of gr_weights_open_gguf(). On failure nothing is left to clear, here and below. */
gram_status gr_gguf_tok_read(gr_gguf_tok *out, const gr_weights *w, gram_err *err);
bool gr_gguf_tok_none(const gr_weights *w);         /* a file that says that it has no tokenizer */
/* The tokenizer.model of a directory that has no tokenizer.json; ids as gr_tok_model_read() takes it. */
gram_status gr_dir_tok_model(gr_tok_lists *out, const char *dir, size_t ids, gram_err *err);
/* The same for a directory with a tokenizer.json or a tokenizer.model; c is its model's. */
gram_status gr_gguf_tok_of_dir(gr_gguf_tok *out, const char *dir, const gr_config *c, gram_err *err);
void gr_gguf_tok_keys(const gr_gguf_tok *t, gr_keys *k);
void gr_gguf_tok_clear(gr_gguf_tok *t);     /* all zeros is fine */

#endif
