/* set.h - the examples of a run as token ids, and the order in which they come.
 *
 * All of them are made before the first step: what is too long, or wrong, is said at once, and the number of steps
 * is known. They are made by all threads, a block of rows at a time, and lie in memory or in a file (cache.h), from
 * which they are read as they are needed. Either way they come in the order of the rows and have the same bits. */
#ifndef GR_TRAIN_SET_H
#define GR_TRAIN_SET_H

#include "comm/comm.h"
#include "gram/train.h"
#include "rationale/text.h"
#include "reward/judge.h"

typedef struct {
    gram_loss kind;
    double smoothing, order_weight, margin_scale, posreg, sft_weight, sft_beta;    /* as in gram_train_options */
    double verdict_weight;
    double beta, gamma, good_weight, bad_weight;
} gr_loss_rules;

typedef struct {
    gr_ids seq[2];          /* stage 2: the chosen answer read as A, and as B; scalar losses: the conversation with the
                             * chosen answer, and with the rejected one. Stage 1: the first alone */
    size_t asked;           /* stage 1, sft-reg, rationale, proof, policies: tokens at the start of the first that are
                             * read and not learnt */
    size_t verdict;         /* rationale: the place of the label in the first, which is label `right`; 0: none */
    int right;
    size_t asked_other;     /* policies: the same of the second */
    double *ref;            /* policies: [2] log-probabilities of both answers under the reference; owned */
    double target, weight;  /* stage 2: of the chosen answer, see reward/loss.h */
    uint64_t prompt;        /* stage 2: hash of the conversation */
    uint64_t text[2];       /* of the conversation with the chosen answer, and with the rejected one, however much of
                             * them is read; stage 1: of all that is read, and 0 */
    double soft, margin;    /* q before smoothing; m, scaled, 0 where there is none */
    bool tie;
    bool good;              /* kto: the label; seq[1] is the prompt with the answer to another, for z */
} gr_example;

typedef struct gr_cache gr_cache;
typedef struct {
    gr_example *e;          /* [n] in memory; NULL: they lie in */
    gr_cache *cache;        /* owned */
    double *ref;            /* cache: [n][2] as in gr_example, owned; NULL: no policy */
    size_t n, cap;
    uint64_t digest;        /* of all examples: the same for the same data */
    uint64_t bad, dropped, truncated, ties;
    uint64_t alike;         /* pairs that are left out, since what is read of both answers is the same */
    uint64_t margins, negative;     /* rows that are no tie and have a margin, and of them those with one below 0 */
    uint64_t weightless;    /* rows of weight 0 */
    uint64_t reasoned, reasons;     /* rationale, proof: rows that are learnt, and their reasons; each is an example in
                             * either order */
    uint64_t contrary;      /* reasons of annotators who preferred the other answer, or none, and are left out */
    uint64_t unsaid;        /* annotators without a score or without reasoning */
    uint64_t unproved;      /* rows that are said to have been left without a reason */
    uint64_t seated;        /* reasons whose words hold in one order alone */
    uint64_t apart;         /* rows on the other side of the split */
    size_t longest;         /* the most tokens of an example, and of those of them that are computed: what both */
    size_t alone;           /* sequences begin with, once */
    double share;           /* the largest share of computed ones in an example */
} gr_set;

/* What reading needs to know; strings are borrowed. */
typedef struct {
    const gr_judge *judge;
    gr_loss_rules loss;
    gram_ties ties;
    bool skip_bad;
    const char *columns;    /* as of gr_reader_open() */
    const gr_reason_words *words[2];        /* rationale: the judge, twice; proof: of the first and the second label */
    int32_t turn_end;       /* both: the token that ends a turn, or -1 */
    size_t max_tokens;      /* both: of a row, prompt and text together */
    size_t pairs;           /* stage 1: at most this many pairs of one prompt's responses */
    uint64_t seed;          /* stage 1: which of them */
    double split;           /* the share of prompts that are held out; 0: none */
    bool held;              /* of a split: the rows of these prompts, not of the others */
    size_t threads;         /* that make examples, see gr_pool_open() */
    gr_dist *dist;          /* whose news of a failure ends the reading; may be NULL */
    const char *cache;      /* directory of the file in which the examples are to lie, made where it is missing; NULL:
                             * in memory */
    bool bound;             /* it lies there or nowhere: what speaks against the cache is an error. Otherwise examples
                             * then lie in memory, and the file goes when it is closed */
    gram_warn_fn *warn;     /* NULL: nobody listens */
    void *arg;
} gr_set_rules;

/* What rows are read as: pairs; pairs with reasons, each text in both orders, or in its own where its words hold in no
 * other; groups of responses; a prompt, a completion and a label, for kto. */
typedef enum { GR_FORM_PAIRS, GR_FORM_REASONS, GR_FORM_GROUPS, GR_FORM_LABELLED } gr_set_form;
/* The rows of a file and of those in the list after it, which ends with NULL or is it. */
gram_status gr_set_read(gr_set *out, gr_set_form form, const char *path, const char *const *more,
                        const gr_set_rules *rules, gram_err *err);
/* Adds the bytes of these files, of those that are files, to *bytes. */
gram_status gr_set_file_bytes(const char *path, const char *const *more, uint64_t *bytes, gram_err *err);
/* Moves the example's ids into the set; a failure leaves them with the caller. */
gram_status gr_set_add(gr_set *s, gr_example *e, gram_err *err);
void gr_set_clear(gr_set *s);
/* Example i: the set's own, or read into *room, all zeros at first, and then there until room is used again. */
gram_status gr_set_get(const gr_set *s, size_t i, gr_example *room, const gr_example **out, gram_err *err);
void gr_room_clear(gr_example *room);
/* Of example i, without its tokens: text[] and target. */
void gr_set_pair(const gr_set *s, size_t i, uint64_t text[2], double *target);
double *gr_set_ref(const gr_set *s, size_t i);      /* of example i: its ref */
size_t gr_example_tokens(const gr_example *e);

/* Place p of the endless stream of epochs, each a shuffle that follows from the seed and its number alone, so a run
 * that goes on needs no state but the place. All zeros with `n` and `seed` set is ready. */
typedef struct { size_t n, *order; uint64_t seed, epoch; } gr_order;
gram_status gr_order_at(gr_order *o, uint64_t p, size_t *index, gram_err *err);
void gr_order_clear(gr_order *o);

#endif
