/* verdicts.h - a line for each row that was judged: what was asked, and who won. */
#ifndef GR_EVAL_VERDICTS_H
#define GR_EVAL_VERDICTS_H

#include "eval/result.h"

/* Added to *out, for a terminal. The files are read once more, beside the n rows that were judged of them, in their
 * order; path, rules and columns as of gr_eval_shown_read(), but each file can be read twice. */
gram_status gr_eval_verdicts(const gr_eval_row *row, size_t n, const char *const *path, size_t n_files, gr_rules rules,
                             const char *columns, gr_buf *out, gram_err *err);

#endif
