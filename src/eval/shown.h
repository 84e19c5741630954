/* shown.h - the rows that a page shows, with their texts. */
#ifndef GR_EVAL_SHOWN_H
#define GR_EVAL_SHOWN_H

#include "eval/result.h"

/* Chooses r->shown: the worst, and of rows with rationales some of the others, evenly over the run. */
void gr_eval_shown_choose(gr_eval_result *r);

/* Finds their texts as gr_eval_again() does; rows that it has none for keep none. */
gram_status gr_eval_shown_read(gr_eval_result *r, const char *const *path, gr_rules rules, const char *columns,
                               gram_err *err);

#endif
