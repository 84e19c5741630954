/* text.h - the judge prompt, a rationale and its verdict as one text, tokenised as one.
 *
 * Each byte is of a kind. The answers under judgement and what the model wrote are foreign: in them "</think>" or
 * "<|im_end|>" is text like any other. In the judge prompt a tag may be a token of the vocabulary, as the reference
 * tokenises it, and the chat template's own marks are special tokens. */
#ifndef GR_RATIONALE_TEXT_H
#define GR_RATIONALE_TEXT_H

#include "rationale/format.h"
#include "reward/judge.h"

/* A judge of a format: what does not depend on the pair. */
typedef struct {
    gr_judge judge;             /* owned */
    gr_format format;           /* owned */
    gr_ids marks;               /* added tokens of the format's tags that are not special */
    gr_ids ends;                /* special tokens that a closing tag is, which end a rationale as well */
    const char *label[2];       /* texts; of the format, or the judge's */
    int32_t label_id[2];
} gr_reason_words;

/* Takes chat and format over, also when it fails. prompt NULL: the format's. labels: where the format names none.
 * max_tokens: of a prompt up to its opening. */
gram_status gr_reason_words_init(gr_reason_words *w, gr_format *format, gr_chat *chat, const gr_tok *tok,
                                 const char *prompt, const char *const labels[2], size_t max_tokens,
                                 gram_truncate truncate, gram_err *err);
void gr_reason_words_clear(gr_reason_words *w);

typedef enum { GR_FOREIGN, GR_PROMPT, GR_OWN } gr_byte_kind;
typedef struct { gr_buf text, kind; } gr_reason_text;       /* kind: a gr_byte_kind for each byte */
bool gr_reason_text_add(gr_reason_text *t, gr_byte_kind kind, const char *s, size_t n);
void gr_reason_text_clear(gr_reason_text *t);
gram_status gr_reason_text_ids(const gr_reason_words *w, const gr_reason_text *t, gr_ids *out, gram_err *err);

/* Both orders (or the first alone) up to where a rationale begins. */
typedef struct {
    gr_reason_text order[2];
    size_t header[2];           /* bytes before what was added of the opening */
    bool truncated, dropped;
} gr_reason_prompts;
gram_status gr_reason_prompt(const gr_reason_words *w, const gram_pair *pair, bool both, gr_reason_prompts *out,
                             gram_err *err);
void gr_reason_prompts_clear(gr_reason_prompts *p);

/* The ids up to where the label stands, after the rationale is closed. `like` is a text as of gr_reason_prompt(), left
 * as it is. What the two labels' texts have in common is read, and each adds the one token label_id[] to it. */
gram_status gr_reason_verdict_ids(const gr_reason_words *w, const gr_reason_text *like, gr_str rationale, gr_ids *out,
                                  gram_err *err);

/* What a model learns to write: everything from the opening on, and the token that ends its turn (-1: none). */
typedef struct {
    gr_ids ids;                 /* owned */
    size_t asked;               /* ids of the prompt, at their start */
    size_t verdict;             /* where the label stands; 0: a proof, which has none */
} gr_reason_written;
/* label -1: a proof, the bare text behind the prompt. */
gram_status gr_reason_write_out(const gr_reason_words *w, const gr_reason_prompts *p, int order, gr_str body, int label,
                                int32_t end, gr_reason_written *out, gram_err *err);

#endif
