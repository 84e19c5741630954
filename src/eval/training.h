/* training.h - a training run as a person reads it: how the held-out rows were judged before and after. */
#ifndef GR_EVAL_TRAINING_H
#define GR_EVAL_TRAINING_H

#include "eval/metrics.h"

/* The held-out rows as they were judged after `step`, from OUT/held-out.jsonl. prompt[n]: what conversation each row
 * belongs to. Where the file does not say, out->rows is 0 and numbers are NAN. */
gram_status gr_eval_held_out(const char *dir, uint64_t step, const uint64_t *prompt, size_t n, gr_eval_stats *out,
                             gram_err *err);

#endif
