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
    gr_stops stops;                     /* all that ends a rationale: see gr_reason_stops() */
    size_t context;                     /* tokens that a text may have at most */
    gr_reason_write_fn *write;
    gr_reason_read_fn *read;
    void *arg;
} gr_reason;

/* out[n], as gram_reason(). */
gram_status gr_reason_pairs(const gr_reason *r, const gram_pair *pair, size_t n, gram_reasoned *out, size_t *bad,
                            gram_err *err);
/* As gram_rationale_read(). */
gram_status gr_reason_stored(const gr_reason *r, const gram_pair *pair, bool swapped, const char *text,
                             gram_rationale *out, gram_err *err);

/* The verdict of out->rationale[n], all of it but tokens and truncated. */
void gr_reason_vote(gram_reasoned *out, bool single_order);
double gr_reason_soft(const gram_rationale *v, size_t k);    /* the mean of p over the first k */
void gr_rationale_clear(gram_rationale *v);

#endif
