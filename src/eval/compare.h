/* compare.h - which of two judges is better, from the rows that their runs wrote.
 *
 * A row of both runs gives d = right_B - right_A (right: 1, 1/2 at a tie, 0). With G prompts, n rows, x the mean of d:
 *
 *     V = G/(G-1) sum_g (sum_{i in g} (d_i - x))^2 / n^2          prompts as clusters
 *     interval = x -+ t(G-1) sqrt(V)                              t: 97.5 % point of Student's t
 *
 * It is narrower than the difference of two intervals, since what is hard for one judge is hard for the other. The mean
 * over files has the root of the sum of their squares. */
#ifndef GR_EVAL_COMPARE_H
#define GR_EVAL_COMPARE_H

#include "gram/gram.h"

/* As gram_eval_compare(). */
gram_status gr_eval_compare(const char *a, const char *b, const char *json, const char *rows,
                            gram_eval_comparison *out, char **table_out, gram_err *err);

#endif
