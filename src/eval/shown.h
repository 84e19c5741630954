/* shown.h - the rows that a page shows, with their texts. A run keeps none: its files are read once more. */
#ifndef GR_EVAL_SHOWN_H
#define GR_EVAL_SHOWN_H

#include "eval/result.h"

/* Chooses r->shown: the worst, and of rows with rationales some of the others, evenly over the run. */
void gr_eval_shown_choose(gr_eval_result *r);

/* Finds their texts: path[r->n_files] as r->file, rules and columns as of gr_eval_source_open(). Rows of what cannot be
 * read twice, and those that the file no longer has, keep none. */
gram_status gr_eval_shown_read(gr_eval_result *r, const char *const *path, gr_rules rules, const char *columns,
                               gram_err *err);

#endif
