/* reason_int.h - a judge that writes, as files, ranking and evaluation use it. */
#ifndef GR_API_REASON_INT_H
#define GR_API_REASON_INT_H

#include "api/api_int.h"
#include "gram/rationale.h"
#include "rationale/reason.h"

struct gram_reasoner {
    gram_model *m;
    pthread_mutex_t lock;       /* one call at a time */
    gr_reason_words words;
    gr_reason reason;
    gr_write *engine;           /* NULL: not opened yet, or given up after a failure */
    gr_kv_tree *kv;
    gr_ids ends;                /* tokens that end a rationale */
    char *tag;                  /* and the text */
    const char *tags[1];
};

/* How reasons are asked for. prompt NULL: the one that the model was opened with, or else the format's. prove -1: a
 * judge; 0, 1: a prover that is told this label. room: tokens of a prompt. */
gram_status gr_api_reason_words(gr_reason_words *w, const gram_model *m, const char *format, const char *prompt,
                                int prove, size_t room, gram_err *err);

/* All that decides what is written, for a person and for the mark of a run; added to *out. */
gram_status gr_reason_describe(const gram_rationale_options *o, const gr_reason_words *w, gr_buf *out, gram_err *err);

/* Writes texts by r's engine, which it opens: a gr_reason_write_fn, whose arg is r. */
gram_status gr_api_reason_write(void *r, const gr_ask *ask, size_t n, gr_write_fn *fn, void *fn_arg, gram_err *err);
void gr_api_reason_close_engine(gram_reasoner *r);
/* How many tokens a prompt may have, where a text of max_tokens and its tags follow. */
gram_status gr_api_prompt_room(const gram_model *m, size_t max_tokens, const gr_format *f, size_t *room, gram_err *err);

#endif
