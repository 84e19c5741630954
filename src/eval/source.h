/* source.h - the rows of one data file, in any form that `gram eval` takes.
 *
 * Without rules, and for RewardBench, the forms of data/rows.h. RM-Bench and JudgeBench have forms of their own
 * (rules_rows.c), one object a line or one JSON array for the whole file, as RM-Bench ships it. */
#ifndef GR_EVAL_SOURCE_H
#define GR_EVAL_SOURCE_H

#include <jansson.h>
#include "data/rows.h"
#include "eval/rules.h"

typedef struct { gr_row row; int cell, cells; } gr_eval_item;   /* as in gr_eval_row */
void gr_eval_item_clear(gr_eval_item *item);

/* One upstream object to its pairs: nine for RM-Bench, one for JudgeBench, three or more for RewardBench 2. On success
 * *out is a malloc'ed array of *n items. */
gram_status gr_rules_rows(gr_rules rules, const gr_at *at, const json_t *o, gr_eval_item **out, size_t *n);

typedef struct gr_eval_source gr_eval_source;
/* columns as of gr_reader_open(). */
gram_status gr_eval_source_open(gr_eval_source **out, const char *path, gr_rules rules, const char *columns,
                                gram_err *err);
void gr_eval_source_close(gr_eval_source *s);           /* NULL is fine */
/* *end true: no more. GRAM_EFORMAT: this row is bad, and the next call goes on behind it. */
gram_status gr_eval_source_next(gr_eval_source *s, gr_eval_item *out, bool *end, gram_err *err);

#endif
