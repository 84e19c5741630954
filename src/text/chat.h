/* chat.h - a conversation as the text that a model was trained to read.
 *
 * A checkpoint's own template is a Jinja program, and is run as transformers' apply_chat_template runs it
 * (src/jinja). For checkpoints without one there are six families, written in C.
 *
 * Rendering gives pieces. Of a program's text they say where it came from: special tokens are looked for in what the
 * template wrote, never in what the conversation holds, and the whole is tokenised as one text, so ids equal the
 * reference's wherever the user's text holds no special token. Of a family's text a special piece is one token by its
 * name (<|im_start|>), and the text between two of them is tokenised as one. Either way a special token in the user's
 * text stays text and cannot end its turn. */
#ifndef GR_TEXT_CHAT_H
#define GR_TEXT_CHAT_H

#include "gram/gram.h"
#include "jinja/jinja.h"
#include "text/tokenizer.h"

typedef enum { GR_CHAT_NONE, GR_CHAT_CHATML, GR_CHAT_LLAMA3, GR_CHAT_LLAMA2, GR_CHAT_MISTRAL,
               GR_CHAT_QWEN3, GR_CHAT_GEMMA, GR_CHAT_JINJA } gr_chat_kind;

const char *gr_chat_name(gr_chat_kind kind);                /* "chatml", "jinja"; NULL for NONE */
gr_chat_kind gr_chat_parse(const char *name);               /* NONE: not the name of a family */

/* What is known of a checkpoint's template, and what the caller asks of it. All strings may be NULL. */
typedef struct {
    const char *jinja;          /* the program */
    const char *jinja_tools;    /* the one named tool_use, which is run where there are tools */
    const char *source;         /* what errors call it: the file it lies in */
    const char *names;          /* "rag, tool_use": there are named templates, and none is called "default" */
    const char *architecture;   /* breaks ties */
    const char *bos;            /* the BOS token's text; NULL: the family's own */
    const char *tokens;         /* the text of a JSON object: bos_token, eos_token and the like, for the program */
    const char *args;           /* the text of a JSON object: further variables, as --chat-arg gives them */
    bool no_thinking;           /* enable_thinking is false where the program reads it and args do not say it */
} gr_chat_facts;

/* The spacing of the [INST] families, which differs from release to release: BOS, then
 *     lead [INST] gap USER close [/INST] answer ASSISTANT after </s> next            lead [INST] ... */
typedef struct {
    const char *lead, *gap, *close, *answer, *after, *next;     /* "" or " "; static */
    const char *system_gap;     /* after [SYSTEM_PROMPT] */
    bool system_turn;           /* the system text stands before all in [SYSTEM_PROMPT] marks (Mistral v7) */
    bool bos_each;              /* BOS before every user turn (Llama 2), not just the first */
    bool sys_marks;             /* the system text stands in <<SYS>> marks */
    bool system_last;           /* it goes into the last user turn (Mistral v3), not the first */
    bool trim_answer;
    bool tokens;                /* [INST] and [/INST] are tokens of the vocabulary, not text */
} gr_chat_inst;

/* A template, settled once when a model is opened. It does not change from then on, so threads may share it. */
typedef struct {
    gr_chat_kind kind;
    /* JINJA, all owned: */
    gr_jinja *program, *program_tools;      /* program_tools may be NULL */
    char *text;                             /* of both */
    struct json_t *own, *args;              /* special tokens; variables */
    uint64_t digest;                        /* of text and args */
    char *bos;                  /* owned; the token with which a rendered text may begin; NULL: none */
    /* A family: */
    bool trim;                  /* contents are stripped of white space (Llama 3, Gemma) */
    bool drop_think;            /* earlier answers lose what precedes </think> (Qwen3) */
    bool empty_think;           /* an empty think block follows the assistant's header (Qwen3) */
    gr_chat_inst inst;
} gr_chat;
/* name: of a family, whatever the checkpoint's own template; NULL: the checkpoint's template, or where there is none
 * the family that the vocabulary hints at. GRAM_EUNSUPPORTED with how to name one when nothing fits, or when the
 * program holds what gram cannot run. tok NULL: no vocabulary to ask. */
