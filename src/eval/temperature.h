/* temperature.h - the one number T that calibrates a judge, by maximum likelihood on labelled rows:
 *
 *     T = argmin sum_i -log p_i(T)        p_i(T): the preference for chosen, its logits or rewards divided by T
 *
 * with the interval of those T that a likelihood-ratio test at 5 % does not refuse, rows taken as independent.
 * T divides both orders of a judge alike and PURM's spread as well, so it changes no winner. */
#ifndef GR_EVAL_TEMPERATURE_H
#define GR_EVAL_TEMPERATURE_H

#include "eval/record.h"
#include "gram/gram.h"

/* The preference of a row at temperature t, when `was` is the one that it was judged at (0: none). */
double gr_eval_at(const gr_eval_row *r, double was, double t);

/* Over the rows that have a score and are no ties. GRAM_EARG where the likelihood has no maximum: all rows are judged
 * right, or the judge is no better than chance. */
gram_status gr_eval_fit_temperature(const gr_eval_row *row, size_t n, double was, gram_temperature_fit *out,
                                    gram_err *err);

#endif
