/* generate.h - write answers: many at once, with sampling that can be repeated and the log-probabilities that training
 * needs.
 *
 *     gram_generation g;
 *     gram_generation_init(&g);
 *     g.n = 4;
 *     g.max_new_tokens = 64;
 *     gram_generate(m, prompt, n_prompts, &g, show, NULL, &err);
 *
 * An answer has the same bits alone, in any batch and at any number of threads, and answer k of n is the answer that a
 * run of its own with seed + k gives: for the same way of making products, see gram_products. Nothing is taken over
 * from a checkpoint's generation_config.json but the tokens that end an answer. */
#ifndef GRAM_GENERATE_H
#define GRAM_GENERATE_H

#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define GRAM_ANSWERS_MOST 1024

/* How the products of a run are made. FEW reads each weight once for a handful of rows; TILES takes 96 rows at once, as
 * scoring does, and gives the bits of scoring's log-probabilities. Each gives a row the same bits in any company, but
 * not the other's. AUTO: by the number of answers that a run is asked for, for all of it; what was chosen is told with
 * each answer. BYTES is told, and not asked for: it is what TILES are with GRAM_INT8_FAST on a CPU with VNNI,
 * activations of one byte and a vocabulary's head of 8 bits, whose log-probabilities are not those of scoring. */
typedef enum { GRAM_PRODUCTS_AUTO, GRAM_PRODUCTS_FEW, GRAM_PRODUCTS_TILES, GRAM_PRODUCTS_BYTES } gram_products;
const char *gram_products_name(gram_products p);    /* "auto", "few", "tiles", "tiles of bytes" */

/* The settings mean what they mean in transformers' generate(), and work in its order: penalties, temperature, top_k,
 * top_p, min_p. Strings and lists are borrowed for the call. */
typedef struct {
    double temperature;             /* z / T, from 1e-6 on; 0: the likeliest token, always. Neutral: 1 */
    size_t top_k;                   /* the k likeliest, ties with the last of them too. Neutral: 0 */
    double top_p;                   /* the likeliest until they have this mass. Neutral: 1 */
    double min_p;                   /* those with at least this share of the likeliest's probability. Neutral: 0 */
    double repetition_penalty;      /* of ids of prompt and answer: z < 0 ? z r : z / r. Neutral: 1 */
    double presence_penalty;        /* taken from z of ids of the answer. Neutral: 0 */
    double frequency_penalty;       /* the same for each time that the id stands there. Neutral: 0 */
    size_t min_new_tokens;          /* no end before that many */
    size_t max_new_tokens;          /* the token that ends the answer counts; has to be given */
    const char *const *stop;        /* texts at the first of which an answer is cut; one that is a special token of the
                                     * model is taken for its id, since answers hold no text of these */
    size_t n_stop;
    const int32_t *stop_ids;        /* tokens that end an answer besides the model's own */
    size_t n_stop_ids;
    uint64_t seed;
    size_t n;                       /* answers to each prompt, at most GRAM_ANSWERS_MOST. Neutral: 1 */
    gram_products products;
    size_t speculate;               /* tokens that are guessed from what the text says earlier, while few texts are
                                     * written; at most 16. Changes no token and no bit, only speed. Neutral: 0 */
} gram_generation;
void gram_generation_init(gram_generation *g);      /* all neutral; max_new_tokens 0 */
/* GRAM_EARG names the setting that cannot be meant, what is wanted and what was found. */
gram_status gram_generation_check(const gram_generation *g, gram_err *err);

typedef enum {
    GRAM_FINISH_STOP,               /* by a token that ends answers, which is the last one of id */
    GRAM_FINISH_STOP_STRING,        /* by a text of `stop`, at which the text is cut */
    GRAM_FINISH_LENGTH,             /* max_new_tokens, or the model's context: no end is added */
    GRAM_FINISH_FAILED              /* error says it; nothing else holds */
} gram_finish;
const char *gram_finish_name(gram_finish f);        /* "stop", "stop_string", "length", "failed" */

/* Lives until the callback returns. */
typedef struct {
    size_t prompt, k;               /* the prompt's place and the answer's number */
    gram_finish finish;
    const char *text;               /* UTF-8, what a cut character leaves as U+FFFD; NUL-terminated; its end left out */
    size_t bytes;
    const int32_t *id;              /* [tokens] */
    const float *logprob;           /* [tokens] under the whole vocabulary, before temperature, penalties and filters */
    const float *tempered;          /* [tokens] the same of z / T */
    size_t tokens, prompt_tokens;
    uint64_t seed;                  /* that writes this answer alone, */
    gram_products products;         /* with these */
    const char *error;
} gram_answer;
/* Any order of answers. Non-zero stops: the call returns GRAM_ESTOPPED. */
typedef int gram_answer_fn(void *arg, const gram_answer *a);

/* g->n answers to each of n prompts, as the chat template renders them with the header of the assistant's turn. What
 * the run holds in memory at most is told by gram_options.note before the first token (once, unless it is more than was
 * told before); GRAM_ENOMEM where the machine has less. A prompt that cannot be answered (too long, refused by the
 * template) gets GRAM_FINISH_FAILED answers, and the others go on. */
gram_status gram_generate(gram_model *m, const gram_prompt *prompt, size_t n, const gram_generation *g,
                          gram_answer_fn *fn, void *arg, gram_err *err);

/* ---- Token by token ------------------------------------------------------------------------------- */

