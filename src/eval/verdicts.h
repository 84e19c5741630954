/* verdicts.h - a line for each row that was judged: what was asked, and who won. */
#ifndef GR_EVAL_VERDICTS_H
#define GR_EVAL_VERDICTS_H

#include "eval/result.h"

/* Added to *out, for a terminal; the rest is as of gr_eval_again(). */
gram_status gr_eval_verdicts(const gr_eval_row *row, size_t n, const char *const *path, size_t files, gr_rules rules,
                             const char *columns, gr_buf *out, gram_err *err);

#endif
