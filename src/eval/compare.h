/* compare.h - which of two judges is better, from the rows that their runs wrote.
 *
 * A row of both runs gives d = right_B - right_A (right: 1, 1/2 at a tie, 0). With G prompts, n rows, x the mean of d:
 *
 *     m = n / G          y = x G / (G+2)
 *     V = (G/(G-1) sum_g (sum_{i in g} (d_i - y))^2 + m^2 ((1-y)^2 + (1+y)^2)) / (n + 2m)^2      prompts as clusters
 *     interval = y -+ t(G-1) sqrt(V)                              t: 97.5 % point of Student's t
 *
 * as if there were two prompts more of m rows each, one that A alone has right and one that B alone has (after Bonett
 * and Price, 2012): with few rows that differ, or none, the spread of d alone would say that the difference is known.
 * It is narrower than the difference of two intervals, since what is hard for one judge is hard for the other. The mean
 * over files has the roots of the sums of the squares of how far each interval's ends are from its x. */
#ifndef GR_EVAL_COMPARE_H
#define GR_EVAL_COMPARE_H

#include "gram/gram.h"

/* As gram_eval_compare(). */
gram_status gr_eval_compare(const char *a, const char *b, const char *json, const char *rows,
                            gram_eval_comparison *out, char **table_out, gram_err *err);

#endif
