/* chat.h - a conversation as the text that a model was trained to read.
 *
 * Rendering gives pieces. A special piece is one token by its name (<|im_start|>); the others are text. The
 * text between two special pieces is tokenised as one, so ids equal the reference's wherever the user's
 * text holds no special token; where it does, it stays text and cannot end its turn. */
#ifndef GR_TEXT_CHAT_H
#define GR_TEXT_CHAT_H

#include "gram/gram.h"
#include "text/tokenizer.h"

typedef enum { GR_CHAT_NONE, GR_CHAT_CHATML, GR_CHAT_LLAMA3, GR_CHAT_LLAMA2, GR_CHAT_MISTRAL,
               GR_CHAT_QWEN3, GR_CHAT_GEMMA } gr_chat_kind;

const char *gr_chat_name(gr_chat_kind kind);                /* "chatml"; NULL for NONE */
gr_chat_kind gr_chat_parse(const char *name);               /* NONE: not a name we know */

/* What is known of a checkpoint's template. All strings may be NULL. */
typedef struct {
    const char *jinja;          /* chat_template of tokenizer_config.json, or tokenizer.chat_template */
    const char *architecture;   /* breaks ties */
    const char *bos;            /* the BOS token's text; NULL: the family's own */
    const char *default_system; /* a system turn to add where a conversation has none; NULL: the template's own */
} gr_chat_facts;

/* The spacing of the [INST] families, which differs from release to release: BOS, then
 *     lead [INST] gap USER close [/INST] answer ASSISTANT after </s> next            lead [INST] ... */
typedef struct {
    const char *lead, *gap, *close, *answer, *after, *next;     /* "" or " "; static */
    const char *system_gap;     /* behind [SYSTEM_PROMPT] */
    bool system_turn;           /* the system text stands before all in [SYSTEM_PROMPT] marks (Mistral v7) */
    bool bos_each;              /* BOS before every user turn (Llama 2), not just the first */
    bool sys_marks;             /* the system text stands in <<SYS>> marks */
    bool system_last;           /* it goes into the last user turn (Mistral v3), not the first */
    bool trim_answer;
    bool tokens;                /* [INST] and [/INST] are tokens of the vocabulary, not text */
} gr_chat_inst;

/* A template, settled once when a model is opened. */
typedef struct {
    gr_chat_kind kind;
    char *bos;                  /* owned; NULL: none */
    char *default_system;       /* owned; NULL: none (SmolLM2's and Qwen2's templates add one) */
    char *dated;                /* owned; what every system turn begins with (Llama 3.1 and later); NULL: none */
    bool trim;                  /* contents are stripped of white space (Llama 3, Gemma) */
    bool drop_think;            /* earlier answers lose what precedes </think> (Qwen3) */
    bool empty_think;           /* an empty think block follows the assistant's header (Qwen3) */
    gr_chat_inst inst;
} gr_chat;
/* Recognises the family from the template's own marks, or where there is no template from the vocabulary. name
 * (may be NULL) overrides. GRAM_EUNSUPPORTED with how to name one when nothing fits. Llama 3.1's dated system turn
 * bears the date that its template falls back on, never today's. tok NULL: no vocabulary to ask. */
gram_status gr_chat_init(gr_chat *c, const char *name, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err);
void gr_chat_clear(gr_chat *c);

typedef struct { bool special; size_t start, n; } gr_chat_piece;   /* bytes of the text below */
typedef struct { gr_buf text; gr_chat_piece *piece; size_t n, cap; } gr_chat_text;
/* The turns and the header of the assistant's answer, BOS once. tools as in gram_prompt. */
gram_status gr_chat_render(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, gr_chat_text *out,
                           gram_err *err);
/* The same of a conversation that ends with an answer: its turn is closed as the template closes it, and no header
 * follows. What transformers' apply_chat_template gives without add_generation_prompt. */
gram_status gr_chat_render_answered(const gr_chat *c, const gram_message *turn, size_t n, const char *tools,
                                    gr_chat_text *out, gram_err *err);
/* Fails with GRAM_EUNSUPPORTED where the conversation holds what would be left out without a word: tools, or in a
 * message's extra tool calls or thoughts, whose key the template's text never names. jinja NULL: a template that names
 * none of them, such as the families' or a judge prompt. what: how the sentence calls it, "the chat template". */
gram_status gr_chat_check_extra(const char *what, const char *jinja, const gram_message *turn, size_t n,
                                const char *tools, gram_err *err);
void gr_chat_text_clear(gr_chat_text *t);
/* Appends the ids of the pieces. */
gram_status gr_chat_encode(const gr_tok *tok, const gr_chat_text *t, gr_ids *out, gram_err *err);

#endif
