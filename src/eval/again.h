/* again.h - the rows of a run with their texts, which it does not keep: its files are read once more. */
#ifndef GR_EVAL_AGAIN_H
#define GR_EVAL_AGAIN_H

#include "data/rows.h"
#include "eval/record.h"
#include "eval/rules.h"

/* i: which of the run's rows; row: its texts, NULL where its file has it no longer, or can be read only once. */
typedef gram_status gr_eval_again_fn(void *arg, size_t i, const gr_row *row, gram_err *err);

/* Calls fn with each of the n judged rows, in their order. path[files] as the rows' `file`, rules and columns as of
 * gr_eval_source_open(). */
gram_status gr_eval_again(const gr_eval_row *row, size_t n, const char *const *path, size_t files, gr_rules rules,
                          const char *columns, gr_eval_again_fn *fn, void *arg, gram_err *err);

#endif
