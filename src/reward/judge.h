/* judge.h - what the judge reads: prompt text, labels, both orders, and what is cut when it is too long.
 *
 * A model with a reward head reads no judge prompt but the conversation itself with one answer at its end, in the
 * checkpoint's own template and as a whole: what transformers' apply_chat_template gives of it. Its reward is read at
 * the last token that is not config.json's pad_token_id, as AutoModelForSequenceClassification reads it; trailing pad
 * tokens, such as a template's </s> that is also the pad, are left away. */
#ifndef GR_REWARD_JUDGE_H
#define GR_REWARD_JUDGE_H

#include "gram/gram.h"
#include "text/chat.h"
#include "text/tokenizer.h"

extern const char gr_judge_default[];       /* the project's own judge prompt */
extern const char gr_judge_pointwise[];     /* of one answer */
bool gr_judge_scale_prompt(gr_buf *out, size_t low, size_t high);   /* the same by a number from low to high */

typedef struct gr_scale gr_scale;           /* scale.h */

/* A template text whose placeholders were found once. */
typedef struct {
    char *text;                 /* NULL: such a pair has no place in it */
    struct gr_judge_hole { size_t at, n; int which; } *hole;    /* 0 input, 1 response_a, 2 response_b, 3 criteria */
    size_t n_holes;             /* in order */
} gr_judge_words;

typedef struct {
    gr_chat chat;
    const gr_tok *tok;          /* borrowed */
    bool plain;                 /* conversations are read, one answer each; of the following, only the limits hold */
    int32_t last;               /* plain: -1 or a token that goes behind each text */
    int32_t pad;                /* plain: -1 or a token that does not stand at the end */
    char *prompt;               /* the template text, as it was given; */
    bool own;                   /* gr_judge_default, or gr_judge_pointwise */
    bool pointwise;             /* one answer is read: order[0] of a pair is a's text, order[1] b's */
    gr_judge_words words[2];    /* and as it is read: of a pair without criteria, and with them */
    char *label_text[2];
    int32_t label[2];           /* token ids of A and B as the first token of the assistant's answer */
    gr_scale *scale;            /* pointwise: instead of labels the numbers of a range; NULL: none */
    size_t max_tokens;
    gram_truncate truncate;
    const char *gate_text;      /* plain: what the header of an answer is, static, and its ids; NULL: nobody asked */
    gr_ids gate_mark;
} gr_judge;

/* Takes what gr_chat_init() gave. prompt NULL: gr_judge_default. Fails where a placeholder is missing, or where a
 * label is not one token in the place where the verdict stands (both texts are tried as the reference would
 * tokenise them there), or both labels are the same token. max_tokens is already resolved (never 0).
 *
 * Placeholders are {input}, {response_a}, {response_b}, or as GRAM-R2's prompts spell them {user_input},
 * {response_1}, {response_2}. Whatever is put in their place is not searched again. {criteria} is the pair's criteria,
 * without which it is refused; {criteria?} is nothing for a pair that has none, else a sentence, the criteria and an
 * empty line. A prompt with neither refuses a pair that has criteria.
 *
 * {input} is the question itself where the prompt is a single turn of the user; otherwise the turns under their
 * names, "System: ...", "User: ...", "Assistant: ...", with an empty line between two. */
gram_status gr_judge_init(gr_judge *j, gr_chat *chat /* moved */, const gr_tok *tok, const char *prompt,
                          const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                          gram_err *err);
/* The same for a judge of one answer: the prompt holds {input} and {response}; labels NULL: "Yes" and "No". */
gram_status gr_judge_init_pointwise(gr_judge *j, gr_chat *chat /* moved */, const gr_tok *tok, const char *prompt,
                                    const char *label_a, const char *label_b, size_t max_tokens, gram_truncate truncate,
                                    gram_err *err);
/* And for one that gives it a number of `range`, as scale.h says. */
gram_status gr_judge_init_scale(gr_judge *j, gr_chat *chat /* moved */, const gr_tok *tok, const char *prompt,
                                const char *range, size_t max_tokens, gram_truncate truncate, gram_err *err);
/* The same for a judge that writes before its verdict, of which nothing is known here: no label is looked for. */
gram_status gr_judge_init_writing(gr_judge *j, gr_chat *chat /* moved */, const gr_tok *tok, const char *prompt,
                                  size_t max_tokens, gram_truncate truncate, gram_err *err);
