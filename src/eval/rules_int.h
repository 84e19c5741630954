/* rules_int.h - what the files of the rules share. */
#ifndef GR_EVAL_RULES_INT_H
#define GR_EVAL_RULES_INT_H

#include "eval/metrics.h"
#include "eval/rules.h"

void gr_rules_add(gr_rule_result *out, const char *name, gr_score_level level, gram_interval score, uint64_t rows);
void gr_rules_note(gr_rule_result *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Names the parts that have no value, which the mean is not over. */
void gr_rules_note_missing(gr_rule_result *out, const char *what, const char *const *name, const gram_interval *part,
                           size_t n);
/* 1, 0 at a tie, -1: of a reward model by its rewards, whose margin keeps the sign that a preference near one half may
 * have lost. */
int gr_rules_sign(const gr_eval_row *r);

size_t gr_rewardbench2_subset(const char *subset);      /* SIZE_MAX: none */
gram_status gr_rewardbench2(const gr_eval_row *row, size_t n, gr_rule_result *out, gram_err *err);

#endif
