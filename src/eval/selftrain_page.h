/* selftrain_page.h - the rounds of a self-training as one page: accuracy by round, what every rule dropped and how
 * often it was right to, and some of the reasons that were learnt. */
#ifndef GR_EVAL_SELFTRAIN_PAGE_H
#define GR_EVAL_SELFTRAIN_PAGE_H

#include "base/mem.h"
#include "gram/selftrain.h"

/* A pair whose reasons are learnt, and the share of the votes that its label had (NAN: it had one already). */
typedef struct { char *prompt, *chosen, *rejected, *rationale; double share; size_t round; } gr_self_sample;
/* Borrowed. */
typedef struct {
    const char *name;                   /* of the model that all judges start from */
    const gram_selftrain_options *o;
    const gr_self_sample *sample;
    size_t samples;
} gr_self_facts;
gram_status gr_eval_selftrain(const gram_selftrain_report *r, const gr_self_facts *f, gr_buf *out, gram_err *err);

#endif