gram_status gr_chat_init(gr_chat *c, const char *name, const gr_chat_facts *facts, const gr_tok *tok, gram_err *err);
void gr_chat_clear(gr_chat *c);
/* Whether what it writes depends on the day: the program calls strftime_now. */
bool gr_chat_dated(const gr_chat *c);

/* special, of a program: the template wrote it. start, n: bytes of the text. */
typedef struct { bool special; size_t start, n; } gr_chat_piece;
typedef struct { gr_buf text; gr_chat_piece *piece; size_t n, cap; bool program; } gr_chat_text;
/* The turns and the header of the assistant's answer, BOS once. tools as in gram_prompt. */
gram_status gr_chat_render(const gr_chat *c, const gram_message *turn, size_t n, const char *tools, gr_chat_text *out,
                           gram_err *err);
/* The same of a conversation that ends with an answer: its turn is closed as the template closes it, and no header
 * follows. What transformers' apply_chat_template gives without add_generation_prompt. */
gram_status gr_chat_render_answered(const gr_chat *c, const gram_message *turn, size_t n, const char *tools,
                                    gr_chat_text *out, gram_err *err);
/* Fails with GRAM_EARG where a turn's role or text is NULL or no UTF-8. */
gram_status gr_chat_check_texts(const gram_message *turn, size_t n, gram_err *err);
/* The same, and with GRAM_EUNSUPPORTED where the conversation holds what would be left out without a word: tools, or
 * in a message's extra tool calls or thoughts, whose key the template's text never names. jinja NULL: a template that
 * names none of them, such as the families' or a judge prompt. what: how the sentence calls it, "the chat template". */
gram_status gr_chat_check_extra(const char *what, const char *jinja, const gram_message *turn, size_t n,
                                const char *tools, gram_err *err);
/* A conversation as `gram render` reads it: { "messages", "tools"?, "documents"?, "add_generation_prompt"?,
 * "arguments"? }, rendered by a program as transformers' apply_chat_template does. GRAM_EARG: the template raised, and
 * err->text is its message alone. A family fails with GRAM_EUNSUPPORTED. */
gram_status gr_chat_render_json(const gr_chat *c, const struct json_t *conversation, gr_chat_text *out, gram_err *err);

/* What stands around an answer, found by rendering one: `before` between the end of a prompt that waits for its answer
 * and the answer where it is given ("" or " "), `after` from the answer to the end of a conversation that it closes
 * ("<|im_end|>\n"). Both are to be freed. *same says whether an answered conversation begins with the very text of the
 * one that waits; it does not where a thought is opened for the model to write. */
typedef struct { char *before, *after; bool same; } gr_chat_around;
gram_status gr_chat_find_around(const gr_chat *c, gr_chat_around *out, gram_err *err);
void gr_chat_around_clear(gr_chat_around *a);
/* Adds to a rendered text what the template (own) or the conversation would write next. */
bool gr_chat_text_add(gr_chat_text *t, bool own, const char *s, size_t n);

void gr_chat_text_clear(gr_chat_text *t);
/* Whether a conversation has a token at all: GRAM_EUNSUPPORTED where its template writes nothing of it. */
gram_status gr_chat_check_some(const gr_ids *ids, gram_err *err);
/* Appends the ids of the pieces. */
gram_status gr_chat_encode(const gr_tok *tok, const gr_chat_text *t, gr_ids *out, gram_err *err);
/* Appends the ids of what gr_chat_render() makes of a prompt, of which there must be one. */
gram_status gr_chat_ids(const gr_chat *c, const gr_tok *tok, const gram_message *turn, size_t n, const char *tools,
                        gr_ids *out, gram_err *err);

#endif
