/* tok_facts.h - what a Hugging Face directory says of its tokens and chat templates in tokenizer_config.json,
 * special_tokens_map.json, chat_template.jinja, additional_chat_templates/, and a processor's files. */
#ifndef GR_FILE_TOK_FACTS_H
#define GR_FILE_TOK_FACTS_H

#include "base/mem.h"

/* The chat templates of a checkpoint; all owned, each NULL where there is none. */
typedef struct {
    char *jinja;                        /* the only one, or the one called default */
    char *tools;                        /* the one called tool_use, where there is a default too */
    char *source;                       /* the file that they lie in, as a person would call it */
    char *names;                        /* "rag, tool_use": none of several is called default, and jinja is NULL */
    struct json_t *named;               /* all of them, texts by name */
} gr_templates;
void gr_templates_clear(gr_templates *t);
/* A GGUF's keys: "tokenizer.chat_template", and one more for each name after a further point. */
struct gr_gguf;
gram_status gr_templates_of_gguf(gr_templates *out, const struct gr_gguf *g, const char *path, gram_err *err);

typedef struct {
    gr_templates chat;
    char *bos, *eos, *unk, *pad;        /* texts of tokens; NULL where nothing is said */
    char *tokens;                       /* {"bos_token": TEXT, ...} as JSON: the variables of a chat template */
    struct json_t *special;             /* texts of tokens, each with the name that a template knows it by, or null */
    bool add_bos, add_eos;
    enum { GR_PREFIX_UNSAID, GR_PREFIX_NO, GR_PREFIX_YES } prefix;      /* "add_prefix_space" */
} gr_tok_facts;
/* Any of the files may be absent. On failure nothing is left to clear. */
gram_status gr_tok_facts_read(gr_tok_facts *out, const char *dir, gram_err *err);
/* Whether the tokenizer of the directory has those of these tokens that its chat templates write, which transformers
 * would add behind the vocabulary; and whether tokenizer.json says the same of a space before each text, for
 * transformers heeds the one file or the other by the tokenizer's class. */
struct gr_tok;
gram_status gr_tok_facts_check(const gr_tok_facts *f, const struct gr_tok *t, const char *dir, gram_err *err);
void gr_tok_facts_clear(gr_tok_facts *f);

#endif
