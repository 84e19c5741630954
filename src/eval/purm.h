/* purm.h - what PURM's rewards say besides which is larger: how wide they are, and how far they overlap.
 *
 * u of an answer is its overlap with all other answers of the run (reward/score.h). What one would hope for is that
 * pairs judged wrong overlap more than pairs judged right. */
#ifndef GR_EVAL_PURM_H
#define GR_EVAL_PURM_H

#include "eval/metrics.h"

typedef struct {
    uint64_t rows;              /* with a spread; 0: another kind of model, and nothing below holds */
    double sigma, overlap;      /* means over answers */
    double right, wrong;        /* mean u of both answers of the rows that are judged so; NAN where there are none */
    double lambda;
    gram_interval penalised;    /* accuracy by mean - lambda u */
} gr_eval_spread;

gram_status gr_eval_spread_of(const gr_eval_row *row, size_t n, double lambda, gr_eval_spread *out, gram_err *err);

#endif
