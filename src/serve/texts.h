/* texts.h - texts that are written for a request: its settings read, a token of each in a step of the job, and what
 * became of them. chat.c and completions.c say from what they go on and give them their shapes.
 *
 *     request --> gr_texts --+-- writer of prompt 0 --+-- gr_one 0 .. each - 1
 *                            +-- writer of prompt 1 --+-- gr_one each .. 2 each - 1          */
#ifndef GR_SERVE_TEXTS_H
#define GR_SERVE_TEXTS_H

#include "serve/req.h"

enum { GR_TEXTS_MOST = 128 };       /* answers to a prompt */

typedef struct gr_texts gr_texts;

typedef struct {
    gr_texts *all;
    size_t index;                   /* in the answer */
    gr_buf text;                    /* well-formed */
    json_t *logprobs;               /* the shape's own; of a stream, those that were not sent */
    const char *finish;             /* NULL: it goes on */
    char *error;                    /* malloc'ed: why it broke, alone; NULL: it has not */
    bool begun;
    uint64_t seed;                  /* that writes it alone */
    size_t tokens;
    ptrdiff_t offset;               /* characters before the next token; below 0 within what stands before the text */
    double logprob;                 /* of its tokens, the sum; the one that ends it is among both */
} gr_one;

/* What a path makes of a text. Both functions give NULL or false where there is no memory. */
typedef struct {
    const char *object, *chunk;     /* "chat.completion" and what a part of it is called */
    bool (*add_logprob)(gr_one *c, const gram_written *t);      /* to c->logprobs */
    /* more: all of the text, or a stream's part */
    json_t *(*choice)(gr_one *c, const char *more, size_t n, bool part);
} gr_text_shape;

struct gr_texts {
    gr_req *r;
    const gr_text_shape *shape;
    gram_generation how;            /* n: answers that are written to each prompt */
    size_t told;                    /* of which so many are told, the likeliest */
    gram_writing *prompt;           /* [prompts] how is set when it is opened */
    gram_writer **writer;           /* [prompts] */
    size_t prompts, top;
    gr_one *one;                    /* [prompts * how.n] */
    uint64_t *seed;                 /* of each */
    bool drawn;                     /* and equal prompts have different ones; of a seed that is given the same, as in
                                     * vLLM */
    size_t *ahead;                  /* [prompts] characters of its tokens before that text; NULL: none */
    json_t **front;                 /* [prompts] the text that stands before the answers; NULL, or of NULLs: none */
    bool echo;                      /* it does, and its tokens are told as theirs are */
    bool logprobs, stream, usage, opened;
    size_t read;                    /* prompts whose own tokens have been read */
    size_t prompt_tokens, left;     /* left: prompts whose answers go on */
    size_t broken;                  /* texts that have an error */
    time_t created;
};

/* The fields that say how, in which chats and completions are alike; of completions echo is read before. */
int gr_read_writing(gr_req *r, gr_texts *st);
/* What rationales have of it, too: temperature, top_p, top_k, min_p and penalties; the seed, which is `otherwise` where
 * none is given. One below zero is drawn, as llama.cpp and vLLM take -1. */
int gr_read_sampling(gr_req *r, gram_generation *g);
int gr_read_seed(gr_req *r, int64_t otherwise, uint64_t *out, bool *drawn);
/* Asks for the texts; st->prompt, how, told, logprobs and top are set. It becomes the request's state. */
int gr_ask_texts(gr_req *r, gr_texts *st);
void gr_texts_clear(gr_req *r);
/* Text that may not be UTF-8, or hold U+0000. */
json_t *gr_lossy_json(const char *p, size_t n);

/* The "usage" of tokens read and written; NULL: out of memory. */
json_t *gr_written_json(size_t read, size_t written);

#endif
