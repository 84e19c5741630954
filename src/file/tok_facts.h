/* tok_facts.h - what a Hugging Face directory says of its tokens in tokenizer_config.json and chat_template.jinja. */
#ifndef GR_FILE_TOK_FACTS_H
#define GR_FILE_TOK_FACTS_H

#include "base/mem.h"

typedef struct {
    char *jinja;                        /* the chat template */
    char *bos, *eos, *unk, *pad;        /* texts of tokens; each, and the template, NULL where nothing is said */
    bool add_bos, add_eos;
} gr_tok_facts;
/* Either file may be absent. On failure nothing is left to clear. */
gram_status gr_tok_facts_read(gr_tok_facts *out, const char *dir, gram_err *err);
void gr_tok_facts_clear(gr_tok_facts *f);

#endif
