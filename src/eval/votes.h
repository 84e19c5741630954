/* votes.h - what judging by written reasons gave, and what fewer of them would have: accuracy against its cost.
 *
 * With k votes a row's preference is the mean of its first k rationales, or of all where it has fewer (--early); where
 * k is odd and a row is turned (gr_eval_turned()) its last one has b first, so that no seat is the better answer's. */
#ifndef GR_EVAL_VOTES_H
#define GR_EVAL_VOTES_H

#include "eval/metrics.h"

#define GR_EVAL_VOTE_POINTS 12      /* k = 1, 2, 4, ... and the most that a row has */

typedef struct {
    size_t k;
    gram_interval soft, hard;       /* accuracy by the mean of p, and by the majority, whose ties the mean decides */
    double tokens;                  /* written, a row */
} gr_eval_vote_point;

typedef struct {
    uint64_t rows;                  /* with rationales; 0: nothing below holds */
    uint64_t rationales, forced, contradicts, early;
    uint64_t tokens;                /* written */
    double first_seat;              /* share of rationales that prefer what was read first */
    double error;                   /* mean standard error of rows with two or more */
    gr_eval_vote_point point[GR_EVAL_VOTE_POINTS];
    size_t points;
} gr_eval_votes;
gram_status gr_eval_votes_of(const gr_eval_row *row, size_t n, gr_eval_votes *out, gram_err *err);
/* Seconds a row with the votes of point k: all votes' by the tokens written. pairs_per_s NAN: so is this. */
double gr_eval_vote_seconds(const gr_eval_votes *v, size_t k, double pairs_per_s);

#endif
