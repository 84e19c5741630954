/* reason.h - rationales of many pairs, written together and then read: votes.
 *
 * The model is two functions, so that a script can stand for it: one writes texts, one reads the labels' logits. */
#ifndef GR_RATIONALE_REASON_H
#define GR_RATIONALE_REASON_H

#include "generate/write.h"
#include "rationale/text.h"

/* Writes all n texts; fn is called for each, once it has ended, and takes nothing over. */
typedef gram_status gr_reason_write_fn(void *arg, const gr_ask *ask, size_t n, gr_write_fn *fn, void *fn_arg,
                                       gram_err *err);
/* logit[n,2] of the labels behind each sequence. */
typedef gram_status gr_reason_read_fn(void *arg, const gr_seq *seq, size_t n, const int32_t label[2], float *logit,
                                      gram_err *err);

typedef struct {
    const gr_reason_words *words;
    gram_rationale_options opt;         /* the numbers; its strings are not read */
    gr_stops stops;                     /* all that ends a rationale: ids, and the closing tag */
    size_t context;                     /* tokens that a text may have at most */
    gr_reason_write_fn *write;
    gr_reason_read_fn *read;
    void *arg;
} gr_reason;

/* out[n], as gram_reason(). Where the votes are not half for each order, b of a turned pair has the seat that a has
 * otherwise: with single_order it is read first always, and the odd one of K votes is number K, of b first, in place of
 * K - 1. So the first K of more votes are those of a run with K here, too. */
gram_status gr_reason_pairs(const gr_reason *r, const gram_pair *pair, size_t n, gram_reasoned *out, size_t *bad,
                            gram_err *err);
/* One pair in parts, for who writes the texts himself:
 *
 *     begin;  for each wave: ask, take each text, read;  settle
 *
 * A wave are the rationales from..to; the first ends at gr_reason_first(), and a second follows up to opt.votes where
 * these are fewer and have not agreed. */
typedef struct {
    gr_reason_prompts prompts;
    gr_ids ids[2];                      /* of each order, up to where a rationale begins */
    uint64_t seed[2];
    bool turned;
    bool open;                          /* more is to be written */
} gr_paired;
gram_status gr_paired_begin(const gr_reason *r, const gram_pair *pair, gr_paired *p, gram_reasoned *out, gram_err *err);
void gr_paired_clear(gr_paired *p);
size_t gr_reason_first(const gr_reason *r);
/* Sets order and seed of each, and out->n. */
void gr_paired_ask(const gr_reason *r, const gr_paired *p, gram_reasoned *out, size_t from, size_t to);
/* What was written for `to`. by_tag: it was cut at the closing tag; end: the token that ended it, or -1. */
gram_status gr_paired_take(const gr_reason *r, gram_rationale *to, gr_str text, size_t tokens, bool by_tag, int32_t end,
                           gram_err *err);
/* The verdicts of from..out->n. */
gram_status gr_paired_read(const gr_reason *r, gr_paired *p, gram_reasoned *out, size_t from, gram_err *err);
bool gr_paired_agreed(const gr_reason *r, const gram_reasoned *out);     /* they leave no doubt */
void gr_paired_settle(const gr_reason *r, const gr_paired *p, gram_reasoned *out);

/* As gram_rationale_read(). */
gram_status gr_reason_stored(const gr_reason *r, const gram_pair *pair, bool swapped, const char *text,
                             gram_rationale *out, gram_err *err);

/* The verdict of out->rationale[n], all of it but tokens and truncated. */
void gr_reason_vote(gram_reasoned *out, bool single_order);
double gr_reason_soft(const gram_rationale *v, size_t k);    /* the mean of p over the first k */
void gr_rationale_clear(gram_rationale *v);

#endif