/* The prompt as the chat template renders it, the answer, and the token that ends it; asked: where the answer
 * begins. */
gram_status gr_judge_reply(const gr_judge *j, gram_prompt prompt, const char *answer, gr_ids *ids, size_t *asked,
                           gram_err *err);
/* Whether the prompt ends with a turn that can be answered. */
gram_status gr_prompt_check(gram_prompt p, gram_err *err);
/* The token with which the chat template closes the assistant's turn; -1: it has none. */
gram_status gr_judge_turn_end(const gr_judge *j, int32_t *id, gram_err *err);
/* For a model with a reward head. */
void gr_judge_init_plain(gr_judge *j, gr_chat *chat /* moved */, const gr_tok *tok, int32_t pad, size_t max_tokens,
                         gram_truncate truncate);
/* Of a plain judge: the end of a text as the model reads it, pads left away, or its last token put there. */
gram_status gr_judge_end(const gr_judge *j, gr_ids *ids, gram_err *err);
/* Plain: for a head that also reads where the last prompt ends. Finds the header of an answer as ArmoRM's two families
 * write it; fails where the tokenizer knows neither. */
gram_status gr_judge_mark_prompt(gr_judge *j, gram_err *err);
void gr_judge_clear(gr_judge *j);

/* The ids of one order: forward reads a as A, swapped reads b as A. Both orders of a pair are cut alike, so
 * that they still hold the same texts. Balanced truncation takes the middle out of the question, as little as
 * makes both orders fit, and puts GR_JUDGE_CUT in its place; where nothing but that mark would be left of the
 * question, the middles of both answers go as well, the same share of each.
 *
 * Plain: order[0] is the conversation with a, order[1] with b (not read with single_order), each cut by itself, so that
 * a reward depends on its own answer alone. The question is the last turn of the user; earlier turns stay whole. */
#define GR_JUDGE_CUT " [\xe2\x80\xa6] "
typedef struct { gr_ids order[2]; bool truncated, dropped; } gr_judged;
gram_status gr_judge_pair(const gr_judge *j, const gram_pair *pair, bool single_order, gr_judged *out, gram_err *err);
void gr_judged_clear(gr_judged *j);
/* Plain: one conversation, into order[0]. extra: of the answer, as in gram_message, or NULL. *asked (may be NULL) is
 * how many of its ids come before the answer. */
gram_status gr_judge_answer(const gr_judge *j, gram_prompt prompt, const char *answer, const char *extra,
                            gr_judged *out, size_t *asked, gram_err *err);
/* The rendered text of one order, special tokens written out. */
gram_status gr_judge_show(const gr_judge *j, const gram_pair *pair, bool swapped, gr_buf *out, gram_err *err);

/* Both orders as the chat's text, and what stands in it for {input} and for the answers in the seats of A and B, as
 * gr_judge_pair() cuts them; out[1] is swapped, and empty without `both`. Not of a plain judge. */
typedef struct {
    const gr_judge_words *words;        /* with whose holes filled this is */
    gr_chat_text chat;
    gr_buf part[4];
    bool truncated, dropped;
} gr_judge_text;
gram_status gr_judge_texts(const gr_judge *j, const gram_pair *pair, bool both, gr_judge_text out[2], gram_err *err);
void gr_judge_text_clear(gr_judge_text *t);

/* The text that {input} stands for: the question, or the whole conversation. Added to *out. Refuses what is no text:
 * tools, and calls of them in a turn or in an answer. */
gram_status gr_judge_input(const gram_pair *pair, gr_buf *out, gram_err *err);

/* GRAM's stage 1: the pair as the model learns to write it. The judge prompt's own marks stand around the texts:
 *
 *     user:       the line before {input}, {input}, and what follows to the end of its line and of empty lines
 *     assistant:  the rest to {response_b} and the line after it, and the token that ends a turn
 *
 * *ids gets both, and *asked is how many ids the user's turn and the header of the answer take. Needs a judge prompt
 * that holds {input}, {response_a} and {response_b} once each and in this order. */
gram_status gr_judge_written(const gr_judge *j, const gram_pair *pair, gr_ids *ids, size_t *asked, gram_err *err);

#endif