/* The answers to one prompt, a token of each at a time; between two calls of gram_writer_next() other calls on the
 * model may run. Writers that are open at the same time share their forward passes: a step writes a token of every
 * text, and reads a part of the prompts that are long. Answer k is the one that the seed `seed + k` writes alone. */
typedef struct gram_writer gram_writer;

typedef struct { int32_t id; const char *text; size_t bytes; float logprob; } gram_rival;

/* A token of an answer, or the answer's end. It lives until the callback returns. */
typedef struct {
    size_t k;                       /* which answer */
    int32_t id;
    const char *text;               /* bytes of this token, perhaps part of a character; of one that ends the answer
                                     * there are none */
    size_t bytes;
    float logprob;                  /* under the whole vocabulary, before temperature, penalties and filters */
    const gram_rival *top;          /* [top] the likeliest tokens in its place (itself among them), likeliest first */
    size_t n_top;
    const char *more;               /* what can be shown now, behind what could be before: well-formed UTF-8, whole */
    size_t more_bytes;              /* characters, and nothing that may turn out to begin a text of `stop` */
    bool ended, by_end;             /* the answer's last; by a token that ends answers, which has no text */
    gram_finish finish;             /* where it has ended */
    const char *error;              /* of GRAM_FINISH_FAILED, of which all but k is void */
} gram_written;
#define GRAM_TOP_MAX 20

typedef struct {
    gram_prompt prompt;             /* a conversation, rendered by the chat template to where the answer begins ... */
    const int32_t *id;              /* ... or, where not NULL, tokens that are gone on with as they are: the answer
                                     * keeps a space before its first word, which the answer to a conversation loses
                                     * where the tokenizer puts one before every text */
    size_t n_ids;
    const gram_generation *how;     /* products: FEW, which AUTO is for writers; nothing is guessed */
    size_t top;                     /* rivals told with each token, at most GRAM_TOP_MAX */
    const uint64_t *seed;           /* [how->n] of each answer; NULL: how->seed, and one more for each */
} gram_writing;
/* All is copied. Close it with gram_writer_close(), before the model. Where the writers that are open come to more keys
 * and values than text_bytes of gram_options, the texts that were begun last wait until others have ended, and then go
 * on with the same bits. GRAM_ELIMIT: this one alone may come to more, or the prompt leaves no room in the model's
 * context. */
gram_status gram_writer_open(gram_writer **out, gram_model *m, const gram_writing *w, gram_err *err);
size_t gram_writer_prompt_tokens(const gram_writer *w);
/* A token of each answer that has one now: where this writer's have none left over, all open writers' texts get one in
 * one step. There may be none, while the prompt is read, others' texts are to be taken first, or it waits for memory.
 * fn may not call the model, and a failure of it is handed back. *more: some answer has not ended. */
typedef gram_status gram_written_fn(void *arg, const gram_written *t, gram_err *err);
gram_status gram_writer_next(gram_writer *w, gram_written_fn *fn, void *arg, bool *more, gram_err *err);
void gram_writer_close(gram_writer *w);     /* NULL is fine */

/* A text as it stands: fn is called for each token, in order, with its log-probability after those before it (of the
 * first: NAN) and the likeliest tokens in its place. One pass over all; k, more and what says how an answer ends are
 * void. No BOS is added. */
gram_status gram_text_logprobs(gram_model *m, const int32_t *id, size_t n, size_t top, gram_written_fn *fn, void *arg,
                               gram_err *err);

/* ---- Files ---------------------------------------------------------------------------------------- */

typedef struct {
    gram_file_report file;          /* rows: prompts whose line was written */
    uint64_t answers, tokens;       /* of this run: without those of the run that is resumed */
    uint64_t cut;                   /* answers of this run that ran into their length */
    uint64_t failed;                /* prompts that could not be answered, those of the run before too */
    gram_products products;         /* of the run; AUTO: it wrote nothing */
    gram_err why;                   /* what stopped the run */
} gram_generate_report;
/* Reads prompts of JSON Lines (".gz" too; "-" is standard input): a text, a list of messages, or a row of any form of
 * docs/formats.md, whose prompt is taken. Writes a line for each, in the order of the input: id, prompt, and for n = 1
 * completion, finish, tokens, logprob and logprob_tempered (sums over the answer's tokens, its end too), seed and
 * products; for more answers responses and lists of the rest, as gram_rank_file() reads them. Prompt i (good rows
 * counted from 0) has the seeds seed + i n and on. logprobs: a list for each token too. A prompt that cannot be
 * answered has an "error" in their place. */
gram_status gram_generate_file(gram_model *m, const char *in, const char *out, const gram_generation *g, bool logprobs,
                               const gram_file_options *opt, gram_generate_report *report, gram_err *err);

/* Takes over the settings of DIR/generation_config.json, as transformers' generate() would; *what, where not NULL, gets
 * a sentence that names them, malloc'ed: greedy without do_sample, of the 50 likeliest with it and without top_k. A
 * key that may change answers and is none of gram's (beams, n-gram bans, one that is not known) fails by name;
 * max_length and num_return_sequences are said not to be taken; where the file is absent, or path is a GGUF, *what says
 * so. */
gram_status gram_generation_from_config(gram_generation *g, const char *path, char **what, gram_err *err);
/* The ids that end this model's answers, and where each is said; *ids is free()d. */
gram_status gram_end_ids(gram_model *m, int32_t **ids, size_t *n, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
