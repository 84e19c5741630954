/* write.h - many answers to many prompts, a token of each in one forward pass.
 *
 * Texts wait, live and end. A step reads the newest token of every live text (and the prompts of those that were let in
 * with it), draws one token for each, and lets others in where texts have ended: continuous batching. The answers to
 * one prompt share its keys and values, and a text keeps its place among them, so that a step costs it its new tokens
 * alone. Where the memory for keys and values is spent, those let in last wait again until a text has ended, and what
 * was lost of theirs is computed anew. A text has the same bits alone, among any others, let in early or late, and
 * however many threads there are, because a row's logits depend on its own tokens alone and a draw on its seed and
 * place.
 *
 * Guesses (prompt lookup): where the newest tokens of a text stand in it earlier, what followed there is read along, a
 * row for each token, and as many of them are taken as the draws agree with. A draw follows from seed and place, so the
 * tokens are those of single steps, bit for bit.
 *
 * Not for two threads at once. */
#ifndef GR_GENERATE_WRITE_H
#define GR_GENERATE_WRITE_H

#include "generate/sample.h"
#include "generate/stop.h"
#include "model/vocabulary.h"
#include "text/tokenizer.h"

typedef enum {
    GR_WRITING,
    GR_STOP,                    /* by a token that ends an answer */
    GR_STOP_STRING,             /* by a stop string, at which the text is cut */
    GR_LENGTH,                  /* max_new tokens, or the model's context, and no end */
    GR_BROKEN                   /* `why` says it; the other texts go on */
} gr_finish;

/* An answer that is asked for; all pointers are borrowed until the text is closed. */
typedef struct {
    gr_seq prompt;
    const gr_sampling *sampling;
    const gr_stops *stops;
    size_t max_new;             /* tokens at most, the one that ends the answer among them */
    size_t top;                 /* the likeliest tokens to tell with each; of a text no more than there are */
    uint64_t seed;
    void *arg;                  /* the caller's */
    bool goes_on;               /* with the prompt's text: a space before the answer's first word belongs to it, which
                                 * else is the one that a tokenizer puts before every text */
} gr_ask;

typedef struct gr_text gr_text;
struct gr_text {
    gr_ask ask;
    gr_ids ids;                 /* prompt and answer; an end token is its last one */
    float *raw, *tempered;      /* [answer] of each token, as gr_drawn has them */
    size_t n_answer, cap_raw, cap_tempered;
    gr_buf text;                /* bytes of the answer without its end token */
    int32_t *top;               /* [ask.top] likeliest tokens of the last step, and their log-probabilities */
    float *top_logp;
    bool paused;                /* the caller's: live, but steps go on without it */
    gr_kv_at at;                /* where it stands in the tree, which keeps it; node NULL: nowhere */
    size_t guesses;             /* tokens behind ids.n that are read along in this step */
    size_t upto;                /* of ids, read in this step; less than all: a part, with no token behind it yet */
    bool unkept;                /* there was no room for a part, so it is read as a whole */
    gr_finish finish;
    gram_err why;               /* of GR_BROKEN */
    gr_text *next;              /* of those that wait */
};

typedef struct gr_write gr_write;
enum { GR_GUESSES_MOST = 16 };
/* All but the numbers is borrowed. kv holds the texts' keys and values, and is not forgotten while one lives; where it
 * has no room they are computed anew. */
typedef struct {
    const gr_model *m;
    gr_work *work;
    const gr_tok *tok;          /* NULL: no text is made, only ids */
    gr_kv_tree *kv;
    size_t live;                /* texts that are written at once at most */
    size_t prefill;             /* prompt tokens that one step reads: longer prompts are read in equal parts */
    size_t guesses;             /* tokens that a text guesses in a step, at most GR_GUESSES_MOST; 0: none */
    bool rounded;               /* GR_HEAD_ROUNDED */
    bool one_byte;              /* all rows but the first few of a text (model/forest.h); then kv has none of others */
    bool lay;                   /* gr_work_lay(), the head too */
} gr_write_setup;
gram_status gr_write_open(gr_write **out, const gr_write_setup *setup, gram_err *err);
/* Closes the texts that were not. */
void gr_write_close(gr_write *w);
/* A text that waits for its turn; the engine's until gr_write_end(). Fails where the prompt is empty or leaves no room
 * in the model's context, or a setting is wrong. */
gram_status gr_write_add(gr_write *w, const gr_ask *ask, gr_text **out, gram_err *err);
/* Every live text that is not paused and whose prompt has been read has one token more (with guesses, one or some), or
 * has broken. fn is called for
 * each token, text by text in the order in which they were let in, and may end a text that has finished; a failure of
 * it ends the step and is handed back. After a step that failed there may be another: a token that nobody was told is
 * drawn again, and is the same. *more: some text lives or waits. */
typedef gram_status gr_write_fn(void *arg, gr_text *t, gram_err *err);
gram_status gr_write_step(gr_write *w, gr_write_fn *fn, void *arg, bool *more, gram_err *err);
/* Takes the text out, whatever its state, and frees it. */
void gr_write_end(gr_write *w, gr_text *t);
size_t gr_write_live(const gr_write *w);
size_t gr_write_waiting(const gr_write *w);
/* How often until now: a text was let in, one had to wait again, a guess was read along, and one was taken. */
typedef struct { uint64_t let_in, put_back, guessed, taken; } gr_write_counts;
gr_write_counts gr_write_count(const gr_write *w);

#endif
